/*
 * Every allocation of the project.
 *
 * Counts live bytes per module, can be given the host's allocator, and in tests fails the n-th
 * call. The data path does not allocate: this is for start-up, control work and growing buffers.
 *
 * Threads:   any thread; counters are atomic.
 * Ownership: the caller frees with mem_free and the same module.
 * Errors:    NULL when memory is out (or the countdown fired); callers report SYN_CODE_MEMORY.
 */
#ifndef BASE_ALLOC_H
#define BASE_ALLOC_H

#include <stddef.h>
#include <stdint.h>

enum mem_module {
    MEM_BASE,
    MEM_IO,
    MEM_RDB,
    MEM_APPLY,
    MEM_ENGINE,
    MEM_TOOLS,
    MEM_MODULE_COUNT,
};

/* The host's allocator; all four or none. Set once, before the first allocation. */
struct mem_allocator {
    void *(*malloc)(size_t size);
    void *(*aligned_alloc)(size_t alignment, size_t size);
    void *(*realloc)(void *p, size_t size);
    void (*free)(void *p);
};
void mem_set_allocator(const struct mem_allocator *allocator);

void *mem_alloc(enum mem_module module, size_t size);  /* uninitialised */
void *mem_calloc(enum mem_module module, size_t size); /* zeroed */
/* `alignment` is a power of two, at most 4096. Freed like the rest; not for mem_realloc. */
void *mem_alloc_aligned(enum mem_module module, size_t alignment, size_t size);
/* On failure NULL, and p stays valid. */
void *mem_realloc(enum mem_module module, void *p, size_t size);
char *mem_strdup(enum mem_module module, const char *text);
void mem_free(enum mem_module module, void *p); /* NULL is a no-op */

/* Live bytes as the allocator rounds them, not counting its own overhead. */
uint64_t mem_live_bytes(enum mem_module module);

/* Tests: the n-th allocation from now (1 = the next one) fails, and all after it; 0 = never. */
void mem_fail_at(uint64_t n);
/* The same, but only the n-th fails: what goes on after a failure has memory again. */
void mem_fail_once_at(uint64_t n);
/* Tests: allocations made since the last of these. */
uint64_t mem_call_count(void);

#endif
