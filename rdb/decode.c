#include "rdb/decode_core.h"

#define ITEM_BYTES_MIN ((size_t)16384)

/* decode_table.c takes plain texts without asking for the limit. */
_Static_assert(ITEM_BYTES_MIN > 0x3fff, "every text with a 14-bit length is within the limit");

/* ---- visitors that want less than everything ---- */

static enum rdb_flow pass_begin(void *arg, const struct rdb_value_begin *value)
{
    (void)arg, (void)value;
    return RDB_GO;
}

static enum rdb_flow pass_string(void *arg, struct slice piece, uint64_t offset, uint64_t total)
{
    (void)arg, (void)piece, (void)offset, (void)total;
    return RDB_GO;
}

static enum rdb_flow pass_element(void *arg, const struct rdb_element *element)
{
    (void)arg, (void)element;
    return RDB_GO;
}

static enum rdb_flow pass_hash(void *arg,
                               const struct rdb_element *field,
                               const struct rdb_element *value,
                               int64_t expire_ms)
{
    (void)arg, (void)field, (void)value, (void)expire_ms;
    return RDB_GO;
}

static enum rdb_flow pass_zset(void *arg, const struct rdb_element *member, double score)
{
    (void)arg, (void)member, (void)score;
    return RDB_GO;
}

static enum rdb_flow pass_entry(void *arg, const struct rdb_stream_entry *entry)
{
    (void)arg, (void)entry;
    return RDB_GO;
}

static enum rdb_flow pass_meta(void *arg, const struct rdb_stream_meta *meta)
{
    (void)arg, (void)meta;
    return RDB_GO;
}

static enum rdb_flow pass_group(void *arg, const struct rdb_stream_group *group)
{
    (void)arg, (void)group;
    return RDB_GO;
}

static enum rdb_flow pass_pending(void *arg, const struct rdb_stream_pending *pending)
{
    (void)arg, (void)pending;
    return RDB_GO;
}

static enum rdb_flow pass_consumer(void *arg, const struct rdb_stream_consumer *consumer)
{
    (void)arg, (void)consumer;
    return RDB_GO;
}

static enum rdb_flow pass_id(void *arg, const struct rdb_stream_id *id)
{
    (void)arg, (void)id;
    return RDB_GO;
}

static enum rdb_flow pass_module(void *arg, const struct rdb_module *module, struct slice piece)
{
    (void)arg, (void)module, (void)piece;
    return RDB_GO;
}

static enum rdb_flow
pass_item(void *arg, const struct rdb_module *module, const struct rdb_module_item *item)
{
    (void)arg, (void)module, (void)item;
    return RDB_GO;
}

#define OR_PASS(callback, pass) ((callback) != NULL ? (callback) : (pass))

static void visitor_set(struct rdb_visitor *to, const struct rdb_visitor *from)
{
    *to = (struct rdb_visitor){
        .wants_integers = from->wants_integers,
        .begin = OR_PASS(from->begin, pass_begin),
        .string = OR_PASS(from->string, pass_string),
        .list = OR_PASS(from->list, pass_element),
        .set = OR_PASS(from->set, pass_element),
        .hash = OR_PASS(from->hash, pass_hash),
        .zset = OR_PASS(from->zset, pass_zset),
        .stream_entry = OR_PASS(from->stream_entry, pass_entry),
        .stream_meta = OR_PASS(from->stream_meta, pass_meta),
        .stream_group = OR_PASS(from->stream_group, pass_group),
        .stream_pending = OR_PASS(from->stream_pending, pass_pending),
        .stream_consumer = OR_PASS(from->stream_consumer, pass_consumer),
        .stream_consumer_pending = OR_PASS(from->stream_consumer_pending, pass_id),
        .module = OR_PASS(from->module, pass_module),
        .module_item = OR_PASS(from->module_item, pass_item),
    };
}

/* ---- kinds ---- */

