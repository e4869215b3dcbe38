/*
 * Random commands of every kind through rules of selection, for tests: one set of rules is given
 * both to the program, on its command line, and to an independent matcher, which says what the
 * destination must hold. The tests decide when to send, what to kill and when to compare.
 *
 * Threads:   one, as in servers.h.
 * Ownership: struct traffic is the test's; both sides and the rules are borrowed and must outlive
 *            it. Nothing in it needs to be released.
 * Limits:    rules of TRAFFIC_OPTIONS_MAX words.
 * Errors:    fatal, or cmocka's assertions.
 */
#ifndef SELECT_TRAFFIC_H
#define SELECT_TRAFFIC_H

#include "tests/apply/select_naive.h"
#include "tests/live/live.h"
#include "tests/support/random.h"

#define TRAFFIC_OPTIONS_MAX 12 /* words of a set of rules, with the NULL at its end */
#define TRAFFIC_RULE_SETS 6

struct rule_set {
    const char *options[TRAFFIC_OPTIONS_MAX]; /* as on the command line, NULL-terminated */
    const char *types;                        /* the selected ones, NULL: all            */
};

/* Inclusion, exclusion, types and renaming, each in several ways. */
extern const struct rule_set traffic_rule_sets[TRAFFIC_RULE_SETS];

/* The first group is the test's to fill, before traffic_init. */
struct traffic {
    struct live_side *source;
    struct live_side *destination;
    const struct rule_set *set;
    uint64_t seed;
    bool has_databases; /* 0 and 1 of standalone servers; else 0 alone */
    bool has_partial;   /* also what the destination cannot compute, so that keys are read anew */

    struct random random;
    struct naive naive; /* the same rules, for the matcher             */
    uint64_t sent;      /* commands                                    */
    uint64_t partial;   /* those that the destination could not compute */
};

/* Readies the matcher and the random numbers, and prints the seed and the first rule. */
void traffic_init(struct traffic *traffic);
/* Whether commands over several slots are among them: the source does not mind, and at the
 * destination they are relayed. */
bool traffic_is_cross_slot(const struct traffic *traffic);
/* Sends at least so many commands, alone and in transactions, and takes their replies. */
void traffic_send(struct traffic *traffic, unsigned count);

/* `COMMAND SOURCE DESTINATION --output json … RULES [NAME VALUE]`; name and value may be NULL. */
void traffic_spawn(const struct traffic *traffic,
                   struct test_cli *cli,
                   const char *command,
                   const char *name,
                   const char *value);
/* Every key of the source against the destination, by the matcher; and nothing else is there. */
void traffic_compare(const struct traffic *traffic);
/* `verify` by the same rules finds nothing. */
void traffic_assert_verified(const struct traffic *traffic);

/* Empties every server of a side; a standalone one is at database 0 then. */
void traffic_side_clear(const struct live_side *side);
/* The keys of a server's selected database, without those of the program's positions. */
int64_t traffic_key_count(redisContext *redis);

#endif
