/*
 * Exactly once (E1, E2, E6): the program is killed at any moment, its connections are cut, the
 * destination restarts, forgets or refuses; what is there afterwards must be what the source has,
 * key by key. The commands are of the kind that shows a repetition or a loss for ever.
 *
 * SYNCLINE_TORTURE_KILLS: kills per topology (5); SYNCLINE_TORTURE_SEED.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "apply/position.h"
#include "tests/live/live.h"
#include "tests/support/random.h"

static const char *const source_arguments[] = {"--repl-backlog-size",
                                               "512mb",
                                               "--client-output-buffer-limit",
                                               "replica 0 0 0",
                                               "--repl-diskless-sync-delay",
                                               "0",
                                               NULL};
static uint64_t seed;
static uint32_t kills;

/* ---- a writer of what must not be repeated ---- */

/* What its commands touch together. */
enum reach {
    REACH_SLOT,      /* keys of one slot                        */
    REACH_SLOTS,     /* of several                              */
    REACH_DATABASES, /* of several databases, too               */
};

struct hammer {
    pthread_t thread;
    uint16_t port;
    uint64_t seed;
    bool is_cross_slot;
    bool has_databases;
    atomic_bool is_stopping;
    _Atomic uint64_t count;
};

/* More commands than lie between two positions, each on a key of its own. */
static void hammer_transaction(struct test_client *client, struct random *state)
{
    char tag[24];
    snprintf(tag, sizeof(tag), "{%u}", (unsigned)random_below(state, 5));
    test_client_send(client, tag, "MULTI");
    for (int i = 0; i < 100; i++)
        test_client_send(client, tag, "INCR %s:%d", tag, i);
    test_client_send(client, tag, "EXEC");
}

/* Over several keys of any slots. */
static void hammer_across(struct test_client *client, struct random *state)
{
    static const char script[] =
        "redis.call('INCR', KEYS[1]) redis.call('APPEND', KEYS[2], ARGV[1])";
    int a = (int)random_below(state, 40);
    int b = (int)random_below(state, 40);
    int c = (int)random_below(state, 40);
    switch (random_below(state, 11)) {
    case 0:
    case 1:
        test_client_send(client, NULL, "SADD set:%d %d m%d", a, b, c);
        break;
    case 2:
        test_client_send(client, NULL, "RENAME set:%d set:%d", a, b);
        break;
    case 3:
        test_client_send(client, NULL, "SUNIONSTORE set:%d set:%d set:%d", a, b, c);
        break;
    case 4:
        test_client_send(client, NULL, "SMOVE set:%d set:%d %d", a, b, c);
        break;
    case 5:
        test_client_send(client, NULL, "COPY counter:%d counter:%d REPLACE", a, b);
        break;
    case 6:
        test_client_send(client, NULL, "MSETNX fresh:%d 1 fresh:%d 2", a, b);
        test_client_send(client, NULL, "DEL fresh:%d", c);
        break;
    case 7:
        test_client_send(client, NULL, "MULTI");
        test_client_send(client, NULL, "INCR counter:%d", a);
        test_client_send(client, NULL, "APPEND text:%d !", b);
        test_client_send(client, NULL, "RPOPLPUSH list:%d list:%d", a, c);
        test_client_send(client, NULL, "EXEC");
        break;
    case 8:
        test_client_send(client, NULL, "EVAL %s 2 counter:%d text:%d ?", script, a, b);
        break;
    case 9:
        test_client_send(client, NULL, "LPUSH list:%d %d", a, b);
        test_client_send(client, NULL, "RPOPLPUSH list:%d list:%d", a, c);
        break;
    default:
        test_client_send(client, NULL, "APPEND text:%d %d,", a, b);
        test_client_send(client, NULL, "RENAME text:%d text:%d", a, c);
        break;
    }
}

/* Between databases 0 to 3, of the names that these have. */
static void hammer_databases(struct test_client *client, struct random *state)
{
    int a = (int)random_below(state, 20);
    int b = (int)random_below(state, 20);
    int db = (int)random_below(state, 4);
    switch (random_below(state, 4)) {
    case 0:
        test_client_send(client, NULL, "COPY counter:%d counter:%d DB %d REPLACE", a, b, db);
        break;
    case 1:
        test_client_send(client, NULL, "COPY text:%d text:%d DB %d REPLACE", a, a, db);
        break;
    case 2:
        test_client_send(client, NULL, "MOVE counter:%d %d", a, db);
        break;
    default:
        test_client_send(client, NULL, "MOVE text:%d %d", a, db);
        break;
    }
    test_client_send(client, NULL, "INCR counter:%d", b);
    test_client_send(client, NULL, "APPEND text:%d %d,", b, a);
}

