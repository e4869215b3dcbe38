#include "core/base/chunk.h"

#include <string.h>

#include "core/base/alloc.h"

bool chunk_pool_init(struct chunk_pool *pool,
                     uint32_t count,
                     uint32_t chunk_bytes,
                     uint32_t headroom_bytes,
                     struct waker *reader,
                     struct syn_err *err)
{
    ASSERT(count >= 2);
    ASSERT(count <= 65536);
    memset(pool, 0, sizeof(*pool));
    pool->reader = reader;
    pool->chunk_bytes = chunk_bytes;
    pool->headroom_bytes = headroom_bytes;
    pool->count = count;
    if (!ring_init(&pool->free, count, err)) {
        return false;
    }
    size_t stride = (size_t)chunk_bytes + headroom_bytes;
    pool->chunks = mem_alloc_aligned(MEM_BASE, CACHE_LINE, count * sizeof(struct chunk));
    pool->memory = mem_alloc_aligned(MEM_BASE, 4096, count * stride);
    if (pool->chunks == NULL || pool->memory == NULL) {
        chunk_pool_deinit(pool);
        return ERR(err, SYN_CODE_MEMORY, "out of memory for %u chunks of %zu bytes", count, stride);
    }
    memset(pool->chunks, 0, count * sizeof(struct chunk));
    for (uint32_t i = 0; i < count; i++) {
        struct chunk *chunk = &pool->chunks[i];
        chunk->pool = pool;
        chunk->bytes = pool->memory + i * stride + headroom_bytes;
        bool is_pushed = ring_mpsc_push(&pool->free, chunk);
        ASSERT(is_pushed);
    }
    return true;
}

void chunk_pool_deinit(struct chunk_pool *pool)
{
    mem_free(MEM_BASE, pool->memory);
    mem_free(MEM_BASE, pool->chunks);
    ring_deinit(&pool->free);
    memset(pool, 0, sizeof(*pool));
}

struct chunk *chunk_pool_take(struct chunk_pool *pool)
{
    struct chunk *chunk = ring_mpsc_pop(&pool->free);
    if (chunk == NULL) {
        return NULL;
    }
    ASSERT(atomic_load_relaxed(&chunk->refs) == 0);
    chunk->kind = CHUNK_DATA;
    atomic_store_relaxed(&chunk->filled, 0);
    atomic_store_relaxed(&chunk->is_sealed, false);
    atomic_store_relaxed(&chunk->refs, 1);
    return chunk;
}

void chunk_acquire(struct chunk *chunk)
{
    uint32_t before = atomic_add_relaxed(&chunk->refs, 1);
    ASSERT(before >= 1);
}

void chunk_release(struct chunk *chunk)
{
    struct chunk_pool *pool = chunk->pool;
    uint32_t before = atomic_sub_acq_rel(&chunk->refs, 1);
    ASSERT(before >= 1);
    if (before == 1) {
        bool is_pushed = ring_mpsc_push(&pool->free, chunk);
        ASSERT(is_pushed);
        if (pool->reader != NULL) {
            waker_wake(pool->reader);
        }
    }
}
