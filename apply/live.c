/*
 * Live: commands of the replication stream into operations.
 *
 * The bytes of a command are forwarded as they came, to the lane of its keys. What cannot be:
 * commands that name databases, or have no keys (live_admin.c), transactions (transaction.c),
 * multi-key commands over several slots, which are split when that has the same effect, else
 * relayed (relay.h). What has no effect on data is dropped and counted. What cannot be applied
 * stops the task with command, slots and offset; nothing is skipped in silence.
 */
#include "apply/divergence.h"
#include "apply/recovery.h"
#include "apply/relay_private.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

const char *live_where(const struct stream *stream,
                       const uint8_t *bytes,
                       const struct resp_command *command,
                       char text[200])
{
    char endpoint[ENDPOINT_TEXT_MAX];
    char name[33];
    uint32_t size = command->argv[0].size < 32 ? command->argv[0].size : 32;
    for (uint32_t i = 0; i < size; i++) {
        unsigned char c = bytes[command->argv[0].pos + i];
        name[i] = isprint(c) ? (char)toupper(c) : '?';
    }
    name[size] = '\0';
    snprintf(text,
             200,
             "source %.120s, offset %llu: %s",
             endpoint_text(&stream->feed->options.endpoint, endpoint),
             (unsigned long long)stream->offset,
             name);
    return text;
}

/* ---- writing ---- */

bool live_forward(struct stream *stream,
                  uint32_t lane,
                  uint32_t db,
                  const uint8_t *bytes,
                  size_t size,
                  struct op op,
                  struct syn_err *err)
{
    struct router *router = stream->router;
    bool is_inside = router_is_inside(router, lane); /* one of several parts */
    if (LIKELY(size <= router->batch_bytes && !is_inside)) {
        uint8_t *begin = router_reserve(router, lane, db, size);
        if (UNLIKELY(begin == NULL)) {
            return stopped(err);
        }
        memcpy(begin, bytes, size);
        router_commit(router, lane, begin, begin + size, op);
        return true;
    }
    bool is_begun =
        is_inside ? router_unit_db(router, lane, db, op) : router_unit_begin(router, lane, db);
    if (!is_begun || !router_unit_op(router, lane) || !router_put(router, lane, bytes, size)) {
        return stopped(err);
    }
    router_unit_done(router, lane, op);
    if (!is_inside) {
        router_unit_end(router, lane);
    }
    return true;
}

/* A command whose time to live is put off. */
static bool forward_edited(struct stream *stream,
                           uint32_t lane,
                           uint32_t db,
                           const struct expiry_pieces *pieces,
                           struct op op,
                           struct syn_err *err)
{
    struct router *router = stream->router;
    size_t size = pieces->head_size + pieces->before_size + pieces->time_size + pieces->behind_size;
    bool is_inside = router_is_inside(router, lane);
    if (LIKELY(size <= router->batch_bytes && !is_inside)) {
        uint8_t *begin = router_reserve(router, lane, db, size);
        if (UNLIKELY(begin == NULL)) {
            return stopped(err);
        }
        expiry_copy(begin, pieces);
        router_commit(router, lane, begin, begin + size, op);
        return true;
    }
    bool is_begun =
        is_inside ? router_unit_db(router, lane, db, op) : router_unit_begin(router, lane, db);
    if (!is_begun || !router_unit_op(router, lane) || !live_put_edited(stream, lane, pieces)) {
        return stopped(err);
    }
    router_unit_done(router, lane, op);
    if (!is_inside) {
        router_unit_end(router, lane);
    }
    return true;
}

bool live_expiry_edit(struct stream *stream,
                      const struct command_info *info,
                      const uint8_t *bytes,
                      const struct resp_command *command,
                      struct expiry_pieces *pieces)
{
    struct expiry_edit edit;
    const struct expiry_words words = {.bytes = bytes, .command = command, .count = command->argc};
    if (!expiry_edit_make(&edit, info, &words, stream->expiry_add_ms)) {
        return false;
    }
    counter_add(&stream->expiries_put_off, 1);
    expiry_cut(pieces, &edit, bytes, command);
    return true;
}

bool live_put_edited(struct stream *stream, uint32_t lane, const struct expiry_pieces *pieces)
{
    struct router *router = stream->router;
    return router_put(router, lane, pieces->head, pieces->head_size) &&
           router_put(router, lane, pieces->before, pieces->before_size) &&
           router_put(router, lane, pieces->time, pieces->time_size) &&
           router_put(router, lane, pieces->behind, pieces->behind_size);
}

