/* Reports of a sync: JSON events (EVENTS.md has their schema) and the table that closes a run. */
#ifndef CLI_REPORT_H
#define CLI_REPORT_H

#include "tools/cli/output.h"
#include "tools/cli/progress.h"

#define PHASE_COUNT (SYN_PHASE_FAILED + 1)

/* How long the task was in each phase. */
struct phase_times {
    uint64_t spent_ms[PHASE_COUNT];
    bool is_seen[PHASE_COUNT];
    enum syn_phase current;
    uint64_t since_ms;
    bool has_current;
};
void phase_times_add(struct phase_times *times, enum syn_phase phase, uint64_t now_ms);
void phase_times_end(struct phase_times *times, uint64_t now_ms);

/* The exit status of a sync that ended like this. Files of which not all was loaded because the
 * task was asked to end are no success. */
int report_exit_status(const struct syn_status *status, const struct syn_err *err);

void report_event(struct output *output, const struct syn_event *event);
void report_progress(struct output *output,
                     const struct progress *progress,
                     const struct syn_status *status);
void report_result(struct output *output,
                   const struct phase_times *times,
                   const struct syn_status *status,
                   const struct syn_err *err);
void report_table(const struct phase_times *times,
                  const struct syn_status *status,
                  struct text *out);

#endif
