/*
 * The engine's inside: one task, its threads and its life. Private to core/engine.
 *
 * Life:  syn_engine_open → syn_engine_start (prechecks, pipeline built, threads started) → the
 * control thread watches, sweeps, decides the end → everything joined by it → syn_engine_free.
 *
 * Invariants:
 * 1. Nothing is written to the destination before both sides passed the prechecks.
 * 2. Teardown follows the data: feeds stop, decoders drain and end, then appliers, then readers; a
 * thread is only joined when nobody it could wait for is gone.
 * 3. `result` is written once, before `is_ended`.
 *
 * Threads: `control` owns the life; `monitor` only asks the sources for their offsets, because such
 * a question may block (files are not asked); the API locks `lock` for what both touch.
 */
#ifndef ENGINE_ENGINE_H
#define ENGINE_ENGINE_H

#include <pthread.h>

#include "apply/solo.h"
#include "apply/stream.h"
#include "apply/topology.h"
#include "core/engine/config.h"
#include "core/engine/engine_expiry.h"
#include "core/engine/losses.h"
#include "core/engine/precheck.h"
#include "core/engine/resume.h"
#include "core/engine/syn.h"

/* One reading of a source: when, and how far it was. */
struct offset_sample {
    uint64_t time_ms;
    uint64_t offset;
};
#define SAMPLES 512

/* Heartbeats written to a source that have not arrived. */
#define HEARTBEAT_WRITES 32
struct heartbeat_writes {
    uint64_t next_ms; /* the monitor's own: when the next is due                  */
    /* Under engine->lock; W: monitor, and status drops what arrived. */
    bool is_refused;
    uint64_t times_us[HEARTBEAT_WRITES]; /* ring, ascending */
    uint32_t head;
    uint32_t count;
};

/* What control and monitor know about a stream beyond the pipeline. */
struct watch {
    uint64_t keys_total;
    /* Under engine->lock. */
    struct offset_sample samples[SAMPLES]; /* ring, ascending times */
    uint32_t sample_head;
    uint32_t sample_count;
    uint64_t offset_source;
    struct heartbeat_writes heartbeat;
    /* Control's own. */
    uint64_t target; /* SYNC_ONCE: the offset to reach */
    bool has_target;
    uint32_t session_seen;
    uint32_t applied_seen;
    int feed_state_seen;
    bool was_diverged;
    enum syn_phase phase_seen;
    struct offset_sample catch_up; /* engine_expiry.c: the reading that is to be reached, */
    bool has_catch_up;             /* if there is one                                     */
    uint64_t settle_offset;        /* engine_expiry.c: up to here times may have been put off */
};

/* What a pipeline had counted when it was taken down, because the destination had failed. */
struct carried {
    uint64_t commands;
    uint64_t dropped;
    uint64_t values_rewritten;
    uint64_t values_degraded;
    uint64_t values_skipped;
    uint64_t transactions_split;
    uint64_t left_out;
    uint64_t keys_refetched;
    uint64_t keys_refetched_large;
    uint64_t diverged_no_effect;
    uint64_t diverged_error;
    uint64_t diverged_script;
    uint64_t diverged_partial;
    uint64_t diverged_unknown;
    uint64_t relayed;
    uint64_t diverged_relay;
    uint64_t held_peak;
    uint64_t bytes_received;
    uint64_t bytes_sent;
    uint64_t operations;
    uint64_t keys;
    uint32_t restarts;
};

/* Up to where a stream was acknowledged when an operation was refused. */
struct acked {
    bool is_live;
    uint64_t offset;
    uint32_t db;
};

/* A lane's way to other nodes of the cluster. */
struct lane_follower {
    struct syn_engine *engine;
    uint32_t lane;
    struct redirect redirect;
};

enum stop_request { STOP_NONE, STOP_DRAIN, STOP_NOW };

struct syn_engine {
    struct config config;
    syn_event_callback *on_event;
    void *event_arg;

    struct topology source;
    struct topology destination;
    bool destination_was_empty;
    struct intake intake; /* asked after the prechecks */
    struct losses losses;

    struct position_plan positions; /* mode POSITION_OFF: none are kept */
    struct resume resume;
    char instance[POSITION_INSTANCE_SIZE +
                  1]; /* of this engine, through all its pipelines; "": none */
    char replaced[POSITION_INSTANCE_SIZE + 1]; /* resume.h */
    uint32_t turn;                             /* pipelines so far */
    bool is_restart;                           /* positions are not continued */

    struct engine_expiry expiry; /* control's own */
    struct failure failure;
    struct waker control_waker;
    struct task task;
    struct solo solo; /* is_solo: its thread is all that reads, decodes and writes */
    bool is_solo;
    struct route route;
    uint32_t stream_count;
    uint32_t decoder_count;
    uint32_t reader_count;
    uint32_t applier_count;
    uint32_t lane_count;
    struct feed *feeds;
    struct stream *streams;
    struct decoder *decoders;
    struct reader *readers;
    struct applier *appliers;
    struct lane *lanes;
    struct lane_follower *followers; /* one per lane */
    void *lists; /* arrays of pointers that readers, decoders and appliers are given */
    struct watch *watches;
    struct asker asker;
    struct question **questions; /* of the streams, for the asker */
    const char *io_name;

    pthread_t control;
    pthread_t monitor;
    bool has_control;
    bool has_monitor;

