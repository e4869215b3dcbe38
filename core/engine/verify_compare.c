/*
 * Comparing a batch of keys, cheapest proof first:
 *
 *     sizes      only where a server holds enough for one to be too large to dump
 *     payloads   DUMP and expiry of every key from both sides in one round trip; equal but for the
 *                footer (version, CRC) is equal
 *     whole      small values whose payloads differ: one typed read each, again in one round trip
 *     pieces     the rest, one at a time, element by element
 *
 * Per connection replies come in the order of the requests, so both loops over the keys, asking and
 * fetching, go in the same order and never need a table.
 */
#include <stdio.h>
#include <string.h>

#include <xxhash.h>

#include "core/engine/verify_private.h"
#include "rdb/rdb.h"

#define WHOLE_PAYLOAD_MAX (64u << 10)
#define UNKNOWN_SIZE_KEYS 50u /* dumped at a time when the servers do not tell sizes */

/* A batch in work. */
struct work {
    struct verify *verify;
    const struct verify_key *keys;
    struct verdict *verdicts;
    uint32_t *pieces; /* indices of keys to read in pieces */
    uint32_t *wholes; /* indices of keys to read whole     */
    uint32_t piece_count;
    uint32_t whole_count;
    struct syn_err *err;
};

static struct verify_link *source_of(struct work *work, uint32_t index)
{
    return verify_owner(&work->verify->source, work->keys[index].bytes, work->keys[index].size);
}

static struct verify_link *destination_of(struct work *work, uint32_t index)
{
    return verify_owner(
        &work->verify->destination, work->keys[index].there, work->keys[index].there_size);
}

/* The key's name on the side that the link is of. */
static struct slice name_of(const struct work *work, uint32_t index, const struct verify_link *link)
{
    const struct verify_key *key = &work->keys[index];
    bool is_source = link->control.side == SIDE_SOURCE;
    return (struct slice){(const uint8_t *)(is_source ? key->bytes : key->there),
                          is_source ? key->size : key->there_size};
}

static bool flush_both(struct work *work)
{
    return verify_side_flush(&work->verify->source, work->err) &&
           verify_side_flush(&work->verify->destination, work->err);
}

static bool ask_one(struct work *work,
                    uint32_t index,
                    struct verify_link *link,
                    const char *name,
                    const char *const *extras)
{
    struct slice key = name_of(work, index, link);
    return verify_append(link, name, (const char *)key.bytes, key.size, extras, work->err);
}

/* ---- expiry ---- */

const char *verify_expiry_command(const struct verify *verify)
{
    bool is_absolute = verify->source.has_expiretime && verify->destination.has_expiretime;
    return is_absolute ? "PEXPIRETIME" : "PTTL";
}

int64_t verify_expiry(const struct verify *verify, int64_t reply, int64_t sent_ms)
{
    bool is_absolute = verify->source.has_expiretime && verify->destination.has_expiretime;
    if (reply < 0 || is_absolute) {
        return reply;
    }
    /* The server looked at some moment between asking and now: the middle is off by half the time
     * at most, and the tolerance allows for it. */
    int64_t now = clock_unix_ms();
    return sent_ms + (now - sent_ms) / 2 + reply;
}

static void expiry_text(char text[48], int64_t at, int64_t now)
{
    if (at < 0) {
        snprintf(text, 48, "never");
    } else {
        snprintf(text, 48, "in %lld ms", (long long)(at - now));
    }
}

void verdict_compare_ttl(const struct verify *verify, struct verdict *verdict)
{
    int64_t a = verdict->source_at;
    int64_t b = verdict->destination_at;
    int64_t tolerance = (int64_t)verify->config->ttl_tolerance_ms;
    bool is_equal = (a < 0) == (b < 0) && (a < 0 || (a - b <= tolerance && b - a <= tolerance));
    verdict->has_ttl_difference = !is_equal;
    if (!is_equal) {
        char from[48], to[48];
        int64_t now = clock_unix_ms();
        expiry_text(from, a, now);
        expiry_text(to, b, now);
        snprintf(verdict->detail,
                 sizeof(verdict->detail),
                 "expires %s at the source, %s at the destination",
                 from,
                 to);
    }
}

