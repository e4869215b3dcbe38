/* What rules make of every kind of command, seen as text. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "apply/select_plan.h"
#include "tests/apply/select_lines.h"
#include "tests/support/random.h"

#define WORDS_MAX 64

static struct select rules;
static struct key_list keys;
static struct resp_cutter cutter;
static struct select_output output;
static uint8_t buffer[1 << 16];

#define RULES(...) select_lines(&rules, (const char *const[]){__VA_ARGS__, NULL})

/* A command's bytes from words; "" between two spaces is an empty one. */
static size_t encode(const char *text, uint8_t *out)
{
    const char *words[WORDS_MAX];
    size_t sizes[WORDS_MAX];
    uint32_t count = 0;
    for (;;) {
        size_t size = strcspn(text, " ");
        words[count] = text;
        sizes[count++] = size;
        if (text[size] == '\0') {
            break;
        }
        text += size + 1;
    }
    uint8_t *end = resp_put_head(out, '*', count);
    for (uint32_t i = 0; i < count; i++) {
        end = resp_put_bulk(end, words[i], sizes[i]);
    }
    return (size_t)(end - out);
}

static void cut(const uint8_t *bytes, size_t size, struct resp_command *command)
{
    size_t wanted;
    struct syn_err err;
    if (resp_cut(&cutter, bytes, size, &wanted, command, &err) != RESP_READY) {
        fail_msg("%s", err.msg);
    }
    assert_int_equal(command->size, size);
}

/* The words of what was written, scripts cut short. Its arguments must be those that a cutter
 * finds in its bytes. */
static void words_of(const struct resp_command *written, char *text)
{
    static struct resp_arg found[WORDS_MAX];
    memcpy(found, written->argv, written->argc * sizeof(*found));
    struct resp_command again;
    cut(output.bytes, written->size, &again);
    assert_int_equal(again.argc, written->argc);
    assert_memory_equal(again.argv, found, written->argc * sizeof(*found));
    size_t at = 0;
    for (uint32_t i = 0; i < written->argc; i++) {
        bool is_script =
            i == 1 && found[0].size == 4 && memcmp(output.bytes + found[0].pos, "EVAL", 4) == 0;
        at += (size_t)snprintf(text + at,
                               4096 - at,
                               " %.*s",
                               is_script ? 6 : (int)found[i].size,
                               is_script ? "SCRIPT" : (char *)output.bytes + found[i].pos);
        assert_true(at < 4096);
    }
}

/* The plan for a command and what is written, as text. */
static const char *plan_of(const char *words)
{
    static const char *const actions[] = {
        "forward", "renamed", "reduced", "replaced", "dropped", "partial", "claimed", "unscoped"};
    static const char *const reasons[] = {"key", "type", "command", "script", "pattern", "rename"};
    static char text[8192];
    static uint8_t bytes[1 << 16];
    char shown[SELECT_RULE_TEXT_MAX];
    struct resp_command command;
    struct resp_arg argv[WORDS_MAX];
    struct select_plan plan;
    struct resp_command written;
    struct syn_err err;
    cut(bytes, encode(words, bytes), &command);
    memcpy(argv, command.argv, command.argc * sizeof(*argv));
    command.argv = argv;
    const struct command_info *info =
        command_find(bytes + command.argv[0].pos, command.argv[0].size);
    assert_non_null(info);
    if (!select_plan(&rules, info, bytes, &command, &keys, &plan, &err)) {
        assert_int_equal(err.code, SYN_CODE_SOURCE_DATA);
        snprintf(text, sizeof(text), "error");
        return text;
    }
    int at = snprintf(text, sizeof(text), "%s", actions[plan.action]);
    if (plan.is_del_before) {
        output.bytes = buffer;
        output.capacity = select_output_bytes(&rules, info, &command);
        assert_true(select_write_del(&rules, 2, bytes, &command, &output, &written, &err));
        at += snprintf(text + at, sizeof(text) - (size_t)at, " after");
        words_of(&written, text + at);
        at = (int)strlen(text);
    }
    if (plan.action == SELECT_FORWARD) {
        return text;
    }
    if (plan.action <= SELECT_REPLACED) {
        output.bytes = buffer;
        output.capacity = select_output_bytes(&rules, info, &command);
        assert_true(output.capacity <= select_output_bytes(&rules, NULL, &command));
        assert_true(select_write(&rules, &plan, bytes, &command, &keys, &output, &written, &err));
        snprintf(text + at, sizeof(text) - (size_t)at, ":");
        words_of(&written, text + at + 1);
        return text;
    }
    if (plan.action == SELECT_PARTIAL) {
        at += snprintf(text + at, sizeof(text) - (size_t)at, " at %u", plan.target);
    }
    if (plan.action != SELECT_UNSCOPED) {
        snprintf(text + at,
                 sizeof(text) - (size_t)at,
                 " by %s: %s",
                 reasons[plan.reason],
                 select_rule_text(&rules, plan.rule, shown));
    }
    return text;
}

