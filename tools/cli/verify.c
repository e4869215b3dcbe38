/*
 * syncline verify: compare, list, count.
 *
 * Threads: syn_verify runs on a worker, which prints differences; the main thread only waits for
 * signals. `is_cut_short` is shared under the lock.
 */
#include <string.h>
#include <unistd.h>

#include "tools/cli/cli.h"
#include "tools/cli/escape.h"
#include "tools/cli/output.h"
#include "tools/cli/progress.h"
#include "tools/cli/worker.h"

/* Of a key as printed; a longer one is cut and says so. */
#define KEY_SHOWN_MAX 16000

struct verify_run {
    struct cli *cli;
    struct output output;
    struct signals signals;
    struct worker worker;
    struct syn_verify_result result;
    struct syn_err err;
    bool is_ok;
    uint64_t shown_ms; /* worker: when progress was printed last */
    struct text text;  /* worker */
    pthread_mutex_t lock;
    bool is_cut_short; /* under lock */
};

static void on_difference(void *arg, const struct syn_difference *difference)
{
    struct verify_run *run = arg;
    struct text *text = &run->text;
    text->size = 0;
    text->data[0] = '\0';
    if (run->output.is_json) {
        escape_add(text, difference->key, difference->key_size, KEY_SHOWN_MAX);
        json_t *event = event_new("difference");
        event_set_text(event, "kind", syn_difference_name(difference->kind));
        event_set_number(event, "db", difference->db);
        event_set_text(event, "key", text->data);
        event_set_number(event, "key_size", difference->key_size);
        event_set_text(event, "detail", difference->detail);
        output_event(&run->output, event);
        return;
    }
    text_add(text, "%-8s db %u \"", syn_difference_name(difference->kind), difference->db);
    escape_add(text, difference->key, difference->key_size, KEY_SHOWN_MAX);
    text_add(text, "\"%s%s", difference->detail[0] != '\0' ? ": " : "", difference->detail);
    output_text(&run->output, stdout, text->data);
}

static void set_counts(json_t *event, const struct syn_verify_result *result)
{
    event_set_number(event, "keys_source", result->keys_source);
    event_set_number(event, "keys_destination", result->keys_destination);
    event_set_number(event, "keys_compared", result->keys_compared);
    event_set_number(event, "equal_payload", result->equal_payload);
    event_set_number(event, "equal_content", result->equal_content);
    event_set_number(event, "expired", result->expired);
    event_set_number(event, "rechecked", result->rechecked);
    event_set_number(event, "differences", result->differences);
    event_set_number(event, "elapsed_ms", result->elapsed_ms);
}

static void show_progress(struct verify_run *run, const struct syn_verify_result *so_far)
{
    if (run->output.is_json) {
        json_t *event = event_new("progress");
        event_set_text(event, "phase", "verify");
        set_counts(event, so_far);
        output_event(&run->output, event);
        return;
    }
    char line[160];
    snprintf(line,
             sizeof(line),
             "compared %llu keys, %llu look different",
             (unsigned long long)so_far->keys_compared,
             (unsigned long long)so_far->differences);
    if (run->output.is_terminal) {
        char view[180];
        snprintf(view, sizeof(view), "%s\x1b[K\n", line);
        output_view(&run->output, view, 1);
    } else {
        output_text(&run->output, stderr, line); /* standard output is the list of keys */
    }
}

static bool on_progress(void *arg, const struct syn_verify_result *so_far)
{
    struct verify_run *run = arg;
    uint64_t now_ms = monotonic_ms();
    if (now_ms - run->shown_ms >= run->cli->progress_ms) {
        run->shown_ms = now_ms;
        show_progress(run, so_far);
    }
    pthread_mutex_lock(&run->lock);
    bool goes_on = !run->is_cut_short;
    pthread_mutex_unlock(&run->lock);
    return goes_on;
}

static void verify_call(void *arg)
{
    struct verify_run *run = arg;
    run->shown_ms = monotonic_ms();
    run->is_ok =
        syn_verify(run->cli->config, on_difference, on_progress, run, &run->result, &run->err);
}

/* An interrupted verification proves nothing: its status is not 0, and a second signal does not
 * wait for it. */
static void take_signals(struct verify_run *run, unsigned count)
{
    for (; count > 0; count--) {
        pthread_mutex_lock(&run->lock);
        bool is_second = run->is_cut_short;
        run->is_cut_short = true;
        pthread_mutex_unlock(&run->lock);
        if (is_second) {
            fflush(NULL);
            _exit(CLI_EXIT_INTERRUPTED);
        }
    }
}

static int summary(struct verify_run *run)
{
    const struct syn_verify_result *result = &run->result;
    enum syn_code code = result->differences > 0 ? SYN_CODE_DIFFERENT : SYN_CODE_OK;
    int status = run->is_cut_short ? CLI_EXIT_INTERRUPTED : syn_code_exit_status(code);
    if (run->output.is_json) {
        json_t *event = event_new("result");
        event_set_text(event, "command", "verify");
        event_set_text(event, "code", syn_code_name(run->is_cut_short ? SYN_CODE_STOPPED : code));
        event_set_signed(event, "exit_status", status);
        set_counts(event, result);
        output_event(&run->output, event);
        return status;
    }
    char took[24];
    output_line(&run->output,
                stdout,
                "%s: %llu keys at the source, %llu at the destination, %llu compared in %s: %llu "
                "equal bytes, %llu equal content, %llu expired, %llu equal when read again, %llu "
                "different",
                run->is_cut_short         ? "cut short"
                : result->differences > 0 ? "different"
                                          : "equal",
                (unsigned long long)result->keys_source,
                (unsigned long long)result->keys_destination,
                (unsigned long long)result->keys_compared,
                show_duration((double)result->elapsed_ms / 1000.0, took),
                (unsigned long long)result->equal_payload,
                (unsigned long long)result->equal_content,
                (unsigned long long)result->expired,
                (unsigned long long)result->rechecked,
                (unsigned long long)result->differences);
    return status;
}

static int run_verify(struct verify_run *run)
{
    run->worker = (struct worker){.signals = &run->signals, .call = verify_call, .arg = run};
    if (!worker_start(&run->worker, &run->err)) {
        return output_error(&run->output, &run->err);
    }
    while (!worker_is_done(&run->worker)) {
        take_signals(run, signals_wait(&run->signals, -1));
    }
    worker_join(&run->worker);
    if (!run->is_ok && run->is_cut_short) {
        return CLI_EXIT_INTERRUPTED;
    }
    return run->is_ok ? summary(run) : output_error(&run->output, &run->err);
}

int cli_verify(struct cli *cli)
{
    static struct verify_run run; /* holds a large text: too much for a stack */
    memset(&run, 0, sizeof(run));
    run.cli = cli;
    pthread_mutex_init(&run.lock, NULL);
    output_init(&run.output, cli->is_json, cli->least);
    syn_log_to(output_log, &run.output, cli->least);
    int status = signals_init(&run.signals, &run.err) ? run_verify(&run)
                                                      : output_error(&run.output, &run.err);
    syn_log_to(NULL, NULL, cli->least);
    signals_deinit(&run.signals);
    output_deinit(&run.output);
    pthread_mutex_destroy(&run.lock);
    return status;
}
