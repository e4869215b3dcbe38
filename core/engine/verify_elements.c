/*
 * Keys whose payloads cannot be had: by type, then small values whole, many in one round trip, and
 * the rest in pieces, one at a time.
 */
#include <stdio.h>
#include <string.h>

#include "core/engine/verify_private.h"

/* A value up to these is read by one command. */
#define WHOLE_ELEMENTS_MAX 128
#define WHOLE_BYTES_MAX (64 << 10)

static void unstable_difference(struct verdict *verdict, const char *what)
{
    verdict_different(verdict, SYN_DIFFERENCE_VALUE);
    verdict->is_unstable = true;
    snprintf(verdict->detail,
             sizeof(verdict->detail),
             "%s: changed while it was read (%s)",
             value_type_name(verdict->source_type),
             what);
}

/* Both contents, unless one reading saw a change. */
static void readings_compare(struct work *work,
                             uint32_t index,
                             const struct value_reading *from,
                             const struct rdb_content *source,
                             const struct value_reading *to,
                             const struct rdb_content *destination)
{
    struct verdict *verdict = &work->verdicts[index];
    struct rdb_digest_value number = rdb_content_number(source, verify_detail(work->verify));
    verdict->source_low = number.low;
    verdict->source_high = number.high;
    if (from->is_unstable || to->is_unstable) {
        unstable_difference(verdict, from->is_unstable ? "at the source" : "at the destination");
        verdict->is_unstable = from->is_unstable;
        return;
    }
    verdict_by_content(work->verify, verdict, source, destination);
}

static struct value_reading
reading_of(struct work *work, uint32_t index, const struct verify_side *side)
{
    const struct verify *verify = work->verify;
    const struct verdict *verdict = &work->verdicts[index];
    struct verify_link *link =
        side == &verify->source ? work_source(work, index) : work_destination(work, index);
    struct slice key = work_name(work, index, link);
    return (struct value_reading){
        .control = &link->control,
        .key = (const char *)key.bytes,
        .key_size = key.size,
        .type = verdict->source_type,
        /* Asked for only where both know them: expired fields are then told apart by their time. */
        .with_field_ttl = verify->source.has_field_ttl && verify->destination.has_field_ttl,
        .has_hidden = side->has_field_ttl,
        .with_counters = side->has_expiretime,
        .value_bytes = verdict->value_bytes,
        .visitor = rdb_digest_visitor(),
        .err = work->err,
    };
}

/* ---- in pieces ---- */

static bool reading_show(void *arg,
                         const struct rdb_visitor *visitor,
                         void *visitor_arg,
                         bool *is_whole,
                         struct syn_err *err)
{
    struct value_reading *reading = arg;
    (void)err; /* is reading->err */
    reading->visitor = visitor;
    reading->arg = visitor_arg;
    if (!value_read(reading)) {
        return false;
    }
    *is_whole = !reading->is_unstable;
    return true;
}

static bool piecewise(struct work *work, uint32_t index)
{
    struct verify *verify = work->verify;
    struct verdict *verdict = &work->verdicts[index];
    struct value_reading from = reading_of(work, index, &verify->source);
    struct value_reading to = reading_of(work, index, &verify->destination);
    int64_t tolerance_ms = (int64_t)verify->config->ttl_tolerance_ms;
    int64_t forget_ms = clock_unix_ms() + tolerance_ms;
    struct rdb_content source, destination;
    struct rdb_digest *digest = payloads_digest(verify->payloads, forget_ms);
    from.arg = digest;
    if (!value_read(&from)) {
        return false;
    }
    rdb_digest_content(digest, &source);
    digest = payloads_digest(verify->payloads, forget_ms);
    to.arg = digest;
    if (!value_read(&to)) {
        return false;
    }
    rdb_digest_content(digest, &destination);
    readings_compare(work, index, &from, &source, &to, &destination);
    if (verdict->work != WORK_TIMES) {
        return true;
    }
    const struct times_feed source_feed = {.show = reading_show, .arg = &from};
    const struct times_feed destination_feed = {.show = reading_show, .arg = &to};
    bool is_equal;
    if (!times_compare(&source_feed,
                       &destination_feed,
                       verdict->expiring,
                       forget_ms,
                       tolerance_ms,
                       &is_equal,
                       work->err)) {
        return false;
    }
    verdict->work = WORK_NONE;
    if (is_equal) {
        verdict_equal(verify, verdict, VERDICT_CONTENT);
    }
    return true;
}

/* ---- whole ---- */

static bool whole_fetch(struct work *work, struct value_reading *reading, struct rdb_content *out)
{
    redisReply *reply = control_fetch(reading->control, work->err);
    if (reply == NULL) {
        return false;
    }
    struct rdb_digest *digest = payloads_digest(work->verify->payloads, -1);
    reading->arg = digest;
    value_show_whole(reading, reply);
    freeReplyObject(reply);
    rdb_digest_content(digest, out);
    return true;
}

static bool whole_ask(struct work *work, uint32_t index)
{
    const char *name;
    const char *const *extras;
    bool has_command = value_whole_command(work->verdicts[index].source_type, &name, &extras);
    ASSERT(has_command);
    return work_ask_both(work, index, name, extras);
}