static void check(int line, const char *words, const char *expected)
{
    const char *plan = plan_of(words);
    if (strcmp(plan, expected) != 0) {
        fail_msg("line %d: %s\n  is       \"%s\"\n  expected \"%s\"", line, words, plan, expected);
    }
}
#define PLAN(words, expected) check(__LINE__, words, expected)

#define BY_KEY "dropped by key: exclude_prefix[0]"

/* No rule for keys: commands alone are looked at, and keys are not searched for. */
static void test_commands_only(void **state)
{
    (void)state;
    RULES("exclude_command flushall", "exclude_command @scripting");
    PLAN("SET a 1", "forward");
    PLAN("SET", "forward"); /* its shape is for others to judge */
    PLAN("FLUSHALL", "dropped by command: exclude_command[0]");
    PLAN("FLUSHDB", "forward");
    PLAN("EVAL return 0", "dropped by command: exclude_command[1]");
    PLAN("FUNCTION FLUSH", "dropped by command: exclude_command[1]");
    RULES("include_command @string");
    PLAN("APPEND a 1", "forward");
    PLAN("DEL a", "dropped by command: no include rule names it");
}

static void test_single_keys(void **state)
{
    (void)state;
    RULES("rename_prefix strip:=", "exclude_prefix x");
    PLAN("set strip:1 v", "renamed: set 1 v");
    PLAN("set strip: v", "renamed: set  v");
    PLAN("APPEND strip:x1 v", "renamed: APPEND x1 v"); /* rules look at the old name */
    RULES("exclude_prefix x", "rename_prefix old:=new:longer:");
    PLAN("SET a 1", "forward");
    PLAN("SET x1 1", BY_KEY);
    PLAN("SET old:1 v", "renamed: SET new:longer:1 v");
    PLAN("HSET old:1 f v g w", "renamed: HSET new:longer:1 f v g w");
    PLAN("RPUSH old:1 old:1 old:2", "renamed: RPUSH new:longer:1 old:1 old:2"); /* not values */
    PLAN("EXPIRE old:1 10", "renamed: EXPIRE new:longer:1 10");
    PLAN("PERSIST x1", BY_KEY);
    PLAN("XADD old:s 1-1 f v", "renamed: XADD new:longer:s 1-1 f v");
    PLAN("XADD old:s MAXLEN = 5 LIMIT 100 1-1 f v",
         "renamed: XADD new:longer:s MAXLEN = 5 LIMIT 100 1-1 f v");
    PLAN("XGROUP CREATE old:s g $", "renamed: XGROUP CREATE new:longer:s g $");
    PLAN("XGROUP CREATE x g $", BY_KEY);
    PLAN("XCLAIM old:s g c 0 1-0 FORCE", "renamed: XCLAIM new:longer:s g c 0 1-0 FORCE");
    PLAN("RESTORE old:1 0 payload REPLACE", "renamed: RESTORE new:longer:1 0 payload REPLACE");
    PLAN("RESTORE-ASKING x1 0 payload", BY_KEY);
    PLAN("MOVE old:1 3", "renamed: MOVE new:longer:1 3");
    PLAN("MOVE x1 3", BY_KEY);
    PLAN("GEOADD old:g 1 2 m", "renamed: GEOADD new:longer:g 1 2 m");
    PLAN("VADD old:v VALUES 1 2 e", "renamed: VADD new:longer:v VALUES 1 2 e");
    PLAN("SORT old:1", "renamed: SORT new:longer:1");
    PLAN("SORT x", BY_KEY);
    PLAN("SET", "error");
    /* Nothing of theirs is applied, or they have no keys. */
    PLAN("GET x1", "forward");
    PLAN("TOUCH x1 a", "forward");
    PLAN("PUBLISH x1 m", "forward");
    PLAN("PING", "forward");
    PLAN("FUNCTION LOAD x", "forward");
    PLAN("SCRIPT LOAD x", "forward");
}