void verdict_one_sided(const struct verify *verify, struct verdict *verdict, int64_t now)
{
    bool is_at_source = verdict->source_type != VALUE_NONE;
    int64_t at = is_at_source ? verdict->source_at : verdict->destination_at;
    /* With the tolerance: the other side's clock may be ahead of this one by that much. */
    if (at >= 0 && at <= now + (int64_t)verify->config->ttl_tolerance_ms) {
        verdict->kind = VERDICT_EXPIRED;
        return;
    }
    verdict->kind = VERDICT_DIFFERENT;
    verdict->difference = is_at_source ? SYN_DIFFERENCE_MISSING : SYN_DIFFERENCE_EXTRA;
    snprintf(verdict->detail,
             sizeof(verdict->detail),
             "%s at the %s, nothing at the %s",
             value_type_name(is_at_source ? verdict->source_type : verdict->destination_type),
             is_at_source ? "source" : "destination",
             is_at_source ? "destination" : "source");
}

/* ---- sizes ---- */

static bool size_fetch(struct work *work, struct verify_side *side, uint32_t index)
{
    struct verify_link *link =
        side == &work->verify->source ? source_of(work, index) : destination_of(work, index);
    redisReply *reply = control_fetch(&link->control, work->err);
    if (reply == NULL) {
        return false;
    }
    if (reply->type == REDIS_REPLY_ERROR) {
        side->has_memory_usage = false; /* not allowed to this account: careful steps instead */
    } else if (reply->type == REDIS_REPLY_INTEGER) {
        struct verdict *verdict = &work->verdicts[index];
        uint64_t bytes = (uint64_t)reply->integer;
        verdict->value_bytes = bytes > verdict->value_bytes ? bytes : verdict->value_bytes;
    }
    freeReplyObject(reply);
    return true;
}

static bool size_ask(struct work *work, uint32_t index, struct verify_link *link)
{
    struct slice key = name_of(work, index, link);
    const char *argv[] = {"MEMORY", "USAGE", (const char *)key.bytes};
    const size_t sizes[] = {6, 5, key.size};
    return control_append(&link->control, 3, argv, sizes, work->err);
}

static bool sizes_read(struct work *work, uint32_t count)
{
    struct verify *verify = work->verify;
    bool at_source = verify->source.has_memory_usage;
    bool at_destination = verify->destination.has_memory_usage;
    for (uint32_t i = 0; i < count; i++) {
        if ((at_source && !size_ask(work, i, source_of(work, i))) ||
            (at_destination && !size_ask(work, i, destination_of(work, i)))) {
            return false;
        }
    }
    if (!flush_both(work)) {
        return false;
    }
    for (uint32_t i = 0; i < count; i++) {
        if ((at_source && !size_fetch(work, &verify->source, i)) ||
            (at_destination && !size_fetch(work, &verify->destination, i))) {
            return false;
        }
    }
    return true;
}

/* ---- payloads ---- */

static bool is_same_payload(const redisReply *a, const redisReply *b)
{
    return a->len == b->len && a->len > RDB_FOOTER_SIZE &&
           memcmp(a->str, b->str, a->len - RDB_FOOTER_SIZE) == 0;
}

static enum value_type payload_type(const redisReply *payload)
{
    return payload->type == REDIS_REPLY_STRING && payload->len > RDB_FOOTER_SIZE
               ? value_type_of_rdb((uint8_t)payload->str[0])
               : VALUE_NONE;
}

static bool has_field_ttls(const redisReply *payload)
{
    return (uint8_t)payload->str[0] >= RDB_TYPE_HASH_METADATA_PRE_GA &&
           payload_type(payload) == VALUE_HASH;
}

