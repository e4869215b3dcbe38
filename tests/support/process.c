#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "core/base/clock.h"
#include "tests/support/process.h"
#include "tests/support/servers.h"

#define PROCESSES_MAX 256

static pid_t processes[PROCESSES_MAX]; /* 0: a free place */
static char folder[96];
static pid_t owner; /* a forked child that exits must not kill its parent's servers */

static int remove_entry(const char *path, const struct stat *status, int kind, struct FTW *walk)
{
    (void)status;
    (void)kind;
    (void)walk;
    return remove(path);
}

static void clean_up(int status, void *arg)
{
    (void)arg;
    if (owner != getpid())
        return;
    for (uint32_t i = 0; i < PROCESSES_MAX; i++)
        process_kill(processes[i]);
    if (folder[0] == '\0')
        return;
    if (status == 0 || status == 77)
        nftw(folder, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
    else
        fprintf(stderr, "logs are kept in %s\n", folder);
}

static void prepare(void)
{
    if (owner == getpid())
        return;
    owner = getpid();
    /* The exit status decides whether the logs are worth keeping, which atexit does not tell. */
    on_exit(clean_up, NULL);
}

const char *test_folder(void)
{
    prepare();
    if (folder[0] == '\0') {
        const char *base = getenv("TMPDIR");
        snprintf(folder, sizeof(folder), "%s/syncline-test-XXXXXX", base != NULL ? base : "/tmp");
        if (mkdtemp(folder) == NULL) {
            fprintf(stderr, "cannot make %s: %s\n", folder, strerror(errno));
            exit(1);
        }
    }
    return folder;
}

void test_fatal(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fprintf(stderr, "FATAL: ");
    vfprintf(stderr, format, args);
    fprintf(stderr, "\n");
    va_end(args);
    exit(1);
}

static void redirect(const char *path, int fd)
{
    int file = open(path, O_WRONLY | O_CREAT | O_APPEND, 0600);
    if (file < 0 || dup2(file, fd) < 0)
        _exit(127);
}

static void
run_child(const char *const *argv, const char *out_path, const char *err_path, pid_t parent)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(127); /* the test died before the signal was asked for */
    int null = open("/dev/null", O_RDONLY);
    if (null >= 0)
        dup2(null, STDIN_FILENO);
    redirect(out_path, STDOUT_FILENO);
    redirect(err_path, STDERR_FILENO);
    /* A test in the background of a shell has these ignored, and would hand that on. */
    signal(SIGINT, SIG_DFL);
    signal(SIGQUIT, SIG_DFL);
    signal(SIGPIPE, SIG_DFL);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    for (int fd = 3; fd < 1024; fd++)
        fcntl(fd, F_SETFD, FD_CLOEXEC);
    /* execv takes char *const *, for history's sake; it does not write to the words. */
    union {
        const char *const *words;
        char *const *exec;
    } list = {.words = argv};
    execv(argv[0], list.exec);
    fprintf(stderr, "cannot run %s: %s\n", argv[0], strerror(errno));
    _exit(127);
}

pid_t process_start(const char *const *argv, const char *out_path, const char *err_path)
{
    prepare();
    uint32_t place = 0;
    while (place < PROCESSES_MAX && processes[place] != 0)
        place++;
    if (place == PROCESSES_MAX)
        test_fatal("more than %d processes at a time", PROCESSES_MAX);
    fflush(NULL);
    pid_t parent = getpid();
    pid_t pid = fork();
    if (pid < 0)
        test_fatal("fork: %s", strerror(errno));
    if (pid == 0)
        run_child(argv, out_path, err_path, parent);
    processes[place] = pid;
    return pid;
}

static void forget(pid_t pid)
{
    for (uint32_t i = 0; i < PROCESSES_MAX; i++) {
        if (processes[i] == pid)
            processes[i] = 0;
    }
}

void process_kill(pid_t pid)
{
    if (pid <= 0)
        return;
    kill(pid, SIGKILL);
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        continue;
    forget(pid);
}

int process_wait(pid_t pid, uint32_t timeout_ms, int *status)
{
    uint64_t deadline = test_deadline(timeout_ms);
    for (;;) {
        pid_t ended = waitpid(pid, status, WNOHANG);
        if (ended == pid) {
            forget(pid);
            return 1;
        }
        if (ended < 0 && errno != EINTR)
            test_fatal("waitpid(%d): %s", (int)pid, strerror(errno));
        if (test_left_ms(deadline) == 0)
            return 0;
        nanosleep(&(struct timespec){.tv_nsec = 2000000}, NULL);
    }
}

uint64_t test_deadline(uint32_t timeout_ms)
{
    return clock_monotonic_ms() + timeout_ms;
}

uint32_t test_left_ms(uint64_t deadline)
{
    uint64_t now = clock_monotonic_ms();
    return now >= deadline ? 0 : (uint32_t)(deadline - now);
}

void test_poll(uint64_t deadline, const char *what)
{
    if (test_left_ms(deadline) == 0)
        test_fatal("timed out: %s", what);
    nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL);
}
