#include "tests/apply/pipeline_rig.h"

#include <stdio.h>

static uint64_t applied(struct rig *rig)
{
    return atomic_load_acquire(&rig->sources[0].feed.offset_applied);
}

/* A transaction whose keys share a lane stays one: a reader at the destination must not see half
 * of it. The empty pair and the lone EXEC of old servers leave nothing behind. */
static void test_whole(void **state)
{
    (void)state;
    struct rig *rig = rig_new(&(struct rig_options){.is_stepped = true});
    rig_live(rig, 0, 100);
    rig_command(rig, 0, "MULTI");
    rig_command(rig, 0, "SET a 1");
    rig_command(rig, 0, "INCR b");
    rig_command(rig, 0, "EXEC");
    rig_command(rig, 0, "EXEC");
    rig_command(rig, 0, "MULTI");
    rig_command(rig, 0, "EXEC");
    rig_command(rig, 0, "SET c 1");
    rig_settle(rig);
    rig_expect(rig, 0, "0 MULTI\n0 SET a 1\n0 INCR b\n0 EXEC\n0 SET c 1\n");
    rig_free(rig);
}

/* One command alone in MULTI (to 6.2) needs no transaction and is not counted as split; a read or
 * PING inside has no effect and takes no part. */
static void test_single(void **state)
{
    (void)state;
    struct rig *rig = rig_new(&(struct rig_options){.is_stepped = true});
    rig_live(rig, 0, 0);
    rig_command(rig, 0, "MULTI");
    rig_command(rig, 0, "SET a 1");
    rig_command(rig, 0, "EXEC");
    rig_command(rig, 0, "MULTI");
    rig_command(rig, 0, "PUBLISH x y");
    rig_command(rig, 0, "SET a 2");
    rig_command(rig, 0, "PING");
    rig_command(rig, 0, "EXEC");
    rig_command(rig, 0, "MULTI");
    rig_command(rig, 0, "PUBLISH x y");
    rig_command(rig, 0, "SET a 3");
    rig_command(rig, 0, "SET a 4");
    rig_command(rig, 0, "EXEC");
    rig_settle(rig);
    rig_expect(rig, 0, "0 SET a 1\n0 SET a 2\n0 MULTI\n0 SET a 3\n0 SET a 4\n0 EXEC\n");
    assert_int_equal(rig->sources[0].stream.transactions_split, 0);
    rig_free(rig);
}

/* A cluster could not have run a transaction over several slots: its effects arrive one by one, in
 * order on each lane, and the split is counted. */
static void test_split(void **state)
{
    (void)state;
    struct rig *rig = rig_new(
        &(struct rig_options){.is_stepped = true, .is_cluster = true, .lanes = 2, .shards = 2});
    rig_live(rig, 0, 0);
    rig_command(rig, 0, "MULTI");
    rig_command(rig, 0, "SET bar 1"); /* slot 5061, shard 0  */
    rig_command(rig, 0, "SET foo 1"); /* slot 12182, shard 1 */
    rig_command(rig, 0, "DEL foo bar");
    rig_command(rig, 0, "EXEC");
    rig_command(rig, 0, "MULTI");
    rig_command(rig, 0, "SET {foo}1 1");
    rig_command(rig, 0, "DEL {foo}1 {foo}2");
    rig_command(rig, 0, "EXEC");
    rig_settle(rig);
    rig_expect(rig, 0, "0 SET bar 1\n0 DEL bar\n");
    rig_expect(
        rig, 1, "0 SET foo 1\n0 DEL foo\n0 MULTI\n0 SET {foo}1 1\n0 DEL {foo}1 {foo}2\n0 EXEC\n");
    assert_int_equal(rig->sources[0].stream.transactions_split, 1);
    rig_free(rig);
}

/* A message that was sent in a transaction is sent in it: whoever gets it must find the keys that
 * were written with it. Only SPUBLISH is bound to a slot, and only in a cluster. */
