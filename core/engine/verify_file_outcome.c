/*
 * Asking the destination about keys of a batch, and what two readings of a key come to.
 */
#include <stdio.h>

#include "core/engine/verify_file.h"

/* ---- expiry ---- */

const char *file_expiry_command(const struct file_verify *verify)
{
    return verify->destination.has_expiretime ? "PEXPIRETIME" : "PTTL";
}

static int64_t expiry_of(const struct file_verify *verify, int64_t reply, int64_t sent_ms)
{
    if (reply < 0 || verify->destination.has_expiretime) {
        return reply;
    }
    /* The server looked at some moment between asking and now. */
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

static bool is_past(const struct file_verify *verify, int64_t at, int64_t now)
{
    return at >= 0 && at <= now + (int64_t)verify->config->ttl_tolerance_ms;
}

/* ---- asking ---- */

struct verify_link *file_link(struct file_verify *verify, uint32_t i)
{
    return verify_owner(&verify->destination, verify->names[i].bytes, verify->names[i].size);
}

bool file_ask(struct file_verify *verify, uint32_t i, const char *name, struct syn_err *err)
{
    const struct verify_key *key = &verify->names[i];
    return verify_append(file_link(verify, i), name, key->bytes, key->size, NULL, err);
}

bool file_expiry_fetch(struct file_verify *verify,
                       struct verify_link *link,
                       int64_t sent_ms,
                       int64_t *at,
                       struct syn_err *err)
{
    int64_t ttl;
    if (!verify_fetch_integer(link, file_expiry_command(verify), &ttl, err)) {
        return false;
    }
    *at = expiry_of(verify, ttl, sent_ms);
    return true;
}

bool file_type_ask(struct file_verify *verify, uint32_t i, struct syn_err *err)
{
    return file_ask(verify, i, "TYPE", err) &&
           file_ask(verify, i, file_expiry_command(verify), err);
}

bool file_type_fetch(struct file_verify *verify,
                     uint32_t i,
                     int64_t sent_ms,
                     struct file_found *found,
                     struct syn_err *err)
{
    struct verify_link *link = file_link(verify, i);
    redisReply *reply = verify_fetch(link, "TYPE", err);
    if (reply == NULL) {
        return false;
    }
    found->type = reply->str != NULL ? value_type_of_name(reply->str) : VALUE_OTHER;
    freeReplyObject(reply);
    return file_expiry_fetch(verify, link, sent_ms, &found->at, err);
}

/* ---- outcomes ---- */

void outcome_differs(struct file_outcome *outcome, enum syn_difference_kind difference)
{
    outcome->kind = FILE_DIFFERENT;
    outcome->difference = difference;
}

/* Equal values: does the key expire at the same time? */
void outcome_equal(const struct file_verify *verify,
                   const struct file_key *key,
                   struct file_outcome *outcome,
                   enum file_outcome_kind kind,
                   int64_t now)
{
    int64_t a = key->expire_ms;
    int64_t b = outcome->seen_at;
    int64_t tolerance = (int64_t)verify->config->ttl_tolerance_ms;
    outcome->kind = kind;
    bool is_same = (a < 0) == (b < 0) && (a < 0 || (a - b <= tolerance && b - a <= tolerance));
    if (!is_same) {
        char from[48], to[48];
        expiry_text(from, a, now);
        expiry_text(to, b, now);
        outcome_differs(outcome, SYN_DIFFERENCE_TTL);
        snprintf(outcome->detail,
                 sizeof(outcome->detail),
                 "expires %s in the file, %s at the destination",
                 from,
                 to);
    }
}

/* Whether presence and type alone decide. */
bool outcome_by_type(const struct file_verify *verify,
                     const struct file_key *key,
                     const struct file_found *found,
                     struct file_outcome *outcome,
                     int64_t now)
{
    enum value_type type = value_type_of_kind(key->sum.kind);
    outcome->seen_at = found->at;
    outcome->is_on_both = found->type != VALUE_NONE;
    if (!outcome->is_on_both) {
        /* A hash of which every field has expired is gone, too. */
        bool is_gone = is_past(verify, key->expire_ms, now) ||
                       (type == VALUE_HASH && key->sum.count == 0) ||
                       (key->sum.next_expiry_ms != INT64_MAX && key->sum.count == 1 &&
                        is_past(verify, key->sum.next_expiry_ms, now));
        outcome->kind = FILE_EXPIRED;
        if (!is_gone) {
            outcome_differs(outcome, SYN_DIFFERENCE_MISSING);
            snprintf(outcome->detail,
                     sizeof(outcome->detail),
                     "%s in the file, nothing at the destination",
                     value_type_name(type));
        }
        return true;
    }
    if (type != found->type) {
        outcome_differs(outcome, SYN_DIFFERENCE_TYPE);
        snprintf(outcome->detail,
                 sizeof(outcome->detail),
                 "%s in the file, %s at the destination",
                 value_type_name(type),
                 value_type_name(found->type));
        return true;
    }
    return false;
}

void outcome_by_content(const struct file_verify *verify,
                        const struct file_key *key,
                        const struct value_sum *sum,
                        struct file_outcome *outcome,
                        int64_t now)
{
    const struct rdb_digest_value *a = &key->sum.digest;
    const struct rdb_digest_value *b = &sum->digest;
    outcome->seen = *b;
    if (a->low == b->low && a->high == b->high) {
        outcome_equal(verify, key, outcome, FILE_EQUAL_CONTENT, now);
        return;
    }
    outcome_differs(outcome, SYN_DIFFERENCE_VALUE);
    snprintf(outcome->detail,
             sizeof(outcome->detail),
             key->sum.count == sum->count ? "%s: other content of the same size (%llu and %llu %s)"
                                          : "%s: %llu in the file, %llu at the destination (%s)",
             value_type_name(value_type_of_kind(key->sum.kind)),
             (unsigned long long)key->sum.count,
             (unsigned long long)sum->count,
             key->sum.kind == RDB_KIND_STRING || key->sum.kind == RDB_KIND_MODULE ? "bytes"
                                                                                  : "elements");
}

struct value_view file_view(const struct file_verify *verify, const struct file_key *key)
{
    bool has_counters =
        key->type == RDB_TYPE_STREAM_LISTPACKS_2 || key->type == RDB_TYPE_STREAM_LISTPACKS_3;
    return (struct value_view){.has_counters = has_counters && verify->destination.has_expiretime,
                               .has_field_expiry = verify->destination.has_field_ttl,
                               .has_pending_times = true,
                               .cut_ms = clock_unix_ms()};
}
