#include "tests/fuzz/repair.h"

#include <string.h>

static void put_le(uint8_t *to, uint64_t value, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        to[i] = (uint8_t)(value >> (8 * i));
    }
}

static uint32_t get_u32(const uint8_t *from)
{
    return from[0] | (uint32_t)from[1] << 8 | (uint32_t)from[2] << 16 | (uint32_t)from[3] << 24;
}

/* ---- blobs ---- */

/* Bytes of encoding and data; 0: no encoding. Needs five bytes. */
static size_t listpack_data(const uint8_t *entry)
{
    static const uint8_t integers[] = {3, 4, 5, 9};
    if (entry[0] < 0x80) {
        return 1;
    }
    if (entry[0] < 0xc0) {
        return 1 + (entry[0] & 63u);
    }
    if (entry[0] < 0xe0) {
        return 2;
    }
    if (entry[0] < 0xf0) {
        return 2 + ((entry[0] & 15u) << 8 | entry[1]);
    }
    if (entry[0] == 0xf0) {
        return 5 + (size_t)get_u32(entry + 1);
    }
    return entry[0] <= 0xf4 ? integers[entry[0] - 0xf1] : 0;
}

static void repair_listpack(uint8_t *blob, size_t size)
{
    put_le(blob, size, 4);
    put_le(blob + 4, 65535, 2);
    blob[size - 1] = 255;
    for (size_t pos = 6; size - 1 - pos >= 5;) {
        size_t length = listpack_data(blob + pos);
        size_t groups = length < 128 ? 1 : length < 16384 ? 2 : 3;
        if (length == 0 || length >= size - 1 - pos || groups > size - 1 - pos - length) {
            return;
        }
        for (size_t i = 0; i < groups; i++) {
            uint8_t group = (uint8_t)(length >> (7 * (groups - 1 - i)) & 127);
            blob[pos + length + i] = i == 0 ? group : group | 128;
        }
        pos += length + groups;
    }
}

/* Needs five bytes. */
static size_t ziplist_data(const uint8_t *entry)
{
    static const uint8_t integers[] = {3, 5, 9};
    if (entry[0] < 0x40) {
        return 1 + (size_t)entry[0];
    }
    if (entry[0] < 0x80) {
        return 2 + ((entry[0] & 63u) << 8 | entry[1]);
    }
    if (entry[0] < 0xc0) {
        return 5 + ((size_t)entry[3] << 8 | entry[4]);
    }
    if (entry[0] < 0xf0) {
        return integers[(entry[0] >> 4 & 3) % 3];
    }
    return entry[0] == 0xf0 ? 4 : entry[0] == 0xfe ? 2 : 1;
}

static void repair_ziplist(uint8_t *blob, size_t size)
{
    put_le(blob, size, 4);
    put_le(blob + 8, 65535, 2);
    blob[size - 1] = 255;
    size_t last = 10;
    put_le(blob + 4, last, 4);
    for (size_t pos = 10; pos < size - 1;) {
        size_t back = pos - last;
        put_le(blob + 4, pos, 4);
        last = pos;
        if (size - 1 - pos < 10 || (back >= 254) != (blob[pos] == 254)) {
            blob[pos] = back < 254 ? (uint8_t)back : blob[pos];
            return;
        }
        if (back >= 254) {
            put_le(blob + pos + 1, back, 4);
            pos += 5;
        } else {
            blob[pos++] = (uint8_t)back;
        }
        pos += ziplist_data(blob + pos);
    }
}

static void repair_intset(uint8_t *blob, size_t size)
{
    uint32_t width = get_u32(blob);
    if (width != 2 && width != 4 && width != 8) {
        width = 2;
    }
    put_le(blob, width, 4);
    put_le(blob + 4, (size - 8) / width, 4);
}

void repair_blob(enum blob_family family, uint8_t *blob, size_t size)
{
    if (family == BLOB_ZIPLIST && size >= 11) {
        repair_ziplist(blob, size);
    } else if (family == BLOB_LISTPACK && size >= 7) {
        repair_listpack(blob, size);
    } else if (family == BLOB_INTSET && size >= 10) {
        repair_intset(blob, size);
    } else if (family == BLOB_ZIPMAP && size >= 2) {
        blob[0] = 255;
        blob[size - 1] = 255;
    }
}

/* ---- checksums ---- */

void repair_footer(uint8_t *payload, size_t size)
{
    uint8_t *footer = payload + size - RDB_FOOTER_SIZE;
    uint16_t version = footer[1] == 0 ? footer[0] : 11;
    uint64_t crc = crc64_update(0, payload, size - RDB_FOOTER_SIZE);
    rdb_footer_write(footer, crc, version);
}

/* Where the snapshot's EOF opcode ends; 0: nowhere. */
static size_t rdb_end(const uint8_t *bytes, size_t size)
{
    struct syn_err err;
    struct rdb_parser *parser = rdb_parser_new(size + 64, &err);
    ASSERT(parser != NULL);
    struct rdb_item item = {.kind = RDB_ITEM_HEADER};
    enum rdb_status status = RDB_READY;
    size_t pos = 0;
    while (status == RDB_READY && item.kind != RDB_ITEM_END) {
        size_t used;
        size_t wanted;
        status = rdb_parser_next(parser, bytes + pos, size - pos, &used, &wanted, &item, &err);
        pos += used;
        if (status == RDB_READY && item.kind == RDB_ITEM_KEY) {
            status = rdb_value_walk(parser, bytes + pos, size - pos, &used, &err);
            pos += used;
        }
    }
    rdb_parser_free(parser);
    return status == RDB_READY ? pos : 0;
}

size_t repair_rdb(uint8_t *bytes, size_t size, size_t size_max)
{
    size_t end = rdb_end(bytes, size);
    if (end == 0 || size_max < 8 || end > size_max - 8) {
        return size;
    }
    uint64_t crc = crc64_update(0, bytes, end);
    put_le(bytes + end, crc, 8);
    return size > end + 8 ? size : end + 8;
}
