/*
 * Values without end: what they may cost in memory, and what happens when there is none.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "rdb/digest.h"
#include "tests/rdb/build.h"

#define WINDOW_BYTES ((size_t)1 << 20)
#define MEMORY_BYTES_MAX ((uint64_t)64 << 20)
#define ITEM_BYTES_MAX ((size_t)16 << 20)

static uint8_t window[WINDOW_BYTES];

struct sum {
    uint64_t visits;
    uint64_t bytes;
};

static enum rdb_flow on_element(void *arg, const struct rdb_element *element)
{
    struct sum *sum = arg;
    sum->visits++;
    sum->bytes += element->size;
    return RDB_GO;
}

static enum rdb_flow on_hash(void *arg,
                             const struct rdb_element *field,
                             const struct rdb_element *value,
                             int64_t expire_ms)
{
    (void)expire_ms;
    on_element(arg, field);
    return on_element(arg, value);
}

static enum rdb_flow on_zset(void *arg, const struct rdb_element *member, double score)
{
    (void)score;
    return on_element(arg, member);
}

static enum rdb_flow on_string(void *arg, struct slice piece, uint64_t offset, uint64_t total)
{
    struct sum *sum = arg;
    assert_true(offset == sum->bytes);
    assert_true(offset + piece.size <= total);
    sum->visits++;
    sum->bytes += piece.size;
    return RDB_GO;
}

static const struct rdb_visitor visitor = {
    .string = on_string,
    .list = on_element,
    .set = on_element,
    .hash = on_hash,
    .zset = on_zset,
};

static struct rdb_decoder *decoder_at(uint8_t type, struct sum *sum)
{
    struct syn_err err;
    struct rdb_decoder *decoder = rdb_decoder_new(ITEM_BYTES_MAX, &err);
    assert_non_null(decoder);
    struct rdb_value_place place = {.type = type};
    *sum = (struct sum){0};
    assert_true(rdb_decoder_begin(decoder, &place, &visitor, sum, &err));
    return decoder;
}

static enum rdb_decode run(struct rdb_decoder *decoder, const uint8_t *bytes, size_t size)
{
    struct syn_err err;
    size_t used;
    enum rdb_decode status = rdb_decoder_run(decoder, bytes, size, &used, &err);
    if (status == RDB_DECODE_ERROR) {
        fail_msg("%s", err.msg);
    }
    assert_int_equal(used, size);
    assert_true(mem_live_bytes(MEM_RDB) <= MEMORY_BYTES_MAX);
    return status;
}

/* 100 million members pass with no more memory than a few take. */
static void test_many_members(void **state)
{
    (void)state;
    struct sum sum;
    struct build head;
    const uint64_t count = 100000000;
    const size_t members = 100000;
    build_reset(&head);
    build_len(&head, count);
    struct rdb_decoder *decoder = decoder_at(RDB_TYPE_SET, &sum);
    enum rdb_decode status = run(decoder, head.bytes, head.size);
    for (size_t i = 0; i < members; i++) {
        memcpy(window + 9 * i, "\x08member00", 9);
    }
    for (uint64_t i = 0; i < count / members; i++) {
        assert_int_equal(status, RDB_DECODE_MORE);
        status = run(decoder, window, 9 * members);
    }
    assert_int_equal(status, RDB_DECODE_DONE);
    assert_true(sum.visits == count);
    assert_true(sum.bytes == 8 * count);
    rdb_decoder_free(decoder);
}

/* `count` copies of a unit, in windows of many. */
static void run_units(uint8_t type,
                      const struct build *head,
                      const struct build *unit,
                      uint64_t count,
                      uint64_t visits)
{
    struct sum sum;
    struct rdb_decoder *decoder = decoder_at(type, &sum);
    enum rdb_decode status = run(decoder, head->bytes, head->size);
    size_t batch = WINDOW_BYTES / unit->size;
    for (size_t i = 0; i < batch; i++) {
        memcpy(window + i * unit->size, unit->bytes, unit->size);
    }
    for (uint64_t left = count; left > 0;) {
        size_t now = left < batch ? (size_t)left : batch;
        assert_int_equal(status, RDB_DECODE_MORE);
        status = run(decoder, window, now * unit->size);
        left -= now;
    }
    assert_int_equal(status, RDB_DECODE_DONE);
    assert_true(sum.visits == visits);
    rdb_decoder_free(decoder);
}

