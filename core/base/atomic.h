/*
 * Atomic operations with the order in the name. Everything outside core/base uses these; an
 * unexplained order at a call site is a question, so fields say what they pair with.
 */
#ifndef BASE_ATOMIC_H
#define BASE_ATOMIC_H

#include <stdatomic.h>
#include <stdbool.h>

#define CACHE_LINE 64

#define atomic_load_relaxed(p) atomic_load_explicit((p), memory_order_relaxed)
#define atomic_load_acquire(p) atomic_load_explicit((p), memory_order_acquire)
#define atomic_store_relaxed(p, v) atomic_store_explicit((p), (v), memory_order_relaxed)
#define atomic_store_release(p, v) atomic_store_explicit((p), (v), memory_order_release)
#define atomic_add_relaxed(p, v) atomic_fetch_add_explicit((p), (v), memory_order_relaxed)
#define atomic_sub_relaxed(p, v) atomic_fetch_sub_explicit((p), (v), memory_order_relaxed)
#define atomic_sub_acq_rel(p, v) atomic_fetch_sub_explicit((p), (v), memory_order_acq_rel)
#define atomic_exchange_acq_rel(p, v) atomic_exchange_explicit((p), (v), memory_order_acq_rel)
#define atomic_cas_acq_rel(p, expected, v)                                                         \
    atomic_compare_exchange_strong_explicit(                                                       \
        (p), (expected), (v), memory_order_acq_rel, memory_order_acquire)
/* Orders a store before a later load, which acquire and release do not: see waker.h. */
#define atomic_fence_full() atomic_thread_fence(memory_order_seq_cst)

/* A counter with one writing thread: no locked instruction on the data path. */
#define counter_add(p, v) atomic_store_relaxed((p), atomic_load_relaxed(p) + (v))

#endif
