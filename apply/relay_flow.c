/*
 * What a relay asks, and what it writes when the answers are there. The diagrams are in relay.h.
 *
 * Answers come in the order of the questions: of the keys in the command, and for RENAME and COPY
 * the value, then its expiry.
 */
#include "apply/divergence.h"
#include "apply/relay_private.h"

#include <stdio.h>
#include <string.h>

static struct slice word(const char *text)
{
    return (struct slice){(const uint8_t *)text, strlen(text)};
}

static struct slice call_arg(const struct relay_call *call, uint32_t i)
{
    return arg_slice(call->bytes, call->command, i);
}

static uint32_t call_db(const struct relay_call *call)
{
    return task_db(call->stream->task, call->source_db);
}

static bool write_args(const struct relay_call *call,
                       uint16_t slot,
                       const struct slice *args,
                       uint32_t count,
                       struct syn_err *err)
{
    struct stream *stream = call->stream;
    uint32_t lane = route_lane(stream->task->route, slot);
    const struct command_info *info = command_find(args[0].bytes, args[0].size);
    ASSERT(info != NULL);
    struct op op = relay_op(stream, call->source_db, info, slot);
    if (!live_forward_args(stream, lane, call_db(call), args, count, op, err)) {
        return false;
    }
    divergence_remember_name(stream, lane, &args[1], call->source_db);
    return true;
}

static struct slice word_del(const struct relay_call *call)
{
    return word(call->stream->relay->options.has_unlink ? "UNLINK" : "DEL");
}

/* ---- questions ---- */

static bool ask(const struct relay_call *call,
                struct held_command *held,
                uint16_t slot,
                const struct slice *args,
                uint32_t count,
                struct syn_err *err)
{
    struct answers *answers = &call->stream->relay->answers;
    struct answer *answer = answer_take(answers, &held->wait);
    ASSERT(answer != NULL); /* there are enough, see relay.c */
    if (held->answers_last != NULL) {
        held->answers_last->next = answer;
    } else {
        held->answers = answer;
    }
    held->answers_last = answer;
    struct op op = live_op(call->stream, slot);
    op.kind = OP_ASK;
    op.ask = answer_number(answers, answer);
    return live_forward_args(call->stream,
                             route_lane(call->stream->task->route, slot),
                             call_db(call),
                             args,
                             count,
                             op,
                             err);
}

static bool ask_of(const struct relay_call *call,
                   struct held_command *held,
                   const char *name,
                   uint32_t arg,
                   struct syn_err *err)
{
    const struct slice args[] = {word(name), call_arg(call, arg)};
    return ask(call, held, relay_slot(call, arg), args, 2, err);
}

/* LMOVE and BLMOVE say from which end, and to which; the others from right to left. */
static bool move_is_left(const struct relay_call *call, uint32_t arg, bool otherwise)
{
    bool is_said = strstr(call->info->name, "LMOVE") != NULL;
    if (!is_said || arg >= call->command->argc) {
        return otherwise;
    }
    struct slice end = call_arg(call, arg);
    return end.size == 4 && strncasecmp((const char *)end.bytes, "LEFT", 4) == 0;
}

static bool
ask_rename(const struct relay_call *call, struct held_command *held, struct syn_err *err)
{
    bool has_expiretime = call->stream->relay->options.has_expiretime;
    const struct slice del[] = {word_del(call), call_arg(call, 1)};
    return ask_of(call, held, "DUMP", 1, err) &&
           ask_of(call, held, has_expiretime ? "PEXPIRETIME" : "PTTL", 1, err) &&
           (call->kind == RELAY_COPY || write_args(call, relay_slot(call, 1), del, 2, err));
}

static bool
ask_operands(const struct relay_call *call, struct held_command *held, struct syn_err *err)
{
    for (uint32_t i = 0; i < call->keys->count; i++) {
        uint32_t arg = call->keys->positions[i];
        if (relay_slot(call, arg) != call->target_slot && !ask_of(call, held, "DUMP", arg, err)) {
            return false;
        }
    }
    return true;
}

