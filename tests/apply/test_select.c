#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "apply/glob.h"
#include "apply/select.h"
#include "tests/apply/select_naive.h"
#include "tests/support/random.h"

/* ---- help ---- */

static struct select rules; /* large: not for a stack */
static struct syn_err err;

static void rules_begin(void)
{
    select_init(&rules);
    err = (struct syn_err){.code = SYN_CODE_OK};
}

static void rule(enum select_list list, const char *text)
{
    if (!select_add(&rules, list, text, &err)) {
        fail_msg("%s: %s", text, err.msg);
    }
}

static void rules_end(void)
{
    if (!select_finish(&rules, &err)) {
        fail_msg("%s", err.msg);
    }
}

static void expect_refused(bool is_ok, const char *const *texts)
{
    assert_false(is_ok);
    assert_int_equal(err.code, SYN_CODE_CONFIG);
    for (; *texts != NULL; texts++) {
        if (strstr(err.msg, *texts) == NULL) {
            fail_msg("\"%s\" is not in \"%s\"", *texts, err.msg);
        }
    }
}
#define REFUSED(call, ...) expect_refused(call, (const char *const[]){__VA_ARGS__, NULL})

static bool is_kept(const char *key)
{
    uint16_t ignored;
    return select_key(&rules, (const uint8_t *)key, strlen(key), &ignored);
}

/* The rule that decides about the key. */
static void expect_rule(const char *key, bool kept, const char *text)
{
    uint16_t number;
    char shown[SELECT_RULE_TEXT_MAX];
    assert_int_equal(select_key(&rules, (const uint8_t *)key, strlen(key), &number), kept);
    assert_string_equal(select_rule_text(&rules, number, shown), text);
}

static void expect_name(const char *key, const char *expected)
{
    struct select_name name = {0};
    bool is_selected;
    struct slice slice = {(const uint8_t *)key, strlen(key)};
    assert_true(select_to_destination(&rules, slice, &name, &is_selected, &err));
    assert_int_equal(is_selected, expected != NULL);
    if (expected != NULL) {
        assert_int_equal(name.size, strlen(expected));
        assert_memory_equal(name.bytes, expected, name.size);
    }
    select_name_deinit(&name);
}

static void expect_source(const char *key, const char *expected)
{
    struct select_name name = {0};
    bool is_selected;
    struct slice slice = {(const uint8_t *)key, strlen(key)};
    assert_true(select_to_source(&rules, slice, &name, &is_selected, &err));
    assert_int_equal(is_selected, expected != NULL);
    if (expected != NULL) {
        assert_int_equal(name.size, strlen(expected));
        assert_memory_equal(name.bytes, expected, name.size);
    }
    select_name_deinit(&name);
}

static bool command_is_kept(const char *name)
{
    uint16_t ignored;
    const struct command_info *info = command_find((const uint8_t *)name, strlen(name));
    if (info == NULL) {
        return select_unknown(&rules, (const uint8_t *)name, strlen(name), &ignored);
    }
    return select_command(&rules, info, &ignored);
}

/* ---- globs ---- */

