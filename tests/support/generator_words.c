#include "tests/support/generator_words.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "core/base/alloc.h"
#include "core/base/clock.h"
#include "core/base/slot.h"
#include "tests/support/servers.h"

#define GROUP_MAX 4 /* of { … } */
#define TOKENS_MAX 48
#define HOURS_MAX 1000

/* Keys whose names are odd. The first is in slot 0, as all that have an empty name are. */
static const struct {
    const char *at;
    size_t size;
} odd_names[] = {
    {"", 0},
    {"{}braces{first}", 15},
    {"}{", 2},
    {"open{brace", 10},
    {"\r\n*1\r\n$4\r\nPING\r\n\0\xff", 18},
    {"{tag} and more", 14},
};
#define ODD_COUNT (sizeof(odd_names) / sizeof(odd_names[0]))

static const char *const pools[] = {"str",
                                    "num",
                                    "float",
                                    "bit",
                                    "hll",
                                    "list",
                                    "set",
                                    "zset",
                                    "geo",
                                    "hash",
                                    "fhash",
                                    "stream",
                                    "xauto",
                                    "any"};
#define POOL_COUNT (sizeof(pools) / sizeof(pools[0]))

void maker_init(struct maker *maker, struct generator_shared *shared, uint64_t seed)
{
    memset(maker, 0, sizeof(*maker));
    maker->shared = shared;
    maker->random.state = seed;
    maker->bytes = mem_alloc(MEM_TOOLS, WORDS_BYTES);
    if (maker->bytes == NULL)
        test_fatal("out of memory");
}

void maker_deinit(struct maker *maker)
{
    mem_free(MEM_TOOLS, maker->bytes);
    maker->bytes = NULL;
}

uint32_t maker_below(struct maker *maker, uint32_t bound)
{
    return random_below(&maker->random, bound);
}

void maker_move(struct maker *maker)
{
    maker->tag = maker_below(maker, GENERATOR_TAGS);
    if (maker_below(maker, 40) == 0)
        maker->tag = GENERATOR_TAGS + maker_below(maker, ODD_COUNT);
}

/* ---- words ---- */

static char *room(struct maker *maker, size_t size)
{
    if (maker->argc == WORDS_MAX || WORDS_BYTES - maker->used < size)
        test_fatal("a generated command is too large");
    return maker->bytes + maker->used;
}

/* What was written into the room becomes a word. */
static void add_written(struct maker *maker, size_t size)
{
    maker->argv[maker->argc] = maker->bytes + maker->used;
    maker->sizes[maker->argc++] = size;
    maker->used += size;
}

static void add_bytes(struct maker *maker, const void *bytes, size_t size)
{
    memcpy(room(maker, size), bytes, size);
    add_written(maker, size);
}

