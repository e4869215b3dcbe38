/*
 * How the live stream takes a command, told without taking it: the same decisions as live.c,
 * live_admin.c, live_rules.c and relay_plan.c, from the command and a description of the
 * destination. A test runs every kind of command through the pipeline and compares. What a
 * destination turns out to lack, or has no memory for, is not foreseen.
 *
 * Threads: pure. Errors: none.
 */
#ifndef APPLY_LIVE_WAY_H
#define APPLY_LIVE_WAY_H

#include "apply/stream_private.h"

enum live_way {
    LIVE_FORWARD,  /* to the lane of its keys, as it is                                   */
    LIVE_SPLIT,    /* one command for each key                                            */
    LIVE_RELAY,    /* in steps, between the lanes of its keys (relay.h)                   */
    LIVE_BARRIER,  /* all before it is answered first, and it before all behind it        */
    LIVE_DROP,     /* nothing of it is applied                                            */
    LIVE_REFUSE,   /* the task stops                                                      */
    LIVE_PROTOCOL, /* read by the stream itself: SELECT, MULTI, EXEC, REPLCONF            */
    LIVE_REFETCH,  /* nothing is sent: its keys are read at the source (recovery.h)       */
    LIVE_WAY_COUNT,
};

/* The destination, as far as it matters. */
struct live_target {
    bool is_cluster;
    uint32_t lanes; /* to each shard, at least 1 */
};

/* `keys`: of the command as it goes on, filled by command_keys. *why is a short text that follows
 * "because", NULL when there is nothing to say. */
enum live_way live_way(const struct task *task,
                       const struct live_target *target,
                       const struct command_info *info,
                       const uint8_t *bytes,
                       const struct resp_command *command,
                       const struct key_list *keys,
                       uint64_t source_db,
                       const char **why);

/* Whether the command touches no selected database, so that it is dropped whatever its keys are. */
bool live_is_elsewhere(const struct task *task,
                       uint64_t source_db,
                       const struct command_info *info,
                       const uint8_t *bytes,
                       const struct resp_command *command);
/* The source database that a COPY writes to. */
uint64_t live_copy_db(uint64_t source_db, const uint8_t *bytes, const struct resp_command *command);
/* The same of a COPY, and where a MOVE moves to; of other commands `source_db`. */
uint64_t live_other_db(const struct command_info *info,
                       const uint8_t *bytes,
                       const struct resp_command *command,
                       uint64_t source_db);

#endif
