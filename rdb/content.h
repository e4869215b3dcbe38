/*
 * Contents: what a DUMP payload holds, in a form that can be compared with what another holds,
 * whatever encodings and versions the two are of. For whoever must know whether a value arrived as
 * it was (verification, refetch) and must not keep it.
 *
 * Compared is what both sides can have:
 *   - a stream's entries-added, max-deleted-id and its groups' entries-read, and consumers that
 * have nothing pending, only between streams of version 2 or later (Redis 7.0): before, servers do
 *     not keep the former and do not pass the latter on to replicas; entries-read also not where
 *     one side does not know it. The first id follows from the entries, and is not looked at;
 *   - expiry times of fields only with RDB_DETAIL_EXPIRIES: both servers know them;
 *   - when consumers were seen and active and when pending entries were delivered only with
 *     RDB_DETAIL_TIMES: no two servers agree on them unless the value was copied at once.
 * Scores are compared as numbers (-0 is 0, and digits do not matter). Of a module's value its items
 * are compared, in order: only the module knows more. Vector sets are known: their elements with
 * attributes and vectors, not the graph.
 *
 * Threads:   a reader belongs to one thread.
 * Ownership: payloads are the caller's, and only looked at; nothing in a content is to be freed.
 * Limits:    those of the decoder: item_bytes_max (bytes) bounds one element or blob; memory at
 *            most twice that and 80 KiB. Payloads have no limit.
 * Errors:    the verdict says what to do; err what was wrong, with the key's hash.
 */
#ifndef RDB_CONTENT_H
#define RDB_CONTENT_H

#include "rdb/digest.h"

enum rdb_verdict {
    RDB_VERDICT_READ,
    RDB_VERDICT_UNKNOWN,   /* a type that no decoder here knows: perhaps of a later server      */
    RDB_VERDICT_TOO_LARGE, /* an element larger than item_bytes_max: read it by commands        */
    RDB_VERDICT_DAMAGED,   /* size, checksum or the value itself is wrong                       */
    RDB_VERDICT_FAILED,    /* out of memory                                                     */
};

struct rdb_content_reader;

/* NULL: out of memory. */
struct rdb_content_reader *rdb_content_reader_new(size_t item_bytes_max, struct syn_err *err);
void rdb_content_reader_free(struct rdb_content_reader *reader);

/* From the next value on, fields whose time had come at now_ms do not count; -1: all do. */
void rdb_content_forget(struct rdb_content_reader *reader, int64_t now_ms);

/* Of a whole payload. `out` is only filled with RDB_VERDICT_READ, but its type, is_valkey and
 * version always, as far as the payload has them; `err` with all other verdicts. `key_hash` is
 * key_hash() of the key. */
enum rdb_verdict rdb_content_read(struct rdb_content_reader *reader,
                                  struct slice payload,
                                  uint64_t key_hash,
                                  struct rdb_content *out,
                                  struct syn_err *err);

/* Of a payload that arrives in pieces: as rdb_payload_begin, _piece and _end. */
void rdb_content_begin(struct rdb_content_reader *reader,
                       uint64_t size,
                       bool is_valkey,
                       uint64_t key_hash);
void rdb_content_piece(struct rdb_content_reader *reader, struct slice piece);
enum rdb_verdict
rdb_content_end(struct rdb_content_reader *reader, struct rdb_content *out, struct syn_err *err);

/* Of a value that comes from elsewhere (by commands, say): begins it, and is what its visitor takes
 * (rdb_digest_visitor, with this as arg). rdb_digest_content gives what it came to. */
struct rdb_digest *rdb_content_digest(struct rdb_content_reader *reader);

enum rdb_detail {
    RDB_DETAIL_EXPIRIES = 1,
    RDB_DETAIL_TIMES = 2,
};

/* The parts that differ, a bit (1 << enum rdb_part) for each; 0: equal. Both are of one kind. Of a
 * list, RDB_PART_ORDER alone means the same elements in another order. */
unsigned
rdb_content_compare(const struct rdb_content *a, const struct rdb_content *b, unsigned detail);

/* What such parts are called: "scores", "values of fields, expiry times of fields" …; cut to fit,
 * always terminated. */
void rdb_content_describe(enum rdb_kind kind, unsigned parts, char *out, size_t out_size);

/* One number for all that is compared with these details between contents that know everything:
 * equal numbers of two readings mean that the value was the same. */
struct rdb_digest_value rdb_content_number(const struct rdb_content *content, unsigned detail);

/* Whether two payloads are equal but for the version and checksum in their footers, and mean the
 * same. No look inside: they may be damaged, but not shorter than any payload. */
bool rdb_payload_is_same(struct slice a, struct slice b);

#endif
