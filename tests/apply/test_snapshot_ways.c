/* By which way a snapshot value leaves, for destinations that take less than a recent server. */
#include "tests/apply/pipeline_rig.h"

#include <stdio.h>

#define LATER_MS 4102444800000

/* One snapshot through a rig whose destination takes what `change` leaves. The caller frees. */
static struct rig *
run(const struct bytes *rdb, const struct rig_options *options, void (*change)(struct intake *))
{
    struct rig *rig = rig_new(options);
    if (change != NULL) {
        change(&rig->task.intake);
    }
    rig_session(rig, 0, (int64_t)rdb->size, NULL, 1);
    rig_feed(rig, 0, rdb->bytes, rdb->size, 0);
    rig_settle(rig);
    assert_int_equal(rig_peer_value(rig, 0, &rig->peers[0].restore_bad), 0);
    return rig;
}

/* The texts come in this order; what is between them does not count. */
static void expect_order(struct rig *rig, const char *first, ...)
{
    pthread_mutex_lock(&rig->peers[0].lock);
    const char *at = rig->peers[0].text;
    va_list args;
    va_start(args, first);
    for (const char *wanted = first; wanted != NULL; wanted = va_arg(args, const char *)) {
        const char *found = strstr(at, wanted);
        if (found == NULL) {
            fail_msg("no \"%s\" in:\n%s", wanted, at);
        }
        at = found + strlen(wanted);
    }
    va_end(args);
    pthread_mutex_unlock(&rig->peers[0].lock);
}

static void expect_no(struct rig *rig, const char *text)
{
    pthread_mutex_lock(&rig->peers[0].lock);
    if (strstr(rig->peers[0].text, text) != NULL) {
        fail_msg("\"%s\" in:\n%s", text, rig->peers[0].text);
    }
    pthread_mutex_unlock(&rig->peers[0].lock);
}

static void without_absttl(struct intake *intake)
{
    intake->has_absttl = false;
    intake->has_idle = false;
    intake->has_freq = false;
    intake->rewrite.has_set_expiry = false;
}

static void without_replace(struct intake *intake)
{
    without_absttl(intake);
    intake->has_replace = false;
}

static void without_restore(struct intake *intake)
{
    without_replace(intake);
    intake->has_restore = false;
    memset(intake->restore_version, 0, sizeof(intake->restore_version));
}

static void hint(struct bytes *rdb, uint8_t opcode, uint8_t value)
{
    bytes_add(rdb, (const uint8_t[]){opcode, value}, 2);
}
#define IDLE 248
#define FREQ 249

static void keys_with_expiry(struct bytes *rdb, size_t large_size)
{
    static char text[20000];
    memset(text, 'v', sizeof(text));
    rdb_open(rdb);
    rdb_expire(rdb, LATER_MS);
    rdb_list_add(rdb, "list", 2, 2);
    rdb_expire(rdb, LATER_MS);
    rdb_string_add(rdb, "string", "s", 1);
    rdb_expire(rdb, LATER_MS);
    rdb_string_add(rdb, "large", text, large_size);
    rdb_close(rdb);
}

/* Before 5.0 RESTORE knows only relative times, which would be wrong by the clocks' difference: the
 * absolute one follows, also behind a value that is streamed. */
static void test_no_absolute_times(void **state)
{
    (void)state;
    struct bytes rdb = {0};
    keys_with_expiry(&rdb, 20000);
    struct rig_options options = {
        .is_stepped = true, .chunk_bytes = 1000, .headroom_bytes = 200, .hold_bytes_free = 1200};
    struct rig *rig = run(&rdb, &options, without_absttl);
    expect_order(rig,
                 "0 RESTORE list 0 ",
                 " REPLACE\n0 PEXPIREAT list 4102444800000\n0 RESTORE string 0 ",
                 " REPLACE\n0 PEXPIREAT string 4102444800000\n0 RESTORE large 0 ",
                 " REPLACE\n0 PEXPIREAT large 4102444800000\n",
                 NULL);
    expect_no(rig, "ABSTTL");
    assert_int_equal(atomic_load_relaxed(&rig->lanes[0].keys_acked), 3);
    rig_free(rig);
    bytes_free(&rdb);
}

