/*
 * syncline rdb, the program itself, on recorded files: what it prints and how it ends; and the
 * example that prints a file as JSON.
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

#define DEADLINE_MS 60000
#define ARGUMENTS_MAX 12
#define OUT_MAX ((size_t)8 << 20)

static struct {
    int status; /* exit status, -1: killed */
    char *out;
    char err[4096];
} run;

static void read_back(int fd, char *text, size_t size)
{
    size_t at = 0;
    ssize_t got = 1;
    while (at + 1 < size && got > 0) {
        got = pread(fd, text + at, size - 1 - at, (off_t)at);
        at += got > 0 ? (size_t)got : 0;
    }
    text[at] = '\0';
    close(fd);
}

static void wait_for_end(pid_t pid)
{
    int status = 0;
    pid_t ended = 0;
    for (unsigned i = 0; i < DEADLINE_MS && ended == 0; i++) {
        ended = waitpid(pid, &status, WNOHANG);
        if (ended == 0) {
            nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
        }
    }
    if (ended == 0) {
        kill(pid, SIGKILL);
        waitpid(pid, &status, 0);
        fail_msg("did not end");
    }
    run.status = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* argv[0] is a path; `input` becomes standard input, NULL: nothing. */
static void execute(const char *const *argv, const char *input)
{
    int out = memfd_create("out", 0);
    int err = memfd_create("err", 0);
    assert_true(out >= 0);
    assert_true(err >= 0);
    fflush(NULL);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        int in = open(input != NULL ? input : "/dev/null", O_RDONLY);
        dup2(in, STDIN_FILENO);
        dup2(out, STDOUT_FILENO);
        dup2(err, STDERR_FILENO);
        char *words[ARGUMENTS_MAX + 1] = {NULL};
        for (unsigned i = 0; i < ARGUMENTS_MAX && argv[i] != NULL; i++) {
            words[i] = strdup(argv[i]);
        }
        execv(words[0], words);
        _exit(127);
    }
    wait_for_end(pid);
    if (run.out == NULL) {
        run.out = malloc(OUT_MAX);
        assert_non_null(run.out);
    }
    read_back(out, run.out, OUT_MAX);
    read_back(err, run.err, sizeof(run.err));
}

#define SYNCLINE_RDB(...)                                                                          \
    execute((const char *const[]){SYNCLINE_BINARY, "rdb", __VA_ARGS__, NULL}, NULL)
#define FIXTURE(name) TEST_FIXTURES "/rdb/" name "/dump.rdb"

static void expect_line(const char *line)
{
    size_t size = strlen(line);
    for (const char *at = run.out; *at != '\0';
         at += strcspn(at, "\n") + (strchr(at, '\n') != NULL)) {
        if (strncmp(at, line, size) == 0) {
            return;
        }
    }
    fail_msg("no line begins with: %s\nin:\n%s", line, run.out);
}

static void expect_error(int status, const char *err)
{
    if (run.status != status || strcmp(run.err, err) != 0) {
        fail_msg("expected %d: %s\nbut %d: %s", status, err, run.status, run.err);
    }
}

/* The text up to the next line, as an object; moves behind it. */
static json_t *next_event(const char **at)
{
    if (**at == '\0') {
        return NULL;
    }
    size_t size = strcspn(*at, "\n");
    assert_int_equal((*at)[size], '\n');
    json_error_t error;
    json_t *event = json_loadb(*at, size, JSON_ALLOW_NUL, &error);
    if (event == NULL) {
        fail_msg("%s: %.*s", error.text, (int)size, *at);
    }
    *at += size + 1;
    return event;
}

static json_int_t number_of(const json_t *object, const char *name)
{
    json_t *value = json_object_get(object, name);
    assert_true(json_is_integer(value));
    return json_integer_value(value);
}

static const char *text_of(const json_t *object, const char *name)
{
    const char *text = json_string_value(json_object_get(object, name));
    return text != NULL ? text : "";
}

/* ---- tests ---- */

