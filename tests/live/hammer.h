/*
 * A writer of commands that show a repetition or a loss for ever: INCR, APPEND, pushes and pops,
 * RPOPLPUSH, transactions of them, and SETs between; as far as they may reach, also commands over
 * keys of several slots, and over databases 0 to 3 (COPY, MOVE, now and then SWAPDB). Nothing
 * expires.
 *
 * Threads:   start, stop and the others by the test's thread; HAMMER_WRITERS of its own write, in
 *            pipelines.
 * Limits:    as fast as the source takes it. A test that must not let the copy fall behind without
 *            bound calls hammer_pace while it waits.
 * Errors:    fatal.
 */
#ifndef LIVE_HAMMER_H
#define LIVE_HAMMER_H

#include <pthread.h>

#include "core/base/atomic.h"
#include "tests/live/live.h"

#define HAMMER_WRITERS 2

/* What one command touches. */
enum hammer_reach { HAMMER_SLOT, HAMMER_SLOTS, HAMMER_DATABASES };

struct hammer {
    struct hammer_writer {
        struct hammer *hammer;
        pthread_t thread;
        uint64_t seed;
        struct test_client *client;
    } writers[HAMMER_WRITERS];
    uint16_t port;
    enum hammer_reach reach;
    atomic_bool is_stopping;
    atomic_bool is_paused;
    _Atomic uint64_t count; /* commands answered without an error                    */
    uint64_t resumed_ms;    /* the present stretch of writing began; 0: paused         */
    uint64_t active_ms;     /* of the stretches before                                 */
};

void hammer_start(struct hammer *hammer,
                  const struct live_side *source,
                  uint64_t seed,
                  enum hammer_reach reach);
void hammer_stop(struct hammer *hammer);
/* Waits until it has written so many more. */
void hammer_more(struct hammer *hammer, uint64_t count);
/* So many commands were answered since the start. */
uint64_t hammer_count(const struct hammer *hammer);
/* The same per second of the time in which it was not paused. */
uint64_t hammer_rate(const struct hammer *hammer);
/* Pauses it while `lag_bytes` are too many for a copy that is nearly level, and lets it go on when
 * there are few. */
void hammer_pace(struct hammer *hammer, int64_t lag_bytes);

#endif
