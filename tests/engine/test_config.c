/* Options: bounds, lists, precedence, secrets, and what they become together. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/engine/config_store.h"

static struct config built;

static struct syn_config *new_config(void)
{
    struct syn_err err;
    struct syn_config *config = syn_config_new(&err);
    assert_non_null(config);
    return config;
}

static void set(struct syn_config *config, const char *name, const char *value)
{
    struct syn_err err;
    if (!syn_config_set(config, name, value, &err)) {
        fail_msg("%s", err.msg);
    }
}

static struct syn_config *with_sides(const char *source, const char *destination)
{
    struct syn_config *config = new_config();
    set(config, "source", source);
    set(config, "destination", destination);
    return config;
}

static void build(const struct syn_config *config)
{
    struct syn_err err;
    if (!config_build(config, &built, &err)) {
        fail_msg("%s", err.msg);
    }
}

static void build_fails(const struct syn_config *config, const char *message)
{
    struct syn_err err;
    assert_false(config_build(config, &built, &err));
    assert_int_equal(err.code, SYN_CODE_CONFIG);
    if (strncmp(err.msg, message, strlen(message)) != 0) {
        fail_msg("expected: %s\nbut got: %s", message, err.msg);
    }
}

static void set_fails(const char *name, const char *value, const char *message)
{
    struct syn_config *config = new_config();
    struct syn_err err;
    if (syn_config_set(config, name, value, &err)) {
        fail_msg("accepted: %s = %s", name, value);
    }
    assert_int_equal(err.code, SYN_CODE_CONFIG);
    if (strncmp(err.msg, message, strlen(message)) != 0) {
        fail_msg("expected: %s\nbut got: %s", message, err.msg);
    }
    syn_config_free(config);
}

/* A default that help prints and the engine does not use would be a lie. */
static void test_defaults(void **state)
{
    (void)state;
    struct syn_config *config = with_sides("s:1", "d:2");
    build(config);
    assert_int_equal(built.mode, SYNC_FOLLOW);
    assert_int_equal(built.on_nonempty, NONEMPTY_STOP);
    assert_false(built.prefer_replica);
    assert_false(built.has_db_rules);
    assert_int_equal(config_db(&built, 5000), 5000);
    assert_int_equal(built.io, IO_BACKEND_AUTO);
    assert_int_equal(built.reader_count, 0);
    assert_int_equal(built.decoder_count, 0);
    assert_int_equal(built.lane_count, 0);
    assert_int_equal(built.memory_bytes, 48 << 20);
    assert_int_equal(built.connect_timeout_ms, 5000);
    assert_int_equal(built.silence_timeout_ms, 60000);
    assert_int_equal(built.retry_ms, 720 * 60000);
    assert_int_equal(built.drain_timeout_ms, 10000);
    assert_int_equal(built.verify, VERIFY_FULL);
    assert_int_equal(built.verify_rounds, 5);
    assert_int_equal(built.verify_interval_ms, 1000);
    assert_int_equal(built.ttl_tolerance_ms, 1000);
    syn_config_free(config);
}

/* The table is what everything else is made from: each entry must hold together, and each default
 * must be a value that the option takes. */
static void test_table(void **state)
{
    (void)state;
    size_t count;
    const struct syn_option *table = syn_options(&count);
    assert_int_equal(count, OPTION_COUNT);
    for (size_t i = 0; i < count; i++) {
        const struct syn_option *option = &table[i];
        char env[80] = "SYNCLINE_";
        size_t size = strlen(env);
        for (const char *c = option->name; *c != '\0'; c++) {
            env[size++] = (char)(*c == '-' ? '_' : *c - 'a' + 'A');
        }
        env[size] = '\0';
        if (option->env != NULL) {
            assert_string_equal(option->env, env);
        }
        assert_true(strlen(option->name) < OPTION_NAME_MAX);
        assert_true(strlen(option->help) > 10);
        assert_int_equal(option->value_name == NULL, option->kind == SYN_OPTION_FLAG);
        assert_int_equal(option->choices != NULL, option->kind == SYN_OPTION_CHOICE);
        assert_true(option->min <= option->max);
        struct syn_err err;
        if (option->default_text != NULL) {
            assert_true(option_check((enum option_id)i, option->name, option->default_text, &err));
        } else {
            assert_true(option->kind == SYN_OPTION_TEXT || option->kind == SYN_OPTION_LIST);
        }
        assert_int_equal(option_find(option->name), i);
    }
}

