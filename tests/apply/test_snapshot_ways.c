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

/* ---- listpacks of the other family ---- */

#define SPECIAL_BYTES 16383 /* an entry with two forms */

/* A hash {long text: 1} in a listpack of the long or short form, written by such a server. */
static void rdb_listpack(struct bytes *rdb, const char *writer, const char *version, bool is_long)
{
    static const uint8_t back_long[] = {0, 0xff, 0xff, 1, 1, 0xff};
    static const uint8_t back_short[] = {0x7f, 0xff, 1, 1, 0xff};
    struct bytes listpack = {0};
    size_t back_size = is_long ? sizeof(back_long) : sizeof(back_short);
    uint32_t head[2] = {(uint32_t)(6 + SPECIAL_BYTES + back_size), SPECIAL_BYTES - 5};
    bytes_add(&listpack, &head[0], 4);
    bytes_add(&listpack, "\2\0\xf0", 3);
    bytes_add(&listpack, &head[1], 4);
    for (uint32_t i = 0; i < SPECIAL_BYTES - 5; i++) {
        bytes_add(&listpack, "x", 1);
    }
    bytes_add(&listpack, is_long ? back_long : back_short, back_size);
    rdb_open(rdb);
    if (writer != NULL) {
        bytes_add(rdb, "\xfa", 1);
        rdb_text(rdb, writer, strlen(writer));
        rdb_text(rdb, version, strlen(version));
    }
    bytes_add(rdb, (const uint8_t[]){RDB_TYPE_HASH_LISTPACK}, 1);
    rdb_text(rdb, "h", 1);
    rdb_text(rdb, listpack.bytes, listpack.size);
    rdb_close(rdb);
    bytes_free(&listpack);
}

static void wants_long(struct intake *intake)
{
    intake->listpack_form = LISTPACK_LONG;
}

static void wants_short(struct intake *intake)
{
    intake->listpack_form = LISTPACK_SHORT;
}

static void wants_unknown(struct intake *intake)
{
    intake->listpack_form = LISTPACK_UNKNOWN;
}

/* What the destination gets, as a digest. */
static uint64_t reformed(const char *writer,
                         const char *version,
                         bool is_long,
                         void (*change)(struct intake *),
                         bool is_large)
{
    struct bytes rdb = {0};
    rdb_listpack(&rdb, writer, version, is_long);
    /* With little to hold a blob of known size would be passed on as it arrives. */
    struct rig_options options = {.is_stepped = true,
                                  .chunk_bytes = 1000,
                                  .headroom_bytes = 200,
                                  .hold_bytes_free = is_large ? 1200 : 20000};
    struct rig *rig = run(&rdb, &options, change);
    expect_order(rig, "0 RESTORE h 0 ", NULL);
    uint64_t digest = rig_peer_value(rig, 0, &rig->peers[0].digest);
    assert_int_equal(atomic_load_relaxed(&rig->lanes[0].keys_acked), 1);
    rig_free(rig);
    bytes_free(&rdb);
    return digest;
}

/* The form of the destination arrives, whoever wrote the snapshot, and however large the value is.
 */
static void test_listpack_forms(void **state)
{
    (void)state;
    for (int is_large = 0; is_large < 2; is_large++) {
        uint64_t in_long = reformed("redis-ver", "7.0.15", true, wants_long, is_large);
        uint64_t in_short = reformed("valkey-ver", "9.1.2", false, wants_short, is_large);
        assert_true(in_long != in_short);
        assert_int_equal(reformed("redis-ver", "7.0.15", true, wants_short, is_large), in_short);
        assert_int_equal(reformed("valkey-ver", "9.1.2", false, wants_long, is_large), in_long);
        assert_int_equal(reformed("valkey-ver", "9.0.0", false, wants_long, is_large), in_long);
        assert_int_equal(reformed("valkey-ver", "9.0.0", true, wants_long, is_large), in_long);
        assert_int_equal(reformed("valkey-ver", "8.1.1", true, wants_short, is_large), in_short);
        assert_int_equal(reformed(NULL, NULL, true, wants_short, is_large), in_short);
        assert_int_equal(reformed(NULL, NULL, true, wants_long, is_large), in_long);
    }
}

/* Where the right form is not known, or differs from shard to shard, commands are right. */
static void test_an_unknown_listpack_form(void **state)
{
    (void)state;
    struct bytes rdb = {0};
    rdb_listpack(&rdb, "redis-ver", "7.0.15", true);
    struct rig *rig = run(&rdb, &(struct rig_options){.is_stepped = true}, wants_unknown);
    expect_order(rig, "0 DEL h\n0 HSET h xxx", " 1\n", NULL);
    expect_no(rig, "RESTORE");
    rig_free(rig);
    bytes_free(&rdb);
}

/* A blob that must be looked into and fits in no memory is an error that says what to do. */
static void test_a_listpack_beyond_memory(void **state)
{
    (void)state;
    struct bytes rdb = {0};
    rdb_listpack(&rdb, "redis-ver", "7.0.15", true);
    struct rig *rig = rig_new(&(struct rig_options){
        .is_stepped = true, .chunk_bytes = 1000, .hold_bytes_free = 1200, .hold_bytes_max = 9000});
    wants_short(&rig->task.intake);
    rig_session(rig, 0, (int64_t)rdb.size, NULL, 1);
    rig_feed(rig, 0, rdb.bytes, rdb.size, 0);
    const struct syn_err *err = rig_failure(rig);
    assert_int_equal(err->code, SYN_CODE_MEMORY);
    assert_non_null(strstr(err->msg, "raise --memory"));
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
        cmocka_unit_test(test_listpack_forms),
        cmocka_unit_test(test_an_unknown_listpack_form),
        cmocka_unit_test(test_a_listpack_beyond_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
