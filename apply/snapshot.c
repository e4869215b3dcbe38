/*
 * Snapshot: items of the RDB into operations.
 *
 * The cheapest way out that is right, by what the destination takes (intake.h; its CPU per key,
 * Redis 7.0: 0.9–1.2 µs in an MSET, 1.8 as a SET, 2.2 as a RESTORE): strings without expiry join an
 * MSET; strings with expiry become SET … PXAT; everything else that it loads is RESTORE … REPLACE
 * ABSTTL with the raw bytes; what is left is rewritten as commands (snapshot_rewrite.c). All
 * replace the key whole, so each may be repeated.
 */
#include "apply/snapshot_mend.h"
#include "apply/snapshot_reform.h"
#include "apply/snapshot_rewrite.h"
#include "apply/snapshot_write.h"

#include <stdio.h>
#include <string.h>

/* The place inside one window. */
struct walk {
    const uint8_t *bytes;
    size_t size;
    size_t pos;     /* consumed                 */
    size_t crc_pos; /* consumed and in the CRC  */
};

void snapshot_begin(struct stream *stream)
{
    rdb_parser_reset(stream->parser);
    stream->payload_pos = 0;
    stream->crc = 0;
    stream->mark_matched = 0;
    stream->is_crc_done = false;
    stream->value.is_open = false;
    hold_clear(stream, &stream->value_hold);
    stream->snapshot_db = task_db(stream->task, 0);
    stream->is_valkey = false;
    stream->claims_offset = 0;
    snapshot_reform_source(stream, LISTPACK_UNKNOWN);
    atomic_store_relaxed(&stream->keys_read, 0);
    atomic_store_relaxed(&stream->keys_announced, 0);
    atomic_store_relaxed(&stream->keys_dropped, 0);
    atomic_store_relaxed(&stream->snapshot_bytes, 0);
}

/* ---- values ---- */

static void value_remember_name(struct stream *stream)
{
    struct snapshot_value *value = &stream->value;
    struct slice *name = &value->item.name;
    if (name->bytes != value->name) {
        memcpy(value->name, name->bytes, name->size);
        name->bytes = value->name;
    }
}

static bool value_name_fits(struct stream *stream, struct syn_err *err)
{
    struct snapshot_value *value = &stream->value;
    size_t size = value->item.name.size;
    if (value->name != NULL && size <= value->name_capacity) { /* the empty key is one too */
        return true;
    }
    size_t capacity = size < 1024 ? 1024 : size;
    uint8_t *name = mem_realloc(MEM_APPLY, value->name, capacity);
    if (name == NULL) {
        return ERR(err, SYN_CODE_MEMORY, "out of memory for a key of %zu bytes", size);
    }
    value->name = name;
    value->name_capacity = capacity;
    return true;
}

static enum step
value_write(struct stream *stream, const uint8_t *body, size_t size, struct syn_err *err)
{
    struct snapshot_value *value = &stream->value;
    value->is_open = false;
    counter_add(&stream->keys_read, 1);
    if (value->way == VALUE_SKIP) {
        return STEP_DONE;
    }
    return snapshot_write(stream, body, size, err) ? STEP_DONE : STEP_FAIL;
}

/* A stream leaves in the form of an earlier version: made of a copy, as the window belongs to the
 * snapshot and its checksum. */
static enum step
value_write_lower(struct stream *stream, const uint8_t *body, size_t size, struct syn_err *err)
{
    struct snapshot_value *value = &stream->value;
    struct hold *hold = &stream->value_hold;
    if (body != hold->bytes) {
        enum step step = hold_reserve(stream, hold, size, err);
        if (step == STEP_FAIL) {
            return step;
        }
        ASSERT(step == STEP_DONE); /* as of a first piece, below */
        memcpy(hold->bytes, body, size);
    }
    if (!rdb_stream_lower(hold->bytes, &size, value->item.type, value->load_type, err)) {
        if (!snapshot_corrupt(stream, err)) {
            return STEP_FAIL;
        }
    } else {
        value->item.type = value->load_type;
    }
    enum step step = value_write(stream, hold->bytes, size, err);
    hold_clear(stream, hold);
    return step;
}