bool live_forward_whole(struct stream *stream,
                        uint32_t lane,
                        uint32_t db,
                        const struct command_info *info,
                        const uint8_t *bytes,
                        const struct resp_command *command,
                        uint16_t slot,
                        struct syn_err *err)
{
    struct op op = live_op_of(stream, info, slot);
    if (info->class == COMMAND_EVAL) {
        op.kind = OP_SCRIPT;
    }
    struct expiry_pieces pieces;
    bool is_edited = UNLIKELY(stream->expiry_add_ms != 0) && info->is_expiring &&
                     live_expiry_edit(stream, info, bytes, command, &pieces);
    if (!(is_edited ? forward_edited(stream, lane, db, &pieces, op, err)
                    : live_forward(stream, lane, db, bytes, command->size, op, err))) {
        return false;
    }
    if (UNLIKELY(command->size + EXPIRY_EDIT_GROWTH > stream->router->batch_bytes)) {
        divergence_remember(stream, lane, info, bytes, command);
    }
    return true;
}

bool live_forward_args(struct stream *stream,
                       uint32_t lane,
                       uint32_t db,
                       const struct slice *args,
                       uint32_t count,
                       struct op op,
                       struct syn_err *err)
{
    struct slice edited[EXPIRY_ARGS_MAX];
    struct expiry_edit edit;
    if (UNLIKELY(stream->expiry_add_ms != 0) && count <= EXPIRY_ARGS_MAX) {
        const struct command_info *info = command_find(args[0].bytes, args[0].size);
        const struct expiry_words words = {.args = args, .count = count};
        if (info != NULL && info->is_expiring &&
            expiry_edit_make(&edit, info, &words, stream->expiry_add_ms)) {
            counter_add(&stream->expiries_put_off, 1);
            memcpy(edited, args, count * sizeof(*args));
            edited[edit.arg] = (struct slice){(const uint8_t *)edit.digits, edit.digits_size};
            args = edited;
            count = edit.count;
        }
    }
    return router_args(stream->router, lane, db, args, count, op) || stopped(err);
}

/* ---- places ---- */

static uint16_t key_slot(const struct stream *stream,
                         const uint8_t *bytes,
                         const struct resp_command *command,
                         uint32_t arg)
{
    const struct resp_arg *key = &command->argv[arg];
    return route_slot(stream->task->route, bytes + key->pos, key->size);
}

bool live_place(struct stream *stream,
                const struct command_info *info,
                const uint8_t *bytes,
                const struct resp_command *command,
                struct command_place *place,
                struct syn_err *err)
{
    const struct route *route = stream->task->route;
    struct key_list *keys = &stream->keys;
    if (!live_keys(stream, info, bytes, command, err)) {
        char where[200];
        err_context(err, "%s", live_where(stream, bytes, command, where));
        return false;
    }
    *place = (struct command_place){.slot = SLOT_NONE, .is_one_slot = true, .is_one_lane = true};
    for (uint32_t i = 0; i < keys->count; i++) {
        uint16_t slot = key_slot(stream, bytes, command, keys->positions[i]);
        if (i == 0) {
            place->slot = slot;
            place->lane = route_lane(route, slot);
        } else if (slot != place->slot) {
            if (place->is_one_slot) {
                place->slot_other = slot;
            }
            place->is_one_slot = false;
            place->is_one_lane = place->is_one_lane && route_lane(route, slot) == place->lane;
        }
    }
    return true;
}

/* A cluster takes a command whose keys share a slot, a standalone server any; then the lane
 * decides. */
static bool place_is_whole(const struct stream *stream, const struct command_place *place)
{
    return stream->task->route->is_cluster ? place->is_one_slot : place->is_one_lane;
}

/* ---- multi-key commands ---- */

static bool
arg_is(const uint8_t *bytes, const struct resp_command *command, uint32_t i, const char *word)
{
    return i < command->argc && command->argv[i].size == strlen(word) &&
           strncasecmp((const char *)bytes + command->argv[i].pos, word, strlen(word)) == 0;
}

/* MSET, DEL and UNLINK over several lanes: one command per key has the same effect, as the source's
 * own atomicity ended at its border anyway. */