static void hammer_one(struct hammer *hammer, struct test_client *client, struct random *state)
{
    if (random_below(state, 300) == 0) {
        hammer_transaction(client, state);
        return;
    }
    if (hammer->is_cross_slot && random_below(state, 3) == 0) {
        hammer_across(client, state);
        return;
    }
    if (hammer->has_databases && random_below(state, 3) == 0) {
        hammer_databases(client, state);
        return;
    }
    char a[40], b[40];
    uint64_t n = random_below(state, 2000);
    uint64_t m = random_below(state, 200);
    uint64_t tag = hammer->is_cross_slot ? random_below(state, 1000000) : m % 50;
    switch (random_below(state, 9)) {
    case 0:
    case 1:
        snprintf(a, sizeof(a), "counter:%llu", (unsigned long long)n);
        test_client_send(client, a, "INCR %s", a);
        break;
    case 2:
        snprintf(a, sizeof(a), "text:%llu", (unsigned long long)m);
        test_client_send(client, a, "APPEND %s %llu,", a, (unsigned long long)n);
        break;
    case 3:
    case 4:
        snprintf(
            a, sizeof(a), "{%llu}list:%llu", (unsigned long long)(m % 50), (unsigned long long)m);
        test_client_send(client, a, "LPUSH %s %llu", a, (unsigned long long)n);
        break;
    case 5:
        /* Of the same slot, or with is_cross_slot of any. */
        tag = hammer->is_cross_slot ? tag % 50 : m % 50;
        snprintf(
            a, sizeof(a), "{%llu}list:%llu", (unsigned long long)(m % 50), (unsigned long long)m);
        snprintf(b, sizeof(b), "{%llu}list:%llu", (unsigned long long)tag, (unsigned long long)tag);
        test_client_send(client, a, "RPOPLPUSH %s %s", a, b);
        break;
    case 6:
        snprintf(a, sizeof(a), "hash:%llu", (unsigned long long)m);
        test_client_send(client, a, "HINCRBY %s f%llu 3", a, (unsigned long long)(n % 7));
        break;
    case 7:
        snprintf(
            a, sizeof(a), "{%llu}list:%llu", (unsigned long long)(m % 50), (unsigned long long)m);
        test_client_send(client, a, "RPOP %s", a);
        break;
    default:
        snprintf(a, sizeof(a), "string:%llu", (unsigned long long)n);
        test_client_send(client, a, "SET %s %llu", a, (unsigned long long)m);
        break;
    }
}

static void *hammer_main(void *arg)
{
    struct hammer *hammer = arg;
    struct test_client *client = test_client_new(hammer->port);
    struct random state = {.state = hammer->seed};
    while (!atomic_load(&hammer->is_stopping)) {
        for (int i = 0; i < 200; i++)
            hammer_one(hammer, client, &state);
        if (hammer->has_databases)
            test_client_send(client, NULL, "SELECT %d", (int)random_below(&state, 4));
        test_client_flush(client);
        atomic_fetch_add(&hammer->count, 200);
    }
    test_client_free(client);
    return NULL;
}

static void hammer_start(struct hammer *hammer, uint16_t port, enum reach reach)
{
    *hammer = (struct hammer){.port = port,
                              .seed = seed++,
                              .is_cross_slot = reach != REACH_SLOT,
                              .has_databases = reach == REACH_DATABASES};
    if (pthread_create(&hammer->thread, NULL, hammer_main, hammer) != 0)
        test_fatal("no thread for a writer");
}

static void hammer_stop(struct hammer *hammer)
{
    atomic_store(&hammer->is_stopping, true);
    pthread_join(hammer->thread, NULL);
}

static void hammer_more(struct hammer *hammer, uint64_t count)
{
    uint64_t until = atomic_load(&hammer->count) + count;
    uint64_t deadline = test_deadline(LIVE_WAIT_MS);
    while (atomic_load(&hammer->count) < until)
        test_poll(deadline, "the writer");
}

