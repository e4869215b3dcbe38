/*
 * Real snapshots. If framing were wrong for any type, the items after it, the key counts or the
 * CRC64 trailer would come out wrong; if the parser kept its place wrongly between windows, some
 * cut would change the sequence.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>

#include "tests/rdb/facts.h"
#include "tests/rdb/feed.h"

/* Cutting in two at every position reads the file once per byte, so only the small ones. */
#define SMALL_BYTES_MAX 10000

static uint8_t *load(const struct facts *known, size_t *size)
{
    char path[128];
    snprintf(path, sizeof(path), "rdb/%s/dump.rdb", known->name);
    return fixture_read(path, size);
}

static void check_facts(const struct facts *known, const struct feed_result *result)
{
    _Static_assert(sizeof(result->keys_by_db) == sizeof(known->keys_by_db), "all of them");
    _Static_assert(sizeof(result->keys_by_type) <= sizeof(known->keys_by_type), "room for all");
    assert_int_equal(result->version, known->version);
    assert_int_equal(result->is_valkey, known->is_valkey);
    assert_memory_equal(result->keys_by_db, known->keys_by_db, sizeof(result->keys_by_db));
    assert_true(result->checksum != 0);
    assert_true(result->crc == result->checksum);
    if (known->checksum == 0) {
        return;
    }
    assert_true(__builtin_bswap64(result->checksum) == known->checksum);
    assert_memory_equal(result->keys_by_type, known->keys_by_type, sizeof(result->keys_by_type));
    assert_int_equal(result->expiring, known->expiring);
    assert_int_equal(result->aux, known->aux);
    assert_int_equal(result->functions, known->functions);
}

static void test_whole_files_give_what_the_servers_said(void **state)
{
    (void)state;
    for (size_t i = 0; i < FACTS_COUNT; i++) {
        size_t size;
        uint8_t *bytes = load(&facts[i], &size);
        struct feed_result result;
        feed_rdb(bytes, size, FEED_WHOLE, 0, false, &result);
        if (result.status != RDB_READY) {
            fail_msg("%s: %s", facts[i].name, result.err.msg);
        }
        assert_int_equal(result.bytes_used, size);
        check_facts(&facts[i], &result);
        mem_free(MEM_RDB, bytes);
    }
}

/* The window grows by one byte at a time, so every position of the file is once its end. */
static void test_a_cut_behind_every_byte_changes_nothing(void **state)
{
    (void)state;
    for (size_t i = 0; i < FACTS_COUNT; i++) {
        size_t size;
        uint8_t *bytes = load(&facts[i], &size);
        struct feed_result whole;
        struct feed_result grown;
        feed_rdb(bytes, size, FEED_WHOLE, 0, false, &whole);
        feed_rdb(bytes, size, FEED_GROW, 0, size < SMALL_BYTES_MAX, &grown);
        assert_int_equal(grown.status, RDB_READY);
        assert_true(grown.digest == whole.digest);
        assert_true(grown.crc == whole.crc);
        assert_true(grown.left_max < 32);
        mem_free(MEM_RDB, bytes);
    }
}

static void test_two_parts_cut_anywhere_change_nothing(void **state)
{
    (void)state;
    for (size_t i = 0; i < FACTS_COUNT; i++) {
        size_t size;
        uint8_t *bytes = load(&facts[i], &size);
        struct feed_result whole;
        feed_rdb(bytes, size, FEED_WHOLE, 0, false, &whole);
        for (size_t at = 1; at < size && size < SMALL_BYTES_MAX; at++) {
            struct feed_result parts;
            feed_rdb(bytes, size, FEED_TWO_PARTS, at, false, &parts);
            assert_int_equal(parts.status, RDB_READY);
            assert_true(parts.digest == whole.digest);
            assert_true(parts.left_max < 32);
        }
        mem_free(MEM_RDB, bytes);
    }
}

/* Window sizes as sockets deliver them, and primes that drift over all fields. */
static void test_steps_of_many_sizes_change_nothing(void **state)
{
    (void)state;
    static const size_t steps[] = {2, 3, 7, 31, 97, 1460, 4099, 16384, 65537};
    for (size_t i = 0; i < FACTS_COUNT; i++) {
        size_t size;
        uint8_t *bytes = load(&facts[i], &size);
        struct feed_result whole;
        feed_rdb(bytes, size, FEED_WHOLE, 0, false, &whole);
        for (size_t k = 0; k < sizeof(steps) / sizeof(steps[0]); k++) {
            struct feed_result stepped;
            feed_rdb(bytes, size, FEED_STEPS, steps[k], false, &stepped);
            assert_int_equal(stepped.status, RDB_READY);
            assert_true(stepped.digest == whole.digest);
        }
        mem_free(MEM_RDB, bytes);
    }
}

/* A file that ends early must ask for more at its end, never finish and never fail. */
static void test_a_truncated_file_asks_for_more(void **state)
{
    (void)state;
    size_t size;
    uint8_t *bytes = fixture_read("rdb/redis-5.0.14-sync/dump.rdb", &size);
    for (size_t cut = 0; cut < size; cut++) {
        struct feed_result result;
        feed_rdb(bytes, cut, FEED_WHOLE, 0, true, &result);
        assert_int_equal(result.status, RDB_MORE);
    }
    mem_free(MEM_RDB, bytes);
}

static void test_a_parser_is_good_for_another_rdb_after_a_reset(void **state)
{
    (void)state;
    struct syn_err err;
    struct rdb_parser *parser = rdb_parser_new(1024, &err);
    assert_non_null(parser);
    for (int round = 0; round < 2; round++) {
        struct rdb_item item;
        size_t used;
        size_t wanted;
        const uint8_t header[] = "REDIS0009\xff";
        assert_int_equal(rdb_parser_next(parser, header, 10, &used, &wanted, &item, &err),
                         RDB_READY);
        assert_int_equal(item.kind, RDB_ITEM_HEADER);
        assert_int_equal(used, 9);
        assert_int_equal(rdb_parser_next(parser, header + 9, 1, &used, &wanted, &item, &err),
                         RDB_READY);
        assert_int_equal(item.kind, RDB_ITEM_END);
        assert_int_equal(rdb_parser_offset(parser), 10);
        rdb_parser_reset(parser);
        assert_int_equal(rdb_parser_offset(parser), 0);
    }
    rdb_parser_free(parser);
    rdb_parser_free(NULL);
    assert_int_equal(mem_live_bytes(MEM_RDB), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_whole_files_give_what_the_servers_said),
        cmocka_unit_test(test_a_cut_behind_every_byte_changes_nothing),
        cmocka_unit_test(test_two_parts_cut_anywhere_change_nothing),
        cmocka_unit_test(test_steps_of_many_sizes_change_nothing),
        cmocka_unit_test(test_a_truncated_file_asks_for_more),
        cmocka_unit_test(test_a_parser_is_good_for_another_rdb_after_a_reset),
    };
    return cmocka_run_group_tests_name("rdb parser", tests, NULL, NULL);
}
