/* RDB files as a source: their life, standard input, files that are no good, and memory. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/live/file_rig.h"
#include "tests/support/process.h"
#include "tests/support/transfer.h"

#define MIB (1u << 20)
#define OVERHEAD_BYTES (16 * MIB) /* the program itself, stacks and the allocator's slack */

static struct live_side source;

static int start_sides(void **state)
{
    live_side_start(&source, TEST_REQUIRED_VERSION, 0, 0, NULL);
    return file_rig_start(state);
}

static int stop_sides(void **state)
{
    live_side_stop(&source);
    return file_rig_stop(state);
}

static int empty_sides(void **state)
{
    file_side_empty(&source);
    return file_rig_empty(state);
}

/* It must end with this status, tell every text of the list, and write nothing. */
static void __attribute__((sentinel)) refused(const char *uri, int status, ...)
{
    struct test_cli cli;
    file_spawn(&cli, uri, NULL);
    assert_int_equal(test_cli_wait(&cli, LIVE_WAIT_MS), status);
    char *errors = test_cli_errors(&cli);
    va_list args;
    va_start(args, status);
    for (const char *wanted; (wanted = va_arg(args, const char *)) != NULL;) {
        if (strstr(errors, wanted) == NULL)
            fail_msg("no \"%s\" in: %s", wanted, errors);
    }
    va_end(args);
    free(errors);
    assert_int_equal(dataset_key_count(file_destination->client), 0);
}

/* From here on the destination takes nothing. The task has begun, slowly (--snapshot-bytes), since
 * before that the destination is asked by writing what it takes. */
static void hold_writes(const struct test_cli *cli)
{
    uint64_t deadline = test_deadline(LIVE_WAIT_MS);
    while (live_streams_sum(cli, "snapshot_bytes") == 0)
        test_poll(deadline, "the first bytes");
    test_command_ok(live_redis(file_destination), "CLIENT PAUSE 600000 WRITE");
}

static void let_go(void)
{
    test_command_ok(live_redis(file_destination), "CLIENT UNPAUSE");
}

/* Until all memory for what is read is in use. */
static void wait_for_full_queue(const struct test_cli *cli)
{
    uint64_t deadline = test_deadline(LIVE_WAIT_MS);
    while (live_streams_sum(cli, "queue_percent") < 100)
        test_poll(deadline, "a full queue");
}

/* The first progress that says that the only stream waits for this. */
static json_t *progress_waiting(const struct test_cli *cli, const char *what)
{
    uint64_t deadline = test_deadline(LIVE_WAIT_MS);
    for (;; test_poll(deadline, what)) {
        json_t *progress = live_event(cli, "progress");
        const json_t *stream = json_array_get(json_object_get(progress, "streams"), 0);
        const char *wait = json_string_value(json_object_get(stream, "wait"));
        if (wait != NULL && strcmp(wait, what) == 0)
            return progress;
        json_decref(progress);
    }
}

/* ---- files ---- */

static const char *path_of(char path[300], const char *name)
{
    snprintf(path, 300, "%s/%s", test_folder(), name);
    return path;
}

static const char *uri_of(char uri[320], const char *name)
{
    snprintf(uri, 320, "file://%s/%s", test_folder(), name);
    return uri;
}

static void write_file(const char *name, const void *bytes, size_t size)
{
    char path[300];
    FILE *file = fopen(path_of(path, name), "w");
    if (file == NULL || fwrite(bytes, 1, size, file) != size || fclose(file) != 0)
        test_fatal("cannot write %s", path);
}

static char *read_fixture(const char *name, size_t *size)
{
    char path[512];
    snprintf(path, sizeof(path), TEST_FIXTURES "/rdb/%s/dump.rdb", name);
    return test_file_read(path, size);
}

