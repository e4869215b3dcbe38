#include "apply/recovery_private.h"

#include <string.h>
#include <strings.h>

#include "apply/held_mark.h"
#include "apply/live_way.h"

/* ---- the table of dirty keys: open addressing, linear probing ---- */

#define TABLE_FIRST 64

static size_t table_place(const struct recovery *recovery, uint64_t hash)
{
    return (size_t)(hash & (recovery->capacity - 1));
}

static uint64_t dirty_hash(uint64_t db, const void *name, size_t size)
{
    return key_hash(name, size) ^ (db * 0x9E3779B97F4A7C15u);
}

struct dirty_key *
recovery_find(const struct recovery *recovery, uint64_t db, const void *name, size_t size)
{
    if (recovery->count == 0) {
        return NULL;
    }
    uint64_t hash = dirty_hash(db, name, size);
    for (size_t at = table_place(recovery, hash);; at = (at + 1) & (recovery->capacity - 1)) {
        struct dirty_key *key = recovery->table[at];
        if (key == NULL) {
            return NULL;
        }
        if (key->hash == hash && key->db == db && key->size == size &&
            memcmp(key->name, name, size) == 0) {
            return key;
        }
    }
}

static void table_put(struct recovery *recovery, struct dirty_key *key)
{
    size_t at = table_place(recovery, key->hash);
    while (recovery->table[at] != NULL) {
        at = (at + 1) & (recovery->capacity - 1);
    }
    recovery->table[at] = key;
}

static bool table_grow(struct recovery *recovery, struct syn_err *err)
{
    if (recovery->count * 2 < recovery->capacity) {
        return true;
    }
    size_t before = recovery->capacity;
    struct dirty_key **old = recovery->table;
    size_t capacity = before == 0 ? TABLE_FIRST : before * 2;
    struct dirty_key **table = mem_calloc(MEM_APPLY, capacity * sizeof(*table));
    if (table == NULL) {
        return ERR(err, SYN_CODE_MEMORY, "out of memory for keys that need repair");
    }
    recovery->table = table;
    recovery->capacity = capacity;
    for (size_t i = 0; i < before; i++) {
        if (old[i] != NULL) {
            table_put(recovery, old[i]);
        }
    }
    mem_free(MEM_APPLY, old);
    return true;
}

static struct dirty_key *
table_add(struct recovery *recovery, uint64_t db, const struct slice *name, struct syn_err *err)
{
    if (!table_grow(recovery, err)) {
        return NULL;
    }
    struct dirty_key *key = mem_alloc(MEM_APPLY, sizeof(*key) + name->size);
    if (key == NULL) {
        ERR(err, SYN_CODE_MEMORY, "out of memory for keys that need repair");
        return NULL;
    }
    *key = (struct dirty_key){
        .hash = dirty_hash(db, name->bytes, name->size), .db = db, .size = name->size};
    memcpy(key->name, name->bytes, name->size);
    table_put(recovery, key);
    recovery->count++;
    recovery->unread++;
    return key;
}

void recovery_clear_keys(struct recovery *recovery)
{
    for (size_t i = 0; i < recovery->capacity; i++) {
        mem_free(MEM_APPLY, recovery->table[i]);
        recovery->table[i] = NULL;
    }
    recovery->count = 0;
    recovery->unread = 0;
    recovery->ranged = 0;
    recovery->floor_max = 0;
}

void recovery_was_read(struct recovery *recovery, struct dirty_key *key, uint64_t from, uint64_t to)
{
    ASSERT(key->floor == 0);
    ASSERT(from <= to);
    key->floor = to > 0 ? to : 1;
    key->from = from == to ? 0 : from;
    key->attempts = key->from == 0 ? 0 : key->attempts;
    recovery->ranged += key->from != 0;
    recovery->floor_max = key->floor > recovery->floor_max ? key->floor : recovery->floor_max;
    recovery->unread--;
}

/* ---- life ---- */

