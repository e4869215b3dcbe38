/* Times to live that are put off until the streams have caught up: state and steps. Private to the
 * engine; see engine_expiry.c. */
#ifndef ENGINE_EXPIRY_H
#define ENGINE_EXPIRY_H

#include <pthread.h>

#include "core/base/base.h"

struct syn_engine;

enum engine_expiry_state { EXPIRY_PUT_OFF, EXPIRY_SETTLING, EXPIRY_STAMPING, EXPIRY_EXACT };

struct engine_expiry {
    struct syn_engine *engine;
    enum engine_expiry_state state;
    _Atomic bool is_exact; /* the state, for everyone; W: control, release */
    bool has_settle_offsets;
    bool was_put_off;  /* something may be put off at the destination */
    bool is_told;      /* that it is not possible there */
    bool is_failing;   /* the last pass did */
    uint64_t retry_ms; /* not before that, monotonic */
    uint64_t stamped;  /* by all passes since the last end */
    /* The thread's, until is_done. */
    pthread_t thread;
    bool has_thread;
    bool is_good;
    struct syn_err err;
    uint64_t pass_count;      /* times that it made exact                   */
    uint64_t elsewhere_count; /* keys that it met on their way to another node */
    _Atomic bool is_done;     /* W: the thread, release */
    _Atomic bool wants_stop;  /* W: control, release    */
};

/* Before the streams are made: whether times to live are put off, which the destination is asked.
 * False: it cannot be reached. */
MUST_CHECK bool engine_expiry_init(struct syn_engine *engine, struct syn_err *err);
/* One look. *is_exact: nothing is put off (any more). */
MUST_CHECK bool engine_expiry_watch(struct syn_engine *engine, bool *is_exact, struct syn_err *err);
/* Ends a pass that is under way. */
void engine_expiry_stop(struct syn_engine *engine);
/* All that was received is at the destination, and nothing more comes: makes times exact. */
void engine_expiry_finish(struct syn_engine *engine);
/* Whether a key at the destination may still have a time that is put off. Any thread, while the
 * pipeline is built. */
bool engine_expiry_is_put_off(const struct syn_engine *engine);

#endif
