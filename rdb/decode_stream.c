/*
 * The nodes of streams: a key (the id that the node's entries count from) and a listpack:
 *
 *   count | deleted | n | n field names | 0                            the node's own names
 *   flags | ms | seq | [ n | n times field, value ] or [ values ] | m   an entry
 *
 * flags: 1 is deleted, 2 has the node's own names. ms and seq are added to the node's id, each half
 * for itself. m counts the listpack entries from flags up to before m. There are count + deleted
 * entries.
 */
#include "rdb/decode_listpack.h"

enum entry_flag { FLAG_DELETED = 1, FLAG_SAME_FIELDS = 2 };

/* The fields of an entry whose listpack entries have all been read once. */
struct node_fields {
    struct rdb_stream_fields base;
    struct blob names; /* unless has_own: names are among the values then */
    struct blob values;
    uint64_t left;
    bool has_own;
    bool wants_integers;
    char digits[2][NUM_DIGITS_MAX];
};

static void
field_read(struct node_fields *fields, struct blob *blob, struct rdb_element *element, char *digits)
{
    enum entry entry = listpack_next(blob, element);
    ASSERT(entry == ENTRY_ONE);
    if (element->is_integer && !fields->wants_integers) {
        element_spell(element, digits);
    }
}

static bool node_field_next(struct rdb_stream_fields *base,
                            struct rdb_element *field,
                            struct rdb_element *value)
{
    struct node_fields *fields = (struct node_fields *)base;
    if (fields->left == 0) {
        return false;
    }
    fields->left--;
    struct blob *names = fields->has_own ? &fields->values : &fields->names;
    field_read(fields, names, field, fields->digits[0]);
    field_read(fields, &fields->values, value, fields->digits[1]);
    return true;
}

/* An integer that must come now. */
static enum take next_integer(struct rdb_decoder *decoder, int64_t *value)
{
    struct blob *blob = &decoder->blob;
    struct rdb_element element;
    size_t pos = blob->pos;
    switch (listpack_next(blob, &element)) {
    case ENTRY_ONE:
        break;
    case ENTRY_END:
        return blob_bad(decoder, "a stream node that ends inside an entry");
    case ENTRY_BAD:
        return blob_bad(decoder, blob->reason);
    }
    if (!element.is_integer) {
        blob->pos = pos;
        return blob_bad(decoder, "a stream node with text where a number belongs");
    }
    *value = element.integer;
    return TAKE_OK;
}

/* The same, and not negative. */
static enum take next_count(struct rdb_decoder *decoder, uint64_t *value)
{
    size_t pos = decoder->blob.pos;
    int64_t integer = 0;
    enum take take = next_integer(decoder, &integer);
    if (take == TAKE_OK && integer < 0) {
        decoder->blob.pos = pos;
        return blob_bad(decoder, "a stream node with a negative count");
    }
    *value = (uint64_t)integer;
    return take;
}

/* Every entry takes at least two bytes, so a wrong count soon meets the end. */
static enum take pass_entries(struct rdb_decoder *decoder, uint64_t count)
{
    struct rdb_element element;
    for (uint64_t i = 0; i < count; i++) {
        enum entry entry = listpack_next(&decoder->blob, &element);
        if (UNLIKELY(entry != ENTRY_ONE)) {
            return entry == ENTRY_BAD
                       ? blob_bad(decoder, decoder->blob.reason)
                       : blob_bad(decoder, "a stream node that ends inside an entry");
        }
    }
    return TAKE_OK;
}

static enum take take_master(struct rdb_decoder *decoder)
{
    struct stream_state *stream = &decoder->stream;
    uint64_t deleted = 0;
    uint64_t count = 0;
    int64_t zero = 0;
    enum take take = next_count(decoder, &count);
    if (take == TAKE_OK) {
        take = next_count(decoder, &deleted);
    }
    if (take == TAKE_OK) {
        take = next_count(decoder, &stream->names_count);
    }
    if (take != TAKE_OK) {
        return take;
    }
    stream->names_pos = decoder->blob.pos;
    take = pass_entries(decoder, stream->names_count);
    size_t pos = decoder->blob.pos;
    if (take == TAKE_OK) {
        take = next_integer(decoder, &zero);
    }
    if (take != TAKE_OK) {
        return take;
    }
    if (zero != 0) {
        decoder->blob.pos = pos;
        return blob_bad(decoder, "a stream node whose own fields do not end with 0");
    }
    stream->entries_left = count + deleted; /* both below 2^63 */
    stream->has_master = true;
    return TAKE_OK;
}

