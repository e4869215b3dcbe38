/*
 * A batch of keys of the files and what the destination has of them, cheapest proof first:
 *
 *     sizes      so that no payload is asked for that memory has no room for
 *     payloads   DUMP and expiry, many keys in one round trip; equal bytes are equal, of others the
 *                digests are compared
 *     pieces     values too large for that, one at a time
 */
#include "core/engine/verify_file.h"

#include <stdio.h>
#include <string.h>

#include <xxhash.h>

#define UNKNOWN_SIZE_KEYS 50u /* dumped at a time when the destination does not tell sizes */

static uint64_t dump_bytes_max(const struct file_verify *verify)
{
    return verify->config->memory_bytes / FILE_PAYLOADS_SHARE;
}

/* ---- sizes ---- */

static bool sizes_read(struct file_verify *verify, struct syn_err *err)
{
    struct verify_side *side = &verify->destination;
    for (uint32_t i = 0; i < verify->count; i++) {
        const struct verify_key *key = &verify->names[i];
        const char *argv[] = {"MEMORY", "USAGE", key->bytes};
        const size_t sizes[] = {6, 5, key->size};
        if (!control_append(&file_link(verify, i)->control, 3, argv, sizes, err)) {
            return false;
        }
    }
    if (!verify_side_flush(side, err)) {
        return false;
    }
    for (uint32_t i = 0; i < verify->count; i++) {
        redisReply *reply = control_fetch(&file_link(verify, i)->control, err);
        if (reply == NULL) {
            return false;
        }
        if (reply->type == REDIS_REPLY_ERROR) {
            side->has_memory_usage = false; /* not allowed to this account: small steps instead */
        } else if (reply->type == REDIS_REPLY_INTEGER) {
            verify->outcomes[i].value_bytes = (uint64_t)reply->integer;
        }
        freeReplyObject(reply);
    }
    return true;
}

/* ---- payloads ---- */

static struct slice payload_of(const redisReply *reply)
{
    return (struct slice){.bytes = (const uint8_t *)reply->str, .size = reply->len};
}

static enum value_type payload_type(const redisReply *reply)
{
    return reply->type == REDIS_REPLY_STRING && reply->len > RDB_FOOTER_SIZE
               ? value_type_of_rdb((uint8_t)reply->str[0])
               : VALUE_NONE;
}

static bool payload_sum(struct file_verify *verify,
                        const struct file_key *key,
                        const redisReply *reply,
                        struct value_sum *sum,
                        struct syn_err *err)
{
    struct value_view view = file_view(verify, key);
    value_summer_begin(&verify->summer, &view);
    if (!rdb_payload_decode(
            verify->decoder, payload_of(reply), 0, value_summer_visitor(), &verify->summer, err)) {
        /* The codes of the decoder are those of a source. */
        err->code = err->code == SYN_CODE_SOURCE_DATA ? SYN_CODE_DESTINATION_PROTOCOL : err->code;
        err_context(err, "the destination's DUMP of a key");
        return false;
    }
    *sum = value_summer_end(&verify->summer);
    return true;
}

static bool payload_compare(struct file_verify *verify,
                            uint32_t i,
                            const redisReply *reply,
                            int64_t at,
                            struct syn_err *err)
{
    struct file_outcome *outcome = &verify->outcomes[i];
    const struct file_key *key = &verify->keys[i];
    struct file_found found = {.type = payload_type(reply), .at = at};
    int64_t now = clock_unix_ms();
    if (outcome_by_type(verify, key, &found, outcome, now)) {
        return true;
    }
    uint64_t raw = XXH3_64bits(reply->str, reply->len - RDB_FOOTER_SIZE);
    if (raw == key->raw_hash) {
        outcome->seen = key->sum.digest;
        outcome_equal(verify, key, outcome, FILE_EQUAL_PAYLOAD, now);
        return true;
    }
    struct value_sum sum;
    if (!payload_sum(verify, key, reply, &sum, err)) {
        return false;
    }
    outcome_by_content(verify, key, &sum, outcome, now);
    return true;
}

static bool is_too_large(const struct file_verify *verify, uint32_t i)
{
    return verify->outcomes[i].value_bytes > dump_bytes_max(verify);
}

