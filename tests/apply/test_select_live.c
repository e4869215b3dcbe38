/* Globs against a real server's own: KEYS of random patterns over random keys, odd ones among them
 * (open classes, turned ranges, lone backslashes, empty and binary keys). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "apply/glob.h"
#include "core/base/base.h"
#include "tests/support/client.h"
#include "tests/support/random.h"
#include "tests/support/servers.h"

#define KEYS 400
#define PATTERNS 6000

static struct {
    char bytes[16];
    size_t size;
    bool is_found;
} keys[KEYS];

static size_t
random_bytes(struct random *random, const char *letters, size_t count, size_t most, char *out)
{
    size_t size = random_below(random, (uint32_t)most + 1);
    for (size_t i = 0; i < size; i++) {
        out[i] = letters[random_below(random, (uint32_t)count)];
    }
    return size;
}

static void make_keys(redisContext *redis, struct random *random)
{
    static const char letters[] = "aab:*?[]^-\\\0\xff"; /* the last two: a zero and no letter */
    for (unsigned i = 0; i < KEYS; i++) {
        keys[i].size = random_bytes(random, letters, sizeof(letters) - 1, 7, keys[i].bytes);
        test_command_ok(redis, "SET %b x", keys[i].bytes, keys[i].size);
    }
}

static void mark_found(const redisReply *reply)
{
    for (size_t n = 0; n < reply->elements; n++) {
        const redisReply *key = reply->element[n];
        for (unsigned i = 0; i < KEYS; i++) {
            keys[i].is_found |=
                keys[i].size == key->len && memcmp(keys[i].bytes, key->str, key->len) == 0;
        }
    }
}

static void compare(redisContext *redis, const char *pattern, size_t size, uint32_t *matches)
{
    for (unsigned i = 0; i < KEYS; i++) {
        keys[i].is_found = false;
    }
    redisReply *reply = test_command(redis, "KEYS %b", pattern, size);
    mark_found(reply);
    *matches += (uint32_t)reply->elements;
    freeReplyObject(reply);
    for (unsigned i = 0; i < KEYS; i++) {
        bool is_match = glob_match(
            (const uint8_t *)pattern, size, (const uint8_t *)keys[i].bytes, keys[i].size);
        if (is_match != keys[i].is_found) {
            fail_msg("pattern \"%.*s\", key \"%.*s\": the server says %d",
                     (int)size,
                     pattern,
                     (int)keys[i].size,
                     keys[i].bytes,
                     keys[i].is_found);
        }
    }
}

static void run(const char *version)
{
    struct test_server server;
    struct random random = {20240611};
    uint32_t matches = 0;
    if (!test_server_available(version)) {
        return;
    }
    test_server_start(&server, version, NULL);
    redisContext *redis = test_connect(server.port);
    make_keys(redis, &random);
    for (unsigned i = 0; i < PATTERNS; i++) {
        /* No range of letters reaches beyond 127: there the servers' machine decides. */
        static const char letters[] = "aaab::**??[[]]^-\\";
        char pattern[16];
        size_t size = random_bytes(&random, letters, sizeof(letters) - 1, 9, pattern);
        compare(redis, pattern, size, &matches);
    }
    assert_true(matches > 20000);
    redisFree(redis);
    test_server_stop(&server);
}

static void test_required_version(void **state)
{
    (void)state;
    run(TEST_REQUIRED_VERSION);
}

static void test_other_versions(void **state)
{
    (void)state;
    run("redis-6.0");
    run("valkey-9");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_required_version),
        cmocka_unit_test(test_other_versions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
