/*
 * Streams as commands.
 *
 * Groups are made after the XSETID, so that their counters are judged by the stream's own. A group
 * tells times and counts of what is pending by id, then, consumer by consumer, who has which id:
 * the two are joined in a table of the group's entries, the only thing here that grows with the
 * value. Ids that follow each other and agree in time and count share one XCLAIM (XREADGROUP COUNT
 * n makes such runs).
 *
 * XCLAIM … FORCE makes nothing pending whose entry does not exist. Below the first and above the
 * last live entry that is known here; for the rest the reply tells (rewrite_command.claim_count).
 */
#include "rdb/rewrite_core.h"

#define PENDING_COUNT_FIRST 64

void stream_copy_begin(struct stream_copy *stream)
{
    size_t kept = KEPT_BYTES_MAX;
    if (stream->group.capacity > kept) {
        rewrite_name_free(&stream->group);
    }
    if (stream->consumer.capacity > kept) {
        rewrite_name_free(&stream->consumer);
    }
    if (stream->pending_capacity * sizeof(*stream->pending) > kept) {
        mem_free(MEM_RDB, stream->pending);
        stream->pending = NULL;
        stream->pending_capacity = 0;
    }
    stream->entry_count = 0;
    stream->pending_count = 0;
    stream->claimed_count = 0;
    stream->has_overflow = false;
    stream->has_group = false;
    stream->claim_count = 0;
}

void stream_copy_free(struct stream_copy *stream)
{
    rewrite_name_free(&stream->group);
    rewrite_name_free(&stream->consumer);
    mem_free(MEM_RDB, stream->pending);
    *stream = (struct stream_copy){0};
}

static int compare_ids(const struct rdb_stream_id *a, const struct rdb_stream_id *b)
{
    if (a->ms != b->ms) {
        return a->ms < b->ms ? -1 : 1;
    }
    return (a->seq > b->seq) - (a->seq < b->seq);
}

/* ---- entries ---- */

enum rdb_flow stream_copy_entry(void *arg, const struct rdb_stream_entry *entry)
{
    struct rewriter *rewriter = arg;
    struct stream_copy *stream = &rewriter->stream;
    if (rewriter->is_skipped) {
        return RDB_GO;
    }
    if (entry->field_count == 0) { /* no command makes one */
        rewriter_fail(rewriter, SYN_CODE_SOURCE_DATA, "a stream entry has no fields");
        return rewriter_flow(rewriter);
    }
    rewriter_open(rewriter, "XADD");
    draft_add_id(&rewriter->single, &entry->id);
    struct rdb_element field;
    struct rdb_element value;
    while (rdb_stream_field_next(entry->fields, &field, &value)) {
        draft_add(&rewriter->single, field.bytes, field.size);
        draft_add(&rewriter->single, value.bytes, value.size);
    }
    rewriter_send(rewriter, &rewriter->single, REWRITE_REPEAT_REFUSED, 0);
    if (stream->entry_count++ == 0) {
        stream->first_id = entry->id;
    }
    stream->top_id = entry->id;
    rewriter->is_written = true;
    return rewriter_flow(rewriter);
}

/* A stream without entries: one is added and removed. By trimming from 7.0 on, since XDEL would
 * leave its id as the highest deleted one, which XSETID does not lower; by XDEL before, where
 * MAXLEN 0 has not always meant "nothing". */
static void send_empty_stream(struct rewriter *rewriter)
{
    static const struct rdb_stream_id id = {0, 1}; /* the lowest there is */
    bool by_trim = rewriter->target.has_stream_counters;
    rewriter_open(rewriter, "XADD");
    if (by_trim) {
        draft_add_text(&rewriter->single, "MAXLEN");
        draft_add_text(&rewriter->single, "0");
    }
    draft_add_id(&rewriter->single, &id);
    draft_add_text(&rewriter->single, "f");
    draft_add_text(&rewriter->single, "v");
    rewriter_send(rewriter, &rewriter->single, REWRITE_REPEAT_REFUSED, 0);
    if (!by_trim) {
        rewriter_open(rewriter, "XDEL");
        draft_add_id(&rewriter->single, &id);
        rewriter_send(rewriter, &rewriter->single, REWRITE_REPEAT_SAFE, 0);
    }
    rewriter->is_written = true;
}

enum rdb_flow stream_copy_meta(void *arg, const struct rdb_stream_meta *meta)
{
    struct rewriter *rewriter = arg;
    if (rewriter->is_skipped) {
        return RDB_GO;
    }
    if (rewriter->stream.entry_count == 0) {
        send_empty_stream(rewriter);
    }
    rewriter_open(rewriter, "XSETID");
    draft_add_id(&rewriter->single, &meta->last_id);
    if (rewriter->target.has_stream_counters) {
        /* Of streams without counters a server takes as many added as there are. */
        uint64_t added = meta->has_counters ? meta->entries_added : rewriter->stream.entry_count;
        draft_add_text(&rewriter->single, "ENTRIESADDED");
        draft_add_count(&rewriter->single, added);
        draft_add_text(&rewriter->single, "MAXDELETEDID");
        draft_add_id(&rewriter->single, &meta->max_deleted_id);
    }
    rewriter_send(rewriter, &rewriter->single, REWRITE_REPEAT_SAFE, 0);
    return rewriter_flow(rewriter);
}

