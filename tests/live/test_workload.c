/* The workload of the newest recorded session, issued again on live sources: every write command
 * with its options, blocked clients, transactions, scripts, functions, expiry, eviction, all
 * databases. What the source is told differs by version, and so does what it propagates; both sides
 * must be equal in the end. Requirements I1 to I6.
 *
 * A version answers what it does not know with an error, and propagates nothing; how many lines
 * that are is printed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "core/base/slot.h"
#include "tests/live/contents.h"
#include "tests/live/replay.h"

#define WORDS_MAX 64
#define CLIENT_COUNT 3 /* A, B and C */
#define DB_COUNT 16
#define CLUSTER_MASTERS 3
#define SHORT_MS 60        /* expiries up to this are waited for, as the recorder did */
#define EVICTED_BYTES 4096 /* less than is used: some keys must go */

/* ---- lines ---- */

struct line {
    int client;
    int count;
    char *words[WORDS_MAX];
    size_t sizes[WORDS_MAX];
};

static int hex(char c)
{
    return isdigit((unsigned char)c) ? c - '0' : tolower((unsigned char)c) - 'a' + 10;
}

/* One word of redis-cli's: bare, or quoted with escapes. Unescaped in place. */
static char *cut_word(char *at, char **word, size_t *size)
{
    static const char escapes[] = "nrtab";
    static const char meanings[] = "\n\r\t\a\b";
    bool is_quoted = *at == '"';
    at += is_quoted;
    char *out = *word = at;
    while (*at != '\0' && (is_quoted ? *at != '"' : *at != ' ')) {
        if (!is_quoted || *at != '\\') {
            *out++ = *at++;
            continue;
        }
        const char *escape = strchr(escapes, at[1]);
        if (at[1] == 'x') {
            *out++ = (char)(hex(at[2]) << 4 | hex(at[3]));
            at += 4;
            continue;
        }
        *out++ = escape != NULL ? meanings[escape - escapes] : at[1];
        at += 2;
    }
    *size = (size_t)(out - *word);
    return at + (*at != '\0' && is_quoted);
}

/* "A SET k v". */
static void cut_line(char *text, struct line *line)
{
    line->client = text[0] - 'A';
    line->count = 0;
    assert_in_range(line->client, 0, CLIENT_COUNT - 1);
    for (char *at = text + 1; *at != '\0';) {
        assert_int_equal(*at, ' ');
        assert_true(line->count < WORDS_MAX);
        at = cut_word(at + 1, &line->words[line->count], &line->sizes[line->count]);
        line->count++;
    }
}

static bool word_is(const struct line *line, int word, const char *text)
{
    return word < line->count && line->sizes[word] == strlen(text) &&
           strncasecmp(line->words[word], text, strlen(text)) == 0;
}

/* ---- what the recorder's machine had and this one has not ---- */

struct scratch { /* a server of the source's version, and payloads that it made */
    struct live_side side;
    char port[8];
    redisReply *string;
    redisReply *list;
    redisReply *functions; /* NULL: the version has none */
};

static void scratch_start(struct scratch *scratch, const char *version)
{
    live_side_start(&scratch->side, version, 0, 0, NULL);
    redisContext *redis = live_redis(&scratch->side);
    snprintf(scratch->port, sizeof(scratch->port), "%u", live_port(&scratch->side));
    test_command_ok(redis, "SET string x");
    test_command_ok(redis, "RPUSH list a b c");
    scratch->string = test_command(redis, "DUMP string");
    scratch->list = test_command(redis, "DUMP list");
    test_command_ok(redis, "FLUSHALL");
    scratch->functions = NULL;
}

static void scratch_stop(struct scratch *scratch)
{
    freeReplyObject(scratch->string);
    freeReplyObject(scratch->list);
    freeReplyObject(scratch->functions);
    live_side_stop(&scratch->side);
}

static void replace(struct line *line, int word, const char *text, size_t size)
{
    /* Lines are cut in their own memory: the word only points elsewhere from now on. */
    line->words[word] = (char *)(uintptr_t)text;
    line->sizes[word] = size;
}

