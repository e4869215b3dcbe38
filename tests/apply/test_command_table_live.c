#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/base/base.h"
#include "tests/apply/command_words.h"
#include "tests/support/client.h"
#include "tests/support/random.h"
#include "tests/support/servers.h"

/* Commands whose key specs the server leaves unknown or incomplete; tools/commands/generate has
 * them by hand, and the differential test covers them. */
static bool is_by_hand(const char *name)
{
    static const char *const names[] = {"SORT", "GEORADIUS", "GEORADIUSBYMEMBER", "MIGRATE"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (strcmp(name, names[i]) == 0)
            return true;
    }
    return false;
}

/* The value behind a name in a flattened map. */
static const redisReply *field(const redisReply *map, const char *name)
{
    for (size_t i = 0; i + 1 < map->elements; i += 2) {
        if (strcmp(map->element[i]->str, name) == 0)
            return map->element[i + 1];
    }
    return NULL;
}

static int16_t number(const redisReply *map, const char *name)
{
    const redisReply *value = field(map, name);
    return value == NULL ? 0 : (int16_t)value->integer;
}

static bool has_word(const redisReply *list, const char *word)
{
    for (size_t i = 0; i < list->elements; i++) {
        if (strcmp(list->element[i]->str, word) == 0)
            return true;
    }
    return false;
}

/* False when the spec names no key or the server does not say where it is. */
static bool read_spec(const redisReply *map, struct key_spec *spec)
{
    const redisReply *begin = field(map, "begin_search");
    const redisReply *find = field(map, "find_keys");
    const char *search = field(begin, "type")->str;
    const char *how = field(find, "type")->str;
    const redisReply *where = field(begin, "spec");
    if (has_word(field(map, "flags"), "not_key") || strcmp(search, "unknown") == 0 ||
        strcmp(how, "unknown") == 0)
        return false;
    *spec = (struct key_spec){.keyword = ""};
    spec->search = strcmp(search, "keyword") == 0 ? KEY_AFTER_KEYWORD : KEY_AT_INDEX;
    spec->find = strcmp(how, "range") == 0 ? KEY_RANGE : KEY_COUNTED;
    spec->index = number(where, spec->search == KEY_AT_INDEX ? "index" : "startfrom");
    if (spec->search == KEY_AFTER_KEYWORD)
        spec->keyword = field(where, "keyword")->str;
    where = field(find, "spec");
    spec->last = number(where, "lastkey");
    spec->step = number(where, "keystep");
    spec->limit = number(where, "limit");
    spec->count_index = number(where, "keynumidx");
    spec->first = number(where, "firstkey");
    return true;
}

static bool specs_equal(const struct key_spec *a, const struct key_spec *b)
{
    return a->search == b->search && a->find == b->find && strcmp(a->keyword, b->keyword) == 0 &&
           a->index == b->index && a->last == b->last && a->step == b->step &&
           a->limit == b->limit && a->count_index == b->count_index && a->first == b->first;
}

static bool has_spec(const struct command_info *info, const struct key_spec *spec)
{
    for (uint32_t i = 0; i < info->spec_count; i++) {
        if (specs_equal(&info->specs[i], spec))
            return true;
    }
    return false;
}

/* Every number of arguments that the server takes must be taken. */
static bool is_arity_as_wide(int64_t ours, int64_t servers)
{
    if (ours == servers)
        return true;
    return ours < 0 && -ours <= (servers < 0 ? -servers : servers);
}

