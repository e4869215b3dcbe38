/*
 * Reading the files of a verification: keys with the digests of their values, keys alone, and
 * single values once more.
 */
#include "core/engine/verify_file.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#define XXH_STATIC_LINKING_ONLY /* the state's size: it lies on the stack */
#include <xxhash.h>

#include "apply/heartbeat.h"
#include "apply/position.h"

#define NAME_CAPACITY_MIN 256
/* For values that are read again: they are few. */
#define AGAIN_BYTES ((size_t)64 << 10)

static size_t item_bytes_max(const struct config *config)
{
    return (size_t)(config->memory_bytes / FILE_ITEM_SHARE);
}

static const char *path_of(const struct config *config, uint32_t file)
{
    return config_file(&config->files, file);
}

/* Before a message that knows the byte, but not the file. */
static bool add_context(const struct config *config, uint32_t file, struct syn_err *err)
{
    char text[ENDPOINT_TEXT_MAX];
    struct endpoint endpoint = {.file = path_of(config, file)};
    if (err->code == SYN_CODE_SOURCE_DATA || err->code == SYN_CODE_SOURCE_FILE) {
        err_context(err, "source %s", endpoint_text(&endpoint, text));
    }
    return false;
}

static int file_open(const struct config *config, uint32_t file, struct syn_err *err)
{
    int fd = open(path_of(config, file), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) {
        ERR_SYS(err, SYN_CODE_SOURCE_FILE, errno, "cannot open the file");
        add_context(config, file, err);
    }
    return fd;
}

static int64_t feed_fd(void *arg, void *to, size_t size, struct syn_err *err)
{
    const int *fd = arg;
    ssize_t got;
    do {
        got = read(*fd, to, size);
    } while (got < 0 && errno == EINTR);
    if (got < 0) {
        ERR_SYS(err, SYN_CODE_SOURCE_FILE, errno, "cannot read the file");
    }
    return got;
}

/* ---- one after the other ---- */

bool file_scan_open(struct file_scan *scan,
                    const struct config *config,
                    uint32_t file,
                    struct rdb_digest *digest,
                    struct syn_err *err)
{
    size_t bound = item_bytes_max(config);
    *scan = (struct file_scan){.config = config, .file = file, .digest = digest};
    scan->is_selected = config_db(config, 0) != CONFIG_DB_NONE;
    scan->fd = file_open(config, file, err);
    if (scan->fd < 0) {
        return false;
    }
    (void)posix_fadvise(scan->fd, 0, 0, POSIX_FADV_SEQUENTIAL);
    struct rdb_reader *window = &scan->window;
    window->feed = feed_fd;
    window->feed_arg = &scan->fd;
    window->capacity_max = bound + RDB_WINDOW_SLACK;
    window->capacity_max =
        window->capacity_max < RDB_WINDOW_BYTES ? RDB_WINDOW_BYTES : window->capacity_max;
    window->parser = rdb_parser_new(bound, err);
    window->decoder = window->parser != NULL ? rdb_decoder_new(bound, err) : NULL;
    return window->decoder != NULL;
}

void file_scan_close(struct file_scan *scan)
{
    if (scan->config == NULL) {
        return;
    }
    rdb_decoder_free(scan->window.decoder);
    rdb_parser_free(scan->window.parser);
    mem_free(MEM_ENGINE, scan->window.buffer);
    mem_free(MEM_ENGINE, scan->name);
    if (scan->fd >= 0) {
        close(scan->fd);
    }
    *scan = (struct file_scan){.config = NULL};
}

static bool name_copy(struct file_scan *scan, struct slice name, struct syn_err *err)
{
    if (scan->name == NULL || name.size > scan->name_capacity) {
        size_t capacity = name.size < NAME_CAPACITY_MIN ? NAME_CAPACITY_MIN : name.size;
        uint8_t *larger = mem_realloc(MEM_ENGINE, scan->name, capacity);
        if (larger == NULL) {
            return ERR(err, SYN_CODE_MEMORY, "no memory for a key of %zu bytes", name.size);
        }
        scan->name = larger;
        scan->name_capacity = capacity;
    }
    if (name.size > 0) {
        memcpy(scan->name, name.bytes, name.size);
    }
    scan->name_size = name.size;
    return true;
}

