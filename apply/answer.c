#include "apply/answer.h"

#include <string.h>

bool answers_init(struct answers *answers,
                  uint32_t count,
                  uint32_t owners,
                  uint64_t bytes_max,
                  struct waker *decoder,
                  struct syn_err *err)
{
    memset(answers, 0, sizeof(*answers));
    answers->records = mem_calloc(MEM_APPLY, count * sizeof(struct answer));
    if (answers->records == NULL) {
        return ERR(err, SYN_CODE_MEMORY, "out of memory for %u answers", count);
    }
    answers->count = count;
    answers->bytes_max = bytes_max;
    answers->decoder = decoder;
    for (uint32_t i = 0; i < count; i++) {
        answer_give(answers, &answers->records[i]);
    }
    return ring_init(&answers->done, owners, err);
}

void answers_deinit(struct answers *answers)
{
    for (uint32_t i = 0; i < answers->count; i++) {
        struct answer *answer = &answers->records[i];
        if (answer->bytes != answer->inline_bytes) {
            mem_free(MEM_APPLY, answer->bytes);
        }
    }
    ring_deinit(&answers->done);
    mem_free(MEM_APPLY, answers->records);
    memset(answers, 0, sizeof(*answers));
}

struct answer *answer_take(struct answers *answers, struct answer_wait *wait)
{
    struct answer *answer = answers->free;
    if (answer == NULL) {
        return NULL;
    }
    ASSERT(answers->free_count > 0);
    answers->free = answer->next;
    answers->free_count--;
    answer->next = NULL;
    answer->wait = wait;
    return answer;
}

void answer_give(struct answers *answers, struct answer *answer)
{
    ASSERT(answers->free_count < answers->count);
    if (answer->bytes != answer->inline_bytes && answer->bytes != NULL) {
        mem_free(MEM_APPLY, answer->bytes);
        atomic_sub_relaxed(&answers->bytes, answer->size);
    }
    answer->bytes = NULL;
    answer->wait = NULL;
    answer->next = answers->free;
    answers->free = answer;
    answers->free_count++;
}

uint8_t *answer_room(struct answers *answers, uint32_t number, uint64_t size)
{
    ASSERT(number < answers->count);
    struct answer *answer = &answers->records[number];
    ASSERT(answer->bytes == NULL);
    if (LIKELY(size <= ANSWER_INLINE)) {
        answer->bytes = answer->inline_bytes;
        return answer->bytes;
    }
    if (size > answers->bytes_max / 2) {
        return NULL;
    }
    if (atomic_add_relaxed(&answers->bytes, size) + size <= answers->bytes_max) {
        answer->bytes = mem_alloc(MEM_APPLY, size);
    }
    if (answer->bytes == NULL) {
        atomic_sub_relaxed(&answers->bytes, size);
    }
    return answer->bytes;
}

void answer_deliver(struct answers *answers, uint32_t number, const struct reply *reply)
{
    ASSERT(number < answers->count);
    struct answer *answer = &answers->records[number];
    struct answer_wait *wait = answer->wait;
    ASSERT(wait != NULL);
    if (reply->kind == REPLY_BULK) {
        answer->kind = answer->bytes != NULL ? ANSWER_BYTES : ANSWER_LARGE;
        answer->size = (uint64_t)reply->integer;
    } else if (reply->kind == REPLY_INTEGER) {
        answer->kind = ANSWER_INTEGER;
        answer->integer = reply->integer;
        answer->time_ms = clock_monotonic_ms();
    } else {
        answer->kind = ANSWER_NIL;
    }
    void *owner = wait->owner;
    /* From here on the records are the decoder's, if this was the last. */
    if (atomic_sub_acq_rel(&wait->pending, 1) == 1) {
        bool is_pushed = ring_mpsc_push(&answers->done, owner);
        ASSERT(is_pushed); /* the ring holds every owner */
        waker_wake(answers->decoder);
    }
}