static void test_summary(void **state)
{
    (void)
        state; /* The numbers are those of the server; a wrong one misleads who looks for memory. */
    SYNCLINE_RDB(FIXTURE("redis-7.4.1"));
    expect_error(0, "");
    expect_line("REDIS RDB version 12");
    expect_line("  redis-ver: 7.4.1");
    expect_line("  functions: 2 (433 B)");
    expect_line("string   raw                        144      1.2 MiB            144            4");
    expect_line("hash     hashtable-ttl                2      4.2 KiB            202            0");
    expect_line("all                                 221      1.4 MiB           6009           16");
    expect_line("9                                     3         28 B              4            0");
    expect_line("none                                205");
    expect_line("       1.0 MiB              1  string  db 0 \"str:raw1mb\"");
    expect_line("       2.0 KiB           1000  set     db 0 \"set:intset-big\"");
    expect_line("checksum: matches");
    expect_line("read 1.4 MiB in ");

    SYNCLINE_RDB("--db", "1", FIXTURE("redis-7.4.1"));
    expect_error(0, "");
    expect_line("all                                  16        156 B             20           14");

    SYNCLINE_RDB(FIXTURE("valkey-9.1.2-ver9-snapshot"));
    expect_error(0, "");
    expect_line("VALKEY RDB version 80");
}

static void test_summary_json(void **state)
{
    (void)state;
    SYNCLINE_RDB("--output", "json", FIXTURE("redis-5.0.14-sync"));
    expect_error(0, "");
    unsigned aux = 0, headers = 0, results = 0;
    for (const char *at = run.out; *at != '\0';) {
        json_t *event = next_event(&at);
        const char *kind = text_of(event, "event");
        assert_true(number_of(event, "time_ms") > 1600000000000);
        headers += strcmp(kind, "header") == 0 && number_of(event, "version") == 9;
        aux += strcmp(kind, "aux") == 0;
        if (strcmp(kind, "result") == 0) {
            results++;
            assert_string_equal(text_of(event, "command"), "rdb");
            assert_string_equal(text_of(event, "code"), "ok");
            assert_string_equal(text_of(event, "checksum"), "matches");
            assert_int_equal(number_of(event, "exit_status"), 0);
            assert_int_equal(number_of(event, "keys"), 13);
            assert_int_equal(number_of(event, "expiring"), 1);
            assert_int_equal(number_of(event, "bytes_read"), 8529);
            assert_int_equal(json_array_size(json_object_get(event, "types")), 9);
            assert_int_equal(json_array_size(json_object_get(event, "databases")), 2);
            assert_int_equal(json_array_size(json_object_get(event, "biggest_by_bytes")), 10);
            json_t *lives = json_object_get(event, "lives");
            assert_int_equal(number_of(lives, "none"), 12);
            json_t *biggest = json_array_get(json_object_get(event, "biggest_by_elements"), 0);
            assert_string_equal(text_of(biggest, "key"), "hash:ht");
            assert_int_equal(number_of(biggest, "elements"), 600);
        }
        json_decref(event);
    }
    assert_int_equal(headers, 1);
    assert_int_equal(aux, 11);
    assert_int_equal(results, 1);
}

static void test_keys(void **state)
{
    (void)state; /* One line per key whatever is in it, or scripts count wrongly. */
    SYNCLINE_RDB("--keys", FIXTURE("redis-7.4.1"));
    expect_error(0, "");
    unsigned lines = 0;
    for (const char *at = run.out; *at != '\0'; at++) {
        lines += *at == '\n';
    }
    assert_int_equal(lines, 221);
    expect_line("0\thash\thashtable\t23\t3\t-\t\"hash:longvalue\"\n");
    expect_line("0\tstring\traw\t41\t1\t-\t\"bin\\x00\\r\\n\\xff\\xfe\\\"'\\\\key\"\n");

    SYNCLINE_RDB("--keys", "--json", "--db", "1", FIXTURE("redis-7.4.1"));
    expect_error(0, "");
    unsigned keys = 0, expiring = 0;
    for (const char *at = run.out; *at != '\0';) {
        json_t *event = next_event(&at);
        if (strcmp(text_of(event, "event"), "key") == 0) {
            keys++;
            assert_int_equal(number_of(event, "db"), 1);
            assert_true(number_of(event, "bytes") > 0);
            assert_true(json_is_null(json_object_get(event, "freq")));
            expiring += json_is_integer(json_object_get(event, "expire_ms"));
        }
        json_decref(event);
    }
    assert_int_equal(keys, 16);
    assert_int_equal(expiring, 14);
}