/* Those of this type in a record of losses are of these keys, in this order, with this outcome. */
static void expect_losses(const char *path,
                          const char *type,
                          const char *outcome,
                          unsigned count,
                          const char *const *keys)
{
    char line[4096];
    unsigned seen = 0;
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    while (fgets(line, sizeof(line), file) != NULL) {
        json_t *loss = json_loads(line, 0, NULL);
        assert_non_null(loss);
        if (strcmp(json_string_value(json_object_get(loss, "type")), type) == 0) {
            assert_true(seen < count);
            assert_string_equal(json_string_value(json_object_get(loss, "outcome")), outcome);
            assert_string_equal(json_string_value(json_object_get(loss, "key")), keys[seen]);
            assert_int_equal(
                strncmp(json_string_value(json_object_get(loss, "source")), "file:///", 8), 0);
            seen++;
        }
        json_decref(loss);
    }
    fclose(file);
    assert_int_equal(seen, count);
}

/* ---- life ---- */

/* Whatever a task of a server would do behind the snapshot, that of a file ends, and says so: no
 * stream is waited for, no server asked. */
static void test_ends_by_itself(void **state)
{
    (void)state;
    static const char *const modes[] = {"--once", "--snapshot-only", "--log-level=info"};
    char path[300], uri[320];
    dataset_load(source.client, 62, 40);
    file_save(live_redis(&source), &source.server, path);
    snprintf(uri, sizeof(uri), "file://%s", path);
    struct stat stat_of;
    assert_int_equal(stat(path, &stat_of), 0);
    for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
        struct test_cli cli;
        file_spawn(&cli, uri, modes[i], NULL);
        live_expect_end(&cli, 0, NULL);
        char *output = test_cli_output(&cli);
        assert_null(strstr(output, "\"phase\":\"live\""));
        free(output);
        json_t *result = live_event(&cli, "result");
        assert_string_equal(json_string_value(json_object_get(result, "phase")), "done");
        assert_string_equal(json_string_value(json_object_get(result, "code")), "ok");
        assert_int_equal(json_integer_value(json_object_get(result, "exit_status")), 0);
        assert_int_equal(json_integer_value(json_object_get(result, "lag_bytes")), 0);
        assert_int_equal(json_integer_value(json_object_get(result, "bytes_received")),
                         stat_of.st_size);
        assert_int_equal(json_integer_value(json_object_get(result, "keys")),
                         dataset_key_count(source.client));
        assert_int_equal(json_integer_value(json_object_get(result, "keys_total")),
                         dataset_key_count(source.client));
        json_decref(result);
        live_assert_equal(&source, file_destination);
        test_command_ok(live_redis(file_destination), "FLUSHALL");
    }
    char *output;
    const char *words[] = {"sync", uri, file_destination->uri, NULL};
    assert_int_equal(test_cli_run(words, LIVE_WAIT_MS, &output, NULL), 0);
    live_expect_texts(output, "1 of 1 files loaded whole, nothing follows them", "done", NULL);
    free(output);
}

/* F5: how much of how much, while it is loaded: the destination stands still until it was seen. */
static void test_progress(void **state)
{
    (void)state;
    char path[300], uri[320];
    struct test_cli cli;
    test_command_ok(live_redis(&source), "CONFIG SET rdbcompression no");
    test_command_ok(live_redis(&source), "DEBUG POPULATE 40000 key 300");
    file_save(live_redis(&source), &source.server, path);
    snprintf(uri, sizeof(uri), "file://%s", path);
    file_spawn(&cli, uri, "--memory", "8m", "--snapshot-bytes", "4m", NULL);
    hold_writes(&cli);
    wait_for_full_queue(&cli);
    json_t *progress = progress_waiting(&cli, "destination");
    const json_t *stream = json_array_get(json_object_get(progress, "streams"), 0);
    struct stat stat_of;
    assert_int_equal(stat(path, &stat_of), 0);
    assert_string_equal(json_string_value(json_object_get(stream, "source")), uri);
    assert_true(json_is_true(json_object_get(stream, "is_file")));
    assert_int_equal(json_integer_value(json_object_get(stream, "snapshot_bytes_total")),
                     stat_of.st_size);
    assert_int_equal(json_integer_value(json_object_get(stream, "snapshot_keys_total")), 40000);
    assert_string_equal(json_string_value(json_object_get(stream, "wait")), "destination");
    assert_true(json_is_null(json_object_get(stream, "lag_ms")));
    double percent = json_real_value(json_object_get(stream, "percent"));
    assert_true(percent > 0);
    assert_true(percent < 100);
    json_decref(progress);
    let_go();
    live_expect_end(&cli, 0, NULL);
    live_assert_equal(&source, file_destination);
    test_command_ok(live_redis(&source), "CONFIG SET rdbcompression yes");
}

