/* Destinations that do not take RESTORE, or do not say what they take: the copy is the same, and
 * the program says by which ways it went. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/live/live.h"
#include "tests/live/odd_server.h"

#define KEYS_PER_TYPE 16

static struct live_side source;

static int start_source(void **state)
{
    (void)state;
    live_side_start(&source, TEST_REQUIRED_VERSION, 0, 0, NULL);
    dataset_load(source.client, 31, KEYS_PER_TYPE);
    return 0;
}

static int stop_source(void **state)
{
    (void)state;
    live_side_stop(&source);
    return 0;
}

/* One run to its end, and what it says of the destination. */
static void copy(const struct live_side *destination, const char *says)
{
    const char *words[] = {"sync",
                           source.uri,
                           destination->uri,
                           "--once",
                           "--output",
                           "json",
                           "--memory",
                           "16m",
                           "--positions",
                           "off",
                           NULL};
    char *output, *errors;
    int status = test_cli_run(words, LIVE_WAIT_MS, &output, &errors);
    if (status != 0)
        fail_msg("exit status %d: %s", status, errors);
    if (strstr(output, says) == NULL)
        fail_msg("no \"%s\" in: %.2000s", says, output);
    free(output);
    free(errors);
}

/* Renamed away, RESTORE is unknown; forbidden, it is NOPERM. Either way every type arrives, values
 * of many pieces among them. */
static void without_restore(const char *version, bool is_renamed)
{
    static const char *const renamed[] = {"--rename-command", "RESTORE", "", NULL};
    struct live_side destination;
    if (!test_server_available(version))
        return;
    live_side_start(&destination, version, 0, 0, is_renamed ? renamed : NULL);
    if (!is_renamed) {
        test_command_ok(live_redis(&destination), "ACL SETUSER mover on >pw ~* +@all -restore");
        snprintf(destination.uri,
                 sizeof(destination.uri),
                 "redis://mover:pw@127.0.0.1:%u",
                 live_port(&destination));
    }
    copy(&destination, "destination takes no RESTORE");
    assert_int_equal(live_differences(&source, &destination), 0);
    live_side_stop(&destination);
}

static void test_without_restore(void **state)
{
    (void)state;
    without_restore(TEST_REQUIRED_VERSION, true);
    without_restore(TEST_REQUIRED_VERSION, false);
    without_restore("valkey-8.1", true);
    without_restore("valkey-9", false);
    /* Last, for it knows no functions. */
    test_command_ok(live_redis(&source), "FUNCTION FLUSH");
    without_restore("redis-6.0", true);
    without_restore("redis-6.0", false);
}

/* A cluster of which one shard forbids RESTORE, and a live stream behind the snapshot. */
static void test_without_restore_on_a_cluster(void **state)
{
    (void)state;
    struct live_side destination, from;
    struct test_cli cli;
    live_side_start(&from, TEST_REQUIRED_VERSION, 2, 0, NULL);
    dataset_load(from.client, 33, KEYS_PER_TYPE);
    live_side_start(&destination, TEST_REQUIRED_VERSION, 3, 0, NULL);
    redisContext *last = test_connect(destination.cluster.nodes[2].port);
    test_command_ok(last, "ACL SETUSER default -restore");
    struct writer *writer = live_writer(&from, &destination, 33, 3000);
    live_spawn(&cli, &from, &destination, NULL);
    live_wait_phase(&cli, "live");
    live_writer_more(writer, 1000);
    writer_stop(writer, NULL);
    live_wait_level(&cli, &from);
    json_t *warning = live_event(&cli, "warning");
    live_expect_texts(json_string_value(json_object_get(warning, "text")), "no RESTORE", NULL);
    json_decref(warning);
    live_stop(&cli);
    test_command_ok(last, "ACL SETUSER default +restore");
    redisFree(last);
    live_assert_equal(&from, &destination);
    live_side_stop(&from);
    live_side_stop(&destination);
}

