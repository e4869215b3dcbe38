/*
 * Going on after the destination failed.
 *
 * Whatever happened there (the connection broke, it restarted, failed over, moved slots, ran out of
 * memory), what is known for certain is what its positions say. So the whole pipeline is taken down
 * and put up again as a new run would do it: topology, fencing, positions, PSYNC from there. A
 * stream that has no position yet, because its snapshot was under way, begins again.
 *
 * Files as source have no positions, and what a lost connection had been given may still be
 * executed behind a second start: their task ends, and whoever starts it again knows that the first
 * is over.
 *
 * Between two tries nothing is written but what says whose positions these are, which a destination
 * that is out of memory, loading or read-only refuses like any other write.
 */
#include <string.h>

#include "core/engine/engine.h"

#define RETRY_FIRST_MS 200
#define RETRY_MAX_MS 5000

bool engine_may_retry(const struct syn_engine *engine, const struct syn_err *err)
{
    if (!engine->config.has_positions) {
        return false;
    }
    switch (err->code) {
    case SYN_CODE_DESTINATION_CONNECT:
    case SYN_CODE_SOURCE_CONNECT:
    case SYN_CODE_SOURCE_STATE:
        return engine->config.retry_ms > 0;
    case SYN_CODE_DESTINATION_STATE:
        return engine->config.retry_other_ms > 0;
    case SYN_CODE_UNSUPPORTED:
        return atomic_load_acquire(&engine->task.full_copy_wanted);
    default:
        return false;
    }
}

void engine_carry(struct syn_engine *engine)
{
    struct carried *carried = &engine->carried;
    for (uint32_t i = 0; engine->streams != NULL && i < engine->stream_count; i++) {
        const struct stream *stream = &engine->streams[i];
        carried->commands += atomic_load_relaxed(&stream->commands);
        carried->dropped += atomic_load_relaxed(&stream->dropped);
        carried->values_rewritten += atomic_load_relaxed(&stream->values_rewritten);
        carried->values_degraded += atomic_load_relaxed(&stream->values_degraded);
        carried->values_skipped += atomic_load_relaxed(&stream->values_skipped);
        carried->transactions_split += atomic_load_relaxed(&stream->transactions_split);
        carried->left_out += atomic_load_relaxed(&stream->left_out);
        carried->keys_refetched += atomic_load_relaxed(&stream->keys_refetched);
        carried->keys_refetched_large += atomic_load_relaxed(&stream->keys_refetched_large);
        carried->diverged_no_effect += atomic_load_relaxed(&stream->diverged_no_effect);
        carried->diverged_error += atomic_load_relaxed(&stream->diverged_error);
        carried->diverged_script += atomic_load_relaxed(&stream->diverged_script);
        carried->diverged_partial += atomic_load_relaxed(&stream->diverged_partial);
        carried->diverged_unknown += atomic_load_relaxed(&stream->diverged_unknown);
        carried->relayed += atomic_load_relaxed(&stream->relayed);
        carried->diverged_relay += atomic_load_relaxed(&stream->diverged_relay);
        carried->bytes_received += atomic_load_relaxed(&engine->feeds[i].bytes_received);
    }
    uint64_t held_peak = 0;
    for (uint32_t i = 0; engine->decoders != NULL && i < engine->decoder_count; i++) {
        held_peak += atomic_load_relaxed(&engine->decoders[i].relay.held.peak_count);
    }
    carried->held_peak = held_peak > carried->held_peak ? held_peak : carried->held_peak;
    for (uint32_t i = 0; engine->lanes != NULL && i < engine->lane_count; i++) {
        carried->bytes_sent += atomic_load_relaxed(&engine->lanes[i].bytes_sent);
        carried->operations += atomic_load_relaxed(&engine->lanes[i].ops_acked);
        carried->keys += atomic_load_relaxed(&engine->lanes[i].keys_acked);
    }
}

/* The same between two tries: what was a server before is one still, if it closes connections
 * without a word. */
static bool may_try_again(const struct syn_engine *engine, const struct syn_err *err)
{
    bool is_odd =
        err->code == SYN_CODE_DESTINATION_PROTOCOL || err->code == SYN_CODE_SOURCE_PROTOCOL;
    return is_odd ? engine->config.retry_ms > 0 : engine_may_retry(engine, err);
}

/* ---- down ---- */

static void monitor_stop(struct syn_engine *engine)
{
    atomic_store_release(&engine->monitor_stop, true);
    if (engine->has_monitor) {
        pthread_join(engine->monitor, NULL);
        engine->has_monitor = false;
    }
    atomic_store_release(&engine->monitor_stop, false);
}

/* Behind a refusal, positions may say more than what has happened: what was acknowledged counts. It
 * is kept until a pipeline has run, since the next try may be refused as well. */
static void keep_acked(struct syn_engine *engine)
{
    mem_free(MEM_ENGINE, engine->acked);
    engine->acked = mem_calloc(MEM_ENGINE, engine->stream_count * sizeof(struct acked));
    engine->acked_count = engine->acked == NULL ? 0 : engine->stream_count;
    for (uint32_t i = 0; i < engine->acked_count; i++) {
        const struct stream *stream = &engine->streams[i];
        engine->acked[i] =
            (struct acked){.is_live = engine_stream_phase(engine, i) == SYN_PHASE_LIVE &&
                                      engine->positions.mode != POSITION_OFF,
                           .offset = atomic_load_acquire(&engine->feeds[i].offset_applied),
                           .db = stream->applied_db};
    }
}

