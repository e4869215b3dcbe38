/*
 * Commands of the table that the destination's version does not have: known before the first one
 * comes, so that what becomes of it is decided in front of the lane and not by a refused operation.
 *
 * Threads:   read by one thread; then constant, but for what was told.
 * Ownership: command_missing_free. NULL stands for a destination that has everything, or does not
 *            say.
 */
#ifndef APPLY_COMMAND_MISSING_H
#define APPLY_COMMAND_MISSING_H

#include "apply/command_table.h"
#include "apply/topology.h"

enum missing_state { MISSING_NOT, MISSING_YES, MISSING_TOLD };

struct command_missing {
    uint32_t count;          /* commands that are missing                                      */
    _Atomic uint8_t state[]; /* by place in the table; W: decoders, from YES to TOLD           */
};

/* Asks a server of the destination's lowest version. False: it does not answer. */
MUST_CHECK bool command_missing_read(struct command_missing **missing,
                                     const struct topology *destination,
                                     int timeout_ms,
                                     struct syn_err *err);
void command_missing_free(struct command_missing *missing);

/* `info` is one of the table, or of none. */
bool command_is_missing(const struct command_missing *missing, const struct command_info *info);
/* The first time for this command. */
bool command_missing_tell(struct command_missing *missing, const struct command_info *info);

#endif
