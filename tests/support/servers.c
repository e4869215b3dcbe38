#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/base/clock.h"
#include "tests/support/client.h"
#include "tests/support/process.h"
#include "tests/support/servers.h"

/* Ports below the ephemeral range (32768), with the bus port of a cluster node above them all. */
#define PORT_FIRST 11000
#define PORT_LAST 20999
#define BUS_OFFSET 10000
#define PORT_BLOCK 400
#define START_TRIES 5

const char *const test_versions[] = {
    "redis-6.0", "redis-7.0", "redis-8.0", "valkey-8.0", "valkey-8.1", "valkey-9", NULL};

void test_program_path(const char *name, char *path, size_t capacity)
{
    const char *cache = getenv("SYNCLINE_SERVER_CACHE");
    const char *xdg = getenv("XDG_CACHE_HOME");
    const char *home = getenv("HOME");
    if (cache != NULL && cache[0] != '\0')
        snprintf(path, capacity, "%s/%s/run", cache, name);
    else if (xdg != NULL && xdg[0] != '\0')
        snprintf(path, capacity, "%s/syncline/servers/%s/run", xdg, name);
    else
        snprintf(path, capacity, "%s/.cache/syncline/servers/%s/run", home ? home : "", name);
}

static void program_path(const char *version, char *path, size_t capacity)
{
    if (strcmp(version, TEST_REQUIRED_VERSION) == 0)
        snprintf(path, capacity, "/usr/bin/redis-server");
    else
        test_program_path(version, path, capacity);
}

bool test_server_available(const char *version)
{
    char path[512];
    program_path(version, path, sizeof(path));
    if (access(path, X_OK) == 0)
        return true;
    if (strcmp(version, TEST_REQUIRED_VERSION) == 0)
        test_fatal("%s is missing: install the package redis-server", path);
    fprintf(stderr,
            "SKIPPED: no server %s at %s (tests/servers/fetch %s gets it)\n",
            version,
            path,
            version);
    return false;
}

int test_exit_status(int failed, uint32_t run_count)
{
    return failed == 0 && run_count == 0 ? 77 : failed;
}

static bool port_is_free(uint16_t port)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        test_fatal("socket: %s", strerror(errno));
    /* As servers do: connections of an earlier one in TIME_WAIT are no hindrance. */
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int));
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    bool is_free = bind(fd, (struct sockaddr *)&address, sizeof(address)) == 0;
    close(fd);
    return is_free;
}

uint16_t test_port_free(bool bus)
{
    /* Parallel programs begin in different blocks, and none takes a port again soon: where a server
     * was killed, the others of its cluster go on looking for it. */
    static uint32_t next;
    if (next == 0)
        next = (uint32_t)getpid() * PORT_BLOCK;
    for (int i = 0; i < 1000; i++) {
        uint16_t port = (uint16_t)(PORT_FIRST + next++ % (PORT_LAST - PORT_FIRST));
        if (port_is_free(port) && (!bus || port_is_free((uint16_t)(port + BUS_OFFSET))))
            return port;
    }
    test_fatal("no free port between %d and %d", PORT_FIRST, PORT_LAST);
}

static bool is_version_before_7(const struct test_server *server)
{
    return strncmp(server->version, "redis-6", 7) == 0;
}

