/* What was found about a key, in words: presence, type, expiry, content. Never keys or values. */
#include <stdio.h>
#include <string.h>

#include "core/engine/verify_private.h"

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

/* ---- verdicts ---- */

void verdict_different(struct verdict *verdict, enum syn_difference_kind difference)
{
    verdict->kind = VERDICT_DIFFERENT;
    verdict->difference = difference;
    verdict->work = WORK_NONE;
}

void verdict_equal(const struct verify *verify, struct verdict *verdict, enum verdict_kind kind)
{
    verdict_compare_ttl(verify, verdict);
    verdict->kind = kind;
    verdict->work = WORK_NONE;
    if (verdict->has_ttl_difference) {
        verdict_different(verdict, SYN_DIFFERENCE_TTL);
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
    verdict_different(verdict, is_at_source ? SYN_DIFFERENCE_MISSING : SYN_DIFFERENCE_EXTRA);
    snprintf(verdict->detail,
             sizeof(verdict->detail),
             "%s at the %s, nothing at the %s",
             value_type_name(is_at_source ? verdict->source_type : verdict->destination_type),
             is_at_source ? "source" : "destination",
             is_at_source ? "destination" : "source");
}

static void type_difference(struct verdict *verdict)
{
    verdict_different(verdict, SYN_DIFFERENCE_TYPE);
    snprintf(verdict->detail,
             sizeof(verdict->detail),
             "%s at the source, %s at the destination",
             value_type_name(verdict->source_type),
             value_type_name(verdict->destination_type));
}

bool verdict_by_type(const struct verify *verify, struct verdict *verdict, int64_t now)
{
    verdict->source_type = verify_type_taken(verify, verdict->source_type);
    verdict->destination_type = verify_type_taken(verify, verdict->destination_type);
    verdict->is_on_both =
        verdict->source_type != VALUE_NONE && verdict->destination_type != VALUE_NONE;
    if (!verdict->is_on_both) {
        verdict->work = WORK_NONE;
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

/* ---- content ---- */

unsigned verify_detail(const struct verify *verify)
{
    bool both = verify->source.has_field_ttl && verify->destination.has_field_ttl;
    return both ? RDB_DETAIL_EXPIRIES : 0;
}

/* Items that differ need not mean that the values do: only a module knows what is in its own. */
static void module_difference(struct verdict *verdict,
                              const struct rdb_content *source,
                              const struct rdb_content *destination)
{
    verdict_different(verdict, SYN_DIFFERENCE_VALUE);
    if (source->module.id >> 10 != destination->module.id >> 10) {
        snprintf(verdict->detail,
                 sizeof(verdict->detail),
                 "value of the module type %s at the source, of %s at the destination",
                 source->module.name,
                 destination->module.name);
    } else if (source->module.version != destination->module.version) {
        snprintf(verdict->detail,
                 sizeof(verdict->detail),
                 "module value %s in other encodings (version %u at the source, %u at the "
                 "destination): its content cannot be compared",
                 source->module.name,
                 source->module.version,
                 destination->module.version);
    } else {
        snprintf(
            verdict->detail,
            sizeof(verdict->detail),
            "module value %s: other items (%llu at the source, %llu at the destination), whose "
            "meaning only the module knows",
            source->module.name,
            (unsigned long long)source->count,
            (unsigned long long)destination->count);
    }
}

/* Parts in which the replicas of a source can differ from it: reading its own history raises a
 * consumer's counts, and makes the consumer, without being replicated; before 7.4 entries-read is
 * not either (propagation of XREADGROUP). */
#define PARTS_NOT_REPLICATED                                                                       \
    (1u << RDB_PART_READ | 1u << RDB_PART_DELIVERIES | 1u << RDB_PART_CONSUMERS)

static void value_difference(struct verdict *verdict,
                             unsigned parts,
                             const struct rdb_content *source,
                             const struct rdb_content *destination)
{
    verdict_different(verdict, SYN_DIFFERENCE_VALUE);
    int used = snprintf(verdict->detail,
                        sizeof(verdict->detail),
                        "%s: %llu %s at the source, %llu at the destination; %sother ",
                        value_type_name(verdict->source_type),
                        (unsigned long long)source->count,
                        verdict->source_type == VALUE_STRING ? "bytes" : "elements",
                        (unsigned long long)destination->count,
                        (parts & ~PARTS_NOT_REPLICATED) == 0 ? "not always replicated: " : "");
    ASSERT(used > 0 && (size_t)used < sizeof(verdict->detail));
    rdb_content_describe(
        source->kind, parts, verdict->detail + used, sizeof(verdict->detail) - (size_t)used);
}

void verdict_by_content(const struct verify *verify,
                        struct verdict *verdict,
                        const struct rdb_content *source,
                        const struct rdb_content *destination)
{
    ASSERT(source->kind == destination->kind);
    unsigned detail = verify_detail(verify);
    detail |= verify->has_delivery_times ? RDB_DETAIL_TIMES : 0;
    unsigned parts = rdb_content_compare(source, destination, detail) & ~(1u << RDB_PART_TIMES);
    if (parts == 0) {
        verdict_equal(verify, verdict, VERDICT_CONTENT);
    } else if (source->kind == RDB_KIND_MODULE) {
        module_difference(verdict, source, destination);
    } else {
        value_difference(verdict, parts, source, destination);
        if (parts == 1u << RDB_PART_EXPIRIES) {
            verdict->work = WORK_TIMES;
            verdict->expiring = source->expiring;
        }
    }
}
