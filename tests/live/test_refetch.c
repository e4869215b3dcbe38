/*
 * Keys that are too large to DUMP at once: a divergence, or a kill, has them read again at the
 * source, by scanning (refetch_large.h), while they are written to or not. Whatever happens, the
 * destination ends with exactly what the source has; a torn copy would differ for ever, since
 * nothing else repairs it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/base/slot.h"
#include "tests/live/live.h"

/* With this, what fill() makes is large, each of it; and all are above one piece. */
#define DUMP_MAX "16k"

static struct live_side source, destination;

static void start(const char *version, uint32_t masters)
{
    live_side_start(&source, version, 0, 0, NULL);
    live_side_start(&destination, version, masters, 0, NULL);
}

/* The server that has {t}. */
static redisContext *redis(void)
{
    return test_client_connection(source.client, slot_of_key("{t}", 3));
}

static void stop(void)
{
    live_side_stop(&source);
    live_side_stop(&destination);
}

static void ok(const char *command)
{
    redisReply *reply = redisCommand(redis(), command);
    assert_non_null(reply);
    if (reply->type == REDIS_REPLY_ERROR)
        fail_msg("%s: %s", command, reply->str);
    freeReplyObject(reply);
}

/* At the node that owns {t}. */
static void spoil(const char *command)
{
    for (uint32_t i = 0; i < test_client_count(destination.client); i++) {
        redisReply *reply = redisCommand(test_client_at(destination.client, i), command);
        assert_non_null(reply);
        bool is_done = reply->type != REDIS_REPLY_ERROR;
        if (!is_done && strncmp(reply->str, "MOVED", 5) != 0)
            fail_msg("%s: %s", command, reply->str);
        freeReplyObject(reply);
        if (is_done)
            return;
    }
    fail_msg("%s: nobody owns the key", command);
}

/* Many commands at once: the source is not what is tested. */
static void script(const char *text)
{
    redisReply *reply = redisCommand(redis(), "EVAL %s 0", text);
    assert_non_null(reply);
    if (reply->type == REDIS_REPLY_ERROR)
        fail_msg("%s", reply->str);
    freeReplyObject(reply);
}

/* Every type, each above a piece by a multiple: elements of very different sizes, one of them
 * larger than a piece, an expiry on some. */
static void fill(void)
{
    script("local big = string.rep('B', 40000) "
           "for i = 1, 20000 do local t = i .. string.rep('x', i % 50) "
           "redis.call('RPUSH', '{t}list', t) redis.call('SADD', '{t}set', t) "
           "redis.call('HSET', '{t}hash', t, i) redis.call('ZADD', '{t}zset', i / 7, t) end "
           "redis.call('RPUSH', '{t}list', big) redis.call('SADD', '{t}set', big) "
           "redis.call('HSET', '{t}hash', 'big', big) redis.call('ZADD', '{t}zset', '-inf', big) "
           "for i = 1, 20000 do redis.call('SADD', '{t}numbers', i * 3) end "
           "redis.call('SET', '{t}string', string.rep('0123456789abcdef', 40000)) "
           "redis.call('PEXPIREAT', '{t}zset', 4102444800000) "
           "redis.call('PEXPIREAT', '{t}string', 4102444800000)");
    script(
        "for i = 1, 5000 do redis.call('XADD', '{t}stream', i .. '-1', 'field', i, 'other', "
        "string.rep('y', i % 60)) end "
        "redis.call('XDEL', '{t}stream', '4999-1') "
        "redis.call('XGROUP', 'CREATE', '{t}stream', 'g1', '0') "
        "redis.call('XGROUP', 'CREATE', '{t}stream', 'g2', '100-1') "
        "redis.call('XGROUP', 'CREATECONSUMER', '{t}stream', 'g2', 'idle') "
        "redis.call('XREADGROUP', 'GROUP', 'g1', 'one', 'COUNT', 2500, 'STREAMS', '{t}stream', "
        "'>') "
        "redis.call('XREADGROUP', 'GROUP', 'g1', 'two', 'COUNT', 100, 'STREAMS', '{t}stream', '>') "
        "redis.call('XACK', '{t}stream', 'g1', '7-1')");
}

