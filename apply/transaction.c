/*
 * Transactions: MULTI … EXEC as the source propagated them.
 *
 * Commands are kept until EXEC, because only then is it known where all keys lie. When one
 * connection may run them all (a standalone server's always may, a cluster's when all keys share a
 * slot) they go there as one transaction; with keys on several lanes it waits for those.
 * Otherwise their effects are applied one by one, without atomicity, and counted: no cluster could
 * have run them as one.
 *
 * Traps (what servers really send): EXEC without MULTI and empty pairs, to 6.2; SELECT inside, 3.2
 * to 6.0 and from 7.2; one command alone in MULTI, to 6.2.
 */
#include "apply/recovery.h"
#include "apply/divergence.h"
#include "apply/relay_private.h"

#include <string.h>

void transaction_clear(struct stream *stream)
{
    struct transaction *transaction = &stream->transaction;
    recovery_transaction_end(stream);
    transaction->is_open = false;
    transaction->is_split = false;
    transaction->size = 0;
    transaction->command_count = 0;
    if (transaction->capacity > TRANSACTION_BYTES_KEPT) {
        mem_free(MEM_APPLY, transaction->bytes);
        mem_free(MEM_APPLY, transaction->commands);
        transaction->bytes = NULL;
        transaction->commands = NULL;
        transaction->capacity = 0;
        transaction->command_capacity = 0;
    }
}

void transaction_begin(struct stream *stream)
{
    transaction_clear(stream);
    stream->transaction.is_open = true;
}

static bool grow(void **bytes, size_t item, size_t need, size_t *capacity)
{
    size_t more = *capacity < 64 ? 64 : *capacity;
    while (more < need) {
        more *= 2;
    }
    void *grown = more == *capacity ? *bytes : mem_realloc(MEM_APPLY, *bytes, more * item);
    if (grown == NULL) {
        return false;
    }
    *bytes = grown;
    *capacity = more;
    return true;
}

/* A command that was cut before, and looked up. */
static const struct command_info *command_again(const struct stream *stream,
                                                struct resp_cutter *cutter,
                                                const uint8_t *bytes,
                                                size_t size,
                                                struct resp_command *command)
{
    size_t wanted;
    struct syn_err err;
    enum resp_status status = resp_cut(cutter, bytes, size, &wanted, command, &err);
    ASSERT(status == RESP_READY);
    const struct command_info *info = live_find(stream, bytes, command);
    ASSERT(info != NULL);
    return info;
}

/* The same of one that was kept. */
static const struct command_info *kept_again(struct stream *stream,
                                             const struct transaction *transaction,
                                             struct resp_cutter *cutter,
                                             const struct transaction_command *kept,
                                             struct resp_command *command)
{
    const uint8_t *bytes = transaction->bytes + kept->pos;
    live_keys_from(stream, bytes + kept->size, kept->key_count);
    return command_again(stream, cutter, bytes, kept->size, command);
}

/* Applies one kept command. Several of one offset are what rules made of one: no position comes
 * between them, and where batches are transactions they share one. */
static bool apply_kept(struct stream *stream, uint32_t i, bool is_part, struct syn_err *err)
{
    const struct transaction *transaction = &stream->transaction;
    const struct transaction_command *kept = &transaction->commands[i];
    struct router *router = stream->router;
    struct resp_command command;
    const struct command_info *info =
        kept_again(stream, transaction, &stream->transaction_cutter, kept, &command);
    bool is_first = i + 1 < transaction->command_count && is_part;
    if (is_first && router_has_groups(router) && !router_is_inside(router, 0) &&
        !router_unit_begin(router, 0, task_db(stream->task, kept->db))) {
        return stopped(err);
    }
    stream->offset = kept->offset;
    stream->has_more_parts = is_part;
    bool is_done =
        live_apply(stream, info, transaction->bytes + kept->pos, &command, kept->db, err);
    stream->has_more_parts = false;
    if (is_done && !is_part && router_has_groups(router) && router_is_inside(router, 0)) {
        router_unit_end(router, 0);
    }
    /* A stream may be continued inside a transaction: its EXEC is passed over then. */
    return is_done &&
           (is_part || router_done(router, stream->index, kept->offset, kept->db) || stopped(err));
}

