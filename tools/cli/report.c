/* Reports of a sync, for programs and for people. */
#include "tools/cli/report.h"

#include "tools/cli/cli.h"

void phase_times_end(struct phase_times *times, uint64_t now_ms)
{
    if (times->has_current) {
        times->spent_ms[times->current] += now_ms - times->since_ms;
        times->has_current = false;
    }
}

void phase_times_add(struct phase_times *times, enum syn_phase phase, uint64_t now_ms)
{
    if ((unsigned)phase >= PHASE_COUNT) {
        return;
    }
    phase_times_end(times, now_ms);
    times->current = phase;
    times->since_ms = now_ms;
    times->is_seen[phase] = true;
    times->has_current = true;
}

/* A phase in which time passes: an end is no phase to report. */
static bool is_reported(const struct phase_times *times, unsigned phase)
{
    return times->is_seen[phase] && phase != SYN_PHASE_NEW && phase != SYN_PHASE_DONE &&
           phase != SYN_PHASE_FAILED;
}

void report_event(struct output *output, const struct syn_event *event)
{
    static const char *const kinds[] = {
        [SYN_EVENT_PHASE] = "phase", [SYN_EVENT_INFO] = "info", [SYN_EVENT_WARNING] = "warning"};
    if (event->kind == SYN_EVENT_ERROR) {
        return; /* printed once, when the task has ended */
    }
    json_t *out = event_new(kinds[event->kind]);
    event_set_signed(out, "time_ms", event->unix_ms);
    if (event->stream >= 0) {
        event_set_signed(out, "stream", event->stream);
    }
    if (event->kind == SYN_EVENT_PHASE) {
        event_set_text(out, "phase", syn_phase_name(event->phase));
    }
    if (event->code != SYN_CODE_OK) {
        event_set_text(out, "code", syn_code_name(event->code));
    }
    if (event->text != NULL && event->text[0] != '\0') {
        event_set_text(out, "text", event->text);
    }
    output_event(output, out);
}

/* null where it is not known, so that a program need not know our sign for it. */
static void set_known(json_t *out, const char *name, double value)
{
    (void)json_object_set_new(out, name, value < 0 ? json_null() : json_real(value));
}

static void set_lag(json_t *out, uint64_t bytes, int64_t ms)
{
    event_set_number(out, "lag_bytes", bytes);
    (void)json_object_set_new(out, "lag_ms", ms < 0 ? json_null() : json_integer(ms));
}

static void set_latency(json_t *out, int64_t ms, bool is_estimate)
{
    (void)json_object_set_new(out, "latency_ms", ms < 0 ? json_null() : json_integer(ms));
    (void)json_object_set_new(out, "latency_is_estimate", json_boolean(is_estimate));
}

static void set_part(json_t *out, const struct progress_part *part)
{
    set_known(out, "percent", part->percent);
    set_known(out, "eta_s", part->eta_s);
    set_known(out, "bytes_per_s", part->bytes.has_rate ? part->bytes.per_second : -1);
    set_known(out, "keys_per_s", part->keys.has_rate ? part->keys.per_second : -1);
    set_known(out, "commands_per_s", part->commands.has_rate ? part->commands.per_second : -1);
}

static json_t *
stream_json(const struct progress *progress, const struct syn_status *status, uint32_t index)
{
    const struct syn_stream_status *stream = &status->streams[index];
    json_t *out = json_object();
    event_set_text(out, "source", stream->source);
    (void)json_object_set_new(out, "is_file", json_boolean(stream->is_file));
    event_set_text(out, "phase", syn_phase_name(stream->phase));
    event_set_text(out, "wait", syn_wait_name(stream->wait));
    if (stream->wait == SYN_WAIT_THROTTLE) {
        event_set_text(out, "throttle", syn_rate_name(stream->throttle));
    }
    event_set_number(out, "snapshot_keys", stream->snapshot_keys);
    event_set_number(out, "snapshot_keys_total", stream->snapshot_keys_total);
    event_set_number(out, "snapshot_bytes", stream->snapshot_bytes);
    (void)json_object_set_new(out,
                              "snapshot_bytes_total",
                              stream->snapshot_bytes_total < 0
                                  ? json_null()
                                  : json_integer(stream->snapshot_bytes_total));
    event_set_number(out, "commands", stream->commands);
    event_set_number(out, "bytes_received", stream->bytes_received);
    event_set_number(out, "offset_received", stream->offset_received);
    event_set_number(out, "offset_applied", stream->offset_applied);
    event_set_number(out, "offset_source", stream->offset_source);
    set_lag(out, stream->lag_bytes, stream->lag_ms);
    set_latency(out, stream->latency_ms, stream->latency_is_estimate);
    event_set_number(out, "queue_percent", stream->queue_percent);
    event_set_number(out, "sessions", stream->sessions);
    event_set_number(out, "snapshots", stream->snapshots);
    if (index < PROGRESS_STREAMS_MAX) {
        set_part(out, &progress->streams[index]);
    }
    return out;
}

