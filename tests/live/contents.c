#include "tests/live/contents.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/dataset.h"
#include "tests/support/servers.h"

#define DIFFERENCES_SHOWN 12
#define SHOWN_BYTES 160

/* ---- bytes ---- */

json_t *contents_bytes(const void *bytes, size_t size)
{
    const unsigned char *from = bytes;
    char *text = malloc(2 * size + 1);
    size_t end = 0;
    if (text == NULL)
        test_fatal("out of memory");
    for (size_t i = 0; i < size; i++) {
        if (from[i] >= 0x80)
            text[end++] = (char)(0xC0 | from[i] >> 6);
        text[end++] = (char)(from[i] >= 0x80 ? 0x80 | (from[i] & 0x3F) : from[i]);
    }
    json_t *json = json_stringn(text, end);
    free(text);
    if (json == NULL)
        test_fatal("out of memory");
    return json;
}

char *contents_raw(const json_t *text, size_t *size)
{
    const unsigned char *from = (const unsigned char *)json_string_value(text);
    size_t from_size = json_string_length(text);
    char *bytes = malloc(from_size + 1);
    *size = 0;
    if (bytes == NULL)
        test_fatal("out of memory");
    for (size_t i = 0; i < from_size; i++) {
        unsigned char c = from[i];
        if (c >= 0x80 && ++i < from_size)
            c = (unsigned char)((c & 0x03) << 6 | (from[i] & 0x3F));
        bytes[(*size)++] = (char)c;
    }
    bytes[*size] = '\0';
    return bytes;
}

static json_t *reply_bytes(const redisReply *reply)
{
    return contents_bytes(reply->str, reply->len);
}

/* ---- reading ---- */

struct key {
    redisContext *redis;
    const char *bytes;
    size_t size;
};

/* Words before and after the key, "" for none: "XINFO STREAM", "FULL COUNT 0". */
static redisReply *ask(const struct key *key, const char *before, const char *after)
{
    char words[64];
    const char *argv[12];
    size_t sizes[12];
    int argc = 0, key_at = 0;
    snprintf(words, sizeof(words), "%s ? %s", before, after);
    char *rest = NULL;
    for (char *word = strtok_r(words, " ", &rest); word != NULL;
         word = strtok_r(NULL, " ", &rest)) {
        if (strcmp(word, "?") == 0)
            key_at = argc;
        argv[argc] = word;
        sizes[argc++] = strlen(word);
    }
    argv[key_at] = key->bytes;
    sizes[key_at] = key->size;
    redisReply *reply = redisCommandArgv(key->redis, argc, argv, sizes);
    if (reply == NULL)
        test_fatal("reading a key with %s: %s", before, key->redis->errstr);
    return reply;
}

static redisReply *ask_ok(const struct key *key, const char *before, const char *after)
{
    redisReply *reply = ask(key, before, after);
    if (reply->type == REDIS_REPLY_ERROR)
        test_fatal("reading a key with %s: %s", before, reply->str);
    return reply;
}

static int64_t now_ms(redisContext *redis)
{
    redisReply *reply = test_command(redis, "TIME");
    int64_t ms = strtoll(reply->element[0]->str, NULL, 10) * 1000 +
                 strtoll(reply->element[1]->str, NULL, 10) / 1000;
    freeReplyObject(reply);
    return ms;
}

static int64_t read_expiry(const struct key *key)
{
    redisReply *reply = ask(key, "PEXPIRETIME", "");
    int64_t expiry = reply->integer;
    if (reply->type == REDIS_REPLY_ERROR) { /* it is 7.0's */
        freeReplyObject(reply);
        reply = ask_ok(key, "PTTL", "");
        expiry = reply->integer < 0 ? reply->integer : now_ms(key->redis) + reply->integer;
    }
    freeReplyObject(reply);
    return expiry;
}

static int compare_replies(const void *left, const void *right)
{
    const redisReply *a = *(redisReply *const *)left;
    const redisReply *b = *(redisReply *const *)right;
    size_t size = a->len < b->len ? a->len : b->len;
    int order = memcmp(a->str, b->str, size);
    return order != 0 ? order : (a->len > b->len) - (a->len < b->len);
}

static json_t *read_array(redisReply *reply, bool is_sorted)
{
    json_t *array = json_array();
    if (is_sorted && reply->elements > 0)
        qsort(reply->element, reply->elements, sizeof(redisReply *), compare_replies);
    for (size_t i = 0; i < reply->elements; i++)
        json_array_append_new(array, reply_bytes(reply->element[i]));
    freeReplyObject(reply);
    return array;
}

