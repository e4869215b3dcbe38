/* What moves while it is verified is no false alarm: writes that are on their way, keys and fields
 * whose time comes; and what is not known is said. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "tests/engine/verify_rig.h"
#include "tests/support/writer.h"

#define SERVER TEST_REQUIRED_VERSION

/* Both sides are written all the time, one a moment behind the other: nothing may be reported. The
 * servers' own replication keeps them in step, so the side that follows is given as the source. */
static void check_writes(const char *version, const char *follower_version)
{
    struct test_server master, follower;
    if (!test_server_available(version) || !test_server_available(follower_version)) {
        skip();
    }
    test_server_start(&master, version, NULL);
    test_server_start(&follower, follower_version, rig_sparse);
    test_server_replicate(&follower, &master);
    const struct writer_options options = {
        .port = master.port, .seed = 7, .key_count = 50, .rate_max = 3000, .db_count = 2};
    struct writer *writer = writer_start(&options);
    uint64_t deadline = test_deadline(10000);
    while (writer_count(writer) < 3000) {
        test_poll(deadline, "writes");
    }
    /* A 7.0 master begins to stream up to a second after the replica's link is up. */
    redisContext *client = test_connect(follower.port);
    while (test_command_integer(client, "DBSIZE") == 0) {
        test_poll(deadline, "the follower's first keys");
    }
    redisFree(client);
    rig_config_reset(follower.port, master.port);
    rig_config.verify_rounds = 10;
    rig_config.verify_interval_ms = 50;
    for (int i = 0; i < 3; i++) {
        uint64_t before = writer_count(writer);
        rig_run_ok();
        rig_expect_none();
        if (rig_result.keys_compared == 0) {
            fail_msg("nothing compared: %llu keys at the source, %llu at the destination",
                     (unsigned long long)rig_result.keys_source,
                     (unsigned long long)rig_result.keys_destination);
        }
        deadline = test_deadline(10000);
        while (writer_count(writer) == before) {
            test_poll(deadline, "more writes");
        }
    }
    writer_stop(writer, NULL);
    test_server_kill(&follower);
    test_server_kill(&master);
}

static void test_writes(void **state)
{
    (void)state;
    check_writes("redis-7.0", "redis-7.0");
}

static void test_writes_60_70(void **state)
{
    (void)state;
    check_writes("redis-6.0", "redis-7.0");
}

static void test_writes_70_v81(void **state)
{
    (void)state;
    check_writes("redis-7.0", "valkey-8.1");
}

static void test_writes_80(void **state)
{
    (void)state;
    check_writes("redis-8.0", "redis-8.0");
}

static _Atomic bool is_counting;

static void *count_up(void *arg)
{
    redisContext *client = arg;
    while (atomic_load_acquire(&is_counting)) {
        test_command_ok(client, "INCR counter");
    }
    return NULL;
}

/* A key that nobody carries over while the source changes it: reported, and what is not known about
 * it is said. */
static void test_still_changing(void **state)
{
    (void)state;
    struct rig rig;
    rig_open(&rig, SERVER, NULL, SERVER, NULL);
    test_command_ok(rig.clients[0], "SET counter 1");
    test_command_ok(rig.clients[1], "SET counter 0");
    atomic_store_release(&is_counting, true);
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, count_up, rig.clients[0]), 0);
    rig_run_ok();
    atomic_store_release(&is_counting, false);
    pthread_join(thread, NULL);
    assert_int_equal(rig_seen.count, 1);
    rig_expect_seen("counter", SYN_DIFFERENCE_VALUE, "still changing");
    rig_close(&rig);
}

/* A difference that stays is told apart from one that moves although the source's bytes change: who
 * polls a group is seen, and seen is not compared. */
static void *poll_group(void *arg)
{
    redisContext *client = arg;
    while (atomic_load_acquire(&is_counting)) {
        test_command_ok(client, "XREADGROUP GROUP g ann STREAMS s >");
    }
    return NULL;
}

static void test_polled(void **state)
{
    (void)state;
    struct rig rig;
    rig_open(&rig, SERVER, NULL, SERVER, NULL);
    rig_both(&rig, "XADD s 1-1 f v");
    rig_both(&rig, "XGROUP CREATE s g $");
    rig_both(&rig, "XGROUP CREATECONSUMER s g ann");
    test_command_ok(rig.clients[1], "XADD s 2-1 f v");
    atomic_store_release(&is_counting, true);
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, poll_group, rig.clients[0]), 0);
    rig_run_ok();
    atomic_store_release(&is_counting, false);
    pthread_join(thread, NULL);
    assert_int_equal(rig_seen.count, 1);
    rig_expect_seen("s", SYN_DIFFERENCE_VALUE, "other entries, last id");
    assert_null(strstr(rig_seen.list[0].detail, "still changing"));
    rig_close(&rig);
}

/* Fields whose time has come are kept for a while, by one side or by both: no difference, nor are
 * hashes that consist of them. */
static void check_fields(const char *source, const char *destination)
{
    static const char *const debug[] = {"--enable-debug-command", "yes", NULL};
    struct rig rig;
    if (!rig_open(&rig, source, debug, destination, debug)) {
        skip();
    }
    long long soon = clock_unix_ms() + 300;
    test_command_ok(rig.clients[0], "DEBUG SET-ACTIVE-EXPIRE 0");
    rig_both(&rig, "HSET partly a 1 b 2 c 3");
    rig_both(&rig, "HPEXPIREAT partly %lld FIELDS 1 b", soon);
    rig_both(&rig, "HPEXPIREAT partly %lld FIELDS 1 c", soon + 10000000);
    rig_both(&rig, "HSET wholly a 1 b 2");
    rig_both(&rig, "HPEXPIREAT wholly %lld FIELDS 2 a b", soon);
    rig_both(&rig, "SET other 1");
    rig_run_ok();
    rig_expect_none();
    uint64_t deadline = test_deadline(10000);
    while (test_command_integer(rig.clients[1], "EXISTS wholly") == 1) {
        rig_run_ok(); /* before, during and after */
        rig_expect_none();
        test_poll(deadline, "the fields' time");
    }
    rig_run_ok();
    rig_expect_none();
    test_command_ok(rig.clients[1], "HDEL partly a");
    rig_run_ok();
    assert_int_equal(rig_seen.count, 1);
    rig_expect_seen("partly", SYN_DIFFERENCE_VALUE, "hash: 2 elements at the source, 1 at the");
    rig_close(&rig);
}

static void test_fields_80(void **state)
{
    (void)state;
    check_fields("redis-8.0", "redis-8.0");
}

static void test_fields_80_v9(void **state)
{
    (void)state;
    check_fields("redis-8.0", "valkey-9");
}

int main(int argc, char **argv)
{
    if (argc > 1) {
        cmocka_set_test_filter(argv[1]); /* one test by its name, for people */
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_writes),
        cmocka_unit_test(test_writes_60_70),
        cmocka_unit_test(test_writes_70_v81),
        cmocka_unit_test(test_writes_80),
        cmocka_unit_test(test_still_changing),
        cmocka_unit_test(test_polled),
        cmocka_unit_test(test_fields_80),
        cmocka_unit_test(test_fields_80_v9),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
