/*
 * What the tests of the verification share: two servers as source and destination, a run, and what
 * it reported.
 *
 * Threads:   the test's. Ownership: everything is static; rig_close stops the servers.
 */
#ifndef TEST_VERIFY_RIG_H
#define TEST_VERIFY_RIG_H

#include "core/engine/verify_private.h"
#include "tests/support/client.h"
#include "tests/support/servers.h"

#define RIG_SEEN_MAX 64

/* Arguments of a server whose collections leave their compact form, whose lists have small nodes,
 * and which does not compress. */
extern const char *const rig_sparse[];

struct rig_seen {
    struct syn_difference list[RIG_SEEN_MAX];
    char keys[RIG_SEEN_MAX][64];
    uint32_t count;
    uint32_t progress_count;
    uint32_t stop_after; /* progress calls; 0: never */
};

/* A pair of servers, with a connection to each. */
struct rig {
    struct test_server servers[2];
    redisContext *clients[2]; /* source, destination */
};

extern struct config rig_config;
extern struct rig_seen rig_seen;
extern struct syn_verify_result rig_result;

/* False: a version is not there, and it has been said. Arguments may be NULL. */
bool rig_open(struct rig *rig,
              const char *source,
              const char *const *source_arguments,
              const char *destination,
              const char *const *destination_arguments);
void rig_close(struct rig *rig);
/* The same command to both servers. */
void rig_both(struct rig *rig, const char *format, ...);
/* The destination becomes a copy of the source, by the servers' own means. */
void rig_copy(struct test_server *from, struct test_server *to);
/* One key of each type, of about so many elements, at a selected database. */
void rig_load(redisContext *client, uint32_t elements);

/* The configuration anew: these ports, two rounds, 20 ms apart, a tolerance of 500 ms. */
void rig_config_reset(uint16_t from, uint16_t to);
/* One verification; rig_seen and rig_result are filled. */
bool rig_run(struct syn_err *err);
void rig_run_ok(void); /* must not fail */
void rig_print_seen(void);
void rig_expect_none(void);
/* A difference for this key, of this kind, with these words. */
void rig_expect_seen(const char *key, enum syn_difference_kind kind, const char *words);

#endif
