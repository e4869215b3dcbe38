/*
 * A feed against a scripted server: each answer, each place where the connection can break, each
 * way in which bytes can be cut. A byte lost, repeated or counted wrongly shows as other bytes than
 * the script's, or as a PSYNC that asks for another offset than the script expects.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "tests/io/feed_rig.h"
#include "tests/support/fake_peer.h"

#define ID1 "1111111111111111111111111111111111111111"
#define ID2 "2222222222222222222222222222222222222222"
#define MARK "abcdefghijabcdefghijabcdefghijabcdefghij"
#define OFFSET 1000

/* Recognisable bytes: a wrong order or a gap cannot look right. */
static uint8_t pattern[40000];

static void pattern_fill(void)
{
    uint32_t value = 12345;
    for (size_t i = 0; i < sizeof(pattern); i++) {
        value = value * 1103515245 + 12345;
        pattern[i] = (uint8_t)(value >> 16);
    }
}

struct peer_case {
    struct fake_peer peer;
    struct feed_rig rig;
    enum io_backend backend;
    const char *reply; /* for scripts that vary in it */
    int variant;
};

static void case_start(struct peer_case *c, fake_peer_script *script)
{
    fake_peer_start(&c->peer, NULL, script, c);
}

static void case_end(struct peer_case *c)
{
    const char *failure = fake_peer_finish(&c->peer);
    if (failure != NULL) {
        fail_msg("the server: %s", failure);
    }
    rig_stop(&c->rig);
}

static void peer_expect_psync(struct fake_peer *peer, const char *want)
{
    char got[FAKE_PEER_COMMAND_MAX];
    fake_peer_accept(peer);
    fake_peer_handshake(peer, got);
    if (strcmp(got, want) != 0) {
        fake_peer_fail(peer, "expected \"%s\", got \"%s\"", want, got);
    }
}

static void
peer_send_full(struct fake_peer *peer, const char *id, int offset, const char *payload_line)
{
    char text[128];
    snprintf(text, sizeof(text), "+FULLRESYNC %s %d\r\n%s\r\n", id, offset, payload_line);
    fake_peer_send_text(peer, text);
}

/* ---- Whole sessions -------------------------------------------------------------------------- */

/* variant: how many bytes per segment, 0 for all at once. Keep-alives before the answer and before
 * the payload's line; the payload ends in the middle of a segment with stream bytes behind it. */
static void script_length(struct fake_peer *peer, void *arg)
{
    const struct peer_case *c = arg;
    static char text[1024];
    peer_expect_psync(peer, "PSYNC ? -1");
    int head = snprintf(text, sizeof(text), "\n\n+FULLRESYNC %s %d\r\n\n\n\n$300\r\n", ID1, OFFSET);
    memcpy(text + head, pattern, 500);
    size_t size = (size_t)head + 500;
    fake_peer_send_split(
        peer, text, size, c->variant == 0 ? size : (size_t)c->variant, c->variant == 0 ? 0 : 200);
    fake_peer_await_command(peer, "REPLCONF ACK 1000");
    fake_peer_mark(peer, 1);
    fake_peer_await_command(peer, "REPLCONF ACK 1150");
    fake_peer_wait_closed(peer);
}

static void check_length(enum io_backend backend, int variant)
{
    static struct peer_case c;
    memset(&c, 0, sizeof(c));
    c.variant = variant;
    case_start(&c, script_length);
    struct feed_options options = rig_options(c.peer.port);
    rig_start(&c.rig, backend, &options);
    rig_until_size(&c.rig, 500);
    rig_until_state(&c.rig, FEED_LIVE);
    assert_memory_equal(c.rig.bytes, pattern, 500);
    assert_int_equal(c.rig.event_count, 1);
    assert_int_equal(c.rig.events[0].kind, CHUNK_SNAPSHOT);
    assert_int_equal(c.rig.events[0].session.payload_bytes, 300);
    assert_int_equal(c.rig.events[0].session.offset, OFFSET);
    assert_int_equal(c.rig.events[0].session.number, 1);
    assert_string_equal(c.rig.events[0].session.replid, ID1);
    struct feed *feed = &c.rig.feed;
    assert_int_equal(atomic_load_acquire(&feed->offset_received), OFFSET + 200);
    assert_int_equal(atomic_load_acquire(&feed->bytes_received), 500);
    assert_int_equal(atomic_load_acquire(&feed->payload_bytes), 300);
    assert_int_equal(atomic_load_acquire(&feed->session_count), 1);
    assert_int_equal(atomic_load_acquire(&feed->snapshot_count), 1);
    assert_true(fake_peer_wait_mark(&c.peer, 1));
    rig_confirm_payload(&c.rig, 1, 300);
    rig_apply(&c.rig, OFFSET + 150);
    while (atomic_load_acquire(&feed->ack_wanted)) {
        poll(NULL, 0, 1);
    }
    atomic_store_release(&feed->stop_wanted, true);
    reader_wake(&c.rig.reader);
    rig_until_state(&c.rig, FEED_STOPPED);
    case_end(&c);
}

static void test_feed_length(void **state)
{
    (void)state;
    check_length(IO_BACKEND_URING, 0);
    check_length(IO_BACKEND_URING, 1);
    check_length(IO_BACKEND_EPOLL, 0);
    check_length(IO_BACKEND_EPOLL, 1);
    check_length(IO_BACKEND_EPOLL, 77);
}

