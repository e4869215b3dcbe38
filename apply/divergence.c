#include "apply/divergence.h"

#include <string.h>

#include "apply/live_way.h"
#include "apply/recovery.h"
#include "apply/relay.h"
#include "apply/stream_private.h"

/* Keys in repair, or waiting for it, with which doubts are only counted. */
#define DOUBTS_MAX (RECOVERY_KEYS_MAX / 2)

/* Keys of one operation, or of several of a group. */
struct names {
    struct names *next;
    uint64_t seq;      /* of the batch with the operation's, or the group's, record */
    uint64_t db;       /* of the source */
    uint64_t other_db; /* of names with NAME_ELSEWHERE */
    bool is_group;
    bool is_doubt; /* they may well be as they are at the source */
    uint32_t size;
    uint32_t capacity;
    uint8_t bytes[]; /* each as its size, 4 bytes, and its name */
};

/* In a name's size: it is in the other database of MOVE or COPY. */
#define NAME_ELSEWHERE 0x80000000u

/* A group's commands are mostly small: their names share pieces of this size. */
#define NAMES_BYTES 4096u

struct divergences {
    struct names *waiting; /* to be made dirty */
    struct names **waiting_end;
    struct names *remembered; /* of operations on their way, oldest first */
    struct names **remembered_end;
    struct names *remembered_last;
    size_t remembered_bytes; /* at most transaction_bytes_max of the task */
    uint64_t forgotten_seq;  /* up to here some are not remembered, for want of room; 0: none */
    uint32_t waiting_count;
    bool is_overrun; /* some could not be kept */
    struct resp_cutter cutter;
    struct key_list keys;
};

static void names_free(struct names **list)
{
    while (*list != NULL) {
        struct names *names = *list;
        *list = names->next;
        mem_free(MEM_APPLY, names);
    }
}

static struct divergences *divergences_of(struct stream *stream)
{
    if (stream->divergences != NULL) {
        return stream->divergences;
    }
    struct syn_err err;
    struct divergences *divergences = mem_calloc(MEM_APPLY, sizeof(*divergences));
    if (divergences == NULL) {
        return NULL;
    }
    divergences->waiting_end = &divergences->waiting;
    divergences->remembered_end = &divergences->remembered;
    stream->divergences = divergences;
    if (!resp_cutter_init(&divergences->cutter,
                          stream->cutter.argc_max,
                          stream->cutter.command_bytes_max,
                          &err) ||
        !key_list_init(&divergences->keys, &err)) {
        divergence_forget(stream);
    }
    return stream->divergences;
}

void divergence_forget(struct stream *stream)
{
    struct divergences *divergences = stream->divergences;
    if (divergences != NULL) {
        names_free(&divergences->waiting);
        names_free(&divergences->remembered);
        resp_cutter_deinit(&divergences->cutter);
        key_list_deinit(&divergences->keys);
        mem_free(MEM_APPLY, divergences);
        stream->divergences = NULL;
    }
}

/* ---- names ---- */

/* MOVE's key counts twice, and the second one of MOVE and COPY is in another database. */
static uint32_t name_count(const struct command_info *info, const struct key_list *keys)
{
    return info->class == COMMAND_MOVE ? 2 * keys->count : keys->count;
}

static size_t names_size(const struct command_info *info,
                         const struct key_list *keys,
                         const struct resp_command *command)
{
    size_t size = 0;
    for (uint32_t i = 0; i < name_count(info, keys); i++) {
        size += sizeof(uint32_t) + command->argv[keys->positions[i % keys->count]].size;
    }
    return size;
}

static struct names *names_new(size_t capacity, uint64_t db, uint64_t other_db)
{
    struct names *names =
        capacity >= NAME_ELSEWHERE ? NULL : mem_alloc(MEM_APPLY, sizeof(*names) + capacity);
    if (names != NULL) {
        *names = (struct names){.db = db, .other_db = other_db, .capacity = (uint32_t)capacity};
    }
    return names;
}

