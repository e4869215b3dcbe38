/*
 * Canonical digests of values: equal for equal content, whatever the encoding or version.
 *
 * 128 bits of XXH3 over the elements as text. Lists and the entries of streams count in order;
 * sets, hashes, sorted sets, groups and consumers do not. A score of -0 counts as 0: the two
 * compare equal everywhere in the servers, and encodings differ in whether they keep the sign. A
 * field's expiry time counts, the key's does not (it is not part of the value).
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

struct rdb_digest;

/* NULL: out of memory. */
struct rdb_digest *rdb_digest_new(unsigned flags, struct syn_err *err);
void rdb_digest_free(struct rdb_digest *digest);
/* Before each value. */
void rdb_digest_begin(struct rdb_digest *digest);
/* Give this visitor to a decoder, with the digest as its arg. */
const struct rdb_visitor *rdb_digest_visitor(void);
/* The visitor's stream_entry for an entry that no decoder gives: `pairs` times a field and its
 * value. */
void rdb_digest_stream_entry(struct rdb_digest *digest,
                             struct rdb_stream_id id,
                             const struct rdb_element *elements,
                             uint64_t pairs);
/* After the value is complete. */
struct rdb_digest_value rdb_digest_end(struct rdb_digest *digest);

/* Of a whole DUMP payload. */
MUST_CHECK bool rdb_payload_digest(struct rdb_decoder *decoder,
                                   struct rdb_digest *digest,
                                   struct slice payload,
                                   struct rdb_digest_value *out,
                                   struct syn_err *err);

#endif
