#include <stdio.h>
#include <string.h>
#include <xxhash.h>

#include "core/engine/resume_private.h"

/* How long connections of an earlier run may take to disappear after they were killed: the server
 * closes them at its next turn, unless a script keeps it busy. */
#define FENCE_MS 10000
#define FENCE_PAUSE_MS 20

struct settle {
    struct resume *resume;
    const struct config *config;
    const struct topology *source;
    const struct topology *destination;
    const struct route *route;
    struct position_plan *plan;
    uint64_t *refusals; /* by shard of the destination */
    struct resume_links links;
    struct select_name name; /* of a key at the source */
};

static uint32_t lane_shard(const struct settle *settle, uint32_t lane)
{
    return lane / (settle->route->lane_count / settle->route->shard_count);
}

static struct resume_link *lane_link(struct settle *settle, uint32_t lane)
{
    return &settle->links.shards[lane_shard(settle, lane)];
}

/* ---- fields ---- */

static bool set_field(struct resume_link *link,
                      const char *key,
                      const char *replid,
                      const char *suffix,
                      const char *value,
                      struct syn_err *err)
{
    char field[POSITION_REPLID_SIZE + 16];
    int size = snprintf(field, sizeof(field), "%.40s%s", replid, suffix);
    const char *argv[] = {"HSET", key, field, value};
    const size_t sizes[] = {4, strlen(key), (size_t)size, strlen(value)};
    return resume_command(link, 4, argv, sizes, "HSET of a position", err);
}

/* Without the owner where it is the present one's. */
static bool delete_fields(struct settle *settle,
                          const struct resume_record *record,
                          bool with_owner,
                          struct syn_err *err)
{
    char lane_field[POSITION_REPLID_SIZE + 16];
    char owner_field[POSITION_REPLID_SIZE + 16];
    int lane_size = snprintf(lane_field, sizeof(lane_field), "%s:lane", record->replid);
    int owner_size = snprintf(owner_field, sizeof(owner_field), "%s:owner", record->replid);
    const char *argv[] = {"HDEL", record->key, record->replid, lane_field, owner_field};
    const size_t sizes[] = {
        4, strlen(record->key), POSITION_REPLID_SIZE, (size_t)lane_size, (size_t)owner_size};
    return resume_command(&settle->links.shards[record->shard],
                          with_owner ? 5 : 4,
                          argv,
                          sizes,
                          "HDEL of a position",
                          err);
}

/* ---- fencing ---- */

/* The connections of a run among a CLIENT LIST; each is killed. */
static bool kill_listed(struct control *control,
                        const char *list,
                        const char *name,
                        uint32_t *found,
                        struct syn_err *err)
{
    size_t name_size = strlen(name);
    *found = 0;
    for (const char *line = list; line != NULL && *line != '\0';) {
        const char *end = strchr(line, '\n');
        const char *at = strstr(line, " name=");
        bool is_theirs = at != NULL && (end == NULL || at < end) &&
                         strncmp(at + 6, name, name_size) == 0 && at[6 + name_size] == ' ';
        if (is_theirs && strncmp(line, "id=", 3) == 0) {
            char id[24];
            size_t digits = strspn(line + 3, "0123456789");
            snprintf(id, sizeof(id), "%.*s", (int)(digits < 20 ? digits : 20), line + 3);
            const char *argv[] = {"CLIENT", "KILL", "ID", id};
            const size_t sizes[] = {6, 4, 2, strlen(id)};
            redisReply *reply = control_call(control, 4, argv, sizes, err);
            if (reply == NULL) {
                return false;
            }
            freeReplyObject(reply);
            (*found)++;
        }
        line = end == NULL ? NULL : end + 1;
    }
    return true;
}

