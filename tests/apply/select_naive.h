/*
 * A matcher for rules of selection that shares nothing with the project's: every rule is tried in
 * turn, globs by recursion over C strings as the servers do it. Slow, short, for tests alone.
 */
#ifndef TESTS_APPLY_SELECT_NAIVE_H
#define TESTS_APPLY_SELECT_NAIVE_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "apply/select.h"

struct naive {
    struct {
        enum select_list list;
        char text[64];
    } rules[32];
    uint32_t rule_count;
};

static inline void naive_add(struct naive *naive, enum select_list list, const char *text)
{
    naive->rules[naive->rule_count].list = list;
    snprintf(naive->rules[naive->rule_count].text, sizeof(naive->rules[0].text), "%s", text);
    naive->rule_count++;
}

/* A class from behind its '['; *next is behind it. */
static inline bool naive_class(const char *p, char c, const char **next)
{
    bool is_not = *p == '^';
    bool is_in = false;
    p += is_not;
    while (*p != '\0' && *p != ']') {
        if (p[0] == '\\' && p[1] != '\0') {
            is_in |= p[1] == c;
            p += 2;
        } else if (p[1] == '-' && p[2] != '\0') {
            char low = p[0] <= p[2] ? p[0] : p[2];
            char high = p[0] <= p[2] ? p[2] : p[0];
            is_in |= c >= low && c <= high;
            p += 3;
        } else {
            is_in |= *p++ == c;
        }
    }
    *next = *p == ']' ? p + 1 : p;
    return is_in != is_not;
}

static inline bool naive_glob(const char *p, const char *text)
{
    if (*p == '\0') {
        return *text == '\0';
    }
    if (*p == '*') {
        return naive_glob(p + 1, text) || (*text != '\0' && naive_glob(p, text + 1));
    }
    if (*text == '\0') {
        return false;
    }
    const char *next = p + 1;
    bool fits;
    if (*p == '[') {
        fits = naive_class(p + 1, *text, &next);
    } else if (*p == '\\' && p[1] != '\0') {
        fits = p[1] == *text;
        next = p + 2;
    } else {
        fits = *p == '?' || *p == *text;
    }
    return fits && naive_glob(next, text + 1);
}

static inline bool naive_fits(enum select_list list, const char *rule, const char *key)
{
    size_t size = strlen(key);
    size_t rule_size = strlen(rule);
    switch (list) {
    case SELECT_INCLUDE_KEY:
    case SELECT_EXCLUDE_KEY:
        /* The empty key is only matched by nothing and by the lone star. */
        return size == 0 ? strcmp(rule, "*") == 0 : naive_glob(rule, key);
    case SELECT_INCLUDE_PREFIX:
    case SELECT_EXCLUDE_PREFIX:
        return strncmp(key, rule, rule_size) == 0;
    case SELECT_INCLUDE_SUFFIX:
    case SELECT_EXCLUDE_SUFFIX:
        return size >= rule_size && strcmp(key + size - rule_size, rule) == 0;
    default:
        return false;
    }
}

/* Rules without escapes and keys without zeros, as this is for. */
static inline bool naive_selects(const struct naive *naive, const char *key, size_t size)
{
    bool has_include = false;
    bool is_included = false;
    (void)size;
    for (uint32_t i = 0; i < naive->rule_count; i++) {
        enum select_list list = naive->rules[i].list;
        bool is_include = list == SELECT_INCLUDE_KEY || list == SELECT_INCLUDE_PREFIX ||
                          list == SELECT_INCLUDE_SUFFIX;
        bool is_exclude = list == SELECT_EXCLUDE_KEY || list == SELECT_EXCLUDE_PREFIX ||
                          list == SELECT_EXCLUDE_SUFFIX;
        bool fits = naive_fits(list, naive->rules[i].text, key);
        if (is_exclude && fits) {
            return false;
        }
        has_include |= is_include;
        is_included |= is_include && fits;
    }
    return !has_include || is_included;
}

/* The first rule that fits renames. */
static inline void naive_rename(const struct naive *naive, const char *key, char *out)
{
    for (uint32_t i = 0; i < naive->rule_count; i++) {
        const char *text = naive->rules[i].text;
        const char *to = strchr(text, '=');
        if (naive->rules[i].list == SELECT_RENAME_PREFIX && to != NULL &&
            strncmp(key, text, (size_t)(to - text)) == 0) {
            snprintf(out, 128, "%s%s", to + 1, key + (to - text));
            return;
        }
    }
    snprintf(out, 128, "%s", key);
}

static inline void naive_print(const struct naive *naive)
{
    for (uint32_t i = 0; i < naive->rule_count; i++) {
        fprintf(stderr, "list %d: %s\n", (int)naive->rules[i].list, naive->rules[i].text);
    }
}

#endif
