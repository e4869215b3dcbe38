#include <stdio.h>
#include <string.h>

#include "core/base/alloc.h"
#include "core/base/clock.h"
#include "tests/support/dataset.h"
#include "tests/support/random.h"
#include "tests/support/servers.h"

struct loader {
    struct test_client *client;
    struct random random;
    uint64_t keys;
    bool has_field_ttl;
    char key[64];
};

#define SEND(loader, ...) test_client_send((loader)->client, (loader)->key, __VA_ARGS__)

static void name_key(struct loader *loader, const char *kind, uint32_t i)
{
    snprintf(loader->key, sizeof(loader->key), "d:%s:%u", kind, i);
    loader->keys++;
}

/* Text of random bytes, or (compressible) of few letters. */
static size_t fill(struct loader *loader, char *out, size_t size, bool compressible)
{
    for (size_t i = 0; i < size; i++)
        out[i] = compressible ? (char)('a' + (i / 7) % 3) : (char)random_next(&loader->random);
    return size;
}

static void load_strings(struct loader *loader, uint32_t i)
{
    static char text[70000];
    name_key(loader, "raw", i);
    SEND(loader, "SET %s %b", loader->key, text, fill(loader, text, 10 + i % 90, false));
    name_key(loader, "int", i);
    static const char *const integers[] = {
        "0", "-1", "127", "-129", "32767", "65536", "2147483647", "-9223372036854775808"};
    SEND(loader, "SET %s %s", loader->key, integers[i % 8]);
    name_key(loader, "long", i);
    size_t size = i % 8 == 0 ? sizeof(text) : 4000;
    SEND(loader, "SET %s %b", loader->key, text, fill(loader, text, size, false));
    name_key(loader, "lzf", i);
    SEND(loader, "SET %s %b", loader->key, text, fill(loader, text, size, true));
    name_key(loader, "empty", i);
    SEND(loader, "SET %s %s", loader->key, "");
    name_key(loader, "bits", i);
    SEND(loader, "SETBIT %s %d 1", loader->key, (int)random_below(&loader->random, 9000));
    name_key(loader, "ttl", i);
    long long expiry = clock_unix_ms() + 3600000 + (long long)i * 1000;
    SEND(loader, "SET %s ttl-%d", loader->key, (int)i);
    SEND(loader, "PEXPIREAT %s %lld", loader->key, expiry);

    /* A key of any bytes, zero and CRLF included. */
    char key[24] = "d:bin:\0\r\n\xff\x80";
    memcpy(key + 12, &i, sizeof(i));
    const char *argv[] = {"SET", key, "binary"};
    const size_t sizes[] = {3, 16, 6};
    test_client_send_argv(loader->client, 1, 3, argv, sizes);
    loader->keys++;
}

static void load_lists(struct loader *loader, uint32_t i)
{
    static char text[20000];
    name_key(loader, "list", i);
    for (uint32_t n = 0; n < 1 + i % 20; n++)
        SEND(loader, "RPUSH %s item-%d %d", loader->key, (int)n, (int)(n * n) - 50);
    name_key(loader, "quicklist", i);
    for (uint32_t n = 0; n < (i % 8 == 0 ? 3000 : 30); n++)
        SEND(loader, "RPUSH %s %b", loader->key, text, fill(loader, text, 50 + n % 300, n % 2));
    /* Elements above 8 KiB are nodes of their own ("plain" from 7.0 on). */
    name_key(loader, "plain", i);
    for (uint32_t n = 0; n < 2; n++)
        SEND(loader, "RPUSH %s %b", loader->key, text, fill(loader, text, sizeof(text), n == 0));
}

static void load_sets(struct loader *loader, uint32_t i)
{
    name_key(loader, "intset", i);
    for (uint32_t n = 0; n < 1 + i % 50; n++)
        SEND(loader, "SADD %s %lld", loader->key, ((long long)n << (i % 3 * 16)) - 20);
    name_key(loader, "set", i);
    for (uint32_t n = 0; n < 1 + i % 60; n++)
        SEND(loader, "SADD %s m-%d %d", loader->key, (int)n, (int)n);
    name_key(loader, "bigset", i);
    for (uint32_t n = 0; n < (i % 8 == 0 ? 2000 : 140); n++)
        SEND(loader, "SADD %s member:%d", loader->key, (int)(n * 7919));
}