/* Before 3.0 a key that is there is an error: it is removed first. */
static void test_no_replace(void **state)
{
    (void)state;
    struct bytes rdb = {0};
    keys_with_expiry(&rdb, 20000);
    struct rig_options options = {
        .is_stepped = true, .chunk_bytes = 1000, .headroom_bytes = 200, .hold_bytes_free = 1200};
    struct rig *rig = run(&rdb, &options, without_replace);
    expect_order(rig,
                 "0 DEL list\n0 RESTORE list 0 ",
                 "\n0 PEXPIREAT list 4102444800000\n0 DEL string\n0 RESTORE string 0 ",
                 "\n0 PEXPIREAT string 4102444800000\n0 DEL large\n0 RESTORE large 0 ",
                 "\n0 PEXPIREAT large 4102444800000\n",
                 NULL);
    expect_no(rig, "REPLACE");
    assert_int_equal(atomic_load_relaxed(&rig->lanes[0].keys_acked), 3);
    rig_free(rig);
    bytes_free(&rdb);
}

/* Without RESTORE all that went by it goes as commands: collections, strings that expire, strings
 * too large for half a batch, and those too large to be held. */
static void test_no_restore(void **state)
{
    (void)state;
    static const size_t sizes[] = {3000, 20000};
    for (size_t i = 0; i < 2; i++) {
        struct bytes rdb = {0};
        keys_with_expiry(&rdb, sizes[i]);
        struct rig_options options = {.is_stepped = true,
                                      .chunk_bytes = 1000,
                                      .headroom_bytes = 200,
                                      .hold_bytes_free = sizes[i] + 100 - i * 10000};
        struct rig *rig = rig_new(&options);
        without_restore(&rig->task.intake);
        rig->task.intake.rewrite.piece_bytes = 2000;
        rig_session(rig, 0, (int64_t)rdb.size, NULL, 1);
        rig_feed(rig, 0, rdb.bytes, rdb.size, 0);
        rig_settle(rig);
        expect_order(rig,
                     "0 DEL list\n0 RPUSH list ab ab\n0 PEXPIREAT list 4102444800000\n",
                     "0 SET string s\n0 PEXPIREAT string 4102444800000\n",
                     "0 SET large vvv",
                     "\n0 SETRANGE large 2000 vvv",
                     "\n0 PEXPIREAT large 4102444800000\n",
                     NULL);
        expect_no(rig, "RESTORE");
        assert_int_equal(atomic_load_relaxed(&rig->lanes[0].keys_acked), 3);
        assert_int_equal(atomic_load_relaxed(&rig->sources[0].stream.values_rewritten), 3);
        rig_free(rig);
        bytes_free(&rdb);
    }
}

/* How a key is used goes with RESTORE where RESTORE takes it, and keeps nothing from an MSET where
 * it does not. */
static void test_hints(void **state)
{
    (void)state;
    struct bytes rdb = {0};
    rdb_open(&rdb);
    hint(&rdb, FREQ, 7);
    rdb_string_add(&rdb, "a", "1", 1);
    hint(&rdb, IDLE, 9);
    rdb_string_add(&rdb, "b", "2", 1);
    rdb_close(&rdb);
    struct rig_options options = {.is_stepped = true};
    struct rig *rig = run(&rdb, &options, NULL);
    expect_order(rig, "0 RESTORE a 0 ", " REPLACE FREQ 7\n0 RESTORE b 0 ", " IDLETIME 9\n", NULL);
    rig_free(rig);
    rig = run(&rdb, &options, without_absttl);
    rig_expect(rig, 0, "0 MSET a 1 b 2\n");
    rig_free(rig);
    rig = run(&rdb, &options, without_restore);
    rig_expect(rig, 0, "0 MSET a 1 b 2\n");
    rig_free(rig);
    bytes_free(&rdb);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_no_absolute_times),
        cmocka_unit_test(test_no_replace),
        cmocka_unit_test(test_no_restore),
        cmocka_unit_test(test_hints),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
