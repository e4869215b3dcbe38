/*
 * Refetch: the value of single keys at the very server that a stream comes from, each with the
 * replication offset at which it was exactly that.
 *
 * A key is read inside MULTI … EXEC together with the server's replication offset and its clock:
 * nothing can come between, so the value is the key's state after that offset, and the expiry is
 * absolute: exact where the server knows PEXPIRETIME (7.0), else up to some milliseconds early, as
 * its clock goes on between two answers. Keys of one slot (of a standalone server: any) share a
 * transaction.
 *
 * How large a value is, is known before it is asked for: by MEMORY USAGE, with the values of the
 * batch before, so that small keys, which nearly all are, cost no round trip of their own; where
 * that is not to be had (before 4.0, or not allowed) by its length, in two round trips. A value
 * above dump_max is not read here (refetch_large.h). Where no size is to be had either, and where a
 * key grows between the question and the answer, it is read as it comes.
 *
 * Threads:   blocking; the thread that owns `refetch`.
 * Ownership: a value is valid until the sink returns.
 * Limits:    REFETCH_AT_ONCE keys are asked for at a time, of which as many are on their way as
 *            come to dump_max together, or one. The client library holds them and, while it
 *            arrives, one of them a second time: 2 * dump_max.
 * Errors:    those of the control connection to the source; SYN_CODE_SOURCE_PROTOCOL for an answer
 *            that makes no sense.
 */
#ifndef APPLY_REFETCH_H
#define APPLY_REFETCH_H

#include "io/io.h"
#include "rdb/rdb.h"

#define REFETCH_AT_ONCE 64
/* What an element is taken for where only the number of them is known. */
#define REFETCH_ELEMENT_BYTES 64

struct refetch {
    struct endpoint endpoint;
    int timeout_ms;
    bool is_cluster;
    size_t dump_max;        /* bytes; 0: no limit                   */
    struct control control; /* opened when first needed */
    uint64_t db;            /* selected there */
    bool has_db;
    bool has_expiretime; /* it knows PEXPIRETIME, and we may use it */
    bool has_no_usage;   /* MEMORY USAGE was refused                */
    /* What matters for large values only, and is asked for when there is one (refetch_know). */
    bool is_known;
    bool has_field_ttl;   /* as has_expiretime, of HPEXPIRETIME       */
    bool hides_field_ttl; /* it knows it, and we may not use it       */
    bool has_counters;    /* of streams: 7.0                          */
    bool is_valkey_rdb;   /* what its DUMP means by type 22: Valkey 9 */
};

/* Keys of one database. */
struct refetch_batch {
    uint64_t db;
    uint32_t count;
    bool has_sizes;
    struct slice names[REFETCH_AT_ONCE];
    uint64_t bytes[REFETCH_AT_ONCE]; /* about; 0: not known, or no such key */
};

struct refetch_value {
    uint64_t offset;        /* the value is the key's state after this offset             */
    bool is_there;          /* false: there was no such key                                */
    int64_t expire_ms;      /* absolute by the source's clock; -1: none                   */
    const uint8_t *payload; /* as DUMP gave it                                             */
    size_t size;
};

struct refetch_sink {
    /* The value of names[i]. False: err is filled, and no more are given. */
    bool (*value)(void *arg, uint32_t i, const struct refetch_value *value, struct syn_err *err);
    void *arg;
};

/* Reads all of the batch but those for which refetch_is_large is true then. `next`: the batch that
 * will follow, whose sizes are asked for on the way; NULL: not known. On error some may have been
 * given to the sink. */
MUST_CHECK bool refetch_read(struct refetch *refetch,
                             struct refetch_batch *batch,
                             struct refetch_batch *next,
                             const struct refetch_sink *sink,
                             struct syn_err *err);
static inline bool refetch_is_large(const struct refetch *refetch, uint64_t bytes)
{
    return refetch->dump_max != 0 && bytes > refetch->dump_max;
}
void refetch_close(struct refetch *refetch);

/* ---- for refetch_large.c ---- */

/* Connects, and selects the database; learns what the server has. */
MUST_CHECK bool refetch_ready(struct refetch *refetch, uint64_t db, struct syn_err *err);
MUST_CHECK bool refetch_know(struct refetch *refetch, struct syn_err *err);
MUST_CHECK bool
refetch_ask(struct control *control, const char *a, const char *b, struct syn_err *err);
MUST_CHECK bool refetch_ask_key(struct control *control,
                                const char *word,
                                const struct slice *name,
                                struct syn_err *err);
/* The answer to EXEC, behind `commands` of +OK and +QUEUED; an array that begins with INFO's and
 * TIME's, and has `elements`. NULL: err is filled. */
redisReply *refetch_transaction(struct refetch *refetch,
                                uint32_t commands,
                                size_t elements,
                                uint64_t *offset,
                                int64_t *now_ms,
                                struct syn_err *err);
bool refetch_odd(const struct control *control, struct syn_err *err);

#endif
