#include "apply/glob.h"

#include <string.h>

static inline bool is_special(uint8_t byte)
{
    return byte == '*' || byte == '?' || byte == '[' || byte == '\\';
}

/* One step of a class behind '[' or '[^': a byte, an escaped byte or a range. Moves behind it. */
static bool class_step(const uint8_t *pattern, size_t size, size_t *at, uint8_t byte)
{
    size_t left = size - *at;
    const uint8_t *p = pattern + *at;
    if (left >= 2 && p[0] == '\\') {
        *at += 2;
        return p[1] == byte;
    }
    if (left >= 3 && p[1] == '-') {
        *at += 3;
        uint8_t low = p[0] < p[2] ? p[0] : p[2];
        uint8_t high = p[0] < p[2] ? p[2] : p[0];
        return byte >= low && byte <= high;
    }
    *at += 1;
    return p[0] == byte;
}

/* The class that begins at pattern[*at] == '['. One without its ']' ends with the pattern. */
static bool class_match(const uint8_t *pattern, size_t size, size_t *at, uint8_t byte)
{
    (*at)++;
    bool is_negated = *at < size && pattern[*at] == '^';
    *at += is_negated;
    bool is_in = false;
    while (*at < size && pattern[*at] != ']') {
        is_in = class_step(pattern, size, at, byte) || is_in;
    }
    *at += *at < size;
    return is_in != is_negated;
}

/* One element of the pattern, which is no star, against one byte. Moves behind it. */
static bool element_match(const uint8_t *pattern, size_t size, size_t *at, uint8_t byte)
{
    switch (pattern[*at]) {
    case '?':
        (*at)++;
        return true;
    case '[':
        return class_match(pattern, size, at, byte);
    case '\\':
        *at += *at + 1 < size; /* the last byte of a pattern escapes nothing */
        break;
    default:
        break;
    }
    return pattern[(*at)++] == byte;
}

/* Where a star that ends before pattern[at] may end in the text at the earliest, from `pos`: at the
 * byte that must follow it. SIZE_MAX: nowhere. */
static size_t star_skip(const uint8_t *pattern,
                        size_t pattern_size,
                        size_t at,
                        const uint8_t *text,
                        size_t text_size,
                        size_t pos)
{
    if (at == pattern_size || is_special(pattern[at])) {
        return pos;
    }
    const uint8_t *found =
        pos < text_size ? memchr(text + pos, pattern[at], text_size - pos) : NULL;
    return found != NULL ? (size_t)(found - text) : SIZE_MAX;
}

bool glob_match(const uint8_t *pattern, size_t pattern_size, const uint8_t *text, size_t text_size)
{
    if (text_size == 0) {
        /* The servers look at no star when there is no byte; "*" alone is never asked. */
        return pattern_size == 0 || (pattern_size == 1 && pattern[0] == '*');
    }
    /* Each element takes one byte, so only the last star has to be tried with more of them. */
    size_t at = 0;
    size_t pos = 0;
    size_t star_at = 0;
    size_t star_pos = 0;
    bool has_star = false;
    while (pos < text_size) {
        if (at < pattern_size && pattern[at] == '*') {
            has_star = true;
            star_at = ++at;
            star_pos = star_skip(pattern, pattern_size, at, text, text_size, pos);
            if (star_pos == SIZE_MAX) {
                return false;
            }
            pos = star_pos;
        } else if (at < pattern_size && element_match(pattern, pattern_size, &at, text[pos])) {
            pos++;
        } else if (has_star) {
            at = star_at;
            star_pos = star_skip(pattern, pattern_size, at, text, text_size, star_pos + 1);
            if (star_pos == SIZE_MAX) {
                return false;
            }
            pos = star_pos;
        } else {
            return false;
        }
    }
    while (at < pattern_size && pattern[at] == '*') {
        at++;
    }
    return at == pattern_size;
}

size_t glob_literal_size(const uint8_t *pattern, size_t size)
{
    size_t at = 0;
    while (at < size && !is_special(pattern[at])) {
        at++;
    }
    return at;
}
