/*
 * Reading RDB files through syn.h that are cut, damaged, too large or not there, with memory that
 * runs out: an error that says what and where, the same wherever the feed cuts, and nothing left
 * behind.
 */
#include "tests/base/test.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "tests/engine/rdb_api_rig.h"

static void expect_damage(const uint8_t *bytes, size_t size, unsigned depth, const char *part)
{
    struct syn_rdb_options options = {.depth = (enum syn_rdb_depth)depth};
    struct syn_rdb_result result;
    struct syn_err err;
    struct seen seen = {0};
    if (rig_read_steps(bytes, size, 997, &options, &seen, &result, &err)) {
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
    uint8_t *bytes = rig_load("redis-5.0.14-sync", &size);
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
    uint8_t *bytes = rig_load("redis-5.0.14-sync", &size);
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
    uint8_t bytes[RIG_HAND_MADE_SIZE];
    memcpy(bytes, rig_hand_made, sizeof(bytes));
    bytes[25] = 99; /* the type of "s" */
    expect_damage(bytes, sizeof(bytes), 0, "RDB byte 25: ");
    expect_damage(bytes, sizeof(bytes), 2, " 99 ");
    memcpy(bytes, rig_hand_made, sizeof(bytes));
    bytes[0] = 'X';
    expect_damage(bytes, sizeof(bytes), 0, "this is not an RDB");
    memcpy(bytes, rig_hand_made, sizeof(bytes));
    memcpy(bytes + 5, "0099", 4);
    expect_damage(bytes, sizeof(bytes), 0, "REDIS version 99 is not supported");
    expect_damage(bytes, 0, 0, "RDB byte 0: the data ends here, inside the header");
    struct syn_err err;
    assert_false(syn_rdb_read_memory(NULL, 0, NULL, &rig_visitor, NULL, NULL, &err));
    assert_int_equal(err.code, SYN_CODE_SOURCE_DATA);
}

static void test_files_and_feeds_that_fail(void **state)
{
    (void)state;
    struct seen seen = {0};
    struct syn_rdb_result result;
    struct syn_err err;
    assert_false(syn_rdb_read_file("/nonexistent/x", NULL, &rig_visitor, &seen, &result, &err));
    assert_int_equal(err.code, SYN_CODE_SOURCE_FILE);
    assert_int_equal(err.sys_errno, ENOENT);
    assert_string_equal(err.msg, "/nonexistent/x: cannot open the file: No such file or directory");
    assert_int_equal(syn_code_exit_status(err.code), SYN_EXIT_SOURCE);
    assert_false(syn_rdb_read_file("/", NULL, &rig_visitor, &seen, &result, &err));
    assert_int_equal(err.code, SYN_CODE_SOURCE_FILE);
    assert_string_equal(err.msg, "/: cannot read the file: Is a directory");
    assert_false(syn_rdb_read_file("/dev/null", NULL, &rig_visitor, &seen, &result, &err));
    assert_int_equal(err.code, SYN_CODE_SOURCE_DATA);
    assert_string_equal(err.msg, "/dev/null: RDB byte 0: the data ends here, inside the header");

    struct steps steps = {
        .bytes = rig_hand_made, .size = RIG_HAND_MADE_SIZE, .step = 5, .fails_at = 40};
    seen = (struct seen){0};
    assert_false(syn_rdb_read_feed(
        rig_feed_steps, &steps, &rig_elements_wanted, &rig_visitor, &seen, &result, &err));
    assert_int_equal(err.code, SYN_CODE_SOURCE_CONNECT);
    assert_string_equal(err.msg, "the far side went away");
    assert_int_equal(seen.key_ends, 2);
    assert_int_equal(result.keys, 2);

    struct syn_rdb_options options = {.item_bytes_max = 10};
    assert_false(syn_rdb_read_memory(
        rig_hand_made, RIG_HAND_MADE_SIZE, &options, &rig_visitor, &seen, &result, &err));
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
            syn_rdb_read_memory(bytes, size, &options, &rig_visitor, &whole, &result, &whole_err);
        for (size_t step = 1; step < size; step++) {
            struct seen cut = {0};
            struct syn_err err;
            bool ok = rig_read_steps(bytes, size, step, &options, &cut, &result, &err);
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
    assert_false(
        syn_rdb_read_memory(bytes, size - 12, NULL, &rig_visitor, &(struct seen){0}, NULL, &err));
    assert_string_equal(err.msg,
                        "RDB byte 34: the data ends here, inside a value of type 18 (list "
                        "(listpack nodes)) that begins at byte 12");
}

/* The bound on one item bounds the memory, and a larger item is refused by name, not truncated. */
static void test_item_bound(void **state)
{
    (void)state;
    size_t size;
    uint8_t *bytes = rig_load("redis-7.4.1", &size);
    struct syn_rdb_result result;
    struct syn_err err;
    struct syn_rdb_options options = {.item_bytes_max = 24576};
    struct seen seen = {0};
    assert_true(rig_read_steps(bytes, size, 65536, &options, &seen, &result, &err));
    assert_int_equal(seen.keys, 221);
    options.depth = SYN_RDB_DEPTH_ELEMENTS;
    seen = (struct seen){0};
    assert_false(rig_read_steps(bytes, size, 65536, &options, &seen, &result, &err));
    assert_int_equal(err.code, SYN_CODE_SOURCE_DATA);
    options.item_bytes_max = 65536;
    seen = (struct seen){0};
    assert_true(rig_read_steps(bytes, size, 65536, &options, &seen, &result, &err));
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
    bool ok = step == 0
                  ? syn_rdb_read_memory(bytes, size, options, &rig_visitor, &seen, &result, &err)
                  : rig_read_steps(bytes, size, step, options, &seen, &result, &err);
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
    uint8_t *bytes = rig_load(name, &size);
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
    uint64_t failures = fail_each("redis-7.4.1", 221, &rig_elements_wanted, 4099);
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
        cmocka_unit_test(test_cut_short),
        cmocka_unit_test(test_flipped_bits),
        cmocka_unit_test(test_unknown_things),
        cmocka_unit_test(test_files_and_feeds_that_fail),
        cmocka_unit_test(test_cuts_do_not_decide),
        cmocka_unit_test(test_item_bound),
        cmocka_unit_test(test_allocation_failures),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
