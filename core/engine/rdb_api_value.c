/*
 * Values: passed over, counted, or shown element by element.
 *
 * Counting decodes only what must be decoded. Where a value's head tells its count, the decoder is
 * stopped: a blob has passed by then, since it is opened when it is whole; in front of a table's
 * elements the walker goes back to the first byte and passes over all of it. So that the feed's
 * cuts do not decide which way a value is counted, nothing of it is used while a table's head may
 * still be incomplete.
 */
#include "core/engine/rdb_api.h"

/* ---- visits ---- */

static enum rdb_flow show(struct rdb_reader *reader, const struct syn_rdb_element *element)
{
    if (reader->is_muted) {
        return RDB_GO;
    }
    switch (reader->visitor->element(reader->arg, &reader->key, element)) {
    case SYN_RDB_STOP:
        reader->is_stopped = true;
        return RDB_STOP;
    case SYN_RDB_SKIP:
        reader->is_muted = true;
        break;
    case SYN_RDB_GO:
        break;
    }
    return RDB_GO;
}

static struct syn_rdb_text text_of(const struct rdb_element *element)
{
    return rdb_text_of((struct slice){.bytes = element->bytes, .size = element->size});
}

static struct syn_rdb_stream_id id_of(struct rdb_stream_id id)
{
    return (struct syn_rdb_stream_id){.ms = id.ms, .seq = id.seq};
}

static enum rdb_flow show_string(void *arg, struct slice piece, uint64_t offset, uint64_t total)
{
    struct rdb_reader *reader = arg;
    reader->key.elements = 1;
    return show(reader,
                &(struct syn_rdb_element){.kind = SYN_RDB_ELEMENT_STRING,
                                          .text = rdb_text_of(piece),
                                          .position = offset,
                                          .total = total});
}

static enum rdb_flow show_module(void *arg, const struct rdb_module *module, struct slice piece)
{
    (void)module;
    struct rdb_reader *reader = arg;
    uint64_t position = reader->module_position;
    reader->module_position += piece.size;
    reader->key.elements = 1;
    return show(reader,
                &(struct syn_rdb_element){.kind = SYN_RDB_ELEMENT_MODULE,
                                          .text = rdb_text_of(piece),
                                          .position = position});
}

static enum rdb_flow show_list(void *arg, const struct rdb_element *element)
{
    struct rdb_reader *reader = arg;
    reader->key.elements++;
    return show(reader,
                &(struct syn_rdb_element){.kind = SYN_RDB_ELEMENT_LIST, .text = text_of(element)});
}

static enum rdb_flow show_set(void *arg, const struct rdb_element *member)
{
    struct rdb_reader *reader = arg;
    reader->key.elements++;
    return show(reader,
                &(struct syn_rdb_element){.kind = SYN_RDB_ELEMENT_SET, .text = text_of(member)});
}

static enum rdb_flow show_hash(void *arg,
                               const struct rdb_element *field,
                               const struct rdb_element *value,
                               int64_t expire_ms)
{
    struct rdb_reader *reader = arg;
    reader->key.elements++;
    return show(reader,
                &(struct syn_rdb_element){.kind = SYN_RDB_ELEMENT_HASH,
                                          .text = text_of(field),
                                          .value = text_of(value),
                                          .expire_ms = expire_ms});
}

static enum rdb_flow show_zset(void *arg, const struct rdb_element *member, double score)
{
    struct rdb_reader *reader = arg;
    reader->key.elements++;
    return show(reader,
                &(struct syn_rdb_element){
                    .kind = SYN_RDB_ELEMENT_ZSET, .text = text_of(member), .score = score});
}

