#include "tests/rdb/feed.h"

#include <stdio.h>

struct feed {
    struct rdb_parser *parser;
    const uint8_t *bytes;
    size_t used;
    size_t available;
    bool exact;
    bool in_value;
    bool is_done;
    bool is_past_end;
    uint64_t db;
    struct feed_result *result;
};

static void fold(struct feed *feed, const void *bytes, size_t size)
{
    feed->result->digest = crc64_update(feed->result->digest, bytes, size);
}

static void fold_number(struct feed *feed, uint64_t number)
{
    fold(feed, &number, sizeof(number));
}

static void fold_slice(struct feed *feed, const struct slice *slice)
{
    fold_number(feed, slice->size);
    fold(feed, slice->bytes, slice->size);
}

static void on_key(struct feed *feed, const struct rdb_item *item)
{
    struct feed_result *result = feed->result;
    result->keys++;
    result->keys_by_db[feed->db % FEED_DBS_MAX]++;
    result->keys_by_type[item->type]++;
    result->expiring += item->expire_ms != -1;
    result->with_freq += item->has_freq;
    result->with_idle += item->idle_s >= 0;
    fold_number(feed, item->type);
    fold_number(feed, (uint64_t)item->expire_ms);
    fold_number(feed, (uint64_t)item->idle_s);
    fold_number(feed, item->has_freq ? item->freq : 1000);
    fold_slice(feed, &item->name);
    feed->in_value = true;
}

static void on_item(struct feed *feed, const struct rdb_item *item)
{
    struct feed_result *result = feed->result;
    if (item->kind == RDB_ITEM_IGNORED) {
        return; /* comes in pieces that depend on the cut */
    }
    fold_number(feed, item->kind);
    switch (item->kind) {
    case RDB_ITEM_HEADER:
        result->version = item->version;
        result->is_valkey = item->is_valkey;
        fold_number(feed, item->version);
        break;
    case RDB_ITEM_AUX:
        result->aux++;
        fold_slice(feed, &item->name);
        fold_slice(feed, &item->text);
        break;
    case RDB_ITEM_FUNCTION:
        result->functions++;
        fold_slice(feed, &item->text);
        break;
    case RDB_ITEM_SELECT:
        feed->db = item->db;
        fold_number(feed, item->db);
        break;
    case RDB_ITEM_SLOT_INFO:
        fold_number(feed, item->slot);
        __attribute__((fallthrough));
    case RDB_ITEM_RESIZE:
        result->resizes += item->kind == RDB_ITEM_RESIZE;
        fold_number(feed, item->key_count);
        fold_number(feed, item->expire_count);
        break;
    case RDB_ITEM_KEY:
        on_key(feed, item);
        break;
    case RDB_ITEM_CHECKSUM:
        result->checksum = item->checksum;
        feed->is_done = true;
        break;
    default:
        break;
    }
}

static enum rdb_status feed_value(struct feed *feed, const uint8_t *window, size_t size)
{
    struct feed_result *result = feed->result;
    size_t used = 0;
    enum rdb_status status = rdb_value_walk(feed->parser, window, size, &used, &result->err);
    if (status == RDB_ERROR) {
        return status;
    }
    ASSERT(used <= size);
    fold(feed, window, used);
    result->crc = crc64_update(result->crc, window, used);
    feed->used += used;
    feed->in_value = status == RDB_MORE;
    if (status == RDB_MORE && size - used > result->left_max) {
        result->left_max = size - used;
    }
    return status;
}

static enum rdb_status feed_item(struct feed *feed, const uint8_t *window, size_t size)
{
    size_t used = 0;
    size_t wanted = 0;
    struct rdb_item item;
    enum rdb_status status =
        rdb_parser_next(feed->parser, window, size, &used, &wanted, &item, &feed->result->err);
    if (status == RDB_MORE) {
        ASSERT(used == 0);
        ASSERT(wanted > size);
    }
    if (status != RDB_READY) {
        return status;
    }
    ASSERT(used <= size);
    if (!feed->is_past_end) {
        feed->result->crc = crc64_update(feed->result->crc, window, used);
    }
    feed->is_past_end |= item.kind == RDB_ITEM_END;
    feed->used += used;
    on_item(feed, &item);
    return status;
}

/* Takes all that the available bytes give. */
static enum rdb_status feed_run(struct feed *feed)
{
    enum rdb_status status = RDB_READY;
    while (status == RDB_READY && !feed->is_done) {
        size_t size = feed->available - feed->used;
        const uint8_t *window = feed->bytes + feed->used;
        uint8_t *copy = NULL;
        if (feed->exact) {
            copy = mem_alloc(MEM_RDB, size > 0 ? size : 1);
            ASSERT(copy != NULL);
            memcpy(copy, window, size);
            window = copy + (size == 0);
        }
        status = feed->in_value ? feed_value(feed, window, size) : feed_item(feed, window, size);
        mem_free(MEM_RDB, copy);
    }
    return status;
}

void feed_rdb(const uint8_t *bytes,
              size_t size,
              enum feed_cut cut,
              size_t at,
              bool exact,
              struct feed_result *result)
{
    *result = (struct feed_result){.status = RDB_MORE};
    struct feed feed = {.bytes = bytes, .exact = exact, .result = result};
    feed.parser = rdb_parser_new(size + 64, &result->err);
    ASSERT(feed.parser != NULL);
    feed.available = cut == FEED_WHOLE ? size : cut == FEED_GROW ? 1 : at;
    for (;;) {
        feed.available = feed.available > size ? size : feed.available;
        enum rdb_status status = feed_run(&feed);
        if (status == RDB_ERROR || feed.is_done) {
            result->status = status;
            break;
        }
        if (feed.available == size) {
            break;
        }
        feed.available = cut == FEED_GROW    ? feed.available + 1
                         : cut == FEED_STEPS ? feed.available + at
                                             : size;
    }
    result->bytes_used = feed.used;
    ASSERT(rdb_parser_offset(feed.parser) == feed.used);
    rdb_parser_free(feed.parser);
}

uint8_t *fixture_read(const char *path, size_t *size)
{
    char full[512];
    snprintf(full, sizeof(full), "%s/%s", TEST_FIXTURES, path);
    FILE *file = fopen(full, "rb");
    ASSERT(file != NULL);
    ASSERT(fseek(file, 0, SEEK_END) == 0);
    long end = ftell(file);
    ASSERT(end >= 0);
    ASSERT(fseek(file, 0, SEEK_SET) == 0);
    uint8_t *bytes = mem_alloc(MEM_RDB, (size_t)end + 1);
    ASSERT(bytes != NULL);
    *size = fread(bytes, 1, (size_t)end, file);
    ASSERT(*size == (size_t)end);
    fclose(file);
    return bytes;
}
