/* What a reply means, and errors that explain a bad one: operation, slot, offset, key hash. Private
 * to lane.c and refusal.c. */
#ifndef APPLY_LANE_ERROR_H
#define APPLY_LANE_ERROR_H

#include "apply/lane.h"

/* Before 5.0 a script that wrote and then failed is in the stream as it is: replicas run it again,
 * fail as the master did, and are equal. Whether an error is of that kind, and not because of the
 * state of this server or the rights of this account. */
bool lane_script_error_fits(const struct reply *reply);

/* Whether the reply is one that the operation may get when all is well. */
static inline bool lane_reply_fits(const struct op *op, const struct reply *reply)
{
    switch ((enum op_kind)op->kind) {
    case OP_COMMAND:
    case OP_RESTORE:
        return reply->kind != REPLY_ERROR;
    case OP_TOLERANT:
        return true;
    case OP_CLAIM:
        return reply->kind == REPLY_ARRAY && reply->error_count == 0 &&
               reply->integer == (int64_t)op->key_count;
    case OP_SCRIPT:
        return reply->kind != REPLY_ERROR || lane_script_error_fits(reply);
    case OP_MULTI:
        return reply->kind == REPLY_STATUS;
    case OP_EXEC:
        return reply->kind == REPLY_ARRAY;
    }
    return false;
}

/* Whether an answer that does not fit only concerns this operation's value: noted for its decoder,
 * and the lane goes on. */
bool lane_sets_aside(struct batch *batch, struct op *op, const struct reply *reply);

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
