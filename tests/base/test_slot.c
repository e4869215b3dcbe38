#include "tests/base/test.h"

#include "core/base/slot.h"

static uint16_t slot(const char *key)
{
    return slot_of_key(key, strlen(key));
}

/* Values that any cluster agrees on (CLUSTER KEYSLOT): one wrong slot and a key lands on a server
 * that refuses it. */
static void test_known(void **state)
{
    (void)state;
    assert_int_equal(slot_crc16("123456789", 9), 0x31c3);
    assert_int_equal(slot("123456789"), 12739);
    assert_int_equal(slot("foo"), 12182);
    assert_int_equal(slot("bar"), 5061);
    assert_int_equal(slot(""), 0);
}

/* Only the first {…} counts, and only when there is something in it (cluster specification). */
static void test_tags(void **state)
{
    (void)state;
    assert_int_equal(slot("{foo}"), slot("foo"));
    assert_int_equal(slot("a{foo}b"), slot("foo"));
    assert_int_equal(slot("{foo}{bar}"), slot("foo"));
    assert_int_equal(slot("a{foo"), slot_crc16("a{foo", 5) % SLOT_COUNT);
    assert_int_equal(slot("foo}"), slot_crc16("foo}", 4) % SLOT_COUNT);
    assert_int_equal(slot("{}foo"), slot_crc16("{}foo", 5) % SLOT_COUNT);
    assert_int_equal(slot("{}{foo}"), slot_crc16("{}{foo}", 7) % SLOT_COUNT);
    assert_int_equal(slot("foo{{bar}}zap"), slot("{bar"));
    assert_int_equal(slot("}{foo}"), slot("foo"));
    assert_int_equal(slot("{"), slot_crc16("{", 1) % SLOT_COUNT);
}

/* Keys are bytes: zeros do not end them, and nothing behind them is read. */
static void test_binary(void **state)
{
    (void)state;
    assert_int_equal(slot_of_key("a\0{foo}", 7), slot("foo"));
    assert_true(slot_of_key("a\0b", 3) != slot_of_key("a", 1));
    assert_int_equal(slot_of_key("foo}", 3), slot("foo"));
    assert_int_equal(slot_of_key("{foo}", 4), slot_crc16("{foo", 4) % SLOT_COUNT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_known),
        cmocka_unit_test(test_tags),
        cmocka_unit_test(test_binary),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
