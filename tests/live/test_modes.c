/* Ways to run: once, snapshot only, until a signal; chosen and renumbered databases; destinations
 * that are not empty. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/live/sides.h"

static void assert_text(redisContext *context, const char *key, const char *wanted)
{
    redisReply *reply = test_command(context, "GET %s", key);
    if (wanted == NULL)
        assert_int_equal(reply->type, REDIS_REPLY_NIL);
    else if (reply->str == NULL)
        fail_msg("%s is missing", key);
    else
        assert_string_equal(reply->str, wanted);
    freeReplyObject(reply);
}

/* --once must end by itself, also at a source that is written to without end, and have everything
 * that was there when the snapshot was done. */
static void test_once(void **state)
{
    (void)state;
    dataset_load(source.client, 1, 20);
    assert_int_equal(live_run(NULL, &source, &destination, "--once", NULL), 0);
    live_assert_equal(&source, &destination);
}

static void test_once_under_load(void **state)
{
    (void)state;
    dataset_load(source.client, 2, 40);
    struct writer *writer = live_writer(&source, &destination, 2, 3000);
    assert_int_equal(live_run(NULL, &source, &destination, "--once", NULL), 0);
    writer_stop(writer, NULL);
    /* The writer's keys may have moved on; what it never touches must all be there. */
    assert_int_equal(dataset_compare(source.client, destination.client, "w:"), 0);
}

/* A write after the snapshot that is applied would make two snapshots of one task unequal: the
 * source is written to from before until after the end, and no such key may be newer than the
 * snapshot. A counter and a list written in one transaction must agree, or the cut is not a cut. */
static void test_snapshot_only(void **state)
{
    (void)state;
    struct test_cli cli;
    redisContext *redis = live_redis(&source);
    dataset_load(source.client, 3, 60);
    int64_t writes = 0;
    live_spawn(&cli, &source, &destination, "--snapshot-only", NULL);
    while (kill(cli.pid, 0) == 0) {
        json_t *result = live_event(&cli, "result");
        bool is_over = result != NULL;
        json_decref(result);
        if (is_over)
            break;
        for (int i = 0; i < 50; i++) {
            test_command_ok(redis, "MULTI");
            test_command_ok(redis, "INCR counter");
            test_command_ok(redis, "RPUSH log %d", (int)writes);
            test_command_ok(redis, "EXEC");
            writes++;
        }
    }
    live_expect_end(&cli, 0, NULL);
    for (int i = 0; i < 10; i++, writes++)
        test_command_ok(redis, "INCR counter");
    test_command_ok(redis, "SET late x");
    redisReply *reply = test_command(live_redis(&destination), "GET counter");
    int64_t counter = reply->str != NULL ? strtoll(reply->str, NULL, 10) : 0;
    freeReplyObject(reply);
    assert_true(counter < writes);
    assert_int_equal(test_command_integer(live_redis(&destination), "LLEN log"), counter);
    assert_text(live_redis(&destination), "late", NULL);
    test_command_ok(redis, "DEL late counter log");
    test_command_ok(live_redis(&destination), "DEL counter log");
    live_assert_equal(&source, &destination);
}

/* The first signal must not lose a write that was acknowledged before it: the writer is stopped,
 * the signal is sent at once, without waiting for anything to be level. */
static void drain_by(int signal, int seed)
{
    struct test_cli cli;
    dataset_load(source.client, (uint64_t)seed, 5);
    struct writer *writer = live_writer(&source, &destination, (uint64_t)seed, 0);
    live_spawn(&cli, &source, &destination, NULL);
    live_wait_phase(&cli, "live");
    live_writer_more(writer, 20000);
    writer_stop(writer, NULL);
    test_cli_signal(&cli, signal);
    live_expect_end(&cli, 0, NULL);
    json_t *result = live_event(&cli, "result");
    assert_string_equal(json_string_value(json_object_get(result, "phase")), "done");
    json_decref(result);
    live_assert_equal(&source, &destination);
}

