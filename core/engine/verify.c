/*
 * Verification: two scans, then the rounds.
 *
 *     source scan        every key of every selected database, compared with its owner over there
 *     destination scan   every key of every target database: does the source have it?
 *     rounds             what looked different is read again, `rounds` times, `interval` apart
 *     report             what still differs then
 *
 * The sides change while they are read and the destination lags, so one look proves nothing: only a
 * difference that stays is one. The source is never the slower one to be read: both are asked in
 * the same moment.
 *
 * Not noticed: keys that come and go during the scans, as far as SCAN does not return them. A slot
 * that moves between servers of one side ends the verification with an error.
 */
#include <stdio.h>
#include <string.h>

#include "apply/position.h"
#include "core/engine/verify_private.h"

#define PROGRESS_EVERY_MS 200
#define DATABASES_MAX CONFIG_DB_MAX
/* More looks, spread over half a second, at keys that the source is changing even in the last
 * round: between two writes there is mostly a moment in which both sides are equal. */
#define LAST_LOOKS 25
#define LAST_LOOKS_EVERY_MS 20

/* ---- progress and report ---- */

void verify_begin(struct verify *verify,
                  const struct config *config,
                  syn_difference_callback *on_difference,
                  syn_verify_progress *on_progress,
                  void *arg)
{
    verify->config = config;
    verify->on_difference = on_difference;
    verify->on_progress = on_progress;
    verify->arg = arg;
    verify->started_ms = clock_monotonic_ms();
    verify->progress_ms = verify->started_ms;
}

bool verify_progress(struct verify *verify, bool is_end, struct syn_err *err)
{
    uint64_t now = clock_monotonic_ms();
    if (!is_end && now - verify->progress_ms < PROGRESS_EVERY_MS) {
        return true;
    }
    verify->progress_ms = now;
    verify->result.elapsed_ms = now - verify->started_ms;
    if (verify->on_progress != NULL && !verify->on_progress(verify->arg, &verify->result)) {
        return ERR(err, SYN_CODE_STOPPED, "the verification was stopped before its end");
    }
    return true;
}

bool verify_wait(struct verify *verify, uint64_t ms, struct syn_err *err)
{
    uint64_t end = clock_monotonic_ms() + ms;
    for (;;) {
        uint64_t now = clock_monotonic_ms();
        if (now >= end) {
            return true;
        }
        uint64_t part = end - now < PROGRESS_EVERY_MS ? end - now : PROGRESS_EVERY_MS;
        const struct timespec time = {.tv_nsec = (long)part * 1000000};
        nanosleep(&time, NULL);
        if (!verify_progress(verify, false, err)) {
            return false;
        }
    }
}

void verify_report(struct verify *verify,
                   uint32_t db,
                   const void *key,
                   size_t key_size,
                   const struct verdict *verdict,
                   const char *remark)
{
    verify->result.differences++;
    if (verify->on_difference == NULL) {
        return;
    }
    struct syn_difference difference = {
        .kind = verdict->difference, .db = db, .key = key, .key_size = key_size};
    snprintf(difference.detail,
             sizeof(difference.detail),
             "%.*s%s",
             (int)(sizeof(difference.detail) - 1 - strlen(remark)),
             verdict->detail,
             remark);
    verify->on_difference(verify->arg, &difference);
}

/* ---- the first look ---- */

static void count_equal(struct syn_verify_result *result, const struct verdict *verdict)
{
    switch (verdict->kind) {
    case VERDICT_PAYLOAD:
        result->equal_payload++;
        break;
    case VERDICT_CONTENT:
        result->equal_content++;
        break;
    case VERDICT_EXPIRED:
        result->expired++;
        break;
    default:
        break;
    }
}

