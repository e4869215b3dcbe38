/* Discovery against real servers and clusters, and the parsing of what older and newer ones say. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "apply/topology_private.h"
#include "tests/support/client.h"
#include "tests/support/servers.h"

#define TIMEOUT_MS 5000

static struct endpoint local(uint16_t port)
{
    struct endpoint endpoint = {.host = "127.0.0.1", .port = port};
    return endpoint;
}

static void expect_error(const struct syn_err *err, enum syn_code code, const char *words)
{
    if (err->code != code || strstr(err->msg, words) == NULL) {
        fail_msg("expected %d \"%s\", got %d: %s", (int)code, words, (int)err->code, err->msg);
    }
}

static void discover_ok(struct topology *topology,
                        enum side side,
                        const struct endpoint *hosts,
                        uint32_t host_count,
                        bool prefer_replica)
{
    struct syn_err err;
    if (!topology_discover(topology, side, hosts, host_count, prefer_replica, TIMEOUT_MS, &err)) {
        fail_msg("%s", err.msg);
    }
}

static void discover_fails(enum side side,
                           const struct endpoint *hosts,
                           uint32_t host_count,
                           enum syn_code code,
                           const char *words)
{
    struct topology topology;
    struct syn_err err;
    assert_false(topology_discover(&topology, side, hosts, host_count, false, TIMEOUT_MS, &err));
    expect_error(&err, code, words);
    topology_deinit(&topology);
}

/* ---- parsing ---- */

static redisReply *parse(const char *resp)
{
    redisReader *reader = redisReaderCreate();
    void *reply = NULL;
    assert_int_equal(redisReaderFeed(reader, resp, strlen(resp)), REDIS_OK);
    assert_int_equal(redisReaderGetReply(reader, &reply), REDIS_OK);
    assert_non_null(reply);
    redisReaderFree(reader);
    return reply;
}

#define ID(c) "$40\r\n" c c c c c c c c c c "\r\n"
#define ID_A ID("aaaa")
#define ID_B ID("bbbb")

/* Three generations of node forms, empty and nil addresses, ranges of one master in several
 * entries: read wrongly, slots would go to the wrong server. */
static void test_slots_forms(void **state)
{
    (void)state;
    struct control control = {.endpoint = local(7000), .side = SIDE_SOURCE};
    snprintf(control.endpoint.host, sizeof(control.endpoint.host), "seed.example");
    struct cluster_slots slots;
    struct syn_err err;
    redisReply *reply = parse("*4\r\n"
                              "*3\r\n:0\r\n:99\r\n*2\r\n$8\r\n10.0.0.1\r\n:7001\r\n"
                              "*3\r\n:200\r\n:16383\r\n*2\r\n$8\r\n10.0.0.1\r\n:7001\r\n"
                              "*4\r\n:100\r\n:150\r\n*3\r\n$0\r\n\r\n:7000\r\n" ID_A
                              "*3\r\n$1\r\n?\r\n:7002\r\n" ID_B
                              "*3\r\n:151\r\n:151\r\n*4\r\n$-1\r\n:7000\r\n" ID_A "*0\r\n");
    assert_true(cluster_slots_read(&slots, &control, reply, &err));
    freeReplyObject(reply);
    assert_int_equal(slots.shard_count, 2);
    assert_string_equal(slots.shards[0].master.endpoint.host, "10.0.0.1");
    assert_int_equal(slots.shards[0].slot_count, 100 + 16184);
    assert_int_equal(slots.shards[0].range_count, 2);
    assert_string_equal(slots.shards[1].master.endpoint.host, "seed.example");
    assert_int_equal(slots.shards[1].master.endpoint.port, 7000);
    assert_int_equal(slots.shards[1].replica_count, 0); /* "?" is skipped */
    assert_int_equal(slots.slot_shard[150], 1);
    assert_int_equal(slots.slot_shard[151], 1);
    assert_int_equal(slots.slot_shard[200], 0);
    char text[64];
    assert_int_equal(cluster_slots_missing(&slots, text, sizeof(text)), 48);
    assert_string_equal(text, "152-199");
    cluster_slots_deinit(&slots);
}

