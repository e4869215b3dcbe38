/* Times to live while a stream catches up (I8): what the source renews meanwhile must not vanish at
 * the destination, what it lets expire must, and in the end every time is exact. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/live/live.h"

#define KEYS 60
#define FAR_OFF_MS INT64_C(100000000000000) /* PTTL of what is put off is beyond */

static struct live_side source, destination;

static void start(const char *version, uint32_t masters)
{
    live_side_start(&source, version, 0, 0, NULL);
    live_side_start(&destination, TEST_REQUIRED_VERSION, masters, 0, NULL);
}

static void stop(void)
{
    live_side_stop(&source);
    live_side_stop(&destination);
}

/* A command of one key at its owner. */
static redisReply *ask(const struct live_side *side, const char *command)
{
    redisReply *reply = NULL;
    for (uint32_t i = 0; i < test_client_count(side->client); i++) {
        reply = redisCommand(test_client_at(side->client, i), command);
        assert_non_null(reply);
        if (reply->type != REDIS_REPLY_ERROR || strncmp(reply->str, "MOVED", 5) != 0)
            return reply;
        freeReplyObject(reply);
    }
    fail_msg("%s: no node takes it", command);
    return NULL;
}

static int64_t number(const struct live_side *side, const char *format, ...)
{
    char command[160];
    va_list args;
    va_start(args, format);
    vsnprintf(command, sizeof(command), format, args);
    va_end(args);
    redisReply *reply = ask(side, command);
    if (reply->type != REDIS_REPLY_INTEGER)
        fail_msg("%s: %s", command, reply->str);
    int64_t value = reply->integer;
    freeReplyObject(reply);
    return value;
}

/* ---- the classical loss ---- */

/* Counters that live for two seconds, counted and renewed all the time while a slow copy is under
 * way; how many differ at its end. */
static int count_lost(uint32_t masters, const char *put_off)
{
    struct test_cli cli;
    start(TEST_REQUIRED_VERSION, masters);
    for (int i = 0; i < KEYS; i++) {
        test_command_ok(live_redis(&source), "SET counter:%d 1 PX 2000", i);
        test_command_ok(live_redis(&source), "SET other:%d x", i);
    }
    live_spawn(&cli,
               &source,
               &destination,
               "--snapshot-ops",
               "25", /* about five seconds */
               "--put-off-ttl",
               put_off,
               NULL);
    uint64_t deadline = test_deadline(LIVE_WAIT_MS);
    for (;;) {
        json_t *progress = live_event(&cli, "progress");
        const char *phase = json_string_value(json_object_get(progress, "phase"));
        bool is_live = phase != NULL && strcmp(phase, "live") == 0;
        json_decref(progress);
        for (int i = 0; i < KEYS; i++) {
            freeReplyObject(test_command(live_redis(&source), "INCR counter:%d", i));
            freeReplyObject(test_command(live_redis(&source), "PEXPIRE counter:%d 2000", i));
        }
        if (is_live)
            break;
        test_poll(deadline, "the copy to end");
    }
    for (int i = 0; i < KEYS; i++)
        test_command_integer(live_redis(&source), "PEXPIRE counter:%d 100000", i);
    live_wait_level(&cli, &source);
    if (strcmp(put_off, "on") == 0)
        live_wait_exact(&cli);
    int lost = (int)live_differences(&source, &destination);
    live_stop(&cli);
    if (lost == 0)
        live_assert_verified(&source, &destination, "--full", NULL);
    stop();
    return lost;
}

static void test_classical_loss(void **state)
{
    (void)state;
    assert_true(count_lost(0, "off") > 0); /* or this test shows nothing */
    assert_int_equal(count_lost(0, "on"), 0);
    assert_int_equal(count_lost(3, "on"), 0);
}

/* ---- every command ---- */

static const char *const writes[] = {
    "SET {t}ex v EX 7000",
    "SET {t}px v PX 7000123",
    "SETEX {t}setex 7000 v",
    "PSETEX {t}psetex 7000123 v",
    "SET {t}expire v",
    "EXPIRE {t}expire 7000",
    "SET {t}pexpire v",
    "PEXPIRE {t}pexpire 7000123",
    "SET {t}at v",
    "EXPIREAT {t}at 4102444800",
    "SET {t}pat v",
    "PEXPIREAT {t}pat 4102444800123",
    "SET {t}late v",
    "PEXPIREAT {t}late 99999999999999", /* beyond what is put off */
    "SET {t}kept v EX 7000",
    "APPEND {t}kept w",
    "SET {t}gone v EX 7000",
    "SET {t}gone w",
    "SET {t}persist v EX 7000",
    "PERSIST {t}persist",
    "HSET {t}hash f v",
    "EXPIRE {t}hash 7000",
    "SET {t}old v EX 7000",
    "RENAME {t}old {t}new",
    "MULTI",
    "SET {t}inside v EX 7000",
    "INCR {t}counter",
    "EXPIRE {t}counter 7000",
    "EXEC",
};
static const char *const writes_62[] = {
    "SET {t}exat v EXAT 4102444800",
    "SET {t}pxat v PXAT 4102444800123",
    "SET {t}getex v",
    "GETEX {t}getex EX 7000",
    "COPY {t}ex {t}copy",
};
static const char *const writes_70[] = {
    "EXPIRE {t}expire 8000 GT",
    "EXPIRE {t}expire 7500 LT",
    "EXPIRE {t}pexpire 9000 XX",
    "EXPIRE {t}kept 9 NX",
};

