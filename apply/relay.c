/*
 * When held commands run.
 *
 *     a relay ──► ASK ──turn at its operands──► ANSWER ──the last one──► WRITE ──turn──► written
 *     another that touches a held key ─────────────────────────────────► WRITE ──turn──► written
 *     any other ───────────────────────────────────────────────────────────────────────► written
 *
 * ASK      all its keys are queued, or only those in the target's slot when it may ask at once.
 * ANSWER   the keys in the target's slot are queued, questions are with lanes, `wait` counts.
 * WRITE    the same, with answers; or a command that asks nothing, with all its keys queued.
 * written  the record is free.
 *
 * How it could deadlock or reorder, and why it does not:
 * - The decoder waits for room while what would make room waits for the decoder: every wait here
 *   asks, finishes and writes whatever can be, and none of that needs room.
 * - Relays that have their answers wait for one that finds no answer free: those that ask before
 *   their turn to write leave half of the answers to the others, and no relay needs more than half.
 * - A lane waits for the decoder: it never does; the ring of answers holds all owners, and an
 * answer without room is passed over.
 * - A held command runs in the middle of another one: this file is entered between commands and
 *   where a command waits for room before it wrote anything. What both would use of the stream
 *   (place, key list) is exchanged meanwhile.
 */
#include "apply/divergence.h"
#include "apply/recovery.h"
#include "apply/relay_private.h"

#include <string.h>

#define RELAY_ARGS_MAX (1u << 20) /* the stream's own bound */

/* ---- one command ---- */

static void cut_held(struct relay *relay,
                     const struct held_command *held,
                     struct resp_command *command,
                     const struct command_info **info)
{
    struct syn_err ignored;
    size_t wanted;
    enum resp_status status =
        resp_cut(&relay->cutter, held->bytes, held->size, &wanted, command, &ignored);
    ASSERT(status == RESP_READY); /* it was cut before, or is ours */
    *info = live_find(held->stream, held->bytes, command);
    ASSERT(*info != NULL);
    size_t positions_size = held->asked_count * sizeof(uint32_t);
    live_keys_from(held->stream, held->bytes + held->size - positions_size, held->asked_count);
}

static bool run_parts(struct relay *relay, struct held_command *held, struct syn_err *err)
{
    size_t table_size = held->part_count * sizeof(struct transaction_command);
    const struct transaction kept = {.bytes = held->bytes + table_size,
                                     .size = held->size - table_size,
                                     .commands = (struct transaction_command *)(void *)held->bytes,
                                     .command_count = held->part_count};
    return transaction_run(held->stream, &kept, &relay->cutter, held->links[0].slot, err);
}

/* As it would have been written at once. */
static bool run_piece(struct relay *relay, struct held_command *held, struct syn_err *err)
{
    struct stream *stream = held->stream;
    const struct held_link *link = &held->links[0];
    uint32_t lane = route_lane(stream->task->route, link->slot);
    struct resp_command command;
    const struct command_info *info;
    cut_held(relay, held, &command, &info);
    struct op op = relay_op(stream, held->source_db, info, link->slot);
    uint32_t db = task_db(stream->task, held->source_db);
    if (!live_forward(stream, lane, db, held->bytes, held->size, op, err)) {
        return false;
    }
    const struct slice name = {held->bytes + link->pos, link->size};
    divergence_remember_name(stream, lane, &name, held->source_db);
    return true;
}

static bool run_command(struct relay *relay, struct held_command *held, struct syn_err *err)
{
    struct resp_command command;
    const struct command_info *info;
    cut_held(relay, held, &command, &info);
    return live_dispatch(held->stream, info, held->bytes, &command, held->source_db, err);
}

