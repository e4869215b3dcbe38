/*
 * Explaining rules: the library's answers, and the program that prints them (I7, L6). Which plan is
 * made of which command is tests/apply/test_select_plan.c's.
 */
#include "tests/base/test.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <jansson.h>

#include "core/engine/syn.h"

/* ---- the library ---- */

static struct syn_explain *explain;
static struct syn_err err;

static void open_rules(const char *yaml)
{
    struct syn_config *config = syn_config_new(&err);
    assert_non_null(config);
    if (!syn_config_load(config, yaml, strlen(yaml), "task.yaml", &err)) {
        fail_msg("%s", err.msg);
    }
    syn_explain_free(explain);
    explain = syn_explain_open(config, &err);
    if (explain == NULL) {
        fail_msg("%s", err.msg);
    }
    syn_config_free(config); /* the explanation has what it needs */
}

static struct syn_explained_key key_of(uint32_t db, const char *key)
{
    struct syn_explained_key out;
    assert_true(syn_explain_key(explain, db, key, strlen(key), &out, &err));
    assert_int_equal(out.key_size, strlen(key));
    assert_memory_equal(out.key, key, out.key_size);
    assert_non_null(out.text);
    return out;
}

static struct syn_explained_command command_of(uint32_t db, const char *text)
{
    const void *words[16];
    size_t sizes[16];
    size_t count = 0;
    struct syn_explained_command out;
    for (const char *at = text; count < 16;) {
        words[count] = at;
        sizes[count] = strcspn(at, " ");
        at += sizes[count++];
        if (*at++ == '\0') {
            break;
        }
    }
    if (!syn_explain_command(explain, db, count, words, sizes, &out, &err)) {
        fail_msg("%s: %s", text, err.msg);
    }
    return out;
}

/* The n-th command that it becomes, as text. */
static const char *become(const struct syn_explained_command *command, size_t n)
{
    static char text[512];
    size_t size = 0;
    assert_true(n < command->become_count);
    for (size_t i = 0; i < command->become[n].count; i++) {
        const struct syn_explained_word *word = &command->become[n].words[i];
        size += (size_t)snprintf(text + size,
                                 sizeof(text) - size,
                                 "%s%.*s",
                                 i > 0 ? " " : "",
                                 (int)word->size,
                                 (const char *)word->bytes);
    }
    return text;
}

static void expect_rule(const struct syn_rule *rule, const char *name, const char *text)
{
    if (name == NULL) {
        assert_null(rule->name);
        return;
    }
    assert_string_equal(rule->name, name);
    assert_string_equal(rule->text, text);
}

static const char rules[] = "include_prefix: ['user:', 'old:', 'new:x']\n"
                            "exclude_suffix: ':tmp'\n"
                            "rename_prefix: ['old:=new:']\n"
                            "exclude_type: [stream]\n"
                            "db: 0,3\n";

static void test_keys(void **state)
{
    (void)state;
    open_rules(rules);
    struct syn_explained_key key = key_of(0, "user:1");
    assert_int_equal(key.action, SYN_ACTION_KEEP);
    expect_rule(&key.rule, "include_prefix[0]", "user:");
    assert_string_equal(key.rule.origin, "file");
    expect_rule(&key.rename, NULL, NULL);
    assert_int_equal(key.name_size, 6);
    assert_memory_equal(key.name, "user:1", 6);
    assert_int_equal(key.slot, slot_of_key("user:1", 6));
    assert_string_equal(key.types, "string, list, set, zset, hash, module");

    key = key_of(3, "old:1");
    assert_int_equal(key.action, SYN_ACTION_RENAME);
    assert_int_equal(key.db_there, 3);
    expect_rule(&key.rule, "include_prefix[1]", "old:");
    expect_rule(&key.rename, "rename_prefix[0]", "old:=new:");
    assert_memory_equal(key.name, "new:1", 5);
    assert_int_equal(key.slot, slot_of_key("new:1", 5));

    key = key_of(0, "user:tmp");
    assert_int_equal(key.action, SYN_ACTION_DROP);
    expect_rule(&key.rule, "exclude_suffix[0]", ":tmp");

    key = key_of(0, "other");
    assert_int_equal(key.action, SYN_ACTION_DROP);
    expect_rule(&key.rule, NULL, NULL);
    assert_string_equal(key.text, "no include rule names it");

    key = key_of(0, "new:x1"); /* kept under its name, which old:x1 would have */
    assert_int_equal(key.action, SYN_ACTION_REFUSE);
    expect_rule(&key.rename, "rename_prefix[0]", "old:=new:");

    key = key_of(1, "user:1");
    assert_int_equal(key.action, SYN_ACTION_DROP);
    assert_false(key.is_db_selected);
    assert_string_equal(key.text, "its database is not selected");
    key = key_of(0, "");
    assert_int_equal(key.action, SYN_ACTION_DROP);

    open_rules("{}");
    key = key_of(7, "anything");
    assert_int_equal(key.action, SYN_ACTION_KEEP);
    assert_int_equal(key.db_there, 7);
    assert_null(key.types);
}

