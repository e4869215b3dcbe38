#include "core/engine/engine.h"

#include <string.h>

/* When the source was where we are now: the first later reading that was ahead of us. */
static int64_t lag_of(const struct watch *watch, uint64_t applied, uint64_t now_ms)
{
    if (watch->sample_count == 0) {
        return -1;
    }
    for (uint32_t i = 0; i < watch->sample_count; i++) {
        const struct offset_sample *sample = &watch->samples[(watch->sample_head + i) % SAMPLES];
        if (sample->offset > applied) {
            return (int64_t)(now_ms - sample->time_ms);
        }
    }
    return 0;
}

static enum syn_wait wait_of(const struct syn_engine *engine, uint32_t i)
{
    const struct stream *stream = &engine->streams[i];
    int state = atomic_load_acquire(&engine->feeds[i].state);
    if (atomic_load_relaxed(&engine->task.paused)) {
        return SYN_WAIT_PAUSED;
    }
    if (state == FEED_CONNECTING || state == FEED_HANDSHAKE) {
        return engine_has_files(engine) ? SYN_WAIT_NONE : SYN_WAIT_RECONNECT;
    }
    if (atomic_load_relaxed(&stream->router->is_waiting) ||
        atomic_load_relaxed(&stream->question.state) == QUESTION_POSTED) {
        return SYN_WAIT_DESTINATION;
    }
    if (atomic_load_relaxed(&stream->is_input_empty)) {
        bool is_read = engine_has_files(engine) && state != FEED_SNAPSHOT; /* all there is */
        return is_read ? SYN_WAIT_NONE : SYN_WAIT_SOURCE;
    }
    return engine_throttle_of(engine, i) == SYN_RATE_COUNT ? SYN_WAIT_NONE : SYN_WAIT_THROTTLE;
}

static void
stream_status(struct syn_engine *engine, uint32_t i, uint64_t now_ms, struct syn_stream_status *out)
{
    const struct stream *stream = &engine->streams[i];
    struct feed *feed = &engine->feeds[i];
    const struct watch *watch = &engine->watches[i];
    endpoint_text(&feed->options.endpoint, out->source);
    out->phase = engine_stream_phase(engine, i);
    out->is_file = engine_has_files(engine);
    out->wait = wait_of(engine, i);
    out->throttle = out->wait == SYN_WAIT_THROTTLE ? engine_throttle_of(engine, i) : SYN_RATE_COUNT;
    out->snapshot_keys = atomic_load_relaxed(&stream->keys_read);
    uint64_t announced = atomic_load_relaxed(&stream->keys_announced);
    out->snapshot_keys_total = announced > watch->keys_total ? announced : watch->keys_total;
    out->snapshot_bytes = atomic_load_relaxed(&stream->snapshot_bytes);
    out->snapshot_bytes_total = atomic_load_relaxed(&feed->payload_bytes);
    out->commands = atomic_load_relaxed(&stream->commands);
    out->bytes_received = atomic_load_relaxed(&feed->bytes_received);
    out->offset_received = atomic_load_relaxed(&feed->offset_received);
    out->offset_applied = atomic_load_acquire(&feed->offset_applied);
    out->sessions = atomic_load_relaxed(&feed->session_count);
    out->snapshots = atomic_load_relaxed(&feed->snapshot_count);
    uint32_t held = feed->pool.count - ring_count(&feed->pool.free);
    out->queue_percent = feed->pool.count == 0 ? 0 : held * 100 / feed->pool.count;
    out->lag_ms = -1;
    out->latency_ms = -1;
    out->latency_is_estimate = true;
    pthread_mutex_lock(&engine->lock);
    out->offset_source = watch->offset_source;
    if (out->phase == SYN_PHASE_LIVE) {
        out->lag_ms = lag_of(watch, out->offset_applied, now_ms);
        int64_t latency_us = engine_latency_us(engine, i, now_ms * 1000);
        out->latency_is_estimate = latency_us < 0;
        out->latency_ms = latency_us < 0 ? out->lag_ms : latency_us / 1000;
    }
    pthread_mutex_unlock(&engine->lock);
    if (out->offset_source < out->offset_received) {
        out->offset_source = out->offset_received; /* the reading is older than what came since */
    }
    out->lag_bytes =
        out->offset_source > out->offset_applied ? out->offset_source - out->offset_applied : 0;
}

