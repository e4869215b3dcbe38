/*
 * Rewriting: a snapshot value decoded as it arrives and written as ordinary commands in bounded
 * pieces, when the destination cannot load its encoding, or when it is larger than what may be
 * held.
 *
 * The walk goes on framing the value, so its end is known whatever becomes of the decoding; the
 * decoder is given exactly the bytes that were walked. It may leave up to 31 of them for the next
 * time, which then come first.
 */
#include "apply/snapshot_rewrite.h"

#include <string.h>

#include "apply/divergence.h"
#include "rdb/rewrite.h"

/* With this much behind the bytes left over, the decoder is past them: it leaves fewer than 32
 * unused. */
#define BOUNCE_MORE 256

static enum rdb_flow rewrite_command(void *arg, const struct rewrite_command *command)
{
    struct stream *stream = arg;
    struct snapshot_value *value = &stream->value;
    struct op op = {.offset = value->offset,
                    .stream = stream->index,
                    .slot = value->slot,
                    .kind = OP_COMMAND,
                    .key_count = value->is_counted ? 0 : 1};
    struct syn_err err;
    if (value->is_repair) {
        /* Somebody may write to the key while it is copied: then it is read again (divergence.h).
         */
        op = live_op(stream, value->slot);
        op.answer = COMMAND_ANSWER_ANY;
        op.source_db = (uint32_t)stream->command_db;
    }
    if (command->claim_count > 0) {
        ASSERT(value->is_counted); /* by the DEL that every stream begins with */
        op.kind = OP_CLAIM;
        op.is_live = false;
        op.key_count = command->claim_count;
    }
    value->is_counted = true;
    bool is_sent = live_forward(
        stream, value->lane, value->db, command->bytes.bytes, command->bytes.size, op, &err);
    if (is_sent && command->bytes.size > stream->router->batch_bytes) {
        if (op.kind == OP_CLAIM) {
            parcel_note(stream, value->lane);
        } else if (value->is_repair) {
            divergence_remember_name(stream, value->lane, &value->item.name, stream->command_db);
        }
    }
    return is_sent ? RDB_GO : RDB_STOP;
}

static void rewrite_loss(void *arg, const struct rewrite_loss *loss)
{
    struct stream *stream = arg;
    if (loss->outcome == REWRITE_STOP) {
        return; /* the error tells it */
    }
    stream_lose(
        stream,
        (struct loss){.outcome = loss->outcome == REWRITE_SKIP ? LOSS_SKIPPED : LOSS_DEGRADED,
                      .db = stream->value.db,
                      .key = loss->key,
                      .type = rdb_type_name(stream->value.item.type),
                      .offset = stream->value.offset,
                      .reason = rewrite_reason_text(loss->reason),
                      .count = loss->count});
}

static bool rewrite_prepare(struct stream *stream, struct syn_err *err)
{
    if (stream->decoder == NULL) {
        stream->decoder = rdb_decoder_new(stream->task->rewrite_item_bytes_max, err);
    }
    if (stream->decoder != NULL && stream->rewriter == NULL) {
        struct rewrite_sink sink = {
            .arg = stream, .command = rewrite_command, .loss = rewrite_loss};
        stream->rewriter = rewriter_new(&stream->task->intake.rewrite, &sink, err);
    }
    return stream->decoder != NULL && stream->rewriter != NULL;
}

/* The rewriter's reason, with what to do about it. */
static bool rewrite_fail(struct stream *stream, struct syn_err *err)
{
    const struct rdb_item *item = &stream->value.item;
    if (err->code == SYN_CODE_UNSUPPORTED) {
        char reason[200];
        memcpy(reason, err->msg, sizeof(reason) - 1);
        reason[sizeof(reason) - 1] = '\0';
        char text[ENDPOINT_TEXT_MAX];
        return ERR(
            err,
            SYN_CODE_UNSUPPORTED,
            "source %s, snapshot byte %llu: a %s (type %u; key hash %016llx, database %u there) "
            "cannot be written: %s; use a later destination, or --on-unsupported degrade or "
            "skip",
            endpoint_text(&stream->feed->options.endpoint, text),
            (unsigned long long)stream->value.offset,
            rdb_type_name(item->type),
            item->type,
            (unsigned long long)key_hash(item->name.bytes, item->name.size),
            stream->value.db,
            reason);
    }
    return snapshot_corrupt(stream, err);
}

bool snapshot_set_aside(struct stream *stream, const char *reason, struct syn_err *err)
{
    struct snapshot_value *value = &stream->value;
    stream_lose(stream,
                (struct loss){.outcome = LOSS_CORRUPT,
                              .db = value->db,
                              .key = value->item.name,
                              .type = rdb_type_name(value->item.type),
                              .offset = value->offset,
                              .reason = reason,
                              .count = 1});
    value->way = VALUE_SKIP;
    const struct slice args[] = {SLICE("DEL"), value->item.name};
    struct op op = {
        .offset = value->offset, .stream = stream->index, .slot = value->slot, .kind = OP_COMMAND};
    return live_forward_args(stream, value->lane, value->db, args, 2, op, err);
}

