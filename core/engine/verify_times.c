/*
 * Expiry times of fields that differ, but perhaps by no more than the tolerance.
 *
 * Digests cannot tell near from far, so the times themselves are put side by side: those of the
 * source go into a table by the field's hash, those of the destination are looked up in it. A hash
 * with more fields than the table is to hold is shown several times, each time for a share of the
 * fields that their hashes choose.
 */
#include <string.h>

#include <xxhash.h>

#include "core/engine/verify_private.h"

#define CELLS_MIN 64u
#define CELLS_MAX (1u << 20) /* 16 MiB */
#define SHARE_MAX (CELLS_MAX / 2)

struct cell {
    uint64_t hash; /* 0: empty */
    int64_t at;    /* -1: has been looked up */
};

struct times {
    struct cell *table;
    uint64_t cell_count; /* a power of two */
    uint64_t share;
    uint64_t share_count;
    int64_t forget_ms;
    int64_t tolerance_ms;
    uint64_t filled;
    uint64_t matched;
    bool is_different;
};

/* The field's cell, or the empty one where it belongs. */
static struct cell *cell_of(struct times *times, uint64_t hash)
{
    uint64_t mask = times->cell_count - 1;
    for (uint64_t i = hash >> 1 & mask;; i = (i + 1) & mask) {
        struct cell *cell = &times->table[i];
        if (cell->hash == 0 || cell->hash == hash) {
            return cell;
        }
    }
}

/* Whether the field counts, and in this share; then its hash, which is never 0. */
static bool is_wanted(const struct times *times,
                      const struct rdb_element *field,
                      int64_t expire_ms,
                      uint64_t *hash)
{
    if (expire_ms <= times->forget_ms || times->is_different) {
        return false;
    }
    *hash = XXH3_64bits(field->bytes, field->size) | 1;
    return (*hash >> 32) % times->share_count == times->share;
}

static enum rdb_flow on_source(void *arg,
                               const struct rdb_element *field,
                               const struct rdb_element *value,
                               int64_t expire_ms)
{
    struct times *times = arg;
    uint64_t hash;
    (void)value;
    if (is_wanted(times, field, expire_ms, &hash)) {
        struct cell *cell = cell_of(times, hash);
        /* Twice the same field, or far more than were counted: no value that can be compared. */
        if (cell->hash != 0 || times->filled >= times->cell_count - times->cell_count / 8) {
            times->is_different = true;
            return RDB_GO;
        }
        *cell = (struct cell){.hash = hash, .at = expire_ms};
        times->filled++;
    }
    return RDB_GO;
}

static enum rdb_flow on_destination(void *arg,
                                    const struct rdb_element *field,
                                    const struct rdb_element *value,
                                    int64_t expire_ms)
{
    struct times *times = arg;
    uint64_t hash;
    (void)value;
    if (is_wanted(times, field, expire_ms, &hash)) {
        struct cell *cell = cell_of(times, hash);
        int64_t apart = cell->at > expire_ms ? cell->at - expire_ms : expire_ms - cell->at;
        if (cell->hash == 0 || cell->at < 0 || apart > times->tolerance_ms) {
            times->is_different = true;
            return RDB_GO;
        }
        cell->at = -1;
        times->matched++;
    }
    return RDB_GO;
}

static bool share_compare(struct times *times,
                          const struct times_feed *source,
                          const struct times_feed *destination,
                          struct syn_err *err)
{
    static const struct rdb_visitor of_source = {.hash = on_source};
    static const struct rdb_visitor of_destination = {.hash = on_destination};
    bool is_whole = true;
    memset(times->table, 0, times->cell_count * sizeof(*times->table));
    times->filled = 0;
    times->matched = 0;
    if (!source->show(source->arg, &of_source, times, &is_whole, err)) {
        return false;
    }
    if (is_whole && !times->is_different &&
        !destination->show(destination->arg, &of_destination, times, &is_whole, err)) {
        return false;
    }
    times->is_different |= !is_whole || times->matched != times->filled;
    return true;
}

bool times_compare(const struct times_feed *source,
                   const struct times_feed *destination,
                   uint64_t count,
                   int64_t forget_ms,
                   int64_t tolerance_ms,
                   bool *is_equal,
                   struct syn_err *err)
{
    struct times times = {
        .share_count = count / SHARE_MAX + 1,
        .forget_ms = forget_ms > -1 ? forget_ms : -1, /* -1 of a field: it does not expire */
        .tolerance_ms = tolerance_ms,
        .cell_count = CELLS_MIN,
    };
    while (times.cell_count < CELLS_MAX && times.cell_count < 2 * count) {
        times.cell_count *= 2;
    }
    times.table = mem_alloc(MEM_ENGINE, times.cell_count * sizeof(*times.table));
    if (times.table == NULL) {
        return ERR(err, SYN_CODE_MEMORY, "out of memory for the expiry times of a hash");
    }
    bool ok = true;
    for (; ok && times.share < times.share_count && !times.is_different; times.share++) {
        ok = share_compare(&times, source, destination, err);
    }
    mem_free(MEM_ENGINE, times.table);
    *is_equal = !times.is_different;
    return ok;
}
