/*
 * Discovery: from a list of hosts to a constant picture of the deployment.
 *
 * The first host that answers is the seed and decides: a standalone server is the whole deployment;
 * a cluster's seed is asked for CLUSTER SLOTS, and every master is then asked itself. The other
 * hosts that answer must be nodes of the same cluster.
 */
#include <stdio.h>
#include <string.h>

#include "apply/topology_private.h"

struct discovery {
    struct topology *topology;
    const struct endpoint *hosts;
    uint32_t host_count;
    bool prefer_replica;
    int timeout_ms;
    struct control seed;
    struct server seed_server;
    uint32_t seed_index;
};

struct place {
    char text[ENDPOINT_TEXT_MAX + 16];
};

static struct place place_of(enum side side, const struct endpoint *endpoint)
{
    struct place place;
    char text[ENDPOINT_TEXT_MAX];
    snprintf(
        place.text, sizeof(place.text), "%s %s", side_name(side), endpoint_text(endpoint, text));
    return place;
}

static bool is_same_place(const struct endpoint *a, const struct endpoint *b)
{
    return a->port == b->port && strcmp(a->host, b->host) == 0 && strcmp(a->path, b->path) == 0;
}

/* Connects, reads INFO and closes again. */
static bool server_ask(const struct discovery *discovery,
                       const struct endpoint *endpoint,
                       struct server *server,
                       struct syn_err *err)
{
    struct control control;
    if (!control_open(&control, endpoint, discovery->topology->side, discovery->timeout_ms, err)) {
        return false;
    }
    bool ok = server_read(&control, server, err);
    control_close(&control);
    return ok;
}

/* A host given with credentials of its own keeps them when the cluster names it as a node. */
static void take_credentials(const struct discovery *discovery, struct endpoint *endpoint)
{
    for (uint32_t i = 0; i < discovery->host_count; i++) {
        if (is_same_place(&discovery->hosts[i], endpoint)) {
            *endpoint = discovery->hosts[i];
            return;
        }
    }
}

/* The first replica among `nodes` that answers with its link up. */
static bool replica_pick(const struct discovery *discovery,
                         const struct cluster_node *nodes,
                         uint32_t node_count,
                         struct server *server,
                         uint32_t *index)
{
    for (uint32_t i = 0; i < node_count; i++) {
        struct endpoint endpoint = nodes[i].endpoint;
        take_credentials(discovery, &endpoint);
        struct syn_err reason;
        struct server found;
        if (!server_ask(discovery, &endpoint, &found, &reason)) {
            log_warning("replica not used: %s", reason.msg);
            continue;
        }
        if (found.is_replica && found.is_link_up) {
            *server = found;
            *index = i;
            return true;
        }
    }
    return false;
}

static void warn_no_replica(const struct discovery *discovery, const struct server *master)
{
    log_warning("%s: no replica with its link up was found, the master is used instead",
                place_of(discovery->topology->side, &master->endpoint).text);
}

/* ---- standalone ---- */

/* Lines of a master's INFO such as "slave0:ip=10.0.0.2,port=6379,state=online,…". */
static uint32_t replicas_of(const struct server *master,
                            const char *info,
                            struct cluster_node *nodes,
                            uint32_t node_max)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < node_max; i++) {
        char name[16];
        char line[400];
        snprintf(name, sizeof(name), "slave%u", i);
        if (!info_field(info, name, line, sizeof(line))) {
            break;
        }
        const char *port = strstr(line, ",port=");
        uint64_t number;
        if (strncmp(line, "ip=", 3) != 0 || port == NULL ||
            !num_read_u64(port + 6, strspn(port + 6, "0123456789"), &number) ||
            number > UINT16_MAX) {
            continue;
        }
        size_t host_size = (size_t)(port - (line + 3));
        if (host_size >= sizeof(nodes->endpoint.host)) {
            continue;
        }
        struct cluster_node *node = &nodes[count++];
        *node = (struct cluster_node){.endpoint = master->endpoint};
        memset(node->endpoint.host, 0, sizeof(node->endpoint.host));
        memcpy(node->endpoint.host, line + 3, host_size);
        node->endpoint.path[0] = '\0';
        node->endpoint.port = (uint16_t)number;
    }
    return count;
}