/* The end of an $EOF payload is noticed without the decoder, and acknowledged with the session's
 * offset, whatever was applied before; only then the server streams. The mark lies across chunks.
 */
static void script_mark(struct fake_peer *peer, void *arg)
{
    const struct peer_case *c = arg;
    peer_expect_psync(peer, "PSYNC ? -1");
    fake_peer_send_text(peer, "\n");
    peer_send_full(peer, ID1, OFFSET, "$EOF:" MARK);
    fake_peer_send_split(peer, pattern, 290, c->variant, 100);
    if (fake_peer_has_input(peer, 100)) {
        fake_peer_fail(peer, "an ACK before the end of the payload");
    }
    fake_peer_send_split(peer, MARK, 40, c->variant, 100);
    fake_peer_expect_command(peer, "REPLCONF ACK 1000");
    fake_peer_expect_command(peer, "REPLCONF ACK 1000"); /* a second later, again */
    fake_peer_send(peer, pattern, 100);
    fake_peer_mark(peer, 1);
    fake_peer_await_command(peer, "REPLCONF ACK 1100");
    fake_peer_mark(peer, 2);
    fake_peer_wait_closed(peer);
}

static void check_mark(enum io_backend backend, int variant)
{
    static struct peer_case c;
    memset(&c, 0, sizeof(c));
    c.variant = variant;
    case_start(&c, script_mark);
    struct feed_options options = rig_options(c.peer.port);
    rig_start(&c.rig, backend, &options);
    rig_until_size(&c.rig, 430);
    assert_memory_equal(c.rig.bytes, pattern, 290);
    assert_memory_equal(c.rig.bytes + 290, MARK, 40);
    assert_memory_equal(c.rig.bytes + 330, pattern, 100);
    assert_int_equal(c.rig.events[0].session.payload_bytes, -1);
    assert_memory_equal(c.rig.events[0].session.eof_mark, MARK, 40);
    assert_int_equal(atomic_load_acquire(&c.rig.feed.offset_received), OFFSET + 100);
    /* Applied as far as that, but not of this session: not acknowledged. */
    assert_true(fake_peer_wait_mark(&c.peer, 1));
    atomic_store_release(&c.rig.feed.offset_applied, OFFSET + 100);
    rig_confirm_payload(&c.rig, 1, 330);
    assert_true(fake_peer_wait_mark(&c.peer, 2));
    reader_stop(&c.rig.reader);
    case_end(&c);
}

static void test_feed_mark(void **state)
{
    (void)state;
    check_mark(IO_BACKEND_URING, 1);
    check_mark(IO_BACKEND_EPOLL, 33);
    check_mark(IO_BACKEND_EPOLL, 290);
}

/* A server that streams behind the mark without waiting for an ACK: the decoder's word counts. */
static void script_impatient(struct fake_peer *peer, void *arg)
{
    static char text[400];
    (void)arg;
    peer_expect_psync(peer, "PSYNC ? -1");
    peer_send_full(peer, ID1, OFFSET, "$EOF:" MARK);
    memcpy(text, pattern, 100);
    memcpy(text + 100, MARK, 40);
    memcpy(text + 140, pattern, 60);
    fake_peer_send(peer, text, 200);
    fake_peer_expect_command(peer, "REPLCONF ACK 1000");
    fake_peer_close(peer);
    peer_expect_psync(peer, "PSYNC " ID1 " 1061");
    fake_peer_send_text(peer, "+CONTINUE\r\n");
    fake_peer_wait_closed(peer);
}

static void test_feed_impatient(void **state)
{
    (void)state;
    static struct peer_case c;
    memset(&c, 0, sizeof(c));
    case_start(&c, script_impatient);
    struct feed_options options = rig_options(c.peer.port);
    rig_start(&c.rig, IO_BACKEND_URING, &options);
    rig_until_size(&c.rig, 200);
    assert_int_equal(atomic_load_acquire(&c.rig.feed.offset_received), OFFSET);
    rig_confirm_payload(&c.rig, 1, 140);
    rig_until_events(&c.rig, 2);
    assert_int_equal(atomic_load_acquire(&c.rig.feed.offset_received), OFFSET + 60);
    reader_stop(&c.rig.reader);
    case_end(&c);
}

/* ---- Lost connections ------------------------------------------------------------------------ */

/* variant: where the first connections break. Then all goes well. */
static void script_lost_handshake(struct fake_peer *peer, void *arg)
{
    char got[FAKE_PEER_COMMAND_MAX];
    (void)arg;
    fake_peer_accept(peer);
    fake_peer_close(peer);
    fake_peer_accept(peer);
    fake_peer_expect_command(peer, "PING");
    fake_peer_reset(peer);
    fake_peer_accept(peer);
    fake_peer_expect_command(peer, "PING");
    fake_peer_send_text(peer, "+PO");
    fake_peer_close(peer);
    fake_peer_accept(peer);
    fake_peer_handshake(peer, got);
    fake_peer_send_text(peer, "\n\n");
    fake_peer_close(peer);
    peer_expect_psync(peer, "PSYNC ? -1");
    fake_peer_send_text(peer, "+FULLRESYNC " ID2 " 7\r\n\n");
    fake_peer_close(peer);
    peer_expect_psync(peer, "PSYNC ? -1"); /* an announced copy cannot be continued */
    peer_send_full(peer, ID1, OFFSET, "$10");
    fake_peer_send(peer, pattern, 10);
    fake_peer_wait_closed(peer);
}

