/*
 * Any bytes as a DUMP payload, as a string, and, with a right checksum put behind them, as a value:
 * what the measure says must be what the walk finds, in one piece or byte by byte. Brought into the
 * other family's form and back, a value must have the same content.
 */
#include "tests/fuzz/fuzz.h"

#include "rdb/digest.h"
#include "rdb/rdb.h"
#include "rdb/reform.h"
#include "tests/fuzz/mutate.h"

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

struct made {
    uint8_t *bytes;
    size_t size;
};

static bool made_add(void *arg, const uint8_t *bytes, size_t size)
{
    struct made *made = arg;
    memcpy(made->bytes + made->size, bytes, size);
    made->size += size;
    return true;
}

/* False: it cannot be decoded. */
static bool digest_of(const struct rdb_value_place *place,
                      const struct made *body,
                      struct rdb_digest_value *out)
{
    struct syn_err err;
    struct rdb_decoder *decoder = rdb_decoder_new(TEXT_BYTES_MAX, &err);
    struct rdb_digest *digest = rdb_digest_new(RDB_DIGEST_COUNTERS, &err);
    ASSERT(decoder != NULL);
    ASSERT(digest != NULL);
    rdb_digest_begin(digest);
    size_t used;
    bool is_decoded =
        rdb_decoder_begin(decoder, place, rdb_digest_visitor(), digest, &err) &&
        rdb_decoder_run(decoder, body->bytes, body->size, &used, &err) == RDB_DECODE_DONE;
    if (is_decoded) {
        *out = rdb_digest_end(digest);
    }
    rdb_digest_free(digest);
    rdb_decoder_free(decoder);
    return is_decoded;
}

static struct made
reform(struct reformer *reformer, uint8_t type, const struct made *body, enum listpack_form form)
{
    struct slice value = {body->bytes, body->size};
    struct reform reform = reformer_measure(reformer, type, value, form);
    struct made made = {.bytes = mem_alloc(MEM_RDB, reform.size + 1)};
    ASSERT(made.bytes != NULL);
    bool is_written = reformer_write(reformer, type, value, form, made_add, &made);
    ASSERT(is_written);
    ASSERT(made.size == reform.size);
    value = (struct slice){made.bytes, made.size};
    ASSERT(reformer_measure(reformer, type, value, form).count == 0);
    return made;
}

static void try_reform(bool is_valkey, uint8_t type, const uint8_t *bytes, size_t size)
{
    struct syn_err err;
    struct rdb_value_place place = {.type = type, .is_valkey = is_valkey};
    struct rdb_digest_value before;
    struct rdb_digest_value after;
    uint8_t *copy = mem_alloc(MEM_RDB, size + 1); /* its own, so that a read behind it shows */
    struct reformer *reformer = reformer_new(&err);
    ASSERT(copy != NULL);
    ASSERT(reformer != NULL);
    memcpy(copy, bytes, size);
    struct made body = {.bytes = copy, .size = size};
    struct made first = reform(reformer, type, &body, LISTPACK_SHORT);
    struct made second = reform(reformer, type, &first, LISTPACK_LONG);
    if (size < 4096 && digest_of(&place, &body, &before)) {
        bool is_same = digest_of(&place, &second, &after) && before.low == after.low &&
                       before.high == after.high;
        ASSERT(is_same);
    }
    reformer_free(reformer);
    mem_free(MEM_RDB, first.bytes);
    mem_free(MEM_RDB, second.bytes);
    mem_free(MEM_RDB, copy);
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
            if (rdb_type_has_listpack(type)) {
                try_reform(is_valkey, type, bytes, total);
            }
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

#ifdef FUZZ_MUTATOR
size_t LLVMFuzzerCustomMutator(uint8_t *bytes, size_t size, size_t size_max, unsigned seed)
{
    return mutate_payload(bytes, size, size_max, seed);
}
#endif
