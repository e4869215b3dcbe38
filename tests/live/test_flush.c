/* FLUSHALL and FLUSHDB of one source among several, or among keys that are not copied: they remove
 * the copies of that source's keys, in their place of its stream, and nothing else. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/live/live.h"

#define KEYS 600

static struct live_side source, destination;

static void start(uint32_t source_masters, uint32_t destination_masters)
{
    live_side_start(&source, TEST_REQUIRED_VERSION, source_masters, 0, NULL);
    live_side_start(&destination, TEST_REQUIRED_VERSION, destination_masters, 0, NULL);
}

static void stop(void)
{
    live_side_stop(&source);
    live_side_stop(&destination);
}

/* Keys of all slots, of a generation that shows in the value. */
static void write_keys(int generation)
{
    for (int i = 0; i < KEYS; i++) {
        char key[32];
        snprintf(key, sizeof(key), "key:%d", i);
        test_client_send(source.client, key, "APPEND %s %d,", key, generation);
    }
    test_client_flush(source.client);
}

static redisContext *source_node(uint32_t i)
{
    return test_client_at(source.client, i % test_client_count(source.client));
}

/* Flushes of one shard after another, with writes before and behind on all of them. */
static void run_flushes(uint32_t source_masters, uint32_t destination_masters, const char *lanes)
{
    struct test_cli cli;
    start(source_masters, destination_masters);
    write_keys(0);
    live_spawn(&cli, &source, &destination, "--lanes", lanes, NULL);
    live_wait_phase(&cli, "live");
    for (int round = 1; round <= 9; round++) {
        write_keys(round);
        const char *command = round % 3 == 0 ? "FLUSHDB" : "FLUSHALL";
        test_command_ok(source_node((uint32_t)round), "%s", command);
        write_keys(100 + round);
        if (round % 4 == 0) {
            test_command_ok(source_node(0), "MULTI");
            freeReplyObject(test_command(source_node(0), "FLUSHALL"));
            test_command_ok(source_node(0), "EXEC");
        }
    }
    live_wait_level(&cli, &source);
    live_stop(&cli);
    live_assert_equal(&source, &destination);
    stop();
}

static void test_cluster_to_cluster(void **state)
{
    (void)state;
    run_flushes(3, 2, "2");
}

static void test_cluster_to_standalone(void **state)
{
    (void)state;
    run_flushes(3, 0, "1");
}

/* Killed at any moment, also in the middle of a flush: started again it is as if nothing had
 * happened. */
static void test_killed(void **state)
{
    (void)state;
    struct test_cli cli;
    start(3, 2);
    write_keys(0);
    for (int round = 1; round <= 12; round++) {
        live_spawn(&cli, &source, &destination, NULL);
        live_wait_phase(&cli, "live");
        write_keys(round);
        test_command_ok(source_node((uint32_t)round), "FLUSHALL");
        write_keys(100 + round);
        /* Another moment each time, by what has arrived. */
        int64_t commands = live_total(&cli, "commands");
        uint64_t deadline = test_deadline(LIVE_WAIT_MS);
        while (live_total(&cli, "commands") < commands + round * KEYS / 8)
            test_poll(deadline, "commands to arrive");
        test_cli_kill(&cli);
    }
    live_spawn(&cli, &source, &destination, NULL);
    live_wait_phase(&cli, "live");
    live_wait_level(&cli, &source);
    assert_int_equal(live_streams_sum(&cli, "snapshots"), 0);
    live_stop(&cli);
    live_assert_equal(&source, &destination);
    stop();
}

/* With rules, what is not selected is nobody's copy, and stays. */
static void test_rules(void **state)
{
    (void)state;
    struct test_cli cli;
    start(0, 0);
    redisContext *from = live_redis(&source), *to = live_redis(&destination);
    test_command_ok(to, "SET foreign x");
    test_command_ok(to, "SET tmp:1 x");
    test_command_ok(from, "SET old:1 x");
    test_command_ok(from, "SET tmp:2 x");
    live_spawn(&cli,
               &source,
               &destination,
               "--on-nonempty",
               "overwrite",
               "--include-prefix",
               "old:",
               "--rename-prefix",
               "old:=new:",
               NULL);
    live_wait_phase(&cli, "live");
    live_wait_level(&cli, &source);
    assert_int_equal(test_command_integer(to, "EXISTS new:1"), 1);
    test_command_ok(from, "FLUSHALL");
    test_command_ok(from, "SET old:2 x");
    live_wait_level(&cli, &source);
    assert_int_equal(test_command_integer(to, "EXISTS new:1"), 0);
    assert_int_equal(test_command_integer(to, "EXISTS new:2 foreign tmp:1"), 3);
    live_stop(&cli);
    stop();
}

static void test_policies(void **state)
{
    (void)state;
    struct test_cli cli;
    start(3, 2);
    write_keys(0);
    live_spawn(&cli, &source, &destination, "--on-flush", "ignore", NULL);
    live_wait_phase(&cli, "live");
    test_command_ok(source_node(0), "FLUSHALL");
    live_wait_level(&cli, &source);
    live_stop(&cli);
    uint64_t left = 0;
    for (uint32_t i = 0; i < test_client_count(destination.client); i++) {
        redisReply *keys = test_command(test_client_at(destination.client, i), "KEYS key:*");
        left += keys->elements;
        freeReplyObject(keys);
    }
    assert_int_equal(left, KEYS);
    char *output = test_cli_output(&cli);
    live_expect_texts(output, "FLUSHALL is left out", "offset", NULL);
    free(output);
    live_spawn(&cli, &source, &destination, "--on-flush", "stop", NULL);
    live_wait_phase(&cli, "live");
    test_command_ok(source_node(1), "FLUSHALL");
    live_expect_end(&cli, 7, "FLUSHALL", "--on-flush stop", "offset", NULL);
    stop();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cluster_to_cluster),
        cmocka_unit_test(test_cluster_to_standalone),
        cmocka_unit_test(test_killed),
        cmocka_unit_test(test_rules),
        cmocka_unit_test(test_policies),
    };
    cmocka_set_test_filter(getenv("SYNCLINE_TEST_FILTER"));
    if (!test_cli_available())
        return 77;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
