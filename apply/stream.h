/*
 * Streams and decoders: the middle of the pipeline.
 *
 * A stream is one source shard on the decoder's side: it takes the feed's chunks, cuts the snapshot
 * into keys and the live stream into commands, and gives them to the router in the source's order.
 * A decoder is a thread that serves some streams with one router.
 *
 *     WAITING ──CHUNK_SNAPSHOT──► SNAPSHOT ──checksum──► MARK ──EOF mark──► LIVE
 *        ▲                          │  ▲  $len: no mark, straight to LIVE ────┘ │
 *        │                          ▼  │ swept                                │
 *        └──────────────────────── HELD ◄───────CHUNK_SNAPSHOT (again)─────────┘
 *
 * WAITING   nothing was received yet.                     SNAPSHOT  `parser` is inside the RDB.
 * MARK      the 40 bytes that end a diskless payload, or the end of a pipe (a file as source; its
 * stream is LIVE then, and has nothing). LIVE      `offset` is that of the last command taken. HELD
 * a second full copy: what the first one wrote must be removed before, or keys that were deleted at
 * the source in between would stay. The control thread does that and releases the stream.
 *
 * Invariants:
 * 1. Commands reach the router in the source's order, and a command is either wholly given to it or
 * not at all.
 * 2. offset_applied (in the feed) is the offset of the last command before which, and including
 * which, everything was answered by the destination without failure. It never passes an unanswered
 * operation, nor a command that is held (relay.h).
 * 3. Bytes held: the feed's chunks, plus `hold` of at most hold_bytes_max for an item that does not
 * lie in one chunk. Only one stream of a task may hold more than hold_bytes_free (`hold_owner`), so
 * the sum is bounded.
 *
 * Threads:   a stream belongs to its decoder; shared fields name their sides.
 * Errors:    raised in the task's failure; the decoder stops.
 */
#ifndef APPLY_STREAM_H
#define APPLY_STREAM_H

#include "apply/command_ask.h"
#include "apply/command_missing.h"
#include "apply/flush.h"
#include "apply/heartbeat.h"
#include "apply/intake.h"
#include "apply/loss.h"
#include "apply/refusal.h"
#include "apply/relay.h"
#include "apply/router.h"
#include "apply/select_plan.h"

/* What all streams of a task share; constant but for the atomics. */
struct task {
    struct failure *failure;
    const struct route *route;
    /* db n of the source is db_map[n] of the destination, or DB_NONE; without has_db_rules every db
     * maps to itself. */
    bool has_db_rules;
    const uint16_t *db_map;
    uint32_t db_map_count;
    uint32_t db_count; /* databases of the destination; 0: not known */
    /* Which keys, types and commands, under which names; NULL: all, as they are. */
    const struct select *select;
    bool drops_partial; /* on-partial drop: what cannot be computed here is left out and told */
    bool publishes;     /* PUBLISH is forwarded                                      */
    bool spublishes;    /* SPUBLISH is, and the destination knows it                 */
    uint32_t stream_count;
    struct asker *asker;             /* for commands that the table lacks; NULL: they are refused */
    struct command_missing *missing; /* of the table's; NULL: none */
    bool skips_unknown;              /* what the destination does not know either is left out     */
    struct heartbeat_names heartbeat; /* keys that are nobody's data */
    bool only_snapshot; /* the live stream is not decoded                               */
    enum corrupt_policy on_corrupt;
    enum divergence_policy on_divergence;
    enum flush_policy on_flush;
    bool puts_off;         /* times to live, while a stream catches up: expiry.h */
    int64_t expiry_add_ms; /* added to each of them for good                     */
    bool clears_first; /* a DEL goes before each RESTORE: a refused one must leave no older value */
    struct loss_sink losses;
    struct intake intake; /* what the destination takes, with policy and limits of rewriting  */
    size_t rewrite_item_bytes_max; /* of one element or blob that is rewritten               */
    size_t transaction_bytes_max;  /* kept of one stream's transaction; beyond, it is split */
    size_t hold_bytes_max;
    size_t hold_bytes_free;
    size_t refetch_dump_max;    /* values above are copied in pieces: refetch.h; 0: none     */
    size_t refetch_piece_bytes; /* of those pieces, about; 0: VALUE_PIECE_BYTES */
    /* The stream that may hold more than hold_bytes_free; NULL: none. W and R: decoders, cas. */
    _Atomic(struct stream *) hold_owner;
    _Atomic uint64_t hold_bytes; /* sum over streams: statistics */
    /* W: control, release; R: decoders, acquire. */
    _Atomic bool abort;  /* stop now                                              */
    _Atomic bool drain;  /* the feeds are stopped: end when all received is written */
    _Atomic bool paused; /* take nothing new                                       */
    struct waker *control;
    bool source_is_cluster;
    /* W: a decoder, before it fails: only a full copy of the stream can go on. R: control. */
    _Atomic bool full_copy_wanted;
    const struct position_plan *positions; /* NULL: none are kept */
    struct throttle throttle;
};

