/*
 * The fast mode: types, expiries and lengths, in two round trips for a batch.
 */
#include <stdio.h>

#include "core/engine/verify_file.h"

static const char *length_command(enum value_type type)
{
    static const char *const commands[VALUE_TYPE_COUNT] = {
        [VALUE_STRING] = "STRLEN",
        [VALUE_LIST] = "LLEN",
        [VALUE_SET] = "SCARD",
        [VALUE_HASH] = "HLEN",
        [VALUE_ZSET] = "ZCARD",
        [VALUE_STREAM] = "XLEN",
    };
    return commands[type];
}

/* Decides what types and expiries decide, and asks for the length of the others. */
static bool types_compare(struct file_verify *verify, int64_t sent_ms, struct syn_err *err)
{
    for (uint32_t i = 0; i < verify->count; i++) {
        struct file_outcome *outcome = &verify->outcomes[i];
        const struct file_key *key = &verify->keys[i];
        struct file_found found;
        if (!file_type_fetch(verify, i, sent_ms, &found, err)) {
            return false;
        }
        int64_t now = clock_unix_ms();
        if (!outcome_by_type(verify, key, &found, outcome, now)) {
            outcome->length_command = length_command(found.type);
            if (outcome->length_command == NULL) {
                outcome_equal(verify, key, outcome, FILE_EQUAL_CONTENT, now);
            }
        }
    }
    return true;
}

static bool length_compare(struct file_verify *verify, uint32_t i, struct syn_err *err)
{
    struct file_outcome *outcome = &verify->outcomes[i];
    const struct file_key *key = &verify->keys[i];
    redisReply *reply = control_fetch(&file_link(verify, i)->control, err);
    if (reply == NULL) {
        return false;
    }
    /* An error: it is of another type by now. */
    int64_t length = reply->type == REDIS_REPLY_INTEGER ? reply->integer : -1;
    freeReplyObject(reply);
    outcome->seen.low = (uint64_t)length;
    if (length >= 0 && (uint64_t)length == key->sum.count) {
        outcome_equal(verify, key, outcome, FILE_EQUAL_CONTENT, clock_unix_ms());
        return true;
    }
    outcome_differs(outcome, SYN_DIFFERENCE_LENGTH);
    snprintf(outcome->detail,
             sizeof(outcome->detail),
             "%s: length %llu in the file, %lld at the destination",
             value_type_name(value_type_of_kind(key->sum.kind)),
             (unsigned long long)key->sum.count,
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
    if (!verify_side_flush(&verify->destination, err) || !types_compare(verify, sent_ms, err)) {
        return false;
    }
    for (uint32_t i = 0; i < verify->count; i++) {
        const char *name = verify->outcomes[i].length_command;
        if (name != NULL && !file_ask(verify, i, name, err)) {
            return false;
        }
    }
    if (!verify_side_flush(&verify->destination, err)) {
        return false;
    }
    for (uint32_t i = 0; i < verify->count; i++) {
        if (verify->outcomes[i].length_command != NULL && !length_compare(verify, i, err)) {
            return false;
        }
    }
    return true;
}
