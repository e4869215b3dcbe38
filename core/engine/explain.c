/*
 * syn_explain_*: the rules' decisions told one by one.
 *
 * The same functions decide as in a task: select_plan for what becomes of a command, live_way for
 * how it goes on. Results live in blocks that the next call frees.
 */
#include <stdio.h>
#include <string.h>

#include "apply/live_way.h"
#include "core/engine/config_store.h"

#define WORDS_MAX (1u << 16)
#define COMMAND_BYTES_MAX (64u << 20)
#define KINDS_TEXT_MAX 80

struct block {
    struct block *next;
    alignas(max_align_t) uint8_t bytes[];
};

struct syn_explain {
    struct config *config;
    struct syn_config *from; /* a copy: rules are shown as they were written */
    struct task task;
    struct key_list keys;
    struct key_list written_keys;
    struct select_output output;
    struct block *blocks;
    char kinds[KINDS_TEXT_MAX]; /* the selected types, "" for all */
};

/* ---- memory of results ---- */

static void blocks_free(struct syn_explain *explain)
{
    while (explain->blocks != NULL) {
        struct block *block = explain->blocks;
        explain->blocks = block->next;
        mem_free(MEM_ENGINE, block);
    }
}

static void *block_new(struct syn_explain *explain, size_t size, struct syn_err *err)
{
    struct block *block = mem_alloc(MEM_ENGINE, sizeof(*block) + size);
    if (block == NULL) {
        (void)ERR(err, SYN_CODE_MEMORY, "out of memory for an explanation");
        return NULL;
    }
    block->next = explain->blocks;
    explain->blocks = block;
    return block->bytes;
}

static const uint8_t *
bytes_keep(struct syn_explain *explain, const void *bytes, size_t size, struct syn_err *err)
{
    uint8_t *copy = block_new(explain, size + 1, err);
    if (copy == NULL) {
        return NULL;
    }
    if (size > 0) {
        memcpy(copy, bytes, size);
    }
    copy[size] = '\0'; /* for texts */
    return copy;
}

/* ---- names ---- */

const char *syn_action_name(enum syn_action action)
{
    static const char *const names[] = {
        "keep", "rename", "reduce", "replace", "drop", "partial", "refuse"};
    ASSERT((unsigned)action < sizeof(names) / sizeof(names[0]));
    return names[action];
}

const char *syn_way_name(enum syn_way way)
{
    static const char *const names[] = {
        "forward", "split", "barrier", "drop", "refuse", "protocol", "refetch", "ask"};
    ASSERT((unsigned)way < sizeof(names) / sizeof(names[0]));
    return names[way];
}
_Static_assert((int)SYN_WAY_PROTOCOL == (int)LIVE_PROTOCOL && LIVE_WAY_COUNT == 6,
               "ways are passed on as they are");

static const char *group_name(const struct command_info *info)
{
    static const char *const names[COMMAND_GROUP_COUNT] = {
        [COMMAND_GROUP_GENERIC] = "generic",
        [COMMAND_GROUP_STRING] = "string",
        [COMMAND_GROUP_LIST] = "list",
        [COMMAND_GROUP_SET] = "set",
        [COMMAND_GROUP_SORTED_SET] = "sortedset",
        [COMMAND_GROUP_HASH] = "hash",
        [COMMAND_GROUP_STREAM] = "stream",
        [COMMAND_GROUP_GEO] = "geo",
        [COMMAND_GROUP_HYPERLOGLOG] = "hyperloglog",
        [COMMAND_GROUP_BITMAP] = "bitmap",
        [COMMAND_GROUP_SCRIPTING] = "scripting",
        [COMMAND_GROUP_PUBSUB] = "pubsub",
        [COMMAND_GROUP_SERVER] = "server",
        [COMMAND_GROUP_CONNECTION] = "connection",
        [COMMAND_GROUP_TRANSACTIONS] = "transactions",
        [COMMAND_GROUP_CLUSTER] = "cluster",
        [COMMAND_GROUP_MODULE] = "module",
    };
    return names[info->group];
}

