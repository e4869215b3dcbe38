/*
 * Batches: output bytes for one lane, already in RESP, with a record per operation.
 *
 * Ownership: a batch belongs to its decoder's pool; the decoder fills it, pushes it to the lane,
 * and gets it back when every one of its operations was answered. Exactly one side touches it at a
 * time. Limits:    bytes and operations are fixed at start. An operation larger than a batch goes
 * on in the next ones of the same decoder (`continues`); its record stands in the batch where it
 * ends.
 */
#ifndef APPLY_BATCH_H
#define APPLY_BATCH_H

#include "core/base/base.h"

struct lane_port;

/* Bytes kept free before the first operation, for the SELECT that the lane may have to put there:
 * batches of several decoders alternate on one connection, so only the lane knows which database is
 * selected. */
#define BATCH_PREFIX 48
#define BATCH_DB_ANY UINT32_MAX

enum op_kind {
    OP_COMMAND,  /* one reply, an error is a failure                                     */
    OP_TOLERANT, /* an error reply is expected and fine                                  */
    OP_RESTORE,  /* a snapshot value; the destination may refuse to load it (refusal.h)  */
    OP_CLAIM,    /* an array: the ids of key_count that are pending now (refusal.h)     */
    OP_SCRIPT,   /* a script's own error is fine, one of the server's state is a failure */
    OP_ASK,      /* a bulk, nil or an integer, which is handed back: answer.h            */
    OP_MULTI,    /* +OK; what follows up to OP_EXEC is queued, see lane_group.h          */
    OP_EXEC,     /* an array with the reply of each queued operation                     */
};

/* What becomes of a live operation that found another state than at the source: divergence.h. In
 * the order of --on-divergence's choices. A script that ends in an error may have done so at the
 * source, and does not stop the task. */
enum divergence_policy { DIVERGENCE_REFETCH, DIVERGENCE_COUNT, DIVERGENCE_STOP };

/* What the lane noted about an answer that is no failure of the lane. */
enum op_refusal {
    REFUSAL_NONE,
    REFUSAL_DATA,    /* RESTORE: the value cannot be loaded          */
    REFUSAL_VERSION, /* RESTORE: the RDB version or the CRC is wrong */
    REFUSAL_CLAIMS,  /* XCLAIM: key_count of its ids are not pending */
    /* Live, divergence.h. */
    REFUSAL_NO_EFFECT, /* it changed nothing, as it cannot have been at the source */
    REFUSAL_STATE,     /* an error because of what is there                        */
    REFUSAL_SCRIPT,    /* a script ended in an error of its own                    */
    REFUSAL_PARTIAL,   /* some of its fields or ids had no effect: a doubt         */
};

struct op {
    uint64_t offset; /* live: replication offset just after it; snapshot: payload position */
    uint32_t pos;    /* its first byte in this batch; 0 when it began in an earlier one    */
    union {
        uint32_t key_count; /* snapshot keys it writes; of a claim, its ids                   */
        uint32_t source_db; /* live, with an answer that is looked at: where its keys are */
        uint32_t ask;       /* OP_ASK: the number of the answer's record                      */
    };
    uint16_t stream;
    uint16_t slot; /* of its (first) key; SLOT_NONE when it has none or nobody routes by it */
    uint8_t kind;  /* enum op_kind                                                       */
    bool is_live;
    uint8_t refusal; /* enum op_refusal; W: lane */
    uint8_t answer;  /* live: enum command_answer */
};
_Static_assert(sizeof(struct op) <= 24, "one record per operation: keep it small");

struct batch {
    struct batch *next;     /* in the pool's free list or the lane's queue           */
    struct lane_port *port; /* to whose decoder it returns                           */
    uint64_t seq;           /* order of opening within the decoder, from 1           */
    uint32_t db_first;      /* database that its first operation needs, or ANY       */
    uint32_t db_last;       /* database selected after its last operation            */
    uint32_t begin;         /* first byte to send                                    */
    uint32_t end;           /* one past the last                                     */
    uint32_t sent;          /* lane: next byte to send                               */
    uint32_t op_count;
    uint32_t ops_done;      /* lane: answered                                        */
    uint32_t ask_count;     /* its OP_ASK; lane: those not answered                  */
    uint32_t refused_count; /* lane: operations with a refusal                  */
    bool has_select;        /* lane: its own SELECT comes first and is answered first */
    bool continues;         /* the next batch of this port must follow directly      */
    uint32_t bytes_size;
    uint32_t ops_size;
    struct op *ops;
    uint8_t *bytes;
};

struct batch_pool {
    struct batch *free;
    uint32_t free_count;
    uint32_t count;
    struct batch *batches;
    struct op *ops;
    uint8_t *bytes;
};

MUST_CHECK bool batch_pool_init(struct batch_pool *pool,
                                uint32_t count,
                                uint32_t bytes_size,
                                uint32_t ops_size,
                                struct syn_err *err);
void batch_pool_deinit(struct batch_pool *pool); /* also of a zeroed pool */
/* NULL when none is free. */
struct batch *batch_take(struct batch_pool *pool);
void batch_give(struct batch_pool *pool, struct batch *batch);

#endif
