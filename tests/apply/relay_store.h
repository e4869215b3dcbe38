/*
 * A model of servers for relays: what a key holds is the history of what was done to it, as a
 * hash. Any operation that is lost, done twice or out of order, on any key that it reads or writes,
 * leaves another hash in the end.
 *
 * The same code is the source (one store, commands as a master propagates them) and the destination
 * (one store for each shard, which refuses keys of other shards and commands over several slots).
 */
#ifndef TESTS_APPLY_RELAY_STORE_H
#define TESTS_APPLY_RELAY_STORE_H

#include "tests/apply/pipeline_rig.h"

#define STORE_ENTRIES 512

struct store_entry {
    char key[48];
    bool exists;
    uint64_t state;
    int64_t expire_ms; /* -1: none */
};

struct store {
    struct store_entry entries[STORE_ENTRIES];
    uint32_t count;
    uint64_t answer_bytes_most; /* pads some DUMPs up to this size */
    bool is_multi;
    uint32_t queued_count;
    struct bytes queued; /* commands between MULTI and EXEC */
    uint16_t multi_slot;
    char fault[200]; /* the first thing that a real cluster would have refused; "" */
};

void store_init(struct store *store);
void store_deinit(struct store *store);
struct store_entry *store_find(struct store *store, const char *key, size_t size);
/* One command, as the source has it: no slots. The reply may be NULL. */
void store_apply(struct store *store, const char *words);
/* One command at a shard: answers into `out`. */
void store_command(struct store *store,
                   const struct route *route,
                   uint32_t lane,
                   const uint8_t *bytes,
                   const struct resp_command *command,
                   struct bytes *out);

#endif
