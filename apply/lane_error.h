/* What a reply means, and errors that explain a bad one: operation, slot, offset, key hash. Private
 * to lane.c and refusal.c. */
#ifndef APPLY_LANE_ERROR_H
#define APPLY_LANE_ERROR_H

#include "apply/command_table.h"
#include "apply/lane.h"

/* A field or an id that is not there, or a condition that is not met. -1 is neither: HPERSIST says
 * it of a field that has no time to live, as it should be, and XDELEX like XDEL may name any id. */
static inline bool lane_answer_is_partial(const struct reply *reply)
{
    return reply->kind == REPLY_ARRAY && reply->number_max > 0 && reply->number_min <= 0 &&
           reply->number_min != -1;
}

/* Whether a command that was propagated had an effect, as far as its answer tells. */
static inline bool lane_answer_fits(enum command_answer answer, const struct reply *reply)
{
    switch (answer) {
    case COMMAND_ANSWER_NONE:
    case COMMAND_ANSWER_ANY:
        return true;
    case COMMAND_ANSWER_NUMBER:
        return reply->kind != REPLY_INTEGER || reply->integer > 0;
    case COMMAND_ANSWER_VALUE:
        return reply->kind != REPLY_NIL;
    case COMMAND_ANSWER_FULL:
        return reply->kind != REPLY_NIL && (reply->kind != REPLY_ARRAY || reply->integer > 0);
    case COMMAND_ANSWER_EACH:
        return reply->kind != REPLY_NIL &&
               (reply->kind != REPLY_ARRAY ||
                (reply->number_max > 0 && !lane_answer_is_partial(reply)));
    }
    return true;
}

/* Whether the reply is one that the operation may get when all is well. */
static inline bool lane_reply_fits(const struct op *op, const struct reply *reply)
{
    switch ((enum op_kind)op->kind) {
    case OP_COMMAND:
        return reply->kind != REPLY_ERROR &&
               lane_answer_fits((enum command_answer)op->answer, reply);
    case OP_RESTORE:
        return reply->kind != REPLY_ERROR;
    case OP_TOLERANT:
        return reply->kind != REPLY_ERROR;
    case OP_CLAIM:
        return reply->kind == REPLY_ARRAY && reply->error_count == 0 &&
               reply->integer == (int64_t)op->key_count;
    case OP_SCRIPT:
        return reply->kind != REPLY_ERROR;
    case OP_MULTI:
        return reply->kind == REPLY_STATUS;
    case OP_EXEC:
        return reply->kind == REPLY_ARRAY;
    case OP_ASK:
        return reply->kind == REPLY_BULK || reply->kind == REPLY_NIL ||
               reply->kind == REPLY_INTEGER;
    }
    return false;
}

/* What an answer that does not fit tells of another state of the operation's keys than at the
 * source (divergence.h), logged then; REFUSAL_NONE: nothing. */
enum op_refusal lane_diverged(struct lane *lane,
                              const struct batch *batch,
                              const struct op *op,
                              const struct reply *reply);
/* Whether an answer that does not fit only concerns this operation's value or keys: noted for its
 * decoder, and the lane goes on. */
bool lane_sets_aside(struct lane *lane,
                     struct batch *batch,
                     struct op *op,
                     const struct reply *reply);

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
