#include "apply/flush.h"

#include "apply/recovery.h"
#include "apply/relay_private.h"

#define WAIT_MS 100

/* A position beyond the flush was written on some lane, by a run that this one continues. */
static bool was_completed(const struct stream *stream)
{
    for (uint32_t lane = 0; lane < stream->task->route->lane_count; lane++) {
        if (recovery_is_done(stream, lane)) {
            return true;
        }
    }
    return false;
}

static bool wait_for_control(struct stream *stream, uint32_t db, struct syn_err *err)
{
    struct waker *waker = stream->router->waker;
    stream->flush_db = db;
    atomic_store_release(&stream->flush_wanted, true);
    waker_wake(stream->task->control);
    while (atomic_load_acquire(&stream->flush_wanted)) {
        if (atomic_load_acquire(&stream->task->abort)) {
            return stopped(err);
        }
        waker_prepare(waker);
        waker_wait(waker, atomic_load_acquire(&stream->flush_wanted) ? WAIT_MS : 0);
    }
    return true;
}

static bool positions_write(struct stream *stream)
{
    struct router *router = stream->router;
    if (router->positions == NULL || !router->stream_positions[stream->index].is_on) {
        return true;
    }
    router->stream_positions[stream->index].offset = stream->offset;
    router->stream_positions[stream->index].db = (uint32_t)stream->command_db;
    for (uint32_t lane = 0; lane < router->route->lane_count; lane++) {
        if (!router_position_again(router, lane)) {
            return false;
        }
    }
    return router_drain(router);
}

bool flush_scoped(struct stream *stream, uint32_t db, struct syn_err *err)
{
    if (!relay_drain(stream->relay, err)) {
        return false;
    }
    if (!router_drain(stream->router)) {
        return stopped(err);
    }
    if (!was_completed(stream) && !wait_for_control(stream, db, err)) {
        return false;
    }
    return positions_write(stream) || stopped(err);
}