#define DB_NONE UINT32_MAX

enum stream_state {
    STREAM_WAITING,
    STREAM_HELD,
    STREAM_SNAPSHOT,
    STREAM_MARK,
    STREAM_LIVE,
};

/* How a snapshot value leaves: decided when its key is read. */
enum value_way {
    VALUE_SKIP,     /* its database, key or type is not selected, or it is ours   */
    VALUE_WHOLE,    /* gathered, then written in one operation                    */
    VALUE_REWRITE,  /* decoded and written as ordinary commands, in pieces       */
    VALUE_ARRIVING, /* size known: written as it arrives, in a unit               */
};

struct snapshot_value {
    enum value_way way;
    struct rdb_item item; /* the key; item.name points to `name` once gathering began */
    uint8_t load_type; /* VALUE_WHOLE: in which the destination loads it; an earlier type of stream
                          than item.type, or the same */
    uint64_t offset;   /* of its first byte in the snapshot */
    uint32_t db;       /* at the destination                        */
    uint16_t slot;
    uint32_t lane;
    uint8_t *name; /* the key's own copy                        */
    size_t name_capacity;
    uint64_t left;   /* VALUE_ARRIVING: bytes of the value to come  */
    uint64_t crc;    /* VALUE_ARRIVING: of type and body so far     */
    bool is_open;    /* a value is being walked                   */
    bool is_repair;  /* of a key that is read again, in database command_db; not the snapshot's */
    bool is_counted; /* VALUE_REWRITE: an operation carries the key already   */
    bool is_decoded; /* VALUE_REWRITE: the decoder saw the end                */
    uint32_t rest_size; /* VALUE_REWRITE: walked, but left by the decoder       */
    uint8_t rest[32];
    bool is_new;      /* open, but too little of it was there to measure it */
    bool is_measured; /* its size is known before its end: a string or a single blob */
};

/* Commands between MULTI and EXEC, kept until it is known where they go. */
struct transaction {
    bool is_open;
    bool is_split; /* it grew beyond its bound: its commands go out one by one */
    uint8_t *bytes;
    size_t size;
    size_t capacity;
    struct transaction_command {
        size_t pos;
        size_t size;
        uint64_t offset;    /* just after it */
        uint32_t db;        /* of the source */
        uint32_t key_count; /* asked for; their positions follow the command, uint32_t each */
    } * commands;
    uint32_t command_count;
    uint32_t command_capacity;
};
/* Commands of a transaction are at least this large on average, or their table is full before their
 * bytes. */
#define TRANSACTION_BYTES_PER_COMMAND 32
/* What a transaction may keep allocated when it is over. */
#define TRANSACTION_BYTES_KEPT (64u << 10)
_Static_assert(TRANSACTION_BYTES_PER_COMMAND >= sizeof(struct transaction_command),
               "the table is never larger than the bytes");

/* Places for hashes of scripts; at most half are used. */
#define STREAM_SCRIPTS 512

/* A place in the stream and the batch number that must have come back before it is applied. */
struct stream_place {
    uint64_t seq;
    uint64_t offset;
    uint32_t db; /* selected there */
    bool is_snapshot_end;
    bool is_held; /* commands before it were held: their batches are not among those up to seq */
};
#define STREAM_PLACES 256

/* A growing buffer within the task's bound. */
struct hold {
    uint8_t *bytes;
    size_t size;
    size_t capacity;
};

struct stream {
    uint16_t index;
    struct feed *feed;
    struct task *task;
    struct router *router;
    struct relay *relay;

    /* Input: a window of contiguous bytes, in the chunk or in hold. */
    struct chunk *chunk;      /* being read; NULL: none         */
    struct chunk *chunk_next; /* taken from the ring, not yet begun; NULL: none */
    int64_t pos;              /* next byte of it; negative inside the headroom */
    struct hold
        item_hold;   /* an item that does not fit chunk and headroom: then the window is here */
    bool is_holding; /* the window is item_hold        */
    bool is_hold_blocked; /* another stream has the right to hold much */
    bool is_throttled;    /* the rates allow nothing more just now     */
    size_t wanted;        /* bytes that the window must have before it is worth looking again */

