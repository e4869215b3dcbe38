#include "apply/divergence.h"
#include "apply/recovery.h"
#include "apply/snapshot_mend.h"
#include "apply/snapshot_reform.h"

#include <stdio.h>
#include <string.h>

/* Arguments of one command, and its bytes: a server's own limits are 1 Mi and 512 MiB per argument;
 * ours is memory. */
#define COMMAND_ARGS_MAX (1u << 20)

bool stream_init(struct stream *stream,
                 uint16_t index,
                 struct task *task,
                 struct feed *feed,
                 struct decoder *decoder,
                 struct syn_err *err)
{
    memset(stream, 0, sizeof(*stream));
    stream->index = index;
    stream->task = task;
    stream->feed = feed;
    struct router *router = &decoder->router;
    stream->router = router;
    stream->relay = &decoder->relay;
    stream->router_next = router->streams;
    router->streams = stream;
    stream->wanted = 1;
    stream->expiry_add_ms = task->expiry_add_ms;
    size_t item_bytes_max = task->hold_bytes_max < UINT32_MAX ? task->hold_bytes_max : UINT32_MAX;
    stream->parser = rdb_parser_new(item_bytes_max, err);
    return stream->parser != NULL &&
           resp_cutter_init(&stream->cutter, COMMAND_ARGS_MAX, item_bytes_max, err) &&
           resp_cutter_init(&stream->transaction_cutter, COMMAND_ARGS_MAX, item_bytes_max, err) &&
           key_list_init(&stream->keys, err) &&
           question_init(&stream->question, router->waker, err);
}

void stream_deinit(struct stream *stream)
{
    if (stream->task == NULL) {
        return;
    }
    recovery_end(stream);
    rdb_parser_free(stream->parser);
    rdb_decoder_free(stream->decoder);
    rewriter_free(stream->rewriter);
    reformer_free(stream->reformer);
    refusals_drop(stream);
    divergence_forget(stream);
    resp_cutter_deinit(&stream->cutter);
    resp_cutter_deinit(&stream->transaction_cutter);
    key_list_deinit(&stream->keys);
    select_output_deinit(&stream->selected);
    question_deinit(&stream->question);
    mem_free(MEM_APPLY, stream->item_hold.bytes);
    mem_free(MEM_APPLY, stream->value_hold.bytes);
    mem_free(MEM_APPLY, stream->value.name);
    mem_free(MEM_APPLY, stream->transaction.bytes);
    mem_free(MEM_APPLY, stream->transaction.commands);
    struct chunk *chunk = stream->chunk;
    while (chunk != NULL) {
        chunk_release(chunk);
        chunk =
            stream->chunk_next != NULL ? stream->chunk_next : ring_spsc_pop(&stream->feed->chunks);
        stream->chunk_next = NULL;
    }
    memset(stream, 0, sizeof(*stream));
}

/* ---- states ---- */

static bool stream_position_drop(struct stream *stream);
static bool stream_own(struct stream *stream, const char *replid);

void stream_set_state(struct stream *stream, enum stream_state state)
{
    stream->state = state;
    atomic_store_release(&stream->shown_state, (int)state);
}

/* Times to live are put off from here on, until control finds that the stream has caught up. */
static void stream_catch_up(struct stream *stream)
{
    if (stream->task->puts_off) {
        stream->catching_up_count++;
        stream->expiry_add_ms = stream->task->expiry_add_ms + EXPIRY_PUT_OFF_MS;
        atomic_store_release(&stream->exact_offset, UINT64_MAX);
        atomic_store_release(&stream->catching_up, stream->catching_up_count);
    }
}

static void stream_look_caught_up(struct stream *stream)
{
    if (LIKELY(stream->expiry_add_ms == stream->task->expiry_add_ms) ||
        atomic_load_acquire(&stream->catching_up) != 0) {
        return;
    }
    stream->expiry_add_ms = stream->task->expiry_add_ms;
    atomic_store_release(&stream->exact_offset, stream->offset);
    waker_wake(stream->task->control);
}

