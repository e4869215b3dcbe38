/*
 * Positions in the router: where they go between operations (position.h says what they mean).
 */
#include <string.h>

#include "apply/held_mark.h"
#include "apply/router_private.h"

bool router_set_positions(struct router *router,
                          const struct position_plan *plan,
                          uint32_t stream_count,
                          struct syn_err *err)
{
    ASSERT(plan->mode != POSITION_OFF);
    ASSERT(router->stream_positions == NULL);
    router->stream_positions = mem_calloc(MEM_APPLY, stream_count * sizeof(struct position_stream));
    router->marked =
        mem_calloc(MEM_APPLY, (size_t)router->route->lane_count * stream_count * sizeof(uint64_t));
    router->doubts = mem_calloc(MEM_APPLY,
                                (size_t)router->route->lane_count * stream_count *
                                    sizeof(struct position_doubt));
    if (router->stream_positions == NULL || router->marked == NULL || router->doubts == NULL) {
        return ERR(
            err, SYN_CODE_MEMORY, "out of memory for the positions of %u streams", stream_count);
    }
    router->positions = plan;
    router->stream_count = stream_count;
    if (plan->mode == POSITION_GROUP) {
        ASSERT(router->route->lane_count == 1);
        router->tail_bytes = ROUTER_TAIL_BYTES;
        router->tail_ops = ROUTER_TAIL_OPS;
        router->batch_bytes_max -= ROUTER_TAIL_BYTES + (uint32_t)sizeof(ROUTER_MULTI);
        router->batch_bytes = router->batch_bytes_max; /* router_pass sets it anew */
    }
    return true;
}

static const struct position_doubt *doubts_of(const struct router *router, uint32_t lane)
{
    return &router->doubts[(size_t)lane * router->stream_count];
}

static uint64_t *marked_at(const struct router *router, uint32_t lane, uint16_t stream)
{
    return &router->marked[(size_t)lane * router->stream_count + stream];
}

/* Streams whose place is beyond what the lane's hash says of them; the others have nothing new. */
static uint32_t
touched_ahead(const struct router *router, struct lane_writer *writer, uint32_t lane)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < writer->touched_count; i++) {
        uint16_t stream = writer->touched[i];
        if (router->stream_positions[stream].is_on &&
            router->stream_positions[stream].offset > *marked_at(router, lane, stream)) {
            writer->touched[count++] = stream;
        }
    }
    writer->touched_count = (uint8_t)count;
    return count;
}

static void touched_clear(const struct router *router, struct lane_writer *writer, uint32_t lane)
{
    for (uint32_t i = 0; i < writer->touched_count; i++) {
        *marked_at(router, lane, writer->touched[i]) =
            router->stream_positions[writer->touched[i]].offset;
    }
    writer->touched_count = 0;
    writer->ops_since = 0;
}

static struct op position_op(const struct router *router, const struct lane_writer *writer)
{
    uint16_t stream = writer->touched_count > 0 ? writer->touched[0] : router->stream;
    return (struct op){.stream = stream,
                       .offset = router->stream_positions[stream].offset,
                       .slot = SLOT_NONE,
                       .kind = OP_COMMAND,
                       .is_live = true};
}

/* ---- groups ---- */

void router_group_open(struct lane_writer *writer)
{
    struct batch *batch = writer->batch;
    ASSERT(!writer->is_group);
    struct op op = {.slot = SLOT_NONE, .kind = OP_MULTI, .is_live = true};
    uint32_t pos = batch->end;
    memcpy(batch->bytes + pos, ROUTER_MULTI, sizeof(ROUTER_MULTI) - 1);
    batch->end += (uint32_t)sizeof(ROUTER_MULTI) - 1;
    batch_op(batch, &op, pos);
    writer->is_group = true;
}

/* What is written for positions counts as bytes, though not as an operation. */
static void charge(struct router *router, const struct lane_writer *writer, size_t bytes)
{
    throttle_charge(&router->meter, writer->port->lane->shard, 0, bytes);
}

