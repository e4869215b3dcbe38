/*
 * Values as commands: a wrong word, a lost element at the seam of two pieces or a rounded score
 * would be wrong data at the destination that nothing else notices.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "rdb/score.h"
#include "tests/rdb/rewrite_rig.h"
#include "tests/support/random.h"

static struct rewrite_rig rig;

static void setup(uint32_t version, uint32_t bytes, uint32_t elements, enum rewrite_policy policy)
{
    struct rewrite_target target;
    rewrite_target_fill(&target, version, false);
    target.piece_bytes = bytes;
    target.piece_elements = elements;
    target.policy = policy;
    rewrite_rig_init(&rig, &target);
}

static enum rdb_flow give(enum rdb_kind kind, const char *text)
{
    struct rdb_element element = rewrite_rig_element(text);
    const struct rdb_visitor *visitor = rewriter_visitor();
    return kind == RDB_KIND_LIST ? visitor->list(rig.rewriter, &element)
                                 : visitor->set(rig.rewriter, &element);
}

static enum rdb_flow give_score(const char *text, double score)
{
    struct rdb_element element = rewrite_rig_element(text);
    return rewriter_visitor()->zset(rig.rewriter, &element, score);
}

static enum rdb_flow give_field(const char *field, const char *value, int64_t expire_ms)
{
    struct rdb_element a = rewrite_rig_element(field);
    struct rdb_element b = rewrite_rig_element(value);
    return rewriter_visitor()->hash(rig.rewriter, &a, &b, expire_ms);
}

/* The text in pieces of `step` bytes. */
static void give_string(const char *text, size_t step)
{
    size_t total = strlen(text);
    const struct rdb_visitor *visitor = rewriter_visitor();
    size_t pos = 0;
    do {
        size_t size = total - pos < step ? total - pos : step;
        struct slice piece = {(const uint8_t *)text + pos, size};
        assert_int_equal(visitor->string(rig.rewriter, piece, pos, total), RDB_GO);
        pos += size;
    } while (pos < total);
}

static void test_targets_follow_versions(void **state)
{
    (void)state;
    /* A capability believed too early makes every value of that kind fail at the destination. */
    struct rewrite_target target;
    rewrite_target_fill(&target, 30213, false);
    assert_false(target.has_multi_hset);
    rewrite_target_fill(&target, 40014, false);
    assert_true(target.has_multi_hset);
    assert_false(target.has_streams);
    rewrite_target_fill(&target, 60016, false);
    assert_true(target.has_streams);
    assert_false(target.has_create_consumer);
    assert_false(target.has_set_expiry);
    rewrite_target_fill(&target, 60200, false);
    assert_true(target.has_create_consumer);
    assert_true(target.has_set_expiry);
    assert_false(target.has_stream_counters);
    rewrite_target_fill(&target, 70200, false);
    assert_true(target.has_stream_counters);
    assert_false(target.has_field_expiry);
    rewrite_target_fill(&target, 70400, false);
    assert_true(target.has_field_expiry);
    rewrite_target_fill(&target, 80100, true);
    assert_true(target.has_stream_counters);
    assert_false(target.has_field_expiry);
    rewrite_target_fill(&target, 90000, true);
    assert_true(target.has_field_expiry);
    assert_int_equal(target.policy, REWRITE_STOP);
}

