/*
 * Every value type and opcode, built by hand from the format description, so that those which no
 * fixture has (zipmap, modules, pre-release hashes, Valkey's field expiry) are framed as well. If a
 * layout were wrong, the walk would end too early or too late, and the byte count says so; each is
 * also fed one byte at a time, because every field must be resumable.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/rdb/feed.h"

#define BYTES(text) (text), sizeof(text) - 1

/* clang-format off */
#define F8 "\x01\x02\x03\x04\x05\x06\x07\x08"
#define F16 F8 F8
#define LEN5 "\x80\x00\x00\x00\x01"
#define LEN9 "\x81\x00\x00\x00\x00\x00\x00\x00\x01"
#define MAX9 "\x81\xff\xff\xff\xff\xff\xff\xff\xff"
#define NODE "\x10" F16
#define LZF "\xc3\x05\x0a\x00" "a\xe0\x00\x00" /* 1 literal, then a run of 9 */
#define MODULE_ID "\x81\x01\x02\x03\x04\x05\x06\x07\x08"

#define STREAM_TAIL_1 "\x01" "\x05\x06" /* length, last id */
#define STREAM_TAIL_2 STREAM_TAIL_1 "\x05\x06" "\x00\x00" "\x01" /* first, max deleted, added */
#define GROUPS_1 \
    "\x02" "\x01" "g" "\x05\x06" \
    "\x02" F16 F8 "\x01" F16 F8 LEN9 \
    "\x02" "\x02" "c1" F8 "\x01" F16 "\x02" "c2" F8 "\x00" \
    "\x01" "h" "\x05\x06" "\x00" "\x00"
#define GROUPS_2 \
    "\x01" "\x01" "g" "\x05\x06" MAX9 "\x01" F16 F8 "\x01" "\x01" "\x02" "c1" F8 "\x01" F16
#define GROUPS_3 \
    "\x01" "\x01" "g" "\x05\x06" MAX9 "\x01" F16 F8 "\x01" "\x01" "\x02" "c1" F8 F8 "\x01" F16
/* clang-format on */

struct value {
    const char *name;
    uint8_t type;
    bool is_valkey;
    const char *bytes;
    size_t size;
};

