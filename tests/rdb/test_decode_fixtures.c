/*
 * Every value of every recorded snapshot against what its server said of it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rdb/digest.h"
#include "tests/rdb/feed.h"
#include "tests/rdb/lines.h"

/* A key of a snapshot: where its value is, and its K line in expected.txt. */
struct key {
    char line[LINES_TEXT_MAX + 64];
    uint8_t type;
    bool is_valkey;
    struct slice value;
    bool was_found;
};

struct snapshot {
    uint8_t *bytes;
    size_t size;
    struct key *keys;
    size_t count;
};

static const char *kind_name(uint8_t type, bool is_valkey)
{
    static const char *const names[RDB_KIND_COUNT] = {
        "string", "list", "set", "zset", "hash", "stream", "module"};
    enum rdb_kind kind = rdb_type_kind(type, is_valkey);
    assert_true(kind < RDB_KIND_COUNT);
    return names[kind];
}

static void add_key(struct snapshot *snapshot,
                    const struct rdb_item *item,
                    uint64_t db,
                    bool is_valkey,
                    struct slice value)
{
    char name[LINES_TEXT_MAX];
    snapshot->keys =
        mem_realloc(MEM_TOOLS, snapshot->keys, (snapshot->count + 1) * sizeof(struct key));
    assert_non_null(snapshot->keys);
    struct key *key = &snapshot->keys[snapshot->count++];
    size_t size = lines_text(name, item->name.bytes, item->name.size);
    snprintf(key->line,
             sizeof(key->line),
             "K %" PRIu64 " %.*s %s %" PRId64,
             db,
             (int)size,
             name,
             kind_name(item->type, is_valkey),
             item->expire_ms);
    key->type = item->type;
    key->is_valkey = is_valkey;
    key->value = value;
    key->was_found = false;
}

/* The decoder, not the walk, finds the end of every value. */
static size_t value_size(struct rdb_decoder *decoder,
                         const struct rdb_item *item,
                         bool is_valkey,
                         const uint8_t *bytes,
                         size_t size)
{
    static const struct rdb_visitor nothing;
    struct rdb_value_place place = {.type = item->type, .is_valkey = is_valkey};
    struct syn_err err;
    size_t used;
    assert_true(rdb_decoder_begin(decoder, &place, &nothing, NULL, &err));
    enum rdb_decode status = rdb_decoder_run(decoder, bytes, size, &used, &err);
    if (status != RDB_DECODE_DONE) {
        fail_msg("type %u: status %d: %s", item->type, status, err.msg);
    }
    return used;
}

static void snapshot_open(struct snapshot *snapshot, const char *name)
{
    char path[128];
    snprintf(path, sizeof(path), "rdb/%s/dump.rdb", name);
    *snapshot = (struct snapshot){0};
    snapshot->bytes = fixture_read(path, &snapshot->size);
    struct syn_err err;
    struct rdb_parser *parser = rdb_parser_new((size_t)4 << 20, &err);
    struct rdb_decoder *decoder = rdb_decoder_new((size_t)4 << 20, &err);
    assert_non_null(parser);
    assert_non_null(decoder);
    bool is_valkey = false;
    uint64_t db = 0;
    size_t pos = 0;
    struct rdb_item item = {0};
    while (item.kind != RDB_ITEM_CHECKSUM) {
        size_t used;
        size_t wanted;
        const uint8_t *window = snapshot->bytes + pos;
        enum rdb_status status =
            rdb_parser_next(parser, window, snapshot->size - pos, &used, &wanted, &item, &err);
        assert_int_equal(status, RDB_READY);
        pos += used;
        if (item.kind == RDB_ITEM_HEADER) {
            is_valkey = item.is_valkey;
        } else if (item.kind == RDB_ITEM_SELECT) {
            db = item.db;
        } else if (item.kind == RDB_ITEM_KEY) {
            const uint8_t *value = snapshot->bytes + pos;
            used = value_size(decoder, &item, is_valkey, value, snapshot->size - pos);
            rdb_value_taken(parser, used);
            add_key(snapshot, &item, db, is_valkey, (struct slice){.bytes = value, .size = used});
            pos += used;
        }
    }
    assert_int_equal(rdb_parser_offset(parser), snapshot->size);
    rdb_parser_free(parser);
    rdb_decoder_free(decoder);
}

static void snapshot_close(struct snapshot *snapshot)
{
    mem_free(MEM_RDB, snapshot->bytes);
    mem_free(MEM_TOOLS, snapshot->keys);
}

