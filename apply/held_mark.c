#include "apply/held_mark.h"

void held_announce(struct router *router, uint32_t lane, uint16_t slot, const struct slice *key)
{
    (void)router;
    (void)lane;
    (void)slot;
    (void)key;
}

void held_withdraw(struct router *router, uint32_t lane, uint16_t slot, const struct slice *key)
{
    (void)router;
    (void)lane;
    (void)slot;
    (void)key;
}

bool relay_needs_refetch(struct stream *stream, const struct relay_need *need, struct syn_err *err)
{
    char where[200];
    return ERR(err,
               need->code,
               "%s %s",
               live_where(stream, need->bytes, need->command, where),
               need->reason);
}

void relay_diverged(struct stream *stream, uint16_t slot, const struct slice *key)
{
    (void)slot;
    (void)key;
    counter_add(&stream->diverged, 1);
}