static void first_verdict(struct verify *verify,
                          uint32_t db,
                          const struct verify_key *key,
                          const struct verdict *verdict)
{
    verify->result.keys_compared += verdict->is_on_both;
    if (verdict->kind != VERDICT_DIFFERENT) {
        count_equal(&verify->result, verdict);
        return;
    }
    if (suspects_add(verify->suspects, db, key->bytes, key->size, verdict) != SUSPECT_NO_ROOM) {
        return;
    }
    if (!verify->is_bound_reached) {
        verify->is_bound_reached = true;
        log_warning("verification: %u keys look different and there is no room to remember more; "
                    "further ones are reported without being read again",
                    verify->suspects->count);
    }
    verify_report(
        verify, db, key->bytes, key->size, verdict, "; not read again: too many differences");
}

static bool compare_first(struct verify *verify, uint32_t db, uint32_t count, struct syn_err *err)
{
    if (!verify_compare(verify, verify->keys, count, verify->verdicts, err)) {
        return false;
    }
    for (uint32_t i = 0; i < count; i++) {
        first_verdict(verify, db, &verify->keys[i], &verify->verdicts[i]);
    }
    return true;
}

/* ---- scanning ---- */

struct databases {
    uint32_t list[DATABASES_MAX];
    uint32_t count;
};

/* The databases of one server that have keys. */
static bool
databases_read(struct verify_link *link, struct databases *databases, struct syn_err *err)
{
    databases->count = 0;
    redisReply *reply = control_ask(&link->control, err, "INFO keyspace");
    if (reply == NULL) {
        return false;
    }
    struct keyspace_cursor cursor = {.next = reply->str};
    uint64_t db, keys;
    while (databases->count < DATABASES_MAX && keyspace_next(&cursor, &db, &keys)) {
        if (keys > 0) {
            databases->list[databases->count++] = (uint32_t)db;
        }
    }
    freeReplyObject(reply);
    return true;
}

/* What is done with a batch of verify->keys; `db` as given to scan_database. */
typedef bool batch_done(struct verify *verify, uint32_t db, uint32_t count, struct syn_err *err);

static bool scan_reply(struct verify *verify,
                       enum side side,
                       const redisReply *keys,
                       uint32_t db,
                       uint64_t *counter,
                       batch_done *done,
                       struct syn_err *err)
{
    const char *heartbeat = verify->config->heartbeat_prefix;
    const struct heartbeat_names names = {heartbeat, strlen(heartbeat)};
    for (size_t first = 0; first < keys->elements; first += VERIFY_BATCH_KEYS) {
        size_t left = keys->elements - first;
        left = left < VERIFY_BATCH_KEYS ? left : VERIFY_BATCH_KEYS;
        uint32_t taken = 0;
        for (size_t i = 0; i < left; i++) {
            const redisReply *key = keys->element[first + i];
            bool is_taken = !heartbeat_is_key(&names, key->str, key->len) &&
                            !position_is_key(key->str, key->len); /* ours, not the user's */
            if (is_taken &&
                !verify_key_take(verify, side, key->str, key->len, taken, &is_taken, err)) {
                return false;
            }
            taken += is_taken;
        }
        *counter += taken;
        if ((taken > 0 && !done(verify, db, taken, err)) || !verify_progress(verify, false, err)) {
            return false;
        }
    }
    return true;
}