/* A cluster takes only database 0. */
static void load(struct live_side *source, const struct live_side *destination, uint32_t count)
{
    dataset_load(source->client, seed++, count);
    for (int db = 1; !source->is_cluster && destination->is_cluster && db < 16; db++) {
        test_command_ok(live_redis(source), "SELECT %d", db);
        test_command_ok(live_redis(source), "FLUSHDB");
    }
    if (!source->is_cluster)
        test_command_ok(live_redis(source), "SELECT 0");
}

/* ---- kill -9 ---- */

static void pause_ms(uint64_t ms)
{
    struct timespec time = {.tv_sec = (time_t)(ms / 1000), .tv_nsec = (long)(ms % 1000) * 1000000};
    nanosleep(&time, NULL);
}

/* With one shard that does not answer, everything that waits for it still waits, and the positions
 * of the others have passed it. */
static void
kill_while_waiting(struct live_side *destination, struct test_cli *cli, struct random *state)
{
    uint32_t masters = destination->cluster.master_count;
    struct test_server *shard = &destination->cluster.nodes[random_below(state, masters)];
    test_server_freeze(shard);
    pause_ms(20 + random_below(state, 300));
    test_cli_kill(cli);
    test_server_thaw(shard);
}

/* Kills it again and again under load; only the first run may make a full copy. */
static void torture(struct live_side *source,
                    struct live_side *destination,
                    enum reach reach,
                    const char *const words[3][2])
{
    struct hammer hammer;
    struct test_cli cli;
    struct random state = {.state = seed++};
    load(source, destination, 20);
    live_spawn(&cli, source, destination, NULL);
    live_wait_phase(&cli, "live");
    hammer_start(&hammer, live_port(source), reach);
    hammer_more(&hammer, 10000);
    for (uint32_t i = 0; i < kills; i++) {
        pause_ms(random_below(&state, 700));
        if (destination->is_cluster && i % 2 == 0)
            kill_while_waiting(destination, &cli, &state);
        else
            test_cli_kill(&cli);
        pause_ms(random_below(&state, 3) == 0 ? random_below(&state, 300) : 0);
        const char *const *more = words[i % 3];
        live_spawn(&cli, source, destination, more[0], more[1], NULL);
        hammer_more(&hammer, 2000);
    }
    live_wait_phase(&cli, "live");
    hammer_more(&hammer, 5000);
    hammer_stop(&hammer);
    live_wait_level(&cli, source);
    assert_int_equal(live_streams_sum(&cli, "snapshots"), 0);
    live_stop(&cli);
    live_assert_equal(source, destination);
}

static const char *const same[3][2] = {{NULL}, {NULL}, {NULL}};
static const char *const others[3][2] = {{"--lanes", "2"}, {"--lanes", "1"}, {"--lanes", "3"}};

static void torture_pair(uint32_t source_masters,
                         uint32_t destination_masters,
                         enum reach reach,
                         const char *const words[3][2])
{
    struct live_side source, destination;
    live_side_start(&source, TEST_REQUIRED_VERSION, source_masters, 0, source_arguments);
    live_side_start(&destination, TEST_REQUIRED_VERSION, destination_masters, 0, NULL);
    torture(&source, &destination, reach, words);
    live_side_stop(&source);
    live_side_stop(&destination);
}

static void test_killed_standalone(void **state)
{
    (void)state;
    torture_pair(0, 0, REACH_SLOTS, same);
}

/* COPY and MOVE between databases: each has a key in two of them. */
static void test_killed_databases(void **state)
{
    (void)state;
    torture_pair(0, 0, REACH_DATABASES, others);
}

static void test_killed_cluster(void **state)
{
    (void)state;
    torture_pair(3, 3, REACH_SLOT, same);
}

static void test_killed_standalone_to_cluster(void **state)
{
    (void)state;
    torture_pair(0, 3, REACH_SLOTS, same);
}

/* Restarted with another number of lanes: positions tell for which slots they speak. */
static void test_killed_other_lanes(void **state)
{
    (void)state;
    torture_pair(0, 2, REACH_SLOTS, others);
    torture_pair(0, 0, REACH_SLOT, others);
}

