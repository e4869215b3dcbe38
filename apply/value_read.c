/* Types of values, and their elements: by index, by cursor, or all at once. */
#include "apply/value_read.h"

#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* So many elements are asked for first: enough to learn their sizes from. */
#define STEP_FIRST 256u

/* ---- types ---- */

const char *value_type_name(enum value_type type)
{
    static const char *const names[] = {
        "nothing", "string", "list", "set", "hash", "zset", "stream", "module value"};
    _Static_assert(sizeof(names) / sizeof(names[0]) == VALUE_TYPE_COUNT, "one name per type");
    return names[type];
}

enum value_type value_type_of_name(const char *name)
{
    if (strcmp(name, "none") == 0) {
        return VALUE_NONE;
    }
    for (int type = VALUE_STRING; type < VALUE_OTHER; type++) {
        if (strcmp(name, value_type_name((enum value_type)type)) == 0) {
            return (enum value_type)type;
        }
    }
    return VALUE_OTHER;
}

enum value_type value_type_of_kind(enum rdb_kind kind)
{
    static const enum value_type types[RDB_KIND_COUNT] = {
        [RDB_KIND_STRING] = VALUE_STRING,
        [RDB_KIND_LIST] = VALUE_LIST,
        [RDB_KIND_SET] = VALUE_SET,
        [RDB_KIND_ZSET] = VALUE_ZSET,
        [RDB_KIND_HASH] = VALUE_HASH,
        [RDB_KIND_STREAM] = VALUE_STREAM,
        [RDB_KIND_MODULE] = VALUE_OTHER,
    };
    return kind < RDB_KIND_COUNT ? types[kind] : VALUE_OTHER;
}

enum rdb_kind value_type_kind(enum value_type type)
{
    static const enum rdb_kind kinds[VALUE_TYPE_COUNT] = {
        [VALUE_STRING] = RDB_KIND_STRING,
        [VALUE_LIST] = RDB_KIND_LIST,
        [VALUE_SET] = RDB_KIND_SET,
        [VALUE_HASH] = RDB_KIND_HASH,
        [VALUE_ZSET] = RDB_KIND_ZSET,
        [VALUE_STREAM] = RDB_KIND_STREAM,
        [VALUE_OTHER] = RDB_KIND_MODULE,
    };
    ASSERT(type != VALUE_NONE);
    return kinds[type];
}

enum value_type value_type_of_rdb(uint8_t rdb_type)
{
    return value_type_of_kind(rdb_type_kind(rdb_type, false));
}

const char *value_length_command(enum value_type type)
{
    static const char *const commands[VALUE_TYPE_COUNT] = {
        [VALUE_STRING] = "STRLEN",
        [VALUE_LIST] = "LLEN",
        [VALUE_SET] = "SCARD",
        [VALUE_HASH] = "HLEN",
        [VALUE_ZSET] = "ZCARD",
        [VALUE_STREAM] = "XLEN",
    };
    return commands[type];
}

redisReply *value_ask(struct value_reading *reading, const char *name, const char *const *extras)
{
    const char *argv[2 + VALUE_EXTRAS_MAX] = {name, reading->key};
    size_t sizes[2 + VALUE_EXTRAS_MAX] = {strlen(name), reading->key_size};
    int argc = 2;
    for (; extras != NULL && *extras != NULL; extras++) {
        ASSERT(argc < 2 + VALUE_EXTRAS_MAX);
        argv[argc] = *extras;
        sizes[argc] = strlen(*extras);
        argc++;
    }
    redisReply *reply = control_call(reading->control, argc, argv, sizes, reading->err);
    if (reply != NULL && reply->type == REDIS_REPLY_ERROR) {
        reading->is_unstable = true; /* deleted, or of another type by now */
    }
    return reply;
}

