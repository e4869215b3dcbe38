/*
 * Values at the destination that are too large to be dumped: read by ordinary commands in pieces,
 * which are shown to the same visitor that the decoder of the file shows its elements to.
 *
 * What only DUMP tells, when pending entries were delivered to the millisecond, is not compared.
 */
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/engine/verify_file.h"

#define PIECE_SHARE 64 /* of --memory: a reply, as far as the average element tells */
#define PIECE_ELEMENTS_MIN 8u
#define PIECE_ELEMENTS_MAX 5000u
#define PIECE_ENTRIES 500u
#define ID_SIZE 48

/* One value being read. */
struct reading {
    struct verify_link *link;
    struct verify_key key;
    struct value_summer *summer;
    const struct value_view *view;
    uint64_t piece_bytes;
    uint64_t value_bytes;
    bool is_stable;
    struct syn_err *err;
};

static const struct rdb_visitor *show(void)
{
    return value_summer_visitor();
}

static struct rdb_element element_of(const redisReply *reply)
{
    return (struct rdb_element){.bytes = (const uint8_t *)(reply->len > 0 ? reply->str : ""),
                                .size = reply->len};
}

/* "NAME key word…"; NULL: the connection is lost. An answer that is not of `type` means that the
 * value is another one by now. */
static redisReply *
ask(struct reading *reading, const char *name, const char *const *words, int type)
{
    if (!verify_append(
            reading->link, name, reading->key.bytes, reading->key.size, words, reading->err)) {
        return NULL;
    }
    redisReply *reply = control_fetch(&reading->link->control, reading->err);
    if (reply != NULL && reply->type != type) {
        reading->is_stable = false;
    }
    return reply;
}

static bool length_read(struct reading *reading, const char *command, uint64_t *length)
{
    redisReply *reply = ask(reading, command, NULL, REDIS_REPLY_INTEGER);
    if (reply == NULL) {
        return false;
    }
    *length = reading->is_stable ? (uint64_t)reply->integer : 0;
    freeReplyObject(reply);
    return true;
}

static uint64_t piece_elements(const struct reading *reading, uint64_t length)
{
    uint64_t each = length > 0 ? reading->value_bytes / length : 0;
    uint64_t count = each > 0 ? reading->piece_bytes / each : PIECE_ELEMENTS_MAX;
    if (count > PIECE_ELEMENTS_MAX) {
        return PIECE_ELEMENTS_MAX;
    }
    return count < PIECE_ELEMENTS_MIN ? PIECE_ELEMENTS_MIN : count;
}

static void number_text(char text[NUM_DIGITS_MAX + 1], uint64_t number)
{
    text[num_write_u64(text, number)] = '\0';
}

static void begin(struct reading *reading, enum rdb_kind kind)
{
    struct rdb_value_begin value = {.kind = kind, .count = RDB_UNKNOWN, .bytes = RDB_UNKNOWN};
    show()->begin(reading->summer, &value);
}

/* ---- strings and lists, by index ---- */

static bool string_read(struct reading *reading)
{
    uint64_t total;
    if (!length_read(reading, "STRLEN", &total)) {
        return false;
    }
    for (uint64_t at = 0; at < total && reading->is_stable;) {
        char from[NUM_DIGITS_MAX + 1], to[NUM_DIGITS_MAX + 1];
        number_text(from, at);
        number_text(to, at + reading->piece_bytes - 1);
        const char *words[] = {from, to, NULL};
        redisReply *reply = ask(reading, "GETRANGE", words, REDIS_REPLY_STRING);
        if (reply == NULL) {
            return false;
        }
        reading->is_stable = reading->is_stable && reply->len > 0 && reply->len <= total - at;
        if (reading->is_stable) {
            struct rdb_element piece = element_of(reply);
            show()->string(reading->summer,
                           (struct slice){.bytes = piece.bytes, .size = piece.size},
                           at,
                           total);
            at += reply->len;
        }
        freeReplyObject(reply);
    }
    return true;
}

