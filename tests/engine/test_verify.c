/* Verification against real servers: equal is equal in any encoding, each kind of difference is
 * found, and what moves meanwhile is no false alarm. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "core/engine/verify_private.h"
#include "tests/support/client.h"
#include "tests/support/dataset.h"
#include "tests/support/servers.h"
#include "tests/support/writer.h"

#define SEEN_MAX 64
#define SERVER TEST_REQUIRED_VERSION

/* All collections leave their compact form, all lists have small nodes. */
static const char *const sparse[] = {"--hash-max-listpack-entries",
                                     "0",
                                     "--zset-max-listpack-entries",
                                     "0",
                                     "--set-max-intset-entries",
                                     "0",
                                     "--list-max-listpack-size",
                                     "1",
                                     "--stream-node-max-entries",
                                     "2",
                                     "--rdbcompression",
                                     "no",
                                     NULL};

struct seen {
    struct syn_difference list[SEEN_MAX];
    char keys[SEEN_MAX][64];
    uint32_t count;
    uint32_t progress_count;
    uint32_t stop_after; /* progress calls; 0: never */
};

static struct config config;
static struct seen seen;
static struct syn_verify_result result;

static void on_difference(void *arg, const struct syn_difference *difference)
{
    struct seen *to = arg;
    if (to->count < SEEN_MAX) {
        to->list[to->count] = *difference;
        snprintf(to->keys[to->count],
                 sizeof(to->keys[0]),
                 "%.*s",
                 (int)difference->key_size,
                 (const char *)difference->key);
    }
    to->count++;
}

static bool on_progress(void *arg, const struct syn_verify_result *so_far)
{
    struct seen *to = arg;
    (void)so_far;
    to->progress_count++;
    return to->stop_after == 0 || to->progress_count < to->stop_after;
}

static void config_reset(uint16_t from, uint16_t to)
{
    memset(&config, 0, sizeof(config));
    config.source.host_count = 1;
    config.source.hosts[0] = (struct endpoint){.host = "127.0.0.1", .port = from};
    config.destination.host_count = 1;
    config.destination.hosts[0] = (struct endpoint){.host = "127.0.0.1", .port = to};
    config.connect_timeout_ms = 5000;
    config.verify_rounds = 2;
    config.verify_interval_ms = 20;
    config.ttl_tolerance_ms = 500;
}

static bool run(struct syn_err *err)
{
    uint32_t stop_after = seen.stop_after;
    memset(&seen, 0, sizeof(seen));
    seen.stop_after = stop_after;
    return verify_run(&config, on_difference, on_progress, &seen, &result, err);
}

static void run_ok(void)
{
    struct syn_err err;
    if (!run(&err)) {
        fail_msg("%s", err.msg);
    }
    assert_int_equal(result.differences, seen.count);
}

static void print_seen(void)
{
    for (uint32_t i = 0; i < seen.count && i < SEEN_MAX; i++) {
        print_message("  db %u %s: %s: %s\n",
                      seen.list[i].db,
                      seen.keys[i],
                      syn_difference_name(seen.list[i].kind),
                      seen.list[i].detail);
    }
}

static void expect_none(void)
{
    print_seen();
    assert_int_equal(seen.count, 0);
}

/* Exactly one difference for this key, of this kind, with these words. */
static void expect_seen(const char *key, enum syn_difference_kind kind, const char *words)
{
    for (uint32_t i = 0; i < seen.count && i < SEEN_MAX; i++) {
        if (strcmp(seen.keys[i], key) == 0) {
            if (seen.list[i].kind != kind || strstr(seen.list[i].detail, words) == NULL) {
                print_seen();
                fail_msg("%s: not %s \"%s\"", key, syn_difference_name(kind), words);
            }
            return;
        }
    }
    print_seen();
    fail_msg("%s: not reported", key);
}

/* Makes `to` a copy of `from`, by the servers' own means. */
static void copy(struct test_server *from, struct test_server *to)
{
    test_server_replicate(to, from);
    redisContext *source = test_connect(from->port);
    redisContext *client = test_connect(to->port);
    int64_t count = test_command_integer(source, "DBSIZE");
    uint64_t deadline = test_deadline(10000);
    while (test_command_integer(client, "DBSIZE") != count) {
        test_poll(deadline, "the copy");
    }
    test_command_ok(client, "REPLICAOF NO ONE");
    redisFree(client);
    redisFree(source);
}

