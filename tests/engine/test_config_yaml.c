/* Configuration files: what is taken, and every mistake with its line, field and what is allowed.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/engine/config_store.h"

static struct syn_config *new_config(void)
{
    struct syn_err err;
    struct syn_config *config = syn_config_new(&err);
    assert_non_null(config);
    return config;
}

static void load(struct syn_config *config, const char *text)
{
    struct syn_err err;
    if (!syn_config_load(config, text, strlen(text), "task.yaml", &err)) {
        fail_msg("%s\n--\n%s", err.msg, text);
    }
}

static const struct {
    const char *text;
    const char *message; /* how it begins */
} mistakes[] = {
    {"memory: 48m\non_nonempty: stopp\n",
     "task.yaml:2: on_nonempty: \"stopp\" is not allowed (stop, overwrite)"},
    {"memory: 48m\n\nsurce: h:1\n",
     "task.yaml:3: unknown field \"surce\"; did you mean source? "
     "(allowed: source, destination, source_user, "},
    {"# surce: comment\nmemory: 48m\nxyzzy: h:1\n",
     "task.yaml:3: unknown field \"xyzzy\" (allowed: source, "},
    {"on-nonempty: stop\n",
     "task.yaml:1: unknown field \"on-nonempty\"; did you mean on_nonempty?"},
    {"config: other.yaml\n", "task.yaml:1: unknown field \"config\" (allowed: "},
    {"source:\n  uri: h:1\n  pasword: hunter2\n",
     "task.yaml:3: unknown field \"pasword\"; did you mean password? (allowed: uri, hosts, user, "
     "password, password_file, password_env)"},
    /* A piece of a password that YAML took for a field. */
    {"source: {uri: \"h:1\", password: abc,hunter2}\n",
     "task.yaml:1: unknown field (allowed: uri, hosts, "},
    {"memory: 1m\n", "task.yaml:1: memory: \"1m\" is out of bounds (8m to 1024g)"},
    {"memory: lots\n",
     "task.yaml:1: memory: \"lots\" is not a size such as 48m (k, m, g) from 8m to 1024g"},
    {"memory:\n", "task.yaml:1: memory: the value is empty"},
    {"\n\n  \nreaders: -1\n", "task.yaml:4: readers: \"-1\" is not a number from 0 to 256"},
    {"readers: 1\nlanes: 65\n", "task.yaml:2: lanes: \"65\" is out of bounds (0 to 64)"},
    {"connect_timeout: 5\n",
     "task.yaml:1: connect_timeout: \"5\" is not a time such as 5s (ms, s, "
     "m, h) from 10ms to 1h"},
    {"once: maybe\n", "task.yaml:1: once: \"maybe\" is not allowed (true, false)"},
    {"memory: [1, 2]\n", "task.yaml:1: memory: has to be one value"},
    {"readers: 1\nmemory:\n  a: b\n", "task.yaml:3: memory: has to be one value"},
    {"memory: 9m\nmemory: 10m\n", "task.yaml:2: memory: given twice"},
    {"source: h:1\nsource: h:2\n", "task.yaml:2: source: given twice"},
    {"source:\n  uri: h:1\n  uri: h:2\n", "task.yaml:3: uri: given twice"},
    {"source: redis://u:hunter2\n",
     "task.yaml:1: source: the port is not a number from 1 to 65535 at position 11; accepted: "},
    {"memory: 9m\nsource:\n  password: x\n  uri: redis://u:hunter2\n",
     "task.yaml:4: source.uri: the port is not a number from 1 to 65535 at position 11; "},
    {"source:\n  hosts:\n    - h1:1\n    - h2:x\n",
     "task.yaml:4: source.hosts: the port is not a number from 1 to 65535 at position 4; "},
    {"source:\n  hosts: [\"h1:1\",\n          \"h2,h3\"]\n",
     "task.yaml:3: source.hosts: ',' in an entry: one host for each"},
    {"destination:\n  hosts: []\n", "task.yaml:2: destination.hosts: the list is empty"},
    {"destination:\n  hosts: h:1\n",
     "task.yaml:2: destination.hosts: has to be a list of host:port"},
    {"destination:\n  hosts: [[h]]\n",
     "task.yaml:2: destination.hosts: has to be a list of host:port"},
    {"destination: [h]\n",
     "task.yaml:1: destination: has to be a URI, or a mapping of uri, hosts, "},
    {"source:\n  uri: h\n  hosts: [h]\n",
     "task.yaml:3: source.hosts: uri and hosts exclude each other"},
    {"source:\n  password: hunter2\n  password_file: /x\n",
     "task.yaml:3: source.password_file: password is given as well: one of them"},
    {"source:\n  user: u\n  password_env: SYNCLINE_TEST_NOT_SET_hunter2\n",
     "task.yaml:3: source.password_env: there is no environment variable of that name"},
    {"db: 0,3-1\n", "task.yaml:1: db: the range at position 3 runs backwards"},
    {"db_map: \"1:2,x\"\n",
     "task.yaml:1: db_map: not a list of databases (0 to 1023) at position "
     "5; write it like 1:2,3:0"},
    {"memory: &a 9m\nreaders: *a\n",
     "task.yaml:2: aliases (*name) are not supported: write the value out"},
    {"memory: 9m\n---\nmemory: 10m\n", "task.yaml: more than one YAML document (---)"},
    {"memory: \"9m\n", "task.yaml:1: not valid YAML or JSON at or after this line: "},
    {"{\"memory\": \"9m\",\n \"readers\": 300}",
     "task.yaml:2: readers: \"300\" is out of bounds (0 to 256)"},
    {"{\"memory\": \"9m\",\n \"reders\": 3}",
     "task.yaml:2: unknown field \"reders\"; did you mean "
     "readers?"},
    {"[1]", "task.yaml:1: not a mapping of fields to values"},
    {"memory", "task.yaml:1: not a mapping of fields to values"},
    {"? [a]\n: b\n", "task.yaml:1: "},
    {"\x01", "task.yaml:1: not valid YAML or JSON at or after this line: "},
};