/* Forks the server with its command line; does not wait for it. */
static void launch(struct test_server *server)
{
    char path[512], port[8], bus[8], log[160];
    program_path(server->version, path, sizeof(path));
    snprintf(port, sizeof(port), "%u", server->port);
    snprintf(bus, sizeof(bus), "%u", server->port + BUS_OFFSET);
    snprintf(log, sizeof(log), "%s/log", server->folder);
    const char *argv[48 + TEST_ARGUMENTS_MAX] = {path, "--port", port, "--dir", server->folder};
    uint32_t argc = 5;
    /* Without the delay, by which a server waits for more replicas, a sync takes 5 s longer. */
    static const char *const defaults[] = {"--bind",
                                           "127.0.0.1",
                                           "--save",
                                           "",
                                           "--appendonly",
                                           "no",
                                           "--protected-mode",
                                           "no",
                                           "--repl-diskless-sync-delay",
                                           "0"};
    for (uint32_t i = 0; i < sizeof(defaults) / sizeof(defaults[0]); i++)
        argv[argc++] = defaults[i];
    if (server->is_cluster) {
        static const char *const words[] = {"--cluster-enabled",
                                            "yes",
                                            "--cluster-config-file",
                                            "nodes.conf",
                                            "--cluster-node-timeout",
                                            "5000"};
        for (uint32_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
            argv[argc++] = words[i];
    }
    if (!is_version_before_7(server)) {
        argv[argc++] = "--enable-debug-command";
        argv[argc++] = "yes";
        if (server->is_cluster) {
            argv[argc++] = "--cluster-port";
            argv[argc++] = bus;
        }
    }
    for (uint32_t i = 0; i < server->argument_count; i++)
        argv[argc++] = server->arguments[i];
    server->pid = process_start(argv, log, log);
}

static void print_log(const struct test_server *server)
{
    char path[160], line[512];
    snprintf(path, sizeof(path), "%s/log", server->folder);
    FILE *file = fopen(path, "r");
    if (file == NULL)
        return;
    while (fgets(line, sizeof(line), file) != NULL)
        fprintf(stderr, "%s:%u: %s", server->version, server->port, line);
    fclose(file);
}

static bool answers_ping(const struct test_server *server)
{
    redisContext *context =
        redisConnectWithTimeout("127.0.0.1", server->port, (struct timeval){.tv_sec = 1});
    bool is_up = false;
    if (context != NULL && context->err == 0) {
        redisSetTimeout(context, (struct timeval){.tv_sec = 1});
        redisReply *reply = redisCommand(context, "PING");
        /* A server with requirepass answers too, with NOAUTH; one that loads says LOADING. */
        is_up = reply != NULL &&
                !(reply->type == REDIS_REPLY_ERROR && strncmp(reply->str, "LOADING", 7) == 0);
        freeReplyObject(reply);
    }
    if (context != NULL)
        redisFree(context);
    return is_up;
}

/* False when it exited instead, as it does when the port was taken meanwhile. */
static bool wait_until_up(struct test_server *server)
{
    uint64_t deadline = test_deadline(TEST_START_MS);
    while (!answers_ping(server)) {
        int status;
        if (process_wait(server->pid, 0, &status)) {
            server->pid = 0;
            return false;
        }
        if (test_left_ms(deadline) == 0)
            print_log(server);
        test_poll(deadline, "waiting for a server to answer PING");
    }
    return true;
}

static void describe(struct test_server *server,
                     const char *version,
                     bool is_cluster,
                     const char *const *arguments)
{
    memset(server, 0, sizeof(*server));
    snprintf(server->version, sizeof(server->version), "%s", version);
    server->is_cluster = is_cluster;
    for (; arguments != NULL && arguments[server->argument_count] != NULL;
         server->argument_count++) {
        uint32_t i = server->argument_count;
        if (i == TEST_ARGUMENTS_MAX || strlen(arguments[i]) >= sizeof(server->arguments[i]))
            test_fatal("too many or too long server arguments: %s", arguments[i]);
        snprintf(server->arguments[i], sizeof(server->arguments[i]), "%s", arguments[i]);
    }
}

static void choose_place(struct test_server *server)
{
    server->port = test_port_free(server->is_cluster);
    int size = snprintf(server->folder,
                        sizeof(server->folder),
                        "%s/%s-%u",
                        test_folder(),
                        server->version,
                        server->port);
    if (size >= (int)sizeof(server->folder))
        test_fatal("the temporary folder's path is too long");
    if (mkdir(server->folder, 0700) != 0 && errno != EEXIST)
        test_fatal("mkdir %s: %s", server->folder, strerror(errno));
}

static void ensure_up(struct test_server *server)
{
    for (int i = 1; !wait_until_up(server); i++) {
        if (i == START_TRIES) {
            print_log(server);
            test_fatal("server %s does not start", server->version);
        }
        choose_place(server);
        launch(server);
    }
}

void test_server_start(struct test_server *server,
                       const char *version,
                       const char *const *arguments)
{
    if (!test_server_available(version))
        test_fatal("server %s is not available: ask test_server_available first", version);
    describe(server, version, false, arguments);
    choose_place(server);
    launch(server);
    ensure_up(server);
}

void test_server_restart(struct test_server *server)
{
    if (server->pid != 0)
        test_fatal("restart of a running server");
    launch(server);
    if (!wait_until_up(server)) {
        print_log(server);
        test_fatal("server %s does not start again on port %u", server->version, server->port);
    }
}

void test_server_kill(struct test_server *server)
{
    process_kill(server->pid);
    server->pid = 0;
}

void test_server_stop(struct test_server *server)
{
    int status;
    if (server->pid == 0)
        return;
    kill(server->pid, SIGCONT);
    kill(server->pid, SIGTERM);
    if (!process_wait(server->pid, 5000, &status))
        process_kill(server->pid);
    server->pid = 0;
}

void test_server_freeze(struct test_server *server)
{
    kill(server->pid, SIGSTOP);
}

void test_server_thaw(struct test_server *server)
{
    kill(server->pid, SIGCONT);
}

static void wait_for_info(uint16_t port, const char *field, const char *wanted)
{
    uint64_t deadline = test_deadline(TEST_START_MS);
    redisContext *context = test_connect(port);
    char value[64];
    for (;;) {
        test_info(context, field, value, sizeof(value));
        if (strcmp(value, wanted) == 0)
            break;
        test_poll(deadline, field);
    }
    redisFree(context);
}

void test_server_replicate(struct test_server *replica, const struct test_server *master)
{
    redisContext *context = test_connect(replica->port);
    test_command_ok(context, "REPLICAOF 127.0.0.1 %d", (int)master->port);
    redisFree(context);
    wait_for_info(replica->port, "master_link_status", "up");
}

/* ---- clusters ---- */

static void add_slots(redisContext *context, const char *version, uint32_t first, uint32_t last)
{
    if (strncmp(version, "redis-6", 7) != 0) {
        test_command_ok(context, "CLUSTER ADDSLOTSRANGE %d %d", (int)first, (int)last);
        return;
    }
    /* ADDSLOTSRANGE is 7.0's; before, every slot is a word. */
    static char words[16384][6];
    static const char *argv[16386] = {"CLUSTER", "ADDSLOTS"};
    int argc = 2;
    for (uint32_t slot = first; slot <= last; slot++) {
        snprintf(words[slot], sizeof(words[slot]), "%u", slot);
        argv[argc++] = words[slot];
    }
    redisReply *reply = redisCommandArgv(context, argc, argv, NULL);
    if (reply == NULL || reply->type == REDIS_REPLY_ERROR)
        test_fatal("CLUSTER ADDSLOTS: %s", reply ? reply->str : context->errstr);
    freeReplyObject(reply);
}

static bool node_is_ready(redisContext *context, uint32_t node_count)
{
    redisReply *reply = test_command(context, "CLUSTER INFO");
    char known[40];
    snprintf(known, sizeof(known), "cluster_known_nodes:%u\r", node_count);
    bool is_ready = strstr(reply->str, "cluster_state:ok") != NULL &&
                    strstr(reply->str, "cluster_slots_assigned:16384") != NULL &&
                    strstr(reply->str, known) != NULL;
    freeReplyObject(reply);
    return is_ready;
}

static bool node_knows_all(redisContext *context, uint32_t node_count)
{
    redisReply *reply = test_command(context, "CLUSTER NODES");
    uint32_t lines = 0;
    for (const char *at = reply->str; (at = strchr(at, '\n')) != NULL; at++)
        lines++;
    bool knows = lines == node_count && strstr(reply->str, "handshake") == NULL;
    freeReplyObject(reply);
    return knows;
}

/* Whether a node lists all replicas of the cluster where clients look for them: an entry of CLUSTER
 * SLOTS is a range, its first and last slot, then the master and its replicas. */
static bool node_knows_replicas(redisContext *context, uint32_t replica_count)
{
    redisReply *reply = test_command(context, "CLUSTER SLOTS");
    size_t listed = 0;
    for (size_t i = 0; i < reply->elements; i++)
        listed += reply->element[i]->elements - 3;
    freeReplyObject(reply);
    return listed == replica_count;
}

static void attach_replicas(struct test_cluster *cluster, redisContext **contexts)
{
    uint32_t masters = cluster->master_count;
    for (uint32_t i = masters; i < cluster->node_count; i++) {
        redisReply *id = test_command(contexts[(i - masters) % masters], "CLUSTER MYID");
        uint64_t deadline = test_deadline(TEST_START_MS);
        for (;;) {
            redisReply *reply = test_command_try(contexts[i], "CLUSTER REPLICATE %s", id->str);
            bool is_done = reply != NULL && reply->type != REDIS_REPLY_ERROR;
            freeReplyObject(reply);
            if (is_done)
                break;
            test_poll(deadline, "CLUSTER REPLICATE");
        }
        freeReplyObject(id);
    }
    for (uint32_t i = masters; i < cluster->node_count; i++)
        wait_for_info(cluster->nodes[i].port, "master_link_status", "up");
    /* CLUSTER SLOTS tells a replica only when its offset has come around by gossip, a second later.
     */
    uint64_t deadline = test_deadline(TEST_START_MS);
    bool has_replicas = masters < cluster->node_count;
    for (uint32_t i = 0; has_replicas && i < masters; i++) /* an offset of 0 is never told */
        test_command_ok(contexts[i], "CONFIG SET repl-ping-replica-period 1");
    for (uint32_t i = 0; has_replicas && i < cluster->node_count; i++) {
        while (!node_knows_replicas(contexts[i], cluster->node_count - masters))
            test_poll(deadline, "waiting for replicas in CLUSTER SLOTS");
    }
    for (uint32_t i = 0; has_replicas && i < masters; i++)
        test_command_ok(contexts[i], "CONFIG SET repl-ping-replica-period 10");
}

static void introduce(struct test_cluster *cluster, redisContext **contexts)
{
    for (uint32_t i = 0; i < cluster->node_count; i++) {
        test_command_ok(contexts[i], "CLUSTER SET-CONFIG-EPOCH %d", (int)(i + 1));
        if (i < cluster->master_count)
            add_slots(contexts[i],
                      cluster->nodes[i].version,
                      16384 * i / cluster->master_count,
                      16384 * (i + 1) / cluster->master_count - 1);
    }
    /* Everyone meets everyone: gossip alone takes seconds longer. */
    for (uint32_t i = 0; i < cluster->node_count; i++) {
        for (uint32_t j = 0; j < i; j++)
            test_command_ok(contexts[i],
                            "CLUSTER MEET 127.0.0.1 %d %d",
                            (int)cluster->nodes[j].port,
                            (int)cluster->nodes[j].port + BUS_OFFSET);
    }
}

static void
launch_nodes(struct test_cluster *cluster, const char *version, const char *const *arguments)
{
    if (cluster->node_count > TEST_NODES_MAX)
        test_fatal("a cluster of more than %d nodes", TEST_NODES_MAX);
    if (!test_server_available(version))
        test_fatal("server %s is not available: ask test_server_available first", version);
    for (uint32_t i = 0; i < cluster->node_count; i++) {
        describe(&cluster->nodes[i], version, true, arguments);
        choose_place(&cluster->nodes[i]);
        launch(&cluster->nodes[i]);
    }
    for (uint32_t i = 0; i < cluster->node_count; i++)
        ensure_up(&cluster->nodes[i]);
}

void test_cluster_start(struct test_cluster *cluster,
                        const char *version,
                        uint32_t master_count,
                        uint32_t replicas_each,
                        const char *const *arguments)
{
    redisContext *contexts[TEST_NODES_MAX];
    memset(cluster, 0, sizeof(*cluster));
    cluster->master_count = master_count;
    cluster->node_count = master_count * (1 + replicas_each);
    launch_nodes(cluster, version, arguments);
    for (uint32_t i = 0; i < cluster->node_count; i++)
        contexts[i] = test_connect(cluster->nodes[i].port);
    introduce(cluster, contexts);
    uint64_t deadline = test_deadline(2 * TEST_START_MS);
    for (uint32_t i = 0; i < cluster->node_count; i++) {
        while (!node_is_ready(contexts[i], cluster->node_count) ||
               !node_knows_all(contexts[i], cluster->node_count))
            test_poll(deadline, "waiting for cluster_state:ok");
    }
    attach_replicas(cluster, contexts);
    for (uint32_t i = 0; i < cluster->node_count; i++)
        redisFree(contexts[i]);
}

void test_cluster_stop(struct test_cluster *cluster)
{
    for (uint32_t i = 0; i < cluster->node_count; i++)
        test_server_stop(&cluster->nodes[i]);
}

void test_cluster_ports(const struct test_cluster *cluster, uint16_t *ports)
{
    for (uint32_t i = 0; i < cluster->master_count; i++)
        ports[i] = cluster->nodes[i].port;
}
