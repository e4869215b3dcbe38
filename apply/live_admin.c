/*
 * Commands without keys, and commands that name databases: the few that act on more than their
 * keys.
 *
 * They are barriers: everything that this decoder wrote before is answered first, and they are
 * answered before anything later goes out. Those that would take the positions with them are one
 * transaction with the positions' return. That is exact while one stream feeds the destination.
 *
 * What must not run twice (SWAPDB, COPY to another database, a script without keys) is alone in a
 * group with the position behind it. Only a standalone destination takes them, and its batches are
 * groups on one lane: there is no moment in which it has run and the position does not say so, and
 * none in which another lane is behind. What a cluster takes (flushes, functions, scripts) may run
 * again, since nothing behind it was sent before it was answered.
 * With several streams a flush would also take what the others own, so it is refused, with what to
 * do.
 */
#include "apply/divergence.h"
#include "apply/recovery.h"
#include "apply/relay_private.h"

#include <string.h>

static bool refuse(const struct stream *stream,
                   const uint8_t *bytes,
                   const struct resp_command *command,
                   const char *reason,
                   struct syn_err *err)
{
    char where[200];
    return ERR(
        err, SYN_CODE_UNSUPPORTED, "%s %s", live_where(stream, bytes, command, where), reason);
}

static bool
arg_is(const uint8_t *bytes, const struct resp_command *command, uint32_t i, const char *word)
{
    return i < command->argc && command->argv[i].size == strlen(word) &&
           strncasecmp((const char *)bytes + command->argv[i].pos, word, command->argv[i].size) ==
               0;
}

static bool
arg_db(const uint8_t *bytes, const struct resp_command *command, uint32_t i, uint64_t *db)
{
    return i < command->argc &&
           num_read_u64((const char *)bytes + command->argv[i].pos, command->argv[i].size, db);
}

/* ---- flushes ---- */

/* MULTI, unless batches are groups anyway. */
static bool unit_multi(struct stream *stream, uint32_t lane, uint32_t db)
{
    struct router *router = stream->router;
    struct op op = live_op(stream, SLOT_NONE);
    op.kind = OP_MULTI;
    if (!router_unit_begin(router, lane, db)) {
        return false;
    }
    if (router_has_groups(router)) {
        return true;
    }
    if (!router_unit_op(router, lane) ||
        !router_put(router, lane, ROUTER_MULTI, sizeof(ROUTER_MULTI) - 1)) {
        return false;
    }
    router_unit_done(router, lane, op);
    return true;
}

static bool unit_exec(struct stream *stream, uint32_t lane)
{
    struct router *router = stream->router;
    struct op op = live_op(stream, SLOT_NONE);
    op.kind = OP_EXEC;
    if (!router_has_groups(router)) {
        if (!router_unit_op(router, lane) ||
            !router_put(router, lane, ROUTER_EXEC, sizeof(ROUTER_EXEC) - 1)) {
            return false;
        }
        router_unit_done(router, lane, op);
    }
    router_unit_end(router, lane);
    return true;
}

/* A flush takes the position with it, so both are one transaction. The hashes of further lanes to
 * the same shard cannot join it in a cluster, since their slots differ: for a moment they are gone,
 * and a crash just then costs a new full copy. */
static bool
flush_shard(struct stream *stream, uint32_t shard, const struct slice *name, uint32_t db)
{
    const struct route *route = stream->task->route;
    struct router *router = stream->router;
    uint32_t first = route->shard_lane[shard];
    uint32_t end =
        shard + 1 < route->shard_count ? route->shard_lane[shard + 1] : route->lane_count;
    if (router->positions == NULL) {
        return router_args(router, first, db, name, 1, live_op(stream, SLOT_NONE));
    }
    if (recovery_is_done(stream, first)) {
        return true; /* and what came behind it may be there already */
    }
    if (!unit_multi(stream, first, db) ||
        !router_args(router, first, db, name, 1, live_op(stream, SLOT_NONE)) ||
        !router_position_again(router, first) || !unit_exec(stream, first)) {
        return false;
    }
    if (end - first > 1 && !router_drain(router)) {
        return false;
    }
    for (uint32_t lane = first + 1; lane < end; lane++) {
        if (!router_position_again(router, lane)) {
            return false;
        }
    }
    return true;
}

static bool
flush_everywhere(struct stream *stream, const char *name, uint32_t db, struct syn_err *err)
{
    const struct slice arg = {(const uint8_t *)name, strlen(name)};
    for (uint32_t i = 0; i < stream->task->route->shard_count; i++) {
        if (!flush_shard(stream, i, &arg, db)) {
            return stopped(err);
        }
    }
    return true;
}

