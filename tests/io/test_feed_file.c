/*
 * Feeds of RDB files: every byte once and in order whatever the sizes, no more memory than the
 * pool, and a clear end, good or bad, of every file there can be. What the bytes mean is not looked
 * at here, so they are random.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "tests/io/feed_rig.h"
#include "tests/support/servers.h"

#define BYTES_MAX 200000

static uint8_t bytes[BYTES_MAX];

static const char *path_of(const char *name)
{
    static char path[300];
    snprintf(path, sizeof(path), "%s/%s", test_folder(), name);
    return path;
}

static const char *write_file(const char *name, size_t size)
{
    const char *path = path_of(name);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, size, file), size);
    assert_int_equal(fclose(file), 0);
    return path;
}

static struct feed_options options_of(const char *path)
{
    struct feed_options options = rig_options(1);
    memset(&options.endpoint, 0, sizeof(options.endpoint));
    options.endpoint.file = path;
    return options;
}

static void assert_delivered(const struct feed_rig *rig, size_t size)
{
    assert_int_equal(rig->size, size);
    assert_memory_equal(rig->bytes, bytes, size);
    assert_int_equal(rig->event_count, size > 0);
    if (size > 0) {
        assert_int_equal(rig->events[0].kind, CHUNK_SNAPSHOT);
        assert_int_equal(rig->events[0].at, 0);
        assert_int_equal(rig->events[0].session.number, 1);
        assert_int_equal(rig->events[0].session.offset, 0);
    }
}

/* Sizes around those of chunks: a byte lost, doubled or delivered in another order where a chunk
 * begins or ends would show. */
static void test_every_size(void **state)
{
    (void)state;
    static const size_t sizes[] = {1, 2, 63, 64, 65, 127, 128, 129, 1000, 4096, 99991};
    static const uint32_t chunks[] = {1, 3, 64, 4096};
    static const uint32_t counts[] = {2, 5};
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        const char *path = write_file("any.rdb", sizes[i]);
        for (size_t n = 0; n < 8; n++) {
            struct feed_rig rig;
            struct feed_options options = options_of(path);
            options.chunk_bytes = chunks[n % 4];
            options.chunk_count = counts[n / 4];
            options.headroom_bytes = 1;
            options.receive_bytes_min = n % 2 == 0 ? 1 : options.chunk_bytes;
            rig_start(&rig, IO_BACKEND_AUTO, &options);
            rig_until_size(&rig, sizes[i]);
            rig_until_state(&rig, FEED_LIVE);
            assert_delivered(&rig, sizes[i]);
            assert_int_equal(rig.events[0].session.payload_bytes, sizes[i]);
            assert_int_equal(atomic_load_acquire(&rig.feed.payload_bytes), sizes[i]);
            assert_int_equal(atomic_load_relaxed(&rig.feed.bytes_received), sizes[i]);
            assert_int_equal(atomic_load_relaxed(&rig.feed.snapshot_count), 1);
            assert_int_equal(atomic_load_relaxed(&rig.feed.session_count), 0);
            /* All is sealed: a decoder need not wait for more. */
            assert_null(rig.chunk);
            rig_stop(&rig);
            assert_int_equal(atomic_load_acquire(&rig.feed.state), FEED_STOPPED);
        }
    }
}

static void wait_until_starved(const struct feed_rig *rig)
{
    uint64_t deadline = test_deadline(RIG_TIMEOUT_MS);
    while (!atomic_load_acquire(&rig->feed.is_starved)) {
        test_poll(deadline, "an empty pool");
    }
}

/* A decoder that takes nothing: reading stops when the pool is empty, and goes on with the first
 * chunk that comes back. */
static void test_back_pressure(void **state)
{
    (void)state;
    struct feed_rig rig;
    struct feed_options options = options_of(write_file("slow.rdb", 50000));
    rig_start(&rig, IO_BACKEND_AUTO, &options);
    rig.is_idle = true;
    wait_until_starved(&rig);
    assert_int_equal(atomic_load_relaxed(&rig.feed.bytes_received),
                     options.chunk_bytes * options.chunk_count);
    rig.is_idle = false;
    rig_until_size(&rig, 50000);
    rig_until_state(&rig, FEED_LIVE);
    assert_delivered(&rig, 50000);
    assert_false(atomic_load_acquire(&rig.feed.is_starved));
    assert_int_not_equal(atomic_load_relaxed(&rig.feed.starved_ns), 0);
    rig_stop(&rig);
}

