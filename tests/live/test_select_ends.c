/*
 * Rules of selection between real servers where a stream of commands is not enough: other rules
 * than a run was begun by, scripts sent by their hash, what stops a task and what lets it go on,
 * what a second full copy may remove, and verification by the same rules.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/live/select_traffic.h"

static struct live_side source, destination;

static void start_pair(void)
{
    live_side_start(&source, TEST_REQUIRED_VERSION, 0, 0, NULL);
    live_side_start(&destination, TEST_REQUIRED_VERSION, 0, 0, NULL);
}

static void stop_pair(void)
{
    live_side_stop(&source);
    live_side_stop(&destination);
}

/* ---- other rules, scripts ---- */

/* A run by other rules does not go on where this one was. */
static void test_other_rules(void **state)
{
    (void)state;
    struct test_cli cli;
    start_pair();
    test_command_ok(live_redis(&source), "MSET tmp:1 x user:2 y old:1 z");
    live_spawn(
        &cli, &source, &destination, "--exclude-prefix", "tmp:", "--exclude-suffix", "x", NULL);
    live_wait_phase(&cli, "live");
    live_wait_level(&cli, &source);
    live_stop(&cli);
    live_spawn(&cli, &source, &destination, "--exclude-prefix", "user:", NULL);
    live_expect_end(&cli, 4, "by other rules", "--restart", NULL);
    live_spawn(&cli, &source, &destination, NULL);
    live_expect_end(&cli, 4, "by other rules", NULL);
    live_spawn(
        &cli, &source, &destination, "--exclude-suffix", "x", "--exclude-prefix", "tmp:", NULL);
    live_wait_phase(&cli, "live");
    live_wait_level(&cli, &source);
    assert_int_equal(live_streams_sum(&cli, "snapshots"), 0);
    live_stop(&cli);
    stop_pair();
}

/* Scripts that are sent as they are: one that came with what is not copied is run by its hash with
 * what is. */
static void test_scripts(void **state)
{
    (void)state;
    static const char script[] = "return redis.call('INCR',KEYS[1])";
    static const char sha[] = "da8455f0535fd532821b3713a4eccd80fc4b8457";
    struct test_cli cli;
    if (!test_server_available("redis-6.0"))
        skip();
    for (uint32_t masters = 0; masters <= 2; masters += 2) {
        live_side_start(
            &source, "redis-6.0", 0, 0, (const char *[]){"--lua-replicate-commands", "no", NULL});
        live_side_start(&destination, TEST_REQUIRED_VERSION, masters, 0, NULL);
        redisContext *redis = live_redis(&source);
        live_spawn(&cli, &source, &destination, "--db", "0", NULL);
        live_wait_phase(&cli, "live");
        test_command_ok(redis, "SELECT 1");
        freeReplyObject(test_command(redis, "EVAL %s 1 a", script));
        /* The first EVALSHA is sent as EVAL, which its replicas know from then on. */
        assert_int_equal(test_command_integer(redis, "EVALSHA %s 1 a", sha), 2);
        test_command_ok(redis, "SELECT 0");
        assert_int_equal(test_command_integer(redis, "EVALSHA %s 1 b", sha), 1);
        assert_int_equal(test_command_integer(redis, "EVALSHA %s 1 c", sha), 1);
        live_wait_level(&cli, &source);
        live_stop(&cli);
        assert_int_equal(live_total(&cli, "diverged_script"), 0);
        live_assert_verified(&source, &destination, "--db", "0", NULL);
        live_side_stop(&source);
        live_side_stop(&destination);
    }
}

/* ---- what stops a task ---- */

static void test_stops(void **state)
{
    (void)state;
    static const struct {
        const char *command;
        const char *text;
    } cases[] = {
        {"RENAME tmp:1 secret",
         "RENAME takes selected keys together with others (exclude_prefix[0])"},
        {"LMOVE tmp:l user:1 LEFT LEFT", "LMOVE takes selected keys together"},
        {"SET new:secret 1", "SET: the key with hash"},
        {"SWAPDB 0 1", "SWAPDB acts on whole databases"},
    };
    start_pair();
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct test_cli cli;
        traffic_side_clear(&source);
        traffic_side_clear(&destination);
        test_command_ok(live_redis(&source), "MSET tmp:1 x user:2 y old:1 z");
        test_command_ok(live_redis(&source), "RPUSH tmp:l a b");
        live_spawn(&cli,
                   &source,
                   &destination,
                   "--exclude-prefix",
                   "tmp:",
                   "--rename-prefix",
                   "old:=new:",
                   "--positions",
                   "off",
                   NULL);
        live_wait_phase(&cli, "live");
        test_command_ok(live_redis(&source), cases[i].command);
        live_expect_end(&cli, 7, cases[i].text, "offset", NULL);
        char *errors = test_cli_errors(&cli);
        assert_null(strstr(errors, "secret"));
        free(errors);
        assert_int_equal(traffic_key_count(live_redis(&destination)), 2);
    }
    stop_pair();
}

