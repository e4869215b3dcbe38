/*
 * Broken values: each is refused with its type, its key's hash and the byte, the same however the
 * input is cut. Servers with deep checks refuse these too; without them they crash later.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "tests/rdb/build.h"
#include "tests/rdb/lines.h"

static struct build value;
static struct build blob;

static void
check(uint8_t type, bool is_valkey, const struct lines_options *how, const char *message)
{
    struct lines lines;
    struct lines_options options = *how;
    options.type = type;
    options.is_valkey = is_valkey;
    options.key_hash = 0xabc;
    options.item_bytes_max = 16384;
    lines_decode(value.bytes, value.size, &options, &lines);
    if (lines.status != RDB_DECODE_ERROR || strcmp(lines.err.msg, message) != 0) {
        fail_msg("type %u, first %zu, step %zu: status %d\n%s\nexpected\n%s",
                 type,
                 options.first,
                 options.step,
                 lines.status,
                 lines.status == RDB_DECODE_ERROR ? lines.err.msg : "",
                 message);
    }
    assert_int_equal(lines.err.code, SYN_CODE_SOURCE_DATA);
    lines_free(&lines);
}

/* The value is refused at this byte for this reason. */
static void
refuse(uint8_t type, bool is_valkey, const char *context, size_t offset, const char *reason)
{
    char message[512];
    snprintf(message,
             sizeof(message),
             "%sRDB byte %zu: %s, in a value of type %u (%s) of the key with hash "
             "0000000000000abc",
             context,
             offset,
             reason,
             type,
             rdb_type_name(type));
    struct lines_options how = {.exact = true};
    check(type, is_valkey, &how, message);
    size_t step = 1 + value.size / 300;
    for (size_t at = 1; at < value.size; at += step) {
        how = (struct lines_options){.first = at, .exact = true};
        check(type, is_valkey, &how, message);
    }
    how = (struct lines_options){.first = 1, .step = 1, .pause_every = 1};
    check(type, is_valkey, &how, message);
}

/* The blob, raw and compressed; `at` is where it breaks. */
static void refuse_blob(uint8_t type, size_t at, const char *reason)
{
    char context[64];
    build_reset(&value);
    build_blob(&value, &blob);
    size_t head = value.size - blob.size;
    refuse(type, false, "", head + at, reason);
    build_reset(&value);
    build_lzf(&value, blob.bytes, blob.size);
    snprintf(context, sizeof(context), "byte %zu of a compressed blob: ", at);
    refuse(type, false, context, 0, reason);
}

static void two_ziplist_entries(void)
{
    ziplist_begin(&blob);
    ziplist_text(&blob, "ab");
    ziplist_text(&blob, "cd");
    ziplist_end(&blob);
}