bool recovery_begin(struct stream *stream,
                    const struct recovery_lane *lanes,
                    uint64_t until,
                    struct syn_err *err)
{
    ASSERT(stream->recovery == NULL);
    uint32_t lane_count = stream->task->route->lane_count;
    size_t size = sizeof(struct recovery) + lane_count * sizeof(struct recovery_lane);
    struct recovery *recovery = mem_calloc(MEM_APPLY, size);
    if (recovery == NULL) {
        return ERR(err, SYN_CODE_MEMORY, "out of memory for a recovery");
    }
    if (stream->task->select != NULL) {
        recovery->names = mem_calloc(MEM_APPLY, RECOVERY_NAMES * sizeof(*recovery->names));
        if (recovery->names == NULL) {
            mem_free(MEM_APPLY, recovery);
            return ERR(err, SYN_CODE_MEMORY, "out of memory for a recovery");
        }
    }
    recovery->until = until;
    for (uint32_t i = 0; lanes != NULL && i < lane_count; i++) {
        recovery->lanes[i] = lanes[i];
    }
    recovery->refetch =
        (struct refetch){.endpoint = stream->feed->options.endpoint,
                         .timeout_ms = (int)stream->feed->options.connect_timeout_ms,
                         .is_cluster = stream->task->source_is_cluster,
                         .dump_max = stream->task->refetch_dump_max};
    stream->recovery = recovery;
    return true;
}

void recovery_end(struct stream *stream)
{
    struct recovery *recovery = stream->recovery;
    if (recovery != NULL) {
        recovery_clear_keys(recovery);
        refetch_close(&recovery->refetch);
        for (uint32_t i = 0; recovery->names != NULL && i < RECOVERY_NAMES; i++) {
            select_name_deinit(&recovery->names[i]);
        }
        mem_free(MEM_APPLY, recovery->names);
        mem_free(MEM_APPLY, recovery->table);
        mem_free(MEM_APPLY, recovery);
        stream->recovery = NULL;
    }
}

/* ---- dirty keys ---- */

static uint32_t key_lane(const struct stream *stream, const void *name, size_t size)
{
    const struct route *route = stream->task->route;
    return route_lane(route, route_slot(route, name, size));
}

/* SADD or SREM of the key's name in its lane's dirty set. */
bool recovery_name(struct stream *stream, const struct dirty_key *key, const char *command)
{
    const struct position_plan *plan = stream->task->positions;
    if (plan == NULL) {
        return true; /* nothing is continued after a crash, so nothing has to be told to it */
    }
    uint32_t lane = key_lane(stream, key->name, key->size);
    const char *set = plan->lanes[lane].dirty_key;
    uint8_t name[NUM_DIGITS_MAX + 1];
    size_t prefix = num_write_u64((char *)name, key->db);
    name[prefix++] = ':';
    struct router *router = stream->router;
    if (router->held != NULL && !held_unmark(router->held, lane)) {
        return false; /* an older name of this key would be removed later */
    }
    struct op op = {
        .stream = stream->index, .offset = stream->offset, .slot = SLOT_NONE, .kind = OP_COMMAND};
    uint8_t head[160];
    uint8_t *out = resp_put_head(head, '*', 3);
    out = resp_put_bulk(out, command, strlen(command));
    out = resp_put_bulk(out, set, strlen(set));
    out = resp_put_head(out, '$', prefix + key->size);
    memcpy(out, name, prefix);
    out += prefix;
    bool is_inside = router_is_inside(router, lane);
    bool is_begun = is_inside ? router_unit_db(router, lane, plan->db, op)
                              : router_unit_begin(router, lane, plan->db);
    if (!is_begun || !router_unit_op(router, lane) ||
        !router_put(router, lane, head, (size_t)(out - head)) ||
        !router_put(router, lane, key->name, key->size) || !router_put(router, lane, "\r\n", 2)) {
        return false;
    }
    router_unit_done(router, lane, op);
    if (!is_inside) {
        router_unit_end(router, lane);
    }
    return true;
}

