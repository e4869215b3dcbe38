/*
 * Feeding a parser the way the engine does, with the input cut where a test wants it, and folding
 * what comes out into one number so that two ways of cutting can be compared.
 */
#ifndef TESTS_RDB_FEED_H
#define TESTS_RDB_FEED_H

#include "rdb/rdb.h"

#define FEED_DBS_MAX 16

struct feed_result {
    enum rdb_status status; /* RDB_READY: the whole RDB passed; RDB_MORE: it ended early */
    struct syn_err err;
    uint64_t digest; /* over every field of every item and every value byte */
    uint64_t crc;    /* over the bytes up to and with the EOF opcode        */
    uint64_t checksum;
    size_t bytes_used;
    size_t left_max; /* most bytes that a walk left unused while it wanted more */
    uint16_t version;
    bool is_valkey;
    uint64_t keys;
    uint64_t keys_by_db[FEED_DBS_MAX];
    uint64_t keys_by_type[RDB_TYPE_COUNT];
    uint64_t expiring;
    uint64_t aux;
    uint64_t functions;
    uint64_t resizes;
    uint64_t with_freq;
    uint64_t with_idle;
};

enum feed_cut {
    FEED_WHOLE,     /* one window                                                         */
    FEED_GROW,      /* one byte more each time: a cut behind every byte                   */
    FEED_TWO_PARTS, /* cut once, at `at`                                                  */
    FEED_STEPS,     /* `at` more bytes each time                                          */
};

/* With `exact`, each window is a heap block of just its size, so that AddressSanitizer sees any
 * read beyond it. */
void feed_rdb(const uint8_t *bytes,
              size_t size,
              enum feed_cut cut,
              size_t at,
              bool exact,
              struct feed_result *result);

/* The file's bytes (heap, mem_free with MEM_RDB); fails the test when it cannot be read. `path` is
 * below tests/fixtures. */
uint8_t *fixture_read(const char *path, size_t *size);

#endif