/* The library is restored from the dump of a server that has just loaded it. */
static void note_library(struct scratch *scratch, const struct line *line)
{
    redisContext *redis = live_redis(&scratch->side);
    if (!word_is(line, 0, "FUNCTION") || !word_is(line, 1, "LOAD") || scratch->functions != NULL)
        return;
    redisReply *reply = test_command_try(redis, "FUNCTION LOAD %b", line->words[2], line->sizes[2]);
    if (reply->type != REDIS_REPLY_ERROR)
        scratch->functions = test_command(redis, "FUNCTION DUMP");
    freeReplyObject(reply);
}

static void adapt(struct scratch *scratch, redisContext *control, struct line *line)
{
    static char bytes[32];
    note_library(scratch, line);
    if (word_is(line, 0, "MIGRATE"))
        replace(line, 2, scratch->port, strlen(scratch->port));
    if (word_is(line, 0, "RESTORE")) {
        /* The recorded payload's first byte is its type. */
        const redisReply *payload = line->words[3][0] == 0 ? scratch->string : scratch->list;
        replace(line, 3, payload->str, payload->len);
    }
    if (word_is(line, 0, "FUNCTION") && word_is(line, 1, "RESTORE") && scratch->functions != NULL)
        replace(line, 2, scratch->functions->str, scratch->functions->len);
    if (word_is(line, 2, "maxmemory") && !word_is(line, 3, "0")) {
        char used[32];
        test_info(control, "used_memory", used, sizeof(used));
        int size = snprintf(
            bytes, sizeof(bytes), "%llu", strtoull(used, NULL, 10) - (unsigned)EVICTED_BYTES);
        replace(line, 3, bytes, (size_t)size);
    }
}

/* ---- issuing ---- */

struct issuer {
    redisContext *clients[CLIENT_COUNT];
    bool is_pending[CLIENT_COUNT]; /* blocked, when it last was looked at */
    redisContext *control;
    uint32_t line_count;
    uint32_t error_count;
    char unknown[1024]; /* names of commands that the version does not have */
};

static void note_error(struct issuer *issuer, const char *text)
{
    const char *quote = strpbrk(text, "'`");
    char name[40];
    issuer->error_count++;
    if (strncmp(text, "ERR unknown command", 19) != 0 || quote == NULL)
        return;
    snprintf(name, sizeof(name), " %.*s", (int)strcspn(quote + 1, "'`"), quote + 1);
    size_t used = strlen(issuer->unknown);
    if (strstr(issuer->unknown, name) == NULL && used + sizeof(name) < sizeof(issuer->unknown))
        snprintf(issuer->unknown + used, sizeof(issuer->unknown) - used, "%s", name);
}

static void take_reply(struct issuer *issuer, int client)
{
    void *reply = NULL;
    if (redisGetReply(issuer->clients[client], &reply) != REDIS_OK)
        test_fatal("client %c: %s", 'A' + client, issuer->clients[client]->errstr);
    if (((redisReply *)reply)->type == REDIS_REPLY_ERROR)
        note_error(issuer, ((redisReply *)reply)->str);
    freeReplyObject(reply);
    issuer->is_pending[client] = false;
}

static int blocked_count(struct issuer *issuer)
{
    char value[16];
    test_info(issuer->control, "blocked_clients", value, sizeof(value));
    return (int)strtol(value, NULL, 10);
}

static bool has_reply(redisContext *context)
{
    redisSetTimeout(context, (struct timeval){.tv_usec = 2000});
    bool has_read = redisBufferRead(context) == REDIS_OK;
    context->err = has_read ? context->err : 0; /* nothing came in time */
    redisSetTimeout(context, (struct timeval){.tv_sec = 30});
    return has_read;
}