/* Checks one entry and its subcommands; returns how many. */
static uint32_t check_entry(const redisReply *entry)
{
    char name[64];
    uint32_t count = 1;
    snprintf(name, sizeof(name), "%s", entry->element[0]->str);
    for (char *c = name; *c != '\0'; c++)
        *c = *c == '|' ? ' ' : (char)(*c >= 'a' && *c <= 'z' ? *c - 32 : *c);
    const struct command_info *info = command_find((const uint8_t *)name, strlen(name));
    if (info == NULL)
        fail_msg("%s is not in the table", name);
    if (!is_arity_as_wide(info->arity, entry->element[1]->integer))
        fail_msg(
            "%s: arity %d, the server says %lld", name, info->arity, entry->element[1]->integer);
    if (has_word(entry->element[2], "write") && !info->is_write)
        fail_msg("%s is a write at the server", name);
    const redisReply *specs = entry->element[8];
    const redisReply *subcommands = entry->element[9];
    uint32_t spec_count = 0;
    for (size_t i = 0; i < specs->elements && !is_by_hand(name); i++) {
        struct key_spec spec;
        if (!read_spec(specs->element[i], &spec))
            continue;
        spec_count++;
        if (!has_spec(info, &spec))
            fail_msg("%s lacks key spec %zu of the server", name, i);
    }
    if (subcommands->elements == 0 && !is_by_hand(name) && info->spec_count != spec_count)
        fail_msg("%s has %u key specs, the server %u", name, info->spec_count, spec_count);
    for (size_t i = 0; i < subcommands->elements; i++)
        count += check_entry(subcommands->element[i]);
    return count;
}

/* The table is checked in and the servers move on: every command of the version that must be there
 * is asked for again and compared, arity, write flag and key specs. */
static void test_table_agrees_with_the_server(void **state)
{
    redisContext *context = *state;
    redisReply *reply = test_command(context, "COMMAND");
    uint32_t count = 0;
    for (size_t i = 0; i < reply->elements; i++)
        count += check_entry(reply->element[i]);
    assert_true(count > 350);
    freeReplyObject(reply);
}

static const char *const group_names[COMMAND_GROUP_COUNT] = {
    [COMMAND_GROUP_GENERIC] = "generic",
    [COMMAND_GROUP_STRING] = "string",
    [COMMAND_GROUP_LIST] = "list",
    [COMMAND_GROUP_SET] = "set",
    [COMMAND_GROUP_SORTED_SET] = "sorted-set",
    [COMMAND_GROUP_HASH] = "hash",
    [COMMAND_GROUP_STREAM] = "stream",
    [COMMAND_GROUP_GEO] = "geo",
    [COMMAND_GROUP_HYPERLOGLOG] = "hyperloglog",
    [COMMAND_GROUP_BITMAP] = "bitmap",
    [COMMAND_GROUP_SCRIPTING] = "scripting",
    [COMMAND_GROUP_PUBSUB] = "pubsub",
    [COMMAND_GROUP_SERVER] = "server",
    [COMMAND_GROUP_CONNECTION] = "connection",
    [COMMAND_GROUP_TRANSACTIONS] = "transactions",
    [COMMAND_GROUP_CLUSTER] = "cluster",
    [COMMAND_GROUP_MODULE] = "module",
};

/* The group of every command, on which rules of selection stand, is the server's own.
 * RESTORE-ASKING is the one that is set right by hand. */
static void test_groups_agree_with_the_server(void **state)
{
    /* The documentation of some commands nests deeper than the client reads. */
    static const char script[] = "local names = redis.call('command', 'list') "
                                 "local out = {} "
                                 "for _, name in ipairs(names) do "
                                 "  local doc = redis.call('command', 'docs', name)[2] "
                                 "  for i = 1, #doc, 2 do "
                                 "    if doc[i] == 'group' then "
                                 "      table.insert(out, name) table.insert(out, doc[i + 1]) "
                                 "    end "
                                 "  end "
                                 "end "
                                 "return out";
    redisContext *context = *state;
    redisReply *reply = test_command(context, "EVAL %s 0", script);
    uint32_t count = 0;
    for (size_t i = 0; i + 1 < reply->elements; i += 2) {
        char *name = reply->element[i]->str;
        const char *group = reply->element[i + 1]->str;
        for (char *c = strchr(name, '|'); c != NULL; c = NULL)
            *c = ' ';
        const struct command_info *info = command_find((const uint8_t *)name, strlen(name));
        assert_non_null(info);
        assert_true(info->group < COMMAND_GROUP_COUNT);
        if (strcmp(info->name, "RESTORE-ASKING") == 0)
            assert_int_equal(info->group, COMMAND_GROUP_GENERIC);
        else if (strcmp(group_names[info->group], group) != 0)
            fail_msg("%s: group %s, the server says %s", name, group_names[info->group], group);
        count++;
    }
    assert_true(count > 350);
    freeReplyObject(reply);
    size_t entries;
    const struct command_info *table = command_table(&entries);
    for (size_t i = 0; i < entries; i++) {
        size_t head = strcspn(table[i].name, " ");
        const struct command_info *container = command_find((const uint8_t *)table[i].name, head);
        assert_non_null(container);
        assert_int_equal(table[i].group, container->group);
    }
}