static void test_commands(void **state)
{
    (void)state;
    open_rules(rules);
    struct syn_explained_command it = command_of(0, "SET user:1 x");
    assert_string_equal(it.name, "SET");
    assert_string_equal(it.group, "string");
    assert_string_equal(it.kind, "write");
    assert_int_equal(it.action, SYN_ACTION_KEEP);
    assert_int_equal(it.key_count, 1);
    assert_int_equal(it.keys[0].action, SYN_ACTION_KEEP);
    assert_int_equal(it.become_count, 1);
    assert_string_equal(become(&it, 0), "SET user:1 x");
    assert_int_equal(it.standalone, SYN_WAY_FORWARD);
    assert_int_equal(it.cluster, SYN_WAY_FORWARD);

    it = command_of(0, "DEL user:1 other old:2");
    assert_int_equal(it.action, SYN_ACTION_REDUCE);
    assert_int_equal(it.key_count, 3);
    assert_int_equal(it.keys[1].action, SYN_ACTION_DROP);
    assert_string_equal(become(&it, 0), "DEL user:1 new:2");
    assert_int_equal(it.standalone, SYN_WAY_FORWARD);
    assert_int_equal(it.cluster, SYN_WAY_SPLIT);
    assert_non_null(it.cluster_text);

    it = command_of(0, "RENAME old:1 user:tmp");
    assert_int_equal(it.action, SYN_ACTION_REPLACE);
    expect_rule(&it.rule, "exclude_suffix[0]", ":tmp");
    assert_string_equal(become(&it, 0), "DEL new:1");

    it = command_of(0, "RENAME old:1 user:2");
    assert_int_equal(it.action, SYN_ACTION_REPLACE);
    assert_int_equal(it.standalone, SYN_WAY_FORWARD);
    assert_int_equal(it.cluster, SYN_WAY_RELAY); /* never a script over two slots */

    it = command_of(0, "COPY user:1 user:2 DB 3");
    assert_int_equal(it.become_count, 2);
    assert_string_equal(become(&it, 0), "DEL user:2");
    assert_int_equal(it.become[0].db, 3);
    assert_string_equal(become(&it, 1), "COPY user:1 user:2 DB 3");
    assert_int_equal(it.become[1].db, 0);
    assert_int_equal(it.standalone, SYN_WAY_FORWARD);
    assert_int_equal(it.cluster, SYN_WAY_REFUSE);

    it = command_of(0, "XADD user:1 1-1 f v");
    assert_int_equal(it.action, SYN_ACTION_DROP);
    expect_rule(&it.rule, "exclude_type[0]", "stream");
    assert_int_equal(it.become_count, 0);
    assert_int_equal(it.standalone, SYN_WAY_DROP);

    it = command_of(0, "RENAME other user:1");
    assert_int_equal(it.action, SYN_ACTION_PARTIAL);
    assert_int_equal(it.standalone, SYN_WAY_REFETCH);
    it = command_of(0, "FLUSHALL");
    assert_int_equal(it.action, SYN_ACTION_REDUCE);
    assert_int_equal(it.standalone, SYN_WAY_BARRIER);
    assert_string_equal(it.kind, "flush");
    it = command_of(0, "SET new:x1 1");
    assert_int_equal(it.action, SYN_ACTION_REFUSE);
    expect_rule(&it.rule, "rename_prefix[0]", "old:=new:");
    it = command_of(1, "SET user:1 x");
    assert_int_equal(it.action, SYN_ACTION_DROP);
    assert_string_equal(it.text, "its database is not selected");
    it = command_of(3, "SET user:1 x");
    assert_int_equal(it.standalone, SYN_WAY_FORWARD);
    assert_int_equal(it.cluster, SYN_WAY_REFUSE);
    it = command_of(0, "SELECT 3");
    assert_int_equal(it.standalone, SYN_WAY_PROTOCOL);
    it = command_of(0, "GET user:1");
    assert_int_equal(it.cluster, SYN_WAY_DROP);

    open_rules("on_partial: drop\nexclude_command: [foo.bar, '@scripting']\nexclude_key: 'x*'\n");
    it = command_of(0, "RENAME x1 a");
    assert_int_equal(it.action, SYN_ACTION_PARTIAL);
    assert_int_equal(it.standalone, SYN_WAY_REFETCH);
    it = command_of(0, "MSET syncline:position 1 a 2");
    assert_int_equal(it.action, SYN_ACTION_REDUCE);
    open_rules("on_partial: drop\npositions: 'off'\nexclude_key: 'x*'\n"
               "exclude_command: [foo.bar, '@scripting']\n");
    it = command_of(0, "RENAME x1 a");
    assert_int_equal(it.standalone, SYN_WAY_DROP);
    expect_rule(&it.rule, "exclude_key[0]", "x*");
    it = command_of(0, "FOO.BAR x");
    assert_int_equal(it.action, SYN_ACTION_DROP);
    assert_null(it.group);
    expect_rule(&it.rule, "exclude_command[0]", "foo.bar");
    it = command_of(0, "FOO.BAZ x");
    assert_int_equal(it.standalone, SYN_WAY_ASK);
    it = command_of(0, "EVAL s 0");
    assert_int_equal(it.action, SYN_ACTION_DROP);
    expect_rule(&it.rule, "exclude_command[1]", "@scripting");
}

