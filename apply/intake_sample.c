/*
 * The smallest valid value of each type, as a server writes it: what a destination is asked with.
 *
 * Elements are named f (field), m (member) and v (value); times are in the year 3000. The stream
 * has one entry, 1-0, and no groups.
 */
#include "apply/intake_private.h"

/* A stream's node: its key, and a listpack with the own field "f" and one entry. */
#define NODE                                                                                       \
    "\020\000\000\000\000\000\000\000\001\000\000\000\000\000\000\000\000"                         \
    "\035\035\000\000\000\012\000\001\001\000\001\001\001\201f\002\000\001\002\001\000\001\000"    \
    "\001\201v\002\004\001\377"

/* A type byte and a body. */
#define SAMPLE(type, body)                                                                         \
    {                                                                                              \
        (const uint8_t *)(type body), sizeof(type body) - 1                                        \
    }

static const struct slice samples[RDB_TYPE_COUNT] = {
    [RDB_TYPE_STRING] = SAMPLE("\000", "\001v"),
    [RDB_TYPE_LIST] = SAMPLE("\001", "\001\001v"),
    [RDB_TYPE_SET] = SAMPLE("\002", "\001\001v"),
    [RDB_TYPE_ZSET] = SAMPLE("\003", "\001\001m\003\061.\065"),
    [RDB_TYPE_HASH] = SAMPLE("\004", "\001\001f\001v"),
    [RDB_TYPE_ZSET_2] = SAMPLE("\005", "\001\001m\000\000\000\000\000\000\370\077"),
    [RDB_TYPE_HASH_ZIPMAP] = SAMPLE("\011", "\007\001\001f\001\000v\377"),
    [RDB_TYPE_LIST_ZIPLIST] =
        SAMPLE("\012", "\016\016\000\000\000\012\000\000\000\001\000\000\001v\377"),
    [RDB_TYPE_SET_INTSET] = SAMPLE("\013", "\012\002\000\000\000\001\000\000\000\007\000"),
    [RDB_TYPE_ZSET_ZIPLIST] = SAMPLE(
        "\014", "\023\023\000\000\000\015\000\000\000\002\000\000\001m\003\003\061.\065\377"),
    [RDB_TYPE_HASH_ZIPLIST] =
        SAMPLE("\015", "\021\021\000\000\000\015\000\000\000\002\000\000\001f\003\001v\377"),
    [RDB_TYPE_LIST_QUICKLIST] =
        SAMPLE("\016", "\001\016\016\000\000\000\012\000\000\000\001\000\000\001v\377"),
    [RDB_TYPE_STREAM_LISTPACKS] = SAMPLE("\017", "\001" NODE "\001\001\000\000"),
    [RDB_TYPE_HASH_LISTPACK] = SAMPLE("\020", "\015\015\000\000\000\002\000\201f\002\201v\002\377"),
    [RDB_TYPE_ZSET_LISTPACK] = SAMPLE("\021", "\014\014\000\000\000\002\000\201m\002\001\001\377"),
    [RDB_TYPE_LIST_QUICKLIST_2] =
        SAMPLE("\022", "\001\002\012\012\000\000\000\001\000\201v\002\377"),
    [RDB_TYPE_STREAM_LISTPACKS_2] =
        SAMPLE("\023", "\001" NODE "\001\001\000\001\000\000\000\001\000"),
    [RDB_TYPE_SET_LISTPACK] = SAMPLE("\024", "\012\012\000\000\000\001\000\201v\002\377"),
    [RDB_TYPE_STREAM_LISTPACKS_3] =
        SAMPLE("\025", "\001" NODE "\001\001\000\001\000\000\000\001\000"),
    [RDB_TYPE_HASH_METADATA_PRE_GA] = SAMPLE("\026", "\001\000\001f\001v"),
    [RDB_TYPE_HASH_LISTPACK_EX_PRE_GA] =
        SAMPLE("\027", "\017\017\000\000\000\003\000\201f\002\201v\002\000\001\377"),
    [RDB_TYPE_HASH_METADATA] = SAMPLE("\030", "\000\340\114\332\217\035\000\000\001\001\001f\001v"),
    [RDB_TYPE_HASH_LISTPACK_EX] = SAMPLE("\031",
                                         "\000\000\000\000\000\000\000\000\017\017\000\000\000\003"
                                         "\000\201f\002\201v\002\000\001\377"),
};
/* Type 22 of Valkey. */
static const struct slice sample_valkey =
    SAMPLE("\026", "\001\001f\001v\000\340\114\332\217\035\000\000");

struct slice intake_sample(uint8_t type, bool is_valkey_rdb)
{
    ASSERT(type < RDB_TYPE_COUNT);
    if (is_valkey_rdb && type >= RDB_TYPE_HASH_METADATA_PRE_GA) {
        return type == RDB_TYPE_HASH_METADATA_PRE_GA ? sample_valkey : (struct slice){0};
    }
    return samples[type];
}
