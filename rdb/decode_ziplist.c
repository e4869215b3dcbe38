/*
 * Ziplists: small collections and list nodes up to RDB 9.
 *
 *   u32 LE total bytes | u32 LE offset of the last entry | u16 LE count (65535: not known)
 *   entries | 0xFF
 *
 * An entry is the size of the entry before it (one byte, or 0xFE and u32 LE), an encoding, and
 * data:
 *
 *   00llllll                 string              0xC0 i16   0xD0 i32   0xE0 i64   0xF0 i24, LE
 *   01llllll llllllll        string, BE          0xFE i8
 *   10______ u32 BE          string              0xF1 … 0xFD   0 … 12
 */
#include "rdb/decode_blob.h"

#define ZIPLIST_HEADER 10
#define COUNT_UNKNOWN 65535

static bool ziplist_open(struct blob *blob)
{
    if (blob->size < ZIPLIST_HEADER + 1) {
        return open_bad(blob, "a ziplist shorter than its header");
    }
    if (load_u32_le(blob->bytes) != blob->size) {
        return open_bad(blob, "a ziplist of another size than its header says");
    }
    if (blob->bytes[blob->size - 1] != 0xff) {
        blob->pos = blob->size - 1;
        return open_bad(blob, "a ziplist without an end mark");
    }
    unsigned count = blob->bytes[8] | (unsigned)blob->bytes[9] << 8;
    blob->count = count == COUNT_UNKNOWN ? RDB_UNKNOWN : count;
    blob->pos = ZIPLIST_HEADER;
    blob->last = ZIPLIST_HEADER;
    return true;
}

/* Little-endian and signed, of 1, 2, 3, 4 or 8 bytes. */
static int64_t load_signed(const uint8_t *bytes, size_t size)
{
    uint64_t value = 0;
    for (size_t i = size; i > 0; i--) {
        value = value << 8 | bytes[i - 1];
    }
    unsigned unused = 64 - 8 * (unsigned)size;
    return (int64_t)(value << unused) >> unused;
}

/* Bytes of data of an integer's encoding; 0: none, the value is in the encoding; -1: unknown. */
static int integer_size(uint8_t encoding)
{
    switch (encoding) {
    case 0xc0:
        return 2;
    case 0xd0:
        return 4;
    case 0xe0:
        return 8;
    case 0xf0:
        return 3;
    case 0xfe:
        return 1;
    default:
        return encoding >= 0xf1 && encoding <= 0xfd ? 0 : -1;
    }
}

/* Encoding and data at `entry`; their size, or 0: broken (reason). */
static inline size_t
data_read(const uint8_t *entry, size_t room, struct rdb_element *element, const char **reason)
{
    uint8_t encoding = entry[0];
    size_t head = encoding < 0x40 ? 1 : encoding < 0x80 ? 2 : encoding < 0xc0 ? 5 : 1;
    *reason = "a ziplist entry beyond the end";
    if (UNLIKELY(head > room)) {
        return 0;
    }
    if (UNLIKELY(encoding >= 0xc0)) {
        int size = integer_size(encoding);
        if (size < 0) {
            *reason = "a ziplist entry of an unknown encoding";
            return 0;
        }
        if ((size_t)size > room - head) {
            return 0;
        }
        int64_t integer = size > 0 ? load_signed(entry + head, (size_t)size) : encoding - 0xf1;
        *element = (struct rdb_element){.integer = integer, .is_integer = true};
        return head + (size_t)size;
    }
    size_t size = encoding & 0x3f;
    if (head == 2) {
        size = size << 8 | entry[1];
    } else if (head == 5) {
        uint32_t word;
        memcpy(&word, entry + 1, sizeof(word));
        size = be32toh(word);
    }
    if (UNLIKELY(size > room - head)) {
        return 0;
    }
    *element = (struct rdb_element){.bytes = entry + head, .size = size};
    return head + size;
}

static inline enum entry ziplist_next(struct blob *blob, struct rdb_element *element)
{
    const uint8_t *entry = blob->bytes + blob->pos;
    size_t room = blob->size - 1 - blob->pos;
    if (UNLIKELY(room == 0)) {
        size_t tail = load_u32_le(blob->bytes + 4);
        return tail == blob->last ? ENTRY_END
                                  : entry_bad(blob, "a ziplist whose tail is elsewhere");
    }
    size_t back = entry[0];
    size_t back_size = 1;
    if (UNLIKELY(back >= 254)) {
        if (back == 255 || room < 5) {
            return entry_bad(blob, "a ziplist entry beyond the end");
        }
        back = load_u32_le(entry + 1);
        back_size = 5;
    }
    size_t expected = blob->pos - blob->last;
    if (UNLIKELY(back != expected)) {
        return entry_bad(blob, "a ziplist entry that misstates the size of the one before it");
    }
    if (UNLIKELY(back_size == room)) {
        return entry_bad(blob, "a ziplist entry beyond the end");
    }
    size_t size = data_read(entry + back_size, room - back_size, element, &blob->reason);
    if (UNLIKELY(size == 0)) {
        return ENTRY_BAD;
    }
    blob->last = blob->pos;
    blob->pos += back_size + size;
    blob->seen++;
    return ENTRY_ONE;
}

enum take ziplist_run(struct rdb_decoder *decoder, enum shape shape)
{
    return blob_run(decoder, shape, ziplist_open, ziplist_next);
}