/* ---- relays that wait ---- */

#define PAIRS 12

/* A name of the n-th key of this kind whose shard of three it is. */
static void key_at(uint32_t shard, const char *kind, int n, char key[48])
{
    for (int i = 0;; i++) {
        size_t size = (size_t)snprintf(key, 48, "%s:%d:%d", kind, n, i);
        if (slot_of_key(key, size) * 3 / SLOT_COUNT == shard)
            return;
    }
}

/* Commands whose operands are on the first shard and whose targets are on the second, and others
 * that wait behind them. */
static void send_waiting(struct test_client *client, int n)
{
    char from[48], to[48], set[48], sum[48], old[48], new[48];
    key_at(0, "from", n, from), key_at(1, "to", n, to);
    key_at(0, "set", n, set), key_at(1, "sum", n, sum);
    key_at(0, "old", n, old), key_at(1, "new", n, new);
    test_client_send(client, NULL, "RPOPLPUSH %s %s", from, to);
    test_client_send(client, NULL, "SUNIONSTORE %s %s %s", sum, set, sum);
    test_client_send(client, NULL, "RENAME %s %s", old, new);
    test_client_send(client, NULL, "APPEND %s behind", new);
    if (n % 2 == 0) {
        test_client_send(client, NULL, "MULTI");
        test_client_send(client, NULL, "RPUSH %s in-a-transaction", to);
        test_client_send(client, NULL, "LPUSH %s %d", to, n);
        test_client_send(client, NULL, "EXEC");
    }
}

static void fill_waiting(struct test_client *client, int n)
{
    char key[48];
    key_at(0, "from", n, key);
    test_client_send(client, NULL, "RPUSH %s a b c", key);
    key_at(1, "to", n, key);
    test_client_send(client, NULL, "RPUSH %s 1 2", key);
    key_at(0, "set", n, key);
    test_client_send(client, NULL, "SADD %s x y %d", key, n);
    key_at(1, "sum", n, key);
    test_client_send(client, NULL, "SADD %s z", key);
    key_at(0, "old", n, key);
    test_client_send(client, NULL, "SET %s before", key);
}

/* Killed while the first shard does not answer, so that every key of the second that needs one of
 * its keys is held; positions of the second have long passed them. Nothing else touches those keys,
 * so nothing but their names makes them whole again. */
static void test_killed_while_relays_wait(void **state)
{
    (void)state;
    struct live_side source, destination;
    struct test_cli cli;
    live_side_start(&source, TEST_REQUIRED_VERSION, 0, 0, source_arguments);
    live_side_start(&destination, TEST_REQUIRED_VERSION, 3, 0, NULL);
    for (int n = 0; n < PAIRS; n++)
        fill_waiting(source.client, n);
    test_client_flush(source.client);
    live_spawn(&cli, &source, &destination, NULL);
    live_wait_phase(&cli, "live");
    live_wait_level(&cli, &source);
    for (int round = 0; round < 2; round++) {
        test_server_freeze(&destination.cluster.nodes[0]);
        for (int n = 0; n < PAIRS; n++)
            send_waiting(source.client, n);
        for (int i = 0; i < 300; i++) {
            char key[48];
            key_at(1 + (uint32_t)i % 2, "counter", i % 7, key);
            test_client_send(source.client, NULL, "INCR %s", key);
        }
        test_client_flush(source.client);
        uint64_t deadline = test_deadline(LIVE_WAIT_MS);
        while (live_total(&cli, "held") < 3 * PAIRS)
            test_poll(deadline, "held keys");
        pause_ms(3 * POSITION_INTERVAL_MS);
        test_cli_kill(&cli);
        test_server_thaw(&destination.cluster.nodes[0]);
        live_spawn(&cli, &source, &destination, NULL);
        live_wait_phase(&cli, "live");
        live_wait_level(&cli, &source);
        assert_true(live_total(&cli, "keys_refetched") >= 3 * PAIRS);
        assert_int_equal(live_streams_sum(&cli, "snapshots"), 0);
        live_assert_equal(&source, &destination);
        for (int n = 0; n < PAIRS; n++)
            fill_waiting(source.client, n);
        test_client_flush(source.client);
        live_wait_level(&cli, &source);
    }
    live_stop(&cli);
    live_assert_equal(&source, &destination);
    live_side_stop(&source);
    live_side_stop(&destination);
}

