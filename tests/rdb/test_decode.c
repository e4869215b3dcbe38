/*
 * Every value encoding, made by hand, with the elements it stands for: those that no recorded
 * snapshot has, and small ones of all others, so that each can be cut at every byte.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "tests/rdb/build.h"
#include "tests/rdb/lines.h"

static struct build value;
static struct build blob;

static void check(uint8_t type,
                  bool is_valkey,
                  const struct lines_options *how,
                  size_t size,
                  const char *expected)
{
    struct lines lines;
    struct lines_options options = *how;
    options.type = type;
    options.is_valkey = is_valkey;
    lines_decode(value.bytes, size, &options, &lines);
    if (size < value.size) {
        if (lines.status != RDB_DECODE_MORE) {
            fail_msg("type %u, %zu of %zu bytes: status %d", type, size, value.size, lines.status);
        }
    } else if (lines.status != RDB_DECODE_DONE || strcmp(lines.text, expected) != 0) {
        fail_msg("type %u, first %zu, step %zu, pause %u: status %d %s; expected\n%sfound\n%s",
                 type,
                 options.first,
                 options.step,
                 options.pause_every,
                 lines.status,
                 lines.err.msg,
                 expected,
                 lines.text);
    } else {
        assert_int_equal(lines.used, value.size);
        assert_int_equal(lines.begins, 1);
    }
    assert_true(lines.left_max < 32);
    lines_free(&lines);
}

/* The value whole, cut at every byte, in windows of one byte more each time, paused at every visit,
 * cut short everywhere, and with bytes behind it. */
static void check_all_ways(uint8_t type, bool is_valkey, const char *expected)
{
    static const struct lines_options whole = {.exact = true};
    check(type, is_valkey, &whole, value.size, expected);
    struct lines_options how = {.wants_integers = true};
    check(type, is_valkey, &how, value.size, expected);
    for (unsigned pause = 1; pause <= 3; pause++) {
        how = (struct lines_options){.pause_every = pause, .exact = true};
        check(type, is_valkey, &how, value.size, expected);
        how.first = how.step = 1;
        check(type, is_valkey, &how, value.size, expected);
    }
    for (size_t at = 1; at < value.size; at++) {
        how = (struct lines_options){.first = at, .exact = true};
        check(type, is_valkey, &how, value.size, expected);
        how.pause_every = 1;
        check(type, is_valkey, &how, value.size, expected);
        check(type, is_valkey, &whole, at, NULL);
    }
    for (size_t step = 1; step < 40; step++) {
        how = (struct lines_options){.first = step, .step = step, .exact = true};
        check(type, is_valkey, &how, value.size, expected);
    }
    struct lines lines;
    how = (struct lines_options){.type = type, .is_valkey = is_valkey};
    memset(value.bytes + value.size, 0xff, 16);
    lines_decode(value.bytes, value.size + 16, &how, &lines);
    assert_int_equal(lines.status, RDB_DECODE_DONE);
    assert_int_equal(lines.used, value.size);
    lines_free(&lines);
}

/* The same when slot 0's STR is compressed. */
static void check_blob(uint8_t type, const char *expected)
{
    build_reset(&value);
    build_blob(&value, &blob);
    check_all_ways(type, false, expected);
    build_reset(&value);
    build_lzf(&value, blob.bytes, blob.size);
    check_all_ways(type, false, expected);
}

/* A form of STR that is misread, or a piece that gets lost, changes the text. */
static void test_strings(void **state)
{
    (void)state;
    build_reset(&value);
    build_text(&value, "");
    check_all_ways(RDB_TYPE_STRING, false, "s '\n");
    build_reset(&value);
    build_text(&value, "some text");
    check_all_ways(RDB_TYPE_STRING, false, "s 'some%20text\n");
    build_reset(&value);
    build_bytes(&value, "\xc1\x18\xfc", 3);
    check_all_ways(RDB_TYPE_STRING, false, "s '-1000\n");
    build_reset(&value);
    build_lzf(&value, "0123456789012345678901234567890123456789", 40);
    check_all_ways(RDB_TYPE_STRING, false, "s '0123456789012345678901234567890123456789\n");
    /* 'ab', then 13 bytes from 2 back by a long reference, then 'c' */
    build_reset(&value);
    build_bytes(&value,
                "\xc3\x08\x10\x01"
                "ab\xe0\x04\x01\x00"
                "c",
                11);
    check_all_ways(RDB_TYPE_STRING, false, "s 'abababababababac\n");
}

