/*
 * Comparing a batch of keys:
 *
 *     sizes      only where a server holds enough for one value to be too large to dump
 *     payloads   DUMP and expiry of every key from both sides, two runs of keys on their way
 *     times      hashes too large to keep whose fields seem to expire at other times
 *     elements   by commands: what is too large, or cannot be dumped
 *
 * Per connection replies come in the order of the requests, so both loops over the keys, asking and
 * fetching, go in the same order and never need a table. Requests never wait for replies that
 * nobody reads: a run's requests fit into the sockets' buffers, and servers keep their answers.
 */
#include <stdio.h>
#include <string.h>

#include "core/engine/verify_private.h"

/* What one element is taken for where only their number is known. */
#define ELEMENT_BYTES 64u

/* ---- asking ---- */

struct verify_link *work_source(const struct work *work, uint32_t index)
{
    return verify_owner(&work->verify->source, work->keys[index].bytes, work->keys[index].size);
}

struct verify_link *work_destination(const struct work *work, uint32_t index)
{
    return verify_owner(
        &work->verify->destination, work->keys[index].bytes, work->keys[index].size);
}

static struct verify_link *
work_link(const struct work *work, const struct verify_side *side, uint32_t index)
{
    return side == &work->verify->source ? work_source(work, index) : work_destination(work, index);
}

bool work_flush(struct work *work)
{
    return verify_side_flush(&work->verify->source, work->err) &&
           verify_side_flush(&work->verify->destination, work->err);
}

bool work_ask(struct work *work,
              uint32_t index,
              struct verify_link *link,
              const char *name,
              const char *const *extras)
{
    const struct verify_key *key = &work->keys[index];
    return verify_append(link, name, key->bytes, key->size, extras, work->err);
}

bool work_ask_both(struct work *work, uint32_t index, const char *name, const char *const *extras)
{
    return work_ask(work, index, work_source(work, index), name, extras) &&
           work_ask(work, index, work_destination(work, index), name, extras);
}

bool work_length(struct work *work, struct verify_link *link, int64_t *length)
{
    redisReply *reply = control_fetch(&link->control, work->err);
    if (reply == NULL) {
        return false;
    }
    *length = reply->type == REDIS_REPLY_INTEGER ? reply->integer : -1;
    freeReplyObject(reply);
    return true;
}

/* ---- types ---- */

static bool type_fetch(struct work *work, struct verify_link *link, enum value_type *type)
{
    redisReply *reply = verify_fetch(link, "TYPE", work->err);
    if (reply == NULL) {
        return false;
    }
    *type = reply->str != NULL ? value_type_of_name(reply->str) : VALUE_OTHER;
    freeReplyObject(reply);
    return true;
}

static bool type_and_expiry_fetch(struct work *work,
                                  struct verify_link *link,
                                  int64_t sent_ms,
                                  enum value_type *type,
                                  int64_t *at)
{
    int64_t ttl;
    if (!type_fetch(work, link, type) ||
        !verify_fetch_integer(link, verify_expiry_command(work->verify), &ttl, work->err)) {
        return false;
    }
    *at = verify_expiry(work->verify, ttl, sent_ms);
    return true;
}

bool work_types(struct work *work)
{
    const char *expiry = verify_expiry_command(work->verify);
    int64_t sent_ms = clock_unix_ms();
    for (uint32_t n = 0; n < work->index_count; n++) {
        uint32_t i = work->indices[n];
        if (!work_ask_both(work, i, "TYPE", NULL) || !work_ask_both(work, i, expiry, NULL)) {
            return false;
        }
    }
    if (!work_flush(work)) {
        return false;
    }
    for (uint32_t n = 0; n < work->index_count; n++) {
        uint32_t i = work->indices[n];
        struct verdict *verdict = &work->verdicts[i];
        if (!type_and_expiry_fetch(
                work, work_source(work, i), sent_ms, &verdict->source_type, &verdict->source_at) ||
            !type_and_expiry_fetch(work,
                                   work_destination(work, i),
                                   sent_ms,
                                   &verdict->destination_type,
                                   &verdict->destination_at)) {
            return false;
        }
    }
    return true;
}

