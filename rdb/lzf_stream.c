#include "rdb/lzf_stream.h"

#include <string.h>

#include "core/base/assert.h"

enum lzf_state { LZF_RUN, LZF_LENGTH, LZF_DISTANCE, LZF_LITERAL, LZF_COPY };

void lzf_stream_begin(struct lzf_stream *lzf, uint8_t *out, size_t capacity)
{
    *lzf = (struct lzf_stream){.out = out, .capacity = capacity, .state = LZF_RUN};
}

bool lzf_stream_may_end(const struct lzf_stream *lzf)
{
    return lzf->state == LZF_RUN;
}

void lzf_stream_slide(struct lzf_stream *lzf)
{
    if (lzf->pos > LZF_DISTANCE_MAX) {
        memmove(lzf->out, lzf->out + lzf->pos - LZF_DISTANCE_MAX, LZF_DISTANCE_MAX);
        lzf->pos = LZF_DISTANCE_MAX;
    }
}

static size_t smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* The head of a run; false when the input ends inside it. */
static bool take_head(struct lzf_stream *lzf, const uint8_t **at, const uint8_t *end)
{
    while (lzf->state < LZF_LITERAL) {
        if (*at == end) {
            return false;
        }
        uint8_t byte = *(*at)++;
        if (lzf->state == LZF_LENGTH) {
            lzf->run += byte;
            lzf->state = LZF_DISTANCE;
        } else if (lzf->state == LZF_DISTANCE) {
            lzf->distance = ((uint32_t)lzf->distance_high << 8 | byte) + 1;
            lzf->run += 2;
            lzf->state = LZF_COPY;
        } else if (byte < 32) {
            lzf->run = (uint32_t)byte + 1;
            lzf->state = LZF_LITERAL;
        } else {
            lzf->run = byte >> 5;
            lzf->distance_high = byte & 31;
            lzf->state = lzf->run == 7 ? LZF_LENGTH : LZF_DISTANCE;
        }
    }
    return true;
}

/* The copy may read what it has just written: then the text repeats with the distance as period,
 * and each part that is copied makes the next one that can be copied at once longer. */
static void copy_back(struct lzf_stream *lzf, size_t size)
{
    uint8_t *to = lzf->out + lzf->pos;
    const uint8_t *from = to - lzf->distance;
    lzf->pos += size;
    while (size > 0) {
        size_t part = smaller(size, (size_t)(to - from));
        memcpy(to, from, part);
        to += part;
        size -= part;
    }
}

enum lzf_status lzf_stream_feed(struct lzf_stream *lzf, const uint8_t **at, const uint8_t *end)
{
    while (take_head(lzf, at, end)) {
        size_t room = lzf->capacity - lzf->pos;
        size_t size = smaller(lzf->run, room);
        if (size == 0) {
            return LZF_FULL;
        }
        if (lzf->state == LZF_LITERAL) {
            size = smaller(size, (size_t)(end - *at));
            if (size == 0) {
                return LZF_INPUT;
            }
            memcpy(lzf->out + lzf->pos, *at, size);
            *at += size;
            lzf->pos += size;
        } else {
            if (lzf->distance > lzf->pos) {
                return LZF_BAD;
            }
            copy_back(lzf, size);
        }
        ASSERT_DEBUG(lzf->pos <= lzf->capacity);
        lzf->run -= (uint32_t)size;
        if (lzf->run == 0) {
            lzf->state = LZF_RUN;
        }
    }
    return LZF_INPUT;
}
