#include <math.h>
#include <stdlib.h>

#include "rdb/rewrite_core.h"

/* ---- a rewriter's life ---- */

struct rewriter *rewriter_new(const struct rewrite_target *target,
                              const struct rewrite_sink *sink,
                              struct syn_err *err)
{
    ASSERT(target->piece_bytes > 0);
    ASSERT(target->piece_elements > 0);
    ASSERT(target->piece_elements <= REWRITE_ELEMENTS_MAX);
    ASSERT(sink->command != NULL);
    ASSERT(sink->loss != NULL);
    struct rewriter *rewriter = mem_calloc(MEM_RDB, sizeof(*rewriter));
    if (rewriter == NULL) {
        ERR(err, SYN_CODE_MEMORY, "no memory for a rewriter");
        return NULL;
    }
    rewriter->target = *target;
    rewriter->sink = *sink;
    rewriter->is_stopped = true; /* until a value begins */
    if (target->has_field_expiry) {
        size_t size = target->piece_elements * sizeof(*rewriter->expiring);
        rewriter->expiring = mem_alloc(MEM_RDB, size);
        if (rewriter->expiring == NULL) {
            mem_free(MEM_RDB, rewriter);
            ERR(err, SYN_CODE_MEMORY, "no memory for a rewriter");
            return NULL;
        }
    }
    return rewriter;
}

void rewriter_free(struct rewriter *rewriter)
{
    if (rewriter == NULL) {
        return;
    }
    draft_free(&rewriter->piece);
    draft_free(&rewriter->single);
    stream_copy_free(&rewriter->stream);
    rewrite_name_free(&rewriter->key);
    mem_free(MEM_RDB, rewriter->expiring);
    mem_free(MEM_RDB, rewriter);
}

bool rewrite_name_copy(struct name *name, const uint8_t *bytes, size_t size)
{
    if (size > name->capacity) {
        uint8_t *grown = mem_realloc(MEM_RDB, name->bytes, size);
        if (grown == NULL) {
            return false;
        }
        name->bytes = grown;
        name->capacity = size;
    }
    if (size > 0) {
        memcpy(name->bytes, bytes, size);
    }
    name->size = size;
    return true;
}

void rewrite_name_free(struct name *name)
{
    mem_free(MEM_RDB, name->bytes);
    *name = (struct name){0};
}

bool rewriter_begin(struct rewriter *rewriter,
                    struct slice key,
                    int64_t expire_ms,
                    struct syn_err *err)
{
    if (rewriter->key.capacity > KEPT_BYTES_MAX) {
        rewrite_name_free(&rewriter->key);
    }
    draft_recycle(&rewriter->piece);
    draft_recycle(&rewriter->single);
    stream_copy_begin(&rewriter->stream);
    rewriter->expire_ms = expire_ms;
    rewriter->kind = RDB_KIND_COUNT;
    rewriter->is_stopped = false;
    rewriter->is_skipped = false;
    rewriter->is_pausing = false;
    rewriter->is_written = false;
    rewriter->is_expiring = false;
    memset(rewriter->lost, 0, sizeof(rewriter->lost));
    rewriter->piece_elements = 0;
    rewriter->piece_bytes = 0;
    rewriter->list_length = 0;
    rewriter->string_left = 0;
    rewriter->expiring_count = 0;
    if (!rewrite_name_copy(&rewriter->key, key.bytes, key.size)) {
        rewriter->is_stopped = true;
        ERR(&rewriter->err, SYN_CODE_MEMORY, "no memory for a key of %zu bytes", key.size);
        *err = rewriter->err;
        return false;
    }
    return true;
}

/* ---- what all parts need ---- */

enum rdb_flow rewriter_flow(struct rewriter *rewriter)
{
    if (UNLIKELY(rewriter->is_stopped)) {
        return RDB_STOP;
    }
    if (UNLIKELY(rewriter->is_pausing)) {
        rewriter->is_pausing = false;
        return RDB_PAUSE;
    }
    return RDB_GO;
}

void rewriter_fail(struct rewriter *rewriter, enum syn_code code, const char *reason)
{
    if (rewriter->is_stopped) {
        return;
    }
    rewriter->is_stopped = true;
    ERR(&rewriter->err,
        code,
        "key %016llx cannot be rewritten as commands: %s",
        (unsigned long long)key_hash(rewriter->key.bytes, rewriter->key.size),
        reason);
}

