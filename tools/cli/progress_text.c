/* Progress as text: one line for a log, or a table that fits the terminal. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "tools/cli/progress.h"

void text_add(struct text *text, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int wrote = vsnprintf(text->data + text->size, sizeof(text->data) - text->size, format, args);
    va_end(args);
    if (wrote > 0) {
        size_t room = sizeof(text->data) - text->size - 1;
        text->size += (size_t)wrote < room ? (size_t)wrote : room;
    }
}

const char *show_bytes(double bytes, char out[24])
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
    unsigned unit = 0;
    while (bytes >= 1024 && unit + 1 < sizeof(units) / sizeof(units[0])) {
        bytes /= 1024;
        unit++;
    }
    snprintf(out, 24, unit == 0 ? "%.0f %s" : "%.1f %s", bytes, units[unit]);
    return out;
}

const char *show_count(double count, char out[24])
{
    static const char *const units[] = {"", "k", "M", "G", "T"};
    unsigned unit = 0;
    while (count >= 10000 && unit + 1 < sizeof(units) / sizeof(units[0])) {
        count /= 1000;
        unit++;
    }
    snprintf(out, 24, unit == 0 ? "%.0f%s" : "%.1f%s", count, units[unit]);
    return out;
}

const char *show_duration(double seconds, char out[24])
{
    if (seconds < 0) {
        snprintf(out, 24, "?");
    } else if (seconds < 60) {
        snprintf(out, 24, "%.1fs", seconds);
    } else if (seconds < 3600) {
        unsigned whole = (unsigned)seconds;
        snprintf(out, 24, "%um%02us", whole / 60, whole % 60);
    } else if (seconds < 1e8) {
        unsigned whole = (unsigned)(seconds / 60);
        snprintf(out, 24, "%uh%02um", whole / 60, whole % 60);
    } else {
        snprintf(out, 24, "?"); /* a rate of almost nothing: no estimate */
    }
    return out;
}

static const char *show_percent(double percent, char out[24])
{
    if (percent < 0) {
        return "?";
    }
    snprintf(out, 24, "%.1f%%", percent);
    return out;
}

static bool is_live(enum syn_phase phase)
{
    return phase == SYN_PHASE_LIVE || phase == SYN_PHASE_DRAINING || phase == SYN_PHASE_DONE;
}

/* " throttled: live-ops, shard-live-bytes": whatever holds any stream up. */
static void add_throttles(struct text *out, const struct syn_status *status)
{
    bool is_seen[SYN_RATE_COUNT] = {false};
    const char *before = " throttled: ";
    for (uint32_t i = 0; i < status->stream_count; i++) {
        const struct syn_stream_status *stream = &status->streams[i];
        if (stream->wait == SYN_WAIT_THROTTLE && (unsigned)stream->throttle < SYN_RATE_COUNT) {
            is_seen[stream->throttle] = true;
        }
    }
    for (unsigned rate = 0; rate < SYN_RATE_COUNT; rate++) {
        if (is_seen[rate]) {
            text_add(out, "%s%s", before, syn_rate_name((enum syn_rate)rate));
            before = ", ";
        }
    }
}

/* What a stream waits for; the phase beside it says whose rate. */
static const char *show_wait(const struct syn_stream_status *stream)
{
    if (stream->wait == SYN_WAIT_NONE) {
        return "";
    }
    switch (stream->wait == SYN_WAIT_THROTTLE ? stream->throttle : SYN_RATE_COUNT) {
    case SYN_RATE_SNAPSHOT_OPS:
    case SYN_RATE_LIVE_OPS:
        return "ops/s";
    case SYN_RATE_SNAPSHOT_BYTES:
    case SYN_RATE_LIVE_BYTES:
        return "bytes/s";
    case SYN_RATE_SHARD_SNAPSHOT_OPS:
    case SYN_RATE_SHARD_LIVE_OPS:
        return "shard ops/s";
    case SYN_RATE_SHARD_SNAPSHOT_BYTES:
    case SYN_RATE_SHARD_LIVE_BYTES:
        return "shard B/s";
    case SYN_RATE_COUNT:
        break;
    }
    return syn_wait_name(stream->wait);
}

