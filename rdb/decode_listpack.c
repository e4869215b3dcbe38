#include "rdb/decode_listpack.h"

#define COUNT_UNKNOWN 65535

bool listpack_open(struct blob *blob)
{
    if (blob->size < LISTPACK_HEADER + 1) {
        return open_bad(blob, "a listpack shorter than its header");
    }
    if (load_u32_le(blob->bytes) != blob->size) {
        return open_bad(blob, "a listpack of another size than its header says");
    }
    if (blob->bytes[blob->size - 1] != 0xff) {
        blob->pos = blob->size - 1;
        return open_bad(blob, "a listpack without an end mark");
    }
    unsigned count = blob->bytes[4] | (unsigned)blob->bytes[5] << 8;
    blob->count = count == COUNT_UNKNOWN ? RDB_UNKNOWN : count;
    blob->pos = LISTPACK_HEADER;
    return true;
}

/* Sign-extends `bits` low bits. */
static int64_t sign_extend(uint64_t value, unsigned bits)
{
    return (int64_t)(value << (64 - bits)) >> (64 - bits);
}

/* Bytes of the head and, of integers, the value; 0: no encoding starts so, or it is cut. */
static size_t
entry_head(const uint8_t *entry, size_t room, struct rdb_element *element, uint64_t *text)
{
    static const uint8_t integer_sizes[] = {3, 4, 5, 9}; /* 0xF1 to 0xF4 */
    uint8_t first = entry[0];
    *element = (struct rdb_element){.is_integer = true};
    *text = 0;
    if (first < 0x80) {
        element->integer = first;
        return 1;
    }
    if (first < 0xc0) {
        element->is_integer = false;
        *text = first & 0x3f;
        return 1;
    }
    if (first < 0xf0) {
        if (room < 2) {
            return 0;
        }
        unsigned low = entry[1];
        if (first < 0xe0) {
            element->integer = sign_extend((uint64_t)(first & 0x1f) << 8 | low, 13);
            return 2;
        }
        element->is_integer = false;
        *text = (uint64_t)(first & 0x0f) << 8 | low;
        return 2;
    }
    if (first == 0xf0) {
        if (room < 5) {
            return 0;
        }
        element->is_integer = false;
        *text = load_u32_le(entry + 1);
        return 5;
    }
    if (first > 0xf4 || room < integer_sizes[first - 0xf1]) {
        return 0;
    }
    size_t size = integer_sizes[first - 0xf1];
    uint64_t value = 0;
    for (size_t i = size - 1; i > 0; i--) {
        value = value << 8 | entry[i];
    }
    element->integer = sign_extend(value, 8 * (unsigned)(size - 1));
    return size;
}

/* Bytes that `length` takes behind an entry, as Valkey 9 writes it. */
static size_t back_size(uint64_t length)
{
    size_t size = 1;
    for (; length > 127; length >>= 7) {
        size++;
    }
    return size;
}

/* The lengths for which the two families differ: all of their groups are full. */
static bool is_full_groups(uint64_t length)
{
    return length == 16383 || length == 2097151 || length == 268435455;
}

/* Size of the back length at `back`, or 0 if it does not say `length`. */
static size_t back_read(const uint8_t *back, size_t room, uint64_t length)
{
    size_t size = back_size(length);
    if (is_full_groups(length) && room > 0 && back[0] == 0) {
        size++;
    }
    if (size > room) {
        return 0;
    }
    for (size_t i = size; i > 0; i--) {
        uint8_t group = (uint8_t)(length & 127) | (i > 1 ? 128 : 0);
        if (back[i - 1] != group) {
            return 0;
        }
        length >>= 7;
    }
    return size;
}

enum entry listpack_next_any(struct blob *blob, struct rdb_element *element)
{
    const uint8_t *entry = blob->bytes + blob->pos;
    size_t room = blob->size - 1 - blob->pos;
    if (room == 0) {
        return ENTRY_END;
    }
    uint64_t text;
    size_t head = entry_head(entry, room, element, &text);
    if (head == 0) {
        return entry_bad(blob, "a listpack entry of an unknown encoding, or beyond the end");
    }
    if (text > room - head) {
        return entry_bad(blob, "a listpack string beyond the end");
    }
    if (!element->is_integer) {
        element->bytes = entry + head;
        element->size = text;
    }
    size_t size = head + text;
    size_t back = back_read(entry + size, room - size, size);
    if (back == 0) {
        return entry_bad(blob, "a listpack entry with a wrong back length");
    }
    blob->pos += size + back;
    blob->seen++;
    return ENTRY_ONE;
}

enum take listpack_run(struct rdb_decoder *decoder, enum shape shape)
{
    return blob_run(decoder, shape, listpack_open, listpack_next);
}