static bool apply_split(struct stream *stream,
                        const struct command_info *info,
                        const uint8_t *bytes,
                        const struct resp_command *command,
                        uint64_t source_db,
                        struct syn_err *err)
{
    bool is_pairs = info->class == COMMAND_SPLIT_PAIRS;
    for (uint32_t i = 0; i < stream->keys.count; i++) {
        uint32_t arg = stream->keys.positions[i];
        struct slice args[3] = {arg_slice(bytes, command, 0), arg_slice(bytes, command, arg)};
        if (is_pairs) {
            args[0] = (struct slice)SLICE("SET");
            args[2] = arg_slice(bytes, command, arg + 1);
        }
        if (!relay_forward_args(stream, source_db, args, is_pairs ? 3 : 2, 1, err)) {
            return false;
        }
    }
    return true;
}

/* Several lanes to one standalone server: everything before is answered, it runs alone, then the
 * rest goes on. */
static bool apply_alone(struct stream *stream,
                        const struct command_info *info,
                        const uint8_t *bytes,
                        const struct resp_command *command,
                        uint32_t lane,
                        uint32_t db,
                        struct syn_err *err)
{
    if (!router_drain(stream->router) ||
        !live_forward_whole(stream, lane, db, info, bytes, command, SLOT_NONE, err)) {
        return stopped(err);
    }
    return router_drain(stream->router) || stopped(err);
}

/* What it touches is not known, so nothing may run beside it; a cluster would not know where. */
static bool apply_keyless(struct stream *stream,
                          const struct command_info *info,
                          const uint8_t *bytes,
                          const struct resp_command *command,
                          uint32_t db,
                          struct syn_err *err)
{
    if (stream->task->route->is_cluster) {
        char where[200];
        return ERR(err,
                   SYN_CODE_UNSUPPORTED,
                   "%s has no keys, so which shard of the cluster at the destination must run it "
                   "is not known; stop the use of this command, or use a standalone destination",
                   live_where(stream, bytes, command, where));
    }
    return apply_alone(stream, info, bytes, command, 0, db, err);
}

/* On whatever lane those keys are. A cluster refuses it by itself, even where they share a slot. */
bool live_reads_unnamed(const struct stream *stream,
                        const struct command_info *info,
                        const uint8_t *bytes,
                        const struct resp_command *command)
{
    const struct route *route = stream->task->route;
    return (route->is_cluster || route->lane_count > 1) &&
           live_has_patterns(info, bytes, command, route->is_cluster);
}

static bool apply_keys(struct stream *stream,
                       const struct command_info *info,
                       const uint8_t *bytes,
                       const struct resp_command *command,
                       uint64_t source_db,
                       struct syn_err *err)
{
    struct command_place place;
    uint32_t db = task_db(stream->task, source_db);
    if (!live_place(stream, info, bytes, command, &place, err)) {
        return false;
    }
    if (UNLIKELY(stream->keys.count == 0 && stream->task->route->lane_count > 1)) {
        return apply_keyless(stream, info, bytes, command, db, err);
    }
    bool is_alone = live_reads_unnamed(stream, info, bytes, command);
    if (LIKELY(place_is_whole(stream, &place) && !is_alone)) {
        return live_forward_whole(stream, place.lane, db, info, bytes, command, place.slot, err);
    }
    if (info->class == COMMAND_SPLIT_PAIRS || info->class == COMMAND_SPLIT_KEYS) {
        return apply_split(stream, info, bytes, command, source_db, err);
    }
    if (!stream->task->route->is_cluster) {
        return apply_alone(stream, info, bytes, command, place.lane, db, err);
    }
    return relay_apply(stream, info, bytes, command, source_db, err);
}

/* XADD and XTRIM: a master rewrites "~ n LIMIT m" to "= n LIMIT m", which only its own replicas
 * accept. The LIMIT has had its effect already, so it is left out. Source: t_stream.c,
 * streamParseAddOrTrimArgsOrReply, 6.2. */
