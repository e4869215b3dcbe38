/*
 * Repair: dirty keys are read at the source and replace what the destination has.
 */
#include <string.h>

#include "apply/recovery_private.h"
#include "apply/snapshot_rewrite.h"
#include "apply/snapshot_write.h"

/* ---- writing one value ---- */

static bool write_nothing(struct stream *stream, const struct dirty_key *key, struct syn_err *err)
{
    struct snapshot_value *value = &stream->value;
    const struct slice args[] = {SLICE("DEL"), {key->name, key->size}};
    return live_forward_args(
        stream, value->lane, value->db, args, 2, live_op(stream, value->slot), err);
}

/* As a snapshot's value would be written: by RESTORE, or as commands where the destination does not
 * load the type. */
static bool write_payload(struct stream *stream,
                          const struct dirty_key *key,
                          const struct refetch_value *read,
                          struct syn_err *err)
{
    struct snapshot_value *value = &stream->value;
    if (read->size < 1 + RDB_FOOTER_SIZE) {
        return ERR(err,
                   SYN_CODE_SOURCE_PROTOCOL,
                   "DUMP of a key (hash %016llx) has only %zu bytes",
                   (unsigned long long)key_hash(key->name, key->size),
                   read->size);
    }
    const uint8_t *footer = read->payload + read->size - RDB_FOOTER_SIZE;
    const uint8_t *body = read->payload + 1;
    size_t body_size = read->size - 1 - RDB_FOOTER_SIZE;
    uint8_t type = read->payload[0];
    /* Versions from 80 on are Valkey's own (rdb.h, RDB_VERSION of Valkey 9). */
    stream->is_valkey = (footer[0] | footer[1] << 8) >= 80;
    value->item = (struct rdb_item){.kind = RDB_ITEM_KEY,
                                    .type = type,
                                    .name = {key->name, key->size},
                                    .expire_ms = read->expire_ms};
    bool is_loaded =
        type < RDB_TYPE_COUNT && stream->task->intake.restore_version[stream->is_valkey][type] != 0;
    if (is_loaded || type == RDB_TYPE_STRING) {
        return snapshot_write(stream, body, body_size, err);
    }
    return snapshot_rewrite_begin(stream, err) &&
           snapshot_rewrite_piece(stream, body, body_size, err) &&
           (stream->value.way == VALUE_SKIP || snapshot_rewrite_end(stream, err));
}

static bool write_value(struct stream *stream,
                        const struct dirty_key *key,
                        const struct refetch_value *read,
                        struct syn_err *err)
{
    struct snapshot_value *value = &stream->value;
    const struct route *route = stream->task->route;
    ASSERT(!value->is_open);
    value->db = task_db(stream->task, key->db);
    value->slot = route_slot(route, key->name, key->size);
    value->lane = route_lane(route, value->slot);
    if (value->db == DB_NONE) {
        return true;
    }
    counter_add(&stream->keys_refetched, 1);
    return read->is_there ? write_payload(stream, key, read, err) : write_nothing(stream, key, err);
}

/* ---- reading ---- */

/* The next keys without a value that share a database. */
static uint32_t
keys_take(const struct recovery *recovery, size_t *at, struct dirty_key *keys[REFETCH_AT_ONCE])
{
    uint32_t count = 0;
    for (; *at < recovery->capacity && count < REFETCH_AT_ONCE; (*at)++) {
        struct dirty_key *key = recovery->table[*at];
        if (key == NULL || key->floor != 0) {
            continue;
        }
        if (count > 0 && key->db != keys[0]->db) {
            break;
        }
        keys[count++] = key;
    }
    return count;
}

