/* The command line in a process of its own, in front of a false engine: what it prints, how it
 * ends, what signals do to it. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>
#include <jansson.h>

#include "test_cli_engine.h"
#include "tools/cli/cli.h"

#define DEADLINE_MS 20000
#define ARGUMENTS_MAX 16

struct run {
    pid_t pid;
    int out_fd;
    int err_fd;
    int status; /* exit status, -1: killed */
    char out[65536];
    char err[8192];
};

static struct run run;

static void read_text(int fd, char *text, size_t size)
{
    ssize_t got = pread(fd, text, size - 1, 0);
    text[got > 0 ? got : 0] = '\0';
}

/* Starts `syncline ARGS`, separated by spaces. */
static void start(const struct fake_plan *plan, const char *args)
{
    run.out_fd = memfd_create("out", 0);
    run.err_fd = memfd_create("err", 0);
    assert_true(run.out_fd >= 0);
    assert_true(run.err_fd >= 0);
    run.out[0] = '\0';
    run.err[0] = '\0';
    fflush(NULL);
    run.pid = fork();
    assert_true(run.pid >= 0);
    if (run.pid == 0) {
        static char words[2048];
        char *argv[ARGUMENTS_MAX + 2] = {words};
        int argc = 1;
        snprintf(words, sizeof(words), "syncline%s%s", args[0] != '\0' ? " " : "", args);
        for (char *c = words; *c != '\0'; c++) {
            if (*c == ' ' && argc <= ARGUMENTS_MAX) {
                *c = '\0';
                argv[argc++] = c + 1;
            }
        }
        dup2(run.out_fd, STDOUT_FILENO);
        dup2(run.err_fd, STDERR_FILENO);
        fake_plan = *plan;
        int status = cli_main(argc, argv);
        fflush(NULL);
        if (getenv("TEST_SHOW_ARGV") != NULL) {
            for (int i = 1; i < argc; i++) {
                dprintf(run.out_fd, "[%s]", argv[i]);
            }
        }
        _exit(status);
    }
}

static void pause_1ms(void)
{
    nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
}

/* Until the text has been printed on standard output. */
static void wait_for(const char *text)
{
    for (unsigned i = 0; i < DEADLINE_MS; i++) {
        read_text(run.out_fd, run.out, sizeof(run.out));
        if (strstr(run.out, text) != NULL) {
            return;
        }
        pause_1ms();
    }
    kill(run.pid, SIGKILL);
    waitpid(run.pid, NULL, 0);
    fail_msg("never printed: %s; but: %s", text, run.out);
}

static void finish(void)
{
    int status = 0;
    pid_t ended = 0;
    for (unsigned i = 0; i < DEADLINE_MS && ended == 0; i++) {
        ended = waitpid(run.pid, &status, WNOHANG);
        if (ended == 0) {
            pause_1ms();
        }
    }
    if (ended == 0) {
        kill(run.pid, SIGKILL);
        waitpid(run.pid, &status, 0);
        fail_msg("did not end");
    }
    run.status = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    read_text(run.out_fd, run.out, sizeof(run.out));
    read_text(run.err_fd, run.err, sizeof(run.err));
    close(run.out_fd);
    close(run.err_fd);
}

static void execute(const struct fake_plan *plan, const char *args)
{
    start(plan, args);
    finish();
}

static const struct fake_plan quick = {.end = SYN_CODE_OK};

static void expect_error(const char *args, int status, const char *line)
{
    execute(&quick, args);
    if (run.status != status || strcmp(run.err, line) != 0) {
        fail_msg(
            "syncline %s\nexpected %d: %sbut got %d: %s", args, status, line, run.status, run.err);
    }
}