/* What the destination takes is said in one line, and is different for each. */
static void test_the_choice_is_visible(void **state)
{
    (void)state;
    struct live_side destination;
    live_side_start(&destination, TEST_REQUIRED_VERSION, 0, 0, NULL);
    copy(&destination, "destination takes RESTORE up to RDB 10; rewritten: set (listpack)");
    live_side_stop(&destination);
    if (!test_server_available("redis-8.0"))
        return;
    live_side_start(&destination, "redis-8.0", 0, 0, NULL);
    copy(&destination, "up to RDB 12; rewritten: hash (field expiry of Valkey)");
    live_side_stop(&destination);
}

/* Something between us and the server that tells no version and refuses some commands: it is asked
 * for everything, and gets what it takes. */
static void odd(const struct odd_server_script *script, const char *says)
{
    struct live_side real, destination;
    live_side_start(&real, TEST_REQUIRED_VERSION, 0, 0, NULL);
    struct odd_server_script whole = *script;
    whole.port = live_port(&real);
    struct odd_server *server = odd_server_start(&whole);
    memset(&destination, 0, sizeof(destination));
    snprintf(destination.uri, sizeof(destination.uri), "127.0.0.1:%u", server->port);
    copy(&destination, says);
    assert_int_equal(live_differences(&source, &real), 0);
    if (script->refused != NULL)
        assert_true(atomic_load_relaxed(&server->refusals) > 0);
    odd_server_stop(server);
    live_side_stop(&real);
}

static void test_unknown_versions(void **state)
{
    (void)state;
    static const char *const no_restore[] = {"RESTORE", "CLIENT", "COMMAND", NULL};
    static const char *const no_info[] = {"CLIENT", "CONFIG", NULL};
    odd(&(struct odd_server_script){.hides_version = true},
        "up to RDB 10 (each type was tried); rewritten: set (listpack)");
    odd(&(struct odd_server_script){.hides_version = true, .refused = no_restore},
        "destination takes no RESTORE");
    odd(&(struct odd_server_script){.hides_version = true, .refused = no_info}, "up to RDB 10");
}

/* Nobody can say whether such a destination is empty: then it is not taken for empty. */
static void test_unknown_emptiness(void **state)
{
    (void)state;
    static const char *const refused[] = {"DBSIZE", NULL};
    struct live_side real, destination;
    char *errors;
    live_side_start(&real, TEST_REQUIRED_VERSION, 0, 0, NULL);
    struct odd_server *server = odd_server_start(&(struct odd_server_script){
        .port = live_port(&real), .hides_version = true, .refused = refused});
    memset(&destination, 0, sizeof(destination));
    snprintf(destination.uri, sizeof(destination.uri), "127.0.0.1:%u", server->port);
    assert_int_equal(live_run(&errors, &source, &destination, "--once", NULL), 4);
    live_expect_texts(errors, "does not tell whether it has keys", "--on-nonempty", NULL);
    free(errors);
    assert_int_equal(test_command_integer(live_redis(&real), "DBSIZE"), 0);
    assert_int_equal(
        live_run(&errors, &source, &destination, "--once", "--on-nonempty", "overwrite", NULL), 0);
    free(errors);
    assert_int_equal(live_differences(&source, &real), 0);
    /* With keys it is seen not to be empty, where DBSIZE tells. */
    struct odd_server *telling = odd_server_start(
        &(struct odd_server_script){.port = live_port(&real), .hides_version = true});
    snprintf(destination.uri, sizeof(destination.uri), "127.0.0.1:%u", telling->port);
    assert_int_equal(live_run(&errors, &source, &destination, "--once", NULL), 4);
    live_expect_texts(errors, "is not empty", NULL);
    free(errors);
    odd_server_stop(telling);
    odd_server_stop(server);
    live_side_stop(&real);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_choice_is_visible),
        cmocka_unit_test(test_unknown_versions),
        cmocka_unit_test(test_unknown_emptiness),
        cmocka_unit_test(test_without_restore),
        cmocka_unit_test(test_without_restore_on_a_cluster),
    };
    cmocka_set_test_filter(getenv("SYNCLINE_TEST_FILTER"));
    if (!test_cli_available())
        return 77;
    return cmocka_run_group_tests(tests, start_source, stop_source);
}
