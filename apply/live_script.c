/*
 * Scripts that the source propagates as they are: all to 4.0, and to 6.2 with
 * lua-replicate-commands no.
 *
 * A source sends EVAL once, from then on EVALSHA. The server that gets one of those must know the
 * script although EVAL went to another shard, or is still on its way on another lane; and 7.4 and
 * later forget scripts that only EVAL brought. So a script is loaded at every shard before its
 * first EVAL, whatever becomes of that: it may be in a database that is not copied, have keys that
 * rules leave out, or be settled by reading its keys at the source. Which ones were, is remembered
 * by hash; when there is no room for more, all are forgotten and loaded again.
 */
#include "apply/stream_private.h"

#include <string.h>

/* Linear probing, half full at most. */
_Static_assert((STREAM_SCRIPTS & (STREAM_SCRIPTS - 1)) == 0, "places are found by a mask");

void scripts_forget(struct stream *stream)
{
    memset(stream->scripts, 0, sizeof(stream->scripts));
    stream->script_count = 0;
}

/* True when it was there already. */
static bool scripts_add(struct stream *stream, const struct slice *body)
{
    uint64_t hash = key_hash(body->bytes, body->size) | 1; /* 0 is a free place */
    uint32_t place = (uint32_t)(hash >> 32) & (STREAM_SCRIPTS - 1);
    while (stream->scripts[place] != 0) {
        if (stream->scripts[place] == hash) {
            return true;
        }
        place = (place + 1) & (STREAM_SCRIPTS - 1);
    }
    if (stream->script_count == STREAM_SCRIPTS / 2) {
        scripts_forget(stream);
        place = (uint32_t)(hash >> 32) & (STREAM_SCRIPTS - 1);
    }
    stream->scripts[place] = hash;
    stream->script_count++;
    return false;
}

bool live_script_load(struct stream *stream,
                      const uint8_t *bytes,
                      const struct resp_command *command,
                      struct syn_err *err)
{
    bool is_eval = command->argc >= 2 && command->argv[0].size == 4;
    struct slice body = is_eval ? arg_slice(bytes, command, 1) : (struct slice){0};
    if (!is_eval || (stream->task->select != NULL && select_is_own_script(&body)) ||
        scripts_add(stream, &body)) {
        return true; /* EVALSHA and FCALL bring no script */
    }
    const struct slice args[] = {SLICE("SCRIPT"), SLICE("LOAD"), body};
    struct op op = live_op(stream, SLOT_NONE);
    op.kind = OP_SCRIPT; /* one that cannot be compiled fails as its EVAL will */
    if (stream->task->route->lane_count == 1) {
        return stream_broadcast(stream, args, 3, op, err); /* in order before what needs it */
    }
    if (!router_drain(stream->router) || !stream_broadcast(stream, args, 3, op, err)) {
        return stopped(err);
    }
    return router_drain(stream->router) || stopped(err);
}

bool live_script_bring(struct stream *stream,
                       const struct command_info *info,
                       const uint8_t *bytes,
                       const struct resp_command *command,
                       struct syn_err *err)
{
    const struct select *select = stream->task->select;
    const struct command_missing *missing = stream->task->missing;
    struct syn_err ignored;
    uint16_t rule;
    if (!live_keys(stream, info, bytes, command, &ignored)) {
        return true; /* it is refused, with reasons, where it is taken */
    }
    if ((select != NULL && select->has_command_rules && !select_command(select, info, &rule)) ||
        (missing != NULL && command_is_missing(missing, info))) {
        return true; /* nor is any EVALSHA wanted */
    }
    return live_script_load(stream, bytes, command, err);
}
