/*
 * Configuration files: YAML, and JSON as its subset, through libcyaml.
 *
 * The schema is made from the table of options: every field is text, checked by the same functions
 * as the command line. Two things libcyaml does not offer are had by loading again, which costs
 * microseconds and only happens once or after a mistake:
 * - `source` is text or a mapping, `include_key` text or a list: a schema cannot say so. The
 * mapping or list is tried first; refused for being text, that field is loaded as text.
 * - the line of a value that is well-formed for YAML and wrong for the option: its field is given
 *   an impossible length, and libcyaml reports where it stands.
 */
#include "core/engine/config_yaml.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/engine/config_store.h"
#include "core/engine/uri.h"

static const char *const side_names[SIDE_FIELD_COUNT] = {
    "uri", "hosts", "user", "password", "password_file", "password_env"};

struct yaml_side {
    char *text[SIDE_FIELD_COUNT]; /* SIDE_HOSTS: not used */
    char **hosts;
    uint32_t host_count;
};

const char *const yaml_sides[2] = {"source", "destination"};

struct yaml_list {
    char **items;
    uint32_t count;
};

struct yaml_top {
    char *text[OPTION_COUNT];
    struct yaml_list list[OPTION_COUNT]; /* of options that are lists */
    struct yaml_side *side[2];           /* source, destination: when it is a mapping */
};

