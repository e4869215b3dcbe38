/*
 * The sweep before a second full copy, and for a flush of one source among several, or among keys
 * that are not copied.
 *
 * A snapshot cannot be resumed. Keys that the first attempt wrote and that were deleted at the
 * source before the second one would stay for ever, because no deletion of them comes any more. A
 * real replica empties itself before it loads; so does this, for the slots and databases of one
 * stream, and within the rules: a key that no selected one is copied to, or whose type is not
 * selected, is not this task's.
 */
#include "core/engine/engine.h"

#include <stdio.h>
#include <string.h>

#define SWEEP_SCAN_COUNT "1000"

struct sweep {
    struct syn_engine *engine;
    const struct shard *owner; /* the source shard whose keys go */
    uint32_t db;               /* only in this database of the destination, or DB_NONE */
    struct control control;
    struct redirect redirect;
    struct select_name name; /* of a key at the source */
    uint64_t removed;
};

/* Whether the key is the copy of one that the source shard owns. */
static bool sweep_owns(struct sweep *sweep, const redisReply *key, bool *owns, struct syn_err *err)
{
    const struct syn_engine *engine = sweep->engine;
    struct slice slice = {(const uint8_t *)key->str, key->len};
    if (position_is_key(key->str, key->len)) {
        *owns = false;
        return true;
    }
    if (!select_to_source(config_select(&engine->config), slice, &sweep->name, owns, err)) {
        return false;
    }
    if (!*owns || !engine->source.is_cluster) {
        return true;
    }
    uint16_t slot = slot_of_key(sweep->name.bytes, sweep->name.size);
    *owns = false;
    for (uint32_t i = 0; i < sweep->owner->range_count && !*owns; i++) {
        const struct slot_range *range = &sweep->owner->ranges[i];
        *owns = slot >= range->first && slot <= range->last;
    }
    return true;
}

static bool
sweep_append(struct sweep *sweep, const char *name, const redisReply *key, struct syn_err *err)
{
    const char *argv[] = {name, key->str};
    const size_t sizes[] = {strlen(name), key->len};
    return control_append(&sweep->control, 2, argv, sizes, err);
}

static enum rdb_kind kind_of_name(const char *name)
{
    for (unsigned kind = 0; kind < RDB_KIND_COUNT; kind++) {
        if (strcmp(name, select_kind_name((enum rdb_kind)kind)) == 0) {
            return (enum rdb_kind)kind;
        }
    }
    return RDB_KIND_MODULE; /* which have names of their own */
}

/* Asks the types of the wanted keys and leaves those whose type is selected. */
static bool
sweep_types(struct sweep *sweep, const redisReply *keys, bool *wanted, struct syn_err *err)
{
    const struct select *select = config_select(&sweep->engine->config);
    if (select == NULL || select->kinds == SELECT_KINDS_ALL) {
        return true;
    }
    for (size_t i = 0; i < keys->elements; i++) {
        if (wanted[i] && !sweep_append(sweep, "TYPE", keys->element[i], err)) {
            return false;
        }
    }
    for (size_t i = 0; i < keys->elements; i++) {
        if (!wanted[i]) {
            continue;
        }
        redisReply *reply = control_fetch(&sweep->control, err);
        if (reply == NULL) {
            return false;
        }
        bool is_good = reply->type == REDIS_REPLY_STATUS ||
                       control_reply_error(&sweep->control, reply, "TYPE", err);
        wanted[i] = is_good && select_kind(select, kind_of_name(reply->str));
        freeReplyObject(reply);
        if (!is_good) {
            return false;
        }
    }
    return true;
}

static bool
sweep_choose(struct sweep *sweep, const redisReply *keys, bool *wanted, struct syn_err *err)
{
    for (size_t i = 0; i < keys->elements; i++) {
        wanted[i] = false;
        if (keys->element[i]->type == REDIS_REPLY_STRING &&
            !sweep_owns(sweep, keys->element[i], &wanted[i], err)) {
            return false;
        }
    }
    return sweep_types(sweep, keys, wanted, err);
}