/* A stop comes also while nothing is taken, and seals what was begun. */
static void test_stop_while_starved(void **state)
{
    (void)state;
    struct feed_rig rig;
    struct feed_options options = options_of(write_file("stopped.rdb", 50000));
    rig_start(&rig, IO_BACKEND_AUTO, &options);
    rig.is_idle = true;
    wait_until_starved(&rig);
    atomic_store_release(&rig.feed.stop_wanted, true);
    reader_wake(&rig.reader);
    rig_until_state(&rig, FEED_STOPPED);
    rig.is_idle = false;
    rig_stop(&rig);
}

/* One reader serves several files, of which one cannot be opened, another waits for its decoder. */
static void test_several_files(void **state)
{
    (void)state;
    enum { FEEDS = 4 };
    struct waker decoder;
    static struct feed feeds[FEEDS];
    struct feed *list[FEEDS];
    struct reader reader;
    struct syn_err err;
    char paths[FEEDS][300];
    assert_true(waker_init(&decoder, &err));
    for (int i = 0; i < FEEDS; i++) {
        char name[32];
        snprintf(name, sizeof(name), "shard-%d.rdb", i);
        snprintf(paths[i], sizeof(paths[i]), "%s", write_file(name, 30000));
        struct feed_options options = options_of(paths[i]);
        if (i == 1) {
            assert_int_equal(unlink(paths[i]), 0);
        }
        assert_true(feed_init(&feeds[i], &options, &decoder, &err));
        list[i] = &feeds[i];
    }
    assert_true(reader_start(&reader, IO_BACKEND_AUTO, list, FEEDS, 0, &err));
    size_t sizes[FEEDS] = {0};
    uint64_t deadline = test_deadline(RIG_TIMEOUT_MS);
    while (sizes[0] < 30000 || sizes[3] < 30000 ||
           atomic_load_acquire(&feeds[1].state) != FEED_FAILED ||
           !atomic_load_acquire(&feeds[2].is_starved)) {
        for (int i = 0; i < FEEDS; i += 3) {
            struct chunk *chunk = ring_spsc_pop(&feeds[i].chunks);
            if (chunk != NULL) {
                while (!atomic_load_acquire(&chunk->is_sealed)) {
                }
                uint32_t filled = atomic_load_acquire(&chunk->filled);
                assert_memory_equal(chunk->bytes, bytes + sizes[i], filled);
                sizes[i] += filled;
                chunk_release(chunk);
            }
        }
        if (test_left_ms(deadline) == 0) {
            fail_msg("have %zu and %zu bytes", sizes[0], sizes[3]);
        }
    }
    reader_stop(&reader);
    for (int i = 0; i < FEEDS; i++) {
        for (struct chunk *chunk; (chunk = ring_spsc_pop(&feeds[i].chunks)) != NULL;) {
            chunk_release(chunk);
        }
        feed_deinit(&feeds[i]);
    }
    waker_deinit(&decoder);
}

/* It must fail with these words, and have delivered so much. */
static void expect_failure(struct feed_rig *rig, const char *words, const char *more)
{
    rig_until_state(rig, FEED_FAILED);
    assert_int_equal(rig->feed.err.code, SYN_CODE_SOURCE_FILE);
    if (strstr(rig->feed.err.msg, words) == NULL || strstr(rig->feed.err.msg, more) == NULL) {
        fail_msg("no \"%s\" and \"%s\" in: %s", words, more, rig->feed.err.msg);
    }
}

static void refused(const char *path, const char *words, const char *more)
{
    struct feed_rig rig;
    struct feed_options options = options_of(path);
    rig_start(&rig, IO_BACKEND_AUTO, &options);
    expect_failure(&rig, words, more);
    assert_int_equal(rig.size, 0);
    assert_int_equal(rig.event_count, 0);
    rig_stop(&rig);
}

static void test_what_is_no_file(void **state)
{
    (void)state;
    char path[300];
    refused(path_of("missing.rdb"), "missing.rdb", "No such file");
    refused(test_folder(), "file://", "is a directory");
    refused(write_file("empty.rdb", 0), "empty.rdb", "is empty");
    snprintf(path, sizeof(path), "%s", path_of("fifo.rdb"));
    assert_int_equal(mkfifo(path, 0600), 0);
    refused(path, "fifo.rdb", "not a regular file"); /* and does not wait for its other end */
    refused("/dev/null", "/dev/null", "not a regular file");
    if (geteuid() != 0) {
        snprintf(path, sizeof(path), "%s", write_file("secret.rdb", 10));
        assert_int_equal(chmod(path, 0), 0);
        refused(path, "secret.rdb", "Permission denied");
    }
}

