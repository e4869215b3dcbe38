/*
 * Decoding of values: what a key holds, element by element, whatever encoding it has on the wire.
 *
 * A decoder is fed with the bytes of one value as they arrive and calls a visitor for each string
 * piece, list element, member, field, stream entry … All encodings of one kind of value give the
 * same calls: the visitor never learns whether a hash was a table, a ziplist or a listpack. It
 * leaves to others what the elements are for, and where one value ends and the next begins is only
 * known when the last element has been seen.
 *
 * Threads:   a decoder belongs to one thread. Visitors run inside rdb_decoder_run.
 * Ownership: everything a visitor is given is valid until it returns: elements point into the
 *            caller's window or into the decoder's own buffers. Nothing is allocated per element;
 *            buffers grow to the largest element or blob that does not lie whole in a window, and
 *            those above 1 MiB are given back with the next value.
 * Limits:    item_bytes_max (bytes) bounds one element, and one blob (ziplist, listpack, intset,
 *            zipmap), as text. Above it a collection is refused; a string value has no limit: it
 *            is handed out in pieces. Memory is at most twice item_bytes_max and 80 KiB.
 *            Lengths from the wire are checked against it before they size anything. What is
 * visited may be far more than what was read: compressed text, up to 88 times, and the field names
 *            of a stream's node, which are shown with each of its entries.
 * Errors:    SYN_CODE_SOURCE_DATA with the type, the key's hash and the byte of the RDB;
 *            SYN_CODE_MEMORY. After an error, or a stop, only rdb_decoder_begin may follow.
 *            Elements before the broken one have been visited by then.
 *
 * Checked inside blobs: sizes, the end mark, the count, every entry's encoding, back lengths of
 * listpacks (both families: see listpack.c), previous lengths and tail of ziplists, the order of
 * intsets, odd numbers of items in pairs, scores that are no numbers, the frame of stream entries
 * and the order of their ids.
 * Not checked, since it would take memory in proportion to the value: duplicate members or fields,
 * whether what a consumer has pending is pending in its group.
 */
#ifndef RDB_DECODE_H
#define RDB_DECODE_H

#include "rdb/rdb.h"

enum rdb_kind {
    RDB_KIND_STRING,
    RDB_KIND_LIST,
    RDB_KIND_SET,
    RDB_KIND_ZSET,
    RDB_KIND_HASH,
    RDB_KIND_STREAM,
    RDB_KIND_MODULE,
    RDB_KIND_COUNT,
};

/* What a value type holds; RDB_KIND_COUNT for a type that no decoder knows. */
enum rdb_kind rdb_type_kind(uint8_t type, bool is_valkey);

/* What a visitor answers. */
enum rdb_flow {
    RDB_GO,
    RDB_PAUSE, /* this element was taken; rdb_decoder_run returns, and goes on when called again */
    RDB_STOP,  /* no more of this value                                                          */
};

/* One element's text. Integers may come as such in the encoding; `bytes` is then their decimal
 * form, or NULL (and size 0) for a visitor that wants integers. */
struct rdb_element {
    const uint8_t *bytes;
    size_t size;
    int64_t integer; /* with is_integer */
    bool is_integer;
};

#define RDB_UNKNOWN UINT64_MAX

struct rdb_module {
    char name[10]; /* nine characters and a NUL */
    uint16_t version;
    uint64_t id;
};

struct rdb_value_begin {
    enum rdb_kind kind;
    uint64_t count; /* elements, members, fields, if the encoding tells before them; a claim of the
                       wire: never to size an allocation. RDB_UNKNOWN otherwise */
    uint64_t bytes; /* RDB_KIND_STRING: bytes of the text. Other kinds: of the blob, if it is one.
                       RDB_UNKNOWN otherwise */
    const struct rdb_module *module; /* RDB_KIND_MODULE; else NULL */
};

struct rdb_stream_id {
    uint64_t ms;
    uint64_t seq;
};

/* A reader of the fields of one entry; they have been checked, so it cannot fail. `next` is its
 * maker's: use rdb_stream_field_next. */
struct rdb_stream_fields {
    bool (*next)(struct rdb_stream_fields *fields,
                 struct rdb_element *field,
                 struct rdb_element *value);
};

struct rdb_stream_entry {
    struct rdb_stream_id id;
    uint64_t field_count; /* pairs                                              */
    struct rdb_stream_fields *fields;
};

