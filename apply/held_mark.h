/*
 * What the relay tells those who keep positions in the destination and repair keys.
 *
 * A position says that everything before an offset is at the destination. For a held key that is
 * not so: its operations wait in the decoder while those behind them, on other keys, are written.
 * So a position that is written to a lane names the keys that are held there:
 *
 * - held_announce(key) comes when a key begins to be held: behind the last operation on it that is
 *   written so far, and before any operation that is written to its lane later.
 * - held_withdraw(key) comes when the last operation that waited for it is written to that lane.
 *   Between the two a position of the lane does not speak for the key.
 * - After a crash, keys that were announced and not withdrawn are fetched from the source.
 *
 * relay_needs_refetch: a command cannot be done from what the destination has. Everything before it
 * on the keys that it names is written, nothing behind it is, and they may be read from the source
 * and replaced from then on; to the stream the command counts as applied.
 *
 * relay_diverged: an operand was not at the destination, although at the source it was: it expired
 * here first, or somebody else writes to the destination. The key named has what the destination's
 * own state leads to, which may differ from the source's.
 *
 * Threads: the decoder's.
 */
#ifndef APPLY_HELD_MARK_H
#define APPLY_HELD_MARK_H

#include "apply/stream_private.h"

void held_announce(struct router *router, uint32_t lane, uint16_t slot, const struct slice *key);
void held_withdraw(struct router *router, uint32_t lane, uint16_t slot, const struct slice *key);

struct relay_need {
    const uint8_t *bytes;
    const struct resp_command *command;
    const uint32_t *keys; /* arguments that name the keys to be fetched */
    uint32_t key_count;
    const char *reason; /* "is a script …": why, and what to do about it, for people */
    enum syn_code code;
};
/* True: they will be. */
MUST_CHECK bool
relay_needs_refetch(struct stream *stream, const struct relay_need *need, struct syn_err *err);

void relay_diverged(struct stream *stream, uint16_t slot, const struct slice *key);

#endif
