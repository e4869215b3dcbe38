/*
 * A value read by commands, in pieces, and shown as a decoder would show it (rdb/decode.h): where
 * DUMP cannot be had, or should not be asked for. Verification reads both sides so, a repair the
 * values that are too large to DUMP (refetch_large.h).
 *
 * It takes several commands, and the server goes on meanwhile. What is shown is the value at one
 * moment only if nothing was written to it between the first and the last; `is_unstable` tells of
 * those changes that can be seen (a count that is not met, a key that is gone), and whoever needs
 * to know of the others looks elsewhere: at a second reading, or at the stream.
 *
 * Not shown, since no command tells: when consumers of a stream were seen and active.
 *
 * Threads:   blocking; the thread that owns the connection.
 * Ownership: everything is the caller's; what is shown is valid until the visitor returns.
 * Limits:    a reply has about piece_bytes, at most VALUE_ELEMENTS_MAX elements, and at least one,
 *            which is held whole whatever its size. How many elements are asked for follows the
 *            sizes of those before. The names of a stream's groups, and of a group's consumers,
 * come in one reply each. Errors:    those of the connection. An error reply makes the reading
 * unstable.
 */
#ifndef APPLY_VALUE_READ_H
#define APPLY_VALUE_READ_H

#include "io/io.h"
#include "rdb/decode.h"

#define VALUE_ELEMENTS_MAX 10000u
#define VALUE_PIECE_BYTES (4u << 20)
/* What a reply of the client library takes for each element beside its text. */
#define VALUE_ELEMENT_EXTRA 96u

enum value_type {
    VALUE_NONE,
    VALUE_STRING,
    VALUE_LIST,
    VALUE_SET,
    VALUE_HASH,
    VALUE_ZSET,
    VALUE_STREAM,
    VALUE_OTHER, /* of a module: there is only its payload */
    VALUE_TYPE_COUNT,
};
const char *value_type_name(enum value_type type);
enum value_type value_type_of_kind(enum rdb_kind kind);
enum rdb_kind value_type_kind(enum value_type type); /* of any but VALUE_NONE */
enum value_type value_type_of_rdb(uint8_t rdb_type);
enum value_type value_type_of_name(const char *name);
/* "STRLEN", "LLEN" …; NULL for nothing and modules. */
const char *value_length_command(enum value_type type);

/* The visitor is shown what a decoder would show of the value; `begin` and the callbacks of the
 * value's type are used, the latter must not be NULL. Of its answers only RDB_STOP means anything
 * here. */
struct value_reading {
    struct control *control;
    const char *key;
    size_t key_size;
    enum value_type type; /* not VALUE_NONE, not VALUE_OTHER */
    bool with_field_ttl;  /* asked for with HPEXPIRETIME, which the server has */
    bool has_hidden;    /* fields that have expired count until they are removed, and are hidden */
    bool with_counters; /* the server has a stream's counters: 7.0   */
    bool with_delivery; /* when pending entries were delivered, which takes the server's clock; else
                           it is shown as zero */
    bool may_repeat;    /* that a cursor gives an element twice is no sign of a change */
    uint64_t value_bytes; /* as MEMORY USAGE told, 0 unknown: chooses the size of pieces */
    uint64_t piece_bytes; /* of a piece, about; 0: VALUE_PIECE_BYTES */
    const struct rdb_visitor *visitor;
    void *arg;
    struct syn_err *err;
    bool is_unstable; /* out: changed while it was read, or gone: nothing can be said */
    bool is_stopped;  /* out: by the visitor; it is unstable, too                     */
    struct rdb_stream_id stream_last; /* its own: of the stream that is being read    */
};
static inline uint64_t value_piece_bytes(const struct value_reading *reading)
{
    return reading->piece_bytes > 0 ? reading->piece_bytes : VALUE_PIECE_BYTES;
}
/* False only for a lost connection. */
MUST_CHECK bool value_read(struct value_reading *reading);

/* The command that reads a whole value at once; false for streams, modules. */
bool value_whole_command(enum value_type type, const char **name, const char *const **extras);
/* Shows that command's reply. */
void value_show_whole(struct value_reading *reading, const redisReply *reply);

/* ---- between value_read.c and value_read_stream.c ---- */

MUST_CHECK bool value_read_stream(struct value_reading *reading);
/* One command on the key; NULL: the connection is lost. An error reply makes the reading unstable
 * and is returned. `extras`: words of text, NULL-terminated, at most VALUE_EXTRAS_MAX, or NULL. */
redisReply *value_ask(struct value_reading *reading, const char *name, const char *const *extras);
#define VALUE_EXTRAS_MAX 8
/* How many elements of a value with `length` are asked for first, and next: after `count` of them
 * took `bytes`. */
uint64_t value_step_first(const struct value_reading *reading, uint64_t length);
uint64_t
value_step_next(const struct value_reading *reading, uint64_t step, uint64_t count, uint64_t bytes);
/* Notes what the visitor answered. */
static inline void value_shown(struct value_reading *reading, enum rdb_flow flow)
{
    reading->is_stopped |= flow == RDB_STOP;
    reading->is_unstable |= flow == RDB_STOP;
}

#endif
