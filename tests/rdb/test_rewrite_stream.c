/*
 * Streams as commands: groups that begin at the wrong id deliver entries twice or never, and what
 * is claimed for the wrong consumer is processed by nobody.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>

#include "tests/rdb/rewrite_rig.h"

/* DUMP by Redis 7.0.15 of a stream: entries 1-0 to 6-0 (f1 v1 …) and 7-3 (f1 a f1 b f2 c), of which
 * 1-0, 5-0, 6-0 and 7-3 were deleted; group g: alice has 1-0 and 2-0 pending, bob 3-0, 4-0 and 5-0,
 * carol nothing; group h: nothing, its entries-read is not known. */
// clang-format off
static const uint8_t rich[] = {
    0x13, 0x01, 0x10, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x01, 0x00, 0x00, 0x00, 0x00, 0x00,
    0x00, 0x00, 0x00, 0xc3, 0x40, 0x81, 0x40, 0x98, 0x14, 0x98, 0x00, 0x00, 0x00, 0x38, 0x00, 0x03,
    0x01, 0x04, 0x01, 0x01, 0x01, 0x82, 0x66, 0x31, 0x03, 0x00, 0x01, 0x03, 0x01, 0x00, 0x20, 0x01,
    0x04, 0x82, 0x76, 0x31, 0x03, 0x04, 0x20, 0x07, 0x00, 0x01, 0x60, 0x03, 0x08, 0x82, 0x66, 0x32,
    0x03, 0x82, 0x76, 0x32, 0x03, 0x06, 0x20, 0x0d, 0x00, 0x02, 0x20, 0x03, 0x40, 0x11, 0x00, 0x33,
    0x20, 0x11, 0x00, 0x33, 0x60, 0x11, 0x40, 0x31, 0x40, 0x11, 0x00, 0x34, 0x20, 0x11, 0x00, 0x34,
    0x20, 0x11, 0x00, 0x01, 0x20, 0x4d, 0x80, 0x11, 0x00, 0x35, 0x20, 0x11, 0x00, 0x35, 0x60, 0x11,
    0x00, 0x05, 0xa0, 0x11, 0x00, 0x36, 0x20, 0x11, 0x00, 0x36, 0x60, 0x11, 0x00, 0x06, 0x20, 0x37,
    0x00, 0x03, 0x20, 0x59, 0x04, 0x31, 0x03, 0x81, 0x61, 0x02, 0x60, 0x06, 0x00, 0x62, 0x20, 0x06,
    0x07, 0x32, 0x03, 0x81, 0x63, 0x02, 0x0a, 0x01, 0xff, 0x03, 0x07, 0x03, 0x02, 0x00, 0x07, 0x03,
    0x07, 0x02, 0x01, 0x67, 0x05, 0x00, 0x05, 0x05, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x01,
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0xe8, 0x03, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    0x01, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x02, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    0x00, 0xe8, 0x03, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x01, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    0x00, 0x03, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0xd0, 0x07, 0x00, 0x00, 0x00, 0x00,
    0x00, 0x00, 0x07, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x04, 0x00, 0x00, 0x00, 0x00, 0x00,
    0x00, 0x00, 0x00, 0xb8, 0x0b, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x01, 0x00, 0x00, 0x00, 0x00,
    0x00, 0x00, 0x00, 0x05, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0xb8, 0x0b, 0x00, 0x00,
    0x00, 0x00, 0x00, 0x00, 0x01, 0x03, 0x05, 0x61, 0x6c, 0x69, 0x63, 0x65, 0x8e, 0x9a, 0x6e, 0xf9,
    0xa1, 0x01, 0x00, 0x00, 0x02, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x01, 0x00, 0x00, 0x00,
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x02, 0x00, 0x00, 0x00,
    0x00, 0x00, 0x00, 0x00, 0x00, 0x03, 0x62, 0x6f, 0x62, 0x96, 0x9a, 0x6e, 0xf9, 0xa1, 0x01, 0x00,
    0x00, 0x03, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x03, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x04, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x05, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    0x00, 0x00, 0x05, 0x63, 0x61, 0x72, 0x6f, 0x6c, 0x86, 0x9a, 0x6e, 0xf9, 0xa1, 0x01, 0x00, 0x00,
    0x00, 0x01, 0x68, 0x06, 0x00, 0x81, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x00, 0x00,
    0x0a, 0x00, 0xa8, 0x3f, 0x0e, 0x64, 0x21, 0xa0, 0x72, 0x1d,
};
/* By the same: an empty stream, whose only entry 5-5 was deleted. */
static const uint8_t empty[] = {
    0x13, 0x00, 0x00, 0x05, 0x05, 0x00, 0x00, 0x05, 0x05, 0x01, 0x00, 0x0a, 0x00, 0x2e, 0xc2, 0x9e,
    0x19, 0x8c, 0xf6, 0x4e, 0x24,
};
// clang-format on

