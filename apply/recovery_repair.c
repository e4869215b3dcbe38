/*
 * Repair: dirty keys are read at the source and replace what the destination has.
 */
#include <string.h>

#include "apply/recovery_private.h"
#include "apply/snapshot_rewrite.h"
#include "apply/snapshot_write.h"

/* With so many keys, it is worth a walk to look for those that are over. */
#define RETIRE_COUNT 1024u

/* ---- writing one value ---- */

bool repair_nothing(struct stream *stream, const struct dirty_key *key, struct syn_err *err)
{
    struct snapshot_value *value = &stream->value;
    const struct slice args[] = {SLICE("DEL"), {key->name, key->size}};
    return live_forward_args(
        stream, value->lane, value->db, args, 2, live_op(stream, value->slot), err);
}

/* Versions from 80 on are Valkey's own (rdb.h, RDB_VERSION of Valkey 9). */
static bool is_of_valkey(const struct refetch_value *read)
{
    const uint8_t *footer = read->payload + read->size - RDB_FOOTER_SIZE;
    return (footer[0] | footer[1] << 8) >= 80;
}

/* One whose type is not selected is no key of the destination. */
static bool type_is_selected(const struct stream *stream, const struct refetch_value *read)
{
    const struct select *select = stream->task->select;
    return select == NULL || read->size < 1 + RDB_FOOTER_SIZE ||
           select_kind(select, rdb_type_kind(read->payload[0], is_of_valkey(read)));
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
    const uint8_t *body = read->payload + 1;
    size_t body_size = read->size - 1 - RDB_FOOTER_SIZE;
    uint8_t type = read->payload[0];
    stream->is_valkey = is_of_valkey(read);
    value->item = (struct rdb_item){.kind = RDB_ITEM_KEY,
                                    .type = type,
                                    .name = {key->name, key->size},
                                    .expire_ms = stream_expiry(stream, read->expire_ms)};
    bool is_loaded =
        type < RDB_TYPE_COUNT && stream->task->intake.restore_version[stream->is_valkey][type] != 0;
    if (is_loaded || type == RDB_TYPE_STRING) {
        return snapshot_write(stream, body, body_size, err);
    }
    return snapshot_rewrite_begin(stream, err) &&
           snapshot_rewrite_piece(stream, body, body_size, err) &&
           (stream->value.way == VALUE_SKIP || snapshot_rewrite_end(stream, err));
}

bool repair_place(struct stream *stream, const struct dirty_key *key)
{
    struct snapshot_value *value = &stream->value;
    const struct route *route = stream->task->route;
    ASSERT(!value->is_open);
    value->db = task_db(stream->task, key->db);
    value->slot = route_slot(route, key->name, key->size);
    value->lane = route_lane(route, value->slot);
    value->is_repair = true;
    stream->command_db = key->db;
    return value->db != DB_NONE;
}

static bool write_value(struct stream *stream,
                        const struct dirty_key *key,
                        const struct refetch_value *read,
                        struct syn_err *err)
{
    if (!repair_place(stream, key)) {
        return true;
    }
    counter_add(&stream->keys_refetched, 1);
    return read->is_there && type_is_selected(stream, read) ? write_payload(stream, key, read, err)
                                                            : repair_nothing(stream, key, err);
}

/* ---- reading ---- */

/* Keys that are read together. */
struct repair {
    struct stream *stream;
    struct select_name *names; /* REFETCH_AT_ONCE; NULL: no rules */
    struct dirty_key *keys[REFETCH_AT_ONCE];
    struct refetch_batch batch;
};

/* What the key is called where it is read. */
static bool source_name(const struct stream *stream,
                        const struct dirty_key *key,
                        struct select_name *name,
                        struct slice *out,
                        struct syn_err *err)
{
    bool is_selected = true;
    *out = (struct slice){key->name, key->size};
    if (stream->task->select == NULL) {
        return true;
    }
    if (!select_to_source(stream->task->select, *out, name, &is_selected, err)) {
        return false;
    }
    ASSERT(is_selected); /* by the same rules as when it was named */
    *out = (struct slice){name->bytes, name->size};
    return true;
}

/* The next keys without a value that share a database, from *at on. */
static bool
repair_take(struct repair *repair, struct stream *stream, size_t *at, struct syn_err *err)
{
    const struct recovery *recovery = stream->recovery;
    struct refetch_batch *batch = &repair->batch;
    repair->stream = stream;
    batch->count = 0;
    batch->has_sizes = false;
    for (; *at < recovery->capacity && batch->count < REFETCH_AT_ONCE; (*at)++) {
        struct dirty_key *key = recovery->table[*at];
        if (key == NULL || key->floor != 0) {
            continue;
        }
        if (batch->count > 0 && key->db != batch->db) {
            break;
        }
        uint32_t n = batch->count++;
        batch->db = key->db;
        repair->keys[n] = key;
        if (!source_name(stream,
                         key,
                         repair->names != NULL ? &repair->names[n] : NULL,
                         &batch->names[n],
                         err)) {
            return false;
        }
    }
    return true;
}

