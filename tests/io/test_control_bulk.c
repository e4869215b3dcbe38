/* Long texts as they arrive: whatever the cuts, the same bytes; whatever comes around them stays in
 * step; and nothing of them is held. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "io/control.h"
#include "tests/support/client.h"
#include "tests/support/fake_peer.h"
#include "tests/support/memory.h"
#include "tests/support/servers.h"

#define TIMEOUT_MS 5000
#define TEXT_MAX 4096

struct taken {
    char text[TEXT_MAX];
    uint64_t size;
    uint64_t total;
    uint64_t sum;
    uint32_t pieces;
};

static void on_piece(void *arg, const uint8_t *bytes, size_t size, uint64_t offset, uint64_t total)
{
    struct taken *taken = arg;
    assert_int_equal(offset, taken->size);
    assert_true(size <= total - offset);
    taken->total = total;
    taken->pieces++;
    for (size_t i = 0; i < size; i++, taken->size++) {
        taken->sum = taken->sum * 31 + bytes[i];
        if (taken->size < TEXT_MAX) {
            taken->text[taken->size] = (char)bytes[i];
        }
    }
}

static enum control_bulk
fetch(struct control *control, struct taken *taken, redisReply **reply, struct syn_err *err)
{
    struct control_sink sink = {.piece = on_piece, .arg = taken};
    *taken = (struct taken){.size = 0};
    return control_fetch_bulk(control, &sink, reply, err);
}

static void expect_text(struct control *control, const char *text, size_t size)
{
    struct taken taken;
    redisReply *reply;
    struct syn_err err;
    if (fetch(control, &taken, &reply, &err) != CONTROL_BULK_TEXT) {
        fail_msg("%s", err.msg);
    }
    assert_null(reply);
    assert_int_equal(taken.total, size);
    assert_int_equal(taken.size, size);
    assert_true(taken.pieces > 0);
    assert_memory_equal(taken.text, text, size);
}

static void expect_other(struct control *control, int type)
{
    struct taken taken;
    redisReply *reply;
    struct syn_err err;
    assert_int_equal(fetch(control, &taken, &reply, &err), CONTROL_BULK_OTHER);
    assert_int_equal(taken.pieces, 0);
    assert_int_equal(reply->type, type);
    freeReplyObject(reply);
}

static const char answers[] = "$5\r\nab\r\nc\r\n$0\r\n\r\n$-1\r\n-ERR no\r\n:7\r\n$1\r\nx\r\n"
                              "*2\r\n$2\r\nyy\r\n:1\r\n$3\r\nend\r\n";

static size_t cut_size;

static void answers_script(struct fake_peer *peer, void *arg)
{
    (void)arg;
    fake_peer_accept(peer);
    fake_peer_expect_command(peer, "PING");
    fake_peer_send_text(peer, "+PONG\r\n");
    fake_peer_expect_command(peer, "GO");
    fake_peer_send_split(peer, answers, sizeof(answers) - 1, cut_size, 200);
    fake_peer_wait_closed(peer);
}

static void open_peer(struct fake_peer *peer, fake_peer_script *script, struct control *control)
{
    struct syn_err err;
    fake_peer_start(peer, NULL, script, NULL);
    struct endpoint endpoint = {.host = "127.0.0.1", .port = peer->port};
    if (!control_open(control, &endpoint, SIDE_SOURCE, TIMEOUT_MS, &err)) {
        fail_msg("%s", err.msg);
    }
    const char *go[] = {"GO"};
    assert_true(control_append(control, 1, go, NULL, &err));
}

static void close_peer(struct fake_peer *peer, struct control *control)
{
    control_close(control);
    const char *failure = fake_peer_finish(peer);
    if (failure != NULL) {
        fail_msg("%s", failure);
    }
}

/* Texts, nil, errors and arrays in a row, cut anywhere: a reader that lost a byte would be out of
 * step with all that follow. */
static void test_cuts(void **state)
{
    (void)state;
    static const size_t cuts[] = {1, 2, 3, 5, 7, 11, 1000};
    for (size_t i = 0; i < sizeof(cuts) / sizeof(cuts[0]); i++) {
        struct fake_peer peer;
        struct control control;
        struct syn_err err;
        cut_size = cuts[i];
        open_peer(&peer, answers_script, &control);
        expect_text(&control, "ab\r\nc", 5);
        expect_text(&control, "", 0);
        expect_other(&control, REDIS_REPLY_NIL);
        expect_other(&control, REDIS_REPLY_ERROR);
        expect_other(&control, REDIS_REPLY_INTEGER);
        redisReply *reply = control_fetch(&control, &err);
        assert_string_equal(reply->str, "x");
        freeReplyObject(reply);
        expect_other(&control, REDIS_REPLY_ARRAY);
        expect_text(&control, "end", 3);
        close_peer(&peer, &control);
    }
}