static void test_feed_lost_handshake(void **state)
{
    (void)state;
    for (int backend = IO_BACKEND_URING; backend <= IO_BACKEND_EPOLL; backend++) {
        static struct peer_case c;
        memset(&c, 0, sizeof(c));
        case_start(&c, script_lost_handshake);
        struct feed_options options = rig_options(c.peer.port);
        rig_start(&c.rig, (enum io_backend)backend, &options);
        rig_until_state(&c.rig, FEED_LIVE);
        assert_int_equal(c.rig.event_count, 1);
        assert_int_equal(c.rig.events[0].session.number, 2);
        assert_int_equal(atomic_load_acquire(&c.rig.feed.offset_received), OFFSET);
        reader_stop(&c.rig.reader);
        case_end(&c);
    }
}

/* variant 0: $300 cut at 299; 1: $EOF cut within the mark; 2: an error instead of the payload. */
static void script_lost_snapshot(struct fake_peer *peer, void *arg)
{
    const struct peer_case *c = arg;
    peer_expect_psync(peer, "PSYNC ? -1");
    if (c->variant == 0) {
        peer_send_full(peer, ID1, OFFSET, "$300");
        fake_peer_send(peer, pattern, 299);
    } else if (c->variant == 1) {
        peer_send_full(peer, ID1, OFFSET, "$EOF:" MARK);
        fake_peer_send(peer, pattern, 260);
        fake_peer_send(peer, MARK, 39);
    } else {
        peer_send_full(peer, ID1, OFFSET, "-ERR BGSAVE failed, replication can't continue");
    }
    fake_peer_mark(peer, 1);
    fake_peer_close(peer);
    peer_expect_psync(peer, "PSYNC ? -1");
    peer_send_full(peer, ID2, 50, "$20");
    fake_peer_send(peer, pattern, 25);
    fake_peer_await_command(peer, "REPLCONF ACK 50");
    fake_peer_wait_closed(peer);
}

static void check_lost_snapshot(enum io_backend backend, int variant)
{
    static struct peer_case c;
    memset(&c, 0, sizeof(c));
    c.variant = variant;
    case_start(&c, script_lost_snapshot);
    struct feed_options options = rig_options(c.peer.port);
    rig_start(&c.rig, backend, &options);
    size_t before = variant == 2 ? 0 : 299;
    uint32_t first = variant == 2 ? 0 : 1;
    rig_until_size(&c.rig, before + 25);
    assert_int_equal(c.rig.event_count, first + 1);
    assert_int_equal(c.rig.events[first].at, before);
    assert_int_equal(c.rig.events[first].kind, CHUNK_SNAPSHOT);
    assert_int_equal(c.rig.events[first].session.number, 2);
    assert_int_equal(c.rig.events[first].session.offset, 50);
    assert_memory_equal(c.rig.bytes + before, pattern, 25);
    rig_until_state(&c.rig, FEED_LIVE);
    assert_int_equal(atomic_load_acquire(&c.rig.feed.offset_received), 55);
    /* The first copy's end comes late from the decoder: it is not this one's. */
    rig_confirm_payload(&c.rig, 1, 299);
    rig_apply(&c.rig, OFFSET + 500);
    while (atomic_load_acquire(&c.rig.feed.ack_wanted)) {
        poll(NULL, 0, 1);
    }
    reader_stop(&c.rig.reader);
    case_end(&c);
}

static void test_feed_lost_snapshot(void **state)
{
    (void)state;
    for (int variant = 0; variant < 3; variant++) {
        check_lost_snapshot(IO_BACKEND_URING, variant);
        check_lost_snapshot(IO_BACKEND_EPOLL, variant);
    }
}

/* All of an $EOF payload came, the decoder has not looked at it yet, and the connection is gone:
 * the copy is complete, so the stream is asked for from its beginning. */
static void script_lost_after_mark(struct fake_peer *peer, void *arg)
{
    (void)arg;
    peer_expect_psync(peer, "PSYNC ? -1");
    peer_send_full(peer, ID1, OFFSET, "$EOF:" MARK);
    fake_peer_send(peer, pattern, 100);
    fake_peer_send(peer, MARK, 40);
    fake_peer_close(peer);
    peer_expect_psync(peer, "PSYNC " ID1 " 1001");
    fake_peer_send_text(peer, "+CONTINUE " ID1 "\r\n");
    fake_peer_send(peer, pattern, 30);
    fake_peer_await_command(peer, "REPLCONF ACK 1000");
    fake_peer_wait_closed(peer);
}