uint32_t live_trim_limit(const uint8_t *bytes, const struct resp_command *command)
{
    /* key [options] MAXLEN|MINID = n LIMIT m. The first other word is XADD's ID; the fields behind
     * it may be called anything, "=" and "LIMIT" too. */
    for (uint32_t i = 2; i < command->argc; i++) {
        if (arg_is(bytes, command, i, "MAXLEN") || arg_is(bytes, command, i, "MINID")) {
            bool has_limit = arg_is(bytes, command, i + 1, "=") &&
                             arg_is(bytes, command, i + 3, "LIMIT") && i + 4 < command->argc;
            return has_limit ? i + 3 : 0;
        }
        if (!arg_is(bytes, command, i, "NOMKSTREAM") && !arg_is(bytes, command, i, "KEEPREF") &&
            !arg_is(bytes, command, i, "DELREF") && !arg_is(bytes, command, i, "ACKED")) {
            return 0;
        }
    }
    return 0;
}

bool live_put_trim(struct stream *stream,
                   uint32_t lane,
                   const uint8_t *bytes,
                   const struct resp_command *command,
                   uint32_t limit)
{
    /* Two pieces of the command around the gap, with a new count in front. */
    const struct resp_arg *before = &command->argv[limit - 1];
    const struct resp_arg *last = &command->argv[limit + 1];
    const uint8_t *gap = bytes + before->pos + before->size + 2;
    const uint8_t *gap_end = bytes + last->pos + last->size + 2;
    const uint8_t *body = memchr(bytes, '\n', command->size);
    ASSERT(body != NULL);
    body++;
    uint8_t head[RESP_HEAD_MAX];
    size_t head_size = (size_t)(resp_put_head(head, '*', command->argc - 2) - head);
    struct router *router = stream->router;
    return router_put(router, lane, head, head_size) &&
           router_put(router, lane, body, (size_t)(gap - body)) &&
           router_put(router, lane, gap_end, (size_t)(bytes + command->size - gap_end));
}

static bool apply_trim(struct stream *stream,
                       const struct command_info *info,
                       const uint8_t *bytes,
                       const struct resp_command *command,
                       uint64_t source_db,
                       struct syn_err *err)
{
    uint32_t found = live_trim_limit(bytes, command);
    if (found == 0) {
        return apply_keys(stream, info, bytes, command, source_db, err);
    }
    uint16_t slot = key_slot(stream, bytes, command, 1);
    uint32_t lane = route_lane(stream->task->route, slot);
    struct router *router = stream->router;
    uint32_t db = task_db(stream->task, source_db);
    if (!router_unit_begin(router, lane, db) || !router_unit_op(router, lane) ||
        !live_put_trim(stream, lane, bytes, command, found)) {
        return stopped(err);
    }
    router_unit_done(router, lane, live_op_of(stream, info, slot));
    divergence_remember(stream, lane, info, bytes, command);
    router_unit_end(router, lane);
    return true;
}

/* RESTORE-ASKING comes from a slot migration at the source; here the slot is at home. */
static bool apply_restore_asking(struct stream *stream,
                                 const struct command_info *info,
                                 const uint8_t *bytes,
                                 const struct resp_command *command,
                                 uint32_t db,
                                 struct syn_err *err)
{
    struct slice args[16] = {SLICE("RESTORE")};
    if (stream->task->stream_count > 1) {
        /* The old owner's DEL of the key is in another stream, and may come later than this. */
        char where[200];
        return ERR(err,
                   SYN_CODE_UNSUPPORTED,
                   "%s: a slot is moving between sources, and which of them wrote last is not "
                   "known; start again when their topology is stable",
                   live_where(stream, bytes, command, where));
    }
    if (command->argc < 4 || command->argc > 16) {
        char where[200];
        return ERR(err,
                   SYN_CODE_SOURCE_DATA,
                   "%s has %u arguments",
                   live_where(stream, bytes, command, where),
                   command->argc);
    }
    for (uint32_t i = 1; i < command->argc; i++) {
        args[i] = arg_slice(bytes, command, i);
    }
    uint16_t slot = key_slot(stream, bytes, command, 1);
    uint32_t lane = route_lane(stream->task->route, slot);
    struct op op = live_op_of(stream, info, slot);
    if (!live_forward_args(stream, lane, db, args, command->argc, op, err)) {
        return false;
    }
    divergence_remember(stream, lane, info, bytes, command);
    return true;
}

/* ---- dispatch ---- */

/* Whether it is the same in whatever database the stream is: it goes to all of them, to none, or
 * nowhere. A source whose last write was in a database that is empty by now sends its PINGs there.
 */
