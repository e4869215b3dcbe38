/*
 * Feeds and readers: the source side of the pipeline.
 *
 * A feed is one stream: a PSYNC session with one source server, its chunks, and its place in the
 * replication history. A reader is a thread with one loop that serves several feeds: it connects,
 * authenticates, negotiates, receives into chunks, acknowledges, and when the connection is lost
 * connects again and asks for the stream's continuation. It does not look into the bytes, but for
 * one comparison: whether what was received ends with the mark of an $EOF payload (feed_receive.c).
 *
 * The state machine of a feed (feed.c draws it): CONNECTING → HANDSHAKE → SNAPSHOT → LIVE, back to
 * CONNECTING when the connection is lost, FAILED when there is no point in trying again, STOPPED
 * when asked. An RDB file as source (endpoint.file) is a feed with a snapshot and no stream:
 * feed_file.h draws its states.
 *
 * Invariants:
 * 1. Every byte after the PSYNC answer line (and after the payload's length line) is delivered
 * once, in order, across reconnections: the next PSYNC asks for exactly the byte after the last one
 * delivered.
 * 2. What does not count in the offset (handshake, "\n" keep-alives, payload, EOF mark) never moves
 * it.
 * 3. Memory is the feed's pool, nothing else: an empty pool stops receiving.
 * 4. The offset acknowledged to the source never passes offset_applied.
 *
 * Threads:   each shared field names its writer and readers.
 * Ownership: the engine owns feeds and readers; a chunk passes to the decoder with the push.
 * Errors:    `err` is written once by the reader before `state` becomes FEED_FAILED.
 */
#ifndef IO_FEED_H
#define IO_FEED_H

#include <pthread.h>

#include "io/endpoint.h"
#include "io/loop.h"

enum feed_state {
    FEED_CONNECTING,
    FEED_HANDSHAKE,
    FEED_SNAPSHOT,
    FEED_LIVE,
    FEED_STOPPED,
    FEED_FAILED,
};
const char *feed_state_name(enum feed_state state);

struct feed_options {
    struct endpoint endpoint;
    uint32_t chunk_bytes;
    uint32_t chunk_count;
    uint32_t headroom_bytes;
    uint32_t receive_bytes_min; /* a chunk with less room than this is sealed */
    uint32_t connect_timeout_ms;
    uint32_t silence_timeout_ms; /* no byte for this long: the source is gone (its PINGs come each
                                    10 s) */
    uint64_t retry_ms; /* how long a lost connection is tried again; 0: fail at once      */
    /* Continue instead of a full copy; an empty replid asks for a full copy. */
    char replid[REPLID_SIZE + 1];
    uint64_t offset;
};

struct reader;
struct feed_file;

struct feed {
    struct feed_options options; /* constant after feed_init */
    struct chunk_pool pool;
    struct ring chunks;    /* spsc, reader to decoder; holds every chunk of the pool */
    struct waker *decoder; /* woken when there is something to decode                */
    struct reader *reader;
    struct psync *psync;    /* the session; the reader's alone. NULL: a file          */
    struct feed_file *file; /* the same of a file; NULL: a server                     */

    /* W: decoder, release. R: reader, acquire: what REPLCONF ACK says. Set to the session's offset
     * when the decoder takes up CHUNK_SNAPSHOT; only grows within a full copy and its stream. */
    alignas(CACHE_LINE) _Atomic uint64_t offset_applied;
    /* W: decoder, when it found the end of a payload: its bytes with the mark, counted from
     * CHUNK_SNAPSHOT, relaxed, and then `payload_session` = that session's number, release.
     * R: reader, payload_session with acquire first; other numbers than the current one mean "not
     * yet". Stream bytes start there, and acknowledging may begin: before, ACKs carry the session's
     * offset. */
    _Atomic int64_t payload_end;
    _Atomic uint32_t payload_session;
    /* W: decoder, release, with offset_applied before it; then it wakes the reader. R: reader,
     * which exchanges it to false and sends an ACK at once: REPLCONF GETACK was in the stream. */
    _Atomic bool ack_wanted;
    /* W: any, release. R: reader. Asks for the feed to stop: close and FEED_STOPPED. */
    _Atomic bool stop_wanted;
    /* W: any, release. R: reader. Asks for a new connection now (tests, failover). */
    _Atomic bool reconnect_wanted;

    /* W: reader, release. R: any. */
    alignas(CACHE_LINE) _Atomic int state; /* enum feed_state                              */
    _Atomic uint64_t bytes_received;       /* payload and stream, since the start          */
    _Atomic uint64_t offset_received;      /* of the last stream byte received             */
    /* Of the current snapshot, -1: not known. Of a diskless one once its mark was received, before
     * the bytes behind it. */
    _Atomic int64_t payload_bytes;
    _Atomic uint32_t session_count;  /* PSYNC answers so far                         */
    _Atomic uint32_t snapshot_count; /* of these, full copies                        */
    _Atomic uint64_t starved_ns;     /* time spent not receiving for want of a chunk */
    _Atomic bool is_starved;
    struct syn_err err;      /* valid once state is FEED_FAILED              */
    struct syn_err err_last; /* reader only: why the connection was lost     */
};

struct reader {
    pthread_t thread;
    struct io_loop *loop; /* NULL: of files, and has no more than a waker */
    struct waker file_waker;
    struct feed **feeds;
    uint32_t feed_count;
    _Atomic bool stop_wanted;
    bool is_started;
    bool is_hosted; /* in a loop that somebody else steps */
};

MUST_CHECK bool feed_init(struct feed *feed,
                          const struct feed_options *options,
                          struct waker *decoder,
                          struct syn_err *err);
/* After its reader stopped and every chunk came back. A zeroed feed is allowed. */
void feed_deinit(struct feed *feed);

/* The feeds stay the caller's, and are all of servers or all of files. `index` only names the
 * thread. Once per feed. */
MUST_CHECK bool reader_start(struct reader *reader,
                             enum io_backend backend,
                             struct feed **feeds,
                             uint32_t feed_count,
                             uint32_t index,
                             struct syn_err *err);
/* The same, of servers, without a thread: whoever steps the loop calls reader_poll in each turn,
 * sleeps at most reader_timeout_ms, and goes on until reader_is_finished. */
void reader_host(struct reader *reader,
                 struct io_loop *loop,
                 struct feed **feeds,
                 uint32_t feed_count);
bool reader_poll(void *reader);
int reader_timeout_ms(const struct reader *reader);
bool reader_is_finished(const struct reader *reader);
/* Asks all its feeds to stop and joins the thread, if it has one. A zeroed reader is allowed.
 * Chunks may come back and reader_wake may be called until the feeds are deinitialised: the waker
 * lives until then, that of files inside the reader. */
void reader_stop(struct reader *reader);
static inline struct waker *reader_waker(struct reader *reader)
{
    return reader->loop != NULL ? io_loop_waker(reader->loop) : &reader->file_waker;
}
static inline void reader_wake(struct reader *reader)
{
    waker_wake(reader_waker(reader));
}

#endif