/* With database rules FLUSHALL is the flush of every selected database, where it went. */
static bool flush_selected(struct stream *stream, struct syn_err *err)
{
    for (uint32_t n = 0; n < stream->task->db_map_count; n++) {
        uint32_t db = task_db(stream->task, n);
        if (db != DB_NONE && !flush_everywhere(stream, "FLUSHDB", db, err)) {
            return false;
        }
    }
    return true;
}

/* Whether nothing but copies of this stream's keys can be in the databases that it is copied to. */
static bool flush_is_whole(const struct task *task)
{
    return task->on_flush == FLUSH_APPLY ||
           (task->stream_count == 1 && select_is_total(task->select));
}

/* Another database is copied to the same place. */
static bool flush_shares_db(const struct task *task, uint64_t source_db, uint32_t db)
{
    for (uint32_t n = 0; task->has_db_rules && db != DB_NONE && n < task->db_map_count; n++) {
        if (n != source_db && task_db(task, n) == db) {
            return true;
        }
    }
    return false;
}

static bool flush_whole(struct stream *stream,
                        const struct command_info *info,
                        uint64_t source_db,
                        struct syn_err *err)
{
    if (!relay_drain(stream->relay, err)) {
        return false;
    }
    if (!router_drain(stream->router)) {
        return stopped(err);
    }
    bool is_done;
    if (info->class == COMMAND_FLUSHDB) {
        is_done = flush_everywhere(stream, "FLUSHDB", task_db(stream->task, source_db), err);
    } else if (stream->task->has_db_rules) {
        is_done = flush_selected(stream, err);
    } else {
        is_done = flush_everywhere(stream, "FLUSHALL", 0, err);
    }
    return is_done && (router_drain(stream->router) || stopped(err));
}

static bool admin_flush(struct stream *stream,
                        const struct command_info *info,
                        const uint8_t *bytes,
                        const struct resp_command *command,
                        uint64_t source_db,
                        struct syn_err *err)
{
    const struct task *task = stream->task;
    char where[200];
    if (task->on_flush == FLUSH_STOP) {
        return refuse(stream,
                      bytes,
                      command,
                      "is not applied (--on-flush stop); do the same at the destination by hand, "
                      "or choose otherwise, and start again",
                      err);
    }
    if (task->on_flush == FLUSH_IGNORE) {
        log_warning("%s is left out (--on-flush ignore)",
                    live_where(stream, bytes, command, where));
        counter_add(&stream->dropped, 1);
        return true;
    }
    uint32_t db = info->class == COMMAND_FLUSHDB ? task_db(task, source_db) : DB_NONE;
    if (task->on_flush != FLUSH_APPLY && flush_shares_db(task, source_db, db)) {
        return refuse(stream,
                      bytes,
                      command,
                      "is of one of several databases that are copied into one, where its keys "
                      "cannot be told from the others'; choose otherwise with --on-flush",
                      err);
    }
    if (flush_is_whole(task)) {
        return flush_whole(stream, info, source_db, err);
    }
    return flush_scoped(stream, db, err);
}

/* ---- databases ---- */

/* The barrier behind a command that ran alone: the position that covers it is in its group. */
static bool drain_behind(struct stream *stream)
{
    router_done_alone(stream->router, stream->index, stream->offset);
    return router_drain(stream->router);
}

static bool forward_alone(struct stream *stream,
                          uint32_t db,
                          const struct slice *args,
                          uint32_t count,
                          struct syn_err *err)
{
    if (!router_drain(stream->router) ||
        !live_forward_args(stream, 0, db, args, count, live_op(stream, SLOT_NONE), err)) {
        return stopped(err);
    }
    return drain_behind(stream) || stopped(err);
}

/* The databases change places, and the positions in one of them are brought back. */
static bool swap_databases(struct stream *stream, uint32_t a, uint32_t b, const struct slice *args)
{
    struct router *router = stream->router;
    const struct position_plan *plan = router->positions;
    struct op op = live_op(stream, SLOT_NONE);
    char digits[NUM_DIGITS_MAX];
    uint32_t now = plan->db == a ? b : a;
    ASSERT(router_has_groups(router)); /* else a crash could have it done twice */
    if (!router_drain(router) || !unit_multi(stream, 0, a) ||
        !router_args(router, 0, a, args, 3, op)) {
        return false;
    }
    for (uint32_t i = 0; i < 2 * plan->lane_count; i++) {
        const struct position_lane *lane = &plan->lanes[i / 2];
        const char *key = i % 2 == 0 ? lane->key : lane->dirty_key;
        const struct slice move[] = {SLICE("MOVE"),
                                     {(const uint8_t *)key, strlen(key)},
                                     {(uint8_t *)digits, num_write_u64(digits, plan->db)}};
        if (!router_unit_db(router, 0, now, op) || !router_args(router, 0, now, move, 3, op)) {
            return false;
        }
    }
    return unit_exec(stream, 0) && drain_behind(stream);
}

