/*
 * What libcyaml reports about a text it refuses, as facts: which field, which line. Private to the
 * configuration loader.
 *
 * libcyaml says why and where only through its log. The words differ between its versions, so
 * nothing depends on them but the line, the field names of the backtrace and a refused key; without
 * those the error only gets less exact. A refused value is part of those words and is not kept: it
 * can be a secret.
 */
#ifndef ENGINE_CONFIG_YAML_H
#define ENGINE_CONFIG_YAML_H

#include <cyaml/cyaml.h>

#include "core/engine/config_store.h"

#define YAML_DEPTH_MAX 4
#define YAML_NAME_MAX 64

struct yaml_log {
    char key[YAML_NAME_MAX];                  /* an unknown or repeated key; empty: none   */
    char path[YAML_DEPTH_MAX][YAML_NAME_MAX]; /* fields of the backtrace, innermost first  */
    unsigned depth;
    unsigned line; /* innermost, from 1; 0: not told                                        */
    unsigned column;
    char problem[120];   /* the parser's words, which quote nothing                        */
    bool more_documents; /* a second document was left out                                 */
};

/* A cyaml_log_fn_t; `arg` is a struct yaml_log. */
void yaml_log_line(cyaml_log_t level, void *arg, const char *format, va_list args);

/* The line of `key:` at or after the logged place, which is the event before the key; the logged
 * line when it is not found. *leads_line: nothing but punctuation stands before it on its line. */
unsigned yaml_key_line(
    const struct yaml_log *log, const char *text, size_t size, const char *key, bool *leads_line);

/* Fields of a side that is a mapping. */
enum side_field {
    SIDE_URI,
    SIDE_HOSTS,
    SIDE_USER,
    SIDE_PASSWORD,
    SIDE_PASSWORD_FILE,
    SIDE_PASSWORD_ENV,
    SIDE_FIELD_COUNT,
};

/* Built from the table of options. */
struct schema {
    bool side_is_text[2];
    bool list_is_text[OPTION_COUNT]; /* of options that are lists: one value stands for one of it */
    char names[OPTION_COUNT][OPTION_NAME_MAX];
    cyaml_schema_field_t top[OPTION_COUNT + 1];
    cyaml_schema_field_t side[2][SIDE_FIELD_COUNT + 1];
    cyaml_schema_value_t host; /* an entry of any list */
    cyaml_schema_value_t root;
};

/* One file on its way in. */
struct loader {
    const char *origin;
    const char *text;
    size_t size;
    struct schema schema;
    struct yaml_log log;
    struct syn_err *err;
};

extern const char *const yaml_sides[2]; /* "source", "destination" */

/* The error of a load that ended with `code`, from the log; false. */
MUST_CHECK bool yaml_error(const struct loader *loader, cyaml_err_t code);

#endif
