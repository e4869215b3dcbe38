#include "test_cli_engine.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/engine/config_store.h"

struct fake_plan fake_plan;

struct syn_engine {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool is_draining;
    bool is_stopped;
    unsigned look_count;
    syn_event_callback *callback;
    void *arg;
};

static struct syn_engine engine = {.lock = PTHREAD_MUTEX_INITIALIZER,
                                   .changed = PTHREAD_COND_INITIALIZER};

struct syn_engine *syn_engine_open_config(const struct syn_config *config, struct syn_err *err)
{
    static struct config built;
    return config_build(config, &built, err) ? &engine : NULL;
}

void syn_engine_on_event(struct syn_engine *it, syn_event_callback *callback, void *arg)
{
    it->callback = callback;
    it->arg = arg;
}

static void emit(enum syn_event_kind kind, enum syn_phase phase, const char *text)
{
    struct syn_event event = {
        .kind = kind, .unix_ms = 1700000000000, .stream = -1, .phase = phase, .text = text};
    engine.callback(engine.arg, &event);
}

bool syn_engine_start(struct syn_engine *it, struct syn_err *err)
{
    emit(SYN_EVENT_PHASE, SYN_PHASE_PRECHECK, "");
    if (fake_plan.start_hangs) {
        pthread_mutex_lock(&it->lock);
        while (!it->is_draining && !it->is_stopped) {
            pthread_cond_wait(&it->changed, &it->lock);
        }
        pthread_mutex_unlock(&it->lock);
        return ERR(err, SYN_CODE_STOPPED, "stopped while checking");
    }
    if (fake_plan.start_fails) {
        return ERR(err, SYN_CODE_PRECHECK, "the destination has keys");
    }
    emit(SYN_EVENT_PHASE, SYN_PHASE_SNAPSHOT, "");
    emit(SYN_EVENT_INFO, SYN_PHASE_SNAPSHOT, "2 streams");
    emit(SYN_EVENT_WARNING, SYN_PHASE_SNAPSHOT, "caf\xe9 is not UTF-8");
    return true;
}

void fake_status_fill(struct syn_status *status,
                      struct syn_stream_status streams[2],
                      enum syn_phase phase)
{
    *status = (struct syn_status){.phase = phase,
                                  .elapsed_ms = 2000,
                                  .keys = 500,
                                  .keys_total = 1000,
                                  .bytes_received = 3 << 20,
                                  .bytes_sent = 4 << 20,
                                  .operations = 700,
                                  .commands = 200,
                                  .lag_bytes = 10,
                                  .lag_ms = -1,
                                  .memory_bytes = 1 << 20,
                                  .memory_limit_bytes = 4 << 20,
                                  .io = "epoll",
                                  .stream_count = 2,
                                  .streams = streams};
    for (unsigned i = 0; i < 2; i++) {
        streams[i] = (struct syn_stream_status){.phase = phase,
                                                .wait = SYN_WAIT_DESTINATION,
                                                .snapshot_keys = 250,
                                                .snapshot_keys_total = 500,
                                                .snapshot_bytes = 1 << 20,
                                                .snapshot_bytes_total = i == 0 ? 4 << 20 : -1,
                                                .commands = 100,
                                                .bytes_received = (3 << 20) / 2,
                                                .lag_ms = 20,
                                                .latency_ms = 20,
                                                .queue_percent = 7};
        snprintf(streams[i].source, sizeof(streams[i].source), "10.0.0.%u:6379", i + 1);
    }
}

struct syn_status *syn_engine_status(struct syn_engine *it, struct syn_err *err)
{
    (void)err;
    struct syn_status *status = calloc(1, sizeof(*status) + 2 * sizeof(*status->streams));
    pthread_mutex_lock(&it->lock);
    it->look_count++;
    pthread_cond_broadcast(&it->changed);
    pthread_mutex_unlock(&it->lock);
    fake_status_fill(status, (struct syn_stream_status *)(status + 1), SYN_PHASE_SNAPSHOT);
    return status;
}

void syn_status_free(struct syn_status *status)
{
    free(status);
}

void syn_engine_stop(struct syn_engine *it, bool drain)
{
    pthread_mutex_lock(&it->lock);
    it->is_draining = true;
    it->is_stopped = it->is_stopped || !drain;
    pthread_cond_broadcast(&it->changed);
    pthread_mutex_unlock(&it->lock);
}

bool syn_engine_wait(struct syn_engine *it, int timeout_ms, struct syn_err *err)
{
    (void)timeout_ms;
    pthread_mutex_lock(&it->lock);
    bool has_ended = (!fake_plan.runs_on && it->look_count >= 3) ||
                     (it->is_draining && !fake_plan.hangs) || it->is_stopped;
    pthread_mutex_unlock(&it->lock);
    if (has_ended) {
        err->code = SYN_CODE_OK;
        if (fake_plan.end != SYN_CODE_OK) {
            (void)ERR(err, fake_plan.end, "10.0.0.1:6379: the connection broke");
            emit(SYN_EVENT_ERROR, SYN_PHASE_FAILED, err->msg);
        }
    }
    return has_ended;
}

void syn_engine_free(struct syn_engine *it)
{
    (void)it;
}

bool syn_verify(const struct syn_config *config,
                syn_difference_callback *on_difference,
                syn_verify_progress *on_progress,
                void *arg,
                struct syn_verify_result *result,
                struct syn_err *err)
{
    static struct config built;
    if (!config_build(config, &built, err)) {
        return false;
    }
    static const uint8_t key[] = {'k', '"', '\n', 0, 0xff};
    *result = (struct syn_verify_result){.keys_source = 10, .keys_compared = 9};
    struct syn_difference difference = {.kind = SYN_DIFFERENCE_TTL,
                                        .db = 3,
                                        .key = key,
                                        .key_size = sizeof(key),
                                        .detail = "5s, 9s"};
    for (unsigned i = 0; i < fake_plan.difference_count; i++) {
        on_difference(arg, &difference);
        result->differences++;
    }
    while (on_progress(arg, result) && fake_plan.verify_hangs) {
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
    return true;
}