/* One of each type; about so many elements. `client` is selected already. */
static void load(redisContext *client, uint32_t elements)
{
    test_command_ok(
        client, "SET string %s", "a text that is long enough to be a raw string, isn't it");
    test_command_ok(client, "SET number 12345");
    for (uint32_t i = 0; i < elements; i++) {
        redisAppendCommand(client, "RPUSH list element-%u", i * 7 % 1000);
        redisAppendCommand(client, "SADD set member-%u", i);
        redisAppendCommand(client, "SADD numbers %u", i * 3);
        redisAppendCommand(client, "HSET hash field-%u value-%u", i, i * 5);
        redisAppendCommand(client, "ZADD zset %u.25 member-%u", i % 50, i);
        redisAppendCommand(client, "XADD stream %u-1 f %u g x", i + 1, i);
    }
    for (uint32_t i = 0; i < elements * 6; i++) {
        redisReply *reply = NULL;
        assert_int_equal(redisGetReply(client, (void **)&reply), REDIS_OK);
        assert_int_not_equal(reply->type, REDIS_REPLY_ERROR);
        freeReplyObject(reply);
    }
    test_command_ok(client, "ZADD zset inf top -inf bottom -0.0 zero");
    test_command_ok(client, "XGROUP CREATE stream readers 0");
    test_command_ok(client, "XREADGROUP GROUP readers ann COUNT 3 STREAMS stream >");
    test_command_ok(client, "XDEL stream 2-1");
}

/* Copies in the same and in another encoding are equal, from either side; the counters say how it
 * was found out. */
static void test_equal(void **state)
{
    (void)state;
    struct test_server a, same, other;
    test_server_start(&a, SERVER, NULL);
    test_server_start(&same, SERVER, NULL);
    test_server_start(&other, SERVER, sparse);
    struct test_client *client = test_client_new(a.port);
    dataset_load(client, 42, 40);
    uint64_t keys = dataset_key_count(client);
    test_client_free(client);
    copy(&a, &same);
    copy(&a, &other);
    config_reset(a.port, same.port);
    run_ok();
    expect_none();
    assert_int_equal(result.keys_source, keys);
    assert_int_equal(result.keys_destination, keys);
    assert_int_equal(result.keys_compared, keys);
    assert_int_equal(result.equal_payload + result.equal_content, keys);
    assert_true(result.equal_payload > keys / 2);
    assert_int_equal(result.rechecked, 0);
    config_reset(a.port, other.port);
    run_ok();
    expect_none();
    assert_int_equal(result.equal_payload + result.equal_content, keys);
    assert_true(result.equal_content > 0);
    config_reset(other.port, a.port);
    run_ok();
    expect_none();
    config.verify = VERIFY_FAST;
    run_ok();
    expect_none();
    assert_int_equal(result.keys_compared, keys);
    test_server_kill(&a);
    test_server_kill(&same);
    test_server_kill(&other);
}

static void spoil(redisContext *client)
{
    test_command_ok(client, "SETRANGE string 3 X");
    test_command_ok(client, "SET number 12346");
    test_command_ok(client, "LSET list 1 other");
    test_command_ok(client, "SREM set member-1");
    test_command_ok(client, "SADD set member-x");
    test_command_ok(client, "SREM numbers 3");
    test_command_ok(client, "HSET hash field-1 other");
    test_command_ok(client, "ZADD zset 7.5 member-1");
    test_command_ok(client, "XADD stream 99999999-1 f last");
}

/* One element of each type differs, with small and with large values, in the same and in other
 * encodings: each is found, and nothing else. */