static enum step
value_write_whole(struct stream *stream, const uint8_t *body, size_t size, struct syn_err *err)
{
    const struct snapshot_value *value = &stream->value;
    return value->way == VALUE_WHOLE && value->load_type != value->item.type
               ? value_write_lower(stream, body, size, err)
               : value_write(stream, body, size, err);
}

/* The first look at a value: usually all of it lies in the window, and is written from there. */
static enum step value_begin(struct stream *stream, struct walk *walk, struct syn_err *err)
{
    struct snapshot_value *value = &stream->value;
    const uint8_t *body = walk->bytes + walk->pos;
    size_t size = walk->size - walk->pos;
    uint64_t total = UINT64_MAX;
    enum rdb_status status = rdb_value_measure(stream->parser, body, size, &total, err);
    if (status == RDB_ERROR) {
        return STEP_FAIL;
    }
    value->is_open = true;
    value->is_new = status == RDB_MORE;
    if (value->is_new) {
        /* The window ends inside the length field. Gathering such a value unmeasured would make it
         * a matter of luck whether a large one can be streamed. */
        if (!value_name_fits(stream, err)) {
            return STEP_FAIL;
        }
        value_remember_name(stream);
        stream->item_wanted = size + 1;
        return STEP_WAIT;
    }
    value->is_measured = total != UINT64_MAX;
    bool is_large = total != UINT64_MAX && total > size && total > stream->task->hold_bytes_free;
    if (is_large && value->way == VALUE_WHOLE && snapshot_restore_version(stream) == 0) {
        value->way = VALUE_REWRITE; /* a string; others were told at their key */
    }
    if (is_large && value->way == VALUE_WHOLE && !snapshot_reform_wanted(stream)) {
        if (!value_name_fits(stream, err)) {
            return STEP_FAIL;
        }
        value_remember_name(stream);
        return snapshot_stream_begin(stream, total, err) ? STEP_DONE : STEP_FAIL;
    }
    if (value->way == VALUE_REWRITE) {
        if (!value_name_fits(stream, err)) {
            return STEP_FAIL;
        }
        value_remember_name(stream);
        return snapshot_rewrite_begin(stream, err) ? STEP_DONE : STEP_FAIL;
    }
    size_t used = 0;
    status = rdb_value_walk(stream->parser, body, size, &used, err);
    if (status == RDB_READY) {
        walk->pos += used;
        return value_write_whole(stream, body, used, err);
    }
    if (status == RDB_ERROR || !value_name_fits(stream, err)) {
        return STEP_FAIL;
    }
    value_remember_name(stream);
    if (value->way == VALUE_WHOLE && used > 0) {
        enum step step = hold_reserve(stream, &stream->value_hold, used, err);
        if (step == STEP_FAIL) {
            return step;
        }
        /* hold_bytes_free is larger than a chunk, so that a first piece always fits without the
         * owner's right. */
        ASSERT(step == STEP_DONE);
        memcpy(stream->value_hold.bytes, body, used);
        stream->value_hold.size = used;
    }
    walk->pos += used;
    return STEP_WAIT;
}

/* A value that outgrows what may be held goes on as commands, with what was gathered of it first. A
 * module's cannot, nor a single blob, of which a decoder holds less: then hold_reserve says that it
 * is too large. */
static bool value_outgrows(struct stream *stream, size_t more)
{
    const struct snapshot_value *value = &stream->value;
    return stream->value_hold.size + more > stream->task->hold_bytes_max &&
           rdb_type_kind(value->item.type, stream->is_valkey) != RDB_KIND_MODULE &&
           !(value->is_measured && snapshot_reform_wanted(stream));
}

static bool value_convert(struct stream *stream, struct syn_err *err)
{
    struct hold *hold = &stream->value_hold;
    bool is_done = snapshot_rewrite_begin(stream, err) &&
                   snapshot_rewrite_piece(stream, hold->bytes, hold->size, err);
    hold_clear(stream, hold);
    return is_done;
}

