/*
 * Reading RDB files through syn.h. If the window moved bytes wrongly, some cut of the feed would
 * change what the visitor sees; if counting skipped or stopped in the wrong place, counts would
 * differ from what showing every element gives, and from what the servers said before saving.
 */
#include "tests/base/test.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "core/engine/syn.h"

#define TYPES_MAX 32
#define DBS_MAX 16
#define SMALL_BYTES_MAX 10000

struct fixture {
    const char *name;
    const char *magic;
    uint16_t version;
    uint64_t keys_by_db[DBS_MAX];
    uint64_t keys_by_type[TYPES_MAX]; /* all 0: not recorded */
    uint64_t expiring;
    uint64_t aux;
    uint64_t functions;
};

/* The same numbers as in tests/rdb/test_parser.c: what the servers said of their data. */
static const struct fixture fixtures[] = {
    {.name = "redis-2.6.17",
     .magic = "REDIS",
     .version = 6,
     .keys_by_db = {[0] = 168, [1] = 16, [2] = 3, [9] = 3, [15] = 3},
     .keys_by_type =
         {[0] = 138, [10] = 13, [11] = 10, [12] = 8, [13] = 10, [1] = 3, [2] = 5, [3] = 4, [4] = 2},
     .expiring = 14},
    {.name = "redis-4.0.14-lfu",
     .magic = "REDIS",
     .version = 8,
     .keys_by_db = {[0] = 11, [3] = 1},
     .keys_by_type = {[0] = 5, [11] = 1, [12] = 1, [13] = 1, [14] = 1, [2] = 1, [4] = 1, [5] = 1},
     .expiring = 1,
     .aux = 5},
    {.name = "redis-5.0.14",
     .magic = "REDIS",
     .version = 9,
     .keys_by_db = {[0] = 187, [1] = 16, [2] = 3, [9] = 3, [15] = 3},
     .keys_by_type = {[0] = 144,
                      [11] = 10,
                      [12] = 9,
                      [13] = 10,
                      [14] = 18,
                      [15] = 10,
                      [2] = 5,
                      [4] = 2,
                      [5] = 4},
     .expiring = 15,
     .aux = 5},
    {.name = "redis-5.0.14-sync",
     .magic = "REDIS",
     .version = 9,
     .keys_by_db = {[0] = 12, [3] = 1},
     .keys_by_type =
         {[0] = 5, [11] = 1, [12] = 1, [13] = 1, [14] = 1, [15] = 1, [2] = 1, [4] = 1, [5] = 1},
     .expiring = 1,
     .aux = 11},
    {.name = "redis-7.4.1",
     .magic = "REDIS",
     .version = 12,
     .keys_by_db = {[0] = 196, [1] = 16, [2] = 3, [9] = 3, [15] = 3},
     .keys_by_type = {[0] = 144,
                      [11] = 10,
                      [16] = 10,
                      [17] = 9,
                      [18] = 20,
                      [20] = 3,
                      [21] = 10,
                      [24] = 2,
                      [25] = 4,
                      [2] = 3,
                      [4] = 2,
                      [5] = 4},
     .expiring = 16,
     .aux = 5,
     .functions = 2},
    {.name = "redis-2.8.24-snapshot",
     .magic = "REDIS",
     .version = 6,
     .keys_by_db = {[0] = 40, [1] = 8, [5] = 8}},
    {.name = "redis-7.0.15-snapshot",
     .magic = "REDIS",
     .version = 10,
     .keys_by_db = {[0] = 43, [1] = 8, [5] = 8}},
    {.name = "valkey-9.1.2-ver9-snapshot",
     .magic = "VALKEY",
     .version = 80,
     .keys_by_db = {[0] = 45, [1] = 8, [5] = 8}},
};
#define FIXTURE_COUNT (sizeof(fixtures) / sizeof(fixtures[0]))

static void path_of(const char *name, char path[512])
{
    snprintf(path, 512, "%s/rdb/%s/dump.rdb", TEST_FIXTURES, name);
}

/* Room for one byte more than the file. */
static uint8_t *load(const char *name, size_t *size)
{
    char path[512];
    path_of(name, path);
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    static const size_t limit = (size_t)4 << 20;
    uint8_t *bytes = malloc(limit);
    assert_non_null(bytes);
    *size = fread(bytes, 1, limit - 1, file);
    assert_true(*size > 0);
    fclose(file);
    return bytes;
}

/* ---- a visitor that adds up all it sees ---- */

struct seen {
    uint64_t digest;
    char magic[8];
    uint16_t version;
    uint64_t aux, functions, databases, keys, key_ends, elements, expiring;
    uint64_t value_bytes;
    uint64_t counted; /* sum over keys of `elements`, and a mix with their names */
    uint64_t counts;
    uint64_t keys_by_db[DBS_MAX];
    uint64_t keys_by_type[TYPES_MAX];
    enum syn_rdb_verdict verdict;
    unsigned verdicts;
    uint64_t live_max;
    /* what to answer, and when */
    enum syn_rdb_flow at_key;
    enum syn_rdb_flow at_element;
    uint64_t after_elements;
};