static void source_digest(struct verdict *verdict, const redisReply *payload)
{
    if (payload->type == REDIS_REPLY_STRING && payload->len > RDB_FOOTER_SIZE) {
        XXH128_hash_t hash = XXH3_128bits(payload->str, payload->len - RDB_FOOTER_SIZE);
        verdict->source_low = hash.low64;
        verdict->source_high = hash.high64;
    }
}

static void type_difference(struct verdict *verdict)
{
    verdict->kind = VERDICT_DIFFERENT;
    verdict->difference = SYN_DIFFERENCE_TYPE;
    snprintf(verdict->detail,
             sizeof(verdict->detail),
             "%s at the source, %s at the destination",
             value_type_name(verdict->source_type),
             value_type_name(verdict->destination_type));
}

/* What equal values come to, their expiry considered. */
static void
equal_values(const struct verify *verify, struct verdict *verdict, enum verdict_kind kind)
{
    verdict_compare_ttl(verify, verdict);
    verdict->kind = kind;
    if (verdict->has_ttl_difference) {
        verdict->kind = VERDICT_DIFFERENT;
        verdict->difference = SYN_DIFFERENCE_TTL;
    }
}

/* Whether presence and types alone decide the verdict. */
static bool decide_by_type(const struct verify *verify, struct verdict *verdict, int64_t now)
{
    verdict->source_type = verify_type_taken(verify, verdict->source_type);
    verdict->destination_type = verify_type_taken(verify, verdict->destination_type);
    verdict->is_on_both =
        verdict->source_type != VALUE_NONE && verdict->destination_type != VALUE_NONE;
    if (!verdict->is_on_both) {
        if (verdict->source_type == verdict->destination_type) {
            verdict->kind = VERDICT_GONE;
        } else {
            verdict_one_sided(verify, verdict, now);
        }
        return true;
    }
    if (verdict->source_type != verdict->destination_type) {
        type_difference(verdict);
        return true;
    }
    return false;
}

static void payloads_compare(
    struct work *work, uint32_t index, const redisReply *from, const redisReply *to, int64_t now)
{
    struct verdict *verdict = &work->verdicts[index];
    verdict->source_type = payload_type(from);
    verdict->destination_type = payload_type(to);
    source_digest(verdict, from);
    if (decide_by_type(work->verify, verdict, now)) {
        return;
    }
    if (is_same_payload(from, to)) {
        equal_values(work->verify, verdict, VERDICT_PAYLOAD);
    } else if (verdict->source_type == VALUE_OTHER) {
        verdict->kind = VERDICT_DIFFERENT;
        verdict->difference = SYN_DIFFERENCE_VALUE;
        snprintf(verdict->detail,
                 sizeof(verdict->detail),
                 "module value: %zu bytes at the source, %zu at the destination",
                 from->len,
                 to->len);
    } else if (verdict->source_type == VALUE_STREAM || from->len > WHOLE_PAYLOAD_MAX ||
               to->len > WHOLE_PAYLOAD_MAX || has_field_ttls(from) || has_field_ttls(to)) {
        work->pieces[work->piece_count++] = index;
    } else {
        work->wholes[work->whole_count++] = index;
    }
}

static bool payload_fetch_one(struct work *work, uint32_t index, int64_t sent_ms)
{
    struct verdict *verdict = &work->verdicts[index];
    struct verify_link *source = source_of(work, index);
    struct verify_link *destination = destination_of(work, index);
    const char *expiry = verify_expiry_command(work->verify);
    int64_t ttl;
    bool ok = false;
    redisReply *to = NULL;
    redisReply *from = verify_fetch(source, "DUMP", work->err);
    if (from == NULL || !verify_fetch_integer(source, expiry, &ttl, work->err)) {
        goto out;
    }
    verdict->source_at = verify_expiry(work->verify, ttl, sent_ms);
    to = verify_fetch(destination, "DUMP", work->err);
    if (to == NULL || !verify_fetch_integer(destination, expiry, &ttl, work->err)) {
        goto out;
    }
    verdict->destination_at = verify_expiry(work->verify, ttl, sent_ms);
    payloads_compare(work, index, from, to, clock_unix_ms());
    ok = true;
out:
    if (from != NULL) {
        freeReplyObject(from);
    }
    if (to != NULL) {
        freeReplyObject(to);
    }
    return ok;
}