/* The whole value has been walked. */
static enum step value_finish(struct stream *stream, struct syn_err *err)
{
    struct snapshot_value *value = &stream->value;
    struct hold *hold = &stream->value_hold;
    if (value->way == VALUE_WHOLE) {
        enum step step = value_write_whole(stream, hold->bytes, hold->size, err);
        hold_clear(stream, hold);
        return step;
    }
    value->is_open = false;
    counter_add(&stream->keys_read, 1);
    bool is_done = true;
    if (value->way == VALUE_ARRIVING) {
        is_done = snapshot_stream_end(stream, err);
    } else if (value->way == VALUE_REWRITE) {
        is_done = snapshot_rewrite_end(stream, err);
    }
    return is_done ? STEP_DONE : STEP_FAIL;
}

/* With a rate, no more of a value is taken at once than may go out at once. */
static size_t value_piece(const struct stream *stream, size_t size)
{
    const struct router *router = stream->router;
    bool is_limited = router->meter.is_limited && stream->value.way != VALUE_WHOLE;
    return is_limited && size > router->batch_bytes ? router->batch_bytes : size;
}

/* A further piece of a value that did not lie in one window. */
static enum step value_continue(struct stream *stream, struct walk *walk, struct syn_err *err)
{
    struct snapshot_value *value = &stream->value;
    struct hold *hold = &stream->value_hold;
    const uint8_t *piece = walk->bytes + walk->pos;
    size_t whole = walk->size - walk->pos;
    size_t size = value_piece(stream, whole);
    if (value->way == VALUE_WHOLE && value_outgrows(stream, size) && !value_convert(stream, err)) {
        return STEP_FAIL;
    }
    if (value->way == VALUE_WHOLE) {
        enum step step = hold_reserve(stream, hold, size, err);
        if (step != STEP_DONE) {
            return step;
        }
    }
    size_t used = 0;
    enum rdb_status status = rdb_value_walk(stream->parser, piece, size, &used, err);
    if (status == RDB_ERROR) {
        return STEP_FAIL;
    }
    walk->pos += used;
    if (value->way == VALUE_ARRIVING) {
        if (!snapshot_stream_piece(stream, piece, used, err)) {
            return STEP_FAIL;
        }
    } else if (value->way == VALUE_REWRITE) {
        if (!snapshot_rewrite_piece(stream, piece, used, err)) {
            return STEP_FAIL;
        }
    } else if (value->way == VALUE_WHOLE) {
        memcpy(hold->bytes + hold->size, piece, used);
        hold->size += used;
    }
    if (status == RDB_MORE && size < whole) {
        ASSERT(used > 0); /* fewer than 32 bytes are left unused */
        return STEP_DONE;
    }
    if (status == RDB_MORE) {
        if (used == 0) {
            stream->item_wanted = size + 1;
        }
        return STEP_WAIT;
    }
    return value_finish(stream, err);
}

/* ---- items ---- */

static bool item_select(struct stream *stream, const struct rdb_item *item, struct syn_err *err)
{
    stream->snapshot_db = task_db(stream->task, item->db);
    if (stream->snapshot_db != DB_NONE && stream->snapshot_db != 0 &&
        stream->task->route->is_cluster) {
        return ERR(
            err,
            SYN_CODE_UNSUPPORTED,
            "source %s has keys in database %llu, but the destination is a cluster, which has "
            "only database 0; choose with --db or --db-map",
            endpoint_text(&stream->feed->options.endpoint, (char[ENDPOINT_TEXT_MAX]){0}),
            (unsigned long long)item->db);
    }
    uint32_t db_count = stream->task->db_count;
    if (stream->snapshot_db != DB_NONE && db_count != 0 && stream->snapshot_db >= db_count) {
        return ERR(
            err,
            SYN_CODE_UNSUPPORTED,
            "source %s has keys in database %llu, which would go to database %u, but the "
            "destination has only %u databases: raise `databases` there, choose others with --db, "
            "or map it with --db-map",
            endpoint_text(&stream->feed->options.endpoint, (char[ENDPOINT_TEXT_MAX]){0}),
            (unsigned long long)item->db,
            stream->snapshot_db,
            db_count);
    }
    return true;
}

