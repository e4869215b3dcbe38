/*
 * Refetch of a large value: one key that is too large to be DUMPed at once (refetch.h), copied
 * piece by piece, so that neither the source nor we ever hold it whole.
 *
 * Invariant: what is shown was read after the source had reached `from`, and before it passed `to`.
 * If the stream has no operation on the key in (from, to], the value is the key's state at `from`,
 * and at `to`, too, for nothing happened to it in between; so operations up to `to` are part of it
 * and later ones follow. If the stream has one, the value is of no moment: nothing of it may be
 * left, and it is read again. Only the stream can tell: that counts and expiry are as before
 * (is_changed is false) proves nothing. (Where from == to there is nothing to ask.)
 *
 * There are two ways to read. A *scan* asks for elements by commands (value_read.h): no command
 * holds the source up, but it takes its time, and a key that is always written to is never seen
 * still. A *pass* is a DUMP that goes through our hands as it arrives: the source makes the whole
 * payload at once, which takes it as much memory again, and time; but it is sent between the two
 * readings of the offset, in one piece with them, so that nearly always nothing comes between, and
 * `from` and `to` are the same.
 *
 * Threads:   blocking, for as long as the copy takes; the thread that owns `refetch`.
 * Ownership: what is shown is valid until the callback returns.
 * Limits:    a scan holds a piece of about piece_bytes, or one element; a pass a buffer of the
 *            socket, beside what the visitor's decoder holds.
 * Errors:    those of refetch.h. After an error the connection is closed.
 */
#ifndef APPLY_REFETCH_LARGE_H
#define APPLY_REFETCH_LARGE_H

#include "apply/refetch.h"
#include "apply/value_read.h"

struct refetch_large {
    uint64_t from;
    uint64_t to;
    enum value_type type; /* VALUE_NONE: there is no such key */
    int64_t expire_ms;    /* absolute by the source's clock; -1: none */
    bool is_changed;      /* seen at the end, or on the way: `to` is not the end of anything */
    bool is_stopped;      /* by whoever is shown the value */
};

/* Whether elements of such a value can be had by commands, all of them. */
bool refetch_can_scan(const struct refetch *refetch, enum value_type type);

/* The state before: `from`, type and expiry. */
MUST_CHECK bool refetch_large_begin(struct refetch *refetch,
                                    uint64_t db,
                                    const struct slice *name,
                                    struct refetch_large *large,
                                    struct syn_err *err);
/* Behind it, of a type that can be scanned; fills the rest. value_bytes: about, 0 unknown. */
MUST_CHECK bool refetch_large_scan(struct refetch *refetch,
                                   const struct slice *name,
                                   uint64_t value_bytes,
                                   uint64_t piece_bytes,
                                   const struct rdb_visitor *visitor,
                                   void *arg,
                                   struct refetch_large *large,
                                   struct syn_err *err);

/* Of a pass; none of them may use the connection. */
struct refetch_pass_sink {
    /* The state before is known; the payload has `total` bytes. Only if there is one. */
    void (*begin)(void *arg, const struct refetch_large *large, uint64_t total);
    void (*piece)(void *arg, struct slice piece);
    void *arg;
};
/* Alone; fills all. */
MUST_CHECK bool refetch_large_pass(struct refetch *refetch,
                                   uint64_t db,
                                   const struct slice *name,
                                   uint64_t value_bytes,
                                   const struct refetch_pass_sink *sink,
                                   struct refetch_large *large,
                                   struct syn_err *err);

#endif
