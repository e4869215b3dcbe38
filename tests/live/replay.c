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

/* Relative times of servers before 7.0 count from when they arrive: later by as long as the
 * recording took, and this test. */
#define TTL_SLACK_MS 120000
#define DELIVERY_SLACK_MS 60 /* 5.0 told the recorder only how long ago */

struct replay replay_of(const struct session *session)
{
    return (struct replay){.script = {.version = session->version,
                                      .is_valkey = session->is_valkey,
                                      .payload = session->snapshot,
                                      .payload_size = session->snapshot_size,
                                      .announced = session->is_diskless ? -1 : 0,
                                      .stream = session->stream,
                                      .stream_size = session->stream_size,
                                      .offset = session->offset,
                                      .replid = session->replid}};
}

/* Exit status and errors of the program; how the source was used in `result`. */
static int run(const struct replay *replay,
               const struct live_side *to,
               struct replay_result *result,
               char **errors)
{
    struct live_side from = {.is_cluster = false};
    const char *const *options = replay->options;
    struct fake_source *fake = fake_source_start(&replay->script);
    snprintf(from.uri, sizeof(from.uri), "127.0.0.1:%u", fake->port);
    /* The list ends at the first NULL. */
    struct test_cli cli;
    live_spawn(&cli,
               &from,
               to,
               "--once",
               "--on-divergence", /* nothing can be read again at the fake */
               "count",
               options[0],
               options[1],
               options[2],
               options[3],
               options[4],
               options[5],
               options[6],
               NULL);
    int status = test_cli_wait(&cli, LIVE_WAIT_MS);
    *errors = test_cli_errors(&cli);
    *result = (struct replay_result){
        .full_count = atomic_load_relaxed(&fake->full_count),
        .continued_count = atomic_load_relaxed(&fake->continued_count),
    };
    if (status == 0) { /* else there may have been no progress to tell */
        result->diverged_count =
            live_total(&cli, "diverged_no_effect") + live_total(&cli, "diverged_error");
        result->partial_count = live_total(&cli, "diverged_partial");
    }
    uint32_t wrong_count = atomic_load_relaxed(&fake->wrong_count);
    fake_source_stop(fake);
    assert_int_equal(wrong_count, 0);
    return status;
}

struct replay_result replay_run(const struct replay *replay, const struct live_side *to)
{
    struct replay_result result;
    char *errors;
    int status = run(replay, to, &result, &errors);
    if (status != 0)
        fail_msg("source version %s: exit status %d: %s", replay->script.version, status, errors);
    free(errors);
    /* Both sides are equal all the time. Only Valkey 9 sends fields that are not there. */
    assert_int_equal(result.diverged_count, 0);
    assert_true(result.partial_count == 0 || strncmp(replay->script.version, "9.", 2) == 0);
    return result;
}

char *replay_fail(const struct replay *replay, const struct live_side *to, int status)
{
    struct replay_result result;
    char *errors;
    int ended = run(replay, to, &result, &errors);
    if (ended != status)
        fail_msg("exit status %d instead of %d: %s", ended, status, errors);
    return errors;
}

void replay_into_replica(const struct replay *replay, struct live_side *side, const char *version)
{
    live_side_start(side, version, 0, 0, NULL);
    struct fake_source *fake = fake_source_start(&replay->script);
    test_command_ok(live_redis(side), "REPLICAOF 127.0.0.1 %d", (int)fake->port);
    char value[32] = "";
    uint64_t deadline = test_deadline(LIVE_WAIT_MS);
    while (strtoull(value, NULL, 10) < replay->script.offset + replay->script.stream_size) {
        test_poll(deadline, "the real replica to have it all");
        test_info(live_redis(side), "slave_repl_offset", value, sizeof(value));
    }
    test_command_ok(live_redis(side), "REPLICAOF NO ONE");
    fake_source_stop(fake);
}

/* ---- some steps ---- */

static uint64_t db_after(const struct session *session, size_t from, size_t to, uint64_t db)
{
    struct session_command *command = malloc(sizeof(*command));
    assert_non_null(command);
    for (size_t pos = from; pos < to; pos += command->size) {
        session_cut(session->stream + pos, session->stream_size - pos, command);
        if (session_word_is(command, 0, "SELECT"))
            db = strtoull(command->words[1], NULL, 10);
    }
    free(command);
    return db;
}

