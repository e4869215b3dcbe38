/*
 * The session of a feed: connections and handshake.
 *
 *             due                connected              payload line              payload ended
 *   WAITING ──────► CONNECTING ────────────► LINES ─────────────────► PAYLOAD ───────────────►
 * STREAM ▲                │                    │   └──── +CONTINUE ────────┼────────────────────► │
 *      │                └──────── lost, refused, silent, reconnect_wanted, stop_wanted ──────────┤
 *      │                                                                                         ▼
 *      └── AFTER_RETRY, AFTER_RECONNECT ─────────────────────────────────────────────────── CLOSING
 *          AFTER_FAIL ──► ENDED (FEED_FAILED)     AFTER_STOP ──► ENDED (FEED_STOPPED)
 *
 * WAITING     fd is -1, nothing is in the air, no chunk is current; connects at due_ns.
 * CONNECTING  connect_op is in the air until due_ns at the latest.
 * LINES       one request at a time (psync.h); recv_op fills `in`; each reply has until due_ns.
 * PAYLOAD     recv_op fills chunks, or the feed is starved; payload_end is -1.
 * STREAM      the same with payload_end known; send_op carries an ACK each second.
 * CLOSING     everything is cancelled; close_finish when nothing is in the air any more. What a
 *             cancelled receive still brought is not counted, so it is asked for again.
 *
 * feed_poll moves on what is due or wanted; the rest happens in the `done` functions.
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "io/feed_file.h"
#include "io/feed_private.h"

#define BACKOFF_FIRST_MS 100
#define BACKOFF_MAX_MS 5000
#define ACK_PERIOD_MS 1000
#define ACK_FIRST_PERIOD_MS 50
#define ACK_FIRST_MS 2000
/* A connection that brought something of the stream, or lasted this long, was a good one: after its
 * loss the first try is at once. One that only said +CONTINUE and closed would be asked without
 * end.
 */
#define GOOD_LIVE_MS 1000

const char *feed_state_name(enum feed_state state)
{
    static const char *const names[] = {
        "connecting", "handshake", "snapshot", "live", "stopped", "failed"};
    return names[state];
}

void feed_set_state(struct feed *feed, enum feed_state state)
{
    atomic_store_release(&feed->state, (int)state);
}

bool feed_is_ended(const struct feed *feed)
{
    return feed->psync->phase == PHASE_ENDED;
}

static const char *feed_text(const struct feed *feed, char text[ENDPOINT_TEXT_MAX])
{
    return endpoint_text(&feed->options.endpoint, text);
}

/* ---- Closing and trying again ---------------------------------------------------------------- */

static uint32_t backoff_ms(uint32_t failures)
{
    if (failures == 0) {
        return 0;
    }
    uint32_t shift = failures - 1 < 16 ? failures - 1 : 16;
    uint32_t delay = BACKOFF_FIRST_MS << shift;
    return delay < BACKOFF_MAX_MS ? delay : BACKOFF_MAX_MS;
}

static void feed_fail(struct feed *feed)
{
    feed->err = feed->err_last;
    feed->psync->phase = PHASE_ENDED;
    log_error("%s", feed->err.msg);
    feed_set_state(feed, FEED_FAILED);
}

static void feed_retry(struct feed *feed)
{
    struct psync *psync = feed->psync;
    uint64_t now = clock_monotonic_ns();
    if (psync->live_ns != 0 && (psync->received > psync->live_received ||
                                now - psync->live_ns >= (uint64_t)GOOD_LIVE_MS * NS_PER_MS)) {
        psync->failures = 0;
    }
    if (psync->failures == 0 && feed->err_last.code == SYN_CODE_SOURCE_STATE) {
        psync->failures = 1; /* it told us to come later */
    }
    if (psync->trouble_ns == 0) {
        psync->trouble_ns = now;
    }
    uint64_t end = psync->trouble_ns + feed->options.retry_ms * NS_PER_MS;
    if (feed->options.retry_ms == 0 || now >= end) {
        if (feed->options.retry_ms != 0) {
            err_context(&feed->err_last,
                        "gave up after trying again for %llu ms",
                        (unsigned long long)feed->options.retry_ms);
        }
        feed_fail(feed);
        return;
    }
    uint32_t delay_ms = backoff_ms(psync->failures++);
    psync->due_ns = now + delay_ms * (uint64_t)NS_PER_MS;
    if (psync->due_ns > end) {
        psync->due_ns = end; /* one last try */
    }
    psync->phase = PHASE_WAITING;
    log_warning("%s; trying again in %u ms", feed->err_last.msg, (unsigned)delay_ms);
    feed_set_state(feed, FEED_CONNECTING);
}