static bool
standalone_prefer_replica(struct discovery *discovery, struct shard *shard, struct syn_err *err)
{
    struct cluster_node nodes[16];
    redisReply *reply = info_ask(&discovery->seed, err);
    if (reply == NULL) {
        return false;
    }
    uint32_t count =
        replicas_of(&shard->master, reply->str, nodes, sizeof(nodes) / sizeof(nodes[0]));
    freeReplyObject(reply);
    uint32_t index;
    if (!replica_pick(discovery, nodes, count, &shard->server, &index)) {
        warn_no_replica(discovery, &shard->master);
    }
    return true;
}

/* A replica was given as a standalone server. */
static bool replica_given(struct discovery *discovery, struct syn_err *err)
{
    enum side side = discovery->topology->side;
    redisReply *reply = info_ask(&discovery->seed, err);
    if (reply == NULL) {
        return false;
    }
    char host[256];
    info_field(reply->str, "master_host", host, sizeof(host));
    int64_t port = info_number(reply->str, "master_port", 0);
    freeReplyObject(reply);
    struct place place = place_of(side, &discovery->seed.endpoint);
    if (side == SIDE_DESTINATION) {
        return ERR(err,
                   topology_code(side, TOPOLOGY_STATE),
                   "%s is a replica of %s:%lld and cannot be written to: give its master as the "
                   "destination, or make it a master with REPLICAOF NO ONE",
                   place.text,
                   host,
                   (long long)port);
    }
    if (!discovery->seed_server.is_link_up) {
        return ERR(err,
                   topology_code(side, TOPOLOGY_STATE),
                   "%s is a replica of %s:%lld and its link to it is down, so its data may be old: "
                   "repair the link (see INFO replication there), or give the master as the source",
                   place.text,
                   host,
                   (long long)port);
    }
    return true;
}

static bool standalone_discover(struct discovery *discovery, struct syn_err *err)
{
    struct topology *topology = discovery->topology;
    if (discovery->host_count > 1) {
        return ERR(err,
                   topology_code(topology->side, TOPOLOGY_STATE),
                   "%s is a standalone server, but %u hosts were given: several hosts must be "
                   "nodes of one cluster; give one server, and use one task for each",
                   place_of(topology->side, &discovery->seed.endpoint).text,
                   discovery->host_count);
    }
    if (discovery->seed_server.is_replica && !replica_given(discovery, err)) {
        return false;
    }
    struct shard *shard = mem_calloc(MEM_APPLY, sizeof(*shard));
    if (shard == NULL) {
        return ERR(err, SYN_CODE_MEMORY, "out of memory for the topology");
    }
    topology->shards = shard;
    topology->shard_count = 1;
    for (uint32_t i = 0; i < SLOT_COUNT; i++) {
        topology->slot_shard[i] = 0;
    }
    shard->slot_count = SLOT_COUNT;
    shard->server = discovery->seed_server;
    shard->master = discovery->seed_server;
    snprintf(shard->node_id, sizeof(shard->node_id), "%s", shard->server.run_id);
    if (discovery->prefer_replica && !shard->server.is_replica) {
        return standalone_prefer_replica(discovery, shard, err);
    }
    return true;
}

/* ---- cluster ---- */

/* Before 3.2 CLUSTER SLOTS names no ids; CLUSTER NODES does: "<id> <ip:port> …". */
static void node_id_find(const char *nodes, struct cluster_node *node)
{
    char address[280];
    int size = snprintf(
        address, sizeof(address), " %s:%u", node->endpoint.host, (unsigned)node->endpoint.port);
    const char *found = strstr(nodes, address);
    if (found == NULL || found - nodes < 40 ||
        (found[size] != ' ' && found[size] != '@' && found[size] != ',')) {
        return;
    }
    memcpy(node->node_id, found - 40, 40);
}

