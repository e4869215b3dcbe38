/* Relays when something ends in the middle of them, and when what they move is large. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/base/slot.h"
#include "tests/live/crosser.h"

#define SHARDS 3

/* Stopped in the middle of it: what the source had written by then is written, relays and all. */
static void test_stop_in_the_middle(void **state)
{
    (void)state;
    struct live_side source, destination;
    struct crosser crossers[CROSSERS];
    struct test_cli cli;
    live_side_start(&source, TEST_REQUIRED_VERSION, 0, 0, NULL);
    live_side_start(&destination, TEST_REQUIRED_VERSION, SHARDS, 0, NULL);
    live_spawn(&cli, &source, &destination, NULL);
    live_wait_phase(&cli, "live");
    crossers_start(crossers, &source, 80, 8000);
    crossers_wait_relayed(&cli, 2000);
    for (uint32_t i = 0; i < SHARDS; i++)
        test_server_freeze(&destination.cluster.nodes[i]);
    nanosleep(&(struct timespec){.tv_nsec = 200000000}, NULL); /* a backlog */
    crossers_stop(crossers);
    test_cli_signal(&cli, SIGINT);
    for (uint32_t i = 0; i < SHARDS; i++)
        test_server_thaw(&destination.cluster.nodes[i]);
    live_expect_end(&cli, 0, NULL);
    live_assert_equal(&source, &destination);
    live_side_stop(&source);
    live_side_stop(&destination);
}

/* A shard that is gone or does not answer must not keep the program from ending. */
static void test_ends_without_answers(void **state)
{
    (void)state;
    struct live_side source, destination;
    struct crosser crossers[CROSSERS];
    struct test_cli cli;
    live_side_start(&source, TEST_REQUIRED_VERSION, 0, 0, NULL);
    live_side_start(&destination, TEST_REQUIRED_VERSION, SHARDS, 0, NULL);
    crossers_start(crossers, &source, 90, 8000);
    live_spawn(&cli, &source, &destination, NULL);
    live_wait_phase(&cli, "live");
    crossers_wait_relayed(&cli, 2000);
    for (uint32_t i = 0; i < SHARDS;
         i++) /* all, or the others would soon report the one as failed */
        test_server_freeze(&destination.cluster.nodes[i]);
    uint64_t deadline = test_deadline(LIVE_WAIT_MS);
    while (live_total(&cli, "held") == 0)
        test_poll(deadline, "held keys");
    test_cli_signal(&cli, SIGINT);
    live_wait_phase(&cli, "draining");
    test_cli_signal(&cli, SIGINT);
    assert_int_equal(test_cli_wait(&cli, LIVE_WAIT_MS), 130);
    for (uint32_t i = 0; i < SHARDS; i++)
        test_server_thaw(&destination.cluster.nodes[i]);

    live_spawn(&cli, &source, &destination, "--retry-connection", "0", "--retry-other", "0", NULL);
    live_wait_phase(&cli, "live");
    crossers_wait_relayed(&cli, 2000);
    test_server_kill(&destination.cluster.nodes[1]);
    live_expect_end(&cli, 7, "destination", NULL);
    crossers_stop(crossers);
    live_side_stop(&source);
    live_side_stop(&destination);
}

/* Killed again and again, with all that can be relayed on its way and little room for it: nothing
 * is lost or done twice. Every second time a shard does not answer just then. */