static void test_ziplists(void **state)
{
    (void)state;
    const uint8_t type = RDB_TYPE_LIST_ZIPLIST;
    two_ziplist_entries(); /* entries at 10 and 14, the end at 18 */
    blob.bytes[0]++;
    refuse_blob(type, 0, "a ziplist of another size than its header says");
    two_ziplist_entries();
    blob.bytes[18] = 0;
    refuse_blob(type, 18, "a ziplist without an end mark");
    two_ziplist_entries();
    blob.bytes[4] = 10;
    refuse_blob(type, 18, "a ziplist whose tail is elsewhere");
    two_ziplist_entries();
    blob.bytes[8] = 3;
    refuse_blob(type, 18, "a blob with another number of entries than its header says");
    two_ziplist_entries();
    blob.bytes[14] = 3;
    refuse_blob(type, 14, "a ziplist entry that misstates the size of the one before it");
    two_ziplist_entries();
    blob.bytes[10] = 1;
    refuse_blob(type, 10, "a ziplist entry that misstates the size of the one before it");
    two_ziplist_entries();
    blob.bytes[15] = 3;
    refuse_blob(type, 14, "a ziplist entry beyond the end");
    two_ziplist_entries();
    blob.bytes[15] = 0x80;
    refuse_blob(type, 14, "a ziplist entry beyond the end");
    two_ziplist_entries();
    blob.bytes[15] = 0xe0;
    refuse_blob(type, 14, "a ziplist entry beyond the end");
    two_ziplist_entries();
    blob.bytes[14] = 254;
    refuse_blob(type, 14, "a ziplist entry beyond the end");
    two_ziplist_entries();
    blob.bytes[14] = 255;
    refuse_blob(type, 14, "a ziplist entry beyond the end");
    two_ziplist_entries();
    blob.bytes[15] = 0xff;
    refuse_blob(type, 14, "a ziplist entry of an unknown encoding");
    two_ziplist_entries();
    blob.bytes[15] = 0xc1;
    refuse_blob(type, 14, "a ziplist entry of an unknown encoding");
    ziplist_begin(&blob);
    ziplist_text(&blob, "ab");
    ziplist_raw(&blob, "", 0);
    ziplist_end(&blob);
    refuse_blob(type, 14, "a ziplist entry beyond the end");
    build_reset(&blob);
    build_text(&blob, "123456789");
    refuse_blob(type, 0, "a ziplist shorter than its header");
    ziplist_begin(&blob);
    ziplist_text(&blob, "alone");
    ziplist_end(&blob);
    refuse_blob(RDB_TYPE_HASH_ZIPLIST, 17, "an odd number of entries");
    two_ziplist_entries();
    refuse_blob(RDB_TYPE_ZSET_ZIPLIST, 14, "a score that is no number");
    ziplist_begin(&blob);
    ziplist_text(&blob, "m");
    ziplist_text(&blob, "nan");
    ziplist_end(&blob);
    refuse_blob(RDB_TYPE_ZSET_ZIPLIST, 13, "a score that is no number");
}

static void two_listpack_entries(void)
{
    listpack_begin(&blob);
    listpack_text(&blob, "ab", 2);
    listpack_text(&blob, "cd", 2);
    listpack_end(&blob);
}

static void test_listpacks(void **state)
{
    (void)state;
    const uint8_t type = RDB_TYPE_SET_LISTPACK;
    two_listpack_entries(); /* entries at 6 and 10, the end at 14 */
    blob.bytes[0]--;
    refuse_blob(type, 0, "a listpack of another size than its header says");
    two_listpack_entries();
    blob.bytes[14] = 1;
    refuse_blob(type, 14, "a listpack without an end mark");
    two_listpack_entries();
    blob.bytes[4] = 1;
    refuse_blob(type, 14, "a blob with another number of entries than its header says");
    two_listpack_entries();
    blob.bytes[9] = 4;
    refuse_blob(type, 6, "a listpack entry with a wrong back length");
    two_listpack_entries();
    blob.bytes[13] = 0x83;
    refuse_blob(type, 10, "a listpack entry with a wrong back length");
    two_listpack_entries();
    blob.bytes[10] = 0x83;
    refuse_blob(type, 10, "a listpack entry with a wrong back length");
    two_listpack_entries();
    blob.bytes[10] = 0x84;
    refuse_blob(type, 10, "a listpack string beyond the end");
    two_listpack_entries();
    blob.bytes[10] = 0xef;
    refuse_blob(type, 10, "a listpack string beyond the end");
    static const char unknown[] = "a listpack entry of an unknown encoding, or beyond the end";
    listpack_begin(&blob);
    build_byte(&blob, 0xc1);
    listpack_end(&blob);
    refuse_blob(type, 6, unknown);
    listpack_begin(&blob);
    build_byte(&blob, 0x01);
    listpack_end(&blob);
    refuse_blob(type, 6, "a listpack entry with a wrong back length");
    static const uint8_t firsts[] = {0xf0, 0xf3, 0xf4, 0xf5, 0xfe, 0xff};
    for (size_t i = 0; i < sizeof(firsts); i++) {
        two_listpack_entries();
        blob.bytes[10] = firsts[i];
        refuse_blob(type, 10, unknown);
    }
    build_reset(&blob);
    build_bytes(&blob, "\x06\0\0\0\0\xff", 6);
    refuse_blob(type, 0, "a listpack shorter than its header");
    listpack_begin(&blob);
    listpack_integer(&blob, 3);
    listpack_end(&blob);
    refuse_blob(RDB_TYPE_HASH_LISTPACK, 8, "an odd number of entries");
    refuse_blob(RDB_TYPE_ZSET_LISTPACK, 8, "an odd number of entries");
    refuse_blob(RDB_TYPE_HASH_LISTPACK_EX_PRE_GA, 8, "an odd number of entries");
    two_listpack_entries();
    refuse_blob(RDB_TYPE_HASH_LISTPACK_EX_PRE_GA, 14, "an odd number of entries");
    listpack_begin(&blob);
    listpack_integer(&blob, 1);
    listpack_integer(&blob, 2);
    listpack_integer(&blob, -3);
    listpack_end(&blob);
    refuse_blob(RDB_TYPE_HASH_LISTPACK_EX_PRE_GA, 10, "a field's expiry time that is none");
}

