/*
 * Values that the destination refuses, and values that are damaged: by policy the task stops with
 * everything needed to find the value, or the value is set aside and nothing else. A value that is
 * whole here is written in another way.
 */
#include "tests/apply/pipeline_rig.h"

#include <stdio.h>

#define REFUSAL "ERR Bad data format"
#define REFUSAL_OF_VERSION "ERR DUMP payload version or checksum are wrong"

/* ---- what is lost ---- */

struct losses {
    char text[2000]; /* "corrupt 3 key type\n" */
    uint32_t count;
    uint32_t fail_at; /* the n-th record fails; 0: none */
};

static bool losses_add(void *arg, const struct loss *loss, struct syn_err *err)
{
    struct losses *losses = arg;
    size_t used = strlen(losses->text);
    losses->count++;
    if (losses->count == losses->fail_at) {
        return ERR(err, SYN_CODE_SYSTEM, "no room for losses");
    }
    assert_non_null(strstr(loss->source, "source"));
    assert_true(strlen(loss->reason) > 10);
    snprintf(losses->text + used,
             sizeof(losses->text) - used,
             "%s %u %.*s %s\n",
             loss_outcome_name(loss->outcome),
             loss->db,
             loss->key.bytes != NULL ? (int)loss->key.size : 1,
             loss->key.bytes != NULL ? (const char *)loss->key.bytes : "?",
             loss->type);
    return true;
}

static struct rig *
rig_of(const struct rig_options *options, enum corrupt_policy policy, struct losses *losses)
{
    struct rig *rig = rig_new(options);
    memset(losses, 0, sizeof(*losses));
    rig->task.on_corrupt = policy;
    rig->task.losses = (struct loss_sink){.record = losses_add, .arg = losses};
    return rig;
}

static void feed(struct rig *rig, const struct bytes *rdb)
{
    rig_session(rig, 0, (int64_t)rdb->size, NULL, 1000);
    rig_feed(rig, 0, rdb->bytes, rdb->size, 0);
}

static uint64_t counter(struct rig *rig, const _Atomic uint64_t *value)
{
    (void)rig;
    return atomic_load_relaxed(value);
}
#define COUNTER(rig, name) counter(rig, &(rig)->sources[0].stream.name)

/* The effects in order; RESTORE's payload does not count. */
static void expect_commands(struct rig *rig, const char *expected)
{
    char text[4000] = "";
    size_t used = 0;
    pthread_mutex_lock(&rig->peers[0].lock);
    const char *line = rig->peers[0].text;
    while (line != NULL && *line != '\0') {
        size_t size = strcspn(line, "\n");
        const char *restore = strstr(line, " RESTORE ");
        if (restore != NULL && restore < line + size) { /* up to the key */
            size = (size_t)(restore - line) + 9 + strcspn(restore + 9, " ");
        }
        assert_true(used + size + 2 < sizeof(text));
        memcpy(text + used, line, size);
        used += size;
        text[used++] = '\n';
        line += strcspn(line, "\n");
        line += *line == '\n';
        if (restore != NULL) { /* a payload may hold line ends of its own */
            while (*line != '\0' && !(line[0] >= '0' && line[0] <= '9' && line[1] == ' ')) {
                line += strcspn(line, "\n");
                line += *line == '\n';
            }
        }
    }
    text[used] = '\0';
    pthread_mutex_unlock(&rig->peers[0].lock);
    assert_string_equal(text, expected);
}

/* ---- values ---- */

/* {"f": "v"} in a ziplist; `is_damaged`: with an entry that no encoding begins like. */
static void rdb_hash(struct bytes *rdb, const char *key, bool is_damaged)
{
    static const uint8_t ziplist[] = {
        0x11, 0, 0, 0, 0x0d, 0, 0, 0, 2, 0, 0, 1, 'f', 3, 1, 'v', 0xff};
    uint8_t copy[sizeof(ziplist)];
    memcpy(copy, ziplist, sizeof(copy));
    copy[14] = is_damaged ? 0xc5 : copy[14];
    bytes_add(rdb, (const uint8_t[]){RDB_TYPE_HASH_ZIPLIST}, 1);
    rdb_text(rdb, key, strlen(key));
    rdb_text(rdb, copy, sizeof(copy));
}

/* A string whose compressed text is shorter than it says. */
static void rdb_bad_string(struct bytes *rdb, const char *key)
{
    bytes_add(rdb, (const uint8_t[]){RDB_TYPE_STRING}, 1);
    rdb_text(rdb, key, strlen(key));
    bytes_add(rdb, "\xc3\x05\x20\x03zzzz", 8);
}

/* ---- mending ---- */

/* Refused by the destination, whole here: it goes as commands, with its expiry, before anything
 * live; the key counts once. */
