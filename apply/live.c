/*
 * Live: commands of the replication stream into operations.
 *
 * The bytes of a command are forwarded as they came, to the lane of its keys. What cannot be:
 * commands that name databases, or have no keys (live_admin.c), transactions (transaction.c),
 * multi-key commands over several slots, which are split when that has the same effect, else
 * relayed (relay.h). What has no effect on data is dropped and counted. What cannot be applied
 * stops the task with command, slots and offset; nothing is skipped in silence.
 */
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
    if (LIKELY(size <= router->batch_bytes)) {
        uint8_t *begin = router_reserve(router, lane, db, size);
        if (UNLIKELY(begin == NULL)) {
            return stopped(err);
        }
        memcpy(begin, bytes, size);
        router_commit(router, lane, begin, begin + size, op);
        return true;
    }
    if (!router_unit_begin(router, lane, db) || !router_unit_op(router, lane) ||
        !router_put(router, lane, bytes, size)) {
        return stopped(err);
    }
    router_unit_done(router, lane, op);
    router_unit_end(router, lane);
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
    struct router *router = stream->router;
    uint8_t head[RESP_HEAD_MAX];
    size_t size = (size_t)(resp_put_head(head, '*', count) - head);
    for (uint32_t i = 0; i < count; i++) {
        size += resp_bulk_size(args[i].size);
    }
    if (size <= router->batch_bytes) {
        uint8_t *begin = router_reserve(router, lane, db, size);
        if (begin == NULL) {
            return stopped(err);
        }
        uint8_t *out = resp_put_head(begin, '*', count);
        for (uint32_t i = 0; i < count; i++) {
            out = resp_put_bulk(out, args[i].bytes, args[i].size);
        }
        router_commit(router, lane, begin, out, op);
        return true;
    }
    if (!router_unit_begin(router, lane, db) || !router_unit_op(router, lane) ||
        !router_put(router, lane, head, (size_t)(resp_put_head(head, '*', count) - head))) {
        return stopped(err);
    }
    for (uint32_t i = 0; i < count; i++) {
        size_t head_size = (size_t)(resp_put_head(head, '$', args[i].size) - head);
        if (!router_put(router, lane, head, head_size) ||
            !router_put(router, lane, args[i].bytes, args[i].size) ||
            !router_put(router, lane, "\r\n", 2)) {
            return stopped(err);
        }
    }
    router_unit_done(router, lane, op);
    router_unit_end(router, lane);
    return true;
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
    if (!command_keys(info, bytes, command, keys, err)) {
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
                        const uint8_t *bytes,
                        const struct resp_command *command,
                        uint32_t lane,
                        uint32_t db,
                        struct syn_err *err)
{
    if (!router_drain(stream->router) ||
        !live_forward(stream, lane, db, bytes, command->size, live_op(stream, SLOT_NONE), err)) {
        return stopped(err);
    }
    return router_drain(stream->router) || stopped(err);
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
    if (LIKELY(place_is_whole(stream, &place))) {
        return live_forward(
            stream, place.lane, db, bytes, command->size, live_op(stream, place.slot), err);
    }
    if (info->class == COMMAND_SPLIT_PAIRS || info->class == COMMAND_SPLIT_KEYS) {
        return apply_split(stream, info, bytes, command, source_db, err);
    }
    if (!stream->task->route->is_cluster) {
        return apply_alone(stream, bytes, command, place.lane, db, err);
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
    uint32_t db = task_db(stream->task, source_db);
    /* Two pieces of the command around the gap, with a new count in front. */
    const uint8_t *gap = bytes + command->argv[found - 1].pos + command->argv[found - 1].size + 2;
    const uint8_t *gap_end =
        bytes + command->argv[found + 1].pos + command->argv[found + 1].size + 2;
    const uint8_t *body = memchr(bytes, '\n', command->size);
    ASSERT(body != NULL);
    body++;
    uint16_t slot = key_slot(stream, bytes, command, 1);
    uint32_t lane = route_lane(stream->task->route, slot);
    uint8_t head[RESP_HEAD_MAX];
    size_t head_size = (size_t)(resp_put_head(head, '*', command->argc - 2) - head);
    struct router *router = stream->router;
    if (!router_unit_begin(router, lane, db) || !router_unit_op(router, lane) ||
        !router_put(router, lane, head, head_size) ||
        !router_put(router, lane, body, (size_t)(gap - body)) ||
        !router_put(router, lane, gap_end, (size_t)(bytes + command->size - gap_end))) {
        return stopped(err);
    }
    router_unit_done(router, lane, live_op(stream, slot));
    router_unit_end(router, lane);
    return true;
}

/* RESTORE-ASKING comes from a slot migration at the source; here the slot is at home. */
static bool apply_restore_asking(struct stream *stream,
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
    return live_forward_args(stream,
                             route_lane(stream->task->route, slot),
                             db,
                             args,
                             command->argc,
                             live_op(stream, slot),
                             err);
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

/* Inlined, as nearly every command passes here once. */
static inline bool dispatch(struct stream *stream,
                            const struct command_info *info,
                            const uint8_t *bytes,
                            const struct resp_command *command,
                            uint64_t source_db,
                            uint32_t db,
                            struct syn_err *err)
{
    switch (info->class) {
    case COMMAND_WRITE:
        if (LIKELY(info->is_key_first && command->argc >= 2)) {
            uint16_t slot = key_slot(stream, bytes, command, 1);
            return live_forward(stream,
                                route_lane(stream->task->route, slot),
                                db,
                                bytes,
                                command->size,
                                live_op(stream, slot),
                                err);
        }
        return apply_keys(stream, info, bytes, command, source_db, err);
    case COMMAND_SPLIT_PAIRS:
    case COMMAND_SPLIT_KEYS:
        return apply_keys(stream, info, bytes, command, source_db, err);
    case COMMAND_TRIM:
        return apply_trim(stream, info, bytes, command, source_db, err);
    case COMMAND_RESTORE_ASKING:
        return apply_restore_asking(stream, bytes, command, db, err);
    case COMMAND_READ:
    case COMMAND_PING:
    case COMMAND_PUBLISH:
    case COMMAND_CLUSTER:
    case COMMAND_REPLCONF:
        counter_add(&stream->dropped, 1);
        return true;
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

static bool live_command(struct stream *stream,
                         const uint8_t *bytes,
                         const struct resp_command *command,
                         struct syn_err *err)
{
    const struct command_info *info =
        command_find(bytes + command->argv[0].pos, command->argv[0].size);
    if (UNLIKELY(info == NULL)) {
        char where[200];
        return ERR(err,
                   SYN_CODE_UNSUPPORTED,
                   "%s is not a command that this version knows, so its keys are unknown too; stop "
                   "the use of "
                   "this command, or use a later Syncline",
                   live_where(stream, bytes, command, where));
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
    if (UNLIKELY(stream->transaction.is_open)) {
        return transaction_add(stream, bytes, command->size, err);
    }
    return live_apply(stream, info, bytes, command, stream->source_db, err);
}

enum step live_step(struct stream *stream, const struct window *window, struct syn_err *err)
{
    size_t pos = 0;
    size_t wanted = 1;
    uint64_t count = 0;
    enum step step = STEP_DONE;
    while (pos < window->size) {
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
        stream->offset += command.size;
        count++;
        if (!live_command(stream, bytes, &command, err)) {
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