static void add_text(struct maker *maker, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static void add_text(struct maker *maker, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int size = vsnprintf(room(maker, 256), 256, format, args);
    va_end(args);
    add_written(maker, (size_t)size);
}

/* ---- keys ---- */

/* Pools whose keys nobody else may touch: "none" stays empty, what lives for moments is only
 * overwritten, "lex" has one score, and vector sets are found nowhere else. */
static bool pool_is_pure(const char *pool)
{
    return strncmp(pool, "none", 4) == 0 || strncmp(pool, "lex", 3) == 0 || pool[0] == 'v';
}

bool maker_fits(const struct maker *maker, const struct form *form)
{
    bool is_odd = maker->tag >= GENERATOR_TAGS;
    for (const char *at = form->text; is_odd && (at = strpbrk(at, "<*#")) != NULL; at++) {
        if (pool_is_pure(at + 1))
            return false;
    }
    return true;
}

static void add_key(struct maker *maker, const char *pool)
{
    const struct generator_options *options = &maker->shared->options;
    if (options->is_cross_slot)
        maker_move(maker);
    if (maker->key_at < 0)
        maker->key_at = maker->argc;
    if (strcmp(pool, "key") == 0)
        pool = pools[maker_below(maker, POOL_COUNT)];
    bool is_pure = pool_is_pure(pool);
    if (!is_pure && maker_below(maker, 25) == 0)
        pool = "any";
    while (is_pure && options->is_cross_slot && maker->tag >= GENERATOR_TAGS)
        maker_move(maker);
    if (maker->tag >= GENERATOR_TAGS) {
        uint32_t odd = maker->tag - GENERATOR_TAGS;
        maker->stream_tag = maker->stream_index = 0;
        add_bytes(maker, odd_names[odd].at, odd_names[odd].size);
        return;
    }
    uint32_t index = maker_below(maker, GENERATOR_KEYS_PER_TAG);
    maker->stream_tag = maker->tag;
    maker->stream_index = index;
    if (index == 2 && strcmp(pool, "any") == 0) /* a binary one */
        add_bytes(maker,
                  room(maker, 64),
                  (size_t)snprintf(room(maker, 64), 64, "any:{g%u}:\r\n\xff\x01", maker->tag));
    else
        add_text(maker, "%s:{g%u}:%u", pool, maker->tag, index);
}

static void add_keys(struct maker *maker, const char *pool, bool is_counted)
{
    uint32_t count = 1 + maker_below(maker, 3);
    if (is_counted)
        add_text(maker, "%u", count);
    for (uint32_t i = 0; i < count; i++)
        add_key(maker, pool);
}

/* ---- values ---- */

static void add_random(struct maker *maker, size_t size)
{
    char *out = room(maker, size);
    for (size_t i = 0; i < size; i++)
        out[i] = (char)random_next(&maker->random);
    add_written(maker, size);
}

static void add_repeated(struct maker *maker, size_t size)
{
    char *out = room(maker, size);
    for (size_t i = 0; i < size; i++)
        out[i] = (char)('a' + (i / 7 + size) % 20);
    add_written(maker, size);
}

static void value_value(struct maker *maker)
{
    uint32_t kind = maker_below(maker, 1000);
    if (kind < 30)
        add_text(maker, "%s", "");
    else if (kind < 330)
        add_text(maker, "value %u", maker_below(maker, 100000));
    else if (kind < 450)
        add_text(maker, "%d", (int)maker_below(maker, 200000) - 100000);
    else if (kind < 700)
        add_random(maker, maker_below(maker, 64));
    else if (kind < 997)
        add_repeated(maker, maker_below(maker, 1500));
    else if (kind < 999)
        add_random(maker, maker_below(maker, 40000));
    else
        add_repeated(maker, maker_below(maker, 200000));
}

static void value_tiny(struct maker *maker)
{
    add_text(maker, "%c", (char)('a' + maker_below(maker, 5)));
}

static void value_element(struct maker *maker)
{
    uint32_t kind = maker_below(maker, 100);
    if (kind < 60)
        add_text(maker, "m%u", maker_below(maker, 200));
    else if (kind < 75)
        add_text(maker, "%u", maker_below(maker, 3));
    else
        value_value(maker);
}

static void value_member(struct maker *maker)
{
    uint32_t kind = maker_below(maker, 100);
    if (kind < 75)
        add_text(maker, "m%u", maker_below(maker, 60));
    else if (kind < 85)
        add_text(maker, "%u", maker_below(maker, 1000));
    else if (kind < 95)
        add_text(maker, "m%u", maker_below(maker, 3000));
    else if (kind < 97)
        add_text(maker, "%s", "");
    else
        add_random(maker, maker_below(maker, 80));
}

static void value_field(struct maker *maker)
{
    uint32_t kind = maker_below(maker, 100);
    if (kind < 85)
        add_text(maker, "f%u", maker_below(maker, 40));
    else if (kind < 95)
        add_text(maker, "f%u", maker_below(maker, 2000));
    else
        add_random(maker, maker_below(maker, 20));
}

static void value_number_field(struct maker *maker)
{
    add_text(maker, "n%u", maker_below(maker, 6));
}

static void value_float_field(struct maker *maker)
{
    add_text(maker, "x%u", maker_below(maker, 6));
}

static void value_integer(struct maker *maker)
{
    add_text(maker, "%d", (int)maker_below(maker, 2000) - 1000);
}

static void value_float(struct maker *maker)
{
    add_text(maker, "%.3f", (int)maker_below(maker, 200000) / 1000.0 - 100.0);
}

static void value_score(struct maker *maker)
{
    uint32_t kind = maker_below(maker, 100);
    if (kind < 50)
        value_integer(maker);
    else if (kind < 90)
        value_float(maker);
    else if (kind < 92)
        add_text(maker, "%s", maker_below(maker, 2) ? "+inf" : "-inf");
    else if (kind < 96)
        add_text(maker, "%u.%u", maker_below(maker, 1000), maker_below(maker, 1000000000));
    else
        add_text(maker, "%ue%d", 1 + maker_below(maker, 9), (int)maker_below(maker, 40) - 20);
}

static void value_open_score(struct maker *maker)
{
    add_text(maker, "(%d", (int)maker_below(maker, 1000));
}

static void value_small(struct maker *maker)
{
    add_text(maker, "%u", maker_below(maker, 200));
}

static void value_few(struct maker *maker)
{
    add_text(maker, "%u", 1 + maker_below(maker, 4));
}

static void value_index(struct maker *maker)
{
    add_text(maker, "%d", (int)maker_below(maker, 30) - 8);
}

static void value_bit(struct maker *maker)
{
    add_text(maker, "%u", maker_below(maker, maker_below(maker, 50) == 0 ? 500000 : 2000));
}

static void value_longitude(struct maker *maker)
{
    add_text(maker, "%.4f", (int)maker_below(maker, 3600000) / 10000.0 - 180.0);
}

static void value_latitude(struct maker *maker)
{
    add_text(maker, "%.4f", (int)maker_below(maker, 1700000) / 10000.0 - 85.0);
}

/* ---- times ---- */

static uint32_t hours_s(struct maker *maker)
{
    return 3600 * (2 + maker_below(maker, HOURS_MAX));
}

static void value_hours(struct maker *maker)
{
    add_text(maker, "%u", hours_s(maker));
}

static void value_hours_ms(struct maker *maker)
{
    add_text(maker, "%u%03u", hours_s(maker), maker_below(maker, 1000));
}

static void value_day(struct maker *maker)
{
    add_text(maker, "%" PRId64, clock_unix_ms() / 1000 + hours_s(maker));
}

static void value_day_ms(struct maker *maker)
{
    add_text(maker, "%" PRId64, clock_unix_ms() + 1000 * (int64_t)hours_s(maker));
}

static void value_past_ms(struct maker *maker)
{
    add_text(maker, "%u", 1000 + maker_below(maker, 1000));
}

static uint32_t moment(struct maker *maker)
{
    return 1 + maker_below(maker, GENERATOR_VOLATILE_MS);
}

static void value_moment(struct maker *maker)
{
    add_text(maker, "%u", moment(maker));
}

static void value_soon_ms(struct maker *maker)
{
    add_text(maker, "%" PRId64, clock_unix_ms() + moment(maker));
}

/* ---- streams ---- */

static _Atomic uint64_t *last_id(struct maker *maker)
{
    return &maker->shared->stream_ids[maker->stream_tag][maker->stream_index];
}

static void value_next_id(struct maker *maker)
{
    add_text(maker,
             "%" PRIu64 "-%u",
             atomic_add_relaxed(last_id(maker), 1) + 1,
             1 + maker_below(maker, 2));
}

static void value_next_ms_any(struct maker *maker)
{
    add_text(maker, "%" PRIu64 "-*", atomic_add_relaxed(last_id(maker), 1) + 1);
}

/* One that the stream may well have. A stream may be named behind its ids (XREADGROUP): then it is
 * one of the command before, and no worse. */
static void value_id(struct maker *maker)
{
    uint64_t last = atomic_load_relaxed(last_id(maker));
    uint64_t back = maker_below(maker, 40);
    add_text(maker, "%" PRIu64 "-1", last > back ? last - back : 1);
}

static void value_group(struct maker *maker)
{
    add_text(maker, "group%u", maker_below(maker, 2));
}

static void value_consumer(struct maker *maker)
{
    add_text(maker, "consumer%u", maker_below(maker, 4));
}

/* ---- the rest ---- */

static void value_payload(struct maker *maker)
{
    const struct generator_shared *shared = maker->shared;
    const struct generator_bytes *payload =
        &shared->payloads[maker_below(maker, shared->payload_count)];
    add_bytes(maker, payload->at, payload->size);
}

static void value_db(struct maker *maker)
{
    uint32_t count = maker->shared->options.db_count;
    add_text(maker, "%u", maker_below(maker, count > 0 ? count : 1));
}

static void value_pattern(struct maker *maker)
{
    add_text(maker, "num:{g%u}:*", maker->tag < GENERATOR_TAGS ? maker->tag : 0);
}

static void value_library(struct maker *maker)
{
    static const char *const bodies[] = {
        "redis.call('SET', k[1], a[1]) return redis.call('INCR', k[2])",
        "return redis.call('SET', k[1], a[1])",
        "redis.call('APPEND', k[1], a[1]) return redis.call('INCRBY', k[2], 2)",
    };
    uint32_t name = maker_below(maker, 2);
    add_text(maker,
             "#!lua name=lib%u\nredis.register_function('f%u', function(k, a) %s end)",
             name,
             name,
             bodies[maker_below(maker, 3)]);
}

static void value_libraries(struct maker *maker)
{
    const struct generator_bytes *libraries = &maker->shared->libraries;
    add_bytes(maker, libraries->at, libraries->size);
}

static const struct {
    const char *name;
    void (*make)(struct maker *maker);
} values[] = {
    {"value", value_value},
    {"tiny", value_tiny},
    {"element", value_element},
    {"member", value_member},
    {"field", value_field},
    {"number_field", value_number_field},
    {"float_field", value_float_field},
    {"integer", value_integer},
    {"float", value_float},
    {"score", value_score},
    {"open_score", value_open_score},
    {"small", value_small},
    {"few", value_few},
    {"index", value_index},
    {"bit", value_bit},
    {"longitude", value_longitude},
    {"latitude", value_latitude},
    {"hours", value_hours},
    {"hours_ms", value_hours_ms},
    {"day", value_day},
    {"day_ms", value_day_ms},
    {"past_ms", value_past_ms},
    {"moment", value_moment},
    {"soon_ms", value_soon_ms},
    {"next_id", value_next_id},
    {"next_ms_any", value_next_ms_any},
    {"id", value_id},
    {"group", value_group},
    {"consumer", value_consumer},
    {"payload", value_payload},
    {"db", value_db},
    {"pattern", value_pattern},
    {"library", value_library},
    {"libraries", value_libraries},
};

static uint32_t script_number(const char *digits)
{
    return (uint32_t)(digits[0] - '0');
}

static void add_value(struct maker *maker, const char *kind)
{
    if (strncmp(kind, "script", 6) == 0) {
        const char *text = generator_scripts[script_number(kind + 6)];
        add_bytes(maker, text, strlen(text));
        return;
    }
    if (strncmp(kind, "sha", 3) == 0) {
        add_text(maker, "%s", maker->shared->shas[script_number(kind + 3)]);
        return;
    }
    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
        if (strcmp(kind, values[i].name) == 0) {
            values[i].make(maker);
            return;
        }
    }
    test_fatal("the generator has no values of kind %s", kind);
}