static bool whole_compare(struct work *work, uint32_t index)
{
    struct value_reading from = reading_of(work, index, &work->verify->source);
    struct value_reading to = reading_of(work, index, &work->verify->destination);
    struct rdb_content source, destination;
    if (!whole_fetch(work, &from, &source) || !whole_fetch(work, &to, &destination)) {
        return false;
    }
    readings_compare(work, index, &from, &source, &to, &destination);
    return true;
}

/* ---- a batch ---- */

/* A module's value: its payload is all there is, however large. */
static bool module_compare(struct work *work, uint32_t index)
{
    struct verify *verify = work->verify;
    struct verdict *verdict = &work->verdicts[index];
    if (!verify->source.has_dump || !verify->destination.has_dump) {
        verdict_different(verdict, SYN_DIFFERENCE_VALUE);
        snprintf(verdict->detail,
                 sizeof(verdict->detail),
                 "module value: cannot be compared, since the %s refuses DUMP",
                 side_name(verify->source.has_dump ? SIDE_DESTINATION : SIDE_SOURCE));
        return true;
    }
    int64_t sent_ms = clock_unix_ms();
    if (!payloads_ask(work, index) || !work_flush(work) || !payloads_take(work, index, sent_ms)) {
        return false;
    }
    if (verdict->work == WORK_ELEMENTS) {
        verdict_different(verdict, SYN_DIFFERENCE_VALUE);
        snprintf(verdict->detail,
                 sizeof(verdict->detail),
                 "other bytes, in a form that is not known here or too large to look into");
    }
    return true;
}

/* A batch's part: its whole values are on their way together. */
static bool wholes_read(struct work *work, const uint32_t *wholes, uint32_t count)
{
    for (uint32_t n = 0; n < count; n++) {
        if (!whole_ask(work, wholes[n])) {
            return false;
        }
    }
    if (!work_flush(work)) {
        return false;
    }
    for (uint32_t n = 0; n < count; n++) {
        if (!whole_compare(work, wholes[n])) {
            return false;
        }
    }
    return true;
}

/* Lengths of the chosen keys on both sides; whether each is small enough for one command. */
static bool smallness_read(struct work *work, bool *are_small)
{
    for (uint32_t n = 0; n < work->index_count; n++) {
        uint32_t i = work->indices[n];
        if (!work_ask_both(work, i, value_length_command(work->verdicts[i].source_type), NULL)) {
            return false;
        }
    }
    if (!work_flush(work)) {
        return false;
    }
    const struct verify *verify = work->verify;
    bool with_field_ttl = verify->source.has_field_ttl && verify->destination.has_field_ttl;
    for (uint32_t n = 0; n < work->index_count; n++) {
        uint32_t i = work->indices[n];
        enum value_type type = work->verdicts[i].source_type;
        int64_t from, to;
        if (!work_length(work, work_source(work, i), &from) ||
            !work_length(work, work_destination(work, i), &to)) {
            return false;
        }
        int64_t max = type == VALUE_STRING ? WHOLE_BYTES_MAX : WHOLE_ELEMENTS_MAX;
        are_small[n] = from <= max && to <= max && type != VALUE_STREAM &&
                       !(type == VALUE_HASH && with_field_ttl) &&
                       work->verdicts[i].value_bytes <= VALUE_PIECE_BYTES;
    }
    return true;
}

/* Of the chosen keys, those that have equal types on both sides and are no modules stay. */
static bool types_settle(struct work *work)
{
    if (!work_types(work)) {
        return false;
    }
    uint32_t kept = 0;
    for (uint32_t n = 0; n < work->index_count; n++) {
        uint32_t i = work->indices[n];
        struct verdict *verdict = &work->verdicts[i];
        if (verdict_by_type(work->verify, verdict, clock_unix_ms())) {
            continue;
        }
        if (verdict->source_type != VALUE_OTHER) {
            work->indices[kept++] = i;
        } else if (!module_compare(work, i)) {
            return false;
        }
    }
    work->index_count = kept;
    return true;
}

bool work_elements(struct work *work)
{
    bool are_small[VERIFY_BATCH_KEYS];
    uint32_t wholes[VERIFY_BATCH_KEYS];
    uint32_t whole_count = 0;
    if (!types_settle(work) || !smallness_read(work, are_small)) {
        return false;
    }
    for (uint32_t n = 0; n < work->index_count; n++) {
        if (are_small[n]) {
            wholes[whole_count++] = work->indices[n];
        }
    }
    for (uint32_t first = 0; first < whole_count; first += VERIFY_RUN_KEYS) {
        uint32_t left = whole_count - first;
        if (!wholes_read(work, wholes + first, left < VERIFY_RUN_KEYS ? left : VERIFY_RUN_KEYS)) {
            return false;
        }
    }
    for (uint32_t n = 0; n < work->index_count; n++) {
        if (!are_small[n] && !piecewise(work, work->indices[n])) {
            return false;
        }
    }
    return true;
}