static bool
repair_value(void *arg, uint32_t i, const struct refetch_value *read, struct syn_err *err)
{
    struct repair *repair = arg;
    struct dirty_key *key = repair->keys[i];
    if (!write_value(repair->stream, key, read, err)) {
        return false;
    }
    recovery_was_read(repair->stream->recovery, key, read->offset, read->offset);
    return true;
}

static bool repair_run(struct repair *repair, struct repair *next, struct syn_err *err)
{
    struct stream *stream = repair->stream;
    struct refetch *refetch = &stream->recovery->refetch;
    struct refetch_batch *batch = &repair->batch;
    const struct refetch_sink sink = {.value = repair_value, .arg = repair};
    if (!refetch_read(refetch, batch, next->batch.count > 0 ? &next->batch : NULL, &sink, err)) {
        return false;
    }
    for (uint32_t i = 0; i < batch->count; i++) {
        if (refetch_is_large(refetch, batch->bytes[i]) &&
            !recovery_copy_large(stream, repair->keys[i], &batch->names[i], batch->bytes[i], err)) {
            return false;
        }
    }
    return true;
}

/* While one batch is read, the sizes of the next are asked for. */
static bool repair(struct stream *stream, struct syn_err *err)
{
    struct recovery *recovery = stream->recovery;
    struct repair repairs[2];
    for (uint32_t i = 0; i < 2; i++) {
        repairs[i].names = recovery->names != NULL ? recovery->names + i * REFETCH_AT_ONCE : NULL;
    }
    size_t at = 0;
    bool is_valkey = stream->is_valkey;
    router_stream(stream->router, stream->index, false);
    if (!stream->has_unknown) { /* with rules that make keys dirty, this is everyday life */
        log_info("stream %u: reading %u keys again whose state at the destination is uncertain",
                 stream->index,
                 recovery->unread);
    }
    bool is_done = repair_take(&repairs[0], stream, &at, err);
    for (uint32_t i = 0; is_done && repairs[i].batch.count > 0; i = !i) {
        is_done = repair_take(&repairs[!i], stream, &at, err) &&
                  repair_run(&repairs[i], &repairs[!i], err);
    }
    stream->value.is_repair = false;
    if (!is_done) {
        err_context(err, "keys whose value at the destination is not known cannot be read again");
        return false;
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

static bool is_reached(const struct stream *stream, const struct dirty_key *key, uint64_t offset)
{
    (void)stream;
    return key->floor != 0 && key->floor <= offset;
}

/* Keys whose values the stream has reached: behind a position that says so, their names go. */
static bool retire(struct stream *stream, struct syn_err *err)
{
    struct recovery *recovery = stream->recovery;
    struct router *router = stream->router;
    if (router->positions != NULL && !router_mark_all(router)) {
        return stopped(err);
    }
    router_stream(router, stream->index, false);
    if (!recovery_sift(stream, is_reached, written_offset(stream), err)) {
        return false;
    }
    recovery->retire_count = RETIRE_COUNT + 2 * recovery->count;
    return true;
}

/* All at once is one walk; where keys keep coming, the moment may never be. */
static bool is_retiring(const struct stream *stream)
{
    const struct recovery *recovery = stream->recovery;
    bool is_over = recovery->unread == 0 && written_offset(stream) >= recovery->floor_max;
    bool is_large = recovery->count >= RETIRE_COUNT && recovery->count >= recovery->retire_count;
    return recovery->count > 0 && !stream->transaction.is_open && (is_over || is_large);
}

bool recovery_step(struct stream *stream, struct syn_err *err)
{
    struct recovery *recovery = stream->recovery;
    if (stream->offset < recovery->until) {
        return true;
    }
    /* What comes from here on was never sent before. */
    const struct router *router = stream->router;
    for (uint32_t i = 0; i < stream->task->route->lane_count; i++) {
        recovery->lanes[i].gap = 0;
        if (router->doubts != NULL) {
            router->doubts[(size_t)i * router->stream_count + stream->index].gap = 0;
        }
    }
    if (recovery->unread > 0 && (!relay_drain(stream->relay, err) || !repair(stream, err))) {
        return false;
    }
    if (is_retiring(stream)) {
        /* A key that is held has the same name; and what is drained may find more to read. */
        if (!relay_drain(stream->relay, err) || (is_retiring(stream) && !retire(stream, err))) {
            return false;
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
