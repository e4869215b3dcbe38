/* What cannot work must end with the documented exit status and a message that says what happened,
 * where, and what to do. The texts checked here are what a user acts on. */
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
#include "tests/support/fake_peer.h"

/* Empty, but for one key at the source. */
static int one_key(void **state)
{
    sides_empty(state);
    test_command_ok(live_redis(&source), "SET key value");
    return 0;
}

/* Runs between two addresses; `texts` of its standard error, NULL-terminated. Nothing may have been
 * written. */
static void expect_refusal(const char *from, const char *to, int status, const char *const *texts)
{
    struct live_side left = source, right = destination;
    char *errors;
    snprintf(left.uri, sizeof(left.uri), "%s", from);
    snprintf(right.uri, sizeof(right.uri), "%s", to);
    int ended = live_run(&errors, &left, &right, "--connect-timeout", "2s", NULL);
    if (ended != status)
        fail_msg("exit status %d instead of %d: %s", ended, status, errors);
    for (; *texts != NULL; texts++)
        live_expect_texts(errors, *texts, NULL);
    free(errors);
    assert_int_equal(dataset_key_count(destination.client), 0);
}
#define EXPECT_REFUSAL(from, to, status, ...)                                                      \
    expect_refusal(from, to, status, (const char *[]){__VA_ARGS__, NULL})

static void test_unknown_host(void **state)
{
    (void)state;
    EXPECT_REFUSAL(
        "no-such-host.invalid:6379", destination.uri, 5, "source", "no-such-host.invalid");
    EXPECT_REFUSAL(
        source.uri, "no-such-host.invalid:6379", 7, "destination", "no-such-host.invalid");
}

static void test_refused(void **state)
{
    (void)state;
    char uri[32];
    snprintf(uri, sizeof(uri), "127.0.0.1:%u", test_port_free(false));
    EXPECT_REFUSAL(uri, destination.uri, 5, "source", uri, "nothing listens there");
    EXPECT_REFUSAL(source.uri, uri, 7, "destination", uri, "nothing listens there");
    EXPECT_REFUSAL(
        "unix:///no/such.sock", destination.uri, 5, "/no/such.sock", "no such unix socket");
}

static void test_wrong_credentials(void **state)
{
    (void)state;
    struct live_side *sides[] = {&source, &destination};
    for (int i = 0; i < 2; i++) {
        int status = i == 0 ? 5 : 7;
        char bad[128];
        test_command_ok(live_redis(sides[i]), "CONFIG SET requirepass right");
        EXPECT_REFUSAL(source.uri, destination.uri, status, "password");
        snprintf(bad, sizeof(bad), "redis://:wr0ng@127.0.0.1:%u", live_port(sides[i]));
        EXPECT_REFUSAL(i == 0 ? bad : source.uri,
                       i == 0 ? destination.uri : bad,
                       status,
                       "the user name or password is wrong");
        snprintf(bad, sizeof(bad), "redis://nobody:right@127.0.0.1:%u", live_port(sides[i]));
        EXPECT_REFUSAL(i == 0 ? bad : source.uri,
                       i == 0 ? destination.uri : bad,
                       status,
                       "the user name or password is wrong");
        test_command_ok(live_redis(sides[i]), "CONFIG SET requirepass %s", "");
        test_command_ok(live_redis(sides[i]), "ACL SETUSER default on nopass");
    }
}

/* A missing permission found in the middle would leave half a copy. */
static void test_no_permission(void **state)
{
    (void)state;
    char uri[128];
    test_command_ok(live_redis(&source), "ACL SETUSER weak on >pw ~* &* +@all -psync");
    snprintf(uri, sizeof(uri), "redis://weak:pw@127.0.0.1:%u", live_port(&source));
    EXPECT_REFUSAL(uri, destination.uri, 5, "weak", "psync", "ACL SETUSER");
    test_command_ok(live_redis(&destination), "ACL SETUSER weak on >pw ~* &* +@all -rpush");
    snprintf(uri, sizeof(uri), "redis://weak:pw@127.0.0.1:%u", live_port(&destination));
    EXPECT_REFUSAL(source.uri, uri, 7, "weak", "rpush", "ACL SETUSER");
}

/* A right that is taken away while running: the command and the user's right are named. */
static void test_permission_withdrawn(void **state)
{
    (void)state;
    struct live_side right = destination;
    struct test_cli cli;
    test_command_ok(live_redis(&destination), "ACL SETUSER shrinking on >pw ~* &* +@all");
    snprintf(right.uri, sizeof(right.uri), "redis://shrinking:pw@127.0.0.1:%u", live_port(&right));
    live_spawn(&cli, &source, &right, "--retry-connection", "0", "--retry-other", "0", NULL);
    live_wait_phase(&cli, "live");
    test_command_ok(live_redis(&destination), "ACL SETUSER shrinking -lpush");
    test_command_ok(live_redis(&source), "LPUSH list a");
    live_expect_end(&cli, 7, "NOPERM", "LPUSH", "offset", "grant", NULL);
}

