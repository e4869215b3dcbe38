/*
 * DUMP payloads: a wrong footer makes every RESTORE fail with "DUMP payload version or checksum are
 * wrong"; a missing check would let a damaged value through.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "rdb/rdb.h"

/* DUMP of the string "10" by a server with RDB 9. */
static const uint8_t real[] = {
    0x00, 0xc0, 0x0a, 0x09, 0x00, 0xbe, 0x6d, 0x06, 0x89, 0x5a, 0x28, 0x00, 0x0a};

static void test_a_real_payload_is_split(void **state)
{
    (void)state;
    struct syn_err err;
    uint8_t type;
    uint16_t version;
    struct slice body;
    assert_true(rdb_payload_read(real, sizeof(real), &type, &body, &version, &err));
    assert_int_equal(type, RDB_TYPE_STRING);
    assert_int_equal(version, 9);
    assert_int_equal(body.size, 2);
    assert_ptr_equal(body.bytes, real + 1);
}

static void test_a_footer_is_what_a_server_writes(void **state)
{
    (void)state;
    uint8_t footer[RDB_FOOTER_SIZE];
    rdb_footer_write(footer, crc64_update(0, real, 3), 9);
    assert_memory_equal(footer, real + 3, RDB_FOOTER_SIZE);
    rdb_footer_write(footer, 0, 0x1234);
    assert_int_equal(footer[0], 0x34);
    assert_int_equal(footer[1], 0x12);
}

static void test_damage_is_noticed(void **state)
{
    (void)state;
    struct syn_err err;
    uint8_t type;
    uint16_t version;
    struct slice body;
    for (size_t size = 0; size < sizeof(real); size++) {
        assert_false(rdb_payload_read(real, size, &type, &body, &version, &err));
        assert_int_equal(err.code, SYN_CODE_SOURCE_DATA);
        assert_non_null(strstr(err.msg, size < 12 ? "are too few" : "its CRC64 is"));
    }
    for (size_t bit = 0; bit < sizeof(real) * 8; bit++) {
        uint8_t copy[sizeof(real)];
        memcpy(copy, real, sizeof(real));
        copy[bit / 8] ^= (uint8_t)(1u << bit % 8);
        assert_false(rdb_payload_read(copy, sizeof(copy), &type, &body, &version, &err));
    }
}

/* The table of reference servers: first version able to load each type. */
static void test_the_lowest_version_of_each_type(void **state)
{
    (void)state;
    static const uint16_t expected[RDB_TYPE_COUNT] = {
        6, 6, 6, 6, 6, 8, 0, 8, 0, 6, 6, 6, 6, 6, 7, 9, 10, 10, 10, 10, 11, 11, 12, 12, 12, 12};
    for (unsigned type = 0; type < 256; type++) {
        uint16_t want = type < RDB_TYPE_COUNT ? expected[type] : 0;
        assert_int_equal(rdb_type_version_min((uint8_t)type, false), want);
        want = type == 22 ? 80 : type > 22 ? 0 : want;
        assert_int_equal(rdb_type_version_min((uint8_t)type, true), want);
        assert_non_null(rdb_type_name((uint8_t)type));
    }
    assert_string_equal(rdb_type_name(RDB_TYPE_STRING), "string");
    assert_string_equal(rdb_type_name(RDB_TYPE_HASH_LISTPACK), "hash (listpack)");
    assert_string_equal(rdb_type_name(8), "unknown type");
    assert_string_equal(rdb_type_name(200), "unknown type");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_real_payload_is_split),
        cmocka_unit_test(test_a_footer_is_what_a_server_writes),
        cmocka_unit_test(test_damage_is_noticed),
        cmocka_unit_test(test_the_lowest_version_of_each_type),
    };
    return cmocka_run_group_tests_name("rdb payload", tests, NULL, NULL);
}