bool stream_session(struct stream *stream, const struct chunk_session *session, struct syn_err *err)
{
    bool is_again =
        stream->state != STREAM_WAITING || stream->session.number != 0 || stream->is_sweep_due;
    stream->is_sweep_due = false;
    /* What is held is finished first: it belongs to the session before. */
    if (!snapshot_abandon(stream, err) || (is_again && !relay_drain(stream->relay, err))) {
        return false;
    }
    if (!stream_position_drop(stream) || !stream_own(stream, session->replid)) {
        return ERR(err, SYN_CODE_STOPPED, "stopped");
    }
    stream_catch_up(stream);
    stream->session = *session;
    stream->offset = session->offset;
    stream->source_db = 0;
    stream->place_count = 0;
    stream->has_held_places = false;
    stream->is_ack_wanted = false;
    heartbeat_forget(&stream->heartbeat);
    ASSERT(!stream->is_asking); /* the command is still in the window */
    transaction_clear(stream);
    resp_cutter_reset(&stream->cutter);
    snapshot_begin(stream);
    atomic_store_release(&stream->feed->offset_applied, session->offset);
    atomic_store_relaxed(&stream->offset_decoded, session->offset);
    if (!is_again) {
        stream_set_state(stream, STREAM_SNAPSHOT);
        return true;
    }
    /* What the copy before wrote is removed first. Its operations must have ended by then. */
    if (!router_drain(stream->router)) {
        return ERR(err, SYN_CODE_STOPPED, "stopped");
    }
    refusals_drop(stream);
    divergence_forget(stream);
    atomic_store_release(&stream->sweep_wanted, true);
    stream_set_state(stream, STREAM_HELD);
    waker_wake(stream->task->control);
    return true;
}

void stream_payload_end(struct stream *stream)
{
    struct feed *feed = stream->feed;
    atomic_store_relaxed(&feed->payload_end, (int64_t)stream->payload_pos);
    atomic_store_release(&feed->payload_session, stream->session.number);
    if (feed->reader != NULL) {
        reader_wake(feed->reader);
    }
    stream_set_state(stream, STREAM_LIVE);
    stream_note_place(stream, true);
    stream->is_position_due = stream->task->positions != NULL;
}

/* ---- positions ---- */

static bool stream_position_drop(struct stream *stream)
{
    stream->is_position_due = false;
    stream->position_replid[0] = '\0';
    router_stream(stream->router, stream->index, false);
    if (!recovery_forget_names(stream)) {
        return false;
    }
    recovery_end(stream);
    return stream->router->positions == NULL || router_position_drop(stream->router, stream->index);
}

/* The id that the source told before may have changed with the first full copy. */
static bool stream_own(struct stream *stream, const char *replid)
{
    if (stream->router->positions == NULL ||
        memcmp(stream->owner_replid, replid, REPLID_SIZE) == 0) {
        return true;
    }
    bool is_done = router_position_own(stream->router, stream->index, replid, stream->owner_replid);
    memcpy(stream->owner_replid, replid, REPLID_SIZE);
    return is_done;
}

/* The snapshot is written, or the source's history has a new name: from here on the destination
 * says how far it is. Everything before is acknowledged first, so that a position never speaks for
 * what was refused. */
static bool stream_position_begin(struct stream *stream, struct syn_err *err)
{
    struct router *router = stream->router;
    const char *old = stream->position_replid[0] != '\0' ? stream->position_replid : NULL;
    uint64_t offset = stream->offset;
    uint64_t db = stream->source_db;
    if (router->stream_positions[stream->index].is_on) {
        /* In the middle of a transaction the stream is ahead of what is written. */
        offset = router->stream_positions[stream->index].offset;
        db = router->stream_positions[stream->index].db;
    }
    if (!snapshot_settle(stream, err) || !relay_drain(stream->relay, err)) {
        return false;
    }
    if (!router_drain(router) ||
        !router_position_begin(
            router, stream->index, stream->session.replid, old, offset, (uint32_t)db)) {
        return ERR(err, SYN_CODE_STOPPED, "stopped");
    }
    memcpy(stream->position_replid, stream->session.replid, sizeof(stream->position_replid));
    stream->is_position_due = false;
    return true;
}

bool stream_resume(struct stream *stream,
                   const char *replid,
                   uint64_t offset,
                   uint32_t source_db,
                   const struct recovery_lane *lanes,
                   uint64_t until,
                   struct syn_err *err)
{
    struct router *router = stream->router;
    uint32_t lane_count = stream->task->route->lane_count;
    memcpy(stream->session.replid, replid, REPLID_SIZE);
    memcpy(stream->position_replid, replid, REPLID_SIZE);
    stream->session.offset = offset;
    stream->offset = offset;
    stream->source_db = source_db;
    stream->applied_db = source_db;
    stream->position_was_resumed = true; /* before the threads start */
    stream_catch_up(stream);
    snapshot_reform_source(stream, LISTPACK_UNKNOWN); /* no snapshot told the source's version */
    atomic_store_relaxed(&stream->offset_decoded, offset);
    stream_set_state(stream, STREAM_LIVE);
    struct position_stream *position = &router->stream_positions[stream->index];
    memcpy(position->replid, replid, REPLID_SIZE);
    position->offset = offset;
    position->db = source_db;
    position->acked = offset;
    position->acked_db = source_db;
    position->is_on = true;
    for (uint32_t lane = 0; lane < lane_count; lane++) {
        size_t at = (size_t)lane * router->stream_count + stream->index;
        router->marked[at] = lanes[lane].floor;
        router->doubts[at] =
            (struct position_doubt){.until = lanes[lane].until, .gap = lanes[lane].gap};
    }
    return recovery_begin(stream, lanes, until, err);
}