static bool list_read(struct reading *reading)
{
    uint64_t length;
    if (!length_read(reading, "LLEN", &length)) {
        return false;
    }
    uint64_t step = piece_elements(reading, length);
    for (uint64_t at = 0; at < length && reading->is_stable; at += step) {
        char from[NUM_DIGITS_MAX + 1], to[NUM_DIGITS_MAX + 1];
        number_text(from, at);
        number_text(to, at + step - 1);
        const char *words[] = {from, to, NULL};
        redisReply *reply = ask(reading, "LRANGE", words, REDIS_REPLY_ARRAY);
        if (reply == NULL) {
            return false;
        }
        for (size_t i = 0; i < reply->elements && reading->is_stable; i++) {
            struct rdb_element element = element_of(reply->element[i]);
            show()->list(reading->summer, &element);
        }
        freeReplyObject(reply);
    }
    return true;
}

/* ---- sorted sets ---- */

static locale_t plain_locale;

/* The host of this library may use a locale with another decimal point. */
__attribute__((constructor)) static void plain_locale_make(void)
{
    plain_locale = newlocale(LC_ALL_MASK, "C", (locale_t)0);
}

static double score_of(const redisReply *reply)
{
    return plain_locale != (locale_t)0 ? strtod_l(reply->str, NULL, plain_locale)
                                       : strtod(reply->str, NULL);
}

static bool zset_read(struct reading *reading)
{
    uint64_t length;
    if (!length_read(reading, "ZCARD", &length)) {
        return false;
    }
    uint64_t step = piece_elements(reading, length);
    for (uint64_t at = 0; at < length && reading->is_stable; at += step) {
        char from[NUM_DIGITS_MAX + 1], to[NUM_DIGITS_MAX + 1];
        number_text(from, at);
        number_text(to, at + step - 1);
        const char *words[] = {from, to, "WITHSCORES", NULL};
        redisReply *reply = ask(reading, "ZRANGE", words, REDIS_REPLY_ARRAY);
        if (reply == NULL) {
            return false;
        }
        for (size_t i = 0; i + 1 < reply->elements && reading->is_stable; i += 2) {
            struct rdb_element member = element_of(reply->element[i]);
            show()->zset(reading->summer, &member, score_of(reply->element[i + 1]));
        }
        freeReplyObject(reply);
    }
    return true;
}

/* ---- sets and hashes, by cursor ---- */

static void members_show(struct reading *reading, const redisReply *members)
{
    for (size_t i = 0; i < members->elements; i++) {
        struct rdb_element member = element_of(members->element[i]);
        show()->set(reading->summer, &member);
    }
}

/* HPEXPIRETIME of the fields in `pairs` (field, value, …). */
static redisReply *expiries_ask(struct reading *reading, const redisReply *pairs)
{
    size_t fields = pairs->elements / 2;
    const char **argv = mem_alloc(MEM_ENGINE, (fields + 4) * sizeof(*argv));
    size_t *sizes = mem_alloc(MEM_ENGINE, (fields + 4) * sizeof(*sizes));
    redisReply *reply = NULL;
    if (argv == NULL || sizes == NULL) {
        ERR(reading->err, SYN_CODE_MEMORY, "no memory for the fields of a hash");
    } else {
        char count[NUM_DIGITS_MAX + 1];
        number_text(count, fields);
        const char *head[] = {"HPEXPIRETIME", reading->key.bytes, "FIELDS", count};
        const size_t head_sizes[] = {12, reading->key.size, 6, strlen(count)};
        memcpy(argv, head, sizeof(head));
        memcpy(sizes, head_sizes, sizeof(head_sizes));
        for (size_t i = 0; i < fields; i++) {
            argv[4 + i] = pairs->element[2 * i]->str;
            sizes[4 + i] = pairs->element[2 * i]->len;
        }
        reply = control_call(&reading->link->control, (int)fields + 4, argv, sizes, reading->err);
    }
    mem_free(MEM_ENGINE, argv);
    mem_free(MEM_ENGINE, sizes);
    return reply;
}