static enum rdb_flow show_stream_entry(void *arg, const struct rdb_stream_entry *entry)
{
    struct rdb_reader *reader = arg;
    reader->key.elements++;
    enum rdb_flow flow = show(reader,
                              &(struct syn_rdb_element){.kind = SYN_RDB_ELEMENT_STREAM_ENTRY,
                                                        .id = id_of(entry->id),
                                                        .count = entry->field_count});
    struct rdb_element field;
    struct rdb_element value;
    while (flow == RDB_GO && !reader->is_muted &&
           rdb_stream_field_next(entry->fields, &field, &value)) {
        flow = show(reader,
                    &(struct syn_rdb_element){.kind = SYN_RDB_ELEMENT_STREAM_FIELD,
                                              .text = text_of(&field),
                                              .value = text_of(&value)});
    }
    return flow;
}

static enum rdb_flow show_stream_meta(void *arg, const struct rdb_stream_meta *meta)
{
    return show(arg,
                &(struct syn_rdb_element){.kind = SYN_RDB_ELEMENT_STREAM_META,
                                          .id = id_of(meta->last_id),
                                          .count = meta->length,
                                          .added = meta->has_counters ? meta->entries_added
                                                                      : SYN_RDB_UNKNOWN});
}

static enum rdb_flow show_stream_group(void *arg, const struct rdb_stream_group *group)
{
    return show(arg,
                &(struct syn_rdb_element){.kind = SYN_RDB_ELEMENT_GROUP,
                                          .text = text_of(&group->name),
                                          .id = id_of(group->last_id),
                                          .count = group->pending_count,
                                          .added = group->entries_read < 0
                                                       ? SYN_RDB_UNKNOWN
                                                       : (uint64_t)group->entries_read});
}

static enum rdb_flow show_stream_pending(void *arg, const struct rdb_stream_pending *pending)
{
    return show(arg,
                &(struct syn_rdb_element){.kind = SYN_RDB_ELEMENT_PENDING,
                                          .id = id_of(pending->id),
                                          .time_ms = pending->delivery_ms,
                                          .count = pending->delivery_count});
}

static enum rdb_flow show_stream_consumer(void *arg, const struct rdb_stream_consumer *consumer)
{
    return show(arg,
                &(struct syn_rdb_element){.kind = SYN_RDB_ELEMENT_CONSUMER,
                                          .text = text_of(&consumer->name),
                                          .time_ms = consumer->seen_ms,
                                          .count = consumer->pending_count});
}

static enum rdb_flow show_stream_consumer_pending(void *arg, const struct rdb_stream_id *id)
{
    return show(
        arg, &(struct syn_rdb_element){.kind = SYN_RDB_ELEMENT_CONSUMER_PENDING, .id = id_of(*id)});
}

static const struct rdb_visitor showing = {
    .string = show_string,
    .list = show_list,
    .set = show_set,
    .hash = show_hash,
    .zset = show_zset,
    .stream_entry = show_stream_entry,
    .stream_meta = show_stream_meta,
    .stream_group = show_stream_group,
    .stream_pending = show_stream_pending,
    .stream_consumer = show_stream_consumer,
    .stream_consumer_pending = show_stream_consumer_pending,
    .module = show_module,
};

/* ---- counts ---- */

static enum rdb_flow count_begin(void *arg, const struct rdb_value_begin *value)
{
    struct rdb_reader *reader = arg;
    if (value->count == RDB_UNKNOWN) {
        return RDB_GO;
    }
    reader->key.elements = value->count;
    reader->is_blob = value->bytes != RDB_UNKNOWN;
    return RDB_STOP;
}

static enum rdb_flow count_one(void *arg, const struct rdb_element *element)
{
    struct rdb_reader *reader = arg;
    (void)element;
    reader->key.elements++;
    return RDB_GO;
}

static enum rdb_flow count_hash(void *arg,
                                const struct rdb_element *field,
                                const struct rdb_element *value,
                                int64_t expire_ms)
{
    (void)value;
    (void)expire_ms;
    return count_one(arg, field);
}

static enum rdb_flow count_zset(void *arg, const struct rdb_element *member, double score)
{
    (void)score;
    return count_one(arg, member);
}

static enum rdb_flow count_stream_entry(void *arg, const struct rdb_stream_entry *entry)
{
    (void)entry;
    return count_one(arg, NULL);
}

