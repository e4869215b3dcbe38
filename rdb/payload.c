/*
 * DUMP payloads: type byte, body, u16 LE version, u64 LE CRC64 of all before it. And what is known
 * of each value type: its name, and the RDB version that introduced it.
 */
#include "rdb/encoding.h"

struct type_fact {
    const char *name;
    uint16_t version_min;
};

/* Type 22 has its Redis meaning here. */
static const struct type_fact type_facts[] = {
    [RDB_TYPE_STRING] = {"string", 6},
    [RDB_TYPE_LIST] = {"list", 6},
    [RDB_TYPE_SET] = {"set", 6},
    [RDB_TYPE_ZSET] = {"sorted set (text scores)", 6},
    [RDB_TYPE_HASH] = {"hash", 6},
    [RDB_TYPE_ZSET_2] = {"sorted set", 8},
    [RDB_TYPE_MODULE_PRE_GA] = {"module (pre-release format)", 0},
    [RDB_TYPE_MODULE_2] = {"module", 8},
    [RDB_TYPE_HASH_ZIPMAP] = {"hash (zipmap)", 6},
    [RDB_TYPE_LIST_ZIPLIST] = {"list (ziplist)", 6},
    [RDB_TYPE_SET_INTSET] = {"set (intset)", 6},
    [RDB_TYPE_ZSET_ZIPLIST] = {"sorted set (ziplist)", 6},
    [RDB_TYPE_HASH_ZIPLIST] = {"hash (ziplist)", 6},
    [RDB_TYPE_LIST_QUICKLIST] = {"list (ziplist nodes)", 7},
    [RDB_TYPE_STREAM_LISTPACKS] = {"stream (version 1)", 9},
    [RDB_TYPE_HASH_LISTPACK] = {"hash (listpack)", 10},
    [RDB_TYPE_ZSET_LISTPACK] = {"sorted set (listpack)", 10},
    [RDB_TYPE_LIST_QUICKLIST_2] = {"list (listpack nodes)", 10},
    [RDB_TYPE_STREAM_LISTPACKS_2] = {"stream (version 2)", 10},
    [RDB_TYPE_SET_LISTPACK] = {"set (listpack)", 11},
    [RDB_TYPE_STREAM_LISTPACKS_3] = {"stream (version 3)", 11},
    [RDB_TYPE_HASH_METADATA_PRE_GA] = {"hash (field expiry, type 22)", 12},
    [RDB_TYPE_HASH_LISTPACK_EX_PRE_GA] = {"hash (listpack, field expiry, pre-release)", 12},
    [RDB_TYPE_HASH_METADATA] = {"hash (field expiry)", 12},
    [RDB_TYPE_HASH_LISTPACK_EX] = {"hash (listpack, field expiry)", 12},
};
_Static_assert(sizeof(type_facts) / sizeof(type_facts[0]) == RDB_TYPE_COUNT, "one fact per type");

/* The only version with Valkey's magic, and the only footer that carries Valkey's type 22: without
 * it a Redis server would read the value as something else. */
#define VALKEY_HASH_2_VERSION 80

const char *rdb_type_name(uint8_t type)
{
    const char *name = type < RDB_TYPE_COUNT ? type_facts[type].name : NULL;
    return name != NULL ? name : "unknown type";
}

uint16_t rdb_type_version_min(uint8_t type, bool is_valkey)
{
    if (type >= RDB_TYPE_COUNT) {
        return 0;
    }
    if (is_valkey && type >= RDB_TYPE_HASH_METADATA_PRE_GA) {
        return type == RDB_TYPE_HASH_METADATA_PRE_GA ? VALKEY_HASH_2_VERSION : 0;
    }
    return type_facts[type].version_min;
}

void rdb_footer_write(uint8_t out[RDB_FOOTER_SIZE], uint64_t crc, uint16_t version)
{
    out[0] = (uint8_t)version;
    out[1] = (uint8_t)(version >> 8);
    uint64_t sum = htole64(crc64_update(crc, out, 2));
    memcpy(out + 2, &sum, sizeof(sum));
}

bool rdb_payload_check(uint64_t size,
                       uint8_t type,
                       const uint8_t *footer,
                       uint64_t crc,
                       uint16_t *version,
                       struct syn_err *err)
{
    /* A type byte and at least one byte of value; no value is empty. */
    if (size < RDB_FOOTER_SIZE + 2) {
        return ERR(err,
                   SYN_CODE_SOURCE_DATA,
                   "DUMP payload: %llu bytes are too few",
                   (unsigned long long)size);
    }
    uint64_t expected = load_u64_le(footer + 2);
    if (crc != expected) {
        return ERR(err,
                   SYN_CODE_SOURCE_DATA,
                   "DUMP payload of %llu bytes, type %u: its CRC64 is %016llx and its footer says "
                   "%016llx",
                   (unsigned long long)size,
                   type,
                   (unsigned long long)crc,
                   (unsigned long long)expected);
    }
    *version = (uint16_t)(footer[0] | footer[1] << 8);
    return true;
}

bool rdb_payload_read(const uint8_t *payload,
                      size_t size,
                      uint8_t *type,
                      struct slice *body,
                      uint16_t *version,
                      struct syn_err *err)
{
    bool has_footer = size >= RDB_FOOTER_SIZE + 2;
    uint64_t crc = has_footer ? crc64_update(0, payload, size - 8) : 0;
    const uint8_t *footer = has_footer ? payload + size - RDB_FOOTER_SIZE : NULL;
    if (!rdb_payload_check(size, has_footer ? payload[0] : 0, footer, crc, version, err)) {
        return false;
    }
    *type = payload[0];
    *body = (struct slice){.bytes = payload + 1, .size = size - RDB_FOOTER_SIZE - 1};
    return true;
}