static void run_mended(bool is_stepped, const char *mark)
{
    struct bytes rdb = {0};
    struct losses losses;
    rdb_open(&rdb);
    rdb_string_add(&rdb, "a", "1", 1);
    rdb_expire(&rdb, 4102444800000);
    rdb_list_add(&rdb, "list", 3, 2);
    rdb_string_add(&rdb, "b", "2", 1);
    rdb_close(&rdb);
    struct rig *rig =
        rig_of(&(struct rig_options){.is_stepped = is_stepped}, CORRUPT_STOP, &losses);
    rig_script(rig, 0, (struct peer_script){.fail_name = "RESTORE", .fail_text = REFUSAL});
    rig_session(rig, 0, mark != NULL ? -1 : (int64_t)rdb.size, mark, 1000);
    rig_feed(rig, 0, rdb.bytes, rdb.size, 0);
    if (mark != NULL) {
        rig_feed_text(rig, 0, mark);
    }
    rig_command(rig, 0, "SELECT 0");
    rig_command(rig, 0, "RPUSH list live");
    rig_settle(rig);
    expect_commands(rig,
                    "0 SET a 1\n0 RESTORE list\n0 SET b 2\n0 DEL list\n0 RPUSH list ab ab ab\n"
                    "0 PEXPIREAT list 4102444800000\n0 RPUSH list live\n");
    assert_int_equal(COUNTER(rig, values_rewritten), 1);
    assert_int_equal(COUNTER(rig, values_corrupt), 0);
    assert_int_equal(losses.count, 0);
    assert_int_equal(atomic_load_relaxed(&rig->lanes[0].keys_acked), 3);
    assert_int_equal(rig->decoders[0].router.refused_bytes, 0);
    assert_int_equal(rig->sources[0].stream.snapshots_applied, 1);
    rig_free(rig);
    bytes_free(&rdb);
}

static void test_mended(void **state)
{
    (void)state;
    run_mended(true, NULL);
    run_mended(true, "0123456789abcdef0123456789abcdef01234567");
    for (int i = 0; i < 20; i++) {
        run_mended(false, NULL);
    }
}

/* A refused RDB version is one for all values of that type: the rest does not even try. */
static void test_a_refused_version(void **state)
{
    (void)state;
    struct bytes rdb = {0};
    struct losses losses;
    rdb_open(&rdb);
    rdb_list_add(&rdb, "list", 1, 2);
    size_t first = rdb.size;
    rdb_list_add(&rdb, "later", 1, 2);
    rdb_hash(&rdb, "hash", false);
    rdb_close(&rdb);
    struct rig *rig = rig_of(&(struct rig_options){.is_stepped = true}, CORRUPT_STOP, &losses);
    rig_script(rig, 0, (struct peer_script){.fail_at = 1, .fail_text = REFUSAL_OF_VERSION});
    rig_session(rig, 0, (int64_t)rdb.size, NULL, 1000);
    rig_feed(rig, 0, rdb.bytes, first, 0);
    while (COUNTER(rig, values_rewritten) == 0) {
        router_flush(&rig->decoders[0].router);
        rig_pause();
        rig_step(rig);
    }
    rig_feed(rig, 0, rdb.bytes + first, rdb.size - first, 0);
    rig_settle(rig);
    expect_commands(rig,
                    "0 RESTORE list\n0 DEL list\n0 RPUSH list ab\n0 DEL later\n0 RPUSH later ab\n"
                    "0 RESTORE hash\n");
    rig_free(rig);
    bytes_free(&rdb);
}

/* The database of a value is known only from what is around it in its batch. */
static void test_databases(void **state)
{
    (void)state;
    struct bytes rdb = {0};
    struct losses losses;
    rdb_open(&rdb);
    rdb_list_add(&rdb, "zero", 1, 2);
    rdb_select(&rdb, 3);
    rdb_list_add(&rdb, "three", 1, 2);
    rdb_hash(&rdb, "bad", true);
    rdb_select(&rdb, 5);
    rdb_list_add(&rdb, "five", 1, 2);
    rdb_close(&rdb);
    struct rig *rig = rig_of(&(struct rig_options){.is_stepped = true}, CORRUPT_SKIP, &losses);
    rig_script(rig, 0, (struct peer_script){.fail_name = "RESTORE", .fail_text = REFUSAL});
    feed(rig, &rdb);
    rig_settle(rig);
    expect_commands(rig,
                    "0 RESTORE zero\n0 SELECT 3\n3 RESTORE three\n3 RESTORE bad\n3 SELECT 5\n"
                    "5 RESTORE five\n5 SELECT 0\n0 DEL zero\n0 RPUSH zero ab\n0 SELECT 3\n"
                    "3 DEL three\n3 RPUSH three ab\n3 DEL bad\n3 DEL bad\n3 SELECT 5\n"
                    "5 DEL five\n5 RPUSH five ab\n");
    assert_string_equal(losses.text, "corrupt 3 bad hash (ziplist)\n");
    rig_free(rig);
    bytes_free(&rdb);
}

