/* Which answers say that a command found another state than at the source, and which keys are taken
 * for other than there: each kind of answer against what is counted, alone and inside a
 * transaction; and the databases of MOVE and COPY, for a key that is repaired in the wrong one is
 * lost. */
#include "apply/recovery.h"
#include "tests/apply/pipeline_rig.h"

enum counter { NOTHING, NO_EFFECT, STATE, PARTIAL };

static const struct {
    const char *command;
    const char *answer;
    enum counter counter;
} cases[] = {
    {"MOVE k 1", ":1\r\n", NOTHING},
    {"MOVE k 1", ":0\r\n", NO_EFFECT},
    {"COPY a b", ":1\r\n", NOTHING},
    {"COPY a b DB 1", ":0\r\n", NO_EFFECT},
    {"COPY a b", "-ERR source and destination objects are the same\r\n", STATE},
    {"HPEXPIREAT h 9 FIELDS 1 f", "*1\r\n:1\r\n", NOTHING},
    {"HPEXPIREAT h 9 FIELDS 1 f", "*1\r\n:2\r\n", NOTHING},
    {"HPEXPIREAT h 9 FIELDS 1 f", "*1\r\n:-2\r\n", NO_EFFECT},
    {"HPEXPIREAT h 9 NX FIELDS 1 f", "*1\r\n:0\r\n", NO_EFFECT},
    {"HPEXPIREAT h 9 FIELDS 3 f g h", "*3\r\n:-2\r\n:0\r\n:-2\r\n", NO_EFFECT},
    {"HPEXPIREAT h 9 FIELDS 2 f g", "*2\r\n:1\r\n:2\r\n", NOTHING},
    {"HPEXPIREAT h 9 FIELDS 2 f g", "*2\r\n:-2\r\n:1\r\n", PARTIAL},
    {"HPEXPIREAT h 9 GT FIELDS 2 f g", "*2\r\n:2\r\n:0\r\n", PARTIAL},
    {"HPEXPIREAT h 9 FIELDS 1 f", "*-1\r\n", NO_EFFECT},
    {"HPEXPIREAT h 9 FIELDS 1 f", "*0\r\n", NO_EFFECT},
    {"HPEXPIREAT h 9 FIELDS 1 f", "-WRONGTYPE Operation against a key\r\n", STATE},
    {"HEXPIRE h 9 FIELDS 1 f", "*1\r\n:-2\r\n", NO_EFFECT},
    {"HPERSIST h FIELDS 1 f", "*1\r\n:-1\r\n", NO_EFFECT},
    {"HPERSIST h FIELDS 2 f g", "*2\r\n:1\r\n:-1\r\n", NOTHING},
    {"HPERSIST h FIELDS 3 f g h", "*3\r\n:1\r\n:-1\r\n:-2\r\n", PARTIAL},
    {"XDELEX x IDS 2 1-1 2-1", "*2\r\n:-1\r\n:1\r\n", NOTHING},
    {"XDELEX x IDS 2 1-1 2-1", "*2\r\n:-1\r\n:-1\r\n", NO_EFFECT},
    {"HSETEX h FXX FIELDS 1 f 1", ":1\r\n", NOTHING},
    {"HSETEX h FXX FIELDS 1 f 1", ":0\r\n", NO_EFFECT},
    {"HDEL h f", ":0\r\n", NOTHING},
    {"HGETDEL h FIELDS 1 f", "*1\r\n$-1\r\n", NOTHING},
    {"HSET h f 1", ":0\r\n", NOTHING},
    {"DEL k", ":0\r\n", NOTHING},
    {"PFADD p a", ":0\r\n", NO_EFFECT},
    {"MSETEX 1 k v NX", ":0\r\n", NO_EFFECT},
    {"ZADD z 1 a", ":0\r\n", NOTHING},
    {"ZADD z XX INCR 1 a", "$-1\r\n", NO_EFFECT},
    {"XADD x NOMKSTREAM 1-1 f v", "$-1\r\n", NO_EFFECT},
    {"XADD x 1-1 f v", "-ERR The ID specified in XADD is equal or smaller\r\n", STATE},
    {"RPOPLPUSH a a", "$-1\r\n", NO_EFFECT},
    {"LSET l 1 x", "-ERR index out of range\r\n", STATE},
    {"LINSERT l BEFORE a x", ":-1\r\n", NO_EFFECT},
    {"SET k v XX", "$-1\r\n", NO_EFFECT},
    {"RESTORE k 0 x", "-BUSYKEY Target key name already exists.\r\n", STATE},
    {"RESTORE-ASKING k 0 x", "-BUSYKEY Target key name already exists.\r\n", STATE},
    {"XGROUP DELCONSUMER x g c", ":0\r\n", NOTHING},
    {"XCLAIM x g c 0 1-1 FORCE JUSTID", "*0\r\n", NOTHING},
    {"VREM v el", ":0\r\n", NO_EFFECT},
};