static void test_feed_lost_after_mark(void **state)
{
    (void)state;
    static struct peer_case c;
    memset(&c, 0, sizeof(c));
    case_start(&c, script_lost_after_mark);
    struct feed_options options = rig_options(c.peer.port);
    rig_start(&c.rig, IO_BACKEND_URING, &options);
    c.rig.is_idle = true; /* the pool has room for all of it */
    rig_until_state(&c.rig, FEED_LIVE);
    while (atomic_load_acquire(&c.rig.feed.offset_received) < OFFSET + 30) {
        poll(NULL, 0, 1);
    }
    c.rig.is_idle = false;
    rig_until_size(&c.rig, 170);
    assert_int_equal(c.rig.event_count, 2);
    assert_int_equal(c.rig.events[1].kind, CHUNK_CONTINUE);
    assert_int_equal(c.rig.events[1].at, 140);
    assert_int_equal(c.rig.events[1].session.number, 1);
    assert_memory_equal(c.rig.bytes + 140, pattern, 30);
    rig_confirm_payload(&c.rig, 1, 140);
    reader_stop(&c.rig.reader);
    case_end(&c);
}

/* A master whose child is killed after it had sent all says "\n" before it drops the connection.
 * Those are no bytes of the stream: it is asked for from its first byte, and begins with that. */
static void script_keepalive_after_mark(struct fake_peer *peer, void *arg)
{
    (void)arg;
    peer_expect_psync(peer, "PSYNC ? -1");
    peer_send_full(peer, ID1, OFFSET, "$EOF:" MARK);
    fake_peer_send(peer, pattern, 100);
    fake_peer_send(peer, MARK, 40);
    fake_peer_await_command(peer, "REPLCONF ACK 1000");
    fake_peer_send_text(peer, "\n");
    fake_peer_expect_command(peer, "REPLCONF ACK 1000");
    fake_peer_send_text(peer, "\n\n");
    fake_peer_expect_command(peer, "REPLCONF ACK 1000");
    fake_peer_close(peer);
    peer_expect_psync(peer, "PSYNC " ID1 " 1001");
    fake_peer_send_text(peer, "+CONTINUE " ID1 "\r\n\n*1\r\n");
    fake_peer_close(peer);
    peer_expect_psync(peer, "PSYNC " ID1 " 1005");
    fake_peer_send_text(peer, "+CONTINUE " ID1 "\r\n\n");
    fake_peer_send_text(peer, "$4\r\n");
    fake_peer_wait_closed(peer);
}

static void test_feed_keepalive_after_mark(void **state)
{
    (void)state;
    for (int backend = IO_BACKEND_URING; backend <= IO_BACKEND_EPOLL; backend++) {
        static struct peer_case c;
        memset(&c, 0, sizeof(c));
        case_start(&c, script_keepalive_after_mark);
        struct feed_options options = rig_options(c.peer.port);
        rig_start(&c.rig, (enum io_backend)backend, &options);
        rig_until_size(&c.rig, 149);
        /* Within a command a line feed is what it is. */
        assert_memory_equal(c.rig.bytes + 140, "*1\r\n\n$4\r\n", 9);
        assert_int_equal(atomic_load_acquire(&c.rig.feed.offset_received), OFFSET + 9);
        rig_confirm_payload(&c.rig, 1, 140);
        reader_stop(&c.rig.reader);
        case_end(&c);
    }
}

/* Each connection breaks at another place of the stream; the ids change on the way, as after a
 * failover. Whatever the cuts, the bytes are the stream, once. */
static void script_lost_live(struct fake_peer *peer, void *arg)
{
    char text[128];
    size_t sent = 100;
    (void)arg;
    peer_expect_psync(peer, "PSYNC ? -1");
    peer_send_full(peer, ID1, OFFSET, "$100");
    fake_peer_send(peer, pattern, 100);
    for (size_t i = 1; i <= 12; i++) {
        size_t size = i * i * 7;
        fake_peer_send(peer, pattern + sent, size);
        sent += size;
        fake_peer_close(peer);
        snprintf(text, sizeof(text), "PSYNC %s %zu", i <= 4 ? ID1 : ID2, OFFSET + 1 + (sent - 100));
        peer_expect_psync(peer, text);
        fake_peer_send_text(peer,
                            i % 4 == 0   ? "+CONTINUE " ID2 "\r\n"
                            : i % 4 == 1 ? "\n+CONTINUE\r\n"
                            : i < 4      ? "+CONTINUE " ID1 "\r\n"
                                         : "+CONTINUE " ID2 "\n");
    }
    fake_peer_send(peer, pattern + sent, sizeof(pattern) - sent);
    fake_peer_wait_closed(peer);
}

static void check_lost_live(enum io_backend backend)
{
    static struct peer_case c;
    memset(&c, 0, sizeof(c));
    case_start(&c, script_lost_live);
    struct feed_options options = rig_options(c.peer.port);
    options.retry_ms = 60000;
    rig_start(&c.rig, backend, &options);
    rig_until_size(&c.rig, sizeof(pattern));
    assert_int_equal(c.rig.size, sizeof(pattern));
    assert_memory_equal(c.rig.bytes, pattern, sizeof(pattern));
    assert_int_equal(c.rig.event_count, 13);
    for (uint32_t i = 1; i < 13; i++) {
        assert_int_equal(c.rig.events[i].kind, CHUNK_CONTINUE);
        assert_int_equal(c.rig.events[i].session.number, 1);
        assert_int_equal(c.rig.events[i].session.offset, OFFSET + c.rig.events[i].at - 100);
    }
    assert_string_equal(c.rig.events[3].session.replid, ID1);
    assert_string_equal(c.rig.events[4].session.replid, ID2);
    reader_stop(&c.rig.reader);
    case_end(&c);
}

