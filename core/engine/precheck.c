/*
 * Prechecks, in the order in which a failure is cheapest to explain: the source as a whole, the
 * destination as a whole, that they are two deployments, that data fits, that accounts may do it.
 */
#include "core/engine/precheck.h"

#include <stdio.h>
#include <string.h>

#include "core/engine/file_check.h"
#include "core/engine/precheck_private.h"

static bool source_version_check(const struct topology *source, struct syn_err *err)
{
    char text[ENDPOINT_TEXT_MAX];
    for (uint32_t i = 0; i < source->shard_count; i++) {
        const struct server *server = &source->shards[i].server;
        if (server->version < 20800) {
            return ERR(err,
                       SYN_CODE_PRECHECK,
                       "source %s is version %s, which has no PSYNC: 2.8 is the oldest source that "
                       "can be followed; upgrade it first",
                       endpoint_text(&server->endpoint, text),
                       server->version_text);
        }
    }
    return true;
}

/* ---- the same server on both sides ---- */

/* A replica shares its master's replid, so equal replids are one replication history. A former
 * replica that was promoted has a new one. */
static bool is_related(const struct server *a, const struct server *b)
{
    return a->replid[0] != '\0' && strcmp(a->replid, b->replid) == 0;
}

static bool is_same_server(const struct server *a, const struct server *b)
{
    return a->run_id[0] != '\0' && strcmp(a->run_id, b->run_id) == 0;
}

static bool
pair_check(const struct server *source, const struct server *destination, struct syn_err *err)
{
    char from[ENDPOINT_TEXT_MAX];
    char to[ENDPOINT_TEXT_MAX];
    endpoint_text(&source->endpoint, from);
    endpoint_text(&destination->endpoint, to);
    if (is_same_server(source, destination)) {
        return ERR(err,
                   SYN_CODE_PRECHECK,
                   "source %s and destination %s are the same server (run_id %.8s...): every write "
                   "would come back to it for ever; correct one of the two addresses",
                   from,
                   to,
                   source->run_id);
    }
    if (is_related(source, destination)) {
        return ERR(err,
                   SYN_CODE_PRECHECK,
                   "source %s and destination %s belong to the same replication (replid %.8s...): "
                   "every write would come back for ever; correct one of the two addresses",
                   from,
                   to,
                   source->replid);
    }
    return true;
}

static bool both_sides_check(const struct topology *source,
                             const struct topology *destination,
                             struct syn_err *err)
{
    for (uint32_t i = 0; i < source->shard_count; i++) {
        for (uint32_t j = 0; j < destination->shard_count; j++) {
            const struct shard *from = &source->shards[i];
            const struct server *to = &destination->shards[j].server;
            if (!pair_check(&from->server, to, err) || !pair_check(&from->master, to, err)) {
                return false;
            }
        }
    }
    return true;
}

/* ---- the destination's keys ---- */

static bool empty_check(const struct config *config,
                        const struct topology *destination,
                        bool *was_empty,
                        struct syn_err *err)
{
    uint64_t keys = 0;
    uint32_t servers = 0;
    char list[200] = "";
    size_t used = 0;
    *was_empty = true;
    for (uint32_t i = 0; i < destination->shard_count; i++) {
        const struct server *server = &destination->shards[i].server;
        char text[ENDPOINT_TEXT_MAX];
        *was_empty = *was_empty && server->is_count_known && server->key_count == 0;
        if (!server->is_count_known && config->on_nonempty != NONEMPTY_OVERWRITE) {
            return ERR(err,
                       SYN_CODE_PRECHECK,
                       "destination %s does not tell whether it has keys (neither INFO nor DBSIZE "
                       "says so); look yourself, and accept this with --on-nonempty overwrite",
                       endpoint_text(&server->endpoint, text));
        }
        if (server->key_count == 0) {
            continue;
        }
        keys += server->key_count;
        servers++;
        char item[ENDPOINT_TEXT_MAX + 40];
        int size = snprintf(item,
                            sizeof(item),
                            "%s%llu on %s",
                            used > 0 ? ", " : "",
                            (unsigned long long)server->key_count,
                            endpoint_text(&server->endpoint, text));
        if (used + (size_t)size < sizeof(list)) {
            memcpy(list + used, item, (size_t)size + 1);
            used += (size_t)size;
        }
    }
    if (keys == 0 || config->on_nonempty == NONEMPTY_OVERWRITE) {
        return true;
    }
    return ERR(
        err,
        SYN_CODE_PRECHECK,
        "the destination is not empty: %llu keys (%s%s); a full copy would overwrite keys of "
        "the same name and leave the others. Empty it (FLUSHALL), or accept this with "
        "--on-nonempty overwrite",
        (unsigned long long)keys,
        list,
        servers > 1 && used == 0 ? "on several servers" : "");
}

/* ---- databases ---- */

/* How many databases the destination's servers have; UINT64_MAX when they do not tell. */
static bool database_count(const struct config *config,
                           const struct topology *destination,
                           uint64_t *count,
                           struct syn_err *err)
{
    /* Only Valkey 9 has more than database 0 in a cluster. */
    const char *name = destination->is_cluster ? "cluster-databases" : "databases";
    *count = destination->is_cluster ? 1 : UINT64_MAX;
    struct control control;
    if (!control_open(&control,
                      &destination->shards[0].server.endpoint,
                      SIDE_DESTINATION,
                      (int)config->connect_timeout_ms,
                      err)) {
        return false;
    }
    const char *argv[] = {"CONFIG", "GET", name};
    const size_t sizes[] = {6, 3, strlen(name)};
    redisReply *reply = control_call(&control, 3, argv, sizes, err);
    bool is_alive = reply != NULL;
    if (is_alive && reply->type == REDIS_REPLY_ARRAY && reply->elements == 2 &&
        reply->element[1]->type == REDIS_REPLY_STRING) {
        uint64_t value;
        if (num_read_u64(reply->element[1]->str, reply->element[1]->len, &value) && value > 0) {
            *count = value;
        }
    }
    if (reply != NULL) {
        freeReplyObject(reply);
    }
    control_close(&control);
    return is_alive;
}

