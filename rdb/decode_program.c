/*
 * The layout of every value type, as a short program. The framing programs of value_walk.c have the
 * same form; these also say where each field goes and when an element is complete.
 */
#include "rdb/decode_step.h"

/* clang-format off */
static const struct step program_string[] = {{OP_STRING, 0}, {OP_END, 0}};
static const struct step program_module[] = {{OP_MODULE, 0}, {OP_END, 0}};
static const struct step program_list[] = {
    {OP_COUNT, 0}, {OP_BEGIN, 0}, {OP_REPEAT, 0},
        {OP_TABLE, SHAPE_LIST}, {OP_TEXT, 0}, {OP_VISIT, VISIT_LIST}, {OP_NEXT, 0},
    {OP_END, 0}};
static const struct step program_set[] = {
    {OP_COUNT, 0}, {OP_BEGIN, 0}, {OP_REPEAT, 0},
        {OP_TABLE, SHAPE_SET}, {OP_TEXT, 0}, {OP_VISIT, VISIT_SET}, {OP_NEXT, 0},
    {OP_END, 0}};
static const struct step program_hash[] = {
    {OP_COUNT, 0}, {OP_BEGIN, 0}, {OP_REPEAT, 0},
        {OP_TABLE, SHAPE_HASH}, {OP_TEXT, 0}, {OP_TEXT, 1}, {OP_VISIT, VISIT_HASH}, {OP_NEXT, 0},
    {OP_END, 0}};
static const struct step program_zset[] = {
    {OP_COUNT, 0}, {OP_BEGIN, 0}, {OP_REPEAT, 0},
        {OP_TEXT, 0}, {OP_SCORE_TEXT, 0}, {OP_VISIT, VISIT_ZSET}, {OP_NEXT, 0},
    {OP_END, 0}};
static const struct step program_zset_2[] = {
    {OP_COUNT, 0}, {OP_BEGIN, 0}, {OP_REPEAT, 0},
        {OP_TABLE, SHAPE_ZSET}, {OP_TEXT, 0}, {OP_SCORE_BINARY, 0}, {OP_VISIT, VISIT_ZSET},
        {OP_NEXT, 0},
    {OP_END, 0}};
static const struct step program_hash_metadata_pre_ga[] = {
    {OP_COUNT, 0}, {OP_BEGIN, 0}, {OP_REPEAT, 0},
        {OP_EXPIRY_ABSOLUTE, 0}, {OP_TEXT, 0}, {OP_TEXT, 1}, {OP_VISIT, VISIT_HASH}, {OP_NEXT, 0},
    {OP_END, 0}};
static const struct step program_hash_metadata[] = {
    {OP_FIXED, REG_MIN_EXPIRY}, {OP_COUNT, 0}, {OP_BEGIN, 0}, {OP_REPEAT, 0},
        {OP_EXPIRY_RELATIVE, 0}, {OP_TEXT, 0}, {OP_TEXT, 1}, {OP_VISIT, VISIT_HASH}, {OP_NEXT, 0},
    {OP_END, 0}};
static const struct step program_hash_2[] = {
    {OP_COUNT, 0}, {OP_BEGIN, 0}, {OP_REPEAT, 0},
        {OP_TEXT, 0}, {OP_TEXT, 1}, {OP_EXPIRY_FIXED, 0}, {OP_VISIT, VISIT_HASH}, {OP_NEXT, 0},
    {OP_END, 0}};
static const struct step program_hash_zipmap[] = {{OP_TEXT, 0}, {OP_ZIPMAP, 0}, {OP_END, 0}};
static const struct step program_list_ziplist[] = {
    {OP_TEXT, 0}, {OP_ZIPLIST, SHAPE_LIST}, {OP_END, 0}};
static const struct step program_zset_ziplist[] = {
    {OP_TEXT, 0}, {OP_ZIPLIST, SHAPE_ZSET}, {OP_END, 0}};
static const struct step program_hash_ziplist[] = {
    {OP_TEXT, 0}, {OP_ZIPLIST, SHAPE_HASH}, {OP_END, 0}};