static void close_finish(struct feed *feed)
{
    struct psync *psync = feed->psync;
    char text[ENDPOINT_TEXT_MAX];
    ASSERT(psync->phase == PHASE_CLOSING);
    if (!io_op_is_idle(&psync->connect_op) || !io_op_is_idle(&psync->recv_op) ||
        !io_op_is_idle(&psync->send_op)) {
        return;
    }
    if (psync->fd >= 0) {
        close(psync->fd);
        psync->fd = -1;
    }
    explicit_bzero(psync->out, sizeof(psync->out));
    psync->is_ack_pending = false;
    psync->rest_until_ns = 0;
    feed_end_session(feed);
    switch (psync->after_close) {
    case AFTER_RETRY:
        feed_retry(feed);
        break;
    case AFTER_RECONNECT:
        psync->phase = PHASE_WAITING;
        psync->due_ns = 0;
        feed_set_state(feed, FEED_CONNECTING);
        break;
    case AFTER_FAIL:
        feed_fail(feed);
        break;
    case AFTER_STOP:
        psync->phase = PHASE_ENDED;
        log_info("source %s: stopped at offset %llu",
                 feed_text(feed, text),
                 (unsigned long long)feed_offset_received(psync));
        feed_set_state(feed, FEED_STOPPED);
        break;
    }
    psync->live_ns = 0;
}

static void close_begin(struct feed *feed, enum psync_after_close after)
{
    struct psync *psync = feed->psync;
    ASSERT(psync->phase != PHASE_ENDED);
    if (psync->phase == PHASE_CLOSING) {
        if (after > psync->after_close) {
            psync->after_close = after;
        }
        return;
    }
    psync->phase = PHASE_CLOSING;
    psync->after_close = after;
    io_cancel(psync->loop, &psync->connect_op);
    io_cancel(psync->loop, &psync->recv_op);
    io_cancel(psync->loop, &psync->send_op);
    close_finish(feed);
}

void feed_lose(struct feed *feed)
{
    enum syn_code code = feed->err_last.code;
    bool is_passing = code == SYN_CODE_SOURCE_CONNECT || code == SYN_CODE_SOURCE_STATE;
    close_begin(feed, is_passing ? AFTER_RETRY : AFTER_FAIL);
}

/* Where in the session the connection was lost, for a message. */
static const char *feed_where(const struct feed *feed)
{
    switch (feed->psync->phase) {
    case PHASE_CONNECTING:
        return "while connecting";
    case PHASE_LINES:
        return feed->psync->step == PSYNC_STEP_PAYLOAD ? "while waiting for the snapshot"
                                                       : "in the handshake";
    case PHASE_PAYLOAD:
        return "in the middle of the snapshot";
    default:
        return "in the stream";
    }
}

/* result: 0 for the end of the stream, or a negative errno. */
static void feed_lose_io(struct feed *feed, int result)
{
    char text[ENDPOINT_TEXT_MAX];
    unsigned long long received = feed->psync->received;
    if (result == 0) {
        ERR(&feed->err_last,
            SYN_CODE_SOURCE_CONNECT,
            "%s closed the connection %s (%llu bytes received since it began)",
            feed_text(feed, text),
            feed_where(feed),
            received);
    } else {
        ERR_SYS(&feed->err_last,
                SYN_CODE_SOURCE_CONNECT,
                -result,
                "lost the connection to %s %s (%llu bytes received since it began)",
                feed_text(feed, text),
                feed_where(feed),
                received);
    }
    feed_lose(feed);
}

