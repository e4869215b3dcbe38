/* Words for what is in an RDB: types, encodings, elements, verdicts. */
#include "core/engine/rdb_api.h"

const char *rdb_kind_name(enum rdb_kind kind)
{
    static const char *const names[] = {
        [RDB_KIND_STRING] = "string",
        [RDB_KIND_LIST] = "list",
        [RDB_KIND_SET] = "set",
        [RDB_KIND_ZSET] = "zset",
        [RDB_KIND_HASH] = "hash",
        [RDB_KIND_STREAM] = "stream",
        [RDB_KIND_MODULE] = "module",
    };
    _Static_assert(sizeof(names) / sizeof(names[0]) == RDB_KIND_COUNT, "one name for every kind");
    return kind < RDB_KIND_COUNT ? names[kind] : "unknown";
}

/* The words of OBJECT ENCODING where there is one; the suffix tells the generations apart that
 * share a word. */
const char *rdb_encoding_name(uint8_t type, bool is_valkey)
{
    static const char *const names[] = {
        [RDB_TYPE_STRING] = "raw",
        [RDB_TYPE_LIST] = "linkedlist",
        [RDB_TYPE_SET] = "hashtable",
        [RDB_TYPE_ZSET] = "skiplist-text",
        [RDB_TYPE_HASH] = "hashtable",
        [RDB_TYPE_ZSET_2] = "skiplist",
        [RDB_TYPE_MODULE_PRE_GA] = "module-1",
        [RDB_TYPE_MODULE_2] = "module-2",
        [8] = "unknown",
        [RDB_TYPE_HASH_ZIPMAP] = "zipmap",
        [RDB_TYPE_LIST_ZIPLIST] = "ziplist",
        [RDB_TYPE_SET_INTSET] = "intset",
        [RDB_TYPE_ZSET_ZIPLIST] = "ziplist",
        [RDB_TYPE_HASH_ZIPLIST] = "ziplist",
        [RDB_TYPE_LIST_QUICKLIST] = "quicklist",
        [RDB_TYPE_STREAM_LISTPACKS] = "stream-1",
        [RDB_TYPE_HASH_LISTPACK] = "listpack",
        [RDB_TYPE_ZSET_LISTPACK] = "listpack",
        [RDB_TYPE_LIST_QUICKLIST_2] = "quicklist-2",
        [RDB_TYPE_STREAM_LISTPACKS_2] = "stream-2",
        [RDB_TYPE_SET_LISTPACK] = "listpack",
        [RDB_TYPE_STREAM_LISTPACKS_3] = "stream-3",
        [RDB_TYPE_HASH_METADATA_PRE_GA] = "hashtable-ttl-rc",
        [RDB_TYPE_HASH_LISTPACK_EX_PRE_GA] = "listpack-ttl-rc",
        [RDB_TYPE_HASH_METADATA] = "hashtable-ttl",
        [RDB_TYPE_HASH_LISTPACK_EX] = "listpack-ttl",
    };
    _Static_assert(sizeof(names) / sizeof(names[0]) == RDB_TYPE_COUNT, "one name for every type");
    if (is_valkey && type == RDB_TYPE_HASH_METADATA_PRE_GA) {
        return "hashtable-ttl"; /* Valkey's HASH_2 */
    }
    return type < RDB_TYPE_COUNT ? names[type] : "unknown";
}

const char *syn_rdb_element_name(enum syn_rdb_element_kind kind)
{
    switch (kind) {
    case SYN_RDB_ELEMENT_STRING:
        return "string";
    case SYN_RDB_ELEMENT_LIST:
        return "list";
    case SYN_RDB_ELEMENT_SET:
        return "set";
    case SYN_RDB_ELEMENT_HASH:
        return "hash";
    case SYN_RDB_ELEMENT_ZSET:
        return "zset";
    case SYN_RDB_ELEMENT_STREAM_ENTRY:
        return "stream_entry";
    case SYN_RDB_ELEMENT_STREAM_FIELD:
        return "stream_field";
    case SYN_RDB_ELEMENT_STREAM_META:
        return "stream_meta";
    case SYN_RDB_ELEMENT_GROUP:
        return "group";
    case SYN_RDB_ELEMENT_PENDING:
        return "pending";
    case SYN_RDB_ELEMENT_CONSUMER:
        return "consumer";
    case SYN_RDB_ELEMENT_CONSUMER_PENDING:
        return "consumer_pending";
    case SYN_RDB_ELEMENT_MODULE:
        return "module";
    }
    return "unknown";
}

const char *syn_rdb_verdict_name(enum syn_rdb_verdict verdict)
{
    switch (verdict) {
    case SYN_RDB_CHECKSUM_UNREAD:
        return "unread";
    case SYN_RDB_CHECKSUM_NONE:
        return "none";
    case SYN_RDB_CHECKSUM_MATCHES:
        return "matches";
    case SYN_RDB_CHECKSUM_DIFFERS:
        return "differs";
    }
    return "unknown";
}
