/*
 * syn_rdb_read_*: RDB files for people and programs.
 *
 * One loop cuts items and shows them; a database is shown with the item behind it, because the
 * announced size comes after the number.
 */
#include "core/engine/rdb_api.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

/* ---- visits ---- */

static void note_flow(struct rdb_reader *reader, enum syn_rdb_flow flow)
{
    reader->is_stopped = reader->is_stopped || flow == SYN_RDB_STOP;
}

static void show_database(struct rdb_reader *reader)
{
    if (!reader->has_pending_db) {
        return;
    }
    reader->has_pending_db = false;
    if (reader->visitor->database != NULL) {
        note_flow(reader, reader->visitor->database(reader->arg, &reader->database));
    }
}

static void show_header(struct rdb_reader *reader, const struct rdb_item *item)
{
    reader->is_valkey = item->is_valkey;
    struct syn_rdb_header header = {.version = item->version,
                                    .magic = item->is_valkey ? "VALKEY" : "REDIS"};
    if (reader->visitor->header != NULL) {
        note_flow(reader, reader->visitor->header(reader->arg, &header));
    }
}

static bool is_wanted(const struct rdb_reader *reader, const struct rdb_item *item)
{
    const struct syn_rdb_options *options = &reader->options;
    if (options->has_db && options->db != reader->database.db) {
        return false;
    }
    return !options->has_key ||
           (options->key_size == item->name.size &&
            (item->name.size == 0 || memcmp(options->key, item->name.bytes, item->name.size) == 0));
}

/* The name must outlive the window, which moves while the value passes. */
static bool copy_name(struct rdb_reader *reader, struct slice name, struct syn_err *err)
{
    if (name.size > reader->name_capacity || reader->name == NULL) {
        size_t larger = name.size < 256 ? 256 : name.size;
        mem_free(MEM_ENGINE, reader->name);
        reader->name_capacity = 0;
        reader->name = mem_alloc(MEM_ENGINE, larger);
        if (reader->name == NULL) {
            return ERR(err, SYN_CODE_MEMORY, "no memory for a key of %zu bytes", larger);
        }
        reader->name_capacity = larger;
    }
    if (name.size > 0) {
        memcpy(reader->name, name.bytes, name.size);
    }
    reader->key.name = (struct syn_rdb_text){.bytes = reader->name, .size = name.size};
    return true;
}

/* A key and its value; the item's bytes have been used. */
static bool read_key(struct rdb_reader *reader, const struct rdb_item *item, struct syn_err *err)
{
    reader->value_type = item->type;
    reader->value_begin = reader->used;
    if (!is_wanted(reader, item)) {
        return reader_pass_value(reader, err);
    }
    if (!copy_name(reader, item->name, err)) {
        return false;
    }
    struct syn_rdb_key *key = &reader->key;
    key->db = reader->database.db;
    key->rdb_type = item->type;
    key->type = rdb_kind_name(rdb_type_kind(item->type, reader->is_valkey));
    key->encoding = rdb_encoding_name(item->type, reader->is_valkey);
    key->expire_ms = item->expire_ms;
    key->idle_s = item->idle_s;
    key->freq = item->has_freq ? item->freq : -1;
    key->offset = reader->used;
    key->bytes = 0;
    key->elements = 0;
    reader->is_muted = false;
    reader->keys++;
    if (reader->visitor->key != NULL) {
        enum syn_rdb_flow flow = reader->visitor->key(reader->arg, key);
        note_flow(reader, flow);
        reader->is_muted = flow == SYN_RDB_SKIP;
        if (reader->is_stopped) {
            return true;
        }
    }
    if (!reader_read_value(reader, err)) {
        return false;
    }
    key->bytes = reader->used - key->offset;
    if (!reader->is_stopped && reader->visitor->key_end != NULL) {
        note_flow(reader, reader->visitor->key_end(reader->arg, key));
    }
    return true;
}

static bool show_checksum(struct rdb_reader *reader, uint64_t checksum, struct syn_err *err)
{
    uint64_t crc = reader->crc;
    reader->verdict = checksum == 0     ? SYN_RDB_CHECKSUM_NONE
                      : checksum == crc ? SYN_RDB_CHECKSUM_MATCHES
                                        : SYN_RDB_CHECKSUM_DIFFERS;
    if (reader->visitor->checksum != NULL) {
        note_flow(reader, reader->visitor->checksum(reader->arg, reader->verdict));
    }
    if (reader->verdict != SYN_RDB_CHECKSUM_DIFFERS) {
        return true;
    }
    return ERR(err,
               SYN_CODE_SOURCE_DATA,
               "RDB byte %llu: the checksum is %016llx, but the bytes before it give %016llx: the "
               "file was damaged after it was written",
               (unsigned long long)(reader->used - sizeof(checksum)),
               (unsigned long long)checksum,
               (unsigned long long)crc);
}

