/*
 * The file of losses: one JSON object per line for each value that is written in part or left out,
 * with its key. Private to core/engine; its fields are told in tools/cli/EVENTS.md.
 *
 * Threads:   losses_record by any, one line at a time. Ownership: losses_close, of a zeroed struct
 *            too. The file is appended to, and readable by its owner alone when it is made here:
 *            keys may be secrets.
 * Errors:    SYN_CODE_SYSTEM, with the path.
 */
#ifndef ENGINE_LOSSES_H
#define ENGINE_LOSSES_H

#include <pthread.h>
#include <stdio.h>

#include "apply/loss.h"

struct losses {
    FILE *file; /* NULL: not open */
    const char *path;
    pthread_mutex_t lock;
};

/* `path` must stay valid until the close. */
MUST_CHECK bool losses_open(struct losses *losses, const char *path, struct syn_err *err);
void losses_close(struct losses *losses);
/* A loss_sink's record, with the losses as its arg. The line is in the file when it returns. */
bool losses_record(void *arg, const struct loss *loss, struct syn_err *err);

#endif
