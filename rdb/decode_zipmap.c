/*
 * Zipmaps: small hashes up to RDB 3.
 *
 *   u8 count (254 or more: not known) | ( length field | length u8 free, value, free bytes )* |
 * 0xFF
 *
 * A length is one byte, or 0xFE and u32 in the writer's byte order, of which only LE was ever seen.
 * Entries with an even number are fields here, those with an odd one values.
 */
#include "rdb/decode_blob.h"

#define ZIPMAP_COUNT_UNKNOWN 254

static bool zipmap_open(struct blob *blob)
{
    if (blob->size < 2) {
        return open_bad(blob, "a zipmap shorter than its header");
    }
    if (blob->bytes[blob->size - 1] != 0xff) {
        blob->pos = blob->size - 1;
        return open_bad(blob, "a zipmap without an end mark");
    }
    if (blob->bytes[0] < ZIPMAP_COUNT_UNKNOWN) {
        blob->count = 2 * (uint64_t)blob->bytes[0];
    }
    blob->pos = 1;
    return true;
}

static inline enum entry zipmap_next(struct blob *blob, struct rdb_element *element)
{
    const uint8_t *entry = blob->bytes + blob->pos;
    size_t room = blob->size - 1 - blob->pos;
    if (room == 0) {
        return ENTRY_END;
    }
    size_t size = entry[0];
    size_t head = 1;
    if (size >= 254) {
        if (size == 255 || room < 5) {
            return entry_bad(blob, "a zipmap entry beyond the end");
        }
        size = load_u32_le(entry + 1);
        head = 5;
    }
    size_t unused = 0;
    if (blob->seen % 2 == 1) {
        if (head == room) {
            return entry_bad(blob, "a zipmap entry beyond the end");
        }
        unused = entry[head];
        head++;
    }
    if (size > room - head || unused > room - head - size) {
        return entry_bad(blob, "a zipmap entry beyond the end");
    }
    *element = (struct rdb_element){.bytes = entry + head, .size = size};
    blob->pos += head + size + unused;
    blob->seen++;
    return ENTRY_ONE;
}

enum take zipmap_run(struct rdb_decoder *decoder)
{
    return blob_run(decoder, SHAPE_HASH, zipmap_open, zipmap_next);
}