/* FULLRESYNC instead of CONTINUE is a new copy with a new place in history, also a smaller one. */
static void script_full_again(struct fake_peer *peer, void *arg)
{
    (void)arg;
    peer_expect_psync(peer, "PSYNC ? -1");
    peer_send_full(peer, ID1, OFFSET, "$100");
    fake_peer_send(peer, pattern, 150);
    fake_peer_await_command(peer, "REPLCONF ACK 1050");
    fake_peer_close(peer);
    peer_expect_psync(peer, "PSYNC " ID1 " 1051");
    peer_send_full(peer, ID2, 5, "$80");
    fake_peer_send(peer, pattern, 90);
    fake_peer_expect_command(peer, "REPLCONF ACK 5");
    fake_peer_expect_command(peer, "REPLCONF ACK 5");
    fake_peer_close(peer);
    peer_expect_psync(peer, "PSYNC " ID2 " 16");
    fake_peer_send_text(peer, "+CONTINUE\r\n");
    fake_peer_wait_closed(peer);
}

static void test_feed_full_again(void **state)
{
    (void)state;
    static struct peer_case c;
    memset(&c, 0, sizeof(c));
    case_start(&c, script_full_again);
    struct feed_options options = rig_options(c.peer.port);
    rig_start(&c.rig, IO_BACKEND_URING, &options);
    rig_until_size(&c.rig, 150);
    rig_confirm_payload(&c.rig, 1, 100);
    rig_apply(&c.rig, OFFSET + 50);
    rig_until_events(&c.rig, 2);
    rig_until_size(&c.rig, 240);
    assert_int_equal(c.rig.events[1].kind, CHUNK_SNAPSHOT);
    assert_int_equal(c.rig.events[1].session.number, 2);
    assert_memory_equal(c.rig.bytes + 150, pattern, 90);
    rig_until_events(&c.rig, 3);
    assert_int_equal(c.rig.events[2].session.number, 2);
    assert_int_equal(c.rig.events[2].session.offset, 15);
    assert_int_equal(atomic_load_acquire(&c.rig.feed.snapshot_count), 2);
    assert_int_equal(atomic_load_acquire(&c.rig.feed.session_count), 3);
    reader_stop(&c.rig.reader);
    case_end(&c);
}

/* ---- Answers --------------------------------------------------------------------------------- */

static void script_reply(struct fake_peer *peer, void *arg)
{
    const struct peer_case *c = arg;
    peer_expect_psync(peer, "PSYNC ? -1");
    fake_peer_send_text(peer, c->reply);
    if (c->variant == 0) {
        fake_peer_wait_closed(peer);
        return;
    }
    peer_expect_psync(peer, "PSYNC ? -1");
    peer_send_full(peer, ID1, OFFSET, "$0");
    fake_peer_send(peer, pattern, 10);
    fake_peer_wait_closed(peer);
}

/* A passing refusal is tried again, a final one is not. */
static void test_feed_replies(void **state)
{
    (void)state;
    static const struct {
        const char *reply;
        enum syn_code code; /* OK: tried again */
    } cases[] = {
        {"-NOMASTERLINK Can't SYNC while not connected with my master\r\n", SYN_CODE_OK},
        {"\n-LOADING Redis is loading the dataset in memory\r\n", SYN_CODE_OK},
        {"-MASTERDOWN Link with MASTER is down\r\n", SYN_CODE_OK},
        {"-BUSY Redis is busy running a script.\r\n", SYN_CODE_OK},
        {"-NOAUTH Authentication required.\r\n", SYN_CODE_SOURCE_AUTH},
        {"-NOPERM this user has no permissions to run the 'psync' command\r\n",
         SYN_CODE_SOURCE_AUTH},
        {"-ERR unknown command 'PSYNC'\r\n", SYN_CODE_SOURCE_PROTOCOL},
        {"+CONTINUE " ID1 "\r\n", SYN_CODE_SOURCE_PROTOCOL}, /* nothing to continue */
        {"+FULLRESYNC what\r\n", SYN_CODE_SOURCE_PROTOCOL},
        {"HTTP/1.1 400 Bad", SYN_CODE_SOURCE_PROTOCOL}, /* no line end ever comes */
        {"\x15\x03\x03\x01\x02", SYN_CODE_SOURCE_PROTOCOL},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        static struct peer_case c;
        memset(&c, 0, sizeof(c));
        c.reply = cases[i].reply;
        c.variant = cases[i].code == SYN_CODE_OK;
        case_start(&c, script_reply);
        struct feed_options options = rig_options(c.peer.port);
        rig_start(&c.rig, i % 2 == 0 ? IO_BACKEND_URING : IO_BACKEND_EPOLL, &options);
        rig_until_state(&c.rig, c.variant ? FEED_LIVE : FEED_FAILED);
        assert_int_equal(c.rig.feed.err.code, cases[i].code);
        if (c.variant) {
            rig_until_size(&c.rig, 10);
            assert_int_equal(atomic_load_acquire(&c.rig.feed.offset_received), OFFSET + 10);
        }
        reader_stop(&c.rig.reader);
        case_end(&c);
    }
}