static struct rig *rig_of(struct rig_options options, enum divergence_policy policy)
{
    options.is_stepped = true;
    struct rig *rig = rig_new(&options);
    rig->task.on_divergence = (uint8_t)policy;
    for (uint32_t i = 0; i < (options.lanes > 0 ? options.lanes : 1); i++) {
        rig->lanes[i].on_divergence = (uint8_t)policy;
    }
    rig_live(rig, 0, 1000);
    return rig;
}

static void expect_counted(struct rig *rig, size_t i)
{
    struct stream *stream = &rig->sources[0].stream;
    const uint64_t counted[] = {
        [NO_EFFECT] = atomic_load_relaxed(&stream->diverged_no_effect),
        [STATE] = atomic_load_relaxed(&stream->diverged_error),
        [PARTIAL] = atomic_load_relaxed(&stream->diverged_partial),
    };
    for (enum counter counter = NO_EFFECT; counter <= PARTIAL; counter++) {
        if (counted[counter] != (cases[i].counter == counter)) {
            fail_msg("%s: %.*s counts %d of class %d",
                     cases[i].command,
                     (int)strlen(cases[i].answer) - 2,
                     cases[i].answer,
                     (int)counted[counter],
                     (int)counter);
        }
    }
    assert_int_equal(atomic_load_relaxed(&stream->diverged_script), 0);
    assert_int_equal(atomic_load_relaxed(&stream->diverged_unknown), 0);
}

static const char *command_name(const char *command, char name[32])
{
    snprintf(name, 32, "%.*s", (int)strcspn(command, " "), command);
    return strcmp(name, "RESTORE-ASKING") == 0 ? "RESTORE" : name;
}

static void test_answers(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char name[32];
        struct rig *rig = rig_of((struct rig_options){0}, DIVERGENCE_COUNT);
        rig_script(rig,
                   0,
                   (struct peer_script){.fail_name = command_name(cases[i].command, name),
                                        .raw_answer = cases[i].answer});
        rig_command(rig, 0, cases[i].command);
        rig_settle(rig);
        expect_counted(rig, i);
        rig_free(rig);
    }
}

static bool is_name(const uint8_t *bytes, const struct resp_command *command, const char *name)
{
    return command->argv[0].size == strlen(name) &&
           memcmp(bytes + command->argv[0].pos, name, strlen(name)) == 0;
}

/* EXEC of three: the answer of the case is the second one's. */
static bool exec_answer(void *arg,
                        uint32_t peer,
                        const uint8_t *bytes,
                        const struct resp_command *command,
                        struct bytes *out)
{
    const char *answer = arg;
    (void)peer;
    if (!is_name(bytes, command, "EXEC")) {
        return false;
    }
    bytes_add(out, "*3\r\n:1\r\n", 8);
    bytes_add(out, answer, strlen(answer));
    bytes_add(out, ":1\r\n", 4);
    return true;
}

