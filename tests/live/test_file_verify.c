/* Comparing RDB files with a live destination: each kind of difference is found and none that is
 * not there, in both directions, with little memory. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/base/clock.h"
#include "tests/live/live_expected.h"
#include "tests/live/sides.h"

#define MIB (1u << 20)
#define OVERHEAD_BYTES (16 * MIB)
#define WORDS_MAX 24

static char uri[400];

static int start_all(void **state)
{
    sides_start(state);
    snprintf(uri, sizeof(uri), "file://%s/dump.rdb", source.server.folder);
    return 0;
}

/* The source's data into its file, and the file into the destination. */
static void save_and_load(const struct live_side *to)
{
    test_command_ok(live_redis(&source), "SAVE");
    const char *words[] = {"sync", uri, to->uri, NULL};
    char *errors;
    if (test_cli_run(words, LIVE_WAIT_MS, NULL, &errors) != 0)
        fail_msg("%s", errors);
    free(errors);
}

/* ---- what it says ---- */

static char *output;
static json_t *result;

/* `verify URI DESTINATION --output json` and more words until NULL; the exit status. */
static int __attribute__((sentinel)) run(const struct live_side *to, ...)
{
    const char *words[WORDS_MAX] = {
        "verify", uri, to->uri, "--output", "json", "--rounds", "2", "--interval", "50ms"};
    uint32_t count = 9;
    va_list args;
    va_start(args, to);
    while ((words[count] = va_arg(args, const char *)) != NULL)
        count++;
    va_end(args);
    struct test_cli cli;
    free(output);
    json_decref(result);
    test_cli_spawn(&cli, words);
    int status = test_cli_wait(&cli, LIVE_WAIT_MS);
    output = test_cli_output(&cli);
    result = live_event(&cli, "result");
    if (result == NULL)
        fail_msg("no result: %s%s", output, test_cli_errors(&cli));
    return status;
}

static int64_t number(const char *field)
{
    return json_integer_value(json_object_get(result, field));
}

/* Exactly one difference about this key, of this kind, with these words. */
static void expect(const char *key, const char *kind, const char *words)
{
    char mark[200];
    unsigned count = 0;
    snprintf(mark, sizeof(mark), "\"key\":\"%s\"", key);
    for (const char *at = output; (at = strstr(at, mark)) != NULL; at++) {
        const char *line = at;
        while (line > output && line[-1] != '\n')
            line--;
        char *text = strndup(line, strcspn(line, "\n"));
        char kind_mark[64];
        snprintf(kind_mark, sizeof(kind_mark), "\"kind\":\"%s\"", kind);
        if (strstr(text, kind_mark) == NULL || strstr(text, words) == NULL)
            fail_msg("no %s and \"%s\" in: %s", kind_mark, words, text);
        free(text);
        count++;
    }
    if (count != 1)
        fail_msg("%u differences about %s in: %.4000s", count, key, output);
}

/* ---- tests ---- */

/* All types and encodings, also into versions that encode them otherwise; then the counts. */
static void test_equal(void **state)
{
    (void)state;
    static const char *const versions[] = {
        "redis-6.0", "redis-7.0", "redis-8.0", "valkey-8.1", "valkey-9", NULL};
    dataset_load(source.client, 71, 40);
    test_command_ok(live_redis(&source), "FUNCTION FLUSH");
    int64_t keys = (int64_t)dataset_key_count(source.client);
    for (size_t i = 0; versions[i] != NULL; i++) {
        if (!test_server_available(versions[i]))
            continue;
        struct live_side to;
        live_side_start(&to, versions[i], 0, 0, NULL);
        save_and_load(&to);
        assert_int_equal(run(&to, NULL), 0);
        assert_int_equal(number("differences"), 0);
        assert_int_equal(number("keys_source"), keys);
        assert_int_equal(number("keys_destination"), keys);
        assert_int_equal(number("keys_compared"), keys);
        assert_int_equal(number("equal_payload") + number("equal_content"), keys);
        assert_int_equal(run(&to, "--fast", NULL), 0);
        assert_int_equal(number("keys_compared"), keys);
        live_side_stop(&to);
    }
}