static const char rich_on_7_0[] = "DEL k\n"
                                  "XADD k 2-0 f2 v2\n"
                                  "XADD k 3-0 f3 v3\n"
                                  "XADD k 4-0 f4 v4\n"
                                  "XSETID k 7-3 ENTRIESADDED 7 MAXDELETEDID 7-3\n"
                                  "XGROUP CREATE k g 5-0 ENTRIESREAD 5\n"
                                  "XGROUP CREATECONSUMER k g alice\n"
                                  "XCLAIM k g alice 0 2-0 TIME 1000 RETRYCOUNT 1 FORCE JUSTID\n"
                                  "XGROUP CREATECONSUMER k g bob\n"
                                  "XCLAIM k g bob 0 3-0 TIME 2000 RETRYCOUNT 7 FORCE JUSTID\n"
                                  "XCLAIM k g bob 0 4-0 TIME 3000 RETRYCOUNT 1 FORCE JUSTID\n"
                                  "XGROUP CREATECONSUMER k g carol\n"
                                  "XGROUP CREATE k h 6-0\n"
                                  "PEXPIREAT k 99\n";

static struct rewrite_rig rig;
static struct rdb_decoder *decoder;

static void setup_target(uint32_t version, uint32_t elements, uint32_t pending_max)
{
    struct rewrite_target target;
    struct syn_err err;
    rewrite_target_fill(&target, version, false);
    target.piece_elements = elements;
    target.pending_max = pending_max;
    rewrite_rig_init(&rig, &target);
    decoder = rdb_decoder_new(1 << 16, &err);
    assert_non_null(decoder);
}

static void teardown(void)
{
    rdb_decoder_free(decoder);
    rewrite_rig_deinit(&rig);
}

static void rewrite_payload(const uint8_t *bytes, size_t size)
{
    struct syn_err err;
    struct slice key = {(const uint8_t *)"k", 1};
    struct slice payload = {bytes, size};
    rewrite_rig_clear(&rig);
    assert_true(rewriter_begin(rig.rewriter, key, 99, &err));
    assert_true(rdb_payload_decode(decoder, payload, 1, rewriter_visitor(), rig.rewriter, &err));
}

static void test_a_stream_with_groups(void **state)
{
    (void)state;
    /* Every id, counter, owner, time and count; what cannot be claimed is counted. */
    setup_target(70015, 100, 100);
    rewrite_payload(rich, sizeof(rich));
    rewrite_rig_end(&rig, true);
    assert_string_equal(rig.text, rich_on_7_0);
    assert_string_equal(rig.losses,
                        "k: pending entries whose stream entry is deleted cannot be claimed: "
                        "degrade 2\n");
    assert_int_equal(rig.commands[1].repeat, REWRITE_REPEAT_REFUSED);
    assert_int_equal(rig.commands[4].repeat, REWRITE_REPEAT_SAFE);
    assert_int_equal(rig.commands[5].repeat, REWRITE_REPEAT_REFUSED);
    assert_int_equal(rig.commands[6].claim_count, 0);
    assert_int_equal(rig.commands[7].claim_count, 1);
    teardown();
}

static void test_older_destinations(void **state)
{
    (void)state;
    /* An option that a version does not know fails the whole stream. */
    setup_target(60016, 100, 100);
    rewrite_payload(rich, sizeof(rich));
    rewrite_rig_end(&rig, true);
    assert_non_null(
        strstr(rig.text,
               "XSETID k 7-3\nXGROUP CREATE k g 5-0\n"
               "XREADGROUP GROUP g alice COUNT 1 STREAMS k 0\nXCLAIM k g alice 0 2-0 "));
    assert_null(strstr(rig.text, "CREATECONSUMER"));
    assert_null(strstr(rig.text, "ENTRIES"));
    rewrite_payload(empty, sizeof(empty));
    rewrite_rig_end(&rig, true);
    assert_string_equal(rig.text,
                        "DEL k\nXADD k 0-1 f v\nXDEL k 0-1\nXSETID k 5-5\nPEXPIREAT k 99\n");
    teardown();
}

