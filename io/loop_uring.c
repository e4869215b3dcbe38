/*
 * io_uring backend: one ring, one submitting thread, at most one io_uring_enter per turn.
 *
 * The ring is created disabled where the kernel can bind it to one task, and enabled by the first
 * turn: loops are created by the thread that starts others, and used by those.
 *
 * A connect, and a transfer that came back with -EAGAIN, are waited for with a poll request; the
 * rest is handed to the kernel as it is. user_data is the operation's address, or one of the small
 * numbers below.
 */
#include "io/loop_private.h"

#include <errno.h>
#include <liburing.h>
#include <poll.h>
#include <sys/syscall.h>
#include <unistd.h>

#define SUBMISSION_ENTRIES 256
/* Completions that do not fit are kept by the kernel (IORING_FEAT_NODROP): this only saves work. */
#define COMPLETION_ENTRIES 2048

enum {
    USER_DATA_CANCEL = 0, /* the answer to a cancel: the cancelled operation has its own */
    USER_DATA_WAKER = 1,
};

struct loop_uring {
    struct io_uring ring;
    bool is_disabled;    /* until the first turn              */
    bool is_waker_armed; /* a poll of the eventfd is in the air */
};

static bool uring_start(struct io_loop *loop, struct io_op *op)
{
    struct loop_uring *uring = loop->state;
    struct io_uring_sqe *sqe = io_uring_get_sqe(&uring->ring);
    if (sqe == NULL) {
        return false;
    }
    if (op->is_polled) {
        io_uring_prep_poll_add(sqe, op->fd, op->kind == IO_OP_RECV ? POLLIN : POLLOUT);
    } else if (op->kind == IO_OP_RECV) {
        io_uring_prep_recv(sqe, op->fd, op->buffer, op->size, 0);
    } else {
        ASSERT(op->kind == IO_OP_SEND);
        if (op->iov_count == 1) {
            io_uring_prep_send(sqe, op->fd, op->iov[0].iov_base, op->iov[0].iov_len, MSG_NOSIGNAL);
        } else {
            io_uring_prep_sendmsg(sqe, op->fd, &op->message, MSG_NOSIGNAL);
        }
    }
    io_uring_sqe_set_data(sqe, op);
    return true;
}

/* The kernel runs a cancel when it is submitted, and requests in the order of submission: an
 * operation started again afterwards, with the same address, comes behind it. */
static bool uring_cancel(struct io_loop *loop, struct io_op *op)
{
    struct loop_uring *uring = loop->state;
    struct io_uring_sqe *sqe = io_uring_get_sqe(&uring->ring);
    if (sqe == NULL) {
        return false;
    }
    io_uring_prep_cancel(sqe, op, 0);
    io_uring_sqe_set_data64(sqe, USER_DATA_CANCEL);
    return true;
}

static bool uring_is_ready(struct io_loop *loop)
{
    struct loop_uring *uring = loop->state;
    unsigned flags = IO_URING_READ_ONCE(*uring->ring.sq.kflags);
    return io_uring_cq_ready(&uring->ring) > 0 ||
           (flags & (IORING_SQ_CQ_OVERFLOW | IORING_SQ_TASKRUN)) != 0;
}

static void uring_finish(struct io_loop *loop, struct io_op *op, int result)
{
    ASSERT(op->place == IO_PLACE_BACKEND);
    if (op->is_cancelled && (result == -EINTR || result == -EALREADY)) {
        result = -ECANCELED;
    }
    if (op->is_polled && result >= 0) {
        if (op->kind == IO_OP_CONNECT) {
            loop_complete(loop, op, loop_connect_result(op));
            return;
        }
        op->is_polled = false;
        loop_restart(loop, op);
    } else if (result == -EAGAIN || result == -EINTR) {
        /* Without the poll, a socket for which the kernel gives up at once would spin. */
        op->is_polled = true;
        loop_restart(loop, op);
    } else {
        loop_complete(loop, op, result);
    }
}

static void uring_reap(struct io_loop *loop)
{
    struct loop_uring *uring = loop->state;
    struct io_uring_cqe *cqe;
    unsigned head;
    unsigned count = 0;
    io_uring_for_each_cqe(&uring->ring, head, cqe)
    {
        count++;
        if (cqe->user_data == USER_DATA_WAKER) {
            uring->is_waker_armed = false;
            waker_drain(&loop->waker);
        } else if (cqe->user_data != USER_DATA_CANCEL) {
            uring_finish(loop, io_uring_cqe_get_data(cqe), cqe->res);
        }
    }
    io_uring_cq_advance(&uring->ring, count);
}

