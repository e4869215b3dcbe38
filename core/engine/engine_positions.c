/*
 * Positions in the engine: the plan for this layout of lanes, who owns it, and where streams go on.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "apply/recovery.h"
#include "apply/redirect.h"
#include "core/engine/engine.h"

/* ---- the plan ---- */

/* A run has a number of its own, so that its connections can be told from those of any other. */
static bool instance_make(char instance[POSITION_INSTANCE_SIZE + 1], struct syn_err *err)
{
    uint64_t number;
    if (getrandom(&number, sizeof(number), 0) != (ssize_t)sizeof(number)) {
        return ERR_SYS(err, SYN_CODE_SYSTEM, errno, "no random number for this run");
    }
    snprintf(instance, POSITION_INSTANCE_SIZE + 1, "%016llx", (unsigned long long)number);
    return true;
}

/* The slots of one lane as text: the shard's ranges, of which a lane among several takes every
 * n-th. */
static char *slots_text(const struct syn_engine *engine, uint32_t lane, struct syn_err *err)
{
    const struct topology *destination = &engine->destination;
    uint32_t lanes_each = engine->lane_count / destination->shard_count;
    const struct shard *shard = &destination->shards[lane / lanes_each];
    static const struct slot_range all = {.first = 0, .last = SLOT_COUNT - 1};
    const struct slot_range *ranges = destination->is_cluster ? shard->ranges : &all;
    uint32_t count = destination->is_cluster ? shard->range_count : 1;
    size_t size = 32 * (size_t)(count + 1);
    char *text = mem_alloc(MEM_ENGINE, size);
    if (text == NULL) {
        ERR(err, SYN_CODE_MEMORY, "out of memory for the slots of a lane");
        return NULL;
    }
    if (engine->route.has_one_lane) {
        snprintf(text, size, "all");
        return text;
    }
    size_t used = 0;
    text[0] = '\0';
    for (uint32_t i = 0; i < count; i++) {
        used += (size_t)snprintf(
            text + used, size - used, "%s%u-%u", i > 0 ? "," : "", ranges[i].first, ranges[i].last);
        if (lanes_each > 1) {
            used += (size_t)snprintf(
                text + used, size - used, "%%%u=%u", lanes_each, lane % lanes_each);
        }
    }
    return text;
}

static uint16_t first_slot(const struct route *route, uint32_t lane)
{
    for (uint32_t slot = 0; slot < SLOT_COUNT; slot++) {
        if (route->slot_lane[slot] == lane) {
            return (uint16_t)slot;
        }
    }
    return SLOT_NONE;
}

bool engine_positions_plan(struct syn_engine *engine, struct syn_err *err)
{
    struct position_plan *plan = &engine->positions;
    if (!engine->config.has_positions) {
        return true;
    }
    plan->mode = engine->route.has_one_lane ? POSITION_GROUP : POSITION_MARK;
    plan->db = resume_db(&engine->config);
    plan->lanes = mem_calloc(MEM_ENGINE, engine->lane_count * sizeof(struct position_lane));
    if (plan->lanes == NULL) {
        return ERR(err, SYN_CODE_MEMORY, "out of memory for positions");
    }
    /* A pipeline that is put up again must find its own positions, or somebody has taken over. */
    char previous[POSITION_INSTANCE_SIZE + 1];
    memcpy(previous, engine->instance, sizeof(previous));
    if (previous[0] == '\0' && !instance_make(engine->instance, err)) {
        return false;
    }
    memcpy(plan->instance, engine->instance, sizeof(plan->instance));
    plan->lane_count = engine->lane_count;
    for (uint32_t lane = 0; lane < engine->lane_count; lane++) {
        /* More lanes than slots: those without one have nothing to do, and their own name. */
        uint16_t slot = plan->mode == POSITION_GROUP ? SLOT_NONE : first_slot(&engine->route, lane);
        position_lane_name(&plan->lanes[lane], slot);
        plan->lanes[lane].slots = slots_text(engine, lane, err);
        if (plan->lanes[lane].slots == NULL) {
            return false;
        }
    }
    size_t claim_size = (size_t)snprintf(plan->claim,
                                         sizeof(plan->claim),
                                         "%s %d %llu",
                                         plan->instance,
                                         engine->destination_was_empty,
                                         (unsigned long long)engine->resume.rules);
    memcpy(plan->owner, plan->claim, claim_size);
    plan->owner[claim_size] = ' ';
    plan->owner[claim_size + 1 + num_write_u64(plan->owner + claim_size + 1, ++engine->turn)] =
        '\0';
    memcpy(engine->resume.replaced, engine->replaced, sizeof(engine->replaced));
    engine->task.positions = plan;
    for (uint32_t i = 0; i < engine->acked_count && i < engine->resume.stream_count; i++) {
        struct resume_stream *stream = &engine->resume.streams[i];
        stream->has_acked = engine->acked[i].is_live;
        stream->acked = engine->acked[i].offset;
        stream->acked_db = engine->acked[i].db;
    }
    bool is_settled = resume_settle(&engine->resume,
                                    &engine->config,
                                    &engine->source,
                                    &engine->destination,
                                    &engine->route,
                                    plan,
                                    previous,
                                    engine->is_restart,
                                    err);
    memcpy(engine->replaced, engine->resume.replaced, sizeof(engine->replaced));
    return is_settled;
}

