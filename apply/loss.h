/*
 * Losses: values of a snapshot that are not at the destination as they are at the source, each told
 * with its key and the reason.
 *
 * Every loss is counted in its stream and logged by the key's hash (the first LOSSES_LOGGED_MAX of
 * a stream). Who wants the keys gives the task a sink.
 *
 * Threads:   the stream's decoder. Sinks are called by all decoders, at any time.
 * Ownership: what a sink is given is valid until it returns.
 * Limits:    no loss is dropped. Losses are rare, so a sink may write a line to a file for each.
 * Errors:    a sink that fails ends the task: what was to be recorded is not.
 */
#ifndef APPLY_LOSS_H
#define APPLY_LOSS_H

#include "core/base/base.h"
#include "rdb/rdb.h"

#define LOSSES_LOGGED_MAX 100

/* What becomes of a snapshot value that is damaged, though its end is known. */
enum corrupt_policy {
    CORRUPT_STOP,
    CORRUPT_SKIP, /* a loss; the destination has no such key afterwards */
};

enum loss_outcome {
    LOSS_DEGRADED, /* written without what the destination cannot represent   */
    LOSS_SKIPPED,  /* left out, since the destination cannot represent it      */
    LOSS_CORRUPT,  /* set aside, since it is damaged or the destination takes it for that */
    LOSS_OUTCOME_COUNT,
};
/* "degraded" …; static. */
const char *loss_outcome_name(enum loss_outcome outcome);

struct loss {
    enum loss_outcome outcome;
    const char *source;  /* endpoint                                              */
    uint32_t db;         /* at the destination                                    */
    struct slice key;    /* bytes NULL: no longer known                           */
    const char *type;    /* "hash (listpack)" …                                   */
    uint64_t offset;     /* of the value, in the snapshot                         */
    const char *reason;  /* one line without key or content                       */
    uint64_t count;      /* DEGRADED: fields or pending entries; else 1           */
    bool is_known_value; /* another loss of a value that was counted already      */
};

struct loss_sink {
    /* False: err. NULL: nobody wants them. */
    bool (*record)(void *arg, const struct loss *loss, struct syn_err *err);
    void *arg;
};

struct stream;
/* Counts, logs, records. `source` is filled in here. A sink's failure is raised in the task. */
void stream_lose(struct stream *stream, struct loss loss);

#endif
