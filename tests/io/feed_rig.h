/*
 * A feed with its reader and a stand-in for the decoder, for tests: collects what is delivered and
 * checks what every chunk must satisfy. The test's thread is the decoder.
 */
#ifndef TESTS_FEED_RIG_H
#define TESTS_FEED_RIG_H

#include "io/feed.h"

#define RIG_EVENT_MAX 64
#define RIG_TIMEOUT_MS 20000

/* A CHUNK_SNAPSHOT or CHUNK_CONTINUE that came. */
struct rig_event {
    enum chunk_kind kind;
    struct chunk_session session;
    size_t at; /* bytes delivered before it, since the start */
};

struct feed_rig {
    struct waker decoder;
    struct feed feed;
    struct feed *feeds[1];
    struct reader reader;
    struct chunk *chunk; /* taken up, not yet released */
    uint32_t position;
    bool is_idle; /* takes nothing up: the pool runs empty */
    uint8_t *bytes;
    size_t size;
    size_t room;
    struct rig_event events[RIG_EVENT_MAX];
    uint32_t event_count;
};

/* Options for a port on loopback, with small chunks and short times; the test changes them. */
struct feed_options rig_options(uint16_t port);
void rig_start(struct feed_rig *rig, enum io_backend backend, const struct feed_options *options);
/* Stops, takes up the rest, and checks that every chunk came back. */
void rig_stop(struct feed_rig *rig);

/* Takes up what is there; true when there was anything. */
bool rig_take(struct feed_rig *rig);
/* Take up until so many bytes, events, or this state; fail the test after RIG_TIMEOUT_MS. */
void rig_until_size(struct feed_rig *rig, size_t size);
void rig_until_events(struct feed_rig *rig, uint32_t count);
void rig_until_state(struct feed_rig *rig, enum feed_state state);
/* The decoder's words. */
void rig_confirm_payload(struct feed_rig *rig, uint32_t number, int64_t end);
void rig_apply(struct feed_rig *rig, uint64_t offset);

#endif
