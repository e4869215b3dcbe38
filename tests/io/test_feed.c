/*
 * A feed against a scripted server: whole sessions, each answer, each way in which bytes can be
 * cut. A byte lost, repeated or counted wrongly shows as other bytes than the script's, or as a
 * PSYNC that asks for another offset than the script expects.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "tests/io/peer_rig.h"

/* ---- Whole sessions -------------------------------------------------------------------------- */

/* variant: how many bytes per segment, 0 for all at once. Keep-alives before the answer and before
 * the payload's line; the payload ends in the middle of a segment with stream bytes behind it. */
static void script_length(struct fake_peer *peer, void *arg)
{
    const struct peer_case *c = arg;
    static char text[1024];
    peer_expect_psync(peer, "PSYNC ? -1");
    int head = snprintf(text, sizeof(text), "\n\n+FULLRESYNC %s %d\r\n\n\n\n$300\r\n", ID1, OFFSET);
    memcpy(text + head, peer_pattern, 500);
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
    peer_case_start(&c, script_length);
    struct feed_options options = rig_options(c.peer.port);
    rig_start(&c.rig, backend, &options);
    rig_until_size(&c.rig, 500);
    rig_until_state(&c.rig, FEED_LIVE);
    assert_memory_equal(c.rig.bytes, peer_pattern, 500);
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
    peer_case_end(&c);
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
    fake_peer_send_split(peer, peer_pattern, 290, c->variant, 100);
    if (fake_peer_has_input(peer, 100)) {
        fake_peer_fail(peer, "an ACK before the end of the payload");
    }
    fake_peer_send_split(peer, MARK, 40, c->variant, 100);
    fake_peer_expect_command(peer, "REPLCONF ACK 1000");
    fake_peer_expect_command(peer, "REPLCONF ACK 1000"); /* a second later, again */
    fake_peer_send(peer, peer_pattern, 100);
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
    peer_case_start(&c, script_mark);
    struct feed_options options = rig_options(c.peer.port);
    rig_start(&c.rig, backend, &options);
    rig_until_size(&c.rig, 430);
    assert_memory_equal(c.rig.bytes, peer_pattern, 290);
    assert_memory_equal(c.rig.bytes + 290, MARK, 40);
    assert_memory_equal(c.rig.bytes + 330, peer_pattern, 100);
    assert_int_equal(c.rig.events[0].session.payload_bytes, -1);
    assert_memory_equal(c.rig.events[0].session.eof_mark, MARK, 40);
    assert_int_equal(atomic_load_acquire(&c.rig.feed.offset_received), OFFSET + 100);
    /* Applied as far as that, but not of this session: not acknowledged. */
    assert_true(fake_peer_wait_mark(&c.peer, 1));
    atomic_store_release(&c.rig.feed.offset_applied, OFFSET + 100);
    rig_confirm_payload(&c.rig, 1, 330);
    assert_true(fake_peer_wait_mark(&c.peer, 2));
    reader_stop(&c.rig.reader);
    peer_case_end(&c);
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
    memcpy(text, peer_pattern, 100);
    memcpy(text + 100, MARK, 40);
    memcpy(text + 140, peer_pattern, 60);
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
    peer_case_start(&c, script_impatient);
    struct feed_options options = rig_options(c.peer.port);
    rig_start(&c.rig, IO_BACKEND_URING, &options);
    rig_until_size(&c.rig, 200);
    assert_int_equal(atomic_load_acquire(&c.rig.feed.offset_received), OFFSET);
    rig_confirm_payload(&c.rig, 1, 140);
    rig_until_events(&c.rig, 2);
    assert_int_equal(atomic_load_acquire(&c.rig.feed.offset_received), OFFSET + 60);
    reader_stop(&c.rig.reader);
    peer_case_end(&c);
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
    fake_peer_send(peer, peer_pattern, 10);
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
        peer_case_start(&c, script_reply);
        struct feed_options options = rig_options(c.peer.port);
        rig_start(&c.rig, i % 2 == 0 ? IO_BACKEND_URING : IO_BACKEND_EPOLL, &options);
        rig_until_state(&c.rig, c.variant ? FEED_LIVE : FEED_FAILED);
        assert_int_equal(c.rig.feed.err.code, cases[i].code);
        if (c.variant) {
            rig_until_size(&c.rig, 10);
            assert_int_equal(atomic_load_acquire(&c.rig.feed.offset_received), OFFSET + 10);
        }
        reader_stop(&c.rig.reader);
        peer_case_end(&c);
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
    peer_case_start(&c, script_endless);
    struct feed_options options = rig_options(c.peer.port);
    rig_start(&c.rig, IO_BACKEND_URING, &options);
    rig_until_state(&c.rig, FEED_FAILED);
    assert_int_equal(c.rig.feed.err.code, SYN_CODE_SOURCE_PROTOCOL);
    peer_case_end(&c);
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
        peer_case_start(&c, script_password);
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
        peer_case_end(&c);
    }
}

