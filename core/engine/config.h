/*
 * Configuration as the engine uses it: parsed, checked, with defaults filled in.
 *
 * Threads:   built by one thread, constant afterwards.
 * Ownership: plain data, copied by value; holds secrets, which no function prints.
 */
#ifndef ENGINE_CONFIG_H
#define ENGINE_CONFIG_H

#include "apply/batch.h"
#include "apply/flush.h"
#include "apply/heartbeat.h"
#include "apply/loss.h"
#include "apply/select.h"
#include "core/engine/syn.h"
#include "io/io.h"
#include "rdb/rewrite.h"

#define CONFIG_HOSTS_MAX 64
#define CONFIG_DB_MAX 1024 /* databases a filter or map can name; servers default to 16 */
#define CONFIG_DB_NONE UINT16_MAX
#define CONFIG_PATH_MAX 4096 /* with the terminator */

/* How far a sync goes. */
enum sync_mode {
    SYNC_FOLLOW,        /* until stopped                                                          */
    SYNC_ONCE,          /* the snapshot, and the stream up to the source's offset at its end      */
    SYNC_SNAPSHOT_ONLY, /* the snapshot                                                           */
};

/* In the order of the choices. */
enum one_thread { ONE_THREAD_AUTO, ONE_THREAD_ON, ONE_THREAD_OFF };
enum nonempty_policy { NONEMPTY_STOP, NONEMPTY_OVERWRITE };
enum verify_mode { VERIFY_FULL, VERIFY_FAST };

/* One side: the hosts are seeds of a cluster, or one server. All share credentials unless the
 * URI gives others. */
struct config_side {
    struct endpoint hosts[CONFIG_HOSTS_MAX];
    uint32_t host_count;
};

/* RDB files as the source, one stream each: paths as the system takes them; "-" is standard input.
 * What they need of room is bounded by that of the option's text. */
#define CONFIG_FILES_BYTES (65536 + CONFIG_HOSTS_MAX)
struct config_files {
    uint32_t count;
    uint32_t starts[CONFIG_HOSTS_MAX]; /* in `text` */
    char text[CONFIG_FILES_BYTES];
};

static inline const char *config_file(const struct config_files *files, uint32_t i)
{
    return files->text + files->starts[i];
}

struct config {
    struct config_side source;
    struct config_files files; /* instead of source.hosts; the mode is then SYNC_SNAPSHOT_ONLY */
    struct config_side destination;
    enum sync_mode mode;
    enum nonempty_policy on_nonempty;
    enum rewrite_policy on_unsupported; /* for values that the destination cannot represent */
    enum corrupt_policy on_corrupt;
    char losses_path[CONFIG_PATH_MAX]; /* "": losses are not recorded */
    enum divergence_policy on_divergence;
    uint64_t refetch_dump_max;
    enum flush_policy on_flush;
    bool puts_off_ttl; /* while streams catch up */
    int64_t extend_ttl_ms;
    bool skips_unknown; /* commands that the destination does not know are left out */
    bool publishes;     /* messages are forwarded */
    bool prefer_replica;
    bool is_restart;    /* positions of an earlier run are not continued */
    bool has_positions; /* positions are kept; never of files            */
    /* db_map[n]: destination database of source database n, or CONFIG_DB_NONE: not selected.
     * Without db and db-map options every n maps to itself, also beyond the table (has_db_rules
     * false). */
    bool has_db_rules;
    uint16_t db_map[CONFIG_DB_MAX];
    struct select select; /* rules for keys, types and commands */
    bool drops_partial;   /* on-partial drop                     */
    enum io_backend io;
    enum one_thread one_thread;
    uint32_t reader_count;  /* 0: chosen by the engine */
    uint32_t decoder_count; /* 0: chosen by the engine */
    uint32_t lane_count;    /* per destination shard; 0: chosen by the engine */
    uint64_t memory_bytes;
    struct syn_rates rates;
    uint64_t connect_timeout_ms;
    uint64_t silence_timeout_ms;
    uint64_t retry_ms; /* retry-connection: how long a lost source connection is tried again */
    uint64_t retry_other_ms; /* how long a destination that refuses for now is tried again */
    uint64_t drain_timeout_ms;
    uint64_t heartbeat_ms; /* 0: none is written */
    char heartbeat_prefix[HEARTBEAT_PREFIX_MAX + 1];
    /* verify */
    enum verify_mode verify;
    uint64_t verify_rounds; /* re-checks of a difference */
    uint64_t verify_interval_ms;
    uint64_t ttl_tolerance_ms;
};

/* Checks the whole: source and destination given and so on. SYN_CODE_CONFIG names the option and
 * what to do. */
MUST_CHECK bool
config_build(const struct syn_config *from, struct config *out, struct syn_err *err);

/* The rules of `config`, NULL when there are none. */
static inline const struct select *config_select(const struct config *config)
{
    return config->select.is_active ? &config->select : NULL;
}

/* Only what says where a key goes: databases, rules and what belongs to them. Neither side needs to
 * be given. */
MUST_CHECK bool
config_build_rules(const struct syn_config *from, struct config *out, struct syn_err *err);

/* Destination database of a source database; CONFIG_DB_NONE when it is not selected. */
static inline uint32_t config_db(const struct config *config, uint64_t db)
{
    if (!config->has_db_rules) {
        return db < CONFIG_DB_NONE ? (uint32_t)db : CONFIG_DB_NONE;
    }
    return db < CONFIG_DB_MAX ? config->db_map[db] : CONFIG_DB_NONE;
}

#endif
