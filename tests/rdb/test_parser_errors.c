/*
 * Malformed snapshots. Input that no server wrote must end in an error that says what and where,
 * with nothing read outside the window; a missing check would show as a wrong message, as an
 * endless wait for bytes, or under AddressSanitizer.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/rdb/feed.h"

#define BYTES(text) (text), sizeof(text) - 1
#define HEAD "REDIS0012"
#define F8 "\x01\x02\x03\x04\x05\x06\x07\x08"

struct bad {
    const char *bytes;
    size_t size;
    const char *message; /* a part of it */
};

/* clang-format off */
static const struct bad bad[] = {
    {BYTES("RODIS0012"), "RDB byte 0: this is not an RDB"},
    {BYTES("REDIS00x2"), "RDB byte 0: this is not an RDB"},
    {BYTES("VALKEY08x"), "RDB byte 0: this is not an RDB"},
    {BYTES("REDIS0000"), "REDIS version 0 is not supported; REDIS 1 to 12 and VALKEY 80 are"},
    {BYTES("REDIS0013"), "REDIS version 13 is not supported"},
    {BYTES("REDIS0080"), "REDIS version 80 is not supported"},
    {BYTES("VALKEY081"), "VALKEY version 81 is not supported"},
    {BYTES("VALKEY012"), "VALKEY version 12 is not supported"},
    /* types and opcodes */
    {BYTES(HEAD "\x06\x01k"), "RDB byte 9: a module value in the format of Redis 4.0 release candidates, which nobody but the module can skip: 6"},
    {BYTES(HEAD "\x08\x01k"), "RDB byte 9: an unknown value type or opcode: 8"},
    {BYTES(HEAD "\x1a\x01k"), "RDB byte 9: an unknown value type or opcode: 26"},
    {BYTES(HEAD "\xf2\x01k"), "RDB byte 9: an unknown value type or opcode: 242"},
    {BYTES(HEAD "\xfe\x01\xf9\x07\x79\x01"), "RDB byte 13: an unknown value type or opcode: 121"},
    {BYTES(HEAD "\xf3\x01k"), "RDB byte 9: opcode 243 of Valkey in a Redis RDB"},
    {BYTES(HEAD "\xf6\x01k"), "RDB byte 9: opcode 246"},
    {BYTES("VALKEY080\x17\x01k"), "RDB byte 9: a value type of Redis in a Valkey RDB: 23"},
    {BYTES("VALKEY080\x18\x01k"), "a value type of Redis in a Valkey RDB: 24"},
    {BYTES("VALKEY080\x19\x01k"), "a value type of Redis in a Valkey RDB: 25"},
    /* keys and texts */
    {BYTES(HEAD "\x00\x82"), "RDB byte 10: an invalid length field"},
    {BYTES(HEAD "\x00\xc4"), "RDB byte 10: an unknown string encoding"},
    {BYTES(HEAD "\x00\xff"), "RDB byte 10: an unknown string encoding"},
    {BYTES(HEAD "\x00\x80\x00\x10\x00\x00k"), "RDB byte 10: a key or text larger than the configured maximum"},
    {BYTES(HEAD "\x00\x81\xff\xff\xff\xff\xff\xff\xff\xff"), "RDB byte 10: an impossibly long string"},
    {BYTES(HEAD "\x00\x81\x00\x00\x01\x00\x00\x00\x00\x01"), "RDB byte 10: an impossibly long string"},
    {BYTES(HEAD "\x00\xc3\x02\x80\x00\x00\x10\x00"), "more text than it can hold"},
    {BYTES(HEAD "\x00\xc3\x00\x05"), "compressed data of an impossible size"},
    {BYTES(HEAD "\x00\xc3\x05\x00"), "compressed data of an impossible size"},
    {BYTES(HEAD "\x00\xc3\x81\x00\x00\x00\x01\x00\x00\x00\x00\x05"), "compressed data of an impossible size"},
    {BYTES(HEAD "\x00\xc3\x02\x05\xff\xff\x01v"), "in the RDB item at byte 9: RDB string: 2 bytes of compressed data do not decode to 5 bytes"},
    {BYTES(HEAD "\xfa\x01n\x81\x00\x00\x00\x00\x00\x10\x00\x00"), "RDB byte 12: a key or text larger than the configured maximum"},
    {BYTES(HEAD "\xfa\x01n\xc3\x02\x05\xff\xff"), "do not decode to 5 bytes"},
    {BYTES(HEAD "\xf5\x85"), "RDB byte 10: an invalid length field"},
    {BYTES(HEAD "\xfe\x81\x00\x00\x00\x00\x80\x00\x00\x00"), "a database number that no server has"},
    {BYTES(HEAD "\xfe\xc0\x01"), "RDB byte 10: a string where a length belongs"},
    {BYTES(HEAD "\xfb\x01\x90"), "RDB byte 11: an invalid length field"},
    {BYTES(HEAD "\xf4\x80\x00\x00\x40\x00\x01\x01"), "a slot number that no cluster has"},
    {BYTES(HEAD "\xf8\xbf"), "RDB byte 10: an invalid length field"},
    /* values: the offset, the type and a hash of the key */
    {BYTES(HEAD "\x00\x01k\xc4"), "RDB byte 12: an unknown string encoding, in a value of type 0 (string) of the key with hash "},
    {BYTES(HEAD "\x00\x01k\x81\x01\x00\x00\x00\x00\x00\x00\x00"), "an impossibly long string, in a value of type 0"},
    {BYTES(HEAD "\x01\x01k\x02\x01" "a\xc9"), "RDB byte 15: an unknown string encoding, in a value of type 1 (list)"},
    {BYTES(HEAD "\x01\x01k\x81\xff\xff\xff\xff\xff\xff\xff\xff"), "RDB byte 12: an impossibly large number of elements"},
    {BYTES(HEAD "\x01\x01k\xc0"), "RDB byte 12: a string where a length belongs"},
    {BYTES(HEAD "\x02\x01k\x81\x7f\xff\xff\xff\xff\xff\xff\xff"), "an impossibly large number of elements, in a value of type 2 (set)"},
    {BYTES(HEAD "\x03\x01k\x01\x01" "a\x00"), "a score without digits"},
    {BYTES(HEAD "\x07\x01k\x01\x06"), "a module value with an unknown item"},
    {BYTES(HEAD "\x07\x01k\xc0"), "a string where a length belongs"},
    {BYTES(HEAD "\x07\x01k\x01\x05\xcc"), "an unknown string encoding, in a value of type 7 (module)"},
    {BYTES(HEAD "\x0f\x01k\x01\x0f" F8 "1234567" "\x01x"), "a stream node whose key is not 16 bytes"},
    {BYTES(HEAD "\x0f\x01k\x01\xc0\x01"), "a stream node whose key is not 16 bytes"},
    {BYTES(HEAD "\x12\x01k\x01\x03\x01x"), "RDB byte 13: a list node of an unknown container"},
    {BYTES(HEAD "\x12\x01k\x01\x00\x01x"), "a list node of an unknown container"},
    {BYTES(HEAD "\x12\x01k\x01\x01\x00"), "an empty list node"},
    {BYTES(HEAD "\x12\x01k\x01\x02\x00"), "an empty list node"},
    {BYTES("VALKEY080\x16\x01k\x01\x01" "f\x01v\xfe\xff\xff\xff\xff\xff\xff\xff"), "a hash field with a negative expiry time"},
    /* what is passed over */
    {BYTES(HEAD "\xf7\x01\x03\x01\x00"), "module data that does not say when it belongs"},
    {BYTES(HEAD "\xf7\x01\x02\x01\x09"), "RDB byte 13: a module value with an unknown item"},
    {BYTES("VALKEY080\xf3\x01j"), "a slot import whose name is not 40 bytes"},
};
/* clang-format on */

