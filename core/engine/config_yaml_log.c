/* What is wrong with a text that libcyaml refuses: its log, read for the place, as one sentence. */
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

unsigned yaml_key_line(
    const struct yaml_log *log, const char *text, size_t size, const char *key, bool *leads_line)
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

/* ---- the sentence ---- */

/* ", "-separated names of what a mapping takes, cut where the message is full. */
static void list_fields(const cyaml_schema_field_t *fields, char *out, size_t out_size)
{
    size_t used = 0;
    out[0] = '\0';
    for (; fields->key != NULL; fields++) {
        int wrote =
            snprintf(out + used, out_size - used, "%s%s", used > 0 ? ", " : "", fields->key);
        if (wrote < 0 || (size_t)wrote >= out_size - used) {
            out[used] = '\0';
            return;
        }
        used += (size_t)wrote;
    }
}

static const char *nearest_field(const cyaml_schema_field_t *fields, const char *key)
{
    const char *best = NULL;
    unsigned best_distance = suggest_limit(key) + 1;
    for (; fields->key != NULL; fields++) {
        unsigned distance = suggest_distance(key, fields->key);
        if (distance < best_distance) {
            best_distance = distance;
            best = fields->key;
        }
    }
    return best;
}

static const cyaml_schema_field_t *fields_of(const struct loader *loader)
{
    const struct yaml_log *log = &loader->log;
    const char *parent = log->depth > 0 ? log->path[log->depth - 1] : "";
    for (unsigned side = 0; side < 2; side++) {
        if (strcmp(parent, yaml_sides[side]) == 0) {
            return loader->schema.side[side];
        }
    }
    return loader->schema.top;
}

static bool error_unknown(const struct loader *loader)
{
    const struct yaml_log *log = &loader->log;
    const cyaml_schema_field_t *fields = fields_of(loader);
    const char *nearest = nearest_field(fields, log->key);
    bool leads_line;
    unsigned line = yaml_key_line(log, loader->text, loader->size, log->key, &leads_line);
    char allowed[300];
    list_fields(fields, allowed, sizeof(allowed));
    /* In {password: a,b} the "field" b is a piece of the password: quote only what is a key. */
    if (nearest == NULL && !leads_line) {
        return ERR(loader->err,
                   SYN_CODE_CONFIG,
                   "%.100s:%u: unknown field (allowed: %s)",
                   loader->origin,
                   line,
                   allowed);
    }
    if (nearest != NULL) {
        return ERR(loader->err,
                   SYN_CODE_CONFIG,
                   "%.100s:%u: unknown field \"%s\"; did you mean %s? (allowed: %s)",
                   loader->origin,
                   line,
                   log->key,
                   nearest,
                   allowed);
    }
    return ERR(loader->err,
               SYN_CODE_CONFIG,
               "%.100s:%u: unknown field \"%s\" (allowed: %s)",
               loader->origin,
               line,
               log->key,
               allowed);
}

static bool error_repeated(const struct loader *loader)
{
    bool leads_line;
    unsigned line =
        yaml_key_line(&loader->log, loader->text, loader->size, loader->log.key, &leads_line);
    return ERR(loader->err,
               SYN_CODE_CONFIG,
               "%.100s:%u: %s: given twice",
               loader->origin,
               line,
               loader->log.key);
}

/* "source.hosts" from the backtrace. */
static void shown_path(const struct yaml_log *log, char *out, size_t out_size)
{
    size_t used = 0;
    out[0] = '\0';
    for (unsigned i = log->depth; i-- > 0;) {
        int wrote =
            snprintf(out + used, out_size - used, "%s%s", used > 0 ? "." : "", log->path[i]);
        if (wrote < 0 || (size_t)wrote >= out_size - used) {
            return;
        }
        used += (size_t)wrote;
    }
}

static bool is_list_field(const struct loader *loader, const char *name)
{
    size_t count;
    const struct syn_option *table = syn_options(&count);
    for (size_t i = 0; i < count; i++) {
        if (table[i].kind == SYN_OPTION_LIST && strcmp(loader->schema.names[i], name) == 0) {
            return true;
        }
    }
    return false;
}

static bool error_kind(const struct loader *loader)
{
    const struct yaml_log *log = &loader->log;
    char path[2 * YAML_NAME_MAX];
    shown_path(log, path, sizeof(path));
    unsigned line = log->line > 0 ? log->line : 1;
    const char *inner = log->depth > 0 ? log->path[0] : "";
    if (log->depth == 0) {
        return ERR(loader->err,
                   SYN_CODE_CONFIG,
                   "%.100s:%u: not a mapping of fields to values, such as \"source: host:port\"",
                   loader->origin,
                   line);
    }
    const char *form = "one value";
    if (strcmp(inner, "hosts") == 0) {
        form = "a list of host:port";
    } else if (log->depth == 1 &&
               (strcmp(inner, "source") == 0 || strcmp(inner, "destination") == 0)) {
        form = "a URI, or a mapping of uri, hosts, user, password, password_file, password_env";
    } else if (is_list_field(loader, inner)) {
        form = "a value or a list of values (quote what ends with a colon: \"user:\")";
    }
    return ERR(loader->err,
               SYN_CODE_CONFIG,
               "%.100s:%u: %s: has to be %s",
               loader->origin,
               line,
               path,
               form);
}

bool yaml_error(const struct loader *loader, cyaml_err_t code)
{
    const struct yaml_log *log = &loader->log;
    unsigned line = log->line > 0 ? log->line : 1;
    switch (code) {
    case CYAML_ERR_OOM:
        return ERR(loader->err, SYN_CODE_MEMORY, "%.100s: no memory to read it", loader->origin);
    case CYAML_ERR_INVALID_KEY:
        return error_unknown(loader);
    case CYAML_ERR_INVALID_VALUE:
        return error_kind(loader);
    case CYAML_ERR_SEQUENCE_ENTRIES_MIN: {
        char path[2 * YAML_NAME_MAX];
        shown_path(log, path, sizeof(path));
        return ERR(loader->err,
                   SYN_CODE_CONFIG,
                   "%.100s:%u: %s: the list is empty",
                   loader->origin,
                   line,
                   path);
    }
    case CYAML_ERR_SEQUENCE_ENTRIES_MAX: {
        char path[2 * YAML_NAME_MAX];
        shown_path(log, path, sizeof(path));
        bool is_hosts = log->depth > 0 && strcmp(log->path[0], "hosts") == 0;
        return ERR(loader->err,
                   SYN_CODE_CONFIG,
                   "%.100s:%u: %s: more than %d",
                   loader->origin,
                   line,
                   path,
                   is_hosts ? CONFIG_HOSTS_MAX : SELECT_RULES_MAX);
    }
    case CYAML_ERR_ALIAS:
        return ERR(loader->err,
                   SYN_CODE_CONFIG,
                   "%.100s:%u: aliases (*name) are not supported: write the value out",
                   loader->origin,
                   line);
    case CYAML_ERR_LIBYAML_PARSER:
        return ERR(loader->err,
                   SYN_CODE_CONFIG,
                   "%.100s:%u: not valid YAML or JSON at or after this line: %s",
                   loader->origin,
                   line,
                   log->problem[0] != '\0' ? log->problem : "syntax error");
    default:
        break;
    }
    if (log->key[0] != '\0') {
        return error_repeated(loader);
    }
    return ERR(loader->err,
               SYN_CODE_CONFIG,
               "%.100s:%u: not a mapping of fields to values (%s)",
               loader->origin,
               line,
               cyaml_strerror(code));
}
