/*
 * The control thread: watches the pipeline, sweeps, decides when the task is over, and takes
 * everything down.
 *
 * It sleeps until a decoder, a failure or the API wakes it, or a tenth of a second passes. It is
 * the only thread that joins others, and the only one that calls the event callback.
 */
#include "core/engine/engine.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define TICK_MS 100

void engine_event(struct syn_engine *engine,
                  enum syn_event_kind kind,
                  int stream,
                  enum syn_phase phase,
                  enum syn_code code,
                  const char *format,
                  ...)
{
    if (engine->on_event == NULL) {
        return;
    }
    char text[640];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    struct syn_event event = {.kind = kind,
                              .unix_ms = clock_unix_ms(),
                              .stream = stream,
                              .phase = phase,
                              .code = code,
                              .text = text};
    engine->on_event(engine->event_arg, &event);
}

static void set_phase(struct syn_engine *engine, enum syn_phase phase)
{
    if (atomic_load_relaxed(&engine->phase) == (int)phase) {
        return;
    }
    atomic_store_release(&engine->phase, (int)phase);
    engine_event(engine, SYN_EVENT_PHASE, -1, phase, SYN_CODE_OK, "%s", syn_phase_name(phase));
}

/* ---- streams ---- */

enum syn_phase engine_stream_phase(const struct syn_engine *engine, uint32_t i)
{
    const struct stream *stream = &engine->streams[i];
    int state = atomic_load_acquire(&stream->shown_state);
    uint32_t snapshots = atomic_load_acquire(&engine->feeds[i].snapshot_count);
    uint32_t applied = atomic_load_acquire(&stream->snapshots_applied);
    if (state != STREAM_LIVE || applied != snapshots) {
        return SYN_PHASE_SNAPSHOT;
    }
    return engine_has_files(engine) ? SYN_PHASE_DONE : SYN_PHASE_LIVE;
}

static bool phase_is_past_snapshot(enum syn_phase phase)
{
    return phase == SYN_PHASE_LIVE || phase == SYN_PHASE_DONE;
}

/* Every file is at the destination whole. */
static bool files_are_loaded(const struct syn_engine *engine)
{
    for (uint32_t i = 0; i < engine->stream_count; i++) {
        if (engine_stream_phase(engine, i) != SYN_PHASE_DONE) {
            return false;
        }
    }
    return true;
}

/* Files are never gone on with after a failure of the destination: engine_retry.c. */
static void files_advise(struct syn_err *err)
{
    if (err->code == SYN_CODE_DESTINATION_CONNECT || err->code == SYN_CODE_DESTINATION_STATE) {
        err_context(err,
                    "the files are loaded in part (when the destination is well again, start anew "
                    "with --on-nonempty overwrite: every key is replaced whole)");
    }
}

static void watch_stream(struct syn_engine *engine, uint32_t i)
{
    struct watch *watch = &engine->watches[i];
    enum syn_phase phase = engine_stream_phase(engine, i);
    if (phase != watch->phase_seen) {
        char text[ENDPOINT_TEXT_MAX];
        watch->phase_seen = phase;
        engine_event(engine,
                     SYN_EVENT_PHASE,
                     (int)i,
                     phase,
                     SYN_CODE_OK,
                     "source %s: %s",
                     endpoint_text(&engine->feeds[i].options.endpoint, text),
                     syn_phase_name(phase));
    }
    if (!watch->was_diverged && atomic_load_relaxed(&engine->streams[i].diverged_relay) > 0) {
        char text[ENDPOINT_TEXT_MAX];
        watch->was_diverged = true;
        engine_event(engine,
                     SYN_EVENT_WARNING,
                     (int)i,
                     phase,
                     SYN_CODE_OK,
                     "source %s: a command over several slots did not find at the destination what "
                     "the source had; a key expired there earlier, or something else writes to it. "
                     "Its keys are read again at the source; `diverged_relay` counts them",
                     endpoint_text(&engine->feeds[i].options.endpoint, text));
    }
}

