/*
 * A stream in the form of an earlier version. The forms differ in what they have besides:
 *
 *   LEN n, n times: node id (STR of 16 bytes), listpack (STR)
 *   LEN entries, LEN LEN last id
 *   2, 3: LEN LEN first id, LEN LEN max deleted id, LEN entries added
 *   LEN n, n groups: STR name, LEN LEN last delivered id
 *       2, 3: LEN entries read
 *       LEN n, n pending: 16 bytes id, 8 bytes time, LEN deliveries
 *       LEN n, n consumers: STR name, 8 bytes seen
 *           3: 8 bytes active
 *           LEN n, n times 16 bytes id
 *
 * so that an earlier form is the same bytes without some of them, and can be made in place.
 */
#include "rdb/encoding.h"
#include "rdb/rdb.h"

#define ID_BYTES 16
#define TIME_BYTES 8

struct lowering {
    uint8_t *bytes;
    size_t size;
    size_t from; /* the next byte to look at  */
    size_t to;   /* where what is kept goes   */
    bool is_bad; /* a field that is not whole */
};

static void take(struct lowering *lowering, size_t size, bool is_kept)
{
    if (lowering->is_bad || size > lowering->size - lowering->from) {
        lowering->is_bad = true;
        return;
    }
    if (is_kept) {
        if (lowering->to != lowering->from) {
            memmove(lowering->bytes + lowering->to, lowering->bytes + lowering->from, size);
        }
        lowering->to += size;
    }
    lowering->from += size;
}

static uint64_t take_len(struct lowering *lowering, bool is_kept)
{
    uint64_t value = 0;
    size_t size = 0;
    struct field_note note;
    if (lowering->is_bad || len_read(lowering->bytes + lowering->from,
                                     lowering->size - lowering->from,
                                     &value,
                                     &size,
                                     &note) != FIELD_OK) {
        lowering->is_bad = true;
        return 0;
    }
    take(lowering, size, is_kept);
    return value;
}

static void keep_string(struct lowering *lowering)
{
    struct rdb_string string;
    struct field_note note;
    if (lowering->is_bad || string_head_read(lowering->bytes + lowering->from,
                                             lowering->size - lowering->from,
                                             &string,
                                             &note) != FIELD_OK) {
        lowering->is_bad = true;
        return;
    }
    take(lowering, string.encoded_size, true);
}

static void keep_consumers(struct lowering *lowering, bool has_active, bool keeps_active)
{
    uint64_t consumers = take_len(lowering, true);
    for (uint64_t i = 0; i < consumers && !lowering->is_bad; i++) {
        keep_string(lowering);
        take(lowering, TIME_BYTES, true);
        if (has_active) {
            take(lowering, TIME_BYTES, keeps_active);
        }
        uint64_t pending = take_len(lowering, true);
        for (uint64_t n = 0; n < pending && !lowering->is_bad; n++) {
            take(lowering, ID_BYTES, true);
        }
    }
}

static void keep_groups(struct lowering *lowering, uint8_t from, uint8_t to)
{
    uint64_t groups = take_len(lowering, true);
    for (uint64_t i = 0; i < groups && !lowering->is_bad; i++) {
        keep_string(lowering);
        take_len(lowering, true);
        take_len(lowering, true);
        if (from >= RDB_TYPE_STREAM_LISTPACKS_2) {
            take_len(lowering, to >= RDB_TYPE_STREAM_LISTPACKS_2);
        }
        uint64_t pending = take_len(lowering, true);
        for (uint64_t n = 0; n < pending && !lowering->is_bad; n++) {
            take(lowering, ID_BYTES + TIME_BYTES, true);
            take_len(lowering, true);
        }
        keep_consumers(
            lowering, from >= RDB_TYPE_STREAM_LISTPACKS_3, to >= RDB_TYPE_STREAM_LISTPACKS_3);
    }
}

static bool is_stream(uint8_t type)
{
    return type == RDB_TYPE_STREAM_LISTPACKS || type == RDB_TYPE_STREAM_LISTPACKS_2 ||
           type == RDB_TYPE_STREAM_LISTPACKS_3;
}

bool rdb_stream_lower(uint8_t *body, size_t *size, uint8_t from, uint8_t to, struct syn_err *err)
{
    ASSERT(is_stream(from));
    ASSERT(is_stream(to));
    ASSERT(from > to);
    struct lowering lowering = {.bytes = body, .size = *size};
    uint64_t nodes = take_len(&lowering, true);
    for (uint64_t i = 0; i < nodes && !lowering.is_bad; i++) {
        keep_string(&lowering);
        keep_string(&lowering);
    }
    for (int i = 0; i < 3; i++) { /* entries, last id */
        take_len(&lowering, true);
    }
    for (int i = 0; i < 5 && from >= RDB_TYPE_STREAM_LISTPACKS_2; i++) {
        take_len(&lowering, to >= RDB_TYPE_STREAM_LISTPACKS_2);
    }
    keep_groups(&lowering, from, to);
    if (lowering.is_bad || lowering.from != *size) {
        return ERR(err,
                   SYN_CODE_SOURCE_DATA,
                   "a %s of %zu bytes is not whole at its byte %zu",
                   rdb_type_name(from),
                   *size,
                   lowering.from);
    }
    *size = lowering.to;
    return true;
}