static bool transaction_split(struct stream *stream, struct syn_err *err)
{
    struct transaction *transaction = &stream->transaction;
    if (!transaction->is_split) {
        counter_add(&stream->transactions_split, 1);
        transaction->is_split = true;
    }
    uint64_t offset = stream->offset;
    for (uint32_t i = 0; i < transaction->command_count; i++) {
        uint64_t at = transaction->commands[i].offset;
        bool is_last = i + 1 == transaction->command_count;
        uint64_t next = is_last ? offset : transaction->commands[i + 1].offset;
        if (!apply_kept(stream, i, at == next, err)) {
            return false;
        }
    }
    stream->offset = offset;
    transaction->size = 0;
    transaction->command_count = 0;
    return true;
}

bool transaction_add(struct stream *stream,
                     const struct command_info *info,
                     const uint8_t *bytes,
                     size_t size,
                     struct syn_err *err)
{
    struct transaction *transaction = &stream->transaction;
    const struct key_list *keys = &stream->question.keys;
    uint32_t key_count = info->spec_count == COMMAND_KEYS_ASKED ? keys->count : 0;
    size_t keys_size = key_count * sizeof(keys->positions[0]);
    size_t bytes_max = stream->task->transaction_bytes_max;
    bool is_full = size + keys_size > bytes_max - transaction->size ||
                   transaction->command_count >= bytes_max / TRANSACTION_BYTES_PER_COMMAND;
    if (!transaction->is_split && is_full && !transaction_split(stream, err)) {
        return false;
    }
    if (transaction->is_split) {
        struct resp_command command;
        info = command_again(stream, &stream->transaction_cutter, bytes, size, &command);
        live_keys_answered(stream);
        return live_apply(stream, info, bytes, &command, stream->source_db, err);
    }
    size_t command_capacity = transaction->command_capacity;
    void *commands = transaction->commands;
    void *kept = transaction->bytes;
    size_t need = transaction->size + size + keys_size;
    bool has_room =
        grow(&kept, 1, need, &transaction->capacity) && grow(&commands,
                                                             sizeof(struct transaction_command),
                                                             transaction->command_count + 1,
                                                             &command_capacity);
    transaction->bytes = kept;
    transaction->commands = commands;
    transaction->command_capacity = (uint32_t)command_capacity;
    if (!has_room) {
        return ERR(err, SYN_CODE_MEMORY, "out of memory for a transaction");
    }
    memcpy(transaction->bytes + transaction->size, bytes, size);
    memcpy(transaction->bytes + transaction->size + size, keys->positions, keys_size);
    transaction->commands[transaction->command_count++] =
        (struct transaction_command){.pos = transaction->size,
                                     .size = size,
                                     .offset = stream->offset,
                                     .db = (uint32_t)stream->source_db,
                                     .key_count = key_count};
    transaction->size += size + keys_size;
    return true;
}

/* ---- where it can run ---- */

struct transaction_place {
    bool is_whole;  /* one connection may run it as a transaction                        */
    bool is_alone;  /* and does while no other lane runs anything: its keys are on several */
    bool is_placed; /* a key decided which                                               */
    uint16_t slot;
    uint32_t lane;
    uint32_t count;     /* commands with an effect here                      */
    uint32_t key_count; /* theirs                                            */
    bool is_held;       /* one of these keys is held                         */
};

/* Only commands that are one operation on the lane of their keys can be queued; the others need
 * more than one, or none. */
static bool command_is_queueable(const struct command_info *info)
{
    return info->class == COMMAND_WRITE || info->class == COMMAND_SPLIT_KEYS ||
           info->class == COMMAND_SPLIT_PAIRS || info->class == COMMAND_EVAL ||
           info->class == COMMAND_TRIM;
}

/* A message goes where the transaction's keys go, or alone with others to the first one's place. In
 * a cluster SPUBLISH is bound to its channel's slot as to a key's. */
static bool message_find_place(struct stream *stream,
                               const struct command_info *info,
                               const uint8_t *bytes,
                               const struct resp_command *command,
                               struct transaction_place *place,
                               struct syn_err *err)
{
    struct command_place at;
    if (!live_channel(stream, info, bytes, command, &at, err)) {
        return false;
    }
    bool is_bound = stream->task->route->is_cluster && is_spublish(info);
    if (is_bound && place->is_placed && at.slot != place->slot) {
        place->is_whole = false;
    } else if (!place->is_placed && (is_bound || place->count == 0)) {
        place->is_placed = is_bound;
        place->slot = at.slot;
        place->lane = at.lane;
    }
    place->count++;
    return true;
}