static void show_begin(struct value_reading *reading)
{
    ASSERT(reading->type != VALUE_NONE);
    ASSERT(reading->type != VALUE_OTHER);
    const struct rdb_value_begin begin = {
        .kind = value_type_kind(reading->type), .count = RDB_UNKNOWN, .bytes = RDB_UNKNOWN};
    reading->is_unstable = false;
    reading->is_stopped = false;
    if (reading->visitor->begin != NULL) {
        value_shown(reading, reading->visitor->begin(reading->arg, &begin));
    }
}

/* ---- elements ---- */

static bool is_text(const redisReply *reply)
{
    return reply->type == REDIS_REPLY_STRING || reply->type == REDIS_REPLY_STATUS;
}

static struct rdb_element element_of(const redisReply *reply)
{
    return (struct rdb_element){.bytes = (const uint8_t *)reply->str, .size = reply->len};
}

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

static void
show_string(struct value_reading *reading, const redisReply *reply, uint64_t offset, uint64_t total)
{
    struct slice piece = {.bytes = (const uint8_t *)reply->str, .size = reply->len};
    value_shown(reading, reading->visitor->string(reading->arg, piece, offset, total));
}

/* `time`: of a field, as HPEXPIRETIME gives it; NULL: it was not asked for. */
static void show_element(struct value_reading *reading,
                         const redisReply *first,
                         const redisReply *second,
                         const redisReply *time)
{
    const struct rdb_visitor *visitor = reading->visitor;
    struct rdb_element element = element_of(first);
    struct rdb_element value;
    switch (reading->type) {
    case VALUE_LIST:
        value_shown(reading, visitor->list(reading->arg, &element));
        break;
    case VALUE_SET:
        value_shown(reading, visitor->set(reading->arg, &element));
        break;
    case VALUE_ZSET:
        value_shown(reading, visitor->zset(reading->arg, &element, score_of(second)));
        break;
    default:
        value = element_of(second);
        value_shown(reading,
                    visitor->hash(reading->arg,
                                  &element,
                                  &value,
                                  time != NULL && time->integer >= 0 ? time->integer : -1));
        break;
    }
}

static bool has_pairs(enum value_type type)
{
    return type == VALUE_HASH || type == VALUE_ZSET;
}

/* Whether these are elements of such a value; `times`, if not NULL, one for each. */
static bool are_elements(enum value_type type, const redisReply *reply, const redisReply *times)
{
    size_t step = has_pairs(type) ? 2 : 1;
    if (reply->type != REDIS_REPLY_ARRAY || reply->elements % step != 0 ||
        (times != NULL &&
         (times->type != REDIS_REPLY_ARRAY || times->elements != reply->elements / step))) {
        return false;
    }
    for (size_t i = 0; i < reply->elements; i++) {
        if (!is_text(reply->element[i]) ||
            (times != NULL && times->element[i / step]->type != REDIS_REPLY_INTEGER)) {
            return false;
        }
    }
    return true;
}

/* Returns how many were shown. */
static uint64_t
show_elements(struct value_reading *reading, const redisReply *reply, const redisReply *times)
{
    size_t step = has_pairs(reading->type) ? 2 : 1;
    if (!are_elements(reading->type, reply, times)) {
        reading->is_unstable = true;
        return 0;
    }
    for (size_t i = 0; i < reply->elements && !reading->is_stopped; i += step) {
        show_element(reading,
                     reply->element[i],
                     reply->element[i + step - 1],
                     times != NULL ? times->element[i / step] : NULL);
    }
    return reply->elements / step;
}

/* ---- whole ---- */

bool value_whole_command(enum value_type type, const char **name, const char *const **extras)
{
    static const char *const range[] = {"0", "-1", NULL};
    static const char *const scored[] = {"0", "-1", "WITHSCORES", NULL};
    static const struct {
        const char *name;
        const char *const *extras;
    } commands[VALUE_TYPE_COUNT] = {
        [VALUE_STRING] = {"GET", NULL},
        [VALUE_LIST] = {"LRANGE", range},
        [VALUE_SET] = {"SMEMBERS", NULL},
        [VALUE_HASH] = {"HGETALL", NULL},
        [VALUE_ZSET] = {"ZRANGE", scored},
    };
    *name = commands[type].name;
    *extras = commands[type].extras;
    return *name != NULL;
}