void router_group_close(struct router *router, struct lane_writer *writer)
{
    struct batch *batch = writer->batch;
    uint32_t lane = (uint32_t)(writer - router->writers);
    uint32_t begin = batch->end;
    struct op op = position_op(router, writer);
    ASSERT(batch->bytes_size - batch->end >= router->tail_bytes);
    if (touched_ahead(router, writer, lane) > 0) {
        batch_select(batch, router->positions->db, op);
        uint32_t pos = batch->end;
        uint8_t *end = position_put(batch->bytes + pos,
                                    router->positions,
                                    lane,
                                    router->stream_positions,
                                    doubts_of(router, lane),
                                    writer->touched,
                                    writer->touched_count);
        batch->end = (uint32_t)(end - batch->bytes);
        batch_op(batch, &op, pos);
    }
    op.kind = OP_EXEC;
    memcpy(batch->bytes + batch->end, ROUTER_EXEC, sizeof(ROUTER_EXEC) - 1);
    batch_op(batch, &op, batch->end);
    batch->end += (uint32_t)sizeof(ROUTER_EXEC) - 1;
    charge(router, writer, sizeof(ROUTER_MULTI) - 1 + batch->end - begin);
    touched_clear(router, writer, lane);
    writer->is_group = false;
}

/* ---- marks ---- */

bool router_touch_add(struct router *router, struct lane_writer *writer, uint16_t stream)
{
    if (writer_is_touched(writer, stream)) {
        return true;
    }
    if (writer->touched_count == POSITION_TOUCHED_MAX) {
        return false;
    }
    writer->touched[writer->touched_count++] = stream;
    if (writer->touched_count == POSITION_TOUCHED_MAX && !writer->is_group) {
        router->is_mark_due = true;
    }
    return true;
}

void router_left_out(struct router *router, uint32_t lane, uint16_t stream)
{
    struct op op = {.stream = stream, .is_live = true};
    router_touch(router, &router->writers[lane], &op);
}

/* Behind what is written on the lane by now, and outside of groups. */
static bool mark_lane(struct router *router, uint32_t lane)
{
    struct lane_writer *writer = &router->writers[lane];
    if (touched_ahead(router, writer, lane) > 0) {
        const struct position_plan *plan = router->positions;
        size_t size = POSITION_SET_MAX(writer->touched_count);
        router->is_group_wanted = false;
        if (router->held != NULL && !held_mark(router->held, lane)) {
            return false;
        }
        uint8_t *begin = router_reserve(router, lane, plan->db, size);
        if (begin == NULL) {
            return false;
        }
        uint8_t *end = position_put(begin,
                                    plan,
                                    lane,
                                    router->stream_positions,
                                    doubts_of(router, lane),
                                    writer->touched,
                                    writer->touched_count);
        writer->batch->end = (uint32_t)(end - writer->batch->bytes);
        charge(router, writer, (size_t)(end - begin));
        struct op op = position_op(router, writer);
        batch_op(writer->batch, &op, (uint32_t)(begin - writer->batch->bytes));
    }
    touched_clear(router, writer, lane);
    return true;
}

bool router_mark_due(struct router *router)
{
    bool is_group_wanted = router->is_group_wanted;
    router->is_mark_due = false;
    for (uint32_t lane = 0; lane < router->route->lane_count; lane++) {
        struct lane_writer *writer = &router->writers[lane];
        bool is_due =
            writer->ops_since >= POSITION_GAP || writer->touched_count == POSITION_TOUCHED_MAX;
        if (is_due && !writer->is_group && !mark_lane(router, lane)) {
            return false;
        }
    }
    router->is_group_wanted = is_group_wanted;
    return true;
}

static bool is_behind(const struct router *router, uint32_t lane, uint16_t stream)
{
    const struct position_stream *position = &router->stream_positions[stream];
    return position->is_on && position->offset > *marked_at(router, lane, stream);
}

