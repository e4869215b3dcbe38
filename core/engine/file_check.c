#include "core/engine/file_check.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "rdb/rdb.h"

/* Enough for the header and all AUX fields that servers write. */
#define HEAD_BYTES 4096
#define HEADER_BYTES 9
/* RDBs of version 5 and later end with the opcode EOF and eight bytes of checksum. */
#define TAIL_BYTES 9
#define TAIL_VERSION_MIN 5
#define OPCODE_EOF 0xff

/* One file being looked at. */
struct look {
    const char *path;
    int fd;
    struct stat stat;
    uint16_t version;
    uint8_t head[HEAD_BYTES];
    size_t head_size;
    struct syn_err *err;
};

static bool fail(const struct look *look, enum syn_code code, const char *what)
{
    char text[ENDPOINT_TEXT_MAX];
    struct endpoint endpoint = {.file = look->path};
    return ERR(look->err, code, "source %s: %s", endpoint_text(&endpoint, text), what);
}

static bool fail_system(const struct look *look, int number, const char *what)
{
    char text[ENDPOINT_TEXT_MAX];
    struct endpoint endpoint = {.file = look->path};
    return ERR_SYS(look->err,
                   SYN_CODE_SOURCE_FILE,
                   number,
                   "source %s: %s",
                   endpoint_text(&endpoint, text),
                   what);
}