static void test_publish(void **state)
{
    (void)state;
    static const char *const commands[] = {
        "MULTI",         "PUBLISH foo 1", "SET bar 1",
        "PUBLISH baz 2", "EXEC", /* goes with its key */
        "MULTI",         "PUBLISH foo 3", "PUBLISH bar 4",
        "EXEC", /* has none         */
        "MULTI",         "SET {bar}1 1",  "SPUBLISH bar 5",
        "PUBLISH foo 6", "EXEC",                  /* the same slot    */
        "MULTI",         "PUBLISH foo 7", "EXEC", /* alone            */
        "MULTI",         "PUBLISH x 8",   "SPUBLISH foo 9",
        "SET {foo}1 1",  "EXEC", /* bound, then a key */
        "MULTI",         "SET bar 2",     "SPUBLISH foo 10",
        "EXEC", /* cannot be one    */
    };
    struct rig *rig = rig_new(&(struct rig_options){
        .is_stepped = true, .is_cluster = true, .lanes = 2, .shards = 2, .publishes = true});
    rig_live(rig, 0, 0);
    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
        rig_command(rig, 0, commands[i]);
    }
    rig_settle(rig);
    rig_expect(rig,
               0,
               "0 MULTI\n0 PUBLISH foo 1\n0 SET bar 1\n0 PUBLISH baz 2\n0 EXEC\n"
               "0 MULTI\n0 SET {bar}1 1\n0 SPUBLISH bar 5\n0 PUBLISH foo 6\n0 EXEC\n"
               "0 SET bar 2\n");
    rig_expect(rig,
               1,
               "0 MULTI\n0 PUBLISH foo 3\n0 PUBLISH bar 4\n0 EXEC\n"
               "0 PUBLISH foo 7\n"
               "0 MULTI\n0 PUBLISH x 8\n0 SPUBLISH foo 9\n0 SET {foo}1 1\n0 EXEC\n"
               "0 SPUBLISH foo 10\n");
    assert_int_equal(rig->sources[0].stream.transactions_split, 1);
    assert_int_equal(rig->sources[0].stream.dropped, 0);
    rig_free(rig);

    /* Any database is right for a message, one that is not copied too; the key's is not. */
    static const uint16_t db_map[] = {2, UINT16_MAX};
    rig = rig_new(&(struct rig_options){
        .is_stepped = true, .publishes = true, .db_map = db_map, .db_map_count = 2});
    rig_live(rig, 0, 0);
    rig_command(rig, 0, "MULTI");
    rig_command(rig, 0, "SET a 1");
    rig_command(rig, 0, "SELECT 1");
    rig_command(rig, 0, "SET a 2");
    rig_command(rig, 0, "PUBLISH c 1");
    rig_command(rig, 0, "EXEC");
    rig_settle(rig);
    rig_expect(rig, 0, "0 SELECT 2\n2 MULTI\n2 SET a 1\n2 SELECT 0\n0 PUBLISH c 1\n0 EXEC\n");
    rig_free(rig);
}

/* One server runs any keys in one transaction, whatever lanes they are on: between everything
 * before and everything behind it. */
static void test_several_lanes(void **state)
{
    (void)state;
    struct rig *rig = rig_new(&(struct rig_options){.is_stepped = true, .lanes = 2});
    rig_live(rig, 0, 0);
    /* slot 5061 is on lane 1, slot 12182 on lane 0 */
    rig_command(rig, 0, "SET bar 1");
    rig_command(rig, 0, "MULTI");
    rig_command(rig, 0, "SET foo 1");
    rig_command(rig, 0, "RENAME foo bar");
    rig_command(rig, 0, "EVAL script 0");
    rig_command(rig, 0, "DEL bar foo");
    rig_command(rig, 0, "EXEC");
    rig_step(rig);
    /* Nothing was waited for by the test: the barrier did it. */
    assert_true(router_is_idle(&rig->decoders[0].router));
    rig_command(rig, 0, "SET bar 2");
    rig_settle(rig);
    rig_expect(rig,
               0,
               "0 SCRIPT LOAD script\n0 MULTI\n0 SET foo 1\n0 RENAME foo bar\n0 EVAL script 0\n"
               "0 DEL bar foo\n0 EXEC\n");
    rig_expect(rig, 1, "0 SET bar 1\n0 SET bar 2\n");
    assert_int_equal(rig->sources[0].stream.transactions_split, 0);
    rig_free(rig);
}

