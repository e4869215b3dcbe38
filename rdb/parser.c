/*
 * Cutting an RDB into items: the states, and keys with their values.
 *
 *     HEADER -- 9 bytes --> BODY -- opcode 255 --> TAIL -- checksum --> DONE
 *     BODY -- type and key --> VALUE -- rdb_value_walk, or rdb_value_taken --> BODY
 *     BODY -- opcode 247 or 243 --> SKIPPED -- rdb_parser_next, in pieces --> BODY
 *
 *   HEADER   nothing is known.
 *   BODY     version and is_valkey are set; `pending` holds expiry, idle time and frequency that
 *            came before an opcode that is not a key: they belong to the next key.
 *   VALUE    type, key_hash and walk describe the value under way.
 *   SKIPPED  walk describes module or slot import data, of which nothing is kept.
 *   TAIL     the EOF opcode has passed; versions before 5 end here and have no checksum.
 *
 * An item is read from the window in one go or not at all, so HEADER, BODY and TAIL need no state
 * for half an item.
 */
#include "rdb/decode.h"
#include "rdb/parser.h"

/* A key has at most one of each. More are legal and the last one counts; after so many the item is
 * handed out as it is, so that no input makes one item longer than any window. */
#define ATTRIBUTES_PER_ITEM_MAX 16

static const struct attributes no_attributes = {.expire_ms = -1, .idle_s = -1};

struct rdb_parser *rdb_parser_new(size_t item_bytes_max, struct syn_err *err)
{
    struct rdb_parser *parser = mem_calloc(MEM_RDB, sizeof(*parser));
    if (parser == NULL) {
        ERR(err, SYN_CODE_MEMORY, "no memory for an RDB parser");
        return NULL;
    }
    parser->item_bytes_max = item_bytes_max;
    rdb_parser_reset(parser);
    return parser;
}

void rdb_parser_free(struct rdb_parser *parser)
{
    if (parser != NULL) {
        mem_free(MEM_RDB, parser->scratch);
        mem_free(MEM_RDB, parser);
    }
}

void rdb_parser_reset(struct rdb_parser *parser)
{
    parser->state = STATE_HEADER;
    parser->version = 0;
    parser->is_valkey = false;
    parser->has_pending = false;
    parser->offset = 0;
}

uint64_t rdb_parser_offset(const struct rdb_parser *parser)
{
    return parser->offset;
}

/* Begins the value behind a key. A plain string whose head is in the window cannot go wrong any
 * more: it is skipped as it is, and its key needs no hash for messages. */
static inline void value_begin(struct rdb_parser *parser,
                               const uint8_t *layout,
                               const struct cursor *cursor,
                               const struct slice *name)
{
    const uint8_t *value = cursor->window + cursor->pos;
    size_t size = cursor->size - cursor->pos;
    if (LIKELY(parser->type == RDB_TYPE_STRING && size >= 2 && value[0] < 0x80)) {
        uint64_t total = value[0] < 0x40 ? 1 + (uint64_t)value[0]
                                         : 2 + ((uint64_t)(value[0] & 0x3f) << 8 | value[1]);
        parser->key_hash = 0;
        walk_begin_skip(&parser->walk, total);
        return;
    }
    parser->key_hash = key_hash(name->bytes, name->size);
    walk_begin(&parser->walk, layout);
}

static enum rdb_status key_next(struct rdb_parser *parser,
                                struct cursor *cursor,
                                const struct attributes *attributes,
                                size_t *used,
                                size_t *bytes_wanted,
                                struct rdb_item *item,
                                struct syn_err *err)
{
    uint8_t type = cursor->window[cursor->pos - 1];
    const char *reason = NULL;
    const uint8_t *layout = walk_layout(type, parser->is_valkey, &reason);
    if (UNLIKELY(layout == NULL)) {
        ERR(err,
            SYN_CODE_SOURCE_DATA,
            "RDB byte %llu: %s: %u (%s)",
            (unsigned long long)(parser->offset + cursor->pos - 1),
            reason,
            type,
            rdb_type_name(type));
        return RDB_ERROR;
    }
    struct rdb_string name;
    enum field_status status = cursor_string(cursor, parser->item_bytes_max, &name);
    if (UNLIKELY(status != FIELD_OK)) {
        return parser_stop(parser, cursor, status, used, bytes_wanted, err);
    }
    if (UNLIKELY(!parser_text(parser, &name, &item->name, err))) {
        return RDB_ERROR;
    }
    item->kind = RDB_ITEM_KEY;
    item->type = parser->type = type;
    item->expire_ms = attributes->expire_ms;
    item->idle_s = attributes->idle_s;
    item->has_freq = attributes->has_freq;
    item->freq = attributes->freq;
    parser->has_pending = false;
    value_begin(parser, layout, cursor, &item->name);
    return parser_finish(parser, cursor, used, STATE_VALUE);
}

/* The general path: attributes, then a key or an opcode. */
static enum rdb_status body_next(struct rdb_parser *parser,
                                 struct cursor *cursor,
                                 size_t *used,
                                 size_t *bytes_wanted,
                                 struct rdb_item *item,
                                 struct syn_err *err)
{
    struct attributes attributes = parser->has_pending ? parser->pending : no_attributes;
    bool has_attributes = parser->has_pending;
    for (unsigned count = 0;; count++) {
        const uint8_t *opcode;
        enum field_status status = cursor_fixed(cursor, 1, &opcode);
        if (status == FIELD_OK && !is_attribute(*opcode)) {
            break;
        }
        if (status == FIELD_OK && count == ATTRIBUTES_PER_ITEM_MAX) {
            cursor->pos--;
            parser->pending = attributes;
            parser->has_pending = true;
            item->kind = RDB_ITEM_IGNORED;
            return parser_finish(parser, cursor, used, STATE_BODY);
        }
        if (status == FIELD_OK) {
            has_attributes = true;
            status = item_attribute(cursor, &attributes, *opcode);
        }
        if (status != FIELD_OK) {
            return parser_stop(parser, cursor, status, used, bytes_wanted, err);
        }
    }
    if (cursor->window[cursor->pos - 1] < OPCODE_SLOT_IMPORT) {
        return key_next(parser, cursor, &attributes, used, bytes_wanted, item, err);
    }
    enum rdb_status status = item_opcode(parser, cursor, used, bytes_wanted, item, err);
    if (status == RDB_READY && has_attributes) {
        parser->pending = attributes;
        parser->has_pending = true;
    }
    return status;
}