static void check_values(uint32_t elements, const char *const *arguments)
{
    struct test_server a, b;
    test_server_start(&a, SERVER, NULL);
    test_server_start(&b, SERVER, arguments);
    redisContext *client = test_connect(a.port);
    load(client, elements);
    copy(&a, &b);
    config_reset(a.port, b.port);
    run_ok();
    expect_none();
    redisContext *other = test_connect(b.port);
    spoil(other);
    run_ok();
    expect_seen("string", SYN_DIFFERENCE_VALUE, "string: other content of the same size");
    expect_seen("number", SYN_DIFFERENCE_VALUE, "string");
    expect_seen("list", SYN_DIFFERENCE_VALUE, "list: other content of the same size");
    expect_seen("set", SYN_DIFFERENCE_VALUE, "set: other content of the same size");
    expect_seen("numbers", SYN_DIFFERENCE_VALUE, "set:");
    expect_seen("hash", SYN_DIFFERENCE_VALUE, "hash: other content of the same size");
    expect_seen("zset", SYN_DIFFERENCE_VALUE, "zset: other content of the same size");
    expect_seen("stream", SYN_DIFFERENCE_VALUE, "stream:");
    assert_int_equal(seen.count, 8);
    assert_int_equal(result.keys_compared, 8);
    redisFree(other);
    redisFree(client);
    test_server_kill(&a);
    test_server_kill(&b);
}

static void test_values(void **state)
{
    (void)state;
    check_values(20, NULL);
    check_values(20, sparse);
    check_values(25000, NULL);
    check_values(25000, sparse);
}

/* Presence, type, expiry and, in the fast mode, length; keys are binary and messages without
 * content. */
static void test_kinds(void **state)
{
    (void)state;
    struct test_server a, b;
    test_server_start(&a, SERVER, NULL);
    test_server_start(&b, SERVER, NULL);
    redisContext *from = test_connect(a.port);
    redisContext *to = test_connect(b.port);
    test_command_ok(from, "SET missing 1");
    test_command_ok(to, "SET extra 1");
    test_command_ok(from, "SET type 1");
    test_command_ok(to, "RPUSH type 1");
    test_command_ok(from, "SET longer secret-content PX 1000000");
    test_command_ok(to, "SET longer secret PX 1000000");
    test_command_ok(from, "SET ttl 1 PX 1000000");
    test_command_ok(to, "SET ttl 1 PX 2000000");
    test_command_ok(from, "SET no-ttl 1");
    test_command_ok(to, "SET no-ttl 1 PX 2000000");
    test_command_ok(from, "SET near 1 PXAT 4000000000000");
    test_command_ok(to, "SET near 1 PXAT 4000000000400");
    test_command_ok(from, "SET %b 1", "bin\0key", (size_t)7);
    test_command_ok(to, "SET %b 1", "bin\0key", (size_t)7);
    for (int fast = 0; fast < 2; fast++) {
        config_reset(a.port, b.port);
        config.verify = fast ? VERIFY_FAST : VERIFY_FULL;
        run_ok();
        expect_seen("missing", SYN_DIFFERENCE_MISSING, "string at the source, nothing at the dest");
        expect_seen("extra", SYN_DIFFERENCE_EXTRA, "string at the destination, nothing at the so");
        expect_seen("type", SYN_DIFFERENCE_TYPE, "string at the source, list at the destination");
        expect_seen("longer",
                    fast ? SYN_DIFFERENCE_LENGTH : SYN_DIFFERENCE_VALUE,
                    fast ? "string: length 14 at the source, 6" : "string: 14 at the source, 6 at");
        expect_seen("ttl", SYN_DIFFERENCE_TTL, "expires in ");
        expect_seen("no-ttl", SYN_DIFFERENCE_TTL, "expires never at the source");
        assert_int_equal(seen.count, 6);
        for (uint32_t i = 0; i < seen.count; i++) {
            assert_null(strstr(seen.list[i].detail, "secret"));
            assert_null(strstr(seen.list[i].detail, "still changing"));
        }
        assert_int_equal(result.keys_source, 7);
        assert_int_equal(result.keys_destination, 7);
        assert_int_equal(result.keys_compared, 6);
    }
    config.verify_rounds = 0; /* the first look decides */
    run_ok();
    assert_int_equal(seen.count, 6);
    redisFree(from);
    redisFree(to);
    test_server_kill(&a);
    test_server_kill(&b);
}

