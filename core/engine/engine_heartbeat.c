/*
 * Heartbeats: a key with the time is written to each source shard now and then, and the stream that
 * brings it to us tells how long that took, all the way to the destination's answer.
 *
 * The monitor writes them, over the connections on which it asks for offsets. Where a source does
 * not let us, or is a replica, latency is estimated from sampled offsets, and said to be.
 */
#include "core/engine/engine.h"

#include <stdio.h>
#include <string.h>
#include <sys/random.h>

/* A source that refuses is asked again, as what hinders it may pass; seldom, as it may log it. */
#define REFUSED_RETRY_MS 30000
/* How long the last one stays after the task, in intervals, and at least. */
#define TTL_INTERVALS 3
#define TTL_SECONDS_MIN 5

/* ---- keys ---- */

static bool shard_has_slot(const struct shard *shard, uint16_t slot)
{
    for (uint32_t i = 0; i < shard->range_count; i++) {
        if (slot >= shard->ranges[i].first && slot <= shard->ranges[i].last) {
            return true;
        }
    }
    return false;
}

/* Distinct tasks on one source must not take each other's keys for their own. */
static uint64_t task_number(void)
{
    uint64_t number = 0;
    if (getrandom(&number, sizeof(number), GRND_NONBLOCK) != sizeof(number)) {
        number = clock_monotonic_ns() ^ (uint64_t)clock_unix_ms() << 20;
    }
    return number;
}

void engine_heartbeat_init(struct syn_engine *engine)
{
    const struct config *config = &engine->config;
    struct heartbeat_names *names = &engine->task.heartbeat;
    names->prefix = config->heartbeat_prefix;
    names->prefix_size = strlen(config->heartbeat_prefix);
    if (config->heartbeat_ms == 0) {
        return; /* those of others are left out all the same */
    }
    uint64_t task = task_number();
    for (uint32_t i = 0; i < engine->stream_count; i++) {
        const struct shard *shard = &engine->source.shards[i];
        char *key = engine->streams[i].heartbeat.key;
        if (engine->source.is_cluster && shard->slot_count == 0) {
            continue;
        }
        uint32_t n = 0;
        do {
            heartbeat_key(names, task, n++, key);
        } while (engine->source.is_cluster &&
                 !shard_has_slot(shard, slot_of_key(key, strlen(key))));
    }
}

/* ---- writing ---- */

/* Under the lock: what arrived, or was overtaken, is not waited for. */
static void watch_forget(struct heartbeat_writes *writes, uint64_t arrived_us)
{
    while (writes->count > 0 && writes->times_us[writes->head] <= arrived_us) {
        writes->head = (writes->head + 1) % HEARTBEAT_WRITES;
        writes->count--;
    }
}

static void heartbeat_written(struct syn_engine *engine, uint32_t i, uint64_t now_us)
{
    struct heartbeat_writes *writes = &engine->watches[i].heartbeat;
    uint64_t arrived_us = atomic_load_acquire(&engine->streams[i].heartbeat.written_us);
    pthread_mutex_lock(&engine->lock);
    writes->is_refused = false;
    watch_forget(writes, arrived_us);
    /* With all places taken the oldest are what counts. */
    if (now_us > arrived_us && writes->count < HEARTBEAT_WRITES) {
        writes->times_us[(writes->head + writes->count) % HEARTBEAT_WRITES] = now_us;
        writes->count++;
    }
    pthread_mutex_unlock(&engine->lock);
}

static void heartbeat_refused(struct syn_engine *engine, uint32_t i, const char *reason)
{
    struct heartbeat_writes *writes = &engine->watches[i].heartbeat;
    pthread_mutex_lock(&engine->lock);
    bool is_known = writes->is_refused;
    writes->is_refused = true;
    writes->count = 0;
    pthread_mutex_unlock(&engine->lock);
    if (!is_known) {
        char text[ENDPOINT_TEXT_MAX];
        log_warning("source %s takes no heartbeat (%s): its latency is estimated from offsets",
                    endpoint_text(&engine->source.shards[i].server.endpoint, text),
                    reason);
    }
}

