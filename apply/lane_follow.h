/*
 * Operations whose key has left with its slot: ASK on a lane. Private to the lane.
 *
 * While a slot moves, the server answers ASK for a key that it has no more, or never had, and runs
 * what concerns the others. The lane sends such an operation to the importing node, behind ASKING,
 * and waits for its answer before it looks at the next one of its own.
 *
 * Why that keeps the order of a key (router.h, invariant 1): once the key is gone, every later
 * operation on it is answered ASK as well, since nothing makes a key again at a node that its slot
 * is leaving; so those that are sent on are the last ones of the key on this lane, and they are
 * sent on in their order. An operation over several keys runs nowhere while they are on both sides
 * (TRYAGAIN), a transaction is refused as a whole; so is what comes when the slot has moved
 * (MOVED). All these end the lane: the pipeline is put up again and reads their keys at the source
 * (resume.h, refusals).
 *
 * Why positions stay true: the server takes the ones behind an operation that it refused, so while
 * that one is on its way they say too much. Its ASK was counted there (INFO errorstats), so after
 * an end in this moment nothing is believed beyond what was acknowledged before (position.h).
 *
 * A snapshot's MSET is taken apart, since TRYAGAIN would have the whole copy begin again.
 *
 * Threads:   the applier's. It waits for other servers, as long as their time limit allows; its
 *            other lanes wait with it.
 * Limits:    an operation of which a part is in a batch that has gone back can be sent on only when
 *            that part was kept (lane_carry), up to carry.bytes_max.
 */
#ifndef APPLY_LANE_FOLLOW_H
#define APPLY_LANE_FOLLOW_H

#include "apply/lane.h"

/* Whether this answer is one to follow: *out is then the answer from there. False: err. */
MUST_CHECK bool lane_follow(struct lane *lane,
                            const struct batch *batch,
                            const struct op *op,
                            const struct reply *reply,
                            struct reply *out,
                            bool *is_followed,
                            struct syn_err *err);

/* The batch is about to go back: keeps the beginning of what goes on behind it. */
void lane_carry(struct lane_carry *carry, const struct batch *batch);

#endif
