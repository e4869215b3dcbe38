#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/base/base.h"
#include "tests/apply/command_words.h"

/* The positions as text, "1 3 5"; "error: …" when command_keys refuses. */
static const char *keys_of(const char *text)
{
    static char out[600];
    struct command_words words;
    struct key_list list;
    struct syn_err err = {0};
    command_words_split(&words, text);
    const struct command_info *info = command_words_find(&words);
    if (info == NULL)
        return "unknown";
    assert_true(key_list_init(&list, &err));
    size_t size = 0;
    out[0] = '\0';
    if (!command_keys(info, words.bytes, &words.command, &list, &err)) {
        assert_int_equal(list.count, 0);
        assert_int_equal(err.code, SYN_CODE_SOURCE_DATA);
        snprintf(out, sizeof(out), "error: %s", err.msg);
    }
    for (uint32_t i = 0; i < list.count; i++)
        size += (size_t)snprintf(
            out + size, sizeof(out) - size, "%s%u", i == 0 ? "" : " ", list.positions[i]);
    key_list_deinit(&list);
    return out;
}

static enum command_class class_of(const char *name)
{
    const struct command_info *info = command_find((const uint8_t *)name, strlen(name));
    assert_non_null(info);
    return info->class;
}

/* A name that is found under a wrong case, or not at all, sends a command to no lane: every entry
 * is looked up as it is, in lower and in mixed case, and neighbours of names are not found. */
static void test_find_in_any_case(void **state)
{
    (void)state;
    size_t count;
    const struct command_info *table = command_table(&count);
    assert_true(count > 350);
    for (size_t i = 0; i < count; i++) {
        uint8_t name[64];
        size_t size = table[i].name_size;
        assert_int_equal(strlen(table[i].name), size);
        assert_true(size + 1 < sizeof(name));
        for (int form = 0; form < 3; form++) {
            memcpy(name, table[i].name, size);
            for (size_t n = 0; n < size; n++) {
                if (form != 0 && (form == 1 || n % 2) && name[n] >= 'A' && name[n] <= 'Z')
                    name[n] = (uint8_t)(name[n] | 0x20);
            }
            assert_ptr_equal(command_find(name, size), &table[i]);
        }
        name[size] = 0;
        assert_null(command_find(name, size + 1));
        name[size - 1] ^= 0x40;
        assert_null(command_find(name, size));
    }
}

static void test_unknown_names(void **state)
{
    (void)state;
    /* The hash folds case by a bit mask that also changes other characters: "S%T" must not be
     * taken for a command because its hash collides. */
    static const char *const names[] = {
        "", "X", "SEt\r", "GETT", "NOSUCHCOMMAND", "S\xE5T", "RESTORE\rASKING"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        assert_null(command_find((const uint8_t *)names[i], strlen(names[i])));
    assert_null(command_find((const uint8_t *)"S\0T", 3));
    uint8_t text[300];
    memset(text, 'A', sizeof(text));
    for (size_t size = 30; size <= sizeof(text); size++)
        assert_null(command_find(text, size));
}

struct row {
    const char *command;
    const char *keys;
};

static void check_rows(const struct row *rows, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const char *keys = keys_of(rows[i].command);
        if (strcmp(keys, rows[i].keys) != 0)
            fail_msg("%s: keys %s, not %s", rows[i].command, keys, rows[i].keys);
    }
}
#define CHECK_ROWS(rows) check_rows((rows), sizeof(rows) / sizeof((rows)[0]))

/* Each way in which keys stand in a command; a wrong one sends it to the wrong lane, or misses that
 * it touches two. */
