/* Control connections against scripted peers and a real server: every way to fail has a message of
 * its own that says what to do. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "io/control.h"
#include "tests/support/client.h"
#include "tests/support/fake_peer.h"
#include "tests/support/servers.h"

#define TIMEOUT_MS 5000

static struct endpoint local(uint16_t port)
{
    struct endpoint endpoint = {.host = "127.0.0.1", .port = port};
    return endpoint;
}

static void set_login(struct endpoint *endpoint, const char *user, const char *password)
{
    snprintf(endpoint->user, sizeof(endpoint->user), "%s", user);
    snprintf(endpoint->password, sizeof(endpoint->password), "%s", password);
}

/* Opening must fail with this code and words, never with the password in the message. */
static void expect_failure(const struct endpoint *endpoint,
                           enum side side,
                           int timeout_ms,
                           enum syn_code code,
                           const char *words)
{
    struct control control;
    struct syn_err err = {.code = SYN_CODE_OK};
    assert_false(control_open(&control, endpoint, side, timeout_ms, &err));
    assert_null(control.context);
    if (err.code != code || strstr(err.msg, words) == NULL) {
        fail_msg("expected %d \"%s\", got %d: %s", (int)code, words, (int)err.code, err.msg);
    }
    assert_non_null(strstr(err.msg, side_name(side)));
    if (endpoint->password[0] != '\0') {
        assert_null(strstr(err.msg, endpoint->password));
    }
}

/* The peer answers the first PING with this text and closes. */
static void answer_script(struct fake_peer *peer, void *arg)
{
    fake_peer_accept(peer);
    fake_peer_expect_command(peer, "PING");
    fake_peer_send_text(peer, arg);
    fake_peer_close(peer);
}

static void expect_answer(const char *answer, enum syn_code code, const char *words)
{
    struct fake_peer peer;
    fake_peer_start(&peer, NULL, answer_script, (void *)(uintptr_t)answer);
    struct endpoint endpoint = local(peer.port);
    expect_failure(&endpoint, SIDE_SOURCE, TIMEOUT_MS, code, words);
    const char *failure = fake_peer_finish(&peer);
    if (failure != NULL) {
        fail_msg("%s", failure);
    }
}

/* A user who cannot reach the server must learn why from the message alone. */
static void test_unreachable(void **state)
{
    (void)state;
    struct endpoint endpoint = {.host = "no-such-host.invalid", .port = 6379};
    expect_failure(
        &endpoint, SIDE_SOURCE, TIMEOUT_MS, SYN_CODE_SOURCE_CONNECT, "check the host name");
    endpoint = local(test_port_free(false));
    expect_failure(&endpoint,
                   SIDE_DESTINATION,
                   TIMEOUT_MS,
                   SYN_CODE_DESTINATION_CONNECT,
                   "nothing listens there");
    endpoint = (struct endpoint){.path = "/nonexistent/redis.sock"};
    expect_failure(
        &endpoint, SIDE_SOURCE, TIMEOUT_MS, SYN_CODE_SOURCE_CONNECT, "no such unix socket");
}

/* Peers of other protocols, and none: a wrong port must not look like a broken Redis. */
static void test_not_a_redis(void **state)
{
    (void)state;
    expect_answer("HTTP/1.1 400 Bad Request\r\n\r\n", SYN_CODE_SOURCE_PROTOCOL, "HTTP server");
    expect_answer("\x15\x03\x03", SYN_CODE_SOURCE_PROTOCOL, "TLS server");
    expect_answer("SSH-2.0-OpenSSH_9\r\n", SYN_CODE_SOURCE_PROTOCOL, "SSH server");
    expect_answer("garbage\r\n", SYN_CODE_SOURCE_PROTOCOL, "not a Redis or Valkey server");
    expect_answer("", SYN_CODE_SOURCE_PROTOCOL, "closed at PING");
}

static void silent_script(struct fake_peer *peer, void *arg)
{
    (void)arg;
    fake_peer_accept(peer);
    fake_peer_wait_closed(peer);
}

/* A peer that accepts and says nothing must end with the time limit, not hang. */
static void test_silence(void **state)
{
    (void)state;
    struct fake_peer peer;
    fake_peer_start(&peer, NULL, silent_script, NULL);
    struct endpoint endpoint = local(peer.port);
    uint64_t start = clock_monotonic_ms();
    expect_failure(
        &endpoint, SIDE_SOURCE, 300, SYN_CODE_SOURCE_CONNECT, "PING is not answered in time");
    assert_true(clock_monotonic_ms() - start < 3000);
    assert_null(fake_peer_finish(&peer));
}