static void check(const struct bad *one, enum feed_cut cut, size_t at)
{
    struct feed_result result;
    feed_rdb((const uint8_t *)one->bytes, one->size, cut, at, true, &result);
    if (result.status != RDB_ERROR || strstr(result.err.msg, one->message) == NULL) {
        fail_msg("wanted \"%s\", got status %d: %s", one->message, result.status, result.err.msg);
    }
    assert_int_equal(result.err.code, SYN_CODE_SOURCE_DATA);
}

static void test_each_defect_is_named(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        check(&bad[i], FEED_WHOLE, 0);
        check(&bad[i], FEED_GROW, 0);
        for (size_t at = 1; at < bad[i].size; at++) {
            check(&bad[i], FEED_TWO_PARTS, at);
        }
    }
}

/* The same defect must be found before the value is sent on, when the size is asked for first. */
static void test_measure_reports_bad_heads(void **state)
{
    (void)state;
    struct syn_err err;
    struct rdb_parser *parser = rdb_parser_new(100, &err);
    const uint8_t bytes[] = "REDIS0012\x00\x01k\xc4";
    struct rdb_item item;
    size_t used;
    size_t wanted;
    uint64_t total;
    assert_int_equal(rdb_parser_next(parser, bytes, 9, &used, &wanted, &item, &err), RDB_READY);
    assert_int_equal(rdb_parser_next(parser, bytes + 9, 4, &used, &wanted, &item, &err), RDB_READY);
    assert_int_equal(rdb_value_measure(parser, bytes + 12, 1, &total, &err), RDB_ERROR);
    assert_non_null(strstr(err.msg, "RDB byte 12: an unknown string encoding"));
    rdb_parser_free(parser);
}

