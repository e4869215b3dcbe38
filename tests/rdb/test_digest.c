/*
 * Digests: equal for equal content in any encoding, different for anything else.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "rdb/digest.h"
#include "tests/rdb/build.h"

static struct build value;
static struct build blob;
static struct rdb_decoder *decoder;
static struct rdb_digest *digest;

/* The value as a DUMP payload of this version. */
static bool
payload_digest(uint8_t type, uint16_t version, struct rdb_digest_value *out, struct syn_err *err)
{
    static uint8_t payload[BUILD_BYTES_MAX + 16];
    payload[0] = type;
    memcpy(payload + 1, value.bytes, value.size);
    size_t size = value.size + 1;
    rdb_footer_write(payload + size, crc64_update(0, payload, size), version);
    struct slice whole = {.bytes = payload, .size = size + RDB_FOOTER_SIZE};
    return rdb_payload_digest(decoder, digest, whole, out, err);
}

static struct rdb_digest_value of(uint8_t type, uint16_t version)
{
    struct rdb_digest_value out;
    struct syn_err err;
    if (!payload_digest(type, version, &out, &err)) {
        fail_msg("%s", err.msg);
    }
    return out;
}

static struct rdb_digest_value of_blob(uint8_t type)
{
    build_reset(&value);
    build_blob(&value, &blob);
    return of(type, 11);
}

static bool is_same(struct rdb_digest_value a, struct rdb_digest_value b)
{
    return a.low == b.low && a.high == b.high;
}

static struct rdb_digest_value of_texts(uint8_t type, const char *const *texts, size_t count)
{
    bool has_pairs = type == RDB_TYPE_HASH;
    build_reset(&value);
    build_len(&value, has_pairs ? count / 2 : count);
    for (size_t i = 0; i < count; i++) {
        build_text(&value, texts[i]);
    }
    return of(type, 6);
}

/* A digest that saw the order of a set would call equal sets different, one that did not see that
 * of a list would miss a reversed list. */
static void test_order(void **state)
{
    (void)state;
    struct rdb_digest_value a = of_texts(RDB_TYPE_LIST, (const char *[]){"a", "b"}, 2);
    assert_false(is_same(a, of_texts(RDB_TYPE_LIST, (const char *[]){"b", "a"}, 2)));
    assert_true(is_same(a, of_texts(RDB_TYPE_LIST, (const char *[]){"a", "b"}, 2)));
    struct rdb_digest_value set = of_texts(RDB_TYPE_SET, (const char *[]){"a", "b"}, 2);
    assert_true(is_same(set, of_texts(RDB_TYPE_SET, (const char *[]){"b", "a"}, 2)));
    assert_false(is_same(set, a));
    assert_false(is_same(set, of_texts(RDB_TYPE_SET, (const char *[]){"ab", ""}, 2)));
    assert_false(is_same(set, of_texts(RDB_TYPE_SET, (const char *[]){"a"}, 1)));
    struct rdb_digest_value hash = of_texts(RDB_TYPE_HASH, (const char *[]){"a", "1", "b", "2"}, 4);
    assert_true(is_same(hash, of_texts(RDB_TYPE_HASH, (const char *[]){"b", "2", "a", "1"}, 4)));
    assert_false(is_same(hash, of_texts(RDB_TYPE_HASH, (const char *[]){"a", "2", "b", "1"}, 4)));
    assert_false(is_same(hash, of_texts(RDB_TYPE_HASH, (const char *[]){"1", "a", "2", "b"}, 4)));
}

