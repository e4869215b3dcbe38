#include "apply/live_way.h"

#include <string.h>
#include <strings.h>

#include "apply/relay_private.h"

/* ---- what a command says of itself ---- */

static bool
arg_is(const uint8_t *bytes, const struct resp_command *command, uint32_t i, const char *word)
{
    return i < command->argc && command->argv[i].size == strlen(word) &&
           strncasecmp((const char *)bytes + command->argv[i].pos, word, strlen(word)) == 0;
}

bool live_has_patterns(const struct command_info *info,
                       const uint8_t *bytes,
                       const struct resp_command *command,
                       bool is_cluster)
{
    if (info->name_size != 4 || memcmp(info->name, "SORT", 4) != 0) {
        return false;
    }
    for (uint32_t i = 2; i + 1 < command->argc; i++) {
        const struct resp_arg *operand = &command->argv[i + 1];
        if (arg_is(bytes, command, i, "LIMIT")) {
            i += 2;
        } else if (arg_is(bytes, command, i, "BY") || arg_is(bytes, command, i, "GET")) {
            bool is_refused = is_cluster && arg_is(bytes, command, i, "GET");
            if (is_refused || memchr(bytes + operand->pos, '*', operand->size) != NULL) {
                return true;
            }
            i++;
        }
    }
    return false;
}

bool live_is_slot_flush(const uint8_t *bytes, const struct resp_command *command)
{
    return arg_is(bytes, command, 1, "FLUSHSLOT");
}

/* ---- databases ---- */

/* DB_NONE for what is no number too. */
static uint32_t arg_db(const struct task *task,
                       const uint8_t *bytes,
                       const struct resp_command *command,
                       uint32_t i)
{
    uint64_t db;
    if (i >= command->argc) {
        return DB_NONE;
    }
    const struct resp_arg *arg = &command->argv[i];
    bool is_number = num_read_u64((const char *)bytes + arg->pos, arg->size, &db);
    return is_number ? task_db(task, db) : DB_NONE;
}

uint64_t live_copy_db(uint64_t source_db, const uint8_t *bytes, const struct resp_command *command)
{
    uint64_t db = source_db;
    for (uint32_t i = 3; i + 1 < command->argc; i++) {
        const struct resp_arg *word = &command->argv[i];
        const struct resp_arg *arg = &command->argv[i + 1];
        if (word->size == 2 && strncasecmp((const char *)bytes + word->pos, "DB", 2) == 0) {
            (void)num_read_u64((const char *)bytes + arg->pos, arg->size, &db);
        }
    }
    return db;
}

uint64_t live_other_db(const struct command_info *info,
                       const uint8_t *bytes,
                       const struct resp_command *command,
                       uint64_t source_db)
{
    if (info->class == COMMAND_COPY) {
        return live_copy_db(source_db, bytes, command);
    }
    uint64_t db = source_db; /* what is no number is refused, with reasons, where it is applied */
    if (info->class == COMMAND_MOVE) {
        const struct resp_arg *arg = &command->argv[command->argc - 1];
        (void)num_read_u64((const char *)bytes + arg->pos, arg->size, &db);
    }
    return db;
}

bool live_is_elsewhere(const struct task *task,
                       uint64_t source_db,
                       const struct command_info *info,
                       const uint8_t *bytes,
                       const struct resp_command *command)
{
    switch (info->class) {
    case COMMAND_SWAPDB:
        /* Neither is selected, or both are one. */
        return command->argc == 3 &&
               arg_db(task, bytes, command, 1) == arg_db(task, bytes, command, 2);
    case COMMAND_COPY:
        return task_db(task, live_copy_db(source_db, bytes, command)) == DB_NONE;
    default:
        return task_db(task, source_db) == DB_NONE && !live_is_beyond_db(info);
    }
}

/* ---- where keys lie ---- */

struct places {
    bool is_one_slot;
    bool is_one_lane;
    bool is_anywhere; /* it reads keys that are not among its arguments */
};

