/* A destination that somebody changed: commands that find another state there than at the source
 * say so by their answers, and their keys are read again at the source (divergence.h). Every way of
 * answering, on standalone servers and clusters, alone and in transactions, of any size. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/live/live.h"

#define LARGE_BYTES 300000

static struct live_side source, destination;

static void start(uint32_t masters)
{
    live_side_start(&source, TEST_REQUIRED_VERSION, 0, 0, NULL);
    live_side_start(&destination, TEST_REQUIRED_VERSION, masters, 0, NULL);
}

static void stop(void)
{
    live_side_stop(&source);
    live_side_stop(&destination);
}

static void write_source(const char *command)
{
    redisReply *reply = redisCommand(live_redis(&source), command);
    assert_non_null(reply);
    if (reply->type == REDIS_REPLY_ERROR)
        fail_msg("%s: %s", command, reply->str);
    freeReplyObject(reply);
}

/* At the node that owns {t}: all keys have this tag. */
static void spoil(const char *command)
{
    redisReply *reply = NULL;
    for (uint32_t i = 0; i < test_client_count(destination.client); i++) {
        reply = redisCommand(test_client_at(destination.client, i), command);
        assert_non_null(reply);
        if (reply->type != REDIS_REPLY_ERROR || strncmp(reply->str, "MOVED", 5) != 0)
            break;
        freeReplyObject(reply);
        reply = NULL;
    }
    assert_non_null(reply);
    if (reply->type == REDIS_REPLY_ERROR)
        fail_msg("%s: %s", command, reply->str);
    freeReplyObject(reply);
}

static int64_t diverged(const struct test_cli *cli)
{
    return live_total(cli, "diverged_no_effect") + live_total(cli, "diverged_error");
}

/* Until the command was noticed and both sides are equal again. */
static void wait_repaired(struct test_cli *cli, int64_t before, const char *what)
{
    uint64_t deadline = test_deadline(LIVE_WAIT_MS);
    while (diverged(cli) <= before)
        test_poll(deadline, what);
    int64_t refetched = live_total(cli, "keys_refetched");
    while (live_total(cli, "keys_refetched") == refetched &&
           live_differences(&source, &destination) > 0)
        test_poll(deadline, what);
    live_wait_level(cli, &source);
}

static const struct {
    const char *before; /* at the source                 */
    const char *spoilt; /* at the destination            */
    const char *then;   /* at the source                 */
} cases[] = {
    {"SET {t}a 1", "DEL {t}a", "PEXPIREAT {t}a 4102444800000"},
    {"SET {t}p 1 EX 100000", "DEL {t}p", "PERSIST {t}p"},
    {"SADD {t}s a", "SADD {t}s b", "SADD {t}s b"},
    {"SADD {t}s2 a b", "SREM {t}s2 b", "SREM {t}s2 b"},
    {"RPUSH {t}l a b c", "DEL {t}l", "LPOP {t}l"},
    {"RPUSH {t}l2 a b c", "DEL {t}l2", "LSET {t}l2 1 x"},
    {"RPUSH {t}l3 a b c", "LTRIM {t}l3 0 0", "LSET {t}l3 2 x"},
    {"RPUSH {t}l4 a", "DEL {t}l4", "RPUSHX {t}l4 b"},
    {"RPUSH {t}m a b", "DEL {t}m", "LMOVE {t}m {t}m2 LEFT RIGHT"},
    {"SET {t}i 5", "SET {t}i x", "INCR {t}i"},
    {"SET {t}n 5", "DEL {t}n", "RENAME {t}n {t}n2"},
    {"DEL {t}w", "SET {t}w x", "LPUSH {t}w 1 2"},
    {"HSET {t}h f 1", "SET {t}h x", "HINCRBY {t}h f 2"},
    {"ZADD {t}z 1 a 2 b", "DEL {t}z", "ZPOPMIN {t}z 1"},
    {"ZADD {t}z2 1 a", "DEL {t}z2", "ZREM {t}z2 a"},
    {"XADD {t}x 5-1 f v", "XADD {t}x 7-1 f v", "XADD {t}x 6-1 f v"},
    {"XADD {t}y 5-1 f v", "DEL {t}y", "XGROUP CREATE {t}y g 0"},
    {"DEL {t}nx", "SET {t}nx x", "SETNX {t}nx 1"},
    {"SET {t}c 1", "DEL {t}c", "COPY {t}c {t}c2"},
    {"PFADD {t}pf a", "PFADD {t}pf b", "PFADD {t}pf b"},
    {"ZADD {t}zi 1 a", "DEL {t}zi", "ZADD {t}zi XX INCR 1 a"},
    {"XADD {t}xn 5-1 f v", "DEL {t}xn", "XADD {t}xn NOMKSTREAM 6-1 f v"},
    {"SET {t}r 1", "SET {t}r2 x", "RENAMENX {t}r {t}r2"},
    {"HSET {t}hn f 1", "HSET {t}hn g 2", "HSETNX {t}hn g 1"},
    {"RPUSH {t}li a b", "LREM {t}li 1 a", "LINSERT {t}li BEFORE a x"},
    {"SADD {t}sm a b", "SREM {t}sm a", "SMOVE {t}sm {t}sm2 a"},
    {"ZADD {t}zr 1 a 2 b", "ZREM {t}zr a", "ZREMRANGEBYSCORE {t}zr 0 1"},
    {"SET {t}sx 1", "DEL {t}sx", "SET {t}sx 2 XX"},
    {"XADD {t}xd 5-1 f v", "XDEL {t}xd 5-1", "XDEL {t}xd 5-1"},
};

