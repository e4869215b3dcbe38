/*
 * Verification of RDB files against a live destination, in parts:
 *
 * verify_file_value.c    a value's digest, of what both sides can have of it
 * verify_file_scan.c     the files: key after key, and single values again
 * verify_file_outcome.c  asking about a key, and what two readings of it come to
 * verify_file_compare.c  a batch of keys with what the destination has
 * verify_file_fast.c     the same by types and lengths
 * verify_file_pieces.c   values too large to be dumped, by ordinary commands
 * verify_file_set.c      which keys the files have
 * verify_file.c          the passes, what is looked at again, and the report
 *
 * A file does not change, so that it is read at its own speed and the destination is asked about
 * what it says, in batches of pipelined DUMPs, which the decoder of the file digests as well. That
 * finds what is missing or other. What the destination has beyond the files is found by scanning it
 * and looking into the set of the files' keys. A set of all of them may not fit: then it has the
 * keys of one part of the hashes at a time, and both are scanned once for each part.
 *
 * Threads:   the caller's, blocking.
 * Limits:    --memory: a third for the set (8 bytes a key), the rest for a batch and its replies,
 * and for the largest element. A value larger than a sixteenth is not dumped.
 */
#ifndef ENGINE_VERIFY_FILE_H
#define ENGINE_VERIFY_FILE_H

#include "core/engine/rdb_api.h"
#include "core/engine/verify_private.h"
#include "rdb/digest.h"

/* What --memory is divided into. */
#define FILE_SET_SHARE 3
#define FILE_NAMES_SHARE 16
#define FILE_PAYLOADS_SHARE 16 /* of a batch, and the largest value that is dumped */
#define FILE_ITEM_SHARE 8

/* ---- values ---- */

/* What of a value is compared: only what both sides can have. */
struct value_view {
    bool has_counters;      /* entries added and read, the last deletion: streams of 7.0 */
    bool has_field_expiry;  /* of hash fields: Redis 7.4, Valkey 9.0                    */
    bool has_pending_times; /* only DUMP tells them to the millisecond                  */
    int64_t cut_ms;         /* fields whose time had come by then are gone              */
};

struct value_sum {
    struct rdb_digest_value digest;
    enum rdb_kind kind;
    uint64_t count;         /* elements; bytes of a string            */
    int64_t next_expiry_ms; /* the first field to go; INT64_MAX: none */
};

struct value_summer {
    struct rdb_digest *digests[2]; /* without and with counters */
    struct rdb_digest *digest;     /* the one in use            */
    struct value_view view;
    struct value_sum sum;
};

MUST_CHECK bool value_summer_init(struct value_summer *summer, struct syn_err *err);
void value_summer_deinit(struct value_summer *summer); /* also of a zeroed one */
void value_summer_begin(struct value_summer *summer, const struct value_view *view);
/* For a decoder, or whoever calls it like one, with the summer as its arg. */
const struct rdb_visitor *value_summer_visitor(void);
void value_summer_entry(struct value_summer *summer,
                        struct rdb_stream_id id,
                        const struct rdb_element *elements,
                        uint64_t pairs);
struct value_sum value_summer_end(struct value_summer *summer);
/* value_type_of_rdb's for a kind. */
enum value_type value_type_of_kind(enum rdb_kind kind);

/* ---- files ---- */

/* A key of a file, without its name. */
struct file_key {
    uint32_t file;
    uint32_t db; /* of the file */
    uint8_t type;
    bool is_valkey;
    int64_t expire_ms; /* -1: never */
    uint64_t offset;   /* of its value in the file   */
    uint64_t size;     /* of its value, once read    */
    uint64_t raw_hash; /* of type and body, once read */
    struct value_sum sum;
};

/* One file being read. The window and the parser are those of the RDB reader. */
struct file_scan {
    const struct config *config;
    uint32_t file;
    int fd;
    struct rdb_reader window;
    struct value_summer *summer;
    uint64_t db;
    bool is_selected;
    uint8_t *name; /* of the present key: the window moves while its value passes */
    size_t name_size;
    size_t name_capacity;
    struct file_key key;
};

MUST_CHECK bool file_scan_open(struct file_scan *scan,
                               const struct config *config,
                               uint32_t file,
                               struct value_summer *summer,
                               struct syn_err *err);
void file_scan_close(struct file_scan *scan); /* also of a zeroed one */
/* The next key of a selected database; its value must be read or passed before the next call.
 * *is_end: there is none, and the checksum is not wrong. */
MUST_CHECK bool file_scan_next(struct file_scan *scan, bool *is_end, struct syn_err *err);
MUST_CHECK bool
file_scan_value(struct file_scan *scan, const struct value_view *view, struct syn_err *err);
MUST_CHECK bool file_scan_pass(struct file_scan *scan, struct syn_err *err);
/* Reads the value of a key again, whichever it was: fills key->sum. */
MUST_CHECK bool file_value_again(const struct config *config,
                                 struct value_summer *summer,
                                 const struct value_view *view,
                                 struct file_key *key,
                                 const struct verify_key *name,
                                 struct syn_err *err);

/* ---- the set of keys ---- */

struct key_set {
    uint64_t *slots; /* hashes; 0: empty */
    uint64_t slot_count;
    uint64_t count;
    uint64_t count_max;
    /* Only hashes whose lowest `part_bits` bits are `part` belong here. */
    unsigned part_bits;
    uint64_t part;
};

