/*
 * Exactly once (E1, E2, E6): under a load of commands that show a repetition or a loss for ever
 * (hammer.h), the program is killed again and again: at any moment, while a shard does not answer,
 * in the middle of the recovery from the kill before, together with a server of the destination
 * that then comes back without its last moments, or whose replica takes over without them, or while
 * a slot of the destination moves; and started again, with the same lanes or others.
 * In the end both sides must be equal, key by key, only the first run may have made a full copy,
 * and no command may have found another state at the destination than at the source: that shows a
 * repetition or a loss even where a later reading of its keys would hide it.
 *
 * SYNCLINE_TORTURE_KILLS: kills per test (5); SYNCLINE_TORTURE_SEED. For long runs see
 * tests/live/torture.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/base/clock.h"
#include "core/base/slot.h"
#include "tests/live/hammer.h"
#include "tests/live/live.h"
#include "tests/live/slot_move.h"
#include "tests/support/random.h"

static uint64_t seed;
static uint32_t kills;

/* How one test differs from another. */
struct torture_options {
    const char *name;
    uint32_t source_masters;
    uint32_t destination_masters;
    enum hammer_reach reach;
    bool has_restarts;        /* of the destination's servers                       */
    bool has_failovers;       /* of its masters, to a replica that each has         */
    bool has_moves;           /* of its slots                                       */
    const char *const *lanes; /* of the runs in turn, three of them; NULL: none said */
};

struct torture {
    const struct torture_options *options;
    struct live_side source;
    struct live_side destination;
    struct hammer hammer;
    struct test_cli cli;
    struct random random;
    uint32_t run_count;
    uint32_t kill_count;
    uint32_t restart_count;
    uint32_t failover_count;
    uint32_t move_count;
    int64_t left_out;
    int64_t refetched;
    int64_t relayed;
    int64_t diverged;
};

/* ---- load ---- */

static int64_t source_offset(struct torture *torture)
{
    int64_t sum = 0;
    for (uint32_t i = 0; i < test_client_count(torture->source.client); i++) {
        char value[32];
        test_info(
            test_client_at(torture->source.client, i), "master_repl_offset", value, sizeof(value));
        sum += strtoll(value, NULL, 10);
    }
    return sum;
}

static void must_run(const struct torture *torture)
{
    json_t *error = live_event(&torture->cli, "error");
    if (error != NULL)
        test_fatal("run %u ended: %s",
                   torture->run_count,
                   json_string_value(json_object_get(error, "text")));
}

/* Passes time, in which the copy does not fall behind without bound. */
static void watch(struct torture *torture, uint64_t ms)
{
    uint64_t end_ms = clock_monotonic_ms() + ms;
    for (;;) {
        int64_t applied =
            torture->run_count > 0 ? live_streams_sum(&torture->cli, "offset_applied") : 0;
        if (applied > 0) /* else it has only begun */
            hammer_pace(&torture->hammer, source_offset(torture) - applied);
        uint64_t now_ms = clock_monotonic_ms();
        if (now_ms >= end_ms)
            return;
        clock_sleep_ms((uint32_t)(end_ms - now_ms < 10 ? end_ms - now_ms : 10));
    }
}

static void watch_more(struct torture *torture, uint64_t count)
{
    uint64_t until = hammer_count(&torture->hammer) + count;
    uint64_t deadline = test_deadline(LIVE_WAIT_MS);
    while (hammer_count(&torture->hammer) < until) {
        watch(torture, 10);
        must_run(torture);
        test_poll(deadline, "the writers");
    }
}

/* ---- runs ---- */

static bool serves_all_slots(const struct test_server *server)
{
    redisContext *redis = test_connect(server->port);
    redisReply *reply = test_command(redis, "CLUSTER INFO");
    bool is_ok = strstr(reply->str, "cluster_state:ok") != NULL;
    freeReplyObject(reply);
    redisFree(redis);
    return is_ok;
}

/* Nodes that are back serve their slots only when they know the others again; a start before that
 * ends with CLUSTERDOWN. */
