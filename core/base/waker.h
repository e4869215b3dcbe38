/*
 * Sleeping and waking of one thread without a system call while it is busy.
 *
 * Protocol. The sleeper: waker_prepare, look at every queue once more, and only if all are empty
 * block on waker_fd (or waker_wait), then waker_done. The others: publish work, then waker_wake.
 * waker_prepare stores `is_asleep` and fences; waker_wake fences and loads it. So either the waker
 * sees the flag and writes the eventfd, or the sleeper's second look sees the work: no wake-up is
 * lost, and a running thread costs its peers one load.
 *
 * A thread that serves a loop besides (apply/solo.h) has a waker with a `step`: it sleeps by turns
 * of that loop, and is woken through the loop's own waker.
 *
 * Threads: prepare, done, wait and yield by the owner; wake by any thread.
 */
#ifndef BASE_WAKER_H
#define BASE_WAKER_H

#include <stdalign.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/atomic.h"
#include "core/base/err.h"

/* One turn of the loop that the owner serves besides: at most timeout_ms (negative: for ever), and
 * no sleep when `is_asleep` is false already. */
typedef void waker_step(void *arg, int timeout_ms);

struct waker {
    int fd;           /* eventfd, non-blocking; readable after a wake-up */
    waker_step *step; /* NULL: the owner serves nothing else  */
    void *step_arg;
    struct waker *host; /* of that loop                         */
    /* W: owner in prepare and done; any thread clears it in wake. */
    alignas(CACHE_LINE) _Atomic bool is_asleep;
};

MUST_CHECK bool waker_init(struct waker *waker, struct syn_err *err);
void waker_deinit(struct waker *waker);
/* Before anybody else knows it. */
void waker_serve(struct waker *waker, struct waker *host, waker_step *step, void *arg);

static inline void waker_prepare(struct waker *waker)
{
    atomic_store_relaxed(&waker->is_asleep, true);
    atomic_fence_full();
}

static inline void waker_done(struct waker *waker)
{
    atomic_store_relaxed(&waker->is_asleep, false);
}

void waker_signal(struct waker *waker); /* writes the eventfd; also from a signal handler */
void waker_drain(struct waker *waker);  /* makes the eventfd unreadable again */

/* Blocks until woken or timeout_ms passed (negative: for ever), then drains and is done. With a
 * `step`: for one turn, which may end earlier. */
void waker_wait(struct waker *waker, int timeout_ms);

static inline bool waker_is_woken(const struct waker *waker)
{
    return !atomic_load_relaxed(&waker->is_asleep);
}

/* In the middle of work: a turn of the loop, without sleep, if there is one. */
static inline void waker_yield(const struct waker *waker)
{
    if (waker->step != NULL) {
        waker->step(waker->step_arg, 0);
    }
}

static inline void waker_wake(struct waker *waker)
{
    atomic_fence_full();
    if (atomic_load_relaxed(&waker->is_asleep) &&
        atomic_exchange_acq_rel(&waker->is_asleep, false)) {
        waker_signal(waker);
    }
}

#endif
