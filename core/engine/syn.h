/*
 * syn.h: the library of Syncline. What is not here is not API.
 *
 * Syncline keeps one Redis or Valkey deployment in step with another: it copies everything by PSYNC
 * and RDB and then follows every write. An engine is one such task. Open it from YAML or JSON text
 * (or from a syn_config), start it, ask for its status, be told of events, stop it, free it.
 * A source of RDB files (file:///path,…) is loaded as a snapshot is; such a task ends by itself,
 * with SYN_CODE_OK when all of them are written, and never enters SYN_PHASE_LIVE. It keeps no
 * positions: when the destination fails it ends, and is started anew over what is there.
 *
 * Threads:   functions on one engine may be called from any thread, one at a time per engine,
 * except syn_engine_stop and syn_engine_status, which may be called concurrently with anything but
 *            syn_engine_free. Different engines are independent. Event callbacks come from the
 * engine's control thread; they may call syn_engine_status and syn_engine_stop, nothing else.
 * Ownership: what a _new or _open function returns is freed with the matching _free (NULL is
 * allowed); strings handed out are valid as stated. Text passed in is copied. Errors:    functions
 * that can fail take `struct syn_err *err` last, never NULL, and return false or NULL with it
 *            filled. Codes are grouped by domain; syn_code_exit_status gives the command line's
 * exit status. Signals:   the library installs no handlers and blocks all signals in its threads.
 */
#ifndef SYN_H
#define SYN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/syn_err.h"

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define SYN_API __attribute__((visibility("default")))
#else
#define SYN_API
#endif

SYN_API const char *syn_version(void); /* "0.1.0" */

/* ---- errors ---- */

/* Exit statuses of the command line, one per domain. */
enum syn_exit {
    SYN_EXIT_OK = 0,
    SYN_EXIT_INTERNAL = 1,
    SYN_EXIT_USAGE = 2,
    SYN_EXIT_CONFIG = 3,
    SYN_EXIT_PRECHECK = 4,
    SYN_EXIT_SOURCE = 5,
    SYN_EXIT_DIFFERENT = 6,
    SYN_EXIT_DESTINATION = 7,
};
SYN_API int syn_code_exit_status(enum syn_code code);
/* A stable lower-case word for programs, such as "source_auth". Static. */
SYN_API const char *syn_code_name(enum syn_code code);

/* ---- configuration: one table of options for the command line, the environment and files ---- */

enum syn_option_kind {
    SYN_OPTION_TEXT,
    SYN_OPTION_FLAG,     /* true or false */
    SYN_OPTION_INTEGER,  /* within [min, max] */
    SYN_OPTION_SIZE,     /* bytes, with k, m, g; within [min, max] */
    SYN_OPTION_DURATION, /* ms, with ms, s, m, h; within [min, max] */
    SYN_OPTION_CHOICE,   /* one of `choices` */
    SYN_OPTION_LIST,     /* any number of texts: see syn_config_set */
};

struct syn_option {
    const char *name;         /* "on-nonempty": --on-nonempty, and on_nonempty in a file       */
    const char *env;          /* "SYNCLINE_ON_NONEMPTY"; NULL: only on the command line        */
    const char *value_name;   /* "stop|overwrite", "N", "SIZE"; NULL for a flag                */
    const char *default_text; /* as help prints it; NULL: none                                 */
    const char *help;         /* one or two sentences                                          */
    const char *choices;      /* separated by '|', for SYN_OPTION_CHOICE                       */
    enum syn_option_kind kind;
    int64_t min;
    int64_t max;
    bool is_secret;
};
/* Static, in the order of help. */
SYN_API const struct syn_option *syn_options(size_t *count);

struct syn_config;
SYN_API struct syn_config *syn_config_new(struct syn_err *err);
SYN_API void syn_config_free(struct syn_config *config);
/* YAML or JSON. `origin` names the text in errors, with line, field and what is allowed. On error
 * the configuration is unchanged. Later settings win over earlier ones. */
