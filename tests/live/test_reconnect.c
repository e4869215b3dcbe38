/* Lost connections to the source: what is continued must be exact, what starts again must leave
 * nothing behind. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "apply/position.h"
#include "tests/live/live.h"

static struct live_side source, destination;

static int64_t source_number(const char *field)
{
    char value[32];
    test_info(live_redis(&source), field, value, sizeof(value));
    return strtoll(value, NULL, 10);
}

static void start(const char *const *arguments)
{
    live_side_start(&source, TEST_REQUIRED_VERSION, 0, 0, arguments);
    live_side_start(&destination, TEST_REQUIRED_VERSION, 0, 0, NULL);
}

static void stop(void)
{
    live_side_stop(&source);
    live_side_stop(&destination);
}

/* Commands whose repetition or loss shows in the value for ever. */
static void write_counters(redisContext *redis, int count)
{
    for (int i = 0; i < count; i++) {
        redisAppendCommand(redis, "INCR counter:%d", i % 7);
        redisAppendCommand(redis, "LPUSH list:%d %d", i % 5, i);
        redisAppendCommand(redis, "APPEND text:%d %d,", i % 3, i);
        redisAppendCommand(redis, "HINCRBY hash:%d field 3", i % 3);
    }
    for (int i = 0; i < 4 * count; i++) {
        redisReply *reply = NULL;
        assert_int_equal(redisGetReply(redis, (void **)&reply), REDIS_OK);
        assert_int_equal(reply->type, REDIS_REPLY_INTEGER);
        freeReplyObject(reply);
    }
}

static void wait_sessions(struct test_cli *cli, int64_t count)
{
    uint64_t deadline = test_deadline(LIVE_WAIT_MS);
    while (live_streams_sum(cli, "sessions") < count)
        test_poll(deadline, "a new session with the source");
}

/* A byte of the stream that is asked for twice is a command applied twice, one too few a command
 * lost or a broken stream: connections are cut again and again under load, on both backends. */
static void cut_live(const char *io)
{
    struct test_cli cli;
    start(NULL);
    dataset_load(source.client, 1, 3);
    live_spawn(&cli, &source, &destination, "--io", io, NULL);
    live_wait_phase(&cli, "live");
    struct writer *writer = live_writer(&source, &destination, 1, 5000);
    int64_t partial_before = source_number("sync_partial_ok");
    for (int i = 0; i < 12; i++) {
        write_counters(live_redis(&source), 500);
        assert_int_equal(test_command_integer(live_redis(&source), "CLIENT KILL TYPE replica"), 1);
        write_counters(live_redis(&source), 100);
        wait_sessions(&cli, 2 + i);
    }
    writer_stop(writer, NULL);
    live_wait_level(&cli, &source);
    live_wait_exact(&cli);
    assert_int_equal(source_number("sync_partial_ok") - partial_before, 12);
    assert_int_equal(source_number("sync_full"), 1);
    assert_int_equal(live_streams_sum(&cli, "snapshots"), 1);
    live_assert_equal(&source, &destination);
    live_stop(&cli);
    stop();
}

static void test_cut_in_live_uring(void **state)
{
    (void)state;
    cut_live("uring");
}

static void test_cut_in_live_epoll(void **state)
{
    (void)state;
    cut_live("epoll");
}

/* Every shard loses its connection, each at its own time. */
static void test_cut_in_live_cluster(void **state)
{
    (void)state;
    struct test_cli cli;
    live_side_start(&source, TEST_REQUIRED_VERSION, 3, 0, NULL);
    live_side_start(&destination, TEST_REQUIRED_VERSION, 2, 0, NULL);
    live_spawn(&cli, &source, &destination, "--lanes", "2", NULL);
    live_wait_phase(&cli, "live");
    struct writer *writer = live_writer(&source, &destination, 2, 5000);
    for (uint32_t i = 0; i < 9; i++) {
        redisContext *node = test_client_at(source.client, i % 3);
        live_writer_more(writer, 500);
        assert_int_equal(test_command_integer(node, "CLIENT KILL TYPE replica"), 1);
        wait_sessions(&cli, 4 + i);
    }
    writer_stop(writer, NULL);
    live_wait_level(&cli, &source);
    assert_int_equal(live_streams_sum(&cli, "snapshots"), 3);
    live_stop(&cli);
    live_assert_equal(&source, &destination);
    stop();
}

/* A snapshot cannot be continued. What the first one wrote and the source deleted since then would
 * stay for ever, as no deletion of it comes any more. */