/* The lines of one key in expected.txt, up to the next K line. */
static void compare_key(const struct key *key,
                        const struct lines_options *how,
                        const char *expected,
                        size_t size)
{
    struct lines lines;
    struct lines_options options = *how;
    options.type = key->type;
    options.is_valkey = key->is_valkey;
    lines_decode(key->value.bytes, key->value.size, &options, &lines);
    if (lines.status != RDB_DECODE_DONE) {
        fail_msg("%s: status %d: %s", key->line, lines.status, lines.err.msg);
    }
    assert_int_equal(lines.used, key->value.size);
    assert_int_equal(lines.begins, 1);
    char summary[64];
    snprintf(summary,
             sizeof(summary),
             "= %" PRIu64 " %016" PRIx64 "\n",
             lines.count,
             crc64_update(0, (const uint8_t *)lines.text, lines.size));
    const char *found = expected[0] == '=' ? summary : lines.text;
    if (strlen(found) != size || memcmp(found, expected, size) != 0) {
        fail_msg("%s (type %u): expected\n%.*sfound\n%.2000s",
                 key->line,
                 key->type,
                 (int)(size < 2000 ? size : 2000),
                 expected,
                 found);
    }
    lines_free(&lines);
}

static struct key *find(struct snapshot *snapshot, const char *line, size_t size)
{
    for (size_t i = 0; i < snapshot->count; i++) {
        struct key *key = &snapshot->keys[i];
        if (strlen(key->line) == size && memcmp(key->line, line, size) == 0) {
            return key;
        }
    }
    return NULL;
}

static void compare_snapshot(const char *name, const struct lines_options *how)
{
    struct snapshot snapshot;
    snapshot_open(&snapshot, name);
    char path[128];
    size_t size;
    snprintf(path, sizeof(path), "rdb/%s/expected.txt", name);
    char *text = (char *)fixture_read(path, &size);
    text[size] = '\0';
    struct lines_options options = *how;
    options.is_approx = strncmp(text, "T approx\n", 9) == 0;
    options.item_bytes_max = (size_t)4 << 20;
    bool is_all = strstr(text, "\nP all\n") != NULL;
    size_t compared = 0;
    for (char *at = strstr(text, "\nK "); at != NULL;) {
        at++;
        char *end = strchr(at, '\n');
        assert_non_null(end);
        char *next = strstr(end, "\nK ");
        const char *stop = next != NULL ? next + 1 : text + size;
        struct key *key = find(&snapshot, at, (size_t)(end - at));
        if (key == NULL) {
            fail_msg("%s: no such key: %.*s", name, (int)(end - at), at);
        } else {
            assert_false(key->was_found);
            key->was_found = true;
            compare_key(key, &options, end + 1, (size_t)(stop - end - 1));
            compared++;
        }
        at = next;
    }
    assert_true(compared >= 11);
    if (is_all) {
        assert_int_equal(compared, snapshot.count);
    }
    mem_free(MEM_RDB, text);
    snapshot_close(&snapshot);
}

static const char *const names[] = {
    "redis-2.6.17",
    "redis-2.8.24",
    "redis-3.2.13",
    "redis-4.0.14",
    "redis-4.0.14-lfu",
    "redis-5.0.14",
    "redis-5.0.14-sync",
    "redis-7.4.1",
    "redis-2.8.24-snapshot",
    "redis-3.2.13-snapshot",
    "redis-4.0.14-snapshot",
    "redis-5.0.14-snapshot",
    "redis-6.0.16-snapshot",
    "redis-7.0.15-snapshot",
    "redis-7.4.1-snapshot",
    "redis-7.4.1-diskless-snapshot",
    "valkey-9.1.2-snapshot",
    "valkey-9.1.2-ver9-snapshot",
};
#define NAME_COUNT (sizeof(names) / sizeof(names[0]))

/* A wrong element, score, expiry, entry, group or pending entry of any encoding that a server of
 * any version wrote would differ from what that server answered. */
static void test_content(void **state)
{
    (void)state;
    static const struct lines_options whole;
    for (size_t i = 0; i < NAME_COUNT; i++) {
        compare_snapshot(names[i], &whole);
    }
}

