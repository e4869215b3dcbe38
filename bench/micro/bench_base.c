/* What the data path takes from core/base: slots of keys, and handing pointers to another thread.
 */
#include "bench/micro/micro.h"

#include <pthread.h>
#include <sched.h>
#include <string.h>

#include "core/base/base.h"

#define KEYS 4096u
#define HANDED 200000u

struct keys {
    char *text;
    size_t size; /* of each */
};

static int setup_keys(struct micro_load *load, uint64_t size)
{
    struct keys *keys = mem_calloc(MEM_TOOLS, sizeof(*keys));
    ASSERT(keys != NULL);
    keys->size = size;
    keys->text = mem_alloc(MEM_TOOLS, KEYS * size);
    ASSERT(keys->text != NULL);
    for (size_t i = 0; i < KEYS * size; i++) {
        keys->text[i] = (char)('a' + i * 2654435761u % 26);
    }
    load->state = keys;
    load->items = KEYS;
    load->bytes = KEYS * size;
    return 1;
}

static uint64_t run_slots(struct micro_load *load)
{
    const struct keys *keys = load->state;
    uint64_t sum = 0;
    for (size_t i = 0; i < KEYS; i++) {
        sum += slot_of_key(keys->text + i * keys->size, keys->size);
    }
    return sum;
}

static void teardown_keys(struct micro_load *load)
{
    struct keys *keys = load->state;
    mem_free(MEM_TOOLS, keys->text);
    mem_free(MEM_TOOLS, keys);
}

/* A round hands HANDED pointers from a thread of its own to the caller. The ring is what is
 * measured: both sides yield when it is full or empty, where the engine would sleep. */
static int setup_ring(struct micro_load *load, uint64_t entries)
{
    struct ring *ring = mem_alloc_aligned(MEM_TOOLS, CACHE_LINE, sizeof(*ring));
    ASSERT(ring != NULL);
    struct syn_err err;
    bool is_ready = ring_init(ring, (uint32_t)entries, &err);
    ASSERT(is_ready);
    load->state = ring;
    load->items = HANDED;
    return 1;
}

static void *produce(void *arg)
{
    struct ring *ring = arg;
    static char target;
    for (unsigned i = 0; i < HANDED; i++) {
        while (!ring_spsc_push(ring, &target)) {
            sched_yield();
        }
    }
    return NULL;
}

static uint64_t run_ring(struct micro_load *load)
{
    struct ring *ring = load->state;
    pthread_t producer;
    int failed = pthread_create(&producer, NULL, produce, ring);
    ASSERT(failed == 0);
    uint64_t taken = 0;
    while (taken < HANDED) {
        if (ring_spsc_pop(ring) != NULL) {
            taken++;
        } else {
            sched_yield();
        }
    }
    pthread_join(producer, NULL);
    return taken;
}

static void teardown_ring(struct micro_load *load)
{
    ring_deinit(load->state);
    mem_free(MEM_TOOLS, load->state);
}

const struct micro_case micro_base[] = {
    {"base/slot/16_bytes", setup_keys, 16, run_slots, teardown_keys},
    {"base/slot/40_bytes", setup_keys, 40, run_slots, teardown_keys},
    {"base/ring/hand_off", setup_ring, 1024, run_ring, teardown_ring},
    {.name = NULL},
};
