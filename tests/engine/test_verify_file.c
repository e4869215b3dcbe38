/* The parts of a verification of files that need no server: the set of keys, and what is looked at
 * before a file is read. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/engine/verify_file.h"

/* ---- the set ---- */

static uint64_t hash_of(uint64_t i)
{
    return key_set_hash((uint32_t)(i % 3), &i, sizeof(i));
}

/* One pass: fills the set with what belongs to the part, and checks that it has exactly this. */
static uint64_t pass(struct key_set *set, uint64_t count, uint8_t *seen)
{
    uint64_t found = 0;
    for (uint64_t i = 0; i < count; i++) {
        key_set_add(set, hash_of(i));
        key_set_add(set, hash_of(i)); /* again: it is there once */
    }
    assert_true(set->count <= set->count_max);
    for (uint64_t i = 0; i < count; i++) {
        bool is_part = key_set_is_part(set, hash_of(i));
        assert_int_equal(key_set_has(set, hash_of(i)), is_part);
        found += is_part;
        seen[i] += is_part;
    }
    assert_int_equal(set->count, found);
    for (uint64_t i = count; i < 2 * count; i++) {
        assert_false(key_set_has(set, hash_of(i)));
    }
    return found;
}

/* All parts together are everything, once: a key in no part would be called extra, one in two parts
 * be scanned twice. */
static void check_parts(uint64_t count, uint64_t bytes)
{
    struct key_set set;
    struct syn_err err;
    uint8_t *seen = calloc(1, count + 1);
    struct {
        unsigned bits;
        uint64_t value;
    } parts[128] = {{0, 0}};
    unsigned part_count = 1;
    assert_non_null(seen);
    assert_true(key_set_init(&set, bytes, &err));
    unsigned passes = 0;
    while (part_count > 0) {
        part_count--;
        unsigned bits = parts[part_count].bits;
        key_set_begin(&set, bits, parts[part_count].value);
        pass(&set, count, seen);
        for (unsigned bit = bits; bit < set.part_bits; bit++) {
            assert_true(part_count < 128);
            parts[part_count].bits = bit + 1;
            parts[part_count++].value = set.part | UINT64_C(1) << bit;
        }
        passes++;
    }
    for (uint64_t i = 0; i < count; i++) {
        assert_int_equal(seen[i], 1);
    }
    assert_true(count <= set.count_max ? passes == 1 : passes >= count / set.count_max);
    key_set_deinit(&set);
    free(seen);
}

static void test_set_parts(void **state)
{
    (void)state;
    static const uint64_t counts[] = {0, 1, 53, 54, 55, 100, 1000, 5000};
    static const uint64_t bytes[] = {64 * 8, 100 * 8, 1024 * 8, 9999 * 8};
    for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
        for (size_t n = 0; n < sizeof(bytes) / sizeof(bytes[0]); n++) {
            check_parts(counts[i], bytes[n]);
        }
    }
}

/* Keys that were told join it while there is room, and only then. */
static void test_set_try(void **state)
{
    (void)state;
    struct key_set set;
    struct syn_err err;
    assert_true(key_set_init(&set, 100 * 8, &err));
    uint64_t i = 0;
    while (set.count < set.count_max) {
        key_set_add(&set, hash_of(i++));
    }
    uint64_t full = i;
    while (key_set_try(&set, hash_of(i))) {
        assert_true(key_set_try(&set, hash_of(i)));
        assert_true(key_set_has(&set, hash_of(i)));
        i++;
    }
    assert_true(i > full);
    assert_true(i < 100); /* an empty slot remains, or a search would not end */
    assert_false(key_set_has(&set, hash_of(i)));
    for (uint64_t n = 0; n < i; n++) {
        assert_true(key_set_has(&set, hash_of(n)));
    }
    key_set_deinit(&set);
}

static void test_set_hashes(void **state)
{
    (void)state; /* A key of another database is another key; the empty key is one. */
    assert_int_not_equal(key_set_hash(0, "a", 1), key_set_hash(1, "a", 1));
    assert_int_not_equal(key_set_hash(0, "", 0), 0);
    assert_int_equal(key_set_hash(0, "", 0), key_set_hash(0, NULL, 0));
}

/* ---- digests of what both sides can have ---- */

static struct value_sum sum_of(struct value_summer *summer, const struct value_view *view)
{
    const struct rdb_visitor *visitor = value_summer_visitor();
    struct rdb_value_begin begin = {.kind = RDB_KIND_HASH};
    static const struct {
        const char *field;
        int64_t expire_ms;
    } fields[] = {{"a", -1}, {"b", 1000}, {"c", 5000}, {"d", 3000}};
    value_summer_begin(summer, view);
    visitor->begin(summer, &begin);
    for (size_t i = 0; i < 4; i++) {
        struct rdb_element field = {.bytes = (const uint8_t *)fields[i].field, .size = 1};
        visitor->hash(summer, &field, &field, fields[i].expire_ms);
    }
    return value_summer_end(summer);
}

static bool is_same(const struct value_sum *a, const struct value_sum *b)
{
    return a->digest.low == b->digest.low && a->digest.high == b->digest.high;
}

/* Fields whose time has come are gone; where a destination has no such times they are passed over,
 * and nothing is gone. */
static void test_field_expiry(void **state)
{
    (void)state;
    struct value_summer summer;
    struct syn_err err;
    assert_true(value_summer_init(&summer, &err));
    struct value_sum all =
        sum_of(&summer, &(struct value_view){.has_field_expiry = true, .cut_ms = 999});
    assert_int_equal(all.count, 4);
    assert_int_equal(all.next_expiry_ms, 1000);
    struct value_sum later =
        sum_of(&summer, &(struct value_view){.has_field_expiry = true, .cut_ms = 1000});
    assert_int_equal(later.count, 3);
    assert_int_equal(later.next_expiry_ms, 3000);
    assert_false(is_same(&all, &later));
    struct value_sum last =
        sum_of(&summer, &(struct value_view){.has_field_expiry = true, .cut_ms = 9000});
    assert_int_equal(last.count, 1);
    assert_int_equal(last.next_expiry_ms, INT64_MAX);
    struct value_sum without = sum_of(&summer, &(struct value_view){.cut_ms = 9000});
    assert_int_equal(without.count, 4);
    assert_false(is_same(&all, &without));
    value_summer_deinit(&summer);
    assert_int_equal(mem_live_bytes(MEM_RDB), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_set_parts),
        cmocka_unit_test(test_set_try),
        cmocka_unit_test(test_set_hashes),
        cmocka_unit_test(test_field_expiry),
    };
    return cmocka_run_group_tests_name("verification of files", tests, NULL, NULL);
}
