/*
 * Commands that the table does not know, of modules and of servers newer than we are: the
 * destination is asked what they are and where their keys lie.
 *
 * A stream that meets one posts a question and waits; other streams of its decoder go on. A thread
 * of its own asks a destination server: COMMAND INFO once per name, and COMMAND GETKEYS for each
 * command whose keys only the server's own code finds. What is known of a name is kept.
 *
 *     IDLE ──asker_post──► POSTED ──asker──► ANSWERED ──asker_take──► IDLE
 *
 * Threads:   asker_find, asker_post and asker_take by the decoder of a stream; the rest of a
 *            question is the asker's while it is POSTED, and its decoder's otherwise. What
 *            asker_find returns is constant while the asker lives, but for is_told.
 * Ownership: the command that was posted stays where it is until the answer is taken, or the asker
 *            stopped.
 * Limits:    ASKED_MAX names, more is an error; a question takes at most twice the time limit of
 * the connection for each destination shard, and one for keys as much memory again as its command.
 * Errors:    in the answer: of the destination's domain when nobody could be asked, it refuses
 *            COMMAND, or its answer makes no sense.
 */
#ifndef APPLY_COMMAND_ASK_H
#define APPLY_COMMAND_ASK_H

#include <pthread.h>

#include "apply/command_table.h"
#include "apply/topology.h"

#define ASKED_MAX 512
#define ASKED_NAME_MAX 128 /* with the terminator; "NAME SUBCOMMAND" */
#define ASKED_SPECS_MAX 8
#define ASKED_KEYWORD_MAX 32

enum asked_kind {
    ASKED_KNOWN,
    ASKED_CONTAINER, /* what it does depends on its first argument: see "NAME SUBCOMMAND" */
    ASKED_UNKNOWN,   /* to the destination too */
};

/* What is known of a name. */
struct asked {
    enum asked_kind kind;
    struct command_info info; /* KNOWN: COMMAND_WRITE or COMMAND_READ */
    char name[ASKED_NAME_MAX];
    struct key_spec specs[ASKED_SPECS_MAX];
    char keywords[ASKED_SPECS_MAX][ASKED_KEYWORD_MAX];
    _Atomic bool is_told; /* UNKNOWN: W and R decoders: it was logged */
};

enum question_state { QUESTION_IDLE, QUESTION_POSTED, QUESTION_ANSWERED };

/* One stream's. */
struct question {
    /* W: decoder to POSTED and IDLE, asker to ANSWERED; release, acquire. */
    _Atomic int state;
    const uint8_t *bytes; /* the command */
    struct resp_command command;
    struct waker *decoder;
    /* The answer. */
    bool is_failed; /* err says why */
    struct asked *asked;
    struct key_list keys; /* with COMMAND_KEYS_ASKED */
    struct syn_err err;
};

struct asker {
    const struct topology *destination;
    int timeout_ms;
    struct question **questions;
    uint32_t question_count;
    pthread_t thread;
    struct waker waker;
    bool is_started;
    bool has_waker;
    _Atomic bool stop_wanted;
    /* The asker's alone. */
    struct control control;
    uint32_t shard; /* that it is connected to, or tried last */
    uint32_t asked_count;
    /* W: asker, release. R: decoders, acquire. Open addressing; entries are only added. */
    _Atomic(struct asked *) table[2 * ASKED_MAX];
};

MUST_CHECK bool
question_init(struct question *question, struct waker *decoder, struct syn_err *err);
void question_deinit(struct question *question);

/* The destination must outlive it. timeout_ms: for connecting, and for each answer. */
MUST_CHECK bool asker_init(struct asker *asker,
                           const struct topology *destination,
                           int timeout_ms,
                           struct syn_err *err);
/* `questions`: all that may be posted. */
MUST_CHECK bool asker_start(struct asker *asker,
                            struct question **questions,
                            uint32_t question_count,
                            struct syn_err *err);
/* Waits for an answer that is on its way, and joins. A zeroed asker is allowed. */
void asker_stop(struct asker *asker);
void asker_deinit(struct asker *asker); /* the same */

/* What is known of the command's name, of its subcommand when it has such. NULL: nothing yet. */
struct asked *
asker_find(struct asker *asker, const uint8_t *bytes, const struct resp_command *command);
void asker_post(struct asker *asker,
                struct question *question,
                const uint8_t *bytes,
                const struct resp_command *command);
/* Answers one question, in the calling thread: the asker's, or a test's. */
void asker_answer(struct asker *asker, struct question *question);

/* ---- command_ask_read.c: from replies ---- */

/* One entry of COMMAND INFO; `name` as it will be looked up, upper case. False: err. */
MUST_CHECK bool
asked_read(struct asked *asked, const char *name, const redisReply *entry, struct syn_err *err);
/* COMMAND GETKEYS' answer, as positions in the command. */
MUST_CHECK bool asked_keys_read(const redisReply *reply,
                                const uint8_t *bytes,
                                const struct resp_command *command,
                                struct key_list *keys,
                                struct syn_err *err);

#endif
