/*
 * The elements of a blob. Private to rdb.
 *
 * Each encoding offers `next`, which reads the entry at blob->pos and checks it; the loops here
 * give the entries their shape (members, pairs, scores …). They are inlined into each encoding's
 * file, so that reading an entry costs no call.
 *
 * A blob is opened when it is whole. If the visitor pauses, slot 0 keeps the bytes and `pos` stays
 * behind the last element that was visited.
 */
#ifndef RDB_DECODE_BLOB_H
#define RDB_DECODE_BLOB_H

#include "rdb/decode_core.h"
#include "rdb/score.h"

#define ALWAYS_INLINE static inline __attribute__((always_inline))

enum entry {
    ENTRY_ONE, /* an element, and pos is behind it                            */
    ENTRY_END,
    ENTRY_BAD, /* blob->reason; pos is where                                  */
};

/* Fills all but the text of an integer. */
typedef enum entry entry_next(struct blob *blob, struct rdb_element *element);

/* Opens slot 0 as a blob; TAKE_OK also when it is open already. `open` checks the header and sets
 * pos and count. `per_element` is how many entries make one element. */
typedef bool blob_open(struct blob *blob);
enum take blob_begin(struct rdb_decoder *decoder, blob_open *open, unsigned per_element);
/* At ENTRY_END: checks the count. */
enum take blob_end(struct rdb_decoder *decoder);
/* The fault in blob->reason, at blob->pos. */
enum take blob_bad(struct rdb_decoder *decoder, const char *reason);

static inline enum entry entry_bad(struct blob *blob, const char *reason)
{
    blob->reason = reason;
    return ENTRY_BAD;
}

static inline bool open_bad(struct blob *blob, const char *reason)
{
    blob->reason = reason;
    return false;
}

static inline bool element_score(const struct rdb_element *element, double *score)
{
    if (element->is_integer) {
        *score = (double)element->integer;
        return true;
    }
    return score_read(element->bytes, element->size, score);
}

/* An entry that must be there because one of its element was. */
ALWAYS_INLINE enum take
blob_partner(struct rdb_decoder *decoder, struct rdb_element *element, entry_next *next)
{
    enum entry entry = next(&decoder->blob, element);
    if (LIKELY(entry == ENTRY_ONE)) {
        return TAKE_OK;
    }
    return entry == ENTRY_BAD ? blob_bad(decoder, decoder->blob.reason)
                              : blob_bad(decoder, "an odd number of entries");
}

ALWAYS_INLINE enum take blob_singles(struct rdb_decoder *decoder,
                                     entry_next *next,
                                     enum rdb_flow (*visit)(void *, const struct rdb_element *))
{
    char digits[NUM_DIGITS_MAX];
    struct rdb_element element;
    for (;;) {
        enum entry entry = next(&decoder->blob, &element);
        if (UNLIKELY(entry != ENTRY_ONE)) {
            return entry == ENTRY_END ? blob_end(decoder) : blob_bad(decoder, decoder->blob.reason);
        }
        element_finish(decoder, &element, digits);
        enum take take = take_flow(decoder, visit(decoder->arg, &element));
        if (UNLIKELY(take != TAKE_OK)) {
            return take;
        }
    }
}

/* The second entry of a sorted set's member is its score. */
ALWAYS_INLINE enum take blob_scored(struct rdb_decoder *decoder, entry_next *next)
{
    char digits[NUM_DIGITS_MAX];
    struct rdb_element member;
    struct rdb_element score_text = {0};
    double score;
    for (;;) {
        enum entry entry = next(&decoder->blob, &member);
        if (UNLIKELY(entry != ENTRY_ONE)) {
            return entry == ENTRY_END ? blob_end(decoder) : blob_bad(decoder, decoder->blob.reason);
        }
        size_t pos = decoder->blob.pos;
        enum take take = blob_partner(decoder, &score_text, next);
        if (UNLIKELY(take != TAKE_OK)) {
            return take;
        }
        if (UNLIKELY(!element_score(&score_text, &score))) {
            decoder->blob.pos = pos;
            return blob_bad(decoder, "a score that is no number");
        }
        element_finish(decoder, &member, digits);
        take = take_flow(decoder, decoder->visitor.zset(decoder->arg, &member, score));
        if (UNLIKELY(take != TAKE_OK)) {
            return take;
        }
    }
}

/* Redis keeps field expiry times in 48 bits (EB_EXPIRE_TIME_MAX, ebuckets.h of 7.4). */
#define FIELD_EXPIRY_MAX (((int64_t)1 << 48) - 1)

ALWAYS_INLINE enum take blob_fields(struct rdb_decoder *decoder, entry_next *next, bool has_expiry)
{
    char digits[2][NUM_DIGITS_MAX];
    struct rdb_element field;
    struct rdb_element value = {0};
    struct rdb_element expiry = {0};
    int64_t expire_ms = -1;
    for (;;) {
        enum entry entry = next(&decoder->blob, &field);
        if (UNLIKELY(entry != ENTRY_ONE)) {
            return entry == ENTRY_END ? blob_end(decoder) : blob_bad(decoder, decoder->blob.reason);
        }
        enum take take = blob_partner(decoder, &value, next);
        if (UNLIKELY(take != TAKE_OK)) {
            return take;
        }
        if (has_expiry) {
            size_t pos = decoder->blob.pos;
            take = blob_partner(decoder, &expiry, next);
            if (UNLIKELY(take != TAKE_OK)) {
                return take;
            }
            if (UNLIKELY(!expiry.is_integer || expiry.integer < 0 ||
                         expiry.integer > FIELD_EXPIRY_MAX)) {
                decoder->blob.pos = pos;
                return blob_bad(decoder, "a field's expiry time that is none");
            }
            expire_ms = expiry.integer == 0 ? -1 : expiry.integer;
        }
        element_finish(decoder, &field, digits[0]);
        element_finish(decoder, &value, digits[1]);
        take = take_flow(decoder, decoder->visitor.hash(decoder->arg, &field, &value, expire_ms));
        if (UNLIKELY(take != TAKE_OK)) {
            return take;
        }
    }
}

static inline unsigned shape_entries(enum shape shape)
{
    return shape == SHAPE_HASH_EXPIRING ? 3 : shape == SHAPE_LIST || shape == SHAPE_SET ? 1 : 2;
}

/* The whole blob, in the shape of its value. */
ALWAYS_INLINE enum take
blob_run(struct rdb_decoder *decoder, enum shape shape, blob_open *open, entry_next *next)
{
    enum take take = blob_begin(decoder, open, shape_entries(shape));
    if (UNLIKELY(take != TAKE_OK)) {
        return take;
    }
    switch (shape) {
    case SHAPE_LIST:
        return blob_singles(decoder, next, decoder->visitor.list);
    case SHAPE_SET:
        return blob_singles(decoder, next, decoder->visitor.set);
    case SHAPE_ZSET:
        return blob_scored(decoder, next);
    case SHAPE_HASH:
        return blob_fields(decoder, next, false);
    case SHAPE_HASH_EXPIRING:
        break;
    }
    return blob_fields(decoder, next, true);
}

#endif
