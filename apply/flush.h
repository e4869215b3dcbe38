/*
 * Flushes of a source: FLUSHALL and FLUSHDB in its stream.
 *
 * Where the stream is the only one, and its keys are copied all and under their own names, the
 * destination's database is what the source's was, and is flushed as a whole, every shard in its
 * place of the stream. Otherwise a flush would remove what other streams own, or what the rules
 * leave alone. Then it is *scoped*: the decoder waits until everything before is acknowledged, asks
 * control to remove the keys that are copies of this source's (sweep.c), and waits for the end.
 *
 * Invariant: behind a scoped flush the stream's position is on every lane, and acknowledged, before
 * anything else of the stream is written. So a run that continues and finds a position beyond the
 * flush on any lane knows that it was completed; and if there is none, to repeat it removes nothing
 * that came after.
 *
 * Threads:   the decoder, which waits; control, which removes.
 * Limits:    while it waits, the decoder's other streams do too.
 */
#ifndef APPLY_FLUSH_H
#define APPLY_FLUSH_H

#include "core/base/base.h"

struct stream;

/* In the order of --on-flush's choices. */
enum flush_policy { FLUSH_SCOPED, FLUSH_APPLY, FLUSH_IGNORE, FLUSH_STOP };

/* Removes the copies of the source's keys in one database of the destination, or (DB_NONE) in all
 * that are copied to. */
MUST_CHECK bool flush_scoped(struct stream *stream, uint32_t db, struct syn_err *err);

#endif
