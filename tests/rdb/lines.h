/*
 * A value as lines of text, one per element, in an order that does not depend on the encoding: what
 * tests compare. tests/fixtures/tools/expected.py makes the same lines of what a server said.
 */
#ifndef TESTS_RDB_LINES_H
#define TESTS_RDB_LINES_H

#include "rdb/decode.h"

struct lines_options {
    uint8_t type;
    bool is_valkey;
    bool is_approx;        /* times in streams become ~                                    */
    bool wants_integers;   /* asks for integers, and writes them out itself                */
    bool exact;            /* each window is a heap block of just its size                 */
    size_t first;          /* bytes of the first window; 0: all                            */
    size_t step;           /* bytes more each time after it; 0: all                        */
    unsigned pause_every;  /* visits; 0: never                                             */
    unsigned stop_at;      /* visits; 0: never                                             */
    size_t item_bytes_max; /* 0: 1 MiB                                                     */
    uint64_t key_hash;
};

struct lines {
    enum rdb_decode status;
    struct syn_err err;
    size_t used;
    size_t left_max; /* most bytes that were left unused while the decoder wanted more */
    struct rdb_value_begin begin;
    unsigned begins;
    unsigned visits;
    char *text; /* heap; ends with NUL. Of what was visited, also after an error */
    size_t size;
    uint64_t count; /* lines */
};

void lines_decode(const uint8_t *bytes,
                  size_t size,
                  const struct lines_options *options,
                  struct lines *lines);
void lines_free(struct lines *lines);

/* `'text` with %xx for what is not printable, or `#size:crc64` of a long one. At most
 * LINES_TEXT_MAX bytes; returns how many. */
#define LINES_TEXT_MAX 160
size_t lines_text(char *out, const uint8_t *bytes, size_t size);

#endif