/* What makes each of them diverge: a spoilt key, and a command that then fails or has no effect. */
static const struct {
    const char *key;
    const char *spoilt;
    const char *then;
    const char *again; /* another write of the key */
} keys[] = {
    {"{t}list", "SET {t}list x", "RPUSH {t}list last", "LPUSH {t}list %d"},
    {"{t}set", "SADD {t}set new", "SADD {t}set new", "SADD {t}set %d"},
    {"{t}numbers", "SADD {t}numbers 1", "SADD {t}numbers 1", "SADD {t}numbers -%d"},
    {"{t}hash", "SET {t}hash x", "HSET {t}hash new 1", "HSET {t}hash f%d 1"},
    {"{t}zset", "DEL {t}zset", "ZPOPMIN {t}zset 1", "ZINCRBY {t}zset %d 1"},
    {"{t}string", "DEL {t}string", "PERSIST {t}string", "APPEND {t}string %d"},
    {"{t}stream", "DEL {t}stream", "XGROUP CREATE {t}stream g3 50-1", "XADD {t}stream * a %d"},
};
#define KEYS (sizeof(keys) / sizeof(keys[0]))

/* Of another type: whatever is written to it next fails. */
static void spoil_type(size_t i)
{
    char command[80];
    bool is_string = strcmp(keys[i].key, "{t}string") == 0;
    snprintf(
        command, sizeof(command), is_string ? "SUNIONSTORE %s {t}other" : "SET %s x", keys[i].key);
    spoil("SADD {t}other x");
    spoil(command);
    spoil("DEL {t}other");
}

static void write_again(redisContext *context, size_t i, int n)
{
    redisReply *reply = redisCommand(context, keys[i].again, n);
    assert_non_null(reply);
    assert_int_not_equal(reply->type, REDIS_REPLY_ERROR);
    freeReplyObject(reply);
}

static void output_has(const struct test_cli *cli, const char *text)
{
    char *output = test_cli_output(cli);
    live_expect_texts(output, text, NULL);
    free(output);
}

static void spawn(struct test_cli *cli)
{
    live_spawn(cli, &source, &destination, "--refetch-dump-max", DUMP_MAX, NULL);
}

static void wait_equal(struct test_cli *cli, int64_t copies)
{
    uint64_t deadline = test_deadline(LIVE_WAIT_MS);
    while (live_total(cli, "keys_refetched_large") < copies)
        test_poll(deadline, "large keys to be copied");
    live_wait_level(cli, &source);
    while (live_differences(&source, &destination) > 0)
        test_poll(deadline, "large keys to be as they are at the source");
}

/* ---- nobody writes to them ---- */

static void each_type(uint32_t from, uint32_t to)
{
    struct test_cli cli;
    live_side_start(&source, TEST_REQUIRED_VERSION, from, 0, NULL);
    live_side_start(&destination, TEST_REQUIRED_VERSION, to, 0, NULL);
    fill();
    spawn(&cli);
    live_wait_phase(&cli, "live");
    live_wait_level(&cli, &source);
    for (size_t i = 0; i < KEYS; i++) {
        spoil(keys[i].spoilt);
        ok(keys[i].then);
        wait_equal(&cli, (int64_t)i + 1);
    }
    assert_int_equal(live_total(&cli, "keys_refetched"), KEYS);
    live_stop(&cli);
    output_has(&cli, "copied by scanning its elements");
    output_has(&cli, "a stream (key hash");
    live_assert_equal(&source, &destination);
    stop();
}

static void test_each_type(void **state)
{
    (void)state;
    each_type(0, 0);
    each_type(0, 3);
    each_type(3, 0);
}

/* ---- somebody does ---- */

struct noise {
    pthread_t thread;
    atomic_bool stop;
    atomic_ulong count;
    uint32_t pause_us;
    uint32_t first, end; /* of keys */
};

static void *noise_main(void *arg)
{
    struct noise *noise = arg;
    redisContext *context = redisConnect("127.0.0.1", live_port(&source));
    for (int n = 0; !atomic_load(&noise->stop); n++) {
        for (uint32_t i = noise->first; i < noise->end; i++) {
            write_again(context, i, n);
        }
        atomic_fetch_add(&noise->count, 1);
        struct timespec time = {.tv_nsec = noise->pause_us * 1000L};
        nanosleep(&time, NULL);
    }
    redisFree(context);
    return NULL;
}

static void noise_start(struct noise *noise, uint32_t first, uint32_t end, uint32_t pause_us)
{
    *noise = (struct noise){.pause_us = pause_us, .first = first, .end = end};
    assert_int_equal(pthread_create(&noise->thread, NULL, noise_main, noise), 0);
    uint64_t deadline = test_deadline(LIVE_WAIT_MS);
    while (atomic_load(&noise->count) == 0)
        test_poll(deadline, "the writer to begin");
}

static void noise_stop(struct noise *noise)
{
    atomic_store(&noise->stop, true);
    pthread_join(noise->thread, NULL);
}

