/*
 * rdb: the formats. What bytes mean, never where they come from or go.
 *
 * RDB parser    cuts a snapshot into items (AUX, functions, databases, keys with their values) as
 *               the bytes arrive; values are framed, not decoded: their raw bytes are what RESTORE
 *               takes.
 * DUMP footer   version and CRC64 that make a raw value a RESTORE payload.
 * decode.h      values, of any encoding, element by element.
 * digest.h      canonical digests of values.
 * content.h     what a DUMP payload holds, to be compared with another.
 * crc64.h       the CRC of RDB and DUMP.
 * resp.h        RESP commands, replies and their encoding.
 *
 * Threads:   no shared state; a parser belongs to one thread.
 * Ownership: the parser owns a scratch buffer; slices in an item point into the caller's window or
 *            into that scratch, and are valid until the next call on the same parser.
 * Limits:    a key, AUX or function text must fit the window that the caller can provide; values
 *            have no limit here, they are walked in pieces. Lengths from the wire are checked
 *            before they are used and never size an allocation beyond item_bytes_max.
 * Errors:    SYN_CODE_SOURCE_DATA with type, key hash and byte offset; SYN_CODE_MEMORY.
 */
#ifndef RDB_RDB_H
#define RDB_RDB_H

#include "core/base/base.h"
#include "rdb/crc64.h"
#include "rdb/resp.h"

/* Value types: rdb.h of Redis 8.0 and of Valkey 9.1. 22 means two things, by the magic. */
enum rdb_type {
    RDB_TYPE_STRING = 0,
    RDB_TYPE_LIST = 1,
    RDB_TYPE_SET = 2,
    RDB_TYPE_ZSET = 3,
    RDB_TYPE_HASH = 4,
    RDB_TYPE_ZSET_2 = 5,
    RDB_TYPE_MODULE_PRE_GA = 6,
    RDB_TYPE_MODULE_2 = 7,
    RDB_TYPE_HASH_ZIPMAP = 9,
    RDB_TYPE_LIST_ZIPLIST = 10,
    RDB_TYPE_SET_INTSET = 11,
    RDB_TYPE_ZSET_ZIPLIST = 12,
    RDB_TYPE_HASH_ZIPLIST = 13,
    RDB_TYPE_LIST_QUICKLIST = 14,
    RDB_TYPE_STREAM_LISTPACKS = 15,
    RDB_TYPE_HASH_LISTPACK = 16,
    RDB_TYPE_ZSET_LISTPACK = 17,
    RDB_TYPE_LIST_QUICKLIST_2 = 18,
    RDB_TYPE_STREAM_LISTPACKS_2 = 19,
    RDB_TYPE_SET_LISTPACK = 20,
    RDB_TYPE_STREAM_LISTPACKS_3 = 21,
    RDB_TYPE_HASH_METADATA_PRE_GA = 22, /* RDB 12; with VALKEY magic: HASH_2 */
    RDB_TYPE_HASH_LISTPACK_EX_PRE_GA = 23,
    RDB_TYPE_HASH_METADATA = 24,
    RDB_TYPE_HASH_LISTPACK_EX = 25,
    RDB_TYPE_COUNT = 26,
};

/* "string", "hash (listpack)" …; never NULL. */
const char *rdb_type_name(uint8_t type);

struct slice {
    const uint8_t *bytes;
    size_t size;
};

enum rdb_item_kind {
    RDB_ITEM_HEADER,    /* version, is_valkey                                               */
    RDB_ITEM_AUX,       /* name, text                                                       */
    RDB_ITEM_FUNCTION,  /* text: the library's source (opcode 245)                          */
    RDB_ITEM_SELECT,    /* db                                                               */
    RDB_ITEM_RESIZE,    /* key_count, expire_count: a hint for this database                */
    RDB_ITEM_SLOT_INFO, /* slot, key_count, expire_count (opcode 244)                       */
    RDB_ITEM_IGNORED,   /* an opcode that carries nothing for a copy: MODULE_AUX, SLOT_IMPORT … */
    RDB_ITEM_KEY,       /* type, name, expire_ms, idle_s, freq; its value follows: rdb_value_* */
    RDB_ITEM_END,       /* the EOF opcode; the CRC covers everything up to here             */
    RDB_ITEM_CHECKSUM,  /* checksum; 0 means that the writer made none. Nothing follows.    */
};

/* Only the fields named beside its kind are set. */
struct rdb_item {
    enum rdb_item_kind kind;
    uint16_t version;
    bool is_valkey;
    uint8_t type;
    uint8_t freq; /* LFU counter, with has_freq  */
    bool has_freq;
    int64_t idle_s;    /* seconds, -1: none           */
    int64_t expire_ms; /* absolute unix ms, -1: none; never 0, which RESTORE takes for none */
    uint64_t db;
    uint64_t slot;
    uint64_t key_count;
    uint64_t expire_count;
    uint64_t checksum;
    struct slice name; /* a key or an AUX name: the plain text, whatever form it had */
    struct slice text;
};