SYN_API bool syn_config_load(struct syn_config *config,
                             const char *text,
                             size_t size,
                             const char *origin,
                             struct syn_err *err);
SYN_API bool syn_config_load_file(struct syn_config *config, const char *path, struct syn_err *err);
/* Takes every SYNCLINE_… variable of the table from the process' environment. */
SYN_API bool syn_config_load_env(struct syn_config *config, struct syn_err *err);
/* One option by its name, without dashes in front; `value` as on the command line ("true" for a
 * flag). A value is added to a list; an empty one empties it. A file's or the environment's list
 * replaces the one before; there, and here, a value of several lines is several values. */
SYN_API bool
syn_config_set(struct syn_config *config, const char *name, const char *value, struct syn_err *err);
/* What an option is set to, else its default as text; NULL when it has neither, is a secret or does
 * not exist. A list has one value per line. Valid until the configuration changes. */
SYN_API const char *syn_config_get(const struct syn_config *config, const char *name);

/* ---- log: one line per event, for people; never a key, a value or a secret ---- */

enum syn_log_level { SYN_LOG_DEBUG, SYN_LOG_INFO, SYN_LOG_WARNING, SYN_LOG_ERROR };
/* `text` has no newline and is valid until the callback returns. Called from any thread, one line
 * at a time; it may call nothing of this library. */
typedef void syn_log_callback(void *arg, enum syn_log_level level, const char *text);
/* For the whole process, before engines start. NULL restores lines on standard error. */
SYN_API void syn_log_to(syn_log_callback *callback, void *arg, enum syn_log_level least);

/* ---- engine ---- */

struct syn_engine;

enum syn_phase {
    SYN_PHASE_NEW,      /* opened, not started                                                */
    SYN_PHASE_PRECHECK, /* looking at both sides; nothing is written                          */
    SYN_PHASE_SNAPSHOT, /* at least one stream is in its snapshot                             */
    SYN_PHASE_LIVE,     /* every stream follows its source's writes                           */
    SYN_PHASE_PAUSED,   /* asked to pause: sources are kept connected, nothing is written     */
    SYN_PHASE_DRAINING, /* stopping: what was received is written                             */
    SYN_PHASE_DONE,     /* ended as asked; of a stream: its file is written whole             */
    SYN_PHASE_FAILED,   /* ended by an error: syn_engine_wait gives it                        */
    SYN_PHASE_RETRYING, /* the destination failed; the copy goes on from its positions        */
};
SYN_API const char *syn_phase_name(enum syn_phase phase);

/* Where a stream's time goes; "none" when it waits for nothing but more work. */
enum syn_wait {
    SYN_WAIT_NONE,
    SYN_WAIT_SOURCE,      /* the source has sent nothing more                     */
    SYN_WAIT_DESTINATION, /* the destination's replies are awaited: queues are full, or it was asked
                             what a command is */
    SYN_WAIT_PAUSED,
    SYN_WAIT_RECONNECT, /* the source's connection is lost and being remade     */
    SYN_WAIT_THROTTLE,  /* a rate allows no more: syn_stream_status.throttle    */
};
SYN_API const char *syn_wait_name(enum syn_wait wait);

/* The rates that a task may be held to. */
enum syn_rate {
    SYN_RATE_SNAPSHOT_OPS, /* keys, and commands that write parts of one */
    SYN_RATE_SNAPSHOT_BYTES,
    SYN_RATE_LIVE_OPS, /* commands */
    SYN_RATE_LIVE_BYTES,
    SYN_RATE_SHARD_SNAPSHOT_OPS, /* the same for each destination shard */
    SYN_RATE_SHARD_SNAPSHOT_BYTES,
    SYN_RATE_SHARD_LIVE_OPS,
    SYN_RATE_SHARD_LIVE_BYTES,
    SYN_RATE_COUNT,
};
/* As its option is called, such as "live-ops"; "none" for SYN_RATE_COUNT. Static. */
SYN_API const char *syn_rate_name(enum syn_rate rate);
#define SYN_RATE_MAX ((uint64_t)1 << 34)

