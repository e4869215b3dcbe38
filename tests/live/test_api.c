/* The library as a host program uses it: no command line, no signals, several engines. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "core/base/atomic.h"
#include "core/base/clock.h"
#include "core/engine/syn.h"
#include "tests/live/sides.h"
#include "tests/support/process.h"

struct seen {
    _Atomic int kinds[4];
    _Atomic int phases[16]; /* of the whole task */
    _Atomic int texts_bad;  /* empty, or more than a line */
};

static void on_event(void *arg, const struct syn_event *event)
{
    struct seen *seen = arg;
    atomic_add_relaxed(&seen->kinds[event->kind], 1);
    if (event->kind == SYN_EVENT_PHASE && event->stream < 0)
        atomic_add_relaxed(&seen->phases[event->phase], 1);
    if (event->text == NULL || event->text[0] == '\0' || strchr(event->text, '\n') != NULL)
        atomic_add_relaxed(&seen->texts_bad, 1);
}

static struct syn_engine *open_engine(const char *more)
{
    char text[1024];
    struct syn_err err;
    snprintf(
        text, sizeof(text), "source: %s\ndestination: %s\n%s", source.uri, destination.uri, more);
    struct syn_engine *engine = syn_engine_open(text, strlen(text), &err);
    if (engine == NULL)
        fail_msg("open: %s", err.msg);
    return engine;
}

static struct syn_status *status_of(struct syn_engine *engine)
{
    struct syn_err err;
    struct syn_status *status = syn_engine_status(engine, &err);
    if (status == NULL)
        fail_msg("status: %s", err.msg);
    return status;
}

static void wait_phase(struct syn_engine *engine, enum syn_phase phase)
{
    uint64_t deadline = test_deadline(LIVE_WAIT_MS);
    for (bool is_there = false; !is_there; test_poll(deadline, syn_phase_name(phase))) {
        struct syn_status *status = status_of(engine);
        is_there = status->phase == phase;
        syn_status_free(status);
    }
}

static void wait_level(struct syn_engine *engine)
{
    char value[32];
    test_info(live_redis(&source), "master_repl_offset", value, sizeof(value));
    uint64_t target = strtoull(value, NULL, 10);
    uint64_t deadline = test_deadline(LIVE_WAIT_MS);
    for (bool is_level = false; !is_level; test_poll(deadline, "all writes to be applied")) {
        struct syn_status *status = status_of(engine);
        is_level = status->phase == SYN_PHASE_LIVE && status->streams[0].offset_applied >= target;
        syn_status_free(status);
    }
}

/* The life of a task: every step must be visible in the status and in an event, and the end must be
 * as asked. */
static void test_life(void **state)
{
    (void)state;
    struct seen seen = {.texts_bad = 0};
    struct syn_err err = {.code = SYN_CODE_INTERNAL};
    dataset_load(source.client, 1, 10);
    struct syn_engine *engine = open_engine("lanes: 2\n");
    syn_engine_on_event(engine, on_event, &seen);
    struct syn_status *status = status_of(engine);
    assert_int_equal(status->phase, SYN_PHASE_NEW);
    syn_status_free(status);
    if (!syn_engine_start(engine, &err))
        fail_msg("start: %s", err.msg);
    assert_false(syn_engine_wait(engine, 0, &err));
    assert_false(syn_engine_start(engine, &err)); /* once */
    assert_int_equal(err.code, SYN_CODE_USAGE);
    struct writer *writer = live_writer(&source, &destination, 1, 4000);
    wait_phase(engine, SYN_PHASE_LIVE);
    live_writer_more(writer, 1000);
    writer_stop(writer, NULL);
    wait_level(engine);
    status = status_of(engine);
    assert_int_equal(status->stream_count, 1);
    assert_true(status->keys > 0 && status->commands > 0 && status->bytes_sent > 0);
    assert_in_range(status->memory_bytes, 1, status->memory_limit_bytes);
    assert_int_equal(status->streams[0].phase, SYN_PHASE_LIVE);
    assert_int_equal(status->streams[0].snapshots, 1);
    assert_null(strchr(status->streams[0].source, '@'));
    syn_status_free(status);
    syn_engine_stop(engine, true);
    assert_true(syn_engine_wait(engine, LIVE_WAIT_MS, &err));
    if (err.code != SYN_CODE_OK)
        fail_msg("end: %s", err.msg);
    status = status_of(engine); /* also after the end */
    assert_int_equal(status->phase, SYN_PHASE_DONE);
    syn_status_free(status);
    syn_engine_free(engine);
    assert_int_equal(atomic_load_relaxed(&seen.texts_bad), 0);
    assert_int_equal(atomic_load_relaxed(&seen.phases[SYN_PHASE_LIVE]), 1);
    assert_int_equal(atomic_load_relaxed(&seen.phases[SYN_PHASE_DRAINING]), 1);
    assert_int_equal(atomic_load_relaxed(&seen.phases[SYN_PHASE_DONE]), 1);
    assert_int_equal(atomic_load_relaxed(&seen.kinds[SYN_EVENT_ERROR]), 0);
    live_assert_equal(&source, &destination);
}