static bool fence_shard(struct control *control, const char *owner, struct syn_err *err)
{
    char name[64];
    snprintf(name, sizeof(name), "syncline-%s", owner);
    uint64_t deadline_ms = clock_monotonic_ms() + FENCE_MS;
    for (;;) {
        redisReply *reply = control_ask(control, err, "CLIENT LIST");
        if (reply == NULL) {
            err_context(
                err,
                "cannot tell whether an earlier run still writes to the destination; grant "
                "client|list and client|kill, or make sure that none does and use --restart");
            return false;
        }
        uint32_t found = 0;
        bool is_done = reply->str == NULL || kill_listed(control, reply->str, name, &found, err);
        freeReplyObject(reply);
        if (!is_done || found == 0) {
            return is_done;
        }
        if (clock_monotonic_ms() >= deadline_ms) {
            char text[ENDPOINT_TEXT_MAX];
            return ERR(err,
                       SYN_CODE_DESTINATION_STATE,
                       "destination %s: %u connections of an earlier run do not go away (%s in "
                       "CLIENT LIST); end that run first",
                       endpoint_text(&control->endpoint, text),
                       found,
                       name);
        }
        clock_sleep_ms(FENCE_PAUSE_MS);
    }
}

/* A master without slots may be importing some, so that an earlier run writes there as well. */
static bool fence_idle(struct settle *settle, const char *owner, struct syn_err *err)
{
    const struct topology *destination = settle->destination;
    for (uint32_t i = 0; i < destination->idle_count; i++) {
        struct control control = {0};
        struct syn_err reason;
        if (!control_open(&control,
                          &destination->idle[i],
                          SIDE_DESTINATION,
                          (int)settle->config->connect_timeout_ms,
                          &reason)) {
            log_warning("node without slots left out: %s", reason.msg);
            continue;
        }
        bool is_done = fence_shard(&control, owner, err);
        control_close(&control);
        if (!is_done) {
            return false;
        }
    }
    return true;
}

/* Under which id the source's history goes on now; versions before 4.0 have only one of the run. */
static const char *present_replid(const struct settle *settle, uint32_t stream)
{
    const struct server *server = &settle->source->shards[stream].server;
    return server->replid[0] != '\0' ? server->replid : server->run_id;
}

static bool lanes_own(struct settle *settle, const char *owner, struct syn_err *err)
{
    for (uint32_t i = 0; i < settle->source->shard_count; i++) {
        const char *replid = present_replid(settle, i);
        for (uint32_t lane = 0; lane < settle->plan->lane_count; lane++) {
            const char *key = settle->plan->lanes[lane].key;
            if (!set_field(lane_link(settle, lane), key, replid, ":owner", owner, err)) {
                return false;
            }
        }
    }
    return true;
}

/* The fields' owner from now on, in the old layout's hashes and in the new one's. */
static bool take_ownership(struct settle *settle, struct syn_err *err)
{
    const struct resume *resume = settle->resume;
    for (uint32_t i = 0; i < resume->record_count; i++) {
        const struct resume_record *record = &resume->records[i];
        struct resume_link *link = &settle->links.shards[record->shard];
        if (!set_field(link, record->key, record->replid, ":owner", settle->plan->claim, err)) {
            return false;
        }
    }
    return lanes_own(settle, settle->plan->claim, err);
}

static bool check_owner(const struct settle *settle, const char *previous, struct syn_err *err)
{
    const struct resume *resume = settle->resume;
    for (uint32_t i = 0; i < resume->record_count; i++) {
        const struct resume_record *record = &resume->records[i];
        bool is_expected =
            strcmp(record->owner, previous) == 0 || strcmp(record->owner, resume->replaced) == 0;
        if (record->has_owner && previous[0] != '\0' && !is_expected) {
            return ERR(err,
                       SYN_CODE_PRECHECK,
                       "another run (%s) has taken over the copy from source %u; this one ends",
                       record->owner,
                       record->stream);
        }
        if (record->has_owner && record->has_value && record->rules != resume->rules) {
            return ERR(err,
                       SYN_CODE_PRECHECK,
                       "the run that would be continued copied other databases or by other rules "
                       "(db, db-map, include-…, exclude-…, rename-prefix): give the same options "
                       "as then, or --restart for a new full copy");
        }
    }
    return true;
}

/* Before this run writes itself down. */
static void note_begun(struct resume *resume, const char *instance)
{
    for (uint32_t i = 0; i < resume->record_count; i++) {
        const struct resume_record *record = &resume->records[i];
        if (record->has_owner && strcmp(record->owner, instance) != 0) {
            memcpy(resume->replaced, record->owner, sizeof(resume->replaced));
        }
    }
    for (uint32_t i = 0; i < resume->stream_count; i++) {
        struct resume_stream *stream = &resume->streams[i];
        stream->was_begun = stream->has_owner || stream->has_position;
    }
}