static void test_each_difference(void **state)
{
    (void)state;
    redisContext *from = live_redis(&source);
    redisContext *to = live_redis(&destination);
    dataset_load(source.client, 72, 20);
    static const char *const made[] = {
        "SET missing x",
        "SET type x",
        "SET text abc",
        "RPUSH list a b c",
        "SADD set a b c",
        "HSET hash a 1 b 2",
        "ZADD zset 1 a 2 b",
        "XADD stream 1-1 a b",
        "XADD group 1-1 a b",
        "XGROUP CREATE group g 0",
        "SET ttl x PX 100000000",
        "SET ttl-gone x PX 100000000",
        "SET ttl-new x",
    };
    for (size_t i = 0; i < sizeof(made) / sizeof(made[0]); i++)
        test_command_ok(from, made[i]);
    save_and_load(&destination);
    int64_t keys = (int64_t)dataset_key_count(source.client);
    static const char *const changed[] = {
        "DEL missing",
        "DEL type",
        "LPUSH type x",
        "SET text abd",
        "LSET list 1 B",
        "SREM set a",
        "SADD set A",
        "HSET hash b 3",
        "ZADD zset 2.5 b",
        "XADD stream 2-1 a b",
        "XREADGROUP GROUP g c STREAMS group >",
        "PEXPIRE ttl 50000000",
        "PERSIST ttl-gone",
        "PEXPIRE ttl-new 100000000",
        "SET extra x",
        "SET gone-soon x PX 100",
    };
    for (size_t i = 0; i < sizeof(changed) / sizeof(changed[0]); i++)
        test_command_ok(to, changed[i]);
    test_command_ok(to, "SELECT 3");
    test_command_ok(to, "SET extra3 x");
    test_command_ok(to, "SELECT 0");
    assert_int_equal(run(&destination, NULL), 6);
    expect("missing", "missing", "string at the source, nothing at the destination");
    expect("type", "type", "string at the source, list at the destination");
    expect("text", "value", "string: 3 bytes at the source, 3 at the destination");
    expect("list", "value", "list: 3 elements at the source, 3 at the destination");
    expect("set", "value", "set");
    expect("hash", "value", "hash");
    expect("zset", "value", "zset");
    expect("stream", "value", "1 elements at the source, 2 at the destination");
    expect("group", "value", "stream");
    expect("ttl", "ttl", "at the source");
    expect("ttl-gone", "ttl", "never at the destination");
    expect("ttl-new", "ttl", "never at the source");
    expect("extra", "extra", "string at the destination, nothing at the source");
    expect("extra3", "extra", "string at the destination");
    assert_int_equal(number("differences"), 14);
    assert_int_equal(number("keys_source"), keys);
    assert_int_equal(number("keys_compared"), keys - 1);
    /* The fast mode sees those that change a type, a length or an expiry. */
    assert_int_equal(run(&destination, "--fast", NULL), 6);
    expect("missing", "missing", "");
    expect("type", "type", "");
    expect("stream", "length", "length 1 at the source, 2 at the destination");
    expect("ttl", "ttl", "");
    expect("extra", "extra", "");
    assert_int_equal(number("differences"), 8);
}

/* Only what was selected, at its place. */
static void test_databases(void **state)
{
    (void)state;
    redisContext *from = live_redis(&source);
    redisContext *to = live_redis(&destination);
    for (int db = 0; db < 4; db++) {
        test_command_ok(from, "SELECT %d", db);
        test_command_ok(from, "SET key %d", db);
    }
    test_command_ok(from, "SELECT 0");
    test_command_ok(from, "SAVE");
    const char *words[] = {"sync", uri, destination.uri, "--db", "1,2", "--db-map", "2:9", NULL};
    assert_int_equal(test_cli_run(words, LIVE_WAIT_MS, NULL, NULL), 0);
    test_command_ok(to, "SET other x"); /* in a database that is nobody's */
    assert_int_equal(run(&destination, "--db", "1,2", "--db-map", "2:9", NULL), 0);
    assert_int_equal(number("keys_source"), 2);
    assert_int_equal(number("keys_destination"), 2);
    test_command_ok(to, "SELECT 9");
    test_command_ok(to, "SET more x");
    test_command_ok(to, "SELECT 0");
    assert_int_equal(run(&destination, "--db", "1,2", "--db-map", "2:9", NULL), 6);
    expect("more", "extra", "\"db\":2"); /* of the file */
    assert_int_equal(run(&destination, NULL), 6);
}

/* A key that expires during the copy or the comparison is no difference; one that should have is.
 */