/* Member, score as the server prints it. */
static json_t *read_zset(const struct key *key)
{
    redisReply *reply = ask_ok(key, "ZRANGE", "0 -1 WITHSCORES");
    json_t *array = json_array();
    for (size_t i = 0; i + 1 < reply->elements; i += 2)
        json_array_append_new(
            array, json_pack("[o, s]", reply_bytes(reply->element[i]), reply->element[i + 1]->str));
    freeReplyObject(reply);
    return array;
}

/* Absolute expiries of all fields in the order of `fields`; NULL: the version has none. */
static redisReply *read_field_expiries(const struct key *key, const redisReply *fields)
{
    size_t count = fields->elements / 2;
    const char **argv = calloc(count + 4, sizeof(*argv));
    size_t *sizes = calloc(count + 4, sizeof(*sizes));
    char digits[24];
    if (argv == NULL || sizes == NULL)
        test_fatal("out of memory");
    snprintf(digits, sizeof(digits), "%zu", count);
    const char *head[] = {"HPEXPIRETIME", key->bytes, "FIELDS", digits};
    for (size_t i = 0; i < 4; i++) {
        argv[i] = head[i];
        sizes[i] = i == 1 ? key->size : strlen(head[i]);
    }
    for (size_t i = 0; i < count; i++) {
        argv[4 + i] = fields->element[2 * i]->str;
        sizes[4 + i] = fields->element[2 * i]->len;
    }
    redisReply *reply = redisCommandArgv(key->redis, (int)count + 4, argv, sizes);
    free(argv);
    free(sizes);
    if (reply == NULL)
        test_fatal("HPEXPIRETIME: %s", key->redis->errstr);
    if (reply->type == REDIS_REPLY_ARRAY && reply->elements == count)
        return reply;
    freeReplyObject(reply);
    return NULL;
}

static int compare_pairs(const void *left, const void *right)
{
    const json_t *a = json_array_get(*(json_t *const *)left, 0);
    const json_t *b = json_array_get(*(json_t *const *)right, 0);
    size_t a_size = json_string_length(a), b_size = json_string_length(b);
    int order =
        memcmp(json_string_value(a), json_string_value(b), a_size < b_size ? a_size : b_size);
    return order != 0 ? order : (a_size > b_size) - (a_size < b_size);
}

/* Field, value, expiry, sorted by field: UTF-8 has the order of what it encodes. */
static json_t *read_hash(const struct key *key)
{
    redisReply *reply = ask_ok(key, "HGETALL", "");
    redisReply *expiries = read_field_expiries(key, reply);
    size_t count = reply->elements / 2;
    json_t **fields = calloc(count + 1, sizeof(*fields));
    if (fields == NULL)
        test_fatal("out of memory");
    for (size_t i = 0; i < count; i++)
        fields[i] = json_pack("[o, o, I]",
                              reply_bytes(reply->element[2 * i]),
                              reply_bytes(reply->element[2 * i + 1]),
                              (json_int_t)(expiries != NULL ? expiries->element[i]->integer : -1));
    qsort(fields, count, sizeof(*fields), compare_pairs);
    json_t *array = json_array();
    for (size_t i = 0; i < count; i++)
        json_array_append_new(array, fields[i]);
    free(fields);
    freeReplyObject(reply);
    freeReplyObject(expiries);
    return array;
}

/* A field of a reply that is a list of names and values; NULL: the version has it not. */
static const redisReply *field_of(const redisReply *reply, const char *name)
{
    for (size_t i = 0; i + 1 < reply->elements; i += 2) {
        if (strcmp(reply->element[i]->str, name) == 0)
            return reply->element[i + 1];
    }
    return NULL;
}

static json_t *scalar_of(const redisReply *reply, const char *name)
{
    const redisReply *field = field_of(reply, name);
    if (field == NULL || field->type == REDIS_REPLY_NIL)
        return json_null();
    return field->type == REDIS_REPLY_INTEGER ? json_integer(field->integer) : reply_bytes(field);
}

