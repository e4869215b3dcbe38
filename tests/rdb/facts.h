/*
 * What is known of the snapshots in tests/fixtures/rdb from elsewhere: the counts are what the
 * servers said of their data before saving.
 *
 * Threads:   any; constant. Ownership: static.
 * Errors:    a name without facts is a mistake of the test, and asserted.
 */
#ifndef TESTS_RDB_FACTS_H
#define TESTS_RDB_FACTS_H

#include <stdbool.h>
#include <stdint.h>

#define FACTS_COUNT 15
#define FACTS_DBS_MAX 16
#define FACTS_TYPES_MAX 32

struct facts {
    const char *name; /* of its folder */
    uint16_t version;
    bool is_valkey;
    uint64_t checksum; /* as the bytes stand in the file; 0: only keys_by_db is known */
    uint64_t keys_by_db[FACTS_DBS_MAX];
    uint64_t keys_by_type[FACTS_TYPES_MAX]; /* by the type's number in the file */
    uint64_t expiring;
    uint64_t aux;
    uint64_t functions;
};

extern const struct facts facts[FACTS_COUNT];
/* Those of a fixture, by its name. */
const struct facts *facts_of(const char *name);

#endif