/* The parts of a stream beside its entries. */
static void test_streams(void **state)
{
    (void)state;
    static const char *const changes[] = {
        "XGROUP CREATE s more 0",
        "XGROUP SETID s g 1-1",
        "XGROUP DESTROY s g",
        "XGROUP CREATECONSUMER s g bob",
        "XACK s g 1-1",
        "XCLAIM s g bob 0 1-1",
        "XCLAIM s g ann 0 1-1 RETRYCOUNT 9",
        "XDEL s 3-1",
        "XSETID s 50-1",
    };
    struct test_server a, b;
    test_server_start(&a, SERVER, NULL);
    test_server_start(&b, SERVER, sparse);
    redisContext *from = test_connect(a.port);
    redisContext *to = test_connect(b.port);
    redisContext *both[] = {from, to};
    for (size_t i = 0; i < sizeof(changes) / sizeof(changes[0]); i++) {
        for (int side = 0; side < 2; side++) {
            test_command_ok(both[side], "FLUSHALL");
            for (int id = 1; id < 6; id++) {
                test_command_ok(both[side], "XADD s %d-1 f v%d", id, id);
            }
            test_command_ok(both[side], "XGROUP CREATE s g 0");
            test_command_ok(both[side], "XREADGROUP GROUP g ann COUNT 2 STREAMS s >");
        }
        config_reset(a.port, b.port);
        run_ok(); /* delivery times differ, which is no difference */
        expect_none();
        assert_int_equal(result.equal_content, 1);
        test_command_ok(to, changes[i]);
        run_ok();
        if (seen.count != 1) {
            fail_msg("%s: not noticed", changes[i]);
        }
        expect_seen("s", SYN_DIFFERENCE_VALUE, "stream");
    }
    redisFree(from);
    redisFree(to);
    test_server_kill(&a);
    test_server_kill(&b);
}

/* Values beyond what is dumped: read in pieces, with bounded memory, and a single byte is found. */
static void test_huge(void **state)
{
    (void)state;
    struct test_server a, b;
    test_server_start(&a, SERVER, NULL);
    test_server_start(&b, SERVER, NULL);
    redisContext *both[] = {test_connect(a.port), test_connect(b.port)};
    for (int side = 0; side < 2; side++) {
        test_command_ok(both[side], "SETRANGE huge %d x", 70 << 20);
        test_command_ok(both[side], "SET huge-ttl x PX 10000000");
        test_command_ok(both[side], "SETRANGE huge-ttl %d x", 65 << 20);
        test_command_ok(both[side], "SET small 1");
        load(both[side], 100);
    }
    config_reset(a.port, b.port);
    run_ok();
    expect_none();
    assert_int_equal(result.keys_compared, 11);
    test_command_ok(both[1], "SETRANGE huge 50000000 y");
    test_command_ok(both[1], "PERSIST huge-ttl");
    run_ok();
    assert_int_equal(seen.count, 2);
    expect_seen("huge", SYN_DIFFERENCE_VALUE, "string: other content of the same size");
    expect_seen("huge-ttl", SYN_DIFFERENCE_TTL, "never at the destination");
    for (int side = 0; side < 2; side++) {
        redisFree(both[side]);
    }
    test_server_kill(&a);
    test_server_kill(&b);
}

/* A key whose time comes during the verification is nobody's loss. */
static void test_expiry(void **state)
{
    (void)state;
    struct test_server a, b;
    test_server_start(&a, SERVER, NULL);
    test_server_start(&b, SERVER, NULL);
    redisContext *both[] = {test_connect(a.port), test_connect(b.port)};
    int64_t now = clock_unix_ms();
    for (int side = 0; side < 2; side++) {
        for (int i = 0; i < 3000; i++) {
            redisAppendCommand(both[side], "SET e:%d v PXAT %lld", i, (long long)now + 100 + i / 3);
        }
        for (int i = 0; i < 3000; i++) {
            redisReply *reply = NULL;
            assert_int_equal(redisGetReply(both[side], (void **)&reply), REDIS_OK);
            freeReplyObject(reply);
        }
    }
    test_command_ok(both[0], "SET due v PX 300"); /* within the tolerance of 500 ms */
    test_command_ok(both[1], "SET due-there v PX 300");
    config_reset(a.port, b.port);
    run_ok();
    expect_none();
    assert_true(result.expired >= 2);
    uint64_t deadline = test_deadline(5000);
    while (test_command_integer(both[0], "EXISTS e:2999") == 1) {
        run_ok();
        expect_none();
        test_poll(deadline, "expiry");
    }
    for (int side = 0; side < 2; side++) {
        redisFree(both[side]);
    }
    test_server_kill(&a);
    test_server_kill(&b);
}

