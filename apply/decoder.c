/*
 * The decoder's loop. It never spins: with nothing to take it flushes, and sleeps until a feed, a
 * returning batch or the control thread wakes it. In one thread with its reader and its applier
 * (solo.h) each turn gives way to them, and so does each sleep.
 */
#include "apply/recovery.h"
#include "apply/snapshot_mend.h"

#include <string.h>

/* Open batches are pushed at least this often while input never ends, so that a lane with little
 * traffic is not kept waiting behind one with much. */
#define FLUSH_INTERVAL_NS 1000000u
/* A wait that no wake-up ends: another decoder's stream gives its right to hold much back. */
#define HOLD_RETRY_MS 2
#define IDLE_WAIT_MS 1000

/* Positions of lanes that had nothing to do; see position.h. */
static bool decoder_mark(struct decoder *decoder, uint64_t now_ns)
{
    struct router *router = &decoder->router;
    if (router->positions == NULL || router->unit_owner != NULL ||
        now_ns - decoder->marked_ns < (uint64_t)POSITION_INTERVAL_MS * 1000000) {
        return true;
    }
    decoder->marked_ns = now_ns;
    return router_mark_all(router);
}

static bool decoder_turn(struct decoder *decoder, bool *did, struct syn_err *err)
{
    bool is_paused = atomic_load_acquire(&decoder->task->paused);
    bool is_open = decoder->router.unit_owner != NULL;
    for (uint32_t i = 0; i < decoder->stream_count; i++) {
        /* A pause waits for the end of a value that is on its way. */
        if ((!is_paused || is_open) && !stream_step(decoder->streams[i], did, err)) {
            return false;
        }
    }
    return relay_progress(&decoder->relay, did, err);
}

static void decoder_settle(struct decoder *decoder)
{
    router_collect(&decoder->router);
    for (uint32_t i = 0; i < decoder->stream_count; i++) {
        stream_advance(decoder->streams[i]);
    }
    atomic_store_relaxed(&decoder->blocked_ns, decoder->router.wait_ns);
}

static bool decoder_is_drained(const struct decoder *decoder)
{
    for (uint32_t i = 0; i < decoder->stream_count; i++) {
        if (!stream_is_drained(decoder->streams[i])) {
            return false;
        }
    }
    return true;
}

/* In a drain nothing more comes: an item that is not whole never will be, and must not keep the
 * right to hold much from a stream that has a whole one. */
static void decoder_drop_items(struct decoder *decoder)
{
    for (uint32_t i = 0; i < decoder->stream_count; i++) {
        struct stream *stream = decoder->streams[i];
        if (stream_is_drained(stream) &&
            atomic_load_acquire(&decoder->task->hold_owner) == stream) {
            stream->is_holding = false;
            hold_clear(stream, &stream->item_hold);
            hold_clear(stream, &stream->value_hold);
        }
    }
}

/* Keys that answers or relays left to be read at the source. */
static bool decoder_repair(struct decoder *decoder, struct syn_err *err)
{
    for (uint32_t i = 0; i < decoder->stream_count; i++) {
        struct stream *stream = decoder->streams[i];
        if (stream->state == STREAM_LIVE && !stream_repair(stream, err)) {
            return false;
        }
        if (!snapshot_settle(stream, err)) {
            return false;
        }
    }
    return true;
}

/* The end of a drain: all that was received is written; an unfinished item is dropped. */
static bool decoder_finish(struct decoder *decoder, struct syn_err *err)
{
    for (uint32_t i = 0; i < decoder->stream_count; i++) {
        if (!snapshot_abandon(decoder->streams[i], err)) {
            return false;
        }
    }
    for (uint32_t i = 0; i < decoder->stream_count; i++) {
        if (!snapshot_settle(decoder->streams[i], err)) {
            return false;
        }
    }
    struct router *router = &decoder->router;
    do {
        for (uint32_t i = 0; i < decoder->stream_count; i++) {
            recovery_ends(decoder->streams[i]);
        }
        if (!relay_drain(&decoder->relay, err)) {
            return false;
        }
        if (!router_drain(router)) {
            return ERR(err, SYN_CODE_STOPPED, "stopped");
        }
        /* The last answers may tell of keys that are not as they should be. */
        if (!decoder_repair(decoder, err)) {
            return false;
        }
    } while (!router_is_idle(router) || relay_is_busy(&decoder->relay));
    if (router->positions != NULL && (!router_mark_all(router) || !router_drain(router))) {
        return ERR(err, SYN_CODE_STOPPED, "stopped");
    }
    decoder_settle(decoder);
    return true;
}

static bool decoder_has_blocked(const struct decoder *decoder)
{
    for (uint32_t i = 0; i < decoder->stream_count; i++) {
        if (decoder->streams[i]->is_hold_blocked) {
            return true;
        }
    }
    return false;
}

