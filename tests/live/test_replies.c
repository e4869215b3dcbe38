/* A master propagates only what took effect there, so a command that has none at the destination
 * says that the two have parted. This test shows which commands of the recorded sessions answer
 * like that although both sides are right: whoever wants to notice a divergence by replies has to
 * know them, and anything that is not among them is a command that was sent wrong or in the wrong
 * order. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "tests/live/replay.h"
#include "tests/live/tap.h"

/* ---- what says that nothing happened ---- */

enum nothing {
    NOTHING_ZERO = 1,  /* 0, or a negative number */
    NOTHING_NIL = 2,   /* nil */
    NOTHING_EMPTY = 4, /* an empty array */
    NOTHING_PARTS = 8, /* an array with a part that is 0, -1 or -2 */
};

/* Commands that tell it by their replies. SADD and the like are sent only when they added
 * something; those that overwrite (HSET, ZADD, SETBIT, the STORE family) may answer 0 at any time.
 */
static const struct {
    const char *name;
    int nothing;
} tellers[] = {
    {"COPY", NOTHING_ZERO},
    {"DEL", NOTHING_ZERO},
    {"EXPIRE", NOTHING_ZERO},
    {"EXPIREAT", NOTHING_ZERO},
    {"GETDEL", NOTHING_NIL},
    {"HDEL", NOTHING_ZERO},
    {"HGETDEL", NOTHING_EMPTY},
    {"HPERSIST", NOTHING_PARTS},
    {"HPEXPIREAT", NOTHING_PARTS},
    {"HSETEX", NOTHING_ZERO},
    {"HSETNX", NOTHING_ZERO},
    {"LINSERT", NOTHING_ZERO},
    {"LMOVE", NOTHING_NIL},
    {"LPOP", NOTHING_NIL | NOTHING_EMPTY},
    {"LPUSHX", NOTHING_ZERO},
    {"LREM", NOTHING_ZERO},
    {"MOVE", NOTHING_ZERO},
    {"MSETNX", NOTHING_ZERO},
    {"PERSIST", NOTHING_ZERO},
    {"PEXPIRE", NOTHING_ZERO},
    {"PEXPIREAT", NOTHING_ZERO},
    {"PFADD", NOTHING_ZERO},
    {"RENAMENX", NOTHING_ZERO},
    {"RPOP", NOTHING_NIL | NOTHING_EMPTY},
    {"RPOPLPUSH", NOTHING_NIL},
    {"RPUSHX", NOTHING_ZERO},
    {"SADD", NOTHING_ZERO},
    {"SET", NOTHING_NIL},
    {"SETNX", NOTHING_ZERO},
    {"SMOVE", NOTHING_ZERO},
    {"SREM", NOTHING_ZERO},
    {"UNLINK", NOTHING_ZERO},
    {"XACK", NOTHING_ZERO},
    {"XCLAIM", NOTHING_EMPTY},
    {"XDEL", NOTHING_ZERO},
    {"XGROUP", NOTHING_ZERO},
    {"XTRIM", NOTHING_ZERO},
    {"ZPOPMAX", NOTHING_EMPTY},
    {"ZPOPMIN", NOTHING_EMPTY},
    {"ZREM", NOTHING_ZERO},
    {"ZREMRANGEBYLEX", NOTHING_ZERO},
    {"ZREMRANGEBYRANK", NOTHING_ZERO},
    {"ZREMRANGEBYSCORE", NOTHING_ZERO},
};

static bool is_word(const redisReply *word, const char *text)
{
    return word->len == strlen(text) && strncasecmp(word->str, text, word->len) == 0;
}

static bool says_nothing(const redisReply *reply, int nothing)
{
    if (reply->type == REDIS_REPLY_ERROR)
        return true;
    if (reply->type == REDIS_REPLY_INTEGER)
        return (nothing & NOTHING_ZERO) != 0 && reply->integer <= 0;
    if (reply->type == REDIS_REPLY_NIL)
        return (nothing & NOTHING_NIL) != 0;
    if (reply->type != REDIS_REPLY_ARRAY)
        return false;
    for (size_t i = 0; (nothing & NOTHING_PARTS) != 0 && i < reply->elements; i++) {
        if (reply->element[i]->type == REDIS_REPLY_INTEGER && reply->element[i]->integer <= 0)
            return true;
    }
    return (nothing & NOTHING_EMPTY) != 0 && reply->elements == 0;
}

static bool has_no_effect(const redisReply *command, const redisReply *reply)
{
    for (size_t i = 0; i < sizeof(tellers) / sizeof(tellers[0]); i++) {
        if (is_word(command->element[0], tellers[i].name))
            return says_nothing(reply, tellers[i].nothing);
    }
    return says_nothing(reply, 0);
}

/* ---- what both sides being right may answer ---- */

