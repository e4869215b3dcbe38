/* Commands of modules, which no table of ours knows, between real servers: they arrive where the
 * destination has the module, and are told of where it has not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/base/slot.h"
#include "tests/live/live.h"

static struct live_side source, destination;

/* Arguments for a server with the module; the path of a build may be too long for them. */
static const char *const *with_module(void)
{
    static char path[64];
    static const char *arguments[] = {"--loadmodule", path, NULL};
    if (path[0] == '\0') {
        snprintf(path, sizeof(path), "%.40s/synctest.so", test_folder());
        if (symlink(SERVER_MODULE, path) != 0)
            test_fatal("cannot make %s", path);
    }
    return arguments;
}

static int start_sides(void **state)
{
    (void)state;
    live_side_start(&source, TEST_REQUIRED_VERSION, 0, 0, with_module());
    live_side_start(&destination, TEST_REQUIRED_VERSION, 0, 0, NULL);
    return 0;
}

static int stop_sides(void **state)
{
    (void)state;
    live_side_stop(&source);
    live_side_stop(&destination);
    return 0;
}

static int empty_sides(void **state)
{
    (void)state;
    test_command_ok(live_redis(&source), "FLUSHALL");
    test_command_ok(live_redis(&destination), "FLUSHALL");
    return 0;
}

/* Keys by position, by the module's code, in subcommands, alone and in transactions, between
 * commands on the same keys; order per key shows in the lists. */
static void write_all(redisContext *redis, bool is_one_slot, bool has_subcommands)
{
    const char *tag = is_one_slot ? "{t}" : "";
    for (int i = 0; i < 200; i++) {
        bool is_transaction = i % 4 == 0;
        if (is_transaction)
            test_command_ok(redis, "MULTI");
        test_command_ok(redis, "synctest.set %ss:%d %d", tag, i % 10, i);
        test_command_ok(redis, "APPEND %ss:%d x", tag, i % 10);
        test_command_ok(
            redis, "SYNCTEST.PUSH v%d 2 %sl:%d %sl:%d", i, tag, i % 7, tag, (i + 1) % 7);
        test_command_ok(redis, "RPUSH %sl:%d w%d", tag, i % 7, i);
        test_command_ok(redis, "synctest.touch %ss:1", tag);
        if (has_subcommands)
            test_command_ok(redis, "synctest.box SET %sb:%d %d", tag, i % 5, i);
        if (is_transaction)
            test_command_ok(redis, "EXEC");
    }
}

static bool has_subcommands(const char *version)
{
    return strcmp(version, "redis-6.0") != 0;
}

/* Every version says what a command is in its own form. */
static void test_versions_all(void **state)
{
    (void)state;
    for (uint32_t i = 0; test_versions[i] != NULL; i++) {
        struct live_side from, to;
        struct test_cli cli;
        if (!test_server_available(test_versions[i]))
            continue;
        live_side_start(&from, test_versions[i], 0, 0, with_module());
        live_side_start(&to, test_versions[i], 0, 0, with_module());
        live_spawn(&cli, &from, &to, "--lanes", i % 2 == 0 ? "1" : "3", NULL);
        live_wait_phase(&cli, "live");
        write_all(live_redis(&from), false, has_subcommands(test_versions[i]));
        test_command_ok(live_redis(&from), "synctest.count");
        test_command_ok(live_redis(&from), "synctest.count");
        live_wait_level(&cli, &from);
        live_stop(&cli);
        live_assert_equal(&from, &to);
        assert_true(test_command_integer(live_redis(&to), "LLEN l:1") > 50);
        live_side_stop(&from);
        live_side_stop(&to);
    }
}

static void expect_same_list(redisContext *from, redisContext *to, int n)
{
    redisReply *left = test_command(from, "LRANGE l:%d 0 -1", n);
    redisReply *right = test_command(to, "LRANGE list:%d 0 -1", n);
    assert_true(left->elements > 50);
    assert_int_equal(left->elements, right->elements);
    for (size_t i = 0; i < left->elements; i++)
        assert_string_equal(left->element[i]->str, right->element[i]->str);
    freeReplyObject(left);
    freeReplyObject(right);
}