struct syn_rates {
    uint64_t per_s[SYN_RATE_COUNT]; /* 0: not limited; at most SYN_RATE_MAX */
};

struct syn_stream_status {
    char source[300]; /* endpoint, without credentials; of a file its URI */
    bool is_file;     /* an RDB file: offsets and lag are zero, lag_ms -1 */
    enum syn_phase phase;
    enum syn_wait wait;
    enum syn_rate throttle;       /* with SYN_WAIT_THROTTLE, else SYN_RATE_COUNT                  */
    uint64_t snapshot_keys;       /* keys read from the snapshot                                  */
    uint64_t snapshot_keys_total; /* as the source told before; an estimate. 0: not known         */
    uint64_t snapshot_bytes;      /* bytes of the snapshot read                                   */
    int64_t snapshot_bytes_total; /* -1: the source does not say (diskless, a pipe)               */
    uint64_t commands;            /* of the live stream, decoded                                  */
    uint64_t bytes_received;      /* snapshot and stream                                          */
    uint64_t offset_received;
    uint64_t offset_applied; /* every operation up to here is acknowledged by the destination */
    uint64_t offset_source;  /* last reading of the source                                   */
    uint64_t lag_bytes;
    int64_t lag_ms;     /* -1: not known yet. From sampled offsets: an estimate.        */
    int64_t latency_ms; /* from a write at the source to its acknowledgement; -1: not known yet */
    bool latency_is_estimate; /* it is lag_ms: no heartbeat measures it                     */
    uint32_t queue_percent;   /* of the memory for received bytes that is in use              */
    uint32_t sessions;        /* connections made to the source                               */
    uint32_t snapshots;       /* full copies begun                                            */
};

struct syn_status {
    enum syn_phase phase;
    uint64_t elapsed_ms;
    uint64_t snapshot_ms; /* duration of the snapshot phase; so far, while it lasts */
    uint64_t keys;        /* snapshot keys written and acknowledged                 */
    uint64_t keys_total;  /* estimate                                               */
    uint64_t bytes_received;
    uint64_t bytes_sent;         /* to the destination                                     */
    uint64_t operations;         /* commands acknowledged by the destination               */
    uint64_t commands;           /* of live streams, decoded                               */
    uint64_t dropped;            /* live commands that carry nothing to apply, or are filtered */
    uint64_t keys_dropped;       /* snapshot keys that rules leave out                     */
    uint64_t partial_dropped;    /* live commands left out although selected keys now differ */
    uint64_t commands_skipped;   /* live commands that the destination does not know, left out */
    uint64_t values_rewritten;   /* snapshot values written as ordinary commands           */
    uint64_t values_degraded;    /* …without what the destination cannot represent         */
    uint64_t values_skipped;     /* …left out                                              */
    uint64_t values_corrupt;     /* snapshot values set aside, since they are damaged      */
    uint64_t transactions_split; /* MULTI/EXEC over several slots, applied without atomicity */
    uint64_t relayed;   /* commands over several slots, done by moving values between shards */
    uint64_t held;      /* keys whose operations wait for one now                            */
    uint64_t held_peak; /* the most at a time; summed over decoders                          */
    uint64_t commands_left_out; /* after an interruption: they were at the destination already */
    uint64_t keys_refetched;    /* …keys read again at the source, their state being uncertain  */
    uint64_t keys_refetched_large; /* …copies of large ones among them, in pieces              */
    /* Live commands that found another state at the destination than at the source; their keys are
     * read again there. */
    uint64_t diverged_no_effect; /* they changed nothing                                   */
    uint64_t diverged_error;     /* they failed, because of what their keys hold           */
    uint64_t diverged_script;    /* scripts that ended in an error                         */
    uint64_t diverged_partial;   /* of which some fields or ids had no effect: a doubt     */
    uint64_t diverged_relay;     /* relayed ones                                           */
    uint64_t diverged_unknown;   /* of all these, those whose keys are not known           */
    uint32_t restarts;           /* the pipeline was put up again after the destination failed */
    uint64_t lag_bytes;
    int64_t lag_ms;           /* the largest of the streams; -1: not known              */
    int64_t latency_ms;       /* the same                                               */
    bool latency_is_estimate; /* of any stream                                       */
    bool ttl_put_off;         /* times to live at the destination may still be put off */
    uint64_t memory_bytes;    /* held in chunks, batches and tables                     */
    uint64_t memory_limit_bytes;
    const char *io; /* "io_uring" or "epoll"; static                          */
    struct syn_rates rates;
    uint32_t stream_count;
    struct syn_stream_status *streams; /* owned by the status */
};