static bool is_too_large(const struct work *work, uint32_t index)
{
    return work->verdicts[index].value_bytes > VERIFY_DUMP_BYTES_MAX;
}

/* One round trip for keys [first, last). */
static bool payloads_read(struct work *work, uint32_t first, uint32_t last)
{
    const char *expiry = verify_expiry_command(work->verify);
    int64_t sent_ms = clock_unix_ms();
    for (uint32_t i = first; i < last; i++) {
        if (is_too_large(work, i)) {
            continue;
        }
        struct verify_link *source = source_of(work, i);
        struct verify_link *destination = destination_of(work, i);
        if (!ask_one(work, i, source, "DUMP", NULL) || !ask_one(work, i, source, expiry, NULL) ||
            !ask_one(work, i, destination, "DUMP", NULL) ||
            !ask_one(work, i, destination, expiry, NULL)) {
            return false;
        }
    }
    if (!flush_both(work)) {
        return false;
    }
    for (uint32_t i = first; i < last; i++) {
        if (!is_too_large(work, i) && !payload_fetch_one(work, i, sent_ms)) {
            return false;
        }
    }
    return true;
}

/* ---- elements ---- */

static void contents_compare(struct work *work,
                             uint32_t index,
                             const struct content *from,
                             const struct content *to)
{
    struct verdict *verdict = &work->verdicts[index];
    if (content_equal(from, to)) {
        equal_values(work->verify, verdict, VERDICT_CONTENT);
        return;
    }
    verdict->kind = VERDICT_DIFFERENT;
    verdict->difference = SYN_DIFFERENCE_VALUE;
    verdict->is_unstable = from->is_unstable;
    snprintf(verdict->detail,
             sizeof(verdict->detail),
             from->is_unstable || to->is_unstable
                 ? "%s: changed while it was read (%llu and %llu %s seen)"
             : from->count == to->count ? "%s: other content of the same size (%llu and %llu %s)"
                                        : "%s: %llu at the source, %llu at the destination (%s)",
             value_type_name(verdict->source_type),
             (unsigned long long)from->count,
             (unsigned long long)to->count,
             verdict->source_type == VALUE_STRING ? "bytes" : "elements");
}

static bool whole_fetch(struct work *work,
                        struct verify_link *link,
                        enum value_type type,
                        struct content *content)
{
    redisReply *reply = control_fetch(&link->control, work->err);
    if (reply == NULL) {
        return false;
    }
    content_of_reply(type, reply, content);
    freeReplyObject(reply);
    return true;
}

static bool wholes_read(struct work *work)
{
    for (uint32_t n = 0; n < work->whole_count; n++) {
        uint32_t i = work->wholes[n];
        const char *name;
        const char *const *extras;
        bool has_command = content_whole_command(work->verdicts[i].source_type, &name, &extras);
        ASSERT(has_command);
        if (!ask_one(work, i, source_of(work, i), name, extras) ||
            !ask_one(work, i, destination_of(work, i), name, extras)) {
            return false;
        }
    }
    if (!flush_both(work)) {
        return false;
    }
    for (uint32_t n = 0; n < work->whole_count; n++) {
        uint32_t i = work->wholes[n];
        enum value_type type = work->verdicts[i].source_type;
        struct content from, to;
        if (!whole_fetch(work, source_of(work, i), type, &from) ||
            !whole_fetch(work, destination_of(work, i), type, &to)) {
            return false;
        }
        contents_compare(work, i, &from, &to);
    }
    return true;
}

