/*
 * Answers: replies of the destination that go back to a decoder.
 *
 * An operation of kind OP_ASK names a record here. The lane fills the record with the reply, and
 * when the last answer that an owner waits for is there, the owner goes to the decoder's ring. What
 * is asked, and what becomes of it, is relay.h's.
 *
 * Threads:   answer_take, answer_give and the counts: the decoder. answer_room and answer_deliver:
 *            the applier whose lane has the operation, between the push of its batch and the push
 * of the owner. answers_pop: the decoder. Ownership: a record is the lane's from the push of its
 * batch until it is delivered, else the decoder's. Bytes that do not fit in the record are
 * allocated by the lane and freed with answer_give. Limits:    `count` records; ANSWER_INLINE bytes
 * in each; beyond that at most bytes_max for all of them together. An answer that does not fit is
 * ANSWER_LARGE: its size is known, its bytes are gone.
 */
#ifndef APPLY_ANSWER_H
#define APPLY_ANSWER_H

#include "rdb/rdb.h"

/* A DUMP of a string, or of a small set, hash or list, and nearly every list element. */
#define ANSWER_INLINE 232

enum answer_kind { ANSWER_NIL, ANSWER_INTEGER, ANSWER_BYTES, ANSWER_LARGE };

/* Who waits for answers. */
struct answer_wait {
    /* Answers to come. W: the decoder before the first operation is written; then lanes, acq_rel,
     * so that the last one, and the decoder behind it, sees what the others wrote. */
    _Atomic uint32_t pending;
    void *owner; /* what answers_pop gives */
};

struct answer {
    struct answer *next; /* the decoder's: free list, or the owner's list */
    struct answer_wait *wait;
    uint64_t charge;  /* the decoder's: what it is expected to need         */
    uint8_t kind;     /* enum answer_kind, valid once delivered             */
    int64_t integer;  /* ANSWER_INTEGER                                     */
    uint64_t time_ms; /* ANSWER_INTEGER: monotonic, when it arrived         */
    uint64_t size;    /* ANSWER_BYTES, ANSWER_LARGE                         */
    uint8_t *bytes;   /* inline_bytes, allocated, or NULL: there is no room */
    uint8_t inline_bytes[ANSWER_INLINE];
};

struct answers {
    struct answer *records;
    uint32_t count;
    uint32_t free_count;
    struct answer *free;
    struct ring done; /* mpsc, appliers to decoder: owners without pending answers */
    struct waker *decoder;
    uint64_t bytes_max;
    /* Allocated for answers. W: lanes, decoder. R: any. Relaxed: only its bound matters. */
    _Atomic uint64_t bytes;
};

/* owners: at most so many have answers to come at any time. */
MUST_CHECK bool answers_init(struct answers *answers,
                             uint32_t count,
                             uint32_t owners,
                             uint64_t bytes_max,
                             struct waker *decoder,
                             struct syn_err *err);
/* After the appliers stopped; a zeroed one is allowed. Frees the bytes of every record. */
void answers_deinit(struct answers *answers);

/* A record for one more answer of `wait`; NULL when none is free. */
struct answer *answer_take(struct answers *answers, struct answer_wait *wait);
void answer_give(struct answers *answers, struct answer *answer);
/* What op.answer is for it. */
static inline uint32_t answer_number(const struct answers *answers, const struct answer *answer)
{
    return (uint32_t)(answer - answers->records);
}

/* Where the `size` bytes of a bulk go; NULL: there is no room, they are to be passed over. */
uint8_t *answer_room(struct answers *answers, uint32_t number, uint64_t size);
/* The reply is complete. */
void answer_deliver(struct answers *answers, uint32_t number, const struct reply *reply);

/* Whether lanes had better wait a while: the decoder means to keep answers within half of what they
 * may take, and beyond it some were larger than it thought. */
static inline bool answers_are_crowded(const struct answers *answers)
{
    return atomic_load_relaxed(&answers->bytes) > answers->bytes_max / 2;
}

/* An owner all of whose answers are there; NULL: none. */
static inline void *answers_pop(struct answers *answers)
{
    return ring_mpsc_pop(&answers->done);
}
static inline bool answers_are_ready(const struct answers *answers)
{
    return ring_count(&answers->done) > 0;
}

#endif
