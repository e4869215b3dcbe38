/*
 * A stream's content: entries, counters, groups, consumers and pending entries. When a consumer was
 * last seen, and how long an entry has been idle, are of a server's own life and left out.
 */
#include <stdio.h>
#include <string.h>

#include <xxhash.h>

#include "core/engine/verify_private.h"

#define PIECE_ENTRIES "2000"
#define PIECE_ENTRIES_COUNT 2000u
#define ID_SIZE 48

/* What a hashed thing is, so that a name never stands for another kind of thing. */
enum stream_part {
    PART_ENTRY = 1,
    PART_FIELD,
    PART_GROUP,
    PART_CONSUMER,
    PART_PENDING,
};

struct reading {
    struct verify_link *link;
    const char *key;
    size_t key_size;
    const struct content_options *options;
    struct content *content;
    struct syn_err *err;
};

static uint64_t chain(uint64_t seed, const redisReply *reply)
{
    if (reply->type == REDIS_REPLY_INTEGER) {
        return XXH3_64bits_withSeed(&reply->integer, sizeof(reply->integer), seed);
    }
    return XXH3_64bits_withSeed(reply->len > 0 ? reply->str : "", reply->len, seed);
}

static redisReply *call(struct reading *reading, int argc, const char **argv, const size_t *sizes)
{
    redisReply *reply = control_call(&reading->link->control, argc, argv, sizes, reading->err);
    if (reply != NULL && reply->type != REDIS_REPLY_ARRAY) {
        /* An error: deleted, or of another type by now. It has no elements. */
        reading->content->is_unstable = true;
    }
    return reply;
}

/* The id just behind: 6.0 has no exclusive ranges. */
static bool id_after(const char *id, char next[ID_SIZE])
{
    size_t ms_size = strcspn(id, "-");
    uint64_t ms, number;
    if (id[ms_size] != '-' || !num_read_u64(id, ms_size, &ms) ||
        !num_read_u64(id + ms_size + 1, strlen(id + ms_size + 1), &number)) {
        return false;
    }
    if (number == UINT64_MAX) {
        ms++;
    }
    snprintf(next, ID_SIZE, "%llu-%llu", (unsigned long long)ms, (unsigned long long)(number + 1));
    return true;
}

/* The field of a flat map; NULL when absent. */
static const redisReply *map_get(const redisReply *map, const char *name)
{
    for (size_t i = 0; i + 1 < map->elements; i += 2) {
        if (map->element[i]->str != NULL && strcmp(map->element[i]->str, name) == 0) {
            return map->element[i + 1];
        }
    }
    return NULL;
}

static void map_add(struct reading *reading, const redisReply *map, const char *name, uint64_t seed)
{
    const redisReply *value = map_get(map, name);
    if (value != NULL) {
        uint64_t hash = chain(seed ^ XXH3_64bits(name, strlen(name)), value);
        content_add(reading->content, &hash, sizeof(hash), seed);
    }
}

static bool is_entry(const redisReply *entry)
{
    return entry->type == REDIS_REPLY_ARRAY && entry->elements == 2 &&
           entry->element[0]->str != NULL && entry->element[1]->type == REDIS_REPLY_ARRAY;
}

static bool entries_read(struct reading *reading)
{
    char from[ID_SIZE] = "0-0";
    for (;;) {
        const char *argv[] = {"XRANGE", reading->key, from, "+", "COUNT", PIECE_ENTRIES};
        const size_t sizes[] = {
            6, reading->key_size, strlen(from), 1, 5, sizeof(PIECE_ENTRIES) - 1};
        redisReply *reply = call(reading, 6, argv, sizes);
        if (reply == NULL) {
            return false;
        }
        bool is_last = reading->content->is_unstable || reply->elements < PIECE_ENTRIES_COUNT;
        for (size_t i = 0; i < reply->elements && !reading->content->is_unstable; i++) {
            const redisReply *entry = reply->element[i];
            if (!is_entry(entry)) {
                reading->content->is_unstable = true;
                break;
            }
            uint64_t hash = chain(PART_ENTRY, entry->element[0]);
            for (size_t j = 0; j < entry->element[1]->elements; j++) {
                hash = chain(hash, entry->element[1]->element[j]);
            }
            content_add(reading->content, &hash, sizeof(hash), PART_ENTRY);
            reading->content->count++;
        }
        if (!is_last && !id_after(reply->element[reply->elements - 1]->element[0]->str, from)) {
            reading->content->is_unstable = true;
        }
        freeReplyObject(reply);
        if (is_last || reading->content->is_unstable) {
            return true;
        }
    }
}