/* ---- claims ---- */

static void send_claim(struct rewriter *rewriter)
{
    struct stream_copy *stream = &rewriter->stream;
    uint32_t count = stream->claim_count;
    if (count == 0) {
        return;
    }
    struct draft *piece = &rewriter->piece;
    draft_add_text(piece, "TIME");
    draft_add_number(piece, stream->claim.delivery_ms);
    draft_add_text(piece, "RETRYCOUNT");
    draft_add_count(piece, stream->claim.delivery_count);
    draft_add_text(piece, "FORCE");
    draft_add_text(piece, "JUSTID");
    rewriter_send(rewriter, piece, REWRITE_REPEAT_SAFE, count);
    stream->claim_count = 0;
}

static void add_claim(struct rewriter *rewriter, const struct pending *pending)
{
    struct stream_copy *stream = &rewriter->stream;
    struct draft *piece = &rewriter->piece;
    if (stream->claim_count > 0 && (stream->claim.delivery_ms != pending->delivery_ms ||
                                    stream->claim.delivery_count != pending->delivery_count ||
                                    stream->claim_count >= rewriter->target.piece_elements ||
                                    stream->claim_bytes >= rewriter->target.piece_bytes)) {
        send_claim(rewriter);
    }
    if (stream->claim_count == 0) {
        draft_open(piece, "XCLAIM");
        draft_add(piece, rewriter->key.bytes, rewriter->key.size);
        draft_add(piece, stream->group.bytes, stream->group.size);
        draft_add(piece, stream->consumer.bytes, stream->consumer.size);
        draft_add_text(piece, "0");
        stream->claim = *pending;
        stream->claim_bytes = 0;
    }
    size_t size = piece->size;
    draft_add_id(piece, &pending->id);
    stream->claim_bytes += piece->size - size;
    stream->claim_count++;
}

/* ---- groups ---- */

/* What a consumer has pending must be pending in its group, and the other way round: servers
 * refuse to load anything else. */
static void end_group(struct rewriter *rewriter)
{
    struct stream_copy *stream = &rewriter->stream;
    send_claim(rewriter);
    if (stream->has_group && stream->claimed_count != stream->pending_count) {
        rewriter_fail(
            rewriter, SYN_CODE_SOURCE_DATA, "a group has pending entries that no consumer has");
    }
    stream->has_group = false;
}

void stream_copy_end(struct rewriter *rewriter)
{
    end_group(rewriter);
}

enum rdb_flow stream_copy_group(void *arg, const struct rdb_stream_group *group)
{
    struct rewriter *rewriter = arg;
    struct stream_copy *stream = &rewriter->stream;
    if (rewriter->is_skipped) {
        return RDB_GO;
    }
    end_group(rewriter);
    stream->has_group = true;
    stream->pending_count = 0;
    stream->claimed_count = 0;
    stream->has_overflow = false;
    if (!rewrite_name_copy(&stream->group, group->name.bytes, group->name.size)) {
        rewriter_fail(rewriter, SYN_CODE_MEMORY, "no memory for a group's name");
        return rewriter_flow(rewriter);
    }
    draft_open(&rewriter->single, "XGROUP");
    draft_add_text(&rewriter->single, "CREATE");
    draft_add(&rewriter->single, rewriter->key.bytes, rewriter->key.size);
    draft_add(&rewriter->single, group->name.bytes, group->name.size);
    draft_add_id(&rewriter->single, &group->last_id);
    if (rewriter->target.has_stream_counters && group->entries_read >= 0) {
        draft_add_text(&rewriter->single, "ENTRIESREAD");
        draft_add_number(&rewriter->single, group->entries_read);
    }
    rewriter_send(rewriter, &rewriter->single, REWRITE_REPEAT_REFUSED, 0);
    return rewriter_flow(rewriter);
}

static bool grow_pending(struct stream_copy *stream, uint32_t count_max)
{
    size_t capacity =
        stream->pending_capacity == 0 ? PENDING_COUNT_FIRST : stream->pending_capacity * 2;
    capacity = capacity > count_max ? count_max : capacity;
    ASSERT(capacity > stream->pending_count);
    struct pending *grown =
        mem_realloc(MEM_RDB, stream->pending, capacity * sizeof(*stream->pending));
    if (grown == NULL) {
        return false;
    }
    stream->pending = grown;
    stream->pending_capacity = capacity;
    return true;
}