    /* Held by control while the pipeline is taken down or put up, and by who looks at it. */
    pthread_mutex_t build_lock;
    bool is_built;          /* under build_lock */
    struct carried carried; /* under build_lock: counts of pipelines that were taken down */
    uint64_t trouble_ms;    /* control's own: since when the destination fails; 0: it does not */
    uint32_t retries;       /* control's own: in a row                                       */
    uint64_t up_ms;         /* control's own: when a pipeline was put up again */
    bool was_refused;       /* control's own: a pipeline has ended by the destination's state */
    struct acked *acked;    /* control's own: by stream, after a refusal; NULL: none */
    uint32_t acked_count;

    pthread_mutex_t lock; /* samples, is_ended and result */
    pthread_cond_t ended; /* is_ended changed                        */
    bool is_ended;
    struct syn_err result;

    /* W: API; R: control, acquire. Only grows. */
    _Atomic int stop_request; /* enum stop_request */
    _Atomic bool pause_wanted;
    _Atomic bool monitor_stop;
    /* W: control, release; R: any. */
    _Atomic int phase; /* enum syn_phase */
    _Atomic uint64_t started_ms;
    _Atomic uint64_t snapshot_ended_ms; /* 0: not yet */
    _Atomic uint64_t ended_ms;          /* 0: not yet */
};

/* All sources are RDB files: nothing to ask, no stream, and an end. */
static inline bool engine_has_files(const struct syn_engine *engine)
{
    return engine->config.files.count > 0;
}

/* ---- engine_build.c ---- */
MUST_CHECK bool engine_build(struct syn_engine *engine, struct syn_err *err);
MUST_CHECK bool engine_start_threads(struct syn_engine *engine, struct syn_err *err);
/* Joins whatever was started, at once. */
void engine_stop_threads(struct syn_engine *engine);
void engine_demolish(struct syn_engine *engine);

/* ---- engine_positions.c ---- */
/* After the route is made: names the lanes' hashes, fences earlier runs, reads where to go on. */
MUST_CHECK bool engine_positions_plan(struct syn_engine *engine, struct syn_err *err);
void engine_positions_free(struct syn_engine *engine);
/* Names a lane's connection, and makes sure that the fields are still ours. */
MUST_CHECK bool engine_positions_claim(struct syn_engine *engine,
                                       uint32_t lane,
                                       struct control *control,
                                       struct syn_err *err);
/* A connection on which a lane's operations follow their keys: redirect.h, open; arg: a
 * lane_follower. The lane's applier. */
MUST_CHECK bool engine_positions_follow(void *arg,
                                        const struct endpoint *endpoint,
                                        struct control *control,
                                        struct syn_err *err);
void engine_positions_feed(const struct syn_engine *engine,
                           uint32_t i,
                           struct feed_options *options);
MUST_CHECK bool engine_positions_stream(struct syn_engine *engine, uint32_t i, struct syn_err *err);
/* Events about what goes on where. */
void engine_positions_tell(struct syn_engine *engine);

/* ---- engine_retry.c ---- */
/* Whether the task may go on from its positions after this error. */
bool engine_may_retry(const struct syn_engine *engine, const struct syn_err *err);
/* Takes the pipeline down and puts it up again, trying as long as the configuration says. False:
 * given up, with the last error; or a stop was asked for (SYN_CODE_STOPPED). */
MUST_CHECK bool engine_retry(struct syn_engine *engine, struct syn_err *err);
/* The counts of this pipeline are added to those before. */
void engine_carry(struct syn_engine *engine);

/* ---- engine_control.c ---- */
void *engine_control_main(void *arg);
void engine_event(struct syn_engine *engine,
                  enum syn_event_kind kind,
                  int stream,
                  enum syn_phase phase,
                  enum syn_code code,
                  const char *format,
                  ...) PRINTF_LIKE(6, 7);
enum syn_phase engine_stream_phase(const struct syn_engine *engine, uint32_t i);

/* ---- engine_throttle.c ---- */
MUST_CHECK bool engine_throttle_init(struct syn_engine *engine, struct syn_err *err);
/* For the rest of the task. */
void engine_throttle_lift(struct syn_engine *engine);
/* The rate that holds the stream up, SYN_RATE_COUNT: none. */
enum syn_rate engine_throttle_of(const struct syn_engine *engine, uint32_t i);
/* As they are set now; after engine_build. */

/* ---- engine_monitor.c ---- */
void *engine_monitor_main(void *arg);
/* Reads one source's offset now. */
MUST_CHECK bool source_offset(struct control *control,
                              const struct server *server,
                              const struct config *config,
                              uint64_t *offset,
                              struct syn_err *err);

/* ---- engine_heartbeat.c ---- */
/* Chooses the keys; after the streams are made. */
void engine_heartbeat_init(struct syn_engine *engine);
/* The monitor: writes those that are due, where a connection is open. */
void engine_heartbeat_round(struct syn_engine *engine, struct control *controls, uint64_t now_ms);
/* How long writes take from the source to the destination, as measured; -1: not measured. Under
 * the lock. */
int64_t engine_latency_us(struct syn_engine *engine, uint32_t i, uint64_t now_us);

/* ---- sweep.c ---- */
/* Removes from the destination every key of the stream's slots and databases, or of one database of
 * the destination (DB_NONE: all): before a second full copy, when all that is there was written by
 * this task, and for flushes. Blocking. */
MUST_CHECK bool sweep_stream(
    struct syn_engine *engine, uint32_t i, uint32_t db, uint64_t *removed, struct syn_err *err);

#endif
