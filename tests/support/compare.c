/* Key by key comparison of two deployments by the servers' own digests. */
#include <stdio.h>
#include <string.h>

#include "core/base/slot.h"
#include "tests/support/dataset.h"
#include "tests/support/servers.h"

#define DIFFERENCES_SHOWN 10
#define DB_COUNT 16

static uint64_t position_count(redisContext *context)
{
    redisReply *reply = test_command(context, "KEYS syncline:*");
    uint64_t count = 0;
    for (size_t i = 0; i < reply->elements; i++)
        count += dataset_is_position(reply->element[i]->str, reply->element[i]->len);
    freeReplyObject(reply);
    return count;
}

uint64_t dataset_key_count(struct test_client *client)
{
    uint64_t total = 0;
    for (uint32_t i = 0; i < test_client_count(client); i++) {
        redisContext *context = test_client_at(client, i);
        redisReply *reply = test_command(context, "INFO keyspace");
        for (const char *at = reply->str; (at = strstr(at, "db")) != NULL; at++) {
            unsigned long long count = 0;
            int db = 0;
            if (sscanf(at, "db%d:keys=%llu", &db, &count) == 2) {
                bool has_databases = !test_client_is_cluster(client);
                if (has_databases)
                    test_command_ok(context, "SELECT %d", db);
                total += count - position_count(context);
                if (has_databases)
                    test_command_ok(context, "SELECT 0");
            }
        }
        freeReplyObject(reply);
    }
    return total;
}

static void ask(redisContext *context, const redisReply *key)
{
    redisAppendCommand(context, "DEBUG DIGEST-VALUE %b", key->str, key->len);
    redisAppendCommand(context, "PEXPIRETIME %b", key->str, key->len);
}

struct answer {
    char digest[41];
    long long expiry_ms;
};

static redisReply *next_reply(redisContext *context)
{
    void *reply = NULL;
    if (redisGetReply(context, &reply) != REDIS_OK)
        test_fatal("comparing: port %d: %s", context->tcp.port, context->errstr);
    redisReply *answer = reply;
    if (answer->type == REDIS_REPLY_ERROR)
        test_fatal("comparing: port %d: %s", context->tcp.port, answer->str);
    return answer;
}

static struct answer read_answer(redisContext *context)
{
    struct answer answer;
    redisReply *digest = next_reply(context);
    const redisReply *text = digest->elements > 0 ? digest->element[0] : digest;
    snprintf(answer.digest, sizeof(answer.digest), "%s", text->str);
    freeReplyObject(digest);
    redisReply *expiry = next_reply(context);
    answer.expiry_ms = expiry->integer;
    freeReplyObject(expiry);
    return answer;
}

static void show(const redisReply *key, const struct answer *left, const struct answer *right)
{
    fprintf(stderr, "differs: ");
    for (size_t i = 0; i < key->len; i++) {
        unsigned char c = (unsigned char)key->str[i];
        if (c >= 32 && c < 127)
            fputc(c, stderr);
        else
            fprintf(stderr, "\\x%02x", c);
    }
    fprintf(stderr,
            ": digest %s / %s, expiry %lld / %lld\n",
            left->digest,
            right->digest,
            left->expiry_ms,
            right->expiry_ms);
}

static redisContext *owner(struct test_client *client, const redisReply *key)
{
    return test_client_connection(client, slot_of_key(key->str, key->len));
}

static bool is_ignored(const redisReply *key, const char *prefix)
{
    return prefix != NULL && key->len >= strlen(prefix) &&
           memcmp(key->str, prefix, strlen(prefix)) == 0;
}

/* One answer of SCAN: asks both sides about all keys, then reads in the same order. */
static uint64_t compare_keys(struct test_client *left,
                             struct test_client *right,
                             const redisReply *keys,
                             const char *ignored_prefix,
                             bool only_missing,
                             uint64_t shown)
{
    uint64_t count = 0;
    for (size_t i = 0; i < keys->elements; i++) {
        ask(owner(left, keys->element[i]), keys->element[i]);
        ask(owner(right, keys->element[i]), keys->element[i]);
    }
    for (size_t i = 0; i < keys->elements; i++) {
        const redisReply *key = keys->element[i];
        struct answer a = read_answer(owner(left, key));
        struct answer b = read_answer(owner(right, key));
        bool is_equal = strcmp(a.digest, b.digest) == 0 && a.expiry_ms == b.expiry_ms;
        if (is_equal || is_ignored(key, ignored_prefix) ||
            dataset_is_position(key->str, key->len) || (only_missing && b.expiry_ms != -2))
            continue;
        if (shown + count++ < DIFFERENCES_SHOWN)
            show(key, &a, &b);
    }
    return count;
}

static uint64_t compare_one_way(struct test_client *left,
                                struct test_client *right,
                                const char *ignored_prefix,
                                bool only_missing)
{
    uint64_t count = 0;
    for (uint32_t node = 0; node < test_client_count(left); node++) {
        redisContext *context = test_client_at(left, node);
        char cursor[32] = "0";
        do {
            redisReply *reply = test_command(context, "SCAN %s COUNT 500", cursor);
            snprintf(cursor, sizeof(cursor), "%s", reply->element[0]->str);
            count +=
                compare_keys(left, right, reply->element[1], ignored_prefix, only_missing, count);
            freeReplyObject(reply);
        } while (strcmp(cursor, "0") != 0);
    }
    return count;
}

static void select_db(struct test_client *client, int db)
{
    test_command_ok(test_client_at(client, 0), "SELECT %d", db);
}

uint64_t
dataset_compare(struct test_client *left, struct test_client *right, const char *ignored_prefix)
{
    bool has_databases = !test_client_is_cluster(left) && !test_client_is_cluster(right);
    uint64_t count = 0;
    for (int db = 0; db < (has_databases ? DB_COUNT : 1); db++) {
        if (has_databases) {
            select_db(left, db);
            select_db(right, db);
        }
        /* The way back finds what only the right side has; the rest has been seen. */
        count += compare_one_way(left, right, ignored_prefix, false);
        count += compare_one_way(right, left, ignored_prefix, true);
    }
    if (has_databases) {
        select_db(left, 0);
        select_db(right, 0);
    }
    return count;
}
