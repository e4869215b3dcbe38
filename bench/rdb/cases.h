/*
 * What is measured of a set: each case is one pass over its bytes on the calling thread, in windows
 * as a reader has them, and returns a number that depends on all of its work.
 */
#ifndef BENCH_RDB_CASES_H
#define BENCH_RDB_CASES_H

#include "bench/rdb/sets.h"

enum case_id {
    CASE_MEMCPY,
    CASE_CRC64,
    CASE_FRAME,
    CASE_FRAME_CRC64,
    CASE_READ_KEYS,
    CASE_DECODE,
    CASE_READ_ELEMENTS,
    CASE_DIGEST,
    CASE_REWRITE,
    CASE_COUNT,
};

struct rdb_case {
    const char *name;
    uint64_t (*run)(const struct set *set);
};

extern const struct rdb_case rdb_cases[CASE_COUNT];

/* Allocates what the cases need for sets of up to this size. */
void cases_init(size_t bytes_max);
void cases_deinit(void);
/* Keys of the set, which must be a whole RDB; 0: it is not (*reason). */
uint64_t cases_count_keys(const struct set *set, const char **reason);

#endif
