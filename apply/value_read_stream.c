/*
 * A stream read by commands: entries, ids and counters, groups with what they have pending,
 * consumers with what is pending at each. Servers tell how long ago an entry was delivered, so
 * their clock is read with it.
 */
#include "apply/value_read.h"

#include <stdio.h>
#include <string.h>

#define PIECE_ENTRIES_MAX 2000u
#define ID_TEXT_SIZE 48

struct id_text {
    char text[ID_TEXT_SIZE];
};

static bool id_read(const redisReply *reply, struct rdb_stream_id *id)
{
    if (reply == NULL || reply->str == NULL) {
        return false;
    }
    const char *dash = memchr(reply->str, '-', reply->len);
    if (dash == NULL) {
        return false;
    }
    size_t ms_size = (size_t)(dash - reply->str);
    return num_read_u64(reply->str, ms_size, &id->ms) &&
           num_read_u64(dash + 1, reply->len - ms_size - 1, &id->seq);
}

static void id_write(struct rdb_stream_id id, struct id_text *out)
{
    snprintf(out->text,
             sizeof(out->text),
             "%llu-%llu",
             (unsigned long long)id.ms,
             (unsigned long long)id.seq);
}

static bool id_is_behind(struct rdb_stream_id id, struct rdb_stream_id other)
{
    return id.ms != other.ms ? id.ms > other.ms : id.seq > other.seq;
}

/* The id just behind: 6.0 has no exclusive ranges. False: there is none. */
static bool id_after(struct rdb_stream_id id, struct id_text *next)
{
    id.seq++;
    if (id.seq == 0 && ++id.ms == 0) {
        return false;
    }
    id_write(id, next);
    return true;
}

/* A command that answers with an array; an error makes the reading unstable, and has no elements.
 */
static redisReply *
call(struct value_reading *reading, int argc, const char **argv, const size_t *sizes)
{
    redisReply *reply = control_call(reading->control, argc, argv, sizes, reading->err);
    if (reply != NULL && reply->type != REDIS_REPLY_ARRAY) {
        reading->is_unstable = true;
    }
    return reply;
}

static struct rdb_element element_of(const redisReply *reply)
{
    return (struct rdb_element){.bytes = (const uint8_t *)reply->str, .size = reply->len};
}

/* The field of a flat map; NULL when absent. */
static const redisReply *map_get(const redisReply *map, const char *name)
{
    for (size_t i = 0; map->type == REDIS_REPLY_ARRAY && i + 1 < map->elements; i += 2) {
        if (map->element[i]->str != NULL && strcmp(map->element[i]->str, name) == 0) {
            return map->element[i + 1];
        }
    }
    return NULL;
}

/* A number in such a map: -1 when it is nil or absent. */
static int64_t map_number(const redisReply *map, const char *name)
{
    const redisReply *value = map_get(map, name);
    return value != NULL && value->type == REDIS_REPLY_INTEGER ? value->integer : -1;
}

/* ---- entries ---- */

struct reply_fields {
    struct rdb_stream_fields base;
    const redisReply *list; /* field, value, field, value … */
    size_t next;
};

static bool reply_field_next(struct rdb_stream_fields *base,
                             struct rdb_element *field,
                             struct rdb_element *value)
{
    struct reply_fields *fields = (struct reply_fields *)base;
    if (fields->next + 1 >= fields->list->elements) {
        return false;
    }
    *field = element_of(fields->list->element[fields->next]);
    *value = element_of(fields->list->element[fields->next + 1]);
    fields->next += 2;
    return true;
}

static bool
entry_show(struct value_reading *reading, const redisReply *entry, struct rdb_stream_id *id)
{
    if (entry->type != REDIS_REPLY_ARRAY || entry->elements != 2 ||
        !id_read(entry->element[0], id) || entry->element[1]->type != REDIS_REPLY_ARRAY) {
        return false;
    }
    const redisReply *list = entry->element[1];
    for (size_t i = 0; i < list->elements; i++) {
        if (list->element[i]->str == NULL) {
            return false;
        }
    }
    struct reply_fields fields = {.base.next = reply_field_next, .list = list};
    const struct rdb_stream_entry shown = {
        .id = *id, .field_count = list->elements / 2, .fields = &fields.base};
    value_shown(reading, reading->visitor->stream_entry(reading->arg, &shown));
    return list->elements % 2 == 0;
}

static uint64_t entry_bytes(const redisReply *entry)
{
    uint64_t bytes = 3 * (uint64_t)VALUE_ELEMENT_EXTRA;
    const redisReply *list = entry->elements == 2 ? entry->element[1] : entry;
    for (size_t i = 0; i < list->elements; i++) {
        bytes += VALUE_ELEMENT_EXTRA + list->element[i]->len;
    }
    return bytes;
}

