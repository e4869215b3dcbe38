/* CRC64 of each implementation, at RESTORE-footer sizes and at buffer size, beside memcpy. */
#include "bench/micro/micro.h"

#include <string.h>

#include "core/base/base.h"
#include "rdb/crc64.h"

#define ROUND_BYTES ((size_t)1 << 20)

struct checksum_state {
    crc64_function *crc64;
    size_t size; /* of each call */
    uint8_t *bytes;
    uint8_t *copy;
};

static int setup(struct micro_load *load, crc64_function *crc64, size_t size)
{
    struct checksum_state *state = mem_calloc(MEM_TOOLS, sizeof(*state));
    ASSERT(state != NULL);
    state->crc64 = crc64;
    state->size = size;
    state->bytes = mem_alloc(MEM_TOOLS, ROUND_BYTES);
    state->copy = mem_calloc(MEM_TOOLS, ROUND_BYTES);
    ASSERT(state->bytes != NULL && state->copy != NULL);
    for (size_t i = 0; i < ROUND_BYTES; i++) {
        state->bytes[i] = (uint8_t)(i * 2654435761u >> 13);
    }
    load->state = state;
    load->items = ROUND_BYTES / size;
    load->bytes = load->items * size;
    return 1;
}

static int setup_slice8(struct micro_load *load, uint64_t size)
{
    return setup(load, crc64_implementation("slice8"), size);
}

static int setup_clmul(struct micro_load *load, uint64_t size)
{
    crc64_function *clmul = crc64_implementation("clmul");
    return clmul != NULL && setup(load, clmul, size);
}

static int setup_wide(struct micro_load *load, uint64_t size)
{
    crc64_function *wide = crc64_implementation("wide");
    return wide != NULL && setup(load, wide, size);
}

static int setup_bitwise(struct micro_load *load, uint64_t size)
{
    return setup(load, crc64_implementation("bitwise"), size);
}

static uint64_t run_crc64(struct micro_load *load)
{
    const struct checksum_state *state = load->state;
    uint64_t sum = 0;
    for (size_t i = 0; i < load->items; i++) {
        sum += state->crc64(0, state->bytes + i * state->size, state->size);
    }
    return sum;
}

static uint64_t run_memcpy(struct micro_load *load)
{
    const struct checksum_state *state = load->state;
    for (size_t i = 0; i < load->items; i++) {
        memcpy(state->copy + i * state->size, state->bytes + i * state->size, state->size);
        /* The compiler must not see that nobody reads the copy. */
        __asm__ volatile("" : : "r"(state->copy) : "memory");
    }
    return state->copy[0];
}

static void teardown(struct micro_load *load)
{
    struct checksum_state *state = load->state;
    mem_free(MEM_TOOLS, state->bytes);
    mem_free(MEM_TOOLS, state->copy);
    mem_free(MEM_TOOLS, state);
}

const struct micro_case micro_crc64[] = {
    {"crc64/memcpy/1048576", setup_bitwise, ROUND_BYTES, run_memcpy, teardown},
    {"crc64/bitwise/1048576", setup_bitwise, ROUND_BYTES, run_crc64, teardown},
    {"crc64/slice8/1048576", setup_slice8, ROUND_BYTES, run_crc64, teardown},
    {"crc64/clmul/1048576", setup_clmul, ROUND_BYTES, run_crc64, teardown},
    {"crc64/wide/1048576", setup_wide, ROUND_BYTES, run_crc64, teardown},
    {"crc64/clmul/2048", setup_clmul, 2048, run_crc64, teardown},
    {"crc64/wide/2048", setup_wide, 2048, run_crc64, teardown},
    {"crc64/slice8/80", setup_slice8, 80, run_crc64, teardown},
    {"crc64/clmul/80", setup_clmul, 80, run_crc64, teardown},
    {"crc64/slice8/20", setup_slice8, 20, run_crc64, teardown},
    {"crc64/clmul/20", setup_clmul, 20, run_crc64, teardown},
    {"crc64/slice8/2", setup_slice8, 2, run_crc64, teardown},
    {"crc64/clmul/2", setup_clmul, 2, run_crc64, teardown},
    {.name = NULL},
};
