/* Recorded sessions into clusters of three shards. The source has one keyspace, the destination
 * three: what a command does must not depend on where its keys lie. Requirements D2, I1, L1. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "core/base/slot.h"
#include "tests/live/contents.h"
#include "tests/live/replay.h"

#define SHARDS 3
#define KEYS_MAX 64
#define PASSES_MAX 20

/* Sessions that a cluster takes whole, cross-slot commands included. */
static const char *const whole_sessions[] = {NULL};

/* ---- clusters ---- */

static const char *const versions[] = {"redis-7.0", "redis-8.0", "valkey-9"};
#define VERSION_COUNT (sizeof(versions) / sizeof(versions[0]))

static struct live_side clusters[VERSION_COUNT]; /* started when first needed */
static const char *cluster_version;              /* of the one that was asked for last */

static void empty(const struct live_side *side)
{
    for (uint32_t i = 0; i < test_client_count(side->client); i++) {
        redisContext *node = test_client_at(side->client, i);
        test_command_ok(node, "FLUSHALL");
        test_command_ok(node, "FUNCTION FLUSH");
        test_command_ok(node, "SCRIPT FLUSH");
    }
}

/* The version that takes all commands of the session. NULL: it is not here. */
static struct live_side *cluster_for(const struct session *session)
{
    size_t i = session->is_valkey ? 2 : session_version_number(session) >= 70400 ? 1 : 0;
    if (clusters[i].client == NULL) {
        if (!test_server_available(versions[i]))
            return NULL;
        live_side_start(&clusters[i], versions[i], SHARDS, 0, NULL);
    }
    empty(&clusters[i]);
    cluster_version = versions[i];
    return &clusters[i];
}

static int stop_clusters(void **state)
{
    (void)state;
    for (size_t i = 0; i < VERSION_COUNT; i++) {
        if (clusters[i].client != NULL)
            live_side_stop(&clusters[i]);
    }
    return 0;
}

/* ---- the part that needs no relay ---- */

/* The slots of a command's keys, as a server finds the keys. */
static uint32_t
key_slots(redisContext *redis, const struct session_command *command, uint16_t slots[KEYS_MAX])
{
    const char **argv = calloc((size_t)command->count + 2, sizeof(*argv));
    size_t *sizes = calloc((size_t)command->count + 2, sizeof(*sizes));
    uint32_t count = 0;
    assert_non_null(argv);
    assert_non_null(sizes);
    argv[0] = "COMMAND";
    argv[1] = "GETKEYS";
    sizes[0] = sizes[1] = 7;
    memcpy(argv + 2, command->words, (size_t)command->count * sizeof(*argv));
    memcpy(sizes + 2, command->sizes, (size_t)command->count * sizeof(*sizes));
    redisReply *reply = redisCommandArgv(redis, command->count + 2, argv, sizes);
    assert_non_null(reply);
    for (size_t i = 0; reply->type == REDIS_REPLY_ARRAY && i < reply->elements; i++) {
        assert_true(count < KEYS_MAX);
        slots[count++] = slot_of_key(reply->element[i]->str, reply->element[i]->len);
    }
    freeReplyObject(reply);
    free(argv);
    free(sizes);
    return count;
}

/* Their effect on each key is their own. */
static bool is_split(const struct session_command *command)
{
    static const char *const names[] = {"DEL", "UNLINK", "MSET", "MSETNX"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (session_word_is(command, 0, names[i]))
            return true;
    }
    return false;
}

static bool crosses_slots(redisContext *redis, const struct session_command *command)
{
    uint16_t slots[KEYS_MAX];
    uint32_t count = key_slots(redis, command, slots);
    bool is_script = session_word_is(command, 0, "EVAL") || session_word_is(command, 0, "EVALSHA");
    if (is_split(command))
        return false;
    for (uint32_t i = 1; i < count; i++) {
        if (slots[i] != slots[0])
            return true;
    }
    return is_script && count == 0; /* what it touches is not known */
}

/* Only database 0 goes to a cluster; the others' steps have no effect and stay. */
static void drop_crossing(const struct session *session, redisContext *redis, bool *is_kept)
{
    struct session_command *command = malloc(sizeof(*command));
    uint64_t db = 0;
    size_t step = 0;
    assert_non_null(command);
    for (size_t pos = 0; pos < session->stream_size; pos += command->size) {
        session_cut(session->stream + pos, session->stream_size - pos, command);
        while (step < session_step_count(session) && pos >= session_step_end(session, step))
            step++;
        if (session_word_is(command, 0, "SELECT"))
            db = strtoull(command->words[1], NULL, 10);
        else if (db == 0 && step < session_step_count(session) && crosses_slots(redis, command))
            is_kept[step] = false;
    }
    free(command);
}

/* Errors of a plain connection that are none on a replica's. */
static bool error_is_expected(const struct session_command *command, const char *text)
{
    return strstr(text, "LIMIT cannot be used") != NULL || strstr(text, "without MULTI") != NULL ||
           session_word_is(command, 0, "EVAL");
}

static bool reply_is_error(const struct session_command *command, const redisReply *reply)
{
    for (size_t i = 0; reply->type == REDIS_REPLY_ARRAY && i < reply->elements; i++) {
        if (reply->element[i]->type == REDIS_REPLY_ERROR)
            return true;
    }
    return reply->type == REDIS_REPLY_ERROR && !error_is_expected(command, reply->str);
}

/* Runs one step, or only its SELECTs, which later ones need; false: a command failed, because a
 * step that it builds on was left out. */
