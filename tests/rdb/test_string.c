/*
 * STR decoding: a wrong sign, length or LZF bound would put another text at the destination, or
 * write beyond the buffer that the caller sized by text_size.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <liblzf/lzf.h>

#include "rdb/rdb.h"

#define BYTES(text) (const uint8_t *)(text), sizeof(text) - 1

struct good {
    const uint8_t *bytes;
    size_t size;
    enum rdb_string_form form;
    const char *text;
};

static const struct good good[] = {
    {BYTES("\x00"), RDB_STRING_RAW, ""},
    {BYTES("\x03"
           "abc"),
     RDB_STRING_RAW,
     "abc"},
    {BYTES("\x40\x03"
           "abc"),
     RDB_STRING_RAW,
     "abc"},
    {BYTES("\x80\x00\x00\x00\x03"
           "abc"),
     RDB_STRING_RAW,
     "abc"},
    {BYTES("\x81\x00\x00\x00\x00\x00\x00\x00\x03"
           "abc"),
     RDB_STRING_RAW,
     "abc"},
    {BYTES("\xc0\x00"), RDB_STRING_INTEGER, "0"},
    {BYTES("\xc0\x7f"), RDB_STRING_INTEGER, "127"},
    {BYTES("\xc0\x80"), RDB_STRING_INTEGER, "-128"},
    {BYTES("\xc1\xff\x7f"), RDB_STRING_INTEGER, "32767"},
    {BYTES("\xc1\x00\x80"), RDB_STRING_INTEGER, "-32768"},
    {BYTES("\xc2\xff\xff\xff\x7f"), RDB_STRING_INTEGER, "2147483647"},
    {BYTES("\xc2\x00\x00\x00\x80"), RDB_STRING_INTEGER, "-2147483648"},
    {BYTES("\xc3\x05\x0a\x00"
           "a\xe0\x00\x00"),
     RDB_STRING_LZF,
     "aaaaaaaaaa"},
};

/* A block of just this size, so that AddressSanitizer sees any write beyond it. */
static uint8_t *block(size_t size)
{
    uint8_t *bytes = mem_alloc(MEM_RDB, size > 0 ? size : 1);
    assert_non_null(bytes);
    return bytes;
}

static void test_all_forms(void **state)
{
    (void)state;
    struct syn_err err;
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        struct rdb_string string;
        for (size_t size = 0; size < good[i].size; size++) {
            uint8_t *part = block(size);
            memcpy(part, good[i].bytes, size);
            assert_int_equal(rdb_string_read(part, size, &string, &err), RDB_MORE);
            mem_free(MEM_RDB, part);
        }
        assert_int_equal(rdb_string_read(good[i].bytes, good[i].size, &string, &err), RDB_READY);
        assert_int_equal(string.form, good[i].form);
        assert_int_equal(string.encoded_size, good[i].size);
        assert_int_equal(string.text_size, strlen(good[i].text));
        uint8_t *text = block(string.text_size);
        assert_true(rdb_string_decode(&string, text, &err));
        assert_memory_equal(text, good[i].text, string.text_size);
        mem_free(MEM_RDB, text);
    }
}

static void test_bad_heads(void **state)
{
    (void)state;
    struct syn_err err;
    struct rdb_string string;
    assert_int_equal(rdb_string_read(BYTES("\x82xxxx"), &string, &err), RDB_ERROR);
    assert_string_equal(err.msg, "RDB string: an invalid length field (0x82)");
    assert_int_equal(err.code, SYN_CODE_SOURCE_DATA);
    assert_int_equal(rdb_string_read(BYTES("\xc4"), &string, &err), RDB_ERROR);
    assert_string_equal(err.msg, "RDB string: an unknown string encoding (0xc4)");
    assert_int_equal(rdb_string_read(BYTES("\xc3\xc0\x01"), &string, &err), RDB_ERROR);
    assert_int_equal(rdb_string_read(BYTES("\xc3\x01\x40\x59x"), &string, &err), RDB_ERROR);
    assert_int_equal(rdb_string_read(BYTES("\xc3\x01\x40\x58x"), &string, &err), RDB_READY);
}

static void test_bad_compressed_data(void **state)
{
    (void)state;
    struct syn_err err;
    static const struct good bad[] = {
        {BYTES("\xc3\x05\x09\x00"
               "a\xe0\x00\x00"),
         RDB_STRING_LZF,
         "shorter than it decodes to"},
        {BYTES("\xc3\x05\x0b\x00"
               "a\xe0\x00\x00"),
         RDB_STRING_LZF,
         "longer than it decodes to"},
        {BYTES("\xc3\x05\x0a\x00"
               "a\xe0\x00\x01"),
         RDB_STRING_LZF,
         "a reference before the start"},
        {BYTES("\xc3\x04\x0a\x00"
               "a\xe0\x00"),
         RDB_STRING_LZF,
         "a run without its distance"},
        {BYTES("\xc3\x02\x0a\x05"
               "a"),
         RDB_STRING_LZF,
         "literals that are not there"},
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct rdb_string string;
        assert_int_equal(rdb_string_read(bad[i].bytes, bad[i].size, &string, &err), RDB_READY);
        uint8_t *data = block(string.data.size);
        memcpy(data, string.data.bytes, string.data.size);
        string.data.bytes = data;
        uint8_t *text = block(string.text_size);
        assert_false(rdb_string_decode(&string, text, &err));
        assert_non_null(strstr(err.msg, "do not decode"));
        mem_free(MEM_RDB, text);
        mem_free(MEM_RDB, data);
    }
}

/* What the compressor of the servers makes comes back, at the highest ratio too. */
static void test_compressed_texts_come_back(void **state)
{
    (void)state;
    struct syn_err err;
    for (unsigned size = 30; size < 70000; size = size * 3 / 2) {
        uint8_t *text = block(size);
        uint8_t *packed = block(size);
        uint8_t *back = block(size);
        for (unsigned pattern = 1; pattern < 40; pattern += 13) {
            for (unsigned i = 0; i < size; i++) {
                text[i] = (uint8_t)(i % pattern);
            }
            unsigned made = lzf_compress(text, size, packed, size - 4);
            if (made == 0) {
                continue;
            }
            struct rdb_string string = {
                .form = RDB_STRING_LZF, .text_size = size, .data = {.bytes = packed, .size = made}};
            assert_true((size_t)made * 88 >= size);
            assert_true(rdb_string_decode(&string, back, &err));
            assert_memory_equal(back, text, size);
        }
        mem_free(MEM_RDB, text);
        mem_free(MEM_RDB, packed);
        mem_free(MEM_RDB, back);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_forms),
        cmocka_unit_test(test_bad_heads),
        cmocka_unit_test(test_bad_compressed_data),
        cmocka_unit_test(test_compressed_texts_come_back),
    };
    return cmocka_run_group_tests_name("rdb string", tests, NULL, NULL);
}
