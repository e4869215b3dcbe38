#include "rdb/content.h"

#include <stdio.h>
#include <string.h>

#include <xxhash.h>

struct rdb_content_reader {
    struct rdb_decoder *decoder;
    struct rdb_digest *digest;
    struct rdb_payload_reader payload;
};

struct rdb_content_reader *rdb_content_reader_new(size_t item_bytes_max, struct syn_err *err)
{
    struct rdb_content_reader *reader = mem_calloc(MEM_RDB, sizeof(*reader));
    if (reader == NULL) {
        ERR(err, SYN_CODE_MEMORY, "no memory for a reader of values");
        return NULL;
    }
    reader->decoder = rdb_decoder_new(item_bytes_max, err);
    if (reader->decoder != NULL) {
        reader->digest = rdb_digest_new(0, err);
    }
    if (reader->digest == NULL) {
        rdb_content_reader_free(reader);
        return NULL;
    }
    return reader;
}

void rdb_content_reader_free(struct rdb_content_reader *reader)
{
    if (reader == NULL) {
        return;
    }
    rdb_decoder_free(reader->decoder);
    rdb_digest_free(reader->digest);
    mem_free(MEM_RDB, reader);
}

void rdb_content_forget(struct rdb_content_reader *reader, int64_t now_ms)
{
    rdb_digest_forget(reader->digest, now_ms);
}

struct rdb_digest *rdb_content_digest(struct rdb_content_reader *reader)
{
    rdb_digest_begin(reader->digest);
    return reader->digest;
}

/* ---- payloads ---- */

void rdb_content_begin(struct rdb_content_reader *reader,
                       uint64_t size,
                       bool is_valkey,
                       uint64_t key_hash)
{
    rdb_digest_begin(reader->digest);
    rdb_payload_begin(&reader->payload,
                      reader->decoder,
                      size,
                      is_valkey,
                      key_hash,
                      rdb_digest_visitor(),
                      reader->digest);
}

void rdb_content_piece(struct rdb_content_reader *reader, struct slice piece)
{
    rdb_payload_piece(&reader->payload, piece);
}

/* `version` is 0 when size or checksum are wrong already. */
static enum rdb_verdict
verdict_of(const struct rdb_content_reader *reader, uint16_t version, struct syn_err *err)
{
    const struct rdb_payload_reader *payload = &reader->payload;
    if (err->code == SYN_CODE_MEMORY) {
        return RDB_VERDICT_FAILED;
    }
    /* First, and not only where the decoder puts it: messages may be cut. */
    err_context(err, "key hash %016llx", (unsigned long long)payload->key_hash);
    if (version == 0 || payload->status != RDB_DECODE_ERROR) {
        return RDB_VERDICT_DAMAGED;
    }
    if (rdb_type_kind(payload->type, payload->is_valkey) == RDB_KIND_COUNT) {
        return RDB_VERDICT_UNKNOWN;
    }
    return rdb_decoder_is_over_limit(reader->decoder) ? RDB_VERDICT_TOO_LARGE : RDB_VERDICT_DAMAGED;
}

enum rdb_verdict
rdb_content_end(struct rdb_content_reader *reader, struct rdb_content *out, struct syn_err *err)
{
    uint16_t version = 0;
    bool is_read = rdb_payload_end(&reader->payload, &version, err);
    rdb_digest_content(reader->digest, out);
    out->type = reader->payload.type;
    out->is_valkey = reader->payload.is_valkey;
    out->version = version;
    return is_read ? RDB_VERDICT_READ : verdict_of(reader, version, err);
}

enum rdb_verdict rdb_content_read(struct rdb_content_reader *reader,
                                  struct slice payload,
                                  uint64_t key_hash,
                                  struct rdb_content *out,
                                  struct syn_err *err)
{
    rdb_content_begin(reader, payload.size, rdb_payload_is_valkey(payload), key_hash);
    rdb_content_piece(reader, payload);
    return rdb_content_end(reader, out, err);
}

bool rdb_payload_is_same(struct slice a, struct slice b)
{
    return a.size == b.size && a.size >= RDB_FOOTER_SIZE + 2 &&
           (a.bytes[0] < RDB_TYPE_HASH_METADATA_PRE_GA ||
            rdb_payload_is_valkey(a) == rdb_payload_is_valkey(b)) &&
           memcmp(a.bytes, b.bytes, a.size - RDB_FOOTER_SIZE) == 0;
}

/* ---- comparing ---- */

#define BIT(part) (1u << (part))

/* The parts that both can have. */
static unsigned
comparable(const struct rdb_content *a, const struct rdb_content *b, unsigned detail)
{
    unsigned parts = BIT(RDB_PART_COUNT) - 1;
    if (!a->has_counters || !b->has_counters) {
        parts &= ~(BIT(RDB_PART_DELETED_ID) | BIT(RDB_PART_ADDED) | BIT(RDB_PART_READ) |
                   BIT(RDB_PART_CONSUMERS));
    }
    if (a->has_unknown_reads || b->has_unknown_reads) {
        parts &= ~BIT(RDB_PART_READ);
    }
    if ((detail & RDB_DETAIL_EXPIRIES) == 0) {
        parts &= ~BIT(RDB_PART_EXPIRIES);
    }
    if ((detail & RDB_DETAIL_TIMES) == 0) {
        parts &= ~(BIT(RDB_PART_DELIVERY_TIMES) | BIT(RDB_PART_TIMES));
    }
    return parts;
}