/* Both bounds of every number: the last good value is taken, the next is not, and neither is a
 * value that only overflow makes small. */
static void test_bounds(void **state)
{
    (void)state;
    size_t count;
    const struct syn_option *table = syn_options(&count);
    for (size_t i = 0; i < count; i++) {
        const struct syn_option *option = &table[i];
        const char *unit = "";
        if (option->kind == SYN_OPTION_DURATION) {
            unit = "ms";
        } else if (option->kind != SYN_OPTION_INTEGER && option->kind != SYN_OPTION_SIZE) {
            continue;
        }
        const int64_t values[] = {option->min, option->max, option->min - 1, option->max + 1};
        for (unsigned v = 0; v < 4; v++) {
            char text[40];
            snprintf(text, sizeof(text), "%lld%s", (long long)values[v], unit);
            struct syn_err err;
            int64_t number = -7;
            bool ok = option_read_number((enum option_id)i, option->name, text, &number, &err);
            assert_int_equal(ok, v < 2);
            assert_int_equal(number, ok ? values[v] : -7);
            if (!ok) {
                assert_int_equal(strncmp(err.msg, option->name, strlen(option->name)), 0);
                assert_null(strchr(err.msg, '\n'));
            }
        }
    }
    set_fails("memory", "18446744073709551615g", "memory: \"18446744073709551615g\" is not a size");
    set_fails("memory", "17179869184g", "memory: \"17179869184g\" is not a size");
    set_fails("interval", "99999999999999999999ms", "interval: ");
    set_fails("readers", "1k", "readers: \"1k\" is not a number from 0 to 256");
    set_fails("readers", " 1", "readers: \" 1\" is not a number");
    set_fails("readers", "", "readers: the value is empty");
    set_fails("io", "uringx", "io: \"uringx\" is not allowed (auto, uring, epoll)");
    set_fails("io", "uri", "io: \"uri\" is not allowed");
    set_fails("io", "auto|uring", "io: \"auto|uring\" is not allowed");
    set_fails("once", "2", "once: \"2\" is not allowed (true, false)");
    set_fails("on-nonempty", "a\nb", "on-nonempty: \"a?b\" is not allowed (stop, overwrite)");
}

static void test_units(void **state)
{
    (void)state; /* A unit read wrongly is a timeout or a memory off by a thousand. */
    static const struct {
        enum option_id id;
        const char *text;
        int64_t number;
    } units[] = {{OPTION_MEMORY, "9437184", 9437184},
                 {OPTION_MEMORY, "9216k", 9437184},
                 {OPTION_MEMORY, "9M", 9437184},
                 {OPTION_MEMORY, "9mb", 9437184},
                 {OPTION_MEMORY, "1g", 1 << 30},
                 {OPTION_MEMORY, "064m", 64 << 20},
                 {OPTION_INTERVAL, "0", 0},
                 {OPTION_INTERVAL, "0s", 0},
                 {OPTION_INTERVAL, "250ms", 250},
                 {OPTION_INTERVAL, "2s", 2000},
                 {OPTION_INTERVAL, "3m", 180000},
                 {OPTION_INTERVAL, "1h", 3600000},
                 {OPTION_ONCE, "YES", 1},
                 {OPTION_ONCE, "off", 0},
                 {OPTION_IO, "epoll", 2}};
    for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
        int64_t number;
        struct syn_err err;
        if (!option_read_number(units[i].id, "x", units[i].text, &number, &err)) {
            fail_msg("%s", err.msg);
        }
        assert_int_equal(number, units[i].number);
    }
}