/* Both sides are written all the time, one a moment behind the other: nothing may be reported. The
 * servers' own replication keeps them in step, so the side that follows is given as the source. */
static void test_writes_in_flight(void **state)
{
    (void)state;
    struct test_server master, follower;
    test_server_start(&master, SERVER, NULL);
    test_server_start(&follower, SERVER, sparse);
    test_server_replicate(&follower, &master);
    const struct writer_options options = {
        .port = master.port, .seed = 7, .key_count = 50, .rate_max = 3000, .db_count = 2};
    struct writer *writer = writer_start(&options);
    uint64_t deadline = test_deadline(10000);
    while (writer_count(writer) < 3000) {
        test_poll(deadline, "writes");
    }
    /* A 7.0 master begins to stream up to a second after the replica's link is up. */
    redisContext *client = test_connect(follower.port);
    while (test_command_integer(client, "DBSIZE") == 0) {
        test_poll(deadline, "the follower's first keys");
    }
    redisFree(client);
    config_reset(follower.port, master.port);
    config.verify_rounds = 10;
    config.verify_interval_ms = 50;
    for (int i = 0; i < 3; i++) {
        uint64_t before = writer_count(writer);
        run_ok();
        expect_none();
        if (result.keys_compared == 0) {
            fail_msg("nothing compared: %llu keys at the source, %llu at the destination",
                     (unsigned long long)result.keys_source,
                     (unsigned long long)result.keys_destination);
        }
        deadline = test_deadline(10000);
        while (writer_count(writer) == before) {
            test_poll(deadline, "more writes");
        }
    }
    writer_stop(writer, NULL);
    test_server_kill(&follower);
    test_server_kill(&master);
}

static _Atomic bool is_counting;

static void *count_up(void *arg)
{
    redisContext *client = arg;
    while (atomic_load_acquire(&is_counting)) {
        test_command_ok(client, "INCR counter");
    }
    return NULL;
}

/* A key that nobody carries over while the source changes it: reported, and what is not known about
 * it is said. */
static void test_still_changing(void **state)
{
    (void)state;
    struct test_server a, b;
    test_server_start(&a, SERVER, NULL);
    test_server_start(&b, SERVER, NULL);
    redisContext *from = test_connect(a.port);
    redisContext *to = test_connect(b.port);
    test_command_ok(from, "SET counter 1");
    test_command_ok(to, "SET counter 0");
    atomic_store_release(&is_counting, true);
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, count_up, from), 0);
    config_reset(a.port, b.port);
    run_ok();
    atomic_store_release(&is_counting, false);
    pthread_join(thread, NULL);
    assert_int_equal(seen.count, 1);
    expect_seen("counter", SYN_DIFFERENCE_VALUE, "still changing");
    redisFree(from);
    redisFree(to);
    test_server_kill(&a);
    test_server_kill(&b);
}

/* A difference that is mended between the looks is counted, not reported. */
struct mend {
    redisContext *client;
    uint32_t looks;
};

static bool mend_progress(void *arg, const struct syn_verify_result *so_far)
{
    struct mend *mend = arg;
    (void)so_far;
    if (++mend->looks == 1) {
        test_command_ok(mend->client, "SET late 1");
        test_command_ok(mend->client, "SET other 2");
        test_command_ok(mend->client, "DEL gone");
    }
    return true;
}

