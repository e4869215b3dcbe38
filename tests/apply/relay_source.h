/*
 * A source that is asked for the values of keys (apply/refetch.h): answers PING, SELECT, and MULTI
 * … EXEC with INFO, TIME, DUMP and PTTL. What a key holds, and at which offset, the test says.
 *
 * Threads: one of its own, for one connection after the other; the callbacks run there.
 */
#ifndef TESTS_APPLY_RELAY_SOURCE_H
#define TESTS_APPLY_RELAY_SOURCE_H

#include <pthread.h>

#include "tests/apply/pipeline_rig.h"

struct value_source {
    /* The offset at which the next transaction is answered; not inside one of the stream. */
    uint64_t (*offset)(void *arg);
    /* The key after that offset, as a payload without type and footer; false: there is none. The
     * clock says 0, so expire_ms (-1: none) is also what is left. */
    bool (*value)(void *arg,
                  uint64_t offset,
                  const uint8_t *key,
                  size_t size,
                  char payload[64],
                  int64_t *expire_ms);
    void *arg;
    pthread_t thread;
    int listen_fd;
    uint16_t port;
    _Atomic uint64_t value_count;
};

void value_source_start(struct value_source *source);
void value_source_stop(struct value_source *source);

#endif
