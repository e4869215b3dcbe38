/* Every recorded RDB file into every version, and the files of a cluster's shards into a cluster of
 * another size. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <float.h>
#include <math.h>
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

/* ---- what is in no recorded file ---- */

static const char *const destinations[] = {
    "redis-6.0", "redis-7.0", "redis-8.0", "valkey-8.1", "valkey-9", NULL};

/* The files of the latest servers of both families, with encodings and fields that expire that
 * earlier ones do not know, and groups with entries pending that are deleted. */
static void latest_into_all(const char *version)
{
    struct live_side from;
    char path[300], uri[320];
    if (!test_server_available(version))
        return;
    live_side_start(&from, version, 0, 0, NULL);
    redisContext *redis = live_redis(&from);
    dataset_load(from.client, 63, 12);
    test_command_ok(redis, "FUNCTION FLUSH");
    test_command_ok(redis, "HSET fields a 1 b 2 c 3");
    freeReplyObject(test_command(redis, "HPEXPIREAT fields 4102444800123 FIELDS 2 a b"));
    test_command_ok(redis, "XADD groups 1-1 f v");
    test_command_ok(redis, "XADD groups 2-1 f v");
    test_command_ok(redis, "XGROUP CREATE groups g 0");
    freeReplyObject(test_command(redis, "XREADGROUP GROUP g c COUNT 2 STREAMS groups >"));
    test_command_ok(redis, "XDEL groups 1-1");
    snprintf(uri, sizeof(uri), "file://%s", file_save(redis, &from.server, path));
    for (int i = 0; destinations[i] != NULL; i++) {
        if (!test_server_available(destinations[i]))
            continue;
        print_message("%s into %s\n", version, destinations[i]);
        file_other_start(destinations[i], 0);
        file_load(uri, "--on-unsupported", "degrade", NULL);
        assert_int_equal(live_differences(&from, file_destination), 0);
        file_verify(uri);
        redisReply *reply = test_command(live_redis(file_destination), "XPENDING groups g");
        assert_int_equal(reply->element[0]->integer, 2); /* also the deleted one */
        freeReplyObject(reply);
        file_other_stop();
    }
    live_side_stop(&from);
}

static void test_redis_8_0_into_all(void **state)
{
    (void)state;
    latest_into_all("redis-8.0");
}

static void test_valkey_9_into_all(void **state)
{
    (void)state;
    latest_into_all("valkey-9");
}

static char *write_rdb(const char *name, const void *bytes, size_t size, char uri[320])
{
    char path[300];
    snprintf(path, sizeof(path), "%s/%s", test_folder(), name);
    FILE *file = fopen(path, "w");
    if (file == NULL || fwrite(bytes, 1, size, file) != size || fclose(file) != 0)
        test_fatal("cannot write %s", path);
    snprintf(uri, 320, "file://%s", path);
    return uri;
}

static void expect_score(const char *key, const char *member, double score)
{
    redisReply *reply = test_command(live_redis(file_destination), "ZSCORE %s %s", key, member);
    assert_int_equal(reply->type, REDIS_REPLY_STRING);
    double got = strtod(reply->str, NULL);
    if (!(got == score))
        fail_msg("%s %s: %s", key, member, reply->str);
    freeReplyObject(reply);
}

/* Scores as text and as bits: infinite ones, a negative zero, all 17 digits, the largest and the
 * least. */
static void test_odd_scores(void **state)
{
    (void)state;
    static const char rdb[] = "REDIS0008\xfe\0"
                              "\3\4text\5\1a\xfe\1b\xff\1c\2-0\1d\x13"
                              "0.10000000000000001"
                              "\1e\x12"
                              "17.123456789012345"
                              "\5\4bits\6"
                              "\1a\0\0\0\0\0\0\xf0\x7f"
                              "\1b\0\0\0\0\0\0\xf0\xff"
                              "\1c\0\0\0\0\0\0\0\x80"
                              "\1d\x9a\x99\x99\x99\x99\x99\xb9?"
                              "\1e\xff\xff\xff\xff\xff\xff\xef\x7f"
                              "\1f\1\0\0\0\0\0\0\0"
                              "\xff\0\0\0\0\0\0\0"; /* and the NUL: no checksum */
    char uri[320];
    write_rdb("scores.rdb", rdb, sizeof(rdb), uri);
    for (int i = 0; destinations[i] != NULL; i++) {
        if (!test_server_available(destinations[i]))
            continue;
        file_other_start(destinations[i], 0);
        file_load(uri, NULL);
        file_verify(uri);
        static const char *const keys[] = {"text", "bits"};
        for (int n = 0; n < 2; n++) {
            expect_score(keys[n], "a", HUGE_VAL);
            expect_score(keys[n], "b", -HUGE_VAL);
            expect_score(keys[n], "c", 0);
            expect_score(keys[n], "d", 0.1);
        }
        expect_score("text", "e", 17.123456789012345);
        expect_score("bits", "e", DBL_MAX);
        expect_score("bits", "f", DBL_TRUE_MIN);
        file_other_stop();
    }
}

/* No server lets a score be no number: such a value is damaged, and told as such, or set aside. */
static void test_score_that_is_no_number(void **state)
{
    (void)state;
    static const char rdb[] = "REDIS0008\xfe\0"
                              "\3\4text\1\1a\xfd"
                              "\5\4bits\1\1a\0\0\0\0\0\0\xf8\x7f"
                              "\0\4good\1v"
                              "\xff\0\0\0\0\0\0\0";
    char uri[320];
    struct test_cli cli;
    write_rdb("nan.rdb", rdb, sizeof(rdb), uri);
    file_spawn(&cli, uri, NULL);
    live_expect_end(&cli, 5, "a score that is no number", NULL);
    file_side_empty(file_destination);
    file_spawn(&cli, uri, "--on-corrupt", "skip", NULL);
    live_expect_end(&cli, 0, NULL);
    json_t *result = live_event(&cli, "result");
    assert_int_equal(json_integer_value(json_object_get(result, "values_corrupt")), 2);
    json_decref(result);
    assert_int_equal(dataset_key_count(file_destination->client), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_fixtures_into_redis_6_0, file_rig_empty),
        cmocka_unit_test_setup(test_fixtures_into_redis_7_0, file_rig_empty),
        cmocka_unit_test_setup(test_fixtures_into_redis_8_0, file_rig_empty),
        cmocka_unit_test_setup(test_fixtures_into_valkey_8_1, file_rig_empty),
        cmocka_unit_test_setup(test_fixtures_into_valkey_9, file_rig_empty),
        cmocka_unit_test_setup(test_redis_8_0_into_all, file_rig_empty),
        cmocka_unit_test_setup(test_valkey_9_into_all, file_rig_empty),
        cmocka_unit_test_setup(test_odd_scores, file_rig_empty),
        cmocka_unit_test_setup(test_score_that_is_no_number, file_rig_empty),
        cmocka_unit_test_setup(test_into_a_cluster, file_rig_empty),
        cmocka_unit_test_setup(test_shards_into_another_cluster, file_rig_empty),
    };
    cmocka_set_test_filter(getenv("SYNCLINE_TEST_FILTER"));
    if (!test_cli_available())
        return 77;
    return cmocka_run_group_tests(tests, file_rig_start, file_rig_stop);
}