/* How a value leaves whose type the destination does not load: a stream in an earlier form that it
 * does, which keeps more than commands could write (pending entries of deleted ones, times);
 * anything else as commands. */
static void value_choose_way(struct stream *stream)
{
    struct snapshot_value *value = &stream->value;
    uint8_t form = intake_stream_form(
        &stream->task->intake, stream->is_valkey, value->item.type, stream->restore_refused);
    value->way = form != RDB_TYPE_STRING ? VALUE_WHOLE : VALUE_REWRITE;
    value->load_type = value->way == VALUE_WHOLE ? form : value->item.type;
}

/* ---- rules ---- */

/* The key under its new name, in the value's own copy. */
static bool
value_rename(struct stream *stream, const struct select_rule *rename, struct syn_err *err)
{
    struct snapshot_value *value = &stream->value;
    struct slice old = value->item.name;
    value->item.name.size = select_renamed_size(rename, old.size);
    if (!value_name_fits(stream, err)) {
        return false;
    }
    select_rename_write(stream->task->select, rename, old.bytes, old.size, value->name);
    value->item.name.bytes = value->name;
    return true;
}

static bool value_refuse_claimed(const struct stream *stream,
                                 const struct select_rule *rule,
                                 struct syn_err *err)
{
    const struct slice *name = &stream->value.item.name;
    const struct select *select = stream->task->select;
    char text[ENDPOINT_TEXT_MAX];
    char shown[SELECT_RULE_TEXT_MAX];
    return ERR(err,
               SYN_CODE_UNSUPPORTED,
               "source %s: the key with hash %016llx keeps its name, and %s gives that name to "
               "another selected key; leave one of them out, or rename this one too",
               endpoint_text(&stream->feed->options.endpoint, text),
               (unsigned long long)key_hash(name->bytes, name->size),
               select_rule_text(select, select_rule_number(select, rule), shown));
}

/* The rules' word on the key, before anything of its value is looked at: skipped, or its name at
 * the destination. */
static bool value_select(struct stream *stream, struct syn_err *err)
{
    struct snapshot_value *value = &stream->value;
    const struct select *select = stream->task->select;
    const struct slice *name = &value->item.name;
    uint16_t ignored;
    if (!select_kind(select, rdb_type_kind(value->item.type, stream->is_valkey)) ||
        !select_key(select, name->bytes, name->size, &ignored)) {
        value->way = VALUE_SKIP;
        counter_add(&stream->keys_dropped, 1);
        return true;
    }
    if (!select->has_renames) {
        return true;
    }
    const struct select_rule *rule = select_rename(select, name->bytes, name->size);
    if (rule != NULL) {
        return value_rename(stream, rule, err);
    }
    rule = select_claimed(select, name->bytes, name->size);
    return rule == NULL || value_refuse_claimed(stream, rule, err);
}

/* Functions and scripts go with the commands that would make them. */
static bool item_is_dropped(struct stream *stream, const char *name)
{
    const struct select *select = stream->task->select;
    uint16_t ignored;
    if (LIKELY(select == NULL)) {
        return false;
    }
    const struct command_info *info = command_find((const uint8_t *)name, strlen(name));
    ASSERT(info != NULL);
    return !select_command(select, info, &ignored);
}

