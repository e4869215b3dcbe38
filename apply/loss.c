#include "apply/loss.h"

#include <stdio.h>

#include "apply/stream_private.h"

const char *loss_outcome_name(enum loss_outcome outcome)
{
    static const char *const names[LOSS_OUTCOME_COUNT] = {
        [LOSS_DEGRADED] = "degraded",
        [LOSS_SKIPPED] = "skipped",
        [LOSS_CORRUPT] = "corrupt",
    };
    ASSERT(outcome < LOSS_OUTCOME_COUNT);
    return names[outcome];
}

static _Atomic uint64_t *loss_counter(struct stream *stream, enum loss_outcome outcome)
{
    switch (outcome) {
    case LOSS_SKIPPED:
        return &stream->values_skipped;
    case LOSS_CORRUPT:
        return &stream->values_corrupt;
    default:
        return &stream->values_degraded;
    }
}

static void loss_log(struct stream *stream, const struct loss *loss)
{
    static const char *const words[LOSS_OUTCOME_COUNT] = {
        [LOSS_DEGRADED] = "is not written in full",
        [LOSS_SKIPPED] = "is left out",
        [LOSS_CORRUPT] = "is set aside",
    };
    if (stream->losses_logged == LOSSES_LOGGED_MAX) {
        return;
    }
    stream->losses_logged++;
    char key[32] = "unknown";
    if (loss->key.bytes != NULL) {
        snprintf(key,
                 sizeof(key),
                 "%016llx",
                 (unsigned long long)key_hash(loss->key.bytes, loss->key.size));
    }
    log_warning("source %s, snapshot byte %llu: a %s (key hash %s, database %u of the destination) "
                "%s: %s%s",
                loss->source,
                (unsigned long long)loss->offset,
                loss->type,
                key,
                loss->db,
                words[loss->outcome],
                loss->reason,
                stream->losses_logged == LOSSES_LOGGED_MAX ? "; more of these are only counted"
                                                           : "");
}

void stream_lose(struct stream *stream, struct loss loss)
{
    char text[ENDPOINT_TEXT_MAX];
    loss.source = endpoint_text(&stream->feed->options.endpoint, text);
    if (!loss.is_known_value) {
        counter_add(loss_counter(stream, loss.outcome), 1);
    }
    loss_log(stream, &loss);
    const struct loss_sink *sink = &stream->task->losses;
    struct syn_err err;
    if (sink->record != NULL && !sink->record(sink->arg, &loss, &err)) {
        failure_raise(stream->task->failure, &err);
    }
}