/* ---- forms ---- */

/* One of A|B|C, cut in place. */
static char *choose(struct maker *maker, char *token)
{
    char *choices[8];
    uint32_t count = 0;
    char *rest = NULL;
    if (strchr(token, '|') == NULL)
        return token;
    for (char *word = strtok_r(token, "|", &rest); word != NULL && count < 8;
         word = strtok_r(NULL, "|", &rest))
        choices[count++] = word;
    return choices[maker_below(maker, count)];
}

static void add_token(struct maker *maker, const char *token)
{
    char word[64];
    snprintf(word, sizeof(word), "%s", token);
    char *chosen = choose(maker, word);
    size_t size = strlen(chosen);
    if (chosen[0] == '<' && chosen[size - 1] == '>') {
        chosen[size - 1] = '\0';
        add_key(maker, chosen + 1);
    } else if (chosen[0] == '*' && size > 1) {
        add_keys(maker, chosen + 1, false);
    } else if (chosen[0] == '#' && size > 1) {
        add_keys(maker, chosen + 1, true);
    } else if (chosen[0] == '@') {
        add_value(maker, chosen + 1);
    } else {
        add_bytes(maker, chosen, size);
    }
}

static bool is_mark(const char *token, char mark)
{
    return token[0] == mark && token[1] == '\0';
}

