#include "apply/snapshot_write.h"

#include <string.h>

static struct op snapshot_op(const struct stream *stream, uint32_t key_count)
{
    return (struct op){.offset = stream->payload_pos,
                       .stream = stream->index,
                       .slot = stream->value.slot,
                       .kind = OP_COMMAND,
                       .key_count = key_count};
}

/* ---- strings ---- */

/* SET key value PXAT ms, whole in one batch. */
static bool
write_set_expire(struct stream *stream, const struct rdb_string *text, struct syn_err *err)
{
    struct snapshot_value *value = &stream->value;
    const struct slice *name = &value->item.name;
    size_t size = 64 + resp_bulk_size(name->size) + resp_bulk_size(text->text_size);
    uint8_t *begin = router_reserve(stream->router, value->lane, value->db, size);
    if (begin == NULL) {
        return stopped(err);
    }
    memcpy(begin, "*5\r\n$3\r\nSET\r\n", 13);
    uint8_t *out = resp_put_bulk(begin + 13, name->bytes, name->size);
    out = resp_put_head(out, '$', text->text_size);
    if (!rdb_string_decode(text, out, err)) {
        return false;
    }
    out += text->text_size;
    memcpy(out, "\r\n$4\r\nPXAT\r\n", 12);
    char digits[NUM_DIGITS_MAX];
    /* Zero and negative times are refused by SET; both mean long past. */
    uint64_t expire_ms = value->item.expire_ms > 0 ? (uint64_t)value->item.expire_ms : 1;
    out = resp_put_bulk(out + 12, digits, num_write_u64(digits, expire_ms));
    router_commit(stream->router, value->lane, begin, out, snapshot_op(stream, 1));
    return true;
}

/* A hint about the key's use can only be carried by RESTORE. */
static bool item_has_hint(const struct rdb_item *item)
{
    return item->has_freq || item->idle_s > 0;
}

static bool string_goes_plain(const struct stream *stream, const struct rdb_string *text)
{
    const struct rdb_item *item = &stream->value.item;
    if (item_has_hint(item)) {
        return false;
    }
    return text->text_size + item->name.size + 128 <= stream->router->batch_bytes / 2;
}

/* ---- RESTORE ---- */

/* RESTORE key ttl payload REPLACE [ABSTTL] [IDLETIME s | FREQ n] */
static size_t restore_args(const struct rdb_item *item)
{
    return 5 + (item->expire_ms >= 0) + (item_has_hint(item) ? 2 : 0);
}

/* All but the payload and what follows it: 64 bytes for the fixed parts. */
#define RESTORE_EXTRA_MAX 192

static uint8_t *restore_put_head(uint8_t *out, const struct rdb_item *item, uint64_t payload_size)
{
    char digits[NUM_DIGITS_MAX];
    out = resp_put_head(out, '*', restore_args(item));
    memcpy(out, "$7\r\nRESTORE\r\n", 13);
    out = resp_put_bulk(out + 13, item->name.bytes, item->name.size);
    uint64_t expire_ms = item->expire_ms > 0 ? (uint64_t)item->expire_ms : 0;
    if (item->expire_ms == 0) {
        expire_ms = 1; /* zero would mean that the key never expires */
    }
    out = resp_put_bulk(out, digits, num_write_u64(digits, expire_ms));
    return resp_put_head(out, '$', payload_size);
}

static uint8_t *restore_put_tail(uint8_t *out, const struct rdb_item *item)
{
    char digits[NUM_DIGITS_MAX];
    memcpy(out, "\r\n$7\r\nREPLACE\r\n", 15);
    out += 15;
    if (item->expire_ms >= 0) {
        memcpy(out, "$6\r\nABSTTL\r\n", 12);
        out += 12;
    }
    if (item->has_freq) {
        memcpy(out, "$4\r\nFREQ\r\n", 10);
        out = resp_put_bulk(out + 10, digits, num_write_u64(digits, item->freq));
    } else if (item->idle_s > 0) {
        memcpy(out, "$8\r\nIDLETIME\r\n", 14);
        out = resp_put_bulk(out + 14, digits, num_write_u64(digits, (uint64_t)item->idle_s));
    }
    return out;
}