static enum step
item_key(struct stream *stream, const struct rdb_item *item, struct walk *walk, struct syn_err *err)
{
    struct snapshot_value *value = &stream->value;
    value->item = *item;
    value->item.expire_ms = stream_expiry(stream, item->expire_ms);
    value->load_type = item->type;
    value->offset = rdb_parser_offset(stream->parser);
    value->db = stream->snapshot_db;
    bool is_left_out =
        value->db == DB_NONE || position_is_key(item->name.bytes, item->name.size) ||
        heartbeat_is_key(&stream->task->heartbeat, item->name.bytes, item->name.size);
    value->way = is_left_out ? VALUE_SKIP : VALUE_WHOLE;
    if (value->way != VALUE_SKIP && stream->task->select != NULL && !value_select(stream, err)) {
        return STEP_FAIL;
    }
    if (value->way != VALUE_SKIP) {
        const struct route *route = stream->task->route;
        value->slot = route_slot(route, value->item.name.bytes, value->item.name.size);
        value->lane = route_lane(route, value->slot);
        /* A string may still join an MSET. */
        if (UNLIKELY(item->type != RDB_TYPE_STRING && snapshot_restore_version(stream) == 0)) {
            value_choose_way(stream);
        }
    }
    return value_begin(stream, walk, err);
}

/* What to do about a damaged snapshot: a source makes another one, a file stays as it is. */
static const char *damage_advice(const struct stream *stream)
{
    return stream->feed->options.endpoint.file != NULL
               ? "what was written so far is incomplete: get a whole copy of the file"
               : "what was written so far is incomplete: start again";
}

static enum step snapshot_cut_short(struct stream *stream, struct syn_err *err)
{
    ERR(err,
        SYN_CODE_SOURCE_DATA,
        "the file is cut short: it ends at byte %lld, and its RDB goes on behind that; %s",
        (long long)atomic_load_acquire(&stream->feed->payload_bytes),
        damage_advice(stream));
    return STEP_FAIL;
}

static enum step item_end(struct stream *stream, const struct rdb_item *item, struct syn_err *err)
{
    if (item->checksum != 0 && item->checksum != stream->crc) {
        ERR(err,
            SYN_CODE_SOURCE_DATA,
            "the snapshot is damaged: its checksum is %016llx, its bytes give %016llx; %s",
            (unsigned long long)item->checksum,
            (unsigned long long)stream->crc,
            damage_advice(stream));
        return STEP_FAIL;
    }
    return STEP_DONE;
}

static bool slice_is(const struct slice *slice, const char *word)
{
    return slice->size == strlen(word) && memcmp(slice->bytes, word, slice->size) == 0;
}

static enum step item_aux(struct stream *stream, const struct rdb_item *item, struct syn_err *err)
{
    const struct slice *name = &item->name;
    const char *text = (const char *)item->text.bytes;
    if (slice_is(name, "repl-stream-db")) {
        /* A replica's stream goes on in this database without a SELECT. */
        uint64_t db;
        if (num_read_u64(text, item->text.size, &db)) {
            stream->source_db = db;
        }
    } else if (slice_is(name, "redis-ver") || slice_is(name, "valkey-ver")) {
        bool is_valkey = name->bytes[0] == 'v';
        snapshot_reform_source(stream,
                               listpack_form_of(server_version(text, item->text.size), is_valkey));
    } else if (slice_is(name, "lua")) {
        bool is_done =
            item_is_dropped(stream, "SCRIPT") || snapshot_write_script(stream, &item->text, err);
        return is_done ? STEP_DONE : STEP_FAIL;
    }
    return STEP_DONE;
}