void engine_positions_free(struct syn_engine *engine)
{
    struct position_plan *plan = &engine->positions;
    for (uint32_t lane = 0; plan->lanes != NULL && lane < plan->lane_count; lane++) {
        mem_free(MEM_ENGINE, plan->lanes[lane].slots);
    }
    mem_free(MEM_ENGINE, plan->lanes);
    *plan = (struct position_plan){0};
    resume_deinit(&engine->resume);
}

/* ---- who writes ---- */

static bool owner_is(const char *owner, const char *instance)
{
    return strncmp(owner, instance, POSITION_INSTANCE_SIZE) == 0;
}

static bool claim_select(const struct syn_engine *engine,
                         struct control *control,
                         uint32_t db,
                         struct syn_err *err)
{
    if (engine->destination.is_cluster || engine->positions.db == 0) {
        return true;
    }
    char digits[NUM_DIGITS_MAX + 1];
    digits[num_write_u64(digits, db)] = '\0';
    const char *argv[] = {"SELECT", digits};
    redisReply *reply = control_call(control, 2, argv, (const size_t[]){6, strlen(digits)}, err);
    if (reply != NULL) {
        freeReplyObject(reply);
    }
    return reply != NULL;
}

/* Whether the owner in a lane's hash is the one that this pipeline wrote there. */
static bool check_claim(const struct syn_engine *engine,
                        const struct control *control,
                        const redisReply *reply,
                        struct syn_err *err)
{
    char text[ENDPOINT_TEXT_MAX];
    const char *owner = reply->type == REDIS_REPLY_STRING ? reply->str : "";
    if (strcmp(owner, engine->positions.owner) == 0) {
        return true;
    }
    bool is_known = owner[0] == '\0' || owner_is(owner, engine->instance) ||
                    (engine->replaced[0] != '\0' && owner_is(owner, engine->replaced));
    if (!is_known) {
        return ERR(err,
                   SYN_CODE_PRECHECK,
                   "another run has taken over the copy to destination %s; this one ends",
                   endpoint_text(&control->endpoint, text));
    }
    return ERR(
        err,
        SYN_CODE_DESTINATION_CONNECT,
        "destination %s went back behind the positions that were just read (it restarted, or "
        "failed over); start again when it is stable",
        endpoint_text(&control->endpoint, text));
}

/* So that a later run can close the connection. */
static bool
name_connection(const struct syn_engine *engine, struct control *control, struct syn_err *err)
{
    const struct position_plan *plan = &engine->positions;
    char command[64];
    snprintf(command,
             sizeof(command),
             "CLIENT SETNAME syncline-%s",
             plan->mode == POSITION_OFF ? "lane" : plan->instance);
    redisReply *reply = control_ask(control, err, command);
    if (reply != NULL) {
        freeReplyObject(reply);
    } else if (control->context == NULL) {
        return false;
    } else if (plan->mode == POSITION_OFF) {
        return true; /* only a help for people who look at CLIENT LIST there */
    } else {
        err_context(err,
                    "a lane must be named, so that a later run can close it; or --positions off");
        return false;
    }
    return true;
}

bool engine_positions_claim(struct syn_engine *engine,
                            uint32_t lane,
                            struct control *control,
                            struct syn_err *err)
{
    const struct position_plan *plan = &engine->positions;
    if (!name_connection(engine, control, err)) {
        return false;
    }
    if (plan->mode == POSITION_OFF) {
        return true;
    }
    /* Named first, looked at then: whoever takes over writes first and closes then. */
    const struct server *server = &engine->source.shards[0].server;
    char field[64];
    snprintf(field,
             sizeof(field),
             "%.40s:owner",
             server->replid[0] != '\0' ? server->replid : server->run_id);
    const char *key = plan->lanes[lane].key;
    const char *argv[] = {"HGET", key, field};
    if (!claim_select(engine, control, plan->db, err)) {
        return false;
    }
    struct redirect redirect = {.timeout_ms = (int)engine->config.connect_timeout_ms};
    const size_t sizes[] = {4, strlen(key), strlen(field)};
    redisReply *reply = engine->destination.is_cluster
                            ? redirect_call(&redirect, control, 3, argv, sizes, err)
                            : control_call(control, 3, argv, sizes, err);
    redirect_close(&redirect);
    if (reply == NULL) {
        return false;
    }
    bool is_good = reply->type == REDIS_REPLY_ERROR
                       ? control_reply_error(control, reply, "HGET of a position", err)
                       : check_claim(engine, control, reply, err);
    freeReplyObject(reply);
    return is_good && claim_select(engine, control, 0, err);
}

