/*
 * Resuming: what an earlier run of this task left at the destination (apply/position.h), and where
 * each stream continues.
 *
 * A start looks for the hashes of its sources' histories (by replication id, also the one before a
 * failover), makes sure that nobody else writes them any more, and turns them into the present
 * layout of lanes:
 *
 * 1. Fencing. The lanes of a run carry its instance in their connection's name. A later start first
 *    writes itself down as the owner, then closes every connection of the owner before and waits
 *    until they are gone; only then it reads the positions, because a server may still be executing
 *    what a dead process had sent. A run that finds another owner when it connects again gives up,
 *    unless it is one that it had replaced itself.
 * 2. Confirming. A destination may go back (it restarts, or fails over, and loses its last moments)
 *    after its positions were read and before the lanes are connected; then what was read is not
 *    true any more. So the last thing that is written, behind the reading, is an owner with a
 *    number of its own, and a lane that does not find it there has everything read again.
 * 3. Layout. When a lane had another set of slots than now, its new position is the lowest of those
 *    slots, and all up to the source's present offset counts as uncertain. New fields are written
 *    before old ones are removed, and old ones that new ones take the place of are written
 * elsewhere before, so a crash in between leaves claims that are all true, on all slots.
 * 4. Refusals. A position proves nothing across an operation, or a group, that was refused: the
 *    ones behind it may have run, and their positions too. After a refusal a lane's position is not
 *    beyond what was acknowledged, and all that the source had written by then is uncertain. Such
 *    an answer may be one that nobody has read, because the program or a connection ended first:
 *    so a server's counts of them (INFO errorstats, 6.2) are written with its positions, and when
 *    they are others now, it counts as a refusal. Servers that count none are believed where a
 *    batch is a transaction, and never where it is not.
 * 5. Slots that move. What is read and written here is done at the node that has the key now, be it
 *    the old owner, or the new one that still imports (redirect.h).
 * 6. Completeness. A stream continues only when every slot that it owns has a position; else it
 *    begins with a full copy, and what an earlier one wrote is removed before if the destination
 * was empty when that began.
 *
 * Threads:   blocking, the engine's start or control thread.
 * Ownership: the resume owns everything in it.
 * Errors:    those of the control connections; SYN_CODE_PRECHECK when the rules of the earlier run
 *            were others, or another run has taken over.
 */
#ifndef ENGINE_RESUME_H
#define ENGINE_RESUME_H

#include "apply/position.h"
#include "apply/router.h"
#include "apply/topology.h"
#include "core/engine/config.h"

/* What a lane's hash said of one stream. */
struct resume_lane {
    uint64_t floor; /* every operation up to here is executed                             */
    uint32_t gap;   /* of those behind it, so many are uncertain …                        */
    uint64_t until; /* … and all up to this offset                                        */
};

/* A key that positions do not cover. */
struct resume_key {
    uint32_t db; /* at the destination */
    size_t size;
    uint8_t *name;
};

struct resume_stream {
    bool is_resumed;
    bool has_owner;    /* an earlier run began this stream …                   */
    bool was_empty;    /* … into an empty destination                           */
    bool has_position; /* of some slots at least                                */
    char replid[POSITION_REPLID_SIZE + 1];
    uint64_t offset; /* to continue behind: the lowest floor */
    uint32_t db;
    uint64_t offset_source; /* of the source, read when nobody else wrote any more    */
    /* The caller's, after a refusal: no position beyond `acked` is believed. */
    bool was_begun; /* an earlier run wrote something of it */
    bool has_acked;
    uint64_t acked;
    uint32_t acked_db;
    struct resume_lane *lanes; /* by lane, when is_resumed */
    struct resume_key *keys;
    uint32_t key_count;
    uint32_t key_capacity;
};

struct resume_record;

struct resume {
    struct resume_stream *streams;
    uint32_t stream_count;
    struct resume_record *records;
    uint32_t record_count;
    uint32_t record_capacity;
    uint64_t rules; /* of the configuration; owners write theirs down */
    /* An owner before this run, which it has replaced; "": none. Found at the destination again, it
     * is there because the destination went back. In: of an earlier pipeline. Out: the last. */
    char replaced[POSITION_INSTANCE_SIZE + 1];
};

/* Reads what is there; nothing is changed. */
MUST_CHECK bool resume_look(struct resume *resume,
                            const struct config *config,
                            const struct topology *source,
                            const struct topology *destination,
                            struct syn_err *err);
/* Every stream was begun by an earlier run into an empty destination, or has positions: the keys at
 * the destination are no surprise. */
bool resume_is_ours(const struct resume *resume);
/* The first full copy of an earlier run began with an empty destination. */
bool resume_was_empty(const struct resume *resume);
/* Fences, reads again, and writes the present layout down; fills in what the lanes' servers have
 * refused. `previous`: the instance that may own
 * the fields without being somebody else, "" for any. With is_restart nothing is continued. */
MUST_CHECK bool resume_settle(struct resume *resume,
                              const struct config *config,
                              const struct topology *source,
                              const struct topology *destination,
                              const struct route *route,
                              struct position_plan *plan,
                              const char *previous,
                              bool is_restart,
                              struct syn_err *err);
/* The task is over: removes the fields that its run owns. */
MUST_CHECK bool resume_forget(const struct config *config,
                              const struct topology *destination,
                              const struct position_plan *plan,
                              struct syn_err *err);
void resume_deinit(struct resume *resume); /* a zeroed one is allowed */

/* The database in which positions are kept: the lowest that the task writes to. */
uint32_t resume_db(const struct config *config);

#endif
