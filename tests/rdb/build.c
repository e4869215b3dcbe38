#include "tests/rdb/build.h"

#include <string.h>

void build_reset(struct build *build)
{
    build->size = 0;
    build->count = 0;
    build->last = 0;
}

void build_bytes(struct build *build, const void *bytes, size_t size)
{
    ASSERT(size <= BUILD_BYTES_MAX - build->size);
    if (size > 0) {
        memcpy(build->bytes + build->size, bytes, size);
    }
    build->size += size;
}

void build_byte(struct build *build, unsigned byte)
{
    uint8_t value = (uint8_t)byte;
    build_bytes(build, &value, 1);
}

static void put_le(struct build *build, uint64_t value, unsigned size)
{
    for (unsigned i = 0; i < size; i++) {
        build_byte(build, value >> (8 * i) & 255);
    }
}

void build_u32(struct build *build, uint32_t value)
{
    put_le(build, value, 4);
}

void build_u64(struct build *build, uint64_t value)
{
    put_le(build, value, 8);
}

void build_u64_be(struct build *build, uint64_t value)
{
    for (unsigned i = 8; i > 0; i--) {
        build_byte(build, value >> (8 * (i - 1)) & 255);
    }
}

void build_double(struct build *build, double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof(bits));
    build_u64(build, bits);
}

void build_len(struct build *build, uint64_t value)
{
    if (value < 64) {
        build_byte(build, (unsigned)value);
    } else if (value < 16384) {
        build_byte(build, 0x40 | (unsigned)(value >> 8));
        build_byte(build, value & 255);
    } else if (value <= UINT32_MAX) {
        build_byte(build, 0x80);
        for (unsigned i = 4; i > 0; i--) {
            build_byte(build, value >> (8 * (i - 1)) & 255);
        }
    } else {
        build_byte(build, 0x81);
        build_u64_be(build, value);
    }
}

void build_str(struct build *build, const void *bytes, size_t size)
{
    build_len(build, size);
    build_bytes(build, bytes, size);
}

void build_text(struct build *build, const char *text)
{
    build_str(build, text, strlen(text));
}

void build_blob(struct build *build, const struct build *blob)
{
    build_str(build, blob->bytes, blob->size);
}

void build_lzf(struct build *build, const void *bytes, size_t size)
{
    const uint8_t *at = bytes;
    build_byte(build, 0xc3);
    build_len(build, size + (size + 31) / 32);
    build_len(build, size);
    while (size > 0) {
        size_t run = size < 32 ? size : 32;
        build_byte(build, (unsigned)run - 1);
        build_bytes(build, at, run);
        at += run;
        size -= run;
    }
}

static void patch_le(struct build *build, size_t at, uint64_t value, unsigned size)
{
    for (unsigned i = 0; i < size; i++) {
        build->bytes[at + i] = (uint8_t)(value >> (8 * i));
    }
}

/* ---- listpacks ---- */

void listpack_begin(struct build *build)
{
    build_reset(build);
    build_u32(build, 0);
    put_le(build, 0, 2);
}

void listpack_end(struct build *build)
{
    build_byte(build, 255);
    patch_le(build, 0, build->size, 4);
    patch_le(build, 4, build->count < 65535 ? build->count : 65535, 2);
}

void listpack_raw(struct build *build, const void *bytes, size_t size, bool is_long)
{
    build_bytes(build, bytes, size);
    unsigned groups = is_long ? 2 : 1;
    for (size_t rest = size >> 7; rest > 0; rest >>= 7) {
        groups++;
    }
    for (unsigned i = groups; i > 0; i--) {
        unsigned group = size >> (7 * (i - 1)) & 127;
        build_byte(build, i == groups ? group : group | 128);
    }
    build->count++;
}

void listpack_text(struct build *build, const void *bytes, size_t size)
{
    static uint8_t entry[BUILD_BYTES_MAX];
    size_t head = 1;
    if (size < 64) {
        entry[0] = (uint8_t)(0x80 | size);
    } else if (size < 4096) {
        entry[0] = (uint8_t)(0xe0 | size >> 8);
        entry[1] = (uint8_t)size;
        head = 2;
    } else {
        entry[0] = 0xf0;
        for (unsigned i = 0; i < 4; i++) {
            entry[1 + i] = (uint8_t)(size >> (8 * i));
        }
        head = 5;
    }
    ASSERT(size <= sizeof(entry) - head);
    if (size > 0) {
        memcpy(entry + head, bytes, size);
    }
    listpack_raw(build, entry, head + size, false);
}

void listpack_integer(struct build *build, int64_t value)
{
    uint8_t entry[9];
    if (value >= 0 && value < 128) {
        entry[0] = (uint8_t)value;
        listpack_raw(build, entry, 1, false);
    } else if (value >= -4096 && value < 4096) {
        entry[0] = (uint8_t)(0xc0 | ((uint64_t)value >> 8 & 31));
        entry[1] = (uint8_t)value;
        listpack_raw(build, entry, 2, false);
    } else {
        entry[0] = 0xf4;
        for (unsigned i = 0; i < 8; i++) {
            entry[1 + i] = (uint8_t)((uint64_t)value >> (8 * i));
        }
        listpack_raw(build, entry, 9, false);
    }
}

void build_stream_nodes(struct build *build)
{
    /* The master entry: one entry, none deleted, no fields. Then flags, ms, seq, 5 = 6, back. */
    static const int8_t entry[] = {1, 0, 0, 0, 0, 0, 0, 1, 5, 6, 6};
    static struct build node; /* large: not for a stack */
    listpack_begin(&node);
    for (size_t i = 0; i < sizeof(entry); i++) {
        listpack_integer(&node, entry[i]);
    }
    listpack_end(&node);
    build_bytes(build, "\x01\x10", 2);
    build_u64_be(build, 9);
    build_u64_be(build, 1);
    build_blob(build, &node);
}

/* ---- ziplists ---- */

void ziplist_begin(struct build *build)
{
    build_reset(build);
    build_u32(build, 0);
    build_u32(build, 0);
    put_le(build, 0, 2);
    build->last = build->size;
}

void ziplist_raw(struct build *build, const void *bytes, size_t size)
{
    size_t back = build->size - build->last;
    build->last = build->size;
    if (back < 254) {
        build_byte(build, (unsigned)back);
    } else {
        build_byte(build, 254);
        build_u32(build, (uint32_t)back);
    }
    build_bytes(build, bytes, size);
    build->count++;
}

void ziplist_text(struct build *build, const char *text)
{
    static uint8_t entry[BUILD_BYTES_MAX];
    size_t size = strlen(text);
    size_t head = 1;
    entry[0] = (uint8_t)size;
    if (size >= 64) {
        entry[0] = (uint8_t)(0x40 | size >> 8);
        entry[1] = (uint8_t)size;
        head = 2;
    }
    ASSERT(size < 16384);
    memcpy(entry + head, text, size);
    ziplist_raw(build, entry, head + size);
}

void ziplist_end(struct build *build)
{
    build_byte(build, 255);
    patch_le(build, 0, build->size, 4);
    patch_le(build, 4, build->last, 4);
    patch_le(build, 8, build->count, 2);
}
