#include "apply/refetch_large.h"

#include <string.h>

/* A payload is made at no less than so many bytes a millisecond, whatever the source is. */
#define DUMP_BYTES_PER_MS 10000u

bool refetch_can_scan(const struct refetch *refetch, enum value_type type)
{
    return type != VALUE_NONE && type != VALUE_OTHER &&
           !(type == VALUE_HASH && refetch->hides_field_ttl);
}

/* ---- the state before and after ---- */

#define STATE_COMMANDS 5
#define STATE_ELEMENTS 4

static bool state_ask(struct refetch *refetch, const struct slice *name, struct syn_err *err)
{
    struct control *control = &refetch->control;
    return refetch_ask(control, "MULTI", NULL, err) &&
           refetch_ask(control, "INFO", "replication", err) &&
           refetch_ask(control, "TIME", NULL, err) && refetch_ask_key(control, "TYPE", name, err) &&
           refetch_ask_key(control, refetch->has_expiretime ? "PEXPIRETIME" : "PTTL", name, err) &&
           refetch_ask(control, "EXEC", NULL, err);
}

struct state {
    uint64_t offset;
    enum value_type type;
    int64_t expire_ms;
};

static bool state_take(struct refetch *refetch, struct state *state, struct syn_err *err)
{
    int64_t now_ms;
    redisReply *reply =
        refetch_transaction(refetch, STATE_COMMANDS, STATE_ELEMENTS, &state->offset, &now_ms, err);
    if (reply == NULL) {
        return false;
    }
    const redisReply *type = reply->element[2];
    const redisReply *ttl = reply->element[3];
    bool is_good = true;
    if (type->type == REDIS_REPLY_ERROR || ttl->type == REDIS_REPLY_ERROR) {
        is_good = control_reply_error(
            &refetch->control, type->type == REDIS_REPLY_ERROR ? type : ttl, "TYPE and PTTL", err);
    } else if (type->type != REDIS_REPLY_STATUS || ttl->type != REDIS_REPLY_INTEGER) {
        is_good = refetch_odd(&refetch->control, err);
    } else {
        /* A replica hides a key that has expired, and still gives its elements to some commands. */
        state->type = ttl->integer == -2 ? VALUE_NONE : value_type_of_name(type->str);
        state->expire_ms =
            ttl->integer >= 0 ? (refetch->has_expiretime ? 0 : now_ms) + ttl->integer : -1;
    }
    freeReplyObject(reply);
    return is_good;
}

static void state_begins(struct refetch_large *large, const struct state *state)
{
    *large = (struct refetch_large){.from = state->offset,
                                    .to = state->offset,
                                    .type = state->type,
                                    .expire_ms = state->expire_ms};
}

/* Times to live from PTTL differ by what passes between two answers, so they are no sign. */
static void
state_ends(const struct refetch *refetch, struct refetch_large *large, const struct state *state)
{
    large->to = state->offset;
    large->is_changed = large->is_changed || state->type != large->type ||
                        (state->expire_ms < 0) != (large->expire_ms < 0) ||
                        (refetch->has_expiretime && state->expire_ms != large->expire_ms);
}

/* ---- scanning ---- */

bool refetch_large_begin(struct refetch *refetch,
                         uint64_t db,
                         const struct slice *name,
                         struct refetch_large *large,
                         struct syn_err *err)
{
    struct state state;
    if (!refetch_ready(refetch, db, err) || !refetch_know(refetch, err) ||
        !state_ask(refetch, name, err) || !state_take(refetch, &state, err)) {
        refetch_close(refetch);
        return false;
    }
    state_begins(large, &state);
    return true;
}