/* A key in the snapshot that keeps a name which another is renamed to. */
static void test_stops_in_snapshot(void **state)
{
    (void)state;
    start_pair();
    test_command_ok(live_redis(&source), "MSET new:1 x old:1 y");
    struct test_cli cli;
    live_spawn(&cli, &source, &destination, "--rename-prefix", "old:=new:", NULL);
    live_expect_end(&cli, 7, "the key with hash", "rename_prefix[0] gives that name", NULL);
    stop_pair();
}

/* Asked to, the task goes on without what cannot be computed, and counts it; excluded commands are
 * not looked at. */
static void test_goes_on(void **state)
{
    (void)state;
    start_pair();
    test_command_ok(live_redis(&source), "MSET tmp:1 x user:1 y");
    struct test_cli cli;
    live_spawn(&cli,
               &source,
               &destination,
               "--exclude-prefix",
               "tmp:",
               "--positions",
               "off",
               "--on-partial",
               "drop",
               "--exclude-command",
               "flushall,@hash",
               NULL);
    live_wait_phase(&cli, "live");
    test_command_ok(live_redis(&source), "RENAME tmp:1 user:2");
    test_command_ok(live_redis(&source), "HSET user:h f v");
    test_command_ok(live_redis(&source), "FLUSHALL");
    test_command_ok(live_redis(&source), "SET user:3 z");
    live_wait_level(&cli, &source);
    assert_int_equal(live_total(&cli, "partial_dropped"), 1);
    assert_int_equal(live_total(&cli, "keys_dropped"), 1);
    assert_int_equal(traffic_key_count(live_redis(&destination)), 2);
    assert_int_equal(test_command_integer(live_redis(&destination), "EXISTS user:1 user:3"), 2);
    live_stop(&cli);
    stop_pair();
}

/* Rules for types make a script of RENAME: an account that may not run one is told before anything
 * is written, and only then. */
static void test_needs_eval(void **state)
{
    (void)state;
    start_pair();
    test_command_ok(live_redis(&source), "SET a 1");
    test_command_ok(live_redis(&destination), "ACL SETUSER noeval on >pw ~* +@all -eval");
    snprintf(destination.uri,
             sizeof(destination.uri),
             "redis://noeval:pw@127.0.0.1:%u",
             live_port(&destination));
    char *errors;
    assert_int_equal(
        live_run(&errors, &source, &destination, "--once", "--exclude-type", "hash", NULL), 7);
    live_expect_texts(errors, "eval", NULL);
    free(errors);
    assert_int_equal(traffic_key_count(live_redis(&destination)), 0);
    assert_int_equal(live_run(NULL, &source, &destination, "--once", "--exclude-prefix", "x", NULL),
                     0);
    stop_pair();
}

/* ---- a second full copy ---- */

/* What the first copy wrote goes before it, and nothing else: not keys that no source key is copied
 * to, nor keys of a type that is not selected, which somebody else put there meanwhile. */