/* Pipelines one UNLINK per key: in a cluster the keys of one command would have to share a slot. */
static bool
sweep_unlink(struct sweep *sweep, const redisReply *keys, const bool *wanted, struct syn_err *err)
{
    size_t count = 0;
    for (size_t i = 0; i < keys->elements; i++) {
        if (wanted[i] && !sweep_append(sweep, "UNLINK", keys->element[i], err)) {
            return false;
        }
        count += wanted[i];
    }
    bool is_done = true;
    for (size_t i = 0, at = 0; i < count; i++, at++) {
        redisReply *reply = control_fetch(&sweep->control, err);
        while (!wanted[at]) {
            at++;
        }
        /* SCAN also tells keys that come or have gone with a slot that is moving. */
        const char *argv[] = {"UNLINK", keys->element[at]->str};
        const size_t sizes[] = {6, keys->element[at]->len};
        if (reply != NULL && sweep->engine->destination.is_cluster) {
            reply = redirect_follow(
                &sweep->redirect, &sweep->control.endpoint, 2, argv, sizes, reply, err);
        }
        if (reply == NULL) {
            return false;
        }
        if (reply->type == REDIS_REPLY_ERROR && is_done) {
            is_done = control_reply_error(&sweep->control, reply, "UNLINK", err);
        }
        freeReplyObject(reply);
    }
    sweep->removed += count;
    return is_done;
}

static bool sweep_keys(struct sweep *sweep, const redisReply *keys, struct syn_err *err)
{
    if (keys->elements == 0) {
        return true;
    }
    bool *wanted = mem_alloc(MEM_ENGINE, keys->elements * sizeof(*wanted));
    if (wanted == NULL) {
        return ERR(err, SYN_CODE_MEMORY, "out of memory for %zu keys", keys->elements);
    }
    bool is_done = sweep_choose(sweep, keys, wanted, err) && sweep_unlink(sweep, keys, wanted, err);
    mem_free(MEM_ENGINE, wanted);
    return is_done;
}

static bool sweep_db(struct sweep *sweep, uint32_t db, struct syn_err *err)
{
    char cursor[32] = "0";
    char command[96];
    if (!sweep->engine->destination.is_cluster) {
        snprintf(command, sizeof(command), "SELECT %u", db);
        redisReply *reply = control_ask(&sweep->control, err, command);
        if (reply == NULL) {
            return false;
        }
        freeReplyObject(reply);
    }
    do {
        snprintf(command, sizeof(command), "SCAN %s COUNT " SWEEP_SCAN_COUNT, cursor);
        redisReply *reply = control_ask(&sweep->control, err, command);
        if (reply == NULL) {
            return false;
        }
        bool is_good = reply->type == REDIS_REPLY_ARRAY && reply->elements == 2 &&
                       reply->element[0]->str != NULL &&
                       reply->element[1]->type == REDIS_REPLY_ARRAY;
        bool is_done = is_good ? sweep_keys(sweep, reply->element[1], err)
                               : ERR(err, SYN_CODE_DESTINATION_PROTOCOL, "an odd answer to SCAN");
        if (is_done) {
            snprintf(cursor, sizeof(cursor), "%s", reply->element[0]->str);
        }
        freeReplyObject(reply);
        if (!is_done) {
            return false;
        }
        if (atomic_load_acquire(&sweep->engine->stop_request) == STOP_NOW ||
            failure_is_raised(&sweep->engine->failure)) {
            return ERR(err, SYN_CODE_STOPPED, "stopped before the destination was cleared");
        }
    } while (strcmp(cursor, "0") != 0);
    return true;
}

static bool sweep_shard(struct sweep *sweep, const struct shard *shard, struct syn_err *err)
{
    const struct config *config = &sweep->engine->config;
    if (!control_open(&sweep->control,
                      &shard->server.endpoint,
                      SIDE_DESTINATION,
                      (int)config->connect_timeout_ms,
                      err)) {
        return false;
    }
    struct server now;
    bool is_done = server_read(&sweep->control, &now, err);
    for (uint32_t db = 0; is_done && db <= now.db_max; db++) {
        bool is_target = !config->has_db_rules || sweep->db == db;
        for (uint32_t n = 0; n < CONFIG_DB_MAX && !is_target; n++) {
            is_target = config->db_map[n] == db;
        }
        is_target = is_target && (sweep->db == DB_NONE || sweep->db == db);
        is_done = !is_target || sweep_db(sweep, db, err);
    }
    control_close(&sweep->control);
    return is_done;
}

bool sweep_stream(
    struct syn_engine *engine, uint32_t i, uint32_t db, uint64_t *removed, struct syn_err *err)
{
    struct sweep sweep = {
        .engine = engine,
        .owner = &engine->source.shards[i],
        .db = db,
        .redirect = {.timeout_ms = (int)engine->config.connect_timeout_ms}};
    bool is_done = true;
    for (uint32_t s = 0; s < engine->destination.shard_count && is_done; s++) {
        is_done = sweep_shard(&sweep, &engine->destination.shards[s], err);
    }
    redirect_close(&sweep.redirect);
    select_name_deinit(&sweep.name);
    *removed = sweep.removed;
    return is_done;
}
