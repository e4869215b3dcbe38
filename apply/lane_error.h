/* What a reply means, and errors that explain a bad one: operation, slot, offset, key hash. Private
 * to lane.c. */
#ifndef APPLY_LANE_ERROR_H
#define APPLY_LANE_ERROR_H

#include "apply/lane.h"

/* Before 5.0 a script that wrote and then failed is in the stream as it is: replicas run it again,
 * fail as the master did, and are equal. Whether an error is of that kind, and not because of the
 * state of this server or the rights of this account. */
bool lane_script_error_fits(const struct reply *reply);

/* Whether the array that answers EXEC has no errors but those of its scripts: not more than there
 * are scripts, and the first, of which place and text are known, is one's own. */
bool lane_exec_fits(const struct reply *reply, const struct lane_queued *queued);

static inline bool
lane_queued_fits(const struct reply *reply, struct lane_queued *queued, bool is_script)
{
    queued->is_script |= queued->count < 64 ? (uint64_t)is_script << queued->count : 0;
    queued->script_count += is_script;
    queued->count++;
    return reply->kind == REPLY_STATUS;
}

/* Whether the reply is one that the operation may get when all is well. `queued` is kept from MULTI
 * to EXEC. */
static inline bool
lane_reply_fits(const struct op *op, const struct reply *reply, struct lane_queued *queued)
{
    switch ((enum op_kind)op->kind) {
    case OP_COMMAND:
        return reply->kind != REPLY_ERROR;
    case OP_TOLERANT:
        return true;
    case OP_SCRIPT:
        return reply->kind != REPLY_ERROR || lane_script_error_fits(reply);
    case OP_MULTI:
        *queued = (struct lane_queued){0};
        return reply->kind == REPLY_STATUS;
    case OP_QUEUED:
    case OP_QUEUED_SCRIPT:
        return lane_queued_fits(reply, queued, op->kind == OP_QUEUED_SCRIPT);
    case OP_EXEC:
        return lane_exec_fits(reply, queued);
    }
    return false;
}

/* Each fills err and returns false. */
bool lane_refused(const struct lane *lane,
                  const struct batch *batch,
                  const struct op *op,
                  const struct reply *reply,
                  struct syn_err *err);
bool lane_select_refused(const struct lane *lane,
                         const struct batch *batch,
                         const struct reply *reply,
                         struct syn_err *err);
bool lane_unexpected(const struct lane *lane, const struct reply *reply, struct syn_err *err);
/* number: errno, 0 when the server closed the connection. */
bool lane_lost(const struct lane *lane, int number, struct syn_err *err);

#endif