/* ---- sizes ---- */

static void size_is(struct verdict *verdict, uint64_t bytes)
{
    verdict->value_bytes = bytes > verdict->value_bytes ? bytes : verdict->value_bytes;
}

static bool usage_fetch(struct work *work, struct verify_side *side, uint32_t index)
{
    redisReply *reply = control_fetch(&work_link(work, side, index)->control, work->err);
    if (reply == NULL) {
        return false;
    }
    if (reply->type == REDIS_REPLY_ERROR) {
        side->has_memory_usage = false; /* not allowed to this account: by lengths instead */
    } else if (reply->type == REDIS_REPLY_INTEGER) {
        size_is(&work->verdicts[index], (uint64_t)reply->integer);
    }
    freeReplyObject(reply);
    return true;
}

static bool usages_read(struct work *work, struct verify_side *side)
{
    for (uint32_t n = 0; n < work->index_count; n++) {
        const struct verify_key *key = &work->keys[work->indices[n]];
        const char *argv[] = {"MEMORY", "USAGE", key->bytes};
        const size_t sizes[] = {6, 5, key->size};
        struct verify_link *link = work_link(work, side, work->indices[n]);
        if (!control_append(&link->control, 3, argv, sizes, work->err)) {
            return false;
        }
    }
    if (!work_flush(work)) {
        return false;
    }
    for (uint32_t n = 0; n < work->index_count; n++) {
        if (!usage_fetch(work, side, work->indices[n])) {
            return false;
        }
    }
    return true;
}

/* Without MEMORY USAGE: types, then lengths. */
static bool lengths_read(struct work *work, struct verify_side *side)
{
    enum value_type types[VERIFY_BATCH_KEYS];
    for (uint32_t n = 0; n < work->index_count; n++) {
        uint32_t i = work->indices[n];
        if (!work_ask(work, i, work_link(work, side, i), "TYPE", NULL)) {
            return false;
        }
    }
    if (!work_flush(work)) {
        return false;
    }
    for (uint32_t n = 0; n < work->index_count; n++) {
        uint32_t i = work->indices[n];
        struct verify_link *link = work_link(work, side, i);
        if (!type_fetch(work, link, &types[n])) {
            return false;
        }
    }
    for (uint32_t n = 0; n < work->index_count; n++) {
        uint32_t i = work->indices[n];
        const char *name = value_length_command(types[n]);
        if (name != NULL && !work_ask(work, i, work_link(work, side, i), name, NULL)) {
            return false;
        }
    }
    if (!work_flush(work)) {
        return false;
    }
    for (uint32_t n = 0; n < work->index_count; n++) {
        uint32_t i = work->indices[n];
        int64_t length = 0;
        if (value_length_command(types[n]) != NULL &&
            !work_length(work, work_link(work, side, i), &length)) {
            return false;
        }
        uint64_t each = types[n] == VALUE_STRING ? 1 : ELEMENT_BYTES;
        size_is(&work->verdicts[i], length > 0 ? (uint64_t)length * each : 0);
    }
    return true;
}

/* Of the chosen keys at this side. */
static bool side_sizes_read(struct work *work, struct verify_side *side)
{
    if (side->has_memory_usage && !usages_read(work, side)) {
        return false;
    }
    return side->has_memory_usage || lengths_read(work, side);
}

static bool may_be_large(const struct verify_side *side)
{
    return side->used_bytes_max > VERIFY_DUMP_BYTES_MAX;
}

/* Sizes at the source; what is not there, or where the source is small, at the destination. A value
 * that is large only at the destination will come as a surprise, which costs that server memory and
 * nobody else. */
