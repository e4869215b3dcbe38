/* A destination that somebody changed, seen by commands that act on more than a key in its
 * database: MOVE and COPY, whose keys are repaired in both of the source's databases wherever these
 * went, and those that answer for each field of a hash. Also: what the versions that have times to
 * live of fields really send is no divergence. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tests/live/live.h"

#define LARGE_BYTES 300000
#define FAR "4102444800000" /* ms: the year 2100 */

static struct live_side source, destination;

static void stop(void)
{
    live_side_stop(&source);
    live_side_stop(&destination);
}

/* Where the key's slot is at home; all of them have the tag {t}. */
static void write_to(const struct live_side *side, const char *command)
{
    redisReply *reply = NULL;
    for (uint32_t i = 0; i < test_client_count(side->client); i++) {
        freeReplyObject(reply);
        reply = redisCommand(test_client_at(side->client, i), command);
        assert_non_null(reply);
        if (reply->type != REDIS_REPLY_ERROR || strncmp(reply->str, "MOVED", 5) != 0)
            break;
    }
    if (reply == NULL || reply->type == REDIS_REPLY_ERROR)
        fail_msg("%s: %s", command, reply != NULL ? reply->str : "no answer");
    freeReplyObject(reply);
}

static void write_db(const struct live_side *side, int db, const char *command)
{
    redisReply *reply = test_command(live_redis(side), "SELECT %d", db);
    assert_int_equal(reply->type, REDIS_REPLY_STATUS);
    freeReplyObject(reply);
    write_to(side, command);
}

static int64_t diverged(const struct test_cli *cli)
{
    return live_total(cli, "diverged_no_effect") + live_total(cli, "diverged_error");
}

static void wait_total(const struct test_cli *cli, const char *field, int64_t wanted)
{
    uint64_t deadline = test_deadline(LIVE_WAIT_MS);
    while (live_total(cli, field) < wanted)
        test_poll(deadline, field);
}

/* ---- databases ---- */

/* Options, with what they make of the source's databases 0, 1 and 2 (-1: left out) and of "key:".
 */
struct ways {
    const char *options[5];
    int dbs[3];
    const char *prefix;
};

static const struct ways ways[] = {
    {{NULL}, {0, 1, 2}, "key:"},
    {{"--db", "0,1,2", "--db-map", "0:3,1:4,2:5", NULL}, {3, 4, 5}, "key:"},
    {{"--db", "0,1,2", "--db-map", "0:1,1:0", NULL}, {1, 0, 2}, "key:"},
    {{"--db", "0,1", "--db-map", "1:6", NULL}, {0, 6, -1}, "key:"},
    {{"--rename-prefix", "key:=new:", NULL}, {0, 1, 2}, "new:"},
};

static void begin(struct test_cli *cli, const struct ways *way, const char *policy)
{
    const char *const *words = way->options;
    live_side_start(&source, TEST_REQUIRED_VERSION, 0, 0, NULL);
    live_side_start(&destination, TEST_REQUIRED_VERSION, 0, 0, NULL);
    int count = 0;
    while (words[count] != NULL)
        count++;
    live_spawn(cli,
               &source,
               &destination,
               "--on-divergence",
               policy,
               count > 0 ? words[0] : NULL,
               count > 1 ? words[1] : NULL,
               count > 2 ? words[2] : NULL,
               count > 3 ? words[3] : NULL,
               NULL);
    live_wait_phase(cli, "live");
}

/* `command` has one %s, for the prefix. */
static void spoil(const struct ways *way, int db, const char *command)
{
    char text[160];
    snprintf(text, sizeof(text), command, way->prefix);
    write_db(&destination, way->dbs[db], text);
}

/* NULL: the key is not there. */
static void expect(const struct ways *way, int db, const char *name, const char *value)
{
    freeReplyObject(test_command(live_redis(&destination), "SELECT %d", way->dbs[db]));
    redisReply *reply = test_command(live_redis(&destination), "GET %s%s", way->prefix, name);
    if (value == NULL ? reply->type != REDIS_REPLY_NIL
                      : reply->type != REDIS_REPLY_STRING || strcmp(reply->str, value) != 0)
        fail_msg("%s in database %d is %s", name, way->dbs[db], reply->str);
    freeReplyObject(reply);
}