static void names_add(struct names *names, struct slice name, bool is_elsewhere)
{
    uint32_t head = (uint32_t)name.size | (is_elsewhere ? NAME_ELSEWHERE : 0);
    uint8_t *out = names->bytes + names->size;
    ASSERT(sizeof(head) + name.size <= names->capacity - names->size);
    memcpy(out, &head, sizeof(head));
    memcpy(out + sizeof(head), name.bytes, name.size);
    names->size += (uint32_t)(sizeof(head) + name.size);
}

static void names_add_keys(struct names *names,
                           const struct command_info *info,
                           const struct key_list *keys,
                           const uint8_t *bytes,
                           const struct resp_command *command)
{
    bool names_db = info->class == COMMAND_MOVE || info->class == COMMAND_COPY;
    for (uint32_t i = 0; i < name_count(info, keys); i++) {
        names_add(
            names, arg_slice(bytes, command, keys->positions[i % keys->count]), i > 0 && names_db);
    }
}

/* ---- names of operations on their way ---- */

static struct names *remembered_cut(struct divergences *divergences, struct names **at)
{
    struct names *names = *at;
    *at = names->next;
    if (divergences->remembered_end == &names->next) {
        divergences->remembered_end = at;
    }
    if (divergences->remembered_last == names) {
        divergences->remembered_last = NULL; /* whatever comes next begins a piece */
    }
    divergences->remembered_bytes -= sizeof(*names) + names->capacity;
    names->next = NULL;
    return names;
}

static void remembered_trim(struct divergences *divergences, uint64_t frontier)
{
    while (divergences->remembered != NULL && divergences->remembered->seq < frontier) {
        mem_free(MEM_APPLY, remembered_cut(divergences, &divergences->remembered));
    }
}

/* Room for `size` bytes of names of the operation, or group, that ends in the lane's open batch.
 * NULL: they cannot be remembered. */
static struct names *remembered_room(struct stream *stream,
                                     uint32_t lane,
                                     bool is_group,
                                     uint64_t db,
                                     uint64_t other_db,
                                     size_t size)
{
    struct divergences *divergences = divergences_of(stream);
    if (divergences == NULL) {
        return NULL; /* divergence_note does not find it */
    }
    uint64_t seq = router_batch_seq(stream->router, lane);
    struct names *last = divergences->remembered_last;
    if (is_group && last != NULL && last->is_group && last->seq == seq && last->db == db &&
        last->other_db == other_db && size <= last->capacity - last->size) {
        return last;
    }
    remembered_trim(divergences, stream->router->frontier);
    size_t most = stream->task->transaction_bytes_max;
    size_t left = most - divergences->remembered_bytes;
    size_t capacity = is_group && size < NAMES_BYTES ? NAMES_BYTES : size;
    if (sizeof(*last) + capacity > left) {
        capacity = size;
    }
    if (sizeof(*last) > left || capacity > left - sizeof(*last)) {
        divergences->forgotten_seq = seq;
        return NULL;
    }
    struct names *names = names_new(capacity, db, other_db);
    if (names == NULL) {
        return NULL;
    }
    names->seq = seq;
    names->is_group = is_group;
    *divergences->remembered_end = names;
    divergences->remembered_end = &names->next;
    divergences->remembered_last = names;
    divergences->remembered_bytes += sizeof(*names) + capacity;
    return names;
}

static bool remembers(const struct stream *stream)
{
    return stream->task->on_divergence == DIVERGENCE_REFETCH;
}

static void remember(struct stream *stream,
                     uint32_t lane,
                     bool is_group,
                     const struct command_info *info,
                     const uint8_t *bytes,
                     const struct resp_command *command)
{
    uint32_t first = 1;
    const struct key_list first_key = {.count = 1, .positions = &first};
    const struct key_list *keys = info->is_key_first ? &first_key : &stream->keys;
    uint64_t db = stream->command_db;
    uint64_t other_db = live_other_db(info, bytes, command, db);
    size_t size = names_size(info, keys, command);
    struct names *names = remembered_room(stream, lane, is_group, db, other_db, size);
    if (names != NULL) {
        names_add_keys(names, info, keys, bytes, command);
    }
}