/* Half a file is no success: a signal ends it, with the status of an interruption. */
static void test_signal(void **state)
{
    (void)state;
    char path[300], uri[320];
    struct test_cli cli;
    test_command_ok(live_redis(&source), "DEBUG POPULATE 60000 key 300");
    file_save(live_redis(&source), &source.server, path);
    snprintf(uri, sizeof(uri), "file://%s", path);
    file_spawn(&cli, uri, "--memory", "8m", "--snapshot-bytes", "4m", NULL);
    hold_writes(&cli);
    wait_for_full_queue(&cli);
    test_cli_signal(&cli, SIGINT);
    live_wait_phase(&cli, "draining");
    let_go();
    assert_int_equal(test_cli_wait(&cli, LIVE_WAIT_MS), 130);
    char *errors = test_cli_errors(&cli);
    live_expect_texts(errors, "stopped before the source's files were loaded whole", NULL);
    free(errors);
    json_t *result = live_event(&cli, "result");
    assert_string_equal(json_string_value(json_object_get(result, "code")), "stopped");
    assert_int_equal(json_integer_value(json_object_get(result, "exit_status")), 130);
    json_decref(result);
    /* F2: once more, over what is there. */
    file_load(uri, "--on-nonempty", "overwrite", NULL);
    live_assert_equal(&source, file_destination);
}

/* The options of any source. */
static void test_policies(void **state)
{
    (void)state;
    char uri[512];
    struct test_cli cli;
    const struct live_fixture *fixture = &live_fixtures[7];
    assert_string_equal(fixture->name, "redis-7.4.1");
    live_fixture_uri(fixture, uri);
    file_spawn(&cli, uri, NULL);
    live_expect_end(&cli, 7, "hash", "--on-unsupported", "byte", uri, NULL);
    file_spawn(&cli, uri, "--on-unsupported", "skip", NULL);
    live_expect_end(&cli, 4, "not empty", "--on-nonempty", NULL);
    file_load(uri, "--on-unsupported", "skip", "--on-nonempty", "overwrite", NULL);
    /* Five of its hashes have fields that expire. */
    assert_int_equal(dataset_key_count(file_destination->client), fixture->key_count - 5);
    file_side_empty(file_destination);
    file_load(uri, "--db", "1,2", "--db-map", "2:7", NULL);
    redisReply *reply = test_command(live_redis(file_destination), "INFO keyspace");
    assert_non_null(strstr(reply->str, "db1:keys=16,"));
    assert_non_null(strstr(reply->str, "db7:keys=3,"));
    assert_null(strstr(reply->str, "db0:"));
    assert_null(strstr(reply->str, "db2:"));
    freeReplyObject(reply);
}

/* Which databases a file has is not known before it is read; it is told as clearly then. */
static void test_too_few_databases(void **state)
{
    (void)state;
    char uri[512];
    struct test_cli cli;
    struct live_side few;
    live_side_start(&few, TEST_REQUIRED_VERSION, 0, 0, (const char *[]){"--databases", "4", NULL});
    file_destination = &few;
    file_spawn(&cli, live_fixture_uri(&live_fixtures[0], uri), NULL);
    live_expect_end(&cli, 7, uri, "database 9", "only 4 databases", "--db-map", NULL);
    file_load(uri, "--on-nonempty", "overwrite", "--db", "0-2", NULL);
    assert_int_equal(dataset_key_count(few.client), 187);
    live_side_stop(&few);
}

