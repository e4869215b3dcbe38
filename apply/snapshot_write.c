#include "apply/snapshot_reform.h"
#include "apply/snapshot_rewrite.h"
#include "apply/snapshot_write.h"

#include <string.h>

static struct op snapshot_op(const struct stream *stream, uint32_t key_count)
{
    return (struct op){.offset = stream->value.offset,
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

/* The option of RESTORE that carries how the key is used, NULL when there is nothing to carry, or
 * nothing that carries it. */
static const char *hint_option(const struct stream *stream)
{
    const struct intake *intake = &stream->task->intake;
    const struct rdb_item *item = &stream->value.item;
    if (item->has_freq) {
        return intake->has_freq ? "FREQ" : NULL;
    }
    return item->idle_s > 0 && intake->has_idle ? "IDLETIME" : NULL;
}

static bool string_goes_plain(const struct stream *stream, const struct rdb_string *text)
{
    const struct rdb_item *item = &stream->value.item;
    if (hint_option(stream) != NULL) {
        return false;
    }
    return text->text_size + item->name.size + 128 <= stream->router->batch_bytes / 2;
}

/* ---- RESTORE ----
 *
 *   RESTORE key ttl payload [REPLACE] [ABSTTL] [IDLETIME s | FREQ n]
 *
 * Where there is no REPLACE (before 3.0) a DEL goes before it. Where there is no ABSTTL (before
 * 5.0) a PEXPIREAT follows: a relative time to live would be wrong by the difference of the clocks
 * and by the time that the operation waits for its turn.
 */

static bool carries_expiry(const struct stream *stream)
{
    return stream->value.item.expire_ms >= 0 && stream->task->intake.has_absttl;
}

/* Zero would mean that the key never expires; it and all before it mean long past. */
static uint64_t restore_ttl(const struct stream *stream)
{
    int64_t expire_ms = stream->value.item.expire_ms;
    return carries_expiry(stream) ? (uint64_t)(expire_ms > 0 ? expire_ms : 1) : 0;
}

static size_t restore_args(const struct stream *stream)
{
    return 4 + stream->task->intake.has_replace + carries_expiry(stream) +
           (hint_option(stream) != NULL ? 2 : 0);
}

/* All but the payload and what follows it: 64 bytes for the fixed parts. */
#define RESTORE_EXTRA_MAX 192

static uint8_t *restore_put_head(uint8_t *out, const struct stream *stream, uint64_t payload_size)
{
    const struct slice *name = &stream->value.item.name;
    char digits[NUM_DIGITS_MAX];
    out = resp_put_head(out, '*', restore_args(stream));
    memcpy(out, "$7\r\nRESTORE\r\n", 13);
    out = resp_put_bulk(out + 13, name->bytes, name->size);
    out = resp_put_bulk(out, digits, num_write_u64(digits, restore_ttl(stream)));
    return resp_put_head(out, '$', payload_size);
}

static uint8_t *restore_put_tail(uint8_t *out, const struct stream *stream)
{
    char digits[NUM_DIGITS_MAX];
    const struct rdb_item *item = &stream->value.item;
    const char *hint = hint_option(stream);
    memcpy(out, "\r\n", 2);
    out += 2;
    if (stream->task->intake.has_replace) {
        memcpy(out, "$7\r\nREPLACE\r\n", 13);
        out += 13;
    }
    if (carries_expiry(stream)) {
        memcpy(out, "$6\r\nABSTTL\r\n", 12);
        out += 12;
    }
    if (hint != NULL) {
        uint64_t number = item->has_freq ? item->freq : (uint64_t)item->idle_s;
        out = resp_put_bulk(out, hint, strlen(hint));
        out = resp_put_bulk(out, digits, num_write_u64(digits, number));
    }
    return out;
}

static struct op restore_op(const struct stream *stream)
{
    struct op op = snapshot_op(stream, 1);
    op.kind = OP_RESTORE;
    return op;
}

/* What RESTORE needs before it. */
static bool restore_clear(struct stream *stream, struct syn_err *err)
{
    const struct snapshot_value *value = &stream->value;
    const struct slice args[] = {SLICE("DEL"), value->item.name};
    return (stream->task->intake.has_replace && !stream->task->clears_first) ||
           live_forward_args(stream, value->lane, value->db, args, 2, snapshot_op(stream, 0), err);
}

/* What RESTORE could not carry. */
static bool restore_expire(struct stream *stream, struct syn_err *err)
{
    const struct snapshot_value *value = &stream->value;
    if (value->item.expire_ms < 0 || carries_expiry(stream)) {
        return true;
    }
    char digits[NUM_DIGITS_MAX];
    const struct slice args[] = {
        SLICE("PEXPIREAT"),
        value->item.name,
        {(uint8_t *)digits, num_write_u64(digits, (uint64_t)value->item.expire_ms)}};
    return live_forward_args(stream, value->lane, value->db, args, 3, snapshot_op(stream, 0), err);
}

static bool restore_write_small(
    struct stream *stream, const uint8_t *body, size_t size, size_t room, struct syn_err *err)
{
    struct snapshot_value *value = &stream->value;
    uint8_t *begin = router_reserve(stream->router, value->lane, value->db, room);
    if (begin == NULL) {
        return stopped(err);
    }
    uint8_t *payload = restore_put_head(begin, stream, 1 + (uint64_t)size + RDB_FOOTER_SIZE);
    *payload = value->item.type;
    memcpy(payload + 1, body, size);
    uint8_t *out = payload + 1 + size;
    rdb_footer_write(out, crc64_update(0, payload, 1 + size), snapshot_restore_version(stream));
    out = restore_put_tail(out + RDB_FOOTER_SIZE, stream);
    router_commit(stream->router, value->lane, begin, out, restore_op(stream));
    stream->restore_seq = router_batch_seq(stream->router, value->lane);
    return restore_expire(stream, err);
}

static bool
restore_write(struct stream *stream, const uint8_t *body, size_t size, struct syn_err *err)
{
    bool is_written = false;
    if (snapshot_reform_wanted(stream) && !snapshot_reform(stream, body, size, &is_written, err)) {
        return false;
    }
    if (is_written) {
        return true;
    }
    size_t room = size + stream->value.item.name.size + RESTORE_EXTRA_MAX;
    if (room <= stream->router->batch_bytes) {
        return restore_clear(stream, err) && restore_write_small(stream, body, size, room, err);
    }
    return snapshot_stream_begin(stream, size, err) &&
           snapshot_stream_piece(stream, body, size, err) && snapshot_stream_end(stream, err);
}

static bool write_string(struct stream *stream,
                         const struct rdb_string *text,
                         const uint8_t *body,
                         size_t size,
                         struct syn_err *err)
{
    struct snapshot_value *value = &stream->value;
    bool is_plain = string_goes_plain(stream, text);
    /* In a cluster one that is repaired goes alone: an MSET of which some keys have left with their
     * slot is refused as a whole, and there is no snapshot to begin again. */
    bool is_alone = stream->task->route->is_cluster && stream->state == STREAM_LIVE;
    bool has_expiry = value->item.expire_ms >= 0;
    if (is_plain && !has_expiry && !is_alone) {
        return router_group(stream->router,
                            value->lane,
                            value->db,
                            &value->item.name,
                            text,
                            snapshot_op(stream, 1),
                            err) ||
               snapshot_corrupt(stream, err);
    }
    if (is_plain && has_expiry && stream->task->intake.rewrite.has_set_expiry) {
        return write_set_expire(stream, text, err) || snapshot_corrupt(stream, err);
    }
    return snapshot_restore_version(stream) != 0 ? restore_write(stream, body, size, err)
                                                 : snapshot_rewrite_whole(stream, body, size, err);
}

bool snapshot_write(struct stream *stream, const uint8_t *body, size_t size, struct syn_err *err)
{
    if (stream->value.item.type != RDB_TYPE_STRING) {
        return restore_write(stream, body, size, err);
    }
    struct rdb_string text;
    switch (rdb_string_read(body, size, &text, err)) {
    case RDB_READY:
        return write_string(stream, &text, body, size, err);
    case RDB_MORE:
        return ERR(err, SYN_CODE_INTERNAL, "a framed string of %zu bytes is not whole", size);
    case RDB_ERROR:
        break;
    }
    return false;
}

/* ---- values in pieces ---- */

bool snapshot_stream_begin(struct stream *stream, uint64_t total, struct syn_err *err)
{
    struct snapshot_value *value = &stream->value;
    struct router *router = stream->router;
    const struct slice *name = &value->item.name;
    uint8_t head[128];
    if (!restore_clear(stream, err)) {
        return false;
    }
    if (!router_unit_begin(router, value->lane, value->db) ||
        !router_unit_op(router, value->lane)) {
        return stopped(err);
    }
    /* The head without the key, which may be of any size, in two parts around it. */
    uint8_t *out = resp_put_head(head, '*', restore_args(stream));
    memcpy(out, "$7\r\nRESTORE\r\n", 13);
    out = resp_put_head(out + 13, '$', name->size);
    if (!router_put(router, value->lane, head, (size_t)(out - head)) ||
        !router_put(router, value->lane, name->bytes, name->size)) {
        return stopped(err);
    }
    char digits[NUM_DIGITS_MAX];
    memcpy(head, "\r\n", 2);
    out = resp_put_bulk(head + 2, digits, num_write_u64(digits, restore_ttl(stream)));
    out = resp_put_head(out, '$', 1 + total + RDB_FOOTER_SIZE);
    *out++ = value->item.type;
    if (!router_put(router, value->lane, head, (size_t)(out - head))) {
        return stopped(err);
    }
    value->way = VALUE_ARRIVING;
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
    ASSERT(value->way == VALUE_ARRIVING);
    ASSERT(size <= value->left);
    value->left -= size;
    value->crc = crc64_update(value->crc, bytes, size);
    return router_put(stream->router, value->lane, bytes, size) || stopped(err);
}

static bool stream_finish(struct stream *stream, uint64_t crc, struct op op, struct syn_err *err)
{
    struct snapshot_value *value = &stream->value;
    struct router *router = stream->router;
    uint8_t tail[128];
    ASSERT(value->left == 0);
    rdb_footer_write(tail, crc, snapshot_restore_version(stream));
    uint8_t *out = restore_put_tail(tail + RDB_FOOTER_SIZE, stream);
    if (!router_put(router, value->lane, tail, (size_t)(out - tail))) {
        return stopped(err);
    }
    router_unit_done(router, value->lane, op);
    router_unit_end(router, value->lane);
    router->unit_owner = NULL;
    return true;
}

bool snapshot_stream_end(struct stream *stream, struct syn_err *err)
{
    struct snapshot_value *value = &stream->value;
    if (!stream_finish(stream, value->crc, restore_op(stream), err)) {
        return false;
    }
    stream->restore_seq = router_batch_seq(stream->router, value->lane);
    if (stream->task->on_corrupt != CORRUPT_STOP) {
        parcel_note(stream, value->lane);
    }
    return restore_expire(stream, err);
}

bool snapshot_abandon(struct stream *stream, struct syn_err *err)
{
    struct snapshot_value *value = &stream->value;
    if (!value->is_open || value->way != VALUE_ARRIVING) {
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
    struct op op = snapshot_op(stream, 0);
    op.kind = OP_TOLERANT;
    return stream_finish(stream, ~value->crc, op, err);
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

static struct op function_op(const struct stream *stream)
{
    return (struct op){.offset = stream->payload_pos,
                       .stream = stream->index,
                       .slot = SLOT_NONE,
                       .kind = OP_COMMAND};
}

/* A library names itself in its first line: "#!lua name=NAME". Bytes NULL: this one does not. */
static struct slice function_name(const struct slice *code)
{
    static const char mark[] = " name=";
    const uint8_t *line_end = memchr(code->bytes, '\n', code->size);
    size_t line = line_end != NULL ? (size_t)(line_end - code->bytes) : code->size;
    const uint8_t *at = memmem(code->bytes, line, mark, sizeof(mark) - 1);
    if (at == NULL) {
        return (struct slice){.bytes = NULL};
    }
    at += sizeof(mark) - 1;
    size_t size = 0;
    while (at + size < code->bytes + line && at[size] > ' ') {
        size++;
    }
    return (struct slice){.bytes = at, .size = size};
}

/* The source may be able to do without; a file is as it is. */
static bool function_refused(struct stream *stream, const struct slice *code, struct syn_err *err)
{
    if (stream->task->intake.rewrite.policy == REWRITE_STOP) {
        return ERR(
            err,
            SYN_CODE_UNSUPPORTED,
            "source %s has function libraries, which the destination does not take (they came with "
            "7.0); delete them at the source (FUNCTION FLUSH), choose a newer destination, or "
            "leave them out with --on-unsupported degrade or skip",
            endpoint_text(&stream->feed->options.endpoint, (char[ENDPOINT_TEXT_MAX]){0}));
    }
    stream_lose(stream,
                (struct loss){.outcome = LOSS_SKIPPED,
                              .key = function_name(code),
                              .type = "function library",
                              .offset = rdb_parser_offset(stream->parser),
                              .reason = "the destination does not take function libraries",
                              .count = 1});
    return true;
}

bool snapshot_write_function(struct stream *stream, const struct slice *code, struct syn_err *err)
{
    if (!stream->task->intake.has_functions) {
        return function_refused(stream, code, err);
    }
    const struct slice args[] = {SLICE("FUNCTION"), SLICE("LOAD"), SLICE("REPLACE"), *code};
    return stream_broadcast(stream, args, 4, function_op(stream), err);
}

bool snapshot_write_script(struct stream *stream, const struct slice *body, struct syn_err *err)
{
    const struct slice args[] = {SLICE("SCRIPT"), SLICE("LOAD"), *body};
    return stream_broadcast(stream, args, 3, function_op(stream), err);
}
