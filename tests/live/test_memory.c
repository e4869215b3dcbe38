/* What the program uses: memory when the destination does not keep up, values larger than its
 * buffers, and the processor when there is nothing to do. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "core/base/clock.h"
#include "tests/live/live.h"

#define MIB (1u << 20)
#define OVERHEAD_BYTES (16 * MIB) /* the program itself, stacks and the allocator's slack */

static struct live_side source, destination;

static int start_sides(void **state)
{
    (void)state;
    live_side_start(&source,
                    TEST_REQUIRED_VERSION,
                    0,
                    0,
                    (const char *[]){"--client-output-buffer-limit", "replica 0 0 0", NULL});
    live_side_start(&destination, TEST_REQUIRED_VERSION, 0, 0, NULL);
    return 0;
}

static int stop_sides(void **state)
{
    (void)state;
    live_side_stop(&source);
    live_side_stop(&destination);
    return 0;
}

static int empty_sides(void **state)
{
    (void)state;
    test_command_ok(live_redis(&source), "FLUSHALL");
    test_command_ok(live_redis(&destination), "FLUSHALL");
    return 0;
}

/* User and system time of the process. */
static uint64_t cpu_ms(const struct test_cli *cli)
{
    char path[64], text[1024] = "";
    snprintf(path, sizeof(path), "/proc/%d/stat", (int)cli->pid);
    FILE *file = fopen(path, "r");
    if (file == NULL || fgets(text, sizeof(text), file) == NULL)
        test_fatal("cannot read %s", path);
    fclose(file);
    unsigned long long user = 0, system = 0;
    const char *at = strrchr(text, ')');
    if (at == NULL ||
        sscanf(at + 2, "%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %llu %llu", &user, &system) !=
            2)
        test_fatal("cannot read %s", path);
    return (user + system) * 1000 / (uint64_t)sysconf(_SC_CLK_TCK);
}

/* Unbounded queues show only when the destination stands still: what arrives meanwhile, twenty
 * times the limit, must wait at the source, and all of it must come when the destination goes on.
 */
static void stall(const char *io, const char *threads)
{
    static char text[40000];
    struct test_cli cli;
    redisContext *from = live_redis(&source);
    memset(text, 'x', sizeof(text));
    live_spawn(&cli, &source, &destination, "--memory", "8m", "--io", io, "--lanes", threads, NULL);
    live_wait_phase(&cli, "live");
    test_server_freeze(&destination.server);
    for (int i = 0; i < 4000; i++) {
        redisAppendCommand(from, "SET key:%d %b", i, text, sizeof(text) - (size_t)i);
        if (i % 50 != 49)
            continue;
        for (int n = 0; n < 50; n++) {
            redisReply *reply = NULL;
            assert_int_equal(redisGetReply(from, (void **)&reply), REDIS_OK);
            assert_int_equal(reply->type, REDIS_REPLY_STATUS);
            freeReplyObject(reply);
        }
    }
    /* Until it has taken what it takes: its queues are full and its input does not grow. */
    uint64_t deadline = test_deadline(LIVE_WAIT_MS);
    for (int64_t before = -1, same = 0; same < 10; test_poll(deadline, "full queues")) {
        int64_t now = live_total(&cli, "bytes_received");
        same = now > 100000 && now == before ? same + 1 : 0;
        before = now;
    }
    test_server_thaw(&destination.server);
    live_wait_level(&cli, &source);
    assert_in_range(test_cli_peak_bytes(&cli), 1, 8 * MIB + OVERHEAD_BYTES);
    json_t *progress = live_event(&cli, "progress");
    int64_t used = json_integer_value(json_object_get(progress, "memory_bytes"));
    int64_t limit = json_integer_value(json_object_get(progress, "memory_limit_bytes"));
    json_decref(progress);
    assert_int_equal(limit, 8 * MIB);
    assert_in_range(used, 1, limit);
    assert_int_equal(live_streams_sum(&cli, "snapshots"), 1);
    live_stop(&cli);
    live_assert_equal(&source, &destination);
}

static void test_stalled_destination_uring(void **state)
{
    (void)state;
    stall("uring", "1");
}

static void test_stalled_destination_epoll(void **state)
{
    (void)state;
    stall("epoll", "2");
}

/* The same in the snapshot: what is read from the source must wait as well. */
static void test_stalled_in_snapshot(void **state)
{
    (void)state;
    struct test_cli cli;
    dataset_load(source.client, 31, 150);
    test_command_ok(live_redis(&source), "CONFIG SET rdb-key-save-delay 100");
    live_spawn(&cli, &source, &destination, "--memory", "8m", NULL);
    uint64_t deadline = test_deadline(LIVE_WAIT_MS);
    while (live_total(&cli, "keys") < 100)
        test_poll(deadline, "keys of the snapshot");
    test_server_freeze(&destination.server);
    test_command_ok(live_redis(&source), "CONFIG SET rdb-key-save-delay 0");
    for (int64_t before = -1, same = 0; same < 10; test_poll(deadline, "full queues")) {
        int64_t now = live_total(&cli, "bytes_received");
        same = now == before ? same + 1 : 0;
        before = now;
    }
    test_server_thaw(&destination.server);
    live_wait_level(&cli, &source);
    assert_in_range(test_cli_peak_bytes(&cli), 1, 8 * MIB + OVERHEAD_BYTES);
    live_stop(&cli);
    live_assert_equal(&source, &destination);
}