/* Keys that are written to all the time: scans of them are torn, which only the stream tells, so
 * they end as a pass. */
static void test_written_meanwhile(void **state)
{
    (void)state;
    for (uint32_t masters = 0; masters <= 3; masters += 3) {
        struct test_cli cli;
        struct noise noise;
        start(TEST_REQUIRED_VERSION, masters);
        fill();
        spawn(&cli);
        live_wait_phase(&cli, "live");
        live_wait_level(&cli, &source);
        noise_start(&noise, 0, KEYS, 300);
        for (size_t i = 0; i < KEYS; i++)
            spoil_type(i);
        uint64_t deadline = test_deadline(LIVE_WAIT_MS);
        while (live_total(&cli, "keys_refetched") < (int64_t)KEYS)
            test_poll(deadline, "every key to be read");
        test_cli_wait_output(&cli, "by passing its payload on", LIVE_WAIT_MS);
        noise_stop(&noise);
        wait_equal(&cli, (int64_t)KEYS + 1);
        live_stop(&cli);
        live_assert_equal(&source, &destination);
        stop();
    }
}

/* One writes to a key now and then, so that some scans are torn and others are not. */
static void test_written_now_and_then(void **state)
{
    (void)state;
    struct test_cli cli;
    struct noise noise;
    start(TEST_REQUIRED_VERSION, 3);
    fill();
    spawn(&cli);
    live_wait_phase(&cli, "live");
    noise_start(&noise, 0, KEYS, 40000);
    for (int round = 0; round < 4; round++) {
        for (size_t i = 0; i < KEYS; i++)
            spoil_type(i);
        live_wait_level(&cli, &source);
    }
    noise_stop(&noise);
    for (size_t i = 0; i < KEYS; i++) /* what was spoilt behind the last write of its key */
        write_again(redis(), i, 1000000);
    wait_equal(&cli, KEYS);
    live_stop(&cli);
    live_assert_equal(&source, &destination);
    stop();
}

/* In order, while one is written to: what is not known to be of one moment is made so before. */
static void test_stopped_meanwhile(void **state)
{
    (void)state;
    struct test_cli cli;
    struct noise noise;
    start(TEST_REQUIRED_VERSION, 0);
    fill();
    for (int round = 0; round < 5; round++) {
        spawn(&cli);
        live_wait_phase(&cli, "live");
        live_wait_level(&cli, &source);
        noise_start(&noise, 0, 1, 1000);
        spoil("SET {t}list x");
        ok("RPUSH {t}list last");
        uint64_t deadline = test_deadline(LIVE_WAIT_MS);
        while (live_total(&cli, "diverged_error") == 0)
            test_poll(deadline, "the divergence");
        live_stop(&cli);
        noise_stop(&noise);
    }
    spawn(&cli);
    live_wait_phase(&cli, "live");
    live_wait_level(&cli, &source);
    live_stop(&cli);
    live_assert_equal(&source, &destination);
    stop();
}

/* Gone, or of another type, while they are copied. */
static void test_replaced_meanwhile(void **state)
{
    (void)state;
    struct test_cli cli;
    start(TEST_REQUIRED_VERSION, 3);
    spawn(&cli);
    live_wait_phase(&cli, "live");
    for (int round = 0; round < 6; round++) {
        fill();
        live_wait_level(&cli, &source);
        for (size_t i = 0; i < KEYS; i++) {
            spoil(keys[i].spoilt);
            ok(keys[i].then);
        }
        struct timespec time = {.tv_nsec = round * 7000000L};
        nanosleep(&time, NULL);
        for (size_t i = 0; i < KEYS; i++) {
            char command[80];
            snprintf(command, sizeof(command), "DEL %s", keys[i].key);
            ok(command);
            snprintf(command, sizeof(command), "RPUSH %s a b", keys[i].key);
            if (round % 2 == 0)
                ok(command);
        }
        wait_equal(&cli, 1);
        if (round < 5)
            ok("FLUSHALL");
    }
    ok("SET {t}last x");
    live_stop(&cli);
    live_assert_equal(&source, &destination);
    stop();
}

/* ---- kills ---- */

/* Killed in the middle of copies and before they are known to be whole, again and again: the names
 * of the keys are at the destination. */
