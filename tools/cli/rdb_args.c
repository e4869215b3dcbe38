/* The arguments of syncline rdb. They are no settings of a task, so they have a table of their own;
 * only the form of the output has an environment variable as well. */
#include "tools/cli/rdb.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

enum rdb_option {
    OPTION_KEYS,
    OPTION_DUMP,
    OPTION_DB,
    OPTION_ITEM_MAX,
    OPTION_OUTPUT,
    OPTION_JSON
};

#define ITEM_BYTES_MAX ((int64_t)16 << 30)

static const struct syn_option table[] = {
    [OPTION_KEYS] = {.name = "keys",
                     .help = "List the keys instead, one per line: database, type, encoding, bytes "
                             "as serialized, elements, expiry (UTC, or -), key.",
                     .kind = SYN_OPTION_FLAG},
    [OPTION_DUMP] = {.name = "dump",
                     .value_name = "KEY",
                     .help = "Show the content of this key instead, in every database that has it. "
                             "Written as it is printed: \\n, \\r, \\t, \\xNN, \\\" and \\\\ are "
                             "escapes.",
                     .kind = SYN_OPTION_TEXT},
    [OPTION_DB] = {.name = "db",
                   .value_name = "N",
                   .default_text = "all",
                   .help = "Only the keys of this database.",
                   .kind = SYN_OPTION_INTEGER,
                   .max = INT32_MAX},
    [OPTION_ITEM_MAX] = {.name = "item-max",
                         .value_name = "SIZE",
                         .default_text = "64m",
                         .help = "The largest key, element or encoded collection to look at; a "
                                 "file with a larger one is refused. Sizes take k, m, g.",
                         .kind = SYN_OPTION_SIZE,
                         .min = SYN_RDB_ITEM_BYTES_MIN,
                         .max = ITEM_BYTES_MAX},
    [OPTION_OUTPUT] = {.name = "output",
                       .env = "SYNCLINE_OUTPUT",
                       .value_name = "text|json",
                       .default_text = "text",
                       .help = "Text for people, or one JSON object per line for programs.",
                       .choices = "text|json",
                       .kind = SYN_OPTION_CHOICE},
    [OPTION_JSON] = {.name = "json", .help = "The same as --output json.", .kind = SYN_OPTION_FLAG},
};
#define OPTION_COUNT (sizeof(table) / sizeof(table[0]))

const struct syn_option *cli_rdb_options(unsigned *count)
{
    *count = OPTION_COUNT;
    return table;
}

