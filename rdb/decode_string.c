/*
 * String values, of any size, in pieces: raw text as it lies in each window, compressed text in
 * pieces of 64 KiB behind the 8 KiB that references may reach back to.
 */
#include "rdb/decode_core.h"

#define LZF_BUFFER_BYTES (PIECE_BYTES + LZF_DISTANCE_MAX)

static const char reason_lzf[] = "compressed data that does not decode to the size it claims";

static enum take visit_piece(struct rdb_decoder *decoder, const uint8_t *bytes, size_t size)
{
    struct text_read *read = &decoder->read;
    struct slice piece = {.bytes = bytes, .size = size};
    uint64_t offset = read->made;
    read->made += size;
    read->has_visited = true;
    return take_flow(decoder, decoder->visitor.string(decoder->arg, piece, offset, read->total));
}

static enum take begin(struct rdb_decoder *decoder)
{
    struct text_read *read = &decoder->read;
    struct text_slot *slot = &decoder->slot[0];
    struct rdb_string string;
    struct field_note note = {0};
    enum field_status status = string_head_read(decoder->at, window_left(decoder), &string, &note);
    if (status != FIELD_OK) {
        return status == FIELD_SHORT ? TAKE_SHORT : take_bad(decoder, decoder->at, note.reason);
    }
    read->offset = offset_of(decoder, decoder->at);
    read->total = string.text_size;
    read->left = string.data.size;
    read->made = 0;
    read->has_visited = false;
    slot->element = (struct rdb_element){0};
    if (string.form == RDB_STRING_LZF) {
        if (!slot_reserve(decoder, slot, LZF_BUFFER_BYTES)) {
            return TAKE_MEMORY;
        }
        lzf_stream_begin(&read->lzf, slot->buffer, LZF_BUFFER_BYTES);
        read->state = TEXT_LZF;
        decoder->at = string.data.bytes;
    } else if (string.form == RDB_STRING_RAW) {
        read->state = TEXT_RAW;
        decoder->at = string.data.bytes;
    } else {
        /* The number is the whole value: it waits in the slot for the piece. */
        slot->element.is_integer = true;
        slot->element.integer = string.integer;
        read->state = TEXT_RAW;
        read->left = 0;
        decoder->at += string.encoded_size;
    }
    return visit_begin(decoder, RDB_UNKNOWN, read->total);
}

static enum take next_raw(struct rdb_decoder *decoder)
{
    struct text_read *read = &decoder->read;
    struct text_slot *slot = &decoder->slot[0];
    if (slot->element.is_integer) {
        struct slice digits = slot_bytes(slot);
        return visit_piece(decoder, digits.bytes, digits.size);
    }
    size_t size = window_left(decoder);
    size = size < read->left ? size : read->left;
    if (size == 0 && read->left > 0) {
        return TAKE_SHORT;
    }
    const uint8_t *bytes = decoder->at;
    decoder->at += size;
    read->left -= size;
    return visit_piece(decoder, bytes, size);
}

static enum take next_lzf(struct rdb_decoder *decoder)
{
    struct text_read *read = &decoder->read;
    struct lzf_stream *lzf = &read->lzf;
    size_t size = window_left(decoder);
    size = size < read->left ? size : read->left;
    lzf_stream_slide(lzf);
    /* Text beyond the claimed size finds no room. */
    uint64_t room = read->total - read->made;
    size_t piece = room < PIECE_BYTES ? (size_t)room : PIECE_BYTES;
    size_t start = lzf->pos;
    lzf->capacity = start + piece;
    ASSERT_DEBUG(lzf->capacity <= LZF_BUFFER_BYTES);
    const uint8_t *from = decoder->at;
    enum lzf_status status = lzf_stream_feed(lzf, &decoder->at, from + size);
    read->left -= (size_t)(decoder->at - from);
    size_t made = lzf->pos - start;
    bool is_whole = read->left == 0 && status == LZF_INPUT;
    if (status == LZF_BAD || (status == LZF_FULL && made == room) ||
        (is_whole && (made != room || !lzf_stream_may_end(lzf)))) {
        return take_bad_at(decoder, read->offset, reason_lzf);
    }
    if (made == 0) {
        return TAKE_SHORT;
    }
    return visit_piece(decoder, lzf->out + start, made);
}

enum take take_string_value(struct rdb_decoder *decoder)
{
    struct text_read *read = &decoder->read;
    if (read->state == TEXT_HEAD) {
        enum take take = begin(decoder);
        if (take != TAKE_OK) {
            return take;
        }
    }
    /* The empty text is one piece as well; and compressed data must end where its text does. */
    while (!read->has_visited || read->left > 0 || read->made < read->total) {
        enum take take = read->state == TEXT_LZF ? next_lzf(decoder) : next_raw(decoder);
        if (take != TAKE_OK) {
            return take;
        }
    }
    return TAKE_OK;
}