static void test_expired(void **state)
{
    (void)state;
    redisContext *from = live_redis(&source);
    redisContext *to = live_redis(&destination);
    test_command_ok(from, "SET stays x");
    test_command_ok(from, "SET goes x PX 300");
    test_command_ok(from, "SET went x PX 300");
    save_and_load(&destination);
    uint64_t deadline = test_deadline(LIVE_WAIT_MS);
    while (test_command_integer(to, "EXISTS goes went") > 0)
        test_poll(deadline, "keys to expire");
    assert_int_equal(run(&destination, NULL), 0);
    assert_int_equal(number("expired"), 2);
    assert_int_equal(number("keys_compared"), 1);
    test_command_ok(to, "SET went x");
    assert_int_equal(run(&destination, NULL), 6);
    expect("went", "ttl", "never at the destination");
}

/* Fields of hashes, too: those that expire between a file's making and its comparison are gone on
 * both sides; one that never does at the destination is a difference. */
static void test_expired_fields(void **state)
{
    (void)state;
    struct live_side from, to;
    char kept[400];
    if (!test_server_available("redis-8.0"))
        return;
    live_side_start(&from, "redis-8.0", 0, 0, NULL);
    live_side_start(&to, "redis-8.0", 0, 0, NULL);
    snprintf(kept, sizeof(kept), "%s", uri);
    snprintf(uri, sizeof(uri), "file://%s/dump.rdb", from.server.folder);
    redisContext *redis = live_redis(&from);
    test_command_ok(redis, "HSET some a 1 b 2 c 3");
    test_command_ok(redis, "HPEXPIRE some 400 FIELDS 1 a");
    test_command_ok(redis, "HPEXPIRE some 100000000 FIELDS 1 b");
    test_command_ok(redis, "HSET all a 1");
    test_command_ok(redis, "HPEXPIRE all 400 FIELDS 1 a");
    test_command_ok(redis, "SAVE");
    const char *words[] = {"sync", uri, to.uri, NULL};
    assert_int_equal(test_cli_run(words, LIVE_WAIT_MS, NULL, NULL), 0);
    uint64_t deadline = test_deadline(LIVE_WAIT_MS);
    while (test_command_integer(live_redis(&to), "EXISTS all") > 0)
        test_poll(deadline, "fields to expire");
    assert_int_equal(run(&to, NULL), 0);
    assert_int_equal(number("expired"), 1);
    test_command_ok(live_redis(&to), "HPERSIST some FIELDS 1 b");
    assert_int_equal(run(&to, NULL), 6);
    expect("some", "value", "hash");
    live_side_stop(&from);
    live_side_stop(&to);
    snprintf(uri, sizeof(uri), "%s", kept);
}

/* A copy that is still on its way is no difference, if it arrives while it is waited for. */
static void test_late_arrival(void **state)
{
    (void)state;
    redisContext *to = live_redis(&destination);
    test_command_ok(live_redis(&source), "SET late x");
    test_command_ok(live_redis(&source), "SET here x");
    save_and_load(&destination);
    test_command_ok(to, "SET late almost");
    const char *words[] = {"verify",
                           uri,
                           destination.uri,
                           "--output",
                           "json",
                           "--interval",
                           "4s",
                           "--progress-interval",
                           "20ms",
                           NULL};
    struct test_cli cli;
    test_cli_spawn(&cli, words);
    /* The first look is over when both keys were compared; the second comes after the interval. */
    test_cli_wait_output(&cli, "\"keys_compared\":2", LIVE_WAIT_MS);
    test_command_ok(to, "SET late x");
    live_expect_end(&cli, 0, NULL);
    free(output);
    json_decref(result);
    output = test_cli_output(&cli);
    result = live_event(&cli, "result");
    assert_int_equal(number("rechecked"), 1);
}

/* Several files, and a cluster behind them. */
static void test_cluster(void **state)
{
    (void)state;
    struct live_side from, to;
    char kept[400];
    live_side_start(&from, TEST_REQUIRED_VERSION, 2, 0, NULL);
    live_side_start(&to, TEST_REQUIRED_VERSION, 3, 0, NULL);
    snprintf(kept, sizeof(kept), "%s", uri);
    dataset_load(from.client, 73, 30);
    for (uint32_t i = 0; i < 2; i++)
        test_command_ok(test_client_at(from.client, i), "SAVE");
    snprintf(uri,
             sizeof(uri),
             "file://%s/dump.rdb,%s/dump.rdb",
             from.cluster.nodes[0].folder,
             from.cluster.nodes[1].folder);
    const char *words[] = {"sync", uri, to.uri, NULL};
    assert_int_equal(test_cli_run(words, LIVE_WAIT_MS, NULL, NULL), 0);
    assert_int_equal(run(&to, NULL), 0);
    assert_int_equal(number("keys_compared"), dataset_key_count(from.client));
    test_client_send(to.client, "extra", "SET extra x");
    test_client_flush(to.client);
    assert_int_equal(run(&to, NULL), 6);
    expect("extra", "extra", "");
    assert_int_equal(number("differences"), 1);
    live_side_stop(&from);
    live_side_stop(&to);
    snprintf(uri, sizeof(uri), "%s", kept);
}