enum syn_event_kind {
    SYN_EVENT_PHASE, /* phase of the task or, with stream >= 0, of a stream changed */
    SYN_EVENT_INFO,  /* something worth a line                                       */
    SYN_EVENT_WARNING,
    SYN_EVENT_ERROR, /* the error that ends the task                                 */
};

struct syn_event {
    enum syn_event_kind kind;
    int64_t unix_ms;
    int stream; /* index into syn_status.streams, -1: the task                      */
    enum syn_phase phase;
    enum syn_code code;
    const char *text; /* one line, valid until the callback returns */
};
typedef void syn_event_callback(void *arg, const struct syn_event *event);

/* Opens a task from YAML or JSON text; nothing is connected yet. */
SYN_API struct syn_engine *syn_engine_open(const char *text, size_t size, struct syn_err *err);
/* The same from a configuration, which is copied. */
SYN_API struct syn_engine *syn_engine_open_config(const struct syn_config *config,
                                                  struct syn_err *err);
/* Before syn_engine_start. */
SYN_API void
syn_engine_on_event(struct syn_engine *engine, syn_event_callback *callback, void *arg);
/* Prechecks (blocking: connects to both sides), then starts the threads and returns. On error
 * nothing was written to the destination and the engine can only be freed. */
SYN_API bool syn_engine_start(struct syn_engine *engine, struct syn_err *err);
/* A copy of the present state; NULL only when memory is out. */
SYN_API struct syn_status *syn_engine_status(struct syn_engine *engine, struct syn_err *err);
SYN_API void syn_status_free(struct syn_status *status);
/* Stops writing after what is already on its way; sources stay connected and are read until the
 * memory is full. */
SYN_API void syn_engine_pause(struct syn_engine *engine);
SYN_API void syn_engine_resume(struct syn_engine *engine);
/* Holds the task to these rates from now on, in place of those that were set; before the start too.
 * Any time is allowed but while syn_engine_start runs. A stop lifts all rates, as what was received
 * must be written before drain-timeout. False: a rate is above SYN_RATE_MAX; nothing is changed. */
SYN_API bool
syn_engine_throttle(struct syn_engine *engine, const struct syn_rates *rates, struct syn_err *err);
/* Asks to end and returns at once: with drain, what the sources had written by then is received and
 * written first, as far as drain-timeout allows. A second call without drain ends a drain. Safe in
 * a signal handler's thread, not in the handler itself. */
SYN_API void syn_engine_stop(struct syn_engine *engine, bool drain);
/* Waits for the end, at most timeout_ms (negative: for ever). Returns true when the task has ended;
 * *err then says how: SYN_CODE_OK when as asked. False: still running, *err untouched. */
SYN_API bool syn_engine_wait(struct syn_engine *engine, int timeout_ms, struct syn_err *err);
/* Stops without drain if still running, joins all threads. */
SYN_API void syn_engine_free(struct syn_engine *engine);

/* ---- explaining rules ----
 *
 * What a configuration's rules and databases make of keys and commands, by the code that a task
 * runs. Nothing is connected to; the configuration needs no source and no destination.
 *
 * Threads:   one at a time per struct syn_explain.
 * Ownership: everything handed out is valid until the next call on the same struct syn_explain.
 */

