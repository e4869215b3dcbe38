/*
 * Reforming: values with listpacks, from the form of one family of servers to that of the other.
 *
 * A listpack entry ends with its own length L in groups of seven bits (decode_listpack.h). For L of
 * exactly 16383, 2097151 or 268435455 Redis, and Valkey before 9, spend one byte more on it than
 * Valkey 9.1 does:
 *
 *     long    00 FF FF        00 FF FF FF        00 FF FF FF FF
 *     short   7F FF           7F FF FF           7F FF FF FF
 *
 * Neither family reads the other's. Valkey 9.1 refuses the value; the others, unless they were told
 * to look inside (sanitize-dump-payload), take it, and a later command on that key crashes the
 * server. So such a value must not pass between the families as it is. The blobs that hold such an
 * entry are written anew, uncompressed, each other byte of the value as it was.
 *
 * Only a blob of more than 16 KiB can hold such an entry, so nearly every value is passed after a
 * look at the heads of its strings.
 *
 * Threads:   a reformer belongs to one thread.
 * Ownership: the value's body stays the caller's, and must be whole in memory.
 * Limits:    72 KiB for the text of compressed blobs, of any size, which is made twice or three
 *            times over: once to measure, once or twice to write.
 * Errors:    none of their own. What is inside a blob is not judged: one that cannot be read to its
 *            end is left as it is, for the destination to refuse.
 */
#ifndef RDB_REFORM_H
#define RDB_REFORM_H

#include "rdb/rdb.h"

enum listpack_form {
    LISTPACK_UNKNOWN, /* not known, or different from shard to shard */
    LISTPACK_LONG,
    LISTPACK_SHORT,
};

/* What a server of this version writes and reads. Valkey 9.0 was never looked at. */
enum listpack_form listpack_form_of(uint32_t version, bool is_valkey);

/* Values of this type may hold listpacks. */
bool rdb_type_has_listpack(uint8_t type);

struct reformer;

/* NULL: out of memory. */
struct reformer *reformer_new(struct syn_err *err);
void reformer_free(struct reformer *reformer);

/* What is to be done with a value. */
struct reform {
    uint64_t count; /* entries to write anew; 0: the value is right as it is */
    uint64_t size;  /* of the body afterwards                                */
};

/* Looks for entries that are not in the form; for LISTPACK_UNKNOWN, for all that have two. */
struct reform reformer_measure(struct reformer *reformer,
                               uint8_t type,
                               struct slice body,
                               enum listpack_form form);

/* False: no more. */
typedef bool reform_sink(void *arg, const uint8_t *bytes, size_t size);

/* The body in this form, LONG or SHORT, in pieces that sum up to the size measured. False: the sink
 * said so. */
MUST_CHECK bool reformer_write(struct reformer *reformer,
                               uint8_t type,
                               struct slice body,
                               enum listpack_form form,
                               reform_sink *sink,
                               void *arg);

#endif