static void test_sigint_drains(void **state)
{
    (void)state;
    drain_by(SIGINT, 4);
}

static void test_sigterm_drains(void **state)
{
    (void)state;
    drain_by(SIGTERM, 5);
}

/* What the source had written before the signal is part of the drain, also when the destination
 * stood still and much of it is neither received nor written yet. */
static void test_drain_behind(void **state)
{
    (void)state;
    struct test_cli cli;
    redisContext *from = live_redis(&source);
    redisContext *to = live_redis(&destination);
    static char text[50000];
    memset(text, 'x', sizeof(text));
    live_spawn(&cli, &source, &destination, "--memory", "8m", NULL);
    live_wait_phase(&cli, "live");
    test_server_freeze(&destination.server);
    for (int i = 0; i < 300; i++) {
        redisAppendCommand(from, "MULTI");
        redisAppendCommand(from, "INCR counter");
        redisAppendCommand(from, "RPUSH log %b", text, sizeof(text));
        redisAppendCommand(from, "EXEC");
        for (int n = 0; n < 4; n++) {
            redisReply *reply = NULL;
            assert_int_equal(redisGetReply(from, (void **)&reply), REDIS_OK);
            assert_int_not_equal(reply->type, REDIS_REPLY_ERROR);
            freeReplyObject(reply);
        }
    }
    test_cli_signal(&cli, SIGINT);
    test_server_thaw(&destination.server);
    live_expect_end(&cli, 0, NULL);
    redisReply *reply = test_command(to, "GET counter");
    int64_t counter = reply->str != NULL ? strtoll(reply->str, NULL, 10) : 0;
    freeReplyObject(reply);
    assert_int_equal(test_command_integer(to, "LLEN log"), counter);
    assert_int_equal(counter, 300);
}

/* A destination that stood still when the program was ended at once still has commands of it to
 * read: they are not the next test's. */
static void thaw_and_settle(void)
{
    uint64_t deadline = test_deadline(LIVE_WAIT_MS);
    test_server_thaw(&destination.server);
    for (bool is_settled = false; !is_settled;) {
        redisReply *reply = test_command(live_redis(&destination), "CLIENT LIST");
        is_settled = strstr(reply->str, "syncline-lane") == NULL;
        freeReplyObject(reply);
        test_poll(deadline, "the end of the program's connections");
    }
}

/* A drain that cannot end would hang a shutdown: the destination is stopped, so the first signal
 * cannot be answered, and the second must end it at once, with 130. */
static void test_second_sigint(void **state)
{
    (void)state;
    struct test_cli cli;
    live_spawn(&cli, &source, &destination, NULL);
    live_wait_phase(&cli, "live");
    test_server_freeze(&destination.server);
    for (int i = 0; i < 1000; i++)
        test_command_ok(live_redis(&source), "SET key:%d value", i);
    test_cli_signal(&cli, SIGINT);
    live_wait_phase(&cli, "draining");
    test_cli_signal(&cli, SIGINT);
    live_expect_end(&cli, 130, NULL);
    thaw_and_settle();
}

/* A drain that the destination does not let end must end in time, and say so. */
static void test_drain_timeout(void **state)
{
    (void)state;
    struct test_cli cli;
    live_spawn(&cli, &source, &destination, "--drain-timeout", "500ms", NULL);
    live_wait_phase(&cli, "live");
    test_server_freeze(&destination.server);
    for (int i = 0; i < 1000; i++)
        test_command_ok(live_redis(&source), "SET key:%d value", i);
    test_cli_signal(&cli, SIGTERM);
    live_expect_end(&cli, 7, "500 ms", NULL);
    thaw_and_settle();
}