static const char *kind_name(const struct command_info *info)
{
    static const char *const names[COMMAND_CLASS_COUNT] = {
        [COMMAND_WRITE] = "write",
        [COMMAND_SPLIT_PAIRS] = "write key by key",
        [COMMAND_SPLIT_KEYS] = "write key by key",
        [COMMAND_READ] = "read",
        [COMMAND_SELECT] = "protocol",
        [COMMAND_MULTI] = "protocol",
        [COMMAND_EXEC] = "protocol",
        [COMMAND_PING] = "protocol",
        [COMMAND_REPLCONF] = "protocol",
        [COMMAND_PUBLISH] = "message",
        [COMMAND_CLUSTER] = "cluster",
        [COMMAND_FLUSHALL] = "flush",
        [COMMAND_FLUSHDB] = "flush",
        [COMMAND_SWAPDB] = "databases",
        [COMMAND_MOVE] = "databases",
        [COMMAND_COPY] = "write",
        [COMMAND_FUNCTION] = "function",
        [COMMAND_SCRIPT] = "script",
        [COMMAND_EVAL] = "script",
        [COMMAND_TRIM] = "write",
        [COMMAND_RESTORE_ASKING] = "write",
    };
    return names[info->class];
}

/* ---- rules ---- */

/* The n-th value of a list as it was written. */
static const char *
rule_written(struct syn_explain *explain, enum option_id id, uint16_t index, struct syn_err *err)
{
    const char *at = explain->from->text[id];
    ASSERT(at != NULL);
    size_t size = 0;
    const char *value = option_list_next(id, &at, &size);
    for (uint16_t i = 0; i < index && value != NULL; i++) {
        value = option_list_next(id, &at, &size);
    }
    ASSERT(value != NULL);
    return (const char *)bytes_keep(explain, value, size, err);
}

static bool
rule_tell(struct syn_explain *explain, uint16_t number, struct syn_rule *out, struct syn_err *err)
{
    static const char *const origins[] = {"option", "environment", "file"};
    const struct select *select = &explain->config->select;
    *out = (struct syn_rule){.name = NULL};
    if (number >= select->rule_count) {
        return true; /* none of the list decided */
    }
    const struct select_rule *rule = &select->rules[number];
    enum option_id id = (enum option_id)(OPTION_INCLUDE_KEY + rule->list);
    char name[SELECT_RULE_TEXT_MAX];
    select_rule_text(select, number, name);
    out->name = (const char *)bytes_keep(explain, name, strlen(name), err);
    out->text = rule_written(explain, id, rule->index, err);
    out->origin = origins[explain->from->origin[id]];
    return out->name != NULL && out->text != NULL;
}
_Static_assert(CONFIG_FROM_CALL == 0 && CONFIG_FROM_ENV == 1 && CONFIG_FROM_FILE == 2,
               "rule_tell names them in this order");

/* ---- keys ---- */

static bool key_name(struct syn_explain *explain,
                     const struct select_rule *rename,
                     struct syn_explained_key *out,
                     struct syn_err *err)
{
    out->name = out->key;
    out->name_size = out->key_size;
    if (rename != NULL) {
        out->name_size = select_renamed_size(rename, out->key_size);
        uint8_t *name = block_new(explain, out->name_size + 1, err);
        if (name == NULL) {
            return false;
        }
        *select_rename_write(&explain->config->select, rename, out->key, out->key_size, name) =
            '\0';
        out->name = name;
    }
    out->slot = slot_of_key(out->name, out->name_size);
    return true;
}

static bool key_selected(struct syn_explain *explain,
                         uint16_t rule,
                         struct syn_explained_key *out,
                         struct syn_err *err)
{
    const struct select *select = &explain->config->select;
    const struct select_rule *rename = select_rename(select, out->key, out->key_size);
    const struct select_rule *claim =
        rename == NULL ? select_claimed(select, out->key, out->key_size) : NULL;
    out->text = rule == SELECT_RULE_NONE ? "no rule speaks against it" : "an include rule names it";
    if (rename != NULL) {
        out->action = SYN_ACTION_RENAME;
    } else if (claim != NULL) {
        out->action = SYN_ACTION_REFUSE;
        out->text = "it keeps its name, which another selected key is renamed to";
        rename = NULL;
    }
    const struct select_rule *told = claim != NULL ? claim : rename;
    uint16_t number = told != NULL ? select_rule_number(select, told) : SELECT_RULE_NONE;
    return rule_tell(explain, rule, &out->rule, err) &&
           rule_tell(explain, number, &out->rename, err) && key_name(explain, rename, out, err);
}

