/* The fast mode: type, length and expiry of every key, in two round trips. */
#include <stdio.h>

#include "core/engine/verify_private.h"

static bool length_compare(struct work *work, uint32_t index)
{
    struct verdict *verdict = &work->verdicts[index];
    int64_t from, to;
    if (!work_length(work, work_source(work, index), &from) ||
        !work_length(work, work_destination(work, index), &to)) {
        return false;
    }
    verdict->source_low = (uint64_t)from;
    if (from == to && from >= 0) {
        verdict_equal(work->verify, verdict, VERDICT_FAST);
        return true;
    }
    verdict_different(verdict, SYN_DIFFERENCE_LENGTH);
    snprintf(verdict->detail,
             sizeof(verdict->detail),
             "%s: length %lld at the source, %lld at the destination",
             value_type_name(verdict->source_type),
             (long long)from,
             (long long)to);
    return true;
}

/* Asks for lengths where they decide; of those keys the indices stay. */
static bool lengths_ask(struct work *work)
{
    uint32_t kept = 0;
    for (uint32_t n = 0; n < work->index_count; n++) {
        uint32_t i = work->indices[n];
        struct verdict *verdict = &work->verdicts[i];
        verdict->source_high = verdict->source_type;
        if (verdict_by_type(work->verify, verdict, clock_unix_ms())) {
            continue;
        }
        const char *name = value_length_command(verdict->source_type);
        if (name == NULL) {
            verdict_equal(work->verify, verdict, VERDICT_FAST);
            continue;
        }
        if (!work_ask_both(work, i, name, NULL)) {
            return false;
        }
        work->indices[kept++] = i;
    }
    work->index_count = kept;
    return work_flush(work);
}

bool work_fast(struct work *work, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        work->indices[i] = i;
    }
    work->index_count = count;
    if (!work_types(work) || !lengths_ask(work)) {
        return false;
    }
    for (uint32_t n = 0; n < work->index_count; n++) {
        if (!length_compare(work, work->indices[n])) {
            return false;
        }
    }
    return true;
}
