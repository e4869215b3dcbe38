/*
 * Slots of the destination that move (E2, E6): what is written there meanwhile is written once, in
 * order, and while the slot is on its way, not only afterwards; starts, and starts behind a kill,
 * do not wait for its end either. In the end both sides are equal, key by key.
 *
 * What could break: an operation answered ASK is lost, repeated, or passed by a later one on its
 * key; positions, or names of keys that need repair, are not found because their own slot moves; a
 * position behind an operation that was refused is believed.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/clock.h"
#include "core/base/slot.h"
#include "tests/live/hammer.h"
#include "tests/live/live.h"
#include "tests/live/slot_move.h"
#include "tests/support/random.h"

#define MASTERS 3
#define KEYS 40

/* All in one slot. */
static void send_kinds(struct live_side *source, int first, int count)
{
    for (int i = first; i < first + count; i++) {
        test_client_send(source->client, "{t}", "INCR {t}counter:%d", i);
        test_client_send(source->client, "{t}", "LPUSH {t}list:%d %d %d", i, i, i + 1);
        test_client_send(source->client, "{t}", "SET {t}string:%d %d", i, i);
        test_client_send(source->client, "{t}", "APPEND {t}text:%d %d,", i, i);
        test_client_send(source->client, "{t}", "HINCRBY {t}hash:%d f %d", i, i);
    }
    test_client_flush(source->client);
}

static uint16_t slot_of_kinds(void)
{
    return slot_of_key("{t}", 3);
}

static uint32_t other_master(const struct live_side *destination, uint16_t slot)
{
    return (slot_owner(&destination->cluster, slot) + 1) % MASTERS;
}

static void sides_start(struct live_side *source, struct live_side *destination, uint32_t masters)
{
    static const char *const arguments[] = {
        "--repl-backlog-size", "512mb", "--client-output-buffer-limit", "replica 0 0 0", NULL};
    live_side_start(source, TEST_REQUIRED_VERSION, masters, 0, arguments);
    live_side_start(destination, TEST_REQUIRED_VERSION, MASTERS, 0, NULL);
}

static void expect_equal(const struct live_side *source, struct live_side *destination)
{
    test_client_free(destination->client); /* it knows the slots as they were */
    destination->client = test_client_new(live_port(destination));
    live_assert_equal(source, destination);
}

/* Keys that have left, that have not, and that are new, while the slot stays half-way: the running
 * program goes on, one that is killed is followed by one that goes on, and one that ends in order
 * too, all before the slot has moved. */
static void test_half_way(void **state)
{
    (void)state;
    struct live_side source, destination;
    struct slot_move move;
    struct test_cli cli;
    sides_start(&source, &destination, 2);
    send_kinds(&source, 0, KEYS);
    live_spawn(&cli, &source, &destination, NULL);
    live_wait_phase(&cli, "live");
    slot_move_begin(
        &move, &destination.cluster, slot_of_kinds(), other_master(&destination, slot_of_kinds()));
    slot_move_keys(&move, KEYS * 5 / 2);
    send_kinds(&source, 0, KEYS * 2);
    live_wait_level(&cli, &source);
    assert_int_equal(live_total(&cli, "restarts"), 0);
    test_cli_kill(&cli);
    send_kinds(&source, 0, KEYS * 3);
    live_spawn(&cli, &source, &destination, NULL);
    live_wait_level(&cli, &source);
    send_kinds(&source, 0, KEYS * 3);
    live_wait_level(&cli, &source);
    assert_int_equal(live_streams_sum(&cli, "snapshots"), 0);
    live_stop(&cli);
    send_kinds(&source, KEYS, KEYS);
    live_spawn(&cli, &source, &destination, NULL);
    live_wait_level(&cli, &source);
    assert_int_equal(live_streams_sum(&cli, "snapshots"), 0);
    slot_move_end(&move);
    send_kinds(&source, 0, KEYS * 3);
    live_wait_level(&cli, &source);
    assert_int_equal(live_total(&cli, "diverged"), 0);
    live_stop(&cli);
    expect_equal(&source, &destination);
    live_side_stop(&source);
    live_side_stop(&destination);
}

