/*
 * What each reply of the handshake is taken for. A passing condition taken for a final one stops a
 * task that only had to wait; the other way round it waits for nothing; and a reply half understood
 * would continue at a wrong place in the stream.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "io/psync.h"

#define ID "0123456789abcdef0123456789abcdef01234567"

static const struct endpoint endpoint = {.host = "src", .port = 6379, .password = "secret"};

static void
check_request(enum psync_step step, const char *replid, uint64_t offset, const char *want)
{
    uint8_t out[PSYNC_REQUEST_MAX];
    size_t size = psync_request(step, &endpoint, replid, offset, out);
    assert_int_equal(size, strlen(want));
    assert_memory_equal(out, want, size);
}

static void test_psync_requests(void **state)
{
    (void)state;
    uint8_t out[PSYNC_REQUEST_MAX];
    check_request(PSYNC_STEP_PING, "", 0, "*1\r\n$4\r\nPING\r\n");
    check_request(
        PSYNC_STEP_CAPA,
        "",
        0,
        "*5\r\n$8\r\nREPLCONF\r\n$4\r\ncapa\r\n$3\r\neof\r\n$4\r\ncapa\r\n$6\r\npsync2\r\n");
    check_request(
        PSYNC_STEP_VERSION, "", 0, "*3\r\n$8\r\nREPLCONF\r\n$7\r\nversion\r\n$5\r\n9.1.0\r\n");
    check_request(PSYNC_STEP_PSYNC, "", 7, "*3\r\n$5\r\nPSYNC\r\n$1\r\n?\r\n$2\r\n-1\r\n");
    check_request(PSYNC_STEP_PSYNC, ID, 99, "*3\r\n$5\r\nPSYNC\r\n$40\r\n" ID "\r\n$3\r\n100\r\n");
    static const char ack[] = "*3\r\n$8\r\nREPLCONF\r\n$3\r\nACK\r\n$19\r\n9223372036854775807\r\n";
    assert_int_equal(psync_ack(INT64_MAX, out), sizeof(ack) - 1);
    assert_memory_equal(out, ack, sizeof(ack) - 1);
}

struct reply_case {
    enum psync_step step;
    const char *line;
    enum syn_code code; /* OK: go on */
    const char *message;
};