#define SELECT_SIZE_MAX 48

static size_t put_select(char *out, uint64_t db)
{
    char digits[24];
    int count = snprintf(digits, sizeof(digits), "%llu", (unsigned long long)db);
    return (size_t)snprintf(
        out, SELECT_SIZE_MAX, "*2\r\n$6\r\nSELECT\r\n$%d\r\n%s\r\n", count, digits);
}

uint8_t *replay_steps(const struct session *session, const bool *is_kept, size_t *size)
{
    size_t count = session_step_count(session);
    char *bytes = malloc(session->stream_size + SELECT_SIZE_MAX * count);
    uint64_t db = 0, db_kept = UINT64_MAX;
    assert_non_null(bytes);
    *size = 0;
    for (size_t i = 0, begin = 0; i < count; i++) {
        size_t end = session_step_end(session, i);
        uint64_t db_next = db_after(session, begin, end, db);
        if (is_kept[i] && end > begin) {
            if (db != db_kept)
                *size += put_select(bytes + *size, db);
            memcpy(bytes + *size, session->stream + begin, end - begin);
            *size += end - begin;
            db_kept = db_next;
        }
        db = db_next;
        begin = end;
    }
    return (uint8_t *)bytes;
}

/* ---- the comparison ---- */

struct contents_rules replay_rules(const struct session *session)
{
    uint32_t version = session_version_number(session);
    return (struct contents_rules){.ttl_slack_ms = version < 70000 ? TTL_SLACK_MS : 0,
                                   .delivery_slack_ms = version < 60000 ? DELIVERY_SLACK_MS : 0};
}

/* 2.8 to 4.0 leave scripts to their replicas. Which member of a set comes first, and what
 * math.random says, is then another thing on every server. */
static const char *const script_choice_keys[] = {"ev:l", "ev:rand"};

/* What later versions make something else of, when they get the same bytes: here the value of a
 * real replica of the destination's version counts. */
static const struct {
    const char *key;
    uint32_t below; /* sessions older than this */
} version_keys[] = {
    {"hll:m", 40000}, /* PFMERGE chooses another representation */
    {"x:g", 70000},   /* XCLAIM of a deleted entry takes it out of the pending ones */
};
#define VERSION_KEY_COUNT (sizeof(version_keys) / sizeof(version_keys[0]))

void replay_accept_choices(const struct session *session, const json_t *wanted, json_t *got)
{
    if (session_version_number(session) >= 50000)
        return;
    for (size_t i = 0; i < sizeof(script_choice_keys) / sizeof(script_choice_keys[0]); i++) {
        json_t *value = json_object_get(wanted, script_choice_keys[i]);
        if (value != NULL && json_object_get(got, script_choice_keys[i]) != NULL)
            json_object_set(got, script_choice_keys[i], value);
    }
}

static void read_replica(const struct session *session, const char *server, json_t *wanted)
{
    struct live_side replica;
    struct replay replay = replay_of(session);
    replay_into_replica(&replay, &replica, server);
    for (size_t i = 0; i < VERSION_KEY_COUNT; i++) {
        const char *key = version_keys[i].key;
        json_t *json = contents_read_key(live_redis(&replica), key, strlen(key));
        if (session_version_number(session) < version_keys[i].below && json != NULL)
            json_object_set(wanted, key, json);
        json_decref(json);
    }
    live_side_stop(&replica);
}

void replay_assert_db(const struct session *session,
                      const struct live_side *to,
                      const char *version,
                      uint32_t db)
{
    struct contents_rules rules = replay_rules(session);
    char label[64];
    json_t *none = json_object();
    json_t *wanted = session_expected(session, db);
    json_t *got = contents_read(to->client, db);
    replay_accept_choices(session, wanted, got);
    if (db == 0 && session_version_number(session) < 70000)
        read_replica(session, version, wanted);
    snprintf(label, sizeof(label), "%s into %s, db %u", session->name, version, db);
    assert_int_equal(contents_differences(label, wanted != NULL ? wanted : none, got, &rules), 0);
    json_decref(none);
    json_decref(got);
}
