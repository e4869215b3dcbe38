/*
 * A batch of keys of the files and what the destination has of them, cheapest proof first:
 *
 *     sizes      so that no payload is asked for that memory has no room for
 *     payloads   DUMP and expiry, many keys in one round trip; equal bytes are equal, of others the
 *                contents are compared
 *     elements   by commands, one at a time: what is too large for that, or cannot be dumped
 *     times      hashes whose fields seem to expire at other times
 */
#include "core/engine/verify_file.h"

#include <stdio.h>
#include <string.h>

#include <xxhash.h>

#define UNKNOWN_SIZE_KEYS 50u /* dumped at a time when the destination does not tell sizes */
#define PIECE_SHARE 64        /* of --memory: a reply, as far as the average element tells  */

static uint64_t dump_bytes_max(const struct file_verify *verify)
{
    return verify->config->memory_bytes / FILE_PAYLOADS_SHARE;
}

int64_t file_forget_ms(const struct file_verify *verify)
{
    return verify->base.destination.has_field_ttl
               ? clock_unix_ms() + (int64_t)verify->config->ttl_tolerance_ms
               : -1;
}

/* ---- asking ---- */

struct verify_link *file_link(struct file_verify *verify, uint32_t i)
{
    return verify_owner(&verify->base.destination, verify->names[i].bytes, verify->names[i].size);
}

bool file_ask(struct file_verify *verify, uint32_t i, const char *name, struct syn_err *err)
{
    const struct verify_key *key = &verify->names[i];
    return verify_append(file_link(verify, i), name, key->bytes, key->size, NULL, err);
}

static bool expiry_fetch(struct file_verify *verify,
                         struct verify_link *link,
                         int64_t sent_ms,
                         struct verdict *verdict,
                         struct syn_err *err)
{
    int64_t ttl;
    if (!verify_fetch_integer(link, verify_expiry_command(&verify->base), &ttl, err)) {
        return false;
    }
    verdict->destination_at = verify_expiry(&verify->base, ttl, sent_ms);
    return true;
}

bool file_type_ask(struct file_verify *verify, uint32_t i, struct syn_err *err)
{
    return file_ask(verify, i, "TYPE", err) &&
           file_ask(verify, i, verify_expiry_command(&verify->base), err);
}

bool file_type_fetch(struct file_verify *verify,
                     uint32_t i,
                     int64_t sent_ms,
                     struct verdict *verdict,
                     struct syn_err *err)
{
    struct verify_link *link = file_link(verify, i);
    redisReply *reply = verify_fetch(link, "TYPE", err);
    if (reply == NULL) {
        return false;
    }
    verdict->destination_type = reply->str != NULL ? value_type_of_name(reply->str) : VALUE_OTHER;
    freeReplyObject(reply);
    return expiry_fetch(verify, link, sent_ms, verdict, err);
}

/* A hash of which every field has expired is gone. */
static bool is_hollow(const struct rdb_content *content)
{
    return content->kind == RDB_KIND_HASH && content->count == 0 && content->gone > 0;
}

bool file_by_type(const struct file_verify *verify, uint32_t i)
{
    struct verdict *verdict = &verify->outcomes[i].verdict;
    if (verdict->destination_type == VALUE_NONE && is_hollow(&verify->contents[i])) {
        verdict->kind = VERDICT_EXPIRED;
        return true;
    }
    return verdict_by_type(&verify->base, verdict, clock_unix_ms());
}

/* ---- sizes ---- */

static bool sizes_read(struct file_verify *verify, struct syn_err *err)
{
    struct verify_side *side = &verify->base.destination;
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
            verify->outcomes[i].verdict.value_bytes = (uint64_t)reply->integer;
        }
        freeReplyObject(reply);
    }
    return true;
}

/* ---- contents ---- */

static void
content_compare(struct file_verify *verify, uint32_t i, const struct rdb_content *content)
{
    struct file_outcome *outcome = &verify->outcomes[i];
    outcome->seen = rdb_content_number(content, verify_detail(&verify->base));
    verdict_by_content(&verify->base, &outcome->verdict, &verify->contents[i], content);
}

/* Type 22 is of one family, by the magic of the file and the server's version. */
static bool
is_same(const struct file_key *key, const struct verify_link *link, struct slice payload)
{
    return payload.bytes[0] == key->type &&
           (key->type < RDB_TYPE_HASH_METADATA_PRE_GA || key->is_valkey == link->is_valkey_rdb) &&
           XXH3_64bits(payload.bytes, payload.size - RDB_FOOTER_SIZE) == key->raw_hash;
}