enum rdb_flow stream_copy_pending(void *arg, const struct rdb_stream_pending *pending)
{
    struct rewriter *rewriter = arg;
    struct stream_copy *stream = &rewriter->stream;
    if (rewriter->is_skipped) {
        return RDB_GO;
    }
    if (stream->pending_count == rewriter->target.pending_max) {
        stream->has_overflow = true;
        (void)rewriter_lose(rewriter, REWRITE_PENDING_OVERFLOW); /* degraded: see find_pending */
        return rewriter_flow(rewriter);
    }
    if (stream->pending_count > 0 &&
        compare_ids(&stream->pending[stream->pending_count - 1].id, &pending->id) >= 0) {
        rewriter_fail(rewriter, SYN_CODE_SOURCE_DATA, "a group's pending entries are not in order");
        return rewriter_flow(rewriter);
    }
    if (stream->pending_count == stream->pending_capacity &&
        !grow_pending(stream, rewriter->target.pending_max)) {
        rewriter_fail(rewriter, SYN_CODE_MEMORY, "no memory for a group's pending entries");
        return rewriter_flow(rewriter);
    }
    stream->pending[stream->pending_count++] = (struct pending){
        .id = pending->id,
        .delivery_ms = pending->delivery_ms,
        .delivery_count = pending->delivery_count,
    };
    return RDB_GO;
}

/* ---- consumers ---- */

enum rdb_flow stream_copy_consumer(void *arg, const struct rdb_stream_consumer *consumer)
{
    struct rewriter *rewriter = arg;
    struct stream_copy *stream = &rewriter->stream;
    struct draft *single = &rewriter->single;
    if (rewriter->is_skipped) {
        return RDB_GO;
    }
    send_claim(rewriter);
    if (!rewrite_name_copy(&stream->consumer, consumer->name.bytes, consumer->name.size)) {
        rewriter_fail(rewriter, SYN_CODE_MEMORY, "no memory for a consumer's name");
        return rewriter_flow(rewriter);
    }
    if (rewriter->target.has_create_consumer) {
        draft_open(single, "XGROUP");
        draft_add_text(single, "CREATECONSUMER");
        draft_add(single, rewriter->key.bytes, rewriter->key.size);
        draft_add(single, stream->group.bytes, stream->group.size);
        draft_add(single, stream->consumer.bytes, stream->consumer.size);
    } else { /* reading its own history, which is empty, makes a consumer and nothing else */
        draft_open(single, "XREADGROUP");
        draft_add_text(single, "GROUP");
        draft_add(single, stream->group.bytes, stream->group.size);
        draft_add(single, stream->consumer.bytes, stream->consumer.size);
        draft_add_text(single, "COUNT");
        draft_add_text(single, "1");
        draft_add_text(single, "STREAMS");
        draft_add(single, rewriter->key.bytes, rewriter->key.size);
        draft_add_text(single, "0");
    }
    rewriter_send(rewriter, single, REWRITE_REPEAT_SAFE, 0);
    return rewriter_flow(rewriter);
}

/* The entry of the table, or NULL. Ids of one consumer come in order, and mostly one after the
 * other, but the table is searched anew each time: a group is not large, and this is not hot. */
static const struct pending *find_pending(const struct stream_copy *stream,
                                          const struct rdb_stream_id *id)
{
    size_t low = 0;
    size_t high = stream->pending_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = compare_ids(&stream->pending[middle].id, id);
        if (order == 0) {
            return &stream->pending[middle];
        }
        if (order < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return NULL;
}

static bool is_deleted(const struct stream_copy *stream, const struct rdb_stream_id *id)
{
    return stream->entry_count == 0 || compare_ids(id, &stream->first_id) < 0 ||
           compare_ids(id, &stream->top_id) > 0;
}

enum rdb_flow stream_copy_consumer_pending(void *arg, const struct rdb_stream_id *id)
{
    struct rewriter *rewriter = arg;
    struct stream_copy *stream = &rewriter->stream;
    if (rewriter->is_skipped) {
        return RDB_GO;
    }
    const struct pending *found = find_pending(stream, id);
    struct pending behind = {.id = *id, .delivery_ms = (int64_t)id->ms, .delivery_count = 1};
    if (found != NULL) {
        stream->claimed_count++;
    } else if (stream->has_overflow) {
        found = &behind;
    } else {
        rewriter_fail(rewriter,
                      SYN_CODE_SOURCE_DATA,
                      "a consumer has a pending entry that its group has not");
        return rewriter_flow(rewriter);
    }
    if (is_deleted(stream, id)) {
        rewriter->lost[REWRITE_PENDING_DELETED]++;
    } else {
        add_claim(rewriter, found);
    }
    return rewriter_flow(rewriter);
}