/* Selected and mapped databases: nothing else may be copied, and nothing lands in two places. */
static void test_db(void **state)
{
    (void)state;
    struct syn_config *config = with_sides("s:1", "d:2");
    set(config, "db", "0,3, 5-7");
    build(config);
    assert_true(built.has_db_rules);
    for (unsigned db = 0; db < 12; db++) {
        bool is_selected = db == 0 || db == 3 || (db >= 5 && db <= 7);
        assert_int_equal(config_db(&built, db), is_selected ? db : CONFIG_DB_NONE);
    }
    assert_int_equal(config_db(&built, 5000), CONFIG_DB_NONE);
    set(config, "db-map", "3:9,0:3");
    build(config);
    assert_int_equal(config_db(&built, 0), 3);
    assert_int_equal(config_db(&built, 3), 9);
    assert_int_equal(config_db(&built, 6), 6);
    set(config, "db-map", "1:9");
    build_fails(config, "db-map: database 1 is not selected by db");
    set(config, "db-map", "3:0");
    build_fails(config, "db-map: databases 0 and 3 would both be written to 0");
    syn_config_free(config);

    config = with_sides("s:1", "d:2");
    set(config, "db-map", "1:2,3:0");
    build(config);
    assert_int_equal(config_db(&built, 0), CONFIG_DB_NONE);
    assert_int_equal(config_db(&built, 1), 2);
    assert_int_equal(config_db(&built, 3), 0);
    set(config, "db-map", "1:2,3:2");
    build_fails(config, "db-map: databases 1 and 3 would both be written to 2");
    set(config, "db-map", "0:1,1:0");
    build(config);
    assert_int_equal(config_db(&built, 1), 0);
    syn_config_free(config);

    set_fails("db",
              "1024",
              "db: not a list of databases (0 to 1023) at position 1; write it like "
              "0,3,5-7");
    set_fails("db", "1,", "db: not a list of databases (0 to 1023) at position 3");
    set_fails("db", "1-", "db: not a list of databases (0 to 1023) at position 3");
    set_fails("db", "1;2", "db: not a list of databases (0 to 1023) at position 2");
    set_fails("db", "7-5", "db: the range at position 1 runs backwards");
    set_fails("db-map", "1", "db-map: not a list of databases (0 to 1023) at position 2");
    set_fails("db-map", "1:2,1:3", "db-map: database 1 is mapped twice");
    set_fails("db-map", "1:", "db-map: not a list of databases (0 to 1023) at position 3");
}

/* A heartbeat that is too frequent is a mistake, and braces in its prefix would decide its slot. */
static void test_heartbeat(void **state)
{
    (void)state;
    struct syn_config *config = with_sides("s:1", "d:2");
    build(config);
    assert_int_equal(built.heartbeat_ms, 0);
    assert_string_equal(built.heartbeat_prefix, "DTS_REDIS_TIMESTAMP_HEARTBEAT");
    set(config, "heartbeat", "99ms");
    build_fails(config, "heartbeat: 99ms is too often: at least 100ms, or 0 for none");
    set(config, "heartbeat", "1s");
    set(config, "heartbeat-prefix", "beat");
    build(config);
    assert_int_equal(built.heartbeat_ms, 1000);
    assert_string_equal(built.heartbeat_prefix, "beat");
    syn_config_free(config);
    set_fails("heartbeat-prefix", "a{b", "heartbeat-prefix: braces are not allowed in it");
    set_fails("heartbeat-prefix", "", "heartbeat-prefix: the value is empty");
    char text[HEARTBEAT_PREFIX_MAX + 2];
    memset(text, 'x', sizeof(text));
    text[sizeof(text) - 1] = '\0';
    set_fails("heartbeat-prefix", text, "heartbeat-prefix: longer than 64 bytes");
}

/* Each rate has its option, in the order of the rates. */
static void test_rates(void **state)
{
    (void)state;
    struct syn_config *config = with_sides("s:1", "d:2");
    for (int i = 0; i < SYN_RATE_COUNT; i++) {
        char text[8];
        snprintf(text, sizeof(text), "%d", i + 1);
        set(config, syn_rate_name((enum syn_rate)i), text);
    }
    set(config, "live-bytes", "2m");
    build(config);
    for (int i = 0; i < SYN_RATE_COUNT; i++) {
        assert_int_equal(built.rates.per_s[i], i == SYN_RATE_LIVE_BYTES ? 2 << 20 : i + 1);
    }
    assert_string_equal(syn_rate_name(SYN_RATE_COUNT), "none");
    syn_config_free(config);
}