static void test_answers_in_transaction(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const char *command = cases[i].command;
        if (strncmp(command, "MOVE", 4) == 0 || strncmp(command, "COPY", 4) == 0 ||
            strncmp(command, "RESTORE", 7) == 0) {
            continue; /* not queued, or looked at by the peer as it comes */
        }
        struct rig *rig =
            rig_of((struct rig_options){.answerer = exec_answer,
                                        .answerer_arg = (void *)(uintptr_t)cases[i].answer},
                   DIVERGENCE_COUNT);
        rig_command(rig, 0, "MULTI");
        rig_command(rig, 0, "INCR n");
        rig_command(rig, 0, command);
        rig_command(rig, 0, "INCR n");
        rig_command(rig, 0, "EXEC");
        rig_settle(rig);
        expect_counted(rig, i);
        rig_free(rig);
    }
}

/* EXEC of many, in several batches, which go back before it is answered: the answer of the case is
 * the third one's. */
static bool large_answer(void *arg,
                         uint32_t peer,
                         const uint8_t *bytes,
                         const struct resp_command *command,
                         struct bytes *out)
{
    const char *answer = arg;
    (void)peer;
    if (!is_name(bytes, command, "EXEC")) {
        return false;
    }
    bytes_add(out, "*43\r\n:1\r\n:1\r\n", 13);
    bytes_add(out, answer, strlen(answer));
    for (int i = 0; i < 40; i++) {
        bytes_add(out, ":1\r\n", 4);
    }
    return true;
}

static void test_answers_in_large_transaction(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const char *command = cases[i].command;
        if (strncmp(command, "MOVE", 4) == 0 || strncmp(command, "COPY", 4) == 0 ||
            strncmp(command, "RESTORE", 7) == 0) {
            continue;
        }
        struct rig *rig =
            rig_of((struct rig_options){.batch_ops = 8,
                                        .batch_count = 64,
                                        .answerer = large_answer,
                                        .answerer_arg = (void *)(uintptr_t)cases[i].answer},
                   DIVERGENCE_COUNT);
        rig_command(rig, 0, "MULTI");
        rig_command(rig, 0, "INCR n");
        rig_command(rig, 0, "INCR n");
        rig_command(rig, 0, command);
        for (int n = 0; n < 40; n++) {
            rig_command(rig, 0, "INCR n");
        }
        rig_command(rig, 0, "EXEC");
        rig_settle(rig);
        expect_counted(rig, i);
        rig_free(rig);
    }
}

/* A doubt stops no task; what cannot be does, with a text. */
static void test_stop(void **state)
{
    (void)state;
    struct rig *rig = rig_of((struct rig_options){0}, DIVERGENCE_STOP);
    rig_script(
        rig,
        0,
        (struct peer_script){.fail_name = "HPEXPIREAT", .raw_answer = "*2\r\n:1\r\n:-2\r\n"});
    rig_command(rig, 0, "HPEXPIREAT h 9 FIELDS 2 f g");
    rig_settle(rig);
    assert_int_equal(atomic_load_relaxed(&rig->sources[0].stream.diverged_partial), 1);
    rig_script(
        rig, 0, (struct peer_script){.fail_name = "HPEXPIREAT", .raw_answer = "*1\r\n:-2\r\n"});
    rig_command(rig, 0, "HPEXPIREAT h 9 FIELDS 1 f");
    const struct syn_err *err = rig_failure(rig);
    assert_int_equal(err->code, SYN_CODE_DESTINATION_REPLY);
    assert_non_null(strstr(err->msg, "HPEXPIREAT"));
    assert_non_null(strstr(err->msg, "it changed nothing"));
    rig_free(rig);
}

/* ---- which keys ---- */