/* What Redis 7.0's stringmatchlen says, read from its source; test_select_live.c asks a server. */
static void test_glob(void **state)
{
    (void)state;
    static const struct {
        const char *pattern;
        const char *text;
        bool matches;
    } cases[] = {
        {"", "", true},
        {"", "a", false},
        {"a", "", false},
        {"*", "", true},
        {"**", "", false}, /* the servers look at no star of it */
        {"*", "a", true},
        {"**", "a", true},
        {"a*", "a", true},
        {"a**", "a", true},
        {"*a", "a", true},
        {"*a*", "a", true},
        {"*a*b", "ab", true},
        {"*a*b", "ba", false},
        {"*aab", "aaab", true},
        {"a*b*c", "aXbYbZc", true},
        {"a*b*c", "aXbYbZ", false},
        {"?", "", false},
        {"?", "a", true},
        {"?", "ab", false},
        {"*?", "a", true},
        {"*??", "a", false},
        {"[abc]", "b", true},
        {"[abc]", "d", false},
        {"[^abc]", "d", true},
        {"[^abc]", "a", false},
        {"[a-c]", "b", true},
        {"[c-a]", "b", true}, /* turned around */
        {"[a-c]", "d", false},
        {"[a-]", "-", false}, /* the range from a to ], turned around */
        {"[a-]", "^", true},
        {"[]", "a", false}, /* an empty class */
        {"[]a]", "a]", false},
        {"[^]", "a", true},
        {"[^]", "]", true},
        {"[", "a", false},
        {"[", "[", false},
        {"[^", "a", true},
        {"[a", "a", true}, /* ends with the pattern */
        {"x[a", "xa", true},
        {"x[ab", "xb", true},
        {"x[ab", "xab", false},
        {"[a-", "-", true}, /* too short for a range */
        {"[a-", "a", true},
        {"[\\]]", "]", true},
        {"[\\-a]", "-", true},
        {"[\\", "\\", true},
        {"[a\\-z]", "m", false},
        {"[a\\-z]", "-", true},
        {"\\*", "*", true},
        {"\\*", "a", false},
        {"\\a", "a", true},
        {"a\\", "a\\", true}, /* the last byte escapes nothing */
        {"\\\\", "\\", true},
        {"a\\*b", "a*b", true},
        {"a\\*b", "axb", false},
        {"\\[a]", "[a]", true},
        {"h[^e]llo", "hello", false},
        {"h[^e]llo", "hallo", true},
        {"user:[0-9][0-9]*", "user:42:name", true},
        {"user:[0-9][0-9]*", "user:4:name", false},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const uint8_t *pattern = (const uint8_t *)cases[i].pattern;
        bool matches = glob_match(pattern,
                                  strlen(cases[i].pattern),
                                  (const uint8_t *)cases[i].text,
                                  strlen(cases[i].text));
        if (matches != cases[i].matches) {
            fail_msg("%s against %s", cases[i].pattern, cases[i].text);
        }
    }
}

/* Bytes are bytes: zeros, and those above 127 in ranges. */
static void test_glob_bytes(void **state)
{
    (void)state;
    const uint8_t zero[] = {'a', 0, 'b'};
    assert_true(glob_match((const uint8_t *)"a?b", 3, zero, 3));
    assert_true(glob_match(zero, 3, zero, 3));
    const uint8_t range[] = {'[', 0x80, '-', 0xff, ']'};
    for (unsigned byte = 0; byte < 256; byte++) {
        const uint8_t text[] = {(uint8_t)byte};
        assert_int_equal(glob_match(range, sizeof(range), text, 1), byte >= 0x80);
    }
}

/* A pattern that makes naive matchers take for ever. */
static void test_glob_is_bounded(void **state)
{
    (void)state;
    uint8_t pattern[800];
    uint8_t text[20000];
    for (size_t i = 0; i < sizeof(pattern); i += 2) {
        pattern[i] = '*';
        pattern[i + 1] = 'a';
    }
    memset(text, 'a', sizeof(text));
    text[sizeof(text) - 1] = 'b';
    assert_false(glob_match(pattern, sizeof(pattern), text, sizeof(text)));
    text[sizeof(text) - 1] = 'a';
    assert_true(glob_match(pattern, sizeof(pattern), text, sizeof(text)));
}

/* ---- keys ---- */

