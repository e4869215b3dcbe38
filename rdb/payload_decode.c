/*
 * DUMP payloads, decoded: type byte, body, u16 LE version, u64 LE CRC64 (payload.c). Whole ones are
 * checked first; of one that comes in pieces the check comes last.
 */
#include "rdb/decode.h"
#include "rdb/encoding.h"

/* The footer of Valkey's own format: what makes type 22 mean Valkey's. */
#define VALKEY_VERSION_MIN 80
/* A type byte, at least one byte of value, and the footer. */
#define PAYLOAD_BYTES_MIN (RDB_FOOTER_SIZE + 2)
#define CRC_BYTES 8

bool rdb_payload_is_valkey(struct slice payload)
{
    if (payload.size < RDB_FOOTER_SIZE) {
        return false;
    }
    const uint8_t *footer = payload.bytes + payload.size - RDB_FOOTER_SIZE;
    return (footer[0] | footer[1] << 8) >= VALKEY_VERSION_MIN;
}

/* What the decoder leaves of a window, at most, while it waits for more. */
#define LEFT_BYTES_MAX 31
_Static_assert(sizeof(((struct rdb_payload_reader *)0)->carry) > 2 * LEFT_BYTES_MAX,
               "a full carry is always used beyond what was left before");

static enum rdb_decode run(struct rdb_decoder *decoder,
                           const uint8_t *window,
                           size_t size,
                           size_t *used,
                           struct syn_err *err)
{
    enum rdb_decode result;
    *used = 0;
    do {
        size_t taken;
        result = rdb_decoder_run(decoder, window + *used, size - *used, &taken, err);
        *used += taken;
    } while (result == RDB_DECODE_PAUSED);
    return result;
}

/* What the decoder came to; `has_rest`: there are bytes that it did not want. */
static bool result_check(
    enum rdb_decode result, bool has_rest, uint64_t size, uint8_t type, struct syn_err *err)
{
    if (result == RDB_DECODE_ERROR) {
        err_context(err, "DUMP payload");
        return false;
    }
    if (result == RDB_DECODE_STOPPED || (result == RDB_DECODE_DONE && !has_rest)) {
        return true;
    }
    return ERR(err,
               SYN_CODE_SOURCE_DATA,
               "DUMP payload of %llu bytes, type %u (%s): %s",
               (unsigned long long)size,
               type,
               rdb_type_name(type),
               result == RDB_DECODE_DONE ? "there are bytes behind the value" : "the value is cut");
}

bool rdb_payload_decode(struct rdb_decoder *decoder,
                        struct slice payload,
                        uint64_t key_hash,
                        const struct rdb_visitor *visitor,
                        void *arg,
                        struct syn_err *err)
{
    struct rdb_value_place place = {.key_hash = key_hash, .offset = 1};
    struct slice body;
    uint16_t version;
    if (!rdb_payload_read(payload.bytes, payload.size, &place.type, &body, &version, err)) {
        return false;
    }
    place.is_valkey = version >= VALKEY_VERSION_MIN;
    if (!rdb_decoder_begin(decoder, &place, visitor, arg, err)) {
        err_context(err, "DUMP payload");
        return false;
    }
    size_t used;
    enum rdb_decode result = run(decoder, body.bytes, body.size, &used, err);
    return result_check(result, used < body.size, payload.size, place.type, err);
}

/* ---- in pieces ---- */

void rdb_payload_begin(struct rdb_payload_reader *reader,
                       struct rdb_decoder *decoder,
                       uint64_t size,
                       bool is_valkey,
                       uint64_t key_hash,
                       const struct rdb_visitor *visitor,
                       void *arg)
{
    *reader = (struct rdb_payload_reader){
        .decoder = decoder,
        .visitor = visitor,
        .arg = arg,
        .size = size,
        .key_hash = key_hash,
        .status = RDB_DECODE_MORE,
        .is_valkey = is_valkey,
    };
}

static void take_type(struct rdb_payload_reader *reader, uint8_t type)
{
    reader->type = type;
    const struct rdb_value_place place = {
        .type = type, .is_valkey = reader->is_valkey, .key_hash = reader->key_hash, .offset = 1};
    if (!rdb_decoder_begin(reader->decoder, &place, reader->visitor, reader->arg, &reader->err)) {
        reader->status = RDB_DECODE_ERROR;
    }
}

