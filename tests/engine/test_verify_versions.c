/* Equal data of all types is equal between any two versions, in any encoding, from either side; the
 * counters say how it was found out. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "tests/engine/verify_rig.h"
#include "tests/support/dataset.h"

#define KEYS_PER_TYPE 16

static void expect_equal(uint16_t source, uint16_t destination, uint64_t keys)
{
    uint64_t tolerance = rig_config.ttl_tolerance_ms;
    rig_config_reset(source, destination);
    rig_config.ttl_tolerance_ms = tolerance;
    rig_run_ok();
    rig_expect_none();
    assert_int_equal(rig_result.keys_source, keys);
    assert_int_equal(rig_result.keys_destination, keys);
    assert_int_equal(rig_result.keys_compared, keys);
    assert_int_equal(rig_result.equal_payload + rig_result.equal_content, keys);
}

/* A copy by the servers' own replication, which only goes to later versions; compared both ways. */
static void check_copy(const char *from, const char *to, const char *const *arguments)
{
    struct rig rig;
    if (!rig_open(&rig, from, NULL, to, arguments)) {
        skip();
    }
    struct test_client *client = test_client_new(rig.servers[0].port);
    dataset_load(client, 42, KEYS_PER_TYPE);
    uint64_t keys = dataset_key_count(client);
    test_client_free(client);
    rig_load(rig.clients[0], 30);
    keys += 8;
    rig_copy(&rig.servers[0], &rig.servers[1]);
    expect_equal(rig.servers[0].port, rig.servers[1].port, keys);
    assert_true(rig_result.equal_payload > 0);
    assert_true(rig_result.equal_content > 0);
    expect_equal(rig.servers[1].port, rig.servers[0].port, keys);
    rig_close(&rig);
}

#define COPY(name, from, to, arguments)                                                            \
    static void name(void **state)                                                                 \
    {                                                                                              \
        (void)state;                                                                               \
        check_copy(from, to, arguments);                                                           \
    }

COPY(test_60_70, "redis-6.0", "redis-7.0", NULL)
COPY(test_60_80, "redis-6.0", "redis-8.0", NULL)
COPY(test_60_v80, "redis-6.0", "valkey-8.0", rig_sparse)
COPY(test_60_v9, "redis-6.0", "valkey-9", NULL)
COPY(test_70_70, "redis-7.0", "redis-7.0", rig_sparse)
COPY(test_70_80, "redis-7.0", "redis-8.0", rig_sparse)
COPY(test_70_v80, "redis-7.0", "valkey-8.0", NULL)
COPY(test_70_v81, "redis-7.0", "valkey-8.1", NULL)
COPY(test_70_v9, "redis-7.0", "valkey-9", rig_sparse)
COPY(test_v81_v9, "valkey-8.1", "valkey-9", rig_sparse)

/* The families do not replicate each other's latest formats: the same commands at both. What counts
 * from the clock differs by the time between them, hashes' fields included. */
static void check_loaded(const char *from, const char *to)
{
    struct rig rig;
    if (!rig_open(&rig, from, NULL, to, rig_sparse)) {
        skip();
    }
    uint64_t keys = 0;
    for (int side = 0; side < 2; side++) {
        struct test_client *client = test_client_new(rig.servers[side].port);
        dataset_load(client, 42, KEYS_PER_TYPE);
        keys = dataset_key_count(client);
        test_client_free(client);
    }
    rig_config.ttl_tolerance_ms = 600000;
    expect_equal(rig.servers[0].port, rig.servers[1].port, keys);
    expect_equal(rig.servers[1].port, rig.servers[0].port, keys);
    rig_close(&rig);
}

static void test_80_v9(void **state)
{
    (void)state;
    check_loaded("redis-8.0", "valkey-9");
}

static void test_80_80(void **state)
{
    (void)state;
    check_loaded("redis-8.0", "redis-8.0");
}

