#include "io/feed_file.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum file_phase {
    FILE_UNOPENED,
    FILE_READING,
    FILE_READ,  /* all is handed on            */
    FILE_ENDED, /* FEED_STOPPED or FEED_FAILED */
};

struct feed_file {
    enum file_phase phase;
    int fd; /* -1: none */
    bool is_stdin;
    bool is_pipe;
    bool is_waiting;   /* the pipe had nothing         */
    uint64_t size;     /* of the payload; not of a pipe */
    uint64_t position; /* bytes read                   */
    struct chunk_session session;
    struct chunk *chunk;       /* being filled, and pushed with its first bytes; NULL: none */
    bool is_pushed;            /* `chunk`              */
    uint64_t starved_since_ns; /* 0: not starved                               */
};

/* ---- endings ---- */

static const char *text_of(const struct feed *feed, char text[ENDPOINT_TEXT_MAX])
{
    return endpoint_text(&feed->options.endpoint, text);
}

static void state_set(struct feed *feed, enum feed_state state)
{
    atomic_store_release(&feed->state, (int)state);
}

static void chunk_seal(struct feed *feed)
{
    struct chunk *chunk = feed->file->chunk;
    feed->file->chunk = NULL;
    if (chunk != NULL && feed->file->is_pushed) {
        atomic_store_release(&chunk->is_sealed, true);
        waker_wake(feed->decoder);
    } else if (chunk != NULL) {
        chunk_release(chunk); /* nothing came to be in it */
    }
}

static void starved_end(struct feed *feed)
{
    struct feed_file *file = feed->file;
    if (file->starved_since_ns != 0) {
        counter_add(&feed->starved_ns, clock_monotonic_ns() - file->starved_since_ns);
        file->starved_since_ns = 0;
        atomic_store_release(&feed->is_starved, false);
    }
}

static void file_end(struct feed *feed, enum feed_state state)
{
    struct feed_file *file = feed->file;
    chunk_seal(feed);
    starved_end(feed);
    if (file->fd >= 0 && !file->is_stdin) {
        close(file->fd);
    }
    file->fd = -1;
    file->phase = FILE_ENDED;
    state_set(feed, state);
}

/* feed->err is filled. There is no other try: the engine tells it as the end of the task. */
static bool file_fail(struct feed *feed)
{
    file_end(feed, FEED_FAILED);
    return true;
}

/* ---- opening ---- */

static bool refuse(struct feed *feed, const char *what)
{
    char text[ENDPOINT_TEXT_MAX];
    return ERR(&feed->err, SYN_CODE_SOURCE_FILE, "source %s: %s", text_of(feed, text), what);
}

static bool open_descriptor(struct feed *feed)
{
    struct feed_file *file = feed->file;
    const char *path = feed->options.endpoint.file;
    file->is_stdin = strcmp(path, "-") == 0;
    /* Not blocking: to open a named pipe would wait for its other end. */
    file->fd = file->is_stdin ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (file->fd < 0) {
        char text[ENDPOINT_TEXT_MAX];
        return ERR_SYS(&feed->err,
                       SYN_CODE_SOURCE_FILE,
                       errno,
                       "source %s: cannot open the file",
                       text_of(feed, text));
    }
    return true;
}

/* Standard input may be a file, of which somebody may have read the beginning. */
static bool measure(struct feed *feed, const struct stat *stat)
{
    struct feed_file *file = feed->file;
    off_t start = lseek(file->fd, 0, SEEK_CUR);
    start = start > 0 ? start : 0;
    if (stat->st_size <= start) {
        return refuse(feed, "the file is empty");
    }
    file->size = (uint64_t)(stat->st_size - start);
    (void)posix_fadvise(file->fd, start, 0, POSIX_FADV_SEQUENTIAL);
    return true;
}

static bool examine(struct feed *feed)
{
    struct feed_file *file = feed->file;
    struct stat stat;
    if (fstat(file->fd, &stat) != 0) {
        char text[ENDPOINT_TEXT_MAX];
        return ERR_SYS(&feed->err,
                       SYN_CODE_SOURCE_FILE,
                       errno,
                       "source %s: cannot look at it",
                       text_of(feed, text));
    }
    if (S_ISREG(stat.st_mode)) {
        return measure(feed, &stat);
    }
    if (S_ISDIR(stat.st_mode)) {
        return refuse(feed, "it is a directory");
    }
    if (!file->is_stdin) {
        return refuse(feed, "it is not a regular file; give a pipe as standard input (file:-)");
    }
    if (isatty(file->fd)) {
        return refuse(feed, "it is a terminal; send the file to standard input");
    }
    file->is_pipe = true;
    return true;
}