/* Damaged here as well: the task stops and says where, or the value is set aside and the rest
 * arrives. */
static void test_damaged(void **state)
{
    (void)state;
    struct bytes rdb = {0};
    struct losses losses;
    rdb_open(&rdb);
    rdb_hash(&rdb, "bad", true);
    rdb_hash(&rdb, "good", false);
    rdb_close(&rdb);
    struct rig *rig = rig_of(&(struct rig_options){.is_stepped = true}, CORRUPT_SKIP, &losses);
    rig_script(rig, 0, (struct peer_script){.fail_at = 1, .fail_text = REFUSAL});
    feed(rig, &rdb);
    rig_command(rig, 0, "SELECT 0");
    rig_command(rig, 0, "SET behind 1");
    rig_settle(rig);
    expect_commands(rig, "0 RESTORE bad\n0 RESTORE good\n0 DEL bad\n0 DEL bad\n0 SET behind 1\n");
    assert_int_equal(COUNTER(rig, values_corrupt), 1);
    assert_string_equal(losses.text, "corrupt 0 bad hash (ziplist)\n");
    rig_free(rig);

    rig = rig_of(&(struct rig_options){.is_stepped = true}, CORRUPT_STOP, &losses);
    rig_script(rig, 0, (struct peer_script){.fail_at = 1, .fail_text = REFUSAL});
    feed(rig, &rdb);
    const struct syn_err *err = rig_failure(rig);
    assert_int_equal(err->code, SYN_CODE_SOURCE_DATA);
    char hash[40];
    snprintf(hash, sizeof(hash), "%016llx", (unsigned long long)key_hash("bad", 3));
    const char *const parts[] = {"source0:6379", "refuses to load", "RDB byte", "ziplist", hash};
    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
        if (strstr(err->msg, parts[i]) == NULL) {
            fail_msg("no \"%s\" in \"%s\"", parts[i], err->msg);
        }
    }
    assert_int_equal(losses.count, 0);
    rig_free(rig);
    bytes_free(&rdb);
}

/* Of a value larger than a batch nothing is left when it is refused: nobody can tell whether it was
 * damaged. Its key is told all the same. */
static void test_large(void **state)
{
    (void)state;
    struct bytes rdb = {0};
    struct losses losses;
    rdb_open(&rdb);
    rdb_list_add(&rdb, "before", 1, 2);
    rdb_list_add(&rdb, "gathered", 100, 50);
    rdb_list_add(&rdb, "after", 1, 2);
    rdb_close(&rdb);
    struct rig_options options = {.is_stepped = true, .batch_bytes = 512};
    struct rig *rig = rig_of(&options, CORRUPT_SKIP, &losses);
    rig_script(rig, 0, (struct peer_script){.fail_at = 2, .fail_text = REFUSAL});
    feed(rig, &rdb);
    rig_settle(rig);
    expect_commands(rig, "0 RESTORE before\n0 RESTORE gathered\n0 RESTORE after\n");
    assert_string_equal(losses.text, "corrupt 0 gathered list\n");
    assert_int_equal(COUNTER(rig, values_corrupt), 1);
    assert_int_equal(atomic_load_relaxed(&rig->lanes[0].keys_acked), 2);
    assert_null(rig->sources[0].stream.parcels);
    rig_free(rig);

    rig = rig_of(&options, CORRUPT_STOP, &losses);
    rig_script(rig, 0, (struct peer_script){.fail_at = 2, .fail_text = REFUSAL});
    feed(rig, &rdb);
    const struct syn_err *err = rig_failure(rig);
    assert_int_equal(err->code, SYN_CODE_DESTINATION_REPLY);
    assert_non_null(strstr(err->msg, "Bad data format"));
    rig_free(rig);
    bytes_free(&rdb);
}

/* More refused at once than may be kept: every value is accounted for, none is forgotten. */
static void test_more_than_is_kept(void **state)
{
    (void)state;
    struct bytes rdb = {0};
    struct losses losses;
    rdb_open(&rdb);
    for (int i = 0; i < 40; i++) {
        char key[16];
        snprintf(key, sizeof(key), "l%02d", i);
        rdb_list_add(&rdb, key, 10, 90);
    }
    rdb_close(&rdb);
    struct rig_options options = {.batch_bytes = 4096, .batch_count = 64};
    struct rig *rig = rig_of(&options, CORRUPT_SKIP, &losses);
    rig_script(rig, 0, (struct peer_script){.fail_name = "RESTORE", .fail_text = REFUSAL});
    rig_allow(rig, 0, 0);
    feed(rig, &rdb);
    rig_await_commands(rig, 0, 40);
    rig_allow(rig, 0, UINT64_MAX);
    rig_settle(rig);
    uint64_t mended = COUNTER(rig, values_rewritten);
    assert_int_equal(mended + COUNTER(rig, values_corrupt), 40);
    assert_int_equal(losses.count, COUNTER(rig, values_corrupt));
    assert_in_range(mended, 4 * 4096 / 1200, 4 * 4096 / 900);
    assert_int_equal(atomic_load_relaxed(&rig->lanes[0].keys_acked), mended);
    assert_int_equal(rig->decoders[0].router.refused_bytes, 0);
    rig_free(rig);
    bytes_free(&rdb);
}