/* A back length of Redis' longer form is right for 16383 only. */
static void test_back_length(void **state)
{
    (void)state;
    static uint8_t entry[16382];
    memset(entry, 'x', sizeof(entry));
    memcpy(entry, "\xf0\xf9\x3f\x00\x00", 5);
    listpack_begin(&blob);
    listpack_raw(&blob, entry, sizeof(entry), true);
    listpack_end(&blob);
    build_reset(&value);
    build_blob(&value, &blob);
    struct lines lines;
    struct lines_options options = {.type = RDB_TYPE_SET_LISTPACK};
    lines_decode(value.bytes, value.size, &options, &lines);
    assert_int_equal(lines.status, RDB_DECODE_ERROR);
    assert_non_null(strstr(lines.err.msg, "a listpack entry with a wrong back length"));
    lines_free(&lines);
}

static void intset(uint32_t width, uint32_t count, const char *numbers, size_t size)
{
    build_reset(&blob);
    build_u32(&blob, width);
    build_u32(&blob, count);
    build_bytes(&blob, numbers, size);
}

static void test_intsets(void **state)
{
    (void)state;
    const uint8_t type = RDB_TYPE_SET_INTSET;
    intset(2, 2, "\x02\x00\x01\x00", 4);
    refuse_blob(type, 10, "an intset out of order");
    intset(2, 2, "\x02\x00\x02\x00", 4);
    refuse_blob(type, 10, "an intset out of order");
    intset(2, 3, "\x01\x00\x02\x00", 4);
    refuse_blob(type, 0, "an intset of another size than its header says");
    intset(8, 0x20000001, "\x01\x00\x00\x00\x00\x00\x00\x00", 8); /* wraps in 32 bits */
    refuse_blob(type, 0, "an intset of another size than its header says");
    intset(2, 0, "", 0);
    refuse_blob(type, 0, "an intset without numbers");
    intset(3, 1, "\x01\x00\x02", 3);
    refuse_blob(type, 0, "an intset with numbers of an impossible size");
    build_reset(&blob);
    build_bytes(&blob, "\x02\0\0\0\x01\0\0", 7);
    refuse_blob(type, 0, "an intset shorter than its header");
}

static void zipmap(const char *bytes, size_t size)
{
    build_reset(&blob);
    build_bytes(&blob, bytes, size);
}

static void test_zipmaps(void **state)
{
    (void)state;
    const uint8_t type = RDB_TYPE_HASH_ZIPMAP;
    zipmap("\x01\x01"
           "a\x01\x00"
           "b",
           6);
    refuse_blob(type, 5, "a zipmap without an end mark");
    zipmap("\x02\x01"
           "a\x01\x00"
           "b\xff",
           7);
    refuse_blob(type, 6, "a blob with another number of entries than its header says");
    zipmap("\x01\x01"
           "a\x02\x00"
           "b\xff",
           7);
    refuse_blob(type, 3, "a zipmap entry beyond the end");
    zipmap("\x01\x01"
           "a\x01\x01"
           "b\xff",
           7);
    refuse_blob(type, 3, "a zipmap entry beyond the end");
    zipmap("\x01\x01"
           "a\x01\xff",
           5);
    refuse_blob(type, 3, "a zipmap entry beyond the end");
    zipmap("\x01\xfe\xff\xff\xff\xff\xff", 7);
    refuse_blob(type, 1, "a zipmap entry beyond the end");
    zipmap("\x01\x01"
           "a\xff",
           4);
    refuse_blob(type, 3, "an odd number of entries");
    zipmap("\x01\x01"
           "a\x00\xff",
           5);
    refuse_blob(type, 3, "a zipmap entry beyond the end");
    zipmap("\x00", 1);
    refuse_blob(type, 0, "a zipmap shorter than its header");
}