static void each_case(uint32_t masters)
{
    struct test_cli cli;
    start(masters);
    live_spawn(&cli, &source, &destination, NULL);
    live_wait_phase(&cli, "live");
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        write_source(cases[i].before);
        live_wait_level(&cli, &source);
        int64_t before = diverged(&cli);
        spoil(cases[i].spoilt);
        write_source(cases[i].then);
        wait_repaired(&cli, before, cases[i].then);
    }
    assert_int_equal(live_total(&cli, "diverged_unknown"), 0);
    live_stop(&cli);
    live_assert_equal(&source, &destination);
    stop();
}

static void test_standalone(void **state)
{
    (void)state;
    each_case(0);
}

static void test_cluster(void **state)
{
    (void)state;
    each_case(3);
}

/* A failing command between others that do not fail: EXEC does not undo them. The answers are
 * those of the elements. */
static void test_in_transaction(void **state)
{
    (void)state;
    for (uint32_t masters = 0; masters <= 3; masters += 3) {
        struct test_cli cli;
        start(masters);
        live_spawn(&cli, &source, &destination, NULL);
        live_wait_phase(&cli, "live");
        spoil("SET {t}list x");
        spoil("SADD {t}set member");
        test_command_ok(live_redis(&source), "MULTI");
        write_source("INCR {t}counter");
        write_source("LPUSH {t}list a");
        write_source("SADD {t}set member");
        write_source("INCR {t}counter");
        write_source("EXEC");
        uint64_t deadline = test_deadline(LIVE_WAIT_MS);
        while (live_total(&cli, "diverged_error") < 1 || live_total(&cli, "diverged_no_effect") < 1)
            test_poll(deadline, "both answers to be noticed");
        live_stop(&cli); /* in order: what was noticed is repaired before the end */
        live_assert_equal(&source, &destination);
        stop();
    }
}

/* Larger than a batch, so that the operation's first bytes are gone when it is answered. */
static void test_large(void **state)
{
    (void)state;
    static char text[LARGE_BYTES];
    memset(text, 'x', sizeof(text));
    for (uint32_t masters = 0; masters <= 3; masters += 3) {
        struct test_cli cli;
        start(masters);
        live_spawn(&cli, &source, &destination, "--memory", "64mb", NULL);
        live_wait_phase(&cli, "live");
        spoil("SET {t}list x");
        freeReplyObject(test_command(live_redis(&source), "RPUSH {t}list %b", text, sizeof(text)));
        wait_repaired(&cli, 0, "a large command to be noticed");
        spoil("SET {t}l2 x");
        int64_t before = diverged(&cli);
        test_command_ok(live_redis(&source), "MULTI");
        for (int i = 0; i < 3; i++)
            freeReplyObject(
                test_command(live_redis(&source), "RPUSH {t}l2 %b", text, sizeof(text)));
        write_source("EXEC");
        wait_repaired(&cli, before, "large commands in a transaction to be noticed");
        assert_int_equal(live_total(&cli, "diverged_unknown"), 0);
        live_stop(&cli);
        live_assert_equal(&source, &destination);
        stop();
    }
}

/* Under load: keys that are spoilt all the time while they are written. */
static void test_under_load(void **state)
{
    (void)state;
    for (uint32_t masters = 0; masters <= 3; masters += 3) {
        struct test_cli cli;
        start(masters);
        live_spawn(&cli, &source, &destination, NULL);
        live_wait_phase(&cli, "live");
        struct writer *writer = live_writer(&source, &destination, 3, 5000);
        for (int i = 0; i < 300; i++) {
            char command[80];
            snprintf(command, sizeof(command), "SET {t}%d spoilt", i % 30);
            spoil(command);
            snprintf(command, sizeof(command), "RPUSH {t}%d %d", i % 30, i);
            write_source(command);
            live_writer_more(writer, 20);
        }
        writer_stop(writer, NULL);
        /* What was spoilt behind the last command of its key is repaired by one more. */
        for (int i = 0; i < 30; i++) {
            char command[80];
            snprintf(command, sizeof(command), "RPUSH {t}%d last", i);
            write_source(command);
        }
        assert_true(diverged(&cli) > 0);
        live_stop(&cli);
        live_assert_equal(&source, &destination);
        stop();
    }
}

/* Scripts that are sent as they are: they end in an error at the destination, as they did at the
 * source, or because its keys hold something else. */
