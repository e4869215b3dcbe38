/*
 * The digest of a value, of what both sides can have of it: a visitor between the decoder and
 * rdb/digest.h that leaves out the rest.
 */
#include "core/engine/verify_file.h"

static const struct rdb_visitor *inner(void)
{
    return rdb_digest_visitor();
}

static enum rdb_flow on_begin(void *arg, const struct rdb_value_begin *value)
{
    struct value_summer *summer = arg;
    summer->sum.kind = value->kind;
    return inner()->begin(summer->digest, value);
}

static enum rdb_flow on_string(void *arg, struct slice piece, uint64_t offset, uint64_t total)
{
    struct value_summer *summer = arg;
    summer->sum.count = total;
    return inner()->string(summer->digest, piece, offset, total);
}

static enum rdb_flow on_module(void *arg, const struct rdb_module *module, struct slice piece)
{
    struct value_summer *summer = arg;
    summer->sum.count += piece.size;
    return inner()->module(summer->digest, module, piece);
}

static enum rdb_flow on_list(void *arg, const struct rdb_element *element)
{
    struct value_summer *summer = arg;
    summer->sum.count++;
    return inner()->list(summer->digest, element);
}

static enum rdb_flow on_set(void *arg, const struct rdb_element *member)
{
    struct value_summer *summer = arg;
    summer->sum.count++;
    return inner()->set(summer->digest, member);
}

static enum rdb_flow on_hash(void *arg,
                             const struct rdb_element *field,
                             const struct rdb_element *value,
                             int64_t expire_ms)
{
    struct value_summer *summer = arg;
    const struct value_view *view = &summer->view;
    if (!view->has_field_expiry) {
        expire_ms = -1;
    } else if (expire_ms >= 0 && expire_ms <= view->cut_ms) {
        return RDB_GO;
    } else if (expire_ms >= 0 && expire_ms < summer->sum.next_expiry_ms) {
        summer->sum.next_expiry_ms = expire_ms;
    }
    summer->sum.count++;
    return inner()->hash(summer->digest, field, value, expire_ms);
}

static enum rdb_flow on_zset(void *arg, const struct rdb_element *member, double score)
{
    struct value_summer *summer = arg;
    summer->sum.count++;
    return inner()->zset(summer->digest, member, score);
}

static enum rdb_flow on_entry(void *arg, const struct rdb_stream_entry *entry)
{
    struct value_summer *summer = arg;
    summer->sum.count++;
    return inner()->stream_entry(summer->digest, entry);
}

static enum rdb_flow on_meta(void *arg, const struct rdb_stream_meta *meta)
{
    struct value_summer *summer = arg;
    return inner()->stream_meta(summer->digest, meta);
}

static enum rdb_flow on_group(void *arg, const struct rdb_stream_group *group)
{
    struct value_summer *summer = arg;
    return inner()->stream_group(summer->digest, group);
}

static enum rdb_flow on_pending(void *arg, const struct rdb_stream_pending *pending)
{
    struct value_summer *summer = arg;
    struct rdb_stream_pending seen = *pending;
    if (!summer->view.has_pending_times) {
        seen.delivery_ms = 0;
    }
    return inner()->stream_pending(summer->digest, &seen);
}

static enum rdb_flow on_consumer(void *arg, const struct rdb_stream_consumer *consumer)
{
    struct value_summer *summer = arg;
    return inner()->stream_consumer(summer->digest, consumer);
}

static enum rdb_flow on_consumer_pending(void *arg, const struct rdb_stream_id *id)
{
    struct value_summer *summer = arg;
    return inner()->stream_consumer_pending(summer->digest, id);
}

const struct rdb_visitor *value_summer_visitor(void)
{
    static const struct rdb_visitor visitor = {
        .begin = on_begin,
        .string = on_string,
        .list = on_list,
        .set = on_set,
        .hash = on_hash,
        .zset = on_zset,
        .stream_entry = on_entry,
        .stream_meta = on_meta,
        .stream_group = on_group,
        .stream_pending = on_pending,
        .stream_consumer = on_consumer,
        .stream_consumer_pending = on_consumer_pending,
        .module = on_module,
    };
    return &visitor;
}

void value_summer_entry(struct value_summer *summer,
                        struct rdb_stream_id id,
                        const struct rdb_element *elements,
                        uint64_t pairs)
{
    summer->sum.count++;
    rdb_digest_stream_entry(summer->digest, id, elements, pairs);
}

bool value_summer_init(struct value_summer *summer, struct syn_err *err)
{
    *summer = (struct value_summer){.digest = NULL};
    summer->digests[0] = rdb_digest_new(0, err);
    summer->digests[1] =
        summer->digests[0] != NULL ? rdb_digest_new(RDB_DIGEST_COUNTERS, err) : NULL;
    return summer->digests[1] != NULL;
}

void value_summer_deinit(struct value_summer *summer)
{
    rdb_digest_free(summer->digests[0]);
    rdb_digest_free(summer->digests[1]);
    *summer = (struct value_summer){.digest = NULL};
}

void value_summer_begin(struct value_summer *summer, const struct value_view *view)
{
    summer->view = *view;
    summer->digest = summer->digests[view->has_counters];
    summer->sum = (struct value_sum){.kind = RDB_KIND_COUNT, .next_expiry_ms = INT64_MAX};
    rdb_digest_begin(summer->digest);
}

struct value_sum value_summer_end(struct value_summer *summer)
{
    summer->sum.digest = rdb_digest_end(summer->digest);
    return summer->sum;
}

enum value_type value_type_of_kind(enum rdb_kind kind)
{
    static const enum value_type types[RDB_KIND_COUNT + 1] = {
        [RDB_KIND_STRING] = VALUE_STRING,
        [RDB_KIND_LIST] = VALUE_LIST,
        [RDB_KIND_SET] = VALUE_SET,
        [RDB_KIND_ZSET] = VALUE_ZSET,
        [RDB_KIND_HASH] = VALUE_HASH,
        [RDB_KIND_STREAM] = VALUE_STREAM,
        [RDB_KIND_MODULE] = VALUE_OTHER,
        [RDB_KIND_COUNT] = VALUE_OTHER,
    };
    return types[kind];
}