static bool key_begin(struct file_scan *scan, const struct rdb_item *item, struct syn_err *err)
{
    scan->key = (struct file_key){.file = scan->file,
                                  .db = (uint32_t)scan->db,
                                  .type = item->type,
                                  .is_valkey = scan->window.is_valkey,
                                  .expire_ms = item->expire_ms,
                                  .offset = scan->window.used};
    return name_copy(scan, item->name, err);
}

static bool checksum_check(struct file_scan *scan, uint64_t wanted, struct syn_err *err)
{
    uint64_t crc = scan->window.crc;
    if (wanted == 0 || wanted == crc) {
        return true;
    }
    return ERR(
        err,
        SYN_CODE_SOURCE_DATA,
        "the checksum is %016llx, but the bytes before it give %016llx: the file was damaged "
        "after it was written",
        (unsigned long long)wanted,
        (unsigned long long)crc);
}

bool file_is_own_key(const struct config *config, const void *name, size_t size)
{
    const struct heartbeat_names names = {config->heartbeat_prefix,
                                          strlen(config->heartbeat_prefix)};
    return heartbeat_is_key(&names, name, size) || position_is_key(name, size);
}

/* Cuts items until a key of a selected database, whose bytes, but for its value, are used then. */
static bool next_key(struct file_scan *scan, bool *is_end, struct syn_err *err)
{
    struct rdb_reader *window = &scan->window;
    for (;;) {
        struct rdb_item item;
        size_t used, wanted;
        enum rdb_status status =
            rdb_parser_next(window->parser, window->at, window->left, &used, &wanted, &item, err);
        if (status == RDB_ERROR) {
            return false;
        }
        if (status == RDB_MORE) {
            if (!reader_more(window, wanted, "an item", err)) {
                return false;
            }
            continue;
        }
        reader_use(window, used);
        if (item.kind == RDB_ITEM_HEADER) {
            window->is_valkey = item.is_valkey;
        } else if (item.kind == RDB_ITEM_SELECT) {
            scan->db = item.db;
            scan->is_selected = config_db(scan->config, item.db) != CONFIG_DB_NONE;
        } else if (item.kind == RDB_ITEM_END) {
            reader_sum(window);
        } else if (item.kind == RDB_ITEM_CHECKSUM) {
            *is_end = true;
            return checksum_check(scan, item.checksum, err);
        } else if (item.kind == RDB_ITEM_KEY) {
            window->value_type = item.type;
            window->value_begin = window->used;
            if (scan->is_selected &&
                !file_is_own_key(scan->config, item.name.bytes, item.name.size)) {
                return key_begin(scan, &item, err);
            }
            if (!reader_pass_value(window, err)) {
                return false;
            }
        }
    }
}

bool file_scan_next(struct file_scan *scan, bool *is_end, struct syn_err *err)
{
    *is_end = false;
    return next_key(scan, is_end, err) || add_context(scan->config, scan->file, err);
}

bool file_scan_pass(struct file_scan *scan, struct syn_err *err)
{
    return reader_pass_value(&scan->window, err) || add_context(scan->config, scan->file, err);
}

/* ---- values ---- */

static struct rdb_value_place
place_of(const struct file_key *key, const void *name, size_t name_size)
{
    return (struct rdb_value_place){.type = key->type,
                                    .is_valkey = key->is_valkey,
                                    .key_hash = key_hash(name, name_size),
                                    .offset = key->offset};
}

/* Decodes the value at the window; its bytes join `raw`. */
static bool value_decode(struct file_scan *scan, XXH3_state_t *raw, struct syn_err *err)
{
    struct rdb_reader *window = &scan->window;
    for (;;) {
        size_t used;
        enum rdb_decode status =
            rdb_decoder_run(window->decoder, window->at, window->left, &used, err);
        if (status == RDB_DECODE_ERROR) {
            return false;
        }
        XXH3_64bits_update(raw, window->at, used);
        reader_use(window, used);
        if (status == RDB_DECODE_DONE) {
            return true;
        }
        ASSERT(status == RDB_DECODE_MORE); /* our visitor neither pauses nor stops */
        if (!reader_more(window, window->left + 1, NULL, err)) {
            return false;
        }
    }
}