/* Elements that hold nothing are the most work for a byte: it must stay in proportion to the bytes,
 * or this does not end. */
static void test_many_nothings(void **state)
{
    (void)state;
    static struct build head;
    static struct build unit;
    static struct build blob;
    const uint64_t count = 20000000;
    build_reset(&head);
    build_len(&head, count);
    build_reset(&unit);
    build_text(&unit, "");
    run_units(RDB_TYPE_LIST, &head, &unit, count, count);
    build_text(&unit, "");
    run_units(RDB_TYPE_HASH, &head, &unit, count, 2 * count);

    /* Nodes without elements; groups without anything, which are visited but not counted here. */
    build_reset(&head);
    build_len(&head, count / 20);
    ziplist_begin(&blob);
    ziplist_end(&blob);
    build_reset(&unit);
    build_blob(&unit, &blob);
    run_units(RDB_TYPE_LIST_QUICKLIST, &head, &unit, count / 20, 0);
    listpack_begin(&blob);
    listpack_end(&blob);
    build_reset(&unit);
    build_len(&unit, 2);
    build_blob(&unit, &blob);
    run_units(RDB_TYPE_LIST_QUICKLIST_2, &head, &unit, count / 20, 0);
    build_reset(&head);
    build_bytes(&head, "\0\0\0\0", 4);
    build_len(&head, count / 4);
    build_reset(&unit);
    build_bytes(&unit, "\0\0\0\0\0", 5);
    run_units(RDB_TYPE_STREAM_LISTPACKS, &head, &unit, count / 4, 0);
}

/* A list of nodes, all of them cut by the windows. */
static void test_many_nodes(void **state)
{
    (void)state;
    static struct build blob;
    static struct build node;
    struct sum sum;
    struct build *head = &node;
    const uint64_t count = 20000;
    listpack_begin(&blob);
    for (unsigned i = 0; i < 400; i++) {
        listpack_text(&blob, "an element of a list", 20);
    }
    listpack_end(&blob);
    struct rdb_decoder *decoder = decoder_at(RDB_TYPE_LIST_QUICKLIST_2, &sum);
    build_reset(head);
    build_len(head, count);
    enum rdb_decode status = run(decoder, head->bytes, head->size);
    build_reset(&node);
    build_len(&node, 2);
    build_blob(&node, &blob);
    for (uint64_t i = 0; i < count; i++) {
        size_t cut = 1 + (i * 97) % (node.size - 1);
        cut = cut < 4 ? 4 : cut; /* whole heads, so that nothing is left */
        assert_int_equal(status, RDB_DECODE_MORE);
        status = run(decoder, node.bytes, cut);
        if (cut < node.size) {
            assert_int_equal(status, RDB_DECODE_MORE);
            status = run(decoder, node.bytes + cut, node.size - cut);
        }
    }
    assert_int_equal(status, RDB_DECODE_DONE);
    assert_true(sum.visits == 400 * count);
    rdb_decoder_free(decoder);
}

/* A text of 4 GiB and some, raw. */
static void test_long_string(void **state)
{
    (void)state;
    struct sum sum;
    struct build head;
    const uint64_t total = ((uint64_t)4 << 30) + WINDOW_BYTES;
    build_reset(&head);
    build_len(&head, total);
    struct rdb_decoder *decoder = decoder_at(RDB_TYPE_STRING, &sum);
    enum rdb_decode status = run(decoder, head.bytes, head.size);
    for (uint64_t i = 0; i < total / WINDOW_BYTES; i++) {
        assert_int_equal(status, RDB_DECODE_MORE);
        status = run(decoder, window, WINDOW_BYTES);
    }
    assert_int_equal(status, RDB_DECODE_DONE);
    assert_true(sum.bytes == total);
    rdb_decoder_free(decoder);
}

