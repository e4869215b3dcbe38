#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/live/live.h"

#define WORDS_MAX 40
#define TAIL_BYTES (256 << 10)

/* ---- sides ---- */

void live_side_start(struct live_side *side,
                     const char *version,
                     uint32_t masters,
                     uint32_t replicas_each,
                     const char *const *arguments)
{
    memset(side, 0, sizeof(*side));
    side->is_cluster = masters > 0;
    if (side->is_cluster)
        test_cluster_start(&side->cluster, version, masters, replicas_each, arguments);
    else
        test_server_start(&side->server, version, arguments);
    snprintf(side->uri, sizeof(side->uri), "redis://127.0.0.1:%u", live_port(side));
    side->client = test_client_new(live_port(side));
}

void live_side_stop(struct live_side *side)
{
    test_client_free(side->client);
    side->client = NULL;
    if (side->is_cluster)
        test_cluster_stop(&side->cluster);
    else
        test_server_stop(&side->server);
}

void live_server_return(struct test_server *server)
{
    uint64_t deadline = test_deadline(LIVE_WAIT_MS);
    char enabled[8], running[8], scheduled[8];
    test_server_restart(server);
    redisContext *redis = test_connect(server->port);
    test_info(redis, "aof_enabled", enabled, sizeof(enabled));
    if (strcmp(enabled, "1") == 0) {
        test_command_ok(redis, "BGREWRITEAOF");
        for (;;) {
            test_info(redis, "aof_rewrite_in_progress", running, sizeof(running));
            test_info(redis, "aof_rewrite_scheduled", scheduled, sizeof(scheduled));
            if (strcmp(running, "0") == 0 && strcmp(scheduled, "0") == 0)
                break;
            test_poll(deadline, "a rewritten AOF");
        }
    }
    redisFree(redis);
}

uint16_t live_port(const struct live_side *side)
{
    return side->is_cluster ? side->cluster.nodes[0].port : side->server.port;
}

redisContext *live_redis(const struct live_side *side)
{
    return test_client_at(side->client, 0);
}

/* ---- the program ---- */

static void words_collect(const char *words[WORDS_MAX],
                          const struct live_side *source,
                          const struct live_side *destination,
                          va_list args)
{
    uint32_t count = 0;
    words[count++] = "sync";
    words[count++] = source->uri;
    words[count++] = destination->uri;
    words[count++] = "--output";
    words[count++] = "json";
    words[count++] = "--progress-interval";
    words[count++] = "50ms";
    for (const char *word; (word = va_arg(args, const char *)) != NULL;) {
        if (count == WORDS_MAX - 1)
            test_fatal("too many words for the program");
        words[count++] = word;
    }
    words[count] = NULL;
}

void live_spawn(struct test_cli *cli,
                const struct live_side *source,
                const struct live_side *destination,
                ...)
{
    const char *words[WORDS_MAX];
    va_list args;
    va_start(args, destination);
    words_collect(words, source, destination, args);
    va_end(args);
    test_cli_spawn(cli, words);
}

int live_run(char **errors,
             const struct live_side *source,
             const struct live_side *destination,
             ...)
{
    const char *words[WORDS_MAX];
    va_list args;
    va_start(args, destination);
    words_collect(words, source, destination, args);
    va_end(args);
    return test_cli_run(words, LIVE_WAIT_MS, NULL, errors);
}

/* The end of what the program wrote: a long run writes megabytes of progress. */
static char *output_tail(const struct test_cli *cli)
{
    FILE *file = fopen(cli->out_path, "r");
    if (file == NULL)
        test_fatal("cannot open %s", cli->out_path);
    fseek(file, 0, SEEK_END);
    long size = ftell(file);
    long from = size > TAIL_BYTES ? size - TAIL_BYTES : 0;
    fseek(file, from, SEEK_SET);
    char *text = calloc(1, TAIL_BYTES + 1);
    if (text == NULL)
        test_fatal("out of memory");
    text[fread(text, 1, TAIL_BYTES, file)] = '\0';
    fclose(file);
    return text;
}

