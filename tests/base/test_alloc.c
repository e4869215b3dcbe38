#include "tests/base/test.h"

#include <stdlib.h>

#include "core/base/alloc.h"

/* The countdown is what every torture test stands on: the n-th call and all after it must fail,
 * none before, and nothing may stay counted after a failure. */
static void test_countdown(void **state)
{
    (void)state;
    uint64_t live = mem_live_bytes(MEM_TOOLS);
    for (uint64_t n = 1; n <= 6; n++) {
        mem_fail_at(n);
        void *p[5] = {mem_alloc(MEM_TOOLS, 10),
                      mem_calloc(MEM_TOOLS, 20),
                      mem_alloc_aligned(MEM_TOOLS, 64, 30),
                      mem_strdup(MEM_TOOLS, "text"),
                      mem_realloc(MEM_TOOLS, NULL, 40)};
        for (uint64_t i = 0; i < 5; i++) {
            assert_true((p[i] == NULL) == (i + 1 >= n));
        }
        assert_int_equal(mem_call_count(), 5);
        for (int i = 0; i < 5; i++) {
            mem_free(MEM_TOOLS, p[i]);
        }
        assert_int_equal(mem_live_bytes(MEM_TOOLS), live);
    }
    mem_fail_at(0);
    void *p = mem_alloc(MEM_TOOLS, 1);
    assert_non_null(p);
    mem_free(MEM_TOOLS, p);
}

/* The other countdown fails one call, and is over then. */
static void test_countdown_once(void **state)
{
    (void)state;
    for (uint64_t n = 1; n <= 4; n++) {
        mem_fail_once_at(n);
        void *p[4] = {mem_alloc(MEM_TOOLS, 10),
                      mem_calloc(MEM_TOOLS, 20),
                      mem_alloc_aligned(MEM_TOOLS, 64, 30),
                      mem_realloc(MEM_TOOLS, NULL, 40)};
        for (uint64_t i = 0; i < 4; i++) {
            assert_true((p[i] == NULL) == (i + 1 == n));
            mem_free(MEM_TOOLS, p[i]);
        }
    }
    mem_fail_at(0);
}

/* A failed realloc leaves the block as it was, counted as it was. */
static void test_grow(void **state)
{
    (void)state;
    uint64_t live = mem_live_bytes(MEM_BASE);
    char *p = mem_alloc(MEM_BASE, 8);
    memcpy(p, "1234567", 8);
    mem_fail_at(1);
    assert_null(mem_realloc(MEM_BASE, p, 800));
    mem_fail_at(0);
    assert_string_equal(p, "1234567");
    assert_int_equal(mem_live_bytes(MEM_BASE), live + 8);
    p = mem_realloc(MEM_BASE, p, 800);
    assert_string_equal(p, "1234567");
    assert_int_equal(mem_live_bytes(MEM_BASE), live + 800);
    p = mem_realloc(MEM_BASE, p, 8);
    assert_string_equal(p, "1234567");
    assert_int_equal(mem_live_bytes(MEM_BASE), live + 8);
    mem_free(MEM_BASE, p);
    assert_int_equal(mem_live_bytes(MEM_BASE), live);
    mem_free(MEM_BASE, NULL);
}

/* Each alignment holds for sizes around it, the whole block is writable (AddressSanitizer looks),
 * and modules are counted apart. */
static void test_aligned(void **state)
{
    (void)state;
    uint64_t other = mem_live_bytes(MEM_IO);
    for (size_t alignment = 16; alignment <= 4096; alignment *= 2) {
        for (size_t size = 1; size <= 2 * alignment + 1; size += alignment / 2 + 1) {
            uint8_t *p = mem_alloc_aligned(MEM_RDB, alignment, size);
            assert_non_null(p);
            assert_int_equal((uintptr_t)p % alignment, 0);
            memset(p, 0xaa, size);
            assert_int_equal(mem_live_bytes(MEM_RDB), size);
            mem_free(MEM_RDB, p);
            assert_int_equal(mem_live_bytes(MEM_RDB), 0);
        }
    }
    assert_int_equal(mem_live_bytes(MEM_IO), other);
}

/* A size that a peer chose must not overflow into a small block. */
static void test_huge(void **state)
{
    (void)state;
    assert_null(mem_alloc(MEM_BASE, SIZE_MAX));
    assert_null(mem_alloc(MEM_BASE, SIZE_MAX - 8));
    assert_null(mem_alloc_aligned(MEM_BASE, 4096, SIZE_MAX - 4096));
    void *p = mem_alloc(MEM_BASE, 0);
    assert_non_null(p);
    assert_null(mem_realloc(MEM_BASE, p, SIZE_MAX - 4));
    mem_free(MEM_BASE, p);
}

static int host_calls;

static void *host_malloc(size_t size)
{
    host_calls++;
    return malloc(size);
}
static void *host_aligned(size_t alignment, size_t size)
{
    host_calls++;
    return aligned_alloc(alignment, size);
}
static void *host_realloc(void *p, size_t size)
{
    host_calls++;
    return realloc(p, size);
}
static void host_free(void *p)
{
    host_calls++;
    free(p);
}

/* The host's allocator gets every call, none goes around it. */
static void test_host(void **state)
{
    (void)state;
    static const struct mem_allocator host = {host_malloc, host_aligned, host_realloc, host_free};
    static const struct mem_allocator system = {malloc, aligned_alloc, realloc, free};
    mem_set_allocator(&host);
    void *p = mem_alloc(MEM_BASE, 1);
    p = mem_realloc(MEM_BASE, p, 100);
    mem_free(MEM_BASE, p);
    mem_free(MEM_BASE, mem_alloc_aligned(MEM_BASE, 64, 1));
    mem_set_allocator(&system);
    assert_int_equal(host_calls, 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_countdown),
        cmocka_unit_test(test_countdown_once),
        cmocka_unit_test(test_grow),
        cmocka_unit_test(test_aligned),
        cmocka_unit_test(test_huge),
        cmocka_unit_test(test_host),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