/* Another client than A may block: then the next line is to serve it. */
static void wait_blocked(struct issuer *issuer, int client, int before)
{
    uint64_t deadline = test_deadline(LIVE_WAIT_MS);
    int is_done = 0;
    while (!is_done)
        redisBufferWrite(issuer->clients[client], &is_done);
    issuer->is_pending[client] = true;
    for (;;) {
        if (has_reply(issuer->clients[client])) {
            take_reply(issuer, client);
            return;
        }
        if (blocked_count(issuer) > before)
            return;
        test_poll(deadline, "a client to block");
    }
}

static void issue(struct issuer *issuer, const struct line *line)
{
    int client = line->client;
    const char *words[WORDS_MAX];
    if (issuer->is_pending[client])
        take_reply(issuer, client);
    int before = client == 0 ? 0 : blocked_count(issuer);
    memcpy(words, line->words, sizeof(words));
    if (redisAppendCommandArgv(issuer->clients[client], line->count, words, line->sizes) !=
        REDIS_OK)
        test_fatal("out of memory");
    issuer->line_count++;
    if (client == 0)
        take_reply(issuer, client);
    else
        wait_blocked(issuer, client, before);
}

/* A short expiry passes before the next line: what comes then meets a key that is logically gone.
 */
static void wait_expired(const struct line *line)
{
    for (int i = 1; i + 1 < line->count; i++) {
        bool is_option = word_is(line, i, "PX");
        bool is_command = i == 1 && (word_is(line, 0, "PEXPIRE") || word_is(line, 0, "HPEXPIRE"));
        long ms = strtol(line->words[i + 1], NULL, 10);
        if ((is_option || is_command) && ms > 0 && ms <= SHORT_MS)
            nanosleep(&(struct timespec){.tv_nsec = (ms + 5) * 1000000L}, NULL);
    }
}

static void issue_all(const struct live_side *source, struct scratch *scratch)
{
    struct issuer *issuer = calloc(1, sizeof(*issuer));
    size_t size;
    uint8_t *text = session_file("stream/workload.txt.gz", &size);
    assert_non_null(issuer);
    issuer->control = test_connect(live_port(source));
    for (int i = 0; i < CLIENT_COUNT; i++)
        issuer->clients[i] = test_connect(live_port(source));
    for (char *at = (char *)text, *end; (size_t)(at - (char *)text) < size; at = end + 1) {
        struct line line;
        end = memchr(at, '\n', size - (size_t)(at - (char *)text));
        assert_non_null(end);
        *end = '\0';
        cut_line(at, &line);
        adapt(scratch, issuer->control, &line);
        issue(issuer, &line);
        wait_expired(&line);
    }
    fprintf(stderr,
            "%s: %u lines, %u answered with an error; unknown:%s\n",
            source->server.version,
            issuer->line_count,
            issuer->error_count,
            issuer->unknown);
    assert_true(issuer->error_count < issuer->line_count / 4);
    for (int i = 0; i < CLIENT_COUNT; i++)
        redisFree(issuer->clients[i]);
    redisFree(issuer->control);
    free(text);
    free(issuer);
}

/* ---- the tests ---- */

struct pair {
    const char *version;
    const char *session; /* whose snapshot the source begins with */
    struct contents_rules rules;
    const char *lost_key; /* of which the version tells its replicas too little; NULL: none */
};

/* What the source's version does not send to its replicas: how far XREADGROUP read, consumers that
 * got nothing, and that HINCRBYFLOAT keeps a field's expiry. A real replica differs in the same. */
static const struct pair standalone_pairs[] = {
    {"redis-6.0", "redis-6.0.16", {.ttl_slack_ms = 3000}, NULL},
    {"redis-7.0", "redis-7.0.15", {.any_entries_read = true, .any_idle_consumers = true}, NULL},
    {"redis-8.0", "redis-7.4.1", {.any_idle_consumers = true}, "hf:own"},
    {"valkey-8.1", "redis-7.0.15", {.any_idle_consumers = true}, NULL},
    {"valkey-9", "valkey-9.1.2-ver9", {.any_idle_consumers = true}, NULL},
    {0},
};

/* Those that a cluster takes whole, commands over several slots included. */
static const struct pair cluster_pairs[] = {{0}};