/* The rule that decided. */
struct syn_rule {
    const char *name;   /* "exclude_prefix[2]": the third of that list; NULL: no rule   */
    const char *text;   /* as it was written                                            */
    const char *origin; /* "file", "environment", "option"                              */
};

/* What rules make of a key or a command. */
enum syn_action {
    SYN_ACTION_KEEP,    /* as it is                                                       */
    SYN_ACTION_RENAME,  /* under its new name, with its keys' new names                   */
    SYN_ACTION_REDUCE,  /* with those of its keys that are selected                       */
    SYN_ACTION_REPLACE, /* by another command that does the same to the selected keys     */
    SYN_ACTION_DROP,
    SYN_ACTION_PARTIAL, /* its keys are read at the source; or as on-partial says         */
    SYN_ACTION_REFUSE,  /* stops the task                                                 */
};
/* "keep", "rename" … Static. */
SYN_API const char *syn_action_name(enum syn_action action);

/* How the live stream goes on with a command at a kind of destination. */
enum syn_way {
    SYN_WAY_FORWARD,  /* as one operation                                                 */
    SYN_WAY_SPLIT,    /* as one operation for each key                                    */
    SYN_WAY_RELAY,    /* in steps: what one shard has of it is brought to another         */
    SYN_WAY_BARRIER,  /* alone: everything before is answered first                       */
    SYN_WAY_DROP,     /* nothing of it is applied                                         */
    SYN_WAY_REFUSE,   /* the task stops                                                   */
    SYN_WAY_PROTOCOL, /* read by Syncline itself, such as SELECT                          */
    SYN_WAY_REFETCH,  /* nothing is sent: its keys are read at the source                 */
    SYN_WAY_ASK,      /* as the destination says that it is; unknown there too: on-unknown  */
};
/* "forward", "split" … Static. */
SYN_API const char *syn_way_name(enum syn_way way);

struct syn_explained_key {
    const uint8_t *key; /* as it is at the source */
    size_t key_size;
    enum syn_action action; /* KEEP, RENAME, DROP, or REFUSE: a name that two keys would have */
    struct syn_rule rule;   /* that kept or dropped it                                        */
    struct syn_rule rename;
    uint32_t db;         /* of the source                                                  */
    bool is_db_selected; /* if not, the key is dropped whatever its name is                */
    uint32_t db_there;   /* at the destination                                             */
    const uint8_t *name; /* at the destination; without meaning when it is dropped         */
    size_t name_size;
    uint16_t slot;     /* of that name in a cluster                                      */
    const char *types; /* "string, hash": only a value of these is copied; NULL: any     */
    const char *text;  /* why, in a sentence                                             */
};

struct syn_explained_word {
    const uint8_t *bytes;
    size_t size;
};
/* A command as it goes on. */
struct syn_explained_words {
    size_t count;
    const struct syn_explained_word *words;
    uint32_t db; /* of the source */
};

struct syn_explained_command {
    const char *name;  /* "SET"                                                      */
    const char *group; /* "string", as COMMAND DOCS has it; NULL: not known          */
    const char *kind;  /* what it is to Syncline: "write", "script", "flush" …       */
    enum syn_action action;
    struct syn_rule rule;
    const char *text; /* why, in a sentence                                         */
    size_t key_count; /* found in it, in their order                                */
    const struct syn_explained_key *keys;
    size_t become_count; /* commands that it becomes: 0, 1, or 2 in their order        */
    const struct syn_explained_words *become;
    /* Of the last of them. */
    enum syn_way standalone;
    const char *standalone_text; /* why; NULL: nothing to say */
    enum syn_way cluster;
    const char *cluster_text;
};

struct syn_explain;
SYN_API struct syn_explain *syn_explain_open(const struct syn_config *config, struct syn_err *err);
SYN_API void syn_explain_free(struct syn_explain *explain);
/* A key of this source database. False: out of memory. */
SYN_API bool syn_explain_key(struct syn_explain *explain,
                             uint32_t db,
                             const void *key,
                             size_t key_size,
                             struct syn_explained_key *out,
                             struct syn_err *err);
