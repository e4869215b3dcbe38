#include "tests/base/test.h"

#include <stdio.h>

#include "core/base/num.h"

static void check_u64(uint64_t value)
{
    char text[32];
    char expected[32];
    size_t size = num_write_u64(text, value);
    int length = snprintf(expected, sizeof(expected), "%llu", (unsigned long long)value);
    assert_int_equal(size, length);
    assert_memory_equal(text, expected, size);
    assert_int_equal(num_digits_u64(value), length);
    uint64_t back = 0;
    assert_true(num_read_u64(text, size, &back));
    assert_int_equal(back, value);
}

static void check_i64(int64_t value)
{
    char text[32];
    char expected[32];
    size_t size = num_write_i64(text, value);
    int length = snprintf(expected, sizeof(expected), "%lld", (long long)value);
    assert_int_equal(size, length);
    assert_memory_equal(text, expected, size);
    int64_t back = 0;
    assert_true(num_read_i64(text, size, &back));
    assert_int_equal(back, value);
}

/* Every length, its borders, and both ends: a length field that is one digit short shifts a whole
 * connection. */
static void test_round_trips(void **state)
{
    (void)state;
    uint64_t power = 1;
    for (int digits = 1; digits <= 20; digits++) {
        check_u64(power - 1);
        check_u64(power);
        check_u64(power + 1);
        if (power <= INT64_MAX) {
            check_i64((int64_t)power);
            check_i64(-(int64_t)power);
            check_i64(1 - (int64_t)power);
        }
        power = digits < 20 ? power * 10 : power;
    }
    check_u64(UINT64_MAX);
    check_i64(INT64_MAX);
    check_i64(INT64_MIN);
    for (uint64_t i = 0; i < 20000; i++) {
        check_u64(i);
    }
}

/* What is not exactly a number in Redis' form is refused, and the value stays as it was. */
static void test_bad_forms(void **state)
{
    (void)state;
    static const char *const bad[] = {"",
                                      " 1",
                                      "1 ",
                                      "+1",
                                      "01",
                                      "00",
                                      "0x1",
                                      "1a",
                                      "a",
                                      "1.0",
                                      "18446744073709551616",
                                      "99999999999999999999",
                                      "100000000000000000000",
                                      "\xb1"};
    uint64_t value = 77;
    int64_t number = 77;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_false(num_read_u64(bad[i], strlen(bad[i]), &value));
        assert_false(num_read_i64(bad[i], strlen(bad[i]), &number));
    }
    static const char *const bad_signed[] = {
        "-", "-0", "--1", "-01", "9223372036854775808", "-9223372036854775809", "- 1"};
    for (size_t i = 0; i < sizeof(bad_signed) / sizeof(bad_signed[0]); i++) {
        assert_false(num_read_i64(bad_signed[i], strlen(bad_signed[i]), &number));
    }
    assert_false(num_read_u64("-1", 2, &value));
    assert_int_equal(value, 77);
    assert_int_equal(number, 77);
    assert_true(num_read_u64("123456", 3, &value)); /* the size rules, nothing behind is read */
    assert_int_equal(value, 123);
}

/* The hash in messages is stable: people compare it between runs and machines. */
static void test_key_hash(void **state)
{
    (void)state;
    assert_int_equal(key_hash("", 0), 0x2d06800538d394c2u);
    assert_int_equal(key_hash("foo", 3), 0xab6e5f64077e7d8au);
    assert_true(key_hash("foo", 3) != key_hash("fop", 3));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trips),
        cmocka_unit_test(test_bad_forms),
        cmocka_unit_test(test_key_hash),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
