/*
 * Times to live that were put off (apply/expiry.h), brought to their own.
 *
 *     put off   some stream is catching up
 *     settling  all have caught up: decoders write exact times; what they wrote before must be
 *               acknowledged
 *     stamping  a thread of its own goes through the destination's keys
 *     exact     a pass found none that is put off
 *
 * A pass looks at every key that has a time to live. What is put off can be told by that time
 * alone, and a small script gives the key its exact time if it still is put off when the script
 * runs: the stream goes on meanwhile, and may have changed or removed the key since it was seen. A
 * key that is renamed, or moved by a relay, may hide from a pass; so passes are made until one
 * finds nothing, each behind the acknowledgement of what was written before.
 *
 * A stream that begins to catch up anew (a new full copy) ends the pass: its keys are put off
 * again, on purpose.
 *
 * A run that continues another does not know whether that one had finished its passes, so it makes
 * one even if it puts nothing off itself.
 *
 * Threads: the control thread; the pass has one that only reads the engine's configuration,
 * destination and `wants_stop`.
 */
#include "core/engine/engine_expiry.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "apply/expiry.h"
#include "core/engine/engine.h"

/* What the source had so long ago is here: it is caught up. */
#define CAUGHT_UP_MS 1000
/* An older reading of the source's offset is none. */
#define READING_MS_MAX 750
#define RETRY_MS 1000
#define SCAN_COUNT "500"
/* What PTTL tells of a key that is put off: some years less than was added, or more. */
#define PUT_OFF_PTTL_MIN (EXPIRY_PUT_OFF_MS - EXPIRY_LATEST_MS)

/* PEXPIRETIME is of 7.0. Before it, PTTL and the clock must be read within the same millisecond.
 * replicate_commands: 3.2 to 6.2 refuse a write behind TIME without it. */
static const char stamp_script[] =
    "pcall(redis.replicate_commands)\n"
    "local at = redis.pcall('PEXPIRETIME', KEYS[1])\n"
    "if type(at) == 'table' then\n"
    "  local before, after\n"
    "  repeat\n"
    "    before = redis.call('TIME')\n"
    "    at = redis.call('PTTL', KEYS[1])\n"
    "    after = redis.call('TIME')\n"
    "  until before[1] == after[1] and\n"
    "    math.floor(before[2] / 1000) == math.floor(after[2] / 1000)\n"
    "  if at > 0 then at = at + before[1] * 1000 + math.floor(before[2] / 1000) end\n"
    "end\n"
    "if at < tonumber(ARGV[1]) or at >= 2 * tonumber(ARGV[1]) then return 0 end\n"
    "redis.call('PEXPIREAT', KEYS[1], string.format('%.0f', at - tonumber(ARGV[1])))\n"
    "return 1\n";

static void state_set(struct engine_expiry *expiry, enum engine_expiry_state state)
{
    expiry->state = state;
    atomic_store_release(&expiry->is_exact, state == EXPIRY_EXACT);
}

/* ---- one pass ---- */

struct pass {
    struct engine_expiry *expiry;
    struct control control;
    char put_off[NUM_DIGITS_MAX + 1];
    char script[41]; /* its SHA1, in hexadecimal */
};

static bool pass_is_stopped(const struct pass *pass, struct syn_err *err)
{
    bool is_stopped = atomic_load_acquire(&pass->expiry->wants_stop) ||
                      atomic_load_acquire(&pass->expiry->engine->stop_request) == STOP_NOW;
    return is_stopped && !ERR(err, SYN_CODE_STOPPED, "stopped before all times to live were exact");
}

static bool keys_ask(struct pass *pass, const redisReply *keys, struct syn_err *err)
{
    for (size_t i = 0; i < keys->elements; i++) {
        const redisReply *key = keys->element[i];
        const char *argv[] = {"PTTL", key->str};
        const size_t sizes[] = {4, key->len};
        if (!control_append(&pass->control, 2, argv, sizes, err)) {
            return false;
        }
    }
    return true;
}

