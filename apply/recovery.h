/*
 * Recovery: a stream that continues behind positions which are not exact, and keys whose state at
 * the destination is not known, until both are settled.
 *
 * When a stream continues, it begins behind the lowest position of its lanes, so it sees operations
 * that other lanes have executed, and operations of which nobody knows (position.h). Each command
 * is therefore judged by its keys before it is applied:
 *
 *   done        the lane's position covers it: left out
 *   uncertain   behind the position, within its gap: repeated when it sets a whole key whatever was
 *               there before; otherwise its keys become dirty
 *   new         applied
 *   dirty       left out, up to the offset at which the key was read anew
 *
 * A command over several keys that is neither wholly done nor wholly new, and that does not split
 * by key, makes every key of it dirty that it has not settled, because what it would do to one key
 * may depend on another that is ahead or behind.
 *
 * Dirty keys are read at the source once the stream has reached `until` (nothing behind that was
 * sent before the interruption), so that their values are hardly ahead of the stream, and replace
 * the keys at the destination. From then on a dirty key has a floor: operations on it up to there
 * are part of its value. It stays named in the dirty set at the destination until a position beyond
 * its floor is written on its lane.
 *
 * A large key is copied over a while, from one offset to another, and its floor is the latter
 * (refetch_large.h). If the stream turns out to have an operation on it in between, what was
 * written is of no moment, and the key is read again before anything behind its floor is applied to
 * it. At the destination it is in the middle of a copy until then. After LARGE_SCANS of them it is
 * not scanned any more but passed; after LARGE_ATTEMPTS in all the stream needs a new full copy.
 * SWAPDB gives a dirty key the name that it has in the other database as well.
 *
 * Keys are known by the names that they have at the destination, in databases of the source; only
 * where one is read, the rules give the name that it has there.
 *
 * Invariants:
 * 1. A key is named on its lane, before any position that passes an operation of it that was left
 * out.
 * 2. Its name is removed on its lane, behind a position that is not before its floor.
 * 3. A position before `until` of its lane says so, so that an interruption of the recovery itself
 *    does not make certain what is not.
 * 4. What is left out before the reading has an offset that the source had reached by then, so it
 * is part of the value that is read.
 * 5. Nothing is applied to a key behind its floor before the stream showed that the value which was
 *    read is of one moment; and a stream does not end before, either.
 *
 * A command that waits for a relay (relay.h), or for room to wait, was judged when it came; keys
 * may become dirty meanwhile, so it is looked at again before it is applied. Before keys are read,
 * and before names are removed, nothing waits any more.
 *
 * Threads:   the stream's decoder. Reading keys blocks it, for as long as --connect-timeout allows;
 *            copying a large one for as long as that takes.
 * Limits:    RECOVERY_KEYS_MAX keys; beyond, the stream needs a new full copy, and says so
 *            (SYN_CODE_UNSUPPORTED, task->full_copy_wanted).
 */
#ifndef APPLY_RECOVERY_H
#define APPLY_RECOVERY_H

#include "apply/stream.h"

/* Keys that are read anew at most; with more of them a full copy is cheaper than it looks. */
#define RECOVERY_KEYS_MAX 100000u
/* A key that was written to during so many copies of it will be during the next, too. */
#define LARGE_SCANS 3u
#define LARGE_ATTEMPTS 10u

struct recovery_lane {
    uint64_t floor;
    uint64_t until;
    uint32_t gap;
};

enum recovery_verdict {
    RECOVERY_APPLY, /* as if there were no recovery  */
    RECOVERY_LEAVE, /* nothing of it is to be applied, or what is has been */
    RECOVERY_FAIL,  /* err is filled */
};

/* until: the source's offset when nobody else wrote any more. lanes: the caller's, copied; NULL: no
 * lane is behind. */
MUST_CHECK bool recovery_begin(struct stream *stream,
                               const struct recovery_lane *lanes,
                               uint64_t until,
                               struct syn_err *err);
void recovery_end(struct stream *stream); /* also of a stream that is in none */

/* Judges a command, whose offset is the stream's. */
enum recovery_verdict recovery_judge(struct stream *stream,
                                     const struct command_info *info,
                                     const uint8_t *bytes,
                                     const struct resp_command *command,
                                     uint64_t source_db,
                                     struct syn_err *err);
/* Whether every key of it is new and none is dirty, so that it may be part of a transaction. */
MUST_CHECK bool recovery_is_new(struct stream *stream,
                                const struct command_info *info,
                                const uint8_t *bytes,
                                const struct resp_command *command,
                                uint64_t source_db,
                                bool *is_new,
                                struct syn_err *err);
/* A command that was judged has waited since, and one of its keys may have become dirty meanwhile
 * (relay.h): then all are, and it is left out. */
MUST_CHECK bool recovery_judge_again(struct stream *stream,
                                     const struct command_info *info,
                                     const uint8_t *bytes,
                                     const struct resp_command *command,
                                     uint64_t source_db,
                                     bool *is_left_out,
                                     struct syn_err *err);
/* The open transaction is over: it counts as one command. */
void recovery_transaction_end(struct stream *stream);
/* Whether the lane has executed what has the stream's present offset. */
bool recovery_is_done(const struct stream *stream, uint32_t lane);

/* The command at the stream's offset gives the key a value that cannot be computed at the
 * destination: it is dirty, unless that value is there already. */
MUST_CHECK bool recovery_unknown(struct stream *stream,
                                 uint64_t source_db,
                                 const struct slice *name,
                                 struct syn_err *err);
/* Keys that are in repair. */
uint32_t recovery_count(const struct stream *stream);
/* Whether keys are waiting to be read that could be. */
bool recovery_is_due(const struct stream *stream);
/* Whether the key is in repair, and named at the destination; and whether operations on it at the
 * stream's present offset are left out. */
bool recovery_has(const struct stream *stream, uint64_t source_db, const struct slice *name);
bool recovery_is_dirty(const struct stream *stream, uint64_t source_db, const struct slice *name);

/* A command at the stream's offset is left out without a look at its keys. */
void recovery_overlook(struct stream *stream);
/* No more of the stream comes: values whose while is not over are read at one moment, by the steps
 * that follow. */
void recovery_ends(struct stream *stream);

/* The key's state at the destination is not known (any more): it is read anew. */
MUST_CHECK bool recovery_dirty(struct stream *stream,
                               uint64_t source_db,
                               const struct slice *name,
                               struct syn_err *err);

/* The repair is given up, for the stream needs a new full copy: fills err, returns false. */
bool recovery_refuse(struct stream *stream, const char *reason, struct syn_err *err);

/* The stream begins anew, or its databases are emptied: no key is dirty any more. */
MUST_CHECK bool recovery_forget_names(struct stream *stream);

/* A key that the dirty set at the destination names already. */
MUST_CHECK bool recovery_know(struct stream *stream,
                              uint64_t source_db,
                              const struct slice *name,
                              struct syn_err *err);

/* Between two commands: reads what can be read, forgets what is over. */
MUST_CHECK bool recovery_step(struct stream *stream, struct syn_err *err);

#endif