/* The README's rules are rules, and its examples come out. */
static void test_readme(void **state)
{
    (void)state;
    static char text[65536];
    char yaml[2048] = "";
    FILE *file = fopen(TEST_SOURCE_DIR "/README.md", "r");
    assert_non_null(file);
    text[fread(text, 1, sizeof(text) - 1, file)] = '\0';
    fclose(file);
    const char *at = strstr(text, "### Selection\n\n");
    assert_non_null(at);
    at = strstr(at, "\n\n") + 2;
    for (; strncmp(at, "    ", 4) == 0; at = strchr(at, '\n') + 1) {
        size_t size = strlen(yaml);
        snprintf(yaml + size, sizeof(yaml) - size, "%.*s", (int)strcspn(at + 4, "\n") + 1, at + 4);
    }
    assert_non_null(strstr(yaml, "rename_prefix"));
    open_rules(yaml);
    assert_int_equal(key_of(0, "user:1").action, SYN_ACTION_KEEP);
    assert_int_equal(key_of(0, "user:lock:7").action, SYN_ACTION_DROP);
    assert_int_equal(key_of(0, "old:1").action, SYN_ACTION_RENAME);
    assert_int_equal(command_of(0, "RENAME old:1 user:2").action, SYN_ACTION_REPLACE);
    assert_int_equal(command_of(0, "MSET user:1 a tmp:2 b").action, SYN_ACTION_REDUCE);
    assert_int_equal(command_of(0, "FLUSHALL").action, SYN_ACTION_DROP);
}

/* Several lanes to a standalone server change what is alone. */
static void test_lanes(void **state)
{
    (void)state;
    open_rules("lanes: 2\n");
    struct syn_explained_command it = command_of(0, "SUNIONSTORE foo bar");
    assert_int_equal(it.standalone, SYN_WAY_BARRIER);
    assert_int_equal(it.cluster, SYN_WAY_RELAY);
    assert_string_equal(syn_way_name(it.cluster), "relay");
    it = command_of(0, "SMOVE foo bar member");
    assert_int_equal(it.cluster, SYN_WAY_SPLIT);
    it = command_of(0, "EVAL code 2 foo bar");
    assert_int_equal(it.standalone, SYN_WAY_BARRIER);
    assert_int_equal(it.cluster, SYN_WAY_REFETCH);
    assert_string_equal(syn_way_name(it.cluster), "refetch");
    assert_non_null(it.cluster_text);
    open_rules("lanes: 1\n");
    it = command_of(0, "SUNIONSTORE foo bar");
    assert_int_equal(it.standalone, SYN_WAY_FORWARD);
}