/* `out->key` is set; the rest follows from it. */
static bool key_tell(struct syn_explain *explain,
                     uint32_t db,
                     struct syn_explained_key *out,
                     struct syn_err *err)
{
    uint16_t rule;
    uint32_t there = config_db(explain->config, db);
    out->db = db;
    out->is_db_selected = there != CONFIG_DB_NONE;
    out->db_there = out->is_db_selected ? there : 0;
    out->types = explain->kinds[0] != '\0' ? explain->kinds : NULL;
    if (!select_key(&explain->config->select, out->key, out->key_size, &rule)) {
        out->action = SYN_ACTION_DROP;
        out->text = rule == SELECT_RULE_RESERVED       ? "Syncline keeps positions under this name"
                    : rule == SELECT_RULE_NOT_INCLUDED ? "no include rule names it"
                                                       : "an exclude rule names it";
        return rule_tell(explain, rule, &out->rule, err) && key_name(explain, NULL, out, err);
    }
    if (!key_selected(explain, rule, out, err)) {
        return false;
    }
    if (!out->is_db_selected) {
        out->action = SYN_ACTION_DROP;
        out->text = "its database is not selected";
    }
    return true;
}

bool syn_explain_key(struct syn_explain *explain,
                     uint32_t db,
                     const void *key,
                     size_t key_size,
                     struct syn_explained_key *out,
                     struct syn_err *err)
{
    err_clear(err);
    blocks_free(explain);
    *out = (struct syn_explained_key){.key_size = key_size};
    out->key = bytes_keep(explain, key, key_size, err);
    return out->key != NULL && key_tell(explain, db, out, err);
}

/* ---- commands ---- */

/* One command on its way to an explanation. */
struct telling {
    struct syn_explain *explain;
    uint32_t db;
    const struct command_info *info;
    const uint8_t *bytes;
    struct resp_command command; /* its argv is a block */
    struct select_plan plan;
    struct syn_explained_command *out;
    struct syn_err *err;
};

static bool
command_encode(struct telling *telling, size_t count, const void *const *words, const size_t *sizes)
{
    size_t size = RESP_HEAD_MAX;
    for (size_t i = 0; i < count && size <= COMMAND_BYTES_MAX; i++) {
        size += resp_bulk_size(sizes != NULL ? sizes[i] : strlen(words[i]));
    }
    if (count == 0 || count > WORDS_MAX || size > COMMAND_BYTES_MAX) {
        return ERR(telling->err,
                   SYN_CODE_USAGE,
                   "a command has 1 to %u words and at most %u bytes",
                   WORDS_MAX,
                   COMMAND_BYTES_MAX);
    }
    uint8_t *bytes = block_new(telling->explain, size, telling->err);
    struct resp_arg *argv =
        block_new(telling->explain, count * sizeof(struct resp_arg), telling->err);
    if (bytes == NULL || argv == NULL) {
        return false;
    }
    uint8_t *end = resp_put_head(bytes, '*', count);
    for (size_t i = 0; i < count; i++) {
        size_t word = sizes != NULL ? sizes[i] : strlen(words[i]);
        end = resp_put_bulk(end, words[i], word);
        argv[i] = (struct resp_arg){(uint32_t)(end - bytes - 2 - (ptrdiff_t)word), (uint32_t)word};
    }
    telling->bytes = bytes;
    telling->command =
        (struct resp_command){.argc = (uint32_t)count, .argv = argv, .size = (size_t)(end - bytes)};
    return true;
}

static bool words_keep(struct telling *telling,
                       const uint8_t *bytes,
                       const struct resp_command *command,
                       uint32_t db,
                       struct syn_explained_words *out)
{
    struct syn_explained_word *words =
        block_new(telling->explain, command->argc * sizeof(*words), telling->err);
    const uint8_t *copy = bytes_keep(telling->explain, bytes, command->size, telling->err);
    if (words == NULL || copy == NULL) {
        return false;
    }
    for (uint32_t i = 0; i < command->argc; i++) {
        words[i] = (struct syn_explained_word){copy + command->argv[i].pos, command->argv[i].size};
    }
    *out = (struct syn_explained_words){.count = command->argc, .words = words, .db = db};
    return true;
}