static bool class_is_of_any_db(enum command_class class)
{
    switch (class) {
    case COMMAND_READ:
    case COMMAND_PING:
    case COMMAND_PUBLISH:
    case COMMAND_CLUSTER:
    case COMMAND_REPLCONF:
    case COMMAND_FLUSHALL:
    case COMMAND_FUNCTION:
    case COMMAND_SCRIPT:
        return true;
    default:
        return false;
    }
}

static bool live_db(const struct stream *stream,
                    const struct command_info *info,
                    const uint8_t *bytes,
                    const struct resp_command *command,
                    uint64_t source_db,
                    uint32_t *db,
                    struct syn_err *err)
{
    *db = task_db(stream->task, source_db);
    if (UNLIKELY(*db != 0 && *db != DB_NONE && stream->task->route->is_cluster &&
                 !class_is_of_any_db(info->class))) {
        char where[200];
        return ERR(
            err,
            SYN_CODE_UNSUPPORTED,
            "%s in database %llu, but the destination is a cluster, which has only database 0; "
            "choose with --db or --db-map",
            live_where(stream, bytes, command, where),
            (unsigned long long)source_db);
    }
    return true;
}

/* Of CLUSTER's subcommands a source propagates those of its own affairs, and in Valkey 9 the
 * removal of all keys of a slot, which would leave them here. */
static bool live_cluster(struct stream *stream,
                         const uint8_t *bytes,
                         const struct resp_command *command,
                         struct syn_err *err)
{
    if (live_is_slot_flush(bytes, command)) {
        char where[200];
        return ERR(err,
                   SYN_CODE_UNSUPPORTED,
                   "%s FLUSHSLOT removes all keys of a slot at the source, and is not applied; "
                   "delete them with DEL or UNLINK instead, and start again",
                   live_where(stream, bytes, command, where));
    }
    counter_add(&stream->dropped, 1);
    return true;
}

/* Inlined, as nearly every command passes here once. */
static inline bool dispatch(struct stream *stream,
                            const struct command_info *info,
                            const uint8_t *bytes,
                            const struct resp_command *command,
                            uint64_t source_db,
                            uint32_t db,
                            struct syn_err *err)
{
    stream->command_db = source_db;
    switch (info->class) {
    case COMMAND_WRITE:
        if (LIKELY(info->is_key_first && command->argc >= 2)) {
            uint16_t slot = key_slot(stream, bytes, command, 1);
            uint32_t lane = route_lane(stream->task->route, slot);
            return live_forward_whole(stream, lane, db, info, bytes, command, slot, err);
        }
        return apply_keys(stream, info, bytes, command, source_db, err);
    case COMMAND_SPLIT_PAIRS:
    case COMMAND_SPLIT_KEYS:
        return apply_keys(stream, info, bytes, command, source_db, err);
    case COMMAND_TRIM:
        return apply_trim(stream, info, bytes, command, source_db, err);
    case COMMAND_RESTORE_ASKING:
        return apply_restore_asking(stream, info, bytes, command, db, err);
    case COMMAND_READ:
    case COMMAND_PING:
    case COMMAND_REPLCONF:
        counter_add(&stream->dropped, 1);
        return true;
    case COMMAND_CLUSTER:
        return live_cluster(stream, bytes, command, err);
    default:
        return live_admin(stream, info, bytes, command, source_db, err);
    }
}

bool live_apply(struct stream *stream,
                const struct command_info *info,
                const uint8_t *bytes,
                const struct resp_command *command,
                uint64_t source_db,
                struct syn_err *err)
{
    uint32_t db;
    if (!live_db(stream, info, bytes, command, source_db, &db, err)) {
        return false;
    }
    if (db == DB_NONE && !live_is_beyond_db(info)) {
        counter_add(&stream->dropped, 1);
        return true;
    }
    if (UNLIKELY(stream->recovery != NULL)) {
        /* Whether it runs or not, EVALSHA may follow. */
        if (info->class == COMMAND_EVAL && !live_script_load(stream, bytes, command, err)) {
            return false;
        }
        switch (recovery_judge(stream, info, bytes, command, source_db, err)) {
        case RECOVERY_APPLY:
            break;
        case RECOVERY_LEAVE:
            return true;
        case RECOVERY_FAIL:
            return false;
        }
    }
    if (UNLIKELY(relay_is_busy(stream->relay))) {
        bool is_taken;
        if (!relay_admit(stream, info, bytes, command, source_db, &is_taken, err)) {
            return false;
        }
        if (is_taken) {
            return true;
        }
    }
    return dispatch(stream, info, bytes, command, source_db, db, err);
}