/* The slot of the hash in which a lane's position stands is the one that moves, with the position
 * in it or still before it, and with the program killed at each step. */
static void test_slot_of_a_position(void **state)
{
    (void)state;
    struct live_side source, destination;
    struct test_cli cli;
    sides_start(&source, &destination, 0);
    send_kinds(&source, 0, KEYS);
    live_spawn(&cli, &source, &destination, NULL);
    live_wait_phase(&cli, "live");
    for (uint32_t i = 0; i < MASTERS; i++) {
        struct slot_move move;
        uint16_t first = (uint16_t)((i * SLOT_COUNT + MASTERS - 1) / MASTERS);
        uint16_t slot = first;
        while (slot_owner(&destination.cluster, slot) != i)
            slot++; /* how the servers rounded is theirs */
        slot_move_begin(&move, &destination.cluster, slot, (i + 1) % MASTERS);
        for (int step = 0; step < 3; step++) {
            send_kinds(&source, step, KEYS);
            live_wait_level(&cli, &source);
            test_cli_kill(&cli);
            send_kinds(&source, step, KEYS);
            if (step == 0)
                slot_move_keys(&move, 1000);
            if (step == 1)
                slot_move_end(&move);
            live_spawn(&cli, &source, &destination, NULL);
            live_wait_phase(&cli, "live");
        }
    }
    live_wait_level(&cli, &source);
    assert_int_equal(live_streams_sum(&cli, "snapshots"), 0);
    live_stop(&cli);
    expect_equal(&source, &destination);
    live_side_stop(&source);
    live_side_stop(&destination);
}

/* A full copy into a slot that is half-way: strings that would go together go alone. The second
 * time there are keys on both sides already. */
static void test_full_copy(void **state)
{
    (void)state;
    struct live_side source, destination;
    struct slot_move move;
    struct test_cli cli;
    sides_start(&source, &destination, 0);
    send_kinds(&source, 0, KEYS * 10);
    slot_move_begin(
        &move, &destination.cluster, slot_of_kinds(), other_master(&destination, slot_of_kinds()));
    for (int i = 0; i < 2; i++) {
        live_spawn(&cli, &source, &destination, i == 0 ? NULL : "--restart", NULL);
        live_wait_phase(&cli, "live");
        send_kinds(&source, 0, KEYS * 11);
        live_wait_level(&cli, &source);
        assert_int_equal(live_total(&cli, "restarts"), 0);
        live_stop(&cli);
    }
    slot_move_end(&move);
    expect_equal(&source, &destination);
    live_side_stop(&source);
    live_side_stop(&destination);
}

/* Makes a replica a master without slots. */
static void make_idle(const struct test_cluster *cluster, uint32_t node)
{
    redisContext *redis = test_connect(cluster->nodes[node].port);
    redisContext *first = test_connect(cluster->nodes[0].port);
    redisReply *id = test_command(redis, "CLUSTER MYID");
    test_command_ok(redis, "CLUSTER RESET SOFT");
    test_command_ok(redis,
                    "CLUSTER MEET 127.0.0.1 %d %d",
                    cluster->nodes[0].port,
                    cluster->nodes[0].port + 10000);
    uint64_t deadline = test_deadline(LIVE_WAIT_MS);
    for (bool is_known = false; !is_known;) {
        redisReply *nodes = test_command(first, "CLUSTER NODES");
        const char *line = strstr(nodes->str, id->str);
        const char *end = line == NULL ? NULL : strchr(line, '\n');
        const char *role = line == NULL ? NULL : strstr(line, " master ");
        is_known = role != NULL && role < end;
        freeReplyObject(nodes);
        redisReply *info = test_command(redis, "CLUSTER INFO");
        char known[40];
        snprintf(known, sizeof(known), "cluster_known_nodes:%u\r", cluster->node_count);
        is_known = is_known && strstr(info->str, known) != NULL &&
                   strstr(info->str, "cluster_state:ok") != NULL;
        freeReplyObject(info);
        test_poll(deadline, "a master without slots");
    }
    freeReplyObject(id);
    redisFree(first);
    redisFree(redis);
}