static void wait_for_slots(struct torture *torture)
{
    const struct test_cluster *cluster = &torture->destination.cluster;
    uint64_t deadline = test_deadline(LIVE_WAIT_MS);
    for (uint32_t i = 0; torture->destination.is_cluster && i < cluster->node_count;) {
        if (serves_all_slots(&cluster->nodes[i])) {
            i++;
            continue;
        }
        watch(torture, 10);
        test_poll(deadline, "a cluster that serves all slots");
    }
}

static void run_start(struct torture *torture)
{
    if (torture->options->has_restarts || torture->options->has_failovers)
        wait_for_slots(torture);
    const char *const *lanes = torture->options->lanes;
    uint32_t n = torture->run_count++;
    live_spawn(&torture->cli,
               &torture->source,
               &torture->destination,
               lanes == NULL ? NULL : "--lanes",
               lanes == NULL ? NULL : lanes[n % 3],
               NULL);
}

/* What the run has counted, by its last word. */
static void run_note(struct torture *torture)
{
    static const char *const diverged[] = {
        "diverged_no_effect", "diverged_error", "diverged_script", "diverged_relay"};
    struct test_cli *cli = &torture->cli;
    int64_t before = torture->diverged;
    for (size_t i = 0; i < sizeof(diverged) / sizeof(diverged[0]); i++)
        torture->diverged += live_total(cli, diverged[i]);
    torture->left_out += live_total(cli, "commands_left_out");
    torture->refetched += live_total(cli, "keys_refetched");
    torture->relayed += live_total(cli, "relayed");
    if (torture->diverged != before) {
        char *errors = test_cli_errors(cli);
        fprintf(stderr, "run %u diverged: %s", torture->run_count, errors);
        free(errors);
    }
}

/* With one shard that does not answer, everything that waits for it still waits, and the positions
 * of the others have passed it. */
static void freeze_a_shard(struct torture *torture, struct test_server **frozen)
{
    uint32_t masters = torture->destination.cluster.master_count;
    *frozen = &torture->destination.cluster.nodes[random_below(&torture->random, masters)];
    test_server_freeze(*frozen);
    watch(torture, 20 + random_below(&torture->random, 300));
}

static void run_kill(struct torture *torture, bool is_frozen)
{
    struct test_server *frozen = NULL;
    if (is_frozen)
        freeze_a_shard(torture, &frozen);
    run_note(torture);
    test_cli_kill(&torture->cli);
    torture->kill_count++;
    if (frozen != NULL)
        test_server_thaw(frozen);
}

/* A server of the destination is killed: before the program, behind it, or without it. False: it
 * runs on. */
static bool restart_a_server(struct torture *torture)
{
    struct live_side *side = &torture->destination;
    struct random *random = &torture->random;
    struct test_server *server =
        side->is_cluster ? &side->cluster.nodes[random_below(random, side->cluster.master_count)]
                         : &side->server;
    uint32_t order = random_below(random, 3);
    if (order == 0)
        run_kill(torture, false);
    else
        live_wait_phase(&torture->cli, "live"); /* a start ends when it cannot connect */
    test_server_kill(server);
    watch(torture, random_below(random, 300));
    if (order == 1)
        run_kill(torture, false);
    live_server_return(server);
    torture->restart_count++;
    return order != 2;
}

static bool is_role(const struct test_server *server, const char *role, const char *link)
{
    char has_role[32], has_link[32];
    redisContext *redis = test_connect(server->port);
    test_info(redis, "role", has_role, sizeof(has_role));
    test_info(redis, "master_link_status", has_link, sizeof(has_link));
    redisFree(redis);
    return strcmp(has_role, role) == 0 && (link == NULL || strcmp(has_link, link) == 0);
}

static void await_role(struct torture *torture,
                       const struct test_server *server,
                       const char *role,
                       const char *link)
{
    uint64_t deadline = test_deadline(LIVE_WAIT_MS);
    while (!is_role(server, role, link)) {
        watch(torture, 10);
        test_poll(deadline, "a failover");
    }
}