/* What a server before 7.0 cannot have at all. */
static void test_functions_into_redis_6_0(void **state)
{
    (void)state;
    char uri[512];
    struct test_cli cli;
    if (!test_server_available("redis-6.0"))
        return;
    file_other_start("redis-6.0", 0);
    live_fixture_uri(&live_fixtures[7], uri);
    file_spawn(&cli, uri, NULL);
    live_expect_end(&cli, 7, "function libraries", "--on-unsupported", uri, NULL);
    assert_int_equal(dataset_key_count(file_destination->client), 0);
    char path[300];
    path_of(path, "losses-functions");
    file_spawn(&cli, uri, "--on-unsupported", "degrade", "--losses", path, NULL);
    live_expect_end(&cli, 0, NULL);
    char *output = test_cli_output(&cli);
    live_expect_texts(output, "a function library (key hash", "is left out", NULL);
    free(output);
    expect_losses(
        path, "function library", "skipped", 2, (const char *const[]){"other", "labfuncs"});
    json_t *result = live_event(&cli, "result");
    assert_true(json_integer_value(json_object_get(result, "values_skipped")) >= 2);
    json_decref(result);
    file_other_stop();
}

/* Streams of 7.0 for 6.0: one that spans chunks leaves in the earlier form, with entries pending
 * that are deleted, which no command could write; one larger than memory as commands. */
static void test_streams_into_redis_6_0(void **state)
{
    (void)state;
    char path[300], uri[320], filler[1000];
    struct test_cli cli;
    redisContext *from = live_redis(&source);
    if (!test_server_available("redis-6.0"))
        return;
    file_other_start("redis-6.0", 0);
    memset(filler, 'x', sizeof(filler) - 1);
    filler[sizeof(filler) - 1] = '\0';
    test_command_ok(from, "CONFIG SET rdbcompression no");
    for (int i = 1; i <= 12000; i++) {
        if (i <= 1500)
            test_command_ok(from, "XADD spans %d-1 f %d-%s", i, i, filler);
        test_command_ok(from, "XADD large %d-1 f %d-%s", i, i, filler);
    }
    static const char *const keys[] = {"spans", "large"};
    for (int i = 0; i < 2; i++) {
        test_command_ok(from, "XGROUP CREATE %s g 0", keys[i]);
        freeReplyObject(
            test_command(from, "XREADGROUP GROUP g c COUNT 1000 STREAMS %s >", keys[i]));
        test_command_ok(from, "XGROUP CREATECONSUMER %s g idle", keys[i]);
    }
    test_command_ok(from, "XDEL spans 7-1 8-1");
    file_save(from, &source.server, path);
    snprintf(uri, sizeof(uri), "file://%s", path);
    file_spawn(&cli, uri, "--memory", "8m", NULL);
    live_expect_end(&cli, 0, NULL);
    json_t *result = live_event(&cli, "result");
    assert_int_equal(json_integer_value(json_object_get(result, "values_rewritten")), 1);
    json_decref(result);
    assert_int_equal(live_differences(&source, file_destination), 0);
    redisReply *reply = test_command(live_redis(file_destination), "XPENDING spans g");
    assert_int_equal(reply->element[0]->integer, 1000);
    freeReplyObject(reply);
    file_verify(uri);
    test_command_ok(from, "CONFIG SET rdbcompression yes");
    file_other_stop();
}

/* ---- standard input ---- */