static enum step item_take(struct stream *stream,
                           const struct rdb_item *item,
                           struct walk *walk,
                           struct syn_err *err)
{
    switch (item->kind) {
    case RDB_ITEM_KEY:
        return item_key(stream, item, walk, err);
    case RDB_ITEM_HEADER:
        stream->is_valkey = item->is_valkey;
        return STEP_DONE;
    case RDB_ITEM_AUX:
        return item_aux(stream, item, err);
    case RDB_ITEM_FUNCTION: {
        bool is_done = item_is_dropped(stream, "FUNCTION") ||
                       snapshot_write_function(stream, &item->text, err);
        return is_done ? STEP_DONE : STEP_FAIL;
    }
    case RDB_ITEM_SELECT:
        return item_select(stream, item, err) ? STEP_DONE : STEP_FAIL;
    case RDB_ITEM_END:
        stream->crc =
            crc64_update(stream->crc, walk->bytes + walk->crc_pos, walk->pos - walk->crc_pos);
        walk->crc_pos = walk->pos;
        stream->is_crc_done = true;
        return STEP_DONE;
    case RDB_ITEM_CHECKSUM:
        return item_end(stream, item, err);
    case RDB_ITEM_RESIZE:
        if (stream->snapshot_db != DB_NONE) {
            counter_add(&stream->keys_announced, item->key_count);
        }
        return STEP_DONE;
    case RDB_ITEM_SLOT_INFO:
    case RDB_ITEM_IGNORED:
        return STEP_DONE;
    }
    return STEP_DONE;
}

/* All keys have been read by then; but whoever put something behind them meant it to be read. */
static enum step snapshot_has_trailing(struct stream *stream, struct syn_err *err)
{
    ERR(err,
        SYN_CODE_SOURCE_DATA,
        "source %s: the RDB ends at byte %llu, but more follows there: in an append-only file "
        "commands, which are not read from files (let a server load it)",
        endpoint_text(&stream->feed->options.endpoint, (char[ENDPOINT_TEXT_MAX]){0}),
        (unsigned long long)stream->payload_pos);
    return STEP_FAIL;
}

/* The payload is over: the live stream, or the mark of a diskless one, or the end of a pipe. */
static enum step payload_finish(struct stream *stream, struct syn_err *err)
{
    const struct chunk_session *session = &stream->session;
    if (session->payload_bytes < 0) {
        stream_set_state(stream, STREAM_MARK);
        return STEP_DONE;
    }
    if (stream->payload_pos != (uint64_t)session->payload_bytes) {
        if (stream->feed->options.endpoint.file != NULL) {
            return snapshot_has_trailing(stream, err);
        }
        ERR(err,
            SYN_CODE_SOURCE_DATA,
            "source %s announced a snapshot of %lld bytes, but its RDB ends after %llu",
            endpoint_text(&stream->feed->options.endpoint, (char[ENDPOINT_TEXT_MAX]){0}),
            (long long)session->payload_bytes,
            (unsigned long long)stream->payload_pos);
        return STEP_FAIL;
    }
    if (!snapshot_settle(stream, err)) {
        return STEP_FAIL;
    }
    stream_payload_end(stream);
    return STEP_DONE;
}

static enum step
item_next(struct stream *stream, struct walk *walk, bool *is_over, struct syn_err *err)
{
    struct rdb_item item;
    size_t used = 0;
    size_t wanted = 0;
    size_t left = walk->size - walk->pos;
    enum rdb_status status =
        rdb_parser_next(stream->parser, walk->bytes + walk->pos, left, &used, &wanted, &item, err);
    walk->pos += used;
    if (status == RDB_READY) {
        *is_over = item.kind == RDB_ITEM_CHECKSUM;
        return item_take(stream, &item, walk, err);
    }
    if (status == RDB_ERROR) {
        return STEP_FAIL;
    }
    stream->item_wanted = wanted > left - used ? wanted : left - used + 1;
    return STEP_WAIT;
}

static enum step snapshot_overrun(struct stream *stream, struct syn_err *err)
{
    ERR(err,
        SYN_CODE_SOURCE_DATA,
        "the snapshot is damaged: its bytes end, and its RDB goes on behind them (at byte %llu); "
        "%s",
        (unsigned long long)stream->payload_pos,
        damage_advice(stream));
    return STEP_FAIL;
}

/* Whether all that is left of the payload lies in the window, as `left` bytes or fewer of it. An
 * item that still wants more would swallow the stream behind it, or wait for ever. */
