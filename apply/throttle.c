#include "apply/throttle.h"

#include <string.h>

#define NS_PER_S 1000000000u
#define NS_PER_MS 1000000u
#define BURST_NS (THROTTLE_BURST_MS * (uint64_t)NS_PER_MS)
/* A debt of more is not paid in the life of a task; it only must not overflow. */
#define DEBT_MAX (INT64_MAX / 2)
/* Pieces of large operations: so much of a byte rate at once, but no less than what an operation of
 * usual size takes. */
#define PIECES_PER_S 20
#define PIECE_BYTES_MIN 1024
/* A stream that is held up again and again is not shown as free in between. */
#define SHOWN_NS (200 * (uint64_t)NS_PER_MS)

#define GROUP ((uint32_t)THROTTLE_PHASE_COUNT * THROTTLE_UNIT_COUNT)
_Static_assert(THROTTLE_PER_S_MAX < (uint64_t)DEBT_MAX / BURST_NS,
               "a full bucket does not overflow");

/* ---- one bucket ---- */

static int64_t bucket_level_max(const struct bucket *bucket)
{
    uint64_t burst = bucket->per_s * BURST_NS;
    return (int64_t)(burst > NS_PER_S ? burst : NS_PER_S);
}

/* What came in since; exact, as a billionth of a token is what a rate of 1/s gives in 1 ns. */
static void bucket_fill(struct bucket *bucket, uint64_t now_ns)
{
    ASSERT(now_ns >= bucket->filled_ns);
    uint64_t passed_ns = now_ns - bucket->filled_ns;
    int64_t most = bucket_level_max(bucket);
    uint64_t missing = (uint64_t)most - (uint64_t)bucket->level;
    bucket->filled_ns = now_ns;
    if (passed_ns > missing / bucket->per_s) {
        bucket->level = most;
    } else {
        bucket->level += (int64_t)(passed_ns * bucket->per_s);
    }
}

void bucket_set(struct bucket *bucket, uint64_t per_s, uint64_t now_ns)
{
    ASSERT(per_s <= THROTTLE_PER_S_MAX);
    if (bucket->per_s != 0) {
        bucket_fill(bucket, now_ns);
    }
    if (per_s == 0 || bucket->per_s == 0 || bucket->level > 0) {
        bucket->level = 0;
    }
    bucket->per_s = per_s;
    bucket->filled_ns = now_ns;
}

uint64_t bucket_take(struct bucket *bucket, uint64_t tokens, uint64_t now_ns)
{
    if (bucket->per_s == 0) {
        return now_ns;
    }
    bucket_fill(bucket, now_ns);
    if (tokens > (uint64_t)(bucket->level + DEBT_MAX) / NS_PER_S) {
        bucket->level = -DEBT_MAX;
    } else {
        bucket->level -= (int64_t)(tokens * NS_PER_S);
    }
    if (bucket->level >= 0) {
        return now_ns;
    }
    uint64_t debt = (uint64_t)-bucket->level;
    return now_ns + (debt + bucket->per_s - 1) / bucket->per_s;
}

/* ---- shared ---- */

static enum throttle_scope scope_of(uint32_t group)
{
    return group == 0 ? THROTTLE_TASK : THROTTLE_SHARD;
}

static uint64_t
rate_of(const struct throttle *throttle, uint32_t group, uint32_t phase, uint32_t unit)
{
    int rate = throttle_rate(scope_of(group), (enum throttle_phase)phase, (enum throttle_unit)unit);
    return throttle->is_lifted ? 0 : throttle->rates.per_s[rate];
}

static uint32_t index_of(uint32_t group, uint32_t phase, uint32_t unit)
{
    return group * GROUP + phase * THROTTLE_UNIT_COUNT + unit;
}

/* Under the lock: whoever read the clock first may have come to the lock last. */
static uint64_t throttle_now(struct throttle *throttle, uint64_t now_ns)
{
    if (now_ns > throttle->now_ns) {
        throttle->now_ns = now_ns;
    }
    return throttle->now_ns;
}

/* Under the lock. */
static void throttle_renew(struct throttle *throttle)
{
    uint64_t now_ns = throttle_now(throttle, clock_monotonic_ns());
    for (uint32_t group = 0; group <= throttle->shard_count; group++) {
        for (uint32_t phase = 0; phase < THROTTLE_PHASE_COUNT; phase++) {
            for (uint32_t unit = 0; unit < THROTTLE_UNIT_COUNT; unit++) {
                bucket_set(&throttle->buckets[index_of(group, phase, unit)],
                           rate_of(throttle, group, phase, unit),
                           now_ns);
            }
        }
    }
    uint32_t version = atomic_load_relaxed(&throttle->version);
    atomic_store_release(&throttle->version, version + 1);
}

