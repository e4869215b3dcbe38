/*
 * epoll backend: every operation is tried at once, and only what would block is registered.
 *
 * Registrations are one-shot and set again each time an operation waits. That costs a system call
 * more than edge-triggered ones would, but nothing has to be remembered about a descriptor between
 * two waits, so that it may be closed and its number reused without telling the loop.
 */
#include "io/loop_private.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#define EVENTS_PER_WAIT 128

/* What waits for a descriptor. */
struct epoll_slot {
    struct io_op *input;  /* a receive           */
    struct io_op *output; /* a send or a connect */
};

struct loop_epoll {
    int fd;
    struct epoll_slot *slots; /* by descriptor */
    size_t slot_count;
};

static bool epoll_reserve(struct loop_epoll *epoll, int fd)
{
    ASSERT(fd >= 0);
    size_t needed = (size_t)fd + 1;
    if (needed <= epoll->slot_count) {
        return true;
    }
    size_t count = epoll->slot_count < 64 ? 64 : epoll->slot_count;
    while (count < needed) {
        count *= 2;
    }
    struct epoll_slot *slots = mem_realloc(MEM_IO, epoll->slots, count * sizeof(*slots));
    if (slots == NULL) {
        return false;
    }
    memset(slots + epoll->slot_count, 0, (count - epoll->slot_count) * sizeof(*slots));
    epoll->slots = slots;
    epoll->slot_count = count;
    return true;
}

/* Registers what the slot waits for now; returns 0 or -errno. */
static int epoll_arm(struct loop_epoll *epoll, int fd)
{
    const struct epoll_slot *slot = &epoll->slots[fd];
    struct epoll_event event = {.data.fd = fd};
    if (slot->input != NULL) {
        event.events |= EPOLLIN | EPOLLRDHUP;
    }
    if (slot->output != NULL) {
        event.events |= EPOLLOUT;
    }
    if (event.events == 0) {
        /* Not registered any more is as good: the caller may have closed it. */
        (void)epoll_ctl(epoll->fd, EPOLL_CTL_DEL, fd, NULL);
        return 0;
    }
    event.events |= EPOLLONESHOT;
    if (epoll_ctl(epoll->fd, EPOLL_CTL_MOD, fd, &event) == 0) {
        return 0;
    }
    if (errno == ENOENT && epoll_ctl(epoll->fd, EPOLL_CTL_ADD, fd, &event) == 0) {
        return 0;
    }
    return -errno;
}

static struct io_op **epoll_place(struct loop_epoll *epoll, const struct io_op *op)
{
    struct epoll_slot *slot = &epoll->slots[op->fd];
    return op->kind == IO_OP_RECV ? &slot->input : &slot->output;
}

/* Transfers; -EAGAIN when it has to wait. */
static int epoll_try(struct io_op *op)
{
    ssize_t result;
    do {
        if (op->kind == IO_OP_RECV) {
            result = recv(op->fd, op->buffer, op->size, MSG_DONTWAIT);
        } else {
            result = sendmsg(op->fd, &op->message, MSG_DONTWAIT | MSG_NOSIGNAL);
        }
    } while (result < 0 && errno == EINTR);
    return result < 0 ? -errno : (int)result;
}

static bool epoll_start(struct io_loop *loop, struct io_op *op)
{
    struct loop_epoll *epoll = loop->state;
    if (op->kind != IO_OP_CONNECT) {
        int result = epoll_try(op);
        if (result != -EAGAIN) {
            loop_complete(loop, op, result);
            return true;
        }
    }
    if (!epoll_reserve(epoll, op->fd)) {
        loop_complete(loop, op, -ENOMEM);
        return true;
    }
    struct io_op **place = epoll_place(epoll, op);
    ASSERT(*place == NULL);
    *place = op;
    int result = epoll_arm(epoll, op->fd);
    if (result < 0) {
        *place = NULL;
        loop_complete(loop, op, result);
    }
    return true;
}

static bool epoll_cancel(struct io_loop *loop, struct io_op *op)
{
    struct loop_epoll *epoll = loop->state;
    struct io_op **place = epoll_place(epoll, op);
    ASSERT(*place == op);
    *place = NULL;
    (void)epoll_arm(epoll, op->fd);
    loop_complete(loop, op, -ECANCELED);
    return true;
}

static bool epoll_is_ready(struct io_loop *loop)
{
    (void)loop;
    return false;
}

static void epoll_event(struct io_loop *loop, int fd, uint32_t events)
{
    struct loop_epoll *epoll = loop->state;
    struct epoll_slot *slot = &epoll->slots[fd];
    struct io_op *input = NULL;
    struct io_op *output = NULL;
    if ((events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0) {
        input = slot->input;
        slot->input = NULL;
    }
    if ((events & (EPOLLOUT | EPOLLHUP | EPOLLERR)) != 0) {
        output = slot->output;
        slot->output = NULL;
    }
    /* The event used up the registration of both directions. */
    if (slot->input != NULL || slot->output != NULL) {
        (void)epoll_arm(epoll, fd);
    }
    if (input != NULL) {
        (void)epoll_start(loop, input);
    }
    if (output != NULL && output->kind == IO_OP_CONNECT) {
        loop_complete(loop, output, loop_connect_result(output));
    } else if (output != NULL) {
        (void)epoll_start(loop, output);
    }
}

static void epoll_wait_events(struct io_loop *loop, int64_t timeout_ns)
{
    struct loop_epoll *epoll = loop->state;
    struct epoll_event events[EVENTS_PER_WAIT];
    int timeout_ms = -1;
    if (timeout_ns >= 0) {
        /* Rounded up: waking before the deadline would spin until it. */
        int64_t rounded = (timeout_ns + 999999) / 1000000;
        timeout_ms = rounded < INT32_MAX ? (int)rounded : INT32_MAX;
    }
    int count = epoll_wait(epoll->fd, events, EVENTS_PER_WAIT, timeout_ms);
    ASSERT(count >= 0 || errno == EINTR);
    for (int i = 0; i < count; i++) {
        if (events[i].data.fd == loop->waker.fd) {
            waker_drain(&loop->waker);
        } else {
            epoll_event(loop, events[i].data.fd, events[i].events);
        }
    }
}

static void epoll_free(struct io_loop *loop)
{
    struct loop_epoll *epoll = loop->state;
    close(epoll->fd);
    mem_free(MEM_IO, epoll->slots);
    mem_free(MEM_IO, epoll);
    loop->state = NULL;
}

static const struct loop_backend epoll_backend = {
    .name = "epoll",
    .start = epoll_start,
    .cancel = epoll_cancel,
    .is_ready = epoll_is_ready,
    .wait = epoll_wait_events,
    .free = epoll_free,
};

bool loop_epoll_init(struct io_loop *loop, struct syn_err *err)
{
    struct loop_epoll *epoll = mem_calloc(MEM_IO, sizeof(*epoll));
    if (epoll == NULL) {
        return ERR(err, SYN_CODE_MEMORY, "out of memory for an event loop");
    }
    epoll->fd = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event event = {.events = EPOLLIN, .data.fd = loop->waker.fd};
    if (epoll->fd < 0 || epoll_ctl(epoll->fd, EPOLL_CTL_ADD, loop->waker.fd, &event) != 0) {
        int number = errno;
        if (epoll->fd >= 0) {
            close(epoll->fd);
        }
        mem_free(MEM_IO, epoll);
        return ERR_SYS(err, SYN_CODE_SYSTEM, number, "cannot create an epoll descriptor");
    }
    loop->backend = &epoll_backend;
    loop->state = epoll;
    return true;
}