static void mix(struct seen *seen, uint64_t number)
{
    seen->digest = (seen->digest ^ number) * 0x9e3779b97f4a7c15u;
    seen->digest ^= seen->digest >> 29;
}

static void mix_text(struct seen *seen, struct syn_rdb_text text)
{
    assert_non_null(text.bytes);
    mix(seen, text.size);
    mix(seen, key_hash(text.bytes, text.size));
}

static enum syn_rdb_flow on_header(void *arg, const struct syn_rdb_header *header)
{
    struct seen *seen = arg;
    snprintf(seen->magic, sizeof(seen->magic), "%s", header->magic);
    seen->version = header->version;
    return SYN_RDB_GO;
}

static enum syn_rdb_flow on_aux(void *arg, struct syn_rdb_text name, struct syn_rdb_text text)
{
    struct seen *seen = arg;
    seen->aux++;
    mix_text(seen, name);
    mix_text(seen, text);
    return SYN_RDB_GO;
}

static enum syn_rdb_flow on_function(void *arg, struct syn_rdb_text source)
{
    struct seen *seen = arg;
    seen->functions++;
    mix_text(seen, source);
    return SYN_RDB_GO;
}

static enum syn_rdb_flow on_database(void *arg, const struct syn_rdb_database *database)
{
    struct seen *seen = arg;
    seen->databases++;
    mix(seen, database->db);
    mix(seen, database->keys);
    mix(seen, database->expiring);
    return SYN_RDB_GO;
}

static enum syn_rdb_flow on_key(void *arg, const struct syn_rdb_key *key)
{
    struct seen *seen = arg;
    uint64_t live = mem_live_bytes(MEM_ENGINE) + mem_live_bytes(MEM_RDB);
    seen->live_max = live > seen->live_max ? live : seen->live_max;
    assert_int_equal(seen->keys, seen->key_ends);
    seen->keys++;
    assert_true(key->db < DBS_MAX);
    assert_true(key->rdb_type < TYPES_MAX);
    seen->keys_by_db[key->db]++;
    seen->keys_by_type[key->rdb_type]++;
    seen->expiring += key->expire_ms >= 0 ? 1 : 0;
    assert_int_equal(key->bytes, 0);
    mix(seen, key->db);
    mix_text(seen, key->name);
    mix(seen, (uint64_t)key->expire_ms);
    mix(seen, (uint64_t)key->idle_s);
    mix(seen, (uint64_t)key->freq);
    mix(seen, key->offset);
    mix(seen, key_hash(key->type, strlen(key->type)));
    mix(seen, key_hash(key->encoding, strlen(key->encoding)));
    return seen->at_key;
}

static enum syn_rdb_flow
on_element(void *arg, const struct syn_rdb_key *key, const struct syn_rdb_element *element)
{
    struct seen *seen = arg;
    assert_int_equal(seen->keys, seen->key_ends + 1);
    seen->elements++;
    assert_non_null(key->name.bytes);
    if (element->kind == SYN_RDB_ELEMENT_STRING || element->kind == SYN_RDB_ELEMENT_MODULE) {
        /* Where pieces are cut depends on the feed; what they hold does not. */
        for (size_t i = 0; i < element->text.size; i++) {
            mix(seen, element->text.bytes[i]);
        }
    } else {
        mix(seen, element->kind);
        mix(seen, element->id.ms);
        mix(seen, element->id.seq);
        mix(seen, element->count);
        mix(seen, element->added);
        mix(seen, (uint64_t)element->time_ms);
        mix(seen, (uint64_t)element->expire_ms);
        uint64_t bits;
        memcpy(&bits, &element->score, sizeof(bits));
        mix(seen, bits);
        if (element->text.bytes != NULL) {
            mix_text(seen, element->text);
        }
        if (element->value.bytes != NULL) {
            mix_text(seen, element->value);
        }
    }
    return seen->elements > seen->after_elements ? seen->at_element : SYN_RDB_GO;
}

static enum syn_rdb_flow on_key_end(void *arg, const struct syn_rdb_key *key)
{
    struct seen *seen = arg;
    seen->key_ends++;
    seen->value_bytes += key->bytes;
    if (key->elements != SYN_RDB_UNKNOWN) {
        seen->counted += key->elements;
        seen->counts ^=
            (key_hash(key->name.bytes, key->name.size) + key->db) * (2 * key->elements + 1);
    }
    mix(seen, key->bytes);
    return SYN_RDB_GO;
}

static enum syn_rdb_flow on_checksum(void *arg, enum syn_rdb_verdict verdict)
{
    struct seen *seen = arg;
    seen->verdict = verdict;
    seen->verdicts++;
    return SYN_RDB_GO;
}

