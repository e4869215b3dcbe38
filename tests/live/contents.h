/*
 * What a deployment holds, read with ordinary commands, and the comparison of two such readings.
 *
 * A reading is JSON in the form of the recorded sessions (tests/fixtures/README.md): key → type,
 * pexpireat (absolute ms, -1: none) and value; a string is its bytes read as latin-1. So a live
 * server can be compared with a recording as well as with another server, and a difference names
 * the part of the value in which it lies.
 *
 * Threads:   one per connection.
 * Ownership: the caller drops what is returned to it.
 * Limits:    every value is held whole; for test data.
 * Errors:    fatal: what cannot be read ends the program.
 */
#ifndef LIVE_CONTENTS_H
#define LIVE_CONTENTS_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "tests/support/client.h"

/* What two right copies may differ in, by the versions that made them. */
struct contents_rules {
    int64_t ttl_slack_ms;      /* servers before 7.0 send relative times */
    int64_t delivery_slack_ms; /* of pending entries: 5.0 tells only how long ago */
    bool any_entries_read;     /* of groups: 7.0 and 7.2 do not send it with XREADGROUP */
    bool any_deleted_pending;  /* pending entries that the stream has no more: 7.0 forgets them when
                                  they are claimed, and earlier versions do not */
    bool any_idle_consumers; /* those without pending entries: their creation is not always sent */
};

/* All keys of one database of a standalone server, or of a cluster. */
json_t *contents_read(struct test_client *client, uint32_t db);
/* The same of one key; NULL: there is none. */
json_t *contents_read_key(redisContext *redis, const void *key, size_t size);
/* Bytes as they are in a reading, and back; the caller frees with free. */
json_t *contents_bytes(const void *bytes, size_t size);
char *contents_raw(const json_t *text, size_t *size);

/* How many keys differ. The first are described on standard error, each with `label`, its key, the
 * part that differs, and both sides of it; `label` NULL: none. */
uint64_t contents_differences(const char *label,
                              const json_t *wanted,
                              const json_t *got,
                              const struct contents_rules *rules);

#endif
