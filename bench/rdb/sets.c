#include "bench/rdb/sets.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <liblzf/lzf.h>

#include "rdb/rdb.h"

#define STRINGS 1000000u
#define LARGE_COUNT 4u
/* The longest that one put_* adds at once. */
#define PUT_BYTES_MAX 65536u

/* ---- bytes ---- */

static void reserve(struct set *set)
{
    if (set->capacity - set->size >= PUT_BYTES_MAX) {
        return;
    }
    set->capacity = 2 * set->capacity + 4 * PUT_BYTES_MAX;
    set->bytes = mem_realloc(MEM_TOOLS, set->bytes, set->capacity);
    ASSERT(set->bytes != NULL);
}

static void put(struct set *set, const void *bytes, size_t size)
{
    ASSERT(size <= PUT_BYTES_MAX);
    reserve(set);
    memcpy(set->bytes + set->size, bytes, size);
    set->size += size;
}

static void put_byte(struct set *set, unsigned byte)
{
    uint8_t value = (uint8_t)byte;
    put(set, &value, 1);
}

static void put_len(struct set *set, uint64_t value)
{
    if (value < 64) {
        put_byte(set, (unsigned)value);
    } else if (value < 16384) {
        put_byte(set, 0x40 | (unsigned)(value >> 8));
        put_byte(set, value & 255);
    } else {
        put_byte(set, 0x80);
        for (unsigned shift = 32; shift > 0; shift -= 8) {
            put_byte(set, value >> (shift - 8) & 255);
        }
    }
}

static void put_str(struct set *set, const void *bytes, size_t size)
{
    put_len(set, size);
    put(set, bytes, size);
}

/* xorshift64*, as the loader of bench/e2e. */
static uint64_t random_next(struct set *set)
{
    set->random ^= set->random >> 12;
    set->random ^= set->random << 25;
    set->random ^= set->random >> 27;
    return set->random * 0x2545f4914f6cdd1du;
}

