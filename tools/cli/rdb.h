/*
 * syncline rdb: what its files share.
 *
 *   rdb.c         the run: reading, and what is printed of keys as they pass
 *   rdb_args.c    its options                    rdb_dump.c    elements, as text or events
 *   rdb_stats.c   counts while reading           rdb_report.c  the counts, as text or an event
 *
 * Threads: one. Nothing is allocated per key: every table here has a fixed size.
 */
#ifndef CLI_RDB_H
#define CLI_RDB_H

#include "tools/cli/cli.h"
#include "tools/cli/escape.h"
#include "tools/cli/output.h"

/* ---- options (rdb_args.c) ---- */

struct rdb_args {
    const char *path; /* "-": standard input */
    bool is_json;
    bool lists_keys;
    bool wants_help;
    const char *dump; /* the key's bytes, NULL: no dump */
    size_t dump_size;
    bool has_db;
    uint64_t db;
    size_t item_bytes_max;
};
bool rdb_args_read(struct rdb_args *args, const struct cli *cli, struct syn_err *err);

/* ---- counts (rdb_stats.c) ---- */

#define RDB_TYPES_MAX 256
/* Servers have 16 unless configured; the rest of a file that has more is one row. */
#define RDB_DBS_MAX 1024
#define RDB_BIGGEST_MAX 10
#define RDB_KEY_KEPT_MAX 256 /* bytes of a key that are kept for the lists of the biggest */

struct rdb_count {
    uint64_t keys;
    uint64_t bytes;
    uint64_t elements;
    uint64_t expiring;
};

struct rdb_type_count {
    struct rdb_count count;
    const char *type;
    const char *encoding;
};

struct rdb_db_count {
    struct rdb_count count;
    uint64_t db;
};

struct rdb_big_key {
    uint64_t db;
    uint64_t bytes;
    uint64_t elements;
    const char *type;
    size_t name_size; /* of the key, of which so much as fits is in `name` */
    uint8_t name[RDB_KEY_KEPT_MAX];
};

struct rdb_biggest {
    unsigned count;
    struct rdb_big_key keys[RDB_BIGGEST_MAX]; /* the biggest first */
};

enum rdb_life {
    RDB_LIFE_EXPIRED,
    RDB_LIFE_MINUTE,
    RDB_LIFE_HOUR,
    RDB_LIFE_DAY,
    RDB_LIFE_WEEK,
    RDB_LIFE_MONTH,
    RDB_LIFE_LATER,
    RDB_LIFE_NONE,
    RDB_LIFE_COUNT,
};

struct rdb_stats {
    int64_t now_ms; /* what times to live are counted from */
    bool has_header;
    uint16_t version;
    const char *magic;
    uint64_t aux;
    uint64_t functions;
    uint64_t function_bytes;
    struct rdb_count total;
    struct rdb_type_count types[RDB_TYPES_MAX]; /* by the type byte */
    unsigned db_count;
    struct rdb_db_count dbs[RDB_DBS_MAX]; /* in the order of the file */
    struct rdb_count other_dbs;
    uint64_t lives[RDB_LIFE_COUNT];
    struct rdb_biggest by_bytes;
    struct rdb_biggest by_elements;
};
void rdb_stats_add(struct rdb_stats *stats, const struct syn_rdb_key *key);

/* ---- the run ---- */

struct rdb_run {
    struct rdb_args args;
    struct output output;
    struct rdb_stats stats;
    struct syn_rdb_result result;
    struct syn_err err;
    uint64_t elapsed_ns;
    int status;
    bool is_piece_open; /* dump: a string's text is being written */
    struct text text;
};

/* {"event":"KIND","time_ms":… without its end: events of which there can be millions are written
 * without a tree in memory. */
void rdb_event_begin(const char *kind);
/* ,"NAME":"TEXT" with the text escaped. */
void rdb_event_text(const char *name, struct syn_rdb_text text);
/* ,"NAME":NUMBER, or null when it is `none`. */
void rdb_event_number(const char *name, uint64_t number, uint64_t none);
void rdb_event_signed(const char *name, int64_t number, int64_t none);
void rdb_event_end(void);
/* "2026-01-31T23:59:59.123Z", or "-" for -1. */
const char *rdb_show_time(int64_t unix_ms, char out[40]);

/* ---- elements (rdb_dump.c) ---- */

void rdb_dump_begin(struct rdb_run *run, const struct syn_rdb_key *key);
void rdb_dump_element(struct rdb_run *run, const struct syn_rdb_element *element);
void rdb_dump_end(struct rdb_run *run, const struct syn_rdb_key *key);

/* ---- the summary (rdb_report.c) ---- */

void rdb_report_text(struct rdb_run *run);
void rdb_report_event(struct rdb_run *run);

#endif
