/* Rates: from options and calls to the pipeline, and back to the status. */
#include "core/engine/engine.h"

_Static_assert((int)SYN_RATE_COUNT == THROTTLE_RATE_COUNT, "the same rates");
_Static_assert(SYN_RATE_MAX == THROTTLE_PER_S_MAX, "within the same bound");

/* syn_rate is throttle_rate() in the order of its three enums. */
static struct throttle_rates rates_inside(const struct syn_rates *rates)
{
    struct throttle_rates inside;
    for (int rate = 0; rate < SYN_RATE_COUNT; rate++) {
        inside.per_s[rate] = rates->per_s[rate];
    }
    return inside;
}

bool engine_throttle_init(struct syn_engine *engine, struct syn_err *err)
{
    ASSERT(throttle_rate(THROTTLE_TASK, THROTTLE_LIVE, THROTTLE_OPS) == SYN_RATE_LIVE_OPS);
    ASSERT(throttle_rate(THROTTLE_SHARD, THROTTLE_LIVE, THROTTLE_BYTES) ==
           SYN_RATE_SHARD_LIVE_BYTES);
    struct throttle_rates inside = rates_inside(&engine->config.rates);
    return throttle_init(&engine->task.throttle, engine->route.shard_count, &inside, err);
}

static void wake_decoders(struct syn_engine *engine)
{
    for (uint32_t d = 0; d < engine->decoder_count; d++) {
        waker_wake(&engine->decoders[d].waker);
    }
}

void engine_throttle_lift(struct syn_engine *engine)
{
    throttle_lift(&engine->task.throttle);
    wake_decoders(engine);
}

bool syn_engine_throttle(struct syn_engine *engine,
                         const struct syn_rates *rates,
                         struct syn_err *err)
{
    err_clear(err);
    for (int rate = 0; rate < SYN_RATE_COUNT; rate++) {
        if (rates->per_s[rate] > SYN_RATE_MAX) {
            return ERR(err,
                       SYN_CODE_CONFIG,
                       "%s: %llu is out of bounds (0 to %llu)",
                       syn_rate_name((enum syn_rate)rate),
                       (unsigned long long)rates->per_s[rate],
                       (unsigned long long)SYN_RATE_MAX);
        }
    }
    /* Kept for the next pipeline too, if this one has to be taken down. */
    pthread_mutex_lock(&engine->build_lock);
    engine->config.rates = *rates;
    if (engine->is_built) {
        struct throttle_rates inside = rates_inside(rates);
        throttle_set(&engine->task.throttle, &inside);
        wake_decoders(engine);
    }
    pthread_mutex_unlock(&engine->build_lock);
    return true;
}

enum syn_rate engine_throttle_of(const struct syn_engine *engine, uint32_t i)
{
    const struct stream *stream = &engine->streams[i];
    int rate = throttle_shown(&stream->router->meter,
                              stream_throttle_phase(atomic_load_acquire(&stream->shown_state)),
                              clock_monotonic_ns());
    return rate == THROTTLE_NONE ? SYN_RATE_COUNT : (enum syn_rate)rate;
}
