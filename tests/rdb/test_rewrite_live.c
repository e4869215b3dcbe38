/*
 * Every value of every fixture, as commands, on real servers: what the server then holds must have
 * the same digest as what the RDB held.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "rdb/digest.h"
#include "tests/rdb/feed.h"
#include "tests/rdb/rewrite_rig.h"
#include "tests/support/client.h"
#include "tests/support/servers.h"

#define ITEM_BYTES_MAX ((size_t)64 << 20)
#define LATER_MS INT64_C(3155760000000) /* a hundred years, added to times that are past */

struct expected {
    struct rdb_digest_value digest;
    uint64_t pending;
};

struct live {
    redisContext *context;
    struct rewrite_rig rig;
    struct rewrite_target target;
    struct rdb_decoder *decoder;
    struct rdb_digest *digest[2]; /* without and with counters */
    uint64_t keys;
    uint64_t degraded;
};

/* ---- visitors ---- */

static const struct rdb_visitor *shifted;
static bool is_expiry_dropped;
static int64_t shift_now_ms;

/* Fixtures are of some day: what has expired since then would vanish at the server. */
static int64_t later(int64_t expire_ms)
{
    return expire_ms != -1 && expire_ms < shift_now_ms + 3600000 ? expire_ms + LATER_MS : expire_ms;
}

static enum rdb_flow shift_hash(void *arg,
                                const struct rdb_element *field,
                                const struct rdb_element *value,
                                int64_t expire_ms)
{
    return shifted->hash(arg, field, value, is_expiry_dropped ? -1 : later(expire_ms));
}

static uint64_t pending_seen;

static enum rdb_flow count_pending(void *arg, const struct rdb_stream_pending *pending)
{
    (void)arg, (void)pending;
    pending_seen++;
    return RDB_GO;
}

/* Decodes from `bytes` on; returns the value's size. */
static size_t decode(struct live *live,
                     const struct rdb_value_place *place,
                     const uint8_t *bytes,
                     size_t size,
                     const struct rdb_visitor *visitor,
                     bool drop_expiry,
                     void *arg)
{
    struct rdb_visitor copy = *visitor;
    struct syn_err err = {0};
    size_t used = 0;
    shifted = visitor;
    is_expiry_dropped = drop_expiry;
    if (visitor->hash != NULL) {
        copy.hash = shift_hash;
    }
    if (!rdb_decoder_begin(live->decoder, place, &copy, arg, &err) ||
        rdb_decoder_run(live->decoder, bytes, size, &used, &err) != RDB_DECODE_DONE) {
        fail_msg("decoding: %s", err.msg);
    }
    return used;
}

/* ---- servers ---- */

/* Sends what the rig kept and checks all replies; ids that were not claimed. */
static uint64_t run_commands(struct live *live)
{
    struct rewrite_rig *rig = &live->rig;
    const char *bytes = (const char *)rig->bytes;
    uint64_t unclaimed = 0;
    size_t done = 0;
    for (size_t i = 0; i < rig->count; i++) {
        size_t size = rig->commands[i].bytes.size;
        assert_int_equal(redisAppendFormattedCommand(live->context, bytes, size), REDIS_OK);
        bytes += size;
        if (i + 1 - done < 1000 && i + 1 < rig->count) {
            continue;
        }
        for (; done <= i; done++) {
            redisReply *reply;
            if (redisGetReply(live->context, (void **)&reply) != REDIS_OK) {
                fail_msg("connection: %s", live->context->errstr);
            }
            if (reply->type == REDIS_REPLY_ERROR) {
                fail_msg("%s\nof these:\n%.2000s", reply->str, rig->text);
            }
            uint32_t claims = rig->commands[done].claim_count;
            if (claims > 0) {
                assert_int_equal(reply->type, REDIS_REPLY_ARRAY);
                assert_true(reply->elements <= claims);
                unclaimed += claims - reply->elements;
            }
            freeReplyObject(reply);
        }
    }
    return unclaimed;
}

static bool has_counters(const struct live *live, uint8_t type)
{
    return live->target.has_stream_counters && type != RDB_TYPE_STREAM_LISTPACKS;
}

static bool drops_expiry(const struct live *live)
{
    return !live->target.has_field_expiry;
}