void rewriter_send(struct rewriter *rewriter,
                   struct draft *draft,
                   enum rewrite_repeat repeat,
                   uint32_t claim_count)
{
    if (rewriter->is_stopped) {
        return;
    }
    if (draft->is_too_large) {
        rewriter_fail(rewriter, SYN_CODE_UNSUPPORTED, "one element makes more than 1 GiB");
        return;
    }
    if (draft->is_short_of_memory) {
        rewriter_fail(rewriter, SYN_CODE_MEMORY, "no memory for a command");
        return;
    }
    struct rewrite_command sent = {
        .bytes = draft_close(draft),
        .repeat = repeat,
        .list_length = rewriter->list_length,
        .claim_count = claim_count,
    };
    enum rdb_flow flow = rewriter->sink.command(rewriter->sink.arg, &sent);
    if (flow == RDB_STOP) {
        rewriter_fail(rewriter, SYN_CODE_STOPPED, "no more commands are taken");
    }
    rewriter->is_pausing |= flow == RDB_PAUSE;
}

void rewriter_open(struct rewriter *rewriter, const char *name)
{
    draft_open(&rewriter->single, name);
    draft_add(&rewriter->single, rewriter->key.bytes, rewriter->key.size);
}

static void send_delete(struct rewriter *rewriter)
{
    rewriter_open(rewriter, "DEL");
    rewriter_send(rewriter, &rewriter->single, REWRITE_REPEAT_SAFE, 0);
}

static void report(struct rewriter *rewriter,
                   enum rewrite_reason reason,
                   enum rewrite_policy outcome,
                   uint64_t count)
{
    struct rewrite_loss loss = {
        .key = {rewriter->key.bytes, rewriter->key.size},
        .reason = reason,
        .outcome = outcome,
        .count = count,
    };
    rewriter->sink.loss(rewriter->sink.arg, &loss);
}

/* A value of this kind has nothing that could be left out. */
static bool is_whole_loss(enum rewrite_reason reason)
{
    return reason == REWRITE_NO_STREAMS || reason == REWRITE_NO_MODULES;
}

bool rewriter_lose(struct rewriter *rewriter, enum rewrite_reason reason)
{
    enum rewrite_policy policy = rewriter->target.policy;
    if (policy == REWRITE_DEGRADE && !is_whole_loss(reason)) {
        rewriter->lost[reason]++;
        return true;
    }
    if (policy == REWRITE_STOP) {
        rewriter_fail(rewriter, SYN_CODE_UNSUPPORTED, rewrite_reason_text(reason));
        report(rewriter, reason, REWRITE_STOP, 1);
        return false;
    }
    send_delete(rewriter); /* also of the pieces that are there already */
    rewriter->is_skipped = true;
    report(rewriter, reason, REWRITE_SKIP, 1);
    return false;
}

/* ---- pieces ---- */

static int compare_expiring(const void *left, const void *right)
{
    const struct expiring_field *a = left;
    const struct expiring_field *b = right;
    if (a->expire_ms != b->expire_ms) {
        return a->expire_ms < b->expire_ms ? -1 : 1;
    }
    return (a->pos > b->pos) - (a->pos < b->pos);
}

/* The fields of the piece just sent, whose text is still in it, one command for each time. */
static void send_field_expiry(struct rewriter *rewriter)
{
    struct expiring_field *fields = rewriter->expiring;
    uint32_t count = rewriter->expiring_count;
    rewriter->expiring_count = 0;
    if (count == 0) {
        return;
    }
    qsort(fields, count, sizeof(*fields), compare_expiring);
    for (uint32_t first = 0, end; first < count; first = end) {
        end = first + 1;
        while (end < count && fields[end].expire_ms == fields[first].expire_ms) {
            end++;
        }
        rewriter_open(rewriter, "HPEXPIREAT");
        draft_add_number(&rewriter->single, fields[first].expire_ms);
        draft_add_text(&rewriter->single, "FIELDS");
        draft_add_count(&rewriter->single, end - first);
        for (uint32_t i = first; i < end; i++) {
            draft_add(&rewriter->single, rewriter->piece.bytes + fields[i].pos, fields[i].size);
        }
        rewriter_send(rewriter, &rewriter->single, REWRITE_REPEAT_SAFE, 0);
    }
}