static bool admin_swapdb(struct stream *stream,
                         const uint8_t *bytes,
                         const struct resp_command *command,
                         struct syn_err *err)
{
    uint64_t a;
    uint64_t b;
    if (command->argc != 3 || !arg_db(bytes, command, 1, &a) || !arg_db(bytes, command, 2, &b)) {
        char where[200];
        return ERR(err,
                   SYN_CODE_SOURCE_DATA,
                   "%s does not name two databases",
                   live_where(stream, bytes, command, where));
    }
    uint32_t to_a = task_db(stream->task, a);
    uint32_t to_b = task_db(stream->task, b);
    if (a == b || (to_a == DB_NONE && to_b == DB_NONE)) {
        counter_add(&stream->dropped, 1);
        return true;
    }
    if (stream->task->stream_count > 1) {
        return refuse(
            stream,
            bytes,
            command,
            "came from one of several sources; it would also exchange what the others own. "
            "Do the same at every source, and start again",
            err);
    }
    if (to_a == DB_NONE || to_b == DB_NONE || stream->task->route->is_cluster) {
        return refuse(
            stream,
            bytes,
            command,
            "exchanges a database that is copied with one that is not; select both with --db, "
            "and use a standalone destination",
            err);
    }
    char digits_a[NUM_DIGITS_MAX];
    char digits_b[NUM_DIGITS_MAX];
    const struct slice args[] = {SLICE("SWAPDB"),
                                 {(uint8_t *)digits_a, num_write_u64(digits_a, to_a)},
                                 {(uint8_t *)digits_b, num_write_u64(digits_b, to_b)}};
    const struct position_plan *plan = stream->router->positions;
    if (plan == NULL || (plan->db != to_a && plan->db != to_b)) {
        return forward_alone(stream, to_a, args, 3, err);
    }
    return swap_databases(stream, to_a, to_b, args) || stopped(err);
}

static bool admin_move(struct stream *stream,
                       const struct command_info *info,
                       const uint8_t *bytes,
                       const struct resp_command *command,
                       uint64_t source_db,
                       struct syn_err *err)
{
    uint64_t target;
    if (command->argc != 3 || !arg_db(bytes, command, 2, &target)) {
        char where[200];
        return ERR(err,
                   SYN_CODE_SOURCE_DATA,
                   "%s does not name a key and a database",
                   live_where(stream, bytes, command, where));
    }
    uint32_t from = task_db(stream->task, source_db);
    uint32_t to = task_db(stream->task, target);
    struct slice key = arg_slice(bytes, command, 1);
    uint16_t slot = route_slot(stream->task->route, key.bytes, key.size);
    uint32_t lane = route_lane(stream->task->route, slot);
    if (from == DB_NONE && to == DB_NONE) {
        counter_add(&stream->dropped, 1);
        return true;
    }
    if (to == DB_NONE) { /* it leaves what is copied */
        const struct slice args[] = {SLICE("DEL"), key};
        return live_forward_args(stream, lane, from, args, 2, live_op(stream, slot), err);
    }
    if (from == DB_NONE || stream->task->route->is_cluster || from == to) {
        return refuse(stream,
                      bytes,
                      command,
                      "moves a key between databases that the destination does not hold both; "
                      "select both with "
                      "--db, and use a standalone destination",
                      err);
    }
    char digits[NUM_DIGITS_MAX];
    const struct slice args[] = {
        SLICE("MOVE"), key, {(uint8_t *)digits, num_write_u64(digits, to)}};
    if (!live_forward_args(stream, lane, from, args, 3, live_op_of(stream, info, slot), err)) {
        return false;
    }
    divergence_remember(stream, lane, info, bytes, command);
    return true;
}

