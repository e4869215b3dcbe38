/* Counts of an RDB while it is read. */
#include "tools/cli/rdb.h"

#include <string.h>

static void count_add(struct rdb_count *count, const struct syn_rdb_key *key)
{
    count->keys++;
    count->bytes += key->bytes;
    count->elements += key->elements != SYN_RDB_UNKNOWN ? key->elements : 0;
    count->expiring += key->expire_ms >= 0 ? 1 : 0;
}

/* The databases of a file come one after another, so the last one is nearly always right. */
static struct rdb_count *db_find(struct rdb_stats *stats, uint64_t db)
{
    for (unsigned i = stats->db_count; i > 0; i--) {
        if (stats->dbs[i - 1].db == db) {
            return &stats->dbs[i - 1].count;
        }
    }
    if (stats->db_count == RDB_DBS_MAX) {
        return &stats->other_dbs;
    }
    struct rdb_db_count *entry = &stats->dbs[stats->db_count++];
    entry->db = db;
    return &entry->count;
}

static enum rdb_life life_of(int64_t expire_ms, int64_t now_ms)
{
    static const int64_t minute = 60000;
    const int64_t limits[] = {
        [RDB_LIFE_EXPIRED] = 1,
        [RDB_LIFE_MINUTE] = minute,
        [RDB_LIFE_HOUR] = 60 * minute,
        [RDB_LIFE_DAY] = 24 * 60 * minute,
        [RDB_LIFE_WEEK] = 7 * 24 * 60 * minute,
        [RDB_LIFE_MONTH] = 30 * 24 * 60 * minute,
    };
    if (expire_ms < 0) {
        return RDB_LIFE_NONE;
    }
    for (unsigned i = 0; i < sizeof(limits) / sizeof(limits[0]); i++) {
        if (expire_ms - now_ms < limits[i]) {
            return (enum rdb_life)i;
        }
    }
    return RDB_LIFE_LATER;
}

static uint64_t size_of(const struct rdb_big_key *key, bool is_by_bytes)
{
    return is_by_bytes ? key->bytes : key->elements;
}

/* Keeps the list sorted; of equals the first in the file stays in front. */
static void biggest_add(struct rdb_biggest *list, const struct syn_rdb_key *key, bool is_by_bytes)
{
    uint64_t size = is_by_bytes ? key->bytes : key->elements;
    if (!is_by_bytes && size == SYN_RDB_UNKNOWN) {
        return;
    }
    if (list->count == RDB_BIGGEST_MAX) {
        if (size <= size_of(&list->keys[RDB_BIGGEST_MAX - 1], is_by_bytes)) {
            return;
        }
        list->count--;
    }
    unsigned at = list->count;
    for (; at > 0 && size > size_of(&list->keys[at - 1], is_by_bytes); at--) {
        list->keys[at] = list->keys[at - 1];
    }
    struct rdb_big_key *entry = &list->keys[at];
    entry->db = key->db;
    entry->bytes = key->bytes;
    entry->elements = key->elements;
    entry->type = key->type;
    entry->name_size = key->name.size;
    memcpy(entry->name,
           key->name.bytes,
           key->name.size < RDB_KEY_KEPT_MAX ? key->name.size : RDB_KEY_KEPT_MAX);
    list->count++;
}

void rdb_stats_add(struct rdb_stats *stats, const struct syn_rdb_key *key)
{
    struct rdb_type_count *type = &stats->types[key->rdb_type];
    type->type = key->type;
    type->encoding = key->encoding;
    count_add(&stats->total, key);
    count_add(&type->count, key);
    count_add(db_find(stats, key->db), key);
    stats->lives[life_of(key->expire_ms, stats->now_ms)]++;
    biggest_add(&stats->by_bytes, key, true);
    biggest_add(&stats->by_elements, key, false);
}