/* The ways of what goes on. */
static bool ways_tell(struct telling *telling,
                      const uint8_t *bytes,
                      const struct resp_command *command,
                      uint32_t db)
{
    struct syn_explain *explain = telling->explain;
    struct syn_explained_command *out = telling->out;
    const struct command_info *info =
        command_find(bytes + command->argv[0].pos, command->argv[0].size);
    ASSERT(info != NULL);
    if (!command_keys(info, bytes, command, &explain->written_keys, telling->err)) {
        telling->err->code = SYN_CODE_USAGE;
        return false;
    }
    uint32_t lanes = explain->config->lane_count != 0 ? explain->config->lane_count : 1;
    const struct live_target standalone = {.is_cluster = false, .lanes = lanes};
    const struct live_target cluster = {.is_cluster = true, .lanes = lanes};
    out->standalone = (enum syn_way)live_way(&explain->task,
                                             &standalone,
                                             info,
                                             bytes,
                                             command,
                                             &explain->written_keys,
                                             db,
                                             &out->standalone_text);
    out->cluster = (enum syn_way)live_way(&explain->task,
                                          &cluster,
                                          info,
                                          bytes,
                                          command,
                                          &explain->written_keys,
                                          db,
                                          &out->cluster_text);
    return true;
}

static void ways_stop(struct syn_explained_command *out, enum syn_way way)
{
    out->standalone = way;
    out->cluster = way;
}

/* ---- what becomes of it ---- */

static uint8_t *output_room(struct telling *telling)
{
    struct syn_explain *explain = telling->explain;
    size_t size = select_output_bytes(&explain->config->select, telling->info, &telling->command);
    explain->output.bytes = block_new(explain, size, telling->err);
    explain->output.capacity = size;
    return explain->output.bytes;
}

static bool become_written(struct telling *telling, struct syn_explained_words *become)
{
    struct syn_explain *explain = telling->explain;
    struct resp_command written;
    return output_room(telling) != NULL &&
           select_write(&explain->config->select,
                        &telling->plan,
                        telling->bytes,
                        &telling->command,
                        &explain->keys,
                        &explain->output,
                        &written,
                        telling->err) &&
           words_keep(telling, explain->output.bytes, &written, telling->db, become) &&
           ways_tell(telling, explain->output.bytes, &written, telling->db);
}

static bool become_del(struct telling *telling, struct syn_explained_words *become)
{
    struct syn_explain *explain = telling->explain;
    struct resp_command written;
    uint64_t db = live_copy_db(telling->db, telling->bytes, &telling->command);
    return output_room(telling) != NULL &&
           select_write_del(&explain->config->select,
                            2,
                            telling->bytes,
                            &telling->command,
                            &explain->output,
                            &written,
                            telling->err) &&
           words_keep(telling, explain->output.bytes, &written, (uint32_t)db, become);
}

static bool become_tell(struct telling *telling)
{
    struct syn_explained_command *out = telling->out;
    struct syn_explained_words *become =
        block_new(telling->explain, 2 * sizeof(*become), telling->err);
    if (become == NULL) {
        return false;
    }
    out->become = become;
    if (telling->plan.is_del_before && !become_del(telling, &become[out->become_count++])) {
        return false;
    }
    struct syn_explained_words *last = &become[out->become_count++];
    if (telling->plan.action != SELECT_FORWARD) {
        return become_written(telling, last);
    }
    return words_keep(telling, telling->bytes, &telling->command, telling->db, last) &&
           ways_tell(telling, telling->bytes, &telling->command, telling->db);
}

static const char *dropped_text(const struct select_plan *plan)
{
    switch (plan->reason) {
    case SELECT_BY_COMMAND:
        return "the command is not selected";
    case SELECT_BY_TYPE:
        return "it writes a type that is not selected";
    default:
        return "it does nothing to selected keys";
    }
}

static const char *replaced_text(const struct select_plan *plan)
{
    if (plan->form == SELECT_RENAME_OR_DEL) {
        return "its key may be missing there, because of a type that is not selected; then the "
               "target goes too";
    }
    return plan->reason == SELECT_BY_TYPE
               ? "it may replace a selected value by one of a type that is not"
               : "this is what it does to the keys that are selected";
}