static void test_keys_for_themselves(void **state)
{
    (void)state;
    RULES("exclude_prefix x", "rename_prefix old:=n:");
    PLAN("DEL a", "forward");
    PLAN("DEL a b", "forward");
    PLAN("DEL x1", BY_KEY);
    PLAN("DEL x1 x2", BY_KEY);
    PLAN("DEL a x1 old:b x2", "reduced: DEL a n:b");
    PLAN("UNLINK x1 old:b", "reduced: UNLINK n:b");
    PLAN("unlink old:a old:b c", "renamed: unlink n:a n:b c");
    PLAN("MSET a 1 b 2", "forward");
    PLAN("MSET x 1 a 2 x 3 old:b 4", "reduced: MSET a 2 n:b 4");
    PLAN("MSET x 1", BY_KEY);
    PLAN("MSETNX a 1 x 2", "reduced: MSETNX a 1");
    PLAN("MSET a 1 old:b x", "renamed: MSET a 1 n:b x");
    PLAN("MSET a 1 b", "error");
    PLAN("MSETEX 2 a 1 x 2 PXAT 123", "reduced: MSETEX 1 a 1 PXAT 123");
    PLAN("MSETEX 3 x 1 old:a 2 b 3 KEEPTTL", "reduced: MSETEX 2 n:a 2 b 3 KEEPTTL");
    PLAN("MSETEX 2 a 1 old:b 2", "renamed: MSETEX 2 a 1 n:b 2");
    PLAN("MSETEX 2 x 1 x 2", BY_KEY);
    PLAN("MSETEX 3 a 1 b 2", "error");
}

/* Of two keys that depend on each other one is selected. */
static void test_two_keys(void **state)
{
    (void)state;
    RULES("exclude_prefix x", "rename_prefix old:=n:");
    PLAN("RENAME a b", "forward");
    PLAN("RENAME a x", "replaced: DEL a");
    PLAN("RENAME old:a x", "replaced: DEL n:a");
    PLAN("RENAME x a", "partial at 2 by key: exclude_prefix[0]");
    PLAN("RENAME x1 x2", BY_KEY);
    PLAN("RENAME old:a b", "renamed: RENAME n:a b");
    PLAN("RENAMENX a old:b", "renamed: RENAMENX a n:b");
    PLAN("RENAMENX old:a x", "replaced: DEL n:a");
    PLAN("RENAMENX x a", "partial at 2 by key: exclude_prefix[0]");
    PLAN("RENAME a a", "forward");
    PLAN("COPY a old:b REPLACE", "renamed: COPY a n:b REPLACE");
    PLAN("COPY old:a b DB 3", "renamed: COPY n:a b DB 3");
    PLAN("COPY a x", BY_KEY);
    PLAN("COPY x a", "partial at 2 by key: exclude_prefix[0]");
    PLAN("COPY x1 x2 DB 1", BY_KEY);
    PLAN("SMOVE a b m", "forward");
    PLAN("SMOVE old:a x m", "replaced: SREM n:a m");
    PLAN("SMOVE x old:b m", "replaced: SADD n:b m");
    PLAN("SMOVE x y m", "replaced: SADD y m");
    PLAN("SMOVE x1 x2 m", BY_KEY);
    PLAN("LMOVE a b LEFT RIGHT", "forward");
    PLAN("LMOVE a x LEFT RIGHT", "replaced: LPOP a");
    PLAN("LMOVE old:a x right left", "replaced: RPOP n:a");
    PLAN("LMOVE a x left right", "replaced: LPOP a");
    PLAN("LMOVE x a LEFT RIGHT", "partial at 2 by key: exclude_prefix[0]");
    PLAN("BLMOVE a x LEFT RIGHT 0", "replaced: LPOP a");
    PLAN("RPOPLPUSH a x", "replaced: RPOP a");
    PLAN("RPOPLPUSH x a", "partial at 2 by key: exclude_prefix[0]");
    PLAN("RPOPLPUSH a a", "forward");
    PLAN("RPOPLPUSH old:a old:a", "renamed: RPOPLPUSH n:a n:a");
    PLAN("BRPOPLPUSH a x 1", "replaced: RPOP a");
    PLAN("BRPOPLPUSH x1 x2 1", BY_KEY);
}