/* One round trip for keys [first, last). */
static bool
payloads_read(struct file_verify *verify, uint32_t first, uint32_t last, struct syn_err *err)
{
    int64_t sent_ms = clock_unix_ms();
    for (uint32_t i = first; i < last; i++) {
        if (!is_too_large(verify, i) && (!file_ask(verify, i, "DUMP", err) ||
                                         !file_ask(verify, i, file_expiry_command(verify), err))) {
            return false;
        }
    }
    if (!verify_side_flush(&verify->destination, err)) {
        return false;
    }
    for (uint32_t i = first; i < last; i++) {
        if (is_too_large(verify, i)) {
            continue;
        }
        struct verify_link *link = file_link(verify, i);
        redisReply *reply = verify_fetch(link, "DUMP", err);
        int64_t at;
        bool ok = reply != NULL && file_expiry_fetch(verify, link, sent_ms, &at, err) &&
                  payload_compare(verify, i, reply, at, err);
        if (reply != NULL) {
            freeReplyObject(reply);
        }
        if (!ok) {
            return false;
        }
    }
    return true;
}

/* The end of the longest run from `first` whose payloads fit in flight. */
static uint32_t run_end(const struct file_verify *verify, uint32_t first, bool has_sizes)
{
    uint64_t bytes = 0;
    uint32_t end = first;
    while (end < verify->count) {
        uint64_t told = is_too_large(verify, end) ? 0 : verify->outcomes[end].value_bytes;
        uint64_t size = has_sizes ? told : verify->keys[end].size;
        if (end > first && (bytes + size > dump_bytes_max(verify) ||
                            (!has_sizes && end - first >= UNKNOWN_SIZE_KEYS))) {
            break;
        }
        bytes += size;
        end++;
    }
    return end;
}

/* ---- pieces ---- */

/* Both sides are read anew, with what pieces can tell. */
static bool large_compare(struct file_verify *verify, uint32_t i, struct syn_err *err)
{
    struct file_outcome *outcome = &verify->outcomes[i];
    struct file_key *key = &verify->keys[i];
    struct file_found found;
    int64_t sent_ms = clock_unix_ms();
    if (!file_type_ask(verify, i, err) || !file_type_fetch(verify, i, sent_ms, &found, err)) {
        return false;
    }
    if (outcome_by_type(verify, key, &found, outcome, clock_unix_ms())) {
        return true;
    }
    if (found.type == VALUE_OTHER) {
        outcome_differs(outcome, SYN_DIFFERENCE_VALUE);
        snprintf(outcome->detail,
                 sizeof(outcome->detail),
                 "module value of %llu bytes: too large to compare; raise --memory",
                 (unsigned long long)outcome->value_bytes);
        return true;
    }
    struct value_view view = file_view(verify, key);
    view.has_pending_times = false;
    struct value_sum sum;
    bool is_stable;
    if (!file_value_again(
            verify->config, &verify->file_summer, &view, key, &verify->names[i], err) ||
        !file_pieces(verify,
                     &verify->names[i],
                     key->sum.kind,
                     outcome->value_bytes,
                     &view,
                     &sum,
                     &is_stable,
                     err)) {
        return false;
    }
    outcome_by_content(verify, key, &sum, outcome, clock_unix_ms());
    if (!is_stable) {
        outcome_differs(outcome, SYN_DIFFERENCE_VALUE);
        snprintf(outcome->detail,
                 sizeof(outcome->detail),
                 "%s: changed while it was read at the destination",
                 value_type_name(found.type));
    }
    return true;
}

static bool full_compare(struct file_verify *verify, struct syn_err *err)
{
    const struct verify_side *side = &verify->destination;
    /* Nothing is larger than the whole: a small server needs no sizes. */
    bool is_small = side->used_bytes_max <= dump_bytes_max(verify);
    if (!is_small && side->has_memory_usage && !sizes_read(verify, err)) {
        return false;
    }
    bool has_sizes = is_small || side->has_memory_usage;
    for (uint32_t first = 0; first < verify->count;) {
        uint32_t end = run_end(verify, first, has_sizes);
        if (!payloads_read(verify, first, end, err)) {
            return false;
        }
        first = end;
    }
    for (uint32_t i = 0; i < verify->count; i++) {
        if (is_too_large(verify, i) && !large_compare(verify, i, err)) {
            return false;
        }
    }
    return true;
}

bool file_compare(struct file_verify *verify, struct syn_err *err)
{
    ASSERT(verify->count <= VERIFY_BATCH_KEYS);
    for (uint32_t i = 0; i < verify->count; i++) {
        verify->outcomes[i] = (struct file_outcome){.kind = FILE_DIFFERENT, .seen_at = -2};
    }
    return verify->config->verify == VERIFY_FAST ? file_compare_fast(verify, err)
                                                 : full_compare(verify, err);
}
