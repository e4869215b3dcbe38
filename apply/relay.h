/*
 * Relays: commands whose keys lie in several slots of a cluster, exact at their place in the
 * stream.
 *
 * No server takes such a command. But each of its operands has, on its own lane, exactly the state
 * that it had at the source when the command ran there. So the command becomes a small dataflow
 * between lanes: in the stream's order each operand is asked for (DUMP, or the pop itself, whose
 * element is the message), and when the answers are there, the rest is written to the target's
 * lane. Meanwhile only the target is held (held.h); commands that touch it queue behind, per key,
 * and all others go on. The source is not asked, and lag does not matter.
 *
 *     RPOPLPUSH a b           lane of a: RPOP a            → b: LPUSH b element
 *     RENAME a b              a: DUMP, PEXPIRETIME, UNLINK → b: RESTORE b … REPLACE
 *     COPY a b                a: DUMP, PEXPIRETIME         → b: RESTORE b … REPLACE
 *     both, of no a           (its type is not selected)   → b: UNLINK b
 *     SUNIONSTORE t a t2 b    a, b: DUMP                   → t: MULTI · RESTORE x · RESTORE y ·
 *                                                            SUNIONSTORE t x t2 y · DEL x y · EXEC
 *
 * t2 lies in t's slot: it is used where it is, and held until then. Temporary keys are named
 * RELAY_PREFIX with a tag of the target's slot; since they live inside one MULTI, nobody sees them,
 * no crash leaves them behind, and no eviction takes them before they were used.
 *
 * Invariants:
 * 1. Per key the destination sees the source's order: a command is written when nothing before it
 *    on any of the keys that it writes to is held, and an operand is asked for when nothing before
 *    it on that operand is.
 * 2. Nothing waits for the decoder's input. The oldest unfinished command of the scoreboard waits
 *    only for answers, and those only for the destination; so waiting for room ends.
 * 3. Held commands run between commands, never inside one: they never wait for room themselves, and
 *    not while a unit is open.
 * 4. What the stream calls applied ends before its oldest unfinished command (stream.c).
 *
 * Threads:   a relay belongs to its decoder; answers come from the appliers (answer.h).
 * Limits:    relay_options; all is taken at the start, but for copies and answers that are larger
 *            than a record. What is full makes the decoder wait for answers before it takes more.
 *            A command that can never fit waits until nothing is held and runs directly; of a relay
 *            with more operands than half of answer_count, or with a value of more than half of
 *            answer_bytes, the keys are read at the source (recovery.h). So they are when an answer
 *            finds no room because others were much larger than those of late (relay_charge.c makes
 *            that unlikely), and of commands that cannot be relayed, like scripts.
 * Errors:    SYN_CODE_STOPPED; else those of recovery_dirty.
 */
#ifndef APPLY_RELAY_H
#define APPLY_RELAY_H

#include "apply/command_table.h"
#include "apply/held.h"

#define RELAY_PREFIX "syncline:relay:"
/* Whether the key stands for an operand of another slot. */
static inline bool relay_is_temporary(const struct slice *name)
{
    return name->size >= sizeof(RELAY_PREFIX) - 1 &&
           memcmp(name->bytes, RELAY_PREFIX, sizeof(RELAY_PREFIX) - 1) == 0;
}

struct stream;
struct router;
struct lane_port;

enum relay_kind {
    RELAY_NONE,       /* it cannot be relayed; of a held command: it is none            */
    RELAY_DROP,       /* it has no effect over several slots: PFCOUNT                   */
    RELAY_MOVE,       /* RPOPLPUSH, LMOVE and their blocking forms                      */
    RELAY_MEMBER,     /* SMOVE: splits                                                  */
    RELAY_PAIRS,      /* MSETEX: splits                                                 */
    RELAY_RENAME,     /* RENAME, RENAMENX as propagated                                 */
    RELAY_COPY,       /* COPY                                                           */
    RELAY_STORE,      /* the first key is written, the others are read                  */
    RELAY_STORE_LAST, /* the last key is written, the others are read: GEORADIUS        */
    RELAY_SORT,       /* the same, with options that may read other keys                */
    RELAY_KIND_COUNT,
};

