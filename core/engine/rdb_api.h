/*
 * What the parts of the RDB reader share; private to the engine's rdb_api_*.c.
 *
 * A reader pulls bytes through a window, cuts items from it with the parser, passes values to the
 * walker or the decoder, and shows the visitor what is found. Every byte that was used is summed
 * before the window moves.
 *
 * Threads:   one. Nothing is shared between readers.
 * Ownership: reader_init takes nothing over; reader_deinit frees what grew.
 * Limits:    the window holds one item: at most twice item_bytes_max and RDB_WINDOW_SLACK, and
 *            never more than twice what has arrived.
 */
#ifndef ENGINE_RDB_API_H
#define ENGINE_RDB_API_H

#include "core/base/base.h"
#include "core/engine/syn.h"
#include "rdb/decode.h"

/* Large enough that a read's cost is in its bytes, small enough to stay in a core's cache. */
#define RDB_WINDOW_BYTES ((size_t)256 << 10)
/* For the heads of an item's texts and the opcodes before a key. */
#define RDB_WINDOW_SLACK ((size_t)4096)

struct rdb_reader {
    const struct syn_rdb_visitor *visitor;
    void *arg;
    struct syn_rdb_options options;
    struct rdb_parser *parser;
    struct rdb_decoder *decoder; /* NULL with SYN_RDB_DEPTH_KEYS */

    /* the window */
    syn_rdb_feed *feed; /* NULL: all there is lies in the window */
    void *feed_arg;
    const uint8_t *at; /* the next byte                           */
    size_t left;       /* bytes from there                        */
    uint64_t used;     /* bytes before it: its offset in the file */
    bool has_ended;    /* nothing comes behind the window         */
    uint8_t *buffer;
    size_t capacity;
    size_t capacity_max;
    const uint8_t *unsummed; /* the first byte, at or before `at`, that is not in crc */
    uint64_t crc;

    /* what has been seen */
    bool is_valkey;
    bool is_stopped;
    bool has_pending_db; /* `database` is not shown yet: its size may follow */
    struct syn_rdb_database database;
    uint64_t keys;
    enum syn_rdb_verdict verdict;

    /* the key under way */
    struct syn_rdb_key key;
    uint8_t *name; /* its copy: the window moves while the value passes */
    size_t name_capacity;
    uint8_t value_type;   /* also of a value that is only passed over                    */
    uint64_t value_begin; /* its first byte in the file                                  */
    bool is_muted;        /* no more elements of this value are wanted                   */
    bool is_blob;         /* counting stopped behind it; otherwise, in front of a table  */
    uint64_t module_position;
};

/* Visitors may hand what they get to memcpy, which takes no NULL, not even of nothing. */
static inline struct syn_rdb_text rdb_text_of(struct slice slice)
{
    static const uint8_t nothing[1];
    return (struct syn_rdb_text){.bytes = slice.bytes != NULL ? slice.bytes : nothing,
                                 .size = slice.size};
}

/* ---- the window (rdb_api_feed.c) ---- */

/* Moves behind bytes of the window. They stay where they are until reader_more. */
void reader_use(struct rdb_reader *reader, size_t size);
/* Brings the window to `wanted` bytes. False: *err; also when the data ends before, inside `what`,
 * or inside the value under way (NULL). */
MUST_CHECK bool
reader_more(struct rdb_reader *reader, uint64_t wanted, const char *what, struct syn_err *err);
/* The checksum of all bytes used. */
uint64_t reader_sum(struct rdb_reader *reader);

/* ---- values (rdb_api_value.c) ---- */

/* Passes over the value of a key that nobody wants to see. */
MUST_CHECK bool reader_pass_value(struct rdb_reader *reader, struct syn_err *err);
/* Counts or shows the elements of reader->key, as the options say; sets its elements. */
MUST_CHECK bool reader_read_value(struct rdb_reader *reader, struct syn_err *err);

/* ---- names (rdb_api_names.c) ---- */

const char *rdb_kind_name(enum rdb_kind kind);
const char *rdb_encoding_name(uint8_t type, bool is_valkey);

#endif
