/*
 * Streams of later versions in the form of earlier ones: what the earlier form has room for is the
 * same, and no byte of a damaged one leads anywhere but to an error.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/rdb/feed.h"
#include "tests/rdb/lines.h"

typedef void stream_visit(uint8_t type, const uint8_t *body, size_t size);

/* Every stream of a fixture. */
static unsigned each_stream(const char *name, stream_visit *visit)
{
    char path[128];
    size_t size;
    struct syn_err err;
    unsigned count = 0;
    snprintf(path, sizeof(path), "rdb/%s/dump.rdb", name);
    uint8_t *bytes = fixture_read(path, &size);
    struct rdb_parser *parser = rdb_parser_new((size_t)4 << 20, &err);
    assert_non_null(parser);
    struct rdb_item item = {0};
    bool is_valkey = false;
    for (size_t pos = 0; item.kind != RDB_ITEM_CHECKSUM;) {
        size_t used, wanted;
        assert_int_equal(
            rdb_parser_next(parser, bytes + pos, size - pos, &used, &wanted, &item, &err),
            RDB_READY);
        pos += used;
        is_valkey = item.kind == RDB_ITEM_HEADER ? item.is_valkey : is_valkey;
        if (item.kind != RDB_ITEM_KEY) {
            continue;
        }
        assert_int_equal(rdb_value_walk(parser, bytes + pos, size - pos, &used, &err), RDB_READY);
        if (rdb_type_kind(item.type, is_valkey) == RDB_KIND_STREAM) {
            visit(item.type, bytes + pos, used);
            count++;
        }
        pos += used;
    }
    rdb_parser_free(parser);
    mem_free(MEM_RDB, bytes);
    return count;
}

static const uint8_t earlier[] = {RDB_TYPE_STREAM_LISTPACKS_2, RDB_TYPE_STREAM_LISTPACKS};

/* From `at` on; there was at least as much. */
static void word_set(char *at, const char *text)
{
    memcpy(at, text, strlen(text) + 1);
}

/* Replaces what `type` has no place for in one line. */
static void line_lower(char *line, uint8_t type)
{
    char *words[8];
    unsigned count = 0;
    for (char *at = line; at != NULL && count < 8; at = strchr(at + 1, ' ')) {
        words[count++] = at;
    }
    if (line[0] == 'c') {
        word_set(words[4], " ~");
    } else if (type == RDB_TYPE_STREAM_LISTPACKS && line[0] == 'M') {
        word_set(words[3], " - - -");
    } else if (type == RDB_TYPE_STREAM_LISTPACKS && line[0] == 'g') {
        word_set(words[3], " -");
    }
}

static char *lines_lower(const char *text, uint8_t type)
{
    size_t total = strlen(text) + 1;
    char *out = calloc(1, total);
    assert_non_null(out);
    size_t used = 0;
    while (*text != '\0') {
        char line[4096];
        size_t size = strcspn(text, "\n");
        snprintf(line, sizeof(line), "%.*s", (int)size, text);
        line_lower(line, type);
        used += (size_t)snprintf(out + used, total - used, "%s\n", line);
        text += size + 1;
    }
    return out;
}

static void assert_lowered(uint8_t from, const uint8_t *body, size_t size)
{
    for (size_t i = 0; i < sizeof(earlier); i++) {
        if (earlier[i] >= from) {
            continue;
        }
        struct lines before, after;
        struct syn_err err;
        size_t lower_size = size;
        uint8_t *lower = mem_alloc(MEM_RDB, size);
        assert_non_null(lower);
        memcpy(lower, body, size);
        if (!rdb_stream_lower(lower, &lower_size, from, earlier[i], &err)) {
            fail_msg("%s", err.msg);
        }
        assert_true(lower_size <= size);
        lines_decode(body, size, &(struct lines_options){.type = from}, &before);
        lines_decode(lower, lower_size, &(struct lines_options){.type = earlier[i]}, &after);
        assert_int_equal(after.status, RDB_DECODE_DONE);
        assert_int_equal(after.used, lower_size);
        char *wanted = lines_lower(before.text, earlier[i]);
        assert_string_equal(after.text, wanted);
        free(wanted);
        lines_free(&before);
        lines_free(&after);
        mem_free(MEM_RDB, lower);
    }
}

static void test_content(void **state)
{
    (void)state;
    assert_int_equal(each_stream("redis-7.4.1", assert_lowered), 10);
    assert_true(each_stream("redis-7.0.15-snapshot", assert_lowered) > 0);
    assert_true(each_stream("valkey-9.1.2-ver9-snapshot", assert_lowered) > 0);
}

/* In a block of just its size, so that a byte read behind it shows. */
static bool lower_copy(uint8_t from, const uint8_t *body, size_t size, const char **message)
{
    static struct syn_err err;
    size_t lower_size = size;
    uint8_t *lower = mem_alloc(MEM_RDB, size > 0 ? size : 1);
    assert_non_null(lower);
    memcpy(lower, body, size);
    bool ok = rdb_stream_lower(lower, &lower_size, from, RDB_TYPE_STREAM_LISTPACKS, &err);
    if (!ok) {
        assert_int_equal(err.code, SYN_CODE_SOURCE_DATA);
    }
    assert_true(lower_size <= size);
    *message = err.msg;
    mem_free(MEM_RDB, lower);
    return ok;
}

static void assert_cut(uint8_t from, const uint8_t *body, size_t size)
{
    const char *message;
    for (size_t cut = 0; cut < size; cut++) {
        assert_false(lower_copy(from, body, cut, &message));
        assert_non_null(strstr(message, "is not whole"));
    }
}

static void assert_flipped(uint8_t from, const uint8_t *body, size_t size)
{
    const char *message;
    uint8_t *copy = mem_alloc(MEM_RDB, size + 1);
    assert_non_null(copy);
    memcpy(copy, body, size);
    copy[size] = 0;
    assert_false(lower_copy(from, copy, size + 1, &message)); /* one byte more */
    for (size_t at = 0; at < size; at++) {
        static const uint8_t masks[] = {0xff, 0x80, 0x40, 0x01};
        for (size_t n = 0; n < sizeof(masks); n++) {
            copy[at] ^= masks[n];
            (void)lower_copy(from, copy, size, &message);
            copy[at] ^= masks[n];
        }
    }
    mem_free(MEM_RDB, copy);
}

static void test_damage(void **state)
{
    (void)state;
    assert_int_equal(each_stream("redis-7.4.1", assert_cut), 10);
    assert_int_equal(each_stream("redis-7.4.1", assert_flipped), 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_content),
        cmocka_unit_test(test_damage),
    };
    return cmocka_run_group_tests_name("streams of earlier versions", tests, NULL, NULL);
}