/* How long to sleep, at most, when nobody wakes us. */
static int decoder_wait_ms(const struct decoder *decoder)
{
    const struct router *router = &decoder->router;
    bool is_behind = router->positions != NULL && router_is_behind(router);
    int wait_ms = decoder_has_blocked(decoder) ? HOLD_RETRY_MS
                  : is_behind                  ? POSITION_INTERVAL_MS
                                               : IDLE_WAIT_MS;
    uint64_t now_ns = clock_monotonic_ns();
    for (uint32_t i = 0; i < decoder->stream_count; i++) {
        const struct stream *stream = decoder->streams[i];
        if (stream->is_throttled && !atomic_load_relaxed(&decoder->task->paused)) {
            wait_ms = throttle_wait_ms(
                &decoder->router.meter, stream_throttle_phase(stream->state), now_ns, wait_ms);
        }
    }
    return wait_ms;
}

/* Sleeps, unless there is something to do after all. */
static bool decoder_sleep(struct decoder *decoder, struct syn_err *err)
{
    bool did = false;
    waker_prepare(&decoder->waker);
    did = router_collect(&decoder->router);
    if (!decoder_turn(decoder, &did, err)) {
        waker_done(&decoder->waker);
        return false;
    }
    /* Asleep no more: somebody woke us already, or the turn itself waited for batches and used the
     * flag up. */
    bool is_asleep = atomic_load_relaxed(&decoder->waker.is_asleep);
    if (did || !is_asleep || atomic_load_acquire(&decoder->task->abort)) {
        waker_done(&decoder->waker);
        return true;
    }
    waker_wait(&decoder->waker, decoder_wait_ms(decoder));
    return true;
}

static bool decoder_run(struct decoder *decoder, struct syn_err *err)
{
    struct task *task = decoder->task;
    uint64_t flushed_ns = clock_monotonic_ns();
    while (!atomic_load_acquire(&task->abort)) {
        /* Read before the turn: a feed stops before drain is set, so what the turn does not find is
         * not there. */
        bool is_drain = atomic_load_acquire(&task->drain);
        bool did = false;
        if (!decoder_turn(decoder, &did, err)) {
            return false;
        }
        decoder_settle(decoder);
        uint64_t now_ns = clock_monotonic_ns();
        if (!decoder_mark(decoder, now_ns)) {
            return ERR(err, SYN_CODE_STOPPED, "stopped");
        }
        if (!did || now_ns - flushed_ns >= FLUSH_INTERVAL_NS) {
            router_flush(&decoder->router);
            flushed_ns = now_ns;
        }
        if (did) {
            waker_yield(&decoder->waker);
            continue;
        }
        if (is_drain && decoder->router.unit_owner == NULL) {
            decoder_drop_items(decoder);
        }
        if (is_drain && decoder_is_drained(decoder)) {
            return decoder_finish(decoder, err);
        }
        if (!decoder_sleep(decoder, err)) {
            return false;
        }
        decoder_settle(decoder);
    }
    return ERR(err, SYN_CODE_STOPPED, "stopped");
}

void decoder_work(struct decoder *decoder)
{
    struct syn_err err;
    err_clear(&err);
    if (decoder_run(decoder, &err)) {
        atomic_store_release(&decoder->is_drained, true);
        waker_wake(decoder->task->control);
    } else if (err.code != SYN_CODE_STOPPED) {
        failure_raise(decoder->task->failure, &err);
    }
}

static void *decoder_main(void *arg)
{
    decoder_work(arg);
    return NULL;
}

bool decoder_init(struct decoder *decoder, uint32_t index, struct task *task, struct syn_err *err)
{
    memset(decoder, 0, sizeof(*decoder));
    decoder->index = index;
    decoder->task = task;
    decoder->has_waker = waker_init(&decoder->waker, err);
    return decoder->has_waker;
}

void decoder_assign(struct decoder *decoder, struct stream **streams, uint32_t stream_count)
{
    decoder->streams = streams;
    decoder->stream_count = stream_count;
}

bool decoder_start(struct decoder *decoder,
                   struct stream **streams,
                   uint32_t stream_count,
                   struct syn_err *err)
{
    decoder_assign(decoder, streams, stream_count);
    decoder->is_started =
        thread_start(&decoder->thread, "decode", decoder->index, decoder_main, decoder, err);
    return decoder->is_started;
}

void decoder_stop(struct decoder *decoder)
{
    if (decoder->is_started) {
        waker_signal(&decoder->waker);
        pthread_join(decoder->thread, NULL);
        decoder->is_started = false;
    }
}

void decoder_deinit(struct decoder *decoder)
{
    relay_deinit(&decoder->relay);
    router_deinit(&decoder->router);
    if (decoder->has_waker) {
        waker_deinit(&decoder->waker);
        decoder->has_waker = false;
    }
}
