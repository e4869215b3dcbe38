#include "apply/router_private.h"

#include <string.h>

#include "apply/refusal.h"

#define PACE_WAIT_MS 1000

/* ---- batches out and back ---- */

static void writer_push(struct router *router, struct lane_writer *writer)
{
    struct batch *batch = writer->batch;
    ASSERT(batch != NULL);
    ASSERT(batch->end > batch->begin);
    if (writer->is_group && !writer->is_unit) {
        router_group_close(router, writer);
    }
    batch->continues = writer->is_unit;
    writer->batch = NULL;
    struct lane *lane = writer->port->lane;
    bool is_pushed = ring_spsc_push(&writer->port->to_lane, batch);
    ASSERT(is_pushed); /* the ring holds every batch of this router */
    waker_wake(io_loop_waker(lane->applier->loop));
}

/* Gives the MSET its real count, now that it is known; see router_group for the layout. */
static void writer_close_group(struct lane_writer *writer)
{
    if (writer->group_count == 0) {
        return;
    }
    static const char name_set[] = "$3\r\nSET\r\n";
    static const char name_mset[] = "$4\r\nMSET\r\n";
    struct batch *batch = writer->batch;
    bool is_single = writer->group_count == 1;
    const char *name = is_single ? name_set : name_mset;
    size_t name_size = is_single ? sizeof(name_set) - 1 : sizeof(name_mset) - 1;
    uint8_t head[32];
    uint8_t *end = resp_put_head(head, '*', 1 + 2 * (uint64_t)writer->group_count);
    memcpy(end, name, name_size);
    size_t size = (size_t)(end - head) + name_size;
    uint8_t *begin = batch->bytes + writer->group_begin;
    size_t reserved = 16;
    ASSERT(size <= reserved);
    if (size < reserved) {
        size_t body = batch->end - writer->group_begin - reserved;
        memmove(begin + size, begin + reserved, body);
        batch->end -= (uint32_t)(reserved - size);
    }
    memcpy(begin, head, size);
    writer->group_count = 0;
}

bool router_collect(struct router *router)
{
    bool did = false;
    for (uint32_t i = 0; i < router->route->lane_count; i++) {
        struct lane_writer *writer = &router->writers[i];
        struct batch *batch;
        while ((batch = ring_spsc_pop(&writer->port->to_decoder)) != NULL) {
            ASSERT(writer->seq_count > 0);
            ASSERT(writer->seqs[writer->seq_head] == batch->seq);
            writer->seq_head = (writer->seq_head + 1) % router->pool.count;
            writer->seq_count--;
            if (UNLIKELY(batch->refused_count > 0)) {
                refusals_take(router, i, batch);
            }
            batch_give(&router->pool, batch);
            did = true;
        }
    }
    if (did) {
        uint64_t frontier = router->seq_next;
        for (uint32_t i = 0; i < router->route->lane_count; i++) {
            const struct lane_writer *writer = &router->writers[i];
            if (writer->seq_count > 0 && writer->seqs[writer->seq_head] < frontier) {
                frontier = writer->seqs[writer->seq_head];
            }
        }
        ASSERT(frontier >= router->frontier);
        router->frontier = frontier;
    }
    return did;
}

/* ---- rates ---- */

bool router_pass(struct router *router, enum throttle_phase phase)
{
    if (router->meter.throttle == NULL) {
        return true;
    }
    bool may = throttle_pass(&router->meter, phase, clock_monotonic_ns());
    uint32_t piece_bytes = router->meter.piece_bytes[phase];
    router->batch_bytes =
        piece_bytes < router->batch_bytes_max ? piece_bytes : router->batch_bytes_max;
    return may;
}

/* In the middle of a unit, where no other stream may pass: waits here. False: asked to stop. */
static bool router_pace(struct router *router)
{
    struct throttle_meter *meter = &router->meter;
    if (!throttle_is_spent(meter)) {
        return true;
    }
    router_flush(router);
    uint64_t now_ns;
    while (!throttle_pass(meter, meter->phase, now_ns = clock_monotonic_ns())) {
        waker_prepare(router->waker);
        router_collect(router);
        if (atomic_load_acquire(router->abort)) {
            waker_done(router->waker);
            return false;
        }
        int wait_ms = throttle_wait_ms(meter, meter->phase, now_ns, PACE_WAIT_MS);
        waker_wait(router->waker, throttle_is_changed(meter) ? 0 : wait_ms);
    }
    return true;
}