/* What "progress" and "result" have in common. */
static void set_totals(json_t *out, const struct syn_status *status)
{
    event_set_number(out, "elapsed_ms", status->elapsed_ms);
    event_set_number(out, "snapshot_ms", status->snapshot_ms);
    event_set_number(out, "keys", status->keys);
    event_set_number(out, "keys_total", status->keys_total);
    event_set_number(out, "bytes_received", status->bytes_received);
    event_set_number(out, "bytes_sent", status->bytes_sent);
    event_set_number(out, "operations", status->operations);
    event_set_number(out, "commands", status->commands);
    event_set_number(out, "dropped", status->dropped);
    event_set_number(out, "keys_dropped", status->keys_dropped);
    event_set_number(out, "partial_dropped", status->partial_dropped);
    event_set_number(out, "commands_skipped", status->commands_skipped);
    event_set_number(out, "transactions_split", status->transactions_split);
    event_set_number(out, "relayed", status->relayed);
    event_set_number(out, "diverged_relay", status->diverged_relay);
    event_set_number(out, "held", status->held);
    event_set_number(out, "held_peak", status->held_peak);
    event_set_number(out, "values_rewritten", status->values_rewritten);
    event_set_number(out, "values_degraded", status->values_degraded);
    event_set_number(out, "values_skipped", status->values_skipped);
    event_set_number(out, "commands_left_out", status->commands_left_out);
    event_set_number(out, "keys_refetched", status->keys_refetched);
    event_set_number(out, "keys_refetched_large", status->keys_refetched_large);
    event_set_number(out, "diverged_no_effect", status->diverged_no_effect);
    event_set_number(out, "diverged_error", status->diverged_error);
    event_set_number(out, "diverged_script", status->diverged_script);
    event_set_number(out, "diverged_partial", status->diverged_partial);
    event_set_number(out, "diverged_unknown", status->diverged_unknown);
    event_set_number(out, "restarts", status->restarts);
    event_set_number(out, "values_corrupt", status->values_corrupt);
    set_lag(out, status->lag_bytes, status->lag_ms);
    set_latency(out, status->latency_ms, status->latency_is_estimate);
    (void)json_object_set_new(out, "ttl_put_off", json_boolean(status->ttl_put_off));
    event_set_number(out, "memory_bytes", status->memory_bytes);
    event_set_number(out, "memory_limit_bytes", status->memory_limit_bytes);
    if (status->io != NULL) {
        event_set_text(out, "io", status->io);
    }
}

/* Only those that are set. */
static void set_rates(json_t *out, const struct syn_rates *rates)
{
    json_t *all = json_object();
    for (unsigned i = 0; i < SYN_RATE_COUNT; i++) {
        if (rates->per_s[i] != 0) {
            event_set_number(all, syn_rate_name((enum syn_rate)i), rates->per_s[i]);
        }
    }
    (void)json_object_set_new(out, "rates", all);
}

void report_progress(struct output *output,
                     const struct progress *progress,
                     const struct syn_status *status)
{
    json_t *out = event_new("progress");
    event_set_text(out, "phase", syn_phase_name(status->phase));
    set_totals(out, status);
    set_rates(out, &status->rates);
    set_part(out, &progress->total);
    json_t *streams = json_array();
    for (uint32_t i = 0; i < status->stream_count; i++) {
        (void)json_array_append_new(streams, stream_json(progress, status, i));
    }
    (void)json_object_set_new(out, "streams", streams);
    output_event(output, out);
}

int report_exit_status(const struct syn_status *status, const struct syn_err *err)
{
    bool is_cut_off = err->code == SYN_CODE_STOPPED && status_has_files(status);
    return is_cut_off ? CLI_EXIT_INTERRUPTED : syn_code_exit_status(err->code);
}

void report_result(struct output *output,
                   const struct phase_times *times,
                   const struct syn_status *status,
                   const struct syn_err *err)
{
    json_t *out = event_new("result");
    event_set_text(out, "command", "sync");
    event_set_text(out, "code", syn_code_name(err->code));
    event_set_signed(out, "exit_status", report_exit_status(status, err));
    event_set_text(out, "phase", syn_phase_name(status->phase));
    set_totals(out, status);
    json_t *phases = json_array();
    for (unsigned i = 0; i < PHASE_COUNT; i++) {
        if (is_reported(times, i)) {
            json_t *phase = json_object();
            event_set_text(phase, "phase", syn_phase_name((enum syn_phase)i));
            event_set_number(phase, "duration_ms", times->spent_ms[i]);
            (void)json_array_append_new(phases, phase);
        }
    }
    (void)json_object_set_new(out, "phases", phases);
    output_event(output, out);
}

static void
add_amount(struct text *out, uint64_t amount, const char *what, uint64_t bytes, double seconds)
{
    char a[24], b[24], c[24];
    char rate[40] = "";
    if (seconds > 0) {
        snprintf(rate, sizeof(rate), "%s %s/s", show_count((double)amount / seconds, a), what);
    }
    text_add(out,
             " %14llu %-8s %12s %18s %12s",
             (unsigned long long)amount,
             what,
             show_bytes((double)bytes, b),
             rate,
             seconds > 0 ? show_bytes((double)bytes / seconds, c) : "");
    text_add(out, seconds > 0 ? "/s" : "");
}

