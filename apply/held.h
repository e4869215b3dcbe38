/*
 * The scoreboard: keys that are held, and the commands that wait for them.
 *
 * A key is held while some command of the stream that touches it is not yet written to its lane: a
 * relay whose answers are to come, or a command that waits behind one. Every held key has a queue
 * of such commands, in the stream's order, and a command has its turn at a key when it is in front.
 *
 *     key a:  [RPOPLPUSH x a]──[SUNIONSTORE b a c]──[DEL a]
 *     key b:                   [SUNIONSTORE b a c]──[EXPIRE b 10]
 *
 * Above, the first waits for an element from x, the second for its turn at a, the other two for the
 * second. A command that is not listed touches no held key and runs at once.
 *
 * A command is written when it has its turn at all keys that it writes to. A relay first asks, when
 * it has its turn at all keys that it asks for, whatever goes on at those that it writes to: so of
 * many pops from one list into another the elements are all on their way at once.
 *
 * Invariants:
 * 1. The queues of one command's keys hold it in the same order relative to any other command, as
 *    it enters all of them at once; so the oldest command has its turn everywhere, and there is
 *    always one that may ask or be written, or has answers to come.
 * 2. A key whose queue is not empty is named at the destination (held_mark.h) before any position
 *    that passes its commands.
 * 3. The commands of one stream are listed in its order from `held_first` on: what the stream may
 *    call applied ends before the first.
 *
 * Keys are compared without their database: a cluster has one, and to hold too much would be
 * harmless.
 *
 * Threads:   one, the decoder's; the counters are read by any.
 * Ownership: a command is copied; what it copied lives until held_free.
 * Limits:    `command_count` commands, and bytes_max for the copies of those that do not fit in
 *            their records (HELD_LINKS keys, HELD_INLINE bytes). HELD_GONE_BYTES per lane.
 */
#ifndef APPLY_HELD_H
#define APPLY_HELD_H

#include "apply/answer.h"

struct stream;
struct router;

#define HELD_LINKS 3
#define HELD_INLINE 136
/* Names per lane that are to be removed from the dirty set, together. */
#define HELD_GONE_BYTES 2048

/* One key of one command. */
struct held_link {
    struct held_link *chain;     /* of a front: the next key in its bucket      */
    struct held_link *behind;    /* the command behind this one for the key     */
    struct held_link *last;      /* of a front: the end of its queue            */
    struct held_link *name_prev; /* of a front without a name: its lane's list  */
    struct held_link *name_next;
    struct held_command *command;
    uint64_t hash;
    size_t pos; /* of the key in the command's bytes */
    uint32_t size;
    uint16_t slot;
    bool is_asked;  /* the command asks for it, else it is written     */
    bool is_queued; /* false: released                                 */
    bool is_named;  /* of a front: the dirty set has the key           */
};

/* What the lane's next position has to do with names: held_mark.h. */
struct held_lane {
    struct held_link *unnamed; /* fronts that the dirty set does not have */
    uint32_t unnamed_count;
    uint32_t gone_count; /* names that it has, of keys that are not held any more … */
    uint32_t gone_size;
    uint8_t *gone; /* … as RESP bulks, HELD_GONE_BYTES at most */
};

enum held_phase {
    HELD_ASK,    /* waits for its turn at what it asks for, or for room to ask */
    HELD_ANSWER, /* has asked                                                  */
    HELD_WRITE,  /* waits for its turn at what it writes to; it begins here, when it asks nothing */
};

