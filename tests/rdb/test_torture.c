/*
 * Every allocation fails, one after the other, while recorded snapshots of all types are parsed,
 * decoded, digested and rewritten, in windows that cut everything: each time a clean error, nothing
 * lost, and parts that work again as if nothing had been.
 */
#include "tests/base/test.h"

#include <stdio.h>

#include "rdb/digest.h"
#include "rdb/rewrite.h"
#include "tests/rdb/feed.h"

#define ITEM_BYTES_MAX ((size_t)4 << 20)

static const char *const names[] = {"redis-2.8.24-snapshot",
                                    "redis-5.0.14-sync",
                                    "redis-7.0.15-snapshot",
                                    "redis-7.4.1-snapshot",
                                    "valkey-9.1.2-ver9-snapshot",
                                    "redis-7.4.1"};

/* ---- the parts, used together ---- */

struct parts {
    struct rdb_parser *parser;
    struct rdb_decoder *decoder;
    struct rdb_digest *digest;
    struct rewriter *rewriter;
};

/* What came out of a run. */
struct outcome {
    uint64_t digests;
    uint64_t commands;
    uint64_t keys;
};

static struct outcome made;

static enum rdb_flow on_command(void *arg, const struct rewrite_command *command)
{
    (void)arg;
    made.commands = crc64_update(made.commands, command->bytes.bytes, command->bytes.size);
    return RDB_GO;
}

static void on_loss(void *arg, const struct rewrite_loss *loss)
{
    (void)arg, (void)loss;
}

static bool parts_new(struct parts *parts, struct syn_err *err)
{
    static const struct rewrite_sink sink = {.command = on_command, .loss = on_loss};
    struct rewrite_target target;
    rewrite_target_fill(&target, 80000, false);
    target.policy = REWRITE_DEGRADE;
    target.piece_bytes = 500;
    *parts = (struct parts){0};
    return (parts->parser = rdb_parser_new(ITEM_BYTES_MAX, err)) != NULL &&
           (parts->decoder = rdb_decoder_new(ITEM_BYTES_MAX, err)) != NULL &&
           (parts->digest = rdb_digest_new(RDB_DIGEST_COUNTERS, err)) != NULL &&
           (parts->rewriter = rewriter_new(&target, &sink, err)) != NULL;
}

static void parts_free(struct parts *parts)
{
    rdb_parser_free(parts->parser);
    rdb_decoder_free(parts->decoder);
    rdb_digest_free(parts->digest);
    rewriter_free(parts->rewriter);
}

/* ---- runs ---- */

struct input {
    const uint8_t *bytes;
    size_t size;
    size_t step;
    size_t pos;
    size_t end; /* of the window */
};

static void more(struct input *input)
{
    assert_true(input->end < input->size);
    size_t left = input->size - input->end;
    input->end += input->step < left ? input->step : left;
}

/* Decodes the value at the input's place for this visitor; the place does not move. */
static bool decode(struct rdb_decoder *decoder,
                   const struct rdb_value_place *place,
                   struct input input,
                   const struct rdb_visitor *visitor,
                   void *arg,
                   struct syn_err *err)
{
    if (!rdb_decoder_begin(decoder, place, visitor, arg, err)) {
        return false;
    }
    for (;;) {
        size_t used;
        const uint8_t *window = input.bytes + input.pos;
        enum rdb_decode status =
            rdb_decoder_run(decoder, window, input.end - input.pos, &used, err);
        input.pos += used;
        if (status != RDB_DECODE_MORE) {
            return status == RDB_DECODE_DONE || status == RDB_DECODE_STOPPED;
        }
        more(&input);
    }
}

/* A module's value cannot be rewritten; there is none in the fixtures. */
static bool take_value(struct parts *parts,
                       const struct rdb_item *item,
                       bool is_valkey,
                       const struct input *input,
                       struct syn_err *err)
{
    struct rdb_value_place place = {.type = item->type, .is_valkey = is_valkey};
    rdb_digest_begin(parts->digest);
    if (!decode(parts->decoder, &place, *input, rdb_digest_visitor(), parts->digest, err)) {
        return false;
    }
    struct rdb_digest_value digest = rdb_digest_end(parts->digest);
    made.digests = crc64_update(made.digests, &digest, sizeof(digest));
    made.keys++;
    return rewriter_begin(parts->rewriter, item->name, item->expire_ms, err) &&
           decode(parts->decoder, &place, *input, rewriter_visitor(), parts->rewriter, err) &&
           rewriter_end(parts->rewriter, err);
}