static void expect_dump(const char *key, const char *text)
{
    SYNCLINE_RDB("--dump", key, FIXTURE("redis-7.4.1"));
    if (run.status != 0 || strcmp(run.out, text) != 0) {
        fail_msg("%s: expected\n%s\nbut %d %s\n%s", key, text, run.status, run.err, run.out);
    }
}

static void test_dump(void **state)
{
    (void)state; /* Each kind, in what it is stored in: contents as the server had them. */
    expect_dump("str:int:128",
                "db 0 \"str:int:128\": string (raw)\n  \"128\"\n"
                "  3 bytes as serialized, 1 elements\n");
    expect_dump("hash:longvalue",
                "db 0 \"hash:longvalue\": hash (hashtable)\n  \"g\" \"1\"\n  \"f\" "
                "\"vvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvv\"\n"
                "  \"3\" \"\"\n  23 bytes as serialized, 3 elements\n");
    expect_dump("geo",
                "db 0 \"geo\": zset (listpack)\n  \"S\\xc3\\xa3o\" 1367859919124626\n"
                "  \"Palermo\" 3479099956230698\n  \"Catania\" 3479447370796909\n"
                "  62 bytes as serialized, 3 elements\n");
    expect_dump("stream:mkstream",
                "db 0 \"stream:mkstream\": stream (stream-3)\n"
                "  length 0, last id 0-0, added 0\n"
                "  group \"g\": last delivered 0-0, pending 0\n"
                "  group \"g\\xff\\x00bin\": last delivered 0-0, pending 0\n"
                "  45 bytes as serialized, 0 elements\n");
    SYNCLINE_RDB("--dump", "stream:groups", FIXTURE("redis-7.4.1"));
    expect_line("  109-0 \"n\" \"9\"\n  110-0 \"n\" \"10\"\n");
    expect_line("  length 19, last id 119-0, added 20\n  group \"g1\": last delivered 110-0, read "
                "11, pending 9\n    pending 100-0: delivered ");
    expect_line("    pending 102-0: delivered 2023-11-14T22:13:20.123Z, 9 times\n");
    expect_line("    consumer \"alice\": seen 2026-11-20T10:37:08.089Z, pending 3\n      100-0\n");
    SYNCLINE_RDB("--dump", "list:long", FIXTURE("redis-7.4.1"));
    expect_line("  4");
    SYNCLINE_RDB("--dump", "set:intset-big", "--json", FIXTURE("redis-7.4.1"));
    expect_error(0, "");
    unsigned elements = 0;
    for (const char *at = run.out; *at != '\0';) {
        json_t *event = next_event(&at);
        if (strcmp(text_of(event, "event"), "element") == 0) {
            assert_string_equal(text_of(event, "kind"), "set");
            elements++;
        }
        json_decref(event);
    }
    assert_int_equal(elements, 1000);
    /* A key with bytes that no shell passes, written as it was printed. */
    SYNCLINE_RDB("--dump", "bin\\x00\\r\\n\\xff\\xfe\\\"'\\\\key", FIXTURE("redis-7.4.1"));
    expect_error(0, "");
    expect_line("db 0 \"bin\\x00\\r\\n\\xff\\xfe\\\"'\\\\key\": string (raw)");
}

static void test_dump_of_all_keys_json(void **state)
{
    (void)state; /* Whatever a value holds, each line is JSON and the counts agree. */
    SYNCLINE_RDB("--keys", "--json", FIXTURE("redis-7.4.1"));
    static char names[300][600];
    unsigned count = 0;
    for (const char *at = run.out; *at != '\0';) {
        json_t *event = next_event(&at);
        if (strcmp(text_of(event, "event"), "key") == 0 && number_of(event, "db") == 0 &&
            strlen(text_of(event, "key")) < sizeof(names[0]) && count < 300) {
            snprintf(names[count++], sizeof(names[0]), "%s", text_of(event, "key"));
        }
        json_decref(event);
    }
    assert_true(count > 190);
    for (unsigned i = 0; i < count; i += 5) {
        SYNCLINE_RDB("--dump", names[i], "--db", "0", "--output=json", FIXTURE("redis-7.4.1"));
        expect_error(0, "");
        json_int_t elements = 0, counted = -1;
        for (const char *at = run.out; *at != '\0';) {
            json_t *event = next_event(&at);
            const char *kind = text_of(event, "kind");
            if (strcmp(text_of(event, "event"), "element") == 0) {
                elements += strcmp(kind, "list") == 0 || strcmp(kind, "set") == 0 ||
                            strcmp(kind, "hash") == 0 || strcmp(kind, "zset") == 0 ||
                            strcmp(kind, "stream_entry") == 0 ||
                            (strcmp(kind, "string") == 0 && number_of(event, "position") == 0);
            } else if (strcmp(text_of(event, "event"), "key") == 0) {
                assert_string_equal(text_of(event, "key"), names[i]);
                counted = number_of(event, "elements");
            }
            json_decref(event);
        }
        assert_int_equal(elements, counted);
    }
}

