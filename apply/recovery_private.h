/* Between recovery.c (judging), recovery_repair.c (reading keys anew) and recovery_large.c (those
 * that are large). */
#ifndef APPLY_RECOVERY_PRIVATE_H
#define APPLY_RECOVERY_PRIVATE_H

#include "apply/recovery.h"
#include "apply/refetch_large.h"
#include "apply/stream_private.h"

/* Of two batches. */
#define RECOVERY_NAMES (2 * REFETCH_AT_ONCE)

/* By its name at the destination. */
struct dirty_key {
    uint64_t hash;
    uint64_t db;    /* of the source                                            */
    uint64_t floor; /* its value is of this offset; 0: it is not yet read       */
    uint64_t from; /* …unless the stream has an operation on it behind this one; 0: it is exact */
    uint32_t attempts; /* at copying it as a large one */
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
    uint32_t ranged;       /* at most so many have `from`        */
    bool is_ending;        /* no more of the stream comes        */
    uint32_t retire_count; /* with so many keys, those that are over are looked for */
    struct recovery_lane *transaction_lane; /* that the open transaction counts on; NULL: none */
    struct refetch refetch;
    struct select_name
        *names; /* RECOVERY_NAMES, at the source, of keys that are being read; NULL: no rules */
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
/* The value that was read of it is of no use: it is to be read again. */
static inline void recovery_unread(struct recovery *recovery, struct dirty_key *key)
{
    recovery->unread += key->floor != 0;
    key->floor = 0;
    key->from = 0;
}
/* Its value is written, as it was in (from, to], or from == to: exactly then. */
void recovery_was_read(struct recovery *recovery,
                       struct dirty_key *key,
                       uint64_t from,
                       uint64_t to);

/* ---- recovery_repair.c ---- */

/* Where the key is written to, into stream->value. False: its database is not copied. */
bool repair_place(struct stream *stream, const struct dirty_key *key);
/* DEL. */
MUST_CHECK bool
repair_nothing(struct stream *stream, const struct dirty_key *key, struct syn_err *err);

/* ---- recovery_large.c ---- */

/* Copies one that is about so large, and is called `name` at the source. It may be unread
 * afterwards, since it changed. */
MUST_CHECK bool recovery_copy_large(struct stream *stream,
                                    struct dirty_key *key,
                                    const struct slice *name,
                                    uint64_t bytes,
                                    struct syn_err *err);

#endif
