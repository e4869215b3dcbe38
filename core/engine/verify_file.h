/*
 * Verification of RDB files against a live destination, in parts:
 *
 * verify_file_scan.c     the files: key after key, and single values again
 * verify_file_compare.c  a batch of keys with what the destination has
 * verify_file_fast.c     the same by types and lengths
 * verify_file_set.c      which keys the files have
 * verify_file.c          the passes, what is looked at again, and the report
 *
 * A file does not change, so that it is read at its own speed and the destination is asked about
 * what it says, in batches of pipelined DUMPs, whose contents are compared as those of two servers
 * are (verify_verdict.c; by commands in pieces, apply/value_read.h, what cannot be dumped). That finds
 * what is missing or other. What the destination has beyond the files is found by scanning it and
 * looking into the set of the files' keys. A set of all of them may not fit: then it has the keys
 * of one part of the hashes at a time, and both are scanned once for each part.
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
    int64_t
        forget_ms; /* fields whose time had come by then do not count, on both sides; -1: all do */
};

/* One file being read. The window and the parser are those of the RDB reader. */
struct file_scan {
    const struct config *config;
    uint32_t file;
    int fd;
    struct rdb_reader window;
    struct rdb_digest *digest;
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
                               struct rdb_digest *digest,
                               struct syn_err *err);
void file_scan_close(struct file_scan *scan); /* also of a zeroed one */
/* The next key of a selected database that is the user's (no position, no heartbeat); its value
 * must be read or passed before the next call. *is_end: there is none, and the checksum is not
 * wrong. */
MUST_CHECK bool file_scan_next(struct file_scan *scan, bool *is_end, struct syn_err *err);
/* Reads its value; scan->key.forget_ms is the caller's to set before. */
MUST_CHECK bool
file_scan_value(struct file_scan *scan, struct rdb_content *content, struct syn_err *err);
MUST_CHECK bool file_scan_pass(struct file_scan *scan, struct syn_err *err);
/* Shows the value of a key again, whichever it was. */
MUST_CHECK bool file_value_show(const struct config *config,
                                const struct file_key *key,
                                const struct verify_key *name,
                                const struct rdb_visitor *visitor,
                                void *arg,
                                struct syn_err *err);
/* A key of ours, which is nobody's data. */
bool file_is_own_key(const struct config *config, const void *name, size_t size);

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

struct file_outcome {
    struct verdict verdict; /* the file is the source */
    /* What the destination had, to tell whether it moves. */
    struct rdb_digest_value seen;
    const char *length_command; /* fast mode: asked for; NULL: not needed */
};

/* What the parts share. */
struct file_verify {
    const struct config *config;
    /* For the verdicts, the result and who is told. Its source is no server: only what a file can
     * tell is set. */
    struct verify base;
    struct rdb_digest *digest;         /* of the file's values        */
    struct rdb_content_reader *reader; /* of the destination's values */
    struct file_scan scan;
    struct key_set set;
    /* The batch: of one database of the destination. */
    struct file_key *keys;
    struct verify_key *names; /* into `bytes` */
    struct rdb_content *contents;
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
};

/* Fields of hashes that expire until then do not count: they are gone at the destination, or will
 * be when it is asked. -1 where it does not know such times. */
int64_t file_forget_ms(const struct file_verify *verify);
/* Reads the value of a key again. */
MUST_CHECK bool file_value_again(struct file_verify *verify,
                                 struct file_key *key,
                                 const struct verify_key *name,
                                 struct rdb_content *content,
                                 struct syn_err *err);
/* Compares the batch with the destination, whose database is selected: fills outcomes. */
MUST_CHECK bool file_compare(struct file_verify *verify, struct syn_err *err);
/* verify_file_fast.c: file_compare of the fast mode. */
MUST_CHECK bool file_compare_fast(struct file_verify *verify, struct syn_err *err);

/* Key i of the batch: its connection, and a command about it alone. */
struct verify_link *file_link(struct file_verify *verify, uint32_t i);
MUST_CHECK bool
file_ask(struct file_verify *verify, uint32_t i, const char *name, struct syn_err *err);
/* Its type and expiry at the destination. */
MUST_CHECK bool file_type_ask(struct file_verify *verify, uint32_t i, struct syn_err *err);
MUST_CHECK bool file_type_fetch(struct file_verify *verify,
                                uint32_t i,
                                int64_t sent_ms,
                                struct verdict *verdict,
                                struct syn_err *err);
/* Whether presence and type alone decide; the verdict knows what the destination has. */
bool file_by_type(const struct file_verify *verify, uint32_t i);

/* ---- all ---- */

/* syn_verify of a configuration with files. */
MUST_CHECK bool verify_file_run(const struct config *config,
                                syn_difference_callback *on_difference,
                                syn_verify_progress *on_progress,
                                void *arg,
                                struct syn_verify_result *result,
                                struct syn_err *err);

#endif
