/*
 * The parser's state and the readers of single items. Private to rdb.
 *
 * parser.c moves between the states; parser_items.c reads what is not a key.
 */
#ifndef RDB_PARSER_H
#define RDB_PARSER_H

#include "rdb/value_walk.h"

enum rdb_opcode {
    OPCODE_SLOT_IMPORT = 243,
    OPCODE_SLOT_INFO = 244,
    OPCODE_FUNCTION = 245,
    OPCODE_FUNCTION_PRE_GA = 246,
    OPCODE_MODULE_AUX = 247,
    OPCODE_IDLE = 248,
    OPCODE_FREQ = 249,
    OPCODE_AUX = 250,
    OPCODE_RESIZE = 251,
    OPCODE_EXPIRE_MS = 252,
    OPCODE_EXPIRE_S = 253,
    OPCODE_SELECT = 254,
    OPCODE_END = 255,
};

enum parser_state { STATE_HEADER, STATE_BODY, STATE_VALUE, STATE_SKIPPED, STATE_TAIL, STATE_DONE };

/* What the opcodes before a key say of it. */
struct attributes {
    int64_t expire_ms;
    int64_t idle_s;
    bool has_freq;
    uint8_t freq;
};

struct rdb_parser {
    enum parser_state state;
    uint16_t version;
    bool is_valkey;
    bool has_pending;
    uint8_t type;      /* VALUE: of the value under way                         */
    uint64_t key_hash; /* VALUE: for messages; 0 for a value that cannot be bad */
    uint64_t offset;
    struct walk walk;
    struct attributes pending; /* valid when has_pending */
    uint8_t *scratch;          /* decoded texts of the last item */
    size_t scratch_size;
    size_t item_bytes_max;
};

/* One item being read: a place in the window, and what stopped the reading. */
struct cursor {
    const uint8_t *window;
    size_t size;
    size_t pos;
    struct field_note note;
};

/* ---- endings of a reading ---- */

static inline enum rdb_status
parser_fail(const struct rdb_parser *parser, size_t pos, const char *reason, struct syn_err *err)
{
    ERR(err,
        SYN_CODE_SOURCE_DATA,
        "RDB byte %llu: %s",
        (unsigned long long)(parser->offset + pos),
        reason);
    return RDB_ERROR;
}

static inline enum rdb_status parser_want(size_t bytes, size_t *used, size_t *bytes_wanted)
{
    *used = 0;
    *bytes_wanted = bytes;
    return RDB_MORE;
}

/* Tells apart the two ways in which a field of an item is not there. */
static inline enum rdb_status parser_stop(const struct rdb_parser *parser,
                                          const struct cursor *cursor,
                                          enum field_status status,
                                          size_t *used,
                                          size_t *bytes_wanted,
                                          struct syn_err *err)
{
    if (status == FIELD_BAD) {
        return parser_fail(parser, cursor->pos, cursor->note.reason, err);
    }
    return parser_want(cursor->pos + cursor->note.needed, used, bytes_wanted);
}

static inline enum rdb_status parser_finish(struct rdb_parser *parser,
                                            const struct cursor *cursor,
                                            size_t *used,
                                            enum parser_state state)
{
    ASSERT_DEBUG(cursor->pos <= cursor->size);
    parser->state = state;
    parser->offset += cursor->pos;
    *used = cursor->pos;
    return RDB_READY;
}

/* ---- fields at the cursor, which moves behind them when they are whole (parser_items.c) ---- */

enum field_status cursor_fixed(struct cursor *cursor, size_t size, const uint8_t **bytes);
/* A whole STR, still in its encoded form; neither form of it may exceed bytes_max. */
enum field_status cursor_string(struct cursor *cursor, size_t bytes_max, struct rdb_string *string);
/* The plain text of a STR that was taken: in the window, or in the parser's scratch. */
MUST_CHECK bool parser_text(struct rdb_parser *parser,
                            const struct rdb_string *string,
                            struct slice *text,
                            struct syn_err *err);

/* ---- items that are not keys (parser_items.c); results as those of rdb_parser_next ---- */

enum rdb_status item_header(struct rdb_parser *parser,
                            struct cursor *cursor,
                            size_t *used,
                            size_t *bytes_wanted,
                            struct rdb_item *item,
                            struct syn_err *err);
enum rdb_status item_tail(struct rdb_parser *parser,
                          struct cursor *cursor,
                          size_t *used,
                          size_t *bytes_wanted,
                          struct rdb_item *item);
/* The next piece of data that nobody wants. */
enum rdb_status item_skipped(struct rdb_parser *parser,
                             const struct cursor *cursor,
                             size_t *used,
                             size_t *bytes_wanted,
                             struct rdb_item *item,
                             struct syn_err *err);
/* An opcode that is not about the next key; the cursor stands behind it. */
enum rdb_status item_opcode(struct rdb_parser *parser,
                            struct cursor *cursor,
                            size_t *used,
                            size_t *bytes_wanted,
                            struct rdb_item *item,
                            struct syn_err *err);

static inline bool is_attribute(uint8_t opcode)
{
    return opcode == OPCODE_EXPIRE_MS || opcode == OPCODE_EXPIRE_S || opcode == OPCODE_IDLE ||
           opcode == OPCODE_FREQ;
}

/* Reads what an opcode says of the next key; the cursor stands behind the opcode. */
enum field_status
item_attribute(struct cursor *cursor, struct attributes *attributes, uint8_t opcode);

#endif