/* ---- the destination fails ---- */

/* Every connection to it is cut, while operations are in flight. */
static void test_connections_cut(void **state)
{
    (void)state;
    for (uint32_t masters = 0; masters <= 3; masters += 3) {
        struct live_side source, destination;
        struct hammer hammer;
        struct test_cli cli;
        live_side_start(&source, TEST_REQUIRED_VERSION, 0, 0, source_arguments);
        live_side_start(&destination, TEST_REQUIRED_VERSION, masters, 0, NULL);
        load(&source, &destination, 10);
        live_spawn(&cli, &source, &destination, NULL);
        live_wait_phase(&cli, "live");
        hammer_start(&hammer, live_port(&source), REACH_SLOTS);
        for (int i = 0; i < 6; i++) {
            hammer_more(&hammer, 5000);
            for (uint32_t n = 0; n < test_client_count(destination.client); n++)
                test_command_ok(test_client_at(destination.client, n), "CLIENT KILL TYPE normal");
            live_wait_phase(&cli, "live");
        }
        hammer_stop(&hammer);
        live_wait_level(&cli, &source);
        assert_true(live_total(&cli, "restarts") > 0);
        assert_int_equal(live_streams_sum(&cli, "snapshots"), 0);
        live_stop(&cli);
        live_assert_equal(&source, &destination);
        live_side_stop(&source);
        live_side_stop(&destination);
    }
}

/* With an AOF it comes back without the last moments: data and positions go back together. */
static void test_destination_restarts(void **state)
{
    (void)state;
    struct live_side source, destination;
    struct hammer hammer;
    struct test_cli cli;
    live_side_start(&source, TEST_REQUIRED_VERSION, 0, 0, source_arguments);
    live_side_start(&destination,
                    TEST_REQUIRED_VERSION,
                    0,
                    0,
                    (const char *[]){"--appendonly", "yes", "--appendfsync", "everysec", NULL});
    load(&source, &destination, 10);
    live_spawn(&cli, &source, &destination, NULL);
    live_wait_phase(&cli, "live");
    hammer_start(&hammer, live_port(&source), REACH_SLOTS);
    for (int i = 0; i < 3; i++) {
        hammer_more(&hammer, 20000);
        test_server_kill(&destination.server);
        pause_ms(300);
        test_server_restart(&destination.server);
        live_wait_phase(&cli, "live");
    }
    hammer_stop(&hammer);
    live_wait_level(&cli, &source);
    assert_int_equal(live_streams_sum(&cli, "snapshots"), 0);
    live_stop(&cli);
    test_client_free(destination.client);
    destination.client = test_client_new(live_port(&destination));
    live_assert_equal(&source, &destination);
    live_side_stop(&source);
    live_side_stop(&destination);
}

/* Without persistence everything is gone, the positions too: a new full copy, by itself. */
static void test_destination_forgets(void **state)
{
    (void)state;
    struct live_side source, destination;
    struct hammer hammer;
    struct test_cli cli;
    live_side_start(&source, TEST_REQUIRED_VERSION, 0, 0, source_arguments);
    live_side_start(&destination, TEST_REQUIRED_VERSION, 0, 0, NULL);
    load(&source, &destination, 10);
    live_spawn(&cli, &source, &destination, NULL);
    live_wait_phase(&cli, "live");
    hammer_start(&hammer, live_port(&source), REACH_SLOTS);
    hammer_more(&hammer, 10000);
    test_server_kill(&destination.server);
    test_server_restart(&destination.server);
    live_wait_phase(&cli, "live");
    hammer_more(&hammer, 10000);
    hammer_stop(&hammer);
    live_wait_level(&cli, &source);
    assert_int_equal(live_streams_sum(&cli, "snapshots"), 1);
    live_stop(&cli);
    test_client_free(destination.client);
    destination.client = test_client_new(live_port(&destination));
    live_assert_equal(&source, &destination);
    live_side_stop(&source);
    live_side_stop(&destination);
}