static bool sweep_if_wanted(struct syn_engine *engine, uint32_t i, struct syn_err *err)
{
    struct stream *stream = &engine->streams[i];
    if (!atomic_load_acquire(&stream->sweep_wanted)) {
        return true;
    }
    char text[ENDPOINT_TEXT_MAX];
    endpoint_text(&engine->feeds[i].options.endpoint, text);
    if (engine->destination_was_empty) {
        uint64_t removed = 0;
        engine_event(engine,
                     SYN_EVENT_WARNING,
                     (int)i,
                     SYN_PHASE_SNAPSHOT,
                     SYN_CODE_OK,
                     "source %s starts a new full copy; removing what the one before wrote",
                     text);
        if (!sweep_stream(engine, i, DB_NONE, &removed, err)) {
            return false;
        }
        engine_event(engine,
                     SYN_EVENT_INFO,
                     (int)i,
                     SYN_PHASE_SNAPSHOT,
                     SYN_CODE_OK,
                     "removed %llu keys of source %s",
                     (unsigned long long)removed,
                     text);
    } else {
        engine_event(
            engine,
            SYN_EVENT_WARNING,
            (int)i,
            SYN_PHASE_SNAPSHOT,
            SYN_CODE_OK,
            "source %s starts a new full copy over existing data: keys that were deleted at the "
            "source since the first one stay at the destination; syncline verify lists them",
            text);
    }
    atomic_store_release(&stream->sweep_wanted, false);
    for (uint32_t d = 0; d < engine->decoder_count; d++) {
        waker_wake(&engine->decoders[d].waker);
    }
    return true;
}

/* A decoder waits for the end of a flush: apply/flush.h. */
static bool flushes_run(struct syn_engine *engine, struct syn_err *err)
{
    for (uint32_t i = 0; i < engine->stream_count; i++) {
        struct stream *stream = &engine->streams[i];
        if (!atomic_load_acquire(&stream->flush_wanted)) {
            continue;
        }
        uint64_t removed = 0;
        char text[ENDPOINT_TEXT_MAX];
        if (!sweep_stream(engine, i, stream->flush_db, &removed, err)) {
            return false;
        }
        engine_event(engine,
                     SYN_EVENT_INFO,
                     (int)i,
                     SYN_PHASE_LIVE,
                     SYN_CODE_OK,
                     "source %s was flushed: its %llu keys are removed",
                     endpoint_text(&engine->feeds[i].options.endpoint, text),
                     (unsigned long long)removed);
        atomic_store_release(&stream->flush_wanted, false);
        waker_wake(stream->router->waker);
    }
    return true;
}

/* SYNC_ONCE: where the source is at the moment at which the snapshot is applied. */
static bool take_target(struct syn_engine *engine, uint32_t i, struct syn_err *err)
{
    struct watch *watch = &engine->watches[i];
    uint32_t applied = atomic_load_acquire(&engine->streams[i].snapshots_applied);
    if (watch->has_target && watch->applied_seen == applied) {
        return true;
    }
    watch->has_target = false;
    if (atomic_load_acquire(&engine->feeds[i].state) != FEED_LIVE) {
        return true; /* it is being connected again: the feed decides how long that is tried */
    }
    struct control control = {0};
    bool is_read = source_offset(
        &control, &engine->source.shards[i].server, &engine->config, &watch->target, err);
    control_close(&control);
    watch->has_target = is_read;
    watch->applied_seen = applied;
    if (!is_read && (err->code == SYN_CODE_SOURCE_CONNECT || err->code == SYN_CODE_SOURCE_STATE)) {
        err_clear(err);
        return true;
    }
    return is_read;
}

