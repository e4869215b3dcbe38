/*
 * Heartbeats: keys that carry a time through a source, to measure how long a write takes from there
 * to the destination. The engine writes them; here they are recognised in snapshots and streams,
 * kept from the destination, and timed.
 *
 * Keys with the prefix are never copied, whoever wrote them: another task's heartbeat, or one of
 * a task whose destination this source is, says nothing there. Of those, a stream times only its
 * own.
 *
 * A heartbeat's key is PREFIX:TASK:{N}, where N puts it into a slot of its shard; its value is the
 * time in ms since 1970, for people, ':' and the monotonic time of this host in µs.
 *
 * Threads:   a stream's part belongs to its decoder, but for what is named.
 * Limits:    two heartbeats per stream on their way; when more come, those in between are not
 * timed.
 */
#ifndef APPLY_HEARTBEAT_H
#define APPLY_HEARTBEAT_H

#include <string.h>

#include "rdb/rdb.h"

#define HEARTBEAT_PREFIX_MAX 64
#define HEARTBEAT_KEY_MAX (HEARTBEAT_PREFIX_MAX + 48) /* with the terminator */
#define HEARTBEAT_VALUE_MAX 48

/* What a task recognises; constant. */
struct heartbeat_names {
    const char *prefix;
    size_t prefix_size; /* 0: nothing is one */
};

static inline bool
heartbeat_is_key(const struct heartbeat_names *names, const void *key, size_t size)
{
    return UNLIKELY(names->prefix_size > 0 && size >= names->prefix_size &&
                    memcmp(key, names->prefix, names->prefix_size) == 0);
}

/* The n-th key to try of a task. */
void heartbeat_key(const struct heartbeat_names *names,
                   uint64_t task,
                   uint32_t n,
                   char key[static HEARTBEAT_KEY_MAX]);
/* The value for now. */
void heartbeat_value(int64_t unix_ms, uint64_t now_us, char value[static HEARTBEAT_VALUE_MAX]);
/* The monotonic time in a value; 0: it is none of ours. */
uint64_t heartbeat_time_us(const void *value, size_t size);

static inline uint64_t heartbeat_now_us(void)
{
    return clock_monotonic_ns() / 1000;
}

/* One on its way: written then, and at the destination when everything up to `offset` is. */
struct heartbeat {
    uint64_t written_us; /* 0: none */
    uint64_t offset;
};

struct heartbeat_watch {
    char key[HEARTBEAT_KEY_MAX]; /* the stream's own; "": none. Constant once the stream runs */
    struct heartbeat first;      /* waited for            */
    struct heartbeat next;       /* the latest behind it  */
    /* W: decoder, latency first, release. R: any, acquire, the time first. */
    _Atomic uint64_t written_us; /* when the last one that arrived was written; 0: none yet */
    _Atomic uint64_t latency_us; /* how long that took                                      */
};

/* One passed in the stream. */
void heartbeat_seen(struct heartbeat_watch *watch, uint64_t written_us, uint64_t offset);
/* Everything up to `offset` is at the destination. */
void heartbeat_applied(struct heartbeat_watch *watch, uint64_t offset, uint64_t now_us);
/* The stream began anew: what is on its way never arrives. */
void heartbeat_forget(struct heartbeat_watch *watch);

#endif