void divergence_remember(struct stream *stream,
                         uint32_t lane,
                         const struct command_info *info,
                         const uint8_t *bytes,
                         const struct resp_command *command)
{
    /* One that is whole comes back with its record. */
    if (remembers(stream) && !router_is_whole(stream->router, lane)) {
        remember(stream, lane, false, info, bytes, command);
    }
}

void divergence_remember_in(struct stream *stream,
                            uint32_t lane,
                            const struct command_info *info,
                            const uint8_t *bytes,
                            const struct resp_command *command)
{
    if (remembers(stream)) {
        remember(stream, lane, true, info, bytes, command);
    }
}

void divergence_remember_name(struct stream *stream,
                              uint32_t lane,
                              const struct slice *name,
                              uint64_t source_db)
{
    if (!remembers(stream) || router_is_whole(stream->router, lane)) {
        return;
    }
    size_t size = sizeof(uint32_t) + name->size;
    struct names *names = remembered_room(stream, lane, false, source_db, source_db, size);
    if (names != NULL) {
        names_add(names, *name, false);
    }
}

static struct names *
remembered_take(struct divergences *divergences, uint64_t seq, bool with_groups)
{
    struct names **at = &divergences->remembered;
    while (*at != NULL && ((*at)->seq != seq || ((*at)->is_group && !with_groups))) {
        at = &(*at)->next;
    }
    return *at == NULL ? NULL : remembered_cut(divergences, at);
}

/* The source's database that became this one of the destination, DB_NONE for none: each has a place
 * of its own. */
static uint64_t db_at_source(const struct task *task, uint64_t db)
{
    for (uint64_t n = 0; task->has_db_rules && n < task->db_map_count; n++) {
        if (task_db(task, n) == db) {
            return n;
        }
    }
    return task->has_db_rules ? DB_NONE : db;
}

/* The keys of a command that lies in its batch, where a database is the destination's. */
static struct names *
names_read(struct stream *stream, const struct op *op, const uint8_t *bytes, size_t size)
{
    struct divergences *divergences = stream->divergences;
    struct resp_command command;
    struct syn_err err;
    size_t wanted;
    resp_cutter_reset(&divergences->cutter);
    if (resp_cut(&divergences->cutter, bytes, size, &wanted, &command, &err) != RESP_READY) {
        return NULL;
    }
    const struct command_info *info =
        command_find(bytes + command.argv[0].pos, command.argv[0].size);
    if (info == NULL || info->spec_count == COMMAND_KEYS_ASKED ||
        !command_keys(info, bytes, &command, &divergences->keys, &err)) {
        return NULL;
    }
    uint32_t db = task_db(stream->task, op->source_db);
    uint64_t other = live_other_db(info, bytes, &command, db);
    struct names *names =
        names_new(names_size(info, &divergences->keys, &command),
                  op->source_db,
                  other == db ? op->source_db : db_at_source(stream->task, other));
    if (names != NULL) {
        names_add_keys(names, info, &divergences->keys, bytes, &command);
    }
    return names;
}

/* ---- operations ---- */

static _Atomic uint64_t *counter_of(struct stream *stream, uint8_t refusal)
{
    switch ((enum op_refusal)refusal) {
    case REFUSAL_NO_EFFECT:
        return &stream->diverged_no_effect;
    case REFUSAL_STATE:
        return &stream->diverged_error;
    case REFUSAL_PARTIAL:
        return &stream->diverged_partial;
    default:
        return &stream->diverged_script;
    }
}

static void names_wait(struct divergences *divergences, struct names *names)
{
    if (names->is_doubt && divergences->waiting_count >= DOUBTS_MAX) {
        mem_free(MEM_APPLY, names);
        return;
    }
    if (divergences->waiting_count == RECOVERY_KEYS_MAX) {
        divergences->is_overrun = true;
        mem_free(MEM_APPLY, names);
        return;
    }
    *divergences->waiting_end = names;
    divergences->waiting_end = &names->next;
    divergences->waiting_count++;
}