/* The place of the mark that closes a group. */
static uint32_t find_mark(char *const *tokens, uint32_t from, uint32_t count, char mark)
{
    while (from < count && !is_mark(tokens[from], mark))
        from++;
    if (from == count)
        test_fatal("a form of the generator lacks a %c", mark);
    return from;
}

void maker_make(struct maker *maker, const struct form *form)
{
    char text[256];
    char *tokens[TOKENS_MAX];
    uint32_t count = 0;
    char *rest = NULL;
    maker->argc = 0;
    maker->used = 0;
    maker->key_at = -1;
    snprintf(text, sizeof(text), "%s", form->text);
    for (char *token = strtok_r(text, " ", &rest); token != NULL && count < TOKENS_MAX;
         token = strtok_r(NULL, " ", &rest))
        tokens[count++] = token;
    for (uint32_t i = 0; i < count; i++) {
        bool is_option = is_mark(tokens[i], '[');
        bool is_group = is_mark(tokens[i], '{');
        if (!is_option && !is_group) {
            add_token(maker, tokens[i]);
            continue;
        }
        uint32_t end = find_mark(tokens, i, count, is_option ? ']' : '}');
        uint32_t times = is_option ? maker_below(maker, 2) : 1 + maker_below(maker, GROUP_MAX);
        for (uint32_t n = 0; n < times; n++) {
            for (uint32_t at = i + 1; at < end; at++)
                add_token(maker, tokens[at]);
        }
        i = end;
    }
}