bool snapshot_corrupt(struct stream *stream, struct syn_err *err)
{
    if (stream->task->on_corrupt == CORRUPT_STOP || err->code != SYN_CODE_SOURCE_DATA) {
        return false;
    }
    char reason[sizeof(err->msg)];
    memcpy(reason, err->msg, sizeof(reason));
    return snapshot_set_aside(stream, reason, err);
}

bool snapshot_rewrite_open(struct stream *stream, struct syn_err *err)
{
    struct snapshot_value *value = &stream->value;
    value->way = VALUE_REWRITE;
    value->rest_size = 0;
    value->is_counted = false;
    value->is_decoded = false;
    if (!rewrite_prepare(stream, err) ||
        !rewriter_begin(stream->rewriter, value->item.name, value->item.expire_ms, err)) {
        return false;
    }
    counter_add(&stream->values_rewritten, 1);
    return true;
}

bool snapshot_rewrite_close(struct stream *stream, struct syn_err *err)
{
    return rewriter_end(stream->rewriter, err) || rewrite_fail(stream, err);
}

bool snapshot_rewrite_begin(struct stream *stream, struct syn_err *err)
{
    struct snapshot_value *value = &stream->value;
    const struct rdb_item *item = &value->item;
    struct rdb_value_place place = {.type = item->type,
                                    .is_valkey = stream->is_valkey,
                                    .key_hash = key_hash(item->name.bytes, item->name.size),
                                    .offset = value->offset};
    return snapshot_rewrite_open(stream, err) &&
           rdb_decoder_begin(stream->decoder, &place, rewriter_visitor(), stream->rewriter, err);
}

/* Runs the decoder over some bytes; *used of them are done with. */
static bool rewrite_run(
    struct stream *stream, const uint8_t *bytes, size_t size, size_t *used, struct syn_err *err)
{
    struct snapshot_value *value = &stream->value;
    switch (rdb_decoder_run(stream->decoder, bytes, size, used, err)) {
    case RDB_DECODE_DONE:
        value->is_decoded = true;
        return true;
    case RDB_DECODE_MORE:
    case RDB_DECODE_PAUSED: /* nothing here pauses */
        return true;
    case RDB_DECODE_STOPPED:
        value->way = VALUE_SKIP;
        return rewriter_end(stream->rewriter, err) || rewrite_fail(stream, err);
    case RDB_DECODE_ERROR:
        /* Want of memory is no damage. */
        return !rdb_decoder_is_over_limit(stream->decoder) && snapshot_corrupt(stream, err);
    }
    return false;
}

static void rewrite_keep(struct stream *stream, const uint8_t *bytes, size_t size)
{
    struct snapshot_value *value = &stream->value;
    ASSERT(size < sizeof(value->rest));
    memmove(value->rest, bytes, size);
    value->rest_size = (uint32_t)size;
}

bool snapshot_rewrite_piece(struct stream *stream,
                            const uint8_t *piece,
                            size_t size,
                            struct syn_err *err)
{
    struct snapshot_value *value = &stream->value;
    size_t used = 0;
    if (value->rest_size > 0 && value->way == VALUE_REWRITE) {
        uint8_t bounce[sizeof(value->rest) + BOUNCE_MORE];
        size_t rest = value->rest_size;
        size_t more = size < BOUNCE_MORE ? size : BOUNCE_MORE;
        memcpy(bounce, value->rest, rest);
        memcpy(bounce + rest, piece, more);
        if (!rewrite_run(stream, bounce, rest + more, &used, err)) {
            return false;
        }
        if (used < rest) {
            ASSERT(more == size || value->way == VALUE_SKIP);
            rewrite_keep(stream, bounce + used, value->way == VALUE_SKIP ? 0 : rest + more - used);
            return true;
        }
        value->rest_size = 0;
        piece += used - rest;
        size -= used - rest;
    }
    if (value->way != VALUE_REWRITE || value->is_decoded || size == 0) {
        return true;
    }
    if (!rewrite_run(stream, piece, size, &used, err)) {
        return false;
    }
    if (value->way == VALUE_REWRITE && !value->is_decoded) {
        rewrite_keep(stream, piece + used, size - used);
    }
    return true;
}

bool snapshot_rewrite_end(struct stream *stream, struct syn_err *err)
{
    struct snapshot_value *value = &stream->value;
    if (!value->is_decoded) {
        ERR(err,
            SYN_CODE_SOURCE_DATA,
            "a %s (key hash %016llx) ends at byte %llu, and its elements go on behind that",
            rdb_type_name(value->item.type),
            (unsigned long long)key_hash(value->item.name.bytes, value->item.name.size),
            (unsigned long long)rdb_parser_offset(stream->parser));
        return snapshot_corrupt(stream, err);
    }
    return snapshot_rewrite_close(stream, err);
}

bool snapshot_rewrite_whole(struct stream *stream,
                            const uint8_t *body,
                            size_t size,
                            struct syn_err *err)
{
    if (!snapshot_rewrite_begin(stream, err) || !snapshot_rewrite_piece(stream, body, size, err)) {
        return false;
    }
    return stream->value.way == VALUE_SKIP || snapshot_rewrite_end(stream, err);
}
