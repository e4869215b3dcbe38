/* What is not at the destination as it is at the source is told: counted, logged by hash, and with
 * its key in a file, for whoever has to bring it by other means. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/live/live.h"

static struct live_side source, destination;
static char path[256];
static uint32_t run_count;

/* From a server whose hash fields expire to one that has no such thing. */
static int start_sides(void **state)
{
    (void)state;
    snprintf(path, sizeof(path), "%s/losses", test_folder());
    if (!test_server_available("redis-8.0"))
        return 0;
    live_side_start(&source, "redis-8.0", 0, 0, NULL);
    live_side_start(&destination, "redis-7.0", 0, 0, NULL);
    redisContext *from = live_redis(&source);
    static const char key[] = "odd \"\\\n\t\0\xff{}";
    test_command_ok(from, "SELECT 3");
    test_command_ok(from, "HSET %b a 1 b 2 c 3", key, sizeof(key) - 1);
    test_command_ok(from, "HPEXPIREAT %b 4102444800000 FIELDS 2 a b", key, sizeof(key) - 1);
    test_command_ok(from, "HSET plain a 1");
    return 0;
}

static int stop_sides(void **state)
{
    (void)state;
    if (source.client != NULL) {
        live_side_stop(&source);
        live_side_stop(&destination);
    }
    return 0;
}

static int clean(void **state)
{
    (void)state;
    if (!test_server_available("redis-8.0"))
        skip();
    run_count++;
    unlink(path);
    test_command_ok(live_redis(&destination), "FLUSHALL");
    return 0;
}

/* The n-th line of the file (from 0) as JSON; NULL: it has fewer. The caller drops it. */
static json_t *line_of(const char *file_path, unsigned n)
{
    static char line[65536];
    json_t *event = NULL;
    FILE *file = fopen(file_path, "r");
    if (file == NULL)
        return NULL;
    for (unsigned i = 0; i <= n && event == NULL; i++) {
        if (fgets(line, sizeof(line), file) == NULL)
            break;
        if (i == n) {
            event = json_loads(line, 0, NULL);
            if (event == NULL)
                fail_msg("no JSON: %s", line);
        }
    }
    fclose(file);
    return event;
}

static void expect_text(const json_t *event, const char *field, const char *wanted)
{
    const char *text = json_string_value(json_object_get(event, field));
    if (text == NULL || strcmp(text, wanted) != 0)
        fail_msg("%s is \"%s\", not \"%s\"", field, text != NULL ? text : "(null)", wanted);
}

static int64_t number(const json_t *event, const char *field)
{
    assert_true(json_is_integer(json_object_get(event, field)));
    return json_integer_value(json_object_get(event, field));
}

static int64_t result_number(const char *output, const char *field)
{
    const char *last = strstr(output, "{\"event\":\"result\"");
    assert_non_null(last);
    json_t *event = json_loads(last, JSON_DISABLE_EOF_CHECK, NULL);
    int64_t value = number(event, field);
    json_decref(event);
    return value;
}

static int copy(const char *policy, char **output, char **errors)
{
    const char *words[] = {"sync",
                           source.uri,
                           destination.uri,
                           "--once",
                           "--output",
                           "json",
                           "--on-unsupported",
                           policy,
                           "--losses",
                           path,
                           NULL};
    return test_cli_run(words, LIVE_WAIT_MS, output, errors);
}

static void test_degraded(void **state)
{
    (void)state;
    char *output, *errors;
    if (copy("degrade", &output, &errors) != 0)
        fail_msg("%s", errors);
    json_t *loss = line_of(path, 0);
    assert_non_null(loss);
    expect_text(loss, "key", "odd \\\"\\\\\\n\\t\\x00\\xff{}");
    assert_int_equal(number(loss, "key_size"), 12);
    assert_int_equal(number(loss, "db"), 3);
    expect_text(loss, "type", "hash (listpack, field expiry)");
    expect_text(loss, "outcome", "degraded");
    expect_text(loss, "reason", "the destination has no expiry of hash fields");
    assert_non_null(strstr(source.uri, json_string_value(json_object_get(loss, "source"))));
    assert_int_equal(number(loss, "count"), 2);
    assert_true(number(loss, "offset") > 9);
    assert_true(number(loss, "time_ms") > 1600000000000);
    json_decref(loss);
    assert_null(line_of(path, 1));
    assert_int_equal(result_number(output, "values_degraded"), 1);
    assert_int_equal(result_number(output, "values_skipped"), 0);
    /* The log and the events name no key. */
    assert_null(strstr(output, "odd "));
    assert_null(strstr(errors, "odd "));
    assert_non_null(strstr(output, "key hash"));
    free(output);
    free(errors);
    struct stat file;
    assert_int_equal(stat(path, &file), 0);
    assert_int_equal(file.st_mode & 0777, 0600);
}