static bool
payload_decode(struct file_verify *verify, uint32_t i, struct slice payload, struct syn_err *err)
{
    const struct verify_key *name = &verify->names[i];
    struct verdict *verdict = &verify->outcomes[i].verdict;
    struct rdb_content content;
    struct syn_err reason;
    rdb_content_forget(verify->reader, verify->keys[i].forget_ms);
    switch (rdb_content_read(
        verify->reader, payload, key_hash(name->bytes, name->size), &content, &reason)) {
    case RDB_VERDICT_READ:
        if (!file_by_type(verify, i)) {
            content_compare(verify, i, &content);
        }
        return true;
    case RDB_VERDICT_UNKNOWN:
    case RDB_VERDICT_TOO_LARGE:
        verdict->work = WORK_ELEMENTS;
        return true;
    case RDB_VERDICT_DAMAGED:
        verdict->is_on_both = true;
        verdict_different(verdict, SYN_DIFFERENCE_VALUE);
        snprintf(verdict->detail,
                 sizeof(verdict->detail),
                 "damaged at the destination, %.120s",
                 reason.msg);
        return true;
    case RDB_VERDICT_FAILED:
        break;
    }
    *err = reason;
    return false;
}

/* ---- payloads ---- */

static bool payload_compare(struct file_verify *verify,
                            uint32_t i,
                            const redisReply *reply,
                            struct syn_err *err)
{
    struct file_outcome *outcome = &verify->outcomes[i];
    struct verdict *verdict = &outcome->verdict;
    struct slice payload = {.bytes = (const uint8_t *)reply->str, .size = reply->len};
    if (reply->type == REDIS_REPLY_NIL) {
        verdict->destination_type = VALUE_NONE;
        bool is_decided = file_by_type(verify, i);
        ASSERT(is_decided);
        return true;
    }
    verdict->destination_type = value_type_of_rdb(payload.size > 0 ? payload.bytes[0] : 0);
    if (payload.size > RDB_FOOTER_SIZE &&
        is_same(&verify->keys[i], file_link(verify, i), payload)) {
        verdict->is_on_both = true;
        outcome->seen = rdb_content_number(&verify->contents[i], verify_detail(&verify->base));
        verdict_equal(&verify->base, verdict, VERDICT_PAYLOAD);
        return true;
    }
    return payload_decode(verify, i, payload, err);
}

static bool
payload_take(struct file_verify *verify, uint32_t i, int64_t sent_ms, struct syn_err *err)
{
    struct verify_link *link = file_link(verify, i);
    struct verdict *verdict = &verify->outcomes[i].verdict;
    redisReply *reply = control_fetch(&link->control, err);
    if (reply == NULL) {
        return false;
    }
    bool ok = expiry_fetch(verify, link, sent_ms, verdict, err);
    if (ok && verify_dump_refused(&verify->base.destination, reply)) {
        verdict->work = WORK_ELEMENTS;
    } else if (ok && reply->type != REDIS_REPLY_STRING && reply->type != REDIS_REPLY_NIL) {
        ok = control_reply_error(&link->control, reply, "DUMP", err);
    } else if (ok) {
        ok = payload_compare(verify, i, reply, err);
    }
    freeReplyObject(reply);
    return ok;
}

static bool is_dumped(const struct file_verify *verify, uint32_t i)
{
    return verify->base.destination.has_dump &&
           verify->outcomes[i].verdict.value_bytes <= dump_bytes_max(verify);
}