/* The next pair of the entry; false after the last. Only inside the entry's callback. */
static inline bool rdb_stream_field_next(struct rdb_stream_fields *fields,
                                         struct rdb_element *field,
                                         struct rdb_element *value)
{
    return fields->next(fields, field, value);
}

struct rdb_stream_meta {
    uint64_t length;
    uint64_t entries_seen; /* entries visited; differs from length in a damaged stream        */
    struct rdb_stream_id last_id;
    bool has_counters; /* the next three: from stream version 2 on, zero before                */
    struct rdb_stream_id first_id;
    struct rdb_stream_id max_deleted_id;
    uint64_t entries_added;
    uint64_t group_count;
};

struct rdb_stream_group {
    struct rdb_element name;
    struct rdb_stream_id last_id;
    int64_t entries_read; /* -1: not known (as in all streams of version 1)            */
    uint64_t pending_count;
};

struct rdb_stream_pending {
    struct rdb_stream_id id;
    int64_t delivery_ms;
    uint64_t delivery_count;
};

struct rdb_stream_consumer {
    struct rdb_element name;
    int64_t seen_ms;
    int64_t active_ms; /* -1: never; of streams before version 3: seen_ms              */
    bool has_active;   /* false: active_ms is only seen_ms                             */
    uint64_t pending_count;
};

/* What a module wrote, one after the other; what it means is the module's own. */
struct rdb_module_item {
    enum rdb_module_item_kind {
        RDB_MODULE_SIGNED = 1, /* as in the RDB; servers write UNSIGNED for both */
        RDB_MODULE_UNSIGNED = 2,
        RDB_MODULE_FLOAT = 3,
        RDB_MODULE_DOUBLE = 4,
        RDB_MODULE_STRING = 5,
    } kind;
    uint64_t number;         /* of others than strings: the number, or its bits (IEEE 754) */
    struct rdb_element text; /* of a string */
};

/* Callbacks; NULL for what does not matter. `arg` is that of rdb_decoder_begin. Order: begin, then
 * only those of the value's kind. Of a stream: entries, meta, then each group with its pending
 * entries, followed by each of its consumers with the ids pending there. */
struct rdb_visitor {
    bool wants_integers; /* integers are not written out as text */
    enum rdb_flow (*begin)(void *arg, const struct rdb_value_begin *value);
    /* A piece of `total` bytes of text, at `offset`. At least one piece, empty if the text is. */
    enum rdb_flow (*string)(void *arg, struct slice piece, uint64_t offset, uint64_t total);
    enum rdb_flow (*list)(void *arg, const struct rdb_element *element);
    enum rdb_flow (*set)(void *arg, const struct rdb_element *member);
    /* expire_ms: absolute unix ms, -1: none */
    enum rdb_flow (*hash)(void *arg,
                          const struct rdb_element *field,
                          const struct rdb_element *value,
                          int64_t expire_ms);
    enum rdb_flow (*zset)(void *arg, const struct rdb_element *member, double score);
    enum rdb_flow (*stream_entry)(void *arg, const struct rdb_stream_entry *entry);
    enum rdb_flow (*stream_meta)(void *arg, const struct rdb_stream_meta *meta);
    enum rdb_flow (*stream_group)(void *arg, const struct rdb_stream_group *group);
    enum rdb_flow (*stream_pending)(void *arg, const struct rdb_stream_pending *pending);
    enum rdb_flow (*stream_consumer)(void *arg, const struct rdb_stream_consumer *consumer);
    enum rdb_flow (*stream_consumer_pending)(void *arg, const struct rdb_stream_id *id);
    /* Pieces of the raw body, from its first byte (the module's id) on: what RESTORE takes. */
    enum rdb_flow (*module)(void *arg, const struct rdb_module *module, struct slice piece);
    /* If set, the module's items instead of those pieces; a string among them counts as an
     * element. */
    enum rdb_flow (*module_item)(void *arg,
                                 const struct rdb_module *module,
                                 const struct rdb_module_item *item);
};

/* Where a value is and of which key: for messages. */
struct rdb_value_place {
    uint8_t type;
    bool is_valkey;    /* the RDB's magic, or a footer version of 80 or more: what type 22 means */
    uint64_t key_hash; /* key_hash() of the key; 0: not known */
    uint64_t offset;   /* of the value's first byte           */
};