/* /db in URIs means what people of redis-cli expect, or an error that says what to write. */
static void test_db_in_uri(void **state)
{
    (void)state;
    struct syn_config *config = with_sides("s:1/4", "d:2");
    build(config);
    assert_int_equal(config_db(&built, 4), 4);
    assert_int_equal(config_db(&built, 0), CONFIG_DB_NONE);
    set(config, "destination", "d:2/7");
    build(config);
    assert_int_equal(config_db(&built, 4), 7);
    assert_int_equal(config_db(&built, 7), CONFIG_DB_NONE);
    set(config, "db", "1"); /* wins over the source's /4 */
    build(config);
    assert_int_equal(config_db(&built, 1), 7);
    assert_int_equal(config_db(&built, 4), CONFIG_DB_NONE);
    set(config, "db", "1,2");
    build_fails(config,
                "destination: /7 in the URI needs exactly one source database, and "
                "several are selected: name one (--db N), or say where each goes "
                "(--db-map 0:7)");
    set(config, "db-map", "1:3");
    build_fails(config, "destination: /7 in the URI and db-map contradict each other");
    syn_config_free(config);

    config = with_sides("s:1", "d:2/0");
    build_fails(config,
                "destination: /0 in the URI needs exactly one source database, and all "
                "are selected");
    syn_config_free(config);
    config = with_sides("s:1/4", "d:2");
    set(config, "db-map", "5:5");
    build_fails(config, "db-map: database 5 is not selected by the source URI");
    syn_config_free(config);
}

static void test_missing_and_exclusive(void **state)
{
    (void)state; /* What no single option can see: the error names what to do. */
    struct syn_config *config = new_config();
    build_fails(config,
                "source: not given; set it as an argument or --source URI, in "
                "SYNCLINE_SOURCE, or as source: in the configuration file");
    set(config, "source", "s");
    build_fails(config, "destination: not given; ");
    set(config, "destination", "d");
    set(config, "once", "true");
    build(config);
    assert_int_equal(built.mode, SYNC_ONCE);
    set(config, "snapshot-only", "true");
    build_fails(config, "once and snapshot-only exclude each other");
    set(config, "once", "false");
    build(config);
    assert_int_equal(built.mode, SYNC_SNAPSHOT_ONLY);
    set(config, "fast", "true");
    build(config);
    assert_int_equal(built.verify, VERIFY_FAST);
    set(config, "full", "true");
    build_fails(config, "full and fast exclude each other");
    set(config, "fast", "no");
    build(config);
    assert_int_equal(built.verify, VERIFY_FULL);
    set(config, "one-thread", "on");
    set(config, "decoders", "2");
    build_fails(config, "one-thread on leaves room for one reader and one decoder");
    set(config, "decoders", "1");
    build(config);
    assert_int_equal(built.one_thread, ONE_THREAD_ON);
    set(config, "io", "epoll");
    set(config, "on-nonempty", "overwrite");
    set(config, "retry-connection", "0");
    build(config);
    assert_int_equal(built.io, IO_BACKEND_EPOLL);
    assert_int_equal(built.on_nonempty, NONEMPTY_OVERWRITE);
    assert_int_equal(built.retry_ms, 0);
    syn_config_free(config);
}