static void test_recheck(void **state)
{
    (void)state;
    struct test_server a, b;
    test_server_start(&a, SERVER, NULL);
    test_server_start(&b, SERVER, NULL);
    redisContext *from = test_connect(a.port);
    redisContext *to = test_connect(b.port);
    test_command_ok(from, "MSET late 1 other 2");
    test_command_ok(to, "MSET other 1 gone 1");
    config_reset(a.port, b.port);
    config.verify_interval_ms = 300; /* progress is told while waiting */
    struct mend mend = {.client = to};
    struct syn_err err;
    assert_true(verify_run(&config, NULL, mend_progress, &mend, &result, &err));
    assert_int_equal(result.differences, 0);
    assert_int_equal(result.rechecked, 3);
    redisFree(from);
    redisFree(to);
    test_server_kill(&a);
    test_server_kill(&b);
}

/* Databases: only the selected ones, each against its target, in both directions. */
static void test_databases(void **state)
{
    (void)state;
    struct test_server a, b;
    test_server_start(&a, SERVER, NULL);
    test_server_start(&b, SERVER, NULL);
    redisContext *from = test_connect(a.port);
    redisContext *to = test_connect(b.port);
    for (int db = 0; db < 16; db++) {
        test_command_ok(from, "SELECT %d", db);
        test_command_ok(to, "SELECT %d", db);
        test_command_ok(from, "MSET k:%d v only 1", db);
        test_command_ok(to, "MSET k:%d v only 1", db);
    }
    config_reset(a.port, b.port);
    run_ok();
    expect_none();
    assert_int_equal(result.keys_source, 32);
    /* 3 goes to 7, 4 stays, the rest is not selected. */
    test_command_ok(to, "SELECT 7");
    test_command_ok(to, "FLUSHDB");
    test_command_ok(to, "MSET k:3 v extra 1");
    config.has_db_rules = true;
    for (uint32_t i = 0; i < CONFIG_DB_MAX; i++) {
        config.db_map[i] = i == 3 ? 7 : i == 4 ? 4 : CONFIG_DB_NONE;
    }
    run_ok();
    assert_int_equal(seen.count, 2);
    expect_seen("only", SYN_DIFFERENCE_MISSING, "nothing at the destination");
    expect_seen("extra", SYN_DIFFERENCE_EXTRA, "nothing at the source");
    assert_int_equal(seen.list[0].db, 3);
    assert_int_equal(seen.list[1].db, 3);
    assert_int_equal(result.keys_source, 4);
    assert_int_equal(result.keys_destination, 4);
    redisFree(from);
    redisFree(to);
    test_server_kill(&a);
    test_server_kill(&b);
}

/* Standalone against cluster, both ways round, and the cluster's replicas as the source. */
static void test_cluster(void **state)
{
    (void)state;
    struct test_server a;
    struct test_cluster cluster;
    test_server_start(&a, SERVER, sparse);
    test_cluster_start(&cluster, SERVER, 3, 1, NULL);
    struct test_client *clients[] = {test_client_new(a.port),
                                     test_client_new(cluster.nodes[0].port)};
    for (int side = 0; side < 2; side++) {
        for (int i = 0; i < 3000; i++) {
            char key[32];
            snprintf(key, sizeof(key), "key:%d", i);
            test_client_send(clients[side], key, "SET %s value-%d", key, i);
            snprintf(key, sizeof(key), "hash:%d", i);
            test_client_send(clients[side], key, "HSET %s a %d b x", key, i);
        }
        test_client_flush(clients[side]);
        assert_int_equal(test_client_errors(clients[side]), 0);
    }
    config_reset(a.port, cluster.nodes[1].port);
    run_ok();
    expect_none();
    assert_int_equal(result.keys_compared, 6000);
    assert_int_equal(result.equal_content, 3000);
    test_client_send(clients[1], "key:17", "SET key:17 other");
    test_client_send(clients[1], "key:18", "DEL key:18");
    test_client_send(clients[1], "extra", "SET extra 1");
    test_client_flush(clients[1]);
    run_ok();
    assert_int_equal(seen.count, 3);
    expect_seen("key:17", SYN_DIFFERENCE_VALUE, "string");
    expect_seen("key:18", SYN_DIFFERENCE_MISSING, "string");
    expect_seen("extra", SYN_DIFFERENCE_EXTRA, "string");
    config_reset(cluster.nodes[2].port, a.port);
    config.prefer_replica = true;
    config.verify_interval_ms = 200;
    run_ok();
    assert_int_equal(seen.count, 3);
    expect_seen("key:18", SYN_DIFFERENCE_EXTRA, "string");
    assert_int_equal(result.keys_source, 6000);
    test_client_free(clients[0]);
    test_client_free(clients[1]);
    test_cluster_stop(&cluster);
    test_server_kill(&a);
}