bool throttle_init(struct throttle *throttle,
                   uint32_t shard_count,
                   const struct throttle_rates *rates,
                   struct syn_err *err)
{
    memset(throttle, 0, sizeof(*throttle));
    throttle->buckets =
        mem_calloc(MEM_APPLY, ((size_t)shard_count + 1) * GROUP * sizeof(struct bucket));
    if (throttle->buckets == NULL) {
        return ERR(err, SYN_CODE_MEMORY, "out of memory for the rates of %u shards", shard_count);
    }
    pthread_mutex_init(&throttle->lock, NULL);
    throttle->shard_count = shard_count;
    throttle_set(throttle, rates);
    return true;
}

void throttle_deinit(struct throttle *throttle)
{
    if (throttle->buckets != NULL) {
        pthread_mutex_destroy(&throttle->lock);
        mem_free(MEM_APPLY, throttle->buckets);
    }
    memset(throttle, 0, sizeof(*throttle));
}

void throttle_set(struct throttle *throttle, const struct throttle_rates *rates)
{
    pthread_mutex_lock(&throttle->lock);
    throttle->rates = *rates;
    throttle_renew(throttle);
    pthread_mutex_unlock(&throttle->lock);
}

void throttle_get(struct throttle *throttle, struct throttle_rates *rates)
{
    pthread_mutex_lock(&throttle->lock);
    *rates = throttle->rates;
    pthread_mutex_unlock(&throttle->lock);
}

void throttle_lift(struct throttle *throttle)
{
    pthread_mutex_lock(&throttle->lock);
    throttle->is_lifted = true;
    throttle_renew(throttle);
    pthread_mutex_unlock(&throttle->lock);
}

/* ---- one decoder's ---- */

bool throttle_meter_init(struct throttle_meter *meter,
                         struct throttle *throttle,
                         struct syn_err *err)
{
    memset(meter, 0, sizeof(*meter));
    size_t count = ((size_t)throttle->shard_count + 1) * GROUP;
    meter->shares = mem_calloc(MEM_APPLY, count * sizeof(struct throttle_share));
    if (meter->shares == NULL) {
        return ERR(err,
                   SYN_CODE_MEMORY,
                   "out of memory for the rates of %u shards",
                   throttle->shard_count);
    }
    meter->throttle = throttle;
    return true;
}

void throttle_meter_deinit(struct throttle_meter *meter)
{
    mem_free(MEM_APPLY, meter->shares);
    memset(meter, 0, sizeof(*meter));
}

/* Under the lock: pays for what was used of one share, and gives the next. A share that nothing was
 * taken from does not wait for what others owe, so that decoders get their turns in the order in
 * which they settled; `is_anew`: they are worked out again. */
static uint64_t
share_settle(struct throttle_share *share, struct bucket *bucket, bool is_anew, uint64_t now_ns)
{
    int64_t used = share->given - share->left;
    ASSERT(used >= 0);
    uint64_t resume_ns = now_ns;
    if (used > 0 || is_anew) {
        resume_ns = bucket_take(bucket, (uint64_t)used, now_ns);
    }
    share->given = bucket->per_s == 0
                       ? INT64_MAX / 2
                       : (int64_t)(bucket->per_s * THROTTLE_SHARE_MS / (NS_PER_S / NS_PER_MS));
    share->left = share->given;
    return resume_ns;
}

/* Under the lock. */
static void
meter_settle(struct throttle_meter *meter, uint32_t phase, bool is_anew, uint64_t now_ns)
{
    struct throttle *throttle = meter->throttle;
    uint64_t resume_ns = now_ns;
    int rate = THROTTLE_NONE;
    for (uint32_t group = 0; group <= throttle->shard_count; group++) {
        for (uint32_t unit = 0; unit < THROTTLE_UNIT_COUNT; unit++) {
            uint32_t i = index_of(group, phase, unit);
            uint64_t one_ns =
                share_settle(&meter->shares[i], &throttle->buckets[i], is_anew, now_ns);
            if (one_ns > resume_ns) {
                resume_ns = one_ns;
                rate = throttle_rate(
                    scope_of(group), (enum throttle_phase)phase, (enum throttle_unit)unit);
            }
        }
    }
    meter->is_spent[phase] = false;
    meter->resume_ns[phase] = rate == THROTTLE_NONE ? 0 : resume_ns;
    if (rate != THROTTLE_NONE) {
        atomic_store_relaxed(&meter->shown_rate[phase], rate);
        atomic_store_relaxed(&meter->shown_until_ns[phase], resume_ns + SHOWN_NS);
    } else if (is_anew) {
        atomic_store_relaxed(&meter->shown_until_ns[phase], 0);
    }
}

