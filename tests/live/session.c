#include "tests/live/session.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "core/base/clock.h"
#include "core/base/num.h"
#include "tests/support/servers.h"

/* What a workload sets lives at most 200 000 s; everything later is meant for all times. */
#define NEAR_MS (300000LL * 1000)
#define TIME_DIGITS 13

const char *const session_names[] = {"redis-2.8.24",
                                     "redis-3.2.13",
                                     "redis-4.0.14",
                                     "redis-5.0.14",
                                     "redis-6.0.16",
                                     "redis-7.0.15",
                                     "redis-7.4.1",
                                     "redis-7.4.1-diskless",
                                     "valkey-9.1.2",
                                     "valkey-9.1.2-ver9",
                                     NULL};

/* ---- files ---- */

static uint8_t *read_all(FILE *file, size_t *size)
{
    size_t capacity = 1 << 16;
    uint8_t *bytes = malloc(capacity);
    *size = 0;
    for (;;) {
        if (bytes == NULL)
            test_fatal("out of memory");
        size_t got = fread(bytes + *size, 1, capacity - *size, file);
        if (got == 0)
            return bytes;
        *size += got;
        if (*size == capacity)
            bytes = realloc(bytes, capacity *= 2);
    }
}

uint8_t *session_file(const char *name, size_t *size)
{
    char path[512], command[560];
    snprintf(path, sizeof(path), "%s/%s", TEST_FIXTURES, name);
    size_t length = strlen(path);
    bool is_packed = length > 3 && strcmp(path + length - 3, ".gz") == 0;
    snprintf(command, sizeof(command), "gzip -dc '%s'", path);
    FILE *file = is_packed ? popen(command, "r") : fopen(path, "r");
    if (file == NULL)
        test_fatal("cannot open %s", path);
    uint8_t *bytes = read_all(file, size);
    if (is_packed ? pclose(file) != 0 : fclose(file) != 0)
        test_fatal("cannot read %s", path);
    return bytes;
}

/* ---- commands ---- */

static const uint8_t *head_number(const uint8_t *at, const uint8_t *end, char kind, size_t *number)
{
    const uint8_t *line_end = at < end ? memchr(at, '\n', (size_t)(end - at)) : NULL;
    if (line_end == NULL || *at != (uint8_t)kind)
        test_fatal("a recorded stream is damaged");
    *number = strtoul((const char *)at + 1, NULL, 10);
    return line_end + 1;
}

void session_cut(const uint8_t *at, size_t left, struct session_command *command)
{
    const uint8_t *end = at + left;
    const uint8_t *next;
    size_t count, size;
    next = head_number(at, end, '*', &count);
    if (count == 0 || count > SESSION_WORDS_MAX)
        test_fatal("a recorded command has %zu words", count);
    for (size_t i = 0; i < count; i++) {
        next = head_number(next, end, '$', &size);
        if ((size_t)(end - next) < size + 2)
            test_fatal("a recorded stream ends inside a command");
        command->words[i] = (const char *)next;
        command->sizes[i] = size;
        next += size + 2;
    }
    command->count = (int)count;
    command->size = (size_t)(next - at);
}

bool session_word_is(const struct session_command *command, int word, const char *text)
{
    return word < command->count && command->sizes[word] == strlen(text) &&
           strncasecmp(command->words[word], text, strlen(text)) == 0;
}

/* ---- times ---- */

static bool is_near(const struct session *session, int64_t ms)
{
    int64_t recorded_ms = json_integer_value(json_object_get(session->json, "recorded_ms"));
    return ms >= recorded_ms - NEAR_MS && ms < recorded_ms + NEAR_MS;
}

/* Delivery times of pending entries are data, and stay. */
static void shift_command(const struct session *session, const struct session_command *command)
{
    for (int i = 1; i < command->count; i++) {
        uint64_t ms;
        if (command->sizes[i] != TIME_DIGITS ||
            !num_read_u64(command->words[i], TIME_DIGITS, &ms) || !is_near(session, (int64_t)ms) ||
            session_word_is(command, i - 1, "TIME"))
            continue;
        size_t place = (size_t)((const uint8_t *)command->words[i] - session->stream);
        num_write_u64((char *)session->stream + place, ms + (uint64_t)session->shift_ms);
    }
}

static void shift_stream(struct session *session)
{
    struct session_command *command = malloc(sizeof(*command));
    size_t count = 0;
    if (command == NULL)
        test_fatal("out of memory");
    for (size_t pos = 0; pos < session->stream_size; pos += command->size, count++) {
        session_cut(session->stream + pos, session->stream_size - pos, command);
        shift_command(session, command);
    }
    free(command);
    if (count != session->command_count)
        test_fatal("%s: %zu commands instead of %zu", session->name, count, session->command_count);
}

static void shift_time(const struct session *session, json_t *time)
{
    json_int_t ms = json_integer_value(time);
    if (json_is_integer(time) && is_near(session, ms))
        json_integer_set(time, ms + session->shift_ms);
}