static void random_text(struct set *set, char *out, size_t size)
{
    static const char letters[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    for (size_t i = 0; i < size; i++) {
        out[i] = letters[random_next(set) >> 58];
    }
}

static void put_key(struct set *set, uint8_t type, const char *prefix, uint64_t n)
{
    char key[40];
    int size = snprintf(
        key, sizeof(key), type == RDB_TYPE_STRING ? "%s:%012" PRIu64 : "%s:%09" PRIu64, prefix, n);
    put_byte(set, type);
    put_str(set, key, (size_t)size);
    set->keys++;
}

/* ---- blobs: a listpack of short texts and small integers ---- */

struct listpack {
    uint8_t bytes[1024];
    size_t size;
    unsigned count;
};

static void listpack_begin(struct listpack *listpack)
{
    listpack->size = 6;
    listpack->count = 0;
}

static void listpack_text(struct listpack *listpack, const char *text, size_t size)
{
    ASSERT(size < 64);
    ASSERT(listpack->size + size + 3 <= sizeof(listpack->bytes));
    uint8_t *at = listpack->bytes + listpack->size;
    *at++ = (uint8_t)(0x80 | size);
    memcpy(at, text, size);
    at[size] = (uint8_t)(size + 1);
    listpack->size += size + 2;
    listpack->count++;
}

static void put_listpack(struct set *set, struct listpack *listpack, bool is_compressed)
{
    uint8_t *bytes = listpack->bytes;
    bytes[listpack->size++] = 255;
    for (unsigned i = 0; i < 4; i++) {
        bytes[i] = (uint8_t)(listpack->size >> (8 * i));
    }
    bytes[4] = (uint8_t)listpack->count;
    bytes[5] = (uint8_t)(listpack->count >> 8);
    uint8_t packed[sizeof(listpack->bytes)];
    unsigned size = 0;
    if (is_compressed && listpack->size > 20) {
        size = lzf_compress(bytes, (unsigned)listpack->size, packed, (unsigned)listpack->size - 4);
    }
    if (size == 0) {
        put_str(set, bytes, listpack->size);
        return;
    }
    put_byte(set, 0xc3);
    put_len(set, size);
    put_len(set, listpack->size);
    put(set, packed, size);
}

/* ---- keys ---- */

static void put_string(struct set *set, uint64_t n)
{
    char value[64];
    put_key(set, RDB_TYPE_STRING, "key", n);
    random_text(set, value, sizeof(value));
    put_str(set, value, sizeof(value));
}

static size_t member_text(char out[24], unsigned i)
{
    return (size_t)snprintf(out, 24, "m%07u", i);
}

/* A score has up to three digits behind the point, as text and as a number. */
static size_t score_text(struct set *set, char out[24], unsigned i)
{
    return (size_t)snprintf(out, 24, "%u.%u", i, (unsigned)(random_next(set) % 1000));
}

static void put_small(struct set *set, uint8_t type, uint64_t n, bool is_compressed)
{
    static const char *const prefixes[RDB_TYPE_COUNT] = {[RDB_TYPE_HASH_LISTPACK] = "h",
                                                         [RDB_TYPE_LIST_QUICKLIST_2] = "l",
                                                         [RDB_TYPE_ZSET_LISTPACK] = "z"};
    struct listpack listpack;
    char member[24];
    char other[24];
    put_key(set, type, prefixes[type], n);
    listpack_begin(&listpack);
    for (unsigned i = 0; i < 10; i++) {
        size_t size = member_text(member, i);
        random_text(set, other, 12);
        if (type == RDB_TYPE_LIST_QUICKLIST_2) {
            listpack_text(&listpack, other, 12);
            continue;
        }
        listpack_text(&listpack, member, size);
        size = type == RDB_TYPE_ZSET_LISTPACK ? score_text(set, other, i) : 12;
        listpack_text(&listpack, other, size);
    }
    if (type == RDB_TYPE_LIST_QUICKLIST_2) {
        put_len(set, 1);
        put_len(set, 2);
    }
    put_listpack(set, &listpack, is_compressed);
}

static void put_small_set(struct set *set, uint64_t n)
{
    char member[12];
    put_key(set, RDB_TYPE_SET, "s", n);
    put_len(set, 10);
    for (unsigned i = 0; i < 10; i++) {
        random_text(set, member, sizeof(member));
        put_str(set, member, sizeof(member));
    }
}

static void put_large(struct set *set, uint64_t n, uint64_t count)
{
    char member[24];
    char other[24];
    put_key(set, RDB_TYPE_HASH, "H", n);
    put_len(set, count);
    for (unsigned i = 0; i < count; i++) {
        put_str(set, member, member_text(member, i));
        random_text(set, other, 12);
        put_str(set, other, 12);
    }
    put_key(set, RDB_TYPE_ZSET_2, "Z", n);
    put_len(set, count);
    for (unsigned i = 0; i < count; i++) {
        put_str(set, member, member_text(member, i));
        other[score_text(set, other, i)] = '\0';
        double score = strtod(other, NULL);
        put(set, &score, sizeof(score));
    }
}

/* ---- sets ---- */

void set_make(struct set *set, enum set_kind kind, uint64_t scale)
{
    static const char *const names[SET_KIND_COUNT] = {"S", "M", "C", "CZ"};
    bool is_compressed = kind == SET_CZ;
    *set = (struct set){.random = 0x9e3779b97f4a7c15u};
    snprintf(set->name, sizeof(set->name), "%s", names[kind]);
    put(set, "REDIS0010\xfe\x00", 11);
    uint64_t strings = kind == SET_S ? STRINGS / scale : kind == SET_M ? STRINGS / 4 / scale : 0;
    for (uint64_t n = 0; n < strings; n++) {
        put_string(set, n);
    }
    uint64_t collections = kind == SET_S ? 0 : STRINGS / 20 / scale;
    for (uint64_t n = 0; n < collections; n++) {
        put_small(set, RDB_TYPE_HASH_LISTPACK, n, is_compressed);
        put_small(set, RDB_TYPE_LIST_QUICKLIST_2, n, is_compressed);
        put_small_set(set, n);
        put_small(set, RDB_TYPE_ZSET_LISTPACK, n, is_compressed);
    }
    for (uint64_t n = 0; collections > 0 && n < LARGE_COUNT; n++) {
        put_large(set, n, STRINGS / 4 / scale);
    }
    put_byte(set, 0xff);
    uint64_t crc = crc64_update(0, set->bytes, set->size);
    put(set, &crc, sizeof(crc));
}

int set_load(struct set *set, const char *path)
{
    *set = (struct set){.capacity = 0};
    const char *slash = strrchr(path, '/');
    snprintf(set->name, sizeof(set->name), "%s", slash != NULL ? slash + 1 : path);
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        return 0;
    }
    for (;;) {
        reserve(set);
        size_t got = fread(set->bytes + set->size, 1, set->capacity - set->size, file);
        set->size += got;
        if (got == 0) {
            break;
        }
    }
    int is_read = !ferror(file);
    fclose(file);
    return is_read;
}

void set_free(struct set *set)
{
    mem_free(MEM_TOOLS, set->bytes);
    set->bytes = NULL;
}