static void test_fields(void **state)
{
    (void)state;
    build_reset(&value);
    build_bytes(&value,
                "\x01\x01"
                "a\x01x",
                5);
    refuse(RDB_TYPE_ZSET, false, "", 3, "a score that is no number");
    build_reset(&value);
    build_bytes(&value,
                "\x01\x01"
                "a\xfd",
                4);
    refuse(RDB_TYPE_ZSET, false, "", 3, "a score that is no number");
    build_reset(&value);
    build_bytes(&value,
                "\x01\x01"
                "a\x00",
                4);
    refuse(RDB_TYPE_ZSET, false, "", 3, "a score that is no number");
    build_reset(&value);
    build_bytes(&value,
                "\x01\x01"
                "a\x00\x00\x00\x00\x00\x00\xf8\x7f",
                11);
    refuse(RDB_TYPE_ZSET_2, false, "", 3, "a score that is no number");
    static uint8_t digits[252];
    memset(digits, '1', sizeof(digits));
    digits[251] = 'x';
    build_reset(&value);
    build_bytes(&value,
                "\x01\x01"
                "a\xfc",
                4);
    build_bytes(&value, digits, sizeof(digits));
    refuse(RDB_TYPE_ZSET, false, "", 3, "a score that is no number");
    build_reset(&value);
    build_bytes(&value, "\x82", 1);
    refuse(RDB_TYPE_SET, false, "", 0, "an invalid length field");
    build_reset(&value);
    build_bytes(&value,
                "\x02\x01"
                "a\xc4",
                4);
    refuse(RDB_TYPE_SET, false, "", 3, "an unknown string encoding");
    build_reset(&value);
    build_len(&value, UINT64_C(1) << 50);
    refuse(RDB_TYPE_LIST, false, "", 0, "an impossibly large number of elements");
    build_reset(&value);
    build_bytes(&value,
                "\x01\x03\x01"
                "a",
                4);
    refuse(RDB_TYPE_LIST_QUICKLIST_2, false, "", 1, "a list node of an unknown container");
    build_reset(&value);
    build_bytes(&value, "\x01\x01\x00", 3);
    refuse(RDB_TYPE_LIST_QUICKLIST_2, false, "", 3, "an empty list node");
    build_reset(&value);
    build_bytes(&value,
                "\x01\x01"
                "f\x01v",
                5);
    build_u64(&value, UINT64_MAX - 1);
    refuse(RDB_TYPE_HASH_METADATA_PRE_GA, true, "", 5, "a hash field with a negative expiry time");
    build_reset(&value);
    build_len(&value, 1);
    build_len(&value, UINT64_C(1) << 48);
    refuse(RDB_TYPE_HASH_METADATA_PRE_GA, false, "", 1, "a field's expiry time that is none");
    build_reset(&value);
    build_u64(&value, UINT64_MAX);
    build_bytes(&value, "\x01\x01", 2);
    refuse(RDB_TYPE_HASH_METADATA, false, "", 9, "a field's expiry time that is none");
    build_reset(&value);
    build_u64(&value, (UINT64_C(1) << 48) - 1); /* the last time there is, and one more */
    build_bytes(&value,
                "\x02\x01\x01"
                "f\x01v\x02",
                7);
    refuse(RDB_TYPE_HASH_METADATA, false, "", 14, "a field's expiry time that is none");
    build_reset(&value);
    build_bytes(&value, "\x02\x07", 2);
    refuse(RDB_TYPE_MODULE_2, false, "", 1, "a module value with an unknown item");
}

