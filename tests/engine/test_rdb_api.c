/*
 * Reading RDB files through syn.h. If the window moved bytes wrongly, some cut of the feed would
 * change what the visitor sees; if counting skipped or stopped in the wrong place, counts would
 * differ from what showing every element gives, and from what the servers said before saving.
 */
#include "tests/base/test.h"

#include <stdio.h>
#include <stdlib.h>

#include "tests/engine/rdb_api_rig.h"
#include "tests/rdb/facts.h"

#define SMALL_BYTES_MAX 10000

/* Of every version that changed the format. */
static const char *const fixtures[] = {"redis-2.6.17",
                                       "redis-4.0.14-lfu",
                                       "redis-5.0.14",
                                       "redis-5.0.14-sync",
                                       "redis-7.4.1",
                                       "redis-2.8.24-snapshot",
                                       "redis-7.0.15-snapshot",
                                       "valkey-9.1.2-ver9-snapshot"};
#define FIXTURE_COUNT (sizeof(fixtures) / sizeof(fixtures[0]))

static void check_facts(const struct facts *known, const struct seen *seen)
{
    assert_string_equal(seen->magic, known->is_valkey ? "VALKEY" : "REDIS");
    assert_int_equal(seen->version, known->version);
    assert_memory_equal(seen->keys_by_db, known->keys_by_db, sizeof(seen->keys_by_db));
    assert_int_equal(seen->key_ends, seen->keys);
    assert_int_equal(seen->verdict, SYN_RDB_CHECKSUM_MATCHES);
    assert_int_equal(seen->verdicts, 1);
    if (known->checksum != 0) {
        assert_memory_equal(seen->keys_by_type, known->keys_by_type, sizeof(seen->keys_by_type));
        assert_int_equal(seen->expiring, known->expiring);
        assert_int_equal(seen->aux, known->aux);
        assert_int_equal(seen->functions, known->functions);
    }
}

static void test_all_depths_see_what_the_servers_saved(void **state)
{
    (void)state; /* A wrong skip would lose keys; a wrong count would differ between depths. */
    for (size_t i = 0; i < FIXTURE_COUNT; i++) {
        size_t size;
        uint8_t *bytes = rig_load(fixtures[i], &size);
        struct seen seen[3] = {{0}};
        for (unsigned depth = 0; depth < 3; depth++) {
            struct syn_rdb_options options = {.depth = (enum syn_rdb_depth)depth};
            struct syn_rdb_result result;
            struct syn_err err;
            if (!syn_rdb_read_memory(
                    bytes, size, &options, &rig_visitor, &seen[depth], &result, &err)) {
                fail_msg("%s: %s", fixtures[i], err.msg);
            }
            check_facts(facts_of(fixtures[i]), &seen[depth]);
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
        uint8_t *bytes = rig_load(fixtures[i], &size);
        for (unsigned depth = 0; depth < 3; depth++) {
            struct syn_rdb_options options = {.depth = (enum syn_rdb_depth)depth};
            struct syn_rdb_result result;
            struct syn_err err;
            struct seen whole = {0};
            assert_true(
                syn_rdb_read_memory(bytes, size, &options, &rig_visitor, &whole, &result, &err));
            for (size_t k = 0; k < sizeof(steps) / sizeof(steps[0]); k++) {
                if (steps[k] < 31 && size > SMALL_BYTES_MAX) {
                    continue;
                }
                struct seen cut = {0};
                if (!rig_read_steps(bytes, size, steps[k], &options, &cut, &result, &err)) {
                    fail_msg("%s, steps of %zu: %s", fixtures[i], steps[k], err.msg);
                }
                assert_true(cut.digest == whole.digest);
                assert_true(cut.counts == whole.counts);
                assert_int_equal(cut.elements > 0, whole.elements > 0);
                assert_int_equal(result.bytes, size);
                assert_false(result.has_trailing);
            }
            struct seen of_file = {0};
            char path[512];
            rig_path(fixtures[i], path);
            assert_true(syn_rdb_read_file(path, &options, &rig_visitor, &of_file, &result, &err));
            assert_true(of_file.digest == whole.digest);
        }
        free(bytes);
    }
}

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
    bool ok = syn_rdb_read_memory(rig_hand_made,
                                  RIG_HAND_MADE_SIZE,
                                  &rig_elements_wanted,
                                  &story_teller,
                                  &story,
                                  &result,
                                  &err);
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
    uint8_t *bytes = rig_load("redis-7.4.1", &size);
    struct syn_rdb_result result;
    struct syn_err err;
    struct syn_rdb_options options = {.has_db = true, .db = 9};
    struct seen seen = {0};
    assert_true(syn_rdb_read_memory(bytes, size, &options, &rig_visitor, &seen, &result, &err));
    assert_int_equal(seen.keys, 3);
    assert_int_equal(seen.keys_by_db[9], 3);
    assert_int_equal(seen.verdict, SYN_RDB_CHECKSUM_MATCHES);

    options = (struct syn_rdb_options){
        .depth = SYN_RDB_DEPTH_ELEMENTS, .has_key = true, .key = "hash:ht", .key_size = 7};
    seen = (struct seen){0};
    assert_true(syn_rdb_read_memory(bytes, size, &options, &rig_visitor, &seen, &result, &err));
    assert_int_equal(seen.keys, 1);
    assert_int_equal(seen.elements, 600);
    options.has_db = true;
    options.db = 1;
    seen = (struct seen){0};
    assert_true(syn_rdb_read_memory(bytes, size, &options, &rig_visitor, &seen, &result, &err));
    assert_int_equal(seen.keys, 0);
    assert_int_equal(result.keys, 0);
    free(bytes);
}