void value_show_whole(struct value_reading *reading, const redisReply *reply)
{
    show_begin(reading);
    if (reading->type != VALUE_STRING) {
        show_elements(reading, reply, NULL);
    } else if (is_text(reply)) {
        show_string(reading, reply, 0, reply->len);
    } else {
        reading->is_unstable = true; /* gone, or of another type by now */
    }
}

/* ---- in pieces ---- */

static bool length_read(struct value_reading *reading, uint64_t *length)
{
    redisReply *reply = value_ask(reading, value_length_command(reading->type), NULL);
    if (reply == NULL) {
        return false;
    }
    *length = reply->type == REDIS_REPLY_INTEGER ? (uint64_t)reply->integer : 0;
    freeReplyObject(reply);
    return true;
}

uint64_t value_step_first(const struct value_reading *reading, uint64_t length)
{
    uint64_t each = length > 0 ? reading->value_bytes / length : 0;
    uint64_t count = value_piece_bytes(reading) / (each > 0 ? each : 1);
    count = count > STEP_FIRST ? STEP_FIRST : count;
    return count > 0 ? count : 1;
}

uint64_t
value_step_next(const struct value_reading *reading, uint64_t step, uint64_t count, uint64_t bytes)
{
    uint64_t each = count > 0 ? bytes / count : 0;
    uint64_t next = value_piece_bytes(reading) / (each > 0 ? each : 1);
    next = next > step * 4 ? step * 4 : next;
    next = next > VALUE_ELEMENTS_MAX ? VALUE_ELEMENTS_MAX : next;
    return next > 0 ? next : 1;
}

/* What a reply of texts takes. */
static uint64_t reply_bytes(const redisReply *reply)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < reply->elements; i++) {
        bytes += VALUE_ELEMENT_EXTRA + reply->element[i]->len;
    }
    return bytes;
}

static bool string_read(struct value_reading *reading, uint64_t length)
{
    uint64_t step = value_piece_bytes(reading);
    uint64_t seen = 0;
    do { /* an empty text is shown, too */
        char from[NUM_DIGITS_MAX + 1], to[NUM_DIGITS_MAX + 1];
        from[num_write_u64(from, seen)] = '\0';
        to[num_write_u64(to, seen + step - 1)] = '\0';
        const char *extras[] = {from, to, NULL};
        redisReply *reply = value_ask(reading, "GETRANGE", extras);
        if (reply == NULL) {
            return false;
        }
        uint64_t expected = length - seen < step ? length - seen : step;
        reading->is_unstable |= !is_text(reply) || reply->len != expected;
        if (!reading->is_unstable) {
            show_string(reading, reply, seen, length);
            seen += reply->len;
        }
        freeReplyObject(reply);
    } while (seen < length && !reading->is_unstable);
    return true;
}

/* Lists and sorted sets: by index. */
static bool ranges_read(struct value_reading *reading, uint64_t length)
{
    bool is_list = reading->type == VALUE_LIST;
    uint64_t step = value_step_first(reading, length);
    uint64_t seen = 0;
    for (uint64_t first = 0; first < length && !reading->is_unstable;) {
        char from[NUM_DIGITS_MAX + 1], to[NUM_DIGITS_MAX + 1];
        from[num_write_u64(from, first)] = '\0';
        to[num_write_u64(to, first + step - 1)] = '\0';
        const char *extras[] = {from, to, is_list ? NULL : "WITHSCORES", NULL};
        redisReply *reply = value_ask(reading, is_list ? "LRANGE" : "ZRANGE", extras);
        if (reply == NULL) {
            return false;
        }
        seen += show_elements(reading, reply, NULL);
        first += step;
        step = value_step_next(reading, step, step, reply_bytes(reply));
        freeReplyObject(reply);
    }
    reading->is_unstable |= seen != length;
    return true;
}

