#include "tests/base/test.h"

#include <sched.h>

#include "core/base/alloc.h"
#include "core/base/chunk.h"

/* All memory of a chunk is its own, headroom included, and what is taken again is fresh: a stale
 * `filled` or kind would feed old bytes to the decoder. */
static void test_take_and_release(void **state)
{
    (void)state;
    struct syn_err err;
    struct chunk_pool pool;
    assert_true(chunk_pool_init(&pool, 5, 100, 37, NULL, &err));
    struct chunk *chunks[5];
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 5; i++) {
            chunks[i] = chunk_pool_take(&pool);
            assert_non_null(chunks[i]);
            assert_int_equal(atomic_load_relaxed(&chunks[i]->filled), 0);
            assert_false(atomic_load_relaxed(&chunks[i]->is_sealed));
            assert_int_equal(chunks[i]->kind, CHUNK_DATA);
            memset(chunks[i]->bytes - 37, i + 1, 137);
            atomic_store_relaxed(&chunks[i]->filled, 100);
            atomic_store_relaxed(&chunks[i]->is_sealed, true);
            chunks[i]->kind = CHUNK_SNAPSHOT;
        }
        assert_null(chunk_pool_take(&pool));
        for (int i = 0; i < 5; i++) {
            for (int at = -37; at < 100; at++) {
                assert_int_equal(chunks[i]->bytes[at], i + 1);
            }
            chunk_release(chunks[i]);
        }
    }
    chunk_pool_deinit(&pool);
}

/* Only the last reference gives a chunk back, and that wakes a reader that waits for one. */
static void test_references(void **state)
{
    (void)state;
    struct syn_err err;
    struct waker reader;
    assert_true(waker_init(&reader, &err));
    struct chunk_pool pool;
    assert_true(chunk_pool_init(&pool, 2, 10, 0, &reader, &err));
    struct chunk *a = chunk_pool_take(&pool);
    struct chunk *b = chunk_pool_take(&pool);
    chunk_acquire(a);
    chunk_release(a);
    assert_null(chunk_pool_take(&pool));
    waker_prepare(&reader);
    chunk_release(a);
    assert_false(atomic_load_relaxed(&reader.is_asleep));
    assert_ptr_equal(chunk_pool_take(&pool), a);
    chunk_release(a);
    chunk_release(b);
    chunk_pool_deinit(&pool);
    waker_deinit(&reader);
}

/* Without memory each of its allocations is an error, and nothing stays allocated. */
static void test_memory(void **state)
{
    (void)state;
    struct syn_err err;
    uint64_t live = mem_live_bytes(MEM_BASE);
    bool is_done = false;
    for (uint64_t n = 1; !is_done; n++) {
        struct chunk_pool pool;
        mem_fail_at(n);
        is_done = chunk_pool_init(&pool, 4, 64, 16, NULL, &err);
        mem_fail_at(0);
        if (is_done) {
            assert_int_equal(n, 4);
        } else {
            assert_int_equal(err.code, SYN_CODE_MEMORY);
        }
        chunk_pool_deinit(&pool);
        assert_int_equal(mem_live_bytes(MEM_BASE), live);
    }
}

#define ROUNDS 50000u

struct flow {
    struct chunk_pool pool;
    struct ring to_decoder;
    struct ring to_holder;
};

/* Keeps a second reference, as a relay or a retry would, and gives it back later. */
static void *hold(void *arg)
{
    struct flow *flow = arg;
    for (uint32_t i = 0; i < ROUNDS;) {
        struct chunk *chunk = ring_spsc_pop(&flow->to_holder);
        if (chunk == NULL) {
            sched_yield();
            continue;
        }
        assert_int_equal(chunk->bytes[0], (uint8_t)i);
        chunk_release(chunk);
        i++;
    }
    return NULL;
}

static void *decode(void *arg)
{
    struct flow *flow = arg;
    for (uint32_t i = 0; i < ROUNDS;) {
        struct chunk *chunk = ring_spsc_pop(&flow->to_decoder);
        if (chunk == NULL) {
            sched_yield();
            continue;
        }
        while (atomic_load_acquire(&chunk->filled) < 64) {
            sched_yield();
        }
        for (int at = 0; at < 64; at++) {
            assert_int_equal(chunk->bytes[at], (uint8_t)(i + (uint32_t)at));
        }
        chunk_acquire(chunk);
        while (!ring_spsc_push(&flow->to_holder, chunk)) {
            sched_yield();
        }
        chunk_release(chunk);
        i++;
    }
    return NULL;
}

/* A chunk comes back only after both holders are done with its bytes, however they interleave;
 * the reader overwrites it at once, so any mistake shows as a wrong byte (or a race). */
static void test_threads(void **state)
{
    (void)state;
    struct syn_err err;
    struct flow *flow = mem_alloc_aligned(MEM_BASE, CACHE_LINE, sizeof(*flow));
    memset(flow, 0, sizeof(*flow));
    assert_true(chunk_pool_init(&flow->pool, 4, 64, 8, NULL, &err));
    assert_true(ring_init(&flow->to_decoder, 4, &err));
    assert_true(ring_init(&flow->to_holder, 4, &err));
    pthread_t threads[2];
    assert_int_equal(pthread_create(&threads[0], NULL, decode, flow), 0);
    assert_int_equal(pthread_create(&threads[1], NULL, hold, flow), 0);
    for (uint32_t i = 0; i < ROUNDS;) {
        struct chunk *chunk = chunk_pool_take(&flow->pool);
        if (chunk == NULL) {
            sched_yield();
            continue;
        }
        assert_true(ring_spsc_push(&flow->to_decoder, chunk));
        for (uint32_t at = 0; at < 64; at++) {
            chunk->bytes[at] = (uint8_t)(i + at);
            if (at == 31 || at == 63) {
                atomic_store_release(&chunk->filled, at + 1);
            }
        }
        i++;
    }
    pthread_join(threads[0], NULL);
    pthread_join(threads[1], NULL);
    for (int i = 0; i < 4; i++) {
        assert_non_null(chunk_pool_take(&flow->pool));
    }
    ring_deinit(&flow->to_decoder);
    ring_deinit(&flow->to_holder);
    chunk_pool_deinit(&flow->pool);
    mem_free(MEM_BASE, flow);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_take_and_release),
        cmocka_unit_test(test_references),
        cmocka_unit_test(test_memory),
        cmocka_unit_test(test_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