struct held_command {
    struct held_command *next; /* free list, or one of the lists of those that may go on */
    struct held_command *prev;
    struct held_command *older; /* of the same stream                    */
    struct held_command *newer;
    struct stream *stream;
    uint64_t offset; /* of the stream, just after it          */
    uint64_t source_db;
    uint8_t phase;       /* enum held_phase                       */
    uint8_t kind;        /* of a relay: enum relay_kind           */
    uint32_t ask_count;  /* of a relay: its questions             */
    uint32_t ask_wait;   /* keys at which others have their turn: that it asks for, */
    uint32_t write_wait; /* and that it writes to                                   */
    uint32_t link_count;
    uint32_t part_count;  /* of a transaction: its commands, whose table comes first in `bytes`;
                             0: it is one command                 */
    uint32_t asked_count; /* keys that the destination told of: their positions end `bytes` */
    bool is_piece;        /* of a command that was split: says nothing of the source's answer */
    bool is_left_out;     /* a key of it became dirty (recovery.h) before it could be done  */
    struct held_link *links;
    uint8_t *bytes;
    size_t size;
    void *block; /* links and bytes, when they do not fit in here */
    size_t block_size;
    struct answer_wait wait;
    struct answer *answers; /* in the order of asking */
    struct answer *answers_last;

    struct held_link links_inline[HELD_LINKS];
    alignas(8) uint8_t bytes_inline[HELD_INLINE];
};

struct held_list {
    struct held_command *first;
    struct held_command *last;
};

struct held {
    uint64_t key_count; /* held keys: 0 is what everybody looks at first */
    struct router *router;
    struct held_lane *lanes;
    uint32_t gone_lanes; /* of these, those with names to be removed */
    struct held_link **buckets;
    uint32_t bucket_mask;
    struct held_command *commands;
    struct held_command *free;
    uint32_t command_count;
    uint32_t free_count;
    /* Those that have their turn at what comes next, the oldest turn first. */
    struct held_list ready;        /* in HELD_WRITE                                      */
    struct held_list asking;       /* in HELD_ASK, with all turns for writing as well     */
    struct held_list asking_early; /* in HELD_ASK, without                                */
    size_t bytes;
    size_t bytes_max;
    /* W: decoder, relaxed. R: any: statistics. */
    _Atomic uint64_t shown_count;
    _Atomic uint64_t peak_count;
};

/* On failure held_deinit is still allowed. */
MUST_CHECK bool held_init(struct held *held,
                          uint32_t command_count,
                          size_t bytes_max,
                          struct router *router,
                          struct syn_err *err);
void held_deinit(struct held *held); /* a zeroed one is allowed */

/* Whether the key is held. */
bool held_has_key(const struct held *held, const void *key, size_t size);

/* Whether a command of this many keys and bytes has room: now, or when nothing is held. */
bool held_has_room(const struct held *held, uint32_t link_count, size_t size);
bool held_can_hold(const struct held *held, uint32_t link_count, size_t size);
/* A command of the stream at its present place, listed as its youngest; NULL: there is no room, or
 * no memory. `bytes` (size bytes, aligned to 8) are the caller's to fill before keys are added. */
struct held_command *held_new(
    struct held *held, struct stream *stream, uint64_t source_db, uint32_t link_count, size_t size);
/* Adds a key, which lies at `pos` of the command's bytes. A key that it has already is left out:
 * one that is asked for and written to as well is added as written to first. */
void held_add_key(struct held *held,
                  struct held_command *command,
                  size_t pos,
                  uint32_t size,
                  uint16_t slot,
                  bool is_asked);
/* All keys are added: it goes on when its turn comes, which may be at once. */
void held_add_done(struct held *held, struct held_command *command, enum held_phase phase);
/* Its answers are there. */
void held_answered(struct held *held, struct held_command *command);

/* Takes the first of a list off it. */
void held_pop(struct held_list *list);

/* What it asked for is no longer held by it. False: stopped. */
MUST_CHECK bool held_asked(struct held *held, struct held_command *command);
/* It has its turn at what it asks for, but will ask for nothing. */
void held_leave_out(struct held *held, struct held_command *command);
/* It is written: gives up all its keys and its place in the stream. Its answers are given back.
 * False: stopped. */
MUST_CHECK bool held_free(struct held *held, struct held_command *command);

#endif