static bool stamp_ask(struct pass *pass, const redisReply *key, struct syn_err *err)
{
    const char *argv[] = {"EVALSHA", pass->script, "1", key->str, pass->put_off};
    const size_t sizes[] = {7, sizeof(pass->script) - 1, 1, key->len, strlen(pass->put_off)};
    return control_append(&pass->control, 5, argv, sizes, err);
}

/* Whether the key comes or has gone with a slot that is moving. */
static bool is_elsewhere(const redisReply *reply)
{
    return reply->type == REDIS_REPLY_ERROR &&
           (strncmp(reply->str, "MOVED ", 6) == 0 || strncmp(reply->str, "ASK ", 4) == 0);
}

/* A number; a negative one of a key that is gone. */
static bool number_fetch(struct pass *pass, const char *what, int64_t *number, struct syn_err *err)
{
    redisReply *reply = control_fetch(&pass->control, err);
    if (reply == NULL) {
        return false;
    }
    bool is_good = reply->type == REDIS_REPLY_INTEGER || is_elsewhere(reply) ||
                   control_reply_error(&pass->control, reply, what, err);
    *number = is_good && reply->type == REDIS_REPLY_INTEGER ? reply->integer : 0;
    /* As if it were put off: another pass will find it where it is then. */
    pass->expiry->elsewhere_count += is_elsewhere(reply);
    freeReplyObject(reply);
    return is_good;
}

static bool keys_stamp(struct pass *pass, const redisReply *keys, struct syn_err *err)
{
    if (!keys_ask(pass, keys, err)) {
        return false;
    }
    size_t asked = 0;
    bool is_done = true;
    bool *is_put_off = mem_calloc(MEM_ENGINE, keys->elements + 1);
    if (is_put_off == NULL) {
        return ERR(err, SYN_CODE_MEMORY, "out of memory for %zu keys", keys->elements);
    }
    for (size_t i = 0; is_done && i < keys->elements; i++) {
        int64_t pttl;
        is_done = number_fetch(pass, "PTTL", &pttl, err);
        is_put_off[i] = is_done && pttl >= PUT_OFF_PTTL_MIN && pttl < 2 * EXPIRY_PUT_OFF_MS;
    }
    for (size_t i = 0; is_done && i < keys->elements; i++) {
        is_done = !is_put_off[i] || stamp_ask(pass, keys->element[i], err);
        asked += is_put_off[i];
    }
    for (size_t i = 0; is_done && i < asked; i++) {
        int64_t count;
        is_done = number_fetch(pass, "EVALSHA", &count, err);
        pass->expiry->pass_count += is_done ? (uint64_t)count : 0;
    }
    mem_free(MEM_ENGINE, is_put_off);
    return is_done;
}

static bool pass_db(struct pass *pass, struct syn_err *err)
{
    char cursor[32] = "0";
    do {
        char command[96];
        snprintf(command, sizeof(command), "SCAN %s COUNT " SCAN_COUNT, cursor);
        redisReply *reply = control_ask(&pass->control, err, command);
        if (reply == NULL) {
            return false;
        }
        bool is_good = reply->type == REDIS_REPLY_ARRAY && reply->elements == 2 &&
                       reply->element[0]->str != NULL &&
                       reply->element[1]->type == REDIS_REPLY_ARRAY;
        bool is_done = is_good ? keys_stamp(pass, reply->element[1], err)
                               : ERR(err, SYN_CODE_DESTINATION_PROTOCOL, "an odd answer to SCAN");
        if (is_done) {
            snprintf(cursor, sizeof(cursor), "%s", reply->element[0]->str);
        }
        freeReplyObject(reply);
        if (!is_done || pass_is_stopped(pass, err)) {
            return false;
        }
    } while (strcmp(cursor, "0") != 0);
    return true;
}

/* *has_it false: there is no such database. */
static bool pass_selected(struct pass *pass, unsigned db, bool *has_it, struct syn_err *err)
{
    char digits[16];
    snprintf(digits, sizeof(digits), "%u", db);
    const char *argv[] = {"SELECT", digits};
    *has_it = true;
    if (db > 0) {
        redisReply *reply = control_call(&pass->control, 2, argv, NULL, err);
        if (reply == NULL) {
            return false;
        }
        *has_it = reply->type != REDIS_REPLY_ERROR;
        freeReplyObject(reply);
    }
    return !*has_it || pass_db(pass, err);
}