/* The most that LZF can hold, 4 GiB less one byte: it must not be assembled. */
static void test_long_compressed_string(void **state)
{
    (void)state;
    struct sum sum;
    struct build head;
    const uint64_t total = UINT32_MAX;
    /* One literal, then runs of 264 bytes from one back, then the rest as literals. */
    const uint64_t runs = (total - 1) / 264;
    const unsigned rest = (unsigned)(total - 1 - 264 * runs);
    const size_t batch = 100000;
    build_reset(&head);
    build_byte(&head, 0xc3);
    build_len(&head, 2 + 3 * runs + 2 * (uint64_t)rest);
    build_len(&head, total);
    build_bytes(&head,
                "\x00"
                "a",
                2);
    struct rdb_decoder *decoder = decoder_at(RDB_TYPE_STRING, &sum);
    enum rdb_decode status = run(decoder, head.bytes, head.size);
    for (size_t i = 0; i < batch; i++) {
        memcpy(window + 3 * i, "\xe0\xff\x00", 3);
    }
    for (uint64_t left = runs; left > 0;) {
        size_t now = left < batch ? (size_t)left : batch;
        assert_int_equal(status, RDB_DECODE_MORE);
        status = run(decoder, window, 3 * now);
        left -= now;
    }
    for (unsigned i = 0; i < rest; i++) {
        status = run(decoder, (const uint8_t *)"\x00z", 2);
    }
    assert_int_equal(status, RDB_DECODE_DONE);
    assert_true(sum.bytes == total);
    assert_true(mem_live_bytes(MEM_RDB) < (uint64_t)1 << 20);
    rdb_decoder_free(decoder);
}

/* Decodes in windows of `step` bytes more each time; any allocation may fail. */
static bool
decode(uint8_t type, const struct build *value, size_t step, struct sum *sum, struct syn_err *err)
{
    struct rdb_decoder *decoder = rdb_decoder_new(ITEM_BYTES_MAX, err);
    struct rdb_value_place place = {.type = type};
    enum rdb_decode status = RDB_DECODE_ERROR;
    *sum = (struct sum){0};
    if (decoder != NULL && rdb_decoder_begin(decoder, &place, &visitor, sum, err)) {
        size_t pos = 0;
        status = RDB_DECODE_MORE;
        for (size_t end = 0; end < value->size && status == RDB_DECODE_MORE;) {
            end = end + step < value->size ? end + step : value->size;
            size_t used;
            status = rdb_decoder_run(decoder, value->bytes + pos, end - pos, &used, err);
            pos += used;
        }
        assert_true(status != RDB_DECODE_MORE);
    }
    rdb_decoder_free(decoder);
    return status == RDB_DECODE_DONE;
}

static void fail_each_of(uint8_t type, const struct build *value, size_t step)
{
    struct syn_err err = {0};
    struct sum sum;
    uint64_t live = mem_live_bytes(MEM_RDB);
    for (uint64_t n = 1;; n++) {
        mem_fail_at(n);
        bool is_decoded = decode(type, value, step, &sum, &err);
        mem_fail_at(0);
        assert_true(mem_live_bytes(MEM_RDB) == live);
        if (is_decoded) {
            assert_true(n > 2);
            return;
        }
        assert_int_equal(err.code, SYN_CODE_MEMORY);
    }
}

/* With windows that cut each text, and with some that hold a whole field and half its value. */
static void fail_each(uint8_t type, const struct build *value)
{
    fail_each_of(type, value, 1);
    fail_each_of(type, value, 7);
}

/* Any allocation may fail: a clean error, and nothing lost. */
static void test_no_memory(void **state)
{
    (void)state;
    static uint8_t text[20000];
    static struct build value;
    static struct build blob;
    memset(text, 'x', sizeof(text));
    build_reset(&value);
    build_len(&value, 2);
    build_text(&value, "field");
    build_str(&value, text, 9000);
    build_str(&value, text, 10000);
    build_lzf(&value, text, 20000);
    fail_each(RDB_TYPE_HASH, &value);
    listpack_begin(&blob);
    listpack_text(&blob, text, 10000);
    listpack_end(&blob);
    build_reset(&value);
    build_len(&value, 2);
    build_len(&value, 2);
    build_blob(&value, &blob);
    build_len(&value, 2);
    build_lzf(&value, blob.bytes, blob.size);
    fail_each(RDB_TYPE_LIST_QUICKLIST_2, &value);
    build_reset(&value);
    build_lzf(&value, text, 20000);
    fail_each(RDB_TYPE_STRING, &value);
    build_reset(&value);
    build_bytes(&value,
                "\x01\x03mem\x03"
                "1.5",
                9);
    fail_each(RDB_TYPE_ZSET, &value);
    struct syn_err err;
    mem_fail_at(1);
    assert_null(rdb_digest_new(0, &err));
    mem_fail_at(0);
    assert_int_equal(err.code, SYN_CODE_MEMORY);
}

