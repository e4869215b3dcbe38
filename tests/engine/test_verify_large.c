/* Values larger than what is held: read in bounded memory, whichever way they come, and one byte of
 * them is found. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "tests/engine/verify_rig.h"
#include "tests/support/memory.h"

#define SERVER TEST_REQUIRED_VERSION

/* What would be several times as much if values were assembled: a reply, its copy, both sides. */
#define GROWTH_KIB_MAX (24L << 10)

static const char fill[] = "local t={} for i=1,ARGV[2] do "
                           "local h=redis.sha1hex(i) "
                           "if ARGV[1]=='HSET' or ARGV[1]=='ZADD' then t[#t+1]=i end "
                           "if ARGV[1]=='XADD' then redis.call('XADD',KEYS[1],i..'-1',h,h) "
                           "else t[#t+1]=h end "
                           "if #t>=1000 then redis.call(ARGV[1],KEYS[1],unpack(t)) t={} end end "
                           "return 1";

/* Large collections and strings, below the limit of DUMP: they pass as they arrive. */
static void test_dumped(void **state)
{
    (void)state;
    static const char *const types[] = {"RPUSH", "SADD", "HSET", "ZADD", "XADD"};
    struct rig rig;
    rig_open(&rig, SERVER, NULL, SERVER, rig_sparse);
    rig_config.verify_rounds = 1;
    for (int side = 0; side < 2; side++) {
        test_command_ok(rig.clients[side], "SETRANGE string %d x", 50 << 20);
        for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
            test_command_ok(rig.clients[side], "EVAL %s 1 %s %s 150000", fill, types[i], types[i]);
        }
    }
    long before = test_peak_kib();
    rig_run_ok();
    rig_expect_none();
    assert_int_equal(rig_result.keys_compared, 6);
    test_command_ok(rig.clients[1], "SETRANGE string 40000000 y");
    test_command_ok(rig.clients[1], "LSET RPUSH 100000 y");
    test_command_ok(rig.clients[1], "SREM SADD 356a192b7913b04c54574d18c28d46e6395428ab");
    test_command_ok(rig.clients[1], "HSET HSET 3 changed");
    test_command_ok(rig.clients[1], "ZINCRBY ZADD 1 356a192b7913b04c54574d18c28d46e6395428ab");
    test_command_ok(rig.clients[1], "XDEL XADD 100000-1");
    rig_run_ok();
    assert_int_equal(rig_seen.count, 6);
    rig_expect_seen("string", SYN_DIFFERENCE_VALUE, "at the destination; other bytes");
    rig_expect_seen("RPUSH", SYN_DIFFERENCE_VALUE, "other elements");
    rig_expect_seen("SADD", SYN_DIFFERENCE_VALUE, "other members");
    rig_expect_seen("HSET", SYN_DIFFERENCE_VALUE, "other values of fields");
    rig_expect_seen("ZADD", SYN_DIFFERENCE_VALUE, "other scores");
    rig_expect_seen("XADD", SYN_DIFFERENCE_VALUE, "other entries");
    long growth = test_peak_kib() - before;
    if (growth > GROWTH_KIB_MAX) {
        fail_msg("memory grew by %ld KiB", growth);
    }
    rig_close(&rig);
}

/* Values beyond what is dumped: by commands; also where the account may not ask for their size. */
static void check_huge(bool has_sizes)
{
    struct rig rig;
    rig_open(&rig, SERVER, NULL, SERVER, NULL);
    rig_config.verify_rounds = 1; /* each look takes its time */
    rig_both(&rig, "SETRANGE huge %d x", 70 << 20);
    rig_both(&rig, "SET huge-ttl x PX 10000000");
    rig_both(&rig, "SETRANGE huge-ttl %d x", 65 << 20);
    rig_both(&rig, "EVAL %s 1 biglist RPUSH 1800000", fill);
    rig_both(&rig, "SET small 1");
    for (int side = 0; side < 2; side++) {
        rig_load(rig.clients[side], 100);
        if (!has_sizes) {
            test_command_ok(rig.clients[side], "ACL SETUSER blind on >pw ~* +@all -memory");
            struct endpoint *endpoint =
                side == 0 ? &rig_config.source.hosts[0] : &rig_config.destination.hosts[0];
            snprintf(endpoint->user, sizeof(endpoint->user), "blind");
            snprintf(endpoint->password, sizeof(endpoint->password), "pw");
        }
    }
    long before = test_peak_kib();
    rig_run_ok();
    rig_expect_none();
    assert_int_equal(rig_result.keys_compared, 12);
    test_command_ok(rig.clients[1], "SETRANGE huge 50000000 y");
    test_command_ok(rig.clients[1], "PERSIST huge-ttl");
    test_command_ok(rig.clients[1], "LSET biglist 1750000 y");
    rig_run_ok();
    assert_int_equal(rig_seen.count, 3);
    rig_expect_seen("huge", SYN_DIFFERENCE_VALUE, "at the destination; other bytes");
    rig_expect_seen("huge-ttl", SYN_DIFFERENCE_TTL, "never at the destination");
    rig_expect_seen("biglist", SYN_DIFFERENCE_VALUE, "other elements");
    assert_true(test_peak_kib() - before < GROWTH_KIB_MAX);
    rig_close(&rig);
}

