#include "apply/lane_follow.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>

/* ---- the operation's bytes ---- */

/* "<marker><number>\r\n" */
static bool read_head(const uint8_t **at, const uint8_t *end, char marker, uint64_t *number)
{
    const uint8_t *p = *at;
    if (p == end || *p != (uint8_t)marker) {
        return false;
    }
    const uint8_t *digits = ++p;
    while (p < end && isdigit(*p)) {
        p++;
    }
    if (end - p < 2 || !num_read_u64((const char *)digits, (size_t)(p - digits), number)) {
        return false;
    }
    *at = p + 2;
    return true;
}

static bool read_bulk(const uint8_t **at, const uint8_t *end, struct slice *arg)
{
    uint64_t size;
    if (!read_head(at, end, '$', &size) || (uint64_t)(end - *at) < size + 2) {
        return false;
    }
    *arg = (struct slice){*at, (size_t)size};
    *at += size + 2;
    return true;
}

/* The size of the command that begins here. False: not all of it is here. */
static bool command_size(const uint8_t *bytes, size_t size, size_t *command)
{
    const uint8_t *at = bytes;
    const uint8_t *end = bytes + size;
    uint64_t count;
    struct slice arg;
    if (!read_head(&at, end, '*', &count)) {
        return false;
    }
    for (uint64_t i = 0; i < count; i++) {
        if (!read_bulk(&at, end, &arg)) {
            return false;
        }
    }
    *command = (size_t)(at - bytes);
    return true;
}

static void carry_add(struct lane_carry *carry, const uint8_t *bytes, size_t size)
{
    if (size == 0) {
        return;
    }
    if (carry->size + size > carry->bytes_max) {
        carry->is_cut = true;
    }
    if (!carry->is_cut && carry->size + size > carry->capacity) {
        size_t capacity = 2 * (carry->size + size);
        uint8_t *grown = mem_realloc(MEM_APPLY, carry->bytes, capacity);
        carry->is_cut = grown == NULL; /* as if it were too large */
        carry->bytes = grown != NULL ? grown : carry->bytes;
        carry->capacity = grown != NULL ? capacity : carry->capacity;
    }
    if (!carry->is_cut) {
        memcpy(carry->bytes + carry->size, bytes, size);
        carry->size += size;
    }
}

static void carry_reset(struct lane_carry *carry)
{
    carry->size = 0;
    carry->is_cut = false;
}

void lane_carry(struct lane_carry *carry, const struct batch *batch)
{
    const struct op *last = batch->op_count > 0 ? &batch->ops[batch->op_count - 1] : NULL;
    const uint8_t *end = batch->bytes + batch->end;
    size_t size;
    if (!batch->continues) {
        carry_reset(carry);
    } else if (last == NULL) {
        carry_add(carry, batch->bytes + BATCH_PREFIX, batch->end - BATCH_PREFIX);
    } else if (last->pos >= BATCH_PREFIX) {
        const uint8_t *begin = batch->bytes + last->pos;
        bool is_whole = command_size(begin, (size_t)(end - begin), &size);
        ASSERT(is_whole); /* its record is in the batch where it ends */
        carry_reset(carry);
        carry_add(carry, begin + size, (size_t)(end - begin) - size);
    } else {
        carry_add(carry, batch->bytes + BATCH_PREFIX, batch->end - BATCH_PREFIX);
        if (!carry->is_cut) { /* else nobody knows where the next one begins */
            bool is_whole = command_size(carry->bytes, carry->size, &size);
            ASSERT(is_whole);
            memmove(carry->bytes, carry->bytes + size, carry->size - size);
            carry->size -= size;
        }
    }
}

/* The operation, which ends in this batch: in place, or put together. False: not all is here. */
static bool
op_bytes(struct lane *lane, const struct batch *batch, const struct op *op, struct slice *bytes)
{
    if (op->pos >= BATCH_PREFIX) {
        bytes->bytes = batch->bytes + op->pos;
        return command_size(bytes->bytes, batch->end - op->pos, &bytes->size);
    }
    const struct lane_carry *carry = &lane->carry;
    struct lane_carry *whole = &lane->whole;
    if (carry->bytes_max == 0) {
        return false;
    }
    whole->bytes_max = carry->bytes_max + batch->bytes_size;
    carry_reset(whole);
    carry_add(whole, carry->bytes, carry->size);
    whole->is_cut = whole->is_cut || carry->is_cut;
    /* Those before it may be answered and not gone back yet. */
    for (const struct batch *before = lane->head; before != batch; before = before->next) {
        lane_carry(whole, before);
    }
    carry_add(whole, batch->bytes + BATCH_PREFIX, batch->end - BATCH_PREFIX);
    bytes->bytes = whole->bytes;
    return !whole->is_cut && command_size(whole->bytes, whole->size, &bytes->size);
}

/* ---- answers ---- */

static void error_take(const redisReply *from, struct reply *out)
{
    out->error_count++;
    if (out->error_count == 1) {
        out->text_size = (uint32_t)(from->len < REPLY_TEXT_MAX ? from->len : REPLY_TEXT_MAX);
        memcpy(out->text, from->str, out->text_size);
    }
}

