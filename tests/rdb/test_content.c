/*
 * Contents of payloads: the same whole and in pieces, told apart part by part, compared at what
 * both sides can have, and never made of damaged bytes.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "rdb/content.h"
#include "tests/rdb/build.h"

#define ITEM_BYTES_MAX 16384u
#define KEY_HASH UINT64_C(0x123456789abcdef0)
#define EXPIRIES RDB_DETAIL_EXPIRIES

static struct build value;
static struct rdb_content_reader *reader;
static uint8_t payload[BUILD_BYTES_MAX + 16];

static struct slice payload_make(uint8_t type, uint16_t version)
{
    payload[0] = type;
    memcpy(payload + 1, value.bytes, value.size);
    size_t size = value.size + 1;
    rdb_footer_write(payload + size, crc64_update(0, payload, size), version);
    return (struct slice){.bytes = payload, .size = size + RDB_FOOTER_SIZE};
}

/* In pieces of `step` bytes, each in memory of its own. */
static enum rdb_verdict
read_pieces(struct slice whole, size_t step, struct rdb_content *out, struct syn_err *err)
{
    rdb_content_begin(reader, whole.size, rdb_payload_is_valkey(whole), KEY_HASH);
    for (size_t pos = 0; pos < whole.size; pos += step) {
        size_t size = step < whole.size - pos ? step : whole.size - pos;
        uint8_t *copy = mem_alloc(MEM_RDB, size);
        assert_non_null(copy);
        memcpy(copy, whole.bytes + pos, size);
        rdb_content_piece(reader, (struct slice){.bytes = copy, .size = size});
        mem_free(MEM_RDB, copy);
    }
    return rdb_content_end(reader, out, err);
}

/* Whole, and cut in many ways: one verdict. */
static enum rdb_verdict read_all(struct slice whole, struct rdb_content *out, struct syn_err *err)
{
    enum rdb_verdict verdict = rdb_content_read(reader, whole, KEY_HASH, out, err);
    for (size_t step = 1; step <= whole.size && step < 300; step += 1 + step / 40) {
        struct rdb_content pieces;
        struct syn_err err_pieces;
        assert_int_equal(read_pieces(whole, step, &pieces, &err_pieces), verdict);
        assert_int_equal(pieces.type, out->type);
        if (verdict != RDB_VERDICT_READ) {
            assert_string_equal(err_pieces.msg, err->msg);
            continue;
        }
        assert_int_equal(pieces.kind, out->kind);
        assert_int_equal(pieces.count, out->count);
        assert_int_equal(pieces.version, out->version);
        assert_int_equal(rdb_content_compare(&pieces, out, EXPIRIES | RDB_DETAIL_TIMES), 0);
    }
    return verdict;
}

static struct rdb_content of(uint8_t type, uint16_t version)
{
    struct rdb_content content;
    struct syn_err err;
    if (read_all(payload_make(type, version), &content, &err) != RDB_VERDICT_READ) {
        fail_msg("%s", err.msg);
    }
    assert_int_equal(content.type, type);
    assert_int_equal(content.version, version);
    assert_int_equal(content.is_valkey, version >= 80);
    return content;
}

static struct rdb_content of_texts(uint8_t type, size_t count, const char *const *texts)
{
    build_reset(&value);
    build_len(&value, type == RDB_TYPE_HASH ? count / 2 : count);
    for (size_t i = 0; i < count; i++) {
        build_text(&value, texts[i]);
    }
    return of(type, 9);
}

#define TEXTS(...)                                                                                 \
    sizeof((const char *[]){__VA_ARGS__}) / sizeof(char *), (const char *[])                       \
    {                                                                                              \
        __VA_ARGS__                                                                                \
    }

static void
expect_parts(const struct rdb_content *a, const struct rdb_content *b, const char *expected)
{
    char text[200];
    rdb_content_describe(a->kind, rdb_content_compare(a, b, EXPIRIES), text, sizeof(text));
    assert_string_equal(text, expected);
    rdb_content_describe(a->kind, rdb_content_compare(b, a, EXPIRIES), text, sizeof(text));
    assert_string_equal(text, expected);
    struct rdb_digest_value x = rdb_content_number(a, EXPIRIES);
    struct rdb_digest_value y = rdb_content_number(b, EXPIRIES);
    if (expected[0] != '\0') {
        assert_true(x.low != y.low || x.high != y.high);
    }
}