static uint32_t writer_shard(const struct lane_writer *writer)
{
    return writer->port->lane->shard;
}

/* MULTI and EXEC are ours or the source's, not operations of their own. */
static bool op_is_counted(const struct op *op)
{
    return op->kind != OP_MULTI && op->kind != OP_EXEC;
}

static bool writer_may_open(const struct router *router, const struct lane_writer *writer)
{
    if (writer->is_unit) {
        return router->pool.free_count > 0;
    }
    return router->pool.free_count > ROUTER_RESERVE && writer->seq_count < router->lane_batches_max;
}

bool router_wait(struct router *router, const struct answers *answers)
{
    router_flush(router);
    uint64_t begin = clock_monotonic_ns();
    waker_prepare(router->waker);
    bool did = router_collect(router) || (answers != NULL && answers_are_ready(answers));
    if (!did && !atomic_load_acquire(router->abort)) {
        atomic_store_relaxed(&router->is_waiting, true);
        waker_wait(router->waker, -1);
        atomic_store_relaxed(&router->is_waiting, false);
        router_collect(router);
    } else {
        waker_done(router->waker);
    }
    router->wait_ns += clock_monotonic_ns() - begin;
    return !atomic_load_acquire(router->abort);
}

static struct batch *writer_open(struct router *router, struct lane_writer *writer)
{
    if (writer->batch != NULL) {
        return writer->batch;
    }
    while (!writer_may_open(router, writer)) {
        /* Any batch may be what is missing, but one of its own always helps. */
        atomic_store_relaxed(&router->awaited_lane,
                             writer->seq_count > 0 ? writer->port->lane->index : ROUTER_ANY_LANE);
        bool is_good = router_collect(router) || router_wait(router, NULL);
        atomic_store_relaxed(&router->awaited_lane, ROUTER_ANY_LANE);
        if (!is_good) {
            return NULL;
        }
    }
    struct batch *batch = batch_take(&router->pool);
    ASSERT(batch != NULL);
    batch->port = writer->port;
    batch->seq = router->seq_next++;
    writer->seqs[(writer->seq_head + writer->seq_count) % router->pool.count] = batch->seq;
    writer->seq_count++;
    writer->batch = batch;
    return batch;
}

/* ---- operations ---- */

void batch_op(struct batch *batch, const struct op *op, uint32_t pos)
{
    ASSERT(batch->op_count < batch->ops_size);
    struct op *slot = &batch->ops[batch->op_count++];
    *slot = *op;
    slot->pos = pos;
    batch->ask_count += op->kind == OP_ASK;
}

_Static_assert(SELECT_SIZE_MAX <= BATCH_PREFIX, "the lane writes one into the prefix");

static uint8_t *select_encode(uint8_t *out, uint32_t db)
{
    char digits[NUM_DIGITS_MAX];
    size_t size = num_write_u64(digits, db);
    memcpy(out, "*2\r\n$6\r\nSELECT\r\n", 16);
    return resp_put_bulk(out + 16, digits, size);
}

void batch_select(struct batch *batch, uint32_t db, struct op op)
{
    if (batch->db_last == db) {
        return;
    }
    if (batch->db_first == BATCH_DB_ANY) {
        batch->db_first = db; /* the lane selects it, if the connection is elsewhere */
    } else {
        uint32_t pos = batch->end;
        batch->end = (uint32_t)(select_encode(batch->bytes + pos, db) - batch->bytes);
        op.key_count = 0;
        batch_op(batch, &op, pos);
    }
    batch->db_last = db;
}