static void test_a_visitor_skips_and_stops(void **state)
{
    (void)state;
    size_t size;
    uint8_t *bytes = rig_load("redis-7.4.1", &size);
    struct syn_rdb_result result;
    struct syn_err err;

    struct seen seen = {.at_key = SYN_RDB_SKIP};
    assert_true(
        syn_rdb_read_memory(bytes, size, &rig_elements_wanted, &rig_visitor, &seen, &result, &err));
    assert_int_equal(seen.elements, 0);
    assert_int_equal(seen.key_ends, 221);
    assert_int_equal(result.verdict, SYN_RDB_CHECKSUM_MATCHES);

    seen = (struct seen){.at_key = SYN_RDB_STOP};
    assert_true(
        syn_rdb_read_memory(bytes, size, &rig_elements_wanted, &rig_visitor, &seen, &result, &err));
    assert_true(result.is_stopped);
    assert_int_equal(result.keys, 1);
    assert_int_equal(result.verdict, SYN_RDB_CHECKSUM_UNREAD);
    assert_int_equal(seen.key_ends, 0);

    /* One element of each value, whatever its kind; all keys still end, with their counts. */
    seen = (struct seen){.at_element = SYN_RDB_SKIP};
    assert_true(
        syn_rdb_read_memory(bytes, size, &rig_elements_wanted, &rig_visitor, &seen, &result, &err));
    assert_int_equal(seen.key_ends, 221);
    assert_int_equal(seen.elements, 221);
    assert_int_equal(seen.counted, 6009);

    for (uint64_t after = 0; after < 3000; after += 7) {
        seen = (struct seen){.at_element = SYN_RDB_STOP, .after_elements = after};
        assert_true(syn_rdb_read_memory(
            bytes, size, &rig_elements_wanted, &rig_visitor, &seen, &result, &err));
        assert_true(result.is_stopped);
        assert_int_equal(seen.elements, after + 1);
    }
    free(bytes);
}

static void test_bytes_behind_the_end(void **state)
{
    (void)state; /* An append-only file begins with an RDB; what follows is not part of it. */
    uint8_t bytes[RIG_HAND_MADE_SIZE + 3] = {0};
    memcpy(bytes, rig_hand_made, RIG_HAND_MADE_SIZE);
    struct syn_rdb_result result;
    struct syn_err err;
    for (size_t step = 1; step < 100; step += 3) {
        struct seen seen = {0};
        assert_true(rig_read_steps(bytes, sizeof(bytes), step, NULL, &seen, &result, &err));
        assert_true(result.has_trailing);
        assert_int_equal(result.bytes, RIG_HAND_MADE_SIZE);
        assert_true(rig_read_steps(bytes, RIG_HAND_MADE_SIZE, step, NULL, &seen, &result, &err));
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
        if (!rig_read_steps(bytes, size, 1, &options, &seen, &result, &err)) {
            fail_msg("%s", err.msg);
        }
        assert_int_equal(seen.keys, 2);
        assert_int_equal(result.bytes, size);
    }
    free(bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_depths_see_what_the_servers_saved),
        cmocka_unit_test(test_a_feed_cut_anywhere_changes_nothing),
        cmocka_unit_test(test_every_field_is_what_the_bytes_say),
        cmocka_unit_test(test_filters),
        cmocka_unit_test(test_a_visitor_skips_and_stops),
        cmocka_unit_test(test_bytes_behind_the_end),
        cmocka_unit_test(test_slow_feeds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
