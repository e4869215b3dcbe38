/* Every recorded session, 2.8 to Valkey 9, through the whole engine into real servers: the result
 * must be what a real replica made of the same bytes. A wrong decision about any command (order,
 * database, transaction, script, expiry), and a byte lost or taken twice when the connection
 * breaks, shows as a key that differs. Requirements I1 to I6, E1. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/live/contents.h"
#include "tests/live/replay.h"
#include "tests/support/random.h"

#define DB_COUNT 16
#define REPLID_NEW "aaaaaaaaaabbbbbbbbbbccccccccccdddddddddd"

/* ---- who takes what ---- */

static const char *const server_names[] = {
    "redis-7.0", "redis-6.0", "redis-8.0", "valkey-8.1", "valkey-9"};
#define SERVER_COUNT (sizeof(server_names) / sizeof(server_names[0]))

static struct live_side sides[SERVER_COUNT]; /* started when first needed */

static void empty(struct live_side *side)
{
    test_command_ok(live_redis(side), "FLUSHALL");
    test_command_ok(live_redis(side), "SCRIPT FLUSH");
    if (test_has_command(live_redis(side), "function"))
        test_command_ok(live_redis(side), "FUNCTION FLUSH");
}

/* An empty server of this version, NULL when there is none here. */
static struct live_side *destination_of(size_t server)
{
    struct live_side *side = &sides[server];
    if (side->client == NULL) {
        if (!test_server_available(server_names[server]))
            return NULL;
        live_side_start(side, server_names[server], 0, 0, NULL);
    }
    empty(side);
    return side;
}

/* The one that is nearest to the recorded version, of those that are here. */
static struct live_side *nearest_destination(const struct session *session)
{
    static const size_t preferred[] = {4, 2, 0}; /* valkey-9, redis-8.0, redis-7.0 */
    uint32_t version = session_version_number(session);
    for (size_t i = session->is_valkey ? 0 : version >= 70400 ? 1 : 2; i < 3; i++) {
        if (session_is_taken_by(session, server_names[preferred[i]]))
            return destination_of(preferred[i]);
    }
    return NULL;
}

static int stop_sides(void **state)
{
    (void)state;
    for (size_t i = 0; i < SERVER_COUNT; i++) {
        if (sides[i].client != NULL)
            live_side_stop(&sides[i]);
    }
    return 0;
}

/* ---- the comparison ---- */

static void assert_functions(const struct session *session, const struct live_side *to)
{
    const json_t *wanted = json_object_get(json_object_get(session->json, "expected"), "functions");
    size_t i;
    const json_t *library;
    if (!test_has_command(live_redis(to), "function"))
        return;
    redisReply *reply = test_command(live_redis(to), "FUNCTION LIST WITHCODE");
    assert_int_equal(reply->elements, json_array_size(wanted));
    json_array_foreach(wanted, i, library)
    {
        bool is_there = false;
        for (size_t n = 0; n < reply->elements; n++) {
            const redisReply *code = reply->element[n]->element[reply->element[n]->elements - 1];
            json_t *text = contents_bytes(code->str, code->len);
            is_there = is_there || json_equal(text, json_object_get(library, "code"));
            json_decref(text);
        }
        assert_true(is_there);
    }
    freeReplyObject(reply);
}

static void assert_result(const struct session *session, const struct live_side *to)
{
    assert_int_not_equal(json_object_size(session_expected(session, 0)), 0);
    for (uint32_t db = 0; db < DB_COUNT; db++)
        replay_assert_db(session, to, to->server.version, db);
    assert_functions(session, to);
}

typedef void session_function(const struct session *session);

static void for_each_session(session_function *function)
{
    for (size_t i = 0; session_names[i] != NULL; i++) {
        struct session session;
        session_load(&session, session_names[i]);
        function(&session);
        session_free(&session);
    }
}

/* ---- whole ---- */

static void play_everywhere(const struct session *session)
{
    for (size_t server = 0; server < SERVER_COUNT; server++) {
        struct live_side *to =
            session_is_taken_by(session, server_names[server]) ? destination_of(server) : NULL;
        if (to == NULL)
            continue;
        struct replay replay = replay_of(session);
        struct replay_result used = replay_run(&replay, to);
        assert_int_equal(used.full_count, 1);
        assert_result(session, to);
    }
}

static void test_every_session(void **state)
{
    (void)state;
    for_each_session(play_everywhere);
}

/* Several lanes, decoders and readers, little memory, the other backend: nothing of the result may
 * depend on them. */
static void play_engines(const struct session *session)
{
    static const char *const engines[][7] = {
        {"--io", "epoll", "--lanes", "1", "--memory", "8m", NULL},
        {"--io", "uring", "--lanes", "7", "--decoders", "2", NULL},
    };
    struct live_side *to = nearest_destination(session);
    for (size_t i = 0; to != NULL && i < sizeof(engines) / sizeof(engines[0]); i++) {
        struct replay replay = replay_of(session);
        memcpy(replay.options, engines[i], sizeof(engines[i]));
        empty(to);
        replay_run(&replay, to);
        assert_result(session, to);
    }
}

static void test_every_engine(void **state)
{
    (void)state;
    for_each_session(play_engines);
}

/* ---- in pieces ---- */

static void play_pieces(const struct session *session)
{
    struct live_side *to = nearest_destination(session);
    struct replay replay = replay_of(session);
    if (to == NULL)
        return;
    replay.script.pieces = 60;
    replay_run(&replay, to);
    assert_result(session, to);
}

static void test_odd_pieces(void **state)
{
    (void)state;
    for_each_session(play_pieces);
}

