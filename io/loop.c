/*
 * The turn, the lists and the timers; what both backends have in common.
 *
 * An operation is in exactly one place:
 *
 *   NONE ──io_connect, io_recv, io_send──► PENDING ──loop_submit──► BACKEND ──┐
 *     │                                       ▲   │ cancelled          │       │ loop_complete
 *     │                                       │   └──────────────┐     │       ▼
 *     │                                       └──loop_restart────┼─────┘     DONE ──`done`──► NONE
 *     └──io_timeout──► TIMERS ──due or cancelled─────────────────┴────────────►┘
 *
 * In BACKEND the list fields belong to `cancels` once io_cancel was called. `done` is called from
 * loop_deliver only, so that starting and cancelling never re-enter the caller.
 */
#include "io/loop_private.h"

#include <errno.h>
#include <string.h>

#define NS_PER_MS 1000000u
/* A receive larger than this is cut: the result is an int. */
#define TRANSFER_MAX ((size_t)1 << 30)
#define IOV_MAX_COUNT 64

static void list_insert_after(struct io_op_list *list, struct io_op *after, struct io_op *op)
{
    op->prev = after;
    op->next = after != NULL ? after->next : list->first;
    if (op->prev != NULL) {
        op->prev->next = op;
    } else {
        list->first = op;
    }
    if (op->next != NULL) {
        op->next->prev = op;
    } else {
        list->last = op;
    }
}

static void list_append(struct io_op_list *list, struct io_op *op)
{
    list_insert_after(list, list->last, op);
}

static void list_remove(struct io_op_list *list, struct io_op *op)
{
    if (op->prev != NULL) {
        op->prev->next = op->next;
    } else {
        ASSERT(list->first == op);
        list->first = op->next;
    }
    if (op->next != NULL) {
        op->next->prev = op->prev;
    } else {
        ASSERT(list->last == op);
        list->last = op->prev;
    }
    op->next = NULL;
    op->prev = NULL;
}

struct io_loop *io_loop_new(enum io_backend backend, struct syn_err *err)
{
    struct io_loop *loop = mem_alloc_aligned(MEM_IO, CACHE_LINE, sizeof(*loop));
    if (loop == NULL) {
        ERR(err, SYN_CODE_MEMORY, "out of memory for an event loop");
        return NULL;
    }
    memset(loop, 0, sizeof(*loop));
    atomic_store_relaxed(&loop->refs, 1);
    if (!waker_init(&loop->waker, err)) {
        mem_free(MEM_IO, loop);
        return NULL;
    }
    bool is_ready = false;
    if (backend != IO_BACKEND_EPOLL) {
        is_ready = loop_uring_init(loop, err);
        if (!is_ready && backend == IO_BACKEND_AUTO) {
            log_info("io_uring is not available here, using epoll instead (%s)", err->msg);
            err_clear(err);
        }
    }
    if (!is_ready && backend != IO_BACKEND_URING) {
        is_ready = loop_epoll_init(loop, err);
    }
    if (!is_ready) {
        waker_deinit(&loop->waker);
        mem_free(MEM_IO, loop);
        return NULL;
    }
    return loop;
}

void io_loop_keep(struct io_loop *loop)
{
    int before = atomic_add_relaxed(&loop->refs, 1);
    ASSERT(before >= 1);
}

void io_loop_unkeep(struct io_loop *loop)
{
    int before = atomic_sub_acq_rel(&loop->refs, 1);
    ASSERT(before >= 1);
    if (before == 1) {
        ASSERT(loop->backend == NULL);
        waker_deinit(&loop->waker);
        mem_free(MEM_IO, loop);
    }
}

void io_loop_free(struct io_loop *loop)
{
    if (loop == NULL) {
        return;
    }
    ASSERT(loop->air_count == 0);
    ASSERT(loop->backend != NULL);
    loop->backend->free(loop);
    loop->backend = NULL;
    io_loop_unkeep(loop);
}

const char *io_loop_backend_name(const struct io_loop *loop)
{
    return loop->backend->name;
}

struct waker *io_loop_waker(struct io_loop *loop)
{
    return &loop->waker;
}

