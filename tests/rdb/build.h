/*
 * Values by hand: for encodings that no recorded snapshot has, and for broken ones.
 */
#ifndef TESTS_RDB_BUILD_H
#define TESTS_RDB_BUILD_H

#include "rdb/rdb.h"

#define BUILD_BYTES_MAX 65536

struct build {
    uint8_t bytes[BUILD_BYTES_MAX];
    size_t size;
    size_t last;    /* ziplist: where the last entry began */
    unsigned count; /* entries of a blob                    */
};

void build_reset(struct build *build);
void build_bytes(struct build *build, const void *bytes, size_t size);
void build_byte(struct build *build, unsigned byte);
void build_u32(struct build *build, uint32_t value);
void build_u64(struct build *build, uint64_t value);
void build_u64_be(struct build *build, uint64_t value);
void build_len(struct build *build, uint64_t value);
void build_str(struct build *build, const void *bytes, size_t size);
void build_text(struct build *build, const char *text);              /* STR, raw                 */
void build_lzf(struct build *build, const void *bytes, size_t size); /* STR, one literal per 32 */
void build_blob(struct build *build, const struct build *blob);      /* STR, raw                 */
void build_double(struct build *build, double value);

void listpack_begin(struct build *build);
void listpack_text(struct build *build, const void *bytes, size_t size);
void listpack_integer(struct build *build, int64_t value);
void listpack_end(struct build *build);
/* Encoding and data as given, and the back length for them; with `is_long`, that of Redis for the
 * sizes where the families differ. */
void listpack_raw(struct build *build, const void *bytes, size_t size, bool is_long);

/* The nodes of a stream: one, with one entry, 9-1. What a stream has behind them is to follow. */
void build_stream_nodes(struct build *build);

void ziplist_begin(struct build *build);
void ziplist_raw(struct build *build, const void *bytes, size_t size);
void ziplist_text(struct build *build, const char *text);
void ziplist_end(struct build *build);

#endif
