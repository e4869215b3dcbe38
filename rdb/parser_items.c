/*
 * Reading the items that are not keys: header, checksum, opcodes.
 */
#include "rdb/parser.h"

#define HEADER_SIZE 9
#define CHECKSUM_SIZE 8
#define REDIS_VERSION_MAX 12
#define VALKEY_VERSION 80
/* The first version with a trailing CRC64. */
#define CHECKSUM_VERSION_MIN 5

/* ---- fields at the cursor ---- */

static enum field_status cursor_len(struct cursor *cursor, uint64_t *value)
{
    size_t field_size;
    enum field_status status = len_read(cursor->window + cursor->pos,
                                        cursor->size - cursor->pos,
                                        value,
                                        &field_size,
                                        &cursor->note);
    if (status == FIELD_OK) {
        cursor->pos += field_size;
    }
    return status;
}

enum field_status cursor_string(struct cursor *cursor, size_t bytes_max, struct rdb_string *string)
{
    enum field_status status = string_head_read(
        cursor->window + cursor->pos, cursor->size - cursor->pos, string, &cursor->note);
    if (status != FIELD_OK) {
        return status;
    }
    if (string->text_size > bytes_max || string->data.size > bytes_max) {
        cursor->note.reason =
            "a key or text larger than the configured maximum; if it is real, raise --memory";
        return FIELD_BAD;
    }
    if (string->encoded_size > cursor->size - cursor->pos) {
        cursor->note.needed = string->encoded_size;
        return FIELD_SHORT;
    }
    cursor->pos += string->encoded_size;
    return FIELD_OK;
}

enum field_status cursor_fixed(struct cursor *cursor, size_t size, const uint8_t **bytes)
{
    if (cursor->size - cursor->pos < size) {
        cursor->note.needed = size;
        return FIELD_SHORT;
    }
    *bytes = cursor->window + cursor->pos;
    cursor->pos += size;
    return FIELD_OK;
}

/* ---- texts ---- */

static bool scratch_reserve(struct rdb_parser *parser, size_t size, struct syn_err *err)
{
    if (size <= parser->scratch_size) {
        return true;
    }
    ASSERT(size <= parser->item_bytes_max);
    /* Doubled up to the bound, so that rising sizes do not reallocate each time. */
    size_t larger = parser->scratch_size * 2;
    larger = larger > parser->item_bytes_max ? parser->item_bytes_max : larger;
    larger = larger < size ? size : larger;
    mem_free(MEM_RDB, parser->scratch);
    parser->scratch_size = 0;
    parser->scratch = mem_alloc(MEM_RDB, larger);
    if (parser->scratch == NULL) {
        return ERR(err, SYN_CODE_MEMORY, "no memory for %zu bytes of one RDB item", larger);
    }
    parser->scratch_size = larger;
    return true;
}

static size_t scratch_needed(const struct rdb_string *string)
{
    return string->form == RDB_STRING_RAW ? 0 : string->text_size;
}

/* The plain text of a string that was taken: in the window, or decoded into the scratch at `at`. */
static bool text_of(struct rdb_parser *parser,
                    const struct rdb_string *string,
                    size_t at,
                    struct slice *text,
                    struct syn_err *err)
{
    if (string->form == RDB_STRING_RAW) {
        *text = string->data;
        return true;
    }
    ASSERT(at + string->text_size <= parser->scratch_size);
    *text = (struct slice){.bytes = parser->scratch + at, .size = string->text_size};
    if (!rdb_string_decode(string, parser->scratch + at, err)) {
        err_context(err, "in the RDB item at byte %llu", (unsigned long long)parser->offset);
        return false;
    }
    return true;
}

bool parser_text(struct rdb_parser *parser,
                 const struct rdb_string *string,
                 struct slice *text,
                 struct syn_err *err)
{
    return scratch_reserve(parser, scratch_needed(string), err) &&
           text_of(parser, string, 0, text, err);
}

/* ---- items ---- */

static bool read_version(const uint8_t *digits, size_t count, uint16_t *version)
{
    uint16_t sum = 0;
    for (size_t i = 0; i < count; i++) {
        unsigned digit = (unsigned)(digits[i] - '0');
        if (digit > 9) {
            return false;
        }
        sum = (uint16_t)(sum * 10 + digit);
    }
    *version = sum;
    return true;
}

