#include "tests/io/feed_rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

struct feed_options rig_options(uint16_t port)
{
    struct feed_options options = {
        .chunk_bytes = 64,
        .chunk_count = 8,
        .headroom_bytes = 16,
        .receive_bytes_min = 8,
        .connect_timeout_ms = 3000,
        .silence_timeout_ms = 8000,
        .retry_ms = 8000,
    };
    options.endpoint.port = port;
    snprintf(options.endpoint.host, sizeof(options.endpoint.host), "127.0.0.1");
    return options;
}

void rig_start(struct feed_rig *rig, enum io_backend backend, const struct feed_options *options)
{
    struct syn_err err = {0};
    memset(rig, 0, sizeof(*rig));
    assert_true(waker_init(&rig->decoder, &err));
    assert_true(feed_init(&rig->feed, options, &rig->decoder, &err));
    rig->feeds[0] = &rig->feed;
    if (!reader_start(&rig->reader, backend, rig->feeds, 1, 0, &err)) {
        fail_msg("%s", err.msg);
    }
}

void rig_stop(struct feed_rig *rig)
{
    reader_stop(&rig->reader);
    rig->is_idle = false;
    while (rig_take(rig)) {
    }
    /* After the end everything is sealed, so nothing is left in hand. */
    assert_null(rig->chunk);
    assert_int_equal(ring_count(&rig->feed.pool.free), rig->feed.pool.count);
    feed_deinit(&rig->feed);
    waker_deinit(&rig->decoder);
    mem_free(MEM_IO, rig->bytes);
    rig->bytes = NULL;
    assert_int_equal(mem_live_bytes(MEM_IO), 0);
}

static void rig_append(struct feed_rig *rig, const uint8_t *bytes, uint32_t size)
{
    if (rig->room - rig->size < size) {
        size_t room = (rig->room + size) * 2;
        rig->bytes = mem_realloc(MEM_IO, rig->bytes, room);
        assert_non_null(rig->bytes);
        rig->room = room;
    }
    memcpy(rig->bytes + rig->size, bytes, size);
    rig->size += size;
}

static bool rig_next_chunk(struct feed_rig *rig)
{
    rig->chunk = ring_spsc_pop(&rig->feed.chunks);
    rig->position = 0;
    if (rig->chunk == NULL) {
        return false;
    }
    if (rig->chunk->kind != CHUNK_DATA) {
        assert_true(rig->event_count < RIG_EVENT_MAX);
        struct rig_event *event = &rig->events[rig->event_count++];
        event->kind = rig->chunk->kind;
        event->session = rig->chunk->session;
        event->at = rig->size;
        if (event->kind == CHUNK_SNAPSHOT) {
            atomic_store_release(&rig->feed.offset_applied, event->session.offset);
        }
    }
    return true;
}

bool rig_take(struct feed_rig *rig)
{
    bool did = false;
    while (!rig->is_idle && (rig->chunk != NULL || rig_next_chunk(rig))) {
        struct chunk *chunk = rig->chunk;
        /* The seal first: what was filled before it is seen behind it. */
        bool is_sealed = atomic_load_acquire(&chunk->is_sealed);
        uint32_t filled = atomic_load_acquire(&chunk->filled);
        assert_true(filled >= rig->position);
        assert_true(filled <= rig->feed.pool.chunk_bytes);
        if (filled > rig->position) {
            rig_append(rig, chunk->bytes + rig->position, filled - rig->position);
            rig->position = filled;
            did = true;
        }
        if (!is_sealed) {
            break;
        }
        rig->chunk = NULL;
        chunk_release(chunk);
        did = true;
    }
    return did;
}

typedef bool rig_condition(struct feed_rig *rig, uint64_t value);

static void
rig_until(struct feed_rig *rig, rig_condition *condition, uint64_t value, const char *what)
{
    uint64_t deadline = clock_monotonic_ms() + RIG_TIMEOUT_MS;
    rig_take(rig);
    while (!condition(rig, value)) {
        if (clock_monotonic_ms() > deadline) {
            fail_msg("waiting for %s %llu: have %zu bytes, %u events, state %s; %s",
                     what,
                     (unsigned long long)value,
                     rig->size,
                     rig->event_count,
                     feed_state_name(atomic_load_acquire(&rig->feed.state)),
                     rig->feed.err.msg);
        }
        waker_prepare(&rig->decoder);
        if (rig_take(rig)) {
            waker_done(&rig->decoder);
        } else {
            waker_wait(&rig->decoder, 5); /* a state change alone wakes nobody */
        }
    }
    rig_take(rig); /* what came before the condition was met */
}

static bool has_size(struct feed_rig *rig, uint64_t size)
{
    return rig->size >= size;
}

static bool has_events(struct feed_rig *rig, uint64_t count)
{
    return rig->event_count >= count;
}

static bool has_state(struct feed_rig *rig, uint64_t state)
{
    return (uint64_t)atomic_load_acquire(&rig->feed.state) == state;
}

void rig_until_size(struct feed_rig *rig, size_t size)
{
    rig_until(rig, has_size, size, "bytes");
}

void rig_until_events(struct feed_rig *rig, uint32_t count)
{
    rig_until(rig, has_events, count, "events");
}

void rig_until_state(struct feed_rig *rig, enum feed_state state)
{
    rig_until(rig, has_state, state, "state");
}

void rig_confirm_payload(struct feed_rig *rig, uint32_t number, int64_t end)
{
    atomic_store_relaxed(&rig->feed.payload_end, end);
    atomic_store_release(&rig->feed.payload_session, number);
    reader_wake(&rig->reader);
}

void rig_apply(struct feed_rig *rig, uint64_t offset)
{
    atomic_store_release(&rig->feed.offset_applied, offset);
    atomic_store_release(&rig->feed.ack_wanted, true);
    reader_wake(&rig->reader);
}
