/*
 * The sweep before a second full copy.
 *
 * A snapshot cannot be resumed. Keys that the first attempt wrote and that were deleted at the
 * source before the second one would stay for ever, because no deletion of them comes any more. A
 * real replica empties itself before it loads; so does this, for the slots and databases of one
 * stream.
 */
#include "core/engine/engine.h"

#include <stdio.h>
#include <string.h>

#define SWEEP_SCAN_COUNT "1000"

struct sweep {
    struct syn_engine *engine;
    const struct shard *owner; /* the source shard whose keys go */
    struct control control;
    uint64_t removed;
};

static bool sweep_owns(const struct sweep *sweep, const redisReply *key)
{
    if (position_is_key(key->str, key->len)) {
        return false;
    }
    if (!sweep->engine->source.is_cluster) {
        return true;
    }
    uint16_t slot = slot_of_key(key->str, key->len);
    for (uint32_t i = 0; i < sweep->owner->range_count; i++) {
        if (slot >= sweep->owner->ranges[i].first && slot <= sweep->owner->ranges[i].last) {
            return true;
        }
    }
    return false;
}

/* Pipelines one UNLINK per key: in a cluster the keys of one command would have to share a slot. */
static bool sweep_keys(struct sweep *sweep, const redisReply *keys, struct syn_err *err)
{
    size_t count = 0;
    for (size_t i = 0; i < keys->elements; i++) {
        const redisReply *key = keys->element[i];
        if (key->type != REDIS_REPLY_STRING || !sweep_owns(sweep, key)) {
            continue;
        }
        const char *argv[] = {"UNLINK", key->str};
        const size_t sizes[] = {6, key->len};
        if (!control_append(&sweep->control, 2, argv, sizes, err)) {
            return false;
        }
        count++;
    }
    bool is_done = true;
    for (size_t i = 0; i < count; i++) {
        redisReply *reply = control_fetch(&sweep->control, err);
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
        bool is_target = !config->has_db_rules;
        for (uint32_t n = 0; n < CONFIG_DB_MAX && !is_target; n++) {
            is_target = config->db_map[n] == db;
        }
        is_done = !is_target || sweep_db(sweep, db, err);
    }
    control_close(&sweep->control);
    return is_done;
}

bool sweep_stream(struct syn_engine *engine, uint32_t i, uint64_t *removed, struct syn_err *err)
{
    struct sweep sweep = {.engine = engine, .owner = &engine->source.shards[i]};
    for (uint32_t s = 0; s < engine->destination.shard_count; s++) {
        if (!sweep_shard(&sweep, &engine->destination.shards[s], err)) {
            return false;
        }
    }
    *removed = sweep.removed;
    return true;
}