/* A line without an end must not be collected for ever. */
static void script_endless(struct fake_peer *peer, void *arg)
{
    (void)arg;
    static char text[5000];
    memset(text, 'x', sizeof(text));
    text[0] = '+';
    peer_expect_psync(peer, "PSYNC ? -1");
    fake_peer_send(peer, text, sizeof(text));
}

static void test_feed_endless_line(void **state)
{
    (void)state;
    static struct peer_case c;
    memset(&c, 0, sizeof(c));
    case_start(&c, script_endless);
    struct feed_options options = rig_options(c.peer.port);
    rig_start(&c.rig, IO_BACKEND_URING, &options);
    rig_until_state(&c.rig, FEED_FAILED);
    assert_int_equal(c.rig.feed.err.code, SYN_CODE_SOURCE_PROTOCOL);
    case_end(&c);
}

static void script_password(struct fake_peer *peer, void *arg)
{
    const struct peer_case *c = arg;
    fake_peer_accept(peer);
    fake_peer_expect_command(peer, "AUTH me hunter2");
    if (c->variant == 0) {
        fake_peer_send_text(peer, "-WRONGPASS invalid username-password pair\r\n");
    } else {
        char psync[FAKE_PEER_COMMAND_MAX];
        fake_peer_send_text(peer, "+OK\r\n");
        fake_peer_handshake(peer, psync);
        peer_send_full(peer, ID1, OFFSET, "$0");
    }
    fake_peer_wait_closed(peer);
}

static void test_feed_password(void **state)
{
    (void)state;
    for (int variant = 0; variant < 2; variant++) {
        static struct peer_case c;
        memset(&c, 0, sizeof(c));
        c.variant = variant;
        case_start(&c, script_password);
        struct feed_options options = rig_options(c.peer.port);
        snprintf(options.endpoint.user, sizeof(options.endpoint.user), "me");
        snprintf(options.endpoint.password, sizeof(options.endpoint.password), "hunter2");
        rig_start(&c.rig, IO_BACKEND_URING, &options);
        rig_until_state(&c.rig, variant == 0 ? FEED_FAILED : FEED_LIVE);
        if (variant == 0) {
            assert_int_equal(c.rig.feed.err.code, SYN_CODE_SOURCE_AUTH);
            assert_non_null(strstr(c.rig.feed.err.msg, "the password in the source URI is wrong"));
            assert_null(strstr(c.rig.feed.err.msg, "hunter2"));
        }
        reader_stop(&c.rig.reader);
        case_end(&c);
    }
}

/* ---- Back-pressure, silence, stopping -------------------------------------------------------- */

static void script_flood(struct fake_peer *peer, void *arg)
{
    (void)arg;
    peer_expect_psync(peer, "PSYNC ? -1");
    peer_send_full(peer, ID1, OFFSET, "$100");
    fake_peer_send(peer, pattern, 200);
    fake_peer_await_command(peer, "REPLCONF ACK 1000");
    fake_peer_send(peer, pattern + 200, sizeof(pattern) - 200);
    /* Acknowledging goes on while nothing is received. */
    fake_peer_await_command(peer, "REPLCONF ACK 1000");
    fake_peer_await_command(peer, "REPLCONF ACK 1000");
    fake_peer_mark(peer, 1);
    fake_peer_wait_closed(peer);
}

/* An empty pool stops receiving, longer than the silence that would otherwise end the session, and
 * nothing is lost. */
static void check_flood(enum io_backend backend)
{
    static struct peer_case c;
    memset(&c, 0, sizeof(c));
    case_start(&c, script_flood);
    struct feed_options options = rig_options(c.peer.port);
    options.silence_timeout_ms = 700;
    rig_start(&c.rig, backend, &options);
    c.rig.is_idle = true;
    assert_true(fake_peer_wait_mark(&c.peer, 1));
    if (!atomic_load_acquire(&c.rig.feed.is_starved)) {
        fail_msg("not starved after %llu bytes",
                 (unsigned long long)atomic_load_acquire(&c.rig.feed.bytes_received));
    }
    assert_true(atomic_load_acquire(&c.rig.feed.bytes_received) <= 8 * 64);
    c.rig.is_idle = false;
    rig_until_size(&c.rig, sizeof(pattern));
    assert_memory_equal(c.rig.bytes, pattern, sizeof(pattern));
    assert_int_equal(c.rig.event_count, 1);
    assert_true(atomic_load_relaxed(&c.rig.feed.starved_ns) > 1000000000u);
    while (atomic_load_acquire(&c.rig.feed.is_starved)) {
        poll(NULL, 0, 1); /* until the reader has seen the chunks come back; ctest bounds it */
    }
    reader_stop(&c.rig.reader);
    case_end(&c);
}

static void script_silent(struct fake_peer *peer, void *arg)
{
    (void)arg;
    fake_peer_accept(peer);
    fake_peer_wait_closed(peer); /* no answer to PING */
    peer_expect_psync(peer, "PSYNC ? -1");
    fake_peer_wait_closed(peer); /* no answer to PSYNC */
    peer_expect_psync(peer, "PSYNC ? -1");
    peer_send_full(peer, ID1, OFFSET, "$100");
    fake_peer_send(peer, pattern, 50);
    fake_peer_wait_closed(peer); /* in the snapshot */
    peer_expect_psync(peer, "PSYNC ? -1");
    peer_send_full(peer, ID1, OFFSET, "$100");
    fake_peer_send(peer, pattern, 150);
    fake_peer_wait_closed(peer); /* in the stream */
    peer_expect_psync(peer, "PSYNC " ID1 " 1051");
    fake_peer_send_text(peer, "+CONTINUE\r\n");
    fake_peer_mark(peer, 1);
    fake_peer_wait_closed(peer);
}