static bool sizes_read(struct work *work, uint32_t count)
{
    struct verify *verify = work->verify;
    for (uint32_t i = 0; i < count; i++) {
        work->indices[i] = i;
    }
    work->index_count = count;
    if (may_be_large(&verify->source) && !side_sizes_read(work, &verify->source)) {
        return false;
    }
    if (!may_be_large(&verify->destination)) {
        return true;
    }
    work->index_count = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (work->verdicts[i].value_bytes == 0) {
            work->indices[work->index_count++] = i;
        }
    }
    return work->index_count == 0 || side_sizes_read(work, &verify->destination);
}

/* ---- payloads ---- */

static bool is_too_large(const struct work *work, uint32_t index)
{
    return work->verdicts[index].value_bytes > VERIFY_DUMP_BYTES_MAX;
}

struct run {
    uint32_t first;
    uint32_t end;
    int64_t sent_ms;
};

/* The longest run behind `first` whose payloads fit in flight; asked for. */
static bool run_ask(struct work *work, uint32_t first, uint32_t count, struct run *run)
{
    uint64_t bytes = 0;
    *run = (struct run){.first = first, .end = first, .sent_ms = clock_unix_ms()};
    while (run->end < count && run->end - first < VERIFY_RUN_KEYS) {
        uint32_t i = run->end;
        if (!is_too_large(work, i)) {
            bytes += work->verdicts[i].value_bytes;
            if (i > first && bytes > VERIFY_RUN_BYTES) {
                break;
            }
            if (!payloads_ask(work, i)) {
                return false;
            }
        }
        run->end++;
    }
    return work_flush(work);
}

static bool run_take(struct work *work, const struct run *run)
{
    for (uint32_t i = run->first; i < run->end; i++) {
        if (is_too_large(work, i)) {
            work->verdicts[i].work = WORK_ELEMENTS;
        } else if (!payloads_take(work, i, run->sent_ms)) {
            return false;
        }
    }
    return true;
}

/* While one run's answers are looked at, the servers make those of the next. */
static bool payloads_read(struct work *work, uint32_t count)
{
    struct run run;
    if (!run_ask(work, 0, count, &run)) {
        return false;
    }
    while (run.first < run.end) {
        struct run next;
        if (!run_ask(work, run.end, count, &next) || !run_take(work, &run)) {
            return false;
        }
        run = next;
    }
    return true;
}

/* ---- a batch ---- */

static bool times_settle(struct work *work, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        if (work->verdicts[i].work == WORK_TIMES && !payloads_times(work, i)) {
            return false;
        }
    }
    return true;
}

static bool elements_settle(struct work *work, uint32_t count)
{
    work->index_count = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (work->verdicts[i].work == WORK_ELEMENTS) {
            work->indices[work->index_count++] = i;
        }
    }
    return work->index_count == 0 || work_elements(work);
}

static bool full_compare(struct work *work, uint32_t count)
{
    struct verify *verify = work->verify;
    if ((may_be_large(&verify->source) || may_be_large(&verify->destination)) &&
        !sizes_read(work, count)) {
        return false;
    }
    if (verify->source.has_dump && verify->destination.has_dump) {
        if (!payloads_read(work, count) || !times_settle(work, count)) {
            return false;
        }
    } else {
        for (uint32_t i = 0; i < count; i++) {
            work->verdicts[i].work = WORK_ELEMENTS;
        }
    }
    return elements_settle(work, count);
}

bool verify_compare(struct verify *verify,
                    const struct verify_key *keys,
                    uint32_t count,
                    struct verdict *verdicts,
                    struct syn_err *err)
{
    ASSERT(count <= VERIFY_BATCH_KEYS);
    struct work work = {
        .verify = verify,
        .keys = keys,
        .verdicts = verdicts,
        .indices = verify->indices,
        .err = err,
    };
    for (uint32_t i = 0; i < count; i++) {
        verdicts[i] = (struct verdict){.kind = VERDICT_GONE};
    }
    return verify->config->verify == VERIFY_FAST ? work_fast(&work, count)
                                                 : full_compare(&work, count);
}