enum rdb_status item_header(struct rdb_parser *parser,
                            struct cursor *cursor,
                            size_t *used,
                            size_t *bytes_wanted,
                            struct rdb_item *item,
                            struct syn_err *err)
{
    const uint8_t *bytes;
    if (cursor_fixed(cursor, HEADER_SIZE, &bytes) != FIELD_OK) {
        return parser_want(HEADER_SIZE, used, bytes_wanted);
    }
    uint16_t version = 0;
    bool is_redis = memcmp(bytes, "REDIS", 5) == 0 && read_version(bytes + 5, 4, &version);
    bool is_valkey = memcmp(bytes, "VALKEY", 6) == 0 && read_version(bytes + 6, 3, &version);
    if (!is_redis && !is_valkey) {
        return parser_fail(
            parser, 0, "this is not an RDB: neither REDIS nor VALKEY and a version", err);
    }
    bool is_supported =
        is_redis ? version >= 1 && version <= REDIS_VERSION_MAX : version == VALKEY_VERSION;
    if (!is_supported) {
        ERR(err,
            SYN_CODE_SOURCE_DATA,
            "RDB byte 0: %s version %u is not supported; REDIS 1 to %d and VALKEY %d are",
            is_redis ? "REDIS" : "VALKEY",
            version,
            REDIS_VERSION_MAX,
            VALKEY_VERSION);
        return RDB_ERROR;
    }
    parser->version = item->version = version;
    parser->is_valkey = item->is_valkey = is_valkey;
    item->kind = RDB_ITEM_HEADER;
    return parser_finish(parser, cursor, used, STATE_BODY);
}

enum rdb_status item_tail(struct rdb_parser *parser,
                          struct cursor *cursor,
                          size_t *used,
                          size_t *bytes_wanted,
                          struct rdb_item *item)
{
    item->checksum = 0;
    if (parser->version >= CHECKSUM_VERSION_MIN) {
        const uint8_t *bytes;
        if (cursor_fixed(cursor, CHECKSUM_SIZE, &bytes) != FIELD_OK) {
            return parser_want(CHECKSUM_SIZE, used, bytes_wanted);
        }
        item->checksum = load_u64_le(bytes);
    }
    item->kind = RDB_ITEM_CHECKSUM;
    return parser_finish(parser, cursor, used, STATE_DONE);
}

enum rdb_status item_skipped(struct rdb_parser *parser,
                             const struct cursor *cursor,
                             size_t *used,
                             size_t *bytes_wanted,
                             struct rdb_item *item,
                             struct syn_err *err)
{
    const char *reason = NULL;
    enum rdb_status status = walk_run(&parser->walk, cursor->window, cursor->size, used, &reason);
    if (status == RDB_ERROR) {
        return parser_fail(parser, *used, reason, err);
    }
    if (status == RDB_MORE && *used == 0) {
        return parser_want(cursor->size + 1, used, bytes_wanted);
    }
    parser->offset += *used;
    if (status == RDB_READY) {
        parser->state = STATE_BODY;
    }
    item->kind = RDB_ITEM_IGNORED;
    return RDB_READY;
}

static enum field_status read_numbers(struct cursor *cursor, struct rdb_item *item, uint8_t opcode)
{
    enum field_status status = FIELD_OK;
    switch (opcode) {
    case OPCODE_SELECT:
        item->kind = RDB_ITEM_SELECT;
        status = cursor_len(cursor, &item->db);
        if (status == FIELD_OK && item->db > INT32_MAX) {
            cursor->note.reason = "a database number that no server has";
            return FIELD_BAD;
        }
        return status;
    case OPCODE_SLOT_INFO:
        item->kind = RDB_ITEM_SLOT_INFO;
        status = cursor_len(cursor, &item->slot);
        if (status == FIELD_OK && item->slot >= SLOT_COUNT) {
            cursor->note.reason = "a slot number that no cluster has";
            return FIELD_BAD;
        }
        break;
    default:
        item->kind = RDB_ITEM_RESIZE;
        break;
    }
    if (status == FIELD_OK) {
        status = cursor_len(cursor, &item->key_count);
    }
    return status == FIELD_OK ? cursor_len(cursor, &item->expire_count) : status;
}

/* Times at or before 1970 mean "long expired" to a server, but in RESTORE 0 means no expiry and a
 * negative number is refused: the first millisecond says what is meant. */
static int64_t expire_from_ms(int64_t ms)
{
    return ms == -1 || ms > 0 ? ms : 1;
}

static int64_t expire_from_s(int32_t seconds)
{
    return seconds > 0 ? (int64_t)seconds * 1000 : 1;
}