static void test_keys_by_position(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"SET k v", "1"},
        {"set k v PXAT 1", "1"},
        {"DEL a", "1"},
        {"DEL a b c", "1 2 3"},
        {"UNLINK a b", "1 2"},
        {"MSET a 1 b 2 c 3", "1 3 5"},
        {"MSETNX a 1 b 2", "1 3"},
        {"MSETEX 2 a 1 b 2 PX 100", "2 4"},
        {"BITOP AND d a b", "2 3 4"},
        {"RENAME a b", "1 2"},
        {"RENAMENX a b", "1 2"},
        {"COPY a b DB 3 REPLACE", "1 2"},
        {"SMOVE a b m", "1 2"},
        {"RPOPLPUSH a b", "1 2"},
        {"LMOVE a b LEFT RIGHT", "1 2"},
        {"BRPOPLPUSH a b 0", "1 2"},
        {"BLMOVE a b LEFT LEFT 0", "1 2"},
        {"SINTERSTORE d a b c", "1 2 3 4"},
        {"SUNIONSTORE d a", "1 2"},
        {"SDIFFSTORE d a b", "1 2 3"},
        {"ZRANGESTORE d s 0 -1", "1 2"},
        {"GEOSEARCHSTORE d s FROMMEMBER m BYRADIUS 1 m", "1 2"},
        {"PFMERGE d a b", "1 2 3"},
        {"PFMERGE d", "1"},
        {"PFCOUNT a b", "1 2"},
        {"BLPOP a b 0", "1 2"},
        {"BRPOP a 0", "1"},
        {"BZPOPMIN a b c 0", "1 2 3"},
        {"BZPOPMAX a 0", "1"},
        {"XGROUP CREATE k g $", "2"},
        {"xgroup destroy k g", "2"},
        {"XGROUP HELP", ""},
        {"XCLAIM k g c 0 1-1", "1"},
        {"XADD k * a b", "1"},
        {"XSETID k 1-1", "1"},
        {"MOVE k 3", "1"},
        {"RESTORE k 0 x REPLACE", "1"},
        {"RESTORE-ASKING k 0 x", "1"},
        {"VADD k FP32 x e", "1"},
        {"HSETEX k EX 10 FIELDS 1 f v", "1"},
        {"OBJECT FREQ k", "2"},
        {"MEMORY USAGE k SAMPLES 0", "2"},
        {"MEMORY DOCTOR", ""},
        {"RENAME same same", "1 2"},
    };
    CHECK_ROWS(rows);
}

static void test_keys_by_count(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"ZUNIONSTORE d 2 a b WEIGHTS 1 2", "1 3 4"},
        {"ZINTERSTORE d 1 a", "1 3"},
        {"ZDIFFSTORE d 2 a b", "1 3 4"},
        {"LMPOP 2 a b LEFT", "2 3"},
        {"ZMPOP 1 a MIN COUNT 2", "2"},
        {"BLMPOP 0 2 a b LEFT", "3 4"},
        {"BZMPOP 0 1 a MAX", "3"},
        {"EVAL s 2 a b c", "3 4"},
        {"EVAL s 0", ""},
        {"EVAL s 0 a", ""},
        {"EVALSHA s 1 a", "3"},
        {"FCALL f 1 a b", "3"},
    };
    CHECK_ROWS(rows);
}

/* The words of an option may also be a key, a pattern or a password. */
static void test_keys_behind_keywords(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"SORT k STORE d", "1 3"},
        {"SORT k", "1"},
        {"SORT k BY w_* LIMIT 0 5 GET # ALPHA store d", "1 11"},
        {"SORT k BY STORE GET STORE STORE d", "1 7"},
        {"SORT k STORE a STORE b", "1 5"},
        {"SORT k LIMIT STORE 3 STORE d", "1 6"},
        {"SORT k STORE", "1"},
        {"SORT STORE STORE STORE", "1 3"},
        {"GEORADIUS k 1 2 3 m", "1"},
        {"GEORADIUS k 1 2 3 m STORE d", "1 7"},
        {"GEORADIUS k 1 2 3 m COUNT 3 storedist d", "1 9"},
        {"GEORADIUS k 1 2 3 m STORE a STOREDIST b", "1 7 9"},
        {"GEORADIUS k 1 2 3 m STORE a STORE b", "1 9"},
        {"GEORADIUSBYMEMBER k m 3 km STORE d", "1 6"},
        {"XREADGROUP GROUP g c STREAMS a b > >", "5 6"},
        {"XREADGROUP GROUP g c COUNT 2 NOACK STREAMS a >", "8"},
        {"XREAD COUNT 1 STREAMS a b c 0 0 0", "4 5 6"},
        {"MIGRATE h 1 k 0 100", "3"},
        {"MIGRATE h 1  0 100 KEYS a b c", "7 8 9"},
        {"MIGRATE h 1  0 100 AUTH KEYS KEYS a", "9"},
        {"MIGRATE h 1  0 100 COPY AUTH2 KEYS KEYS KEYS a b", "11 12"},
    };
    CHECK_ROWS(rows);
}