/* ---- the same commands to the server's COMMAND GETKEYS and to ours ---- */

static redisReply *ask_server(redisContext *context, const struct command_words *words)
{
    const char *argv[COMMAND_WORDS_MAX + 2] = {"COMMAND", "GETKEYS"};
    size_t sizes[COMMAND_WORDS_MAX + 2] = {7, 7};
    for (uint32_t i = 0; i < words->command.argc; i++) {
        argv[i + 2] = (const char *)words->bytes + words->argv[i].pos;
        sizes[i + 2] = words->argv[i].size;
    }
    redisReply *reply = redisCommandArgv(context, (int)words->command.argc + 2, argv, sizes);
    assert_non_null(reply);
    return reply;
}

static void describe(const struct command_words *words, char *text, size_t capacity)
{
    size_t at = 0;
    for (uint32_t i = 0; i < words->command.argc && at < capacity; i++)
        at += (size_t)snprintf(text + at,
                               capacity - at,
                               "%.*s ",
                               (int)words->argv[i].size,
                               (const char *)words->bytes + words->argv[i].pos);
}

/* Compares the keys by their text; every argument is another, so that equal texts are equal
 * positions. True when the server accepted the command. */
static bool compare(redisContext *context, const struct command_words *words, struct key_list *list)
{
    char text[1024];
    struct syn_err err = {0};
    const struct command_info *info = command_words_find(words);
    redisReply *reply = ask_server(context, words);
    bool is_ok = command_keys(info, words->bytes, &words->command, list, &err);
    describe(words, text, sizeof(text));
    if (reply->type == REDIS_REPLY_ERROR || (!is_ok && reply->elements == 0)) {
        /* Refused there (a number of keys beyond the arguments is answered with no keys), so no
         * such command can be in a stream: ours may do either. */
        freeReplyObject(reply);
        return false;
    }
    if (!is_ok)
        fail_msg("%s: %s", text, err.msg);
    for (size_t i = 0; i < reply->elements; i++) {
        const redisReply *key = reply->element[i];
        bool is_found = false;
        for (uint32_t n = 0; n < list->count; n++) {
            const struct resp_arg *arg = &words->argv[list->positions[n]];
            is_found |=
                arg->size == key->len && memcmp(words->bytes + arg->pos, key->str, key->len) == 0;
        }
        if (!is_found)
            fail_msg("%s: the server has the key %s", text, key->str);
    }
    if (reply->elements != list->count)
        fail_msg("%s: %zu keys at the server, %u here", text, reply->elements, list->count);
    freeReplyObject(reply);
    return true;
}

/* A command of this name with `argc` arguments, numbers and keywords where its specs want them. */
static void build(struct command_words *words,
                  const struct command_info *info,
                  uint32_t argc,
                  struct random *random)
{
    char text[32];
    command_words_begin(words);
    const char *space = strchr(info->name, ' ');
    size_t head = space != NULL ? (size_t)(space - info->name) : info->name_size;
    command_words_add(words, info->name, head);
    if (space != NULL)
        command_words_add(words, space + 1, info->name_size - head - 1);
    uint32_t keyword_at = 4 + random_below(random, 3);
    for (uint32_t i = words->command.argc; i < argc; i++) {
        snprintf(text, sizeof(text), "a%u", i);
        for (uint32_t n = 0; n < info->spec_count; n++) {
            const struct key_spec *spec = &info->specs[n];
            if (spec->search == KEY_AFTER_KEYWORD && i == keyword_at)
                snprintf(text, sizeof(text), "%s", spec->keyword);
            else if (spec->find == KEY_COUNTED && spec->search == KEY_AT_INDEX &&
                     i == (uint32_t)(spec->index + spec->count_index))
                snprintf(text, sizeof(text), "%u", 1 + random_below(random, 4));
        }
        command_words_add(words, text, strlen(text));
    }
}