static bool run_step(const struct session *session, size_t step, bool is_kept, redisContext *redis)
{
    struct session_command *command = malloc(sizeof(*command));
    bool is_ok = true;
    assert_non_null(command);
    size_t end = session_step_end(session, step);
    for (size_t pos = step == 0 ? 0 : session_step_end(session, step - 1); pos < end;
         pos += command->size) {
        session_cut(session->stream + pos, session->stream_size - pos, command);
        if (session_word_is(command, 0, "REPLCONF") || /* not answered */
            (!is_kept && !session_word_is(command, 0, "SELECT")))
            continue;
        redisReply *reply = redisCommandArgv(redis, command->count, command->words, command->sizes);
        assert_non_null(reply);
        is_ok = is_ok && !reply_is_error(command, reply);
        freeReplyObject(reply);
    }
    free(command);
    return is_ok;
}

/* Leaves out what fails without the steps that were left out before. True: nothing did. */
static bool drop_failing(const struct session *session, const char *version, bool *is_kept)
{
    struct live_side scratch;
    struct replay replay = replay_of(session);
    bool is_settled = true;
    replay.script.stream_size = 0;
    replay_into_replica(&replay, &scratch, version);
    redisContext *redis = live_redis(&scratch);
    for (size_t i = 0; i < session_step_count(session); i++) {
        if (run_step(session, i, is_kept[i], redis))
            continue;
        is_kept[i] = false;
        is_settled = false;
        redisReply *reply = test_command_try(redis, "DISCARD");
        freeReplyObject(reply);
    }
    live_side_stop(&scratch);
    return is_settled;
}

/* The stream without what a cluster cannot take yet. */
static uint8_t *one_slot_stream(const struct session *session, const char *version, size_t *size)
{
    struct live_side scratch;
    size_t count = session_step_count(session), kept = 0;
    bool *is_kept = malloc(count * sizeof(*is_kept));
    assert_non_null(is_kept);
    memset(is_kept, true, count * sizeof(*is_kept));
    live_side_start(&scratch, version, 0, 0, NULL);
    drop_crossing(session, live_redis(&scratch), is_kept);
    live_side_stop(&scratch);
    for (int pass = 0; !drop_failing(session, version, is_kept); pass++)
        assert_true(pass < PASSES_MAX);
    for (size_t i = 0; i < count; i++)
        kept += is_kept[i];
    fprintf(stderr, "%s: %zu of %zu steps\n", session->name, kept, count);
    assert_true(kept > count * 3 / 4);
    uint8_t *stream = replay_steps(session, is_kept, size);
    free(is_kept);
    return stream;
}

/* ---- the tests ---- */

/* What a real replica of the destination's version makes of the same bytes, in database 0. */
static void play_one_slot(const char *name)
{
    struct session session;
    struct live_side replica;
    session_load(&session, name);
    struct live_side *to = cluster_for(&session);
    struct contents_rules rules = replay_rules(&session);
    struct replay replay = replay_of(&session);
    size_t size;
    if (to == NULL) {
        session_free(&session);
        return;
    }
    uint8_t *stream = one_slot_stream(&session, cluster_version, &size);
    replay.script.stream = stream;
    replay.script.stream_size = size;
    replay.options[0] = "--db";
    replay.options[1] = "0";
    replay_run(&replay, to);
    replay_into_replica(&replay, &replica, cluster_version);
    json_t *wanted = contents_read(replica.client, 0);
    json_t *got = contents_read(to->client, 0);
    replay_accept_choices(&session, wanted, got);
    assert_true(json_object_size(wanted) > 100);
    assert_int_equal(contents_differences(name, wanted, got, &rules), 0);
    json_decref(wanted);
    json_decref(got);
    live_side_stop(&replica);
    free(stream);
    session_free(&session);
}

static void test_one_slot_part(void **state)
{
    play_one_slot(*state);
}

/* Everything, against the recorded data. */
static void test_whole_session(void **state)
{
    struct session session;
    session_load(&session, *state);
    struct live_side *to = cluster_for(&session);
    struct replay replay = replay_of(&session);
    replay.options[0] = "--db";
    replay.options[1] = "0";
    if (to != NULL) {
        replay_run(&replay, to);
        replay_assert_db(&session, to, cluster_version, 0);
    }
    session_free(&session);
}

/* One test per session and way, so that what is not there does not look like a test. */
#define TESTS_MAX 32

static size_t add_tests(struct CMUnitTest *tests,
                        const char *const *names,
                        const char *way,
                        CMUnitTestFunction function)
{
    static char titles[TESTS_MAX][64];
    static size_t title_count;
    size_t count = 0;
    for (; names[count] != NULL; count++) {
        char *title = titles[title_count++];
        snprintf(title, sizeof(titles[0]), "test_%s_%s", way, names[count]);
        tests[count] = (struct CMUnitTest){
            .name = title, .test_func = function, .initial_state = (void *)(uintptr_t)names[count]};
    }
    return count;
}

int main(void)
{
    struct CMUnitTest tests[TESTS_MAX];
    size_t count = add_tests(tests, session_names, "one_slot_part", test_one_slot_part);
    count += add_tests(tests + count, whole_sessions, "whole", test_whole_session);
    cmocka_set_test_filter(getenv("SYNCLINE_TEST_FILTER"));
    if (!test_cli_available())
        return 77;
    return _cmocka_run_group_tests("replay_cluster", tests, count, NULL, stop_clusters);
}