json_t *live_event(const struct test_cli *cli, const char *kind)
{
    char mark[64];
    snprintf(mark, sizeof(mark), "{\"event\":\"%s\"", kind);
    char *text = output_tail(cli);
    json_t *event = NULL;
    /* A line being written is passed over: only what a newline ends is whole. */
    for (char *end = strrchr(text, '\n'); end != NULL && event == NULL;) {
        *end = '\0';
        char *line_end = end;
        end = strrchr(text, '\n');
        char *line = end != NULL ? end + 1 : text;
        if (line_end > line && strncmp(line, mark, strlen(mark)) == 0)
            event = json_loads(line, 0, NULL);
    }
    free(text);
    return event;
}

static void must_run(struct test_cli *cli, const char *what)
{
    json_t *result = live_event(cli, "result");
    if (result == NULL)
        return;
    char *errors = test_cli_errors(cli);
    test_fatal("the program ended before %s: %s", what, errors);
}

void live_wait_phase(struct test_cli *cli, const char *phase)
{
    uint64_t deadline = test_deadline(LIVE_WAIT_MS);
    for (;;) {
        json_t *event = live_event(cli, "progress");
        const char *now = json_string_value(json_object_get(event, "phase"));
        bool is_there = now != NULL && strcmp(now, phase) == 0;
        json_decref(event);
        if (is_there)
            return;
        must_run(cli, phase);
        test_poll(deadline, phase);
    }
}

/* ---- level ---- */

struct target {
    char source[128];
    int64_t offset;
};

static int64_t server_offset(const struct live_side *side, const char *source)
{
    char value[32];
    const char *colon = strrchr(source, ':');
    unsigned port = colon != NULL ? (unsigned)strtoul(colon + 1, NULL, 10) : 0;
    redisContext *known = NULL;
    for (uint32_t i = 0; i < test_client_count(side->client); i++) {
        redisContext *context = test_client_at(side->client, i);
        /* A unix socket names no port; it is the only server then. */
        if (port == 0 || context->tcp.port == (int)port)
            known = context;
    }
    redisContext *context = known != NULL ? known : test_connect((uint16_t)port);
    test_info(context, "master_repl_offset", value, sizeof(value));
    if (known == NULL)
        redisFree(context);
    return strtoll(value, NULL, 10);
}

/* Replicas take a moment to have what their masters have. */
static void wait_for_replicas(const struct live_side *side)
{
    uint32_t masters = side->cluster.master_count;
    for (uint32_t i = masters; side->is_cluster && i < side->cluster.node_count; i++) {
        uint64_t deadline = test_deadline(LIVE_WAIT_MS);
        char address[32], master[32];
        snprintf(address, sizeof(address), ":%u", side->cluster.nodes[i].port);
        snprintf(master, sizeof(master), ":%u", side->cluster.nodes[(i - masters) % masters].port);
        int64_t wanted = server_offset(side, master);
        while (server_offset(side, address) < wanted)
            test_poll(deadline, "a replica to have what its master has");
    }
}

/* Whether every stream has reached its target; targets are read when a stream is first seen. */
static bool streams_are_level(const json_t *progress,
                              const struct live_side *source,
                              struct target *targets,
                              bool *has_targets)
{
    const json_t *streams = json_object_get(progress, "streams");
    size_t count = json_array_size(streams);
    bool is_level = count > 0;
    if (count > TEST_NODES_MAX)
        test_fatal("more streams than nodes");
    for (size_t i = 0; i < count; i++) {
        const json_t *stream = json_array_get(streams, i);
        if (!*has_targets) {
            const char *name = json_string_value(json_object_get(stream, "source"));
            targets[i].offset = server_offset(source, name);
        }
        const char *phase = json_string_value(json_object_get(stream, "phase"));
        int64_t applied = json_integer_value(json_object_get(stream, "offset_applied"));
        is_level = is_level && strcmp(phase, "live") == 0 && applied >= targets[i].offset;
    }
    *has_targets = count > 0;
    return is_level;
}

