/*
 * syncline sync: start an engine, show where it is, end it when asked.
 *
 * Threads: the main thread waits for signals and draws; a worker makes the blocking start; the
 * engine's control thread brings events, which are printed there and then. The output's lock keeps
 * lines whole; `lock` below guards what events leave behind for the report.
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tools/cli/cli.h"
#include "tools/cli/report.h"
#include "tools/cli/worker.h"

#define VIEW_INTERVAL_MS 250 /* a rate that eyes can follow and terminals over slow links bear */
#define LEAVE_WAIT_MS 1000   /* for a report after the second signal, not for a clean end      */

struct sync_run {
    struct cli *cli;
    struct output output;
    struct signals signals;
    struct worker starter;
    struct syn_engine *engine;
    struct syn_err err;
    bool has_started;
    int exit_status; /* once it has ended */
    unsigned stop_count;
    struct progress progress;
    struct text text;
    pthread_mutex_t lock;
    struct phase_times times; /* under lock */
    bool has_phase_event;     /* under lock */
};

static void print_event(struct sync_run *run, const struct syn_event *event)
{
    const char *text = event->text != NULL ? event->text : "";
    const char *name = syn_phase_name(event->phase);
    if (event->kind == SYN_EVENT_PHASE && strcmp(text, name) == 0) {
        text = "";
    }
    switch (event->kind) {
    case SYN_EVENT_PHASE:
        if (run->output.least <= SYN_LOG_INFO &&
            (event->stream < 0 || run->output.least == SYN_LOG_DEBUG)) {
            output_line(&run->output, stdout, "%s%s%s", name, text[0] != '\0' ? ": " : "", text);
        }
        break;
    case SYN_EVENT_INFO:
        if (run->output.least <= SYN_LOG_INFO) {
            output_line(&run->output, stdout, "%s", text);
        }
        break;
    case SYN_EVENT_WARNING:
        if (run->output.least <= SYN_LOG_WARNING) {
            output_line(&run->output, stderr, "syncline: warning: %s", text);
        }
        break;
    case SYN_EVENT_ERROR:
        break; /* syn_engine_wait gives it as well; it is printed once, at the end */
    }
}

static void on_event(void *arg, const struct syn_event *event)
{
    struct sync_run *run = arg;
    if (event->kind == SYN_EVENT_PHASE && event->stream < 0) {
        pthread_mutex_lock(&run->lock);
        phase_times_add(&run->times, event->phase, monotonic_ms());
        run->has_phase_event = true;
        pthread_mutex_unlock(&run->lock);
    }
    if (run->output.is_json) {
        report_event(&run->output, event);
    } else {
        print_event(run, event);
    }
    signals_wake(&run->signals);
}

/* Ends the process now. The engine is not freed: its threads may be anywhere. */
static _Noreturn void leave_at_once(struct sync_run *run)
{
    struct syn_err err = {.code = SYN_CODE_STOPPED};
    syn_engine_stop(run->engine, false);
    if (run->has_started) {
        (void)syn_engine_wait(run->engine, LEAVE_WAIT_MS, &err);
    }
    output_line(&run->output,
                stderr,
                "syncline: ended at once; what was received may not be "
                "written");
    if (run->output.is_json) {
        json_t *event = event_new("result");
        event_set_text(event, "command", "sync");
        event_set_text(event, "code", syn_code_name(SYN_CODE_STOPPED));
        event_set_signed(event, "exit_status", CLI_EXIT_INTERRUPTED);
        output_event(&run->output, event);
    }
    fflush(NULL);
    _exit(CLI_EXIT_INTERRUPTED);
}

/* The first signal drains, the second does not wait for it. */
static void take_signals(struct sync_run *run, unsigned count)
{
    for (; count > 0; count--) {
        run->stop_count++;
        if (run->stop_count > 1) {
            leave_at_once(run);
        }
        output_line(&run->output,
                    stderr,
                    "syncline: ending after what was received is written; once more to end at "
                    "once");
        syn_engine_stop(run->engine, true);
    }
}

static void start_call(void *arg)
{
    struct sync_run *run = arg;
    run->has_started = syn_engine_start(run->engine, &run->err);
}

/* The first phases need no event: the start is ours, and what follows it is seen in a status. */
static void note_phase(struct sync_run *run, enum syn_phase phase)
{
    pthread_mutex_lock(&run->lock);
    bool is_new = !run->times.has_current || run->times.current != phase;
    if (is_new && !run->has_phase_event) {
        phase_times_add(&run->times, phase, monotonic_ms());
    }
    pthread_mutex_unlock(&run->lock);
}

