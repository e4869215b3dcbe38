/* Verification within the rules of selection: which keys are looked at, under which name on each
 * side, and which types count as being there. */
#include <string.h>

#include "core/engine/verify_private.h"

bool verify_key_take(struct verify *verify,
                     enum side side,
                     const char *bytes,
                     size_t size,
                     uint32_t index,
                     bool *is_taken,
                     struct syn_err *err)
{
    const struct select *select = config_select(verify->config);
    struct verify_key *key = &verify->keys[index];
    *key = (struct verify_key){bytes, size, bytes, size};
    *is_taken = true;
    if (select == NULL) {
        return true;
    }
    struct select_name *name = &verify->names[index];
    const struct slice given = {(const uint8_t *)bytes, size};
    if (side == SIDE_SOURCE) {
        if (!select_to_destination(select, given, name, is_taken, err)) {
            return false;
        }
        key->there = (const char *)name->bytes;
        key->there_size = name->size;
    } else {
        if (!select_to_source(select, given, name, is_taken, err)) {
            return false;
        }
        key->bytes = (const char *)name->bytes;
        key->size = name->size;
    }
    return true;
}

enum value_type verify_type_taken(const struct verify *verify, enum value_type type)
{
    static const uint8_t kinds[VALUE_TYPE_COUNT] = {
        [VALUE_NONE] = RDB_KIND_COUNT,
        [VALUE_STRING] = RDB_KIND_STRING,
        [VALUE_LIST] = RDB_KIND_LIST,
        [VALUE_SET] = RDB_KIND_SET,
        [VALUE_HASH] = RDB_KIND_HASH,
        [VALUE_ZSET] = RDB_KIND_ZSET,
        [VALUE_STREAM] = RDB_KIND_STREAM,
        [VALUE_OTHER] = RDB_KIND_MODULE,
    };
    const struct select *select = config_select(verify->config);
    bool is_taken = select == NULL || select_kind(select, (enum rdb_kind)kinds[type]);
    return is_taken ? type : VALUE_NONE;
}
