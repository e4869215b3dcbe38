/*
 * Canonical digests of values: equal for equal content, whatever the encoding or version.
 *
 * 128 bits of XXH3 over the elements as text. Lists and the entries of streams count in order;
 * sets, hashes, sorted sets, groups and consumers do not. A score of -0 counts as 0: the two
 * compare equal everywhere in the servers, and encodings differ in whether they keep the sign. A
 * field's expiry time counts, the key's does not (it is not part of the value).
 *
 * What a value consists of is digested part by part, so that it can be said which part differs, and
 * a part left out that one side does not know (content.h compares so).
 *
 * Not for adversaries: XXH3 is no cryptographic hash.
 *
 * Threads:   a digest belongs to one thread.
 * Ownership: rdb_digest_new allocates everything; nothing else does.
 * Limits:    none of its own; memory does not depend on the value.
 * Errors:    those of the decoder.
 */
#ifndef RDB_DIGEST_H
#define RDB_DIGEST_H

#include "rdb/decode.h"

enum rdb_digest_flags {
    /* When consumers were last seen and active. Two servers rarely agree on it. */
    RDB_DIGEST_TIMES = 1,
    /* A stream's entries-added, max-deleted-id and the groups' entries-read, which streams of
     * version 1 (Redis before 7.0) do not have. */
    RDB_DIGEST_COUNTERS = 2,
};

struct rdb_digest_value {
    uint64_t low;
    uint64_t high;
};

enum rdb_part {
    RDB_PART_ELEMENTS, /* text; elements; members; fields; entries of a stream; items of a module */
    RDB_PART_ORDER,    /* the elements of a list, with their places                       */
    RDB_PART_VALUES,   /* of fields                                                       */
    RDB_PART_EXPIRIES, /* of fields                                                       */
    RDB_PART_SCORES,
    RDB_PART_LAST_ID, /* from here on: of a stream                                       */
    RDB_PART_DELETED_ID,
    RDB_PART_ADDED,
    RDB_PART_GROUPS,         /* their names                                                     */
    RDB_PART_DELIVERED_ID,   /* of groups: the last id                                          */
    RDB_PART_READ,           /* of groups: entries-read                                         */
    RDB_PART_PENDING,        /* their ids                                                       */
    RDB_PART_OWNERS,         /* which consumer has what pending                                 */
    RDB_PART_DELIVERIES,     /* of pending entries: how often                                   */
    RDB_PART_DELIVERY_TIMES, /* of pending entries: when last                                   */
    RDB_PART_CONSUMERS,      /* their names                                                     */
    RDB_PART_TIMES,          /* of consumers: when seen, when active                            */
    RDB_PART_COUNT,
};

/* What there is to know of a value without keeping it. */
struct rdb_content {
    /* Of a payload: how the value was written. */
    uint8_t type; /* enum rdb_type */
    bool is_valkey;
    uint16_t version; /* of RDB */

    enum rdb_kind kind;
    uint64_t count;    /* elements; bytes of a string; items of a module                        */
    uint64_t expiring; /* fields that expire                                                    */
    uint64_t gone;     /* fields left out: see rdb_digest_forget                                */
    bool has_counters; /* of a stream: RDB_PART_DELETED_ID, _ADDED and _READ are known          */
    bool has_unknown_reads; /* a group whose entries-read the server does not know         */
    struct rdb_module module;
    struct rdb_digest_value part[RDB_PART_COUNT];
};

struct rdb_digest;

/* NULL: out of memory. */
struct rdb_digest *rdb_digest_new(unsigned flags, struct syn_err *err);
void rdb_digest_free(struct rdb_digest *digest);
/* From the next value on, fields whose time had come at now_ms do not count: servers keep them for
 * a while, each as it likes. At first none are left out, as with -1. */
void rdb_digest_forget(struct rdb_digest *digest, int64_t now_ms);
/* Before each value. */
void rdb_digest_begin(struct rdb_digest *digest);
/* Give this visitor to a decoder, with the digest as its arg. */
const struct rdb_visitor *rdb_digest_visitor(void);
/* After the value is complete. */
struct rdb_digest_value rdb_digest_end(struct rdb_digest *digest);
/* The same in parts, with whatever flags; `type`, `is_valkey` and `version` are left zero. */
void rdb_digest_content(struct rdb_digest *digest, struct rdb_content *out);

/* Of a whole DUMP payload. */
MUST_CHECK bool rdb_payload_digest(struct rdb_decoder *decoder,
                                   struct rdb_digest *digest,
                                   struct slice payload,
                                   struct rdb_digest_value *out,
                                   struct syn_err *err);

#endif
