/*
 * Each element becomes a number of 128 bits; ordered ones are chained, the others are added, which
 * no order changes. What an element consists of is hashed part by part, so that no two ways of
 * dividing the same bytes collide.
 */
#include "rdb/digest.h"

#define XXH_STATIC_LINKING_ONLY /* the state's size: it is allocated here */
#include <xxhash.h>

struct rdb_digest {
    XXH3_state_t text; /* of a string, or a module's body, in pieces */
    unsigned flags;
    enum rdb_kind kind;
    uint64_t count;
    XXH128_hash_t chain;  /* ordered elements                    */
    XXH128_hash_t sum;    /* the others                          */
    XXH128_hash_t parent; /* of the stream's group under way     */
    XXH128_hash_t consumer;
};

/* What is hashed for a part; one salt per role, so that roles do not mix. */
enum salt {
    SALT_TEXT = 1,
    SALT_PAIR,
    SALT_CHAIN,
    SALT_ENTRY,
    SALT_META,
    SALT_GROUP,
    SALT_PENDING,
    SALT_CONSUMER,
    SALT_OWNED,
    SALT_VALUE,
};

static XXH128_hash_t hash_words(const uint64_t *words, size_t count, enum salt salt)
{
    return XXH3_128bits_withSeed(words, count * sizeof(*words), salt);
}

static XXH128_hash_t hash_element(const struct rdb_element *element)
{
    return XXH3_128bits_withSeed(element->bytes, element->size, SALT_TEXT);
}

static XXH128_hash_t hash_join(XXH128_hash_t a, XXH128_hash_t b, uint64_t number, enum salt salt)
{
    uint64_t words[] = {a.low64, a.high64, b.low64, b.high64, number};
    return hash_words(words, sizeof(words) / sizeof(words[0]), salt);
}

static void add(struct rdb_digest *digest, XXH128_hash_t hash)
{
    digest->sum.low64 += hash.low64;
    digest->sum.high64 += hash.high64 + (digest->sum.low64 < hash.low64);
    digest->count++;
}

static void chain(struct rdb_digest *digest, XXH128_hash_t hash)
{
    digest->chain = hash_join(digest->chain, hash, 0, SALT_CHAIN);
    digest->count++;
}

/* ---- callbacks ---- */

static enum rdb_flow on_begin(void *arg, const struct rdb_value_begin *value)
{
    struct rdb_digest *digest = arg;
    digest->kind = value->kind;
    return RDB_GO;
}

static enum rdb_flow on_string(void *arg, struct slice piece, uint64_t offset, uint64_t total)
{
    struct rdb_digest *digest = arg;
    (void)offset, (void)total;
    XXH3_128bits_update(&digest->text, piece.bytes, piece.size);
    return RDB_GO;
}

static enum rdb_flow on_module(void *arg, const struct rdb_module *module, struct slice piece)
{
    struct rdb_digest *digest = arg;
    (void)module;
    XXH3_128bits_update(&digest->text, piece.bytes, piece.size);
    return RDB_GO;
}

static enum rdb_flow on_list(void *arg, const struct rdb_element *element)
{
    chain(arg, hash_element(element));
    return RDB_GO;
}

static enum rdb_flow on_set(void *arg, const struct rdb_element *member)
{
    add(arg, hash_element(member));
    return RDB_GO;
}

static enum rdb_flow on_hash(void *arg,
                             const struct rdb_element *field,
                             const struct rdb_element *value,
                             int64_t expire_ms)
{
    add(arg, hash_join(hash_element(field), hash_element(value), (uint64_t)expire_ms, SALT_PAIR));
    return RDB_GO;
}

static enum rdb_flow on_zset(void *arg, const struct rdb_element *member, double score)
{
    uint64_t bits;
    double positive = score == 0 ? 0 : score; /* -0 is 0 */
    memcpy(&bits, &positive, sizeof(bits));
    add(arg, hash_join(hash_element(member), (XXH128_hash_t){0}, bits, SALT_PAIR));
    return RDB_GO;
}

static XXH128_hash_t hash_entry(struct rdb_stream_id id, uint64_t pairs)
{
    uint64_t words[] = {id.ms, id.seq, pairs};
    return hash_words(words, 3, SALT_ENTRY);
}

static XXH128_hash_t hash_entry_pair(XXH128_hash_t entry,
                                     const struct rdb_element *field,
                                     const struct rdb_element *value)
{
    XXH128_hash_t pair = hash_join(hash_element(field), hash_element(value), 0, SALT_PAIR);
    return hash_join(entry, pair, 0, SALT_CHAIN);
}

static enum rdb_flow on_entry(void *arg, const struct rdb_stream_entry *entry)
{
    XXH128_hash_t hash = hash_entry(entry->id, entry->field_count);
    struct rdb_element field;
    struct rdb_element value;
    while (rdb_stream_field_next(entry->fields, &field, &value)) {
        hash = hash_entry_pair(hash, &field, &value);
    }
    chain(arg, hash);
    return RDB_GO;
}

void rdb_digest_stream_entry(struct rdb_digest *digest,
                             struct rdb_stream_id id,
                             const struct rdb_element *elements,
                             uint64_t pairs)
{
    XXH128_hash_t hash = hash_entry(id, pairs);
    for (uint64_t i = 0; i < pairs; i++) {
        hash = hash_entry_pair(hash, &elements[2 * i], &elements[2 * i + 1]);
    }
    chain(digest, hash);
}