/* A wrong command line is told in one line that names the option, with status 2 or 3. */
static void test_usage(void **state)
{
    (void)state;
    expect_error(
        "",
        2,
        "syncline: no command given (sync, verify, explain, rdb, help, version); see syncline "
        "help\n");
    expect_error("snyc a b",
                 2,
                 "syncline: no such command (sync, verify, explain, rdb, help, version); see "
                 "syncline help\n");
    expect_error("sync a b --on-nonemty stop",
                 2,
                 "syncline: unknown option --on-nonemty; did you mean --on-nonempty?\n");
    expect_error(
        "sync a b --memroy=9m", 2, "syncline: unknown option --memroy; did you mean --memory?\n");
    expect_error("sync a b --xyzzyplugh",
                 2,
                 "syncline: unknown option --xyzzyplugh; see syncline help sync\n");
    expect_error("sync a b -x",
                 2,
                 "syncline: unknown option -x; options have long names, see "
                 "syncline help sync\n");
    expect_error(
        "sync a b --rounds 3", 2, "syncline: --rounds is not an option of syncline sync\n");
    expect_error("verify a b --once", 2, "syncline: --once is not an option of syncline verify\n");
    expect_error("sync a b --memory", 2, "syncline: --memory needs a value: SIZE\n");
    expect_error("sync a b --memory --once", 2, "syncline: --memory needs a value: SIZE\n");
    expect_error("sync a b c",
                 2,
                 "syncline: too many arguments; syncline sync [OPTIONS] SOURCE DESTINATION\n");
    expect_error(
        "sync a b --memory 1m", 3, "syncline: --memory: \"1m\" is out of bounds (8m to 1024g)\n");
    expect_error("sync a",
                 3,
                 "syncline: destination: not given; set it as an argument or "
                 "--destination URI, in SYNCLINE_DESTINATION, or as destination: in "
                 "the configuration file\n");
    expect_error("sync a b --once --snapshot-only",
                 3,
                 "syncline: once and snapshot-only exclude each other: once also takes what is "
                 "written while the snapshot is copied\n");
    expect_error("sync a b --config /nonexistent",
                 3,
                 "syncline: configuration file: cannot open /nonexistent: No such file or "
                 "directory\n");
    expect_error("help nothing", 2, "syncline: no such command; see syncline help\n");
    execute(&quick, "sync redis://u:hunter2 b");
    assert_int_equal(run.status, 3);
    assert_null(strstr(run.err, "hunter2"));
}

/* Help comes from the table, so it can only be wrong by leaving something out. */
static void test_help(void **state)
{
    (void)state;
    size_t count;
    const struct syn_option *table = syn_options(&count);
    static char sync_help[65536];
    execute(&quick, "help sync");
    assert_int_equal(run.status, 0);
    memcpy(sync_help, run.out, sizeof(sync_help));
    execute(&quick, "sync a --help");
    assert_int_equal(run.status, 0);
    assert_string_equal(run.out, sync_help);
    execute(&quick, "verify --help");
    assert_int_equal(run.status, 0);
    for (size_t i = 0; i < count; i++) {
        char head[80];
        snprintf(head,
                 sizeof(head),
                 "\n  --%s%s%s\n",
                 table[i].name,
                 table[i].value_name != NULL ? " " : "",
                 table[i].value_name != NULL ? table[i].value_name : "");
        const char *at = strstr(sync_help, head);
        at = at != NULL ? at : strstr(run.out, head);
        if (at == NULL) {
            fail_msg("no help for%s", head);
        }
        /* Up to the next option, with line breaks as spaces. */
        char text[1024];
        size_t size = 0;
        for (const char *c = at + strlen(head); *c != '\0' && strncmp(c, "\n  --", 5) != 0; c++) {
            if (*c == '\n' || (*c == ' ' && size > 0 && text[size - 1] == ' ')) {
                continue;
            }
            text[size++] = *c;
        }
        text[size] = '\0';
        char wanted[80] = "command line only";
        if (table[i].env != NULL) {
            snprintf(wanted, sizeof(wanted), "%s", table[i].env);
        }
        assert_non_null(strstr(text, wanted));
        if (table[i].default_text != NULL) {
            snprintf(wanted, sizeof(wanted), "default: %s;", table[i].default_text);
            assert_non_null(strstr(text, wanted));
        }
    }
    for (const char *line = sync_help; *line != '\0'; line += strcspn(line, "\n") + 1) {
        assert_true(strcspn(line, "\n") <= 80);
    }
    execute(&quick, "--help");
    assert_int_equal(run.status, 0);
    static const char *const words[] = {
        "sync", "verify", "explain", "rdb", "help", "version", "130", "6 "};
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        assert_non_null(strstr(run.out, words[i]));
    }
    execute(&quick, "version");
    assert_int_equal(strncmp(run.out, "syncline 0.", 11), 0);
}

static void test_sync_text(void **state)
{
    (void)state; /* The life of a sync in text: phases, progress, the closing table, status 0. */
    execute(&quick, "sync a b --progress-interval=10ms");
    assert_int_equal(run.status, 0);
    static const char *const lines[] = {"precheck\n",
                                        "snapshot\n",
                                        "2 streams\n",
                                        "snapshot 50.0% keys=500/1000 ",
                                        "received=3.0 MiB",
                                        "\nphase "};
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        if (strstr(run.out, lines[i]) == NULL) {
            fail_msg("missing: %s in\n%s", lines[i], run.out);
        }
    }
    assert_null(strstr(run.out, "\x1b"));
    assert_string_equal(run.err, "syncline: warning: caf\xe9 is not UTF-8\n");
    execute(&quick, "sync a b --log-level error");
    assert_string_equal(run.err, "");
}