/* A relay's next step: its questions, or what follows from the answers. */
static bool run_relay(struct relay *relay, struct held_command *held, struct syn_err *err)
{
    struct resp_command command;
    struct relay_call call = {.stream = held->stream,
                              .bytes = held->bytes,
                              .command = &command,
                              .keys = &held->stream->keys,
                              .source_db = held->source_db};
    cut_held(relay, held, &command, &call.info);
    if (!command_keys(call.info, held->bytes, &command, &held->stream->keys, err)) {
        return false;
    }
    relay_call_plan(&call);
    return held->phase == HELD_ASK ? relay_flow_ask(&call, held, err)
                                   : relay_flow_write(&call, held, err);
}

static struct slice held_key(const struct held_command *held, uint32_t i)
{
    return (struct slice){held->bytes + held->links[i].pos, held->links[i].size};
}

/* A key of it may have become dirty while it waited. Then the destination has not what it would act
 * on, and all of its keys are read at the source. */
static bool leave_out(struct held_command *held, struct syn_err *err)
{
    struct stream *stream = held->stream;
    if (LIKELY(stream->recovery == NULL) || held->is_left_out) {
        return true;
    }
    for (uint32_t i = 0; i < held->link_count; i++) {
        struct slice key = held_key(held, i);
        bool is_queued = held->links[i].is_queued;
        if (is_queued && recovery_is_dirty(stream, held->source_db, &key)) {
            held->is_left_out = true;
        }
    }
    if (!held->is_left_out) {
        return true;
    }
    counter_add(&stream->left_out, 1);
    for (uint32_t i = 0; i < held->link_count; i++) {
        struct slice key = held_key(held, i);
        if (held->links[i].is_queued && !recovery_is_dirty(stream, held->source_db, &key) &&
            !recovery_dirty(stream, held->source_db, &key, err)) {
            return false;
        }
    }
    return true;
}

/* Does that as if the stream were at the command's place. */
static bool run(struct relay *relay, struct held_command *held, struct syn_err *err)
{
    struct stream *stream = held->stream;
    uint64_t offset = stream->offset;
    struct key_list keys = stream->keys;
    const uint8_t *asked_keys = stream->asked_keys;
    uint32_t asked_key_count = stream->asked_key_count;
    stream->keys = relay->keys;
    stream->offset = held->offset;
    bool is_done = leave_out(held, err);
    if (is_done && !held->is_left_out) {
        is_done = held->kind != RELAY_NONE ? run_relay(relay, held, err)
                  : held->part_count > 0   ? run_parts(relay, held, err)
                  : held->is_piece         ? run_piece(relay, held, err)
                                           : run_command(relay, held, err);
    }
    stream->offset = offset;
    relay->keys = stream->keys;
    stream->keys = keys;
    live_keys_from(stream, asked_keys, asked_key_count);
    return is_done;
}

static void give_answers(struct relay *relay, struct held_command *held)
{
    while (held->answers != NULL) {
        struct answer *answer = held->answers;
        held->answers = answer->next;
        answer_give(&relay->answers, answer);
    }
    held->answers_last = NULL;
}

bool relay_asked(struct relay *relay, struct held_command *held)
{
    relay_charge_answers(relay, held);
    counter_add(&held->stream->relayed, 1);
    return held_asked(&relay->held, held);
}

/* ---- progress ---- */

/* Asks for those that may, in their order. */
static bool progress_asking(
    struct relay *relay, struct held_list *list, bool has_turn, bool *did, struct syn_err *err)
{
    struct held_command *held;
    while ((held = list->first) != NULL &&
           relay_may_ask(relay, (enum relay_kind)held->kind, held->ask_count, has_turn)) {
        held_pop(list);
        *did = true;
        if (!run(relay, held, err)) {
            return false;
        }
        if (UNLIKELY(held->is_left_out)) {
            held_leave_out(&relay->held, held);
        } else if (!relay_asked(relay, held)) {
            return stopped(err);
        }
    }
    return true;
}

static bool progress_ready(struct relay *relay, bool *did, struct syn_err *err)
{
    struct held_command *held;
    while ((held = relay->held.ready.first) != NULL) {
        held_pop(&relay->held.ready);
        *did = true;
        if (!run(relay, held, err)) {
            return false;
        }
        give_answers(relay, held);
        if (!held_free(&relay->held, held)) {
            return stopped(err);
        }
    }
    return true;
}