/* ---- memory ---- */

/* Many more keys than a set of the allowed size holds: in parts, and each difference once. */
static void test_more_keys_than_memory(void **state)
{
    (void)state;
    redisContext *to = live_redis(&destination);
    test_command_ok(live_redis(&source), "DEBUG POPULATE 350000 key 8");
    save_and_load(&destination);
    assert_int_equal(run(&destination, "--memory", "8m", NULL), 0);
    assert_non_null(strstr(output, "does not fit into --memory"));
    assert_int_equal(number("keys_source"), 350000);
    assert_int_equal(number("keys_destination"), 350000);
    for (int i = 0; i < 20; i++) {
        test_command_ok(to, "SET extra:%d x", i);
        test_command_ok(to, "DEL key:%d", i * 1000);
    }
    assert_int_equal(run(&destination, "--memory", "8m", NULL), 6);
    assert_int_equal(number("differences"), 40);
    assert_int_equal(number("keys_destination"), 350000);
    for (int i = 0; i < 20; i++) {
        char key[32];
        snprintf(key, sizeof(key), "extra:%d", i);
        expect(key, "extra", "");
        snprintf(key, sizeof(key), "key:%d", i * 1000);
        expect(key, "missing", "");
    }
    assert_int_equal(run(&destination, "--memory", "48m", NULL), 6);
    assert_null(strstr(output, "does not fit into --memory"));
    assert_int_equal(number("differences"), 40);
}

static void send_many(redisContext *redis, const char *format)
{
    for (int i = 0; i < 3000; i++)
        redisAppendCommand(redis, format, i, i);
    for (int i = 0; i < 3000; i++) {
        redisReply *reply = NULL;
        assert_int_equal(redisGetReply(redis, (void **)&reply), REDIS_OK);
        if (reply->type == REDIS_REPLY_ERROR)
            fail_msg("%s: %s", format, reply->str);
        freeReplyObject(reply);
    }
}

/* Values that are read in pieces on both sides: equal is equal, and one element of thousands is
 * seen. */
static void test_large_values(void **state)
{
    (void)state;
    redisContext *from = live_redis(&source);
    redisContext *to = live_redis(&destination);
    char filler[400];
    memset(filler, 'x', sizeof(filler) - 1);
    filler[sizeof(filler) - 1] = '\0';
    char format[600];
    test_command_ok(from, "CONFIG SET rdbcompression no");
    test_command_ok(from, "SETRANGE large:s 3000000 x");
    test_command_ok(from, "SETRANGE large:s 1000000 y");
    snprintf(format, sizeof(format), "RPUSH large:l %%d-%s", filler);
    send_many(from, format);
    snprintf(format, sizeof(format), "SADD large:set %%d-%s", filler);
    send_many(from, format);
    snprintf(format, sizeof(format), "HSET large:h %%d %%d-%s", filler);
    send_many(from, format);
    snprintf(format, sizeof(format), "ZADD large:z %%d.25 %%d-%s", filler);
    send_many(from, format);
    snprintf(format, sizeof(format), "XADD large:x 1-%%d0 f %%d-%s", filler);
    test_command_ok(from, "XADD large:x 0-5 f v");
    for (int i = 1; i <= 3000; i++)
        test_command_ok(from, "XADD large:x 1-%d f %d-%s", i, i, filler);
    test_command_ok(from, "XGROUP CREATE large:x g 0");
    freeReplyObject(test_command(from, "XREADGROUP GROUP g c COUNT 1500 STREAMS large:x >"));
    test_command_ok(from, "XGROUP CREATECONSUMER large:x g idle");
    test_command_ok(from, "XDEL large:x 1-7");
    save_and_load(&destination);
    assert_int_equal(run(&destination, "--memory", "8m", NULL), 0);
    assert_int_equal(number("keys_compared"), 6);
    assert_int_equal(number("equal_content"), 6);
    static const char *const changed[] = {
        "SETRANGE large:s 2000000 z",
        "LSET large:l 2000 other",
        "ZINCRBY large:z 0.5 2000-%s",
        "SREM large:set 2000-%s",
        "SADD large:set other",
        "HSET large:h 2000 other",
        "XACK large:x g 1-1200",
    };
    for (size_t i = 0; i < sizeof(changed) / sizeof(changed[0]); i++)
        test_command_ok(to, changed[i], filler);
    assert_int_equal(run(&destination, "--memory", "8m", NULL), 6);
    assert_int_equal(number("differences"), 6);
    expect("large:s", "value", "string");
    expect("large:l", "value", "list");
    expect("large:set", "value", "set");
    expect("large:h", "value", "hash");
    expect("large:z", "value", "zset");
    expect("large:x", "value", "stream");
    test_command_ok(from, "CONFIG SET rdbcompression yes");
}

