#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/base/clock.h"
#include "tests/support/dataset.h"
#include "tests/support/servers.h"
#include "tests/support/writer.h"

/* Every other live test rests on this: each version starts, takes the whole data set without an
 * error reply, and a replica of it then compares equal. A command that an old server does not know
 * would end the program. */
static void test_every_version_takes_the_data(void **state)
{
    (void)state;
    for (uint32_t i = 0; test_versions[i] != NULL; i++) {
        struct test_server master, replica;
        if (!test_server_available(test_versions[i]))
            continue;
        test_server_start(&master, test_versions[i], NULL);
        struct test_client *client = test_client_new(master.port);
        uint64_t keys = dataset_load(client, 1, 9);
        assert_int_equal(dataset_key_count(client), keys);
        test_server_start(&replica, test_versions[i], NULL);
        test_server_replicate(&replica, &master);
        struct test_client *copy = test_client_new(replica.port);
        assert_int_equal(dataset_key_count(copy), keys);
        if (test_has_command(test_client_at(client, 0), "pexpiretime")) {
            assert_int_equal(dataset_compare(client, copy, NULL), 0);
            /* The comparison itself must see one changed value, one changed expiry, one missing. */
            test_command_ok(test_client_at(copy, 0), "REPLICAOF NO ONE");
            test_command_ok(test_client_at(copy, 0), "APPEND d:raw:0 x");
            test_command_ok(test_client_at(copy, 0), "PERSIST d:ttl:1");
            test_command_ok(test_client_at(copy, 0), "DEL d:set:2");
            assert_int_equal(dataset_compare(client, copy, NULL), 3);
        }
        test_client_free(client);
        test_client_free(copy);
        test_server_stop(&replica);
        test_server_stop(&master);
    }
}

/* The writer must never get an error of its own making, or tests of errors would be blind: a mix of
 * everything, over databases, slots and transactions. */
static void test_writer_on_a_standalone_server(void **state)
{
    (void)state;
    for (uint32_t i = 0; test_versions[i] != NULL; i++) {
        struct test_server server;
        if (!test_server_available(test_versions[i]))
            continue;
        test_server_start(&server, test_versions[i], NULL);
        struct writer *writer = writer_start(&(struct writer_options){.port = server.port,
                                                                      .seed = 7,
                                                                      .key_count = 100,
                                                                      .db_count = 3,
                                                                      .is_cross_slot = true,
                                                                      .has_transactions = true});
        uint64_t deadline = test_deadline(20000);
        while (writer_count(writer) < 20000)
            test_poll(deadline, "20000 commands");
        assert_true(writer_stop(writer, NULL) >= 20000);
        test_server_stop(&server);
    }
}

static void test_cluster_with_data_and_writer(void **state)
{
    (void)state;
    /* A cluster must be ready when start returns: any CLUSTERDOWN, MOVED or CROSSSLOT is an error
     * in the load or of the writer, and every node must get a share. */
    struct test_cluster cluster;
    test_cluster_start(&cluster, TEST_REQUIRED_VERSION, 3, 1, NULL);
    struct test_client *client = test_client_new(cluster.nodes[0].port);
    assert_true(test_client_is_cluster(client));
    assert_int_equal(test_client_count(client), 3);
    uint64_t keys = dataset_load(client, 2, 9);
    assert_int_equal(dataset_key_count(client), keys);
    for (uint32_t i = 0; i < 3; i++)
        assert_true(test_command_integer(test_client_at(client, i), "DBSIZE") > 20);
    struct writer *writer = writer_start(
        &(struct writer_options){.port = cluster.nodes[1].port, .seed = 3, .has_transactions = 1});
    uint64_t deadline = test_deadline(20000);
    while (writer_count(writer) < 20000)
        test_poll(deadline, "20000 commands");
    writer_stop(writer, NULL);
    /* A rate is kept to, or a test that follows a slow writer becomes one of a fast one. */
    writer = writer_start(&(struct writer_options){
        .port = cluster.nodes[2].port, .seed = 4, .rate_max = 2000, .key_count = 64});
    uint64_t begin_ms = clock_monotonic_ms();
    while (writer_count(writer) < 1000)
        test_poll(deadline, "1000 commands");
    assert_true(clock_monotonic_ms() - begin_ms >= 400);
    writer_stop(writer, NULL);
    test_client_free(client);
    test_cluster_stop(&cluster);
}

/* A killed server must be gone, be reported to the writer as lost, and come back on its port. */
static void test_kill_and_restart(void **state)
{
    (void)state;
    struct test_server server;
    struct writer_result result;
    test_server_start(&server, TEST_REQUIRED_VERSION, (const char *[]){"--maxclients", "99", NULL});
    struct writer *writer = writer_start(&(struct writer_options){.port = server.port, .seed = 5});
    uint64_t deadline = test_deadline(10000);
    while (writer_count(writer) < 1000)
        test_poll(deadline, "1000 commands");
    test_server_kill(&server);
    writer_stop(writer, &result);
    assert_true(result.is_lost);
    test_server_restart(&server);
    redisContext *context = test_connect(server.port);
    assert_int_equal(test_command_integer(context, "DBSIZE"), 0);
    redisReply *reply = test_command(context, "CONFIG GET maxclients");
    assert_string_equal(reply->element[1]->str, "99");
    freeReplyObject(reply);
    redisFree(context);
    test_server_stop(&server);
}

/* Servers that outlive a crashed test would hold ports and memory for good: a child that starts one
 * and dies of SIGKILL takes it along. */
static void test_servers_die_with_the_test(void **state)
{
    (void)state;
    int ends[2];
    struct test_server server;
    uint16_t port = 0;
    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        test_server_start(&server, TEST_REQUIRED_VERSION, NULL);
        if (write(ends[1], &server.port, sizeof(server.port)) != sizeof(server.port))
            _exit(1);
        pause();
        _exit(1);
    }
    assert_int_equal(read(ends[0], &port, sizeof(port)), sizeof(port));
    redisContext *context = test_connect(port);
    kill(child, SIGKILL);
    assert_int_equal(waitpid(child, NULL, 0), child);
    uint64_t deadline = test_deadline(5000);
    for (bool is_gone = false; !is_gone;) {
        redisReply *reply = test_command_try(context, "PING");
        is_gone = reply == NULL;
        freeReplyObject(reply);
        if (!is_gone)
            test_poll(deadline, "the server to die with its test");
    }
    redisFree(context);
    close(ends[0]);
    close(ends[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_version_takes_the_data),
        cmocka_unit_test(test_writer_on_a_standalone_server),
        cmocka_unit_test(test_cluster_with_data_and_writer),
        cmocka_unit_test(test_kill_and_restart),
        cmocka_unit_test(test_servers_die_with_the_test),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
