/*
 * Verification, in parts:
 *
 * verify_side.c     one side: its connections, the owner of a key, databases
 * verify_compare.c  a batch of keys: sizes, then payloads; by commands what cannot be dumped
 * verify_payload.c  one key's payloads: equal bytes, or equal content
 * verify_times.c    expiry times of fields, with the tolerance
 * verify_elements.c a batch of keys by commands (apply/value_read.h)
 * verify_fast.c     the fast mode: type, length and expiry
 * verify_verdict.c  what was found, in words
 * verify_suspects.c keys that looked different, to be read again
 * verify_rules.c    which keys and types are looked at, and their names on each side
 * verify.c          the two scans, the rounds and the report
 *
 * Threads: the caller's, blocking. Memory: payloads up to VERIFY_KEPT_BYTES are held, one of each
 * side at a time; larger ones pass through a decoder, which holds their largest element
 * (VERIFY_ELEMENT_BYTES_MAX). Beside these one reply to SCAN, pieces of values that are read by
 * commands (about VALUE_PIECE_BYTES, or one element), and the suspects (SUSPECTS_MAX). What
 * is asked for and not yet read waits in the servers: two runs of VERIFY_RUN_BYTES each.
 */
#ifndef ENGINE_VERIFY_PRIVATE_H
#define ENGINE_VERIFY_PRIVATE_H

#include "apply/topology.h"
#include "apply/value_read.h"
#include "core/engine/config.h"
#include "rdb/content.h"

#define VERIFY_SCAN_COUNT "1000" /* a hint: SCAN returns about so many */
#define VERIFY_BATCH_KEYS 1000u
/* Keys whose payloads are asked for at once. Two runs are on their way, so that the servers work on
 * one while the other is looked at. */
#define VERIFY_RUN_KEYS 250u
#define VERIFY_RUN_BYTES (16u << 20)
/* Larger values are not dumped but read in pieces, so that no server is held up, or needs as much
 * memory again. As far as the servers tell sizes: what comes nevertheless is not held here. */
#define VERIFY_DUMP_BYTES_MAX (64ull << 20)
#define VERIFY_KEPT_BYTES (256u << 10)
#define VERIFY_ELEMENT_BYTES_MAX (64u << 20)

/* ---- sides ---- */

struct verify_link {
    struct control control;
    uint32_t db;        /* selected */
    bool is_valkey_rdb; /* what its DUMP means by type 22: Valkey 9 */
};

struct verify_side {
    struct topology topology;
    struct verify_link *links; /* one per shard */
    bool has_expiretime;       /* PEXPIRETIME: 7.0 */
    bool has_field_ttl;        /* HPEXPIRETIME: Redis 7.4, Valkey 9.0 */
    bool has_memory_usage;     /* MEMORY USAGE: 4.0, and the account may */
    bool has_dump;             /* DUMP: the account may, and no proxy is in between */
    uint64_t used_bytes_max;   /* used_memory of its largest server */
};

MUST_CHECK bool verify_side_open(struct verify_side *side,
                                 enum side which,
                                 const struct config *config,
                                 struct syn_err *err);
void verify_side_close(struct verify_side *side); /* also of a zeroed one */
struct verify_link *verify_owner(struct verify_side *side, const char *key, size_t key_size);
/* Every link selects this database; nothing may be in flight. */
MUST_CHECK bool verify_side_select(struct verify_side *side, uint32_t db, struct syn_err *err);
MUST_CHECK bool verify_side_flush(struct verify_side *side, struct syn_err *err);
/* Appends "name key extra…"; extras are words of text, NULL-terminated list or NULL. */
MUST_CHECK bool verify_append(struct verify_link *link,
                              const char *name,
                              const char *key,
                              size_t key_size,
                              const char *const *extras,
                              struct syn_err *err);
/* A reply that is not an error; NULL with err otherwise. */
redisReply *verify_fetch(struct verify_link *link, const char *what, struct syn_err *err);
/* An integer reply. */
MUST_CHECK bool verify_fetch_integer(struct verify_link *link,
                                     const char *what,
                                     int64_t *value,
                                     struct syn_err *err);

/* ---- verdicts ---- */

struct verify_key {
    const char *bytes; /* its name at the source */
    size_t size;
    const char *there; /* its name at the destination */
    size_t there_size;
};

enum verdict_kind {
    VERDICT_GONE,    /* on neither side                                    */
    VERDICT_EXPIRED, /* on one side only, and its time has come            */
    VERDICT_PAYLOAD, /* equal bytes                                        */
    VERDICT_CONTENT, /* other bytes, equal content                         */
    VERDICT_FAST,    /* equal type, length and expiry                      */
    VERDICT_DIFFERENT,
};

