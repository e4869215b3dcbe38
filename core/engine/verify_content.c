/*
 * A value by its elements: two servers may hold the same value in different encodings (thresholds,
 * versions, the hash seed's order), so equal content is what counts, not equal bytes.
 */
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <xxhash.h>

#include "core/engine/verify_private.h"
#include "rdb/rdb.h"

#define PIECE_ELEMENTS_MAX 10000u
#define PIECE_ELEMENTS_MIN 8u
#define PIECE_BYTES (8ull << 20)
#define STRING_PIECE_BYTES (4ull << 20)

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

enum value_type value_type_of_rdb(uint8_t rdb_type)
{
    static const enum value_type types[RDB_TYPE_COUNT] = {
        [RDB_TYPE_STRING] = VALUE_STRING,
        [RDB_TYPE_LIST] = VALUE_LIST,
        [RDB_TYPE_LIST_ZIPLIST] = VALUE_LIST,
        [RDB_TYPE_LIST_QUICKLIST] = VALUE_LIST,
        [RDB_TYPE_LIST_QUICKLIST_2] = VALUE_LIST,
        [RDB_TYPE_SET] = VALUE_SET,
        [RDB_TYPE_SET_INTSET] = VALUE_SET,
        [RDB_TYPE_SET_LISTPACK] = VALUE_SET,
        [RDB_TYPE_ZSET] = VALUE_ZSET,
        [RDB_TYPE_ZSET_2] = VALUE_ZSET,
        [RDB_TYPE_ZSET_ZIPLIST] = VALUE_ZSET,
        [RDB_TYPE_ZSET_LISTPACK] = VALUE_ZSET,
        [RDB_TYPE_HASH] = VALUE_HASH,
        [RDB_TYPE_HASH_ZIPMAP] = VALUE_HASH,
        [RDB_TYPE_HASH_ZIPLIST] = VALUE_HASH,
        [RDB_TYPE_HASH_LISTPACK] = VALUE_HASH,
        [RDB_TYPE_HASH_METADATA_PRE_GA] = VALUE_HASH,
        [RDB_TYPE_HASH_LISTPACK_EX_PRE_GA] = VALUE_HASH,
        [RDB_TYPE_HASH_METADATA] = VALUE_HASH,
        [RDB_TYPE_HASH_LISTPACK_EX] = VALUE_HASH,
        [RDB_TYPE_STREAM_LISTPACKS] = VALUE_STREAM,
        [RDB_TYPE_STREAM_LISTPACKS_2] = VALUE_STREAM,
        [RDB_TYPE_STREAM_LISTPACKS_3] = VALUE_STREAM,
    };
    enum value_type type = rdb_type < RDB_TYPE_COUNT ? types[rdb_type] : VALUE_OTHER;
    return type == VALUE_NONE ? VALUE_OTHER : type;
}

/* ---- digests ---- */

bool content_equal(const struct content *a, const struct content *b)
{
    return !a->is_unstable && !b->is_unstable && a->low == b->low && a->high == b->high &&
           a->count == b->count;
}

void content_add(struct content *content, const void *bytes, size_t size, uint64_t seed)
{
    XXH128_hash_t hash = XXH3_128bits_withSeed(size > 0 ? bytes : "", size, seed);
    content->low += hash.low64;
    content->high += hash.high64;
}

static bool is_text(const redisReply *reply)
{
    return reply->type == REDIS_REPLY_STRING || reply->type == REDIS_REPLY_STATUS;
}

/* Field and value are tied by hashing the one with the other's hash as seed. */
static uint64_t pair_add(struct content *content, const redisReply *field, const redisReply *value)
{
    uint64_t seed = XXH3_64bits(field->len > 0 ? field->str : "", field->len);
    content_add(content, value->str, value->len, seed);
    return seed;
}

static locale_t plain_locale;

/* The host of this library may use a locale with another decimal point. */
__attribute__((constructor)) static void plain_locale_make(void)
{
    plain_locale = newlocale(LC_ALL_MASK, "C", (locale_t)0);
}

/* Scores as numbers: versions write the same double with different digits. -0 becomes 0 when a
 * server re-packs a sorted set, so the two are the same here. */
static void score_add(struct content *content, const redisReply *member, const redisReply *score)
{
    double value = plain_locale != (locale_t)0 ? strtod_l(score->str, NULL, plain_locale)
                                               : strtod(score->str, NULL);
    if (value == 0) {
        value = 0;
    }
    uint64_t bits;
    _Static_assert(sizeof(bits) == sizeof(value), "a double is hashed as 64 bits");
    memcpy(&bits, &value, sizeof(bits));
    content_add(
        content, &bits, sizeof(bits), XXH3_64bits(member->len > 0 ? member->str : "", member->len));
}