/* While paused nothing may be written, however much arrives; afterwards nothing may be missing. */
static void test_pause(void **state)
{
    (void)state;
    struct syn_err err;
    struct syn_engine *engine = open_engine("");
    assert_true(syn_engine_start(engine, &err));
    wait_phase(engine, SYN_PHASE_LIVE);
    struct writer *writer = live_writer(&source, &destination, 2, 4000);
    live_writer_more(writer, 500);
    syn_engine_pause(engine);
    wait_phase(engine, SYN_PHASE_PAUSED);
    /* What was on its way ends: two equal readings of the destination's counter of commands, apart
     * from those that read it. */
    uint64_t deadline = test_deadline(LIVE_WAIT_MS);
    uint64_t before = 1, now = 0;
    for (int same = 0; same < 5; test_poll(deadline, "the pause to take effect")) {
        struct syn_status *status = status_of(engine);
        now = status->operations;
        syn_status_free(status);
        same = now == before ? same + 1 : 0;
        before = now;
    }
    char changes[32], changes_later[32];
    test_info(live_redis(&destination), "rdb_changes_since_last_save", changes, sizeof(changes));
    live_writer_more(writer, 4000);
    struct syn_status *status = status_of(engine);
    assert_int_equal(status->phase, SYN_PHASE_PAUSED);
    assert_int_equal(status->operations, now);
    assert_int_equal(status->streams[0].wait, SYN_WAIT_PAUSED);
    syn_status_free(status);
    test_info(live_redis(&destination),
              "rdb_changes_since_last_save",
              changes_later,
              sizeof(changes_later));
    assert_string_equal(changes, changes_later);
    syn_engine_resume(engine);
    live_writer_more(writer, 500);
    writer_stop(writer, NULL);
    wait_level(engine);
    syn_engine_stop(engine, true);
    assert_true(syn_engine_wait(engine, LIVE_WAIT_MS, &err));
    assert_int_equal(err.code, SYN_CODE_OK);
    syn_engine_free(engine);
    live_assert_equal(&source, &destination);
}

/* A host may end a task in any state: each of these must join all threads and leave nothing. */
static void test_early_ends(void **state)
{
    (void)state;
    struct syn_err err;
    dataset_load(source.client, 3, 5);
    syn_engine_free(NULL);
    syn_engine_free(open_engine("")); /* never started */
    struct syn_engine *engine = open_engine("on_nonempty: overwrite\n");
    assert_true(syn_engine_start(engine, &err));
    syn_engine_free(engine); /* at once, still running */
    engine = open_engine("on_nonempty: overwrite\n");
    assert_true(syn_engine_start(engine, &err));
    syn_engine_stop(engine, false);
    assert_true(syn_engine_wait(engine, LIVE_WAIT_MS, &err));
    assert_int_equal(err.code, SYN_CODE_STOPPED);
    syn_engine_free(engine);
    engine = open_engine("on_nonempty: overwrite\n");
    assert_true(syn_engine_start(engine, &err));
    syn_engine_pause(engine);
    syn_engine_stop(engine, true); /* drains although paused */
    assert_true(syn_engine_wait(engine, LIVE_WAIT_MS, &err));
    assert_int_equal(err.code, SYN_CODE_OK);
    syn_engine_free(engine);
}

