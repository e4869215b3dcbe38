/*
 * Playing a recorded session: through the program into a destination, or into a real replica, whose
 * data then is the right expectation.
 *
 * Threads: one, as in servers.h. Errors: cmocka's assertions, or fatal.
 */
#ifndef LIVE_REPLAY_H
#define LIVE_REPLAY_H

#include "tests/live/contents.h"
#include "tests/live/fake_source.h"
#include "tests/live/live.h"
#include "tests/live/session.h"

#define REPLAY_OPTIONS_MAX 8

struct replay {
    struct fake_source_script script;
    const char *options[REPLAY_OPTIONS_MAX]; /* of the program, NULL-terminated */
};

struct replay_result {
    uint32_t full_count;
    uint32_t continued_count;
    int64_t diverged_count; /* commands that found another state than at the source */
    int64_t partial_count;  /* …of which some fields had no effect                  */
};

/* The session as it was recorded; the bytes stay the session's. */
struct replay replay_of(const struct session *session);
/* `sync --once` to its end, which must be a good one, as must every PSYNC, and no command may find
 * another state than at the source. */
struct replay_result replay_run(const struct replay *replay, const struct live_side *to);
/* The same to an end that must have this status; what it said is the caller's to free. */
char *replay_fail(const struct replay *replay, const struct live_side *to, int status);
/* Starts a server, lets it replicate the session to its end, and makes it a master. */
void replay_into_replica(const struct replay *replay, struct live_side *side, const char *version);

/* A stream of some steps only: `is_kept` has one entry per step. SELECTs that are left out with
 * their steps are put in where the next step needs them. Freed with free. */
uint8_t *replay_steps(const struct session *session, const bool *is_kept, size_t *size);

/* What two right copies of a session may differ in. */
struct contents_rules replay_rules(const struct session *session);
/* Takes into `got` what nobody can say of it: both must have those keys, or neither. */
void replay_accept_choices(const struct session *session, const json_t *wanted, json_t *got);
/* A database holds what is expected of the whole session. `version` is the destination's. */
void replay_assert_db(const struct session *session,
                      const struct live_side *to,
                      const char *version,
                      uint32_t db);

#endif