/* Over existing data a refused value must not leave the older one behind. */
static void test_clears_first(void **state)
{
    (void)state;
    struct bytes rdb = {0};
    struct losses losses;
    rdb_open(&rdb);
    rdb_hash(&rdb, "bad", true);
    rdb_list_add(&rdb, "large", 100, 50);
    rdb_string_add(&rdb, "s", "1", 1);
    rdb_close(&rdb);
    struct rig *rig = rig_of(
        &(struct rig_options){.is_stepped = true, .batch_bytes = 512}, CORRUPT_SKIP, &losses);
    rig->task.clears_first = true;
    rig_script(rig, 0, (struct peer_script){.fail_name = "RESTORE", .fail_text = REFUSAL});
    feed(rig, &rdb);
    rig_settle(rig);
    expect_commands(rig,
                    "0 DEL bad\n0 RESTORE bad\n0 DEL large\n0 RESTORE large\n0 SET s 1\n"
                    "0 DEL bad\n0 DEL bad\n");
    assert_string_equal(losses.text, "corrupt 0 large list\ncorrupt 0 bad hash (ziplist)\n");
    rig_free(rig);
    bytes_free(&rdb);
}

/* A module that is missing there: no commands can stand for its value. */
static void test_a_missing_module(void **state)
{
    (void)state;
    static const uint8_t module[] = {RDB_TYPE_MODULE_2,
                                     3,
                                     'm',
                                     'o',
                                     'd',
                                     0x81,
                                     0x24,
                                     0x92,
                                     0x49,
                                     0x24,
                                     0x92,
                                     0x49,
                                     0x24,
                                     0x01,
                                     0x02,
                                     0x05,
                                     0x00};
    struct bytes rdb = {0};
    struct losses losses;
    rdb_open(&rdb);
    bytes_add(&rdb, module, sizeof(module));
    rdb_close(&rdb);
    struct rig *rig = rig_of(&(struct rig_options){.is_stepped = true}, CORRUPT_SKIP, &losses);
    rig_script(rig, 0, (struct peer_script){.fail_name = "RESTORE", .fail_text = REFUSAL});
    feed(rig, &rdb);
    const struct syn_err *err = rig_failure(rig);
    assert_int_equal(err->code, SYN_CODE_DESTINATION_REPLY);
    assert_non_null(strstr(err->msg, "module"));
    assert_non_null(strstr(err->msg, "--on-unsupported skip"));
    rig_free(rig);
    rig = rig_of(&(struct rig_options){.is_stepped = true}, CORRUPT_STOP, &losses);
    rig->task.intake.rewrite.policy = REWRITE_SKIP;
    rig_script(rig, 0, (struct peer_script){.fail_name = "RESTORE", .fail_text = REFUSAL});
    feed(rig, &rdb);
    rig_settle(rig);
    expect_commands(rig, "0 RESTORE mod\n0 DEL mod\n");
    assert_string_equal(losses.text, "skipped 0 mod module\n");
    rig_free(rig);
    bytes_free(&rdb);
}

/* Other errors of RESTORE are the destination's state, and stop the task as they did. */
static void test_other_errors(void **state)
{
    (void)state;
    struct bytes rdb = {0};
    struct losses losses;
    rdb_open(&rdb);
    rdb_hash(&rdb, "key", false);
    rdb_close(&rdb);
    static const struct {
        const char *text;
        enum syn_code code;
    } cases[] = {{"OOM command not allowed", SYN_CODE_DESTINATION_STATE},
                 {"NOPERM no", SYN_CODE_DESTINATION_AUTH},
                 {"ERR syntax error", SYN_CODE_DESTINATION_REPLY}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct rig *rig = rig_of(&(struct rig_options){0}, CORRUPT_SKIP, &losses);
        rig_script(
            rig, 0, (struct peer_script){.fail_name = "RESTORE", .fail_text = cases[i].text});
        feed(rig, &rdb);
        const struct syn_err *err = rig_failure(rig);
        assert_int_equal(err->code, cases[i].code);
        rig_free(rig);
    }
    bytes_free(&rdb);
}