static bool fence(struct settle *settle, const char *previous, bool is_restart, struct syn_err *err)
{
    struct resume *resume = settle->resume;
    if (!is_restart && !check_owner(settle, previous, err)) {
        return false;
    }
    note_begun(resume, settle->plan->instance);
    if (!take_ownership(settle, err)) {
        return false;
    }
    for (uint32_t i = 0; i < resume->record_count; i++) {
        const struct resume_record *record = &resume->records[i];
        bool is_said = false; /* one connection list per owner is enough */
        for (uint32_t k = 0; k < i && !is_said; k++) {
            is_said = strcmp(resume->records[k].owner, record->owner) == 0;
        }
        if (!is_said && record->has_owner && !fence_idle(settle, record->owner, err)) {
            return false;
        }
        for (uint32_t s = 0; !is_said && record->has_owner && s < settle->links.count; s++) {
            if (!fence_shard(&settle->links.shards[s].control, record->owner, err)) {
                return false;
            }
        }
    }
    return true;
}

/* ---- refusals ---- */

/* Errors that keep an operation from running and let a later one pass, by their INFO names. MOVED
 * is not one of them: a cluster's clients cause it all the time. Whether slots have changed their
 * owners, the epoch of the cluster tells. */
static const char *const refusal_names[] = {"ASK",
                                            "TRYAGAIN",
                                            "CLUSTERDOWN",
                                            "OOM",
                                            "READONLY",
                                            "MISCONF",
                                            "NOREPLICAS",
                                            "MASTERDOWN",
                                            "LOADING",
                                            "BUSY"};

static bool epoch_read(struct control *control, char epoch[64], struct syn_err *err)
{
    redisReply *reply = control_ask(control, err, "CLUSTER INFO");
    if (reply == NULL) {
        return false;
    }
    epoch[0] = '\0';
    if (reply->type == REDIS_REPLY_STRING) {
        info_field(reply->str, "cluster_current_epoch", epoch, 64);
    }
    freeReplyObject(reply);
    return true;
}

/* A number for what the server has refused since it began; 0: it does not tell. */
static bool
refusals_read(struct control *control, bool is_cluster, uint64_t *refusals, struct syn_err *err)
{
    char epoch[64] = "";
    if (is_cluster && !epoch_read(control, epoch, err)) {
        return false;
    }
    redisReply *reply = control_ask(control, err, "INFO");
    if (reply == NULL) {
        return false;
    }
    *refusals = 0;
    char value[64];
    const char *info = reply->type == REDIS_REPLY_STRING ? reply->str : "";
    if (strstr(info, "# Errorstats") != NULL && info_field(info, "run_id", value, sizeof(value))) {
        uint64_t number = XXH3_64bits(value, strlen(value));
        number = XXH3_64bits_withSeed(epoch, strlen(epoch), number);
        for (size_t i = 0; i < sizeof(refusal_names) / sizeof(refusal_names[0]); i++) {
            char name[32];
            snprintf(name, sizeof(name), "errorstat_%s", refusal_names[i]);
            bool has_any = info_field(info, name, value, sizeof(value));
            number = XXH3_64bits_withSeed(value, has_any ? strlen(value) : 0, number + i);
        }
        *refusals = number == 0 ? 1 : number;
    }
    freeReplyObject(reply);
    return true;
}

static bool refusals_read_all(struct settle *settle, struct syn_err *err)
{
    for (uint32_t i = 0; i < settle->links.count; i++) {
        if (!refusals_read(&settle->links.shards[i].control,
                           settle->destination->is_cluster,
                           &settle->refusals[i],
                           err)) {
            return false;
        }
    }
    return true;
}

/* Whether the server that the record was written at has refused nothing since its run began. The
 * record may have moved from it with a slot. */
static bool is_believed(const struct settle *settle, const struct position_value *value)
{
    if (!value->has_acked) {
        return true; /* of a version that wrote no more */
    }
    if (value->refusals == 0) {
        return value->gap == 0;
    }
    for (uint32_t i = 0; i < settle->links.count; i++) {
        if (settle->refusals[i] == value->refusals) {
            return true;
        }
    }
    return false;
}

/* Where a record is not believed, what was acknowledged is the most that counts, by the latest that
 * was written down. */
