#include "apply/select_plan.h"

#include "apply/select_private.h"

const char *select_reason_text(enum select_reason reason)
{
    switch (reason) {
    case SELECT_BY_KEY:
        return "takes selected keys together with others";
    case SELECT_BY_TYPE:
        return "may read keys of a type that is not selected";
    case SELECT_BY_COMMAND:
        return "is not selected";
    case SELECT_BY_SCRIPT:
        return "is a script, of which not all keys and types can be seen";
    case SELECT_BY_PATTERN:
        return "reads keys that only its BY or GET patterns name";
    case SELECT_BY_RENAME:
        return "has a key whose name another selected key takes";
    }
    return "";
}

/* One command on its way through the rules. */
struct planning {
    const struct select *select;
    const struct command_info *info;
    const uint8_t *bytes;
    const struct resp_command *command;
    struct key_list *keys;
    struct select_plan *plan;
    uint32_t kept_count;
};

static void plan_set(struct planning *planning,
                     enum select_action action,
                     enum select_reason reason,
                     uint16_t rule)
{
    planning->plan->action = action;
    planning->plan->reason = reason;
    planning->plan->rule = rule;
}

static void plan_replace(struct planning *planning, enum select_form form)
{
    planning->plan->action = SELECT_REPLACED;
    planning->plan->form = form;
}

static void
plan_partial(struct planning *planning, enum select_reason reason, uint16_t rule, uint32_t target)
{
    plan_set(planning, SELECT_PARTIAL, reason, rule);
    planning->plan->target = target;
}

static bool arg_is(const struct planning *planning, uint32_t i, const char *word)
{
    const struct resp_arg *arg = &planning->command->argv[i];
    return arg->size == strlen(word) &&
           strncasecmp((const char *)planning->bytes + arg->pos, word, arg->size) == 0;
}

/* ---- marks ---- */

static bool is_marked(const struct planning *planning, uint32_t position)
{
    const struct key_list *keys = planning->keys;
    for (uint32_t i = 0; i < keys->count; i++) {
        if ((keys->positions[i] & ~SELECT_MARK) == position) {
            return (keys->positions[i] & SELECT_MARK) != 0;
        }
    }
    return false;
}

/* Leaves a mark at this position alone. */
static void mark_only(struct planning *planning, uint32_t position)
{
    struct key_list *keys = planning->keys;
    for (uint32_t i = 0; i < keys->count; i++) {
        uint32_t at = keys->positions[i] & ~SELECT_MARK;
        keys->positions[i] = at == position ? at | SELECT_MARK : at;
    }
}

/* Marks the keys that are selected. The rule that keeps the first other one out is the one to tell
 * of. */
static void mark_selected(struct planning *planning)
{
    struct key_list *keys = planning->keys;
    bool is_told = false;
    for (uint32_t i = 0; i < keys->count; i++) {
        const struct resp_arg *key = &planning->command->argv[keys->positions[i]];
        uint16_t rule;
        if (select_key(planning->select, planning->bytes + key->pos, key->size, &rule)) {
            keys->positions[i] |= SELECT_MARK;
            planning->kept_count++;
        } else if (!is_told) {
            planning->plan->rule = rule;
            is_told = true;
        }
    }
}

/* ---- types ---- */

/* A type that is not selected, among these bits; RDB_KIND_COUNT: all are. */
static enum rdb_kind kind_missing(const struct select *select, unsigned kinds)
{
    for (unsigned kind = 0; kind < RDB_KIND_COUNT; kind++) {
        if ((kinds >> kind & 1) != 0 && !select_kind(select, (enum rdb_kind)kind)) {
            return (enum rdb_kind)kind;
        }
    }
    return RDB_KIND_COUNT;
}

/* What the command writes; of a RESTORE the payload tells. */
static enum rdb_kind plan_kind(const struct planning *planning)
{
    const struct command_info *info = planning->info;
    bool is_restore = info->class == COMMAND_RESTORE_ASKING || strcmp(info->name, "RESTORE") == 0;
    if (!is_restore) {
        return select_command_kind(planning->plan->shape, info);
    }
    const struct resp_command *command = planning->command;
    if (command->argc < 4 || command->argv[3].size == 0) {
        return RDB_KIND_COUNT;
    }
    /* The one type byte that two magics use differently is a hash with both. */
    return rdb_type_kind(planning->bytes[command->argv[3].pos], false);
}

/* True when the type that is written is selected. If not, a key that had another type before must
 * go, where the command may replace it. */
static bool plan_types(struct planning *planning)
{
    const struct select *select = planning->select;
    if (LIKELY(select->kinds == SELECT_KINDS_ALL)) {
        return true;
    }
    enum rdb_kind kind = plan_kind(planning);
    if (select_kind(select, kind)) {
        return true;
    }
    plan_set(planning, SELECT_DROPPED, SELECT_BY_TYPE, select->kind_rule[kind]);
    if (planning->plan->shape->overwrites) {
        plan_replace(planning, SELECT_DEL);
    }
    return false;
}

/* ---- names ---- */