/* What is still to be done for a verdict. */
enum verdict_work {
    WORK_NONE,
    WORK_ELEMENTS, /* the value is to be read by commands                        */
    WORK_TIMES,    /* all is equal but the expiry times of fields, which may be near enough */
};

struct verdict {
    enum verdict_kind kind;
    enum syn_difference_kind difference;
    bool is_on_both;
    bool is_unstable; /* the source changed while it was read */
    /* Of the source's value and expiry, to tell whether it was the same in two readings. */
    uint64_t source_low;
    uint64_t source_high;
    /* Absolute unix ms; -1 none, -2 no such key. */
    int64_t source_at;
    int64_t destination_at;
    /* While in work. */
    enum verdict_work work;
    enum value_type source_type;
    enum value_type destination_type;
    uint64_t value_bytes;
    uint64_t expiring; /* WORK_TIMES: fields that expire at the source */
    bool has_ttl_difference;
    char detail[160];
};

struct verify {
    const struct config *config;
    struct verify_side source;
    struct verify_side destination;
    struct suspects *suspects;
    struct syn_verify_result result;
    syn_difference_callback *on_difference;
    syn_verify_progress *on_progress;
    void *arg;
    uint64_t started_ms;
    uint64_t progress_ms;  /* when progress was told last */
    bool is_last;          /* the rounds are over: last looks at what keeps changing */
    bool is_bound_reached; /* too many suspects: the rest is reported without another look */
    /* When pending entries were delivered is compared, too: a file's value was copied at once. */
    bool has_delivery_times;
    /* Of one batch, each VERIFY_BATCH_KEYS long. */
    struct verify_key *keys;
    struct select_name *names; /* with rules: of each key on the side where it was not found */
    struct verdict *verdicts;
    uint32_t *indices;
    uint32_t *chosen;
    struct payloads *payloads;
};

/* One side has the key and the other has not: expired, missing or extra. `now` is after the
 * readings. */
void verdict_one_sided(const struct verify *verify, struct verdict *verdict, int64_t now);
/* Sets has_ttl_difference and, then, a detail. */
void verdict_compare_ttl(const struct verify *verify, struct verdict *verdict);
/* What equal values come to, their expiry considered. */
void verdict_equal(const struct verify *verify, struct verdict *verdict, enum verdict_kind kind);
/* Whether presence and types alone decide the verdict. */
bool verdict_by_type(const struct verify *verify, struct verdict *verdict, int64_t now);
/* A difference of this kind; the detail is the caller's to fill. */
void verdict_different(struct verdict *verdict, enum syn_difference_kind difference);
/* Both have values of one type and these are their contents. WORK_TIMES may remain. */
void verdict_by_content(const struct verify *verify,
                        struct verdict *verdict,
                        const struct rdb_content *source,
                        const struct rdb_content *destination);
/* What is compared of contents: enum rdb_detail. */
unsigned verify_detail(const struct verify *verify);
/* The expiry command's reply as absolute unix ms. */
int64_t verify_expiry(const struct verify *verify, int64_t reply, int64_t sent_ms);
const char *verify_expiry_command(const struct verify *verify);

/* ---- comparing ---- */

/* Compares `count` (at most VERIFY_BATCH_KEYS) keys by the configured mode; both sides have
 * selected their databases and nothing is in flight. */
MUST_CHECK bool verify_compare(struct verify *verify,
                               const struct verify_key *keys,
                               uint32_t count,
                               struct verdict *verdicts,
                               struct syn_err *err);

/* A batch in work: what the parts of a comparison pass to each other. */
struct work {
    struct verify *verify;
    const struct verify_key *keys;
    struct verdict *verdicts;
    uint32_t *indices; /* of keys that a part has chosen */
    uint32_t index_count;
    struct syn_err *err;
};

struct verify_link *work_source(const struct work *work, uint32_t index);
struct verify_link *work_destination(const struct work *work, uint32_t index);
/* The key's name on the side that the link is of. */
struct slice work_name(const struct work *work, uint32_t index, const struct verify_link *link);
MUST_CHECK bool work_flush(struct work *work);
/* Appends "name key extra…" to the link. */
MUST_CHECK bool work_ask(struct work *work,
                         uint32_t index,
                         struct verify_link *link,
                         const char *name,
                         const char *const *extras);
/* The same to both owners of the key. */
MUST_CHECK bool
work_ask_both(struct work *work, uint32_t index, const char *name, const char *const *extras);
/* Types and expiry of the chosen keys on both sides, in one round trip. */
MUST_CHECK bool work_types(struct work *work);
/* An integer, whatever else is an error of the command: -1. False: the connection is lost. */
MUST_CHECK bool work_length(struct work *work, struct verify_link *link, int64_t *length);

/* verify_fast.c: all `count` keys. */
MUST_CHECK bool work_fast(struct work *work, uint32_t count);
/* verify_elements.c: the chosen keys, by commands. */
MUST_CHECK bool work_elements(struct work *work);

