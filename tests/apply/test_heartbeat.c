/* Heartbeats: recognised however servers propagate them, kept from the destination, and timed by
 * what the destination acknowledged. */
#include "tests/apply/pipeline_rig.h"

#include <stdio.h>

static struct rig *heartbeat_rig(const struct rig_options *options)
{
    struct rig *rig = rig_new(options);
    rig->task.heartbeat = (struct heartbeat_names){"HB", 2};
    snprintf(rig->sources[0].stream.heartbeat.key, HEARTBEAT_KEY_MAX, "HB:1:{0}");
    return rig;
}

static uint64_t arrived_us(struct rig *rig)
{
    return atomic_load_acquire(&rig->sources[0].stream.heartbeat.written_us);
}

/* A key must be one of its task's and, by N alone, fall into any slot; a value must give back its
 * time, and what is none of ours no time. */
static void test_names(void **state)
{
    (void)state;
    static const struct heartbeat_names names = {"DTS_REDIS_TIMESTAMP_HEARTBEAT", 29};
    char key[HEARTBEAT_KEY_MAX];
    char value[HEARTBEAT_VALUE_MAX];
    static bool is_hit[SLOT_COUNT];
    uint32_t hits = 0;
    for (uint32_t n = 0; n < 300000 && hits < SLOT_COUNT; n++) {
        heartbeat_key(&names, UINT64_MAX, n, key);
        assert_true(heartbeat_is_key(&names, key, strlen(key)));
        uint16_t slot = slot_of_key(key, strlen(key));
        hits += !is_hit[slot];
        is_hit[slot] = true;
    }
    assert_int_equal(hits, SLOT_COUNT);
    assert_string_equal(strchr(key, ':') - 29, key);
    assert_true(heartbeat_is_key(&names, "DTS_REDIS_TIMESTAMP_HEARTBEAT", 29));
    assert_false(heartbeat_is_key(&names, "DTS_REDIS_TIMESTAMP_HEARTBEAT", 28));
    assert_false(heartbeat_is_key(&names, "dts_redis_timestamp_heartbeat", 29));
    assert_false(heartbeat_is_key(&(struct heartbeat_names){0}, "", 0));
    heartbeat_value(INT64_MAX, UINT64_MAX, value);
    assert_int_equal(heartbeat_time_us(value, strlen(value)), UINT64_MAX);
    static const char *const bad[] = {
        "", ":", "1", "1:", "1:x", "1:-1", "1:99999999999999999999", "1:2 "};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_int_equal(heartbeat_time_us(bad[i], strlen(bad[i])), 0);
    }
}

/* The forms of all versions, of ours and of others: nothing of them reaches the destination, in a
 * transaction neither, and ours give their times. */
static void test_forms(void **state)
{
    (void)state;
    static const struct {
        const char *command;
        uint64_t time_us; /* 0: gives none */
    } forms[] = {{"SETEX HB:1:{0} 5 1700000000000:1001", 1001},
                 {"setex HB:1:{0} 5 1700000000000:1002", 1002},
                 {"SET HB:1:{0} 1700000000000:1003 PX 5000", 1003},
                 {"SET HB:1:{0} 1700000000000:1004 PXAT 1700000005000", 1004},
                 {"DEL HB:1:{0}", 0},
                 {"UNLINK HB:1:{0}", 0},
                 {"SETEX HB:2:{0} 5 1700000000000:1005", 0}, /* another task's */
                 {"SET HB text", 0},
                 {"SETEX HB:1:{0} 5 text", 0},
                 {"PSETEX HB:1:{0} 5000 1:1006", 0},
                 {"EXPIRE HB:1:{0} 5", 0},
                 {"HSET HB:x f v", 0}};
    struct rig *rig = heartbeat_rig(&(struct rig_options){.is_stepped = true});
    rig_live(rig, 0, 1000);
    uint64_t last_us = 0;
    for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
        rig_command(rig, 0, forms[i].command);
        rig_settle(rig);
        last_us = forms[i].time_us != 0 ? forms[i].time_us : last_us;
        assert_int_equal(arrived_us(rig), last_us);
    }
    assert_int_equal(rig->sources[0].stream.dropped, sizeof(forms) / sizeof(forms[0]));
    /* An expired one that is overwritten comes in a transaction, from 7.0. */
    rig_command(rig, 0, "MULTI");
    rig_command(rig, 0, "DEL HB:1:{0}");
    rig_command(rig, 0, "SET HB:1:{0} 1700000000000:1007 PXAT 1700000005000");
    rig_command(rig, 0, "EXEC");
    rig_settle(rig);
    assert_int_equal(arrived_us(rig), 1007);
    assert_int_equal(rig->sources[0].stream.transactions_split, 0);
    rig_expect(rig, 0, "");
    /* Other keys are data, wherever the prefix is. */
    rig_command(rig, 0, "SET H 1");
    rig_command(rig, 0, "SET xHB 1");
    rig_command(rig, 0, "SET hb 1");
    rig_command(rig, 0, "DEL x HB");
    rig_command(rig, 0, "EVAL HB 0");
    rig_settle(rig);
    rig_expect(rig, 0, "0 SET H 1\n0 SET xHB 1\n0 SET hb 1\n0 DEL x HB\n0 SCRIPT LOAD HB\n0 EVAL HB 0\n");
    rig_free(rig);
}