void progress_line(const struct progress *progress,
                   const struct syn_status *status,
                   struct text *out)
{
    const struct progress_part *total = &progress->total;
    char a[24], b[24], c[24], d[24], e[24];
    text_add(out,
             "%s %s",
             show_duration((double)status->elapsed_ms / 1000.0, a),
             syn_phase_name(status->phase));
    if (is_live(status->phase) && !status_has_files(status)) {
        text_add(out,
                 " commands=%llu (%s/s) received=%s (%s/s)",
                 (unsigned long long)status->commands,
                 show_count(total->commands.per_second, a),
                 show_bytes((double)status->bytes_received, b),
                 show_bytes(total->bytes.per_second, c));
        text_add(out,
                 " lag=%s %s",
                 show_bytes((double)status->lag_bytes, d),
                 show_duration(status->lag_ms < 0 ? -1 : (double)status->lag_ms / 1000.0, e));
        if (!status->latency_is_estimate) {
            text_add(out, " latency=%lldms", (long long)status->latency_ms);
        }
        if (status->ttl_put_off) {
            text_add(out, " ttl=put-off");
        }
        add_throttles(out, status);
        return;
    }
    char of[24] = "";
    if (status->keys_total > 0) {
        snprintf(of, sizeof(of), "/%llu", (unsigned long long)status->keys_total);
    }
    text_add(out,
             " %s keys=%llu%s (%s/s) received=%s (%s/s) eta=%s",
             show_percent(total->percent, a),
             (unsigned long long)status->keys,
             of,
             show_count(total->keys.per_second, b),
             show_bytes((double)status->bytes_received, c),
             show_bytes(total->bytes.per_second, d),
             show_duration(total->eta_s, e));
    add_throttles(out, status);
}

/* ---- the view ---- */

enum column {
    COLUMN_PHASE,
    COLUMN_PERCENT,
    COLUMN_COUNT_DONE,
    COLUMN_BYTES,
    COLUMN_RATE,
    COLUMN_ETA,
    COLUMN_LAG,
    COLUMN_LAG_TIME,
    COLUMN_QUEUE,
    COLUMN_WAIT,
    COLUMN_COUNT,
};

struct column_info {
    const char *title;
    unsigned width;
    unsigned keep; /* the least is left out first where the terminal is narrow */
};

static const struct column_info columns_info[COLUMN_COUNT] = {
    [COLUMN_PHASE] = {"phase", 9, 10},
    [COLUMN_PERCENT] = {"done", 6, 9},
    [COLUMN_COUNT_DONE] = {"count", 8, 4},
    [COLUMN_BYTES] = {"received", 10, 5},
    [COLUMN_RATE] = {"rate", 12, 7},
    [COLUMN_ETA] = {"eta", 7, 6},
    [COLUMN_LAG] = {"lag", 10, 8},
    [COLUMN_LAG_TIME] = {"behind", 7, 3},
    [COLUMN_QUEUE] = {"queue", 5, 1},
    [COLUMN_WAIT] = {"waits for", 11, 2},
};
#define NAME_WIDTH_MIN 18
#define NAME_WIDTH_MAX 32

struct layout {
    bool is_shown[COLUMN_COUNT];
    unsigned name_width;
    unsigned columns;
};

struct row {
    const char *name;
    char cells[COLUMN_COUNT][32];
};

static struct layout layout_of(unsigned columns)
{
    struct layout layout = {.columns = columns};
    unsigned used = NAME_WIDTH_MIN;
    for (unsigned i = 0; i < COLUMN_COUNT; i++) {
        layout.is_shown[i] = true;
        used += 1 + columns_info[i].width;
    }
    while (used > columns) {
        unsigned least = COLUMN_COUNT;
        for (unsigned i = 0; i < COLUMN_COUNT; i++) {
            if (layout.is_shown[i] &&
                (least == COLUMN_COUNT || columns_info[i].keep < columns_info[least].keep)) {
                least = i;
            }
        }
        if (least == COLUMN_COUNT) {
            break; /* nothing but the name */
        }
        layout.is_shown[least] = false;
        used -= 1 + columns_info[least].width;
    }
    unsigned room = used > columns ? 0 : columns - used;
    layout.name_width = used > columns ? columns : NAME_WIDTH_MIN + room;
    if (layout.name_width > NAME_WIDTH_MAX) {
        layout.name_width = NAME_WIDTH_MAX;
    }
    return layout;
}