static void test_psync_replies(void **state)
{
    (void)state;
    static const struct reply_case cases[] = {
        {PSYNC_STEP_AUTH, "+OK", SYN_CODE_OK, NULL},
        {PSYNC_STEP_AUTH, "-WRONGPASS invalid", SYN_CODE_SOURCE_AUTH, "password in the source URI"},
        {PSYNC_STEP_AUTH, "-ERR invalid password", SYN_CODE_SOURCE_AUTH, "password"},
        {PSYNC_STEP_AUTH,
         "-ERR Client sent AUTH, but no password is set",
         SYN_CODE_SOURCE_AUTH,
         "remove the credentials"},
        {PSYNC_STEP_AUTH,
         "-ERR wrong number of arguments for 'auth' command",
         SYN_CODE_SOURCE_AUTH,
         "take no user name"},
        {PSYNC_STEP_AUTH, "-LOADING Redis is loading", SYN_CODE_SOURCE_STATE, "loading"},
        {PSYNC_STEP_AUTH,
         "-ERR max number of clients reached",
         SYN_CODE_SOURCE_STATE,
         "maxclients"},
        {PSYNC_STEP_PING, "+PONG", SYN_CODE_OK, NULL},
        {PSYNC_STEP_PING, "-NOPERM no ping", SYN_CODE_OK, NULL},
        {PSYNC_STEP_PING, "-NOAUTH Authentication required.", SYN_CODE_SOURCE_AUTH, "password"},
        {PSYNC_STEP_PING, "-ERR operation not permitted", SYN_CODE_SOURCE_AUTH, "password"},
        {PSYNC_STEP_PING,
         "-DENIED Redis is running in protected",
         SYN_CODE_SOURCE_AUTH,
         "protected"},
        {PSYNC_STEP_PING, "-MASTERDOWN Link", SYN_CODE_SOURCE_STATE, "link to its master"},
        {PSYNC_STEP_PING, "-BUSY Redis is busy", SYN_CODE_SOURCE_STATE, "script"},
        {PSYNC_STEP_PING, "HTTP/1.1 400 Bad Request", SYN_CODE_SOURCE_PROTOCOL, "web server"},
        {PSYNC_STEP_PING, "\x15\x03\x03", SYN_CODE_SOURCE_PROTOCOL, "TLS"},
        {PSYNC_STEP_PING, "+OK", SYN_CODE_SOURCE_PROTOCOL, "not a Redis"},
        {PSYNC_STEP_PING, "", SYN_CODE_SOURCE_PROTOCOL, "not a Redis"},
        {PSYNC_STEP_CAPA, "+OK", SYN_CODE_OK, NULL},
        {PSYNC_STEP_CAPA, "-ERR Unrecognized REPLCONF option: capa", SYN_CODE_OK, NULL},
        {PSYNC_STEP_CAPA, "-NOPERM", SYN_CODE_SOURCE_AUTH, "+psync +replconf"},
        {PSYNC_STEP_CAPA, "-NOAUTH", SYN_CODE_SOURCE_AUTH, "password"},
        {PSYNC_STEP_VERSION, "-ERR Unrecognized REPLCONF option: version", SYN_CODE_OK, NULL},
        {PSYNC_STEP_VERSION, "$5", SYN_CODE_SOURCE_PROTOCOL, "not a Redis"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const struct reply_case *c = &cases[i];
        struct syn_err err = {0};
        bool is_ok = psync_reply(c->step, &endpoint, c->line, strlen(c->line), &err);
        assert_int_equal(err.code, c->code);
        assert_int_equal(is_ok, c->code == SYN_CODE_OK);
        if (!is_ok) {
            assert_non_null(strstr(err.msg, "src:6379"));
            assert_non_null(strstr(err.msg, c->message));
            assert_null(strstr(err.msg, "secret"));
        }
    }
}

static void test_psync_answers(void **state)
{
    (void)state;
    static const struct reply_case refused[] = {
        {0,
         "-NOMASTERLINK Can't SYNC while not connected with my master",
         SYN_CODE_SOURCE_STATE,
         "link"},
        {0, "-ERR Can't SYNC while not connected with my master", SYN_CODE_SOURCE_STATE, "link"},
        {0, "-LOADING Redis is loading the dataset in memory", SYN_CODE_SOURCE_STATE, "loading"},
        {0, "-MASTERDOWN Link with MASTER is down", SYN_CODE_SOURCE_STATE, "link"},
        {0, "-BUSY Redis is busy running a script", SYN_CODE_SOURCE_STATE, "script"},
        {0, "-NOAUTH Authentication required.", SYN_CODE_SOURCE_AUTH, "password"},
        {0, "-NOPERM this user has no permissions", SYN_CODE_SOURCE_AUTH, "+psync"},
        {0,
         "-ERR SYNC and PSYNC are invalid with pending output",
         SYN_CODE_SOURCE_STATE,
         "made again"},
        {0, "-ERR unknown command 'PSYNC'", SYN_CODE_SOURCE_PROTOCOL, "does not know PSYNC"},
        {0, "-ERR unknown command `PSYNC`, with args", SYN_CODE_SOURCE_PROTOCOL, "proxy"},
        {0, "-ERR BGSAVE failed, replication can't continue", SYN_CODE_SOURCE_STATE, "snapshot"},
        {0, "-ERR something new", SYN_CODE_SOURCE_STATE, "refused PSYNC"},
        {0, "+FULLRESYNC", SYN_CODE_SOURCE_PROTOCOL, "FULLRESYNC"},
        {0, "+FULLRESYNC " ID, SYN_CODE_SOURCE_PROTOCOL, "FULLRESYNC"},
        {0, "+FULLRESYNC " ID " -1", SYN_CODE_SOURCE_PROTOCOL, "FULLRESYNC"},
        {0, "+FULLRESYNC " ID "x 1", SYN_CODE_SOURCE_PROTOCOL, "FULLRESYNC"},
        {0, "+FULLRESYNC " ID " 1x", SYN_CODE_SOURCE_PROTOCOL, "FULLRESYNC"},
        {0, "+FULLRESYNC " ID " 18446744073709551615", SYN_CODE_SOURCE_PROTOCOL, "FULLRESYNC"},
        {0, "+FULLRESYNC " ID " 99999999999999999999", SYN_CODE_SOURCE_PROTOCOL, "FULLRESYNC"},
        {0, "+CONTINUE 0123", SYN_CODE_SOURCE_PROTOCOL, "CONTINUE"},
        {0, "+CONTINUED", SYN_CODE_SOURCE_PROTOCOL, "CONTINUED"},
        {0, "+RDBCHANNELSYNC 5", SYN_CODE_SOURCE_PROTOCOL, "RDBCHANNELSYNC"},
        {0, "+OK", SYN_CODE_SOURCE_PROTOCOL, "not a Redis"},
        {0, "", SYN_CODE_SOURCE_PROTOCOL, "not a Redis"},
    };
    struct psync_answer answer;
    for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
        struct syn_err err = {0};
        const char *line = refused[i].line;
        assert_false(psync_answer(&endpoint, line, strlen(line), &answer, &err));
        assert_int_equal(err.code, refused[i].code);
        assert_non_null(strstr(err.msg, refused[i].message));
    }
    struct syn_err err = {0};
    static const char full[] = "+FULLRESYNC " ID " 123456789012";
    assert_true(psync_answer(&endpoint, full, sizeof(full) - 1, &answer, &err));
    assert_true(answer.is_full);
    assert_string_equal(answer.replid, ID);
    assert_int_equal(answer.offset, 123456789012);
    static const char named[] = "+CONTINUE " ID;
    assert_true(psync_answer(&endpoint, named, sizeof(named) - 1, &answer, &err));
    assert_false(answer.is_full);
    assert_true(answer.has_replid);
    assert_string_equal(answer.replid, ID);
    assert_true(psync_answer(&endpoint, "+CONTINUE", 9, &answer, &err));
    assert_false(answer.is_full);
    assert_false(answer.has_replid);
    /* Every beginning of a good line is refused, not read past its end. */
    for (size_t size = 0; size < sizeof(full) - 13; size++) {
        if (size == 0 || full[size - 1] != ' ') {
            assert_false(psync_answer(&endpoint, full, size, &answer, &err));
        }
    }
}

