/*
 * From the socket into chunks: publication, offsets, the end of the payload, back-pressure.
 *
 * A chunk is pushed when it is taken, so that the decoder follows it while it fills; afterwards
 * only `filled` and `is_sealed` change, in this order. Nothing is touched after the seal: from
 * then on the chunk may come back to the pool at any moment.
 *
 * Where an $EOF payload ends. The decoder finds out by parsing. But a source sends nothing behind
 * the mark before it gets an ACK (all versions, 2.8.24 to 9.1), and no ACK is sent before the end
 * is known; so the payload has ended exactly when what was received ends with the mark, 40 random
 * digits. Comparing them here means that a connection lost between the payload's last byte and the
 * decoder's finding it needs no waiting and no second full copy, and that a decoder that is far
 * behind does not make the source time out. A server that streams without waiting for the ACK is
 * served by the decoder's word, which is also final where the two differ.
 */
#include <string.h>

#include "io/feed_private.h"

uint64_t feed_offset_received(const struct psync *psync)
{
    if (psync->payload_end < 0 || psync->received < (uint64_t)psync->payload_end) {
        return psync->offset_snapshot;
    }
    return psync->offset_snapshot + (psync->received - (uint64_t)psync->payload_end);
}

uint64_t feed_ack_offset(const struct feed *feed)
{
    const struct psync *psync = feed->psync;
    /* Until the decoder has reached this copy's stream, offset_applied may be of the copy before.
     */
    if (atomic_load_acquire(&feed->payload_session) != psync->number) {
        return psync->offset_snapshot;
    }
    uint64_t applied = atomic_load_acquire(&feed->offset_applied);
    uint64_t received = feed_offset_received(psync);
    return applied < received ? applied : received;
}

static void offset_publish(struct feed *feed)
{
    atomic_store_release(&feed->offset_received, feed_offset_received(feed->psync));
}

void feed_forget(struct feed *feed, const struct psync_answer *answer)
{
    struct psync *psync = feed->psync;
    psync->number++;
    memcpy(psync->replid, answer->replid, sizeof(psync->replid));
    psync->offset_snapshot = answer->offset;
    psync->received = 0;
    psync->payload_end = -1;
    psync->is_end_confirmed = false;
    memset(psync->tail, 0, sizeof(psync->tail));
    psync->copy = (struct chunk_session){
        .number = psync->number,
        .offset = answer->offset,
        .payload_bytes = -1,
    };
    memcpy(psync->copy.replid, answer->replid, sizeof(psync->copy.replid));
    atomic_store_release(&feed->payload_bytes, -1);
    offset_publish(feed);
}

void feed_begin_snapshot(struct feed *feed)
{
    struct psync *psync = feed->psync;
    ASSERT(psync->chunk == NULL);
    ASSERT(psync->received == 0);
    psync->next = psync->copy;
    psync->next_kind = CHUNK_SNAPSHOT;
    psync->has_next = true;
    atomic_store_release(&feed->payload_bytes, psync->copy.payload_bytes);
    if (psync->copy.payload_bytes == 0) {
        psync->payload_end = 0;
    }
}

void feed_begin_continue(struct feed *feed)
{
    struct psync *psync = feed->psync;
    ASSERT(psync->chunk == NULL);
    ASSERT(psync->payload_end >= 0);
    psync->next = (struct chunk_session){
        .number = psync->number,
        .offset = feed_offset_received(psync),
    };
    memcpy(psync->next.replid, psync->replid, sizeof(psync->next.replid));
    psync->next_kind = CHUNK_CONTINUE;
    psync->has_next = true;
}

static void chunk_seal(struct feed *feed)
{
    struct psync *psync = feed->psync;
    if (psync->chunk != NULL) {
        struct chunk *chunk = psync->chunk;
        psync->chunk = NULL;
        atomic_store_release(&chunk->is_sealed, true);
        waker_wake(feed->decoder);
    }
}

static void starved_end(struct feed *feed, uint64_t now_ns)
{
    struct psync *psync = feed->psync;
    if (psync->starved_since_ns != 0) {
        counter_add(&feed->starved_ns, now_ns - psync->starved_since_ns);
        psync->starved_since_ns = 0;
        atomic_store_release(&feed->is_starved, false);
    }
}

