/* The generator is only worth what it makes: a write command that it leaves out is never compared,
 * and a form that always fails compares nothing. */
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

#include "tests/support/client.h"
#include "tests/support/generator.h"
#include "tests/support/servers.h"

#define COMMANDS 60000 /* enough for the rarest form to have its chance */

/* Write commands that are left out, and why. */
static const char *const left_out[] = {
    "MIGRATE",           /* needs a third server; its effect is a DEL */
    "CLUSTER FLUSHSLOT", /* not applied: the task ends and says so */
};

static bool is_made(const char *name)
{
    for (const char *const *made = generator_command_names(); *made != NULL; made++) {
        if (strcasecmp(*made, name) == 0)
            return true;
    }
    return false;
}

static bool is_left_out(const char *name)
{
    for (size_t i = 0; i < sizeof(left_out) / sizeof(left_out[0]); i++) {
        if (strcasecmp(left_out[i], name) == 0)
            return true;
    }
    return false;
}

static bool is_write(const redisReply *command)
{
    const redisReply *flags = command->element[2];
    for (size_t i = 0; i < flags->elements; i++) {
        if (strcmp(flags->element[i]->str, "write") == 0)
            return true;
    }
    return false;
}

/* A command of COMMAND's answer, and the subcommands in it; how many are neither made nor left out.
 */
static uint32_t count_missing(const char *version, const redisReply *command)
{
    bool has_subcommands = command->elements > 9 && command->element[9]->elements > 0;
    uint32_t count = 0;
    char name[64];
    for (size_t i = 0; has_subcommands && i < command->element[9]->elements; i++)
        count += count_missing(version, command->element[9]->element[i]);
    snprintf(name, sizeof(name), "%s", command->element[0]->str);
    for (char *c = name; *c != '\0'; c++)
        *c = *c == '|' ? ' ' : *c;
    /* Before 7.0 a container stands for its subcommands. */
    bool is_container = strcasecmp(name, "XGROUP") == 0;
    if (has_subcommands || is_container || !is_write(command) || is_made(name) || is_left_out(name))
        return count;
    fprintf(stderr, "%s: the generator does not make %s\n", version, name);
    return count + 1;
}

/* Runs it alone; the forms that never succeeded. */
static uint32_t count_failing(const char *version, uint16_t port)
{
    struct generator_options options = {.port = port,
                                        .seed = 1,
                                        .db_count = 4,
                                        .has_flushes = false,
                                        .has_database_moves = true,
                                        .has_patterns = true,
                                        .has_asking = true};
    char *text = NULL;
    size_t size = 0;
    uint32_t failing = 0;
    char *rest = NULL;
    FILE *report = open_memstream(&text, &size);
    assert_non_null(report);
    struct generator *generator = generator_start(&options);
    uint64_t deadline = test_deadline(120000);
    while (generator_count(generator) < COMMANDS)
        test_poll(deadline, "the generator");
    assert_true(generator_stop(generator, report) >= COMMANDS);
    fclose(report);
    for (char *line = strtok_r(text, "\n", &rest); line != NULL;
         line = strtok_r(NULL, "\n", &rest)) {
        bool is_meant_to_fail = strstr(line, "@script3") != NULL;
        if (strtoull(line, NULL, 10) > 0 || is_meant_to_fail)
            continue;
        fprintf(stderr, "%s: never succeeded: %s\n", version, line);
        failing++;
    }
    free(text);
    return failing;
}

static void test_every_version(void **state)
{
    (void)state;
    for (size_t i = 0; test_versions[i] != NULL; i++) {
        struct test_server server;
        if (!test_server_available(test_versions[i]))
            continue;
        test_server_start(&server, test_versions[i], NULL);
        redisContext *redis = test_connect(server.port);
        redisReply *commands = test_command(redis, "COMMAND");
        uint32_t missing = 0;
        for (size_t n = 0; n < commands->elements; n++)
            missing += count_missing(test_versions[i], commands->element[n]);
        freeReplyObject(commands);
        redisFree(redis);
        assert_int_equal(missing, 0);
        /* The rarest may have bad luck. */
        assert_true(count_failing(test_versions[i], server.port) <= 3);
        test_server_stop(&server);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_version),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