static void acked_note(struct settle *settle, uint32_t index)
{
    const struct resume *resume = settle->resume;
    struct resume_stream *stream = &resume->streams[index];
    const struct position_value *latest = NULL;
    bool is_doubted = false;
    for (uint32_t i = 0; i < resume->record_count; i++) {
        const struct resume_record *record = &resume->records[i];
        if (record->stream != index || !record->has_value) {
            continue;
        }
        is_doubted = is_doubted || !is_believed(settle, &record->value);
        if (record->value.has_acked && (latest == NULL || record->value.acked > latest->acked)) {
            latest = &record->value;
        }
    }
    is_doubted = latest != NULL && (is_doubted || stream->has_acked);
    if (is_doubted && (!stream->has_acked || stream->acked < latest->acked)) {
        stream->has_acked = true;
        stream->acked = latest->acked;
        stream->acked_db = latest->acked_db;
    }
}

/* ---- layout ---- */

/* Which record speaks for each slot of a stream: the one that is furthest. */
struct claims {
    uint16_t record[SLOT_COUNT]; /* index + 1; 0: none */
    bool is_needed[SLOT_COUNT];  /* the stream has keys there */
};

static void claims_needed(struct claims *claims, const struct settle *settle, uint32_t stream)
{
    const struct shard *shard = &settle->source->shards[stream];
    const struct select *select = config_select(settle->config);
    /* Under new names keys may be in any slot of the destination. */
    bool is_anywhere = !settle->source->is_cluster || (select != NULL && select->has_renames);
    memset(claims->is_needed, is_anywhere, sizeof(claims->is_needed));
    for (uint32_t r = 0; !is_anywhere && r < shard->range_count; r++) {
        for (uint32_t slot = shard->ranges[r].first; slot <= shard->ranges[r].last; slot++) {
            claims->is_needed[slot] = true;
        }
    }
}

static bool claims_make(struct claims *claims,
                        const struct settle *settle,
                        uint32_t stream,
                        struct syn_err *err)
{
    const struct resume *resume = settle->resume;
    uint8_t bitmap[SLOT_COUNT / 8];
    memset(claims->record, 0, sizeof(claims->record));
    claims_needed(claims, settle, stream);
    for (uint32_t i = 0; i < resume->record_count && i < UINT16_MAX; i++) {
        const struct resume_record *record = &resume->records[i];
        if (record->stream != stream || !record->has_value || record->slots == NULL) {
            continue;
        }
        if (!position_slots_read(record->slots, strlen(record->slots), bitmap)) {
            return ERR(err,
                       SYN_CODE_DESTINATION_STATE,
                       "the destination's hash %s is not one that this version writes; use "
                       "--restart for a new full copy",
                       record->key);
        }
        for (uint32_t slot = 0; slot < SLOT_COUNT; slot++) {
            uint16_t other = claims->record[slot];
            if ((bitmap[slot / 8] >> slot % 8 & 1) != 0 &&
                (other == 0 || resume->records[other - 1].value.offset < record->value.offset)) {
                claims->record[slot] = (uint16_t)(i + 1);
            }
        }
    }
    return true;
}

static bool claims_are_complete(const struct claims *claims)
{
    for (uint32_t slot = 0; slot < SLOT_COUNT; slot++) {
        if (claims->is_needed[slot] && claims->record[slot] == 0) {
            return false;
        }
    }
    return true;
}

/* The lane's place from the claims on its slots. *is_written: its hash says exactly this already.
 */