bool recovery_refuse(struct stream *stream, const char *reason, struct syn_err *err)
{
    char text[ENDPOINT_TEXT_MAX];
    atomic_store_release(&stream->task->full_copy_wanted, true);
    return ERR(err,
               SYN_CODE_UNSUPPORTED,
               "source %s, offset %llu: %s; a new full copy is needed",
               endpoint_text(&stream->feed->options.endpoint, text),
               (unsigned long long)stream->offset,
               reason);
}

bool recovery_has(const struct stream *stream, uint64_t source_db, const struct slice *name)
{
    const struct recovery *recovery = stream->recovery;
    return recovery != NULL && recovery_find(recovery, source_db, name->bytes, name->size) != NULL;
}

/* Whether the value that the key has, or will have, includes the stream's present offset. */
static bool is_covered(const struct stream *stream, const struct dirty_key *key)
{
    return key->floor == 0 || stream->offset <= key->floor;
}

bool recovery_is_dirty(const struct stream *stream, uint64_t source_db, const struct slice *name)
{
    const struct recovery *recovery = stream->recovery;
    const struct dirty_key *key =
        recovery == NULL ? NULL : recovery_find(recovery, source_db, name->bytes, name->size);
    return key != NULL && is_covered(stream, key);
}

bool recovery_dirty(struct stream *stream,
                    uint64_t source_db,
                    const struct slice *name,
                    struct syn_err *err)
{
    if (stream->recovery == NULL && !recovery_begin(stream, NULL, stream->offset, err)) {
        return false;
    }
    struct recovery *recovery = stream->recovery;
    struct dirty_key *key = recovery_find(recovery, source_db, name->bytes, name->size);
    if (key != NULL) {
        if (!is_covered(stream, key)) {
            key->attempts = 0; /* the last one was good */
        }
        recovery_unread(recovery, key); /* read before, but not late enough */
        return true;
    }
    if (recovery->count >= RECOVERY_KEYS_MAX) {
        return recovery_refuse(stream, "too many keys would have to be read again", err);
    }
    key = table_add(recovery, source_db, name, err);
    return key != NULL && (recovery_name(stream, key, "SADD") || stopped(err));
}

bool recovery_know(struct stream *stream,
                   uint64_t source_db,
                   const struct slice *name,
                   struct syn_err *err)
{
    struct recovery *recovery = stream->recovery;
    return recovery_find(recovery, source_db, name->bytes, name->size) != NULL ||
           table_add(recovery, source_db, name, err) != NULL;
}

/* ---- judging ---- */

enum key_state { KEY_DONE, KEY_DIRTY, KEY_UNCERTAIN, KEY_NEW };

bool recovery_is_done(const struct stream *stream, uint32_t lane)
{
    return stream->recovery != NULL && stream->offset <= stream->recovery->lanes[lane].floor;
}

/* Whether the stream is where a value was read that took a while: if it has an operation on the key
 * there, that value is of no moment. */
static bool is_in_range(const struct dirty_key *key, uint64_t offset)
{
    return key->from != 0 && offset > key->from && offset <= key->floor;
}

void recovery_overlook(struct stream *stream)
{
    struct recovery *recovery = stream->recovery;
    if (LIKELY(recovery == NULL) || recovery->ranged == 0) {
        return;
    }
    for (size_t i = 0; i < recovery->capacity; i++) {
        if (recovery->table[i] != NULL && is_in_range(recovery->table[i], stream->offset)) {
            recovery_unread(recovery, recovery->table[i]);
        }
    }
}

void recovery_ends(struct stream *stream)
{
    struct recovery *recovery = stream->recovery;
    if (recovery == NULL) {
        return;
    }
    recovery->is_ending = true;
    for (size_t i = 0; recovery->ranged > 0 && i < recovery->capacity; i++) {
        struct dirty_key *key = recovery->table[i];
        if (key != NULL && key->from != 0 && stream->offset < key->floor) {
            recovery_unread(recovery, key);
        }
    }
}

