/* Damaged values in a snapshot whose frame is whole: the task stops and names the place, or sets
 * them aside, tells which they are, and copies the rest. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/live/fake_source.h"
#include "tests/live/live.h"

/* ---- a snapshot ---- */

static uint8_t rdb[1 << 20];
static size_t rdb_size;

static void put(const void *bytes, size_t size)
{
    assert_true(rdb_size + size <= sizeof(rdb));
    memcpy(rdb + rdb_size, bytes, size);
    rdb_size += size;
}

static void put_text(const char *text, size_t size)
{
    uint8_t head[] = {
        0x80, (uint8_t)(size >> 24), (uint8_t)(size >> 16), (uint8_t)(size >> 8), (uint8_t)size};
    put(head, sizeof(head));
    put(text, size);
}
#define PUT_TEXT(text) put_text(text, sizeof(text) - 1)

static void rdb_begin(void)
{
    rdb_size = 0;
    put("REDIS0009\xfe\x00", 11);
}

static void rdb_key(uint8_t type, const char *key)
{
    put(&type, 1);
    put_text(key, strlen(key));
}

static void rdb_end(void)
{
    put("\xff\0\0\0\0\0\0\0\0", 9); /* no checksum */
}

/* Ziplists: {f: v}, the same with an encoding that nobody has, and {f: v, f: v}, which servers
 * refuse and which says clearly what it means. */
#define ZIPLIST(count, total, tail, entries) total "\0\0\0" tail "\0\0\0" count "\0" entries "\xff"
static const char good_hash[] = ZIPLIST("\2", "\x11", "\x0d", "\0\1f\3\1v");
static const char bad_hash[] = ZIPLIST("\2", "\x11", "\x0d", "\0\1f\3\xc5v");
static const char double_hash[] = ZIPLIST("\4", "\x17", "\x13", "\0\1f\3\1v\3\1f\3\1v");

/* A list of two nodes of about 100 KB, larger than a batch; `is_damaged`: in the second one. */
static void rdb_large_list(const char *key, bool is_damaged)
{
    static char node[100000];
    uint32_t sizes[2] = {sizeof(node), 10};
    memset(node, 'x', sizeof(node));
    memcpy(node, sizes, 8);
    memcpy(node + 8, "\1\0\0\x80\0\1\x86\x8f", 8); /* one string of 99983 bytes */
    node[sizeof(node) - 1] = (char)0xff;
    rdb_key(14, key);
    put("\2", 1);
    put_text(node, sizeof(node));
    node[11] = is_damaged ? (char)0xc5 : node[11];
    put_text(node, sizeof(node));
}

/* ---- runs ---- */

static struct live_side destination;
static char losses_path[256];

static void start(const char *version, const char *const *arguments)
{
    live_side_start(&destination, version, 0, 0, arguments);
    snprintf(losses_path, sizeof(losses_path), "%s/losses", test_folder());
    unlink(losses_path);
}

static int run(const char *policy, const char *more, char **output, char **errors)
{
    struct fake_source *fake = fake_source_start(&(struct fake_source_script){
        .version = "5.0.14", .payload = rdb, .payload_size = rdb_size});
    char uri[64];
    snprintf(uri, sizeof(uri), "127.0.0.1:%u", fake->port);
    const char *words[] = {"sync",
                           uri,
                           destination.uri,
                           "--once",
                           "--output",
                           "json",
                           "--retry-connection",
                           "0",
                           "--on-corrupt",
                           policy,
                           "--losses",
                           losses_path,
                           more,
                           more != NULL ? "overwrite" : NULL,
                           NULL};
    int status = test_cli_run(words, LIVE_WAIT_MS, output, errors);
    fake_source_stop(fake);
    return status;
}

static void run_well(const char *more, int64_t corrupt)
{
    char *output, *errors;
    int status = run("skip", more, &output, &errors);
    if (status != 0)
        fail_msg("exit status %d: %s", status, errors);
    json_t *result =
        json_loads(strstr(output, "{\"event\":\"result\""), JSON_DISABLE_EOF_CHECK, NULL);
    assert_int_equal(json_integer_value(json_object_get(result, "values_corrupt")), corrupt);
    json_decref(result);
    free(output);
    free(errors);
}

/* The keys of the file, in any order, each with this reason in its line. */
static void expect_losses(const char *reason, unsigned count, const char *const *keys)
{
    char line[4096];
    unsigned lines = 0;
    FILE *file = fopen(losses_path, "r");
    assert_non_null(file);
    while (fgets(line, sizeof(line), file) != NULL) {
        json_t *loss = json_loads(line, 0, NULL);
        assert_non_null(loss);
        assert_string_equal(json_string_value(json_object_get(loss, "outcome")), "corrupt");
        live_expect_texts(json_string_value(json_object_get(loss, "reason")), reason, NULL);
        bool is_known = false;
        const char *key = json_string_value(json_object_get(loss, "key"));
        for (unsigned i = 0; i < count; i++)
            is_known = is_known || strcmp(key, keys[i]) == 0;
        assert_true(is_known);
        json_decref(loss);
        lines++;
    }
    fclose(file);
    assert_int_equal(lines, count);
    unlink(losses_path);
}

static void small_snapshot(void)
{
    rdb_begin();
    rdb_key(13, "good:1");
    PUT_TEXT(good_hash);
    rdb_key(13, "bad");
    PUT_TEXT(bad_hash);
    rdb_key(13, "good:2");
    PUT_TEXT(good_hash);
    rdb_key(0, "string");
    put_text("s", 1);
    rdb_end();
}