/* What differs is named, and what follows from it is not. */
static void test_parts(void **state)
{
    (void)state;
    struct rdb_content a = of_texts(RDB_TYPE_LIST, TEXTS("a", "b", "c"));
    struct rdb_content b = of_texts(RDB_TYPE_LIST, TEXTS("a", "b", "c"));
    expect_parts(&a, &b, "");
    b = of_texts(RDB_TYPE_LIST, TEXTS("b", "a", "c"));
    expect_parts(&a, &b, "order of elements");
    b = of_texts(RDB_TYPE_LIST, TEXTS("a", "b", "d"));
    expect_parts(&a, &b, "elements");
    a = of_texts(RDB_TYPE_SET, TEXTS("a", "b"));
    b = of_texts(RDB_TYPE_SET, TEXTS("b", "a"));
    expect_parts(&a, &b, "");
    b = of_texts(RDB_TYPE_SET, TEXTS("b"));
    expect_parts(&a, &b, "members");
    a = of_texts(RDB_TYPE_HASH, TEXTS("a", "1", "b", "2"));
    assert_int_equal(a.count, 2);
    b = of_texts(RDB_TYPE_HASH, TEXTS("b", "2", "a", "1"));
    expect_parts(&a, &b, "");
    b = of_texts(RDB_TYPE_HASH, TEXTS("a", "2", "b", "1"));
    expect_parts(&a, &b, "values of fields");
    b = of_texts(RDB_TYPE_HASH, TEXTS("a", "1", "c", "2"));
    expect_parts(&a, &b, "fields");
    char text[8];
    rdb_content_describe(RDB_KIND_HASH, 1u << RDB_PART_VALUES, text, sizeof(text));
    assert_string_equal(text, "values ");
    rdb_content_describe(RDB_KIND_HASH, 0, text, 1);
    assert_string_equal(text, "");
}

/* Field "a" with this time, "b" without: Valkey's layout. */
static struct rdb_content of_field_time(uint64_t at)
{
    build_reset(&value);
    build_len(&value, 2);
    build_text(&value, "a");
    build_text(&value, "1");
    build_u64(&value, at);
    build_text(&value, "b");
    build_text(&value, "2");
    build_u64(&value, UINT64_MAX);
    return of(22, 80);
}

/* Fields that expire, and such as have. */
static void test_field_times(void **state)
{
    (void)state;
    struct rdb_content a = of_field_time(5000);
    struct rdb_content b = of_field_time(6000);
    struct rdb_content plain = of_texts(RDB_TYPE_HASH, TEXTS("a", "1", "b", "2"));
    assert_int_equal(a.expiring, 1);
    expect_parts(&a, &b, "expiry times of fields");
    expect_parts(&a, &plain, "expiry times of fields");
    assert_int_equal(rdb_content_compare(&a, &b, 0), 0);
    assert_int_equal(rdb_content_compare(&a, &plain, 0), 0);
    rdb_content_forget(reader, 5000);
    a = of_field_time(5000);
    assert_int_equal(a.gone, 1);
    assert_int_equal(a.count, 1);
    plain = of_texts(RDB_TYPE_HASH, TEXTS("b", "2"));
    expect_parts(&a, &plain, "");
    b = of_field_time(5001);
    assert_int_equal(b.gone, 0);
    expect_parts(&a, &b, "fields");
    rdb_content_forget(reader, -1);
    a = of_field_time(5000);
    assert_int_equal(a.gone, 0);
    /* Type 22 means what the footer says, and a reader told otherwise does not guess. */
    struct syn_err err;
    struct slice whole = payload_make(22, 80);
    rdb_content_begin(reader, whole.size, false, KEY_HASH);
    rdb_content_piece(reader, whole);
    assert_int_equal(rdb_content_end(reader, &b, &err), RDB_VERDICT_DAMAGED);
    assert_non_null(strstr(err.msg, "is not of the server that was expected"));
}

/* What of a stream is changed in turn. */
struct stream {
    unsigned version;
    unsigned last_id;
    unsigned deleted_id;
    unsigned added;
    unsigned delivered_id;
    int read; /* -1: unknown */
    unsigned deliveries;
    uint64_t delivered_ms;
    const char *owner;
    bool has_idle;
    uint64_t seen_ms;
};

static const struct stream stream = {.version = 3,
                                     .last_id = 9,
                                     .added = 2,
                                     .delivered_id = 9,
                                     .read = 1,
                                     .deliveries = 1,
                                     .delivered_ms = 1000,
                                     .owner = "ann",
                                     .seen_ms = 7};

static void build_consumer(const struct stream *from, const char *name, bool has_pending)
{
    build_text(&value, name);
    build_u64(&value, from->seen_ms);
    if (from->version >= 3) {
        build_u64(&value, from->seen_ms + 1);
    }
    build_len(&value, has_pending);
    if (has_pending) {
        build_u64_be(&value, 9);
        build_u64_be(&value, 1);
    }
}

