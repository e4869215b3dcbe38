/*
 * Control connections: blocking request and reply with hiredis, for discovery, prechecks, status
 * polling and verification. Never on the data path.
 *
 * Threads:   a connection belongs to one thread at a time.
 * Ownership: replies are hiredis' own: freeReplyObject.
 * Errors:    `side` chooses the domain: source or destination; connect, auth, state and protocol
 *            problems each have their own code and a message with the endpoint and what to do. After
 *            a time limit sys_errno is ETIMEDOUT.
 */
#ifndef IO_CONTROL_H
#define IO_CONTROL_H

#include <hiredis/hiredis.h>

#include "io/endpoint.h"

enum side {
    SIDE_SOURCE,
    SIDE_DESTINATION,
};
const char *side_name(enum side side); /* "source", "destination" */

struct control {
    struct redisContext *context; /* NULL when closed */
    struct endpoint endpoint;
    enum side side;
};

/* Connects, authenticates and pings within timeout_ms (also the time limit of each later command).
 * Told apart: name does not resolve, refused, timed out, unix socket missing, wrong password,
 * password needed, password given but none set, NOPERM, loading, not a Redis (an HTTP or TLS
 * answer, or none). False: `control` is closed. */
MUST_CHECK bool control_open(struct control *control,
                             const struct endpoint *endpoint,
                             enum side side,
                             int timeout_ms,
                             struct syn_err *err);
void control_close(struct control *control); /* also of a zeroed struct */

/* One command from argv; NULL: the connection failed (err says so, connection closed). An error
 * reply is returned, not reported. */
redisReply *control_call(
    struct control *control, int argc, const char **argv, const size_t *sizes, struct syn_err *err);
/* One command of words separated by spaces ("INFO replication"); an error reply is reported in err
 * and NULL. */
redisReply *control_ask(struct control *control, struct syn_err *err, const char *command);
/* The pipelined form: append several, then fetch as many. */
MUST_CHECK bool control_append(
    struct control *control, int argc, const char **argv, const size_t *sizes, struct syn_err *err);
redisReply *control_fetch(struct control *control, struct syn_err *err);
/* As control_fetch for a reply that should be one text, of any size: it is given to the sink in
 * pieces, at least one, as it arrives, and never held. Any other reply is put in *reply (of nil,
 * the caller's to free too), which is NULL otherwise. */
struct control_sink {
    /* The piece is valid until it returns; no call on the connection from here. */
    void (*piece)(void *arg, const uint8_t *bytes, size_t size, uint64_t offset, uint64_t total);
    void *arg;
};
enum control_bulk {
    CONTROL_BULK_TEXT,  /* the sink has it all                         */
    CONTROL_BULK_OTHER, /* nil, an error, anything else                */
    CONTROL_BULK_LOST,  /* the connection failed: as for control_fetch */
};
enum control_bulk control_fetch_bulk(struct control *control,
                                     const struct control_sink *sink,
                                     redisReply **reply,
                                     struct syn_err *err);
/* Sends what was appended without waiting for replies, so that several servers work at once.
 * control_fetch does it by itself for its own connection. False: as for control_call. */
MUST_CHECK bool control_flush(struct control *control, struct syn_err *err);
/* The time limit of each later command, in place of control_open's. */
void control_set_timeout(struct control *control, int timeout_ms);
/* Turns an error reply into err with the right code (NOPERM, NOAUTH, LOADING, MASTERDOWN … or
 * protocol), naming what was asked; returns false. */
bool control_reply_error(const struct control *control,
                         const redisReply *reply,
                         const char *what,
                         struct syn_err *err);

/* The value of "name:" in an INFO text, copied to out (cut to fit, always terminated). False:
 * absent. */
bool info_field(const char *info, const char *name, char *out, size_t out_size);
/* The same as a number; `fallback` when absent or not a number. */
int64_t info_number(const char *info, const char *name, int64_t fallback);

#endif
