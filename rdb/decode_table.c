/*
 * Tables (lists, sets, hashes and sorted sets whose elements are STRs of their own), for as long as
 * whole elements in the plain forms lie in the window: nothing of them goes through slots or
 * registers. Everything else is left to the interpreter, one element at a time.
 */
#include "rdb/decode_core.h"

#include <math.h>

/* Raw text below 16 KiB, or an integer, whole in the window: *at moves behind it. */
static inline bool plain_text(const uint8_t **at, const uint8_t *end, struct rdb_element *element)
{
    const uint8_t *bytes = *at;
    size_t size = (size_t)(end - bytes);
    if (UNLIKELY(size < 2)) {
        return false; /* also of an empty text at the very end: not worth a case */
    }
    size_t head = 1;
    size_t text = bytes[0];
    if (UNLIKELY(text >= 0x40)) {
        if (text >= 0x80) {
            struct rdb_string string;
            struct field_note note;
            if (text < 0xc0 || text > 0xc2 ||
                string_head_read(bytes, size, &string, &note) != FIELD_OK) {
                return false;
            }
            *element = (struct rdb_element){.integer = string.integer, .is_integer = true};
            *at = bytes + string.encoded_size;
            return true;
        }
        text = (text & 0x3f) << 8 | bytes[1];
        head = 2;
    }
    if (UNLIKELY(text > size - head)) {
        return false;
    }
    *element = (struct rdb_element){.bytes = bytes + head, .size = text};
    *at = bytes + head + text;
    return true;
}

static inline enum take run_singles(struct rdb_decoder *decoder,
                                    enum rdb_flow (*visit)(void *, const struct rdb_element *),
                                    uint64_t *left)
{
    char digits[NUM_DIGITS_MAX];
    struct rdb_element element;
    const uint8_t *at = decoder->at;
    const uint8_t *end = decoder->end;
    enum take take = TAKE_OK;
    while (take == TAKE_OK && *left > 0 && plain_text(&at, end, &element)) {
        element_finish(decoder, &element, digits);
        (*left)--;
        take = take_flow(decoder, visit(decoder->arg, &element));
    }
    decoder->at = at;
    return take;
}

static inline enum take run_fields(struct rdb_decoder *decoder, uint64_t *left)
{
    char digits[2][NUM_DIGITS_MAX];
    struct rdb_element field;
    struct rdb_element value;
    const uint8_t *end = decoder->end;
    enum take take = TAKE_OK;
    while (take == TAKE_OK && *left > 0) {
        const uint8_t *at = decoder->at;
        if (!plain_text(&at, end, &field) || !plain_text(&at, end, &value)) {
            break;
        }
        decoder->at = at;
        (*left)--;
        element_finish(decoder, &field, digits[0]);
        element_finish(decoder, &value, digits[1]);
        take = take_flow(decoder, decoder->visitor.hash(decoder->arg, &field, &value, -1));
    }
    return take;
}

static inline enum take run_scored(struct rdb_decoder *decoder, uint64_t *left)
{
    char digits[NUM_DIGITS_MAX];
    struct rdb_element member;
    const uint8_t *end = decoder->end;
    enum take take = TAKE_OK;
    while (take == TAKE_OK && *left > 0) {
        const uint8_t *at = decoder->at;
        if (!plain_text(&at, end, &member) || end - at < 8) {
            break;
        }
        uint64_t bits = load_u64_le(at);
        double score;
        memcpy(&score, &bits, sizeof(score));
        if (UNLIKELY(isnan(score))) {
            break; /* the interpreter refuses it */
        }
        decoder->at = at + 8;
        (*left)--;
        element_finish(decoder, &member, digits);
        take = take_flow(decoder, decoder->visitor.zset(decoder->arg, &member, score));
    }
    return take;
}

enum take table_run(struct rdb_decoder *decoder, enum shape shape, uint64_t *left)
{
    switch (shape) {
    case SHAPE_LIST:
        return run_singles(decoder, decoder->visitor.list, left);
    case SHAPE_SET:
        return run_singles(decoder, decoder->visitor.set, left);
    case SHAPE_ZSET:
        return run_scored(decoder, left);
    case SHAPE_HASH:
        return run_fields(decoder, left);
    case SHAPE_HASH_EXPIRING:
        break;
    }
    ASSERT(false);
    return TAKE_OK;
}
