/*
 * Routing: from operations to batches on lanes. One router per decoder.
 *
 * The route says which lane owns a slot; the router keeps one open batch per lane, encodes into it,
 * pushes it when it is full or when the decoder has nothing better to do, and gets it back when the
 * destination has answered all of it.
 *
 * Invariants:
 * 1. Operations of one key go to one lane, in the order in which they are written here.
 * 2. A unit (a transaction, or an operation larger than a batch) is never interleaved with anything
 * else on its connection: its batches `continue` into each other.
 * 3. Every batch has a sequence number, given when it is opened. `frontier` is the smallest number
 * not yet returned: every operation written before a batch of that number was opened is at the
 * destination.
 * 4. Waiting for batches cannot deadlock: batches depend on the destination alone, and an open unit
 * can always get one, because ROUTER_RESERVE of them are kept for it (lane.c tells why that
 * suffices).
 *
 * 5. A position (position.h) is written behind everything that it covers, and only between two
 * commands of a stream, so it never covers a part of one. For a standalone destination a batch is a
 * group: MULTI, operations, position, EXEC.
 *
 * Threads:   a router belongs to its decoder; `route` is constant.
 * Limits:    batches of the pool, and at most lane_batches_max of them on one lane, so that a slow
 * shard does not take all. Errors:    a function that returns false was asked to stop (`abort`),
 * nothing else: what was half written is never sent on.
 */
#ifndef APPLY_ROUTER_H
#define APPLY_ROUTER_H

#include "apply/batch.h"
#include "apply/lane.h"
#include "apply/position.h"
#include "apply/throttle.h"
#include "rdb/rdb.h"

struct stream;
struct held;

#define ROUTER_RESERVE 2
/* Keys per MSET of a snapshot: a server spends about half the CPU per key on an MSET of 50 that it
 * spends on a SET, and hardly less beyond 100. */
#define ROUTER_GROUP_MAX 100

/* Operations after which a group is ended, when nothing else ends it. A server keeps what is queued
 * until EXEC: groups of 1000 cost a third of its CPU, groups of 64 some 6 %. */
#define ROUTER_GROUP_OPS 64
#define ROUTER_MULTI "*1\r\n$5\r\nMULTI\r\n"
#define ROUTER_EXEC "*1\r\n$4\r\nEXEC\r\n"

struct route {
    bool is_cluster;
    uint32_t lane_count;
    uint32_t shard_count;
    uint16_t *shard_lane; /* first lane of each shard                              */
    uint16_t slot_lane[SLOT_COUNT];
    bool has_one_lane; /* it takes everything: no slot is computed */
};

/* The slot by which the key is routed, SLOT_NONE when there is only one lane. */
static inline uint16_t route_slot(const struct route *route, const void *key, size_t size)
{
    return route->has_one_lane ? SLOT_NONE : slot_of_key(key, size);
}

static inline uint32_t route_lane(const struct route *route, uint16_t slot)
{
    return slot == SLOT_NONE ? 0 : route->slot_lane[slot];
}

/* One lane as a router sees it. */
struct lane_writer {
    struct lane_port *port;
    struct batch *batch; /* open, or NULL                                          */
    uint64_t *seqs;      /* of batches opened and not returned, oldest first: ring */
    uint32_t seq_head;
    uint32_t seq_count;
    uint32_t group_begin; /* first byte of the MSET being put together              */
    uint32_t group_count; /* its keys; 0: none                                      */
    uint16_t group_slot;
    bool is_unit;      /* a unit is open: the batch must continue                */
    uint64_t mark_seq; /* batch and position where the unit's operation began    */
    uint32_t mark_pos;
    /* Positions. */
    bool is_group;         /* the open batch, or the unit, began with MULTI          */
    uint8_t touched_count; /* streams with operations here since the last position   */
    uint16_t touched[POSITION_TOUCHED_MAX];
    uint32_t ops_since; /* operations since the last position                     */
};

