#include "tests/apply/pipeline_rig.h"

#include <stdio.h>

static const char mark[] = "0123456789abcdef0123456789abcdef01234567";

struct outcome {
    uint64_t digest;
    uint64_t effects;
    uint64_t keys;
};

/* Runs one snapshot through a rig of this shape, with a command behind it. */
static struct outcome
run(const struct bytes *rdb, const struct rig_options *options, size_t piece, bool is_diskless)
{
    struct rig *rig = rig_new(options);
    rig_session(rig, 0, (int64_t)rdb->size, is_diskless ? mark : NULL, 500);
    rig_feed(rig, 0, rdb->bytes, rdb->size, piece);
    if (is_diskless) {
        rig_feed(rig, 0, mark, EOF_MARK_SIZE, piece);
    }
    rig_command(rig, 0, "SELECT 0");
    rig_command(rig, 0, "SET behind 1");
    rig_settle(rig);
    struct peer *peer = &rig->peers[0];
    assert_int_equal(rig_peer_value(rig, 0, &peer->restore_bad), 0);
    assert_int_equal(atomic_load_relaxed(&rig->task.hold_bytes) <= 2 * rig->task.hold_bytes_free,
                     1);
    assert_null(atomic_load_relaxed(&rig->task.hold_owner));
    struct outcome outcome = {.digest = rig_peer_value(rig, 0, &peer->digest),
                              .effects = rig_peer_value(rig, 0, &peer->effect_count),
                              .keys = atomic_load_relaxed(&rig->sources[0].stream.keys_read)};
    rig_free(rig);
    return outcome;
}

static void same(const struct outcome *a, const struct outcome *b)
{
    assert_int_equal(a->keys, b->keys);
    assert_int_equal(a->effects, b->effects);
    assert_int_equal(a->digest, b->digest);
}

/* Every shape in which a real snapshot can arrive gives exactly the same commands: one byte at a
 * time, chunks smaller than its items, with and without headroom, batches smaller than its values.
 */
static void run_fixture(const char *path)
{
    struct bytes rdb = {0};
    bytes_fixture(&rdb, path);
    struct outcome whole = run(
        &rdb,
        &(struct rig_options){
            .is_stepped = true, .chunk_bytes = 1 << 21, .chunk_count = 3, .batch_bytes = 1 << 16},
        0,
        false);
    assert_true(whole.keys > 10);
    static const struct {
        size_t piece;
        uint32_t chunk_bytes;
        uint32_t headroom_bytes;
        uint32_t batch_bytes;
    } shapes[] = {{1, 4096, 1024, 1 << 16},
                  {1, 512, 128, 1024},
                  {13, 64, 16, 4096},
                  {0, 100, 0, 2048},
                  {0, 17, 17, 700},
                  {0, 5000, 40, 1 << 14}};
    for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++) {
        struct rig_options options = {.is_stepped = true,
                                      .chunk_bytes = shapes[i].chunk_bytes,
                                      .headroom_bytes = shapes[i].headroom_bytes,
                                      .batch_bytes = shapes[i].batch_bytes,
                                      .hold_bytes_free = 1 << 16};
        /* Strings near the size of half a batch are SET or RESTORE by the batch, so the sequence
         * is compared with that of the same batch, whole. */
        struct rig_options plain = options;
        plain.chunk_bytes = 1 << 21;
        plain.chunk_count = 3;
        plain.headroom_bytes = 0;
        struct outcome expected = run(&rdb, &plain, 0, false);
        assert_int_equal(expected.keys, whole.keys);
        struct outcome cut = run(&rdb, &options, shapes[i].piece, i % 2 == 0);
        same(&cut, &expected);
    }
    bytes_free(&rdb);
}

static void test_fixtures(void **state)
{
    (void)state;
    static const char *const names[] = {"redis-2.8.24-snapshot",
                                        "redis-4.0.14-lfu",
                                        "redis-5.0.14-sync",
                                        "redis-7.4.1-snapshot",
                                        "valkey-9.1.2-ver9-snapshot"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        char path[100];
        snprintf(path, sizeof(path), "rdb/%s/dump.rdb", names[i]);
        run_fixture(path);
    }
}

