/*
 * Chunks: the bounded memory in which bytes from a source live between the socket and the router.
 *
 * A pool belongs to one stream, so that a slow stream can never starve another. The reader takes a
 * chunk, receives into it and publishes how far it is filled; the decoder reads behind it. Bytes
 * are never moved inside, except that the decoder may copy an unfinished tail into the headroom of
 * the next chunk, just before its first byte, so that small items are contiguous there.
 *
 * Threads:   chunk_pool_take by the reader; chunk_release by any holder; fields as commented.
 * Ownership: a chunk starts with one reference, the reader's, which passes to the consumer with
 *            the push. Another holder calls chunk_acquire first. At zero it goes back to its pool.
 * Limits:    count and size are fixed at init; an empty pool is back-pressure: the reader stops
 *            receiving and is woken when a chunk returns.
 */
#ifndef BASE_CHUNK_H
#define BASE_CHUNK_H

#include <stdalign.h>
#include <stdint.h>

#include "core/base/atomic.h"
#include "core/base/ring.h"
#include "core/base/waker.h"

/* Where a chunk's bytes belong. A new session with the source always starts a new chunk. */
enum chunk_kind {
    CHUNK_DATA,     /* continues the chunk before                                          */
    CHUNK_SNAPSHOT, /* +FULLRESYNC: the payload's first byte is the first byte here        */
    CHUNK_CONTINUE, /* +CONTINUE: the stream goes on exactly where the bytes before ended  */
};

#define REPLID_SIZE 40
#define EOF_MARK_SIZE 40

/* What the source answered to PSYNC; in CHUNK_SNAPSHOT and CHUNK_CONTINUE. */
struct chunk_session {
    char replid[REPLID_SIZE + 1];
    uint32_t number;       /* counts the full copies of this feed, from 1             */
    uint64_t offset;       /* of the last byte before the stream's next one           */
    int64_t payload_bytes; /* snapshot size; -1 when it ends with eof_mark            */
    char eof_mark[EOF_MARK_SIZE];
};

struct chunk_pool;

struct chunk {
    struct chunk_pool *pool;
    uint8_t *bytes; /* first received byte; `headroom` bytes before it are usable */
    enum chunk_kind kind;
    struct chunk_session session;
    _Atomic uint32_t refs;
    /* W: reader, release, after each receive. R: decoder, acquire. Only grows until sealed. */
    alignas(CACHE_LINE) _Atomic uint32_t filled;
    /* W: reader, release, after its last `filled`. R: decoder, acquire; then reads filled again. */
    _Atomic bool is_sealed;
};

struct chunk_pool {
    struct ring free;     /* mpsc of chunk; every chunk fits, so a push never fails */
    struct waker *reader; /* woken by a release, when the pool was waited for        */
    uint32_t chunk_bytes; /* receivable bytes of each chunk                          */
    uint32_t headroom_bytes;
    uint32_t count;
    struct chunk *chunks;
    uint8_t *memory;
};

/* `reader` may be NULL (tests). count 2 to 65536. */
MUST_CHECK bool chunk_pool_init(struct chunk_pool *pool,
                                uint32_t count,
                                uint32_t chunk_bytes,
                                uint32_t headroom_bytes,
                                struct waker *reader,
                                struct syn_err *err);
/* No chunk may be in use any more. */
void chunk_pool_deinit(struct chunk_pool *pool);
/* Reader only. NULL when all are in use. The chunk is empty, unsealed, CHUNK_DATA, one reference.
 */
struct chunk *chunk_pool_take(struct chunk_pool *pool);
void chunk_acquire(struct chunk *chunk);
void chunk_release(struct chunk *chunk);

#endif
