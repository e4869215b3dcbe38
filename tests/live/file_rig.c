#include "tests/live/file_rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>

#define WORDS_MAX 40

static struct live_side standard, other;
struct live_side *file_destination = &standard;

int file_rig_start(void **state)
{
    (void)state;
    live_side_start(&standard, TEST_REQUIRED_VERSION, 0, 0, NULL);
    return 0;
}

int file_rig_stop(void **state)
{
    (void)state;
    live_side_stop(&standard);
    return 0;
}

int file_rig_empty(void **state)
{
    (void)state;
    file_destination = &standard; /* also after a test that failed */
    file_side_empty(&standard);
    return 0;
}

void file_other_start(const char *version, uint32_t masters)
{
    live_side_start(&other, version, masters, 0, NULL);
    file_destination = &other;
}

void file_other_stop(void)
{
    live_side_stop(&other);
    file_destination = &standard;
}

void file_side_empty(const struct live_side *side)
{
    for (uint32_t i = 0; i < test_client_count(side->client); i++) {
        redisContext *context = test_client_at(side->client, i);
        test_command_ok(context, "FLUSHALL");
        if (test_has_command(context, "function"))
            test_command_ok(context, "FUNCTION FLUSH");
    }
}

static void spawn(struct test_cli *cli, const char *uri, va_list args)
{
    const char *words[WORDS_MAX] = {
        "sync", uri, file_destination->uri, "--output", "json", "--progress-interval", "20ms"};
    uint32_t count = 7;
    while ((words[count] = va_arg(args, const char *)) != NULL)
        count++;
    test_cli_spawn(cli, words);
}

void file_spawn(struct test_cli *cli, const char *uri, ...)
{
    va_list args;
    va_start(args, uri);
    spawn(cli, uri, args);
    va_end(args);
}

void file_load(const char *uri, ...)
{
    struct test_cli cli;
    va_list args;
    va_start(args, uri);
    spawn(&cli, uri, args);
    va_end(args);
    live_expect_end(&cli, 0, NULL);
}

void file_verify(const char *uri)
{
    const char *words[] = {"verify", uri, file_destination->uri, NULL};
    char *output, *errors;
    int status = test_cli_run(words, LIVE_WAIT_MS, &output, &errors);
    if (status != 0)
        fail_msg("verify ended with %d: %s%s", status, output, errors);
    free(output);
    free(errors);
}

const char *file_save(redisContext *context, const struct test_server *server, char path[300])
{
    test_command_ok(context, "SAVE");
    snprintf(path, 300, "%s/dump.rdb", server->folder);
    return path;
}