static void op_begin(struct io_loop *loop, struct io_op *op, enum io_op_kind kind)
{
    ASSERT(op->kind == IO_OP_IDLE);
    ASSERT(op->done != NULL);
    op->kind = kind;
    op->is_cancelled = false;
    op->is_polled = false;
    op->result = 0;
    loop->air_count++;
}

static void op_pend(struct io_loop *loop, struct io_op *op)
{
    op->place = IO_PLACE_PENDING;
    list_append(&loop->pending, op);
}

void io_connect(struct io_loop *loop,
                struct io_op *op,
                int fd,
                const struct sockaddr_storage *address,
                socklen_t address_size)
{
    ASSERT(address_size <= sizeof(*address));
    op_begin(loop, op, IO_OP_CONNECT);
    op->fd = fd;
    op->address = *address;
    op->address_size = address_size;
    op_pend(loop, op);
}

void io_recv(struct io_loop *loop, struct io_op *op, int fd, void *buffer, size_t size)
{
    /* A receive of nothing would look like the end of the stream. */
    ASSERT(size > 0);
    op_begin(loop, op, IO_OP_RECV);
    op->fd = fd;
    op->buffer = buffer;
    op->size = size < TRANSFER_MAX ? size : TRANSFER_MAX;
    op_pend(loop, op);
}

void io_send(struct io_loop *loop, struct io_op *op, int fd, struct iovec *iov, unsigned iov_count)
{
    ASSERT(iov_count >= 1);
    ASSERT(iov_count <= IOV_MAX_COUNT);
    op_begin(loop, op, IO_OP_SEND);
    op->fd = fd;
    op->iov = iov;
    op->iov_count = iov_count;
    op->message = (struct msghdr){.msg_iov = iov, .msg_iovlen = iov_count};
    op_pend(loop, op);
}

void io_timeout(struct io_loop *loop, struct io_op *op, uint64_t delay_ms)
{
    op_begin(loop, op, IO_OP_TIMEOUT);
    op->deadline_ns = clock_monotonic_ns() + delay_ms * NS_PER_MS;
    op->place = IO_PLACE_TIMERS;
    /* From the end: new deadlines are mostly the latest. */
    struct io_op *after = loop->timers.last;
    while (after != NULL && after->deadline_ns > op->deadline_ns) {
        after = after->prev;
    }
    list_insert_after(&loop->timers, after, op);
}

/* Also while the backend still holds the operation in `cancels`. */
void loop_complete(struct io_loop *loop, struct io_op *op, int result)
{
    ASSERT(op->kind != IO_OP_IDLE);
    ASSERT(op->place != IO_PLACE_DONE);
    if (op->place == IO_PLACE_BACKEND && op->is_cancelled && op->result == -EINPROGRESS) {
        list_remove(&loop->cancels, op);
    }
    op->place = IO_PLACE_DONE;
    op->result = result;
    list_append(&loop->completed, op);
}

void loop_restart(struct io_loop *loop, struct io_op *op)
{
    ASSERT(op->place == IO_PLACE_BACKEND);
    if (op->is_cancelled) {
        loop_complete(loop, op, -ECANCELED);
    } else {
        op_pend(loop, op);
    }
}

void io_cancel(struct io_loop *loop, struct io_op *op)
{
    if (op->kind == IO_OP_IDLE || op->is_cancelled || op->place == IO_PLACE_DONE) {
        return;
    }
    op->is_cancelled = true;
    if (op->place == IO_PLACE_PENDING) {
        list_remove(&loop->pending, op);
        loop_complete(loop, op, -ECANCELED);
    } else if (op->place == IO_PLACE_TIMERS) {
        list_remove(&loop->timers, op);
        loop_complete(loop, op, -ECANCELED);
    } else {
        ASSERT(op->place == IO_PLACE_BACKEND);
        /* -EINPROGRESS marks "in `cancels`"; loop_submit clears it with the removal. */
        op->result = -EINPROGRESS;
        list_append(&loop->cancels, op);
    }
}

int loop_connect_result(const struct io_op *op)
{
    int error = 0;
    socklen_t size = sizeof(error);
    if (getsockopt(op->fd, SOL_SOCKET, SO_ERROR, &error, &size) != 0) {
        return -errno;
    }
    return -error;
}

