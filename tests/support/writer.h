/*
 * A thread that keeps writing to a deployment: a seeded mix of write commands of all types.
 *
 * Threads:   writer_start and writer_stop from one thread; the count from any.
 * Ownership: writer_stop frees.
 */
#ifndef TEST_WRITER_H
#define TEST_WRITER_H

#include <stdbool.h>
#include <stdint.h>

struct writer_options {
    uint16_t port; /* of a standalone server or of any cluster node */
    uint64_t seed;
    uint32_t key_count;    /* per type; 0: 1000 */
    uint32_t rate_max;     /* commands per second; 0: as many as the server takes */
    uint32_t db_count;     /* standalone: moves among so many databases; 0: stays in 0 */
    bool is_cross_slot;    /* multi-key commands over any keys, for standalone sources */
    bool has_transactions; /* MULTI … EXEC with keys of one slot, or of any with is_cross_slot */
};

struct writer_result {
    uint64_t command_count; /* answered without error */
    uint64_t error_count;
    bool is_lost; /* a connection broke; the writer ended by itself */
    char error_text[160];
};

struct writer;

struct writer *writer_start(const struct writer_options *options);
/* Commands answered so far. */
uint64_t writer_count(const struct writer *writer);
/* Waits for the replies to all that was sent. `result` may be NULL: then any error is fatal. */
uint64_t writer_stop(struct writer *writer, struct writer_result *result);

#endif