static void write_list(const char *const *list, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        redisReply *reply = redisCommand(live_redis(&source), list[i]);
        assert_non_null(reply);
        if (reply->type == REDIS_REPLY_ERROR)
            fail_msg("%s: %s", list[i], reply->str);
        freeReplyObject(reply);
    }
}

static void restore_one(void)
{
    redisReply *dump = test_command(live_redis(&source), "DUMP {t}ex");
    assert_int_equal(dump->type, REDIS_REPLY_STRING);
    test_command_ok(live_redis(&source), "RESTORE {t}restored 7000123 %b", dump->str, dump->len);
    test_command_ok(live_redis(&source), "RESTORE {t}forever 0 %b", dump->str, dump->len);
    freeReplyObject(dump);
}

/* Each key's time at both sides: equal where the source sent it absolute, else as far apart as the
 * command was under way. */
static void assert_times(bool is_absolute, int64_t slack_ms)
{
    redisReply *keys = test_command(live_redis(&source), "KEYS *");
    assert_true(keys->elements >= 19);
    for (size_t i = 0; i < keys->elements; i++) {
        const char *key = keys->element[i]->str;
        int64_t left = number(&source, "PTTL %s", key);
        int64_t other = number(&destination, "PTTL %s", key);
        if ((left < 0) != (other < 0) || (left >= 0 && llabs(left - other) > slack_ms))
            fail_msg("%s: %lld and %lld ms are left", key, (long long)left, (long long)other);
        if (is_absolute && left >= 0)
            assert_int_equal(number(&source, "PEXPIRETIME %s", key),
                             number(&destination, "PEXPIRETIME %s", key));
    }
    freeReplyObject(keys);
}

/* Written while the stream is far behind, so that all is put off. */
static void test_commands(void **state)
{
    (void)state;
    static const char *const versions[] = {"redis-7.0", "redis-6.0", "valkey-9", "redis-8.0"};
    for (size_t i = 0; i < sizeof(versions) / sizeof(versions[0]); i++) {
        for (uint32_t masters = 0; masters <= 3 && test_server_available(versions[i]);
             masters += 3) {
            struct test_cli cli;
            bool is_old = strcmp(versions[i], "redis-6.0") == 0;
            start(versions[i], masters);
            for (int n = 0; n < KEYS; n++)
                test_command_ok(live_redis(&source), "SET other:%d x", n);
            live_spawn(&cli, &source, &destination, "--snapshot-ops", "20", NULL);
            uint64_t deadline = test_deadline(LIVE_WAIT_MS);
            while (live_total(&cli, "keys") < 1)
                test_poll(deadline, "the snapshot to begin");
            write_list(writes, sizeof(writes) / sizeof(writes[0]));
            if (!is_old) {
                write_list(writes_62, sizeof(writes_62) / sizeof(writes_62[0]));
                write_list(writes_70, sizeof(writes_70) / sizeof(writes_70[0]));
            }
            restore_one();
            live_wait_exact(&cli);
            live_wait_level(&cli, &source);
            assert_times(!is_old, is_old ? 20000 : 1000);
            /* From here on everything is exact at once. */
            test_command_ok(live_redis(&source), "SET {t}later v EX 7000");
            live_wait_level(&cli, &source);
            assert_in_range(number(&destination, "PTTL {t}later"), 6000000, 7000000);
            live_stop(&cli);
            stop();
        }
    }
}

/* ---- what expires meanwhile ---- */

static void test_expires(void **state)
{
    (void)state;
    struct test_cli cli;
    start(TEST_REQUIRED_VERSION, 0);
    for (int i = 0; i < KEYS; i++) {
        test_command_ok(live_redis(&source), "SET short:%d x PX 1500", i);
        test_command_ok(live_redis(&source), "SET long:%d x PX 4102444", i);
    }
    live_spawn(&cli, &source, &destination, "--snapshot-ops", "40", NULL);
    live_wait_exact(&cli);
    uint64_t deadline = test_deadline(LIVE_WAIT_MS);
    while (test_command_integer(live_redis(&source), "DBSIZE") > KEYS)
        test_poll(deadline, "the source to expire its keys");
    live_wait_level(&cli, &source);
    live_stop(&cli);
    live_assert_equal(&source, &destination);
    stop();
}

/* ---- interruptions ---- */