/* What was refused in a session that is over is not written into the next one. */
static void test_a_new_session(void **state)
{
    (void)state;
    struct bytes rdb = {0};
    struct losses losses;
    rdb_open(&rdb);
    rdb_hash(&rdb, "bad", true);
    rdb_string_add(&rdb, "s", "1", 1);
    rdb_close(&rdb);
    struct rig *rig = rig_of(&(struct rig_options){.is_stepped = true}, CORRUPT_SKIP, &losses);
    rig_script(rig, 0, (struct peer_script){.fail_at = 1, .fail_text = REFUSAL});
    rig_allow(rig, 0, 0);
    rig_session(rig, 0, (int64_t)rdb.size, NULL, 1000);
    rig_feed(rig, 0, rdb.bytes, rdb.size - 12, 0);
    router_flush(&rig->decoders[0].router);
    rig_await_commands(rig, 0, 1);
    rig_allow(rig, 0, UINT64_MAX);
    rig_session(rig, 0, (int64_t)rdb.size, NULL, 2000);
    rig_step(rig);
    assert_null(rig->sources[0].stream.refusals);
    atomic_store_release(&rig->sources[0].stream.sweep_wanted, false);
    rig_forget(rig, 0);
    rig_feed(rig, 0, rdb.bytes, rdb.size, 0);
    rig_settle(rig);
    expect_commands(rig, "0 RESTORE bad\n0 SET s 1\n");
    rig_free(rig);
    bytes_free(&rdb);
}

/* ---- damaged while it is decoded ---- */

/* Two list nodes, the second damaged, and a good key behind: what the first gave is removed. */
static void test_damaged_in_the_middle(void **state)
{
    (void)state;
    static const uint8_t good[] = {0x0e, 0, 0, 0, 0x0a, 0, 0, 0, 1, 0, 0, 1, 'v', 0xff};
    uint8_t bad[sizeof(good)];
    memcpy(bad, good, sizeof(bad));
    bad[11] = 0x3f;
    struct bytes rdb = {0};
    struct losses losses;
    rdb_open(&rdb);
    rdb_expire(&rdb, 4102444800000);
    bytes_add(&rdb, (const uint8_t[]){RDB_TYPE_LIST_QUICKLIST}, 1);
    rdb_text(&rdb, "bad", 3);
    bytes_add(&rdb, "\3", 1);
    rdb_text(&rdb, good, sizeof(good));
    rdb_text(&rdb, bad, sizeof(bad));
    rdb_text(&rdb, good, sizeof(good));
    rdb_list_add(&rdb, "good", 1, 2);
    rdb_close(&rdb);
    for (size_t piece = 0; piece < 40; piece++) {
        struct rig *rig = rig_of(&(struct rig_options){.is_stepped = true}, CORRUPT_SKIP, &losses);
        rig->task.intake.restore_version[0][RDB_TYPE_LIST_QUICKLIST] = 0;
        rig->task.intake.rewrite.piece_elements = 1;
        rig_session(rig, 0, (int64_t)rdb.size, NULL, 1000);
        rig_feed(rig, 0, rdb.bytes, rdb.size, piece);
        rig_settle(rig);
        /* One element waits for its piece to be full when the damage is met. */
        expect_commands(rig, "0 DEL bad\n0 DEL bad\n0 RESTORE good\n");
        assert_string_equal(losses.text, "corrupt 0 bad list (ziplist nodes)\n");
        assert_int_equal(COUNTER(rig, values_corrupt), 1);
        assert_int_equal(COUNTER(rig, keys_read), 2);
        rig_free(rig);
    }
    struct rig *rig = rig_of(&(struct rig_options){.is_stepped = true}, CORRUPT_STOP, &losses);
    rig->task.intake.restore_version[0][RDB_TYPE_LIST_QUICKLIST] = 0;
    feed(rig, &rdb);
    const struct syn_err *err = rig_failure(rig);
    assert_int_equal(err->code, SYN_CODE_SOURCE_DATA);
    assert_non_null(strstr(err->msg, "RDB byte"));
    rig_free(rig);
    bytes_free(&rdb);
}

/* A compressed string that does not decode, wherever in an MSET it would have been. */
static void test_damaged_strings(void **state)
{
    (void)state;
    for (int place = 0; place < 3; place++) {
        for (int is_expiring = 0; is_expiring < 2; is_expiring++) {
            struct bytes rdb = {0};
            struct losses losses;
            rdb_open(&rdb);
            for (int i = 0; i < 3; i++) {
                char key[2] = {(char)('a' + i)};
                if (i == place) {
                    if (is_expiring) {
                        rdb_expire(&rdb, 4102444800000);
                    }
                    rdb_bad_string(&rdb, "bad");
                }
                rdb_string_add(&rdb, key, "1", 1);
            }
            rdb_close(&rdb);
            struct rig *rig =
                rig_of(&(struct rig_options){.is_stepped = true}, CORRUPT_SKIP, &losses);
            feed(rig, &rdb);
            rig_settle(rig);
            static const char *const expected[] = {"0 DEL bad\n0 MSET a 1 b 1 c 1\n",
                                                   "0 SET a 1\n0 DEL bad\n0 MSET b 1 c 1\n",
                                                   "0 MSET a 1 b 1\n0 DEL bad\n0 SET c 1\n"};
            expect_commands(rig, expected[place]);
            assert_string_equal(losses.text, "corrupt 0 bad string\n");
            assert_int_equal(atomic_load_relaxed(&rig->lanes[0].keys_acked), 3);
            rig_free(rig);
            rig = rig_of(&(struct rig_options){.is_stepped = true}, CORRUPT_STOP, &losses);
            feed(rig, &rdb);
            assert_int_equal(rig_failure(rig)->code, SYN_CODE_SOURCE_DATA);
            rig_free(rig);
            bytes_free(&rdb);
        }
    }
}

