/* Verification against real servers: what is compared with what, how it is counted and reported,
 * and how it ends. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "tests/engine/verify_rig.h"
#include "tests/support/dataset.h"

#define SERVER TEST_REQUIRED_VERSION

/* Copies in the same and in another encoding are equal, from either side; the counters say how it
 * was found out. */
static void test_equal(void **state)
{
    (void)state;
    struct test_server a, same, other;
    test_server_start(&a, SERVER, NULL);
    test_server_start(&same, SERVER, NULL);
    test_server_start(&other, SERVER, rig_sparse);
    struct test_client *client = test_client_new(a.port);
    dataset_load(client, 42, 40);
    uint64_t keys = dataset_key_count(client);
    test_client_free(client);
    rig_copy(&a, &same);
    rig_copy(&a, &other);
    rig_config_reset(a.port, same.port);
    rig_run_ok();
    rig_expect_none();
    assert_int_equal(rig_result.keys_source, keys);
    assert_int_equal(rig_result.keys_destination, keys);
    assert_int_equal(rig_result.keys_compared, keys);
    assert_int_equal(rig_result.equal_payload + rig_result.equal_content, keys);
    assert_true(rig_result.equal_payload > keys / 2);
    assert_int_equal(rig_result.rechecked, 0);
    rig_config_reset(a.port, other.port);
    rig_run_ok();
    rig_expect_none();
    assert_int_equal(rig_result.equal_payload + rig_result.equal_content, keys);
    assert_true(rig_result.equal_content > 0);
    rig_config_reset(other.port, a.port);
    rig_run_ok();
    rig_expect_none();
    rig_config.verify = VERIFY_FAST;
    rig_run_ok();
    rig_expect_none();
    assert_int_equal(rig_result.keys_compared, keys);
    test_server_kill(&a);
    test_server_kill(&same);
    test_server_kill(&other);
}

/* Presence, type, expiry and, in the fast mode, length; keys are binary and messages without
 * content. */
static void test_kinds(void **state)
{
    (void)state;
    struct rig rig;
    rig_open(&rig, SERVER, NULL, SERVER, NULL);
    test_command_ok(rig.clients[0], "SET missing 1");
    test_command_ok(rig.clients[1], "SET extra 1");
    test_command_ok(rig.clients[0], "SET type 1");
    test_command_ok(rig.clients[1], "RPUSH type 1");
    test_command_ok(rig.clients[0], "SET longer secret-content PX 1000000");
    test_command_ok(rig.clients[1], "SET longer secret PX 1000000");
    test_command_ok(rig.clients[0], "SET ttl 1 PX 1000000");
    test_command_ok(rig.clients[1], "SET ttl 1 PX 2000000");
    test_command_ok(rig.clients[0], "SET no-ttl 1");
    test_command_ok(rig.clients[1], "SET no-ttl 1 PX 2000000");
    test_command_ok(rig.clients[0], "SET near 1 PXAT 4000000000000");
    test_command_ok(rig.clients[1], "SET near 1 PXAT 4000000000400");
    test_command_ok(rig.clients[0], "SET %b 1", "bin\0key", (size_t)7);
    test_command_ok(rig.clients[1], "SET %b 1", "bin\0key", (size_t)7);
    for (int fast = 0; fast < 2; fast++) {
        rig_config_reset(rig.servers[0].port, rig.servers[1].port);
        rig_config.verify = fast ? VERIFY_FAST : VERIFY_FULL;
        rig_run_ok();
        rig_expect_seen(
            "missing", SYN_DIFFERENCE_MISSING, "string at the source, nothing at the dest");
        rig_expect_seen(
            "extra", SYN_DIFFERENCE_EXTRA, "string at the destination, nothing at the so");
        rig_expect_seen(
            "type", SYN_DIFFERENCE_TYPE, "string at the source, list at the destination");
        rig_expect_seen("longer",
                        fast ? SYN_DIFFERENCE_LENGTH : SYN_DIFFERENCE_VALUE,
                        fast ? "string: length 14 at the source, 6"
                             : "string: 14 bytes at the source, 6 at");
        rig_expect_seen("ttl", SYN_DIFFERENCE_TTL, "expires in ");
        rig_expect_seen("no-ttl", SYN_DIFFERENCE_TTL, "expires never at the source");
        assert_int_equal(rig_seen.count, 6);
        for (uint32_t i = 0; i < rig_seen.count; i++) {
            assert_null(strstr(rig_seen.list[i].detail, "secret"));
            assert_null(strstr(rig_seen.list[i].detail, "still changing"));
        }
        assert_int_equal(rig_result.keys_source, 7);
        assert_int_equal(rig_result.keys_destination, 7);
        assert_int_equal(rig_result.keys_compared, 6);
    }
    rig_config.verify_rounds = 0; /* the first look decides */
    rig_run_ok();
    assert_int_equal(rig_seen.count, 6);
    rig_close(&rig);
}

