/*
 * COMMAND INFO and COMMAND GETKEYS into what the router needs.
 *
 * An entry: name, arity, flags, first, last, step (2.8.13); ACL categories (6.0); tips, key specs,
 * subcommands (7.0). Key specs of servers before RESP3 are flattened maps.
 */
#include <string.h>

#include "apply/command_ask.h"

enum entry_field {
    ENTRY_NAME,
    ENTRY_ARITY,
    ENTRY_FLAGS,
    ENTRY_FIRST,
    ENTRY_LAST,
    ENTRY_STEP,
    ENTRY_SPECS = 8,
    ENTRY_SUBCOMMANDS = 9,
};

static bool is_array(const redisReply *reply)
{
    return reply != NULL && reply->type == REDIS_REPLY_ARRAY;
}

static bool is_text(const redisReply *reply)
{
    return reply != NULL && reply->str != NULL &&
           (reply->type == REDIS_REPLY_STRING || reply->type == REDIS_REPLY_STATUS);
}

static bool has_word(const redisReply *list, const char *word)
{
    for (size_t i = 0; i < list->elements; i++) {
        if (is_text(list->element[i]) && strcasecmp(list->element[i]->str, word) == 0) {
            return true;
        }
    }
    return false;
}

/* The value behind a name in a flattened map; NULL: absent. */
static const redisReply *map_get(const redisReply *map, const char *name)
{
    for (size_t i = 0; is_array(map) && i + 1 < map->elements; i += 2) {
        if (is_text(map->element[i]) && strcmp(map->element[i]->str, name) == 0) {
            return map->element[i + 1];
        }
    }
    return NULL;
}

static bool read_number(const redisReply *reply, int64_t least, int16_t *number)
{
    if (reply == NULL || reply->type != REDIS_REPLY_INTEGER || reply->integer < least ||
        reply->integer > INT16_MAX) {
        return false;
    }
    *number = (int16_t)reply->integer;
    return true;
}

static bool read_keyword(const redisReply *reply, char keyword[static ASKED_KEYWORD_MAX])
{
    if (!is_text(reply) || reply->len == 0 || reply->len >= ASKED_KEYWORD_MAX) {
        return false;
    }
    for (size_t i = 0; i <= reply->len; i++) {
        char c = reply->str[i];
        keyword[i] = c >= 'a' && c <= 'z' ? (char)(c - 'a' + 'A') : c;
    }
    return true;
}

static bool read_search(const redisReply *map, struct key_spec *spec, char *keyword)
{
    const redisReply *type = map_get(map, "type");
    const redisReply *where = map_get(map, "spec");
    if (!is_text(type)) {
        return false;
    }
    if (strcmp(type->str, "index") == 0) {
        spec->search = KEY_AT_INDEX;
        return read_number(map_get(where, "index"), 1, &spec->index);
    }
    spec->search = KEY_AFTER_KEYWORD;
    return strcmp(type->str, "keyword") == 0 && read_keyword(map_get(where, "keyword"), keyword) &&
           read_number(map_get(where, "startfrom"), INT16_MIN, &spec->index) && spec->index != 0;
}

static bool read_find(const redisReply *map, struct key_spec *spec)
{
    const redisReply *type = map_get(map, "type");
    const redisReply *where = map_get(map, "spec");
    if (!is_text(type)) {
        return false;
    }
    if (strcmp(type->str, "range") == 0) {
        spec->find = KEY_RANGE;
        return read_number(map_get(where, "lastkey"), INT16_MIN, &spec->last) &&
               read_number(map_get(where, "keystep"), 1, &spec->step) &&
               read_number(map_get(where, "limit"), 0, &spec->limit);
    }
    spec->find = KEY_COUNTED;
    return strcmp(type->str, "keynum") == 0 &&
           read_number(map_get(where, "keynumidx"), 0, &spec->count_index) &&
           read_number(map_get(where, "firstkey"), 0, &spec->first) &&
           read_number(map_get(where, "keystep"), 1, &spec->step);
}

/* False: they do not tell all keys, or not in a way that we know. */
static bool read_specs(struct asked *asked, const redisReply *specs)
{
    asked->info.spec_count = 0;
    if (specs->elements > ASKED_SPECS_MAX) {
        return false;
    }
    for (size_t i = 0; i < specs->elements; i++) {
        const redisReply *map = specs->element[i];
        const redisReply *flags = map_get(map, "flags");
        struct key_spec *spec = &asked->specs[i];
        *spec = (struct key_spec){.keyword = asked->keywords[i]};
        asked->keywords[i][0] = '\0';
        if (!is_array(flags) || has_word(flags, "incomplete") ||
            !read_search(map_get(map, "begin_search"), spec, asked->keywords[i]) ||
            !read_find(map_get(map, "find_keys"), spec)) {
            return false;
        }
    }
    asked->info.spec_count = (uint8_t)specs->elements;
    return true;
}