static uint64_t entries_limit(uint64_t step)
{
    return step > PIECE_ENTRIES_MAX ? PIECE_ENTRIES_MAX : step;
}

/* Up to the last id that the stream had at first: with later ones it would contradict itself. */
static bool entries_read(struct value_reading *reading, const struct rdb_stream_meta *meta)
{
    uint64_t length = meta->length;
    struct id_text end;
    id_write(meta->last_id, &end);
    uint64_t step = entries_limit(value_step_first(reading, length));
    struct id_text from = {"0-0"};
    uint64_t seen = 0;
    for (bool is_last = false; !is_last && !reading->is_unstable;) {
        char count[NUM_DIGITS_MAX + 1];
        count[num_write_u64(count, step)] = '\0';
        const char *extras[] = {from.text, end.text, "COUNT", count, NULL};
        redisReply *reply = value_ask(reading, "XRANGE", extras);
        if (reply == NULL) {
            return false;
        }
        struct rdb_stream_id id = {0};
        size_t elements = reply->type == REDIS_REPLY_ARRAY ? reply->elements : 0;
        uint64_t bytes = 0;
        reading->is_unstable |= reply->type != REDIS_REPLY_ARRAY;
        for (size_t i = 0; i < elements && !reading->is_unstable; i++) {
            bytes += entry_bytes(reply->element[i]);
            reading->is_unstable |= !entry_show(reading, reply->element[i], &id);
        }
        seen += elements;
        is_last = elements < step || !id_after(id, &from);
        step = entries_limit(value_step_next(reading, step, elements, bytes));
        freeReplyObject(reply);
    }
    reading->is_unstable |= seen != length;
    return true;
}

/* What is known of the stream itself. */
static bool meta_read(struct value_reading *reading, struct rdb_stream_meta *meta)
{
    const char *argv[] = {"XINFO", "STREAM", reading->key};
    const size_t sizes[] = {5, 6, reading->key_size};
    *meta = (struct rdb_stream_meta){.has_counters = reading->with_counters};
    redisReply *reply = call(reading, 3, argv, sizes);
    if (reply == NULL) {
        return false;
    }
    if (!reading->is_unstable) {
        meta->length = (uint64_t)map_number(reply, "length");
        meta->entries_seen = meta->length;
        meta->group_count = (uint64_t)map_number(reply, "groups");
        reading->is_unstable = !id_read(map_get(reply, "last-generated-id"), &meta->last_id);
        if (meta->has_counters) {
            meta->entries_added = (uint64_t)map_number(reply, "entries-added");
            reading->is_unstable |=
                !id_read(map_get(reply, "max-deleted-entry-id"), &meta->max_deleted_id);
        }
    }
    freeReplyObject(reply);
    return true;
}

/* ---- groups ---- */

/* The server's clock in milliseconds, -1 when this is not the answer to TIME. */
static int64_t clock_of(const redisReply *reply)
{
    uint64_t seconds;
    uint64_t micros;
    if (reply->type != REDIS_REPLY_ARRAY || reply->elements != 2 ||
        reply->element[0]->str == NULL || reply->element[1]->str == NULL ||
        !num_read_u64(reply->element[0]->str, reply->element[0]->len, &seconds) ||
        !num_read_u64(reply->element[1]->str, reply->element[1]->len, &micros) ||
        seconds > INT64_MAX / 2000) {
        return -1;
    }
    return (int64_t)(seconds * 1000 + micros / 1000);
}

/* XPENDING, as call() does it; with the clock of just before, unless now_ms is NULL. */
static redisReply *pending_ask(struct value_reading *reading,
                               int argc,
                               const char **argv,
                               const size_t *sizes,
                               int64_t *now_ms)
{
    if (now_ms == NULL) {
        return call(reading, argc, argv, sizes);
    }
    const char *time[] = {"TIME"};
    const size_t time_sizes[] = {4};
    if (!control_append(reading->control, 1, time, time_sizes, reading->err) ||
        !control_append(reading->control, argc, argv, sizes, reading->err)) {
        return NULL;
    }
    redisReply *reply = control_fetch(reading->control, reading->err);
    if (reply == NULL) {
        return NULL;
    }
    *now_ms = clock_of(reply);
    freeReplyObject(reply);
    reply = control_fetch(reading->control, reading->err);
    reading->is_unstable |= reply != NULL && (reply->type != REDIS_REPLY_ARRAY || *now_ms < 0);
    return reply;
}