static bool start(struct sync_run *run)
{
    note_phase(run, SYN_PHASE_PRECHECK);
    run->starter = (struct worker){.signals = &run->signals, .call = start_call, .arg = run};
    if (!worker_start(&run->starter, &run->err)) {
        return false;
    }
    while (!worker_is_done(&run->starter)) {
        take_signals(run, signals_wait(&run->signals, -1));
    }
    worker_join(&run->starter);
    return run->has_started;
}

static void show(struct sync_run *run, const struct syn_status *status)
{
    run->text.size = 0;
    if (run->output.is_json) {
        report_progress(&run->output, &run->progress, status);
    } else if (run->output.is_terminal) {
        unsigned columns, rows;
        output_size(&columns, &rows);
        unsigned lines = progress_view(&run->progress, status, columns, rows, &run->text);
        output_view(&run->output, run->text.data, lines);
    } else {
        progress_line(&run->progress, status, &run->text);
        output_text(&run->output, stdout, run->text.data);
    }
}

static void tick(struct sync_run *run)
{
    struct syn_err err;
    struct syn_status *status = syn_engine_status(run->engine, &err);
    if (status == NULL) {
        return; /* no memory for a look: the task goes on without it */
    }
    note_phase(run, status->phase);
    progress_sample(&run->progress, status, monotonic_ms());
    show(run, status);
    syn_status_free(status);
}

/* Until the task has ended; run->err says how. */
static void follow(struct sync_run *run)
{
    uint64_t interval_ms = run->output.is_terminal ? VIEW_INTERVAL_MS : run->cli->progress_ms;
    uint64_t next_ms = monotonic_ms();
    for (;;) {
        uint64_t now_ms = monotonic_ms();
        if (now_ms >= next_ms) {
            tick(run);
            next_ms = now_ms + interval_ms;
        }
        if (syn_engine_wait(run->engine, 0, &run->err)) {
            return;
        }
        /* The end is announced by an event; the second guards against one that is not. */
        uint64_t wait_ms = next_ms > now_ms ? next_ms - now_ms : 0;
        take_signals(run, signals_wait(&run->signals, (int)(wait_ms < 1000 ? wait_ms : 1000)));
    }
}

static void finish(struct sync_run *run)
{
    struct syn_err err;
    struct syn_status *status = syn_engine_status(run->engine, &err);
    if (status == NULL) {
        return;
    }
    run->exit_status = report_exit_status(status, &run->err);
    pthread_mutex_lock(&run->lock);
    struct phase_times times = run->times;
    pthread_mutex_unlock(&run->lock);
    phase_times_end(&times, monotonic_ms());
    if (run->output.is_json) {
        progress_sample(&run->progress, status, monotonic_ms());
        report_progress(&run->output, &run->progress, status);
        report_result(&run->output, &times, status, &run->err);
    } else {
        run->text.size = 0;
        report_table(&times, status, &run->text);
        output_text(&run->output, stdout, run->text.data);
    }
    syn_status_free(status);
}

static int run_engine(struct sync_run *run)
{
    run->engine = syn_engine_open_config(run->cli->config, &run->err);
    if (run->engine == NULL) {
        return output_error(&run->output, &run->err);
    }
    syn_engine_on_event(run->engine, on_event, run);
    if (start(run)) {
        follow(run);
        finish(run);
    }
    syn_engine_free(run->engine);
    if (run->err.code == SYN_CODE_OK || run->err.code == SYN_CODE_STOPPED) {
        return run->exit_status == SYN_EXIT_OK
                   ? SYN_EXIT_OK
                   : output_error_as(&run->output, &run->err, run->exit_status);
    }
    return output_error(&run->output, &run->err);
}

int cli_sync(struct cli *cli)
{
    static struct sync_run run; /* a few hundred kilobytes: too much for a stack */
    memset(&run, 0, sizeof(run));
    run.cli = cli;
    pthread_mutex_init(&run.lock, NULL);
    output_init(&run.output, cli->is_json, cli->least);
    syn_log_to(output_log, &run.output, cli->least);
    int status = signals_init(&run.signals, &run.err) ? run_engine(&run)
                                                      : output_error(&run.output, &run.err);
    syn_log_to(NULL, NULL, cli->least);
    signals_deinit(&run.signals);
    output_deinit(&run.output);
    pthread_mutex_destroy(&run.lock);
    return status;
}
