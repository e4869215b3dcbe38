#include "tests/apply/pipeline_rig.h"

#include <stdio.h>

static void many_args(struct bytes *to, uint32_t count)
{
    struct slice *args = mem_alloc(MEM_TOOLS, count * sizeof(*args));
    for (uint32_t i = 0; i < count; i++) {
        args[i] = (struct slice){(const uint8_t *)"element", 7};
    }
    args[0] = (struct slice){(const uint8_t *)"RPUSH", 5};
    resp_add_args(to, count, args);
    mem_free(MEM_TOOLS, args);
}

/* A command that is put together in hold asks for more again and again: all that the feed has is
 * taken without anybody waking the decoder, in one step, or it would stand still with its bytes
 * there. */
static void test_hold_takes_what_is_there(void **state)
{
    (void)state;
    struct rig *rig = rig_new(
        &(struct rig_options){.is_stepped = true, .chunk_bytes = 512, .hold_bytes_free = 1 << 16});
    rig_live(rig, 0, 0);
    struct bytes command = {0};
    many_args(&command, 60);
    rig_seal(rig, 0);
    assert_int_equal(rig_feed_some(rig, 0, command.bytes, command.size), command.size);
    bool did = true;
    while (did) {
        did = false;
        assert_true(stream_step(&rig->sources[0].stream, &did, &rig->err));
    }
    assert_int_equal(rig->sources[0].stream.offset, command.size);
    assert_true(stream_is_drained(&rig->sources[0].stream));
    rig_settle(rig);
    bytes_free(&command);
    rig_free(rig);
}

/* What a stream holds without the right to hold much stays within hold_bytes_free, also while it
 * grows; what is beyond is given back with the right. */
static void test_hold_bound(void **state)
{
    (void)state;
    struct rig *rig = rig_new(&(struct rig_options){
        .is_stepped = true, .chunk_bytes = 100, .hold_bytes_free = 1500, .hold_bytes_max = 90000});
    rig_live(rig, 0, 0);
    struct task *task = &rig->task;
    for (uint32_t count = 8; count < 3000; count = count * 3 / 2) {
        struct bytes command = {0};
        many_args(&command, count);
        for (size_t done = 0; done < command.size; done += 50) {
            size_t size = command.size - done < 50 ? command.size - done : 50;
            rig_feed(rig, 0, command.bytes + done, size, 0);
            bool is_owner = atomic_load_relaxed(&task->hold_owner) != NULL;
            assert_true(atomic_load_relaxed(&task->hold_bytes) <= (is_owner ? 90000 : 1500));
        }
        rig_settle(rig);
        assert_null(atomic_load_relaxed(&task->hold_owner));
        assert_true(atomic_load_relaxed(&task->hold_bytes) <= 1500);
        bytes_free(&command);
    }
    rig_free(rig);
}

/* An item beyond the bound is an error that says what to raise, long before the memory is used. */
static void test_hold_exceeded(void **state)
{
    (void)state;
    struct rig *rig = rig_new(
        &(struct rig_options){.is_stepped = true, .chunk_bytes = 100, .hold_bytes_max = 5000});
    rig_live(rig, 0, 0);
    struct bytes command = {0};
    many_args(&command, 2000);
    rig_feed(rig, 0, command.bytes, command.size, 0);
    const struct syn_err *err = rig_failure(rig);
    assert_true(err->code == SYN_CODE_MEMORY || err->code == SYN_CODE_SOURCE_DATA);
    assert_non_null(strstr(err->msg, "source0:6379"));
    assert_true(atomic_load_relaxed(&rig->task.hold_bytes) <= 5000);
    bytes_free(&command);
    rig_free(rig);
}

/* Out of memory in hold is an error, not a lost item. */
static void test_hold_memory(void **state)
{
    (void)state;
    struct rig *rig = rig_new(
        &(struct rig_options){.is_stepped = true, .chunk_bytes = 300, .hold_bytes_free = 1 << 16});
    rig_live(rig, 0, 0);
    struct bytes command = {0};
    many_args(&command, 80);
    rig_seal(rig, 0);
    assert_int_equal(rig_feed_some(rig, 0, command.bytes, command.size), command.size);
    mem_fail_at(1);
    rig_step(rig);
    mem_fail_at(0);
    assert_true(rig->is_failed);
    assert_int_equal(rig->err.code, SYN_CODE_MEMORY);
    bytes_free(&command);
    rig_free(rig);
}

/* Chunks that are sealed empty, which a lost connection leaves, are passed over inside any item. */
static void test_empty_chunks(void **state)
{
    (void)state;
    struct rig *rig = rig_new(&(struct rig_options){.is_stepped = true, .chunk_count = 4});
    rig_live(rig, 0, 0);
    static const char command[] = "*2\r\n$4\r\nINCR\r\n$3\r\nkey\r\n";
    for (size_t i = 0; i < sizeof(command) - 1; i++) {
        rig_feed(rig, 0, command + i, 1, 0);
        rig_continue(rig, 0);
        rig_continue(rig, 0);
        rig_step(rig);
    }
    rig_settle(rig);
    rig_expect(rig, 0, "0 INCR key\n");
    rig_free(rig);
}

/* Every chunk goes back to its pool when its bytes are taken: a leak would stop the source. */
static void test_chunks_come_back(void **state)
{
    (void)state;
    struct rig *rig = rig_new(&(struct rig_options){
        .is_stepped = true, .chunk_bytes = 64, .chunk_count = 3, .headroom_bytes = 16});
    rig_live(rig, 0, 0);
    for (int i = 0; i < 500; i++) {
        rig_command(rig, 0, "SET key a-value-that-is-longer-than-what-a-chunk-can-take-at-once");
    }
    rig_settle(rig);
    assert_int_equal(rig_peer_value(rig, 0, &rig->peers[0].effect_count), 500);
    assert_true(ring_count(&rig->sources[0].feed.pool.free) >= 2);
    rig_free(rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hold_takes_what_is_there),
        cmocka_unit_test(test_hold_bound),
        cmocka_unit_test(test_hold_exceeded),
        cmocka_unit_test(test_hold_memory),
        cmocka_unit_test(test_empty_chunks),
        cmocka_unit_test(test_chunks_come_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