static void take_over(const struct test_server *replica, bool is_forced)
{
    redisContext *redis = test_connect(replica->port);
    test_command_ok(redis, is_forced ? "CLUSTER FAILOVER TAKEOVER" : "CLUSTER FAILOVER");
    redisFree(redis);
}

/* A replica takes the place of its master: by agreement, without a loss; without the master's
 * knowing, which goes on for a while, or behind its end, both without what had not yet reached the
 * replica. The program is killed before, behind it, or not at all. False: it runs on. */
static bool fail_over(struct torture *torture)
{
    struct test_cluster *cluster = &torture->destination.cluster;
    struct random *random = &torture->random;
    uint32_t shard = random_below(random, cluster->master_count);
    struct test_server *a = &cluster->nodes[shard];
    struct test_server *b = &cluster->nodes[cluster->master_count + shard];
    struct test_server *master = is_role(a, "master", NULL) ? a : b;
    struct test_server *replica = master == a ? b : a;
    uint32_t order = random_below(random, 3);
    uint32_t kind = random_below(random, 3);
    await_role(torture, replica, "slave", "up");
    if (order == 0)
        run_kill(torture, false);
    else
        live_wait_phase(&torture->cli, "live");
    if (kind == 2)
        test_server_kill(master);
    else
        take_over(replica, kind == 1);
    watch(torture, random_below(random, 50));
    if (order == 1)
        run_kill(torture, false);
    uint64_t asked_ms = clock_monotonic_ms();
    uint64_t deadline = test_deadline(LIVE_WAIT_MS);
    while (!is_role(replica, "master", NULL)) {
        /* One that comes before all have heard of the failover before is given up after 5 s. */
        if (kind == 0 && clock_monotonic_ms() - asked_ms > 6000) {
            take_over(replica, false);
            asked_ms = clock_monotonic_ms();
        }
        watch(torture, 10);
        test_poll(deadline, "a failover");
    }
    if (kind == 2)
        test_server_restart(master);
    await_role(torture, master, "slave", "up");
    torture->failover_count++;
    return order != 2;
}

/* A slot with its keys, some at a time; the program is killed while it is half-way, goes on before
 * it has moved, and perhaps is killed again when it has. */
static void move_a_slot(struct torture *torture)
{
    struct test_cluster *cluster = &torture->destination.cluster;
    struct random *random = &torture->random;
    struct slot_move move;
    char tag[16]; /* of the hammer's lists, and of a transaction */
    int size = snprintf(tag, sizeof(tag), "%u", (unsigned)random_below(random, 50));
    uint16_t slot = slot_of_key(tag, (size_t)size);
    uint32_t to =
        (slot_owner(cluster, slot) + 1 + random_below(random, cluster->master_count - 1)) %
        cluster->master_count;
    slot_move_begin(&move, cluster, slot, to);
    for (uint32_t i = 0; i < 4; i++) {
        slot_move_keys(&move, 1 + random_below(random, 20));
        watch(torture, random_below(random, 100));
        if (i == 1) {
            run_kill(torture, random_below(random, 2) == 0);
            run_start(torture);
            live_wait_phase(&torture->cli, "live");
        }
    }
    slot_move_end(&move);
    torture->move_count++;
}

/* One kill, and perhaps another while the run behind it still recovers. */
static void torture_once(struct torture *torture)
{
    struct random *random = &torture->random;
    watch(torture, random_below(random, 700));
    if (torture->options->has_moves) {
        move_a_slot(torture);
        if (random_below(random, 2) == 0)
            return;
        run_kill(torture, false);
    } else if (torture->options->has_failovers && random_below(random, 3) != 0) {
        if (!fail_over(torture))
            return;
    } else if (torture->options->has_restarts && random_below(random, 3) == 0) {
        if (!restart_a_server(torture))
            return;
    } else {
        run_kill(torture, torture->destination.is_cluster && random_below(random, 2) == 0);
    }
    clock_sleep_ms(random_below(random, 3) == 0 ? random_below(random, 300) : 0);
    run_start(torture);
    while (torture->kill_count < kills && random_below(random, 3) == 0) {
        /* Every second while it still turns positions into the layout of its lanes. */
        watch(torture, random_below(random, random_below(random, 2) == 0 ? 60 : 300));
        run_kill(torture, false);
        run_start(torture);
    }
}