bool router_is_behind(const struct router *router)
{
    if (router->held != NULL && held_has_gone(router->held)) {
        return true;
    }
    for (uint32_t lane = 0; lane < router->route->lane_count; lane++) {
        for (uint32_t stream = 0; stream < router->stream_count; stream++) {
            if (is_behind(router, lane, (uint16_t)stream)) {
                return true;
            }
        }
    }
    return false;
}

bool router_mark_all(struct router *router)
{
    router->is_group_wanted = false;
    for (uint32_t lane = 0; lane < router->route->lane_count; lane++) {
        struct lane_writer *writer = &router->writers[lane];
        if (writer->is_unit) {
            continue;
        }
        for (uint32_t stream = 0; stream < router->stream_count; stream++) {
            if (!is_behind(router, lane, (uint16_t)stream)) {
                continue;
            }
            /* An open group writes them at its end; what does not fit comes the next time. */
            if (!router_touch_add(router, writer, (uint16_t)stream) && !writer->is_group &&
                (!mark_lane(router, lane) || !router_touch_add(router, writer, (uint16_t)stream))) {
                return false;
            }
        }
        if (writer->touched_count > 0 && !writer->is_group && !mark_lane(router, lane)) {
            return false;
        }
        if (router->held != NULL && !held_unmark(router->held, lane)) {
            return false;
        }
    }
    return true;
}

/* ---- begin and end ---- */

/* HSET of everything that this task has in the lane's hash for one stream. */
static bool put_all_fields(struct router *router, uint32_t lane, uint16_t stream)
{
    const struct position_plan *plan = router->positions;
    const struct position_lane *names = &plan->lanes[lane];
    const struct position_stream *position = &router->stream_positions[stream];
    struct position_value value =
        position_value_now(plan, lane, position, &doubts_of(router, lane)[stream]);
    char text[POSITION_VALUE_MAX];
    char lane_field[POSITION_REPLID_SIZE + 8];
    char owner_field[POSITION_REPLID_SIZE + 8];
    memcpy(lane_field, position->replid, POSITION_REPLID_SIZE);
    memcpy(lane_field + POSITION_REPLID_SIZE, ":lane", 5);
    memcpy(owner_field, position->replid, POSITION_REPLID_SIZE);
    memcpy(owner_field + POSITION_REPLID_SIZE, ":owner", 6);
    size_t size = position_value_write(text, &value);
    const struct slice args[] = {
        {(const uint8_t *)"HSET", 4},
        {(const uint8_t *)names->key, strlen(names->key)},
        {(const uint8_t *)lane_field, POSITION_REPLID_SIZE + 5},
        {(const uint8_t *)names->slots, strlen(names->slots)},
        {(const uint8_t *)owner_field, POSITION_REPLID_SIZE + 6},
        {(const uint8_t *)plan->owner, strlen(plan->owner)},
        {(const uint8_t *)position->replid, POSITION_REPLID_SIZE},
        {(const uint8_t *)text, size},
    };
    struct op op = {
        .stream = stream, .offset = position->offset, .slot = SLOT_NONE, .kind = OP_COMMAND};
    return router_args(router, lane, plan->db, args, 8, op);
}

/* HDEL of one history's position; who owned it stays until a later start or the end of the task. */
static bool remove_fields(struct router *router, uint32_t lane, uint16_t stream, const char *replid)
{
    const struct position_plan *plan = router->positions;
    const struct position_lane *names = &plan->lanes[lane];
    char lane_field[POSITION_REPLID_SIZE + 5];
    memcpy(lane_field, replid, POSITION_REPLID_SIZE);
    memcpy(lane_field + POSITION_REPLID_SIZE, ":lane", 5);
    const struct slice args[] = {
        {(const uint8_t *)"HDEL", 4},
        {(const uint8_t *)names->key, strlen(names->key)},
        {(const uint8_t *)replid, POSITION_REPLID_SIZE},
        {(const uint8_t *)lane_field, sizeof(lane_field)},
    };
    struct op op = {.stream = stream, .slot = SLOT_NONE, .kind = OP_COMMAND};
    return router_args(router, lane, plan->db, args, 4, op);
}