/* The expiry times of the fields in `pairs` (field, value, field, value …); NULL: the connection is
 * lost, or memory is out. */
static redisReply *field_times(struct value_reading *reading, const redisReply *pairs)
{
    size_t fields = pairs->elements / 2;
    const char **argv = mem_alloc(MEM_APPLY, (fields + 4) * sizeof(*argv));
    size_t *sizes = mem_alloc(MEM_APPLY, (fields + 4) * sizeof(*sizes));
    redisReply *reply = NULL;
    if (argv == NULL || sizes == NULL) {
        ERR(reading->err, SYN_CODE_MEMORY, "out of memory for the fields of a hash");
        goto out;
    }
    char count[NUM_DIGITS_MAX + 1];
    count[num_write_u64(count, fields)] = '\0';
    const char *head[] = {"HPEXPIRETIME", reading->key, "FIELDS", count};
    const size_t head_sizes[] = {12, reading->key_size, 6, strlen(count)};
    memcpy(argv, head, sizeof(head));
    memcpy(sizes, head_sizes, sizeof(head_sizes));
    for (size_t i = 0; i < fields; i++) {
        argv[4 + i] = pairs->element[2 * i]->str;
        sizes[4 + i] = pairs->element[2 * i]->len;
    }
    reply = control_call(reading->control, (int)fields + 4, argv, sizes, reading->err);
out:
    mem_free(MEM_APPLY, argv);
    mem_free(MEM_APPLY, sizes);
    return reply;
}

static bool show_scanned(struct value_reading *reading, const redisReply *elements, uint64_t *seen)
{
    redisReply *times = NULL;
    bool with_times = reading->type == VALUE_HASH && reading->with_field_ttl;
    if (with_times && are_elements(VALUE_HASH, elements, NULL) && elements->elements > 0) {
        times = field_times(reading, elements);
        if (times == NULL) {
            return false;
        }
    }
    *seen += show_elements(reading, elements, times);
    if (times != NULL) {
        freeReplyObject(times);
    }
    return true;
}

/* Sets and hashes: by cursor. */
static bool scan_read(struct value_reading *reading, uint64_t length)
{
    uint64_t step = value_step_first(reading, length);
    char cursor[NUM_DIGITS_MAX + 1] = "0";
    uint64_t seen = 0;
    do {
        char count[NUM_DIGITS_MAX + 1];
        count[num_write_u64(count, step)] = '\0';
        const char *extras[] = {cursor, "COUNT", count, NULL};
        redisReply *reply =
            value_ask(reading, reading->type == VALUE_SET ? "SSCAN" : "HSCAN", extras);
        if (reply == NULL) {
            return false;
        }
        bool ok = true;
        if (reply->type == REDIS_REPLY_ARRAY && reply->elements == 2 &&
            reply->element[0]->str != NULL) {
            snprintf(cursor, sizeof(cursor), "%s", reply->element[0]->str);
            ok = show_scanned(reading, reply->element[1], &seen);
            step = value_step_next(reading, step, step, reply_bytes(reply->element[1]));
        } else {
            reading->is_unstable = true;
        }
        freeReplyObject(reply);
        if (!ok) {
            return false;
        }
    } while (strcmp(cursor, "0") != 0 && !reading->is_unstable);
    /* A table that shrank meanwhile gives elements twice. */
    bool may_hide = reading->type == VALUE_HASH && reading->has_hidden;
    reading->is_unstable |= (seen > length && !reading->may_repeat) || (seen < length && !may_hide);
    return true;
}

bool value_read(struct value_reading *reading)
{
    show_begin(reading);
    if (reading->type == VALUE_STREAM) {
        return value_read_stream(reading);
    }
    uint64_t length;
    if (!length_read(reading, &length)) {
        return false;
    }
    if (reading->is_unstable) {
        return true;
    }
    switch (reading->type) {
    case VALUE_STRING:
        return string_read(reading, length);
    case VALUE_SET:
    case VALUE_HASH:
        return scan_read(reading, length);
    default:
        return ranges_read(reading, length);
    }
}