/* "db3:keys=12,expires=5,…": databases without a time to live are passed over. */
static bool pass_told(struct pass *pass, const char *info, struct syn_err *err)
{
    bool is_done = true;
    for (const char *line = strstr(info, "\ndb"); is_done && line != NULL;
         line = strstr(line + 1, "\ndb")) {
        unsigned db;
        unsigned long long keys, expires;
        if (sscanf(line, "\ndb%u:keys=%llu,expires=%llu", &db, &keys, &expires) == 3 &&
            expires > 0) {
            bool has_it;
            is_done = pass_selected(pass, db, &has_it, err);
        }
    }
    return is_done;
}

/* Somebody hides which databases there are: all are looked at. */
static bool pass_untold(struct pass *pass, struct syn_err *err)
{
    bool is_done = true;
    bool has_it = true;
    for (uint32_t db = 0; is_done && has_it && db < CONFIG_DB_MAX; db++) {
        is_done = pass_selected(pass, db, &has_it, err);
        has_it = has_it && !pass->expiry->engine->destination.is_cluster;
    }
    return is_done;
}

static bool pass_dbs(struct pass *pass, struct syn_err *err)
{
    const char *argv[] = {"INFO", "keyspace"};
    redisReply *info = control_call(&pass->control, 2, argv, NULL, err);
    if (info == NULL) {
        return false;
    }
    bool is_told = info->type == REDIS_REPLY_STRING && strstr(info->str, "# Keyspace") != NULL;
    bool is_done = is_told ? pass_told(pass, info->str, err) : pass_untold(pass, err);
    freeReplyObject(info);
    return is_done;
}

/* So that a key's idle time stays as it is, where the server knows it (7.2). */
static bool no_touch(struct pass *pass, struct syn_err *err)
{
    const char *argv[] = {"CLIENT", "NO-TOUCH", "ON"};
    redisReply *reply = control_call(&pass->control, 3, argv, NULL, err);
    if (reply != NULL) {
        freeReplyObject(reply);
    }
    return reply != NULL;
}

static bool script_load(struct pass *pass, struct syn_err *err)
{
    const char *argv[] = {"SCRIPT", "LOAD", stamp_script};
    redisReply *reply = control_call(&pass->control, 3, argv, NULL, err);
    if (reply == NULL) {
        return false;
    }
    bool is_good = reply->type == REDIS_REPLY_STRING && reply->len == sizeof(pass->script) - 1;
    if (is_good) {
        memcpy(pass->script, reply->str, sizeof(pass->script));
    } else if (reply->type != REDIS_REPLY_ERROR ||
               control_reply_error(&pass->control, reply, "SCRIPT LOAD", err)) {
        ERR(err, SYN_CODE_DESTINATION_PROTOCOL, "an odd answer to SCRIPT LOAD");
    }
    freeReplyObject(reply);
    return is_good;
}

static bool pass_run(struct engine_expiry *expiry, struct syn_err *err)
{
    struct pass pass = {.expiry = expiry};
    const struct topology *destination = &expiry->engine->destination;
    pass.put_off[num_write_u64(pass.put_off, (uint64_t)EXPIRY_PUT_OFF_MS)] = '\0';
    bool is_done = true;
    for (uint32_t i = 0; is_done && i < destination->shard_count; i++) {
        is_done = control_open(&pass.control,
                               &destination->shards[i].server.endpoint,
                               SIDE_DESTINATION,
                               (int)expiry->engine->config.connect_timeout_ms,
                               err) &&
                  no_touch(&pass, err) && script_load(&pass, err) && pass_dbs(&pass, err);
        control_close(&pass.control);
    }
    return is_done;
}

static void *pass_main(void *arg)
{
    struct engine_expiry *expiry = arg;
    expiry->is_good = pass_run(expiry, &expiry->err);
    atomic_store_release(&expiry->is_done, true);
    waker_wake(&expiry->engine->control_waker);
    return NULL;
}

