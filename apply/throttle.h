/*
 * Throttling: token buckets for operations and for bytes per second, of the whole task and of each
 * destination shard, of snapshots and of live streams.
 *
 * What a decoder's router writes is charged to its meter. When a small share of a rate is used up,
 * the meter settles with the shared buckets and learns when the decoder may go on. A bucket goes
 * into debt rather than cut an operation, and the debt is waited for: over any time the rate is
 * exact. Decoders in debt to one bucket go on in the order in which they settled. Streams wait
 * before they take their next operation, not lanes: what is held back stays in the feed, so that
 * other streams pass, nothing piles up behind a connection, and the source's own TCP connection
 * feels it.
 *
 * An operation is a command; in a snapshot, each key of an MSET is one. MULTI and EXEC around
 * commands are none. Bytes are those of commands.
 *
 * Threads:   a throttle may be changed and asked by any thread; a meter belongs to its decoder, but
 *            for what is named. Buckets are under a lock, which is taken per share, not per
 *            operation.
 * Ownership: the throttle outlives the meters.
 * Limits:    a pause saves up THROTTLE_BURST_MS of a rate, or one operation; beyond a rate go
 *            at most one operation (a transaction is one here), one batch, and one share for each
 *            decoder.
 * Errors:    memory, when they are made.
 */
#ifndef APPLY_THROTTLE_H
#define APPLY_THROTTLE_H

#include <pthread.h>

#include "core/base/base.h"

enum throttle_scope { THROTTLE_TASK, THROTTLE_SHARD, THROTTLE_SCOPE_COUNT };
enum throttle_phase { THROTTLE_SNAPSHOT, THROTTLE_LIVE, THROTTLE_PHASE_COUNT };
enum throttle_unit { THROTTLE_OPS, THROTTLE_BYTES, THROTTLE_UNIT_COUNT };

/* One of the rates, as a number: for status. */
#define THROTTLE_NONE (-1)
#define THROTTLE_RATE_COUNT (THROTTLE_SCOPE_COUNT * THROTTLE_PHASE_COUNT * THROTTLE_UNIT_COUNT)
static inline int
throttle_rate(enum throttle_scope scope, enum throttle_phase phase, enum throttle_unit unit)
{
    return ((int)scope * THROTTLE_PHASE_COUNT + (int)phase) * THROTTLE_UNIT_COUNT + (int)unit;
}

/* Long enough that a thread which a busy machine lets wait does not lose what it could have sent,
 * short enough that a server does not feel it as a burst. */
#define THROTTLE_BURST_MS 100
/* Of a rate: what a meter may use before it settles again. */
#define THROTTLE_SHARE_MS 2
/* Keeps all sums below 2^63 billionths. */
#define THROTTLE_PER_S_MAX (UINT64_C(1) << 35)

struct throttle_rates {
    /* Per second, by throttle_rate(); 0: not limited. At most THROTTLE_PER_S_MAX. */
    uint64_t per_s[THROTTLE_RATE_COUNT];
};

/* ---- one bucket; the caller gives the time and the lock ---- */

struct bucket {
    uint64_t per_s;     /* 0: everything passes                                  */
    int64_t level;      /* in billionths of a token; below zero: owed            */
    uint64_t filled_ns; /* when `level` was right                                */
};
/* A new rate begins with nothing saved up, and keeps what is owed. */
void bucket_set(struct bucket *bucket, uint64_t per_s, uint64_t now_ns);
/* Takes tokens, owing what is not there. Returns when nothing is owed any more: now_ns if so. */
uint64_t bucket_take(struct bucket *bucket, uint64_t tokens, uint64_t now_ns);

/* ---- shared ---- */

struct throttle {
    pthread_mutex_t lock; /* all below but `version` */
    struct throttle_rates rates;
    struct bucket *buckets; /* [0]: the task's, then the shards', THROTTLE_PHASE_COUNT *
                               THROTTLE_UNIT_COUNT each */
    uint32_t shard_count;
    bool is_lifted;
    uint64_t now_ns; /* the latest time at which a bucket was looked at */
    alignas(CACHE_LINE) _Atomic uint32_t version; /* W: under the lock, release; R: meters, acquire:
                                                     the rates changed */
};

MUST_CHECK bool throttle_init(struct throttle *throttle,
                              uint32_t shard_count,
                              const struct throttle_rates *rates,
                              struct syn_err *err);
void throttle_deinit(struct throttle *throttle); /* a zeroed one is allowed */
/* Meters see it at their next look; whoever may be waiting must be woken. */
void throttle_set(struct throttle *throttle, const struct throttle_rates *rates);
void throttle_get(struct throttle *throttle, struct throttle_rates *rates);
/* No rate counts any more, whatever is set later: the task is ending. */
void throttle_lift(struct throttle *throttle);

/* ---- one decoder's ---- */

struct throttle_share {
    int64_t left;  /* to be used before the next settling */
    int64_t given; /* `left` as it began                  */
};

struct throttle_meter {
    struct throttle *throttle;     /* NULL: nothing is limited */
    struct throttle_share *shares; /* as throttle.buckets      */
    uint32_t version;
    enum throttle_phase phase;                  /* of what is being written                   */
    bool is_limited;                            /* in this phase                              */
    bool is_spent[THROTTLE_PHASE_COUNT];        /* a share is used up          */
    bool has_rates[THROTTLE_PHASE_COUNT];       /* any of the phase is limited */
    uint32_t piece_bytes[THROTTLE_PHASE_COUNT]; /* what may go out at once, UINT32_MAX: anything */
    uint64_t resume_ns[THROTTLE_PHASE_COUNT];   /* 0: nothing is waited for     */
    /* W: the decoder, relaxed. R: any: which rate holds the phase up, THROTTLE_NONE, and until
     * when that is worth showing. */
    _Atomic int shown_rate[THROTTLE_PHASE_COUNT];
    _Atomic uint64_t shown_until_ns[THROTTLE_PHASE_COUNT];
};

/* A zeroed meter limits nothing and needs no init. */
MUST_CHECK bool
throttle_meter_init(struct throttle_meter *meter, struct throttle *throttle, struct syn_err *err);
void throttle_meter_deinit(struct throttle_meter *meter);

/* Whether the decoder may write more of this phase at that time; what it then writes is charged to
 * it. */
bool throttle_pass(struct throttle_meter *meter, enum throttle_phase phase, uint64_t now_ns);
/* The rates changed since the meter last looked. */
bool throttle_is_changed(const struct throttle_meter *meter);
/* How long throttle_pass said no for, in whole milliseconds from 1 to `most`. */
int throttle_wait_ms(const struct throttle_meter *meter,
                     enum throttle_phase phase,
                     uint64_t now_ns,
                     int most);
/* The rate that holds this phase up, or did a moment ago; THROTTLE_NONE. Any thread. */
int throttle_shown(const struct throttle_meter *meter, enum throttle_phase phase, uint64_t now_ns);

void throttle_charge_limited(struct throttle_meter *meter,
                             uint32_t shard,
                             uint64_t ops,
                             uint64_t bytes);
/* Something was written for a shard. */
static inline void
throttle_charge(struct throttle_meter *meter, uint32_t shard, uint64_t ops, uint64_t bytes)
{
    if (UNLIKELY(meter->is_limited)) {
        throttle_charge_limited(meter, shard, ops, bytes);
    }
}
/* A share is used up: throttle_pass must be asked before the next operation. */
static inline bool throttle_is_spent(const struct throttle_meter *meter)
{
    return meter->is_spent[meter->phase];
}

#endif
