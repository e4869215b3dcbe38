/* Between recovery.c (judging) and recovery_repair.c (reading keys anew). */
#ifndef APPLY_RECOVERY_PRIVATE_H
#define APPLY_RECOVERY_PRIVATE_H

#include "apply/recovery.h"
#include "apply/refetch.h"
#include "apply/stream_private.h"

/* By its name at the destination. */
struct dirty_key {
    uint64_t hash;
    uint64_t db;    /* of the source                                            */
    uint64_t floor; /* its value is of this offset; 0: it is not yet read       */
    size_t size;
    uint8_t name[];
};

struct recovery {
    uint64_t until;     /* up to here operations may have been sent before          */
    uint64_t floor_max; /* of the keys that are read                                */
    struct dirty_key **table;
    size_t capacity; /* a power of two, or 0 */
    uint32_t count;
    uint32_t unread;       /* of these, the ones without a floor */
    uint32_t retire_count; /* with so many keys, those that are over are looked for */
    struct recovery_lane *transaction_lane; /* that the open transaction counts on; NULL: none */
    struct refetch refetch;
    struct select_name *names;    /* at the source, of keys that are being read; NULL: no rules */
    struct recovery_lane lanes[]; /* by lane */
};

struct dirty_key *
recovery_find(const struct recovery *recovery, uint64_t db, const void *name, size_t size);
/* SADD or SREM of the key in its lane's dirty set. False: stopped. */
MUST_CHECK bool
recovery_name(struct stream *stream, const struct dirty_key *key, const char *command);
/* Takes the keys for which `is_over` says so out of the table, and their names out of the dirty
 * sets. */
MUST_CHECK bool recovery_sift(struct stream *stream,
                              bool (*is_over)(const struct stream *stream,
                                              const struct dirty_key *key,
                                              uint64_t arg),
                              uint64_t arg,
                              struct syn_err *err);
void recovery_clear_keys(struct recovery *recovery);

#endif
