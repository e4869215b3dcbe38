/*
 * The monitor asks each source now and then how far it is, so that lag can be told in bytes and in
 * time without writing anything; where heartbeats are wanted it writes them. It has a thread of its
 * own because a question to a dead server blocks.
 */
#include "core/engine/engine.h"

#include <string.h>

#define MONITOR_INTERVAL_MS 500

bool source_offset(struct control *control,
                   const struct server *server,
                   const struct config *config,
                   uint64_t *offset,
                   struct syn_err *err)
{
    if (control->context == NULL &&
        !control_open(
            control, &server->endpoint, SIDE_SOURCE, (int)config->connect_timeout_ms, err)) {
        return false;
    }
    redisReply *reply = control_ask(control, err, "INFO replication");
    if (reply == NULL) {
        control_close(control);
        return false;
    }
    int64_t number = -1;
    if (reply->str != NULL) {
        number = info_number(reply->str, "master_repl_offset", -1);
    }
    freeReplyObject(reply);
    if (number < 0) {
        return ERR(err, SYN_CODE_SOURCE_PROTOCOL, "the source's INFO has no master_repl_offset");
    }
    *offset = (uint64_t)number;
    return true;
}

static void watch_sample(struct watch *watch, uint64_t offset)
{
    struct offset_sample sample = {.time_ms = clock_monotonic_ms(), .offset = offset};
    if (watch->sample_count == SAMPLES) {
        watch->sample_head = (watch->sample_head + 1) % SAMPLES;
        watch->sample_count--;
    }
    watch->samples[(watch->sample_head + watch->sample_count) % SAMPLES] = sample;
    watch->sample_count++;
    watch->offset_source = offset;
}

static void monitor_round(struct syn_engine *engine, struct control *controls)
{
    for (uint32_t i = 0; i < engine->stream_count; i++) {
        struct syn_err err;
        uint64_t offset;
        if (atomic_load_acquire(&engine->monitor_stop)) {
            return;
        }
        /* A source that does not answer is the feed's business; here its lag just stays unknown. */
        if (source_offset(
                &controls[i], &engine->source.shards[i].server, &engine->config, &offset, &err)) {
            pthread_mutex_lock(&engine->lock);
            watch_sample(&engine->watches[i], offset);
            pthread_mutex_unlock(&engine->lock);
        }
    }
}

void *engine_monitor_main(void *arg)
{
    struct syn_engine *engine = arg;
    if (engine_has_files(engine)) {
        return NULL; /* a file's end is known, and there is nobody to ask */
    }
    struct control *controls = mem_calloc(MEM_ENGINE, engine->stream_count * sizeof(*controls));
    struct waker waker;
    struct syn_err err;
    if (controls == NULL || !waker_init(&waker, &err)) {
        mem_free(MEM_ENGINE, controls);
        return NULL; /* lag stays unknown, nothing else */
    }
    uint64_t next_ms = 0;
    while (!atomic_load_acquire(&engine->monitor_stop)) {
        uint64_t now_ms = clock_monotonic_ms();
        if (now_ms >= next_ms) {
            next_ms = now_ms + MONITOR_INTERVAL_MS;
            monitor_round(engine, controls);
        }
        engine_heartbeat_round(engine, controls, now_ms);
        /* Short waits, so that the end of the task is not delayed by this thread. */
        waker_wait(&waker, 50);
    }
    for (uint32_t i = 0; i < engine->stream_count; i++) {
        control_close(&controls[i]);
    }
    waker_deinit(&waker);
    mem_free(MEM_ENGINE, controls);
    return NULL;
}