static void test_strings(void **state)
{
    (void)state;
    /* The pieces must not depend on how the text arrived, or they could not be repeated. */
    setup(70015, 3, 10, REWRITE_STOP);
    static const struct {
        const char *text;
        int64_t expire_ms;
        const char *commands;
    } cases[] = {
        {"", -1, "SET k \n"},
        {"", 77, "SET k  PXAT 77\n"},
        {"abc", -1, "SET k abc\n"},
        {"abc", 77, "SET k abc PXAT 77\n"},
        {"abc", 0, "SET k abc\nPEXPIREAT k 0\n"},
        {"abcd", -1, "SET k abc\nSETRANGE k 3 d\n"},
        {"abcdefgh", 77, "SET k abc\nSETRANGE k 3 def\nSETRANGE k 6 gh\nPEXPIREAT k 77\n"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        for (size_t step = 1; step < 10; step++) {
            rewrite_rig_begin(&rig, RDB_KIND_STRING, cases[i].expire_ms);
            give_string(cases[i].text, step);
            rewrite_rig_end(&rig, true);
            assert_string_equal(rig.text, cases[i].commands);
            assert_int_equal(rig.commands[0].repeat, REWRITE_REPEAT_SAFE);
        }
    }
    rewrite_rig_deinit(&rig);
    setup(60016, 3, 10, REWRITE_STOP);
    rewrite_rig_begin(&rig, RDB_KIND_STRING, 77);
    give_string("abc", 9);
    rewrite_rig_end(&rig, true);
    assert_string_equal(rig.text, "SET k abc\nPEXPIREAT k 77\n");
    rewrite_rig_deinit(&rig);
}

static void test_lists_and_sets(void **state)
{
    (void)state;
    /* An element at a seam could be lost or doubled; a repeated RPUSH must know what was before. */
    setup(70015, 8, 3, REWRITE_STOP);
    static const char *const elements[] = {
        "a", "", "ccc", "dddd", "eeee", "f", "gggggggggggg", "h"};
    enum rdb_kind kinds[] = {RDB_KIND_LIST, RDB_KIND_SET};
    for (size_t k = 0; k < 2; k++) {
        rewrite_rig_begin(&rig, kinds[k], 5);
        for (size_t i = 0; i < sizeof(elements) / sizeof(elements[0]); i++) {
            assert_int_equal(give(kinds[k], elements[i]), RDB_GO);
        }
        rewrite_rig_end(&rig, true);
        assert_string_equal(rig.text,
                            k == 0 ? "DEL k\nRPUSH k a  ccc\nRPUSH k dddd eeee\nRPUSH k f\n"
                                     "RPUSH k gggggggggggg\nRPUSH k h\nPEXPIREAT k 5\n"
                                   : "DEL k\nSADD k a  ccc\nSADD k dddd eeee\nSADD k f\n"
                                     "SADD k gggggggggggg\nSADD k h\nPEXPIREAT k 5\n");
        for (size_t i = 1; i < 6; i++) {
            static const uint64_t lengths[] = {0, 0, 3, 5, 6, 7};
            assert_int_equal(rig.commands[i].repeat,
                             k == 0 ? REWRITE_REPEAT_LIST : REWRITE_REPEAT_SAFE);
            assert_int_equal(rig.commands[i].list_length, k == 0 ? lengths[i] : 0);
        }
    }
    rewrite_rig_deinit(&rig);
}

static void test_empty_collections(void **state)
{
    (void)state;
    /* Servers have no empty collections: only the old key must go, and nothing expires. */
    setup(70015, 8, 3, REWRITE_STOP);
    enum rdb_kind kinds[] = {RDB_KIND_LIST, RDB_KIND_SET, RDB_KIND_ZSET, RDB_KIND_HASH};
    for (size_t k = 0; k < 4; k++) {
        rewrite_rig_begin(&rig, kinds[k], 5);
        rewrite_rig_end(&rig, true);
        assert_string_equal(rig.text, "DEL k\n");
    }
    rewrite_rig_deinit(&rig);
}

static void test_scores(void **state)
{
    (void)state;
    /* A score that does not read back as the same bits changes the order of members. */
    setup(70015, 1000, 100, REWRITE_STOP);
    rewrite_rig_begin(&rig, RDB_KIND_ZSET, -1);
    give_score("a", 0);
    give_score("b", -0.0);
    give_score("c", 0.1);
    give_score("d", INFINITY);
    give_score("e", -INFINITY);
    give_score("f", 9007199254740993.0);
    give_score("g", -3);
    give_score("h", 5e-324);
    give_score("i", 1.7976931348623157e308);
    give_score("j", 1.0 / 3);
    rewrite_rig_end(&rig, true);
    assert_string_equal(rig.text,
                        "DEL k\nZADD k 0 a -0 b 0.1 c inf d -inf e 9007199254740992 f -3 g "
                        "4.94065645841247e-324 h 1.7976931348623157e+308 i 0.3333333333333333 j\n");
    struct random random = {.state = 1};
    for (int i = 0; i < 20000; i++) {
        uint64_t bits = random_next(&random);
        double score;
        double back;
        memcpy(&score, &bits, sizeof(bits));
        if (isnan(score)) {
            continue;
        }
        rewrite_rig_begin(&rig, RDB_KIND_ZSET, -1);
        assert_int_equal(give_score("m", score), RDB_GO);
        rewrite_rig_end(&rig, true);
        const char *text = rig.text + strlen("DEL k\nZADD k ");
        assert_true(score_read((const uint8_t *)text, strlen(text) - strlen(" m\n"), &back));
        assert_memory_equal(&back, &score, sizeof(score));
    }
    rewrite_rig_begin(&rig, RDB_KIND_ZSET, -1);
    assert_int_equal(give_score("m", NAN), RDB_STOP);
    rewrite_rig_end(&rig, false);
    assert_non_null(strstr(rig.err_text, "a score is not a number"));
    rewrite_rig_deinit(&rig);
}

static void test_hashes(void **state)
{
    (void)state;
    /* HSET takes away a field's expiry, so the expiry comes behind it, and in the same piece, or a
     * crash in between would leave fields that never expire. */
    setup(70400, 100, 4, REWRITE_STOP);
    rewrite_rig_begin(&rig, RDB_KIND_HASH, 9);
    give_field("a", "1", -1);
    give_field("b", "2", 50);
    give_field("c", "3", 40);
    give_field("d", "4", 50);
    give_field("e", "5", 50);
    give_field("", "", 0);
    rewrite_rig_end(&rig, true);
    assert_string_equal(rig.text,
                        "DEL k\nHSET k a 1 b 2 c 3 d 4\nHPEXPIREAT k 40 FIELDS 1 c\n"
                        "HPEXPIREAT k 50 FIELDS 2 b d\nHSET k e 5  \nHPEXPIREAT k 0 FIELDS 1 \n"
                        "HPEXPIREAT k 50 FIELDS 1 e\nPEXPIREAT k 9\n");
    assert_string_equal(rig.losses, "");
    rewrite_rig_deinit(&rig);
    setup(30213, 100, 1, REWRITE_STOP);
    rewrite_rig_begin(&rig, RDB_KIND_HASH, -1);
    give_field("a", "1", -1);
    give_field("b", "2", -1);
    rewrite_rig_end(&rig, true);
    assert_string_equal(rig.text, "DEL k\nHMSET k a 1\nHMSET k b 2\n");
    rewrite_rig_deinit(&rig);
}

static void test_policy_for_field_expiry(void **state)
{
    (void)state;
    /* What the destination cannot hold must never be left out silently. */
    setup(70200, 100, 1, REWRITE_STOP);
    rewrite_rig_begin(&rig, RDB_KIND_HASH, -1);
    assert_int_equal(give_field("a", "1", -1), RDB_GO);
    assert_int_equal(give_field("b", "2", -1), RDB_GO);
    assert_int_equal(give_field("c", "3", 50), RDB_STOP);
    rewrite_rig_end(&rig, false);
    assert_non_null(strstr(rig.err_text, "the destination has no expiry of hash fields"));
    assert_string_equal(rig.text, "DEL k\nHSET k a 1\n");
    assert_string_equal(rig.losses, "k: the destination has no expiry of hash fields: stop 1\n");
    rewrite_rig_deinit(&rig);

    setup(70200, 100, 9, REWRITE_DEGRADE);
    rewrite_rig_begin(&rig, RDB_KIND_HASH, 7);
    give_field("a", "1", -1);
    give_field("b", "2", 50);
    give_field("c", "3", 51);
    rewrite_rig_end(&rig, true);
    assert_string_equal(rig.text, "DEL k\nHSET k a 1 b 2 c 3\nPEXPIREAT k 7\n");
    assert_string_equal(rig.losses, "k: the destination has no expiry of hash fields: degrade 2\n");
    rewrite_rig_deinit(&rig);

    setup(70200, 100, 1, REWRITE_SKIP);
    rewrite_rig_begin(&rig, RDB_KIND_HASH, 7);
    give_field("a", "1", -1);
    give_field("b", "2", -1);
    assert_int_equal(give_field("c", "3", 50), RDB_GO);
    assert_int_equal(give_field("d", "4", 50), RDB_GO);
    assert_int_equal(give_field("e", "5", -1), RDB_GO);
    rewrite_rig_end(&rig, true);
    assert_string_equal(rig.text, "DEL k\nHSET k a 1\nDEL k\n");
    assert_string_equal(rig.losses, "k: the destination has no expiry of hash fields: skip 1\n");
    /* The next value is written again. */
    rewrite_rig_begin(&rig, RDB_KIND_HASH, -1);
    give_field("a", "1", -1);
    rewrite_rig_end(&rig, true);
    assert_string_equal(rig.text, "DEL k\nHSET k a 1\n");
    rewrite_rig_deinit(&rig);
}

static void test_policy_for_whole_kinds(void **state)
{
    (void)state;
    /* Stopping must leave the destination's key alone; skipping must not leave an old value. */
    static const struct {
        enum rdb_kind kind;
        const char *reason;
    } cases[] = {
        {RDB_KIND_STREAM, "the destination has no streams"},
        {RDB_KIND_MODULE, "a module's value cannot be written by commands"},
    };
    for (size_t i = 0; i < 2; i++) {
        char expected[128];
        setup(40014, 100, 9, REWRITE_STOP);
        rewrite_rig_begin(&rig, cases[i].kind, 7);
        rewrite_rig_end(&rig, false);
        assert_non_null(strstr(rig.err_text, cases[i].reason));
        assert_string_equal(rig.text, "");
        rewrite_rig_deinit(&rig);
        for (enum rewrite_policy policy = REWRITE_DEGRADE; policy <= REWRITE_SKIP; policy++) {
            setup(40014, 100, 9, policy);
            rewrite_rig_begin(&rig, cases[i].kind, 7);
            if (cases[i].kind == RDB_KIND_STREAM) {
                struct rdb_stream_meta meta = {0};
                assert_int_equal(rewriter_visitor()->stream_meta(rig.rewriter, &meta), RDB_GO);
            }
            rewrite_rig_end(&rig, true);
            assert_string_equal(rig.text, "DEL k\n");
            snprintf(expected, sizeof(expected), "k: %s: skip 1\n", cases[i].reason);
            assert_string_equal(rig.losses, expected);
            rewrite_rig_deinit(&rig);
        }
    }
}

static void test_the_sink_stops_and_pauses(void **state)
{
    (void)state;
    /* After a refused command nothing more may be sent; a pause must reach the decoder once. */
    for (size_t stop_at = 1; stop_at <= 7; stop_at++) {
        setup(70400, 100, 2, REWRITE_STOP);
        rig.stop_at = stop_at;
        rewrite_rig_begin(&rig, RDB_KIND_HASH, 9);
        bool is_stopped = stop_at == 1; /* seen by the caller of `begin` */
        static const char *const fields[] = {"a", "b", "c", "d", "e"};
        for (size_t i = 0; i < 5 && !is_stopped; i++) {
            is_stopped = give_field(fields[i], "v", 40 + (int64_t)i % 2) == RDB_STOP;
        }
        rewrite_rig_end(&rig, false);
        assert_non_null(strstr(rig.err_text, "no more commands are taken"));
        assert_int_equal(rig.count, stop_at);
        rewrite_rig_deinit(&rig);
    }
    setup(70400, 100, 1, REWRITE_STOP);
    rewrite_rig_begin(&rig, RDB_KIND_LIST, 9);
    rig.is_pausing = true;
    assert_int_equal(give(RDB_KIND_LIST, "a"), RDB_GO);
    assert_int_equal(give(RDB_KIND_LIST, "b"), RDB_PAUSE);
    rig.is_pausing = false;
    assert_int_equal(give(RDB_KIND_LIST, "c"), RDB_GO);
    rewrite_rig_end(&rig, true);
    assert_string_equal(rig.text, "DEL k\nRPUSH k a\nRPUSH k b\nRPUSH k c\nPEXPIREAT k 9\n");
    rewrite_rig_deinit(&rig);
}

static void test_an_abandoned_value_leaves_nothing(void **state)
{
    (void)state;
    /* Elements of a value that broke off must not appear in the next one. */
    setup(70400, 100, 10, REWRITE_STOP);
    rewrite_rig_begin(&rig, RDB_KIND_HASH, 9);
    give_field("a", "1", 60);
    rewrite_rig_begin(&rig, RDB_KIND_STRING, -1);
    struct slice part = {(const uint8_t *)"xy", 2};
    assert_int_equal(rewriter_visitor()->string(rig.rewriter, part, 0, 5), RDB_GO);
    rewrite_rig_begin(&rig, RDB_KIND_HASH, -1);
    give_field("b", "2", -1);
    rewrite_rig_end(&rig, true);
    assert_string_equal(rig.text, "DEL k\nHSET k b 2\n");
    rewrite_rig_deinit(&rig);
}

/* One value of several pieces, with a large element. False: a clean failure. */
static bool rewrite_some(struct rewriter *rewriter, const char *large, struct syn_err *err)
{
    struct slice key = {(const uint8_t *)large, 2000};
    if (!rewriter_begin(rewriter, key, 9, err)) {
        return false;
    }
    const struct rdb_visitor *visitor = rewriter_visitor();
    struct rdb_value_begin value = {.kind = RDB_KIND_HASH, .count = 3, .bytes = RDB_UNKNOWN};
    enum rdb_flow flow = visitor->begin(rewriter, &value);
    for (int i = 0; i < 5 && flow == RDB_GO; i++) {
        struct rdb_element field = rewrite_rig_element("f");
        struct rdb_element text = {.bytes = (const uint8_t *)large, .size = 5000u * (unsigned)i};
        flow = visitor->hash(rewriter, &field, &text, 50 + i);
    }
    return rewriter_end(rewriter, err);
}

static void test_allocation_failures(void **state)
{
    (void)state;
    /* Memory that is short must be an error, never a command with a hole in it. */
    char *large = calloc(1, 100000);
    assert_non_null(large);
    struct rewrite_target target;
    rewrite_target_fill(&target, 80000, false);
    target.piece_elements = 2;
    struct rewrite_rig deaf = {.is_deaf = true};
    struct rewrite_sink sink = rewrite_rig_sink(&deaf);
    uint64_t live = mem_live_bytes(MEM_RDB);
    bool is_done = false;
    for (uint64_t n = 1; !is_done; n++) {
        assert_true(n < 100);
        struct syn_err err = {0};
        mem_fail_at(n);
        struct rewriter *rewriter = rewriter_new(&target, &sink, &err);
        is_done = rewriter != NULL && rewrite_some(rewriter, large, &err);
        mem_fail_at(0);
        if (!is_done) {
            assert_int_equal(err.code, SYN_CODE_MEMORY);
        }
        /* It goes on with the next value when there is memory again. */
        if (rewriter != NULL) {
            assert_true(rewrite_some(rewriter, large, &err));
        }
        rewriter_free(rewriter);
        assert_int_equal(mem_live_bytes(MEM_RDB), live);
    }
    free(large);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_targets_follow_versions),
        cmocka_unit_test(test_strings),
        cmocka_unit_test(test_lists_and_sets),
        cmocka_unit_test(test_empty_collections),
        cmocka_unit_test(test_scores),
        cmocka_unit_test(test_hashes),
        cmocka_unit_test(test_policy_for_field_expiry),
        cmocka_unit_test(test_policy_for_whole_kinds),
        cmocka_unit_test(test_the_sink_stops_and_pauses),
        cmocka_unit_test(test_an_abandoned_value_leaves_nothing),
        cmocka_unit_test(test_allocation_failures),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