/* Where the source was when it ended. */
static void add_end(const struct syn_status *status, struct text *out)
{
    char lag[24];
    if (!status_has_files(status)) {
        text_add(out, "; lag at the end %s", show_bytes((double)status->lag_bytes, lag));
        return;
    }
    uint32_t whole = 0;
    for (uint32_t i = 0; i < status->stream_count; i++) {
        whole += status->streams[i].phase == SYN_PHASE_DONE;
    }
    text_add(out,
             whole == status->stream_count ? "; %u of %u files loaded whole, nothing follows them"
                                           : "; %u of %u files loaded whole",
             whole,
             status->stream_count);
}

/* What was left out or changed on its way. */
static void add_losses(const struct syn_status *status, struct text *out)
{
    if (status->keys_dropped > 0) {
        text_add(
            out, "; %llu keys were left out by rules", (unsigned long long)status->keys_dropped);
    }
    if (status->partial_dropped > 0) {
        text_add(out,
                 "; %llu commands could not be applied by the rules (on-partial drop), what they "
                 "write differs",
                 (unsigned long long)status->partial_dropped);
    }
    if (status->values_degraded + status->values_skipped > 0) {
        text_add(out,
                 "; %llu values were written in part and %llu left out, as the destination cannot "
                 "represent them",
                 (unsigned long long)status->values_degraded,
                 (unsigned long long)status->values_skipped);
    }
    if (status->restarts > 0) {
        text_add(out, "; went on %u times after the destination had failed", status->restarts);
    }
    if (status->keys_refetched > 0) {
        text_add(out,
                 "; %llu keys were read again at the source",
                 (unsigned long long)status->keys_refetched);
    }
    if (status->keys_refetched_large > 0) {
        text_add(out,
                 ", with %llu copies of large ones in pieces",
                 (unsigned long long)status->keys_refetched_large);
    }
    if (status->relayed > 0) {
        text_add(out,
                 "; %llu commands over several slots were relayed, at most %llu keys were held",
                 (unsigned long long)status->relayed,
                 (unsigned long long)status->held_peak);
    }
    uint64_t diverged = status->diverged_no_effect + status->diverged_error +
                        status->diverged_script + status->diverged_relay;
    if (diverged > 0) {
        text_add(out,
                 "; %llu commands found another state at the destination than at the source",
                 (unsigned long long)diverged);
        if (status->diverged_unknown > 0) {
            text_add(out,
                     " (the keys of %llu are not known: run verify)",
                     (unsigned long long)status->diverged_unknown);
        }
    }
    if (status->diverged_partial > 0) {
        text_add(out,
                 "; %llu commands did not change all the fields or ids that they name",
                 (unsigned long long)status->diverged_partial);
    }
    if (status->values_corrupt > 0) {
        text_add(out,
                 "; %llu values are damaged and were left out",
                 (unsigned long long)status->values_corrupt);
    }
    if (status->commands_skipped > 0) {
        text_add(out,
                 "; %llu commands that the destination does not know were left out",
                 (unsigned long long)status->commands_skipped);
    }
    if (status->transactions_split > 0) {
        text_add(out,
                 "; %llu transactions over several slots were applied without atomicity",
                 (unsigned long long)status->transactions_split);
    }
}

void report_table(const struct phase_times *times,
                  const struct syn_status *status,
                  struct text *out)
{
    uint64_t snapshot_bytes = 0;
    for (uint32_t i = 0; i < status->stream_count; i++) {
        snapshot_bytes += status->streams[i].snapshot_bytes;
    }
    uint64_t stream_bytes =
        status->bytes_received > snapshot_bytes ? status->bytes_received - snapshot_bytes : 0;
    char duration[24];
    text_add(out,
             "%-10s %9s %14s %-8s %12s %18s %14s",
             "phase",
             "duration",
             "amount",
             "",
             "received",
             "rate",
             "");
    for (unsigned i = 0; i < PHASE_COUNT; i++) {
        if (!is_reported(times, i)) {
            continue;
        }
        double seconds = (double)times->spent_ms[i] / 1000.0;
        text_add(out,
                 "\n%-10s %9s",
                 syn_phase_name((enum syn_phase)i),
                 show_duration(seconds, duration));
        if (i == SYN_PHASE_SNAPSHOT) {
            add_amount(out, status->keys, "keys", snapshot_bytes, seconds);
        } else if (i == SYN_PHASE_LIVE) {
            add_amount(out, status->commands, "commands", stream_bytes, seconds);
        }
    }
    double seconds = (double)status->elapsed_ms / 1000.0;
    text_add(out, "\n%-10s %9s", syn_phase_name(status->phase), show_duration(seconds, duration));
    add_amount(out, status->operations, "written", status->bytes_received, seconds);
    char sent[24];
    text_add(out, "\nsent %s to the destination", show_bytes((double)status->bytes_sent, sent));
    add_end(status, out);
    add_losses(status, out);
}