/* A file of the kernel that has a size and refuses to be read stands for a broken disk. */
static void test_read_error(void **state)
{
    (void)state;
    static const char path[] = "/sys/class/net/lo/speed";
    char byte;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || read(fd, &byte, 1) >= 0) {
        print_message("SKIPPED: %s can be read, or is not there\n", path);
        if (fd >= 0) {
            close(fd);
        }
        return;
    }
    close(fd);
    refused(path, path, "cannot read at byte 0");
}

/* While the reader waits for chunks, somebody writes to the file. */
static void change(const char *name, off_t by, const char *words)
{
    struct feed_rig rig;
    const char *path = write_file(name, 20000);
    struct feed_options options = options_of(path);
    rig_start(&rig, IO_BACKEND_AUTO, &options);
    rig.is_idle = true;
    wait_until_starved(&rig);
    assert_int_equal(truncate(path, 20000 + by), 0);
    rig.is_idle = false;
    expect_failure(&rig, words, by < 0 ? "now ends at byte" : "now ends at byte 20001");
    assert_in_range(rig.size, 1, 19999); /* the last bytes are not handed on */
    assert_memory_equal(rig.bytes, bytes, rig.size);
    rig_stop(&rig);
}

static void test_file_that_changes(void **state)
{
    (void)state;
    change("growing.rdb", 1, "grew while it was read");
    change("shrinking.rdb", -1, "was cut short while it was read");
    change("emptied.rdb", -20000, "was cut short while it was read");
}

/* A save that replaces the file meanwhile (by renaming, as servers do) is none of its business. */
static void test_file_that_is_replaced(void **state)
{
    (void)state;
    struct feed_rig rig;
    char path[300], other[300];
    snprintf(path, sizeof(path), "%s", write_file("replaced.rdb", 20000));
    struct feed_options options = options_of(path);
    rig_start(&rig, IO_BACKEND_AUTO, &options);
    rig.is_idle = true;
    wait_until_starved(&rig);
    snprintf(other, sizeof(other), "%s", write_file("other.rdb", 10));
    assert_int_equal(rename(other, path), 0);
    rig.is_idle = false;
    rig_until_size(&rig, 20000);
    rig_until_state(&rig, FEED_LIVE);
    assert_delivered(&rig, 20000);
    rig_stop(&rig);
}

/* ---- standard input ---- */

static int kept_stdin;

/* Puts a descriptor in the place of standard input. */
static void stdin_set(int fd)
{
    kept_stdin = dup(STDIN_FILENO);
    assert_int_equal(dup2(fd, STDIN_FILENO), STDIN_FILENO);
    close(fd);
}

static void stdin_restore(void)
{
    /* It may have been closed to begin with. */
    if (kept_stdin >= 0) {
        assert_int_equal(dup2(kept_stdin, STDIN_FILENO), STDIN_FILENO);
        close(kept_stdin);
    } else {
        close(STDIN_FILENO);
    }
}

static int pipe_begin(struct feed_rig *rig)
{
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    stdin_set(ends[0]);
    struct feed_options options = options_of("-");
    rig_start(rig, IO_BACKEND_AUTO, &options);
    return ends[1];
}

static void write_all(int fd, const uint8_t *from, size_t size)
{
    while (size > 0) {
        ssize_t wrote = write(fd, from, size);
        assert_true(wrote > 0);
        from += wrote;
        size -= (size_t)wrote;
    }
}

/* What is in the pipe is delivered at once, also when more is awaited; its size is known at the
 * end. */
static void test_pipe(void **state)
{
    (void)state;
    struct feed_rig rig;
    int fd = pipe_begin(&rig);
    size_t sent = 0;
    for (size_t piece = 1; sent + piece < 3000; piece = piece * 2 + 1) {
        write_all(fd, bytes + sent, piece);
        sent += piece;
        rig_until_size(&rig, sent);
        assert_int_equal(atomic_load_acquire(&rig.feed.state), FEED_SNAPSHOT);
        assert_int_equal(atomic_load_acquire(&rig.feed.payload_bytes), -1);
    }
    close(fd);
    rig_until_state(&rig, FEED_LIVE);
    assert_delivered(&rig, sent);
    assert_int_equal(rig.events[0].session.payload_bytes, -1);
    assert_int_equal(atomic_load_acquire(&rig.feed.payload_bytes), sent);
    assert_null(rig.chunk);
    rig_stop(&rig);
    stdin_restore();
}