static bool counters_read(struct reading *reading)
{
    const char *argv[] = {"XINFO", "STREAM", reading->key};
    const size_t sizes[] = {5, 6, reading->key_size};
    redisReply *reply = call(reading, 3, argv, sizes);
    if (reply == NULL) {
        return false;
    }
    map_add(reading, reply, "last-generated-id", PART_ENTRY);
    if (reading->options->with_stream_counters) {
        map_add(reading, reply, "max-deleted-entry-id", PART_ENTRY);
        map_add(reading, reply, "entries-added", PART_ENTRY);
    }
    freeReplyObject(reply);
    return true;
}

static bool consumers_read(struct reading *reading, const redisReply *group, uint64_t seed)
{
    const char *argv[] = {"XINFO", "CONSUMERS", reading->key, group->str};
    const size_t sizes[] = {5, 9, reading->key_size, group->len};
    redisReply *reply = call(reading, 4, argv, sizes);
    if (reply == NULL) {
        return false;
    }
    for (size_t i = 0; i < reply->elements; i++) {
        const redisReply *name = map_get(reply->element[i], "name");
        const redisReply *pending = map_get(reply->element[i], "pending");
        /* Before 7.0 a consumer that never got an entry is not replicated. */
        bool counts =
            reading->options->with_stream_counters || (pending != NULL && pending->integer > 0);
        if (name != NULL && counts) {
            uint64_t hash = chain(seed, name);
            content_add(reading->content, &hash, sizeof(hash), PART_CONSUMER);
        }
    }
    freeReplyObject(reply);
    return true;
}

/* Entries of XPENDING: [id, consumer, idle, deliveries]. */
static bool pending_read(struct reading *reading, const redisReply *group, uint64_t seed)
{
    char from[ID_SIZE] = "-";
    for (;;) {
        const char *argv[] = {"XPENDING", reading->key, group->str, from, "+", PIECE_ENTRIES};
        const size_t sizes[] = {
            8, reading->key_size, group->len, strlen(from), 1, sizeof(PIECE_ENTRIES) - 1};
        redisReply *reply = call(reading, 6, argv, sizes);
        if (reply == NULL) {
            return false;
        }
        bool is_last = reading->content->is_unstable || reply->elements < PIECE_ENTRIES_COUNT;
        const char *last_id = NULL;
        for (size_t i = 0; i < reply->elements && !reading->content->is_unstable; i++) {
            const redisReply *entry = reply->element[i];
            if (entry->type != REDIS_REPLY_ARRAY || entry->elements != 4 ||
                entry->element[0]->str == NULL) {
                reading->content->is_unstable = true;
                break;
            }
            last_id = entry->element[0]->str;
            uint64_t hash = chain(seed, entry->element[0]);
            hash = chain(hash, entry->element[1]);
            hash = chain(hash, entry->element[3]);
            content_add(reading->content, &hash, sizeof(hash), PART_PENDING);
        }
        if (!is_last && (last_id == NULL || !id_after(last_id, from))) {
            reading->content->is_unstable = true;
        }
        freeReplyObject(reply);
        if (is_last || reading->content->is_unstable) {
            return true;
        }
    }
}

static bool groups_read(struct reading *reading)
{
    const char *argv[] = {"XINFO", "GROUPS", reading->key};
    const size_t sizes[] = {5, 6, reading->key_size};
    redisReply *reply = call(reading, 3, argv, sizes);
    if (reply == NULL) {
        return false;
    }
    bool ok = true;
    for (size_t i = 0; i < reply->elements && ok && !reading->content->is_unstable; i++) {
        const redisReply *group = reply->element[i];
        const redisReply *name = map_get(group, "name");
        if (name == NULL || name->str == NULL) {
            reading->content->is_unstable = true;
            break;
        }
        uint64_t seed = chain(PART_GROUP, name);
        content_add(reading->content, &seed, sizeof(seed), PART_GROUP);
        map_add(reading, group, "last-delivered-id", seed);
        map_add(reading, group, "pending", seed);
        if (reading->options->with_stream_counters) {
            map_add(reading, group, "entries-read", seed);
        }
        ok = consumers_read(reading, name, seed) && pending_read(reading, name, seed);
    }
    freeReplyObject(reply);
    return ok;
}

bool content_read_stream(struct verify_link *link,
                         const char *key,
                         size_t key_size,
                         const struct content_options *options,
                         struct content *content,
                         struct syn_err *err)
{
    struct reading reading = {link, key, key_size, options, content, err};
    return counters_read(&reading) &&
           (content->is_unstable || (entries_read(&reading) && groups_read(&reading)));
}
