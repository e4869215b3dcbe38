/*
 * Signals, and blocking calls that signals can cut short.
 *
 * SIGINT and SIGTERM are blocked before any thread exists and read from a descriptor by the main
 * thread, which therefore never blocks in the library: long calls run on a worker thread.
 */
#ifndef CLI_WORKER_H
#define CLI_WORKER_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "core/engine/syn.h"

struct signals {
    int signal_fd;
    int wake_fd; /* an eventfd: something happened */
};

bool signals_init(struct signals *signals, struct syn_err *err);
void signals_deinit(struct signals *signals);
/* Any thread. */
void signals_wake(struct signals *signals);
/* Waits for a signal, a wake-up or the timeout; returns how many signals came. */
unsigned signals_wait(struct signals *signals, int timeout_ms);

uint64_t monotonic_ms(void);

/* A thread that makes one call and then wakes the main thread. */
struct worker {
    struct signals *signals;
    void (*call)(void *arg);
    void *arg;
    pthread_t thread;
    pthread_mutex_t lock;
    bool is_done; /* under lock */
};
bool worker_start(struct worker *worker, struct syn_err *err);
bool worker_is_done(struct worker *worker);
void worker_join(struct worker *worker);

#endif
