/*
 * The real middle of the pipeline between two false ends: feeds that a test fills by hand, and
 * destinations that record what they are sent and answer as told.
 *
 * Each lane has a peer (peer.h). The decoders run in their threads, or (is_stepped) the test itself
 * is the only decoder and moves it with rig_step, so that an input cut at a place is really looked
 * at there.
 *
 * Threads:   rig_* by the test. Fields of a peer named so are read under its lock.
 * Ownership: rig_new to rig_free; the rig owns everything in it.
 * Limits:    every wait ends after RIG_TIMEOUT_MS and fails the test.
 */
#ifndef TESTS_APPLY_PIPELINE_RIG_H
#define TESTS_APPLY_PIPELINE_RIG_H

#include "apply/solo.h"
#include "apply/stream_private.h"
#include "tests/apply/peer.h"

#define RIG_TIMEOUT_MS PEER_TIMEOUT_MS
#define RIG_LANES_MAX 4
#define RIG_STREAMS_MAX 3

#define RIG_TRANSACTION_BYTES_MAX (2u << 20)

struct rig_options {
    uint32_t lanes;  /* 0: 1                                                          */
    uint32_t shards; /* 0: 1; more, or is_cluster: lanes are divided by slots           */
    bool is_cluster;
    uint32_t streams;  /* 0: 1 */
    uint32_t decoders; /* 0: 1; stream i belongs to decoder i % decoders              */
    bool is_stepped;
    bool is_solo;         /* the only decoder and the applier share a thread, see solo.h       */
    uint32_t chunk_bytes; /* 0: 4096 */
    uint32_t chunk_count; /* 0: 8    */
    uint32_t headroom_bytes;
    uint32_t batch_bytes; /* 0: 4096 */
    uint32_t batch_count; /* 0: 16   */
    uint32_t batch_ops;   /* 0: 128  */
    size_t hold_bytes_free;
    size_t hold_bytes_max; /* 0: 64 MiB */
    const uint16_t *db_map;
    uint32_t db_map_count;
    const struct select *select; /* rules, kept by the test; NULL: none */
    bool drops_partial;
    bool has_no_functions;
    bool has_no_pxat;
    bool publishes;
    bool has_no_spublish;
    struct relay_options relay; /* of a cluster; 0 in a field: 64 records, 64 KiB           */
    bool has_old_expiry;        /* PTTL instead of PEXPIRETIME                              */
    peer_answerer *answerer;    /* of every peer; NULL: none                                */
    void *answerer_arg;
    int socket_bytes; /* SO_SNDBUF and SO_RCVBUF of the lanes; 0: the system's */
    enum io_backend backend;
    const struct throttle_rates *rates; /* NULL: none */
    bool has_positions;                 /* marks, in a cluster's lanes */
};

struct source {
    struct feed feed;
    struct stream stream;
    struct chunk *open; /* being filled; NULL: none */
    uint32_t session_count;
};

struct rig {
    struct rig_options options;
    struct task task;
    struct failure failure;
    struct route route;
    uint16_t shard_lane[RIG_LANES_MAX];
    struct waker control;
    struct lane lanes[RIG_LANES_MAX];
    struct applier applier;
    struct solo solo;
    struct reader solo_reader; /* without feeds: the test feeds chunks itself */
    struct decoder decoders[2];
    struct source sources[RIG_STREAMS_MAX];
    struct stream *decoder_streams[2][RIG_STREAMS_MAX];
    struct lane *lane_list[RIG_LANES_MAX];
    struct peer peers[RIG_LANES_MAX];
    struct position_plan positions;
    struct position_lane position_lanes[RIG_LANES_MAX];
    struct reader reader; /* only its loop's waker is used */
    struct syn_err err;   /* of a step that failed          */
    bool is_failed;
};

struct rig *rig_new(const struct rig_options *options);
void rig_free(struct rig *rig);

/* ---- the source's side ---- */

/* A full copy begins, at this replication offset; mark NULL: payload_bytes are announced. */
void rig_session(
    struct rig *rig, uint32_t source, int64_t payload_bytes, const char *mark, uint64_t offset);
/* The connection came back and the stream goes on. */
void rig_continue(struct rig *rig, uint32_t source);
/* Bytes in pieces of `piece` (0: as large as chunks allow). Waits for chunks. Stepped: the decoder
 * looks after each piece. */
void rig_feed(struct rig *rig, uint32_t source, const void *bytes, size_t size, size_t piece);
/* The same, but gives up when no chunk is free; returns the bytes taken. */
size_t rig_feed_some(struct rig *rig, uint32_t source, const void *bytes, size_t size);
void rig_feed_text(struct rig *rig, uint32_t source, const char *bytes);
/* One command from words separated by single spaces. */
void rig_command(struct rig *rig, uint32_t source, const char *words);
/* The chunk being filled ends here. */
void rig_seal(struct rig *rig, uint32_t source);
/* An empty snapshot, answered: the stream is live behind `offset`. */
void rig_live(struct rig *rig, uint32_t source, uint64_t offset);

/* Stepped: what the decoder would do, until it has nothing to do. */
void rig_step(struct rig *rig);

/* ---- waiting ---- */

/* Until everything fed is decoded and answered. */
void rig_settle(struct rig *rig);
/* Until the pipeline failed; returns the error. */
const struct syn_err *rig_failure(struct rig *rig);
/* Until the peer received (answered) this many commands in all. */
void rig_await_commands(struct rig *rig, uint32_t peer, uint64_t count);
void rig_await_state(struct rig *rig, uint32_t source, enum stream_state state);
void rig_pause(void); /* between two looks at a condition */
bool rig_is_late(uint64_t begin_ms);

/* ---- the destination's side ---- */

/* What the peer received, as text; everything must be as in `expected`, then it is forgotten. */
void rig_expect(struct rig *rig, uint32_t peer, const char *expected);
void rig_forget(struct rig *rig, uint32_t peer);
uint64_t rig_peer_value(struct rig *rig, uint32_t peer, const uint64_t *value);
void rig_script(struct rig *rig, uint32_t peer, struct peer_script script);
void rig_allow(struct rig *rig, uint32_t peer, uint64_t replies);
void rig_stall(struct rig *rig, uint32_t peer, bool is_stalled);
/* An answerer by which whatever a relay asks for is there: "value", which never expires; and how
 * its payload looks in a peer's text. */
peer_answerer rig_give;
#define RIG_GIVEN_TEXT "??value??Q????,??"

#endif