static bool fields_show(struct reading *reading, const redisReply *pairs)
{
    size_t fields = pairs->elements / 2;
    redisReply *expiries = NULL;
    if (reading->view->has_field_expiry && fields > 0) {
        expiries = expiries_ask(reading, pairs);
        if (expiries == NULL) {
            return false;
        }
        if (expiries->type != REDIS_REPLY_ARRAY || expiries->elements != fields) {
            reading->is_stable = false;
        }
    }
    for (size_t i = 0; i < fields && reading->is_stable; i++) {
        struct rdb_element field = element_of(pairs->element[2 * i]);
        struct rdb_element value = element_of(pairs->element[2 * i + 1]);
        int64_t at = expiries != NULL ? expiries->element[i]->integer : -1;
        if (at != -2) { /* it has expired since it was seen */
            show()->hash(reading->summer, &field, &value, at);
        }
    }
    if (expiries != NULL) {
        freeReplyObject(expiries);
    }
    return true;
}

static bool cursor_read(struct reading *reading, bool is_hash)
{
    uint64_t length;
    if (!length_read(reading, is_hash ? "HLEN" : "SCARD", &length)) {
        return false;
    }
    char count[NUM_DIGITS_MAX + 1];
    number_text(count, piece_elements(reading, length));
    char cursor[NUM_DIGITS_MAX + 1] = "0";
    do {
        const char *words[] = {cursor, "COUNT", count, NULL};
        redisReply *reply = ask(reading, is_hash ? "HSCAN" : "SSCAN", words, REDIS_REPLY_ARRAY);
        if (reply == NULL) {
            return false;
        }
        bool ok = true;
        reading->is_stable = reading->is_stable && reply->elements == 2 &&
                             reply->element[0]->str != NULL &&
                             reply->element[1]->type == REDIS_REPLY_ARRAY;
        if (reading->is_stable) {
            snprintf(cursor, sizeof(cursor), "%s", reply->element[0]->str);
            if (is_hash) {
                ok = fields_show(reading, reply->element[1]);
            } else {
                members_show(reading, reply->element[1]);
            }
        }
        freeReplyObject(reply);
        if (!ok) {
            return false;
        }
    } while (strcmp(cursor, "0") != 0 && reading->is_stable);
    /* A table that shrank meanwhile gives elements twice. Of a hash, the length may count fields
     * that have expired. */
    if (!is_hash && reading->summer->sum.count != length) {
        reading->is_stable = false;
    }
    return true;
}

/* ---- streams ---- */

static bool id_read(const char *text, struct rdb_stream_id *id)
{
    size_t ms_size = text != NULL ? strcspn(text, "-") : 0;
    return ms_size > 0 && text[ms_size] == '-' && num_read_u64(text, ms_size, &id->ms) &&
           num_read_u64(text + ms_size + 1, strlen(text + ms_size + 1), &id->seq);
}

/* The id just behind: 6.0 has no exclusive ranges. */
static void id_after(struct rdb_stream_id id, char next[ID_SIZE])
{
    id.ms += id.seq == UINT64_MAX;
    id.seq++;
    snprintf(next, ID_SIZE, "%llu-%llu", (unsigned long long)id.ms, (unsigned long long)id.seq);
}

static const redisReply *map_get(const redisReply *map, const char *name)
{
    for (size_t i = 0; i + 1 < map->elements; i += 2) {
        if (map->element[i]->str != NULL && strcmp(map->element[i]->str, name) == 0) {
            return map->element[i + 1];
        }
    }
    return NULL;
}

static void
map_id(struct reading *reading, const redisReply *map, const char *name, struct rdb_stream_id *id)
{
    const redisReply *field = map_get(map, name);
    if (field == NULL || !id_read(field->str, id)) {
        reading->is_stable = false;
    }
}

static uint64_t map_number(const redisReply *map, const char *name, uint64_t otherwise)
{
    const redisReply *field = map_get(map, name);
    return field != NULL && field->type == REDIS_REPLY_INTEGER ? (uint64_t)field->integer
                                                               : otherwise;
}

static bool entry_show(struct reading *reading, const redisReply *entry, struct rdb_stream_id *id)
{
    bool is_entry = entry->type == REDIS_REPLY_ARRAY && entry->elements == 2 &&
                    id_read(entry->element[0]->str, id) &&
                    entry->element[1]->type == REDIS_REPLY_ARRAY;
    if (!is_entry) {
        reading->is_stable = false;
        return true;
    }
    const redisReply *fields = entry->element[1];
    struct rdb_element *elements =
        mem_alloc(MEM_ENGINE, (fields->elements + 1) * sizeof(*elements));
    if (elements == NULL) {
        return ERR(reading->err, SYN_CODE_MEMORY, "no memory for an entry of a stream");
    }
    for (size_t i = 0; i < fields->elements; i++) {
        elements[i] = element_of(fields->element[i]);
    }
    value_summer_entry(reading->summer, *id, elements, fields->elements / 2);
    mem_free(MEM_ENGINE, elements);
    return true;
}

