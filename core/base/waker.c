#include "core/base/waker.h"

#include <errno.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

bool waker_init(struct waker *waker, struct syn_err *err)
{
    atomic_store_relaxed(&waker->is_asleep, false);
    waker->step = NULL;
    waker->step_arg = NULL;
    waker->host = NULL;
    waker->fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (waker->fd < 0) {
        return ERR_SYS(err, SYN_CODE_SYSTEM, errno, "cannot create an eventfd");
    }
    return true;
}

void waker_deinit(struct waker *waker)
{
    if (waker->fd >= 0) {
        close(waker->fd);
        waker->fd = -1;
    }
}

void waker_serve(struct waker *waker, struct waker *host, waker_step *step, void *arg)
{
    waker->host = host;
    waker->step = step;
    waker->step_arg = arg;
}

void waker_signal(struct waker *waker)
{
    if (waker->host != NULL) {
        waker_wake(waker->host);
        return;
    }
    uint64_t one = 1;
    /* EAGAIN means that the counter is at its maximum: the sleeper is awake anyway. */
    ssize_t written = write(waker->fd, &one, sizeof(one));
    (void)written;
}

void waker_drain(struct waker *waker)
{
    uint64_t count;
    ssize_t got = read(waker->fd, &count, sizeof(count));
    (void)got;
}

void waker_wait(struct waker *waker, int timeout_ms)
{
    if (waker->step != NULL) {
        waker->step(waker->step_arg, timeout_ms);
        waker_done(waker);
        return;
    }
    struct pollfd pollfd = {.fd = waker->fd, .events = POLLIN};
    if (poll(&pollfd, 1, timeout_ms) > 0) {
        waker_drain(waker);
    }
    waker_done(waker);
}
