/*
 * Repair of large keys: one at a time, its old value removed first, the new one written in pieces
 * as they are read (refetch_large.h). Under a name of its own it would take the destination as much
 * memory again, be seen by scans, and be left behind by a crash; and the key is named in the dirty
 * set anyway, so whatever ends the copy in the middle has it begun again.
 */
#include "apply/recovery_private.h"
#include "apply/snapshot_rewrite.h"
#include "apply/snapshot_write.h"

#include <stdio.h>

#include "rdb/rewrite.h"

/* Copies told one by one, per stream; the status counts all. */
#define LARGE_LOGGED_MAX 100u

struct copy {
    struct stream *stream;
    struct dirty_key *key;
    const struct slice *name; /* at the source */
    uint64_t bytes;           /* about         */
    struct refetch_large large;
    bool is_open; /* something of it is written */
    struct syn_err *err;

    /* Of a pass. */
    bool is_failed;    /* err is filled */
    bool is_module;    /* its body goes out as it is, in one RESTORE */
    uint64_t position; /* of a module's payload */
    uint64_t total;
    struct rdb_payload_reader reader;
};

static bool copy_is_selected(const struct copy *copy)
{
    const struct select *select = copy->stream->task->select;
    return copy->large.type != VALUE_NONE &&
           (select == NULL || select_kind(select, value_type_kind(copy->large.type)));
}

static uint8_t some_rdb_type(enum value_type type)
{
    static const uint8_t types[VALUE_TYPE_COUNT] = {
        [VALUE_STRING] = RDB_TYPE_STRING,
        [VALUE_LIST] = RDB_TYPE_LIST,
        [VALUE_SET] = RDB_TYPE_SET,
        [VALUE_HASH] = RDB_TYPE_HASH,
        [VALUE_ZSET] = RDB_TYPE_ZSET_2,
        [VALUE_STREAM] = RDB_TYPE_STREAM_LISTPACKS,
        [VALUE_OTHER] = RDB_TYPE_MODULE_2,
    };
    return types[type];
}

static void item_fill(struct copy *copy, uint8_t type)
{
    struct stream *stream = copy->stream;
    stream->value.item =
        (struct rdb_item){.kind = RDB_ITEM_KEY,
                          .type = type,
                          .name = {copy->key->name, copy->key->size},
                          .expire_ms = stream_expiry(stream, copy->large.expire_ms)};
}

static bool copy_open(struct copy *copy, uint8_t type, struct syn_err *err)
{
    item_fill(copy, type);
    copy->is_open = true;
    return snapshot_rewrite_open(copy->stream, err);
}

/* ---- a scan ---- */

static bool copy_scan(struct copy *copy, struct syn_err *err)
{
    struct stream *stream = copy->stream;
    struct refetch *refetch = &stream->recovery->refetch;
    if (!copy_open(copy, some_rdb_type(copy->large.type), err) ||
        !refetch_large_scan(refetch,
                            copy->name,
                            copy->bytes,
                            stream->task->refetch_piece_bytes,
                            rewriter_visitor(),
                            stream->rewriter,
                            &copy->large,
                            err)) {
        return false;
    }
    if (copy->large.is_stopped) { /* an error, or a value that policy leaves out */
        copy->large.is_changed = false;
    }
    /* What was cut off by a change has no end that makes sense; it is begun again anyway. */
    return copy->large.is_changed || snapshot_rewrite_close(stream, err);
}

/* ---- a pass ---- */

/* The body of a module's payload, between its type and its footer, as one RESTORE. */
static bool module_piece(struct copy *copy, struct slice piece)
{
    struct stream *stream = copy->stream;
    uint64_t end = copy->total - RDB_FOOTER_SIZE;
    if (copy->position == 0 && piece.size > 0) {
        stream->is_valkey = stream->recovery->refetch.is_valkey_rdb;
        item_fill(copy, piece.bytes[0]);
        if (!snapshot_stream_begin(stream, end - 1, copy->err)) {
            return false;
        }
        piece.bytes++;
        piece.size--;
        copy->position = 1;
    }
    uint64_t left = end > copy->position ? end - copy->position : 0;
    size_t take = piece.size < left ? piece.size : (size_t)left;
    copy->position += piece.size;
    return take == 0 || snapshot_stream_piece(stream, piece.bytes, take, copy->err);
}

static bool pass_open(struct copy *copy, uint64_t total)
{
    struct stream *stream = copy->stream;
    uint64_t hash = key_hash(copy->key->name, copy->key->size);
    copy->total = total;
    /* As a small one would be written: what the destination does not load is the rewriter's. */
    copy->is_module =
        copy->large.type == VALUE_OTHER &&
        stream->task->intake
                .restore_version[stream->recovery->refetch.is_valkey_rdb][RDB_TYPE_MODULE_2] != 0;
    if (copy->is_module) {
        if (total < 1 + RDB_FOOTER_SIZE) {
            return ERR(copy->err,
                       SYN_CODE_SOURCE_PROTOCOL,
                       "DUMP of a key (hash %016llx) has only %llu bytes",
                       (unsigned long long)hash,
                       (unsigned long long)total);
        }
        copy->is_open = true;
        return true;
    }
    if (!copy_open(copy, some_rdb_type(copy->large.type), copy->err)) {
        return false;
    }
    rdb_payload_begin(&copy->reader,
                      stream->decoder,
                      total,
                      stream->recovery->refetch.is_valkey_rdb,
                      hash,
                      rewriter_visitor(),
                      stream->rewriter);
    return true;
}