/* Keys as "db:name" words; all others must not be in repair. */
static void expect_dirty(struct rig *rig, const char *keys, uint32_t count)
{
    struct stream *stream = &rig->sources[0].stream;
    const char *at = keys;
    uint32_t found = 0;
    while (*at != '\0') {
        char *end;
        uint64_t db = strtoull(at, &end, 10);
        struct slice name = {(const uint8_t *)end + 1, strcspn(end + 1, " ")};
        if (!recovery_has(stream, db, &name)) {
            fail_msg("%.*s of database %d is not in repair", (int)name.size, name.bytes, (int)db);
        }
        found++;
        at = (const char *)name.bytes + name.size;
        at += *at == ' ';
    }
    assert_int_equal(found, count);
    assert_int_equal(recovery_count(stream), count);
}

/* The rig's source cannot be asked, so the repair ends there, with the keys it was to read. */
static void keys_of(struct rig_options options,
                    const char *select,
                    const char *command,
                    const char *keys,
                    uint32_t count)
{
    char name[32];
    struct rig *rig = rig_of(options, DIVERGENCE_REFETCH);
    rig_script(
        rig,
        0,
        (struct peer_script){.fail_name = command_name(command, name), .raw_answer = ":0\r\n"});
    rig_command(rig, 0, select);
    rig_command(rig, 0, command);
    uint64_t begin = clock_monotonic_ms();
    while (!rig->is_failed) { /* the answer comes, and then the repair */
        assert_false(rig_is_late(begin));
        rig_step(rig);
        router_flush(&rig->decoders[0].router);
        rig_pause();
    }
    assert_non_null(strstr(rig->err.msg, "cannot be read again"));
    expect_dirty(rig, keys, count);
    assert_int_equal(atomic_load_relaxed(&rig->sources[0].stream.diverged_no_effect), 1);
    assert_int_equal(atomic_load_relaxed(&rig->sources[0].stream.diverged_unknown), 0);
    rig_free(rig);
}

static void test_keys(void **state)
{
    (void)state;
    static const uint16_t shifted[] = {3, 4, UINT16_MAX, 0};
    static const uint16_t swapped[] = {1, 0};
    const struct rig_options plain = {0};
    const struct rig_options shift = {.db_map = shifted, .db_map_count = 4};
    const struct rig_options swap = {.db_map = swapped, .db_map_count = 2};
    /* A batch is smaller than the command, which is written in pieces. */
    const struct rig_options small = {.batch_bytes = 256, .batch_count = 64};
    char large[600];
    char move[640];
    char moved[1400];
    memset(large, 'x', sizeof(large) - 1);
    large[sizeof(large) - 1] = '\0';
    snprintf(move, sizeof(move), "MOVE %s 7", large);
    snprintf(moved, sizeof(moved), "2:%s 7:%s", large, large);
    keys_of(plain, "SELECT 0", "MOVE k 1", "0:k 1:k", 2);
    keys_of(plain, "SELECT 2", "COPY a b", "2:a 2:b", 2);
    keys_of(plain, "SELECT 2", "COPY a b DB 9", "2:a 9:b", 2);
    keys_of(plain, "SELECT 2", "COPY a a DB 9 REPLACE", "2:a 9:a", 2);
    keys_of(shift, "SELECT 0", "MOVE k 1", "0:k 1:k", 2);
    keys_of(shift, "SELECT 3", "MOVE k 0", "3:k 0:k", 2);
    keys_of(shift, "SELECT 1", "COPY a b DB 3", "1:a 3:b", 2);
    keys_of(shift, "SELECT 3", "COPY a b", "3:a 3:b", 2);
    keys_of(swap, "SELECT 0", "MOVE k 1", "0:k 1:k", 2);
    keys_of(swap, "SELECT 1", "COPY a b DB 0", "1:a 0:b", 2);
    keys_of(small, "SELECT 2", move, moved, 2);
    keys_of(plain, "SELECT 0", "HSETEX h FXX FIELDS 1 f v", "0:h", 1);
    keys_of(plain, "SELECT 0", "MSETEX 2 a 1 b 2 NX", "0:a 0:b", 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_answers),
        cmocka_unit_test(test_answers_in_transaction),
        cmocka_unit_test(test_answers_in_large_transaction),
        cmocka_unit_test(test_stop),
        cmocka_unit_test(test_keys),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