static bool look_open(struct look *look)
{
    /* Not blocking: to open a named pipe would wait for its other end. */
    look->fd = open(look->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (look->fd < 0) {
        return fail_system(look, errno, "cannot open the file");
    }
    if (fstat(look->fd, &look->stat) != 0) {
        return fail_system(look, errno, "cannot look at the file");
    }
    if (S_ISDIR(look->stat.st_mode)) {
        return fail(look, SYN_CODE_SOURCE_FILE, "it is a directory; name the file in it");
    }
    if (!S_ISREG(look->stat.st_mode)) {
        return fail(look,
                    SYN_CODE_SOURCE_FILE,
                    "it is not a regular file; give a pipe as standard input (file:-)");
    }
    return true;
}

static bool look_read(struct look *look, uint8_t *to, size_t size, off_t at, size_t *got)
{
    *got = 0;
    while (*got < size) {
        ssize_t count = pread(look->fd, to + *got, size - *got, at + (off_t)*got);
        if (count < 0 && errno != EINTR) {
            return fail_system(look, errno, "cannot read the file");
        }
        if (count == 0) {
            break;
        }
        *got += count > 0 ? (size_t)count : 0;
    }
    return true;
}

/* ---- the beginning ---- */

/* What people have in their backup folders instead of an RDB. */
static const char *other_format(const uint8_t *bytes, size_t size)
{
    static const struct {
        const char *mark;
        size_t size;
        const char *what;
    } formats[] = {
        {"\x1f\x8b", 2, "it is compressed by gzip; gunzip < FILE | syncline … file:- …"},
        {"\x28\xb5\x2f\xfd", 4, "it is compressed by zstd; zstdcat FILE | syncline … file:- …"},
        {"\xfd"
         "7zXZ",
         5,
         "it is compressed by xz; xzcat FILE | syncline … file:- …"},
        {"BZh", 3, "it is compressed by bzip2; bzcat FILE | syncline … file:- …"},
        {"\x04\x22\x4d\x18", 4, "it is compressed by lz4; lz4cat FILE | syncline … file:- …"},
        {"*2\r\n", 4, "it is an append-only file of commands, not an RDB"},
    };
    for (size_t i = 0; i < sizeof(formats) / sizeof(formats[0]); i++) {
        if (size >= formats[i].size && memcmp(bytes, formats[i].mark, formats[i].size) == 0) {
            return formats[i].what;
        }
    }
    return NULL;
}

static void add_context(const struct look *look)
{
    char text[ENDPOINT_TEXT_MAX];
    struct endpoint endpoint = {.file = look->path};
    err_context(look->err, "source %s", endpoint_text(&endpoint, text));
}

/* Cuts items off the head until it has no whole one, or the data begins. */
static bool head_parse(struct look *look, struct rdb_parser *parser)
{
    size_t at = 0;
    for (;;) {
        struct rdb_item item;
        size_t used, wanted;
        switch (rdb_parser_next(
            parser, look->head + at, look->head_size - at, &used, &wanted, &item, look->err)) {
        case RDB_ERROR:
            add_context(look);
            return false;
        case RDB_MORE:
            /* All of the file is here, and the item goes on behind it. */
            return look->head_size == HEAD_BYTES ||
                   fail(look, SYN_CODE_SOURCE_DATA, "the file is cut short: it ends in its head");
        case RDB_READY:
            break;
        }
        at += used;
        if (item.kind == RDB_ITEM_HEADER) {
            look->version = item.version;
        } else if (item.kind != RDB_ITEM_AUX) {
            return true;
        }
    }
}

static bool head_check(struct look *look)
{
    if (!look_read(look, look->head, HEAD_BYTES, 0, &look->head_size)) {
        return false;
    }
    if (look->head_size == 0) {
        return fail(look, SYN_CODE_SOURCE_FILE, "the file is empty");
    }
    const char *other = other_format(look->head, look->head_size);
    if (other != NULL) {
        return fail(look, SYN_CODE_SOURCE_DATA, other);
    }
    if (look->head_size < HEADER_BYTES) {
        return fail(look,
                    SYN_CODE_SOURCE_DATA,
                    "this is not an RDB: it ends before the nine bytes of its header");
    }
    struct rdb_parser *parser = rdb_parser_new(HEAD_BYTES, look->err);
    bool is_good = parser != NULL && head_parse(look, parser);
    rdb_parser_free(parser);
    return is_good;
}

/* ---- the end ---- */

static bool tail_check(struct look *look)
{
    size_t size = look->version >= TAIL_VERSION_MIN ? TAIL_BYTES : 1;
    uint8_t tail[TAIL_BYTES];
    size_t got;
    off_t at = look->stat.st_size - (off_t)size;
    if (at < HEADER_BYTES || !look_read(look, tail, size, at, &got)) {
        return at >= HEADER_BYTES ? false
                                  : fail(look, SYN_CODE_SOURCE_DATA, "the file is cut short");
    }
    if (got == size && tail[0] == OPCODE_EOF) {
        return true;
    }
    char what[200];
    snprintf(what,
             sizeof(what),
             "byte %lld is not the end of an RDB: the file is cut short, is still being written, "
             "or something follows the RDB in it, as in an append-only file",
             (long long)at);
    return fail(look, SYN_CODE_SOURCE_DATA, what);
}

/* ---- all ---- */

static bool file_check(const char *path, struct look *look, struct syn_err *err)
{
    *look = (struct look){.path = path, .fd = -1, .err = err};
    if (strcmp(path, "-") == 0) {
        return true;
    }
    bool is_good = look_open(look) && head_check(look) && tail_check(look);
    if (look->fd >= 0) {
        close(look->fd);
    }
    return is_good;
}

/* The same file twice is a mistake: of two streams with the same keys the later write would win. */
static bool distinct_check(const struct config_files *files,
                           const struct stat *stats,
                           uint32_t count,
                           struct syn_err *err)
{
    for (uint32_t i = 0; i + 1 < count; i++) {
        const struct stat *a = &stats[i];
        const struct stat *b = &stats[count - 1];
        if (a->st_dev == b->st_dev && a->st_ino == b->st_ino) {
            char texts[2][ENDPOINT_TEXT_MAX];
            struct endpoint endpoints[2] = {{.file = config_file(files, i)},
                                            {.file = config_file(files, count - 1)}};
            return ERR(err,
                       SYN_CODE_CONFIG,
                       "source: %s and %s are the same file; name each once",
                       endpoint_text(&endpoints[0], texts[0]),
                       endpoint_text(&endpoints[1], texts[1]));
        }
    }
    return true;
}

bool files_check(const struct config_files *files, struct syn_err *err)
{
    struct stat stats[CONFIG_HOSTS_MAX];
    struct look look;
    ASSERT(files->count > 0);
    ASSERT(files->count <= CONFIG_HOSTS_MAX);
    for (uint32_t i = 0; i < files->count; i++) {
        if (!file_check(config_file(files, i), &look, err)) {
            return false;
        }
        stats[i] = look.stat;
        if (!distinct_check(files, stats, i + 1, err)) {
            return false;
        }
    }
    return true;
}

bool files_discover(const struct config_files *files, struct topology *source, struct syn_err *err)
{
    memset(source, 0, sizeof(*source));
    source->side = SIDE_SOURCE;
    if (!files_check(files, err)) {
        return false;
    }
    source->shards = mem_calloc(MEM_APPLY, files->count * sizeof(*source->shards));
    if (source->shards == NULL) {
        return ERR(err, SYN_CODE_MEMORY, "out of memory for %u files", files->count);
    }
    source->shard_count = files->count;
    for (uint32_t i = 0; i < files->count; i++) {
        source->shards[i].server.endpoint.file = config_file(files, i);
        source->shards[i].master = source->shards[i].server;
    }
    return true;
}
