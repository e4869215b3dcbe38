/*
 * The small values of all fixtures, cut behind every byte: an element that lies in two windows must
 * give the same commands as one that lies in one.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>

#include "tests/rdb/feed.h"
#include "tests/rdb/rewrite_rig.h"

#define SMALL_BYTES_MAX 700

static struct rewrite_rig whole;
static struct rewrite_rig cut;
static struct rdb_decoder *decoder;
static uint64_t kinds[RDB_KIND_COUNT];

/* Feeds bytes[0, at), then the rest; each window is a block of its own. */
static void rewrite_cut(struct rewrite_rig *rig,
                        const struct rdb_item *item,
                        const struct rdb_value_place *place,
                        const uint8_t *bytes,
                        size_t size,
                        size_t at)
{
    struct syn_err err = {0};
    rewrite_rig_clear(rig);
    assert_true(rewriter_begin(rig->rewriter, item->name, item->expire_ms, &err));
    assert_true(rdb_decoder_begin(decoder, place, rewriter_visitor(), rig->rewriter, &err));
    size_t used = 0;
    enum rdb_decode result = RDB_DECODE_MORE;
    size_t ends[] = {at, size};
    for (size_t i = 0; i < 2 && result == RDB_DECODE_MORE; i++) {
        uint8_t *window = malloc(ends[i] - used + 1);
        assert_non_null(window);
        memcpy(window, bytes + used, ends[i] - used);
        size_t taken = 0;
        result = rdb_decoder_run(decoder, window, ends[i] - used, &taken, &err);
        used += taken;
        free(window);
    }
    assert_int_equal(result, RDB_DECODE_DONE);
    assert_int_equal(used, size);
    assert_true(rewriter_end(rig->rewriter, &err));
}

static void check_value(const struct rdb_item *item,
                        const struct rdb_value_place *place,
                        const uint8_t *bytes,
                        size_t size)
{
    rewrite_cut(&whole, item, place, bytes, size, size);
    for (size_t at = 0; at < size; at++) {
        rewrite_cut(&cut, item, place, bytes, size, at);
        assert_int_equal(cut.bytes_size, whole.bytes_size);
        assert_memory_equal(cut.bytes, whole.bytes, whole.bytes_size);
        assert_string_equal(cut.losses, whole.losses);
    }
    kinds[rdb_type_kind(place->type, place->is_valkey)]++;
}

static void check_fixture(const char *path)
{
    size_t size;
    uint8_t *bytes = fixture_read(path, &size);
    struct syn_err err = {0};
    struct rdb_parser *parser = rdb_parser_new((size_t)64 << 20, &err);
    assert_non_null(parser);
    bool is_valkey = false;
    size_t pos = 0;
    struct rdb_item item = {.kind = RDB_ITEM_HEADER};
    while (item.kind != RDB_ITEM_END) {
        size_t used;
        size_t wanted;
        assert_int_equal(
            rdb_parser_next(parser, bytes + pos, size - pos, &used, &wanted, &item, &err),
            RDB_READY);
        pos += used;
        is_valkey = item.kind == RDB_ITEM_HEADER ? item.is_valkey : is_valkey;
        if (item.kind == RDB_ITEM_KEY) {
            struct rdb_value_place place = {.type = item.type, .is_valkey = is_valkey};
            assert_int_equal(rdb_value_walk(parser, bytes + pos, size - pos, &used, &err),
                             RDB_READY);
            if (used <= SMALL_BYTES_MAX) {
                check_value(&item, &place, bytes + pos, used);
            }
            pos += used;
        }
    }
    rdb_parser_free(parser);
    mem_free(MEM_RDB, bytes);
}

static void test_small_values_cut_anywhere(void **state)
{
    (void)state;
    /* The commands, and what is told of losses, must be equal byte for byte. */
    struct syn_err err;
    struct rewrite_target target;
    rewrite_target_fill(&target, 80000, false);
    target.piece_bytes = 20;
    target.piece_elements = 3;
    rewrite_rig_init(&whole, &target);
    rewrite_rig_init(&cut, &target);
    decoder = rdb_decoder_new(1 << 20, &err);
    assert_non_null(decoder);
    DIR *folder = opendir(TEST_FIXTURES "/rdb");
    assert_non_null(folder);
    for (struct dirent *entry; (entry = readdir(folder)) != NULL;) {
        char path[512];
        if (strstr(entry->d_name, "-snapshot") != NULL) {
            snprintf(path, sizeof(path), "rdb/%s/dump.rdb", entry->d_name);
            check_fixture(path);
        }
    }
    closedir(folder);
    for (enum rdb_kind kind = RDB_KIND_STRING; kind <= RDB_KIND_STREAM; kind++) {
        print_message("kind %d: %llu values\n", (int)kind, (unsigned long long)kinds[kind]);
        assert_true(kinds[kind] > 0);
    }
    rdb_decoder_free(decoder);
    rewrite_rig_deinit(&cut);
    rewrite_rig_deinit(&whole);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_small_values_cut_anywhere)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
