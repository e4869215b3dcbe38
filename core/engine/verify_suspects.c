/* Keys that looked different, each once: SCAN may return a key twice. */
#include <string.h>

#include <xxhash.h>

#include "core/engine/verify_private.h"

#define TABLE_SIZE (1u << 18) /* more than twice SUSPECTS_MAX, so probing stays short */
_Static_assert(TABLE_SIZE > 2 * SUSPECTS_MAX, "the table never fills up");

struct suspects *suspects_new(struct syn_err *err)
{
    struct suspects *suspects = mem_calloc(MEM_ENGINE, sizeof(*suspects));
    if (suspects != NULL) {
        suspects->table = mem_calloc(MEM_ENGINE, TABLE_SIZE * sizeof(*suspects->table));
    }
    if (suspects == NULL || suspects->table == NULL) {
        mem_free(MEM_ENGINE, suspects);
        ERR(err, SYN_CODE_MEMORY, "out of memory for the keys to read again");
        return NULL;
    }
    return suspects;
}

void suspects_free(struct suspects *suspects)
{
    if (suspects == NULL) {
        return;
    }
    for (uint32_t i = 0; i < suspects->count; i++) {
        mem_free(MEM_ENGINE, suspects->items[i].key);
    }
    mem_free(MEM_ENGINE, suspects->items);
    mem_free(MEM_ENGINE, suspects->table);
    mem_free(MEM_ENGINE, suspects);
}

/* The place of the key in the table: its own, or the empty one where it belongs. */
static uint32_t *place_of(struct suspects *suspects, uint32_t db, const char *key, size_t key_size)
{
    uint64_t hash = XXH3_64bits_withSeed(key_size > 0 ? key : "", key_size, db);
    for (uint32_t i = (uint32_t)hash & (TABLE_SIZE - 1);; i = (i + 1) & (TABLE_SIZE - 1)) {
        uint32_t entry = suspects->table[i];
        if (entry == 0) {
            return &suspects->table[i];
        }
        const struct suspect *item = &suspects->items[entry - 1];
        if (item->db == db && item->key_size == key_size && memcmp(item->key, key, key_size) == 0) {
            return &suspects->table[i];
        }
    }
}

static bool grow(struct suspects *suspects)
{
    if (suspects->count < suspects->capacity) {
        return true;
    }
    uint32_t capacity = suspects->capacity == 0 ? 256 : suspects->capacity * 2;
    struct suspect *items =
        mem_realloc(MEM_ENGINE, suspects->items, capacity * sizeof(*suspects->items));
    if (items == NULL) {
        return false;
    }
    suspects->items = items;
    suspects->capacity = capacity;
    return true;
}

enum suspect_added suspects_add(struct suspects *suspects,
                                uint32_t db,
                                const char *key,
                                size_t key_size,
                                const struct verdict *verdict)
{
    uint32_t *place = place_of(suspects, db, key, key_size);
    if (*place != 0) {
        return SUSPECT_KNOWN;
    }
    if (suspects->count >= SUSPECTS_MAX || suspects->bytes + key_size > SUSPECTS_BYTES_MAX ||
        key_size > UINT32_MAX || !grow(suspects)) {
        return SUSPECT_NO_ROOM;
    }
    uint8_t *copy = mem_alloc(MEM_ENGINE, key_size + 1);
    if (copy == NULL) {
        return SUSPECT_NO_ROOM;
    }
    memcpy(copy, key, key_size);
    suspects->items[suspects->count] = (struct suspect){
        .key = copy, .key_size = (uint32_t)key_size, .db = db, .verdict = *verdict};
    suspects->bytes += key_size;
    suspects->count++;
    *place = suspects->count;
    return SUSPECT_ADDED;
}
