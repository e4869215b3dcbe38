#include "apply/lane_group.h"

#include "apply/lane_error.h"

void lane_group_begin(struct lane_group *group, struct batch *batch, uint32_t first)
{
    ASSERT(!group->is_open);
    *group = (struct lane_group){.is_open = true,
                                 .batch = batch,
                                 .op = first,
                                 .answers = group->answers,
                                 .answer_capacity = group->answer_capacity};
}

void lane_group_deinit(struct lane_group *group)
{
    mem_free(MEM_APPLY, group->answers);
    *group = (struct lane_group){0};
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
static struct op *group_op(struct lane_group *group, struct batch **batch)
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

/* An error of its keys is worse than an answer that cannot be, and that than a doubt. */
static uint8_t refusal_worst(uint8_t a, uint8_t b)
{
    static const uint8_t order[] = {
        REFUSAL_STATE, REFUSAL_SCRIPT, REFUSAL_NO_EFFECT, REFUSAL_PARTIAL};
    for (size_t i = 0; i < sizeof(order); i++) {
        if (a == order[i] || b == order[i]) {
            return order[i];
        }
    }
    return REFUSAL_NONE;
}

/* The n-th element is of an operation whose batch is gone. */
static bool
gone_element(struct lane *lane, uint32_t n, const struct reply *reply, struct syn_err *err)
{
    struct lane_group *group = &lane->group;
    const struct op op = {.slot = SLOT_NONE,
                          .kind = OP_COMMAND,
                          .is_live = true,
                          .answer = n < group->answer_count ? group->answers[n]
                                                            : (uint8_t)COMMAND_ANSWER_ANY};
    if (LIKELY(lane_reply_fits(&op, reply))) {
        return true;
    }
    enum op_refusal refusal = lane_diverged(lane, NULL, &op, reply);
    group->gone_refusal = refusal_worst(group->gone_refusal, (uint8_t)refusal);
    return refusal != REFUSAL_NONE || lane_refused(lane, NULL, &op, reply, err);
}

bool lane_group_element(struct lane *lane, const struct reply *reply, struct syn_err *err)
{
    struct lane_group *group = &lane->group;
    struct batch *batch = NULL;
    if (UNLIKELY(!group->is_open || group->element == group->count)) {
        return lane_unexpected(lane, reply, err);
    }
    struct op *op = group_op(group, &batch);
    group->element++;
    if (UNLIKELY(op == NULL)) {
        return gone_element(lane, group->element - 1, reply, err);
    }
    if (UNLIKELY(!lane_reply_fits(op, reply)) && !lane_sets_aside(lane, batch, op, reply)) {
        return lane_refused(lane, batch, op, reply, err);
    }
    return true;
}

bool lane_group_end(struct lane *lane,
                    struct batch *batch,
                    struct op *op,
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
    if (UNLIKELY(group->gone_refusal != REFUSAL_NONE)) {
        op->refusal = group->gone_refusal;
        batch->refused_count++;
    }
    group->is_open = false;
    return true;
}

/* Room for the answers of so many operations. */
static bool answers_grow(struct lane_group *group, uint32_t count)
{
    if (count <= group->answer_capacity) {
        return true;
    }
    uint32_t capacity = count < UINT32_MAX / 2 ? 2 * count : count;
    uint8_t *answers = mem_realloc(MEM_APPLY, group->answers, capacity);
    if (answers == NULL) {
        return false;
    }
    group->answers = answers;
    group->answer_capacity = capacity;
    return true;
}

void lane_group_return(struct lane_group *group, const struct batch *batch)
{
    if (group->is_open && group->batch == batch) {
        uint32_t before = group->gone > group->element ? group->gone : group->element;
        group->gone = before + batch->op_count - group->op;
        if (group->answer_count == before && answers_grow(group, group->gone)) {
            for (uint32_t i = before; i < group->gone; i++) {
                group->answers[i] = batch->ops[group->op + i - before].answer;
            }
            group->answer_count = group->gone;
        }
        group->batch = batch->next;
        group->op = 0;
    }
}
