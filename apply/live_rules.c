/*
 * The rules of selection in the live stream: one stage in front of live_take, so that nothing
 * behind it knows of rules. What it gives on is a command as the source could have sent it, in the
 * stream's own buffer when it is not the source's bytes.
 *
 * Room for the changed command is made before the command is taken: another stream may have the
 * right to hold much, and then the command waits in the input, whole.
 */
#include "apply/live_way.h"
#include "apply/recovery.h"

#include <stdio.h>
#include <string.h>

/* Commands left out by on-partial told one by one, per stream; the status counts all. */
#define PARTIAL_LOGGED_MAX 100
/* What a command may become without a look at it; larger ones are rare. */
#define ROOM_USUAL 65536u

static bool plan_make(struct stream *stream,
                      const struct command_info *info,
                      const uint8_t *bytes,
                      const struct resp_command *command,
                      struct select_plan *plan,
                      struct syn_err *err)
{
    bool is_asked = info->spec_count == COMMAND_KEYS_ASKED;
    if ((!is_asked || live_keys(stream, info, bytes, command, err)) &&
        select_plan(stream->task->select, info, bytes, command, &stream->keys, plan, err)) {
        return true;
    }
    char where[200];
    err_context(err, "%s", live_where(stream, bytes, command, where));
    return false;
}

static bool plan_is_written(const struct select_plan *plan)
{
    return plan->action == SELECT_RENAMED || plan->action == SELECT_REDUCED ||
           plan->action == SELECT_REPLACED;
}

/* ---- room ---- */

/* A command that is too large for the usual room. Whether it is written anew at all is worth the
 * plan. */
static enum step reserve_large(struct stream *stream,
                               const uint8_t *bytes,
                               const struct resp_command *command,
                               struct syn_err *err)
{
    struct select_plan plan;
    const struct command_info *info =
        command_find(bytes + command->argv[0].pos, command->argv[0].size);
    if (info == NULL && !stream->task->select->has_renames) {
        return STEP_DONE; /* new names are all that a command not of the table is written with */
    }
    if (info != NULL) {
        if (!plan_make(stream, info, bytes, command, &plan, err)) {
            return STEP_FAIL;
        }
        if (!plan_is_written(&plan) && !plan.is_del_before) {
            return STEP_DONE;
        }
    }
    size_t need = select_output_bytes(stream->task->select, info, command);
    /* The command and what becomes of it are one item together. */
    size_t held = stream->is_holding ? stream->item_hold.size : 0;
    size_t most = stream->task->hold_bytes_max;
    if (held > most || need > most - held) {
        char where[200];
        ERR(err,
            SYN_CODE_MEMORY,
            "%s of %zu bytes and its copy under other names are more than the %zu bytes that "
            "--memory leaves for one item; raise --memory to about six times the size of the "
            "largest command",
            live_where(stream, bytes, command, where),
            command->size,
            most);
        return STEP_FAIL;
    }
    return hold_reserve(stream, &stream->value_hold, need, err);
}

enum step live_rules_reserve(struct stream *stream,
                             const uint8_t *bytes,
                             const struct resp_command *command,
                             struct syn_err *err)
{
    struct hold *hold = &stream->value_hold;
    size_t need = select_output_bytes(stream->task->select, NULL, command);
    if (LIKELY(need <= hold->capacity)) {
        return STEP_DONE;
    }
    if (need <= ROOM_USUAL && need <= stream->task->hold_bytes_free) {
        return hold_reserve(stream, hold, need, err);
    }
    return reserve_large(stream, bytes, command, err);
}

/* ---- what is not applied ---- */

/* " (exclude_prefix[0])", or nothing when no rule is to be named. */
static const char *rule_note(const struct stream *stream,
                             const struct select_plan *plan,
                             char note[SELECT_RULE_TEXT_MAX + 4])
{
    char rule[SELECT_RULE_TEXT_MAX];
    note[0] = '\0';
    if (plan->rule != SELECT_RULE_NONE) {
        snprintf(note,
                 SELECT_RULE_TEXT_MAX + 4,
                 " (%s)",
                 select_rule_text(stream->task->select, plan->rule, rule));
    }
    return note;
}

static bool key_unknown(struct stream *stream,
                        uint64_t source_db,
                        struct slice key,
                        struct select_name *name,
                        struct syn_err *err)
{
    bool is_selected;
    if (!select_to_destination(stream->task->select, key, name, &is_selected, err)) {
        return false;
    }
    ASSERT(is_selected);
    const struct slice there = {name->bytes, name->size};
    return recovery_unknown(stream, source_db, &there, err);
}