/* ---- Sending --------------------------------------------------------------------------------- */

static void feed_send(struct feed *feed, size_t size)
{
    struct psync *psync = feed->psync;
    ASSERT(size > 0);
    ASSERT(size <= sizeof(psync->out));
    psync->out_iov = (struct iovec){.iov_base = psync->out, .iov_len = size};
    io_send(psync->loop, &psync->send_op, psync->fd, &psync->out_iov, 1);
}

static void feed_ack(struct feed *feed, uint64_t now_ns)
{
    struct psync *psync = feed->psync;
    ASSERT(psync->phase == PHASE_STREAM);
    /* After a diskless snapshot the source sends nothing before an ACK, and one that comes before
     * it has noticed its child's end is in vain: until the first byte they follow each other
     * quickly. */
    bool is_first = psync->received == psync->live_received &&
                    now_ns - psync->live_ns < (uint64_t)ACK_FIRST_MS * NS_PER_MS;
    uint64_t period_ms = is_first ? ACK_FIRST_PERIOD_MS : ACK_PERIOD_MS;
    psync->ack_due_ns = now_ns + period_ms * NS_PER_MS;
    psync->is_ack_pending = !io_op_is_idle(&psync->send_op);
    if (!psync->is_ack_pending) {
        feed_send(feed, psync_ack(feed_ack_offset(feed), psync->out));
    }
}

void feed_go_live(struct feed *feed)
{
    struct psync *psync = feed->psync;
    char text[ENDPOINT_TEXT_MAX];
    uint64_t now = clock_monotonic_ns();
    ASSERT(psync->payload_end >= 0);
    psync->phase = PHASE_STREAM;
    psync->trouble_ns = 0;
    psync->live_ns = now;
    psync->live_received = psync->received;
    psync->last_byte_ns = now;
    log_info("source %s: following the stream of %.8s from offset %llu",
             feed_text(feed, text),
             psync->replid,
             (unsigned long long)feed_offset_received(psync));
    feed_set_state(feed, FEED_LIVE);
    feed_ack(feed, now);
}

/* ---- Handshake ------------------------------------------------------------------------------- */

static uint64_t line_due_ns(const struct feed *feed, uint64_t now_ns)
{
    /* The answer to PSYNC takes as long as the source needs for a snapshot: only silence counts,
     * and keep-alives break it. The others are immediate. */
    uint32_t wait_ms = feed->psync->step >= PSYNC_STEP_PSYNC ? feed->options.silence_timeout_ms
                                                             : feed->options.connect_timeout_ms;
    return now_ns + wait_ms * (uint64_t)NS_PER_MS;
}

static void lines_receive(struct feed *feed)
{
    struct psync *psync = feed->psync;
    ASSERT(psync->phase == PHASE_LINES);
    if (!io_op_is_idle(&psync->recv_op)) {
        return;
    }
    if (psync->in_start > 0) {
        memmove(psync->in, psync->in + psync->in_start, psync->in_end - psync->in_start);
        psync->in_end -= psync->in_start;
        psync->in_start = 0;
    }
    ASSERT(psync->in_end < sizeof(psync->in));
    io_recv(psync->loop,
            &psync->recv_op,
            psync->fd,
            psync->in + psync->in_end,
            sizeof(psync->in) - psync->in_end);
}

/* Sends the step's request, or that of the first step after it that has one. */
static void step_begin(struct feed *feed, enum psync_step step)
{
    struct psync *psync = feed->psync;
    size_t size = 0;
    psync->step = step;
    for (;;) {
        size = psync_request(psync->step,
                             &feed->options.endpoint,
                             psync->replid,
                             feed_offset_received(psync),
                             psync->out);
        if (size > 0) {
            break;
        }
        psync->step++;
        ASSERT(psync->step <= PSYNC_STEP_PSYNC);
    }
    psync->due_ns = line_due_ns(feed, clock_monotonic_ns());
    feed_send(feed, size);
}