/* The environment, then a file, then calls: the later one wins, whatever the option. */
static void test_precedence(void **state)
{
    (void)state;
    struct syn_config *config = with_sides("s", "d");
    struct syn_err err;
    setenv("SYNCLINE_LANES", "1", 1);
    setenv("SYNCLINE_READERS", "1", 1);
    setenv("SYNCLINE_DECODERS", "1", 1);
    setenv("SYNCLINE_MEMORY", "", 1); /* empty: not set */
    assert_true(syn_config_load_env(config, &err));
    static const char file[] = "readers: 2\nlanes: 2\n";
    assert_true(syn_config_load(config, file, strlen(file), "f", &err));
    set(config, "lanes", "3");
    build(config);
    assert_int_equal(built.decoder_count, 1);
    assert_int_equal(built.reader_count, 2);
    assert_int_equal(built.lane_count, 3);
    assert_int_equal(built.memory_bytes, 48 << 20);
    assert_string_equal(syn_config_get(config, "lanes"), "3");
    assert_string_equal(syn_config_get(config, "memory"), "48m");
    assert_null(syn_config_get(config, "nonsense"));

    /* A wrong variable is named, and nothing of the environment is taken. */
    setenv("SYNCLINE_DECODERS", "5", 1);
    setenv("SYNCLINE_LANES", "many", 1);
    assert_false(syn_config_load_env(config, &err));
    assert_int_equal(err.code, SYN_CODE_CONFIG);
    assert_string_equal(err.msg, "SYNCLINE_LANES: \"many\" is not a number from 0 to 64");
    assert_string_equal(config->text[OPTION_DECODERS], "1");
    unsetenv("SYNCLINE_LANES");
    unsetenv("SYNCLINE_READERS");
    unsetenv("SYNCLINE_DECODERS");
    unsetenv("SYNCLINE_MEMORY");
    syn_config_free(config);
}

static void expect_source(const char *user, const char *password)
{
    assert_string_equal(built.source.hosts[0].user, user);
    assert_string_equal(built.source.hosts[0].password, password);
}

/* Credentials from each place, and which one counts. */
static void test_secrets(void **state)
{
    (void)state;
    struct syn_config *config = with_sides("s", "d");
    set(config, "source-password", "p");
    build(config);
    expect_source("", "p");
    assert_string_equal(built.destination.hosts[0].password, "");
    set(config, "source-password", "u:p:q");
    build(config);
    expect_source("u", "p:q");
    set(config, "source-user", "v"); /* then the whole text is the password */
    build(config);
    expect_source("v", "u:p:q");
    assert_null(syn_config_get(config, "source-password"));
    assert_null(syn_config_get(config, "source"));

    char path[] = "/tmp/syncline-password-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, "w:f%le\r\nrest\n", 13), 13);
    close(fd);
    set(config, "source-password-file", path); /* replaces the password */
    build(config);
    expect_source("v", "w:f%le");
    set(config, "source", "redis://a:b@s,t"); /* the URI's own win */
    build(config);
    expect_source("a", "b");
    assert_string_equal(built.source.hosts[1].password, "b");
    set(config, "source", "redis://a:@s"); /* a user without a password takes it */
    build(config);
    expect_source("a", "w:f%le");
    unlink(path);
    build_fails(config, "source-password-file: cannot open /tmp/syncline-password-");
    set(config, "source-password", "again"); /* replaces the file */
    build(config);
    expect_source("a", "again");
    setenv("SYNCLINE_SOURCE_PASSWORD", "env", 1);
    struct syn_err err;
    assert_true(syn_config_load_env(config, &err));
    unsetenv("SYNCLINE_SOURCE_PASSWORD");
    build(config);
    expect_source("a", "env");
    syn_config_free(config);
}

static void test_secret_bounds(void **state)
{
    (void)state; /* Too long is an error that does not repeat it, never a cut password. */
    char text[700];
    for (unsigned size = 511; size <= 512; size++) {
        memset(text, 'p', size);
        text[size] = '\0';
        struct syn_config *config = with_sides("s", "d");
        set(config, "source-password", text);
        if (size == 511) {
            build(config);
        } else {
            build_fails(config, "source-password: the password is longer than 511 bytes");
        }
        syn_config_free(config);
    }
    memset(text, 'p', sizeof(text));
    text[699] = '\0';
    set_fails("source-password", text, "source-password: longer than 639 bytes");
    set_fails("source-user", text, "source-user: longer than 127 bytes");
    struct syn_config *config = with_sides("s", "d");
    set(config, "source-password", "user:");
    build_fails(config, "source-password: the password is empty");
    syn_config_free(config);
}

static void test_unknown(void **state)
{
    (void)state; /* A mistyped option is told with the one that was meant. */
    set_fails("on-nonemty", "stop", "unknown option on-nonemty; did you mean on-nonempty?");
    set_fails("snapshot_only", "1", "unknown option snapshot_only; did you mean snapshot-only?");
    set_fails("memroy", "9m", "unknown option memroy; did you mean memory?");
    struct syn_config *config = new_config();
    struct syn_err err;
    assert_false(syn_config_set(config, "xyzzyplugh", "1", &err));
    assert_string_equal(err.msg, "unknown option xyzzyplugh");
    syn_config_free(config);
}