static bool file_open(struct feed *feed)
{
    struct feed_file *file = feed->file;
    char text[ENDPOINT_TEXT_MAX];
    if (!open_descriptor(feed) || !examine(feed)) {
        return file_fail(feed);
    }
    file->session.number = 1;
    file->session.payload_bytes = file->is_pipe ? -1 : (int64_t)file->size;
    if (file->is_pipe) {
        log_info("source %s: reading until its end", text_of(feed, text));
    } else {
        log_info(
            "source %s: reading %llu bytes", text_of(feed, text), (unsigned long long)file->size);
    }
    atomic_store_release(&feed->payload_bytes, file->session.payload_bytes);
    counter_add(&feed->snapshot_count, 1);
    file->phase = FILE_READING;
    state_set(feed, FEED_SNAPSHOT);
    return true;
}

/* ---- reading ---- */

/* A chunk with room becomes current. False: the pool is empty. */
static bool chunk_ready(struct feed *feed)
{
    struct feed_file *file = feed->file;
    if (file->chunk != NULL) {
        return true;
    }
    struct chunk *chunk = chunk_pool_take(&feed->pool);
    if (chunk == NULL) {
        if (file->starved_since_ns == 0) {
            file->starved_since_ns = clock_monotonic_ns();
            atomic_store_release(&feed->is_starved, true);
        }
        return false;
    }
    starved_end(feed);
    if (file->position == 0) {
        chunk->kind = CHUNK_SNAPSHOT;
        chunk->session = file->session;
    }
    file->chunk = chunk;
    file->is_pushed = false;
    return true;
}

/* `size` bytes have been written behind the chunk's filled part. */
static void chunk_fill(struct feed *feed, uint32_t size)
{
    struct chunk *chunk = feed->file->chunk;
    uint32_t filled = atomic_load_relaxed(&chunk->filled) + size;
    ASSERT(filled <= feed->pool.chunk_bytes);
    atomic_store_release(&chunk->filled, filled);
    if (!feed->file->is_pushed) {
        feed->file->is_pushed = ring_spsc_push(&feed->chunks, chunk);
        ASSERT(feed->file->is_pushed); /* it holds every chunk of the pool */
    }
    if (feed->pool.chunk_bytes - filled < feed->options.receive_bytes_min) {
        chunk_seal(feed);
    } else {
        waker_wake(feed->decoder);
    }
}

static bool file_finish(struct feed *feed)
{
    char text[ENDPOINT_TEXT_MAX];
    chunk_seal(feed);
    feed->file->phase = FILE_READ;
    log_info("source %s: read to its end, %llu bytes",
             text_of(feed, text),
             (unsigned long long)feed->file->position);
    state_set(feed, FEED_LIVE);
    waker_wake(feed->decoder); /* that nothing follows is news, too */
    return true;
}

static bool fail_read(struct feed *feed, int number)
{
    char text[ENDPOINT_TEXT_MAX];
    ERR_SYS(&feed->err,
            SYN_CODE_SOURCE_FILE,
            number,
            "source %s: cannot read at byte %llu",
            text_of(feed, text),
            (unsigned long long)feed->file->position);
    return file_fail(feed);
}

static bool fail_changed(struct feed *feed, uint64_t size)
{
    char text[ENDPOINT_TEXT_MAX];
    ERR(&feed->err,
        SYN_CODE_SOURCE_FILE,
        "source %s: the file %s while it was read: it had %llu bytes, and now ends at byte %llu; "
        "give a copy that nobody writes to any more",
        text_of(feed, text),
        size < feed->file->size ? "was cut short" : "grew",
        (unsigned long long)feed->file->size,
        (unsigned long long)size);
    return file_fail(feed);
}

/* Whether the file still ends where it did when it was opened; the last bytes are not handed on
 * before. A file that is still being copied would else be told as a damaged one. */
static bool has_grown(const struct feed_file *file, uint64_t *size)
{
    struct stat stat;
    off_t here = lseek(file->fd, 0, SEEK_CUR);
    if (fstat(file->fd, &stat) != 0 || stat.st_size <= here) {
        return false;
    }
    *size = file->size + (uint64_t)(stat.st_size - here);
    return true;
}

/* The end of a pipe: its size is known now, and told before the end is. */
static bool pipe_end(struct feed *feed)
{
    struct feed_file *file = feed->file;
    if (file->position == 0) {
        refuse(feed, "it ended before its first byte");
        return file_fail(feed);
    }
    atomic_store_release(&feed->payload_bytes, (int64_t)file->position);
    return file_finish(feed);
}