static void play_web_server(struct fake_peer *peer, void *arg)
{
    (void)arg;
    fake_peer_accept(peer);
    fake_peer_has_input(peer, 5000);
    fake_peer_send_text(peer, "HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n");
    fake_peer_wait_closed(peer);
}

static void test_not_a_redis(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        struct fake_peer peer;
        char uri[32];
        fake_peer_start(&peer, NULL, play_web_server, NULL);
        snprintf(uri, sizeof(uri), "127.0.0.1:%u", peer.port);
        EXPECT_REFUSAL(i == 0 ? uri : source.uri,
                       i == 0 ? destination.uri : uri,
                       i == 0 ? 5 : 7,
                       uri,
                       "HTTP server",
                       "check host and port");
        assert_null(fake_peer_finish(&peer));
    }
}

static void test_same_server(void **state)
{
    (void)state;
    struct live_side same = source;
    char *errors;
    int status = live_run(&errors, &source, &same, NULL);
    assert_int_equal(status, 4);
    live_expect_texts(errors, "same server", "correct one of the two addresses", NULL);
    free(errors);
}

/* A replica of the source as destination: refused before its master's writes come around. */
static void test_destination_is_replica(void **state)
{
    (void)state;
    test_server_replicate(&destination.server, &source.server);
    struct live_side right = destination;
    char *errors;
    int status = live_run(&errors, &source, &right, NULL);
    /* The destination is reachable and cannot serve, or the pair is refused: nothing is written
     * either way. */
    if (status != 7 && status != 4)
        fail_msg("exit status %d: %s", status, errors);
    live_expect_texts(errors, "replica", "REPLICAOF NO ONE", NULL);
    free(errors);
    test_command_ok(live_redis(&destination), "REPLICAOF NO ONE");
}

/* A replica without its master serves data of unknown age. */
static void test_source_replica_without_link(void **state)
{
    (void)state;
    test_command_ok(live_redis(&source), "REPLICAOF 127.0.0.1 %d", (int)test_port_free(false));
    EXPECT_REFUSAL(source.uri, destination.uri, 5, "replica", "link", "give the master");
    test_command_ok(live_redis(&source), "REPLICAOF NO ONE");
}

static void test_uncovered_slots(void **state)
{
    (void)state;
    struct live_side cluster;
    char *errors;
    live_side_start(&cluster, TEST_REQUIRED_VERSION, 2, 0, NULL);
    for (uint32_t i = 0; i < 2; i++)
        test_command_ok(test_client_at(cluster.client, i), "CLUSTER DELSLOTS 100 101 102 7000");
    int status = live_run(&errors, &cluster, &destination, NULL);
    if (status != 5)
        fail_msg("exit status %d: %s", status, errors);
    live_expect_texts(errors, "4 cluster slots", "100-102", "7000", "CLUSTER ADDSLOTS", NULL);
    free(errors);
    status = live_run(&errors, &source, &cluster, NULL);
    if (status != 7)
        fail_msg("exit status %d: %s", status, errors);
    live_expect_texts(errors, "4 cluster slots", "100-102", "7000", "CLUSTER ADDSLOTS", NULL);
    free(errors);
    live_side_stop(&cluster);
}

/* A dead destination must not be waited for, and never be reported as done. */
static void kill_destination(bool in_snapshot)
{
    struct live_side right;
    struct test_cli cli;
    char address[32];
    live_side_start(&right, TEST_REQUIRED_VERSION, 0, 0, NULL);
    snprintf(address, sizeof(address), "127.0.0.1:%u", live_port(&right));
    dataset_load(source.client, 1, 60);
    if (in_snapshot)
        test_command_ok(live_redis(&source), "CONFIG SET rdb-key-save-delay 1000");
    live_spawn(&cli, &source, &right, "--retry-connection", "0", "--retry-other", "0", NULL);
    if (in_snapshot) {
        uint64_t deadline = test_deadline(LIVE_WAIT_MS);
        while (live_total(&cli, "keys") < 50)
            test_poll(deadline, "keys of the snapshot");
    } else {
        live_wait_phase(&cli, "live");
    }
    test_server_kill(&right.server);
    live_expect_end(&cli, 7, "destination", address, "connection", NULL);
    test_command_ok(live_redis(&source), "CONFIG SET rdb-key-save-delay 0");
    test_client_free(right.client);
}

static void test_destination_dies_in_snapshot(void **state)
{
    (void)state;
    kill_destination(true);
}