static json_t *read_group(const redisReply *group)
{
    const redisReply *pending = field_of(group, "pending");
    const redisReply *consumers = field_of(group, "consumers");
    json_t *pel = json_array();
    json_t *names = json_array();
    for (size_t i = 0; i < pending->elements; i++) {
        redisReply *const *entry = pending->element[i]->element;
        json_array_append_new(pel,
                              json_pack("[o, o, I, I]",
                                        reply_bytes(entry[0]),
                                        reply_bytes(entry[1]),
                                        (json_int_t)entry[2]->integer,
                                        (json_int_t)entry[3]->integer));
    }
    for (size_t i = 0; i < consumers->elements; i++)
        json_array_append_new(names,
                              json_pack("{s:o}", "name", scalar_of(consumers->element[i], "name")));
    return json_pack("{s:o, s:o, s:o, s:o, s:o}",
                     "name",
                     scalar_of(group, "name"),
                     "last_id",
                     scalar_of(group, "last-delivered-id"),
                     "entries_read",
                     scalar_of(group, "entries-read"),
                     "pel",
                     pel,
                     "consumers",
                     names);
}

static json_t *read_stream(const struct key *key)
{
    redisReply *reply = ask_ok(key, "XINFO STREAM", "FULL COUNT 0");
    const redisReply *entries = field_of(reply, "entries");
    const redisReply *groups = field_of(reply, "groups");
    json_t *entry_array = json_array();
    json_t *group_array = json_array();
    for (size_t i = 0; i < entries->elements; i++) {
        redisReply *const *entry = entries->element[i]->element;
        json_t *words = json_array();
        for (size_t n = 0; n < entry[1]->elements; n++)
            json_array_append_new(words, reply_bytes(entry[1]->element[n]));
        json_array_append_new(entry_array, json_pack("[o, o]", reply_bytes(entry[0]), words));
    }
    for (size_t i = 0; i < groups->elements; i++)
        json_array_append_new(group_array, read_group(groups->element[i]));
    json_t *value = json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o}",
                              "entries",
                              entry_array,
                              "groups",
                              group_array,
                              "length",
                              scalar_of(reply, "length"),
                              "last_id",
                              scalar_of(reply, "last-generated-id"),
                              "entries_added",
                              scalar_of(reply, "entries-added"),
                              "max_deleted_id",
                              scalar_of(reply, "max-deleted-entry-id"),
                              "first_id",
                              scalar_of(reply, "recorded-first-entry-id"));
    freeReplyObject(reply);
    return value;
}

/* Elements with vector and attribute, sorted. How they are linked is each server's own chance. */
static json_t *read_vectors(const struct key *key)
{
    redisReply *names = ask_ok(key, "VRANDMEMBER", "1000000");
    json_t **elements = calloc(names->elements + 1, sizeof(*elements));
    json_t *array = json_array();
    if (elements == NULL)
        test_fatal("out of memory");
    for (size_t i = 0; i < names->elements; i++) {
        const redisReply *name = names->element[i];
        redisReply *vector =
            test_command(key->redis, "VEMB %b %b", key->bytes, key->size, name->str, name->len);
        redisReply *attribute =
            test_command(key->redis, "VGETATTR %b %b", key->bytes, key->size, name->str, name->len);
        json_t *numbers = json_array();
        for (size_t n = 0; n < vector->elements; n++)
            json_array_append_new(numbers, reply_bytes(vector->element[n]));
        elements[i] = json_pack("[o, o, o]",
                                reply_bytes(name),
                                numbers,
                                attribute->str != NULL ? reply_bytes(attribute) : json_null());
        freeReplyObject(vector);
        freeReplyObject(attribute);
    }
    qsort(elements, names->elements, sizeof(*elements), compare_pairs);
    for (size_t i = 0; i < names->elements; i++)
        json_array_append_new(array, elements[i]);
    free(elements);
    freeReplyObject(names);
    return array;
}

/* A type that has no reading of its own is compared by what DUMP says: one version only. */
static json_t *read_dump(const struct key *key)
{
    redisReply *reply = ask_ok(key, "DUMP", "");
    json_t *value = reply_bytes(reply);
    freeReplyObject(reply);
    return value;
}

static json_t *read_string(const struct key *key)
{
    redisReply *reply = ask_ok(key, "GET", "");
    json_t *value = reply_bytes(reply);
    freeReplyObject(reply);
    return value;
}

static json_t *read_value(const struct key *key, const char *type)
{
    if (strcmp(type, "string") == 0)
        return read_string(key);
    if (strcmp(type, "list") == 0)
        return read_array(ask_ok(key, "LRANGE", "0 -1"), false);
    if (strcmp(type, "set") == 0)
        return read_array(ask_ok(key, "SMEMBERS", ""), true);
    if (strcmp(type, "hash") == 0)
        return read_hash(key);
    if (strcmp(type, "zset") == 0)
        return read_zset(key);
    if (strcmp(type, "stream") == 0)
        return read_stream(key);
    if (strcmp(type, "vectorset") == 0)
        return read_vectors(key);
    return read_dump(key);
}