/* What a group, or one consumer of it, has pending: [id, consumer, idle, deliveries] each. */
static bool pending_read(struct value_reading *reading,
                         const redisReply *group,
                         const redisReply *consumer,
                         uint64_t expected)
{
    char count[NUM_DIGITS_MAX + 1];
    count[num_write_u64(count, PIECE_ENTRIES_MAX)] = '\0';
    bool with_clock = reading->with_delivery && consumer == NULL;
    struct id_text from = {"-"};
    uint64_t seen = 0;
    for (bool is_last = false; !is_last && !reading->is_unstable;) {
        const char *argv[] = {"XPENDING",
                              reading->key,
                              group->str,
                              from.text,
                              "+",
                              count,
                              consumer != NULL ? consumer->str : NULL};
        const size_t sizes[] = {8,
                                reading->key_size,
                                group->len,
                                strlen(from.text),
                                1,
                                strlen(count),
                                consumer != NULL ? consumer->len : 0};
        int64_t now_ms = 0;
        redisReply *reply = pending_ask(
            reading, consumer != NULL ? 7 : 6, argv, sizes, with_clock ? &now_ms : NULL);
        if (reply == NULL) {
            return false;
        }
        struct rdb_stream_id id = {0};
        size_t elements = reading->is_unstable ? 0 : reply->elements;
        for (size_t i = 0; i < elements && !reading->is_unstable; i++) {
            const redisReply *entry = reply->element[i];
            if (entry->type != REDIS_REPLY_ARRAY || entry->elements != 4 ||
                !id_read(entry->element[0], &id) || id_is_behind(id, reading->stream_last)) {
                reading->is_unstable = true;
            } else if (consumer != NULL) {
                value_shown(reading, reading->visitor->stream_consumer_pending(reading->arg, &id));
            } else {
                const struct rdb_stream_pending pending = {
                    .id = id,
                    .delivery_ms = with_clock ? now_ms - entry->element[2]->integer : 0,
                    .delivery_count = (uint64_t)entry->element[3]->integer};
                value_shown(reading, reading->visitor->stream_pending(reading->arg, &pending));
            }
        }
        seen += elements;
        is_last = elements < PIECE_ENTRIES_MAX || !id_after(id, &from);
        freeReplyObject(reply);
    }
    reading->is_unstable |= seen != expected;
    return true;
}

static bool consumers_read(struct value_reading *reading, const redisReply *group)
{
    const char *argv[] = {"XINFO", "CONSUMERS", reading->key, group->str};
    const size_t sizes[] = {5, 9, reading->key_size, group->len};
    redisReply *reply = call(reading, 4, argv, sizes);
    if (reply == NULL) {
        return false;
    }
    bool ok = true;
    size_t elements = reading->is_unstable ? 0 : reply->elements;
    for (size_t i = 0; i < elements && ok && !reading->is_unstable; i++) {
        const redisReply *name = map_get(reply->element[i], "name");
        int64_t pending = map_number(reply->element[i], "pending");
        if (name == NULL || name->str == NULL || pending < 0) {
            reading->is_unstable = true;
            break;
        }
        const struct rdb_stream_consumer consumer = {.name = element_of(name),
                                                     .pending_count = (uint64_t)pending};
        value_shown(reading, reading->visitor->stream_consumer(reading->arg, &consumer));
        ok = pending == 0 || pending_read(reading, group, name, (uint64_t)pending);
    }
    freeReplyObject(reply);
    return ok;
}

static bool group_read(struct value_reading *reading, const redisReply *map)
{
    const redisReply *name = map_get(map, "name");
    int64_t pending = map_number(map, "pending");
    struct rdb_stream_group group = {
        .entries_read = reading->with_counters ? map_number(map, "entries-read") : -1,
        .pending_count = (uint64_t)pending};
    if (name == NULL || name->str == NULL || pending < 0 ||
        !id_read(map_get(map, "last-delivered-id"), &group.last_id)) {
        reading->is_unstable = true;
        return true;
    }
    group.name = element_of(name);
    value_shown(reading, reading->visitor->stream_group(reading->arg, &group));
    return pending_read(reading, name, NULL, group.pending_count) && consumers_read(reading, name);
}

static bool groups_read(struct value_reading *reading)
{
    const char *argv[] = {"XINFO", "GROUPS", reading->key};
    const size_t sizes[] = {5, 6, reading->key_size};
    redisReply *reply = call(reading, 3, argv, sizes);
    if (reply == NULL) {
        return false;
    }
    bool ok = true;
    size_t elements = reading->is_unstable ? 0 : reply->elements;
    for (size_t i = 0; i < elements && ok && !reading->is_unstable; i++) {
        ok = group_read(reading, reply->element[i]);
    }
    freeReplyObject(reply);
    return ok;
}

bool value_read_stream(struct value_reading *reading)
{
    struct rdb_stream_meta meta;
    if (!meta_read(reading, &meta)) {
        return false;
    }
    if (reading->is_unstable) {
        return true;
    }
    if (!entries_read(reading, &meta)) {
        return false;
    }
    if (reading->is_unstable) {
        return true;
    }
    reading->stream_last = meta.last_id;
    value_shown(reading, reading->visitor->stream_meta(reading->arg, &meta));
    return groups_read(reading);
}
