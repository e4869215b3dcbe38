#include "core/base/num.h"

#include <string.h>

#include <xxhash.h>

size_t num_digits_u64(uint64_t value)
{
    size_t digits = 1;
    while (value >= 10000) {
        value /= 10000;
        digits += 4;
    }
    return digits + (value >= 10) + (value >= 100) + (value >= 1000);
}

size_t num_write_u64(char *out, uint64_t value)
{
    size_t digits = num_digits_u64(value);
    for (size_t i = digits; i > 0; i--) {
        out[i - 1] = (char)('0' + value % 10);
        value /= 10;
    }
    return digits;
}

size_t num_write_i64(char *out, int64_t value)
{
    if (value >= 0) {
        return num_write_u64(out, (uint64_t)value);
    }
    out[0] = '-';
    return 1 + num_write_u64(out + 1, ~(uint64_t)value + 1);
}

bool num_read_u64(const char *text, size_t size, uint64_t *value)
{
    if (size == 0 || size > NUM_DIGITS_MAX || (text[0] == '0' && size > 1)) {
        return false;
    }
    uint64_t sum = 0;
    for (size_t i = 0; i < size; i++) {
        unsigned digit = (unsigned)(text[i] - '0');
        if (digit > 9 || sum > (UINT64_MAX - digit) / 10) {
            return false;
        }
        sum = sum * 10 + digit;
    }
    *value = sum;
    return true;
}

bool num_read_i64(const char *text, size_t size, int64_t *value)
{
    bool is_negative = size > 0 && text[0] == '-';
    uint64_t magnitude;
    if (!num_read_u64(text + is_negative, size - is_negative, &magnitude)) {
        return false;
    }
    if (magnitude > (uint64_t)INT64_MAX + is_negative || (is_negative && magnitude == 0)) {
        return false;
    }
    *value = is_negative ? (int64_t)(~magnitude + 1) : (int64_t)magnitude;
    return true;
}

uint64_t key_hash(const void *key, size_t size)
{
    return XXH3_64bits(key, size);
}