static void answer_full(struct feed *feed, const struct psync_answer *answer)
{
    struct psync *psync = feed->psync;
    char text[ENDPOINT_TEXT_MAX];
    if (psync->replid[0] != '\0') {
        log_warning("source %s: cannot continue after offset %llu, it sends a full copy",
                    feed_text(feed, text),
                    (unsigned long long)feed_offset_received(psync));
    }
    feed_forget(feed, answer);
    counter_add(&feed->session_count, 1);
    counter_add(&feed->snapshot_count, 1);
    log_info("source %s: full copy of %.8s at offset %llu, waiting for the snapshot",
             feed_text(feed, text),
             psync->replid,
             (unsigned long long)answer->offset);
    psync->step = PSYNC_STEP_PAYLOAD;
    psync->due_ns = line_due_ns(feed, clock_monotonic_ns());
    feed_set_state(feed, FEED_SNAPSHOT);
}

static void answer_continue(struct feed *feed, const struct psync_answer *answer)
{
    struct psync *psync = feed->psync;
    char text[ENDPOINT_TEXT_MAX];
    if (psync->replid[0] == '\0') {
        ERR(&feed->err_last,
            SYN_CODE_SOURCE_PROTOCOL,
            "%s answered a request for a full copy with +CONTINUE",
            feed_text(feed, text));
        feed_lose(feed);
        return;
    }
    if (answer->has_replid && strcmp(answer->replid, psync->replid) != 0) {
        log_info("source %s: the replication id changed from %.8s to %.8s (failover)",
                 feed_text(feed, text),
                 psync->replid,
                 answer->replid);
        memcpy(psync->replid, answer->replid, sizeof(psync->replid));
    }
    counter_add(&feed->session_count, 1);
    feed_begin_continue(feed);
    feed_go_live(feed);
}

static void payload_begin(struct feed *feed)
{
    struct psync *psync = feed->psync;
    char text[ENDPOINT_TEXT_MAX];
    if (psync->copy.payload_bytes < 0) {
        log_info("source %s: receiving the snapshot", feed_text(feed, text));
    } else {
        log_info("source %s: receiving the snapshot of %lld bytes",
                 feed_text(feed, text),
                 (long long)psync->copy.payload_bytes);
    }
    feed_begin_snapshot(feed);
    psync->phase = PHASE_PAYLOAD;
    if (psync->payload_end >= 0) {
        feed_go_live(feed);
    }
}

static void line_take(struct feed *feed, const char *line, size_t size)
{
    struct psync *psync = feed->psync;
    const struct endpoint *endpoint = &feed->options.endpoint;
    struct psync_answer answer;
    switch (psync->step) {
    case PSYNC_STEP_AUTH:
    case PSYNC_STEP_PING:
    case PSYNC_STEP_CAPA:
    case PSYNC_STEP_VERSION:
        if (psync_reply(psync->step, endpoint, line, size, &feed->err_last)) {
            step_begin(feed, psync->step + 1);
            return;
        }
        break;
    case PSYNC_STEP_PSYNC:
        if (psync_answer(endpoint, line, size, &answer, &feed->err_last)) {
            if (answer.is_full) {
                answer_full(feed, &answer);
            } else {
                answer_continue(feed, &answer);
            }
            return;
        }
        break;
    case PSYNC_STEP_PAYLOAD:
        if (psync_payload(endpoint, line, size, &psync->copy, &feed->err_last)) {
            payload_begin(feed);
            return;
        }
        break;
    }
    feed_lose(feed);
}

/* The next whole line of `in` is taken out. NULL: none yet. Something that cannot become a line is
 * handed out as it is, for the message. */
