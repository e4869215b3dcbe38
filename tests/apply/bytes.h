/*
 * Bytes that a test makes: buffers that grow, RDB files and RESP commands written by hand.
 *
 * Threads:   whoever owns the buffer.
 * Ownership: the caller's, from a zeroed struct to bytes_free.
 * Errors:    fatal.
 */
#ifndef TESTS_APPLY_BYTES_H
#define TESTS_APPLY_BYTES_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "rdb/rdb.h"

struct bytes {
    uint8_t *bytes;
    size_t size;
    size_t capacity;
};

/* Room for `need` items of this size, or more; the capacity is in items. */
void *bytes_grown(void *p, size_t need, size_t *capacity, size_t item);
void bytes_add(struct bytes *to, const void *bytes, size_t size);
void bytes_free(struct bytes *bytes);
void bytes_fixture(struct bytes *to, const char *path);
/* RDB: header, then what the functions below add, then the end with its CRC. */
void rdb_open(struct bytes *rdb);
void rdb_select(struct bytes *rdb, uint8_t db);
void rdb_text(struct bytes *rdb, const void *text, size_t size); /* a raw STR */
void rdb_string_add(struct bytes *rdb, const char *key, const void *value, size_t size);
void rdb_expire(struct bytes *rdb, uint64_t ms);
/* A list (type 1) of this many elements of this size. */
void rdb_list_add(struct bytes *rdb, const char *key, uint32_t count, size_t size);
void rdb_close(struct bytes *rdb);
void resp_add(struct bytes *to, const char *words);
void resp_add_args(struct bytes *to, uint32_t count, const struct slice *args);

#endif