/* A master waits for an acknowledgement behind an EOF mark, and an early one may be lost. */
static void play_gated(const struct session *session)
{
    struct live_side *to = nearest_destination(session);
    struct replay replay = replay_of(session);
    if (to == NULL)
        return;
    replay.script.announced = -1;
    replay.script.acks_ignored = 2;
    replay_run(&replay, to);
    assert_result(session, to);
}

static void test_acknowledgement_gate(void **state)
{
    (void)state;
    for_each_session(play_gated);
}

/* ---- cut connections ---- */

#define CUTS_MAX 40

static int compare_sizes(const void *left, const void *right)
{
    size_t a = *(const size_t *)left, b = *(const size_t *)right;
    return (a > b) - (a < b);
}

/* Where a mistake would show: on the boundary behind a SELECT of another database than 0 (it is not
 * sent again), inside a transaction, inside a large value; and anywhere. */
static uint32_t choose_cuts(const struct session *session, size_t *cuts)
{
    struct session_command *command = malloc(sizeof(*command));
    struct random random = {.state = session->stream_size};
    bool is_open = false, has_large = false;
    uint32_t selects = 0, transactions = 0, count = 0;
    assert_non_null(command);
    for (size_t pos = 0; pos < session->stream_size; pos += command->size) {
        session_cut(session->stream + pos, session->stream_size - pos, command);
        bool is_select = session_word_is(command, 0, "SELECT") && command->words[1][0] != '0';
        if (is_select && selects++ < 8)
            cuts[count++] = pos + command->size;
        if (is_open && transactions++ % 16 == 0 && transactions < 64)
            cuts[count++] = pos + (transactions < 32 ? 0 : command->size / 2);
        if (command->size > 100000 && !has_large)
            cuts[count++] = pos + command->size / 2;
        has_large = has_large || command->size > 100000;
        is_open = session_word_is(command, 0, "MULTI") ||
                  (is_open && !session_word_is(command, 0, "EXEC"));
    }
    assert_true(selects > 0 && transactions > 0 && has_large);
    while (count < CUTS_MAX)
        cuts[count++] = 1 + random_below(&random, (uint32_t)session->stream_size - 1);
    qsort(cuts, count, sizeof(*cuts), compare_sizes);
    uint32_t kept = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (kept == 0 || cuts[i] != cuts[kept - 1])
            cuts[kept++] = cuts[i];
    }
    free(command);
    return kept;
}

static void play_cut(const struct session *session, const char *continue_replid, bool is_gated)
{
    size_t cuts[CUTS_MAX];
    struct live_side *to = nearest_destination(session);
    struct replay replay = replay_of(session);
    if (to == NULL)
        return;
    replay.script.cuts = cuts;
    replay.script.cut_count = choose_cuts(session, cuts);
    replay.script.continue_replid = continue_replid;
    if (is_gated) {
        replay.script.announced = -1;
        replay.script.acks_ignored = 1;
    }
    struct replay_result used = replay_run(&replay, to);
    assert_int_equal(used.full_count, 1);
    assert_int_equal(used.continued_count, replay.script.cut_count);
    assert_result(session, to);
}

/* As each version answers: until 3.2 without an id. */
static void play_cut_as_recorded(const struct session *session)
{
    play_cut(session, session_version_number(session) < 40000 ? "" : NULL, false);
}

static void test_cut_and_continued(void **state)
{
    (void)state;
    for_each_session(play_cut_as_recorded);
}

/* A new master goes on under an id of its own, which is the one to ask for from then on. */
static void play_cut_with_new_id(const struct session *session)
{
    if (session_version_number(session) >= 40000)
        play_cut(session, REPLID_NEW, true);
}

static void test_cut_and_continued_by_another(void **state)
{
    (void)state;
    for_each_session(play_cut_with_new_id);
}

/* ---- what a destination does not know ---- */

/* The first command that the destination's version lacks ends the task, which names it; nothing is
 * left out in silence. */
static void test_unknown_to_the_destination(void **state)
{
    (void)state;
    struct session session, older;
    session_load(&session, "redis-7.4.1");
    session_load(&older, "redis-7.0.15"); /* for a snapshot that it can load */
    size_t count = session_step_count(&session), size;
    bool *is_kept = calloc(count, sizeof(*is_kept));
    assert_non_null(is_kept);
    for (size_t i = 0; i < count; i++) {
        const char *label = session_step_label(&session, i);
        is_kept[i] = strncmp(label, "SET k", 5) == 0 || strncmp(label, "HEXPIRE", 7) == 0;
    }
    uint8_t *stream = replay_steps(&session, is_kept, &size);
    struct replay replay = replay_of(&older);
    replay.script.stream = stream;
    replay.script.stream_size = size;
    char *errors = replay_fail(&replay, destination_of(0), 7);
    live_expect_texts(errors, "HPEXPIREAT", "does not know", "offset", NULL);
    free(errors);
    free(stream);
    free(is_kept);
    session_free(&session);
    session_free(&older);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_session),
        cmocka_unit_test(test_every_engine),
        cmocka_unit_test(test_odd_pieces),
        cmocka_unit_test(test_acknowledgement_gate),
        cmocka_unit_test(test_cut_and_continued),
        cmocka_unit_test(test_cut_and_continued_by_another),
        cmocka_unit_test(test_unknown_to_the_destination),
    };
    cmocka_set_test_filter(getenv("SYNCLINE_TEST_FILTER"));
    if (!test_cli_available())
        return 77;
    return cmocka_run_group_tests(tests, NULL, stop_sides);
}
