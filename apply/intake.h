/*
 * Intake: what a destination takes of a snapshot, and so how each value leaves: as RESTORE, or
 * rewritten as ordinary commands.
 *
 * It is found out by asking. A server that looks like an original one of a known version is taken
 * at its word (the table of reference versions in intake.c) and only checked: one RESTORE of the
 * latest value type that its version knows, with every option. Where that is not taken, and where
 * the version is not told, is newer than the table, or is told by something that only speaks the
 * protocol (a proxy, a fork, a managed service), every value type is tried with a tiny valid
 * payload, and so is every command option that the rewriter would use. A destination that has no
 * RESTORE, renamed it or forbids it gets everything as commands.
 *
 * Nothing is left behind. Keys have names of 128 random bits, in a slot of the shard that is asked.
 * RESTORE is asked with a time to live that is past: it creates no key, from 5.0 on; before, it
 * lasts a millisecond. Other keys that a question needs expire after a minute, and every question
 * ends with a DEL, also after a lost connection.
 *
 * Never asked: module values (Redis 4.0 and 5.0 exit when they have no such module), and the two
 * forms of listpacks (an entry in the wrong one makes a server of the other family crash:
 * reform.h).
 *
 * Threads:   blocking, control plane only. A finished intake is constant.
 * Limits:    about a hundred tiny commands for each shard that is not taken at its word, else two.
 * Errors:    those of control_open; SYN_CODE_DESTINATION_STATE when a server that must be asked
 *            cannot tell now (out of memory, loading, read only …).
 */
#ifndef APPLY_INTAKE_H
#define APPLY_INTAKE_H

#include "apply/topology.h"
#include "rdb/reform.h"
#include "rdb/rewrite.h"

struct intake {
    /* RESTORE is there and permitted; without it all of the next are false or 0. */
    bool has_restore;
    bool has_replace; /* RESTORE … REPLACE: 3.0. Without, a DEL goes before it         */
    bool has_absttl;  /* … ABSTTL: 5.0. Without, a PEXPIREAT follows it                */
    bool has_idle;    /* … IDLETIME: 5.0                                               */
    bool has_freq;    /* … FREQ: 5.0                                                   */
    /* The footer for each type, by the source's magic (Valkey: 1); 0: it is to be rewritten. */
    uint16_t restore_version[2][RDB_TYPE_COUNT];
    bool has_functions;               /* FUNCTION LOAD: 7.0                               */
    enum listpack_form listpack_form; /* never asked: by version, UNKNOWN if that is not trusted */
    struct rewrite_target rewrite;    /* what commands it knows; policy and limits are defaults */
    bool is_asked;                    /* every type was tried, on at least one shard      */
    char refusal[96];                 /* without RESTORE: why, for people                 */
};

/* The latest earlier form of a stream of this type that the destination loads, of the types that
 * are not in `refused` (bits); RDB_TYPE_STRING: none, or the type is no stream. */
uint8_t
intake_stream_form(const struct intake *intake, bool is_valkey_rdb, uint8_t type, uint32_t refused);

/* What an original server of this version takes. */
void intake_of_version(struct intake *intake, const struct server *server);

/* Asks every shard; the result is what all of them take. */
MUST_CHECK bool intake_ask(struct intake *intake,
                           const struct topology *destination,
                           int timeout_ms,
                           struct syn_err *err);

/* One line: "destination takes RESTORE up to RDB 10; rewritten: set (listpack) …". */
#define INTAKE_TEXT_MAX 600
void intake_text(const struct intake *intake, char text[static INTAKE_TEXT_MAX]);

#endif