static bool payload_is_exhausted(const struct stream *stream, size_t left)
{
    int64_t total = stream->session.payload_bytes;
    if (total < 0) {
        /* Diskless: the reader knows once it has seen the mark. Its word counts only while it is
         * still in this session, which it leaves before it writes anything about the next one. */
        total = atomic_load_acquire(&stream->feed->payload_bytes);
        if (atomic_load_acquire(&stream->feed->snapshot_count) != stream->session.number) {
            return false;
        }
    }
    return total >= 0 && !stream->is_hold_blocked && stream->payload_pos + left >= (uint64_t)total;
}

enum step snapshot_step(struct stream *stream, const struct window *window, struct syn_err *err)
{
    struct walk walk = {.bytes = window->bytes, .size = window->size};
    enum step step = STEP_DONE;
    bool is_over = false;
    stream->item_wanted = 1;
    while (step == STEP_DONE && !is_over && !throttle_is_spent(&stream->router->meter)) {
        if (UNLIKELY(stream->refusals != NULL) && !stream->value.is_open &&
            !snapshot_mend(stream, err)) {
            return STEP_FAIL;
        }
        if (stream->value.is_open && stream->value.is_new) {
            step = value_begin(stream, &walk, err);
        } else if (stream->value.is_open) {
            step = value_continue(stream, &walk, err);
        } else {
            step = item_next(stream, &walk, &is_over, err);
        }
    }
    if (!stream->is_crc_done) {
        stream->crc = crc64_update(stream->crc, walk.bytes + walk.crc_pos, walk.pos - walk.crc_pos);
    }
    stream->payload_pos += walk.pos;
    atomic_store_relaxed(&stream->snapshot_bytes, stream->payload_pos);
    if (step == STEP_WAIT && payload_is_exhausted(stream, walk.size - walk.pos)) {
        step = stream->feed->options.endpoint.file != NULL ? snapshot_cut_short(stream, err)
                                                           : snapshot_overrun(stream, err);
    }
    size_t wanted = stream->item_wanted;
    input_use(stream, walk.pos);
    input_want(stream, wanted);
    if (step == STEP_FAIL) {
        if (err->code == SYN_CODE_SOURCE_DATA) {
            char text[ENDPOINT_TEXT_MAX];
            err_context(err, "source %s", endpoint_text(&stream->feed->options.endpoint, text));
        }
        return step;
    }
    if (is_over) {
        return payload_finish(stream, err);
    }
    return walk.pos > 0 ? STEP_DONE : STEP_WAIT;
}

enum step snapshot_file_end(struct stream *stream, struct syn_err *err)
{
    if (stream->state == STREAM_MARK) {
        if (!snapshot_settle(stream, err)) {
            return STEP_FAIL;
        }
        stream_payload_end(stream);
        return STEP_DONE;
    }
    char text[ENDPOINT_TEXT_MAX];
    enum step step = snapshot_cut_short(stream, err);
    err_context(err, "source %s", endpoint_text(&stream->feed->options.endpoint, text));
    return step;
}

/* The 40 bytes after a diskless payload must be those announced before it. */
enum step
snapshot_mark_step(struct stream *stream, const struct window *window, struct syn_err *err)
{
    size_t left = EOF_MARK_SIZE - stream->mark_matched;
    size_t take = window->size < left ? window->size : left;
    if (stream->feed->options.endpoint.file != NULL) {
        return snapshot_has_trailing(stream, err);
    }
    if (memcmp(window->bytes, stream->session.eof_mark + stream->mark_matched, take) != 0) {
        ERR(err,
            SYN_CODE_SOURCE_DATA,
            "source %s: the snapshot does not end with the mark that was announced, at byte %llu",
            endpoint_text(&stream->feed->options.endpoint, (char[ENDPOINT_TEXT_MAX]){0}),
            (unsigned long long)(stream->payload_pos));
        return STEP_FAIL;
    }
    stream->mark_matched += (uint32_t)take;
    stream->payload_pos += take;
    input_use(stream, take);
    if (stream->mark_matched == EOF_MARK_SIZE) {
        if (!snapshot_settle(stream, err)) {
            return STEP_FAIL;
        }
        stream_payload_end(stream);
    }
    return STEP_DONE;
}