static void load_zsets(struct loader *loader, uint32_t i)
{
    static const char *const scores[] = {"0",
                                         "-0",
                                         "inf",
                                         "-inf",
                                         "3.1415926535897931",
                                         "-1.7976931348623157e+308",
                                         "0.10000000000000001",
                                         "9007199254740993"};
    name_key(loader, "zset", i);
    for (uint32_t n = 0; n < 1 + i % 8; n++)
        SEND(loader, "ZADD %s %s m-%d", loader->key, scores[(n + i) % 8], (int)n);
    name_key(loader, "skiplist", i);
    for (uint32_t n = 0; n < (i % 8 == 0 ? 2000 : 140); n++) {
        /* -0 only where it stays in a skiplist: a listpack keeps it as 0. */
        SEND(loader, "ZADD %s %d.%d member:%d", loader->key, (int)n - 70, (int)(n % 97), (int)n);
    }
    for (uint32_t n = 0; n < 8; n++)
        SEND(loader, "ZADD %s %s special:%d", loader->key, scores[n == 1 ? 0 : n], (int)n);
    name_key(loader, "geo", i);
    SEND(loader,
         "GEOADD %s 13.361389 38.115556 Palermo 15.0872%d 37.502669 Catania",
         loader->key,
         (int)(i % 90));
}

static void load_hashes(struct loader *loader, uint32_t i)
{
    static char text[200];
    name_key(loader, "hash", i);
    for (uint32_t n = 0; n < 1 + i % 30; n++)
        SEND(loader, "HSET %s f%d %d", loader->key, (int)n, (int)(n * n));
    name_key(loader, "bighash", i);
    for (uint32_t n = 0; n < (i % 8 == 0 ? 2000 : 20); n++)
        SEND(loader,
             "HSET %s field:%d %b",
             loader->key,
             (int)n,
             text,
             fill(loader, text, 70 + n % 100, n % 3 == 0));
    if (!loader->has_field_ttl)
        return;
    for (uint32_t big = 0; big < 2; big++) {
        name_key(loader, big ? "bigfieldttl" : "fieldttl", i);
        for (uint32_t n = 0; n < (big ? 600 : 5); n++)
            SEND(loader, "HSET %s f%d v%d", loader->key, (int)n, (int)n);
        SEND(loader,
             "HPEXPIREAT %s %lld FIELDS 2 f1 f3",
             loader->key,
             (long long)clock_unix_ms() + 7200000 + i);
    }
}

static void load_streams(struct loader *loader, uint32_t i)
{
    name_key(loader, "stream", i);
    uint32_t count = i % 8 == 0 ? 500 : 5;
    for (uint32_t n = 1; n <= count; n++)
        SEND(loader, "XADD %s %d-%d a %d b text", loader->key, (int)n, (int)(i % 5), (int)n);
    SEND(loader, "XDEL %s 2-%d", loader->key, (int)(i % 5));
    SEND(loader, "XGROUP CREATE %s readers 0", loader->key);
    SEND(loader, "XGROUP CREATE %s idle $", loader->key);
    SEND(loader, "XREADGROUP GROUP readers ann COUNT 2 STREAMS %s >", loader->key);
    SEND(loader, "XREADGROUP GROUP readers bob COUNT 1 STREAMS %s >", loader->key);
    SEND(loader, "XACK %s readers 1-%d", loader->key, (int)(i % 5));
    name_key(loader, "emptystream", i);
    SEND(loader, "XADD %s 7-7 a b", loader->key);
    SEND(loader, "XDEL %s 7-7", loader->key);
}

static void load_hlls(struct loader *loader, uint32_t i)
{
    name_key(loader, "hll", i);
    for (uint32_t n = 0; n < (i % 8 == 0 ? 5000 : 10); n++)
        SEND(loader, "PFADD %s e%d", loader->key, (int)(n * 31 + i));
}

static void load_all(struct loader *loader, uint32_t keys_per_type)
{
    for (uint32_t i = 0; i < keys_per_type; i++) {
        load_strings(loader, i);
        load_lists(loader, i);
        load_sets(loader, i);
        load_zsets(loader, i);
        load_hashes(loader, i);
        load_streams(loader, i);
        load_hlls(loader, i);
    }
    test_client_flush(loader->client);
    if (test_client_errors(loader->client) != 0 || test_client_is_lost(loader->client))
        test_fatal("loading data: %s", test_client_error_text(loader->client));
}

static void load_functions(struct test_client *client)
{
    static const char library[] = "#!lua name=dataset\n"
                                  "redis.register_function('dataset_set', function(keys, args)\n"
                                  "  return redis.call('SET', keys[1], args[1])\n"
                                  "end)\n";
    for (uint32_t i = 0; i < test_client_count(client); i++)
        test_command_ok(test_client_at(client, i), "FUNCTION LOAD REPLACE %s", library);
}

uint64_t dataset_load(struct test_client *client, uint64_t seed, uint32_t keys_per_type)
{
    redisContext *first = test_client_at(client, 0);
    struct loader loader = {
        .client = client, .random = {seed}, .has_field_ttl = test_has_command(first, "hpexpire")};
    load_all(&loader, keys_per_type);
    if (test_has_command(first, "function"))
        load_functions(client);
    if (!test_client_is_cluster(client)) {
        static const int databases[] = {1, 5, 15};
        for (uint32_t i = 0; i < 3; i++) {
            test_command_ok(first, "SELECT %d", databases[i]);
            load_all(&loader, 1 + keys_per_type / 8);
        }
        test_command_ok(first, "SELECT 0");
    }
    return loader.keys;
}