struct router {
    const struct route *route;
    struct lane_writer *writers; /* one per lane */
    struct batch_pool pool;
    uint32_t lane_batches_max;
    uint32_t batch_bytes_max; /* of one operation outside a unit */
    uint32_t batch_bytes;     /* the same, as the byte rates allow now */
    struct throttle_meter meter;
    uint64_t seq_next;
    uint64_t frontier;
    struct waker *waker;       /* the decoder's                     */
    const _Atomic bool *abort; /* set: give up waiting              */
    struct stream *streams;    /* those that write here, by router_next */
    size_t refused_bytes;      /* of operations that are kept to be mended: refusal.h */
    const void *unit_owner;    /* the stream whose unit stays open between steps, or NULL */
    uint64_t wait_ns;          /* time spent waiting for batches    */
    /* Positions; plan NULL: none are written. */
    const struct position_plan *positions;
    struct position_stream
        *stream_positions; /* by stream index; those of other decoders stay off        */
    uint32_t stream_count;
    uint64_t *marked; /* by lane and stream: no position up to this offset is written     */
    /* By lane and stream: what is not known of before an interruption; positions go on saying so.
     */
    struct position_doubt *doubts;
    uint32_t tail_bytes;  /* kept free in every batch for the end of a group                  */
    uint32_t tail_ops;    /* the same for records                                             */
    uint16_t stream;      /* whose operations are being written                               */
    bool is_group_wanted; /* they belong in a group                                           */
    bool is_mark_due;     /* some lane has POSITION_GAP operations, or too many streams       */
    struct held *held;    /* what positions do not speak for: held_mark.h; NULL: nothing      */
    /* W: decoder, relaxed. R: any: shown in status. */
    _Atomic bool is_waiting;
    /* W: decoder, relaxed. R: appliers: the lane whose batch would end its wait, or ANY. */
    _Atomic uint32_t awaited_lane;
};
#define ROUTER_ANY_LANE UINT32_MAX

/* The number of the lane's open batch, into which the last operation was written. */
static inline uint64_t router_batch_seq(const struct router *router, uint32_t lane)
{
    return router->writers[lane].batch->seq;
}
/* The same of an open unit; 0: its next byte opens one. */
static inline uint64_t router_unit_seq(const struct router *router, uint32_t lane)
{
    const struct batch *batch = router->writers[lane].batch;
    return batch == NULL ? 0 : batch->seq;
}
/* Whether that operation lies in it with all its bytes. */
static inline bool router_is_whole(const struct router *router, uint32_t lane)
{
    const struct batch *batch = router->writers[lane].batch;
    return batch->ops[batch->op_count - 1].pos >= BATCH_PREFIX;
}
static inline const struct lane *router_lane(const struct router *router, uint32_t lane)
{
    return router->writers[lane].port->lane;
}

struct router_options {
    uint32_t batch_count;
    uint32_t batch_bytes;
    uint32_t batch_ops;
};

/* ports: this decoder's, by lane. */
MUST_CHECK bool router_init(struct router *router,
                            const struct route *route,
                            struct lane_port **ports,
                            const struct router_options *options,
                            struct waker *waker,
                            const _Atomic bool *abort,
                            struct syn_err *err);
void router_deinit(struct router *router); /* a zeroed router is allowed */

/* Before a stream's next operations: whether the rates allow them now. Units wait by themselves. */
bool router_pass(struct router *router, enum throttle_phase phase);

/* Positions of `stream_count` streams are written from now on, by a plan that outlives the router.
 */
MUST_CHECK bool router_set_positions(struct router *router,
                                     const struct position_plan *plan,
                                     uint32_t stream_count,
                                     struct syn_err *err);
/* A unit is open on the lane. */
static inline bool router_is_inside(const struct router *router, uint32_t lane)
{
    return router->writers[lane].is_unit;
}
/* Whether transactions need no MULTI of their own. */
static inline bool router_has_groups(const struct router *router)
{
    return router->positions != NULL && router->positions->mode == POSITION_GROUP;
}
/* What is written from here on belongs to this stream, and is live or not. */
static inline void router_stream(struct router *router, uint16_t stream, bool is_live)
{
    router->stream = stream;
    router->is_group_wanted =
        is_live && router_has_groups(router) && router->stream_positions[stream].is_on;
}
/* Every operation of the stream up to `offset` is written; it has database `db` selected there. */
MUST_CHECK bool router_mark_due(struct router *router);
MUST_CHECK static inline bool
router_done(struct router *router, uint16_t stream, uint64_t offset, uint32_t db)
{
    if (router->positions == NULL) {
        return true;
    }
    router->stream_positions[stream].offset = offset;
    router->stream_positions[stream].db = db;
    return LIKELY(!router->is_mark_due) || router_mark_due(router);
}
/* The destination has acknowledged every operation of the stream up to `offset`. */
static inline void
router_acked(struct router *router, uint16_t stream, uint64_t offset, uint32_t db)
{
    struct position_stream *position =
        router->positions != NULL ? &router->stream_positions[stream] : NULL;
    if (position != NULL && position->is_on && offset <= position->offset &&
        offset > position->acked) {
        position->acked = offset;
        position->acked_db = db;
    }
}
/* router_done for a command that is written and waited for, where a group would end without it, and
 * whoever continues would run it again. The database is that of the command before. All before it
 * is answered, and it has run if its group has: where its position is, nothing up to it is in
 * doubt. */