static void send_piece(struct rewriter *rewriter)
{
    uint32_t count = rewriter->piece_elements;
    if (count == 0) {
        return;
    }
    bool is_list = rewriter->kind == RDB_KIND_LIST;
    rewriter_send(
        rewriter, &rewriter->piece, is_list ? REWRITE_REPEAT_LIST : REWRITE_REPEAT_SAFE, 0);
    rewriter->list_length += is_list ? count : 0;
    rewriter->is_written = true;
    rewriter->piece_elements = 0;
    rewriter->piece_bytes = 0;
    if (rewriter->is_stopped) {
        rewriter->expiring_count = 0; /* their text may not be there */
        return;
    }
    send_field_expiry(rewriter);
}

static const char *piece_name(const struct rewriter *rewriter)
{
    switch (rewriter->kind) {
    case RDB_KIND_LIST:
        return "RPUSH";
    case RDB_KIND_SET:
        return "SADD";
    case RDB_KIND_ZSET:
        return "ZADD";
    default:
        return rewriter->target.has_multi_hset ? "HSET" : "HMSET";
    }
}

/* Room for one more element of so many bytes, in this piece or a new one. */
static void begin_element(struct rewriter *rewriter, size_t bytes)
{
    const struct rewrite_target *target = &rewriter->target;
    if (rewriter->piece_elements == target->piece_elements ||
        (rewriter->piece_elements > 0 && (rewriter->piece_bytes > target->piece_bytes ||
                                          bytes > target->piece_bytes - rewriter->piece_bytes))) {
        send_piece(rewriter);
    }
    if (rewriter->piece_elements == 0) {
        draft_open(&rewriter->piece, piece_name(rewriter));
        draft_add(&rewriter->piece, rewriter->key.bytes, rewriter->key.size);
    }
    rewriter->piece_elements++;
    rewriter->piece_bytes += bytes;
}

/* ---- values ---- */

static enum rdb_flow on_begin(void *arg, const struct rdb_value_begin *value)
{
    struct rewriter *rewriter = arg;
    rewriter->kind = value->kind;
    if (value->kind == RDB_KIND_MODULE) {
        rewriter_lose(rewriter, REWRITE_NO_MODULES);
    } else if (value->kind == RDB_KIND_STREAM && !rewriter->target.has_streams) {
        rewriter_lose(rewriter, REWRITE_NO_STREAMS);
    } else if (value->kind != RDB_KIND_STRING) { /* SET replaces a value of any kind by itself */
        send_delete(rewriter);
    }
    return rewriter_flow(rewriter);
}

/* A piece of text begins, at `offset` of `total` bytes. */
static void begin_text(struct rewriter *rewriter, uint64_t offset, uint64_t total)
{
    struct draft *piece = &rewriter->piece;
    uint64_t left = total - offset;
    uint32_t bytes_max = rewriter->target.piece_bytes;
    draft_open(piece, offset == 0 ? "SET" : "SETRANGE");
    draft_add(piece, rewriter->key.bytes, rewriter->key.size);
    if (offset > 0) {
        draft_add_count(piece, offset);
    }
    rewriter->string_left = left < bytes_max ? (size_t)left : bytes_max;
    draft_bulk_open(piece, rewriter->string_left);
}

/* `is_only`: the whole value is in this piece. */
static void end_text(struct rewriter *rewriter, bool is_only)
{
    struct draft *piece = &rewriter->piece;
    draft_bulk_close(piece);
    /* Not for 0 and below, which SET refuses and PEXPIREAT takes for a time that is past. */
    if (is_only && rewriter->expire_ms > 0 && rewriter->target.has_set_expiry) {
        draft_add_text(piece, "PXAT");
        draft_add_number(piece, rewriter->expire_ms);
        rewriter->is_expiring = true;
    }
    rewriter_send(rewriter, piece, REWRITE_REPEAT_SAFE, 0);
    rewriter->is_written = true;
}

static enum rdb_flow on_string(void *arg, struct slice text, uint64_t offset, uint64_t total)
{
    struct rewriter *rewriter = arg;
    ASSERT(offset <= total);
    ASSERT(text.size <= total - offset);
    uint32_t bytes_max = rewriter->target.piece_bytes;
    const uint8_t *bytes = text.bytes;
    size_t left = text.size;
    while ((left > 0 || total == 0) && !rewriter->is_stopped) {
        if (rewriter->string_left == 0) {
            begin_text(rewriter, offset, total);
        }
        size_t size = left < rewriter->string_left ? left : rewriter->string_left;
        draft_bulk_put(&rewriter->piece, bytes, size);
        rewriter->string_left -= size;
        if (rewriter->string_left == 0) {
            end_text(rewriter, total <= bytes_max);
        }
        if (size == left) {
            break;
        }
        bytes += size;
        left -= size;
        offset += size;
    }
    return rewriter_flow(rewriter);
}

