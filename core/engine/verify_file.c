/*
 * Verification of files: the passes.
 *
 *     first pass     every key of the files with what the destination has; the set takes their
 *                    hashes, and keeps a part of them when they are too many
 *     scan           every key of the destination that belongs to the part: is it in the set?
 *     more passes    for the other parts: the set is filled from the files again, and another scan
 *     second looks   what was different is read again, until the destination rests
 *     report         what still differs then
 *
 * A difference may pass: a copy that is not yet there, or a field that expired between the two
 * readings. One that does not, at a destination that was the same in two looks, is told.
 */
#include "core/engine/verify_file.h"

#include <stdio.h>
#include <string.h>

#include "core/engine/file_check.h"

#define DOUBTS_SHARE 32 /* of --memory */
#define PARTS_MAX 64

/* A key that was different when it was looked at. */
struct file_doubt {
    struct file_key key;
    struct file_outcome outcome; /* the last one */
    uint8_t *name;
    size_t name_size;
    bool is_settled; /* looked at again, and not different                        */
    bool is_resting; /* the destination was the same in the last two looks at it */
};

static void count_same(struct file_verify *verify, const struct file_outcome *outcome)
{
    struct syn_verify_result *result = &verify->base.result;
    enum verdict_kind kind = outcome->verdict.kind;
    result->equal_payload += kind == VERDICT_PAYLOAD;
    result->equal_content += kind == VERDICT_CONTENT || kind == VERDICT_FAST;
    result->expired += kind == VERDICT_EXPIRED;
}

/* ---- doubts ---- */

static bool doubts_grow(struct file_verify *verify)
{
    if (verify->doubt_count < verify->doubt_capacity) {
        return true;
    }
    uint32_t capacity = verify->doubt_capacity == 0 ? 64 : verify->doubt_capacity * 2;
    struct file_doubt *doubts =
        mem_realloc(MEM_ENGINE, verify->doubts, capacity * sizeof(*verify->doubts));
    if (doubts == NULL) {
        return false;
    }
    verify->doubts = doubts;
    verify->doubt_capacity = capacity;
    return true;
}

/* False: there is no room for it. */
static bool doubt_add(struct file_verify *verify, uint32_t i)
{
    const struct verify_key *name = &verify->names[i];
    uint64_t bytes = verify->doubt_bytes + sizeof(struct file_doubt) + name->size;
    if (bytes > verify->config->memory_bytes / DOUBTS_SHARE || !doubts_grow(verify)) {
        return false;
    }
    uint8_t *copy = mem_alloc(MEM_ENGINE, name->size + 1);
    if (copy == NULL) {
        return false;
    }
    memcpy(copy, name->bytes, name->size);
    verify->doubts[verify->doubt_count++] = (struct file_doubt){.key = verify->keys[i],
                                                                .outcome = verify->outcomes[i],
                                                                .name = copy,
                                                                .name_size = name->size};
    verify->doubt_bytes = bytes;
    return true;
}

/* ---- the first pass ---- */

static bool batch_compare(struct file_verify *verify, struct syn_err *err)
{
    if (verify->count > 0 && (!verify_side_select(&verify->base.destination, verify->db, err) ||
                              !file_compare(verify, err))) {
        return false;
    }
    for (uint32_t i = 0; i < verify->count; i++) {
        const struct file_outcome *outcome = &verify->outcomes[i];
        verify->base.result.keys_compared += outcome->verdict.is_on_both;
        if (outcome->verdict.kind != VERDICT_DIFFERENT) {
            count_same(verify, outcome);
        } else if (!doubt_add(verify, i)) {
            verify_report(&verify->base,
                          verify->keys[i].db,
                          verify->names[i].bytes,
                          verify->names[i].size,
                          &outcome->verdict,
                          "; not read again: too many differences");
        }
    }
    verify->count = 0;
    verify->bytes_used = 0;
    return verify_progress(&verify->base, false, err);
}

/* Room for one more name. */
static bool batch_reserve(struct file_verify *verify, uint32_t db, size_t size, struct syn_err *err)
{
    bool is_full = verify->count == VERIFY_BATCH_KEYS || verify->db != db ||
                   verify->bytes_capacity - verify->bytes_used < size;
    if (is_full && !batch_compare(verify, err)) {
        return false;
    }
    verify->db = db;
    if (size > verify->bytes_capacity) {
        uint8_t *bytes = mem_realloc(MEM_ENGINE, verify->bytes, size);
        if (bytes == NULL) {
            return ERR(err, SYN_CODE_MEMORY, "no memory for a key of %zu bytes", size);
        }
        verify->bytes = bytes;
        verify->bytes_capacity = size;
    }
    return true;
}