/* `first`: the index of the first element, for lists. */
static void
elements_add(enum value_type type, const redisReply *reply, uint64_t first, struct content *content)
{
    size_t step = type == VALUE_HASH || type == VALUE_ZSET ? 2 : 1;
    if (reply->type != REDIS_REPLY_ARRAY || reply->elements % step != 0) {
        content->is_unstable = true;
        return;
    }
    for (size_t i = 0; i < reply->elements; i += step) {
        const redisReply *element = reply->element[i];
        if (!is_text(element) || (step == 2 && !is_text(reply->element[i + 1]))) {
            content->is_unstable = true;
            return;
        }
        switch (type) {
        case VALUE_LIST:
            content_add(content, element->str, element->len, first + i + 1);
            break;
        case VALUE_HASH:
            pair_add(content, element, reply->element[i + 1]);
            break;
        case VALUE_ZSET:
            score_add(content, element, reply->element[i + 1]);
            break;
        default:
            content_add(content, element->str, element->len, 0);
            break;
        }
    }
    content->count += reply->elements / step;
}

bool content_whole_command(enum value_type type, const char **name, const char *const **extras)
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

void content_of_reply(enum value_type type, const redisReply *reply, struct content *content)
{
    *content = (struct content){.count = 0};
    if (reply->type == REDIS_REPLY_ERROR) {
        content->is_unstable = true; /* of another type by now */
    } else if (type == VALUE_STRING) {
        content->is_unstable = !is_text(reply);
        if (is_text(reply)) {
            content_add(content, reply->str, reply->len, 0);
            content->count = reply->len;
        }
    } else {
        elements_add(type, reply, 0, content);
    }
}

/* ---- in pieces ---- */

/* One reading: the link, the key and what it came to so far. */
struct reading {
    struct verify_link *link;
    enum value_type type;
    const char *key;
    size_t key_size;
    const struct content_options *options;
    struct content *content;
    struct syn_err *err;
};

/* One command on the key; NULL: the connection is lost. An error reply makes the content unstable
 * and is returned. */
static redisReply *ask(struct reading *reading, const char *name, const char *const *extras)
{
    if (!verify_append(
            reading->link, name, reading->key, reading->key_size, extras, reading->err)) {
        return NULL;
    }
    redisReply *reply = control_fetch(&reading->link->control, reading->err);
    if (reply != NULL && reply->type == REDIS_REPLY_ERROR) {
        reading->content->is_unstable = true;
    }
    return reply;
}

static bool length_read(struct reading *reading, uint64_t *length)
{
    static const char *const commands[VALUE_TYPE_COUNT] = {
        [VALUE_STRING] = "STRLEN",
        [VALUE_LIST] = "LLEN",
        [VALUE_SET] = "SCARD",
        [VALUE_HASH] = "HLEN",
        [VALUE_ZSET] = "ZCARD",
    };
    redisReply *reply = ask(reading, commands[reading->type], NULL);
    if (reply == NULL) {
        return false;
    }
    *length = reply->type == REDIS_REPLY_INTEGER ? (uint64_t)reply->integer : 0;
    freeReplyObject(reply);
    return true;
}

/* So many elements that a piece's reply stays near PIECE_BYTES. */
static uint64_t piece_elements(const struct reading *reading, uint64_t length)
{
    uint64_t each = length > 0 ? reading->options->value_bytes / length : 0;
    uint64_t count = PIECE_BYTES / (each > 0 ? each : PIECE_BYTES / PIECE_ELEMENTS_MAX);
    if (count > PIECE_ELEMENTS_MAX) {
        return PIECE_ELEMENTS_MAX;
    }
    return count < PIECE_ELEMENTS_MIN ? PIECE_ELEMENTS_MIN : count;
}