/* Digest and pending entries of one value. */
static size_t expect(struct live *live,
                     const struct rdb_value_place *place,
                     const uint8_t *bytes,
                     size_t size,
                     struct rdb_digest *digest,
                     struct expected *out)
{
    static const struct rdb_visitor counter = {.stream_pending = count_pending};
    rdb_digest_begin(digest);
    decode(live, place, bytes, size, rdb_digest_visitor(), drops_expiry(live), digest);
    out->digest = rdb_digest_end(digest);
    pending_seen = 0;
    size_t used = decode(live, place, bytes, size, &counter, false, NULL);
    out->pending = pending_seen;
    return used;
}

static void compare_value(struct live *live,
                          const struct rdb_item *item,
                          const struct rdb_digest_value *expected,
                          uint64_t pending,
                          uint64_t pending_lost)
{
    redisReply *reply = test_command(live->context, "DUMP %b", item->name.bytes, item->name.size);
    if (reply->type != REDIS_REPLY_STRING) {
        fail_msg("%.*s is not there", (int)item->name.size, (const char *)item->name.bytes);
    }
    uint8_t type;
    uint16_t version;
    struct slice body;
    struct syn_err err;
    const uint8_t *dump = (const uint8_t *)reply->str;
    assert_true(rdb_payload_read(dump, reply->len, &type, &body, &version, &err));
    struct rdb_value_place place = {.type = type, .is_valkey = version >= 80};
    struct expected found;
    int64_t now_ms = shift_now_ms;
    shift_now_ms = INT64_MIN / 2; /* times are later already */
    expect(
        live, &place, body.bytes, body.size, live->digest[has_counters(live, item->type)], &found);
    shift_now_ms = now_ms;
    assert_int_equal(found.pending, pending - pending_lost);
    if (pending_lost > 0) {
        live->degraded++;
    } else if (found.digest.low != expected->low || found.digest.high != expected->high) {
        fail_msg("%.*s (%s) differs after:\n%.3000s",
                 (int)item->name.size,
                 (const char *)item->name.bytes,
                 rdb_type_name(item->type),
                 live->rig.text);
    }
    freeReplyObject(reply);
    int64_t left =
        test_command_integer(live->context, "PTTL %b", item->name.bytes, item->name.size);
    if (item->expire_ms == -1) {
        assert_int_equal(left, -1);
    } else {
        struct timespec now;
        clock_gettime(CLOCK_REALTIME, &now);
        int64_t now_real = now.tv_sec * 1000 + now.tv_nsec / 1000000;
        int64_t difference = later(item->expire_ms) - now_real - left;
        assert_true(difference > -2000 && difference < 2000);
    }
}

static uint64_t losses_of_pending(const struct rewrite_rig *rig)
{
    const char *text = rewrite_reason_text(REWRITE_PENDING_DELETED);
    const char *found = strstr(rig->losses, text);
    return found == NULL ? 0 : strtoull(strstr(found, "degrade ") + strlen("degrade "), NULL, 10);
}

/* One key; returns the size of its value. */
static size_t copy_value(struct live *live,
                         const struct rdb_item *item,
                         bool is_valkey,
                         const uint8_t *bytes,
                         size_t size)
{
    struct rdb_value_place place = {.type = item->type, .is_valkey = is_valkey};
    struct expected expected;
    size_t used =
        expect(live, &place, bytes, size, live->digest[has_counters(live, item->type)], &expected);
    struct syn_err err = {0};
    rewrite_rig_clear(&live->rig);
    assert_true(rewriter_begin(live->rig.rewriter, item->name, later(item->expire_ms), &err));
    decode(live, &place, bytes, size, rewriter_visitor(), false, live->rig.rewriter);
    if (!rewriter_end(live->rig.rewriter, &err)) {
        fail_msg("%s", err.msg);
    }
    uint64_t lost = run_commands(live) + losses_of_pending(&live->rig);
    compare_value(live, item, &expected.digest, expected.pending, lost);
    live->keys++;
    return used;
}