static void small_rdb(struct bytes *rdb)
{
    rdb_open(rdb);
    rdb_select(rdb, 0);
    rdb_string_add(rdb, "a", "1", 1);
    rdb_expire(rdb, 4102444800000);
    rdb_string_add(rdb, "expiring", "value", 5);
    rdb_list_add(rdb, "list", 5, 9);
    rdb_select(rdb, 3);
    char text[300];
    memset(text, 'v', sizeof(text));
    rdb_string_add(rdb, "long", text, sizeof(text));
    rdb_string_add(rdb, "z", "", 0);
    rdb_close(rdb);
}

/* A chunk boundary at every byte, for several headrooms: the item at the seam is carried over. */
static void test_every_seam(void **state)
{
    (void)state;
    struct bytes rdb = {0};
    small_rdb(&rdb);
    struct rig_options options = {.is_stepped = true, .chunk_bytes = 2048, .batch_bytes = 4096};
    struct outcome whole = run(&rdb, &options, 0, false);
    assert_int_equal(whole.keys, 5);
    static const uint32_t headrooms[] = {0, 3, 64, 1024};
    for (size_t h = 0; h < sizeof(headrooms) / sizeof(headrooms[0]); h++) {
        options.headroom_bytes = headrooms[h];
        struct rig *rig = rig_new(&options);
        for (size_t at = 1; at < rdb.size; at += h == 0 ? 1 : 3) {
            rig_forget(rig, 0);
            rig_session(rig, 0, (int64_t)rdb.size, NULL, 500);
            rig_step(rig);
            atomic_store_release(&rig->sources[0].stream.sweep_wanted, false);
            rig_feed(rig, 0, rdb.bytes, at, 0);
            rig_seal(rig, 0);
            rig_feed(rig, 0, rdb.bytes + at, rdb.size - at, 0);
            rig_command(rig, 0, "SELECT 0");
            rig_command(rig, 0, "SET behind 1");
            rig_settle(rig);
            assert_int_equal(rig_peer_value(rig, 0, &rig->peers[0].digest), whole.digest);
        }
        rig_free(rig);
    }
    bytes_free(&rdb);
}

/* What each kind of value becomes: MSET, SET … PXAT, RESTORE with ABSTTL. */
static void test_forms(void **state)
{
    (void)state;
    struct bytes rdb = {0};
    rdb_open(&rdb);
    rdb_string_add(&rdb, "a", "1", 1);
    rdb_string_add(&rdb, "b", "2", 1);
    rdb_expire(&rdb, 4102444800000);
    rdb_string_add(&rdb, "c", "3", 1);
    rdb_expire(&rdb, 0);
    rdb_string_add(&rdb, "d", "4", 1);
    rdb_string_add(&rdb, "e", "5", 1);
    rdb_close(&rdb);
    struct rig *rig = rig_new(&(struct rig_options){.is_stepped = true});
    rig_session(rig, 0, (int64_t)rdb.size, NULL, 1);
    rig_feed(rig, 0, rdb.bytes, rdb.size, 0);
    rig_settle(rig);
    rig_expect(
        rig, 0, "0 MSET a 1 b 2\n0 SET c 3 PXAT 4102444800000\n0 SET d 4 PXAT 1\n0 SET e 5\n");
    assert_int_equal(atomic_load_relaxed(&rig->lanes[0].keys_acked), 5);
    rig_free(rig);
    rig = rig_new(&(struct rig_options){.is_stepped = true, .has_no_pxat = true});
    rig_session(rig, 0, (int64_t)rdb.size, NULL, 1);
    rig_feed(rig, 0, rdb.bytes, rdb.size, 0);
    rig_settle(rig);
    pthread_mutex_lock(&rig->peers[0].lock);
    assert_non_null(strstr(rig->peers[0].text, "RESTORE c 4102444800000 "));
    assert_non_null(strstr(rig->peers[0].text, "RESTORE d 1 "));
    assert_non_null(strstr(rig->peers[0].text, "REPLACE ABSTTL\n"));
    pthread_mutex_unlock(&rig->peers[0].lock);
    rig_free(rig);
    bytes_free(&rdb);
}

static void random_text(struct bytes *text, size_t size)
{
    uint32_t seed = 12345;
    for (size_t i = 0; i < size; i++) {
        seed = seed * 1103515245 + 12345;
        bytes_add(text, (const uint8_t[]){(uint8_t)(seed >> 16)}, 1);
    }
}