/* With rules: keys that were asked for are selected and get their new names like all others. */
static void test_rules(void **state)
{
    (void)state;
    struct live_side to;
    struct test_cli cli;
    live_side_start(&to, TEST_REQUIRED_VERSION, 0, 0, with_module());
    live_spawn(&cli,
               &source,
               &to,
               "--rename-prefix",
               "l:=list:",
               "--exclude-prefix",
               "s:1",
               "--exclude-command",
               "synctest.box",
               NULL);
    live_wait_phase(&cli, "live");
    write_all(live_redis(&source), false, true);
    live_wait_level(&cli, &source);
    for (int i = 0; i < 7; i++)
        expect_same_list(live_redis(&source), live_redis(&to), i);
    redisReply *left = test_command(live_redis(&source), "GET s:2");
    redisReply *right = test_command(live_redis(&to), "GET s:2");
    assert_string_equal(left->str, right->str);
    freeReplyObject(left);
    freeReplyObject(right);
    assert_int_equal(test_command_integer(live_redis(&to), "EXISTS s:1 l:1 b:1 b:2"), 0);
    /* Some keys of a command that nobody knows here: they are read at the source. */
    test_command_ok(live_redis(&source), "synctest.push v 3 l:1 s:1list s:2list");
    live_wait_level(&cli, &source);
    uint64_t deadline = test_deadline(LIVE_WAIT_MS);
    while (live_total(&cli, "keys_refetched") < 2)
        test_poll(deadline, "keys that are read again");
    live_stop(&cli);
    expect_same_list(live_redis(&source), live_redis(&to), 1);
    assert_int_equal(test_command_integer(live_redis(&to), "LLEN s:2list"), 1);
    assert_int_equal(test_command_integer(live_redis(&to), "EXISTS s:1list"), 0);
    live_side_stop(&to);
}

/* A module's value that is too large to DUMP at once can only be DUMPed: it passes through. */
static void test_large_value(void **state)
{
    (void)state;
    struct live_side to;
    struct test_cli cli;
    static char text[3 << 20];
    for (size_t i = 0; i < sizeof(text); i++)
        text[i] = (char)(i * 2654435761u >> 13);
    for (uint32_t masters = 0; masters <= 3; masters += 3) {
        live_side_start(&to, TEST_REQUIRED_VERSION, masters, 0, with_module());
        redisContext *redis = live_redis(&source);
        test_command_ok(redis, "FLUSHALL");
        for (int i = 0; i < 10; i++)
            test_command_ok(redis, "synctest.blob blob:%d %b", i, text, sizeof(text) >> i);
        live_spawn(&cli, &source, &to, "--memory", "16m", "--refetch-dump-max", "16k", NULL);
        live_wait_phase(&cli, "live");
        live_wait_level(&cli, &source);
        for (uint32_t n = 0; n < test_client_count(to.client); n++)
            test_command_ok(test_client_at(to.client, n), "FLUSHALL");
        for (int i = 0; i < 10; i++)
            test_command_ok(redis, "PEXPIREAT blob:%d 4102444800000", i);
        uint64_t deadline = test_deadline(LIVE_WAIT_MS);
        while (live_total(&cli, "keys_refetched") < 10)
            test_poll(deadline, "keys that are read again");
        live_wait_level(&cli, &source);
        live_wait_exact(&cli);
        assert_int_equal(live_total(&cli, "keys_refetched_large"), 8);
        live_stop(&cli);
        live_assert_verified(&source, &to, NULL);
        for (int i = 0; i < 10; i++) {
            char name[16];
            snprintf(name, sizeof(name), "blob:%d", i);
            uint16_t slot = slot_of_key(name, strlen(name));
            redisReply *left = test_command(redis, "DUMP %s", name);
            redisReply *right =
                test_command(test_client_connection(to.client, slot), "DUMP %s", name);
            assert_int_equal(left->len, right->len);
            assert_memory_equal(left->str, right->str, left->len);
            freeReplyObject(left);
            freeReplyObject(right);
        }
        live_side_stop(&to);
    }
}

