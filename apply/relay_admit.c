/*
 * What waits: commands that touch held keys, pieces of others, and relays.
 *
 * Everything here is about a command at its place in the stream, before it wrote anything. It may
 * wait for room among the held commands, and held commands of the same stream run meanwhile; a key
 * that was not held before that wait is not held behind it, as held commands add none. But a held
 * command may leave its keys to be read at the source (recovery.h), so whoever waited and goes on
 * at once, without being held, looks again whether a key is dirty.
 */
#include "apply/divergence.h"
#include "apply/recovery.h"
#include "apply/relay_private.h"

#include <string.h>

static struct held_command *
new_held(const struct relay_call *call, uint32_t key_count, size_t size, struct syn_err *err)
{
    struct held_command *held =
        held_new(&call->stream->relay->held, call->stream, call->source_db, key_count, size);
    if (held == NULL) {
        ERR(err, SYN_CODE_MEMORY, "out of memory for a command of %zu bytes that waits", size);
    }
    return held;
}

/* ---- admission ---- */

/* Nothing is written for it, but whoever continues after this run may count it. */
static void count_without(const struct relay_call *call)
{
    uint16_t slot = relay_slot(call, call->keys->positions[0]);
    struct stream *stream = call->stream;
    router_left_out(stream->router, route_lane(stream->task->route, slot), stream->index);
}

static bool call_holds(const struct relay_call *call, uint32_t arg)
{
    const struct resp_arg *key = &call->command->argv[arg];
    return held_has_key(&call->stream->relay->held, call->bytes + key->pos, key->size);
}

bool relay_holds(const struct relay *relay,
                 const uint8_t *bytes,
                 const struct resp_command *command,
                 const struct key_list *keys)
{
    for (uint32_t i = 0; i < keys->count; i++) {
        const struct resp_arg *key = &command->argv[keys->positions[i]];
        if (held_has_key(&relay->held, bytes + key->pos, key->size)) {
            return true;
        }
    }
    return false;
}

/* Over several slots, and done piece by piece or in steps, which wait each for itself. */
static bool is_in_pieces(struct relay_call *call)
{
    bool is_one_slot = true;
    for (uint32_t i = 1; i < call->keys->count; i++) {
        is_one_slot = is_one_slot && relay_slot(call, call->keys->positions[i]) ==
                                         relay_slot(call, call->keys->positions[0]);
    }
    if (is_one_slot) {
        return false;
    }
    if (call->info->class == COMMAND_SPLIT_KEYS || call->info->class == COMMAND_SPLIT_PAIRS) {
        return true;
    }
    relay_call_plan(call);
    return call->kind != RELAY_NONE;
}

static void
add_key(const struct relay_call *call, struct held_command *held, uint32_t arg, bool is_asked)
{
    const struct resp_arg *key = &call->command->argv[arg];
    held_add_key(
        &call->stream->relay->held, held, key->pos, key->size, relay_slot(call, arg), is_asked);
}

/* Queues a command that touches a held key, or finds that it does not any more. */
static bool queue(const struct relay_call *call, bool *is_taken, struct syn_err *err)
{
    struct relay *relay = call->stream->relay;
    const struct resp_command *command = call->command;
    /* A script must be known before others call it that do not wait. */
    if (call->info->class == COMMAND_EVAL &&
        !live_script_load(call->stream, call->bytes, command, err)) {
        return false;
    }
    bool is_asked = call->info->spec_count == COMMAND_KEYS_ASKED;
    size_t positions_size = is_asked ? call->keys->count * sizeof(uint32_t) : 0;
    size_t size = command->size + positions_size;
    bool fits;
    if (!relay_make_room(relay, call->keys->count, size, &fits, err)) {
        return false;
    }
    if (!fits || !relay_holds(relay, call->bytes, command, call->keys)) {
        return true;
    }
    struct held_command *held = new_held(call, call->keys->count, size, err);
    if (held == NULL) {
        return false;
    }
    memcpy(held->bytes, call->bytes, command->size);
    memcpy(held->bytes + command->size, call->keys->positions, positions_size);
    held->asked_count = is_asked ? call->keys->count : 0;
    for (uint32_t i = 0; i < call->keys->count; i++) {
        add_key(call, held, call->keys->positions[i], false);
    }
    held_add_done(&relay->held, held, HELD_WRITE);
    *is_taken = true;
    return true;
}