/* One round trip for keys [first, last). */
static bool
payloads_read(struct file_verify *verify, uint32_t first, uint32_t last, struct syn_err *err)
{
    bool are_dumped[VERIFY_BATCH_KEYS];
    int64_t sent_ms = clock_unix_ms();
    for (uint32_t i = first; i < last; i++) {
        are_dumped[i] = is_dumped(verify, i);
        verify->outcomes[i].verdict.work = are_dumped[i] ? WORK_NONE : WORK_ELEMENTS;
        if (are_dumped[i] && (!file_ask(verify, i, "DUMP", err) ||
                              !file_ask(verify, i, verify_expiry_command(&verify->base), err))) {
            return false;
        }
    }
    if (!verify_side_flush(&verify->base.destination, err)) {
        return false;
    }
    for (uint32_t i = first; i < last; i++) {
        if (are_dumped[i] && !payload_take(verify, i, sent_ms, err)) {
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
        uint64_t told = is_dumped(verify, end) ? verify->outcomes[end].verdict.value_bytes : 0;
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

/* ---- elements ---- */

static struct value_reading reading_of(struct file_verify *verify, uint32_t i, struct syn_err *err)
{
    const struct verify_side *side = &verify->base.destination;
    const struct verdict *verdict = &verify->outcomes[i].verdict;
    return (struct value_reading){
        .control = &file_link(verify, i)->control,
        .key = verify->names[i].bytes,
        .key_size = verify->names[i].size,
        .type = verdict->source_type,
        .with_field_ttl = side->has_field_ttl,
        .has_hidden = side->has_field_ttl,
        .with_counters = side->has_expiretime,
        .value_bytes = verdict->value_bytes,
        .piece_bytes = verify->config->memory_bytes / PIECE_SHARE,
        .visitor = rdb_digest_visitor(),
        .err = err,
    };
}

static void module_difference(struct file_verify *verify, uint32_t i)
{
    struct verdict *verdict = &verify->outcomes[i].verdict;
    verdict_different(verdict, SYN_DIFFERENCE_VALUE);
    snprintf(verdict->detail,
             sizeof(verdict->detail),
             verify->base.destination.has_dump
                 ? "module value: other bytes, in a form that is not known here, or too large to "
                   "look into: raise --memory"
                 : "module value: cannot be compared, since the destination refuses DUMP");
}

/* Only DUMP tells when pending entries were delivered. */
static void
elements_compare(struct file_verify *verify, uint32_t i, const struct rdb_content *content)
{
    bool has_delivery_times = verify->base.has_delivery_times;
    verify->base.has_delivery_times = false;
    content_compare(verify, i, content);
    verify->base.has_delivery_times = has_delivery_times;
}

static bool elements_read(struct file_verify *verify, uint32_t i, struct syn_err *err)
{
    struct verdict *verdict = &verify->outcomes[i].verdict;
    int64_t sent_ms = clock_unix_ms();
    verdict->work = WORK_NONE;
    if (!file_type_ask(verify, i, err) || !file_type_fetch(verify, i, sent_ms, verdict, err)) {
        return false;
    }
    if (file_by_type(verify, i)) {
        return true;
    }
    if (verdict->source_type == VALUE_OTHER) {
        module_difference(verify, i);
        return true;
    }
    struct value_reading reading = reading_of(verify, i, err);
    rdb_content_forget(verify->reader, verify->keys[i].forget_ms);
    struct rdb_digest *digest = rdb_content_digest(verify->reader);
    reading.arg = digest;
    if (!value_read(&reading)) {
        return false;
    }
    struct rdb_content content;
    rdb_digest_content(digest, &content);
    if (reading.is_unstable) {
        verify->outcomes[i].seen = rdb_content_number(&content, verify_detail(&verify->base));
        verdict_different(verdict, SYN_DIFFERENCE_VALUE);
        snprintf(verdict->detail,
                 sizeof(verdict->detail),
                 "%s: changed while it was read (at the destination)",
                 value_type_name(verdict->source_type));
    } else {
        elements_compare(verify, i, &content);
    }
    return true;
}

/* ---- expiry times of fields ---- */

struct file_times {
    struct file_verify *verify;
    uint32_t index;
    struct value_reading reading;
};

static bool times_of_file(void *arg,
                          const struct rdb_visitor *visitor,
                          void *visitor_arg,
                          bool *is_whole,
                          struct syn_err *err)
{
    const struct file_times *times = arg;
    const struct file_verify *verify = times->verify;
    *is_whole = true;
    return file_value_show(verify->config,
                           &verify->keys[times->index],
                           &verify->names[times->index],
                           visitor,
                           visitor_arg,
                           err);
}

static bool times_of_destination(void *arg,
                                 const struct rdb_visitor *visitor,
                                 void *visitor_arg,
                                 bool *is_whole,
                                 struct syn_err *err)
{
    struct file_times *times = arg;
    (void)err; /* is that of the reading */
    times->reading.visitor = visitor;
    times->reading.arg = visitor_arg;
    if (!value_read(&times->reading)) {
        return false;
    }
    *is_whole = !times->reading.is_unstable;
    return true;
}

static bool times_settle(struct file_verify *verify, uint32_t i, struct syn_err *err)
{
    struct verdict *verdict = &verify->outcomes[i].verdict;
    struct file_times times = {.verify = verify, .index = i, .reading = reading_of(verify, i, err)};
    const struct times_feed file = {.show = times_of_file, .arg = &times};
    const struct times_feed destination = {.show = times_of_destination, .arg = &times};
    bool is_equal;
    if (!times_compare(&file,
                       &destination,
                       verdict->expiring,
                       verify->keys[i].forget_ms,
                       (int64_t)verify->config->ttl_tolerance_ms,
                       &is_equal,
                       err)) {
        return false;
    }
    verdict->work = WORK_NONE;
    if (is_equal) {
        verdict_equal(&verify->base, verdict, VERDICT_CONTENT);
    }
    return true;
}

/* ---- a batch ---- */

static bool full_compare(struct file_verify *verify, struct syn_err *err)
{
    const struct verify_side *side = &verify->base.destination;
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
        const struct verdict *verdict = &verify->outcomes[i].verdict;
        if ((verdict->work == WORK_ELEMENTS && !elements_read(verify, i, err)) ||
            (verdict->work == WORK_TIMES && !times_settle(verify, i, err))) {
            return false;
        }
    }
    return true;
}

bool file_compare(struct file_verify *verify, struct syn_err *err)
{
    ASSERT(verify->count <= VERIFY_BATCH_KEYS);
    for (uint32_t i = 0; i < verify->count; i++) {
        verify->outcomes[i] = (struct file_outcome){
            .verdict = {.kind = VERDICT_DIFFERENT,
                        .source_type = value_type_of_kind(verify->contents[i].kind),
                        .source_at = verify->keys[i].expire_ms,
                        .destination_at = -2}};
    }
    return verify->config->verify == VERIFY_FAST ? file_compare_fast(verify, err)
                                                 : full_compare(verify, err);
}
