/*
 * Names of operations that are not whole in the batch with their record (divergence.h): who changed
 * the destination is noticed by answers that come when the bytes are gone. They must be there then,
 * within a bound, and not at all where nobody asks for them.
 */
#include "tests/apply/pipeline_rig.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "apply/recovery_private.h"

#define KEY_BYTES 5000u /* above a batch */
#define COMMANDS 40u
#define NAMES_MAX (64u << 10) /* a dozen of them */
#define WRONG "WRONGTYPE Operation against a key holding the wrong kind of value"

static struct rig *start(enum divergence_policy policy, struct rig_options options)
{
    struct rig *rig = rig_new(&options);
    rig->task.on_divergence = policy;
    rig->lanes[0].on_divergence = policy;
    rig->task.transaction_bytes_max = NAMES_MAX;
    rig_live(rig, 0, 0);
    return rig;
}

/* Every command lies in a chunk, so that nothing else is held. */
static struct rig *start_large(enum divergence_policy policy)
{
    return start(policy,
                 (struct rig_options){
                     .batch_count = 512, .chunk_bytes = 65536, .headroom_bytes = 4 * KEY_BYTES});
}

static void make_key(uint32_t n, uint8_t key[KEY_BYTES])
{
    memset(key, 'k', KEY_BYTES);
    snprintf((char *)key, 8, "%06u", n);
    key[6] = 'k';
}

static void push_large(struct rig *rig, uint32_t n)
{
    uint8_t key[KEY_BYTES];
    struct bytes command = {0};
    make_key(n, key);
    const struct slice args[] = {
        {(const uint8_t *)"RPUSH", 5}, {key, sizeof(key)}, {(const uint8_t *)"x", 1}};
    resp_add_args(&command, 3, args);
    rig_feed(rig, 0, command.bytes, command.size, 0);
    bytes_free(&command);
}

static uint64_t received(struct rig *rig)
{
    return rig_peer_value(rig, 0, &rig->peers[0].command_count);
}

/* All are sent and none is answered; the one with this number (from 1) will fail. Returns by how
 * much the memory grew. */
static uint64_t push_many(struct rig *rig, uint32_t failing)
{
    push_large(rig, COMMANDS); /* what is made once */
    rig_settle(rig);
    uint64_t before = received(rig);
    uint64_t bytes = mem_live_bytes(MEM_APPLY);
    rig_script(rig, 0, (struct peer_script){.fail_at = before + failing, .fail_text = WRONG});
    rig_allow(rig, 0, before);
    for (uint32_t n = 0; n < COMMANDS; n++) {
        push_large(rig, n);
    }
    rig_await_commands(rig, 0, before + COMMANDS);
    return mem_live_bytes(MEM_APPLY) - bytes;
}

static void test_remembered(void **state)
{
    (void)state;
    struct rig *rig = start_large(DIVERGENCE_REFETCH);
    uint64_t grown = push_many(rig, 1);
    assert_in_range(grown, KEY_BYTES, NAMES_MAX);
    rig_allow(rig, 0, UINT64_MAX);
    const struct syn_err *err = rig_failure(rig);
    assert_non_null(strstr(err->msg, "cannot be read again")); /* for there is no source here */
    uint8_t key[KEY_BYTES];
    make_key(0, key);
    struct slice name = {key, sizeof(key)};
    assert_true(recovery_is_dirty(&rig->sources[0].stream, 0, &name));
    assert_int_equal(rig->sources[0].stream.recovery->count, 1);
    rig_free(rig);
}

/* What found no room is not passed over in silence. */
static void test_forgotten(void **state)
{
    (void)state;
    struct rig *rig = start_large(DIVERGENCE_REFETCH);
    uint64_t grown = push_many(rig, COMMANDS);
    assert_in_range(grown, KEY_BYTES, NAMES_MAX);
    rig_allow(rig, 0, UINT64_MAX);
    const struct syn_err *err = rig_failure(rig);
    assert_non_null(strstr(err->msg, "a new full copy is needed"));
    assert_true(atomic_load_acquire(&rig->task.full_copy_wanted));
    rig_free(rig);
}

/* Answered, they make room for others, and are given back. */
static void test_given_back(void **state)
{
    (void)state;
    struct rig *rig = start_large(DIVERGENCE_REFETCH);
    push_large(rig, 0);
    rig_settle(rig);
    uint64_t bytes = mem_live_bytes(MEM_APPLY);
    for (uint32_t round = 0; round < 10; round++) {
        for (uint32_t n = 0; n < 8; n++) {
            push_large(rig, n);
        }
        rig_settle(rig);
    }
    assert_true(mem_live_bytes(MEM_APPLY) <= bytes + NAMES_MAX);
    rig_script(rig, 0, (struct peer_script){.fail_at = received(rig) + 1, .fail_text = WRONG});
    push_large(rig, 3);
    const struct syn_err *err = rig_failure(rig);
    assert_non_null(strstr(err->msg, "cannot be read again"));
    assert_int_equal(rig->sources[0].stream.recovery->count, 1);
    rig_free(rig);
}

static void test_counted(void **state)
{
    (void)state;
    struct rig *rig = start_large(DIVERGENCE_COUNT);
    uint64_t grown = push_many(rig, 1);
    assert_int_equal(grown, 0);
    rig_allow(rig, 0, UINT64_MAX);
    rig_settle(rig);
    assert_null(rig->sources[0].stream.divergences);
    assert_int_equal(atomic_load_relaxed(&rig->sources[0].stream.diverged_error), 1);
    rig_free(rig);
}

/* A transaction over many batches: names share pieces, and all are there. */
static void test_transaction(void **state)
{
    (void)state;
    for (int policy = DIVERGENCE_REFETCH; policy <= DIVERGENCE_COUNT; policy++) {
        struct rig *rig = start((enum divergence_policy)policy,
                                (struct rig_options){.batch_bytes = 512, .batch_ops = 4});
        rig_script(rig, 0, (struct peer_script){.fail_in_exec = 2, .fail_text = WRONG});
        rig_command(rig, 0, "MULTI");
        for (int i = 0; i < 600; i++) {
            char words[40];
            snprintf(words, sizeof(words), "RPUSH list%d x", i);
            rig_command(rig, 0, words);
        }
        rig_command(rig, 0, "EXEC");
        if (policy == DIVERGENCE_COUNT) {
            rig_settle(rig);
            assert_null(rig->sources[0].stream.divergences);
        } else {
            const struct syn_err *err = rig_failure(rig);
            assert_non_null(strstr(err->msg, "cannot be read again"));
            assert_int_equal(rig->sources[0].stream.recovery->count, 600);
        }
        rig_free(rig);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_remembered),
        cmocka_unit_test(test_forgotten),
        cmocka_unit_test(test_given_back),
        cmocka_unit_test(test_counted),
        cmocka_unit_test(test_transaction),
    };
    cmocka_set_test_filter(getenv("SYNCLINE_TEST_FILTER"));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