enum rdb_kind rdb_type_kind(uint8_t type, bool is_valkey)
{
    static const uint8_t kinds[RDB_TYPE_COUNT] = {
        [RDB_TYPE_STRING] = RDB_KIND_STRING,
        [RDB_TYPE_LIST] = RDB_KIND_LIST,
        [RDB_TYPE_SET] = RDB_KIND_SET,
        [RDB_TYPE_ZSET] = RDB_KIND_ZSET,
        [RDB_TYPE_HASH] = RDB_KIND_HASH,
        [RDB_TYPE_ZSET_2] = RDB_KIND_ZSET,
        [RDB_TYPE_MODULE_2] = RDB_KIND_MODULE,
        [RDB_TYPE_HASH_ZIPMAP] = RDB_KIND_HASH,
        [RDB_TYPE_LIST_ZIPLIST] = RDB_KIND_LIST,
        [RDB_TYPE_SET_INTSET] = RDB_KIND_SET,
        [RDB_TYPE_ZSET_ZIPLIST] = RDB_KIND_ZSET,
        [RDB_TYPE_HASH_ZIPLIST] = RDB_KIND_HASH,
        [RDB_TYPE_LIST_QUICKLIST] = RDB_KIND_LIST,
        [RDB_TYPE_STREAM_LISTPACKS] = RDB_KIND_STREAM,
        [RDB_TYPE_HASH_LISTPACK] = RDB_KIND_HASH,
        [RDB_TYPE_ZSET_LISTPACK] = RDB_KIND_ZSET,
        [RDB_TYPE_LIST_QUICKLIST_2] = RDB_KIND_LIST,
        [RDB_TYPE_STREAM_LISTPACKS_2] = RDB_KIND_STREAM,
        [RDB_TYPE_SET_LISTPACK] = RDB_KIND_SET,
        [RDB_TYPE_STREAM_LISTPACKS_3] = RDB_KIND_STREAM,
        [RDB_TYPE_HASH_METADATA_PRE_GA] = RDB_KIND_HASH,
        [RDB_TYPE_HASH_LISTPACK_EX_PRE_GA] = RDB_KIND_HASH,
        [RDB_TYPE_HASH_METADATA] = RDB_KIND_HASH,
        [RDB_TYPE_HASH_LISTPACK_EX] = RDB_KIND_HASH,
    };
    const char *reason;
    if (walk_layout(type, is_valkey, &reason) == NULL) {
        return RDB_KIND_COUNT;
    }
    return (enum rdb_kind)kinds[type];
}

/* ---- faults ---- */

enum take take_bad_at(struct rdb_decoder *decoder, uint64_t offset, const char *reason)
{
    decoder->fault.reason = reason;
    decoder->fault.offset = offset;
    return TAKE_BAD;
}

enum take take_bad(struct rdb_decoder *decoder, const uint8_t *where, const char *reason)
{
    return take_bad_at(decoder, offset_of(decoder, where), reason);
}

static void report_fault(const struct rdb_decoder *decoder, struct syn_err *err)
{
    const struct fault *fault = &decoder->fault;
    ERR(err,
        SYN_CODE_SOURCE_DATA,
        "RDB byte %llu: %s, in a value of type %u (%s) of the key with hash %016llx",
        (unsigned long long)fault->offset,
        fault->reason,
        decoder->place.type,
        rdb_type_name(decoder->place.type),
        (unsigned long long)decoder->place.key_hash);
    if (fault->inside != RDB_UNKNOWN) {
        err_context(err, "byte %llu of a compressed blob", (unsigned long long)fault->inside);
    }
    if (fault->is_over_limit) {
        err_context(err, "limit of %zu bytes", decoder->item_bytes_max);
    }
}

/* ---- life ---- */

struct rdb_decoder *rdb_decoder_new(size_t item_bytes_max, struct syn_err *err)
{
    struct rdb_decoder *decoder = mem_calloc(MEM_RDB, sizeof(*decoder));
    if (decoder == NULL) {
        ERR(err, SYN_CODE_MEMORY, "no memory for an RDB decoder");
        return NULL;
    }
    decoder->item_bytes_max = item_bytes_max > ITEM_BYTES_MIN ? item_bytes_max : ITEM_BYTES_MIN;
    decoder->is_over = true;
    return decoder;
}

void rdb_decoder_free(struct rdb_decoder *decoder)
{
    if (decoder == NULL) {
        return;
    }
    for (unsigned i = 0; i < TEXT_SLOT_COUNT; i++) {
        mem_free(MEM_RDB, decoder->slot[i].buffer);
    }
    mem_free(MEM_RDB, decoder);
}

static void slots_trim(struct rdb_decoder *decoder)
{
    for (unsigned i = 0; i < TEXT_SLOT_COUNT; i++) {
        struct text_slot *slot = &decoder->slot[i];
        if (UNLIKELY(slot->capacity > KEPT_BYTES_MAX)) {
            mem_free(MEM_RDB, slot->buffer);
            slot->buffer = NULL;
            slot->capacity = 0;
        }
    }
}