/* Databases that were not chosen must not leak, not through any command that names another. */
static void test_chosen_databases(void **state)
{
    (void)state;
    struct test_cli cli;
    redisContext *from = live_redis(&source);
    redisContext *to = live_redis(&destination);
    dataset_load(source.client, 6, 4); /* databases 0, 1, 5, 15 */
    live_spawn(&cli, &source, &destination, "--db", "1,5-7", NULL);
    live_wait_phase(&cli, "live");
    for (int db = 0; db < 9; db++) {
        test_command_ok(from, "SELECT %d", db);
        test_command_ok(from, "MSET a %d b %d", db, db);
        test_command_ok(from, "SET away %d", db);
        test_command_ok(from, "RPUSH list 1 2 3");
    }
    test_command_ok(from, "SELECT 6");
    test_command_ok(from, "SET moved x");
    test_command_ok(from, "MOVE moved 7"); /* both chosen */
    test_command_ok(from, "SELECT 7");
    test_command_ok(from, "MOVE away 9");        /* to one that is not: gone */
    test_command_ok(from, "COPY a copied DB 1"); /* both chosen */
    test_command_ok(from, "COPY a copied DB 8"); /* not wanted there */
    test_command_ok(from, "SELECT 0");
    test_command_ok(from, "FLUSHDB"); /* not chosen: must not flush another */
    live_wait_level(&cli, &source);
    live_wait_exact(&cli);
    for (uint32_t db = 0; db < 16; db++) {
        if (db == 1 || (db >= 5 && db <= 7)) {
            assert_int_equal(live_db_differences(from, db, to, db), 0);
        } else {
            test_command_ok(to, "SELECT %u", db);
            assert_int_equal(test_command_integer(to, "DBSIZE"), 0);
        }
    }
    test_command_ok(from, "SELECT 5");
    test_command_ok(from, "FLUSHDB");
    test_command_ok(from, "SELECT 0");
    live_wait_level(&cli, &source);
    live_wait_exact(&cli);
    assert_int_equal(live_db_differences(from, 5, to, 5), 0);
    assert_int_equal(live_db_differences(from, 1, to, 1), 0);
    test_command_ok(from, "FLUSHALL");
    live_wait_level(&cli, &source);
    assert_int_equal(dataset_key_count(destination.client), 0);
    live_stop(&cli);
}

/* A renumbered database must be renumbered in every command that names one, or the data of two
 * databases is mixed. */
static void test_mapped_databases(void **state)
{
    (void)state;
    struct test_cli cli;
    redisContext *from = live_redis(&source);
    redisContext *to = live_redis(&destination);
    static const uint32_t map[][2] = {{0, 3}, {1, 0}, {5, 8}};
    dataset_load(source.client, 7, 4);
    live_spawn(&cli, &source, &destination, "--db-map", "0:3,1:0,5:8", NULL);
    live_wait_phase(&cli, "live");
    test_command_ok(from, "SET only-0 x");
    test_command_ok(from, "COPY only-0 in-1 DB 1");
    test_command_ok(from, "SET to-5 x EX 5000");
    test_command_ok(from, "MOVE to-5 5");
    test_command_ok(from, "MULTI");
    test_command_ok(from, "SET tx a");
    test_command_ok(from, "SELECT 1");
    test_command_ok(from, "SET tx b");
    test_command_ok(from, "SELECT 15");
    test_command_ok(from, "SET tx c");
    test_command_ok(from, "EXEC");
    test_command_ok(from, "SELECT 0");
    live_wait_level(&cli, &source);
    live_wait_exact(&cli);
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(live_db_differences(from, map[i][0], to, map[i][1]), 0);
    test_command_ok(from, "SWAPDB 0 5");
    test_command_ok(from, "SET after-swap x");
    live_wait_level(&cli, &source);
    live_wait_exact(&cli);
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(live_db_differences(from, map[i][0], to, map[i][1]), 0);
    for (uint32_t db = 0; db < 16; db++) {
        test_command_ok(to, "SELECT %u", db);
        bool is_target = db == 0 || db == 3 || db == 8;
        assert_int_equal(test_command_integer(to, "DBSIZE") > 0, is_target);
    }
    test_command_ok(to, "SELECT 0");
    live_assert_verified(&source, &destination, "--db-map", "0:3,1:0,5:8", NULL);
    live_stop(&cli);
}

