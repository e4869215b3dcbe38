/* Heartbeats between real servers of all versions: latency is measured where the source allows it,
 * and said to be estimated elsewhere; no such key ever gets to the destination, and none stays. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/live/sides.h"

#define PREFIX "DTS_REDIS_TIMESTAMP_HEARTBEAT"

/* Names that match, but for what the task itself keeps at the destination. */
static uint64_t count_keys(const struct live_side *side, const char *pattern)
{
    uint64_t count = 0;
    for (uint32_t i = 0; i < test_client_count(side->client); i++) {
        redisReply *reply = test_command(test_client_at(side->client, i), "KEYS %s", pattern);
        for (size_t key = 0; key < reply->elements; key++)
            count += strncmp(reply->element[key]->str, "syncline:", 9) != 0;
        freeReplyObject(reply);
    }
    return count;
}

/* Waits until every stream is live and its latency is measured, or estimated; the largest in ms. */
static int64_t wait_latency(struct test_cli *cli, bool is_estimate, int64_t least)
{
    uint64_t deadline = test_deadline(LIVE_WAIT_MS);
    for (;;) {
        json_t *progress = live_event(cli, "progress");
        const json_t *latency = json_object_get(progress, "latency_ms");
        const json_t *streams = json_object_get(progress, "streams");
        bool is_right =
            json_is_integer(latency) && json_integer_value(latency) >= least &&
            json_is_true(json_object_get(progress, "latency_is_estimate")) == is_estimate;
        for (size_t i = 0; i < json_array_size(streams) && is_right; i++) {
            const json_t *stream = json_array_get(streams, i);
            is_right = json_is_true(json_object_get(stream, "latency_is_estimate")) == is_estimate;
        }
        int64_t ms = json_integer_value(latency);
        json_decref(progress);
        if (is_right)
            return ms;
        test_poll(deadline, is_estimate ? "an estimated latency" : "a measured latency");
    }
}

/* Each version propagates SETEX in its own form. Keys that were there before, another task's, must
 * stay at home in the snapshot too. */
static void test_versions_all(void **state)
{
    (void)state;
    for (uint32_t i = 0; test_versions[i] != NULL; i++) {
        struct live_side from, to;
        struct test_cli cli;
        if (!test_server_available(test_versions[i]))
            continue;
        live_side_start(&from, test_versions[i], 0, 0, NULL);
        live_side_start(&to, test_versions[i], 0, 0, NULL);
        dataset_load(from.client, 1, 5);
        test_command_ok(live_redis(&from), "SETEX " PREFIX ":other 1000 1:1");
        live_spawn(&cli, &from, &to, "--heartbeat", "100ms", NULL);
        wait_latency(&cli, false, 0);
        assert_int_equal(count_keys(&from, PREFIX ":*:{*}"), 1);
        struct writer *writer = live_writer(&from, &to, i, 2000);
        live_writer_more(writer, 1000);
        writer_stop(writer, NULL);
        live_wait_level(&cli, &from);
        wait_latency(&cli, false, 0);
        assert_int_equal(count_keys(&to, PREFIX "*"), 0);
        /* Each has a time to live, and so the last one of the task ends by itself. */
        redisReply *reply = test_command(live_redis(&from), "KEYS " PREFIX ":*:{*}");
        assert_int_equal(reply->elements, 1);
        int64_t ttl_ms = test_command_integer(live_redis(&from), "PTTL %s", reply->element[0]->str);
        assert_in_range(ttl_ms, 1, 5000);
        live_stop(&cli);
        live_assert_verified(&from, &to, "--full", NULL);
        uint64_t deadline = test_deadline(LIVE_WAIT_MS);
        while (test_command_integer(live_redis(&from), "EXISTS %s", reply->element[0]->str))
            test_poll(deadline, "the last heartbeat to expire");
        freeReplyObject(reply);
        live_side_stop(&from);
        live_side_stop(&to);
    }
}

/* Every shard of a cluster gets its own key, or SETEX would be refused with MOVED. */
static void test_cluster(void **state)
{
    (void)state;
    struct live_side from;
    struct test_cli cli;
    live_side_start(&from, TEST_REQUIRED_VERSION, 3, 0, NULL);
    live_spawn(&cli, &from, &destination, "--heartbeat", "100ms", NULL);
    wait_latency(&cli, false, 0);
    for (uint32_t i = 0; i < test_client_count(from.client); i++)
        assert_int_equal(test_command_integer(test_client_at(from.client, i), "DBSIZE"), 1);
    assert_int_equal(count_keys(&destination, "*"), 0);
    live_stop(&cli);
    live_side_stop(&from);
}

/* A destination that stands still: what is on its way takes at least as long as it has been, though
 * nothing arrives that could be measured. */
