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
 * Threads:   a router belongs to its decoder; `route` is constant.
 * Limits:    batches of the pool, and at most lane_batches_max of them on one lane, so that a slow
 * shard does not take all. Errors:    a function that returns false was asked to stop (`abort`),
 * nothing else: what was half written is never sent on.
 */
#ifndef APPLY_ROUTER_H
#define APPLY_ROUTER_H

#include "apply/batch.h"
#include "apply/lane.h"
#include "rdb/rdb.h"

#define ROUTER_RESERVE 2
/* Keys per MSET of a snapshot: a server spends about half the CPU per key on an MSET of 50 that it
 * spends on a SET, and hardly less beyond 100. */
#define ROUTER_GROUP_MAX 100

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
};

struct router {
    const struct route *route;
    struct lane_writer *writers; /* one per lane */
    struct batch_pool pool;
    uint32_t lane_batches_max;
    uint32_t batch_bytes;
    uint64_t seq_next;
    uint64_t frontier;
    struct waker *waker;       /* the decoder's                     */
    const _Atomic bool *abort; /* set: give up waiting              */
    const void *unit_owner;    /* the stream whose unit stays open between steps, or NULL */
    uint64_t wait_ns;          /* time spent waiting for batches    */
    /* W: decoder, relaxed. R: any: shown in status. */
    _Atomic bool is_waiting;
    /* W: decoder, relaxed. R: appliers: the lane whose batch would end its wait, or ANY. */
    _Atomic uint32_t awaited_lane;
};
#define ROUTER_ANY_LANE UINT32_MAX

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
