/* Values of options: numbers, sizes, times, choices and lists of databases, from text. */
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "core/engine/options.h"
#include "core/engine/uri.h"

struct unit {
    const char *name;
    int64_t factor;
};

static const struct unit size_units[] = {{"", 1},
                                         {"b", 1},
                                         {"k", 1 << 10},
                                         {"kb", 1 << 10},
                                         {"m", 1 << 20},
                                         {"mb", 1 << 20},
                                         {"g", 1 << 30},
                                         {"gb", 1 << 30},
                                         {NULL, 0}};
static const struct unit duration_units[] = {
    {"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}, {NULL, 0}};

static const struct syn_option *option_at(enum option_id id)
{
    size_t count;
    const struct syn_option *table = syn_options(&count);
    ASSERT((size_t)id < count);
    return &table[id];
}

/* Quotes what was written, cut short: a wrong value can be a whole file. */
static const char *quote(const char *value, char out[64])
{
    size_t size = strnlen(value, 41);
    size_t at = 0;
    out[at++] = '"';
    for (size_t i = 0; i < size && i < 40; i++) {
        unsigned char c = (unsigned char)value[i];
        out[at++] = c < 0x20 || c == 0x7f ? '?' : (char)c;
    }
    snprintf(out + at, 64 - at, "%s\"", size > 40 ? "..." : "");
    return out;
}

static bool read_flag(const char *shown, const char *value, int64_t *number, struct syn_err *err)
{
    static const char *const words[] = {"false", "true", "no", "yes", "off", "on", "0", "1"};
    for (unsigned i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        if (strcasecmp(value, words[i]) == 0) {
            *number = i & 1;
            return true;
        }
    }
    char quoted[64];
    return ERR(
        err, SYN_CODE_CONFIG, "%s: %s is not allowed (true, false)", shown, quote(value, quoted));
}

static bool read_choice(const struct syn_option *option,
                        const char *shown,
                        const char *value,
                        int64_t *number,
                        struct syn_err *err)
{
    char allowed[160];
    size_t used = 0;
    size_t size = strlen(value);
    int64_t index = 0;
    for (const char *at = option->choices; *at != '\0'; index++) {
        size_t length = strcspn(at, "|");
        if (length == size && memcmp(at, value, size) == 0) {
            *number = index;
            return true;
        }
        int wrote = snprintf(allowed + used,
                             sizeof(allowed) - used,
                             "%s%.*s",
                             used > 0 ? ", " : "",
                             (int)length,
                             at);
        ASSERT(wrote > 0 && (size_t)wrote < sizeof(allowed) - used);
        used += (size_t)wrote;
        at += length + (at[length] == '|');
    }
    char quoted[64];
    return ERR(
        err, SYN_CODE_CONFIG, "%s: %s is not allowed (%s)", shown, quote(value, quoted), allowed);
}

/* Digits and a unit; false when it is not written so or does not fit. */
static bool read_quantity(const char *value, const struct unit *units, int64_t *number)
{
    size_t digits = strspn(value, "0123456789");
    uint64_t amount;
    /* num_read_u64 knows no leading zeros; people write them. */
    size_t zeros = strspn(value, "0");
    if (zeros > 0 && zeros == digits) {
        zeros--;
    }
    if (digits == 0 || !num_read_u64(value + zeros, digits - zeros, &amount)) {
        return false;
    }
    for (; units->name != NULL; units++) {
        if (strcasecmp(value + digits, units->name) == 0) {
            if (amount > (uint64_t)(INT64_MAX / units->factor)) {
                return false;
            }
            *number = (int64_t)amount * units->factor;
            return true;
        }
    }
    return false;
}

static void write_quantity(enum syn_option_kind kind, int64_t number, char out[32])
{
    static const struct unit shown_sizes[] = {
        {"g", 1 << 30}, {"m", 1 << 20}, {"k", 1 << 10}, {"", 1}};
    static const struct unit shown_durations[] = {
        {"h", 3600000}, {"m", 60000}, {"s", 1000}, {"ms", 1}};
    const struct unit *unit = kind == SYN_OPTION_SIZE ? shown_sizes : shown_durations;
    if (kind == SYN_OPTION_INTEGER || number == 0) {
        snprintf(out, 32, "%lld", (long long)number);
        return;
    }
    while (number % unit->factor != 0) {
        unit++;
    }
    snprintf(out, 32, "%lld%s", (long long)(number / unit->factor), unit->name);
}

static bool read_number(const struct syn_option *option,
                        const char *shown,
                        const char *value,
                        int64_t *number,
                        struct syn_err *err)
{
    static const struct unit none[] = {{"", 1}, {NULL, 0}};
    const struct unit *units = option->kind == SYN_OPTION_SIZE       ? size_units
                               : option->kind == SYN_OPTION_DURATION ? duration_units
                                                                     : none;
    const char *form = option->kind == SYN_OPTION_SIZE       ? "a size such as 48m (k, m, g)"
                       : option->kind == SYN_OPTION_DURATION ? "a time such as 5s (ms, s, m, h)"
                                                             : "a number";
    char quoted[64], low[32], high[32];
    write_quantity(option->kind, option->min, low);
    write_quantity(option->kind, option->max, high);
    int64_t read;
    /* Zero needs no unit. */
    bool is_zero = value[0] != '\0' && strspn(value, "0") == strlen(value);
    if (is_zero) {
        read = 0;
    } else if (!read_quantity(value, units, &read)) {
        return ERR(err,
                   SYN_CODE_CONFIG,
                   "%s: %s is not %s from %s to %s",
                   shown,
                   quote(value, quoted),
                   form,
                   low,
                   high);
    }
    if (read < option->min || read > option->max) {
        return ERR(err,
                   SYN_CODE_CONFIG,
                   "%s: %s is out of bounds (%s to %s)",
                   shown,
                   quote(value, quoted),
                   low,
                   high);
    }
    *number = read;
    return true;
}

bool option_read_number(
    enum option_id id, const char *shown, const char *value, int64_t *number, struct syn_err *err)
{
    const struct syn_option *option = option_at(id);
    ASSERT(option->kind != SYN_OPTION_TEXT);
    switch (option->kind) {
    case SYN_OPTION_FLAG:
        return read_flag(shown, value, number, err);
    case SYN_OPTION_CHOICE:
        return read_choice(option, shown, value, number, err);
    default:
        return read_number(option, shown, value, number, err);
    }
}

/* One database number at *at, which moves behind it. */
static bool read_db_number(const char **at, uint64_t *db)
{
    size_t digits = strspn(*at, "0123456789");
    if (!num_read_u64(*at, digits, db) || *db >= CONFIG_DB_MAX) {
        return false;
    }
    *at += digits;
    return true;
}

static bool db_error(
    const char *shown, const char *value, const char *at, const char *form, struct syn_err *err)
{
    return ERR(err,
               SYN_CODE_CONFIG,
               "%s: not a list of databases (0 to %d) at position %zu; write it like %s",
               shown,
               CONFIG_DB_MAX - 1,
               (size_t)(at - value) + 1,
               form);
}

bool option_read_db(const char *shown, const char *value, bool *selected, struct syn_err *err)
{
    memset(selected, 0, CONFIG_DB_MAX * sizeof(*selected));
    const char *at = value;
    for (;;) {
        uint64_t first, last;
        const char *start = at;
        if (!read_db_number(&at, &first)) {
            return db_error(shown, value, at, "0,3,5-7", err);
        }
        last = first;
        if (*at == '-') {
            at++;
            if (!read_db_number(&at, &last)) {
                return db_error(shown, value, at, "0,3,5-7", err);
            }
        }
        if (last < first) {
            return ERR(err,
                       SYN_CODE_CONFIG,
                       "%s: the range at position %zu runs backwards",
                       shown,
                       (size_t)(start - value) + 1);
        }
        for (uint64_t db = first; db <= last; db++) {
            selected[db] = true;
        }
        if (*at == '\0') {
            return true;
        }
        if (*at != ',') {
            return db_error(shown, value, at, "0,3,5-7", err);
        }
        at++;
        at += strspn(at, " ");
    }
}

bool option_read_db_map(const char *shown, const char *value, uint16_t *map, struct syn_err *err)
{
    for (size_t i = 0; i < CONFIG_DB_MAX; i++) {
        map[i] = CONFIG_DB_NONE;
    }
    const char *at = value;
    for (;;) {
        uint64_t from, to;
        if (!read_db_number(&at, &from) || *at != ':') {
            return db_error(shown, value, at, "1:2,3:0", err);
        }
        at++;
        if (!read_db_number(&at, &to)) {
            return db_error(shown, value, at, "1:2,3:0", err);
        }
        if (map[from] != CONFIG_DB_NONE) {
            return ERR(err,
                       SYN_CODE_CONFIG,
                       "%s: database %llu is mapped twice",
                       shown,
                       (unsigned long long)from);
        }
        map[from] = (uint16_t)to;
        if (*at == '\0') {
            return true;
        }
        if (*at != ',') {
            return db_error(shown, value, at, "1:2,3:0", err);
        }
        at++;
        at += strspn(at, " ");
    }
}

static bool check_text(enum option_id id, const char *shown, const char *value, struct syn_err *err)
{
    struct endpoint sizes; /* only for the sizes of its fields */
    size_t size = strlen(value);
    size_t limit = OPTION_VALUE_MAX;
    if (id == OPTION_SOURCE_USER || id == OPTION_DESTINATION_USER) {
        limit = sizeof(sizes.user) - 1;
    } else if (id == OPTION_SOURCE_PASSWORD || id == OPTION_DESTINATION_PASSWORD) {
        limit = sizeof(sizes.user) + sizeof(sizes.password) - 1;
    } else if (id == OPTION_HEARTBEAT_PREFIX) {
        limit = HEARTBEAT_PREFIX_MAX;
    }
    if (size > limit) {
        return ERR(err, SYN_CODE_CONFIG, "%s: longer than %zu bytes", shown, limit);
    }
    return true;
}

bool option_check(enum option_id id, const char *shown, const char *value, struct syn_err *err)
{
    const struct syn_option *option = option_at(id);
    if (*value == '\0') {
        return ERR(err, SYN_CODE_CONFIG, "%s: the value is empty", shown);
    }
    if (!check_text(id, shown, value, err)) {
        return false;
    }
    if (option->kind != SYN_OPTION_TEXT) {
        int64_t number;
        return option_read_number(id, shown, value, &number, err);
    }
    if (id == OPTION_DB) {
        bool selected[CONFIG_DB_MAX];
        return option_read_db(shown, value, selected, err);
    }
    if (id == OPTION_DB_MAP) {
        uint16_t map[CONFIG_DB_MAX];
        return option_read_db_map(shown, value, map, err);
    }
    if (id == OPTION_HEARTBEAT_PREFIX && strpbrk(value, "{}") != NULL) {
        /* What is in braces decides the slot, which must be one of the shard's. */
        return ERR(err, SYN_CODE_CONFIG, "%s: braces are not allowed in it", shown);
    }
    if (id == OPTION_SOURCE || id == OPTION_DESTINATION) {
        return uri_check(shown, value, err);
    }
    return true;
}