static const char *line_next(struct psync *psync, size_t *size)
{
    while (psync->in_start < psync->in_end &&
           (psync->in[psync->in_start] == '\n' || psync->in[psync->in_start] == '\r')) {
        psync->in_start++; /* keep-alive */
    }
    const char *line = psync->in + psync->in_start;
    size_t length = psync->in_end - psync->in_start;
    if (length == 0) {
        return NULL;
    }
    const char *end = memchr(line, '\n', length);
    if (end == NULL) {
        /* TLS alerts and the like have no line end at all. */
        bool is_reply = line[0] == '+' || line[0] == '-' || line[0] == '$';
        if (is_reply && length < PSYNC_LINE_MAX) {
            return NULL;
        }
        *size = length;
        psync->in_start = psync->in_end;
        return line;
    }
    psync->in_start += (uint32_t)(end - line) + 1;
    *size = (size_t)(end - line);
    if (*size > 0 && line[*size - 1] == '\r') {
        (*size)--;
    }
    return line;
}

static void lines_process(struct feed *feed)
{
    struct psync *psync = feed->psync;
    while (psync->phase == PHASE_LINES) {
        size_t size = 0;
        const char *line = NULL;
        /* An error may come before the request has gone, anything else waits for it. */
        bool is_sent = io_op_is_idle(&psync->send_op);
        if (is_sent || (psync->in_end > psync->in_start && psync->in[psync->in_start] == '-')) {
            line = line_next(psync, &size);
        }
        if (line != NULL) {
            line_take(feed, line, size);
        } else if (is_sent || psync->in_end < sizeof(psync->in)) {
            lines_receive(feed);
            return;
        } else {
            return; /* sent_done goes on */
        }
    }
    if (psync->phase == PHASE_PAYLOAD || psync->phase == PHASE_STREAM) {
        feed_receive(feed);
    }
}

/* ---- Completions ----------------------------------------------------------------------------- */

static void recv_done(struct io_op *op, int result)
{
    struct feed *feed = op->owner;
    struct psync *psync = feed->psync;
    if (psync->phase == PHASE_CLOSING) {
        close_finish(feed);
    } else if (result <= 0) {
        feed_lose_io(feed, result);
    } else if (psync->phase == PHASE_LINES) {
        psync->in_end += (uint32_t)result;
        ASSERT(psync->in_end <= sizeof(psync->in));
        if (psync->step >= PSYNC_STEP_PSYNC) {
            psync->due_ns = line_due_ns(feed, clock_monotonic_ns());
        }
        lines_process(feed);
    } else {
        feed_received(feed, (uint32_t)result);
    }
}

static void send_done(struct io_op *op, int result)
{
    struct feed *feed = op->owner;
    struct psync *psync = feed->psync;
    if (psync->phase == PHASE_CLOSING) {
        close_finish(feed);
        return;
    }
    if (result <= 0) {
        /* In the handshake the reason may still lie in the receive buffer: -DENIED, then close. */
        if (psync->phase != PHASE_LINES || io_op_is_idle(&psync->recv_op)) {
            feed_lose_io(feed, result);
        }
        return;
    }
    size_t sent = (size_t)result;
    ASSERT(sent <= psync->out_iov.iov_len);
    if (sent < psync->out_iov.iov_len) {
        psync->out_iov.iov_base = (uint8_t *)psync->out_iov.iov_base + sent;
        psync->out_iov.iov_len -= sent;
        io_send(psync->loop, op, psync->fd, &psync->out_iov, 1);
        return;
    }
    if (psync->phase == PHASE_LINES) {
        explicit_bzero(psync->out, sizeof(psync->out)); /* AUTH carries the password */
        lines_process(feed);
    } else if (psync->is_ack_pending && psync->phase == PHASE_STREAM) {
        feed_ack(feed, clock_monotonic_ns());
    }
}

static void connect_done(struct io_op *op, int result)
{
    struct feed *feed = op->owner;
    struct psync *psync = feed->psync;
    char text[ENDPOINT_TEXT_MAX];
    if (psync->phase == PHASE_CLOSING) {
        close_finish(feed);
        return;
    }
    if (result < 0) {
        ERR_SYS(&feed->err_last,
                SYN_CODE_SOURCE_CONNECT,
                -result,
                "cannot connect to %s",
                feed_text(feed, text));
        feed_lose(feed);
        return;
    }
    psync->phase = PHASE_LINES;
    feed_set_state(feed, FEED_HANDSHAKE);
    step_begin(feed, PSYNC_STEP_AUTH);
    lines_receive(feed);
}

