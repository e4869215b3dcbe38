/*
 * The command table: which arguments of a command are keys, and what kind of thing it does.
 *
 * Generated from real servers' COMMAND output by tools/commands/generate; the generated file is
 * checked in. The classes are ours, decided here by name.
 *
 * Threads: constant data, any thread. Errors: none; an unknown name is NULL.
 */
#ifndef APPLY_COMMAND_TABLE_H
#define APPLY_COMMAND_TABLE_H

#include "rdb/rdb.h"

enum command_class {
    COMMAND_WRITE, /* forwarded whole to the lane of its keys; several slots: cannot be split  */
    COMMAND_SPLIT_PAIRS, /* MSET, MSETNX as propagated: key value key value … */
    COMMAND_SPLIT_KEYS,  /* DEL, UNLINK: keys only, one command per slot has the same effect  */
    COMMAND_READ, /* no effect on data: dropped and counted (TOUCH, GET, EXISTS …)            */
    COMMAND_SELECT,
    COMMAND_MULTI,
    COMMAND_EXEC,
    COMMAND_PING,
    COMMAND_REPLCONF,
    COMMAND_PUBLISH, /* PUBLISH, SPUBLISH                                                        */
    COMMAND_CLUSTER, /* CLUSTER …: the source's own business, dropped                            */
    COMMAND_FLUSHALL,
    COMMAND_FLUSHDB,
    COMMAND_SWAPDB,
    COMMAND_MOVE,     /* MOVE key db                                                              */
    COMMAND_COPY,     /* COPY a b [DB n] [REPLACE]                                                */
    COMMAND_FUNCTION, /* FUNCTION LOAD, DELETE, FLUSH, RESTORE                                    */
    COMMAND_SCRIPT,   /* SCRIPT LOAD, FLUSH                                                       */
    COMMAND_EVAL,     /* EVAL, EVALSHA, FCALL: keys by count                                      */
    COMMAND_TRIM,     /* XADD, XTRIM: "= n LIMIT m" of a master must lose its LIMIT               */
    COMMAND_RESTORE_ASKING, /* becomes RESTORE */
    COMMAND_CLASS_COUNT,
};

/* What a command that was propagated cannot answer, where both sides are equal: a master sends only
 * what had an effect there. */
enum command_answer {
    COMMAND_ANSWER_NONE,   /* no command of a source: also an error is not its keys' affair */
    COMMAND_ANSWER_ANY,    /* an error of their state   */
    COMMAND_ANSWER_NUMBER, /* 0, or a negative number   */
    COMMAND_ANSWER_VALUE,  /* nil                       */
    COMMAND_ANSWER_FULL,   /* nil, or an array of nothing */
    COMMAND_ANSWER_EACH,   /* an array of numbers, none of which is above 0; a doubt if some are not
                            */
};

/* What a command is about, as the servers' own documentation groups it (COMMAND DOCS). */
enum command_group {
    COMMAND_GROUP_GENERIC, /* of keys, whatever their type */
    COMMAND_GROUP_STRING,
    COMMAND_GROUP_LIST,
    COMMAND_GROUP_SET,
    COMMAND_GROUP_SORTED_SET,
    COMMAND_GROUP_HASH,
    COMMAND_GROUP_STREAM,
    COMMAND_GROUP_GEO,         /* values are sorted sets */
    COMMAND_GROUP_HYPERLOGLOG, /* values are strings     */
    COMMAND_GROUP_BITMAP,      /* values are strings     */
    COMMAND_GROUP_SCRIPTING,
    COMMAND_GROUP_PUBSUB,
    COMMAND_GROUP_SERVER, /* FLUSHALL, FLUSHDB and SWAPDB are here */
    COMMAND_GROUP_CONNECTION,
    COMMAND_GROUP_TRANSACTIONS,
    COMMAND_GROUP_CLUSTER,
    COMMAND_GROUP_MODULE,
    COMMAND_GROUP_COUNT,
};

/* How key positions are found; one or more per command. COMMAND INFO's key specs, Redis 7.0. */
enum key_search { KEY_AT_INDEX, KEY_AFTER_KEYWORD };
enum key_find { KEY_RANGE, KEY_COUNTED };

struct key_spec {
    enum key_search search;
    enum key_find find;
    const char *keyword; /* upper case */
    int16_t index; /* AT_INDEX: argv position; AFTER_KEYWORD: where to start looking, negative from
                      the end backwards */
    int16_t last;  /* RANGE: last key relative to the first (>= 0) or to the end (-1 is the last
                      argument)    */
    int16_t step;
    int16_t
        limit; /* RANGE with last < 0: only the first (remaining / limit) arguments; 0 or 1: all */
    int16_t count_index; /* COUNTED: position of the number of keys, relative to the start */
    int16_t first; /* COUNTED: position of the first key, relative to the start                  */
};

/* spec_count of a command that is not in the table and whose keys only the destination's code
 * finds: see command_ask.h. command_keys is not for it. */
#define COMMAND_KEYS_ASKED UINT8_MAX

struct command_info {
    const char
        *name; /* upper case; "XGROUP CREATE" for a subcommand that has an entry of its own */
    uint8_t name_size;
    enum command_class class;
    uint8_t group;     /* enum command_group  */
    uint8_t answer;    /* enum command_answer */
    int16_t arity;     /* negative: at least */
    bool is_write;     /* the servers' own flag */
    bool is_key_first; /* exactly one key, at argv[1]: the common case, no search needed */
    bool is_expiring;  /* it may give a key a time to live: expiry.h */
    uint8_t spec_count;
    const struct key_spec *specs;
};

/* Looks a name up in any letter case: a few tens of nanoseconds. NULL: not in the table. */
const struct command_info *command_find(const uint8_t *name, size_t size);

/* Positions of the keys in argv, ascending, without duplicates. */
struct key_list {
    uint32_t count;
    uint32_t capacity;
    uint32_t *positions; /* owned; grown as needed */
};
MUST_CHECK bool key_list_init(struct key_list *list, struct syn_err *err);
void key_list_deinit(struct key_list *list);
/* Puts a position where it belongs. */
MUST_CHECK bool key_list_add(struct key_list *list, uint32_t position, struct syn_err *err);

/* Fills the list. False with err (SYN_CODE_SOURCE_DATA): wrong arity, a count that is not a number
 * or points beyond the arguments, an odd number of pairs. No keys is count 0. `bytes` is the
 * command's first byte. */
MUST_CHECK bool command_keys(const struct command_info *info,
                             const uint8_t *bytes,
                             const struct resp_command *command,
                             struct key_list *list,
                             struct syn_err *err);

/* For tests and tools: all entries. */
const struct command_info *command_table(size_t *count);

#endif
