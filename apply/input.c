/*
 * The window: how bytes in chunks become contiguous items without being copied, mostly.
 *
 * An item is looked at where it lies in the chunk. When a chunk ends inside an item, the tail moves
 * into the headroom of the next chunk, just before its first byte. Only an item that is larger than
 * that is put together in item_hold, to exactly the size that its cutter asks for, so that nothing
 * behind it is copied.
 */
#include "apply/stream_private.h"

#include <string.h>

/* ---- hold ---- */

static bool hold_may_grow(struct stream *stream)
{
    struct stream *nobody = NULL;
    _Atomic(struct stream *) *owner = &stream->task->hold_owner;
    return atomic_load_acquire(owner) == stream || atomic_cas_acq_rel(owner, &nobody, stream);
}

enum step hold_reserve(struct stream *stream, struct hold *hold, size_t more, struct syn_err *err)
{
    struct task *task = stream->task;
    size_t need = hold->size + more;
    if (need <= hold->capacity) {
        return STEP_DONE;
    }
    if (need > task->hold_bytes_max) {
        ERR(err,
            SYN_CODE_MEMORY,
            "source %s has an item of more than %zu bytes, which is all that --memory leaves for "
            "one; "
            "raise --memory to about three times the size of the largest value",
            endpoint_text(&stream->feed->options.endpoint, (char[ENDPOINT_TEXT_MAX]){0}),
            task->hold_bytes_max);
        return STEP_FAIL;
    }
    if (need > task->hold_bytes_free && !hold_may_grow(stream)) {
        stream->is_hold_blocked = true;
        return STEP_WAIT;
    }
    /* Beyond the free share the whole bound is taken at once: growing in steps would hold the old
     * and the new buffer together, more than the bound. The kernel gives pages only as they are
     * written. */
    size_t capacity = task->hold_bytes_max;
    if (need <= task->hold_bytes_free) {
        capacity = hold->capacity < 65536 ? 65536 : hold->capacity * 2;
        capacity = capacity < need ? need : capacity;
        capacity = capacity > task->hold_bytes_free ? task->hold_bytes_free : capacity;
    }
    uint8_t *bytes = mem_realloc(MEM_APPLY, hold->bytes, capacity);
    if (bytes == NULL) {
        ERR(err, SYN_CODE_MEMORY, "out of memory for %zu bytes of one item", capacity);
        return STEP_FAIL;
    }
    atomic_add_relaxed(&task->hold_bytes, capacity - hold->capacity);
    hold->bytes = bytes;
    hold->capacity = capacity;
    return STEP_DONE;
}

void hold_clear(struct stream *stream, struct hold *hold)
{
    struct task *task = stream->task;
    hold->size = 0;
    if (hold->capacity > task->hold_bytes_free) {
        mem_free(MEM_APPLY, hold->bytes);
        atomic_sub_relaxed(&task->hold_bytes, hold->capacity);
        hold->bytes = NULL;
        hold->capacity = 0;
        const struct hold *other =
            hold == &stream->item_hold ? &stream->value_hold : &stream->item_hold;
        if (other->capacity <= task->hold_bytes_free &&
            atomic_load_acquire(&task->hold_owner) == stream) {
            atomic_store_release(&task->hold_owner, NULL);
        }
    }
}

/* ---- window ---- */

void input_want(struct stream *stream, size_t wanted)
{
    ASSERT(wanted > 0);
    stream->wanted = wanted;
}

void input_use(struct stream *stream, size_t size)
{
    stream->wanted = 1;
    if (!stream->is_holding) {
        stream->pos += (int64_t)size;
        return;
    }
    struct hold *hold = &stream->item_hold;
    ASSERT(size <= hold->size);
    if (size == hold->size) {
        stream->is_holding = false;
        hold_clear(stream, hold);
    } else if (size > 0) {
        memmove(hold->bytes, hold->bytes + size, hold->size - size);
        hold->size -= size;
    }
}

static size_t input_available(const struct stream *stream, bool *is_sealed)
{
    /* Sealed first: once it is set, `filled` does not change any more. */
    *is_sealed = atomic_load_acquire(&stream->chunk->is_sealed);
    int64_t filled = atomic_load_acquire(&stream->chunk->filled);
    ASSERT(filled >= stream->pos);
    return (size_t)(filled - stream->pos);
}

