/* One thread for reading, decoding and writing: its sleep, and a pipeline of its own. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/apply/pipeline_rig.h"

#define ROUNDS 50000u

/* ---- the sleep ---- */

struct pair {
    struct io_loop *loop;
    struct waker hosted; /* sleeps by turns of the loop */
    struct waker plain;
    _Atomic uint32_t turn[2]; /* how often each side was served */
    _Atomic bool is_late;
};

static bool poll_woken(void *arg)
{
    struct pair *pair = arg;
    return waker_is_woken(&pair->hosted);
}

static void step(void *arg, int timeout_ms)
{
    struct pair *pair = arg;
    io_loop_step(pair->loop, poll_woken, pair, timeout_ms);
}

static void await(struct pair *pair, int side, uint32_t round)
{
    struct waker *waker = side == 0 ? &pair->hosted : &pair->plain;
    uint64_t begin = clock_monotonic_ms();
    while (atomic_load_acquire(&pair->turn[side]) < round) {
        waker_prepare(waker);
        if (atomic_load_acquire(&pair->turn[side]) >= round) {
            waker_done(waker);
            return;
        }
        waker_wait(waker, 5000);
        if (clock_monotonic_ms() - begin >= 4000) {
            atomic_store_relaxed(&pair->is_late, true);
            return;
        }
    }
}

static void *other_side(void *arg)
{
    struct pair *pair = arg;
    for (uint32_t i = 1; i <= ROUNDS && !atomic_load_relaxed(&pair->is_late); i++) {
        await(pair, 1, i);
        atomic_store_release(&pair->turn[0], i);
        waker_wake(&pair->hosted);
    }
    return NULL;
}

/* Two threads that each wait for the other, one of them in a loop: no wake-up is lost. */
static void test_no_lost_wakeup(void **state)
{
    (void)state;
    static const enum io_backend backends[] = {IO_BACKEND_AUTO, IO_BACKEND_EPOLL};
    for (int b = 0; b < 2; b++) {
        struct syn_err err;
        struct pair *pair = mem_alloc_aligned(MEM_TOOLS, CACHE_LINE, sizeof(*pair));
        memset(pair, 0, sizeof(*pair));
        pair->loop = io_loop_new(backends[b], &err);
        assert_non_null(pair->loop);
        assert_true(waker_init(&pair->hosted, &err));
        assert_true(waker_init(&pair->plain, &err));
        waker_serve(&pair->hosted, io_loop_waker(pair->loop), step, pair);
        pthread_t thread;
        assert_int_equal(pthread_create(&thread, NULL, other_side, pair), 0);
        for (uint32_t i = 1; i <= ROUNDS && !atomic_load_relaxed(&pair->is_late); i++) {
            atomic_store_release(&pair->turn[1], i);
            waker_wake(&pair->plain);
            await(pair, 0, i);
        }
        assert_false(atomic_load_relaxed(&pair->is_late));
        pthread_join(thread, NULL);
        io_loop_free(pair->loop);
        waker_deinit(&pair->hosted);
        waker_deinit(&pair->plain);
        mem_free(MEM_TOOLS, pair);
    }
}

/* ---- the pipeline ---- */

/* Much more than the batches hold at a time, to a peer that answers when it is let: the decoder
 * waits for batches that only its own thread can bring back. */
static void test_waits_for_itself(void **state)
{
    (void)state;
    struct rig *rig = rig_new(&(struct rig_options){
        .is_solo = true, .lanes = 2, .is_cluster = true, .batch_count = 6, .batch_bytes = 512});
    struct bytes stream = {0};
    rig_live(rig, 0, 1000);
    for (uint32_t i = 0; i < 5000; i++) {
        char text[64];
        snprintf(text, sizeof(text), "SET key:%u %u", i, i);
        resp_add(&stream, text);
    }
    rig_feed(rig, 0, stream.bytes, stream.size, 0);
    rig_settle(rig);
    assert_int_equal(rig_peer_value(rig, 0, &rig->peers[0].effect_count) +
                         rig_peer_value(rig, 1, &rig->peers[1].effect_count),
                     5000);
    bytes_free(&stream);
    rig_free(rig);
}

/* Ended while peers are silent and batches are on their way. */
static void test_abort(void **state)
{
    (void)state;
    struct rig *rig = rig_new(&(struct rig_options){
        .is_solo = true, .batch_count = 6, .batch_bytes = 512, .chunk_count = 64});
    struct bytes stream = {0};
    rig_allow(rig, 0, 0);
    rig_live(rig, 0, 1000);
    for (uint32_t i = 0; i < 1000; i++)
        resp_add(&stream, "APPEND key value");
    rig_feed_some(rig, 0, stream.bytes, stream.size);
    uint64_t begin = clock_monotonic_ms();
    while (!atomic_load_relaxed(&rig->decoders[0].router.is_waiting)) {
        assert_false(rig_is_late(begin));
        rig_pause();
    }
    bytes_free(&stream);
    rig_free(rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_no_lost_wakeup),
        cmocka_unit_test(test_waits_for_itself),
        cmocka_unit_test(test_abort),
    };
    cmocka_set_test_filter(getenv("SYNCLINE_TEST_FILTER"));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