static void pass_join(struct engine_expiry *expiry)
{
    if (expiry->has_thread) {
        pthread_join(expiry->thread, NULL);
        expiry->has_thread = false;
    }
}

void engine_expiry_stop(struct syn_engine *engine)
{
    struct engine_expiry *expiry = &engine->expiry;
    atomic_store_release(&expiry->wants_stop, true);
    pass_join(expiry);
    atomic_store_release(&expiry->wants_stop, false);
    state_set(expiry, expiry->state == EXPIRY_EXACT ? EXPIRY_EXACT : EXPIRY_PUT_OFF);
}

/* ---- whether it is possible ---- */

/* A name of ours that no key has. */
#define PROBE_KEY "syncline:position:probe"
/* A write behind a command whose answer is not the same twice, as the script above needs it. */
static const char probe_script[] = "pcall(redis.replicate_commands)\n"
                                   "redis.call('TIME')\n"
                                   "return redis.call('PEXPIREAT', KEYS[1], '1')\n";

static bool
takes(struct control *control, const char **argv, int argc, bool *takes_it, struct syn_err *err)
{
    redisReply *reply = control_call(control, argc, argv, NULL, err);
    if (reply == NULL) {
        return false;
    }
    *takes_it = *takes_it && (reply->type != REDIS_REPLY_ERROR || is_elsewhere(reply));
    freeReplyObject(reply);
    return true;
}

bool engine_expiry_init(struct syn_engine *engine, struct syn_err *err)
{
    const struct config *config = &engine->config;
    struct task *task = &engine->task;
    struct engine_expiry *expiry = &engine->expiry;
    expiry->engine = engine;
    state_set(expiry, EXPIRY_PUT_OFF);
    task->expiry_add_ms = config->extend_ttl_ms;
    task->puts_off =
        config->puts_off_ttl && !engine_has_files(engine) && config->mode != SYNC_SNAPSHOT_ONLY;
    if (!task->puts_off) {
        return true;
    }
    struct control control = {0};
    if (!control_open(&control,
                      &engine->destination.shards[0].server.endpoint,
                      SIDE_DESTINATION,
                      (int)config->connect_timeout_ms,
                      err)) {
        return false;
    }
    bool takes_all = true;
    bool is_asked =
        takes(
            &control, (const char *[]){"EVAL", probe_script, "1", PROBE_KEY}, 4, &takes_all, err) &&
        takes(&control, (const char *[]){"SCAN", "0"}, 2, &takes_all, err) &&
        takes(&control, (const char *[]){"PTTL", "syncline"}, 2, &takes_all, err);
    control_close(&control);
    if (!is_asked) {
        return false;
    }
    task->puts_off = takes_all;
    if (!task->puts_off && !expiry->is_told) {
        expiry->is_told = true;
        log_warning(
            "the destination does not take EVAL, SCAN and PTTL, so times to live are not put off "
            "while the streams catch up: keys may expire there although the source renews "
            "them meanwhile");
    }
    return true;
}

/* ---- the watch ---- */

/* The source's latest offset that is known, if it is not an old one. */
static bool reading_take(struct syn_engine *engine, struct watch *watch, uint64_t now_ms)
{
    pthread_mutex_lock(&engine->lock);
    bool is_fresh = false;
    if (watch->sample_count > 0) {
        uint32_t last = (watch->sample_head + watch->sample_count - 1) % SAMPLES;
        watch->catch_up = watch->samples[last];
        is_fresh = watch->catch_up.time_ms + READING_MS_MAX >= now_ms;
    }
    pthread_mutex_unlock(&engine->lock);
    return is_fresh;
}

/* Whether the destination has what the source had a moment ago: an offset that was read there is
 * applied soon enough. */
static bool stream_has_caught_up(struct syn_engine *engine, uint32_t i, uint64_t now_ms)
{
    struct watch *watch = &engine->watches[i];
    uint64_t applied = atomic_load_acquire(&engine->feeds[i].offset_applied);
    if (engine_stream_phase(engine, i) != SYN_PHASE_LIVE) {
        watch->has_catch_up = false;
        return false;
    }
    if (engine->config.mode == SYNC_ONCE && watch->has_target) {
        return applied >= watch->target;
    }
    watch->has_catch_up = watch->has_catch_up || reading_take(engine, watch, now_ms);
    if (!watch->has_catch_up || applied < watch->catch_up.offset) {
        return false;
    }
    watch->has_catch_up = false;
    return now_ms - watch->catch_up.time_ms <= CAUGHT_UP_MS;
}