/* OOM: nothing is lost or repeated, and it goes on by itself once there is room. */
static void test_out_of_memory(void **state)
{
    (void)state;
    for (uint32_t masters = 0; masters <= 2; masters += 2) {
        struct live_side source, destination;
        struct hammer hammer;
        struct test_cli cli;
        live_side_start(&source, TEST_REQUIRED_VERSION, 0, 0, source_arguments);
        live_side_start(&destination, TEST_REQUIRED_VERSION, masters, 0, NULL);
        load(&source, &destination, 10);
        live_spawn(&cli, &source, &destination, NULL);
        live_wait_phase(&cli, "live");
        hammer_start(&hammer, live_port(&source), REACH_SLOTS);
        hammer_more(&hammer, 3000);
        for (uint32_t n = 0; n < test_client_count(destination.client); n++)
            test_command_ok(test_client_at(destination.client, n), "CONFIG SET maxmemory 1mb");
        live_wait_phase(&cli, "retrying");
        hammer_more(&hammer, 3000);
        for (uint32_t n = 0; n < test_client_count(destination.client); n++)
            test_command_ok(test_client_at(destination.client, n), "CONFIG SET maxmemory 0");
        live_wait_phase(&cli, "live");
        hammer_stop(&hammer);
        live_wait_level(&cli, &source);
        assert_int_equal(live_streams_sum(&cli, "snapshots"), 0);
        live_stop(&cli);
        live_assert_equal(&source, &destination);
        live_side_stop(&source);
        live_side_stop(&destination);
    }
}

/* ---- barriers ---- */

/* Commands over all keys and over databases, killed around them. */
static void test_killed_at_barriers(void **state)
{
    (void)state;
    for (uint32_t masters = 0; masters <= 2; masters += 2) {
        struct live_side source, destination;
        struct test_cli cli;
        struct random random = {.state = seed++};
        live_side_start(&source, TEST_REQUIRED_VERSION, 0, 0, source_arguments);
        live_side_start(&destination, TEST_REQUIRED_VERSION, masters, 0, NULL);
        redisContext *redis = live_redis(&source);
        test_command_ok(redis, "SET first 1");
        live_spawn(&cli, &source, &destination, NULL);
        live_wait_phase(&cli, "live");
        for (uint32_t i = 0; i < 4 * kills; i++) {
            for (int n = 0; n < 300; n++)
                redisAppendCommand(redis, "INCR k:%d", (int)random_below(&random, 20));
            redisAppendCommand(
                redis, masters > 0 || i % 4 == 0 ? "FLUSHALL" : "SWAPDB 0 %d", i % 4);
            for (int n = 0; n < 300; n++)
                redisAppendCommand(redis, "APPEND t:%d x", (int)random_below(&random, 20));
            for (int n = 0; n < 601; n++) {
                redisReply *reply = NULL;
                assert_int_equal(redisGetReply(redis, (void **)&reply), REDIS_OK);
                assert_int_not_equal(reply->type, REDIS_REPLY_ERROR);
                freeReplyObject(reply);
            }
            if (i % 4 == 3) {
                pause_ms(random_below(&random, 20));
                test_cli_kill(&cli);
                live_spawn(&cli, &source, &destination, NULL);
            }
        }
        live_wait_phase(&cli, "live");
        live_wait_level(&cli, &source);
        assert_int_equal(live_streams_sum(&cli, "snapshots"), 0);
        live_stop(&cli);
        live_assert_equal(&source, &destination);
        live_side_stop(&source);
        live_side_stop(&destination);
    }
}

/* ---- starting again ---- */

static void test_starts(void **state)
{
    (void)state;
    struct live_side source, destination;
    struct test_cli first, second;
    live_side_start(&source, TEST_REQUIRED_VERSION, 0, 0, source_arguments);
    live_side_start(&destination, TEST_REQUIRED_VERSION, 0, 0, NULL);
    redisContext *redis = live_redis(&source);
    load(&source, &destination, 10);
    live_spawn(&first, &source, &destination, NULL);
    live_wait_phase(&first, "live");
    test_command_ok(redis, "INCR counter");
    live_wait_level(&first, &source);

    /* A second run takes over; the first one notices and ends. */
    live_spawn(&second, &source, &destination, NULL);
    live_wait_phase(&second, "live");
    live_expect_end(&first, 4, "has taken over", NULL);
    test_command_ok(redis, "INCR counter");
    live_wait_level(&second, &source);
    assert_int_equal(live_streams_sum(&second, "snapshots"), 0);
    live_stop(&second);

    /* After an ordered end it goes on as well, also with --once, which leaves no trace. */
    test_command_ok(redis, "INCR counter");
    assert_int_equal(live_run(NULL, &source, &destination, "--once", NULL), 0);
    live_assert_equal(&source, &destination);
    assert_int_equal(test_command_integer(live_redis(&destination), "EXISTS syncline:position"), 0);
    /* So now nothing is known of the keys there. */
    char *errors;
    assert_int_equal(live_run(&errors, &source, &destination, NULL), 4);
    live_expect_texts(errors, "not empty", NULL);
    free(errors);
    live_side_stop(&source);
    live_side_stop(&destination);
}