/* Its database is not copied: the time counts all the same. */
static void test_other_db(void **state)
{
    (void)state;
    static const uint16_t db_map[] = {UINT16_MAX, 1};
    struct rig *rig = heartbeat_rig(
        &(struct rig_options){.is_stepped = true, .db_map = db_map, .db_map_count = 2});
    rig_live(rig, 0, 1000);
    rig_command(rig, 0, "SETEX HB:1:{0} 5 1:1001");
    rig_settle(rig);
    assert_int_equal(arrived_us(rig), 1001);
    rig_free(rig);
}

/* It has not arrived before what was written before it is answered; and a session that begins anew
 * forgets those on their way, whose offsets mean nothing in it. */
static void test_time(void **state)
{
    (void)state;
    struct rig *rig = heartbeat_rig(&(struct rig_options){.batch_count = 8});
    rig_live(rig, 0, 1000);
    rig_allow(rig, 0, 0);
    uint64_t now_us = heartbeat_now_us();
    char command[128];
    rig_command(rig, 0, "SET a 1");
    snprintf(command, sizeof(command), "SETEX HB:1:{0} 5 1:%llu", (unsigned long long)now_us);
    rig_command(rig, 0, command);
    rig_command(rig, 0, "SET b 1");
    rig_command(rig, 0, "SETEX HB:1:{0} 5 1:8");
    rig_command(rig, 0, "SETEX HB:1:{0} 5 1:9");
    rig_await_commands(rig, 0, 2);
    for (int i = 0; i < 20; i++) {
        rig_pause();
        assert_int_equal(arrived_us(rig), 0);
    }
    rig_allow(rig, 0, UINT64_MAX);
    rig_settle(rig);
    uint64_t begin = clock_monotonic_ms();
    while (arrived_us(rig) != 9) { /* of those behind the first, the latest */
        assert_false(rig_is_late(begin));
        rig_pause();
    }
    rig_free(rig);

    struct heartbeat_watch watch = {.key = ""};
    heartbeat_seen(&watch, 5000, 100);
    heartbeat_applied(&watch, 99, 7000);
    assert_int_equal(atomic_load_acquire(&watch.written_us), 0);
    heartbeat_applied(&watch, 100, 7000);
    assert_int_equal(atomic_load_acquire(&watch.written_us), 5000);
    assert_int_equal(atomic_load_acquire(&watch.latency_us), 2000);
    heartbeat_seen(&watch, 6000, 200);
    heartbeat_seen(&watch, 7000, 300);
    heartbeat_forget(&watch);
    heartbeat_applied(&watch, 1000, 9000);
    assert_int_equal(atomic_load_acquire(&watch.written_us), 5000);
    heartbeat_seen(&watch, 9500, 200);
    heartbeat_applied(&watch, 1000, 9000); /* clocks do not run backwards; nothing underflows */
    assert_int_equal(atomic_load_acquire(&watch.latency_us), 0);
}

/* In a snapshot they are passed over, large ones and small ones, and the keys around them arrive.
 */
static void test_snapshot(void **state)
{
    (void)state;
    static uint8_t value[30000];
    struct rig *rig = heartbeat_rig(&(struct rig_options){.is_stepped = true});
    struct bytes rdb = {0};
    rdb_open(&rdb);
    rdb_string_add(&rdb, "a", "1", 1);
    rdb_string_add(&rdb, "HB:1:{0}", "1:1001", 6);
    rdb_string_add(&rdb, "b", "2", 1);
    rdb_list_add(&rdb, "HB", 3, 10);
    rdb_string_add(&rdb, "HB:large", value, sizeof(value));
    rdb_string_add(&rdb, "c", "3", 1);
    rdb_close(&rdb);
    rig_session(rig, 0, (int64_t)rdb.size, NULL, 0);
    rig_feed(rig, 0, rdb.bytes, rdb.size, 0);
    rig_settle(rig);
    assert_int_equal(rig_peer_value(rig, 0, &rig->peers[0].effect_count), 3);
    assert_int_equal(arrived_us(rig), 0);
    rig_free(rig);
    bytes_free(&rdb);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_forms),
        cmocka_unit_test(test_other_db),
        cmocka_unit_test(test_time),
        cmocka_unit_test(test_snapshot),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