static void test_commands_without_keys(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"SWAPDB 0 1", ""},
        {"FLUSHALL", ""},
        {"FLUSHDB ASYNC", ""},
        {"FUNCTION LOAD x", ""},
        {"FUNCTION FLUSH", ""},
        {"SCRIPT LOAD x", ""},
        {"PUBLISH c m", ""},
        {"SPUBLISH c m", ""},
        {"SELECT 3", ""},
        {"MULTI", ""},
        {"EXEC", ""},
        {"ping", ""},
        {"REPLCONF GETACK *", ""},
        {"CLUSTER SETSLOT 1 STABLE", ""},
    };
    CHECK_ROWS(rows);
}

/* What no server sends, but a broken or hostile one may: it must be an error that names the
 * command, never a position beyond the arguments. */
static void test_malformed_commands(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"SET k", "error: SET with 2 arguments; it takes at least 3"},
        {"SET", "error: SET with 1 arguments; it takes at least 3"},
        {"RENAME a", "error: RENAME with 2 arguments; it takes 3"},
        {"RENAME a b c", "error: RENAME with 4 arguments; it takes 3"},
        {"MSET a 1 b", "error: MSET with 4 arguments has a key without a value"},
        {"MSETNX a 1 b", "error: MSETNX with 4 arguments has a key without a value"},
        {"MSETEX 2 a 1 b", "error: MSETEX names 2 keys but has 5 arguments"},
        {"EVAL s 3 a b", "error: EVAL names 3 keys but has 5 arguments"},
        {"EVAL s 1", "error: EVAL names 1 keys but has 3 arguments"},
        {"EVAL s -1 a", "error: the number of keys of EVAL is no number"},
        {"EVAL s x a", "error: the number of keys of EVAL is no number"},
        {"EVAL s  a", "error: the number of keys of EVAL is no number"},
        {"EVAL s 01 a", "error: the number of keys of EVAL is no number"},
        {"EVAL s 18446744073709551615 a",
         "error: EVAL names 18446744073709551615 keys but has 4 arguments"},
        {"EVAL s 18446744073709551616 a", "error: the number of keys of EVAL is no number"},
        {"EVAL s 4294967297 a", "error: EVAL names 4294967297 keys but has 4 arguments"},
        {"ZUNIONSTORE d 3 a b", "error: ZUNIONSTORE names 3 keys but has 5 arguments"},
        {"VADD", "error: VADD with 1 arguments; it takes at least 5"},
        {"VCARD", "error: VCARD with 1 arguments; it takes at least 2"},
    };
    CHECK_ROWS(rows);
    /* Accepted by no server, and harmless: there are no keys to send it to. */
    assert_string_equal(keys_of("XREADGROUP GROUP g c COUNT 2 STREAMS"), "");
    assert_string_equal(keys_of("XREADGROUP GROUP g c STREAMS a b >"), "5");
}

/* The class decides what becomes of a command; one that changes data and is taken for a read would
 * be lost without a trace. */
static void test_classes(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        enum command_class class;
    } rows[] = {
        {"SET", COMMAND_WRITE},
        {"GET", COMMAND_READ},
        {"GETDEL", COMMAND_WRITE},
        {"GETEX", COMMAND_WRITE},
        {"TOUCH", COMMAND_READ},
        {"PFCOUNT", COMMAND_WRITE},
        {"MSET", COMMAND_SPLIT_PAIRS},
        {"MSETNX", COMMAND_SPLIT_PAIRS},
        {"MSETEX", COMMAND_WRITE},
        {"DEL", COMMAND_SPLIT_KEYS},
        {"UNLINK", COMMAND_SPLIT_KEYS},
        {"BITOP", COMMAND_WRITE},
        {"SORT", COMMAND_WRITE},
        {"SORT_RO", COMMAND_READ},
        {"SELECT", COMMAND_SELECT},
        {"MULTI", COMMAND_MULTI},
        {"EXEC", COMMAND_EXEC},
        {"PING", COMMAND_PING},
        {"REPLCONF", COMMAND_REPLCONF},
        {"PUBLISH", COMMAND_PUBLISH},
        {"SPUBLISH", COMMAND_PUBLISH},
        {"CLUSTER", COMMAND_CLUSTER},
        {"FLUSHALL", COMMAND_FLUSHALL},
        {"FLUSHDB", COMMAND_FLUSHDB},
        {"SWAPDB", COMMAND_SWAPDB},
        {"MOVE", COMMAND_MOVE},
        {"COPY", COMMAND_COPY},
        {"FUNCTION", COMMAND_FUNCTION},
        {"FUNCTION LOAD", COMMAND_FUNCTION},
        {"FUNCTION LIST", COMMAND_READ},
        {"SCRIPT", COMMAND_SCRIPT},
        {"SCRIPT FLUSH", COMMAND_SCRIPT},
        {"EVAL", COMMAND_EVAL},
        {"EVALSHA", COMMAND_EVAL},
        {"FCALL", COMMAND_EVAL},
        {"EVAL_RO", COMMAND_READ},
        {"XADD", COMMAND_TRIM},
        {"XTRIM", COMMAND_TRIM},
        {"XGROUP", COMMAND_WRITE},
        {"XGROUP CREATE", COMMAND_WRITE},
        {"RESTORE", COMMAND_WRITE},
        {"RESTORE-ASKING", COMMAND_RESTORE_ASKING},
        {"HSETEX", COMMAND_WRITE},
        {"HGETDEL", COMMAND_WRITE},
        {"HPEXPIRE", COMMAND_WRITE},
        {"DELIFEQ", COMMAND_WRITE},
        {"VADD", COMMAND_WRITE},
        {"VREM", COMMAND_WRITE},
        {"XREADGROUP", COMMAND_WRITE},
        {"GEORADIUS", COMMAND_WRITE},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        if (class_of(rows[i].name) != rows[i].class)
            fail_msg("%s has class %d", rows[i].name, class_of(rows[i].name));
    }
}