    enum stream_state state;
    struct chunk_session session;
    uint64_t payload_pos; /* snapshot bytes consumed        */
    uint64_t offset;      /* live: after the last byte taken */
    uint64_t source_db;   /* selected in the stream         */
    uint64_t command_db;  /* of the command being written, which may be one of a transaction */
    bool is_valkey;       /* the snapshot's magic           */
    uint64_t crc;         /* of the snapshot so far                */
    bool is_crc_done;     /* it covers everything that it should   */
    size_t item_wanted;   /* a step's note of what it wants next   */
    uint32_t mark_matched;
    struct rdb_parser *parser;
    struct resp_cutter cutter;
    struct resp_cutter transaction_cutter;
    struct key_list keys;
    struct question question;  /* about a command that the table lacks */
    bool is_asking;            /* it is not taken before the answer is  */
    const uint8_t *asked_keys; /* see live_keys_from                   */
    uint32_t asked_key_count;
    struct snapshot_value value;
    struct rdb_decoder *decoder; /* for VALUE_REWRITE; made when first needed */
    struct rewriter *rewriter;
    struct reformer *reformer; /* for listpacks of another form; made when first needed */
    bool is_reforming;         /* the snapshot's listpacks may have another form than needed */
    /* A snapshot value being gathered; live: a command that rules have changed. */
    struct hold value_hold;
    struct select_output selected; /* writes into value_hold */
    struct transaction transaction;
    uint32_t losses_logged;
    uint32_t mends_logged;
    struct stream *router_next; /* another that writes to the same router */
    struct refusal *refusals;   /* to be mended, oldest first             */
    struct parcel *parcels;
    struct divergences *divergences;  /* NULL: none were noticed */
    uint64_t claims_offset;           /* of the value whose claims fell short last */
    uint64_t restore_seq;             /* the batch of the last RESTORE           */
    uint32_t restore_refused;         /* types whose RDB version was refused: a bit each */
    uint64_t scripts[STREAM_SCRIPTS]; /* those that every shard was given; 0: a free place */
    uint32_t script_count;
    uint32_t snapshot_db; /* destination database of the snapshot's present one, or DB_NONE */

    struct stream_place places[STREAM_PLACES];
    uint32_t place_head;
    uint32_t place_count;
    bool has_held_places;
    struct held_command *held_first; /* oldest command that is not written */
    struct held_command *held_last;
    struct recovery *recovery; /* NULL: positions and keys are all certain          */
    bool has_more_parts; /* rules made several commands of one, and this is not the last of them */
    bool has_unknown;    /* rules hide from what values are computed: keys are read at the source */
    uint32_t applied_db; /* selected in the stream at offset_applied */
    bool is_sweep_due;   /* an earlier run wrote something of this stream        */
    bool is_position_due; /* the first position, or the first under a new replication id         */
    char owner_replid[REPLID_SIZE + 1]; /* under which the destination says that we are copying */
    char position_replid[REPLID_SIZE + 1]; /* under which positions are written; "": none yet    */
    bool position_was_resumed;  /* control's own: an earlier run may have put times off */
    int64_t expiry_add_ms;      /* added to times to live just now               */
    uint32_t catching_up_count; /* times that it began to catch up                */
    struct heartbeat_watch heartbeat;
    bool is_ack_wanted;  /* the source asked for an acknowledgement… */
    uint64_t ack_offset; /* …of this offset                         */