static void status_sum(struct syn_engine *engine, struct syn_status *status)
{
    status->lag_ms = -1;
    status->latency_ms = -1;
    status->latency_is_estimate = false;
    for (uint32_t i = 0; i < status->stream_count; i++) {
        const struct syn_stream_status *stream = &status->streams[i];
        status->keys_total += stream->snapshot_keys_total;
        status->bytes_received += stream->bytes_received;
        status->commands += stream->commands;
        status->lag_bytes += stream->lag_bytes;
        status->lag_ms = stream->lag_ms > status->lag_ms ? stream->lag_ms : status->lag_ms;
        status->latency_ms =
            stream->latency_ms > status->latency_ms ? stream->latency_ms : status->latency_ms;
        status->latency_is_estimate = status->latency_is_estimate || stream->latency_is_estimate;
        status->dropped += atomic_load_relaxed(&engine->streams[i].dropped);
        status->keys_dropped += atomic_load_relaxed(&engine->streams[i].keys_dropped);
        status->partial_dropped += atomic_load_relaxed(&engine->streams[i].partial_dropped);
        status->commands_skipped += atomic_load_relaxed(&engine->streams[i].commands_skipped);
        status->values_rewritten += atomic_load_relaxed(&engine->streams[i].values_rewritten);
        status->values_degraded += atomic_load_relaxed(&engine->streams[i].values_degraded);
        status->values_skipped += atomic_load_relaxed(&engine->streams[i].values_skipped);
        status->values_corrupt += atomic_load_relaxed(&engine->streams[i].values_corrupt);
        status->transactions_split += atomic_load_relaxed(&engine->streams[i].transactions_split);
        status->commands_left_out += atomic_load_relaxed(&engine->streams[i].left_out);
        status->keys_refetched += atomic_load_relaxed(&engine->streams[i].keys_refetched);
        status->keys_refetched_large +=
            atomic_load_relaxed(&engine->streams[i].keys_refetched_large);
        status->diverged_no_effect += atomic_load_relaxed(&engine->streams[i].diverged_no_effect);
        status->diverged_error += atomic_load_relaxed(&engine->streams[i].diverged_error);
        status->diverged_script += atomic_load_relaxed(&engine->streams[i].diverged_script);
        status->diverged_partial += atomic_load_relaxed(&engine->streams[i].diverged_partial);
        status->diverged_unknown += atomic_load_relaxed(&engine->streams[i].diverged_unknown);
        status->relayed += atomic_load_relaxed(&engine->streams[i].relayed);
        status->diverged_relay += atomic_load_relaxed(&engine->streams[i].diverged_relay);
    }
    for (uint32_t i = 0; engine->decoders != NULL && i < engine->decoder_count; i++) {
        const struct held *held = &engine->decoders[i].relay.held;
        status->held += atomic_load_relaxed(&held->shown_count);
        status->held_peak += atomic_load_relaxed(&held->peak_count);
    }
    for (uint32_t i = 0; i < engine->lane_count; i++) {
        status->bytes_sent += atomic_load_relaxed(&engine->lanes[i].bytes_sent);
        status->operations += atomic_load_relaxed(&engine->lanes[i].ops_acked);
        status->keys += atomic_load_relaxed(&engine->lanes[i].keys_acked);
    }
}

