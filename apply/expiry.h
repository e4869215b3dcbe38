/*
 * Expiry while a stream is catching up.
 *
 * A master does not let its replicas expire anything: it sends a DEL when a key's time is over. Our
 * destination is a master itself, and expires keys by its own clock while what the source did since
 * is still on its way. A key whose time to live the source renewed, extended or removed would be
 * gone here before we hear of it, and INCR or LPUSH would begin it anew.
 *
 * So until a stream has caught up, each time to live is put off: EXPIRY_PUT_OFF_MS are added to it,
 * be it relative or absolute, in the snapshot and in commands. Deletions arrive from the source, as
 * at a replica. Once caught up, times are written as they are, and what was put off is brought to
 * its exact time (engine_expiry.c). No list of such keys is kept: what is put off can be told by
 * its time, which is some 4400 years away, and the exact time can be computed from it. So any
 * number of keys is possible, and a killed run leaves nothing that the next one could not settle.
 *
 * An amount of minutes would be too short for a copy that takes longer, and could not be told from
 * a real time afterwards. --extend-ttl adds one to every time for good, whether it is put off
 * before
 * (--put-off-ttl on) or not.
 *
 * Not put off: times later than the year 2286; times that scripts set by themselves; times of hash
 * fields (a renewal of a field that is gone here is noticed where it can be, see divergence.h).
 *
 * Conditions (NX, XX, GT, LT) of a command whose time is put off are left out: a master sends only
 * what had an effect, and here they would be compared with times that are put off.
 *
 * Threads: the decoder's. No state.
 */
#ifndef APPLY_EXPIRY_H
#define APPLY_EXPIRY_H

#include "apply/command_table.h"

/* A multiple of a second, and below 2^47: exact in a double too, so in scripts. */
#define EXPIRY_PUT_OFF_MS INT64_C(140000000000000)
/* Later times, in the year 2286, are left as they are. */
#define EXPIRY_LATEST_MS INT64_C(10000000000000)

/* Whether a time to live of the source is changed, in milliseconds. */
static inline int64_t expiry_add(int64_t expire_ms, int64_t add_ms)
{
    return expire_ms < 0 || expire_ms >= EXPIRY_LATEST_MS ? expire_ms : expire_ms + add_ms;
}

/* What a command is written with instead. */
struct expiry_edit {
    uint32_t arg;   /* the time                                   */
    uint32_t count; /* arguments left; those behind are conditions */
    char digits[NUM_DIGITS_MAX];
    size_t digits_size;
};

/* The command in one of two forms: as it was cut, or as its arguments (`command` NULL). */
struct expiry_words {
    const uint8_t *bytes;
    const struct resp_command *command;
    const struct slice *args;
    uint32_t count;
};

/* False: it is written as it is. */
bool expiry_edit_make(struct expiry_edit *edit,
                      const struct command_info *info,
                      const struct expiry_words *words,
                      int64_t add_ms);

/* More arguments than a command has that is written from them and may be edited. */
#define EXPIRY_ARGS_MAX 16
/* The edited command's bytes are at most `command->size` and this. */
#define EXPIRY_EDIT_GROWTH 24

/* The pieces of the edited command: `bytes[0, size_before)` behind a new head, the time, and the
 * rest. */
struct expiry_pieces {
    uint8_t head[RESP_HEAD_MAX];
    size_t head_size;
    const uint8_t *before;
    size_t before_size;
    uint8_t time[RESP_HEAD_MAX + NUM_DIGITS_MAX + 2];
    size_t time_size;
    const uint8_t *behind;
    size_t behind_size;
};
void expiry_copy(uint8_t *out, const struct expiry_pieces *pieces);
void expiry_cut(struct expiry_pieces *pieces,
                const struct expiry_edit *edit,
                const uint8_t *bytes,
                const struct resp_command *command);

#endif