static void test_files(void **state)
{
    (void)state; /* A file that cannot be read is told with its name and why. */
    struct syn_config *config = new_config();
    struct syn_err err;
    assert_false(syn_config_load_file(config, "/nonexistent/task.yaml", &err));
    assert_string_equal(err.msg,
                        "configuration file: cannot open /nonexistent/task.yaml: No such "
                        "file or directory");
    assert_false(syn_config_load_file(config, "/tmp", &err));
    assert_string_equal(err.msg, "configuration file: cannot read /tmp: Is a directory");
    assert_false(syn_config_load_file(config, "/dev/zero", &err));
    assert_string_equal(err.msg, "configuration file: /dev/zero is longer than 1048576 bytes");
    syn_config_free(config);
}

/* Exit statuses and words are what scripts depend on. */
static void test_names(void **state)
{
    (void)state;
    static const struct {
        enum syn_code code;
        int status;
        const char *name;
    } codes[] = {{SYN_CODE_OK, 0, "ok"},
                 {SYN_CODE_STOPPED, 0, "stopped"},
                 {SYN_CODE_INTERNAL, 1, "internal"},
                 {SYN_CODE_MEMORY, 1, "memory"},
                 {SYN_CODE_SYSTEM, 1, "system"},
                 {SYN_CODE_USAGE, 2, "usage"},
                 {SYN_CODE_CONFIG, 3, "config"},
                 {SYN_CODE_PRECHECK, 4, "precheck"},
                 {SYN_CODE_SOURCE_AUTH, 5, "source_auth"},
                 {SYN_CODE_SOURCE_STATE, 5, "source_state"},
                 {SYN_CODE_SOURCE_FILE, 5, "source_file"},
                 {SYN_CODE_DIFFERENT, 6, "different"},
                 {SYN_CODE_DESTINATION_REPLY, 7, "destination_reply"},
                 {SYN_CODE_UNSUPPORTED, 7, "unsupported"},
                 {(enum syn_code)999, 1, "unknown"}};
    for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
        assert_int_equal(syn_code_exit_status(codes[i].code), codes[i].status);
        assert_string_equal(syn_code_name(codes[i].code), codes[i].name);
    }
    assert_string_equal(syn_phase_name(SYN_PHASE_DRAINING), "draining");
    assert_string_equal(syn_wait_name(SYN_WAIT_NONE), "none");
    assert_string_equal(syn_difference_name(SYN_DIFFERENCE_TTL), "ttl");
}

/* A file cannot do what a server does: what asks for that is named, and the task ends by itself. */
static void test_file_source(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        const char *value;
        const char *message; /* NULL: accepted */
    } cases[] = {
        {"once", "true", NULL},
        {"snapshot-only", "true", NULL},
        {"db", "0,3", NULL},
        {"prefer-replica", "false", NULL},
        {"prefer-replica", "true", "prefer-replica: the source is a file"},
        {"positions", "on", NULL},
        {"heartbeat", "0", NULL},
        {"heartbeat", "1s", "heartbeat: the source is a file"},
        {"source-user", "u", "source-user: the source is a file"},
        {"source-password", "p", "source-password: the source is a file"},
        {"source-password-file",
         "/dev/null",
         "source-password-file: the password is empty"}, /* read before */
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct syn_config *config = with_sides("file:///a,b", "d");
        set(config, cases[i].name, cases[i].value);
        if (cases[i].message != NULL) {
            build_fails(config, cases[i].message);
        } else {
            build(config);
            assert_int_equal(built.mode, SYNC_SNAPSHOT_ONLY);
            assert_int_equal(built.files.count, 2);
            assert_false(built.has_positions); /* there is nothing to resume */
            assert_string_equal(config_file(&built.files, 0), "/a");
            assert_string_equal(config_file(&built.files, 1), "b");
        }
        syn_config_free(config);
    }
    struct syn_config *config = with_sides("h", "file:///a");
    build_fails(config, "destination: a file can only be a source");
    syn_config_free(config);
    config = with_sides("file:-,a", "d");
    build_fails(config, "source: standard input (file:-) cannot be one of several files");
    syn_config_free(config);
    config = with_sides("h", "d");
    build(config);
    assert_int_equal(built.files.count, 0);
    assert_int_equal(built.mode, SYNC_FOLLOW);
    syn_config_free(config);
}