static bool piecewise(struct work *work, uint32_t index)
{
    struct verdict *verdict = &work->verdicts[index];
    const struct verify_key *key = &work->keys[index];
    const struct verify_side *source = &work->verify->source;
    const struct verify_side *destination = &work->verify->destination;
    const struct content_options options = {
        .with_field_ttl = source->has_field_ttl && destination->has_field_ttl,
        .with_stream_counters = source->has_expiretime && destination->has_expiretime,
        .value_bytes = verdict->value_bytes,
    };
    struct content from, to;
    if (!content_read(source_of(work, index),
                      verdict->source_type,
                      key->bytes,
                      key->size,
                      &options,
                      &from,
                      work->err) ||
        !content_read(destination_of(work, index),
                      verdict->source_type,
                      key->there,
                      key->there_size,
                      &options,
                      &to,
                      work->err)) {
        return false;
    }
    contents_compare(work, index, &from, &to);
    if (is_too_large(work, index)) {
        verdict->source_low = from.low;
        verdict->source_high = from.high;
    }
    return true;
}

static bool type_and_expiry_fetch(struct work *work,
                                  struct verify_link *link,
                                  int64_t sent_ms,
                                  enum value_type *type,
                                  int64_t *at)
{
    redisReply *reply = verify_fetch(link, "TYPE", work->err);
    if (reply == NULL) {
        return false;
    }
    *type = reply->str != NULL ? value_type_of_name(reply->str) : VALUE_OTHER;
    freeReplyObject(reply);
    int64_t ttl;
    if (!verify_fetch_integer(link, verify_expiry_command(work->verify), &ttl, work->err)) {
        return false;
    }
    *at = verify_expiry(work->verify, ttl, sent_ms);
    return true;
}

/* TYPE and expiry of keys [first, last) for which `wanted` says so (NULL: all). */
static bool types_read(struct work *work,
                       uint32_t first,
                       uint32_t last,
                       bool (*wanted)(const struct work *work, uint32_t index))
{
    const char *expiry = verify_expiry_command(work->verify);
    int64_t sent_ms = clock_unix_ms();
    for (uint32_t i = first; i < last; i++) {
        if (wanted != NULL && !wanted(work, i)) {
            continue;
        }
        struct verify_link *links[] = {source_of(work, i), destination_of(work, i)};
        for (int side = 0; side < 2; side++) {
            if (!ask_one(work, i, links[side], "TYPE", NULL) ||
                !ask_one(work, i, links[side], expiry, NULL)) {
                return false;
            }
        }
    }
    if (!flush_both(work)) {
        return false;
    }
    for (uint32_t i = first; i < last; i++) {
        struct verdict *verdict = &work->verdicts[i];
        if (wanted != NULL && !wanted(work, i)) {
            continue;
        }
        if (!type_and_expiry_fetch(
                work, source_of(work, i), sent_ms, &verdict->source_type, &verdict->source_at) ||
            !type_and_expiry_fetch(work,
                                   destination_of(work, i),
                                   sent_ms,
                                   &verdict->destination_type,
                                   &verdict->destination_at)) {
            return false;
        }
    }
    return true;
}

/* Values too large to dump: by type and elements only. */
static bool large_read(struct work *work, uint32_t count)
{
    if (!types_read(work, 0, count, is_too_large)) {
        return false;
    }
    for (uint32_t i = 0; i < count; i++) {
        struct verdict *verdict = &work->verdicts[i];
        if (!is_too_large(work, i) || decide_by_type(work->verify, verdict, clock_unix_ms())) {
            continue;
        }
        if (verdict->source_type == VALUE_OTHER) {
            verdict->kind = VERDICT_DIFFERENT;
            verdict->difference = SYN_DIFFERENCE_VALUE;
            snprintf(verdict->detail,
                     sizeof(verdict->detail),
                     "module value of %llu bytes: too large to compare",
                     (unsigned long long)verdict->value_bytes);
        } else {
            work->pieces[work->piece_count++] = i;
        }
    }
    return true;
}

/* ---- a batch ---- */