static void test_encodings(void **state)
{
    (void)state;
    struct rdb_digest_value set = of_texts(RDB_TYPE_SET, (const char *[]){"-3", "7"}, 2);
    build_reset(&blob);
    build_u32(&blob, 4);
    build_u32(&blob, 2);
    build_u32(&blob, (uint32_t)-3);
    build_u32(&blob, 7);
    assert_true(is_same(set, of_blob(RDB_TYPE_SET_INTSET)));
    listpack_begin(&blob);
    listpack_integer(&blob, 7);
    listpack_text(&blob, "-3", 2);
    listpack_end(&blob);
    assert_true(is_same(set, of_blob(RDB_TYPE_SET_LISTPACK)));
    struct rdb_digest_value hash = of_texts(RDB_TYPE_HASH, (const char *[]){"7", "-3"}, 2);
    assert_true(is_same(hash, of_blob(RDB_TYPE_HASH_LISTPACK)));
    ziplist_begin(&blob);
    ziplist_text(&blob, "7");
    ziplist_raw(&blob, "\xfe\xfd", 2);
    ziplist_end(&blob);
    assert_true(is_same(hash, of_blob(RDB_TYPE_HASH_ZIPLIST)));
    build_reset(&blob);
    build_bytes(&blob,
                "\x01\x01"
                "7\x02\x01-3x\xff",
                9);
    assert_true(is_same(hash, of_blob(RDB_TYPE_HASH_ZIPMAP)));
}

/* -0 and 0, and the forms of a score. */
static void test_scores(void **state)
{
    (void)state;
    build_reset(&value);
    build_len(&value, 2);
    build_text(&value, "a");
    build_double(&value, -0.0);
    build_text(&value, "b");
    build_double(&value, 2.5);
    struct rdb_digest_value zset = of(RDB_TYPE_ZSET_2, 8);
    build_reset(&value);
    build_bytes(&value,
                "\x02\x01"
                "b\x03"
                "2.5\x01"
                "a\x01"
                "0",
                11);
    assert_true(is_same(zset, of(RDB_TYPE_ZSET, 6)));
    listpack_begin(&blob);
    listpack_text(&blob, "a", 1);
    listpack_text(&blob, "-0", 2);
    listpack_text(&blob, "b", 1);
    listpack_text(&blob, "2.5", 3);
    listpack_end(&blob);
    assert_true(is_same(zset, of_blob(RDB_TYPE_ZSET_LISTPACK)));
    build_reset(&value);
    build_bytes(&value,
                "\x02\x01"
                "b\x03"
                "2.5\x01"
                "a\x01"
                "1",
                11);
    assert_false(is_same(zset, of(RDB_TYPE_ZSET, 6)));
}

/* Field expiry in the layouts of Redis and of Valkey, told apart by the footer's version. */
static void test_field_expiry(void **state)
{
    (void)state;
    const uint64_t time = 1893456000000;
    build_reset(&value);
    build_u64(&value, time);
    build_bytes(&value,
                "\x02\x01\x01"
                "a\x01x\x00\x01"
                "b\x01y",
                11);
    struct rdb_digest_value hash = of(RDB_TYPE_HASH_METADATA, 12);
    build_reset(&value);
    build_len(&value, 2);
    build_bytes(&value,
                "\x01"
                "b\x01y",
                4);
    build_u64(&value, UINT64_MAX);
    build_bytes(&value,
                "\x01"
                "a\x01x",
                4);
    build_u64(&value, time);
    assert_true(is_same(hash, of(22, 80)));
    struct rdb_digest_value plain =
        of_texts(RDB_TYPE_HASH, (const char *[]){"a", "x", "b", "y"}, 4);
    assert_false(is_same(hash, plain));
}

/* One entry, one group with one consumer that has it pending. */
static struct rdb_digest_value of_stream(unsigned version, uint64_t seen_ms, unsigned count)
{
    static const uint8_t types[] = {
        0, RDB_TYPE_STREAM_LISTPACKS, RDB_TYPE_STREAM_LISTPACKS_2, RDB_TYPE_STREAM_LISTPACKS_3};
    build_reset(&value);
    build_stream_nodes(&value);
    build_bytes(&value, "\x01\x09\x01", 3);
    if (version >= 2) {
        build_bytes(&value, "\x09\x01\x08\x00\x02", 5);
    }
    build_bytes(&value, "\x01\x01g\x09\x01", 5);
    if (version >= 2) {
        build_byte(&value, 1);
    }
    build_byte(&value, 1);
    build_u64_be(&value, 9);
    build_u64_be(&value, 1);
    build_u64(&value, 1234);
    build_len(&value, count);
    build_bytes(&value,
                "\x01\x01"
                "c",
                3);
    build_u64(&value, seen_ms);
    if (version >= 3) {
        build_u64(&value, seen_ms + 1);
    }
    build_byte(&value, 1);
    build_u64_be(&value, 9);
    build_u64_be(&value, 1);
    return of(types[version], 11);
}

