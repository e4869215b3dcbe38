/*
 * Positions in a cluster's lanes: what stands in front of them and behind, and what is made of
 * commands behind the last one. A position that says too much is found only after a crash in just
 * that moment, so the order on the lane is looked at itself.
 */
#include "tests/apply/pipeline_rig.h"

#include "apply/recovery_private.h"
#include "apply/relay_private.h"

#include <stdio.h>
#include <stdlib.h>

/* Keys a, b and c lie on the third, the first and the second of three lanes. */

static bool give(void *arg,
                 uint32_t peer,
                 const uint8_t *bytes,
                 const struct resp_command *command,
                 struct bytes *out)
{
    (void)arg;
    (void)peer;
    struct slice name = arg_slice(bytes, command, 0);
    if (name.size != 4 || memcmp(name.bytes, "RPOP", 4) != 0) {
        return false;
    }
    bytes_add(out, "$7\r\nelement\r\n", 13);
    return true;
}

static struct rig *marked_rig(void)
{
    struct rig *rig = rig_new(&(struct rig_options){.is_stepped = true,
                                                    .is_cluster = true,
                                                    .lanes = 3,
                                                    .shards = 3,
                                                    .has_positions = true,
                                                    .answerer = give});
    rig_live(rig, 0, 1000);
    rig_command(rig, 0, "SET a 1"); /* the first positions are written in front of it */
    rig_settle(rig);
    for (uint32_t i = 0; i < 3; i++) {
        rig_forget(rig, i);
    }
    return rig;
}

static struct router *router_of(struct rig *rig)
{
    return &rig->decoders[0].router;
}

static void count_to_gap(struct rig *rig, uint32_t count, const char *key)
{
    char words[40];
    for (uint32_t i = 0; i < count; i++) {
        snprintf(words, sizeof(words), "INCR %s", key);
        rig_command(rig, 0, words);
    }
}

/* The words of one peer, in which `words` must come in this order, each behind the one before. */
static void expect_order(struct rig *rig, uint32_t i, const char *const *words)
{
    struct peer *peer = &rig->peers[i];
    pthread_mutex_lock(&peer->lock);
    const char *at = peer->text;
    for (; *words != NULL; words++) {
        const char *found = strstr(at, *words);
        if (found == NULL) {
            print_error("no \"%s\" in its place in:\n%s", *words, peer->text);
            pthread_mutex_unlock(&peer->lock);
            fail();
        }
        at = found + strlen(*words);
    }
    pthread_mutex_unlock(&peer->lock);
}
#define ORDER(rig, peer, ...) expect_order(rig, peer, (const char *const[]){__VA_ARGS__, NULL})

static bool has_text(struct rig *rig, uint32_t i, const char *text)
{
    struct peer *peer = &rig->peers[i];
    pthread_mutex_lock(&peer->lock);
    bool has = strstr(peer->text, text) != NULL;
    pthread_mutex_unlock(&peer->lock);
    return has;
}

static void await_text(struct rig *rig, uint32_t peer, const char *text)
{
    uint64_t begin = clock_monotonic_ms();
    while (!has_text(rig, peer, text)) {
        rig_step(rig);
        router_flush(router_of(rig));
        assert_false(rig_is_late(begin));
        rig_pause();
    }
}

/* c waits for an element of b while its lane is marked: the name comes first, and goes only behind
 * the push, with the next position. A lane without held keys names none. */
static void test_names(void **state)
{
    (void)state;
    struct rig *rig = marked_rig();
    rig_allow(rig, 0, 0);
    rig_command(rig, 0, "RPOPLPUSH b c");
    count_to_gap(rig, POSITION_GAP, "{c}1");
    await_text(rig, 1, "HSET");
    ORDER(rig, 1, "INCR {c}1", "SADD syncline:dirty:{", "0:c", "HSET syncline:position:{");
    assert_false(has_text(rig, 1, "LPUSH"));
    rig_allow(rig, 0, UINT64_MAX);
    rig_settle(rig);
    assert_true(has_text(rig, 1, "LPUSH c element"));
    assert_false(has_text(rig, 1, "SREM"));
    assert_true(router_is_behind(router_of(rig)));
    assert_true(router_mark_all(router_of(rig)));
    rig_settle(rig);
    ORDER(rig, 1, "HSET", "LPUSH c element", "SREM syncline:dirty:{", "0:c");
    assert_false(router_is_behind(router_of(rig)));
    assert_false(has_text(rig, 2, "syncline:dirty"));
    rig_free(rig);
}

/* A key that is held again before its old name was removed keeps a name. */
static void test_name_again(void **state)
{
    (void)state;
    struct rig *rig = marked_rig();
    for (int i = 0; i < 2; i++) {
        rig_allow(rig, 0, rig_peer_value(rig, 0, &rig->peers[0].reply_count));
        rig_command(rig, 0, "RPOPLPUSH b c");
        rig_step(rig);
        assert_true(router_mark_all(router_of(rig)));
        if (i == 0) {
            rig_allow(rig, 0, UINT64_MAX);
            rig_settle(rig);
        }
    }
    await_text(rig, 1, "SREM");
    ORDER(rig, 1, "SADD", "0:c", "HSET", "LPUSH c", "SREM", "0:c", "SADD", "0:c", "HSET");
    rig_allow(rig, 0, UINT64_MAX);
    rig_settle(rig);
    rig_free(rig);
}

