#include "tests/live/live_expected.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/base/clock.h"
#include "rdb/crc64.h"
#include "tests/rdb/lines.h"
#include "tests/support/transfer.h"

#define LINE_MAX_BYTES 4096
#define TTL_TOLERANCE_MS 3000 /* PTTL of servers without PEXPIRETIME */

const struct live_fixture live_fixtures[] = {
    {"redis-2.6.17", 193, 168},
    {"redis-2.8.24", 197, 172},
    {"redis-3.2.13", 201, 176},
    {"redis-4.0.14", 201, 176},
    {"redis-4.0.14-lfu", 12, 11},
    {"redis-5.0.14", 212, 187},
    {"redis-5.0.14-sync", 13, 12},
    {"redis-7.4.1", 221, 196},
    {"redis-2.8.24-snapshot", 56, 40},
    {"redis-3.2.13-snapshot", 57, 41},
    {"redis-4.0.14-snapshot", 57, 41},
    {"redis-5.0.14-snapshot", 59, 43},
    {"redis-6.0.16-snapshot", 59, 43},
    {"redis-7.0.15-snapshot", 59, 43},
    {"redis-7.4.1-snapshot", 61, 45},
    {"redis-7.4.1-diskless-snapshot", 61, 45},
    {"valkey-9.1.2-snapshot", 59, 43},
    {"valkey-9.1.2-ver9-snapshot", 61, 45},
    {NULL, 0, 0},
};

/* ---- lines ---- */

struct lines_list {
    char **line;
    size_t count;
    size_t sorted_from;
};

static void list_add(struct lines_list *list, const char *text)
{
    list->line = realloc(list->line, (list->count + 1) * sizeof(*list->line));
    char *copy = strdup(text);
    if (list->line == NULL || copy == NULL)
        test_fatal("out of memory");
    list->line[list->count++] = copy;
}

static void list_free(struct lines_list *list)
{
    for (size_t i = 0; i < list->count; i++)
        free(list->line[i]);
    free(list->line);
    *list = (struct lines_list){.line = NULL};
}

