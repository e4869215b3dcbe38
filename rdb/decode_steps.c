/*
 * The interpreter of the programs. It stops after any step, for want of bytes or at a visitor's
 * wish, and goes on with the same step or the next.
 */
#include "rdb/decode_step.h"

static const struct step *loop_end(const struct step *body)
{
    unsigned open = 1;
    for (const struct step *step = body;; step++) {
        ASSERT(step->op != OP_END);
        if (step->op == OP_REPEAT) {
            open++;
        } else if (step->op == OP_NEXT && --open == 0) {
            return step + 1;
        }
    }
}

static const struct step *step_repeat(struct rdb_decoder *decoder, const struct step *step)
{
    uint64_t count = decoder->number[step->operand];
    if (count == 0) {
        return loop_end(step + 1);
    }
    ASSERT(decoder->depth < DECODE_DEPTH_MAX);
    struct decode_loop *loop = &decoder->loop[decoder->depth++];
    loop->body = step + 1;
    loop->left = count;
    return loop->body;
}

static const struct step *step_next(struct rdb_decoder *decoder, const struct step *step)
{
    ASSERT(decoder->depth > 0);
    struct decode_loop *loop = &decoder->loop[decoder->depth - 1];
    ASSERT(loop->left > 0);
    if (--loop->left > 0) {
        return loop->body;
    }
    decoder->depth--;
    return step + 1;
}

static enum take step_text(struct rdb_decoder *decoder, unsigned slot)
{
    enum take take = take_text(decoder, &decoder->slot[slot]);
    if (take == TAKE_OK) {
        decoder->live |= 1u << slot;
    }
    return take;
}

/* Steps over slot 0: it is live until the last of its elements. */
static enum take step_blob(struct rdb_decoder *decoder, const struct step *step)
{
    enum shape shape = (enum shape)step->operand;
    enum take take;
    switch ((enum step_op)step->op) {
    case OP_ZIPLIST:
        take = ziplist_run(decoder, shape);
        break;
    case OP_LISTPACK:
        take = listpack_run(decoder, shape);
        break;
    case OP_LIST_NODE:
        take = listpack_run(decoder, SHAPE_LIST);
        break;
    case OP_INTSET:
        take = intset_run(decoder);
        break;
    case OP_ZIPMAP:
        take = zipmap_run(decoder);
        break;
    default:
        ASSERT_DEBUG(step->op == OP_STREAM_NODE);
        take = stream_node_run(decoder);
        break;
    }
    if (take == TAKE_OK) {
        decoder->live = 0;
    }
    return take;
}

static inline bool is_plain_node(const struct rdb_decoder *decoder, const struct step *step)
{
    return step->op == OP_LIST_NODE && decoder->number[REG_CONTAINER] == CONTAINER_PLAIN;
}

/* A list node's text: an element itself, or a listpack. */
static enum take step_list_node(struct rdb_decoder *decoder, const struct step *step)
{
    const struct text_slot *slot = &decoder->slot[0];
    if (!slot->element.is_integer && slot->element.size == 0) {
        return take_bad_at(decoder, slot->offset, "an empty list node");
    }
    return is_plain_node(decoder, step) ? step_visit(decoder, VISIT_LIST)
                                        : step_blob(decoder, step);
}

/* A visit is over when the visitor returns, whatever it says; all other steps come again. */
static inline bool is_over_with_flow(const struct rdb_decoder *decoder, const struct step *step)
{
    return step->op == OP_VISIT || step->op == OP_BEGIN || is_plain_node(decoder, step);
}

static enum take step_run(struct rdb_decoder *decoder, const struct step *step)
{
    switch ((enum step_op)step->op) {
    case OP_TEXT:
        return step_text(decoder, step->operand);
    case OP_VISIT:
        return step_visit(decoder, (enum visit)step->operand);
    case OP_BEGIN:
        return visit_begin(
            decoder, step->operand == 0 ? decoder->number[0] : RDB_UNKNOWN, RDB_UNKNOWN);
    case OP_STRING:
        return take_string_value(decoder);
    case OP_MODULE:
        return take_module_value(decoder);
    case OP_LIST_NODE:
        return step_list_node(decoder, step);
    case OP_ZIPLIST:
    case OP_LISTPACK:
    case OP_INTSET:
    case OP_ZIPMAP:
    case OP_STREAM_NODE:
        return step_blob(decoder, step);
    default:
        return step_field(decoder, step);
    }
}

/* Whole elements, then the step behind for one that is not whole, or out of the loop. */
static enum take step_table(struct rdb_decoder *decoder, const struct step **step)
{
    struct decode_loop *loop = &decoder->loop[decoder->depth - 1];
    enum take take = table_run(decoder, (enum shape)(*step)->operand, &loop->left);
    if (loop->left == 0) {
        decoder->depth--;
        *step = loop_end(*step + 1);
    } else if (take == TAKE_OK) {
        (*step)++;
    }
    return take;
}

enum take steps_run(struct rdb_decoder *decoder)
{
    const struct step *step = decoder->step;
    enum take take = TAKE_OK;
    while (take == TAKE_OK && step->op != OP_END) {
        switch ((enum step_op)step->op) {
        case OP_REPEAT:
            step = step_repeat(decoder, step);
            continue;
        case OP_NEXT:
            step = step_next(decoder, step);
            continue;
        case OP_TABLE:
            take = step_table(decoder, &step);
            continue;
        default:
            break;
        }
        take = step_run(decoder, step);
        step += take == TAKE_OK || (take == TAKE_FLOW && is_over_with_flow(decoder, step));
    }
    decoder->step = step;
    return take;
}