uint8_t *router_reserve(struct router *router, uint32_t lane, uint32_t db, size_t size)
{
    struct lane_writer *writer = &router->writers[lane];
    ASSERT_DEBUG(size <= router->batch_bytes);
    ASSERT_DEBUG(!writer->is_unit);
    writer_close_group(writer);
    struct batch *batch = writer->batch;
    /* A long group is ended inside the batch: the server keeps queued commands until EXEC, and more
     * of them than its cache holds cost it twice. */
    bool is_full_group = writer->is_group && writer->ops_since >= ROUTER_GROUP_OPS;
    uint32_t tails = is_full_group ? 2 : 1;
    if (batch != NULL &&
        (batch->bytes_size - batch->end < size + SELECT_SIZE_MAX + tails * router->tail_bytes ||
         batch->ops_size - batch->op_count < 2 + tails * router->tail_ops ||
         router_group_changes(router, writer))) {
        writer_push(router, writer);
        batch = NULL;
    }
    if (batch == NULL && (batch = writer_open(router, writer)) == NULL) {
        return NULL;
    }
    if (UNLIKELY(writer->is_group && is_full_group)) {
        router_group_close(router, writer);
    }
    if (router->is_group_wanted && !writer->is_group) {
        router_group_open(writer);
    }
    if (batch->db_last != db) {
        batch_select(batch, db, (struct op){.slot = SLOT_NONE, .kind = OP_COMMAND});
    }
    return batch->bytes + batch->end;
}

void router_commit(
    struct router *router, uint32_t lane, const uint8_t *begin, const uint8_t *end, struct op op)
{
    struct lane_writer *writer = &router->writers[lane];
    struct batch *batch = writer->batch;
    ASSERT_DEBUG(begin == batch->bytes + batch->end);
    ASSERT_DEBUG(end <= batch->bytes + batch->bytes_size);
    batch->end = (uint32_t)(end - batch->bytes);
    throttle_charge(
        &router->meter, writer_shard(writer), op_is_counted(&op), (uint64_t)(end - begin));
    batch_op(batch, &op, (uint32_t)(begin - batch->bytes));
    router_touch(router, writer, &op);
}

/* ---- MSET of snapshot strings ----
 * "*NNN\r\n$4\r\nMSET\r\n" takes 16 bytes with a count of three digits. They are kept free in front
 * of the first pair and filled in when the group is closed; with fewer digits the pairs move down.
 */

static bool group_fits(const struct router *router,
                       const struct lane_writer *writer,
                       uint32_t db,
                       uint16_t slot,
                       size_t size)
{
    const struct batch *batch = writer->batch;
    return writer->group_count > 0 && writer->group_count < ROUTER_GROUP_MAX &&
           batch->db_last == db && (!router->route->is_cluster || writer->group_slot == slot) &&
           batch->bytes_size - batch->end >= size;
}

bool router_group(struct router *router,
                  uint32_t lane,
                  uint32_t db,
                  const struct slice *key,
                  const struct rdb_string *value,
                  struct op op,
                  struct syn_err *err)
{
    struct lane_writer *writer = &router->writers[lane];
    size_t size = resp_bulk_size(key->size) + resp_bulk_size(value->text_size);
    ASSERT_DEBUG(size + 16 <= router->batch_bytes);
    if (!group_fits(router, writer, db, op.slot, size)) {
        uint8_t *begin = router_reserve(router, lane, db, size + 16);
        if (begin == NULL) {
            return ERR(err, SYN_CODE_STOPPED, "stopped");
        }
        writer->group_begin = (uint32_t)(begin - writer->batch->bytes);
        writer->group_slot = op.slot;
        writer->batch->end += 16;
        batch_op(writer->batch, &op, writer->group_begin);
        writer->batch->ops[writer->batch->op_count - 1].key_count = 0;
    }
    struct batch *batch = writer->batch;
    uint8_t *out = resp_put_bulk(batch->bytes + batch->end, key->bytes, key->size);
    out = resp_put_head(out, '$', value->text_size);
    if (LIKELY(value->form == RDB_STRING_RAW)) {
        memcpy(out, value->data.bytes, value->text_size);
    } else if (!rdb_string_decode(value, out, err)) {
        if (writer->group_count == 0) { /* nothing of it stays */
            batch->end = writer->group_begin;
            batch->op_count--;
        }
        return false;
    }
    out += value->text_size;
    *out++ = '\r';
    *out++ = '\n';
    batch->end = (uint32_t)(out - batch->bytes);
    writer->group_count++;
    throttle_charge(&router->meter, writer_shard(writer), 1, size);
    struct op *group = &batch->ops[batch->op_count - 1];
    group->offset = op.offset;
    group->key_count++;
    return true;
}