static bool entries_read(struct reading *reading, uint64_t length)
{
    char from[ID_SIZE] = "0-0";
    uint64_t step = piece_elements(reading, length);
    char count[NUM_DIGITS_MAX + 1];
    number_text(count, step);
    for (bool is_last = false; !is_last && reading->is_stable;) {
        const char *words[] = {from, "+", "COUNT", count, NULL};
        redisReply *reply = ask(reading, "XRANGE", words, REDIS_REPLY_ARRAY);
        if (reply == NULL) {
            return false;
        }
        struct rdb_stream_id id = {0};
        bool ok = true;
        for (size_t i = 0; i < reply->elements && ok && reading->is_stable; i++) {
            ok = entry_show(reading, reply->element[i], &id);
        }
        is_last = reply->elements < step || (id.ms == UINT64_MAX && id.seq == UINT64_MAX);
        id_after(id, from);
        freeReplyObject(reply);
        if (!ok) {
            return false;
        }
    }
    return true;
}

static bool meta_read(struct reading *reading, struct rdb_stream_meta *meta)
{
    /* "XINFO STREAM key": the words are around the key. */
    const char *argv[] = {"XINFO", "STREAM", reading->key.bytes};
    const size_t sizes[] = {5, 6, reading->key.size};
    *meta = (struct rdb_stream_meta){0};
    redisReply *reply = control_call(&reading->link->control, 3, argv, sizes, reading->err);
    if (reply == NULL) {
        return false;
    }
    if (reply->type == REDIS_REPLY_ARRAY) {
        meta->length = map_number(reply, "length", 0);
        map_id(reading, reply, "last-generated-id", &meta->last_id);
        if (reading->view->has_counters) {
            meta->entries_added = map_number(reply, "entries-added", 0);
            map_id(reading, reply, "max-deleted-entry-id", &meta->max_deleted_id);
        }
    } else {
        reading->is_stable = false;
    }
    freeReplyObject(reply);
    return true;
}

/* Pending entries of a group, or, with `consumer`, the ids of one of its consumers. */
static bool
pending_read(struct reading *reading, const redisReply *group, const redisReply *consumer)
{
    char from[ID_SIZE] = "-";
    char count[NUM_DIGITS_MAX + 1];
    number_text(count, PIECE_ENTRIES);
    for (bool is_last = false; !is_last && reading->is_stable;) {
        const char *argv[] = {"XPENDING",
                              reading->key.bytes,
                              group->str,
                              from,
                              "+",
                              count,
                              consumer != NULL ? consumer->str : NULL};
        const size_t sizes[] = {8,
                                reading->key.size,
                                group->len,
                                strlen(from),
                                1,
                                strlen(count),
                                consumer != NULL ? consumer->len : 0};
        redisReply *reply = control_call(
            &reading->link->control, consumer != NULL ? 7 : 6, argv, sizes, reading->err);
        if (reply == NULL) {
            return false;
        }
        reading->is_stable = reading->is_stable && reply->type == REDIS_REPLY_ARRAY;
        struct rdb_stream_id id = {0};
        for (size_t i = 0; reading->is_stable && i < reply->elements; i++) {
            const redisReply *entry = reply->element[i];
            if (entry->type != REDIS_REPLY_ARRAY || entry->elements != 4 ||
                !id_read(entry->element[0]->str, &id)) {
                reading->is_stable = false;
            } else if (consumer != NULL) {
                show()->stream_consumer_pending(reading->summer, &id);
            } else {
                struct rdb_stream_pending pending = {
                    .id = id, .delivery_count = (uint64_t)entry->element[3]->integer};
                show()->stream_pending(reading->summer, &pending);
            }
        }
        is_last = reply->elements < PIECE_ENTRIES || (id.ms == UINT64_MAX && id.seq == UINT64_MAX);
        id_after(id, from);
        freeReplyObject(reply);
    }
    return true;
}