/* The value of the scan's present key has been read. */
static bool
batch_add(struct file_verify *verify, const struct rdb_content *content, struct syn_err *err)
{
    const struct file_scan *scan = &verify->scan;
    uint32_t db = config_db(verify->config, scan->key.db);
    if (!batch_reserve(verify, db, scan->name_size, err)) {
        return false;
    }
    uint8_t *name = verify->bytes + verify->bytes_used;
    if (scan->name_size > 0) {
        memcpy(name, scan->name, scan->name_size);
    }
    verify->bytes_used += scan->name_size;
    verify->names[verify->count] =
        (struct verify_key){.bytes = (const char *)name, .size = scan->name_size};
    verify->keys[verify->count] = scan->key;
    verify->contents[verify->count] = *content;
    verify->count++;
    return true;
}

static uint64_t scan_hash(const struct file_verify *verify)
{
    const struct file_scan *scan = &verify->scan;
    return key_set_hash(config_db(verify->config, scan->key.db), scan->name, scan->name_size);
}

/* What is done with a key of the files, whose value is still to be read or passed. */
typedef bool key_done(struct file_verify *verify, struct syn_err *err);

static bool key_compare(struct file_verify *verify, struct syn_err *err)
{
    struct rdb_content content;
    verify->base.result.keys_source++;
    key_set_add(&verify->set, scan_hash(verify));
    verify->scan.key.forget_ms = file_forget_ms(verify);
    return file_scan_value(&verify->scan, &content, err) && batch_add(verify, &content, err);
}

static bool key_remember(struct file_verify *verify, struct syn_err *err)
{
    key_set_add(&verify->set, scan_hash(verify));
    return file_scan_pass(&verify->scan, err) && verify_progress(&verify->base, false, err);
}

static bool read_file(struct file_verify *verify, key_done *done, struct syn_err *err)
{
    for (;;) {
        bool is_end;
        if (!file_scan_next(&verify->scan, &is_end, err)) {
            return false;
        }
        if (is_end) {
            return batch_compare(verify, err);
        }
        if (!done(verify, err)) {
            return false;
        }
    }
}

static bool read_files(struct file_verify *verify, key_done *done, struct syn_err *err)
{
    for (uint32_t i = 0; i < verify->config->files.count; i++) {
        bool ok = file_scan_open(&verify->scan, verify->config, i, verify->digest, err) &&
                  read_file(verify, done, err);
        file_scan_close(&verify->scan);
        if (!ok) {
            return false;
        }
    }
    return true;
}

/* ---- what only the destination has ---- */

/* The first database of the files that goes to the destination's `target`. */
static bool source_of(const struct config *config, uint32_t target, uint32_t *db)
{
    if (!config->has_db_rules) {
        *db = target;
        return true;
    }
    for (uint32_t n = 0; n < CONFIG_DB_MAX; n++) {
        if (target != CONFIG_DB_NONE && config->db_map[n] == target) {
            *db = n;
            return true;
        }
    }
    return false;
}

/* verify->names are keys of the destination's selected database that the files do not have. */
static bool extras_report(struct file_verify *verify, uint32_t db, struct syn_err *err)
{
    int64_t sent_ms = clock_unix_ms();
    for (uint32_t i = 0; i < verify->count; i++) {
        if (!file_type_ask(verify, i, err)) {
            return false;
        }
    }
    if (!verify_side_flush(&verify->base.destination, err)) {
        return false;
    }
    for (uint32_t i = 0; i < verify->count; i++) {
        struct verdict verdict = {.source_type = VALUE_NONE, .source_at = -2};
        if (!file_type_fetch(verify, i, sent_ms, &verdict, err)) {
            return false;
        }
        bool is_decided = verdict_by_type(&verify->base, &verdict, clock_unix_ms());
        ASSERT(is_decided);
        if (verdict.kind == VERDICT_DIFFERENT) {
            verify_report(
                &verify->base, db, verify->names[i].bytes, verify->names[i].size, &verdict, "");
        } else {
            verify->base.result.expired++;
        }
    }
    return true;
}