json_t *contents_read_key(redisContext *redis, const void *bytes, size_t size)
{
    struct key key = {.redis = redis, .bytes = bytes, .size = size};
    redisReply *type = ask_ok(&key, "TYPE", "");
    json_t *json = NULL;
    if (strcmp(type->str, "none") != 0) {
        int64_t expiry = read_expiry(&key);
        json = json_pack("{s:s, s:I, s:o}",
                         "type",
                         type->str,
                         "pexpireat",
                         (json_int_t)expiry,
                         "value",
                         read_value(&key, type->str));
        if (json == NULL)
            test_fatal("out of memory");
    }
    freeReplyObject(type);
    return json;
}

static void read_node(redisContext *redis, json_t *all)
{
    char cursor[32] = "0";
    do {
        redisReply *reply = test_command(redis, "SCAN %s COUNT 500", cursor);
        snprintf(cursor, sizeof(cursor), "%s", reply->element[0]->str);
        for (size_t i = 0; i < reply->element[1]->elements; i++) {
            const redisReply *key = reply->element[1]->element[i];
            if (dataset_is_position(key->str, key->len))
                continue;
            json_t *one = contents_read_key(redis, key->str, key->len);
            json_t *name = reply_bytes(key);
            if (one != NULL)
                json_object_setn_new_nocheck(
                    all, json_string_value(name), json_string_length(name), one);
            json_decref(name);
        }
        freeReplyObject(reply);
    } while (strcmp(cursor, "0") != 0);
}

json_t *contents_read(struct test_client *client, uint32_t db)
{
    json_t *all = json_object();
    bool has_databases = !test_client_is_cluster(client);
    for (uint32_t i = 0; i < test_client_count(client); i++) {
        redisContext *redis = test_client_at(client, i);
        if (has_databases)
            test_command_ok(redis, "SELECT %u", db);
        read_node(redis, all);
        if (has_databases)
            test_command_ok(redis, "SELECT 0");
    }
    return all;
}

/* ---- comparing ---- */

struct comparison {
    const struct contents_rules *rules;
    char path[128]; /* of the part that differs */
    char wanted[SHOWN_BYTES];
    char got[SHOWN_BYTES];
};

/* Printable, on one line, and not longer than what is shown of it. */
static void describe(const json_t *json, char *out)
{
    char *text = json != NULL ? json_dumps(json, JSON_ENCODE_ANY | JSON_ENSURE_ASCII) : NULL;
    size_t size = text != NULL ? strlen(text) : 0;
    if (size < SHOWN_BYTES)
        snprintf(out, SHOWN_BYTES, "%s", text != NULL ? text : "nothing");
    else
        snprintf(out, SHOWN_BYTES, "%.*s… (%zu bytes)", SHOWN_BYTES - 40, text, size);
    free(text);
}

static bool
differs(struct comparison *comparison, const char *path, const json_t *wanted, const json_t *got)
{
    snprintf(comparison->path, sizeof(comparison->path), "%s", path);
    describe(wanted, comparison->wanted);
    describe(got, comparison->got);
    return true;
}

static bool times_differ(const json_t *wanted, const json_t *got, int64_t slack_ms)
{
    int64_t a = json_integer_value(wanted);
    int64_t b = json_integer_value(got);
    if (a < 0 || b < 0)
        return a != b;
    return a > b ? a - b > slack_ms : b - a > slack_ms;
}

/* Arrays of equal things: the first element that differs is named. */
static bool arrays_differ(struct comparison *comparison,
                          const char *path,
                          const json_t *wanted,
                          const json_t *got)
{
    if (json_equal(wanted, got))
        return false;
    size_t count = json_array_size(wanted);
    char place[64];
    for (size_t i = 0; i < count && i < json_array_size(got); i++) {
        snprintf(place, sizeof(place), "%s[%zu of %zu/%zu]", path, i, count, json_array_size(got));
        if (!json_equal(json_array_get(wanted, i), json_array_get(got, i)))
            return differs(comparison, place, json_array_get(wanted, i), json_array_get(got, i));
    }
    snprintf(place, sizeof(place), "%s: %zu/%zu elements", path, count, json_array_size(got));
    return differs(comparison, place, wanted, got);
}