/* The head of an entry, and its fields passed over: what a visit needs. */
struct entry_read {
    struct rdb_stream_id id;
    uint64_t field_count;
    struct blob values; /* stands at the first of the entry's own pieces */
    bool is_deleted;
    bool has_own;
};

static enum take take_fields(struct rdb_decoder *decoder, struct entry_read *entry)
{
    entry->field_count = decoder->stream.names_count;
    if (entry->has_own) {
        enum take take = next_count(decoder, &entry->field_count);
        if (take != TAKE_OK) {
            return take;
        }
    }
    entry->values = decoder->blob;
    /* A count above the blob's size cannot be right; the bound keeps the doubling from wrapping. */
    if (entry->field_count > decoder->blob.size) {
        return blob_bad(decoder, "a stream entry with more fields than its node has room for");
    }
    uint64_t pieces = entry->has_own ? 2 * entry->field_count : entry->field_count;
    enum take take = pass_entries(decoder, pieces);
    if (take != TAKE_OK) {
        return take;
    }
    size_t pos = decoder->blob.pos;
    uint64_t total = 0;
    take = next_count(decoder, &total);
    if (take == TAKE_OK && total != pieces + (entry->has_own ? 4 : 3)) {
        decoder->blob.pos = pos;
        return blob_bad(decoder, "a stream entry that misstates its own size");
    }
    return take;
}

static enum take take_entry(struct rdb_decoder *decoder, struct entry_read *entry)
{
    const struct rdb_stream_id *node = &decoder->stream.node_id;
    size_t pos = decoder->blob.pos;
    int64_t flags = 0;
    int64_t ms = 0;
    int64_t seq = 0;
    enum take take = next_integer(decoder, &flags);
    if (take == TAKE_OK && (flags & ~(int64_t)(FLAG_DELETED | FLAG_SAME_FIELDS)) != 0) {
        decoder->blob.pos = pos;
        return blob_bad(decoder, "a stream entry with unknown flags");
    }
    if (take == TAKE_OK) {
        take = next_integer(decoder, &ms);
    }
    if (take == TAKE_OK) {
        take = next_integer(decoder, &seq);
    }
    if (take != TAKE_OK) {
        return take;
    }
    entry->id.ms = node->ms + (uint64_t)ms;
    entry->id.seq = node->seq + (uint64_t)seq;
    struct rdb_stream_id *top = &decoder->stream.top_id;
    if (entry->id.ms < top->ms || (entry->id.ms == top->ms && entry->id.seq <= top->seq)) {
        decoder->blob.pos = pos;
        return blob_bad(decoder, "a stream entry whose id is not above the one before it");
    }
    *top = entry->id;
    entry->is_deleted = (flags & FLAG_DELETED) != 0;
    entry->has_own = (flags & FLAG_SAME_FIELDS) == 0;
    return take_fields(decoder, entry);
}

static enum take visit_entry(struct rdb_decoder *decoder, const struct entry_read *read)
{
    struct node_fields fields = {
        .base.next = node_field_next,
        .values = read->values,
        .left = read->field_count,
        .has_own = read->has_own,
        .wants_integers = decoder->visitor.wants_integers,
    };
    if (!read->has_own) {
        fields.names = read->values;
        fields.names.pos = decoder->stream.names_pos;
    }
    struct rdb_stream_entry entry = {
        .id = read->id,
        .field_count = read->field_count,
        .fields = &fields.base,
    };
    decoder->stream.entries_seen++;
    return take_flow(decoder, decoder->visitor.stream_entry(decoder->arg, &entry));
}

enum take stream_node_run(struct rdb_decoder *decoder)
{
    struct stream_state *stream = &decoder->stream;
    bool is_new = !decoder->is_blob_open;
    enum take take = blob_begin(decoder, listpack_open, 1);
    if (is_new) {
        stream->has_master = false;
    }
    if (take == TAKE_OK && !stream->has_master) {
        take = take_master(decoder);
    }
    while (take == TAKE_OK && stream->entries_left > 0) {
        struct entry_read entry = {0};
        take = take_entry(decoder, &entry);
        if (take != TAKE_OK) {
            break;
        }
        stream->entries_left--;
        if (!entry.is_deleted) {
            take = visit_entry(decoder, &entry);
        }
    }
    if (take != TAKE_OK) {
        return take;
    }
    struct blob *blob = &decoder->blob;
    if (blob->pos != blob->size - 1) {
        return blob_bad(decoder, "a stream node with more entries than it says");
    }
    return blob_end(decoder);
}