static void test_scripts(void **state)
{
    (void)state;
    struct test_cli cli;
    if (!test_server_available("redis-6.0"))
        skip();
    live_side_start(
        &source, "redis-6.0", 0, 0, (const char *[]){"--lua-replicate-commands", "no", NULL});
    live_side_start(&destination, TEST_REQUIRED_VERSION, 0, 0, NULL);
    live_spawn(&cli, &source, &destination, NULL);
    live_wait_phase(&cli, "live");
    test_command_ok(live_redis(&destination), "SET list x");
    redisReply *reply =
        test_command(live_redis(&source), "EVAL %s 1 list", "return redis.call('RPUSH',KEYS[1],1)");
    assert_int_equal(reply->type, REDIS_REPLY_INTEGER);
    freeReplyObject(reply);
    uint64_t deadline = test_deadline(LIVE_WAIT_MS);
    while (live_total(&cli, "diverged_script") < 1)
        test_poll(deadline, "the script's error to be noticed");
    while (live_differences(&source, &destination) > 0)
        test_poll(deadline, "the script's key to be repaired");
    live_stop(&cli);
    live_assert_equal(&source, &destination);
    stop();
}

/* Without repair, and with none wanted. */
static void test_policies(void **state)
{
    (void)state;
    struct test_cli cli;
    start(0);
    live_spawn(&cli, &source, &destination, "--on-divergence", "count", NULL);
    live_wait_phase(&cli, "live");
    spoil("SET {t}a spoilt");
    write_source("RPUSH {t}a 1");
    write_source("SET {t}b 1");
    live_wait_level(&cli, &source);
    live_stop(&cli);
    assert_int_equal(live_total(&cli, "diverged_error"), 1);
    assert_int_equal(live_total(&cli, "keys_refetched"), 0);
    assert_int_equal(live_differences(&source, &destination), 1);
    live_spawn(&cli, &source, &destination, "--on-divergence", "stop", NULL);
    live_wait_phase(&cli, "live");
    write_source("RPUSH {t}a 2");
    live_expect_end(&cli, 7, "WRONGTYPE", "RPUSH", "offset", "key hash", NULL);
    stop();
}

/* An account that may follow the source but not read its keys: told of before, and it works until a
 * key must be read; with nothing to be read it goes on. */
static void test_account(void **state)
{
    (void)state;
    struct test_cli cli;
    start(0);
    test_command_ok(live_redis(&source),
                    "ACL SETUSER follower on >pw ~* +psync +replconf +ping +info +acl +select");
    snprintf(source.uri,
             sizeof(source.uri),
             "redis://follower:pw@127.0.0.1:%u",
             (unsigned)live_port(&source));
    for (int counts = 1; counts >= 0; counts--) {
        live_spawn(&cli,
                   &source,
                   &destination,
                   "--on-divergence",
                   counts != 0 ? "count" : "refetch",
                   NULL);
        live_wait_phase(&cli, "live");
        spoil("SET {t}a spoilt");
        write_source("RPUSH {t}a 1");
        write_source("SET {t}b 1");
        if (counts != 0) {
            live_wait_level(&cli, &source);
            live_stop(&cli);
        } else {
            live_expect_end(&cli, 5, "cannot be read again", "NOPERM", NULL);
        }
        char *output = test_cli_output(&cli);
        live_expect_texts(output, "may not read single keys", "+dump +pttl +time", NULL);
        free(output);
    }
    stop();
}

/* The log names command, offset and a hash of the key, never the key; and not for ever. */
static void test_log(void **state)
{
    (void)state;
    struct test_cli cli;
    start(0);
    live_spawn(&cli, &source, &destination, NULL);
    live_wait_phase(&cli, "live");
    for (int i = 0; i < 40; i++) {
        freeReplyObject(test_command(live_redis(&destination), "SET secretkey:%d x", i));
        freeReplyObject(test_command(live_redis(&source), "LPUSH secretkey:%d secretvalue", i));
    }
    live_stop(&cli);
    assert_int_equal(live_total(&cli, "diverged_error"), 40);
    char *output = test_cli_output(&cli);
    live_expect_texts(output, "WRONGTYPE", "LPUSH", "offset", "key hash", "only counted", NULL);
    assert_null(strstr(output, "secret"));
    int count = 0;
    for (const char *at = output; (at = strstr(at, "WRONGTYPE")) != NULL; at++)
        count++;
    assert_int_equal(count, 10);
    free(output);
    live_assert_equal(&source, &destination);
    stop();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_standalone),
        cmocka_unit_test(test_cluster),
        cmocka_unit_test(test_in_transaction),
        cmocka_unit_test(test_large),
        cmocka_unit_test(test_under_load),
        cmocka_unit_test(test_scripts),
        cmocka_unit_test(test_policies),
        cmocka_unit_test(test_account),
        cmocka_unit_test(test_log),
    };
    cmocka_set_test_filter(getenv("SYNCLINE_TEST_FILTER"));
    if (!test_cli_available())
        return 77;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