static bool consumers_read(struct reading *reading, const redisReply *group)
{
    const char *argv[] = {"XINFO", "CONSUMERS", reading->key.bytes, group->str};
    const size_t sizes[] = {5, 9, reading->key.size, group->len};
    redisReply *reply = control_call(&reading->link->control, 4, argv, sizes, reading->err);
    if (reply == NULL) {
        return false;
    }
    bool ok = true;
    reading->is_stable = reading->is_stable && reply->type == REDIS_REPLY_ARRAY;
    for (size_t i = 0; reading->is_stable && ok && i < reply->elements; i++) {
        const redisReply *name = map_get(reply->element[i], "name");
        if (name == NULL || name->str == NULL) {
            reading->is_stable = false;
            break;
        }
        struct rdb_stream_consumer consumer = {.name = element_of(name)};
        show()->stream_consumer(reading->summer, &consumer);
        ok = pending_read(reading, group, name);
    }
    freeReplyObject(reply);
    return ok;
}

static bool group_show(struct reading *reading, const redisReply *map)
{
    struct rdb_stream_group group = {.entries_read = -1};
    const redisReply *name = map_get(map, "name");
    if (name == NULL || name->str == NULL) {
        reading->is_stable = false;
        return true;
    }
    group.name = element_of(name);
    map_id(reading, map, "last-delivered-id", &group.last_id);
    group.entries_read = (int64_t)map_number(map, "entries-read", UINT64_MAX);
    show()->stream_group(reading->summer, &group);
    return pending_read(reading, name, NULL) && consumers_read(reading, name);
}

static bool groups_read(struct reading *reading)
{
    const char *argv[] = {"XINFO", "GROUPS", reading->key.bytes};
    const size_t sizes[] = {5, 6, reading->key.size};
    redisReply *reply = control_call(&reading->link->control, 3, argv, sizes, reading->err);
    if (reply == NULL) {
        return false;
    }
    bool ok = true;
    reading->is_stable = reading->is_stable && reply->type == REDIS_REPLY_ARRAY;
    for (size_t i = 0; reading->is_stable && ok && i < reply->elements; i++) {
        ok = group_show(reading, reply->element[i]);
    }
    freeReplyObject(reply);
    return ok;
}

static bool stream_read(struct reading *reading)
{
    struct rdb_stream_meta meta;
    if (!meta_read(reading, &meta) || !entries_read(reading, meta.length)) {
        return false;
    }
    show()->stream_meta(reading->summer, &meta);
    return groups_read(reading);
}

/* ---- all ---- */

static bool value_read(struct reading *reading, enum rdb_kind kind)
{
    begin(reading, kind);
    switch (kind) {
    case RDB_KIND_STRING:
        return string_read(reading);
    case RDB_KIND_LIST:
        return list_read(reading);
    case RDB_KIND_SET:
        return cursor_read(reading, false);
    case RDB_KIND_HASH:
        return cursor_read(reading, true);
    case RDB_KIND_ZSET:
        return zset_read(reading);
    case RDB_KIND_STREAM:
        return stream_read(reading);
    case RDB_KIND_MODULE:
    case RDB_KIND_COUNT:
        break;
    }
    reading->is_stable = false;
    return true;
}

bool file_pieces(struct file_verify *verify,
                 const struct verify_key *name,
                 enum rdb_kind kind,
                 uint64_t value_bytes,
                 const struct value_view *view,
                 struct value_sum *sum,
                 bool *is_stable,
                 struct syn_err *err)
{
    struct reading reading = {
        .link = verify_owner(&verify->destination, name->bytes, name->size),
        .key = *name,
        .summer = &verify->summer,
        .view = view,
        .piece_bytes = verify->config->memory_bytes / PIECE_SHARE,
        .value_bytes = value_bytes,
        .is_stable = true,
        .err = err,
    };
    value_summer_begin(&verify->summer, view);
    if (!value_read(&reading, kind)) {
        return false;
    }
    *sum = value_summer_end(&verify->summer);
    *is_stable = reading.is_stable;
    return true;
}