static void test_mistakes(void **state)
{
    (void)state;
    open_rules("{}");
    struct syn_explained_command out;
    const void *words[] = {"SET"};
    assert_false(syn_explain_command(explain, 0, 1, words, NULL, &out, &err));
    assert_int_equal(err.code, SYN_CODE_USAGE);
    assert_non_null(strstr(err.msg, "SET with 1 arguments"));
    assert_false(syn_explain_command(explain, 0, 0, words, NULL, &out, &err));
    assert_int_equal(err.code, SYN_CODE_USAGE);
    assert_true(syn_explain_knows("set", 3));
    assert_false(syn_explain_knows("sett", 4));
    struct syn_config *config = syn_config_new(&err);
    assert_true(syn_config_set(config, "rename-prefix", "a=x", &err));
    assert_true(syn_config_set(config, "rename-prefix", "b=x", &err));
    assert_null(syn_explain_open(config, &err));
    assert_int_equal(err.code, SYN_CODE_CONFIG);
    syn_config_free(config);
    syn_explain_free(NULL);
}

/* Every allocation fails in turn. */
static void test_memory(void **state)
{
    (void)state;
    struct syn_config *config = syn_config_new(&err);
    assert_true(syn_config_set(config, "rename-prefix", "old:=n:", &err));
    assert_true(syn_config_set(config, "exclude-type", "string", &err));
    syn_explain_free(explain);
    explain = NULL;
    bool is_done = false;
    for (uint64_t n = 1; !is_done; n++) {
        const void *words[] = {"COPY", "old:1", "a"};
        struct syn_explained_command out;
        mem_fail_at(n);
        struct syn_explain *it = syn_explain_open(config, &err);
        is_done = it != NULL && syn_explain_command(it, 0, 3, words, NULL, &out, &err);
        mem_fail_at(0);
        if (!is_done) {
            assert_int_equal(err.code, SYN_CODE_MEMORY);
        } else {
            assert_int_equal(out.become_count, 2);
        }
        syn_explain_free(it);
        assert_true(n < 200);
    }
    syn_config_free(config);
    assert_int_equal(mem_live_bytes(MEM_ENGINE), 0);
    assert_int_equal(mem_live_bytes(MEM_APPLY), 0);
}

/* ---- the program ---- */

#define ARGUMENTS_MAX 24

static struct {
    int status;
    char out[65536];
    char err[4096];
} run;

static void read_back(int fd, char *text, size_t size)
{
    ssize_t got = pread(fd, text, size - 1, 0);
    text[got > 0 ? got : 0] = '\0';
    close(fd);
}

static void execute(const char *const *argv)
{
    int out = memfd_create("out", 0);
    int errors = memfd_create("err", 0);
    fflush(NULL);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        dup2(out, STDOUT_FILENO);
        dup2(errors, STDERR_FILENO);
        char *words[ARGUMENTS_MAX + 1] = {NULL};
        for (unsigned i = 0; i < ARGUMENTS_MAX && argv[i] != NULL; i++) {
            words[i] = strdup(argv[i]);
        }
        execv(words[0], words);
        _exit(127);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    run.status = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    read_back(out, run.out, sizeof(run.out));
    read_back(errors, run.err, sizeof(run.err));
}
#define EXPLAIN(...) execute((const char *const[]){SYNCLINE_BINARY, "explain", __VA_ARGS__, NULL})

static void expect_text(const char *expected)
{
    assert_string_equal(run.err, "");
    assert_int_equal(run.status, 0);
    assert_string_equal(run.out, expected);
}

