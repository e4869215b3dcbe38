/*
 * Random streams of a real server, as commands on servers of all versions: groups, consumers,
 * pending entries, deletions, trims and counters in combinations that nobody would write down.
 *
 * Before an entry is deleted it is acknowledged everywhere, since a pending entry without an entry
 * cannot be copied by commands; so every digest must be equal.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>

#include "rdb/digest.h"
#include "tests/rdb/rewrite_rig.h"
#include "tests/support/client.h"
#include "tests/support/random.h"
#include "tests/support/servers.h"

#define STREAM_COUNT 40
#define STEP_COUNT 120
#define GROUP_COUNT 3
#define SEED 20240611

struct builder {
    redisContext *context;
    struct random random;
    uint64_t last_ms;
    uint64_t alive[STEP_COUNT]; /* ids, in order */
    size_t alive_count;
};

static uint32_t below(struct builder *builder, uint32_t bound)
{
    return random_below(&builder->random, bound);
}

/* Errors are part of the game: a group that is there already, or not yet. */
static void attempt(redisContext *context, const char *command)
{
    redisReply *reply = redisCommand(context, command);
    assert_non_null(reply);
    freeReplyObject(reply);
}

static void add_entry(struct builder *builder)
{
    char command[512];
    builder->last_ms += 1 + below(builder, 5);
    int size = snprintf(command,
                        sizeof(command),
                        "XADD s %llu-%u",
                        (unsigned long long)builder->last_ms,
                        below(builder, 2));
    uint32_t fields = 1 + below(builder, 3);
    static const char text[] =
        "12345678901234567890-and-more-text-than-fits-a-small-entry-of-a-listpack-at-all";
    for (uint32_t i = 0; i < fields; i++) {
        size += snprintf(command + size,
                         sizeof(command) - (size_t)size,
                         " f%u %.*s",
                         below(builder, 4),
                         (int)(1 + below(builder, 70)),
                         &text[below(builder, 2) * 9]);
    }
    test_command_ok(builder->context, command);
    builder->alive[builder->alive_count++] = builder->last_ms;
}

static void acknowledge(struct builder *builder, uint64_t ms)
{
    char command[128];
    for (int group = 0; group < GROUP_COUNT; group++) {
        snprintf(command,
                 sizeof(command),
                 "XACK s g%d %llu-0 %llu-1",
                 group,
                 (unsigned long long)ms,
                 (unsigned long long)ms);
        attempt(builder->context, command);
    }
}

static void remove_alive(struct builder *builder, size_t index)
{
    builder->alive_count--;
    memmove(builder->alive + index,
            builder->alive + index + 1,
            (builder->alive_count - index) * sizeof(builder->alive[0]));
}

static void delete_entry(struct builder *builder)
{
    if (builder->alive_count == 0) {
        return;
    }
    size_t index = below(builder, (uint32_t)builder->alive_count);
    unsigned long long ms = builder->alive[index];
    char command[128];
    acknowledge(builder, ms);
    snprintf(command, sizeof(command), "XDEL s %llu-0 %llu-1", ms, ms);
    attempt(builder->context, command);
    remove_alive(builder, index);
}

static void trim(struct builder *builder)
{
    size_t kept = below(builder, (uint32_t)builder->alive_count + 1);
    char command[128];
    while (builder->alive_count > kept) {
        acknowledge(builder, builder->alive[0]);
        remove_alive(builder, 0);
    }
    snprintf(command, sizeof(command), "XTRIM s MAXLEN = %zu", kept);
    attempt(builder->context, command);
}

static void touch_group(struct builder *builder)
{
    char command[256];
    unsigned group = below(builder, GROUP_COUNT);
    unsigned consumer = below(builder, 4);
    unsigned long long ms = builder->alive_count == 0
                                ? 1
                                : builder->alive[below(builder, (uint32_t)builder->alive_count)];
    switch (below(builder, 6)) {
    case 0:
        snprintf(command, sizeof(command), "XGROUP CREATE s g%u %llu", group, ms);
        break;
    case 1:
        snprintf(command, sizeof(command), "XGROUP CREATECONSUMER s g%u c%u", group, consumer);
        break;
    case 2:
        snprintf(command, sizeof(command), "XACK s g%u %llu-0", group, ms);
        break;
    case 3:
        snprintf(command,
                 sizeof(command),
                 "XCLAIM s g%u c%u 0 %llu-0 TIME %u RETRYCOUNT %u FORCE JUSTID",
                 group,
                 consumer,
                 ms,
                 below(builder, 1000000),
                 below(builder, 9));
        break;
    default:
        snprintf(command,
                 sizeof(command),
                 "XREADGROUP GROUP g%u c%u COUNT %u STREAMS s >",
                 group,
                 consumer,
                 1 + below(builder, 8));
        break;
    }
    attempt(builder->context, command);
}

static void build_stream(struct builder *builder)
{
    builder->last_ms = 0;
    builder->alive_count = 0;
    test_command_ok(builder->context, "DEL s");
    add_entry(builder);
    if (below(builder, 4) > 0) {
        attempt(builder->context, "XGROUP CREATE s g0 0");
    }
    uint32_t steps = below(builder, STEP_COUNT - 1);
    for (uint32_t i = 0; i < steps; i++) {
        uint32_t choice = below(builder, 100);
        if (choice < 40) {
            add_entry(builder);
        } else if (choice < 55) {
            delete_entry(builder);
        } else if (choice < 57) {
            trim(builder);
        } else if (choice < 58) {
            char command[64];
            builder->last_ms += 50;
            snprintf(
                command, sizeof(command), "XSETID s %llu", (unsigned long long)builder->last_ms);
            attempt(builder->context, command);
        } else {
            touch_group(builder);
        }
    }
}

