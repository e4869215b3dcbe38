/*
 * The shapes of commands: which of a command's keys stand for themselves, which are computed from
 * others, and what it may overwrite. A command that is not listed needs all of its keys and
 * overwrites nothing of another type (the servers answer WRONGTYPE then, and propagate nothing).
 */
#include "apply/select_private.h"

#define ANY RDB_KIND_COUNT
#define BIT(kind) (1u << RDB_KIND_##kind)

static const struct command_shape shapes[] = {
    {.shape = SHAPE_ALL, .kind = ANY},
    {.name = "DEL", .shape = SHAPE_EACH, .stride = 1, .kind = ANY},
    {.name = "UNLINK", .shape = SHAPE_EACH, .stride = 1, .kind = ANY},
    {.name = "MSET", .shape = SHAPE_EACH, .stride = 2, .kind = ANY, .overwrites = true},
    {.name = "MSETNX", .shape = SHAPE_EACH, .stride = 2, .kind = ANY},
    {.name = "MSETEX",
     .shape = SHAPE_EACH,
     .stride = 2,
     .count_at = 1,
     .kind = ANY,
     .overwrites = true},
    {.name = "SET", .kind = ANY, .overwrites = true},
    {.name = "SETEX", .kind = ANY, .overwrites = true},
    {.name = "PSETEX", .kind = ANY, .overwrites = true},
    {.name = "BITOP", .shape = SHAPE_STORE, .target = 2, .kind = ANY, .overwrites = true},
    {.name = "PFMERGE", .shape = SHAPE_STORE, .target = 1, .kind = ANY},
    {.name = "SINTERSTORE", .shape = SHAPE_STORE, .target = 1, .kind = ANY, .overwrites = true},
    {.name = "SUNIONSTORE", .shape = SHAPE_STORE, .target = 1, .kind = ANY, .overwrites = true},
    {.name = "SDIFFSTORE", .shape = SHAPE_STORE, .target = 1, .kind = ANY, .overwrites = true},
    /* These take sets for sorted sets whose scores are 1. */
    {.name = "ZINTERSTORE",
     .shape = SHAPE_STORE,
     .target = 1,
     .kind = ANY,
     .overwrites = true,
     .operands = BIT(SET) | BIT(ZSET)},
    {.name = "ZUNIONSTORE",
     .shape = SHAPE_STORE,
     .target = 1,
     .kind = ANY,
     .overwrites = true,
     .operands = BIT(SET) | BIT(ZSET)},
    {.name = "ZDIFFSTORE",
     .shape = SHAPE_STORE,
     .target = 1,
     .kind = ANY,
     .overwrites = true,
     .operands = BIT(SET) | BIT(ZSET)},
    {.name = "ZRANGESTORE", .shape = SHAPE_STORE, .target = 1, .kind = ANY, .overwrites = true},
    {.name = "GEOSEARCHSTORE", .shape = SHAPE_STORE, .target = 1, .kind = ANY, .overwrites = true},
    {.name = "GEORADIUS", .shape = SHAPE_STORE, .kind = ANY, .overwrites = true},
    {.name = "GEORADIUSBYMEMBER", .shape = SHAPE_STORE, .kind = ANY, .overwrites = true},
    {.name = "SORT",
     .shape = SHAPE_STORE,
     .kind = RDB_KIND_LIST,
     .overwrites = true,
     .operands = BIT(LIST) | BIT(SET) | BIT(ZSET),
     .has_patterns = true},
    {.name = "RENAME", .shape = SHAPE_RENAME, .kind = ANY},
    {.name = "RENAMENX", .shape = SHAPE_RENAME, .kind = ANY},
    {.name = "COPY", .shape = SHAPE_COPY, .kind = ANY},
    {.name = "SMOVE", .shape = SHAPE_MEMBER, .kind = ANY},
    {.name = "LMOVE", .shape = SHAPE_ELEMENT, .kind = ANY},
    {.name = "BLMOVE", .shape = SHAPE_ELEMENT, .kind = ANY},
    {.name = "RPOPLPUSH", .shape = SHAPE_ELEMENT, .kind = ANY},
    {.name = "BRPOPLPUSH", .shape = SHAPE_ELEMENT, .kind = ANY},
    {.name = "RESTORE", .kind = ANY, .overwrites = true},
    {.name = "RESTORE-ASKING", .kind = ANY, .overwrites = true},
};
#define SHAPES_LISTED (sizeof(shapes) / sizeof(shapes[0]))
_Static_assert(SHAPES_LISTED <= UINT8_MAX, "command_shape holds their numbers");

void select_shapes(struct select *select)
{
    memset(select->command_shape, 0, sizeof(select->command_shape));
    for (size_t i = 1; i < SHAPES_LISTED; i++) {
        const char *name = shapes[i].name;
        const struct command_info *info = command_find((const uint8_t *)name, strlen(name));
        ASSERT(info != NULL);
        select->command_shape[select_command_number(info)] = (uint8_t)i;
    }
}

const struct command_shape *select_shape(const struct select *select,
                                         const struct command_info *info)
{
    size_t number = select_command_number(info);
    return &shapes[number < SELECT_COMMANDS_MAX ? select->command_shape[number] : 0];
}

enum rdb_kind select_command_kind(const struct command_shape *shape,
                                  const struct command_info *info)
{
    static const uint8_t kinds[COMMAND_GROUP_COUNT] = {
        [COMMAND_GROUP_GENERIC] = ANY,
        [COMMAND_GROUP_STRING] = RDB_KIND_STRING,
        [COMMAND_GROUP_LIST] = RDB_KIND_LIST,
        [COMMAND_GROUP_SET] = RDB_KIND_SET,
        [COMMAND_GROUP_SORTED_SET] = RDB_KIND_ZSET,
        [COMMAND_GROUP_HASH] = RDB_KIND_HASH,
        [COMMAND_GROUP_STREAM] = RDB_KIND_STREAM,
        [COMMAND_GROUP_GEO] = RDB_KIND_ZSET,
        [COMMAND_GROUP_HYPERLOGLOG] = RDB_KIND_STRING,
        [COMMAND_GROUP_BITMAP] = RDB_KIND_STRING,
        [COMMAND_GROUP_SCRIPTING] = ANY,
        [COMMAND_GROUP_PUBSUB] = ANY,
        [COMMAND_GROUP_SERVER] = ANY,
        [COMMAND_GROUP_CONNECTION] = ANY,
        [COMMAND_GROUP_TRANSACTIONS] = ANY,
        [COMMAND_GROUP_CLUSTER] = ANY,
        [COMMAND_GROUP_MODULE] = RDB_KIND_MODULE,
    };
    ASSERT_DEBUG(info->group < COMMAND_GROUP_COUNT);
    return (enum rdb_kind)(shape->kind != ANY ? shape->kind : kinds[info->group]);
}