static const struct step program_set_intset[] = {{OP_TEXT, 0}, {OP_INTSET, 0}, {OP_END, 0}};
static const struct step program_set_listpack[] = {
    {OP_TEXT, 0}, {OP_LISTPACK, SHAPE_SET}, {OP_END, 0}};
static const struct step program_zset_listpack[] = {
    {OP_TEXT, 0}, {OP_LISTPACK, SHAPE_ZSET}, {OP_END, 0}};
static const struct step program_hash_listpack[] = {
    {OP_TEXT, 0}, {OP_LISTPACK, SHAPE_HASH}, {OP_END, 0}};
static const struct step program_hash_listpack_ex_pre_ga[] = {
    {OP_TEXT, 0}, {OP_LISTPACK, SHAPE_HASH_EXPIRING}, {OP_END, 0}};
static const struct step program_hash_listpack_ex[] = {
    {OP_FIXED, REG_MIN_EXPIRY}, {OP_TEXT, 0}, {OP_LISTPACK, SHAPE_HASH_EXPIRING}, {OP_END, 0}};
static const struct step program_quicklist[] = {
    {OP_COUNT, 0}, {OP_BEGIN, 1}, {OP_REPEAT, 0},
        {OP_TEXT, 0}, {OP_ZIPLIST, SHAPE_LIST}, {OP_NEXT, 0},
    {OP_END, 0}};
static const struct step program_quicklist_2[] = {
    {OP_COUNT, 0}, {OP_BEGIN, 1}, {OP_REPEAT, 0},
        {OP_CONTAINER, REG_CONTAINER}, {OP_TEXT, 0}, {OP_LIST_NODE, SHAPE_LIST}, {OP_NEXT, 0},
    {OP_END, 0}};

#define STREAM_NODES                                                                               \
    {OP_COUNT, 0}, {OP_BEGIN, 1}, {OP_REPEAT, 0},                                                  \
        {OP_NODE_KEY, 1}, {OP_TEXT, 0}, {OP_STREAM_NODE, 0}, {OP_NEXT, 0},                         \
    {OP_NUMBER, 0},                    /* length  */                                               \
    {OP_NUMBER, 1}, {OP_NUMBER, 2}     /* last id */
#define STREAM_COUNTERS                                                                            \
    {OP_NUMBER, 3}, {OP_NUMBER, 4},    /* first id       */                                        \
    {OP_NUMBER, 5}, {OP_NUMBER, 6},    /* max deleted id */                                        \
    {OP_NUMBER, 7}                     /* entries added  */
#define STREAM_PENDING                                                                             \
    {OP_REPEAT, REG_COUNT},                                                                        \
        {OP_ID, 0}, {OP_FIXED, 2}, {OP_NUMBER, 3}, {OP_VISIT, VISIT_PENDING}, {OP_NEXT, 0}
#define STREAM_CONSUMER_PENDING                                                                    \
    {OP_REPEAT, REG_COUNT}, {OP_ID, 0}, {OP_VISIT, VISIT_CONSUMER_PENDING}, {OP_NEXT, 0}

static const struct step program_stream_1[] = {
    STREAM_NODES,
    {OP_COUNT, REG_COUNT}, {OP_VISIT, VISIT_META_1}, {OP_REPEAT, REG_COUNT},
        {OP_TEXT, 0}, {OP_NUMBER, 0}, {OP_NUMBER, 1},
        {OP_COUNT, REG_COUNT}, {OP_VISIT, VISIT_GROUP_1},
        STREAM_PENDING,
        {OP_COUNT, REG_COUNT}, {OP_REPEAT, REG_COUNT},
            {OP_TEXT, 0}, {OP_FIXED, 0}, {OP_COUNT, REG_COUNT}, {OP_VISIT, VISIT_CONSUMER_1},
            STREAM_CONSUMER_PENDING,
        {OP_NEXT, 0},
    {OP_NEXT, 0},
    {OP_END, 0}};