MUST_CHECK bool key_set_init(struct key_set *set, uint64_t bytes, struct syn_err *err);
void key_set_deinit(struct key_set *set);
/* Empties it for another part. */
void key_set_begin(struct key_set *set, unsigned part_bits, uint64_t part);
uint64_t key_set_hash(uint32_t db, const void *key, size_t size);
bool key_set_is_part(const struct key_set *set, uint64_t hash);
bool key_set_has(const struct key_set *set, uint64_t hash);
/* Of this part. A full set gives up half of its part: the part with the next bit set is then left
 * for another pass. */
void key_set_add(struct key_set *set, uint64_t hash);
/* The same without making room: false when there is none. */
bool key_set_try(struct key_set *set, uint64_t hash);

/* ---- comparing ---- */

enum file_outcome_kind {
    FILE_EQUAL_PAYLOAD,
    FILE_EQUAL_CONTENT,
    FILE_EXPIRED, /* gone, as its time has come */
    FILE_DIFFERENT,
};

struct file_outcome {
    enum file_outcome_kind kind;
    enum syn_difference_kind difference;
    bool is_on_both;
    /* What the destination had, to tell whether it moves. */
    struct rdb_digest_value seen;
    int64_t seen_at;            /* its expiry: -1 none, -2 no such key */
    uint64_t value_bytes;       /* as MEMORY USAGE told; 0: not known */
    const char *length_command; /* fast mode: asked for; NULL: not needed */
    char detail[160];
};

/* What the destination has of a key. */
struct file_found {
    enum value_type type; /* VALUE_NONE: no such key */
    int64_t at;           /* its expiry */
};

/* What the parts share. */
struct file_verify {
    const struct config *config;
    struct verify_side destination;
    struct value_summer file_summer;
    struct value_summer summer; /* of the destination */
    struct rdb_decoder *decoder;
    struct file_scan scan;
    struct key_set set;
    /* The batch: of one database of the destination. */
    struct file_key *keys;
    struct verify_key *names; /* into `bytes` */
    struct file_outcome *outcomes;
    uint32_t count;
    uint32_t db; /* of the destination */
    uint8_t *bytes;
    size_t bytes_used;
    size_t bytes_capacity;
    struct file_doubt *doubts;
    uint32_t doubt_count;
    uint32_t doubt_capacity;
    uint64_t doubt_bytes;
    struct syn_verify_result result;
    syn_difference_callback *on_difference;
    syn_verify_progress *on_progress;
    void *arg;
    uint64_t started_ms;
    uint64_t progress_ms;
};

/* What of this key's value can be compared with the destination. */
struct value_view file_view(const struct file_verify *verify, const struct file_key *key);
/* Compares the batch with the destination, whose database is selected: fills outcomes. */
MUST_CHECK bool file_compare(struct file_verify *verify, struct syn_err *err);
/* verify_file_fast.c: file_compare of the fast mode. */
MUST_CHECK bool file_compare_fast(struct file_verify *verify, struct syn_err *err);

/* Key i of the batch: its connection, and a command about it alone. */
struct verify_link *file_link(struct file_verify *verify, uint32_t i);
MUST_CHECK bool
file_ask(struct file_verify *verify, uint32_t i, const char *name, struct syn_err *err);
/* Its type and expiry. */
MUST_CHECK bool file_type_ask(struct file_verify *verify, uint32_t i, struct syn_err *err);
MUST_CHECK bool file_type_fetch(struct file_verify *verify,
                                uint32_t i,
                                int64_t sent_ms,
                                struct file_found *found,
                                struct syn_err *err);
const char *file_expiry_command(const struct file_verify *verify);
/* The answer to it, as absolute unix ms; -1 none, -2 no such key. */
MUST_CHECK bool file_expiry_fetch(struct file_verify *verify,
                                  struct verify_link *link,
                                  int64_t sent_ms,
                                  int64_t *at,
                                  struct syn_err *err);

void outcome_differs(struct file_outcome *outcome, enum syn_difference_kind difference);
/* Values are equal: do the keys expire at the same time? */
void outcome_equal(const struct file_verify *verify,
                   const struct file_key *key,
                   struct file_outcome *outcome,
                   enum file_outcome_kind kind,
                   int64_t now);
/* Whether presence and type alone decide. */
bool outcome_by_type(const struct file_verify *verify,
                     const struct file_key *key,
                     const struct file_found *found,
                     struct file_outcome *outcome,
                     int64_t now);
void outcome_by_content(const struct file_verify *verify,
                        const struct file_key *key,
                        const struct value_sum *sum,
                        struct file_outcome *outcome,
                        int64_t now);

/* Digests a value at the destination by ordinary commands, in pieces. *is_stable is false when it
 * changed meanwhile, or is of another type by now. */
MUST_CHECK bool file_pieces(struct file_verify *verify,
                            const struct verify_key *name,
                            enum rdb_kind kind,
                            uint64_t value_bytes,
                            const struct value_view *view,
                            struct value_sum *sum,
                            bool *is_stable,
                            struct syn_err *err);

/* ---- all ---- */

/* syn_verify of a configuration with files. */
MUST_CHECK bool verify_file_run(const struct config *config,
                                syn_difference_callback *on_difference,
                                syn_verify_progress *on_progress,
                                void *arg,
                                struct syn_verify_result *result,
                                struct syn_err *err);

#endif