/* Too large for what may be held is not damaged: it stops the task whatever the policy. */
static void test_want_of_memory_is_no_damage(void **state)
{
    (void)state;
    struct bytes rdb = {0};
    struct losses losses;
    rdb_open(&rdb);
    rdb_list_add(&rdb, "list", 2, 20000);
    rdb_close(&rdb);
    struct rig *rig = rig_of(
        &(struct rig_options){.is_stepped = true, .chunk_bytes = 1000}, CORRUPT_SKIP, &losses);
    rig->task.intake.restore_version[0][RDB_TYPE_LIST] = 0;
    rig->task.rewrite_item_bytes_max = 16384;
    feed(rig, &rdb);
    const struct syn_err *err = rig_failure(rig);
    assert_non_null(strstr(err->msg, "limit of 16384 bytes"));
    assert_int_equal(losses.count, 0);
    rig_free(rig);
    bytes_free(&rdb);
}

/* The same, met while a refused value is tried as commands: whether it is damaged stays unknown. */
static void test_too_large_to_mend(void **state)
{
    (void)state;
    struct bytes rdb = {0};
    struct losses losses;
    rdb_open(&rdb);
    bytes_add(&rdb, (const uint8_t[]){RDB_TYPE_LIST}, 1);
    rdb_text(&rdb, "list", 4);
    /* Two elements: a short one, and 19801 bytes in 227: one as it is, then 75 runs of 264. */
    bytes_add(&rdb, "\2\1a\xc3\x40\xe3\x80\0\0\x4d\x59\0a", 13);
    for (int i = 0; i < 75; i++) {
        bytes_add(&rdb, "\xe0\xff\0", 3);
    }
    rdb_close(&rdb);
    for (int policy = 0; policy < 2; policy++) {
        struct rig *rig = rig_of(&(struct rig_options){.is_stepped = true},
                                 policy == 0 ? CORRUPT_SKIP : CORRUPT_STOP,
                                 &losses);
        rig->task.rewrite_item_bytes_max = 16384;
        rig_script(rig, 0, (struct peer_script){.fail_name = "RESTORE", .fail_text = REFUSAL});
        feed(rig, &rdb);
        if (policy == 0) {
            rig_settle(rig);
            expect_commands(rig, "0 RESTORE list\n0 DEL list\n0 DEL list\n");
            assert_string_equal(losses.text, "corrupt 0 list list\n");
        } else {
            assert_non_null(strstr(rig_failure(rig)->msg, "--memory is too small"));
        }
        rig_free(rig);
    }
    bytes_free(&rdb);
}

/* A framing that is broken has no end: nothing behind it can be trusted. */
static void test_a_broken_frame(void **state)
{
    (void)state;
    struct bytes rdb = {0};
    struct losses losses;
    rdb_open(&rdb);
    bytes_add(&rdb, (const uint8_t[]){RDB_TYPE_LIST, 1, 'k', 1, 0xc9}, 5);
    rdb_close(&rdb);
    struct rig *rig = rig_of(&(struct rig_options){.is_stepped = true}, CORRUPT_SKIP, &losses);
    feed(rig, &rdb);
    assert_int_equal(rig_failure(rig)->code, SYN_CODE_SOURCE_DATA);
    assert_int_equal(losses.count, 0);
    rig_free(rig);
    bytes_free(&rdb);
}

/* A loss that cannot be recorded ends the task. */
static void test_a_record_that_fails(void **state)
{
    (void)state;
    struct bytes rdb = {0};
    struct losses losses;
    rdb_open(&rdb);
    rdb_bad_string(&rdb, "bad");
    rdb_close(&rdb);
    struct rig *rig = rig_of(&(struct rig_options){.is_stepped = true}, CORRUPT_SKIP, &losses);
    losses.fail_at = 1;
    feed(rig, &rdb);
    const struct syn_err *err = rig_failure(rig);
    assert_int_equal(err->code, SYN_CODE_SYSTEM);
    rig_free(rig);
    bytes_free(&rdb);
}

/* ---- claims ---- */

static void put_be(struct bytes *to, uint64_t value)
{
    for (int i = 7; i >= 0; i--) {
        bytes_add(to, (const uint8_t[]){(uint8_t)(value >> (8 * i))}, 1);
    }
}

