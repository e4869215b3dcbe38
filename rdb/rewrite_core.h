/*
 * The rewriter's state, and what its parts share. Private to rdb.
 *
 *   rewrite.c           values of all kinds but streams; policy; the ends of a value
 *   rewrite_stream.c    streams
 *   rewrite_draft.c     one command being put together
 *   rewrite_target.c    what versions can do, and the reasons in words
 *
 * A callback returns by rewriter_flow. What fails (memory, the sink, the policy) is noted in the
 * rewriter once, and from then on nothing is sent: the code in between need not look.
 */
#ifndef RDB_REWRITE_CORE_H
#define RDB_REWRITE_CORE_H

#include "rdb/rewrite.h"

/* Buffers above this are not kept for the next value. */
#define KEPT_BYTES_MAX ((size_t)1 << 20)

/* A command under construction. Its head is written last, in the room before the arguments, since
 * only then it is known how many there are. */
struct draft {
    uint8_t *bytes;
    size_t size; /* with the room for the head */
    size_t capacity;
    uint32_t argc;
    bool is_short_of_memory;
    bool is_too_large;
};

void draft_free(struct draft *draft);
/* Forgets what is in it; gives back a large buffer. */
void draft_recycle(struct draft *draft);
/* Starts with its name. */
void draft_open(struct draft *draft, const char *name);
void draft_add(struct draft *draft, const void *bytes, size_t size);
void draft_add_text(struct draft *draft, const char *text);
void draft_add_number(struct draft *draft, int64_t number);
void draft_add_count(struct draft *draft, uint64_t number);
void draft_add_id(struct draft *draft, const struct rdb_stream_id *id);
void draft_add_score(struct draft *draft, double score); /* not NaN */
/* An argument of `size` bytes, whose bytes follow in any pieces. */
void draft_bulk_open(struct draft *draft, size_t size);
void draft_bulk_put(struct draft *draft, const void *bytes, size_t size);
void draft_bulk_close(struct draft *draft);
/* Writes the head: the whole command, valid until it is opened again. */
struct slice draft_close(struct draft *draft);

/* A copy of a key or name, in a buffer that grows to the largest. */
struct name {
    uint8_t *bytes;
    size_t size;
    size_t capacity;
};

/* A field of the piece that expires: where its text is in the command. */
struct expiring_field {
    int64_t expire_ms;
    size_t pos;
    size_t size;
};

/* Streams: what is pending in the group under way, by id. */
struct pending {
    struct rdb_stream_id id;
    int64_t delivery_ms;
    uint64_t delivery_count;
};
_Static_assert(sizeof(struct pending) <= REWRITE_PENDING_BYTES, "callers bound memory by it");

struct stream_copy {
    struct rdb_stream_id first_id; /* of the live entries, with entry_count */
    struct rdb_stream_id top_id;
    uint64_t entry_count;
    struct name group;
    struct name consumer;
    struct pending *pending; /* owned, grows up to pending_max */
    size_t pending_count;
    size_t pending_capacity;
    uint64_t claimed_count; /* of the table, by the group's consumers so far */
    bool has_overflow;      /* the table does not hold the whole group       */
    bool has_group;
    struct pending claim; /* what the open XCLAIM's ids have in common (id unused) */
    uint32_t claim_count; /* ids in it; 0: none is open                            */
    size_t claim_bytes;
};

struct rewriter {
    struct rewrite_target target;
    struct rewrite_sink sink;
    struct name key;
    int64_t expire_ms;
    enum rdb_kind kind;
    bool is_stopped;  /* err says why                                  */
    bool is_skipped;  /* nothing more of this value is written         */
    bool is_pausing;  /* the sink wants the decoder to return          */
    bool is_written;  /* the key exists at the destination             */
    bool is_expiring; /* its expiry is set already                    */
    struct syn_err err;
    uint64_t lost[REWRITE_REASON_COUNT];

    struct draft piece; /* open while piece_elements is not 0, or string_left is not */
    uint32_t piece_elements;
    size_t piece_bytes;              /* of the elements' arguments              */
    struct draft single;             /* commands that are sent at once          */
    uint64_t list_length;            /* elements sent                           */
    size_t string_left;              /* bytes to come of the open string piece  */
    struct expiring_field *expiring; /* owned, piece_elements of the target */
    uint32_t expiring_count;
    struct stream_copy stream;
};

/* ---- shared by the parts ---- */

/* What a callback answers. */
enum rdb_flow rewriter_flow(struct rewriter *rewriter);
/* Closes the command and hands it to the sink; `claim_count` is 0 but for XCLAIM. */
void rewriter_send(struct rewriter *rewriter,
                   struct draft *draft,
                   enum rewrite_repeat repeat,
                   uint32_t claim_count);
/* The first failure counts. */
void rewriter_fail(struct rewriter *rewriter, enum syn_code code, const char *reason);
/* Something cannot be represented. True: go on without it. Else the value is skipped or the
 * rewriter stopped. */
bool rewriter_lose(struct rewriter *rewriter, enum rewrite_reason reason);
/* NAME key, in `single`. */
void rewriter_open(struct rewriter *rewriter, const char *name);

MUST_CHECK bool rewrite_name_copy(struct name *name, const uint8_t *bytes, size_t size);
void rewrite_name_free(struct name *name);

/* ---- streams (rewrite_stream.c) ---- */

void stream_copy_begin(struct stream_copy *stream);
void stream_copy_free(struct stream_copy *stream);
/* What is left of the last group. */
void stream_copy_end(struct rewriter *rewriter);

enum rdb_flow stream_copy_entry(void *arg, const struct rdb_stream_entry *entry);
enum rdb_flow stream_copy_meta(void *arg, const struct rdb_stream_meta *meta);
enum rdb_flow stream_copy_group(void *arg, const struct rdb_stream_group *group);
enum rdb_flow stream_copy_pending(void *arg, const struct rdb_stream_pending *pending);
enum rdb_flow stream_copy_consumer(void *arg, const struct rdb_stream_consumer *consumer);
enum rdb_flow stream_copy_consumer_pending(void *arg, const struct rdb_stream_id *id);

#endif