/* Without rules every database keeps its number, through the same commands. */
static void test_database_commands(void **state)
{
    (void)state;
    struct test_cli cli;
    redisContext *from = live_redis(&source);
    dataset_load(source.client, 8, 3);
    live_spawn(&cli, &source, &destination, "--lanes", "2", NULL);
    live_wait_phase(&cli, "live");
    for (int i = 0; i < 40; i++) {
        test_command_ok(from, "SELECT %d", i % 4);
        test_command_ok(from, "SET n:%d %d", i, i);
        test_command_ok(from, "SET m:%d %d", i, i);
        test_command_ok(from, "MOVE m:%d %d", i, (i + 1) % 4);
        test_command_ok(from, "COPY n:%d c:%d DB %d REPLACE", i, i, (i + 2) % 4);
        test_command_ok(from, "RENAME n:%d r:%d", i, i % 7);
        test_command_ok(from, "SWAPDB %d %d", i % 4, (i + 3) % 4);
        if (i % 13 == 12)
            test_command_ok(from, "FLUSHDB");
    }
    test_command_ok(from, "SELECT 0");
    live_wait_level(&cli, &source);
    live_wait_exact(&cli);
    live_assert_equal(&source, &destination);
    live_stop(&cli);
}

/* Refusing too late would have overwritten something: the one key of the destination must be as it
 * was, and nothing else may be there. */
static void test_nonempty_stop(void **state)
{
    (void)state;
    dataset_load(source.client, 9, 2);
    test_command_ok(live_redis(&destination), "SELECT 4");
    test_command_ok(live_redis(&destination), "RPUSH d:list:0 mine");
    test_command_ok(live_redis(&destination), "SELECT 0");
    char *errors;
    assert_int_equal(live_run(&errors, &source, &destination, NULL), 4);
    live_expect_texts(errors, "not empty", "1 keys", "--on-nonempty overwrite", NULL);
    free(errors);
    assert_int_equal(dataset_key_count(destination.client), 1);
    redisReply *functions = test_command(live_redis(&destination), "FUNCTION LIST");
    assert_int_equal(functions->elements, 0);
    freeReplyObject(functions);
    test_command_ok(live_redis(&destination), "SELECT 4");
    assert_int_equal(test_command_integer(live_redis(&destination), "LLEN d:list:0"), 1);
    test_command_ok(live_redis(&destination), "SELECT 0");
}

/* Overwriting must replace whole values: what was appended to, or left of another type, is neither
 * the old nor the new. Keys that only the destination has are not the task's to remove. */
static void test_nonempty_overwrite(void **state)
{
    (void)state;
    redisContext *to = live_redis(&destination);
    dataset_load(source.client, 10, 3);
    for (int i = 0; i < 3; i++) {
        test_command_ok(to, "RPUSH d:list:%d old", i);
        test_command_ok(to, "RPUSH d:quicklist:%d old", i);
        test_command_ok(to, "SADD d:set:%d old", i);
        test_command_ok(to, "ZADD d:zset:%d 1 old", i);
        test_command_ok(to, "HSET d:hash:%d old 1", i);
        test_command_ok(to, "XADD d:stream:%d * old 1", i);
        test_command_ok(to, "RPUSH d:raw:%d another type", i);
        test_command_ok(to, "SET d:int:%d old EX 100", i);
        test_command_ok(to, "PFADD d:hll:%d old", i);
    }
    test_command_ok(to, "SET other kept");
    assert_int_equal(
        live_run(NULL, &source, &destination, "--once", "--on-nonempty", "overwrite", NULL), 0);
    assert_text(to, "other", "kept");
    test_command_ok(to, "DEL other");
    live_assert_equal(&source, &destination);
}

/* Functions belong to no database and no key: loaded, replaced, deleted and restored ones must be
 * the same at the end. */
