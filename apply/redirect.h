/*
 * Redirections of a cluster: following MOVED and ASK with one command at a time.
 *
 * While a slot moves, its old owner answers ASK for a key that has gone, or never was there, and
 * the new one takes it behind ASKING; when the slot has moved, MOVED. TRYAGAIN says that a
 * command's keys are on both sides just now. Blocking requests follow all of these (redirect_call).
 * A lane follows only ASK, and only one step (redirect_once, lane.c): there the order of operations
 * depends on where they run.
 *
 * Threads:   blocking; a redirect belongs to one thread at a time.
 * Ownership: the redirect owns the connections that it opened; replies are hiredis' own.
 * Limits:    REDIRECT_TARGETS_MAX connections, the oldest is closed for another; REDIRECT_HOPS_MAX
 *            steps and REDIRECT_WAIT_MS for TRYAGAIN, then the error is the reply.
 * Errors:    those of the connections. An error reply is returned, not reported.
 */
#ifndef APPLY_REDIRECT_H
#define APPLY_REDIRECT_H

#include "io/io.h"

#define REDIRECT_TARGETS_MAX 16
#define REDIRECT_HOPS_MAX 8
/* Between two steps of a migration, MIGRATE of one key after the other, this is long. */
#define REDIRECT_WAIT_MS 1000

struct redirect {
    int timeout_ms;
    /* NULL: control_open. Else the owner's way to open one that may write. */
    bool (*open)(void *arg,
                 const struct endpoint *endpoint,
                 struct control *control,
                 struct syn_err *err);
    void *arg;
    struct control targets[REDIRECT_TARGETS_MAX];
    uint32_t count;
    uint32_t next; /* the one that is closed when there are too many */
};

struct redirect_place {
    bool is_ask; /* ASK, else MOVED */
    uint16_t slot;
    uint16_t port;
    char host[256]; /* empty: the one that answered */
};

/* An error's text, without the '-'. False: it is no redirection that says where to. */
MUST_CHECK bool redirect_read(const char *text, size_t size, struct redirect_place *place);

/* One command, wherever it leads; NULL: a connection failed. */
redisReply *redirect_call(struct redirect *redirect,
                          struct control *control,
                          int argc,
                          const char **argv,
                          const size_t *sizes,
                          struct syn_err *err);
/* The same where `reply` was the first answer of the server at `from`, and is consumed. */
redisReply *redirect_follow(struct redirect *redirect,
                            const struct endpoint *from,
                            int argc,
                            const char **argv,
                            const size_t *sizes,
                            redisReply *reply,
                            struct syn_err *err);
/* One command, encoded, at the place that the server at `from` named. */
redisReply *redirect_once(struct redirect *redirect,
                          const struct endpoint *from,
                          const struct redirect_place *place,
                          const void *bytes,
                          size_t size,
                          struct syn_err *err);
void redirect_close(struct redirect *redirect); /* a zeroed one is allowed; may be used again */

#endif
