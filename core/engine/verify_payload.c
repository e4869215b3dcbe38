/*
 * One key's payloads: equal bytes are equal, whatever they are; other bytes are decoded.
 *
 * Payloads up to VERIFY_KEPT_BYTES are kept until both are there, and decoded only if they differ.
 * Larger ones are digested twice as they arrive, their bytes and what they stand for, and are gone
 * then.
 */
#include <stdio.h>
#include <string.h>

#define XXH_STATIC_LINKING_ONLY /* the state's size: it is allocated here */
#include <xxhash.h>

#include "core/engine/verify_private.h"

/* One side's. */
struct payload {
    XXH3_state_t hash; /* of one that is not kept: all but its footer */
    uint8_t *kept;     /* VERIFY_KEPT_BYTES */
    uint64_t size;
    bool is_there;
    bool is_kept;
    bool is_refused; /* DUMP is not to be had */
    uint8_t type;
    bool is_valkey_rdb;
    /* Of one that is not kept, or when asked for. */
    bool is_read;
    enum rdb_verdict verdict;
    struct rdb_content content;
    struct syn_err err; /* with other verdicts than READ */
    XXH128_hash_t bytes_hash;
};

struct payloads {
    struct payload source;
    struct payload destination;
    struct rdb_content_reader *reader;
    struct rdb_decoder *decoder; /* for a second look */
    /* Of the key in work. */
    struct payload *arriving;
    uint64_t key_hash;
    int64_t forget_ms;
};

static bool payload_init(struct payload *payload)
{
    XXH3_INITSTATE(&payload->hash);
    payload->kept = mem_alloc(MEM_ENGINE, VERIFY_KEPT_BYTES);
    return payload->kept != NULL;
}

struct payloads *payloads_new(struct syn_err *err)
{
    struct payloads *payloads =
        mem_alloc_aligned(MEM_ENGINE, _Alignof(struct payloads), sizeof(*payloads));
    if (payloads == NULL) {
        ERR(err, SYN_CODE_MEMORY, "out of memory for the payloads of a verification");
        return NULL;
    }
    memset(payloads, 0, sizeof(*payloads));
    payloads->reader = rdb_content_reader_new(VERIFY_ELEMENT_BYTES_MAX, err);
    if (payloads->reader != NULL) {
        payloads->decoder = rdb_decoder_new(VERIFY_ELEMENT_BYTES_MAX, err);
    }
    if (payloads->decoder != NULL && payload_init(&payloads->source) &&
        payload_init(&payloads->destination)) {
        return payloads;
    }
    payloads_free(payloads);
    ERR(err, SYN_CODE_MEMORY, "out of memory for the payloads of a verification");
    return NULL;
}

void payloads_free(struct payloads *payloads)
{
    if (payloads == NULL) {
        return;
    }
    rdb_content_reader_free(payloads->reader);
    rdb_decoder_free(payloads->decoder);
    mem_free(MEM_ENGINE, payloads->source.kept);
    mem_free(MEM_ENGINE, payloads->destination.kept);
    mem_free(MEM_ENGINE, payloads);
}

struct rdb_digest *payloads_digest(struct payloads *payloads, int64_t forget_ms)
{
    rdb_content_forget(payloads->reader, forget_ms);
    return rdb_content_digest(payloads->reader);
}

/* ---- arriving ---- */

static void payload_begin(struct payloads *payloads, struct payload *payload, uint64_t size)
{
    payload->is_there = true;
    payload->size = size;
    payload->is_kept = size <= VERIFY_KEPT_BYTES;
    if (!payload->is_kept) {
        XXH3_128bits_reset(&payload->hash);
        rdb_content_begin(payloads->reader, size, payload->is_valkey_rdb, payloads->key_hash);
    }
}

static void on_piece(void *arg, const uint8_t *bytes, size_t size, uint64_t offset, uint64_t total)
{
    struct payloads *payloads = arg;
    struct payload *payload = payloads->arriving;
    if (offset == 0) {
        payload_begin(payloads, payload, total);
        payload->type = size > 0 ? bytes[0] : 0;
    }
    if (payload->is_kept) {
        memcpy(payload->kept + offset, bytes, size);
        return;
    }
    rdb_content_piece(payloads->reader, (struct slice){.bytes = bytes, .size = size});
    uint64_t body_end = total - RDB_FOOTER_SIZE;
    if (offset < body_end) {
        size_t of_body = size < body_end - offset ? size : (size_t)(body_end - offset);
        XXH3_128bits_update(&payload->hash, bytes, of_body);
    }
}