static void test_an_empty_stream(void **state)
{
    (void)state;
    /* The key exists, with its last id: or ids that were given out before would be given again. */
    setup_target(70015, 100, 100);
    rewrite_payload(empty, sizeof(empty));
    rewrite_rig_end(&rig, true);
    assert_string_equal(rig.text,
                        "DEL k\nXADD k MAXLEN 0 0-1 f v\n"
                        "XSETID k 5-5 ENTRIESADDED 1 MAXDELETEDID 5-5\nPEXPIREAT k 99\n");
    teardown();
}

static void test_cut_anywhere(void **state)
{
    (void)state;
    /* Names and ids must not point into a window that is gone. Each window is a block of its own.
     */
    setup_target(70015, 100, 100);
    struct slice body;
    struct syn_err err;
    uint8_t type;
    uint16_t version;
    assert_true(rdb_payload_read(rich, sizeof(rich), &type, &body, &version, &err));
    struct rdb_value_place place = {.type = type};
    struct slice key = {(const uint8_t *)"k", 1};
    for (size_t step = 1; step <= body.size; step++) {
        rewrite_rig_clear(&rig);
        assert_true(rewriter_begin(rig.rewriter, key, 99, &err));
        assert_true(rdb_decoder_begin(decoder, &place, rewriter_visitor(), rig.rewriter, &err));
        size_t used = 0;
        size_t available = 0;
        enum rdb_decode result = RDB_DECODE_MORE;
        while (result == RDB_DECODE_MORE) {
            assert_true(available < body.size);
            available = body.size - available < step ? body.size : available + step;
            uint8_t *window = malloc(available - used);
            assert_non_null(window);
            memcpy(window, body.bytes + used, available - used);
            size_t taken = 0;
            result = rdb_decoder_run(decoder, window, available - used, &taken, &err);
            used += taken;
            free(window);
        }
        assert_int_equal(result, RDB_DECODE_DONE);
        rewrite_rig_end(&rig, true);
        assert_string_equal(rig.text, rich_on_7_0);
    }
    teardown();
}

static void test_pauses_lose_nothing(void **state)
{
    (void)state;
    /* Back-pressure at every command must give the same commands. */
    setup_target(70015, 100, 100);
    struct slice body;
    struct syn_err err;
    uint8_t type;
    uint16_t version;
    assert_true(rdb_payload_read(rich, sizeof(rich), &type, &body, &version, &err));
    struct rdb_value_place place = {.type = type};
    struct slice key = {(const uint8_t *)"k", 1};
    rig.is_pausing = true;
    assert_true(rewriter_begin(rig.rewriter, key, 99, &err));
    assert_true(rdb_decoder_begin(decoder, &place, rewriter_visitor(), rig.rewriter, &err));
    size_t used = 0;
    size_t pauses = 0;
    enum rdb_decode result;
    do {
        size_t taken;
        result = rdb_decoder_run(decoder, body.bytes + used, body.size - used, &taken, &err);
        used += taken;
        pauses += result == RDB_DECODE_PAUSED;
    } while (result == RDB_DECODE_PAUSED);
    assert_int_equal(result, RDB_DECODE_DONE);
    assert_true(pauses > 8);
    rewrite_rig_end(&rig, true);
    assert_string_equal(rig.text, rich_on_7_0);
    teardown();
}

/* ---- groups alone, by their callbacks ---- */

static void give_group(const char *name)
{
    struct rdb_stream_group group = {
        .name = rewrite_rig_element(name), .last_id = {9, 0}, .entries_read = -1};
    rewriter_visitor()->stream_group(rig.rewriter, &group);
}

static enum rdb_flow give_pending(uint64_t ms, int64_t delivery_ms)
{
    struct rdb_stream_pending pending = {
        .id = {ms, 0}, .delivery_ms = delivery_ms, .delivery_count = 2};
    return rewriter_visitor()->stream_pending(rig.rewriter, &pending);
}