/* Tables: elements of every form of STR, in the fast path and beside it. */
static void test_tables(void **state)
{
    (void)state;
    static const char seventy[] =
        "0123456789012345678901234567890123456789012345678901234567890123456789";
    build_reset(&value);
    build_len(&value, 7);
    build_text(&value, "a");
    build_bytes(&value, "\xc0\x85", 2);
    build_text(&value, "");
    build_lzf(&value, "packed packed packed packed", 27);
    build_text(&value, seventy);
    build_bytes(&value, "\xc2\xff\xff\xff\x7f", 5);
    build_text(&value, "z");
    check_all_ways(RDB_TYPE_LIST,
                   false,
                   "l 'a\nl '-123\nl '\nl 'packed%20packed%20packed%20packed\n"
                   "l #70:11f97977f7224866\nl '2147483647\nl 'z\n");
    build_reset(&value);
    build_len(&value, 0);
    check_all_ways(RDB_TYPE_LIST, false, "");
    check_all_ways(RDB_TYPE_SET, false, "");
    check_all_ways(RDB_TYPE_HASH, false, "");
    check_all_ways(RDB_TYPE_ZSET_2, false, "");
    build_reset(&value);
    build_len(&value, 3);
    build_text(&value, "m");
    build_bytes(&value, "\xc0\x07", 2);
    build_text(&value, "");
    check_all_ways(RDB_TYPE_SET, false, "m '\nm '7\nm 'm\n");
    build_reset(&value);
    build_len(&value, 3);
    build_text(&value, "f");
    build_text(&value, "v");
    build_bytes(&value, "\xc0\x07", 2);
    build_lzf(&value, "packed packed packed packed", 27);
    build_text(&value, "");
    build_text(&value, "");
    check_all_ways(
        RDB_TYPE_HASH, false, "f ' ' -1\nf '7 'packed%20packed%20packed%20packed -1\nf 'f 'v -1\n");
}

static void test_scores(void **state)
{
    (void)state;
    build_reset(&value);
    build_len(&value, 5);
    build_text(&value, "a");
    build_bytes(&value,
                "\x03"
                "1.5",
                4);
    build_text(&value, "b");
    build_byte(&value, 254);
    build_text(&value, "c");
    build_byte(&value, 255);
    build_text(&value, "d");
    build_bytes(&value,
                "\x13"
                "3.14159265358979312",
                20);
    build_text(&value, "e");
    build_bytes(&value, "\x02-0", 3);
    check_all_ways(RDB_TYPE_ZSET,
                   false,
                   "z 'a 3ff8000000000000\nz 'b 7ff0000000000000\nz 'c fff0000000000000\n"
                   "z 'd 400921fb54442d18\nz 'e 8000000000000000\n");
    build_reset(&value);
    build_len(&value, 3);
    build_text(&value, "a");
    build_double(&value, 1.5);
    build_bytes(&value, "\xc0\x05", 2);
    build_double(&value, -(double)INFINITY);
    build_text(&value, "c");
    build_double(&value, 5e-324);
    check_all_ways(RDB_TYPE_ZSET_2,
                   false,
                   "z '5 fff0000000000000\nz 'a 3ff8000000000000\nz 'c 0000000000000001\n");
}