/* What an answer to a kind of command may need beyond its record; see relay.c. */
struct relay_charge {
    uint64_t bytes;
    uint64_t used_ms;    /* monotonic                                    */
    uint32_t calm_count; /* small answers since the last large one       */
    bool is_rough;       /* a large one is remembered                    */
    bool is_wanted;      /* more was to be asked than it allows          */
};

struct relay_options {
    uint32_t command_count; /* held at a time; 0: there are no relays (not a cluster)      */
    uint32_t answer_count;  /* to come, or kept, at a time; half of it the most for one    */
    size_t command_bytes;   /* copies of commands that do not fit in their records         */
    uint64_t answer_bytes;  /* answers that do not fit in theirs; half of it the most for one */
    bool has_expiretime;    /* the destination knows PEXPIRETIME: 7.0                      */
    bool has_unlink;        /* and UNLINK: 4.0                                             */
};
/* What they take, all together. */
uint64_t relay_options_bytes(const struct relay_options *options, uint32_t lane_count);

struct relay {
    struct relay_options options;
    struct router *router;
    struct held held;
    struct answers answers;
    uint32_t ask_count; /* answers to come                                     */
    uint64_t charged;   /* bytes that they may need beyond their records       */
    uint64_t now_ms;    /* monotonic, of the last look at what may go on       */
    struct relay_charge charges[RELAY_KIND_COUNT];
    struct resp_cutter cutter; /* of held commands                                    */
    struct key_list keys;      /* the stream's, while a held command uses the stream  */
};

/* ports: this decoder's, by lane; each is told where its answers go. On failure relay_deinit is
 * still allowed. */
MUST_CHECK bool relay_init(struct relay *relay,
                           const struct relay_options *options,
                           struct router *router,
                           struct lane_port **ports,
                           struct waker *decoder,
                           struct syn_err *err);
/* After the appliers stopped; a zeroed one is allowed. */
void relay_deinit(struct relay *relay);

/* Whether any key is held: the one question that every command asks. */
static inline bool relay_is_busy(const struct relay *relay)
{
    return relay->held.key_count > 0;
}

/* Finishes relays whose answers are there and runs what became ready. *did: anything. */
MUST_CHECK bool relay_progress(struct relay *relay, bool *did, struct syn_err *err);
/* Waits until nothing is held. */
MUST_CHECK bool relay_drain(struct relay *relay, struct syn_err *err);

/* ---- for the stream; only while relay_is_busy ---- */

/* A command is about to be applied: one that touches a held key is queued, and *is_taken; one
 * without keys, that acts on all, waits until nothing is held. */
MUST_CHECK bool relay_admit(struct stream *stream,
                            const struct command_info *info,
                            const uint8_t *bytes,
                            const struct resp_command *command,
                            uint64_t source_db,
                            bool *is_taken,
                            struct syn_err *err);
/* Whether any of the keys is held; positions are arguments of the command. */
bool relay_holds(const struct relay *relay,
                 const uint8_t *bytes,
                 const struct resp_command *command,
                 const struct key_list *keys);
/* ---- for the stream, at any time ---- */

/* One command of one key (args[key]), made of the pieces of another. */
MUST_CHECK bool relay_forward_args(struct stream *stream,
                                   uint64_t source_db,
                                   const struct slice *args,
                                   uint32_t count,
                                   uint32_t key,
                                   struct syn_err *err);
/* A command whose keys (stream->keys) lie in several slots. */
MUST_CHECK bool relay_apply(struct stream *stream,
                            const struct command_info *info,
                            const uint8_t *bytes,
                            const struct resp_command *command,
                            uint64_t source_db,
                            struct syn_err *err);

#endif
