/*
 * Intsets: u32 LE bytes per number (2, 4 or 8) | u32 LE count | numbers, LE and ascending.
 */
#include "rdb/decode_blob.h"

#define INTSET_HEADER 8

static bool intset_open(struct blob *blob)
{
    if (blob->size < INTSET_HEADER) {
        return open_bad(blob, "an intset shorter than its header");
    }
    blob->width = load_u32_le(blob->bytes);
    if (blob->width != 2 && blob->width != 4 && blob->width != 8) {
        return open_bad(blob, "an intset with numbers of an impossible size");
    }
    blob->count = load_u32_le(blob->bytes + 4);
    if (blob->count == 0) {
        return open_bad(blob, "an intset without numbers");
    }
    if (INTSET_HEADER + blob->count * blob->width != blob->size) {
        return open_bad(blob, "an intset of another size than its header says");
    }
    blob->pos = INTSET_HEADER;
    return true;
}

static inline int64_t number_read(const uint8_t *bytes, size_t width)
{
    if (width == 2) {
        return (int16_t)(uint16_t)(bytes[0] | bytes[1] << 8);
    }
    return width == 4 ? (int32_t)load_u32_le(bytes) : (int64_t)load_u64_le(bytes);
}

static inline enum entry intset_next(struct blob *blob, struct rdb_element *element)
{
    if (UNLIKELY(blob->pos == blob->size)) {
        return ENTRY_END;
    }
    int64_t integer = number_read(blob->bytes + blob->pos, blob->width);
    if (UNLIKELY(blob->seen > 0 && integer <= blob->previous)) {
        return entry_bad(blob, "an intset out of order");
    }
    *element = (struct rdb_element){.integer = integer, .is_integer = true};
    blob->previous = integer;
    blob->pos += blob->width;
    blob->seen++;
    return ENTRY_ONE;
}

enum take intset_run(struct rdb_decoder *decoder)
{
    return blob_run(decoder, SHAPE_SET, intset_open, intset_next);
}