static void test_pipe_without_bytes(void **state)
{
    (void)state;
    struct feed_rig rig;
    close(pipe_begin(&rig));
    expect_failure(&rig, "ended before its first byte", "file:-");
    rig_stop(&rig);
    stdin_restore();
}

/* Nothing hangs on a pipe that somebody holds open and never writes to. */
static void test_pipe_that_is_silent(void **state)
{
    (void)state;
    struct feed_rig rig;
    int fd = pipe_begin(&rig);
    rig_until_state(&rig, FEED_SNAPSHOT);
    write_all(fd, bytes, 100);
    rig_until_size(&rig, 100);
    rig_stop(&rig);
    assert_int_equal(atomic_load_acquire(&rig.feed.state), FEED_STOPPED);
    assert_true(fcntl(STDIN_FILENO, F_GETFD) >= 0); /* it is not ours to close */
    close(fd);
    stdin_restore();
}

/* Back-pressure on a pipe: it fills, and whoever writes to it waits. */
static void test_pipe_is_not_read_ahead(void **state)
{
    (void)state;
    struct feed_rig rig;
    int fd = pipe_begin(&rig);
    rig.is_idle = true;
    write_all(fd, bytes, 60000); /* as much as a pipe holds */
    wait_until_starved(&rig);
    assert_int_equal(atomic_load_relaxed(&rig.feed.bytes_received),
                     rig.feed.options.chunk_bytes * rig.feed.options.chunk_count);
    close(fd);
    rig.is_idle = false;
    rig_until_state(&rig, FEED_LIVE);
    assert_delivered(&rig, 60000);
    rig_stop(&rig);
    stdin_restore();
}

/* Redirected from a file of which something has been read already: the rest is the payload. */
static void test_redirected_file(void **state)
{
    (void)state;
    struct feed_rig rig;
    int fd = open(write_file("redirected.rdb", 5000), O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(lseek(fd, 1000, SEEK_SET), 1000);
    stdin_set(fd);
    struct feed_options options = options_of("-");
    rig_start(&rig, IO_BACKEND_AUTO, &options);
    rig_until_state(&rig, FEED_LIVE);
    assert_int_equal(rig.size, 4000);
    assert_memory_equal(rig.bytes, bytes + 1000, 4000);
    assert_int_equal(rig.events[0].session.payload_bytes, 4000);
    rig_stop(&rig);
    stdin_restore();
}

/* ---- life ---- */

/* The n-th allocation fails: an error, and nothing kept. */
static void test_no_memory(void **state)
{
    (void)state;
    struct feed_options options = options_of(write_file("any.rdb", 10));
    struct waker decoder;
    struct syn_err err;
    assert_true(waker_init(&decoder, &err));
    for (unsigned n = 1;; n++) {
        static struct feed feed;
        mem_fail_at(n);
        bool is_made = feed_init(&feed, &options, &decoder, &err);
        mem_fail_at(0);
        feed_deinit(&feed);
        assert_int_equal(mem_live_bytes(MEM_IO) + mem_live_bytes(MEM_BASE), 0);
        if (is_made) {
            assert_true(n > 2);
            break;
        }
        assert_int_equal(err.code, SYN_CODE_MEMORY);
    }
    waker_deinit(&decoder);
}

static int fill(void **state)
{
    (void)state;
    uint32_t seed = 12345;
    for (size_t i = 0; i < sizeof(bytes); i++) {
        seed = seed * 1664525u + 1013904223u;
        bytes[i] = (uint8_t)(seed >> 24);
    }
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_size),
        cmocka_unit_test(test_back_pressure),
        cmocka_unit_test(test_stop_while_starved),
        cmocka_unit_test(test_several_files),
        cmocka_unit_test(test_what_is_no_file),
        cmocka_unit_test(test_read_error),
        cmocka_unit_test(test_file_that_changes),
        cmocka_unit_test(test_file_that_is_replaced),
        cmocka_unit_test(test_pipe),
        cmocka_unit_test(test_pipe_without_bytes),
        cmocka_unit_test(test_pipe_that_is_silent),
        cmocka_unit_test(test_pipe_is_not_read_ahead),
        cmocka_unit_test(test_redirected_file),
        cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests_name("file feeds", tests, fill, NULL);
}