static const struct syn_rdb_visitor all = {.header = on_header,
                                           .aux = on_aux,
                                           .function = on_function,
                                           .database = on_database,
                                           .key = on_key,
                                           .element = on_element,
                                           .key_end = on_key_end,
                                           .checksum = on_checksum};

/* ---- a feed that gives `step` bytes at a time ---- */

struct steps {
    const uint8_t *bytes;
    size_t size;
    size_t at;
    size_t step;
    int64_t fails_at; /* byte, -1: never */
};

static int64_t feed_steps(void *arg, void *to, size_t size, struct syn_err *err)
{
    struct steps *steps = arg;
    assert_true(size > 0);
    if (steps->fails_at >= 0 && steps->at >= (size_t)steps->fails_at) {
        (void)ERR(err, SYN_CODE_SOURCE_CONNECT, "the far side went away");
        return -1;
    }
    size_t left = steps->size - steps->at;
    size_t give = steps->step < size ? steps->step : size;
    give = give < left ? give : left;
    memcpy(to, steps->bytes + steps->at, give);
    steps->at += give;
    return (int64_t)give;
}

static bool read_steps(const uint8_t *bytes,
                       size_t size,
                       size_t step,
                       const struct syn_rdb_options *options,
                       struct seen *seen,
                       struct syn_rdb_result *result,
                       struct syn_err *err)
{
    struct steps steps = {.bytes = bytes, .size = size, .step = step, .fails_at = -1};
    return syn_rdb_read_feed(feed_steps, &steps, options, &all, seen, result, err);
}

static const struct syn_rdb_options elements_wanted = {.depth = SYN_RDB_DEPTH_ELEMENTS};

/* ---- tests ---- */

static void check_facts(const struct fixture *fixture, const struct seen *seen)
{
    assert_string_equal(seen->magic, fixture->magic);
    assert_int_equal(seen->version, fixture->version);
    assert_memory_equal(seen->keys_by_db, fixture->keys_by_db, sizeof(seen->keys_by_db));
    assert_int_equal(seen->key_ends, seen->keys);
    assert_int_equal(seen->verdict, SYN_RDB_CHECKSUM_MATCHES);
    assert_int_equal(seen->verdicts, 1);
    if (fixture->keys_by_type[0] > 0) {
        assert_memory_equal(seen->keys_by_type, fixture->keys_by_type, sizeof(seen->keys_by_type));
        assert_int_equal(seen->expiring, fixture->expiring);
        assert_int_equal(seen->aux, fixture->aux);
        assert_int_equal(seen->functions, fixture->functions);
    }
}

static void test_all_depths_see_what_the_servers_saved(void **state)
{
    (void)state; /* A wrong skip would lose keys; a wrong count would differ between depths. */
    for (size_t i = 0; i < FIXTURE_COUNT; i++) {
        size_t size;
        uint8_t *bytes = load(fixtures[i].name, &size);
        struct seen seen[3] = {{0}};
        for (unsigned depth = 0; depth < 3; depth++) {
            struct syn_rdb_options options = {.depth = (enum syn_rdb_depth)depth};
            struct syn_rdb_result result;
            struct syn_err err;
            if (!syn_rdb_read_memory(bytes, size, &options, &all, &seen[depth], &result, &err)) {
                fail_msg("%s: %s", fixtures[i].name, err.msg);
            }
            check_facts(&fixtures[i], &seen[depth]);
            assert_int_equal(result.bytes, size);
            assert_int_equal(result.keys, seen[depth].keys);
            assert_int_equal(result.verdict, SYN_RDB_CHECKSUM_MATCHES);
            assert_false(result.is_stopped);
            assert_false(result.has_trailing);
            assert_int_equal(seen[depth].value_bytes, seen[0].value_bytes);
        }
        assert_int_equal(seen[0].elements, 0);
        assert_int_equal(seen[1].elements, 0);
        assert_true(seen[2].elements > seen[2].keys);
        assert_int_equal(seen[1].counted, seen[2].counted);
        assert_true(seen[1].counts == seen[2].counts);
        free(bytes);
    }
}

static void test_a_feed_cut_anywhere_changes_nothing(void **state)
{
    (void)state;
    static const size_t steps[] = {1, 2, 3, 7, 31, 97, 1460, 4099, 65537};
    for (size_t i = 0; i < FIXTURE_COUNT; i++) {
        size_t size;
        uint8_t *bytes = load(fixtures[i].name, &size);
        for (unsigned depth = 0; depth < 3; depth++) {
            struct syn_rdb_options options = {.depth = (enum syn_rdb_depth)depth};
            struct syn_rdb_result result;
            struct syn_err err;
            struct seen whole = {0};
            assert_true(syn_rdb_read_memory(bytes, size, &options, &all, &whole, &result, &err));
            for (size_t k = 0; k < sizeof(steps) / sizeof(steps[0]); k++) {
                if (steps[k] < 31 && size > SMALL_BYTES_MAX) {
                    continue;
                }
                struct seen cut = {0};
                if (!read_steps(bytes, size, steps[k], &options, &cut, &result, &err)) {
                    fail_msg("%s, steps of %zu: %s", fixtures[i].name, steps[k], err.msg);
                }
                assert_true(cut.digest == whole.digest);
                assert_true(cut.counts == whole.counts);
                assert_int_equal(cut.elements > 0, whole.elements > 0);
                assert_int_equal(result.bytes, size);
                assert_false(result.has_trailing);
            }
            struct seen of_file = {0};
            char path[512];
            path_of(fixtures[i].name, path);
            assert_true(syn_rdb_read_file(path, &options, &all, &of_file, &result, &err));
            assert_true(of_file.digest == whole.digest);
        }
        free(bytes);
    }
}

