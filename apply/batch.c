#include "apply/batch.h"

#include <string.h>

bool batch_pool_init(struct batch_pool *pool,
                     uint32_t count,
                     uint32_t bytes_size,
                     uint32_t ops_size,
                     struct syn_err *err)
{
    memset(pool, 0, sizeof(*pool));
    size_t stride = (size_t)bytes_size + BATCH_PREFIX;
    pool->batches = mem_calloc(MEM_APPLY, count * sizeof(struct batch));
    pool->ops = mem_alloc(MEM_APPLY, (size_t)count * ops_size * sizeof(struct op));
    pool->bytes = mem_alloc_aligned(MEM_APPLY, 4096, count * stride);
    if (pool->batches == NULL || pool->ops == NULL || pool->bytes == NULL) {
        batch_pool_deinit(pool);
        return ERR(err,
                   SYN_CODE_MEMORY,
                   "out of memory for %u batches of %u bytes; lower --memory",
                   count,
                   bytes_size);
    }
    pool->count = count;
    for (uint32_t i = 0; i < count; i++) {
        struct batch *batch = &pool->batches[i];
        batch->ops = pool->ops + (size_t)i * ops_size;
        batch->bytes = pool->bytes + i * stride;
        batch->bytes_size = (uint32_t)stride;
        batch->ops_size = ops_size;
        batch_give(pool, batch);
    }
    return true;
}

void batch_pool_deinit(struct batch_pool *pool)
{
    mem_free(MEM_APPLY, pool->batches);
    mem_free(MEM_APPLY, pool->ops);
    mem_free(MEM_APPLY, pool->bytes);
    memset(pool, 0, sizeof(*pool));
}

struct batch *batch_take(struct batch_pool *pool)
{
    struct batch *batch = pool->free;
    if (batch == NULL) {
        return NULL;
    }
    ASSERT(pool->free_count >= 1);
    pool->free = batch->next;
    pool->free_count--;
    batch->next = NULL;
    batch->db_first = BATCH_DB_ANY;
    batch->db_last = BATCH_DB_ANY;
    batch->begin = BATCH_PREFIX;
    batch->end = BATCH_PREFIX;
    batch->sent = 0;
    batch->op_count = 0;
    batch->ops_done = 0;
    batch->refused_count = 0;
    batch->has_select = false;
    batch->continues = false;
    return batch;
}

void batch_give(struct batch_pool *pool, struct batch *batch)
{
    ASSERT(pool->free_count < pool->count);
    batch->next = pool->free;
    pool->free = batch;
    pool->free_count++;
}