static void test_ziplists(void **state)
{
    (void)state;
    static char long_text[301];
    memset(long_text, 'x', 300);
    ziplist_begin(&blob);
    ziplist_text(&blob, "a");
    ziplist_text(&blob, long_text);
    ziplist_text(&blob, "after a long one");
    ziplist_raw(&blob, "\xc0\x00\x80", 3);
    ziplist_raw(&blob, "\xd0\x00\x00\x00\x80", 5);
    ziplist_raw(&blob, "\xe0\x00\x00\x00\x00\x00\x00\x00\x80", 9);
    ziplist_raw(&blob, "\xf0\x00\x00\x80", 4);
    ziplist_raw(&blob, "\xfe\x80", 2);
    ziplist_raw(&blob, "\xf1", 1);
    ziplist_raw(&blob, "\xfd", 1);
    ziplist_raw(&blob, "\x80\x00\x00\x00\x02hi", 7);
    ziplist_text(&blob, "");
    ziplist_end(&blob);
    check_blob(RDB_TYPE_LIST_ZIPLIST,
               "l 'a\nl #300:dd30421f213e7ea8\nl 'after%20a%20long%20one\nl '-32768\n"
               "l '-2147483648\nl '-9223372036854775808\nl '-8388608\nl '-128\nl '0\nl '12\n"
               "l 'hi\nl '\n");
    ziplist_begin(&blob);
    ziplist_text(&blob, "f");
    ziplist_raw(&blob, "\xfe\x10", 2);
    ziplist_text(&blob, "g");
    ziplist_text(&blob, "v");
    ziplist_end(&blob);
    check_blob(RDB_TYPE_HASH_ZIPLIST, "f 'f '16 -1\nf 'g 'v -1\n");
    ziplist_begin(&blob);
    ziplist_text(&blob, "a");
    ziplist_text(&blob, "-inf");
    ziplist_text(&blob, "b");
    ziplist_raw(&blob, "\xfe\xff", 2);
    ziplist_text(&blob, "c");
    ziplist_text(&blob, "0.10000000000000001");
    ziplist_end(&blob);
    check_blob(RDB_TYPE_ZSET_ZIPLIST,
               "z 'a fff0000000000000\nz 'b bff0000000000000\nz 'c 3fb999999999999a\n");
    build_reset(&value);
    build_len(&value, 3);
    ziplist_begin(&blob);
    ziplist_text(&blob, "one");
    ziplist_text(&blob, "two");
    ziplist_end(&blob);
    build_blob(&value, &blob);
    ziplist_begin(&blob);
    ziplist_end(&blob);
    build_blob(&value, &blob);
    ziplist_begin(&blob);
    ziplist_text(&blob, "three");
    ziplist_end(&blob);
    build_lzf(&value, blob.bytes, blob.size);
    check_all_ways(RDB_TYPE_LIST_QUICKLIST, false, "l 'one\nl 'two\nl 'three\n");
}

static void test_listpacks(void **state)
{
    (void)state;
    static uint8_t long_text[300];
    memset(long_text, 'x', sizeof(long_text));
    listpack_begin(&blob);
    listpack_text(&blob, "a", 1);
    listpack_integer(&blob, 0);
    listpack_integer(&blob, 127);
    listpack_integer(&blob, -1);
    listpack_integer(&blob, 4095);
    listpack_integer(&blob, -4096);
    listpack_text(&blob, long_text, sizeof(long_text));
    listpack_raw(&blob, "\xf1\x00\x80", 3, false);
    listpack_raw(&blob, "\xf2\x00\x00\x80", 4, false);
    listpack_raw(&blob, "\xf3\x00\x00\x00\x80", 5, false);
    listpack_raw(&blob, "\xf4\x00\x00\x00\x00\x00\x00\x00\x80", 9, false);
    listpack_raw(&blob, "\xf0\x02\x00\x00\x00hi", 7, false);
    listpack_text(&blob, "", 0);
    listpack_end(&blob);
    check_blob(RDB_TYPE_SET_LISTPACK,
               "m #300:dd30421f213e7ea8\nm '\nm '-1\nm '-2147483648\nm '-32768\nm '-4096\n"
               "m '-8388608\nm '-9223372036854775808\nm '0\nm '127\nm '4095\nm 'a\nm 'hi\n");
    listpack_begin(&blob);
    listpack_text(&blob, "a", 1);
    listpack_integer(&blob, 3);
    listpack_text(&blob, "b", 1);
    listpack_text(&blob, "2.5", 3);
    listpack_end(&blob);
    check_blob(RDB_TYPE_HASH_LISTPACK, "f 'a '3 -1\nf 'b '2.5 -1\n");
    check_blob(RDB_TYPE_ZSET_LISTPACK, "z 'a 4008000000000000\nz 'b 4004000000000000\n");
    build_reset(&value);
    build_len(&value, 3);
    build_len(&value, 2);
    build_blob(&value, &blob);
    build_len(&value, 1);
    build_text(&value, "plain");
    build_len(&value, 1);
    build_bytes(&value, "\xc0\x2a", 2);
    check_all_ways(RDB_TYPE_LIST_QUICKLIST_2, false, "l 'a\nl '3\nl 'b\nl '2.5\nl 'plain\nl '42\n");
}

