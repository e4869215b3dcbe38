/*
 * Selection: which keys, types and commands are copied, and under which names.
 *
 * Rules are added one by one, compiled once, and then only asked. A key is selected when no
 * exclude rule of any kind matches it and, if there are include rules for keys, one of them does;
 * keys of positions (position.h) never are, under their old name or the new one;
 * types and commands the same way, each among themselves. A key that is selected takes the new
 * prefix of the longest rename rule that its name begins with. All rules look at names as they are
 * at the source, in every database alike.
 *
 * What rules mean for a whole command, with several keys or of a type, is select_plan.h's;
 * databases are the task's.
 *
 * Invariants:
 * 1. Two selected keys never get one name: rename rules of which that can be foreseen are refused,
 *    and a selected key that keeps its name while a renamed one could take it is `claimed`, which
 *    ends a task when it is met.
 * 2. The first rule that matches in a longer list is no different from any other: lists of rename
 *    rules in which one could hide another are refused, so "first" is "longest".
 *
 * Threads:   constant after select_finish.
 * Ownership: plain data without pointers, so that a configuration may be copied by value. Rules and
 *            their texts lie inside, in bounds that are checked when they are added.
 * Limits:    SELECT_RULES_MAX rules, SELECT_PATTERN_MAX bytes each, SELECT_TEXT_MAX in all. Asking
 *            allocates nothing; it costs a binary search per kind of prefix or suffix, and a pass
 *            over the globs.
 * Errors:    SYN_CODE_CONFIG, opening with the rule's name, such as "exclude_prefix[2]".
 */
#ifndef APPLY_SELECT_H
#define APPLY_SELECT_H

#include "apply/command_table.h"
#include "rdb/decode.h"
#include "rdb/rdb.h"

#define SELECT_RULES_MAX 1000
#define SELECT_PATTERN_MAX 1000
#define SELECT_TEXT_MAX (64u << 10)
#define SELECT_COMMANDS_MAX 1024

/* In the order of the options. */
enum select_list {
    SELECT_INCLUDE_KEY, /* globs */
    SELECT_INCLUDE_PREFIX,
    SELECT_INCLUDE_SUFFIX,
    SELECT_EXCLUDE_KEY,
    SELECT_EXCLUDE_PREFIX,
    SELECT_EXCLUDE_SUFFIX,
    SELECT_INCLUDE_TYPE,
    SELECT_EXCLUDE_TYPE,
    SELECT_INCLUDE_COMMAND, /* names, or @group */
    SELECT_EXCLUDE_COMMAND,
    SELECT_RENAME_PREFIX, /* OLD=NEW */
    SELECT_LIST_COUNT,
};
/* "include_key" … as fields of a file are called. Static. */
const char *select_list_name(enum select_list list);

/* Types are enum rdb_kind; RDB_KIND_COUNT stands for one that is not known. */
#define SELECT_KINDS_ALL ((1u << RDB_KIND_COUNT) - 1)
/* "string", "list", "set", "zset", "hash", "stream", "module". Static. */
const char *select_kind_name(enum rdb_kind kind);

/* What is given for the rule that decided when it was none of the list. */
#define SELECT_RULE_NONE UINT16_MAX               /* nothing speaks against it      */
#define SELECT_RULE_NOT_INCLUDED (UINT16_MAX - 1) /* it is not among what is included */
/* It is, or would become, a key in which positions are kept. */
#define SELECT_RULE_RESERVED (UINT16_MAX - 2)

struct select_rule {
    uint8_t list;   /* enum select_list                                                    */
    uint16_t index; /* in its list, from 0                                                 */
    uint16_t size;  /* of its pattern, prefix or name; escapes are resolved                */
    uint16_t to_size;
    uint16_t literal; /* of a glob: bytes that it begins with                              */
    uint32_t text;    /* where it begins in select.text                                    */
    uint32_t to;      /* rename: the new prefix                                            */
};

/* Prefixes (or suffixes, turned around) in the order of their bytes. All of them that a key begins
 * with are on one chain: the greatest node that is not behind the key, and its parents. */
struct select_node {
    uint64_t head; /* its first bytes as a number, for the search */
    uint32_t text;
    uint16_t size;
    uint16_t rule;
    uint16_t parent; /* the longest other prefix that it begins with; SELECT_NODE_NONE */
};
#define SELECT_NODE_NONE UINT16_MAX
#define SELECT_NODES_MAX (2 * SELECT_RULES_MAX)

struct select_set {
    uint16_t first;
    uint16_t count;
    uint16_t size_max; /* of its longest */
};

/* One of the two sides, include or exclude. */
struct select_keys {
    struct select_set prefixes;
    struct select_set suffixes;
    uint16_t glob_count;
    uint16_t globs; /* first of them in select.globs */
};

