#include "apply/snapshot_mend.h"

#include "apply/snapshot_rewrite.h"

static void mend_log(struct stream *stream, const struct refusal *refusal)
{
    const struct rdb_item *item = &stream->value.item;
    if (stream->mends_logged == LOSSES_LOGGED_MAX) {
        return;
    }
    stream->mends_logged++;
    char text[ENDPOINT_TEXT_MAX];
    log_warning("source %s, snapshot byte %llu: the destination refused RESTORE of a %s (key hash "
                "%016llx, database %u there) for %s; it is tried as commands%s",
                endpoint_text(&stream->feed->options.endpoint, text),
                (unsigned long long)refusal->offset,
                rdb_type_name(item->type),
                (unsigned long long)key_hash(item->name.bytes, item->name.size),
                refusal->db,
                refusal->refusal == REFUSAL_VERSION ? "its RDB version" : "its content",
                stream->mends_logged == LOSSES_LOGGED_MAX ? "; more of these are not told" : "");
}

/* A module's value has no commands: it is for --on-unsupported to say what becomes of it. */
static bool mend_module(const struct stream *stream, struct syn_err *err)
{
    const struct rdb_item *item = &stream->value.item;
    return ERR(err,
               SYN_CODE_DESTINATION_REPLY,
               "the destination refused RESTORE of a module's value (snapshot byte %llu, key hash "
               "%016llx, database %u there): Bad data format; load that module there, or leave "
               "such keys out with --on-unsupported skip",
               (unsigned long long)stream->value.offset,
               (unsigned long long)key_hash(item->name.bytes, item->name.size),
               stream->value.db);
}

/* Compressed, it fitted a batch; its elements do not fit what a decoder may hold. */
static bool mend_too_large(struct stream *stream, struct syn_err *err)
{
    if (stream->task->on_corrupt == CORRUPT_SKIP) {
        return snapshot_set_aside(
            stream,
            "the destination refuses to load it, and --memory is too small to "
            "try it as commands",
            err);
    }
    char text[ENDPOINT_TEXT_MAX];
    err_context(err,
                "source %s: the destination refuses to load a value, and --memory is too small to "
                "try it as commands",
                endpoint_text(&stream->feed->options.endpoint, text));
    return false;
}

static bool mend_value(struct stream *stream, const struct refusal *refusal, struct syn_err *err)
{
    struct restore_words words;
    bool is_read = restore_read(refusal->bytes, refusal->size, &words);
    ASSERT(is_read); /* it was, when it was kept */
    struct snapshot_value *value = &stream->value;
    ASSERT(!value->is_open);
    value->item = (struct rdb_item){.kind = RDB_ITEM_KEY,
                                    .type = words.payload.bytes[0],
                                    .name = words.key,
                                    .expire_ms = words.expire_ms,
                                    .idle_s = -1};
    value->offset = refusal->offset;
    value->db = refusal->db;
    value->lane = refusal->lane;
    value->slot = refusal->slot;
    uint8_t type = value->item.type;
    if (rdb_type_kind(type, stream->is_valkey) == RDB_KIND_MODULE &&
        stream->task->intake.rewrite.policy == REWRITE_STOP) {
        return mend_module(stream, err);
    }
    if (refusal->refusal == REFUSAL_VERSION) {
        stream->restore_refused |= 1u << type;
    }
    mend_log(stream, refusal);
    const uint8_t *body = words.payload.bytes + 1;
    size_t size = words.payload.size - 1 - RDB_FOOTER_SIZE;
    if (snapshot_rewrite_whole(stream, body, size, err)) {
        return true;
    }
    if (err->code != SYN_CODE_SOURCE_DATA) {
        return false;
    }
    if (rdb_decoder_is_over_limit(stream->decoder)) {
        return mend_too_large(stream, err);
    }
    char text[ENDPOINT_TEXT_MAX];
    err_context(err,
                "source %s: a value that the destination refuses to load is damaged",
                endpoint_text(&stream->feed->options.endpoint, text));
    return false;
}

bool snapshot_mend(struct stream *stream, struct syn_err *err)
{
    struct refusal *refusal;
    ASSERT(stream->router->unit_owner == NULL);
    while ((refusal = refusal_pop(stream)) != NULL) {
        bool is_mended = mend_value(stream, refusal, err);
        refusal_free(stream, refusal);
        if (!is_mended) {
            return false;
        }
    }
    return true;
}

bool snapshot_settle(struct stream *stream, struct syn_err *err)
{
    struct router *router = stream->router;
    if (stream->restore_seq >= router->frontier && !router_drain(router)) {
        return stopped(err);
    }
    return snapshot_mend(stream, err);
}