/* A command of the stream in this source database; sizes NULL: the words end with zeros. False with
 * SYN_CODE_USAGE: it has a form that no server sends. */
SYN_API bool syn_explain_command(struct syn_explain *explain,
                                 uint32_t db,
                                 size_t count,
                                 const void *const *words,
                                 const size_t *sizes,
                                 struct syn_explained_command *out,
                                 struct syn_err *err);
/* Whether this is the name of a command that the library knows. */
SYN_API bool syn_explain_knows(const void *name, size_t size);

/* ---- verification ---- */

enum syn_difference_kind {
    SYN_DIFFERENCE_MISSING, /* at the source, not at the destination         */
    SYN_DIFFERENCE_EXTRA,   /* at the destination, not at the source         */
    SYN_DIFFERENCE_TYPE,
    SYN_DIFFERENCE_VALUE,
    SYN_DIFFERENCE_TTL,
    SYN_DIFFERENCE_LENGTH, /* with the fast mode                            */
};
SYN_API const char *syn_difference_name(enum syn_difference_kind kind);

struct syn_difference {
    enum syn_difference_kind kind;
    uint32_t db;        /* of the source                                    */
    const uint8_t *key; /* its name at the source; valid until the callback returns */
    size_t key_size;
    char detail[160]; /* what was seen on both sides, without content     */
};

struct syn_verify_result {
    uint64_t keys_source;
    uint64_t keys_destination;
    uint64_t keys_compared;
    uint64_t equal_payload; /* equal bytes                                   */
    uint64_t equal_content; /* other bytes, equal content                    */
    uint64_t expired;       /* gone on one side because their time had come  */
    uint64_t rechecked;     /* looked different first, equal when read again */
    uint64_t differences;
    uint64_t elapsed_ms;
};

typedef void syn_difference_callback(void *arg, const struct syn_difference *difference);
/* Called now and then, and once at the end, from the calling thread; false stops the verification.
 */
typedef bool syn_verify_progress(void *arg, const struct syn_verify_result *so_far);

/* Compares both sides of the configuration, in both directions (blocking). Uses its source,
 * destination, credentials, db, db-map and verify options. A source of RDB files is read as often
 * as `memory` asks for; the task of loading it must have ended. True: done, whatever was found. */
SYN_API bool syn_verify(const struct syn_config *config,
                        syn_difference_callback *on_difference,
                        syn_verify_progress *on_progress,
                        void *arg,
                        struct syn_verify_result *result,
                        struct syn_err *err);

/* ---- reading RDB files ----
 *
 * A reader cuts an RDB (REDIS 1 to 12, VALKEY 80) from memory, a file or a callback and shows a
 * visitor what is in it, in the order of the file. It connects to nothing and needs no engine.
 *
 * Threads:   calls are independent of each other; visitors run inside the call, on its thread.
 * Ownership: all that a visitor is given is valid until it returns.
 * Limits:    item_bytes_max bounds one key, AUX text or function, and one element or blob whose
 *            content is looked at; a file that needs more is refused. String values are handed
 *            out in pieces and have no limit. Memory follows the largest item, up to seven times
 *            the bound and 2 MiB; nothing grows with the file.
 * Errors:    SYN_CODE_SOURCE_DATA: damaged, cut short or of an unknown kind, with the byte of the
 *            file; SYN_CODE_SOURCE_FILE: cannot be opened or read; SYN_CODE_MEMORY. What came
 *            before the damage has been visited.
 */

/* What a visitor answers. */
enum syn_rdb_flow {
    SYN_RDB_GO,
    SYN_RDB_SKIP, /* to a key or an element: no more elements of this value, but its end */
    SYN_RDB_STOP, /* read no further; the call returns true, with is_stopped             */
};

/* How closely values are looked at. */
enum syn_rdb_depth {
    SYN_RDB_DEPTH_KEYS,     /* values are passed over at full speed, their content is not checked */
    SYN_RDB_DEPTH_COUNTS,   /* elements are counted, and decoded where only that counts them      */
    SYN_RDB_DEPTH_ELEMENTS, /* the visitor is shown each element                                  */
};