/* Zeros of both signs, and digits: a server that packs a sorted set again loses the sign. */
static void check_scores(const char *from, const char *to)
{
    struct rig rig;
    if (!rig_open(&rig, from, rig_sparse, to, NULL)) {
        skip();
    }
    test_command_ok(rig.clients[0], "ZADD zset -0.0 a 0 b 0.30000000000000004 c 1e308 d inf e");
    test_command_ok(rig.clients[1], "ZADD zset 0 a -0.0 b 0.30000000000000004 c 1e308 d +inf e");
    rig_run_ok();
    rig_expect_none();
    assert_int_equal(rig_result.equal_content, 1);
    rig_close(&rig);
}

static void test_scores(void **state)
{
    (void)state;
    check_scores("redis-7.0", "redis-7.0");
    check_scores("redis-7.0", "redis-6.0");
    check_scores("redis-6.0", "redis-8.0");
}

/* A group whose entries-read one side does not know: nothing to compare. */
static void test_unknown_reads(void **state)
{
    (void)state;
    struct rig rig;
    rig_open(&rig, "redis-7.0", NULL, "redis-7.0", NULL);
    rig_both(&rig, "XADD s 1-1 f v");
    rig_both(&rig, "XADD s 2-1 f v");
    test_command_ok(rig.clients[0], "XGROUP CREATE s g 1-1");
    test_command_ok(rig.clients[1], "XGROUP CREATE s g 1-1 ENTRIESREAD 1");
    rig_run_ok();
    rig_expect_none();
    test_command_ok(rig.clients[0], "XGROUP SETID s g 1-1 ENTRIESREAD 2");
    rig_run_ok();
    assert_int_equal(rig_seen.count, 1);
    rig_expect_seen("s", SYN_DIFFERENCE_VALUE, "not always replicated: other entries-read");
    rig_close(&rig);
}

/* Vector sets: their elements count, not the order and the graph that each server makes of them,
 * whether they were loaded or built anew. */
static void test_vectors(void **state)
{
    (void)state;
    struct rig rig;
    if (!rig_open(&rig, "redis-8.0", NULL, "redis-8.0", rig_sparse)) {
        skip();
    }
    if (!test_has_command(rig.clients[0], "vadd")) {
        rig_close(&rig);
        skip();
    }
    for (int i = 0; i < 300; i++) {
        rig_both(&rig, "VADD built VALUES 3 %d %d %d element-%d", i, i * i % 17, 3, i);
        test_command_ok(
            rig.clients[0], "VADD loaded VALUES 3 %d %d 1 element-%d SETATTR %d", i, i % 7, i, i);
    }
    redisReply *dump = test_command(rig.clients[0], "DUMP loaded");
    test_command_ok(rig.clients[1], "RESTORE loaded 0 %b", dump->str, dump->len);
    freeReplyObject(dump);
    rig_run_ok();
    rig_expect_none();
    assert_int_equal(rig_result.equal_content, 2);
    static const char *const spoil[] = {"VSETATTR loaded element-7 other",
                                        "VADD built VALUES 3 5 5 5 element-7",
                                        "VREM loaded element-8"};
    for (size_t i = 0; i < sizeof(spoil) / sizeof(spoil[0]); i++) {
        test_command_ok(rig.clients[1], spoil[i]);
        rig_run_ok();
        assert_int_equal(rig_seen.count, i == 0 ? 1 : 2);
        rig_expect_seen(
            i == 1 ? "built" : "loaded", SYN_DIFFERENCE_VALUE, "module value vectorset: other it");
    }
    rig_close(&rig);
}

int main(int argc, char **argv)
{
    if (argc > 1) {
        cmocka_set_test_filter(argv[1]); /* one test by its name, for people */
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_60_70),
        cmocka_unit_test(test_60_80),
        cmocka_unit_test(test_60_v80),
        cmocka_unit_test(test_60_v9),
        cmocka_unit_test(test_70_70),
        cmocka_unit_test(test_70_80),
        cmocka_unit_test(test_70_v80),
        cmocka_unit_test(test_70_v81),
        cmocka_unit_test(test_70_v9),
        cmocka_unit_test(test_v81_v9),
        cmocka_unit_test(test_80_v9),
        cmocka_unit_test(test_80_80),
        cmocka_unit_test(test_scores),
        cmocka_unit_test(test_unknown_reads),
        cmocka_unit_test(test_vectors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