static void expect_the_rest(void)
{
    redisContext *to = live_redis(&destination);
    assert_int_equal(test_command_integer(to, "EXISTS good:1 good:2 string"), 3);
    assert_int_equal(test_command_integer(to, "EXISTS bad"), 0);
    assert_int_equal(test_command_integer(to, "DBSIZE"), 3);
}

/* By default it is an error that names type, place and hash, and no key. */
static void test_stop(void **state)
{
    (void)state;
    char *output, *errors;
    start(TEST_REQUIRED_VERSION, NULL);
    small_snapshot();
    assert_int_equal(run("stop", NULL, &output, &errors), 5);
    live_expect_texts(errors, "RDB byte", "ziplist", "hash", "refuses to load", NULL);
    assert_null(strstr(errors, "good:"));
    free(output);
    free(errors);
    live_side_stop(&destination);
}

static void test_skip(void **state)
{
    (void)state;
    static const char *const lost[] = {"bad"};
    start(TEST_REQUIRED_VERSION, NULL);
    small_snapshot();
    run_well(NULL, 1);
    expect_losses("ziplist", 1, lost);
    expect_the_rest();
    /* Over existing data the older value of the same name does not stay. */
    test_command_ok(live_redis(&destination), "SET bad older");
    run_well("--on-nonempty", 1);
    expect_losses("ziplist", 1, lost);
    expect_the_rest();
    live_side_stop(&destination);
}

/* Where everything is rewritten the damage is met here, in the middle of the value. */
static void test_skip_while_rewriting(void **state)
{
    (void)state;
    static const char *const lost[] = {"bad", "large"};
    static const char *const renamed[] = {"--rename-command", "RESTORE", "", NULL};
    start(TEST_REQUIRED_VERSION, renamed);
    rdb_begin();
    rdb_large_list("large", true);
    rdb_key(13, "bad");
    PUT_TEXT(bad_hash);
    rdb_large_list("good:1", false);
    rdb_key(13, "good:2");
    PUT_TEXT(good_hash);
    rdb_key(0, "string");
    put_text("s", 1);
    rdb_end();
    run_well(NULL, 2);
    expect_losses("ziplist", 2, lost);
    expect_the_rest();
    assert_int_equal(test_command_integer(live_redis(&destination), "LLEN good:1"), 2);
    live_side_stop(&destination);
}

/* Larger than a batch: refused, it cannot be looked at again, and its key is known all the same. */
static void test_large(void **state)
{
    (void)state;
    static const char *const lost[] = {"bad"};
    char *output, *errors;
    start(TEST_REQUIRED_VERSION, NULL);
    rdb_begin();
    rdb_large_list("good:1", false);
    rdb_large_list("bad", true);
    rdb_large_list("good:2", false);
    rdb_key(0, "string");
    put_text("s", 1);
    rdb_end();
    assert_int_equal(run("stop", NULL, &output, &errors), 7);
    live_expect_texts(errors, "refused", "Bad data format", NULL);
    free(output);
    free(errors);
    test_command_ok(live_redis(&destination), "FLUSHALL");
    run_well(NULL, 1);
    expect_losses("too large to be kept", 1, lost);
    expect_the_rest();
    live_side_stop(&destination);
}

/* Refused by the server, clear to us: it is written as commands, whatever the policy. */
static void test_mended(void **state)
{
    (void)state;
    char *output, *errors;
    start(TEST_REQUIRED_VERSION, NULL);
    rdb_begin();
    rdb_key(13, "double");
    PUT_TEXT(double_hash);
    rdb_key(13, "good");
    PUT_TEXT(good_hash);
    rdb_end();
    int status = run("stop", NULL, &output, &errors);
    if (status != 0)
        fail_msg("exit status %d: %s", status, errors);
    live_expect_texts(output, "it is tried as commands", NULL);
    redisContext *to = live_redis(&destination);
    assert_int_equal(test_command_integer(to, "HLEN double"), 1);
    assert_int_equal(test_command_integer(to, "DBSIZE"), 2);
    free(output);
    free(errors);
    live_side_stop(&destination);
}

/* Every other value is damaged, thousands of them: none of the good ones is missing, and each of
 * the others is told. */
static void test_many(void **state)
{
    (void)state;
    start(TEST_REQUIRED_VERSION, NULL);
    rdb_begin();
    for (int i = 0; i < 10000; i++) {
        char key[32];
        snprintf(key, sizeof(key), "%s:%d", i % 2 == 0 ? "good" : "bad", i);
        rdb_key(13, key);
        if (i % 2 == 0)
            PUT_TEXT(good_hash);
        else
            PUT_TEXT(bad_hash);
    }
    rdb_end();
    run_well(NULL, 5000);
    assert_int_equal(test_command_integer(live_redis(&destination), "DBSIZE"), 5000);
    FILE *file = fopen(losses_path, "r");
    unsigned lines = 0;
    for (int c; (c = fgetc(file)) != EOF;)
        lines += c == '\n';
    fclose(file);
    assert_int_equal(lines, 5000);
    live_side_stop(&destination);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_stop),
        cmocka_unit_test(test_skip),
        cmocka_unit_test(test_skip_while_rewriting),
        cmocka_unit_test(test_large),
        cmocka_unit_test(test_mended),
        cmocka_unit_test(test_many),
    };
    cmocka_set_test_filter(getenv("SYNCLINE_TEST_FILTER"));
    if (!test_cli_available())
        return 77;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