bool relay_flow_ask(const struct relay_call *call, struct held_command *held, struct syn_err *err)
{
    /* Before any question is on its way: the first answer may be here before the last question. */
    atomic_store_relaxed(&held->wait.pending, call->ask_count);
    switch (call->kind) {
    case RELAY_MOVE:
        return ask_of(call, held, move_is_left(call, 3, false) ? "LPOP" : "RPOP", 1, err);
    case RELAY_RENAME:
    case RELAY_COPY:
        return ask_rename(call, held, err);
    default:
        return ask_operands(call, held, err);
    }
}

/* ---- what is missing ---- */

/* RPOPLPUSH, RENAME and their like: both keys are other than at the source, perhaps. */
static bool diverged(const struct relay_call *call, struct syn_err *err)
{
    const struct slice keys[] = {call_arg(call, 1), call_arg(call, 2)};
    return relay_diverged(call->stream, call->source_db, keys, 2, err);
}

static bool too_large(const struct relay_call *call, uint64_t size, struct syn_err *err)
{
    char reason[160];
    snprintf(
        reason,
        sizeof(reason),
        "needs a value of %llu bytes from another shard of the destination, and --memory leaves "
        "%llu for those on their way",
        (unsigned long long)size,
        (unsigned long long)(call->stream->relay->answers.bytes_max / 2));
    struct relay_need need = {.bytes = call->bytes,
                              .command = call->command,
                              .source_db = call->source_db,
                              .keys = &call->target,
                              .key_count = 1,
                              .reason = reason};
    return relay_needs_refetch(call->stream, &need, err);
}

static const struct answer *answer_large(const struct held_command *held)
{
    for (const struct answer *answer = held->answers; answer != NULL; answer = answer->next) {
        if (answer->kind == ANSWER_LARGE) {
            return answer;
        }
    }
    return NULL;
}

/* ---- RPOPLPUSH, LMOVE ---- */

static bool
write_move(const struct relay_call *call, const struct answer *element, struct syn_err *err)
{
    if (element->kind != ANSWER_BYTES) {
        return diverged(call, err); /* as propagated there was one */
    }
    const struct slice args[] = {word(move_is_left(call, 4, true) ? "LPUSH" : "RPUSH"),
                                 call_arg(call, 2),
                                 {element->bytes, (size_t)element->size}};
    return write_args(call, call->target_slot, args, 3, err);
}

/* ---- RENAME, COPY ---- */

/* The ttl of RESTORE, 0: none. *is_gone: it expired between the two questions. */
static uint64_t
restore_ttl(const struct relay_call *call, const struct answer *expiry, bool *is_gone)
{
    int64_t ms = expiry->kind == ANSWER_INTEGER ? expiry->integer : -2;
    *is_gone = ms < -1;
    if (ms < 0) {
        return 0;
    }
    if (!call->stream->relay->options.has_expiretime) {
        /* What was left then, less what has passed: no clock but ours is read. */
        int64_t passed = (int64_t)(clock_monotonic_ms() - expiry->time_ms);
        ms = ms > passed ? ms - passed : 0;
    }
    return ms > 0 ? (uint64_t)ms : 1; /* zero would mean that the key never expires */
}

/* At the source it took the target's place. With types selected that may have been one which is
 * not, and then the target has no place here (select_plan.h, SELECT_RENAME_OR_DEL). */
static bool write_without(const struct relay_call *call, struct syn_err *err)
{
    const struct select *select = call->stream->task->select;
    if (select == NULL || select->kinds == SELECT_KINDS_ALL) {
        return diverged(call, err);
    }
    const struct slice args[] = {word_del(call), call_arg(call, 2)};
    return write_args(call, call->target_slot, args, 2, err);
}

static bool
write_rename(const struct relay_call *call, const struct answer *value, struct syn_err *err)
{
    bool is_gone;
    uint64_t ttl = restore_ttl(call, value->next, &is_gone);
    if (value->kind != ANSWER_BYTES || is_gone) {
        return write_without(call, err);
    }
    char digits[NUM_DIGITS_MAX];
    const struct slice args[] = {word("RESTORE"),
                                 call_arg(call, 2),
                                 {(uint8_t *)digits, num_write_u64(digits, ttl)},
                                 {value->bytes, (size_t)value->size},
                                 word("REPLACE"),
                                 word("ABSTTL")};
    bool is_absolute = ttl > 0 && call->stream->relay->options.has_expiretime;
    return write_args(call, call->target_slot, args, is_absolute ? 6 : 5, err);
}