static const struct step program_stream_2[] = {
    STREAM_NODES,
    STREAM_COUNTERS,
    {OP_COUNT, REG_COUNT}, {OP_VISIT, VISIT_META_2}, {OP_REPEAT, REG_COUNT},
        {OP_TEXT, 0}, {OP_NUMBER, 0}, {OP_NUMBER, 1}, {OP_NUMBER, 2},
        {OP_COUNT, REG_COUNT}, {OP_VISIT, VISIT_GROUP_2},
        STREAM_PENDING,
        {OP_COUNT, REG_COUNT}, {OP_REPEAT, REG_COUNT},
            {OP_TEXT, 0}, {OP_FIXED, 0}, {OP_COUNT, REG_COUNT}, {OP_VISIT, VISIT_CONSUMER_1},
            STREAM_CONSUMER_PENDING,
        {OP_NEXT, 0},
    {OP_NEXT, 0},
    {OP_END, 0}};
static const struct step program_stream_3[] = {
    STREAM_NODES,
    STREAM_COUNTERS,
    {OP_COUNT, REG_COUNT}, {OP_VISIT, VISIT_META_2}, {OP_REPEAT, REG_COUNT},
        {OP_TEXT, 0}, {OP_NUMBER, 0}, {OP_NUMBER, 1}, {OP_NUMBER, 2},
        {OP_COUNT, REG_COUNT}, {OP_VISIT, VISIT_GROUP_2},
        STREAM_PENDING,
        {OP_COUNT, REG_COUNT}, {OP_REPEAT, REG_COUNT},
            {OP_TEXT, 0}, {OP_FIXED, 0}, {OP_FIXED, 1}, {OP_COUNT, REG_COUNT},
            {OP_VISIT, VISIT_CONSUMER_3},
            STREAM_CONSUMER_PENDING,
        {OP_NEXT, 0},
    {OP_NEXT, 0},
    {OP_END, 0}};
/* clang-format on */

static const struct step *const programs[RDB_TYPE_COUNT] = {
    [RDB_TYPE_STRING] = program_string,
    [RDB_TYPE_LIST] = program_list,
    [RDB_TYPE_SET] = program_set,
    [RDB_TYPE_ZSET] = program_zset,
    [RDB_TYPE_HASH] = program_hash,
    [RDB_TYPE_ZSET_2] = program_zset_2,
    [RDB_TYPE_MODULE_2] = program_module,
    [RDB_TYPE_HASH_ZIPMAP] = program_hash_zipmap,
    [RDB_TYPE_LIST_ZIPLIST] = program_list_ziplist,
    [RDB_TYPE_SET_INTSET] = program_set_intset,
    [RDB_TYPE_ZSET_ZIPLIST] = program_zset_ziplist,
    [RDB_TYPE_HASH_ZIPLIST] = program_hash_ziplist,
    [RDB_TYPE_LIST_QUICKLIST] = program_quicklist,
    [RDB_TYPE_STREAM_LISTPACKS] = program_stream_1,
    [RDB_TYPE_HASH_LISTPACK] = program_hash_listpack,
    [RDB_TYPE_ZSET_LISTPACK] = program_zset_listpack,
    [RDB_TYPE_LIST_QUICKLIST_2] = program_quicklist_2,
    [RDB_TYPE_STREAM_LISTPACKS_2] = program_stream_2,
    [RDB_TYPE_SET_LISTPACK] = program_set_listpack,
    [RDB_TYPE_STREAM_LISTPACKS_3] = program_stream_3,
    [RDB_TYPE_HASH_METADATA_PRE_GA] = program_hash_metadata_pre_ga,
    [RDB_TYPE_HASH_LISTPACK_EX_PRE_GA] = program_hash_listpack_ex_pre_ga,
    [RDB_TYPE_HASH_METADATA] = program_hash_metadata,
    [RDB_TYPE_HASH_LISTPACK_EX] = program_hash_listpack_ex,
};

const struct step *decode_program(uint8_t type, bool is_valkey, const char **reason)
{
    if (walk_layout(type, is_valkey, reason) == NULL) {
        return NULL; /* what cannot be framed cannot be decoded; the reasons are the same */
    }
    return is_valkey && type == RDB_TYPE_HASH_METADATA_PRE_GA ? program_hash_2 : programs[type];
}