static void put_small(struct bytes *listpack, uint8_t value)
{
    bytes_add(listpack, (const uint8_t[]){value, 1}, 2);
}

/* Entries 1-1 to 1-n, all of them pending for one consumer. */
static void rdb_stream(struct bytes *rdb, const char *key, uint8_t count)
{
    ASSERT(count < 60);
    struct bytes listpack = {0};
    struct bytes node_key = {0};
    bytes_add(&listpack, "\0\0\0\0\xff\xff", 6); /* the number of entries is not told */
    put_small(&listpack, count);
    put_small(&listpack, 0);
    put_small(&listpack, 1);
    bytes_add(&listpack,
              "\x81"
              "f\2",
              3);
    put_small(&listpack, 0);
    for (uint8_t i = 1; i <= count; i++) {
        put_small(&listpack, 2);
        put_small(&listpack, 0);
        put_small(&listpack, i);
        bytes_add(&listpack, "\x81v\2", 3);
        put_small(&listpack, 4);
    }
    bytes_add(&listpack, "\xff", 1);
    listpack.bytes[0] = (uint8_t)listpack.size;
    listpack.bytes[1] = (uint8_t)(listpack.size >> 8);
    put_be(&node_key, 1);
    put_be(&node_key, 0);
    bytes_add(rdb, (const uint8_t[]){RDB_TYPE_STREAM_LISTPACKS}, 1);
    rdb_text(rdb, key, strlen(key));
    bytes_add(rdb, "\1", 1);
    rdb_text(rdb, node_key.bytes, node_key.size);
    rdb_text(rdb, listpack.bytes, listpack.size);
    bytes_add(rdb, (const uint8_t[]){count, 1, count, 1, 1, 'g', 1, count, count}, 9);
    for (uint8_t i = 1; i <= count; i++) {
        put_be(rdb, 1);
        put_be(rdb, i);
        bytes_add(rdb, "\7\0\0\0\0\0\0\0\1", 9);
    }
    bytes_add(rdb, "\1\1c\7\0\0\0\0\0\0\0", 11);
    bytes_add(rdb, &count, 1);
    for (uint8_t i = 1; i <= count; i++) {
        put_be(rdb, 1);
        put_be(rdb, i);
    }
    bytes_free(&listpack);
    bytes_free(&node_key);
}

static struct rig *rig_of_stream(const struct bytes *rdb,
                                 const struct rig_options *options,
                                 struct losses *losses,
                                 struct peer_script script)
{
    struct rig *rig = rig_of(options, CORRUPT_STOP, losses);
    rig->task.intake.restore_version[0][RDB_TYPE_STREAM_LISTPACKS] = 0;
    rig_script(rig, 0, script);
    feed(rig, rdb);
    return rig;
}

/* Entries that were deleted somewhere in the middle show only in the answers: each that is short is
 * told, and the value counts once. */
static void test_claims_that_fall_short(void **state)
{
    (void)state;
    struct bytes rdb = {0};
    struct losses losses;
    rdb_open(&rdb);
    rdb_stream(&rdb, "s", 3);
    rdb_stream(&rdb, "t", 1);
    rdb_close(&rdb);
    struct rig_options options = {.is_stepped = true};
    struct rig *rig = rig_of_stream(&rdb, &options, &losses, (struct peer_script){0});
    rig_settle(rig);
    expect_commands(rig,
                    "0 DEL s\n0 XADD s 1-1 f v\n0 XADD s 1-2 f v\n0 XADD s 1-3 f v\n"
                    "0 XSETID s 1-3 ENTRIESADDED 3 MAXDELETEDID 0-0\n0 XGROUP CREATE s g 1-3\n"
                    "0 XGROUP CREATECONSUMER s g c\n"
                    "0 XCLAIM s g c 0 1-1 1-2 1-3 TIME 7 RETRYCOUNT 1 FORCE JUSTID\n"
                    "0 DEL t\n0 XADD t 1-1 f v\n0 XSETID t 1-1 ENTRIESADDED 1 MAXDELETEDID 0-0\n"
                    "0 XGROUP CREATE t g 1-1\n0 XGROUP CREATECONSUMER t g c\n"
                    "0 XCLAIM t g c 0 1-1 TIME 7 RETRYCOUNT 1 FORCE JUSTID\n");
    assert_int_equal(losses.count, 0);
    assert_int_equal(atomic_load_relaxed(&rig->lanes[0].keys_acked), 2);
    rig_free(rig);

    rig = rig_of(&options, CORRUPT_STOP, &losses);
    rig->task.intake.restore_version[0][RDB_TYPE_STREAM_LISTPACKS] = 0;
    rig->task.intake.rewrite.piece_elements = 1; /* three claims for one value */
    rig_script(rig, 0, (struct peer_script){.unclaimed = 1});
    feed(rig, &rdb);
    rig_settle(rig);
    assert_string_equal(
        losses.text,
        "degraded 0 s stream\ndegraded 0 s stream\ndegraded 0 s stream\ndegraded 0 t stream\n");
    assert_int_equal(COUNTER(rig, values_degraded), 2);
    rig_free(rig);
    bytes_free(&rdb);
}

