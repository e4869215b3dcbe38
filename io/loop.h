/*
 * One thread's completions: connect, send, receive and timers, over io_uring or epoll behind one
 * interface. An operation is a struct embedded in its owner, so nothing is allocated per operation.
 *
 * Threads:   a loop and its operations belong to the thread that calls io_loop_step; only waking
 *            (waker_wake on io_loop_waker) is for others.
 * Ownership: the caller keeps the op, buffers and iovecs alive until `done` is called. `done` may
 *            start the same op again.
 * Limits:    any number of operations may be in the air; what exceeds the submission queue of one
 *            turn (256) is submitted in the next. A receive never keeps a send waiting, so the
 *            number of idle connections cannot block the busy ones. One receive and one send (or
 *            connect) per socket at a time.
 * Errors:    `done` gets a negative errno; -ECANCELED after io_cancel. It is called only from
 *            io_loop_step, never from the function that started or cancelled the operation.
 */
#ifndef IO_LOOP_H
#define IO_LOOP_H

#include <sys/socket.h>
#include <sys/uio.h>

#include "core/base/base.h"

enum io_backend {
    IO_BACKEND_AUTO, /* io_uring when the kernel allows it, else epoll, with one log line */
    IO_BACKEND_URING,
    IO_BACKEND_EPOLL,
};

struct io_loop;
struct io_op;

/* result: bytes (recv: 0 at end of stream; send: may be short), 0 (connect, timeout), or -errno. */
typedef void io_done(struct io_op *op, int result);

/* Which list or hands an operation is in; private to the loop. */
enum io_op_place {
    IO_PLACE_NONE,
    IO_PLACE_PENDING,
    IO_PLACE_BACKEND,
    IO_PLACE_TIMERS,
    IO_PLACE_DONE
};
enum io_op_kind { IO_OP_IDLE, IO_OP_CONNECT, IO_OP_RECV, IO_OP_SEND, IO_OP_TIMEOUT };

struct io_op {
    io_done *done;
    void *owner; /* for done; the loop does not look at it */
    /* Private to the loop. */
    enum io_op_kind kind; /* IO_OP_IDLE when not in the air */
    enum io_op_place place;
    bool is_cancelled;
    bool is_polled; /* io_uring: waits for readiness only, then starts */
    int fd;
    int result;
    void *buffer;
    size_t size;
    struct iovec *iov;
    unsigned iov_count;
    struct msghdr message;
    struct sockaddr_storage address;
    socklen_t address_size;
    uint64_t deadline_ns;
    struct io_op *next;
    struct io_op *prev;
};

/* NULL on failure: with IO_BACKEND_URING, also when io_uring is not available here. */
struct io_loop *io_loop_new(enum io_backend backend, struct syn_err *err);
/* No operation may be in the air: cancel and step until their `done` was called. NULL is a no-op.
 */
void io_loop_free(struct io_loop *loop);
const char *io_loop_backend_name(const struct io_loop *loop); /* "io_uring" or "epoll" */
struct waker *io_loop_waker(struct io_loop *loop);

void io_connect(struct io_loop *loop,
                struct io_op *op,
                int fd,
                const struct sockaddr_storage *address,
                socklen_t address_size);
void io_recv(struct io_loop *loop, struct io_op *op, int fd, void *buffer, size_t size);
/* The iovecs are not changed; a short count is reported, not retried. At most 64 iovecs. */
void io_send(struct io_loop *loop, struct io_op *op, int fd, struct iovec *iov, unsigned iov_count);
void io_timeout(struct io_loop *loop, struct io_op *op, uint64_t delay_ms);
/* `done` follows with -ECANCELED, or with the result if it was complete already. Idle: a no-op. An
 * op on a socket must have finished before the socket is closed. */
void io_cancel(struct io_loop *loop, struct io_op *op);
static inline bool io_op_is_idle(const struct io_op *op)
{
    return op->kind == IO_OP_IDLE;
}

/* Looks at the owner's queues; true when it did anything. */
typedef bool io_poll(void *arg);

/* One turn: submits what was started, runs `poll`, delivers completions. When neither did anything,
 * sleeps until a completion, a wake-up or timeout_ms (negative: for ever), with `poll` called once
 * more after waker_prepare so that no wake-up is lost. `poll` may be NULL. */
void io_loop_step(struct io_loop *loop, io_poll *poll, void *arg, int timeout_ms);

#endif