static struct places places_of(const struct live_target *target,
                               const struct command_info *info,
                               const uint8_t *bytes,
                               const struct resp_command *command,
                               const struct key_list *keys)
{
    struct places places = {
        .is_one_slot = true,
        .is_one_lane = true,
        .is_anywhere = (target->is_cluster || target->lanes > 1) &&
                       live_has_patterns(info, bytes, command, target->is_cluster),
    };
    uint16_t first = 0;
    for (uint32_t i = 0; i < keys->count; i++) {
        const struct resp_arg *key = &command->argv[keys->positions[i]];
        uint16_t slot = slot_of_key(bytes + key->pos, key->size);
        if (i == 0) {
            first = slot;
        }
        places.is_one_slot = places.is_one_slot && slot == first;
        places.is_one_lane = places.is_one_lane && slot % target->lanes == first % target->lanes;
    }
    return places;
}

/* Over several slots of a cluster, or of a kind that no cluster takes. */
static enum live_way
way_of_slots(const struct command_info *info, struct places places, const char **why)
{
    *why = "its keys are in several slots";
    switch (places.is_anywhere ? RELAY_NONE : relay_kind(info)) {
    case RELAY_NONE:
        *why = places.is_anywhere
                   ? "its BY or GET patterns read keys of all shards"
                   : "its keys are in several slots, and what it does to them cannot "
                     "be told from its arguments";
        return LIVE_REFETCH;
    case RELAY_DROP:
        *why = "it changes no data";
        return LIVE_DROP;
    case RELAY_MEMBER:
    case RELAY_PAIRS:
        return LIVE_SPLIT;
    default:
        return LIVE_RELAY;
    }
}

static enum live_way way_of_keys(const struct live_target *target,
                                 const struct command_info *info,
                                 struct places places,
                                 const char **why)
{
    bool is_whole = target->is_cluster ? places.is_one_slot : places.is_one_lane;
    if (is_whole && !places.is_anywhere) {
        return LIVE_FORWARD;
    }
    if (info->class == COMMAND_SPLIT_KEYS || info->class == COMMAND_SPLIT_PAIRS) {
        *why =
            target->is_cluster ? "its keys are in several slots" : "its keys go to several lanes";
        return LIVE_SPLIT;
    }
    if (!target->is_cluster) {
        *why = places.is_anywhere ? "its BY or GET patterns read keys of all lanes"
                                  : "its keys go to several lanes";
        return LIVE_BARRIER;
    }
    return way_of_slots(info, places, why);
}

/* ---- commands that name databases ---- */

static enum live_way way_of_move(uint32_t from, uint32_t to, bool is_cluster, const char **why)
{
    if (from == DB_NONE && to == DB_NONE) {
        *why = "neither database is selected";
        return LIVE_DROP;
    }
    if (to == DB_NONE) {
        *why = "it becomes DEL: its database is not selected";
        return LIVE_FORWARD;
    }
    if (from == DB_NONE || is_cluster || from == to) {
        *why = "the destination does not hold both databases";
        return LIVE_REFUSE;
    }
    return LIVE_FORWARD;
}

static enum live_way way_of_copy(uint32_t from,
                                 uint32_t to,
                                 const struct live_target *target,
                                 const struct command_info *info,
                                 struct places places,
                                 const char **why)
{
    if (to == DB_NONE) {
        *why = "its database is not selected";
        return LIVE_DROP;
    }
    if (from == DB_NONE || (target->is_cluster && to != from)) {
        *why = "the destination does not hold the database that it copies from";
        return LIVE_REFUSE;
    }
    if (target->is_cluster && !places.is_one_slot) {
        return way_of_slots(info, places, why);
    }
    if (!places.is_one_lane) {
        *why = "its keys go to several lanes";
        return LIVE_BARRIER;
    }
    return LIVE_FORWARD;
}

static enum live_way way_of_swap(const struct task *task,
                                 const struct live_target *target,
                                 const uint8_t *bytes,
                                 const struct resp_command *command,
                                 const char **why)
{
    uint32_t a = arg_db(task, bytes, command, 1);
    uint32_t b = arg_db(task, bytes, command, 2);
    if (a == b) {
        *why = a == DB_NONE ? "neither database is selected" : "the databases are the same";
        return LIVE_DROP;
    }
    if (a == DB_NONE || b == DB_NONE || target->is_cluster) {
        *why = "the destination does not hold both databases";
        return LIVE_REFUSE;
    }
    return LIVE_BARRIER;
}

/* ---- scripts and all ---- */