static void shift_key(const struct session *session, json_t *key)
{
    size_t i;
    json_t *field;
    shift_time(session, json_object_get(key, "pexpireat"));
    if (strcmp(json_string_value(json_object_get(key, "type")), "hash") != 0)
        return;
    json_array_foreach(json_object_get(key, "value"), i, field)
        shift_time(session, json_array_get(field, 2));
}

/* Lists of [key, value] into objects, which is what a reading is. */
static void take_expected(const struct session *session)
{
    json_t *dbs = json_object_get(json_object_get(session->json, "expected"), "dbs");
    json_t *keys;
    const char *db;
    void *next;
    json_object_foreach_safe(dbs, next, db, keys)
    {
        json_t *object = json_object();
        json_t *pair;
        size_t i;
        json_array_foreach(keys, i, pair)
        {
            const json_t *name = json_array_get(pair, 0);
            shift_key(session, json_array_get(pair, 1));
            json_object_setn_nocheck(
                object, json_string_value(name), json_string_length(name), json_array_get(pair, 1));
        }
        json_object_set_new(dbs, db, object);
    }
}

/* ---- sessions ---- */

static void load_json(struct session *session)
{
    char path[128];
    size_t size;
    json_error_t error;
    snprintf(path, sizeof(path), "stream/%s/session.json.gz", session->name);
    uint8_t *text = session_file(path, &size);
    session->json = json_loadb((const char *)text, size, JSON_ALLOW_NUL, &error);
    if (session->json == NULL)
        test_fatal("%s: line %d: %s", path, error.line, error.text);
    free(text);
}

static const char *text_of(const struct session *session, const char *name)
{
    return json_string_value(json_object_get(session->json, name));
}

static void load_stream(struct session *session)
{
    char path[640];
    snprintf(path, sizeof(path), "%s/stream/%s/stream.resp", TEST_FIXTURES, session->name);
    FILE *file = fopen(path, "r");
    bool is_plain = file != NULL;
    if (is_plain)
        fclose(file);
    snprintf(path, sizeof(path), "stream/%s/stream.resp%s", session->name, is_plain ? "" : ".gz");
    session->stream = session_file(path, &session->stream_size);
}

void session_load(struct session *session, const char *name)
{
    char path[128];
    memset(session, 0, sizeof(*session));
    session->name = name;
    load_json(session);
    snprintf(session->version, sizeof(session->version), "%s", text_of(session, "version"));
    snprintf(session->replid, sizeof(session->replid), "%s", text_of(session, "replid"));
    session->is_valkey = json_is_true(json_object_get(session->json, "is_valkey"));
    session->is_diskless = strcmp(text_of(session, "form"), "$EOF") == 0;
    session->offset = (uint64_t)json_integer_value(json_object_get(session->json, "offset"));
    session->command_count = (size_t)json_integer_value(json_object_get(session->json, "commands"));
    session->shift_ms =
        clock_unix_ms() - json_integer_value(json_object_get(session->json, "recorded_ms"));
    snprintf(path, sizeof(path), "rdb/%s-snapshot/dump.rdb", name);
    session->snapshot = session_file(path, &session->snapshot_size);
    load_stream(session);
    shift_stream(session);
    take_expected(session);
}

void session_free(struct session *session)
{
    json_decref(session->json);
    free(session->snapshot);
    free(session->stream);
    memset(session, 0, sizeof(*session));
}

json_t *session_expected(const struct session *session, uint32_t db)
{
    char name[16];
    snprintf(name, sizeof(name), "%u", db);
    return json_object_get(json_object_get(json_object_get(session->json, "expected"), "dbs"),
                           name);
}

static const json_t *step_of(const struct session *session, size_t step)
{
    return json_array_get(json_object_get(session->json, "steps"), step);
}

size_t session_step_count(const struct session *session)
{
    return json_array_size(json_object_get(session->json, "steps"));
}

size_t session_step_end(const struct session *session, size_t step)
{
    return (size_t)(json_integer_value(json_array_get(step_of(session, step), 0)) -
                    (json_int_t)session->offset);
}

const char *session_step_label(const struct session *session, size_t step)
{
    return json_string_value(json_array_get(step_of(session, step), 1));
}

uint32_t session_version_number(const struct session *session)
{
    unsigned a = 0, b = 0, c = 0;
    if (sscanf(session->version, "%u.%u.%u", &a, &b, &c) != 3)
        test_fatal("%s: version %s", session->name, session->version);
    return a * 10000 + b * 100 + c;
}

bool session_is_taken_by(const struct session *session, const char *server_version)
{
    uint32_t version = session_version_number(session);
    if (session->is_valkey)
        return strcmp(server_version, "valkey-9") == 0;
    if (version >= 70400)
        return strcmp(server_version, "redis-8.0") == 0;
    return version < 70000 || strcmp(server_version, "redis-6.0") != 0;
}