static void note_size(struct rdb_reader *reader, const struct rdb_item *item)
{
    if (reader->has_pending_db) {
        reader->database.keys = item->key_count;
        reader->database.expiring = item->expire_count;
    }
}

/* What an item says; its bytes, except those of a key's value, have been used. */
static bool take_item(struct rdb_reader *reader, const struct rdb_item *item, struct syn_err *err)
{
    const struct syn_rdb_visitor *visitor = reader->visitor;
    if (item->kind == RDB_ITEM_RESIZE) {
        note_size(reader, item);
    }
    show_database(reader);
    if (reader->is_stopped) {
        return true;
    }
    switch (item->kind) {
    case RDB_ITEM_HEADER:
        show_header(reader, item);
        return true;
    case RDB_ITEM_AUX:
        if (visitor->aux != NULL) {
            note_flow(reader,
                      visitor->aux(reader->arg, rdb_text_of(item->name), rdb_text_of(item->text)));
        }
        return true;
    case RDB_ITEM_FUNCTION:
        if (visitor->function != NULL) {
            note_flow(reader, visitor->function(reader->arg, rdb_text_of(item->text)));
        }
        return true;
    case RDB_ITEM_SELECT:
        reader->has_pending_db = true;
        reader->database = (struct syn_rdb_database){
            .db = item->db, .keys = SYN_RDB_UNKNOWN, .expiring = SYN_RDB_UNKNOWN};
        return true;
    case RDB_ITEM_KEY:
        return read_key(reader, item, err);
    case RDB_ITEM_CHECKSUM:
        return show_checksum(reader, item->checksum, err);
    case RDB_ITEM_END:
        reader_sum(reader); /* of everything up to here: what follows is the checksum itself */
        return true;
    case RDB_ITEM_RESIZE:
    case RDB_ITEM_SLOT_INFO:
    case RDB_ITEM_IGNORED:
        break;
    }
    return true;
}

static bool read_items(struct rdb_reader *reader, struct syn_err *err)
{
    enum rdb_item_kind last = RDB_ITEM_HEADER;
    while (last != RDB_ITEM_CHECKSUM && !reader->is_stopped) {
        struct rdb_item item;
        size_t used;
        size_t wanted;
        enum rdb_status status =
            rdb_parser_next(reader->parser, reader->at, reader->left, &used, &wanted, &item, err);
        if (status == RDB_ERROR) {
            return false;
        }
        if (status == RDB_MORE) {
            const char *what = reader->used == 0      ? "the header"
                               : last == RDB_ITEM_END ? "the checksum"
                                                      : "an item";
            if (!reader_more(reader, wanted, what, err)) {
                return false;
            }
            continue;
        }
        reader_use(reader, used);
        if (!take_item(reader, &item, err)) {
            return false;
        }
        last = item.kind;
    }
    return true;
}

/* ---- life ---- */

static bool check_options(const struct syn_rdb_options *options, struct syn_err *err)
{
    if (options->item_bytes_max < SYN_RDB_ITEM_BYTES_MIN) {
        return ERR(err,
                   SYN_CODE_USAGE,
                   "item_bytes_max is %zu; at least %d",
                   options->item_bytes_max,
                   SYN_RDB_ITEM_BYTES_MIN);
    }
    if (options->item_bytes_max > SIZE_MAX / 4) {
        return ERR(err, SYN_CODE_USAGE, "item_bytes_max is larger than any memory");
    }
    if (options->depth > SYN_RDB_DEPTH_ELEMENTS) {
        return ERR(err, SYN_CODE_USAGE, "depth %d is none", (int)options->depth);
    }
    return true;
}

