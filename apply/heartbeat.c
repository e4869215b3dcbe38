#include "apply/heartbeat.h"

#include <stdio.h>

void heartbeat_key(const struct heartbeat_names *names,
                   uint64_t task,
                   uint32_t n,
                   char key[static HEARTBEAT_KEY_MAX])
{
    ASSERT(names->prefix_size <= HEARTBEAT_PREFIX_MAX);
    snprintf(key,
             HEARTBEAT_KEY_MAX,
             "%.*s:%016llx:{%u}",
             (int)names->prefix_size,
             names->prefix,
             (unsigned long long)task,
             n);
}

void heartbeat_value(int64_t unix_ms, uint64_t now_us, char value[static HEARTBEAT_VALUE_MAX])
{
    snprintf(
        value, HEARTBEAT_VALUE_MAX, "%lld:%llu", (long long)unix_ms, (unsigned long long)now_us);
}

uint64_t heartbeat_time_us(const void *value, size_t size)
{
    const char *colon = memchr(value, ':', size);
    uint64_t now_us;
    if (colon == NULL ||
        !num_read_u64(colon + 1, size - (size_t)(colon + 1 - (const char *)value), &now_us)) {
        return 0;
    }
    return now_us;
}

void heartbeat_seen(struct heartbeat_watch *watch, uint64_t written_us, uint64_t offset)
{
    struct heartbeat *heartbeat = watch->first.written_us == 0 ? &watch->first : &watch->next;
    *heartbeat = (struct heartbeat){.written_us = written_us, .offset = offset};
}

void heartbeat_applied(struct heartbeat_watch *watch, uint64_t offset, uint64_t now_us)
{
    while (watch->first.written_us != 0 && offset >= watch->first.offset) {
        uint64_t written_us = watch->first.written_us;
        atomic_store_release(&watch->latency_us, now_us > written_us ? now_us - written_us : 0);
        atomic_store_release(&watch->written_us, written_us);
        watch->first = watch->next;
        watch->next = (struct heartbeat){0};
    }
}

void heartbeat_forget(struct heartbeat_watch *watch)
{
    watch->first = (struct heartbeat){0};
    watch->next = (struct heartbeat){0};
}
