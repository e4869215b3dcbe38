#include "core/engine/resume_private.h"

#include <stdio.h>
#include <string.h>
#include <xxhash.h>

uint32_t resume_db(const struct config *config)
{
    uint32_t lowest = UINT32_MAX;
    for (uint32_t n = 0; config->has_db_rules && n < CONFIG_DB_MAX; n++) {
        if (config->db_map[n] != CONFIG_DB_NONE && config->db_map[n] < lowest) {
            lowest = config->db_map[n];
        }
    }
    return lowest == UINT32_MAX ? 0 : lowest;
}

/* One rule of selection, wherever it stands in its list. */
static uint64_t rule_number(const struct select *select, const struct select_rule *rule)
{
    uint64_t seed = XXH3_64bits_withSeed(select->text + rule->text, rule->size, rule->list + 1u);
    return XXH3_64bits_withSeed(select->text + rule->to, rule->to_size, seed);
}

/* What must be the same for a stream to be continued: which databases go where, and which keys,
 * types and commands under which names. */
static uint64_t rules_of(const struct config *config)
{
    uint64_t rules = config->has_db_rules ? XXH3_64bits(config->db_map, sizeof(config->db_map)) : 0;
    const struct select *select = config_select(config);
    for (uint16_t i = 0; select != NULL && i < select->rule_count; i++) {
        rules += rule_number(select, &select->rules[i]);
    }
    return rules;
}

/* ---- connections ---- */

redisReply *resume_call(
    struct resume_link *link, int argc, const char **argv, const size_t *sizes, struct syn_err *err)
{
    return redirect_call(link->redirect, &link->control, argc, argv, sizes, err);
}

bool resume_command(struct resume_link *link,
                    int argc,
                    const char **argv,
                    const size_t *sizes,
                    const char *what,
                    struct syn_err *err)
{
    redisReply *reply = resume_call(link, argc, argv, sizes, err);
    if (reply == NULL) {
        return false;
    }
    bool is_good =
        reply->type != REDIS_REPLY_ERROR || control_reply_error(&link->control, reply, what, err);
    freeReplyObject(reply);
    return is_good;
}

bool resume_links_open(struct resume_links *links,
                       const struct config *config,
                       const struct topology *destination,
                       struct syn_err *err)
{
    links->count = destination->shard_count;
    links->redirect = (struct redirect){.timeout_ms = (int)config->connect_timeout_ms};
    links->shards = mem_calloc(MEM_ENGINE, links->count * sizeof(struct resume_link));
    if (links->shards == NULL) {
        return ERR(err, SYN_CODE_MEMORY, "out of memory for connections");
    }
    for (uint32_t i = 0; i < links->count; i++) {
        struct resume_link *link = &links->shards[i];
        link->redirect = &links->redirect;
        if (!control_open(&link->control,
                          &destination->shards[i].server.endpoint,
                          SIDE_DESTINATION,
                          (int)config->connect_timeout_ms,
                          err)) {
            return false;
        }
        char db[16];
        snprintf(db, sizeof(db), "%u", resume_db(config));
        const char *argv[] = {"SELECT", db};
        const size_t sizes[] = {6, strlen(db)};
        if (!destination->is_cluster && !resume_command(link, 2, argv, sizes, "SELECT", err)) {
            return false;
        }
    }
    return true;
}

void resume_links_close(struct resume_links *links)
{
    for (uint32_t i = 0; links->shards != NULL && i < links->count; i++) {
        control_close(&links->shards[i].control);
    }
    redirect_close(&links->redirect);
    mem_free(MEM_ENGINE, links->shards);
    *links = (struct resume_links){0};
}

/* ---- records ---- */

static void records_clear(struct resume *resume)
{
    for (uint32_t i = 0; i < resume->record_count; i++) {
        mem_free(MEM_ENGINE, resume->records[i].slots);
    }
    resume->record_count = 0;
    for (uint32_t i = 0; i < resume->stream_count; i++) {
        resume->streams[i].has_owner = false;
        resume->streams[i].has_position = false;
    }
}