static void test_keys(void **state)
{
    (void)state;
    rules_begin();
    assert_true(select_is_total(NULL));
    rules_end();
    assert_true(select_is_total(&rules));
    assert_false(rules.is_active);
    expect_rule("anything", true, "no rule");

    rules_begin();
    rule(SELECT_EXCLUDE_PREFIX, "tmp:");
    rule(SELECT_EXCLUDE_SUFFIX, ":lock");
    rule(SELECT_EXCLUDE_KEY, "s?ssion:*[0-4]");
    rules_end();
    assert_false(select_is_total(&rules));
    expect_rule("user:1", true, "no rule");
    expect_rule("tmp:", false, "exclude_prefix[0]");
    expect_rule("tmp", true, "no rule");
    expect_rule("tmp:x", false, "exclude_prefix[0]");
    expect_rule("a:lock", false, "exclude_suffix[0]");
    expect_rule(":lock", false, "exclude_suffix[0]");
    expect_rule("lock", true, "no rule");
    expect_rule("session:13", false, "exclude_key[0]");
    expect_rule("session:19", true, "no rule");
    expect_rule("", true, "no rule");

    /* Exclude wins; of several includes one is enough. */
    rule(SELECT_INCLUDE_PREFIX, "user:");
    rules_begin();
    rule(SELECT_INCLUDE_PREFIX, "user:");
    rule(SELECT_INCLUDE_PREFIX, "order:");
    rule(SELECT_INCLUDE_SUFFIX, ":keep");
    rule(SELECT_EXCLUDE_PREFIX, "user:tmp:");
    rules_end();
    expect_rule("user:1", true, "include_prefix[0]");
    expect_rule("order:1", true, "include_prefix[1]");
    expect_rule("x:keep", true, "include_suffix[0]");
    expect_rule("user:tmp:1", false, "exclude_prefix[0]");
    expect_rule("user:tmp:keep", false, "exclude_prefix[0]");
    expect_rule("other", false, "no include rule names it");
    expect_rule("", false, "no include rule names it");
}

/* Prefixes inside prefixes: any of them that fits counts, whatever else is sorted between. */
static void test_nested_prefixes(void **state)
{
    (void)state;
    rules_begin();
    rule(SELECT_EXCLUDE_PREFIX, "a:b:c:d");
    rule(SELECT_EXCLUDE_PREFIX, "a:");
    rule(SELECT_EXCLUDE_PREFIX, "a:b:x");
    rule(SELECT_EXCLUDE_PREFIX, "a:");
    rules_end();
    expect_rule("a:", false, "exclude_prefix[3]"); /* equal ones: any */
    expect_rule("a:b:c", false, "exclude_prefix[3]");
    expect_rule("a:b:c:d:e", false, "exclude_prefix[0]");
    expect_rule("a:b:w", false, "exclude_prefix[3]");
    expect_rule("a:b:y", false, "exclude_prefix[3]");
    expect_rule("a:z", false, "exclude_prefix[3]");
    expect_rule("b", true, "no rule");
    expect_rule("a", true, "no rule");
}

static void test_escapes(void **state)
{
    (void)state;
    static const uint8_t java[] = {0xac, 0xed, 0x00, 0x05, 't', 0x00, 'x'};
    uint16_t number;
    rules_begin();
    rule(SELECT_INCLUDE_PREFIX, "\\xac\\xed\\x00\\x05t\\x00");
    rule(SELECT_INCLUDE_PREFIX, "back\\\\slash\\n\\r\\t\\\"\\=");
    rule(SELECT_RENAME_PREFIX, "a\\=b=c=d");
    rule(SELECT_INCLUDE_PREFIX, "a=");
    rules_end();
    assert_true(select_key(&rules, java, sizeof(java), &number));
    assert_false(select_key(&rules, java, 5, &number));
    assert_true(is_kept("back\\slash\n\r\t\"=x"));
    expect_name("a=b1", "c=d1");
    expect_name("a=x", "a=x");

    REFUSED(select_check(SELECT_EXCLUDE_PREFIX, "exclude-prefix", "a\\q", &err),
            "exclude-prefix: a backslash that begins none of");
    REFUSED(select_check(SELECT_EXCLUDE_PREFIX, "exclude-prefix", "a\\", &err), "backslash");
    REFUSED(select_check(SELECT_EXCLUDE_PREFIX, "exclude-prefix", "a\\x0", &err), "backslash");
    REFUSED(select_check(SELECT_EXCLUDE_PREFIX, "exclude-prefix", "a\\x0g", &err), "backslash");
    assert_true(select_check(SELECT_EXCLUDE_KEY, "exclude-key", "a\\q\\", &err)); /* a glob's own */
}

