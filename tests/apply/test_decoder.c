#include "tests/apply/pipeline_rig.h"

#include <stdio.h>

static uint64_t applied(struct rig *rig, uint32_t source)
{
    return atomic_load_acquire(&rig->sources[source].feed.offset_applied);
}

/* offset_applied is what the source is told: it may never pass an operation that the destination
 * has not answered. The destination answers one more each time, and is never overtaken. */
static void test_offset_never_passes(void **state)
{
    (void)state;
    enum { COUNT = 400 };
    static uint64_t ends[COUNT + 2];
    struct rig *rig = rig_new(&(struct rig_options){.batch_bytes = 256, .batch_ops = 8});
    rig_live(rig, 0, 1000);
    rig_allow(rig, 0, 0);
    struct bytes stream = {0};
    for (int i = 0; i < COUNT; i++) {
        char words[100];
        snprintf(words, sizeof(words), "SET key%d %0*d", i, 1 + i % 37, i);
        ends[i] = 1000 + stream.size;
        resp_add(&stream, words);
    }
    ends[COUNT] = 1000 + stream.size;
    size_t fed = 0;
    for (uint64_t limit = 0; limit <= COUNT; limit++) {
        if (fed < stream.size) {
            fed += rig_feed_some(rig, 0, stream.bytes + fed, stream.size - fed);
        }
        rig_allow(rig, 0, limit);
        uint64_t begin = clock_monotonic_ms();
        while (rig_peer_value(rig, 0, &rig->peers[0].reply_count) < limit) {
            assert_true(applied(rig, 0) <= ends[limit]);
            assert_false(rig_is_late(begin));
            rig_pause();
        }
        assert_true(applied(rig, 0) <= ends[limit]);
    }
    rig_allow(rig, 0, UINT64_MAX);
    rig_feed(rig, 0, stream.bytes + fed, stream.size - fed, 0);
    rig_settle(rig);
    assert_int_equal(applied(rig, 0), ends[COUNT]);
    bytes_free(&stream);
    rig_free(rig);
}

/* REPLCONF GETACK is answered once everything before it is at the destination: then WAIT at the
 * source means that. */
static void test_getack(void **state)
{
    (void)state;
    struct rig *rig = rig_new(&(struct rig_options){0});
    struct feed *feed = &rig->sources[0].feed;
    rig_live(rig, 0, 1000);
    for (int round = 0; round < 20; round++) {
        uint64_t before = rig_peer_value(rig, 0, &rig->peers[0].command_count);
        rig_allow(rig, 0, before);
        rig_command(rig, 0, "SET a 1");
        rig_command(rig, 0, "REPLCONF GETACK *");
        rig_await_commands(rig, 0, before + 1);
        for (int i = 0; i < 5; i++) {
            assert_false(atomic_load_acquire(&feed->ack_wanted));
            rig_pause();
        }
        rig_allow(rig, 0, UINT64_MAX);
        uint64_t begin = clock_monotonic_ms();
        while (!atomic_load_acquire(&feed->ack_wanted)) {
            assert_false(rig_is_late(begin));
            rig_pause();
        }
        rig_settle(rig);
        atomic_store_relaxed(&feed->ack_wanted, false);
    }
    rig_free(rig);
}

static bool is_waiting(struct rig *rig)
{
    return atomic_load_relaxed(&rig->decoders[0].router.is_waiting);
}

/* A destination that stands still stops everything behind it within the memory that there is, and
 * nothing is lost when it goes on. */