static uint16_t restore_version(const struct stream *stream)
{
    return stream->task->restore_version[stream->is_valkey][stream->value.item.type];
}

static bool restore_write_small(
    struct stream *stream, const uint8_t *body, size_t size, size_t room, struct syn_err *err)
{
    struct snapshot_value *value = &stream->value;
    uint8_t *begin = router_reserve(stream->router, value->lane, value->db, room);
    if (begin == NULL) {
        return stopped(err);
    }
    uint8_t *payload = restore_put_head(begin, &value->item, 1 + (uint64_t)size + RDB_FOOTER_SIZE);
    *payload = value->item.type;
    memcpy(payload + 1, body, size);
    uint8_t *out = payload + 1 + size;
    rdb_footer_write(out, crc64_update(0, payload, 1 + size), restore_version(stream));
    out = restore_put_tail(out + RDB_FOOTER_SIZE, &value->item);
    router_commit(stream->router, value->lane, begin, out, snapshot_op(stream, 1));
    return true;
}

static bool
restore_write(struct stream *stream, const uint8_t *body, size_t size, struct syn_err *err)
{
    size_t room = size + stream->value.item.name.size + RESTORE_EXTRA_MAX;
    if (room <= stream->router->batch_bytes) {
        return restore_write_small(stream, body, size, room, err);
    }
    return snapshot_stream_begin(stream, size, err) &&
           snapshot_stream_piece(stream, body, size, err) && snapshot_stream_end(stream, err);
}

bool snapshot_write(struct stream *stream, const uint8_t *body, size_t size, struct syn_err *err)
{
    struct snapshot_value *value = &stream->value;
    if (value->item.type == RDB_TYPE_STRING) {
        struct rdb_string text;
        enum rdb_status status = rdb_string_read(body, size, &text, err);
        if (UNLIKELY(status != RDB_READY)) {
            return status == RDB_MORE ? ERR(err,
                                            SYN_CODE_INTERNAL,
                                            "a framed string of %zu bytes is not whole",
                                            size)
                                      : false;
        }
        if (string_goes_plain(stream, &text)) {
            if (value->item.expire_ms < 0) {
                return router_group(stream->router,
                                    value->lane,
                                    value->db,
                                    &value->item.name,
                                    &text,
                                    snapshot_op(stream, 1),
                                    err);
            }
            if (stream->task->has_set_pxat) {
                return write_set_expire(stream, &text, err);
            }
        }
    }
    return restore_write(stream, body, size, err);
}

/* ---- values in pieces ---- */

bool snapshot_stream_begin(struct stream *stream, uint64_t total, struct syn_err *err)
{
    struct snapshot_value *value = &stream->value;
    struct router *router = stream->router;
    const struct slice *name = &value->item.name;
    uint8_t head[128];
    if (!router_unit_begin(router, value->lane, value->db) ||
        !router_unit_op(router, value->lane)) {
        return stopped(err);
    }
    /* The head without the key, which may be of any size, in two parts around it. */
    uint8_t *out = resp_put_head(head, '*', restore_args(&value->item));
    memcpy(out, "$7\r\nRESTORE\r\n", 13);
    out = resp_put_head(out + 13, '$', name->size);
    if (!router_put(router, value->lane, head, (size_t)(out - head)) ||
        !router_put(router, value->lane, name->bytes, name->size)) {
        return stopped(err);
    }
    char digits[NUM_DIGITS_MAX];
    uint64_t expire_ms = value->item.expire_ms > 0 ? (uint64_t)value->item.expire_ms
                                                   : (uint64_t)(value->item.expire_ms == 0);
    memcpy(head, "\r\n", 2);
    out = resp_put_bulk(head + 2, digits, num_write_u64(digits, expire_ms));
    out = resp_put_head(out, '$', 1 + total + RDB_FOOTER_SIZE);
    *out++ = value->item.type;
    if (!router_put(router, value->lane, head, (size_t)(out - head))) {
        return stopped(err);
    }
    value->way = VALUE_STREAM;
    value->left = total;
    value->crc = crc64_update(0, &value->item.type, 1);
    router->unit_owner = stream;
    return true;
}

