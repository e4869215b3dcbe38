#include "rdb/score.h"

#include <locale.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/base.h"

/* The servers write at most %.17g, or an integer; the longest length byte of a text score is 252.
 */
#define SCORE_TEXT_MAX 255

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
    if (size == 0 || size > SCORE_TEXT_MAX || text[0] <= ' ') {
        return false;
    }
    char copy[SCORE_TEXT_MAX + 1];
    memcpy(copy, text, size);
    copy[size] = '\0';
    char *end;
    return read_any(copy, &end, score) && end == copy + size && !isnan(*score);
}