static void test_back_pressure(void **state)
{
    (void)state;
    struct rig *rig = rig_new(&(struct rig_options){
        .socket_bytes = 4096, .chunk_bytes = 1024, .headroom_bytes = 256, .batch_bytes = 1024});
    rig_live(rig, 0, 0);
    rig_stall(rig, 0, true);
    uint64_t live = mem_live_bytes(MEM_APPLY) + mem_live_bytes(MEM_IO) + mem_live_bytes(MEM_BASE);
    struct bytes stream = {0};
    const uint64_t count = 20000;
    for (uint64_t i = 0; i < count; i++) {
        char words[60];
        snprintf(words, sizeof(words), "SET key%llu value", (unsigned long long)i);
        resp_add(&stream, words);
    }
    size_t fed = 0;
    uint64_t begin = clock_monotonic_ms();
    for (int idle = 0; idle < 50;) {
        size_t some = rig_feed_some(rig, 0, stream.bytes + fed, stream.size - fed);
        fed += some;
        idle = some == 0 && is_waiting(rig) ? idle + 1 : 0;
        assert_false(rig_is_late(begin));
        rig_pause();
    }
    assert_true(fed < stream.size / 2);
    uint64_t hold = rig->task.hold_bytes_free * 2;
    assert_true(mem_live_bytes(MEM_APPLY) + mem_live_bytes(MEM_IO) + mem_live_bytes(MEM_BASE) <=
                live + hold);
    rig_stall(rig, 0, false);
    rig_feed(rig, 0, stream.bytes + fed, stream.size - fed, 0);
    rig_settle(rig);
    assert_int_equal(rig_peer_value(rig, 0, &rig->peers[0].effect_count), count);
    bytes_free(&stream);
    rig_free(rig);
}

static void large_list(struct bytes *rdb)
{
    rdb_open(rdb);
    rdb_list_add(rdb, "list", 2000, 50);
    rdb_close(rdb);
}

static void await_waiting(struct rig *rig)
{
    uint64_t begin = clock_monotonic_ms();
    while (!is_waiting(rig)) {
        assert_false(rig_is_late(begin));
        rig_pause();
    }
}

static void stop_in_time(struct rig *rig)
{
    uint64_t begin = clock_monotonic_ms();
    rig_free(rig);
    assert_true(clock_monotonic_ms() - begin < 3000);
}

/* A stop ends every wait at once: idle, for batches, for a barrier, inside a streamed value, held
 * for a sweep, for the right to hold much, paused. */
static void test_stop(void **state)
{
    (void)state;
    struct rig_options options = {.batch_bytes = 512, .batch_count = 6, .chunk_bytes = 1024};
    stop_in_time(rig_new(&options));

    struct rig *rig = rig_new(&options);
    rig_live(rig, 0, 0);
    rig_stall(rig, 0, true);
    char large[9000];
    memset(large, 'x', sizeof(large) - 1);
    memcpy(large, "SET a ", 6);
    large[sizeof(large) - 1] = '\0';
    rig_command(rig, 0, large);
    rig_allow(rig, 0, 0);
    rig_command(rig, 0, "FLUSHALL");
    await_waiting(rig);
    stop_in_time(rig);

    rig = rig_new(&options);
    rig_live(rig, 0, 0);
    rig_session(rig, 0, 100, NULL, 5);
    rig_await_state(rig, 0, STREAM_HELD);
    stop_in_time(rig);

    rig = rig_new(&options);
    struct bytes rdb = {0};
    char value[20000];
    memset(value, 'v', sizeof(value));
    rdb_open(&rdb);
    rdb_string_add(&rdb, "large", value, sizeof(value));
    rdb_close(&rdb);
    rig_session(rig, 0, (int64_t)rdb.size, NULL, 5);
    rig_feed(rig, 0, rdb.bytes, rdb.size / 2, 0);
    stop_in_time(rig);
    bytes_free(&rdb);

    rig = rig_new(&options);
    rig_live(rig, 0, 0);
    atomic_store_release(&rig->task.paused, true);
    rig_command(rig, 0, "SET a 1");
    stop_in_time(rig);
}

/* Two streams with values that must be gathered, larger than what each may hold freely: one holds
 * much, the other waits, and both end. The memory is that of one. */
