/*
 * Refusals: snapshot operations that the destination answered without doing them.
 *
 * The lane notes them in their records (op.refusal) and goes on, for what is refused is this value
 * and nothing else. When the batch comes back its decoder still has the bytes, and the stream that
 * wrote them deals with it:
 *
 *   - A RESTORE whose payload lies in the batch is kept, and mended as soon as the stream is
 * between two values: the value is decoded here. If it is whole, the destination refused it for
 * reasons of its own (a limit, an encoding that it checks more strictly, a version that a proxy's
 * next server has not), and it is written as ordinary commands; after a refused RDB version, the
 *     stream rewrites all later values of that type at once. If it is damaged, --on-corrupt says
 *     what becomes of it.
 *   - A RESTORE larger than a batch is gone by then, and so is what exceeds the bound below. It
 *     cannot be told whether such a value is damaged: by --on-corrupt the task stops, or the value
 *     is a loss with that reason. To keep every large value until it is answered would take as much
 *     memory again as the largest; it can be had by hand, from the record of losses.
 *   - An XCLAIM with which a rewritten stream's pending entries are made answers with those that
 * are pending now. What is missing has no entry any more, which the snapshot does not tell: a loss
 *     (degraded), like those that are known before.
 *   - Where RESTORE carries no expiry (before 5.0) a value cannot be written again from its payload
 *     alone, and counts as gone.
 *
 * Nothing of a refused value is at the destination: RESTORE does all or nothing, and over existing
 * data with --on-corrupt skip a DEL goes before each.
 *
 * Order: the mended value's commands come later than the RESTORE would have. Nothing may overtake
 * them, so a stream's live commands begin when its RESTOREs are answered and mended
 * (snapshot_settle).
 *
 * Threads:   the decoder.
 * Limits:    REFUSAL_BATCHES batches' worth of bytes per decoder.
 */
#ifndef APPLY_REFUSAL_H
#define APPLY_REFUSAL_H

#include "apply/batch.h"
#include "rdb/rdb.h"

#define REFUSAL_BATCHES 4

struct router;
struct stream;

/* A RESTORE that is to be mended. */
struct refusal {
    struct refusal *next;
    uint64_t offset; /* of the value in the snapshot */
    uint32_t db;
    uint32_t lane;
    uint16_t slot;
    uint8_t refusal; /* enum op_refusal */
    size_t size;
    uint8_t bytes[]; /* the whole command */
};

/* What a large operation was about, until it is answered: its batch does not hold its beginning. */
struct parcel {
    struct parcel *next;
    uint64_t seq; /* of the batch with its record */
    uint32_t db;
    uint8_t type;
    size_t key_size;
    uint8_t key[];
};

/* The words of a RESTORE, or of any command with a key. */
struct restore_words {
    struct slice key;
    int64_t expire_ms; /* -1: none */
    struct slice payload;
    size_t size; /* of the command */
};
/* False: it is none, or not whole. */
bool restore_read(const uint8_t *bytes, size_t size, struct restore_words *words);

/* A batch came back with refusals: router.c. */
void refusals_take(struct router *router, uint32_t lane, const struct batch *batch);

/* The operation just written to the lane began in an earlier batch: its key is remembered, if
 * anybody might ask. */
void parcel_note(struct stream *stream, uint32_t lane);
/* Those that were answered. */
void parcels_trim(struct stream *stream);

/* The first refusal to be mended; freed with refusal_free. NULL: none. */
struct refusal *refusal_pop(struct stream *stream);
void refusal_free(struct stream *stream, struct refusal *refusal);
/* All, with the parcels. */
void refusals_drop(struct stream *stream);

#endif