    /* W: decoder, relaxed or as said. R: any: statistics and state. */
    alignas(CACHE_LINE) _Atomic int shown_state; /* enum stream_state, release                */
    _Atomic uint64_t keys_read;
    _Atomic uint64_t keys_announced; /* by the snapshot itself, for the databases begun so far */
    _Atomic uint64_t snapshot_bytes;
    _Atomic uint64_t commands;
    _Atomic uint64_t dropped;
    _Atomic uint64_t keys_dropped; /* of the snapshot, by rules                                  */
    _Atomic uint64_t partial_dropped; /* commands whose selected keys could not be kept right */
    _Atomic uint64_t commands_skipped;
    _Atomic uint64_t transactions_split;
    bool has_told_need; /* that a command's keys are read at the source */
    _Atomic uint64_t relayed;
    _Atomic uint64_t diverged_relay;
    _Atomic uint64_t values_rewritten;
    _Atomic uint64_t values_degraded;
    _Atomic uint64_t values_skipped;
    _Atomic uint64_t left_out; /* commands that an earlier run had applied, or that a value read
                                  again contains */
    _Atomic uint64_t keys_refetched;       /* read again at the source                         */
    _Atomic uint64_t keys_refetched_large; /* of these, copies in pieces of large ones   */
    _Atomic uint64_t values_corrupt;
    _Atomic uint64_t diverged_no_effect; /* commands that changed nothing here: divergence.h */
    _Atomic uint64_t diverged_error;     /* …that failed because of what their keys hold     */
    _Atomic uint64_t diverged_script;    /* scripts that ended in an error                   */
    _Atomic uint64_t diverged_partial;   /* …of which some fields or ids had no effect      */
    _Atomic uint64_t diverged_unknown;   /* of all these, those whose keys are not known     */
    _Atomic uint64_t expiries_put_off; /* times to live that are to be brought to their own again */
    /* The number of the catching up that is under way, 0: none. W: decoder sets it, control sets it
     * to 0 (cas), release. */
    _Atomic uint32_t catching_up;
    _Atomic uint64_t exact_offset; /* release: no time to live beyond is put off; UINT64_MAX: … */
    _Atomic uint64_t offset_decoded;
    _Atomic uint32_t
        snapshots_applied; /* release: number of the session whose snapshot is applied whole */
    _Atomic bool is_input_empty;
    /* HELD: W decoder sets wanted (release), control sets it to false when the sweep is done. */
    _Atomic bool sweep_wanted;
    /* The same of the keys in flush_db, while the decoder waits: flush.h. */
    _Atomic bool flush_wanted;
    uint32_t flush_db; /* at the destination; written before flush_wanted */
};

struct decoder;

/* It uses the decoder's router and relay, which may be set up later. */
MUST_CHECK bool stream_init(struct stream *stream,
                            uint16_t index,
                            struct task *task,
                            struct feed *feed,
                            struct decoder *decoder,
                            struct syn_err *err);
void stream_deinit(struct stream *stream); /* a zeroed stream is allowed */
/* Before the decoder starts: the stream goes on in this history behind `offset`, as the feed's
 * options say too. lanes: by lane, see recovery.h. */
struct recovery_lane;
MUST_CHECK bool stream_resume(struct stream *stream,
                              const char *replid,
                              uint64_t offset,
                              uint32_t source_db,
                              const struct recovery_lane *lanes,
                              uint64_t until,
                              struct syn_err *err);

/* Takes what the feed has, at most about a chunk. *did: something was taken. False: err. */
MUST_CHECK bool stream_step(struct stream *stream, bool *did, struct syn_err *err);
/* Between two commands: keys of which it is known by now that they are not as they should be. */
MUST_CHECK bool stream_repair(struct stream *stream, struct syn_err *err);
/* Moves offset_applied after the router collected. */
void stream_advance(struct stream *stream);
/* By whose rates it goes now. */
static inline enum throttle_phase stream_throttle_phase(int state)
{
    return state == STREAM_LIVE ? THROTTLE_LIVE : THROTTLE_SNAPSHOT;
}
/* Nothing received is left to take. */
bool stream_is_drained(const struct stream *stream);

struct decoder {
    pthread_t thread;
    uint32_t index;
    struct task *task;
    struct waker waker;
    struct router router;
    struct relay relay;
    struct stream **streams;
    uint32_t stream_count;
    bool is_started;
    bool has_waker;
    uint64_t marked_ns; /* when positions were last written for all lanes */
    /* W: decoder, release, when a drain is complete: all is answered. R: control. */
    _Atomic bool is_drained;
    _Atomic uint64_t blocked_ns; /* statistics: waiting for the destination */
};

/* decoder_init makes its waker; router and relay are set up by the caller before the start. */
MUST_CHECK bool
decoder_init(struct decoder *decoder, uint32_t index, struct task *task, struct syn_err *err);
MUST_CHECK bool decoder_start(struct decoder *decoder,
                              struct stream **streams,
                              uint32_t stream_count,
                              struct syn_err *err);
/* The same without a thread: the caller's runs decoder_work until a drain is complete, a failure or
 * task->abort. */
void decoder_assign(struct decoder *decoder, struct stream **streams, uint32_t stream_count);
void decoder_work(struct decoder *decoder);
void decoder_stop(
    struct decoder *decoder); /* task->abort is set; joins. A zeroed decoder is allowed */
void decoder_deinit(struct decoder *decoder);

#endif
