/*
 * The reader's thread: one loop, several feeds, each looked at once per turn. Or its part of a
 * thread that does more.
 *
 * The feeds have no timers of their own: the turn's timeout is the earliest time at which one of
 * them has something to do.
 */
#include "io/feed_file.h"
#include "io/feed_private.h"

bool reader_poll(void *arg)
{
    struct reader *reader = arg;
    bool is_stopping = atomic_load_acquire(&reader->stop_wanted);
    uint64_t now = clock_monotonic_ns();
    bool did = false;
    for (uint32_t i = 0; i < reader->feed_count; i++) {
        did |= feed_poll(reader->feeds[i], now, is_stopping);
    }
    return did;
}

int reader_timeout_ms(const struct reader *reader)
{
    uint64_t due = NEVER_NS;
    for (uint32_t i = 0; i < reader->feed_count; i++) {
        uint64_t feed_due = feed_due_ns(reader->feeds[i]);
        due = feed_due < due ? feed_due : due;
    }
    if (due == NEVER_NS) {
        return -1;
    }
    uint64_t now = clock_monotonic_ns();
    if (due <= now) {
        return 0;
    }
    uint64_t left_ms = (due - now + NS_PER_MS - 1) / NS_PER_MS;
    return left_ms < INT32_MAX ? (int)left_ms : INT32_MAX;
}

bool reader_is_finished(const struct reader *reader)
{
    if (!atomic_load_acquire(&reader->stop_wanted)) {
        return false;
    }
    for (uint32_t i = 0; i < reader->feed_count; i++) {
        if (!feed_is_ended(reader->feeds[i])) {
            return false;
        }
    }
    return true;
}

static void *reader_run(void *arg)
{
    struct reader *reader = arg;
    while (!reader_is_finished(reader)) {
        io_loop_step(reader->loop, reader_poll, reader, reader_timeout_ms(reader));
    }
    return NULL;
}

/* Ties the feeds to the reader, or unties them after a failure. */
static void feeds_take(struct reader *reader)
{
    for (uint32_t i = 0; i < reader->feed_count; i++) {
        struct feed *feed = reader->feeds[i];
        ASSERT(feed->reader == NULL);
        ASSERT((feed->psync != NULL) == (reader->loop != NULL));
        if (reader->loop != NULL) {
            io_loop_keep(reader->loop);
            feed->psync->loop = reader->loop;
        }
        feed->pool.reader = reader_waker(reader);
        feed->reader = reader;
    }
}

static void feeds_give_back(struct reader *reader)
{
    for (uint32_t i = 0; i < reader->feed_count; i++) {
        struct feed *feed = reader->feeds[i];
        feed->pool.reader = NULL;
        feed->reader = NULL;
        if (reader->loop != NULL) {
            feed->psync->loop = NULL;
            io_loop_unkeep(reader->loop);
        }
    }
}

static bool
reader_init(struct reader *reader, enum io_backend backend, bool is_of_files, struct syn_err *err)
{
    if (is_of_files) {
        return waker_init(&reader->file_waker, err);
    }
    reader->loop = io_loop_new(backend, err);
    return reader->loop != NULL;
}

static void reader_deinit(struct reader *reader)
{
    if (reader->loop != NULL) {
        io_loop_free(reader->loop);
    } else {
        /* Nobody sleeps on it any more, so that a late wake-up only looks at its flag. */
        waker_deinit(&reader->file_waker);
    }
}

bool reader_start(struct reader *reader,
                  enum io_backend backend,
                  struct feed **feeds,
                  uint32_t feed_count,
                  uint32_t index,
                  struct syn_err *err)
{
    *reader = (struct reader){.feeds = feeds, .feed_count = feed_count};
    bool is_of_files = feed_count > 0 && feeds[0]->file != NULL;
    if (!reader_init(reader, backend, is_of_files, err)) {
        return false;
    }
    feeds_take(reader);
    void *(*run)(void *) = is_of_files ? feed_file_reader_run : reader_run;
    if (!thread_start(&reader->thread, "read", index, run, reader, err)) {
        feeds_give_back(reader);
        reader_deinit(reader);
        reader->loop = NULL;
        return false;
    }
    reader->is_started = true;
    return true;
}

void reader_host(struct reader *reader,
                 struct io_loop *loop,
                 struct feed **feeds,
                 uint32_t feed_count)
{
    *reader = (struct reader){.loop = loop,
                              .feeds = feeds,
                              .feed_count = feed_count,
                              .is_started = true,
                              .is_hosted = true};
    feeds_take(reader);
}

void reader_stop(struct reader *reader)
{
    if (!reader->is_started) {
        return;
    }
    atomic_store_release(&reader->stop_wanted, true);
    reader_wake(reader);
    if (reader->is_hosted) {
        reader->is_started = false;
        return;
    }
    pthread_join(reader->thread, NULL);
    reader->is_started = false;
    /* A loop's waker lives on in the feeds, which keep the loop: see reader_stop in feed.h. */
    reader_deinit(reader);
}