void resume_deinit(struct resume *resume)
{
    records_clear(resume);
    for (uint32_t i = 0; i < resume->stream_count; i++) {
        struct resume_stream *stream = &resume->streams[i];
        for (uint32_t k = 0; k < stream->key_count; k++) {
            mem_free(MEM_ENGINE, stream->keys[k].name);
        }
        mem_free(MEM_ENGINE, stream->keys);
        mem_free(MEM_ENGINE, stream->lanes);
    }
    mem_free(MEM_ENGINE, resume->records);
    mem_free(MEM_ENGINE, resume->streams);
    *resume = (struct resume){0};
}

static bool is_history(const struct server *server, const char *replid)
{
    const char *names[] = {server->replid, server->replid2, server->run_id};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (names[i][0] != '\0' && memcmp(names[i], replid, POSITION_REPLID_SIZE) == 0) {
            return true;
        }
    }
    return false;
}

/* The source whose history this is; the count of sources for none of ours. */
static uint32_t stream_of(const struct topology *source, const char *replid)
{
    uint32_t i = 0;
    while (i < source->shard_count && !is_history(&source->shards[i].server, replid)) {
        i++;
    }
    return i;
}

struct resume_record *resume_record(struct resume *resume,
                                    uint32_t stream,
                                    uint32_t shard,
                                    const char *key,
                                    const char *replid,
                                    struct syn_err *err)
{
    for (uint32_t i = 0; i < resume->record_count; i++) {
        struct resume_record *record = &resume->records[i];
        if (record->shard == shard && strcmp(record->key, key) == 0 &&
            memcmp(record->replid, replid, POSITION_REPLID_SIZE) == 0) {
            return record;
        }
    }
    if (resume->record_count == resume->record_capacity) {
        uint32_t capacity = resume->record_capacity == 0 ? 16 : resume->record_capacity * 2;
        struct resume_record *records =
            mem_realloc(MEM_ENGINE, resume->records, capacity * sizeof(*records));
        if (records == NULL) {
            ERR(err, SYN_CODE_MEMORY, "out of memory for positions");
            return NULL;
        }
        resume->records = records;
        resume->record_capacity = capacity;
    }
    struct resume_record *record = &resume->records[resume->record_count++];
    *record = (struct resume_record){.stream = stream, .shard = shard};
    memcpy(record->key, key, strlen(key) + 1);
    memcpy(record->replid, replid, POSITION_REPLID_SIZE);
    return record;
}

/* "<instance> <was_empty> <rules>", and a turn that is only compared */
static void read_owner(struct resume_record *record, const char *text, size_t size)
{
    if (size < POSITION_INSTANCE_SIZE + 4 || text[POSITION_INSTANCE_SIZE] != ' ') {
        return;
    }
    const char *rest = text + POSITION_INSTANCE_SIZE + 3;
    memcpy(record->owner, text, POSITION_INSTANCE_SIZE);
    record->was_empty = text[POSITION_INSTANCE_SIZE + 1] == '1';
    size_t rest_size = size - POSITION_INSTANCE_SIZE - 3;
    const char *end = memchr(rest, ' ', rest_size);
    record->has_owner =
        num_read_u64(rest, end == NULL ? rest_size : (size_t)(end - rest), &record->rules);
}

static bool read_field(struct resume *resume,
                       const struct topology *source,
                       uint32_t shard,
                       const char *key,
                       const redisReply *field,
                       const redisReply *value,
                       struct syn_err *err)
{
    if (field->type != REDIS_REPLY_STRING || value->type != REDIS_REPLY_STRING ||
        field->len < POSITION_REPLID_SIZE) {
        return true;
    }
    uint32_t stream = stream_of(source, field->str);
    if (stream == source->shard_count) {
        return true; /* another task's, or one whose source is gone */
    }
    struct resume_record *record = resume_record(resume, stream, shard, key, field->str, err);
    if (record == NULL) {
        return false;
    }
    const char *suffix = field->str + POSITION_REPLID_SIZE;
    if (*suffix == '\0') {
        record->has_value = position_value_read(value->str, value->len, &record->value);
    } else if (strcmp(suffix, ":owner") == 0) {
        read_owner(record, value->str, value->len);
    } else if (strcmp(suffix, ":lane") == 0) {
        mem_free(MEM_ENGINE, record->slots);
        record->slots = mem_alloc(MEM_ENGINE, value->len + 1);
        if (record->slots == NULL) {
            return ERR(err, SYN_CODE_MEMORY, "out of memory for positions");
        }
        memcpy(record->slots, value->str, value->len + 1);
    }
    return true;
}