/* Every other host that answers must be a node of the seed's cluster. */
static bool hosts_check(const struct discovery *discovery, const char *nodes, struct syn_err *err)
{
    enum side side = discovery->topology->side;
    for (uint32_t i = discovery->seed_index + 1; i < discovery->host_count; i++) {
        struct control control;
        struct syn_err reason;
        if (!control_open(&control, &discovery->hosts[i], side, discovery->timeout_ms, &reason)) {
            log_warning("host left out: %s", reason.msg);
            continue;
        }
        redisReply *reply = control_ask(&control, &reason, "CLUSTER MYID");
        bool is_member = reply != NULL && reply->type == REDIS_REPLY_STRING && reply->len == 40 &&
                         strstr(nodes, reply->str) != NULL;
        if (reply != NULL) {
            freeReplyObject(reply);
        }
        control_close(&control);
        if (!is_member) {
            return ERR(err,
                       topology_code(side, TOPOLOGY_STATE),
                       "%s is not a node of the cluster of %s: several hosts must be nodes of one "
                       "cluster; leave it out, or use a task of its own for it",
                       place_of(side, &discovery->hosts[i]).text,
                       place_of(side, &discovery->seed.endpoint).text);
        }
    }
    return true;
}

/* Coverage first, for it names what to mend; then the cluster's own opinion. */
static bool
cluster_check(struct discovery *discovery, const struct cluster_slots *slots, struct syn_err *err)
{
    enum side side = discovery->topology->side;
    struct place place = place_of(side, &discovery->seed.endpoint);
    char ranges[160];
    uint32_t missing = cluster_slots_missing(slots, ranges, sizeof(ranges));
    if (missing > 0) {
        return ERR(err,
                   topology_code(side, TOPOLOGY_STATE),
                   "%s: %u cluster slots are not covered by any server: %s; assign them with "
                   "CLUSTER ADDSLOTS, or repair with redis-cli --cluster fix",
                   place.text,
                   missing,
                   ranges);
    }
    redisReply *reply = control_ask(&discovery->seed, err, "CLUSTER INFO");
    if (reply == NULL) {
        return false;
    }
    char state[16] = "";
    if (reply->str != NULL) {
        info_field(reply->str, "cluster_state", state, sizeof(state));
    }
    freeReplyObject(reply);
    if (strcmp(state, "ok") != 0) {
        return ERR(err,
                   topology_code(side, TOPOLOGY_STATE),
                   "%s: cluster_state is \"%s\": the cluster does not serve all keys; see CLUSTER "
                   "NODES for failed servers and repair it first",
                   place.text,
                   state);
    }
    return true;
}

static bool shard_fill(struct discovery *discovery,
                       struct cluster_shard *from,
                       struct shard *shard,
                       struct syn_err *err)
{
    struct endpoint endpoint = from->master.endpoint;
    take_credentials(discovery, &endpoint);
    if (!server_ask(discovery, &endpoint, &shard->master, err)) {
        err_context(err,
                    "master of slots %u-%u%s",
                    from->ranges[0].first,
                    from->ranges[0].last,
                    from->range_count > 1 ? " and others" : "");
        return false;
    }
    if (shard->master.is_replica) {
        return ERR(err,
                   topology_code(discovery->topology->side, TOPOLOGY_STATE),
                   "%s was named as a master but is a replica now: a failover is going on; wait "
                   "for its end and start again",
                   place_of(discovery->topology->side, &endpoint).text);
    }
    shard->server = shard->master;
    memcpy(shard->node_id, from->master.node_id, sizeof(shard->node_id));
    uint32_t index;
    if (discovery->prefer_replica) {
        if (replica_pick(discovery, from->replicas, from->replica_count, &shard->server, &index)) {
            memcpy(shard->node_id, from->replicas[index].node_id, sizeof(shard->node_id));
        } else {
            warn_no_replica(discovery, &shard->master);
        }
    }
    /* The ranges change their owner. */
    shard->ranges = from->ranges;
    shard->range_count = from->range_count;
    shard->slot_count = from->slot_count;
    from->ranges = NULL;
    return true;
}

