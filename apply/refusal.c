#include "apply/refusal.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "apply/divergence.h"
#include "apply/lane_error.h"
#include "apply/stream_private.h"

/* ---- reading commands back ---- */

/* "$3\r\nabc\r\n", or the head of an array. */
static bool number_read(const uint8_t **at, const uint8_t *end, uint8_t mark, size_t *number)
{
    const uint8_t *p = *at;
    if (p == end || *p++ != mark) {
        return false;
    }
    *number = 0;
    while (p < end && isdigit(*p) && *number < UINT32_MAX) {
        *number = *number * 10 + (size_t)(*p++ - '0');
    }
    if (end - p < 2 || p[0] != '\r' || p[1] != '\n') {
        return false;
    }
    *at = p + 2;
    return true;
}

static bool word_read(const uint8_t **at, const uint8_t *end, struct slice *word)
{
    size_t size;
    if (!number_read(at, end, '$', &size) || size + 2 > (size_t)(end - *at)) {
        return false;
    }
    *word = (struct slice){*at, size};
    *at += size + 2;
    return true;
}

static bool word_is(const struct slice *word, const char *text)
{
    return word->size == strlen(text) && memcmp(word->bytes, text, word->size) == 0;
}

/* The key of any command: its second word. */
static bool key_read(const uint8_t *bytes, size_t size, struct slice *key)
{
    const uint8_t *at = bytes;
    size_t count;
    struct slice name;
    return number_read(&at, bytes + size, '*', &count) && count >= 2 &&
           word_read(&at, bytes + size, &name) && word_read(&at, bytes + size, key);
}

bool restore_read(const uint8_t *bytes, size_t size, struct restore_words *words)
{
    const uint8_t *at = bytes;
    const uint8_t *end = bytes + size;
    size_t count;
    struct slice name;
    struct slice ttl;
    int64_t expire_ms;
    if (!number_read(&at, end, '*', &count) || count < 4 || !word_read(&at, end, &name) ||
        !word_is(&name, "RESTORE") || !word_read(&at, end, &words->key) ||
        !word_read(&at, end, &ttl) || !word_read(&at, end, &words->payload) ||
        !num_read_i64((const char *)ttl.bytes, ttl.size, &expire_ms) ||
        words->payload.size < 1 + RDB_FOOTER_SIZE) {
        return false;
    }
    words->expire_ms = -1;
    for (size_t i = 4; i < count; i++) {
        struct slice option;
        if (!word_read(&at, end, &option)) {
            return false;
        }
        if (word_is(&option, "ABSTTL")) {
            words->expire_ms = expire_ms;
        }
    }
    words->size = (size_t)(at - bytes);
    return true;
}

/* The database in which the n-th operation of the batch ran. */
static uint32_t batch_db(const struct batch *batch, uint32_t n)
{
    static const char select[] = "*2\r\n$6\r\nSELECT\r\n";
    uint32_t db = batch->db_first != BATCH_DB_ANY ? batch->db_first : 0;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t pos = batch->ops[i].pos;
        size_t left = batch->end - pos;
        const uint8_t *bytes = batch->bytes + pos;
        struct slice word;
        uint64_t number;
        if (pos < BATCH_PREFIX || left < sizeof(select) ||
            memcmp(bytes, select, sizeof(select) - 1) != 0) {
            continue;
        }
        const uint8_t *at = bytes + sizeof(select) - 1;
        if (word_read(&at, bytes + left, &word) &&
            num_read_u64((const char *)word.bytes, word.size, &number)) {
            db = (uint32_t)number;
        }
    }
    return db;
}

/* ---- large operations ---- */

void parcel_note(struct stream *stream, uint32_t lane)
{
    const struct snapshot_value *value = &stream->value;
    const struct slice *name = &value->item.name;
    struct parcel *parcel = mem_alloc(MEM_APPLY, sizeof(*parcel) + name->size);
    if (parcel == NULL) {
        return; /* a refusal of this one will not know its key */
    }
    parcel->next = NULL;
    parcel->seq = router_batch_seq(stream->router, lane);
    parcel->db = value->db;
    parcel->type = value->item.type;
    parcel->key_size = name->size;
    memcpy(parcel->key, name->bytes, name->size);
    struct parcel **end = &stream->parcels;
    while (*end != NULL) { /* at most one for each batch */
        end = &(*end)->next;
    }
    *end = parcel;
}

