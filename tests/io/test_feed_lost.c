/*
 * A feed whose connection is lost at each place where it can break, falls silent or is refused, and
 * what it asks for with the next one. A byte lost, repeated or counted wrongly shows as other bytes
 * than the script's, or as a PSYNC that asks for another offset than the script expects.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "tests/io/peer_rig.h"

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
    fake_peer_send(peer, peer_pattern, 10);
    fake_peer_wait_closed(peer);
}

static void test_feed_lost_handshake(void **state)
{
    (void)state;
    for (int backend = IO_BACKEND_URING; backend <= IO_BACKEND_EPOLL; backend++) {
        static struct peer_case c;
        memset(&c, 0, sizeof(c));
        peer_case_start(&c, script_lost_handshake);
        struct feed_options options = rig_options(c.peer.port);
        rig_start(&c.rig, (enum io_backend)backend, &options);
        rig_until_state(&c.rig, FEED_LIVE);
        assert_int_equal(c.rig.event_count, 1);
        assert_int_equal(c.rig.events[0].session.number, 2);
        assert_int_equal(atomic_load_acquire(&c.rig.feed.offset_received), OFFSET);
        reader_stop(&c.rig.reader);
        peer_case_end(&c);
    }
}

/* variant 0: $300 cut at 299; 1: $EOF cut within the mark; 2: an error instead of the payload. */
static void script_lost_snapshot(struct fake_peer *peer, void *arg)
{
    const struct peer_case *c = arg;
    peer_expect_psync(peer, "PSYNC ? -1");
    if (c->variant == 0) {
        peer_send_full(peer, ID1, OFFSET, "$300");
        fake_peer_send(peer, peer_pattern, 299);
    } else if (c->variant == 1) {
        peer_send_full(peer, ID1, OFFSET, "$EOF:" MARK);
        fake_peer_send(peer, peer_pattern, 260);
        fake_peer_send(peer, MARK, 39);
    } else {
        peer_send_full(peer, ID1, OFFSET, "-ERR BGSAVE failed, replication can't continue");
    }
    fake_peer_mark(peer, 1);
    fake_peer_close(peer);
    peer_expect_psync(peer, "PSYNC ? -1");
    peer_send_full(peer, ID2, 50, "$20");
    fake_peer_send(peer, peer_pattern, 25);
    fake_peer_await_command(peer, "REPLCONF ACK 50");
    fake_peer_wait_closed(peer);
}

static void check_lost_snapshot(enum io_backend backend, int variant)
{
    static struct peer_case c;
    memset(&c, 0, sizeof(c));
    c.variant = variant;
    peer_case_start(&c, script_lost_snapshot);
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
    assert_memory_equal(c.rig.bytes + before, peer_pattern, 25);
    rig_until_state(&c.rig, FEED_LIVE);
    assert_int_equal(atomic_load_acquire(&c.rig.feed.offset_received), 55);
    /* The first copy's end comes late from the decoder: it is not this one's. */
    rig_confirm_payload(&c.rig, 1, 299);
    rig_apply(&c.rig, OFFSET + 500);
    while (atomic_load_acquire(&c.rig.feed.ack_wanted)) {
        poll(NULL, 0, 1);
    }
    reader_stop(&c.rig.reader);
    peer_case_end(&c);
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
    fake_peer_send(peer, peer_pattern, 100);
    fake_peer_send(peer, MARK, 40);
    fake_peer_close(peer);
    peer_expect_psync(peer, "PSYNC " ID1 " 1001");
    fake_peer_send_text(peer, "+CONTINUE " ID1 "\r\n");
    fake_peer_send(peer, peer_pattern, 30);
    fake_peer_await_command(peer, "REPLCONF ACK 1000");
    fake_peer_wait_closed(peer);
}

static void test_feed_lost_after_mark(void **state)
{
    (void)state;
    static struct peer_case c;
    memset(&c, 0, sizeof(c));
    peer_case_start(&c, script_lost_after_mark);
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
    assert_memory_equal(c.rig.bytes + 140, peer_pattern, 30);
    rig_confirm_payload(&c.rig, 1, 140);
    reader_stop(&c.rig.reader);
    peer_case_end(&c);
}

/* A master whose child is killed after it had sent all says "\n" before it drops the connection.
 * Those are no bytes of the stream: it is asked for from its first byte, and begins with that. */