/* The whole command is refused, to this account or by what is in between. */
static bool is_refusal(const redisReply *reply)
{
    return reply->type == REDIS_REPLY_ERROR &&
           ((strncmp(reply->str, "NOPERM", 6) == 0 && strstr(reply->str, "command") != NULL) ||
            strcasestr(reply->str, "unknown command") != NULL ||
            strcasestr(reply->str, "not supported") != NULL ||
            strcasestr(reply->str, "not allowed") != NULL);
}

bool verify_dump_refused(struct verify_side *side, const redisReply *reply)
{
    if (!is_refusal(reply)) {
        return false;
    }
    if (side->has_dump) {
        side->has_dump = false;
        log_warning("verification: the %s refuses DUMP (\"%.100s\"): values are read by commands, "
                    "which takes longer, and values of modules cannot be compared",
                    side_name(side->topology.side),
                    reply->str);
    }
    return true;
}

static bool payload_fetch(struct payloads *payloads,
                          struct payload *payload,
                          struct verify_side *side,
                          struct verify_link *link,
                          struct syn_err *err)
{
    payload->is_there = false;
    payload->is_refused = false;
    payload->is_read = false;
    payload->is_valkey_rdb = link->is_valkey_rdb;
    payloads->arriving = payload;
    const struct control_sink sink = {.piece = on_piece, .arg = payloads};
    redisReply *reply;
    bool ok = true;
    switch (control_fetch_bulk(&link->control, &sink, &reply, err)) {
    case CONTROL_BULK_TEXT:
        if (!payload->is_kept) {
            payload->verdict = rdb_content_end(payloads->reader, &payload->content, &payload->err);
            payload->bytes_hash = XXH3_128bits_digest(&payload->hash);
            payload->is_read = true;
        }
        return true;
    case CONTROL_BULK_LOST:
        return false;
    case CONTROL_BULK_OTHER:
        break;
    }
    if (verify_dump_refused(side, reply)) {
        payload->is_refused = true;
    } else if (reply->type != REDIS_REPLY_NIL) {
        ok = control_reply_error(&link->control, reply, "DUMP", err);
    }
    freeReplyObject(reply);
    return ok;
}

/* ---- comparing ---- */

static struct slice kept_slice(const struct payload *payload)
{
    return (struct slice){.bytes = payload->kept, .size = payload->size};
}

static bool is_same(const struct payload *a, const struct payload *b)
{
    if (a->is_kept != b->is_kept) {
        return false;
    }
    if (a->is_kept) {
        return rdb_payload_is_same(kept_slice(a), kept_slice(b));
    }
    /* Type 22 and later are of one family; a large value of both is compared by its content. */
    return a->size == b->size &&
           (a->type < RDB_TYPE_HASH_METADATA_PRE_GA || a->is_valkey_rdb == b->is_valkey_rdb) &&
           XXH128_isEqual(a->bytes_hash, b->bytes_hash);
}

/* Decodes what is there, unless it has been. */
static void payload_read(struct payloads *payloads, struct payload *payload)
{
    if (payload->is_there && !payload->is_read) {
        payload->verdict = rdb_content_read(payloads->reader,
                                            kept_slice(payload),
                                            payloads->key_hash,
                                            &payload->content,
                                            &payload->err);
        payload->is_read = true;
    }
}

static bool is_verdict(const struct payload *payload, enum rdb_verdict verdict)
{
    return payload->is_there && payload->verdict == verdict;
}

/* A server's answer that is no value; the message names the key's hash. */
static void
damage_difference(struct payloads *payloads, struct verdict *verdict, const struct payload *payload)
{
    verdict_different(verdict, SYN_DIFFERENCE_VALUE);
    snprintf(verdict->detail,
             sizeof(verdict->detail),
             "damaged at the %s, %.120s",
             payload == &payloads->source ? "source" : "destination",
             payload->err.msg);
}

/* What the source has, to be recognised in another reading. */
static void source_number(struct verify *verify, struct verdict *verdict)
{
    const struct payload *source = &verify->payloads->source;
    if (is_verdict(source, RDB_VERDICT_READ)) {
        struct rdb_digest_value number =
            rdb_content_number(&source->content, verify_detail(verify));
        verdict->source_low = number.low;
        verdict->source_high = number.high;
    } else if (source->is_there && source->is_kept) {
        XXH128_hash_t hash = XXH3_128bits(source->kept, source->size);
        verdict->source_low = hash.low64;
        verdict->source_high = hash.high64;
    } else if (source->is_there) {
        verdict->source_low = source->bytes_hash.low64;
        verdict->source_high = source->bytes_hash.high64;
    }
}