static void feed_connect(struct feed *feed, uint64_t now_ns)
{
    struct psync *psync = feed->psync;
    struct sockaddr_storage address;
    socklen_t address_size;
    ASSERT(psync->fd == -1);
    if (psync->trouble_ns == 0 && psync->attempts == 0) {
        psync->trouble_ns = now_ns;
    }
    psync->connect_op.done = connect_done;
    psync->connect_op.owner = feed;
    psync->recv_op.done = recv_done;
    psync->recv_op.owner = feed;
    psync->send_op.done = send_done;
    psync->send_op.owner = feed;
    if (!endpoint_socket_attempt(&feed->options.endpoint,
                                 psync->attempts++,
                                 SYN_CODE_SOURCE_CONNECT,
                                 &psync->fd,
                                 &address,
                                 &address_size,
                                 &feed->err_last)) {
        feed_lose(feed);
        return;
    }
    psync->phase = PHASE_CONNECTING;
    /* Not now_ns: resolving the name may have taken long. */
    psync->due_ns = clock_monotonic_ns() + feed->options.connect_timeout_ms * (uint64_t)NS_PER_MS;
    io_connect(psync->loop, &psync->connect_op, psync->fd, &address, address_size);
}

/* ---- What is due ----------------------------------------------------------------------------- */

static uint64_t silence_due_ns(const struct feed *feed)
{
    const struct psync *psync = feed->psync;
    if (io_op_is_idle(&psync->recv_op)) {
        return NEVER_NS; /* starved: it is us who do not listen */
    }
    return psync->last_byte_ns + feed->options.silence_timeout_ms * (uint64_t)NS_PER_MS;
}

uint64_t feed_due_ns(const struct feed *feed)
{
    const struct psync *psync = feed->psync;
    uint64_t due = NEVER_NS;
    if (psync->phase == PHASE_WAITING || psync->phase == PHASE_CONNECTING ||
        psync->phase == PHASE_LINES) {
        due = psync->due_ns;
    } else if (psync->phase == PHASE_PAYLOAD || psync->phase == PHASE_STREAM) {
        due = silence_due_ns(feed);
        if (psync->phase == PHASE_STREAM && psync->ack_due_ns < due) {
            due = psync->ack_due_ns;
        }
        if (psync->rest_until_ns != 0 && psync->rest_until_ns < due) {
            due = psync->rest_until_ns;
        }
    }
    return due;
}

static void feed_lose_silent(struct feed *feed)
{
    char text[ENDPOINT_TEXT_MAX];
    const struct psync *psync = feed->psync;
    bool is_quick = psync->phase == PHASE_CONNECTING ||
                    (psync->phase == PHASE_LINES && psync->step < PSYNC_STEP_PSYNC);
    ERR(&feed->err_last,
        SYN_CODE_SOURCE_CONNECT,
        "nothing came from %s for %u ms %s",
        feed_text(feed, text),
        is_quick ? feed->options.connect_timeout_ms : feed->options.silence_timeout_ms,
        feed_where(feed));
    feed_lose(feed);
}

/* In PAYLOAD and STREAM. */
static bool session_poll(struct feed *feed, uint64_t now_ns)
{
    struct psync *psync = feed->psync;
    bool did = feed_receive_poll(feed, now_ns);
    if (psync->phase == PHASE_STREAM) {
        /* Loaded first: an exchange at every turn would cost a locked instruction. */
        if (atomic_load_relaxed(&feed->ack_wanted) &&
            atomic_exchange_acq_rel(&feed->ack_wanted, false)) {
            feed_ack(feed, now_ns);
            did = true;
        } else if (now_ns >= psync->ack_due_ns) {
            feed_ack(feed, now_ns);
            did = true;
        }
    }
    if ((psync->phase == PHASE_PAYLOAD || psync->phase == PHASE_STREAM) &&
        silence_due_ns(feed) <= now_ns) {
        feed_lose_silent(feed);
        did = true;
    }
    return did;
}