/* The connect itself does not block and is done here, the same for both backends: only then the
 * backend has to wait for the socket to become writable. True: finished already. */
static bool connect_is_finished(struct io_loop *loop, struct io_op *op)
{
    if (connect(op->fd, (const struct sockaddr *)&op->address, op->address_size) == 0) {
        loop_complete(loop, op, 0);
        return true;
    }
    if (errno == EINPROGRESS || errno == EINTR) {
        return false;
    }
    loop_complete(loop, op, -errno);
    return true;
}

static void loop_submit(struct io_loop *loop)
{
    /* Cancels first: an operation that is cancelled and started again must not be hit twice. */
    while (loop->cancels.first != NULL) {
        struct io_op *op = loop->cancels.first;
        list_remove(&loop->cancels, op);
        op->result = 0;
        if (!loop->backend->cancel(loop, op)) {
            op->result = -EINPROGRESS;
            list_insert_after(&loop->cancels, NULL, op);
            return;
        }
    }
    while (loop->pending.first != NULL) {
        struct io_op *op = loop->pending.first;
        list_remove(&loop->pending, op);
        if (op->kind == IO_OP_CONNECT && !op->is_polled) {
            if (connect_is_finished(loop, op)) {
                continue;
            }
            op->is_polled = true;
        }
        op->place = IO_PLACE_BACKEND;
        if (!loop->backend->start(loop, op)) {
            op->place = IO_PLACE_PENDING;
            list_insert_after(&loop->pending, NULL, op);
            return;
        }
    }
}

static bool loop_has_work(struct io_loop *loop)
{
    return loop->completed.first != NULL || loop->pending.first != NULL ||
           loop->cancels.first != NULL || loop->backend->is_ready(loop);
}

static int64_t loop_sleep_ns(const struct io_loop *loop, int timeout_ms)
{
    int64_t sleep_ns = timeout_ms < 0 ? -1 : (int64_t)timeout_ms * NS_PER_MS;
    if (loop->timers.first != NULL) {
        uint64_t now = clock_monotonic_ns();
        uint64_t due = loop->timers.first->deadline_ns;
        int64_t left_ns = due > now ? (int64_t)(due - now) : 0;
        if (sleep_ns < 0 || left_ns < sleep_ns) {
            sleep_ns = left_ns;
        }
    }
    return sleep_ns;
}

static void loop_expire(struct io_loop *loop)
{
    if (loop->timers.first == NULL) {
        return;
    }
    uint64_t now = clock_monotonic_ns();
    while (loop->timers.first != NULL && loop->timers.first->deadline_ns <= now) {
        struct io_op *op = loop->timers.first;
        list_remove(&loop->timers, op);
        loop_complete(loop, op, 0);
    }
}

static void loop_deliver(struct io_loop *loop)
{
    /* What completes during delivery (a cancel in a callback) waits for the next turn. */
    struct io_op_list list = loop->completed;
    loop->completed = (struct io_op_list){0};
    while (list.first != NULL) {
        struct io_op *op = list.first;
        list_remove(&list, op);
        op->kind = IO_OP_IDLE;
        op->place = IO_PLACE_NONE;
        ASSERT(loop->air_count > 0);
        loop->air_count--;
        op->done(op, op->result);
    }
}

void io_loop_step(struct io_loop *loop, io_poll *poll, void *arg, int timeout_ms)
{
    if (!loop->has_owner) {
        loop->has_owner = true;
        loop->owner = pthread_self();
    }
    ASSERT(pthread_equal(loop->owner, pthread_self()));
    bool is_busy = poll != NULL && poll(arg);
    loop_submit(loop);
    if (is_busy || loop_has_work(loop)) {
        loop->backend->wait(loop, 0);
    } else {
        waker_prepare(&loop->waker);
        is_busy = poll != NULL && poll(arg);
        loop_submit(loop);
        bool can_sleep = !is_busy && !loop_has_work(loop);
        loop->backend->wait(loop, can_sleep ? loop_sleep_ns(loop, timeout_ms) : 0);
        waker_done(&loop->waker);
    }
    loop_expire(loop);
    loop_deliver(loop);
}