static bool plan_tell(struct telling *telling)
{
    static const enum syn_action actions[] = {
        [SELECT_FORWARD] = SYN_ACTION_KEEP,
        [SELECT_RENAMED] = SYN_ACTION_RENAME,
        [SELECT_REDUCED] = SYN_ACTION_REDUCE,
        [SELECT_REPLACED] = SYN_ACTION_REPLACE,
        [SELECT_DROPPED] = SYN_ACTION_DROP,
        [SELECT_PARTIAL] = SYN_ACTION_PARTIAL,
        [SELECT_CLAIMED] = SYN_ACTION_REFUSE,
        [SELECT_UNSCOPED] = SYN_ACTION_REFUSE,
    };
    const struct select_plan *plan = &telling->plan;
    struct syn_explained_command *out = telling->out;
    out->action = actions[plan->action];
    if (!rule_tell(telling->explain, plan->rule, &out->rule, telling->err)) {
        return false;
    }
    switch (plan->action) {
    case SELECT_FORWARD:
        out->text = plan->is_del_before
                        ? "its key may be missing there, because of a type that is not selected"
                        : "no rule changes it";
        return become_tell(telling);
    case SELECT_RENAMED:
        out->text = "its keys have new names";
        return become_tell(telling);
    case SELECT_REDUCED:
        out->text = "only some of its keys are selected";
        return become_tell(telling);
    case SELECT_REPLACED:
        out->text = replaced_text(plan);
        return become_tell(telling);
    case SELECT_DROPPED:
        out->text = dropped_text(plan);
        ways_stop(out, SYN_WAY_DROP);
        return true;
    case SELECT_PARTIAL:
        out->standalone_text = select_reason_text(plan->reason);
        out->cluster_text = out->standalone_text;
        if (telling->explain->config->has_positions && telling->explain->keys.count > 0) {
            out->text = "the new value of a selected key is not known there: it is read at the "
                        "source";
            ways_stop(out, SYN_WAY_REFETCH);
            return true;
        }
        out->text = telling->explain->config->drops_partial
                        ? "the new value of a selected key is not known there: it is left out"
                        : "the new value of a selected key is not known there: the task stops";
        ways_stop(out, telling->explain->config->drops_partial ? SYN_WAY_DROP : SYN_WAY_REFUSE);
        return true;
    case SELECT_CLAIMED:
        out->text = "a key keeps its name, which another selected key is renamed to";
        break;
    case SELECT_UNSCOPED:
        out->text = "it acts on whole databases, of which the rules select only a part";
        break;
    }
    ways_stop(out, SYN_WAY_REFUSE);
    return true;
}

/* ---- all of it ---- */

/* The keys with their own decisions, before the plan marks them. */
static bool keys_tell(struct telling *telling)
{
    struct syn_explain *explain = telling->explain;
    struct key_list *keys = &explain->keys;
    if (!command_keys(telling->info, telling->bytes, &telling->command, keys, telling->err)) {
        telling->err->code = SYN_CODE_USAGE;
        return false;
    }
    struct syn_explained_key *out =
        block_new(explain, (keys->count + 1) * sizeof(*out), telling->err);
    if (out == NULL) {
        return false;
    }
    for (uint32_t i = 0; i < keys->count; i++) {
        const struct resp_arg *arg = &telling->command.argv[keys->positions[i]];
        out[i] =
            (struct syn_explained_key){.key = telling->bytes + arg->pos, .key_size = arg->size};
        if (!key_tell(explain, telling->db, &out[i], telling->err)) {
            return false;
        }
    }
    telling->out->keys = out;
    telling->out->key_count = keys->count;
    return true;
}

static bool unknown_tell(struct telling *telling)
{
    const struct resp_arg *name = &telling->command.argv[0];
    struct syn_explained_command *out = telling->out;
    uint16_t rule;
    const uint8_t *text =
        bytes_keep(telling->explain, telling->bytes + name->pos, name->size, telling->err);
    if (text == NULL) {
        return false;
    }
    out->name = (const char *)text;
    out->kind = "unknown";
    bool is_kept = select_unknown(
        &telling->explain->config->select, telling->bytes + name->pos, name->size, &rule);
    out->action = is_kept ? SYN_ACTION_KEEP : SYN_ACTION_DROP;
    out->text = is_kept ? "this version does not know the command; the destination is asked where "
                          "its keys are, and what it does not know either is for on-unknown"
                        : "the command is not selected";
    ways_stop(out, is_kept ? SYN_WAY_ASK : SYN_WAY_DROP);
    return rule_tell(telling->explain, rule, &out->rule, telling->err);
}