/* Walks the selected database of one server. */
static bool scan_database(struct verify *verify,
                          struct verify_link *link,
                          uint32_t db,
                          uint64_t *counter,
                          batch_done *done,
                          struct syn_err *err)
{
    char cursor[NUM_DIGITS_MAX + 1] = "0";
    do {
        char command[64];
        snprintf(command, sizeof(command), "SCAN %s COUNT %s", cursor, VERIFY_SCAN_COUNT);
        redisReply *reply = control_ask(&link->control, err, command);
        if (reply == NULL) {
            return false;
        }
        bool ok = reply->type == REDIS_REPLY_ARRAY && reply->elements == 2 &&
                  reply->element[0]->str != NULL && reply->element[1]->type == REDIS_REPLY_ARRAY;
        if (ok) {
            snprintf(cursor, sizeof(cursor), "%s", reply->element[0]->str);
            ok = scan_reply(verify, link->control.side, reply->element[1], db, counter, done, err);
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

static bool scan_source(struct verify *verify, struct syn_err *err)
{
    struct databases databases;
    for (uint32_t i = 0; i < verify->source.topology.shard_count; i++) {
        struct verify_link *link = &verify->source.links[i];
        if (!databases_read(link, &databases, err)) {
            return false;
        }
        for (uint32_t j = 0; j < databases.count; j++) {
            uint32_t db = databases.list[j];
            uint32_t target = config_db(verify->config, db);
            if (target == CONFIG_DB_NONE) {
                continue;
            }
            if (!verify_side_select(&verify->source, db, err) ||
                !verify_side_select(&verify->destination, target, err) ||
                !scan_database(verify, link, db, &verify->result.keys_source, compare_first, err)) {
                return false;
            }
        }
    }
    return true;
}

/* The source databases that go to `target`. */
static uint32_t
sources_of(const struct config *config, uint32_t target, uint32_t list[static CONFIG_DB_MAX])
{
    uint32_t count = 0;
    if (!config->has_db_rules) {
        list[count++] = target;
        return count;
    }
    for (uint32_t db = 0; db < CONFIG_DB_MAX; db++) {
        if (config->db_map[db] == target && target != CONFIG_DB_NONE) {
            list[count++] = db;
        }
    }
    return count;
}

/* Whether a source without slots has all of verify->keys: one command, where a command for each
 * would be most of what the second direction costs. */
static bool
are_all_there(struct verify *verify, uint32_t count, bool *are_there, struct syn_err *err)
{
    const char *argv[1 + VERIFY_BATCH_KEYS] = {"EXISTS"};
    size_t sizes[1 + VERIFY_BATCH_KEYS] = {6};
    for (uint32_t i = 0; i < count; i++) {
        argv[1 + i] = verify->keys[i].bytes;
        sizes[1 + i] = verify->keys[i].size;
    }
    *are_there = false;
    redisReply *reply =
        control_call(&verify->source.links[0].control, 1 + (int)count, argv, sizes, err);
    if (reply == NULL) {
        return false;
    }
    *are_there = reply->type == REDIS_REPLY_INTEGER && reply->integer == count;
    freeReplyObject(reply);
    return true;
}

/* Keeps of verify->keys those that the source's selected database does not have. */
static bool keep_missing(struct verify *verify, uint32_t *count, struct syn_err *err)
{
    bool are_there = false;
    if (!verify->source.topology.is_cluster && !are_all_there(verify, *count, &are_there, err)) {
        return false;
    }
    if (are_there) {
        *count = 0;
        return true;
    }
    for (uint32_t i = 0; i < *count; i++) {
        const struct verify_key *key = &verify->keys[i];
        struct verify_link *link = verify_owner(&verify->source, key->bytes, key->size);
        if (!verify_append(link, "EXISTS", key->bytes, key->size, NULL, err)) {
            return false;
        }
    }
    if (!verify_side_flush(&verify->source, err)) {
        return false;
    }
    uint32_t kept = 0;
    for (uint32_t i = 0; i < *count; i++) {
        struct verify_key key = verify->keys[i];
        struct verify_link *link = verify_owner(&verify->source, key.bytes, key.size);
        int64_t is_there;
        if (!verify_fetch_integer(link, "EXISTS", &is_there, err)) {
            return false;
        }
        if (is_there == 0) {
            verify->keys[kept++] = key;
        }
    }
    *count = kept;
    return true;
}

/* `target` is the destination's database: a key is extra when no source database of it has it. */
static bool
look_for_extra(struct verify *verify, uint32_t target, uint32_t count, struct syn_err *err)
{
    uint32_t sources[CONFIG_DB_MAX];
    uint32_t source_count = sources_of(verify->config, target, sources);
    ASSERT(source_count > 0);
    for (uint32_t i = source_count; i > 0; i--) {
        if (!verify_side_select(&verify->source, sources[i - 1], err) ||
            !keep_missing(verify, &count, err)) {
            return false;
        }
    }
    if (count == 0) {
        return true;
    }
    /* The source has selected the first of its databases, which the report names. */
    uint64_t compared = verify->result.keys_compared;
    uint64_t payload = verify->result.equal_payload;
    uint64_t content = verify->result.equal_content;
    bool ok = compare_first(verify, sources[0], count, err);
    /* A key that is there by now was, or is, the other direction's to count. */
    verify->result.keys_compared = compared;
    verify->result.equal_payload = payload;
    verify->result.equal_content = content;
    return ok;
}

static bool scan_destination(struct verify *verify, struct syn_err *err)
{
    struct databases databases;
    uint32_t sources[CONFIG_DB_MAX];
    for (uint32_t i = 0; i < verify->destination.topology.shard_count; i++) {
        struct verify_link *link = &verify->destination.links[i];
        if (!databases_read(link, &databases, err)) {
            return false;
        }
        for (uint32_t j = 0; j < databases.count; j++) {
            uint32_t db = databases.list[j];
            if (sources_of(verify->config, db, sources) == 0) {
                continue;
            }
            if (!verify_side_select(&verify->destination, db, err) ||
                !scan_database(
                    verify, link, db, &verify->result.keys_destination, look_for_extra, err)) {
                return false;
            }
        }
    }
    return true;
}

/* ---- rounds ---- */

static bool
is_changing(const struct verify *verify, const struct verdict *before, const struct verdict *after)
{
    bool is_absolute = verify->source.has_expiretime && verify->destination.has_expiretime;
    return after->is_unstable || before->source_low != after->source_low ||
           before->source_high != after->source_high ||
           (is_absolute && before->source_at != after->source_at);
}

/* A suspect was read again. */
static void
second_verdict(struct verify *verify, struct suspect *suspect, const struct verdict *verdict)
{
    if (verdict->kind == VERDICT_DIFFERENT) {
        /* In the last looks two readings are close together: equal ones prove no rest. */
        suspect->is_changing = is_changing(verify, &suspect->verdict, verdict) ||
                               (verify->is_last && suspect->is_changing);
        suspect->verdict = *verdict;
        return;
    }
    suspect->is_settled = true;
    int64_t at = suspect->verdict.source_at >= 0 ? suspect->verdict.source_at
                                                 : suspect->verdict.destination_at;
    bool is_expired = verdict->kind == VERDICT_EXPIRED ||
                      (verdict->kind == VERDICT_GONE && at >= 0 && at <= clock_unix_ms());
    if (is_expired) {
        verify->result.expired++;
        return;
    }
    verify->result.rechecked++;
    count_equal(&verify->result, verdict);
}

/* Reads suspects again, all or only those that change; *left is how many remain in doubt. */
static bool
look_again(struct verify *verify, bool changing_only, uint32_t *left, struct syn_err *err)
{
    struct suspects *suspects = verify->suspects;
    uint32_t *chosen = verify->chosen;
    *left = 0;
    for (uint32_t next = 0; next < suspects->count;) {
        uint32_t count = 0;
        uint32_t db = 0;
        for (; next < suspects->count && count < VERIFY_BATCH_KEYS; next++) {
            const struct suspect *suspect = &suspects->items[next];
            if (suspect->is_settled || (changing_only && !suspect->is_changing)) {
                continue;
            }
            if (count > 0 && suspect->db != db) {
                break;
            }
            db = suspect->db;
            bool is_taken;
            if (!verify_key_take(verify,
                                 SIDE_SOURCE,
                                 (const char *)suspect->key,
                                 suspect->key_size,
                                 count,
                                 &is_taken,
                                 err)) {
                return false;
            }
            ASSERT(is_taken); /* it was, when it became a suspect */
            chosen[count++] = next;
        }
        if (count == 0) {
            break;
        }
        if (!verify_side_select(&verify->source, db, err) ||
            !verify_side_select(&verify->destination, config_db(verify->config, db), err) ||
            !verify_compare(verify, verify->keys, count, verify->verdicts, err)) {
            return false;
        }
        for (uint32_t i = 0; i < count; i++) {
            struct suspect *suspect = &suspects->items[chosen[i]];
            second_verdict(verify, suspect, &verify->verdicts[i]);
            *left += !suspect->is_settled;
        }
        if (!verify_progress(verify, false, err)) {
            return false;
        }
    }
    return true;
}

static bool rounds(struct verify *verify, struct syn_err *err)
{
    uint32_t left = verify->suspects->count;
    for (uint64_t round = 0; round < verify->config->verify_rounds && left > 0; round++) {
        if (!verify_wait(verify, verify->config->verify_interval_ms, err) ||
            !look_again(verify, false, &left, err)) {
            return false;
        }
    }
    if (verify->config->verify_rounds == 0) {
        return true; /* the first look was asked to decide */
    }
    verify->is_last = true;
    for (int i = 0; i < LAST_LOOKS && left > 0; i++) {
        if (!look_again(verify, true, &left, err) ||
            (left > 0 && !verify_wait(verify, LAST_LOOKS_EVERY_MS, err))) {
            return false;
        }
    }
    return true;
}

static void report_suspects(struct verify *verify)
{
    for (uint32_t i = 0; i < verify->suspects->count; i++) {
        const struct suspect *suspect = &verify->suspects->items[i];
        if (!suspect->is_settled) {
            verify_report(verify,
                          suspect->db,
                          suspect->key,
                          suspect->key_size,
                          &suspect->verdict,
                          suspect->is_changing ? "; still changing" : "");
        }
    }
}

/* ---- all ---- */

static bool buffers_make(struct verify *verify, struct syn_err *err)
{
    verify->keys = mem_alloc(MEM_ENGINE, VERIFY_BATCH_KEYS * sizeof(*verify->keys));
    verify->names = mem_calloc(MEM_ENGINE, VERIFY_BATCH_KEYS * sizeof(*verify->names));
    verify->verdicts = mem_alloc(MEM_ENGINE, VERIFY_BATCH_KEYS * sizeof(*verify->verdicts));
    verify->indices = mem_alloc(MEM_ENGINE, VERIFY_BATCH_KEYS * sizeof(*verify->indices));
    verify->chosen = mem_alloc(MEM_ENGINE, VERIFY_BATCH_KEYS * sizeof(*verify->chosen));
    if (verify->keys == NULL || verify->names == NULL || verify->verdicts == NULL ||
        verify->indices == NULL || verify->chosen == NULL) {
        return ERR(err, SYN_CODE_MEMORY, "out of memory for a batch of a verification");
    }
    verify->payloads = payloads_new(err);
    if (verify->payloads == NULL) {
        return false;
    }
    verify->suspects = suspects_new(err);
    return verify->suspects != NULL;
}

static void verify_deinit(struct verify *verify)
{
    verify_side_close(&verify->source);
    verify_side_close(&verify->destination);
    suspects_free(verify->suspects);
    for (uint32_t i = 0; verify->names != NULL && i < VERIFY_BATCH_KEYS; i++) {
        select_name_deinit(&verify->names[i]);
    }
    mem_free(MEM_ENGINE, verify->names);
    payloads_free(verify->payloads);
    mem_free(MEM_ENGINE, verify->keys);
    mem_free(MEM_ENGINE, verify->verdicts);
    mem_free(MEM_ENGINE, verify->indices);
    mem_free(MEM_ENGINE, verify->chosen);
}

bool verify_run(const struct config *config,
                syn_difference_callback *on_difference,
                syn_verify_progress *on_progress,
                void *arg,
                struct syn_verify_result *result,
                struct syn_err *err)
{
    *result = (struct syn_verify_result){.keys_source = 0};
    struct verify *verify = mem_calloc(MEM_ENGINE, sizeof(*verify));
    if (verify == NULL) {
        return ERR(err, SYN_CODE_MEMORY, "out of memory for a verification");
    }
    verify_begin(verify, config, on_difference, on_progress, arg);
    bool ok = buffers_make(verify, err) &&
              verify_side_open(&verify->source, SIDE_SOURCE, config, err) &&
              verify_side_open(&verify->destination, SIDE_DESTINATION, config, err) &&
              scan_source(verify, err) && scan_destination(verify, err) && rounds(verify, err);
    if (ok) {
        report_suspects(verify);
        ok = verify_progress(verify, true, err);
    }
    *result = verify->result;
    verify_deinit(verify);
    mem_free(MEM_ENGINE, verify);
    return ok;
}