/* The size whose back length Redis and Valkey 9 write differently. */
static void test_both_back_lengths(void **state)
{
    (void)state;
    static uint8_t entry[16383];
    memset(entry, 'x', sizeof(entry));
    memcpy(entry, "\xf0\xfa\x3f\x00\x00", 5);
    for (unsigned is_long = 0; is_long < 2; is_long++) {
        listpack_begin(&blob);
        listpack_text(&blob, "a", 1);
        listpack_raw(&blob, entry, sizeof(entry), is_long != 0);
        listpack_text(&blob, "b", 1);
        listpack_end(&blob);
        build_reset(&value);
        build_blob(&value, &blob);
        static const char expected[] = "m #16378:a807bb28930b1c1e\nm 'a\nm 'b\n";
        for (size_t at = 0; at < value.size; at++) {
            struct lines_options how = {.first = at, .exact = true};
            check(RDB_TYPE_SET_LISTPACK, false, &how, value.size, expected);
        }
    }
}

static void test_intsets(void **state)
{
    (void)state;
    build_reset(&blob);
    build_u32(&blob, 2);
    build_u32(&blob, 3);
    build_bytes(&blob, "\x00\x80\xff\xff\x05\x00", 6);
    check_blob(RDB_TYPE_SET_INTSET, "m '-1\nm '-32768\nm '5\n");
    build_reset(&blob);
    build_u32(&blob, 4);
    build_u32(&blob, 2);
    build_u32(&blob, 0x80000000);
    build_u32(&blob, 0x7fffffff);
    check_blob(RDB_TYPE_SET_INTSET, "m '-2147483648\nm '2147483647\n");
    build_reset(&blob);
    build_u32(&blob, 8);
    build_u32(&blob, 2);
    build_u64(&blob, UINT64_C(1) << 63);
    build_u64(&blob, INT64_MAX);
    check_blob(RDB_TYPE_SET_INTSET, "m '-9223372036854775808\nm '9223372036854775807\n");
}

static void test_zipmap(void **state)
{
    (void)state;
    static const uint8_t bytes[] = "\x02\x03"
                                   "foo\x03\x00"
                                   "bar\xfe\x02\x00\x00\x00"
                                   "hi\x05\x02"
                                   "worldxx\xff";
    build_reset(&blob);
    build_bytes(&blob, bytes, sizeof(bytes) - 1);
    check_blob(RDB_TYPE_HASH_ZIPMAP, "f 'foo 'bar -1\nf 'hi 'world -1\n");
    blob.bytes[0] = 254; /* the count is not known */
    check_blob(RDB_TYPE_HASH_ZIPMAP, "f 'foo 'bar -1\nf 'hi 'world -1\n");
    build_reset(&blob);
    build_bytes(&blob, "\x00\xff", 2);
    check_blob(RDB_TYPE_HASH_ZIPMAP, "");
}

