/*
 * Snapshots as Redis 7.0 writes them of the data sets of bench/e2e, made in memory: the same bytes
 * for every case of a run.
 *
 *   S   strings: 16-byte keys, 64-byte values, not compressible
 *   M   strings, and for five of them a hash, a list, a set and a sorted set of ten elements; some
 *       hashes and sorted sets of many elements
 *   C   M without its strings
 *   CZ  C as a server with rdbcompression writes it: blobs that shrink are LZF
 */
#ifndef BENCH_RDB_SETS_H
#define BENCH_RDB_SETS_H

#include <stddef.h>
#include <stdint.h>

struct set {
    char name[32];
    uint8_t *bytes;
    size_t size;
    size_t capacity;
    uint64_t keys;
    uint64_t random;
};

enum set_kind { SET_S, SET_M, SET_C, SET_CZ, SET_KIND_COUNT };

/* `scale` divides the number of keys: 1 is a million strings. Does not return without memory. */
void set_make(struct set *set, enum set_kind kind, uint64_t scale);
/* A file; 0: it cannot be read. Its keys are for the caller to count. */
int set_load(struct set *set, const char *path);
void set_free(struct set *set);

#endif