/* Keys of one answer of SCAN. SCAN may give a key twice: those that were told join the set, as long
 * as it has room. */
static bool extras_look(struct file_verify *verify,
                        const redisReply *keys,
                        uint32_t target,
                        uint32_t db,
                        struct syn_err *err)
{
    for (size_t at = 0; at < keys->elements;) {
        verify->count = 0;
        for (; at < keys->elements && verify->count < VERIFY_BATCH_KEYS; at++) {
            const redisReply *key = keys->element[at];
            uint64_t hash = key_set_hash(target, key->str, key->len);
            if (!key_set_is_part(&verify->set, hash) ||
                file_is_own_key(verify->config, key->str, key->len)) {
                continue;
            }
            verify->base.result.keys_destination++;
            if (!key_set_has(&verify->set, hash)) {
                (void)key_set_try(&verify->set, hash);
                verify->names[verify->count++] =
                    (struct verify_key){.bytes = key->str, .size = key->len};
            }
        }
        if (!extras_report(verify, db, err) || !verify_progress(&verify->base, false, err)) {
            return false;
        }
    }
    verify->count = 0;
    return true;
}

static bool scan_database(struct file_verify *verify,
                          struct verify_link *link,
                          uint32_t target,
                          uint32_t db,
                          struct syn_err *err)
{
    char cursor[NUM_DIGITS_MAX + 1] = "0";
    do {
        char command[64];
        snprintf(command, sizeof(command), "SCAN %s COUNT " VERIFY_SCAN_COUNT, cursor);
        redisReply *reply = control_ask(&link->control, err, command);
        if (reply == NULL) {
            return false;
        }
        bool ok = reply->type == REDIS_REPLY_ARRAY && reply->elements == 2 &&
                  reply->element[0]->str != NULL && reply->element[1]->type == REDIS_REPLY_ARRAY;
        if (ok) {
            snprintf(cursor, sizeof(cursor), "%s", reply->element[0]->str);
            ok = extras_look(verify, reply->element[1], target, db, err);
        } else {
            control_reply_error(&link->control, reply, "SCAN", err);
        }
        freeReplyObject(reply);
        if (!ok) {
            return false;
        }
    } while (strcmp(cursor, "0") != 0);
    return true;
}

static bool scan_server(struct file_verify *verify, struct verify_link *link, struct syn_err *err)
{
    redisReply *reply = control_ask(&link->control, err, "INFO keyspace");
    if (reply == NULL) {
        return false;
    }
    struct keyspace_cursor cursor = {.next = reply->str};
    uint64_t target, keys;
    bool ok = true;
    while (ok && keyspace_next(&cursor, &target, &keys)) {
        uint32_t db;
        if (keys > 0 && source_of(verify->config, (uint32_t)target, &db)) {
            ok = verify_side_select(&verify->base.destination, (uint32_t)target, err) &&
                 scan_database(verify, link, (uint32_t)target, db, err);
        }
    }
    freeReplyObject(reply);
    return ok;
}

static bool scan_destination(struct file_verify *verify, struct syn_err *err)
{
    for (uint32_t i = 0; i < verify->base.destination.topology.shard_count; i++) {
        if (!scan_server(verify, &verify->base.destination.links[i], err)) {
            return false;
        }
    }
    return true;
}

/* ---- passes ---- */

struct part {
    unsigned bits;
    uint64_t value;
};

/* The parts that the set has left for later since it began with `bits`. */
static void
parts_push(const struct key_set *set, unsigned bits, struct part *parts, uint32_t *count)
{
    for (unsigned bit = bits; bit < set->part_bits; bit++) {
        ASSERT(*count < PARTS_MAX);
        parts[(*count)++] = (struct part){.bits = bit + 1, .value = set->part | UINT64_C(1) << bit};
    }
}