/* ---- payloads ---- */

struct payloads; /* buffers, decoders: one pair of payloads at a time */

struct payloads *payloads_new(struct syn_err *err);
void payloads_free(struct payloads *payloads);
/* Appends the requests for one key's payloads and expiry to both links. */
MUST_CHECK bool payloads_ask(struct work *work, uint32_t index);
/* Takes the answers and compares. WORK_ELEMENTS, WORK_TIMES may remain. */
MUST_CHECK bool payloads_take(struct work *work, uint32_t index, int64_t sent_ms);
/* WORK_TIMES of such a key: reads both once more. Nothing is in flight. */
MUST_CHECK bool payloads_times(struct work *work, uint32_t index);
/* Whether an answer to DUMP means that the side refuses it to this account, or does not have it:
 * its has_dump is false then. */
bool verify_dump_refused(struct verify_side *side, const redisReply *reply);
/* For a value that comes by commands instead: begins its digest, the arg for rdb_digest_visitor.
 * Fields that expire until `forget_ms` do not count. */
struct rdb_digest *payloads_digest(struct payloads *payloads, int64_t forget_ms);

/* ---- expiry times of fields ---- */

/* Shows a hash to the visitor, each time when called. *is_whole: false when it could not be read
 * this time. False: the connection is lost, or memory is out. */
struct times_feed {
    bool (*show)(void *arg,
                 const struct rdb_visitor *visitor,
                 void *visitor_arg,
                 bool *is_whole,
                 struct syn_err *err);
    void *arg;
};
/* Whether the fields that expire are the same on both sides, each at the same time within the
 * tolerance. `count` is how many the source has; what expires until `forget_ms` does not count.
 * Memory is at most 16 MiB: half a million fields; more of them are shown several times. */
MUST_CHECK bool times_compare(const struct times_feed *source,
                              const struct times_feed *destination,
                              uint64_t count,
                              int64_t forget_ms,
                              int64_t tolerance_ms,
                              bool *is_equal,
                              struct syn_err *err);

/* ---- rules ---- */

/* verify->keys[index] becomes the key of this name on this side, with its name on the other one.
 * *is_taken false: no rule takes it. `bytes` must stay valid. */
MUST_CHECK bool verify_key_take(struct verify *verify,
                                enum side side,
                                const char *bytes,
                                size_t size,
                                uint32_t index,
                                bool *is_taken,
                                struct syn_err *err);
/* The type, VALUE_NONE when rules do not select it: then there is nothing to compare. */
enum value_type verify_type_taken(const struct verify *verify, enum value_type type);

/* ---- suspects ---- */

#define SUSPECTS_MAX 100000u
#define SUSPECTS_BYTES_MAX (64u << 20)

struct suspect {
    uint8_t *key; /* owned */
    uint32_t key_size;
    uint32_t db;            /* of the source */
    bool is_settled;        /* read again and not different */
    bool is_changing;       /* its source value was not the same in the last two readings */
    struct verdict verdict; /* the last one */
};

struct suspects {
    struct suspect *items;
    uint32_t count;
    uint32_t capacity;
    uint64_t bytes;
    uint32_t *table; /* index + 1 by hash of database and name; 0 empty */
};

struct suspects *suspects_new(struct syn_err *err);
void suspects_free(struct suspects *suspects);
enum suspect_added { SUSPECT_ADDED, SUSPECT_KNOWN, SUSPECT_NO_ROOM };
enum suspect_added suspects_add(struct suspects *suspects,
                                uint32_t db,
                                const char *key,
                                size_t key_size,
                                const struct verdict *verdict);

/* ---- telling: verify.c ---- */

/* Whom to tell, and when the time of the result begins. */
void verify_begin(struct verify *verify,
                  const struct config *config,
                  syn_difference_callback *on_difference,
                  syn_verify_progress *on_progress,
                  void *arg);
/* Tells the result so far, now and then, and at the end; false: nobody wants the rest. */
MUST_CHECK bool verify_progress(struct verify *verify, bool is_end, struct syn_err *err);
/* The same while it sleeps for so long. */
MUST_CHECK bool verify_wait(struct verify *verify, uint64_t ms, struct syn_err *err);
/* Counts a difference and tells it, the remark behind the verdict's own words. */
void verify_report(struct verify *verify,
                   uint32_t db,
                   const void *key,
                   size_t key_size,
                   const struct verdict *verdict,
                   const char *remark);

/* ---- all ---- */

/* syn_verify with a finished configuration. */
MUST_CHECK bool verify_run(const struct config *config,
                           syn_difference_callback *on_difference,
                           syn_verify_progress *on_progress,
                           void *arg,
                           struct syn_verify_result *result,
                           struct syn_err *err);

#endif
