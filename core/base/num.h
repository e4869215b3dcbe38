/*
 * Numbers as RESP and Redis text carry them: decimal, no leading zeros or spaces.
 */
#ifndef BASE_NUM_H
#define BASE_NUM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NUM_DIGITS_MAX 20 /* of a uint64_t, and of an int64_t with its sign */

/* Writes the decimal form without a terminator; returns its length, 1 to NUM_DIGITS_MAX. */
size_t num_write_u64(char *out, uint64_t value);
size_t num_write_i64(char *out, int64_t value);
/* Decimal digits of value, 1 to 20. */
size_t num_digits_u64(uint64_t value);
/* The whole of text must be a number that fits; false leaves *value alone. */
bool num_read_u64(const char *text, size_t size, uint64_t *value);
bool num_read_i64(const char *text, size_t size, int64_t *value);

/* A stable short name for a key in messages, so that the key itself never appears in them:
 * the low 64 bits of its XXH3 hash. Print with %016llx. */
uint64_t key_hash(const void *key, size_t size);

#endif