static void test_lzf(void **state)
{
    (void)state;
    static const char reason[] = "compressed data that does not decode to the size it claims";
    static const struct {
        const char *bytes;
        size_t size;
    } broken[] = {
        {"\xc3\x04\x05\x02"
         "abc",
         7}, /* less text than it claims           */
        {"\xc3\x04\x02\x02"
         "abc",
         7}, /* more                               */
        {"\xc3\x05\x05\x01"
         "ab\x20\x02",
         8}, /* reaches back before the first byte */
        {"\xc3\x03\x04\x01"
         "ab",
         6}, /* less text: ends early              */
        {"\xc3\x03\x02\x02"
         "ab",
         6}, /* ends inside a run                  */
        {"\xc3\x04\x02\x01"
         "ab\x20",
         7}, /* ends inside a reference            */
    };
    for (size_t i = 0; i < sizeof(broken) / sizeof(broken[0]); i++) {
        build_reset(&value);
        build_bytes(&value, broken[i].bytes, broken[i].size);
        refuse(RDB_TYPE_STRING, false, "", 0, reason);
        build_reset(&value);
        build_byte(&value, 1);
        build_bytes(&value, broken[i].bytes, broken[i].size);
        refuse(RDB_TYPE_SET, false, "", 1, reason);
    }
    build_reset(&value);
    build_bytes(&value,
                "\xc3\x01\x42\x00"
                "a",
                5);
    refuse(RDB_TYPE_STRING, false, "", 0, "compressed data that claims more text than it can hold");
}

/* A stream of one node: the listpack in `blob`, which begins behind 1 + 17 + 1 bytes. */
static void refuse_node(size_t at, const char *reason)
{
    listpack_end(&blob);
    build_reset(&value);
    build_len(&value, 1);
    build_len(&value, 16);
    build_u64_be(&value, 1);
    build_u64_be(&value, 1);
    build_blob(&value, &blob);
    refuse(RDB_TYPE_STREAM_LISTPACKS, false, "", value.size - blob.size + at, reason);
}

static void numbers(const int8_t *list, size_t count)
{
    listpack_begin(&blob);
    for (size_t i = 0; i < count; i++) {
        listpack_integer(&blob, list[i]);
    }
}

static void test_streams(void **state)
{
    (void)state;
    static const char cut[] = "a stream node that ends inside an entry";
    /* Small numbers take two bytes each, behind a header of six; negative ones three. */
    numbers((const int8_t[]){1, 0}, 2);
    refuse_node(10, cut);
    numbers((const int8_t[]){1, 0, 5, 1, 0}, 5);
    refuse_node(16, cut);
    numbers((const int8_t[]){1, 0, 1, 1, 7}, 5);
    refuse_node(14, "a stream node whose own fields do not end with 0");
    numbers((const int8_t[]){-1, 0, 0, 0}, 4);
    refuse_node(6, "a stream node with a negative count");
    numbers((const int8_t[]){1, 0, 0, 0, 8, 0, 0, 3}, 8);
    refuse_node(14, "a stream entry with unknown flags");
    numbers((const int8_t[]){1, 0, 0, 0, 2, 0, 0, 4}, 8);
    refuse_node(20, "a stream entry that misstates its own size");
    numbers((const int8_t[]){1, 0, 0, 0, 0, 0, 0, 127}, 8);
    refuse_node(22, "a stream entry with more fields than its node has room for");
    numbers((const int8_t[]){2, 0, 0, 0, 2, 0, 0, 3}, 8);
    refuse_node(22, cut);
    numbers((const int8_t[]){1, 0, 0, 0, 2, 0, 0, 3, 2, 0, 0, 3}, 12);
    refuse_node(22, "a stream node with more entries than it says");
    /* The node's id is 1-1. The same id again, a lower one, also behind a deleted entry; 0-0. */
    static const char order[] = "a stream entry whose id is not above the one before it";
    numbers((const int8_t[]){2, 0, 0, 0, 2, 0, 0, 3, 2, 0, 0, 3}, 12);
    refuse_node(22, order);
    numbers((const int8_t[]){2, 0, 0, 0, 2, 1, 0, 3, 2, 0, 9, 3}, 12);
    refuse_node(22, order);
    numbers((const int8_t[]){1, 1, 0, 0, 3, 1, 1, 3, 2, 1, 0, 3}, 12);
    refuse_node(22, order);
    numbers((const int8_t[]){1, 0, 0, 0, 2, -1, -1, 3}, 8);
    refuse_node(14, order);
    numbers((const int8_t[]){1, 0, 2, 1, 1, 0}, 6);
    blob.bytes[15] = 2;
    refuse_node(14, "a listpack entry with a wrong back length");
    numbers((const int8_t[]){1, 0, 0, 0}, 4);
    blob.bytes[9] = 2;
    refuse_node(8, "a listpack entry with a wrong back length");
    listpack_begin(&blob);
    listpack_text(&blob, "1", 1);
    refuse_node(6, "a stream node with text where a number belongs");
    build_reset(&value);
    build_bytes(&value,
                "\x01\x0f"
                "123456789012345",
                17);
    refuse(RDB_TYPE_STREAM_LISTPACKS, false, "", 1, "a stream node whose key is not 16 bytes");
    value.size = 2; /* without waiting for it */
    refuse(RDB_TYPE_STREAM_LISTPACKS, false, "", 1, "a stream node whose key is not 16 bytes");
}

