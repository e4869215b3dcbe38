/*
 * STR into a view. Three ways, cheapest first: the text lies in the window (raw) and is borrowed;
 * it is whole but compressed and goes through liblzf; it is cut and is assembled as it arrives,
 * decompressed on the way.
 */
#include "rdb/decode_core.h"

/* Buffers start at the size of a list node. */
#define SLOT_BYTES_MIN ((size_t)8192)

static const char reason_lzf[] = "compressed data that does not decode to the size it claims";

bool slot_reserve(struct rdb_decoder *decoder, struct text_slot *slot, size_t size)
{
    if (LIKELY(size <= slot->capacity)) {
        return true;
    }
    size_t capacity = SLOT_BYTES_MIN;
    while (capacity < size) {
        capacity *= 2;
    }
    /* Sizes are bounded by item_bytes_max, or by what a piece needs. */
    size_t limit = decoder->item_bytes_max > size ? decoder->item_bytes_max : size;
    capacity = capacity < limit ? capacity : limit;
    mem_free(MEM_RDB, slot->buffer);
    slot->capacity = 0;
    slot->buffer = mem_alloc(MEM_RDB, capacity);
    if (slot->buffer == NULL) {
        return false;
    }
    slot->capacity = capacity;
    return true;
}

bool slot_keep(struct rdb_decoder *decoder, struct text_slot *slot)
{
    if (!slot->is_borrowed) {
        return true;
    }
    const uint8_t *bytes = slot->element.bytes;
    size_t size = slot->element.size;
    ASSERT_DEBUG(size <= decoder->item_bytes_max);
    if (!slot_reserve(decoder, slot, size > 0 ? size : 1)) {
        return false;
    }
    memcpy(slot->buffer, bytes, size);
    slot->element.bytes = slot->buffer;
    slot->is_borrowed = false;
    return true;
}

struct slice slot_bytes(struct text_slot *slot)
{
    if (slot->element.is_integer) {
        element_spell(&slot->element, slot->digits);
    }
    return (struct slice){.bytes = slot->element.bytes, .size = slot->element.size};
}

static void slot_set(struct text_slot *slot, const uint8_t *bytes, size_t size, bool is_borrowed)
{
    slot->element = (struct rdb_element){.bytes = bytes, .size = size};
    slot->is_borrowed = is_borrowed;
}

static enum take begin_raw(struct rdb_decoder *decoder,
                           struct text_slot *slot,
                           const struct rdb_string *string,
                           size_t size)
{
    slot->offset = offset_of(decoder, string->data.bytes);
    slot->is_compressed = false;
    if (LIKELY(string->encoded_size <= size)) {
        slot_set(slot, string->data.bytes, string->text_size, true);
        decoder->at += string->encoded_size;
        return TAKE_OK;
    }
    decoder->read.state = TEXT_RAW;
    decoder->at = string->data.bytes;
    return slot_reserve(decoder, slot, string->text_size) ? TAKE_SHORT : TAKE_MEMORY;
}

static enum take begin_lzf(struct rdb_decoder *decoder,
                           struct text_slot *slot,
                           const struct rdb_string *string,
                           size_t size)
{
    slot->offset = decoder->read.offset;
    slot->is_compressed = true;
    if (!slot_reserve(decoder, slot, string->text_size)) {
        return TAKE_MEMORY;
    }
    if (LIKELY(string->encoded_size <= size)) {
        struct syn_err err;
        if (!rdb_string_decode(string, slot->buffer, &err)) {
            return take_bad(decoder, decoder->at, reason_lzf);
        }
        slot_set(slot, slot->buffer, string->text_size, false);
        decoder->at += string->encoded_size;
        return TAKE_OK;
    }
    decoder->read.state = TEXT_LZF;
    decoder->at = string->data.bytes;
    lzf_stream_begin(&decoder->read.lzf, slot->buffer, string->text_size);
    return TAKE_SHORT;
}

/* The head; TAKE_OK when the text came with it. */
static enum take take_head(struct rdb_decoder *decoder, struct text_slot *slot)
{
    struct text_read *read = &decoder->read;
    size_t size = window_left(decoder);
    struct rdb_string string;
    struct field_note note = {0};
    enum field_status status = string_head_read(decoder->at, size, &string, &note);
    if (UNLIKELY(status != FIELD_OK)) {
        return status == FIELD_SHORT ? TAKE_SHORT : take_bad(decoder, decoder->at, note.reason);
    }
    if (UNLIKELY(string.text_size > decoder->item_bytes_max)) {
        decoder->fault.is_over_limit = true;
        return take_bad(decoder, decoder->at, "an element or blob larger than the limit");
    }
    read->offset = offset_of(decoder, decoder->at);
    read->total = string.text_size;
    read->left = string.data.size;
    read->made = 0;
    if (string.form == RDB_STRING_RAW) {
        return begin_raw(decoder, slot, &string, size);
    }
    if (string.form == RDB_STRING_LZF) {
        return begin_lzf(decoder, slot, &string, size);
    }
    slot_set(slot, NULL, 0, false);
    slot->element.is_integer = true;
    slot->element.integer = string.integer;
    slot->offset = read->offset;
    slot->is_compressed = true;
    decoder->at += string.encoded_size;
    return TAKE_OK;
}

static enum take finish(struct text_read *read, struct text_slot *slot)
{
    read->state = TEXT_HEAD;
    slot_set(slot, slot->buffer, read->total, false);
    return TAKE_OK;
}

static enum take continue_raw(struct rdb_decoder *decoder, struct text_slot *slot)
{
    struct text_read *read = &decoder->read;
    size_t size = window_left(decoder);
    size = size < read->left ? size : read->left;
    ASSERT(read->made + size <= slot->capacity);
    memcpy(slot->buffer + read->made, decoder->at, size);
    decoder->at += size;
    read->made += size;
    read->left -= size;
    return read->left == 0 ? finish(read, slot) : TAKE_SHORT;
}

static enum take continue_lzf(struct rdb_decoder *decoder, struct text_slot *slot)
{
    struct text_read *read = &decoder->read;
    size_t size = window_left(decoder);
    size = size < read->left ? size : read->left;
    const uint8_t *from = decoder->at;
    enum lzf_status status = lzf_stream_feed(&read->lzf, &decoder->at, from + size);
    read->left -= (size_t)(decoder->at - from);
    bool is_whole = read->left == 0;
    if (status != LZF_INPUT ||
        (is_whole && (read->lzf.pos != read->total || !lzf_stream_may_end(&read->lzf)))) {
        return take_bad_at(decoder, read->offset, reason_lzf);
    }
    return is_whole ? finish(read, slot) : TAKE_SHORT;
}

enum take take_text(struct rdb_decoder *decoder, struct text_slot *slot)
{
    if (LIKELY(decoder->read.state == TEXT_HEAD)) {
        enum take take = take_head(decoder, slot);
        if (take != TAKE_SHORT || decoder->read.state == TEXT_HEAD) {
            return take;
        }
    }
    if (decoder->read.left > 0 && window_left(decoder) == 0) {
        return TAKE_SHORT;
    }
    return decoder->read.state == TEXT_RAW ? continue_raw(decoder, slot)
                                           : continue_lzf(decoder, slot);
}