/* Malformed and hostile answers must be errors, never a crash or a half-read map. */
static void test_slots_malformed(void **state)
{
    (void)state;
    struct control control = {.endpoint = local(7000), .side = SIDE_DESTINATION};
    static const char *const bad[] = {
        "+OK\r\n",
        "*1\r\n+x\r\n",
        "*1\r\n*2\r\n:0\r\n:1\r\n",
        "*1\r\n*3\r\n:0\r\n:16384\r\n*2\r\n$1\r\na\r\n:1\r\n",
        "*1\r\n*3\r\n:5\r\n:4\r\n*2\r\n$1\r\na\r\n:1\r\n",
        "*1\r\n*3\r\n:-1\r\n:4\r\n*2\r\n$1\r\na\r\n:1\r\n",
        "*1\r\n*3\r\n:0\r\n:4\r\n*1\r\n$1\r\na\r\n",
        "*1\r\n*3\r\n:0\r\n:4\r\n*2\r\n:1\r\n:1\r\n",
        "*1\r\n*3\r\n:0\r\n:4\r\n*2\r\n$1\r\n?\r\n:1\r\n",
        "*1\r\n*3\r\n:0\r\n:4\r\n*2\r\n$1\r\na\r\n:70000\r\n",
        "*1\r\n*4\r\n:0\r\n:4\r\n*2\r\n$1\r\na\r\n:1\r\n+x\r\n",
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct cluster_slots slots;
        struct syn_err err;
        redisReply *reply = parse(bad[i]);
        assert_false(cluster_slots_read(&slots, &control, reply, &err));
        expect_error(&err, SYN_CODE_DESTINATION_PROTOCOL, "CLUSTER SLOTS");
        freeReplyObject(reply);
        cluster_slots_deinit(&slots);
    }
}

/* Valkey tells a fixed old redis_version: its own must win, or its abilities are misjudged. */
static void test_info_forms(void **state)
{
    (void)state;
    struct server server = {.endpoint = local(1)};
    server_parse("redis_version:7.2.4\r\nserver_name:valkey\r\nvalkey_version:9.1.2\r\n"
                 "redis_mode:cluster\r\nrole:slave\r\nmaster_link_status:up\r\n"
                 "master_replid:abc\r\nmaster_repl_offset:77\r\nrun_id:xyz\r\n# Keyspace\r\n"
                 "db0:keys=12,expires=0,avg_ttl=0\r\ndb11:keys=3,expires=1,avg_ttl=9\r\n",
                 &server);
    assert_int_equal(server.version, 90102);
    assert_true(server.is_valkey && server.is_cluster && server.is_replica && server.is_link_up);
    assert_int_equal(server.key_count, 15);
    assert_int_equal(server.db_max, 11);
    assert_int_equal(server.offset, 77);
    assert_int_equal(server.endpoint.port, 1);
    server_parse("redis_version:2.8.24\r\nrole:master\r\n", &server);
    assert_int_equal(server.version, 20824);
    assert_false(server.is_valkey || server.is_cluster || server.is_replica);
}

/* ---- standalone ---- */

static void test_standalone(void **state)
{
    /* What a server says of itself must arrive whole: later decisions rest on it. */
    (void)state;
    struct test_server server;
    test_server_start(&server, TEST_REQUIRED_VERSION, NULL);
    redisContext *client = test_connect(server.port);
    test_command_ok(client, "SET a 1");
    test_command_ok(client, "SELECT 5");
    test_command_ok(client, "SET b 1");
    struct endpoint host = local(server.port);
    struct topology topology;
    discover_ok(&topology, SIDE_SOURCE, &host, 1, true); /* no replica: the master, a warning */
    assert_false(topology.is_cluster);
    assert_int_equal(topology.shard_count, 1);
    assert_int_equal(topology.slot_shard[16383], 0);
    const struct server *seen = &topology.shards[0].server;
    assert_int_equal(seen->key_count, 2);
    assert_int_equal(seen->db_max, 5);
    assert_int_equal(strlen(seen->run_id), 40);
    assert_int_equal(strlen(seen->replid), 40);
    assert_true(topology.version_min >= 70000);
    assert_false(seen->is_replica);
    topology_deinit(&topology);

    struct endpoint several[] = {host, host};
    discover_fails(
        SIDE_SOURCE, several, 2, SYN_CODE_SOURCE_STATE, "several hosts must be nodes of one");
    struct endpoint down = local(test_port_free(false));
    discover_fails(SIDE_SOURCE, &down, 1, SYN_CODE_SOURCE_CONNECT, "nothing listens there");
    redisFree(client);
    test_server_kill(&server);
}