/* Servers print scores with different numbers of digits; they are equal as numbers. */
static bool zsets_differ(struct comparison *comparison, const json_t *wanted, const json_t *got)
{
    size_t count = json_array_size(wanted);
    if (count != json_array_size(got))
        return arrays_differ(comparison, "members", wanted, got);
    for (size_t i = 0; i < count; i++) {
        const json_t *a = json_array_get(wanted, i);
        const json_t *b = json_array_get(got, i);
        double left = strtod(json_string_value(json_array_get(a, 1)), NULL);
        double right = strtod(json_string_value(json_array_get(b, 1)), NULL);
        bool is_equal = json_equal(json_array_get(a, 0), json_array_get(b, 0)) && !(left < right) &&
                        !(left > right);
        if (!is_equal)
            return differs(comparison, "member", a, b);
    }
    return false;
}

static bool hashes_differ(struct comparison *comparison, const json_t *wanted, const json_t *got)
{
    size_t count = json_array_size(wanted);
    if (count != json_array_size(got))
        return arrays_differ(comparison, "fields", wanted, got);
    for (size_t i = 0; i < count; i++) {
        const json_t *a = json_array_get(wanted, i);
        const json_t *b = json_array_get(got, i);
        bool is_equal = json_equal(json_array_get(a, 0), json_array_get(b, 0)) &&
                        json_equal(json_array_get(a, 1), json_array_get(b, 1)) &&
                        !times_differ(json_array_get(a, 2),
                                      json_array_get(b, 2),
                                      comparison->rules->ttl_slack_ms);
        if (!is_equal)
            return differs(comparison, "field", a, b);
    }
    return false;
}

static bool has_entry(const json_t *stream, const json_t *id)
{
    size_t i;
    const json_t *entry;
    json_array_foreach(json_object_get(stream, "entries"), i, entry)
    {
        if (json_equal(json_array_get(entry, 0), id))
            return true;
    }
    return false;
}

static json_t *pending_of(const json_t *stream, const json_t *group, bool only_there)
{
    json_t *pending = json_array();
    size_t i;
    json_t *entry;
    json_array_foreach(json_object_get(group, "pel"), i, entry)
    {
        if (!only_there || has_entry(stream, json_array_get(entry, 0)))
            json_array_append(pending, entry);
    }
    return pending;
}

static bool pending_differ(struct comparison *comparison, const json_t *left, const json_t *right)
{
    if (json_array_size(left) != json_array_size(right))
        return arrays_differ(comparison, "pending", left, right);
    for (size_t i = 0; i < json_array_size(left); i++) {
        const json_t *a = json_array_get(left, i);
        const json_t *b = json_array_get(right, i);
        bool is_equal = json_equal(json_array_get(a, 0), json_array_get(b, 0)) &&
                        json_equal(json_array_get(a, 1), json_array_get(b, 1)) &&
                        json_equal(json_array_get(a, 3), json_array_get(b, 3)) &&
                        !times_differ(json_array_get(a, 2),
                                      json_array_get(b, 2),
                                      comparison->rules->delivery_slack_ms);
        if (!is_equal)
            return differs(comparison, "pending entry", a, b);
    }
    return false;
}

static bool has_pending(const json_t *pending, const json_t *consumer)
{
    size_t i;
    const json_t *entry;
    json_array_foreach(pending, i, entry)
    {
        if (json_equal(json_array_get(entry, 1), json_object_get(consumer, "name")))
            return true;
    }
    return false;
}

static json_t *consumer_names(const json_t *group, const json_t *pending, bool only_busy)
{
    json_t *names = json_array();
    size_t i;
    const json_t *consumer;
    json_array_foreach(json_object_get(group, "consumers"), i, consumer)
    {
        if (!only_busy || has_pending(pending, consumer))
            json_array_append(names, json_object_get(consumer, "name"));
    }
    return names;
}

/* A field that one side's version does not have says nothing. */
static bool fields_differ(struct comparison *comparison,
                          const char *name,
                          const json_t *wanted,
                          const json_t *got)
{
    const json_t *a = json_object_get(wanted, name);
    const json_t *b = json_object_get(got, name);
    if (json_equal(a, b))
        return false;
    return differs(comparison, name, a, b);
}