/* Forwarded, or written with new names; a name that two keys could take ends it. */
static void plan_names(struct planning *planning, enum select_action plain)
{
    const struct select *select = planning->select;
    const struct key_list *keys = planning->keys;
    planning->plan->action = plain;
    if (LIKELY(!select->has_renames)) {
        return;
    }
    for (uint32_t i = 0; i < keys->count; i++) {
        if ((keys->positions[i] & SELECT_MARK) == 0) {
            continue;
        }
        const struct resp_arg *arg = &planning->command->argv[keys->positions[i] & ~SELECT_MARK];
        const uint8_t *key = planning->bytes + arg->pos;
        const struct select_rule *rule = select_rename(select, key, arg->size);
        if (rule != NULL) {
            if (planning->plan->action == SELECT_FORWARD) {
                plan_set(
                    planning, SELECT_RENAMED, SELECT_BY_RENAME, select_rule_number(select, rule));
            }
            continue;
        }
        rule = select_claimed(select, key, arg->size);
        if (rule != NULL) {
            plan_set(planning, SELECT_CLAIMED, SELECT_BY_RENAME, select_rule_number(select, rule));
            planning->plan->target = keys->positions[i] & ~SELECT_MARK;
            return;
        }
    }
}

/* ---- shapes ---- */

static void plan_each(struct planning *planning)
{
    if (!plan_types(planning)) {
        return;
    }
    bool is_whole = planning->kept_count == planning->keys->count;
    planning->plan->form = is_whole ? SELECT_SAME : SELECT_EACH;
    plan_names(planning, is_whole ? SELECT_FORWARD : SELECT_REDUCED);
}

static bool has_star(const struct planning *planning, uint32_t i)
{
    const struct resp_arg *arg = &planning->command->argv[i];
    return memchr(planning->bytes + arg->pos, '*', arg->size) != NULL;
}

/* Whether SORT reads keys other than those that are found: BY and GET put the elements into the
 * star of their pattern. */
static bool sort_reads_more(const struct planning *planning)
{
    uint32_t argc = planning->command->argc;
    for (uint32_t i = 2; i + 1 < argc; i++) {
        if (arg_is(planning, i, "LIMIT")) {
            i += 2;
        } else if (arg_is(planning, i, "BY") || arg_is(planning, i, "GET")) {
            i++;
            if (has_star(planning, i)) {
                return true;
            }
        }
    }
    return false;
}

static void plan_store(struct planning *planning)
{
    const struct select *select = planning->select;
    const struct command_shape *shape = planning->plan->shape;
    const struct key_list *keys = planning->keys;
    if (keys->count == 1 && shape->target == 0) { /* SORT or GEORADIUS without STORE */
        plan_names(planning, SELECT_FORWARD);
        return;
    }
    uint32_t last = keys->positions[keys->count - 1] & ~SELECT_MARK;
    uint32_t target = shape->target != 0 ? shape->target : last;
    if (!is_marked(planning, target)) {
        plan_set(planning, SELECT_DROPPED, SELECT_BY_KEY, planning->plan->rule);
        return;
    }
    if (!plan_types(planning)) {
        mark_only(planning, target);
        return;
    }
    enum rdb_kind missing = kind_missing(select, shape->operands);
    if (planning->kept_count < keys->count) {
        plan_partial(planning, SELECT_BY_KEY, planning->plan->rule, target);
    } else if (missing != RDB_KIND_COUNT) {
        plan_partial(planning, SELECT_BY_TYPE, select->kind_rule[missing], target);
    } else if (shape->has_patterns && sort_reads_more(planning)) {
        plan_partial(planning, SELECT_BY_PATTERN, SELECT_RULE_NONE, target);
    } else {
        plan_names(planning, SELECT_FORWARD);
    }
}

/* Two keys, argv[1] and argv[2], one of which is selected: what the command does to that one.
 * False when both are selected. */
static bool plan_one_of_two(struct planning *planning, enum select_form out, bool has_in)
{
    if (planning->kept_count == planning->keys->count) {
        return false;
    }
    bool is_out = is_marked(planning, 1);
    planning->plan->reason = SELECT_BY_KEY;
    if (is_out && out == SELECT_SAME) {
        planning->plan->action = SELECT_DROPPED;
    } else if (is_out) {
        plan_replace(planning, out);
    } else if (has_in) {
        plan_replace(planning, SELECT_SADD);
    } else {
        plan_partial(planning, SELECT_BY_KEY, planning->plan->rule, 2);
    }
    return true;
}

/* With types selected a key may be missing at the destination where the source has one of another
 * type; what takes its place is of that type too, and must go. */
static void plan_rename(struct planning *planning)
{
    if (plan_one_of_two(planning, SELECT_DEL, false)) {
        return;
    }
    plan_names(planning, SELECT_FORWARD);
    if (planning->select->kinds != SELECT_KINDS_ALL && planning->plan->action != SELECT_CLAIMED) {
        planning->plan->reason = SELECT_BY_TYPE;
        plan_replace(planning, SELECT_RENAME_OR_DEL);
    }
}