/* A key whose time comes during the verification is nobody's loss. */
static void test_expiry(void **state)
{
    (void)state;
    struct rig rig;
    rig_open(&rig, SERVER, NULL, SERVER, NULL);
    int64_t now = clock_unix_ms();
    for (int side = 0; side < 2; side++) {
        for (int i = 0; i < 3000; i++) {
            redisAppendCommand(
                rig.clients[side], "SET e:%d v PXAT %lld", i, (long long)now + 100 + i / 3);
        }
        for (int i = 0; i < 3000; i++) {
            redisReply *reply = NULL;
            assert_int_equal(redisGetReply(rig.clients[side], (void **)&reply), REDIS_OK);
            freeReplyObject(reply);
        }
    }
    test_command_ok(rig.clients[0], "SET due v PX 300"); /* within the tolerance of 500 ms */
    test_command_ok(rig.clients[1], "SET due-there v PX 300");
    rig_run_ok();
    rig_expect_none();
    assert_true(rig_result.expired >= 2);
    uint64_t deadline = test_deadline(5000);
    while (test_command_integer(rig.clients[0], "EXISTS e:2999") == 1) {
        rig_run_ok();
        rig_expect_none();
        test_poll(deadline, "expiry");
    }
    rig_close(&rig);
}

/* A difference that is mended between the looks is counted, not reported. */
struct mend {
    redisContext *client;
    uint32_t looks;
};

static bool mend_progress(void *arg, const struct syn_verify_result *so_far)
{
    struct mend *mend = arg;
    (void)so_far;
    if (++mend->looks == 1) {
        test_command_ok(mend->client, "SET late 1");
        test_command_ok(mend->client, "SET other 2");
        test_command_ok(mend->client, "DEL gone");
    }
    return true;
}

static void test_recheck(void **state)
{
    (void)state;
    struct rig rig;
    rig_open(&rig, SERVER, NULL, SERVER, NULL);
    test_command_ok(rig.clients[0], "MSET late 1 other 2");
    test_command_ok(rig.clients[1], "MSET other 1 gone 1");
    rig_config.verify_interval_ms = 300; /* progress is told while waiting */
    struct mend mend = {.client = rig.clients[1]};
    struct syn_err err;
    assert_true(verify_run(&rig_config, NULL, mend_progress, &mend, &rig_result, &err));
    assert_int_equal(rig_result.differences, 0);
    assert_int_equal(rig_result.rechecked, 3);
    rig_close(&rig);
}

/* Databases: only the selected ones, each against its target, in both directions. */
static void test_databases(void **state)
{
    (void)state;
    struct rig rig;
    rig_open(&rig, SERVER, NULL, SERVER, NULL);
    for (int db = 0; db < 16; db++) {
        test_command_ok(rig.clients[0], "SELECT %d", db);
        test_command_ok(rig.clients[1], "SELECT %d", db);
        test_command_ok(rig.clients[0], "MSET k:%d v only 1", db);
        test_command_ok(rig.clients[1], "MSET k:%d v only 1", db);
    }
    rig_run_ok();
    rig_expect_none();
    assert_int_equal(rig_result.keys_source, 32);
    /* 3 goes to 7, 4 stays, the rest is not selected. */
    test_command_ok(rig.clients[1], "SELECT 7");
    test_command_ok(rig.clients[1], "FLUSHDB");
    test_command_ok(rig.clients[1], "MSET k:3 v extra 1");
    rig_config.has_db_rules = true;
    for (uint32_t i = 0; i < CONFIG_DB_MAX; i++) {
        rig_config.db_map[i] = i == 3 ? 7 : i == 4 ? 4 : CONFIG_DB_NONE;
    }
    rig_run_ok();
    assert_int_equal(rig_seen.count, 2);
    rig_expect_seen("only", SYN_DIFFERENCE_MISSING, "nothing at the destination");
    rig_expect_seen("extra", SYN_DIFFERENCE_EXTRA, "nothing at the source");
    assert_int_equal(rig_seen.list[0].db, 3);
    assert_int_equal(rig_seen.list[1].db, 3);
    assert_int_equal(rig_result.keys_source, 4);
    assert_int_equal(rig_result.keys_destination, 4);
    rig_close(&rig);
}