static void run_hold(uint32_t decoders)
{
    struct rig *rig = rig_new(&(struct rig_options){.streams = 2,
                                                    .decoders = decoders,
                                                    .chunk_bytes = 1024,
                                                    .headroom_bytes = 256,
                                                    .batch_bytes = 4096,
                                                    .chunk_count = 4,
                                                    .hold_bytes_max = 200000});
    struct bytes rdb = {0};
    large_list(&rdb);
    for (uint32_t i = 0; i < 2; i++) {
        rig_session(rig, i, (int64_t)rdb.size, NULL, 5);
    }
    rig_feed(rig, 0, rdb.bytes, rdb.size / 2, 0);
    uint64_t begin = clock_monotonic_ms();
    while (atomic_load_acquire(&rig->task.hold_owner) != &rig->sources[0].stream) {
        assert_false(rig_is_late(begin));
        rig_pause();
    }
    size_t fed = 0;
    for (int idle = 0; idle < 100; idle++) {
        size_t some = rig_feed_some(rig, 1, rdb.bytes + fed, rdb.size - fed);
        idle = some > 0 ? 0 : idle;
        fed += some;
        assert_true(atomic_load_relaxed(&rig->task.hold_bytes) <=
                    200000 + 2 * rig->task.hold_bytes_free);
        assert_ptr_equal(atomic_load_acquire(&rig->task.hold_owner), &rig->sources[0].stream);
        rig_pause();
    }
    assert_true(fed < rdb.size);
    rig_feed(rig, 0, rdb.bytes + rdb.size / 2, rdb.size - rdb.size / 2, 0);
    rig_feed(rig, 1, rdb.bytes + fed, rdb.size - fed, 0);
    rig_settle(rig);
    assert_int_equal(rig_peer_value(rig, 0, &rig->peers[0].effect_count), 2);
    assert_int_equal(rig_peer_value(rig, 0, &rig->peers[0].restore_bad), 0);
    assert_null(atomic_load_acquire(&rig->task.hold_owner));
    bytes_free(&rdb);
    rig_free(rig);
}

static void test_hold_owner(void **state)
{
    (void)state;
    run_hold(1);
    run_hold(2);
}

/* Every line of a transaction, from MULTI to EXEC, must be of the stream that began it. */
static void check_lines(const char *text, uint64_t *counts)
{
    char owner = 0;
    bool is_multi = false;
    for (const char *line = text; line != NULL && *line != '\0'; line = strchr(line, '\n') + 1) {
        char name[16];
        char key[64] = "";
        unsigned db;
        assert_true(sscanf(line, "%u %15s %63s", &db, name, key) >= 2);
        if (strcmp(name, "MULTI") == 0) {
            assert_false(is_multi);
            is_multi = true;
            owner = 0;
        } else if (strcmp(name, "EXEC") == 0) {
            assert_true(is_multi);
            is_multi = false;
        } else if (strcmp(name, "SET") == 0) {
            assert_true(key[0] == 'a' || key[0] == 'b');
            assert_int_equal(db, key[0] == 'a' ? 3 : 7);
            assert_true(!is_multi || owner == 0 || owner == key[0]);
            owner = key[0];
            unsigned number;
            assert_int_equal(sscanf(key + 1, "%u", &number), 1);
            assert_int_equal(number, counts[key[0] - 'a']++);
        } else {
            assert_string_equal(name, "SELECT");
            assert_false(is_multi);
        }
        if (strchr(line, '\n') == NULL) {
            break;
        }
    }
}

/* Two decoders write to one connection, in different databases, with transactions larger than a
 * batch: the SELECTs are right, no unit is torn, and each stream keeps its order. */