/* Every line must be an object of the schema: a program reads them blindly. */
static void test_sync_json(void **state)
{
    (void)state;
    static const struct fake_plan fails = {.end = SYN_CODE_SOURCE_CONNECT};
    execute(&fails, "sync a b --output json --progress-interval 10ms");
    assert_int_equal(run.status, 5);
    unsigned seen[6] = {0};
    static const char *const kinds[] = {"phase", "progress", "info", "warning", "error", "result"};
    json_t *last[6] = {NULL};
    for (char *line = run.out; *line != '\0';) {
        size_t size = strcspn(line, "\n");
        assert_int_equal(line[size], '\n');
        json_error_t error;
        json_t *event = json_loadb(line, size, 0, &error);
        if (event == NULL) {
            fail_msg("%s: %.*s", error.text, (int)size, line);
        }
        assert_true(json_integer_value(json_object_get(event, "time_ms")) > 1600000000000);
        const char *kind = json_string_value(json_object_get(event, "event"));
        unsigned k = 0;
        while (k < 6 && strcmp(kinds[k], kind) != 0) {
            k++;
        }
        assert_true(k < 6);
        seen[k]++;
        json_decref(last[k]);
        last[k] = event;
        line += size + 1;
    }
    for (unsigned k = 0; k < 6; k++) {
        assert_true(seen[k] > 0);
    }
    assert_int_equal(seen[4], 1);
    assert_int_equal(seen[5], 1);
    assert_string_equal(json_string_value(json_object_get(last[3], "text")), "caf? is not UTF-8");
    assert_string_equal(json_string_value(json_object_get(last[4], "code")), "source_connect");
    assert_int_equal(json_integer_value(json_object_get(last[4], "exit_status")), 5);
    assert_int_equal(json_integer_value(json_object_get(last[5], "exit_status")), 5);
    assert_true(json_is_array(json_object_get(last[5], "phases")));
    json_t *streams = json_object_get(last[1], "streams");
    assert_int_equal(json_array_size(streams), 2);
    json_t *first = json_array_get(streams, 0);
    assert_int_equal(json_integer_value(json_object_get(first, "lag_ms")), 20);
    assert_true(json_real_value(json_object_get(first, "percent")) == 25.0);
    assert_true(json_is_null(json_object_get(json_array_get(streams, 1), "snapshot_bytes_total")));
    assert_true(json_is_null(json_object_get(last[1], "lag_ms")));
    for (unsigned k = 0; k < 6; k++) {
        json_decref(last[k]);
    }
    assert_string_equal(run.err, "syncline: 10.0.0.1:6379: the connection broke\n");

    /* Errors before the start are events as well. */
    execute(&quick, "sync a b --output json --memroy 3");
    assert_int_equal(run.status, 2);
    assert_int_equal(strncmp(run.out, "{\"event\":\"error\",\"time_ms\":", 27), 0);
    assert_non_null(strstr(run.out, "\"code\":\"usage\",\"exit_status\":2,"));
}

static void test_sync_errors(void **state)
{
    (void)state; /* How the task ends decides the status. */
    static const struct {
        enum syn_code code;
        int status;
    } ends[] = {{SYN_CODE_INTERNAL, 1}, {SYN_CODE_SOURCE_DATA, 5}, {SYN_CODE_DESTINATION_AUTH, 7}};
    for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++) {
        struct fake_plan plan = {.end = ends[i].code};
        execute(&plan, "sync a b --progress-interval 10ms");
        assert_int_equal(run.status, ends[i].status);
        assert_non_null(strstr(run.err, "\nsyncline: 10.0.0.1:6379: the connection broke\n"));
    }
    static const struct fake_plan precheck = {.start_fails = true};
    execute(&precheck, "sync a b");
    assert_int_equal(run.status, 4);
    assert_string_equal(run.err, "syncline: the destination has keys\n");
}

static void signal_after(const struct fake_plan *plan, const char *args, const char *text, int sig)
{
    start(plan, args);
    wait_for(text);
    kill(run.pid, sig);
}

/* A first signal ends with everything written and a report; a second does not wait. */
static void test_signals(void **state)
{
    (void)state;
    static const struct fake_plan on = {.runs_on = true};
    signal_after(&on, "sync a b --progress-interval 10ms", "keys=", SIGTERM);
    finish();
    assert_int_equal(run.status, 0);
    assert_non_null(strstr(run.out, "\nphase "));
    assert_non_null(strstr(run.err, "ending after what was received is written"));

    static const struct fake_plan hangs = {.runs_on = true, .hangs = true};
    signal_after(&hangs, "sync a b --progress-interval 10ms", "keys=", SIGINT);
    for (unsigned i = 0; i < DEADLINE_MS && strstr(run.err, "once more") == NULL; i++) {
        read_text(run.err_fd, run.err, sizeof(run.err));
        pause_1ms();
    }
    kill(run.pid, SIGINT);
    finish();
    assert_int_equal(run.status, 130);

    /* While checking, nothing can be drained: it ends, and that is no error. */
    static const struct fake_plan checking = {.start_hangs = true};
    signal_after(&checking, "sync a b", "precheck", SIGINT);
    finish();
    assert_int_equal(run.status, 0);
}