/* A copy of a fixture, cut or with one byte changed; the caller unlinks it. */
static void damaged_copy(const char *path, char to[64], size_t cut_to, size_t flip_at)
{
    static uint8_t bytes[(size_t)4 << 20];
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    size_t size = fread(bytes, 1, sizeof(bytes), file);
    fclose(file);
    if (cut_to > 0 && cut_to < size) {
        size = cut_to;
    }
    if (flip_at > 0) {
        bytes[flip_at] ^= 1;
    }
    snprintf(to, 64, "/tmp/syncline-rdb-XXXXXX");
    int fd = mkstemp(to);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, bytes, size), (ssize_t)size);
    close(fd);
}

static void test_damage(void **state)
{
    (void)state; /* A damaged file never ends with 0, and the message says where. */
    char path[64];
    char expected[400];
    damaged_copy(FIXTURE("redis-5.0.14-sync"), path, 0, 8528);
    SYNCLINE_RDB(path);
    assert_int_equal(run.status, 5);
    expect_line("checksum: DIFFERS");
    expect_line("all                                  13");
    snprintf(expected, sizeof(expected), "syncline: %s: RDB byte 8521: the checksum is ", path);
    assert_int_equal(strncmp(run.err, expected, strlen(expected)), 0);
    unlink(path);

    damaged_copy(FIXTURE("redis-5.0.14-sync"), path, 5000, 0);
    SYNCLINE_RDB("--json", path);
    assert_int_equal(run.status, 5);
    snprintf(expected,
             sizeof(expected),
             "syncline: %s: RDB byte 5000: the data ends here, inside a value",
             path);
    assert_int_equal(strncmp(run.err, expected, strlen(expected)), 0);
    assert_non_null(strstr(run.out,
                           "\"code\":\"source_data\",\"exit_status\":5,\"checksum\":"
                           "\"unread\""));
    assert_non_null(strstr(run.out, "{\"event\":\"error\""));
    unlink(path);

    damaged_copy(FIXTURE("redis-5.0.14-sync"), path, 0, 3);
    SYNCLINE_RDB("--keys", path);
    snprintf(expected,
             sizeof(expected),
             "syncline: %s: RDB byte 0: this is not an RDB: neither REDIS nor VALKEY and a "
             "version\n",
             path);
    expect_error(5, expected);
    unlink(path);

    /* Of the kind that Redis wrote before it had streams, and that nothing can frame. */
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    fwrite("REDIS0009\xc8\x01k\x01v\xff\0\0\0\0\0\0\0\0", 1, 23, file);
    fclose(file);
    SYNCLINE_RDB(path);
    assert_int_equal(run.status, 5);
    assert_non_null(strstr(run.err, "RDB byte 9: "));
    assert_non_null(strstr(run.err, "200"));
    unlink(path);

    SYNCLINE_RDB("/nonexistent");
    expect_error(5, "syncline: /nonexistent: cannot open the file: No such file or directory\n");
    SYNCLINE_RDB("--dump", "nokey", FIXTURE("redis-5.0.14-sync"));
    expect_error(5, "syncline: " FIXTURE("redis-5.0.14-sync") ": there is no such key\n");
}

static void test_standard_input(void **state)
{
    (void)state;
    execute((const char *const[]){SYNCLINE_BINARY, "rdb", "-", NULL}, FIXTURE("redis-2.6.17"));
    expect_error(0, "");
    expect_line("all                                 193");
    execute((const char *const[]){SYNCLINE_BINARY, "rdb", "-", NULL}, "/dev/null");
    expect_error(5, "syncline: RDB byte 0: the data ends here, inside the header\n");
}

