#include "rdb/score.h"

#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/base.h"

/* The servers write at most %.17g, or an integer; the longest length byte of a text score is 252.
 */
#define SCORE_READ_MAX 255

/* Integers up to here, and powers of ten up to 10^22, are exact in a double, so one division of the
 * two rounds once, as strtod does (W. D. Clinger, How to read floating point numbers accurately).
 */
#define EXACT_DIGITS_MAX 15

static const double powers_of_ten[EXACT_DIGITS_MAX + 1] = {
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15};

/* Digits with at most one point among them, 15 digits at most. */
static bool read_short(const uint8_t *text, size_t size, double *score)
{
    bool is_negative = size > 0 && text[0] == '-';
    uint64_t sum = 0;
    unsigned digits = 0;
    unsigned fraction = 0;
    bool has_point = false;
    for (size_t i = is_negative; i < size; i++) {
        unsigned digit = (unsigned)text[i] - '0';
        if (text[i] == '.' && !has_point) {
            has_point = true;
        } else if (digit <= 9 && digits < EXACT_DIGITS_MAX) {
            sum = sum * 10 + digit;
            digits++;
            fraction += has_point;
        } else {
            return false;
        }
    }
    if (digits == 0) {
        return false;
    }
    double value = (double)sum / powers_of_ten[fraction];
    *score = is_negative ? -value : value;
    return true;
}

/* strtod in the C locale: the host program's locale may have another decimal point. In glibc this
 * locale is a constant and cannot fail; false where it can, and does. */
static bool read_any(const char *text, char **end, double *score)
{
    locale_t locale = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    if (locale == (locale_t)0) {
        return false;
    }
    *score = strtod_l(text, end, locale);
    freelocale(locale);
    return true;
}

bool score_read(const uint8_t *text, size_t size, double *score)
{
    if (LIKELY(read_short(text, size, score))) {
        return true;
    }
    /* White space, which strtod would pass over, is no part of a score. */
    if (size == 0 || size > SCORE_READ_MAX || text[0] <= ' ') {
        return false;
    }
    char copy[SCORE_READ_MAX + 1];
    memcpy(copy, text, size);
    copy[size] = '\0';
    char *end;
    return read_any(copy, &end, score) && end == copy + size && !isnan(*score);
}

/* Integers up to here are exact in a double. */
#define EXACT_INTEGER_MAX 9007199254740992.0
/* Below it %g writes an exponent. */
#define PLAIN_MIN 1e-4

/* n / 10^fraction, with all digits of the fraction. */
static size_t write_decimal(char *text, uint64_t n, unsigned fraction)
{
    uint64_t unit = (uint64_t)powers_of_ten[fraction];
    size_t size = num_write_u64(text, n / unit);
    uint64_t rest = n % unit;
    text[size] = '.';
    for (unsigned i = fraction; i > 0; i--) {
        text[size + i] = (char)('0' + rest % 10);
        rest /= 10;
    }
    return size + 1 + fraction;
}

/* Most scores that are no integers have few digits behind the point: they are what an integer of at
 * most 15 digits divided by a power of ten rounds to. Both are exact, so the division rounds once,
 * as reading the text does. 0: more digits are needed, or an exponent. */
static size_t write_short(char *text, double magnitude)
{
    if (magnitude < PLAIN_MIN) {
        return 0;
    }
    for (unsigned fraction = 1; fraction <= EXACT_DIGITS_MAX; fraction++) {
        double scaled = magnitude * powers_of_ten[fraction];
        if (scaled >= powers_of_ten[EXACT_DIGITS_MAX] - 1) {
            return 0;
        }
        uint64_t n = (uint64_t)(scaled + 0.5);
        if ((double)n / powers_of_ten[fraction] == magnitude) {
            return write_decimal(text, n, fraction);
        }
    }
    return 0;
}

/* By printf and strtod, in the C locale, where the point is a point. */
static size_t write_any(char text[SCORE_TEXT_MAX], double score)
{
    size_t size = 0;
    for (int digits = EXACT_DIGITS_MAX; digits <= 17; digits++) {
        size = (size_t)snprintf(text, SCORE_TEXT_MAX, "%.*g", digits, score);
        double back;
        if (score_read((const uint8_t *)text, size, &back) &&
            memcmp(&back, &score, sizeof(score)) == 0) {
            return size;
        }
    }
    return size; /* 17 digits are enough for any double */
}

static size_t write_number(char text[SCORE_TEXT_MAX], double score)
{
    if (fabs(score) < EXACT_INTEGER_MAX && score == (double)(int64_t)score &&
        !(score == 0 && signbit(score))) {
        return num_write_i64(text, (int64_t)score);
    }
    size_t sign = score < 0;
    text[0] = '-';
    size_t size = write_short(text + sign, fabs(score));
    return size > 0 ? sign + size : 0;
}

size_t score_write(char text[SCORE_TEXT_MAX], double score)
{
    ASSERT(!isnan(score));
    size_t size = write_number(text, score);
    if (LIKELY(size > 0)) {
        return size;
    }
    /* In glibc the C locale is a constant and cannot fail; the thread's own is put back. */
    locale_t c_locale = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    if (c_locale == (locale_t)0) {
        return 0;
    }
    locale_t before = uselocale(c_locale);
    size = write_any(text, score);
    uselocale(before);
    freelocale(c_locale);
    return size;
}
