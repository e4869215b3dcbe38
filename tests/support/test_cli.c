#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <signal.h>
#include <stdlib.h>

#include "tests/support/cli.h"

/* Tests of the program judge it by these: a status, an output or a signal that is reported wrongly
 * would hide every failure. A shell stands in for it. */
static void test_run_reports_status_and_outputs(void **state)
{
    (void)state;
    char *output, *errors;
    const char *const arguments[] = {"-c", "echo out; echo err >&2; exit 5", NULL};
    assert_int_equal(test_cli_run(arguments, 5000, &output, &errors), 5);
    assert_string_equal(output, "out\n");
    assert_string_equal(errors, "err\n");
    free(output);
    free(errors);
    assert_int_equal(test_cli_run((const char *[]){"-c", "kill -9 $$", NULL}, 5000, NULL, NULL),
                     -SIGKILL);
}

/* A program is watched while it runs, asked to end, and killed. SIGINT must reach it: a shell that
 * inherits it ignored could not trap it. */
static void test_spawn_wait_output_and_signal(void **state)
{
    (void)state;
    struct test_cli cli;
    static const char script[] =
        "trap 'echo bye; exit 3' INT; echo ready; while :; do sleep 0.05; done";
    test_cli_spawn(&cli, (const char *[]){"-c", script, NULL});
    test_cli_wait_output(&cli, "ready", 5000);
    test_cli_signal(&cli, SIGINT);
    assert_int_equal(test_cli_wait(&cli, 5000), 3);
    char *output = test_cli_output(&cli);
    assert_string_equal(output, "ready\nbye\n");
    free(output);
    test_cli_spawn(&cli, (const char *[]){"-c", script, NULL});
    test_cli_wait_output(&cli, "ready", 5000);
    test_cli_kill(&cli);
    assert_int_equal(cli.pid, 0);
}

static int use_shell(void **state)
{
    (void)state;
    return setenv("SYNCLINE_BINARY", "/bin/sh", 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_run_reports_status_and_outputs),
        cmocka_unit_test(test_spawn_wait_output_and_signal),
    };
    return cmocka_run_group_tests(tests, use_shell, NULL);
}