/* A mistake in a file is found in seconds or in an hour, by its message; and a refused file must
 * leave nothing behind, or the next attempt runs with half of it. */
static void test_mistakes(void **state)
{
    (void)state;
    unsigned wrong_count = 0;
    for (size_t i = 0; i < sizeof(mistakes) / sizeof(mistakes[0]); i++) {
        struct syn_config *config = new_config();
        load(config, "decoders: 7\nprogress_interval: 3s\n");
        struct syn_err err;
        const char *text = mistakes[i].text;
        if (syn_config_load(config, text, strlen(text), "task.yaml", &err)) {
            print_error("accepted: %s\n", text);
            wrong_count++;
            syn_config_free(config);
            continue;
        }
        assert_int_equal(err.code, SYN_CODE_CONFIG);
        if (strncmp(err.msg, mistakes[i].message, strlen(mistakes[i].message)) != 0) {
            print_error("for\n%s\nexpected: %s\nbut got: %s\n", text, mistakes[i].message, err.msg);
            wrong_count++;
        }
        assert_null(strstr(err.msg, "hunter2"));
        for (unsigned id = 0; id < OPTION_COUNT; id++) {
            bool was_set = id == OPTION_DECODERS || id == OPTION_PROGRESS_INTERVAL;
            assert_int_equal(config->text[id] != NULL, was_set);
        }
        assert_string_equal(config->text[OPTION_DECODERS], "7");
        syn_config_free(config);
    }
    assert_int_equal(wrong_count, 0);
}

/* A NUL ends the text for the YAML library: what follows would be ignored without a word. */
static void test_nul(void **state)
{
    (void)state;
    struct syn_config *config = new_config();
    struct syn_err err;
    assert_false(syn_config_load(config, "memory: 9m\n\0bad", 15, "task.yaml", &err));
    assert_string_equal(err.msg, "task.yaml: contains a NUL byte: not text");
    syn_config_free(config);
}

/* Both forms of a side, in YAML and JSON, say the same. */
static void test_sides(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "source: h1:1,h2:2\nsource_user: u\nsource_password: p\ndestination: d:3\n",
        "source:\n  uri: h1:1,h2:2\n  user: u\n  password: p\ndestination:\n  uri: d:3\n",
        "source:\n  hosts: [\"h1:1\", \"h2:2\"]\n  user: u\n  password: p\ndestination: d:3\n",
        "destination: d:3\nsource:\n  hosts:\n  - h1:1\n  - h2:2\n  user: u\n  password: p\n",
        ("{\"source\": {\"hosts\": [\"h1:1\", \"h2:2\"], \"user\": \"u\", \"password\": \"p\"},"
         "\n\t\"destination\": {\"uri\": \"d:3\"}}"),
        "{\"source\": \"h1:1,h2:2\", \"source_password\": \"u:p\", \"destination\": \"d:3\"}",
        "source:\n  uri: redis://u:p@h1:1,h2:2\ndestination: {uri: \"d:3\"}\n",
    };
    static struct config built;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        struct syn_config *config = new_config();
        load(config, texts[i]);
        struct syn_err err;
        if (!config_build(config, &built, &err)) {
            fail_msg("%s\n--\n%s", err.msg, texts[i]);
        }
        assert_int_equal(built.source.host_count, 2);
        assert_string_equal(built.source.hosts[0].host, "h1");
        assert_string_equal(built.source.hosts[1].host, "h2");
        assert_int_equal(built.source.hosts[1].port, 2);
        assert_string_equal(built.source.hosts[1].user, "u");
        assert_string_equal(built.source.hosts[1].password, "p");
        assert_string_equal(built.destination.hosts[0].host, "d");
        syn_config_free(config);
    }
}

