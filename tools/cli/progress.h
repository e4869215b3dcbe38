/*
 * From samples of syn_status to what people want to know: percent, smoothed rates, time left; and
 * the text of it. Pure but for its own memory: no clock, no terminal.
 *
 * Threads: one. Limits: rates of the first PROGRESS_STREAMS_MAX streams; others show none.
 */
#ifndef CLI_PROGRESS_H
#define CLI_PROGRESS_H

#include "core/engine/syn.h"

#define PROGRESS_STREAMS_MAX 512
#define PROGRESS_TEXT_MAX 65536
#define PROGRESS_UNKNOWN (-1.0)

/* An amount that grows, as amount per second, smoothed over about 3 s. */
struct rate {
    uint64_t last;
    double per_second;
    bool has_last;
    bool has_rate;
};

struct progress_part {
    struct rate bytes; /* received */
    struct rate read;  /* bytes of the snapshot */
    struct rate keys;
    struct rate commands;
    double percent; /* of the snapshot, 0 to 100; PROGRESS_UNKNOWN          */
    double eta_s;   /* until the snapshot is read; PROGRESS_UNKNOWN         */
};

struct progress {
    uint64_t last_ms;
    bool has_last;
    struct progress_part total;
    struct progress_part streams[PROGRESS_STREAMS_MAX];
};

/* Takes a sample; now_ms is monotonic. */
void progress_sample(struct progress *progress, const struct syn_status *status, uint64_t now_ms);

/* Text that is cut at its end rather than overrun. */
struct text {
    char data[PROGRESS_TEXT_MAX];
    size_t size;
};
void text_add(struct text *text, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* "12.3 MiB", "4.5k", "1m05s", "0.3 s" into out[24]; returns out. */
const char *show_bytes(double bytes, char out[24]);
const char *show_count(double count, char out[24]);
const char *show_duration(double seconds, char out[24]);

/* Whether the sources are RDB files: a snapshot, and no stream that could lag. */
bool status_has_files(const struct syn_status *status);

/* One line for a log. */
void progress_line(const struct progress *progress,
                   const struct syn_status *status,
                   struct text *out);
/* The view: a header, a line per stream, the total. No line is wider than `columns`, there are at
 * most `rows` - 1. Returns the number of lines. */
unsigned progress_view(const struct progress *progress,
                       const struct syn_status *status,
                       unsigned columns,
                       unsigned rows,
                       struct text *out);

#endif