bool relay_progress(struct relay *relay, bool *did, struct syn_err *err)
{
    if (!relay_is_busy(relay) || relay->router->unit_owner != NULL) {
        return true;
    }
    struct held *held = &relay->held;
    struct held_command *answered;
    while ((answered = answers_pop(&relay->answers)) != NULL) {
        *did = true;
        relay_discharge(relay, answered);
        held_answered(held, answered);
    }
    /* What is written gives turns to others: they ask behind it. */
    if (!progress_ready(relay, did, err)) {
        return false;
    }
    relay->now_ms = clock_monotonic_ms();
    return progress_asking(relay, &held->asking, true, did, err) &&
           progress_asking(relay, &held->asking_early, false, did, err);
}

static bool relay_wait(struct relay *relay, struct syn_err *err)
{
    bool did = false;
    ASSERT(relay->router->unit_owner == NULL);
    if (!relay_progress(relay, &did, err)) {
        return false;
    }
    return did || router_wait(relay->router, &relay->answers) || stopped(err);
}

bool relay_drain(struct relay *relay, struct syn_err *err)
{
    while (relay_is_busy(relay)) {
        if (!relay_wait(relay, err)) {
            return false;
        }
    }
    return true;
}

/* ---- room ---- */

bool relay_make_room(
    struct relay *relay, uint32_t key_count, size_t size, bool *fits, struct syn_err *err)
{
    struct held *held = &relay->held;
    *fits = held_can_hold(held, key_count, size);
    if (!*fits) {
        return relay_drain(relay, err);
    }
    bool has_room = held_has_room(held, key_count, size);
    while (!has_room && relay_is_busy(relay)) {
        if (!relay_wait(relay, err)) {
            return false;
        }
        /* More than the one place that is needed: or each of the next commands would wait, flush
         * and be woken for itself. */
        has_room =
            held_has_room(held, key_count, size) && held->free_count >= held->command_count / 4;
    }
    return true;
}

/* ---- life ---- */

uint64_t relay_options_bytes(const struct relay_options *options, uint32_t lane_count)
{
    if (options->command_count == 0) {
        return 0;
    }
    /* Up to four buckets, and two places of the ring, for each command. */
    uint64_t command = sizeof(struct held_command) + 6 * sizeof(void *);
    return options->command_count * command +
           (uint64_t)options->answer_count * sizeof(struct answer) + options->command_bytes +
           options->answer_bytes + lane_count * (HELD_GONE_BYTES + sizeof(struct held_lane));
}

bool relay_init(struct relay *relay,
                const struct relay_options *options,
                struct router *router,
                struct lane_port **ports,
                struct waker *decoder,
                struct syn_err *err)
{
    memset(relay, 0, sizeof(*relay));
    relay->options = *options;
    relay->router = router;
    if (options->command_count == 0) {
        return true;
    }
    router->held = &relay->held;
    for (uint32_t i = 0; i < router->route->lane_count; i++) {
        ports[i]->answers = &relay->answers;
        ports[i]->awaited_lane = &router->awaited_lane;
    }
    return key_list_init(&relay->keys, err) &&
           resp_cutter_init(&relay->cutter, RELAY_ARGS_MAX, UINT32_MAX, err) &&
           held_init(&relay->held, options->command_count, options->command_bytes, router, err) &&
           answers_init(&relay->answers,
                        options->answer_count,
                        options->command_count,
                        options->answer_bytes,
                        decoder,
                        err);
}

void relay_deinit(struct relay *relay)
{
    answers_deinit(&relay->answers);
    held_deinit(&relay->held);
    resp_cutter_deinit(&relay->cutter);
    key_list_deinit(&relay->keys);
    memset(relay, 0, sizeof(*relay));
}
