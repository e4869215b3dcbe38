/* What positions and redirections say: texts that a server gives back, of this version or another,
 * or of nobody; read wrongly, a run would continue from the wrong place, or write to one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "apply/position.h"
#include "apply/redirect.h"

static void test_redirections(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool is_read;
        struct redirect_place place;
    } cases[] = {
        {"ASK 3999 127.0.0.1:6381", true, {true, 3999, 6381, "127.0.0.1"}},
        {"MOVED 0 node-1.example:7000", true, {false, 0, 7000, "node-1.example"}},
        {"MOVED 16383 2001:db8::1:6379", true, {false, 16383, 6379, "2001:db8::1"}},
        {"MOVED 5 :6381", true, {false, 5, 6381, ""}}, /* 7.0: the host that answered */
        {"MOVED 5 ?:6381", false, {0}},
        {"ASK 16384 127.0.0.1:6381", false, {0}},
        {"ASK 1 127.0.0.1:0", false, {0}},
        {"ASK 1 127.0.0.1:65536", false, {0}},
        {"ASK 1 127.0.0.1", false, {0}},
        {"ASK 1", false, {0}},
        {"ASK ", false, {0}},
        {"ASKING 1 127.0.0.1:6381", false, {0}},
        {"TRYAGAIN Multiple keys request during rehashing of slot", false, {0}},
        {"", false, {0}},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct redirect_place place;
        bool is_read = redirect_read(cases[i].text, strlen(cases[i].text), &place);
        assert_int_equal(is_read, cases[i].is_read);
        if (is_read) {
            assert_int_equal(place.is_ask, cases[i].place.is_ask);
            assert_int_equal(place.slot, cases[i].place.slot);
            assert_int_equal(place.port, cases[i].place.port);
            assert_string_equal(place.host, cases[i].place.host);
        }
    }
    char text[400] = "ASK 1 "; /* a host that no name is as long as */
    memset(text + 6, 'h', 300);
    memcpy(text + 306, ":6381", 6);
    struct redirect_place place;
    assert_false(redirect_read(text, strlen(text), &place));
}

static void test_positions(void **state)
{
    (void)state;
    const struct position_value value = {.offset = UINT64_MAX,
                                         .db = UINT32_MAX,
                                         .gap = UINT32_MAX,
                                         .until = UINT64_MAX,
                                         .has_acked = true,
                                         .acked = UINT64_MAX - 1,
                                         .acked_db = UINT32_MAX,
                                         .refusals = UINT64_MAX,
                                         .reach = UINT32_MAX};
    char text[POSITION_VALUE_MAX];
    struct position_value read;
    size_t size = position_value_write(text, &value);
    assert_in_range(size, 1, POSITION_VALUE_MAX);
    assert_true(position_value_read(text, size, &read));
    assert_int_equal(read.offset, value.offset);
    assert_int_equal(read.db, value.db);
    assert_int_equal(read.gap, value.gap);
    assert_int_equal(read.until, value.until);
    assert_true(read.has_acked);
    assert_int_equal(read.acked, value.acked);
    assert_int_equal(read.acked_db, value.acked_db);
    assert_int_equal(read.refusals, value.refusals);
    assert_int_equal(read.reach, value.reach);
    /* Of versions before. */
    assert_true(position_value_read("900 2 64 1000", 13, &read));
    assert_int_equal(read.until, 1000);
    assert_false(read.has_acked);
    static const char *const others[] = {"",
                                         "900",
                                         "900 2 64",
                                         "900 2 64 1000 ",
                                         "900 2 64 1000 5",
                                         "900 2 64 1000 5 0",
                                         "900 2 64 1000 5 0 7",
                                         "900 2 64 1000 5 0 7 8 9",
                                         "900  2 64",
                                         "900 2 64 -1",
                                         "900 4294967296 64 1000",
                                         "900 2 4294967296 1000",
                                         "900 2 64 1000 5 4294967296 7 8"};
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
        assert_false(position_value_read(others[i], strlen(others[i]), &read));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_redirections),
        cmocka_unit_test(test_positions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