/* Servers that are there but refuse: each refusal has its own advice and its own code. */
static void test_refusals(void **state)
{
    (void)state;
    expect_answer(
        "-DENIED Redis is running in protected mode\r\n", SYN_CODE_SOURCE_AUTH, "protected mode");
    expect_answer(
        "-ERR max number of clients reached\r\n", SYN_CODE_SOURCE_STATE, "no free connection");
    expect_answer("-LOADING Redis is loading the dataset in memory\r\n",
                  SYN_CODE_SOURCE_STATE,
                  "still loading");
    expect_answer(
        "-MASTERDOWN Link with MASTER is down\r\n", SYN_CODE_SOURCE_STATE, "lost its master");
    expect_answer(
        "-NOAUTH Authentication required.\r\n", SYN_CODE_SOURCE_AUTH, "asks for a password");
    expect_answer("-NOPERM this user has no permissions to run the 'ping' command\r\n",
                  SYN_CODE_SOURCE_AUTH,
                  "lacks a permission");
}

/* A full server answers and closes before it has read anything: the reset that follows must not
 * hide the answer. */
static void full_script(struct fake_peer *peer, void *arg)
{
    (void)arg;
    fake_peer_accept(peer);
    fake_peer_send_text(peer, "-ERR max number of clients reached\r\n");
    fake_peer_close(peer);
}

static void test_answer_before_reset(void **state)
{
    (void)state;
    struct fake_peer peer;
    fake_peer_start(&peer, NULL, full_script, NULL);
    struct endpoint endpoint = local(peer.port);
    expect_failure(&endpoint, SIDE_SOURCE, TIMEOUT_MS, SYN_CODE_SOURCE_STATE, "no free connection");
    assert_null(fake_peer_finish(&peer));
}

static void old_auth_script(struct fake_peer *peer, void *arg)
{
    fake_peer_accept(peer);
    fake_peer_expect_command(peer, "PING");
    fake_peer_send_text(peer, "+PONG\r\n");
    fake_peer_expect_command(peer, "AUTH secret-word");
    fake_peer_send_text(peer, arg);
    fake_peer_wait_closed(peer);
}