static bool command_tell(struct telling *telling)
{
    struct syn_explain *explain = telling->explain;
    struct syn_explained_command *out = telling->out;
    const struct resp_arg *name = &telling->command.argv[0];
    telling->info = command_find(telling->bytes + name->pos, name->size);
    if (telling->info == NULL) {
        return unknown_tell(telling);
    }
    out->name = telling->info->name;
    out->group = group_name(telling->info);
    out->kind = kind_name(telling->info);
    if (!keys_tell(telling)) {
        return false;
    }
    if (live_is_elsewhere(
            &explain->task, telling->db, telling->info, telling->bytes, &telling->command)) {
        out->action = SYN_ACTION_DROP;
        out->text = "its database is not selected";
        ways_stop(out, SYN_WAY_DROP);
        return true;
    }
    if (!select_plan(&explain->config->select,
                     telling->info,
                     telling->bytes,
                     &telling->command,
                     &explain->keys,
                     &telling->plan,
                     telling->err)) {
        telling->err->code = SYN_CODE_USAGE;
        return false;
    }
    return plan_tell(telling);
}

bool syn_explain_command(struct syn_explain *explain,
                         uint32_t db,
                         size_t count,
                         const void *const *words,
                         const size_t *sizes,
                         struct syn_explained_command *out,
                         struct syn_err *err)
{
    err_clear(err);
    blocks_free(explain);
    *out = (struct syn_explained_command){.name = NULL};
    struct telling telling = {.explain = explain, .db = db, .out = out, .err = err};
    return command_encode(&telling, count, words, sizes) && command_tell(&telling);
}

bool syn_explain_knows(const void *name, size_t size)
{
    return command_find(name, size) != NULL;
}

/* ---- life ---- */

static void kinds_text(struct syn_explain *explain)
{
    const struct select *select = &explain->config->select;
    size_t size = 0;
    for (unsigned kind = 0; kind < RDB_KIND_COUNT && select->kinds != SELECT_KINDS_ALL; kind++) {
        if (select_kind(select, (enum rdb_kind)kind)) {
            int wrote = snprintf(explain->kinds + size,
                                 KINDS_TEXT_MAX - size,
                                 "%s%s",
                                 size > 0 ? ", " : "",
                                 select_kind_name((enum rdb_kind)kind));
            ASSERT(wrote > 0 && (size_t)wrote < KINDS_TEXT_MAX - size);
            size += (size_t)wrote;
        }
    }
    if (select->kinds == 0) {
        snprintf(explain->kinds, KINDS_TEXT_MAX, "none");
    }
}

static bool
explain_init(struct syn_explain *explain, const struct syn_config *config, struct syn_err *err)
{
    explain->config = mem_alloc(MEM_ENGINE, sizeof(*explain->config));
    explain->from = mem_calloc(MEM_ENGINE, sizeof(*explain->from));
    if (explain->config == NULL || explain->from == NULL) {
        return ERR(err, SYN_CODE_MEMORY, "out of memory for an explanation");
    }
    if (!config_copy(config, explain->from, err) ||
        !config_build_rules(config, explain->config, err) || !key_list_init(&explain->keys, err) ||
        !key_list_init(&explain->written_keys, err)) {
        return false;
    }
    explain->task.has_db_rules = explain->config->has_db_rules;
    explain->task.db_map = explain->config->db_map;
    explain->task.db_map_count = CONFIG_DB_MAX;
    explain->task.publishes = explain->config->publishes;
    explain->task.spublishes = explain->config->publishes;
    kinds_text(explain);
    return true;
}

struct syn_explain *syn_explain_open(const struct syn_config *config, struct syn_err *err)
{
    err_clear(err);
    struct syn_explain *explain =
        mem_alloc_aligned(MEM_ENGINE, _Alignof(struct syn_explain), sizeof(*explain));
    if (explain == NULL) {
        (void)ERR(err, SYN_CODE_MEMORY, "out of memory for an explanation");
        return NULL;
    }
    memset(explain, 0, sizeof(*explain));
    if (!explain_init(explain, config, err)) {
        syn_explain_free(explain);
        return NULL;
    }
    return explain;
}

void syn_explain_free(struct syn_explain *explain)
{
    if (explain == NULL) {
        return;
    }
    blocks_free(explain);
    key_list_deinit(&explain->keys);
    key_list_deinit(&explain->written_keys);
    select_output_deinit(&explain->output);
    if (explain->from != NULL) {
        config_deinit(explain->from);
        mem_free(MEM_ENGINE, explain->from);
    }
    mem_free(MEM_ENGINE, explain->config);
    mem_free(MEM_ENGINE, explain);
}