/* A length that is legal but not there asks for exactly the bytes that it names. */
static void test_the_wanted_bytes_are_those_of_the_item(void **state)
{
    (void)state;
    struct syn_err err;
    struct rdb_parser *parser = rdb_parser_new(1 << 20, &err);
    const uint8_t bytes[] = "REDIS0012\x00\x80\x00\x01\x00\x00k";
    struct rdb_item item;
    size_t used;
    size_t wanted;
    assert_int_equal(rdb_parser_next(parser, bytes, 4, &used, &wanted, &item, &err), RDB_MORE);
    assert_int_equal(wanted, 9);
    assert_int_equal(rdb_parser_next(parser, bytes, 9, &used, &wanted, &item, &err), RDB_READY);
    assert_int_equal(rdb_parser_next(parser, bytes + 9, 0, &used, &wanted, &item, &err), RDB_MORE);
    assert_int_equal(wanted, 1);
    assert_int_equal(rdb_parser_next(parser, bytes + 9, 2, &used, &wanted, &item, &err), RDB_MORE);
    assert_int_equal(wanted, 6);
    assert_int_equal(rdb_parser_next(parser, bytes + 9, 7, &used, &wanted, &item, &err), RDB_MORE);
    assert_int_equal(wanted, 6 + 65536);
    assert_int_equal(used, 0);
    rdb_parser_free(parser);
}

/* A caller with nothing yet may have no buffer either. */
static void test_an_empty_window_may_be_null(void **state)
{
    (void)state;
    struct syn_err err;
    struct rdb_parser *parser = rdb_parser_new(100, &err);
    struct rdb_item item;
    size_t used;
    size_t wanted;
    uint64_t total;
    assert_int_equal(rdb_parser_next(parser, NULL, 0, &used, &wanted, &item, &err), RDB_MORE);
    assert_int_equal(wanted, 9);
    const uint8_t bytes[] = "REDIS0012\x01\x01k";
    assert_int_equal(rdb_parser_next(parser, bytes, 9, &used, &wanted, &item, &err), RDB_READY);
    assert_int_equal(rdb_parser_next(parser, NULL, 0, &used, &wanted, &item, &err), RDB_MORE);
    assert_int_equal(rdb_parser_next(parser, bytes + 9, 3, &used, &wanted, &item, &err), RDB_READY);
    assert_int_equal(rdb_value_walk(parser, NULL, 0, &used, &err), RDB_MORE);
    assert_int_equal(used, 0);
    rdb_parser_reset(parser);
    assert_int_equal(rdb_parser_next(parser, bytes, 9, &used, &wanted, &item, &err), RDB_READY);
    const uint8_t string[] = "\x00\x01k";
    assert_int_equal(rdb_parser_next(parser, string, 3, &used, &wanted, &item, &err), RDB_READY);
    assert_int_equal(rdb_value_measure(parser, NULL, 0, &total, &err), RDB_MORE);
    assert_int_equal(rdb_value_walk(parser, NULL, 0, &used, &err), RDB_MORE);
    rdb_parser_free(parser);
}

/* Every allocation may fail; the error says memory and nothing leaks. */
static void test_memory_failures(void **state)
{
    (void)state;
    struct syn_err err;
    mem_fail_at(1);
    struct rdb_parser *parser = rdb_parser_new(100, &err);
    mem_fail_at(0);
    assert_null(parser);
    assert_int_equal(err.code, SYN_CODE_MEMORY);

    parser = rdb_parser_new(100, &err);
    const uint8_t bytes[] = "REDIS0012\xfa\xc0\x01\xc0\x01\x00\xc0\x01\x01v";
    struct rdb_item item;
    size_t used;
    size_t wanted;
    assert_int_equal(rdb_parser_next(parser, bytes, 9, &used, &wanted, &item, &err), RDB_READY);
    mem_fail_at(1);
    assert_int_equal(rdb_parser_next(parser, bytes + 9, 5, &used, &wanted, &item, &err), RDB_ERROR);
    assert_int_equal(err.code, SYN_CODE_MEMORY);
    assert_int_equal(rdb_parser_next(parser, bytes + 14, 5, &used, &wanted, &item, &err),
                     RDB_ERROR);
    assert_int_equal(err.code, SYN_CODE_MEMORY);
    mem_fail_at(0);
    rdb_parser_free(parser);
    assert_int_equal(mem_live_bytes(MEM_RDB), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_defect_is_named),
        cmocka_unit_test(test_measure_reports_bad_heads),
        cmocka_unit_test(test_the_wanted_bytes_are_those_of_the_item),
        cmocka_unit_test(test_an_empty_window_may_be_null),
        cmocka_unit_test(test_memory_failures),
    };
    return cmocka_run_group_tests_name("rdb parser errors", tests, NULL, NULL);
}