/* Every option of the table that has an environment variable is a field: a new option cannot be
 * forgotten in files. */
static void test_every_field(void **state)
{
    (void)state;
    size_t count;
    const struct syn_option *table = syn_options(&count);
    for (size_t i = 0; i < count; i++) {
        const struct syn_option *option = &table[i];
        if (option->env == NULL) {
            continue;
        }
        const char *value = option->default_text != NULL ? option->default_text : "7";
        if (i == OPTION_DB_MAP) {
            value = "7:7";
        }
        char text[200];
        snprintf(text, sizeof(text), "%s: %s\n", option->name, value);
        for (char *c = text; *c != ':'; c++) {
            *c = *c == '-' ? '_' : *c;
        }
        struct syn_config *config = new_config();
        load(config, text);
        assert_string_equal(config->text[i], value);
        syn_config_free(config);
    }
}

static void test_empty(void **state)
{
    (void)state; /* A file of comments is a file of defaults, not an error or a crash. */
    struct syn_config *config = new_config();
    load(config, "");
    load(config, "# nothing\n");
    load(config, "{}");
    syn_config_free(config);
}

static void test_password_env(void **state)
{
    (void)state; /* The file names a variable; the secret is nowhere on disk (A3). */
    struct syn_config *config = new_config();
    setenv("SYNCLINE_TEST_PW", "u:hunter2", 1);
    load(config, "source:\n  uri: h\n  password_env: SYNCLINE_TEST_PW\ndestination: d\n");
    unsetenv("SYNCLINE_TEST_PW");
    static struct config built;
    struct syn_err err;
    assert_true(config_build(config, &built, &err));
    assert_string_equal(built.source.hosts[0].user, "u");
    assert_string_equal(built.source.hosts[0].password, "hunter2");
    assert_string_equal(built.destination.hosts[0].password, "");
    syn_config_free(config);
}

/* Loads with the n-th allocation failing; true when there are fewer. */
static bool load_failing(const char *text, uint64_t n, bool is_once)
{
    struct syn_config *config = new_config();
    struct syn_err err;
    (is_once ? mem_fail_once_at : mem_fail_at)(n);
    bool ok = syn_config_load(config, text, strlen(text), "task.yaml", &err);
    bool has_failed = mem_call_count() >= n;
    mem_fail_at(0);
    assert_int_equal(ok, !has_failed);
    if (!ok) {
        assert_int_equal(err.code, SYN_CODE_MEMORY);
        assert_null(config->text[OPTION_SOURCE]);
        assert_null(config->text[OPTION_MEMORY]);
    }
    syn_config_free(config);
    assert_int_equal(mem_live_bytes(MEM_ENGINE), 0);
    return ok;
}

/* The n-th allocation fails, for every n: a clean error, nothing changed, nothing leaked (the
 * sanitizer's leak check sees that of the YAML library). */
static void test_memory(void **state)
{
    (void)state;
    static const char text[] = "source:\n  hosts: [a, b]\n  password: p\nmemory: 9m\n"
                               "destination: d\n";
    for (unsigned is_once = 0; is_once < 2; is_once++) {
        uint64_t n = 1;
        while (!load_failing(text, n, is_once != 0)) {
            n++;
        }
        assert_true(n > 20 && n < 1000);
    }
}

/* Every text gets an answer: files cut at every byte are nearly right ones. */
static void test_cut(void **state)
{
    (void)state;
    static const char text[] = "{\"source\": {\"hosts\": [\"a:1\", 'b'], password: \"p\\u0041\"},\n"
                               " db: '0,2-3', destination: redis://u:p@h/0, once: true}\n";
    for (size_t size = 0; size < sizeof(text); size++) {
        struct syn_config *config = new_config();
        struct syn_err err = {.code = SYN_CODE_OK};
        if (!syn_config_load(config, text, size, "cut", &err)) {
            assert_int_equal(err.code, SYN_CODE_CONFIG);
            assert_int_equal(strncmp(err.msg, "cut:", 4), 0);
        }
        syn_config_free(config);
    }
    assert_int_equal(mem_live_bytes(MEM_ENGINE), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_mistakes),
        cmocka_unit_test(test_nul),
        cmocka_unit_test(test_sides),
        cmocka_unit_test(test_every_field),
        cmocka_unit_test(test_empty),
        cmocka_unit_test(test_password_env),
        cmocka_unit_test(test_memory),
        cmocka_unit_test(test_cut),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