/* A listpack of one entry of 2097151 bytes, whose back length Redis and Valkey 9 write differently;
 * one byte less, and only the short form is right. */
static enum rdb_decode decode_back_length(size_t length, bool is_long, struct sum *sum)
{
    struct build head;
    size_t back = is_long ? 4 : 3;
    size_t size = 6 + length + back + 1;
    uint8_t *blob = mem_calloc(MEM_TOOLS, size);
    assert_non_null(blob);
    build_reset(&head);
    build_u32(&head, (uint32_t)size);
    build_bytes(&head, "\x01\x00\xf0", 3);
    build_u32(&head, (uint32_t)length - 5);
    memcpy(blob, head.bytes, head.size);
    for (size_t i = 0; i < back; i++) {
        size_t group = length >> (7 * (back - 1 - i)) & 127;
        blob[6 + length + i] = (uint8_t)(i == 0 ? group : group | 128);
    }
    blob[size - 1] = 0xff;
    struct rdb_decoder *decoder = decoder_at(RDB_TYPE_SET_LISTPACK, sum);
    build_reset(&head);
    build_len(&head, size);
    assert_int_equal(run(decoder, head.bytes, head.size), RDB_DECODE_MORE);
    struct syn_err err;
    size_t used;
    enum rdb_decode status = rdb_decoder_run(decoder, blob, size, &used, &err);
    rdb_decoder_free(decoder);
    mem_free(MEM_TOOLS, blob);
    return status;
}

static void test_long_back_length(void **state)
{
    (void)state;
    struct sum sum;
    assert_int_equal(decode_back_length(2097151, false, &sum), RDB_DECODE_DONE);
    assert_true(sum.bytes == 2097151 - 5);
    assert_int_equal(decode_back_length(2097151, true, &sum), RDB_DECODE_DONE);
    assert_int_equal(decode_back_length(2097150, false, &sum), RDB_DECODE_DONE);
    assert_int_equal(decode_back_length(2097150, true, &sum), RDB_DECODE_ERROR);
}

/* Buffers for a large element are not kept for ever. */
static void test_buffers_shrink(void **state)
{
    (void)state;
    struct sum sum;
    struct build head;
    struct rdb_decoder *decoder = decoder_at(RDB_TYPE_SET, &sum);
    build_reset(&head);
    build_len(&head, 1);
    build_len(&head, 8 << 20);
    run(decoder, head.bytes, head.size);
    for (unsigned i = 0; i < 8; i++) {
        run(decoder, window, WINDOW_BYTES);
    }
    assert_true(sum.bytes == 8 << 20);
    assert_true(mem_live_bytes(MEM_RDB) >= 8 << 20);
    struct syn_err err;
    struct rdb_value_place place = {.type = RDB_TYPE_SET};
    assert_true(rdb_decoder_begin(decoder, &place, &visitor, &sum, &err));
    assert_true(mem_live_bytes(MEM_RDB) < 1 << 20);
    rdb_decoder_free(decoder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_many_members),
        cmocka_unit_test(test_many_nothings),
        cmocka_unit_test(test_many_nodes),
        cmocka_unit_test(test_long_string),
        cmocka_unit_test(test_long_compressed_string),
        cmocka_unit_test(test_no_memory),
        cmocka_unit_test(test_long_back_length),
        cmocka_unit_test(test_buffers_shrink),
    };
    return cmocka_run_group_tests_name("limits of decoding", tests, NULL, NULL);
}