/* A full copy begins: nothing of the session before goes on. */
static bool input_restart(struct stream *stream, struct chunk *chunk, struct syn_err *err)
{
    if (stream->chunk != NULL) {
        chunk_release(stream->chunk);
    }
    stream->chunk = chunk;
    stream->pos = 0;
    stream->wanted = 1;
    stream->is_holding = false;
    hold_clear(stream, &stream->item_hold);
    return stream_session(stream, &chunk->session, err);
}

/* Goes on to the next chunk, with the tail of the one before. */
static enum step input_next(struct stream *stream, struct syn_err *err)
{
    struct chunk *next =
        stream->chunk_next != NULL ? stream->chunk_next : ring_spsc_pop(&stream->feed->chunks);
    stream->chunk_next = NULL;
    if (next == NULL) {
        return STEP_WAIT;
    }
    if (next->kind == CHUNK_SNAPSHOT) {
        return input_restart(stream, next, err) ? STEP_DONE : STEP_FAIL;
    }
    if (next->kind == CHUNK_CONTINUE) {
        stream_session_continues(stream, &next->session);
    }
    if (stream->chunk == NULL) {
        stream->chunk = next;
        stream->pos = 0;
        return STEP_DONE;
    }
    bool is_sealed;
    size_t tail = input_available(stream, &is_sealed);
    ASSERT(is_sealed);
    const uint8_t *from = stream->chunk->bytes + stream->pos;
    if (tail <= next->pool->headroom_bytes && !stream->is_holding) {
        memcpy(next->bytes - tail, from, tail);
        stream->pos = -(int64_t)tail;
    } else if (tail > 0) {
        enum step step = hold_reserve(stream, &stream->item_hold, tail, err);
        if (step != STEP_DONE) {
            /* The tail stays where it is; `next` waits its turn in front of the ring. */
            stream->chunk_next = next;
            return step;
        }
        memcpy(stream->item_hold.bytes + stream->item_hold.size, from, tail);
        stream->item_hold.size += tail;
        stream->is_holding = true;
        stream->pos = 0;
    } else {
        stream->pos = 0;
    }
    chunk_release(stream->chunk);
    stream->chunk = next;
    return STEP_DONE;
}

/* Moves bytes from chunks to item_hold until it has what is wanted. */
static enum step input_hold(struct stream *stream, struct syn_err *err)
{
    struct hold *hold = &stream->item_hold;
    while (stream->is_holding && hold->size < stream->wanted) {
        bool is_sealed;
        size_t available = input_available(stream, &is_sealed);
        size_t missing = stream->wanted - hold->size;
        size_t take = available < missing ? available : missing;
        if (take == 0) {
            enum step step = is_sealed ? input_next(stream, err) : STEP_WAIT;
            if (step != STEP_DONE) {
                return step;
            }
            continue;
        }
        enum step step = hold_reserve(stream, hold, take, err);
        if (step != STEP_DONE) {
            return step;
        }
        memcpy(hold->bytes + hold->size, stream->chunk->bytes + stream->pos, take);
        hold->size += take;
        stream->pos += (int64_t)take;
    }
    return STEP_DONE;
}

enum step input_fill(struct stream *stream, struct window *window, struct syn_err *err)
{
    stream->is_hold_blocked = false;
    for (;;) {
        if (stream->is_holding) {
            enum step step = input_hold(stream, err);
            if (step != STEP_DONE) {
                return step;
            }
        }
        if (stream->is_holding) {
            *window = (struct window){stream->item_hold.bytes, stream->item_hold.size};
            return STEP_DONE;
        }
        if (stream->chunk != NULL) {
            bool is_sealed;
            size_t available = input_available(stream, &is_sealed);
            if (available >= stream->wanted) {
                *window = (struct window){stream->chunk->bytes + stream->pos, available};
                return STEP_DONE;
            }
            if (!is_sealed) {
                return STEP_WAIT;
            }
        }
        enum step step = input_next(stream, err);
        if (step != STEP_DONE || stream->state == STREAM_HELD) {
            return step == STEP_DONE ? STEP_WAIT : step;
        }
    }
}