static void test_limits(void **state)
{
    (void)state;
    char text[SELECT_PATTERN_MAX + 2];
    memset(text, 'x', sizeof(text));
    text[SELECT_PATTERN_MAX] = '\0';
    for (unsigned list = 0; list < SELECT_LIST_COUNT; list++) {
        REFUSED(select_check((enum select_list)list, "it", "", &err), "it: the value is empty");
    }
    rules_begin();
    rule(SELECT_EXCLUDE_PREFIX, text);
    rule(SELECT_EXCLUDE_SUFFIX, text);
    rule(SELECT_EXCLUDE_KEY, text);
    rules_end();
    assert_false(is_kept(text));
    text[SELECT_PATTERN_MAX] = 'x';
    text[SELECT_PATTERN_MAX + 1] = '\0';
    assert_false(is_kept(text)); /* longer than the prefix */
    REFUSED(select_check(SELECT_EXCLUDE_PREFIX, "it", text, &err), "it: longer than 1000 bytes");
    REFUSED(select_check(SELECT_EXCLUDE_KEY, "it", text, &err), "it: longer than 1000 bytes");
    REFUSED(select_check(SELECT_EXCLUDE_COMMAND, "it", text, &err), "it: longer than 1000 bytes");

    rules_begin();
    for (unsigned i = 0; i < SELECT_RULES_MAX; i++) {
        char prefix[16];
        snprintf(prefix, sizeof(prefix), "%u:", i * 7919 % SELECT_RULES_MAX);
        rule(SELECT_EXCLUDE_PREFIX, prefix);
    }
    REFUSED(select_add(&rules, SELECT_EXCLUDE_KEY, "x", &err), "exclude_key[0]: more than 1000");
    rules_end();
    for (unsigned i = 0; i < 2 * SELECT_RULES_MAX; i++) {
        char key[32];
        snprintf(key, sizeof(key), "%u:x", i);
        assert_int_equal(is_kept(key), i >= SELECT_RULES_MAX);
    }

    rules_begin();
    bool is_full = false;
    text[SELECT_PATTERN_MAX] = '\0';
    for (unsigned i = 0; i < 100 && !is_full; i++) {
        is_full = !select_add(&rules, SELECT_EXCLUDE_PREFIX, text, &err);
    }
    assert_true(is_full);
    assert_non_null(strstr(err.msg, "65536 bytes together"));
    rules_begin(); /* suffixes are kept twice */
    for (unsigned i = 0; i < 40; i++) {
        rule(SELECT_EXCLUDE_SUFFIX, text);
    }
    REFUSED(select_finish(&rules, &err), "suffixes counted twice");
}

/* ---- renames ---- */

static void test_renames(void **state)
{
    (void)state;
    rules_begin();
    rule(SELECT_RENAME_PREFIX, "old:deep:=deep:");
    rule(SELECT_RENAME_PREFIX, "old:=new:");
    rule(SELECT_EXCLUDE_PREFIX, "old:tmp:");
    rules_end();
    assert_false(select_is_total(&rules));
    expect_name("old:1", "new:1");
    expect_name("old:", "new:");
    expect_name("old:deep:1", "deep:1");
    expect_name("old:dee", "new:dee");
    expect_name("old:tmp:1", NULL);
    expect_name("other", "other");
    expect_source("new:1", "old:1");
    expect_source("deep:1", "old:deep:1");
    expect_source("old:1", NULL); /* it is called new:1 there */

    rules_begin();
    rule(SELECT_RENAME_PREFIX, "strip:=");
    rules_end();
    expect_name("strip:x", "x");
    expect_name("strip:", "");
    expect_name("strip", "strip");
    expect_source("x", "strip:x");
}

/* new:tmp:1 is a name of its own when nothing selected is renamed to it. */
static void test_source_of_a_name(void **state)
{
    (void)state;
    rules_begin();
    rule(SELECT_RENAME_PREFIX, "old:=new:");
    rule(SELECT_EXCLUDE_PREFIX, "new:");
    rules_end();
    expect_source("new:1", "old:1");
    expect_source("old:1", NULL); /* it is called new:1 there */
    expect_source("x", "x");
    expect_name("new:1", NULL);

    rules_begin();
    rule(SELECT_RENAME_PREFIX, "=t1:");
    rules_end();
    expect_name("x", "t1:x");
    expect_name("t1:x", "t1:t1:x");
    expect_source("t1:x", "x");
    expect_source("x", NULL);
    expect_source("t1:", "");
}

