/*
 * Random commands of every kind that a server has: all write commands with their options, reads
 * that write (lazy expiry, PFCOUNT), transactions, scripts, functions, several databases, blocked
 * clients that others serve. Where writer.h needs commands that cannot fail, here many do: a
 * command that fails at its source must leave no trace anywhere else either.
 *
 * What is made is decided by the seed, per client; what comes of it depends on how the clients
 * meet.
 *
 * Expiry: keys are either given hours to live, or live for moments and are then only overwritten or
 * deleted ("vol:", "vhash:"). A moment that one side has seen pass and the other not yet would
 * otherwise decide what a later command does.
 *
 * Threads:   generator_start and _stop from one thread; the count from any.
 * Ownership: generator_stop frees.
 * Limits:    GENERATOR_CLIENTS_MAX. Values up to 200 KB, collections up to a few thousand elements.
 * Errors:    a lost connection is fatal, as is an answer that no command of a client deserves
 *            (MOVED, CROSSSLOT, OOM …): then the generator is wrong.
 */
#ifndef TEST_GENERATOR_H
#define TEST_GENERATOR_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#define GENERATOR_CLIENTS_MAX 16
#define GENERATOR_VOLATILE_MS 400 /* what lives for moments lives no longer */

struct generator_options {
    uint16_t port; /* of a standalone server or of any cluster node */
    uint64_t seed;
    uint32_t client_count;     /* that write; 0: 4. Two more block, and one reads */
    uint32_t rate_max;         /* commands per second of all; 0: as many as the server takes */
    uint32_t db_count;         /* standalone: moves among so many databases; 0: stays in 0 */
    bool is_cross_slot;        /* keys of one command anywhere; else they share a hash tag */
    bool has_flushes;          /* FLUSHDB and FLUSHALL */
    bool has_database_moves;   /* MOVE, COPY … DB and SWAPDB, with db_count > 1 */
    bool has_patterns;         /* SORT with BY, and with GET of keys that it does not name */
    bool has_asking;           /* RESTORE-ASKING, as a slot's new owner sends it */
    bool has_verbatim_scripts; /* the source sends scripts to its replicas as they are: only such
                                  whose effect is the same everywhere */
    bool has_lost_field_times; /* the source sends HINCRBYFLOAT as HSET, which loses a field's
                                  expiry on replicas: not on fields that have one */
};

struct generator;

struct generator *generator_start(const struct generator_options *options);
/* Commands answered so far, with an error or without. */
uint64_t generator_count(const struct generator *generator);
/* Waits for the replies to all that was sent. With a file, writes a line per form of command: how
 * often it was answered, how often with an error, and the last one's text. Returns the count. */
uint64_t generator_stop(struct generator *generator, FILE *report);

/* Names of all commands that some form makes, for a test of completeness; "FUNCTION LOAD" for a
 * subcommand. NULL-terminated; valid for ever. */
const char *const *generator_command_names(void);

#endif
