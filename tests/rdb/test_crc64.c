/*
 * A wrong CRC64 makes every RESTORE fail or, worse, lets corrupt snapshots through. Each faster
 * implementation is compared with the bitwise one over all small sizes, alignments and starting
 * values, because their branches depend on exactly these.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "rdb/crc64.h"

#define BUFFER_SIZE 8192

static const char *const names[] = {"bitwise", "slice8", "clmul", "wide"};
#define NAME_COUNT (sizeof(names) / sizeof(names[0]))

/* xorshift64*: small, and the same everywhere. */
static uint64_t random_next(uint64_t *seed)
{
    *seed ^= *seed >> 12;
    *seed ^= *seed << 25;
    *seed ^= *seed >> 27;
    return *seed * 0x2545f4914f6cdd1du;
}

static void fill(uint8_t *bytes, size_t size, uint64_t *seed)
{
    for (size_t i = 0; i < size; i++) {
        bytes[i] = (uint8_t)(random_next(seed) >> 32);
    }
}

static void test_check_value(void **state)
{
    (void)state;
    for (size_t i = 0; i < NAME_COUNT; i++) {
        crc64_function *crc64 = crc64_implementation(names[i]);
        if (crc64 == NULL) {
            print_message("[  NOTE    ] this CPU has no %s\n", names[i]);
            continue;
        }
        assert_true(crc64(0, "123456789", 9) == 0xe9c6d914c4b8d9ca);
        assert_true(crc64(7, "", 0) == 7);
    }
    assert_true(crc64_update(0, "123456789", 9) == 0xe9c6d914c4b8d9ca);
    assert_null(crc64_implementation("none"));
}

static void compare(crc64_function *crc64, uint64_t *seed)
{
    static uint8_t buffer[BUFFER_SIZE];
    crc64_function *bitwise = crc64_implementation("bitwise");
    fill(buffer, sizeof(buffer), seed);
    for (size_t size = 0; size <= 4096; size += size < 600 ? 1 : 1 + random_next(seed) % 64) {
        size_t alignment = random_next(seed) % 64;
        uint64_t start = random_next(seed);
        uint64_t expected = bitwise(start, buffer + alignment, size);
        assert_true(crc64(start, buffer + alignment, size) == expected);
        assert_true(crc64(0, buffer + alignment, size) == bitwise(0, buffer + alignment, size));
    }
}

static void test_implementations_agree(void **state)
{
    (void)state;
    uint64_t seed = 0x5eed1;
    print_message("[  NOTE    ] seed 0x%llx\n", (unsigned long long)seed);
    for (size_t i = 1; i < NAME_COUNT; i++) {
        crc64_function *crc64 = crc64_implementation(names[i]);
        for (int round = 0; crc64 != NULL && round < 4; round++) {
            compare(crc64, &seed);
        }
    }
}

/* All alignments at the sizes where the implementations change their step. */
static void test_borders(void **state)
{
    (void)state;
    static uint8_t buffer[BUFFER_SIZE];
    uint64_t seed = 0x5eed2;
    fill(buffer, sizeof(buffer), &seed);
    crc64_function *bitwise = crc64_implementation("bitwise");
    for (size_t i = 1; i < NAME_COUNT; i++) {
        crc64_function *crc64 = crc64_implementation(names[i]);
        for (size_t size = 0; crc64 != NULL && size <= 2700; size++) {
            size = size == 300 ? 1900 : size;
            for (size_t alignment = 0; alignment < 17; alignment++) {
                const uint8_t *at = buffer + alignment;
                assert_true(crc64(seed, at, size) == bitwise(seed, at, size));
            }
        }
    }
}

/* Continuing over pieces is the same as one go. */
static void test_pieces(void **state)
{
    (void)state;
    static uint8_t buffer[BUFFER_SIZE];
    uint64_t seed = 0x5eed3;
    fill(buffer, sizeof(buffer), &seed);
    uint64_t expected = crc64_update(0, buffer, sizeof(buffer));
    for (int round = 0; round < 200; round++) {
        uint64_t crc = 0;
        for (size_t pos = 0; pos < sizeof(buffer);) {
            size_t piece = random_next(&seed) % 500;
            piece = piece < sizeof(buffer) - pos ? piece : sizeof(buffer) - pos;
            crc = crc64_update(crc, buffer + pos, piece);
            pos += piece;
        }
        assert_true(crc == expected);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_check_value),
        cmocka_unit_test(test_implementations_agree),
        cmocka_unit_test(test_borders),
        cmocka_unit_test(test_pieces),
    };
    return cmocka_run_group_tests_name("rdb crc64", tests, NULL, NULL);
}