/* clang-format off */
static const struct value values[] = {
    {"empty string", 0, false, BYTES("\x00")},
    {"short string", 0, false, BYTES("\x05" "hello")},
    {"14-bit length", 0, false, BYTES("\x40\x05" "hello")},
    {"32-bit length", 0, false, BYTES("\x80\x00\x00\x00\x05" "hello")},
    {"64-bit length", 0, false, BYTES("\x81\x00\x00\x00\x00\x00\x00\x00\x05" "hello")},
    {"int8", 0, false, BYTES("\xc0\x0a")},
    {"int16", 0, false, BYTES("\xc1\x0a\x0b")},
    {"int32", 0, false, BYTES("\xc2\x0a\x0b\x0c\x0d")},
    {"LZF", 0, false, BYTES(LZF)},
    {"LZF, long lengths", 0, false,
     BYTES("\xc3\x81\x00\x00\x00\x00\x00\x00\x00\x05\x80\x00\x00\x00\x0a\x00" "a\xe0\x00\x00")},
    {"list", 1, false, BYTES("\x03" "\x01" "a" "\xc0\x01" LZF)},
    {"empty list", 1, false, BYTES("\x00")},
    {"set", 2, false, BYTES(LEN5 "\x01" "a")},
    {"zset with text scores", 3, false, BYTES("\x04" "\x01" "a" "\x03" "1.5" "\x01" "b\xfd"
                                             "\x01" "c\xfe" "\x01" "d\xff")},
    {"hash", 4, false, BYTES("\x02" "\x01" "f" "\x01" "v" "\x01" "g" "\xc1\x01\x02")},
    {"zset", 5, false, BYTES("\x02" "\x01" "a" F8 "\x01" "b" F8)},
    {"module", 7, false, BYTES(MODULE_ID "\x02\x05" "\x02" MAX9 "\x01\x40\x05" "\x03" "\x01\x02\x03\x04"
                               "\x04" F8 "\x05\x03" "abc" "\x05" LZF LEN5 "\x07" "\x00")},
    {"module without items", 7, false, BYTES(MODULE_ID "\x00")},
    {"zipmap", 9, false, BYTES("\x07" "\x01\x01" "f" "\x01\x00" "v\xff")},
    {"list ziplist", 10, false, BYTES("\x0b" F8 "\x01\x02\x03")},
    {"intset", 11, false, BYTES("\x0a" "\x02\x00\x00\x00\x01\x00\x00\x00\x05\x00")},
    {"zset ziplist", 12, false, BYTES(LZF)},
    {"hash ziplist", 13, false, BYTES("\x0b" F8 "\x01\x02\x03")},
    {"quicklist", 14, false, BYTES("\x02" "\x08" F8 LZF)},
    {"quicklist without nodes", 14, false, BYTES("\x00")},
    {"stream 1", 15, false, BYTES("\x02" NODE "\x08" F8 NODE LZF STREAM_TAIL_1 GROUPS_1)},
    {"empty stream 1", 15, false, BYTES("\x00" "\x00" "\x00\x00" "\x00")},
    {"hash listpack", 16, false, BYTES("\x08" F8)},
    {"zset listpack", 17, false, BYTES("\x08" F8)},
    {"quicklist 2", 18, false, BYTES("\x02" "\x01" "\x08" F8 "\x02" LZF)},
    {"stream 2", 19, false, BYTES("\x01" NODE "\x08" F8 STREAM_TAIL_2 GROUPS_2)},
    {"set listpack", 20, false, BYTES("\x08" F8)},
    {"stream 3", 21, false, BYTES("\x01" NODE "\x08" F8 STREAM_TAIL_2 GROUPS_3)},
    {"stream 3 without groups", 21, false, BYTES("\x01" NODE "\x08" F8 STREAM_TAIL_2 "\x00")},
    {"hash metadata pre-release", 22, false, BYTES("\x02" "\x00" "\x01" "f" "\x01" "v"
                                                   MAX9 "\x01" "g" "\x01" "w")},
    {"hash listpack pre-release", 23, false, BYTES("\x08" F8)},
    {"hash metadata", 24, false, BYTES(F8 "\x02" "\x00" "\x01" "f" "\x01" "v" "\x05" "\x01" "g" "\x01" "w")},
    {"hash listpack with expiry", 25, false, BYTES(F8 "\x08" F8)},
    {"hash of Valkey", 22, true, BYTES("\x02" "\x01" "f" "\x01" "v" "\xff\xff\xff\xff\xff\xff\xff\xff"
                                       "\x01" "g" "\x01" "w" F8)},
    {"stream 3 of Valkey", 21, true, BYTES("\x01" NODE "\x08" F8 STREAM_TAIL_2 GROUPS_3)},
};
/* clang-format on */

static size_t put(uint8_t *out, size_t pos, const void *bytes, size_t size)
{
    memcpy(out + pos, bytes, size);
    return pos + size;
}

/* The value twice, under two keys, so that a wrong end shows in what follows. */
static size_t build(uint8_t *out, const struct value *value)
{
    size_t pos = put(out, 0, value->is_valkey ? "VALKEY080" : "REDIS0012", 9);
    for (int i = 0; i < 2; i++) {
        pos = put(out, pos, &value->type, 1);
        pos = put(out, pos, "\x03key", 4);
        pos = put(out, pos, value->bytes, value->size);
    }
    return put(out, pos, "\xff\x01\x02\x03\x04\x05\x06\x07\x08", 9);
}

static void test_every_type_is_framed(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
        uint8_t bytes[1024];
        size_t size = build(bytes, &values[i]);
        struct feed_result whole;
        feed_rdb(bytes, size, FEED_WHOLE, 0, true, &whole);
        if (whole.status != RDB_READY) {
            fail_msg("%s: %s", values[i].name, whole.err.msg);
        }
        assert_int_equal(whole.keys_by_type[values[i].type], 2);
        assert_int_equal(whole.bytes_used, size);
        assert_true(whole.checksum == 0x0807060504030201);
        struct feed_result grown;
        feed_rdb(bytes, size, FEED_GROW, 0, true, &grown);
        assert_int_equal(grown.status, RDB_READY);
        assert_true(grown.digest == whole.digest);
        assert_true(grown.left_max < 32);
        for (size_t cut = 0; cut < size; cut++) {
            struct feed_result parts;
            feed_rdb(bytes, size, FEED_TWO_PARTS, cut, true, &parts);
            assert_true(parts.digest == whole.digest);
        }
    }
}