bool relay_admit(struct stream *stream,
                 const struct command_info *info,
                 const uint8_t *bytes,
                 const struct resp_command *command,
                 uint64_t source_db,
                 bool *is_taken,
                 struct syn_err *err)
{
    *is_taken = false;
    switch (info->class) {
    case COMMAND_READ:
    case COMMAND_PING:
    case COMMAND_PUBLISH:
    case COMMAND_CLUSTER:
    case COMMAND_REPLCONF:
        return true;
    default:
        break;
    }
    if (!live_keys(stream, info, bytes, command, err)) {
        char where[200];
        err_context(err, "%s", live_where(stream, bytes, command, where));
        return false;
    }
    if (stream->keys.count == 0) {
        return relay_drain(stream->relay, err);
    }
    struct relay_call call = {.stream = stream,
                              .info = info,
                              .bytes = bytes,
                              .command = command,
                              .keys = &stream->keys,
                              .source_db = source_db};
    if (!relay_holds(stream->relay, bytes, command, &stream->keys) || is_in_pieces(&call)) {
        return true;
    }
    if (!queue(&call, is_taken, err)) {
        return false;
    }
    if (*is_taken) {
        return true;
    }
    if (!recovery_judge_again(stream, info, bytes, command, source_db, is_taken, err)) {
        return false;
    }
    if (UNLIKELY(*is_taken)) {
        count_without(&call);
    }
    return true;
}

/* ---- pieces ---- */

/* As it had an effect at the source, so it has here; but SMOVE adds a member that may be there, at
 * the source as well. */
struct op relay_op(const struct stream *stream,
                   uint64_t source_db,
                   const struct command_info *info,
                   uint16_t slot)
{
    struct op op = live_op_of(stream, info, slot);
    if (strcmp(info->name, "SADD") == 0) {
        op.answer = COMMAND_ANSWER_ANY;
    }
    op.source_db = (uint32_t)source_db;
    return op;
}

static bool queue_args(struct stream *stream,
                       uint64_t source_db,
                       const struct slice *args,
                       uint32_t count,
                       uint32_t key,
                       bool *is_taken,
                       struct syn_err *err)
{
    struct relay *relay = stream->relay;
    const struct relay_call call = {.stream = stream, .source_db = source_db};
    uint8_t head[RESP_HEAD_MAX];
    size_t size = (size_t)(resp_put_head(head, '*', count) - head);
    for (uint32_t i = 0; i < count; i++) {
        size += resp_bulk_size(args[i].size);
    }
    bool fits;
    if (!relay_make_room(relay, 1, size, &fits, err)) {
        return false;
    }
    *is_taken = fits && held_has_key(&relay->held, args[key].bytes, args[key].size);
    if (!*is_taken) {
        return true;
    }
    struct held_command *held = new_held(&call, 1, size, err);
    if (held == NULL) {
        return false;
    }
    size_t pos = 0;
    uint8_t *out = resp_put_head(held->bytes, '*', count);
    for (uint32_t i = 0; i < count; i++) {
        out = resp_put_bulk(out, args[i].bytes, args[i].size);
        pos = i == key ? (size_t)(out - held->bytes) - args[i].size - 2 : pos;
    }
    ASSERT(out == held->bytes + size);
    held->is_piece = true;
    uint16_t slot = route_slot(stream->task->route, args[key].bytes, args[key].size);
    held_add_key(&relay->held, held, pos, (uint32_t)args[key].size, slot, false);
    held_add_done(&relay->held, held, HELD_WRITE);
    return true;
}

bool relay_forward_args(struct stream *stream,
                        uint64_t source_db,
                        const struct slice *args,
                        uint32_t count,
                        uint32_t key,
                        struct syn_err *err)
{
    struct relay *relay = stream->relay;
    if (UNLIKELY(relay_is_busy(relay)) &&
        held_has_key(&relay->held, args[key].bytes, args[key].size)) {
        bool is_taken;
        if (!queue_args(stream, source_db, args, count, key, &is_taken, err)) {
            return false;
        }
        if (is_taken) {
            return true;
        }
    }
    const struct route *route = stream->task->route;
    uint16_t slot = route_slot(route, args[key].bytes, args[key].size);
    uint32_t lane = route_lane(route, slot);
    /* The command was judged, but this or another piece of it may have waited since. */
    if (UNLIKELY(stream->recovery != NULL) && recovery_is_dirty(stream, source_db, &args[key])) {
        counter_add(&stream->left_out, 1);
        router_left_out(stream->router, lane, stream->index);
        return true;
    }
    const struct command_info *info = command_find(args[0].bytes, args[0].size);
    ASSERT(info != NULL);
    struct op op = relay_op(stream, source_db, info, slot);
    if (!live_forward_args(stream, lane, task_db(stream->task, source_db), args, count, op, err)) {
        return false;
    }
    divergence_remember_name(stream, lane, &args[key], source_db);
    return true;
}

