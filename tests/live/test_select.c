/*
 * Rules of selection between real servers (I6, I7, L6): a random stream of commands of every kind,
 * applied through the rules, leaves at the destination exactly the source's keys that an
 * independent matcher selects, under their new names; from a standalone server to a cluster also of
 * commands whose keys lie in several slots there. The same when the program is killed in the middle
 * of it and continued.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>

#include "tests/live/select_traffic.h"

#define KILLS 4

static struct live_side source, destination;

/* ---- round trips ---- */

static void
round_trip(const struct rule_set *set, uint64_t seed, bool has_databases, bool has_positions)
{
    struct traffic traffic = {.source = &source,
                              .destination = &destination,
                              .set = set,
                              .seed = seed,
                              .has_databases = has_databases,
                              .has_partial = has_positions};
    struct test_cli cli;
    traffic_init(&traffic);
    traffic_side_clear(&source);
    traffic_side_clear(&destination);
    traffic_send(&traffic, 3000);
    const char *positions = has_positions ? "on" : "off";
    traffic_spawn(&traffic, &cli, "sync", "--positions", positions);
    traffic_send(&traffic, 500); /* while both sides are checked and the snapshot is taken */
    live_wait_phase(&cli, "live");
    traffic_send(&traffic, 3000);
    for (uint32_t i = 0; i < test_client_count(source.client); i++) {
        test_command_ok(test_client_at(source.client, i), "CLIENT KILL TYPE replica");
    }
    traffic_send(&traffic, 3000); /* lost, and continued in the middle */
    live_wait_level(&cli, &source);
    live_wait_exact(&cli);
    traffic_compare(&traffic);
    assert_int_equal(live_total(&cli, "partial_dropped"), 0);
    assert_true(live_total(&cli, "keys_dropped") > 0);
    assert_int_equal(live_total(&cli, "keys_refetched") > 0, has_positions);
    assert_int_equal(live_total(&cli, "diverged_relay"), 0);
    assert_int_equal(live_total(&cli, "relayed") > 0, traffic_is_cross_slot(&traffic));
    live_stop(&cli);
    traffic_assert_verified(&traffic);
    assert_true(traffic.sent > 6000);
}

static void run_version(const char *version,
                        uint32_t source_masters,
                        uint32_t destination_masters,
                        size_t first,
                        size_t step)
{
    live_side_start(&source, version, source_masters, 0, NULL);
    live_side_start(&destination, version, destination_masters, 0, NULL);
    for (size_t i = first; i < TRAFFIC_RULE_SETS; i += step) {
        bool has_databases = source_masters == 0 && destination_masters == 0;
        round_trip(&traffic_rule_sets[i],
                   1000 * (source_masters + 1) + 10 * destination_masters + i,
                   has_databases,
                   i % 3 != 2);
    }
    live_side_stop(&source);
    live_side_stop(&destination);
}

static void
run_sets(uint32_t source_masters, uint32_t destination_masters, size_t first, size_t step)
{
    run_version(TEST_REQUIRED_VERSION, source_masters, destination_masters, first, step);
}

/* What servers propagate differs by version (UNLINK for DEL, transactions around more). */
static void test_other_versions(void **state)
{
    (void)state;
    static const char *const versions[] = {"redis-8.0", "valkey-8.1", "valkey-9"};
    for (size_t i = 0; i < sizeof(versions) / sizeof(versions[0]); i++) {
        if (test_server_available(versions[i])) {
            run_version(versions[i], 0, 0, i % 3, 3);
        }
    }
}

static void test_standalone(void **state)
{
    (void)state;
    run_sets(0, 0, 0, 1);
}

static void test_to_cluster(void **state)
{
    (void)state;
    run_sets(0, 2, 0, 1);
}

static void test_from_cluster(void **state)
{
    (void)state;
    run_sets(2, 0, 0, 2);
}

static void test_between_clusters(void **state)
{
    (void)state;
    run_sets(2, 3, 1, 2);
}

/* ---- killed ---- */

/* Killed in the middle of it and continued: counters, appended strings and lists would show for
 * ever what was done twice or not at all. */