/* Ends the catching up of those that have. True: none is left. *has_any: one had begun, though it
 * may have ended in this look. */
static bool all_have_caught_up(struct syn_engine *engine, bool *has_any)
{
    bool have_all = true;
    uint64_t now_ms = clock_monotonic_ms();
    *has_any = false;
    for (uint32_t i = 0; i < engine->stream_count; i++) {
        struct stream *stream = &engine->streams[i];
        uint32_t number = atomic_load_acquire(&stream->catching_up);
        *has_any = *has_any || number != 0;
        if (number != 0 && stream_has_caught_up(engine, i, now_ms)) {
            atomic_compare_exchange_strong(&stream->catching_up, &number, 0);
            waker_wake(&engine->decoders[i % engine->decoder_count].waker);
        }
        have_all = have_all && atomic_load_acquire(&stream->catching_up) == 0 &&
                   engine_stream_phase(engine, i) == SYN_PHASE_LIVE;
    }
    return have_all;
}

static bool settle_begin(struct syn_engine *engine)
{
    for (uint32_t i = 0; i < engine->stream_count; i++) {
        uint64_t exact = atomic_load_acquire(&engine->streams[i].exact_offset);
        uint64_t decoded = atomic_load_relaxed(&engine->streams[i].offset_decoded);
        if (exact == UINT64_MAX) {
            waker_wake(&engine->decoders[i % engine->decoder_count].waker);
            return false;
        }
        engine->watches[i].settle_offset = decoded > exact ? decoded : exact;
    }
    return true;
}

static bool is_settled(const struct syn_engine *engine)
{
    for (uint32_t i = 0; i < engine->stream_count; i++) {
        if (atomic_load_acquire(&engine->feeds[i].offset_applied) <
            engine->watches[i].settle_offset) {
            return false;
        }
    }
    return true;
}

/* Nothing was put off, and no earlier run can have. */
static bool has_nothing(const struct syn_engine *engine)
{
    if (engine->expiry.was_put_off) {
        return false;
    }
    for (uint32_t i = 0; i < engine->stream_count; i++) {
        if (atomic_load_relaxed(&engine->streams[i].expiries_put_off) > 0 ||
            engine->streams[i].position_was_resumed) {
            return false;
        }
    }
    return true;
}

static bool pass_begin(struct syn_engine *engine, struct syn_err *err)
{
    struct engine_expiry *expiry = &engine->expiry;
    expiry->was_put_off = true;
    expiry->pass_count = 0;
    expiry->elsewhere_count = 0;
    atomic_store_release(&expiry->is_done, false);
    expiry->has_thread = thread_start(&expiry->thread, "expiry", 0, pass_main, expiry, err);
    return expiry->has_thread;
}

/* The pass is over: another one, or all is exact. */
static void pass_end(struct syn_engine *engine)
{
    struct engine_expiry *expiry = &engine->expiry;
    pass_join(expiry);
    state_set(expiry, EXPIRY_SETTLING);
    expiry->has_settle_offsets = false;
    expiry->stamped += expiry->pass_count;
    if (!expiry->is_good) {
        expiry->retry_ms = clock_monotonic_ms() + RETRY_MS;
        if (!expiry->is_failing) {
            log_warning("times to live are still put off at the destination: %s; trying again",
                        expiry->err.msg);
        }
        expiry->is_failing = true;
        return;
    }
    expiry->is_failing = false;
    if (expiry->pass_count > 0) {
        return;
    }
    if (expiry->elsewhere_count > 0) { /* until its slot has moved there is nothing to do */
        expiry->retry_ms = clock_monotonic_ms() + RETRY_MS;
        return;
    }
    state_set(expiry, EXPIRY_EXACT);
    expiry->was_put_off = false;
    for (uint32_t i = 0; i < engine->stream_count; i++) {
        atomic_store_relaxed(&engine->streams[i].expiries_put_off, 0);
        engine->streams[i].position_was_resumed = false;
    }
    engine_event(engine,
                 SYN_EVENT_INFO,
                 -1,
                 SYN_PHASE_LIVE,
                 SYN_CODE_OK,
                 "all streams have caught up, and times to live are exact: %llu had been put off",
                 (unsigned long long)expiry->stamped);
    expiry->stamped = 0;
}