/* A hash whose last fields have expired is only still there because nobody looked. */
static bool is_hollow(const struct payload *payload)
{
    return is_verdict(payload, RDB_VERDICT_READ) && payload->content.kind == RDB_KIND_HASH &&
           payload->content.count == 0 && payload->content.gone > 0;
}

static bool kept_show(void *arg,
                      const struct rdb_visitor *visitor,
                      void *visitor_arg,
                      bool *is_whole,
                      struct syn_err *err)
{
    struct payloads *payloads = arg;
    *is_whole = rdb_payload_decode(payloads->decoder,
                                   kept_slice(payloads->arriving),
                                   payloads->key_hash,
                                   visitor,
                                   visitor_arg,
                                   err);
    return *is_whole || err->code != SYN_CODE_MEMORY;
}

static bool kept_source_show(void *arg,
                             const struct rdb_visitor *visitor,
                             void *visitor_arg,
                             bool *is_whole,
                             struct syn_err *err)
{
    struct payloads *payloads = arg;
    payloads->arriving = &payloads->source;
    return kept_show(arg, visitor, visitor_arg, is_whole, err);
}

static bool kept_destination_show(void *arg,
                                  const struct rdb_visitor *visitor,
                                  void *visitor_arg,
                                  bool *is_whole,
                                  struct syn_err *err)
{
    struct payloads *payloads = arg;
    payloads->arriving = &payloads->destination;
    return kept_show(arg, visitor, visitor_arg, is_whole, err);
}

static bool times_settle(struct work *work,
                         uint32_t index,
                         const struct times_feed *source,
                         const struct times_feed *destination)
{
    struct payloads *payloads = work->verify->payloads;
    struct verdict *verdict = &work->verdicts[index];
    bool is_equal;
    if (!times_compare(source,
                       destination,
                       verdict->expiring,
                       payloads->forget_ms,
                       (int64_t)work->verify->config->ttl_tolerance_ms,
                       &is_equal,
                       work->err)) {
        return false;
    }
    verdict->work = WORK_NONE;
    if (is_equal) {
        verdict_equal(work->verify, verdict, VERDICT_CONTENT);
    }
    return true;
}

/* Both are there, with other bytes, and have been read. */
static bool contents_compare(struct work *work, uint32_t index)
{
    struct payloads *payloads = work->verify->payloads;
    struct verdict *verdict = &work->verdicts[index];
    const struct payload *source = &payloads->source;
    const struct payload *destination = &payloads->destination;
    if (is_verdict(source, RDB_VERDICT_DAMAGED)) {
        damage_difference(payloads, verdict, source);
        return true;
    }
    if (is_verdict(destination, RDB_VERDICT_DAMAGED)) {
        damage_difference(payloads, verdict, destination);
        return true;
    }
    if (source->verdict != RDB_VERDICT_READ || destination->verdict != RDB_VERDICT_READ) {
        verdict->work = WORK_ELEMENTS; /* of a later server, or one very large element */
        return true;
    }
    if (verdict_by_type(work->verify, verdict, clock_unix_ms())) {
        return true;
    }
    verdict_by_content(work->verify, verdict, &source->content, &destination->content);
    if (verdict->work == WORK_TIMES && source->is_kept && destination->is_kept) {
        const struct times_feed from = {.show = kept_source_show, .arg = payloads};
        const struct times_feed to = {.show = kept_destination_show, .arg = payloads};
        return times_settle(work, index, &from, &to);
    }
    return true;
}

static enum value_type payload_type(const struct payload *payload)
{
    return payload->is_there ? value_type_of_rdb(payload->type) : VALUE_NONE;
}

static bool payloads_compare(struct work *work, uint32_t index)
{
    struct verify *verify = work->verify;
    struct payloads *payloads = verify->payloads;
    struct payload *source = &payloads->source;
    struct payload *destination = &payloads->destination;
    struct verdict *verdict = &work->verdicts[index];
    verdict->source_type = payload_type(source);
    verdict->destination_type = payload_type(destination);
    verdict->is_on_both = source->is_there && destination->is_there;
    if (source->is_refused || destination->is_refused) {
        verdict->work = WORK_ELEMENTS;
        return true;
    }
    if (verdict->is_on_both && is_same(source, destination)) {
        verdict_equal(verify, verdict, VERDICT_PAYLOAD);
        return true;
    }
    payload_read(payloads, source);
    payload_read(payloads, destination);
    if (is_verdict(source, RDB_VERDICT_FAILED) || is_verdict(destination, RDB_VERDICT_FAILED)) {
        *work->err = is_verdict(source, RDB_VERDICT_FAILED) ? source->err : destination->err;
        return false;
    }
    source_number(verify, verdict);
    if (verdict->is_on_both) {
        return contents_compare(work, index);
    }
    if (is_hollow(source) || is_hollow(destination)) {
        verdict->kind = VERDICT_EXPIRED;
        return true;
    }
    bool is_decided = verdict_by_type(verify, verdict, clock_unix_ms());
    ASSERT(is_decided);
    return true;
}