static bool passes(struct file_verify *verify, struct syn_err *err)
{
    struct part parts[PARTS_MAX];
    uint32_t count = 0;
    if (!read_files(verify, key_compare, err)) {
        return false;
    }
    if (verify->set.part_bits > 0) {
        log_info(
            "verification: the set of the files' keys does not fit into --memory at once: they "
            "and the destination are read about %llu times; %llu MiB would do with once",
            1ull << verify->set.part_bits,
            (unsigned long long)(verify->base.result.keys_source * sizeof(uint64_t) *
                                     FILE_SET_SHARE * 5 / 4 / (1 << 20) +
                                 1));
    }
    parts_push(&verify->set, 0, parts, &count);
    if (!scan_destination(verify, err)) {
        return false;
    }
    while (count > 0) {
        struct part part = parts[--count];
        key_set_begin(&verify->set, part.bits, part.value);
        if (!read_files(verify, key_remember, err)) {
            return false;
        }
        parts_push(&verify->set, part.bits, parts, &count);
        if (!scan_destination(verify, err)) {
            return false;
        }
    }
    return true;
}

/* ---- second looks ---- */

static bool was_same(const struct file_verify *verify,
                     const struct file_outcome *before,
                     const struct file_outcome *after)
{
    int64_t a = before->verdict.destination_at;
    int64_t b = after->verdict.destination_at;
    int64_t tolerance = (int64_t)verify->config->ttl_tolerance_ms;
    bool is_same_expiry = a < 0 || b < 0 ? a == b : a - b <= tolerance && b - a <= tolerance;
    return is_same_expiry && before->seen.low == after->seen.low &&
           before->seen.high == after->seen.high &&
           before->verdict.is_on_both == after->verdict.is_on_both;
}

static void doubt_settle(struct file_verify *verify, struct file_doubt *doubt, uint32_t i)
{
    const struct file_outcome *outcome = &verify->outcomes[i];
    if (outcome->verdict.kind == VERDICT_DIFFERENT) {
        doubt->is_resting = was_same(verify, &doubt->outcome, outcome);
        doubt->outcome = *outcome;
        return;
    }
    doubt->is_settled = true;
    verify->base.result.rechecked += outcome->verdict.kind != VERDICT_EXPIRED;
    count_same(verify, outcome);
}

static bool is_open(const struct file_doubt *doubt)
{
    return !doubt->is_settled && !doubt->is_resting;
}

/* A field may have expired since the file's value was read, and doubts do not hold contents. */
static bool doubt_take(struct file_verify *verify, struct file_doubt *doubt, struct syn_err *err)
{
    struct verify_key name = {.bytes = (const char *)doubt->name, .size = doubt->name_size};
    if (!file_value_again(verify, &doubt->key, &name, &verify->contents[verify->count], err)) {
        return false;
    }
    verify->names[verify->count] = name;
    verify->keys[verify->count] = doubt->key;
    verify->count++;
    return true;
}

/* Looks at every open doubt; *left is how many remain open. */
static bool look_again(struct file_verify *verify, uint32_t *left, struct syn_err *err)
{
    uint32_t chosen[VERIFY_BATCH_KEYS];
    *left = 0;
    for (uint32_t next = 0; next < verify->doubt_count;) {
        verify->count = 0;
        for (; next < verify->doubt_count && verify->count < VERIFY_BATCH_KEYS; next++) {
            struct file_doubt *doubt = &verify->doubts[next];
            uint32_t db = config_db(verify->config, doubt->key.db);
            if (!is_open(doubt)) {
                continue;
            }
            if (verify->count > 0 && db != verify->db) {
                break;
            }
            verify->db = db;
            chosen[verify->count] = next;
            if (!doubt_take(verify, doubt, err)) {
                return false;
            }
        }
        if (verify->count > 0 && (!verify_side_select(&verify->base.destination, verify->db, err) ||
                                  !file_compare(verify, err))) {
            return false;
        }
        for (uint32_t i = 0; i < verify->count; i++) {
            doubt_settle(verify, &verify->doubts[chosen[i]], i);
            *left += is_open(&verify->doubts[chosen[i]]);
        }
        if (!verify_progress(&verify->base, false, err)) {
            return false;
        }
    }
    return true;
}

static bool second_looks(struct file_verify *verify, struct syn_err *err)
{
    uint32_t left = verify->doubt_count;
    for (uint64_t round = 0; round < verify->config->verify_rounds && left > 0; round++) {
        if (!verify_wait(&verify->base, verify->config->verify_interval_ms, err) ||
            !look_again(verify, &left, err)) {
            return false;
        }
    }
    for (uint32_t i = 0; i < verify->doubt_count; i++) {
        const struct file_doubt *doubt = &verify->doubts[i];
        if (!doubt->is_settled) {
            verify_report(&verify->base,
                          doubt->key.db,
                          doubt->name,
                          doubt->name_size,
                          &doubt->outcome.verdict,
                          "");
        }
    }
    return true;
}