static void move_and_copy(const struct ways *way)
{
    struct test_cli cli;
    begin(&cli, way, "refetch");
    write_db(&source, 0, "MSET key:a 1 key:b 2 key:c 3 key:d 4 key:e 5 key:g 7");
    write_db(&source, 1, "SET key:far 6");
    live_wait_level(&cli, &source);
    spoil(way, 0, "DEL %sa");
    spoil(way, 1, "SET %sb other");
    spoil(way, 0, "DEL %sc");
    spoil(way, 0, "DEL %sd");
    spoil(way, 0, "DEL %se");
    write_db(&source, 0, "MOVE key:a 1");
    write_to(&source, "MOVE key:b 1");
    write_to(&source, "COPY key:c key:c2 DB 1");
    write_to(&source, "COPY key:d key:d2");
    write_to(&source, "MULTI");
    write_to(&source, "SET key:f 6");
    write_to(&source, "MOVE key:e 1");
    write_to(&source, "EXEC");
    write_to(&source, "MOVE key:g 1"); /* nothing is wrong with this one */
    wait_total(&cli, "diverged_no_effect", 5);
    live_wait_level(&cli, &source);
    live_stop(&cli);
    assert_int_equal(diverged(&cli), 5);
    assert_int_equal(live_total(&cli, "diverged_unknown"), 0);
    assert_int_equal(live_total(&cli, "keys_refetched"), 10);
    static const char *const gone[] = {"a", "b", "e", "g"};
    for (size_t i = 0; i < sizeof(gone) / sizeof(gone[0]); i++)
        expect(way, 0, gone[i], NULL);
    expect(way, 0, "c", "3");
    expect(way, 0, "d", "4");
    expect(way, 0, "d2", "4");
    expect(way, 0, "f", "6");
    expect(way, 1, "a", "1");
    expect(way, 1, "b", "2");
    expect(way, 1, "c2", "3");
    expect(way, 1, "e", "5");
    expect(way, 1, "far", "6");
    expect(way, 1, "g", "7");
    stop();
}

static void test_databases(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++)
        move_and_copy(&ways[i]);
}

/* Into a database that is left out MOVE is a DEL, and COPY nothing: they say nothing of the key. */
static void test_database_left_out(void **state)
{
    (void)state;
    const struct ways *way = &ways[3]; /* without database 2 */
    struct test_cli cli;
    begin(&cli, way, "refetch");
    write_db(&source, 0, "MSET key:a 1 key:b 2");
    live_wait_level(&cli, &source);
    spoil(way, 0, "DEL %sa");
    write_db(&source, 0, "COPY key:b key:b2 DB 2");
    write_to(&source, "MOVE key:a 2");
    live_wait_level(&cli, &source);
    live_stop(&cli);
    assert_int_equal(diverged(&cli), 0);
    expect(way, 0, "a", NULL);
    expect(way, 0, "b", "2");
    stop();
}

static void test_database_policies(void **state)
{
    (void)state;
    struct test_cli cli;
    begin(&cli, &ways[0], "count");
    write_db(&source, 0, "SET key:a 1");
    live_wait_level(&cli, &source);
    spoil(&ways[0], 0, "DEL %sa");
    write_to(&source, "MOVE key:a 1");
    live_wait_level(&cli, &source);
    live_stop(&cli);
    assert_int_equal(live_total(&cli, "diverged_no_effect"), 1);
    assert_int_equal(live_total(&cli, "keys_refetched"), 0);
    stop();
    begin(&cli, &ways[0], "stop");
    write_db(&source, 0, "SET key:a 1");
    live_wait_level(&cli, &source);
    spoil(&ways[0], 0, "DEL %sa");
    write_to(&source, "MOVE key:a 1");
    live_expect_end(&cli, 7, "MOVE", "it changed nothing", "key hash", NULL);
    stop();
}

/* Larger than a batch, so that the first bytes are gone when it is answered. */
static void test_large_names(void **state)
{
    (void)state;
    struct test_cli cli;
    static char name[LARGE_BYTES];
    memset(name, 'x', sizeof(name));
    live_side_start(&source, TEST_REQUIRED_VERSION, 0, 0, NULL);
    live_side_start(&destination, TEST_REQUIRED_VERSION, 0, 0, NULL);
    live_spawn(&cli, &source, &destination, "--memory", "64mb", NULL);
    live_wait_phase(&cli, "live");
    redisContext *here = live_redis(&destination);
    redisContext *there = live_redis(&source);
    freeReplyObject(test_command(there, "SET %b 1", name, sizeof(name)));
    live_wait_level(&cli, &source);
    freeReplyObject(test_command(here, "DEL %b", name, sizeof(name)));
    freeReplyObject(test_command(there, "COPY %b small DB 1", name, sizeof(name)));
    freeReplyObject(test_command(there, "MOVE %b 2", name, sizeof(name)));
    wait_total(&cli, "diverged_no_effect", 1);
    live_wait_level(&cli, &source);
    live_stop(&cli);
    assert_int_equal(live_total(&cli, "diverged_unknown"), 0);
    live_assert_equal(&source, &destination);
    stop();
}