/* An expiry time that goes to the wrong field, or is off by the one of type 24. */
static void test_field_expiry(void **state)
{
    (void)state;
    static const char expected[] = "f 'a '1 1893456000000\nf 'b '2 -1\nf 'c '3 1893456000123\n";
    build_reset(&value);
    build_u64(&value, 1893456000000);
    build_len(&value, 3);
    build_len(&value, 1);
    build_text(&value, "a");
    build_bytes(&value, "\xc0\x01", 2);
    build_len(&value, 0);
    build_text(&value, "b");
    build_text(&value, "2");
    build_len(&value, 124);
    build_text(&value, "c");
    build_text(&value, "3");
    check_all_ways(RDB_TYPE_HASH_METADATA, false, expected);
    build_reset(&value);
    build_len(&value, 3);
    build_len(&value, 1893456000000);
    build_text(&value, "a");
    build_text(&value, "1");
    build_len(&value, 0);
    build_text(&value, "b");
    build_text(&value, "2");
    build_len(&value, 1893456000123);
    build_text(&value, "c");
    build_text(&value, "3");
    check_all_ways(RDB_TYPE_HASH_METADATA_PRE_GA, false, expected);
    build_reset(&value);
    build_len(&value, 3);
    build_text(&value, "a");
    build_text(&value, "1");
    build_u64(&value, 1893456000000);
    build_text(&value, "b");
    build_text(&value, "2");
    build_u64(&value, UINT64_MAX);
    build_text(&value, "c");
    build_text(&value, "3");
    build_u64(&value, 1893456000123);
    check_all_ways(RDB_TYPE_HASH_METADATA_PRE_GA, true, expected);
    listpack_begin(&blob);
    listpack_text(&blob, "a", 1);
    listpack_integer(&blob, 1);
    listpack_integer(&blob, 1893456000000);
    listpack_text(&blob, "c", 1);
    listpack_integer(&blob, 3);
    listpack_integer(&blob, 1893456000123);
    listpack_text(&blob, "b", 1);
    listpack_integer(&blob, 2);
    listpack_integer(&blob, 0);
    listpack_end(&blob);
    check_blob(RDB_TYPE_HASH_LISTPACK_EX_PRE_GA, expected);
    build_reset(&value);
    build_u64(&value, 1893456000000);
    build_blob(&value, &blob);
    check_all_ways(RDB_TYPE_HASH_LISTPACK_EX, false, expected);
}

static void put_entry(int flags, int ms, int seq)
{
    listpack_integer(&blob, flags);
    listpack_integer(&blob, ms);
    listpack_integer(&blob, seq);
}

/* Three live entries and a deleted one; `version` 1 to 3. */
static void build_stream(unsigned version)
{
    listpack_begin(&blob);
    listpack_integer(&blob, 3);
    listpack_integer(&blob, 1);
    listpack_integer(&blob, 2);
    listpack_text(&blob, "f", 1);
    listpack_integer(&blob, 7);
    listpack_integer(&blob, 0);
    put_entry(2, 0, 0);
    listpack_text(&blob, "v", 1);
    listpack_text(&blob, "w", 1);
    listpack_integer(&blob, 5);
    put_entry(3, 0, 1);
    listpack_text(&blob, "gone", 4);
    listpack_text(&blob, "gone", 4);
    listpack_integer(&blob, 5);
    put_entry(0, 1, -4);
    listpack_integer(&blob, 1);
    listpack_text(&blob, "own", 3);
    listpack_integer(&blob, -5);
    listpack_integer(&blob, 6);
    put_entry(0, 2, 0);
    listpack_integer(&blob, 0);
    listpack_integer(&blob, 4);
    listpack_end(&blob);
    build_reset(&value);
    build_len(&value, 1);
    build_len(&value, 16);
    build_u64_be(&value, 1000);
    build_u64_be(&value, 5);
    build_blob(&value, &blob);
    build_len(&value, 3);
    build_len(&value, 1002);
    build_len(&value, 5);
    if (version >= 2) {
        build_bytes(&value, "\x43\xe8\x05\x43\xe8\x06\x04", 7);
    }
    build_len(&value, 2);
    build_text(&value, "g1");
    build_len(&value, 1001);
    build_len(&value, 1);
    if (version >= 2) {
        build_len(&value, 3);
    }
    build_len(&value, 1);
    build_u64_be(&value, 1000);
    build_u64_be(&value, 5);
    build_u64(&value, 1700000000000);
    build_len(&value, 300);
    build_len(&value, 2);
    build_text(&value, "alice");
    build_u64(&value, 1700000000001);
    if (version >= 3) {
        build_u64(&value, 1700000000002);
    }
    build_len(&value, 1);
    build_u64_be(&value, 1000);
    build_u64_be(&value, 5);
    build_text(&value, "bob");
    build_u64(&value, 1700000000003);
    if (version >= 3) {
        build_u64(&value, UINT64_MAX);
    }
    build_len(&value, 0);
    build_bytes(&value, "\xc0\x09", 2); /* a group named 9 */
    build_len(&value, 0);
    build_len(&value, 0);
    if (version >= 2) {
        build_len(&value, UINT64_MAX);
    }
    build_len(&value, 0);
    build_len(&value, 0);
}