/* Whether this stream has done what the mode asks for. */
static bool
stream_is_over(struct syn_engine *engine, uint32_t i, bool *is_over, struct syn_err *err)
{
    *is_over = false;
    if (engine->config.mode == SYNC_FOLLOW ||
        !phase_is_past_snapshot(engine_stream_phase(engine, i))) {
        return true;
    }
    if (engine->config.mode == SYNC_ONCE) {
        if (!take_target(engine, i, err)) {
            return false;
        }
        uint64_t applied = atomic_load_acquire(&engine->feeds[i].offset_applied);
        /* Looked at again: a second full copy, begun while the source was asked, sets the offset
         * before its snapshot is there. */
        *is_over = engine->watches[i].has_target && applied >= engine->watches[i].target &&
                   engine_stream_phase(engine, i) == SYN_PHASE_LIVE;
        return true;
    }
    *is_over = true;
    return true;
}

/* ---- the watch ---- */

/* After a retry something new is acknowledged: the destination is well again. */
static void engine_recovered(struct syn_engine *engine)
{
    uint64_t acked = 0;
    for (uint32_t i = 0; i < engine->lane_count && engine->trouble_ms != 0; i++) {
        acked += atomic_load_relaxed(&engine->lanes[i].ops_acked);
    }
    if (acked > 0) {
        engine->trouble_ms = 0;
        engine->retries = 0;
    }
}

static bool watch_feeds(struct syn_engine *engine, struct syn_err *err)
{
    for (uint32_t i = 0; i < engine->stream_count; i++) {
        if (atomic_load_acquire(&engine->feeds[i].state) == FEED_FAILED) {
            *err = engine->feeds[i].err;
            return false;
        }
    }
    return true;
}

static void watch_phase(struct syn_engine *engine)
{
    bool is_past = true;
    for (uint32_t i = 0; i < engine->stream_count; i++) {
        watch_stream(engine, i);
        is_past = is_past && phase_is_past_snapshot(engine->watches[i].phase_seen);
    }
    bool is_live = is_past && !engine_has_files(engine);
    if (is_past && atomic_load_relaxed(&engine->snapshot_ended_ms) == 0) {
        atomic_store_release(&engine->snapshot_ended_ms, clock_monotonic_ms());
    }
    if (is_live) {
        engine_recovered(engine);
    }
    bool is_paused = atomic_load_acquire(&engine->pause_wanted);
    bool was_paused = atomic_load_relaxed(&engine->task.paused);
    if (is_paused != was_paused) {
        atomic_store_release(&engine->task.paused, is_paused);
        for (uint32_t d = 0; d < engine->decoder_count; d++) {
            waker_wake(&engine->decoders[d].waker);
        }
    }
    set_phase(engine, is_paused ? SYN_PHASE_PAUSED : is_live ? SYN_PHASE_LIVE : SYN_PHASE_SNAPSHOT);
}

/* One look at everything; *is_over when the task has done what it was started for. */
static bool watch_once(struct syn_engine *engine, bool *is_over, struct syn_err *err)
{
    if (failure_is_raised(&engine->failure)) {
        *err = engine->failure.err;
        return false;
    }
    if (!watch_feeds(engine, err)) {
        return false;
    }
    watch_phase(engine);
    if (!flushes_run(engine, err)) {
        return false;
    }
    *is_over = true;
    for (uint32_t i = 0; i < engine->stream_count; i++) {
        bool is_stream_over = false;
        if (!sweep_if_wanted(engine, i, err) || !stream_is_over(engine, i, &is_stream_over, err)) {
            return false;
        }
        *is_over = *is_over && is_stream_over;
    }
    bool is_exact;
    if (!engine_expiry_watch(engine, &is_exact, err)) {
        return false;
    }
    *is_over = *is_over && is_exact;
    return true;
}

static void control_sleep(struct syn_engine *engine)
{
    waker_prepare(&engine->control_waker);
    bool is_asked = atomic_load_acquire(&engine->stop_request) != STOP_NONE ||
                    failure_is_raised(&engine->failure);
    waker_wait(&engine->control_waker, is_asked ? 1 : TICK_MS);
}

/* ---- the end ---- */

static bool feeds_are_stopped(const struct syn_engine *engine)
{
    for (uint32_t i = 0; i < engine->stream_count; i++) {
        int state = atomic_load_acquire(&engine->feeds[i].state);
        if (state != FEED_STOPPED && state != FEED_FAILED) {
            return false;
        }
    }
    return true;
}