/* ---- slots ---- */

/* Commands over several slots of a cluster, which are done in pieces: what the pieces find. */
static const struct {
    const char *before[2], *spoilt, *then;
    const char *counter;
} pieces[] = {
    {{"RPUSH {t}l1 a b", "RPUSH m1 c"}, "SET {t}l1 x", "RPOPLPUSH {t}l1 m1", "relay"},
    {{"RPUSH l2 a b", "RPUSH {t}m2 c"}, "SET {t}m2 x", "RPOPLPUSH l2 {t}m2", "error"},
    {{"RPUSH l3 a b", "DEL {t}m3"}, "SET {t}m3 x", "RPOPLPUSH l3 {t}m3", "error"},
    {{"SADD {t}s1 a b", "SADD t1 c"}, "SREM {t}s1 a", "SMOVE {t}s1 t1 a", "no_effect"},
    {{"SADD {t}s2 a b", "SADD t2 c"}, "SET {t}s2 x", "SMOVE {t}s2 t2 a", "error"},
    {{"SADD s3 a b", "SADD {t}t3 c"}, "SET {t}t3 x", "SMOVE s3 {t}t3 a", "error"},
    {{"SADD {t}u1 a b", "SADD u2 c"}, "SET {t}u1 x", "SUNIONSTORE {t}u3 {t}u1 u2", "error"},
    {{"SET {t}r1 a", "DEL r2"}, "DEL {t}r1", "RENAME {t}r1 r2", "relay"},
};

static void test_slots(void **state)
{
    (void)state;
    struct test_cli cli;
    live_side_start(&source, TEST_REQUIRED_VERSION, 0, 0, NULL);
    live_side_start(&destination, TEST_REQUIRED_VERSION, 3, 0, NULL);
    live_spawn(&cli, &source, &destination, NULL);
    live_wait_phase(&cli, "live");
    for (size_t i = 0; i < sizeof(pieces) / sizeof(pieces[0]); i++) {
        char counter[40];
        snprintf(counter, sizeof(counter), "diverged_%s", pieces[i].counter);
        write_to(&source, pieces[i].before[0]);
        write_to(&source, pieces[i].before[1]);
        live_wait_level(&cli, &source);
        int64_t before = live_total(&cli, counter);
        write_to(&destination, pieces[i].spoilt);
        write_to(&source, pieces[i].then);
        uint64_t deadline = test_deadline(LIVE_WAIT_MS);
        while (live_total(&cli, counter) <= before)
            test_poll(deadline, pieces[i].then);
        live_wait_level(&cli, &source);
    }
    live_stop(&cli);
    assert_int_equal(live_total(&cli, "diverged_unknown"), 0);
    live_assert_equal(&source, &destination);
    stop();
}

/* ---- fields ---- */

static const char *const field_versions[] = {"redis-8.0", "valkey-9"};

/* Calls `test` with each version that is there, and with each kind of destination. */
static void each_version(void (*test)(const char *version, uint32_t masters))
{
    int runs = 0;
    for (size_t i = 0; i < sizeof(field_versions) / sizeof(field_versions[0]); i++) {
        if (!test_server_available(field_versions[i]))
            continue;
        for (uint32_t masters = 0; masters <= 3; masters += 3)
            test(field_versions[i], masters);
        runs++;
    }
    if (runs == 0)
        skip();
}

static void begin_fields(struct test_cli *cli, const char *version, uint32_t masters)
{
    live_side_start(&source, version, 0, 0, NULL);
    live_side_start(&destination, version, masters, 0, NULL);
    live_spawn(cli, &source, &destination, NULL);
    live_wait_phase(cli, "live");
}