static void pass_begin(void *arg, const struct refetch_large *large, uint64_t total)
{
    struct copy *copy = arg;
    copy->large = *large;
    if (copy_is_selected(copy)) {
        copy->is_failed = !pass_open(copy, total);
    }
}

static void pass_piece(void *arg, struct slice piece)
{
    struct copy *copy = arg;
    if (!copy->is_open || copy->is_failed) {
        return;
    }
    if (copy->is_module) {
        copy->is_failed = !module_piece(copy, piece);
    } else {
        rdb_payload_piece(&copy->reader, piece);
    }
}

static bool pass_close(struct copy *copy, struct syn_err *err)
{
    uint16_t version;
    if (copy->is_module) { /* what was begun must end, also if it changed */
        return snapshot_stream_end(copy->stream, err);
    }
    return copy->large.is_changed || (rdb_payload_end(&copy->reader, &version, err) &&
                                      snapshot_rewrite_close(copy->stream, err));
}

static bool copy_pass(struct copy *copy, struct syn_err *err)
{
    const struct refetch_pass_sink sink = {.begin = pass_begin, .piece = pass_piece, .arg = copy};
    struct syn_err failed;
    err_clear(&failed);
    copy->err = &failed;
    if (!refetch_large_pass(&copy->stream->recovery->refetch,
                            copy->key->db,
                            copy->name,
                            copy->bytes,
                            &sink,
                            &copy->large,
                            err)) {
        return false;
    }
    if (copy->is_failed) {
        *err = failed;
        return false;
    }
    return !copy->is_open || pass_close(copy, err);
}

/* ---- one key ---- */

static void copy_log(const struct copy *copy, bool is_scan)
{
    const struct stream *stream = copy->stream;
    const struct refetch_large *large = &copy->large;
    uint64_t copies = atomic_load_relaxed(&stream->keys_refetched_large);
    if (copies > LARGE_LOGGED_MAX) {
        return;
    }
    log_info("stream %u: a %s (key hash %016llx) of about %llu bytes, too large to DUMP at once, "
             "was copied by %s between the source's offsets %llu and %llu%s%s",
             stream->index,
             value_type_name(large->type),
             (unsigned long long)key_hash(copy->key->name, copy->key->size),
             (unsigned long long)copy->bytes,
             is_scan ? "scanning its elements" : "passing its payload on",
             (unsigned long long)large->from,
             (unsigned long long)large->to,
             large->is_changed ? "; it changed meanwhile and is copied again" : "",
             copies == LARGE_LOGGED_MAX ? "; further copies are only counted" : "");
}

enum copy_way {
    COPY_NOTHING, /* there is no such key, or not one that is selected */
    COPY_SCAN,
    COPY_PASS,
};

static bool copy_choose(struct copy *copy, enum copy_way *way, struct syn_err *err)
{
    struct recovery *recovery = copy->stream->recovery;
    const struct dirty_key *key = copy->key;
    *way = COPY_PASS;
    if (key->attempts >= LARGE_SCANS || recovery->is_ending) {
        return true;
    }
    if (!refetch_large_begin(&recovery->refetch, key->db, copy->name, &copy->large, err)) {
        return false;
    }
    if (!copy_is_selected(copy)) {
        *way = COPY_NOTHING;
    } else if (refetch_can_scan(&recovery->refetch, copy->large.type)) {
        *way = COPY_SCAN;
    }
    return true;
}

static bool copy_once(struct copy *copy, struct syn_err *err)
{
    struct stream *stream = copy->stream;
    struct dirty_key *key = copy->key;
    enum copy_way way;
    if (!copy_choose(copy, &way, err)) {
        return false;
    }
    key->attempts++;
    bool is_done = way == COPY_SCAN   ? copy_scan(copy, err)
                   : way == COPY_PASS ? copy_pass(copy, err)
                                      : true;
    if (is_done && copy->is_open) {
        counter_add(&stream->keys_refetched_large, 1);
        copy_log(copy, way == COPY_SCAN);
    } else if (is_done) {
        is_done = repair_nothing(stream, key, err);
    }
    if (is_done && !copy->large.is_changed) {
        recovery_was_read(stream->recovery, key, copy->large.from, copy->large.to);
    }
    return is_done;
}

static bool copy_refuse(const struct copy *copy, struct syn_err *err)
{
    char reason[200];
    snprintf(
        reason,
        sizeof(reason),
        "a key of about %llu bytes (hash %016llx) was written to during each of %u attempts to "
        "copy it in pieces (a larger --refetch-dump-max has it read at once)",
        (unsigned long long)copy->bytes,
        (unsigned long long)key_hash(copy->key->name, copy->key->size),
        LARGE_ATTEMPTS);
    return recovery_refuse(copy->stream, reason, err);
}

bool recovery_copy_large(struct stream *stream,
                         struct dirty_key *key,
                         const struct slice *name,
                         uint64_t bytes,
                         struct syn_err *err)
{
    struct recovery *recovery = stream->recovery;
    if (!repair_place(stream, key)) {
        recovery_was_read(recovery, key, stream->offset, stream->offset);
        return true;
    }
    counter_add(&stream->keys_refetched, key->attempts == 0);
    do {
        struct copy copy = {.stream = stream, .key = key, .name = name, .bytes = bytes};
        if (key->attempts >= LARGE_ATTEMPTS) {
            return copy_refuse(&copy, err);
        }
        if (key->from != 0) {
            recovery_unread(recovery, key);
        }
        if (!copy_once(&copy, err)) {
            return false;
        }
        /* Of a stream that ends nothing more comes that could show its state. */
    } while (recovery->is_ending && (key->floor == 0 || key->from != 0));
    return true;
}