/* ---- asking ---- */

bool payloads_ask(struct work *work, uint32_t index)
{
    const char *expiry = verify_expiry_command(work->verify);
    return work_ask_both(work, index, "DUMP", NULL) && work_ask_both(work, index, expiry, NULL);
}

static bool expiry_fetch(struct work *work, struct verify_link *link, int64_t sent_ms, int64_t *at)
{
    int64_t ttl;
    if (!verify_fetch_integer(link, verify_expiry_command(work->verify), &ttl, work->err)) {
        return false;
    }
    *at = verify_expiry(work->verify, ttl, sent_ms);
    return true;
}

static void key_begin(struct work *work, uint32_t index)
{
    struct payloads *payloads = work->verify->payloads;
    const struct verify_key *key = &work->keys[index];
    payloads->key_hash = key_hash(key->bytes, key->size);
    /* A field that has expired at one side and is still kept at the other, or by the clock of one
     * only. */
    payloads->forget_ms = clock_unix_ms() + (int64_t)work->verify->config->ttl_tolerance_ms;
    rdb_content_forget(payloads->reader, payloads->forget_ms);
}

bool payloads_take(struct work *work, uint32_t index, int64_t sent_ms)
{
    struct verify *verify = work->verify;
    struct payloads *payloads = verify->payloads;
    struct verdict *verdict = &work->verdicts[index];
    struct verify_link *source = work_source(work, index);
    struct verify_link *destination = work_destination(work, index);
    key_begin(work, index);
    return payload_fetch(payloads, &payloads->source, &verify->source, source, work->err) &&
           expiry_fetch(work, source, sent_ms, &verdict->source_at) &&
           payload_fetch(
               payloads, &payloads->destination, &verify->destination, destination, work->err) &&
           expiry_fetch(work, destination, sent_ms, &verdict->destination_at) &&
           payloads_compare(work, index);
}

/* ---- a second look at large ones ---- */

struct dump_feed {
    struct work *work;
    uint32_t index;
    struct verify_link *link;
    struct rdb_payload_reader payload;
    const struct rdb_visitor *visitor;
    void *visitor_arg;
};

static void
on_dump_piece(void *arg, const uint8_t *bytes, size_t size, uint64_t offset, uint64_t total)
{
    struct dump_feed *feed = arg;
    struct payloads *payloads = feed->work->verify->payloads;
    if (offset == 0) {
        rdb_payload_begin(&feed->payload,
                          payloads->decoder,
                          total,
                          feed->link->is_valkey_rdb,
                          payloads->key_hash,
                          feed->visitor,
                          feed->visitor_arg);
    }
    rdb_payload_piece(&feed->payload, (struct slice){.bytes = bytes, .size = size});
}

static bool dump_show(void *arg,
                      const struct rdb_visitor *visitor,
                      void *visitor_arg,
                      bool *is_whole,
                      struct syn_err *err)
{
    struct dump_feed *feed = arg;
    feed->visitor = visitor;
    feed->visitor_arg = visitor_arg;
    if (!work_ask(feed->work, feed->index, feed->link, "DUMP", NULL)) {
        return false;
    }
    const struct control_sink sink = {.piece = on_dump_piece, .arg = feed};
    redisReply *reply;
    switch (control_fetch_bulk(&feed->link->control, &sink, &reply, err)) {
    case CONTROL_BULK_TEXT:
        break;
    case CONTROL_BULK_OTHER: /* gone meanwhile */
        freeReplyObject(reply);
        *is_whole = false;
        return true;
    case CONTROL_BULK_LOST:
        return false;
    }
    uint16_t version;
    *is_whole = rdb_payload_end(&feed->payload, &version, err);
    return *is_whole || err->code != SYN_CODE_MEMORY;
}

bool payloads_times(struct work *work, uint32_t index)
{
    key_begin(work, index);
    struct dump_feed from = {.work = work, .index = index, .link = work_source(work, index)};
    struct dump_feed to = {.work = work, .index = index, .link = work_destination(work, index)};
    const struct times_feed source = {.show = dump_show, .arg = &from};
    const struct times_feed destination = {.show = dump_show, .arg = &to};
    return times_settle(work, index, &source, &destination);
}