static const struct {
    const char *before, *spoilt, *then;
    const char *counter;
    const char *only; /* that version; NULL: each */
} fields[] = {
    {"HSET {t}a f 1 g 1", "HDEL {t}a f", "HPEXPIREAT {t}a " FAR " FIELDS 1 f", "no_effect", NULL},
    {"HSET {t}b f 1 g 1", "DEL {t}b", "HPEXPIREAT {t}b " FAR " FIELDS 2 f g", "no_effect", NULL},
    {"HSET {t}c f 1 g 1", "HDEL {t}c f", "HPEXPIREAT {t}c " FAR " FIELDS 2 f g", "partial", NULL},
    {"HSET {t}d f 1 g 1",
     "HPEXPIREAT {t}d " FAR " FIELDS 1 f",
     "HPEXPIREAT {t}d " FAR " NX FIELDS 1 f",
     "no_effect",
     NULL},
    {"HSET {t}e f 1 g 1",
     "HPEXPIREAT {t}e 4102444800001 FIELDS 1 g",
     "HPEXPIREAT {t}e " FAR " NX FIELDS 2 f g",
     "partial",
     NULL},
    {"HSETEX {t}p PXAT " FAR " FIELDS 1 f 1",
     "HPERSIST {t}p FIELDS 1 f",
     "HPERSIST {t}p FIELDS 1 f",
     "no_effect",
     NULL},
    {"HSETEX {t}q PXAT " FAR " FIELDS 2 f 1 g 1",
     "HDEL {t}q f",
     "HPERSIST {t}q FIELDS 2 f g",
     "partial",
     NULL},
    {"HSETEX {t}r PXAT " FAR " FIELDS 2 f 1 g 1",
     "HDEL {t}r f",
     "HGETEX {t}r PERSIST FIELDS 2 f g",
     "partial",
     NULL},
    {"HSET {t}s f 1", "HDEL {t}s f", "HGETEX {t}s PXAT " FAR " FIELDS 1 f", "no_effect", NULL},
    {"HSET {t}x f 1", "DEL {t}x", "HSETEX {t}x FXX FIELDS 1 f 2", "no_effect", "redis-8.0"},
    {"HSET {t}w f 1", "SET {t}w x", "HPEXPIREAT {t}w " FAR " FIELDS 1 f", "error", NULL},
};

static void each_answer(const char *version, uint32_t masters)
{
    struct test_cli cli;
    begin_fields(&cli, version, masters);
    for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
        if (fields[i].only != NULL && strcmp(fields[i].only, version) != 0)
            continue;
        char counter[40];
        snprintf(counter, sizeof(counter), "diverged_%s", fields[i].counter);
        write_to(&source, fields[i].before);
        live_wait_level(&cli, &source);
        int64_t before = live_total(&cli, counter);
        write_to(&destination, fields[i].spoilt);
        for (int is_inside = 0; is_inside <= (i % 2 != 0); is_inside++) {
            if (is_inside == 0 && i % 2 != 0)
                write_to(&source, "MULTI"); /* every other one is in a transaction */
            else
                write_to(&source, fields[i].then);
        }
        if (i % 2 != 0) {
            write_to(&source, "INCR {t}counter");
            write_to(&source, "EXEC");
        }
        uint64_t deadline = test_deadline(LIVE_WAIT_MS);
        while (live_total(&cli, counter) <= before)
            test_poll(deadline, fields[i].then);
        live_wait_level(&cli, &source);
    }
    live_stop(&cli);
    assert_int_equal(live_total(&cli, "diverged_unknown"), 0);
    live_assert_equal(&source, &destination);
    stop();
}

static void test_fields(void **state)
{
    (void)state;
    each_version(each_answer);
}

/* What each version makes of these commands, on equal sides. Only Valkey sends fields that are not
 * there, or do not meet the condition, to its replicas; Redis those of HGETEX. */
