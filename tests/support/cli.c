#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/support/cli.h"
#include "tests/support/process.h"
#include "tests/support/servers.h"
#include "tests/support/transfer.h"

#define WORDS_MAX 64

const char *test_cli_path(void)
{
    const char *path = getenv("SYNCLINE_BINARY");
    return path != NULL && path[0] != '\0' ? path : SYNCLINE_BINARY;
}

bool test_cli_available(void)
{
    if (access(test_cli_path(), X_OK) == 0)
        return true;
    fprintf(stderr, "SKIPPED: %s is not built\n", test_cli_path());
    return false;
}

/* There before the child runs, so that its output can be looked at from the first moment. */
static void create_file(const char *path)
{
    FILE *file = fopen(path, "w");
    if (file == NULL)
        test_fatal("cannot create %s", path);
    fclose(file);
}

/* Programs run in one thread and in several by turns, unless the environment or the arguments say
 * how. */
static void choose_threads(const char *const *arguments)
{
    static bool is_chosen, is_one;
    bool says = arguments[0] == NULL || strcmp(arguments[0], "sync") != 0;
    for (uint32_t i = 0; arguments[i] != NULL; i++) {
        says = says || strcmp(arguments[i], "--one-thread") == 0 ||
               strcmp(arguments[i], "--readers") == 0 || strcmp(arguments[i], "--decoders") == 0;
    }
    if (!is_chosen && getenv("SYNCLINE_ONE_THREAD") != NULL)
        return;
    is_chosen = true;
    if (says) {
        unsetenv("SYNCLINE_ONE_THREAD");
        return;
    }
    is_one = !is_one;
    setenv("SYNCLINE_ONE_THREAD", is_one ? "on" : "off", 1);
}

void test_cli_spawn(struct test_cli *cli, const char *const *arguments)
{
    choose_threads(arguments);
    static uint32_t run_count;
    const char *argv[WORDS_MAX + 2] = {test_cli_path()};
    for (uint32_t i = 0; arguments[i] != NULL; i++) {
        if (i == WORDS_MAX)
            test_fatal("more than %d arguments", WORDS_MAX);
        argv[i + 1] = arguments[i];
    }
    run_count++;
    snprintf(cli->out_path, sizeof(cli->out_path), "%s/run-%u.out", test_folder(), run_count);
    snprintf(cli->err_path, sizeof(cli->err_path), "%s/run-%u.err", test_folder(), run_count);
    create_file(cli->out_path);
    create_file(cli->err_path);
    cli->pid = process_start(argv, cli->out_path, cli->err_path);
}

void test_cli_signal(struct test_cli *cli, int signal)
{
    if (cli->pid == 0 || kill(cli->pid, signal) != 0)
        test_fatal("the program to signal does not run");
    /* All of its threads stand still then. */
    int status;
    if (signal == SIGSTOP &&
        (waitpid(cli->pid, &status, WUNTRACED) != cli->pid || !WIFSTOPPED(status)))
        test_fatal("the program to stop ended");
}

char *test_cli_output(const struct test_cli *cli)
{
    return test_file_read(cli->out_path, NULL);
}

char *test_cli_errors(const struct test_cli *cli)
{
    return test_file_read(cli->err_path, NULL);
}

uint64_t test_cli_peak_bytes(const struct test_cli *cli)
{
#ifdef __SANITIZE_ADDRESS__
    (void)cli;
    return 1;
#else
    char path[64], line[256];
    unsigned long long kib = 0;
    snprintf(path, sizeof(path), "/proc/%d/status", (int)cli->pid);
    FILE *file = fopen(path, "r");
    if (file == NULL)
        test_fatal("cannot open %s", path);
    while (fgets(line, sizeof(line), file) != NULL) {
        if (strncmp(line, "VmHWM:", 6) == 0)
            kib = strtoull(line + 6, NULL, 10);
    }
    fclose(file);
    if (kib == 0)
        test_fatal("%s does not tell the peak of memory", path);
    return kib * 1024;
#endif
}

static void print_outputs(const struct test_cli *cli)
{
    char *out = test_cli_output(cli);
    char *err = test_cli_errors(cli);
    fprintf(stderr, "---- its output\n%s\n---- its errors\n%s\n----\n", out, err);
    free(out);
    free(err);
}

int test_cli_wait(struct test_cli *cli, uint32_t timeout_ms)
{
    int status;
    if (cli->pid == 0)
        test_fatal("the program to wait for does not run");
    if (!process_wait(cli->pid, timeout_ms, &status)) {
        test_cli_kill(cli);
        print_outputs(cli);
        test_fatal("%s did not end within %u ms", test_cli_path(), timeout_ms);
    }
    cli->pid = 0;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

void test_cli_kill(struct test_cli *cli)
{
    process_kill(cli->pid);
    cli->pid = 0;
}

void test_cli_wait_output(struct test_cli *cli, const char *text, uint32_t timeout_ms)
{
    uint64_t deadline = test_deadline(timeout_ms);
    for (;;) {
        int status;
        /* Looked at first: what an ended program wrote is complete. */
        bool has_ended = process_wait(cli->pid, 0, &status);
        if (has_ended)
            cli->pid = 0;
        char *out = test_cli_output(cli);
        bool is_there = strstr(out, text) != NULL;
        free(out);
        if (is_there)
            return;
        if (has_ended || test_left_ms(deadline) == 0) {
            print_outputs(cli);
            test_fatal("no \"%s\" in the output", text);
        }
        test_poll(deadline, text);
    }
}

int test_cli_run(const char *const *arguments, uint32_t timeout_ms, char **output, char **errors)
{
    struct test_cli cli;
    test_cli_spawn(&cli, arguments);
    int status = test_cli_wait(&cli, timeout_ms);
    if (output != NULL)
        *output = test_cli_output(&cli);
    if (errors != NULL)
        *errors = test_cli_errors(&cli);
    return status;
}