static bool shards_fill(struct discovery *discovery,
                        struct cluster_slots *slots,
                        const char *nodes,
                        struct syn_err *err)
{
    struct topology *topology = discovery->topology;
    topology->shards = mem_calloc(MEM_APPLY, slots->shard_count * sizeof(struct shard));
    if (topology->shards == NULL) {
        return ERR(err, SYN_CODE_MEMORY, "out of memory for the topology");
    }
    topology->shard_count = slots->shard_count;
    memcpy(topology->slot_shard, slots->slot_shard, sizeof(topology->slot_shard));
    for (uint32_t i = 0; i < slots->shard_count; i++) {
        if (slots->shards[i].master.node_id[0] == '\0') {
            node_id_find(nodes, &slots->shards[i].master);
        }
        if (!shard_fill(discovery, &slots->shards[i], &topology->shards[i], err)) {
            return false;
        }
    }
    return true;
}

/* A part of a line. */
struct word {
    const char *text;
    size_t size;
};

/* "<id> <host:port@cport[,name]> <flags> <master> <ping> <pong> <epoch> <link> [<slots>…]": whether
 * it is a master that answers and owns nothing; what begins with '[' is only on its way. */
static bool is_idle_line(const char *line, size_t size, struct word *address)
{
    struct word words[9] = {{0}};
    const char *end = line + size;
    for (size_t i = 0; i < 9 && line < end; i++) {
        const char *space = memchr(line, ' ', (size_t)(end - line));
        const char *stop = space == NULL ? end : space;
        words[i] = (struct word){line, (size_t)(stop - line)};
        line = stop + 1;
    }
    const struct word *flags = &words[2];
    bool is_master = flags->size > 0 && memmem(flags->text, flags->size, "master", 6) != NULL;
    static const char *const others[] = {"fail", "noaddr", "handshake"};
    for (size_t i = 0; is_master && i < sizeof(others) / sizeof(others[0]); i++) {
        is_master = memmem(flags->text, flags->size, others[i], strlen(others[i])) == NULL;
    }
    *address = words[1];
    return is_master && (words[8].size == 0 || words[8].text[0] == '[');
}

/* "host:port@cport" over the seed's credentials. */
static bool
idle_endpoint(const struct discovery *discovery, struct word address, struct endpoint *endpoint)
{
    const char *text = address.text;
    const char *at = memchr(text, '@', address.size);
    const char *comma = memchr(text, ',', address.size);
    size_t size = at != NULL      ? (size_t)(at - text)
                  : comma != NULL ? (size_t)(comma - text)
                                  : address.size;
    const char *colon = memrchr(text, ':', size);
    uint64_t port;
    *endpoint = discovery->seed.endpoint;
    if (colon == NULL || !num_read_u64(colon + 1, size - (size_t)(colon + 1 - text), &port) ||
        port == 0 || port > UINT16_MAX || (size_t)(colon - text) >= sizeof(endpoint->host)) {
        return false;
    }
    if (colon > text) {
        memset(endpoint->host, 0, sizeof(endpoint->host));
        memcpy(endpoint->host, text, (size_t)(colon - text));
    }
    endpoint->path[0] = '\0';
    endpoint->port = (uint16_t)port;
    take_credentials(discovery, endpoint);
    return true;
}

static bool idle_read(struct discovery *discovery, const char *nodes, struct syn_err *err)
{
    struct topology *topology = discovery->topology;
    for (const char *line = nodes; *line != '\0';) {
        size_t size = strcspn(line, "\n");
        struct word address;
        struct endpoint endpoint;
        if (is_idle_line(line, size, &address) && idle_endpoint(discovery, address, &endpoint)) {
            struct endpoint *grown = mem_realloc(
                MEM_APPLY, topology->idle, (topology->idle_count + 1) * sizeof(endpoint));
            if (grown == NULL) {
                return ERR(err, SYN_CODE_MEMORY, "out of memory for the topology");
            }
            topology->idle = grown;
            topology->idle[topology->idle_count++] = endpoint;
        }
        line += size + (line[size] == '\n');
    }
    return true;
}