static bool command_find_place(struct stream *stream,
                               struct transaction_command *kept,
                               struct transaction_place *place,
                               struct syn_err *err)
{
    struct resp_command command;
    const uint8_t *bytes = stream->transaction.bytes + kept->pos;
    const struct command_info *info =
        kept_again(stream, &stream->transaction, &stream->transaction_cutter, kept, &command);
    if (task_publishes(stream->task, info)) {
        return message_find_place(stream, info, bytes, &command, place, err);
    }
    bool is_dropped = task_db(stream->task, kept->db) == DB_NONE && !live_is_beyond_db(info);
    if (is_dropped || info->class == COMMAND_READ || info->class == COMMAND_PUBLISH ||
        info->class == COMMAND_PING) {
        return true; /* nothing of it is applied; transaction_run leaves it out too */
    }
    if (!command_is_queueable(info)) {
        place->is_whole = false;
        return true;
    }
    bool is_new = true;
    if (UNLIKELY(stream->recovery != NULL) &&
        !recovery_is_new(stream, info, bytes, &command, kept->db, &is_new, err)) {
        return false;
    }
    if (!is_new) {
        place->is_whole = false; /* some of it is at the destination: one by one, each is judged */
        return true;
    }
    struct command_place at;
    if (!live_place(stream, info, bytes, &command, &at, err)) {
        return false;
    }
    bool is_cluster = stream->task->route->is_cluster;
    bool has_no_keys = stream->keys.count == 0;
    place->key_count += stream->keys.count;
    place->is_held = place->is_held || (relay_is_busy(stream->relay) &&
                                        relay_holds(stream->relay, bytes, &command, &stream->keys));
    if (info->class == COMMAND_EVAL && !live_script_load(stream, bytes, &command, err)) {
        return false;
    }
    if (!place->is_placed) {
        place->is_placed = true;
        place->slot = at.slot;
        place->lane = at.lane;
    }
    place->count++;
    if (is_cluster) {
        /* In another database, or without a slot: live_apply refuses it, and says why. */
        place->is_whole = at.is_one_slot && at.slot != SLOT_NONE && at.slot == place->slot &&
                          task_db(stream->task, kept->db) == 0 &&
                          !live_reads_unnamed(stream, info, bytes, &command);
        return true;
    }
    /* What a command without keys touches is not known. */
    bool is_anywhere = has_no_keys || live_reads_unnamed(stream, info, bytes, &command);
    place->is_alone = place->is_alone || is_anywhere || !at.is_one_lane || at.lane != place->lane;
    return true;
}

/* ---- writing it ---- */

static bool unit_command(struct stream *stream,
                         uint32_t lane,
                         const void *bytes,
                         size_t size,
                         uint16_t slot,
                         enum op_kind kind)
{
    struct op op = live_op(stream, slot);
    op.kind = (uint8_t)kind;
    if (!router_unit_op(stream->router, lane) || !router_put(stream->router, lane, bytes, size)) {
        return false;
    }
    router_unit_done(stream->router, lane, op);
    return true;
}

static bool unit_put(struct stream *stream,
                     uint32_t lane,
                     const uint8_t *bytes,
                     const struct command_info *info,
                     const struct resp_command *command,
                     uint32_t limit)
{
    struct expiry_pieces pieces;
    if (limit != 0) {
        return live_put_trim(stream, lane, bytes, command, limit);
    }
    if (UNLIKELY(stream->expiry_add_ms != 0) && info->is_expiring &&
        live_expiry_edit(stream, info, bytes, command, &pieces)) {
        return live_put_edited(stream, lane, &pieces);
    }
    return router_put(stream->router, lane, bytes, command->size);
}

/* Queues one kept command; a trim without the LIMIT that only replicas accept. */
static bool unit_kept(struct stream *stream,
                      uint16_t slot,
                      const uint8_t *bytes,
                      const struct command_info *info,
                      const struct resp_command *command)
{
    struct router *router = stream->router;
    uint32_t lane = route_lane(stream->task->route, slot);
    uint32_t limit = info->class == COMMAND_TRIM ? live_trim_limit(bytes, command) : 0;
    struct op op = live_op_of(stream, info, slot);
    op.kind = info->class == COMMAND_EVAL ? OP_SCRIPT : OP_COMMAND;
    if (!router_unit_op(router, lane) || !unit_put(stream, lane, bytes, info, command, limit)) {
        return false;
    }
    router_unit_done(router, lane, op);
    struct syn_err ignored;
    if (UNLIKELY(!router_is_whole(router, lane)) && op.answer != COMMAND_ANSWER_NONE &&
        live_keys(stream, info, bytes, command, &ignored)) {
        divergence_remember(stream, lane, info, bytes, command);
    }
    return true;
}