static struct resume_lane lane_place(const struct settle *settle,
                                     const struct claims *claims,
                                     const struct resume_stream *stream,
                                     uint32_t lane,
                                     bool *is_written)
{
    const struct route *route = settle->route;
    const struct position_lane *names = &settle->plan->lanes[lane];
    struct resume_lane place = {.floor = UINT64_MAX};
    uint64_t highest = 0;
    bool is_exact = true;
    bool is_same = true; /* the lane had the same slots */
    *is_written = true;
    uint32_t reach = 0;
    for (uint32_t slot = 0; slot < SLOT_COUNT; slot++) {
        if (!claims->is_needed[slot] || (!route->has_one_lane && route->slot_lane[slot] != lane)) {
            continue;
        }
        const struct resume_record *record = &settle->resume->records[claims->record[slot] - 1];
        const struct position_value *value = &record->value;
        place.floor = value->offset < place.floor ? value->offset : place.floor;
        highest = value->offset > highest ? value->offset : highest;
        is_exact = is_exact && value->gap == 0 && value->until <= value->offset;
        is_same = is_same && strcmp(record->key, names->key) == 0 &&
                  strcmp(record->slots, names->slots) == 0;
        *is_written = *is_written && is_same && strcmp(record->replid, stream->replid) == 0;
        place.gap = value->gap;
        place.until = value->until;
        reach = value->reach;
    }
    if (place.floor == UINT64_MAX) {
        /* None of the stream's keys can be here. */
        *is_written = false;
        return (struct resume_lane){.floor = stream->offset};
    }
    if (stream->has_acked) {
        place.floor = place.floor < stream->acked ? place.floor : stream->acked;
        *is_written = false;
        if (settle->plan->mode == POSITION_GROUP && is_same && is_exact) {
            /* Every group that was executed has its position: nothing is behind the last. */
            place.until = highest > place.floor ? highest : 0;
            return place;
        }
        if (is_same && reach > 0 && place.until <= highest && place.gap <= POSITION_GAP) {
            /* What was sent behind the last position is no more than was ever on its way; but for
             * a recovery, in which operations that are left out lie between. */
            place.until = highest;
            place.gap = reach + POSITION_GAP;
            return place;
        }
        is_same = false;
        is_exact = false;
    }
    if (!is_same) {
        place.gap = 0;
        place.until = is_exact && highest == place.floor ? 0 : stream->offset_source;
    }
    return place;
}

/* The slots with the value they are true for, in one command. */
static bool claim_write(struct resume_link *link,
                        const char *key,
                        const char *replid,
                        const struct position_value *value,
                        const char *slots,
                        struct syn_err *err)
{
    char text[POSITION_VALUE_MAX + 1];
    text[position_value_write(text, value)] = '\0';
    char lane_field[POSITION_REPLID_SIZE + 16];
    int size = snprintf(lane_field, sizeof(lane_field), "%.40s:lane", replid);
    const char *argv[] = {"HSET", key, replid, text, lane_field, slots};
    const size_t sizes[] = {
        4, strlen(key), POSITION_REPLID_SIZE, strlen(text), (size_t)size, strlen(slots)};
    return resume_command(link, 6, argv, sizes, "HSET of a position", err);
}

static bool lane_write(struct settle *settle,
                       const struct resume_stream *stream,
                       uint32_t lane,
                       uint32_t db,
                       struct syn_err *err)
{
    const struct position_lane *names = &settle->plan->lanes[lane];
    const struct resume_lane *place = &stream->lanes[lane];
    /* The stream goes on behind what is there on every lane. */
    const struct position_value value = {.offset = place->floor,
                                         .db = db,
                                         .gap = place->gap,
                                         .until = place->until,
                                         .has_acked = true,
                                         .acked = stream->offset,
                                         .acked_db = stream->db,
                                         .refusals = settle->refusals[lane_shard(settle, lane)],
                                         .reach = settle->plan->reach};
    return claim_write(
        lane_link(settle, lane), names->key, stream->replid, &value, names->slots, err);
}

static bool is_lane_key(const struct settle *settle, const struct resume_record *record)
{
    for (uint32_t lane = 0; lane < settle->plan->lane_count; lane++) {
        if (lane_shard(settle, lane) == record->shard &&
            strcmp(settle->plan->lanes[lane].key, record->key) == 0) {
            return true;
        }
    }
    return false;
}

/* ---- claims that are written over ---- */

/* The last hash of a shard that neither layout has. */
static bool spare_key(const struct settle *settle, uint32_t shard, char key[POSITION_NAME_MAX])
{
    const struct resume *resume = settle->resume;
    for (uint32_t slot = SLOT_COUNT; slot-- > 0;) {
        struct position_lane names;
        if (settle->destination->slot_shard[slot] != shard) {
            continue;
        }
        position_lane_name(&names, (uint16_t)slot);
        bool is_free = true;
        for (uint32_t i = 0; is_free && i < resume->record_count; i++) {
            is_free = strcmp(resume->records[i].key, names.key) != 0;
        }
        for (uint32_t lane = 0; is_free && lane < settle->plan->lane_count; lane++) {
            is_free = strcmp(settle->plan->lanes[lane].key, names.key) != 0;
        }
        if (is_free) {
            memcpy(key, names.key, POSITION_NAME_MAX);
            return true;
        }
    }
    return false;
}