static void test_functions(void **state)
{
    (void)state;
    struct test_cli cli;
    redisContext *from = live_redis(&source);
    static const char code[] = "#!lua name=%s\nredis.register_function('%s', function(k, a) return "
                               "redis.call('SET', k[1], '%s') end)";
    char text[256];
    for (int i = 0; i < 3; i++) {
        char name[8];
        snprintf(name, sizeof(name), "lib%d", i);
        snprintf(text, sizeof(text), code, name, name, "first");
        test_command_ok(from, "FUNCTION LOAD %s", text);
    }
    live_spawn(&cli, &source, &destination, NULL);
    live_wait_phase(&cli, "live");
    snprintf(text, sizeof(text), code, "lib1", "lib1", "second");
    test_command_ok(from, "FUNCTION LOAD REPLACE %s", text);
    test_command_ok(from, "FUNCTION DELETE lib2");
    snprintf(text, sizeof(text), code, "lib3", "lib3", "new");
    test_command_ok(from, "FUNCTION LOAD %s", text);
    test_command_ok(from, "FCALL lib1 1 written");
    live_wait_level(&cli, &source);
    redisReply *a = test_command(from, "FUNCTION DUMP");
    redisReply *b = test_command(live_redis(&destination), "FUNCTION STATS");
    assert_int_equal(b->element[3]->element[1]->element[1]->integer, 3);
    freeReplyObject(b);
    test_command_ok(live_redis(&destination), "FCALL lib3 1 called");
    assert_text(live_redis(&destination), "called", "new");
    assert_text(live_redis(&destination), "written", "second");
    test_command_ok(from, "FUNCTION FLUSH");
    live_wait_level(&cli, &source);
    b = test_command(live_redis(&destination), "FUNCTION LIST");
    assert_int_equal(b->elements, 0);
    freeReplyObject(b);
    test_command_ok(from, "FUNCTION RESTORE %b", a->str, a->len);
    freeReplyObject(a);
    live_wait_level(&cli, &source);
    b = test_command(live_redis(&destination), "FUNCTION LIST");
    assert_int_equal(b->elements, 3);
    freeReplyObject(b);
    live_stop(&cli);
}

/* PFCOUNT reads, but its answer is kept in the value and therefore in the stream: left out, both
 * sides count the same and are not equal. */
static void test_pfcount(void **state)
{
    (void)state;
    struct test_cli cli;
    redisContext *from = live_redis(&source);
    live_spawn(&cli, &source, &destination, NULL);
    live_wait_phase(&cli, "live");
    for (int i = 0; i < 50; i++)
        test_command_ok(from, "PFADD hll:%d a%d b%d c", i % 5, i, i);
    for (int i = 0; i < 4; i++)
        assert_true(test_command_integer(from, "PFCOUNT hll:%d", i) > 3);
    live_wait_level(&cli, &source);
    live_stop(&cli);
    live_assert_equal(&source, &destination);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_once, sides_empty_functions),
        cmocka_unit_test_setup(test_once_under_load, sides_empty_functions),
        cmocka_unit_test_setup(test_snapshot_only, sides_empty_functions),
        cmocka_unit_test_setup(test_sigint_drains, sides_empty_functions),
        cmocka_unit_test_setup(test_sigterm_drains, sides_empty_functions),
        cmocka_unit_test_setup(test_drain_behind, sides_empty_functions),
        cmocka_unit_test_setup(test_second_sigint, sides_empty_functions),
        cmocka_unit_test_setup(test_drain_timeout, sides_empty_functions),
        cmocka_unit_test_setup(test_chosen_databases, sides_empty_functions),
        cmocka_unit_test_setup(test_mapped_databases, sides_empty_functions),
        cmocka_unit_test_setup(test_database_commands, sides_empty_functions),
        cmocka_unit_test_setup(test_nonempty_stop, sides_empty_functions),
        cmocka_unit_test_setup(test_nonempty_overwrite, sides_empty_functions),
        cmocka_unit_test_setup(test_functions, sides_empty_functions),
        cmocka_unit_test_setup(test_pfcount, sides_empty_functions),
    };
    cmocka_set_test_filter(getenv("SYNCLINE_TEST_FILTER"));
    if (!test_cli_available())
        return 77;
    return cmocka_run_group_tests(tests, sides_start, sides_stop);
}