/* Keys of positions are nobody's, and no rename ends there. */
static void test_reserved(void **state)
{
    (void)state;
    static const char text[] = "positions are kept there";
    rules_begin();
    rule(SELECT_RENAME_PREFIX, "strip:=");
    rules_end();
    expect_rule("syncline:position", false, text);
    expect_rule("syncline:dirty{12}", false, text);
    expect_rule("strip:syncline:position{7}", false, text);
    expect_rule("strip:syncline:positio", true, "no rule");
    expect_name("strip:syncline:position", NULL);
    expect_source("syncline:position", NULL);

    rules_begin();
    rule(SELECT_RENAME_PREFIX, "x=syncline:");
    rules_end();
    expect_rule("xposition", false, text);
    expect_rule("xdirty", false, text);
    expect_name("xdirt", "syncline:dirt");

    rules_begin();
    rule(SELECT_RENAME_PREFIX, "long:=syncline:dirty{1}:of:somebody");
    rules_end();
    expect_rule("long:a", false, text);
    expect_rule("a", true, "no rule");
}

static void test_swap(void **state)
{
    (void)state;
    rules_begin();
    rule(SELECT_RENAME_PREFIX, "a:=b:");
    rule(SELECT_RENAME_PREFIX, "b:=a:");
    rules_end();
    expect_name("a:1", "b:1");
    expect_name("b:1", "a:1");
    expect_source("a:1", "b:1");
    expect_source("b:1", "a:1");
    assert_null(select_claimed(&rules, (const uint8_t *)"c:1", 3));
}

static bool refused_renames(const char *const *texts)
{
    rules_begin();
    for (; *texts != NULL; texts++) {
        enum select_list list = strchr(*texts, '=') != NULL ? SELECT_RENAME_PREFIX
                                : **texts == '+'            ? SELECT_INCLUDE_PREFIX
                                                            : SELECT_EXCLUDE_PREFIX;
        rule(list, *texts + (list != SELECT_RENAME_PREFIX));
    }
    return select_finish(&rules, &err);
}
#define RENAMES(...) refused_renames((const char *const[]){__VA_ARGS__, NULL})

static void test_refused_renames(void **state)
{
    (void)state;
    REFUSED(select_check(SELECT_RENAME_PREFIX, "it", "old:", &err), "it: write it OLD=NEW");
    REFUSED(select_check(SELECT_RENAME_PREFIX, "it", "a=a", &err),
            "it: the old and the new prefix");
    REFUSED(select_check(SELECT_RENAME_PREFIX, "it", "=", &err), "it: the old and the new prefix");
    /* One name for two keys. */
    REFUSED(RENAMES("a:=x:", "b:=x:"), "rename_prefix[1]: two keys", "rename_prefix[0]");
    REFUSED(RENAMES("a:=x:", "b:=x:b:"), "rename_prefix[1]: two keys", "rename_prefix[0]");
    REFUSED(RENAMES("a:=x:b:", "b:=x:"), "two keys could get one name");
    REFUSED(RENAMES("old:=t1:x:", "=t1:"), "two keys could get one name");
    REFUSED(RENAMES("a:=", "b:="), "two keys could get one name");
    /* … which exclusion, inclusion or a third rule prevents. */
    assert_true(RENAMES("a:=x:", "b:=x:b:", "-a:b:"));
    assert_true(RENAMES("a:=x:",
                        "b:=x:b:",
                        "-a:"
                        "b"));
    assert_true(RENAMES("a:b:=y:", "a:=x:", "b:=x:b:"));
    assert_true(RENAMES("a:=x:", "b:=x:b:", "+b:", "+a:c:"));
    REFUSED(RENAMES("a:=x:", "b:=x:b:", "+b:", "+a:"), "two keys could get one name");
    assert_true(RENAMES("a:=x:", "b:=y:"));
    assert_true(RENAMES("a:=x", "b:=y"));
    /* Rules that do nothing. */
    REFUSED(RENAMES("a:=x:", "a:b:=y:"), "rename_prefix[1]: never reached", "rename_prefix[0]");
    REFUSED(RENAMES("a:=x:", "a:=y:"), "rename_prefix[1]: never reached");
    REFUSED(RENAMES("=x:", "a:=y:"), "rename_prefix[1]: never reached");
    REFUSED(RENAMES("a:=x:", "-a:"), "rename_prefix[0]: no key with this prefix is selected");
    REFUSED(RENAMES("a:=x:", "+x:"), "rename_prefix[0]: no key", "have at the source");
    assert_true(RENAMES("a:=x:", "+a:b"));
    assert_true(RENAMES("a:=x:", "+a"));
}

