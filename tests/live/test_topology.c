/* Every pair of topologies, with writes during snapshot and stream. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/live/live.h"

#define KEYS_PER_TYPE 40
#define RATE 4000

struct pair {
    uint32_t source_masters; /* 0: standalone */
    uint32_t destination_masters;
    const char *io;
    const char *threads; /* readers, decoders and lanes */
};

static void assert_functions_copied(const struct live_side *source,
                                    const struct live_side *destination)
{
    redisReply *from = test_command(live_redis(source), "FUNCTION LIST WITHCODE");
    assert_int_equal(from->elements, 1);
    for (uint32_t i = 0; i < test_client_count(destination->client); i++) {
        redisReply *to =
            test_command(test_client_at(destination->client, i), "FUNCTION LIST WITHCODE");
        assert_int_equal(to->elements, 1);
        assert_string_equal(to->element[0]->element[7]->str, from->element[0]->element[7]->str);
        freeReplyObject(to);
    }
    freeReplyObject(from);
}

/* Loss, duplication or reordering anywhere between a source's socket and the destination's keyspace
 * leaves a key that differs: all types are loaded, a writer works from before the start until it is
 * live, and both sides must be equal then. */
static void copy_pair(const struct pair *pair, uint64_t seed)
{
    struct live_side source, destination;
    struct test_cli cli;
    live_side_start(&source, TEST_REQUIRED_VERSION, pair->source_masters, 0, NULL);
    live_side_start(&destination, TEST_REQUIRED_VERSION, pair->destination_masters, 0, NULL);
    if (source.is_cluster || !destination.is_cluster) {
        dataset_load(source.client, seed, KEYS_PER_TYPE);
    } else {
        /* A cluster has one database: the others' keys would rightly be refused. */
        dataset_load(source.client, seed, KEYS_PER_TYPE);
        static const int databases[] = {1, 5, 15};
        for (int i = 0; i < 3; i++) {
            test_command_ok(live_redis(&source), "SELECT %d", databases[i]);
            test_command_ok(live_redis(&source), "FLUSHDB");
        }
        test_command_ok(live_redis(&source), "SELECT 0");
    }
    struct writer *writer = live_writer(&source, &destination, seed, RATE);
    live_spawn(&cli,
               &source,
               &destination,
               "--io",
               pair->io,
               "--readers",
               pair->threads,
               "--decoders",
               pair->threads,
               "--lanes",
               pair->threads,
               NULL);
    live_wait_phase(&cli, "live");
    live_writer_more(writer, 6000);
    writer_stop(writer, NULL);
    live_wait_level(&cli, &source);
    json_t *progress = live_event(&cli, "progress");
    assert_string_equal(json_string_value(json_object_get(progress, "io")),
                        strcmp(pair->io, "uring") == 0 ? "io_uring" : "epoll");
    assert_int_equal(json_array_size(json_object_get(progress, "streams")),
                     pair->source_masters == 0 ? 1 : pair->source_masters);
    json_decref(progress);
    live_stop(&cli);
    live_assert_equal(&source, &destination);
    assert_functions_copied(&source, &destination);
    live_side_stop(&source);
    live_side_stop(&destination);
}

static void test_standalone_to_standalone(void **state)
{
    (void)state;
    copy_pair(&(struct pair){0, 0, "uring", "0"}, 1);
    copy_pair(&(struct pair){0, 0, "epoll", "2"}, 2);
}

static void test_standalone_to_cluster(void **state)
{
    (void)state;
    copy_pair(&(struct pair){0, 2, "uring", "2"}, 3);
    copy_pair(&(struct pair){0, 2, "epoll", "1"}, 4);
}

static void test_cluster_to_standalone(void **state)
{
    (void)state;
    copy_pair(&(struct pair){3, 0, "uring", "2"}, 5);
    copy_pair(&(struct pair){3, 0, "epoll", "0"}, 6);
}

static void test_cluster_to_cluster(void **state)
{
    (void)state;
    copy_pair(&(struct pair){3, 2, "uring", "2"}, 7);
    copy_pair(&(struct pair){2, 3, "epoll", "2"}, 8);
    copy_pair(&(struct pair){2, 3, "uring", "0"}, 9);
}

/* A replica's stream is its master's, but found otherwise: each shard must be read from its
 * replica, whose address the status shows, and nothing may be missing. */
static void test_prefer_replica(void **state)
{
    (void)state;
    struct live_side source, destination;
    struct test_cli cli;
    live_side_start(&source, TEST_REQUIRED_VERSION, 2, 1, NULL);
    live_side_start(&destination, TEST_REQUIRED_VERSION, 0, 0, NULL);
    dataset_load(source.client, 10, 10);
    struct writer *writer = live_writer(&source, &destination, 10, RATE);
    live_spawn(&cli, &source, &destination, "--prefer-replica", NULL);
    live_wait_phase(&cli, "live");
    live_writer_more(writer, 2000);
    writer_stop(writer, NULL);
    live_wait_level(&cli, &source);
    json_t *progress = live_event(&cli, "progress");
    const json_t *streams = json_object_get(progress, "streams");
    assert_int_equal(json_array_size(streams), 2);
    for (size_t i = 0; i < 2; i++) {
        const char *name = json_string_value(json_object_get(json_array_get(streams, i), "source"));
        char replicas[2][32];
        for (uint32_t n = 0; n < 2; n++)
            snprintf(replicas[n], 32, "127.0.0.1:%u", source.cluster.nodes[2 + n].port);
        assert_true(strcmp(name, replicas[0]) == 0 || strcmp(name, replicas[1]) == 0);
    }
    json_decref(progress);
    live_stop(&cli);
    live_assert_equal(&source, &destination);
    live_side_stop(&source);
    live_side_stop(&destination);
}