/* SELECT inside a transaction (3.2 to 6.0, from 7.2) becomes a queued SELECT, counts as a command
 * of the EXEC's answer, and holds for what follows it outside. */
static void test_select(void **state)
{
    (void)state;
    struct rig *rig = rig_new(&(struct rig_options){.is_stepped = true});
    rig_live(rig, 0, 0);
    rig_command(rig, 0, "SET z 0");
    rig_command(rig, 0, "MULTI");
    rig_command(rig, 0, "SELECT 3");
    rig_command(rig, 0, "SET a 1");
    rig_command(rig, 0, "SELECT 4");
    rig_command(rig, 0, "SET b 1");
    rig_command(rig, 0, "EXEC");
    rig_command(rig, 0, "SET c 1");
    rig_settle(rig);
    rig_expect(rig,
               0,
               "0 SET z 0\n0 SELECT 3\n3 MULTI\n3 SET a 1\n3 SELECT 4\n4 SET b 1\n4 EXEC\n"
               "4 SET c 1\n");
    rig_free(rig);
}

/* What belongs to a database that is not selected is left out; the rest stays a transaction in the
 * databases where it goes. */
static void test_filtered_db(void **state)
{
    (void)state;
    static const uint16_t map[] = {5, UINT16_MAX, 6};
    struct rig *rig =
        rig_new(&(struct rig_options){.is_stepped = true, .db_map = map, .db_map_count = 3});
    rig_live(rig, 0, 0);
    rig_command(rig, 0, "MULTI");
    rig_command(rig, 0, "SET a 1");
    rig_command(rig, 0, "SELECT 1");
    rig_command(rig, 0, "SET hidden 1");
    rig_command(rig, 0, "SELECT 2");
    rig_command(rig, 0, "SET b 1");
    rig_command(rig, 0, "SELECT 9");
    rig_command(rig, 0, "SET hidden 1");
    rig_command(rig, 0, "EXEC");
    rig_command(rig, 0, "SET hidden 2");
    rig_settle(rig);
    rig_expect(rig, 0, "0 SELECT 5\n5 MULTI\n5 SET a 1\n5 SELECT 6\n6 SET b 1\n6 EXEC\n");
    assert_int_equal(rig->sources[0].stream.dropped, 3);
    rig_free(rig);
}

/* A trimming XADD inside MULTI loses its LIMIT, and does not break the transaction up. */
static void test_trim_inside(void **state)
{
    (void)state;
    struct rig *rig = rig_new(&(struct rig_options){.is_stepped = true});
    rig_live(rig, 0, 0);
    rig_command(rig, 0, "MULTI");
    rig_command(rig, 0, "SET a 1");
    rig_command(rig, 0, "XADD s MAXLEN = 10 LIMIT 100 1-1 f v");
    rig_command(rig, 0, "EXEC");
    rig_command(rig, 0, "MULTI");
    rig_command(rig, 0, "SET a 2");
    rig_command(rig, 0, "XADD s MAXLEN = 10 2-1 f v");
    rig_command(rig, 0, "EXEC");
    rig_settle(rig);
    rig_expect(rig,
               0,
               "0 MULTI\n0 SET a 1\n0 XADD s MAXLEN = 10 1-1 f v\n0 EXEC\n"
               "0 MULTI\n0 SET a 2\n0 XADD s MAXLEN = 10 2-1 f v\n0 EXEC\n");
    rig_free(rig);
}

/* Beyond its bound a transaction is not kept in memory: it goes out in pieces, nothing is lost,
 * and the next one is whole again. */