static void test_full_disk(void **state)
{
    (void)state; /* A list that could not be written must not look complete. */
    execute((const char *const[]){"/bin/sh",
                                  "-c",
                                  SYNCLINE_BINARY
                                  " rdb --keys " FIXTURE("redis-7.4.1") " >/dev/full",
                                  NULL},
            NULL);
    expect_error(1, "syncline: cannot write standard output\n");
}

static void test_usage(void **state)
{
    (void)state; /* A wrong command line is told in one line, with status 2 or 3. */
    static const struct {
        const char *words[4];
        int status;
        const char *text;
    } cases[] = {
        {{"--json"}, 2, "no file given; syncline rdb [OPTIONS] FILE"},
        {{"a", "b"}, 2, "too many arguments; syncline rdb [OPTIONS] FILE"},
        {{"--keyz", "a"}, 2, "unknown option --keyz; see syncline help rdb"},
        {{"-k", "a"}, 2, "options have long names; see syncline help rdb"},
        {{"a", "--dump"}, 2, "--dump needs a value: KEY"},
        {{"--keys=1", "a"}, 2, "--keys takes no value"},
        {{"--db", "x", "a"}, 3, "--db: \"x\" is not a number"},
        {{"--db", "-1", "a"}, 3, "--db: \"-1\" is not a number"},
        {{"--item-max=1k", "a"}, 3, "--item-max: \"1k\" is out of bounds"},
        {{"--item-max=99999999999g", "a"}, 3, "--item-max: \"99999999999g\" is out of bounds"},
        {{"--output=xml", "a"}, 3, "--output: \"xml\" is not one of: text, json"},
        {{"--dump=a\\q", "a"}, 3, "--dump: a \\ that begins no escape; write it twice"},
        {{"--dump=a", "--keys", "b"}, 3, "--keys and --dump exclude each other"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const char *argv[ARGUMENTS_MAX] = {SYNCLINE_BINARY, "rdb"};
        memcpy(argv + 2, cases[i].words, sizeof(cases[i].words));
        char expected[300];
        snprintf(expected, sizeof(expected), "syncline: %s\n", cases[i].text);
        execute(argv, NULL);
        expect_error(cases[i].status, expected);
    }
}

static void test_help(void **state)
{
    (void)state;
    SYNCLINE_RDB("--help");
    expect_error(0, "");
    expect_line("Usage: syncline rdb [OPTIONS] FILE");
    static const char *const options[] = {"  --keys",
                                          "  --dump KEY",
                                          "  --db N",
                                          "  --item-max SIZE",
                                          "  --output text|json",
                                          "  --json"};
    for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++) {
        expect_line(options[i]);
    }
    char *first = strdup(run.out);
    for (const char *line = first; *line != '\0'; line += strcspn(line, "\n") + 1) {
        assert_true(strcspn(line, "\n") <= 80);
    }
    execute((const char *const[]){SYNCLINE_BINARY, "help", "rdb", NULL}, NULL);
    assert_string_equal(run.out, first);
    free(first);
}

/* The example is what a reader copies: it must work as it stands. */
static void test_example(void **state)
{
    (void)state;
    execute((const char *const[]){EXAMPLE_RDB_JSON, FIXTURE("redis-7.4.1"), NULL}, NULL);
    expect_error(0, "rdb_json: 221 keys\n");
    unsigned keys = 0, elements = 0;
    for (const char *at = run.out; *at != '\0';) {
        json_t *line = next_event(&at);
        keys += json_object_get(line, "type") != NULL;
        elements += json_object_get(line, "element") != NULL;
        json_decref(line);
    }
    assert_int_equal(keys, 221);
    assert_true(elements > 6009);
    execute((const char *const[]){EXAMPLE_RDB_JSON, "/dev/null", NULL}, NULL);
    assert_int_equal(run.status, 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_summary),
        cmocka_unit_test(test_summary_json),
        cmocka_unit_test(test_keys),
        cmocka_unit_test(test_dump),
        cmocka_unit_test(test_dump_of_all_keys_json),
        cmocka_unit_test(test_damage),
        cmocka_unit_test(test_standard_input),
        cmocka_unit_test(test_full_disk),
        cmocka_unit_test(test_usage),
        cmocka_unit_test(test_help),
        cmocka_unit_test(test_example),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    free(run.out);
    return failed;
}