static void give_consumer(const char *name)
{
    struct rdb_stream_consumer consumer = {.name = rewrite_rig_element(name)};
    rewriter_visitor()->stream_consumer(rig.rewriter, &consumer);
}

static enum rdb_flow give_owned(uint64_t ms)
{
    struct rdb_stream_id id = {ms, 0};
    return rewriter_visitor()->stream_consumer_pending(rig.rewriter, &id);
}

/* A stream with live entries 2-0 to 4-0. */
static void begin_live_stream(void)
{
    struct syn_err err;
    struct slice key = {(const uint8_t *)"k", 1};
    assert_true(rewriter_begin(rig.rewriter, key, -1, &err));
    struct slice payload = {rich, sizeof(rich)};
    struct rdb_visitor entries = {.begin = rewriter_visitor()->begin,
                                  .stream_entry = rewriter_visitor()->stream_entry};
    assert_true(rdb_payload_decode(decoder, payload, 1, &entries, rig.rewriter, &err));
    rewrite_rig_clear(&rig);
}

static void test_claims_share_commands(void **state)
{
    (void)state;
    /* A run with one time and count is one command, up to the piece; another time begins a new
     * one, and so does another consumer. */
    setup_target(70015, 2, 100);
    begin_live_stream();
    give_group("g");
    give_pending(2, 70);
    give_pending(3, 70);
    give_pending(4, 70);
    give_consumer("a");
    give_owned(2);
    give_owned(3);
    give_owned(4);
    give_group("h");
    give_pending(2, 70);
    give_pending(3, 80);
    give_pending(4, 80);
    give_consumer("b");
    give_owned(2);
    give_owned(3);
    give_consumer("c");
    give_owned(4);
    rewrite_rig_end(&rig, true);
    assert_string_equal(rig.text,
                        "XGROUP CREATE k g 9-0\nXGROUP CREATECONSUMER k g a\n"
                        "XCLAIM k g a 0 2-0 3-0 TIME 70 RETRYCOUNT 2 FORCE JUSTID\n"
                        "XCLAIM k g a 0 4-0 TIME 70 RETRYCOUNT 2 FORCE JUSTID\n"
                        "XGROUP CREATE k h 9-0\nXGROUP CREATECONSUMER k h b\n"
                        "XCLAIM k h b 0 2-0 TIME 70 RETRYCOUNT 2 FORCE JUSTID\n"
                        "XCLAIM k h b 0 3-0 TIME 80 RETRYCOUNT 2 FORCE JUSTID\n"
                        "XGROUP CREATECONSUMER k h c\n"
                        "XCLAIM k h c 0 4-0 TIME 80 RETRYCOUNT 2 FORCE JUSTID\n");
    assert_int_equal(rig.commands[2].claim_count, 2);
    teardown();
}

static void test_more_pending_than_can_be_held(void **state)
{
    (void)state;
    /* The bound is a bound: what is beyond follows the policy and is told. */
    static const char *const texts[] = {
        [REWRITE_STOP] = "XGROUP CREATE k g 9-0\n",
        [REWRITE_DEGRADE] = "XGROUP CREATE k g 9-0\nXGROUP CREATECONSUMER k g a\n"
                            "XCLAIM k g a 0 2-0 TIME 70 RETRYCOUNT 2 FORCE JUSTID\n"
                            "XCLAIM k g a 0 3-0 TIME 3 RETRYCOUNT 1 FORCE JUSTID\n"
                            "XCLAIM k g a 0 4-0 TIME 4 RETRYCOUNT 1 FORCE JUSTID\n",
        [REWRITE_SKIP] = "XGROUP CREATE k g 9-0\nDEL k\n",
    };
    static const char *const outcomes[] = {"stop 1\n", "degrade 2\n", "skip 1\n"};
    for (enum rewrite_policy policy = REWRITE_STOP; policy <= REWRITE_SKIP; policy++) {
        struct rewrite_target target;
        struct syn_err err;
        rewrite_target_fill(&target, 70015, false);
        target.pending_max = 1;
        target.policy = policy;
        rewrite_rig_init(&rig, &target);
        decoder = rdb_decoder_new(1 << 16, &err);
        assert_non_null(decoder);
        if (policy == REWRITE_DEGRADE) {
            begin_live_stream();
        } else { /* the stream itself has too many */
            rewrite_rig_begin(&rig, RDB_KIND_STREAM, -1);
            rewrite_rig_clear(&rig);
        }
        give_group("g");
        give_pending(2, 70);
        enum rdb_flow flow = give_pending(3, 70);
        assert_int_equal(flow, policy == REWRITE_STOP ? RDB_STOP : RDB_GO);
        if (flow == RDB_GO) {
            give_pending(4, 70);
            give_consumer("a");
            give_owned(2);
            give_owned(3);
            give_owned(4);
        }
        rewrite_rig_end(&rig, policy != REWRITE_STOP);
        assert_string_equal(rig.text, texts[policy]);
        assert_non_null(strstr(rig.losses, "more pending entries than can be held"));
        assert_non_null(strstr(rig.losses, outcomes[policy]));
        teardown();
    }
}