static void test_too_large(void **state)
{
    (void)state;
    struct rig *rig = rig_new(&(struct rig_options){.is_stepped = true});
    rig_live(rig, 0, 0);
    struct bytes value = {0};
    for (int i = 0; i < 3000; i++) {
        bytes_add(&value, "0123456789", 10);
    }
    bytes_add(&value, "", 1);
    rig_command(rig, 0, "MULTI");
    const uint32_t count = RIG_TRANSACTION_BYTES_MAX / 30000 + 10;
    uint64_t expected = 0;
    for (uint32_t i = 0; i < count; i++) {
        struct bytes command = {0};
        struct slice args[3] = {
            {(const uint8_t *)"APPEND", 6}, {(const uint8_t *)"key", 3}, {value.bytes, 30000}};
        resp_add_args(&command, 3, args);
        rig_feed(rig, 0, command.bytes, command.size, 0);
        bytes_free(&command);
        assert_true(rig->sources[0].stream.transaction.size <= RIG_TRANSACTION_BYTES_MAX);
        expected++;
    }
    rig_command(rig, 0, "EXEC");
    rig_settle(rig);
    assert_int_equal(rig_peer_value(rig, 0, &rig->peers[0].effect_count), expected);
    assert_int_equal(rig->sources[0].stream.transactions_split, 1);
    rig_forget(rig, 0);
    rig_command(rig, 0, "MULTI");
    rig_command(rig, 0, "SET a 1");
    rig_command(rig, 0, "SET b 1");
    rig_command(rig, 0, "EXEC");
    rig_settle(rig);
    rig_expect(rig, 0, "0 MULTI\n0 SET a 1\n0 SET b 1\n0 EXEC\n");
    bytes_free(&value);
    rig_free(rig);
}

/* A transaction larger than several batches, with more commands than a batch has records, is still
 * one on its connection. */
static void test_over_batches(void **state)
{
    (void)state;
    struct rig *rig =
        rig_new(&(struct rig_options){.is_stepped = true, .batch_bytes = 512, .batch_ops = 4});
    rig_live(rig, 0, 0);
    struct bytes expected = {0};
    bytes_add(&expected, "0 MULTI\n", 8);
    rig_command(rig, 0, "MULTI");
    for (int i = 0; i < 300; i++) {
        char words[32];
        char line[40];
        snprintf(words, sizeof(words), "SET key%d %d", i, i);
        rig_command(rig, 0, words);
        bytes_add(&expected, line, (size_t)snprintf(line, sizeof(line), "0 %s\n", words));
    }
    rig_command(rig, 0, "EXEC");
    rig_settle(rig);
    bytes_add(&expected, "0 EXEC\n", 8);
    rig_expect(rig, 0, (const char *)expected.bytes);
    bytes_free(&expected);
    rig_free(rig);
}

/* Commands that are kept for their EXEC are not at the destination: an offset behind them, sent as
 * an ACK, would let WAIT at the source count what is nowhere, and a resume lose it. */
static void test_offset_waits_for_exec(void **state)
{
    (void)state;
    struct rig *rig = rig_new(&(struct rig_options){.is_stepped = true});
    rig_live(rig, 0, 1000);
    rig_command(rig, 0, "SET z 0");
    rig_settle(rig);
    uint64_t before = applied(rig);
    assert_true(before > 1000);
    rig_command(rig, 0, "MULTI");
    rig_command(rig, 0, "SET a 1");
    rig_step(rig);
    assert_true(router_drain(&rig->decoders[0].router));
    rig_step(rig);
    assert_int_equal(applied(rig), before);
    rig_command(rig, 0, "SET b 1");
    rig_step(rig);
    assert_int_equal(applied(rig), before);
    rig_command(rig, 0, "EXEC");
    rig_settle(rig); /* applied is the end */
    assert_true(applied(rig) > before);
    rig_free(rig);
}

/* A transaction in a database that a cluster does not have is refused as any command there is,
 * by us and with what to do, before anything of it is sent. */
static void test_cluster_db(void **state)
{
    (void)state;
    struct rig *rig = rig_new(
        &(struct rig_options){.is_stepped = true, .is_cluster = true, .lanes = 2, .shards = 2});
    rig_live(rig, 0, 0);
    rig_command(rig, 0, "MULTI");
    rig_command(rig, 0, "SELECT 2");
    rig_command(rig, 0, "SET foo 1");
    rig_command(rig, 0, "SET foo 2");
    rig_command(rig, 0, "EXEC");
    const struct syn_err *err = rig_failure(rig);
    assert_int_equal(err->code, SYN_CODE_UNSUPPORTED);
    assert_non_null(strstr(err->msg, "database 2"));
    assert_non_null(strstr(err->msg, "--db"));
    rig_expect(rig, 1, "");
    rig_free(rig);
}

