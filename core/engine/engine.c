#include "core/engine/engine.h"

#include <errno.h>
#include <string.h>
#include <time.h>

/* ---- open and free ---- */

static struct syn_engine *engine_new(struct syn_err *err)
{
    struct syn_engine *engine = mem_alloc_aligned(MEM_ENGINE, CACHE_LINE, sizeof(*engine));
    if (engine == NULL) {
        ERR(err, SYN_CODE_MEMORY, "out of memory for an engine");
        return NULL;
    }
    memset(engine, 0, sizeof(*engine));
    if (!waker_init(&engine->control_waker, err)) {
        mem_free(MEM_ENGINE, engine);
        return NULL;
    }
    pthread_mutex_init(&engine->lock, NULL);
    pthread_mutex_init(&engine->build_lock, NULL);
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&engine->ended, &attributes);
    pthread_condattr_destroy(&attributes);
    engine->failure.control = &engine->control_waker;
    return engine;
}

static void engine_delete(struct syn_engine *engine)
{
    pthread_cond_destroy(&engine->ended);
    pthread_mutex_destroy(&engine->lock);
    pthread_mutex_destroy(&engine->build_lock);
    waker_deinit(&engine->control_waker);
    /* The configuration holds passwords. */
    explicit_bzero(engine, sizeof(*engine));
    mem_free(MEM_ENGINE, engine);
}

struct syn_engine *syn_engine_open_config(const struct syn_config *config, struct syn_err *err)
{
    err_clear(err);
    struct syn_engine *engine = engine_new(err);
    if (engine == NULL) {
        return NULL;
    }
    if (!config_build(config, &engine->config, err)) {
        engine_delete(engine);
        return NULL;
    }
    return engine;
}

struct syn_engine *syn_engine_open(const char *text, size_t size, struct syn_err *err)
{
    err_clear(err);
    struct syn_config *config = syn_config_new(err);
    if (config == NULL) {
        return NULL;
    }
    struct syn_engine *engine = NULL;
    if (syn_config_load(config, text, size, "task", err)) {
        engine = syn_engine_open_config(config, err);
    }
    syn_config_free(config);
    return engine;
}

void syn_engine_on_event(struct syn_engine *engine, syn_event_callback *callback, void *arg)
{
    ASSERT(atomic_load_relaxed(&engine->phase) == SYN_PHASE_NEW);
    engine->on_event = callback;
    engine->event_arg = arg;
}

/* ---- start ---- */

static bool engine_prepare(struct syn_engine *engine, struct syn_err *err)
{
    atomic_store_release(&engine->phase, SYN_PHASE_PRECHECK);
    engine->is_restart = engine->config.is_restart;
    return precheck_run(&engine->config,
                        &engine->source,
                        &engine->destination,
                        false,
                        &engine->destination_was_empty,
                        &engine->resume,
                        err) &&
           (engine->config.losses_path[0] == '\0' ||
            losses_open(&engine->losses, engine->config.losses_path, err)) &&
           intake_ask(&engine->intake,
                      &engine->destination,
                      (int)engine->config.connect_timeout_ms,
                      err) &&
           engine_build(engine, err);
}

bool syn_engine_start(struct syn_engine *engine, struct syn_err *err)
{
    err_clear(err);
    if (atomic_load_relaxed(&engine->phase) != SYN_PHASE_NEW) {
        return ERR(err, SYN_CODE_USAGE, "an engine is started once; open another one");
    }
    if (!engine_prepare(engine, err)) {
        atomic_store_release(&engine->phase, SYN_PHASE_FAILED);
        return false;
    }
    atomic_store_release(&engine->phase, SYN_PHASE_SNAPSHOT);
    if (!engine_start_threads(engine, err)) {
        engine_stop_threads(engine);
        atomic_store_release(&engine->phase, SYN_PHASE_FAILED);
        return false;
    }
    pthread_mutex_lock(&engine->build_lock);
    engine->is_built = true;
    pthread_mutex_unlock(&engine->build_lock);
    atomic_store_release(&engine->started_ms, clock_monotonic_ms());
    engine->has_monitor =
        thread_start(&engine->monitor, "monitor", 0, engine_monitor_main, engine, err);
    engine->has_control =
        engine->has_monitor &&
        thread_start(&engine->control, "control", 0, engine_control_main, engine, err);
    if (!engine->has_control) {
        atomic_store_release(&engine->monitor_stop, true);
        if (engine->has_monitor) {
            pthread_join(engine->monitor, NULL);
        }
        engine_stop_threads(engine);
        atomic_store_release(&engine->phase, SYN_PHASE_FAILED);
        return false;
    }
    return true;
}

/* ---- steering ---- */

void syn_engine_pause(struct syn_engine *engine)
{
    atomic_store_release(&engine->pause_wanted, true);
    waker_wake(&engine->control_waker);
}

void syn_engine_resume(struct syn_engine *engine)
{
    atomic_store_release(&engine->pause_wanted, false);
    waker_wake(&engine->control_waker);
}

void syn_engine_stop(struct syn_engine *engine, bool drain)
{
    int wanted = drain ? STOP_DRAIN : STOP_NOW;
    int before = atomic_load_acquire(&engine->stop_request);
    while (before < wanted && !atomic_cas_acq_rel(&engine->stop_request, &before, wanted)) {
        /* somebody else asked at the same time; `before` is what they asked for */
    }
    waker_wake(&engine->control_waker);
}

bool syn_engine_wait(struct syn_engine *engine, int timeout_ms, struct syn_err *err)
{
    struct timespec deadline;
    clock_gettime(CLOCK_MONOTONIC, &deadline);
    int64_t ns = deadline.tv_nsec + (int64_t)(timeout_ms < 0 ? 0 : timeout_ms) * 1000000;
    deadline.tv_sec += ns / 1000000000;
    deadline.tv_nsec = ns % 1000000000;
    pthread_mutex_lock(&engine->lock);
    int waited = 0;
    while (!engine->is_ended && waited != ETIMEDOUT) {
        if (timeout_ms < 0) {
            waited = pthread_cond_wait(&engine->ended, &engine->lock);
        } else {
            waited = pthread_cond_timedwait(&engine->ended, &engine->lock, &deadline);
        }
    }
    bool is_ended = engine->is_ended;
    if (is_ended) {
        *err = engine->result;
    }
    pthread_mutex_unlock(&engine->lock);
    return is_ended;
}

void syn_engine_free(struct syn_engine *engine)
{
    if (engine == NULL) {
        return;
    }
    if (engine->has_control) {
        syn_engine_stop(engine, false);
        pthread_join(engine->control, NULL);
    }
    engine_demolish(engine);
    mem_free(MEM_ENGINE, engine->acked);
    losses_close(&engine->losses);
    topology_deinit(&engine->source);
    topology_deinit(&engine->destination);
    engine_delete(engine);
}