static bool groups_differ(struct comparison *comparison,
                          const json_t *stream,
                          const json_t *wanted,
                          const json_t *got,
                          bool has_counters)
{
    const struct contents_rules *rules = comparison->rules;
    json_t *left_pending = pending_of(stream, wanted, rules->any_deleted_pending);
    json_t *right_pending = pending_of(stream, got, rules->any_deleted_pending);
    json_t *left = consumer_names(wanted, left_pending, rules->any_idle_consumers);
    json_t *right = consumer_names(got, right_pending, rules->any_idle_consumers);
    bool has_read = has_counters && !rules->any_entries_read;
    bool is_different = fields_differ(comparison, "name", wanted, got) ||
                        fields_differ(comparison, "last_id", wanted, got) ||
                        (has_read && fields_differ(comparison, "entries_read", wanted, got)) ||
                        pending_differ(comparison, left_pending, right_pending) ||
                        arrays_differ(comparison, "consumers", left, right);
    json_decref(left_pending);
    json_decref(right_pending);
    json_decref(left);
    json_decref(right);
    return is_different;
}

static bool streams_differ(struct comparison *comparison, const json_t *wanted, const json_t *got)
{
    static const char *const counters[] = {"entries_added", "max_deleted_id", "first_id"};
    const json_t *left = json_object_get(wanted, "groups");
    const json_t *right = json_object_get(got, "groups");
    /* 7.0's, all or none of them. */
    bool has_counters = json_is_integer(json_object_get(wanted, "entries_added")) &&
                        json_is_integer(json_object_get(got, "entries_added"));
    if (arrays_differ(comparison,
                      "entries",
                      json_object_get(wanted, "entries"),
                      json_object_get(got, "entries")) ||
        fields_differ(comparison, "last_id", wanted, got))
        return true;
    for (size_t i = 0; has_counters && i < sizeof(counters) / sizeof(counters[0]); i++) {
        if (fields_differ(comparison, counters[i], wanted, got))
            return true;
    }
    if (json_array_size(left) != json_array_size(right))
        return differs(comparison, "groups", left, right);
    for (size_t i = 0; i < json_array_size(left); i++) {
        if (groups_differ(comparison,
                          wanted,
                          json_array_get(left, i),
                          json_array_get(right, i),
                          has_counters))
            return true;
    }
    return false;
}

static bool keys_differ(struct comparison *comparison, const json_t *wanted, const json_t *got)
{
    if (wanted == NULL || got == NULL)
        return differs(comparison, "key", wanted, got);
    if (fields_differ(comparison, "type", wanted, got))
        return true;
    const json_t *a = json_object_get(wanted, "pexpireat");
    const json_t *b = json_object_get(got, "pexpireat");
    if (times_differ(a, b, comparison->rules->ttl_slack_ms))
        return differs(comparison, "pexpireat", a, b);
    const char *type = json_string_value(json_object_get(wanted, "type"));
    a = json_object_get(wanted, "value");
    b = json_object_get(got, "value");
    if (strcmp(type, "zset") == 0)
        return zsets_differ(comparison, a, b);
    if (strcmp(type, "hash") == 0)
        return hashes_differ(comparison, a, b);
    if (strcmp(type, "stream") == 0)
        return streams_differ(comparison, a, b);
    if (json_is_array(a))
        return arrays_differ(comparison, "elements", a, b);
    return !json_equal(a, b) && differs(comparison, "value", a, b);
}

static void show(const char *label, const json_t *name, const struct comparison *comparison)
{
    char key[SHOWN_BYTES];
    describe(name, key);
    fprintf(stderr,
            "%s: key %s: %s: wanted %s, got %s\n",
            label,
            key,
            comparison->path,
            comparison->wanted,
            comparison->got);
}

uint64_t contents_differences(const char *label,
                              const json_t *wanted,
                              const json_t *got,
                              const struct contents_rules *rules)
{
    struct comparison comparison = {.rules = rules};
    uint64_t count = 0;
    const char *name;
    size_t size;
    json_t *value;
    for (int way = 0; way < 2; way++) {
        json_t *from = (json_t *)(uintptr_t)(way == 0 ? wanted : got);
        json_object_keylen_foreach(from, name, size, value)
        {
            const json_t *other = json_object_getn(way == 0 ? got : wanted, name, size);
            if (way == 1 && other != NULL)
                continue; /* seen on the way there */
            if (!keys_differ(&comparison, way == 0 ? value : NULL, way == 0 ? other : value))
                continue;
            json_t *key = json_stringn_nocheck(name, size);
            if (count++ < DIFFERENCES_SHOWN && label != NULL)
                show(label, key, &comparison);
            json_decref(key);
        }
    }
    return count;
}