/* Whether this pipeline still owns the lane's hash, under whatever id its sources go on by now. */
static bool is_still_ours(const struct syn_engine *engine,
                          uint32_t lane,
                          struct control *control,
                          struct syn_err *err)
{
    const struct position_plan *plan = &engine->positions;
    const char *key = plan->lanes[lane].key;
    const char *argv[] = {"HGETALL", key};
    const size_t sizes[] = {7, strlen(key)};
    struct redirect redirect = {.timeout_ms = (int)engine->config.connect_timeout_ms};
    redisReply *reply = redirect_call(&redirect, control, 2, argv, sizes, err);
    redirect_close(&redirect);
    if (reply == NULL) {
        return false;
    }
    bool is_ours = false;
    for (size_t i = 1; reply->type == REDIS_REPLY_ARRAY && i < reply->elements; i += 2) {
        const redisReply *value = reply->element[i];
        is_ours =
            is_ours || (value->type == REDIS_REPLY_STRING && strcmp(value->str, plan->owner) == 0);
    }
    freeReplyObject(reply);
    char text[ENDPOINT_TEXT_MAX];
    return is_ours || ERR(err,
                          SYN_CODE_DESTINATION_CONNECT,
                          "destination %s does not name this run as the owner of its positions",
                          endpoint_text(&control->endpoint, text));
}

bool engine_positions_follow(void *arg,
                             const struct endpoint *endpoint,
                             struct control *control,
                             struct syn_err *err)
{
    const struct lane_follower *follower = arg;
    struct syn_engine *engine = follower->engine;
    int timeout_ms = (int)engine->config.connect_timeout_ms;
    struct control own = {0};
    if (!control_open(control, endpoint, SIDE_DESTINATION, timeout_ms, err)) {
        return false;
    }
    /* As for a lane: named first, looked then, though at the lane's own hash. */
    bool is_good =
        name_connection(engine, control, err) &&
        control_open(
            &own, &engine->lanes[follower->lane].endpoint, SIDE_DESTINATION, timeout_ms, err) &&
        (engine->positions.mode == POSITION_OFF ||
         is_still_ours(engine, follower->lane, &own, err));
    control_close(&own);
    if (!is_good) {
        control_close(control);
    }
    return is_good;
}

/* ---- where streams go on ---- */

void engine_positions_feed(const struct syn_engine *engine,
                           uint32_t i,
                           struct feed_options *options)
{
    const struct resume *resume = &engine->resume;
    if (i < resume->stream_count && resume->streams[i].is_resumed) {
        memcpy(options->replid, resume->streams[i].replid, sizeof(options->replid));
        options->offset = resume->streams[i].offset;
    }
}

bool engine_positions_stream(struct syn_engine *engine, uint32_t i, struct syn_err *err)
{
    const struct resume *resume = &engine->resume;
    struct stream *stream = &engine->streams[i];
    const struct server *server = &engine->source.shards[i].server;
    memcpy(stream->owner_replid,
           server->replid[0] != '\0' ? server->replid : server->run_id,
           sizeof(stream->owner_replid));
    if (i >= resume->stream_count || !resume->streams[i].is_resumed) {
        /* What an earlier run wrote of this stream goes first. */
        stream->is_sweep_due = i < resume->stream_count && resume->streams[i].was_begun;
        return true;
    }
    const struct resume_stream *place = &resume->streams[i];
    struct recovery_lane *lanes =
        mem_alloc(MEM_ENGINE, engine->lane_count * sizeof(struct recovery_lane));
    if (lanes == NULL) {
        return ERR(err, SYN_CODE_MEMORY, "out of memory for positions");
    }
    for (uint32_t lane = 0; lane < engine->lane_count; lane++) {
        lanes[lane] = (struct recovery_lane){.floor = place->lanes[lane].floor,
                                             .until = place->lanes[lane].until,
                                             .gap = place->lanes[lane].gap};
    }
    bool is_done = stream_resume(
        stream, place->replid, place->offset, place->db, lanes, place->offset_source, err);
    mem_free(MEM_ENGINE, lanes);
    for (uint32_t k = 0; is_done && k < place->key_count; k++) {
        const struct slice name = {place->keys[k].name, place->keys[k].size};
        is_done = recovery_know(stream, place->keys[k].db, &name, err);
    }
    return is_done;
}

void engine_positions_tell(struct syn_engine *engine)
{
    const struct resume *resume = &engine->resume;
    for (uint32_t i = 0; i < resume->stream_count; i++) {
        const struct resume_stream *stream = &resume->streams[i];
        char text[ENDPOINT_TEXT_MAX];
        endpoint_text(&engine->source.shards[i].server.endpoint, text);
        if (stream->is_resumed) {
            engine_event(engine,
                         SYN_EVENT_INFO,
                         (int)i,
                         SYN_PHASE_LIVE,
                         SYN_CODE_OK,
                         "source %s: continuing behind offset %llu, %llu bytes ago",
                         text,
                         (unsigned long long)stream->offset,
                         (unsigned long long)(stream->offset_source > stream->offset
                                                  ? stream->offset_source - stream->offset
                                                  : 0));
        } else if (stream->was_begun) {
            engine_event(engine,
                         SYN_EVENT_INFO,
                         (int)i,
                         SYN_PHASE_SNAPSHOT,
                         SYN_CODE_OK,
                         "source %s: an earlier run did not get beyond its snapshot, or is not to "
                         "be continued; a new full copy begins",
                         text);
        }
    }
}
