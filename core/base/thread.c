#include "core/base/thread.h"

#include <signal.h>
#include <stdio.h>

bool thread_start(pthread_t *thread,
                  const char *role,
                  unsigned index,
                  void *(*main)(void *),
                  void *arg,
                  struct syn_err *err)
{
    sigset_t all;
    sigset_t before;
    sigfillset(&all);
    /* The new thread inherits the mask of this one at its creation. */
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int failed = pthread_create(thread, NULL, main, arg);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (failed != 0) {
        return ERR_SYS(err, SYN_CODE_SYSTEM, failed, "cannot start the %s thread", role);
    }
    char name[16];
    snprintf(name, sizeof(name), "sync-%s%u", role, index);
    pthread_setname_np(*thread, name);
    return true;
}