static void send_big(redisContext *redis, const char *command, int count, bool has_score)
{
    static char text[1000];
    for (int i = 0; i < count; i++) {
        for (size_t n = 0; n < sizeof(text); n++)
            text[n] = (char)('a' + (n * 7 + (size_t)i) % 23);
        snprintf(text, 16, "%08d", i);
        text[8] = ':';
        if (has_score)
            redisAppendCommand(redis, "%s big:z %d %b", command, i, text, sizeof(text));
        else if (strcmp(command, "HSET") == 0)
            redisAppendCommand(redis, "HSET big:h %b %d", text, sizeof(text), i);
        else
            redisAppendCommand(redis, "RPUSH big:l %b", text, sizeof(text));
    }
    for (int i = 0; i < count; i++) {
        redisReply *reply = NULL;
        assert_int_equal(redisGetReply(redis, (void **)&reply), REDIS_OK);
        assert_int_equal(reply->type, REDIS_REPLY_INTEGER);
        freeReplyObject(reply);
    }
}

/* Values larger than every buffer, in the snapshot and then in the stream. */
static void test_big_values(void **state)
{
    (void)state;
    struct test_cli cli;
    redisContext *from = live_redis(&source);
    size_t size = 30 * MIB;
    char *text = malloc(size);
    assert_non_null(text);
    for (size_t i = 0; i < size; i++)
        text[i] = (char)(i * 2654435761u >> 13);
    test_command_ok(from, "SET big:s %b EX 10000", text, size);
    test_command_ok(from, "CONFIG SET rdbcompression no");
    send_big(from, "HSET", 5000, false);
    send_big(from, "RPUSH", 5000, false);
    send_big(from, "ZADD", 5000, true);
    live_spawn(&cli, &source, &destination, "--memory", "32m", "--lanes", "2", NULL);
    live_wait_phase(&cli, "live");
    live_wait_level(&cli, &source);
    assert_in_range(test_cli_peak_bytes(&cli), 1, 32 * MIB + OVERHEAD_BYTES);
    assert_int_equal(dataset_compare(source.client, destination.client, NULL), 0);
    /* A command is one item of the stream: a third of the limit is what is promised to fit. */
    test_command_ok(from, "SET big:live %b", text, (size_t)(10 * MIB));
    test_command_ok(from, "APPEND big:live %b", text, (size_t)(2 * MIB));
    live_wait_level(&cli, &source);
    assert_in_range(test_cli_peak_bytes(&cli), 1, 32 * MIB + OVERHEAD_BYTES);
    live_stop(&cli);
    free(text);
    test_command_ok(from, "CONFIG SET rdbcompression yes");
    live_assert_equal(&source, &destination);
}

/* What cannot be held must be said with the number that would do, and nothing else may happen. */
static void test_too_big(void **state)
{
    (void)state;
    struct test_cli cli;
    redisContext *from = live_redis(&source);
    size_t size = 20 * MIB;
    char *text = calloc(1, size);
    assert_non_null(text);
    live_spawn(&cli, &source, &destination, "--memory", "8m", NULL);
    live_wait_phase(&cli, "live");
    test_command_ok(from, "SET before x");
    test_command_ok(from, "SET big %b", text, size);
    live_expect_end(&cli, 5, "larger than", "raise --memory", "source 127.0.0.1", "offset", NULL);
    assert_int_equal(test_command_integer(live_redis(&destination), "EXISTS big"), 0);
    test_command_ok(from, "FLUSHALL");
    test_command_ok(live_redis(&destination), "FLUSHALL");
    free(text);
}

/* Collections larger than all of --memory arrive whole, in pieces, and within it. */
static void test_bigger_than_memory(void **state)
{
    (void)state;
    struct test_cli cli;
    redisContext *from = live_redis(&source);
    test_command_ok(from, "CONFIG SET rdbcompression no");
    send_big(from, "HSET", 12000, false);
    send_big(from, "RPUSH", 12000, false);
    send_big(from, "ZADD", 12000, true);
    test_command_ok(from, "EXPIRE big:l 100000");
    live_spawn(&cli, &source, &destination, "--memory", "8m", NULL);
    live_wait_phase(&cli, "live");
    live_wait_level(&cli, &source);
    assert_int_equal(live_total(&cli, "values_rewritten"), 3);
    assert_in_range(test_cli_peak_bytes(&cli), 1, 8 * MIB + OVERHEAD_BYTES);
    live_stop(&cli);
    test_command_ok(from, "CONFIG SET rdbcompression yes");
    live_assert_equal(&source, &destination);
}

