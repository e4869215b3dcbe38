/*
 * Any bytes as a DUMP payload, as a string, and, with a right checksum put behind them, as a value:
 * what the measure says must be what the walk finds, in one piece or byte by byte.
 */
#include "tests/fuzz/fuzz.h"

#include "rdb/rdb.h"

#define TEXT_BYTES_MAX ((size_t)1 << 20)
#define HEAD "REDIS0012"

static void try_string(const uint8_t *bytes, size_t size)
{
    struct rdb_string string;
    struct syn_err err;
    if (rdb_string_read(bytes, size, &string, &err) != RDB_READY ||
        string.text_size > TEXT_BYTES_MAX) {
        return;
    }
    ASSERT(string.encoded_size <= size);
    uint8_t *text = mem_alloc(MEM_RDB, string.text_size > 0 ? string.text_size : 1);
    ASSERT(text != NULL);
    bool is_decoded = rdb_string_decode(&string, text, &err);
    ASSERT(is_decoded || string.form == RDB_STRING_LZF);
    mem_free(MEM_RDB, text);
}

/* A parser that stands before a value of this type; false: no value of it can be walked. */
static bool parser_at_value(struct rdb_parser *parser, bool is_valkey, uint8_t type)
{
    uint8_t start[12] = HEAD;
    if (is_valkey) {
        memcpy(start, "VALKEY080", 9);
    }
    start[9] = type;
    start[10] = 1;
    start[11] = 'k';
    struct rdb_item item;
    struct syn_err err;
    size_t used;
    size_t wanted;
    rdb_parser_reset(parser);
    enum rdb_status status = rdb_parser_next(parser, start, 9, &used, &wanted, &item, &err);
    ASSERT(status == RDB_READY);
    status = rdb_parser_next(parser, start + 9, 3, &used, &wanted, &item, &err);
    return status == RDB_READY && item.kind == RDB_ITEM_KEY;
}

static enum rdb_status walk(struct rdb_parser *parser,
                            const uint8_t *bytes,
                            size_t size,
                            size_t step,
                            uint64_t *total,
                            struct syn_err *err)
{
    size_t pos = 0;
    enum rdb_status status = RDB_MORE;
    for (size_t available = step; status == RDB_MORE; available += step) {
        available = available < size ? available : size;
        size_t used;
        status = rdb_value_walk(parser, bytes + pos, available - pos, &used, err);
        if (status == RDB_ERROR) {
            break;
        }
        pos += used;
        if (available == size) {
            break;
        }
    }
    *total = pos;
    return status;
}

static void try_value(bool is_valkey, uint8_t type, const uint8_t *bytes, size_t size)
{
    struct syn_err err;
    struct syn_err err_pieces;
    struct rdb_parser *parser = rdb_parser_new(100, &err);
    ASSERT(parser != NULL);
    if (parser_at_value(parser, is_valkey, type)) {
        uint64_t measured = UINT64_MAX;
        uint64_t total;
        uint64_t total_pieces;
        enum rdb_status measure = rdb_value_measure(parser, bytes, size, &measured, &err);
        enum rdb_status whole = walk(parser, bytes, size, size + 1, &total, &err);
        bool is_same = parser_at_value(parser, is_valkey, type);
        ASSERT(is_same);
        enum rdb_status pieces = walk(parser, bytes, size, 1, &total_pieces, &err_pieces);
        ASSERT(whole == pieces);
        ASSERT(measure != RDB_ERROR || whole == RDB_ERROR);
        if (whole == RDB_READY) {
            ASSERT(measure == RDB_READY);
            ASSERT(total == total_pieces);
            ASSERT(measured == UINT64_MAX || measured == total);
        } else if (whole == RDB_ERROR) {
            ASSERT(strcmp(err.msg, err_pieces.msg) == 0);
        }
    }
    rdb_parser_free(parser);
}

/* A whole stream in an earlier form is a whole stream. */
static void try_lower(uint8_t from, uint8_t to, const uint8_t *bytes, size_t size)
{
    struct syn_err err;
    uint64_t total;
    size_t lower_size = size;
    uint8_t *lower = mem_alloc(MEM_RDB, size);
    struct rdb_parser *parser = rdb_parser_new(100, &err);
    ASSERT(lower != NULL);
    ASSERT(parser != NULL);
    memcpy(lower, bytes, size);
    bool is_at_value = parser_at_value(parser, false, from);
    ASSERT(is_at_value);
    bool is_whole = walk(parser, bytes, size, size + 1, &total, &err) == RDB_READY && total == size;
    bool is_lowered = rdb_stream_lower(lower, &lower_size, from, to, &err);
    ASSERT(is_lowered || !is_whole);
    ASSERT(lower_size <= size);
    if (is_whole) {
        is_at_value = parser_at_value(parser, false, to);
        ASSERT(is_at_value);
        ASSERT(walk(parser, lower, lower_size, lower_size + 1, &total, &err) == RDB_READY);
        ASSERT(total == lower_size);
    }
    rdb_parser_free(parser);
    mem_free(MEM_RDB, lower);
}

/* The same bytes with a right footer must be taken apart again as they were. */
static void try_footer(const uint8_t *bytes, size_t size)
{
    uint8_t *payload = mem_alloc(MEM_RDB, size + RDB_FOOTER_SIZE);
    ASSERT(payload != NULL);
    memcpy(payload, bytes, size);
    rdb_footer_write(payload + size, crc64_update(0, bytes, size), 11);
    struct syn_err err;
    uint8_t type;
    uint16_t version;
    struct slice body;
    bool is_whole = rdb_payload_read(payload, size + RDB_FOOTER_SIZE, &type, &body, &version, &err);
    ASSERT(is_whole);
    ASSERT(type == bytes[0]);
    ASSERT(version == 11);
    ASSERT(body.size == size - 1);
    mem_free(MEM_RDB, payload);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    struct syn_err err;
    uint8_t type;
    uint16_t version;
    struct slice body;
    if (rdb_payload_read(bytes, size, &type, &body, &version, &err)) {
        ASSERT(body.size + 1 + RDB_FOOTER_SIZE == size);
    }
    try_string(bytes, size);
    if (size < 2) {
        return 0;
    }
    try_footer(bytes, size);
    try_value(false, bytes[0], bytes + 1, size - 1);
    try_value(true, bytes[0], bytes + 1, size - 1);
    try_lower(RDB_TYPE_STREAM_LISTPACKS_2, RDB_TYPE_STREAM_LISTPACKS, bytes + 1, size - 1);
    try_lower(RDB_TYPE_STREAM_LISTPACKS_3, RDB_TYPE_STREAM_LISTPACKS, bytes + 1, size - 1);
    try_lower(RDB_TYPE_STREAM_LISTPACKS_3, RDB_TYPE_STREAM_LISTPACKS_2, bytes + 1, size - 1);
    return 0;
}