void live_wait_level(struct test_cli *cli, const struct live_side *source)
{
    struct target targets[TEST_NODES_MAX];
    bool has_targets = false;
    uint64_t deadline = test_deadline(LIVE_WAIT_MS);
    wait_for_replicas(source);
    for (;;) {
        json_t *progress = live_event(cli, "progress");
        bool is_level =
            progress != NULL && streams_are_level(progress, source, targets, &has_targets);
        json_decref(progress);
        if (is_level)
            return;
        must_run(cli, "it was level");
        test_poll(deadline, "all writes to be applied");
    }
}

void live_wait_exact(struct test_cli *cli)
{
    uint64_t deadline = test_deadline(LIVE_WAIT_MS);
    for (;;) {
        json_t *progress = live_event(cli, "progress");
        bool is_exact = json_is_false(json_object_get(progress, "ttl_put_off"));
        json_decref(progress);
        if (is_exact)
            return;
        must_run(cli, "times to live were exact");
        test_poll(deadline, "times to live to be exact");
    }
}

int64_t live_total(const struct test_cli *cli, const char *field)
{
    json_t *progress = live_event(cli, "progress");
    int64_t value = json_integer_value(json_object_get(progress, field));
    json_decref(progress);
    return value;
}

int64_t live_streams_sum(const struct test_cli *cli, const char *field)
{
    json_t *progress = live_event(cli, "progress");
    const json_t *streams = json_object_get(progress, "streams");
    int64_t sum = 0;
    for (size_t i = 0; i < json_array_size(streams); i++)
        sum += json_integer_value(json_object_get(json_array_get(streams, i), field));
    json_decref(progress);
    return sum;
}

/* ---- ends ---- */

void live_stop(struct test_cli *cli)
{
    test_cli_signal(cli, SIGINT);
    live_expect_end(cli, 0, NULL);
}

static void expect_texts(const char *text, va_list args)
{
    for (const char *wanted; (wanted = va_arg(args, const char *)) != NULL;) {
        if (strstr(text, wanted) == NULL)
            fail_msg("no \"%s\" in: %s", wanted, text);
    }
}

void live_expect_texts(const char *text, ...)
{
    va_list args;
    va_start(args, text);
    expect_texts(text, args);
    va_end(args);
}

void live_expect_end(struct test_cli *cli, int status, ...)
{
    int ended = test_cli_wait(cli, LIVE_WAIT_MS);
    char *errors = test_cli_errors(cli);
    if (ended != status)
        fail_msg("exit status %d instead of %d: %s", ended, status, errors);
    va_list args;
    va_start(args, status);
    expect_texts(errors, args);
    va_end(args);
    free(errors);
}

/* ---- writers ---- */

struct writer *live_writer(const struct live_side *source,
                           const struct live_side *destination,
                           uint64_t seed,
                           uint32_t rate_max)
{
    bool is_any_slot = !source->is_cluster && !destination->is_cluster;
    struct writer *writer = writer_start(&(struct writer_options){.port = live_port(source),
                                                                  .seed = seed,
                                                                  .key_count = 400,
                                                                  .rate_max = rate_max,
                                                                  .db_count = is_any_slot ? 3 : 0,
                                                                  .is_cross_slot = is_any_slot,
                                                                  .has_transactions = true});
    live_writer_more(writer, 200);
    return writer;
}

void live_writer_more(const struct writer *writer, uint64_t count)
{
    uint64_t deadline = test_deadline(LIVE_WAIT_MS);
    uint64_t wanted = writer_count(writer) + count;
    while (writer_count(writer) < wanted)
        test_poll(deadline, "the writer");
}