/* The key at plan->target, or else all that are marked, are read at the source. */
static bool keys_unknown(struct stream *stream,
                         const struct command_info *info,
                         const struct select_plan *plan,
                         const uint8_t *bytes,
                         const struct resp_command *command,
                         struct syn_err *err)
{
    struct select_name name = {0};
    bool is_done = true;
    uint64_t db = info->class == COMMAND_COPY ? live_copy_db(stream->source_db, bytes, command)
                                              : stream->source_db;
    const struct key_list *keys = &stream->keys;
    for (uint32_t i = 0; i < keys->count && is_done; i++) {
        uint32_t at = keys->positions[i] & ~SELECT_MARK;
        bool is_changed =
            plan->target == 0 ? (keys->positions[i] & SELECT_MARK) != 0 : at == plan->target;
        if (is_changed) {
            is_done = key_unknown(stream, db, arg_slice(bytes, command, at), &name, err);
        }
    }
    select_name_deinit(&name);
    stream->has_unknown = true;
    counter_add(&stream->dropped, 1);
    return is_done;
}

/* A selected key whose new value is not known at the destination. Where positions are kept, it is
 * read at the source like one that an interruption left uncertain. Otherwise, and where nobody
 * knows which keys a command changes, the task stops or they are left as they were. */
static bool take_partial(struct stream *stream,
                         const struct command_info *info,
                         const struct select_plan *plan,
                         const uint8_t *bytes,
                         const struct resp_command *command,
                         struct syn_err *err)
{
    if (stream->task->positions != NULL && stream->keys.count > 0) {
        return keys_unknown(stream, info, plan, bytes, command, err);
    }
    char where[200];
    char note[SELECT_RULE_TEXT_MAX + 4];
    live_where(stream, bytes, command, where);
    rule_note(stream, plan, note);
    if (!stream->task->drops_partial) {
        return ERR(err,
                   SYN_CODE_UNSUPPORTED,
                   "%s %s%s, so the new value of a selected key is not known at the destination; "
                   "select all of its keys or none, leave the command out (--exclude-command), or "
                   "let such keys differ (--on-partial drop)",
                   where,
                   select_reason_text(plan->reason),
                   note);
    }
    counter_add(&stream->dropped, 1);
    counter_add(&stream->partial_dropped, 1);
    uint64_t count = atomic_load_relaxed(&stream->partial_dropped);
    if (count <= PARTIAL_LOGGED_MAX) {
        log_warning("%s %s%s: it is left out, and what it writes will differ%s",
                    where,
                    select_reason_text(plan->reason),
                    note,
                    count == PARTIAL_LOGGED_MAX ? "; more of these are only counted" : "");
    }
    return true;
}

static bool refuse_claimed(const struct stream *stream,
                           const struct select_plan *plan,
                           const uint8_t *bytes,
                           const struct resp_command *command,
                           struct syn_err *err)
{
    char where[200];
    char rule[SELECT_RULE_TEXT_MAX];
    const struct resp_arg *key = &command->argv[plan->target];
    return ERR(err,
               SYN_CODE_UNSUPPORTED,
               "%s: the key with hash %016llx keeps its name, and %s gives that name to another "
               "selected key; leave one of them out, or rename this one too",
               live_where(stream, bytes, command, where),
               (unsigned long long)key_hash(bytes + key->pos, key->size),
               select_rule_text(stream->task->select, plan->rule, rule));
}

static bool refuse_unscoped(const struct stream *stream,
                            const uint8_t *bytes,
                            const struct resp_command *command,
                            struct syn_err *err)
{
    char where[200];
    return ERR(err,
               SYN_CODE_UNSUPPORTED,
               "%s acts on whole databases, of which the rules select only a part; do the same to "
               "the selected keys of the destination by hand and start again, or leave the "
               "command out (--exclude-command)",
               live_where(stream, bytes, command, where));
}

/* ---- the stage ---- */

static bool take_written(struct stream *stream,
                         const uint8_t *bytes,
                         const struct resp_command *written,
                         struct syn_err *err)
{
    const struct command_info *info = live_find(stream, bytes, written);
    ASSERT(info != NULL);
    return live_take(stream, info, bytes, written, err);
}

static struct select_output *output_of(struct stream *stream)
{
    struct select_output *output = &stream->selected;
    output->bytes = stream->value_hold.bytes;
    output->capacity = stream->value_hold.capacity;
    return output;
}

/* COPY of a key that is not there, because of its type, leaves the target as it is: so the target
 * goes first. */
static bool take_del_before(struct stream *stream,
                            const uint8_t *bytes,
                            const struct resp_command *command,
                            struct syn_err *err)
{
    const struct resp_arg *from = &command->argv[1];
    const struct resp_arg *to = &command->argv[2];
    uint64_t db = stream->source_db;
    uint64_t target_db = live_copy_db(stream->source_db, bytes, command);
    if (db == target_db && from->size == to->size &&
        memcmp(bytes + from->pos, bytes + to->pos, from->size) == 0) {
        return true; /* no server does this; removing the key would be worse than nothing */
    }
    struct select_output *output = output_of(stream);
    struct resp_command written;
    if (!select_write_del(stream->task->select, 2, bytes, command, output, &written, err)) {
        return false;
    }
    stream->source_db = target_db;
    stream->has_more_parts = true;
    bool is_done = take_written(stream, output->bytes, &written, err);
    stream->has_more_parts = false;
    stream->source_db = db;
    /* The list was used for the DEL: it is COPY's again. */
    stream->keys.count = 2;
    stream->keys.positions[0] = 1 | SELECT_MARK;
    stream->keys.positions[1] = 2 | SELECT_MARK;
    return is_done;
}

