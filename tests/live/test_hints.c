/* How recently or how often keys are used decides what a full server evicts: a copy that forgets it
 * evicts the wrong keys first. Keys of every type carry the source's hints to a destination of the
 * same policy. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>
#include <stdlib.h>

#include "tests/live/live.h"

static const char *const keys[] = {
    "a string", "with expiry", "a list", "a hash", "a set", "a zset"};
#define KEYS (sizeof(keys) / sizeof(keys[0]))

/* Every key is dumped and restored with the hint that the test wants it to have. */
static void give_hint(redisContext *server, const char *key, const char *option, int value)
{
    redisReply *dump = test_command(server, "DUMP %b", key, strlen(key));
    int64_t ttl = test_command_integer(server, "PEXPIRETIME %b", key, strlen(key));
    test_command_ok(server,
                    "RESTORE %b %lld %b REPLACE ABSTTL %s %d",
                    key,
                    strlen(key),
                    (long long)(ttl < 0 ? 0 : ttl),
                    dump->str,
                    dump->len,
                    option,
                    value);
    freeReplyObject(dump);
}

static void load(redisContext *server)
{
    test_command_ok(server, "SET %b v", keys[0], strlen(keys[0]));
    test_command_ok(server, "SET %b v EX 100000", keys[1], strlen(keys[1]));
    test_command_ok(server, "RPUSH %b a b", keys[2], strlen(keys[2]));
    test_command_ok(server, "HSET %b f v", keys[3], strlen(keys[3]));
    test_command_ok(server, "SADD %b 1 2", keys[4], strlen(keys[4]));
    test_command_ok(server, "ZADD %b 1 m", keys[5], strlen(keys[5]));
}

static void
copy_and_compare(const char *policy, const char *option, const char *question, int base, int slack)
{
    const char *const arguments[] = {"--maxmemory", "1gb", "--maxmemory-policy", policy, NULL};
    struct live_side source;
    struct live_side destination;
    live_side_start(&source, TEST_REQUIRED_VERSION, 0, 0, arguments);
    live_side_start(&destination, TEST_REQUIRED_VERSION, 0, 0, arguments);
    redisContext *from = live_redis(&source);
    redisContext *to = live_redis(&destination);
    load(from);
    for (size_t i = 0; i < KEYS; i++) {
        give_hint(from, keys[i], option, base + (int)i);
    }
    /* To give a key its time touches it, before 7.2. */
    assert_int_equal(
        live_run(NULL, &source, &destination, "--once", "--put-off-ttl", "off", NULL), 0);
    for (size_t i = 0; i < KEYS; i++) {
        int64_t hint = test_command_integer(to, "OBJECT %s %b", question, keys[i], strlen(keys[i]));
        assert_in_range(hint, base + (int)i - slack, base + (int)i + slack);
    }
    live_side_stop(&source);
    live_side_stop(&destination);
}

static void test_frequency(void **state)
{
    (void)state;
    /* The counter decays by one a minute at the most. */
    copy_and_compare("allkeys-lfu", "FREQ", "FREQ", 70, 1);
}

static void test_idle_time(void **state)
{
    (void)state;
    /* Seconds; the clock of a server is as coarse, and the copy takes its time. */
    copy_and_compare("allkeys-lru", "IDLETIME", "IDLETIME", 100000, 60);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_frequency),
        cmocka_unit_test(test_idle_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
