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
#include "apply/stream_private.h"

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
    bool is_whole; /* one connection may run it as a transaction                        */
    bool is_alone; /* and does while no other lane runs anything: its keys are on several */
    uint16_t slot;
    uint32_t lane;
    uint32_t count; /* commands with an effect here         */
};

/* Only commands that are one operation on the lane of their keys can be queued; the others need
 * more than one, or none. */
static bool command_is_queueable(const struct command_info *info)
{
    return info->class == COMMAND_WRITE || info->class == COMMAND_SPLIT_KEYS ||
           info->class == COMMAND_SPLIT_PAIRS || info->class == COMMAND_EVAL ||
           info->class == COMMAND_TRIM;
}

/* One kept command, cut again; valid until the next one is. */
static const struct command_info *command_cut(struct stream *stream,
                                              const struct transaction_command *kept,
                                              struct resp_command *command)
{
    struct syn_err err;
    size_t wanted;
    const uint8_t *bytes = stream->transaction.bytes + kept->pos;
    enum resp_status status =
        resp_cut(&stream->transaction_cutter, bytes, kept->size, &wanted, command, &err);
    ASSERT(status == RESP_READY); /* it was cut before */
    const struct command_info *info =
        command_find(bytes + command->argv[0].pos, command->argv[0].size);
    ASSERT(info != NULL);
    return info;
}

static bool command_find_place(struct stream *stream,
                               struct transaction_command *kept,
                               struct transaction_place *place,
                               struct syn_err *err)
{
    struct resp_command command;
    const uint8_t *bytes = stream->transaction.bytes + kept->pos;
    const struct command_info *info = command_cut(stream, kept, &command);
    bool is_dropped = task_db(stream->task, kept->db) == DB_NONE && !live_is_beyond_db(info);
    if (is_dropped || info->class == COMMAND_READ || info->class == COMMAND_PUBLISH ||
        info->class == COMMAND_PING) {
        return true; /* nothing of it is applied; transaction_queue leaves it out too */
    }
    if (!command_is_queueable(info)) {
        place->is_whole = false;
        return true;
    }
    struct command_place at;
    if (!live_place(stream, info, bytes, &command, &at, err)) {
        return false;
    }
    bool is_cluster = stream->task->route->is_cluster;
    bool has_no_keys = stream->keys.count == 0;
    kept->is_script = info->class == COMMAND_EVAL;
    if (kept->is_script && !live_script_load(stream, bytes, &command, err)) {
        return false;
    }
    if (place->count == 0) {
        place->slot = at.slot;
        place->lane = at.lane;
    }
    place->count++;
    if (is_cluster) {
        /* In another database, or without a slot: live_apply refuses it, and says why. */
        place->is_whole = at.is_one_slot && at.slot != SLOT_NONE && at.slot == place->slot &&
                          task_db(stream->task, kept->db) == 0;
        return true;
    }
    /* What a script without keys touches is not known. */
    bool is_anywhere =
        (kept->is_script && has_no_keys) || live_reads_unnamed(stream, info, bytes, &command);
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

/* Queues one kept command; a trim without the LIMIT that only replicas accept. */
static bool unit_kept(struct stream *stream,
                      const struct transaction_place *place,
                      const struct transaction_command *kept,
                      const struct command_info *info,
                      const struct resp_command *command)
{
    const uint8_t *bytes = stream->transaction.bytes + kept->pos;
    uint32_t limit = info->class == COMMAND_TRIM ? live_trim_limit(bytes, command) : 0;
    if (limit == 0) {
        enum op_kind kind = kept->is_script ? OP_QUEUED_SCRIPT : OP_QUEUED;
        return unit_command(stream, place->lane, bytes, kept->size, place->slot, kind);
    }
    struct op op = live_op(stream, place->slot);
    op.kind = OP_QUEUED;
    if (!router_unit_op(stream->router, place->lane) ||
        !live_put_trim(stream, place->lane, bytes, command, limit)) {
        return false;
    }
    router_unit_done(stream->router, place->lane, op);
    return true;
}

static bool transaction_queue(struct stream *stream, const struct transaction_place *place)
{
    static const char multi[] = "*1\r\n$5\r\nMULTI\r\n";
    static const char exec[] = "*1\r\n$4\r\nEXEC\r\n";
    struct transaction *transaction = &stream->transaction;
    struct router *router = stream->router;
    uint32_t lane = place->lane;
    bool is_begun = false;
    for (uint32_t i = 0; i < transaction->command_count; i++) {
        const struct transaction_command *kept = &transaction->commands[i];
        struct resp_command command;
        const struct command_info *info = command_cut(stream, kept, &command);
        if (task_db(stream->task, kept->db) == DB_NONE || !command_is_queueable(info)) {
            counter_add(&stream->dropped, 1);
            continue;
        }
        uint32_t db = task_db(stream->task, kept->db);
        if (!is_begun &&
            (!router_unit_begin(router, lane, db) ||
             !unit_command(stream, lane, multi, sizeof(multi) - 1, place->slot, OP_MULTI))) {
            return false;
        }
        is_begun = true;
        struct op select = live_op(stream, SLOT_NONE);
        select.kind = OP_QUEUED;
        if (!router_unit_db(router, lane, db, select) ||
            !unit_kept(stream, place, kept, info, &command)) {
            return false;
        }
    }
    if (!unit_command(stream, lane, exec, sizeof(exec) - 1, place->slot, OP_EXEC)) {
        return false;
    }
    router_unit_end(router, lane);
    return true;
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
        bool is_alone = place.is_alone && stream->task->route->lane_count > 1;
        is_done = (!is_alone || router_drain(stream->router)) &&
                  transaction_queue(stream, &place) && (!is_alone || router_drain(stream->router));
        is_done = is_done || stopped(err);
    } else if (place.is_whole || transaction->command_count == 1) {
        transaction->is_split = true; /* a single command is as atomic as its transaction */
        is_done = transaction_split(stream, err);
    } else {
        is_done = transaction_split(stream, err);
    }
    transaction_clear(stream);
    return is_done;
}
