/*
 * Positions: how far each stream has been applied, kept at the destination, in order with the data.
 *
 * A server executes one connection's commands in their order, so what a crash leaves executed on a
 * lane is a prefix of what was sent on it. A position written behind operations on the same lane
 * therefore never says more than what is there; it tells where the prefix ended, exactly or up to a
 * bounded gap:
 *
 *   GROUP (a standalone destination, one lane): MULTI · operations · position · EXEC. Nothing is
 *         ever uncertain, unless one is refused and the next is not: then all behind the refused
 *         one, up to the last position, is.
 *   MARK  (a cluster): a position behind every POSITION_GAP operations. What was sent behind the
 *         last one, fewer than POSITION_GAP operations and the rest of the command that reached
 *         that number, may or may not be executed: recovery.h settles it.
 *
 * Each lane has one hash, in the database `db`, named POSITION_KEY or, in a cluster, with a hash
 * tag in one of the lane's slots. Several tasks may share it; all fields begin with a replication
 * id:
 *
 *   <replid>
 *       "<offset> <db> <gap> <until> <acked> <acked db> <refusals> <reach>": every operation of
 * this history up to <offset>, on the lane's slots, is executed, but those on keys named in the
 *       dirty set. <db> is the database that the stream has selected there. The operations behind
 *       it are uncertain while fewer than <gap> were counted or <until> is not reached, which
 *       stays written until then. All that only while nothing was refused: a server that refuses
 *       an operation (a slot moves, memory is full) and takes the position behind it makes the
 *       position untrue. <refusals> is a number for what the server had refused by the time the
 *       run began; when it is another now, nothing beyond <acked> is believed, which on every
 *       lane was acknowledged when the position was written, and so many operations behind <offset>
 *       are uncertain as a lane may have on their way, <reach>. (Versions before wrote the first
 *       four alone.)
 *
 *   <replid>:lane
 *       the slots for which the hash speaks: "0-5460,7000%2=1", or "all".
 *
 *   <replid>:owner
 *       "<instance> <was_empty> <rules> <turn>": who writes these fields; whether the destination
 *       was empty when the first full copy began, so that all of its keys are ours; a number for
 *       what the run was asked to copy; and which of the run's pipelines it is, written when it has
 *       read the positions, so that a destination that went back since then does not have it.
 *
 * and one set, POSITION_DIRTY_KEY with the same tag: "<db>:<key>" for keys that a position does not
 * cover although their operations lie before it. A name is added on the key's lane before any
 * position that passes it, and removed behind the operation that mends the key.
 *
 * Threads:   a plan is constant; everything else belongs to one router.
 * Ownership: the plan's texts are its own.
 * Limits:    POSITION_GAP; a group names at most POSITION_TOUCHED_MAX streams.
 */
#ifndef APPLY_POSITION_H
#define APPLY_POSITION_H

#include "core/base/base.h"

#define POSITION_KEY "syncline:position"
#define POSITION_DIRTY_KEY "syncline:dirty"
/* Operations per lane between two marks: a mark costs about as much as a small SET, so this is
 * under 2% of the destination's time; more would mean more keys to settle after a crash. */
#define POSITION_GAP 64
#define POSITION_TOUCHED_MAX 8
#define POSITION_REPLID_SIZE 40
#define POSITION_INSTANCE_SIZE 16
/* Lanes that had nothing to do are marked this often, so that the oldest position is never far
 * behind the newest. */
#define POSITION_INTERVAL_MS 100

enum position_mode { POSITION_OFF, POSITION_GROUP, POSITION_MARK };

#define POSITION_NAME_MAX 64
#define POSITION_OWNER_MAX 64
struct position_lane {
    char key[POSITION_NAME_MAX];
    char dirty_key[POSITION_NAME_MAX];
    char *slots;       /* owned; the value of <replid>:lane */
    uint64_t refusals; /* what its server had refused when this pipeline began; 0: not known */
};

struct position_plan {
    enum position_mode mode;
    uint32_t db;
    uint32_t lane_count;
    struct position_lane *lanes;
    char instance[POSITION_INSTANCE_SIZE + 1];
    uint32_t reach;                 /* operations without an answer, on one lane, at most */
    char claim[POSITION_OWNER_MAX]; /* the value of <replid>:owner without a turn */
    char owner[POSITION_OWNER_MAX]; /* the same with it                           */
};

/* What an interruption before has left uncertain of a stream on a lane. */
struct position_doubt {
    uint64_t until; /* all up to here, written with positions before it               */
    uint32_t gap;   /* operations behind that; written until none of them is uncertain */
};

/* A stream's place, as the router that writes it knows it. */
struct position_stream {
    bool is_on; /* live, and the first position is written */
    char replid[POSITION_REPLID_SIZE + 1];
    uint64_t offset; /* of the last command of which every operation is written */
    uint32_t db;     /* selected in the stream there                            */
    uint64_t acked;  /* every operation up to here is acknowledged on every lane */
    uint32_t acked_db;
};

/* Whether a key is ours: never copied from a source that is itself a destination, never removed,
 * never reported. */
static inline bool position_is_key(const void *key, size_t size)
{
    const uint8_t *bytes = key;
    return size >= sizeof(POSITION_DIRTY_KEY) - 1 && bytes[0] == 's' && bytes[8] == ':' &&
           (memcmp(bytes, POSITION_DIRTY_KEY, sizeof(POSITION_DIRTY_KEY) - 1) == 0 ||
            (size >= sizeof(POSITION_KEY) - 1 &&
             memcmp(bytes, POSITION_KEY, sizeof(POSITION_KEY) - 1) == 0));
}

/* The shortest decimal tag whose slot this is: at most 6 digits and a terminator. */
#define POSITION_TAG_MAX 8
void position_tag(uint16_t slot, char tag[POSITION_TAG_MAX]);
/* The names of a lane whose first slot this is; SLOT_NONE for a standalone destination. */
void position_lane_name(struct position_lane *lane, uint16_t slot);

/* Eight numbers and what separates them. */
#define POSITION_VALUE_MAX 144

/* ---- encoding: RESP, at `out`; the end is returned ---- */

/* HSET of the positions of some streams; `doubts` by stream, of this lane. At most
 * POSITION_SET_MAX(count) bytes. */
#define POSITION_SET_MAX(count) (128 + (size_t)(count) * (POSITION_VALUE_MAX + 64))
uint8_t *position_put(uint8_t *out,
                      const struct position_plan *plan,
                      uint32_t lane,
                      const struct position_stream *streams,
                      const struct position_doubt *doubts,
                      const uint16_t *indexes,
                      uint32_t count);

/* ---- reading ---- */

struct position_value {
    uint64_t offset;
    uint32_t db;
    uint32_t gap;
    uint64_t until;
    bool has_acked; /* else an earlier version wrote it */
    uint64_t acked;
    uint32_t acked_db;
    uint64_t refusals;
    uint32_t reach;
};
/* What a stream's place means on a lane where this is left of an interruption before. */
struct position_value position_value_now(const struct position_plan *plan,
                                         uint32_t lane,
                                         const struct position_stream *stream,
                                         const struct position_doubt *doubt);
size_t position_value_write(char out[POSITION_VALUE_MAX], const struct position_value *value);
/* False: not one of ours, or of a later version. */
MUST_CHECK bool position_value_read(const char *text, size_t size, struct position_value *value);

/* The slots of a :lane text as a bitmap of SLOT_COUNT bits. False: malformed. "all" is every slot.
 */
MUST_CHECK bool position_slots_read(const char *text, size_t size, uint8_t bitmap[]);

#endif