/* An error's first word: "NOPERM", "READONLY", "OOM". The rest may name what nobody may see. */
static void reason_of(const redisReply *reply, char reason[static 32])
{
    size_t size = strspn(reply->str, "ABCDEFGHIJKLMNOPQRSTUVWXYZ");
    snprintf(reason, 32, "%.*s", size > 31 ? 31 : (int)size, reply->str);
}

static void heartbeat_write(struct syn_engine *engine, uint32_t i, struct control *control)
{
    const struct config *config = &engine->config;
    const char *key = engine->streams[i].heartbeat.key;
    char value[HEARTBEAT_VALUE_MAX];
    char ttl[NUM_DIGITS_MAX + 1] = "";
    uint64_t ttl_s = (config->heartbeat_ms * TTL_INTERVALS + 999) / 1000;
    ttl[num_write_u64(ttl, ttl_s < TTL_SECONDS_MIN ? TTL_SECONDS_MIN : ttl_s)] = '\0';
    uint64_t now_us = heartbeat_now_us();
    heartbeat_value(clock_unix_ms(), now_us, value);
    const char *argv[] = {"SETEX", key, ttl, value};
    struct syn_err err;
    redisReply *reply = control_call(control, 4, argv, NULL, &err);
    if (reply == NULL) {
        return; /* the connection is lost; the monitor makes it anew */
    }
    if (reply->type != REDIS_REPLY_ERROR) {
        heartbeat_written(engine, i, now_us);
    } else {
        char reason[32];
        reason_of(reply, reason);
        heartbeat_refused(engine, i, reason);
    }
    freeReplyObject(reply);
}

void engine_heartbeat_round(struct syn_engine *engine, struct control *controls, uint64_t now_ms)
{
    uint64_t interval_ms = engine->config.heartbeat_ms;
    if (interval_ms == 0 || atomic_load_acquire(&engine->phase) == SYN_PHASE_DRAINING) {
        return;
    }
    for (uint32_t i = 0; i < engine->stream_count; i++) {
        struct heartbeat_writes *writes = &engine->watches[i].heartbeat;
        bool is_due = now_ms >= writes->next_ms;
        /* In a snapshot it would only tell how long that takes. */
        if (!is_due || engine_stream_phase(engine, i) != SYN_PHASE_LIVE ||
            engine->streams[i].heartbeat.key[0] == '\0') {
            continue;
        }
        if (engine->source.shards[i].server.is_replica) {
            heartbeat_refused(engine, i, "it is a replica");
        } else if (controls[i].context != NULL) {
            heartbeat_write(engine, i, &controls[i]);
        }
        /* Only this thread writes is_refused. */
        uint64_t wait_ms =
            writes->is_refused && interval_ms < REFUSED_RETRY_MS ? REFUSED_RETRY_MS : interval_ms;
        writes->next_ms = now_ms + wait_ms;
    }
}

/* ---- reading ---- */

int64_t engine_latency_us(struct syn_engine *engine, uint32_t i, uint64_t now_us)
{
    const struct heartbeat_watch *seen = &engine->streams[i].heartbeat;
    struct heartbeat_writes *writes = &engine->watches[i].heartbeat;
    uint64_t arrived_us = atomic_load_acquire(&seen->written_us);
    uint64_t latency_us = atomic_load_acquire(&seen->latency_us);
    if (writes->is_refused || arrived_us == 0) {
        return -1;
    }
    watch_forget(writes, arrived_us);
    /* One that is still on its way takes at least as long as it has been. */
    if (writes->count > 0) {
        uint64_t oldest_us = writes->times_us[writes->head];
        uint64_t so_far_us = now_us > oldest_us ? now_us - oldest_us : 0;
        latency_us = so_far_us > latency_us ? so_far_us : latency_us;
    }
    return (int64_t)latency_us;
}
