/* Shared by the precheck files. */
#ifndef ENGINE_PRECHECK_PRIVATE_H
#define ENGINE_PRECHECK_PRIVATE_H

#include "core/engine/precheck.h"

/* Whether the account may PSYNC at every source server, and write at every destination server, as
 * far as the servers tell without being written to. What they do not tell passes. An account that
 * may not read single keys of the source is warned of. */
MUST_CHECK bool precheck_source_account(const struct config *config,
                                        const struct topology *source,
                                        struct syn_err *err);
MUST_CHECK bool precheck_destination_account(const struct config *config,
                                             const struct topology *destination,
                                             struct syn_err *err);

/* Whether rules such as "+@all -@dangerous +psync" (ACL GETUSER's "commands", 6.0) allow a command
 * that is in these categories ("@admin @slow"): the last rule that names it decides. */
bool acl_rules_allow(const char *rules, const char *command, const char *categories);

#endif