/* One entry, 9-1; one group with it pending. */
static struct rdb_content of_stream(const struct stream *from)
{
    static const uint8_t types[] = {
        0, RDB_TYPE_STREAM_LISTPACKS, RDB_TYPE_STREAM_LISTPACKS_2, RDB_TYPE_STREAM_LISTPACKS_3};
    build_reset(&value);
    build_stream_nodes(&value);
    build_len(&value, 1);
    build_len(&value, from->last_id);
    build_len(&value, 1);
    if (from->version >= 2) {
        build_bytes(&value, "\x09\x01", 2);
        build_len(&value, from->deleted_id);
        build_len(&value, 0);
        build_len(&value, from->added);
    }
    build_len(&value, 1);
    build_text(&value, "g");
    build_len(&value, from->delivered_id);
    build_len(&value, 1);
    if (from->version >= 2 && from->read >= 0) {
        build_len(&value, (uint64_t)from->read);
    } else if (from->version >= 2) {
        build_byte(&value, 0x81);
        build_u64(&value, UINT64_MAX);
    }
    build_len(&value, 1);
    build_u64_be(&value, 9);
    build_u64_be(&value, 1);
    build_u64(&value, from->delivered_ms);
    build_len(&value, from->deliveries);
    build_len(&value, from->has_idle ? 2 : 1);
    build_consumer(from, from->owner, true);
    if (from->has_idle) {
        build_consumer(from, "idle", false);
    }
    return of(types[from->version], from->version == 1 ? 9 : 11);
}

static void expect_stream(const struct stream *a, const struct stream *b, const char *expected)
{
    struct rdb_content x = of_stream(a);
    struct rdb_content y = of_stream(b);
    expect_parts(&x, &y, expected);
}

static void test_stream_parts(void **state)
{
    (void)state;
    struct stream other = stream;
    expect_stream(&stream, &other, "");
    other.last_id = 10;
    expect_stream(&stream, &other, "last id");
    other = stream;
    other.deleted_id = 8;
    expect_stream(&stream, &other, "max-deleted-id");
    other.added = 3;
    expect_stream(&stream, &other, "max-deleted-id, entries-added");
    other = stream;
    other.delivered_id = 8;
    expect_stream(&stream, &other, "last-delivered ids of groups");
    other = stream;
    other.read = 0;
    expect_stream(&stream, &other, "entries-read of groups");
    other = stream;
    other.deliveries = 4;
    expect_stream(&stream, &other, "delivery counts of pending entries");
    other = stream;
    other.owner = "bob";
    expect_stream(&stream, &other, "owners of pending entries, consumers");
    other = stream;
    other.has_idle = true;
    expect_stream(&stream, &other, "consumers");
    other = stream;
    other.seen_ms = 8;
    other.delivered_ms = 8;
    expect_stream(&stream, &other, "");
    struct rdb_content x = of_stream(&stream);
    struct rdb_content y = of_stream(&other);
    assert_int_equal(rdb_content_compare(&x, &y, RDB_DETAIL_TIMES),
                     1u << RDB_PART_TIMES | 1u << RDB_PART_DELIVERY_TIMES);
}

/* What one version does not know is no difference; the rest is. */
static void test_stream_versions(void **state)
{
    (void)state;
    for (unsigned a = 1; a <= 3; a++) {
        for (unsigned b = 1; b <= 3; b++) {
            bool has_counters = a > 1 && b > 1;
            struct stream from = stream;
            struct stream to = stream;
            from.version = a;
            to.version = b;
            expect_stream(&from, &to, "");
            to.added = 7;
            to.deleted_id = 3;
            to.read = 0;
            expect_stream(&from,
                          &to,
                          has_counters ? "max-deleted-id, entries-added, entries-read of groups"
                                       : "");
            to = stream;
            to.version = b;
            to.read = -1;
            expect_stream(&from, &to, "");
            to.read = stream.read;
            to.has_idle = true;
            expect_stream(&from, &to, has_counters ? "consumers" : "");
            to.has_idle = false;
            to.owner = "bob";
            expect_stream(&from,
                          &to,
                          has_counters ? "owners of pending entries, consumers"
                                       : "owners of pending entries");
            to.owner = stream.owner;
            to.delivered_id = 3;
            expect_stream(&from, &to, "last-delivered ids of groups");
        }
    }
}

