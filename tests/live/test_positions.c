/*
 * Exactly once (E1, E2, E6): the program is killed while relays wait, at barriers or in the
 * snapshot, its connections are cut, the destination restarts, goes back, forgets or refuses; what
 * is there afterwards must be what the source has, key by key. The commands are of the kind that
 * shows a repetition or a loss for ever. Kills at any moment: test_torture.c.
 *
 * SYNCLINE_TORTURE_KILLS: kills at barriers (5); SYNCLINE_TORTURE_SEED.
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
#include "tests/live/hammer.h"
#include "tests/live/live.h"
#include "tests/live/tap.h"
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

static void pause_ms(uint64_t ms)
{
    struct timespec time = {.tv_sec = (time_t)(ms / 1000), .tv_nsec = (long)(ms % 1000) * 1000000};
    nanosleep(&time, NULL);
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
        live_wait_exact(&cli);
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
        hammer_start(&hammer, &source, seed++, HAMMER_SLOTS);
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
    hammer_start(&hammer, &source, seed++, HAMMER_SLOTS);
    for (int i = 0; i < 3; i++) {
        hammer_more(&hammer, 20000);
        test_server_kill(&destination.server);
        pause_ms(300);
        live_server_return(&destination.server);
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
    hammer_start(&hammer, &source, seed++, HAMMER_SLOTS);
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

static void memory_limit(struct live_side *destination, const char *limit)
{
    for (uint32_t n = 0; n < test_client_count(destination->client); n++)
        test_command_ok(test_client_at(destination->client, n), "CONFIG SET maxmemory %s", limit);
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
        hammer_start(&hammer, &source, seed++, HAMMER_SLOTS);
        hammer_more(&hammer, 3000);
        memory_limit(&destination, "1mb");
        live_wait_phase(&cli, "retrying");
        hammer_more(&hammer, 3000);
        memory_limit(&destination, "0");
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

/* Refusals that come and go within one pipeline: operations behind a refused one run, and so does
 * the position behind them, which then says too much. */