static const enum option_id side_options[2][SIDE_FIELD_COUNT] = {{OPTION_SOURCE,
                                                                  OPTION_SOURCE,
                                                                  OPTION_SOURCE_USER,
                                                                  OPTION_SOURCE_PASSWORD,
                                                                  OPTION_SOURCE_PASSWORD_FILE,
                                                                  OPTION_SOURCE_PASSWORD},
                                                                 {OPTION_DESTINATION,
                                                                  OPTION_DESTINATION,
                                                                  OPTION_DESTINATION_USER,
                                                                  OPTION_DESTINATION_PASSWORD,
                                                                  OPTION_DESTINATION_PASSWORD_FILE,
                                                                  OPTION_DESTINATION_PASSWORD}};

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
        schema->side[side][i] = (cyaml_schema_field_t){
            .key = side_names[i],
            .data_offset = (uint32_t)(offsetof(struct yaml_side, text) + i * sizeof(char *)),
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

static cyaml_schema_value_t list_value(struct schema *schema)
{
    return (cyaml_schema_value_t){CYAML_VALUE_SEQUENCE(
        CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, char *, &schema->host, 1, SELECT_RULES_MAX)};
}

/* A field whose value is a list of texts. */
static cyaml_schema_field_t list_field(struct schema *schema, unsigned id)
{
    uint32_t at = (uint32_t)(offsetof(struct yaml_top, list) + id * sizeof(struct yaml_list));
    return (cyaml_schema_field_t){.key = schema->names[id],
                                  .data_offset = at + (uint32_t)offsetof(struct yaml_list, items),
                                  .count_offset = at + (uint32_t)offsetof(struct yaml_list, count),
                                  .count_size = sizeof(uint32_t),
                                  .value = list_value(schema)};
}

/* All but the flags of what is text, which the caller keeps. */
static void schema_build(struct schema *schema)
{
    size_t count;
    const struct syn_option *table = syn_options(&count);
    unsigned used = 0;
    schema->host =
        (cyaml_schema_value_t){CYAML_VALUE_STRING(CYAML_FLAG_POINTER, char, 0, CYAML_UNLIMITED)};
    for (unsigned i = 0; i < count; i++) {
        if (table[i].env == NULL) {
            continue; /* only on the command line */
        }
        int wrote = snprintf(schema->names[i], OPTION_NAME_MAX, "%s", table[i].name);
        ASSERT(wrote > 0 && wrote < OPTION_NAME_MAX);
        for (char *c = schema->names[i]; *c != '\0'; c++) {
            *c = *c == '-' ? '_' : *c;
        }
        bool is_list = table[i].kind == SYN_OPTION_LIST && !schema->list_is_text[i];
        schema->top[used++] =
            is_list
                ? list_field(schema, i)
                : (cyaml_schema_field_t){.key = schema->names[i],
                                         .data_offset = (uint32_t)(offsetof(struct yaml_top, text) +
                                                                   i * sizeof(char *)),
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

/* Whether the load failed because a side or a list is text and was taken for more; then it no
 * longer is. */
static bool loader_turn(struct loader *loader, cyaml_err_t code)
{
    const struct yaml_log *log = &loader->log;
    if (code != CYAML_ERR_INVALID_VALUE || log->depth != 1) {
        return false;
    }
    for (unsigned side = 0; side < 2; side++) {
        if (strcmp(log->path[0], yaml_sides[side]) == 0 && !loader->schema.side_is_text[side]) {
            loader->schema.side_is_text[side] = true;
            return true;
        }
    }
    size_t count;
    const struct syn_option *table = syn_options(&count);
    for (unsigned id = 0; id < count; id++) {
        bool *is_text = &loader->schema.list_is_text[id];
        if (table[id].kind == SYN_OPTION_LIST && !*is_text &&
            strcmp(log->path[0], loader->schema.names[id]) == 0) {
            *is_text = true;
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
    } while (loader_turn(loader, code));
    if (code != CYAML_OK) {
        return yaml_error(loader, code);
    }
    if (loader->log.more_documents) {
        loader_free(loader, *top);
        *top = NULL;
        return ERR(loader->err,
                   SYN_CODE_CONFIG,
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

/* Replaces the list, entry by entry, so that an error has the line of its own. */
static bool take_list(struct loader *loader,
                      enum option_id id,
                      const struct yaml_list *from,
                      struct syn_config *to)
{
    config_unset(to, id);
    for (uint32_t i = 0; i < from->count; i++) {
        char shown[OPTION_NAME_MAX + 16];
        snprintf(shown, sizeof(shown), "%s[%u]", loader->schema.names[id], i);
        bool ok = *from->items[i] != '\0'
                      ? config_set(to, id, shown, from->items[i], loader->err)
                      : ERR(loader->err, SYN_CODE_CONFIG, "%s: the value is empty", shown);
        if (!ok) {
            top_field(&loader->schema, id)->value.sequence.max = i; /* refused at this entry */
            return error_place(loader);
        }
    }
    return true;
}

static bool take_options(struct loader *loader, const struct yaml_top *top, struct syn_config *to)
{
    size_t count;
    const struct syn_option *table = syn_options(&count);
    for (unsigned i = 0; i < OPTION_COUNT; i++) {
        enum option_id id = (enum option_id)i;
        const char *value = top->text[id];
        if (table[id].kind == SYN_OPTION_LIST && top->list[id].items != NULL &&
            !take_list(loader, id, &top->list[id], to)) {
            return false;
        }
        if (value == NULL) {
            continue;
        }
        if (table[id].kind == SYN_OPTION_LIST) {
            config_unset(to, id);
        }
        if (!config_set(to, id, loader->schema.names[id], value, loader->err)) {
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
    snprintf(shown, sizeof(shown), "%s.hosts", yaml_sides[side]);
    size_t size = 0;
    for (uint32_t i = 0; i < from->host_count; i++) {
        const char *host = from->hosts[i];
        bool ok =
            strchr(host, ',') != NULL
                ? ERR(loader->err, SYN_CODE_CONFIG, "%s: ',' in an entry: one host for each", shown)
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

static bool check_side(struct loader *loader, unsigned side, const struct yaml_side *from)
{
    cyaml_schema_field_t *fields = loader->schema.side[side];
    if (from->hosts != NULL && from->text[SIDE_URI] != NULL) {
        (void)ERR(loader->err,
                  SYN_CODE_CONFIG,
                  "%s.hosts: uri and hosts exclude each other (a URI takes several hosts, "
                  "separated by commas)",
                  yaml_sides[side]);
        return error_at_field(loader, &fields[SIDE_HOSTS]);
    }
    unsigned first = SIDE_FIELD_COUNT;
    for (unsigned i = SIDE_PASSWORD; i <= SIDE_PASSWORD_ENV; i++) {
        if (from->text[i] == NULL) {
            continue;
        }
        if (first != SIDE_FIELD_COUNT) {
            (void)ERR(loader->err,
                      SYN_CODE_CONFIG,
                      "%s.%s: %s is given as well: one of them",
                      yaml_sides[side],
                      side_names[i],
                      side_names[first]);
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
    snprintf(shown, sizeof(shown), "%s.%s", yaml_sides[side], side_names[i]);
    bool ok = true;
    if (i == SIDE_PASSWORD_ENV) {
        value = getenv(value);
        if (value == NULL || *value == '\0') {
            /* Its name is not printed: people put the password itself there. */
            ok = ERR(loader->err,
                     SYN_CODE_CONFIG,
                     "%s: there is no environment variable of that name",
                     shown);
        }
    }
    return (ok && config_set(to, side_options[side][i], shown, value, loader->err)) ||
           error_at_field(loader, &loader->schema.side[side][i]);
}

static bool
take_side(struct loader *loader, unsigned side, const struct yaml_side *from, struct syn_config *to)
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
    next.origin_now = CONFIG_FROM_FILE;
    bool ok = take_options(loader, top, &next) && take_side(loader, 0, top->side[0], &next) &&
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