static bool decoders_are_drained(const struct syn_engine *engine)
{
    for (uint32_t i = 0; i < engine->decoder_count; i++) {
        if (!atomic_load_acquire(&engine->decoders[i].is_drained)) {
            return false;
        }
    }
    return true;
}

/* Waits for a step of the drain; false when it must be given up. */
static bool drain_wait(struct syn_engine *engine,
                       bool (*is_reached)(const struct syn_engine *engine),
                       uint64_t deadline_ms,
                       struct syn_err *err)
{
    while (!is_reached(engine)) {
        if (failure_is_raised(&engine->failure)) {
            *err = engine->failure.err;
            return false;
        }
        if (!flushes_run(engine, err)) {
            return false;
        }
        if (atomic_load_acquire(&engine->stop_request) == STOP_NOW) {
            return ERR(
                err, SYN_CODE_STOPPED, "stopped before everything that was received was written");
        }
        if (clock_monotonic_ms() >= deadline_ms) {
            return ERR(err,
                       SYN_CODE_DESTINATION_STATE,
                       "the destination did not take what was received within %llu ms; the sources "
                       "are ahead "
                       "of it",
                       (unsigned long long)engine->config.drain_timeout_ms);
        }
        waker_prepare(&engine->control_waker);
        waker_wait(&engine->control_waker, is_reached(engine) ? 0 : 10);
    }
    return true;
}

static void wake_decoders(struct syn_engine *engine)
{
    for (uint32_t i = 0; i < engine->decoder_count; i++) {
        waker_wake(&engine->decoders[i].waker);
    }
}

/* Whether a source that was asked to be followed up to its target has been, or cannot be. */
static bool source_is_received(const struct syn_engine *engine, uint32_t i)
{
    const struct feed *feed = &engine->feeds[i];
    return !engine->watches[i].has_target || atomic_load_acquire(&feed->state) != FEED_LIVE ||
           atomic_load_acquire(&feed->offset_received) >= engine->watches[i].target;
}

/* What the sources had written when the stop was asked for may still be on its way, or wait there
 * for our first ACK. It is received before the feeds are stopped, as far as half of the drain's
 * time allows; a source that does not answer is left where it is. */
static void receive_what_was_written(struct syn_engine *engine, uint64_t deadline_ms)
{
    for (uint32_t i = 0; i < engine->stream_count; i++) {
        struct watch *watch = &engine->watches[i];
        struct control control = {0};
        struct syn_err ignored;
        watch->has_target = clock_monotonic_ms() < deadline_ms &&
                            atomic_load_acquire(&engine->feeds[i].state) == FEED_LIVE &&
                            source_offset(&control,
                                          &engine->source.shards[i].server,
                                          &engine->config,
                                          &watch->target,
                                          &ignored);
        control_close(&control);
    }
    for (uint32_t i = 0; i < engine->stream_count; i++) {
        while (!source_is_received(engine, i) && clock_monotonic_ms() < deadline_ms &&
               !failure_is_raised(&engine->failure) &&
               atomic_load_acquire(&engine->stop_request) != STOP_NOW) {
            waker_prepare(&engine->control_waker);
            waker_wait(&engine->control_waker, 5);
        }
    }
}

static bool drain(struct syn_engine *engine, struct syn_err *err)
{
    engine_expiry_stop(engine); /* in --once it is over; else the next run goes on with it */
    set_phase(engine, SYN_PHASE_DRAINING);
    atomic_store_release(&engine->task.paused, false);
    engine_throttle_lift(engine); /* wakes the decoders */
    if (engine->config.mode == SYNC_FOLLOW) {
        receive_what_was_written(engine,
                                 clock_monotonic_ms() + engine->config.drain_timeout_ms / 2);
    }
    uint64_t deadline_ms = clock_monotonic_ms() + engine->config.drain_timeout_ms;
    for (uint32_t i = 0; i < engine->stream_count; i++) {
        atomic_store_release(&engine->feeds[i].stop_wanted, true);
    }
    for (uint32_t i = 0; i < engine->reader_count; i++) {
        reader_wake(&engine->readers[i]);
    }
    if (!drain_wait(engine, feeds_are_stopped, deadline_ms, err)) {
        return false;
    }
    atomic_store_release(&engine->task.drain, true);
    wake_decoders(engine);
    if (!drain_wait(engine, decoders_are_drained, deadline_ms, err)) {
        return false;
    }
    engine_expiry_finish(engine);
    return true;
}