bool live_dispatch(struct stream *stream,
                   const struct command_info *info,
                   const uint8_t *bytes,
                   const struct resp_command *command,
                   uint64_t source_db,
                   struct syn_err *err)
{
    uint32_t db = task_db(stream->task, source_db);
    return dispatch(stream, info, bytes, command, source_db, db, err);
}

static bool live_select(struct stream *stream,
                        const uint8_t *bytes,
                        const struct resp_command *command,
                        struct syn_err *err)
{
    uint64_t db;
    const struct resp_arg *arg = &command->argv[command->argc - 1];
    if (command->argc != 2 || !num_read_u64((const char *)bytes + arg->pos, arg->size, &db) ||
        db > INT32_MAX) {
        char where[200];
        return ERR(err,
                   SYN_CODE_SOURCE_DATA,
                   "%s does not name a database",
                   live_where(stream, bytes, command, where));
    }
    stream->source_db = db;
    return true;
}

static void
live_replconf(struct stream *stream, const uint8_t *bytes, const struct resp_command *command)
{
    counter_add(&stream->dropped, 1);
    if (command->argc >= 2 && command->argv[1].size == 6 &&
        strncasecmp((const char *)bytes + command->argv[1].pos, "GETACK", 6) == 0) {
        /* Answered once everything up to here is at the destination: then WAIT at the source means
         * that. */
        stream->is_ack_wanted = true;
        stream->ack_offset = stream->offset;
    }
}

/* A write, deletion or expiry of a heartbeat, as servers propagate them: SETEX to 6.0, SET … PX
 * in 6.2, SET … PXAT from 7.0; DEL or UNLINK of it alone when its time is over. */
static bool live_is_heartbeat(const struct stream *stream,
                              const struct command_info *info,
                              const uint8_t *bytes,
                              const struct resp_command *command)
{
    if (LIKELY(command->argc < 2 || !heartbeat_is_key(&stream->task->heartbeat,
                                                      bytes + command->argv[1].pos,
                                                      command->argv[1].size))) {
        return false;
    }
    return info->is_key_first || (info->class == COMMAND_SPLIT_KEYS && command->argc == 2);
}

static void live_heartbeat(struct stream *stream,
                           const struct command_info *info,
                           const uint8_t *bytes,
                           const struct resp_command *command)
{
    struct heartbeat_watch *watch = &stream->heartbeat;
    counter_add(&stream->dropped, 1);
    struct slice key = arg_slice(bytes, command, 1);
    uint32_t at = strcmp(info->name, "SET") == 0 ? 2 : strcmp(info->name, "SETEX") == 0 ? 3 : 0;
    if (at == 0 || at >= command->argc || key.size != strlen(watch->key) ||
        memcmp(key.bytes, watch->key, key.size) != 0) {
        return;
    }
    struct slice value = arg_slice(bytes, command, at);
    uint64_t written_us = heartbeat_time_us(value.bytes, value.size);
    if (written_us != 0) {
        heartbeat_seen(watch, written_us, stream->offset);
    }
}

/* Its database is copied, or it is of none. */
static bool live_is_selected(const struct stream *stream, const struct command_info *info)
{
    return task_db(stream->task, stream->source_db) != DB_NONE || live_is_beyond_db(info);
}

/* Whether rules leave out a command of this name, which the table lacks. */
static bool
live_unknown(const struct stream *stream, const uint8_t *bytes, const struct resp_command *command)
{
    const struct select *select = stream->task->select;
    const struct resp_arg *name = &command->argv[0];
    uint16_t rule;
    return select != NULL && !select_unknown(select, bytes + name->pos, name->size, &rule);
}

bool live_take(struct stream *stream,
               const struct command_info *info,
               const uint8_t *bytes,
               const struct resp_command *command,
               struct syn_err *err)
{
    if (UNLIKELY(stream->task->missing != NULL) &&
        command_is_missing(stream->task->missing, info) && live_is_selected(stream, info)) {
        return live_missing(stream, info, bytes, command, err);
    }
    if (UNLIKELY(stream->transaction.is_open)) {
        return transaction_add(stream, info, bytes, command->size, err);
    }
    return live_apply(stream, info, bytes, command, stream->source_db, err);
}