static enum key_state
key_judge(const struct stream *stream, uint64_t db, const struct slice *name, uint32_t *lane)
{
    struct recovery *recovery = stream->recovery;
    *lane = key_lane(stream, name->bytes, name->size);
    struct dirty_key *key = recovery_find(recovery, db, name->bytes, name->size);
    if (key != NULL) {
        if (UNLIKELY(is_in_range(key, stream->offset))) {
            recovery_unread(recovery, key);
        }
        /* Named although the lane's position is beyond: the position does not speak for it. */
        return is_covered(stream, key) ? KEY_DIRTY : KEY_NEW;
    }
    const struct recovery_lane *place = &recovery->lanes[*lane];
    if (stream->offset <= place->floor) {
        return KEY_DONE;
    }
    return place->gap > 0 || stream->offset <= place->until ? KEY_UNCERTAIN : KEY_NEW;
}

/* A key in its database. */
struct key_place {
    struct slice name;
    uint64_t db; /* of the source */
};

/* The next of the command's keys (stream->keys), from *i = 0 on. MOVE's key is two, of which only
 * those in copied databases count; COPY to another has no effect here. */
static bool next_place(const struct stream *stream,
                       const struct command_info *info,
                       const uint8_t *bytes,
                       const struct resp_command *command,
                       uint64_t source_db,
                       uint32_t *i,
                       struct key_place *place)
{
    const struct key_list *keys = &stream->keys;
    bool names_db = info->class == COMMAND_MOVE || info->class == COMMAND_COPY;
    uint32_t count = info->class == COMMAND_MOVE ? 2 * keys->count : keys->count;
    if (*i >= count) {
        return false;
    }
    uint64_t other = live_other_db(info, bytes, command, source_db);
    if (UNLIKELY(other != source_db && task_db(stream->task, other) == DB_NONE)) {
        count = info->class == COMMAND_MOVE ? keys->count : 0;
    }
    uint32_t n = (*i)++;
    if (n >= count) {
        return false;
    }
    place->name = arg_slice(bytes, command, keys->positions[n % keys->count]);
    place->db = n > 0 && names_db ? other : source_db;
    return true;
}

struct judgement {
    uint32_t count;
    uint32_t done;
    uint32_t dirty;
    uint32_t uncertain;
    uint32_t new;
    uint32_t lane; /* of the first key */
    bool is_one_lane;
};

static struct judgement judge_keys(struct stream *stream,
                                   const struct command_info *info,
                                   const uint8_t *bytes,
                                   const struct resp_command *command,
                                   uint64_t source_db)
{
    struct judgement judgement = {.is_one_lane = true};
    struct key_place place;
    uint32_t i = 0;
    while (next_place(stream, info, bytes, command, source_db, &i, &place)) {
        uint32_t lane;
        switch (key_judge(stream, place.db, &place.name, &lane)) {
        case KEY_DONE:
            judgement.done++;
            break;
        case KEY_DIRTY:
            judgement.dirty++;
            break;
        case KEY_UNCERTAIN:
            judgement.uncertain++;
            break;
        case KEY_NEW:
            judgement.new ++;
            break;
        }
        judgement.lane = judgement.count == 0 ? lane : judgement.lane;
        judgement.count++;
        judgement.is_one_lane = judgement.is_one_lane && lane == judgement.lane;
    }
    return judgement;
}

static bool
arg_is(const uint8_t *bytes, const struct resp_command *command, uint32_t i, const char *word)
{
    return command->argv[i].size == strlen(word) &&
           strncasecmp((const char *)bytes + command->argv[i].pos, word, strlen(word)) == 0;
}

/* Gives the whole key a value, or none, whatever it was: may be repeated with what follows it. */
static bool is_absolute(const struct command_info *info,
                        const uint8_t *bytes,
                        const struct resp_command *command)
{
    if (info->class == COMMAND_SPLIT_KEYS || strcmp(info->name, "SETEX") == 0 ||
        strcmp(info->name, "PSETEX") == 0) {
        return true;
    }
    if (strcmp(info->name, "SET") != 0) {
        return false;
    }
    return command->argc == 3 ||
           (command->argc == 5 &&
            (arg_is(bytes, command, 3, "EX") || arg_is(bytes, command, 3, "PX") ||
             arg_is(bytes, command, 3, "EXAT") || arg_is(bytes, command, 3, "PXAT")));
}

