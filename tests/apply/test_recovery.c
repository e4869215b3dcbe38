/* What becomes of commands of which nobody knows whether they were executed: the keys that they
 * change, each in its own database, are read again, and no others. */
#include "apply/recovery_private.h"
#include "tests/apply/pipeline_rig.h"

#include <stdio.h>

#define UNTIL 1000000 /* the source is further than what is fed here: nothing is read */

static const uint16_t map[] = {0, UINT16_MAX, 3, 4};

/* Standalone, live behind 1000, with nothing certain up to `until`; database 1 is not copied. */
static struct rig *uncertain_rig(uint64_t floor)
{
    struct rig *rig =
        rig_new(&(struct rig_options){.is_stepped = true, .db_map = map, .db_map_count = 4});
    rig_live(rig, 0, 1000);
    struct syn_err err;
    const struct recovery_lane lane = {.floor = floor, .until = UNTIL, .gap = 100};
    assert_true(recovery_begin(&rig->sources[0].stream, &lane, UNTIL, &err));
    return rig;
}

/* "db:name db:name …": these keys are dirty, and no others. */
static void expect_dirty(struct rig *rig, const char *keys)
{
    const struct stream *stream = &rig->sources[0].stream;
    uint32_t count = 0;
    while (*keys != '\0') {
        size_t size = strcspn(keys, " ");
        const struct slice name = {(const uint8_t *)keys + 2, size - 2};
        if (!recovery_is_dirty(stream, (uint64_t)(keys[0] - '0'), &name)) {
            fail_msg("%.*s is not dirty", (int)size, keys);
        }
        keys += size + (keys[size] == ' ');
        count++;
    }
    assert_int_equal(stream->recovery->count, count);
}

static void test_databases(void **state)
{
    (void)state;
    static const struct {
        const char *command;
        const char *dirty;
        const char *written;
    } cases[] = {
        {"COPY a b", "0:a 0:b", ""},
        {"COPY a b DB 2", "0:a 2:b", ""},
        {"COPY a a DB 2 REPLACE", "0:a 2:a", ""},
        {"COPY a b DB 1", "", ""}, /* it changes nothing that is copied */
        {"MOVE a 2", "0:a 2:a", ""},
        {"MOVE a 1", "0:a", ""}, /* it leaves what is copied */
        {"RENAME a b", "0:a 0:b", ""},
        {"INCR a", "0:a", ""},
        {"SET a 1", "", "0 SET a 1\n"}, /* may be repeated */
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct rig *rig = uncertain_rig(0);
        rig_command(rig, 0, cases[i].command);
        expect_dirty(rig, cases[i].dirty);
        rig_settle(rig);
        rig_expect(rig, 0, cases[i].written);
        rig_free(rig);
        /* The same where the destination has executed it: nothing is left to do. */
        rig = uncertain_rig(UNTIL);
        rig_command(rig, 0, cases[i].command);
        expect_dirty(rig, "");
        rig_settle(rig);
        rig_expect(rig, 0, "");
        rig_free(rig);
    }
}

/* A key that is being repaired in one database is another key in the next. */
static void test_dirty_databases(void **state)
{
    (void)state;
    struct syn_err err;
    const struct slice a = SLICE("a");
    struct rig *rig = uncertain_rig(0);
    struct stream *stream = &rig->sources[0].stream;
    stream->recovery->lanes[0] = (struct recovery_lane){0}; /* all is new, but for the dirty key */
    assert_true(recovery_dirty(stream, 2, &a, &err));
    rig_command(rig, 0, "INCR a");
    rig_command(rig, 0, "COPY b a");
    expect_dirty(rig, "2:a");
    rig_command(rig, 0, "COPY b a DB 3");
    expect_dirty(rig, "2:a");
    rig_command(rig, 0, "COPY b a DB 2");
    expect_dirty(rig, "2:a 0:b");
    rig_command(rig, 0, "MOVE c 2");
    expect_dirty(rig, "2:a 0:b");
    rig_command(rig, 0, "MOVE a 2");
    expect_dirty(rig, "2:a 0:b 0:a");
    rig_command(rig, 0, "SELECT 2");
    rig_command(rig, 0, "MOVE a 3");
    expect_dirty(rig, "2:a 0:b 0:a 3:a");
    rig_settle(rig);
    rig_expect(rig, 0, "0 INCR a\n0 COPY b a REPLACE\n0 COPY b a REPLACE DB 4\n0 MOVE c 3\n");
    rig_free(rig);
}

/* Databases that change places: what is in repair in one of them may be the other's key by then, so
 * it is read again under both names; where it was done before, it is not done again. */
static void test_swap(void **state)
{
    (void)state;
    struct syn_err err;
    const struct slice a = SLICE("a"), b = SLICE("b");
    struct rig *rig = uncertain_rig(0);
    struct stream *stream = &rig->sources[0].stream;
    stream->recovery->lanes[0] = (struct recovery_lane){0};
    assert_true(recovery_dirty(stream, 2, &a, &err));
    assert_true(recovery_dirty(stream, 3, &b, &err));
    recovery_find(stream->recovery, 2, "a", 1)->floor = UNTIL; /* read, ahead of the stream */
    stream->recovery->unread--;
    rig_command(rig, 0, "SWAPDB 0 2");
    expect_dirty(rig, "2:a 0:a 3:b");
    assert_int_equal(stream->recovery->unread, 3);
    rig_settle(rig);
    rig_expect(rig, 0, "0 SWAPDB 0 3\n");
    rig_free(rig);
    rig = uncertain_rig(UNTIL);
    assert_true(recovery_dirty(&rig->sources[0].stream, 2, &a, &err));
    rig_command(rig, 0, "SWAPDB 0 2");
    rig_settle(rig);
    expect_dirty(rig, "2:a");
    rig_expect(rig, 0, "");
    rig_free(rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_databases),
        cmocka_unit_test(test_dirty_databases),
        cmocka_unit_test(test_swap),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
