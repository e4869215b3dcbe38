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
 * Threads:   blocking; the thread that owns `refetch`.
 * Ownership: a value is the caller's, to free with refetch_value_free.
 * Limits:    REFETCH_AT_ONCE keys are asked for at a time; a value is held whole.
 * Errors:    those of the control connection to the source; SYN_CODE_SOURCE_PROTOCOL for an answer
 *            that makes no sense.
 */
#ifndef APPLY_REFETCH_H
#define APPLY_REFETCH_H

#include "io/io.h"
#include "rdb/rdb.h"

#define REFETCH_AT_ONCE 64

struct refetch {
    struct endpoint endpoint;
    int timeout_ms;
    bool is_cluster;
    struct control control; /* opened when first needed */
    uint64_t db;            /* selected there */
    bool has_db;
    bool has_expiretime; /* it knows PEXPIRETIME, and we may use it */
};

struct refetch_value {
    uint64_t offset;   /* the value is the key's state after this offset             */
    bool is_there;     /* false: there was no such key                                */
    int64_t expire_ms; /* absolute by the source's clock; -1: none                   */
    uint8_t *payload;  /* as DUMP gave it                                             */
    size_t size;
};

/* values[i] for names[i], count at most REFETCH_AT_ONCE. False: none of the values is filled. */
MUST_CHECK bool refetch_read(struct refetch *refetch,
                             uint64_t db,
                             const struct slice *names,
                             uint32_t count,
                             struct refetch_value *values,
                             struct syn_err *err);
void refetch_value_free(struct refetch_value *value);
void refetch_close(struct refetch *refetch);

#endif