static enum rdb_flow on_list(void *arg, const struct rdb_element *element)
{
    struct rewriter *rewriter = arg;
    begin_element(rewriter, element->size);
    draft_add(&rewriter->piece, element->bytes, element->size);
    return rewriter_flow(rewriter);
}

static enum rdb_flow on_hash(void *arg,
                             const struct rdb_element *field,
                             const struct rdb_element *value,
                             int64_t expire_ms)
{
    struct rewriter *rewriter = arg;
    struct draft *piece = &rewriter->piece;
    if (rewriter->is_skipped) {
        return RDB_GO;
    }
    bool is_expiring = expire_ms != -1;
    if (is_expiring && !rewriter->target.has_field_expiry) {
        if (!rewriter_lose(rewriter, REWRITE_NO_FIELD_EXPIRY)) {
            return rewriter_flow(rewriter);
        }
        is_expiring = false;
    }
    begin_element(rewriter, field->size + value->size);
    draft_add(piece, field->bytes, field->size);
    if (is_expiring) {
        ASSERT(rewriter->expiring_count < rewriter->target.piece_elements);
        rewriter->expiring[rewriter->expiring_count++] = (struct expiring_field){
            .expire_ms = expire_ms,
            .pos = piece->size - 2 - field->size,
            .size = field->size,
        };
    }
    draft_add(piece, value->bytes, value->size);
    return rewriter_flow(rewriter);
}

static enum rdb_flow on_zset(void *arg, const struct rdb_element *member, double score)
{
    struct rewriter *rewriter = arg;
    if (isnan(score)) {
        rewriter_fail(rewriter, SYN_CODE_SOURCE_DATA, "a score is not a number");
        return rewriter_flow(rewriter);
    }
    begin_element(rewriter, member->size);
    draft_add_score(&rewriter->piece, score);
    draft_add(&rewriter->piece, member->bytes, member->size);
    return rewriter_flow(rewriter);
}

const struct rdb_visitor *rewriter_visitor(void)
{
    /* No `module`: on_begin has settled it. */
    static const struct rdb_visitor visitor = {
        .begin = on_begin,
        .string = on_string,
        .list = on_list,
        .set = on_list,
        .hash = on_hash,
        .zset = on_zset,
        .stream_entry = stream_copy_entry,
        .stream_meta = stream_copy_meta,
        .stream_group = stream_copy_group,
        .stream_pending = stream_copy_pending,
        .stream_consumer = stream_copy_consumer,
        .stream_consumer_pending = stream_copy_consumer_pending,
    };
    return &visitor;
}

/* ---- the end ---- */

static void send_expiry(struct rewriter *rewriter)
{
    if (rewriter->expire_ms == -1 || rewriter->is_expiring || !rewriter->is_written) {
        return;
    }
    rewriter_open(rewriter, "PEXPIREAT");
    draft_add_number(&rewriter->single, rewriter->expire_ms);
    rewriter_send(rewriter, &rewriter->single, REWRITE_REPEAT_SAFE, 0);
}

static void report_degraded(struct rewriter *rewriter)
{
    for (unsigned reason = 0; reason < REWRITE_REASON_COUNT; reason++) {
        if (rewriter->lost[reason] > 0) {
            report(rewriter, (enum rewrite_reason)reason, REWRITE_DEGRADE, rewriter->lost[reason]);
        }
    }
}

bool rewriter_end(struct rewriter *rewriter, struct syn_err *err)
{
    if (!rewriter->is_stopped && !rewriter->is_skipped) {
        ASSERT(rewriter->string_left == 0); /* the value was complete */
        send_piece(rewriter);
        stream_copy_end(rewriter);
    }
    if (!rewriter->is_stopped && !rewriter->is_skipped) {
        send_expiry(rewriter);
        report_degraded(rewriter);
    }
    if (rewriter->is_stopped) {
        *err = rewriter->err;
        return false;
    }
    rewriter->is_stopped = true;
    ERR(&rewriter->err, SYN_CODE_INTERNAL, "the value has ended");
    return true;
}
