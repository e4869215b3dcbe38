/*
 * Reading both sides, key by key, with nothing but ordinary commands: the comparison for pairs of
 * different versions, whose digests may differ, and of databases with different numbers.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/num.h"
#include "core/base/slot.h"
#include "tests/live/live.h"

/* Servers before 7.0 send relative times to their replicas, so a copy is late by the way's length.
 */
#define TTL_TOLERANCE_MS 3000
#define DIFFERENCES_SHOWN 10

struct value {
    char type[16];
    char text[200]; /* what is shown of it */
    uint64_t hash;
    long long pttl;
};

static uint64_t hash_bytes(uint64_t hash, const void *bytes, size_t size)
{
    const unsigned char *at = bytes;
    for (size_t i = 0; i < size; i++)
        hash = (hash ^ at[i]) * 0x100000001B3u;
    return (hash ^ size) * 0x9E3779B97F4A7C15u;
}

/* Depth first; `step` elements of the outermost array belong together and their order does not
 * count when is_unordered. */
static uint64_t hash_reply(const redisReply *reply, bool is_unordered, size_t step)
{
    uint64_t hash = 0xCBF29CE484222325u + (uint64_t)reply->type;
    if (reply->type == REDIS_REPLY_ARRAY) {
        uint64_t sum = 0;
        for (size_t i = 0; i < reply->elements; i += step) {
            uint64_t part = 1;
            for (size_t n = i; n < i + step && n < reply->elements; n++)
                part = part * 31 + hash_reply(reply->element[n], false, 1);
            part *= 0x9E3779B97F4A7C15u;
            sum = is_unordered ? sum + part : (sum ^ part) * 0x100000001B3u;
        }
        return hash + sum + reply->elements;
    }
    if (reply->type == REDIS_REPLY_INTEGER)
        return hash_bytes(hash, &reply->integer, sizeof(reply->integer));
    return reply->str != NULL ? hash_bytes(hash, reply->str, reply->len) : hash;
}

static redisReply *ask_key(redisContext *context, const char *before, const redisReply *key, ...)
{
    const char *argv[8] = {before};
    size_t sizes[8] = {strlen(before)};
    int argc = 1;
    va_list args;
    va_start(args, key);
    const char *space = strchr(before, ' ');
    if (space != NULL) { /* "XINFO GROUPS" */
        sizes[0] = (size_t)(space - before);
        argv[1] = space + 1;
        sizes[1] = strlen(space + 1);
        argc = 2;
    }
    argv[argc] = key->str;
    sizes[argc++] = key->len;
    for (const char *word; (word = va_arg(args, const char *)) != NULL; argc++) {
        argv[argc] = word;
        sizes[argc] = strlen(word);
    }
    va_end(args);
    redisReply *reply = redisCommandArgv(context, argc, argv, sizes);
    if (reply == NULL || reply->type == REDIS_REPLY_ERROR)
        test_fatal("reading a key: %s: %s", before, reply ? reply->str : context->errstr);
    return reply;
}

static uint64_t take(redisReply *reply, bool is_unordered, size_t step)
{
    uint64_t hash = hash_reply(reply, is_unordered, step);
    freeReplyObject(reply);
    return hash;
}

/* Groups with their positions and pending entries; later versions add fields, so those that all
 * have are chosen by name. */
static uint64_t stream_groups(redisContext *context, const redisReply *key)
{
    static const char *const fields[] = {"name", "consumers", "pending", "last-delivered-id"};
    redisReply *groups = ask_key(context, "XINFO GROUPS", key, NULL);
    uint64_t hash = groups->elements;
    for (size_t i = 0; i < groups->elements; i++) {
        const redisReply *group = groups->element[i];
        uint64_t one = 7;
        for (size_t n = 0; n + 1 < group->elements; n += 2) {
            for (size_t f = 0; f < sizeof(fields) / sizeof(fields[0]); f++) {
                if (strcmp(group->element[n]->str, fields[f]) == 0)
                    one = one * 31 + hash_reply(group->element[n + 1], false, 1);
            }
        }
        hash += one * 0x9E3779B97F4A7C15u;
    }
    freeReplyObject(groups);
    return hash;
}

/* Scores as numbers: versions differ in the digits that they print. */
static uint64_t zset_hash(redisReply *reply)
{
    uint64_t hash = reply->elements;
    for (size_t i = 0; i + 1 < reply->elements; i += 2) {
        double score = strtod(reply->element[i + 1]->str, NULL);
        hash = hash * 31 + hash_reply(reply->element[i], false, 1);
        hash = hash_bytes(hash, &score, sizeof(score));
    }
    freeReplyObject(reply);
    return hash;
}

static uint64_t value_hash(redisContext *context, const redisReply *key, const char *type)
{
    if (strcmp(type, "string") == 0)
        return take(ask_key(context, "GET", key, NULL), false, 1);
    if (strcmp(type, "list") == 0)
        return take(ask_key(context, "LRANGE", key, "0", "-1", NULL), false, 1);
    if (strcmp(type, "set") == 0)
        return take(ask_key(context, "SMEMBERS", key, NULL), true, 1);
    if (strcmp(type, "hash") == 0)
        return take(ask_key(context, "HGETALL", key, NULL), true, 2);
    if (strcmp(type, "zset") == 0)
        return zset_hash(ask_key(context, "ZRANGE", key, "0", "-1", "WITHSCORES", NULL));
    if (strcmp(type, "stream") == 0)
        return take(ask_key(context, "XRANGE", key, "-", "+", NULL), false, 1) * 31 +
               stream_groups(context, key);
    test_fatal("a key of type %s", type);
}

