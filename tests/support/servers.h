/*
 * Real servers for tests: started on free loopback ports with a private folder, stopped or killed
 * by pid, alone or as a cluster.
 *
 * Threads:   one thread, which must live as long as the servers: they die with the thread that
 *            started them (PR_SET_PDEATHSIG), so that a crashed test leaves nothing behind.
 * Ownership: the caller owns the structs; whatever still runs at exit is killed. Folders are
 *            removed at exit when the program succeeds, else kept and named on standard error.
 * Errors:    none to handle: what should not fail and does ends the program with a message.
 */
#ifndef TEST_SERVERS_H
#define TEST_SERVERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define TEST_ARGUMENTS_MAX 32
#define TEST_NODES_MAX 16
#define TEST_START_MS 15000 /* until PING answers: two busy cores, sanitizers, slow disks */
#define TEST_REQUIRED_VERSION "redis-7.0"

struct test_server {
    char version[32]; /* "redis-7.0" */
    uint16_t port;
    bool is_cluster;
    pid_t pid;        /* 0: not running */
    char folder[128]; /* dump.rdb, log, nodes.conf */
    char arguments[TEST_ARGUMENTS_MAX][64];
    uint32_t argument_count;
};

struct test_cluster {
    struct test_server nodes[TEST_NODES_MAX]; /* masters first, then the replicas of each in turn */
    uint32_t master_count;
    uint32_t node_count;
};

/* "redis-6.0", "redis-7.0", "redis-8.0", "valkey-8.0", "valkey-8.1", "valkey-9"; NULL-terminated.
 */
extern const char *const test_versions[];

/* Whether this version can be started. If not, says "SKIPPED: …" on standard error, with what to
 * do; never for the required one, whose absence ends the program. */
bool test_server_available(const char *version);
/* Where tests/servers/fetch puts a program's launcher, whether it is there or not. */
void test_program_path(const char *name, char *path, size_t capacity);
/* 77, which ctest counts as skipped, for a program all of whose tests were skipped; else `failed`.
 */
int test_exit_status(int failed, uint32_t run_count);

/* Starts a server and waits until PING answers. `arguments`: more words for the command line
 * ("--maxmemory", "10mb"), NULL-terminated, or NULL; they win over the defaults. */
void test_server_start(struct test_server *server,
                       const char *version,
                       const char *const *arguments);
/* The same server again, same port and folder, after a stop or kill. */
void test_server_restart(struct test_server *server);
void test_server_kill(struct test_server *server); /* SIGKILL and wait */
void test_server_stop(struct test_server *server); /* SIGTERM, wait, SIGKILL if it takes long */
/* SIGSTOP and SIGCONT: a server that is there and does not answer. */
void test_server_freeze(struct test_server *server);
void test_server_thaw(struct test_server *server);
/* Attaches it to a master and waits until the link is up. */
void test_server_replicate(struct test_server *replica, const struct test_server *master);

/* N masters with equal slot ranges and R replicas each, ready: cluster_state:ok everywhere and the
 * replicas' links up. */
void test_cluster_start(struct test_cluster *cluster,
                        const char *version,
                        uint32_t master_count,
                        uint32_t replicas_each,
                        const char *const *arguments);
void test_cluster_stop(struct test_cluster *cluster);
/* Ports of the masters into `ports`, for test_client_new. */
void test_cluster_ports(const struct test_cluster *cluster, uint16_t *ports);

/* A loopback port that is free now, below the ephemeral range; `bus`: port + 10000 is free too. */
uint16_t test_port_free(bool bus);

/* The program's private folder, made at the first call. */
const char *test_folder(void);

/* Ends the program with a message; servers are killed, folders kept. */
_Noreturn void test_fatal(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Milliseconds left until a deadline made by test_deadline; 0 when it has passed. */
uint64_t test_deadline(uint32_t timeout_ms);
uint32_t test_left_ms(uint64_t deadline);
/* Waits a moment between two looks at a condition. Fatal, naming `what`, when the deadline passed.
 */
void test_poll(uint64_t deadline, const char *what);

#endif
