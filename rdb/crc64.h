/*
 * CRC64 "Jones" of RDB and DUMP (crc64.c of Redis): polynomial 0xad93d23594c935a9 reflected, no
 * initial or final inversion. CRC64("123456789") = 0xe9c6d914c4b8d9ca.
 */
#ifndef RDB_CRC64_H
#define RDB_CRC64_H

#include <stddef.h>
#include <stdint.h>

/* Continues `crc` (0 to begin) over the bytes. Any thread. Picks carry-less multiplication, of as
 * many bits at a time as the CPU has, else slicing by eight. */
uint64_t crc64_update(uint64_t crc, const void *bytes, size_t size);

/* The implementations, for tests and benchmarks. NULL when this CPU lacks it. */
typedef uint64_t crc64_function(uint64_t crc, const void *bytes, size_t size);
crc64_function *crc64_implementation(const char *name); /* "bitwise", "slice8", "clmul", "wide" */

#endif