static void test_shared_lane(void **state)
{
    (void)state;
    struct rig *rig = rig_new(
        &(struct rig_options){.streams = 2, .decoders = 2, .batch_bytes = 512, .batch_ops = 16});
    struct bytes streams[2] = {{0}, {0}};
    const int count = 3000;
    for (uint32_t s = 0; s < 2; s++) {
        rig_live(rig, s, 0);
        resp_add(&streams[s], s == 0 ? "SELECT 3" : "SELECT 7");
        for (int i = 0; i < count; i++) {
            char words[64];
            int phase = i % 150;
            if (phase == 20) {
                resp_add(&streams[s], "MULTI");
            }
            snprintf(words, sizeof(words), "SET %c%d value", s == 0 ? 'a' : 'b', i);
            resp_add(&streams[s], words);
            if (phase == 100) {
                resp_add(&streams[s], "EXEC");
            }
        }
    }
    for (size_t at = 0; at < streams[0].size || at < streams[1].size; at += 777) {
        for (uint32_t s = 0; s < 2; s++) {
            if (at < streams[s].size) {
                size_t left = streams[s].size - at;
                rig_feed(rig, s, streams[s].bytes + at, left < 777 ? left : 777, 0);
            }
        }
    }
    rig_settle(rig);
    uint64_t counts[2] = {0};
    pthread_mutex_lock(&rig->peers[0].lock);
    check_lines(rig->peers[0].text, counts);
    pthread_mutex_unlock(&rig->peers[0].lock);
    assert_int_equal(counts[0], count);
    assert_int_equal(counts[1], count);
    bytes_free(&streams[0]);
    bytes_free(&streams[1]);
    rig_free(rig);
}

/* A drain ends only when all that was received is written and answered, also what lies in a chunk
 * behind a command that has to be put together. */
static void test_drain(void **state)
{
    (void)state;
    for (uint32_t args = 2; args < 60; args += 5) {
        struct rig *rig = rig_new(&(struct rig_options){
            .chunk_bytes = 64, .chunk_count = 100, .hold_bytes_free = 1 << 16});
        rig_live(rig, 0, 0);
        rig_seal(rig, 0);
        struct bytes stream = {0};
        struct bytes words = {0};
        bytes_add(&words, "RPUSH list", 10);
        for (uint32_t i = 0; i < args; i++) {
            bytes_add(&words, " elem", 5);
        }
        bytes_add(&words, "", 1);
        for (int i = 0; i < 5; i++) {
            resp_add(&stream, (const char *)words.bytes);
        }
        bytes_free(&words);
        assert_int_equal(rig_feed_some(rig, 0, stream.bytes, stream.size), stream.size);
        rig_seal(rig, 0);
        atomic_store_release(&rig->sources[0].feed.state, FEED_STOPPED);
        atomic_store_release(&rig->task.drain, true);
        waker_wake(&rig->decoders[0].waker);
        uint64_t begin = clock_monotonic_ms();
        while (!atomic_load_acquire(&rig->decoders[0].is_drained)) {
            assert_false(rig_is_late(begin));
            assert_false(failure_is_raised(&rig->failure));
            rig_pause();
        }
        assert_int_equal(applied(rig, 0), stream.size);
        assert_int_equal(rig_peer_value(rig, 0, &rig->peers[0].effect_count), 5);
        bytes_free(&stream);
        rig_free(rig);
    }
}

/* A drain in the middle of a streamed value ends it harmlessly, and what another stream of the same
 * decoder has received meanwhile is still written, in whichever order the two stand. */