/* One key of DEL, UNLINK or MSET, by itself. */
static bool apply_one(struct stream *stream,
                      const struct command_info *info,
                      const uint8_t *bytes,
                      const struct resp_command *command,
                      uint32_t position,
                      uint64_t source_db,
                      struct syn_err *err)
{
    bool is_pairs = info->class == COMMAND_SPLIT_PAIRS;
    struct slice name = arg_slice(bytes, command, position);
    const struct slice args[] = {is_pairs ? (struct slice)SLICE("SET")
                                          : arg_slice(bytes, command, 0),
                                 name,
                                 is_pairs ? arg_slice(bytes, command, position + 1) : name};
    return relay_forward_args(stream, source_db, args, is_pairs ? 3 : 2, 1, err);
}

static bool apply_by_key(struct stream *stream,
                         const struct command_info *info,
                         const uint8_t *bytes,
                         const struct resp_command *command,
                         uint64_t source_db,
                         struct syn_err *err)
{
    for (uint32_t i = 0; i < stream->keys.count; i++) {
        uint32_t position = stream->keys.positions[i];
        struct slice name = arg_slice(bytes, command, position);
        uint32_t lane;
        enum key_state state = key_judge(stream, source_db, &name, &lane);
        if ((state == KEY_NEW || state == KEY_UNCERTAIN) &&
            !apply_one(stream, info, bytes, command, position, source_db, err)) {
            return false;
        }
    }
    return true;
}

bool recovery_unknown(struct stream *stream,
                      uint64_t source_db,
                      const struct slice *name,
                      struct syn_err *err)
{
    uint32_t lane;
    if (stream->recovery != NULL) {
        enum key_state state = key_judge(stream, source_db, name, &lane);
        if (state == KEY_DONE || state == KEY_DIRTY) {
            return true;
        }
    }
    return recovery_dirty(stream, source_db, name, err);
}

uint32_t recovery_count(const struct stream *stream)
{
    return stream->recovery == NULL ? 0 : stream->recovery->count;
}

bool recovery_is_due(const struct stream *stream)
{
    const struct recovery *recovery = stream->recovery;
    return recovery != NULL && recovery->unread > 0 && stream->offset >= recovery->until;
}

static bool make_dirty(struct stream *stream,
                       const struct command_info *info,
                       const uint8_t *bytes,
                       const struct resp_command *command,
                       uint64_t source_db,
                       struct syn_err *err)
{
    struct key_place place;
    uint32_t i = 0;
    while (next_place(stream, info, bytes, command, source_db, &i, &place)) {
        if (!recovery_unknown(stream, place.db, &place.name, err)) {
            return false;
        }
    }
    return true;
}

bool recovery_sift(struct stream *stream,
                   bool (*is_over)(const struct stream *stream,
                                   const struct dirty_key *key,
                                   uint64_t arg),
                   uint64_t arg,
                   struct syn_err *err)
{
    struct recovery *recovery = stream->recovery;
    if (recovery->count == 0) {
        return true;
    }
    struct dirty_key **old = recovery->table;
    struct dirty_key **table = mem_calloc(MEM_APPLY, recovery->capacity * sizeof(*table));
    if (table == NULL) {
        return ERR(err, SYN_CODE_MEMORY, "out of memory for keys that need repair");
    }
    recovery->table = table;
    recovery->floor_max = 0;
    recovery->ranged = 0;
    bool is_done = true;
    for (size_t i = 0; i < recovery->capacity; i++) {
        struct dirty_key *key = old[i];
        if (key == NULL) {
            continue;
        }
        if (!is_over(stream, key, arg)) {
            table_put(recovery, key);
            recovery->ranged += key->from != 0;
            recovery->floor_max =
                key->floor > recovery->floor_max ? key->floor : recovery->floor_max;
            continue;
        }
        is_done = is_done && recovery_name(stream, key, "SREM");
        recovery->count--;
        recovery->unread -= key->floor == 0;
        mem_free(MEM_APPLY, key);
    }
    mem_free(MEM_APPLY, old);
    return is_done || stopped(err);
}

