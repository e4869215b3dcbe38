/* Expiry times of fields side by side: what is near enough, in any order and number, and what is
 * not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "core/engine/verify_private.h"

#define START INT64_C(4000000000000)
#define TOLERANCE 500

/* Fields 0 to count - 1, field i at START + i + shift, in either order. */
struct fields {
    uint64_t count;
    int64_t shift;
    bool is_backwards;
    uint64_t odd;   /* this one ... */
    int64_t odd_at; /* ... at another time, with has_odd */
    bool has_odd;
    bool has_twice; /* the first comes again at the end */
    bool is_broken;
    uint32_t shown; /* out */
};

static void show_one(const struct fields *fields,
                     uint64_t i,
                     const struct rdb_visitor *visitor,
                     void *visitor_arg)
{
    char name[32];
    struct rdb_element field = {.bytes = (const uint8_t *)name,
                                .size = (size_t)snprintf(name, sizeof(name), "field-%ju", i)};
    int64_t at =
        fields->has_odd && i == fields->odd ? fields->odd_at : START + (int64_t)i + fields->shift;
    visitor->hash(visitor_arg, &field, &field, at);
}

static bool show(void *arg,
                 const struct rdb_visitor *visitor,
                 void *visitor_arg,
                 bool *is_whole,
                 struct syn_err *err)
{
    struct fields *fields = arg;
    (void)err;
    fields->shown++;
    for (uint64_t n = 0; n < fields->count; n++) {
        show_one(fields, fields->is_backwards ? fields->count - 1 - n : n, visitor, visitor_arg);
    }
    if (fields->has_twice) {
        show_one(fields, 0, visitor, visitor_arg);
    }
    *is_whole = !fields->is_broken;
    return true;
}

static bool is_equal(struct fields *a, struct fields *b)
{
    const struct times_feed source = {.show = show, .arg = a};
    const struct times_feed destination = {.show = show, .arg = b};
    struct syn_err err;
    bool result;
    assert_true(
        times_compare(&source, &destination, a->count, START - 1, TOLERANCE, &result, &err));
    assert_int_equal(mem_live_bytes(MEM_ENGINE), 0);
    return result;
}

static void test_tolerance(void **state)
{
    (void)state;
    static const uint64_t counts[] = {1, 2, 31, 33, 1000};
    for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
        struct fields a = {.count = counts[i]};
        struct fields b = {.count = counts[i], .is_backwards = true};
        assert_true(is_equal(&a, &b));
        b.shift = TOLERANCE;
        assert_true(is_equal(&a, &b));
        assert_true(is_equal(&b, &a));
        b.shift = TOLERANCE + 1;
        assert_false(is_equal(&a, &b));
        assert_false(is_equal(&b, &a));
    }
}

/* One field out of many: at another time, without one, gone already, missing, double. */
static void test_one_odd(void **state)
{
    (void)state;
    struct fields a = {.count = 500};
    struct fields b = {.count = 500, .has_odd = true, .odd = 250};
    b.odd_at = START + 250 + TOLERANCE;
    assert_true(is_equal(&a, &b));
    b.odd_at = START + 250 - TOLERANCE - 1;
    assert_false(is_equal(&a, &b));
    b.odd_at = -1;
    assert_false(is_equal(&a, &b));
    assert_false(is_equal(&b, &a));
    b.odd_at = START - 1; /* no longer counts: as if it were not there */
    assert_false(is_equal(&a, &b));
    b = (struct fields){.count = 499};
    assert_false(is_equal(&a, &b));
    assert_false(is_equal(&b, &a));
    b = (struct fields){.count = 500, .has_twice = true};
    assert_false(is_equal(&a, &b));
    assert_false(is_equal(&b, &a));
    b = (struct fields){.count = 500, .is_broken = true};
    assert_false(is_equal(&a, &b));
    assert_false(is_equal(&b, &a));
    a.count = b.count = 0;
    b.is_broken = false;
    assert_true(is_equal(&a, &b));
}

/* More fields than a table holds: shown in shares, none of which is forgotten; and many more than
 * were counted, which must end. */
static void test_shares(void **state)
{
    (void)state;
    struct fields a = {.count = 1200000};
    struct fields b = {.count = 1200000, .shift = 5, .is_backwards = true};
    assert_true(is_equal(&a, &b));
    assert_int_equal(a.shown, 3);
    assert_int_equal(b.shown, 3);
    for (uint64_t odd = 0; odd < 1200000; odd += 399999) {
        b.has_odd = true;
        b.odd = odd;
        b.odd_at = START + (int64_t)odd + TOLERANCE + 1;
        assert_false(is_equal(&a, &b));
    }
    const struct times_feed source = {.show = show, .arg = &a};
    const struct times_feed destination = {.show = show, .arg = &a};
    struct syn_err err;
    bool result = true;
    assert_true(times_compare(&source, &destination, 10, -1, TOLERANCE, &result, &err));
    assert_false(result);
}

static void test_no_memory(void **state)
{
    (void)state;
    struct fields a = {.count = 10};
    const struct times_feed feed = {.show = show, .arg = &a};
    struct syn_err err;
    bool result;
    mem_fail_at(1);
    bool ok = times_compare(&feed, &feed, 10, -1, TOLERANCE, &result, &err);
    mem_fail_at(0);
    assert_false(ok);
    assert_int_equal(err.code, SYN_CODE_MEMORY);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tolerance),
        cmocka_unit_test(test_one_odd),
        cmocka_unit_test(test_shares),
        cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