static void uring_arm_waker(struct io_loop *loop)
{
    struct loop_uring *uring = loop->state;
    struct io_uring_sqe *sqe = io_uring_get_sqe(&uring->ring);
    if (sqe != NULL) {
        /* A poll, because a read of a non-blocking eventfd would end at once with -EAGAIN. */
        io_uring_prep_poll_add(sqe, loop->waker.fd, POLLIN);
        io_uring_sqe_set_data64(sqe, USER_DATA_WAKER);
        uring->is_waker_armed = true;
    }
}

static void uring_wait(struct io_loop *loop, int64_t timeout_ns)
{
    struct loop_uring *uring = loop->state;
    int result = 0;
    if (uring->is_disabled) {
        /* liburing 2.3 declares io_uring_enable_rings and forgets to export it. */
        long enabled = syscall(
            SYS_io_uring_register, uring->ring.ring_fd, IORING_REGISTER_ENABLE_RINGS, NULL, 0);
        ASSERT(enabled == 0);
        uring->is_disabled = false;
    }
    if (!uring->is_waker_armed) {
        uring_arm_waker(loop);
        if (!uring->is_waker_armed) {
            timeout_ns = 0; /* sleeping without it could lose a wake-up */
        }
    }
    if (timeout_ns == 0) {
        if (io_uring_sq_ready(&uring->ring) > 0 || uring_is_ready(loop)) {
            result = io_uring_submit_and_get_events(&uring->ring);
        }
    } else {
        struct __kernel_timespec timeout = {.tv_sec = timeout_ns / 1000000000,
                                            .tv_nsec = timeout_ns % 1000000000};
        struct io_uring_cqe *cqe = NULL;
        result = io_uring_submit_and_wait_timeout(
            &uring->ring, &cqe, 1, timeout_ns < 0 ? NULL : &timeout, NULL);
    }
    /* What was not submitted stays in the queue for the next turn. Anything else than these means
     * that the ring is broken, and with it every promise about operations in the air. */
    ASSERT(result >= 0 || result == -ETIME || result == -EINTR || result == -EAGAIN ||
           result == -EBUSY || result == -ENOMEM);
    uring_reap(loop);
}

static void uring_free(struct io_loop *loop)
{
    struct loop_uring *uring = loop->state;
    io_uring_queue_exit(&uring->ring);
    mem_free(MEM_IO, uring);
    loop->state = NULL;
}

static const struct loop_backend uring_backend = {
    .name = "io_uring",
    .start = uring_start,
    .cancel = uring_cancel,
    .is_ready = uring_is_ready,
    .wait = uring_wait,
    .free = uring_free,
};

/* The best the kernel takes: one task and completions run in our turn only (6.1), no interrupting
 * of the running task (5.19), nothing special (5.11). Returns 0 or -errno. */
static int uring_create(struct loop_uring *uring)
{
    static const unsigned flags[] = {
        IORING_SETUP_CQSIZE | IORING_SETUP_R_DISABLED | IORING_SETUP_SINGLE_ISSUER |
            IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG,
        IORING_SETUP_CQSIZE | IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG,
        IORING_SETUP_CQSIZE,
    };
    int result = -EINVAL;
    for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]) && result == -EINVAL; i++) {
        struct io_uring_params params = {.flags = flags[i], .cq_entries = COMPLETION_ENTRIES};
        result = io_uring_queue_init_params(SUBMISSION_ENTRIES, &uring->ring, &params);
        uring->is_disabled = (flags[i] & IORING_SETUP_R_DISABLED) != 0;
    }
    return result;
}

bool loop_uring_init(struct io_loop *loop, struct syn_err *err)
{
    struct loop_uring *uring = mem_calloc(MEM_IO, sizeof(*uring));
    if (uring == NULL) {
        return ERR(err, SYN_CODE_MEMORY, "out of memory for an event loop");
    }
    int result = uring_create(uring);
    if (result < 0) {
        mem_free(MEM_IO, uring);
        return ERR_SYS(err, SYN_CODE_SYSTEM, -result, "cannot create an io_uring (--io epoll works everywhere)");
    }
    unsigned needed = IORING_FEAT_EXT_ARG | IORING_FEAT_NODROP;
    if ((uring->ring.features & needed) != needed) {
        io_uring_queue_exit(&uring->ring);
        mem_free(MEM_IO, uring);
        return ERR(
            err, SYN_CODE_SYSTEM, "this kernel's io_uring is too old (Linux 5.11 is needed)");
    }
    loop->backend = &uring_backend;
    loop->state = uring;
    return true;
}
