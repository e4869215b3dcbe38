/*
 * Each element becomes a number of 128 bits in every part that it belongs to. They are added, which
 * no order changes; elements of lists with their place, and the entries of streams are chained.
 * What an element consists of is hashed part by part, so that no two ways of dividing the same
 * bytes collide; what belongs to a name is hashed with the name's number as its seed.
 */
#include "rdb/digest.h"

#include "rdb/digest_vectors.h"

#define XXH_STATIC_LINKING_ONLY /* the state's size: it is allocated here */
#include <xxhash.h>

struct rdb_digest {
    XXH3_state_t text; /* of a string in pieces */
    unsigned flags;
    int64_t forget_ms;
    struct rdb_content content; /* so far                          */
    XXH128_hash_t parent;       /* of the stream's group under way */
    XXH128_hash_t consumer;
    struct module_digest {
        struct vectors vectors;
        XXH128_hash_t items;   /* all of them, in order                             */
        XXH128_hash_t head;    /* of a vector set: what belongs to no element       */
        XXH128_hash_t element; /* of a vector set: the one under way                */
        struct rdb_digest_value elements;
    } of_module;
};

/* What is hashed for a part; one salt per role, so that roles do not mix. */
enum salt {
    SALT_TEXT = 1,
    SALT_PAIR,
    SALT_PLACE,
    SALT_CHAIN,
    SALT_ENTRY,
    SALT_META,
    SALT_GROUP,
    SALT_PENDING,
    SALT_CONSUMER,
    SALT_OWNED,
    SALT_EXPIRY,
    SALT_ITEM,
    SALT_VECTORS,
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

/* Ties bytes to what they belong to: the same bytes elsewhere are another number. */
static XXH128_hash_t hash_bytes(XXH128_hash_t of, const void *bytes, size_t size, enum salt salt)
{
    return XXH3_128bits_withSeed(bytes, size, (of.low64 ^ of.high64) + salt);
}

static XXH128_hash_t hash_number(XXH128_hash_t of, uint64_t number, enum salt salt)
{
    return hash_bytes(of, &number, sizeof(number), salt);
}

static XXH128_hash_t hash_id(XXH128_hash_t of, const struct rdb_stream_id *id, enum salt salt)
{
    return hash_bytes(of, id, sizeof(*id), salt);
}
_Static_assert(sizeof(struct rdb_stream_id) == 16, "an id is hashed as it lies in memory");

/* Two in this order. */
static XXH128_hash_t hash_join(XXH128_hash_t a, XXH128_hash_t b, enum salt salt)
{
    uint64_t words[] = {a.low64, a.high64, b.low64, b.high64};
    return hash_words(words, sizeof(words) / sizeof(words[0]), salt);
}

static void sum_add(struct rdb_digest_value *sum, XXH128_hash_t hash)
{
    uint64_t low = sum->low + hash.low64;
    sum->high += hash.high64 + (low < hash.low64);
    sum->low = low;
}

static void add(struct rdb_digest *digest, enum rdb_part part, XXH128_hash_t hash)
{
    sum_add(&digest->content.part[part], hash);
}

static void chain(struct rdb_digest *digest, enum rdb_part part, XXH128_hash_t hash)
{
    struct rdb_digest_value *value = &digest->content.part[part];
    XXH128_hash_t before = {.low64 = value->low, .high64 = value->high};
    hash = hash_join(before, hash, SALT_CHAIN);
    *value = (struct rdb_digest_value){.low = hash.low64, .high = hash.high64};
}

/* ---- callbacks ---- */

static enum rdb_flow on_begin(void *arg, const struct rdb_value_begin *value)
{
    struct rdb_digest *digest = arg;
    digest->content.kind = value->kind;
    if (value->module != NULL) {
        digest->content.module = *value->module;
        vectors_begin(&digest->of_module.vectors, value->module);
    }
    return RDB_GO;
}

static enum rdb_flow on_string(void *arg, struct slice piece, uint64_t offset, uint64_t total)
{
    struct rdb_digest *digest = arg;
    (void)offset, (void)total;
    XXH3_128bits_update(&digest->text, piece.bytes, piece.size);
    digest->content.count += piece.size;
    return RDB_GO;
}

/* ---- modules ---- */

static enum rdb_flow
on_module_item(void *arg, const struct rdb_module *module, const struct rdb_module_item *item)
{
    struct rdb_digest *digest = arg;
    struct module_digest *own = &digest->of_module;
    (void)module;
    digest->content.count++;
    uint64_t head[] = {item->kind, item->number};
    XXH128_hash_t hash = hash_words(head, 2, SALT_ITEM);
    if (item->kind == RDB_MODULE_STRING) {
        hash = hash_bytes(hash, item->text.bytes, item->text.size, SALT_ITEM);
    }
    own->items = hash_join(own->items, hash, SALT_CHAIN);
    switch (vectors_take(&own->vectors, item)) {
    case VECTORS_OF_ALL:
        own->head = hash_join(own->head, hash, SALT_CHAIN);
        break;
    case VECTORS_OF_ELEMENT:
        own->element = hash_join(own->element, hash, SALT_CHAIN);
        break;
    case VECTORS_ENDS_ELEMENT:
        sum_add(&own->elements, hash_join(own->element, hash, SALT_CHAIN));
        own->element = (XXH128_hash_t){0};
        break;
    case VECTORS_OF_GRAPH:
        break;
    }
    return RDB_GO;
}

static void module_finish(struct rdb_digest *digest)
{
    const struct module_digest *own = &digest->of_module;
    XXH128_hash_t hash = own->items;
    if (vectors_end(&own->vectors)) {
        XXH128_hash_t elements = {.low64 = own->elements.low, .high64 = own->elements.high};
        hash = hash_join(own->head, elements, SALT_VECTORS);
    }
    hash = hash_number(hash, digest->content.module.id, SALT_ITEM);
    digest->content.part[RDB_PART_ELEMENTS] =
        (struct rdb_digest_value){.low = hash.low64, .high = hash.high64};
}

/* ---- collections ---- */

static enum rdb_flow on_list(void *arg, const struct rdb_element *element)
{
    struct rdb_digest *digest = arg;
    XXH128_hash_t hash = hash_element(element);
    add(digest, RDB_PART_ELEMENTS, hash);
    add(digest, RDB_PART_ORDER, hash_number(hash, digest->content.count, SALT_PLACE));
    digest->content.count++;
    return RDB_GO;
}

static enum rdb_flow on_set(void *arg, const struct rdb_element *member)
{
    struct rdb_digest *digest = arg;
    add(digest, RDB_PART_ELEMENTS, hash_element(member));
    digest->content.count++;
    return RDB_GO;
}

static enum rdb_flow on_hash(void *arg,
                             const struct rdb_element *field,
                             const struct rdb_element *value,
                             int64_t expire_ms)
{
    struct rdb_digest *digest = arg;
    if (expire_ms >= 0 && expire_ms <= digest->forget_ms) {
        digest->content.gone++;
        return RDB_GO;
    }
    XXH128_hash_t name = hash_element(field);
    add(digest, RDB_PART_ELEMENTS, name);
    add(digest, RDB_PART_VALUES, hash_bytes(name, value->bytes, value->size, SALT_PAIR));
    if (expire_ms >= 0) {
        add(digest, RDB_PART_EXPIRIES, hash_number(name, (uint64_t)expire_ms, SALT_EXPIRY));
        digest->content.expiring++;
    }
    digest->content.count++;
    return RDB_GO;
}

static enum rdb_flow on_zset(void *arg, const struct rdb_element *member, double score)
{
    struct rdb_digest *digest = arg;
    uint64_t bits;
    double positive = score == 0 ? 0 : score; /* -0 is 0 */
    memcpy(&bits, &positive, sizeof(bits));
    XXH128_hash_t name = hash_element(member);
    add(digest, RDB_PART_ELEMENTS, name);
    add(digest, RDB_PART_SCORES, hash_number(name, bits, SALT_PAIR));
    digest->content.count++;
    return RDB_GO;
}

static enum rdb_flow on_entry(void *arg, const struct rdb_stream_entry *entry)
{
    struct rdb_digest *digest = arg;
    uint64_t words[] = {entry->id.ms, entry->id.seq, entry->field_count};
    XXH128_hash_t hash = hash_words(words, 3, SALT_ENTRY);
    struct rdb_element field;
    struct rdb_element value;
    while (rdb_stream_field_next(entry->fields, &field, &value)) {
        XXH128_hash_t pair = hash_bytes(hash_element(&field), value.bytes, value.size, SALT_PAIR);
        hash = hash_join(hash, pair, SALT_CHAIN);
    }
    chain(digest, RDB_PART_ELEMENTS, hash);
    digest->content.count++;
    return RDB_GO;
}

static enum rdb_flow on_meta(void *arg, const struct rdb_stream_meta *meta)
{
    struct rdb_digest *digest = arg;
    XXH128_hash_t none = {0};
    chain(digest, RDB_PART_ELEMENTS, hash_number(none, meta->length, SALT_META));
    add(digest, RDB_PART_LAST_ID, hash_id(none, &meta->last_id, SALT_META));
    add(digest, RDB_PART_DELETED_ID, hash_id(none, &meta->max_deleted_id, SALT_META));
    add(digest, RDB_PART_ADDED, hash_number(none, meta->entries_added, SALT_META));
    digest->content.has_counters = meta->has_counters;
    return RDB_GO;
}

static enum rdb_flow on_group(void *arg, const struct rdb_stream_group *group)
{
    struct rdb_digest *digest = arg;
    digest->parent = hash_element(&group->name);
    add(digest, RDB_PART_GROUPS, hash_number(digest->parent, 0, SALT_GROUP));
    add(digest, RDB_PART_DELIVERED_ID, hash_id(digest->parent, &group->last_id, SALT_GROUP));
    add(digest,
        RDB_PART_READ,
        hash_number(digest->parent, (uint64_t)group->entries_read, SALT_GROUP));
    digest->content.has_unknown_reads |= group->entries_read < 0;
    return RDB_GO;
}

static enum rdb_flow on_pending(void *arg, const struct rdb_stream_pending *pending)
{
    struct rdb_digest *digest = arg;
    XXH128_hash_t hash = hash_id(digest->parent, &pending->id, SALT_PENDING);
    add(digest, RDB_PART_PENDING, hash);
    add(digest, RDB_PART_DELIVERIES, hash_number(hash, pending->delivery_count, SALT_PENDING));
    add(digest,
        RDB_PART_DELIVERY_TIMES,
        hash_number(hash, (uint64_t)pending->delivery_ms, SALT_PENDING));
    return RDB_GO;
}

static enum rdb_flow on_consumer(void *arg, const struct rdb_stream_consumer *consumer)
{
    struct rdb_digest *digest = arg;
    digest->consumer =
        hash_bytes(digest->parent, consumer->name.bytes, consumer->name.size, SALT_CONSUMER);
    add(digest, RDB_PART_CONSUMERS, digest->consumer);
    struct rdb_stream_id times = {.ms = (uint64_t)consumer->seen_ms,
                                  .seq = (uint64_t)consumer->active_ms};
    add(digest, RDB_PART_TIMES, hash_id(digest->consumer, &times, SALT_CONSUMER));
    return RDB_GO;
}

static enum rdb_flow on_consumer_pending(void *arg, const struct rdb_stream_id *id)
{
    struct rdb_digest *digest = arg;
    add(digest, RDB_PART_OWNERS, hash_id(digest->consumer, id, SALT_OWNED));
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
    .module_item = on_module_item,
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
    digest->forget_ms = -1;
    rdb_digest_begin(digest);
    return digest;
}

void rdb_digest_free(struct rdb_digest *digest)
{
    mem_free(MEM_RDB, digest);
}

void rdb_digest_forget(struct rdb_digest *digest, int64_t now_ms)
{
    digest->forget_ms = now_ms;
}

void rdb_digest_begin(struct rdb_digest *digest)
{
    XXH3_128bits_reset_withSeed(&digest->text, SALT_TEXT);
    digest->content = (struct rdb_content){.kind = RDB_KIND_COUNT};
    digest->parent = (XXH128_hash_t){0};
    digest->consumer = (XXH128_hash_t){0};
    digest->of_module = (struct module_digest){.vectors.state = VECTORS_UNKNOWN};
}

const struct rdb_visitor *rdb_digest_visitor(void)
{
    return &digest_visitor;
}

/* What is not made part by part becomes one. */
static void finish(struct rdb_digest *digest)
{
    if (digest->content.kind == RDB_KIND_STRING) {
        XXH128_hash_t text = XXH3_128bits_digest(&digest->text);
        digest->content.part[RDB_PART_ELEMENTS] =
            (struct rdb_digest_value){.low = text.low64, .high = text.high64};
    } else if (digest->content.kind == RDB_KIND_MODULE) {
        module_finish(digest);
    }
}

void rdb_digest_content(struct rdb_digest *digest, struct rdb_content *out)
{
    finish(digest);
    *out = digest->content;
}

/* What `flags` leave out. */
static bool is_left_out(enum rdb_part part, unsigned flags)
{
    switch (part) {
    case RDB_PART_TIMES:
        return (flags & RDB_DIGEST_TIMES) == 0;
    case RDB_PART_DELETED_ID:
    case RDB_PART_ADDED:
    case RDB_PART_READ:
        return (flags & RDB_DIGEST_COUNTERS) == 0;
    default:
        return false;
    }
}

struct rdb_digest_value rdb_digest_end(struct rdb_digest *digest)
{
    finish(digest);
    const struct rdb_content *content = &digest->content;
    uint64_t words[2 + 2 * RDB_PART_COUNT];
    words[0] = content->kind;
    words[1] = content->count;
    /* Only streams have the later parts: a third of the words, and no long form of the hash. */
    unsigned count = content->kind == RDB_KIND_STREAM ? RDB_PART_COUNT : RDB_PART_LAST_ID;
    for (unsigned part = 0; part < count; part++) {
        bool is_out = is_left_out((enum rdb_part)part, digest->flags);
        words[2 + 2 * part] = is_out ? 0 : content->part[part].low;
        words[3 + 2 * part] = is_out ? 0 : content->part[part].high;
    }
    XXH128_hash_t hash = hash_words(words, 2 + 2 * count, SALT_VALUE);
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
