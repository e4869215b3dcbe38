/*
 * What loop.c and its two backends share. Private to io.
 *
 * loop.c keeps the lists, the timers and the turn; a backend starts operations on sockets, waits,
 * and hands finished ones back with loop_complete.
 */
#ifndef IO_LOOP_PRIVATE_H
#define IO_LOOP_PRIVATE_H

#include <pthread.h>

#include "io/loop.h"

struct loop_backend {
    const char *name;
    /* Waits for fd (connect), or transfers. False: no room in this turn, ask again in the next. */
    bool (*start)(struct io_loop *loop, struct io_op *op);
    /* Of a started one; loop_complete follows, now or later. False: no room in this turn. */
    bool (*cancel)(struct io_loop *loop, struct io_op *op);
    /* True when `wait` would find something without sleeping; may be wrong towards false. */
    bool (*is_ready)(struct io_loop *loop);
    /* Submits; sleeps until something happens or timeout_ns passed (0: does not sleep, negative:
     * for ever); collects. Returns early rather than late. */
    void (*wait)(struct io_loop *loop, int64_t timeout_ns);
    void (*free)(struct io_loop *loop);
};

struct io_op_list {
    struct io_op *first;
    struct io_op *last;
};

struct io_loop {
    const struct loop_backend *backend;
    void *state; /* the backend's */
    struct waker waker;
    struct io_op_list pending;   /* to be started                                           */
    struct io_op_list cancels;   /* started, and the backend has to be told to cancel        */
    struct io_op_list timers;    /* by deadline                                             */
    struct io_op_list completed; /* `done` to be called                                     */
    uint32_t air_count;          /* operations that are not idle                            */
    bool has_owner;
    pthread_t owner; /* the thread of the first turn */
    /* W and R: io_loop_keep and io_loop_free, any thread. The waker lives until the last. */
    _Atomic int refs;
};

MUST_CHECK bool loop_uring_init(struct io_loop *loop, struct syn_err *err);
MUST_CHECK bool loop_epoll_init(struct io_loop *loop, struct syn_err *err);

/* For the backends. */
void loop_complete(struct io_loop *loop, struct io_op *op, int result);
void loop_restart(struct io_loop *loop, struct io_op *op); /* start it again in the next turn */
/* The result of a connect whose socket became writable. */
int loop_connect_result(const struct io_op *op);

/* The waker must outlive the loop where others may still wake a thread that has ended: each keep
 * needs one more io_loop_unkeep besides the io_loop_free. */
void io_loop_keep(struct io_loop *loop);
void io_loop_unkeep(struct io_loop *loop);

#endif