struct select {
    struct select_keys include;
    struct select_keys exclude;
    struct select_set renames; /* by the old prefix */
    struct select_set targets; /* by the new one    */
    bool has_include;          /* keys not named by an include rule are out  */
    bool has_exclude;
    bool has_renames;
    bool has_command_rules;
    bool is_active;            /* there is any rule                              */
    bool is_total;             /* every key is selected and keeps its name       */
    bool has_reserved_targets; /* a rename may end at a key of positions */
    bool has_command_include;
    uint8_t kinds;       /* bits of the types selected                */
    uint32_t growth_max; /* bytes that a name gains by its rename     */
    uint16_t kind_rule[RDB_KIND_COUNT];
    uint64_t command_kept[SELECT_COMMANDS_MAX / 64];
    uint16_t command_rule[SELECT_COMMANDS_MAX];
    uint8_t command_shape[SELECT_COMMANDS_MAX]; /* select_plan.c's */
    uint16_t rule_count;
    uint16_t node_count;
    uint16_t list_count[SELECT_LIST_COUNT];
    uint16_t globs[SELECT_RULES_MAX];
    struct select_rule rules[SELECT_RULES_MAX];
    struct select_node nodes[SELECT_NODES_MAX];
    uint32_t text_size;
    uint8_t text[SELECT_TEXT_MAX];
};

/* ---- making ---- */

/* Without rules: everything is selected. */
void select_init(struct select *select);
/* Whether a rule is written as its list wants it; `shown` opens the error. Prefixes, suffixes and
 * renames know the escapes \\ \n \r \t \" \= \xNN; globs are taken as Redis takes them. */
MUST_CHECK bool
select_check(enum select_list list, const char *shown, const char *text, struct syn_err *err);
/* Adds one rule as it was written. */
MUST_CHECK bool
select_add(struct select *select, enum select_list list, const char *text, struct syn_err *err);
/* Compiles what was added and checks the rules against each other. Nothing is added after it. */
MUST_CHECK bool select_finish(struct select *select, struct syn_err *err);

/* ---- asking: *rule is the one that decided, an index into rules or SELECT_RULE_… ---- */

MUST_CHECK bool
select_key(const struct select *select, const uint8_t *key, size_t size, uint16_t *rule);
static inline bool select_kind(const struct select *select, enum rdb_kind kind)
{
    return kind == RDB_KIND_COUNT || (select->kinds >> kind & 1) != 0;
}
MUST_CHECK bool
select_command(const struct select *select, const struct command_info *info, uint16_t *rule);
/* The same for a name that the table does not know. */
MUST_CHECK bool
select_unknown(const struct select *select, const uint8_t *name, size_t size, uint16_t *rule);

/* The rule that renames a selected key, NULL: it keeps its name. */
const struct select_rule *
select_rename(const struct select *select, const uint8_t *key, size_t size);
/* Of the key under its new name. */
static inline size_t select_renamed_size(const struct select_rule *rename, size_t size)
{
    return size - rename->size + rename->to_size;
}
/* Writes the new name and returns its end. */
uint8_t *select_rename_write(const struct select *select,
                             const struct select_rule *rename,
                             const uint8_t *key,
                             size_t size,
                             uint8_t *out);
/* The rule by which another selected key could get the name that this selected key keeps; NULL:
 * none. Keys of more than SELECT_CLAIM_MAX bytes are claimed without a look at that other key's own
 * selection. */
#define SELECT_CLAIM_MAX 4096
const struct select_rule *
select_claimed(const struct select *select, const uint8_t *key, size_t size);

/* Whether everything that the databases hold is copied under its own name, so that a flush may go
 * through whole. NULL: no rules. */
static inline bool select_is_total(const struct select *select)
{
    return select == NULL || select->is_total;
}

/* ---- whole keys in both directions, for work outside the data path ---- */

struct select_name {
    uint8_t *bytes; /* owned; grown as needed */
    size_t size;
    size_t capacity;
};
void select_name_deinit(struct select_name *name);
/* A source key's name at the destination. *is_selected false: it has none. Without rules
 * (`select` NULL) a key is its own. `name` holds it until the next call. */
MUST_CHECK bool select_to_destination(const struct select *select,
                                      struct slice key,
                                      struct select_name *name,
                                      bool *is_selected,
                                      struct syn_err *err);
/* The source key that a destination key is the copy of, or would be. *is_selected false: no
 * selected key can have this name there, so it is not the task's. */
MUST_CHECK bool select_to_source(const struct select *select,
                                 struct slice key,
                                 struct select_name *name,
                                 bool *is_selected,
                                 struct syn_err *err);

/* ---- telling ---- */

#define SELECT_RULE_TEXT_MAX 80
/* "exclude_prefix[2]", or a few words for those that are none of the list. */
const char *
select_rule_text(const struct select *select, uint16_t rule, char text[SELECT_RULE_TEXT_MAX]);
/* The rule's number. */
static inline uint16_t select_rule_number(const struct select *select,
                                          const struct select_rule *rule)
{
    return (uint16_t)(rule - select->rules);
}

#endif