/* Errors must come back through err, with code and text, and never print or end the process. */
static void test_errors(void **state)
{
    (void)state;
    struct syn_err err;
    static const char bad[] = "source: 127.0.0.1\ndestnation: 127.0.0.1:2\n";
    assert_null(syn_engine_open(bad, strlen(bad), &err));
    assert_int_equal(err.code, SYN_CODE_CONFIG);
    assert_non_null(strstr(err.msg, "destnation"));
    test_command_ok(live_redis(&destination), "SET key value");
    struct syn_engine *engine = open_engine("");
    assert_false(syn_engine_start(engine, &err));
    assert_int_equal(err.code, SYN_CODE_PRECHECK);
    assert_non_null(strstr(err.msg, "not empty"));
    struct syn_status *status = status_of(engine);
    assert_int_equal(status->phase, SYN_PHASE_FAILED);
    syn_status_free(status);
    syn_engine_free(engine);
}

/* A failure in the middle is told once as an event and again at the end. */
static void test_failure_event(void **state)
{
    (void)state;
    struct seen seen = {.texts_bad = 0};
    struct syn_err err;
    struct syn_engine *engine = open_engine("on_divergence: stop\n");
    syn_engine_on_event(engine, on_event, &seen);
    assert_true(syn_engine_start(engine, &err));
    wait_phase(engine, SYN_PHASE_LIVE);
    test_command_ok(live_redis(&destination), "SET key string");
    test_command_ok(live_redis(&source), "RPUSH key element");
    assert_true(syn_engine_wait(engine, LIVE_WAIT_MS, &err));
    assert_int_equal(err.code, SYN_CODE_DESTINATION_REPLY);
    assert_int_equal(syn_code_exit_status(err.code), SYN_EXIT_DESTINATION);
    syn_engine_free(engine);
    assert_int_equal(atomic_load_relaxed(&seen.kinds[SYN_EVENT_ERROR]), 1);
    assert_int_equal(atomic_load_relaxed(&seen.phases[SYN_PHASE_FAILED]), 1);
}

static void on_difference(void *arg, const struct syn_difference *difference)
{
    struct syn_difference *last = arg;
    last->kind = difference->kind;
    last->db = difference->db;
    last->key_size = difference->key_size;
}

static void test_verify(void **state)
{
    (void)state;
    struct syn_err err;
    struct syn_verify_result result;
    struct syn_difference last = {.db = 99};
    test_command_ok(live_redis(&source), "MSET a 1 b 2");
    test_command_ok(live_redis(&destination), "MSET a 1 b 3");
    struct syn_config *config = syn_config_new(&err);
    assert_non_null(config);
    assert_true(syn_config_set(config, "source", source.uri, &err));
    assert_true(syn_config_set(config, "destination", destination.uri, &err));
    assert_true(syn_config_set(config, "rounds", "1", &err));
    assert_true(syn_config_set(config, "interval", "10ms", &err));
    assert_true(syn_verify(config, on_difference, NULL, &last, &result, &err));
    assert_int_equal(result.differences, 1);
    assert_int_equal(result.keys_source, 2);
    assert_int_equal(last.kind, SYN_DIFFERENCE_VALUE);
    assert_int_equal(last.db, 0);
    assert_int_equal(last.key_size, 1);
    syn_config_free(config);
}

/* The examples of the documentation must work as they are: they end by themselves when level. */
static void run_example(const char *path)
{
    char text[700], out[160], err[160];
    int status;
    sides_empty(NULL);
    dataset_load(source.client, 4, 5);
    snprintf(text,
             sizeof(text),
             "{\"source\": \"%s\", \"destination\": \"%s\"}",
             source.uri,
             destination.uri);
    snprintf(out, sizeof(out), "%s/example.out", test_folder());
    snprintf(err, sizeof(err), "%s/example.err", test_folder());
    pid_t pid = process_start((const char *[]){path, text, NULL}, out, err);
    assert_true(process_wait(pid, LIVE_WAIT_MS, &status));
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    live_assert_equal(&source, &destination);
    /* And a failure is its exit status: the destination has keys, and nothing says whose. */
    test_command_ok(live_redis(&destination), "DEL syncline:position");
    pid = process_start((const char *[]){path, text, NULL}, out, err);
    assert_true(process_wait(pid, LIVE_WAIT_MS, &status));
    assert_int_equal(WEXITSTATUS(status), SYN_EXIT_PRECHECK);
}