/* ---- relays ---- */

static bool need(const struct relay_call *call, const char *reason, struct syn_err *err)
{
    struct relay_need need = {.bytes = call->bytes,
                              .command = call->command,
                              .source_db = call->source_db,
                              .keys = call->keys->positions,
                              .key_count = call->keys->count,
                              .reason = reason};
    return relay_needs_refetch(call->stream, &need, err);
}

static bool holds_operand(const struct relay_call *call)
{
    for (uint32_t i = 0; i < call->keys->count; i++) {
        uint32_t arg = call->keys->positions[i];
        if (relay_slot(call, arg) != call->target_slot && call_holds(call, arg)) {
            return true;
        }
    }
    return false;
}

static void add_keys(const struct relay_call *call, struct held_command *held, bool is_asked)
{
    for (uint32_t i = 0; i < call->keys->count; i++) {
        uint32_t arg = call->keys->positions[i];
        if (is_asked == (relay_slot(call, arg) != call->target_slot)) {
            add_key(call, held, arg, is_asked);
        }
    }
}

static bool need_room(const struct relay_call *call, struct syn_err *err)
{
    count_without(call);
    return relay_drain(call->stream->relay, err) &&
           need(call,
                "has more, or longer, operands on other shards of the destination than --memory "
                "allows",
                err);
}

/* Lists a relay, and asks at once when it may: then its operands need not be held. */
static bool begin(const struct relay_call *call, struct syn_err *err)
{
    struct relay *relay = call->stream->relay;
    size_t size = call->command->size;
    bool fits;
    if (!relay_make_room(relay, call->keys->count, size, &fits, err)) {
        return false;
    }
    if (!fits || call->ask_count > relay->answers.count / 2) {
        return need_room(call, err);
    }
    bool is_left_out;
    if (!recovery_judge_again(call->stream,
                              call->info,
                              call->bytes,
                              call->command,
                              call->source_db,
                              &is_left_out,
                              err)) {
        return false;
    }
    if (UNLIKELY(is_left_out)) {
        count_without(call);
        return true;
    }
    if (!relay_is_busy(relay)) {
        relay->now_ms = clock_monotonic_ms();
    }
    bool may_begin = !holds_operand(call);
    struct held_command *held = new_held(call, call->keys->count, size, err);
    if (held == NULL) {
        return false;
    }
    memcpy(held->bytes, call->bytes, size);
    held->kind = (uint8_t)call->kind;
    held->ask_count = call->ask_count;
    add_keys(call, held, false);
    if (may_begin && relay_may_ask(relay, call->kind, call->ask_count, held->write_wait == 0)) {
        if (!relay_flow_ask(call, held, err)) {
            return false;
        }
        return relay_asked(relay, held) || stopped(err);
    }
    add_keys(call, held, true);
    held_add_done(&relay->held, held, HELD_ASK);
    return true;
}

bool relay_apply(struct stream *stream,
                 const struct command_info *info,
                 const uint8_t *bytes,
                 const struct resp_command *command,
                 uint64_t source_db,
                 struct syn_err *err)
{
    struct relay_call call = {.stream = stream,
                              .info = info,
                              .bytes = bytes,
                              .command = command,
                              .keys = &stream->keys,
                              .source_db = source_db};
    relay_call_plan(&call);
    switch (call.kind) {
    case RELAY_NONE:
        count_without(&call);
        return need(&call,
                    info->class == COMMAND_EVAL
                        ? "is a script whose keys do not share one slot of the cluster at the "
                          "destination"
                        : "is not taken by the cluster at the destination, and what it does, or "
                          "reads, cannot be told from its arguments",
                    err);
    case RELAY_DROP:
        count_without(&call);
        counter_add(&stream->dropped, 1);
        return true;
    case RELAY_MEMBER:
    case RELAY_PAIRS:
        return relay_flow_split(&call, err);
    default:
        return begin(&call, err);
    }
}