static enum live_way way_of_script(const struct live_target *target,
                                   const struct command_info *info,
                                   struct places places,
                                   uint32_t key_count,
                                   const char **why)
{
    if (key_count > 0 && (target->is_cluster ? places.is_one_slot : places.is_one_lane)) {
        return LIVE_FORWARD;
    }
    if (target->is_cluster && key_count > 0) {
        return way_of_slots(info, places, why);
    }
    if (target->is_cluster) {
        *why = "it has no keys, so which shard must run it is not known";
        return LIVE_REFUSE;
    }
    *why = key_count == 0 ? "what it touches is not known" : "its keys go to several lanes";
    return LIVE_BARRIER;
}

/* Whether it is the same in whatever database the stream is. */
static bool is_of_any_db(enum command_class class)
{
    return class == COMMAND_READ || class == COMMAND_PING || class == COMMAND_PUBLISH ||
           class == COMMAND_CLUSTER || class == COMMAND_REPLCONF || class == COMMAND_FLUSHALL ||
           class == COMMAND_FUNCTION || class == COMMAND_SCRIPT;
}

static enum live_way way_of_class(const struct task *task,
                                  const struct live_target *target,
                                  const struct command_info *info,
                                  const uint8_t *bytes,
                                  const struct resp_command *command,
                                  const struct key_list *keys,
                                  uint64_t source_db,
                                  const char **why)
{
    struct places places = places_of(target, info, bytes, command, keys);
    uint32_t db = task_db(task, source_db);
    switch (info->class) {
    case COMMAND_WRITE:
    case COMMAND_TRIM:
    case COMMAND_RESTORE_ASKING:
    case COMMAND_SPLIT_PAIRS:
    case COMMAND_SPLIT_KEYS:
        return way_of_keys(target, info, places, why);
    case COMMAND_READ:
        *why = "it changes no data";
        return LIVE_DROP;
    case COMMAND_PUBLISH:
        if (task_publishes(task, info)) {
            *why = "it goes to the lane of its channel";
            return LIVE_FORWARD;
        }
        *why = "messages are not forwarded (publish)";
        return LIVE_DROP;
    case COMMAND_CLUSTER:
        if (live_is_slot_flush(bytes, command)) {
            *why = "it removes keys that it does not name";
            return LIVE_REFUSE;
        }
        *why = "it concerns the source's own cluster";
        return LIVE_DROP;
    case COMMAND_PING:
        *why = "it only keeps the connection alive";
        return LIVE_DROP;
    case COMMAND_SELECT:
    case COMMAND_MULTI:
    case COMMAND_EXEC:
    case COMMAND_REPLCONF:
        return LIVE_PROTOCOL;
    case COMMAND_MOVE:
        return way_of_move(db, arg_db(task, bytes, command, 2), target->is_cluster, why);
    case COMMAND_COPY: {
        uint32_t to = task_db(task, live_copy_db(source_db, bytes, command));
        return way_of_copy(db, to, target, info, places, why);
    }
    case COMMAND_SWAPDB:
        return way_of_swap(task, target, bytes, command, why);
    case COMMAND_EVAL:
        return way_of_script(target, info, places, keys->count, why);
    case COMMAND_FLUSHALL:
    case COMMAND_FLUSHDB:
        *why = "it acts on whole databases; of several sources, it removes this one's keys";
        return LIVE_BARRIER;
    case COMMAND_FUNCTION:
    case COMMAND_SCRIPT:
        *why = "it goes to every shard";
        return LIVE_BARRIER;
    case COMMAND_CLASS_COUNT:
        break;
    }
    return LIVE_REFUSE;
}

enum live_way live_way(const struct task *task,
                       const struct live_target *target,
                       const struct command_info *info,
                       const uint8_t *bytes,
                       const struct resp_command *command,
                       const struct key_list *keys,
                       uint64_t source_db,
                       const char **why)
{
    uint32_t db = task_db(task, source_db);
    *why = NULL;
    bool is_protocol = info->class == COMMAND_SELECT || info->class == COMMAND_MULTI ||
                       info->class == COMMAND_EXEC || info->class == COMMAND_REPLCONF;
    if (!is_protocol && db == DB_NONE && !live_is_beyond_db(info)) {
        *why = "its database is not selected";
        return LIVE_DROP;
    }
    if (!is_protocol && target->is_cluster && db != 0 && db != DB_NONE &&
        !is_of_any_db(info->class)) {
        *why = "a cluster has only database 0";
        return LIVE_REFUSE;
    }
    return way_of_class(task, target, info, bytes, command, keys, source_db, why);
}