/* Standalone against cluster, both ways round, and the cluster's replicas as the source. */
static void test_cluster(void **state)
{
    (void)state;
    struct test_server a;
    struct test_cluster cluster;
    test_server_start(&a, SERVER, rig_sparse);
    test_cluster_start(&cluster, SERVER, 3, 1, NULL);
    struct test_client *clients[] = {test_client_new(a.port),
                                     test_client_new(cluster.nodes[0].port)};
    for (int side = 0; side < 2; side++) {
        for (int i = 0; i < 3000; i++) {
            char key[32];
            snprintf(key, sizeof(key), "key:%d", i);
            test_client_send(clients[side], key, "SET %s value-%d", key, i);
            snprintf(key, sizeof(key), "hash:%d", i);
            test_client_send(clients[side], key, "HSET %s a %d b x", key, i);
        }
        test_client_flush(clients[side]);
        assert_int_equal(test_client_errors(clients[side]), 0);
    }
    rig_config_reset(a.port, cluster.nodes[1].port);
    rig_run_ok();
    rig_expect_none();
    assert_int_equal(rig_result.keys_compared, 6000);
    assert_int_equal(rig_result.equal_content, 3000);
    test_client_send(clients[1], "key:17", "SET key:17 other");
    test_client_send(clients[1], "key:18", "DEL key:18");
    test_client_send(clients[1], "extra", "SET extra 1");
    test_client_flush(clients[1]);
    rig_run_ok();
    assert_int_equal(rig_seen.count, 3);
    rig_expect_seen("key:17", SYN_DIFFERENCE_VALUE, "string");
    rig_expect_seen("key:18", SYN_DIFFERENCE_MISSING, "string");
    rig_expect_seen("extra", SYN_DIFFERENCE_EXTRA, "string");
    rig_config_reset(cluster.nodes[2].port, a.port);
    rig_config.prefer_replica = true;
    rig_config.verify_interval_ms = 200;
    rig_run_ok();
    assert_int_equal(rig_seen.count, 3);
    rig_expect_seen("key:18", SYN_DIFFERENCE_EXTRA, "string");
    assert_int_equal(rig_result.keys_source, 6000);
    test_client_free(clients[0]);
    test_client_free(clients[1]);
    test_cluster_stop(&cluster);
    test_server_kill(&a);
}

/* More differences than are kept for a second look: all are reported, and it is said. */
static void test_bound(void **state)
{
    (void)state;
    struct rig rig;
    rig_open(&rig, SERVER, NULL, SERVER, NULL);
    for (uint32_t i = 0; i < SUSPECTS_MAX + 500; i += 500) {
        test_command_ok(rig.clients[0],
                        "EVAL %s 0 %u",
                        "for i=ARGV[1]+0,ARGV[1]+499 do "
                        "redis.call('SET','k:'..i,'v') end",
                        i);
    }
    rig_config.verify_rounds = 1;
    rig_run_ok();
    assert_int_equal(rig_result.differences, SUSPECTS_MAX + 500);
    assert_non_null(strstr(rig_seen.list[0].detail, "not read again"));
    rig_close(&rig);
}

/* Stopped by the caller, a side that dies, an account that may not read: ends with an error that
 * says so, never with a result that looks complete. */
static void test_ends_early(void **state)
{
    (void)state;
    struct rig rig;
    rig_open(&rig, SERVER, NULL, SERVER, NULL);
    rig_both(&rig, "SET a 1");
    struct syn_err err;
    rig_seen.stop_after = 1;
    assert_false(rig_run(&err));
    assert_int_equal(err.code, SYN_CODE_STOPPED);
    rig_seen.stop_after = 0;
    test_command_ok(rig.clients[1], "ACL SETUSER blind on >pw ~* +@all -scan");
    snprintf(rig_config.destination.hosts[0].user, 128, "blind");
    snprintf(rig_config.destination.hosts[0].password, 128, "pw");
    assert_false(rig_run(&err));
    assert_int_equal(err.code, SYN_CODE_DESTINATION_AUTH);
    assert_non_null(strstr(err.msg, "the account lacks a permission"));
    test_command_ok(rig.clients[1], "ACL SETUSER blind +scan resetkeys ~b*");
    assert_false(rig_run(&err)); /* single keys that it may not see are no reason to look away */
    assert_int_equal(err.code, SYN_CODE_DESTINATION_AUTH);
    test_server_kill(&rig.servers[1]);
    assert_false(rig_run(&err));
    assert_int_equal(err.code, SYN_CODE_DESTINATION_CONNECT);
    rig_close(&rig);
}

/* Each allocation fails once: a clean error each time, nothing leaks, then it works. */
static void test_memory_fails(void **state)
{
    (void)state;
    struct rig rig;
    rig_open(&rig, SERVER, NULL, SERVER, rig_sparse);
    for (int side = 0; side < 2; side++) {
        rig_load(rig.clients[side], 20);
    }
    for (uint64_t n = 1;; n++) {
        struct syn_err err = {0};
        assert_true(n < 5000);
        mem_fail_at(n);
        bool ok = rig_run(&err);
        bool was_reached = mem_call_count() >= n;
        mem_fail_at(0);
        if (ok && !was_reached) {
            break;
        }
        if (!ok && err.code != SYN_CODE_MEMORY) {
            fail_msg("%llu: %s", (unsigned long long)n, err.msg);
        }
    }
    rig_expect_none();
    assert_int_equal(mem_live_bytes(MEM_ENGINE), 0);
    assert_int_equal(mem_live_bytes(MEM_APPLY), 0);
    assert_int_equal(mem_live_bytes(MEM_RDB), 0);
    rig_close(&rig);
}

int main(int argc, char **argv)
{
    if (argc > 1) {
        cmocka_set_test_filter(argv[1]); /* one test by its name, for people */
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_equal),
        cmocka_unit_test(test_kinds),
        cmocka_unit_test(test_expiry),
        cmocka_unit_test(test_recheck),
        cmocka_unit_test(test_databases),
        cmocka_unit_test(test_cluster),
        cmocka_unit_test(test_bound),
        cmocka_unit_test(test_ends_early),
        cmocka_unit_test(test_memory_fails),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