/* `sh -c COMMAND`, in which "$0" is the program and "$1" the destination; its exit status. */
static int shell(const char *command, char **errors)
{
    static uint32_t count;
    char out[300], err[300], name[32];
    int status;
    snprintf(name, sizeof(name), "sh-%u", count++);
    snprintf(err, sizeof(err), "%s/%s.err", test_folder(), name);
    snprintf(out, sizeof(out), "%s/%s.out", test_folder(), name);
    const char *argv[] = {"/bin/sh", "-c", command, test_cli_path(), file_destination->uri, NULL};
    pid_t pid = process_start(argv, out, err);
    if (!process_wait(pid, LIVE_WAIT_MS, &status)) {
        process_kill(pid);
        test_fatal("did not end: %s", command);
    }
    size_t size;
    char *text = test_file_read(err, &size);
    *errors = strndup(text, size);
    free(text);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* Through a pipe nothing is known of the file but its bytes, not even how many. */
static void test_standard_input(void **state)
{
    (void)state;
    char command[1000], *errors;
    for (const struct live_fixture *fixture = live_fixtures; fixture->name != NULL; fixture++) {
        snprintf(command,
                 sizeof(command),
                 "cat " TEST_FIXTURES
                 "/rdb/%s/dump.rdb | $0 sync --on-unsupported degrade file:- $1",
                 fixture->name);
        assert_int_equal(shell(command, &errors), 0);
        free(errors);
        live_assert_expected(fixture, file_destination, false);
        file_side_empty(file_destination);
    }
    /* Redirected, it is a file; of one that somebody has begun to read, the rest counts. */
    snprintf(command,
             sizeof(command),
             "(printf x; cat " TEST_FIXTURES "/rdb/redis-2.6.17/dump.rdb) > %s/later.rdb; "
             "(dd bs=1 count=1 of=/dev/null; $0 sync file:- $1) < %s/later.rdb",
             test_folder(),
             test_folder());
    assert_int_equal(shell(command, &errors), 0);
    free(errors);
    live_assert_expected(&live_fixtures[0], file_destination, false);
}

static void test_standard_input_that_is_no_good(void **state)
{
    (void)state;
    static const struct {
        const char *command; /* with the path of a file */
        const char *texts[2];
    } cases[] = {
        {"$0 sync file:- $1 < /dev/null", {"ended before its first byte", "file:-"}},
        {"printf hello | $0 sync file:- $1", {"cut short: it ends at byte 5", "file:-"}},
        {"printf REDIS0011 | $0 sync file:- $1", {"file is cut short", "ends at byte 9"}},
        {"printf hellohellohello | $0 sync file:- $1", {"not an RDB", "file:-"}},
        {"head -c 300000 %s | $0 sync file:- $1",
         {"the file is cut short: it ends at byte 300000"}},
        {"(cat %s; printf 'SET a 1') | $0 sync file:- $1",
         {"the RDB ends at byte 1389729, but more follows"}},
        {"$0 sync file:- $1 < /", {"directory"}},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char command[1000], *errors;
        file_side_empty(file_destination);
        snprintf(command, sizeof(command), "%s", cases[i].command);
        char *place = strstr(command, "%s");
        if (place != NULL) {
            char rest[200];
            snprintf(rest, sizeof(rest), "%s", place + 2);
            snprintf(place,
                     sizeof(command) - (size_t)(place - command),
                     TEST_FIXTURES "/rdb/redis-2.6.17/dump.rdb%s",
                     rest);
        }
        int status = shell(command, &errors);
        if (status != 5)
            fail_msg("%s: status %d: %s", command, status, errors);
        for (size_t n = 0; n < 2 && cases[i].texts[n] != NULL; n++) {
            if (strstr(errors, cases[i].texts[n]) == NULL)
                fail_msg("%s: no \"%s\" in: %s", command, cases[i].texts[n], errors);
        }
        free(errors);
    }
}

/* ---- files that are no good ---- */

/* Told before anything is written, with path and byte. */
static void test_files_that_are_no_good(void **state)
{
    (void)state;
    char uri[320], twice[700];
    size_t size;
    char *bytes = read_fixture("redis-7.4.1-snapshot", &size);
    refused(uri_of(uri, "missing.rdb"), 5, "missing.rdb", "No such file", NULL);
    refused(uri_of(uri, "."), 5, "is a directory", NULL);
    write_file("whole.rdb", bytes, size);
    refused(uri_of(uri, "whole.rdb/x"), 5, "Not a directory", NULL);
    refused("file:///dev/null", 5, "/dev/null", "not a regular file", "file:-", NULL);
    write_file("empty.rdb", "", 0);
    refused(uri_of(uri, "empty.rdb"), 5, "empty.rdb", "is empty", NULL);
    write_file("short.rdb", "REDIS", 5);
    refused(uri_of(uri, "short.rdb"), 5, "short.rdb", "not an RDB", NULL);
    write_file("text.rdb", "hello, hello, hello", 19);
    refused(uri_of(uri, "text.rdb"), 5, "text.rdb", "RDB byte 0", "not an RDB", NULL);
    write_file("zip.rdb", "\x1f\x8b\x08xxxxxxxxxx", 13);
    refused(uri_of(uri, "zip.rdb"), 5, "compressed by gzip", "file:-", NULL);
    write_file("appendonly.aof", "*2\r\n$6\r\nSELECT\r\n$1\r\n0\r\n", 24);
    refused(uri_of(uri, "appendonly.aof"), 5, "append-only file", NULL);
    memcpy(bytes, "REDIS0099", 9);
    write_file("future.rdb", bytes, size);
    refused(uri_of(uri, "future.rdb"), 5, "version 99 is not supported", "future.rdb", NULL);
    memcpy(bytes, "REDIS0012", 9);
    /* Wherever it is cut, but behind the end mark, where it cannot be told from another checksum.
     */
    for (size_t cut = 1; cut < size; cut += 97) {
        write_file("cut.rdb", bytes, cut);
        refused(uri_of(uri, "cut.rdb"), 5, "cut.rdb", NULL);
    }
    char *longer = calloc(1, size + 10);
    assert_non_null(longer);
    memcpy(longer, bytes, size);
    write_file("longer.rdb", longer, size + 10);
    refused(uri_of(uri, "longer.rdb"), 5, "longer.rdb", "byte", "follows", NULL);
    free(longer);
    snprintf(
        twice, sizeof(twice), "%s,file://%s/./whole.rdb", uri_of(uri, "whole.rdb"), test_folder());
    refused(twice, 3, "are the same file", NULL);
    if (geteuid() != 0) {
        char path[300];
        assert_int_equal(chmod(path_of(path, "whole.rdb"), 0), 0);
        refused(uri_of(uri, "whole.rdb"), 5, "Permission denied", NULL);
    }
    free(bytes);
}

/* A bit that changed after the file was written. What is decided by it, a length or a type, is
 * found at once; the rest by the checksum, when it has been written; never nothing. */
static void test_damaged_files(void **state)
{
    (void)state;
    char uri[320];
    size_t size;
    char *bytes = read_fixture("redis-7.4.1-snapshot", &size);
    for (size_t at = 9; at < size; at += 211) {
        struct test_cli cli;
        bytes[at] ^= 0x11;
        write_file("damaged.rdb", bytes, size);
        bytes[at] ^= 0x11;
        file_spawn(&cli, uri_of(uri, "damaged.rdb"), "--on-unsupported", "degrade", NULL);
        int status = test_cli_wait(&cli, LIVE_WAIT_MS);
        char *errors = test_cli_errors(&cli);
        /* Of a damaged value, the destination may be the first to notice. */
        if (status != 5 && status != 7)
            fail_msg("byte %zu: status %d: %s", at, status, errors);
        if (status == 5)
            live_expect_texts(errors, "damaged.rdb", NULL);
        free(errors);
        file_side_empty(file_destination);
    }
    bytes[size - 1] ^= 1;
    write_file("damaged.rdb", bytes, size);
    struct test_cli cli;
    file_spawn(&cli, uri_of(uri, "damaged.rdb"), "--on-unsupported", "degrade", NULL);
    live_expect_end(&cli, 5, "damaged.rdb", "checksum", "whole copy", NULL);
    free(bytes);
}

/* A damaged value in a file whose frame is whole: the load stops there, or sets it aside, tells
 * which it is, and loads the rest. */
static void test_damaged_value(void **state)
{
    (void)state;
    static const char rdb[] = "REDIS0009\xfe\x00"
                              "\x0d\4good\x11\x11\0\0\0\x0d\0\0\0\2\0\0\1f\3\1v\xff"
                              "\x0d\3bad\x11\x11\0\0\0\x0d\0\0\0\2\0\0\1f\3\xc5v\xff"
                              "\x00\4text\1t"
                              "\xff\0\0\0\0\0\0\0";
    char uri[320], path[300];
    struct test_cli cli;
    write_file("bad-value.rdb", rdb, sizeof(rdb)); /* its NUL is the checksum's last byte */
    uri_of(uri, "bad-value.rdb");
    file_spawn(&cli, uri, NULL);
    live_expect_end(&cli, 5, "bad-value.rdb", "damaged", NULL);
    file_side_empty(file_destination);
    path_of(path, "losses-corrupt");
    file_spawn(&cli, uri, "--on-corrupt", "skip", "--losses", path, NULL);
    live_expect_end(&cli, 0, NULL);
    expect_losses(path, "hash (ziplist)", "corrupt", 1, (const char *const[]){"bad"});
    assert_int_equal(dataset_key_count(file_destination->client), 2);
    redisReply *reply = test_command(live_redis(file_destination), "HGET good f");
    assert_string_equal(reply->str, "v");
    freeReplyObject(reply);
}

static void load_again(const char *uri)
{
    file_load(uri, "--on-nonempty", "overwrite", NULL);
    assert_int_equal(live_differences(&source, file_destination), 0);
    file_side_empty(file_destination);
}

/* A destination that fails while it is loaded: nothing of the load is known there afterwards, so it
 * ends at once and says how to begin anew, which makes it whole. */
static void test_destination_that_fails(void **state)
{
    (void)state;
    char path[300], uri[320];
    struct test_cli cli;
    redisContext *to = live_redis(file_destination);
    dataset_load(source.client, 9, 20);
    test_command_ok(live_redis(&source), "DEBUG POPULATE 20000 key 300");
    file_save(live_redis(&source), &source.server, path);
    snprintf(uri, sizeof(uri), "file://%s", path);

    file_spawn(&cli, uri, "--memory", "8m", "--snapshot-bytes", "1m", NULL);
    uint64_t deadline = test_deadline(LIVE_WAIT_MS);
    while (live_total(&cli, "keys") <= 0)
        test_poll(deadline, "the first keys");
    freeReplyObject(test_command(to, "CLIENT KILL TYPE normal SKIPME yes"));
    live_expect_end(&cli, 7, "loaded in part", "--on-nonempty overwrite", NULL);
    load_again(uri);

    file_spawn(&cli, uri, "--memory", "8m", "--snapshot-bytes", "1m", NULL);
    deadline = test_deadline(LIVE_WAIT_MS);
    while (live_total(&cli, "keys") <= 0)
        test_poll(deadline, "the first keys");
    test_command_ok(to, "CONFIG SET maxmemory 1mb");
    live_expect_end(&cli, 7, "loaded in part", "--on-nonempty overwrite", NULL);
    test_command_ok(to, "CONFIG SET maxmemory 0");
    load_again(uri);
}

/* The file is written to while it is read: the destination stands still until it was. */
static void change_while_read(const char *name, off_t by, const char *wanted)
{
    char path[300], uri[320], saved[300];
    struct test_cli cli;
    size_t size;
    char *bytes = test_file_read(file_save(live_redis(&source), &source.server, saved), &size);
    write_file(name, bytes, size);
    free(bytes);
    file_spawn(&cli, uri_of(uri, name), "--memory", "8m", "--snapshot-bytes", "4m", NULL);
    hold_writes(&cli);
    wait_for_full_queue(&cli);
    assert_int_equal(truncate(path_of(path, name), (off_t)size + by), 0);
    let_go();
    live_expect_end(&cli, 5, name, wanted, "byte", NULL);
    test_command_ok(live_redis(file_destination), "FLUSHALL");
}

static void test_file_that_changes(void **state)
{
    (void)state;
    test_command_ok(live_redis(&source), "CONFIG SET rdbcompression no");
    test_command_ok(live_redis(&source), "DEBUG POPULATE 40000 key 600");
    change_while_read("growing.rdb", 1, "grew while it was read");
    change_while_read("shrinking.rdb", -1, "was cut short while it was read");
    test_command_ok(live_redis(&source), "CONFIG SET rdbcompression yes");
}

/* ---- memory ---- */

static void send_big(redisContext *redis)
{
    static char text[1000];
    for (int i = 0; i < 12000; i++) {
        for (size_t n = 0; n < sizeof(text); n++)
            text[n] = (char)('a' + (n * 7 + (size_t)i) % 23);
        snprintf(text, 16, "%08d", i);
        text[8] = ':';
        redisAppendCommand(redis, "HSET big:h %b %d", text, sizeof(text), i);
        redisAppendCommand(redis, "RPUSH big:l %b", text, sizeof(text));
        redisAppendCommand(redis, "SADD big:set %b", text, sizeof(text));
        redisAppendCommand(redis, "ZADD big:z %d.5 %b", i, text, sizeof(text));
        redisAppendCommand(redis, "XADD big:x %d-1 f %b", i + 1, text, sizeof(text));
        for (int n = 0; n < 5; n++) {
            redisReply *reply = NULL;
            assert_int_equal(redisGetReply(redis, (void **)&reply), REDIS_OK);
            assert_int_not_equal(reply->type, REDIS_REPLY_ERROR);
            freeReplyObject(reply);
        }
    }
    test_command_ok(redis, "XGROUP CREATE big:x g 0");
    redisReply *reply = test_command(redis, "XREADGROUP GROUP g c COUNT 3000 STREAMS big:x >");
    freeReplyObject(reply);
    test_command_ok(redis, "EXPIRE big:l 100000");
}

/* F3: every value is larger than all of --memory, and the destination is slow: what was read waits
 * in bounded memory, and all of it arrives. Then the comparison, which has no more. */
static void test_bigger_than_memory(void **state)
{
    (void)state;
    char path[300], uri[320];
    struct test_cli cli;
    redisContext *from = live_redis(&source);
    size_t size = 30 * MIB;
    char *text = malloc(size);
    assert_non_null(text);
    for (size_t i = 0; i < size; i++)
        text[i] = (char)(i * 2654435761u >> 13);
    test_command_ok(from, "SET big:s %b EX 10000", text, size);
    free(text);
    test_command_ok(from, "CONFIG SET rdbcompression no");
    send_big(from);
    file_save(from, &source.server, path);
    snprintf(uri, sizeof(uri), "file://%s", path);
    file_spawn(&cli, uri, "--memory", "8m", "--snapshot-bytes", "20m", NULL);
    hold_writes(&cli);
    wait_for_full_queue(&cli);
    let_go();
    for (int i = 0; i < 3; i++) {
        test_server_freeze(&file_destination->server);
        uint64_t deadline = test_deadline(LIVE_WAIT_MS);
        for (int64_t before = -1, same = 0; same < 10; test_poll(deadline, "full queues")) {
            int64_t now = live_total(&cli, "bytes_received");
            same = now == before ? same + 1 : 0;
            before = now;
        }
        assert_in_range(test_cli_peak_bytes(&cli), 1, 8 * MIB + OVERHEAD_BYTES);
        test_server_thaw(&file_destination->server);
    }
    live_expect_end(&cli, 0, NULL);
    assert_int_equal(live_differences(&source, file_destination), 0);
    test_command_ok(from, "CONFIG SET rdbcompression yes");
    /* Read in pieces on both sides. */
    const char *words[] = {"verify", uri, file_destination->uri, "--memory", "8m", NULL};
    assert_int_equal(test_cli_run(words, LIVE_WAIT_MS, NULL, NULL), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_ends_by_itself, empty_sides),
        cmocka_unit_test_setup(test_progress, empty_sides),
        cmocka_unit_test_setup(test_signal, empty_sides),
        cmocka_unit_test_setup(test_policies, empty_sides),
        cmocka_unit_test_setup(test_too_few_databases, empty_sides),
        cmocka_unit_test_setup(test_functions_into_redis_6_0, empty_sides),
        cmocka_unit_test_setup(test_streams_into_redis_6_0, empty_sides),
        cmocka_unit_test_setup(test_standard_input, empty_sides),
        cmocka_unit_test_setup(test_standard_input_that_is_no_good, empty_sides),
        cmocka_unit_test_setup(test_files_that_are_no_good, empty_sides),
        cmocka_unit_test_setup(test_damaged_files, empty_sides),
        cmocka_unit_test_setup(test_damaged_value, empty_sides),
        cmocka_unit_test_setup(test_destination_that_fails, empty_sides),
        cmocka_unit_test_setup(test_file_that_changes, empty_sides),
        cmocka_unit_test_setup(test_bigger_than_memory, empty_sides),
    };
    cmocka_set_test_filter(getenv("SYNCLINE_TEST_FILTER"));
    if (!test_cli_available())
        return 77;
    return cmocka_run_group_tests(tests, start_sides, stop_sides);
}