/* Whether this kept command is queued, and in which database. */
static bool is_queued(const struct stream *stream,
                      const struct transaction_command *kept,
                      const struct command_info *info,
                      uint32_t *db)
{
    if (task_publishes(stream->task, info)) {
        *db = task_publish_db(stream->task, kept->db);
        return true;
    }
    *db = task_db(stream->task, kept->db);
    return *db != DB_NONE && command_is_queueable(info);
}

static bool queue_begin(struct stream *stream, uint16_t slot, uint32_t db)
{
    struct router *router = stream->router;
    uint32_t lane = route_lane(stream->task->route, slot);
    return router_unit_begin(router, lane, db) &&
           (router_has_groups(router) ||
            unit_command(stream, lane, ROUTER_MULTI, sizeof(ROUTER_MULTI) - 1, slot, OP_MULTI));
}

static bool queue_exec(struct stream *stream, uint16_t slot)
{
    uint32_t lane = route_lane(stream->task->route, slot);
    return router_has_groups(stream->router) ||
           unit_command(stream, lane, ROUTER_EXEC, sizeof(ROUTER_EXEC) - 1, slot, OP_EXEC);
}

/* Its first batches may be gone when its commands are answered. */
static void transaction_remember(struct stream *stream,
                                 const struct transaction *transaction,
                                 struct resp_cutter *cutter,
                                 uint32_t lane)
{
    for (uint32_t i = 0; i < transaction->command_count; i++) {
        const struct transaction_command *kept = &transaction->commands[i];
        const uint8_t *bytes = transaction->bytes + kept->pos;
        struct resp_command command;
        const struct command_info *info = kept_again(stream, transaction, cutter, kept, &command);
        struct syn_err ignored;
        uint32_t db;
        stream->command_db = kept->db;
        if (is_queued(stream, kept, info, &db) &&
            live_keys(stream, info, bytes, &command, &ignored) && stream->keys.count > 0) {
            divergence_remember_in(stream, lane, info, bytes, &command);
        }
    }
}

/* As one unit; where batches are groups already, without MULTI and EXEC of its own. */
bool transaction_run(struct stream *stream,
                     const struct transaction *transaction,
                     struct resp_cutter *cutter,
                     uint16_t slot,
                     struct syn_err *err)
{
    struct router *router = stream->router;
    uint32_t lane = route_lane(stream->task->route, slot);
    bool is_begun = false;
    uint64_t first_seq = 0;
    for (uint32_t i = 0; i < transaction->command_count; i++) {
        const struct transaction_command *kept = &transaction->commands[i];
        struct resp_command command;
        const struct command_info *info = kept_again(stream, transaction, cutter, kept, &command);
        uint32_t db;
        if (!is_queued(stream, kept, info, &db)) {
            counter_add(&stream->dropped, 1);
            continue;
        }
        if (!is_begun) {
            if (!queue_begin(stream, slot, db)) {
                return stopped(err);
            }
            first_seq = router_unit_seq(router, lane);
        }
        is_begun = true;
        stream->command_db = kept->db;
        struct op select = live_op(stream, SLOT_NONE);
        if (!router_unit_db(router, lane, db, select) ||
            !unit_kept(stream, slot, transaction->bytes + kept->pos, info, &command)) {
            return stopped(err);
        }
    }
    ASSERT(is_begun);
    if (!queue_exec(stream, slot)) {
        return stopped(err);
    }
    if (UNLIKELY(router_unit_seq(router, lane) != first_seq)) {
        transaction_remember(stream, transaction, cutter, lane);
    }
    router_unit_end(router, lane);
    return true;
}

/* ---- behind held keys ---- */