static void test_killed(void **state)
{
    (void)state;
    for (uint32_t masters = 0; masters <= 3; masters += 3) {
        struct test_cli cli;
        struct noise noise;
        int64_t copies = 0;
        start(TEST_REQUIRED_VERSION, masters);
        fill();
        spawn(&cli);
        live_wait_phase(&cli, "live");
        live_wait_level(&cli, &source);
        noise_start(&noise, 0, KEYS, 5000);
        for (int round = 0; round < 8; round++) {
            for (size_t i = 0; i < KEYS && round % 2 == 0; i++)
                spoil_type(i);
            uint64_t deadline = test_deadline(LIVE_WAIT_MS);
            while (live_total(&cli, "keys_refetched") == 0)
                test_poll(deadline, "a copy to begin");
            struct timespec time = {.tv_nsec = round * 20000000L};
            nanosleep(&time, NULL);
            copies += live_total(&cli, "keys_refetched_large");
            test_cli_kill(&cli);
            spawn(&cli);
            live_wait_phase(&cli, "live");
        }
        noise_stop(&noise);
        for (size_t i = 0; i < KEYS; i++)
            write_again(redis(), i, 1000000);
        copies += live_total(&cli, "keys_refetched_large");
        assert_true(copies > 0);
        wait_equal(&cli, 0);
        assert_int_equal(live_streams_sum(&cli, "snapshots"), 0);
        live_stop(&cli);
        live_assert_equal(&source, &destination);
        stop();
    }
}

/* ---- what a source does not allow, and what it has beyond ---- */

/* Without MEMORY USAGE elements are counted; DUMP and PTTL are all that a repair needs of it. */
static void test_without_usage(void **state)
{
    (void)state;
    struct test_cli cli;
    start(TEST_REQUIRED_VERSION, 0);
    fill();
    ok("ACL SETUSER default -memory");
    spawn(&cli);
    live_wait_phase(&cli, "live");
    live_wait_level(&cli, &source);
    for (size_t i = 0; i < KEYS; i++) {
        spoil(keys[i].spoilt);
        ok(keys[i].then);
        wait_equal(&cli, (int64_t)i + 1);
    }
    live_stop(&cli);
    live_assert_equal(&source, &destination);
    stop();
}

/* Nor the commands that scan: they are passed. */
static void test_without_scans(void **state)
{
    (void)state;
    struct test_cli cli;
    start(TEST_REQUIRED_VERSION, 3);
    fill();
    ok("ACL SETUSER default -sscan -hscan -lrange -zrange -getrange -xrange");
    spawn(&cli);
    live_wait_phase(&cli, "live");
    live_wait_level(&cli, &source);
    for (size_t i = 0; i < KEYS; i++) {
        spoil(keys[i].spoilt);
        ok(keys[i].then);
    }
    wait_equal(&cli, KEYS);
    live_stop(&cli);
    output_has(&cli, "by passing its payload on");
    ok("ACL SETUSER default +@all");
    live_assert_equal(&source, &destination);
    stop();
}

static void test_field_expiry(void **state)
{
    (void)state;
    struct test_cli cli;
    if (!test_server_available("redis-8.0"))
        skip();
    start("redis-8.0", 0);
    script("for i = 1, 5000 do redis.call('HSET', '{t}hash', 'f' .. i, string.rep('v', i % 30)) "
           "if i % 3 == 0 then redis.call('HPEXPIREAT', '{t}hash', 4102444800000 + i, 'FIELDS', 1, "
           "'f' .. i) end end");
    spawn(&cli);
    live_wait_phase(&cli, "live");
    live_wait_level(&cli, &source);
    spoil("SET {t}hash x");
    ok("HSET {t}hash new 1");
    wait_equal(&cli, 1);
    /* Fields whose time comes meanwhile. */
    script(
        "for i = 1, 300 do redis.call('HPEXPIRE', '{t}hash', 1 + i % 400, 'FIELDS', 1, 'f' .. i) "
        "end");
    spoil("SET {t}hash x");
    ok("HSET {t}hash new 2");
    wait_equal(&cli, 2);
    uint64_t deadline = test_deadline(LIVE_WAIT_MS);
    while (test_command_integer(live_redis(&source), "HLEN {t}hash") > 4701)
        test_poll(deadline, "fields to expire");
    live_wait_level(&cli, &source);
    live_wait_exact(&cli);
    live_stop(&cli);
    live_assert_equal(&source, &destination);
    stop();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_type),
        cmocka_unit_test(test_written_meanwhile),
        cmocka_unit_test(test_written_now_and_then),
        cmocka_unit_test(test_stopped_meanwhile),
        cmocka_unit_test(test_replaced_meanwhile),
        cmocka_unit_test(test_killed),
        cmocka_unit_test(test_without_usage),
        cmocka_unit_test(test_without_scans),
        cmocka_unit_test(test_field_expiry),
    };
    cmocka_set_test_filter(getenv("SYNCLINE_TEST_FILTER"));
    if (!test_cli_available())
        return 77;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
