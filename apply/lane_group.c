#include "apply/lane_group.h"

#include "apply/lane_error.h"

void lane_group_begin(struct lane_group *group, struct batch *batch, uint32_t first)
{
    ASSERT(!group->is_open);
    *group = (struct lane_group){.is_open = true, .batch = batch, .op = first};
}

static bool is_queued(const struct reply *reply)
{
    return reply->kind == REPLY_STATUS && reply->text_size == 6 &&
           memcmp(reply->text, "QUEUED", 6) == 0;
}

bool lane_group_queued(struct lane *lane,
                       struct batch *batch,
                       const struct op *op,
                       const struct reply *reply,
                       struct syn_err *err)
{
    struct lane_group *group = &lane->group;
    if (UNLIKELY(!is_queued(reply))) {
        return lane_refused(lane, batch, op, reply, err);
    }
    if (group->batch == NULL) {
        group->batch = batch;
        group->op = batch->ops_done - 1;
    }
    group->count++;
    return true;
}

/* The operation of the next element, NULL when its batch is gone. */
static const struct op *group_op(struct lane_group *group, struct batch **batch)
{
    if (group->element < group->gone) {
        return NULL;
    }
    while (group->op == group->batch->op_count) {
        group->batch = group->batch->next;
        group->op = 0;
        ASSERT(group->batch != NULL);
    }
    *batch = group->batch;
    return &group->batch->ops[group->op++];
}

bool lane_group_element(struct lane *lane, const struct reply *reply, struct syn_err *err)
{
    static const struct op unknown = {.slot = SLOT_NONE, .kind = OP_COMMAND, .is_live = true};
    struct lane_group *group = &lane->group;
    struct batch *batch = NULL;
    if (UNLIKELY(!group->is_open || group->element == group->count)) {
        return lane_unexpected(lane, reply, err);
    }
    const struct op *op = group_op(group, &batch);
    group->element++;
    if (UNLIKELY(!lane_reply_fits(op != NULL ? op : &unknown, reply))) {
        return lane_refused(lane, batch, op != NULL ? op : &unknown, reply, err);
    }
    return true;
}

bool lane_group_end(struct lane *lane,
                    const struct batch *batch,
                    const struct op *op,
                    const struct reply *reply,
                    struct syn_err *err)
{
    struct lane_group *group = &lane->group;
    ASSERT(group->is_open);
    if (UNLIKELY(reply->kind != REPLY_ARRAY || reply->integer != (int64_t)group->count)) {
        return lane_refused(lane, batch, op, reply, err);
    }
    ASSERT(group->element == group->count);
    counter_add(&lane->ops_acked, group->count);
    group->is_open = false;
    return true;
}

void lane_group_return(struct lane_group *group, const struct batch *batch)
{
    if (group->is_open && group->batch == batch) {
        uint32_t before = group->gone > group->element ? group->gone : group->element;
        group->gone = before + batch->op_count - group->op;
        group->batch = batch->next;
        group->op = 0;
    }
}