/* What pipelines before this one had counted. */
static void status_carried(const struct carried *carried, struct syn_status *status)
{
    status->commands += carried->commands;
    status->dropped += carried->dropped;
    status->values_rewritten += carried->values_rewritten;
    status->values_degraded += carried->values_degraded;
    status->values_skipped += carried->values_skipped;
    status->transactions_split += carried->transactions_split;
    status->commands_left_out += carried->left_out;
    status->keys_refetched += carried->keys_refetched;
    status->keys_refetched_large += carried->keys_refetched_large;
    status->diverged_no_effect += carried->diverged_no_effect;
    status->diverged_error += carried->diverged_error;
    status->diverged_script += carried->diverged_script;
    status->diverged_partial += carried->diverged_partial;
    status->diverged_unknown += carried->diverged_unknown;
    status->relayed += carried->relayed;
    status->diverged_relay += carried->diverged_relay;
    status->held_peak =
        carried->held_peak > status->held_peak ? carried->held_peak : status->held_peak;
    status->bytes_received += carried->bytes_received;
    status->bytes_sent += carried->bytes_sent;
    status->operations += carried->operations;
    status->keys += carried->keys;
    status->restarts = carried->restarts;
}

/* Under build_lock. False: no memory. */
static bool status_streams(struct syn_engine *engine, uint64_t now_ms, struct syn_status *status)
{
    if (!engine->is_built) {
        /* What is being put up belongs to whoever does it. */
        status->ttl_put_off =
            engine->config.puts_off_ttl && !atomic_load_acquire(&engine->expiry.is_exact);
        return true;
    }
    status->io = engine->io_name;
    status->streams = mem_calloc(MEM_ENGINE, engine->stream_count * sizeof(*status->streams));
    if (status->streams == NULL) {
        return false;
    }
    status->stream_count = engine->stream_count;
    for (uint32_t i = 0; i < engine->stream_count; i++) {
        stream_status(engine, i, now_ms, &status->streams[i]);
    }
    status_sum(engine, status);
    status->ttl_put_off = engine_expiry_is_put_off(engine);
    return true;
}

struct syn_status *syn_engine_status(struct syn_engine *engine, struct syn_err *err)
{
    struct syn_status *status = mem_calloc(MEM_ENGINE, sizeof(*status));
    if (status == NULL) {
        ERR(err, SYN_CODE_MEMORY, "out of memory for a status");
        return NULL;
    }
    status->phase = (enum syn_phase)atomic_load_acquire(&engine->phase);
    status->memory_limit_bytes = engine->config.memory_bytes;
    for (int module = 0; module < MEM_MODULE_COUNT; module++) {
        status->memory_bytes += mem_live_bytes((enum mem_module)module);
    }
    status->lag_ms = -1;
    status->latency_ms = -1;
    status->latency_is_estimate = true;
    status->rates = engine->config.rates;
    uint64_t started_ms = atomic_load_acquire(&engine->started_ms);
    if (started_ms == 0) {
        return status; /* nothing is built yet */
    }
    uint64_t ended_ms = atomic_load_acquire(&engine->ended_ms);
    uint64_t now_ms = ended_ms != 0 ? ended_ms : clock_monotonic_ms();
    uint64_t live_ms = atomic_load_acquire(&engine->snapshot_ended_ms);
    status->elapsed_ms = now_ms - started_ms;
    status->snapshot_ms = (live_ms != 0 ? live_ms : now_ms) - started_ms;
    pthread_mutex_lock(&engine->build_lock);
    status->rates = engine->config.rates;
    bool is_filled = status_streams(engine, now_ms, status);
    status_carried(&engine->carried, status);
    pthread_mutex_unlock(&engine->build_lock);
    if (!is_filled) {
        mem_free(MEM_ENGINE, status);
        ERR(err, SYN_CODE_MEMORY, "out of memory for a status");
        return NULL;
    }
    return status;
}

void syn_status_free(struct syn_status *status)
{
    if (status != NULL) {
        mem_free(MEM_ENGINE, status->streams);
        mem_free(MEM_ENGINE, status);
    }
}
