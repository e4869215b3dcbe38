/*
 * LZF in pieces, for text that is too large, or arrives too slowly, to be decompressed in one call.
 * Private to rdb. No reference reaches back further than 8 KiB, so that much of the output is all
 * the memory that the decoder needs.
 *
 *   000lllll               l + 1 bytes as they are
 *   lllddddd dddddddd      l + 2 bytes (l from 1 to 6) from d + 1 bytes back
 *   111ddddd l dddddddd    l + 9 bytes from d + 1 bytes back
 */
#ifndef RDB_LZF_STREAM_H
#define RDB_LZF_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LZF_DISTANCE_MAX 8192

enum lzf_status {
    LZF_INPUT, /* all input was used                                       */
    LZF_FULL,  /* no room in `out`, and something to put there             */
    LZF_BAD,   /* a reference to before the first byte                     */
};

struct lzf_stream {
    uint8_t *out;    /* the last LZF_DISTANCE_MAX bytes before pos, or all, are the history */
    size_t pos;      /* where the next byte goes                                            */
    size_t capacity; /* of out; the owner may change it, and make room, between calls       */
    uint8_t state;
    uint8_t distance_high;
    uint32_t run;      /* bytes of the current run still to come */
    uint32_t distance; /* of the current reference               */
};

void lzf_stream_begin(struct lzf_stream *lzf, uint8_t *out, size_t capacity);
/* *at moves behind what was used. */
enum lzf_status lzf_stream_feed(struct lzf_stream *lzf, const uint8_t **at, const uint8_t *end);
/* Between two runs: where the data may end. */
bool lzf_stream_may_end(const struct lzf_stream *lzf);
/* Moves the history to the front, so that there is room behind it. */
void lzf_stream_slide(struct lzf_stream *lzf);

#endif