/* More differences than are kept for a second look: all are reported, and it is said. */
static void test_bound(void **state)
{
    (void)state;
    struct test_server a, b;
    test_server_start(&a, SERVER, NULL);
    test_server_start(&b, SERVER, NULL);
    redisContext *from = test_connect(a.port);
    for (uint32_t i = 0; i < SUSPECTS_MAX + 500; i += 500) {
        test_command_ok(from,
                        "EVAL %s 0 %u",
                        "for i=ARGV[1]+0,ARGV[1]+499 do "
                        "redis.call('SET','k:'..i,'v') end",
                        i);
    }
    config_reset(a.port, b.port);
    config.verify_rounds = 1;
    run_ok();
    assert_int_equal(result.differences, SUSPECTS_MAX + 500);
    assert_non_null(strstr(seen.list[0].detail, "not read again"));
    redisFree(from);
    test_server_kill(&a);
    test_server_kill(&b);
}

/* Stopped by the caller, a side that dies, an account that may not read: ends with an error that
 * says so, never with a result that looks complete. */
static void test_ends_early(void **state)
{
    (void)state;
    struct test_server a, b;
    test_server_start(&a, SERVER, NULL);
    test_server_start(&b, SERVER, NULL);
    redisContext *from = test_connect(a.port);
    redisContext *to = test_connect(b.port);
    test_command_ok(from, "SET a 1");
    config_reset(a.port, b.port);
    struct syn_err err;
    seen.stop_after = 1;
    assert_false(run(&err));
    assert_int_equal(err.code, SYN_CODE_STOPPED);
    seen.stop_after = 0;
    test_command_ok(to, "ACL SETUSER blind on >pw ~* +@all -dump");
    snprintf(config.destination.hosts[0].user, 128, "blind");
    snprintf(config.destination.hosts[0].password, 128, "pw");
    assert_false(run(&err));
    assert_int_equal(err.code, SYN_CODE_DESTINATION_AUTH);
    assert_non_null(strstr(err.msg, "DUMP: the account lacks a permission"));
    test_command_ok(to, "ACL SETUSER blind +dump -memory");
    run_ok(); /* sizes are a convenience */
    /* Each allocation fails once: a clean error each time, nothing leaks, then it works. */
    for (uint64_t n = 1;; n++) {
        assert_true(n < 1000);
        mem_fail_at(n);
        bool ok = run(&err);
        bool was_reached = mem_call_count() >= n;
        mem_fail_at(0);
        if (ok && !was_reached) {
            break;
        }
        assert_true(ok || err.code == SYN_CODE_MEMORY);
    }
    assert_int_equal(mem_live_bytes(MEM_ENGINE), 0);
    assert_int_equal(mem_live_bytes(MEM_APPLY), 0);
    test_server_kill(&b);
    assert_false(run(&err));
    assert_int_equal(err.code, SYN_CODE_DESTINATION_CONNECT);
    redisFree(from);
    redisFree(to);
    test_server_kill(&a);
}

int main(int argc, char **argv)
{
    if (argc > 1) {
        cmocka_set_test_filter(argv[1]); /* one test by its name, for people */
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_equal),
        cmocka_unit_test(test_values),
        cmocka_unit_test(test_kinds),
        cmocka_unit_test(test_streams),
        cmocka_unit_test(test_huge),
        cmocka_unit_test(test_expiry),
        cmocka_unit_test(test_writes_in_flight),
        cmocka_unit_test(test_still_changing),
        cmocka_unit_test(test_recheck),
        cmocka_unit_test(test_databases),
        cmocka_unit_test(test_cluster),
        cmocka_unit_test(test_bound),
        cmocka_unit_test(test_ends_early),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
