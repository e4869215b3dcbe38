/*
 * Child processes of a test program: all are known, all die with it.
 *
 * Threads: one, as in servers.h.
 */
#ifndef TEST_PROCESS_H
#define TEST_PROCESS_H

#include <stdint.h>
#include <sys/types.h>

/* Starts argv[0] (NULL-terminated list) with both outputs appended to files. Fatal on failure. */
pid_t process_start(const char *const *argv, const char *out_path, const char *err_path);
/* Signals and reaps; 0 is ignored. */
void process_kill(pid_t pid);
/* True when it ended within the time; *status as waitpid gives it. */
int process_wait(pid_t pid, uint32_t timeout_ms, int *status);

#endif
