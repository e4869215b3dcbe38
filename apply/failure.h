/*
 * The first failure of a task: whoever fails first writes it, everybody else stops.
 *
 * Threads: failure_raise and failure_is_raised by any; failure_get by the control thread.
 */
#ifndef APPLY_FAILURE_H
#define APPLY_FAILURE_H

#include "core/base/base.h"

struct failure {
    /* 0 none, 1 being written, 2 written. W: the first to fail, cas then release. R: any, acquire.
     */
    _Atomic int state;
    struct syn_err err;    /* valid at 2 */
    struct waker *control; /* woken when raised; may be NULL */
};

/* Keeps err when it is the first one; a later one is dropped. */
void failure_raise(struct failure *failure, const struct syn_err *err);
static inline bool failure_is_raised(const struct failure *failure)
{
    return atomic_load_acquire(&failure->state) == 2;
}

#endif