static void equal_sides(const char *version, uint32_t masters)
{
    static const char *const commands[] = {
        "HSET {t}h a 1 b 2 c 3 d 4 e 5 f 6 g 7",
        "HEXPIRE {t}h 100000 FIELDS 2 a b",
        "HPEXPIRE {t}h 100000000 GT FIELDS 2 a b",
        "HPEXPIREAT {t}h " FAR " FIELDS 2 a nosuch",
        "HPEXPIREAT {t}h 4102444800001 NX FIELDS 2 a c",
        "HPEXPIREAT {t}h " FAR " FIELDS 2 nosuch nosuch2",
        "HPEXPIREAT {t}no " FAR " FIELDS 1 nosuch",
        "HPERSIST {t}h FIELDS 3 a d nosuch",
        "HPERSIST {t}h FIELDS 2 d c",
        "HPERSIST {t}h FIELDS 1 d",
        "HGETEX {t}h PXAT " FAR " FIELDS 2 d nosuch",
        "HGETEX {t}h PERSIST FIELDS 2 d nosuch",
        "HGETEX {t}h PXAT 1 FIELDS 2 d nosuch",
        "HPEXPIREAT {t}h 1 FIELDS 2 e nosuch",
        "HSETEX {t}h PXAT 1 FIELDS 1 f 9",
        "HSETEX {t}h PXAT 1 FIELDS 1 nosuch 9",
        "HSETEX {t}h FNX PXAT " FAR " FIELDS 1 n 9",
        "HSETEX {t}h FXX KEEPTTL FIELDS 1 n 10",
        "HGETDEL {t}h FIELDS 2 n nosuch",
        "HINCRBY {t}h b 1",
        "HEXPIRE {t}h 0 FIELDS 2 b g",
        "HSET {t}s a 1 b 2",
        "HPEXPIRE {t}s 30 FIELDS 2 a b",
        "MOVE {t}nosuch 1",
        "COPY {t}h {t}h2",
        "COPY {t}h {t}h2",
        "PFADD {t}l a b",
        "PFADD {t}l a",
        "ZADD {t}z XX INCR 1 a",
        "ZADD {t}z INCR 1 a",
        "XADD {t}y NOMKSTREAM * a 1",
        "XADD {t}y * a 1",
    };
    struct test_cli cli;
    begin_fields(&cli, version, masters);
    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
        write_to(&source, commands[i]);
        if (masters == 0) /* each by itself, and all together */
            live_wait_level(&cli, &source);
    }
    const struct timespec expired = {.tv_nsec = 100000000};
    nanosleep(&expired, NULL);
    write_to(&source, "SET {t}last 1");
    live_wait_level(&cli, &source);
    live_stop(&cli);
    assert_int_equal(diverged(&cli), 0);
    assert_true(live_total(&cli, "diverged_partial") > 0);
    live_assert_equal(&source, &destination);
    stop();
}

static void test_equal_sides(void **state)
{
    (void)state;
    each_version(equal_sides);
}

/* A field's time is over at a destination that is behind, before it learns that it was renewed.
 * Redis 8 may renew one that it has not removed yet; HPERSIST finds none. */
static void renewed(const char *version, uint32_t masters)
{
    struct test_cli cli;
    if (masters > 0)
        return; /* one server, to be stopped */
    begin_fields(&cli, version, masters);
    write_to(&source, "HSET {t}one f 1 g 1");
    write_to(&source, "HSET {t}two f 1 g 1");
    live_wait_level(&cli, &source);
    write_to(&source, "HPEXPIRE {t}one 3000 FIELDS 1 f");
    write_to(&source, "HPEXPIRE {t}two 3000 FIELDS 2 f g");
    live_wait_level(&cli, &source);
    test_server_freeze(&destination.server);
    write_to(&source, "HPEXPIREAT {t}one " FAR " FIELDS 1 f");
    write_to(&source, "HPERSIST {t}two FIELDS 1 g");
    write_to(&source, "HPEXPIREAT {t}two " FAR " FIELDS 2 f g");
    const struct timespec over = {.tv_sec = 3, .tv_nsec = 500000000};
    nanosleep(&over, NULL);
    test_server_thaw(&destination.server);
    wait_total(&cli, "diverged_no_effect", 1);
    live_wait_level(&cli, &source);
    live_stop(&cli);
    redisReply *reply = test_command(live_redis(&source), "HLEN {t}two");
    assert_int_equal(reply->integer, 2);
    freeReplyObject(reply);
    live_assert_equal(&source, &destination);
    stop();
}

static void test_field_renewed_late(void **state)
{
    (void)state;
    each_version(renewed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_databases),
        cmocka_unit_test(test_database_left_out),
        cmocka_unit_test(test_database_policies),
        cmocka_unit_test(test_large_names),
        cmocka_unit_test(test_slots),
        cmocka_unit_test(test_fields),
        cmocka_unit_test(test_equal_sides),
        cmocka_unit_test(test_field_renewed_late),
    };
    cmocka_set_test_filter(getenv("SYNCLINE_TEST_FILTER"));
    if (!test_cli_available())
        return 77;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