/* Replicas: good as a source while linked, never as a destination, preferred when asked. */
static void test_replica(void **state)
{
    (void)state;
    struct test_server master, replica;
    test_server_start(&master, TEST_REQUIRED_VERSION, NULL);
    test_server_start(&replica, TEST_REQUIRED_VERSION, NULL);
    test_server_replicate(&replica, &master);
    struct endpoint at_master = local(master.port), at_replica = local(replica.port);
    struct topology topology;
    discover_ok(&topology, SIDE_SOURCE, &at_replica, 1, false);
    assert_true(topology.shards[0].server.is_replica);
    topology_deinit(&topology);
    discover_ok(&topology, SIDE_SOURCE, &at_master, 1, false);
    assert_false(topology.shards[0].server.is_replica);
    topology_deinit(&topology);
    /* A master lists its replica as online a moment after the replica's link is up. */
    redisContext *client = test_connect(master.port);
    uint64_t deadline = test_deadline(10000);
    char line[128];
    for (;;) {
        test_info(client, "slave0", line, sizeof(line));
        if (strstr(line, "state=online") != NULL) {
            break;
        }
        test_poll(deadline, "replica online");
    }
    redisFree(client);
    discover_ok(&topology, SIDE_SOURCE, &at_master, 1, true);
    assert_int_equal(topology.shards[0].server.endpoint.port, replica.port);
    assert_int_equal(topology.shards[0].master.endpoint.port, master.port);
    topology_deinit(&topology);

    char words[64];
    snprintf(words, sizeof(words), "is a replica of 127.0.0.1:%u", (unsigned)master.port);
    discover_fails(SIDE_DESTINATION, &at_replica, 1, SYN_CODE_DESTINATION_STATE, words);
    test_server_kill(&master);
    client = test_connect(replica.port);
    deadline = test_deadline(10000);
    do {
        test_poll(deadline, "link down");
        test_info(client, "master_link_status", line, sizeof(line));
    } while (strcmp(line, "down") != 0);
    redisFree(client);
    discover_fails(SIDE_SOURCE, &at_replica, 1, SYN_CODE_SOURCE_STATE, "its link to it is down");
    test_server_kill(&replica);
}

/* ---- cluster ---- */

/* Every slot must map to the server that really owns it; any seed will do; a stranger among the
 * seeds is refused; replicas are used when asked. */
static void test_cluster(void **state)
{
    (void)state;
    struct test_cluster cluster;
    test_cluster_start(&cluster, TEST_REQUIRED_VERSION, 3, 1, NULL);
    struct endpoint hosts[] = {
        local(test_port_free(false)), local(cluster.nodes[4].port), local(cluster.nodes[1].port)};
    struct topology topology;
    discover_ok(&topology, SIDE_DESTINATION, hosts, 3, false);
    assert_true(topology.is_cluster);
    assert_int_equal(topology.shard_count, 3);
    struct test_client *client = test_client_new(cluster.nodes[0].port);
    for (uint32_t slot = 0; slot < SLOT_COUNT; slot += 111) {
        const struct shard *shard = &topology.shards[topology.slot_shard[slot]];
        redisContext *owner = test_client_connection(client, (uint16_t)slot);
        assert_int_equal(shard->server.endpoint.port, owner->tcp.port);
        assert_false(shard->server.is_replica);
        assert_int_equal(strlen(shard->node_id), 40);
    }
    test_client_free(client);
    topology_deinit(&topology);

    /* A node lists a replica once it has heard of its offset by gossip. */
    uint64_t deadline = test_deadline(20000);
    for (uint32_t found = 0; found < 3;) {
        discover_ok(&topology, SIDE_SOURCE, hosts, 3, true);
        found = 0;
        for (uint32_t i = 0; i < 3; i++) {
            found += topology.shards[i].server.is_replica;
        }
        if (found < 3) {
            topology_deinit(&topology);
            test_poll(deadline, "replicas in CLUSTER SLOTS");
        }
    }
    for (uint32_t i = 0; i < 3; i++) {
        const struct shard *shard = &topology.shards[i];
        assert_true(shard->server.is_replica && shard->server.is_link_up);
        assert_false(shard->master.is_replica);
        assert_string_equal(shard->server.replid, shard->master.replid);
    }
    topology_deinit(&topology);

    struct test_server stranger;
    test_server_start(&stranger, TEST_REQUIRED_VERSION, NULL);
    hosts[0] = hosts[1];
    hosts[1] = local(stranger.port);
    discover_fails(SIDE_SOURCE, hosts, 2, SYN_CODE_SOURCE_STATE, "is not a node of the cluster");
    test_server_kill(&stranger);

    /* A hole in the map: the message says where. */
    redisContext *admin = test_connect(cluster.nodes[0].port);
    test_command_ok(admin, "CLUSTER DELSLOTS 100 101 102 4000");
    struct endpoint seed = local(cluster.nodes[0].port);
    discover_fails(SIDE_SOURCE,
                   &seed,
                   1,
                   SYN_CODE_SOURCE_STATE,
                   "4 cluster slots are not covered by any server: 100-102, 4000");
    /* Slots are there again, but the cluster has not agreed, or a master is gone. */
    test_command_ok(admin, "CLUSTER ADDSLOTS 100 101 102 4000");
    redisFree(admin);
    test_server_kill(&cluster.nodes[5]);
    test_server_kill(&cluster.nodes[2]);
    struct syn_err err;
    assert_false(topology_discover(&topology, SIDE_SOURCE, &seed, 1, false, TIMEOUT_MS, &err));
    assert_true(err.code == SYN_CODE_SOURCE_STATE || err.code == SYN_CODE_SOURCE_CONNECT);
    test_cluster_stop(&cluster);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_slots_forms),
        cmocka_unit_test(test_slots_malformed),
        cmocka_unit_test(test_info_forms),
        cmocka_unit_test(test_standalone),
        cmocka_unit_test(test_replica),
        cmocka_unit_test(test_cluster),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