static void test_destination_dies_in_live(void **state)
{
    (void)state;
    kill_destination(false);
}

static void test_source_dies_without_retry(void **state)
{
    (void)state;
    struct live_side left;
    struct test_cli cli;
    char address[32];
    live_side_start(&left, TEST_REQUIRED_VERSION, 0, 0, NULL);
    snprintf(address, sizeof(address), "127.0.0.1:%u", live_port(&left));
    live_spawn(&cli, &left, &destination, "--retry-connection", "0", NULL);
    live_wait_phase(&cli, "live");
    test_server_kill(&left.server);
    live_expect_end(&cli, 5, address, "in the stream", NULL);
    test_client_free(left.client);
}

/* The limit of retrying must end it, with the last reason. */
static void test_source_dies_with_little_retry(void **state)
{
    (void)state;
    struct live_side left;
    struct test_cli cli;
    char address[32];
    live_side_start(&left, TEST_REQUIRED_VERSION, 0, 0, NULL);
    snprintf(address, sizeof(address), "127.0.0.1:%u", live_port(&left));
    live_spawn(&cli, &left, &destination, "--retry-connection", "700ms", NULL);
    live_wait_phase(&cli, "live");
    test_server_kill(&left.server);
    live_expect_end(&cli, 5, address, "700 ms", NULL);
    test_client_free(left.client);
}

static void test_destination_out_of_memory(void **state)
{
    (void)state;
    struct test_cli cli;
    dataset_load(source.client, 2, 30);
    test_command_ok(live_redis(&destination), "CONFIG SET maxmemory-policy noeviction");
    test_command_ok(live_redis(&destination), "CONFIG SET maxmemory 3mb");
    live_spawn(&cli, &source, &destination, "--retry-other", "0", NULL);
    live_expect_end(&cli, 7, "OOM", "snapshot byte", "raise the destination's maxmemory", NULL);
    test_command_ok(live_redis(&destination), "CONFIG SET maxmemory 0");
}

static void test_destination_misconf(void **state)
{
    (void)state;
    struct test_cli cli;
    struct live_side right;
    live_side_start(
        &right, TEST_REQUIRED_VERSION, 0, 0, (const char *[]){"--dbfilename", "folder", NULL});
    live_spawn(&cli, &source, &right, "--retry-connection", "0", "--retry-other", "0", NULL);
    live_wait_phase(&cli, "live");
    /* A folder in the place of the file makes every save fail. */
    test_command_ok(live_redis(&right), "CONFIG SET save %s", "3600 1");
    char path[200];
    snprintf(path, sizeof(path), "%s/folder/x", right.server.folder);
    char command[256];
    snprintf(command, sizeof(command), "mkdir -p '%s'", path);
    assert_int_equal(system(command), 0);
    test_command_ok(live_redis(&right), "BGSAVE");
    char value[32] = "";
    uint64_t deadline = test_deadline(LIVE_WAIT_MS);
    while (strcmp(value, "err") != 0) {
        test_info(live_redis(&right), "rdb_last_bgsave_status", value, sizeof(value));
        test_poll(deadline, "a failed save");
    }
    test_command_ok(live_redis(&source), "SET after misconf");
    live_expect_end(&cli, 7, "MISCONF", "SET", "persistence", NULL);
    test_server_kill(&right.server); /* a stop would try to save again */
    test_client_free(right.client);
}

/* The destination becomes a replica while data arrives: its refusals must not pass as success. */
static void test_destination_fails_over(void **state)
{
    (void)state;
    struct live_side right, other;
    struct test_cli cli;
    live_side_start(&right, TEST_REQUIRED_VERSION, 0, 0, NULL);
    live_side_start(&other, TEST_REQUIRED_VERSION, 0, 0, NULL);
    live_spawn(&cli, &source, &right, "--retry-connection", "0", "--retry-other", "0", NULL);
    live_wait_phase(&cli, "live");
    test_server_replicate(&right.server, &other.server);
    test_command_ok(live_redis(&source), "SET after failover");
    live_expect_end(&cli, 7, "READONLY", "start again with its new master", NULL);
    live_side_stop(&right);
    live_side_stop(&other);
}

/* A database that the destination does not have: refused before anything is written, and in the
 * stream with its number. */