bool feed_poll(struct feed *feed, uint64_t now_ns, bool is_stopping)
{
    struct psync *psync = feed->psync;
    if (psync->phase == PHASE_ENDED) {
        return false;
    }
    if (is_stopping || atomic_load_acquire(&feed->stop_wanted)) {
        if (psync->phase == PHASE_CLOSING && psync->after_close == AFTER_STOP) {
            return false;
        }
        close_begin(feed, AFTER_STOP);
        return true;
    }
    if (atomic_load_relaxed(&feed->reconnect_wanted) &&
        atomic_exchange_acq_rel(&feed->reconnect_wanted, false)) {
        close_begin(feed, AFTER_RECONNECT);
        return true;
    }
    switch (psync->phase) {
    case PHASE_WAITING:
        if (now_ns >= psync->due_ns) {
            feed_connect(feed, now_ns);
            return true;
        }
        return false;
    case PHASE_CONNECTING:
    case PHASE_LINES:
        if (now_ns >= psync->due_ns) {
            feed_lose_silent(feed);
            return true;
        }
        return false;
    case PHASE_PAYLOAD:
    case PHASE_STREAM:
        return session_poll(feed, now_ns);
    case PHASE_CLOSING:
    case PHASE_ENDED:
        break;
    }
    return false;
}

/* ---- Life ------------------------------------------------------------------------------------ */

static bool feed_psync_init(struct feed *feed, struct syn_err *err)
{
    const struct feed_options *options = &feed->options;
    struct psync *psync = mem_calloc(MEM_IO, sizeof(*psync));
    feed->psync = psync;
    if (psync == NULL) {
        return ERR(err, SYN_CODE_MEMORY, "out of memory for a feed");
    }
    psync->feed = feed;
    psync->fd = -1;
    psync->payload_end = options->replid[0] != '\0' ? 0 : -1;
    psync->offset_snapshot = options->offset;
    memcpy(psync->replid, options->replid, sizeof(psync->replid));
    return true;
}

bool feed_init(struct feed *feed,
               const struct feed_options *options,
               struct waker *decoder,
               struct syn_err *err)
{
    memset(feed, 0, sizeof(*feed));
    ASSERT(decoder != NULL);
    ASSERT(options->chunk_bytes > 0);
    ASSERT(options->receive_bytes_min <= options->chunk_bytes);
    feed->options = *options;
    if (feed->options.receive_bytes_min == 0) {
        feed->options.receive_bytes_min = 1;
    }
    feed->decoder = decoder;
    atomic_store_relaxed(&feed->payload_bytes, -1);
    atomic_store_relaxed(&feed->offset_received, options->offset);
    atomic_store_relaxed(&feed->offset_applied, options->offset);
    bool is_file = options->endpoint.file != NULL;
    if (is_file ? !feed_file_init(feed, err) : !feed_psync_init(feed, err)) {
        return false;
    }
    if (!chunk_pool_init(&feed->pool,
                         options->chunk_count,
                         options->chunk_bytes,
                         options->headroom_bytes,
                         NULL,
                         err) ||
        !ring_init(&feed->chunks, options->chunk_count, err)) {
        feed_deinit(feed);
        return false;
    }
    return true;
}

void feed_deinit(struct feed *feed)
{
    struct psync *psync = feed->psync;
    if (psync != NULL) {
        ASSERT(psync->fd == -1);
        if (psync->loop != NULL) {
            io_loop_unkeep(psync->loop);
        }
        explicit_bzero(psync, sizeof(*psync));
        mem_free(MEM_IO, psync);
    }
    feed_file_deinit(feed);
    if (feed->pool.chunks != NULL) {
        chunk_pool_deinit(&feed->pool);
    }
    ring_deinit(&feed->chunks);
    explicit_bzero(&feed->options.endpoint.password, sizeof(feed->options.endpoint.password));
    feed->psync = NULL;
}