/* A configuration's whole life with the n-th allocation failing; true when there are fewer. */
static bool live_failing(uint64_t n, bool is_once)
{
    struct syn_err err;
    (is_once ? mem_fail_once_at : mem_fail_at)(n);
    struct syn_config *config = syn_config_new(&err);
    bool ok = config != NULL && syn_config_set(config, "source", "redis://u:p@s,t", &err) &&
              syn_config_set(config, "destination", "d", &err) &&
              syn_config_set(config, "db-map", "3:1", &err) &&
              syn_config_set(config, "memory", "64m", &err) && config_build(config, &built, &err);
    bool has_failed = mem_call_count() >= n;
    mem_fail_at(0);
    assert_int_equal(ok, !has_failed);
    assert_true(ok || err.code == SYN_CODE_MEMORY);
    syn_config_free(config);
    assert_int_equal(mem_live_bytes(MEM_ENGINE), 0);
    return ok;
}

static void test_memory(void **state)
{
    (void)state; /* The n-th allocation fails: an error, and no leak. */
    for (unsigned is_once = 0; is_once < 2; is_once++) {
        uint64_t n = 1;
        while (!live_failing(n, is_once != 0)) {
            n++;
        }
        assert_true(n > 5 && n < 100);
    }
    struct syn_config *config = with_sides("redis://u:p@s,t", "d");
    set(config, "destination-password-file", "/dev/null");
    build_fails(config, "destination-password-file: the password is empty");
    syn_config_free(config);
    assert_int_equal(mem_live_bytes(MEM_ENGINE), 0);
}

/* ---- rules ---- */

static bool keeps(const char *key)
{
    uint16_t ignored;
    return select_key(&built.select, (const uint8_t *)key, strlen(key), &ignored);
}

/* Lists add up within one place, and a later place replaces them: the environment, a file, the
 * command line, which empties a list with nothing. */
static void test_lists(void **state)
{
    (void)state;
    struct syn_err err;
    struct syn_config *config = with_sides("s:1", "d:2");
    build(config);
    assert_null(config_select(&built));
    assert_false(built.drops_partial);
    setenv("SYNCLINE_EXCLUDE_PREFIX", "env:\nother:", 1);
    setenv("SYNCLINE_EXCLUDE_TYPE", "hash, set", 1);
    assert_true(syn_config_load_env(config, &err));
    unsetenv("SYNCLINE_EXCLUDE_PREFIX");
    unsetenv("SYNCLINE_EXCLUDE_TYPE");
    assert_string_equal(syn_config_get(config, "exclude-prefix"), "env:\nother:");
    assert_int_equal(config->origin[OPTION_EXCLUDE_PREFIX], CONFIG_FROM_ENV);
    build(config);
    assert_non_null(config_select(&built));
    assert_false(keeps("env:1"));
    assert_false(keeps("other:1"));
    assert_false(select_kind(&built.select, RDB_KIND_HASH));
    assert_false(select_kind(&built.select, RDB_KIND_SET));
    assert_true(select_kind(&built.select, RDB_KIND_LIST));

    static const char file[] = "exclude_prefix: ['file:', 'a b']\nexclude_suffix: ':x'\n"
                               "on_partial: drop\n";
    assert_true(syn_config_load(config, file, strlen(file), "task.yaml", &err));
    assert_int_equal(config->origin[OPTION_EXCLUDE_PREFIX], CONFIG_FROM_FILE);
    build(config);
    assert_true(keeps("env:1"));
    assert_false(keeps("file:1"));
    assert_false(keeps("a b"));
    assert_false(keeps("1:x"));
    assert_true(built.drops_partial);

    set(config, "exclude-prefix", "");
    set(config, "exclude-prefix", "one:");
    set(config, "exclude-prefix", "two:");
    set(config, "rename-prefix", "old:=new:");
    assert_int_equal(config->origin[OPTION_EXCLUDE_PREFIX], CONFIG_FROM_CALL);
    assert_int_equal(config->origin[OPTION_EXCLUDE_SUFFIX], CONFIG_FROM_FILE);
    build(config);
    assert_true(keeps("file:1"));
    assert_false(keeps("one:1"));
    assert_false(keeps("two:1"));
    assert_int_equal(built.select.rule_count, 2 + 1 + 2 + 1);
    set(config, "exclude-prefix", "");
    assert_null(syn_config_get(config, "exclude-prefix"));

    /* A copy has its own. */
    struct syn_config copy;
    assert_true(config_copy(config, &copy, &err));
    assert_int_equal(copy.origin[OPTION_EXCLUDE_SUFFIX], CONFIG_FROM_FILE);
    assert_string_equal(copy.text[OPTION_RENAME_PREFIX], "old:=new:");
    config_deinit(&copy);
    syn_config_free(config);
}

