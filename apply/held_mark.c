#include "apply/held_mark.h"

#include <string.h>

#include "apply/recovery.h"

static uint32_t link_lane(const struct held *held, const struct held_link *link)
{
    return route_lane(held->router->route, link->slot);
}

static const uint8_t *link_key(const struct held_link *link)
{
    return link->command->bytes + link->pos;
}

/* ---- the list of those without a name ---- */

static void unnamed_remove(struct held_lane *lane, struct held_link *link)
{
    *(link->name_prev != NULL ? &link->name_prev->name_next : &lane->unnamed) = link->name_next;
    if (link->name_next != NULL) {
        link->name_next->name_prev = link->name_prev;
    }
    link->name_prev = NULL;
    link->name_next = NULL;
    lane->unnamed_count--;
}

void held_announce(struct held *held, struct held_link *link)
{
    struct held_lane *lane = &held->lanes[link_lane(held, link)];
    link->is_named = false;
    link->name_prev = NULL;
    link->name_next = lane->unnamed;
    if (lane->unnamed != NULL) {
        lane->unnamed->name_prev = link;
    }
    lane->unnamed = link;
    lane->unnamed_count++;
}

void held_pass_name(struct held *held, struct held_link *link, struct held_link *next)
{
    ASSERT(next->slot == link->slot);
    if (link->is_named) {
        next->is_named = true;
        return;
    }
    unnamed_remove(&held->lanes[link_lane(held, link)], link);
    held_announce(held, next);
}

/* ---- names ---- */

#define NAME_PREFIX_MAX (RESP_HEAD_MAX + NUM_DIGITS_MAX + 1)

/* The bulk of "<db>:<key>" up to the key. */
static uint8_t *name_begin(uint8_t *out, const struct held_link *link)
{
    char db[NUM_DIGITS_MAX + 1];
    size_t size = num_write_u64(db, link->command->source_db);
    db[size++] = ':';
    out = resp_put_head(out, '$', size + link->size);
    memcpy(out, db, size);
    return out + size;
}

/* SADD or SREM of `count` names, whose bulks follow. */
static bool command_begin(const struct held *held, uint32_t lane, const char *name, uint32_t count)
{
    struct router *router = held->router;
    const struct position_plan *plan = router->positions;
    const char *set = plan->lanes[lane].dirty_key;
    uint8_t head[POSITION_NAME_MAX + 4 * RESP_HEAD_MAX];
    uint8_t *out = resp_put_head(head, '*', 2 + (uint64_t)count);
    out = resp_put_bulk(out, name, strlen(name));
    out = resp_put_bulk(out, set, strlen(set));
    return router_unit_begin(router, lane, plan->db) && router_unit_op(router, lane) &&
           router_put(router, lane, head, (size_t)(out - head));
}

static void command_end(const struct held *held, uint32_t lane)
{
    struct op op = {.stream = held->router->stream, .slot = SLOT_NONE, .kind = OP_COMMAND};
    router_unit_done(held->router, lane, op);
    router_unit_end(held->router, lane);
}

static bool put_name(const struct held *held, uint32_t lane, const struct held_link *link)
{
    struct router *router = held->router;
    uint8_t prefix[NAME_PREFIX_MAX];
    return router_put(router, lane, prefix, (size_t)(name_begin(prefix, link) - prefix)) &&
           router_put(router, lane, link_key(link), link->size) &&
           router_put(router, lane, "\r\n", 2);
}

bool held_unmark(struct held *held, uint32_t lane)
{
    struct held_lane *names = &held->lanes[lane];
    if (names->gone_count == 0) {
        return true;
    }
    if (!command_begin(held, lane, "SREM", names->gone_count) ||
        !router_put(held->router, lane, names->gone, names->gone_size)) {
        return false;
    }
    command_end(held, lane);
    names->gone_count = 0;
    names->gone_size = 0;
    held->gone_lanes--;
    return true;
}

bool held_mark(struct held *held, uint32_t lane)
{
    struct held_lane *names = &held->lanes[lane];
    /* First, as a key that was held before may be held again. */
    if (!held_unmark(held, lane)) {
        return false;
    }
    if (names->unnamed_count == 0) {
        return true;
    }
    if (!command_begin(held, lane, "SADD", names->unnamed_count)) {
        return false;
    }
    while (names->unnamed != NULL) {
        struct held_link *link = names->unnamed;
        if (!put_name(held, lane, link)) {
            return false;
        }
        unnamed_remove(names, link);
        link->is_named = true;
    }
    ASSERT(names->unnamed_count == 0);
    command_end(held, lane);
    return true;
}

static bool remove_alone(const struct held *held, uint32_t lane, const struct held_link *link)
{
    if (!command_begin(held, lane, "SREM", 1) || !put_name(held, lane, link)) {
        return false;
    }
    command_end(held, lane);
    return true;
}

bool held_withdraw(struct held *held, struct held_link *link)
{
    uint32_t lane = link_lane(held, link);
    struct held_lane *names = &held->lanes[lane];
    struct slice key = {link_key(link), link->size};
    if (!link->is_named) {
        unnamed_remove(names, link);
        return true;
    }
    if (recovery_has(link->command->stream, link->command->source_db, &key)) {
        return true; /* the name is needed, and removed when the key is mended */
    }
    size_t size = NAME_PREFIX_MAX + link->size + 2;
    if (names->gone_size + size > HELD_GONE_BYTES && !held_unmark(held, lane)) {
        return false;
    }
    if (size > HELD_GONE_BYTES) {
        return remove_alone(held, lane, link);
    }
    uint8_t *out = name_begin(names->gone + names->gone_size, link);
    memcpy(out, key.bytes, key.size);
    out += key.size;
    *out++ = '\r';
    *out++ = '\n';
    names->gone_size = (uint32_t)(out - names->gone);
    held->gone_lanes += names->gone_count++ == 0;
    return true;
}

/* ---- keys that are read again ---- */

bool relay_needs_refetch(struct stream *stream, const struct relay_need *need, struct syn_err *err)
{
    char where[200];
    if (!stream->has_told_need) {
        stream->has_told_need = true;
        log_info("%s %s: its keys are read at the source instead; further ones are not told of",
                 live_where(stream, need->bytes, need->command, where),
                 need->reason);
    }
    for (uint32_t i = 0; i < need->key_count; i++) {
        struct slice key = arg_slice(need->bytes, need->command, need->keys[i]);
        if (!recovery_dirty(stream, need->source_db, &key, err)) {
            err_context(
                err, "%s %s", live_where(stream, need->bytes, need->command, where), need->reason);
            return false;
        }
    }
    return true;
}

bool relay_diverged(struct stream *stream,
                    uint64_t source_db,
                    const struct slice *keys,
                    uint32_t count,
                    struct syn_err *err)
{
    counter_add(&stream->diverged_relay, 1);
    if (stream->task->on_divergence == DIVERGENCE_STOP) {
        char text[ENDPOINT_TEXT_MAX];
        return ERR(err,
                   SYN_CODE_DESTINATION_REPLY,
                   "source %s, offset %llu: a command over several slots did not find at the "
                   "destination what the source had (key hash %016llx)",
                   endpoint_text(&stream->feed->options.endpoint, text),
                   (unsigned long long)stream->offset,
                   (unsigned long long)key_hash(keys[0].bytes, keys[0].size));
    }
    if (stream->task->on_divergence == DIVERGENCE_COUNT) {
        return true;
    }
    for (uint32_t i = 0; i < count; i++) {
        if (!recovery_dirty(stream, source_db, &keys[i], err)) {
            return false;
        }
    }
    return true;
}