static void test_second_copy(void **state)
{
    (void)state;
    start_pair();
    redisContext *from = live_redis(&source);
    redisContext *to = live_redis(&destination);
    test_command_ok(from, "SADD old:1 a");
    test_command_ok(from, "SADD user:1 a");
    test_command_ok(from, "SADD tmp:1 a");
    test_command_ok(from, "SET user:string x");
    struct test_cli cli;
    live_spawn(&cli,
               &source,
               &destination,
               "--exclude-prefix",
               "tmp:",
               "--exclude-type",
               "string",
               "--rename-prefix",
               "old:=new:",
               NULL);
    live_wait_phase(&cli, "live");
    live_wait_level(&cli, &source);
    assert_int_equal(test_command_integer(to, "EXISTS new:1 user:1"), 2);
    assert_int_equal(traffic_key_count(to), 2);
    test_command_ok(to, "SADD tmp:theirs a");  /* not selected                     */
    test_command_ok(to, "SADD old:theirs a");  /* a name that nothing is copied to */
    test_command_ok(to, "SET new:theirs x");   /* of a type that is not selected   */
    test_command_ok(to, "SADD user:theirs a"); /* ours, as far as anybody can tell */
    test_client_free(source.client);
    test_server_kill(&source.server);
    test_server_restart(&source.server); /* empty, and with a new history */
    source.client = test_client_new(live_port(&source));
    test_command_ok(live_redis(&source), "SADD user:2 a");
    uint64_t deadline = test_deadline(LIVE_WAIT_MS);
    while (live_streams_sum(&cli, "snapshots") < 2)
        test_poll(deadline, "a second full copy");
    live_wait_level(&cli, &source);
    assert_int_equal(test_command_integer(to, "EXISTS new:1 user:1 user:theirs"), 0);
    assert_int_equal(test_command_integer(to, "EXISTS tmp:theirs old:theirs new:theirs user:2"), 4);
    assert_int_equal(traffic_key_count(to), 4);
    live_stop(&cli);
    stop_pair();
}

/* ---- verification ---- */

/* Both directions within the rules: names as they are at the source, types that are not selected
 * as if they were not there. */
static void test_verify(void **state)
{
    (void)state;
    static const struct rule_set set = {.options = {"--exclude-prefix",
                                                    "tmp:",
                                                    "--exclude-type",
                                                    "string",
                                                    "--rename-prefix",
                                                    "old:=new:",
                                                    "--interval",
                                                    "10ms"}};
    static const struct {
        const char *from; /* at the source, "" nothing      */
        const char *to;   /* at the destination             */
        const char *seen; /* in the report; NULL: no word of it */
    } cases[] = {
        {"SADD old:1 a", "SADD new:1 a", NULL},
        {"SADD old:1 a", "SADD new:1 b", "\"key\":\"old:1\""},
        {"SADD old:1 a", "SADD old:1 a", "\"kind\":\"missing\""},
        {"", "SADD new:1 a", "\"kind\":\"extra\""},
        {"", "SADD old:1 a", NULL}, /* nothing is copied to this name */
        {"", "SADD tmp:1 a", NULL}, /* not selected                   */
        {"", "SET user:1 a", NULL}, /* of a type that is not selected */
        {"SET user:1 a", "", NULL},
        {"SET user:1 a", "SADD user:1 a", "\"kind\":\"extra\""},
        {"SADD user:1 a", "SET user:1 a", "\"kind\":\"missing\""},
        {"SADD tmp:1 a", "SADD tmp:1 b", NULL},
    };
    start_pair();
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        for (int is_fast = 0; is_fast < 2; is_fast++) {
            struct test_cli cli;
            struct rule_set options = set;
            traffic_side_clear(&source);
            traffic_side_clear(&destination);
            if (*cases[i].from != '\0') {
                test_command_ok(live_redis(&source), cases[i].from);
            }
            if (*cases[i].to != '\0') {
                test_command_ok(live_redis(&destination), cases[i].to);
            }
            if (is_fast != 0) {
                if (i == 1) {
                    continue; /* equal lengths */
                }
                options.options[8] = "--fast";
            }
            const struct traffic rules = {.source = &source,
                                          .destination = &destination,
                                          .set = &options,
                                          .has_databases = true};
            traffic_spawn(&rules, &cli, "verify", NULL, NULL);
            int status = test_cli_wait(&cli, LIVE_WAIT_MS);
            char *out = test_cli_output(&cli);
            if (status != (cases[i].seen != NULL ? 6 : 0) ||
                (cases[i].seen != NULL && strstr(out, cases[i].seen) == NULL)) {
                fail_msg("case %zu: status %d, %s", i, status, out);
            }
            free(out);
        }
    }
    stop_pair();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_other_rules),
        cmocka_unit_test(test_scripts),
        cmocka_unit_test(test_stops),
        cmocka_unit_test(test_stops_in_snapshot),
        cmocka_unit_test(test_goes_on),
        cmocka_unit_test(test_needs_eval),
        cmocka_unit_test(test_second_copy),
        cmocka_unit_test(test_verify),
    };
    cmocka_set_test_filter(getenv("SYNCLINE_TEST_FILTER"));
    if (!test_cli_available())
        return 77;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