void feed_end_session(struct feed *feed)
{
    struct psync *psync = feed->psync;
    ASSERT(io_op_is_idle(&psync->recv_op));
    chunk_seal(feed);
    starved_end(feed, clock_monotonic_ns());
    psync->in_start = 0;
    psync->in_end = 0;
    if (psync->payload_end < 0 || (psync->has_next && psync->next_kind == CHUNK_SNAPSHOT)) {
        /* An unfinished copy cannot be continued, nor one that the decoder has not heard of. */
        psync->replid[0] = '\0';
    }
    psync->has_next = false;
}

/* A chunk with room becomes current. False: the pool is empty. */
static bool chunk_ready(struct feed *feed)
{
    struct psync *psync = feed->psync;
    if (psync->chunk != NULL) {
        return true;
    }
    struct chunk *chunk = chunk_pool_take(&feed->pool);
    if (chunk == NULL) {
        if (psync->starved_since_ns == 0) {
            psync->starved_since_ns = clock_monotonic_ns();
            atomic_store_release(&feed->is_starved, true);
        }
        return false;
    }
    if (psync->has_next) {
        chunk->kind = psync->next_kind;
        chunk->session = psync->next;
        psync->has_next = false;
    }
    psync->chunk = chunk;
    bool is_pushed = ring_spsc_push(&feed->chunks, chunk);
    ASSERT(is_pushed); /* it holds every chunk of the pool */
    waker_wake(feed->decoder);
    uint64_t now = clock_monotonic_ns();
    starved_end(feed, now);
    psync->last_byte_ns = now;
    return true;
}

/* Keeps the last bytes of the payload, of which `size` new ones end at `end`. */
static bool tail_is_mark(struct psync *psync, const uint8_t *end, uint32_t size)
{
    if (size < EOF_MARK_SIZE) {
        memmove(psync->tail, psync->tail + size, EOF_MARK_SIZE - size);
        memcpy(psync->tail + EOF_MARK_SIZE - size, end - size, size);
    } else {
        memcpy(psync->tail, end - EOF_MARK_SIZE, EOF_MARK_SIZE);
    }
    return psync->received >= EOF_MARK_SIZE &&
           memcmp(psync->tail, psync->copy.eof_mark, EOF_MARK_SIZE) == 0;
}

/* Finds the end of the payload in the bytes received last, if they contain it. */
static void payload_advance(struct feed *feed, const uint8_t *end, uint32_t size)
{
    struct psync *psync = feed->psync;
    int64_t length = psync->copy.payload_bytes;
    if (length < 0) {
        if (tail_is_mark(psync, end, size)) {
            psync->payload_end = (int64_t)psync->received;
            atomic_store_release(&feed->payload_bytes, psync->payload_end - EOF_MARK_SIZE);
        }
    } else if (psync->received >= (uint64_t)length) {
        psync->payload_end = length;
    }
}

/* `size` bytes have been written behind the chunk's filled part: counts and publishes them. */
static void chunk_fill(struct feed *feed, uint32_t size)
{
    struct psync *psync = feed->psync;
    struct chunk *chunk = psync->chunk;
    uint32_t filled = atomic_load_relaxed(&chunk->filled) + size;
    ASSERT(filled <= feed->pool.chunk_bytes);
    psync->received += size;
    bool was_payload = psync->payload_end < 0;
    if (was_payload) {
        payload_advance(feed, chunk->bytes + filled, size);
    }
    counter_add(&feed->bytes_received, size);
    /* Before the bytes can be applied, so that `received` is never seen behind `applied`. */
    offset_publish(feed);
    atomic_store_release(&chunk->filled, filled);
    if (feed->pool.chunk_bytes - filled < feed->options.receive_bytes_min) {
        chunk_seal(feed);
    } else {
        waker_wake(feed->decoder);
    }
    psync->trouble_ns = 0;
    if (was_payload && psync->payload_end >= 0) {
        feed_go_live(feed);
    }
}

/* A master whose child ends badly after all of an $EOF payload was sent (FLUSHALL kills it) says
 * "\n", as while it waits, until it drops the connection; 7.0, replicationCron. Commands begin with
 * '*', so in front of the first one that is a keep-alive: it is no byte of the stream, or the next
 * PSYNC would ask for one too late. Returns how many of `size` bytes behind the filled part are
 * left.
 */