static inline void router_done_alone(struct router *router, uint16_t stream, uint64_t offset)
{
    if (router_has_groups(router)) {
        struct position_stream *position = &router->stream_positions[stream];
        position->offset = offset;
        position->acked = offset;
        position->acked_db = position->db;
    }
}
/* An operation on this lane was left out (recovery.h), or is held (held.h): it counts like one that
 * was written, because whoever continues after this run counts it too. */
void router_left_out(struct router *router, uint32_t lane, uint16_t stream);
/* Writes the positions that are behind; between commands only. */
MUST_CHECK bool router_mark_all(struct router *router);
/* Whether router_mark_all has something to write. */
bool router_is_behind(const struct router *router);
/* The first position of a stream whose snapshot is at the destination, or the same under a new
 * replication id (`old` is removed; NULL: none). The caller drained before. */
MUST_CHECK bool router_position_begin(struct router *router,
                                      uint16_t stream,
                                      const char *replid,
                                      const char *old,
                                      uint64_t offset,
                                      uint32_t db);
/* A full copy begins in this history: says whose it is, in place of what was said of `old`. */
MUST_CHECK bool
router_position_own(struct router *router, uint16_t stream, const char *replid, const char *old);
/* The stream begins anew: its positions are removed. */
MUST_CHECK bool router_position_drop(struct router *router, uint16_t stream);
/* All fields of this lane once more, behind a flush. Inside the flush's unit or group. */
MUST_CHECK bool router_position_again(struct router *router, uint32_t lane);

/* One command from its arguments, of any size. */
MUST_CHECK bool router_args(struct router *router,
                            uint32_t lane,
                            uint32_t db,
                            const struct slice *args,
                            uint32_t count,
                            struct op op);

/* Room for one operation of up to `size` bytes (at most router->batch_bytes), contiguous, in the
 * open batch of the lane, in database db; the SELECT it may need is written. NULL: asked to stop.
 */
MUST_CHECK uint8_t *router_reserve(struct router *router, uint32_t lane, uint32_t db, size_t size);
/* The operation ends at `end`; op.pos is filled in here. */
void router_commit(
    struct router *router, uint32_t lane, const uint8_t *begin, const uint8_t *end, struct op op);

/* Adds one pair to the MSET that is being put together for the lane. Pairs of different slots do
 * not share one in a cluster. */
MUST_CHECK bool router_group(struct router *router,
                             uint32_t lane,
                             uint32_t db,
                             const struct slice *key,
                             const struct rdb_string *value,
                             struct op op,
                             struct syn_err *err);

/* A unit: any number of operations of any size that nothing may interleave. Each operation:
 * router_unit_op, its bytes with router_put (at least one), router_unit_done. router_unit_db
 * selects inside, when needed. */
MUST_CHECK bool router_unit_begin(struct router *router, uint32_t lane, uint32_t db);
MUST_CHECK bool router_unit_op(struct router *router, uint32_t lane);
MUST_CHECK bool router_put(struct router *router, uint32_t lane, const void *bytes, size_t size);
void router_unit_done(struct router *router, uint32_t lane, struct op op);
MUST_CHECK bool router_unit_db(struct router *router, uint32_t lane, uint32_t db, struct op op);
void router_unit_end(struct router *router, uint32_t lane);

/* Pushes every open batch that is not empty, but for open units. */
void router_flush(struct router *router);
/* Takes back what was answered; true when anything was. */
bool router_collect(struct router *router);
/* Sleeps until a batch, or one of `answers` (NULL: none is awaited), came back; the open batches go
 * out first, or nothing might ever come back. False: asked to stop. */
MUST_CHECK bool router_wait(struct router *router, const struct answers *answers);
/* Flushes and waits until everything written is answered. */
MUST_CHECK bool router_drain(struct router *router);
/* Everything is answered. */
bool router_is_idle(const struct router *router);

#endif