static const struct rdb_visitor counting = {
    .wants_integers = true,
    .begin = count_begin,
    .list = count_one,
    .set = count_one,
    .hash = count_hash,
    .zset = count_zset,
    .stream_entry = count_stream_entry,
};

/* ---- passing ---- */

bool reader_pass_value(struct rdb_reader *reader, struct syn_err *err)
{
    for (;;) {
        size_t used;
        enum rdb_status status =
            rdb_value_walk(reader->parser, reader->at, reader->left, &used, err);
        if (UNLIKELY(status == RDB_ERROR)) {
            return false;
        }
        reader_use(reader, used);
        if (LIKELY(status == RDB_READY)) {
            return true;
        }
        if (!reader_more(reader, reader->left + 1, NULL, err)) {
            return false;
        }
    }
}

/* The most that comes before a table's elements: the earliest expiry of a hash's fields, and LEN.
 */
#define TABLE_HEAD_MAX 17

static bool
begin_value(struct rdb_reader *reader, const struct rdb_visitor *visitor, struct syn_err *err)
{
    struct syn_rdb_key *key = &reader->key;
    struct rdb_value_place place = {.type = key->rdb_type,
                                    .is_valkey = reader->is_valkey,
                                    .key_hash = key_hash(key->name.bytes, key->name.size),
                                    .offset = reader->used};
    key->elements = 0;
    return rdb_decoder_begin(reader->decoder, &place, visitor, reader, err);
}

/* The decoder has had the last byte of the value. */
static bool end_value(struct rdb_reader *reader, size_t used)
{
    reader_use(reader, used);
    rdb_value_taken(reader->parser, reader->used - reader->value_begin);
    return true;
}

/* The decoder wants more than the window has. */
static bool more_of_value(struct rdb_reader *reader,
                          const struct rdb_visitor *visitor,
                          size_t used,
                          struct syn_err *err)
{
    if (visitor == &counting && reader->used == reader->value_begin &&
        reader->left < TABLE_HEAD_MAX) {
        return reader_more(reader, reader->left + 1, NULL, err) &&
               begin_value(reader, visitor, err);
    }
    reader_use(reader, used);
    return reader_more(reader, reader->left + 1, NULL, err);
}

static bool
decode(struct rdb_reader *reader, const struct rdb_visitor *visitor, struct syn_err *err)
{
    bool goes_on = begin_value(reader, visitor, err);
    while (goes_on) {
        size_t used;
        enum rdb_decode status =
            rdb_decoder_run(reader->decoder, reader->at, reader->left, &used, err);
        switch (status) {
        case RDB_DECODE_DONE:
            return end_value(reader, used);
        case RDB_DECODE_MORE:
            goes_on = more_of_value(reader, visitor, used, err);
            break;
        case RDB_DECODE_STOPPED:
            if (reader->is_stopped) {
                return true;
            }
            if (reader->is_blob) {
                return end_value(reader, used);
            }
            ASSERT(reader->used == reader->value_begin);
            return reader_pass_value(reader, err);
        case RDB_DECODE_ERROR:
            return false;
        case RDB_DECODE_PAUSED:
            ASSERT(status != RDB_DECODE_PAUSED); /* none of our visitors pauses */
        }
    }
    return false;
}

bool reader_read_value(struct rdb_reader *reader, struct syn_err *err)
{
    struct syn_rdb_key *key = &reader->key;
    enum rdb_kind kind = rdb_type_kind(key->rdb_type, reader->is_valkey);
    reader->module_position = 0;
    bool is_single = kind == RDB_KIND_STRING || kind == RDB_KIND_MODULE;
    if (reader->options.depth == SYN_RDB_DEPTH_ELEMENTS && !reader->is_muted) {
        return decode(reader, &showing, err);
    }
    if (is_single || reader->is_muted || reader->options.depth == SYN_RDB_DEPTH_KEYS) {
        key->elements = is_single ? 1 : SYN_RDB_UNKNOWN;
        return reader_pass_value(reader, err);
    }
    return decode(reader, &counting, err);
}