#define SYN_RDB_UNKNOWN UINT64_MAX
#define SYN_RDB_ITEM_BYTES_DEFAULT ((size_t)64 << 20)
#define SYN_RDB_ITEM_BYTES_MIN 4096

/* Zero means: the default bound, keys without their elements, all keys. */
struct syn_rdb_options {
    size_t item_bytes_max;
    enum syn_rdb_depth depth;
    bool has_db; /* only the keys of this database */
    uint64_t db;
    bool has_key; /* only the key of this name, in each database that has it */
    const void *key;
    size_t key_size;
};

/* Bytes, of text or not, without a terminator; never NULL, also when there are none. */
struct syn_rdb_text {
    const uint8_t *bytes;
    size_t size;
};

struct syn_rdb_header {
    uint16_t version;
    const char *magic; /* "REDIS" or "VALKEY"; static */
};

/* The keys that follow are of this database. A file may come back to a database. */
struct syn_rdb_database {
    uint64_t db;
    uint64_t keys;     /* as the writer announced, a hint; SYN_RDB_UNKNOWN: it did not */
    uint64_t expiring; /* of them with an expiry                                       */
};

struct syn_rdb_key {
    uint64_t db;
    struct syn_rdb_text name;
    uint8_t rdb_type;     /* the type byte                                                */
    const char *type;     /* "string", "list", "set", "zset", "hash", "stream", "module"  */
    const char *encoding; /* "raw", "listpack", "quicklist" …: what the type byte says    */
    int64_t expire_ms;    /* absolute unix ms, -1: none                                   */
    int64_t idle_s;       /* seconds since its last use, -1: not in the file              */
    int freq;             /* LFU counter, -1: not in the file                             */
    uint64_t offset;      /* of the value's first byte in the file                        */
    /* Known at the end of the key, zero before. */
    uint64_t bytes;    /* of the value, as serialized                                       */
    uint64_t elements; /* list elements, members, fields, stream entries; 1 for strings and
                          modules. SYN_RDB_UNKNOWN: not counted                             */
};

struct syn_rdb_stream_id {
    uint64_t ms;
    uint64_t seq;
};

enum syn_rdb_element_kind {
    SYN_RDB_ELEMENT_STRING,           /* text: a piece, of total bytes, at position             */
    SYN_RDB_ELEMENT_LIST,             /* text                                                   */
    SYN_RDB_ELEMENT_SET,              /* text: the member                                       */
    SYN_RDB_ELEMENT_HASH,             /* text: the field; value; expire_ms                      */
    SYN_RDB_ELEMENT_ZSET,             /* text: the member; score                                */
    SYN_RDB_ELEMENT_STREAM_ENTRY,     /* id; count: its fields, which follow one by one         */
    SYN_RDB_ELEMENT_STREAM_FIELD,     /* text: the field; value                                 */
    SYN_RDB_ELEMENT_STREAM_META,      /* after all entries. id: the last one; count: the length;
                                         added: entries ever, SYN_RDB_UNKNOWN in old files      */
    SYN_RDB_ELEMENT_GROUP,            /* text: its name; id: last delivered; count: pending;
                                         added: entries read, SYN_RDB_UNKNOWN                   */
    SYN_RDB_ELEMENT_PENDING,          /* of the group. id; time_ms: delivered; count: how often */
    SYN_RDB_ELEMENT_CONSUMER,         /* of the group. text: its name; time_ms: last seen;
                                         count: pending                                         */
    SYN_RDB_ELEMENT_CONSUMER_PENDING, /* of the consumer. id                                */
    SYN_RDB_ELEMENT_MODULE,           /* text: a piece of the raw value, at position        */
};
/* A stable lower-case word, such as "stream_entry". Static. */
SYN_API const char *syn_rdb_element_name(enum syn_rdb_element_kind kind);