static void test_memory_flickers(void **state)
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
        hammer_start(&hammer, &source, seed++, HAMMER_SLOTS);
        hammer_more(&hammer, 3000);
        for (int i = 0; i < 20; i++) {
            for (int n = 0; n < 20; n++)
                memory_limit(&destination, n % 2 == 0 ? "1mb" : "0");
            hammer_more(&hammer, 2000);
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

/* What a failover or a restart loses is lost at the worst moment: behind the reading of positions,
 * in front of the lanes that write on. */
struct rewinding {
    uint16_t port;
    atomic_bool is_armed;
    _Atomic uint32_t count;
};

static void rewind_at_lane(void *arg, const redisReply *command, const redisReply *reply)
{
    struct rewinding *rewinding = arg;
    (void)reply;
    bool is_lane = command->elements == 3 && strcmp(command->element[0]->str, "CLIENT") == 0 &&
                   strcmp(command->element[1]->str, "SETNAME") == 0;
    if (is_lane && atomic_exchange(&rewinding->is_armed, false)) {
        redisContext *redis = test_connect(rewinding->port);
        test_command_ok(redis, "DEBUG RELOAD NOSAVE");
        redisFree(redis);
        atomic_fetch_add(&rewinding->count, 1);
    }
}

static void test_destination_goes_back(void **state)
{
    (void)state;
    static const char *const lanes[] = {"1", "2"};
    for (int i = 0; i < 2; i++) {
        struct live_side source, destination;
        struct hammer hammer;
        struct test_cli cli;
        struct rewinding rewinding = {0};
        live_side_start(&source, TEST_REQUIRED_VERSION, 0, 0, source_arguments);
        live_side_start(&destination, TEST_REQUIRED_VERSION, 0, 0, NULL);
        rewinding.port = live_port(&destination);
        struct tap *tap = tap_start(live_port(&destination), rewind_at_lane, &rewinding);
        snprintf(destination.uri, sizeof(destination.uri), "redis://127.0.0.1:%u", tap_port(tap));
        load(&source, &destination, 10);
        live_spawn(&cli, &source, &destination, "--lanes", lanes[i], NULL);
        live_wait_phase(&cli, "live");
        hammer_start(&hammer, &source, seed++, HAMMER_SLOTS);
        for (uint32_t n = 1; n <= 3; n++) {
            test_command_ok(live_redis(&destination), "SAVE");
            hammer_more(&hammer, 3000);
            atomic_store(&rewinding.is_armed, true);
            test_command_ok(live_redis(&destination), "CLIENT KILL TYPE normal");
            uint64_t deadline = test_deadline(LIVE_WAIT_MS);
            while (atomic_load(&rewinding.count) < n)
                test_poll(deadline, "the destination to go back");
            live_wait_phase(&cli, "live");
            hammer_more(&hammer, 3000);
        }
        hammer_stop(&hammer);
        live_wait_level(&cli, &source);
        assert_int_equal(live_streams_sum(&cli, "snapshots"), 0);
        live_stop(&cli);
        live_assert_equal(&source, &destination);
        tap_stop(tap);
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

/* ---- other lanes ---- */

#define CLAIMS_MAX 16
#define SLOTS_CHECKED (SLOT_COUNT / 2) /* the first of two shards */

/* What hashes of one shard say, by what a server was told. */
struct claims {
    struct claim {
        char key[POSITION_NAME_MAX];
        unsigned first, last, divisor, rest; /* last 0: nothing */
    } claims[CLAIMS_MAX];
    uint32_t count;
    uint32_t writes;
};

static struct claim *claim_of(struct claims *claims, const char *key)
{
    for (uint32_t i = 0; i < claims->count; i++) {
        if (strcmp(claims->claims[i].key, key) == 0)
            return &claims->claims[i];
    }
    assert_true(claims->count < CLAIMS_MAX);
    struct claim *claim = &claims->claims[claims->count++];
    snprintf(claim->key, sizeof(claim->key), "%s", key);
    return claim;
}

/* "0-8191%3=1", or "0-8191" of a lane that has them all. */
static void claim_set(struct claim *claim, const char *slots)
{
    claim->divisor = 1;
    claim->rest = 0;
    int count =
        sscanf(slots, "%u-%u%%%u=%u", &claim->first, &claim->last, &claim->divisor, &claim->rest);
    assert_true(count == 2 || count == 4);
}

static uint32_t claims_live(const struct claims *claims)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < claims->count; i++)
        count += claims->claims[i].last > 0;
    return count;
}

static bool claims_cover(const struct claims *claims, unsigned slot)
{
    for (uint32_t i = 0; i < claims->count; i++) {
        const struct claim *claim = &claims->claims[i];
        if (claim->last > 0 && slot >= claim->first && slot <= claim->last &&
            slot % claim->divisor == claim->rest)
            return true;
    }
    return false;
}

static void claim_take(void *arg, char *const *words, uint32_t count)
{
    struct claims *claims = arg;
    bool is_set = strcmp(words[0], "HSET") == 0;
    if (count < 3 || (!is_set && strcmp(words[0], "HDEL") != 0) ||
        strncmp(words[1], POSITION_KEY, sizeof(POSITION_KEY) - 1) != 0)
        return;
    for (uint32_t i = 2; i < count; i += is_set ? 2 : 1) {
        const char *colon = strchr(words[i], ':');
        if (colon == NULL || strcmp(colon, ":lane") != 0)
            continue;
        struct claim *claim = claim_of(claims, words[1]);
        claim->last = 0;
        if (is_set)
            claim_set(claim, words[i + 1]);
        claims->writes++;
    }
    for (unsigned slot = 0; slot < SLOTS_CHECKED; slot++) {
        if (!claims_cover(claims, slot))
            fail_msg("behind %s %s no position speaks for slot %u", words[0], words[1], slot);
    }
}

typedef void take_function(void *arg, char *const *words, uint32_t count);

/* The words of a line of MONITOR, which have no quotes inside. */
static void take_line(take_function *take, void *arg, char *line)
{
    char *words[12];
    uint32_t count = 0;
    for (char *quote = strchr(line, '"'); quote != NULL && count < 12;) {
        char *end = strchr(quote + 1, '"');
        if (end == NULL)
            break;
        *end = '\0';
        words[count++] = quote + 1;
        quote = strchr(end + 1, '"');
    }
    if (count > 0)
        take(arg, words, count);
}

/* What was told to the server up to the command that has this word. */
static void monitor_read(redisContext *monitor, const char *end, take_function *take, void *arg)
{
    for (bool is_over = false; !is_over;) {
        redisReply *reply = NULL;
        if (redisGetReply(monitor, (void **)&reply) != REDIS_OK)
            test_fatal("MONITOR: %s", monitor->errstr);
        is_over = strstr(reply->str, end) != NULL;
        take_line(take, arg, reply->str);
        freeReplyObject(reply);
    }
}

/* What is there now. */
static void claims_read(struct claims *claims, const struct live_side *destination)
{
    redisContext *redis = test_connect(destination->cluster.nodes[0].port);
    redisReply *keys = test_command(redis, "KEYS " POSITION_KEY "*");
    claims->count = 0;
    for (size_t i = 0; i < keys->elements; i++) {
        redisReply *hash = test_command(redis, "HGETALL %s", keys->element[i]->str);
        for (size_t f = 0; f + 1 < hash->elements; f += 2) {
            const char *colon = strchr(hash->element[f]->str, ':');
            if (colon != NULL && strcmp(colon, ":lane") == 0)
                claim_set(claim_of(claims, keys->element[i]->str), hash->element[f + 1]->str);
        }
        freeReplyObject(hash);
    }
    freeReplyObject(keys);
    redisFree(redis);
}

/* A crash between two writes of a new layout must leave positions for every slot: or the next run
 * would begin with a full copy. So every write is looked at. */
static void test_layout_is_always_whole(void **state)
{
    (void)state;
    static const char *const lanes[] = {"2", "3", "1", "4", "2"};
    struct live_side source, destination;
    struct claims claims = {0};
    live_side_start(&source, TEST_REQUIRED_VERSION, 0, 0, source_arguments);
    live_side_start(&destination, TEST_REQUIRED_VERSION, 2, 0, NULL);
    load(&source, &destination, 2);
    for (uint32_t i = 0; i < sizeof(lanes) / sizeof(lanes[0]); i++) {
        struct test_cli cli;
        char end[24];
        redisContext *monitor = test_connect(destination.cluster.nodes[0].port);
        test_command_ok(monitor, "MONITOR");
        live_spawn(&cli, &source, &destination, "--lanes", lanes[i], NULL);
        live_wait_phase(&cli, "live");
        test_command_ok(live_redis(&source), "INCR counter");
        live_wait_level(&cli, &source);
        snprintf(end, sizeof(end), "end-of-%u", i);
        redisContext *redis = test_connect(destination.cluster.nodes[0].port);
        test_command_ok(redis, "ECHO %s", end);
        redisFree(redis);
        /* The first run writes one lane after the other, behind its snapshot. */
        if (i > 0)
            monitor_read(monitor, end, claim_take, &claims);
        redisFree(monitor);
        test_cli_kill(&cli);
        claims_read(&claims, &destination);
        assert_int_equal(claims_live(&claims), strtoul(lanes[i], NULL, 10));
        assert_int_equal(live_streams_sum(&cli, "snapshots"), i == 0 ? 1 : 0);
    }
    assert_true(claims.writes > 0);
    live_side_stop(&source);
    live_side_stop(&destination);
}

/* ---- an interrupted recovery ---- */

/* The one position in the first shard's hashes. */
struct place {
    char key[POSITION_NAME_MAX];
    char replid[POSITION_REPLID_SIZE + 1];
    unsigned long long offset, until;
    unsigned db, gap;
    uint32_t between; /* positions that were written before `until` */
};

static void place_parse(struct place *place, const char *value)
{
    assert_int_equal(
        sscanf(value, "%llu %u %u %llu", &place->offset, &place->db, &place->gap, &place->until),
        4);
}

static void place_read(struct place *place, const struct live_side *destination)
{
    redisContext *redis = test_connect(destination->cluster.nodes[0].port);
    redisReply *keys = test_command(redis, "KEYS " POSITION_KEY "*");
    assert_int_equal(keys->elements, 1);
    redisReply *hash = test_command(redis, "HGETALL %s", keys->element[0]->str);
    snprintf(place->key, sizeof(place->key), "%s", keys->element[0]->str);
    for (size_t f = 0; f + 1 < hash->elements; f += 2) {
        if (hash->element[f]->len == POSITION_REPLID_SIZE) {
            snprintf(place->replid, sizeof(place->replid), "%s", hash->element[f]->str);
            place_parse(place, hash->element[f + 1]->str);
        }
    }
    freeReplyObject(hash);
    freeReplyObject(keys);
    redisFree(redis);
}

static void place_take(void *arg, char *const *words, uint32_t count)
{
    struct place *wanted = arg;
    struct place now;
    if (count < 4 || strcmp(words[0], "HSET") != 0 || strcmp(words[1], wanted->key) != 0 ||
        strcmp(words[2], wanted->replid) != 0)
        return;
    place_parse(&now, words[3]);
    if (now.offset < wanted->until) {
        assert_int_equal(now.until, wanted->until);
        wanted->between += now.offset > wanted->offset;
    }
}

static void increments(struct live_side *source, struct test_cli *cli, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        test_client_send(source->client, NULL, "INCR counter:%d", (int)(i % 50));
    test_client_flush(source->client);
    live_wait_level(cli, source);
}

/* Up to an offset it is not known what was executed, and the run that settles this may be killed as
 * well: so every position that it writes before that offset must go on saying so. */
static void test_uncertain_until_settled(void **state)
{
    (void)state;
    struct live_side source, destination;
    struct place before, place;
    struct test_cli cli;
    live_side_start(&source, TEST_REQUIRED_VERSION, 0, 0, source_arguments);
    live_side_start(&destination, TEST_REQUIRED_VERSION, 2, 0, NULL);
    load(&source, &destination, 2);
    live_spawn(&cli, &source, &destination, "--lanes", "1", NULL);
    live_wait_phase(&cli, "live");
    increments(&source, &cli, 10);
    place_read(&before, &destination);
    increments(&source, &cli, 2000);
    pause_ms(3 * POSITION_INTERVAL_MS);
    test_cli_kill(&cli);
    place_read(&place, &destination);
    assert_true(place.offset > before.offset);

    char value[80];
    snprintf(value, sizeof(value), "%llu %u 0 %llu", before.offset, before.db, place.offset);
    redisContext *redis = test_connect(destination.cluster.nodes[0].port);
    test_command_ok(redis, "HSET %s %s %s", place.key, place.replid, value);
    place.until = place.offset;
    place.offset = before.offset;
    place.between = 0;
    redisContext *monitor = test_connect(destination.cluster.nodes[0].port);
    test_command_ok(monitor, "MONITOR");
    live_spawn(&cli, &source, &destination, "--lanes", "1", NULL);
    live_wait_phase(&cli, "live");
    increments(&source, &cli, 10);
    test_command_ok(redis, "ECHO the-end");
    monitor_read(monitor, "the-end", place_take, &place);
    assert_true(place.between > 0);
    redisFree(monitor);
    redisFree(redis);
    live_stop(&cli);
    live_assert_equal(&source, &destination);
    live_side_stop(&source);
    live_side_stop(&destination);
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
        cmocka_unit_test(test_killed_while_relays_wait),
        cmocka_unit_test(test_connections_cut),
        cmocka_unit_test(test_destination_restarts),
        cmocka_unit_test(test_destination_forgets),
        cmocka_unit_test(test_out_of_memory),
        cmocka_unit_test(test_memory_flickers),
        cmocka_unit_test(test_destination_goes_back),
        cmocka_unit_test(test_killed_at_barriers),
        cmocka_unit_test(test_layout_is_always_whole),
        cmocka_unit_test(test_uncertain_until_settled),
        cmocka_unit_test(test_starts),
        cmocka_unit_test(test_restart),
        cmocka_unit_test(test_killed_in_snapshot),
    };
    cmocka_set_test_filter(getenv("SYNCLINE_TEST_FILTER"));
    if (!test_cli_available())
        return 77;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