static void test_killed(void **state)
{
    (void)state;
    struct live_side source, destination;
    struct crosser crossers[CROSSERS];
    struct test_cli cli;
    struct random random = {.state = 140};
    live_side_start(&source, TEST_REQUIRED_VERSION, 0, 0, NULL);
    live_side_start(&destination, TEST_REQUIRED_VERSION, SHARDS, 0, NULL);
    live_spawn(&cli, &source, &destination, "--memory", "8m", NULL);
    live_wait_phase(&cli, "live");
    crossers_start(crossers, &source, 140, 3000);
    for (uint32_t i = 0; i < 8; i++) {
        crossers_wait_relayed(&cli, 200 + random_below(&random, 1000));
        struct test_server *shard = &destination.cluster.nodes[random_below(&random, SHARDS)];
        if (i % 2 == 0) {
            test_server_freeze(shard);
            nanosleep(&(struct timespec){.tv_nsec = random_below(&random, 200) * 1000000}, NULL);
        }
        test_cli_kill(&cli);
        if (i % 2 == 0)
            test_server_thaw(shard);
        live_spawn(
            &cli, &source, &destination, "--memory", "8m", "--lanes", i % 3 == 0 ? "2" : "1", NULL);
        live_wait_phase(&cli, "live");
    }
    crossers_wait_relayed(&cli, 500);
    crossers_stop(crossers);
    live_wait_level(&cli, &source);
    assert_int_equal(live_streams_sum(&cli, "snapshots"), 0);
    assert_int_equal(live_total(&cli, "diverged"), 0);
    live_stop(&cli);
    live_assert_equal(&source, &destination);
    live_side_stop(&source);
    live_side_stop(&destination);
}

/* ---- the cluster changes ---- */

static redisContext *node_open(const struct test_server *node)
{
    redisContext *redis = redisConnect("127.0.0.1", node->port);
    assert_non_null(redis);
    assert_int_equal(redis->err, 0);
    return redis;
}

static void await_role(const struct test_server *node, const char *role, const char *link)
{
    uint64_t deadline = test_deadline(LIVE_WAIT_MS);
    redisContext *redis = node_open(node);
    char is_role[32], is_link[32];
    do {
        test_poll(deadline, "a failover");
        test_info(redis, "role", is_role, sizeof(is_role));
        test_info(redis, "master_link_status", is_link, sizeof(is_link));
    } while (strcmp(is_role, role) != 0 || (link != NULL && strcmp(is_link, link) != 0));
    redisFree(redis);
}

/* A replica takes over: by agreement, without a loss, or by itself, and then what the master had
 * not yet sent it, and what it still takes until it hears of it, is lost. */
static void
fail_over(const struct test_cluster *cluster, uint32_t shard, bool is_forward, bool is_forced)
{
    const struct test_server *a = &cluster->nodes[shard];
    const struct test_server *b = &cluster->nodes[SHARDS + shard];
    const struct test_server *replica = is_forward ? b : a;
    redisContext *redis = node_open(replica);
    test_command_ok(redis, is_forced ? "CLUSTER FAILOVER TAKEOVER" : "CLUSTER FAILOVER");
    redisFree(redis);
    await_role(replica, "master", NULL);
    await_role(is_forward ? a : b, "slave", "up");
}

static void test_shards_fail_over(void **state)
{
    (void)state;
    struct live_side source, destination;
    struct crosser crossers[CROSSERS];
    struct test_cli cli;
    live_side_start(&source, TEST_REQUIRED_VERSION, 0, 0, NULL);
    live_side_start(&destination, TEST_REQUIRED_VERSION, SHARDS, 1, NULL);
    live_spawn(&cli, &source, &destination, "--lanes", "2", NULL);
    live_wait_phase(&cli, "live");
    crossers_start(crossers, &source, 120, 2000);
    for (uint32_t i = 0; i < 4 * SHARDS; i++) {
        crossers_wait_relayed(&cli, 300);
        fail_over(&destination.cluster, i % SHARDS, i / SHARDS % 2 == 0, i / SHARDS > 1);
        live_wait_phase(&cli, "live");
    }
    crossers_wait_relayed(&cli, 300);
    crossers_stop(crossers);
    live_wait_level(&cli, &source);
    assert_int_not_equal(live_total(&cli, "restarts"), 0);
    assert_int_equal(live_streams_sum(&cli, "snapshots"), 0);
    live_stop(&cli);
    live_assert_equal(&source, &destination);
    live_side_stop(&source);
    live_side_stop(&destination);
}

