/*
 * Elements whose length Redis and Valkey 9 write differently in a listpack. Passed on as they are,
 * Valkey refuses the value, and Redis takes it and crashes at a later command on the key.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/live/live.h"
#include "tests/support/random.h"

/* Servers that keep such elements in listpacks. */
static const char *const arguments[] = {"--hash-max-listpack-value",
                                        "8mb",
                                        "--zset-max-listpack-value",
                                        "8mb",
                                        "--list-max-listpack-size",
                                        "-5",
                                        "--client-output-buffer-limit",
                                        "replica 0 0 0",
                                        NULL};

/* The encoding of a long string has five bytes of its own. */
static const size_t sizes[] = {16383 - 5, 2097151 - 5, 16382 - 5, 16384 - 5};

static char text[2097152];
static uint32_t run_count;

static void make_text(size_t size, bool is_compressible)
{
    struct random random = {size};
    for (size_t i = 0; i < size; i++)
        text[i] = is_compressible ? (char)('a' + i / 1000 % 20) : (char)random_next(&random);
}

/* One key of every type that has listpacks, with small elements on both sides of the large one. */
static void load(redisContext *server, size_t size, bool is_compressible, bool has_sets)
{
    char tag[32];
    snprintf(tag, sizeof(tag), "%zu:%d", size, is_compressible);
    make_text(size, is_compressible);
    test_command_ok(server, "HSET hash:%s a 1 f %b z 2", tag, text, size);
    test_command_ok(server, "HSET field:%s a 1 %b v z 2", tag, text, size);
    test_command_ok(server, "ZADD zset:%s 1 a 2.5 %b 3 z", tag, text, size);
    test_command_ok(server, "RPUSH list:%s a %b z", tag, text, size);
    for (int i = 0; i < 3; i++)
        test_command_ok(server, "XADD stream:%s 1-%d f %b g %d", tag, i + 1, text, size, i);
    test_command_ok(server, "XGROUP CREATE stream:%s group 0", tag);
    test_command_ok(server, "XREADGROUP GROUP group me COUNT 2 STREAMS stream:%s >", tag);
    test_command_ok(server, "PEXPIREAT hash:%s 4102444800000", tag);
    if (has_sets)
        test_command_ok(server, "SADD set:%s a %b z", tag, text, size);
    static const char *const names[] = {"hash", "field", "zset", "set"};
    for (size_t i = 0; i < 3 + (size_t)has_sets; i++) {
        redisReply *reply = test_command(server, "OBJECT ENCODING %s:%s", names[i], tag);
        assert_string_equal(reply->str, "listpack");
        freeReplyObject(reply);
    }
}

/* The destination walks every listpack from behind, and changes it. */
static void use(redisContext *server, size_t size, bool is_compressible)
{
    char tag[32];
    snprintf(tag, sizeof(tag), "%zu:%d", size, is_compressible);
    assert_int_equal(test_command_integer(server, "HDEL hash:%s z", tag), 1);
    test_command_ok(server, "HSET hash:%s y 3", tag);
    assert_int_equal(test_command_integer(server, "HDEL field:%s z", tag), 1);
    test_command_ok(server, "ZPOPMAX zset:%s", tag);
    test_command_ok(server, "ZPOPMAX zset:%s", tag);
    assert_int_equal(test_command_integer(server, "ZCARD zset:%s", tag), 1);
    test_command_ok(server, "RPOP list:%s", tag);
    test_command_ok(server, "RPOP list:%s", tag);
    assert_int_equal(test_command_integer(server, "LLEN list:%s", tag), 1);
    test_command_ok(server, "XREVRANGE stream:%s + -", tag);
    test_command_ok(server, "XADD stream:%s * f v", tag);
    assert_int_equal(test_command_integer(server, "XDEL stream:%s 1-2", tag), 1);
    redisReply *reply = test_command(server, "OBJECT ENCODING hash:%s", tag);
    assert_string_equal(reply->str, "listpack"); /* it was not rewritten */
    freeReplyObject(reply);
}

