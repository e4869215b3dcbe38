/* Snapshots and streams played by a fake master: recorded snapshots must give what a real replica
 * makes of them; damaged bytes must end the task with a message and never with wrong data called
 * right. Recorded streams are in test_replay.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rdb/rdb.h"
#include "tests/live/fake_source.h"
#include "tests/live/live.h"
#include "tests/support/transfer.h"

static struct live_side destination;

struct bytes {
    uint8_t *at;
    size_t size;
};

static struct bytes fixture(const char *name)
{
    char path[512];
    struct bytes bytes;
    snprintf(path, sizeof(path), "%s/%s", TEST_FIXTURES, name);
    bytes.at = (uint8_t *)test_file_read(path, &bytes.size);
    return bytes;
}

static int start_sides(void **state)
{
    (void)state;
    live_side_start(&destination, TEST_REQUIRED_VERSION, 0, 0, NULL);
    return 0;
}

static int stop_sides(void **state)
{
    (void)state;
    live_side_stop(&destination);
    return 0;
}

static int empty_sides(void **state)
{
    (void)state;
    test_command_ok(live_redis(&destination), "FLUSHALL");
    test_command_ok(live_redis(&destination), "FUNCTION FLUSH");
    return 0;
}

static int play(const struct fake_source_script *script,
                const struct live_side *to,
                const char *mode,
                char **errors)
{
    struct live_side from = {.is_cluster = false};
    struct fake_source *fake = fake_source_start(script);
    snprintf(from.uri, sizeof(from.uri), "127.0.0.1:%u", fake->port);
    int status = live_run(errors, &from, to, mode, "--retry-connection", "0", NULL);
    fake_source_stop(fake);
    return status;
}

/* ---- whole ---- */

/* Every recorded snapshot that the destination can load must load whole. */
static void test_old_snapshots(void **state)
{
    (void)state;
    static const char *const names[] = {"redis-2.8.24-snapshot",
                                        "redis-3.2.13-snapshot",
                                        "redis-4.0.14-snapshot",
                                        "redis-5.0.14-snapshot",
                                        "redis-6.0.16-snapshot",
                                        "redis-7.0.15-snapshot",
                                        "redis-2.6.17",
                                        "redis-4.0.14-lfu",
                                        "redis-5.0.14",
                                        "redis-5.0.14-sync"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        char path[128];
        snprintf(path, sizeof(path), "rdb/%s/dump.rdb", names[i]);
        struct bytes snapshot = fixture(path);
        struct live_side replica;
        live_side_start(&replica, TEST_REQUIRED_VERSION, 0, 0, NULL);
        empty_sides(NULL);
        struct fake_source *fake =
            fake_source_start(&(struct fake_source_script){.version = "5.0.14",
                                                           .payload = snapshot.at,
                                                           .payload_size = snapshot.size,
                                                           .announced = i % 2 == 0 ? 0 : -1});
        test_command_ok(live_redis(&replica), "REPLICAOF 127.0.0.1 %d", (int)fake->port);
        char value[32] = "";
        uint64_t deadline = test_deadline(LIVE_WAIT_MS);
        while (strcmp(value, "up") != 0) {
            test_poll(deadline, "the real replica to load it");
            test_info(live_redis(&replica), "master_link_status", value, sizeof(value));
        }
        test_command_ok(live_redis(&replica), "REPLICAOF NO ONE");
        struct live_side from = {.is_cluster = false};
        snprintf(from.uri, sizeof(from.uri), "127.0.0.1:%u", fake->port);
        char *errors;
        int status = live_run(&errors, &from, &destination, "--snapshot-only", NULL);
        if (status != 0)
            fail_msg("%s: exit status %d: %s", names[i], status, errors);
        free(errors);
        fake_source_stop(fake);
        assert_int_equal(live_differences(&replica, &destination), 0);
        assert_int_not_equal(dataset_key_count(destination.client), 0);
        live_side_stop(&replica);
        free(snapshot.at);
    }
}

/* ---- damaged ---- */

static struct bytes payload; /* a small good snapshot; each test changes its own copy */

static int load_payload(void **state)
{
    payload = fixture("rdb/redis-7.0.15-snapshot/dump.rdb");
    return empty_sides(state);
}

static int free_payload(void **state)
{
    (void)state;
    free(payload.at);
    return 0;
}

