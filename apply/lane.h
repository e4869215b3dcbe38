/*
 * Lanes and appliers: the destination side of the pipeline.
 *
 * A lane is one ordered connection to one destination shard. An applier is a thread with one loop
 * that owns some lanes: it takes batches from every decoder's port, sends them pipelined, matches
 * each reply to its operation, and hands every batch back once all its operations are answered.
 *
 * Invariants:
 * 1. Batches of one port are sent in the order in which they were pushed, and returned in that
 * order.
 * 2. After a batch that `continues`, nothing but the next batch of the same port is sent.
 * 3. A batch is returned only when all its bytes are sent and all its operations answered without
 *    failure; so what came back is at the destination, but for values that it refused to load,
 * which are noted in the batch (refusal.h).
 * 4. The n-th reply belongs to the n-th operation sent: replies carry no names, so nothing may be
 * skipped.
 *
 * Threads:   lane_port rings as named; everything else in a lane is its applier's alone, but for
 * the counters. Errors:    the first one is raised in `failure`, and the lane stops sending; a lost
 * connection is one. Sending again after a failure needs positions in the destination and is left
 * to them.
 */
#ifndef APPLY_LANE_H
#define APPLY_LANE_H

#include <pthread.h>

#include "apply/answer.h"
#include "apply/batch.h"
#include "apply/failure.h"
#include "apply/lane_group.h"
#include "apply/redirect.h"
#include "io/io.h"
#include "rdb/rdb.h"

/* One decoder's way into one lane. */
struct lane_port {
    struct ring to_lane;    /* spsc, decoder to applier: filled batches                */
    struct ring to_decoder; /* spsc, applier to decoder: batches with every reply seen */
    struct waker *decoder;
    struct lane *lane;
    struct answers *answers;              /* where its OP_ASK are answered; NULL: it asks nothing */
    const _Atomic uint32_t *awaited_lane; /* the router's, with answers */
};

#define LANE_RECEIVE_BYTES 65536
#define LANE_IOV_MAX 16
/* Answers of one lane that tell of a divergence and are logged. */
#define LANE_DIVERGENCES_LOGGED 10

/* The first bytes of an operation that goes on in the next batch, from batches that have gone back.
 */
struct lane_carry {
    size_t bytes_max; /* 0: nothing is kept */
    size_t size;
    size_t capacity;
    uint8_t *bytes;
    bool is_cut; /* there were more than that */
};

struct lane {
    uint16_t index;
    uint16_t shard;
    char endpoint_text[ENDPOINT_TEXT_MAX];
    struct endpoint endpoint;
    int fd; /* connected, authenticated, non-blocking; owned */
    struct applier *applier;
    struct lane_port *ports; /* one per decoder */
    uint32_t port_count;

    /* The applier's alone. */
    struct batch *head; /* oldest batch not returned                                   */
    struct batch *tail;
    struct batch *send;          /* first batch with bytes to send; NULL when all is sent       */
    struct lane_port *port_open; /* the port whose batch continues, or NULL            */
    uint32_t port_next;          /* where the round over the ports goes on             */
    uint32_t db;                 /* selected on the connection after what was queued   */
    bool is_failed;
    enum divergence_policy on_divergence; /* the caller's, after lane_init */
    uint32_t divergences_logged;
    /* The caller's, after lane_init: how operations follow their keys (lane_follow.h); NULL: they
     * do not. The applier's from its start to its stop. */
    struct redirect *redirect;
    bool has_followed;
    struct lane_carry carry; /* bytes_max: the caller's, as redirect */
    struct lane_carry whole; /* one that is put together             */
    struct lane_group group;
    uint32_t ask_count;   /* OP_ASK queued and not answered               */
    uint32_t crowd_count; /* rests since answers were found crowded       */
    struct reply_scanner scanner;
    struct io_op send_op;
    struct io_op receive_op;
    struct io_op rest_op; /* delays the next receive, see lane_received */
    struct iovec iov[LANE_IOV_MAX];
    uint32_t receive_used; /* bytes of an unfinished line kept in front */
    uint8_t *receive;      /* LANE_RECEIVE_BYTES                        */

    /* W: applier. R: any, relaxed: statistics. */
    alignas(CACHE_LINE) _Atomic uint64_t bytes_sent;
    _Atomic uint64_t ops_acked;
    _Atomic uint64_t keys_acked;
};

struct applier {
    pthread_t thread;
    struct io_loop *loop;
    struct lane **lanes;
    uint32_t lane_count;
    struct failure *failure;
    _Atomic bool stop_wanted; /* W: control, release. R: applier. */
    bool is_started;
    bool is_hosted; /* in a loop that somebody else steps */
    uint32_t index;
};

/* `control` is an open connection to the shard's master; the lane takes its socket over. ports: one
 * per decoder waker. */
MUST_CHECK bool lane_init(struct lane *lane,
                          uint16_t index,
                          uint16_t shard,
                          struct control *control,
                          struct waker *const *decoders,
                          uint32_t decoder_count,
                          uint32_t ring_entries,
                          struct syn_err *err);
void lane_deinit(struct lane *lane); /* after its applier stopped; a zeroed lane is allowed */

/* The lanes stay the caller's. */
MUST_CHECK bool applier_start(struct applier *applier,
                              enum io_backend backend,
                              struct lane **lanes,
                              uint32_t lane_count,
                              uint32_t index,
                              struct failure *failure,
                              struct syn_err *err);
/* The same without a thread: whoever steps the loop calls applier_begin first, applier_poll in each
 * turn, and applier_end, which steps it, once stop_wanted is set. */
void applier_host(struct applier *applier,
                  struct io_loop *loop,
                  struct lane **lanes,
                  uint32_t lane_count,
                  struct failure *failure);
void applier_begin(struct applier *applier);
bool applier_poll(void *applier);
void applier_end(struct applier *applier);
/* Stops at once, whatever is in the air, and joins the thread, if it has one. A zeroed applier is
 * allowed. */
void applier_stop(struct applier *applier);

#endif