/* All keys of a slot go to another shard, one by one, while they are used. */
static void move_slot(const struct test_cluster *cluster, uint16_t slot, uint32_t from, uint32_t to)
{
    redisContext *nodes[SHARDS];
    char ids[SHARDS][64];
    for (uint32_t i = 0; i < SHARDS; i++) {
        nodes[i] = node_open(&cluster->nodes[i]);
        redisReply *reply = test_command(nodes[i], "CLUSTER MYID");
        snprintf(ids[i], sizeof(ids[i]), "%s", reply->str);
        freeReplyObject(reply);
    }
    test_command_ok(nodes[to], "CLUSTER SETSLOT %d IMPORTING %s", slot, ids[from]);
    test_command_ok(nodes[from], "CLUSTER SETSLOT %d MIGRATING %s", slot, ids[to]);
    for (;;) {
        redisReply *keys = test_command(nodes[from], "CLUSTER GETKEYSINSLOT %d 1", slot);
        bool is_empty = keys->elements == 0;
        if (!is_empty)
            test_command_ok(nodes[from],
                            "MIGRATE 127.0.0.1 %d %b 0 5000",
                            cluster->nodes[to].port,
                            keys->element[0]->str,
                            keys->element[0]->len);
        freeReplyObject(keys);
        if (is_empty)
            break;
    }
    test_command_ok(nodes[to], "CLUSTER SETSLOT %d NODE %s", slot, ids[to]);
    for (uint32_t i = 0; i < SHARDS; i++) {
        if (i != to)
            test_command_ok(nodes[i], "CLUSTER SETSLOT %d NODE %s", slot, ids[to]);
        redisFree(nodes[i]);
    }
}

static void test_slots_move(void **state)
{
    (void)state;
    struct live_side source, destination;
    struct crosser crossers[CROSSERS];
    struct test_cli cli;
    live_side_start(&source, TEST_REQUIRED_VERSION, 0, 0, NULL);
    live_side_start(&destination, TEST_REQUIRED_VERSION, SHARDS, 0, NULL);
    live_spawn(&cli, &source, &destination, NULL);
    live_wait_phase(&cli, "live");
    crossers_start(crossers, &source, 130, 2000);
    for (int i = 0; i < 6; i++) {
        char key[32];
        int size = snprintf(key, sizeof(key), i % 2 == 0 ? "r:set:%d" : "r:list:%d", i);
        uint16_t slot = slot_of_key(key, (size_t)size);
        uint32_t from = slot * SHARDS / SLOT_COUNT;
        crossers_wait_relayed(&cli, 300);
        move_slot(&destination.cluster, slot, from, (from + 1) % SHARDS);
        live_wait_phase(&cli, "live");
    }
    crossers_wait_relayed(&cli, 300);
    crossers_stop(crossers);
    live_wait_level(&cli, &source);
    assert_int_not_equal(live_total(&cli, "restarts"), 0);
    assert_int_equal(live_streams_sum(&cli, "snapshots"), 0);
    live_stop(&cli);
    test_client_free(destination.client); /* it knows the slots as they were */
    destination.client = test_client_new(live_port(&destination));
    live_assert_equal(&source, &destination);
    live_side_stop(&source);
    live_side_stop(&destination);
}

/* ---- large values ---- */

static void fill_set(struct live_side *source, const char *key, int first, int count)
{
    for (int i = first; i < first + count; i++)
        test_client_send(source->client, NULL, "SADD %s member-number-%d", key, i);
    test_client_flush(source->client);
}

/* Values of some hundred kilobytes move within the memory that is left for them, a few at a time;
 * what needs one beyond it is read at the source. */