static void test_drain_in_value(void **state)
{
    (void)state;
    char value[20000];
    memset(value, 'v', sizeof(value));
    struct bytes rdb = {0};
    rdb_open(&rdb);
    rdb_string_add(&rdb, "large", value, sizeof(value));
    rdb_close(&rdb);
    for (uint32_t large = 0; large < 2; large++) {
        uint32_t other = 1 - large;
        struct rig *rig = rig_new(&(struct rig_options){
            .streams = 2, .chunk_bytes = 1024, .chunk_count = 20, .batch_bytes = 512});
        rig_live(rig, other, 0);
        rig_session(rig, large, (int64_t)rdb.size, NULL, 5);
        rig_feed(rig, large, rdb.bytes, rdb.size / 2, 0);
        uint64_t begin = clock_monotonic_ms();
        while (atomic_load_relaxed(&rig->sources[large].stream.snapshot_bytes) < rdb.size / 2) {
            assert_false(rig_is_late(begin));
            rig_pause();
        }
        rig_command(rig, other, "SET kept 1");
        for (uint32_t s = 0; s < 2; s++) {
            rig_seal(rig, s);
            atomic_store_release(&rig->sources[s].feed.state, FEED_STOPPED);
        }
        atomic_store_release(&rig->task.drain, true);
        waker_wake(&rig->decoders[0].waker);
        while (!atomic_load_acquire(&rig->decoders[0].is_drained)) {
            assert_false(rig_is_late(begin));
            assert_false(failure_is_raised(&rig->failure));
            rig_pause();
        }
        assert_int_equal(rig_peer_value(rig, 0, &rig->peers[0].restore_bad), 1);
        assert_int_equal(rig_peer_value(rig, 0, &rig->peers[0].effect_count), 1);
        rig_free(rig);
    }
    bytes_free(&rdb);
}

/* A pause takes nothing new; what comes after it is what came before. */
static void test_pause(void **state)
{
    (void)state;
    struct rig *rig = rig_new(&(struct rig_options){0});
    rig_live(rig, 0, 0);
    atomic_store_release(&rig->task.paused, true);
    waker_signal(&rig->decoders[0].waker);
    rig_command(rig, 0, "SET a 1"); /* may still be taken by a turn that began before */
    uint64_t taken = 0;
    for (int i = 0; i < 50; i++) {
        rig_pause();
        taken = atomic_load_relaxed(&rig->sources[0].stream.commands);
    }
    rig_command(rig, 0, "SET b 1");
    for (int i = 0; i < 50; i++) {
        rig_pause();
        assert_int_equal(atomic_load_relaxed(&rig->sources[0].stream.commands), taken);
    }
    atomic_store_release(&rig->task.paused, false);
    waker_wake(&rig->decoders[0].waker);
    rig_settle(rig);
    rig_expect(rig, 0, "0 SET a 1\n0 SET b 1\n");
    rig_free(rig);
}

/* A real stream through several lanes of a cluster and one slow shard: everything arrives. */
static void test_cluster_flow(void **state)
{
    (void)state;
    struct rig *rig = rig_new(&(struct rig_options){.is_cluster = true,
                                                    .lanes = 4,
                                                    .shards = 4,
                                                    .streams = 2,
                                                    .decoders = 2,
                                                    .socket_bytes = 4096,
                                                    .batch_bytes = 512,
                                                    .batch_count = 24});
    uint64_t expected = 0;
    for (uint32_t s = 0; s < 2; s++) {
        rig_live(rig, s, 0);
    }
    for (int i = 0; i < 4000; i++) {
        char words[64];
        snprintf(words, sizeof(words), "INCR key%d", i % 997);
        rig_command(rig, (uint32_t)i % 2, words);
        /* What 400 commands need fits into the chunks, so feeding never waits for a stalled peer.
         */
        if (i % 800 == 0) {
            rig_settle(rig);
            rig_stall(rig, 2, true);
        } else if (i % 800 == 400) {
            rig_stall(rig, 2, false);
        }
        expected++;
    }
    rig_stall(rig, 2, false);
    rig_settle(rig);
    uint64_t sum = 0;
    for (uint32_t lane = 0; lane < 4; lane++) {
        sum += rig_peer_value(rig, lane, &rig->peers[lane].effect_count);
    }
    assert_int_equal(sum, expected);
    rig_free(rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_offset_never_passes),
        cmocka_unit_test(test_getack),
        cmocka_unit_test(test_back_pressure),
        cmocka_unit_test(test_stop),
        cmocka_unit_test(test_hold_owner),
        cmocka_unit_test(test_shared_lane),
        cmocka_unit_test(test_drain),
        cmocka_unit_test(test_drain_in_value),
        cmocka_unit_test(test_pause),
        cmocka_unit_test(test_cluster_flow),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