enum rdb_decode {
    RDB_DECODE_DONE,    /* the value is complete; its last byte is among the used ones          */
    RDB_DECODE_MORE,    /* give more: what was not used (fewer than 32 bytes), then new bytes   */
    RDB_DECODE_PAUSED,  /* a visitor paused: call again with what was not used                  */
    RDB_DECODE_STOPPED, /* a visitor stopped                                                    */
    RDB_DECODE_ERROR,   /* err is filled                                                        */
};

struct rdb_decoder;

/* NULL: out of memory. item_bytes_max below 16384 counts as 16384. */
struct rdb_decoder *rdb_decoder_new(size_t item_bytes_max, struct syn_err *err);
void rdb_decoder_free(struct rdb_decoder *decoder);

/* Begins a value, whatever became of the one before. The visitor must live as long as the value.
 * False: no value of this type can be decoded (a module in the pre-release format, an unknown
 * type). */
MUST_CHECK bool rdb_decoder_begin(struct rdb_decoder *decoder,
                                  const struct rdb_value_place *place,
                                  const struct rdb_visitor *visitor,
                                  void *arg,
                                  struct syn_err *err);

/* Decodes what the window has of the value. *used bytes need not come again. A visitor that pauses
 * loses nothing: what it was not shown yet is kept, or is among the bytes not used. Looks at no
 * byte behind the value. Not to be called from a visitor. */
enum rdb_decode rdb_decoder_run(struct rdb_decoder *decoder,
                                const uint8_t *window,
                                size_t size,
                                size_t *used,
                                struct syn_err *err);

/* After RDB_DECODE_ERROR: whether the value was refused only because an element, or a blob, is
 * larger than item_bytes_max. */
bool rdb_decoder_is_over_limit(const struct rdb_decoder *decoder);

/* ---- DUMP payloads ---- */

/* Decodes a whole DUMP payload: footer, CRC, value, and nothing behind it. A visitor's pause does
 * not return: use rdb_payload_read, rdb_decoder_begin and rdb_decoder_run for that. A visitor's
 * stop is not an error. `key_hash` may be 0. */
MUST_CHECK bool rdb_payload_decode(struct rdb_decoder *decoder,
                                   struct slice payload,
                                   uint64_t key_hash,
                                   const struct rdb_visitor *visitor,
                                   void *arg,
                                   struct syn_err *err);

/* Whether a payload's footer is of Valkey's own format: what type 22 means in it. */
bool rdb_payload_is_valkey(struct slice payload);

/* The same for a payload that arrives in pieces. Nothing of it is held but what the decoder holds,
 * so the checksum, and with it the family, is known only at the end: elements have been visited by
 * then. */
struct rdb_payload_reader {
    struct rdb_decoder *decoder;
    const struct rdb_visitor *visitor;
    void *arg;
    uint64_t size; /* of the whole payload */
    uint64_t seen; /* bytes taken of it    */
    uint64_t crc;  /* of what it covers, so far */
    uint64_t key_hash;
    struct syn_err err; /* with RDB_DECODE_ERROR */
    enum rdb_decode status;
    uint8_t type;
    bool is_valkey;
    uint8_t carry_size;
    uint8_t footer_size;
    uint8_t carry[96]; /* what the decoder left of the pieces before, and the next bytes */
    uint8_t footer[RDB_FOOTER_SIZE];
};

/* `size` is that of the payload. `is_valkey`: of the server that made it (Valkey 9 or later); it
 * only matters for type 22. The visitor must live as long as the payload. */
void rdb_payload_begin(struct rdb_payload_reader *reader,
                       struct rdb_decoder *decoder,
                       uint64_t size,
                       bool is_valkey,
                       uint64_t key_hash,
                       const struct rdb_visitor *visitor,
                       void *arg);
/* The next bytes; together no more than `size`. What is wrong is told at the end, and what comes
 * behind it is only counted. */
void rdb_payload_piece(struct rdb_payload_reader *reader, struct slice piece);
/* After the last piece. False: as rdb_payload_decode. `*version` is that of the footer. */
MUST_CHECK bool
rdb_payload_end(struct rdb_payload_reader *reader, uint16_t *version, struct syn_err *err);

/* After RDB_ITEM_KEY: the value, of `size` bytes, was read by a decoder instead of rdb_value_walk;
 * the parser goes on behind it. */
void rdb_value_taken(struct rdb_parser *parser, uint64_t size);

#endif