/* The end of the longest run from `first` whose payloads fit in flight. */
static uint32_t run_end(const struct work *work, uint32_t first, uint32_t count, bool has_sizes)
{
    uint64_t bytes = 0;
    uint32_t end = first;
    while (end < count) {
        uint64_t size = is_too_large(work, end) ? 0 : work->verdicts[end].value_bytes;
        if (end > first && (bytes + size > VERIFY_BATCH_BYTES ||
                            (!has_sizes && end - first >= UNKNOWN_SIZE_KEYS))) {
            break;
        }
        bytes += size;
        end++;
    }
    return end;
}

static bool full_compare(struct work *work, uint32_t count)
{
    struct verify *verify = work->verify;
    /* Nothing is larger than the whole: small servers need no sizes. */
    bool is_small = verify->source.used_bytes_max <= VERIFY_DUMP_BYTES_MAX &&
                    verify->destination.used_bytes_max <= VERIFY_DUMP_BYTES_MAX;
    if (!is_small && !sizes_read(work, count)) {
        return false;
    }
    bool has_sizes =
        is_small || (verify->source.has_memory_usage && verify->destination.has_memory_usage);
    for (uint32_t first = 0; first < count;) {
        uint32_t end = run_end(work, first, count, has_sizes);
        work->whole_count = 0;
        if (!payloads_read(work, first, end) || !wholes_read(work)) {
            return false;
        }
        first = end;
    }
    if (!is_small && !large_read(work, count)) {
        return false;
    }
    for (uint32_t n = 0; n < work->piece_count; n++) {
        if (!piecewise(work, work->pieces[n])) {
            return false;
        }
    }
    return true;
}

/* ---- fast ---- */

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

/* A negative length: an error, the key is of another type by now. */
static bool length_fetch(struct work *work, struct verify_link *link, int64_t *length)
{
    redisReply *reply = control_fetch(&link->control, work->err);
    if (reply == NULL) {
        return false;
    }
    *length = reply->type == REDIS_REPLY_INTEGER ? reply->integer : -1;
    freeReplyObject(reply);
    return true;
}

static bool length_compare(struct work *work, uint32_t index)
{
    struct verdict *verdict = &work->verdicts[index];
    int64_t from, to;
    if (!length_fetch(work, source_of(work, index), &from) ||
        !length_fetch(work, destination_of(work, index), &to)) {
        return false;
    }
    verdict->source_low = (uint64_t)from;
    if (from == to && from >= 0) {
        equal_values(work->verify, verdict, VERDICT_FAST);
        return true;
    }
    verdict->kind = VERDICT_DIFFERENT;
    verdict->difference = SYN_DIFFERENCE_LENGTH;
    snprintf(verdict->detail,
             sizeof(verdict->detail),
             "%s: length %lld at the source, %lld at the destination",
             value_type_name(verdict->source_type),
             (long long)from,
             (long long)to);
    return true;
}

static bool fast_compare(struct work *work, uint32_t count)
{
    if (!types_read(work, 0, count, NULL)) {
        return false;
    }
    for (uint32_t i = 0; i < count; i++) {
        struct verdict *verdict = &work->verdicts[i];
        verdict->source_high = verdict->source_type;
        if (decide_by_type(work->verify, verdict, clock_unix_ms())) {
            continue;
        }
        const char *name = length_command(verdict->source_type);
        if (name == NULL) {
            equal_values(work->verify, verdict, VERDICT_FAST);
            continue;
        }
        if (!ask_one(work, i, source_of(work, i), name, NULL) ||
            !ask_one(work, i, destination_of(work, i), name, NULL)) {
            return false;
        }
        work->wholes[work->whole_count++] = i;
    }
    if (!flush_both(work)) {
        return false;
    }
    for (uint32_t n = 0; n < work->whole_count; n++) {
        if (!length_compare(work, work->wholes[n])) {
            return false;
        }
    }
    return true;
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
        .pieces = verify->pieces,
        .wholes = verify->wholes,
        .err = err,
    };
    for (uint32_t i = 0; i < count; i++) {
        verdicts[i] = (struct verdict){.kind = VERDICT_GONE};
    }
    return verify->config->verify == VERIFY_FAST ? fast_compare(&work, count)
                                                 : full_compare(&work, count);
}
