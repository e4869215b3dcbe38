/*
 * Patterns as Redis understands them: * any bytes, ? one byte, [abc] [a-z] [^a] one of a class,
 * \ the next byte as it is. The same texts match as with KEYS and SCAN … MATCH, odd patterns
 * included (stringmatchlen in util.c, Redis 7.0); ranges compare bytes as unsigned on every
 * machine.
 *
 * Threads: pure. Limits: time grows at most with the product of both sizes; no recursion.
 */
#ifndef APPLY_GLOB_H
#define APPLY_GLOB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

bool glob_match(const uint8_t *pattern, size_t pattern_size, const uint8_t *text, size_t text_size);

/* How many bytes the pattern begins with that stand for themselves and are no escapes. */
size_t glob_literal_size(const uint8_t *pattern, size_t size);

#endif
