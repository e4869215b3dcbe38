#include "core/base/ring.h"

#include <string.h>

#include "core/base/alloc.h"

bool ring_init(struct ring *ring, uint32_t entries_min, struct syn_err *err)
{
    ASSERT(entries_min >= 1);
    ASSERT(entries_min <= 1u << 20);
    memset(ring, 0, sizeof(*ring));
    uint32_t slots = 4;
    while (slots - 1 < entries_min) {
        slots *= 2;
    }
    ring->slots = mem_calloc(MEM_BASE, slots * sizeof(*ring->slots));
    if (ring->slots == NULL) {
        return ERR(err, SYN_CODE_MEMORY, "out of memory for a ring of %u entries", slots);
    }
    ck_ring_init(&ring->ring, slots);
    return true;
}

void ring_deinit(struct ring *ring)
{
    mem_free(MEM_BASE, ring->slots);
    ring->slots = NULL;
}