/* Streams whose groups were read by XREADGROUP, and the hash of HINCRBYFLOAT. */
static const char *const differing_keys[] = {"x:b", "x:g", "x:snap", "hf:own"};
#define DIFFERING_KEY_COUNT (sizeof(differing_keys) / sizeof(differing_keys[0]))

static void start_source(struct live_side *source, const struct pair *pair)
{
    struct session session;
    session_load(&session, pair->session);
    struct replay replay = replay_of(&session);
    replay.script.stream_size = 0;
    replay_into_replica(&replay, source, pair->version);
    session_free(&session);
}

static void assert_db_equal(const struct pair *pair,
                            const struct live_side *source,
                            const struct live_side *destination,
                            uint32_t db)
{
    json_t *wanted = contents_read(source->client, db);
    json_t *got = contents_read(destination->client, db);
    if (db == 0 && pair->lost_key != NULL) {
        json_object_del(wanted, pair->lost_key);
        json_object_del(got, pair->lost_key);
    }
    if (db == 0)
        assert_true(json_object_size(wanted) > 50);
    assert_int_equal(contents_differences(pair->version, wanted, got, &pair->rules), 0);
    json_decref(wanted);
    json_decref(got);
}

static void copy_workload(const struct pair *pair, uint32_t masters)
{
    struct live_side source, destination;
    struct scratch scratch;
    struct test_cli cli;
    if (!test_server_available(pair->version))
        return;
    start_source(&source, pair);
    live_side_start(&destination, pair->version, masters, 0, NULL);
    scratch_start(&scratch, pair->version);
    live_spawn(&cli, &source, &destination, masters > 0 ? "--db" : NULL, "0", NULL);
    live_wait_phase(&cli, "live");
    issue_all(&source, &scratch);
    live_wait_level(&cli, &source);
    live_stop(&cli);
    assert_int_equal(live_total(&cli, "diverged_no_effect"), 0);
    assert_int_equal(live_total(&cli, "diverged_error"), 0);
    for (uint32_t db = 0; db < (masters > 0 ? 1 : DB_COUNT); db++)
        assert_db_equal(pair, &source, &destination, db);
    /* Verification has no rules by versions: these have been compared above. */
    for (size_t i = 0; i < DIFFERING_KEY_COUNT; i++) {
        const char *key = differing_keys[i];
        redisContext *to =
            test_client_connection(destination.client, slot_of_key(key, strlen(key)));
        test_command_ok(live_redis(&source), "DEL %s", key);
        test_command_ok(to, "DEL %s", key);
    }
    live_assert_verified(&source, &destination, masters > 0 ? "--db" : NULL, "0", NULL);
    scratch_stop(&scratch);
    live_side_stop(&source);
    live_side_stop(&destination);
}

static void test_standalone(void **state)
{
    copy_workload(*state, 0);
}

static void test_cluster(void **state)
{
    copy_workload(*state, CLUSTER_MASTERS);
}

/* One test per pair, so that what is not there does not look like a test. */
#define TESTS_MAX 16

static size_t add_tests(struct CMUnitTest *tests,
                        const struct pair *pairs,
                        const char *way,
                        CMUnitTestFunction function)
{
    static char titles[TESTS_MAX][48];
    static size_t title_count;
    size_t count = 0;
    for (; pairs[count].version != NULL; count++) {
        char *title = titles[title_count++];
        snprintf(title, sizeof(titles[0]), "test_%s_%s", way, pairs[count].version);
        tests[count] = (struct CMUnitTest){.name = title,
                                           .test_func = function,
                                           .initial_state = (void *)(uintptr_t)&pairs[count]};
    }
    return count;
}

int main(void)
{
    struct CMUnitTest tests[TESTS_MAX];
    size_t count = add_tests(tests, standalone_pairs, "standalone", test_standalone);
    count += add_tests(tests + count, cluster_pairs, "cluster", test_cluster);
    cmocka_set_test_filter(getenv("SYNCLINE_TEST_FILTER"));
    if (!test_cli_available())
        return 77;
    return _cmocka_run_group_tests("workload", tests, count, NULL, NULL);
}
