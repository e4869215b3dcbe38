/*
 * Divergence: live operations whose answers say that the two sides had parted before.
 *
 * A master propagates only what had an effect there. So a command that has none here (EXPIRE of no
 * key, SADD of a member that is there), or that fails because of what its keys hold (WRONGTYPE, no
 * such key, an index out of range), found another state than at the source; so did a script that
 * ends in an error, unless it did so at the source as well (sent as it is, before 5.0). The lane
 * notes it in the operation's record (op.refusal) and goes on; the decoder, which gets the batch
 * back with its bytes, makes the keys dirty: they are read again at the source and replaced
 * (recovery.h). A command is not sent again: its effect is part of what is read. With
 * --on-divergence count they are left as they are, with stop the lane fails.
 *
 * Of commands that answer for each field or id (HPEXPIREAT, HPERSIST, XDELEX) something must have
 * had an effect. That something had none is a doubt: the source may have sent that as well (Redis 8
 * fields of HGETEX that are not there, Valkey 9 any), or it renewed a field whose time was over
 * here, for times of fields are never put off. Doubts are repaired, counted by themselves and not
 * told of, and stop no task.
 *
 * What can be seen without any divergence is left out of it by the command table (DEL of a key that
 * expired here first), or costs a reading that changes nothing.
 *
 * MOVE and COPY may act in two databases: their keys are read in both of the source's.
 *
 * Invariants:
 * 1. Nothing is written while batches are collected: keys are kept until the stream stands between
 *    two commands.
 * 2. A task that ends in order has repaired what it noticed before its last position.
 * What was noticed, and not yet named in the dirty set, is not known to a run after kill -9.
 *
 * 3. Names are remembered only where they may be asked for: with --on-divergence refetch, of
 *    operations that are not whole in the batch with their record, until that is answered.
 *
 * Threads:   the stream's decoder.
 * Limits:    RECOVERY_KEYS_MAX keys wait at a time (with half as many, doubts are only counted),
 * and names are remembered in transaction_bytes_max bytes of each stream (the names of a
 *            transaction are less than the transaction, which is split beyond that). With more the
 *            stream needs a new full copy: of keys that wait at once, of names if one that could
 *            not be remembered is asked for.
 * Errors:    an operation whose keys are not known any more (there was no memory to note them) is a
 *            failure if it was refused, and else only counted.
 */
#ifndef APPLY_DIVERGENCE_H
#define APPLY_DIVERGENCE_H

#include "apply/command_table.h"
#include "apply/refusal.h"

struct divergences;

/* A group that ended in this batch, and had operations in batches that are gone, one of which had
 * this refusal: every key that was remembered with it is taken for its. False: there is none. */
MUST_CHECK bool
divergence_note_group(struct stream *stream, const struct batch *batch, uint8_t refusal);

/* An operation of a batch that came back with one of the live refusals. `bytes`: from
 * its first byte to the batch's end, NULL when it began in an earlier one. False: its keys are not
 * known, and it was refused. */
MUST_CHECK bool divergence_note(struct stream *stream,
                                const struct batch *batch,
                                const struct op *op,
                                const uint8_t *bytes,
                                size_t size);

/* The operation just written to the lane may have begun in an earlier batch: then its keys, which
 * are stream->keys, or the first argument of one with is_key_first, are remembered until it is
 * answered. */
void divergence_remember(struct stream *stream,
                         uint32_t lane,
                         const struct command_info *info,
                         const uint8_t *bytes,
                         const struct resp_command *command);

/* The same whether or not it did, for the group that ends in the open batch. */
void divergence_remember_in(struct stream *stream,
                            uint32_t lane,
                            const struct command_info *info,
                            const uint8_t *bytes,
                            const struct resp_command *command);

/* The same of an operation on one key that is no command of the source: made of another's
 * arguments, or of a value's elements. */
void divergence_remember_name(struct stream *stream,
                              uint32_t lane,
                              const struct slice *name,
                              uint64_t source_db);

/* Between two commands of a live stream: makes the keys dirty. */
MUST_CHECK bool divergence_step(struct stream *stream, struct syn_err *err);

/* The stream begins anew, or ends. */
void divergence_forget(struct stream *stream);

#endif