/* A string larger than what may be held is streamed through in pieces and arrives intact, wherever
 * the chunks cut it: also inside its length field, where its size is not yet known. */
static void test_streamed(void **state)
{
    (void)state;
    struct bytes value = {0};
    random_text(&value, 50000);
    struct bytes rdb = {0};
    rdb_open(&rdb);
    rdb_string_add(&rdb, "before", "1", 1);
    size_t begin = rdb.size;
    rdb_expire(&rdb, 4102444800000);
    rdb_string_add(&rdb, "large", value.bytes, value.size);
    rdb_string_add(&rdb, "after", "1", 1);
    rdb_close(&rdb);
    for (size_t at = begin; at < begin + 30; at++) {
        struct rig *rig = rig_new(&(struct rig_options){.is_stepped = true,
                                                        .chunk_bytes = 1000,
                                                        .headroom_bytes = 200,
                                                        .batch_bytes = 512,
                                                        .hold_bytes_free = 1200,
                                                        .hold_bytes_max = 4000});
        rig_session(rig, 0, (int64_t)rdb.size, NULL, 1);
        rig_feed(rig, 0, rdb.bytes, at, 0);
        rig_seal(rig, 0);
        rig_feed(rig, 0, rdb.bytes + at, rdb.size - at, 0);
        rig_settle(rig);
        assert_int_equal(rig_peer_value(rig, 0, &rig->peers[0].restore_bad), 0);
        assert_int_equal(rig_peer_value(rig, 0, &rig->peers[0].effect_count), 3);
        pthread_mutex_lock(&rig->peers[0].lock);
        assert_non_null(strstr(rig->peers[0].text, "RESTORE large 4102444800000"));
        pthread_mutex_unlock(&rig->peers[0].lock);
        rig_free(rig);
    }
    bytes_free(&rdb);
    bytes_free(&value);
}

/* A value that cannot be measured and is larger than all that may be held must arrive whole all the
 * same, as commands in pieces, wherever the chunks cut it; and no more memory than its bound may be
 * taken. */
static void test_too_large(void **state)
{
    (void)state;
    struct bytes rdb = {0};
    rdb_open(&rdb);
    rdb_expire(&rdb, 4102444800000);
    rdb_list_add(&rdb, "list", 700, 50);
    rdb_string_add(&rdb, "after", "1", 1);
    rdb_close(&rdb);
    for (size_t piece = 0; piece < 900; piece += 97) {
        struct rig *rig = rig_new(&(struct rig_options){
            .is_stepped = true, .chunk_bytes = 1000, .hold_bytes_max = 20000});
        rig->task.intake.rewrite.piece_elements = 50; /* the peer's text cuts long lines */
        rig_session(rig, 0, (int64_t)rdb.size, NULL, 1);
        rig_feed(rig, 0, rdb.bytes, rdb.size, piece);
        rig_settle(rig);
        assert_true(atomic_load_relaxed(&rig->task.hold_bytes) <= 20000);
        assert_int_equal(atomic_load_relaxed(&rig->sources[0].stream.values_rewritten), 1);
        assert_int_equal(atomic_load_relaxed(&rig->lanes[0].keys_acked), 2);
        pthread_mutex_lock(&rig->peers[0].lock);
        const char *text = rig->peers[0].text;
        assert_true(strncmp(text, "0 DEL list\n0 RPUSH list abc", 27) == 0);
        assert_non_null(strstr(text, "\n0 PEXPIREAT list 4102444800000\n"));
        assert_non_null(strstr(text, "SET after 1\n"));
        uint32_t elements = 0;
        for (const char *at = text; (at = strstr(at, " abcdefghijklmnopqrstuvwabc")) != NULL;
             at++) {
            elements++;
        }
        pthread_mutex_unlock(&rig->peers[0].lock);
        assert_int_equal(elements, 700);
        rig_free(rig);
    }
    bytes_free(&rdb);
}

/* A type that the destination's version does not know is decoded and written as commands. */
static void test_unknown_there(void **state)
{
    (void)state;
    struct bytes rdb = {0};
    rdb_open(&rdb);
    rdb_list_add(&rdb, "list", 3, 2);
    rdb_close(&rdb);
    struct rig *rig = rig_new(&(struct rig_options){.is_stepped = true});
    rig->task.intake.restore_version[0][RDB_TYPE_LIST] = 0;
    rig_session(rig, 0, (int64_t)rdb.size, NULL, 1);
    rig_feed(rig, 0, rdb.bytes, rdb.size, 1);
    rig_settle(rig);
    rig_expect(rig, 0, "0 DEL list\n0 RPUSH list ab ab ab\n");
    rig_free(rig);
    bytes_free(&rdb);
}