static void test_types(void **state)
{
    (void)state;
    static const struct lines_options whole;
    build_reset(&value);
    build_byte(&value, 0);
    check(RDB_TYPE_MODULE_PRE_GA,
          false,
          &whole,
          "RDB byte 0: a module value in the format of Redis 4.0 release candidates, which nobody "
          "but the module can skip, in a value of type 6 (module (pre-release format)) of the key "
          "with hash 0000000000000abc");
    check(8,
          false,
          &whole,
          "RDB byte 0: an unknown value type or opcode, in a value of type 8 (unknown type) of the "
          "key with hash 0000000000000abc");
    check(RDB_TYPE_HASH_METADATA,
          true,
          &whole,
          "RDB byte 0: a value type of Redis in a Valkey RDB, in a value of type 24 (hash (field "
          "expiry)) of the key with hash 0000000000000abc");
    assert_int_equal(rdb_type_kind(8, false), RDB_KIND_COUNT);
    assert_int_equal(rdb_type_kind(255, false), RDB_KIND_COUNT);
    assert_int_equal(rdb_type_kind(22, true), RDB_KIND_HASH);
}

/* An element over the limit is refused whether it is all there or not; a string has no limit. */
static void test_limit(void **state)
{
    (void)state;
    static uint8_t text[16385];
    memset(text, 'x', sizeof(text));
    build_reset(&value);
    build_byte(&value, 2);
    build_text(&value, "a");
    build_str(&value, text, sizeof(text));
    refuse(RDB_TYPE_SET,
           false,
           "limit of 16384 bytes: ",
           3,
           "an element or blob larger than the limit");
    refuse(RDB_TYPE_HASH,
           false,
           "limit of 16384 bytes: ",
           3,
           "an element or blob larger than the limit");
    build_reset(&value);
    build_lzf(&value, text, sizeof(text));
    refuse(RDB_TYPE_HASH_ZIPMAP,
           false,
           "limit of 16384 bytes: ",
           0,
           "an element or blob larger than the limit");
    struct lines lines;
    struct lines_options options = {.type = RDB_TYPE_STRING, .item_bytes_max = 1, .first = 100};
    lines_decode(value.bytes, value.size, &options, &lines);
    assert_int_equal(lines.status, RDB_DECODE_DONE);
    lines_free(&lines);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ziplists),
        cmocka_unit_test(test_listpacks),
        cmocka_unit_test(test_back_length),
        cmocka_unit_test(test_intsets),
        cmocka_unit_test(test_zipmaps),
        cmocka_unit_test(test_fields),
        cmocka_unit_test(test_lzf),
        cmocka_unit_test(test_streams),
        cmocka_unit_test(test_types),
        cmocka_unit_test(test_limit),
    };
    return cmocka_run_group_tests_name("decoding of broken values", tests, NULL, NULL);
}
