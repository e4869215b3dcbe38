/*
 * Module values: framed like any other, handed out as they are, or item by item. What the items
 * mean, only the module knows.
 *
 * The id is nine characters of six bits, most significant first, and ten bits of version.
 */
#include "rdb/decode_core.h"

#define MODULE_KIND_NONE UINT64_MAX
#define MODULE_KIND_END 0

static void module_name(struct rdb_module *module)
{
    static const char characters[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    uint64_t id = module->id >> 10;
    for (size_t i = 9; i > 0; i--) {
        module->name[i - 1] = characters[id & 63];
        id >>= 6;
    }
    module->name[9] = '\0';
    module->version = (uint16_t)(module->id & 1023);
}

/* The id is read here and walked over with the rest: it is the first part of the body. */
static enum take module_begin(struct rdb_decoder *decoder)
{
    size_t field_size;
    struct field_note note = {0};
    enum field_status status =
        len_read(decoder->at, window_left(decoder), &decoder->module.id, &field_size, &note);
    if (status != FIELD_OK) {
        return status == FIELD_SHORT ? TAKE_SHORT : take_bad(decoder, decoder->at, note.reason);
    }
    module_name(&decoder->module);
    if (decoder->wants_items) {
        decoder->module_kind = MODULE_KIND_NONE;
        decoder->at += field_size;
        return visit_begin(decoder, RDB_UNKNOWN, RDB_UNKNOWN);
    }
    const char *reason;
    walk_begin(&decoder->walk, walk_layout(RDB_TYPE_MODULE_2, decoder->place.is_valkey, &reason));
    return visit_begin(decoder, RDB_UNKNOWN, RDB_UNKNOWN);
}

/* ---- items ---- */

static enum take take_integer(struct rdb_decoder *decoder, uint64_t *value)
{
    size_t field_size;
    struct field_note note = {0};
    enum field_status status =
        len_read(decoder->at, window_left(decoder), value, &field_size, &note);
    if (status != FIELD_OK) {
        return status == FIELD_SHORT ? TAKE_SHORT : take_bad(decoder, decoder->at, note.reason);
    }
    decoder->at += field_size;
    return TAKE_OK;
}

static enum take take_float(struct rdb_decoder *decoder, size_t size, uint64_t *bits)
{
    if (window_left(decoder) < size) {
        return TAKE_SHORT;
    }
    *bits = size == 4 ? load_u32_le(decoder->at) : load_u64_le(decoder->at);
    decoder->at += size;
    return TAKE_OK;
}

/* What stands behind the item's kind. */
static enum take take_item(struct rdb_decoder *decoder, struct rdb_module_item *item)
{
    struct text_slot *slot = &decoder->slot[0];
    enum take take;
    switch (item->kind) {
    case RDB_MODULE_SIGNED:
    case RDB_MODULE_UNSIGNED:
        return take_integer(decoder, &item->number);
    case RDB_MODULE_FLOAT:
        return take_float(decoder, 4, &item->number);
    case RDB_MODULE_DOUBLE:
        return take_float(decoder, 8, &item->number);
    case RDB_MODULE_STRING:
        break;
    }
    take = take_text(decoder, slot);
    if (take == TAKE_OK) {
        item->text = slot->element;
        element_finish(decoder, &item->text, slot->digits);
    }
    return take;
}

static enum take take_kind(struct rdb_decoder *decoder)
{
    const uint8_t *where = decoder->at;
    enum take take = take_integer(decoder, &decoder->module_kind);
    if (take != TAKE_OK) {
        decoder->module_kind = MODULE_KIND_NONE;
    } else if (decoder->module_kind > RDB_MODULE_STRING) {
        return take_bad(decoder, where, "a module value with an unknown item");
    }
    return take;
}

static enum take take_items(struct rdb_decoder *decoder)
{
    for (;;) {
        enum take take = TAKE_OK;
        if (decoder->module_kind == MODULE_KIND_NONE) {
            take = take_kind(decoder);
        }
        if (take != TAKE_OK || decoder->module_kind == MODULE_KIND_END) {
            return take;
        }
        struct rdb_module_item item = {.kind = (enum rdb_module_item_kind)decoder->module_kind};
        take = take_item(decoder, &item);
        if (take != TAKE_OK) {
            return take;
        }
        decoder->module_kind = MODULE_KIND_NONE;
        take =
            take_flow(decoder, decoder->visitor.module_item(decoder->arg, &decoder->module, &item));
        if (take != TAKE_OK) {
            return take;
        }
    }
}

enum take take_module_value(struct rdb_decoder *decoder)
{
    if (!decoder->has_begun) {
        enum take take = module_begin(decoder);
        if (take != TAKE_OK) {
            return take;
        }
    }
    if (decoder->wants_items) {
        return take_items(decoder);
    }
    if (walk_is_over(&decoder->walk)) {
        return TAKE_OK; /* the visitor paused with the last piece */
    }
    const char *reason;
    size_t used;
    const uint8_t *bytes = decoder->at;
    enum rdb_status status = walk_run(&decoder->walk, bytes, window_left(decoder), &used, &reason);
    decoder->at += used;
    if (status == RDB_ERROR) {
        return take_bad(decoder, decoder->at, reason);
    }
    enum take take = TAKE_OK;
    if (used > 0) {
        struct slice piece = {.bytes = bytes, .size = used};
        take = take_flow(decoder, decoder->visitor.module(decoder->arg, &decoder->module, piece));
    }
    if (take != TAKE_OK) {
        return take;
    }
    return status == RDB_READY ? TAKE_OK : TAKE_SHORT;
}