static void test_too_few_databases(void **state)
{
    (void)state;
    struct live_side right;
    struct test_cli cli;
    char *errors;
    live_side_start(
        &right, TEST_REQUIRED_VERSION, 0, 0, (const char *[]){"--databases", "4", NULL});
    test_command_ok(live_redis(&source), "SELECT 9");
    test_command_ok(live_redis(&source), "SET key value");
    assert_int_equal(live_run(&errors, &source, &right, NULL), 4);
    live_expect_texts(errors, "database 9", "4 databases", "--db-map", NULL);
    free(errors);
    test_command_ok(live_redis(&source), "DEL key");
    live_spawn(&cli, &source, &right, "--retry-connection", "0", "--retry-other", "0", NULL);
    live_wait_phase(&cli, "live");
    test_command_ok(live_redis(&source), "SET key value");
    test_command_ok(live_redis(&source), "SELECT 0");
    live_expect_end(&cli, 7, "SELECT 9", "databases", NULL);
    live_side_stop(&right);
}

static void test_database_of_a_cluster(void **state)
{
    (void)state;
    struct live_side cluster;
    struct test_cli cli;
    char *errors;
    live_side_start(&cluster, TEST_REQUIRED_VERSION, 2, 0, NULL);
    test_command_ok(live_redis(&source), "SELECT 3");
    test_command_ok(live_redis(&source), "SET key value");
    assert_int_equal(live_run(&errors, &source, &cluster, NULL), 4);
    live_expect_texts(errors, "database 3", "cluster", "--db-map 3:0", NULL);
    free(errors);
    test_command_ok(live_redis(&source), "DEL key");
    live_spawn(&cli, &source, &cluster, NULL);
    live_wait_phase(&cli, "live");
    test_command_ok(live_redis(&source), "SET key value");
    test_command_ok(live_redis(&source), "SELECT 0");
    live_expect_end(&cli, 7, "SET", "database 3", "cluster", "--db-map", NULL);
    live_side_stop(&cluster);
}

/* A source whose last write was in a database that is empty by now: its snapshot says that the
 * stream is there, and its PINGs and other commands without keys are no reason to refuse it. */
static void test_empty_database_to_a_cluster(void **state)
{
    (void)state;
    struct live_side cluster;
    struct test_cli cli;
    redisContext *from = live_redis(&source);
    assert_int_equal(live_run(NULL, &source, &destination, "--once", NULL), 0); /* a backlog */
    live_side_start(&cluster, TEST_REQUIRED_VERSION, 2, 0, NULL);
    test_command_ok(from, "CONFIG SET repl-ping-replica-period 1");
    test_command_ok(from, "SELECT 3");
    test_command_ok(from, "SET gone x");
    test_command_ok(from, "DEL gone");
    live_spawn(&cli, &source, &cluster, NULL);
    live_wait_phase(&cli, "live");
    test_command_ok(from, "PUBLISH channel text");
    test_command_ok(from, "SCRIPT FLUSH");
    uint64_t deadline = test_deadline(LIVE_WAIT_MS);
    while (live_total(&cli, "dropped") < 2)
        test_poll(deadline, "PINGs of the source");
    test_command_ok(from, "FLUSHALL");
    test_command_ok(from, "SELECT 0");
    test_command_ok(from, "SET key value");
    live_wait_level(&cli, &source);
    test_command_ok(from, "CONFIG SET repl-ping-replica-period 10");
    live_stop(&cli);
    live_assert_equal(&source, &cluster);
    live_side_stop(&cluster);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_unknown_host, one_key),
        cmocka_unit_test_setup(test_refused, one_key),
        cmocka_unit_test_setup(test_wrong_credentials, one_key),
        cmocka_unit_test_setup(test_no_permission, one_key),
        cmocka_unit_test_setup(test_permission_withdrawn, one_key),
        cmocka_unit_test_setup(test_not_a_redis, one_key),
        cmocka_unit_test_setup(test_same_server, one_key),
        cmocka_unit_test_setup(test_destination_is_replica, one_key),
        cmocka_unit_test_setup(test_source_replica_without_link, one_key),
        cmocka_unit_test_setup(test_uncovered_slots, one_key),
        cmocka_unit_test_setup(test_destination_dies_in_snapshot, one_key),
        cmocka_unit_test_setup(test_destination_dies_in_live, one_key),
        cmocka_unit_test_setup(test_source_dies_without_retry, one_key),
        cmocka_unit_test_setup(test_source_dies_with_little_retry, one_key),
        cmocka_unit_test_setup(test_destination_out_of_memory, one_key),
        cmocka_unit_test_setup(test_destination_misconf, one_key),
        cmocka_unit_test_setup(test_destination_fails_over, one_key),
        cmocka_unit_test_setup(test_too_few_databases, one_key),
        cmocka_unit_test_setup(test_database_of_a_cluster, one_key),
        cmocka_unit_test_setup(test_empty_database_to_a_cluster, one_key),
    };
    cmocka_set_test_filter(getenv("SYNCLINE_TEST_FILTER"));
    if (!test_cli_available())
        return 77;
    return cmocka_run_group_tests(tests, sides_start, sides_stop);
}
