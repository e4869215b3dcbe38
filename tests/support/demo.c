/*
 * What tools/demo needs of the test support: clusters, data and writers as a program of their own.
 *
 *   demo_support serve VERSION MASTERS...   starts one cluster per number (0: a standalone server),
 *                                           prints "ready PORT..." and keeps them until a signal
 *   demo_support load PORT SEED KEYS        data of every type, KEYS of each kind
 *   demo_support write PORT SEED RATE       writes until a signal, then prints the count
 *   demo_support compare PORT PORT [PREFIX] key by key; keys with the prefix are left out
 */
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "core/base/num.h"
#include "tests/support/dataset.h"
#include "tests/support/servers.h"
#include "tests/support/writer.h"

#define DEPLOYMENTS_MAX 4

static uint64_t read_number(const char *text)
{
    uint64_t value;
    if (!num_read_u64(text, strlen(text), &value))
        test_fatal("not a number: %s", text);
    return value;
}

static uint16_t read_port(const char *text)
{
    return (uint16_t)read_number(text);
}

/* The signals that end it are taken only here, so that exit handlers can stop the servers. */
static sigset_t block_signals(void)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    sigprocmask(SIG_BLOCK, &set, NULL);
    /* The shell that started it may be killed without a chance to tell. */
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    return set;
}

static void wait_signal(const sigset_t *set)
{
    int number;
    sigwait(set, &number);
}

static int serve(const char *version, int count, char **masters)
{
    static struct test_cluster clusters[DEPLOYMENTS_MAX];
    static struct test_server servers[DEPLOYMENTS_MAX];
    uint16_t ports[DEPLOYMENTS_MAX];
    sigset_t set = block_signals();
    if (count > DEPLOYMENTS_MAX)
        test_fatal("at most %d deployments", DEPLOYMENTS_MAX);
    if (!test_server_available(version))
        return 77;
    for (int i = 0; i < count; i++) {
        uint32_t master_count = (uint32_t)read_number(masters[i]);
        if (master_count == 0) {
            test_server_start(&servers[i], version, NULL);
            ports[i] = servers[i].port;
        } else {
            test_cluster_start(&clusters[i], version, master_count, 0, NULL);
            ports[i] = clusters[i].nodes[0].port;
        }
    }
    printf("ready");
    for (int i = 0; i < count; i++)
        printf(" %u", ports[i]);
    printf("\n");
    fflush(stdout);
    wait_signal(&set);
    return 0;
}

static int load(uint16_t port, uint64_t seed, uint32_t keys_per_type)
{
    struct test_client *client = test_client_new(port);
    dataset_load(client, seed, keys_per_type);
    printf("%" PRIu64 "\n", dataset_key_count(client));
    test_client_free(client);
    return 0;
}

static int write_until_signal(uint16_t port, uint64_t seed, uint32_t rate_max)
{
    sigset_t set = block_signals();
    struct writer *writer = writer_start(&(struct writer_options){
        .port = port, .seed = seed, .rate_max = rate_max, .has_transactions = true});
    wait_signal(&set);
    printf("%" PRIu64 "\n", writer_stop(writer, NULL));
    return 0;
}

static int compare(uint16_t left, uint16_t right, const char *ignored_prefix)
{
    struct test_client *a = test_client_new(left);
    struct test_client *b = test_client_new(right);
    uint64_t count = dataset_compare(a, b, ignored_prefix);
    printf("%" PRIu64 "\n", count);
    test_client_free(a);
    test_client_free(b);
    return count == 0 ? 0 : 6;
}

int main(int argc, char **argv)
{
    const char *command = argc > 1 ? argv[1] : "";
    if (strcmp(command, "serve") == 0 && argc >= 4)
        return serve(argv[2], argc - 3, argv + 3);
    if (strcmp(command, "load") == 0 && argc == 5)
        return load(read_port(argv[2]), read_number(argv[3]), (uint32_t)read_number(argv[4]));
    if (strcmp(command, "write") == 0 && argc == 5)
        return write_until_signal(
            read_port(argv[2]), read_number(argv[3]), (uint32_t)read_number(argv[4]));
    if (strcmp(command, "compare") == 0 && (argc == 4 || argc == 5))
        return compare(read_port(argv[2]), read_port(argv[3]), argv[4]);
    fprintf(stderr,
            "usage: demo_support serve | load | write | compare, see tests/support/demo.c\n");
    return 2;
}