/* A key that keeps its name, which a renamed one could have: known only when it is met. */
static void test_claimed(void **state)
{
    (void)state;
    rules_begin();
    rule(SELECT_RENAME_PREFIX, "old:=new:");
    rule(SELECT_EXCLUDE_SUFFIX, ":tmp");
    rules_end();
    const struct select_rule *claim = select_claimed(&rules, (const uint8_t *)"new:1", 5);
    assert_non_null(claim);
    assert_int_equal(select_rule_number(&rules, claim), 0);
    assert_null(select_claimed(&rules, (const uint8_t *)"other", 5));
    assert_null(select_claimed(&rules, (const uint8_t *)"new", 3));

    /* Its rival is not selected. */
    rules_begin();
    rule(SELECT_RENAME_PREFIX, "old:=new:");
    rule(SELECT_EXCLUDE_KEY, "old:?");
    rules_end();
    assert_null(select_claimed(&rules, (const uint8_t *)"new:1", 5));
    assert_non_null(select_claimed(&rules, (const uint8_t *)"new:12", 6));

    /* Its rival goes elsewhere, by a longer rule. */
    rules_begin();
    rule(SELECT_RENAME_PREFIX, "old:x:=y:");
    rule(SELECT_RENAME_PREFIX, "old:=new:");
    rules_end();
    assert_null(select_claimed(&rules, (const uint8_t *)"new:x:1", 7));
    assert_non_null(select_claimed(&rules, (const uint8_t *)"new:x1", 6));

    /* Too long to look: claimed. */
    static uint8_t longest[SELECT_CLAIM_MAX + 1];
    memset(longest, 'z', sizeof(longest));
    memcpy(longest, "new:x:", 6);
    assert_null(select_claimed(&rules, longest, SELECT_CLAIM_MAX));
    assert_non_null(select_claimed(&rules, longest, SELECT_CLAIM_MAX + 1));
}

/* ---- types and commands ---- */

static void test_types(void **state)
{
    (void)state;
    rules_begin();
    rule(SELECT_EXCLUDE_TYPE, "stream");
    rule(SELECT_EXCLUDE_TYPE, "Module");
    rules_end();
    assert_false(select_is_total(&rules));
    for (unsigned kind = 0; kind < RDB_KIND_COUNT; kind++) {
        assert_int_equal(select_kind(&rules, (enum rdb_kind)kind),
                         kind != RDB_KIND_STREAM && kind != RDB_KIND_MODULE);
    }
    assert_true(select_kind(&rules, RDB_KIND_COUNT));
    rules_begin();
    rule(SELECT_INCLUDE_TYPE, "hash");
    rule(SELECT_INCLUDE_TYPE, "zset");
    rule(SELECT_EXCLUDE_TYPE, "zset");
    rules_end();
    for (unsigned kind = 0; kind < RDB_KIND_COUNT; kind++) {
        assert_int_equal(select_kind(&rules, (enum rdb_kind)kind), kind == RDB_KIND_HASH);
    }
    assert_int_equal(rules.kind_rule[RDB_KIND_STRING], SELECT_RULE_NOT_INCLUDED);
    assert_int_equal(rules.kind_rule[RDB_KIND_ZSET], 2);
    REFUSED(select_check(SELECT_INCLUDE_TYPE, "it", "hashes", &err),
            "it: not a type (string, list");
}