/* The walk must not need the byte behind the value to know that it is complete. */
static void test_a_value_ends_with_its_last_byte(void **state)
{
    (void)state;
    struct syn_err err;
    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
        uint8_t bytes[1024];
        size_t size = build(bytes, &values[i]);
        (void)size;
        struct rdb_parser *parser = rdb_parser_new(100, &err);
        assert_non_null(parser);
        struct rdb_item item;
        size_t used;
        size_t wanted;
        assert_int_equal(rdb_parser_next(parser, bytes, 9, &used, &wanted, &item, &err), RDB_READY);
        assert_int_equal(rdb_parser_next(parser, bytes + 9, 5, &used, &wanted, &item, &err),
                         RDB_READY);
        assert_int_equal(item.kind, RDB_ITEM_KEY);
        assert_int_equal(used, 5);
        size_t pos = 14;
        size_t end = pos + values[i].size;
        enum rdb_status status = RDB_MORE;
        for (size_t given = pos + 1; given <= end; given++) {
            assert_int_equal(status, RDB_MORE);
            status = rdb_value_walk(parser, bytes + pos, given - pos, &used, &err);
            pos += used;
        }
        if (status != RDB_READY || pos != end) {
            fail_msg("%s does not end with its last byte", values[i].name);
        }
        rdb_parser_free(parser);
    }
}

/* Strings and blobs tell their size at once; of the others only the walk can. */
static void test_measure(void **state)
{
    (void)state;
    struct syn_err err;
    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
        uint8_t bytes[1024];
        build(bytes, &values[i]);
        uint8_t type = values[i].type;
        bool is_single = type == 0 || (type >= 9 && type <= 13) || type == 16 || type == 17 ||
                         type == 20 || type == 23 || type == 25;
        struct rdb_parser *parser = rdb_parser_new(100, &err);
        struct rdb_item item;
        size_t used;
        size_t wanted;
        uint64_t total = 0;
        assert_int_equal(rdb_parser_next(parser, bytes, 9, &used, &wanted, &item, &err), RDB_READY);
        assert_int_equal(rdb_parser_next(parser, bytes + 9, 5, &used, &wanted, &item, &err),
                         RDB_READY);
        assert_int_equal(rdb_value_measure(parser, bytes + 14, 0, &total, &err),
                         is_single ? RDB_MORE : RDB_READY);
        assert_int_equal(rdb_value_measure(parser, bytes + 14, values[i].size, &total, &err),
                         RDB_READY);
        assert_true(total == (is_single ? values[i].size : UINT64_MAX));
        rdb_parser_free(parser);
    }
}

/* ---- opcodes ---- */

struct expectation {
    const char *bytes; /* behind the header */
    size_t size;
    struct rdb_item items[4]; /* up to the first END */
};

/* Reads items up to END and compares; values are walked. */
static void expect_items(const char *header, const struct expectation *expected)
{
    struct syn_err err;
    struct rdb_parser *parser = rdb_parser_new(1000, &err);
    uint8_t bytes[512];
    size_t size = put(bytes, put(bytes, 0, header, 9), expected->bytes, expected->size);
    struct rdb_item item;
    size_t used;
    size_t wanted;
    size_t pos = 9;
    assert_int_equal(rdb_parser_next(parser, bytes, size, &used, &wanted, &item, &err), RDB_READY);
    for (size_t i = 0;; i++) {
        const struct rdb_item *want = &expected->items[i];
        do {
            enum rdb_status status =
                rdb_parser_next(parser, bytes + pos, size - pos, &used, &wanted, &item, &err);
            if (status != RDB_READY) {
                fail_msg("status %d: %s", status, err.msg);
            }
            pos += used;
        } while (item.kind == RDB_ITEM_IGNORED && want->kind != RDB_ITEM_IGNORED);
        assert_int_equal(item.kind, want->kind);
        if (item.kind == RDB_ITEM_END) {
            break;
        }
        if (item.kind == RDB_ITEM_KEY) {
            assert_true(item.expire_ms == want->expire_ms);
            assert_true(item.idle_s == want->idle_s);
            assert_int_equal(item.has_freq, want->has_freq);
            assert_int_equal(item.freq, want->freq);
            assert_int_equal(rdb_value_walk(parser, bytes + pos, size - pos, &used, &err),
                             RDB_READY);
            pos += used;
        }
        if (item.kind == RDB_ITEM_KEY || item.kind == RDB_ITEM_AUX) {
            assert_int_equal(item.name.size, want->name.size);
            assert_memory_equal(item.name.bytes, want->name.bytes, want->name.size);
        }
        if (item.kind == RDB_ITEM_AUX || item.kind == RDB_ITEM_FUNCTION) {
            assert_int_equal(item.text.size, want->text.size);
            assert_memory_equal(item.text.bytes, want->text.bytes, want->text.size);
        }
        if (item.kind == RDB_ITEM_SELECT) {
            assert_true(item.db == want->db);
        }
        if (item.kind == RDB_ITEM_SLOT_INFO) {
            assert_true(item.slot == want->slot);
        }
        if (item.kind == RDB_ITEM_RESIZE || item.kind == RDB_ITEM_SLOT_INFO) {
            assert_true(item.key_count == want->key_count);
            assert_true(item.expire_count == want->expire_count);
        }
    }
    assert_int_equal(pos, size);
    rdb_parser_free(parser);
    /* And in pieces. */
    struct feed_result whole;
    struct feed_result grown;
    feed_rdb(bytes, size, FEED_WHOLE, 0, true, &whole);
    feed_rdb(bytes, size, FEED_GROW, 0, true, &grown);
    assert_true(whole.digest == grown.digest);
    assert_int_equal(whole.bytes_used, grown.bytes_used);
}