/* Every command with keys, in many lengths: wherever the server finds keys, ours must be the same
 * ones. */
static void test_getkeys_of_every_command(void **state)
{
    redisContext *context = *state;
    struct random random = {20240501};
    struct key_list list;
    struct syn_err err = {0};
    size_t count;
    uint32_t accepted = 0;
    const struct command_info *table = command_table(&count);
    assert_true(key_list_init(&list, &err));
    for (size_t i = 0; i < count; i++) {
        const struct command_info *info = &table[i];
        bool is_container = strchr(info->name, ' ') == NULL && info->spec_count == 1 &&
                            !info->is_key_first && info->specs[0].index == 2 &&
                            info->specs[0].find == KEY_RANGE && info->arity == -2;
        if (info->spec_count == 0 || is_container)
            continue; /* a container's words are tried with its subcommands' entries */
        uint32_t least = (uint32_t)(info->arity < 0 ? -info->arity : info->arity);
        for (uint32_t argc = least; argc < least + (info->arity < 0 ? 8 : 1); argc++) {
            struct command_words words;
            /* GETKEYS answers for a key without a value; the command itself is refused. */
            if (info->class == COMMAND_SPLIT_PAIRS && argc % 2 == 0)
                continue;
            build(&words, info, argc, &random);
            accepted += compare(context, &words, &list);
        }
    }
    key_list_deinit(&list);
    assert_true(accepted > 500);
}

static void test_getkeys_of_written_commands(void **state)
{
    /* The hand-written searches, against the server's own for the same commands. */
    static const char *const commands[] = {
        "SORT k",
        "SORT k STORE d",
        "SORT k BY w_* GET g_* LIMIT 0 10 STORE d",
        "SORT k BY STORE GET get STORE d",
        "SORT k LIMIT store 1 ALPHA STORE d",
        "SORT k STORE a STORE b",
        "GEORADIUS k 1 2 3 m STORE d",
        "GEORADIUS k 1 2 3 m COUNT 1 STOREDIST d",
        "GEORADIUS k 1 2 3 m STORE a STOREDIST b",
        "GEORADIUSBYMEMBER k m 3 km STOREDIST d",
        "MIGRATE h 1 k 0 100",
        "MIGRATE h 1  0 100 KEYS a b c",
        "MIGRATE h 1  0 100 COPY REPLACE AUTH p KEYS a b",
        "MIGRATE h 1  0 100 AUTH keys KEYS a b",
        "MIGRATE h 1  0 100 AUTH2 keys keys KEYS a",
        "XREADGROUP GROUP g c STREAMS a b c 1 2 3",
        "XREADGROUP GROUP g c COUNT 2 BLOCK 5 NOACK STREAMS a >",
        "XREAD STREAMS a b 1 2",
        "ZUNIONSTORE d 3 a b c WEIGHTS 1 2 3 AGGREGATE MAX",
        "EVAL script 2 a b c d",
        "EVALSHA script 1 a b",
        "FCALL f 3 a b c",
        "BITOP NOT d s",
        "MSET a 1 b 2 c 3",
        "BLMPOP 0 2 a b LEFT COUNT 3",
        "XGROUP CREATE k g $ MKSTREAM",
        "OBJECT ENCODING k",
        "MEMORY USAGE k",
    };
    redisContext *context = *state;
    struct key_list list;
    struct syn_err err = {0};
    assert_true(key_list_init(&list, &err));
    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
        struct command_words words;
        command_words_split(&words, commands[i]);
        if (!compare(context, &words, &list))
            fail_msg("the server refuses %s", commands[i]);
    }
    key_list_deinit(&list);
}

static struct test_server server;

static int start(void **state)
{
    test_server_start(&server, TEST_REQUIRED_VERSION, NULL);
    *state = test_connect(server.port);
    return 0;
}

static int stop(void **state)
{
    redisFree(*state);
    test_server_stop(&server);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_table_agrees_with_the_server),
        cmocka_unit_test(test_groups_agree_with_the_server),
        cmocka_unit_test(test_getkeys_of_every_command),
        cmocka_unit_test(test_getkeys_of_written_commands),
    };
    return cmocka_run_group_tests(tests, start, stop);
}