static void test_huge(void **state)
{
    (void)state;
    check_huge(true);
}

static void test_huge_unsized(void **state)
{
    (void)state;
    check_huge(false);
}

/* Only the destination's value is huge, so that nobody asked for its size there: it comes by DUMP,
 * and is not held. */
static void test_surprise(void **state)
{
    (void)state;
    struct rig rig;
    rig_open(&rig, SERVER, NULL, SERVER, NULL);
    rig_both(&rig, "SETRANGE large %d x", 70 << 20); /* so that sizes are asked for */
    rig_both(&rig, "SET surprise x");
    test_command_ok(rig.clients[1], "SETRANGE surprise %d x", 80 << 20);
    test_command_ok(rig.clients[1], "SETRANGE extra %d x", 80 << 20);
    long before = test_peak_kib();
    rig_run_ok();
    assert_int_equal(rig_seen.count, 2);
    rig_expect_seen(
        "surprise", SYN_DIFFERENCE_VALUE, "1 bytes at the source, 83886081 at the destination");
    rig_expect_seen("extra", SYN_DIFFERENCE_EXTRA, "string at the destination");
    assert_true(test_peak_kib() - before < GROWTH_KIB_MAX);
    rig_close(&rig);
}

/* Hashes with times of fields that differ within the tolerance, kept, passing, and by commands;
 * then one that does not. */
static void check_times(const char *source, const char *destination, bool is_refused)
{
    static const char make[] = "for i=1,ARGV[1] do redis.call('HSET',KEYS[1],redis.sha1hex(i),i) "
                               "redis.call('HPEXPIREAT',KEYS[1],4000000000000+i*ARGV[2],"
                               "'FIELDS',1,redis.sha1hex(i)) end return 1";
    struct rig rig;
    if (!rig_open(&rig, source, NULL, destination, NULL)) {
        skip();
    }
    for (int side = 0; side < 2; side++) {
        test_command_ok(rig.clients[side], "EVAL %s 1 small 20 %d", make, 1 + side);
        test_command_ok(rig.clients[side], "EVAL %s 1 large 20000 1", make);
    }
    test_command_ok(rig.clients[1],
                    "HPEXPIREAT large 4000000010400 FIELDS 1 %s",
                    "8a12a315082a345f1a9d3ad14b214cd36d310cf8"); /* 10000 */
    if (is_refused) {
        test_command_ok(rig.clients[1], "ACL SETUSER blind on >pw ~* +@all -dump");
        snprintf(rig_config.destination.hosts[0].user, 128, "blind");
        snprintf(rig_config.destination.hosts[0].password, 128, "pw");
    }
    rig_run_ok();
    rig_expect_none();
    assert_int_equal(rig_result.equal_content, 2);
    for (int i = 0; i < 2; i++) {
        test_command_ok(rig.clients[1],
                        "HPEXPIREAT %s 4000000020700 FIELDS 1 %s",
                        i == 0 ? "small" : "large",
                        "356a192b7913b04c54574d18c28d46e6395428ab"); /* 1 */
    }
    rig_run_ok();
    assert_int_equal(rig_seen.count, 2);
    rig_expect_seen("small", SYN_DIFFERENCE_VALUE, "other expiry times of fields");
    rig_expect_seen("large", SYN_DIFFERENCE_VALUE, "other expiry times of fields");
    rig_close(&rig);
}

static void test_times(void **state)
{
    (void)state;
    check_times("redis-8.0", "redis-8.0", false);
    check_times("valkey-9", "redis-8.0", false);
}

static void test_times_refused(void **state)
{
    (void)state;
    check_times("redis-8.0", "valkey-9", true);
}

int main(int argc, char **argv)
{
    if (argc > 1) {
        cmocka_set_test_filter(argv[1]); /* one test by its name, for people */
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_dumped),
        cmocka_unit_test(test_huge),
        cmocka_unit_test(test_huge_unsized),
        cmocka_unit_test(test_surprise),
        cmocka_unit_test(test_times),
        cmocka_unit_test(test_times_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