static bool hold_keys(struct stream *stream,
                      struct held_command *held,
                      const struct transaction_command *kept,
                      size_t table_size,
                      struct syn_err *err)
{
    const uint8_t *bytes = stream->transaction.bytes + kept->pos;
    struct resp_command command;
    const struct command_info *info =
        kept_again(stream, &stream->transaction, &stream->transaction_cutter, kept, &command);
    uint32_t db;
    if (task_publishes(stream->task, info) || !is_queued(stream, kept, info, &db)) {
        return true;
    }
    if (!live_keys(stream, info, bytes, &command, err)) {
        return false;
    }
    for (uint32_t i = 0; i < stream->keys.count; i++) {
        const struct resp_arg *key = &command.argv[stream->keys.positions[i]];
        uint16_t slot = route_slot(stream->task->route, bytes + key->pos, key->size);
        held_add_key(
            &stream->relay->held, held, table_size + kept->pos + key->pos, key->size, slot, false);
    }
    return true;
}

/* Queues the whole transaction behind the held keys that it touches. *is_taken false: it does not
 * fit there, and nothing is held any more. */
static bool transaction_hold(struct stream *stream,
                             const struct transaction_place *place,
                             bool *is_taken,
                             struct syn_err *err)
{
    struct relay *relay = stream->relay;
    const struct transaction *transaction = &stream->transaction;
    size_t table_size = transaction->command_count * sizeof(struct transaction_command);
    size_t size = table_size + transaction->size;
    bool fits;
    *is_taken = false;
    if (!relay_make_room(relay, place->key_count, size, &fits, err)) {
        return false;
    }
    if (!fits) {
        return true;
    }
    struct held_command *held =
        held_new(&relay->held, stream, stream->source_db, place->key_count, size);
    if (held == NULL) {
        return ERR(err, SYN_CODE_MEMORY, "out of memory for a transaction that waits");
    }
    held->part_count = transaction->command_count;
    memcpy(held->bytes, transaction->commands, table_size);
    memcpy(held->bytes + table_size, transaction->bytes, transaction->size);
    for (uint32_t i = 0; i < transaction->command_count; i++) {
        if (!hold_keys(stream, held, &transaction->commands[i], table_size, err)) {
            return false;
        }
    }
    held_add_done(&relay->held, held, HELD_WRITE);
    *is_taken = true;
    return true;
}

static bool
transaction_find_place(struct stream *stream, struct transaction_place *place, struct syn_err *err)
{
    const struct transaction *transaction = &stream->transaction;
    *place = (struct transaction_place){.is_whole = true, .slot = SLOT_NONE};
    for (uint32_t i = 0; i < transaction->command_count && place->is_whole; i++) {
        if (!command_find_place(stream, &transaction->commands[i], place, err)) {
            return false;
        }
    }
    return true;
}

static bool
transaction_whole(struct stream *stream, struct transaction_place *place, struct syn_err *err)
{
    if (UNLIKELY(place->is_held)) {
        bool is_taken;
        if (!transaction_hold(stream, place, &is_taken, err)) {
            return false;
        }
        if (is_taken) {
            return true;
        }
        /* It waited, and keys of it may have become dirty: then each command is judged. */
        if (!transaction_find_place(stream, place, err)) {
            return false;
        }
        if (!place->is_whole) {
            return transaction_split(stream, err);
        }
    }
    bool is_alone = place->is_alone && stream->task->route->lane_count > 1;
    if (is_alone && !router_drain(stream->router)) {
        return stopped(err);
    }
    return transaction_run(
               stream, &stream->transaction, &stream->transaction_cutter, place->slot, err) &&
           (!is_alone || router_drain(stream->router) || stopped(err));
}

bool transaction_end(struct stream *stream, struct syn_err *err)
{
    struct transaction *transaction = &stream->transaction;
    if (!transaction->is_open || transaction->is_split) {
        /* An EXEC without MULTI (2.8 to 6.0), or the end of one that went out in pieces. */
        transaction_clear(stream);
        return true;
    }
    struct transaction_place place;
    if (!transaction_find_place(stream, &place, err)) {
        return false;
    }
    bool is_done = true;
    if (place.is_whole && place.count > 1) {
        is_done = transaction_whole(stream, &place, err);
    } else if (place.is_whole || transaction->command_count == 1) {
        transaction->is_split = true; /* a single command is as atomic as its transaction */
        is_done = transaction_split(stream, err);
    } else {
        is_done = transaction_split(stream, err);
    }
    transaction_clear(stream);
    return is_done;
}