static bool batch_repair(struct stream *stream,
                         struct dirty_key *const *keys,
                         uint32_t count,
                         struct syn_err *err)
{
    struct recovery *recovery = stream->recovery;
    struct slice names[REFETCH_AT_ONCE];
    struct refetch_value values[REFETCH_AT_ONCE];
    for (uint32_t i = 0; i < count; i++) {
        names[i] = (struct slice){keys[i]->name, keys[i]->size};
    }
    if (!refetch_read(&recovery->refetch, keys[0]->db, names, count, values, err)) {
        err_context(err, "keys that an interruption left uncertain cannot be read again");
        return false;
    }
    bool is_done = true;
    for (uint32_t i = 0; i < count; i++) {
        is_done = is_done && write_value(stream, keys[i], &values[i], err);
        keys[i]->floor = values[i].offset > 0 ? values[i].offset : 1;
        recovery->floor_max =
            keys[i]->floor > recovery->floor_max ? keys[i]->floor : recovery->floor_max;
        recovery->unread--;
        refetch_value_free(&values[i]);
    }
    return is_done;
}

static bool repair(struct stream *stream, struct syn_err *err)
{
    struct recovery *recovery = stream->recovery;
    struct dirty_key *keys[REFETCH_AT_ONCE];
    size_t at = 0;
    bool is_valkey = stream->is_valkey;
    router_stream(stream->router, stream->index, false);
    log_info("stream %u: reading %u keys again whose state at the destination is uncertain",
             stream->index,
             recovery->unread);
    while (recovery->unread > 0) {
        uint32_t count = keys_take(recovery, &at, keys);
        ASSERT(count > 0);
        if (!batch_repair(stream, keys, count, err)) {
            return false;
        }
    }
    stream->is_valkey = is_valkey;
    return true;
}

/* ---- the end ---- */

/* Up to where the destination has everything that was taken from the stream. */
static uint64_t written_offset(const struct stream *stream)
{
    const struct router *router = stream->router;
    return router->positions != NULL && router->stream_positions[stream->index].is_on
               ? router->stream_positions[stream->index].offset
               : stream->offset;
}

/* Every key's value is reached by the stream: behind a position that says so, the names go. */
static bool retire(struct stream *stream)
{
    struct recovery *recovery = stream->recovery;
    struct router *router = stream->router;
    if (router->positions != NULL && !router_mark_all(router)) {
        return false;
    }
    router_stream(router, stream->index, false);
    for (size_t i = 0; i < recovery->capacity; i++) {
        if (recovery->table[i] != NULL && !recovery_name(stream, recovery->table[i], "SREM")) {
            return false;
        }
    }
    recovery_clear_keys(recovery);
    return true;
}

bool recovery_is_due(const struct stream *stream)
{
    const struct recovery *recovery = stream->recovery;
    return recovery != NULL && recovery->unread > 0 && stream->offset >= recovery->until;
}

bool recovery_step(struct stream *stream, struct syn_err *err)
{
    struct recovery *recovery = stream->recovery;
    if (stream->offset < recovery->until) {
        return true;
    }
    /* What comes from here on was never sent before. */
    for (uint32_t i = 0; i < stream->task->route->lane_count; i++) {
        recovery->lanes[i].gap = 0;
    }
    if (recovery->unread > 0 && (!relay_drain(stream->relay, err) || !repair(stream, err))) {
        return false;
    }
    if (recovery->count > 0 && written_offset(stream) >= recovery->floor_max &&
        !stream->transaction.is_open) {
        /* A key that is held has the same name; and what is drained may find more to read. */
        if (!relay_drain(stream->relay, err)) {
            return false;
        }
        if (recovery->unread == 0 && !retire(stream)) {
            return stopped(err);
        }
    }
    if (recovery->count == 0) {
        recovery_end(stream);
    }
    return true;
}

bool recovery_forget_names(struct stream *stream)
{
    const struct recovery *recovery = stream->recovery;
    for (size_t i = 0; recovery != NULL && i < recovery->capacity; i++) {
        if (recovery->table[i] != NULL && !recovery_name(stream, recovery->table[i], "SREM")) {
            return false;
        }
    }
    return true;
}
