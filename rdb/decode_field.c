/*
 * Fields: what stands alone in a value, beside the texts.
 */
#include "rdb/decode_blob.h"
#include "rdb/decode_step.h"

#include <math.h>

static enum take take_number(struct rdb_decoder *decoder, uint64_t *value)
{
    size_t field_size;
    struct field_note note = {0};
    enum field_status status =
        len_read(decoder->at, window_left(decoder), value, &field_size, &note);
    if (UNLIKELY(status != FIELD_OK)) {
        return status == FIELD_SHORT ? TAKE_SHORT : take_bad(decoder, decoder->at, note.reason);
    }
    decoder->at += field_size;
    return TAKE_OK;
}

static enum take take_count(struct rdb_decoder *decoder, uint64_t *count)
{
    const uint8_t *where = decoder->at;
    enum take take = take_number(decoder, count);
    if (take == TAKE_OK && UNLIKELY(*count > RDB_LENGTH_MAX)) {
        return take_bad(decoder, where, "an impossibly large number of elements");
    }
    return take;
}

static enum take take_fixed(struct rdb_decoder *decoder, uint64_t *value)
{
    if (window_left(decoder) < 8) {
        return TAKE_SHORT;
    }
    *value = load_u64_le(decoder->at);
    decoder->at += 8;
    return TAKE_OK;
}

static uint64_t load_u64_be(const uint8_t *bytes)
{
    uint64_t word;
    memcpy(&word, bytes, sizeof(word));
    return be64toh(word);
}

static enum take take_id(struct rdb_decoder *decoder, uint64_t *number)
{
    if (window_left(decoder) < 16) {
        return TAKE_SHORT;
    }
    number[0] = load_u64_be(decoder->at);
    number[1] = load_u64_be(decoder->at + 8);
    decoder->at += 16;
    return TAKE_OK;
}

#define NODE_KEY_SIZE 16

/* A key of another size is refused for what its head says, before any of it is waited for. */
static enum take take_node_key(struct rdb_decoder *decoder, struct text_slot *slot)
{
    struct rdb_string string;
    struct field_note note = {0};
    if (decoder->read.state == TEXT_HEAD &&
        string_head_read(decoder->at, window_left(decoder), &string, &note) == FIELD_OK &&
        string.text_size != NODE_KEY_SIZE) {
        return take_bad(decoder, decoder->at, "a stream node whose key is not 16 bytes");
    }
    enum take take = take_text(decoder, slot);
    if (take != TAKE_OK) {
        return take;
    }
    struct slice key = slot_bytes(slot);
    ASSERT(key.size == NODE_KEY_SIZE);
    decoder->stream.node_id.ms = load_u64_be(key.bytes);
    decoder->stream.node_id.seq = load_u64_be(key.bytes + 8);
    return TAKE_OK;
}

static enum take take_score_binary(struct rdb_decoder *decoder)
{
    const uint8_t *where = decoder->at;
    uint64_t bits;
    enum take take = take_fixed(decoder, &bits);
    if (take == TAKE_OK) {
        memcpy(&decoder->score, &bits, sizeof(bits));
        if (UNLIKELY(isnan(decoder->score))) {
            return take_bad(decoder, where, "a score that is no number");
        }
    }
    return take;
}

/* u8 n and n bytes of text; 253 to 255 stand alone. Up to 253 bytes: the text is assembled in slot
 * 1 if it is cut, so that no more than a head is left in the window. */
static enum take take_score_text(struct rdb_decoder *decoder)
{
    struct text_read *read = &decoder->read;
    struct text_slot *slot = &decoder->slot[1];
    if (read->state == TEXT_HEAD) {
        if (window_left(decoder) == 0) {
            return TAKE_SHORT;
        }
        uint8_t size = *decoder->at;
        if (size == 0 || size == 253) {
            return take_bad(decoder, decoder->at, "a score that is no number");
        }
        read->offset = offset_of(decoder, decoder->at);
        decoder->at++;
        if (size > 253) {
            decoder->score = size == 254 ? (double)INFINITY : -(double)INFINITY;
            return TAKE_OK;
        }
        if (!slot_reserve(decoder, slot, size)) {
            return TAKE_MEMORY;
        }
        read->state = TEXT_RAW;
        read->left = size;
        read->made = 0;
    }
    size_t size = window_left(decoder);
    size = size < read->left ? size : read->left;
    memcpy(slot->buffer + read->made, decoder->at, size);
    decoder->at += size;
    read->made += size;
    read->left -= size;
    if (read->left > 0) {
        return TAKE_SHORT;
    }
    read->state = TEXT_HEAD;
    if (!score_read(slot->buffer, read->made, &decoder->score)) {
        return take_bad_at(decoder, read->offset, "a score that is no number");
    }
    return TAKE_OK;
}

/* Times of Redis are at most 48 bits; 0 means none. */
static enum take take_expiry(struct rdb_decoder *decoder, uint64_t base)
{
    const uint8_t *where = decoder->at;
    uint64_t value;
    enum take take = take_number(decoder, &value);
    if (take != TAKE_OK) {
        return take;
    }
    decoder->expire_ms = -1;
    if (value > 0) {
        if (value > FIELD_EXPIRY_MAX || base > FIELD_EXPIRY_MAX ||
            base + value > FIELD_EXPIRY_MAX + 1) {
            return take_bad(decoder, where, "a field's expiry time that is none");
        }
        decoder->expire_ms = (int64_t)(base + value - 1);
    }
    return TAKE_OK;
}

static enum take take_expiry_fixed(struct rdb_decoder *decoder)
{
    const uint8_t *where = decoder->at;
    uint64_t value;
    enum take take = take_fixed(decoder, &value);
    if (take == TAKE_OK) {
        decoder->expire_ms = (int64_t)value;
        if (decoder->expire_ms < -1) {
            return take_bad(decoder, where, "a hash field with a negative expiry time");
        }
    }
    return take;
}

static enum take take_container(struct rdb_decoder *decoder, uint64_t *container)
{
    const uint8_t *where = decoder->at;
    enum take take = take_number(decoder, container);
    if (take == TAKE_OK && *container != CONTAINER_PLAIN && *container != CONTAINER_PACKED) {
        return take_bad(decoder, where, "a list node of an unknown container");
    }
    return take;
}

enum take step_field(struct rdb_decoder *decoder, const struct step *step)
{
    uint64_t *number = &decoder->number[step->operand];
    switch ((enum step_op)step->op) {
    case OP_COUNT:
        return take_count(decoder, number);
    case OP_NUMBER:
        return take_number(decoder, number);
    case OP_FIXED:
        return take_fixed(decoder, number);
    case OP_ID:
        return take_id(decoder, number);
    case OP_CONTAINER:
        return take_container(decoder, number);
    case OP_NODE_KEY:
        return take_node_key(decoder, &decoder->slot[step->operand]);
    case OP_SCORE_TEXT:
        return take_score_text(decoder);
    case OP_SCORE_BINARY:
        return take_score_binary(decoder);
    case OP_EXPIRY_RELATIVE:
        return take_expiry(decoder, decoder->number[REG_MIN_EXPIRY]);
    case OP_EXPIRY_ABSOLUTE:
        return take_expiry(decoder, 1); /* the time itself */
    case OP_EXPIRY_FIXED:
        return take_expiry_fixed(decoder);
    default:
        ASSERT(false);
        return TAKE_BAD;
    }
}