static void test_program_text(void **state)
{
    (void)state;
    EXPLAIN("--exclude-prefix", "tmp:", "--rename-prefix=old:=new:", "user:1", "tmp:1", "old:1");
    expect_text("key \"user:1\" in database 0\n    kept\n    goes to database 0\n"
                "key \"tmp:1\" in database 0\n    dropped: an exclude rule names it; "
                "exclude_prefix[0] \"tmp:\" (option)\n"
                "key \"old:1\" in database 0\n    kept as \"new:1\"; rename_prefix[0] "
                "\"old:=new:\" (option)\n    goes to database 0\n");
    /* One argument that is a command; a key that holds a blank; all behind -- is one command. */
    EXPLAIN("--exclude-type=set", "set k \"a b\\\"\"", "no command", "--", "DEL", "a", "b c");
    expect_text("command SET in database 0 (write, @string)\n    key \"k\": kept\n"
                "    kept: no rule changes it\n    standalone: forwarded\n    cluster: forwarded\n"
                "key \"no command\" in database 0\n    kept\n    goes to database 0, if its type "
                "is string, list, zset, hash, stream, module\n"
                "command DEL in database 0 (write key by key, @generic)\n    key \"a\": kept\n"
                "    key \"b c\": kept\n    kept: no rule changes it\n    standalone: forwarded\n"
                "    cluster: split, one operation for each key: its keys are in several slots\n");
    EXPLAIN("--cluster", "--db-map", "3:0", "--db", "3", "foo");
    expect_text("key \"foo\" in database 3\n    kept, slot 12182\n    goes to database 0\n");
    EXPLAIN("--cluster", "--db", "3", "foo");
    expect_text("key \"foo\" in database 3\n    kept, slot 12182\n    goes to database 3; but a "
                "cluster has only database 0\n");
    /* Bytes of any kind, as they are printed. */
    EXPLAIN("--include-prefix", "\\xac\\xed\\x00", "\\xac\\xed\\x00\\x05", "\\\\");
    expect_text("key \"\\xac\\xed\\x00\\x05\" in database 0\n    kept; include_prefix[0] "
                "\"\\\\xac\\\\xed\\\\x00\" (option)\n    goes to database 0\n"
                "key \"\\\\\" in database 0\n    dropped: no include rule names it\n");
    EXPLAIN("FLUSHALL");
    assert_non_null(strstr(run.out, "for the command of this name: syncline explain -- FLUSHALL"));
    EXPLAIN("--", "RENAME a b");
    assert_non_null(strstr(run.out, "command RENAME in database 0"));
}

/* The command line's list replaces that of the file, and each says where it is from. */
static void test_program_file(void **state)
{
    (void)state;
    char path[] = "/tmp/syncline-explain-XXXXXX";
    int fd = mkstemp(path);
    static const char text[] = "source: redis://u:hunter2@h\nexclude_prefix: ['a', 'b']\n"
                               "exclude_suffix: ':x'\ndb: 0\n";
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    close(fd);
    setenv("SYNCLINE_EXCLUDE_KEY", "k1\nk2", 1);
    EXPLAIN("--config", path, "a1", "b1", "1:x", "k2");
    assert_int_equal(run.status, 0);
    assert_non_null(strstr(run.out, "exclude_prefix[1] \"b\" (file)"));
    assert_non_null(strstr(run.out, "exclude_suffix[0] \":x\" (file)"));
    assert_non_null(strstr(run.out, "exclude_key[1] \"k2\" (environment)"));
    EXPLAIN("--config", path, "--exclude-prefix", "c", "--exclude-prefix", "d", "a1", "d1", "1:x");
    assert_non_null(strstr(run.out, "key \"a1\" in database 0\n    kept"));
    assert_non_null(strstr(run.out, "exclude_prefix[1] \"d\" (option)"));
    assert_non_null(strstr(run.out, "exclude_suffix[0] \":x\" (file)"));
    EXPLAIN("--config", path, "--exclude-prefix=", "a1");
    assert_non_null(strstr(run.out, "kept"));
    EXPLAIN("--config", path, "--db", "1", "z");
    assert_non_null(strstr(run.out, "dropped: its database is not selected"));
    assert_null(strstr(run.out, "hunter2"));
    unsetenv("SYNCLINE_EXCLUDE_KEY");
    unlink(path);
}