static struct rdb_digest_value digest_of(redisContext *context,
                                         const char *key,
                                         struct rdb_decoder *decoder,
                                         struct rdb_digest *digest)
{
    struct rdb_digest_value value;
    struct syn_err err = {0};
    redisReply *reply = test_command(context, "DUMP %s", key);
    assert_int_equal(reply->type, REDIS_REPLY_STRING);
    struct slice payload = {(const uint8_t *)reply->str, reply->len};
    if (!rdb_payload_digest(decoder, digest, payload, &value, &err)) {
        fail_msg("%s", err.msg);
    }
    freeReplyObject(reply);
    return value;
}

static void
rewrite_stream(redisContext *source, struct rdb_decoder *decoder, struct rewrite_rig *rig)
{
    struct syn_err err = {0};
    struct slice key = {(const uint8_t *)"copy", 4};
    redisReply *reply = test_command(source, "DUMP s");
    struct slice payload = {(const uint8_t *)reply->str, reply->len};
    rewrite_rig_clear(rig);
    assert_true(rewriter_begin(rig->rewriter, key, -1, &err));
    assert_true(rdb_payload_decode(decoder, payload, 0, rewriter_visitor(), rig->rewriter, &err));
    if (!rewriter_end(rig->rewriter, &err)) {
        fail_msg("%s", err.msg);
    }
    assert_string_equal(rig->losses, "");
    freeReplyObject(reply);
}

/* Ids claimed. */
static uint64_t send_all(redisContext *context, const struct rewrite_rig *rig)
{
    uint64_t claims = 0;
    const char *bytes = (const char *)rig->bytes;
    for (size_t i = 0; i < rig->count; i++) {
        size_t size = rig->commands[i].bytes.size;
        assert_int_equal(redisAppendFormattedCommand(context, bytes, size), REDIS_OK);
        bytes += size;
    }
    for (size_t i = 0; i < rig->count; i++) {
        redisReply *reply;
        assert_int_equal(redisGetReply(context, (void **)&reply), REDIS_OK);
        if (reply->type == REDIS_REPLY_ERROR) {
            fail_msg("%s\n%s", reply->str, rig->text);
        }
        if (rig->commands[i].claim_count > 0) {
            assert_int_equal(reply->elements, rig->commands[i].claim_count);
            claims += reply->elements;
        }
        freeReplyObject(reply);
    }
    return claims;
}

static void run_on(const char *server_version, uint32_t version, bool is_valkey)
{
    if (!test_server_available(server_version)) {
        skip();
    }
    struct test_server source;
    struct test_server destination;
    struct rewrite_target target;
    struct syn_err err;
    test_server_start(&source, TEST_REQUIRED_VERSION, NULL);
    test_server_start(&destination, server_version, NULL);
    struct builder builder = {.context = test_connect(source.port), .random = {SEED}};
    redisContext *context = test_connect(destination.port);
    struct rdb_decoder *decoder = rdb_decoder_new(1 << 20, &err);
    struct rdb_digest *digest = rdb_digest_new(version >= 70000 ? RDB_DIGEST_COUNTERS : 0, &err);
    assert_non_null(decoder);
    assert_non_null(digest);
    rewrite_target_fill(&target, version, is_valkey);
    target.piece_elements = 5;
    struct rewrite_rig rig;
    rewrite_rig_init(&rig, &target);
    size_t commands = 0;
    uint64_t claims = 0;
    for (int i = 0; i < STREAM_COUNT; i++) {
        build_stream(&builder);
        rewrite_stream(builder.context, decoder, &rig);
        claims += send_all(context, &rig);
        commands += rig.count;
        struct rdb_digest_value from = digest_of(builder.context, "s", decoder, digest);
        struct rdb_digest_value to = digest_of(context, "copy", decoder, digest);
        if (from.low != to.low || from.high != to.high) {
            fail_msg("stream %d differs after:\n%s", i, rig.text);
        }
    }
    print_message(
        "seed %d: %zu commands, %llu claims\n", SEED, commands, (unsigned long long)claims);
    assert_true(claims > STREAM_COUNT); /* or the streams are not what they should be */
    rewrite_rig_deinit(&rig);
    rdb_digest_free(digest);
    rdb_decoder_free(decoder);
    redisFree(context);
    redisFree(builder.context);
    test_server_stop(&destination);
    test_server_stop(&source);
}

static void test_redis_6_0(void **state)
{
    (void)state;
    /* Consumers are made by reading, an empty stream by deleting. */
    run_on("redis-6.0", 60016, false);
}

static void test_redis_7_0(void **state)
{
    (void)state;
    /* Counters are part of the digest from here on. */
    run_on("redis-7.0", 70015, false);
}

static void test_redis_8_0(void **state)
{
    (void)state;
    /* Later versions check counters of groups more strictly. */
    run_on("redis-8.0", 80000, false);
}

static void test_valkey_9(void **state)
{
    (void)state;
    /* The other family. */
    run_on("valkey-9", 90100, true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_redis_6_0),
        cmocka_unit_test(test_redis_7_0),
        cmocka_unit_test(test_redis_8_0),
        cmocka_unit_test(test_valkey_9),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