static void test_computed_keys(void **state)
{
    (void)state;
    RULES("exclude_prefix x", "rename_prefix old:=n:");
    static const char *const names[] = {"SINTERSTORE", "SUNIONSTORE", "SDIFFSTORE", "PFMERGE"};
    for (size_t i = 0; i < 4; i++) {
        char words[128];
        char expected[128];
        snprintf(words, sizeof(words), "%s d a b", names[i]);
        PLAN(words, "forward");
        snprintf(words, sizeof(words), "%s x a b", names[i]);
        PLAN(words, BY_KEY);
        snprintf(words, sizeof(words), "%s d a x", names[i]);
        PLAN(words, "partial at 1 by key: exclude_prefix[0]");
        snprintf(words, sizeof(words), "%s old:d old:a b", names[i]);
        snprintf(expected, sizeof(expected), "renamed: %s n:d n:a b", names[i]);
        PLAN(words, expected);
    }
    PLAN("PFMERGE d", "forward");
    PLAN("BITOP AND d a b", "forward");
    PLAN("BITOP AND x a b", BY_KEY);
    PLAN("BITOP NOT d x", "partial at 2 by key: exclude_prefix[0]");
    PLAN("BITOP NOT old:d old:a", "renamed: BITOP NOT n:d n:a");
    PLAN("ZUNIONSTORE d 2 a b WEIGHTS 1 2", "forward");
    PLAN("ZUNIONSTORE x 2 a b", BY_KEY);
    PLAN("ZINTERSTORE d 2 a x", "partial at 1 by key: exclude_prefix[0]");
    PLAN("ZDIFFSTORE old:d 2 old:a b", "renamed: ZDIFFSTORE n:d 2 n:a b");
    PLAN("ZRANGESTORE d a 0 3", "forward");
    PLAN("ZRANGESTORE x a 0 3", BY_KEY);
    PLAN("ZRANGESTORE d x 0 3", "partial at 1 by key: exclude_prefix[0]");
    PLAN("GEOSEARCHSTORE d x FROMMEMBER m BYRADIUS 1 m", "partial at 1 by key: exclude_prefix[0]");
    PLAN("GEORADIUS a 1 2 3 m STORE d", "forward");
    PLAN("GEORADIUS a 1 2 3 m STORE x", BY_KEY);
    PLAN("GEORADIUS x 1 2 3 m STOREDIST d", "partial at 7 by key: exclude_prefix[0]");
    PLAN("GEORADIUSBYMEMBER old:a m 3 km STORE old:d",
         "renamed: GEORADIUSBYMEMBER n:a m 3 km STORE n:d");
    PLAN("SORT a STORE d", "forward");
    PLAN("SORT a STORE x", BY_KEY);
    PLAN("SORT x STORE d", "partial at 3 by key: exclude_prefix[0]");
    PLAN("SORT old:a LIMIT 0 5 ALPHA STORE old:d", "renamed: SORT n:a LIMIT 0 5 ALPHA STORE n:d");
    PLAN("SORT a BY nosort GET # STORE d", "forward");
    PLAN("SORT a BY w_* STORE d", "partial at 5 by pattern: no rule");
    PLAN("SORT a BY nosort GET o_*->f STORE d", "partial at 7 by pattern: no rule");
    PLAN("SORT a BY w_* STORE x", BY_KEY);
    PLAN("SORT a LIMIT BY w_* STORE d", "forward"); /* operands of LIMIT */
}

