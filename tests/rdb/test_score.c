/*
 * Scores as text. One that reads back as other bits changes the order of members; one with more
 * digits than needed makes two servers differ that are equal.
 */
#include "tests/base/test.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "rdb/score.h"
#include "tests/support/random.h"

/* What score_write must write, the slow way. */
static void expected_text(char text[64], double score)
{
    if (fabs(score) < 9007199254740992.0 && score == trunc(score) &&
        !(score == 0 && signbit(score))) {
        snprintf(text, 64, "%.0f", score);
        return;
    }
    for (int digits = 15; digits <= 17; digits++) {
        snprintf(text, 64, "%.*g", digits, score);
        if (strtod(text, NULL) == score) {
            return;
        }
    }
}

static void check(double score)
{
    char expected[64];
    char text[SCORE_TEXT_MAX];
    double back;
    expected_text(expected, score);
    size_t size = score_write(text, score);
    if (size != strlen(expected) || memcmp(text, expected, size) != 0) {
        fail_msg("%.17g: %.*s instead of %s", score, (int)size, text, expected);
    }
    assert_true(score_read((const uint8_t *)text, size, &back));
    assert_memory_equal(&back, &score, sizeof(score));
}

static void check_both(double score)
{
    check(score);
    check(-score);
}

static void test_borders(void **state)
{
    (void)state;
    static const double scores[] = {0,
                                    0.1,
                                    0.5,
                                    1e-4,
                                    0.00012345,
                                    9.9999999999999e-5,
                                    1e-5,
                                    5e-324,
                                    2.2250738585072014e-308,
                                    1.7976931348623157e308,
                                    1.0 / 3,
                                    2.0 / 3,
                                    0.3,
                                    0.1 + 0.2,
                                    1e15,
                                    1e15 + 0.125,
                                    999999999999999.9,
                                    99999999999999.9,
                                    9999999999999.99,
                                    123456789012345.6,
                                    9007199254740991,
                                    9007199254740992,
                                    9007199254740994,
                                    1e16,
                                    1e22,
                                    1e23,
                                    INFINITY};
    for (size_t i = 0; i < sizeof(scores) / sizeof(scores[0]); i++) {
        check_both(scores[i]);
        if (isfinite(scores[i])) {
            check_both(nextafter(scores[i], INFINITY));
            check_both(nextafter(scores[i], -INFINITY));
        }
    }
}

static void test_decimals(void **state)
{
    (void)state; /* Of every number of digits, before and behind the point; and their neighbours. */
    struct random random = {.state = 20240611};
    char text[64];
    for (unsigned i = 0; i < 200000; i++) {
        unsigned digits = 1 + random_below(&random, 18);
        unsigned fraction = random_below(&random, digits + 6);
        uint64_t n = random_next(&random);
        for (unsigned k = 19; k > digits; k--) {
            n /= 10;
        }
        snprintf(text, sizeof(text), "%llue-%u", (unsigned long long)n, fraction);
        double score = strtod(text, NULL);
        check(i % 2 == 0 ? score : -score);
        check(nextafter(score, INFINITY));
    }
}

static void test_any_bits(void **state)
{
    (void)state;
    struct random random = {.state = 7};
    for (unsigned i = 0; i < 50000; i++) {
        uint64_t bits = random_next(&random);
        double score;
        memcpy(&score, &bits, sizeof(score));
        if (!isnan(score)) {
            check(score);
        }
    }
}

static void test_not_scores(void **state)
{
    (void)state;
    static const char *const texts[] = {"", "-", ".", "1x", " 1", "1 ", "nan", "-nan", "1e", "--1"};
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        double score;
        assert_false(score_read((const uint8_t *)texts[i], strlen(texts[i]), &score));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_borders),
        cmocka_unit_test(test_decimals),
        cmocka_unit_test(test_any_bits),
        cmocka_unit_test(test_not_scores),
    };
    return cmocka_run_group_tests_name("scores", tests, NULL, NULL);
}
