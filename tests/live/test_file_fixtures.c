/* Every recorded RDB file into every version, and the files of a cluster's shards into a cluster of
 * another size. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/live/file_rig.h"

static void load_fixtures(const char *version)
{
    if (!test_server_available(version))
        return;
    file_other_start(version, 0);
    for (const struct live_fixture *fixture = live_fixtures; fixture->name != NULL; fixture++) {
        char uri[512];
        print_message("%s into %s\n", fixture->name, version);
        file_load(live_fixture_uri(fixture, uri), "--on-unsupported", "degrade", NULL);
        live_assert_expected(fixture, file_destination, false);
        file_verify(uri);
        file_side_empty(file_destination);
    }
    file_other_stop();
}

/* D4: files of servers from 2.6 to Valkey 9.1 are at the destination what their servers said of
 * them, in versions earlier and later: types, elements, scores to the last bit, expiries, streams
 * with their groups. */
static void test_fixtures_into_redis_6_0(void **state)
{
    (void)state;
    load_fixtures("redis-6.0");
}

static void test_fixtures_into_redis_7_0(void **state)
{
    (void)state;
    load_fixtures("redis-7.0");
}

static void test_fixtures_into_redis_8_0(void **state)
{
    (void)state;
    load_fixtures("redis-8.0");
}

static void test_fixtures_into_valkey_8_1(void **state)
{
    (void)state;
    load_fixtures("valkey-8.1");
}

static void test_fixtures_into_valkey_9(void **state)
{
    (void)state;
    load_fixtures("valkey-9");
}

/* Keys go to the shards that own them; databases that a cluster does not have are named, and left
 * out with --db. */
static void test_into_a_cluster(void **state)
{
    (void)state;
    char uri[512];
    struct test_cli cli;
    file_other_start(TEST_REQUIRED_VERSION, 3);
    file_spawn(&cli, live_fixture_uri(&live_fixtures[0], uri), NULL);
    live_expect_end(&cli, 7, "--db", "cluster", "database", NULL);
    for (const struct live_fixture *fixture = live_fixtures; fixture->name != NULL; fixture++) {
        file_side_empty(file_destination);
        file_load(live_fixture_uri(fixture, uri), "--db", "0", "--on-unsupported", "degrade", NULL);
        live_assert_expected(fixture, file_destination, true);
    }
    file_other_stop();
}

/* S8: the files of a cluster's shards are one deployment: into a cluster of another size. */
static void test_shards_into_another_cluster(void **state)
{
    (void)state;
    struct live_side cluster;
    char uri[1200] = "";
    live_side_start(&cluster, TEST_REQUIRED_VERSION, 3, 0, NULL);
    file_other_start(TEST_REQUIRED_VERSION, 2);
    dataset_load(cluster.client, 61, 60);
    for (uint32_t i = 0; i < 3; i++) {
        char path[300];
        redisContext *context = test_connect(cluster.cluster.nodes[i].port);
        file_save(context, &cluster.cluster.nodes[i], path);
        redisFree(context);
        size_t used = strlen(uri);
        snprintf(uri + used, sizeof(uri) - used, "%s%s", i > 0 ? "," : "file://", path);
    }
    file_load(uri, "--decoders", "2", "--readers", "2", NULL);
    live_assert_equal(&cluster, file_destination);
    file_verify(uri);
    /* One reader and one decoder for all. */
    file_side_empty(file_destination);
    file_load(uri, "--decoders", "1", "--readers", "1", "--memory", "8m", NULL);
    live_assert_equal(&cluster, file_destination);
    live_side_stop(&cluster);
    file_other_stop();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_fixtures_into_redis_6_0, file_rig_empty),
        cmocka_unit_test_setup(test_fixtures_into_redis_7_0, file_rig_empty),
        cmocka_unit_test_setup(test_fixtures_into_redis_8_0, file_rig_empty),
        cmocka_unit_test_setup(test_fixtures_into_valkey_8_1, file_rig_empty),
        cmocka_unit_test_setup(test_fixtures_into_valkey_9, file_rig_empty),
        cmocka_unit_test_setup(test_into_a_cluster, file_rig_empty),
        cmocka_unit_test_setup(test_shards_into_another_cluster, file_rig_empty),
    };
    cmocka_set_test_filter(getenv("SYNCLINE_TEST_FILTER"));
    if (!test_cli_available())
        return 77;
    return cmocka_run_group_tests(tests, file_rig_start, file_rig_stop);
}