static void take_down(struct syn_engine *engine, const struct syn_err *err)
{
    engine_expiry_stop(engine);
    engine->expiry.was_put_off = true; /* as far as is known; the next pipeline counts anew */
    engine_stop_threads(engine);
    monitor_stop(engine);
    if (engine->is_built) {
        mem_free(MEM_ENGINE, engine->acked);
        engine->acked = NULL;
        engine->acked_count = 0;
    }
    if (engine->is_built && err->code == SYN_CODE_DESTINATION_STATE) {
        keep_acked(engine);
        engine->was_refused = true;
    }
    pthread_mutex_lock(&engine->build_lock);
    if (engine->is_built) {
        engine_carry(engine);
        engine->is_built = false;
    }
    pthread_mutex_unlock(&engine->build_lock);
    engine_demolish(engine);
    topology_deinit(&engine->source);
    topology_deinit(&engine->destination);
    memset(&engine->task, 0, sizeof(engine->task));
    memset(&engine->route, 0, sizeof(engine->route));
    engine->failure = (struct failure){.control = &engine->control_waker};
}

/* ---- up ---- */

static bool put_up(struct syn_engine *engine, struct syn_err *err)
{
    bool was_empty = engine->destination_was_empty;
    if (!precheck_run(&engine->config,
                      &engine->source,
                      &engine->destination,
                      true,
                      &engine->destination_was_empty,
                      &engine->resume,
                      err)) {
        engine->destination_was_empty = was_empty;
        return false;
    }
    engine->destination_was_empty = was_empty;
    if (!intake_ask(
            &engine->intake, &engine->destination, (int)engine->config.connect_timeout_ms, err) ||
        !engine_build(engine, err) || !engine_start_threads(engine, err)) {
        return false;
    }
    pthread_mutex_lock(&engine->build_lock);
    engine->is_built = true;
    engine->carried.restarts++;
    engine->up_ms = clock_monotonic_ms();
    pthread_mutex_unlock(&engine->build_lock);
    engine->has_monitor =
        thread_start(&engine->monitor, "monitor", 0, engine_monitor_main, engine, err);
    return engine->has_monitor;
}

static bool wait_ms(struct syn_engine *engine, uint64_t ms)
{
    uint64_t end_ms = clock_monotonic_ms() + ms;
    while (atomic_load_acquire(&engine->stop_request) == STOP_NONE) {
        uint64_t now_ms = clock_monotonic_ms();
        if (now_ms >= end_ms) {
            return true;
        }
        waker_prepare(&engine->control_waker);
        waker_wait(&engine->control_waker, (int)(end_ms - now_ms < 50 ? end_ms - now_ms : 50));
    }
    return false;
}

static uint64_t retry_limit_ms(const struct syn_engine *engine, const struct syn_err *err)
{
    return err->code == SYN_CODE_DESTINATION_STATE ? engine->config.retry_other_ms
                                                   : engine->config.retry_ms;
}

static uint64_t delay_ms(const struct syn_engine *engine)
{
    if (engine->retries == 0 && clock_monotonic_ms() - engine->up_ms < RETRY_FIRST_MS) {
        return RETRY_FIRST_MS; /* the one before was soon over: something is refused steadily */
    }
    if (engine->retries == 0) {
        return 0; /* most connections that break can be made again at once */
    }
    uint32_t shift = engine->retries - 1 < 10 ? engine->retries - 1 : 10;
    uint64_t delay = (uint64_t)RETRY_FIRST_MS << shift;
    return delay < RETRY_MAX_MS ? delay : RETRY_MAX_MS;
}

bool engine_retry(struct syn_engine *engine, struct syn_err *err)
{
    engine->is_restart = atomic_load_acquire(&engine->task.full_copy_wanted);
    take_down(engine, err);
    atomic_store_release(&engine->phase, SYN_PHASE_RETRYING);
    if (engine->trouble_ms == 0) {
        engine->trouble_ms = clock_monotonic_ms();
    }
    for (;;) {
        uint64_t now_ms = clock_monotonic_ms();
        uint64_t limit_ms = retry_limit_ms(engine, err);
        if (engine->retries > 0 && now_ms - engine->trouble_ms >= limit_ms) {
            err_context(
                err, "gave up after trying again for %llu ms", (unsigned long long)limit_ms);
            return false;
        }
        uint64_t pause_ms = delay_ms(engine);
        engine_event(engine,
                     SYN_EVENT_WARNING,
                     -1,
                     SYN_PHASE_RETRYING,
                     err->code,
                     "%s; going on from the positions in %llu ms",
                     err->msg,
                     (unsigned long long)pause_ms);
        engine->retries++;
        if (!wait_ms(engine, pause_ms)) {
            err_context(err, "stopped before it could be tried again; a new start goes on");
            return false;
        }
        if (put_up(engine, err)) {
            engine->is_restart = false;
            engine_positions_tell(engine);
            return true;
        }
        take_down(engine, err);
        if (!may_try_again(engine, err)) {
            return false;
        }
    }
}