void parcels_trim(struct stream *stream)
{
    /* Batches of one lane come back in order, those of several in any. */
    for (struct parcel **at = &stream->parcels; *at != NULL;) {
        struct parcel *parcel = *at;
        if (parcel->seq < stream->router->frontier) {
            *at = parcel->next;
            mem_free(MEM_APPLY, parcel);
        } else {
            at = &parcel->next;
        }
    }
}

static const struct parcel *parcel_find(const struct stream *stream, uint64_t seq)
{
    const struct parcel *parcel = stream->parcels;
    while (parcel != NULL && parcel->seq != seq) {
        parcel = parcel->next;
    }
    return parcel;
}

/* ---- refusals ---- */

/* One operation that was refused, as far as it is still known. */
struct refused {
    struct stream *stream;
    const struct batch *batch;
    const struct op *op;
    uint32_t lane;
    uint32_t db;
    const uint8_t *bytes; /* of the operation; NULL: it began in a batch that is gone */
    size_t size;          /* up to the batch's end */
    const struct parcel *parcel;
};

static void refused_fill(struct refused *refused, uint32_t n)
{
    const struct batch *batch = refused->batch;
    const struct op *op = &batch->ops[n];
    refused->op = op;
    refused->db = batch_db(batch, n);
    refused->bytes = NULL;
    refused->size = 0;
    refused->parcel = NULL;
    if (op->pos >= BATCH_PREFIX) {
        refused->bytes = batch->bytes + op->pos;
        refused->size = batch->end - op->pos;
    } else {
        refused->parcel = parcel_find(refused->stream, batch->seq);
    }
}

static const char *refusal_text(uint8_t refusal)
{
    return refusal == REFUSAL_VERSION ? "ERR DUMP payload version or checksum are wrong"
                                      : "ERR Bad data format";
}

/* As the lane would have failed. */
static void refused_fail(const struct refused *refused)
{
    struct stream *stream = refused->stream;
    struct reply reply = {.kind = REPLY_ERROR, .error_count = 1};
    const char *text = refusal_text(refused->op->refusal);
    reply.text_size = (uint32_t)strlen(text);
    memcpy(reply.text, text, reply.text_size);
    struct syn_err err;
    (void)lane_refused(
        router_lane(stream->router, refused->lane), refused->batch, refused->op, &reply, &err);
    failure_raise(stream->task->failure, &err);
}

/* A value that cannot be tried in another way. */
static void refused_settle(const struct refused *refused, const struct restore_words *words)
{
    struct stream *stream = refused->stream;
    const struct parcel *parcel = refused->parcel;
    if (stream->task->on_corrupt == CORRUPT_STOP) {
        refused_fail(refused);
        return;
    }
    struct loss loss = {.outcome = LOSS_CORRUPT,
                        .db = refused->db,
                        .type = "value",
                        .offset = refused->op->offset,
                        .count = 1};
    if (words != NULL) {
        loss.key = words->key;
        loss.type = rdb_type_name(words->payload.bytes[0]);
    } else if (parcel != NULL) {
        loss.key = (struct slice){parcel->key, parcel->key_size};
        loss.type = rdb_type_name(parcel->type);
        loss.db = parcel->db;
    }
    char reason[160];
    snprintf(reason,
             sizeof(reason),
             "the destination refuses to load it (%s), and it is too large to be kept and tried as "
             "commands",
             refusal_text(refused->op->refusal));
    loss.reason = reason;
    stream_lose(stream, loss);
}

static bool refused_keep(const struct refused *refused, const struct restore_words *words)
{
    struct stream *stream = refused->stream;
    struct router *router = stream->router;
    size_t size = sizeof(struct refusal) + words->size;
    if (!stream->task->intake.has_absttl ||
        size > (size_t)REFUSAL_BATCHES * router->batch_bytes - router->refused_bytes) {
        return false;
    }
    struct refusal *refusal = mem_alloc(MEM_APPLY, size);
    if (refusal == NULL) {
        return false;
    }
    *refusal = (struct refusal){.offset = refused->op->offset,
                                .db = refused->db,
                                .lane = refused->lane,
                                .slot = refused->op->slot,
                                .refusal = refused->op->refusal,
                                .size = words->size};
    memcpy(refusal->bytes, refused->bytes, words->size);
    struct refusal **end = &stream->refusals;
    while (*end != NULL) { /* few: they are mended between any two values */
        end = &(*end)->next;
    }
    *end = refusal;
    router->refused_bytes += size;
    return true;
}

static void refused_restore(const struct refused *refused)
{
    struct restore_words words;
    bool is_whole = refused->bytes != NULL && restore_read(refused->bytes, refused->size, &words);
    if (!is_whole || !refused_keep(refused, &words)) {
        refused_settle(refused, is_whole ? &words : NULL);
    }
}