static void test_verify(void **state)
{
    (void)state; /* Differences one per line with keys escaped, and the status for scripts. */
    execute(&quick, "verify a b --fast --rounds 2");
    assert_int_equal(run.status, 0);
    assert_int_equal(strncmp(run.out, "equal: 10 keys at the source", 28), 0);
    static const struct fake_plan two = {.difference_count = 2};
    execute(&two, "verify a b");
    assert_int_equal(run.status, 6);
    static const char line[] = "ttl      db 3 \"k\\\"\\n\\x00\\xff\": 5s, 9s\n";
    assert_int_equal(strncmp(run.out, line, strlen(line)), 0);
    assert_int_equal(strncmp(run.out + strlen(line), line, strlen(line)), 0);
    assert_non_null(strstr(run.out, "\ndifferent: 10 keys"));
    execute(&two, "verify a b --output=json");
    assert_int_equal(run.status, 6);
    json_error_t error;
    json_t *event = json_loads(run.out, JSON_DISABLE_EOF_CHECK, &error);
    assert_non_null(event);
    assert_string_equal(json_string_value(json_object_get(event, "event")), "difference");
    assert_string_equal(json_string_value(json_object_get(event, "kind")), "ttl");
    assert_string_equal(json_string_value(json_object_get(event, "key")), "k\\\"\\n\\x00\\xff");
    json_decref(event);
    assert_non_null(strstr(run.out, "\"event\":\"result\""));
    execute(&quick, "verify a");
    assert_int_equal(run.status, 3);

    static const struct fake_plan hangs = {.difference_count = 1, .verify_hangs = true};
    signal_after(&hangs, "verify a b", "ttl", SIGINT);
    finish();
    assert_int_equal(run.status, 130); /* it proves nothing */
    assert_non_null(strstr(run.out, "\ncut short: "));
}

/* Others can read the arguments of a process: secrets do not stay there (A3). */
static void test_argv(void **state)
{
    (void)state;
    setenv("TEST_SHOW_ARGV", "1", 1);
    execute(&quick,
            "sync redis://u:hunter2@h --destination=d --source-password=hunter2 "
            "--destination-password hunter2 --lanes 2 --log-level error");
    unsetenv("TEST_SHOW_ARGV");
    assert_int_equal(run.status, 0);
    assert_null(strstr(run.out, "hunter2"));
    assert_non_null(strstr(run.out,
                           "[--source-password=*******][--destination-password][*******]"
                           "[--lanes][2]"));
}

/* The environment, then the file, then the command line, through the whole program. */
static void test_precedence(void **state)
{
    (void)state;
    char path[] = "/tmp/syncline-cli-XXXXXX";
    int fd = mkstemp(path);
    static const char text[] = "source: a\ndestination: b\non_nonempty: stop\noutput: json\n"
                               "progress_interval: 10ms\n";
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    close(fd);
    char args[200];
    setenv("SYNCLINE_MEMORY", "1m", 1);
    snprintf(args, sizeof(args), "sync --config %s", path);
    expect_error(args, 3, "syncline: SYNCLINE_MEMORY: \"1m\" is out of bounds (8m to 1024g)\n");
    setenv("SYNCLINE_MEMORY", "9m", 1);
    setenv("SYNCLINE_OUTPUT", "text", 1);
    execute(&quick, args);
    assert_int_equal(run.status, 0);
    assert_int_equal(run.out[0], '{');
    snprintf(args, sizeof(args), "sync --config=%s --output text", path);
    execute(&quick, args);
    assert_int_equal(run.status, 0);
    assert_int_equal(run.out[0], 'p');
    unsetenv("SYNCLINE_MEMORY");
    unsetenv("SYNCLINE_OUTPUT");
    unlink(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_usage),
        cmocka_unit_test(test_help),
        cmocka_unit_test(test_sync_text),
        cmocka_unit_test(test_sync_json),
        cmocka_unit_test(test_sync_errors),
        cmocka_unit_test(test_signals),
        cmocka_unit_test(test_verify),
        cmocka_unit_test(test_argv),
        cmocka_unit_test(test_precedence),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