static void test_scripts_and_others(void **state)
{
    (void)state;
    RULES("exclude_prefix x", "rename_prefix old:=n:");
    PLAN("EVAL s 1 a arg", "forward");
    PLAN("EVAL s 2 old:a b old:arg", "renamed: EVAL SCRIPT 2 n:a b old:arg");
    PLAN("EVALSHA s 1 x", BY_KEY);
    PLAN("EVALSHA s 2 a x", "partial at 0 by key: exclude_prefix[0]");
    PLAN("FCALL f 0 arg", "partial at 0 by script: no rule");
    PLAN("EVAL s 3 a b", "error");
    /* Commands with several keys of which nothing more is known, and that no source sends. */
    PLAN("BLPOP a b 1", "forward");
    PLAN("BLPOP a x 1", "partial at 0 by key: exclude_prefix[0]");
    PLAN("LMPOP 2 old:a b LEFT", "renamed: LMPOP 2 n:a b LEFT");
    PLAN("XREADGROUP GROUP g c STREAMS a x > >", "partial at 0 by key: exclude_prefix[0]");
    PLAN("XREADGROUP GROUP g c STREAMS old:a b > >",
         "renamed: XREADGROUP GROUP g c STREAMS n:a b > >");
    PLAN("PFCOUNT a x", "partial at 0 by key: exclude_prefix[0]");
    PLAN("FLUSHALL", "unscoped");
    PLAN("FLUSHDB ASYNC", "unscoped");
    PLAN("SWAPDB 0 1", "unscoped");
}

/* A key that keeps a name which a renamed one could take: in every place where one can stand. */
static void test_claimed(void **state)
{
    (void)state;
    RULES("rename_prefix old:=new:");
    PLAN("SET new:1 v", "claimed by rename: rename_prefix[0]");
    PLAN("SET new 1", "forward");
    PLAN("DEL a new:1 old:1", "claimed by rename: rename_prefix[0]");
    PLAN("RENAME old:1 new:1", "claimed by rename: rename_prefix[0]");
    PLAN("SUNIONSTORE new:d a", "claimed by rename: rename_prefix[0]");
    PLAN("EVAL s 1 new:1", "claimed by rename: rename_prefix[0]");
    RULES("rename_prefix old:=new:", "exclude_prefix new:");
    PLAN("DEL a new:1 old:1", "reduced: DEL a new:1"); /* old:1 as it is called there */
    PLAN("SET new:1 v", BY_KEY);
}

/* Types: what is written decides. Generic commands go on, and are nothing to keys that are not
 * there; what may replace a value of another type removes it. */
