/*
 * Rewriting: a value as ordinary commands, in pieces of bounded size, for destinations that cannot
 * RESTORE it (an older version, a proxy) and for values too large to hold.
 *
 * A rewriter is a visitor of the decoder. What it is shown goes out as soon as it fills a piece, so
 * neither side ever holds more than one. The same value gives the same commands however its bytes
 * were cut. They make the key anew: the first is a DEL (or a SET, which does the same), the last a
 * PEXPIREAT if the key expires.
 *
 *   string   SET, then SETRANGE (not APPEND: SETRANGE may be repeated)
 *   list     RPUSH            set   SADD            sorted set   ZADD
 *   hash     HSET (HMSET before 4.0), HPEXPIREAT for fields that expire
 *   stream   XADD per entry, XSETID, per group XGROUP CREATE, per consumer XGROUP CREATECONSUMER
 *            (XREADGROUP of its own, empty history before 6.2), XCLAIM for what it has pending
 *
 * Exact: every byte and number, the order of lists, entry ids, ids and counters of streams and
 * groups, owner, time and count of every pending entry. Scores are the fewest
 * digits, of 15 to 17, that read back as the same bits. Not exact, since no command sets it:
 *   - when consumers were last seen and active (they are as of now);
 *   - pending entries whose entry is no longer in the stream: XCLAIM … FORCE passes over them, in
 *     Redis 6.0 as in 8.0 and Valkey 9 (REWRITE_PENDING_DELETED, rewrite_command.claim_count);
 *   - delivery times later than the destination's clock: it takes them for now;
 *   - a group's entries-read that the source does not know stays unknown; loading the value itself,
 *     a server of 7.0 or later would estimate it (it does so again whenever asked for the lag);
 *   - idle times and access frequencies of keys, which only RESTORE takes;
 *   - before 6.2, consumers without pending entries at the destination's replicas: there, servers
 *     do not pass on what XREADGROUP made.
 *
 * Threads:   a rewriter belongs to one thread; the sink runs inside its visitor and rewriter_end.
 * Ownership: keys and names are copied. What the sink is given is valid until it returns.
 * Limits:    piece_bytes and piece_elements bound a command, whichever is reached first; an element
 *            or stream entry above piece_bytes makes a command of its own, of at most 1 GiB (what
 *            servers buffer of one command). pending_max bounds what is held of a stream's group,
 *            32 bytes each. Buffers above 1 MiB are given back with the next value.
 * Errors:    after RDB_DECODE_STOPPED rewriter_end says why: SYN_CODE_UNSUPPORTED (policy),
 *            SYN_CODE_SOURCE_DATA, SYN_CODE_MEMORY, SYN_CODE_STOPPED (the sink).
 */
#ifndef RDB_REWRITE_H
#define RDB_REWRITE_H

#include "rdb/decode.h"

/* What to do with a value that the destination cannot represent. */
enum rewrite_policy {
    REWRITE_STOP,
    REWRITE_DEGRADE, /* write it without what cannot be; if nothing is left then: as SKIP */
    REWRITE_SKIP,    /* the destination has no such key afterwards                        */
};

struct rewrite_target {
    bool has_multi_hset;      /* HSET of several fields: 4.0           */
    bool has_streams;         /* 5.0                                   */
    bool has_set_expiry;      /* SET … PXAT: 6.2                       */
    bool has_create_consumer; /* XGROUP CREATECONSUMER: 6.2            */
    bool has_stream_counters; /* ENTRIESADDED, MAXDELETEDID and ENTRIESREAD: 7.0 */
    bool has_field_expiry;    /* HPEXPIREAT: Redis 7.4, Valkey 9.0     */
    enum rewrite_policy policy;
    uint32_t piece_bytes;    /* of arguments in one command, at least 1  */
    uint32_t piece_elements; /* of a command; 1 to REWRITE_ELEMENTS_MAX  */
    uint32_t pending_max;    /* pending entries of one group; 0: none    */
};

#define REWRITE_ELEMENTS_MAX 4096
/* Memory that one pending entry takes while its group is written. */
#define REWRITE_PENDING_BYTES 32

/* `version` is major * 10000 + minor * 100 + patch, of Valkey its own. Policy STOP; pieces of 16
 * KiB and 256 elements, so that a proxy or a busy server is never held up by one command; 262,144
 * pending entries (8 MiB). A proxy's limits are the caller's to change afterwards. */
void rewrite_target_fill(struct rewrite_target *target, uint32_t version, bool is_valkey);

enum rewrite_reason {
    REWRITE_NO_STREAMS,       /* the destination has no streams                          */
    REWRITE_NO_MODULES,       /* a module's value has no general commands                */
    REWRITE_NO_FIELD_EXPIRY,  /* degraded: fields are kept, and do not expire            */
    REWRITE_PENDING_OVERFLOW, /* more than pending_max; degraded: those behind it count as delivered
                                 once, when their entry was made                         */
    REWRITE_PENDING_DELETED,  /* known to have no entry; always degraded, whatever the policy */
    REWRITE_REASON_COUNT,
};

/* "the destination has no streams" …; never NULL. */
const char *rewrite_reason_text(enum rewrite_reason reason);

struct rewrite_loss {
    struct slice key;
    enum rewrite_reason reason;
    enum rewrite_policy outcome; /* what was done                                     */
    uint64_t count;              /* DEGRADED: fields or pending entries concerned; else 1 */
};

/* What happens when a command that may have run is sent again, followed by all behind it. */
enum rewrite_repeat {
    REWRITE_REPEAT_SAFE,
    REWRITE_REPEAT_LIST,    /* doubles elements: send it only if LLEN is list_length       */
    REWRITE_REPEAT_REFUSED, /* an error reply says that it had run (XADD, XGROUP CREATE)   */
};

struct rewrite_command {
    struct slice bytes; /* one whole RESP command; its first key is the value's */
    enum rewrite_repeat repeat;
    uint64_t list_length; /* REPEAT_LIST: elements before this command */
    uint32_t claim_count; /* XCLAIM, else 0: ids in it. Its reply is an array of those that are now
                             pending; as many as it is shorter are lost as PENDING_DELETED */
};

struct rewrite_sink {
    void *arg;
    /* RDB_STOP: no more. RDB_PAUSE: the decoder returns as soon as the element (of a string: what
     * is in the window) has been taken; commands may still come until then. */
    enum rdb_flow (*command)(void *arg, const struct rewrite_command *command);
    /* At most once per value and reason: when stopping or skipping, or at rewriter_end. */
    void (*loss)(void *arg, const struct rewrite_loss *loss);
};

struct rewriter;

/* Both are copied. NULL: out of memory. */
struct rewriter *rewriter_new(const struct rewrite_target *target,
                              const struct rewrite_sink *sink,
                              struct syn_err *err);
void rewriter_free(struct rewriter *rewriter);

/* Before rdb_decoder_begin, for each value, whatever became of the one before. `key` is copied;
 * expire_ms: absolute unix ms, -1: none. False: out of memory. */
MUST_CHECK bool
rewriter_begin(struct rewriter *rewriter, struct slice key, int64_t expire_ms, struct syn_err *err);
/* For the decoder, with the rewriter as its arg. */
const struct rdb_visitor *rewriter_visitor(void);
/* When the decoder is done with the value, or stopped: writes what is left, then the expiry. False:
 * the key is not whole at the destination. A value that was skipped is no error. */
MUST_CHECK bool rewriter_end(struct rewriter *rewriter, struct syn_err *err);

#endif