static void expect_failure(const struct fake_source_script *script, int status, ...)
{
    struct fake_source_script whole = *script;
    char *errors;
    empty_sides(NULL); /* of what the failure before left */
    if (whole.version == NULL)
        whole.version = "7.0.15";
    if (whole.payload == NULL) {
        whole.payload = payload.at;
        whole.payload_size = payload.size;
    }
    int ended = play(&whole, &destination, "--once", &errors);
    if (getenv("SYNCLINE_TEST_SHOW") != NULL)
        fprintf(stderr, "%d: %s", ended, errors);
    if (ended != status)
        fail_msg("exit status %d instead of %d: %s", ended, status, errors);
    va_list args;
    va_start(args, status);
    for (const char *text; (text = va_arg(args, const char *)) != NULL;)
        live_expect_texts(errors, text, NULL);
    va_end(args);
    free(errors);
}
#define SCRIPT(...) (&(struct fake_source_script){__VA_ARGS__})
#define STREAM(text) .stream = (const uint8_t *)(text), .stream_size = sizeof(text) - 1

static void test_bad_checksum(void **state)
{
    (void)state;
    payload.at[payload.size - 3] ^= 1;
    expect_failure(SCRIPT(.announced = 0), 5, "checksum", "source 127.0.0.1", NULL);
    expect_failure(SCRIPT(.announced = -1), 5, "checksum", NULL);
}

/* One wrong bit anywhere must never be taken for a good snapshot, and never crash. */
static void test_bit_flips(void **state)
{
    (void)state;
    for (size_t i = 0; i < 30; i++) {
        size_t pos = 9 + i * (payload.size - 9) / 30;
        payload.at[pos] ^= (uint8_t)(1u << (i % 8));
        char *errors;
        int status =
            play(SCRIPT(.version = "7.0.15", .payload = payload.at, .payload_size = payload.size),
                 &destination,
                 "--once",
                 &errors);
        /* A type that the destination refuses is found there. */
        if (status != 5 && status != 7)
            fail_msg("bit %zu of byte %zu: exit status %d: %s", i % 8, pos, status, errors);
        assert_true(strlen(errors) > 40);
        free(errors);
        payload.at[pos] ^= (uint8_t)(1u << (i % 8));
        empty_sides(NULL);
    }
}

static void test_not_an_rdb(void **state)
{
    (void)state;
    payload.at[4] = 'X';
    expect_failure(SCRIPT(.announced = 0), 5, "REDIS", NULL);
}

static void test_rdb_of_the_future(void **state)
{
    (void)state;
    memcpy(payload.at + 5, "0099", 4);
    expect_failure(SCRIPT(.announced = 0), 5, "99", NULL);
}

static void test_truncated(void **state)
{
    (void)state;
    for (size_t size = 1; size < payload.size; size += payload.size / 7)
        expect_failure(SCRIPT(.payload = payload.at,
                              .payload_size = size,
                              .announced = (int64_t)payload.size,
                              .is_cut = true),
                       5,
                       "closed the connection",
                       "in the middle of the snapshot",
                       NULL);
    expect_failure(SCRIPT(.payload = payload.at,
                          .payload_size = payload.size / 2,
                          .announced = -1,
                          .is_cut = true),
                   5,
                   "in the middle of the snapshot",
                   NULL);
    /* Ended early, and properly: the RDB must not go on in the mark and the stream behind it. */
    expect_failure(SCRIPT(.payload = payload.at, .payload_size = payload.size / 2, .announced = -1),
                   5,
                   "goes on behind",
                   NULL);
}

/* A length that is not the snapshot's: what follows would be read as something else. */
static void test_wrong_length(void **state)
{
    (void)state;
    expect_failure(SCRIPT(.announced = (int64_t)payload.size - 10), 5, "snapshot", NULL);
    expect_failure(SCRIPT(.announced = (int64_t)payload.size + 14, STREAM("*1\r\n$4\r\nPING\r\n")),
                   5,
                   "snapshot",
                   NULL);
}

static void test_wrong_mark(void **state)
{
    (void)state;
    expect_failure(SCRIPT(.announced = -1, .mark = "fedcba9876543210fedcba9876543210fedcbaXX"),
                   5,
                   "mark",
                   NULL);
}

static void test_unknown_type(void **state)
{
    (void)state;
    static const uint8_t bytes[] = "REDIS0010\xfe\x00\xfb\x01\x00\xc8\x01k\x01v\xff\0\0\0\0\0\0\0";
    expect_failure(
        SCRIPT(.payload = bytes, .payload_size = sizeof(bytes)), 5, "200", "RDB byte 14", NULL);
}

