/* libcyaml's log, read for the place of a mistake. */
#include "core/engine/config_yaml.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Copies up to the end of line, quote or room. */
static void copy_word(char *out, size_t out_size, const char *from, char end)
{
    size_t size = 0;
    while (size + 1 < out_size && from[size] != '\0' && from[size] != '\n' && from[size] != end) {
        size++;
    }
    memcpy(out, from, size);
    out[size] = '\0';
}

static void read_place(struct yaml_log *log, const char *text)
{
    const char *line = strstr(text, "(line: ");
    const char *column = strstr(text, "column: ");
    if (line != NULL && column != NULL && log->line == 0) {
        log->line = (unsigned)strtoul(line + 7, NULL, 10);
        log->column = (unsigned)strtoul(column + 8, NULL, 10);
    }
}

void yaml_log_line(cyaml_log_t level, void *arg, const char *format, va_list args)
{
    static const char field[] = "in mapping field '";
    struct yaml_log *log = arg;
    char text[512];
    vsnprintf(text, sizeof(text), format, args);
    if (level < CYAML_LOG_ERROR) {
        log->more_documents |= strstr(text, "gnoring documents") != NULL;
        return;
    }
    const char *at = strstr(text, field);
    if (at != NULL && log->depth < YAML_DEPTH_MAX) {
        copy_word(log->path[log->depth], YAML_NAME_MAX, at + sizeof(field) - 1, '\'');
        log->depth++;
        /* The place is the last thing on the line; a key that imitates it comes before. */
        read_place(log, strrchr(text, '(') != NULL ? strrchr(text, '(') : text);
        return;
    }
    if (strncmp(text, "  in ", 5) == 0) {
        read_place(log, strrchr(text, '(') != NULL ? strrchr(text, '(') : text);
        return;
    }
    static const char *const keys[] = {"Unexpected key: ", "already seen: "};
    for (unsigned i = 0; i < 2; i++) {
        at = strstr(text, keys[i]);
        if (at != NULL) {
            copy_word(log->key, sizeof(log->key), at + strlen(keys[i]), '\0');
            return;
        }
    }
    at = strstr(text, "libyaml: ");
    if (at != NULL) {
        copy_word(log->problem, sizeof(log->problem), at + 9, '\0');
    }
}

static bool is_word(char c)
{
    return isalnum((unsigned char)c) || c == '_' || c == '-';
}

/* Whether the key at `at` stands alone and is followed by ':'. */
static bool is_key_at(const char *text, const char *end, const char *at, size_t key_size)
{
    if (at > text && is_word(at[-1])) {
        return false;
    }
    const char *next = at + key_size;
    if (next < end && (*next == '"' || *next == '\'')) {
        next++;
    }
    while (next < end && *next == ' ') {
        next++;
    }
    return next < end && *next == ':';
}

static bool leads_its_line(const char *text, const char *at)
{
    while (at > text && at[-1] != '\n') {
        at--;
        if (strchr(" \t{\"'?", *at) == NULL) {
            return false;
        }
    }
    return true;
}

unsigned yaml_key_line(const struct yaml_log *log,
                       const char *text,
                       size_t size,
                       const char *key,
                       bool *leads_line)
{
    const char *end = text + size;
    const char *at = text;
    *leads_line = false;
    for (unsigned line = 1; line < log->line; line++) {
        const char *newline = memchr(at, '\n', (size_t)(end - at));
        if (newline == NULL) {
            return log->line;
        }
        at = newline + 1;
    }
    size_t skip = log->column > 0 ? log->column - 1 : 0;
    at += skip < (size_t)(end - at) ? skip : 0;
    size_t key_size = strlen(key);
    for (; key_size > 0; at++) {
        at = memmem(at, (size_t)(end - at), key, key_size);
        if (at == NULL) {
            break;
        }
        if (!is_key_at(text, end, at, key_size)) {
            continue;
        }
        *leads_line = leads_its_line(text, at);
        unsigned line = 1;
        for (const char *c = text; c < at; c++) {
            line += *c == '\n';
        }
        return line;
    }
    return log->line > 0 ? log->line : 1;
}