static bool fail(struct syn_err *err, enum syn_code code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static bool fail(struct syn_err *err, enum syn_code code, const char *format, ...)
{
    *err = (struct syn_err){.code = code, .func = __func__, .file = __FILE__, .line = __LINE__};
    va_list args;
    va_start(args, format);
    vsnprintf(err->msg, sizeof(err->msg), format, args);
    va_end(args);
    return false;
}

/* Decimal digits with nothing around them, within the option's bounds; a size with its unit. */
static bool read_number(const struct syn_option *option,
                        const char *value,
                        uint64_t *number,
                        struct syn_err *err)
{
    char *unit;
    uint64_t amount = strtoull(value, &unit, 10);
    unsigned shift = 0;
    bool is_number = value[0] >= '0' && value[0] <= '9';
    if (option->kind == SYN_OPTION_SIZE && unit[0] != '\0') {
        char letter = (char)(unit[0] | 0x20);
        shift = letter == 'k' ? 10 : letter == 'm' ? 20 : letter == 'g' ? 30 : 0;
        unit += shift > 0 ? 1 : 0;
    }
    if (!is_number || unit[0] != '\0') {
        return fail(err, SYN_CODE_CONFIG, "--%s: \"%.60s\" is not a number", option->name, value);
    }
    uint64_t max = (uint64_t)option->max;
    if (amount > max >> shift || amount << shift < (uint64_t)option->min) {
        return fail(err, SYN_CODE_CONFIG, "--%s: \"%.60s\" is out of bounds", option->name, value);
    }
    *number = amount << shift;
    return true;
}

static bool
read_output(struct rdb_args *args, const char *shown, const char *value, struct syn_err *err)
{
    args->is_json = strcmp(value, "json") == 0;
    if (!args->is_json && strcmp(value, "text") != 0) {
        return fail(err, SYN_CODE_CONFIG, "%s: \"%.60s\" is not one of: text, json", shown, value);
    }
    return true;
}

static bool
set_option(struct rdb_args *args, enum rdb_option option, char *value, struct syn_err *err)
{
    uint64_t number = 0;
    switch (option) {
    case OPTION_KEYS:
        args->lists_keys = true;
        return true;
    case OPTION_JSON:
        args->is_json = true;
        return true;
    case OPTION_OUTPUT:
        return read_output(args, "--output", value, err);
    case OPTION_DUMP:
        args->dump = value;
        return escape_read(value, &args->dump_size) ||
               fail(err, SYN_CODE_CONFIG, "--dump: a \\ that begins no escape; write it twice");
    case OPTION_DB:
        args->has_db = true;
        return read_number(&table[option], value, &args->db, err);
    case OPTION_ITEM_MAX:
        if (!read_number(&table[option], value, &number, err)) {
            return false;
        }
        args->item_bytes_max = (size_t)number;
        return true;
    }
    return true;
}

/* One word that begins with "--"; moves `*at` behind its value. */
static bool read_option(struct rdb_args *args, const struct cli *cli, int *at, struct syn_err *err)
{
    char *name = cli->argv[(*at)++] + 2;
    size_t size = strcspn(name, "=");
    unsigned option = 0;
    while (option < OPTION_COUNT &&
           (strlen(table[option].name) != size || memcmp(table[option].name, name, size) != 0)) {
        option++;
    }
    if (option == OPTION_COUNT) {
        return fail(err,
                    SYN_CODE_USAGE,
                    "unknown option --%.*s; see syncline help rdb",
                    size < 40 ? (int)size : 40,
                    name);
    }
    char *value = name[size] == '=' ? name + size + 1 : NULL;
    if (table[option].kind == SYN_OPTION_FLAG) {
        if (value != NULL) {
            return fail(err, SYN_CODE_USAGE, "--%s takes no value", table[option].name);
        }
    } else if (value == NULL) {
        if (*at >= cli->argc) {
            return fail(err,
                        SYN_CODE_USAGE,
                        "--%s needs a value: %s",
                        table[option].name,
                        table[option].value_name);
        }
        value = cli->argv[(*at)++];
    }
    return set_option(args, (enum rdb_option)option, value, err);
}

bool rdb_args_read(struct rdb_args *args, const struct cli *cli, struct syn_err *err)
{
    *args = (struct rdb_args){.item_bytes_max = SYN_RDB_ITEM_BYTES_DEFAULT};
    const char *output = getenv("SYNCLINE_OUTPUT");
    if (output != NULL && !read_output(args, "SYNCLINE_OUTPUT", output, err)) {
        return false;
    }
    bool options_ended = false;
    for (int at = 0; at < cli->argc;) {
        char *word = cli->argv[at];
        if (!options_ended && (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0)) {
            args->wants_help = true;
            return true;
        }
        if (!options_ended && strcmp(word, "--") == 0) {
            options_ended = true;
            at++;
            continue;
        }
        if (!options_ended && strncmp(word, "--", 2) == 0) {
            if (!read_option(args, cli, &at, err)) {
                return false;
            }
            continue;
        }
        if (!options_ended && word[0] == '-' && word[1] != '\0') {
            return fail(err, SYN_CODE_USAGE, "options have long names; see syncline help rdb");
        }
        if (args->path != NULL) {
            return fail(err, SYN_CODE_USAGE, "too many arguments; syncline rdb [OPTIONS] FILE");
        }
        args->path = word;
        at++;
    }
    if (args->path == NULL) {
        return fail(err, SYN_CODE_USAGE, "no file given; syncline rdb [OPTIONS] FILE");
    }
    if (args->dump != NULL && args->lists_keys) {
        return fail(err, SYN_CODE_CONFIG, "--keys and --dump exclude each other");
    }
    return true;
}