/* Whether a lane of the new layout, which has other slots, takes the hash of this record. */
static bool is_written_over(const struct settle *settle, const struct resume_record *record)
{
    for (uint32_t lane = 0; lane < settle->plan->lane_count; lane++) {
        const struct position_lane *names = &settle->plan->lanes[lane];
        if (lane_shard(settle, lane) == record->shard && strcmp(names->key, record->key) == 0) {
            return strcmp(names->slots, record->slots) != 0;
        }
    }
    return false;
}

static bool record_keep(struct settle *settle, uint32_t i, const char *key, struct syn_err *err)
{
    const struct resume_record old = settle->resume->records[i];
    struct resume_record *kept =
        resume_record(settle->resume, old.stream, old.shard, key, old.replid, err);
    if (kept == NULL) {
        return false;
    }
    kept->slots = mem_alloc(MEM_ENGINE, strlen(old.slots) + 1);
    if (kept->slots == NULL) {
        return ERR(err, SYN_CODE_MEMORY, "out of memory for positions");
    }
    memcpy(kept->slots, old.slots, strlen(old.slots) + 1);
    kept->value = old.value;
    kept->has_value = true;
    return claim_write(
        &settle->links.shards[old.shard], key, old.replid, &old.value, old.slots, err);
}

/* The first lanes that are written would take slots from claims before others, that are not yet,
 * have them: what the old ones say is written elsewhere before, as a part of the old layout. */
static bool claims_keep(struct settle *settle, uint32_t index, struct syn_err *err)
{
    const struct resume *resume = settle->resume;
    uint32_t count = settle->destination->is_cluster ? resume->record_count : 0;
    for (uint32_t i = 0; i < count; i++) {
        const struct resume_record *record = &resume->records[i];
        char key[POSITION_NAME_MAX];
        if (record->stream == index && record->has_value && record->slots != NULL &&
            strcmp(record->replid, resume->streams[index].replid) == 0 &&
            is_written_over(settle, record) && spare_key(settle, record->shard, key) &&
            !record_keep(settle, i, key, err)) {
            return false;
        }
    }
    return true;
}

/* Claims of the old layout that the new one replaces. */
static bool old_layout_remove(struct settle *settle, uint32_t index, struct syn_err *err)
{
    const struct resume *resume = settle->resume;
    const struct resume_stream *stream = &resume->streams[index];
    for (uint32_t i = 0; i < resume->record_count; i++) {
        const struct resume_record *record = &resume->records[i];
        bool is_ours = record->stream == index;
        bool is_present = stream->is_resumed && is_lane_key(settle, record) &&
                          strcmp(record->replid, stream->replid) == 0;
        bool with_owner = !is_lane_key(settle, record) ||
                          strcmp(record->replid, present_replid(settle, index)) != 0;
        if (is_ours && !is_present && !delete_fields(settle, record, with_owner, err)) {
            return false;
        }
        char dirty[POSITION_NAME_MAX];
        resume_dirty_key(record->key, dirty);
        const char *argv[] = {"DEL", dirty};
        const size_t sizes[] = {3, strlen(dirty)};
        bool has_names = stream->is_resumed && is_lane_key(settle, record);
        if (is_ours && !has_names &&
            !resume_command(&settle->links.shards[record->shard], 2, argv, sizes, "DEL", err)) {
            return false;
        }
    }
    return true;
}

/* ---- dirty keys ---- */

static bool key_add(struct resume_stream *stream, const redisReply *name, struct syn_err *err)
{
    const char *colon = name->str == NULL ? NULL : memchr(name->str, ':', name->len);
    uint64_t db;
    if (colon == NULL || !num_read_u64(name->str, (size_t)(colon - name->str), &db)) {
        return true;
    }
    if (stream->key_count == stream->key_capacity) {
        uint32_t capacity = stream->key_capacity == 0 ? 16 : stream->key_capacity * 2;
        struct resume_key *keys = mem_realloc(MEM_ENGINE, stream->keys, capacity * sizeof(*keys));
        if (keys == NULL) {
            return ERR(err, SYN_CODE_MEMORY, "out of memory for keys that need repair");
        }
        stream->keys = keys;
        stream->key_capacity = capacity;
    }
    size_t size = name->len - (size_t)(colon + 1 - name->str);
    uint8_t *copy = mem_alloc(MEM_ENGINE, size + 1);
    if (copy == NULL) {
        return ERR(err, SYN_CODE_MEMORY, "out of memory for keys that need repair");
    }
    memcpy(copy, colon + 1, size);
    stream->keys[stream->key_count++] =
        (struct resume_key){.db = (uint32_t)db, .size = size, .name = copy};
    return true;
}

