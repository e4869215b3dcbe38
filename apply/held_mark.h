/*
 * What positions know of relays: the names of held keys, and keys that must be read again.
 *
 * A position says that everything before an offset is at the destination. For a held key that is
 * not so: its operations wait in the decoder while those behind them, on other keys, are written.
 * So the key is named in its lane's dirty set (position.h), as recovery.h does it, in front of the
 * first position that would pass it; and the name is removed behind the last operation that waited
 * for it. After a crash the keys in the set are read again at the source.
 *
 * Most keys are held for less than the time between two positions, so names are written with a
 * position, all of a lane in one SADD, and removed with the next, in one SREM: until then a name
 * that is not needed any more costs nothing but a reading after a crash.
 *
 * relay_needs_refetch: a command cannot be done from what the destination has; the keys that it
 * names are read at the source instead. To the stream the command counts as applied.
 *
 * relay_diverged: an operand was not at the destination, although at the source it was: it expired
 * here first, or somebody else writes to the destination. The keys named are read again.
 *
 * Threads: the decoder's.
 */
#ifndef APPLY_HELD_MARK_H
#define APPLY_HELD_MARK_H

#include "apply/held.h"
#include "apply/stream_private.h"

/* ---- for the scoreboard ---- */

/* The front of a queue that begins. */
void held_announce(struct held *held, struct held_link *link);
/* `next` takes its place. */
void held_pass_name(struct held *held, struct held_link *link, struct held_link *next);
/* The queue ended, behind the last operation. False: stopped. */
MUST_CHECK bool held_withdraw(struct held *held, struct held_link *link);

/* ---- for the router ---- */

/* A position is about to be written: the lane's names are brought up to date. False: stopped. */
MUST_CHECK bool held_mark(struct held *held, uint32_t lane);
/* Removes the names of keys that are not held any more. False: stopped. */
MUST_CHECK bool held_unmark(struct held *held, uint32_t lane);
static inline bool held_has_gone(const struct held *held)
{
    return held->gone_lanes > 0;
}

/* ---- for relays ---- */

struct relay_need {
    const uint8_t *bytes;
    const struct resp_command *command;
    uint64_t source_db;
    const uint32_t *keys; /* arguments that name the keys to be read */
    uint32_t key_count;
    const char *reason; /* "is a script …": why, for people */
};
MUST_CHECK bool
relay_needs_refetch(struct stream *stream, const struct relay_need *need, struct syn_err *err);

MUST_CHECK bool relay_diverged(struct stream *stream,
                               uint64_t source_db,
                               const struct slice *keys,
                               uint32_t count,
                               struct syn_err *err);

#endif