/* What waits counts towards the next position: whoever continues counts it there. */
static void test_held_commands_count(void **state)
{
    (void)state;
    struct rig *rig = marked_rig();
    rig_allow(rig, 0, 0);
    rig_command(rig, 0, "RPOPLPUSH b c");
    count_to_gap(rig, POSITION_GAP / 2, "c");
    rig_command(rig, 0, "MULTI");
    count_to_gap(rig, POSITION_GAP / 2, "c");
    rig_command(rig, 0, "EXEC");
    await_text(rig, 1, "HSET");
    ORDER(rig, 1, "SADD syncline:dirty:{", "0:c", "HSET syncline:position:{");
    assert_false(has_text(rig, 1, "INCR c"));
    rig_allow(rig, 0, UINT64_MAX);
    rig_settle(rig);
    rig_free(rig);
}

/* ---- behind the last position ---- */

/* Continues behind 1000 on every lane: uncertain are so many commands of each. */
static struct rig *continued_rig(uint32_t gap)
{
    struct rig *rig = rig_new(&(struct rig_options){.is_stepped = true,
                                                    .is_cluster = true,
                                                    .lanes = 3,
                                                    .shards = 3,
                                                    .has_positions = true,
                                                    .answerer = give});
    rig_live(rig, 0, 1000);
    rig_command(rig, 0, "SET a 1");
    rig_settle(rig);
    struct stream *stream = &rig->sources[0].stream;
    struct recovery_lane lanes[3];
    for (uint32_t i = 0; i < 3; i++) {
        lanes[i] = (struct recovery_lane){.floor = stream->offset, .gap = gap};
        rig_forget(rig, i);
    }
    assert_true(recovery_begin(stream, lanes, UINT64_MAX, &rig->err));
    return rig;
}

static uint32_t dirty_count(const struct rig *rig)
{
    return rig->sources[0].stream.recovery->count;
}

/* No position lies inside a transaction: all of it is uncertain when its first command is. */
static void test_long_transaction(void **state)
{
    (void)state;
    struct rig *rig = continued_rig(POSITION_GAP);
    char words[40];
    count_to_gap(rig, POSITION_GAP - 2, "{c}last");
    rig_command(rig, 0, "MULTI");
    for (int i = 0; i < 100; i++) {
        snprintf(words, sizeof(words), "INCR {c}%d", i);
        rig_command(rig, 0, words);
    }
    rig_command(rig, 0, "EXEC");
    rig_settle(rig);
    assert_int_equal(dirty_count(rig), 101);
    assert_false(has_text(rig, 1, "INCR"));
    rig_command(rig, 0, "INCR {c}more"); /* the last of the gap */
    rig_command(rig, 0, "INCR {c}new");
    rig_settle(rig);
    assert_int_equal(dirty_count(rig), 102);
    assert_true(has_text(rig, 1, "INCR {c}new"));
    rig_free(rig);
}

/* A relay of which one lane is certain and another is not makes dirty what is not; one whose keys
 * are all new is done, and what waits behind it as well. */
static void test_relays_behind(void **state)
{
    (void)state;
    struct rig *rig = continued_rig(1);
    rig_command(rig, 0, "RPOPLPUSH b c"); /* over two lanes: both stay as uncertain as they are */
    rig_settle(rig);
    assert_int_equal(dirty_count(rig), 2);
    rig_command(rig, 0, "INCR {b}1");
    rig_command(rig, 0, "INCR {c}1");
    rig_settle(rig);
    assert_int_equal(dirty_count(rig), 4);
    rig_command(rig, 0, "RPOPLPUSH {b}2 {c}2");
    rig_command(rig, 0, "APPEND {c}2 x");
    rig_settle(rig);
    assert_int_equal(dirty_count(rig), 4);
    ORDER(rig, 1, "LPUSH {c}2 element", "APPEND {c}2 x");
    assert_false(has_text(rig, 0, "RPOP b"));
    rig_free(rig);
}

/* A key becomes dirty while commands wait for it: they are left out, and so their other keys are
 * dirty too. */
static void test_dirty_while_waiting(void **state)
{
    (void)state;
    struct rig *rig = continued_rig(0);
    rig_allow(rig, 0, 0);
    rig_command(rig, 0, "RPOPLPUSH b c");
    rig_command(rig, 0, "APPEND c x");
    rig_command(rig, 0, "MSET {c}1 1 {c}2 2");
    rig_command(rig, 0, "RENAME c a");
    rig_command(rig, 0, "APPEND a x");
    rig_step(rig);
    assert_true(router_mark_all(router_of(rig)));
    struct stream *stream = &rig->sources[0].stream;
    const struct slice key = SLICE("c");
    assert_true(recovery_dirty(stream, 0, &key, &rig->err));
    rig_allow(rig, 0, UINT64_MAX);
    rig_settle(rig);
    assert_int_equal(stream->relay->held.key_count, 0);
    assert_false(has_text(rig, 1, "LPUSH"));
    assert_false(has_text(rig, 1, "APPEND"));
    assert_false(has_text(rig, 1, "DUMP"));
    assert_false(has_text(rig, 2, "APPEND"));
    assert_int_equal(dirty_count(rig), 2); /* c and a */
    /* Its name stays as long as the key is not mended. */
    assert_true(router_mark_all(router_of(rig)));
    rig_settle(rig);
    assert_false(has_text(rig, 1, "SREM"));
    rig_free(rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_name_again),
        cmocka_unit_test(test_held_commands_count),
        cmocka_unit_test(test_long_transaction),
        cmocka_unit_test(test_relays_behind),
        cmocka_unit_test(test_dirty_while_waiting),
    };
    cmocka_set_test_filter(getenv("SYNCLINE_TEST_FILTER"));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