#define SLICE(text)                                                                                \
    {                                                                                              \
        .bytes = (const uint8_t *)(text), .size = sizeof(text) - 1                                 \
    }

/* clang-format off */
static const struct expectation redis_items[] = {
    {BYTES("\xfa\x04" "name" "\x05" "value" "\xff"),
     {{.kind = RDB_ITEM_AUX, .name = SLICE("name"), .text = SLICE("value")}, {.kind = RDB_ITEM_END}}},
    {BYTES("\xfa\xc0\x80\xc2\x00\x00\x00\x80\xff"),
     {{.kind = RDB_ITEM_AUX, .name = SLICE("-128"), .text = SLICE("-2147483648")}, {.kind = RDB_ITEM_END}}},
    {BYTES("\xfa\xc3\x05\x0a\x00" "a\xe0\x00\x00" "\xc3\x05\x0a\x00" "b\xe0\x00\x00\xff"),
     {{.kind = RDB_ITEM_AUX, .name = SLICE("aaaaaaaaaa"), .text = SLICE("bbbbbbbbbb")}, {.kind = RDB_ITEM_END}}},
    {BYTES("\xf5\x06" "#!lua\n" "\xff"),
     {{.kind = RDB_ITEM_FUNCTION, .text = SLICE("#!lua\n")}, {.kind = RDB_ITEM_END}}},
    {BYTES("\xfe\x0f\xfb\x40\x64\x05\xff"),
     {{.kind = RDB_ITEM_SELECT, .db = 15}, {.kind = RDB_ITEM_RESIZE, .key_count = 100, .expire_count = 5},
      {.kind = RDB_ITEM_END}}},
    {BYTES("\xf4\x7f\xff\x02\x01\xff"),
     {{.kind = RDB_ITEM_SLOT_INFO, .slot = 16383, .key_count = 2, .expire_count = 1}, {.kind = RDB_ITEM_END}}},
    {BYTES("\xfc\x01\x02\x00\x00\x00\x00\x00\x00\xf8\x40\x64\xf9\xff" "\x00\x01" "k\x01" "v\xff"),
     {{.kind = RDB_ITEM_KEY, .expire_ms = 0x201, .idle_s = 100, .has_freq = true, .freq = 255, .name = SLICE("k")},
      {.kind = RDB_ITEM_END}}},
    /* Seconds; the next key has none. */
    {BYTES("\xfd\x10\x00\x00\x00" "\x00\x01" "k\x01" "v" "\x00\x01" "l\x01" "v\xff"),
     {{.kind = RDB_ITEM_KEY, .expire_ms = 16000, .idle_s = -1, .name = SLICE("k")},
      {.kind = RDB_ITEM_KEY, .expire_ms = -1, .idle_s = -1, .name = SLICE("l")}, {.kind = RDB_ITEM_END}}},
    /* Times long past stay times: 0 and less would mean something else to RESTORE. */
    {BYTES("\xfc\x00\x00\x00\x00\x00\x00\x00\x00" "\x00\x01" "k\x01" "v"
           "\xfd\xfe\xff\xff\xff" "\x00\x01" "l\x01" "v"
           "\xfc\xff\xff\xff\xff\xff\xff\xff\xff" "\x00\x01" "m\x01" "v\xff"),
     {{.kind = RDB_ITEM_KEY, .expire_ms = 1, .idle_s = -1, .name = SLICE("k")},
      {.kind = RDB_ITEM_KEY, .expire_ms = 1, .idle_s = -1, .name = SLICE("l")},
      {.kind = RDB_ITEM_KEY, .expire_ms = -1, .idle_s = -1, .name = SLICE("m")}, {.kind = RDB_ITEM_END}}},
    /* What is said of the next key survives an opcode in between. */
    {BYTES("\xfc\x01\x02\x00\x00\x00\x00\x00\x00\xfa\x01" "n\x01" "t" "\x00\x01" "k\x01" "v" "\x00\x01" "l\x01" "v\xff"),
     {{.kind = RDB_ITEM_AUX, .name = SLICE("n"), .text = SLICE("t")},
      {.kind = RDB_ITEM_KEY, .expire_ms = 0x201, .idle_s = -1, .name = SLICE("k")},
      {.kind = RDB_ITEM_KEY, .expire_ms = -1, .idle_s = -1, .name = SLICE("l")}, {.kind = RDB_ITEM_END}}},
    /* Keys in all forms. */
    {BYTES("\x00\xc0\xff\x01" "v" "\x00\xc3\x05\x0a\x00" "a\xe0\x00\x00\x01" "v" "\x00\x00\x01" "v\xff"),
     {{.kind = RDB_ITEM_KEY, .expire_ms = -1, .idle_s = -1, .name = SLICE("-1")},
      {.kind = RDB_ITEM_KEY, .expire_ms = -1, .idle_s = -1, .name = SLICE("aaaaaaaaaa")},
      {.kind = RDB_ITEM_KEY, .expire_ms = -1, .idle_s = -1, .name = SLICE("")}, {.kind = RDB_ITEM_END}}},
    /* Module data is passed over. */
    {BYTES("\xf7" MODULE_ID "\x02\x01" "\x05\x03" "abc" "\x02" MAX9 "\x00" "\xfe\x01\xff"),
     {{.kind = RDB_ITEM_IGNORED}, {.kind = RDB_ITEM_SELECT, .db = 1}, {.kind = RDB_ITEM_END}}},
};
static const struct expectation valkey_items[] = {
    {BYTES("\xf3\x28" "0123456789012345678901234567890123456789" "\x02" "\x00\x05" "\x50\x00\x7f\xff" "\xfe\x01\xff"),
     {{.kind = RDB_ITEM_IGNORED}, {.kind = RDB_ITEM_SELECT, .db = 1}, {.kind = RDB_ITEM_END}}},
};
/* clang-format on */