/* ---- …STORE ---- */

/* Writing one operation of a unit, argument by argument. */
struct pen {
    struct router *router;
    uint32_t lane;
    uint16_t slot;
    struct stream *stream;
};

static bool pen_begin(const struct pen *pen, uint32_t argc)
{
    uint8_t head[RESP_HEAD_MAX];
    return router_unit_op(pen->router, pen->lane) &&
           router_put(
               pen->router, pen->lane, head, (size_t)(resp_put_head(head, '*', argc) - head));
}

static bool pen_arg(const struct pen *pen, struct slice arg)
{
    uint8_t head[RESP_HEAD_MAX];
    size_t size = (size_t)(resp_put_head(head, '$', arg.size) - head);
    return router_put(pen->router, pen->lane, head, size) &&
           router_put(pen->router, pen->lane, arg.bytes, arg.size) &&
           router_put(pen->router, pen->lane, "\r\n", 2);
}

static void pen_done(const struct pen *pen, enum op_kind kind)
{
    struct op op = live_op(pen->stream, pen->slot);
    op.kind = (uint8_t)kind;
    router_unit_done(pen->router, pen->lane, op);
}

static bool pen_word(const struct pen *pen, const char *name, enum op_kind kind)
{
    if (!pen_begin(pen, 1) || !pen_arg(pen, word(name))) {
        return false;
    }
    pen_done(pen, kind);
    return true;
}

/* The temporary key that stands for the n-th operand of another slot. */
struct temp {
    char text[sizeof(RELAY_PREFIX) + RELAY_TAG_MAX + NUM_DIGITS_MAX + 4];
};

static struct slice temp_name(struct temp *temp, const char *tag, uint32_t n)
{
    int size = snprintf(temp->text, sizeof(temp->text), RELAY_PREFIX "{%s}:%u", tag, n);
    return (struct slice){(const uint8_t *)temp->text, (size_t)size};
}

static bool put_restores(const struct pen *pen, const struct held_command *held, const char *tag)
{
    uint32_t n = 0;
    for (const struct answer *answer = held->answers; answer != NULL; answer = answer->next, n++) {
        struct temp temp;
        if (answer->kind != ANSWER_BYTES) {
            continue;
        }
        struct slice value = {answer->bytes, (size_t)answer->size};
        if (!pen_begin(pen, 5) || !pen_arg(pen, word("RESTORE")) ||
            !pen_arg(pen, temp_name(&temp, tag, n)) || !pen_arg(pen, word("0")) ||
            !pen_arg(pen, value) || !pen_arg(pen, word("REPLACE"))) {
            return false;
        }
        pen_done(pen, OP_COMMAND);
    }
    return true;
}

/* The command with its operands of other slots replaced. Where one of its keys is of another type
 * than at the source, those that are not replaced are read again. */
static bool put_command(const struct pen *pen, const struct relay_call *call, const char *tag)
{
    const struct key_list *keys = call->keys;
    uint32_t argc = call->command->argc;
    uint32_t key = 0;
    uint32_t n = 0;
    if (!pen_begin(pen, argc)) {
        return false;
    }
    for (uint32_t i = 0; i < argc; i++) {
        bool is_key = key < keys->count && keys->positions[key] == i;
        struct temp temp;
        struct slice arg = call_arg(call, i);
        key += is_key;
        if (is_key && relay_slot(call, i) != call->target_slot) {
            arg = temp_name(&temp, tag, n++);
        }
        if (!pen_arg(pen, arg)) {
            return false;
        }
    }
    struct op op = relay_op(pen->stream, call->source_db, call->info, pen->slot);
    router_unit_done(pen->router, pen->lane, op);
    const struct slice target = call_arg(call, call->target);
    divergence_remember_name(pen->stream, pen->lane, &target, call->source_db);
    return true;
}