/* One value of each plain kind; every byte of it is known. No checksum. */
static const uint8_t hand_made[] = "REDIS0009"
                                   "\xfe\x02\xfb\x06\x01"       /* db 2: 6 keys, 1 expiring    */
                                   "\xfc\xe8\x03\0\0\0\0\0\0"   /* expires 1000                */
                                   "\xf8\x07"                   /* idle 7 s                    */
                                   "\x00\x01s\x02hi"            /* s = "hi"                    */
                                   "\x01\x01l\x02\x01x\xc0\x05" /* l = ["x", 5]               */
                                   "\xf9\x09"                   /* frequency 9                 */
                                   "\x02\x01t\x01\x01m"         /* t = {"m"}                   */
                                   "\x04\x01h\x01\x01"
                                   "f\x01v" /* h = {"f": "v"}              */
                                   "\x05\x01z\x01\x01n"
                                   "\0\0\0\0\0\0\xf8\x3f" /* z = {"n": 1.5}              */
                                   "\x00\x00\x00"         /* "" = ""                     */
                                   "\xff\0\0\0\0\0\0\0\0";
#define HAND_MADE_SIZE (sizeof(hand_made) - 1)

struct story {
    char text[2048];
    size_t size;
};

static void tell(struct story *story, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
static void tell(struct story *story, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int wrote =
        vsnprintf(story->text + story->size, sizeof(story->text) - story->size, format, args);
    va_end(args);
    assert_true(wrote >= 0 && story->size + (size_t)wrote < sizeof(story->text));
    story->size += (size_t)wrote;
}

static enum syn_rdb_flow story_database(void *arg, const struct syn_rdb_database *database)
{
    tell(arg, "db%d:%d/%d ", (int)database->db, (int)database->keys, (int)database->expiring);
    return SYN_RDB_GO;
}

static enum syn_rdb_flow story_key(void *arg, const struct syn_rdb_key *key)
{
    tell(arg,
         "%d.%.*s %s/%s @%d x%d i%d f%d:",
         (int)key->db,
         (int)key->name.size,
         (const char *)key->name.bytes,
         key->type,
         key->encoding,
         (int)key->offset,
         (int)key->expire_ms,
         (int)key->idle_s,
         key->freq);
    return SYN_RDB_GO;
}

static enum syn_rdb_flow
story_element(void *arg, const struct syn_rdb_key *key, const struct syn_rdb_element *element)
{
    (void)key;
    tell(arg,
         " %s '%.*s'",
         syn_rdb_element_name(element->kind),
         (int)element->text.size,
         (const char *)element->text.bytes);
    if (element->kind == SYN_RDB_ELEMENT_HASH) {
        tell(arg,
             "='%.*s' x%d",
             (int)element->value.size,
             (const char *)element->value.bytes,
             (int)element->expire_ms);
    }
    if (element->kind == SYN_RDB_ELEMENT_ZSET) {
        tell(arg, " %.2f", element->score);
    }
    if (element->kind == SYN_RDB_ELEMENT_STRING) {
        tell(arg, " %d/%d", (int)element->position, (int)element->total);
    }
    return SYN_RDB_GO;
}

static enum syn_rdb_flow story_key_end(void *arg, const struct syn_rdb_key *key)
{
    tell(arg, " (%d bytes, %d)\n", (int)key->bytes, (int)key->elements);
    return SYN_RDB_GO;
}

static enum syn_rdb_flow story_checksum(void *arg, enum syn_rdb_verdict verdict)
{
    tell(arg, "checksum %s\n", syn_rdb_verdict_name(verdict));
    return SYN_RDB_GO;
}

static const struct syn_rdb_visitor story_teller = {.database = story_database,
                                                    .key = story_key,
                                                    .element = story_element,
                                                    .key_end = story_key_end,
                                                    .checksum = story_checksum};

static void test_every_field_is_what_the_bytes_say(void **state)
{
    (void)state; /* A field in the wrong place, or left over from the key before, would show. */
    struct story story = {.size = 0};
    struct syn_rdb_result result;
    struct syn_err err;
    bool ok = syn_rdb_read_memory(
        hand_made, HAND_MADE_SIZE, &elements_wanted, &story_teller, &story, &result, &err);
    if (!ok) {
        fail_msg("%s", err.msg);
    }
    assert_string_equal(story.text,
                        "db2:6/1 "
                        "2.s string/raw @28 x1000 i7 f-1: string 'hi' 0/2 (3 bytes, 1)\n"
                        "2.l list/linkedlist @34 x-1 i-1 f-1: list 'x' list '5' (5 bytes, 2)\n"
                        "2.t set/hashtable @44 x-1 i-1 f9: set 'm' (3 bytes, 1)\n"
                        "2.h hash/hashtable @50 x-1 i-1 f-1: hash 'f'='v' x-1 (5 bytes, 1)\n"
                        "2.z zset/skiplist @58 x-1 i-1 f-1: zset 'n' 1.50 (11 bytes, 1)\n"
                        "2. string/raw @71 x-1 i-1 f-1: string '' 0/0 (1 bytes, 1)\n"
                        "checksum none\n");
    assert_int_equal(result.verdict, SYN_RDB_CHECKSUM_NONE);
    assert_int_equal(result.keys, 6);
}

static void test_filters(void **state)
{
    (void)state; /* One key of many: nothing else is shown, in any database but the wanted one. */
    size_t size;
    uint8_t *bytes = load("redis-7.4.1", &size);
    struct syn_rdb_result result;
    struct syn_err err;
    struct syn_rdb_options options = {.has_db = true, .db = 9};
    struct seen seen = {0};
    assert_true(syn_rdb_read_memory(bytes, size, &options, &all, &seen, &result, &err));
    assert_int_equal(seen.keys, 3);
    assert_int_equal(seen.keys_by_db[9], 3);
    assert_int_equal(seen.verdict, SYN_RDB_CHECKSUM_MATCHES);

    options = (struct syn_rdb_options){
        .depth = SYN_RDB_DEPTH_ELEMENTS, .has_key = true, .key = "hash:ht", .key_size = 7};
    seen = (struct seen){0};
    assert_true(syn_rdb_read_memory(bytes, size, &options, &all, &seen, &result, &err));
    assert_int_equal(seen.keys, 1);
    assert_int_equal(seen.elements, 600);
    options.has_db = true;
    options.db = 1;
    seen = (struct seen){0};
    assert_true(syn_rdb_read_memory(bytes, size, &options, &all, &seen, &result, &err));
    assert_int_equal(seen.keys, 0);
    assert_int_equal(result.keys, 0);
    free(bytes);
}

static void test_a_visitor_skips_and_stops(void **state)
{
    (void)state;
    size_t size;
    uint8_t *bytes = load("redis-7.4.1", &size);
    struct syn_rdb_result result;
    struct syn_err err;

    struct seen seen = {.at_key = SYN_RDB_SKIP};
    assert_true(syn_rdb_read_memory(bytes, size, &elements_wanted, &all, &seen, &result, &err));
    assert_int_equal(seen.elements, 0);
    assert_int_equal(seen.key_ends, 221);
    assert_int_equal(result.verdict, SYN_RDB_CHECKSUM_MATCHES);

    seen = (struct seen){.at_key = SYN_RDB_STOP};
    assert_true(syn_rdb_read_memory(bytes, size, &elements_wanted, &all, &seen, &result, &err));
    assert_true(result.is_stopped);
    assert_int_equal(result.keys, 1);
    assert_int_equal(result.verdict, SYN_RDB_CHECKSUM_UNREAD);
    assert_int_equal(seen.key_ends, 0);

    /* One element of each value, whatever its kind; all keys still end, with their counts. */
    seen = (struct seen){.at_element = SYN_RDB_SKIP};
    assert_true(syn_rdb_read_memory(bytes, size, &elements_wanted, &all, &seen, &result, &err));
    assert_int_equal(seen.key_ends, 221);
    assert_int_equal(seen.elements, 221);
    assert_int_equal(seen.counted, 6009);

    for (uint64_t after = 0; after < 3000; after += 7) {
        seen = (struct seen){.at_element = SYN_RDB_STOP, .after_elements = after};
        assert_true(syn_rdb_read_memory(bytes, size, &elements_wanted, &all, &seen, &result, &err));
        assert_true(result.is_stopped);
        assert_int_equal(seen.elements, after + 1);
    }
    free(bytes);
}

static void expect_damage(const uint8_t *bytes, size_t size, unsigned depth, const char *part)
{
    struct syn_rdb_options options = {.depth = (enum syn_rdb_depth)depth};
    struct syn_rdb_result result;
    struct syn_err err;
    struct seen seen = {0};
    if (read_steps(bytes, size, 997, &options, &seen, &result, &err)) {
        fail_msg("%zu bytes were read without an error; expected: %s", size, part);
    }
    assert_int_equal(err.code, SYN_CODE_SOURCE_DATA);
    assert_int_equal(syn_code_exit_status(err.code), SYN_EXIT_SOURCE);
    if (strstr(err.msg, "RDB byte ") == NULL || strstr(err.msg, part) == NULL) {
        fail_msg("expected: %s; but: %s", part, err.msg);
    }
}

/* A file that ends early is an error wherever it ends, and says where that is. */
static void test_cut_short(void **state)
{
    (void)state;
    size_t size;
    uint8_t *bytes = load("redis-5.0.14-sync", &size);
    for (unsigned depth = 0; depth < 3; depth++) {
        for (size_t at = 0; at < size; at++) {
            char part[80];
            snprintf(part, sizeof(part), "RDB byte %zu: the data ends here, inside ", at);
            expect_damage(bytes, at, depth, part);
        }
    }
    expect_damage(bytes, 5, 0, "inside the header");
    expect_damage(bytes, size - 3, 0, "inside the checksum");
    free(bytes);
}

/* No flipped bit passes: what the format does not notice, the checksum does. */
static void test_flipped_bits(void **state)
{
    (void)state;
    size_t size;
    uint8_t *bytes = load("redis-5.0.14-sync", &size);
    for (size_t at = 9; at < size; at++) {
        for (unsigned depth = 0; depth < 3; depth++) {
            bytes[at] ^= (uint8_t)(1u << (at % 8));
            expect_damage(bytes, size, depth, "RDB byte ");
            bytes[at] ^= (uint8_t)(1u << (at % 8));
        }
    }
    bytes[size - 1] ^= 0x40;
    char part[80];
    snprintf(part, sizeof(part), "RDB byte %zu: the checksum is ", size - 8);
    expect_damage(bytes, size, 0, part);
    free(bytes);
}

static void test_unknown_things(void **state)
{
    (void)state; /* What no reader can frame must be named with its place, not guessed at. */
    uint8_t bytes[HAND_MADE_SIZE];
    memcpy(bytes, hand_made, sizeof(bytes));
    bytes[25] = 99; /* the type of "s" */
    expect_damage(bytes, sizeof(bytes), 0, "RDB byte 25: ");
    expect_damage(bytes, sizeof(bytes), 2, " 99 ");
    memcpy(bytes, hand_made, sizeof(bytes));
    bytes[0] = 'X';
    expect_damage(bytes, sizeof(bytes), 0, "this is not an RDB");
    memcpy(bytes, hand_made, sizeof(bytes));
    memcpy(bytes + 5, "0099", 4);
    expect_damage(bytes, sizeof(bytes), 0, "REDIS version 99 is not supported");
    expect_damage(bytes, 0, 0, "RDB byte 0: the data ends here, inside the header");
    struct syn_err err;
    assert_false(syn_rdb_read_memory(NULL, 0, NULL, &all, NULL, NULL, &err));
    assert_int_equal(err.code, SYN_CODE_SOURCE_DATA);
}

static void test_files_and_feeds_that_fail(void **state)
{
    (void)state;
    struct seen seen = {0};
    struct syn_rdb_result result;
    struct syn_err err;
    assert_false(syn_rdb_read_file("/nonexistent/x", NULL, &all, &seen, &result, &err));
    assert_int_equal(err.code, SYN_CODE_SOURCE_FILE);
    assert_int_equal(err.sys_errno, ENOENT);
    assert_string_equal(err.msg, "/nonexistent/x: cannot open the file: No such file or directory");
    assert_int_equal(syn_code_exit_status(err.code), SYN_EXIT_SOURCE);
    assert_false(syn_rdb_read_file("/", NULL, &all, &seen, &result, &err));
    assert_int_equal(err.code, SYN_CODE_SOURCE_FILE);
    assert_string_equal(err.msg, "/: cannot read the file: Is a directory");
    assert_false(syn_rdb_read_file("/dev/null", NULL, &all, &seen, &result, &err));
    assert_int_equal(err.code, SYN_CODE_SOURCE_DATA);
    assert_string_equal(err.msg, "/dev/null: RDB byte 0: the data ends here, inside the header");

    struct steps steps = {.bytes = hand_made, .size = HAND_MADE_SIZE, .step = 5, .fails_at = 40};
    seen = (struct seen){0};
    assert_false(
        syn_rdb_read_feed(feed_steps, &steps, &elements_wanted, &all, &seen, &result, &err));
    assert_int_equal(err.code, SYN_CODE_SOURCE_CONNECT);
    assert_string_equal(err.msg, "the far side went away");
    assert_int_equal(seen.key_ends, 2);
    assert_int_equal(result.keys, 2);

    struct syn_rdb_options options = {.item_bytes_max = 10};
    assert_false(
        syn_rdb_read_memory(hand_made, HAND_MADE_SIZE, &options, &all, &seen, &result, &err));
    assert_int_equal(err.code, SYN_CODE_USAGE);
    assert_string_equal(err.msg, "item_bytes_max is 10; at least 4096");
}

/* A snapshot of one key of this type, without a checksum. */
static size_t one_value(uint8_t *to, uint8_t type, const void *value, size_t size)
{
    memcpy(to, "REDIS0012", 9);
    to[9] = type;
    memcpy(to + 10, "\x01k", 2);
    memcpy(to + 12, value, size);
    memcpy(to + 12 + size, "\xff\0\0\0\0\0\0\0\0", 9);
    return 12 + size + 9;
}

/* Broken or cut values, at every depth: where the feed cuts must decide neither whether they are
 * refused, nor what is said of them. */
static void check_outcome(const uint8_t *bytes, size_t size)
{
    for (unsigned depth = 0; depth < 3; depth++) {
        struct syn_rdb_options options = {.depth = (enum syn_rdb_depth)depth};
        struct syn_rdb_result result;
        struct syn_err whole_err;
        struct seen whole = {0};
        bool whole_ok =
            syn_rdb_read_memory(bytes, size, &options, &all, &whole, &result, &whole_err);
        for (size_t step = 1; step < size; step++) {
            struct seen cut = {0};
            struct syn_err err;
            bool ok = read_steps(bytes, size, step, &options, &cut, &result, &err);
            if (ok != whole_ok || (!ok && strcmp(err.msg, whole_err.msg) != 0)) {
                fail_msg("depth %u, steps of %zu: %s, not %s",
                         depth,
                         step,
                         ok ? "read" : err.msg,
                         whole_ok ? "read" : whole_err.msg);
            }
            assert_int_equal(cut.counts, whole.counts);
        }
    }
}

static void test_cuts_do_not_decide(void **state)
{
    (void)state;
    /* Two fields, the first with an expiry that is none; a set's listpack with a wrong back length;
     * a list whose second node is no listpack. */
    static const uint8_t hash[] = "\0\0\0\0\0\0\0\x10\x02\x05\x01"
                                  "f\x01v\x00\x01g\x01w";
    static const uint8_t set[] = "\x0e\x0e\0\0\0\x02\0\x81"
                                 "a\x02\x81"
                                 "b\x03\xff\xff";
    static const uint8_t list[] = "\x02\x02\x0a\x0a\0\0\0\x01\0\x81"
                                  "a\x02\xff\x02\x0a\x0a\0\0\0\x01\0\x81"
                                  "a\x05\xff";
    uint8_t bytes[100];
    size_t size = one_value(bytes, 24, hash, sizeof(hash) - 1);
    check_outcome(bytes, size);
    check_outcome(bytes, size - 15);
    size = one_value(bytes, 20, set, sizeof(set) - 1);
    check_outcome(bytes, size);
    check_outcome(bytes, size - 12);
    size = one_value(bytes, 18, list, sizeof(list) - 1);
    check_outcome(bytes, size);
    check_outcome(bytes, size - 12);
    struct syn_err err;
    assert_false(syn_rdb_read_memory(bytes, size - 12, NULL, &all, &(struct seen){0}, NULL, &err));
    assert_string_equal(err.msg,
                        "RDB byte 34: the data ends here, inside a value of type 18 (list "
                        "(listpack nodes)) that begins at byte 12");
}

static void test_bytes_behind_the_end(void **state)
{
    (void)state; /* An append-only file begins with an RDB; what follows is not part of it. */
    uint8_t bytes[HAND_MADE_SIZE + 3] = {0};
    memcpy(bytes, hand_made, HAND_MADE_SIZE);
    struct syn_rdb_result result;
    struct syn_err err;
    for (size_t step = 1; step < 100; step += 3) {
        struct seen seen = {0};
        assert_true(read_steps(bytes, sizeof(bytes), step, NULL, &seen, &result, &err));
        assert_true(result.has_trailing);
        assert_int_equal(result.bytes, HAND_MADE_SIZE);
        assert_true(read_steps(bytes, HAND_MADE_SIZE, step, NULL, &seen, &result, &err));
        assert_false(result.has_trailing);
    }
}

static size_t put_raw(uint8_t *to, const char *head, size_t head_size, size_t size)
{
    memcpy(to, head, head_size);
    size_t at = head_size;
    to[at++] = 0x80;
    for (unsigned shift = 32; shift > 0; shift -= 8) {
        to[at++] = (uint8_t)(size >> (shift - 8));
    }
    memset(to + at, 'x', size);
    return at + size;
}

/* Items and values of megabytes that come byte by byte: each byte must be looked at a few times
 * only, or this does not end. */
static void test_slow_feeds(void **state)
{
    (void)state;
    static const size_t large = (size_t)3 << 20;
    uint8_t *bytes = malloc(6 * large);
    assert_non_null(bytes);
    size_t size = 9;
    memcpy(bytes, "REDIS0012", size);
    size += put_raw(bytes + size, "\xfa\x01n", 3, large); /* AUX */
    size += put_raw(bytes + size, "\xf5", 1, large);      /* a function */
    size += put_raw(bytes + size, "\x00", 1, large);      /* a key, of a string */
    size += put_raw(bytes + size, "", 0, large);
    size += put_raw(bytes + size, "\x02\x01k\x01", 4, large); /* a set's member */
    memcpy(bytes + size, "\xff\0\0\0\0\0\0\0\0", 9);
    size += 9;
    for (unsigned depth = 0; depth < 3; depth += 2) {
        struct syn_rdb_options options = {.depth = (enum syn_rdb_depth)depth};
        struct syn_rdb_result result;
        struct syn_err err;
        struct seen seen = {0};
        if (!read_steps(bytes, size, 1, &options, &seen, &result, &err)) {
            fail_msg("%s", err.msg);
        }
        assert_int_equal(seen.keys, 2);
        assert_int_equal(result.bytes, size);
    }
    free(bytes);
}

/* The bound on one item bounds the memory, and a larger item is refused by name, not truncated. */
static void test_item_bound(void **state)
{
    (void)state;
    size_t size;
    uint8_t *bytes = load("redis-7.4.1", &size);
    struct syn_rdb_result result;
    struct syn_err err;
    struct syn_rdb_options options = {.item_bytes_max = 24576};
    struct seen seen = {0};
    assert_true(read_steps(bytes, size, 65536, &options, &seen, &result, &err));
    assert_int_equal(seen.keys, 221);
    options.depth = SYN_RDB_DEPTH_ELEMENTS;
    seen = (struct seen){0};
    assert_false(read_steps(bytes, size, 65536, &options, &seen, &result, &err));
    assert_int_equal(err.code, SYN_CODE_SOURCE_DATA);
    options.item_bytes_max = 65536;
    seen = (struct seen){0};
    assert_true(read_steps(bytes, size, 65536, &options, &seen, &result, &err));
    assert_int_equal(seen.keys, 221);
    assert_true(seen.live_max < 7 * options.item_bytes_max + ((size_t)2 << 20));
    free(bytes);
}

/* A reading with the n-th allocation failing; true when there are fewer. */
static bool read_failing(const uint8_t *bytes,
                         size_t size,
                         const struct syn_rdb_options *options,
                         size_t step,
                         uint64_t keys,
                         uint64_t n,
                         bool is_once)
{
    uint64_t before = mem_live_bytes(MEM_ENGINE) + mem_live_bytes(MEM_RDB);
    struct seen seen = {0};
    struct syn_rdb_result result;
    struct syn_err err;
    (is_once ? mem_fail_once_at : mem_fail_at)(n);
    bool ok = step == 0 ? syn_rdb_read_memory(bytes, size, options, &all, &seen, &result, &err)
                        : read_steps(bytes, size, step, options, &seen, &result, &err);
    bool has_failed = mem_call_count() >= n;
    mem_fail_at(0);
    assert_int_equal(mem_live_bytes(MEM_ENGINE) + mem_live_bytes(MEM_RDB), before);
    assert_int_equal(ok, !has_failed);
    if (ok) {
        assert_int_equal(seen.keys, keys);
    } else {
        assert_int_equal(err.code, SYN_CODE_MEMORY);
        assert_int_equal(syn_code_exit_status(err.code), SYN_EXIT_INTERNAL);
    }
    return ok;
}

/* For every n, both ways; how many failed. */
static uint64_t
fail_each(const char *name, uint64_t keys, const struct syn_rdb_options *options, size_t step)
{
    size_t size;
    uint8_t *bytes = load(name, &size);
    uint64_t failures = 0;
    for (unsigned is_once = 0; is_once < 2; is_once++) {
        uint64_t n = 1;
        while (!read_failing(bytes, size, options, step, keys, n, is_once != 0)) {
            n++;
            failures++;
        }
    }
    free(bytes);
    return failures;
}

static void test_allocation_failures(void **state)
{
    (void)state; /* Every allocation fails: a clean error, nothing left behind. */
    static const size_t steps[] = {0, 1, 61};
    uint64_t failures = fail_each("redis-7.4.1", 221, &elements_wanted, 4099);
    for (unsigned depth = 0; depth < 3; depth++) {
        struct syn_rdb_options options = {.depth = (enum syn_rdb_depth)depth};
        for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
            failures += fail_each("redis-5.0.14-sync", 13, &options, steps[i]);
        }
    }
    assert_true(failures >= 60);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_depths_see_what_the_servers_saved),
        cmocka_unit_test(test_a_feed_cut_anywhere_changes_nothing),
        cmocka_unit_test(test_every_field_is_what_the_bytes_say),
        cmocka_unit_test(test_filters),
        cmocka_unit_test(test_a_visitor_skips_and_stops),
        cmocka_unit_test(test_cut_short),
        cmocka_unit_test(test_flipped_bits),
        cmocka_unit_test(test_unknown_things),
        cmocka_unit_test(test_files_and_feeds_that_fail),
        cmocka_unit_test(test_cuts_do_not_decide),
        cmocka_unit_test(test_bytes_behind_the_end),
        cmocka_unit_test(test_slow_feeds),
        cmocka_unit_test(test_item_bound),
        cmocka_unit_test(test_allocation_failures),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