/* The entry that snapshots consist of: a type byte and a raw key that is wholly in the window.
 * False: the general path decides what it is. */
static inline bool plain_key_next(struct rdb_parser *parser,
                                  const uint8_t *window,
                                  size_t size,
                                  size_t *used,
                                  struct rdb_item *item)
{
    if (UNLIKELY(parser->state != STATE_BODY || parser->has_pending || size < 4)) {
        return false;
    }
    if (UNLIKELY(window[0] > RDB_TYPE_SET_LISTPACK || window[1] >= 0x80)) {
        return false;
    }
    size_t name_at = 2;
    size_t name_size = window[1];
    if (name_size >= 0x40) {
        name_at = 3;
        name_size = (name_size & 0x3f) << 8 | window[2];
    }
    const char *reason;
    const uint8_t *layout = walk_layout(window[0], false, &reason);
    if (UNLIKELY(name_size > size - name_at || name_size > parser->item_bytes_max ||
                 layout == NULL)) {
        return false;
    }
    item->kind = RDB_ITEM_KEY;
    item->type = parser->type = window[0];
    item->expire_ms = -1;
    item->idle_s = -1;
    item->has_freq = false;
    item->freq = 0;
    item->name = (struct slice){.bytes = window + name_at, .size = name_size};
    struct cursor cursor = {.window = window, .size = size, .pos = name_at + name_size};
    value_begin(parser, layout, &cursor, &item->name);
    parser->state = STATE_VALUE;
    parser->offset += cursor.pos;
    *used = cursor.pos;
    return true;
}

enum rdb_status rdb_parser_next(struct rdb_parser *parser,
                                const uint8_t *window,
                                size_t size,
                                size_t *used,
                                size_t *bytes_wanted,
                                struct rdb_item *item,
                                struct syn_err *err)
{
    if (LIKELY(plain_key_next(parser, window, size, used, item))) {
        return RDB_READY;
    }
    ASSERT(parser->state != STATE_VALUE); /* the value was not walked */
    ASSERT(parser->state != STATE_DONE);
    *used = 0;
    struct cursor cursor = {.window = window, .size = size};
    switch (parser->state) {
    case STATE_HEADER:
        return item_header(parser, &cursor, used, bytes_wanted, item, err);
    case STATE_TAIL:
        return item_tail(parser, &cursor, used, bytes_wanted, item);
    case STATE_SKIPPED:
        return item_skipped(parser, &cursor, used, bytes_wanted, item, err);
    default:
        return body_next(parser, &cursor, used, bytes_wanted, item, err);
    }
}

enum rdb_status rdb_value_walk(struct rdb_parser *parser,
                               const uint8_t *window,
                               size_t size,
                               size_t *used,
                               struct syn_err *err)
{
    ASSERT(parser->state == STATE_VALUE);
    const char *reason = NULL;
    enum rdb_status status = walk_run(&parser->walk, window, size, used, &reason);
    if (UNLIKELY(status == RDB_ERROR)) {
        ERR(err,
            SYN_CODE_SOURCE_DATA,
            "RDB byte %llu: %s, in a value of type %u (%s) of the key with hash %016llx",
            (unsigned long long)(parser->offset + *used),
            reason,
            parser->type,
            rdb_type_name(parser->type),
            (unsigned long long)parser->key_hash);
        return RDB_ERROR;
    }
    parser->offset += *used;
    if (status == RDB_READY) {
        parser->state = STATE_BODY;
    }
    return status;
}

void rdb_value_taken(struct rdb_parser *parser, uint64_t size)
{
    ASSERT(parser->state == STATE_VALUE);
    parser->offset += size;
    parser->state = STATE_BODY;
}

enum rdb_status rdb_value_measure(const struct rdb_parser *parser,
                                  const uint8_t *window,
                                  size_t size,
                                  uint64_t *total,
                                  struct syn_err *err)
{
    ASSERT(parser->state == STATE_VALUE);
    const char *reason;
    const uint8_t *layout = walk_layout(parser->type, parser->is_valkey, &reason);
    size_t before;
    if (!walk_is_single_string(layout, &before)) {
        *total = UINT64_MAX;
        return RDB_READY;
    }
    if (size <= before) {
        return RDB_MORE;
    }
    struct rdb_string string;
    struct field_note note = {0};
    switch (string_head_read(window + before, size - before, &string, &note)) {
    case FIELD_OK:
        *total = before + string.encoded_size;
        return RDB_READY;
    case FIELD_SHORT:
        return RDB_MORE;
    case FIELD_BAD:
        break;
    }
    ERR(err,
        SYN_CODE_SOURCE_DATA,
        "RDB byte %llu: %s, in a value of type %u (%s) of the key with hash %016llx",
        (unsigned long long)(parser->offset + before),
        note.reason,
        parser->type,
        rdb_type_name(parser->type),
        (unsigned long long)parser->key_hash);
    return RDB_ERROR;
}
