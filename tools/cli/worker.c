#include "tools/cli/worker.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

static bool system_error(struct syn_err *err, int number, const char *what)
{
    *err = (struct syn_err){.code = SYN_CODE_SYSTEM, .sys_errno = number, .func = __func__};
    snprintf(err->msg, sizeof(err->msg), "%s: %s", what, strerror(number));
    return false;
}

bool signals_init(struct signals *signals, struct syn_err *err)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    *signals = (struct signals){.signal_fd = -1, .wake_fd = -1};
    int failed = pthread_sigmask(SIG_BLOCK, &set, NULL);
    if (failed != 0) {
        return system_error(err, failed, "cannot block signals");
    }
    /* A reader of our output that goes away must not end the copy. */
    signal(SIGPIPE, SIG_IGN);
    signals->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    signals->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (signals->signal_fd < 0 || signals->wake_fd < 0) {
        failed = errno;
        signals_deinit(signals);
        return system_error(err, failed, "cannot read signals");
    }
    return true;
}

void signals_deinit(struct signals *signals)
{
    if (signals->signal_fd >= 0) {
        close(signals->signal_fd);
    }
    if (signals->wake_fd >= 0) {
        close(signals->wake_fd);
    }
    *signals = (struct signals){.signal_fd = -1, .wake_fd = -1};
}

void signals_wake(struct signals *signals)
{
    uint64_t one = 1;
    /* It can only fail when a wake-up is pending already. */
    ssize_t ignored = write(signals->wake_fd, &one, sizeof(one));
    (void)ignored;
}

unsigned signals_wait(struct signals *signals, int timeout_ms)
{
    struct pollfd fds[] = {{.fd = signals->signal_fd, .events = POLLIN},
                           {.fd = signals->wake_fd, .events = POLLIN}};
    (void)poll(fds, 2, timeout_ms);
    uint64_t wakes;
    ssize_t ignored = read(signals->wake_fd, &wakes, sizeof(wakes));
    (void)ignored;
    struct signalfd_siginfo info;
    unsigned count = 0;
    while (read(signals->signal_fd, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
        count++;
    }
    return count;
}

uint64_t monotonic_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static void *worker_main(void *arg)
{
    struct worker *worker = arg;
    worker->call(worker->arg);
    pthread_mutex_lock(&worker->lock);
    worker->is_done = true;
    pthread_mutex_unlock(&worker->lock);
    signals_wake(worker->signals);
    return NULL;
}

bool worker_start(struct worker *worker, struct syn_err *err)
{
    worker->is_done = false;
    pthread_mutex_init(&worker->lock, NULL);
    int failed = pthread_create(&worker->thread, NULL, worker_main, worker);
    if (failed != 0) {
        pthread_mutex_destroy(&worker->lock);
        return system_error(err, failed, "cannot start a thread");
    }
    return true;
}

bool worker_is_done(struct worker *worker)
{
    pthread_mutex_lock(&worker->lock);
    bool is_done = worker->is_done;
    pthread_mutex_unlock(&worker->lock);
    return is_done;
}

void worker_join(struct worker *worker)
{
    pthread_join(worker->thread, NULL);
    pthread_mutex_destroy(&worker->lock);
}
