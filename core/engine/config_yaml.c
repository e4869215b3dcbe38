/*
 * Configuration files: YAML, and JSON as its subset, through libcyaml.
 *
 * The schema is made from the table of options: every field is text, checked by the same functions
 * as the command line. Two things libcyaml does not offer are had by loading again, which costs
 * microseconds and only happens once or after a mistake:
 * - `source` is text or a mapping: a schema cannot say so. The mapping is tried first; refused for
 *   being text, that side is loaded as text.
 * - the line of a value that is well-formed for YAML and wrong for the option: its field is given
 *   an impossible length, and libcyaml reports where it stands.
 */
#include "core/engine/config_yaml.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/engine/config_store.h"
#include "core/engine/uri.h"

enum side_field {
    SIDE_URI,
    SIDE_HOSTS,
    SIDE_USER,
    SIDE_PASSWORD,
    SIDE_PASSWORD_FILE,
    SIDE_PASSWORD_ENV,
    SIDE_FIELD_COUNT,
};

static const char *const side_names[SIDE_FIELD_COUNT] = {
    "uri", "hosts", "user", "password", "password_file", "password_env"};

struct yaml_side {
    char *text[SIDE_FIELD_COUNT]; /* SIDE_HOSTS: not used */
    char **hosts;
    uint32_t host_count;
};

struct yaml_top {
    char *text[OPTION_COUNT];
    struct yaml_side *side[2]; /* source, destination: when it is a mapping */
};

static const enum option_id side_options[2][SIDE_FIELD_COUNT] = {
    {OPTION_SOURCE, OPTION_SOURCE, OPTION_SOURCE_USER, OPTION_SOURCE_PASSWORD,
     OPTION_SOURCE_PASSWORD_FILE, OPTION_SOURCE_PASSWORD},
    {OPTION_DESTINATION, OPTION_DESTINATION, OPTION_DESTINATION_USER, OPTION_DESTINATION_PASSWORD,
     OPTION_DESTINATION_PASSWORD_FILE, OPTION_DESTINATION_PASSWORD}};