static bool has_one_slot(const uint8_t *bytes, const struct resp_arg *a, const struct resp_arg *b)
{
    return slot_of_key(bytes + a->pos, a->size) == slot_of_key(bytes + b->pos, b->size);
}

/* Writes the plan's command. A RENAME of keys in two slots of a cluster stays one: no script may
 * have both, and what is behind knows what to do with a RENAME, if anything does. */
static bool plan_write(struct stream *stream,
                       const struct select_plan *plan,
                       const uint8_t *bytes,
                       const struct resp_command *command,
                       struct resp_command *written,
                       struct syn_err *err)
{
    const struct select *select = stream->task->select;
    struct select_output *output = output_of(stream);
    if (!select_write(select, plan, bytes, command, &stream->keys, output, written, err)) {
        return false;
    }
    if (plan->form != SELECT_RENAME_OR_DEL || !stream->task->route->is_cluster ||
        has_one_slot(output->bytes, &written->argv[3], &written->argv[4])) {
        return true;
    }
    struct select_plan plain = *plan;
    plain.form = SELECT_SAME;
    return select_write(select, &plain, bytes, command, &stream->keys, output, written, err);
}

/* On the only lane that there is, in the database of COPY's target, which is one that is copied. */
static bool
unit_open(struct stream *stream, const uint8_t *bytes, const struct resp_command *command)
{
    uint64_t target = live_copy_db(stream->source_db, bytes, command);
    return router_unit_begin(stream->router, 0, task_db(stream->task, target));
}

static bool take_plan(struct stream *stream,
                      const struct command_info *info,
                      const struct select_plan *plan,
                      const uint8_t *bytes,
                      const struct resp_command *command,
                      struct syn_err *err)
{
    struct resp_command written;
    bool is_written = plan_is_written(plan);
    if (!is_written && !plan->is_del_before) {
        return live_take(stream, info, bytes, command, err);
    }
    /* Where batches are transactions, no position may come between the two. */
    bool is_unit = plan->is_del_before && router_has_groups(stream->router) &&
                   !(stream->transaction.is_open && !stream->transaction.is_split);
    if (is_unit && !unit_open(stream, bytes, command)) {
        return stopped(err);
    }
    bool is_done = !plan->is_del_before || take_del_before(stream, bytes, command, err);
    if (is_done && is_written) {
        is_done = plan_write(stream, plan, bytes, command, &written, err) &&
                  take_written(stream, stream->selected.bytes, &written, err);
    } else if (is_done) {
        is_done = live_take(stream, info, bytes, command, err);
    }
    if (is_unit && is_done) {
        router_unit_end(stream->router, 0);
    }
    hold_clear(stream, &stream->value_hold);
    return is_done;
}

bool live_rules_take(struct stream *stream,
                     const struct command_info *info,
                     const uint8_t *bytes,
                     const struct resp_command *command,
                     struct syn_err *err)
{
    struct select_plan plan;
    if (UNLIKELY(live_is_elsewhere(stream->task, stream->source_db, info, bytes, command))) {
        return live_take(stream, info, bytes, command, err);
    }
    if (!plan_make(stream, info, bytes, command, &plan, err)) {
        return false;
    }
    /* What does not run may bring the script of an EVALSHA that will. */
    bool goes_on = stream->task->drops_partial || stream->task->positions != NULL;
    bool is_left = plan.action == SELECT_DROPPED || (plan.action == SELECT_PARTIAL && goes_on);
    if (UNLIKELY(info->class == COMMAND_EVAL) && is_left && plan.reason != SELECT_BY_COMMAND &&
        !live_script_load(stream, bytes, command, err)) {
        return false;
    }
    if (UNLIKELY(is_left) && plan.reason != SELECT_BY_KEY) {
        recovery_overlook(stream);
    }
    switch (plan.action) {
    case SELECT_FORWARD:
    case SELECT_RENAMED:
    case SELECT_REDUCED:
    case SELECT_REPLACED:
        return take_plan(stream, info, &plan, bytes, command, err);
    case SELECT_DROPPED:
        counter_add(&stream->dropped, 1);
        return true;
    case SELECT_PARTIAL:
        return take_partial(stream, info, &plan, bytes, command, err);
    case SELECT_CLAIMED:
        return refuse_claimed(stream, &plan, bytes, command, err);
    case SELECT_UNSCOPED:
        if (info->class == COMMAND_FLUSHALL || info->class == COMMAND_FLUSHDB) {
            return live_take(stream, info, bytes, command, err); /* it knows what to remove */
        }
        return refuse_unscoped(stream, bytes, command, err);
    }
    return false;
}