static const char *answer;

static void answer_script(struct fake_peer *peer, void *arg)
{
    (void)arg;
    fake_peer_accept(peer);
    fake_peer_expect_command(peer, "PING");
    fake_peer_send_text(peer, "+PONG\r\n");
    fake_peer_expect_command(peer, "GO");
    fake_peer_send_text(peer, answer);
    fake_peer_close(peer);
}

/* What is no RESP, or ends too early, is an error that says so; never a text. */
static void test_broken(void **state)
{
    (void)state;
    static const struct {
        const char *answer;
        enum syn_code code;
        const char *words;
    } cases[] = {
        {"$5\r\nabcdefg", SYN_CODE_SOURCE_PROTOCOL, "not RESP (a text without its end)"},
        {"$5x\r\nabcde\r\n", SYN_CODE_SOURCE_PROTOCOL, "not RESP"},
        {"$-7\r\n", SYN_CODE_SOURCE_PROTOCOL, "not RESP"},
        {"$99999999999999999999\r\n", SYN_CODE_SOURCE_PROTOCOL, "not RESP"},
        {"$9223372036854775808\r\nx", SYN_CODE_SOURCE_PROTOCOL, "not RESP"},
        {"$5555555555555555555555555555\r\n", SYN_CODE_SOURCE_PROTOCOL, "not RESP"},
        {"HTTP/1.1 200\r\n", SYN_CODE_SOURCE_PROTOCOL, "not RESP"},
        {"", SYN_CODE_SOURCE_CONNECT, "closed the connection"},
        {"$", SYN_CODE_SOURCE_CONNECT, "closed the connection"},
        {"$5\r", SYN_CODE_SOURCE_CONNECT, "closed the connection"},
        {"$5\r\nab", SYN_CODE_SOURCE_CONNECT, "closed the connection"},
        {"$9223372036854775807\r\nab", SYN_CODE_SOURCE_CONNECT, "closed the connection"},
        {"$2\r\nab\r", SYN_CODE_SOURCE_CONNECT, "closed the connection"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct fake_peer peer;
        struct control control;
        struct taken taken;
        redisReply *reply;
        struct syn_err err;
        answer = cases[i].answer;
        open_peer(&peer, answer_script, &control);
        assert_int_equal(fetch(&control, &taken, &reply, &err), CONTROL_BULK_LOST);
        assert_null(reply);
        assert_null(control.context);
        if (err.code != cases[i].code || strstr(err.msg, cases[i].words) == NULL) {
            fail_msg("%s: %s", answer, err.msg);
        }
        close_peer(&peer, &control);
    }
}

/* A text much larger than what may be held, between others, from a real server. */
static void test_large(void **state)
{
    (void)state;
    struct test_server server;
    test_server_start(&server, TEST_REQUIRED_VERSION, NULL);
    redisContext *client = test_connect(server.port);
    test_command_ok(client, "SETRANGE large %d x", 64 << 20);
    test_command_ok(client, "SET small y");
    redisFree(client);
    struct endpoint endpoint = {.host = "127.0.0.1", .port = server.port};
    struct control control;
    struct syn_err err;
    assert_true(control_open(&control, &endpoint, SIDE_SOURCE, TIMEOUT_MS, &err));
    control_set_timeout(&control, 60000);
    long before = test_peak_kib();
    const char *large[] = {"GET", "large"};
    const char *small[] = {"GET", "small"};
    for (int i = 0; i < 2; i++) {
        assert_true(control_append(&control, 2, large, NULL, &err));
        assert_true(control_append(&control, 2, small, NULL, &err));
    }
    for (int i = 0; i < 2; i++) {
        struct taken taken;
        redisReply *reply;
        assert_int_equal(fetch(&control, &taken, &reply, &err), CONTROL_BULK_TEXT);
        assert_int_equal(taken.size, (64 << 20) + 1);
        assert_int_equal(taken.sum, 'x');
        expect_text(&control, "y", 1);
    }
    assert_true(test_peak_kib() - before < 16 << 10);
    control_close(&control);
    test_server_kill(&server);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cuts),
        cmocka_unit_test(test_broken),
        cmocka_unit_test(test_large),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
