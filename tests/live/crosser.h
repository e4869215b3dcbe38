/*
 * A writer of commands over several slots: every kind that can be relayed, by two threads on the
 * same few keys of a standalone source, so that most operands of a command are still on their way
 * when it comes.
 *
 * Threads: start and stop from one thread. Errors: what the source refuses (a name that is not
 * there, a list that is empty) is passed over; it does not reach the stream.
 */
#ifndef LIVE_CROSSER_H
#define LIVE_CROSSER_H

#include <pthread.h>

#include "core/base/atomic.h"
#include "tests/live/live.h"
#include "tests/support/random.h"

#define CROSSERS 2

struct crosser {
    pthread_t thread;
    struct test_client *client;
    struct random random;
    atomic_bool is_stopping;
    bool has_6_2;
    uint32_t rate; /* per second */
};

void crossers_start(struct crosser crossers[CROSSERS],
                    const struct live_side *source,
                    uint64_t seed,
                    uint32_t rate);
void crossers_stop(struct crosser crossers[CROSSERS]);
/* Waits until so many more commands were relayed. */
void crossers_wait_relayed(struct test_cli *cli, int64_t more);

#endif