bool router_args(struct router *router,
                 uint32_t lane,
                 uint32_t db,
                 const struct slice *args,
                 uint32_t count,
                 struct op op)
{
    uint8_t head[RESP_HEAD_MAX];
    size_t head_size = (size_t)(resp_put_head(head, '*', count) - head);
    size_t size = head_size;
    for (uint32_t i = 0; i < count; i++) {
        size += resp_bulk_size(args[i].size);
    }
    if (size <= router->batch_bytes && !router->writers[lane].is_unit) {
        uint8_t *begin = router_reserve(router, lane, db, size);
        if (begin == NULL) {
            return false;
        }
        uint8_t *out = resp_put_head(begin, '*', count);
        for (uint32_t i = 0; i < count; i++) {
            out = resp_put_bulk(out, args[i].bytes, args[i].size);
        }
        router_commit(router, lane, begin, out, op);
        return true;
    }
    bool is_inside = router->writers[lane].is_unit;
    bool is_begun =
        is_inside ? router_unit_db(router, lane, db, op) : router_unit_begin(router, lane, db);
    if (!is_begun || !router_unit_op(router, lane) || !router_put(router, lane, head, head_size)) {
        return false;
    }
    for (uint32_t i = 0; i < count; i++) {
        head_size = (size_t)(resp_put_head(head, '$', args[i].size) - head);
        if (!router_put(router, lane, head, head_size) ||
            !router_put(router, lane, args[i].bytes, args[i].size) ||
            !router_put(router, lane, "\r\n", 2)) {
            return false;
        }
    }
    router_unit_done(router, lane, op);
    if (!is_inside) {
        router_unit_end(router, lane);
    }
    return true;
}

/* ---- units ---- */

bool router_unit_begin(struct router *router, uint32_t lane, uint32_t db)
{
    struct lane_writer *writer = &router->writers[lane];
    ASSERT(!writer->is_unit);
    if (router_reserve(router, lane, db, 1) == NULL) {
        return false;
    }
    writer->is_unit = true;
    return true;
}

/* Of a unit, what goes out at once. */
static uint32_t unit_piece(const struct router *router)
{
    return router->meter.is_limited ? router->batch_bytes : UINT32_MAX;
}

static struct batch *unit_room(struct router *router, struct lane_writer *writer, size_t size)
{
    struct batch *batch = writer->batch;
    ASSERT(writer->is_unit);
    if (batch != NULL && (batch->bytes_size - batch->end < size + router->tail_bytes ||
                          batch->ops_size - batch->op_count < 1 + router->tail_ops ||
                          batch->end - batch->begin >= unit_piece(router))) {
        uint32_t db = batch->db_last;
        writer_push(router, writer);
        batch = router_pace(router) ? writer_open(router, writer) : NULL;
        if (batch != NULL) {
            /* The connection is already there: no SELECT may get into the middle of a unit. */
            batch->db_first = db;
            batch->db_last = db;
        }
    }
    return batch;
}

bool router_put(struct router *router, uint32_t lane, const void *bytes, size_t size)
{
    struct lane_writer *writer = &router->writers[lane];
    const uint8_t *from = bytes;
    while (size > 0) {
        struct batch *batch = unit_room(router, writer, 1);
        if (batch == NULL) {
            return false;
        }
        size_t room = batch->bytes_size - batch->end - router->tail_bytes;
        size_t piece = unit_piece(router) - (batch->end - batch->begin);
        room = piece < room ? piece : room;
        size_t take = size < room ? size : room;
        memcpy(batch->bytes + batch->end, from, take);
        batch->end += (uint32_t)take;
        throttle_charge(&router->meter, writer_shard(writer), 0, take);
        from += take;
        size -= take;
    }
    return true;
}

bool router_unit_op(struct router *router, uint32_t lane)
{
    struct lane_writer *writer = &router->writers[lane];
    struct batch *batch = unit_room(router, writer, 1);
    if (batch == NULL) {
        return false;
    }
    writer->mark_seq = batch->seq;
    writer->mark_pos = batch->end;
    return true;
}

