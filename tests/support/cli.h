/*
 * Running the built `syncline` program, to its end or in the background.
 *
 * The path is SYNCLINE_BINARY: the environment's, else the one compiled in.
 * Threads: one, as in servers.h. Errors: fatal; a wrong exit status is the caller's to judge.
 */
#ifndef TEST_CLI_H
#define TEST_CLI_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct test_cli {
    pid_t pid; /* 0: ended */
    char out_path[160];
    char err_path[160];
};

const char *test_cli_path(void);
/* Whether the program has been built; if not, says "SKIPPED: …". */
bool test_cli_available(void);

/* `arguments` without the program's name, NULL-terminated ("sync", source, destination, NULL). */
void test_cli_spawn(struct test_cli *cli, const char *const *arguments);
void test_cli_signal(struct test_cli *cli, int signal);
/* Exit status, or -signal. Fatal with both outputs, after killing it, when it takes longer. */
int test_cli_wait(struct test_cli *cli, uint32_t timeout_ms);
/* SIGKILL and wait: the crash that resuming is about. */
void test_cli_kill(struct test_cli *cli);
/* What it wrote so far; the caller frees with free. */
char *test_cli_output(const struct test_cli *cli);
char *test_cli_errors(const struct test_cli *cli);
/* The most memory that it has had, while it runs; 1 under a sanitizer, which keeps what was freed.
 */
uint64_t test_cli_peak_bytes(const struct test_cli *cli);
/* Waits until its standard output holds `text`; fatal when it ends or the time passes before. */
void test_cli_wait_output(struct test_cli *cli, const char *text, uint32_t timeout_ms);

/* Spawn, wait, and what it printed. `output` and `errors` (freed with free) may be NULL. */
int test_cli_run(const char *const *arguments, uint32_t timeout_ms, char **output, char **errors);

#endif
