/* Rules from their texts: what is written, what it stands for, and what is wrong with it. */
#include "apply/select.h"

#include <stdio.h>

#include "apply/select_private.h"

static const char *const list_names[SELECT_LIST_COUNT] = {
    [SELECT_INCLUDE_KEY] = "include_key",
    [SELECT_INCLUDE_PREFIX] = "include_prefix",
    [SELECT_INCLUDE_SUFFIX] = "include_suffix",
    [SELECT_EXCLUDE_KEY] = "exclude_key",
    [SELECT_EXCLUDE_PREFIX] = "exclude_prefix",
    [SELECT_EXCLUDE_SUFFIX] = "exclude_suffix",
    [SELECT_INCLUDE_TYPE] = "include_type",
    [SELECT_EXCLUDE_TYPE] = "exclude_type",
    [SELECT_INCLUDE_COMMAND] = "include_command",
    [SELECT_EXCLUDE_COMMAND] = "exclude_command",
    [SELECT_RENAME_PREFIX] = "rename_prefix",
};

static const char *const kind_names[RDB_KIND_COUNT] = {
    [RDB_KIND_STRING] = "string",
    [RDB_KIND_LIST] = "list",
    [RDB_KIND_SET] = "set",
    [RDB_KIND_ZSET] = "zset",
    [RDB_KIND_HASH] = "hash",
    [RDB_KIND_STREAM] = "stream",
    [RDB_KIND_MODULE] = "module",
};

/* The names of COMMAND DOCS, and those of ACL categories where they differ. */
static const struct {
    const char *name;
    enum command_group group;
} group_names[] = {
    {"string", COMMAND_GROUP_STRING},
    {"list", COMMAND_GROUP_LIST},
    {"set", COMMAND_GROUP_SET},
    {"sortedset", COMMAND_GROUP_SORTED_SET},
    {"sorted-set", COMMAND_GROUP_SORTED_SET},
    {"hash", COMMAND_GROUP_HASH},
    {"stream", COMMAND_GROUP_STREAM},
    {"geo", COMMAND_GROUP_GEO},
    {"hyperloglog", COMMAND_GROUP_HYPERLOGLOG},
    {"bitmap", COMMAND_GROUP_BITMAP},
    {"generic", COMMAND_GROUP_GENERIC},
    {"keyspace", COMMAND_GROUP_GENERIC},
    {"scripting", COMMAND_GROUP_SCRIPTING},
    {"pubsub", COMMAND_GROUP_PUBSUB},
    {"server", COMMAND_GROUP_SERVER},
    {"module", COMMAND_GROUP_MODULE},
};
#define GROUP_NAME_COUNT (sizeof(group_names) / sizeof(group_names[0]))

const char *select_list_name(enum select_list list)
{
    ASSERT((unsigned)list < SELECT_LIST_COUNT);
    return list_names[list];
}

const char *select_kind_name(enum rdb_kind kind)
{
    ASSERT((unsigned)kind < RDB_KIND_COUNT);
    return kind_names[kind];
}

/* ---- one rule from its text ---- */