/* COPY a b [DB n] [REPLACE]; as propagated it took place. */
static bool admin_copy(struct stream *stream,
                       const struct command_info *info,
                       const uint8_t *bytes,
                       const struct resp_command *command,
                       uint64_t source_db,
                       struct syn_err *err)
{
    uint64_t target = source_db;
    for (uint32_t i = 3; i + 1 < command->argc; i++) {
        if (arg_is(bytes, command, i, "DB") && !arg_db(bytes, command, i + 1, &target)) {
            return refuse(stream, bytes, command, "does not name a database after DB", err);
        }
    }
    struct command_place place;
    if (!live_place(stream, info, bytes, command, &place, err)) {
        return false;
    }
    uint32_t from = task_db(stream->task, source_db);
    uint32_t to = task_db(stream->task, target);
    if (to == DB_NONE) {
        counter_add(&stream->dropped, 1);
        return true;
    }
    bool is_cluster = stream->task->route->is_cluster;
    if (from == DB_NONE || (is_cluster && to != from)) {
        return refuse(
            stream,
            bytes,
            command,
            "copies from a database that the destination does not hold; select both with --db, "
            "and use a standalone destination",
            err);
    }
    if (is_cluster && !place.is_one_slot) {
        return relay_apply(stream, info, bytes, command, source_db, err);
    }
    char digits[NUM_DIGITS_MAX];
    const struct slice args[] = {SLICE("COPY"),
                                 arg_slice(bytes, command, 1),
                                 arg_slice(bytes, command, 2),
                                 SLICE("REPLACE"),
                                 SLICE("DB"),
                                 {(uint8_t *)digits, num_write_u64(digits, to)}};
    uint32_t count = to == from ? 4 : 6;
    /* With its keys on several lanes it runs alone, as others do. */
    bool is_alone = !place.is_one_lane;
    uint32_t lane = is_alone ? 0 : place.lane;
    struct op op = live_op_of(stream, info, is_alone ? SLOT_NONE : place.slot);
    if (is_alone && !router_drain(stream->router)) {
        return stopped(err);
    }
    if (!live_forward_args(stream, lane, from, args, count, op, err)) {
        return false;
    }
    divergence_remember(stream, lane, info, bytes, command);
    return !is_alone || drain_behind(stream) || stopped(err);
}

/* ---- functions and scripts ---- */

static bool admin_everywhere(struct stream *stream,
                             const struct slice *args,
                             uint32_t count,
                             enum op_kind kind,
                             struct syn_err *err)
{
    struct op op = live_op(stream, SLOT_NONE);
    op.kind = (uint8_t)kind;
    if (!router_drain(stream->router) || !stream_broadcast(stream, args, count, op, err)) {
        return stopped(err);
    }
    return drain_behind(stream) || stopped(err);
}

static bool admin_function(struct stream *stream,
                           const uint8_t *bytes,
                           const struct resp_command *command,
                           struct syn_err *err)
{
    if (!stream->task->intake.has_functions) {
        return refuse(stream,
                      bytes,
                      command,
                      "changes function libraries, which the destination does not take",
                      err);
    }
    struct slice args[8];
    uint32_t count = 0;
    if (command->argc < 2 || command->argc > 6) {
        return refuse(stream, bytes, command, "has a form that is not known", err);
    }
    for (uint32_t i = 0; i < command->argc; i++) {
        args[count++] = arg_slice(bytes, command, i);
    }
    enum op_kind kind = OP_COMMAND;
    if (arg_is(bytes, command, 1, "LOAD") && !arg_is(bytes, command, 2, "REPLACE")) {
        if (command->argc != 3) {
            return refuse(stream, bytes, command, "has a form that is not known", err);
        }
        /* Each shard of a source loads the same library; the second time must not be an error. */
        args[3] = args[2];
        args[2] = (struct slice)SLICE("REPLACE");
        count = 4;
    } else if (arg_is(bytes, command, 1, "DELETE")) {
        /* By another source's stream, or by a run before, it may be gone already. */
        kind =
            stream->task->stream_count > 1 || stream->recovery != NULL ? OP_TOLERANT : OP_COMMAND;
    } else if (arg_is(bytes, command, 1, "RESTORE") && command->argc == 3) {
        args[count++] = (struct slice)SLICE("REPLACE");
    }
    return admin_everywhere(stream, args, count, kind, err);
}

static bool admin_script(struct stream *stream,
                         const uint8_t *bytes,
                         const struct resp_command *command,
                         struct syn_err *err)
{
    struct slice args[4];
    if (command->argc < 2 || command->argc > 4) {
        return refuse(stream, bytes, command, "has a form that is not known", err);
    }
    if (arg_is(bytes, command, 1, "FLUSH")) {
        scripts_forget(stream);
        if (stream->task->stream_count > 1) {
            /* The others' sources go on using theirs; a script that nobody calls does no harm. */
            counter_add(&stream->dropped, 1);
            return true;
        }
    }
    for (uint32_t i = 0; i < command->argc; i++) {
        args[i] = arg_slice(bytes, command, i);
    }
    return admin_everywhere(stream, args, command->argc, OP_COMMAND, err);
}

