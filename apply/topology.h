/*
 * Topology: what a deployment looks like, found out by asking it.
 *
 * Threads:   blocking, control plane only. A finished topology is constant.
 * Ownership: the caller frees with topology_deinit.
 * Errors:    the domain of the side: connect, auth, state ("cluster slots 100-200 are not
 * covered"), protocol. Each says what to do.
 */
#ifndef APPLY_TOPOLOGY_H
#define APPLY_TOPOLOGY_H

#include "io/io.h"

#define SHARD_NONE UINT16_MAX

/* What one server says of itself (INFO). */
struct server {
    struct endpoint endpoint;
    char version_text[32]; /* "7.0.15"; Valkey's own version for Valkey */
    uint32_t version;      /* 70015: major * 10000 + minor * 100 + patch; 0: not told */
    bool is_valkey;
    bool is_standard; /* an original server of a version whose abilities are known */
    bool is_cluster;
    bool is_replica;
    bool is_link_up; /* of a replica, to its master */
    char run_id[41];
    char replid[41];
    char replid2[41];   /* before the last failover; "" or zeros: none */
    uint64_t offset;    /* master_repl_offset */
    uint64_t key_count; /* over all databases */
    bool is_count_known;
    uint32_t db_max; /* highest database with keys; 0 when empty */
};

struct slot_range {
    uint16_t first;
    uint16_t last;
};

struct shard {
    char node_id[41];
    struct server server;      /* the node to use: the master, or a replica with prefer_replica */
    struct server master;      /* the same as `server` unless a replica is used                 */
    struct slot_range *ranges; /* a cluster's; NULL for a standalone server                */
    uint32_t range_count;
    uint32_t slot_count;
};

struct topology {
    enum side side;
    bool is_cluster;
    struct shard *shards;
    uint32_t shard_count;
    uint16_t slot_shard[SLOT_COUNT]; /* shard index; SHARD_NONE cannot occur in a finished one */
    uint32_t version_min;            /* the lowest among its servers; see is_valkey            */
    bool is_valkey;                  /* all servers are Valkey                                  */
    struct endpoint *idle;           /* a cluster's masters that have no slots yet, or no more  */
    uint32_t idle_count;
    uint32_t db_count; /* databases of a destination, as the prechecks were told; 0: not known */
};

/* Asks the hosts in turn (any may be down, one must answer), tells cluster from standalone,
 * connects to every master (or, with prefer_replica, a replica whose link is up, else the master
 * with a warning) and reads its INFO. A replica given as the standalone source is used as it is
 * when its link is up; a replica given as destination is an error that names its master. Several
 * hosts that are not one cluster are an error. */
MUST_CHECK bool topology_discover(struct topology *topology,
                                  enum side side,
                                  const struct endpoint *hosts,
                                  uint32_t host_count,
                                  bool prefer_replica,
                                  int timeout_ms,
                                  struct syn_err *err);
void topology_deinit(struct topology *topology);

/* Reads INFO of one server over an open control connection. */
MUST_CHECK bool server_read(struct control *control, struct server *server, struct syn_err *err);

/* "7.0.15" is 70015; what does not follow that form counts as 0 from there on. */
uint32_t server_version(const char *text, size_t size);

/* The databases with keys, from the text of INFO: start with .next at the text. False at its end.
 */
struct keyspace_cursor {
    const char *next;
};
bool keyspace_next(struct keyspace_cursor *cursor, uint64_t *db, uint64_t *keys);

bool topology_has_spublish(const struct topology *topology); /* SPUBLISH: 7.0 */

#endif