static void test_psync_payloads(void **state)
{
    (void)state;
    struct chunk_session session = {0};
    struct syn_err err = {0};
    assert_true(psync_payload(&endpoint, "$0", 2, &session, &err));
    assert_int_equal(session.payload_bytes, 0);
    assert_true(psync_payload(&endpoint, "$123456789012", 13, &session, &err));
    assert_int_equal(session.payload_bytes, 123456789012);
    assert_true(psync_payload(&endpoint, "$EOF:" ID, 45, &session, &err));
    assert_int_equal(session.payload_bytes, -1);
    assert_memory_equal(session.eof_mark, ID, EOF_MARK_SIZE);
    static const struct reply_case refused[] = {
        {0, "-ERR BGSAVE failed, replication can't continue", SYN_CODE_SOURCE_STATE, "snapshot"},
        {0, "-ERR disk on fire", SYN_CODE_SOURCE_STATE, "disk on fire"},
        {0, "$", SYN_CODE_SOURCE_PROTOCOL, "$"},
        {0, "$-1", SYN_CODE_SOURCE_PROTOCOL, "$-1"},
        {0, "$1 ", SYN_CODE_SOURCE_PROTOCOL, "$1"},
        {0, "$9223372036854775807", SYN_CODE_SOURCE_PROTOCOL, "$92"},
        {0, "$EOF:0123", SYN_CODE_SOURCE_PROTOCOL, "$EOF"},
        {0, "$EOF:" ID "0", SYN_CODE_SOURCE_PROTOCOL, "$EOF"},
        {0, "REDIS0011", SYN_CODE_SOURCE_PROTOCOL, "REDIS"},
    };
    for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
        const char *line = refused[i].line;
        assert_false(psync_payload(&endpoint, line, strlen(line), &session, &err));
        assert_int_equal(err.code, refused[i].code);
        assert_non_null(strstr(err.msg, refused[i].message));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_psync_requests),
        cmocka_unit_test(test_psync_replies),
        cmocka_unit_test(test_psync_answers),
        cmocka_unit_test(test_psync_payloads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