/* To a cluster: by the slots of the keys that were asked for. */
static void test_cluster(void **state)
{
    (void)state;
    struct live_side to;
    struct test_cli cli;
    live_side_start(&to, TEST_REQUIRED_VERSION, 3, 0, with_module());
    live_spawn(&cli, &source, &to, NULL);
    live_wait_phase(&cli, "live");
    redisContext *redis = live_redis(&source);
    write_all(redis, true, true);
    for (int i = 0; i < 50; i++) {
        test_command_ok(redis, "synctest.set key%d %d", i, i);
        test_command_ok(redis, "synctest.push v%d 1 list%d", i, i);
        test_command_ok(redis, "synctest.box set box%d %d", i, i);
    }
    live_wait_level(&cli, &source);
    live_wait_exact(&cli);
    live_assert_equal(&source, &to);
    /* What no shard can run is read at the source. */
    test_command_ok(redis, "synctest.push v 2 foo bar");
    live_wait_level(&cli, &source);
    assert_int_equal(live_total(&cli, "keys_refetched"), 2);
    /* Those that wait behind a relay keep what was asked for them. */
    for (int i = 0; i < 3000; i++) {
        test_client_send(source.client, NULL, "LPUSH from:%d %d", i % 7, i);
        test_client_send(source.client, NULL, "RPOPLPUSH from:%d to:%d", i % 7, i % 5);
        test_client_send(source.client, NULL, "synctest.push v%d 1 to:%d", i, i % 5);
    }
    test_client_flush(source.client);
    live_wait_level(&cli, &source);
    live_wait_exact(&cli);
    assert_int_not_equal(live_total(&cli, "held_peak"), 0);
    live_assert_equal(&source, &to);
    test_command_ok(redis, "synctest.count");
    live_expect_end(&cli, 7, "SYNCTEST.COUNT", "has no keys", "standalone", NULL);
    live_side_stop(&to);
}

/* The destination lacks the module: by default the task stops and says so. */
static void test_stop(void **state)
{
    (void)state;
    struct test_cli cli;
    live_spawn(&cli, &source, &destination, NULL);
    live_wait_phase(&cli, "live");
    test_command_ok(live_redis(&source), "SET before 1");
    test_command_ok(live_redis(&source), "synctest.set secret-key secret-value");
    test_command_ok(live_redis(&source), "SET after 1");
    live_expect_end(&cli,
                    7,
                    "SYNCTEST.SET is a command that neither this version nor the destination knows",
                    "--on-unknown skip",
                    "offset",
                    NULL);
    char *errors = test_cli_errors(&cli);
    char *output = test_cli_output(&cli);
    assert_null(strstr(errors, "secret"));
    assert_null(strstr(output, "secret"));
    free(errors);
    free(output);
    assert_int_equal(test_command_integer(live_redis(&destination), "EXISTS after"), 0);
}

static uint32_t count_text(const char *text, const char *word)
{
    uint32_t count = 0;
    for (const char *at = text; (at = strstr(at, word)) != NULL; at++)
        count++;
    return count;
}

/* Or it leaves such commands out, counts each, and tells of each name once. */
static void test_skip(void **state)
{
    (void)state;
    struct test_cli cli;
    redisContext *redis = live_redis(&source);
    live_spawn(&cli, &source, &destination, "--on-unknown", "skip", NULL);
    live_wait_phase(&cli, "live");
    for (int i = 0; i < 20; i++) {
        test_command_ok(redis, "INCR counter");
        test_command_ok(redis, "synctest.set secret-key secret-value");
        test_command_ok(redis, "MULTI");
        test_command_ok(redis, "INCR counter");
        test_command_ok(redis, "synctest.push secret-value 1 secret-list");
        test_command_ok(redis, "INCR counter");
        test_command_ok(redis, "EXEC");
        test_command_ok(redis, "synctest.box set secret-key x");
    }
    live_wait_level(&cli, &source);
    assert_int_equal(live_total(&cli, "commands_skipped"), 60);
    assert_int_equal(live_total(&cli, "transactions_split"), 0);
    char *output = test_cli_output(&cli);
    assert_int_equal(count_text(output, "is left out"), 3);
    assert_int_equal(count_text(output, "SYNCTEST.PUSH, key hash "), 1);
    assert_null(strstr(output, "secret"));
    free(output);
    live_stop(&cli);
    test_command_ok(redis, "DEL secret-key secret-list");
    live_assert_equal(&source, &destination);
}

/* A command that we know and the destination's version does not: the same choice, before anything
 * is sent; a transaction without it is still one. */