/* Neither the file's largest value nor its number of keys takes memory beyond what is allowed. */
static void test_memory(void **state)
{
    (void)state;
    redisContext *from = live_redis(&source);
    size_t size = 40 * MIB;
    char *text = malloc(size);
    assert_non_null(text);
    for (size_t i = 0; i < size; i++)
        text[i] = (char)(i * 2654435761u >> 13);
    test_command_ok(from, "SET big %b", text, size);
    test_command_ok(from, "DEBUG POPULATE 400000 key 8");
    free(text);
    save_and_load(&destination);
    const char *words[] = {"verify", uri, destination.uri, "--memory", "8m", NULL};
    struct test_cli cli;
    struct rusage usage;
    test_cli_spawn(&cli, words);
    /* Reaped here, since only that tells what it used. */
    int status;
    assert_int_equal(wait4(cli.pid, &status, 0, &usage), cli.pid);
    cli.pid = 0;
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
#ifndef __SANITIZE_ADDRESS__ /* it keeps what was freed */
    assert_in_range((uint64_t)usage.ru_maxrss * 1024, 1, 8 * MIB + OVERHEAD_BYTES);
#endif
}

/* ---- ends ---- */

static void refused(const char *file, int status, const char *words)
{
    const char *arguments[] = {"verify", file, destination.uri, NULL};
    char *errors;
    assert_int_equal(test_cli_run(arguments, LIVE_WAIT_MS, NULL, &errors), status);
    if (strstr(errors, words) == NULL)
        fail_msg("no \"%s\" in: %s", words, errors);
    free(errors);
}

/* What cannot be read proves nothing, and is no difference. */
static void test_files_that_are_no_good(void **state)
{
    (void)state;
    char path[300], file[400];
    dataset_load(source.client, 74, 5);
    save_and_load(&destination);
    refused("file:///no/such.rdb", 5, "No such file");
    refused("file:-", 3, "standard input");
    snprintf(file, sizeof(file), "file://%s", test_folder());
    refused(file, 5, "directory");
    snprintf(path, sizeof(path), "%s/dump.rdb", source.server.folder);
    FILE *from = fopen(path, "r");
    assert_non_null(from);
    char *bytes = malloc(16 * MIB);
    assert_non_null(bytes);
    size_t size = fread(bytes, 1, 16 * MIB, from);
    fclose(from);
    assert_in_range(size, 1000, 16 * MIB - 1);
    bytes[size - 5] ^= 1; /* in the checksum */
    snprintf(path, sizeof(path), "%s/damaged.rdb", test_folder());
    FILE *to = fopen(path, "w");
    assert_non_null(to);
    assert_int_equal(fwrite(bytes, 1, size, to), size);
    fclose(to);
    free(bytes);
    snprintf(file, sizeof(file), "file://%s", path);
    refused(file, 5, "checksum");
    refused(file, 5, "damaged.rdb");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_equal, sides_empty_functions),
        cmocka_unit_test_setup(test_each_difference, sides_empty_functions),
        cmocka_unit_test_setup(test_databases, sides_empty_functions),
        cmocka_unit_test_setup(test_expired, sides_empty_functions),
        cmocka_unit_test_setup(test_expired_fields, sides_empty_functions),
        cmocka_unit_test_setup(test_late_arrival, sides_empty_functions),
        cmocka_unit_test_setup(test_cluster, sides_empty_functions),
        cmocka_unit_test_setup(test_more_keys_than_memory, sides_empty_functions),
        cmocka_unit_test_setup(test_large_values, sides_empty_functions),
        cmocka_unit_test_setup(test_memory, sides_empty_functions),
        cmocka_unit_test_setup(test_files_that_are_no_good, sides_empty_functions),
    };
    cmocka_set_test_filter(getenv("SYNCLINE_TEST_FILTER"));
    if (!test_cli_available())
        return 77;
    return cmocka_run_group_tests(tests, start_all, sides_stop);
}