enum field_status
item_attribute(struct cursor *cursor, struct attributes *attributes, uint8_t opcode)
{
    const uint8_t *bytes = NULL;
    enum field_status status;
    uint64_t seconds;
    switch (opcode) {
    case OPCODE_EXPIRE_MS:
        status = cursor_fixed(cursor, 8, &bytes);
        if (status == FIELD_OK) {
            attributes->expire_ms = expire_from_ms((int64_t)load_u64_le(bytes));
        }
        return status;
    case OPCODE_EXPIRE_S:
        status = cursor_fixed(cursor, 4, &bytes);
        if (status == FIELD_OK) {
            attributes->expire_ms = expire_from_s((int32_t)load_u32_le(bytes));
        }
        return status;
    case OPCODE_IDLE:
        status = cursor_len(cursor, &seconds);
        if (status == FIELD_OK) {
            attributes->idle_s = seconds > INT64_MAX ? INT64_MAX : (int64_t)seconds;
        }
        return status;
    default:
        status = cursor_fixed(cursor, 1, &bytes);
        if (status == FIELD_OK) {
            attributes->has_freq = true;
            attributes->freq = *bytes;
        }
        return status;
    }
}

static enum rdb_status texts_next(struct rdb_parser *parser,
                                  struct cursor *cursor,
                                  uint8_t opcode,
                                  size_t *used,
                                  size_t *bytes_wanted,
                                  struct rdb_item *item,
                                  struct syn_err *err)
{
    struct rdb_string name = {.form = RDB_STRING_RAW};
    struct rdb_string text;
    enum field_status status = FIELD_OK;
    if (opcode == OPCODE_AUX) {
        status = cursor_string(cursor, parser->item_bytes_max, &name);
    }
    if (status == FIELD_OK) {
        /* Name and text share the scratch, and so the bound. */
        status = cursor_string(cursor, parser->item_bytes_max - name.text_size, &text);
    }
    if (status != FIELD_OK) {
        return parser_stop(parser, cursor, status, used, bytes_wanted, err);
    }
    size_t text_at = scratch_needed(&name);
    if (!scratch_reserve(parser, text_at + scratch_needed(&text), err) ||
        !text_of(parser, &name, 0, &item->name, err) ||
        !text_of(parser, &text, text_at, &item->text, err)) {
        return RDB_ERROR;
    }
    item->kind = opcode == OPCODE_AUX ? RDB_ITEM_AUX : RDB_ITEM_FUNCTION;
    return parser_finish(parser, cursor, used, STATE_BODY);
}

enum rdb_status item_opcode(struct rdb_parser *parser,
                            struct cursor *cursor,
                            size_t *used,
                            size_t *bytes_wanted,
                            struct rdb_item *item,
                            struct syn_err *err)
{
    uint8_t opcode = cursor->window[cursor->pos - 1];
    enum field_status status;
    switch (opcode) {
    case OPCODE_AUX:
    case OPCODE_FUNCTION:
        return texts_next(parser, cursor, opcode, used, bytes_wanted, item, err);
    case OPCODE_SELECT:
    case OPCODE_RESIZE:
    case OPCODE_SLOT_INFO:
        status = read_numbers(cursor, item, opcode);
        if (status != FIELD_OK) {
            return parser_stop(parser, cursor, status, used, bytes_wanted, err);
        }
        return parser_finish(parser, cursor, used, STATE_BODY);
    case OPCODE_MODULE_AUX:
        walk_begin(&parser->walk, walk_layout_module_aux());
        break;
    case OPCODE_SLOT_IMPORT:
        if (!parser->is_valkey) {
            return parser_fail(parser, cursor->pos - 1, "opcode 243 of Valkey in a Redis RDB", err);
        }
        walk_begin(&parser->walk, walk_layout_slot_import());
        break;
    case OPCODE_FUNCTION_PRE_GA:
        return parser_fail(parser,
                           cursor->pos - 1,
                           "opcode 246: a function library in the format of Redis 7.0 release "
                           "candidates, which Redis 7.2 and later refuse as well",
                           err);
    default:
        ASSERT(opcode == OPCODE_END);
        item->kind = RDB_ITEM_END;
        return parser_finish(parser, cursor, used, STATE_TAIL);
    }
    /* The data behind the opcode follows in pieces of its own. */
    item->kind = RDB_ITEM_IGNORED;
    return parser_finish(parser, cursor, used, STATE_SKIPPED);
}