/* Unix sockets have no port and no name to resolve: every connection of both sides must go there,
 * which a server without a TCP port would show; here the counts of TCP clients do. */
static void test_unix_sockets(void **state)
{
    (void)state;
    struct live_side source, destination;
    struct test_cli cli;
    char paths[2][64];
    for (int i = 0; i < 2; i++)
        snprintf(paths[i], sizeof(paths[i]), "%s/s%d", test_folder(), i);
    live_side_start(&source,
                    TEST_REQUIRED_VERSION,
                    0,
                    0,
                    (const char *[]){"--unixsocket", paths[0], "--unixsocketperm", "700", NULL});
    live_side_start(&destination,
                    TEST_REQUIRED_VERSION,
                    0,
                    0,
                    (const char *[]){"--unixsocket", paths[1], "--unixsocketperm", "700", NULL});
    dataset_load(source.client, 11, 5);
    snprintf(source.uri, sizeof(source.uri), "unix://%s", paths[0]);
    snprintf(destination.uri, sizeof(destination.uri), "unix://%s", paths[1]);
    struct writer *writer = live_writer(&source, &destination, 11, RATE);
    live_spawn(&cli, &source, &destination, NULL);
    live_wait_phase(&cli, "live");
    live_writer_more(writer, 1000);
    writer_stop(writer, NULL);
    live_wait_level(&cli, &source);
    redisReply *list = test_command(live_redis(&source), "CLIENT LIST TYPE replica");
    assert_non_null(strstr(list->str, paths[0]));
    freeReplyObject(list);
    live_stop(&cli);
    live_assert_equal(&source, &destination);
    live_side_stop(&source);
    live_side_stop(&destination);
}

/* Credentials must reach every connection (control, replication, lanes) and appear nowhere: not in
 * the events, the errors or the command line that other users see. */
static void copy_with_credentials(bool is_acl)
{
    struct live_side source, destination;
    struct test_cli cli;
    live_side_start(&source, TEST_REQUIRED_VERSION, 0, 0, NULL);
    live_side_start(&destination, TEST_REQUIRED_VERSION, 0, 0, NULL);
    dataset_load(source.client, 12, 3);
    const char *user = is_acl ? "mover" : "";
    struct live_side *sides[] = {&source, &destination};
    for (int i = 0; i < 2; i++) {
        if (is_acl)
            test_command_ok(live_redis(sides[i]), "ACL SETUSER mover on >s3cret-%d ~* &* +@all", i);
        /* The connection that exists stays authenticated as default. */
        test_command_ok(live_redis(sides[i]), "CONFIG SET requirepass %s%d", "s3cret-", i);
        snprintf(sides[i]->uri,
                 sizeof(sides[i]->uri),
                 "redis://%s:s3cret-%d@127.0.0.1:%u",
                 user,
                 i,
                 live_port(sides[i]));
    }
    live_spawn(&cli, &source, &destination, NULL);
    live_wait_phase(&cli, "live");
    test_command_ok(live_redis(&source), "SET after live");
    live_wait_level(&cli, &source);
    char path[64], words[1024] = "";
    snprintf(path, sizeof(path), "/proc/%d/cmdline", (int)cli.pid);
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    size_t size = fread(words, 1, sizeof(words) - 1, file);
    fclose(file);
    for (size_t i = 0; i < size; i++)
        words[i] = words[i] == '\0' ? ' ' : words[i];
    assert_non_null(strstr(words, "sync"));
    assert_null(strstr(words, "s3cret"));
    live_stop(&cli);
    char *output = test_cli_output(&cli);
    char *errors = test_cli_errors(&cli);
    assert_null(strstr(output, "s3cret"));
    assert_null(strstr(errors, "s3cret"));
    free(output);
    free(errors);
    live_assert_equal(&source, &destination);
    live_side_stop(&source);
    live_side_stop(&destination);
}

static void test_password(void **state)
{
    (void)state;
    copy_with_credentials(false);
}

static void test_user_and_password(void **state)
{
    (void)state;
    copy_with_credentials(true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_standalone_to_standalone),
        cmocka_unit_test(test_standalone_to_cluster),
        cmocka_unit_test(test_cluster_to_standalone),
        cmocka_unit_test(test_cluster_to_cluster),
        cmocka_unit_test(test_prefer_replica),
        cmocka_unit_test(test_unix_sockets),
        cmocka_unit_test(test_password),
        cmocka_unit_test(test_user_and_password),
    };
    cmocka_set_test_filter(getenv("SYNCLINE_TEST_FILTER"));
    if (!test_cli_available())
        return 77;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
