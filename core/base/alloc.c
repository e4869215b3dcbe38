#include "core/base/alloc.h"

#include <stdlib.h>
#include <string.h>

#include "core/base/assert.h"
#include "core/base/atomic.h"

/* A header before each block keeps its size: malloc_usable_size is not something that a host's
 * allocator must offer. 16 bytes keep the alignment of malloc. */
struct mem_header {
    uint64_t size;
    uint64_t offset; /* from the block that the allocator gave to the header, bytes */
};
_Static_assert(sizeof(struct mem_header) == 16, "the header keeps malloc's alignment");

static struct mem_allocator allocator_current = {malloc, aligned_alloc, realloc, free};

/* W and R: any thread, relaxed; they are statistics and order nothing. */
static _Atomic uint64_t live_bytes[MEM_MODULE_COUNT];
static _Atomic uint64_t call_count;
static _Atomic uint64_t fail_at;
static _Atomic bool fails_once;

void mem_set_allocator(const struct mem_allocator *allocator)
{
    ASSERT(allocator->malloc != NULL);
    ASSERT(allocator->aligned_alloc != NULL);
    ASSERT(allocator->realloc != NULL);
    ASSERT(allocator->free != NULL);
    allocator_current = *allocator;
}

static bool mem_may_succeed(void)
{
    uint64_t count = atomic_add_relaxed(&call_count, 1) + 1;
    uint64_t limit = atomic_load_relaxed(&fail_at);
    return limit == 0 || count < limit || (count > limit && atomic_load_relaxed(&fails_once));
}

static void *mem_adopt(enum mem_module module, void *block, size_t offset, size_t size)
{
    if (block == NULL) {
        return NULL;
    }
    struct mem_header *header = (struct mem_header *)((char *)block + offset);
    header->size = size;
    header->offset = offset;
    atomic_add_relaxed(&live_bytes[module], size);
    return header + 1;
}

void *mem_alloc(enum mem_module module, size_t size)
{
    ASSERT(module < MEM_MODULE_COUNT);
    if (!mem_may_succeed() || size > SIZE_MAX / 2) {
        return NULL;
    }
    return mem_adopt(module, allocator_current.malloc(size + sizeof(struct mem_header)), 0, size);
}

void *mem_calloc(enum mem_module module, size_t size)
{
    void *p = mem_alloc(module, size);
    return p == NULL ? NULL : memset(p, 0, size);
}

void *mem_alloc_aligned(enum mem_module module, size_t alignment, size_t size)
{
    ASSERT(module < MEM_MODULE_COUNT);
    ASSERT(alignment >= sizeof(struct mem_header) && alignment <= 4096);
    ASSERT((alignment & (alignment - 1)) == 0);
    if (!mem_may_succeed() || size > SIZE_MAX / 2) {
        return NULL;
    }
    size_t whole = (size + 2 * alignment - 1) / alignment * alignment;
    void *block = allocator_current.aligned_alloc(alignment, whole);
    return mem_adopt(module, block, alignment - sizeof(struct mem_header), size);
}

void *mem_realloc(enum mem_module module, void *p, size_t size)
{
    if (p == NULL) {
        return mem_alloc(module, size);
    }
    if (!mem_may_succeed() || size > SIZE_MAX / 2) {
        return NULL;
    }
    struct mem_header *header = (struct mem_header *)p - 1;
    ASSERT(header->offset == 0);
    uint64_t size_before = header->size;
    header = allocator_current.realloc(header, size + sizeof(struct mem_header));
    if (header == NULL) {
        return NULL;
    }
    header->size = size;
    atomic_add_relaxed(&live_bytes[module], size - size_before);
    return header + 1;
}

char *mem_strdup(enum mem_module module, const char *text)
{
    size_t size = strlen(text) + 1;
    char *copy = mem_alloc(module, size);
    return copy == NULL ? NULL : memcpy(copy, text, size);
}

void mem_free(enum mem_module module, void *p)
{
    ASSERT(module < MEM_MODULE_COUNT);
    if (p == NULL) {
        return;
    }
    struct mem_header *header = (struct mem_header *)p - 1;
    atomic_sub_relaxed(&live_bytes[module], header->size);
    allocator_current.free((char *)header - header->offset);
}

uint64_t mem_live_bytes(enum mem_module module)
{
    ASSERT(module < MEM_MODULE_COUNT);
    return atomic_load_relaxed(&live_bytes[module]);
}

static void set_countdown(uint64_t n, bool is_once)
{
    atomic_store_relaxed(&call_count, 0);
    atomic_store_relaxed(&fails_once, is_once);
    atomic_store_relaxed(&fail_at, n);
}

void mem_fail_at(uint64_t n)
{
    set_countdown(n, false);
}

void mem_fail_once_at(uint64_t n)
{
    set_countdown(n, true);
}

uint64_t mem_call_count(void)
{
    return atomic_load_relaxed(&call_count);
}
