/* One side of a verification: a control connection to each of its servers. */
#include <stdio.h>
#include <string.h>

#include "core/engine/verify_private.h"

/* Reading or dumping one large value blocks a server for seconds. */
#define REPLY_TIMEOUT_MS_MIN 60000
#define EXTRAS_MAX 8

static bool link_open(struct verify_side *side,
                      uint32_t index,
                      const struct config *config,
                      struct syn_err *err)
{
    const struct server *server = &side->topology.shards[index].server;
    struct verify_link *link = &side->links[index];
    link->is_valkey_rdb = server->is_valkey && server->version >= 90000;
    if (!control_open(&link->control,
                      &server->endpoint,
                      side->topology.side,
                      (int)config->connect_timeout_ms,
                      err)) {
        return false;
    }
    uint64_t limit = config->silence_timeout_ms;
    control_set_timeout(&link->control,
                        limit > REPLY_TIMEOUT_MS_MIN ? (int)limit : REPLY_TIMEOUT_MS_MIN);
    redisReply *reply;
    if (side->topology.is_cluster && server->is_replica) {
        reply = control_ask(&link->control, err, "READONLY");
        if (reply == NULL) {
            return false;
        }
        freeReplyObject(reply);
    }
    reply = control_ask(&link->control, err, "INFO memory");
    if (reply == NULL) {
        return false;
    }
    int64_t used = reply->str != NULL ? info_number(reply->str, "used_memory", INT64_MAX) : 0;
    freeReplyObject(reply);
    if (used > 0 && (uint64_t)used > side->used_bytes_max) {
        side->used_bytes_max = (uint64_t)used;
    }
    return true;
}

bool verify_side_open(struct verify_side *side,
                      enum side which,
                      const struct config *config,
                      struct syn_err *err)
{
    const struct config_side *from = which == SIDE_SOURCE ? &config->source : &config->destination;
    *side = (struct verify_side){.links = NULL};
    if (!topology_discover(&side->topology,
                           which,
                           from->hosts,
                           from->host_count,
                           which == SIDE_SOURCE && config->prefer_replica,
                           (int)config->connect_timeout_ms,
                           err)) {
        return false;
    }
    const struct topology *topology = &side->topology;
    side->links = mem_calloc(MEM_ENGINE, topology->shard_count * sizeof(*side->links));
    if (side->links == NULL) {
        return ERR(err, SYN_CODE_MEMORY, "out of memory for the connections of a verification");
    }
    side->has_expiretime = topology->version_min >= 70000;
    side->has_field_ttl =
        topology->is_valkey ? topology->version_min >= 90000 : topology->version_min >= 70400;
    side->has_memory_usage = topology->version_min >= 40000;
    side->has_dump = true;
    for (uint32_t i = 0; i < topology->shard_count; i++) {
        if (!topology->is_valkey && topology->shards[i].server.is_valkey) {
            side->has_field_ttl = false; /* a mixture: version_min does not tell */
        }
        if (!link_open(side, i, config, err)) {
            return false;
        }
    }
    return true;
}

void verify_side_close(struct verify_side *side)
{
    for (uint32_t i = 0; side->links != NULL && i < side->topology.shard_count; i++) {
        control_close(&side->links[i].control);
    }
    mem_free(MEM_ENGINE, side->links);
    side->links = NULL;
    topology_deinit(&side->topology);
}

struct verify_link *verify_owner(struct verify_side *side, const char *key, size_t key_size)
{
    if (!side->topology.is_cluster) {
        return &side->links[0];
    }
    return &side->links[side->topology.slot_shard[slot_of_key(key, key_size)]];
}

bool verify_side_select(struct verify_side *side, uint32_t db, struct syn_err *err)
{
    for (uint32_t i = 0; i < side->topology.shard_count; i++) {
        struct verify_link *link = &side->links[i];
        if (link->db == db) {
            continue;
        }
        char command[32];
        snprintf(command, sizeof(command), "SELECT %u", db);
        redisReply *reply = control_ask(&link->control, err, command);
        if (reply == NULL) {
            return false;
        }
        freeReplyObject(reply);
        link->db = db;
    }
    return true;
}

bool verify_side_flush(struct verify_side *side, struct syn_err *err)
{
    for (uint32_t i = 0; i < side->topology.shard_count; i++) {
        if (!control_flush(&side->links[i].control, err)) {
            return false;
        }
    }
    return true;
}

bool verify_append(struct verify_link *link,
                   const char *name,
                   const char *key,
                   size_t key_size,
                   const char *const *extras,
                   struct syn_err *err)
{
    const char *argv[2 + EXTRAS_MAX] = {name, key};
    size_t sizes[2 + EXTRAS_MAX] = {strlen(name), key_size};
    int argc = 2;
    for (; extras != NULL && *extras != NULL; extras++) {
        ASSERT(argc < 2 + EXTRAS_MAX);
        argv[argc] = *extras;
        sizes[argc] = strlen(*extras);
        argc++;
    }
    return control_append(&link->control, argc, argv, sizes, err);
}

redisReply *verify_fetch(struct verify_link *link, const char *what, struct syn_err *err)
{
    redisReply *reply = control_fetch(&link->control, err);
    if (reply != NULL && reply->type == REDIS_REPLY_ERROR) {
        control_reply_error(&link->control, reply, what, err);
        freeReplyObject(reply);
        return NULL;
    }
    return reply;
}

bool verify_fetch_integer(struct verify_link *link,
                          const char *what,
                          int64_t *value,
                          struct syn_err *err)
{
    redisReply *reply = verify_fetch(link, what, err);
    if (reply == NULL) {
        return false;
    }
    bool ok = reply->type == REDIS_REPLY_INTEGER;
    if (ok) {
        *value = reply->integer;
    } else {
        control_reply_error(&link->control, reply, what, err);
    }
    freeReplyObject(reply);
    return ok;
}