/* Ids of a group whose entries are not in the stream, which is only known now. */
static void refused_claims(const struct refused *refused)
{
    struct stream *stream = refused->stream;
    const struct op *op = refused->op;
    const struct parcel *parcel = refused->parcel;
    struct loss loss = {.outcome = LOSS_DEGRADED,
                        .db = refused->db,
                        .type = "stream",
                        .offset = op->offset,
                        .reason = rewrite_reason_text(REWRITE_PENDING_DELETED),
                        .count = op->key_count,
                        .is_known_value = stream->claims_offset == op->offset};
    struct slice key;
    if (refused->bytes != NULL && key_read(refused->bytes, refused->size, &key)) {
        loss.key = key;
    } else if (parcel != NULL) {
        loss.key = (struct slice){parcel->key, parcel->key_size};
        loss.db = parcel->db;
    }
    stream->claims_offset = op->offset;
    stream_lose(stream, loss);
}

static void keys_unknown(struct task *task, const struct lane *lane, const struct op *op)
{
    struct syn_err err;
    ERR(&err,
        SYN_CODE_DESTINATION_REPLY,
        "destination %s refused a command (stream %u, offset %llu) whose keys are not known any "
        "more; see the log for its answer, and start again with --restart",
        lane->endpoint_text,
        op->stream,
        (unsigned long long)op->offset);
    failure_raise(task->failure, &err);
}

/* A live operation, which found another state than at the source. */
static void refused_live(const struct refused *refused)
{
    struct stream *stream = refused->stream;
    if (!divergence_note(stream, refused->batch, refused->op, refused->bytes, refused->size)) {
        keys_unknown(stream->task, router_lane(stream->router, refused->lane), refused->op);
    }
}

/* The same inside a group of several batches, one of whose streams remembers its keys. */
static void
refused_group(struct router *router, uint32_t lane, const struct batch *batch, const struct op *op)
{
    bool is_found = false;
    for (struct stream *stream = router->streams; stream != NULL; stream = stream->router_next) {
        is_found = divergence_note_group(stream, batch, op->refusal) || is_found;
    }
    if (!is_found && op->refusal != REFUSAL_STATE) {
        counter_add(&router->streams->diverged_unknown, 1);
    } else if (!is_found) {
        keys_unknown(router->streams->task, router_lane(router, lane), op);
    }
}

void refusals_take(struct router *router, uint32_t lane, const struct batch *batch)
{
    for (uint32_t i = 0; i < batch->op_count; i++) {
        const struct op *op = &batch->ops[i];
        if (op->refusal == REFUSAL_NONE) {
            continue;
        }
        if (op->kind == OP_EXEC) {
            refused_group(router, lane, batch, op);
            continue;
        }
        struct refused refused = {.batch = batch, .lane = lane, .stream = router->streams};
        while (refused.stream->index != op->stream) {
            refused.stream = refused.stream->router_next;
            ASSERT(refused.stream != NULL);
        }
        refused_fill(&refused, i);
        switch ((enum op_refusal)op->refusal) {
        case REFUSAL_NONE:
            break;
        case REFUSAL_CLAIMS:
            refused_claims(&refused);
            break;
        case REFUSAL_DATA:
        case REFUSAL_VERSION:
            refused_restore(&refused);
            break;
        case REFUSAL_NO_EFFECT:
        case REFUSAL_STATE:
        case REFUSAL_SCRIPT:
        case REFUSAL_PARTIAL:
            refused_live(&refused);
            break;
        }
    }
}

struct refusal *refusal_pop(struct stream *stream)
{
    struct refusal *refusal = stream->refusals;
    if (refusal != NULL) {
        stream->refusals = refusal->next;
    }
    return refusal;
}

void refusal_free(struct stream *stream, struct refusal *refusal)
{
    size_t size = sizeof(*refusal) + refusal->size;
    ASSERT(stream->router->refused_bytes >= size);
    stream->router->refused_bytes -= size;
    mem_free(MEM_APPLY, refusal);
}

void refusals_drop(struct stream *stream)
{
    struct refusal *refusal;
    while ((refusal = refusal_pop(stream)) != NULL) {
        refusal_free(stream, refusal);
    }
    while (stream->parcels != NULL) {
        struct parcel *parcel = stream->parcels;
        stream->parcels = parcel->next;
        mem_free(MEM_APPLY, parcel);
    }
}