static bool reader_init(struct rdb_reader *reader,
                        const struct syn_rdb_options *options,
                        const struct syn_rdb_visitor *visitor,
                        void *arg,
                        struct syn_err *err)
{
    *reader = (struct rdb_reader){.visitor = visitor, .arg = arg};
    if (options != NULL) {
        reader->options = *options;
    }
    if (reader->options.item_bytes_max == 0) {
        reader->options.item_bytes_max = SYN_RDB_ITEM_BYTES_DEFAULT;
    }
    if (!check_options(&reader->options, err)) {
        return false;
    }
    if (reader->options.depth == SYN_RDB_DEPTH_ELEMENTS && visitor->element == NULL) {
        reader->options.depth = SYN_RDB_DEPTH_COUNTS;
    }
    size_t bound = reader->options.item_bytes_max;
    reader->capacity_max = 2 * bound + RDB_WINDOW_SLACK;
    if (reader->capacity_max < RDB_WINDOW_BYTES) {
        reader->capacity_max = RDB_WINDOW_BYTES;
    }
    reader->parser = rdb_parser_new(bound, err);
    if (reader->parser == NULL) {
        return false;
    }
    if (reader->options.depth == SYN_RDB_DEPTH_KEYS) {
        return true;
    }
    reader->decoder = rdb_decoder_new(bound, err);
    return reader->decoder != NULL;
}

static void reader_deinit(struct rdb_reader *reader)
{
    rdb_decoder_free(reader->decoder);
    rdb_parser_free(reader->parser);
    mem_free(MEM_ENGINE, reader->buffer);
    mem_free(MEM_ENGINE, reader->name);
}

/* Whether anything lies behind the RDB. A feed is asked: one byte tells. */
static bool has_trailing(struct rdb_reader *reader)
{
    struct syn_err ignored;
    uint8_t byte;
    if (reader->left > 0 || reader->has_ended || reader->feed == NULL) {
        return reader->left > 0;
    }
    return reader->feed(reader->feed_arg, &byte, 1, &ignored) > 0;
}

static bool read_all(struct rdb_reader *reader,
                     bool is_ready,
                     struct syn_rdb_result *result,
                     struct syn_err *err)
{
    bool ok = is_ready && read_items(reader, err);
    struct syn_rdb_result made = {.bytes = reader->used,
                                  .keys = reader->keys,
                                  .verdict = reader->verdict,
                                  .is_stopped = reader->is_stopped};
    made.has_trailing = ok && !reader->is_stopped && has_trailing(reader);
    if (result != NULL) {
        *result = made;
    }
    reader_deinit(reader);
    return ok;
}

bool syn_rdb_read_memory(const void *bytes,
                         size_t size,
                         const struct syn_rdb_options *options,
                         const struct syn_rdb_visitor *visitor,
                         void *arg,
                         struct syn_rdb_result *result,
                         struct syn_err *err)
{
    err_clear(err);
    struct rdb_reader reader;
    bool is_ready = reader_init(&reader, options, visitor, arg, err);
    reader.at = reader.unsummed = bytes;
    reader.left = size;
    reader.has_ended = true;
    return read_all(&reader, is_ready, result, err);
}

bool syn_rdb_read_feed(syn_rdb_feed *feed,
                       void *feed_arg,
                       const struct syn_rdb_options *options,
                       const struct syn_rdb_visitor *visitor,
                       void *arg,
                       struct syn_rdb_result *result,
                       struct syn_err *err)
{
    err_clear(err);
    struct rdb_reader reader;
    bool is_ready = reader_init(&reader, options, visitor, arg, err);
    reader.feed = feed;
    reader.feed_arg = feed_arg;
    return read_all(&reader, is_ready, result, err);
}

/* ---- files ---- */

static int64_t feed_fd(void *arg, void *to, size_t size, struct syn_err *err)
{
    const int *fd = arg;
    for (;;) {
        ssize_t got = read(*fd, to, size);
        if (got >= 0) {
            return got;
        }
        if (errno != EINTR) {
            (void)ERR_SYS(err, SYN_CODE_SOURCE_FILE, errno, "cannot read the file");
            return -1;
        }
    }
}

bool syn_rdb_read_file(const char *path,
                       const struct syn_rdb_options *options,
                       const struct syn_rdb_visitor *visitor,
                       void *arg,
                       struct syn_rdb_result *result,
                       struct syn_err *err)
{
    err_clear(err);
    if (result != NULL) {
        *result = (struct syn_rdb_result){.bytes = 0};
    }
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return ERR_SYS(err, SYN_CODE_SOURCE_FILE, errno, "%.300s: cannot open the file", path);
    }
    (void)posix_fadvise(fd, 0, 0, POSIX_FADV_SEQUENTIAL);
    bool ok = syn_rdb_read_feed(feed_fd, &fd, options, visitor, arg, result, err);
    if (!ok && err->code != SYN_CODE_MEMORY && err->code != SYN_CODE_USAGE) {
        err_context(err, "%.300s", path);
    }
    close(fd);
    return ok;
}