static void test_feed_silence(void **state)
{
    (void)state;
    static struct peer_case c;
    memset(&c, 0, sizeof(c));
    case_start(&c, script_silent);
    struct feed_options options = rig_options(c.peer.port);
    options.silence_timeout_ms = 300;
    options.connect_timeout_ms = 300;
    rig_start(&c.rig, IO_BACKEND_URING, &options);
    rig_until_events(&c.rig, 3);
    assert_int_equal(c.rig.size, 200);
    assert_true(fake_peer_wait_mark(&c.peer, 1));
    reader_stop(&c.rig.reader);
    case_end(&c);
}

/* variant: at which point the server falls silent, with the mark set. */
static void script_hang(struct fake_peer *peer, void *arg)
{
    const struct peer_case *c = arg;
    fake_peer_accept(peer);
    if (c->variant >= 1) {
        fake_peer_expect_command(peer, "PING");
    }
    if (c->variant >= 2) {
        fake_peer_send_text(peer, "+PONG\r\n");
        fake_peer_expect_command(peer, "REPLCONF capa eof capa psync2");
        fake_peer_send_text(peer, "+OK\r\n");
        fake_peer_expect_command(peer, "REPLCONF version 9.1.0");
        fake_peer_send_text(peer, "+OK\r\n");
        fake_peer_expect_command(peer, "PSYNC ? -1");
    }
    if (c->variant >= 3) {
        fake_peer_send_text(peer, "+FULLRESYNC " ID1 " 1000\r\n\n");
    }
    if (c->variant >= 4) {
        fake_peer_send_text(peer, "$100\r\n");
        fake_peer_send(peer, pattern, 50);
    }
    if (c->variant == 5) {
        fake_peer_send(peer, pattern + 50, 100);
    }
    if (c->variant == 6) {
        fake_peer_send(peer, pattern + 50, 2000);
    }
    fake_peer_mark(peer, 1);
    fake_peer_wait_closed(peer);
}

/* Wherever the server hangs, also when the pool is empty, stopping is immediate. Chunks may come
 * back after the reader has gone. */
static void test_feed_stop(void **state)
{
    (void)state;
    for (int variant = 0; variant <= 6; variant++) {
        for (int backend = IO_BACKEND_URING; backend <= IO_BACKEND_EPOLL; backend++) {
            static struct peer_case c;
            memset(&c, 0, sizeof(c));
            c.variant = variant;
            case_start(&c, script_hang);
            struct feed_options options = rig_options(c.peer.port);
            rig_start(&c.rig, (enum io_backend)backend, &options);
            c.rig.is_idle = variant == 6;
            assert_true(fake_peer_wait_mark(&c.peer, 1));
            uint64_t before = clock_monotonic_ms();
            reader_stop(&c.rig.reader);
            assert_true(clock_monotonic_ms() - before < 2000);
            assert_int_equal(atomic_load_acquire(&c.rig.feed.state), FEED_STOPPED);
            case_end(&c);
        }
    }
}

/* While it waits to try again, and when it has failed. */
static void test_feed_refused(void **state)
{
    (void)state;
    static struct peer_case c;
    struct feed_options options = rig_options(1); /* a port nobody listens on */
    options.retry_ms = 300;
    rig_start(&c.rig, IO_BACKEND_EPOLL, &options);
    rig_until_state(&c.rig, FEED_FAILED);
    assert_int_equal(c.rig.feed.err.code, SYN_CODE_SOURCE_CONNECT);
    assert_non_null(strstr(c.rig.feed.err.msg, "gave up after trying again for 300 ms"));
    assert_non_null(strstr(c.rig.feed.err.msg, "cannot connect to 127.0.0.1:1"));
    rig_stop(&c.rig);

    options.retry_ms = 0;
    rig_start(&c.rig, IO_BACKEND_URING, &options);
    rig_until_state(&c.rig, FEED_FAILED);
    assert_null(strstr(c.rig.feed.err.msg, "gave up"));
    rig_stop(&c.rig);

    options.retry_ms = 60000;
    rig_start(&c.rig, IO_BACKEND_URING, &options);
    reader_stop(&c.rig.reader);
    assert_int_equal(atomic_load_acquire(&c.rig.feed.state), FEED_STOPPED);
    rig_stop(&c.rig);
}

/* ---- Others ---------------------------------------------------------------------------------- */

static void script_continue(struct fake_peer *peer, void *arg)
{
    (void)arg;
    peer_expect_psync(peer, "PSYNC " ID1 " 5001");
    fake_peer_send_text(peer, "+CONTINUE " ID1 "\r\n");
    fake_peer_expect_command(peer, "REPLCONF ACK 5000");
    fake_peer_send(peer, pattern, 70);
    fake_peer_mark(peer, 1);
    fake_peer_wait_closed(peer); /* reconnect_wanted */
    peer_expect_psync(peer, "PSYNC " ID1 " 5071");
    fake_peer_send_text(peer, "+CONTINUE " ID1 "\r\n");
    fake_peer_expect_command(peer, "REPLCONF ACK 5070");
    fake_peer_wait_closed(peer);
}