#define ENTRIES "e 1000-5 'f 'v '7 'w\ne 1001-1 'own '-5\ne 1002-5\n"

static void test_streams(void **state)
{
    (void)state;
    build_stream(1);
    check_all_ways(RDB_TYPE_STREAM_LISTPACKS,
                   false,
                   ENTRIES "M 3 1002-5 - - -\n"
                           "c 'g1 'alice 1700000000001 ~\nc 'g1 'bob 1700000000003 ~\n"
                           "g '9 0-0 -\ng 'g1 1001-1 -\no 'g1 'alice 1000-5\n"
                           "p 'g1 1000-5 1700000000000 300\n");
    build_stream(2);
    check_all_ways(RDB_TYPE_STREAM_LISTPACKS_2,
                   false,
                   ENTRIES "M 3 1002-5 1000-5 1000-6 4\n"
                           "c 'g1 'alice 1700000000001 ~\nc 'g1 'bob 1700000000003 ~\n"
                           "g '9 0-0 -\ng 'g1 1001-1 3\no 'g1 'alice 1000-5\n"
                           "p 'g1 1000-5 1700000000000 300\n");
    build_stream(3);
    check_all_ways(RDB_TYPE_STREAM_LISTPACKS_3,
                   false,
                   ENTRIES "M 3 1002-5 1000-5 1000-6 4\n"
                           "c 'g1 'alice 1700000000001 1700000000002\n"
                           "c 'g1 'bob 1700000000003 -1\n"
                           "g '9 0-0 -\ng 'g1 1001-1 3\no 'g1 'alice 1000-5\n"
                           "p 'g1 1000-5 1700000000000 300\n");
}

/* A module's value must come out as it went in: nobody else can read it. */
static void test_modules(void **state)
{
    (void)state;
    build_reset(&value);
    build_len(&value, UINT64_C(0xbde72da2bb1eb405)); /* vectorset, version 5 */
    build_bytes(&value, "\x02\x05\x05\x03xyz\x04", 8);
    build_bytes(&value, "12345678\x03", 9);
    build_bytes(&value, "1234\x01\x2a\x00", 7);
    check_all_ways(
        RDB_TYPE_MODULE_2,
        false,
        "'%81%bd%e7-%a2%bb%1e%b4%05%02%05%05%03xyz%0412345678%031234%01*%00\nmodule vectorset 5\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_strings),
        cmocka_unit_test(test_tables),
        cmocka_unit_test(test_scores),
        cmocka_unit_test(test_ziplists),
        cmocka_unit_test(test_listpacks),
        cmocka_unit_test(test_both_back_lengths),
        cmocka_unit_test(test_intsets),
        cmocka_unit_test(test_zipmap),
        cmocka_unit_test(test_field_expiry),
        cmocka_unit_test(test_streams),
        cmocka_unit_test(test_modules),
    };
    return cmocka_run_group_tests_name("decoding", tests, NULL, NULL);
}