static void test_groups_that_do_not_agree(void **state)
{
    (void)state;
    /* Damage that servers refuse to load must not become a different, valid stream. */
    setup_target(70015, 10, 100);
    begin_live_stream();
    give_group("g");
    give_pending(2, 70);
    give_consumer("a");
    assert_int_equal(give_owned(3), RDB_STOP);
    rewrite_rig_end(&rig, false);
    assert_non_null(strstr(rig.err_text, "a pending entry that its group has not"));
    begin_live_stream();
    give_group("g");
    give_pending(2, 70);
    rewrite_rig_end(&rig, false);
    assert_non_null(strstr(rig.err_text, "pending entries that no consumer has"));
    begin_live_stream();
    struct rdb_stream_entry entry = {.id = {9, 9}};
    assert_int_equal(rewriter_visitor()->stream_entry(rig.rewriter, &entry), RDB_STOP);
    rewrite_rig_end(&rig, false);
    assert_non_null(strstr(rig.err_text, "a stream entry has no fields"));
    begin_live_stream();
    give_group("g");
    give_pending(3, 70);
    assert_int_equal(give_pending(3, 70), RDB_STOP);
    rewrite_rig_end(&rig, false);
    assert_non_null(strstr(rig.err_text, "are not in order"));
    teardown();
}

static void test_allocation_failures(void **state)
{
    (void)state;
    /* Each failure is a clean error; nothing leaks; the rewriter can be used again. */
    struct rewrite_target target;
    rewrite_target_fill(&target, 70015, false);
    struct rewrite_rig deaf = {.is_deaf = true};
    struct rewrite_sink sink = rewrite_rig_sink(&deaf);
    struct slice key = {(const uint8_t *)"k", 1};
    struct slice payload = {rich, sizeof(rich)};
    uint64_t live = mem_live_bytes(MEM_RDB);
    bool is_done = false;
    for (uint64_t n = 1; !is_done; n++) {
        assert_true(n < 100);
        struct syn_err err = {0};
        struct rdb_decoder *fresh = rdb_decoder_new(1 << 16, &err);
        struct rewriter *rewriter = rewriter_new(&target, &sink, &err);
        assert_non_null(fresh);
        assert_non_null(rewriter);
        mem_fail_at(n);
        is_done = rewriter_begin(rewriter, key, 99, &err) &&
                  rdb_payload_decode(fresh, payload, 1, rewriter_visitor(), rewriter, &err) &&
                  rewriter_end(rewriter, &err);
        mem_fail_at(0);
        if (!is_done) {
            assert_int_equal(err.code, SYN_CODE_MEMORY);
        }
        assert_true(rewriter_begin(rewriter, key, 99, &err));
        assert_true(rdb_payload_decode(fresh, payload, 1, rewriter_visitor(), rewriter, &err));
        assert_true(rewriter_end(rewriter, &err));
        rewriter_free(rewriter);
        rdb_decoder_free(fresh);
        assert_int_equal(mem_live_bytes(MEM_RDB), live);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_stream_with_groups),
        cmocka_unit_test(test_older_destinations),
        cmocka_unit_test(test_an_empty_stream),
        cmocka_unit_test(test_cut_anywhere),
        cmocka_unit_test(test_pauses_lose_nothing),
        cmocka_unit_test(test_claims_share_commands),
        cmocka_unit_test(test_more_pending_than_can_be_held),
        cmocka_unit_test(test_groups_that_do_not_agree),
        cmocka_unit_test(test_allocation_failures),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
