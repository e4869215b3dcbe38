#include "rdb/decode_blob.h"

enum take blob_begin(struct rdb_decoder *decoder, blob_open *open, unsigned per_element)
{
    struct blob *blob = &decoder->blob;
    struct slice bytes = slot_bytes(&decoder->slot[0]);
    if (decoder->is_blob_open) {
        /* After a pause: the bytes may have moved from the window to the slot. */
        ASSERT(bytes.size == blob->size);
        blob->bytes = bytes.bytes;
        return TAKE_OK;
    }
    *blob = (struct blob){.bytes = bytes.bytes, .size = bytes.size, .count = RDB_UNKNOWN};
    if (!open(blob)) {
        return blob_bad(decoder, blob->reason);
    }
    ASSERT_DEBUG(blob->pos <= blob->size);
    decoder->is_blob_open = true;
    if (decoder->has_begun) {
        return TAKE_OK;
    }
    uint64_t count = blob->count == RDB_UNKNOWN ? RDB_UNKNOWN : blob->count / per_element;
    return visit_begin(decoder, count, blob->size);
}

enum take blob_end(struct rdb_decoder *decoder)
{
    const struct blob *blob = &decoder->blob;
    if (blob->count != RDB_UNKNOWN && blob->count != blob->seen) {
        return blob_bad(decoder, "a blob with another number of entries than its header says");
    }
    decoder->is_blob_open = false;
    return TAKE_OK;
}

enum take blob_bad(struct rdb_decoder *decoder, const char *reason)
{
    const struct text_slot *slot = &decoder->slot[0];
    decoder->is_blob_open = false;
    if (!slot->is_compressed) {
        return take_bad_at(decoder, slot->offset + decoder->blob.pos, reason);
    }
    decoder->fault.inside = decoder->blob.pos;
    return take_bad_at(decoder, slot->offset, reason);
}