/* --restart copies everything again, and what the source no longer has goes. */
static void test_restart(void **state)
{
    (void)state;
    struct live_side source, destination;
    struct test_cli cli;
    live_side_start(&source, TEST_REQUIRED_VERSION, 0, 0, source_arguments);
    live_side_start(&destination, TEST_REQUIRED_VERSION, 0, 0, NULL);
    load(&source, &destination, 10);
    test_command_ok(live_redis(&source), "SET gone 1");
    live_spawn(&cli, &source, &destination, NULL);
    live_wait_phase(&cli, "live");
    live_wait_level(&cli, &source);
    test_cli_kill(&cli);
    test_command_ok(live_redis(&source), "DEL gone");
    live_spawn(&cli, &source, &destination, "--restart", NULL);
    live_wait_phase(&cli, "live");
    live_wait_level(&cli, &source);
    assert_int_equal(live_streams_sum(&cli, "snapshots"), 1);
    live_stop(&cli);
    live_assert_equal(&source, &destination);
    live_side_stop(&source);
    live_side_stop(&destination);
}

/* Killed in the middle of the snapshot: the next start knows whose keys these are. */
static void test_killed_in_snapshot(void **state)
{
    (void)state;
    struct live_side source, destination;
    struct test_cli cli;
    live_side_start(&source, TEST_REQUIRED_VERSION, 0, 0, source_arguments);
    live_side_start(&destination, TEST_REQUIRED_VERSION, 2, 0, NULL);
    test_command_ok(live_redis(&source), "DEBUG POPULATE 400000 key 100");
    live_spawn(&cli, &source, &destination, NULL);
    uint64_t deadline = test_deadline(LIVE_WAIT_MS);
    while (live_total(&cli, "keys") < 1000)
        test_poll(deadline, "some keys");
    test_cli_kill(&cli);
    test_command_ok(live_redis(&source), "DEL key:1 key:2 key:3");
    assert_int_equal(live_run(NULL, &source, &destination, "--once", NULL), 0);
    live_assert_equal(&source, &destination);
    live_side_stop(&source);
    live_side_stop(&destination);
}

int main(void)
{
    const char *wanted_kills = getenv("SYNCLINE_TORTURE_KILLS");
    const char *wanted_seed = getenv("SYNCLINE_TORTURE_SEED");
    kills = wanted_kills != NULL ? (uint32_t)strtoul(wanted_kills, NULL, 10) : 5;
    seed = wanted_seed != NULL ? strtoull(wanted_seed, NULL, 10) : (uint64_t)time(NULL) * 1000;
    fprintf(stderr, "SYNCLINE_TORTURE_SEED=%llu\n", (unsigned long long)seed);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_killed_standalone),
        cmocka_unit_test(test_killed_databases),
        cmocka_unit_test(test_killed_cluster),
        cmocka_unit_test(test_killed_standalone_to_cluster),
        cmocka_unit_test(test_killed_other_lanes),
        cmocka_unit_test(test_killed_while_relays_wait),
        cmocka_unit_test(test_connections_cut),
        cmocka_unit_test(test_destination_restarts),
        cmocka_unit_test(test_destination_forgets),
        cmocka_unit_test(test_out_of_memory),
        cmocka_unit_test(test_killed_at_barriers),
        cmocka_unit_test(test_starts),
        cmocka_unit_test(test_restart),
        cmocka_unit_test(test_killed_in_snapshot),
    };
    cmocka_set_test_filter(getenv("SYNCLINE_TEST_FILTER"));
    if (!test_cli_available())
        return 77;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
