/*
 * What every live test needs: two deployments, the program between them, and two ways to compare.
 *
 * A side is a standalone server or a cluster, by number of masters. "Level" is exact: every source
 * server is asked for its offset, and the program's own events must say that all of it is
 * acknowledged; nothing sleeps and hopes.
 *
 * Threads: one, as in servers.h. Errors: fatal, or cmocka's assertions.
 */
#ifndef LIVE_H
#define LIVE_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "tests/support/cli.h"
#include "tests/support/client.h"
#include "tests/support/dataset.h"
#include "tests/support/servers.h"
#include "tests/support/writer.h"

#define LIVE_WAIT_MS 60000 /* for anything that takes a moment: two busy cores, sanitizers */

struct live_side {
    struct test_server server; /* standalone */
    struct test_cluster cluster;
    bool is_cluster;
    struct test_client *client;
    char uri[256]; /* one address, without credentials; a test may put its own here */
};

/* masters 0: standalone. `arguments` as for test_server_start. */
void live_side_start(struct live_side *side,
                     const char *version,
                     uint32_t masters,
                     uint32_t replicas_each,
                     const char *const *arguments);
void live_side_stop(struct live_side *side);
/* A killed server again. With an AOF it is rewritten: 7.0 cuts one that ended inside a command of a
 * MULTI behind the command before, so the MULTI stays without an EXEC, and at the next restart what
 * was never executed is, together with what came later. No position can tell that. */
void live_server_return(struct test_server *server);
/* The port of a standalone server, or of a cluster's first node. */
uint16_t live_port(const struct live_side *side);
/* The connection of a standalone side. */
redisContext *live_redis(const struct live_side *side);

/* `sync SOURCE DESTINATION --output json …`; more words until NULL. */
void live_spawn(struct test_cli *cli,
                const struct live_side *source,
                const struct live_side *destination,
                ...) __attribute__((sentinel));
/* The same to its end; the exit status. `errors` (freed with free) may be NULL. */
int live_run(char **errors,
             const struct live_side *source,
             const struct live_side *destination,
             ...) __attribute__((sentinel));
/* The last event of a kind, NULL if none yet; the caller drops the reference. */
json_t *live_event(const struct test_cli *cli, const char *kind);
/* Waits until progress says this phase of the whole task. */
void live_wait_phase(struct test_cli *cli, const char *phase);
/* Waits until what every source shard has now is acknowledged by the destination. */
void live_wait_level(struct test_cli *cli, const struct live_side *source);
/* Waits until no time to live is put off at the destination. Behind live_wait_level: until it is so
 * with all of that written. */
void live_wait_exact(struct test_cli *cli);
/* A number of the last progress event ("keys"), or the sum of a number over its streams. */
int64_t live_total(const struct test_cli *cli, const char *field);
int64_t live_streams_sum(const struct test_cli *cli, const char *field);
/* SIGINT, exit status 0. */
void live_stop(struct test_cli *cli);
/* Waits for the end with this status; its standard error must hold every text of the list. */
void live_expect_end(struct test_cli *cli, int status, ...) __attribute__((sentinel));
void live_expect_texts(const char *text, ...) __attribute__((sentinel));

/* Equal by the servers' digests (one version, 7.0 or later) or, else, by reading every value; and
 * by `verify --full`. */
void live_assert_equal(const struct live_side *source, const struct live_side *destination);
/* Only the comparison of this test, without `verify`. */
uint64_t live_differences(const struct live_side *source, const struct live_side *destination);
/* One database of standalone servers against another, by reading every value. */
uint64_t
live_db_differences(redisContext *left, uint32_t left_db, redisContext *right, uint32_t right_db);
void live_assert_verified(const struct live_side *source, const struct live_side *destination, ...)
    __attribute__((sentinel));

/* A writer that has begun, with every kind of command that this pair allows. */
struct writer *live_writer(const struct live_side *source,
                           const struct live_side *destination,
                           uint64_t seed,
                           uint32_t rate_max);
/* Waits until it has written so many more. */
void live_writer_more(const struct writer *writer, uint64_t count);

#endif