/* Threads that look for work instead of waiting for it burn a core for nothing. */
static void idle(const char *io)
{
    struct test_cli cli;
    live_spawn(
        &cli, &source, &destination, "--io", io, "--progress-interval", "1s", "--lanes", "2", NULL);
    live_wait_phase(&cli, "live");
    live_wait_level(&cli, &source);
    /* Idle is the thing to be measured: time has to pass. */
    nanosleep(&(struct timespec){.tv_sec = 3}, NULL);
    uint64_t cpu_before = cpu_ms(&cli);
    uint64_t begin_ms = clock_monotonic_ms();
    nanosleep(&(struct timespec){.tv_sec = 2}, NULL);
    uint64_t used = cpu_ms(&cli) - cpu_before;
    uint64_t passed = clock_monotonic_ms() - begin_ms;
    if (used * 100 >= passed * 5)
        fail_msg("%llu ms of the processor in %llu ms",
                 (unsigned long long)used,
                 (unsigned long long)passed);
    live_stop(&cli);
}

static void test_idle_uring(void **state)
{
    (void)state;
    idle("uring");
}

static void test_idle_epoll(void **state)
{
    (void)state;
    idle("epoll");
}

/* The same of large keys that are read again at the source, by scanning and, where that is not
 * allowed, as payloads that pass. */
static void test_read_again(void **state)
{
    (void)state;
    struct test_cli cli;
    redisContext *from = live_redis(&source);
    redisContext *to = live_redis(&destination);
    send_big(from, "HSET", 30000, false);
    send_big(from, "RPUSH", 30000, false);
    send_big(from, "ZADD", 30000, true);
    live_spawn(&cli, &source, &destination, "--memory", "8m", NULL);
    live_wait_phase(&cli, "live");
    live_wait_level(&cli, &source);
    for (int64_t copies = 3; copies <= 6; copies += 3) {
        test_command_ok(to, "MSET big:h x big:l x big:z x");
        test_command_ok(from, "HSET big:h new %d", (int)copies);
        test_command_ok(from, "RPUSH big:l last");
        test_command_ok(from, "ZPOPMIN big:z 1");
        uint64_t deadline = test_deadline(LIVE_WAIT_MS);
        while (live_total(&cli, "keys_refetched_large") < copies)
            test_poll(deadline, "large keys to be read again");
        live_wait_level(&cli, &source);
        assert_in_range(test_cli_peak_bytes(&cli), 1, 8 * MIB + OVERHEAD_BYTES);
        test_command_ok(from, "ACL SETUSER default -hscan -lrange -zrange");
    }
    live_stop(&cli);
    test_command_ok(from, "ACL SETUSER default +@all");
    live_assert_equal(&source, &destination);
}

/* Keys of middle size, together far more than --memory: as many at a time as fit. */
static void test_many_read_again(void **state)
{
    (void)state;
    struct test_cli cli;
    static char text[100000];
    redisContext *from = live_redis(&source);
    for (size_t i = 0; i < sizeof(text); i++)
        text[i] = (char)(i * 2654435761u >> 13);
    for (size_t i = 0; i < 400; i++)
        test_command_ok(from, "SET mid:%d %b EX 100000", (int)i, text, sizeof(text) - i % 7 * 9000);
    live_spawn(&cli, &source, &destination, "--memory", "8m", NULL);
    live_wait_phase(&cli, "live");
    live_wait_level(&cli, &source);
    for (int i = 0; i < 400; i++)
        test_command_ok(live_redis(&destination), "DEL mid:%d", i);
    for (int i = 0; i < 400; i++)
        test_command_ok(from, "PERSIST mid:%d", i);
    uint64_t deadline = test_deadline(LIVE_WAIT_MS);
    while (live_total(&cli, "keys_refetched") < 400)
        test_poll(deadline, "keys to be read again");
    live_wait_level(&cli, &source);
    assert_in_range(test_cli_peak_bytes(&cli), 1, 8 * MIB + OVERHEAD_BYTES);
    live_stop(&cli);
    live_assert_equal(&source, &destination);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_stalled_destination_uring, empty_sides),
        cmocka_unit_test_setup(test_stalled_destination_epoll, empty_sides),
        cmocka_unit_test_setup(test_stalled_in_snapshot, empty_sides),
        cmocka_unit_test_setup(test_big_values, empty_sides),
        cmocka_unit_test_setup(test_bigger_than_memory, empty_sides),
        cmocka_unit_test_setup(test_read_again, empty_sides),
        cmocka_unit_test_setup(test_many_read_again, empty_sides),
        cmocka_unit_test_setup(test_too_big, empty_sides),
        cmocka_unit_test_setup(test_idle_uring, empty_sides),
        cmocka_unit_test_setup(test_idle_epoll, empty_sides),
    };
    cmocka_set_test_filter(getenv("SYNCLINE_TEST_FILTER"));
    if (!test_cli_available())
        return 77;
    return cmocka_run_group_tests(tests, start_sides, stop_sides);
}