void stream_session_continues(struct stream *stream, const struct chunk_session *session)
{
    memcpy(stream->session.replid, session->replid, sizeof(stream->session.replid));
    stream->is_position_due =
        stream->router->positions != NULL &&
        memcmp(stream->position_replid, session->replid, sizeof(stream->position_replid)) != 0;
}

/* ---- places ---- */

void stream_note_place(struct stream *stream, bool is_snapshot_end)
{
    struct stream_place place = {.seq = stream->router->seq_next,
                                 .offset = stream->offset,
                                 .db = (uint32_t)stream->source_db,
                                 .is_snapshot_end = is_snapshot_end,
                                 .is_held = stream->held_first != NULL || recovery_is_due(stream)};
    stream->has_held_places = stream->has_held_places || place.is_held;
    if (stream->place_count > 0) {
        struct stream_place *last =
            &stream->places[(stream->place_head + stream->place_count - 1) % STREAM_PLACES];
        if (stream->place_count == STREAM_PLACES || last->seq == place.seq) {
            /* The later place includes the earlier one: less often, never too far. */
            place.is_snapshot_end = place.is_snapshot_end || last->is_snapshot_end;
            place.is_held = place.is_held || last->is_held;
            *last = place;
            return;
        }
    }
    stream->places[(stream->place_head + stream->place_count) % STREAM_PLACES] = place;
    stream->place_count++;
}

/* Places before which nothing is held any more, and no key is still to be read: what was written
 * for them since lies in batches up to now. */
static void places_settle(struct stream *stream)
{
    if (recovery_is_due(stream)) {
        return;
    }
    for (uint32_t i = 0; i < stream->place_count; i++) {
        struct stream_place *place = &stream->places[(stream->place_head + i) % STREAM_PLACES];
        if (stream->held_first != NULL && stream->held_first->offset <= place->offset) {
            return;
        }
        if (place->is_held) {
            place->is_held = false;
            place->seq = stream->router->seq_next;
        }
    }
    stream->has_held_places = false;
}

void stream_advance(struct stream *stream)
{
    if (UNLIKELY(stream->parcels != NULL)) {
        parcels_trim(stream);
    }
    bool did = false;
    uint64_t offset = 0;
    if (UNLIKELY(stream->has_held_places)) {
        places_settle(stream);
    }
    while (stream->place_count > 0 && !stream->places[stream->place_head].is_held &&
           stream->places[stream->place_head].seq <= stream->router->frontier) {
        const struct stream_place *place = &stream->places[stream->place_head];
        ASSERT(place->offset >= offset);
        offset = place->offset;
        stream->applied_db = place->db;
        did = true;
        if (place->is_snapshot_end) {
            atomic_store_release(&stream->snapshots_applied, stream->session.number);
            waker_wake(stream->task->control);
        }
        stream->place_head = (stream->place_head + 1) % STREAM_PLACES;
        stream->place_count--;
    }
    if (!did) {
        return;
    }
    struct feed *feed = stream->feed;
    ASSERT(offset >= atomic_load_relaxed(&feed->offset_applied));
    atomic_store_release(&feed->offset_applied, offset);
    router_acked(stream->router, stream->index, offset, stream->applied_db);
    if (stream->heartbeat.first.written_us != 0) {
        heartbeat_applied(&stream->heartbeat, offset, heartbeat_now_us());
    }
    if (stream->is_ack_wanted && offset >= stream->ack_offset) {
        stream->is_ack_wanted = false;
        atomic_store_release(&feed->ack_wanted, true);
        reader_wake(feed->reader);
    }
}

/* ---- steps ---- */

/* The source is gone in the middle of a value: it will never be completed, since a snapshot cannot
 * be resumed, and neither the lane nor others who want to hold much may wait for it. */
static bool stream_lost_value(struct stream *stream, int state, bool *did, struct syn_err *err)
{
    if (stream->state != STREAM_SNAPSHOT || !stream->value.is_open || stream->is_hold_blocked ||
        state == FEED_SNAPSHOT || state == FEED_LIVE || stream->chunk_next != NULL ||
        ring_count(&stream->feed->chunks) > 0) {
        return true;
    }
    if (!snapshot_abandon(stream, err)) {
        return false;
    }
    stream_set_state(stream, STREAM_WAITING);
    *did = true; /* others, who waited for the unit's end, may have something to take */
    return true;
}