static void copy(const char *from, const char *to, const char *memory)
{
    struct live_side source, destination;
    char *errors;
    if (!test_server_available(from) || !test_server_available(to))
        return;
    run_count++;
    bool is_from_valkey = strncmp(from, "valkey", 6) == 0;
    bool is_to_late = strcmp(to, "redis-7.0") != 0;
    live_side_start(&source, from, 0, 0, arguments);
    live_side_start(&destination, to, 0, 0, arguments);
    bool has_sets = is_from_valkey && is_to_late;
    if (has_sets)
        test_command_ok(live_redis(&source), "CONFIG SET set-max-listpack-value 8388608");
    for (size_t i = 0; i < 2 * sizeof(sizes) / sizeof(sizes[0]); i++)
        load(live_redis(&source), sizes[i / 2], i % 2 == 0, has_sets);
    int status = live_run(&errors, &source, &destination, "--once", "--memory", memory, NULL);
    if (status != 0)
        fail_msg("%s to %s: exit status %d: %s", from, to, status, errors);
    free(errors);
    assert_int_equal(live_differences(&source, &destination), 0);
    for (size_t i = 0; i < 2 * sizeof(sizes) / sizeof(sizes[0]); i++)
        use(live_redis(&destination), sizes[i / 2], i % 2 == 0);
    assert_int_equal(test_command_integer(live_redis(&destination), "DBSIZE"),
                     test_command_integer(live_redis(&source), "DBSIZE"));
    live_side_stop(&source);
    live_side_stop(&destination);
}

/* With memory in which the large ones are gathered without asking, and with less. */
static void test_from_redis_to_valkey_9(void **state)
{
    (void)state;
    copy("redis-7.0", "valkey-9", "64m");
    copy("redis-7.0", "valkey-9", "24m");
    copy("valkey-8.1", "valkey-9", "48m");
}

static void test_from_valkey_9_to_redis(void **state)
{
    (void)state;
    copy("valkey-9", "redis-7.0", "128m"); /* it rewrites streams, entry by entry */
    copy("valkey-9", "redis-8.0", "24m");
    copy("valkey-9", "valkey-8.1", "64m");
}

/* What outgrows memory goes as commands, whatever is in it. */
static void test_larger_than_memory(void **state)
{
    (void)state;
    struct live_side source, destination;
    if (!test_server_available("valkey-9"))
        return;
    run_count++;
    live_side_start(&source, TEST_REQUIRED_VERSION, 0, 0, arguments);
    live_side_start(&destination, "valkey-9", 0, 0, arguments);
    make_text(sizes[0], false);
    for (int i = 0; i < 1500; i++)
        test_command_ok(live_redis(&source), "RPUSH list %b", text, sizes[0]);
    assert_int_equal(live_run(NULL, &source, &destination, "--once", "--memory", "12m", NULL), 0);
    assert_int_equal(live_differences(&source, &destination), 0);
    assert_int_equal(test_command_integer(live_redis(&destination), "LLEN list"), 1500);
    live_side_stop(&source);
    live_side_stop(&destination);
}

/* Within a family nothing is touched. */
static void test_within_a_family(void **state)
{
    (void)state;
    copy("redis-7.0", "redis-7.0", "48m");
    copy("redis-7.0", "valkey-8.1", "48m");
    copy("valkey-9", "valkey-9", "48m");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_from_redis_to_valkey_9),
        cmocka_unit_test(test_from_valkey_9_to_redis),
        cmocka_unit_test(test_larger_than_memory),
        cmocka_unit_test(test_within_a_family),
    };
    cmocka_set_test_filter(getenv("SYNCLINE_TEST_FILTER"));
    if (!test_cli_available())
        return 77;
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    return test_exit_status(failed, run_count);
}