void router_unit_done(struct router *router, uint32_t lane, struct op op)
{
    struct lane_writer *writer = &router->writers[lane];
    struct batch *batch = writer->batch;
    ASSERT(writer->is_unit);
    throttle_charge(&router->meter, writer_shard(writer), op_is_counted(&op), 0);
    /* router_put left room for a record in the batch that holds the operation's last byte. */
    batch_op(batch, &op, writer->mark_seq == batch->seq ? writer->mark_pos : 0);
    router_touch(router, writer, &op);
}

bool router_unit_db(struct router *router, uint32_t lane, uint32_t db, struct op op)
{
    struct lane_writer *writer = &router->writers[lane];
    struct batch *batch = unit_room(router, writer, SELECT_SIZE_MAX);
    if (batch == NULL) {
        return false;
    }
    ASSERT(batch->op_count < batch->ops_size);
    batch_select(batch, db, op);
    return true;
}

void router_unit_end(struct router *router, uint32_t lane)
{
    struct lane_writer *writer = &router->writers[lane];
    ASSERT(writer->is_unit);
    ASSERT(writer->batch != NULL);
    writer->is_unit = false;
}

/* ---- waiting ---- */

void router_flush(struct router *router)
{
    for (uint32_t i = 0; i < router->route->lane_count; i++) {
        struct lane_writer *writer = &router->writers[i];
        if (writer->batch == NULL || writer->is_unit ||
            writer->batch->end == writer->batch->begin) {
            continue;
        }
        writer_close_group(writer);
        writer_push(router, writer);
    }
}

bool router_is_idle(const struct router *router)
{
    for (uint32_t i = 0; i < router->route->lane_count; i++) {
        const struct lane_writer *writer = &router->writers[i];
        uint32_t open_empty =
            writer->batch != NULL && writer->batch->end == writer->batch->begin ? 1 : 0;
        if (writer->seq_count > open_empty) {
            return false;
        }
    }
    return true;
}

bool router_drain(struct router *router)
{
    router_flush(router);
    router_collect(router);
    while (!router_is_idle(router)) {
        if (!router_wait(router, NULL)) {
            return false;
        }
    }
    return true;
}

/* ---- life ---- */

bool router_init(struct router *router,
                 const struct route *route,
                 struct lane_port **ports,
                 const struct router_options *options,
                 struct waker *waker,
                 const _Atomic bool *abort,
                 struct syn_err *err)
{
    memset(router, 0, sizeof(*router));
    router->route = route;
    router->waker = waker;
    router->abort = abort;
    router->batch_bytes_max = options->batch_bytes - SELECT_SIZE_MAX;
    router->batch_bytes = router->batch_bytes_max;
    router->seq_next = 1;
    router->frontier = 1;
    atomic_store_relaxed(&router->awaited_lane, ROUTER_ANY_LANE);
    ASSERT(options->batch_count >= 2 * route->lane_count + ROUTER_RESERVE);
    if (!batch_pool_init(
            &router->pool, options->batch_count, options->batch_bytes, options->batch_ops, err)) {
        return false;
    }
    uint32_t share = 2 * (options->batch_count - ROUTER_RESERVE) / route->lane_count;
    router->lane_batches_max = share < options->batch_count ? share : options->batch_count;
    router->writers = mem_calloc(MEM_APPLY, route->lane_count * sizeof(struct lane_writer));
    uint64_t *seqs =
        mem_alloc(MEM_APPLY, (size_t)route->lane_count * options->batch_count * sizeof(uint64_t));
    if (router->writers == NULL || seqs == NULL) {
        mem_free(MEM_APPLY, seqs);
        return ERR(err, SYN_CODE_MEMORY, "out of memory for %u lanes", route->lane_count);
    }
    for (uint32_t i = 0; i < route->lane_count; i++) {
        router->writers[i].port = ports[i];
        router->writers[i].seqs = seqs + (size_t)i * options->batch_count;
    }
    return true;
}

void router_deinit(struct router *router)
{
    mem_free(MEM_APPLY, router->stream_positions);
    mem_free(MEM_APPLY, router->marked);
    mem_free(MEM_APPLY, router->doubts);
    if (router->writers != NULL) {
        mem_free(MEM_APPLY, router->writers[0].seqs);
    }
    mem_free(MEM_APPLY, router->writers);
    batch_pool_deinit(&router->pool);
    throttle_meter_deinit(&router->meter);
    memset(router, 0, sizeof(*router));
}