static void add_row(struct text *out, const struct layout *layout, const struct row *row)
{
    text_add(out, "%-*.*s", (int)layout->name_width, (int)layout->name_width, row->name);
    for (unsigned i = 0; i < COLUMN_COUNT; i++) {
        if (layout->is_shown[i]) {
            int width = (int)columns_info[i].width;
            text_add(out, " %*.*s", width, width, row->cells[i]);
        }
    }
    text_add(out, "\x1b[K\n");
}

static void cell(struct row *row, enum column column, const char *text)
{
    snprintf(row->cells[column], sizeof(row->cells[column]), "%s", text);
}

/* What a stream and the total have in common. */
static void cells_progress(struct row *row,
                           enum syn_phase phase,
                           bool has_stream,
                           const struct progress_part *part,
                           uint64_t keys,
                           uint64_t commands,
                           uint64_t bytes,
                           uint64_t lag_bytes,
                           int64_t latency_ms)
{
    char text[24], line[32];
    cell(row, COLUMN_PHASE, syn_phase_name(phase));
    cell(row, COLUMN_PERCENT, show_percent(part->percent, text));
    cell(row, COLUMN_COUNT_DONE, show_count((double)(has_stream ? commands : keys), text));
    cell(row, COLUMN_BYTES, show_bytes((double)bytes, text));
    snprintf(line, sizeof(line), "%s/s", show_bytes(part->bytes.per_second, text));
    cell(row, COLUMN_RATE, line);
    if (has_stream) {
        cell(row, COLUMN_LAG, show_bytes((double)lag_bytes, text));
        cell(row,
             COLUMN_LAG_TIME,
             show_duration(latency_ms < 0 ? -1 : (double)latency_ms / 1000, text));
    } else {
        cell(row, COLUMN_ETA, show_duration(part->eta_s, text));
    }
}

static void add_stream(struct text *out,
                       const struct layout *layout,
                       const struct progress_part *part,
                       const struct syn_stream_status *stream)
{
    struct row row = {.name = stream->source};
    cells_progress(&row,
                   stream->phase,
                   is_live(stream->phase) && !stream->is_file,
                   part,
                   stream->snapshot_keys,
                   stream->commands,
                   stream->bytes_received,
                   stream->lag_bytes,
                   stream->latency_ms);
    snprintf(row.cells[COLUMN_QUEUE], sizeof(row.cells[0]), "%u%%", stream->queue_percent);
    cell(&row, COLUMN_WAIT, show_wait(stream));
    add_row(out, layout, &row);
}

unsigned progress_view(const struct progress *progress,
                       const struct syn_status *status,
                       unsigned columns,
                       unsigned rows,
                       struct text *out)
{
    static const struct progress_part no_rates = {.percent = PROGRESS_UNKNOWN,
                                                  .eta_s = PROGRESS_UNKNOWN};
    /* One column stays free: a full line makes some terminals wrap. */
    struct layout layout = layout_of(columns > 1 ? columns - 1 : 1);
    struct row header = {.name = "source"};
    for (unsigned i = 0; i < COLUMN_COUNT; i++) {
        cell(&header, (enum column)i, columns_info[i].title);
    }
    add_row(out, &layout, &header);
    unsigned lines = 1;
    /* Header, total, a line for "more", and the cursor's own line are not streams. */
    unsigned room = rows > 4 ? rows - 4 : 0;
    for (uint32_t i = 0; i < status->stream_count && i < room; i++) {
        add_stream(out,
                   &layout,
                   i < PROGRESS_STREAMS_MAX ? &progress->streams[i] : &no_rates,
                   &status->streams[i]);
        lines++;
    }
    if (status->stream_count > room && rows > 3) {
        char more[40];
        snprintf(more, sizeof(more), "... %u more", status->stream_count - room);
        text_add(out, "%.*s\x1b[K\n", (int)layout.columns, more);
        lines++;
    }
    struct row total = {.name = "total"};
    cells_progress(&total,
                   status->phase,
                   is_live(status->phase) && !status_has_files(status),
                   &progress->total,
                   status->keys,
                   status->commands,
                   status->bytes_received,
                   status->lag_bytes,
                   status->latency_ms);
    if (status->memory_limit_bytes > 0) {
        snprintf(
            total.cells[COLUMN_QUEUE],
            sizeof(total.cells[0]),
            "%u%%",
            (unsigned)(100.0 * (double)status->memory_bytes / (double)status->memory_limit_bytes));
    }
    add_row(out, &layout, &total);
    return lines + 1;
}