/* ---- all ---- */

static bool buffers_make(struct file_verify *verify, struct syn_err *err)
{
    uint64_t memory = verify->config->memory_bytes;
    verify->bytes_capacity = (size_t)(memory / FILE_NAMES_SHARE);
    verify->bytes = mem_alloc(MEM_ENGINE, verify->bytes_capacity);
    verify->keys = mem_alloc(MEM_ENGINE, VERIFY_BATCH_KEYS * sizeof(*verify->keys));
    verify->names = mem_alloc(MEM_ENGINE, VERIFY_BATCH_KEYS * sizeof(*verify->names));
    verify->outcomes = mem_alloc(MEM_ENGINE, VERIFY_BATCH_KEYS * sizeof(*verify->outcomes));
    verify->contents = mem_alloc(MEM_ENGINE, VERIFY_BATCH_KEYS * sizeof(*verify->contents));
    if (verify->bytes == NULL || verify->keys == NULL || verify->names == NULL ||
        verify->outcomes == NULL || verify->contents == NULL) {
        return ERR(err, SYN_CODE_MEMORY, "out of memory for a batch of a verification");
    }
    verify->digest = rdb_digest_new(0, err);
    verify->reader = verify->digest != NULL
                         ? rdb_content_reader_new((size_t)(memory / FILE_ITEM_SHARE), err)
                         : NULL;
    return verify->reader != NULL && key_set_init(&verify->set, memory / FILE_SET_SHARE, err);
}

static void verify_deinit(struct file_verify *verify)
{
    verify_side_close(&verify->base.destination);
    file_scan_close(&verify->scan);
    key_set_deinit(&verify->set);
    rdb_digest_free(verify->digest);
    rdb_content_reader_free(verify->reader);
    for (uint32_t i = 0; i < verify->doubt_count; i++) {
        mem_free(MEM_ENGINE, verify->doubts[i].name);
    }
    mem_free(MEM_ENGINE, verify->doubts);
    mem_free(MEM_ENGINE, verify->bytes);
    mem_free(MEM_ENGINE, verify->keys);
    mem_free(MEM_ENGINE, verify->names);
    mem_free(MEM_ENGINE, verify->outcomes);
    mem_free(MEM_ENGINE, verify->contents);
}

/* Standard input passes once, and cannot be read at a place. */
static bool input_check(const struct config *config, struct syn_err *err)
{
    for (uint32_t i = 0; i < config->files.count; i++) {
        if (strcmp(config_file(&config->files, i), "-") == 0) {
            return ERR(err,
                       SYN_CODE_CONFIG,
                       "source: a verification reads files more than once, which standard input "
                       "(file:-) cannot be; put it into a file");
        }
    }
    return files_check(&config->files, err);
}

static bool destination_open(struct file_verify *verify, struct syn_err *err)
{
    struct verify *base = &verify->base;
    base->has_delivery_times = true;
    if (!verify_side_open(&base->destination, SIDE_DESTINATION, verify->config, err)) {
        return false;
    }
    base->source.has_field_ttl = true;
    base->source.has_expiretime = true;
    base->source.has_dump = true;
    return true;
}

bool verify_file_run(const struct config *config,
                     syn_difference_callback *on_difference,
                     syn_verify_progress *on_progress,
                     void *arg,
                     struct syn_verify_result *result,
                     struct syn_err *err)
{
    *result = (struct syn_verify_result){.keys_source = 0};
    struct file_verify *verify = mem_calloc(MEM_ENGINE, sizeof(*verify));
    if (verify == NULL) {
        return ERR(err, SYN_CODE_MEMORY, "out of memory for a verification");
    }
    verify->config = config;
    verify_begin(&verify->base, config, on_difference, on_progress, arg);
    bool ok = input_check(config, err) && buffers_make(verify, err) &&
              destination_open(verify, err) && passes(verify, err) && second_looks(verify, err) &&
              verify_progress(&verify->base, true, err);
    *result = verify->base.result;
    verify_deinit(verify);
    mem_free(MEM_ENGINE, verify);
    return ok;
}