/* Killed while times are put off: the next run brings them to their own. */
static void test_killed(void **state)
{
    (void)state;
    for (uint32_t masters = 0; masters <= 3; masters += 3) {
        struct test_cli cli;
        start(TEST_REQUIRED_VERSION, masters);
        live_spawn(&cli, &source, &destination, "--live-ops", "50", NULL);
        live_wait_phase(&cli, "live");
        live_wait_level(&cli, &source);
        for (int i = 0; i < KEYS; i++)
            test_command_ok(live_redis(&source), "SET key:%d x EX 7000", i);
        live_wait_level(&cli, &source);
        test_cli_kill(&cli);
        for (int i = 0; i < 300; i++)
            test_command_ok(live_redis(&source), "SET key:%d x EX 7000", i);
        live_spawn(&cli, &source, &destination, "--live-ops", "50", NULL);
        uint64_t deadline = test_deadline(LIVE_WAIT_MS);
        while (number(&destination, "PTTL key:100") < FAR_OFF_MS)
            test_poll(deadline, "a time to live that is put off");
        test_cli_kill(&cli);
        live_spawn(&cli, &source, &destination, NULL);
        live_wait_exact(&cli);
        live_wait_level(&cli, &source);
        assert_times(true, 1000);
        live_stop(&cli);
        live_assert_verified(&source, &destination, "--full", NULL);
        stop();
    }
}

/* Full copies that are over before anybody looks: their times are made exact all the same. */
static void test_short_copies(void **state)
{
    (void)state;
    struct test_cli cli;
    start(TEST_REQUIRED_VERSION, 0);
    live_spawn(&cli, &source, &destination, NULL);
    live_wait_level(&cli, &source);
    live_wait_exact(&cli);
    for (int i = 1; i <= 3; i++) {
        test_command_ok(live_redis(&source), "SET {t}copy:%d x EX 7000", i);
        live_wait_level(&cli, &source);
        live_wait_exact(&cli);
        test_command_ok(live_redis(&source), "DEBUG CHANGE-REPL-ID");
        freeReplyObject(test_command(live_redis(&source), "CLIENT KILL TYPE replica"));
        uint64_t deadline = test_deadline(LIVE_WAIT_MS);
        while (live_streams_sum(&cli, "snapshots") <= i)
            test_poll(deadline, "a full copy");
        live_wait_level(&cli, &source);
        live_wait_exact(&cli);
        assert_int_equal(live_differences(&source, &destination), 0);
    }
    live_stop(&cli);
    live_assert_verified(&source, &destination, "--full", NULL);
    stop();
}

/* --once ends when everything is exact. */
static void test_once(void **state)
{
    (void)state;
    for (uint32_t masters = 0; masters <= 3; masters += 3) {
        start(TEST_REQUIRED_VERSION, masters);
        for (int i = 0; i < 3000; i++)
            test_command_ok(live_redis(&source), "SET key:%d x EX %d", i, 5000 + i);
        assert_int_equal(live_run(NULL, &source, &destination, "--once", NULL), 0);
        assert_times(true, 1000);
        live_assert_equal(&source, &destination);
        stop();
    }
}

/* ---- other ways ---- */

static void test_extended(void **state)
{
    (void)state;
    struct test_cli cli;
    start(TEST_REQUIRED_VERSION, 0);
    test_command_ok(live_redis(&source), "SET snapshot x EX 7000");
    live_spawn(&cli, &source, &destination, "--extend-ttl", "1h", NULL);
    live_wait_exact(&cli);
    test_command_ok(live_redis(&source), "SET live x EX 7000");
    live_wait_level(&cli, &source);
    assert_int_equal(number(&destination, "PEXPIRETIME snapshot"),
                     number(&source, "PEXPIRETIME snapshot") + 3600000);
    assert_int_equal(number(&destination, "PEXPIRETIME live"),
                     number(&source, "PEXPIRETIME live") + 3600000);
    live_stop(&cli);
    stop();
}

/* An account that may not run scripts could never make times exact again. */
static void test_without_scripts(void **state)
{
    (void)state;
    struct test_cli cli;
    start(TEST_REQUIRED_VERSION, 0);
    test_command_ok(live_redis(&destination), "ACL SETUSER writer on >pw allkeys +@all -eval");
    test_command_ok(live_redis(&source), "SET key x EX 7000");
    snprintf(destination.uri,
             sizeof(destination.uri),
             "redis://writer:pw@127.0.0.1:%u",
             live_port(&destination));
    live_spawn(&cli, &source, &destination, NULL);
    live_wait_phase(&cli, "live");
    live_wait_level(&cli, &source);
    assert_int_equal(number(&destination, "PEXPIRETIME key"), number(&source, "PEXPIRETIME key"));
    char *output = test_cli_output(&cli);
    live_expect_texts(output, "does not take EVAL", NULL);
    free(output);
    live_stop(&cli);
    stop();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_classical_loss),
        cmocka_unit_test(test_commands),
        cmocka_unit_test(test_expires),
        cmocka_unit_test(test_killed),
        cmocka_unit_test(test_short_copies),
        cmocka_unit_test(test_once),
        cmocka_unit_test(test_extended),
        cmocka_unit_test(test_without_scripts),
    };
    cmocka_set_test_filter(getenv("SYNCLINE_TEST_FILTER"));
    if (!test_cli_available())
        return 77;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