static void test_cut_in_snapshot(void **state)
{
    (void)state;
    struct test_cli cli;
    /* A delay per key makes the snapshot long enough to be cut in the middle. */
    start((const char *[]){"--rdb-key-save-delay", "200", NULL});
    dataset_load(source.client, 3, 100);
    live_spawn(&cli, &source, &destination, NULL);
    uint64_t deadline = test_deadline(LIVE_WAIT_MS);
    while (live_total(&cli, "keys") < 200)
        test_poll(deadline, "keys of the snapshot");
    redisContext *from = live_redis(&source);
    /* Those that were written so far are the ones whose deletion matters. */
    redisReply *reply = test_command(live_redis(&destination), "SCAN 0 COUNT 50");
    assert_true(reply->element[1]->elements > 10);
    for (size_t i = 0; i < reply->element[1]->elements; i++) {
        const redisReply *key = reply->element[1]->element[i];
        if (position_is_key(key->str, key->len))
            continue; /* not the source's */
        assert_int_equal(test_command_integer(from, "DEL %b", key->str, key->len), 1);
    }
    freeReplyObject(reply);
    test_command_ok(from, "CONFIG SET rdb-key-save-delay 0");
    assert_int_equal(test_command_integer(from, "CLIENT KILL TYPE replica"), 1);
    live_wait_phase(&cli, "live");
    wait_sessions(&cli, 2);
    write_counters(from, 200);
    live_wait_level(&cli, &source);
    assert_int_equal(live_streams_sum(&cli, "snapshots"), 2);
    live_stop(&cli);
    live_assert_equal(&source, &destination);
    stop();
}

static void tick_until_lost(redisContext *from, struct test_cli *cli)
{
    static char text[30000];
    memset(text, 'x', sizeof(text));
    /* More than the backlog, while nobody reads it. */
    for (int i = 0; i < 100; i++)
        test_command_ok(from, "SET big:%d %b", i, text, sizeof(text));
    (void)cli;
}

/* When the source's backlog has moved on, the stream starts again with a snapshot; the task must
 * go on by itself, and both sides be equal at the end. */
static void test_backlog_too_small(void **state)
{
    (void)state;
    struct test_cli cli;
    start((const char *[]){"--repl-backlog-size", "16kb", NULL});
    redisContext *from = live_redis(&source);
    dataset_load(source.client, 4, 10);
    live_spawn(&cli, &source, &destination, NULL);
    live_wait_phase(&cli, "live");
    write_counters(from, 300);
    live_wait_level(&cli, &source);
    /* The program stands still while the connection is cut and the backlog overrun. */
    test_cli_signal(&cli, SIGSTOP);
    assert_int_equal(test_command_integer(from, "CLIENT KILL TYPE replica"), 1);
    tick_until_lost(from, &cli);
    test_command_ok(from, "DEL counter:0 list:1 d:set:1 d:raw:2");
    test_cli_signal(&cli, SIGCONT);
    wait_sessions(&cli, 2);
    write_counters(from, 300);
    live_wait_level(&cli, &source);
    assert_int_equal(live_streams_sum(&cli, "snapshots"), 2);
    assert_int_equal(source_number("sync_full"), 2);
    live_stop(&cli);
    live_assert_equal(&source, &destination);
    stop();
}

/* A source that stops answering is not lost: nothing must be given up before the time limit, and
 * once it goes on, so does the stream; past the limit the connection is made again. */
static void test_source_stands_still(void **state)
{
    (void)state;
    struct test_cli cli;
    start(NULL);
    dataset_load(source.client, 5, 5);
    live_spawn(&cli, &source, &destination, "--silence-timeout", "1s", NULL);
    live_wait_phase(&cli, "live");
    test_command_ok(live_redis(&source), "CONFIG SET repl-ping-replica-period 1");
    struct writer *writer = live_writer(&source, &destination, 5, 2000);
    test_server_freeze(&source.server);
    uint64_t deadline = test_deadline(LIVE_WAIT_MS);
    for (bool is_seen = false; !is_seen; test_poll(deadline, "the silence to be noticed")) {
        json_t *progress = live_event(&cli, "progress");
        const json_t *stream = json_array_get(json_object_get(progress, "streams"), 0);
        is_seen = strcmp(json_string_value(json_object_get(stream, "wait")), "reconnect") == 0;
        json_decref(progress);
    }
    test_server_thaw(&source.server);
    live_writer_more(writer, 1000);
    writer_stop(writer, NULL);
    wait_sessions(&cli, 2);
    live_wait_level(&cli, &source);
    assert_int_equal(live_streams_sum(&cli, "snapshots"), 1);
    live_stop(&cli);
    live_assert_equal(&source, &destination);
    stop();
}

/* A restarted source has a new history: the copy must start again, and what the source no longer
 * has must go. */
static void test_source_restarts(void **state)
{
    (void)state;
    struct test_cli cli;
    start(NULL);
    dataset_load(source.client, 6, 5);
    live_spawn(&cli, &source, &destination, NULL);
    live_wait_phase(&cli, "live");
    live_wait_level(&cli, &source);
    test_client_free(source.client);
    test_server_kill(&source.server);
    test_server_restart(&source.server);
    source.client = test_client_new(live_port(&source));
    write_counters(live_redis(&source), 100);
    wait_sessions(&cli, 2);
    live_wait_level(&cli, &source);
    live_stop(&cli);
    live_assert_equal(&source, &destination);
    stop();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cut_in_live_uring),
        cmocka_unit_test(test_cut_in_live_epoll),
        cmocka_unit_test(test_cut_in_live_cluster),
        cmocka_unit_test(test_cut_in_snapshot),
        cmocka_unit_test(test_backlog_too_small),
        cmocka_unit_test(test_source_stands_still),
        cmocka_unit_test(test_source_restarts),
    };
    cmocka_set_test_filter(getenv("SYNCLINE_TEST_FILTER"));
    if (!test_cli_available())
        return 77;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