static void test_types(void **state)
{
    (void)state;
    RULES("exclude_type hash", "exclude_type string");
    PLAN("HSET h f v", "dropped by type: exclude_type[0]");
    PLAN("HDEL h f", "dropped by type: exclude_type[0]");
    PLAN("INCR a", "dropped by type: exclude_type[1]");
    PLAN("SETBIT a 1 1", "dropped by type: exclude_type[1]");
    PLAN("PFADD a m", "dropped by type: exclude_type[1]");
    PLAN("SET a 1", "replaced: DEL a");
    PLAN("SETEX a 10 1", "replaced: DEL a");
    PLAN("SETNX a 1", "dropped by type: exclude_type[1]");
    PLAN("MSET a 1 b 2", "replaced: DEL a b");
    PLAN("MSETNX a 1 b 2", "dropped by type: exclude_type[1]");
    PLAN("MSETEX 2 a 1 b 2 EX 5", "replaced: DEL a b");
    PLAN("BITOP AND d a b", "replaced: DEL d");
    PLAN("PFMERGE d a", "dropped by type: exclude_type[1]");
    PLAN("LPUSH l a", "forward");
    PLAN("ZADD z 1 m", "forward");
    PLAN("GEOADD g 1 2 m", "forward");
    PLAN("XADD s 1-1 f v", "forward");
    PLAN("SUNIONSTORE d a b", "forward");
    PLAN("ZUNIONSTORE d 2 a b", "forward");
    PLAN("SORT l STORE d", "forward");
    PLAN("DEL a", "forward");
    PLAN("UNLINK a b", "forward");
    PLAN("EXPIRE a 10", "forward");
    PLAN("PEXPIREAT a 10", "forward");
    PLAN("PERSIST a", "forward");
    PLAN("MOVE a 3", "forward");
    PLAN("RENAME a b", "replaced: EVAL SCRIPT 2 a b");
    PLAN("RENAMENX a b", "replaced: EVAL SCRIPT 2 a b");
    PLAN("COPY a b REPLACE", "forward after DEL b");
    PLAN("EVAL s 1 a", "partial at 0 by script: exclude_type[1]");
    PLAN("EVAL s 0", "partial at 0 by script: no rule");
    PLAN("VADD v VALUES 1 2 e", "forward");
    PLAN("FLUSHALL", "unscoped");

    RULES("exclude_type set");
    PLAN("ZUNIONSTORE d 2 a b", "partial at 1 by type: exclude_type[0]");
    PLAN("ZRANGESTORE d a 0 1", "forward");
    PLAN("SORT a STORE d", "partial at 3 by type: exclude_type[0]");
    PLAN("SORT a", "forward");
    PLAN("SMOVE a b m", "dropped by type: exclude_type[0]");
    PLAN("SUNIONSTORE d a b", "replaced: DEL d");
    PLAN("SADD a m", "dropped by type: exclude_type[0]");
    PLAN("GEORADIUS a 1 2 3 m STORE d", "forward");

    RULES("include_type list");
    PLAN("LMOVE a b LEFT LEFT", "forward");
    PLAN("SORT a STORE d", "partial at 3 by type: no include rule names it");
    PLAN("ZUNIONSTORE d 2 a b", "replaced: DEL d");
    PLAN("GEORADIUS a 1 2 3 m STORE d", "replaced: DEL d");
    PLAN("GEORADIUS a 1 2 3 m STOREDIST d", "replaced: DEL d");
    PLAN("SET a 1", "replaced: DEL a");
    PLAN("VADD v VALUES 1 2 e", "dropped by type: no include rule names it");

    RULES("exclude_type list");
    PLAN("SORT a STORE d", "replaced: DEL d");
    PLAN("RPOPLPUSH a b", "dropped by type: exclude_type[0]");
    PLAN("LPUSH a b", "dropped by type: exclude_type[0]");
    PLAN("BLPOP a b 0", "dropped by type: exclude_type[0]");
}

/* Types with keys and renames. */
static void test_types_and_keys(void **state)
{
    (void)state;
    RULES("exclude_type string", "exclude_prefix x", "rename_prefix old:=n:");
    PLAN("SET x1 1", BY_KEY);
    PLAN("SET old:1 1", "replaced: DEL n:1");
    PLAN("MSET a 1 x 2 old:b 3", "replaced: DEL a n:b");
    PLAN("RENAME old:a b", "replaced: EVAL SCRIPT 2 n:a b");
    PLAN("RENAME old:a x", "replaced: DEL n:a");
    PLAN("RENAME x a", "partial at 2 by key: exclude_prefix[0]");
    PLAN("COPY old:a old:b", "renamed after DEL n:b: COPY n:a n:b");
    PLAN("COPY a x", BY_KEY);
    PLAN("BITOP AND old:d x a", "replaced: DEL n:d"); /* whatever its operands are */
    PLAN("BITOP AND x a a", BY_KEY);
}