static void test_module_value(void **state)
{
    (void)state;
    /* Type 7 (module 2), an id of nine letters and version 1, an unsigned 5, the end. */
    static const uint8_t bytes[] = "REDIS0010\xfe\x00\xfb\x01\x00\x07\x03mod\x81"
                                   "\x24\x92\x49\x24\x92\x49\x24\x01\x02\x05\x00\xff\0\0\0\0\0\0\0";
    expect_failure(SCRIPT(.payload = bytes, .payload_size = sizeof(bytes)), 7, "module", NULL);
}

static void test_malformed_streams(void **state)
{
    (void)state;
    static const char good[] = "*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1\r\nb\r\n";
    static const struct {
        const char *bytes;
        const char *text;
    } cases[] = {
        {"*3\r\n$3\r\nSET\r\n$x\r\n", "offset 1027"},
        {"*3\r\n$3\r\nSET\r\n$1\r\nkkk\r\n$1\r\nv\r\n", "offset 1027"},
        {"SET inline x\r\n", "offset 1027"},
        {"*2000000000\r\n$3\r\nSET\r\n", "offset 1027"},
        {"*3\r\n$3\r\nSET\r\n$99999999999999\r\nx", "offset 1027"},
        {"*-3\r\n", "offset 1027"},
        {"*3\r\n:3\r\n:1\r\n:2\r\n", "offset 1027"},
        {"\0\0\0\0", "offset 1027"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char bytes[256];
        size_t size = i == 7 ? 4 : strlen(cases[i].bytes);
        memcpy(bytes, good, sizeof(good) - 1);
        memcpy(bytes + sizeof(good) - 1, cases[i].bytes, size);
        empty_sides(NULL);
        expect_failure(
            SCRIPT(.stream = (const uint8_t *)bytes, .stream_size = sizeof(good) - 1 + size),
            5,
            "source 127.0.0.1",
            cases[i].text,
            NULL);
    }
}

/* Nothing may be skipped in silence. */
static void test_unknown_command(void **state)
{
    (void)state;
    expect_failure(SCRIPT(STREAM("*3\r\n$7\r\nFOO.SET\r\n$6\r\nsecret\r\n$1\r\nb\r\n")),
                   7,
                   "FOO.SET",
                   "offset 1036",
                   NULL);
    /* Known by its name, and refused by the destination. */
    expect_failure(SCRIPT(STREAM("*2\r\n$3\r\nSET\r\n$1\r\na\r\n")), 7, "SET", "offset", NULL);
}

static void test_refused_psync(void **state)
{
    (void)state;
    expect_failure(SCRIPT(.psync_answer = "-NOMASTERLINK Can't SYNC while not connected with my "
                                          "master\r\n"),
                   5,
                   "link to its master is down",
                   NULL);
    expect_failure(SCRIPT(.psync_answer = "-NOPERM this user has no permissions to run the 'psync' "
                                          "command\r\n"),
                   5,
                   "NOPERM",
                   "+psync",
                   NULL);
    expect_failure(SCRIPT(.psync_answer = "+FULLRESYNC short 12\r\n"), 5, "PSYNC", NULL);
    expect_failure(SCRIPT(.psync_answer = "+CONTINUE\r\n"), 5, "+CONTINUE", NULL);
    expect_failure(SCRIPT(.psync_answer = "-ERR unknown command 'psync'\r\n"), 5, "PSYNC", NULL);
}

#define DAMAGED(test) cmocka_unit_test_setup_teardown(test, load_payload, free_payload)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_old_snapshots, empty_sides),
        DAMAGED(test_bad_checksum),
        DAMAGED(test_bit_flips),
        DAMAGED(test_not_an_rdb),
        DAMAGED(test_rdb_of_the_future),
        DAMAGED(test_truncated),
        DAMAGED(test_wrong_length),
        DAMAGED(test_wrong_mark),
        DAMAGED(test_unknown_type),
        DAMAGED(test_module_value),
        DAMAGED(test_malformed_streams),
        DAMAGED(test_unknown_command),
        DAMAGED(test_refused_psync),
    };
    cmocka_set_test_filter(getenv("SYNCLINE_TEST_FILTER"));
    if (!test_cli_available())
        return 77;
    return cmocka_run_group_tests(tests, start_sides, stop_sides);
}
