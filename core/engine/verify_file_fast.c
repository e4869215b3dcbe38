/*
 * The fast mode: types, expiries and lengths, in two round trips for a batch.
 */
#include <stdio.h>

#include "core/engine/verify_file.h"

/* Decides what types and expiries decide, and asks for the length of the others. */
static bool types_compare(struct file_verify *verify, int64_t sent_ms, struct syn_err *err)
{
    for (uint32_t i = 0; i < verify->count; i++) {
        struct file_outcome *outcome = &verify->outcomes[i];
        struct verdict *verdict = &outcome->verdict;
        if (!file_type_fetch(verify, i, sent_ms, verdict, err)) {
            return false;
        }
        if (!file_by_type(verify, i)) {
            outcome->length_command = value_length_command(verdict->source_type);
            if (outcome->length_command == NULL) {
                verdict_equal(&verify->base, verdict, VERDICT_FAST);
            }
        }
    }
    return true;
}

static bool length_compare(struct file_verify *verify, uint32_t i, struct syn_err *err)
{
    struct file_outcome *outcome = &verify->outcomes[i];
    struct verdict *verdict = &outcome->verdict;
    uint64_t count = verify->contents[i].count;
    redisReply *reply = control_fetch(&file_link(verify, i)->control, err);
    if (reply == NULL) {
        return false;
    }
    /* An error: it is of another type by now. */
    int64_t length = reply->type == REDIS_REPLY_INTEGER ? reply->integer : -1;
    freeReplyObject(reply);
    outcome->seen.low = (uint64_t)length;
    if (length >= 0 && (uint64_t)length == count) {
        verdict_equal(&verify->base, verdict, VERDICT_FAST);
        return true;
    }
    verdict_different(verdict, SYN_DIFFERENCE_LENGTH);
    snprintf(verdict->detail,
             sizeof(verdict->detail),
             "%s: length %llu at the source, %lld at the destination",
             value_type_name(verdict->source_type),
             (unsigned long long)count,
             (long long)length);
    return true;
}

bool file_compare_fast(struct file_verify *verify, struct syn_err *err)
{
    int64_t sent_ms = clock_unix_ms();
    for (uint32_t i = 0; i < verify->count; i++) {
        if (!file_type_ask(verify, i, err)) {
            return false;
        }
    }
    if (!verify_side_flush(&verify->base.destination, err) ||
        !types_compare(verify, sent_ms, err)) {
        return false;
    }
    for (uint32_t i = 0; i < verify->count; i++) {
        const char *name = verify->outcomes[i].length_command;
        if (name != NULL && !file_ask(verify, i, name, err)) {
            return false;
        }
    }
    if (!verify_side_flush(&verify->base.destination, err)) {
        return false;
    }
    for (uint32_t i = 0; i < verify->count; i++) {
        if (verify->outcomes[i].length_command != NULL && !length_compare(verify, i, err)) {
            return false;
        }
    }
    return true;
}
