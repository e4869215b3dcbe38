/* Between the files of the selection: making rules, asking them, and the shapes of commands.
 * Private. */
#ifndef APPLY_SELECT_PRIVATE_H
#define APPLY_SELECT_PRIVATE_H

#include <string.h>

#include "apply/select.h"

/* ---- select_parse.c ---- */

/* A rule as it is understood. */
struct select_parsed {
    size_t size;
    size_t to_size;
    uint8_t text[SELECT_PATTERN_MAX];
    uint8_t to[SELECT_PATTERN_MAX];
};
MUST_CHECK bool select_parse(enum select_list list,
                             const char *shown,
                             const char *text,
                             struct select_parsed *parsed,
                             struct syn_err *err);
/* Whether a rule's text is "@" and a name of the group. */
bool select_names_group(const char *text, size_t size, enum command_group group);
/* Commands that the stream itself is made of: no rule reaches them. */
bool command_is_protocol(const struct command_info *info);

/* ---- select.c ---- */

/* The first eight bytes as a number in the order of their bytes. */
static inline uint64_t select_head(const uint8_t *bytes, size_t size)
{
    uint8_t padded[8] = {0};
    uint64_t head;
    if (size < sizeof(padded)) {
        if (size > 0) {
            memcpy(padded, bytes, size);
        }
        bytes = padded;
    }
    memcpy(&head, bytes, sizeof(head));
    return __builtin_bswap64(head);
}

/* The rule of the longest prefix in the set that the key begins with, SELECT_RULE_NONE. */
uint16_t select_set_find(const struct select *select,
                         const struct select_set *set,
                         const uint8_t *key,
                         size_t size);

/* The number of a command in the table, SELECT_COMMANDS_MAX for one that is not in it. */
static inline size_t select_command_number(const struct command_info *info)
{
    size_t count;
    const struct command_info *table = command_table(&count);
    return info >= table && info < table + count ? (size_t)(info - table) : SELECT_COMMANDS_MAX;
}

/* ---- select_shape.c: how a command's keys depend on each other ---- */

enum shape {
    SHAPE_ALL,     /* nothing is known but that it needs all of them                            */
    SHAPE_EACH,    /* each stands for itself, with the arguments behind it: DEL, MSET           */
    SHAPE_STORE,   /* one is overwritten by what is computed from the others                    */
    SHAPE_RENAME,  /* argv[1] becomes argv[2]                                                   */
    SHAPE_COPY,    /* argv[2] becomes what argv[1] is                                           */
    SHAPE_MEMBER,  /* SMOVE: a named member goes from argv[1] to argv[2]                        */
    SHAPE_ELEMENT, /* an end of the list argv[1] goes to the list argv[2]                       */
    SHAPE_COUNT,
};

struct command_shape {
    const char *name;
    enum shape shape;
    uint8_t target;    /* SHAPE_STORE: argv position of the target; 0: the last key               */
    uint8_t stride;    /* SHAPE_EACH: arguments for each key, itself included                     */
    uint8_t count_at;  /* SHAPE_EACH: argv position of the number of keys; 0: there is none       */
    bool overwrites;   /* whatever type the key had before                                        */
    uint8_t kind;      /* enum rdb_kind of what it writes, when the group does not tell           */
    uint8_t operands;  /* bits of the types that SHAPE_STORE's operands may have; 0: as it writes */
    bool has_patterns; /* BY and GET may name more keys                                           */
};

void select_shapes(struct select *select);
const struct command_shape *select_shape(const struct select *select,
                                         const struct command_info *info);
/* The type that the command writes, RDB_KIND_COUNT when its name does not tell. */
enum rdb_kind select_command_kind(const struct command_shape *shape,
                                  const struct command_info *info);

#endif