/* What servers before 6.0 say to AUTH. */
static void test_old_auth(void **state)
{
    (void)state;
    const struct {
        const char *answer;
        const char *words;
    } cases[] = {
        {"-ERR invalid password\r\n", "the password is wrong"},
        {"-ERR Client sent AUTH, but no password is set\r\n", "the server has none set"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct fake_peer peer;
        fake_peer_start(&peer, NULL, old_auth_script, (void *)(uintptr_t)cases[i].answer);
        struct endpoint endpoint = local(peer.port);
        set_login(&endpoint, "", "secret-word");
        expect_failure(&endpoint, SIDE_SOURCE, TIMEOUT_MS, SYN_CODE_SOURCE_AUTH, cases[i].words);
        assert_null(fake_peer_finish(&peer));
    }
}

/* The same against a real server with and without a password, and with accounts. */
static void test_real_auth(void **state)
{
    (void)state;
    struct test_server with, without;
    const char *const arguments[] = {"--requirepass", "open-sesame", NULL};
    test_server_start(&without, TEST_REQUIRED_VERSION, NULL);
    test_server_start(&with, TEST_REQUIRED_VERSION, NULL);
    redisContext *admin = test_connect(with.port);
    test_command_ok(admin, "CONFIG SET %s %s", arguments[0] + 2, arguments[1]);
    test_command_ok(admin, "AUTH %s", arguments[1]);
    test_command_ok(admin, "ACL SETUSER mute on >hush ~* +@all -ping");

    struct endpoint endpoint = local(with.port);
    expect_failure(&endpoint, SIDE_SOURCE, TIMEOUT_MS, SYN_CODE_SOURCE_AUTH, "asks for a password");
    set_login(&endpoint, "", "wrong-one");
    expect_failure(&endpoint, SIDE_SOURCE, TIMEOUT_MS, SYN_CODE_SOURCE_AUTH, "password is wrong");
    set_login(&endpoint, "nobody", "open-sesame");
    expect_failure(&endpoint, SIDE_SOURCE, TIMEOUT_MS, SYN_CODE_SOURCE_AUTH, "password is wrong");
    set_login(&endpoint, "mute", "hush");
    expect_failure(&endpoint, SIDE_SOURCE, TIMEOUT_MS, SYN_CODE_SOURCE_AUTH, "lacks a permission");
    set_login(&endpoint, "", "open-sesame");
    struct control control;
    struct syn_err err;
    assert_true(control_open(&control, &endpoint, SIDE_SOURCE, TIMEOUT_MS, &err));
    control_close(&control);
    control_close(&control);

    endpoint = local(without.port);
    set_login(&endpoint, "", "open-sesame");
    expect_failure(&endpoint,
                   SIDE_DESTINATION,
                   TIMEOUT_MS,
                   SYN_CODE_DESTINATION_AUTH,
                   "the server has none set");
    redisFree(admin);
    test_server_kill(&with);
    test_server_kill(&without);
}

/* Pipelined binary-safe requests keep their order; error replies are replies; a host name that has
 * an IPv6 address first reaches a server on IPv4; a unix socket works. */
static void test_calls(void **state)
{
    (void)state;
    struct test_server server;
    char path[108];
    snprintf(path, sizeof(path), "%s/s.sock", test_folder());
    const char *const arguments[] = {"--unixsocket", path, NULL};
    test_server_start(&server, TEST_REQUIRED_VERSION, arguments);
    struct endpoint endpoint = {.host = "localhost", .port = server.port};
    struct control control;
    struct syn_err err;
    assert_true(control_open(&control, &endpoint, SIDE_SOURCE, TIMEOUT_MS, &err));
    const char *set[] = {"SET", "a\0b", "v\r\n"};
    const size_t set_sizes[] = {3, 3, 3};
    const char *get[] = {"GET", "a\0b"};
    for (int i = 0; i < 1000; i++) {
        assert_true(control_append(&control, 3, set, set_sizes, &err));
        assert_true(control_append(&control, 2, get, set_sizes, &err));
    }
    assert_true(control_flush(&control, &err));
    for (int i = 0; i < 1000; i++) {
        redisReply *reply = control_fetch(&control, &err);
        assert_int_equal(reply->type, REDIS_REPLY_STATUS);
        freeReplyObject(reply);
        reply = control_fetch(&control, &err);
        assert_int_equal(reply->len, 3);
        freeReplyObject(reply);
    }
    const char *bad[] = {"NOSUCH", "x"};
    redisReply *reply = control_call(&control, 2, bad, NULL, &err);
    assert_int_equal(reply->type, REDIS_REPLY_ERROR);
    freeReplyObject(reply);
    assert_null(control_ask(&control, &err, "NOSUCH x"));
    assert_int_equal(err.code, SYN_CODE_SOURCE_PROTOCOL);
    assert_non_null(strstr(err.msg, "does not have this command"));
    assert_non_null(control.context);
    control_close(&control);

    endpoint = (struct endpoint){.port = 0};
    snprintf(endpoint.path, sizeof(endpoint.path), "%s", path);
    assert_true(control_open(&control, &endpoint, SIDE_SOURCE, TIMEOUT_MS, &err));
    /* A server that dies: the pending call fails, cleanly, without a signal; so do later ones. */
    test_server_kill(&server);
    assert_null(control_ask(&control, &err, "PING"));
    assert_int_equal(err.code, SYN_CODE_SOURCE_CONNECT);
    assert_null(control.context);
    assert_null(control_ask(&control, &err, "PING"));
    assert_int_equal(err.code, SYN_CODE_INTERNAL);
}

/* A server that stops answering later is noticed by the time limit of each command. */
static void test_frozen(void **state)
{
    (void)state;
    struct test_server server;
    test_server_start(&server, TEST_REQUIRED_VERSION, NULL);
    struct endpoint endpoint = local(server.port);
    struct control control;
    struct syn_err err;
    assert_true(control_open(&control, &endpoint, SIDE_SOURCE, TIMEOUT_MS, &err));
    control_set_timeout(&control, 200);
    test_server_freeze(&server);
    assert_null(control_ask(&control, &err, "PING"));
    assert_int_equal(err.code, SYN_CODE_SOURCE_CONNECT);
    assert_non_null(strstr(err.msg, "no answer to PING in time"));
    test_server_thaw(&server);
    test_server_kill(&server);
}

/* INFO is text of lines; names must match whole, values are cut to fit. */
static void test_info_fields(void **state)
{
    (void)state;
    static const char info[] = "# Server\r\nredis_version:7.0.15\r\nxrole:slave\r\nrole:master\r\n"
                               "used_memory:123\r\nempty:\r\nlast:9";
    char text[8];
    assert_true(info_field(info, "role", text, sizeof(text)));
    assert_string_equal(text, "master");
    assert_true(info_field(info, "redis_version", text, 4));
    assert_string_equal(text, "7.0");
    assert_true(info_field(info, "empty", text, sizeof(text)));
    assert_string_equal(text, "");
    assert_false(info_field(info, "used", text, sizeof(text)));
    assert_string_equal(text, "");
    assert_int_equal(info_number(info, "used_memory", -1), 123);
    assert_int_equal(info_number(info, "last", -1), 9);
    assert_int_equal(info_number(info, "role", -7), -7);
    assert_int_equal(info_number(info, "none", -8), -8);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_unreachable),
        cmocka_unit_test(test_not_a_redis),
        cmocka_unit_test(test_silence),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_answer_before_reset),
        cmocka_unit_test(test_old_auth),
        cmocka_unit_test(test_real_auth),
        cmocka_unit_test(test_calls),
        cmocka_unit_test(test_frozen),
        cmocka_unit_test(test_info_fields),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