/* ---- Back-pressure, stopping ----------------------------------------------------------------- */

static void script_flood(struct fake_peer *peer, void *arg)
{
    (void)arg;
    peer_expect_psync(peer, "PSYNC ? -1");
    peer_send_full(peer, ID1, OFFSET, "$100");
    fake_peer_send(peer, peer_pattern, 200);
    fake_peer_await_command(peer, "REPLCONF ACK 1000");
    fake_peer_send(peer, peer_pattern + 200, sizeof(peer_pattern) - 200);
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
    peer_case_start(&c, script_flood);
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
    rig_until_size(&c.rig, sizeof(peer_pattern));
    assert_memory_equal(c.rig.bytes, peer_pattern, sizeof(peer_pattern));
    assert_int_equal(c.rig.event_count, 1);
    assert_true(atomic_load_relaxed(&c.rig.feed.starved_ns) > 1000000000u);
    while (atomic_load_acquire(&c.rig.feed.is_starved)) {
        poll(NULL, 0, 1); /* until the reader has seen the chunks come back; ctest bounds it */
    }
    reader_stop(&c.rig.reader);
    peer_case_end(&c);
}

static void test_feed_flood(void **state)
{
    (void)state;
    check_flood(IO_BACKEND_URING);
    check_flood(IO_BACKEND_EPOLL);
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
        fake_peer_send(peer, peer_pattern, 50);
    }
    if (c->variant == 5) {
        fake_peer_send(peer, peer_pattern + 50, 100);
    }
    if (c->variant == 6) {
        fake_peer_send(peer, peer_pattern + 50, 2000);
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
            peer_case_start(&c, script_hang);
            struct feed_options options = rig_options(c.peer.port);
            rig_start(&c.rig, (enum io_backend)backend, &options);
            c.rig.is_idle = variant == 6;
            assert_true(fake_peer_wait_mark(&c.peer, 1));
            uint64_t before = clock_monotonic_ms();
            reader_stop(&c.rig.reader);
            assert_true(clock_monotonic_ms() - before < 2000);
            assert_int_equal(atomic_load_acquire(&c.rig.feed.state), FEED_STOPPED);
            peer_case_end(&c);
        }
    }
}

/* ---- Others ---------------------------------------------------------------------------------- */

static void script_continue(struct fake_peer *peer, void *arg)
{
    (void)arg;
    peer_expect_psync(peer, "PSYNC " ID1 " 5001");
    fake_peer_send_text(peer, "+CONTINUE " ID1 "\r\n");
    fake_peer_expect_command(peer, "REPLCONF ACK 5000");
    fake_peer_send(peer, peer_pattern, 70);
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
    assert_memory_equal(c.rig.bytes, peer_pattern, 70);
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
    peer_case_end(&c);
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
        peer_case_start(c, i == 2 ? script_reply : script_hang);
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
            assert_memory_equal(rigs[i]->bytes, peer_pattern, 150);
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

int main(void)
{
    peer_pattern_fill();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_feed_length),
        cmocka_unit_test(test_feed_mark),
        cmocka_unit_test(test_feed_impatient),
        cmocka_unit_test(test_feed_replies),
        cmocka_unit_test(test_feed_endless_line),
        cmocka_unit_test(test_feed_password),
        cmocka_unit_test(test_feed_flood),
        cmocka_unit_test(test_feed_stop),
        cmocka_unit_test(test_feed_continue),
        cmocka_unit_test(test_feed_several),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
