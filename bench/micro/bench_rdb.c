/*
 * Framing of generated snapshots: S is small strings (16-byte keys, 64-byte values), M is hashes,
 * lists, sets and sorted sets of ten elements in the encodings that are not one blob, and MB the
 * like in one blob each.
 */
#include "bench/micro/micro.h"

#include <string.h>

#include "rdb/rdb.h"

#define KEYS 200000u
#define KEY_BYTES_MAX 400u

struct snapshot {
    uint8_t *bytes;
    size_t size;
    struct rdb_parser *parser;
};

static void put(struct snapshot *snapshot, const void *bytes, size_t size)
{
    memcpy(snapshot->bytes + snapshot->size, bytes, size);
    snapshot->size += size;
}

static void put_byte(struct snapshot *snapshot, unsigned byte)
{
    snapshot->bytes[snapshot->size++] = (uint8_t)byte;
}

/* A raw STR of `size` bytes (below 16384) that begins with the number. */
static void put_string(struct snapshot *snapshot, uint64_t number, size_t size)
{
    if (size >= 64) {
        put_byte(snapshot, 0x40 | (unsigned)(size >> 8));
    }
    put_byte(snapshot, (unsigned)(size < 64 ? size : size & 0xff));
    memset(snapshot->bytes + snapshot->size, 'x', size);
    memcpy(snapshot->bytes + snapshot->size, &number, size < 8 ? size : 8);
    snapshot->size += size;
}

static struct snapshot *snapshot_new(struct micro_load *load)
{
    struct snapshot *snapshot = mem_calloc(MEM_TOOLS, sizeof(*snapshot));
    ASSERT(snapshot != NULL);
    snapshot->bytes = mem_alloc(MEM_TOOLS, (size_t)KEYS * KEY_BYTES_MAX);
    ASSERT(snapshot->bytes != NULL);
    struct syn_err err;
    snapshot->parser = rdb_parser_new(65536, &err);
    ASSERT(snapshot->parser != NULL);
    put(snapshot, "REDIS0011\xfe", 10);
    put_byte(snapshot, 0);
    load->state = snapshot;
    return snapshot;
}

static int snapshot_end(struct micro_load *load, struct snapshot *snapshot)
{
    put(snapshot, "\xff\0\0\0\0\0\0\0", 9);
    load->bytes = snapshot->size;
    load->items = KEYS;
    return 1;
}

static int setup_strings(struct micro_load *load, uint64_t has_expiry)
{
    struct snapshot *snapshot = snapshot_new(load);
    for (uint64_t i = 0; i < KEYS; i++) {
        if (has_expiry != 0) {
            put(snapshot, "\xfc\x01\x02\x03\x04\x05\x01\x00\x00", 9);
        }
        put_byte(snapshot, RDB_TYPE_STRING);
        put_string(snapshot, i, 16);
        put_string(snapshot, i, 64);
    }
    return snapshot_end(load, snapshot);
}

static void put_collection(struct snapshot *snapshot, uint64_t i)
{
    static const uint8_t types[] = {RDB_TYPE_HASH, RDB_TYPE_LIST, RDB_TYPE_SET, RDB_TYPE_ZSET_2};
    uint8_t type = types[i % 4];
    put_byte(snapshot, type);
    put_string(snapshot, i, 16);
    put_byte(snapshot, 10);
    for (uint64_t k = 0; k < 10; k++) {
        put_string(snapshot, k, 10);
        if (type == RDB_TYPE_HASH) {
            put_string(snapshot, k, 20);
        } else if (type == RDB_TYPE_ZSET_2) {
            put(snapshot, &k, 8);
        }
    }
}

static int setup_collections(struct micro_load *load, uint64_t is_blob)
{
    struct snapshot *snapshot = snapshot_new(load);
    for (uint64_t i = 0; i < KEYS; i++) {
        if (is_blob != 0) {
            put_byte(snapshot, i % 2 == 0 ? RDB_TYPE_HASH_LISTPACK : RDB_TYPE_ZSET_LISTPACK);
            put_string(snapshot, i, 16);
            put_string(snapshot, i, 250);
        } else {
            put_collection(snapshot, i);
        }
    }
    return snapshot_end(load, snapshot);
}

/* One round: the whole snapshot in one window. */
static uint64_t run_frame(struct micro_load *load)
{
    struct snapshot *snapshot = load->state;
    struct rdb_parser *parser = snapshot->parser;
    struct rdb_item item;
    struct syn_err err;
    uint64_t sum = 0;
    size_t pos = 0;
    rdb_parser_reset(parser);
    do {
        size_t used;
        size_t wanted;
        size_t size = snapshot->size - pos;
        const uint8_t *window = snapshot->bytes + pos;
        enum rdb_status status = rdb_parser_next(parser, window, size, &used, &wanted, &item, &err);
        ASSERT(status == RDB_READY);
        pos += used;
        if (item.kind == RDB_ITEM_KEY) {
            status = rdb_value_walk(parser, window + used, size - used, &used, &err);
            ASSERT(status == RDB_READY);
            pos += used;
            sum += item.name.bytes[0] + used;
        }
    } while (item.kind != RDB_ITEM_CHECKSUM);
    return sum;
}

static void teardown(struct micro_load *load)
{
    struct snapshot *snapshot = load->state;
    rdb_parser_free(snapshot->parser);
    mem_free(MEM_TOOLS, snapshot->bytes);
    mem_free(MEM_TOOLS, snapshot);
}

const struct micro_case micro_rdb[] = {
    {"rdb/frame/S", setup_strings, 0, run_frame, teardown},
    {"rdb/frame/S_expiring", setup_strings, 1, run_frame, teardown},
    {"rdb/frame/M", setup_collections, 0, run_frame, teardown},
    {"rdb/frame/MB", setup_collections, 1, run_frame, teardown},
    {.name = NULL},
};
