/*
 * apply: from decoded bytes to acknowledged operations at the destination.
 *
 * - topology.h       what a deployment looks like
 * - intake.h         what a destination takes
 * - command_table.h  keys and class of every command
 * - stream.h         streams and decoders
 * - router.h         slots, lanes, batches, units
 * - lane.h           lanes and appliers
 * - batch.h          encoded operations with a record each
 * - failure.h        the first failure of a task
 *
 * Each states its threads, ownership, limits and errors. The path of an operation: feed (io) →
 * stream → router → batch → lane → destination, and back as an answered batch → frontier →
 * offset_applied.
 */
#ifndef APPLY_APPLY_H
#define APPLY_APPLY_H

#include "apply/stream.h"
#include "apply/topology.h"

#endif
