/*
 * Module values: framed like any other, handed out as they are. Only the module could read more.
 *
 * The id is nine characters of six bits, most significant first, and ten bits of version.
 */
#include "rdb/decode_core.h"

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
    const char *reason;
    walk_begin(&decoder->walk, walk_layout(RDB_TYPE_MODULE_2, decoder->place.is_valkey, &reason));
    return visit_begin(decoder, RDB_UNKNOWN, RDB_UNKNOWN);
}

enum take take_module_value(struct rdb_decoder *decoder)
{
    if (!decoder->has_begun) {
        enum take take = module_begin(decoder);
        if (take != TAKE_OK) {
            return take;
        }
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