/* A RESTORE tells its type by the first byte of the payload. */
static void test_restored_types(void **state)
{
    (void)state;
    static const struct {
        uint8_t type;
        const char *plan;
    } cases[] = {
        {RDB_TYPE_STRING, "forward"},
        {RDB_TYPE_LIST_QUICKLIST_2, "forward"},
        {RDB_TYPE_HASH, "replaced: DEL a"},
        {RDB_TYPE_HASH_ZIPMAP, "replaced: DEL a"},
        {RDB_TYPE_HASH_LISTPACK, "replaced: DEL a"},
        {RDB_TYPE_HASH_METADATA_PRE_GA, "replaced: DEL a"},
        {RDB_TYPE_HASH_LISTPACK_EX, "replaced: DEL a"},
        {RDB_TYPE_MODULE_2, "replaced: DEL a"},
        {RDB_TYPE_STREAM_LISTPACKS_3, "forward"},
    };
    RULES("exclude_type hash", "exclude_type module");
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        uint8_t bytes[128];
        uint8_t payload[] = {cases[i].type, 'x'};
        uint8_t *end = resp_put_head(bytes, '*', 5);
        end = resp_put_bulk(end, "RESTORE", 7);
        end = resp_put_bulk(end, "a", 1);
        end = resp_put_bulk(end, "0", 1);
        end = resp_put_bulk(end, payload, 2);
        end = resp_put_bulk(end, "REPLACE", 7);
        struct resp_command command;
        struct select_plan plan;
        struct syn_err err;
        cut(bytes, (size_t)(end - bytes), &command);
        const struct command_info *info = command_find((const uint8_t *)"RESTORE", 7);
        assert_true(select_plan(&rules, info, bytes, &command, &keys, &plan, &err));
        bool is_kept = strcmp(cases[i].plan, "forward") == 0;
        assert_int_equal(plan.action, is_kept ? SELECT_FORWARD : SELECT_REPLACED);
        assert_int_equal(plan.form, is_kept ? SELECT_SAME : SELECT_DEL);
    }
    PLAN("RESTORE a 0 ", "forward"); /* no type at all: the destination will say what it thinks */
}

/* Every command of the table, with every number of arguments, under every kind of rule: a plan is
 * found, fits the room that is foreseen for it, and leaves no key that is not selected. */
static void test_every_command(void **state)
{
    (void)state;
    static const char *const sets[][4] = {
        {"exclude_prefix x"},
        {"include_suffix 1", "exclude_key *2"},
        {"rename_prefix k=a:much:longer:name:than:before:", "exclude_prefix a"},
        {"exclude_type string", "exclude_type zset", "rename_prefix k=l"},
        {"include_type hash", "exclude_prefix x", "rename_prefix k="},
    };
    struct random random = {991};
    size_t count;
    const struct command_info *table = command_table(&count);
    uint32_t planned = 0;
    for (size_t set = 0; set < sizeof(sets) / sizeof(sets[0]); set++) {
        const char *lines[5] = {sets[set][0], sets[set][1], sets[set][2], sets[set][3]};
        select_lines(&rules, lines);
        for (size_t i = 0; i < count; i++) {
            for (uint32_t argc = 1; argc < 12; argc++) {
                char words[512];
                int at = snprintf(words, sizeof(words), "%s", table[i].name);
                for (uint32_t n = 1; n < argc; n++) {
                    static const char *const pieces[] = {
                        "k1", "k2", "x1", "x2", "2", "3", "STORE", "k", "", "LEFT", "KEYS"};
                    at += snprintf(words + at,
                                   sizeof(words) - (size_t)at,
                                   " %s",
                                   pieces[random_below(&random, 11)]);
                }
                const char *space = strchr(words, ' ');
                size_t head = space != NULL ? (size_t)(space - words) : strlen(words);
                if (command_find((const uint8_t *)words, head) == NULL) {
                    continue;
                }
                planned += strcmp(plan_of(words), "error") != 0;
            }
        }
    }
    assert_true(planned > 5000);
}

static int setup(void **state)
{
    struct syn_err err;
    (void)state;
    return key_list_init(&keys, &err) && resp_cutter_init(&cutter, 4096, 1 << 20, &err) ? 0 : 1;
}

static int teardown(void **state)
{
    (void)state;
    key_list_deinit(&keys);
    resp_cutter_deinit(&cutter);
    select_output_deinit(&output);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_commands_only),
        cmocka_unit_test(test_single_keys),
        cmocka_unit_test(test_keys_for_themselves),
        cmocka_unit_test(test_two_keys),
        cmocka_unit_test(test_computed_keys),
        cmocka_unit_test(test_scripts_and_others),
        cmocka_unit_test(test_claimed),
        cmocka_unit_test(test_types),
        cmocka_unit_test(test_types_and_keys),
        cmocka_unit_test(test_restored_types),
        cmocka_unit_test(test_every_command),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