/* Runs over what was left before and as much of the piece as fits behind it. Returns how much of
 * the piece is done with. */
static size_t take_carried(struct rdb_payload_reader *reader, struct slice piece)
{
    size_t before = reader->carry_size;
    size_t added = sizeof(reader->carry) - before;
    added = added < piece.size ? added : piece.size;
    memcpy(reader->carry + before, piece.bytes, added);
    size_t used;
    reader->status = run(reader->decoder, reader->carry, before + added, &used, &reader->err);
    if (used >= before) {
        reader->carry_size = 0;
        return used - before;
    }
    ASSERT(added == piece.size || reader->status != RDB_DECODE_MORE);
    reader->carry_size = (uint8_t)(before + added - used);
    memmove(reader->carry, reader->carry + used, reader->carry_size);
    return added;
}

static void take_body(struct rdb_payload_reader *reader, struct slice piece)
{
    while (piece.size > 0 && reader->status == RDB_DECODE_MORE) {
        size_t used;
        if (reader->carry_size > 0) {
            used = take_carried(reader, piece);
        } else {
            reader->status = run(reader->decoder, piece.bytes, piece.size, &used, &reader->err);
            if (reader->status == RDB_DECODE_MORE) {
                ASSERT(piece.size - used <= LEFT_BYTES_MAX);
                reader->carry_size = (uint8_t)(piece.size - used);
                memcpy(reader->carry, piece.bytes + used, reader->carry_size);
                return;
            }
        }
        piece.bytes += used;
        piece.size -= used;
    }
    /* What comes behind the value is not kept, only noticed. */
    if (piece.size > 0 && reader->status == RDB_DECODE_DONE) {
        reader->carry_size = 1;
    }
}

/* Cuts the first `size` bytes off. */
static struct slice piece_cut(struct slice *piece, uint64_t size)
{
    struct slice head = {.bytes = piece->bytes, .size = size < piece->size ? size : piece->size};
    piece->bytes += head.size;
    piece->size -= head.size;
    return head;
}

void rdb_payload_piece(struct rdb_payload_reader *reader, struct slice piece)
{
    ASSERT(piece.size <= reader->size - reader->seen);
    if (reader->size < PAYLOAD_BYTES_MIN) {
        reader->seen += piece.size;
        return;
    }
    uint64_t crc_end = reader->size - CRC_BYTES;
    if (reader->seen < crc_end) {
        struct slice covered = piece;
        covered = piece_cut(&covered, crc_end - reader->seen);
        reader->crc = crc64_update(reader->crc, covered.bytes, covered.size);
    }
    if (reader->seen == 0 && piece.size > 0) {
        take_type(reader, piece_cut(&piece, 1).bytes[0]);
        reader->seen = 1;
    }
    uint64_t body_end = reader->size - RDB_FOOTER_SIZE;
    if (reader->seen < body_end) {
        struct slice body = piece_cut(&piece, body_end - reader->seen);
        take_body(reader, body);
        reader->seen += body.size;
    }
    if (piece.size > 0) {
        memcpy(reader->footer + reader->footer_size, piece.bytes, piece.size);
        reader->footer_size = (uint8_t)(reader->footer_size + piece.size);
        reader->seen += piece.size;
    }
}

bool rdb_payload_end(struct rdb_payload_reader *reader, uint16_t *version, struct syn_err *err)
{
    ASSERT(reader->seen == reader->size);
    if (!rdb_payload_check(reader->size, reader->type, reader->footer, reader->crc, version, err)) {
        return false;
    }
    bool is_valkey = *version >= VALKEY_VERSION_MIN;
    if (is_valkey != reader->is_valkey && reader->type >= RDB_TYPE_HASH_METADATA_PRE_GA) {
        return ERR(err,
                   SYN_CODE_SOURCE_DATA,
                   "DUMP payload of %llu bytes, type %u: its version %u is not of the server that "
                   "was expected",
                   (unsigned long long)reader->size,
                   reader->type,
                   *version);
    }
    if (reader->status == RDB_DECODE_ERROR) {
        *err = reader->err;
    }
    return result_check(reader->status, reader->carry_size > 0, reader->size, reader->type, err);
}
