/*
 * Bounded rings of pointers between threads, over Concurrency Kit.
 *
 * ring_spsc: one producing and one consuming thread. ring_mpsc: many producers, one consumer.
 * A ring asked for N entries holds at least N. A full ring refuses the push: the caller stops and
 * waits on its waker (decoder), or stops receiving (reader), so that TCP pushes back. Nothing is
 * ever dropped and nothing spins.
 *
 * Threads:   push by the producer, pop by the consumer, count by either (a hint for the other).
 * Ownership: what the pointer owns moves with it; writes made before push are seen after pop.
 */
#ifndef BASE_RING_H
#define BASE_RING_H

#include <stdbool.h>
#include <stdint.h>

#include <ck_ring.h>

#include "core/base/assert.h"
#include "core/base/err.h"

/* ThreadSanitizer does not see Concurrency Kit's fences; these tell it of the hand-off. */
#if defined(__SANITIZE_THREAD__)
#define RING_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define RING_TSAN 1
#endif
#endif
#ifdef RING_TSAN
void __tsan_acquire(void *addr);
void __tsan_release(void *addr);
#define RING_RELEASE(p) __tsan_release(p)
#define RING_ACQUIRE(p) __tsan_acquire(p)
#else
#define RING_RELEASE(p) ((void)(p))
#define RING_ACQUIRE(p) ((void)(p))
#endif

struct ring {
    struct ck_ring ring; /* its producer and consumer cursors lie on cache lines of their own */
    struct ck_ring_buffer *slots;
};

/* entries_min: 1 to 2^20. On failure the ring is empty and ring_deinit is still allowed. */
MUST_CHECK bool ring_init(struct ring *ring, uint32_t entries_min, struct syn_err *err);
/* What is still inside is forgotten, not freed. A zeroed ring is allowed. */
void ring_deinit(struct ring *ring);

MUST_CHECK static inline bool ring_spsc_push(struct ring *ring, void *entry)
{
    ASSERT_DEBUG(entry != NULL);
    RING_RELEASE(ring);
    return ck_ring_enqueue_spsc(&ring->ring, ring->slots, entry);
}

/* NULL when empty. */
static inline void *ring_spsc_pop(struct ring *ring)
{
    void *entry = NULL;
    if (!ck_ring_dequeue_spsc(&ring->ring, ring->slots, &entry)) {
        return NULL;
    }
    RING_ACQUIRE(ring);
    ASSERT_DEBUG(entry != NULL);
    return entry;
}

MUST_CHECK static inline bool ring_mpsc_push(struct ring *ring, void *entry)
{
    ASSERT_DEBUG(entry != NULL);
    RING_RELEASE(ring);
    return ck_ring_enqueue_mpsc(&ring->ring, ring->slots, entry);
}

static inline void *ring_mpsc_pop(struct ring *ring)
{
    void *entry = NULL;
    if (!ck_ring_dequeue_mpsc(&ring->ring, ring->slots, &entry)) {
        return NULL;
    }
    RING_ACQUIRE(ring);
    return entry;
}

static inline uint32_t ring_count(const struct ring *ring)
{
    return ck_ring_size(&ring->ring);
}

/* Entries that fit: one less than the slots. */
static inline uint32_t ring_capacity(const struct ring *ring)
{
    return ck_ring_capacity(&ring->ring) - 1;
}

#endif