bool resume_is_read(const struct control *control,
                    const redisReply *reply,
                    const char *what,
                    struct syn_err *err)
{
    return reply->type != REDIS_REPLY_ERROR || strncmp(reply->str, "WRONGTYPE", 9) == 0 ||
           control_reply_error(control, reply, what, err);
}

static bool read_hash(struct resume *resume,
                      const struct topology *source,
                      uint32_t shard,
                      const char *key,
                      const redisReply *reply,
                      struct syn_err *err)
{
    if (reply->type != REDIS_REPLY_ARRAY) {
        return true; /* a key of that name that is no hash of ours */
    }
    for (size_t i = 0; i + 1 < reply->elements; i += 2) {
        if (!read_field(
                resume, source, shard, key, reply->element[i], reply->element[i + 1], err)) {
            return false;
        }
    }
    return true;
}

/* ---- asking ---- */

/* Candidates are asked for in turns, so that neither side buffers much. */
#define ASK_AT_ONCE 1024
/* Lanes to one standalone server: at most this many, each named after its first slot. */
#define LANES_MAX 64

struct candidates {
    const struct topology *destination;
    uint32_t shard;
    uint32_t next; /* slot + 1; 0: the name without a tag */
};

static bool candidates_next(struct candidates *candidates, char key[POSITION_NAME_MAX])
{
    const struct topology *destination = candidates->destination;
    for (;;) {
        uint32_t at = candidates->next++;
        uint32_t end = destination->is_cluster ? SLOT_COUNT : LANES_MAX;
        struct position_lane lane;
        if (at > end) {
            return false;
        }
        if (at == 0
                ? destination->is_cluster
                : destination->is_cluster && destination->slot_shard[at - 1] != candidates->shard) {
            continue;
        }
        position_lane_name(&lane, at == 0 ? SLOT_NONE : (uint16_t)(at - 1));
        memcpy(key, lane.key, POSITION_NAME_MAX);
        return true;
    }
}

/* What the hash says, from where its slot is going, when that is why it is not here. */
static redisReply *
read_elsewhere(struct resume_link *link, const char *key, redisReply *reply, struct syn_err *err)
{
    const char *argv[] = {"HGETALL", key};
    const size_t sizes[] = {7, strlen(key)};
    return redirect_follow(link->redirect, &link->control.endpoint, 2, argv, sizes, reply, err);
}

static bool read_shard(struct resume *resume,
                       const struct topology *source,
                       const struct topology *destination,
                       uint32_t shard,
                       struct resume_link *link,
                       struct syn_err *err)
{
    struct control *control = &link->control;
    struct candidates candidates = {.destination = destination, .shard = shard};
    for (;;) {
        struct candidates begin = candidates;
        char key[POSITION_NAME_MAX];
        uint32_t count = 0;
        while (count < ASK_AT_ONCE && candidates_next(&candidates, key)) {
            const char *argv[] = {"HGETALL", key};
            const size_t sizes[] = {7, strlen(key)};
            if (!control_append(control, 2, argv, sizes, err)) {
                return false;
            }
            count++;
        }
        if (count == 0) {
            return true;
        }
        bool is_good = true;
        for (uint32_t i = 0; i < count; i++) {
            redisReply *reply = control_fetch(control, err);
            if (reply == NULL) {
                return false;
            }
            bool has_key = candidates_next(&begin, key);
            ASSERT(has_key);
            reply = read_elsewhere(link, key, reply, err);
            if (reply == NULL) {
                return false;
            }
            is_good = is_good && resume_is_read(control, reply, "HGETALL of a position", err) &&
                      read_hash(resume, source, shard, key, reply, err);
            freeReplyObject(reply);
        }
        if (!is_good) {
            return false;
        }
    }
}

bool resume_read(struct resume *resume,
                 const struct topology *source,
                 const struct topology *destination,
                 struct resume_links *links,
                 struct syn_err *err)
{
    records_clear(resume);
    for (uint32_t i = 0; i < links->count; i++) {
        if (!read_shard(resume, source, destination, i, &links->shards[i], err)) {
            return false;
        }
    }
    for (uint32_t i = 0; i < resume->record_count; i++) {
        const struct resume_record *record = &resume->records[i];
        struct resume_stream *stream = &resume->streams[record->stream];
        if (record->has_owner) {
            stream->has_owner = true;
            stream->was_empty = record->was_empty;
        }
        stream->has_position = stream->has_position || record->has_value;
    }
    return true;
}

