/*
 * Mutations that know the formats: of one blob inside a value, of one value inside a snapshot, with
 * lengths and checksums made right afterwards. For LLVMFuzzerCustomMutator; each mutates `size`
 * bytes in place, leaves at most size_max, and returns how many. One in eight is libFuzzer's own
 * and repairs nothing.
 */
#ifndef TESTS_FUZZ_MUTATE_H
#define TESTS_FUZZ_MUTATE_H

#include <stddef.h>
#include <stdint.h>

/* libFuzzer's. */
size_t LLVMFuzzerMutate(uint8_t *bytes, size_t size, size_t size_max);
size_t LLVMFuzzerCustomMutator(uint8_t *bytes, size_t size, size_t size_max, unsigned seed);

/* A value without its type byte. */
size_t mutate_value(uint8_t *bytes, size_t size, size_t size_max, unsigned seed);
/* A DUMP payload. */
size_t mutate_payload(uint8_t *bytes, size_t size, size_t size_max, unsigned seed);
/* A snapshot. */
size_t mutate_rdb(uint8_t *bytes, size_t size, size_t size_max, unsigned seed);

#endif
