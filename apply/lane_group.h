/*
 * MULTI … EXEC on a lane: what was queued, and which of it each element of EXEC's answer is about.
 * Private to the lane.
 *
 * Between MULTI and EXEC every operation is answered +QUEUED; its own reply comes as an element of
 * the array that answers EXEC, in the same order. A command that is not queued makes the server
 * discard the whole group, so that nothing of it has run; the lane fails at once then.
 *
 * A group larger than a batch continues in the next ones, and batches go back to their decoder
 * before EXEC is answered: otherwise one command of any size could need every batch there is. Of
 * those operations the lane keeps what their answers can be, one byte each, and no record to
 * explain a bad one; what tells of another state than at the source is noted at EXEC, for the whole
 * group.
 *
 * Invariant: a batch with EXEC's record goes back only when every element was right, or noted.
 */
#ifndef APPLY_LANE_GROUP_H
#define APPLY_LANE_GROUP_H

#include "apply/batch.h"
#include "rdb/rdb.h"

struct lane;

struct lane_group {
    bool is_open;
    uint32_t count;       /* operations queued                                      */
    uint32_t gone;        /* of these, the first ones, whose batches have gone back */
    uint32_t element;     /* EXEC's elements so far                                 */
    uint8_t gone_refusal; /* enum op_refusal: the worst of those that are gone */
    uint8_t
        *answers; /* owned: enum command_answer of those that are gone; kept for the next group */
    uint32_t answer_count; /* without memory, fewer than are gone */
    uint32_t answer_capacity;
    struct batch
        *batch;  /* of the next operation whose element is to come; NULL: none is here yet */
    uint32_t op; /* its index there                                        */
};

/* MULTI was answered: the operations behind ops[first - 1] of this batch are in the group. */
void lane_group_begin(struct lane_group *group, struct batch *batch, uint32_t first);
/* One operation was answered inside the group. */
MUST_CHECK bool lane_group_queued(struct lane *lane,
                                  struct batch *batch,
                                  const struct op *op,
                                  const struct reply *reply,
                                  struct syn_err *err);
/* One element of EXEC's array. */
MUST_CHECK bool
lane_group_element(struct lane *lane, const struct reply *reply, struct syn_err *err);
/* The answer to EXEC itself. */
MUST_CHECK bool lane_group_end(struct lane *lane,
                               struct batch *batch,
                               struct op *op,
                               const struct reply *reply,
                               struct syn_err *err);
/* A batch is about to go back. */
void lane_group_return(struct lane_group *group, const struct batch *batch);
void lane_group_deinit(struct lane_group *group);

#endif