static void test_rule_mistakes(void **state)
{
    (void)state;
    set_fails("include-type", "string,hashes", "include-type: not a type (string, list, set, ");
    set_fails("exclude-prefix", "a\nb\\q", "exclude-prefix: a backslash that begins none of");
    set_fails("rename-prefix", "old:", "rename-prefix: write it OLD=NEW");
    set_fails("exclude-command",
              "flushal",
              "exclude-command: no command \"flushal\"; did you mean FLUSHALL?");
    set_fails("exclude-command", "@strings", "exclude-command: not a group of commands (@string, ");
    set_fails(
        "exclude-command", "exec", "exclude-command: EXEC is part of the replication protocol");
    set_fails("on-partial", "skip", "on-partial: \"skip\" is not allowed (stop, drop)");
    struct syn_config *config = with_sides("s:1", "d:2");
    set(config, "exclude-command", "json.set,FT.ADD,something"); /* of modules, or later servers */
    build(config);
    set(config, "rename-prefix", "a:=x:");
    set(config, "rename-prefix", "b:=x:");
    build_fails(config,
                "rename_prefix[1]: two keys could get one name, the other by rename_prefix[0]");
    set(config, "rename-prefix", "");
    char large[900];
    memset(large, 'x', sizeof(large));
    large[sizeof(large) - 1] = '\0';
    struct syn_err err = {.code = SYN_CODE_OK};
    for (int i = 0; i < 80 && syn_config_set(config, "include-key", large, &err); i++) {
    }
    assert_int_equal(err.code, SYN_CODE_CONFIG);
    assert_string_equal(err.msg, "include-key: more than 65536 bytes together");
    syn_config_free(config);
}

/* Explaining needs databases and rules alone. */
static void test_rules_alone(void **state)
{
    (void)state;
    struct syn_err err;
    struct syn_config *config = new_config();
    set(config, "exclude-prefix", "x");
    assert_true(config_build_rules(config, &built, &err));
    assert_false(built.has_db_rules);
    assert_false(keeps("x1"));
    set(config, "source", "redis://u:hunter2@h/3");
    set(config, "destination", "h2/7");
    assert_true(config_build_rules(config, &built, &err));
    assert_int_equal(config_db(&built, 3), 7);
    assert_int_equal(config_db(&built, 0), CONFIG_DB_NONE);
    syn_config_free(config);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_table),
        cmocka_unit_test(test_bounds),
        cmocka_unit_test(test_units),
        cmocka_unit_test(test_db),
        cmocka_unit_test(test_heartbeat),
        cmocka_unit_test(test_rates),
        cmocka_unit_test(test_db_in_uri),
        cmocka_unit_test(test_missing_and_exclusive),
        cmocka_unit_test(test_precedence),
        cmocka_unit_test(test_secrets),
        cmocka_unit_test(test_secret_bounds),
        cmocka_unit_test(test_unknown),
        cmocka_unit_test(test_files),
        cmocka_unit_test(test_file_source),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_memory),
        cmocka_unit_test(test_lists),
        cmocka_unit_test(test_rule_mistakes),
        cmocka_unit_test(test_rules_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
