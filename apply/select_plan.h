/*
 * What rules make of one command: forward it, write it differently, drop it, or give up.
 *
 * The destination's keys are to be those of the source that are selected, under their new names.
 * A plan is what keeps that true for one command:
 *
 *   keys that stand for themselves (DEL, MSET)   those that are not selected are left out
 *   RENAME, COPY, SMOVE, LMOVE of two keys       with one of them selected, what it does to that
 * one: DEL, nothing, SREM or SADD, a pop a target computed from others (…STORE)       nothing when
 * the target is not selected a type that is not selected                  nothing, or DEL where it
 * may replace another type RENAME and COPY when types are selected      of a key that is not there,
 * because of its type, they remove the target
 *
 * What cannot be computed at the destination is SELECT_PARTIAL: a selected key (target, or all that
 * are marked) gets a value that depends on keys or types which are not there, or which cannot be
 * seen (scripts, patterns of SORT).
 *
 * Threads:   pure, but for the key list and the output, which are the caller's.
 * Ownership: the output borrows its bytes; argv is its own.
 * Errors:    SYN_CODE_SOURCE_DATA from the search for keys.
 */
#ifndef APPLY_SELECT_PLAN_H
#define APPLY_SELECT_PLAN_H

#include "apply/select.h"

enum select_action {
    SELECT_FORWARD,  /* the bytes as they are                                            */
    SELECT_RENAMED,  /* the same command, keys under their new names                     */
    SELECT_REDUCED,  /* with the selected keys only, under their new names               */
    SELECT_REPLACED, /* another command with the same effect on the selected keys        */
    SELECT_DROPPED,  /* no effect on selected keys                                       */
    SELECT_PARTIAL,  /* cannot be computed at the destination                            */
    SELECT_CLAIMED,  /* a key keeps a name that another selected key could take          */
    SELECT_UNSCOPED, /* acts on a database as a whole, of which only a part is the task's */
};

/* Why it is not forwarded. */
enum select_reason {
    SELECT_BY_KEY,     /* its keys are not selected, or not all        */
    SELECT_BY_TYPE,    /* what it writes, or may read, is not selected */
    SELECT_BY_COMMAND, /* the command is not selected                  */
    SELECT_BY_SCRIPT,  /* a script's effects cannot be seen            */
    SELECT_BY_PATTERN, /* BY or GET reads keys that cannot be seen     */
    SELECT_BY_RENAME,
};

/* What is written with SELECT_REDUCED and SELECT_REPLACED. */
enum select_form {
    SELECT_SAME,
    SELECT_EACH,          /* the command with the marked keys                       */
    SELECT_DEL,           /* DEL of the marked keys                                 */
    SELECT_SREM,          /* of SMOVE's source                                      */
    SELECT_SADD,          /* to SMOVE's target                                      */
    SELECT_POP,           /* of LMOVE's source                                      */
    SELECT_RENAME_OR_DEL, /* a script: RENAME, or DEL of the target                 */
};

struct select_plan {
    enum select_action action;
    enum select_reason reason;
    enum select_form form;
    uint16_t rule;   /* that decided, SELECT_RULE_…                                         */
    uint32_t target; /* argv position of the key that cannot be computed, 0: several       */
    /* COPY with types selected: DEL of its target comes before, in the target's database. */
    bool is_del_before;
    const struct command_shape *shape;
};

/* Set in positions of the key list for keys that are written; keys->positions are argv positions
 * without it. */
#define SELECT_MARK (1u << 31)

/* Fills the plan; the list then holds the command's keys with their marks. Of a command whose keys
 * had to be asked for (COMMAND_KEYS_ASKED) it holds them before. Databases and commands that are
 * part of the protocol are the caller's to look at before. False: err. */
MUST_CHECK bool select_plan(const struct select *select,
                            const struct command_info *info,
                            const uint8_t *bytes,
                            const struct resp_command *command,
                            struct key_list *keys,
                            struct select_plan *plan,
                            struct syn_err *err);

/* A command being written. */
struct select_output {
    uint8_t *bytes; /* borrowed, `capacity` of them */
    size_t size;
    size_t capacity;
    struct resp_arg *argv; /* owned, grows with the arguments of commands */
    uint32_t argc;
    uint32_t argv_capacity;
};
void select_output_deinit(struct select_output *output); /* also of a zeroed one */
/* The most bytes that a command can become; `info` NULL: not looked up yet, then more. */
size_t select_output_bytes(const struct select *select,
                           const struct command_info *info,
                           const struct resp_command *command);
/* Writes what the plan says (RENAMED, REDUCED or REPLACED) and gives it as a command, valid until
 * the next call. False: out of memory for its arguments. */
MUST_CHECK bool select_write(const struct select *select,
                             const struct select_plan *plan,
                             const uint8_t *bytes,
                             const struct resp_command *command,
                             const struct key_list *keys,
                             struct select_output *output,
                             struct resp_command *written,
                             struct syn_err *err);
/* DEL of the key at this argv position, for is_del_before. */
MUST_CHECK bool select_write_del(const struct select *select,
                                 uint32_t position,
                                 const uint8_t *bytes,
                                 const struct resp_command *command,
                                 struct select_output *output,
                                 struct resp_command *written,
                                 struct syn_err *err);

/* A script that select_write writes, and that no EVALSHA ever calls. */
bool select_is_own_script(const struct slice *body);

/* What such a command does, to follow its name: "takes selected keys together with others". */
const char *select_reason_text(enum select_reason reason);

#endif
