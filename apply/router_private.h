/* Between router.c and router_position.c. Private to the router. */
#ifndef APPLY_ROUTER_PRIVATE_H
#define APPLY_ROUTER_PRIVATE_H

#include "apply/router.h"

/* "*2 SELECT db", at most 33 bytes. */
#define SELECT_SIZE_MAX 33
/* The end of a group, SELECT, HSET and EXEC, and perhaps the next one's MULTI and SELECT. */
#define ROUTER_TAIL_OPS 5
#define ROUTER_TAIL_BYTES                                                                          \
    (2 * SELECT_SIZE_MAX + POSITION_SET_MAX(POSITION_TOUCHED_MAX) + sizeof(ROUTER_EXEC) +          \
     sizeof(ROUTER_MULTI))

void batch_op(struct batch *batch, const struct op *op, uint32_t pos);
/* The batch's next operation runs in this database. */
void batch_select(struct batch *batch, uint32_t db, struct op op);

/* Writes MULTI into the open batch, in front of any operation of the group. */
void router_group_open(struct lane_writer *writer);
/* Writes the position of every touched stream, and EXEC. */
void router_group_close(struct router *router, struct lane_writer *writer);
bool router_touch_add(struct router *router, struct lane_writer *writer, uint16_t stream);

static inline bool writer_is_touched(const struct lane_writer *writer, uint16_t stream)
{
    for (uint32_t i = 0; i < writer->touched_count; i++) {
        if (writer->touched[i] == stream) {
            return true;
        }
    }
    return false;
}

/* Whether the next operation may not join the open batch. */
static inline bool router_group_changes(const struct router *router,
                                        const struct lane_writer *writer)
{
    return writer->is_group != router->is_group_wanted ||
           (writer->is_group && writer->touched_count == POSITION_TOUCHED_MAX &&
            !writer_is_touched(writer, router->stream));
}

/* An operation was written: its stream's position is due on this lane. */
static inline void
router_touch(struct router *router, struct lane_writer *writer, const struct op *op)
{
    if (router->positions == NULL || !op->is_live || !router->stream_positions[op->stream].is_on) {
        return;
    }
    if (writer->touched_count == 0 || writer->touched[writer->touched_count - 1] != op->stream) {
        router_touch_add(router, writer, op->stream);
    }
    if (++writer->ops_since >= POSITION_GAP && !writer->is_group) {
        router->is_mark_due = true;
    }
}

#endif