static void test_growing(void **state)
{
    (void)state;
    struct test_cli cli;
    live_spawn(&cli, &source, &destination, "--heartbeat", "100ms", NULL);
    wait_latency(&cli, false, 0);
    test_server_freeze(&destination.server);
    test_command_ok(live_redis(&source), "SET a 1");
    wait_latency(&cli, false, 1000);
    test_server_thaw(&destination.server);
    uint64_t deadline = test_deadline(LIVE_WAIT_MS);
    while (wait_latency(&cli, false, 0) >= 1000)
        test_poll(deadline, "the latency to fall");
    live_stop(&cli);
    live_assert_verified(&source, &destination, "--full", NULL);
}

/* Without the option nothing is written, and the estimate says what it is. */
static void test_off(void **state)
{
    (void)state;
    struct test_cli cli;
    live_spawn(&cli, &source, &destination, NULL);
    wait_latency(&cli, true, 0);
    test_command_ok(live_redis(&source), "SETEX " PREFIX " 1000 x"); /* reserved all the same */
    test_command_ok(live_redis(&source), "SET a 1");
    live_wait_level(&cli, &source);
    assert_int_equal(count_keys(&source, PREFIX "?*"), 0);
    assert_int_equal(count_keys(&destination, "*"), 1);
    live_stop(&cli);
}

/* Another prefix: the usual one is data then. */
static void test_prefix(void **state)
{
    (void)state;
    struct test_cli cli;
    live_spawn(
        &cli, &source, &destination, "--heartbeat", "100ms", "--heartbeat-prefix", "beat", NULL);
    wait_latency(&cli, false, 0);
    assert_int_equal(count_keys(&source, "beat:*"), 1);
    test_command_ok(live_redis(&source), "SET " PREFIX " 1");
    live_wait_level(&cli, &source);
    live_stop(&cli);
    assert_int_equal(count_keys(&destination, "*"), 1);
    live_assert_verified(&source, &destination, "--heartbeat-prefix", "beat", NULL);
}

/* Told once, with what follows from it. */
static void expect_warning(const struct test_cli *cli, const char *text)
{
    json_t *warning = live_event(cli, "warning");
    const char *told = json_string_value(json_object_get(warning, "text"));
    if (told == NULL || strstr(told, text) == NULL || strstr(told, "estimated") == NULL)
        fail_msg("%s", told);
    json_decref(warning);
    char *output = test_cli_output(cli);
    const char *first = strstr(output, text);
    assert_non_null(first);
    assert_null(strstr(first + 1, text));
    free(output);
}

/* An account that may follow but not write. */
static void test_refused(void **state)
{
    (void)state;
    struct live_side from = source;
    struct test_cli cli;
    redisContext *redis = live_redis(&source);
    test_command_ok(redis, "ACL SETUSER reader on >pw allkeys +@all -setex");
    snprintf(from.uri, sizeof(from.uri), "redis://reader:pw@127.0.0.1:%u", live_port(&source));
    live_spawn(&cli, &from, &destination, "--heartbeat", "100ms", NULL);
    wait_latency(&cli, true, 0);
    test_command_ok(redis, "SET a 1");
    live_wait_level(&cli, &source);
    expect_warning(&cli, "takes no heartbeat (NOPERM)");
    live_stop(&cli);
    assert_int_equal(count_keys(&source, PREFIX "*"), 0);
    test_command_ok(redis, "ACL DELUSER reader");
}

/* A key that is written to a replica stays there, so none is. */
static void test_replica(void **state)
{
    (void)state;
    struct live_side from;
    struct test_cli cli;
    live_side_start(&from, TEST_REQUIRED_VERSION, 0, 0, NULL);
    test_command_ok(live_redis(&from), "CONFIG SET replica-read-only no");
    test_server_replicate(&from.server, &source.server);
    live_spawn(&cli, &from, &destination, "--heartbeat", "100ms", NULL);
    wait_latency(&cli, true, 0);
    test_command_ok(live_redis(&source), "SET a 1");
    live_wait_level(&cli, &source);
    expect_warning(&cli, "takes no heartbeat (it is a replica)");
    live_stop(&cli);
    assert_int_equal(count_keys(&from, PREFIX "*"), 0);
    live_side_stop(&from);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_versions_all),
        cmocka_unit_test_setup(test_cluster, sides_empty),
        cmocka_unit_test_setup(test_growing, sides_empty),
        cmocka_unit_test_setup(test_off, sides_empty),
        cmocka_unit_test_setup(test_prefix, sides_empty),
        cmocka_unit_test_setup(test_refused, sides_empty),
        cmocka_unit_test_setup(test_replica, sides_empty),
    };
    cmocka_set_test_filter(getenv("SYNCLINE_TEST_FILTER"));
    if (!test_cli_available())
        return 77;
    return cmocka_run_group_tests(tests, sides_start, sides_stop);
}