/* Only the fields named beside its kind are set. */
struct syn_rdb_element {
    enum syn_rdb_element_kind kind;
    struct syn_rdb_text text;
    struct syn_rdb_text value;
    double score;
    int64_t expire_ms; /* absolute unix ms, -1: none */
    int64_t time_ms;
    uint64_t position;
    uint64_t total;
    uint64_t count;
    uint64_t added;
    struct syn_rdb_stream_id id;
};

enum syn_rdb_verdict {
    SYN_RDB_CHECKSUM_UNREAD,  /* the end was not reached                                 */
    SYN_RDB_CHECKSUM_NONE,    /* the writer made none (rdbchecksum no, or version < 5)   */
    SYN_RDB_CHECKSUM_MATCHES, /* every byte is as it was written                         */
    SYN_RDB_CHECKSUM_DIFFERS,
};
/* "unread", "none", "matches", "differs". Static. */
SYN_API const char *syn_rdb_verdict_name(enum syn_rdb_verdict verdict);

/* Callbacks; NULL for what does not matter. A SYN_RDB_SKIP where nothing can be skipped means
 * SYN_RDB_GO. `key` comes before the elements, `key_end` behind them. */
struct syn_rdb_visitor {
    enum syn_rdb_flow (*header)(void *arg, const struct syn_rdb_header *header);
    enum syn_rdb_flow (*aux)(void *arg, struct syn_rdb_text name, struct syn_rdb_text text);
    enum syn_rdb_flow (*function)(void *arg, struct syn_rdb_text source);
    enum syn_rdb_flow (*database)(void *arg, const struct syn_rdb_database *database);
    enum syn_rdb_flow (*key)(void *arg, const struct syn_rdb_key *key);
    enum syn_rdb_flow (*element)(void *arg,
                                 const struct syn_rdb_key *key,
                                 const struct syn_rdb_element *element);
    enum syn_rdb_flow (*key_end)(void *arg, const struct syn_rdb_key *key);
    /* Behind the last key; with SYN_RDB_CHECKSUM_DIFFERS the call then fails. */
    enum syn_rdb_flow (*checksum)(void *arg, enum syn_rdb_verdict verdict);
};

/* Filled also on failure, with what was read until then. */
struct syn_rdb_result {
    uint64_t bytes; /* of the RDB                                                    */
    uint64_t keys;  /* shown to the visitor                                          */
    enum syn_rdb_verdict verdict;
    bool is_stopped;   /* by the visitor                                             */
    bool has_trailing; /* bytes follow the RDB, as in an append-only file with one
                          at its head; they were not looked at                       */
};

/* Gives up to `size` more bytes (never 0): how many there are now, 0 at the end. Negative: *err is
 * filled, and the reading fails with it. May block. */
typedef int64_t syn_rdb_feed(void *arg, void *to, size_t size, struct syn_err *err);

/* True: the whole RDB was read and its checksum is not wrong, or the visitor stopped. `options` and
 * `result` may be NULL. */
SYN_API bool syn_rdb_read_memory(const void *bytes,
                                 size_t size,
                                 const struct syn_rdb_options *options,
                                 const struct syn_rdb_visitor *visitor,
                                 void *arg,
                                 struct syn_rdb_result *result,
                                 struct syn_err *err);
/* The same of a file; also of a pipe or a device. Errors begin with its path. */
SYN_API bool syn_rdb_read_file(const char *path,
                               const struct syn_rdb_options *options,
                               const struct syn_rdb_visitor *visitor,
                               void *arg,
                               struct syn_rdb_result *result,
                               struct syn_err *err);
/* The same of whatever `feed` gives, called with `feed_arg`. */
SYN_API bool syn_rdb_read_feed(syn_rdb_feed *feed,
                               void *feed_arg,
                               const struct syn_rdb_options *options,
                               const struct syn_rdb_visitor *visitor,
                               void *arg,
                               struct syn_rdb_result *result,
                               struct syn_err *err);

#ifdef __cplusplus
}
#endif

#endif