static bool pipe_is_empty(struct feed_file *file)
{
    struct pollfd pollfd = {.fd = file->fd, .events = POLLIN};
    file->is_waiting = file->is_pipe && poll(&pollfd, 1, 0) == 0;
    return file->is_waiting;
}

static bool file_read(struct feed *feed)
{
    struct feed_file *file = feed->file;
    if (pipe_is_empty(file) || !chunk_ready(feed)) {
        return false;
    }
    uint32_t filled = atomic_load_relaxed(&file->chunk->filled);
    uint64_t room = feed->pool.chunk_bytes - filled;
    if (!file->is_pipe && room > file->size - file->position) {
        room = file->size - file->position;
    }
    ssize_t got = read(file->fd, file->chunk->bytes + filled, room);
    if (got < 0) {
        return errno == EINTR || errno == EAGAIN || fail_read(feed, errno);
    }
    if (got == 0) {
        return file->is_pipe ? pipe_end(feed) : fail_changed(feed, file->position);
    }
    uint64_t position = file->position + (uint64_t)got;
    uint64_t size;
    if (!file->is_pipe && position == file->size && has_grown(file, &size)) {
        return fail_changed(feed, size);
    }
    file->position = position;
    counter_add(&feed->bytes_received, (uint64_t)got);
    chunk_fill(feed, (uint32_t)got);
    return file->is_pipe || position < file->size || file_finish(feed);
}

bool feed_file_poll(struct feed *feed, bool is_stopping)
{
    struct feed_file *file = feed->file;
    if (file->phase == FILE_ENDED) {
        return false;
    }
    if (is_stopping || atomic_load_acquire(&feed->stop_wanted)) {
        file_end(feed, FEED_STOPPED);
        return true;
    }
    switch (file->phase) {
    case FILE_UNOPENED:
        return file_open(feed);
    case FILE_READING:
        return file_read(feed);
    case FILE_READ:
    case FILE_ENDED:
        break;
    }
    return false;
}

bool feed_file_is_ended(const struct feed *feed)
{
    return feed->file->phase == FILE_ENDED;
}

int feed_file_pipe(const struct feed *feed)
{
    const struct feed_file *file = feed->file;
    return file->phase == FILE_READING && file->is_waiting ? file->fd : -1;
}

/* ---- the thread ---- */

static bool reader_turn(struct reader *reader, bool is_stopping)
{
    bool did = false;
    for (uint32_t i = 0; i < reader->feed_count; i++) {
        did |= feed_file_poll(reader->feeds[i], is_stopping);
    }
    return did;
}

static bool files_are_finished(const struct reader *reader)
{
    for (uint32_t i = 0; i < reader->feed_count; i++) {
        if (!feed_file_is_ended(reader->feeds[i])) {
            return false;
        }
    }
    return true;
}

/* Until a chunk comes back, somebody asks for something, or the pipe has bytes. */
static void reader_sleep(struct reader *reader)
{
    struct waker *waker = &reader->file_waker;
    struct pollfd pollfds[2] = {{.fd = waker->fd, .events = POLLIN}, {.fd = -1, .events = POLLIN}};
    waker_prepare(waker);
    if (reader_turn(reader, atomic_load_acquire(&reader->stop_wanted))) {
        waker_done(waker);
        return;
    }
    for (uint32_t i = 0; i < reader->feed_count; i++) {
        int pipe = feed_file_pipe(reader->feeds[i]);
        pollfds[1].fd = pipe >= 0 ? pipe : pollfds[1].fd;
    }
    if (poll(pollfds, 2, -1) > 0 && pollfds[0].revents != 0) {
        waker_drain(waker);
    }
    waker_done(waker);
}

void *feed_file_reader_run(void *arg)
{
    struct reader *reader = arg;
    for (;;) {
        bool is_stopping = atomic_load_acquire(&reader->stop_wanted);
        bool did = reader_turn(reader, is_stopping);
        if (is_stopping && files_are_finished(reader)) {
            return NULL;
        }
        if (!did) {
            reader_sleep(reader);
        }
    }
}

/* ---- life ---- */

bool feed_file_init(struct feed *feed, struct syn_err *err)
{
    struct feed_file *file = mem_calloc(MEM_IO, sizeof(*file));
    feed->file = file;
    if (file == NULL) {
        return ERR(err, SYN_CODE_MEMORY, "out of memory for a feed");
    }
    file->fd = -1;
    return true;
}

void feed_file_deinit(struct feed *feed)
{
    if (feed->file != NULL) {
        ASSERT(feed->file->fd == -1);
        ASSERT(feed->file->chunk == NULL);
        mem_free(MEM_IO, feed->file);
        feed->file = NULL;
    }
}
