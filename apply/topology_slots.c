/*
 * CLUSTER SLOTS, the one form that every cluster version gives:
 *
 *     [ [first, last, master, replica…], … ]
 *     node: 3.0 [ip, port]   3.2 [ip, port, id]   7.0 [endpoint or nil, port, id, metadata]
 *
 * A shard's ranges come in several entries; the master's id (before 3.2: its address) joins them.
 */
#include <stdio.h>
#include <string.h>

#include "apply/topology_private.h"

#define SHARDS_MAX                                                                                 \
    4096 /* servers warn beyond 1000 nodes; a bound for what the wire can make us do */
#define REPLICAS_MAX 64

static bool malformed(const struct control *control, const char *what, struct syn_err *err)
{
    char text[ENDPOINT_TEXT_MAX];
    return ERR(err,
               topology_code(control->side, TOPOLOGY_PROTOCOL),
               "%s %s: CLUSTER SLOTS: %s",
               side_name(control->side),
               endpoint_text(&control->endpoint, text),
               what);
}

/* False only when the entry is malformed. *is_known is false for the address "?". */
static bool node_read(const struct control *control,
                      const redisReply *reply,
                      struct cluster_node *node,
                      bool *is_known)
{
    if (reply->type != REDIS_REPLY_ARRAY || reply->elements < 2 ||
        reply->element[1]->type != REDIS_REPLY_INTEGER) {
        return false;
    }
    const redisReply *host = reply->element[0];
    long long port = reply->element[1]->integer;
    bool is_host_text = host->type == REDIS_REPLY_STRING || host->type == REDIS_REPLY_STATUS;
    if (!is_host_text && host->type != REDIS_REPLY_NIL) {
        return false;
    }
    *node = (struct cluster_node){.endpoint = control->endpoint};
    *is_known = port > 0 && port <= UINT16_MAX;
    if (is_host_text && host->len > 0) {
        if (host->len >= sizeof(node->endpoint.host)) {
            return false;
        }
        memset(node->endpoint.host, 0, sizeof(node->endpoint.host));
        memcpy(node->endpoint.host, host->str, host->len);
        *is_known = *is_known && strcmp(node->endpoint.host, "?") != 0;
    } else if (node->endpoint.host[0] == '\0') {
        /* "the host you are connected to", over a unix socket: that is this machine. */
        snprintf(node->endpoint.host, sizeof(node->endpoint.host), "127.0.0.1");
    }
    node->endpoint.path[0] = '\0';
    node->endpoint.port = (uint16_t)port;
    if (reply->elements >= 3) {
        const redisReply *id = reply->element[2];
        if (id->type != REDIS_REPLY_STRING || id->len >= sizeof(node->node_id)) {
            return false;
        }
        memcpy(node->node_id, id->str, id->len);
    }
    return true;
}

static bool is_same_node(const struct cluster_node *a, const struct cluster_node *b)
{
    if (a->node_id[0] != '\0' || b->node_id[0] != '\0') {
        return strcmp(a->node_id, b->node_id) == 0;
    }
    return a->endpoint.port == b->endpoint.port && strcmp(a->endpoint.host, b->endpoint.host) == 0;
}

/* The shard of this master, made if new; NULL when memory is out or there are too many. */
static struct cluster_shard *shard_find_or_add(struct cluster_slots *slots,
                                               const struct cluster_node *master)
{
    for (uint32_t i = 0; i < slots->shard_count; i++) {
        if (is_same_node(&slots->shards[i].master, master)) {
            return &slots->shards[i];
        }
    }
    if (slots->shard_count == SHARDS_MAX) {
        return NULL;
    }
    struct cluster_shard *grown =
        mem_realloc(MEM_APPLY, slots->shards, (slots->shard_count + 1) * sizeof(*grown));
    if (grown == NULL) {
        return NULL;
    }
    slots->shards = grown;
    struct cluster_shard *shard = &grown[slots->shard_count++];
    *shard = (struct cluster_shard){.master = *master};
    return shard;
}

static bool replica_add(struct cluster_shard *shard, const struct cluster_node *node)
{
    for (uint32_t i = 0; i < shard->replica_count; i++) {
        if (is_same_node(&shard->replicas[i], node)) {
            return true;
        }
    }
    if (shard->replica_count == REPLICAS_MAX) {
        return true; /* enough to choose from */
    }
    struct cluster_node *grown =
        mem_realloc(MEM_APPLY, shard->replicas, (shard->replica_count + 1) * sizeof(*grown));
    if (grown == NULL) {
        return false;
    }
    shard->replicas = grown;
    shard->replicas[shard->replica_count++] = *node;
    return true;
}

