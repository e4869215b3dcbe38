/*
 * A master made of a recorded snapshot and stream: answers what a source is asked (several
 * connections at once) and hands every replica the same bytes, damaged as the test likes.
 *
 * Threads:   fake_source_start and _stop by the test; one thread serves all connections.
 * Ownership: fake_source_stop frees; the bytes stay the test's, valid until then.
 * Limits:    FAKE_SOURCE_CONNECTIONS at once; sends block, so a client that never reads holds the
 *            others up.
 */
#ifndef FAKE_SOURCE_H
#define FAKE_SOURCE_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/atomic.h"

#define FAKE_SOURCE_CONNECTIONS 16
#define FAKE_SOURCE_OFFSET 1000 /* of the snapshot */
#define FAKE_SOURCE_REPLID "0123456789abcdef0123456789abcdef01234567"
#define FAKE_SOURCE_MARK "fedcba9876543210fedcba9876543210fedcba98"

struct fake_source_script {
    const char *version; /* "7.0.15" */
    bool is_valkey;
    const char *psync_answer; /* in place of +FULLRESYNC: nothing follows it. NULL: the right one */
    const uint8_t *payload;
    size_t payload_size;
    int64_t announced; /* the length told; 0: the right one, -1: none, but an EOF mark */
    const char *mark;  /* after the payload, with announced -1; NULL: the right one */
    bool is_cut;       /* close after the payload */
    const uint8_t *stream;
    size_t stream_size;
    uint64_t offset;    /* of the snapshot; 0: FAKE_SOURCE_OFFSET */
    const char *replid; /* NULL: FAKE_SOURCE_REPLID */
    uint32_t pieces;    /* payload and stream in sends of 1 to so many bytes; 0: whole */
    /* Positions in the stream, ascending: the connection ends there, once each, and the next PSYNC
     * is answered with +CONTINUE. */
    const size_t *cuts;
    uint32_t cut_count;
    const char *continue_replid; /* named in +CONTINUE, and asked for from then on; "": none is
                                    named, as to 3.2; NULL: `replid` */
    uint32_t acks_ignored; /* before one opens the stream behind an EOF mark: a master that has not
                              yet noticed that its child ended */
};

struct fake_source {
    struct fake_source_script script;
    pthread_t thread;
    int listen_fd;
    uint16_t port;
    atomic_bool is_stopping; /* W: test. R: thread. */
    /* W: thread. R: test, after the program ended. */
    atomic_uint full_count;      /* answered with +FULLRESYNC */
    atomic_uint continued_count; /* answered with +CONTINUE */
    atomic_uint wrong_count;     /* PSYNCs that asked for what was never sent, or a wrong id */
    uint32_t cut_index;
    size_t sent_max; /* bytes of the stream that ever left */
    struct {
        int fd; /* 0: a free place */
        char in[4096];
        size_t in_size;
        bool is_stream_due; /* its payload had an EOF mark: the stream waits for an ACK */
        uint32_t acks_seen;
    } connections[FAKE_SOURCE_CONNECTIONS];
};

/* On the heap: a failed assertion leaves the test, and the thread goes on. */
struct fake_source *fake_source_start(const struct fake_source_script *script);
void fake_source_stop(struct fake_source *source);

#endif