static void test_opcodes(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(redis_items) / sizeof(redis_items[0]); i++) {
        expect_items("REDIS0012", &redis_items[i]);
    }
    expect_items("VALKEY080", &valkey_items[0]);
}

/* Without end, such input must not need an ever larger window. */
static void test_many_attributes_do_not_grow_the_window(void **state)
{
    (void)state;
    uint8_t bytes[1024];
    size_t size = put(bytes, 0, "REDIS0012", 9);
    for (int i = 0; i < 100; i++) {
        size = put(bytes, size, "\xfd\x10\x00\x00\x00\xf9\x07", 7);
    }
    size = put(bytes, size, "\x00\x01k\x01v\xff\0\0\0\0\0\0\0\0", 14);
    struct feed_result result;
    feed_rdb(bytes, size, FEED_GROW, 0, true, &result);
    assert_int_equal(result.status, RDB_READY);
    assert_int_equal(result.expiring, 1);
    assert_int_equal(result.with_freq, 1);
}

/* Versions before 5 end with the opcode; the caller still gets its last item. */
static void test_old_versions_have_no_checksum(void **state)
{
    (void)state;
    struct feed_result result;
    const uint8_t old[] = "REDIS0002\xfe\x01\xfd\x10\x00\x00\x00\x00\x01k\x01v\xff";
    feed_rdb(old, sizeof(old) - 1, FEED_WHOLE, 0, true, &result);
    assert_int_equal(result.status, RDB_READY);
    assert_int_equal(result.bytes_used, sizeof(old) - 1);
    assert_int_equal(result.checksum, 0);
    assert_int_equal(result.keys_by_db[1], 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_type_is_framed),
        cmocka_unit_test(test_a_value_ends_with_its_last_byte),
        cmocka_unit_test(test_measure),
        cmocka_unit_test(test_opcodes),
        cmocka_unit_test(test_many_attributes_do_not_grow_the_window),
        cmocka_unit_test(test_old_versions_have_no_checksum),
    };
    return cmocka_run_group_tests_name("rdb parser types", tests, NULL, NULL);
}