static bool too_long(const char *shown, struct syn_err *err)
{
    return ERR(err, SYN_CODE_CONFIG, "%s: longer than %d bytes", shown, SELECT_PATTERN_MAX);
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The byte behind a backslash; *text moves behind the escape. */
static bool escape_read(const char **text, uint8_t *byte)
{
    static const char letters[] = "\\nrt\"=";
    static const char bytes[] = "\\\n\r\t\"=";
    const char *at = *text + 1;
    if (at[0] == 'x' && hex_digit(at[1]) >= 0 && hex_digit(at[2]) >= 0) {
        *byte = (uint8_t)(hex_digit(at[1]) << 4 | hex_digit(at[2]));
        *text += 4;
        return true;
    }
    const char *letter = *at != '\0' ? strchr(letters, *at) : NULL;
    if (letter == NULL) {
        return false;
    }
    *byte = (uint8_t)bytes[letter - letters];
    *text += 2;
    return true;
}

/* Bytes up to `end` (or the end of the text) with their escapes resolved; *text stops there. */
static bool parse_bytes(
    const char *shown, const char **text, char end, uint8_t *out, size_t *size, struct syn_err *err)
{
    *size = 0;
    while (**text != '\0' && **text != end) {
        uint8_t byte = (uint8_t) * *text;
        if (**text != '\\') {
            (*text)++;
        } else if (!escape_read(text, &byte)) {
            return ERR(err,
                       SYN_CODE_CONFIG,
                       "%s: a backslash that begins none of \\\\ \\n \\r \\t \\\" \\= \\xNN; "
                       "write \\\\ for the backslash itself",
                       shown);
        }
        if (*size == SELECT_PATTERN_MAX) {
            return too_long(shown, err);
        }
        out[(*size)++] = byte;
    }
    return true;
}

static bool
parse_rename(const char *shown, const char *text, struct select_parsed *parsed, struct syn_err *err)
{
    if (!parse_bytes(shown, &text, '=', parsed->text, &parsed->size, err)) {
        return false;
    }
    if (*text != '=') {
        return ERR(err,
                   SYN_CODE_CONFIG,
                   "%s: write it OLD=NEW, such as old:=new: (\\= for a = in OLD)",
                   shown);
    }
    text++;
    if (!parse_bytes(shown, &text, '\0', parsed->to, &parsed->to_size, err)) {
        return false;
    }
    if (parsed->size == parsed->to_size && memcmp(parsed->text, parsed->to, parsed->size) == 0) {
        return ERR(err, SYN_CODE_CONFIG, "%s: the old and the new prefix are the same", shown);
    }
    return true;
}

static bool parse_kind(const char *shown, const char *text, struct syn_err *err)
{
    for (unsigned kind = 0; kind < RDB_KIND_COUNT; kind++) {
        if (strcasecmp(text, kind_names[kind]) == 0) {
            return true;
        }
    }
    return ERR(err,
               SYN_CODE_CONFIG,
               "%s: not a type (string, list, set, zset, hash, stream, module)",
               shown);
}

static bool parse_group(const char *shown, const char *name, struct syn_err *err)
{
    char allowed[300];
    size_t used = 0;
    for (size_t i = 0; i < GROUP_NAME_COUNT; i++) {
        if (strcasecmp(name, group_names[i].name) == 0) {
            return true;
        }
        int wrote = snprintf(allowed + used,
                             sizeof(allowed) - used,
                             "%s@%s",
                             i > 0 ? ", " : "",
                             group_names[i].name);
        ASSERT(wrote > 0 && (size_t)wrote < sizeof(allowed) - used);
        used += (size_t)wrote;
    }
    return ERR(err, SYN_CODE_CONFIG, "%s: not a group of commands (%s)", shown, allowed);
}

static bool parse_command(const char *shown, const char *text, struct syn_err *err)
{
    if (*text == '@') {
        return parse_group(shown, text + 1, err);
    }
    if (text[strcspn(text, " |")] != '\0') {
        return ERR(
            err, SYN_CODE_CONFIG, "%s: one word; a command is named without its subcommand", shown);
    }
    const struct command_info *info = command_find((const uint8_t *)text, strlen(text));
    if (info != NULL && command_is_protocol(info)) {
        return ERR(err,
                   SYN_CODE_CONFIG,
                   "%s: %s is part of the replication protocol and cannot be selected",
                   shown,
                   info->name);
    }
    return true;
}

bool command_is_protocol(const struct command_info *info)
{
    return info->class == COMMAND_SELECT || info->class == COMMAND_MULTI ||
           info->class == COMMAND_EXEC || info->class == COMMAND_PING ||
           info->class == COMMAND_REPLCONF;
}

bool select_parse(enum select_list list,
                  const char *shown,
                  const char *text,
                  struct select_parsed *parsed,
                  struct syn_err *err)
{
    parsed->to_size = 0;
    if (*text == '\0') {
        return ERR(err, SYN_CODE_CONFIG, "%s: the value is empty", shown);
    }
    switch (list) {
    case SELECT_INCLUDE_PREFIX:
    case SELECT_INCLUDE_SUFFIX:
    case SELECT_EXCLUDE_PREFIX:
    case SELECT_EXCLUDE_SUFFIX:
        return parse_bytes(shown, &text, '\0', parsed->text, &parsed->size, err);
    case SELECT_RENAME_PREFIX:
        return parse_rename(shown, text, parsed, err);
    default:
        break;
    }
    parsed->size = strlen(text);
    if (parsed->size > SELECT_PATTERN_MAX) {
        return too_long(shown, err);
    }
    memcpy(parsed->text, text, parsed->size);
    if (list == SELECT_INCLUDE_TYPE || list == SELECT_EXCLUDE_TYPE) {
        return parse_kind(shown, text, err);
    }
    if (list == SELECT_INCLUDE_COMMAND || list == SELECT_EXCLUDE_COMMAND) {
        return parse_command(shown, text, err);
    }
    return true;
}

bool select_check(enum select_list list, const char *shown, const char *text, struct syn_err *err)
{
    struct select_parsed parsed;
    return select_parse(list, shown, text, &parsed, err);
}

bool select_names_group(const char *text, size_t size, enum command_group group)
{
    for (size_t i = 0; i < GROUP_NAME_COUNT; i++) {
        const char *name = group_names[i].name;
        if (group_names[i].group == group && size == strlen(name) + 1 && text[0] == '@' &&
            strncasecmp(text + 1, name, size - 1) == 0) {
            return true;
        }
    }
    return false;
}