/* Under the lock: the rates are others now. */
static void meter_renew(struct throttle_meter *meter, uint64_t now_ns)
{
    const struct throttle *throttle = meter->throttle;
    meter->version = atomic_load_relaxed(&throttle->version);
    for (uint32_t phase = 0; phase < THROTTLE_PHASE_COUNT; phase++) {
        uint64_t least = UINT64_MAX;
        meter->has_rates[phase] = false;
        for (uint32_t scope = 0; scope < THROTTLE_SCOPE_COUNT; scope++) {
            uint64_t ops = rate_of(throttle, scope, phase, THROTTLE_OPS);
            uint64_t bytes = rate_of(throttle, scope, phase, THROTTLE_BYTES);
            meter->has_rates[phase] = meter->has_rates[phase] || ops != 0 || bytes != 0;
            least = bytes != 0 && bytes < least ? bytes : least;
        }
        uint64_t piece = least / PIECES_PER_S;
        piece = piece < PIECE_BYTES_MIN ? PIECE_BYTES_MIN : piece;
        meter->piece_bytes[phase] = piece > UINT32_MAX ? UINT32_MAX : (uint32_t)piece;
        meter_settle(meter, phase, true, now_ns);
    }
}

bool throttle_is_changed(const struct throttle_meter *meter)
{
    return meter->throttle != NULL &&
           atomic_load_acquire(&meter->throttle->version) != meter->version;
}

bool throttle_pass(struct throttle_meter *meter, enum throttle_phase phase, uint64_t now_ns)
{
    struct throttle *throttle = meter->throttle;
    meter->phase = phase;
    if (throttle == NULL) {
        return true;
    }
    bool is_changed = throttle_is_changed(meter);
    if (is_changed || meter->is_spent[phase]) {
        pthread_mutex_lock(&throttle->lock);
        now_ns = throttle_now(throttle, now_ns);
        if (is_changed) {
            meter_renew(meter, now_ns);
        } else {
            meter_settle(meter, phase, false, now_ns);
        }
        pthread_mutex_unlock(&throttle->lock);
    }
    meter->is_limited = meter->has_rates[phase];
    if (meter->resume_ns[phase] > now_ns) {
        return false;
    }
    meter->resume_ns[phase] = 0;
    return true;
}

int throttle_wait_ms(const struct throttle_meter *meter,
                     enum throttle_phase phase,
                     uint64_t now_ns,
                     int most)
{
    uint64_t resume_ns = meter->resume_ns[phase];
    uint64_t left_ms = resume_ns > now_ns ? (resume_ns - now_ns + NS_PER_MS - 1) / NS_PER_MS : 1;
    return left_ms < (uint64_t)most ? (int)left_ms : most;
}

int throttle_shown(const struct throttle_meter *meter, enum throttle_phase phase, uint64_t now_ns)
{
    return now_ns < atomic_load_relaxed(&meter->shown_until_ns[phase])
               ? atomic_load_relaxed(&meter->shown_rate[phase])
               : THROTTLE_NONE;
}

void throttle_charge_limited(struct throttle_meter *meter,
                             uint32_t shard,
                             uint64_t ops,
                             uint64_t bytes)
{
    const uint64_t amounts[THROTTLE_UNIT_COUNT] = {[THROTTLE_OPS] = ops, [THROTTLE_BYTES] = bytes};
    const uint32_t groups[] = {0, 1 + shard};
    ASSERT_DEBUG(shard < meter->throttle->shard_count);
    for (uint32_t g = 0; g < 2; g++) {
        for (uint32_t unit = 0; unit < THROTTLE_UNIT_COUNT; unit++) {
            struct throttle_share *share = &meter->shares[index_of(groups[g], meter->phase, unit)];
            share->left -= (int64_t)amounts[unit];
            meter->is_spent[meter->phase] = meter->is_spent[meter->phase] || share->left < 0;
        }
    }
}
