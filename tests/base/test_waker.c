#include "tests/base/test.h"

#include <poll.h>

#include "core/base/alloc.h"
#include "core/base/clock.h"
#include "core/base/waker.h"

#define ROUNDS 100000u

struct pair {
    struct waker waker[2];
    _Atomic uint32_t turn[2]; /* how often each side was served */
    _Atomic bool is_late;
};

/* Waits until the other side has served `round`, the way every thread of the project sleeps. */
static void await(struct pair *pair, int side, uint32_t round)
{
    while (atomic_load_acquire(&pair->turn[side]) < round) {
        waker_prepare(&pair->waker[side]);
        if (atomic_load_acquire(&pair->turn[side]) >= round) {
            waker_done(&pair->waker[side]);
            return;
        }
        uint64_t begin = clock_monotonic_ms();
        waker_wait(&pair->waker[side], 5000);
        if (clock_monotonic_ms() - begin >= 4000) {
            atomic_store_relaxed(&pair->is_late, true);
        }
    }
}

static void *other_side(void *arg)
{
    struct pair *pair = arg;
    for (uint32_t i = 1; i <= ROUNDS; i++) {
        await(pair, 1, i);
        atomic_store_release(&pair->turn[0], i);
        waker_wake(&pair->waker[0]);
    }
    return NULL;
}

/* Two threads that each wait for the other: one lost wake-up and the pair stands still until the
 * time limit of the wait, which is then reported. */
static void test_no_lost_wakeup(void **state)
{
    (void)state;
    struct syn_err err;
    struct pair *pair = mem_alloc_aligned(MEM_BASE, CACHE_LINE, sizeof(*pair));
    memset(pair, 0, sizeof(*pair));
    assert_true(waker_init(&pair->waker[0], &err));
    assert_true(waker_init(&pair->waker[1], &err));
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, other_side, pair), 0);
    for (uint32_t i = 1; i <= ROUNDS; i++) {
        atomic_store_release(&pair->turn[1], i);
        waker_wake(&pair->waker[1]);
        await(pair, 0, i);
        if (atomic_load_relaxed(&pair->is_late)) {
            break;
        }
    }
    assert_false(atomic_load_relaxed(&pair->is_late));
    pthread_join(thread, NULL);
    waker_deinit(&pair->waker[0]);
    waker_deinit(&pair->waker[1]);
    mem_free(MEM_BASE, pair);
}

static bool is_readable(const struct waker *waker)
{
    struct pollfd pollfd = {.fd = waker->fd, .events = POLLIN};
    return poll(&pollfd, 1, 0) == 1;
}

/* A thread that is awake costs its peers no system call; one that sleeps is signalled once. */
static void test_quiet_when_awake(void **state)
{
    (void)state;
    struct syn_err err;
    struct waker waker;
    assert_true(waker_init(&waker, &err));
    waker_wake(&waker);
    assert_false(is_readable(&waker));
    waker_prepare(&waker);
    waker_wake(&waker);
    assert_true(is_readable(&waker));
    waker_drain(&waker);
    waker_wake(&waker); /* the flag is used up */
    assert_false(is_readable(&waker));
    waker_prepare(&waker);
    waker_done(&waker);
    waker_wake(&waker);
    assert_false(is_readable(&waker));
    waker_deinit(&waker);
    waker_deinit(&waker);
}

/* A signal is never lost, however it falls: before the wait, or twice. */
static void test_signal_before_wait(void **state)
{
    (void)state;
    struct syn_err err;
    struct waker waker;
    assert_true(waker_init(&waker, &err));
    waker_signal(&waker);
    waker_signal(&waker);
    waker_prepare(&waker);
    waker_wait(&waker, -1);
    assert_false(is_readable(&waker));
    waker_wait(&waker, 1); /* a time limit ends it too */
    waker_deinit(&waker);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_quiet_when_awake),
        cmocka_unit_test(test_signal_before_wait),
        cmocka_unit_test(test_no_lost_wakeup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