/* The source is lost in the middle of a value that is being streamed. What the destination was
 * promised is filled up with a wrong CRC, so that it refuses the value and nothing else; the next
 * copy waits for the sweep, and comes whole. */
static void run_restart(bool is_session_at_once)
{
    struct bytes value = {0};
    random_text(&value, 30000);
    struct bytes rdb = {0};
    rdb_open(&rdb);
    rdb_string_add(&rdb, "large", value.bytes, value.size);
    rdb_string_add(&rdb, "after", "1", 1);
    rdb_close(&rdb);
    struct rig *rig = rig_new(&(struct rig_options){.is_stepped = true,
                                                    .chunk_bytes = 1000,
                                                    .headroom_bytes = 200,
                                                    .batch_bytes = 512,
                                                    .hold_bytes_free = 1200});
    rig_session(rig, 0, (int64_t)rdb.size, NULL, 1);
    rig_feed(rig, 0, rdb.bytes, rdb.size / 2, 0);
    assert_ptr_equal(rig->decoders[0].router.unit_owner, &rig->sources[0].stream);
    if (!is_session_at_once) {
        rig_seal(rig, 0);
        atomic_store_release(&rig->sources[0].feed.state, FEED_CONNECTING);
        rig_step(rig);
        assert_null(rig->decoders[0].router.unit_owner);
        assert_int_equal(rig->sources[0].stream.state, STREAM_WAITING);
    }
    rig_session(rig, 0, (int64_t)rdb.size, NULL, 7);
    rig_step(rig);
    assert_int_equal(rig->sources[0].stream.state, STREAM_HELD);
    assert_true(atomic_load_acquire(&rig->sources[0].stream.sweep_wanted));
    assert_int_equal(rig_peer_value(rig, 0, &rig->peers[0].restore_bad), 1);
    assert_int_equal(rig_peer_value(rig, 0, &rig->peers[0].effect_count), 0);
    assert_false(failure_is_raised(&rig->failure));
    /* Nothing passes while it is held. */
    size_t some = rig_feed_some(rig, 0, rdb.bytes, 500);
    assert_int_equal(some, 500);
    rig_step(rig);
    assert_int_equal(rig->sources[0].stream.payload_pos, 0);
    atomic_store_release(&rig->sources[0].stream.sweep_wanted, false);
    rig_feed(rig, 0, rdb.bytes + some, rdb.size - some, 0);
    rig_settle(rig);
    assert_int_equal(rig_peer_value(rig, 0, &rig->peers[0].restore_bad), 1);
    assert_int_equal(rig_peer_value(rig, 0, &rig->peers[0].effect_count), 2);
    rig_free(rig);
    bytes_free(&rdb);
    bytes_free(&value);
}

static void test_restart_in_value(void **state)
{
    (void)state;
    run_restart(true);
    run_restart(false);
}

/* A session that starts again at any byte of a snapshot, whatever it was inside, begins clean. */
static void test_restart_anywhere(void **state)
{
    (void)state;
    struct bytes rdb = {0};
    small_rdb(&rdb);
    struct rig_options options = {.is_stepped = true,
                                  .chunk_bytes = 50,
                                  .headroom_bytes = 20,
                                  .hold_bytes_free = 100,
                                  .batch_bytes = 400};
    struct outcome whole = run(&rdb, &options, 0, false);
    struct rig *rig = rig_new(&options);
    for (size_t at = 0; at <= rdb.size; at += 2) {
        rig_session(rig, 0, (int64_t)rdb.size, NULL, 500);
        rig_step(rig);
        atomic_store_release(&rig->sources[0].stream.sweep_wanted, false);
        rig_feed(rig, 0, rdb.bytes, at, 0);
        if (at == rdb.size) {
            rig_feed_text(rig, 0, "*1\r\n$5\r\nMULTI\r\n*3\r\n$3\r\nSE");
        }
        rig_session(rig, 0, (int64_t)rdb.size, NULL, 900);
        rig_step(rig);
        rig_forget(rig, 0);
        atomic_store_release(&rig->sources[0].stream.sweep_wanted, false);
        rig_feed(rig, 0, rdb.bytes, rdb.size, 0);
        rig_command(rig, 0, "SELECT 0");
        rig_command(rig, 0, "SET behind 1");
        rig_settle(rig);
        assert_int_equal(rig_peer_value(rig, 0, &rig->peers[0].digest), whole.digest);
    }
    rig_free(rig);
    bytes_free(&rdb);
}