static bool
range_add(struct cluster_slots *slots, struct cluster_shard *shard, struct slot_range range)
{
    struct slot_range *grown =
        mem_realloc(MEM_APPLY, shard->ranges, (shard->range_count + 1) * sizeof(*grown));
    if (grown == NULL) {
        return false;
    }
    shard->ranges = grown;
    shard->ranges[shard->range_count++] = range;
    for (uint32_t slot = range.first; slot <= range.last; slot++) {
        slots->slot_shard[slot] = (uint16_t)(shard - slots->shards);
    }
    shard->slot_count += (uint32_t)(range.last - range.first) + 1;
    return true;
}

/* A range that some shard has already: listed twice, or claimed by two masters for a moment. */
static bool is_range_taken(const struct cluster_slots *slots, struct slot_range range)
{
    for (uint32_t slot = range.first; slot <= range.last; slot++) {
        if (slots->slot_shard[slot] != SHARD_NONE) {
            return true;
        }
    }
    return false;
}

static bool entry_read(struct cluster_slots *slots,
                       const struct control *control,
                       const redisReply *entry,
                       struct syn_err *err)
{
    if (entry->type != REDIS_REPLY_ARRAY || entry->elements < 3 ||
        entry->element[0]->type != REDIS_REPLY_INTEGER ||
        entry->element[1]->type != REDIS_REPLY_INTEGER) {
        return malformed(control, "an entry has an unexpected form", err);
    }
    long long first = entry->element[0]->integer;
    long long last = entry->element[1]->integer;
    if (first < 0 || last < first || last >= SLOT_COUNT) {
        return malformed(control, "a slot range is out of bounds", err);
    }
    struct cluster_node node;
    bool is_known;
    if (!node_read(control, entry->element[2], &node, &is_known)) {
        return malformed(control, "a node has an unexpected form", err);
    }
    if (!is_known) {
        return malformed(control,
                         "the address of a master is unknown (\"?\"): set "
                         "cluster-announce-ip, or cluster-announce-hostname with "
                         "cluster-preferred-endpoint-type hostname, at that server",
                         err);
    }
    struct slot_range range = {(uint16_t)first, (uint16_t)last};
    if (is_range_taken(slots, range)) {
        return true;
    }
    struct cluster_shard *shard = shard_find_or_add(slots, &node);
    if (shard == NULL || !range_add(slots, shard, range)) {
        return ERR(err, SYN_CODE_MEMORY, "out of memory for the cluster's shards");
    }
    for (size_t i = 3; i < entry->elements; i++) {
        if (!node_read(control, entry->element[i], &node, &is_known)) {
            return malformed(control, "a replica has an unexpected form", err);
        }
        if (is_known && !replica_add(shard, &node)) {
            return ERR(err, SYN_CODE_MEMORY, "out of memory for the cluster's replicas");
        }
    }
    return true;
}

bool cluster_slots_read(struct cluster_slots *slots,
                        const struct control *control,
                        const redisReply *reply,
                        struct syn_err *err)
{
    slots->shards = NULL;
    slots->shard_count = 0;
    for (uint32_t i = 0; i < SLOT_COUNT; i++) {
        slots->slot_shard[i] = SHARD_NONE;
    }
    if (reply->type != REDIS_REPLY_ARRAY) {
        return malformed(control, "the answer is not an array", err);
    }
    for (size_t i = 0; i < reply->elements; i++) {
        if (!entry_read(slots, control, reply->element[i], err)) {
            return false;
        }
    }
    return true;
}

void cluster_slots_deinit(struct cluster_slots *slots)
{
    for (uint32_t i = 0; i < slots->shard_count; i++) {
        mem_free(MEM_APPLY, slots->shards[i].replicas);
        mem_free(MEM_APPLY, slots->shards[i].ranges);
    }
    mem_free(MEM_APPLY, slots->shards);
    slots->shards = NULL;
    slots->shard_count = 0;
}

uint32_t cluster_slots_missing(const struct cluster_slots *slots, char *text, size_t text_size)
{
    uint32_t missing = 0;
    size_t used = 0;
    text[0] = '\0';
    for (uint32_t slot = 0; slot < SLOT_COUNT;) {
        if (slots->slot_shard[slot] != SHARD_NONE) {
            slot++;
            continue;
        }
        uint32_t first = slot;
        while (slot < SLOT_COUNT && slots->slot_shard[slot] == SHARD_NONE) {
            slot++;
        }
        missing += slot - first;
        char range[32];
        int size = slot - first == 1 ? snprintf(range, sizeof(range), "%u", first)
                                     : snprintf(range, sizeof(range), "%u-%u", first, slot - 1);
        if (used + (size_t)size + 8 < text_size) {
            used += (size_t)snprintf(
                text + used, text_size - used, "%s%s", used > 0 ? ", " : "", range);
        } else if (used > 0 && text[used - 1] != '.') {
            used += (size_t)snprintf(text + used, text_size - used, ", ...");
        }
    }
    return missing;
}