static bool
scan_value_read(struct file_scan *scan, struct rdb_content *content, struct syn_err *err)
{
    struct file_key *key = &scan->key;
    struct rdb_value_place place = place_of(key, scan->name, scan->name_size);
    XXH3_state_t raw;
    XXH3_INITSTATE(&raw);
    XXH3_64bits_reset(&raw);
    XXH3_64bits_update(&raw, &key->type, 1);
    rdb_digest_forget(scan->digest, key->forget_ms);
    rdb_digest_begin(scan->digest);
    if (!rdb_decoder_begin(scan->window.decoder, &place, rdb_digest_visitor(), scan->digest, err) ||
        !value_decode(scan, &raw, err)) {
        return false;
    }
    rdb_digest_content(scan->digest, content);
    key->size = scan->window.used - key->offset;
    key->raw_hash = XXH3_64bits_digest(&raw);
    rdb_value_taken(scan->window.parser, key->size);
    return true;
}

bool file_scan_value(struct file_scan *scan, struct rdb_content *content, struct syn_err *err)
{
    return scan_value_read(scan, content, err) || add_context(scan->config, scan->file, err);
}

/* ---- again ---- */

/* Decodes the value of `key` at its place in the file, through a buffer of its own. */
static bool again_decode(int fd,
                         struct rdb_decoder *decoder,
                         uint8_t *buffer,
                         const struct file_key *key,
                         struct syn_err *err)
{
    uint64_t at = key->offset;
    size_t left = 0;
    for (;;) {
        ssize_t got = pread(fd, buffer + left, AGAIN_BYTES - left, (off_t)(at + left));
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got < 0) {
            return ERR_SYS(err, SYN_CODE_SOURCE_FILE, errno, "cannot read the file");
        }
        if (got == 0) {
            return ERR(err,
                       SYN_CODE_SOURCE_FILE,
                       "the file changed: it ends at byte %llu now",
                       (unsigned long long)(at + left));
        }
        size_t used;
        left += (size_t)got;
        enum rdb_decode status = rdb_decoder_run(decoder, buffer, left, &used, err);
        if (status != RDB_DECODE_MORE) {
            return status == RDB_DECODE_DONE;
        }
        at += used;
        left -= used;
        memmove(buffer, buffer + used, left);
    }
}

bool file_value_show(const struct config *config,
                     const struct file_key *key,
                     const struct verify_key *name,
                     const struct rdb_visitor *visitor,
                     void *arg,
                     struct syn_err *err)
{
    struct rdb_value_place place = place_of(key, name->bytes, name->size);
    struct rdb_decoder *decoder = rdb_decoder_new(item_bytes_max(config), err);
    uint8_t *buffer = mem_alloc(MEM_ENGINE, AGAIN_BYTES);
    bool ok = false;
    int fd = -1;
    if (decoder == NULL || buffer == NULL) {
        ERR(err, SYN_CODE_MEMORY, "no memory to read a value again");
        goto out;
    }
    fd = file_open(config, key->file, err);
    if (fd < 0) {
        goto out;
    }
    ok = (rdb_decoder_begin(decoder, &place, visitor, arg, err) &&
          again_decode(fd, decoder, buffer, key, err)) ||
         add_context(config, key->file, err);
out:
    if (fd >= 0) {
        close(fd);
    }
    mem_free(MEM_ENGINE, buffer);
    rdb_decoder_free(decoder);
    return ok;
}

bool file_value_again(struct file_verify *verify,
                      struct file_key *key,
                      const struct verify_key *name,
                      struct rdb_content *content,
                      struct syn_err *err)
{
    key->forget_ms = file_forget_ms(verify);
    rdb_digest_forget(verify->digest, key->forget_ms);
    rdb_digest_begin(verify->digest);
    if (!file_value_show(verify->config, key, name, rdb_digest_visitor(), verify->digest, err)) {
        return false;
    }
    rdb_digest_content(verify->digest, content);
    return true;
}