/* From a checkpoint, over a unix socket, with a new connection on demand even if lost ones are not
 * to be tried again. An offset applied by mistake beyond what came is not acknowledged. */
static void test_feed_continue(void **state)
{
    (void)state;
    static struct peer_case c;
    memset(&c, 0, sizeof(c));
    char path[64];
    snprintf(path, sizeof(path), "/tmp/syncline-io-%d.sock", (int)getpid());
    fake_peer_start(&c.peer, path, script_continue, &c);
    struct feed_options options = rig_options(0);
    snprintf(options.endpoint.path, sizeof(options.endpoint.path), "%s", path);
    snprintf(options.replid, sizeof(options.replid), ID1);
    options.offset = 5000;
    options.retry_ms = 0;
    rig_start(&c.rig, IO_BACKEND_URING, &options);
    rig_until_size(&c.rig, 70);
    assert_memory_equal(c.rig.bytes, pattern, 70);
    assert_int_equal(c.rig.events[0].kind, CHUNK_CONTINUE);
    assert_int_equal(c.rig.events[0].session.number, 0);
    assert_int_equal(c.rig.events[0].session.offset, 5000);
    assert_true(fake_peer_wait_mark(&c.peer, 1));
    atomic_store_release(&c.rig.feed.offset_applied, 9999);
    atomic_store_release(&c.rig.feed.reconnect_wanted, true);
    reader_wake(&c.rig.reader);
    rig_until_events(&c.rig, 2);
    assert_int_equal(c.rig.events[1].session.offset, 5070);
    poll(NULL, 0, 50);
    reader_stop(&c.rig.reader);
    case_end(&c);
}

/* Several feeds on one reader: each gets its own bytes, and one that fails leaves the others. */
static void test_feed_several(void **state)
{
    (void)state;
    enum { FEEDS = 5 };
    static struct peer_case cases[FEEDS];
    static struct feed_rig *rigs[FEEDS];
    struct feed *feeds[FEEDS];
    struct reader reader;
    struct syn_err err = {0};
    memset(cases, 0, sizeof(cases));
    for (int i = 0; i < FEEDS; i++) {
        struct peer_case *c = &cases[i];
        c->variant = i == 2 ? 0 : 5;
        if (i == 2) {
            c->reply = "-NOPERM\r\n";
        }
        case_start(c, i == 2 ? script_reply : script_hang);
        rigs[i] = &c->rig;
        struct feed_options options = rig_options(c->peer.port);
        assert_true(waker_init(&c->rig.decoder, &err));
        assert_true(feed_init(&c->rig.feed, &options, &c->rig.decoder, &err));
        feeds[i] = &c->rig.feed;
    }
    assert_true(reader_start(&reader, IO_BACKEND_AUTO, feeds, FEEDS, 3, &err));
    for (int i = 0; i < FEEDS; i++) {
        if (i == 2) {
            rig_until_state(rigs[i], FEED_FAILED);
        } else {
            rig_until_size(rigs[i], 150);
            assert_memory_equal(rigs[i]->bytes, pattern, 150);
        }
    }
    reader_stop(&reader);
    for (int i = 0; i < FEEDS; i++) {
        const char *failure = fake_peer_finish(&cases[i].peer);
        assert_null(failure);
        while (rig_take(rigs[i])) {
        }
        assert_null(rigs[i]->chunk);
        feed_deinit(feeds[i]);
        waker_deinit(&rigs[i]->decoder);
        mem_free(MEM_IO, rigs[i]->bytes);
    }
    assert_int_equal(mem_live_bytes(MEM_IO), 0);
}

static void test_feed_lost_live(void **state)
{
    (void)state;
    check_lost_live(IO_BACKEND_URING);
    check_lost_live(IO_BACKEND_EPOLL);
}

static void test_feed_flood(void **state)
{
    (void)state;
    check_flood(IO_BACKEND_URING);
    check_flood(IO_BACKEND_EPOLL);
}

int main(void)
{
    pattern_fill();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_feed_length),
        cmocka_unit_test(test_feed_mark),
        cmocka_unit_test(test_feed_impatient),
        cmocka_unit_test(test_feed_lost_handshake),
        cmocka_unit_test(test_feed_lost_snapshot),
        cmocka_unit_test(test_feed_lost_after_mark),
        cmocka_unit_test(test_feed_keepalive_after_mark),
        cmocka_unit_test(test_feed_lost_live),
        cmocka_unit_test(test_feed_full_again),
        cmocka_unit_test(test_feed_replies),
        cmocka_unit_test(test_feed_endless_line),
        cmocka_unit_test(test_feed_password),
        cmocka_unit_test(test_feed_flood),
        cmocka_unit_test(test_feed_silence),
        cmocka_unit_test(test_feed_stop),
        cmocka_unit_test(test_feed_refused),
        cmocka_unit_test(test_feed_continue),
        cmocka_unit_test(test_feed_several),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