static int compare_lines(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void list_sort(struct lines_list *list, size_t from)
{
    qsort(list->line + from, list->count - from, sizeof(*list->line), compare_lines);
}

static char *list_text(const struct lines_list *list)
{
    size_t size = 1;
    for (size_t i = 0; i < list->count; i++)
        size += strlen(list->line[i]) + 1;
    char *text = malloc(size);
    if (text == NULL)
        test_fatal("out of memory");
    size_t used = 0;
    for (size_t i = 0; i < list->count; i++)
        used += (size_t)snprintf(text + used, size - used, "%s\n", list->line[i]);
    text[used] = '\0';
    return text;
}

static const char *text_of(const redisReply *reply, char out[LINES_TEXT_MAX + 1])
{
    size_t size = lines_text(out, (const uint8_t *)reply->str, reply->len);
    out[size] = '\0';
    return out;
}

/* ---- what the destination can tell ---- */

struct abilities {
    bool has_absolute_times; /* PEXPIRETIME, counters of streams: 7.0      */
    bool has_field_ttl;      /* Redis 7.4, Valkey 9.0                      */
    bool has_active_time;    /* of consumers: Redis 7.2, Valkey            */
};

static struct abilities abilities_of(redisContext *context)
{
    char redis[64], valkey[64];
    unsigned major = 0, minor = 0;
    test_info(context, "redis_version", redis, sizeof(redis));
    test_info(context, "valkey_version", valkey, sizeof(valkey));
    if (sscanf(redis, "%u.%u", &major, &minor) != 2)
        test_fatal("an odd version: %s", redis);
    bool is_valkey = valkey[0] != '\0';
    unsigned version = major * 100 + minor;
    return (struct abilities){
        .has_absolute_times = version >= 700,
        .has_field_ttl = is_valkey ? strtoul(valkey, NULL, 10) >= 9 : version >= 704,
        .has_active_time = version >= 702,
    };
}

/* ---- reading a value ---- */

struct reader {
    redisContext *context;
    struct abilities abilities;
    const redisReply *key;
    struct lines_list *list;
};

static redisReply *ask(struct reader *reader, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    redisReply *reply = redisvCommand(reader->context, format, args);
    va_end(args);
    if (reply == NULL || reply->type == REDIS_REPLY_ERROR)
        test_fatal("%s: %s", format, reply != NULL ? reply->str : reader->context->errstr);
    return reply;
}

static const redisReply *map_get(const redisReply *map, const char *name)
{
    for (size_t i = 0; i + 1 < map->elements; i += 2) {
        if (strcmp(map->element[i]->str, name) == 0)
            return map->element[i + 1];
    }
    return NULL;
}

static const char *map_text(const redisReply *map, const char *name, char out[64])
{
    const redisReply *value = map_get(map, name);
    if (value == NULL || value->type == REDIS_REPLY_NIL)
        return "-";
    if (value->type == REDIS_REPLY_INTEGER)
        snprintf(out, 64, "%lld", value->integer);
    else
        snprintf(out, 64, "%s", value->str);
    return out;
}

static void read_plain(struct reader *reader, char mark, redisReply *reply)
{
    char text[LINES_TEXT_MAX + 1], line[LINES_TEXT_MAX + 8];
    size_t count = reply->type == REDIS_REPLY_ARRAY ? reply->elements : 1;
    for (size_t i = 0; i < count; i++) {
        const redisReply *element = reply->type == REDIS_REPLY_ARRAY ? reply->element[i] : reply;
        snprintf(line, sizeof(line), "%c %s", mark, text_of(element, text));
        list_add(reader->list, line);
    }
    freeReplyObject(reply);
}

static long long field_expiry(struct reader *reader, const redisReply *field)
{
    if (!reader->abilities.has_field_ttl)
        return -1;
    redisReply *reply = ask(reader,
                            "HPEXPIRETIME %b FIELDS 1 %b",
                            reader->key->str,
                            reader->key->len,
                            field->str,
                            field->len);
    long long at = reply->element[0]->integer;
    freeReplyObject(reply);
    return at;
}

static void read_hash(struct reader *reader)
{
    char field[LINES_TEXT_MAX + 1], value[LINES_TEXT_MAX + 1], line[2 * LINES_TEXT_MAX + 40];
    redisReply *reply = ask(reader, "HGETALL %b", reader->key->str, reader->key->len);
    for (size_t i = 0; i + 1 < reply->elements; i += 2) {
        snprintf(line,
                 sizeof(line),
                 "f %s %s %lld",
                 text_of(reply->element[i], field),
                 text_of(reply->element[i + 1], value),
                 field_expiry(reader, reply->element[i]));
        list_add(reader->list, line);
    }
    freeReplyObject(reply);
}

static void read_zset(struct reader *reader)
{
    char member[LINES_TEXT_MAX + 1], line[LINES_TEXT_MAX + 40];
    redisReply *reply =
        ask(reader, "ZRANGE %b 0 -1 WITHSCORES", reader->key->str, reader->key->len);
    for (size_t i = 0; i + 1 < reply->elements; i += 2) {
        double score = strtod(reply->element[i + 1]->str, NULL);
        uint64_t bits;
        memcpy(&bits, &score, sizeof(bits));
        snprintf(line, sizeof(line), "z %s %016" PRIx64, text_of(reply->element[i], member), bits);
        list_add(reader->list, line);
    }
    freeReplyObject(reply);
}

static void read_entries(struct reader *reader)
{
    redisReply *reply = ask(reader, "XRANGE %b - +", reader->key->str, reader->key->len);
    for (size_t i = 0; i < reply->elements; i++) {
        const redisReply *entry = reply->element[i];
        char line[LINE_MAX_BYTES], text[LINES_TEXT_MAX + 1];
        size_t used = (size_t)snprintf(line, sizeof(line), "e %s", entry->element[0]->str);
        for (size_t n = 0; n < entry->element[1]->elements; n++) {
            used += (size_t)snprintf(line + used,
                                     sizeof(line) - used,
                                     " %s",
                                     text_of(entry->element[1]->element[n], text));
            if (used >= sizeof(line))
                test_fatal("an entry with too many fields");
        }
        list_add(reader->list, line);
    }
    freeReplyObject(reply);
}

/* XINFO STREAM FULL has absolute times. */
static const redisReply *pending_of(const redisReply *map)
{
    const redisReply *pending = map_get(map, "pending");
    return pending != NULL ? pending : map_get(map, "pel");
}

static void read_consumer(struct reader *reader, const char *group, const redisReply *consumer)
{
    char name[LINES_TEXT_MAX + 1], line[3 * LINES_TEXT_MAX], seen[64], active[64];
    text_of(map_get(consumer, "name"), name);
    const redisReply *pending = pending_of(consumer);
    for (size_t i = 0; i < pending->elements; i++) {
        snprintf(
            line, sizeof(line), "o %s %s %s", group, name, pending->element[i]->element[0]->str);
        list_add(reader->list, line);
    }
    snprintf(line,
             sizeof(line),
             "c %s %s %s %s",
             group,
             name,
             map_text(consumer, "seen-time", seen),
             map_text(consumer, "active-time", active));
    list_add(reader->list, line);
}

static void read_group(struct reader *reader, const redisReply *map)
{
    char group[LINES_TEXT_MAX + 1], line[3 * LINES_TEXT_MAX], last[64], read[64];
    text_of(map_get(map, "name"), group);
    snprintf(line,
             sizeof(line),
             "g %s %s %s",
             group,
             map_text(map, "last-delivered-id", last),
             map_text(map, "entries-read", read));
    list_add(reader->list, line);
    const redisReply *pending = pending_of(map);
    for (size_t i = 0; i < pending->elements; i++) {
        const redisReply *entry = pending->element[i];
        snprintf(line,
                 sizeof(line),
                 "p %s %s %lld %lld",
                 group,
                 entry->element[0]->str,
                 entry->element[2]->integer,
                 entry->element[3]->integer);
        list_add(reader->list, line);
    }
    const redisReply *consumers = map_get(map, "consumers");
    for (size_t i = 0; i < consumers->elements; i++)
        read_consumer(reader, group, consumers->element[i]);
}

static void read_stream(struct reader *reader)
{
    char line[256], length[64], last[64], first[64], deleted[64], added[64];
    read_entries(reader);
    redisReply *reply =
        ask(reader, "XINFO STREAM %b FULL COUNT 0", reader->key->str, reader->key->len);
    snprintf(line,
             sizeof(line),
             "M %s %s %s %s %s",
             map_text(reply, "length", length),
             map_text(reply, "last-generated-id", last),
             map_text(reply, "recorded-first-entry-id", first),
             map_text(reply, "max-deleted-entry-id", deleted),
             map_text(reply, "entries-added", added));
    list_add(reader->list, line);
    reader->list->sorted_from = reader->list->count;
    const redisReply *groups = map_get(reply, "groups");
    for (size_t i = 0; i < groups->elements; i++)
        read_group(reader, groups->element[i]);
    list_sort(reader->list, reader->list->sorted_from);
    freeReplyObject(reply);
}

static void read_value(struct reader *reader, const char *type)
{
    const char *key = reader->key->str;
    size_t size = reader->key->len;
    if (strcmp(type, "string") == 0) {
        read_plain(reader, 's', ask(reader, "GET %b", key, size));
    } else if (strcmp(type, "list") == 0) {
        read_plain(reader, 'l', ask(reader, "LRANGE %b 0 -1", key, size));
    } else if (strcmp(type, "set") == 0) {
        read_plain(reader, 'm', ask(reader, "SMEMBERS %b", key, size));
        list_sort(reader->list, 0);
    } else if (strcmp(type, "hash") == 0) {
        read_hash(reader);
        list_sort(reader->list, 0);
    } else if (strcmp(type, "zset") == 0) {
        read_zset(reader);
        list_sort(reader->list, 0);
    } else if (strcmp(type, "stream") == 0) {
        read_stream(reader);
    } else {
        test_fatal("a key of type %s", type);
    }
}

/* ---- what is passed over ---- */

struct mask {
    struct abilities abilities;
    bool is_approx; /* times of streams */
    bool is_packed; /* a sorted set in a ziplist or listpack, where servers write -0 as 0 */
    bool is_old_stream;
    int64_t now_ms;
};

/* Replaces the n-th word (from 0) of the line. */
static void word_mask(char *line, unsigned n)
{
    char *at = line;
    for (; n > 0; n--) {
        at = strchr(at, ' ');
        if (at == NULL)
            test_fatal("too few words: %s", line);
        at++;
    }
    size_t size = strcspn(at, " ");
    at[0] = '*';
    memmove(at + 1, at + size, strlen(at + size) + 1);
}

/* False: the line is left out. */
static bool line_mask(char *line, const struct mask *mask)
{
    bool no_counters = mask->is_old_stream || !mask->abilities.has_absolute_times;
    switch (line[0]) {
    case 'z': {
        char *bits = strrchr(line, ' ') + 1;
        if (mask->is_packed && strcmp(bits, "8000000000000000") == 0)
            bits[0] = '0';
        break;
    }
    case 'f': {
        long long at = strtoll(strrchr(line, ' ') + 1, NULL, 10);
        if (!mask->abilities.has_field_ttl)
            word_mask(line, 3);
        else if (at >= 0 && at <= mask->now_ms)
            return false;
        break;
    }
    case 'M':
        for (unsigned n = 3; n <= 5 && no_counters; n++)
            word_mask(line, n);
        break;
    case 'g':
        if (no_counters)
            word_mask(line, 3);
        break;
    case 'p':
        if (mask->is_approx)
            word_mask(line, 3);
        break;
    case 'c':
        if (mask->is_approx)
            word_mask(line, 3);
        /* Before 7.2 there was no such time; a later server then takes another for it. */
        if (mask->is_approx || !mask->abilities.has_active_time || mask->is_old_stream)
            word_mask(line, 4);
        break;
    default:
        break;
    }
    return true;
}

static char *lines_mask(const char *text, const struct mask *mask)
{
    struct lines_list list = {.line = NULL};
    while (*text != '\0') {
        size_t size = strcspn(text, "\n");
        char line[LINE_MAX_BYTES];
        snprintf(line, sizeof(line), "%.*s", (int)size, text);
        if (line_mask(line, mask))
            list_add(&list, line);
        text += size + (text[size] == '\n');
    }
    char *masked = list_text(&list);
    list_free(&list);
    return masked;
}

/* ---- expected.txt ---- */

struct expected_key {
    uint32_t db;
    char name[LINES_TEXT_MAX + 1];
    char type[16];
    long long expire_ms;
    const char *lines; /* in the text */
    size_t lines_size;
    bool was_found;
};

struct expected {
    char *text;
    bool is_approx;
    bool is_all;
    struct expected_key *keys;
    size_t count;
};

static void expected_read(struct expected *expected, const char *name)
{
    char path[512];
    snprintf(path, sizeof(path), TEST_FIXTURES "/rdb/%s/expected.txt", name);
    *expected = (struct expected){.text = test_file_read(path, NULL)};
    expected->is_approx = strncmp(expected->text, "T approx\n", 9) == 0;
    expected->is_all = strstr(expected->text, "\nP all\n") != NULL;
    for (char *at = strstr(expected->text, "\nK "); at != NULL;) {
        expected->keys = realloc(expected->keys, (expected->count + 1) * sizeof(*expected->keys));
        if (expected->keys == NULL)
            test_fatal("out of memory");
        struct expected_key *key = &expected->keys[expected->count++];
        memset(key, 0, sizeof(*key));
        if (sscanf(
                at + 1, "K %u %160s %15s %lld", &key->db, key->name, key->type, &key->expire_ms) !=
            4)
            test_fatal("%s: an odd line: %.100s", path, at + 1);
        key->lines = strchr(at + 1, '\n') + 1;
        at = strstr(key->lines - 1, "\nK ");
        key->lines_size = at != NULL ? (size_t)(at + 1 - key->lines) : strlen(key->lines);
    }
}

static struct expected_key *expected_find(struct expected *expected, uint32_t db, const char *name)
{
    for (size_t i = 0; i < expected->count; i++) {
        struct expected_key *key = &expected->keys[i];
        if (key->db == db && strcmp(key->name, name) == 0)
            return key;
    }
    return NULL;
}

/* ---- comparing ---- */

static void assert_expiry(struct reader *reader, const struct expected_key *key)
{
    bool is_absolute = reader->abilities.has_absolute_times;
    redisReply *reply =
        ask(reader, is_absolute ? "PEXPIRETIME %b" : "PTTL %b", reader->key->str, reader->key->len);
    long long at = reply->integer;
    freeReplyObject(reply);
    long long tolerance = 0;
    if (!is_absolute && at >= 0) {
        at += clock_unix_ms();
        tolerance = TTL_TOLERANCE_MS;
    }
    if ((at < 0) != (key->expire_ms < 0) || llabs(at - key->expire_ms) > tolerance)
        fail_msg(
            "db %u %s expires at %lld instead of %lld", key->db, key->name, at, key->expire_ms);
}

/* Its text as expected.txt has it: whole, or the number of lines and their CRC64. */
static char *text_in_form(const struct lines_list *list, const struct expected_key *key)
{
    char *text = list_text(list);
    if (key->lines[0] == '=') {
        uint64_t crc = crc64_update(0, (const uint8_t *)text, strlen(text));
        char *summary = malloc(64);
        if (summary == NULL)
            test_fatal("out of memory");
        snprintf(summary, 64, "= %zu %016" PRIx64 "\n", list->count, crc);
        free(text);
        return summary;
    }
    return text;
}

static bool is_packed(struct reader *reader, const char *type)
{
    if (strcmp(type, "zset") != 0)
        return false;
    redisReply *reply = ask(reader, "OBJECT ENCODING %b", reader->key->str, reader->key->len);
    bool is_skiplist = strcmp(reply->str, "skiplist") == 0;
    freeReplyObject(reply);
    return !is_skiplist;
}

static void assert_value(struct reader *reader, const struct expected_key *key, bool is_approx)
{
    struct lines_list list = {.line = NULL};
    reader->list = &list;
    read_value(reader, key->type);
    char *text = text_in_form(&list, key);
    char *wanted = strndup(key->lines, key->lines_size);
    if (wanted == NULL)
        test_fatal("out of memory");
    const char *meta = strstr(wanted, "\nM ");
    struct mask mask = {
        .abilities = reader->abilities, .is_approx = is_approx, .now_ms = clock_unix_ms()};
    mask.is_packed = is_packed(reader, key->type);
    meta = meta != NULL ? meta + 1 : strncmp(wanted, "M ", 2) == 0 ? wanted : NULL;
    mask.is_old_stream = meta != NULL && strstr(meta, " - - -\n") != NULL;
    char *found_masked = lines_mask(text, &mask);
    char *wanted_masked = lines_mask(wanted, &mask);
    if (strcmp(found_masked, wanted_masked) != 0)
        fail_msg("db %u %s: expected\n%.3000s\nfound\n%.3000s",
                 key->db,
                 key->name,
                 wanted_masked,
                 found_masked);
    free(found_masked);
    free(wanted_masked);
    free(text);
    free(wanted);
    list_free(&list);
}

/* Every key of the connection's selected database; returns how many there are. */
static uint32_t
compare_database(struct reader *reader, struct expected *expected, uint32_t db, size_t *compared)
{
    uint32_t count = 0;
    redisReply *keys = ask(reader, "KEYS *");
    for (size_t i = 0; i < keys->elements; i++) {
        char name[LINES_TEXT_MAX + 1];
        reader->key = keys->element[i];
        struct expected_key *key = expected_find(expected, db, text_of(keys->element[i], name));
        count++;
        if (key == NULL) {
            if (expected->is_all)
                fail_msg("db %u %s should not be there", db, name);
            continue;
        }
        assert_false(key->was_found);
        key->was_found = true;
        redisReply *type = ask(reader, "TYPE %b", reader->key->str, reader->key->len);
        if (strcmp(type->str, key->type) != 0)
            fail_msg("db %u %s is a %s instead of a %s", db, name, type->str, key->type);
        freeReplyObject(type);
        assert_expiry(reader, key);
        assert_value(reader, key, expected->is_approx);
        (*compared)++;
    }
    freeReplyObject(keys);
    return count;
}

/* All that was expected was found, but for what has expired since it was recorded. */
static void assert_complete(const struct expected *expected, bool only_db0, uint32_t *expired)
{
    int64_t now = clock_unix_ms();
    for (size_t i = 0; i < expected->count; i++) {
        const struct expected_key *key = &expected->keys[i];
        if (only_db0 && key->db != 0)
            continue;
        bool is_expired = key->expire_ms >= 0 && key->expire_ms <= now;
        *expired += is_expired;
        if (key->was_found == is_expired)
            fail_msg("db %u %s is %s", key->db, key->name, is_expired ? "not gone" : "missing");
    }
}

void live_assert_expected(const struct live_fixture *fixture,
                          const struct live_side *destination,
                          bool only_db0)
{
    struct expected expected;
    uint32_t keys = 0, expired = 0;
    size_t compared = 0;
    expected_read(&expected, fixture->name);
    for (uint32_t i = 0; i < test_client_count(destination->client); i++) {
        struct reader reader = {.context = test_client_at(destination->client, i)};
        reader.abilities = abilities_of(reader.context);
        for (uint32_t db = 0; db < (destination->is_cluster ? 1u : 16u); db++) {
            if (!destination->is_cluster)
                test_command_ok(reader.context, "SELECT %u", db);
            keys += compare_database(&reader, &expected, db, &compared);
        }
        if (!destination->is_cluster)
            test_command_ok(reader.context, "SELECT 0");
    }
    assert_complete(&expected, only_db0, &expired);
    assert_int_not_equal(compared, 0);
    uint32_t wanted = only_db0 ? fixture->key_count_db0 : fixture->key_count;
    /* Of a part, more keys than those listed may have expired. */
    if (expected.is_all)
        assert_int_equal(keys + expired, wanted);
    else
        assert_in_range(keys, compared, wanted);
    if (expired == 0)
        assert_int_equal(keys, wanted);
    free(expected.keys);
    free(expected.text);
}

const char *live_fixture_uri(const struct live_fixture *fixture, char uri[512])
{
    snprintf(uri, 512, "file://" TEST_FIXTURES "/rdb/%s/dump.rdb", fixture->name);
    return uri;
}