static void test_commands(void **state)
{
    (void)state;
    rules_begin();
    rule(SELECT_EXCLUDE_COMMAND, "@string");
    rule(SELECT_EXCLUDE_COMMAND, "flushall");
    rule(SELECT_EXCLUDE_COMMAND, "@sorted-set");
    rule(SELECT_EXCLUDE_COMMAND, "xgroup");
    rule(SELECT_EXCLUDE_COMMAND, "FOO.BAR");
    rules_end();
    assert_true(select_is_total(&rules)); /* keys are all selected */
    assert_true(rules.is_active);
    assert_false(command_is_kept("SET"));
    assert_false(command_is_kept("APPEND"));
    assert_true(command_is_kept("SETBIT")); /* @bitmap */
    assert_true(command_is_kept("PFADD"));
    assert_false(command_is_kept("FLUSHALL"));
    assert_true(command_is_kept("FLUSHDB"));
    assert_false(command_is_kept("ZADD"));
    assert_true(command_is_kept("GEOADD"));
    assert_false(command_is_kept("XGROUP"));
    assert_false(command_is_kept("XGROUP CREATE"));
    assert_true(command_is_kept("XADD"));
    assert_false(command_is_kept("foo.bar"));
    assert_true(command_is_kept("foo.baz"));

    rules_begin();
    rule(SELECT_INCLUDE_COMMAND, "@keyspace");
    rule(SELECT_INCLUDE_COMMAND, "@hash");
    rule(SELECT_INCLUDE_COMMAND, "x.y");
    rule(SELECT_EXCLUDE_COMMAND, "del");
    rules_end();
    assert_true(command_is_kept("EXPIRE"));
    assert_false(command_is_kept("DEL"));
    assert_true(command_is_kept("HSET"));
    assert_false(command_is_kept("SET"));
    assert_false(command_is_kept("FUNCTION"));
    assert_true(command_is_kept("X.Y"));
    assert_false(command_is_kept("X.Z"));
    uint16_t number;
    const struct command_info *set = command_find((const uint8_t *)"SET", 3);
    assert_false(select_command(&rules, set, &number));
    assert_int_equal(number, SELECT_RULE_NOT_INCLUDED);

    REFUSED(
        select_check(SELECT_EXCLUDE_COMMAND, "it", "@strings", &err), "it: not a group", "@hash");
    REFUSED(select_check(SELECT_EXCLUDE_COMMAND, "it", "multi", &err), "MULTI is part of");
    REFUSED(select_check(SELECT_EXCLUDE_COMMAND, "it", "Select", &err), "SELECT is part of");
    REFUSED(select_check(SELECT_EXCLUDE_COMMAND, "it", "xgroup create", &err),
            "without its subcommand");
    REFUSED(select_check(SELECT_EXCLUDE_COMMAND, "it", "xgroup|create", &err),
            "without its subcommand");
}

/* ---- at random, against a matcher that shares nothing with the one under test ---- */

/* Few letters, so that rules and keys meet often. */
static size_t random_text(struct random *random, const char *letters, size_t most, char *out)
{
    size_t size = random_below(random, (uint32_t)most + 1);
    for (size_t i = 0; i < size; i++) {
        out[i] = letters[random_below(random, (uint32_t)strlen(letters))];
    }
    out[size] = '\0';
    return size;
}

static void random_rules(struct random *random, struct naive *naive)
{
    static const enum select_list lists[] = {SELECT_INCLUDE_KEY,
                                             SELECT_INCLUDE_PREFIX,
                                             SELECT_INCLUDE_SUFFIX,
                                             SELECT_EXCLUDE_KEY,
                                             SELECT_EXCLUDE_PREFIX,
                                             SELECT_EXCLUDE_SUFFIX};
    rules_begin();
    *naive = (struct naive){.rule_count = 0};
    uint32_t count = random_below(random, 12);
    bool has_include = random_below(random, 2) != 0;
    for (uint32_t i = 0; i < count; i++) {
        char text[16];
        enum select_list list = lists[random_below(random, 6)];
        bool is_glob = list == SELECT_INCLUDE_KEY || list == SELECT_EXCLUDE_KEY;
        if (random_text(random, is_glob ? "aab:*?[]^-\\" : "aab:", is_glob ? 8 : 4, text) == 0 ||
            (!has_include && list <= SELECT_INCLUDE_SUFFIX)) {
            continue;
        }
        rule(list, text);
        naive_add(naive, list, text);
    }
    rules_end();
}