/* A file is read to its end, and nothing of it is left to take, though its end was not seen. Of a
 * source, more always comes: its stream, or another connection. */
static bool stream_is_at_file_end(const struct stream *stream, int state)
{
    bool is_inside = stream->state == STREAM_SNAPSHOT || stream->state == STREAM_MARK;
    return is_inside && state == FEED_LIVE && stream->feed->options.endpoint.file != NULL &&
           !stream->is_hold_blocked && stream->chunk_next == NULL &&
           ring_count(&stream->feed->chunks) == 0;
}

static enum step
stream_look(struct stream *stream, const struct window *window, struct syn_err *err)
{
    switch (stream->state) {
    case STREAM_SNAPSHOT:
        return snapshot_step(stream, window, err);
    case STREAM_MARK:
        return snapshot_mark_step(stream, window, err);
    case STREAM_LIVE:
        if (stream->task->only_snapshot) {
            input_use(stream, window->size);
            return STEP_DONE;
        }
        return live_step(stream, window, err);
    case STREAM_WAITING:
        /* Bytes of a broken session, behind an abandoned value: a new one follows. */
        input_use(stream, window->size);
        return STEP_DONE;
    case STREAM_HELD:
        return STEP_WAIT;
    }
    return STEP_WAIT;
}

static enum step stream_take(struct stream *stream, struct syn_err *err)
{
    for (;;) {
        struct window window;
        enum step step = input_fill(stream, &window, err);
        if (step != STEP_DONE) {
            return step;
        }
        step = stream_look(stream, &window, err);
        if (step != STEP_WAIT || stream->wanted <= window.size) {
            return step;
        }
        /* A window in item_hold has only what was asked for, though the feed may have more. To wait
         * here would be for a wake-up that came already, and a drain would take it for the end. */
    }
}

bool stream_repair(struct stream *stream, struct syn_err *err)
{
    if (UNLIKELY(stream->divergences != NULL) && !divergence_step(stream, err)) {
        return false;
    }
    return LIKELY(stream->recovery == NULL) || recovery_step(stream, err);
}

bool stream_step(struct stream *stream, bool *did, struct syn_err *err)
{
    stream->is_throttled = false;
    /* Until this turn has found it so: it may wait in the middle of an operation. */
    atomic_store_relaxed(&stream->is_input_empty, false);
    if (UNLIKELY(stream->is_asking) &&
        atomic_load_acquire(&stream->question.state) != QUESTION_ANSWERED) {
        return true;
    }
    if (stream->state == STREAM_HELD) {
        if (atomic_load_acquire(&stream->sweep_wanted)) {
            return true;
        }
        stream_set_state(stream, STREAM_SNAPSHOT);
    }
    if (stream->router->unit_owner != NULL && stream->router->unit_owner != stream) {
        return true; /* another stream's value is on its way to a lane of ours */
    }
    if (UNLIKELY(stream->refusals != NULL) && stream->router->unit_owner == NULL &&
        !stream->value.is_open) {
        *did = true;
        router_stream(stream->router, stream->index, false);
        if (!snapshot_mend(stream, err)) {
            return false;
        }
    }
    bool is_live = stream->state == STREAM_LIVE;
    stream_look_caught_up(stream);
    if (is_live && stream->is_position_due && !stream_position_begin(stream, err)) {
        return false;
    }
    if (is_live && !stream_repair(stream, err)) {
        return false;
    }
    router_stream(stream->router, stream->index, is_live);
    if (!router_pass(stream->router, stream_throttle_phase(stream->state))) {
        stream->is_throttled = true;
        return true;
    }
    /* Before the look at the input: a session's bytes are all there before its end is told. */
    int state = atomic_load_acquire(&stream->feed->state);
    enum step step = stream_take(stream, err);
    if (step == STEP_WAIT && stream_is_at_file_end(stream, state)) {
        step = snapshot_file_end(stream, err);
    }
    if (step == STEP_FAIL) {
        return false;
    }
    if (step == STEP_WAIT && !stream_lost_value(stream, state, did, err)) {
        return false;
    }
    *did = *did || step == STEP_DONE;
    atomic_store_relaxed(&stream->is_input_empty, step == STEP_WAIT);
    return true;
}

bool stream_is_drained(const struct stream *stream)
{
    if (stream->state == STREAM_HELD) {
        return true; /* a full copy that has not begun is left out; the one before stands */
    }
    if (stream->is_hold_blocked || stream->is_throttled || stream->is_asking ||
        recovery_is_due(stream)) {
        return false;
    }
    return stream->chunk_next == NULL && ring_count(&stream->feed->chunks) == 0;
}