static void build_module(const char *name, unsigned version)
{
    static const char characters[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    uint64_t id = 0;
    for (size_t i = 0; i < 9; i++) {
        id = id << 6 | (uint64_t)(strchr(characters, name[i]) - characters);
    }
    build_reset(&value);
    build_byte(&value, 0x81);
    build_u64_be(&value, id << 10 | version);
}

static void build_number(uint64_t number)
{
    build_len(&value, RDB_MODULE_UNSIGNED);
    build_len(&value, number);
}

static void build_string(const char *text, bool is_compressed)
{
    build_len(&value, RDB_MODULE_STRING);
    if (is_compressed) {
        build_lzf(&value, text, strlen(text));
    } else {
        build_text(&value, text);
    }
}

static struct rdb_content of_module(const char *name, unsigned version, const char *text, bool lzf)
{
    build_module(name, version);
    build_number(300);
    build_string(text, lzf);
    build_len(&value, RDB_MODULE_DOUBLE);
    build_double(&value, 1.5);
    build_len(&value, RDB_MODULE_FLOAT);
    build_u32(&value, 7);
    build_len(&value, 0);
    return of(RDB_TYPE_MODULE_2, 10);
}

/* Items, whatever form their strings have; nothing else is known of them. */
static void test_modules(void **state)
{
    (void)state;
    static const char text[] = "some text that is long enough to be compressed";
    struct rdb_content a = of_module("ReJSON-RL", 3, text, false);
    struct rdb_content b = of_module("ReJSON-RL", 3, text, true);
    assert_int_equal(a.count, 4);
    assert_string_equal(a.module.name, "ReJSON-RL");
    assert_int_equal(a.module.version, 3);
    expect_parts(&a, &b, "");
    b = of_module("ReJSON-RL", 3, "other", false);
    expect_parts(&a, &b, "items");
    b = of_module("ReJSON-RL", 4, text, false);
    expect_parts(&a, &b, "items");
    build_module("ReJSON-RL", 3);
    build_len(&value, 0);
    a = of(RDB_TYPE_MODULE_2, 10);
    build_module("TSDB-TYPE", 3);
    build_len(&value, 0);
    b = of(RDB_TYPE_MODULE_2, 10);
    assert_int_equal(a.count, 0);
    expect_parts(&a, &b, "items");
}

static void build_vector(const char *name, const char *attribute, uint64_t graph, uint64_t norm)
{
    build_string(name, false);
    build_string(attribute, false);
    build_string("\x01\x02\x03", false);
    build_number(3);
    build_number(graph);
    build_number(graph + 1);
    build_number(norm);
}

static struct rdb_content
of_vectors(bool is_backwards, uint64_t graph, const char *attribute, uint64_t norm, uint64_t flags)
{
    build_module("vectorset", 0);
    build_number(3);
    build_number(2);
    build_number(0x1002);
    build_number(flags);
    for (int i = 0; i < 2; i++) {
        if ((i == 0) == is_backwards) {
            build_vector("b", attribute, graph, 5);
        } else {
            build_vector("a", "", graph + 10, norm);
        }
    }
    build_len(&value, 0);
    return of(RDB_TYPE_MODULE_2, 12);
}

static void test_vectors(void **state)
{
    (void)state;
    struct rdb_content a = of_vectors(false, 1, "x", 6, 2);
    struct rdb_content b = of_vectors(true, 1, "x", 6, 2);
    expect_parts(&a, &b, "");
    b = of_vectors(true, 50, "x", 6, 2);
    expect_parts(&a, &b, "");
    b = of_vectors(false, 1, "y", 6, 2);
    expect_parts(&a, &b, "items");
    b = of_vectors(false, 1, "x", 7, 2);
    expect_parts(&a, &b, "items");
    /* Laid out in a way that is not known: in order, as any module's. */
    a = of_vectors(false, 1, "x", 6, 4);
    b = of_vectors(true, 1, "x", 6, 4);
    expect_parts(&a, &b, "items");
    b = of_vectors(false, 2, "x", 6, 4);
    expect_parts(&a, &b, "items");
    b = of_vectors(false, 1, "x", 6, 4);
    expect_parts(&a, &b, "");
}

static void expect_verdict(struct slice whole, enum rdb_verdict expected, const char *words)
{
    struct rdb_content content;
    struct syn_err err = {.code = SYN_CODE_OK};
    assert_int_equal(read_all(whole, &content, &err), expected);
    if (strstr(err.msg, words) == NULL || strstr(err.msg, "123456789abcdef0") == NULL) {
        fail_msg("%s", err.msg);
    }
}

/* What to do is told by the verdict, what was wrong by the message. */
static void test_verdicts(void **state)
{
    (void)state;
    build_reset(&value);
    build_text(&value, "hello");
    expect_verdict(payload_make(77, 10), RDB_VERDICT_UNKNOWN, "unknown value type");
    expect_verdict(payload_make(6, 10), RDB_VERDICT_UNKNOWN, "release candidates");
    struct slice whole = payload_make(0, 10);
    payload[2] ^= 1;
    expect_verdict(whole, RDB_VERDICT_DAMAGED, "CRC64");
    whole = payload_make(77, 10);
    payload[2] ^= 1; /* of an unknown type or not: these bytes are wrong */
    expect_verdict(whole, RDB_VERDICT_DAMAGED, "CRC64");
    for (size_t size = 0; size < 12; size++) {
        whole = payload_make(0, 10);
        whole.size = size;
        expect_verdict(whole, RDB_VERDICT_DAMAGED, "are too few");
    }
    build_byte(&value, 'x');
    expect_verdict(payload_make(0, 10), RDB_VERDICT_DAMAGED, "there are bytes behind the value");
    value.size -= 2;
    expect_verdict(payload_make(0, 10), RDB_VERDICT_DAMAGED, "the value is cut");
    build_reset(&value);
    build_len(&value, 1);
    value.bytes[value.size] = 0x80; /* a text of 64 KiB, not all of it there */
    memcpy(value.bytes + value.size + 1, "\0\1\0\0", 4);
    value.size += 20000;
    expect_verdict(payload_make(2, 10), RDB_VERDICT_TOO_LARGE, "larger than the limit");
    build_reset(&value);
    build_len(&value, 1);
    static uint8_t text[10000];
    build_str(&value, text, sizeof(text));
    struct rdb_content content;
    struct syn_err err;
    whole = payload_make(2, 10);
    struct slice first = {.bytes = whole.bytes, .size = 5000};
    struct slice second = {.bytes = whole.bytes + 5000, .size = whole.size - 5000};
    rdb_content_reader_free(reader); /* it has buffers by now */
    reader = rdb_content_reader_new(ITEM_BYTES_MAX, &err);
    assert_non_null(reader);
    rdb_content_begin(reader, whole.size, false, KEY_HASH);
    mem_fail_at(1);
    rdb_content_piece(reader, first);
    mem_fail_at(0);
    rdb_content_piece(reader, second);
    assert_int_equal(rdb_content_end(reader, &content, &err), RDB_VERDICT_FAILED);
    assert_int_equal(err.code, SYN_CODE_MEMORY);
    assert_int_equal(read_all(whole, &content, &err), RDB_VERDICT_READ);
}

static void test_same(void **state)
{
    (void)state;
    static uint8_t other[64];
    build_reset(&value);
    build_text(&value, "hello");
    struct slice a = payload_make(0, 9);
    memcpy(other, a.bytes, a.size);
    struct slice b = {.bytes = other, .size = a.size};
    assert_true(rdb_payload_is_same(a, b));
    payload_make(0, 12);
    assert_true(rdb_payload_is_same(a, b));
    other[3] ^= 1;
    assert_false(rdb_payload_is_same(a, b));
    a = payload_make(22, 12);
    memcpy(other, a.bytes, a.size);
    assert_true(rdb_payload_is_same(a, b));
    payload_make(22, 80); /* the same bytes with another meaning */
    assert_false(rdb_payload_is_same(a, b));
    a.size = b.size = 11;
    assert_false(rdb_payload_is_same(a, b));
    a.size = b.size = 0;
    assert_false(rdb_payload_is_same(a, b));
}

static void test_memory(void **state)
{
    (void)state;
    for (uint64_t n = 1;; n++) {
        struct syn_err err = {.code = SYN_CODE_OK};
        mem_fail_at(n);
        struct rdb_content_reader *made = rdb_content_reader_new(1, &err);
        mem_fail_at(0);
        if (made != NULL) {
            rdb_content_reader_free(made);
            assert_int_equal(n, 4);
            return;
        }
        assert_int_equal(err.code, SYN_CODE_MEMORY);
    }
}

static int setup(void **state)
{
    (void)state;
    struct syn_err err;
    reader = rdb_content_reader_new(ITEM_BYTES_MAX, &err);
    return reader == NULL;
}

static int teardown(void **state)
{
    (void)state;
    rdb_content_reader_free(reader);
    return mem_live_bytes(MEM_RDB) != 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parts),
        cmocka_unit_test(test_field_times),
        cmocka_unit_test(test_stream_parts),
        cmocka_unit_test(test_stream_versions),
        cmocka_unit_test(test_modules),
        cmocka_unit_test(test_vectors),
        cmocka_unit_test(test_verdicts),
        cmocka_unit_test(test_same),
        cmocka_unit_test(test_memory),
    };
    return cmocka_run_group_tests_name("contents", tests, setup, teardown);
}
