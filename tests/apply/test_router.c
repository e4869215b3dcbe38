#include "tests/apply/pipeline_rig.h"

#include <stdio.h>

static struct router *router_of(struct rig *rig)
{
    return &rig->decoders[0].router;
}

static void group(struct rig *rig, uint32_t lane, uint32_t db, uint16_t slot, const char *key)
{
    struct slice name = {(const uint8_t *)key, strlen(key)};
    struct rdb_string value = {
        .form = RDB_STRING_RAW, .text_size = 1, .data = {(const uint8_t *)"v", 1}};
    struct op op = {.slot = slot, .kind = OP_COMMAND, .key_count = 1};
    struct syn_err err;
    assert_true(router_group(router_of(rig), lane, db, &name, &value, op, &err));
}

static void write_op(struct rig *rig, uint32_t lane, uint32_t db, const char *words)
{
    struct bytes command = {0};
    resp_add(&command, words);
    uint8_t *begin = router_reserve(router_of(rig), lane, db, command.size);
    assert_non_null(begin);
    memcpy(begin, command.bytes, command.size);
    struct op op = {.slot = SLOT_NONE, .kind = OP_COMMAND};
    router_commit(router_of(rig), lane, begin, begin + command.size, op);
    bytes_free(&command);
}

/* The count of an MSET is filled in behind its pairs: every number of digits, and the largest
 * group, must give a well-formed command. The false destination aborts on any other. */
static void test_group_counts(void **state)
{
    (void)state;
    static const uint32_t counts[] = {1, 2, 3, 4, 5, 9, 48, 49, 50, 51, 99, 100};
    for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
        struct rig *rig = rig_new(&(struct rig_options){.is_stepped = true});
        for (uint32_t n = 0; n < counts[i]; n++) {
            group(rig, 0, 0, SLOT_NONE, "key");
        }
        write_op(rig, 0, 0, "SET behind 1");
        assert_true(router_drain(router_of(rig)));
        struct peer *peer = &rig->peers[0];
        assert_int_equal(rig_peer_value(rig, 0, &peer->command_count), 2);
        assert_int_equal(rig_peer_value(rig, 0, &peer->effect_count), counts[i] + 1);
        assert_int_equal(rig_peer_value(rig, 0, &peer->group_max), counts[i] == 1 ? 0 : counts[i]);
        assert_int_equal(atomic_load_relaxed(&rig->lanes[0].keys_acked), counts[i]);
        rig_free(rig);
    }
    /* One more than fits begins the next. */
    struct rig *rig = rig_new(&(struct rig_options){.is_stepped = true});
    for (uint32_t n = 0; n < ROUTER_GROUP_MAX + 1; n++) {
        group(rig, 0, 0, SLOT_NONE, "k");
    }
    assert_true(router_drain(router_of(rig)));
    assert_int_equal(rig_peer_value(rig, 0, &rig->peers[0].group_max), ROUTER_GROUP_MAX);
    assert_int_equal(rig_peer_value(rig, 0, &rig->peers[0].command_count), 2);
    rig_free(rig);
}

/* A group is closed by another database, by another slot in a cluster (which refuses the mixture),
 * and by any other operation on its lane; the order stays. */
static void test_group_closed(void **state)
{
    (void)state;
    struct rig *rig = rig_new(&(struct rig_options){.is_stepped = true});
    group(rig, 0, 0, SLOT_NONE, "a");
    group(rig, 0, 0, SLOT_NONE, "b");
    group(rig, 0, 4, SLOT_NONE, "c");
    group(rig, 0, 0, SLOT_NONE, "d");
    write_op(rig, 0, 0, "DEL x");
    group(rig, 0, 0, SLOT_NONE, "e");
    assert_true(router_drain(router_of(rig)));
    rig_expect(rig,
               0,
               "0 MSET a v b v\n0 SELECT 4\n4 SET c v\n4 SELECT 0\n0 SET d v\n0 DEL x\n"
               "0 SET e v\n");
    rig_free(rig);
    rig = rig_new(&(struct rig_options){.is_stepped = true, .is_cluster = true});
    group(rig, 0, 0, 1, "a");
    group(rig, 0, 0, 1, "b");
    group(rig, 0, 0, 2, "c");
    assert_true(router_drain(router_of(rig)));
    rig_expect(rig, 0, "0 MSET a v b v\n0 SET c v\n");
    rig_free(rig);
}

/* Pairs of every length against a batch that is nearly full: the group ends with the batch, never
 * beyond it (AddressSanitizer, and the assertions of the batch). */
static void test_group_batch_end(void **state)
{
    (void)state;
    struct rig *rig =
        rig_new(&(struct rig_options){.is_stepped = true, .batch_bytes = 300, .batch_ops = 3});
    uint64_t keys = 0;
    for (size_t size = 1; size < 200; size++) {
        char key[256];
        memset(key, 'k', size);
        key[size] = '\0';
        for (int n = 0; n < 7; n++) {
            group(rig, 0, size % 3 == 0 ? 1 : 0, SLOT_NONE, key);
            keys++;
        }
    }
    assert_true(router_drain(router_of(rig)));
    assert_int_equal(rig_peer_value(rig, 0, &rig->peers[0].effect_count), keys);
    assert_int_equal(atomic_load_relaxed(&rig->lanes[0].keys_acked), keys);
    rig_free(rig);
}

