/*
 * Elements whose fields came one by one: from slots and registers to the visitor.
 */
#include "rdb/decode_step.h"

static struct rdb_element *slot_element(struct rdb_decoder *decoder, unsigned i)
{
    struct text_slot *slot = &decoder->slot[i];
    element_finish(decoder, &slot->element, slot->digits);
    return &slot->element;
}

static struct rdb_stream_id id_at(const uint64_t *number)
{
    return (struct rdb_stream_id){.ms = number[0], .seq = number[1]};
}

static enum rdb_flow visit_meta(struct rdb_decoder *decoder, bool has_counters)
{
    const uint64_t *number = decoder->number;
    struct rdb_stream_meta meta = {
        .length = number[0],
        .entries_seen = decoder->stream.entries_seen,
        .last_id = id_at(number + 1),
        .has_counters = has_counters,
        .group_count = number[REG_COUNT],
    };
    if (has_counters) {
        meta.first_id = id_at(number + 3);
        meta.max_deleted_id = id_at(number + 5);
        meta.entries_added = number[7];
    }
    return decoder->visitor.stream_meta(decoder->arg, &meta);
}

static enum rdb_flow visit_group(struct rdb_decoder *decoder, bool has_counters)
{
    const uint64_t *number = decoder->number;
    struct rdb_stream_group group = {
        .name = *slot_element(decoder, 0),
        .last_id = id_at(number),
        .entries_read = has_counters ? (int64_t)number[2] : -1,
        .pending_count = number[REG_COUNT],
    };
    return decoder->visitor.stream_group(decoder->arg, &group);
}

static enum rdb_flow visit_consumer(struct rdb_decoder *decoder, bool has_active)
{
    const uint64_t *number = decoder->number;
    struct rdb_stream_consumer consumer = {
        .name = *slot_element(decoder, 0),
        .seen_ms = (int64_t)number[0],
        .active_ms = (int64_t)number[has_active ? 1 : 0],
        .has_active = has_active,
        .pending_count = number[REG_COUNT],
    };
    return decoder->visitor.stream_consumer(decoder->arg, &consumer);
}

static enum rdb_flow visit_stream(struct rdb_decoder *decoder, enum visit visit)
{
    const struct rdb_visitor *visitor = &decoder->visitor;
    const uint64_t *number = decoder->number;
    struct rdb_stream_id id = id_at(number);
    struct rdb_stream_pending pending;
    switch (visit) {
    case VISIT_META_1:
    case VISIT_META_2:
        return visit_meta(decoder, visit == VISIT_META_2);
    case VISIT_GROUP_1:
    case VISIT_GROUP_2:
        return visit_group(decoder, visit == VISIT_GROUP_2);
    case VISIT_CONSUMER_1:
    case VISIT_CONSUMER_3:
        return visit_consumer(decoder, visit == VISIT_CONSUMER_3);
    case VISIT_CONSUMER_PENDING:
        return visitor->stream_consumer_pending(decoder->arg, &id);
    default:
        break;
    }
    ASSERT_DEBUG(visit == VISIT_PENDING);
    pending.id = id;
    pending.delivery_ms = (int64_t)number[2];
    pending.delivery_count = number[3];
    return visitor->stream_pending(decoder->arg, &pending);
}

enum take step_visit(struct rdb_decoder *decoder, enum visit visit)
{
    const struct rdb_visitor *visitor = &decoder->visitor;
    void *arg = decoder->arg;
    decoder->live = 0;
    switch (visit) {
    case VISIT_LIST:
        return take_flow(decoder, visitor->list(arg, slot_element(decoder, 0)));
    case VISIT_SET:
        return take_flow(decoder, visitor->set(arg, slot_element(decoder, 0)));
    case VISIT_ZSET:
        return take_flow(decoder, visitor->zset(arg, slot_element(decoder, 0), decoder->score));
    case VISIT_HASH:
        return take_flow(
            decoder,
            visitor->hash(
                arg, slot_element(decoder, 0), slot_element(decoder, 1), decoder->expire_ms));
    default:
        return take_flow(decoder, visit_stream(decoder, visit));
    }
}