enum rdb_status {
    RDB_READY, /* the item, or the value, is complete                                       */
    RDB_MORE,  /* give more bytes: what was not used, followed by new ones                  */
    RDB_ERROR, /* err is filled                                                             */
};

struct rdb_parser;

/* item_bytes_max bounds the scratch for one key, AUX or function text, in bytes. NULL: out of
 * memory. */
struct rdb_parser *rdb_parser_new(size_t item_bytes_max, struct syn_err *err);
void rdb_parser_free(struct rdb_parser *parser);
/* Back to the first byte of a new RDB. */
void rdb_parser_reset(struct rdb_parser *parser);
/* Bytes consumed since the reset: the offset that errors name. */
uint64_t rdb_parser_offset(const struct rdb_parser *parser);

/* Cuts the next item from the window. RDB_READY: *used bytes belong to it. RDB_MORE: *used is 0 and
 * the same bytes must come again with more behind them; *bytes_wanted (never 0) is how many are
 * known to be needed in all. After RDB_ITEM_KEY the value must be walked with rdb_value_walk before
 * the next call. MODULE_AUX, of any length, is consumed in pieces as RDB_ITEM_IGNORED. */
enum rdb_status rdb_parser_next(struct rdb_parser *parser,
                                const uint8_t *window,
                                size_t size,
                                size_t *used,
                                size_t *bytes_wanted,
                                struct rdb_item *item,
                                struct syn_err *err);

/* Walks the value of the key just returned. Consumes as much of the window as belongs to it:
 * RDB_READY when the last byte of the value is among the *used ones; RDB_MORE otherwise, when fewer
 * than 32 bytes may be left unused and must come again. State is kept between calls, so a value of
 * any size passes in bounded memory. */
enum rdb_status rdb_value_walk(struct rdb_parser *parser,
                               const uint8_t *window,
                               size_t size,
                               size_t *used,
                               struct syn_err *err);

/* Before the walk: how many bytes the value has, if its first bytes tell (a string or a single
 * blob). RDB_READY: *total is known, or UINT64_MAX when only a walk can tell. RDB_MORE: fewer bytes
 * in the window than the length field has. */
enum rdb_status rdb_value_measure(const struct rdb_parser *parser,
                                  const uint8_t *window,
                                  size_t size,
                                  uint64_t *total,
                                  struct syn_err *err);

/* ---- strings (§ STR: rdb.c rdbSaveRawString) ---- */

enum rdb_string_form { RDB_STRING_RAW, RDB_STRING_INTEGER, RDB_STRING_LZF };

struct rdb_string {
    enum rdb_string_form form;
    size_t encoded_size; /* bytes of the whole STR                                      */
    size_t text_size;    /* bytes of the text that it stands for                        */
    int64_t integer;     /* of RDB_STRING_INTEGER                                       */
    struct slice data;   /* RAW: the text. LZF: the compressed bytes. Points into bytes. */
};

/* Reads one whole STR from the start of bytes. RDB_MORE when it is not all there. */
enum rdb_status
rdb_string_read(const uint8_t *bytes, size_t size, struct rdb_string *out, struct syn_err *err);
/* Writes the text (text_size bytes) to `to`. False, with err: LZF data that does not decode to
 * exactly text_size bytes. */
MUST_CHECK bool
rdb_string_decode(const struct rdb_string *string, uint8_t *to, struct syn_err *err);

/* ---- DUMP payloads ---- */

#define RDB_FOOTER_SIZE 10

/* The lowest RDB version whose loaders know the type: what the footer of a RESTORE payload carries,
 * so that older servers take it. 0: no loader takes this type by RESTORE (pre-GA module). */
uint16_t rdb_type_version_min(uint8_t type, bool is_valkey);
/* Writes u16 LE version and u64 LE CRC. `crc` is that of type byte and body. */
void rdb_footer_write(uint8_t out[RDB_FOOTER_SIZE], uint64_t crc, uint16_t version);
/* Makes of the whole body of a stream one of an earlier stream type, in place: `from` and `to` are
 * RDB_TYPE_STREAM_LISTPACKS…, `from` the later. What the earlier has no place for is left out: when
 * consumers were active, then also the stream's and the groups' counters. *size becomes less. On
 * error the bytes are spoilt. */
MUST_CHECK bool
rdb_stream_lower(uint8_t *body, size_t *size, uint8_t from, uint8_t to, struct syn_err *err);
/* Splits a DUMP payload: type, body, version; checks size and CRC. */
MUST_CHECK bool rdb_payload_read(const uint8_t *payload,
                                 size_t size,
                                 uint8_t *type,
                                 struct slice *body,
                                 uint16_t *version,
                                 struct syn_err *err);

#endif
