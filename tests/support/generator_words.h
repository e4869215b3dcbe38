/*
 * Forms of the generator made into words: keys, values, options, from a client's random numbers.
 *
 * Keys are "POOL:{gN}:I". With one tag per command they share a slot; a few tags stand for a single
 * key each, whose name is odd (empty, binary, with other braces) and whose type is anything.
 *
 * Threads:   a maker belongs to one; what it shares with others is constant, or atomic.
 * Ownership: words are valid until the next command is begun.
 */
#ifndef TEST_GENERATOR_WORDS_H
#define TEST_GENERATOR_WORDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/atomic.h"
#include "tests/support/generator.h"
#include "tests/support/generator_forms.h"
#include "tests/support/random.h"

#define WORDS_MAX 64
#define WORDS_BYTES (1 << 20)
#define GENERATOR_TAGS 24
#define GENERATOR_KEYS_PER_TAG 3
#define GENERATOR_PAYLOADS_MAX 16
#define GENERATOR_SCRIPTS_MAX 16

struct generator_bytes {
    char *at;
    size_t size;
};

/* Made once, by a server of the source's version. */
struct generator_shared {
    struct generator_options options;
    struct generator_bytes payloads[GENERATOR_PAYLOADS_MAX]; /* of DUMP */
    uint32_t payload_count;
    struct generator_bytes libraries; /* of FUNCTION DUMP; none: NULL */
    char shas[GENERATOR_SCRIPTS_MAX][41];
    /* The last id of every stream, for ids that hit. W and R: all clients. */
    _Atomic uint64_t stream_ids[GENERATOR_TAGS][GENERATOR_KEYS_PER_TAG];
};

struct maker {
    struct generator_shared *shared;
    struct random random;
    uint32_t tag; /* of the command, or of the whole transaction */
    /* The stream that the command named last. */
    uint32_t stream_tag, stream_index;
    int argc;
    const char *argv[WORDS_MAX];
    size_t sizes[WORDS_MAX];
    int key_at; /* the first key, -1: none */
    size_t used;
    char *bytes; /* WORDS_BYTES */
};

void maker_init(struct maker *maker, struct generator_shared *shared, uint64_t seed);
void maker_deinit(struct maker *maker);
/* Another tag for what follows. */
void maker_move(struct maker *maker);
/* Whether the tag goes with the form: an odd key's type is anything, which not all forms bear. */
bool maker_fits(const struct maker *maker, const struct form *form);
void maker_make(struct maker *maker, const struct form *form);
uint32_t maker_below(struct maker *maker, uint32_t bound);

#endif