/* A write that cannot be routed because it has no key spec would be sent nowhere: only those that
 * are known to have none may lack them. */
static void test_every_write_has_keys(void **state)
{
    (void)state;
    size_t count;
    const struct command_info *table = command_table(&count);
    for (size_t i = 0; i < count; i++) {
        const struct command_info *info = &table[i];
        assert_true(info->class < COMMAND_CLASS_COUNT);
        assert_int_equal(info->spec_count == 0, info->specs == NULL);
        bool has_rule = info->class != COMMAND_WRITE && info->class != COMMAND_READ;
        if (info->is_write && info->spec_count == 0 && !has_rule &&
            strcmp(info->name, "PFSELFTEST") != 0 && strcmp(info->name, "SFLUSH") != 0)
            fail_msg("%s writes but has no keys", info->name);
        if (info->is_write && info->class == COMMAND_READ)
            fail_msg("%s writes but is dropped", info->name);
    }
}

/* Thousands of keys in one command: the list grows, and stays ascending. */
static void test_many_keys(void **state)
{
    (void)state;
    enum { KEYS = 100000 };
    struct resp_arg *argv = mem_calloc(MEM_APPLY, (KEYS + 1) * sizeof(*argv));
    struct resp_command command = {.argc = KEYS + 1, .argv = argv};
    struct key_list list;
    struct syn_err err = {0};
    assert_non_null(argv);
    assert_true(key_list_init(&list, &err));
    const struct command_info *info = command_find((const uint8_t *)"DEL", 3);
    assert_true(command_keys(info, (const uint8_t *)"", &command, &list, &err));
    assert_int_equal(list.count, KEYS);
    for (uint32_t i = 0; i < KEYS; i++)
        assert_int_equal(list.positions[i], i + 1);
    key_list_deinit(&list);
    mem_free(MEM_APPLY, argv);
}

/* Memory that runs out while the list grows is an error, and the list stays usable. */
static void test_out_of_memory(void **state)
{
    (void)state;
    struct command_words words;
    struct key_list list;
    struct syn_err err = {0};
    mem_fail_at(1);
    assert_false(key_list_init(&list, &err));
    assert_int_equal(err.code, SYN_CODE_MEMORY);
    mem_fail_at(0);
    assert_true(key_list_init(&list, &err));
    command_words_split(&words, "DEL a b c d e f g h i j k l m n o p q r s t");
    const struct command_info *info = command_words_find(&words);
    mem_fail_at(1);
    assert_false(command_keys(info, words.bytes, &words.command, &list, &err));
    assert_int_equal(err.code, SYN_CODE_MEMORY);
    mem_fail_at(0);
    assert_true(command_keys(info, words.bytes, &words.command, &list, &err));
    assert_int_equal(list.count, 20);
    key_list_deinit(&list);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_find_in_any_case),
        cmocka_unit_test(test_unknown_names),
        cmocka_unit_test(test_keys_by_position),
        cmocka_unit_test(test_keys_by_count),
        cmocka_unit_test(test_keys_behind_keywords),
        cmocka_unit_test(test_commands_without_keys),
        cmocka_unit_test(test_malformed_commands),
        cmocka_unit_test(test_classes),
        cmocka_unit_test(test_every_write_has_keys),
        cmocka_unit_test(test_many_keys),
        cmocka_unit_test(test_out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