bool router_position_own(struct router *router,
                         uint16_t stream,
                         const char *replid,
                         const char *old)
{
    const struct position_plan *plan = router->positions;
    struct op op = {.stream = stream, .slot = SLOT_NONE, .kind = OP_COMMAND};
    char now[POSITION_REPLID_SIZE + 6];
    char before[POSITION_REPLID_SIZE + 6];
    memcpy(now, replid, POSITION_REPLID_SIZE);
    memcpy(now + POSITION_REPLID_SIZE, ":owner", 6);
    memcpy(before, old, POSITION_REPLID_SIZE);
    memcpy(before + POSITION_REPLID_SIZE, ":owner", 6);
    router->is_group_wanted = false;
    for (uint32_t lane = 0; lane < router->route->lane_count; lane++) {
        const struct slice key = {(const uint8_t *)plan->lanes[lane].key,
                                  strlen(plan->lanes[lane].key)};
        const struct slice set[] = {{(const uint8_t *)"HSET", 4},
                                    key,
                                    {(const uint8_t *)now, sizeof(now)},
                                    {(const uint8_t *)plan->owner, strlen(plan->owner)}};
        const struct slice remove[] = {
            {(const uint8_t *)"HDEL", 4}, key, {(const uint8_t *)before, sizeof(before)}};
        if (!router_args(router, lane, plan->db, set, 4, op) ||
            !router_args(router, lane, plan->db, remove, 3, op)) {
            return false;
        }
    }
    return true;
}

bool router_position_begin(struct router *router,
                           uint16_t stream,
                           const char *replid,
                           const char *old,
                           uint64_t offset,
                           uint32_t db)
{
    struct position_stream *position = &router->stream_positions[stream];
    router->is_group_wanted = false;
    memcpy(position->replid, replid, POSITION_REPLID_SIZE);
    position->offset = offset;
    position->db = db;
    position->acked = offset;
    position->acked_db = db;
    for (uint32_t lane = 0; lane < router->route->lane_count; lane++) {
        /* After a resumption a lane may be ahead of the stream: what it says stays true. */
        bool is_said = position->is_on && *marked_at(router, lane, stream) > offset;
        if (!is_said && !put_all_fields(router, lane, stream)) {
            return false;
        }
        if (old != NULL && !is_said && !remove_fields(router, lane, stream, old)) {
            return false;
        }
        if (!is_said) {
            *marked_at(router, lane, stream) = offset;
        }
    }
    position->is_on = true;
    return router_drain(router);
}

bool router_position_drop(struct router *router, uint16_t stream)
{
    struct position_stream *position = &router->stream_positions[stream];
    if (!position->is_on) {
        return true;
    }
    position->is_on = false;
    router->is_group_wanted = false;
    for (uint32_t lane = 0; lane < router->route->lane_count; lane++) {
        if (!remove_fields(router, lane, stream, position->replid)) {
            return false;
        }
        *marked_at(router, lane, stream) = 0;
        router->doubts[(size_t)lane * router->stream_count + stream] = (struct position_doubt){0};
    }
    return router_drain(router);
}

bool router_position_again(struct router *router, uint32_t lane)
{
    struct op op = {.slot = SLOT_NONE, .kind = OP_COMMAND};
    if (router->writers[lane].is_unit && !router_unit_db(router, lane, router->positions->db, op)) {
        return false;
    }
    for (uint32_t stream = 0; stream < router->stream_count; stream++) {
        if (router->stream_positions[stream].is_on &&
            !put_all_fields(router, lane, (uint16_t)stream)) {
            return false;
        }
    }
    return true;
}