#define STREAM_NONE UINT32_MAX

/* The stream to which a key belongs: with several, the source's slots decide, of the name that it
 * has there. STREAM_NONE: no key that is copied has this name. */
static bool
key_stream(struct settle *settle, const redisReply *name, uint32_t *stream, struct syn_err *err)
{
    const char *colon = memchr(name->str, ':', name->len);
    *stream = 0;
    if (colon == NULL) {
        return true;
    }
    const struct slice there = {(const uint8_t *)colon + 1,
                                name->len - (size_t)(colon + 1 - name->str)};
    bool is_selected;
    if (!select_to_source(config_select(settle->config), there, &settle->name, &is_selected, err)) {
        return false;
    }
    if (!is_selected) {
        *stream = STREAM_NONE;
    } else if (settle->source->is_cluster) {
        uint16_t slot = slot_of_key(settle->name.bytes, settle->name.size);
        *stream = settle->source->slot_shard[slot];
    }
    return true;
}

static bool
dirty_read(struct settle *settle, const struct resume_record *record, struct syn_err *err)
{
    char dirty[POSITION_NAME_MAX];
    resume_dirty_key(record->key, dirty);
    const char *argv[] = {"SMEMBERS", dirty};
    const size_t sizes[] = {8, strlen(dirty)};
    struct resume_link *link = &settle->links.shards[record->shard];
    redisReply *reply = resume_call(link, 2, argv, sizes, err);
    if (reply == NULL) {
        return false;
    }
    bool is_done = resume_is_read(&link->control, reply, "SMEMBERS of keys that need repair", err);
    for (size_t i = 0; reply->type == REDIS_REPLY_ARRAY && is_done && i < reply->elements; i++) {
        const redisReply *name = reply->element[i];
        uint32_t stream;
        if (name->type != REDIS_REPLY_STRING) {
            continue;
        }
        is_done = key_stream(settle, name, &stream, err);
        if (is_done && stream == record->stream) {
            is_done = key_add(&settle->resume->streams[record->stream], name, err);
        }
    }
    freeReplyObject(reply);
    return is_done;
}

/* The names move to the hashes of the present layout, so that another crash finds them there. */
static bool dirty_move(struct settle *settle, uint32_t index, struct syn_err *err)
{
    const struct resume_stream *stream = &settle->resume->streams[index];
    for (uint32_t i = 0; i < stream->key_count; i++) {
        const struct resume_key *key = &stream->keys[i];
        uint32_t lane = route_lane(settle->route, route_slot(settle->route, key->name, key->size));
        char *name = mem_alloc(MEM_ENGINE, key->size + 16);
        if (name == NULL) {
            return ERR(err, SYN_CODE_MEMORY, "out of memory for keys that need repair");
        }
        size_t size = num_write_u64(name, key->db);
        name[size++] = ':';
        memcpy(name + size, key->name, key->size);
        const char *dirty = settle->plan->lanes[lane].dirty_key;
        const char *argv[] = {"SADD", dirty, name};
        const size_t sizes[] = {4, strlen(dirty), size + key->size};
        bool is_done =
            resume_command(lane_link(settle, lane), 3, argv, sizes, "SADD of a key", err);
        mem_free(MEM_ENGINE, name);
        if (!is_done) {
            return false;
        }
    }
    return true;
}

/* ---- one stream ---- */

static bool source_offset_read(struct settle *settle, uint32_t index, struct syn_err *err)
{
    struct control control = {0};
    struct server server;
    if (!control_open(&control,
                      &settle->source->shards[index].server.endpoint,
                      SIDE_SOURCE,
                      (int)settle->config->connect_timeout_ms,
                      err)) {
        return false;
    }
    bool is_read = server_read(&control, &server, err);
    control_close(&control);
    settle->resume->streams[index].offset_source = is_read ? server.offset : 0;
    return is_read;
}