/* State lost between windows or over a pause would lose, double or mix elements. */
static void test_content_in_pieces(void **state)
{
    (void)state;
    static const struct lines_options ways[] = {
        {.first = 1, .step = 997},
        {.first = 60, .step = 61, .wants_integers = true},
        {.pause_every = 7},
        {.first = 13, .step = 4099, .pause_every = 3, .exact = true},
    };
    for (size_t w = 0; w < sizeof(ways) / sizeof(ways[0]); w++) {
        for (size_t i = 0; i < NAME_COUNT; i++) {
            compare_snapshot(names[i], &ways[w]);
        }
    }
}

static struct rdb_digest_value
key_digest(struct rdb_decoder *decoder, struct rdb_digest *digest, const struct key *key)
{
    struct rdb_value_place place = {.type = key->type, .is_valkey = key->is_valkey};
    struct syn_err err;
    size_t used;
    rdb_digest_begin(digest);
    assert_true(rdb_decoder_begin(decoder, &place, rdb_digest_visitor(), digest, &err));
    enum rdb_decode status =
        rdb_decoder_run(decoder, key->value.bytes, key->value.size, &used, &err);
    assert_int_equal(status, RDB_DECODE_DONE);
    return rdb_digest_end(digest);
}

/* A score of -0 and one of 0 make the same digest. */
static void forget_signs_of_zero(char *text)
{
    while ((text = strstr(text, " 8000000000000000\n")) != NULL) {
        text[1] = '0';
    }
}

/* Equal digests where the lines are equal, and only there. */
static size_t compare_digests(const struct snapshot *a,
                              const struct snapshot *b,
                              struct rdb_decoder *decoder,
                              struct rdb_digest *digest)
{
    size_t same = 0;
    for (size_t i = 0; i < a->count; i++) {
        for (size_t k = 0; k < b->count; k++) {
            const struct key *x = &a->keys[i];
            const struct key *y = &b->keys[k];
            if (strcmp(x->line, y->line) != 0 || strstr(x->line, " stream ") != NULL) {
                continue;
            }
            struct lines_options options = {
                .type = x->type, .is_valkey = x->is_valkey, .item_bytes_max = (size_t)4 << 20};
            struct lines lines_x;
            struct lines lines_y;
            lines_decode(x->value.bytes, x->value.size, &options, &lines_x);
            options.type = y->type;
            options.is_valkey = y->is_valkey;
            lines_decode(y->value.bytes, y->value.size, &options, &lines_y);
            forget_signs_of_zero(lines_x.text);
            forget_signs_of_zero(lines_y.text);
            struct rdb_digest_value digest_x = key_digest(decoder, digest, x);
            struct rdb_digest_value digest_y = key_digest(decoder, digest, y);
            bool is_same = digest_x.low == digest_y.low && digest_x.high == digest_y.high;
            if (is_same != (strcmp(lines_x.text, lines_y.text) == 0)) {
                fail_msg("%s, types %u and %u: digests are %s",
                         x->line,
                         x->type,
                         y->type,
                         is_same ? "equal" : "different");
            }
            same += is_same && x->type != y->type;
            lines_free(&lines_x);
            lines_free(&lines_y);
        }
    }
    return same;
}

/* The same data in the encodings of different versions: a digest that sees the encoding would
 * differ, one that is blind to content would not. */
static void test_digests(void **state)
{
    (void)state;
    static const char *const pairs[][2] = {
        {"redis-2.6.17", "redis-7.4.1"},
        {"redis-3.2.13", "redis-7.4.1"},
        {"redis-2.6.17", "redis-5.0.14"},
        {"redis-2.8.24-snapshot", "redis-7.4.1-snapshot"},
        {"redis-7.4.1-snapshot", "valkey-9.1.2-ver9-snapshot"},
    };
    struct syn_err err;
    struct rdb_decoder *decoder = rdb_decoder_new((size_t)4 << 20, &err);
    struct rdb_digest *digest = rdb_digest_new(0, &err);
    assert_non_null(decoder);
    assert_non_null(digest);
    for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
        struct snapshot a;
        struct snapshot b;
        snapshot_open(&a, pairs[i][0]);
        snapshot_open(&b, pairs[i][1]);
        size_t same = compare_digests(&a, &b, decoder, digest);
        print_message("%s, %s: %zu values in two encodings\n", pairs[i][0], pairs[i][1], same);
        assert_true(same > 0);
        snapshot_close(&a);
        snapshot_close(&b);
    }
    rdb_digest_free(digest);
    rdb_decoder_free(decoder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_content),
        cmocka_unit_test(test_content_in_pieces),
        cmocka_unit_test(test_digests),
    };
    return cmocka_run_group_tests_name("decoded fixtures", tests, NULL, NULL);
}
