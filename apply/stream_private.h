/* Between the files of the stream: input, snapshot, live, transaction. Private. */
#ifndef APPLY_STREAM_PRIVATE_H
#define APPLY_STREAM_PRIVATE_H

#include "apply/expiry.h"
#include "apply/stream.h"

/* Every step says how it ended. */
enum step {
    STEP_DONE, /* something was taken; call again                       */
    STEP_WAIT, /* more bytes are needed                                 */
    STEP_FAIL, /* err is filled                                         */
};

/* What functions of the router mean by false. */
static inline bool stopped(struct syn_err *err)
{
    return ERR(err, SYN_CODE_STOPPED, "stopped");
}

/* A word of ours as an argument of a command. */
#define SLICE(text)                                                                                \
    {                                                                                              \
        (const uint8_t *)(text), sizeof(text) - 1                                                  \
    }

static inline struct slice
arg_slice(const uint8_t *bytes, const struct resp_command *command, uint32_t i)
{
    return (struct slice){bytes + command->argv[i].pos, command->argv[i].size};
}

/* ---- input.c ---- */

struct window {
    const uint8_t *bytes;
    size_t size;
};

/* Puts the next bytes into the window: more of the chunk, the next chunk with the tail carried into
 * its headroom, or more in hold. STEP_WAIT: the feed has nothing more now. */
enum step input_fill(struct stream *stream, struct window *window, struct syn_err *err);
/* The first `size` bytes of the window are done with. */
void input_use(struct stream *stream, size_t size);
/* The window as it is must grow to `wanted` bytes before its item can be taken. */
void input_want(struct stream *stream, size_t wanted);
/* Makes room for `more` bytes. STEP_WAIT: another stream holds much just now; try again later. */
enum step hold_reserve(struct stream *stream, struct hold *hold, size_t more, struct syn_err *err);
/* Empties it; a large one gives its memory, and the right to hold much, back. */
void hold_clear(struct stream *stream, struct hold *hold);

/* ---- snapshot.c ---- */

void snapshot_begin(struct stream *stream);
enum step snapshot_step(struct stream *stream, const struct window *window, struct syn_err *err);
enum step
snapshot_mark_step(struct stream *stream, const struct window *window, struct syn_err *err);
/* A file has ended, and all of it was taken: it is whole, or cut short. */
enum step snapshot_file_end(struct stream *stream, struct syn_err *err);
/* The footer with which the value under way goes as RESTORE; 0: it does not. */
static inline uint16_t snapshot_restore_version(const struct stream *stream)
{
    uint8_t type = stream->value.item.type;
    if (UNLIKELY((stream->restore_refused >> type & 1) != 0)) {
        return 0;
    }
    return stream->task->intake.restore_version[stream->is_valkey][type];
}
/* The session ended inside a value that was being streamed: fills it up so that the destination
 * refuses it, harmlessly. */
MUST_CHECK bool snapshot_abandon(struct stream *stream, struct syn_err *err);

/* A time to live of the source as it is written now; -1 is none. */
static inline int64_t stream_expiry(struct stream *stream, int64_t expire_ms)
{
    int64_t expiry_ms = expiry_add(expire_ms, stream->expiry_add_ms);
    if (UNLIKELY(expiry_ms != expire_ms)) {
        counter_add(&stream->expiries_put_off, 1);
    }
    return expiry_ms;
}

/* ---- live.c ---- */

enum step live_step(struct stream *stream, const struct window *window, struct syn_err *err);
/* Destination database of a source database, DB_NONE when it is not selected. */
static inline uint32_t task_db(const struct task *task, uint64_t db)
{
    if (!task->has_db_rules) {
        return db < DB_NONE ? (uint32_t)db : DB_NONE;
    }
    uint16_t mapped = db < task->db_map_count ? task->db_map[db] : UINT16_MAX;
    return mapped == UINT16_MAX ? DB_NONE : mapped;
}
/* Acts on more than the selected database, so that one which is not copied may not drop it. */
static inline bool live_is_beyond_db(const struct command_info *info)
{
    return info->class == COMMAND_FLUSHALL || info->class == COMMAND_SWAPDB ||
           info->class == COMMAND_FUNCTION || info->class == COMMAND_SCRIPT ||
           info->class == COMMAND_MOVE || info->class == COMMAND_COPY ||
           info->class == COMMAND_PUBLISH;
}
static inline bool is_spublish(const struct command_info *info)
{
    return info->class == COMMAND_PUBLISH && info->name[0] == 'S';
}
/* A message for subscribers that is forwarded. Without, or where nobody can have subscribed to it,
 * it is dropped. */
