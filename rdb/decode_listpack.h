/*
 * Listpacks: collections since RDB 10, stream nodes since RDB 9. Private to rdb.
 *
 *   u32 LE total bytes | u16 LE count (65535: not known) | entries | 0xFF
 *
 * An entry is encoding and data (L bytes), then L itself, so that it can be read from behind:
 *
 *   0vvvvvvv                 0 … 127                 0xF0 u32   string, length LE
 *   10llllll                 string                  0xF1 i16   0xF2 i24   0xF3 i32   0xF4 i64, LE
 *   110vvvvv vvvvvvvv        13-bit integer
 *   1110llll llllllll        string
 *
 * L is written in groups of seven bits, most significant first, bit 7 set in all bytes but the
 * first. Redis, and Valkey up to 8.1, use one byte more than Valkey 9 does for L of exactly 16383,
 * 2097151 and 268435455; both are right here.
 */
#ifndef RDB_DECODE_LISTPACK_H
#define RDB_DECODE_LISTPACK_H

#include "rdb/decode_blob.h"

#define LISTPACK_HEADER 6

bool listpack_open(struct blob *blob);
/* Entries of all kinds; listpack_next takes the commonest before. */
enum entry listpack_next_any(struct blob *blob, struct rdb_element *element);

ALWAYS_INLINE enum entry listpack_next(struct blob *blob, struct rdb_element *element)
{
    const uint8_t *entry = blob->bytes + blob->pos;
    size_t room = blob->size - 1 - blob->pos; /* up to the end mark */
    if (LIKELY(room >= 2)) {
        uint8_t first = entry[0];
        if (first < 0x80 && LIKELY(entry[1] == 1)) {
            *element = (struct rdb_element){.integer = first, .is_integer = true};
            blob->pos += 2;
            blob->seen++;
            return ENTRY_ONE;
        }
        size_t size = (size_t)(first & 0x3f) + 1;
        if (LIKELY((first & 0xc0) == 0x80 && size + 1 <= room && entry[size] == size)) {
            *element = (struct rdb_element){.bytes = entry + 1, .size = size - 1};
            blob->pos += size + 1;
            blob->seen++;
            return ENTRY_ONE;
        }
    }
    return listpack_next_any(blob, element);
}

#endif