static void test_streams(void **state)
{
    (void)state;
    struct rdb_digest_value stream = of_stream(1, 5, 2);
    assert_true(is_same(stream, of_stream(2, 6, 2)));
    assert_true(is_same(stream, of_stream(3, 7, 2)));
    assert_false(is_same(stream, of_stream(3, 7, 3)));
    struct rdb_digest *without = digest;
    struct syn_err err;
    digest = rdb_digest_new(RDB_DIGEST_TIMES | RDB_DIGEST_COUNTERS, &err);
    assert_non_null(digest);
    stream = of_stream(2, 5, 2);
    assert_false(is_same(stream, of_stream(2, 6, 2)));
    assert_false(is_same(stream, of_stream(1, 5, 2)));
    assert_true(is_same(stream, of_stream(2, 5, 2)));
    rdb_digest_free(digest);
    digest = without;
}

/* Of a module's value the items are all that can be compared. */
static void test_modules(void **state)
{
    (void)state;
    static const char body[] = "\x81\x01\x02\x03\x04\x05\x06\x07\x08\x02\x05";
    build_reset(&value);
    build_bytes(&value, body, sizeof(body)); /* with item 0, the end */
    struct rdb_digest_value module = of(RDB_TYPE_MODULE_2, 8);
    assert_true(is_same(module, of(RDB_TYPE_MODULE_2, 11)));
    value.bytes[10]++;
    assert_false(is_same(module, of(RDB_TYPE_MODULE_2, 8)));
}

static void refuse(uint8_t type, const char *reason)
{
    struct rdb_digest_value out;
    struct syn_err err;
    assert_false(payload_digest(type, 11, &out, &err));
    assert_int_equal(err.code, SYN_CODE_SOURCE_DATA);
    if (strstr(err.msg, reason) == NULL) {
        fail_msg("%s", err.msg);
    }
}

/* RESTORE does not look behind the value; a digest of half a payload must not exist. */
static void test_payloads(void **state)
{
    (void)state;
    build_reset(&value);
    build_bytes(&value,
                "\x02\x01"
                "a",
                3);
    refuse(RDB_TYPE_SET, "the value is cut");
    build_bytes(&value,
                "\x01"
                "bc",
                3);
    refuse(RDB_TYPE_SET, "there are bytes behind the value");
    build_reset(&value);
    build_bytes(&value, "\x01\xc4", 2);
    refuse(RDB_TYPE_SET, "DUMP payload: RDB byte 2: an unknown string encoding");
    refuse(6, "DUMP payload: RDB byte 1: a module value in the format of");
    struct syn_err err;
    struct rdb_digest_value out;
    struct slice payload = {.bytes = (const uint8_t *)"\x00\x01"
                                                      "a1234567890",
                            .size = 13};
    assert_false(rdb_payload_digest(decoder, digest, payload, &out, &err));
    assert_non_null(strstr(err.msg, "CRC64"));
}

static int setup(void **state)
{
    (void)state;
    struct syn_err err;
    decoder = rdb_decoder_new((size_t)1 << 20, &err);
    digest = rdb_digest_new(0, &err);
    return decoder == NULL || digest == NULL;
}

static int teardown(void **state)
{
    (void)state;
    rdb_decoder_free(decoder);
    rdb_digest_free(digest);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_order),
        cmocka_unit_test(test_encodings),
        cmocka_unit_test(test_scores),
        cmocka_unit_test(test_field_expiry),
        cmocka_unit_test(test_streams),
        cmocka_unit_test(test_modules),
        cmocka_unit_test(test_payloads),
    };
    return cmocka_run_group_tests_name("digests", tests, setup, teardown);
}