static void test_random_keys(void **state)
{
    (void)state;
    struct random random = {20240607};
    uint32_t kept = 0;
    uint32_t dropped = 0;
    for (uint32_t round = 0; round < 3000; round++) {
        struct naive naive;
        random_rules(&random, &naive);
        for (uint32_t i = 0; i < 40; i++) {
            char key[16];
            size_t size = random_text(&random, "aab:*[]", 10, key);
            bool expected = naive_selects(&naive, key, size);
            if (is_kept(key) != expected) {
                naive_print(&naive);
                fail_msg("round %u: key \"%s\" is %s", round, key, expected ? "dropped" : "kept");
            }
            kept += expected;
            dropped += !expected;
        }
    }
    assert_true(kept > 10000);
    assert_true(dropped > 10000);
}

/* Accepted renames: the name is what the first rule that fits makes of it, two selected keys share
 * one only where that was told, and the way back is the way there. */
static void test_random_renames(void **state)
{
    (void)state;
    struct random random = {77001};
    uint32_t accepted = 0;
    uint32_t told = 0;
    struct select_name name = {0};
    struct select_name back = {0};
    for (uint32_t round = 0; round < 20000; round++) {
        struct naive naive;
        random_rules(&random, &naive);
        rules_begin();
        for (uint32_t i = 0; i < naive.rule_count; i++) {
            rule(naive.rules[i].list, naive.rules[i].text);
        }
        uint32_t count = 1 + random_below(&random, 4);
        bool is_ok = true;
        for (uint32_t i = 0; i < count && is_ok; i++) {
            char text[16];
            size_t size = random_text(&random, "ab:", 3, text);
            text[size] = '=';
            random_text(&random, "ab:", 3, text + size + 1);
            is_ok = select_add(&rules, SELECT_RENAME_PREFIX, text, &err);
            naive_add(&naive, SELECT_RENAME_PREFIX, text);
        }
        if (!is_ok || !select_finish(&rules, &err)) {
            continue;
        }
        accepted++;
        for (uint32_t i = 0; i < 60; i++) {
            char key[16];
            char expected[32];
            struct slice slice = {(const uint8_t *)key, random_text(&random, "aab:", 6, key)};
            bool is_selected;
            assert_true(select_to_destination(&rules, slice, &name, &is_selected, &err));
            assert_int_equal(is_selected, naive_selects(&naive, key, slice.size));
            if (!is_selected) {
                continue;
            }
            naive_rename(&naive, key, expected);
            assert_int_equal(name.size, strlen(expected));
            assert_memory_equal(name.bytes, expected, name.size);
            struct slice there = {name.bytes, name.size};
            assert_true(select_to_source(&rules, there, &back, &is_selected, &err));
            assert_true(is_selected);
            bool is_same = back.size == slice.size && memcmp(back.bytes, key, slice.size) == 0;
            bool is_renamed = select_rename(&rules, slice.bytes, slice.size) != NULL;
            bool is_claimed =
                !is_renamed && select_claimed(&rules, slice.bytes, slice.size) != NULL;
            told += is_claimed;
            if (is_same == is_claimed) {
                naive_print(&naive);
                fail_msg("round %u: key \"%s\" is called \"%.*s\", which comes from \"%.*s\"",
                         round,
                         key,
                         (int)name.size,
                         (const char *)name.bytes,
                         (int)back.size,
                         (const char *)back.bytes);
            }
        }
    }
    select_name_deinit(&name);
    select_name_deinit(&back);
    assert_true(accepted > 2000);
    assert_true(told > 500);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_glob),
        cmocka_unit_test(test_glob_bytes),
        cmocka_unit_test(test_glob_is_bounded),
        cmocka_unit_test(test_keys),
        cmocka_unit_test(test_nested_prefixes),
        cmocka_unit_test(test_escapes),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_renames),
        cmocka_unit_test(test_source_of_a_name),
        cmocka_unit_test(test_reserved),
        cmocka_unit_test(test_swap),
        cmocka_unit_test(test_refused_renames),
        cmocka_unit_test(test_claimed),
        cmocka_unit_test(test_types),
        cmocka_unit_test(test_commands),
        cmocka_unit_test(test_random_keys),
        cmocka_unit_test(test_random_renames),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