static bool live_command(struct stream *stream,
                         const uint8_t *bytes,
                         const struct resp_command *command,
                         struct syn_err *err)
{
    const struct command_info *info =
        command_find(bytes + command->argv[0].pos, command->argv[0].size);
    if (UNLIKELY(info == NULL)) {
        if (live_unknown(stream, bytes, command) ||
            task_db(stream->task, stream->source_db) == DB_NONE) {
            counter_add(&stream->dropped, 1);
            return true;
        }
        enum step step = live_ask(stream, bytes, command, &info, err);
        if (step != STEP_DONE || info == NULL) {
            return step != STEP_FAIL;
        }
    }
    switch (info->class) {
    case COMMAND_SELECT:
        return live_select(stream, bytes, command, err);
    case COMMAND_REPLCONF:
        live_replconf(stream, bytes, command);
        return true;
    case COMMAND_MULTI:
        transaction_begin(stream);
        return true;
    case COMMAND_EXEC:
        return transaction_end(stream, err);
    default:
        break;
    }
    if (UNLIKELY(info->is_key_first && command->argc >= 2 &&
                 position_is_key(bytes + command->argv[1].pos, command->argv[1].size))) {
        counter_add(&stream->dropped, 1); /* the source is the destination of another task */
        return true;
    }
    if (UNLIKELY(live_is_heartbeat(stream, info, bytes, command))) {
        live_heartbeat(stream, info, bytes, command);
        return true;
    }
    if (UNLIKELY(info->class == COMMAND_EVAL) &&
        !live_script_bring(stream, info, bytes, command, err)) {
        return false;
    }
    if (UNLIKELY(stream->task->select != NULL)) {
        return live_rules_take(stream, info, bytes, command, err);
    }
    return live_take(stream, info, bytes, command, err);
}

enum step live_step(struct stream *stream, const struct window *window, struct syn_err *err)
{
    size_t pos = 0;
    size_t wanted = 1;
    uint64_t count = 0;
    enum step step = STEP_DONE;
    while (pos < window->size && !throttle_is_spent(&stream->router->meter)) {
        struct resp_command command;
        const uint8_t *bytes = window->bytes + pos;
        enum resp_status status =
            resp_cut(&stream->cutter, bytes, window->size - pos, &wanted, &command, err);
        if (status == RESP_MORE) {
            size_t left = window->size - pos;
            wanted = wanted > left ? wanted : left + 1;
            break;
        }
        if (status == RESP_ERROR) {
            char text[ENDPOINT_TEXT_MAX];
            err_context(err,
                        "source %s, offset %llu",
                        endpoint_text(&stream->feed->options.endpoint, text),
                        (unsigned long long)stream->offset);
            step = STEP_FAIL;
            break;
        }
        if (UNLIKELY(stream->task->select != NULL)) {
            step = live_rules_reserve(stream, bytes, &command, err);
            if (step != STEP_DONE) {
                wanted = 1;
                break;
            }
        }
        stream->offset += command.size;
        count++;
        if (!live_command(stream, bytes, &command, err)) {
            step = STEP_FAIL;
            break;
        }
        if (UNLIKELY(stream->is_asking)) { /* not taken */
            stream->offset -= command.size;
            count--;
            wanted = 1;
            break;
        }
        /* What a transaction keeps is not written yet. */
        if ((!stream->transaction.is_open || stream->transaction.is_split) &&
            !router_done(
                stream->router, stream->index, stream->offset, (uint32_t)stream->source_db)) {
            stopped(err);
            step = STEP_FAIL;
            break;
        }
        pos += command.size;
        wanted = 1;
    }
    counter_add(&stream->commands, count);
    input_use(stream, pos);
    input_want(stream, wanted);
    if (step == STEP_FAIL) {
        return step;
    }
    if (pos > 0) {
        /* What a transaction keeps is not written yet, so no batch stands for its offset: EXEC
         * notes the next place. */
        if (!stream->transaction.is_open || stream->transaction.is_split) {
            stream_note_place(stream, false);
        }
        atomic_store_relaxed(&stream->offset_decoded, stream->offset);
    }
    return pos > 0 ? STEP_DONE : STEP_WAIT;
}