/* Invariant 3: the frontier passes a batch only when it, and all before it on any lane, are
 * answered. One lane answers, the other does not. */
static void test_frontier(void **state)
{
    (void)state;
    struct rig *rig = rig_new(&(struct rig_options){.is_stepped = true, .lanes = 2});
    struct router *router = router_of(rig);
    rig_allow(rig, 0, 0);
    write_op(rig, 0, 0, "SET a 1");
    uint64_t first = router->seq_next;
    router_flush(router);
    write_op(rig, 1, 0, "SET b 1");
    router_flush(router);
    rig_await_commands(rig, 1, 1);
    uint64_t begin = clock_monotonic_ms();
    while (!router_collect(router)) { /* that of lane 1 comes back */
        assert_false(rig_is_late(begin));
        rig_pause();
    }
    assert_true(router->frontier < first);
    assert_false(router_is_idle(router));
    rig_allow(rig, 0, UINT64_MAX);
    assert_true(router_drain(router));
    assert_int_equal(router->frontier, router->seq_next);
    assert_true(router_is_idle(router));
    rig_free(rig);
}

/* A lane that does not answer takes at most its share of the batches; another lane goes on. */
static void test_share(void **state)
{
    (void)state;
    struct rig *rig = rig_new(&(struct rig_options){
        .is_stepped = true, .lanes = 4, .batch_count = 18, .batch_bytes = 200});
    struct router *router = router_of(rig);
    assert_true(router->lane_batches_max < 16);
    rig_allow(rig, 0, 0);
    struct lane_writer *writer = &router->writers[0];
    while (writer->seq_count < router->lane_batches_max) {
        write_op(rig, 0, 0, "SET a 1");
    }
    router_flush(router);
    for (int i = 0; i < 1000; i++) {
        write_op(rig, 1, 0, "SET b 1");
        assert_true(router->pool.free_count >= ROUTER_RESERVE);
    }
    router_flush(router);
    rig_await_commands(rig, 1, 1000);
    assert_int_equal(writer->seq_count, router->lane_batches_max);
    rig_allow(rig, 0, UINT64_MAX);
    assert_true(router_drain(router));
    rig_free(rig);
}

/* A unit takes batches from the reserve when the pool is otherwise empty, so it can always end,
 * even when another lane keeps all that it may have. */
static void test_unit_reserve(void **state)
{
    (void)state;
    struct rig *rig = rig_new(&(struct rig_options){
        .is_stepped = true, .lanes = 2, .batch_count = 6, .batch_bytes = 200});
    struct router *router = router_of(rig);
    rig_allow(rig, 0, 0);
    assert_true(router_unit_begin(router, 1, 0));
    while (router->pool.free_count > ROUTER_RESERVE) {
        write_op(rig, 0, 0, "SET a 1");
    }
    router_flush(router);
    uint8_t value[5000];
    memset(value, 'x', sizeof(value));
    assert_true(router_unit_op(router, 1));
    assert_true(router_put(router, 1, "*3\r\n$3\r\nSET\r\n$1\r\nb\r\n$5000\r\n", 27));
    assert_true(router_put(router, 1, value, sizeof(value)));
    assert_true(router_put(router, 1, "\r\n", 2));
    router_unit_done(router, 1, (struct op){.slot = SLOT_NONE, .kind = OP_COMMAND});
    router_unit_end(router, 1);
    router_flush(router);
    rig_await_commands(rig, 1, 1);
    rig_allow(rig, 0, UINT64_MAX);
    assert_true(router_drain(router));
    rig_free(rig);
}

/* Out of memory at any of its allocations is an error without a leak. */
static void test_memory(void **state)
{
    (void)state;
    struct rig *rig = rig_new(&(struct rig_options){.is_stepped = true});
    uint64_t live = mem_live_bytes(MEM_APPLY);
    struct lane_port *ports[1] = {&rig->lanes[0].ports[0]};
    struct router_options options = {.batch_bytes = 4096, .batch_count = 8, .batch_ops = 16};
    bool is_done = false;
    for (uint64_t n = 1; !is_done; n++) {
        struct router router;
        struct syn_err err;
        mem_fail_at(n);
        is_done = router_init(
            &router, &rig->route, ports, &options, &rig->control, &rig->task.abort, &err);
        mem_fail_at(0);
        assert_true(is_done || err.code == SYN_CODE_MEMORY);
        assert_true(!is_done || n > 4);
        router_deinit(&router);
        router_deinit(&router);
        assert_int_equal(mem_live_bytes(MEM_APPLY), live);
    }
    rig_free(rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_group_counts),
        cmocka_unit_test(test_group_closed),
        cmocka_unit_test(test_group_batch_end),
        cmocka_unit_test(test_frontier),
        cmocka_unit_test(test_share),
        cmocka_unit_test(test_unit_reserve),
        cmocka_unit_test(test_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