bool resume_look(struct resume *resume,
                 const struct config *config,
                 const struct topology *source,
                 const struct topology *destination,
                 struct syn_err *err)
{
    *resume = (struct resume){.stream_count = source->shard_count, .rules = rules_of(config)};
    resume->streams = mem_calloc(MEM_ENGINE, source->shard_count * sizeof(struct resume_stream));
    if (resume->streams == NULL) {
        return ERR(err, SYN_CODE_MEMORY, "out of memory for positions");
    }
    bool is_empty = true;
    for (uint32_t i = 0; i < destination->shard_count; i++) {
        is_empty = is_empty && destination->shards[i].server.key_count == 0;
    }
    if (is_empty) {
        return true;
    }
    struct resume_links links = {0};
    bool is_read = resume_links_open(&links, config, destination, err) &&
                   resume_read(resume, source, destination, &links, err);
    resume_links_close(&links);
    return is_read;
}

bool resume_is_ours(const struct resume *resume)
{
    for (uint32_t i = 0; i < resume->stream_count; i++) {
        const struct resume_stream *stream = &resume->streams[i];
        if (!stream->has_position && !(stream->has_owner && stream->was_empty)) {
            return false;
        }
    }
    return resume->stream_count > 0;
}

bool resume_was_empty(const struct resume *resume)
{
    for (uint32_t i = 0; i < resume->stream_count; i++) {
        if (!resume->streams[i].has_owner || !resume->streams[i].was_empty) {
            return false;
        }
    }
    return resume->stream_count > 0;
}

void resume_dirty_key(const char *key, char dirty[POSITION_NAME_MAX])
{
    const char *tag = key + sizeof(POSITION_KEY) - 1;
    snprintf(dirty, POSITION_NAME_MAX, POSITION_DIRTY_KEY "%s", tag);
}

/* ---- the end ---- */

static bool
forget_history(struct resume_link *link, const char *key, const char *replid, struct syn_err *err)
{
    static const char *const suffixes[] = {"", ":lane", ":owner"};
    for (size_t i = 0; i < sizeof(suffixes) / sizeof(suffixes[0]); i++) {
        char field[POSITION_REPLID_SIZE + 16];
        int size = snprintf(field, sizeof(field), "%.40s%s", replid, suffixes[i]);
        const char *argv[] = {"HDEL", key, field};
        const size_t sizes[] = {4, strlen(key), (size_t)size};
        if (!resume_command(link, 3, argv, sizes, "HDEL", err)) {
            return false;
        }
    }
    return true;
}

/* Every history that this run owns in one hash; under which ids a source went on only that tells.
 */
static bool forget_lane(struct resume_link *link,
                        const struct position_lane *lane,
                        const char *instance,
                        struct syn_err *err)
{
    const char *argv[] = {"HGETALL", lane->key};
    redisReply *reply = resume_call(link, 2, argv, (const size_t[]){7, strlen(lane->key)}, err);
    if (reply == NULL) {
        return false;
    }
    bool is_done = true;
    size_t count = reply->type == REDIS_REPLY_ARRAY ? reply->elements : 0;
    for (size_t i = 0; is_done && i + 1 < count; i += 2) {
        const redisReply *field = reply->element[i];
        const redisReply *value = reply->element[i + 1];
        bool is_ours = field->len == POSITION_REPLID_SIZE + 6 &&
                       strcmp(field->str + POSITION_REPLID_SIZE, ":owner") == 0 &&
                       strncmp(value->str, instance, POSITION_INSTANCE_SIZE) == 0;
        is_done = !is_ours || forget_history(link, lane->key, field->str, err);
    }
    freeReplyObject(reply);
    return is_done;
}

bool resume_forget(const struct config *config,
                   const struct topology *destination,
                   const struct position_plan *plan,
                   struct syn_err *err)
{
    struct resume_links links = {0};
    uint32_t lanes_each = plan->lane_count / destination->shard_count;
    bool is_done = resume_links_open(&links, config, destination, err);
    for (uint32_t i = 0; is_done && i < plan->lane_count; i++) {
        is_done = forget_lane(&links.shards[i / lanes_each], &plan->lanes[i], plan->instance, err);
    }
    resume_links_close(&links);
    return is_done;
}