/* The importing node has no slots yet. A run that stands still half-way is taken over, and writes
 * nothing more when it goes on, there neither. */
static void test_new_master(void **state)
{
    (void)state;
    struct live_side source, destination;
    struct slot_move move;
    struct test_cli first, second;
    live_side_start(&source, TEST_REQUIRED_VERSION, 0, 0, NULL);
    live_side_start(&destination, TEST_REQUIRED_VERSION, MASTERS, 1, NULL);
    make_idle(&destination.cluster, MASTERS);
    send_kinds(&source, 0, KEYS);
    slot_move_begin(&move, &destination.cluster, slot_of_kinds(), MASTERS);
    live_spawn(&first, &source, &destination, NULL);
    live_wait_phase(&first, "live");
    send_kinds(&source, 0, KEYS);
    live_wait_level(&first, &source);
    test_cli_signal(&first, SIGSTOP);
    send_kinds(&source, 0, KEYS * 2);
    live_spawn(&second, &source, &destination, NULL);
    live_wait_level(&second, &source);
    test_cli_signal(&first, SIGCONT);
    send_kinds(&source, 0, KEYS * 2);
    live_expect_end(&first, 4, "has taken over", NULL);
    live_wait_level(&second, &source);
    assert_int_equal(live_streams_sum(&second, "snapshots"), 0);
    slot_move_end(&move);
    send_kinds(&source, 0, KEYS);
    live_wait_level(&second, &source);
    live_stop(&second);
    expect_equal(&source, &destination);
    live_side_stop(&source);
    live_side_stop(&destination);
}

/* Values and operations larger than a batch, of which a part has gone back before the answer. */
static void test_large_values(void **state)
{
    (void)state;
    static char text[300000];
    struct live_side source, destination;
    struct slot_move move;
    struct test_cli cli;
    struct random random = {.state = 160};
    for (size_t i = 0; i < sizeof(text); i++) /* else DUMP makes it small */
        text[i] = (char)random_below(&random, 256);
    sides_start(&source, &destination, 0);
    live_spawn(&cli, &source, &destination, NULL);
    live_wait_phase(&cli, "live");
    slot_move_begin(
        &move, &destination.cluster, slot_of_kinds(), other_master(&destination, slot_of_kinds()));
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < 40; i++) {
            size_t size = (size_t)(i % 4) * 100000 + (size_t)(i * i * 7 % 65536);
            size = size < sizeof(text) ? size : sizeof(text);
            test_client_send(source.client, "{t}", "APPEND {t}large:%d %b", i, text, size);
            test_client_send(source.client, "{t}", "RPUSH {t}pieces:%d a %b", i, text, size);
            test_client_send(source.client, "{t}", "INCR {t}between:%d", i % 5);
        }
        test_client_flush(source.client);
        live_wait_level(&cli, &source);
        assert_int_equal(live_streams_sum(&cli, "snapshots"), 0);
        slot_move_keys(&move, 10);
        test_cli_kill(&cli);
        live_spawn(&cli, &source, &destination, NULL);
        live_wait_phase(&cli, "live");
    }
    live_wait_level(&cli, &source);
    live_stop(&cli);
    slot_move_end(&move);
    expect_equal(&source, &destination);
    live_side_stop(&source);
    live_side_stop(&destination);
}

/* Under load, with transactions and commands over keys of which some have left: the servers refuse
 * those as a whole (TRYAGAIN, EXECABORT), and it goes on by reading their keys at the source, again
 * and again, before the slot has moved. */