#define ALL_DATABASES UINT64_MAX

static bool is_flushed(const struct stream *stream, const struct dirty_key *key, uint64_t db)
{
    return (db == ALL_DATABASES || key->db == db) &&
           !recovery_is_done(stream, key_lane(stream, key->name, key->size));
}

/* The databases that SWAPDB names, when both are copied; others it does not exchange, or is refused
 * for, with reasons, where it is applied. */
static bool swap_read(const struct stream *stream,
                      const uint8_t *bytes,
                      const struct resp_command *command,
                      uint64_t db[2])
{
    for (uint32_t i = 0; i < 2; i++) {
        const struct resp_arg *arg = &command->argv[i + 1 < command->argc ? i + 1 : 0];
        if (!num_read_u64((const char *)bytes + arg->pos, arg->size, &db[i]) ||
            task_db(stream->task, db[i]) == DB_NONE) {
            return false;
        }
    }
    return db[0] != db[1];
}

/* A key in repair gets the name that it has in the other database too, and is to be read again
 * under both: which of them holds what is not known until then. The names are at the destination
 * before the databases change places. */
static bool swap_dirty(struct stream *stream, const uint64_t db[2], struct syn_err *err)
{
    struct recovery *recovery = stream->recovery;
    uint32_t count = 0;
    struct dirty_key **keys = mem_alloc(MEM_APPLY, (recovery->count + 1) * sizeof(*keys));
    if (keys == NULL) {
        return ERR(err, SYN_CODE_MEMORY, "out of memory for keys that need repair");
    }
    for (size_t i = 0; recovery->count > 0 && i < recovery->capacity; i++) {
        struct dirty_key *key = recovery->table[i]; /* which stays where it is in memory */
        if (key != NULL && (key->db == db[0] || key->db == db[1])) {
            keys[count++] = key;
        }
    }
    bool is_done = true;
    for (uint32_t i = 0; is_done && i < count; i++) {
        const struct slice name = {keys[i]->name, keys[i]->size};
        is_done = recovery_dirty(stream, keys[i]->db, &name, err) &&
                  recovery_dirty(stream, keys[i]->db == db[0] ? db[1] : db[0], &name, err);
    }
    mem_free(MEM_APPLY, keys);
    return is_done;
}

/* Commands without keys: their lanes are looked at where they are written (recovery_is_done). */
static enum recovery_verdict judge_keyless(struct stream *stream,
                                           const struct command_info *info,
                                           const uint8_t *bytes,
                                           const struct resp_command *command,
                                           uint64_t source_db,
                                           struct syn_err *err)
{
    if (info->class == COMMAND_SWAPDB) {
        uint64_t db[2];
        if (recovery_is_done(stream, 0)) {
            return RECOVERY_LEAVE; /* and the keys that were in repair have both names */
        }
        return !swap_read(stream, bytes, command, db) || swap_dirty(stream, db, err)
                   ? RECOVERY_APPLY
                   : RECOVERY_FAIL;
    }
    bool is_flush = info->class == COMMAND_FLUSHALL || info->class == COMMAND_FLUSHDB;
    if (is_flush && stream->task->on_flush == FLUSH_IGNORE) {
        /* It makes nothing certain; and keys that were being read went away at the source. */
        recovery_overlook(stream);
        return RECOVERY_APPLY;
    }
    if (is_flush) {
        /* On the lanes that have not executed it, every key of the database is certain afterwards,
         * also one whose value was read and is ahead. */
        uint64_t db = info->class == COMMAND_FLUSHALL ? ALL_DATABASES : source_db;
        if (!relay_drain(stream->relay, err)) {
            return RECOVERY_FAIL;
        }
        return recovery_sift(stream, is_flushed, db, err) ? RECOVERY_APPLY : RECOVERY_FAIL;
    }
    return RECOVERY_APPLY;
}

