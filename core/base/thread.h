/*
 * Threads of Syncline: named, with every signal blocked, so that signals stay the host's business.
 */
#ifndef BASE_THREAD_H
#define BASE_THREAD_H

#include <pthread.h>

#include "core/base/err.h"

/* The kernel shows "sync-<role><index>", cut to 15 characters. */
MUST_CHECK bool thread_start(pthread_t *thread,
                             const char *role,
                             unsigned index,
                             void *(*main)(void *),
                             void *arg,
                             struct syn_err *err);

#endif