static struct value value_read(redisContext *context, const redisReply *key)
{
    struct value value = {.hash = 0};
    redisReply *reply = ask_key(context, "TYPE", key, NULL);
    snprintf(value.type, sizeof(value.type), "%s", reply->str);
    freeReplyObject(reply);
    if (strcmp(value.type, "none") == 0)
        return value;
    value.hash = value_hash(context, key, value.type);
    reply = ask_key(context, "PTTL", key, NULL);
    value.pttl = reply->integer;
    freeReplyObject(reply);
    return value;
}

static bool values_are_equal(const struct value *a, const struct value *b)
{
    bool has_ttl = a->pttl >= 0;
    return strcmp(a->type, b->type) == 0 && a->hash == b->hash && has_ttl == (b->pttl >= 0) &&
           (!has_ttl || llabs(a->pttl - b->pttl) <= TTL_TOLERANCE_MS);
}

static void
show(const redisReply *key, const struct value *a, const struct value *b, uint64_t count)
{
    if (count < DIFFERENCES_SHOWN)
        fprintf(stderr,
                "differs: %.*s: %s %016llx pttl %lld / %s %016llx pttl %lld\n",
                (int)key->len,
                key->str,
                a->type,
                (unsigned long long)a->hash,
                a->pttl,
                b->type,
                (unsigned long long)b->hash,
                b->pttl);
}

typedef redisContext *owner_function(void *arg, const redisReply *key);

/* All keys of one connection against their owners on the other side. */
static uint64_t compare_all(
    redisContext *left, owner_function *owner, void *arg, bool only_missing, uint64_t *key_count)
{
    uint64_t count = 0;
    char cursor[32] = "0";
    do {
        redisReply *reply = test_command(left, "SCAN %s COUNT 500", cursor);
        snprintf(cursor, sizeof(cursor), "%s", reply->element[0]->str);
        for (size_t i = 0; i < reply->element[1]->elements; i++) {
            const redisReply *key = reply->element[1]->element[i];
            if (dataset_is_position(key->str, key->len))
                continue;
            struct value a = value_read(left, key);
            struct value b = value_read(owner(arg, key), key);
            bool is_equal = only_missing ? strcmp(b.type, "none") != 0 : values_are_equal(&a, &b);
            (*key_count)++;
            if (!is_equal)
                show(key, &a, &b, count++);
        }
        freeReplyObject(reply);
    } while (strcmp(cursor, "0") != 0);
    return count;
}

static redisContext *owner_only(void *arg, const redisReply *key)
{
    (void)key;
    return arg;
}

static redisContext *owner_by_slot(void *arg, const redisReply *key)
{
    return test_client_connection(arg, slot_of_key(key->str, key->len));
}

uint64_t
live_db_differences(redisContext *left, uint32_t left_db, redisContext *right, uint32_t right_db)
{
    uint64_t keys = 0;
    test_command_ok(left, "SELECT %u", left_db);
    test_command_ok(right, "SELECT %u", right_db);
    uint64_t count = compare_all(left, owner_only, right, false, &keys) +
                     compare_all(right, owner_only, left, true, &keys);
    test_command_ok(left, "SELECT 0");
    test_command_ok(right, "SELECT 0");
    return count;
}

static uint64_t clients_differ(struct test_client *left, struct test_client *right)
{
    uint64_t keys = 0, count = 0;
    for (uint32_t i = 0; i < test_client_count(left); i++)
        count += compare_all(test_client_at(left, i), owner_by_slot, right, false, &keys);
    for (uint32_t i = 0; i < test_client_count(right); i++)
        count += compare_all(test_client_at(right, i), owner_by_slot, left, true, &keys);
    return count;
}

/* The digest of a value is the same algorithm in one version only, and PEXPIRETIME is 7.0's. */
static bool has_digests(const struct live_side *source, const struct live_side *destination)
{
    char a[64], b[64];
    test_info(live_redis(source), "redis_version", a, sizeof(a));
    test_info(live_redis(destination), "redis_version", b, sizeof(b));
    return strcmp(a, b) == 0 && strncmp(a, "6.", 2) != 0;
}

uint64_t live_differences(const struct live_side *source, const struct live_side *destination)
{
    if (has_digests(source, destination))
        return dataset_compare(source->client, destination->client, NULL);
    if (source->is_cluster || destination->is_cluster)
        return clients_differ(source->client, destination->client);
    uint64_t count = 0;
    for (uint32_t db = 0; db < 16; db++)
        count += live_db_differences(live_redis(source), db, live_redis(destination), db);
    return count;
}

void live_assert_verified(const struct live_side *source, const struct live_side *destination, ...)
{
    const char *words[32] = {
        "verify", source->uri, destination->uri, "--full", "--rounds", "2", "--interval", "200ms"};
    uint32_t count = 8;
    va_list args;
    va_start(args, destination);
    while ((words[count] = va_arg(args, const char *)) != NULL)
        count++;
    va_end(args);
    char *output, *errors;
    int status = test_cli_run(words, LIVE_WAIT_MS, &output, &errors);
    if (status != 0)
        fail_msg("verify ended with %d: %s%s", status, output, errors);
    free(output);
    free(errors);
}

void live_assert_equal(const struct live_side *source, const struct live_side *destination)
{
    uint64_t keys = dataset_key_count(source->client);
    assert_int_not_equal(keys, 0);
    assert_int_equal(live_differences(source, destination), 0);
    assert_int_equal(dataset_key_count(destination->client), keys);
    live_assert_verified(source, destination, NULL);
}
