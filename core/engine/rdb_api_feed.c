/* The window over an RDB: bytes come in, are used in order, and are summed before they go. */
#include "core/engine/rdb_api.h"

#include <string.h>

/* Bytes are summed in portions: few enough that they are still in the cache, enough that the
 * checksum's fast path counts. */
#define SUM_BYTES ((size_t)128 << 10)

uint64_t reader_sum(struct rdb_reader *reader)
{
    ASSERT(reader->unsummed <= reader->at);
    size_t size = (size_t)(reader->at - reader->unsummed);
    if (size > 0) {
        reader->crc = crc64_update(reader->crc, reader->unsummed, size);
        reader->unsummed = reader->at;
    }
    return reader->crc;
}

void reader_use(struct rdb_reader *reader, size_t size)
{
    ASSERT(size <= reader->left);
    if (size == 0) {
        return; /* also of a window that is NULL */
    }
    reader->at += size;
    reader->left -= size;
    reader->used += size;
    if (UNLIKELY((size_t)(reader->at - reader->unsummed) >= SUM_BYTES)) {
        reader_sum(reader);
    }
}

/* Room for more bytes behind those that are left. Doubled when full, so that a length that was
 * never meant cannot take more than twice what really arrives. */
static bool make_room(struct rdb_reader *reader, struct syn_err *err)
{
    reader_sum(reader);
    if (reader->left > 0 && reader->at != reader->buffer) {
        memmove(reader->buffer, reader->at, reader->left);
    }
    if (reader->left == reader->capacity) {
        size_t larger = reader->capacity == 0 ? RDB_WINDOW_BYTES : reader->capacity * 2;
        larger = larger > reader->capacity_max ? reader->capacity_max : larger;
        ASSERT(larger > reader->capacity);
        uint8_t *buffer = mem_realloc(MEM_ENGINE, reader->buffer, larger);
        if (buffer == NULL) {
            reader->at = reader->unsummed = reader->buffer;
            return ERR(err, SYN_CODE_MEMORY, "no memory for %zu bytes of an RDB", larger);
        }
        reader->buffer = buffer;
        reader->capacity = larger;
    }
    reader->at = reader->unsummed = reader->buffer;
    return true;
}

static bool receive(struct rdb_reader *reader, struct syn_err *err)
{
    if (!make_room(reader, err)) {
        return false;
    }
    size_t room = reader->capacity - reader->left;
    err_clear(err);
    int64_t got = reader->feed(reader->feed_arg, reader->buffer + reader->left, room, err);
    if (got < 0) {
        if (err->code == SYN_CODE_OK) {
            (void)ERR(err, SYN_CODE_SOURCE_FILE, "an RDB feed failed and did not say why");
        }
        return false;
    }
    if ((uint64_t)got > room) {
        return ERR(err, SYN_CODE_USAGE, "an RDB feed gave more bytes than it was asked for");
    }
    reader->left += (size_t)got;
    reader->has_ended = got == 0;
    return true;
}

static bool ends_early(const struct rdb_reader *reader, const char *what, struct syn_err *err)
{
    unsigned long long end = reader->used + reader->left;
    if (what != NULL) {
        return ERR(
            err, SYN_CODE_SOURCE_DATA, "RDB byte %llu: the data ends here, inside %s", end, what);
    }
    return ERR(err,
               SYN_CODE_SOURCE_DATA,
               "RDB byte %llu: the data ends here, inside a value of type %u (%s) that begins at "
               "byte %llu",
               end,
               reader->value_type,
               rdb_type_name(reader->value_type),
               (unsigned long long)reader->value_begin);
}

bool reader_more(struct rdb_reader *reader, uint64_t wanted, const char *what, struct syn_err *err)
{
    ASSERT(wanted > reader->left);
    while (reader->left < wanted && !reader->has_ended) {
        if (reader->left == reader->capacity_max) {
            return ERR(err,
                       SYN_CODE_SOURCE_DATA,
                       "RDB byte %llu: %s is larger than the bound on one item",
                       (unsigned long long)reader->used,
                       what != NULL ? what : "a value");
        }
        if (!receive(reader, err)) {
            return false;
        }
    }
    return reader->left >= wanted || ends_early(reader, what, err);
}