static bool run(struct parts *parts, struct input input, struct syn_err *err)
{
    made = (struct outcome){0};
    rdb_parser_reset(parts->parser);
    struct rdb_item item = {.kind = RDB_ITEM_HEADER};
    bool is_valkey = false;
    bool is_in_value = false;
    while (item.kind != RDB_ITEM_CHECKSUM) {
        size_t used = 0;
        size_t wanted;
        const uint8_t *window = input.bytes + input.pos;
        size_t size = input.end - input.pos;
        enum rdb_status status =
            is_in_value ? rdb_value_walk(parts->parser, window, size, &used, err)
                        : rdb_parser_next(parts->parser, window, size, &used, &wanted, &item, err);
        if (status == RDB_ERROR) {
            return false;
        }
        input.pos += used;
        if (status == RDB_MORE) {
            more(&input);
            continue;
        }
        is_valkey = item.kind == RDB_ITEM_HEADER ? item.is_valkey : is_valkey;
        is_in_value = !is_in_value && item.kind == RDB_ITEM_KEY;
        if (is_in_value && !take_value(parts, &item, is_valkey, &input, err)) {
            return false;
        }
    }
    return true;
}

static void check_outcome(const struct outcome *expected)
{
    assert_true(made.digests == expected->digests);
    assert_true(made.commands == expected->commands);
    assert_true(made.keys == expected->keys);
}

/* Fails the n-th allocation (and, unless `is_once`, all after it); true when there are fewer. */
static bool
fail_at(uint64_t n, bool is_once, const struct input *input, const struct outcome *expected)
{
    struct parts parts;
    struct syn_err err = {.code = SYN_CODE_OK};
    uint64_t live = mem_live_bytes(MEM_RDB);
    (is_once ? mem_fail_once_at : mem_fail_at)(n);
    bool is_made = parts_new(&parts, &err);
    bool ok = is_made && run(&parts, *input, &err);
    bool has_failed = mem_call_count() >= n;
    mem_fail_at(0);
    assert_int_equal(ok, !has_failed); /* a failure that was passed over would lose data */
    if (!ok) {
        assert_int_equal(err.code, SYN_CODE_MEMORY);
        assert_true(err.msg[0] != '\0');
    } else {
        check_outcome(expected);
    }
    if (is_made && !ok) {
        assert_true(run(&parts, *input, &err));
        check_outcome(expected);
    }
    parts_free(&parts);
    assert_true(mem_live_bytes(MEM_RDB) == live);
    return ok;
}

/* In one window: what every other run must come to. */
static struct outcome outcome_of(const uint8_t *bytes, size_t size)
{
    struct input input = {.bytes = bytes, .size = size, .step = size};
    struct parts parts;
    struct syn_err err;
    assert_true(parts_new(&parts, &err));
    assert_true(run(&parts, input, &err));
    parts_free(&parts);
    assert_true(made.keys > 10);
    return made;
}

static void test_every_allocation_fails(void **state)
{
    (void)state;
    static const size_t steps[] = {1, 7, 61, 4099, 65536};
    uint64_t failures = 0;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        char path[128];
        size_t size;
        snprintf(path, sizeof(path), "rdb/%s/dump.rdb", names[i]);
        uint8_t *bytes = fixture_read(path, &size);
        struct outcome expected = outcome_of(bytes, size);
        for (size_t k = 0; k < sizeof(steps) / sizeof(steps[0]); k++) {
            if (size > 100000 && steps[k] < 4000) {
                continue;
            }
            struct input input = {.bytes = bytes, .size = size, .step = steps[k]};
            for (unsigned is_once = 0; is_once < 2; is_once++) {
                for (uint64_t n = 1; !fail_at(n, is_once != 0, &input, &expected); n++) {
                    failures++;
                }
            }
        }
        mem_free(MEM_RDB, bytes);
    }
    print_message("%llu failures\n", (unsigned long long)failures);
    assert_true(failures > 500);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_every_allocation_fails)};
    return cmocka_run_group_tests_name("torture", tests, NULL, NULL);
}