bool snapshot_stream_piece(struct stream *stream,
                           const uint8_t *bytes,
                           size_t size,
                           struct syn_err *err)
{
    struct snapshot_value *value = &stream->value;
    ASSERT(value->way == VALUE_STREAM);
    ASSERT(size <= value->left);
    value->left -= size;
    value->crc = crc64_update(value->crc, bytes, size);
    return router_put(stream->router, value->lane, bytes, size) || stopped(err);
}

static bool
stream_finish(struct stream *stream, uint64_t crc, enum op_kind kind, struct syn_err *err)
{
    struct snapshot_value *value = &stream->value;
    struct router *router = stream->router;
    uint8_t tail[128];
    ASSERT(value->left == 0);
    rdb_footer_write(tail, crc, restore_version(stream));
    uint8_t *out = restore_put_tail(tail + RDB_FOOTER_SIZE, &value->item);
    if (!router_put(router, value->lane, tail, (size_t)(out - tail))) {
        return stopped(err);
    }
    struct op op = snapshot_op(stream, kind == OP_COMMAND ? 1 : 0);
    op.kind = (uint8_t)kind;
    router_unit_done(router, value->lane, op);
    router_unit_end(router, value->lane);
    router->unit_owner = NULL;
    return true;
}

bool snapshot_stream_end(struct stream *stream, struct syn_err *err)
{
    return stream_finish(stream, stream->value.crc, OP_COMMAND, err);
}

bool snapshot_abandon(struct stream *stream, struct syn_err *err)
{
    struct snapshot_value *value = &stream->value;
    if (!value->is_open || value->way != VALUE_STREAM) {
        value->is_open = false;
        hold_clear(stream, &stream->value_hold);
        return true;
    }
    /* The server waits for as many bytes as were announced. They are made up here, and the CRC is
     * made wrong, so that it refuses the payload and leaves the key as it was. */
    static const uint8_t zeros[4096];
    while (value->left > 0) {
        size_t take = value->left < sizeof(zeros) ? (size_t)value->left : sizeof(zeros);
        if (!snapshot_stream_piece(stream, zeros, take, err)) {
            return false;
        }
    }
    value->is_open = false;
    return stream_finish(stream, ~value->crc, OP_TOLERANT, err);
}

/* ---- functions and scripts ---- */

bool stream_broadcast(struct stream *stream,
                      const struct slice *args,
                      uint32_t count,
                      struct op op,
                      struct syn_err *err)
{
    const struct route *route = stream->task->route;
    for (uint32_t i = 0; i < route->shard_count; i++) {
        if (!live_forward_args(stream, route->shard_lane[i], 0, args, count, op, err)) {
            return false;
        }
    }
    return true;
}

/* A destination before 7.0. The source may be able to do without; a file is as it is. */
static bool function_refused(struct stream *stream, struct syn_err *err)
{
    char text[ENDPOINT_TEXT_MAX];
    endpoint_text(&stream->feed->options.endpoint, text);
    if (stream->task->rewrite.policy == REWRITE_STOP) {
        return ERR(
            err,
            SYN_CODE_UNSUPPORTED,
            "source %s has function libraries, which the destination's version does not know "
            "(they came with 7.0); delete them at the source (FUNCTION FLUSH), choose a newer "
            "destination, or leave them out with --on-unsupported degrade or skip",
            text);
    }
    counter_add(&stream->values_skipped, 1);
    log_warning("source %s: a function library is left out: the destination does not know them",
                text);
    return true;
}

bool snapshot_write_function(struct stream *stream, const struct slice *code, struct syn_err *err)
{
    if (!stream->task->has_functions) {
        return function_refused(stream, err);
    }
    const struct slice args[] = {SLICE("FUNCTION"), SLICE("LOAD"), SLICE("REPLACE"), *code};
    struct op op = snapshot_op(stream, 0);
    op.slot = SLOT_NONE;
    return stream_broadcast(stream, args, 4, op, err);
}

bool snapshot_write_script(struct stream *stream, const struct slice *body, struct syn_err *err)
{
    const struct slice args[] = {SLICE("SCRIPT"), SLICE("LOAD"), *body};
    struct op op = snapshot_op(stream, 0);
    op.slot = SLOT_NONE;
    return stream_broadcast(stream, args, 3, op, err);
}