static void test_load_half_way(void **state)
{
    (void)state;
    struct live_side source, destination;
    struct slot_move move;
    struct hammer hammer;
    struct test_cli cli;
    sides_start(&source, &destination, 0);
    live_spawn(&cli, &source, &destination, NULL);
    live_wait_phase(&cli, "live");
    hammer_start(&hammer, &source, 150, HAMMER_SLOTS);
    hammer_more(&hammer, 5000);
    uint16_t slot = slot_of_key("0", 1); /* of a transaction over a hundred keys */
    slot_move_begin(&move, &destination.cluster, slot, other_master(&destination, slot));
    slot_move_keys(&move, 50);
    hammer_more(&hammer, 50000);
    hammer_stop(&hammer);
    live_wait_level(&cli, &source);
    assert_int_equal(live_streams_sum(&cli, "snapshots"), 0);
    slot_move_end(&move);
    test_client_send(source.client, "{0}", "INCR {0}:0");
    test_client_flush(source.client);
    live_wait_level(&cli, &source);
    assert_int_equal(live_total(&cli, "diverged"), 0);
    live_stop(&cli);
    expect_equal(&source, &destination);
    live_side_stop(&source);
    live_side_stop(&destination);
}

static void pause_writes(const struct live_side *destination, uint32_t node, bool is_paused)
{
    redisContext *redis = test_connect(destination->cluster.nodes[node].port);
    test_command_ok(redis, is_paused ? "CLIENT PAUSE 100000 WRITE" : "CLIENT UNPAUSE");
    redisFree(redis);
}

static int64_t refused_there(const struct live_side *destination, uint32_t node)
{
    char value[64] = "";
    redisContext *redis = test_connect(destination->cluster.nodes[node].port);
    test_info(redis, "errorstat_ASK", value, sizeof(value));
    redisFree(redis);
    return strncmp(value, "count=", 6) == 0 ? strtoll(value + 6, NULL, 10) : 0;
}

/* The server answers ASK, and takes what is behind it with its positions; nobody reads the answer.
 */
static void test_nobody_reads_the_answer(void **state)
{
    (void)state;
    struct live_side source, destination;
    struct slot_move move;
    struct test_cli cli;
    sides_start(&source, &destination, 0);
    send_kinds(&source, 0, KEYS);
    live_spawn(&cli, &source, &destination, NULL);
    live_wait_phase(&cli, "live");
    live_wait_level(&cli, &source);
    uint16_t slot = slot_of_kinds();
    uint32_t from = slot_owner(&destination.cluster, slot);
    char other[32] = "";
    for (int i = 0; other[0] == '\0'; i++) { /* another slot of the same shard */
        snprintf(other, sizeof(other), "{%d}", i);
        uint16_t there = slot_of_key(other, strlen(other));
        if (there == slot || slot_owner(&destination.cluster, there) != from)
            other[0] = '\0';
    }
    pause_writes(&destination, from, true);
    slot_move_begin(&move, &destination.cluster, slot, (from + 1) % MASTERS);
    send_kinds(&source, KEYS, KEYS); /* new ones, which the old owner does not make */
    for (int i = 0; i < 1000; i++)
        test_client_send(source.client, NULL, "INCR %s:%d", other, i);
    test_client_flush(source.client);
    /* Received here, it has been sent on in the time that the lanes need; if it has not, there is
     * nothing to be lost, and the count below says so. */
    clock_sleep_ms(500);
    test_cli_signal(&cli, SIGSTOP);
    int64_t before = refused_there(&destination, from);
    pause_writes(&destination, from, false);
    uint64_t deadline = test_deadline(LIVE_WAIT_MS);
    while (refused_there(&destination, from) == before)
        test_poll(deadline, "an ASK that nobody reads");
    clock_sleep_ms(100); /* and the rest of what was sent */
    test_cli_kill(&cli);
    slot_move_end(&move);
    live_spawn(&cli, &source, &destination, NULL);
    live_wait_level(&cli, &source);
    assert_int_equal(live_streams_sum(&cli, "snapshots"), 0);
    live_stop(&cli);
    expect_equal(&source, &destination);
    live_side_stop(&source);
    live_side_stop(&destination);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_half_way),
        cmocka_unit_test(test_slot_of_a_position),
        cmocka_unit_test(test_full_copy),
        cmocka_unit_test(test_new_master),
        cmocka_unit_test(test_large_values),
        cmocka_unit_test(test_load_half_way),
        cmocka_unit_test(test_nobody_reads_the_answer),
    };
    cmocka_set_test_filter(getenv("SYNCLINE_TEST_FILTER"));
    if (!test_cli_available())
        return 77;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