/* As reply_scan would have told it. */
static void reply_take(const redisReply *from, struct reply *out)
{
    memset(out, 0, sizeof(*out));
    switch (from->type) {
    case REDIS_REPLY_STATUS:
        out->kind = REPLY_STATUS;
        out->text_size = (uint32_t)(from->len < REPLY_TEXT_MAX ? from->len : REPLY_TEXT_MAX);
        memcpy(out->text, from->str, out->text_size);
        break;
    case REDIS_REPLY_ERROR:
        out->kind = REPLY_ERROR;
        error_take(from, out);
        break;
    case REDIS_REPLY_INTEGER:
        out->kind = REPLY_INTEGER;
        out->integer = from->integer;
        break;
    case REDIS_REPLY_STRING:
        out->kind = REPLY_BULK;
        out->integer = (int64_t)from->len;
        break;
    case REDIS_REPLY_ARRAY:
        out->kind = REPLY_ARRAY;
        out->integer = (int64_t)from->elements;
        out->number_min = INT64_MAX;
        out->number_max = INT64_MIN;
        for (size_t i = 0; i < from->elements; i++) {
            if (from->element[i]->type == REDIS_REPLY_INTEGER) {
                int64_t number = from->element[i]->integer;
                out->number_min = number < out->number_min ? number : out->number_min;
                out->number_max = number > out->number_max ? number : out->number_max;
            }
            if (from->element[i]->type == REDIS_REPLY_ERROR) {
                out->error_index = out->error_count == 0 ? (uint32_t)i : out->error_index;
                error_take(from->element[i], out);
            }
        }
        break;
    default:
        out->kind = REPLY_NIL;
        break;
    }
}

/* The bytes that a relay asked for. */
static void
answer_take_bytes(const struct batch *batch, const struct op *op, const redisReply *reply)
{
    if (op->kind != OP_ASK || reply->type != REDIS_REPLY_STRING) {
        return;
    }
    uint8_t *room = answer_room(batch->port->answers, op->ask, reply->len);
    if (room != NULL) {
        memcpy(room, reply->str, reply->len);
    }
}

/* ---- sending on ---- */

static bool send_on(struct lane *lane,
                    const struct batch *batch,
                    const struct op *op,
                    const struct redirect_place *place,
                    struct slice bytes,
                    struct reply *out,
                    struct syn_err *err)
{
    redisReply *reply =
        redirect_once(lane->redirect, &lane->endpoint, place, bytes.bytes, bytes.size, err);
    if (reply == NULL) {
        err_context(err, "slot %u, which is leaving %s", place->slot, lane->endpoint_text);
        return false;
    }
    reply_take(reply, out);
    answer_take_bytes(batch, op, reply);
    freeReplyObject(reply);
    return true;
}

/* MSET as one SET after the other, each where its key is, or is to be. */
static bool
send_pairs(struct lane *lane, struct slice bytes, struct reply *out, struct syn_err *err)
{
    const uint8_t *at = bytes.bytes;
    const uint8_t *end = at + bytes.size;
    const struct redirect_place own = {.port = lane->endpoint.port};
    uint64_t count;
    struct slice name;
    struct slice key;
    struct slice value;
    bool is_read = read_head(&at, end, '*', &count) && read_bulk(&at, end, &name);
    ASSERT(is_read);
    memset(out, 0, sizeof(*out));
    out->kind = REPLY_STATUS;
    while (at < end && out->kind == REPLY_STATUS) {
        is_read = read_bulk(&at, end, &key) && read_bulk(&at, end, &value);
        ASSERT(is_read);
        const char *argv[] = {"SET", (const char *)key.bytes, (const char *)value.bytes};
        const size_t sizes[] = {3, key.size, value.size};
        char *set = NULL;
        long long size = redisFormatCommandArgv(&set, 3, argv, sizes);
        if (size < 0) {
            return ERR(err, SYN_CODE_MEMORY, "out of memory for a value");
        }
        redisReply *reply =
            redirect_once(lane->redirect, &lane->endpoint, &own, set, (size_t)size, err);
        redisFreeCommand(set);
        reply = reply == NULL
                    ? NULL
                    : redirect_follow(lane->redirect, &lane->endpoint, 3, argv, sizes, reply, err);
        if (reply == NULL) {
            return false;
        }
        reply_take(reply, out);
        freeReplyObject(reply);
    }
    return true;
}

static bool begins(const struct reply *reply, const char *word)
{
    size_t size = strlen(word);
    return reply->text_size >= size && memcmp(reply->text, word, size) == 0;
}

static bool is_mset(struct slice bytes)
{
    const uint8_t *at = bytes.bytes;
    uint64_t count;
    struct slice name;
    return read_head(&at, at + bytes.size, '*', &count) &&
           read_bulk(&at, bytes.bytes + bytes.size, &name) && name.size == 4 &&
           strncasecmp((const char *)name.bytes, "MSET", 4) == 0;
}

static void tell_once(struct lane *lane, const struct op *op)
{
    if (!lane->has_followed) {
        lane->has_followed = true;
        log_info("destination %s: slot %u is moving; operations on keys that have left follow them "
                 "one at a time",
                 lane->endpoint_text,
                 op->slot);
    }
}

bool lane_follow(struct lane *lane,
                 const struct batch *batch,
                 const struct op *op,
                 const struct reply *reply,
                 struct reply *out,
                 bool *is_followed,
                 struct syn_err *err)
{
    struct redirect_place place;
    struct slice bytes;
    bool is_asked = begins(reply, "ASK ") && redirect_read(reply->text, reply->text_size, &place);
    *is_followed = false;
    if (lane->redirect == NULL || (!is_asked && !begins(reply, "TRYAGAIN")) ||
        !op_bytes(lane, batch, op, &bytes)) {
        return true;
    }
    bool is_pairs = !op->is_live && is_mset(bytes);
    if (!is_asked && !is_pairs) {
        return true;
    }
    tell_once(lane, op);
    *is_followed = true;
    return is_pairs ? send_pairs(lane, bytes, out, err)
                    : send_on(lane, batch, op, &place, bytes, out, err);
}