static inline bool task_publishes(const struct task *task, const struct command_info *info)
{
    return info->class == COMMAND_PUBLISH &&
           (is_spublish(info) ? task->spublishes : task->publishes);
}
/* The database that a message is sent from; any will do. */
static inline uint32_t task_publish_db(const struct task *task, uint64_t db)
{
    uint32_t mapped = task_db(task, db);
    return mapped == DB_NONE || task->route->is_cluster ? 0 : mapped;
}
/* Applies one command outside a transaction. */
MUST_CHECK bool live_apply(struct stream *stream,
                           const struct command_info *info,
                           const uint8_t *bytes,
                           const struct resp_command *command,
                           uint64_t source_db,
                           struct syn_err *err);
/* The same when its database is known to be selected and none of its keys is held. */
MUST_CHECK bool live_dispatch(struct stream *stream,
                              const struct command_info *info,
                              const uint8_t *bytes,
                              const struct resp_command *command,
                              uint64_t source_db,
                              struct syn_err *err);
static inline struct op live_op(const struct stream *stream, uint16_t slot)
{
    return (struct op){.offset = stream->offset,
                       .stream = stream->index,
                       .slot = slot,
                       .kind = OP_COMMAND,
                       .is_live = true};
}

/* An operation that is a whole command of the source: its answer tells whether it found what it
 * found there. */
static inline struct op
live_op_of(const struct stream *stream, const struct command_info *info, uint16_t slot)
{
    struct op op = live_op(stream, slot);
    /* Of types that are not selected no key is here, and commands for any type change nothing. */
    bool has_all = stream->task->select == NULL || stream->task->select->kinds == SELECT_KINDS_ALL;
    op.answer = has_all ? (uint8_t)info->answer : COMMAND_ANSWER_ANY;
    op.source_db = (uint32_t)stream->command_db;
    return op;
}

/* What a command is: by the table, or by what the destination said of it before; NULL: not known.
 */
const struct command_info *
live_find(const struct stream *stream, const uint8_t *bytes, const struct resp_command *command);
/* The same of a command that the table lacks. STEP_WAIT: it was asked for, and the command must
 * come again. STEP_DONE with *info NULL: it is left out. */
enum step live_ask(struct stream *stream,
                   const uint8_t *bytes,
                   const struct resp_command *command,
                   const struct command_info **info,
                   struct syn_err *err);
/* A command of the table that the destination lacks is left out, or ends the task. */
MUST_CHECK bool live_missing(struct stream *stream,
                             const struct command_info *info,
                             const uint8_t *bytes,
                             const struct resp_command *command,
                             struct syn_err *err);
/* Its keys, into stream->keys. */
MUST_CHECK bool live_keys(struct stream *stream,
                          const struct command_info *info,
                          const uint8_t *bytes,
                          const struct resp_command *command,
                          struct syn_err *err);
/* Where it takes those of a command whose keys had to be asked for: uint32_t each, of any
 * alignment; as the last answer gave them, or as they were kept with a command of a transaction. */
void live_keys_from(struct stream *stream, const uint8_t *positions, uint32_t count);
static inline void live_keys_answered(struct stream *stream)
{
    const struct key_list *keys = &stream->question.keys;
    live_keys_from(stream, (const uint8_t *)keys->positions, keys->count);
}

/* Writes the bytes of one whole command to its lane. */
MUST_CHECK bool live_forward(struct stream *stream,
                             uint32_t lane,
                             uint32_t db,
                             const uint8_t *bytes,
                             size_t size,
                             struct op op,
                             struct syn_err *err);
/* The same of a command as it came. */
MUST_CHECK bool live_forward_whole(struct stream *stream,
                                   uint32_t lane,
                                   uint32_t db,
                                   const struct command_info *info,
                                   const uint8_t *bytes,
                                   const struct resp_command *command,
                                   uint16_t slot,
                                   struct syn_err *err);
/* Whether the command's time to live is changed; the pieces are of its bytes. */
bool live_expiry_edit(struct stream *stream,
                      const struct command_info *info,
                      const uint8_t *bytes,
                      const struct resp_command *command,
                      struct expiry_pieces *pieces);
/* Writes them into the open unit. False: stopped. */
MUST_CHECK bool
live_put_edited(struct stream *stream, uint32_t lane, const struct expiry_pieces *pieces);
/* "source HOST, offset N, command NAME (hash …)" for errors about the stream. */
const char *live_where(const struct stream *stream,
                       const uint8_t *bytes,
                       const struct resp_command *command,
                       char text[200]);

/* A command encoded from its arguments, for the few that cannot be forwarded as they are. */
MUST_CHECK bool live_forward_args(struct stream *stream,
                                  uint32_t lane,
                                  uint32_t db,
                                  const struct slice *args,
                                  uint32_t count,
                                  struct op op,
                                  struct syn_err *err);

/* The same on one lane of every shard. */
MUST_CHECK bool stream_broadcast(struct stream *stream,
                                 const struct slice *args,
                                 uint32_t count,
                                 struct op op,
                                 struct syn_err *err);