/* A file is a source like any other: opened, watched, paused; it ends by itself, without having
 * followed anything, and is compared afterwards. */
static void test_file(void **state)
{
    (void)state;
    struct seen seen = {.texts_bad = 0};
    struct syn_err err = {.code = SYN_CODE_INTERNAL};
    char text[1024];
    dataset_load(source.client, 6, 30);
    test_command_ok(live_redis(&source), "SAVE");
    snprintf(text,
             sizeof(text),
             "source: file://%s/dump.rdb\ndestination: %s\n",
             source.server.folder,
             destination.uri);
    struct syn_engine *engine = syn_engine_open(text, strlen(text), &err);
    if (engine == NULL)
        fail_msg("open: %s", err.msg);
    syn_engine_on_event(engine, on_event, &seen);
    syn_engine_pause(engine);
    if (!syn_engine_start(engine, &err))
        fail_msg("start: %s", err.msg);
    wait_phase(engine, SYN_PHASE_PAUSED);
    syn_engine_resume(engine);
    assert_true(syn_engine_wait(engine, LIVE_WAIT_MS, &err));
    if (err.code != SYN_CODE_OK)
        fail_msg("end: %s", err.msg);
    struct syn_status *status = status_of(engine);
    assert_int_equal(status->phase, SYN_PHASE_DONE);
    assert_int_equal(status->keys, dataset_key_count(source.client));
    assert_int_equal(status->keys_total, status->keys);
    assert_int_equal(status->lag_bytes, 0);
    assert_int_equal(status->lag_ms, -1);
    assert_true(status->streams[0].is_file);
    assert_int_equal(status->streams[0].phase, SYN_PHASE_DONE);
    assert_int_equal(status->streams[0].snapshot_bytes, status->streams[0].snapshot_bytes_total);
    assert_int_equal(status->streams[0].sessions, 0);
    assert_int_equal(strncmp(status->streams[0].source, "file:///", 8), 0);
    syn_status_free(status);
    syn_engine_free(engine);
    assert_int_equal(atomic_load_acquire(&seen.phases[SYN_PHASE_LIVE]), 0);
    assert_int_equal(atomic_load_acquire(&seen.phases[SYN_PHASE_DONE]), 1);
    assert_int_equal(atomic_load_acquire(&seen.texts_bad), 0);
    assert_int_equal(live_differences(&source, &destination), 0);
    struct syn_config *config = syn_config_new(&err);
    struct syn_verify_result result;
    assert_true(syn_config_load(config, text, strlen(text), "test", &err));
    assert_true(syn_verify(config, NULL, NULL, NULL, &result, &err));
    assert_int_equal(result.differences, 0);
    assert_int_equal(result.keys_compared, dataset_key_count(source.client));
    syn_config_free(config);
}

static void test_examples(void **state)
{
    (void)state;
    run_example(EXAMPLE_C);
#ifdef EXAMPLE_CC
    run_example(EXAMPLE_CC);
#else
    fprintf(stderr, "SKIPPED: the C++ example (no C++ compiler)\n");
#endif
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_life, sides_empty),
        cmocka_unit_test_setup(test_pause, sides_empty),
        cmocka_unit_test_setup(test_early_ends, sides_empty),
        cmocka_unit_test_setup(test_errors, sides_empty),
        cmocka_unit_test_setup(test_failure_event, sides_empty),
        cmocka_unit_test_setup(test_verify, sides_empty),
        cmocka_unit_test_setup(test_file, sides_empty),
        cmocka_unit_test_setup(test_examples, sides_empty),
    };
    cmocka_set_test_filter(getenv("SYNCLINE_TEST_FILTER"));
    if (!test_cli_available())
        return 77;
    return cmocka_run_group_tests(tests, sides_start, sides_stop);
}