static const struct {
    const char *name;
    const char *key; /* the first, or a subcommand's; "x:*": all that begin so */
    const char *why;
} harmless[] = {
    {"DEL", "ev:r3", "a script kept what it wrote before from replicas (set_repl)"},
    {"DEL", "k:past", "SET … PXAT of a past time: both sides let it expire, 6.2 to 8.0"},
    {"DEL", "k:past2", "the same"},
    {"DEL", "x:*", "keys that live for 15 to 60 ms, gone here before their DEL came"},
    {"UNLINK", "x:*", "the same, valkey"},
    {"PERSIST", "x:*", "the same, 2.8 and 3.0, which send it for an expired key"},
    {"DEL", "s:short", "the same"},
    {"UNLINK", "s:short", "the same"},
    {"UNLINK", "hf:6", "HDEL of the last fields took the hash already, valkey 9"},
    {"HDEL", "hf:5", "fields that both sides let expire"},
    {"HDEL", "hf:6", "the same"},
    {"HDEL", "hf:7", "the same"},
    {"HPEXPIREAT", "hf:1", "sent with all its fields, those without effect too, valkey 9"},
    {"XCLAIM", "x:g", "of a deleted entry, which 7.0 and later take out of the pending ones"},
    {"XGROUP",
     "x:g",
     "DELCONSUMER tells how many entries were pending, and nothing of the consumer"},
    {"EVAL", "ev:err", "a script that ended in an error, sent verbatim until 4.0"},
    {"EVAL", "ev:err2", "the same"},
};
#define HARMLESS_COUNT (sizeof(harmless) / sizeof(harmless[0]))

struct counts {
    const char *what; /* session and destination */
    uint32_t command_count;
    uint32_t harmless_count[HARMLESS_COUNT];
    uint32_t unexpected_count;
};

static const redisReply *key_of(const redisReply *command)
{
    bool has_subcommand = is_word(command->element[0], "XGROUP");
    bool is_script = is_word(command->element[0], "EVAL");
    size_t key = is_script ? 3 : has_subcommand ? 2 : 1;
    return command->element[key < command->elements ? key : command->elements - 1];
}

static bool is_key(const redisReply *key, const char *wanted)
{
    size_t size = strlen(wanted);
    if (wanted[size - 1] == '*')
        return key->len >= size - 1 && memcmp(key->str, wanted, size - 1) == 0;
    return is_word(key, wanted);
}

static void count(void *arg, const redisReply *command, const redisReply *reply)
{
    struct counts *counts = arg;
    /* Of positions, probes and times to live, not of the stream. */
    bool is_own = is_key(key_of(command), "syncline:*") || is_word(command->element[0], "CLIENT");
    counts->command_count += !is_own;
    if (is_own || !has_no_effect(command, reply))
        return;
    for (size_t i = 0; i < HARMLESS_COUNT; i++) {
        if (is_word(command->element[0], harmless[i].name) &&
            is_key(key_of(command), harmless[i].key)) {
            counts->harmless_count[i]++;
            return;
        }
    }
    counts->unexpected_count++;
    fprintf(stderr,
            "%s: %s %s: %s %lld\n",
            counts->what,
            command->element[0]->str,
            key_of(command)->str,
            reply->str != NULL ? reply->str : "",
            reply->integer);
}

/* ---- the test ---- */

static const char *const versions[] = {
    "redis-7.0", "redis-6.0", "redis-8.0", "valkey-8.1", "valkey-9"};
#define VERSION_COUNT (sizeof(versions) / sizeof(versions[0]))

static uint32_t harmless_sums[HARMLESS_COUNT];

static void play(const struct session *session, const char *version)
{
    struct live_side side;
    struct replay replay = replay_of(session);
    char what[64];
    snprintf(what, sizeof(what), "%s into %s", session->name, version);
    struct counts counts = {.what = what};
    live_side_start(&side, version, 0, 0, NULL);
    struct tap *tap = tap_start(live_port(&side), count, &counts);
    snprintf(side.uri, sizeof(side.uri), "127.0.0.1:%u", tap_port(tap));
    replay_run(&replay, &side);
    tap_stop(tap);
    live_side_stop(&side);
    assert_true(counts.command_count > session->command_count * 3 / 4);
    assert_int_equal(counts.unexpected_count, 0);
    for (size_t i = 0; i < HARMLESS_COUNT; i++)
        harmless_sums[i] += counts.harmless_count[i];
}

static void test_replies_without_effect(void **state)
{
    (void)state;
    for (size_t i = 0; session_names[i] != NULL; i++) {
        for (size_t n = 0; n < VERSION_COUNT; n++) {
            struct session session;
            session_load(&session, session_names[i]);
            if (session_is_taken_by(&session, versions[n]) && test_server_available(versions[n]))
                play(&session, versions[n]);
            session_free(&session);
        }
    }
    for (size_t i = 0; i < HARMLESS_COUNT; i++)
        fprintf(stderr,
                "%4u times %s %s: %s\n",
                harmless_sums[i],
                harmless[i].name,
                harmless[i].key,
                harmless[i].why);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_replies_without_effect),
    };
    cmocka_set_test_filter(getenv("SYNCLINE_TEST_FILTER"));
    if (!test_cli_available())
        return 77;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