/* Strings, lists and sorted sets: by index. */
static bool ranges_read(struct reading *reading, uint64_t length)
{
    bool is_string = reading->type == VALUE_STRING;
    const char *name = is_string ? "GETRANGE" : reading->type == VALUE_LIST ? "LRANGE" : "ZRANGE";
    uint64_t step = is_string ? STRING_PIECE_BYTES : piece_elements(reading, length);
    struct content *content = reading->content;
    for (uint64_t first = 0; first < length && !content->is_unstable; first += step) {
        char from[NUM_DIGITS_MAX + 1], to[NUM_DIGITS_MAX + 1];
        from[num_write_u64(from, first)] = '\0';
        to[num_write_u64(to, first + step - 1)] = '\0';
        const char *extras[] = {from, to, reading->type == VALUE_ZSET ? "WITHSCORES" : NULL, NULL};
        redisReply *reply = ask(reading, name, extras);
        if (reply == NULL) {
            return false;
        }
        if (!is_string) {
            elements_add(reading->type, reply, first, content);
        } else if (is_text(reply)) {
            content_add(content, reply->str, reply->len, first);
            content->count += reply->len;
        }
        freeReplyObject(reply);
    }
    return true;
}

/* The expiry times of the fields in `pairs` (field, value, field, value …) join the digest. */
static bool field_ttls_add(struct reading *reading, const redisReply *pairs)
{
    size_t fields = pairs->elements / 2;
    const char **argv = mem_alloc(MEM_ENGINE, (fields + 4) * sizeof(*argv));
    size_t *sizes = mem_alloc(MEM_ENGINE, (fields + 4) * sizeof(*sizes));
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
    reply = control_call(&reading->link->control, (int)fields + 4, argv, sizes, reading->err);
    if (reply == NULL) {
        goto out;
    }
    if (reply->type != REDIS_REPLY_ARRAY || reply->elements != fields) {
        reading->content->is_unstable = true;
        goto out;
    }
    for (size_t i = 0; i < fields; i++) {
        const redisReply *field = pairs->element[2 * i];
        int64_t at = reply->element[i]->integer;
        if (at >= 0) {
            content_add(reading->content, &at, sizeof(at), ~XXH3_64bits(field->str, field->len));
        }
    }
out:
    mem_free(MEM_ENGINE, argv);
    mem_free(MEM_ENGINE, sizes);
    bool ok = reply != NULL;
    if (ok) {
        freeReplyObject(reply);
    }
    return ok;
}

/* Sets and hashes: by cursor. */
static bool scan_read(struct reading *reading, uint64_t length)
{
    char count[NUM_DIGITS_MAX + 1];
    count[num_write_u64(count, piece_elements(reading, length))] = '\0';
    char cursor[NUM_DIGITS_MAX + 1] = "0";
    bool with_ttl = reading->type == VALUE_HASH && reading->options->with_field_ttl;
    struct content *content = reading->content;
    do {
        const char *extras[] = {cursor, "COUNT", count, NULL};
        redisReply *reply = ask(reading, reading->type == VALUE_SET ? "SSCAN" : "HSCAN", extras);
        if (reply == NULL) {
            return false;
        }
        bool ok = true;
        if (reply->type == REDIS_REPLY_ARRAY && reply->elements == 2 &&
            reply->element[0]->str != NULL) {
            snprintf(cursor, sizeof(cursor), "%s", reply->element[0]->str);
            elements_add(reading->type, reply->element[1], 0, content);
            if (with_ttl && !content->is_unstable && reply->element[1]->elements > 0) {
                ok = field_ttls_add(reading, reply->element[1]);
            }
        } else {
            content->is_unstable = true;
        }
        freeReplyObject(reply);
        if (!ok) {
            return false;
        }
    } while (strcmp(cursor, "0") != 0 && !content->is_unstable);
    /* A table that shrank meanwhile gives elements twice. With field TTLs the length also counts
     * fields whose time has come and which a scan does not show. */
    if (!with_ttl && content->count != length) {
        content->is_unstable = true;
    }
    return true;
}

bool content_read(struct verify_link *link,
                  enum value_type type,
                  const char *key,
                  size_t key_size,
                  const struct content_options *options,
                  struct content *content,
                  struct syn_err *err)
{
    ASSERT(type != VALUE_NONE);
    ASSERT(type != VALUE_OTHER);
    *content = (struct content){.count = 0};
    if (type == VALUE_STREAM) {
        return content_read_stream(link, key, key_size, options, content, err);
    }
    struct reading reading = {link, type, key, key_size, options, content, err};
    uint64_t length;
    if (!length_read(&reading, &length)) {
        return false;
    }
    if (type == VALUE_SET || type == VALUE_HASH) {
        return scan_read(&reading, length);
    }
    if (!ranges_read(&reading, length)) {
        return false;
    }
    if (content->count != length) {
        content->is_unstable = true;
    }
    return true;
}