static void test_program_json(void **state)
{
    (void)state;
    EXPLAIN("--output=json",
            "--rename-prefix",
            "old:=\\xff",
            "old:1",
            "--cluster",
            "--",
            "MSET",
            "old:1",
            "a\"",
            "b",
            "2");
    assert_int_equal(run.status, 0);
    const char *at = run.out;
    static const char *const kinds[] = {"explained_key", "explained_command", "result"};
    json_t *events[3];
    for (int i = 0; i < 3; i++) {
        json_error_t error;
        events[i] = json_loadb(at, strcspn(at, "\n"), 0, &error);
        assert_non_null(events[i]);
        assert_string_equal(json_string_value(json_object_get(events[i], "event")), kinds[i]);
        at += strcspn(at, "\n") + 1;
    }
    assert_string_equal(json_string_value(json_object_get(events[0], "action")), "rename");
    assert_string_equal(json_string_value(json_object_get(events[0], "name")), "\\xff1");
    assert_int_equal(json_integer_value(json_object_get(events[0], "slot")),
                     slot_of_key("\xff"
                                 "1",
                                 2));
    json_t *rule = json_object_get(events[0], "rename");
    assert_string_equal(json_string_value(json_object_get(rule, "name")), "rename_prefix[0]");
    assert_true(json_is_null(json_object_get(events[0], "rule")));
    assert_int_equal(json_array_size(json_object_get(events[1], "keys")), 2);
    json_t *words =
        json_object_get(json_array_get(json_object_get(events[1], "become"), 0), "words");
    assert_int_equal(json_array_size(words), 5);
    assert_string_equal(json_string_value(json_array_get(words, 1)), "\\xff1");
    assert_string_equal(json_string_value(json_array_get(words, 2)), "a\\\"");
    json_t *cluster = json_object_get(events[1], "cluster");
    assert_string_equal(json_string_value(json_object_get(cluster, "way")), "split");
    assert_string_equal(json_string_value(json_object_get(events[2], "command")), "explain");
    for (int i = 0; i < 3; i++) {
        json_decref(events[i]);
    }
}

static void expect_error(int status, const char *text)
{
    assert_int_equal(run.status, status);
    if (strstr(run.err, text) == NULL) {
        fail_msg("\"%s\" is not in \"%s\"", text, run.err);
    }
}

static void test_program_mistakes(void **state)
{
    (void)state;
    EXPLAIN("--output", "text");
    expect_error(2, "syncline: nothing to explain: name keys, or a command behind --");
    EXPLAIN("a\\q");
    expect_error(2, "an escape is not one of");
    EXPLAIN("SET a \"b");
    expect_error(2, "a quote in a command does not close");
    EXPLAIN("--", "SET");
    expect_error(2, "SET with 1 arguments; it takes at least 3");
    EXPLAIN("--db", "x", "a");
    expect_error(2, "--db needs the number of one database");
    EXPLAIN("--db", "0,3", "a");
    expect_error(2, "--db needs the number of one database");
    EXPLAIN("--cluster=maybe", "a");
    expect_error(2, "--cluster is true or false");
    EXPLAIN("--once", "a");
    expect_error(2, "--once is not an option of syncline explain");
    EXPLAIN("--rename-prefix", "a=x", "--rename-prefix", "b=x", "a");
    expect_error(3, "rename_prefix[1]: two keys could get one name");
    EXPLAIN("--exclude-command", "flushal", "a");
    expect_error(3, "--exclude-command: no command \"flushal\"; did you mean FLUSHALL?");
    EXPLAIN("--help");
    assert_int_equal(run.status, 0);
    assert_non_null(strstr(run.out, "\n  --cluster\n"));
    assert_non_null(strstr(run.out, "\n  --db N\n"));
    assert_null(strstr(run.out, "\n  --db LIST\n"));
    assert_null(strstr(run.out, "\n  --memory"));
}

static int teardown(void **state)
{
    (void)state;
    syn_explain_free(explain);
    explain = NULL;
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_keys),
        cmocka_unit_test(test_commands),
        cmocka_unit_test(test_readme),
        cmocka_unit_test(test_lanes),
        cmocka_unit_test(test_mistakes),
        cmocka_unit_test(test_memory),
        cmocka_unit_test(test_program_text),
        cmocka_unit_test(test_program_file),
        cmocka_unit_test(test_program_json),
        cmocka_unit_test(test_program_mistakes),
    };
    return cmocka_run_group_tests(tests, NULL, teardown);
}
