/*
 * Prechecks: everything that can be known to be wrong before the first byte is written.
 *
 * Threads: blocking, the thread of syn_engine_start. Errors: SYN_CODE_PRECHECK, or the side's own
 * domain; each says what was seen, why it matters and what to do. The destination is only read
 * here.
 */
#ifndef ENGINE_PRECHECK_H
#define ENGINE_PRECHECK_H

#include "apply/topology.h"
#include "core/engine/config.h"
#include "core/engine/resume.h"

/* Discovers both sides (source first: nothing is asked of the destination before the source is
 * known to work) and checks: the account may PSYNC at the source (ACL DRYRUN or ACL GETUSER where
 * available, else left to the handshake); the account may write at the destination (as far as ACL
 * DRYRUN tells); no server is on both sides (run_id, replid of a replica of it); the destination is
 * empty, or holds what an earlier run of this task wrote, or on_nonempty is overwrite; every
 * selected source database fits (cluster: db 0 only; standalone: `databases`, when CONFIG GET is
 * allowed). Files as source are looked at instead of asked (file_check.h), and have no earlier run.
 * On success the caller owns both topologies (that of files points into `config`), and what is
 * known of earlier runs.
 * is_again: the task is under way, so the destination's keys are its own. */
MUST_CHECK bool precheck_run(const struct config *config,
                             struct topology *source,
                             struct topology *destination,
                             bool is_again,
                             bool *destination_was_empty,
                             struct resume *resume,
                             struct syn_err *err);

#endif