static enum rdb_flow on_meta(void *arg, const struct rdb_stream_meta *meta)
{
    struct rdb_digest *digest = arg;
    uint64_t words[] = {meta->length, meta->last_id.ms, meta->last_id.seq, 0, 0, 0};
    if ((digest->flags & RDB_DIGEST_COUNTERS) != 0) {
        words[3] = meta->max_deleted_id.ms;
        words[4] = meta->max_deleted_id.seq;
        words[5] = meta->entries_added;
    }
    chain(digest, hash_words(words, 6, SALT_META));
    return RDB_GO;
}

static enum rdb_flow on_group(void *arg, const struct rdb_stream_group *group)
{
    struct rdb_digest *digest = arg;
    bool has_counters = (digest->flags & RDB_DIGEST_COUNTERS) != 0;
    uint64_t words[] = {
        group->last_id.ms, group->last_id.seq, has_counters ? (uint64_t)group->entries_read : 0};
    digest->parent = hash_element(&group->name);
    add(digest, hash_join(digest->parent, hash_words(words, 3, SALT_GROUP), 0, SALT_GROUP));
    return RDB_GO;
}

static enum rdb_flow on_pending(void *arg, const struct rdb_stream_pending *pending)
{
    struct rdb_digest *digest = arg;
    uint64_t words[] = {
        pending->id.ms, pending->id.seq, (uint64_t)pending->delivery_ms, pending->delivery_count};
    add(digest, hash_join(digest->parent, hash_words(words, 4, SALT_PENDING), 0, SALT_PENDING));
    return RDB_GO;
}

static enum rdb_flow on_consumer(void *arg, const struct rdb_stream_consumer *consumer)
{
    struct rdb_digest *digest = arg;
    uint64_t times[2] = {0, 0};
    if ((digest->flags & RDB_DIGEST_TIMES) != 0) {
        times[0] = (uint64_t)consumer->seen_ms;
        times[1] = (uint64_t)consumer->active_ms;
    }
    digest->consumer = hash_join(digest->parent, hash_element(&consumer->name), 0, SALT_CONSUMER);
    add(digest, hash_join(digest->consumer, hash_words(times, 2, SALT_CONSUMER), 0, SALT_CONSUMER));
    return RDB_GO;
}

static enum rdb_flow on_consumer_pending(void *arg, const struct rdb_stream_id *id)
{
    struct rdb_digest *digest = arg;
    uint64_t words[] = {id->ms, id->seq};
    add(digest, hash_join(digest->consumer, hash_words(words, 2, SALT_OWNED), 0, SALT_OWNED));
    return RDB_GO;
}

static const struct rdb_visitor digest_visitor = {
    .begin = on_begin,
    .string = on_string,
    .list = on_list,
    .set = on_set,
    .hash = on_hash,
    .zset = on_zset,
    .stream_entry = on_entry,
    .stream_meta = on_meta,
    .stream_group = on_group,
    .stream_pending = on_pending,
    .stream_consumer = on_consumer,
    .stream_consumer_pending = on_consumer_pending,
    .module = on_module,
};

/* ---- life ---- */

struct rdb_digest *rdb_digest_new(unsigned flags, struct syn_err *err)
{
    struct rdb_digest *digest =
        mem_alloc_aligned(MEM_RDB, _Alignof(struct rdb_digest), sizeof(struct rdb_digest));
    if (digest == NULL) {
        ERR(err, SYN_CODE_MEMORY, "no memory for a digest");
        return NULL;
    }
    XXH3_INITSTATE(&digest->text);
    digest->flags = flags;
    rdb_digest_begin(digest);
    return digest;
}

void rdb_digest_free(struct rdb_digest *digest)
{
    mem_free(MEM_RDB, digest);
}

void rdb_digest_begin(struct rdb_digest *digest)
{
    XXH3_128bits_reset_withSeed(&digest->text, SALT_TEXT);
    digest->kind = RDB_KIND_COUNT;
    digest->count = 0;
    digest->chain = (XXH128_hash_t){0};
    digest->sum = (XXH128_hash_t){0};
    digest->parent = (XXH128_hash_t){0};
    digest->consumer = (XXH128_hash_t){0};
}

const struct rdb_visitor *rdb_digest_visitor(void)
{
    return &digest_visitor;
}

struct rdb_digest_value rdb_digest_end(struct rdb_digest *digest)
{
    XXH128_hash_t text = {0};
    if (digest->kind == RDB_KIND_STRING || digest->kind == RDB_KIND_MODULE) {
        text = XXH3_128bits_digest(&digest->text);
    }
    uint64_t words[] = {digest->kind,
                        digest->count,
                        text.low64,
                        text.high64,
                        digest->chain.low64,
                        digest->chain.high64,
                        digest->sum.low64,
                        digest->sum.high64};
    XXH128_hash_t hash = hash_words(words, sizeof(words) / sizeof(words[0]), SALT_VALUE);
    return (struct rdb_digest_value){.low = hash.low64, .high = hash.high64};
}

bool rdb_payload_digest(struct rdb_decoder *decoder,
                        struct rdb_digest *digest,
                        struct slice payload,
                        struct rdb_digest_value *out,
                        struct syn_err *err)
{
    rdb_digest_begin(digest);
    if (!rdb_payload_decode(decoder, payload, 0, rdb_digest_visitor(), digest, err)) {
        return false;
    }
    *out = rdb_digest_end(digest);
    return true;
}