/* Scripts without keys, which a cluster cannot place, are refused inside MULTI as outside. */
static void test_cluster_eval(void **state)
{
    (void)state;
    struct rig *rig = rig_new(
        &(struct rig_options){.is_stepped = true, .is_cluster = true, .lanes = 2, .shards = 2});
    rig_live(rig, 0, 0);
    rig_command(rig, 0, "MULTI");
    rig_command(rig, 0, "EVAL x 0");
    rig_command(rig, 0, "EVAL y 0");
    rig_command(rig, 0, "EXEC");
    const struct syn_err *err = rig_failure(rig);
    assert_int_equal(err->code, SYN_CODE_UNSUPPORTED);
    assert_non_null(strstr(err->msg, "EVAL"));
    rig_free(rig);
}

/* A command that fails inside EXEC is a failure of the transaction, which says which one. */
static void test_exec_error(void **state)
{
    (void)state;
    struct rig *rig = rig_new(&(struct rig_options){0});
    rig_script(
        rig,
        0,
        (struct peer_script){.fail_in_exec = 2, .fail_text = "WRONGTYPE Operation against a key"});
    rig_live(rig, 0, 500);
    rig_command(rig, 0, "MULTI");
    rig_command(rig, 0, "SET secretkey 1");
    rig_command(rig, 0, "INCR secretkey");
    rig_command(rig, 0, "EXEC");
    const struct syn_err *err = rig_failure(rig);
    assert_int_equal(err->code, SYN_CODE_DESTINATION_REPLY);
    assert_non_null(strstr(err->msg, "refused INCR"));
    assert_non_null(strstr(err->msg, "WRONGTYPE"));
    assert_non_null(strstr(err->msg, "offset 593"));
    assert_null(strstr(err->msg, "secretkey"));
    rig_free(rig);
}

/* Until 4.0, and with lua-replicate-commands no, scripts are sent as they are, inside transactions
 * too. One that fails as it did at the source is no failure; another command's is, and so is an
 * error that comes from the state of the server. */
static void test_exec_script_error(void **state)
{
    (void)state;
    static const struct {
        uint64_t fail_in_exec;
        const char *text;
        bool is_fine;
    } cases[] = {
        {2, "ERR user_script:1: boom script: on @user_script:1.", true},
        {2, "WRONGTYPE Operation against a key", true},
        {1, "WRONGTYPE Operation against a key", false},
        {2, "OOM command not allowed when used memory > 'maxmemory'.", false},
        {3, "ERR user_script:1: boom", false},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct rig *rig = rig_new(&(struct rig_options){0});
        rig_script(rig,
                   0,
                   (struct peer_script){.fail_in_exec = cases[i].fail_in_exec,
                                        .fail_text = cases[i].text});
        rig_live(rig, 0, 500);
        rig_command(rig, 0, "MULTI");
        rig_command(rig, 0, "SET a 1");
        rig_command(rig, 0, "EVAL script 1 a");
        rig_command(rig, 0, "SET b 1");
        rig_command(rig, 0, "EXEC");
        if (cases[i].is_fine) {
            rig_settle(rig);
            rig_expect(
                rig,
                0,
                "0 SCRIPT LOAD script\n0 MULTI\n0 SET a 1\n0 EVAL script 1 a\n0 SET b 1\n0 EXEC\n");
        } else {
            assert_non_null(strstr(rig_failure(rig)->msg, "refused"));
        }
        rig_free(rig);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_whole),
        cmocka_unit_test(test_single),
        cmocka_unit_test(test_split),
        cmocka_unit_test(test_publish),
        cmocka_unit_test(test_several_lanes),
        cmocka_unit_test(test_select),
        cmocka_unit_test(test_filtered_db),
        cmocka_unit_test(test_trim_inside),
        cmocka_unit_test(test_too_large),
        cmocka_unit_test(test_over_batches),
        cmocka_unit_test(test_offset_waits_for_exec),
        cmocka_unit_test(test_cluster_db),
        cmocka_unit_test(test_cluster_eval),
        cmocka_unit_test(test_exec_error),
        cmocka_unit_test(test_exec_script_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