static bool database_error(const struct topology *destination,
                           const struct server *server,
                           uint64_t db,
                           uint32_t target,
                           uint64_t limit,
                           struct syn_err *err)
{
    char text[ENDPOINT_TEXT_MAX];
    endpoint_text(&server->endpoint, text);
    if (destination->is_cluster && limit == 1) {
        return ERR(err,
                   SYN_CODE_PRECHECK,
                   "source %s has keys in database %llu, which would go to database %u, but the "
                   "destination is a cluster and has only database 0: choose what to copy with "
                   "--db, or put it into database 0 with --db-map %llu:0",
                   text,
                   (unsigned long long)db,
                   target,
                   (unsigned long long)db);
    }
    return ERR(err,
               SYN_CODE_PRECHECK,
               "source %s has keys in database %llu, which would go to database %u, but the "
               "destination has only %llu databases: raise `%s` there, choose others with --db, "
               "or map it with --db-map",
               text,
               (unsigned long long)db,
               target,
               (unsigned long long)limit,
               destination->is_cluster ? "cluster-databases" : "databases");
}

/* Every database that has keys on this server. */
static bool server_databases_check(const struct config *config,
                                   const struct server *server,
                                   const struct topology *destination,
                                   uint64_t limit,
                                   struct syn_err *err)
{
    struct control control;
    if (!control_open(
            &control, &server->endpoint, SIDE_SOURCE, (int)config->connect_timeout_ms, err)) {
        return false;
    }
    bool ok = false;
    redisReply *reply = control_ask(&control, err, "INFO keyspace");
    if (reply != NULL && reply->str != NULL) {
        ok = true;
        struct keyspace_cursor cursor = {.next = reply->str};
        uint64_t db, keys;
        while (ok && keyspace_next(&cursor, &db, &keys)) {
            uint32_t target = config_db(config, db);
            if (keys > 0 && target != CONFIG_DB_NONE && target >= limit) {
                ok = database_error(destination, server, db, target, limit, err);
            }
        }
    } else if (reply != NULL) {
        control_reply_error(&control, reply, "INFO keyspace", err);
    }
    if (reply != NULL) {
        freeReplyObject(reply);
    }
    control_close(&control);
    return ok;
}

static bool databases_check(const struct config *config,
                            const struct topology *source,
                            struct topology *destination,
                            struct syn_err *err)
{
    uint64_t limit;
    if (!database_count(config, destination, &limit, err)) {
        return false;
    }
    /* Which databases a file has is only known as it is read: then it is judged by this. */
    destination->db_count = limit < UINT32_MAX ? (uint32_t)limit : 0;
    uint32_t count = config->files.count > 0 ? 0 : source->shard_count;
    for (uint32_t i = 0; i < count; i++) {
        if (!server_databases_check(config, &source->shards[i].server, destination, limit, err)) {
            return false;
        }
    }
    return true;
}

/* ---- all ---- */

static bool source_check(const struct config *config, struct topology *source, struct syn_err *err)
{
    if (config->files.count > 0) {
        return files_discover(&config->files, source, err);
    }
    if (!topology_discover(source,
                           SIDE_SOURCE,
                           config->source.hosts,
                           config->source.host_count,
                           config->prefer_replica,
                           (int)config->connect_timeout_ms,
                           err)) {
        return false;
    }
    if (!source_version_check(source, err) || !precheck_source_account(config, source, err)) {
        topology_deinit(source);
        return false;
    }
    return true;
}

/* What an earlier run of this task wrote may be there. */
static bool earlier_check(const struct config *config,
                          const struct topology *source,
                          const struct topology *destination,
                          bool is_again,
                          bool *was_empty,
                          struct resume *resume,
                          struct syn_err *err)
{
    if (config->has_positions && !resume_look(resume, config, source, destination, err)) {
        return false;
    }
    if (is_again || resume_is_ours(resume)) {
        *was_empty = resume_was_empty(resume);
        return true;
    }
    return empty_check(config, destination, was_empty, err);
}

static bool destination_check(const struct config *config,
                              const struct topology *source,
                              struct topology *destination,
                              bool is_again,
                              bool *was_empty,
                              struct resume *resume,
                              struct syn_err *err)
{
    if (!topology_discover(destination,
                           SIDE_DESTINATION,
                           config->destination.hosts,
                           config->destination.host_count,
                           false,
                           (int)config->connect_timeout_ms,
                           err)) {
        return false;
    }
    if (!both_sides_check(source, destination, err) ||
        !earlier_check(config, source, destination, is_again, was_empty, resume, err) ||
        !databases_check(config, source, destination, err) ||
        !precheck_destination_account(config, destination, err)) {
        resume_deinit(resume);
        topology_deinit(destination);
        return false;
    }
    return true;
}

bool precheck_run(const struct config *config,
                  struct topology *source,
                  struct topology *destination,
                  bool is_again,
                  bool *destination_was_empty,
                  struct resume *resume,
                  struct syn_err *err)
{
    *resume = (struct resume){0};
    ASSERT(config->source.host_count + config->files.count > 0);
    ASSERT(config->destination.host_count > 0);
    if (!source_check(config, source, err)) {
        return false;
    }
    if (!destination_check(
            config, source, destination, is_again, destination_was_empty, resume, err)) {
        topology_deinit(source);
        return false;
    }
    return true;
}