/* A cluster takes only database 0. */
static void load(struct torture *torture)
{
    const struct live_side *source = &torture->source;
    dataset_load(source->client, seed++, 20);
    for (int db = 1; !source->is_cluster && torture->destination.is_cluster && db < 16; db++) {
        test_command_ok(live_redis(source), "SELECT %d", db);
        test_command_ok(live_redis(source), "FLUSHDB");
    }
    if (!source->is_cluster)
        test_command_ok(live_redis(source), "SELECT 0");
}

static void report(const struct torture *torture)
{
    fprintf(stderr,
            "%s: %u kills, %u servers restarted, %u failovers, %u slots moved, %llu commands, "
            "%llu/s while it was not paused, "
            "%lld left out, %lld keys read again, %lld relayed, %lld diverged\n",
            torture->options->name,
            torture->kill_count,
            torture->restart_count,
            torture->failover_count,
            torture->move_count,
            (unsigned long long)hammer_count(&torture->hammer),
            (unsigned long long)hammer_rate(&torture->hammer),
            (long long)torture->left_out,
            (long long)torture->refetched,
            (long long)torture->relayed,
            (long long)torture->diverged);
}

/* Of a node that is not a replica by now, which the client would take for a master. */
static uint16_t master_port(const struct live_side *side)
{
    const struct test_server *server = side->is_cluster ? side->cluster.nodes : &side->server;
    while (!is_role(server, "master", NULL))
        server++;
    return server->port;
}

static void torture_sides(struct torture *torture)
{
    struct live_side *destination = &torture->destination;
    load(torture);
    run_start(torture);
    live_wait_phase(&torture->cli, "live");
    hammer_start(&torture->hammer, &torture->source, seed++, torture->options->reach);
    watch_more(torture, 10000);
    while (torture->kill_count < kills) {
        torture_once(torture);
        watch_more(torture, 2000);
    }
    live_wait_phase(&torture->cli, "live");
    watch_more(torture, 5000);
    hammer_stop(&torture->hammer);
    live_wait_level(&torture->cli, &torture->source);
    assert_int_equal(live_streams_sum(&torture->cli, "snapshots"), 0);
    run_note(torture);
    live_stop(&torture->cli);
    test_client_free(destination->client); /* its servers may have been others */
    destination->client = test_client_new(master_port(destination));
    report(torture);
    live_assert_equal(&torture->source, destination);
    assert_int_equal(torture->diverged, 0);
}

static void torture(const struct torture_options *options)
{
    static const char *const source_arguments[] = {"--repl-backlog-size",
                                                   "512mb",
                                                   "--client-output-buffer-limit",
                                                   "replica 0 0 0",
                                                   "--repl-diskless-sync-delay",
                                                   "0",
                                                   NULL};
    static const char *const persistent[] = {
        "--appendonly", "yes", "--appendfsync", "everysec", NULL};
    static const char *const hasty[] = {"--cluster-node-timeout", "2000", NULL};
    static struct torture torture;
    torture = (struct torture){.options = options, .random = {.state = seed++}};
    live_side_start(
        &torture.source, TEST_REQUIRED_VERSION, options->source_masters, 0, source_arguments);
    live_side_start(&torture.destination,
                    TEST_REQUIRED_VERSION,
                    options->destination_masters,
                    options->has_failovers ? 1 : 0,
                    options->has_restarts    ? persistent
                    : options->has_failovers ? hasty
                                             : NULL);
    torture_sides(&torture);
    live_side_stop(&torture.source);
    live_side_stop(&torture.destination);
}

/* ---- topologies ---- */

static void test_standalone(void **state)
{
    (void)state;
    torture(&(struct torture_options){.name = "standalone", .reach = HAMMER_SLOTS});
}

static void test_cluster(void **state)
{
    (void)state;
    torture(&(struct torture_options){
        .name = "cluster", .source_masters = 3, .destination_masters = 3});
}

