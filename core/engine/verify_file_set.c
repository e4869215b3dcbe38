/*
 * The keys of the files by their hashes, in open addressing: 8 bytes a key.
 *
 * 64 bits: among a thousand million keys, the chance that a key which the files do not have looks
 * like one of theirs is one in ten thousand million. The slot comes from the high bits and the part
 * from the low ones, so that a part fills the table evenly.
 */
#include "core/engine/verify_file.h"

#include <string.h>

#include <xxhash.h>

/* Longer chains than at this load are not worth the keys. What is above it is kept for keys that
 * only the destination has (key_set_try). */
#define LOAD_MAX 85 / 100
#define TRY_LOAD_MAX 95 / 100

bool key_set_init(struct key_set *set, uint64_t bytes, struct syn_err *err)
{
    *set = (struct key_set){.slot_count = bytes / sizeof(*set->slots)};
    ASSERT(set->slot_count >= 64);
    set->count_max = set->slot_count * LOAD_MAX;
    set->slots = mem_calloc(MEM_ENGINE, set->slot_count * sizeof(*set->slots));
    if (set->slots == NULL) {
        return ERR(err,
                   SYN_CODE_MEMORY,
                   "no memory for %llu bytes of a set of keys",
                   (unsigned long long)bytes);
    }
    return true;
}

void key_set_deinit(struct key_set *set)
{
    mem_free(MEM_ENGINE, set->slots);
    *set = (struct key_set){.slots = NULL};
}

void key_set_begin(struct key_set *set, unsigned part_bits, uint64_t part)
{
    if (set->count > 0) {
        memset(set->slots, 0, set->slot_count * sizeof(*set->slots));
    }
    set->count = 0;
    set->part_bits = part_bits;
    set->part = part;
}

uint64_t key_set_hash(uint32_t db, const void *key, size_t size)
{
    uint64_t hash = XXH3_64bits_withSeed(size > 0 ? key : "", size, db);
    return hash != 0 ? hash : 1; /* 0 is an empty slot */
}

bool key_set_is_part(const struct key_set *set, uint64_t hash)
{
    return (hash & ((UINT64_C(1) << set->part_bits) - 1)) == set->part;
}

/* The slot of the hash, or the empty one where it belongs. */
static uint64_t *slot_of(const struct key_set *set, uint64_t hash)
{
    uint64_t i = (uint64_t)(((unsigned __int128)hash * set->slot_count) >> 64);
    while (set->slots[i] != 0 && set->slots[i] != hash) {
        i = i + 1 < set->slot_count ? i + 1 : 0;
    }
    return &set->slots[i];
}

bool key_set_has(const struct key_set *set, uint64_t hash)
{
    return *slot_of(set, hash) == hash;
}

/* Keeps the half of the part whose next bit is 0. The others leave from wherever they are; what
 * stays is put in again from the first slot behind an empty one on, so that every chain is taken
 * out before any of it goes back. */
static void split(struct key_set *set)
{
    ASSERT(set->part_bits < 63);
    set->part_bits++;
    set->count = 0;
    uint64_t start = 0;
    while (set->slots[start] != 0) {
        start++; /* the load is below 1: there is one */
    }
    for (uint64_t n = 1; n < set->slot_count; n++) {
        uint64_t i = start + n < set->slot_count ? start + n : start + n - set->slot_count;
        uint64_t hash = set->slots[i];
        set->slots[i] = 0;
        if (hash != 0 && key_set_is_part(set, hash)) {
            *slot_of(set, hash) = hash;
            set->count++;
        }
    }
}

void key_set_add(struct key_set *set, uint64_t hash)
{
    while (key_set_is_part(set, hash)) {
        uint64_t *slot = slot_of(set, hash);
        if (*slot == hash) {
            return;
        }
        if (set->count < set->count_max) {
            *slot = hash;
            set->count++;
            return;
        }
        split(set);
    }
}

bool key_set_try(struct key_set *set, uint64_t hash)
{
    uint64_t *slot = slot_of(set, hash);
    if (*slot != hash && set->count >= set->slot_count * TRY_LOAD_MAX) {
        return false;
    }
    set->count += *slot != hash;
    *slot = hash;
    return true;
}