/* The gap is counted as the router counted it: operations on one lane (router_touch), behind what
 * is uncertain anyway. Commands over
 * several lanes are not counted here, which can only make the gap longer. No position lies inside
 * a transaction, however long, so all of it is as uncertain as its first command. */
static void gap_count(const struct stream *stream, const struct judgement *judgement)
{
    struct recovery *recovery = stream->recovery;
    struct recovery_lane *lane = &recovery->lanes[judgement->lane];
    if (!judgement->is_one_lane || lane->gap == 0 || stream->offset <= lane->floor ||
        stream->offset <= lane->until) {
        return;
    }
    if (stream->transaction.is_open) {
        recovery->transaction_lane = lane;
    } else {
        lane->gap--;
    }
}

void recovery_transaction_end(struct stream *stream)
{
    struct recovery *recovery = stream->recovery;
    if (recovery != NULL && recovery->transaction_lane != NULL) {
        struct recovery_lane *lane = recovery->transaction_lane;
        lane->gap -= lane->gap > 0;
        recovery->transaction_lane = NULL;
    }
}

enum recovery_verdict recovery_judge(struct stream *stream,
                                     const struct command_info *info,
                                     const uint8_t *bytes,
                                     const struct resp_command *command,
                                     uint64_t source_db,
                                     struct syn_err *err)
{
    struct command_place place;
    if (!live_place(stream, info, bytes, command, &place, err)) {
        return RECOVERY_FAIL;
    }
    if (stream->keys.count == 0) {
        return judge_keyless(stream, info, bytes, command, source_db, err);
    }
    struct judgement judgement = judge_keys(stream, info, bytes, command, source_db);
    uint32_t count = judgement.count;
    if (count == 0) {
        return RECOVERY_APPLY; /* none of them is in a copied database */
    }
    if (LIKELY(!stream->has_more_parts)) { /* a mark comes behind the last of them */
        gap_count(stream, &judgement);
    }
    if (judgement.new == count) {
        return RECOVERY_APPLY;
    }
    counter_add(&stream->left_out, 1);
    if (judgement.is_one_lane) {
        router_left_out(stream->router, judgement.lane, stream->index);
    }
    if (judgement.done + judgement.dirty == count) {
        return RECOVERY_LEAVE;
    }
    if (info->class == COMMAND_SPLIT_PAIRS || info->class == COMMAND_SPLIT_KEYS) {
        return apply_by_key(stream, info, bytes, command, source_db, err) ? RECOVERY_LEAVE
                                                                          : RECOVERY_FAIL;
    }
    if (judgement.uncertain == count && count == 1 && is_absolute(info, bytes, command)) {
        return RECOVERY_APPLY;
    }
    return make_dirty(stream, info, bytes, command, source_db, err) ? RECOVERY_LEAVE
                                                                    : RECOVERY_FAIL;
}

bool recovery_judge_again(struct stream *stream,
                          const struct command_info *info,
                          const uint8_t *bytes,
                          const struct resp_command *command,
                          uint64_t source_db,
                          bool *is_left_out,
                          struct syn_err *err)
{
    *is_left_out = UNLIKELY(stream->recovery != NULL) && stream->keys.count > 0 &&
                   judge_keys(stream, info, bytes, command, source_db).dirty > 0;
    if (LIKELY(!*is_left_out)) {
        return true;
    }
    counter_add(&stream->left_out, 1);
    return make_dirty(stream, info, bytes, command, source_db, err);
}

bool recovery_is_new(struct stream *stream,
                     const struct command_info *info,
                     const uint8_t *bytes,
                     const struct resp_command *command,
                     uint64_t source_db,
                     bool *is_new,
                     struct syn_err *err)
{
    struct command_place place;
    if (!live_place(stream, info, bytes, command, &place, err)) {
        return false;
    }
    struct judgement judgement = judge_keys(stream, info, bytes, command, source_db);
    *is_new = judgement.count > 0 && judgement.new == judgement.count;
    return true;
}