bool rdb_decoder_begin(struct rdb_decoder *decoder,
                       const struct rdb_value_place *place,
                       const struct rdb_visitor *visitor,
                       void *arg,
                       struct syn_err *err)
{
    const char *reason;
    decoder->is_over = true;
    decoder->place = *place;
    decoder->fault = (struct fault){.offset = place->offset, .inside = RDB_UNKNOWN};
    decoder->step = decode_program(place->type, place->is_valkey, &reason);
    if (decoder->step == NULL) {
        decoder->fault.reason = reason;
        report_fault(decoder, err);
        return false;
    }
    slots_trim(decoder);
    visitor_set(&decoder->visitor, visitor);
    decoder->wants_items = visitor->module_item != NULL;
    decoder->arg = arg;
    decoder->kind = rdb_type_kind(place->type, place->is_valkey);
    decoder->offset = place->offset;
    decoder->depth = 0;
    decoder->live = 0;
    decoder->expire_ms = -1;
    decoder->read.state = TEXT_HEAD;
    decoder->stream = (struct stream_state){0};
    decoder->has_begun = false;
    decoder->is_blob_open = false;
    decoder->is_over = false;
    return true;
}

enum take visit_begin(struct rdb_decoder *decoder, uint64_t count, uint64_t bytes)
{
    ASSERT(!decoder->has_begun);
    decoder->has_begun = true;
    struct rdb_value_begin value = {
        .kind = decoder->kind,
        .count = count,
        .bytes = bytes,
        .module = decoder->kind == RDB_KIND_MODULE ? &decoder->module : NULL,
    };
    return take_flow(decoder, decoder->visitor.begin(decoder->arg, &value));
}

/* ---- runs ---- */

/* What the element under way has in this window must outlive it. */
static bool slots_keep(struct rdb_decoder *decoder)
{
    for (unsigned i = 0; i < TEXT_SLOT_COUNT; i++) {
        if ((decoder->live & 1u << i) != 0 && !slot_keep(decoder, &decoder->slot[i])) {
            return false;
        }
    }
    return true;
}

static enum rdb_decode run_end(struct rdb_decoder *decoder, enum take take, struct syn_err *err)
{
    bool goes_on = take == TAKE_SHORT || (take == TAKE_FLOW && decoder->flow == RDB_PAUSE);
    decoder->is_over = !goes_on;
    if (goes_on && !slots_keep(decoder)) {
        decoder->is_over = true;
        take = TAKE_MEMORY;
    }
    switch (take) {
    case TAKE_OK:
        return RDB_DECODE_DONE;
    case TAKE_SHORT:
        return RDB_DECODE_MORE;
    case TAKE_FLOW:
        return decoder->flow == RDB_PAUSE ? RDB_DECODE_PAUSED : RDB_DECODE_STOPPED;
    case TAKE_BAD:
        report_fault(decoder, err);
        return RDB_DECODE_ERROR;
    case TAKE_MEMORY:
        break;
    }
    ERR(err,
        SYN_CODE_MEMORY,
        "no memory for an element of a value of type %u (%s) of the key with hash %016llx",
        decoder->place.type,
        rdb_type_name(decoder->place.type),
        (unsigned long long)decoder->place.key_hash);
    return RDB_DECODE_ERROR;
}

enum rdb_decode rdb_decoder_run(struct rdb_decoder *decoder,
                                const uint8_t *window,
                                size_t size,
                                size_t *used,
                                struct syn_err *err)
{
    static const uint8_t nothing[1];
    ASSERT(!decoder->is_over);
    decoder->window = size > 0 ? window : nothing; /* a window of no bytes may be NULL */
    decoder->at = decoder->window;
    decoder->end = decoder->window + size;
    enum take take = steps_run(decoder);
    ASSERT(decoder->at <= decoder->end);
    *used = (size_t)(decoder->at - decoder->window);
    enum rdb_decode result = run_end(decoder, take, err);
    decoder->offset += *used;
    ASSERT_DEBUG(result != RDB_DECODE_MORE || size - *used < 32);
    return result;
}

bool rdb_decoder_is_over_limit(const struct rdb_decoder *decoder)
{
    return decoder->fault.is_over_limit;
}
