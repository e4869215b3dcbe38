/* Every server version that can be had: to itself, to later ones, and to earlier ones with a clear
 * answer. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/live/live.h"

#define KEYS_PER_TYPE 16

static uint32_t run_count;

/* What a version writes into its snapshot and stream, and how it orders them, must be understood:
 * all types and a writer during both phases. */
static void copy(const char *from, uint32_t from_masters, const char *to, uint32_t to_masters)
{
    struct live_side source, destination;
    struct test_cli cli;
    if (!test_server_available(from) || !test_server_available(to))
        return;
    run_count++;
    live_side_start(&source, from, from_masters, 0, NULL);
    live_side_start(&destination, to, to_masters, 0, NULL);
    dataset_load(source.client, 21, KEYS_PER_TYPE);
    struct writer *writer = live_writer(&source, &destination, 21, 4000);
    live_spawn(&cli, &source, &destination, NULL);
    live_wait_phase(&cli, "live");
    live_writer_more(writer, 2000);
    writer_stop(writer, NULL);
    live_wait_level(&cli, &source);
    live_stop(&cli);
    live_assert_equal(&source, &destination);
    live_side_stop(&source);
    live_side_stop(&destination);
}

static void test_same_version_standalone(void **state)
{
    (void)state;
    for (uint32_t i = 0; test_versions[i] != NULL; i++)
        copy(test_versions[i], 0, test_versions[i], 0);
}

/* Valkey 8.0 and later, and Redis 8.0, order a cluster's snapshot by slot. */
static void test_same_version_cluster(void **state)
{
    (void)state;
    for (uint32_t i = 0; test_versions[i] != NULL; i++)
        copy(test_versions[i], 2, test_versions[i], 2);
}

static void test_to_later_versions(void **state)
{
    (void)state;
    copy("redis-6.0", 0, "redis-7.0", 0);
    copy("redis-7.0", 0, "redis-8.0", 0);
    copy("redis-7.0", 0, "valkey-9", 0);
    copy("valkey-8.1", 0, "valkey-9", 0);
    copy("redis-7.0", 2, "valkey-8.0", 2);
}

/* An older server loads what it knows; what it does not know is written as commands, with the same
 * content. Function libraries, which no command can write there, are refused by name. */
static void test_to_an_earlier_version(void **state)
{
    (void)state;
    struct live_side source, destination;
    char *errors;
    if (!test_server_available("redis-6.0"))
        return;
    run_count++;
    live_side_start(&source, "redis-7.0", 0, 0, NULL);
    live_side_start(&destination, "redis-6.0", 0, 0, NULL);
    dataset_load(source.client, 23, KEYS_PER_TYPE);
    assert_int_equal(live_run(&errors, &source, &destination, "--once", NULL), 7);
    live_expect_texts(errors, "function libraries", "destination", NULL);
    free(errors);
    test_command_ok(live_redis(&source), "FUNCTION FLUSH");
    test_command_ok(live_redis(&destination), "FLUSHALL");
    assert_int_equal(live_run(&errors, &source, &destination, "--once", NULL), 0);
    free(errors);
    assert_int_equal(live_differences(&source, &destination), 0);
    live_side_stop(&source);
    live_side_stop(&destination);
}

/* An expiry of a hash field cannot be written before 7.4: stop, and write nothing of it; or write
 * the fields without; or leave the key out, as asked. */
static void test_unsupported_policies(void **state)
{
    (void)state;
    struct live_side source, destination;
    char *errors;
    if (!test_server_available("redis-8.0"))
        return;
    run_count++;
    live_side_start(&source, "redis-8.0", 0, 0, NULL);
    live_side_start(&destination, "redis-7.0", 0, 0, NULL);
    redisContext *from = live_redis(&source);
    redisContext *to = live_redis(&destination);
    test_command_ok(from, "HSET hash a 1 b 2");
    test_command_ok(from, "HPEXPIREAT hash 4102444800000 FIELDS 1 a");
    assert_int_equal(live_run(&errors, &source, &destination, "--once", NULL), 7);
    live_expect_texts(errors, "hash", "--on-unsupported", "key hash", NULL);
    free(errors);
    test_command_ok(to, "FLUSHALL");
    assert_int_equal(
        live_run(&errors, &source, &destination, "--once", "--on-unsupported", "degrade", NULL), 0);
    free(errors);
    assert_int_equal(test_command_integer(to, "HLEN hash"), 2);
    test_command_ok(to, "FLUSHALL");
    assert_int_equal(
        live_run(&errors, &source, &destination, "--once", "--on-unsupported", "skip", NULL), 0);
    free(errors);
    assert_int_equal(test_command_integer(to, "EXISTS hash"), 0);
    live_side_stop(&source);
    live_side_stop(&destination);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_same_version_standalone),
        cmocka_unit_test(test_same_version_cluster),
        cmocka_unit_test(test_to_later_versions),
        cmocka_unit_test(test_to_an_earlier_version),
        cmocka_unit_test(test_unsupported_policies),
    };
    cmocka_set_test_filter(getenv("SYNCLINE_TEST_FILTER"));
    if (!test_cli_available())
        return 77;
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    return test_exit_status(failed, run_count);
}