static bool put_removal(const struct pen *pen,
                        const struct relay_call *call,
                        const struct held_command *held,
                        uint32_t count,
                        const char *tag)
{
    uint32_t n = 0;
    if (!pen_begin(pen, 1 + count) || !pen_arg(pen, word_del(call))) {
        return false;
    }
    for (const struct answer *answer = held->answers; answer != NULL; answer = answer->next, n++) {
        struct temp temp;
        if (answer->kind == ANSWER_BYTES && !pen_arg(pen, temp_name(&temp, tag, n))) {
            return false;
        }
    }
    pen_done(pen, OP_COMMAND);
    return true;
}

static bool
write_store(const struct relay_call *call, const struct held_command *held, struct syn_err *err)
{
    struct router *router = call->stream->router;
    struct pen pen = {.router = router,
                      .lane = route_lane(call->stream->task->route, call->target_slot),
                      .slot = call->target_slot,
                      .stream = call->stream};
    char tag[RELAY_TAG_MAX];
    relay_tag(call->target_slot, tag);
    uint32_t count = 0; /* operands that exist; for others there is no key, as at the source */
    for (const struct answer *answer = held->answers; answer != NULL; answer = answer->next) {
        count += answer->kind == ANSWER_BYTES;
    }
    if (!router_unit_begin(router, pen.lane, call_db(call))) {
        return stopped(err);
    }
    bool is_written = count == 0
                          ? put_command(&pen, call, tag)
                          : pen_word(&pen, "MULTI", OP_MULTI) && put_restores(&pen, held, tag) &&
                                put_command(&pen, call, tag) &&
                                put_removal(&pen, call, held, count, tag) &&
                                pen_word(&pen, "EXEC", OP_EXEC);
    if (!is_written) {
        return stopped(err);
    }
    router_unit_end(router, pen.lane);
    return true;
}

bool relay_flow_write(const struct relay_call *call, struct held_command *held, struct syn_err *err)
{
    const struct answer *large = answer_large(held);
    if (UNLIKELY(large != NULL)) {
        return too_large(call, large->size, err);
    }
    switch (call->kind) {
    case RELAY_MOVE:
        return write_move(call, held->answers, err);
    case RELAY_RENAME:
    case RELAY_COPY:
        return write_rename(call, held->answers, err);
    default:
        return write_store(call, held, err);
    }
}

/* ---- what splits ---- */

/* As propagated the member was there. */
static bool split_member(const struct relay_call *call, struct syn_err *err)
{
    const struct slice from[] = {word("SREM"), call_arg(call, 1), call_arg(call, 3)};
    const struct slice to[] = {word("SADD"), call_arg(call, 2), call_arg(call, 3)};
    return relay_forward_args(call->stream, call->source_db, from, 3, 1, err) &&
           relay_forward_args(call->stream, call->source_db, to, 3, 1, err);
}

/* MSETEX n key value … [NX|XX] [EX …|PXAT …|KEEPTTL]: conditions held for all, so for each. */
#define PAIRS_OPTIONS_MAX 4
static bool split_pairs(const struct relay_call *call, struct syn_err *err)
{
    const struct key_list *keys = call->keys;
    uint32_t options = keys->positions[keys->count - 1] + 2;
    uint32_t argc = call->command->argc;
    if (argc < options || argc - options > PAIRS_OPTIONS_MAX) {
        char where[200];
        return ERR(err,
                   SYN_CODE_SOURCE_DATA,
                   "%s has %u arguments, for %u keys",
                   live_where(call->stream, call->bytes, call->command, where),
                   argc,
                   keys->count);
    }
    for (uint32_t i = 0; i < keys->count; i++) {
        struct slice args[4 + PAIRS_OPTIONS_MAX] = {call_arg(call, 0),
                                                    word("1"),
                                                    call_arg(call, keys->positions[i]),
                                                    call_arg(call, keys->positions[i] + 1)};
        uint32_t count = 4;
        for (uint32_t arg = options; arg < argc; arg++) {
            args[count++] = call_arg(call, arg);
        }
        if (!relay_forward_args(call->stream, call->source_db, args, count, 2, err)) {
            return false;
        }
    }
    return true;
}

bool relay_flow_split(const struct relay_call *call, struct syn_err *err)
{
    return call->kind == RELAY_MEMBER ? split_member(call, err) : split_pairs(call, err);
}