static void copy_fixture(struct live *live, const char *path)
{
    size_t size;
    uint8_t *bytes = fixture_read(path, &size);
    struct syn_err err = {0};
    struct rdb_parser *parser = rdb_parser_new(ITEM_BYTES_MAX, &err);
    assert_non_null(parser);
    bool is_valkey = false;
    size_t pos = 0;
    struct rdb_item item = {.kind = RDB_ITEM_HEADER};
    while (item.kind != RDB_ITEM_END) {
        size_t used;
        size_t wanted;
        if (rdb_parser_next(parser, bytes + pos, size - pos, &used, &wanted, &item, &err) !=
            RDB_READY) {
            fail_msg("%s: %s", path, err.msg);
        }
        pos += used;
        is_valkey = item.kind == RDB_ITEM_HEADER ? item.is_valkey : is_valkey;
        if (item.kind == RDB_ITEM_KEY) {
            used = copy_value(live, &item, is_valkey, bytes + pos, size - pos);
            rdb_value_taken(parser, used);
            pos += used;
        }
    }
    rdb_parser_free(parser);
    mem_free(MEM_RDB, bytes);
}

static void open_rig(struct live *live, uint32_t piece_bytes, uint32_t piece_elements)
{
    if (piece_bytes > 0) {
        live->target.piece_bytes = piece_bytes;
        live->target.piece_elements = piece_elements;
    }
    rewrite_rig_init(&live->rig, &live->target);
}

/* The small fixtures, or all. */
static void copy_fixtures(struct live *live, bool with_large)
{
    DIR *folder = opendir(TEST_FIXTURES "/rdb");
    assert_non_null(folder);
    for (struct dirent *entry; (entry = readdir(folder)) != NULL;) {
        char path[512];
        if (entry->d_name[0] == '.') {
            continue;
        }
        bool is_small = strstr(entry->d_name, "-snapshot") != NULL;
        if (is_small || with_large) {
            test_command_ok(live->context, "FLUSHALL");
            snprintf(path, sizeof(path), "rdb/%s/dump.rdb", entry->d_name);
            copy_fixture(live, path);
        }
    }
    closedir(folder);
}

static void run_on(const char *server_version, uint32_t version, bool is_valkey)
{
    if (!test_server_available(server_version)) {
        skip();
    }
    struct test_server server;
    struct live live = {0};
    struct syn_err err;
    test_server_start(&server, server_version, NULL);
    live.context = test_connect(server.port);
    live.decoder = rdb_decoder_new(ITEM_BYTES_MAX, &err);
    live.digest[0] = rdb_digest_new(0, &err);
    live.digest[1] = rdb_digest_new(RDB_DIGEST_COUNTERS, &err);
    assert_non_null(live.decoder);
    assert_non_null(live.digest[0]);
    assert_non_null(live.digest[1]);
    shift_now_ms = (int64_t)time(NULL) * 1000;
    rewrite_target_fill(&live.target, version, is_valkey);
    live.target.policy = REWRITE_DEGRADE;

    open_rig(&live, 0, 0);
    copy_fixtures(&live, true);
    rewrite_rig_deinit(&live.rig);
    /* Any size of pieces gives the same. */
    static const uint32_t sizes[][2] = {{4096, 1}, {1, 100}, {20, 3}};
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        open_rig(&live, sizes[i][0], sizes[i][1]);
        copy_fixtures(&live, false);
        rewrite_rig_deinit(&live.rig);
    }
    print_message("%s: %llu keys, %llu of them without some pending entries\n",
                  server_version,
                  (unsigned long long)live.keys,
                  (unsigned long long)live.degraded);
    assert_true(live.keys > 1000);
    rdb_digest_free(live.digest[0]);
    rdb_digest_free(live.digest[1]);
    rdb_decoder_free(live.decoder);
    redisFree(live.context);
    test_server_stop(&server);
}

static void test_redis_6_0(void **state)
{
    (void)state;
    /* HSET and streams exist, counters, CREATECONSUMER and field expiry do not. */
    run_on("redis-6.0", 60016, false);
}

static void test_redis_7_0(void **state)
{
    (void)state;
    /* Counters of streams must come out the same. */
    run_on("redis-7.0", 70015, false);
}

static void test_redis_8_0(void **state)
{
    (void)state;
    /* Fields that expire must expire at the same time. */
    run_on("redis-8.0", 80000, false);
}

static void test_valkey_8_0(void **state)
{
    (void)state;
    /* Its version number is above 7.4, and it has no expiry of fields. */
    run_on("valkey-8.0", 80000, true);
}

static void test_valkey_9(void **state)
{
    (void)state;
    /* The same commands for fields that expire, another server's. */
    run_on("valkey-9", 90100, true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_redis_6_0),
        cmocka_unit_test(test_redis_7_0),
        cmocka_unit_test(test_redis_8_0),
        cmocka_unit_test(test_valkey_8_0),
        cmocka_unit_test(test_valkey_9),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