static void script_keepalive_after_mark(struct fake_peer *peer, void *arg)
{
    (void)arg;
    peer_expect_psync(peer, "PSYNC ? -1");
    peer_send_full(peer, ID1, OFFSET, "$EOF:" MARK);
    fake_peer_send(peer, peer_pattern, 100);
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
        peer_case_start(&c, script_keepalive_after_mark);
        struct feed_options options = rig_options(c.peer.port);
        rig_start(&c.rig, (enum io_backend)backend, &options);
        rig_until_size(&c.rig, 149);
        /* Within a command a line feed is what it is. */
        assert_memory_equal(c.rig.bytes + 140, "*1\r\n\n$4\r\n", 9);
        assert_int_equal(atomic_load_acquire(&c.rig.feed.offset_received), OFFSET + 9);
        rig_confirm_payload(&c.rig, 1, 140);
        reader_stop(&c.rig.reader);
        peer_case_end(&c);
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
    fake_peer_send(peer, peer_pattern, 100);
    for (size_t i = 1; i <= 12; i++) {
        size_t size = i * i * 7;
        fake_peer_send(peer, peer_pattern + sent, size);
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
    fake_peer_send(peer, peer_pattern + sent, sizeof(peer_pattern) - sent);
    fake_peer_wait_closed(peer);
}

static void check_lost_live(enum io_backend backend)
{
    static struct peer_case c;
    memset(&c, 0, sizeof(c));
    peer_case_start(&c, script_lost_live);
    struct feed_options options = rig_options(c.peer.port);
    options.retry_ms = 60000;
    rig_start(&c.rig, backend, &options);
    rig_until_size(&c.rig, sizeof(peer_pattern));
    assert_int_equal(c.rig.size, sizeof(peer_pattern));
    assert_memory_equal(c.rig.bytes, peer_pattern, sizeof(peer_pattern));
    assert_int_equal(c.rig.event_count, 13);
    for (uint32_t i = 1; i < 13; i++) {
        assert_int_equal(c.rig.events[i].kind, CHUNK_CONTINUE);
        assert_int_equal(c.rig.events[i].session.number, 1);
        assert_int_equal(c.rig.events[i].session.offset, OFFSET + c.rig.events[i].at - 100);
    }
    assert_string_equal(c.rig.events[3].session.replid, ID1);
    assert_string_equal(c.rig.events[4].session.replid, ID2);
    reader_stop(&c.rig.reader);
    peer_case_end(&c);
}

static void test_feed_lost_live(void **state)
{
    (void)state;
    check_lost_live(IO_BACKEND_URING);
    check_lost_live(IO_BACKEND_EPOLL);
}

/* FULLRESYNC instead of CONTINUE is a new copy with a new place in history, also a smaller one. */
static void script_full_again(struct fake_peer *peer, void *arg)
{
    (void)arg;
    peer_expect_psync(peer, "PSYNC ? -1");
    peer_send_full(peer, ID1, OFFSET, "$100");
    fake_peer_send(peer, peer_pattern, 150);
    fake_peer_await_command(peer, "REPLCONF ACK 1050");
    fake_peer_close(peer);
    peer_expect_psync(peer, "PSYNC " ID1 " 1051");
    peer_send_full(peer, ID2, 5, "$80");
    fake_peer_send(peer, peer_pattern, 90);
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
    peer_case_start(&c, script_full_again);
    struct feed_options options = rig_options(c.peer.port);
    rig_start(&c.rig, IO_BACKEND_URING, &options);
    rig_until_size(&c.rig, 150);
    rig_confirm_payload(&c.rig, 1, 100);
    rig_apply(&c.rig, OFFSET + 50);
    rig_until_events(&c.rig, 2);
    rig_until_size(&c.rig, 240);
    assert_int_equal(c.rig.events[1].kind, CHUNK_SNAPSHOT);
    assert_int_equal(c.rig.events[1].session.number, 2);
    assert_memory_equal(c.rig.bytes + 150, peer_pattern, 90);
    rig_until_events(&c.rig, 3);
    assert_int_equal(c.rig.events[2].session.number, 2);
    assert_int_equal(c.rig.events[2].session.offset, 15);
    assert_int_equal(atomic_load_acquire(&c.rig.feed.snapshot_count), 2);
    assert_int_equal(atomic_load_acquire(&c.rig.feed.session_count), 3);
    reader_stop(&c.rig.reader);
    peer_case_end(&c);
}

/* ---- Silence, refusal ------------------------------------------------------------------------ */

static void script_silent(struct fake_peer *peer, void *arg)
{
    (void)arg;
    fake_peer_accept(peer);
    fake_peer_wait_closed(peer); /* no answer to PING */
    peer_expect_psync(peer, "PSYNC ? -1");
    fake_peer_wait_closed(peer); /* no answer to PSYNC */
    peer_expect_psync(peer, "PSYNC ? -1");
    peer_send_full(peer, ID1, OFFSET, "$100");
    fake_peer_send(peer, peer_pattern, 50);
    fake_peer_wait_closed(peer); /* in the snapshot */
    peer_expect_psync(peer, "PSYNC ? -1");
    peer_send_full(peer, ID1, OFFSET, "$100");
    fake_peer_send(peer, peer_pattern, 150);
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
    peer_case_start(&c, script_silent);
    struct feed_options options = rig_options(c.peer.port);
    options.silence_timeout_ms = 300;
    options.connect_timeout_ms = 300;
    rig_start(&c.rig, IO_BACKEND_URING, &options);
    rig_until_events(&c.rig, 3);
    assert_int_equal(c.rig.size, 200);
    assert_true(fake_peer_wait_mark(&c.peer, 1));
    reader_stop(&c.rig.reader);
    peer_case_end(&c);
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

int main(void)
{
    peer_pattern_fill();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_feed_lost_handshake),
        cmocka_unit_test(test_feed_lost_snapshot),
        cmocka_unit_test(test_feed_lost_after_mark),
        cmocka_unit_test(test_feed_keepalive_after_mark),
        cmocka_unit_test(test_feed_lost_live),
        cmocka_unit_test(test_feed_full_again),
        cmocka_unit_test(test_feed_silence),
        cmocka_unit_test(test_feed_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