unsigned
rdb_content_compare(const struct rdb_content *a, const struct rdb_content *b, unsigned detail)
{
    ASSERT(a->kind == b->kind);
    unsigned parts = 0;
    for (unsigned part = 0; part < RDB_PART_COUNT; part++) {
        const struct rdb_digest_value *of_a = &a->part[part];
        const struct rdb_digest_value *of_b = &b->part[part];
        if (of_a->low != of_b->low || of_a->high != of_b->high) {
            parts |= BIT(part);
        }
    }
    return parts & comparable(a, b, detail);
}

struct rdb_digest_value rdb_content_number(const struct rdb_content *content, unsigned detail)
{
    unsigned parts = comparable(content, content, detail);
    uint64_t words[1 + 2 * RDB_PART_COUNT] = {content->kind};
    for (unsigned part = 0; part < RDB_PART_COUNT; part++) {
        if ((parts & BIT(part)) != 0) {
            words[1 + 2 * part] = content->part[part].low;
            words[2 + 2 * part] = content->part[part].high;
        }
    }
    XXH128_hash_t hash = XXH3_128bits(words, sizeof(words));
    return (struct rdb_digest_value){.low = hash.low64, .high = hash.high64};
}

/* Where these differ, those do too, which says no more. */
static unsigned without_consequences(unsigned parts)
{
    static const struct {
        enum rdb_part cause;
        unsigned consequences;
    } rules[] = {
        {RDB_PART_ELEMENTS,
         BIT(RDB_PART_ORDER) | BIT(RDB_PART_VALUES) | BIT(RDB_PART_EXPIRIES) |
             BIT(RDB_PART_SCORES)},
        {RDB_PART_GROUPS,
         BIT(RDB_PART_DELIVERED_ID) | BIT(RDB_PART_READ) | BIT(RDB_PART_PENDING) |
             BIT(RDB_PART_OWNERS) | BIT(RDB_PART_DELIVERIES) | BIT(RDB_PART_DELIVERY_TIMES) |
             BIT(RDB_PART_CONSUMERS) | BIT(RDB_PART_TIMES)},
        {RDB_PART_PENDING,
         BIT(RDB_PART_OWNERS) | BIT(RDB_PART_DELIVERIES) | BIT(RDB_PART_DELIVERY_TIMES)},
        {RDB_PART_CONSUMERS, BIT(RDB_PART_TIMES)},
    };
    for (size_t i = 0; i < sizeof(rules) / sizeof(rules[0]); i++) {
        if ((parts & BIT(rules[i].cause)) != 0) {
            parts &= ~rules[i].consequences;
        }
    }
    return parts;
}

static const char *part_name(enum rdb_kind kind, enum rdb_part part)
{
    static const char *const elements[RDB_KIND_COUNT] = {
        [RDB_KIND_STRING] = "bytes",
        [RDB_KIND_LIST] = "elements",
        [RDB_KIND_SET] = "members",
        [RDB_KIND_ZSET] = "members",
        [RDB_KIND_HASH] = "fields",
        [RDB_KIND_STREAM] = "entries",
        [RDB_KIND_MODULE] = "items",
    };
    static const char *const names[RDB_PART_COUNT] = {
        [RDB_PART_ORDER] = "order of elements",
        [RDB_PART_VALUES] = "values of fields",
        [RDB_PART_EXPIRIES] = "expiry times of fields",
        [RDB_PART_SCORES] = "scores",
        [RDB_PART_LAST_ID] = "last id",
        [RDB_PART_DELETED_ID] = "max-deleted-id",
        [RDB_PART_ADDED] = "entries-added",
        [RDB_PART_GROUPS] = "groups",
        [RDB_PART_DELIVERED_ID] = "last-delivered ids of groups",
        [RDB_PART_READ] = "entries-read of groups",
        [RDB_PART_PENDING] = "pending entries",
        [RDB_PART_OWNERS] = "owners of pending entries",
        [RDB_PART_DELIVERIES] = "delivery counts of pending entries",
        [RDB_PART_DELIVERY_TIMES] = "delivery times of pending entries",
        [RDB_PART_CONSUMERS] = "consumers",
        [RDB_PART_TIMES] = "times of consumers",
    };
    return part == RDB_PART_ELEMENTS ? elements[kind] : names[part];
}

void rdb_content_describe(enum rdb_kind kind, unsigned parts, char *out, size_t out_size)
{
    ASSERT(kind < RDB_KIND_COUNT);
    ASSERT(out_size > 0);
    size_t used = 0;
    out[0] = '\0';
    parts = without_consequences(parts);
    for (unsigned part = 0; part < RDB_PART_COUNT && used < out_size; part++) {
        if ((parts & BIT(part)) != 0) {
            int size = snprintf(out + used,
                                out_size - used,
                                "%s%s",
                                used > 0 ? ", " : "",
                                part_name(kind, (enum rdb_part)part));
            used += size > 0 ? (size_t)size : 0;
        }
    }
}