/* Fills the lanes, and writes those that changed. */
static bool stream_layout(struct settle *settle,
                          uint32_t index,
                          const struct claims *claims,
                          struct syn_err *err)
{
    struct resume_stream *stream = &settle->resume->streams[index];
    const struct resume_record *lowest = NULL;
    for (uint32_t slot = 0; slot < SLOT_COUNT; slot++) {
        if (claims->is_needed[slot]) {
            const struct resume_record *record = &settle->resume->records[claims->record[slot] - 1];
            if (lowest == NULL || record->value.offset < lowest->value.offset) {
                lowest = record;
            }
        }
    }
    stream->lanes = mem_calloc(MEM_ENGINE, settle->plan->lane_count * sizeof(struct resume_lane));
    if (stream->lanes == NULL) {
        return ERR(err, SYN_CODE_MEMORY, "out of memory for positions");
    }
    if (lowest == NULL) {
        return true; /* a shard without slots has nothing to continue */
    }
    memcpy(stream->replid, lowest->replid, sizeof(stream->replid));
    stream->offset = lowest->value.offset;
    stream->db = lowest->value.db;
    if (stream->has_acked && stream->acked < stream->offset) {
        stream->offset = stream->acked;
        stream->db = stream->acked_db;
    }
    stream->is_resumed = true;
    if (!claims_keep(settle, index, err)) {
        return false;
    }
    for (uint32_t lane = 0; lane < settle->plan->lane_count; lane++) {
        bool is_written;
        stream->lanes[lane] = lane_place(settle, claims, stream, lane, &is_written);
        if (!is_written && !lane_write(settle, stream, lane, stream->db, err)) {
            return false;
        }
    }
    return true;
}

static bool
stream_settle(struct settle *settle, uint32_t index, bool is_restart, struct syn_err *err)
{
    struct resume *resume = settle->resume;
    struct claims *claims = mem_alloc(MEM_ENGINE, sizeof(*claims));
    if (claims == NULL) {
        return ERR(err, SYN_CODE_MEMORY, "out of memory for positions");
    }
    acked_note(settle, index);
    bool is_done =
        source_offset_read(settle, index, err) && claims_make(claims, settle, index, err);
    bool is_complete = is_done && !is_restart && claims_are_complete(claims);
    for (uint32_t i = 0; is_complete && is_done && i < resume->record_count; i++) {
        if (resume->records[i].stream == index) {
            is_done = dirty_read(settle, &resume->records[i], err);
        }
    }
    if (is_complete && is_done) {
        is_done = dirty_move(settle, index, err) && stream_layout(settle, index, claims, err);
    }
    mem_free(MEM_ENGINE, claims);
    return is_done && old_layout_remove(settle, index, err);
}

bool resume_settle(struct resume *resume,
                   const struct config *config,
                   const struct topology *source,
                   const struct topology *destination,
                   const struct route *route,
                   struct position_plan *plan,
                   const char *previous,
                   bool is_restart,
                   struct syn_err *err)
{
    struct settle settle = {.resume = resume,
                            .config = config,
                            .source = source,
                            .destination = destination,
                            .route = route,
                            .plan = plan};
    settle.refusals = mem_calloc(MEM_ENGINE, destination->shard_count * sizeof(uint64_t));
    if (settle.refusals == NULL) {
        return ERR(err, SYN_CODE_MEMORY, "out of memory for positions");
    }
    /* Read twice: owners before they are fenced, positions after. */
    bool is_done = resume_links_open(&settle.links, config, destination, err) &&
                   resume_read(resume, source, destination, &settle.links, err) &&
                   fence(&settle, previous, is_restart, err) && refusals_read_all(&settle, err) &&
                   resume_read(resume, source, destination, &settle.links, err);
    for (uint32_t i = 0; is_done && i < source->shard_count; i++) {
        is_done = stream_settle(&settle, i, is_restart, err);
    }
    for (uint32_t lane = 0; is_done && lane < plan->lane_count; lane++) {
        plan->lanes[lane].refusals = settle.refusals[lane_shard(&settle, lane)];
    }
    is_done = is_done && lanes_own(&settle, plan->owner, err);
    mem_free(MEM_ENGINE, settle.refusals);
    select_name_deinit(&settle.name);
    resume_links_close(&settle.links);
    return is_done;
}
