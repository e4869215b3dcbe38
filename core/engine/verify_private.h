/*
 * Verification, in parts:
 *
 * verify_side.c     one side: its connections, the owner of a key, databases
 * verify_content.c  a value by its elements, whatever its encoding
 * verify_compare.c  a batch of keys: payload first, elements where payloads differ;
 *                   or, in the fast mode, by type, length and expiry
 * verify_suspects.c keys that looked different, to be read again
 * verify_rules.c    which keys and types are looked at, and their names on each side
 * verify.c          the two scans, the rounds and the report
 *
 * Threads: the caller's, blocking. Memory: one batch of replies from each side (bounded by
 * VERIFY_BATCH_BYTES as far as the servers tell sizes), and the suspects (SUSPECTS_MAX).
 */
#ifndef ENGINE_VERIFY_PRIVATE_H
#define ENGINE_VERIFY_PRIVATE_H

#include "apply/topology.h"
#include "core/engine/config.h"

#define VERIFY_SCAN_COUNT "1000" /* a hint: SCAN returns about so many */
#define VERIFY_BATCH_KEYS 1000u  /* keys of one round trip */
#define VERIFY_BATCH_BYTES (32u << 20)
/* Payloads in flight from one side at a time are the above; larger values than this are never
 * dumped, but read in pieces. */
#define VERIFY_DUMP_BYTES_MAX (64ull << 20)

/* ---- sides ---- */

struct verify_link {
    struct control control;
    uint32_t db; /* selected */
};

struct verify_side {
    struct topology topology;
    struct verify_link *links; /* one per shard */
    bool has_expiretime;       /* PEXPIRETIME: 7.0 */
    bool has_field_ttl;        /* HPEXPIRETIME: Redis 7.4, Valkey 9.0 */
    bool has_memory_usage;     /* MEMORY USAGE: 4.0, and the account may */
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

/* ---- content ---- */

enum value_type {
    VALUE_NONE,
    VALUE_STRING,
    VALUE_LIST,
    VALUE_SET,
    VALUE_HASH,
    VALUE_ZSET,
    VALUE_STREAM,
    VALUE_OTHER, /* of a module: only its payload can be compared */
    VALUE_TYPE_COUNT,
};
const char *value_type_name(enum value_type type);
enum value_type value_type_of_rdb(uint8_t rdb_type);
enum value_type value_type_of_name(const char *name);

/* A digest of a value's elements: a sum of 128-bit hashes, so that sets, hashes and sorted sets
 * need no order; elements of lists and pieces of strings are hashed with their place. */
struct content {
    uint64_t low;
    uint64_t high;
    uint64_t count;   /* elements; bytes of a string */
    bool is_unstable; /* changed while it was read: nothing can be said */
};
bool content_equal(const struct content *a, const struct content *b);
void content_add(struct content *content, const void *bytes, size_t size, uint64_t seed);

/* The whole value in one command's reply: its name and more words; false for streams, modules. */
bool content_whole_command(enum value_type type, const char **name, const char *const **extras);
/* Digest of that command's reply; an error or another type of reply makes it unstable. */
void content_of_reply(enum value_type type, const redisReply *reply, struct content *content);
/* Reads the value in pieces. `with_field_ttl` and `with_stream_counters` when both sides have
 * them. An error reply makes it unstable; false only for a lost connection. */
struct content_options {
    bool with_field_ttl;
    bool with_stream_counters; /* entries-added, max-deleted-entry-id, entries-read: 7.0 */
    uint64_t value_bytes;      /* as MEMORY USAGE told, 0 unknown: chooses the size of pieces */
};
MUST_CHECK bool content_read(struct verify_link *link,
                             enum value_type type,
                             const char *key,
                             size_t key_size,
                             const struct content_options *options,
                             struct content *content,
                             struct syn_err *err);
/* verify_stream.c: content_read for streams. */
MUST_CHECK bool content_read_stream(struct verify_link *link,
                                    const char *key,
                                    size_t key_size,
                                    const struct content_options *options,
                                    struct content *content,
                                    struct syn_err *err);

/* ---- comparing ---- */

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
    enum value_type source_type;
    enum value_type destination_type;
    uint64_t value_bytes;
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
    /* Of one batch, each VERIFY_BATCH_KEYS long. */
    struct verify_key *keys;
    struct select_name *names; /* with rules: of each key on the side where it was not found */
    struct verdict *verdicts;
    uint32_t *pieces;
    uint32_t *wholes;
    uint32_t *chosen;
};

/* Compares `count` (at most VERIFY_BATCH_KEYS) keys by the configured mode; both sides have
 * selected their databases and nothing is in flight. */
MUST_CHECK bool verify_compare(struct verify *verify,
                               const struct verify_key *keys,
                               uint32_t count,
                               struct verdict *verdicts,
                               struct syn_err *err);
/* One side has the key and the other has not: expired, missing or extra. `now` is after the
 * readings. */
void verdict_one_sided(const struct verify *verify, struct verdict *verdict, int64_t now);
/* Sets has_ttl_difference and, then, a detail. */
void verdict_compare_ttl(const struct verify *verify, struct verdict *verdict);
/* The expiry command's reply as absolute unix ms. */
int64_t verify_expiry(const struct verify *verify, int64_t reply, int64_t sent_ms);
const char *verify_expiry_command(const struct verify *verify);

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

/* ---- all ---- */

/* syn_verify with a finished configuration. */
MUST_CHECK bool verify_run(const struct config *config,
                           syn_difference_callback *on_difference,
                           syn_verify_progress *on_progress,
                           void *arg,
                           struct syn_verify_result *result,
                           struct syn_err *err);

#endif