static void test_standalone_to_cluster(void **state)
{
    (void)state;
    torture(&(struct torture_options){
        .name = "standalone to cluster", .destination_masters = 3, .reach = HAMMER_SLOTS});
}

/* Positions tell for which slots they speak. */
static void test_other_lanes(void **state)
{
    (void)state;
    static const char *const lanes[] = {"2", "1", "3"};
    torture(&(struct torture_options){.name = "standalone to cluster, other lanes",
                                      .destination_masters = 2,
                                      .reach = HAMMER_SLOTS,
                                      .lanes = lanes});
}

static void test_more_lanes(void **state)
{
    (void)state;
    static const char *const lanes[] = {"3", "3", "3"};
    torture(&(struct torture_options){
        .name = "cluster, 3 lanes", .source_masters = 2, .destination_masters = 3, .lanes = lanes});
}

static void test_restarts(void **state)
{
    (void)state;
    torture(&(struct torture_options){
        .name = "standalone that restarts", .reach = HAMMER_SLOTS, .has_restarts = true});
}

static void test_cluster_restarts(void **state)
{
    (void)state;
    torture(&(struct torture_options){.name = "standalone to cluster that restarts",
                                      .destination_masters = 3,
                                      .reach = HAMMER_SLOTS,
                                      .has_restarts = true});
}

/* A failover loses a suffix, positions with it: what counts is what the new master has. */
static void test_failovers(void **state)
{
    (void)state;
    torture(&(struct torture_options){.name = "standalone to cluster that fails over",
                                      .destination_masters = 3,
                                      .reach = HAMMER_SLOTS,
                                      .has_failovers = true});
}

/* Only in long runs: the next one has all that this has, and relays. */
static void test_slots_that_move(void **state)
{
    (void)state;
    if (kills < 10) {
        skip();
    }
    torture(&(struct torture_options){.name = "cluster to cluster whose slots move",
                                      .source_masters = 2,
                                      .destination_masters = 3,
                                      .has_moves = true});
}

/* With relays, whose keys are held, and operands that leave while they are read. */
static void test_slots_that_move_across(void **state)
{
    (void)state;
    static const char *const lanes[] = {"1", "2", "1"};
    torture(&(struct torture_options){.name = "standalone to cluster whose slots move",
                                      .destination_masters = 3,
                                      .reach = HAMMER_SLOTS,
                                      .has_moves = true,
                                      .lanes = lanes});
}

/* COPY and MOVE have a key in two databases, SWAPDB all of them. The number of lanes is one,
 * whatever is asked for. */
static void test_databases(void **state)
{
    (void)state;
    static const char *const lanes[] = {"2", "1", "3"};
    torture(&(struct torture_options){
        .name = "databases", .reach = HAMMER_DATABASES, .has_restarts = true, .lanes = lanes});
}

int main(void)
{
    const char *wanted_kills = getenv("SYNCLINE_TORTURE_KILLS");
    const char *wanted_seed = getenv("SYNCLINE_TORTURE_SEED");
    kills = wanted_kills != NULL ? (uint32_t)strtoul(wanted_kills, NULL, 10) : 5;
    seed = wanted_seed != NULL ? strtoull(wanted_seed, NULL, 10) : (uint64_t)time(NULL) * 1000;
    fprintf(stderr, "SYNCLINE_TORTURE_SEED=%llu\n", (unsigned long long)seed);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_standalone),
        cmocka_unit_test(test_cluster),
        cmocka_unit_test(test_standalone_to_cluster),
        cmocka_unit_test(test_other_lanes),
        cmocka_unit_test(test_more_lanes),
        cmocka_unit_test(test_restarts),
        cmocka_unit_test(test_cluster_restarts),
        cmocka_unit_test(test_failovers),
        cmocka_unit_test(test_slots_that_move),
        cmocka_unit_test(test_slots_that_move_across),
        cmocka_unit_test(test_databases),
    };
    cmocka_set_test_filter(getenv("SYNCLINE_TEST_FILTER"));
    if (!test_cli_available())
        return 77;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