static void test_older(void **state)
{
    (void)state;
    struct live_side from;
    struct test_cli cli;
    if (!test_server_available("redis-8.0"))
        return;
    live_side_start(&from, "redis-8.0", 0, 0, NULL);
    redisContext *redis = live_redis(&from);
    live_spawn(&cli, &from, &destination, NULL);
    live_wait_phase(&cli, "live");
    test_command_ok(redis, "HSET secret-hash f v");
    test_command_ok(redis, "HPEXPIREAT secret-hash 4102444800000 FIELDS 1 f");
    live_expect_end(&cli,
                    7,
                    "HPEXPIREAT is a command that the destination's version does not know",
                    "--on-unknown skip",
                    NULL);
    test_command_ok(redis, "DEL secret-hash");
    test_command_ok(live_redis(&destination), "FLUSHALL");
    live_spawn(&cli, &from, &destination, "--on-unknown", "skip", NULL);
    live_wait_phase(&cli, "live");
    for (int i = 0; i < 10; i++) {
        test_command_ok(redis, "MULTI");
        test_command_ok(redis, "HSET hash f%d v", i);
        test_command_ok(redis, "HPEXPIREAT hash 4102444800000 FIELDS 1 f%d", i);
        test_command_ok(redis, "HSET hash g%d v", i);
        test_command_ok(redis, "EXEC");
    }
    live_wait_level(&cli, &from);
    assert_int_equal(live_total(&cli, "commands_skipped"), 10);
    assert_int_equal(live_total(&cli, "transactions_split"), 0);
    char *output = test_cli_output(&cli);
    assert_int_equal(count_text(output, "HPEXPIREAT, key hash "), 1);
    free(output);
    live_stop(&cli);
    assert_int_equal(test_command_integer(live_redis(&destination), "HLEN hash"), 20);
    live_side_stop(&from);
}

/* An account without COMMAND cannot ask: that is no command that nobody knows, and nothing may be
 * left out for it. */
static void test_not_allowed(void **state)
{
    (void)state;
    struct live_side to = destination;
    struct test_cli cli;
    redisContext *redis = live_redis(&destination);
    test_command_ok(redis, "ACL SETUSER writer on >pw allkeys +@all -command");
    snprintf(to.uri, sizeof(to.uri), "redis://writer:pw@127.0.0.1:%u", live_port(&destination));
    live_spawn(&cli, &source, &to, "--on-unknown", "skip", NULL);
    live_wait_phase(&cli, "live");
    test_command_ok(live_redis(&source), "synctest.set a 1");
    live_expect_end(&cli, 7, "SYNCTEST.SET", "COMMAND", "NOPERM", NULL);
    test_command_ok(redis, "ACL DELUSER writer");
}

/* A destination that does not answer the question: only that stream stands still, and a second
 * signal ends the task. Here the destination is a cluster whose first shard hangs, and the question
 * goes there; the other source's writes go to the second shard. */
static void test_hanging(void **state)
{
    (void)state;
    struct live_side from, to;
    struct test_cli cli;
    live_side_start(&from, TEST_REQUIRED_VERSION, 2, 0, with_module());
    live_side_start(&to, TEST_REQUIRED_VERSION, 2, 0, with_module());
    live_spawn(&cli, &from, &to, "--decoders", "1", "--connect-timeout", "3s", NULL);
    live_wait_phase(&cli, "live");
    test_server_freeze(&to.cluster.nodes[0]);
    test_client_send(from.client, "bar", "synctest.set bar 1"); /* slot 5061: first source */
    test_client_flush(from.client);
    for (int i = 0; i < 100; i++)
        test_client_send(from.client, "foo", "INCR foo"); /* slot 12182: second and second */
    test_client_flush(from.client);
    redisContext *second = test_client_connection(to.client, 12182);
    uint64_t deadline = test_deadline(LIVE_WAIT_MS);
    for (int64_t count = 0; count < 100; test_poll(deadline, "the other stream's writes")) {
        redisReply *reply = test_command(second, "GET foo");
        count = reply->str != NULL ? strtoll(reply->str, NULL, 10) : 0;
        freeReplyObject(reply);
    }
    test_server_thaw(&to.cluster.nodes[0]);
    live_wait_level(&cli, &from); /* the next shard was asked, or the first in time */
    live_stop(&cli);
    live_assert_equal(&from, &to);
    live_side_stop(&from);
    live_side_stop(&to);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_versions_all),
        cmocka_unit_test_setup(test_rules, empty_sides),
        cmocka_unit_test_setup(test_large_value, empty_sides),
        cmocka_unit_test_setup(test_cluster, empty_sides),
        cmocka_unit_test_setup(test_stop, empty_sides),
        cmocka_unit_test_setup(test_skip, empty_sides),
        cmocka_unit_test_setup(test_older, empty_sides),
        cmocka_unit_test_setup(test_not_allowed, empty_sides),
        cmocka_unit_test(test_hanging),
    };
    cmocka_set_test_filter(getenv("SYNCLINE_TEST_FILTER"));
    if (!test_cli_available())
        return 77;
    return cmocka_run_group_tests(tests, start_sides, stop_sides);
}
