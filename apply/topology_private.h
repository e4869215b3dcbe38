/* Shared by the topology files: the parse of CLUSTER SLOTS, kept apart from the asking so that it
 * can be tested with replies of every version. */
#ifndef APPLY_TOPOLOGY_PRIVATE_H
#define APPLY_TOPOLOGY_PRIVATE_H

#include "apply/server_private.h"

/* One node as CLUSTER SLOTS lists it. */
struct cluster_node {
    struct endpoint endpoint;
    char node_id[41]; /* empty before 3.2 */
};

/* A shard while its nodes are not asked yet. */
struct cluster_shard {
    struct cluster_node master;
    struct cluster_node *replicas; /* each once; grown by cluster_slots_read */
    uint32_t replica_count;
    struct slot_range *ranges;
    uint32_t range_count;
    uint32_t slot_count;
};

struct cluster_slots {
    struct cluster_shard *shards;
    uint32_t shard_count;
    uint16_t slot_shard[SLOT_COUNT]; /* SHARD_NONE: not covered */
};

/* Reads the reply of CLUSTER SLOTS as the server at control->endpoint gave it: an empty or nil
 * address means that host. Nodes take control's credentials. False: malformed, or a master of
 * unknown address. `slots` may be freed with cluster_slots_deinit in either case. */
MUST_CHECK bool cluster_slots_read(struct cluster_slots *slots,
                                   const struct control *control,
                                   const redisReply *reply,
                                   struct syn_err *err);
void cluster_slots_deinit(struct cluster_slots *slots);
/* "0-5460, 16383" of the slots that no shard has; how many they are. The text is cut with "…". */
uint32_t cluster_slots_missing(const struct cluster_slots *slots, char *text, size_t text_size);

#endif
