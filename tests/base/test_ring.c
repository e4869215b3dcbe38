#include "tests/base/test.h"

#include <sched.h>

#include "core/base/alloc.h"
#include "core/base/ring.h"

/* A ring holds at least what was asked for, refuses one more than its capacity without losing
 * anything, and gives everything back in order, also after its cursors wrapped. */
static void test_capacity(void **state)
{
    (void)state;
    struct syn_err err;
    for (uint32_t asked = 1; asked <= 70; asked++) {
        struct ring ring;
        assert_true(ring_init(&ring, asked, &err));
        uint32_t capacity = ring_capacity(&ring);
        assert_true(capacity >= asked);
        uintptr_t in = 1;
        uintptr_t out = 1;
        for (int round = 0; round < 5; round++) {
            while (ring_spsc_push(&ring, (void *)in)) {
                in++;
            }
            assert_int_equal(in - out, capacity);
            assert_int_equal(ring_count(&ring), capacity);
            for (uint32_t i = 0; i < capacity / 2 + 1; i++) {
                assert_ptr_equal(ring_spsc_pop(&ring), (void *)out++);
            }
        }
        while (out < in) {
            assert_ptr_equal(ring_spsc_pop(&ring), (void *)out++);
        }
        assert_null(ring_spsc_pop(&ring));
        ring_deinit(&ring);
    }
}

/* Out of memory is an error that names the ring, and leaves something that may be torn down. */
static void test_memory(void **state)
{
    (void)state;
    struct syn_err err;
    struct ring ring;
    mem_fail_at(1);
    assert_false(ring_init(&ring, 8, &err));
    mem_fail_at(0);
    assert_int_equal(err.code, SYN_CODE_MEMORY);
    assert_non_null(strstr(err.msg, "ring"));
    ring_deinit(&ring);
    ring_deinit(&ring);
}

struct item {
    uint64_t number; /* written before the push with plain stores: the hand-off must carry it */
    uint64_t twice;
    uint32_t producer;
};

#ifdef RING_TSAN
#define ITEMS 3000u /* a producer that waits for its turn takes its time there */
#else
#define ITEMS 100000u
#endif
#define PRODUCERS 3u

struct side {
    struct ring *ring;
    struct item *items;
    uint32_t producer;
    bool is_mpsc;
};

static void *produce(void *arg)
{
    struct side *side = arg;
    for (uint64_t i = 0; i < ITEMS; i++) {
        struct item *item = &side->items[i];
        item->number = i;
        item->twice = 2 * i;
        item->producer = side->producer;
        while (!(side->is_mpsc ? ring_mpsc_push(side->ring, item)
                               : ring_spsc_push(side->ring, item))) {
            sched_yield();
        }
    }
    return NULL;
}

/* Between threads, each producer's entries arrive once, in order, with what was written into them:
 * per-key order rests on this. */
static void run_threads(bool is_mpsc, uint32_t producers)
{
    struct syn_err err;
    struct ring *ring = mem_alloc_aligned(MEM_BASE, CACHE_LINE, sizeof(*ring));
    assert_true(ring_init(ring, 61, &err));
    struct side sides[PRODUCERS];
    pthread_t threads[PRODUCERS];
    for (uint32_t i = 0; i < producers; i++) {
        sides[i] = (struct side){.ring = ring, .producer = i, .is_mpsc = is_mpsc};
        sides[i].items = mem_alloc(MEM_BASE, ITEMS * sizeof(struct item));
        assert_int_equal(pthread_create(&threads[i], NULL, produce, &sides[i]), 0);
    }
    uint64_t next[PRODUCERS] = {0};
    for (uint64_t count = 0; count < (uint64_t)producers * ITEMS;) {
        struct item *item = is_mpsc ? ring_mpsc_pop(ring) : ring_spsc_pop(ring);
        if (item == NULL) {
            sched_yield();
            continue;
        }
        assert_int_equal(item->number, next[item->producer]);
        assert_int_equal(item->twice, 2 * item->number);
        next[item->producer]++;
        count++;
    }
    for (uint32_t i = 0; i < producers; i++) {
        pthread_join(threads[i], NULL);
        mem_free(MEM_BASE, sides[i].items);
    }
    assert_int_equal(ring_count(ring), 0);
    ring_deinit(ring);
    mem_free(MEM_BASE, ring);
}

static void test_spsc(void **state)
{
    (void)state;
    run_threads(false, 1);
}

static void test_mpsc(void **state)
{
    (void)state;
    run_threads(true, PRODUCERS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_capacity),
        cmocka_unit_test(test_memory),
        cmocka_unit_test(test_spsc),
        cmocka_unit_test(test_mpsc),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