bool engine_expiry_watch(struct syn_engine *engine, bool *is_exact, struct syn_err *err)
{
    struct engine_expiry *expiry = &engine->expiry;
    *is_exact = true;
    if (!engine->task.puts_off) {
        return true;
    }
    bool has_any;
    bool have_all = all_have_caught_up(engine, &has_any);
    if ((has_any || !have_all) && expiry->state != EXPIRY_PUT_OFF) {
        engine_expiry_stop(engine);
        state_set(expiry, EXPIRY_PUT_OFF);
    }
    if (have_all && expiry->state == EXPIRY_PUT_OFF) {
        state_set(expiry, EXPIRY_SETTLING);
        expiry->has_settle_offsets = false;
    }
    if (expiry->state == EXPIRY_SETTLING && clock_monotonic_ms() >= expiry->retry_ms) {
        expiry->has_settle_offsets = expiry->has_settle_offsets || settle_begin(engine);
        if (expiry->has_settle_offsets && is_settled(engine)) {
            if (has_nothing(engine)) {
                state_set(expiry, EXPIRY_EXACT);
            } else if (pass_begin(engine, err)) {
                state_set(expiry, EXPIRY_STAMPING);
            } else {
                return false;
            }
        }
    }
    if (expiry->state == EXPIRY_STAMPING && atomic_load_acquire(&expiry->is_done)) {
        pass_end(engine);
    }
    *is_exact = expiry->state == EXPIRY_EXACT;
    return true;
}

/* ---- the end ---- */

static bool all_are_live(const struct syn_engine *engine)
{
    for (uint32_t i = 0; i < engine->stream_count; i++) {
        if (engine_stream_phase(engine, i) != SYN_PHASE_LIVE) {
            return false;
        }
    }
    return true;
}

void engine_expiry_finish(struct syn_engine *engine)
{
    struct engine_expiry *expiry = &engine->expiry;
    struct syn_err err;
    if (!engine->task.puts_off || expiry->state == EXPIRY_EXACT) {
        return;
    }
    if (has_nothing(engine)) {
        state_set(expiry, EXPIRY_EXACT);
        return;
    }
    bool is_good = all_are_live(engine);
    if (!is_good) {
        ERR(&err, SYN_CODE_STOPPED, "a snapshot is not whole");
    }
    do {
        expiry->pass_count = 0;
        expiry->elsewhere_count = 0;
        is_good = is_good && pass_run(expiry, &err);
    } while (is_good && expiry->pass_count > 0);
    if (is_good && expiry->elsewhere_count > 0) {
        is_good = ERR(&err,
                      SYN_CODE_DESTINATION_STATE,
                      "%llu keys are in slots that are moving",
                      (unsigned long long)expiry->elsewhere_count);
    }
    if (!is_good) {
        engine_event(engine,
                     SYN_EVENT_WARNING,
                     -1,
                     SYN_PHASE_DRAINING,
                     err.code,
                     "times to live stay put off at the destination (%s): start the task again, or "
                     "give keys their times there",
                     err.msg);
        return;
    }
    state_set(expiry, EXPIRY_EXACT);
}

/* ---- what is shown ---- */

bool engine_expiry_is_put_off(const struct syn_engine *engine)
{
    if (!engine->task.puts_off) {
        return false;
    }
    /* A stream says so itself before it puts off anything; control sees it later. */
    for (uint32_t i = 0; i < engine->stream_count; i++) {
        if (atomic_load_acquire(&engine->streams[i].catching_up) != 0) {
            return true;
        }
    }
    return !atomic_load_acquire(&engine->expiry.is_exact);
}