/* A second run appends. */
static void test_skipped_and_appended(void **state)
{
    (void)state;
    char *output, *errors;
    for (unsigned i = 0; i < 2; i++) {
        test_command_ok(live_redis(&destination), "FLUSHALL");
        if (copy("skip", &output, &errors) != 0)
            fail_msg("%s", errors);
        json_t *loss = line_of(path, i);
        assert_non_null(loss);
        expect_text(loss, "outcome", "skipped");
        assert_int_equal(number(loss, "count"), 1);
        json_decref(loss);
        assert_null(line_of(path, i + 1));
        assert_int_equal(result_number(output, "values_skipped"), 1);
        free(output);
        free(errors);
    }
}

/* A record that was asked for and cannot be made ends the task: before it, where that is known. */
static void test_files_that_cannot_be_written(void **state)
{
    (void)state;
    char *output, *errors;
    snprintf(path, sizeof(path), "%s/no/such/folder", test_folder());
    assert_int_equal(copy("degrade", &output, &errors), 1);
    live_expect_texts(errors, "losses", path, NULL);
    assert_int_equal(test_command_integer(live_redis(&destination), "DBSIZE"), 0);
    free(output);
    free(errors);
    snprintf(path, sizeof(path), "/dev/full");
    assert_int_equal(copy("degrade", &output, &errors), 1);
    live_expect_texts(errors, "losses", "/dev/full", "No space left", NULL);
    free(output);
    free(errors);
    snprintf(path, sizeof(path), "%s/losses", test_folder());
}

/* What is pending for an entry that was deleted cannot be made by commands, and which entries were
 * is only known from the answers. */
static void pending(const char *from, const char *to)
{
    struct live_side left, right;
    char *output, *errors;
    if (!test_server_available(from) || !test_server_available(to))
        return;
    live_side_start(&left, from, 0, 0, NULL);
    live_side_start(&right, to, 0, 0, (const char *[]){"--rename-command", "RESTORE", "", NULL});
    redisContext *context = live_redis(&left);
    for (int i = 1; i <= 6; i++)
        test_command_ok(context, "XADD stream 1-%d f v", i);
    test_command_ok(context, "XGROUP CREATE stream g 0");
    test_command_ok(context, "XREADGROUP GROUP g c STREAMS stream >");
    test_command_ok(context, "XDEL stream 1-1 1-3 1-4"); /* the first, and two in the middle */
    unlink(path);
    const char *words[] = {
        "sync", left.uri, right.uri, "--once", "--output", "json", "--losses", path, NULL};
    if (test_cli_run(words, LIVE_WAIT_MS, &output, &errors) != 0)
        fail_msg("%s", errors);
    int64_t lost = 0;
    json_t *loss;
    for (unsigned i = 0; (loss = line_of(path, i)) != NULL; i++) {
        expect_text(loss, "key", "stream");
        expect_text(loss, "outcome", "degraded");
        live_expect_texts(json_string_value(json_object_get(loss, "reason")), "pending", NULL);
        lost += number(loss, "count");
        json_decref(loss);
    }
    assert_int_equal(lost, 3);
    assert_true(result_number(output, "values_degraded") > 0);
    redisReply *reply = test_command(live_redis(&right), "XPENDING stream g");
    assert_int_equal(reply->element[0]->integer, 3);
    freeReplyObject(reply);
    free(output);
    free(errors);
    live_side_stop(&left);
    live_side_stop(&right);
}

static void test_pending_entries(void **state)
{
    (void)state;
    run_count++;
    pending(TEST_REQUIRED_VERSION, TEST_REQUIRED_VERSION);
    pending(TEST_REQUIRED_VERSION, "redis-6.0");
    pending(TEST_REQUIRED_VERSION, "redis-8.0");
    pending("valkey-9", "valkey-9");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pending_entries),
        cmocka_unit_test_setup(test_degraded, clean),
        cmocka_unit_test_setup(test_skipped_and_appended, clean),
        cmocka_unit_test_setup(test_files_that_cannot_be_written, clean),
    };
    cmocka_set_test_filter(getenv("SYNCLINE_TEST_FILTER"));
    if (!test_cli_available())
        return 77;
    int failed = cmocka_run_group_tests(tests, start_sides, stop_sides);
    return test_exit_status(failed, run_count);
}