/* Where a command's keys lie. */
struct command_place {
    uint16_t slot; /* of the first key, SLOT_NONE without keys          */
    uint32_t lane;
    bool is_one_slot;
    bool is_one_lane;
    uint16_t slot_other; /* of the first key elsewhere */
};
MUST_CHECK bool live_place(struct stream *stream,
                           const struct command_info *info,
                           const uint8_t *bytes,
                           const struct resp_command *command,
                           struct command_place *place,
                           struct syn_err *err);

/* SORT with BY or GET of a pattern: it reads keys that it does not name. A cluster refuses it even
 * where they share a slot, and any GET ("#", the element itself, too). */
bool live_has_patterns(const struct command_info *info,
                       const uint8_t *bytes,
                       const struct resp_command *command,
                       bool is_cluster);
/* CLUSTER FLUSHSLOT. */
bool live_is_slot_flush(const uint8_t *bytes, const struct resp_command *command);
/* Whether it reads keys that are not among its arguments, so that all lanes matter to it. */
bool live_reads_unnamed(const struct stream *stream,
                        const struct command_info *info,
                        const uint8_t *bytes,
                        const struct resp_command *command);

/* The argument that is the LIMIT of a propagated "= n LIMIT m", 0: there is none. */
uint32_t live_trim_limit(const uint8_t *bytes, const struct resp_command *command);
/* Writes the command without it into the open unit. False: stopped. */
MUST_CHECK bool live_put_trim(struct stream *stream,
                              uint32_t lane,
                              const uint8_t *bytes,
                              const struct resp_command *command,
                              uint32_t limit);

/* Where a message goes, in place->slot and lane: by its channel, as if that were a key. */
MUST_CHECK bool live_channel(struct stream *stream,
                             const struct command_info *info,
                             const uint8_t *bytes,
                             const struct resp_command *command,
                             struct command_place *place,
                             struct syn_err *err);

/* Outside a transaction applied, inside kept. */
MUST_CHECK bool live_take(struct stream *stream,
                          const struct command_info *info,
                          const uint8_t *bytes,
                          const struct resp_command *command,
                          struct syn_err *err);

/* ---- live_rules.c: the rules, in front of live_take and only with task->select ---- */

/* Room for what the rules may make of the command. STEP_WAIT: take it again later. */
enum step live_rules_reserve(struct stream *stream,
                             const uint8_t *bytes,
                             const struct resp_command *command,
                             struct syn_err *err);
/* Gives live_take what the rules leave of the command. */
MUST_CHECK bool live_rules_take(struct stream *stream,
                                const struct command_info *info,
                                const uint8_t *bytes,
                                const struct resp_command *command,
                                struct syn_err *err);

/* ---- live_admin.c: commands without keys, and those that name databases ---- */
MUST_CHECK bool live_admin(struct stream *stream,
                           const struct command_info *info,
                           const uint8_t *bytes,
                           const struct resp_command *command,
                           uint64_t source_db,
                           struct syn_err *err);

/* ---- live_script.c: scripts that are propagated as they are ---- */

/* An EVAL arrives, of which it is not known yet what becomes: the same, unless the command itself
 * is left out. */
MUST_CHECK bool live_script_bring(struct stream *stream,
                                  const struct command_info *info,
                                  const uint8_t *bytes,
                                  const struct resp_command *command,
                                  struct syn_err *err);
/* Before an EVAL: every shard gets its script, unless it was given it before. */
MUST_CHECK bool live_script_load(struct stream *stream,
                                 const uint8_t *bytes,
                                 const struct resp_command *command,
                                 struct syn_err *err);
/* SCRIPT FLUSH. */
void scripts_forget(struct stream *stream);

/* ---- transaction.c ---- */

void transaction_begin(struct stream *stream);
MUST_CHECK bool transaction_add(struct stream *stream,
                                const struct command_info *info,
                                const uint8_t *bytes,
                                size_t size,
                                struct syn_err *err);
MUST_CHECK bool transaction_end(struct stream *stream, struct syn_err *err);
void transaction_clear(struct stream *stream);
/* Writes one that a lane may run whole. */
MUST_CHECK bool transaction_run(struct stream *stream,
                                const struct transaction *transaction,
                                struct resp_cutter *cutter,
                                uint16_t slot,
                                struct syn_err *err);

/* ---- stream.c ---- */

/* A full copy begins: state, offsets and parsers start anew, or the stream is held for the sweep.
 */
MUST_CHECK bool
stream_session(struct stream *stream, const struct chunk_session *session, struct syn_err *err);
/* +CONTINUE, perhaps under a new replication id. */
void stream_session_continues(struct stream *stream, const struct chunk_session *session);
void stream_set_state(struct stream *stream, enum stream_state state);
/* Tells the reader where the payload ended, and that the stream's commands follow. */
void stream_payload_end(struct stream *stream);
void stream_note_place(struct stream *stream, bool is_snapshot_end);

#endif