static bool cluster_discover(struct discovery *discovery, struct syn_err *err)
{
    discovery->topology->is_cluster = true;
    struct cluster_slots *slots = mem_calloc(MEM_APPLY, sizeof(*slots));
    if (slots == NULL) {
        return ERR(err, SYN_CODE_MEMORY, "out of memory for the topology");
    }
    bool ok = false;
    redisReply *nodes = NULL;
    redisReply *reply = control_ask(&discovery->seed, err, "CLUSTER SLOTS");
    if (reply == NULL || !cluster_slots_read(slots, &discovery->seed, reply, err) ||
        !cluster_check(discovery, slots, err)) {
        goto out;
    }
    nodes = control_ask(&discovery->seed, err, "CLUSTER NODES");
    if (nodes == NULL) {
        goto out;
    }
    if (nodes->str == NULL) {
        control_reply_error(&discovery->seed, nodes, "CLUSTER NODES", err);
        goto out;
    }
    ok = hosts_check(discovery, nodes->str, err) &&
         shards_fill(discovery, slots, nodes->str, err) && idle_read(discovery, nodes->str, err);
out:
    if (reply != NULL) {
        freeReplyObject(reply);
    }
    if (nodes != NULL) {
        freeReplyObject(nodes);
    }
    cluster_slots_deinit(slots);
    mem_free(MEM_APPLY, slots);
    return ok;
}

/* ---- both ---- */

/* Opens the first host that answers. On failure the error is the first host's. */
static bool seed_open(struct discovery *discovery, struct syn_err *err)
{
    for (uint32_t i = 0; i < discovery->host_count; i++) {
        struct syn_err reason;
        if (control_open(&discovery->seed,
                         &discovery->hosts[i],
                         discovery->topology->side,
                         discovery->timeout_ms,
                         &reason)) {
            discovery->seed_index = i;
            return true;
        }
        if (discovery->host_count > 1) {
            log_warning("host left out: %s", reason.msg);
        }
        if (i == 0) {
            *err = reason;
        }
    }
    if (discovery->host_count > 1) {
        err_context(err, "none of the %u hosts answers", discovery->host_count);
    }
    return false;
}

static void summarise(struct topology *topology)
{
    topology->version_min = UINT32_MAX;
    topology->is_valkey = true;
    for (uint32_t i = 0; i < topology->shard_count; i++) {
        const struct server *server = &topology->shards[i].server;
        topology->is_valkey = topology->is_valkey && server->is_valkey;
        if (server->version < topology->version_min) {
            topology->version_min = server->version;
        }
    }
}

static bool is_complete(const struct topology *topology)
{
    uint32_t slots = 0;
    for (uint32_t i = 0; i < SLOT_COUNT; i++) {
        if (topology->slot_shard[i] >= topology->shard_count) {
            return false;
        }
    }
    for (uint32_t i = 0; i < topology->shard_count; i++) {
        slots += topology->shards[i].slot_count;
    }
    return slots == SLOT_COUNT;
}

bool topology_discover(struct topology *topology,
                       enum side side,
                       const struct endpoint *hosts,
                       uint32_t host_count,
                       bool prefer_replica,
                       int timeout_ms,
                       struct syn_err *err)
{
    ASSERT(host_count > 0);
    *topology = (struct topology){.side = side};
    struct discovery discovery = {
        .topology = topology,
        .hosts = hosts,
        .host_count = host_count,
        .prefer_replica = prefer_replica,
        .timeout_ms = timeout_ms,
    };
    if (!seed_open(&discovery, err)) {
        return false;
    }
    bool ok = server_read(&discovery.seed, &discovery.seed_server, err);
    if (ok) {
        ok = discovery.seed_server.is_cluster ? cluster_discover(&discovery, err)
                                              : standalone_discover(&discovery, err);
    }
    control_close(&discovery.seed);
    if (!ok) {
        topology_deinit(topology);
        return false;
    }
    summarise(topology);
    ASSERT(is_complete(topology));
    return true;
}

void topology_deinit(struct topology *topology)
{
    for (uint32_t i = 0; i < topology->shard_count; i++) {
        mem_free(MEM_APPLY, topology->shards[i].ranges);
    }
    mem_free(MEM_APPLY, topology->shards);
    mem_free(MEM_APPLY, topology->idle);
    topology->shards = NULL;
    topology->shard_count = 0;
    topology->idle = NULL;
    topology->idle_count = 0;
}