struct schema {
    bool side_is_text[2];
    char names[OPTION_COUNT][OPTION_NAME_MAX];
    cyaml_schema_field_t top[OPTION_COUNT + 1];
    cyaml_schema_field_t side[2][SIDE_FIELD_COUNT + 1];
    cyaml_schema_value_t host;
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

static void *loader_mem(void *arg, void *p, size_t size)
{
    (void)arg;
    if (size == 0) {
        mem_free(MEM_ENGINE, p);
        return NULL;
    }
    return mem_realloc(MEM_ENGINE, p, size);
}

static cyaml_config_t loader_config(struct loader *loader)
{
    return (cyaml_config_t){.log_fn = yaml_log_line,
                            .log_ctx = &loader->log,
                            .mem_fn = loader_mem,
                            .log_level = CYAML_LOG_WARNING,
                            /* Aliases would let a kilobyte describe gigabytes. */
                            .flags = CYAML_CFG_NO_ALIAS};
}

/* ---- the schema ---- */

static cyaml_schema_value_t text_value(void)
{
    return (cyaml_schema_value_t){
        CYAML_VALUE_STRING(CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, char, 0, CYAML_UNLIMITED)};
}

static void side_schema(struct schema *schema, unsigned side)
{
    for (unsigned i = 0; i < SIDE_FIELD_COUNT; i++) {
        schema->side[side][i] =
            (cyaml_schema_field_t){.key = side_names[i],
                                   .data_offset = (uint32_t)(offsetof(struct yaml_side, text) +
                                                             i * sizeof(char *)),
                                   .value = text_value()};
    }
    schema->side[side][SIDE_HOSTS] =
        (cyaml_schema_field_t)CYAML_FIELD_SEQUENCE_COUNT("hosts",
                                                         CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL,
                                                         struct yaml_side,
                                                         hosts,
                                                         host_count,
                                                         &schema->host,
                                                         1,
                                                         CONFIG_HOSTS_MAX);
    schema->side[side][SIDE_FIELD_COUNT] = (cyaml_schema_field_t)CYAML_FIELD_END;
}

/* All but the side_is_text flags, which the caller keeps. */
static void schema_build(struct schema *schema)
{
    size_t count;
    const struct syn_option *table = syn_options(&count);
    unsigned used = 0;
    schema->host = (cyaml_schema_value_t){
        CYAML_VALUE_STRING(CYAML_FLAG_POINTER, char, 0, CYAML_UNLIMITED)};
    for (unsigned i = 0; i < count; i++) {
        if (table[i].env == NULL) {
            continue; /* only on the command line */
        }
        int wrote = snprintf(schema->names[i], OPTION_NAME_MAX, "%s", table[i].name);
        ASSERT(wrote > 0 && wrote < OPTION_NAME_MAX);
        for (char *c = schema->names[i]; *c != '\0'; c++) {
            *c = *c == '-' ? '_' : *c;
        }
        schema->top[used++] = (cyaml_schema_field_t){
            .key = schema->names[i],
            .data_offset = (uint32_t)(offsetof(struct yaml_top, text) + i * sizeof(char *)),
            .value = text_value()};
    }
    schema->top[used] = (cyaml_schema_field_t)CYAML_FIELD_END;
    /* source and destination lead the table, so their fields are the first two. */
    for (unsigned side = 0; side < 2; side++) {
        side_schema(schema, side);
        if (schema->side_is_text[side]) {
            continue;
        }
        cyaml_schema_field_t *field = &schema->top[side];
        field->data_offset =
            (uint32_t)(offsetof(struct yaml_top, side) + side * sizeof(struct yaml_side *));
        field->value = (cyaml_schema_value_t){CYAML_VALUE_MAPPING(
            CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, struct yaml_side, schema->side[side])};
    }
    schema->root = (cyaml_schema_value_t){
        CYAML_VALUE_MAPPING(CYAML_FLAG_POINTER, struct yaml_top, schema->top)};
}
_Static_assert(OPTION_SOURCE == 0 && OPTION_DESTINATION == 1, "schema_build relies on it");

/* ---- errors ---- */

static const char *const shown_sides[2] = {"source", "destination"};

/* ", "-separated names of what a mapping takes, cut where the message is full. */
static void list_fields(const cyaml_schema_field_t *fields, char *out, size_t out_size)
{
    size_t used = 0;
    out[0] = '\0';
    for (; fields->key != NULL; fields++) {
        int wrote = snprintf(
            out + used, out_size - used, "%s%s", used > 0 ? ", " : "", fields->key);
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
        if (strcmp(parent, shown_sides[side]) == 0) {
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
        return ERR(loader->err, SYN_CODE_CONFIG, "%.100s:%u: unknown field (allowed: %s)",
                   loader->origin, line, allowed);
    }
    if (nearest != NULL) {
        return ERR(loader->err, SYN_CODE_CONFIG,
                   "%.100s:%u: unknown field \"%s\"; did you mean %s? (allowed: %s)",
                   loader->origin, line, log->key, nearest, allowed);
    }
    return ERR(loader->err, SYN_CODE_CONFIG, "%.100s:%u: unknown field \"%s\" (allowed: %s)",
               loader->origin, line, log->key, allowed);
}

static bool error_repeated(const struct loader *loader)
{
    bool leads_line;
    unsigned line =
        yaml_key_line(&loader->log, loader->text, loader->size, loader->log.key, &leads_line);
    return ERR(loader->err, SYN_CODE_CONFIG, "%.100s:%u: %s: given twice", loader->origin, line,
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

static bool error_kind(const struct loader *loader)
{
    const struct yaml_log *log = &loader->log;
    char path[2 * YAML_NAME_MAX];
    shown_path(log, path, sizeof(path));
    unsigned line = log->line > 0 ? log->line : 1;
    const char *inner = log->depth > 0 ? log->path[0] : "";
    if (log->depth == 0) {
        return ERR(loader->err, SYN_CODE_CONFIG,
                   "%.100s:%u: not a mapping of fields to values, such as \"source: host:port\"",
                   loader->origin, line);
    }
    const char *form = "one value";
    if (strcmp(inner, "hosts") == 0) {
        form = "a list of host:port";
    } else if (log->depth == 1 && (strcmp(inner, "source") == 0 ||
                                   strcmp(inner, "destination") == 0)) {
        form = "a URI, or a mapping of uri, hosts, user, password, password_file, password_env";
    }
    return ERR(loader->err, SYN_CODE_CONFIG, "%.100s:%u: %s: has to be %s", loader->origin, line,
               path, form);
}

static bool error_load(const struct loader *loader, cyaml_err_t code)
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
        return ERR(loader->err, SYN_CODE_CONFIG, "%.100s:%u: %s: the list is empty",
                   loader->origin, line, path);
    }
    case CYAML_ERR_SEQUENCE_ENTRIES_MAX:
        return ERR(loader->err, SYN_CODE_CONFIG, "%.100s:%u: hosts: more than %d",
                   loader->origin, line, CONFIG_HOSTS_MAX);
    case CYAML_ERR_ALIAS:
        return ERR(loader->err, SYN_CODE_CONFIG,
                   "%.100s:%u: aliases (*name) are not supported: write the value out",
                   loader->origin, line);
    case CYAML_ERR_LIBYAML_PARSER:
        return ERR(loader->err, SYN_CODE_CONFIG,
                   "%.100s:%u: not valid YAML or JSON at or after this line: %s", loader->origin,
                   line, log->problem[0] != '\0' ? log->problem : "syntax error");
    default:
        break;
    }
    if (log->key[0] != '\0') {
        return error_repeated(loader);
    }
    return ERR(loader->err, SYN_CODE_CONFIG,
               "%.100s:%u: not a mapping of fields to values (%s)", loader->origin, line,
               cyaml_strerror(code));
}

/* ---- loading ---- */

static cyaml_err_t loader_run(struct loader *loader, struct yaml_top **top)
{
    cyaml_config_t config = loader_config(loader);
    loader->log = (struct yaml_log){0};
    *top = NULL;
    return cyaml_load_data((const uint8_t *)loader->text,
                           loader->size,
                           &config,
                           &loader->schema.root,
                           (cyaml_data_t **)top,
                           NULL);
}

static void loader_free(struct loader *loader, struct yaml_top *top)
{
    cyaml_config_t config = loader_config(loader);
    (void)cyaml_free(&config, &loader->schema.root, top, 0);
}

/* Whether the load failed because a side is text and was taken for a mapping; then it no longer
 * is. */
static bool loader_turn_side(struct loader *loader, cyaml_err_t code)
{
    const struct yaml_log *log = &loader->log;
    if (code != CYAML_ERR_INVALID_VALUE || log->depth != 1) {
        return false;
    }
    for (unsigned side = 0; side < 2; side++) {
        if (strcmp(log->path[0], shown_sides[side]) == 0 && !loader->schema.side_is_text[side]) {
            loader->schema.side_is_text[side] = true;
            return true;
        }
    }
    return false;
}

static bool loader_load(struct loader *loader, struct yaml_top **top)
{
    cyaml_err_t code;
    do {
        schema_build(&loader->schema);
        code = loader_run(loader, top);
    } while (loader_turn_side(loader, code));
    if (code != CYAML_OK) {
        return error_load(loader, code);
    }
    if (loader->log.more_documents) {
        loader_free(loader, *top);
        *top = NULL;
        return ERR(loader->err, SYN_CODE_CONFIG,
                   "%.100s: more than one YAML document (---): only one is allowed",
                   loader->origin);
    }
    return true;
}

/* Puts "origin:line" before the error about a value whose schema was made impossible. */
static bool error_place(struct loader *loader)
{
    struct yaml_top *top;
    cyaml_err_t code = loader_run(loader, &top);
    unsigned line = loader->log.line;
    if (code == CYAML_OK) {
        loader_free(loader, top);
        line = 0;
    }
    if (loader->err->code != SYN_CODE_CONFIG || line == 0) {
        err_context(loader->err, "%.100s", loader->origin);
    } else {
        err_context(loader->err, "%.100s:%u", loader->origin, line);
    }
    return false;
}

static bool error_at_field(struct loader *loader, cyaml_schema_field_t *field)
{
    if (field->value.type == CYAML_SEQUENCE) {
        /* Refused at its first entry, or for being too short. */
        field->value.sequence.min = CYAML_UNLIMITED;
        field->value.sequence.max = 0;
    } else {
        field->value.string.min = CYAML_UNLIMITED;
    }
    return error_place(loader);
}

static cyaml_schema_field_t *top_field(struct schema *schema, unsigned id)
{
    cyaml_schema_field_t *field = schema->top;
    while (field->key != schema->names[id]) {
        ASSERT(field->key != NULL);
        field++;
    }
    return field;
}

static bool take_options(struct loader *loader, const struct yaml_top *top, struct syn_config *to)
{
    for (unsigned id = 0; id < OPTION_COUNT; id++) {
        const char *value = top->text[id];
        if (value != NULL &&
            !config_set(to, (enum option_id)id, loader->schema.names[id], value, loader->err)) {
            return error_at_field(loader, top_field(&loader->schema, id));
        }
    }
    return true;
}

/* The hosts of a side as one URI. */
static bool take_hosts(struct loader *loader,
                       unsigned side,
                       const struct yaml_side *from,
                       struct syn_config *to)
{
    cyaml_schema_field_t *field = &loader->schema.side[side][SIDE_HOSTS];
    char shown[40];
    snprintf(shown, sizeof(shown), "%s.hosts", shown_sides[side]);
    size_t size = 0;
    for (uint32_t i = 0; i < from->host_count; i++) {
        const char *host = from->hosts[i];
        bool ok = strchr(host, ',') != NULL
                      ? ERR(loader->err, SYN_CODE_CONFIG,
                            "%s: ',' in an entry: one host for each", shown)
                      : uri_check(shown, host, loader->err);
        if (!ok) {
            field->value.sequence.max = i; /* refused at exactly this entry */
            return error_place(loader);
        }
        size += strlen(host) + 1;
    }
    ASSERT(size > 0); /* the schema wants an entry */
    char *joined = mem_alloc(MEM_ENGINE, size);
    if (joined == NULL) {
        return ERR(loader->err, SYN_CODE_MEMORY, "%s: no memory", shown);
    }
    char *out = joined;
    for (uint32_t i = 0; i < from->host_count; i++) {
        size_t host_size = strlen(from->hosts[i]);
        memcpy(out, from->hosts[i], host_size);
        out += host_size;
        *out++ = i + 1 < from->host_count ? ',' : '\0';
    }
    bool ok = config_set(to, side_options[side][SIDE_HOSTS], shown, joined, loader->err);
    explicit_bzero(joined, size);
    mem_free(MEM_ENGINE, joined);
    return ok || error_at_field(loader, field);
}

static bool
check_side(struct loader *loader, unsigned side, const struct yaml_side *from)
{
    cyaml_schema_field_t *fields = loader->schema.side[side];
    if (from->hosts != NULL && from->text[SIDE_URI] != NULL) {
        (void)ERR(loader->err, SYN_CODE_CONFIG,
                  "%s.hosts: uri and hosts exclude each other (a URI takes several hosts, "
                  "separated by commas)",
                  shown_sides[side]);
        return error_at_field(loader, &fields[SIDE_HOSTS]);
    }
    unsigned first = SIDE_FIELD_COUNT;
    for (unsigned i = SIDE_PASSWORD; i <= SIDE_PASSWORD_ENV; i++) {
        if (from->text[i] == NULL) {
            continue;
        }
        if (first != SIDE_FIELD_COUNT) {
            (void)ERR(loader->err, SYN_CODE_CONFIG, "%s.%s: %s is given as well: one of them",
                      shown_sides[side], side_names[i], side_names[first]);
            return error_at_field(loader, &fields[i]);
        }
        first = i;
    }
    return true;
}

static bool take_side_field(struct loader *loader,
                            unsigned side,
                            enum side_field i,
                            const char *value,
                            struct syn_config *to)
{
    char shown[40];
    snprintf(shown, sizeof(shown), "%s.%s", shown_sides[side], side_names[i]);
    bool ok = true;
    if (i == SIDE_PASSWORD_ENV) {
        value = getenv(value);
        if (value == NULL || *value == '\0') {
            /* Its name is not printed: people put the password itself there. */
            ok = ERR(loader->err, SYN_CODE_CONFIG,
                     "%s: there is no environment variable of that name", shown);
        }
    }
    return (ok && config_set(to, side_options[side][i], shown, value, loader->err)) ||
           error_at_field(loader, &loader->schema.side[side][i]);
}

static bool take_side(struct loader *loader,
                      unsigned side,
                      const struct yaml_side *from,
                      struct syn_config *to)
{
    if (from == NULL) {
        return true;
    }
    if (!check_side(loader, side, from)) {
        return false;
    }
    for (unsigned i = 0; i < SIDE_FIELD_COUNT; i++) {
        if (from->text[i] != NULL &&
            !take_side_field(loader, side, (enum side_field)i, from->text[i], to)) {
            return false;
        }
    }
    return from->hosts == NULL || take_hosts(loader, side, from, to);
}

static void wipe(struct yaml_top *top)
{
    for (unsigned i = 0; i < OPTION_COUNT; i++) {
        if (top->text[i] != NULL) {
            explicit_bzero(top->text[i], strlen(top->text[i]));
        }
    }
    for (unsigned side = 0; side < 2; side++) {
        for (unsigned i = 0; top->side[side] != NULL && i < SIDE_FIELD_COUNT; i++) {
            if (top->side[side]->text[i] != NULL) {
                explicit_bzero(top->side[side]->text[i], strlen(top->side[side]->text[i]));
            }
        }
    }
}

static bool loader_take(struct loader *loader, struct yaml_top *top, struct syn_config *config)
{
    struct syn_config next;
    if (!config_copy(config, &next, loader->err)) {
        return false;
    }
    bool ok = take_options(loader, top, &next) &&
              take_side(loader, 0, top->side[0], &next) &&
              take_side(loader, 1, top->side[1], &next);
    if (ok) {
        config_take(config, &next);
    }
    config_deinit(&next);
    return ok;
}

bool syn_config_load(struct syn_config *config,
                     const char *text,
                     size_t size,
                     const char *origin,
                     struct syn_err *err)
{
    origin = origin != NULL ? origin : "configuration";
    if (size > CONFIG_FILE_MAX) {
        return ERR(err, SYN_CODE_CONFIG, "%.100s: longer than %u bytes", origin, CONFIG_FILE_MAX);
    }
    /* libyaml takes a NUL for the end and would silently leave out the rest. */
    if (size > 0 && memchr(text, '\0', size) != NULL) {
        return ERR(err, SYN_CODE_CONFIG, "%.100s: contains a NUL byte: not text", origin);
    }
    struct loader *loader = mem_calloc(MEM_ENGINE, sizeof(*loader));
    if (loader == NULL) {
        return ERR(err, SYN_CODE_MEMORY, "%.100s: no memory to read it", origin);
    }
    loader->origin = origin;
    loader->text = text != NULL ? text : "";
    loader->size = size;
    loader->err = err;
    struct yaml_top *top;
    bool ok = loader_load(loader, &top);
    if (ok && top != NULL) {
        ok = loader_take(loader, top, config);
        wipe(top);
        /* The schema may have been changed to find a place; freeing reads only its shape. */
        loader_free(loader, top);
    }
    mem_free(MEM_ENGINE, loader);
    return ok;
}