/* A claim larger than a batch: its beginning, with the key, is gone when the answer comes. */
static void test_a_large_claim(void **state)
{
    (void)state;
    struct bytes rdb = {0};
    struct losses losses;
    rdb_open(&rdb);
    rdb_stream(&rdb, "stream", 50);
    rdb_close(&rdb);
    struct rig *rig = rig_of_stream(&rdb,
                                    &(struct rig_options){.is_stepped = true, .batch_bytes = 300},
                                    &losses,
                                    (struct peer_script){.unclaimed = 20});
    rig_settle(rig);
    assert_string_equal(losses.text, "degraded 0 stream stream\n");
    assert_null(rig->sources[0].stream.parcels);
    rig_free(rig);
    bytes_free(&rdb);
}

/* Anything but an array of at most so many is no answer to a claim. */
static void test_odd_answers_to_claims(void **state)
{
    (void)state;
    static const char *const answers[] = {
        "+OK\r\n", ":1\r\n", "*2\r\n:1\r\n:2\r\n", "-NOGROUP no\r\n", "*1\r\n-ERR x\r\n"};
    struct bytes rdb = {0};
    struct losses losses;
    rdb_open(&rdb);
    rdb_stream(&rdb, "s", 1);
    rdb_close(&rdb);
    for (size_t i = 0; i < sizeof(answers) / sizeof(answers[0]); i++) {
        struct rig *rig =
            rig_of_stream(&rdb,
                          &(struct rig_options){0},
                          &losses,
                          (struct peer_script){.fail_name = "XCLAIM", .raw_answer = answers[i]});
        assert_int_equal(rig_failure(rig)->code, SYN_CODE_DESTINATION_REPLY);
        assert_int_equal(losses.count, 0);
        rig_free(rig);
    }
    bytes_free(&rdb);
}

/* ---- reading commands back ---- */

static void test_restore_read(void **state)
{
    (void)state;
    static const char whole[] =
        "*6\r\n$7\r\nRESTORE\r\n$2\r\nk\n\r\n$2\r\n12\r\n$13\r\n0123456789abc"
        "\r\n$7\r\nREPLACE\r\n$6\r\nABSTTL\r\nrest";
    const uint8_t *bytes = (const uint8_t *)whole;
    size_t size = sizeof(whole) - 1 - 4;
    struct restore_words words;
    assert_true(restore_read(bytes, sizeof(whole) - 1, &words));
    assert_int_equal(words.size, size);
    assert_int_equal(words.expire_ms, 12);
    assert_int_equal(words.key.size, 2);
    assert_int_equal(words.payload.size, 13);
    for (size_t cut = 0; cut < size; cut++) {
        uint8_t *copy = mem_alloc(MEM_TOOLS, cut + 1); /* so that a read beyond it is seen */
        memcpy(copy, bytes, cut);
        assert_false(restore_read(copy, cut, &words));
        mem_free(MEM_TOOLS, copy);
    }
    static const char other[] =
        "*4\r\n$7\r\nRESTORF\r\n$1\r\nk\r\n$1\r\n0\r\n$11\r\n0123456789a\r\n";
    assert_false(restore_read((const uint8_t *)other, sizeof(other) - 1, &words));
    static const char none[] =
        "*4\r\n$7\r\nRESTORE\r\n$1\r\nk\r\n$1\r\n9\r\n$11\r\n0123456789a\r\n";
    assert_true(restore_read((const uint8_t *)none, sizeof(none) - 1, &words));
    assert_int_equal(words.expire_ms, -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_mended),
        cmocka_unit_test(test_a_refused_version),
        cmocka_unit_test(test_databases),
        cmocka_unit_test(test_damaged),
        cmocka_unit_test(test_large),
        cmocka_unit_test(test_more_than_is_kept),
        cmocka_unit_test(test_clears_first),
        cmocka_unit_test(test_a_missing_module),
        cmocka_unit_test(test_other_errors),
        cmocka_unit_test(test_a_new_session),
        cmocka_unit_test(test_damaged_in_the_middle),
        cmocka_unit_test(test_damaged_strings),
        cmocka_unit_test(test_want_of_memory_is_no_damage),
        cmocka_unit_test(test_too_large_to_mend),
        cmocka_unit_test(test_a_broken_frame),
        cmocka_unit_test(test_a_record_that_fails),
        cmocka_unit_test(test_claims_that_fall_short),
        cmocka_unit_test(test_a_large_claim),
        cmocka_unit_test(test_odd_answers_to_claims),
        cmocka_unit_test(test_restore_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