static uint32_t keepalives_drop(struct feed *feed, uint32_t size)
{
    const struct psync *psync = feed->psync;
    if (psync->payload_end < 0 || psync->received != (uint64_t)psync->payload_end) {
        return size;
    }
    uint8_t *bytes = psync->chunk->bytes + atomic_load_relaxed(&psync->chunk->filled);
    uint32_t count = 0;
    while (count < size && bytes[count] == '\n') {
        count++;
    }
    if (count > 0) {
        memmove(bytes, bytes + count, size - count);
    }
    return size - count;
}

/* What came together with the lines. False: no room for it now. */
static bool surplus_move(struct feed *feed)
{
    struct psync *psync = feed->psync;
    while (psync->in_start < psync->in_end) {
        if (!chunk_ready(feed)) {
            return false;
        }
        uint32_t filled = atomic_load_relaxed(&psync->chunk->filled);
        uint32_t size = psync->in_end - psync->in_start;
        if (size > feed->pool.chunk_bytes - filled) {
            size = feed->pool.chunk_bytes - filled;
        }
        memcpy(psync->chunk->bytes + filled, psync->in + psync->in_start, size);
        psync->in_start += size;
        size = keepalives_drop(feed, size);
        if (size > 0) {
            chunk_fill(feed, size);
        }
    }
    return true;
}

void feed_receive(struct feed *feed)
{
    struct psync *psync = feed->psync;
    ASSERT(psync->phase == PHASE_PAYLOAD || psync->phase == PHASE_STREAM);
    if (psync->rest_until_ns != 0 || !io_op_is_idle(&psync->recv_op) || !surplus_move(feed) ||
        !chunk_ready(feed)) {
        return; /* feed_receive_poll goes on when a chunk has come back */
    }
    uint32_t filled = atomic_load_relaxed(&psync->chunk->filled);
    ASSERT(filled < feed->pool.chunk_bytes);
    io_recv(psync->loop,
            &psync->recv_op,
            psync->fd,
            psync->chunk->bytes + filled,
            feed->pool.chunk_bytes - filled);
}

/* A snapshot comes in pieces as small as the source writes them, and each would wake every thread
 * behind this one. Nobody waits for a single piece of it, so after a small one the socket gathers
 * for a while. Measured: half of our CPU on a copy of 5 million strings. */
#define REST_NS 1000000u

void feed_received(struct feed *feed, uint32_t size)
{
    struct psync *psync = feed->psync;
    ASSERT(psync->chunk != NULL);
    psync->last_byte_ns = clock_monotonic_ns();
    size = keepalives_drop(feed, size);
    if (size > 0) {
        chunk_fill(feed, size);
    }
    if (psync->phase == PHASE_PAYLOAD && size < feed->pool.chunk_bytes / 4) {
        psync->rest_until_ns = psync->last_byte_ns + REST_NS;
    } else {
        feed_receive(feed);
    }
}

/* The decoder's word on the end of an $EOF payload; see the top. */
static bool payload_confirm(struct feed *feed)
{
    struct psync *psync = feed->psync;
    if (psync->number == 0 || psync->copy.payload_bytes >= 0 || psync->is_end_confirmed ||
        atomic_load_acquire(&feed->payload_session) != psync->number) {
        return false;
    }
    int64_t end = atomic_load_relaxed(&feed->payload_end);
    ASSERT(end >= 0);
    ASSERT((uint64_t)end <= psync->received);
    psync->is_end_confirmed = true;
    if (psync->payload_end < 0) {
        psync->payload_end = end;
        offset_publish(feed);
        if (psync->phase == PHASE_PAYLOAD) {
            feed_go_live(feed);
        }
    } else if (psync->payload_end != end) {
        /* The mark inside the snapshot's data: what was counted as stream since then was not. */
        char text[ENDPOINT_TEXT_MAX];
        ERR(&feed->err_last,
            SYN_CODE_SOURCE_PROTOCOL,
            "the snapshot of %s contains its own end mark; start the full copy again",
            endpoint_text(&feed->options.endpoint, text));
        feed_lose(feed);
    }
    return true;
}

bool feed_receive_poll(struct feed *feed, uint64_t now_ns)
{
    struct psync *psync = feed->psync;
    bool did = payload_confirm(feed);
    if (psync->rest_until_ns != 0 && now_ns >= psync->rest_until_ns) {
        psync->rest_until_ns = 0;
        feed_receive(feed);
        did = true;
    }
    if (psync->starved_since_ns != 0 &&
        (psync->phase == PHASE_PAYLOAD || psync->phase == PHASE_STREAM)) {
        feed_receive(feed);
        did |= psync->starved_since_ns == 0;
    }
    return did;
}
