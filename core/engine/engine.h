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
 * a question may block; the API locks `lock` for what both touch.
 */
#ifndef ENGINE_ENGINE_H
#define ENGINE_ENGINE_H

#include <pthread.h>

#include "apply/stream.h"
#include "apply/topology.h"
#include "core/engine/config.h"
#include "core/engine/precheck.h"
#include "core/engine/syn.h"

/* One reading of a source: when, and how far it was. */
struct offset_sample {
    uint64_t time_ms;
    uint64_t offset;
};
#define SAMPLES 512

/* What control and monitor know about a stream beyond the pipeline. */
struct watch {
    uint64_t keys_total;
    /* Under engine->lock. */
    struct offset_sample samples[SAMPLES]; /* ring, ascending times */
    uint32_t sample_head;
    uint32_t sample_count;
    uint64_t offset_source;
    /* Control's own. */
    uint64_t target; /* SYNC_ONCE: the offset to reach */
    bool has_target;
    uint32_t session_seen;
    uint32_t applied_seen;
    int feed_state_seen;
    bool was_diverged;
    enum syn_phase phase_seen;
};

enum stop_request { STOP_NONE, STOP_DRAIN, STOP_NOW };

struct syn_engine {
    struct config config;
    syn_event_callback *on_event;
    void *event_arg;

    struct topology source;
    struct topology destination;
    bool destination_was_empty;

    struct failure failure;
    struct waker control_waker;
    struct task task;
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
    void *lists; /* arrays of pointers that readers, decoders and appliers are given */
    struct watch *watches;
    const char *io_name;

    pthread_t control;
    pthread_t monitor;
    bool has_control;
    bool has_monitor;

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

/* ---- engine_build.c ---- */
MUST_CHECK bool engine_build(struct syn_engine *engine, struct syn_err *err);
MUST_CHECK bool engine_start_threads(struct syn_engine *engine, struct syn_err *err);
/* Joins whatever was started, at once. */
void engine_stop_threads(struct syn_engine *engine);
void engine_demolish(struct syn_engine *engine);

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

/* ---- engine_monitor.c ---- */
void *engine_monitor_main(void *arg);
/* Reads one source's offset now. */
MUST_CHECK bool source_offset(struct control *control,
                              const struct server *server,
                              const struct config *config,
                              uint64_t *offset,
                              struct syn_err *err);

/* ---- sweep.c ---- */
/* Removes from the destination every key of the stream's slots and databases: before a second full
 * copy, when all that is there was written by this task. Blocking. */
MUST_CHECK bool
sweep_stream(struct syn_engine *engine, uint32_t i, uint64_t *removed, struct syn_err *err);

#endif
