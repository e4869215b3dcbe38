/*
 * Real snapshots. If framing were wrong for any type, the items after it, the key counts or the
 * CRC64 trailer would come out wrong; if the parser kept its place wrongly between windows, some
 * cut would change the sequence. The counts are what the servers said of their data before saving.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>

#include "tests/rdb/feed.h"

struct fixture {
    const char *name;
    uint16_t version;
    bool is_valkey;
    uint64_t checksum;
    uint64_t keys_by_db[FEED_DBS_MAX];
    uint64_t keys_by_type[RDB_TYPE_COUNT]; /* all 0: not recorded */
    uint64_t expiring;
    uint64_t aux;
    uint64_t functions;
};

static const struct fixture fixtures[] = {
    {.name = "redis-2.6.17",
     .version = 6,
     .checksum = 0x68121b5e29b20f95,
     .keys_by_db = {[0] = 168, [1] = 16, [2] = 3, [9] = 3, [15] = 3},
     .keys_by_type =
         {[0] = 138, [10] = 13, [11] = 10, [12] = 8, [13] = 10, [1] = 3, [2] = 5, [3] = 4, [4] = 2},
     .expiring = 14},
    {.name = "redis-4.0.14-lfu",
     .version = 8,
     .checksum = 0x0f2cd0216036c105,
     .keys_by_db = {[0] = 11, [3] = 1},
     .keys_by_type = {[0] = 5, [11] = 1, [12] = 1, [13] = 1, [14] = 1, [2] = 1, [4] = 1, [5] = 1},
     .expiring = 1,
     .aux = 5},
    {.name = "redis-5.0.14",
     .version = 9,
     .checksum = 0xaec2d74d06c74006,
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
     .version = 9,
     .checksum = 0x790caa096ef692ee,
     .keys_by_db = {[0] = 12, [3] = 1},
     .keys_by_type =
         {[0] = 5, [11] = 1, [12] = 1, [13] = 1, [14] = 1, [15] = 1, [2] = 1, [4] = 1, [5] = 1},
     .expiring = 1,
     .aux = 11},
    {.name = "redis-7.4.1",
     .version = 12,
     .checksum = 0xcb4ee2d74ebb9f5f,
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
    /* Snapshots of recorded replication sessions: only the keys per database are known. */
    {.name = "redis-2.8.24-snapshot", .version = 6, .keys_by_db = {[0] = 40, [1] = 8, [5] = 8}},
    {.name = "redis-3.2.13-snapshot", .version = 7, .keys_by_db = {[0] = 41, [1] = 8, [5] = 8}},
    {.name = "redis-4.0.14-snapshot", .version = 8, .keys_by_db = {[0] = 41, [1] = 8, [5] = 8}},
    {.name = "redis-5.0.14-snapshot", .version = 9, .keys_by_db = {[0] = 43, [1] = 8, [5] = 8}},
    {.name = "redis-6.0.16-snapshot", .version = 9, .keys_by_db = {[0] = 43, [1] = 8, [5] = 8}},
    {.name = "redis-7.0.15-snapshot", .version = 10, .keys_by_db = {[0] = 43, [1] = 8, [5] = 8}},
    {.name = "redis-7.4.1-snapshot", .version = 12, .keys_by_db = {[0] = 45, [1] = 8, [5] = 8}},
    {.name = "redis-7.4.1-diskless-snapshot",
     .version = 12,
     .keys_by_db = {[0] = 45, [1] = 8, [5] = 8}},
    {.name = "valkey-9.1.2-snapshot", .version = 11, .keys_by_db = {[0] = 43, [1] = 8, [5] = 8}},
    {.name = "valkey-9.1.2-ver9-snapshot",
     .version = 80,
     .is_valkey = true,
     .keys_by_db = {[0] = 45, [1] = 8, [5] = 8}},
};
#define FIXTURE_COUNT (sizeof(fixtures) / sizeof(fixtures[0]))
/* Cutting in two at every position reads the file once per byte, so only the small ones. */
#define SMALL_BYTES_MAX 10000

static uint8_t *load(const struct fixture *fixture, size_t *size)
{
    char path[128];
    snprintf(path, sizeof(path), "rdb/%s/dump.rdb", fixture->name);
    return fixture_read(path, size);
}

static void check_facts(const struct fixture *fixture, const struct feed_result *result)
{
    assert_int_equal(result->version, fixture->version);
    assert_int_equal(result->is_valkey, fixture->is_valkey);
    assert_memory_equal(result->keys_by_db, fixture->keys_by_db, sizeof(result->keys_by_db));
    assert_true(result->checksum != 0);
    assert_true(result->crc == result->checksum);
    if (fixture->checksum == 0) {
        return;
    }
    /* The facts give the bytes as they stand in the file. */
    assert_true(__builtin_bswap64(result->checksum) == fixture->checksum);
    assert_memory_equal(result->keys_by_type, fixture->keys_by_type, sizeof(result->keys_by_type));
    assert_int_equal(result->expiring, fixture->expiring);
    assert_int_equal(result->aux, fixture->aux);
    assert_int_equal(result->functions, fixture->functions);
}

static void test_whole_files_give_what_the_servers_said(void **state)
{
    (void)state;
    for (size_t i = 0; i < FIXTURE_COUNT; i++) {
        size_t size;
        uint8_t *bytes = load(&fixtures[i], &size);
        struct feed_result result;
        feed_rdb(bytes, size, FEED_WHOLE, 0, false, &result);
        if (result.status != RDB_READY) {
            fail_msg("%s: %s", fixtures[i].name, result.err.msg);
        }
        assert_int_equal(result.bytes_used, size);
        check_facts(&fixtures[i], &result);
        mem_free(MEM_RDB, bytes);
    }
}

/* The window grows by one byte at a time, so every position of the file is once its end. */
static void test_a_cut_behind_every_byte_changes_nothing(void **state)
{
    (void)state;
    for (size_t i = 0; i < FIXTURE_COUNT; i++) {
        size_t size;
        uint8_t *bytes = load(&fixtures[i], &size);
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
    for (size_t i = 0; i < FIXTURE_COUNT; i++) {
        size_t size;
        uint8_t *bytes = load(&fixtures[i], &size);
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
    for (size_t i = 0; i < FIXTURE_COUNT; i++) {
        size_t size;
        uint8_t *bytes = load(&fixtures[i], &size);
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