static void torture(uint32_t source_masters,
                    uint32_t destination_masters,
                    const struct rule_set *set,
                    uint64_t seed)
{
    static const char *const backlog[] = {"--repl-backlog-size", "256mb", NULL};
    struct traffic traffic = {.source = &source,
                              .destination = &destination,
                              .set = set,
                              .seed = seed,
                              .has_databases = source_masters + destination_masters == 0,
                              .has_partial = true};
    struct test_cli cli;
    traffic_init(&traffic);
    live_side_start(&source, TEST_REQUIRED_VERSION, source_masters, 0, backlog);
    live_side_start(&destination, TEST_REQUIRED_VERSION, destination_masters, 0, NULL);
    traffic_send(&traffic, 1000);
    traffic_spawn(&traffic, &cli, "sync", NULL, NULL);
    live_wait_phase(&cli, "live");
    for (int i = 0; i < KILLS; i++) {
        struct test_server *shard = traffic_is_cross_slot(&traffic)
                                        ? &destination.cluster.nodes[i % destination_masters]
                                        : NULL;
        traffic_send(&traffic, 300 + random_below(&traffic.random, 1500));
        if (shard != NULL) { /* what it must answer waits, and keys of others are held */
            test_server_freeze(shard);
            traffic_send(&traffic, 300);
        }
        test_cli_kill(&cli);
        if (shard != NULL) {
            test_server_thaw(shard);
        }
        traffic_send(&traffic, random_below(&traffic.random, 300));
        traffic_spawn(&traffic, &cli, "sync", NULL, NULL);
        if (random_below(&traffic.random, 3) > 0) {
            live_wait_phase(&cli, "live");
        }
    }
    traffic_send(&traffic, 500);
    live_wait_phase(&cli, "live");
    live_wait_level(&cli, &source);
    live_wait_exact(&cli);
    assert_int_equal(live_streams_sum(&cli, "snapshots"), 0);
    traffic_compare(&traffic);
    live_stop(&cli);
    traffic_assert_verified(&traffic);
    live_side_stop(&source);
    live_side_stop(&destination);
}

static void test_killed(void **state)
{
    (void)state;
    for (size_t i = 0; i < TRAFFIC_RULE_SETS; i += 2) {
        torture(0, 0, &traffic_rule_sets[i], 7000 + i);
    }
    torture(0, 0, &traffic_rule_sets[3], 7003);
    torture(0, 2, &traffic_rule_sets[0], 7100);
    torture(0, 2, &traffic_rule_sets[2], 7102);
    torture(0, 3, &traffic_rule_sets[3], 7103);
    torture(0, 3, &traffic_rule_sets[4], 7104);
    torture(2, 0, &traffic_rule_sets[1], 7201);
    torture(2, 3, &traffic_rule_sets[4], 7304);
    torture(2, 2, &traffic_rule_sets[0], 7300);
}

/* A key of one database that is to be read anew, and COPY and MOVE between that and another: what
 * they would do is not known, so their keys in both are read. Killed, so that all of it comes
 * before anything is read. */
static void test_killed_between_databases(void **state)
{
    (void)state;
    static const char *const later[] = {"SELECT 2",
                                        "RENAME tmp:1 from", /* read anew, from here on */
                                        "COPY from to DB 0 REPLACE",
                                        "RENAME tmp:2 moved",
                                        "DEL moved",
                                        "SELECT 0",
                                        "MOVE moved 2",
                                        "COPY other again DB 2 REPLACE",
                                        "SELECT 2",
                                        "APPEND again !",
                                        "SELECT 0"};
    struct test_cli cli;
    live_side_start(&source, TEST_REQUIRED_VERSION, 0, 0, NULL);
    live_side_start(&destination, TEST_REQUIRED_VERSION, 0, 0, NULL);
    redisContext *redis = live_redis(&source);
    test_command_ok(redis, "MSET to 0 moved 1 other 2");
    test_command_ok(redis, "SELECT 2");
    test_command_ok(redis, "MSET tmp:1 a tmp:2 b from c moved d again e");
    test_command_ok(redis, "SELECT 0");
    live_spawn(&cli, &source, &destination, "--exclude-prefix", "tmp:", NULL);
    live_wait_phase(&cli, "live");
    live_wait_level(&cli, &source);
    test_cli_kill(&cli);
    for (size_t i = 0; i < sizeof(later) / sizeof(later[0]); i++) {
        test_command_ok(redis, later[i]);
    }
    live_spawn(&cli, &source, &destination, "--exclude-prefix", "tmp:", NULL);
    live_wait_phase(&cli, "live");
    live_wait_level(&cli, &source);
    assert_int_equal(live_streams_sum(&cli, "snapshots"), 0);
    live_stop(&cli);
    assert_int_equal(live_total(&cli, "keys_refetched"), 4);
    assert_int_equal(live_db_differences(redis, 0, live_redis(&destination), 0), 0);
    assert_int_equal(live_db_differences(redis, 2, live_redis(&destination), 2), 0);
    live_assert_verified(&source, &destination, "--exclude-prefix", "tmp:", NULL);
    live_side_stop(&source);
    live_side_stop(&destination);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_standalone),
        cmocka_unit_test(test_other_versions),
        cmocka_unit_test(test_to_cluster),
        cmocka_unit_test(test_from_cluster),
        cmocka_unit_test(test_between_clusters),
        cmocka_unit_test(test_killed),
        cmocka_unit_test(test_killed_between_databases),
    };
    cmocka_set_test_filter(getenv("SYNCLINE_TEST_FILTER"));
    if (!test_cli_available())
        return 77;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