static void test_large_values(void **state)
{
    (void)state;
    struct live_side source, destination;
    struct test_cli cli;
    live_side_start(&source, TEST_REQUIRED_VERSION, 0, 0, NULL);
    live_side_start(&destination, TEST_REQUIRED_VERSION, SHARDS, 0, NULL);
    for (int i = 0; i < 8; i++) {
        char key[16];
        snprintf(key, sizeof(key), "big:%d", i);
        fill_set(&source, key, i * 5000, 10000);
    }
    live_spawn(&cli, &source, &destination, "--memory", "8m", NULL);
    live_wait_phase(&cli, "live");
    for (int i = 0; i < 200; i++) {
        test_client_send(source.client, NULL, "SET small:%d x", i);
        test_client_send(source.client, NULL, "RENAME small:%d other:%d", i, i);
        test_client_send(
            source.client, NULL, "SUNIONSTORE sum:%d big:%d big:%d", i % 3, i % 8, (i + 1) % 8);
        test_client_send(source.client, NULL, "COPY big:%d copy:%d REPLACE", i % 8, i % 5);
    }
    static char element[20000];
    memset(element, 'e', sizeof(element));
    for (int i = 0; i < 3000; i++) {
        size_t size = i % 20 == 0 ? sizeof(element) : (size_t)i % 50;
        test_client_send(source.client, NULL, "LPUSH queue:%d %b", i % 7, element, size);
        test_client_send(source.client, NULL, "RPOPLPUSH queue:%d done:%d", i % 7, i % 5);
    }
    test_client_flush(source.client);
    live_wait_level(&cli, &source);
    assert_in_range(live_total(&cli, "memory_bytes"), 1, 8 << 20);
    fill_set(&source, "huge", 0, 60000);
    test_client_send(source.client, NULL, "SUNIONSTORE sum:1 huge big:1");
    test_client_send(source.client, NULL, "SUNIONSTORE sum:2 huge big:1");
    test_client_send(source.client, NULL, "SUNIONSTORE sum:3 huge big:1");
    test_client_flush(source.client);
    live_wait_level(&cli, &source);
    assert_int_not_equal(live_total(&cli, "keys_refetched"), 0);
    live_stop(&cli);
    live_assert_equal(&source, &destination);
    live_side_stop(&source);
    live_side_stop(&destination);
}

/* What somebody else did to the destination shows when an operand is not there: it is counted, told
 * once, and mended, with the keys that depend on it. */
static void test_divergence_is_told(void **state)
{
    (void)state;
    struct live_side source, destination;
    struct test_cli cli;
    live_side_start(&source, TEST_REQUIRED_VERSION, 0, 0, NULL);
    live_side_start(&destination, TEST_REQUIRED_VERSION, SHARDS, 0, NULL);
    redisContext *from = live_redis(&source);
    test_command_ok(from, "RPUSH a 1 2 3");
    live_spawn(&cli, &source, &destination, NULL);
    live_wait_phase(&cli, "live");
    test_client_send(destination.client, "a", "DEL a");
    test_client_flush(destination.client);
    test_command_ok(from, "RPOPLPUSH a b");
    test_command_ok(from, "RENAME b c");
    live_wait_level(&cli, &source);
    uint64_t deadline = test_deadline(LIVE_WAIT_MS);
    while (live_total(&cli, "diverged_relay") != 1)
        test_poll(deadline, "the count");
    json_t *warning = NULL;
    while ((warning = live_event(&cli, "warning")) == NULL)
        test_poll(deadline, "a warning");
    live_expect_texts(json_string_value(json_object_get(warning, "text")),
                      "did not find at the destination what the source had",
                      "diverged_relay",
                      NULL);
    json_decref(warning);
    assert_int_equal(live_total(&cli, "relayed"), 1);
    live_stop(&cli);
    live_assert_equal(&source, &destination);
    live_side_stop(&source);
    live_side_stop(&destination);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_stop_in_the_middle),
        cmocka_unit_test(test_ends_without_answers),
        cmocka_unit_test(test_killed),
        cmocka_unit_test(test_shards_fail_over),
        cmocka_unit_test(test_slots_move),
        cmocka_unit_test(test_large_values),
        cmocka_unit_test(test_divergence_is_told),
    };
    cmocka_set_test_filter(getenv("SYNCLINE_TEST_FILTER"));
    if (!test_cli_available())
        return 77;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