/* What could not be remembered is asked for: a full copy finds it. */
static bool is_forgotten(struct divergences *divergences, uint64_t seq)
{
    if (divergences == NULL || seq > divergences->forgotten_seq) {
        return false;
    }
    divergences->is_overrun = true;
    return true;
}

bool divergence_note(struct stream *stream,
                     const struct batch *batch,
                     const struct op *op,
                     const uint8_t *bytes,
                     size_t size)
{
    counter_add(counter_of(stream, op->refusal), 1);
    if (stream->task->on_divergence != DIVERGENCE_REFETCH) {
        return true;
    }
    struct divergences *divergences = divergences_of(stream);
    struct names *names = divergences == NULL ? NULL
                          : bytes != NULL     ? names_read(stream, op, bytes, size)
                                              : remembered_take(divergences, batch->seq, false);
    if (names == NULL) {
        counter_add(&stream->diverged_unknown, 1);
        return op->refusal != REFUSAL_STATE || is_forgotten(divergences, batch->seq);
    }
    names->is_doubt = op->refusal == REFUSAL_PARTIAL;
    names_wait(divergences, names);
    return true;
}

bool divergence_note_group(struct stream *stream, const struct batch *batch, uint8_t refusal)
{
    struct divergences *divergences = stream->divergences;
    bool is_found = stream->task->on_divergence != DIVERGENCE_REFETCH;
    struct names *names;
    while (divergences != NULL &&
           (names = remembered_take(divergences, batch->seq, true)) != NULL) {
        names->is_doubt = refusal == REFUSAL_PARTIAL;
        names_wait(divergences, names);
        is_found = true;
    }
    is_found = (refusal != REFUSAL_PARTIAL && is_forgotten(divergences, batch->seq)) || is_found;
    if (is_found) {
        counter_add(counter_of(stream, refusal), 1);
    }
    return is_found;
}

/* Unless it is none of the task's: a command may read such keys too. */
static bool
name_make_dirty(struct stream *stream, uint64_t db, const struct slice *name, struct syn_err *err)
{
    if (relay_is_temporary(name)) {
        return true;
    }
    struct select_name source_name = {0};
    bool is_selected = true;
    bool is_known = stream->task->select == NULL ||
                    select_to_source(stream->task->select, *name, &source_name, &is_selected, err);
    select_name_deinit(&source_name);
    return is_known && (!is_selected || recovery_dirty(stream, db, name, err));
}

static bool names_make_dirty(struct stream *stream, const struct names *names, struct syn_err *err)
{
    const uint8_t *at = names->bytes;
    const uint8_t *end = at + names->size;
    while (at < end) {
        uint32_t head;
        memcpy(&head, at, sizeof(head));
        struct slice name = {at + sizeof(head), head & ~NAME_ELSEWHERE};
        uint64_t db = (head & NAME_ELSEWHERE) != 0 ? names->other_db : names->db;
        if (!name_make_dirty(stream, db, &name, err)) {
            return false;
        }
        at += sizeof(head) + name.size;
    }
    return true;
}

/* Doubts do not end in a new full copy: while so many keys are in repair they stay as they are. */
static bool is_passed_over(const struct stream *stream, const struct names *names)
{
    return names->is_doubt && recovery_count(stream) >= DOUBTS_MAX;
}

bool divergence_step(struct stream *stream, struct syn_err *err)
{
    struct divergences *divergences = stream->divergences;
    if (divergences->is_overrun) {
        return recovery_refuse(stream, "too many keys are not as they are at the source", err);
    }
    while (divergences->waiting != NULL) {
        struct names *names = divergences->waiting;
        if (!is_passed_over(stream, names) && !names_make_dirty(stream, names, err)) {
            return false;
        }
        divergences->waiting = names->next;
        divergences->waiting_count--;
        mem_free(MEM_APPLY, names);
    }
    divergences->waiting_end = &divergences->waiting;
    return true;
}
