/* Percent, rates and time left, from samples. */
#include "tools/cli/progress.h"

#define SMOOTH_S 3.0

static void rate_sample(struct rate *rate, uint64_t amount, double elapsed_s)
{
    if (rate->has_last && elapsed_s > 0) {
        /* A snapshot that starts again makes an amount smaller: that is no negative rate. */
        uint64_t grown = amount >= rate->last ? amount - rate->last : 0;
        double now = (double)grown / elapsed_s;
        /* The weight of a first-order filter with that time constant, right for any spacing. */
        double weight = rate->has_rate ? elapsed_s / (SMOOTH_S + elapsed_s) : 1.0;
        rate->per_second += weight * (now - rate->per_second);
        rate->has_rate = true;
    }
    rate->last = amount;
    rate->has_last = true;
}

static double eta_of(uint64_t done, uint64_t total, const struct rate *rate)
{
    if (!rate->has_rate || rate->per_second <= 0) {
        return PROGRESS_UNKNOWN;
    }
    return done >= total ? 0 : (double)(total - done) / rate->per_second;
}

static double percent_of(uint64_t done, uint64_t total)
{
    if (total == 0) {
        return PROGRESS_UNKNOWN;
    }
    double percent = 100.0 * (double)done / (double)total;
    /* Totals are estimates; only the phase says that it is over. */
    return percent > 99.9 ? 99.9 : percent;
}

static bool is_past_snapshot(enum syn_phase phase)
{
    return phase == SYN_PHASE_LIVE || phase == SYN_PHASE_DONE;
}

/* By bytes when the source says how many, else by keys. */
static void part_estimate(struct progress_part *part,
                          enum syn_phase phase,
                          uint64_t bytes,
                          int64_t bytes_total,
                          uint64_t keys,
                          uint64_t keys_total)
{
    if (is_past_snapshot(phase)) {
        part->percent = 100;
        part->eta_s = 0;
    } else if (bytes_total > 0) {
        part->percent = percent_of(bytes, (uint64_t)bytes_total);
        part->eta_s = eta_of(bytes, (uint64_t)bytes_total, &part->read);
    } else {
        part->percent = percent_of(keys, keys_total);
        part->eta_s = keys_total > 0 ? eta_of(keys, keys_total, &part->keys) : PROGRESS_UNKNOWN;
    }
}

void progress_sample(struct progress *progress, const struct syn_status *status, uint64_t now_ms)
{
    double elapsed_s = progress->has_last ? (double)(now_ms - progress->last_ms) / 1000.0 : 0;
    progress->last_ms = now_ms;
    progress->has_last = true;
    uint64_t bytes = 0;
    int64_t bytes_total = 0;
    uint64_t keys = 0;
    bool are_all_past = status->stream_count > 0;
    for (uint32_t i = 0; i < status->stream_count; i++) {
        const struct syn_stream_status *stream = &status->streams[i];
        keys += stream->snapshot_keys;
        bytes += stream->snapshot_bytes;
        bytes_total = bytes_total < 0 || stream->snapshot_bytes_total < 0
                          ? -1
                          : bytes_total + stream->snapshot_bytes_total;
        are_all_past = are_all_past && is_past_snapshot(stream->phase);
        if (i >= PROGRESS_STREAMS_MAX) {
            continue;
        }
        struct progress_part *part = &progress->streams[i];
        rate_sample(&part->bytes, stream->bytes_received, elapsed_s);
        rate_sample(&part->read, stream->snapshot_bytes, elapsed_s);
        rate_sample(&part->keys, stream->snapshot_keys, elapsed_s);
        rate_sample(&part->commands, stream->commands, elapsed_s);
        part_estimate(part,
                      stream->phase,
                      stream->snapshot_bytes,
                      stream->snapshot_bytes_total,
                      stream->snapshot_keys,
                      stream->snapshot_keys_total);
    }
    struct progress_part *total = &progress->total;
    rate_sample(&total->bytes, status->bytes_received, elapsed_s);
    rate_sample(&total->read, bytes, elapsed_s);
    rate_sample(&total->keys, status->keys, elapsed_s);
    rate_sample(&total->commands, status->commands, elapsed_s);
    enum syn_phase phase = are_all_past ? SYN_PHASE_LIVE : status->phase;
    part_estimate(total, phase, bytes, bytes_total, keys, status->keys_total);
}

bool status_has_files(const struct syn_status *status)
{
    return status->stream_count > 0 && status->streams[0].is_file;
}