static void plan_copy(struct planning *planning)
{
    if (plan_one_of_two(planning, SELECT_SAME, false)) {
        return;
    }
    plan_names(planning, SELECT_FORWARD);
    planning->plan->is_del_before = planning->select->kinds != SELECT_KINDS_ALL;
}

static void plan_pair(struct planning *planning, enum select_form out, bool has_in)
{
    if (plan_types(planning) && !plan_one_of_two(planning, out, has_in)) {
        plan_names(planning, SELECT_FORWARD);
    }
}

static void plan_all(struct planning *planning)
{
    const struct select *select = planning->select;
    if (planning->kept_count < planning->keys->count) {
        plan_partial(planning, SELECT_BY_KEY, planning->plan->rule, 0);
    } else if (planning->info->class == COMMAND_EVAL && select->kinds != SELECT_KINDS_ALL) {
        enum rdb_kind missing = kind_missing(select, SELECT_KINDS_ALL);
        plan_partial(planning, SELECT_BY_SCRIPT, select->kind_rule[missing], 0);
    } else if (plan_types(planning)) {
        plan_names(planning, SELECT_FORWARD);
    }
}

static void plan_shape(struct planning *planning)
{
    switch (planning->plan->shape->shape) {
    case SHAPE_EACH:
        plan_each(planning);
        break;
    case SHAPE_STORE:
        plan_store(planning);
        break;
    case SHAPE_RENAME:
        plan_rename(planning);
        break;
    case SHAPE_COPY:
        plan_copy(planning);
        break;
    case SHAPE_MEMBER:
        plan_pair(planning, SELECT_SREM, true);
        break;
    case SHAPE_ELEMENT:
        plan_pair(planning, SELECT_POP, false);
        break;
    case SHAPE_ALL:
    case SHAPE_COUNT:
        plan_all(planning);
        break;
    }
}

/* ---- all ---- */

/* Classes that have no keys, or are dropped whatever their keys are. True: planned. */
static bool plan_class(struct planning *planning)
{
    switch (planning->info->class) {
    case COMMAND_READ:
    case COMMAND_PING:
    case COMMAND_PUBLISH:
    case COMMAND_CLUSTER:
    case COMMAND_REPLCONF:
    case COMMAND_SELECT:
    case COMMAND_MULTI:
    case COMMAND_EXEC:
    case COMMAND_FUNCTION:
    case COMMAND_SCRIPT:
        return true;
    case COMMAND_FLUSHALL:
    case COMMAND_FLUSHDB:
    case COMMAND_SWAPDB:
        plan_set(planning, SELECT_UNSCOPED, SELECT_BY_KEY, SELECT_RULE_NONE);
        return true;
    default:
        return false;
    }
}

static void plan_keys(struct planning *planning)
{
    if (planning->keys->count == 0) {
        if (planning->info->class == COMMAND_EVAL) {
            plan_partial(planning, SELECT_BY_SCRIPT, SELECT_RULE_NONE, 0);
        }
        return;
    }
    mark_selected(planning);
    if (planning->kept_count == 0) {
        plan_set(planning, SELECT_DROPPED, SELECT_BY_KEY, planning->plan->rule);
        return;
    }
    planning->plan->shape = select_shape(planning->select, planning->info);
    plan_shape(planning);
}

/* The common case: one key, which no rule renames and whose type does not matter. True: planned. */
static inline bool plan_one(const struct select *select,
                            const struct command_info *info,
                            const uint8_t *bytes,
                            const struct resp_command *command,
                            struct select_plan *plan)
{
    if (!info->is_key_first || info->class == COMMAND_READ || command->argc < 2 ||
        select->has_renames || select->kinds != SELECT_KINDS_ALL) {
        return false;
    }
    const struct resp_arg *key = &command->argv[1];
    if (!select_key(select, bytes + key->pos, key->size, &plan->rule)) {
        plan->action = SELECT_DROPPED;
        plan->reason = SELECT_BY_KEY;
        return true;
    }
    plan->rule = SELECT_RULE_NONE;
    return true;
}

bool select_plan(const struct select *select,
                 const struct command_info *info,
                 const uint8_t *bytes,
                 const struct resp_command *command,
                 struct key_list *keys,
                 struct select_plan *plan,
                 struct syn_err *err)
{
    *plan = (struct select_plan){.action = SELECT_FORWARD, .rule = SELECT_RULE_NONE};
    struct planning planning = {select, info, bytes, command, keys, plan, 0};
    bool is_asked = info->spec_count == COMMAND_KEYS_ASKED;
    keys->count = is_asked ? keys->count : 0;
    if (select->has_command_rules && !select_command(select, info, &plan->rule)) {
        plan_set(&planning, SELECT_DROPPED, SELECT_BY_COMMAND, plan->rule);
        return true;
    }
    plan->rule = SELECT_RULE_NONE;
    if (select->is_total || plan_one(select, info, bytes, command, plan) || plan_class(&planning)) {
        return true;
    }
    if (!is_asked && !command_keys(info, bytes, command, keys, err)) {
        return false;
    }
    plan_keys(&planning);
    return true;
}