/* Before 7.0: one range, or none. */
static bool read_range(struct asked *asked, const redisReply *entry)
{
    int16_t first, last;
    struct key_spec *spec = &asked->specs[0];
    *spec =
        (struct key_spec){.search = KEY_AT_INDEX, .find = KEY_RANGE, .keyword = asked->keywords[0]};
    asked->info.spec_count = 0;
    if (!read_number(entry->element[ENTRY_FIRST], 0, &first) ||
        !read_number(entry->element[ENTRY_LAST], INT16_MIN, &last)) {
        return false;
    }
    if (first == 0) {
        return true;
    }
    spec->index = first;
    spec->last = last >= 0 ? (int16_t)(last - first) : last;
    asked->info.spec_count = 1;
    return read_number(entry->element[ENTRY_STEP], 1, &spec->step) && (last < 0 || last >= first);
}

static void read_keys(struct asked *asked, const redisReply *entry)
{
    const redisReply *flags = entry->element[ENTRY_FLAGS];
    bool is_movable = has_word(flags, "movablekeys");
    bool has_specs = entry->elements > ENTRY_SPECS && is_array(entry->element[ENTRY_SPECS]);
    /* What a module's code says of its keys, a spec does not; what a server's does, they do. */
    bool is_told = has_specs && !(is_movable && has_word(flags, "module")) &&
                   (entry->element[ENTRY_SPECS]->elements > 0 || !is_movable);
    bool is_read = is_told       ? read_specs(asked, entry->element[ENTRY_SPECS])
                   : !is_movable ? read_range(asked, entry)
                                 : false;
    struct command_info *info = &asked->info;
    if (!is_read) {
        info->spec_count = COMMAND_KEYS_ASKED;
        return;
    }
    const struct key_spec *spec = &asked->specs[0];
    info->is_key_first = info->spec_count == 1 && spec->search == KEY_AT_INDEX &&
                         spec->find == KEY_RANGE && spec->index == 1 && spec->last == 0 &&
                         (info->arity >= 2 || info->arity <= -2);
}

bool asked_read(struct asked *asked, const char *name, const redisReply *entry, struct syn_err *err)
{
    ASSERT(strlen(name) < ASKED_NAME_MAX);
    memset(asked, 0, sizeof(*asked));
    memcpy(asked->name, name, strlen(name) + 1);
    struct command_info *info = &asked->info;
    info->name = asked->name;
    info->name_size = (uint8_t)strlen(name);
    info->specs = asked->specs;
    if (entry->type == REDIS_REPLY_NIL) {
        asked->kind = ASKED_UNKNOWN;
        return true;
    }
    if (!is_array(entry) || entry->elements <= ENTRY_STEP ||
        !is_array(entry->element[ENTRY_FLAGS]) ||
        !read_number(entry->element[ENTRY_ARITY], INT16_MIN + 1, &info->arity)) {
        return ERR(err,
                   SYN_CODE_DESTINATION_PROTOCOL,
                   "COMMAND INFO %s has an answer of a form that is not known",
                   name);
    }
    const redisReply *flags = entry->element[ENTRY_FLAGS];
    info->arity = info->arity == 0 ? -1 : info->arity;
    info->is_write = has_word(flags, "write");
    /* Neither read nor write: the source sent it to its replicas, so it has some effect. */
    info->class = has_word(flags, "readonly") ? COMMAND_READ : COMMAND_WRITE;
    if (entry->elements > ENTRY_SUBCOMMANDS && is_array(entry->element[ENTRY_SUBCOMMANDS]) &&
        entry->element[ENTRY_SUBCOMMANDS]->elements > 0) {
        asked->kind = ASKED_CONTAINER;
        return true;
    }
    asked->kind = ASKED_KNOWN;
    read_keys(asked, entry);
    return true;
}

bool asked_keys_read(const redisReply *reply,
                     const uint8_t *bytes,
                     const struct resp_command *command,
                     struct key_list *keys,
                     struct syn_err *err)
{
    keys->count = 0;
    if (reply->type == REDIS_REPLY_ERROR && strstr(reply->str, "no key arguments") != NULL) {
        return true;
    }
    /* The server gives the keys in the order of the arguments, mostly. Equal arguments lie in one
     * slot, so which of them is taken for the key does not matter. */
    uint32_t at = 1;
    for (size_t i = 0; is_array(reply) && i < reply->elements; i++) {
        const redisReply *key = reply->element[i];
        uint32_t looked = 1;
        for (; key->str != NULL && looked < command->argc; looked++) {
            const struct resp_arg *arg = &command->argv[at];
            if (arg->size == key->len && memcmp(bytes + arg->pos, key->str, key->len) == 0) {
                break;
            }
            at = at + 1 < command->argc ? at + 1 : 1;
        }
        if (key->str == NULL || looked >= command->argc) {
            return ERR(err,
                       SYN_CODE_DESTINATION_PROTOCOL,
                       "COMMAND GETKEYS named a key that is no argument");
        }
        if (!key_list_add(keys, at, err)) {
            return false;
        }
        at = at + 1 < command->argc ? at + 1 : 1;
    }
    return is_array(reply) || ERR(err,
                                  SYN_CODE_DESTINATION_REPLY,
                                  "COMMAND GETKEYS was refused%s%.100s",
                                  is_text(reply) || reply->type == REDIS_REPLY_ERROR ? ": " : "",
                                  reply->str != NULL ? reply->str : "");
}