static bool admin_eval(struct stream *stream,
                       const struct command_info *info,
                       const uint8_t *bytes,
                       const struct resp_command *command,
                       uint64_t source_db,
                       struct syn_err *err)
{
    struct command_place place;
    if (!live_place(stream, info, bytes, command, &place, err)) {
        return false;
    }
    const struct route *route = stream->task->route;
    uint32_t db = task_db(stream->task, source_db);
    bool has_keys = stream->keys.count > 0;
    if (route->is_cluster && has_keys && !place.is_one_slot) {
        return relay_apply(stream, info, bytes, command, source_db, err);
    }
    if (!live_script_load(stream, bytes, command, err)) {
        return false;
    }
    uint16_t slot = has_keys && place.is_one_slot ? place.slot : SLOT_NONE;
    if (route->is_cluster ? has_keys && place.is_one_slot : place.is_one_lane && has_keys) {
        return live_forward_whole(stream, place.lane, db, info, bytes, command, slot, err);
    }
    if (route->is_cluster) {
        return refuse(
            stream,
            bytes,
            command,
            "is a script without keys, so which shard of the cluster at the destination must run "
            "it is not known; let the source propagate effects (lua-replicate-commands yes), or "
            "use a standalone destination",
            err);
    }
    if (!router_drain(stream->router) ||
        !live_forward_whole(stream, 0, db, info, bytes, command, slot, err)) {
        return stopped(err);
    }
    return drain_behind(stream) || stopped(err);
}

/* ---- messages ----
 * They go to the lane of their channel, so that those of one channel keep their order. With one
 * lane that is also the order of all else; with several nothing orders a message and the keys of
 * another lane. A cluster takes PUBLISH at any node, SPUBLISH at the owner of the channel's slot.
 */

bool live_channel(struct stream *stream,
                  const struct command_info *info,
                  const uint8_t *bytes,
                  const struct resp_command *command,
                  struct command_place *place,
                  struct syn_err *err)
{
    if (!command_keys(info, bytes, command, &stream->keys, err)) { /* checks the number of words */
        char where[200];
        err_context(err, "%s", live_where(stream, bytes, command, where));
        return false;
    }
    struct slice channel = arg_slice(bytes, command, 1);
    const struct route *route = stream->task->route;
    *place = (struct command_place){.is_one_slot = true, .is_one_lane = true};
    place->slot = route_slot(route, channel.bytes, channel.size);
    place->lane = route_lane(route, place->slot);
    return true;
}

static bool admin_publish(struct stream *stream,
                          const struct command_info *info,
                          const uint8_t *bytes,
                          const struct resp_command *command,
                          uint64_t source_db,
                          struct syn_err *err)
{
    if (!task_publishes(stream->task, info)) {
        counter_add(&stream->dropped, 1);
        return true;
    }
    struct command_place place;
    return live_channel(stream, info, bytes, command, &place, err) &&
           live_forward(stream,
                        place.lane,
                        task_publish_db(stream->task, source_db),
                        bytes,
                        command->size,
                        live_op(stream, is_spublish(info) ? place.slot : SLOT_NONE),
                        err);
}

bool live_admin(struct stream *stream,
                const struct command_info *info,
                const uint8_t *bytes,
                const struct resp_command *command,
                uint64_t source_db,
                struct syn_err *err)
{
    switch (info->class) {
    case COMMAND_FLUSHALL:
    case COMMAND_FLUSHDB:
        return admin_flush(stream, info, bytes, command, source_db, err);
    case COMMAND_SWAPDB:
        return admin_swapdb(stream, bytes, command, err);
    case COMMAND_MOVE:
        return admin_move(stream, info, bytes, command, source_db, err);
    case COMMAND_COPY:
        return admin_copy(stream, info, bytes, command, source_db, err);
    case COMMAND_FUNCTION:
        return admin_function(stream, bytes, command, err);
    case COMMAND_SCRIPT:
        return admin_script(stream, bytes, command, err);
    case COMMAND_EVAL:
        return admin_eval(stream, info, bytes, command, source_db, err);
    case COMMAND_PUBLISH:
        return admin_publish(stream, info, bytes, command, source_db, err);
    default:
        return refuse(stream, bytes, command, "cannot be applied", err);
    }
}