/* Damage is noticed: a wrong checksum, a length that was announced differently, a wrong mark. */
static void test_damage(void **state)
{
    (void)state;
    for (int kind = 0; kind < 4; kind++) {
        struct bytes rdb = {0};
        small_rdb(&rdb);
        int64_t announced = (int64_t)rdb.size;
        if (kind == 0) {
            rdb.bytes[rdb.size - 30] ^= 1;
        } else if (kind == 1) {
            announced++;
        } else if (kind == 2) {
            rdb.bytes[3] = 'X';
        }
        struct rig *rig = rig_new(&(struct rig_options){.is_stepped = true});
        rig_session(rig, 0, announced, kind == 3 ? mark : NULL, 1);
        rig_feed(rig, 0, rdb.bytes, rdb.size, 0);
        if (kind == 3) {
            rig_feed_text(rig, 0, "0123456789abcdef0123456789abcdef0123456X");
        }
        const struct syn_err *err = rig_failure(rig);
        assert_int_equal(err->code, SYN_CODE_SOURCE_DATA);
        assert_non_null(strstr(err->msg, "source0:6379"));
        assert_int_equal(rig->sources[0].stream.snapshots_applied, 0);
        rig_free(rig);
        bytes_free(&rdb);
    }
}

/* Keys of databases that are not selected are passed over whatever their size; a cluster takes
 * only database 0. */
static void test_databases(void **state)
{
    (void)state;
    static const uint16_t map[] = {UINT16_MAX, 0, 9};
    struct bytes value = {0};
    random_text(&value, 9000);
    struct bytes rdb = {0};
    rdb_open(&rdb);
    rdb_select(&rdb, 0);
    rdb_string_add(&rdb, "hidden", value.bytes, value.size);
    rdb_list_add(&rdb, "hidden2", 300, 20);
    rdb_select(&rdb, 1);
    rdb_string_add(&rdb, "one", "1", 1);
    rdb_select(&rdb, 2);
    rdb_string_add(&rdb, "two", "2", 1);
    rdb_select(&rdb, 3);
    rdb_string_add(&rdb, "hidden3", "3", 1);
    rdb_close(&rdb);
    for (size_t piece = 0; piece < 10; piece += 3) {
        struct rig *rig = rig_new(&(struct rig_options){.is_stepped = true,
                                                        .db_map = map,
                                                        .db_map_count = 3,
                                                        .chunk_bytes = 500,
                                                        .hold_bytes_max = 5000});
        rig_session(rig, 0, (int64_t)rdb.size, NULL, 1);
        rig_feed(rig, 0, rdb.bytes, rdb.size, piece);
        rig_settle(rig);
        rig_expect(rig, 0, "0 SET one 1\n0 SELECT 9\n9 SET two 2\n");
        rig_free(rig);
    }
    struct rig *rig = rig_new(&(struct rig_options){.is_stepped = true, .is_cluster = true});
    rig_session(rig, 0, (int64_t)rdb.size, NULL, 1);
    rig_feed(rig, 0, rdb.bytes, rdb.size, 0);
    const struct syn_err *err = rig_failure(rig);
    assert_int_equal(err->code, SYN_CODE_UNSUPPORTED);
    assert_non_null(strstr(err->msg, "database 1"));
    rig_free(rig);
    bytes_free(&rdb);
    bytes_free(&value);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fixtures),
        cmocka_unit_test(test_every_seam),
        cmocka_unit_test(test_forms),
        cmocka_unit_test(test_streamed),
        cmocka_unit_test(test_too_large),
        cmocka_unit_test(test_unknown_there),
        cmocka_unit_test(test_restart_in_value),
        cmocka_unit_test(test_restart_anywhere),
        cmocka_unit_test(test_damage),
        cmocka_unit_test(test_databases),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