bool refetch_large_scan(struct refetch *refetch,
                        const struct slice *name,
                        uint64_t value_bytes,
                        uint64_t piece_bytes,
                        const struct rdb_visitor *visitor,
                        void *arg,
                        struct refetch_large *large,
                        struct syn_err *err)
{
    ASSERT(refetch_can_scan(refetch, large->type));
    struct value_reading reading = {.control = &refetch->control,
                                    .key = (const char *)name->bytes,
                                    .key_size = name->size,
                                    .type = large->type,
                                    .with_field_ttl = refetch->has_field_ttl,
                                    .has_hidden = refetch->has_field_ttl,
                                    .with_counters = refetch->has_counters,
                                    .with_delivery = true,
                                    .may_repeat = true,
                                    .value_bytes = value_bytes,
                                    .piece_bytes = piece_bytes,
                                    .visitor = visitor,
                                    .arg = arg,
                                    .err = err};
    struct state state;
    bool is_read = value_read(&reading);
    large->is_changed = reading.is_unstable;
    large->is_stopped = reading.is_stopped;
    if (!is_read || !state_ask(refetch, name, err) || !state_take(refetch, &state, err)) {
        refetch_close(refetch);
        return false;
    }
    state_ends(refetch, large, &state);
    return true;
}

/* ---- passing ---- */

struct pass {
    const struct refetch_pass_sink *sink;
    const struct refetch_large *large;
};

static void
pass_piece(void *arg, const uint8_t *bytes, size_t size, uint64_t offset, uint64_t total)
{
    const struct pass *pass = arg;
    if (offset == 0) {
        pass->sink->begin(pass->sink->arg, pass->large, total);
    }
    pass->sink->piece(pass->sink->arg, (struct slice){bytes, size});
}

/* The answer to DUMP. It is what is asked for after the type, so a key that is gone has no
 * payload, or, where its time has come in between, one that is not wanted. */
static bool
dump_take(struct refetch *refetch, struct pass *pass, bool *is_there, struct syn_err *err)
{
    const struct control_sink sink = {.piece = pass_piece, .arg = pass};
    redisReply *reply = NULL;
    bool is_good = true;
    switch (control_fetch_bulk(&refetch->control, &sink, &reply, err)) {
    case CONTROL_BULK_TEXT:
        *is_there = true;
        break;
    case CONTROL_BULK_OTHER:
        *is_there = false;
        if (reply->type == REDIS_REPLY_ERROR) {
            is_good = control_reply_error(&refetch->control, reply, "DUMP", err);
        } else if (reply->type != REDIS_REPLY_NIL) {
            is_good = refetch_odd(&refetch->control, err);
        }
        break;
    case CONTROL_BULK_LOST:
        is_good = false;
        break;
    }
    if (reply != NULL) {
        freeReplyObject(reply);
    }
    return is_good;
}

static bool pass_read(struct refetch *refetch,
                      const struct slice *name,
                      const struct refetch_pass_sink *sink,
                      struct refetch_large *large,
                      struct syn_err *err)
{
    struct state before;
    struct state after;
    bool is_there = false;
    struct pass pass = {.sink = sink, .large = large};
    if (!state_ask(refetch, name, err) || !refetch_ask_key(&refetch->control, "DUMP", name, err) ||
        !state_ask(refetch, name, err) || !state_take(refetch, &before, err)) {
        return false;
    }
    state_begins(large, &before);
    if (!dump_take(refetch, &pass, &is_there, err) || !state_take(refetch, &after, err)) {
        return false;
    }
    state_ends(refetch, large, &after);
    large->is_changed = large->is_changed || is_there != (large->type != VALUE_NONE);
    return true;
}

bool refetch_large_pass(struct refetch *refetch,
                        uint64_t db,
                        const struct slice *name,
                        uint64_t value_bytes,
                        const struct refetch_pass_sink *sink,
                        struct refetch_large *large,
                        struct syn_err *err)
{
    if (!refetch_ready(refetch, db, err) || !refetch_know(refetch, err)) {
        refetch_close(refetch);
        return false;
    }
    uint64_t more_ms = value_bytes / DUMP_BYTES_PER_MS;
    int left_ms = INT32_MAX - refetch->timeout_ms;
    control_set_timeout(&refetch->control,
                        refetch->timeout_ms +
                            (more_ms < (uint64_t)left_ms ? (int)more_ms : left_ms));
    if (!pass_read(refetch, name, sink, large, err)) {
        refetch_close(refetch);
        return false;
    }
    control_set_timeout(&refetch->control, refetch->timeout_ms);
    return true;
}