/* SYNC_ONCE is over: nothing will be continued. What cannot be removed is only told. */
static void forget_positions(struct syn_engine *engine)
{
    struct syn_err err;
    if (engine->config.mode == SYNC_ONCE && engine->config.has_positions &&
        !resume_forget(&engine->config, &engine->destination, &engine->positions, &err)) {
        engine_event(engine,
                     SYN_EVENT_WARNING,
                     -1,
                     SYN_PHASE_DRAINING,
                     err.code,
                     "the positions (keys syncline:… at the destination) stay: %s",
                     err.msg);
    }
}

static void finish(struct syn_engine *engine, const struct syn_err *err)
{
    engine_expiry_stop(engine);
    engine_stop_threads(engine);
    atomic_store_release(&engine->monitor_stop, true);
    if (engine->has_monitor) {
        pthread_join(engine->monitor, NULL);
        engine->has_monitor = false;
    }
    if (err->code == SYN_CODE_OK) {
        forget_positions(engine);
    }
    atomic_store_release(&engine->ended_ms, clock_monotonic_ms());
    bool is_failed = err->code != SYN_CODE_OK && err->code != SYN_CODE_STOPPED;
    if (is_failed) {
        engine_event(engine, SYN_EVENT_ERROR, -1, SYN_PHASE_FAILED, err->code, "%s", err->msg);
    }
    set_phase(engine, is_failed ? SYN_PHASE_FAILED : SYN_PHASE_DONE);
    pthread_mutex_lock(&engine->lock);
    engine->result = *err;
    engine->is_ended = true;
    pthread_cond_broadcast(&engine->ended);
    pthread_mutex_unlock(&engine->lock);
}

/* By which ways the snapshot goes. */
static void report_intake(struct syn_engine *engine)
{
    char text[INTAKE_TEXT_MAX];
    intake_text(&engine->intake, text);
    engine_event(engine,
                 engine->intake.has_restore ? SYN_EVENT_INFO : SYN_EVENT_WARNING,
                 -1,
                 SYN_PHASE_SNAPSHOT,
                 SYN_CODE_OK,
                 "%s",
                 text);
}

void *engine_control_main(void *arg)
{
    struct syn_engine *engine = arg;
    struct syn_err err;
    err_clear(&err);
    bool is_over = false;
    bool is_good = true;
    engine_event(engine, SYN_EVENT_PHASE, -1, SYN_PHASE_SNAPSHOT, SYN_CODE_OK, "snapshot");
    engine_positions_tell(engine);
    report_intake(engine);
    while (is_good && !is_over && atomic_load_acquire(&engine->stop_request) == STOP_NONE) {
        control_sleep(engine);
        is_good = watch_once(engine, &is_over, &err);
        if (!is_good && engine_may_retry(engine, &err)) {
            is_good = engine_retry(engine, &err);
        }
    }
    if (!is_good && engine_has_files(engine)) {
        files_advise(&err);
    }
    if (is_good && atomic_load_acquire(&engine->stop_request) == STOP_NOW) {
        ERR(&err, SYN_CODE_STOPPED, "stopped before everything that was received was written");
    } else if (is_good && drain(engine, &err)) {
        err_clear(&err);
        if (engine_has_files(engine) && !files_are_loaded(engine)) {
            /* Half a file is no state that the source ever had: not an end as asked for. */
            ERR(&err, SYN_CODE_STOPPED, "stopped before the source's files were loaded whole");
        }
    }
    finish(engine, &err);
    return NULL;
}
