/*
 * Transactions: MULTI … EXEC as the source propagated them.
 *
 * Commands are kept until EXEC, because only then is it known where all keys lie. When one lane may
 * run them all (for a cluster: when all keys share a slot) they go there as one transaction.
 * Otherwise their effects are applied one by one, without atomicity, and counted: no cluster could
 * have run them as one.
 *
 * Traps (what servers really send): EXEC without MULTI and empty pairs, to 6.2; SELECT inside, 3.2
 * to 6.0 and from 7.2; one command alone in MULTI, to 6.2.
 */
#include "apply/relay_private.h"

#include <string.h>

void transaction_clear(struct stream *stream)
{
    struct transaction *transaction = &stream->transaction;
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

/* Cuts and applies one kept command by itself. */
static bool apply_kept(struct stream *stream,
                       const uint8_t *bytes,
                       size_t size,
                       uint64_t source_db,
                       struct syn_err *err)
{
    struct resp_command command;
    size_t wanted;
    enum resp_status status =
        resp_cut(&stream->transaction_cutter, bytes, size, &wanted, &command, err);
    ASSERT(status == RESP_READY); /* it was cut before */
    const struct command_info *info =
        command_find(bytes + command.argv[0].pos, command.argv[0].size);
    ASSERT(info != NULL);
    return live_apply(stream, info, bytes, &command, source_db, err);
}

static bool transaction_split(struct stream *stream, struct syn_err *err)
{
    struct transaction *transaction = &stream->transaction;
    if (!transaction->is_split) {
        counter_add(&stream->transactions_split, 1);
        transaction->is_split = true;
    }
    for (uint32_t i = 0; i < transaction->command_count; i++) {
        const struct transaction_command *command = &transaction->commands[i];
        if (!apply_kept(
                stream, transaction->bytes + command->pos, command->size, command->db, err)) {
            return false;
        }
    }
    transaction->size = 0;
    transaction->command_count = 0;
    return true;
}

bool transaction_add(struct stream *stream, const uint8_t *bytes, size_t size, struct syn_err *err)
{
    struct transaction *transaction = &stream->transaction;
    size_t bytes_max = stream->task->transaction_bytes_max;
    bool is_full = size > bytes_max - transaction->size ||
                   transaction->command_count >= bytes_max / TRANSACTION_BYTES_PER_COMMAND;
    if (!transaction->is_split && is_full && !transaction_split(stream, err)) {
        return false;
    }
    if (transaction->is_split) {
        return apply_kept(stream, bytes, size, stream->source_db, err);
    }
    size_t command_capacity = transaction->command_capacity;
    void *commands = transaction->commands;
    void *kept = transaction->bytes;
    bool has_room = grow(&kept, 1, transaction->size + size, &transaction->capacity) &&
                    grow(&commands,
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
    transaction->commands[transaction->command_count++] = (struct transaction_command){
        .pos = transaction->size, .size = size, .db = (uint32_t)stream->source_db};
    transaction->size += size;
    return true;
}

/* ---- where it can run ---- */

struct transaction_place {
    bool is_whole; /* one lane may run it as a transaction */
    uint16_t slot;
    uint32_t lane;
    uint32_t count; /* commands with an effect here         */
    uint32_t key_count;
    bool is_held; /* a key is held                         */
};

/* Only commands that are forwarded as they are can be queued; the others need more than one
 * operation, or none. */
static bool command_is_queueable(const struct command_info *info,
                                 const uint8_t *bytes,
                                 const struct resp_command *command)
{
    if (info->class == COMMAND_TRIM) {
        return live_trim_limit(bytes, command) == 0;
    }
    return info->class == COMMAND_WRITE || info->class == COMMAND_SPLIT_KEYS ||
           info->class == COMMAND_SPLIT_PAIRS || info->class == COMMAND_EVAL;
}

static bool command_find_place(struct stream *stream,
                               const struct transaction_command *kept,
                               struct transaction_place *place,
                               struct syn_err *err)
{
    struct resp_command command;
    size_t wanted;
    const uint8_t *bytes = stream->transaction.bytes + kept->pos;
    enum resp_status status =
        resp_cut(&stream->transaction_cutter, bytes, kept->size, &wanted, &command, err);
    ASSERT(status == RESP_READY);
    const struct command_info *info =
        command_find(bytes + command.argv[0].pos, command.argv[0].size);
    ASSERT(info != NULL);
    bool is_dropped = task_db(stream->task, kept->db) == DB_NONE && !live_is_beyond_db(info);
    if (is_dropped || info->class == COMMAND_READ || info->class == COMMAND_PUBLISH ||
        info->class == COMMAND_PING) {
        return true; /* nothing of it is applied; transaction_run leaves it out too */
    }
    if (!command_is_queueable(info, bytes, &command)) {
        place->is_whole = false;
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
    if (info->class == COMMAND_EVAL && has_no_keys && stream->task->route->lane_count > 1) {
        place->is_whole = false; /* what it touches is not known, so it must run alone */
    } else if (is_cluster && (at.slot == SLOT_NONE || task_db(stream->task, kept->db) != 0)) {
        place->is_whole = false; /* live_apply refuses it, and says why */
    } else if (!(is_cluster ? at.is_one_slot : at.is_one_lane)) {
        place->is_whole = false;
    } else if (place->count == 0) {
        place->slot = at.slot;
        place->lane = at.lane;
    } else if (is_cluster ? at.slot != place->slot : at.lane != place->lane) {
        place->is_whole = false;
    }
    place->count++;
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

static bool is_left_out(const struct stream *stream,
                        const struct transaction_command *kept,
                        const uint8_t *bytes,
                        struct resp_cutter *cutter,
                        struct resp_command *command,
                        const struct command_info **info)
{
    struct syn_err err;
    size_t wanted;
    enum resp_status status = resp_cut(cutter, bytes, kept->size, &wanted, command, &err);
    ASSERT(status == RESP_READY);
    *info = command_find(bytes + command->argv[0].pos, command->argv[0].size);
    return task_db(stream->task, kept->db) == DB_NONE ||
           !command_is_queueable(*info, bytes, command);
}

bool transaction_run(struct stream *stream,
                     const struct transaction *transaction,
                     struct resp_cutter *cutter,
                     uint16_t slot,
                     struct syn_err *err)
{
    static const char multi[] = "*1\r\n$5\r\nMULTI\r\n";
    static const char exec[] = "*1\r\n$4\r\nEXEC\r\n";
    struct router *router = stream->router;
    uint32_t lane = route_lane(stream->task->route, slot);
    bool is_begun = false;
    for (uint32_t i = 0; i < transaction->command_count; i++) {
        const struct transaction_command *kept = &transaction->commands[i];
        const uint8_t *bytes = transaction->bytes + kept->pos;
        struct resp_command command;
        const struct command_info *info;
        if (is_left_out(stream, kept, bytes, cutter, &command, &info)) {
            counter_add(&stream->dropped, 1);
            continue;
        }
        uint32_t db = task_db(stream->task, kept->db);
        if (!is_begun && (!router_unit_begin(router, lane, db) ||
                          !unit_command(stream, lane, multi, sizeof(multi) - 1, slot, OP_MULTI))) {
            return stopped(err);
        }
        is_begun = true;
        struct op select = live_op(stream, SLOT_NONE);
        select.kind = OP_QUEUED;
        if (!router_unit_db(router, lane, db, select) ||
            !unit_command(stream, lane, bytes, kept->size, slot, OP_QUEUED)) {
            return stopped(err);
        }
    }
    if (!unit_command(stream, lane, exec, sizeof(exec) - 1, slot, OP_EXEC)) {
        return stopped(err);
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
    const struct command_info *info;
    if (is_left_out(stream, kept, bytes, &stream->transaction_cutter, &command, &info)) {
        return true;
    }
    if (!command_keys(info, bytes, &command, &stream->keys, err)) {
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
transaction_whole(struct stream *stream, const struct transaction_place *place, struct syn_err *err)
{
    if (UNLIKELY(place->is_held)) {
        bool is_taken;
        if (!transaction_hold(stream, place, &is_taken, err)) {
            return false;
        }
        if (is_taken) {
            return true;
        }
    }
    return transaction_run(
        stream, &stream->transaction, &stream->transaction_cutter, place->slot, err);
}

bool transaction_end(struct stream *stream, struct syn_err *err)
{
    struct transaction *transaction = &stream->transaction;
    if (!transaction->is_open || transaction->is_split) {
        /* An EXEC without MULTI (2.8 to 6.0), or the end of one that went out in pieces. */
        transaction_clear(stream);
        return true;
    }
    struct transaction_place place = {.is_whole = true, .slot = SLOT_NONE};
    for (uint32_t i = 0; i < transaction->command_count && place.is_whole; i++) {
        if (!command_find_place(stream, &transaction->commands[i], &place, err)) {
            return false;
        }
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
