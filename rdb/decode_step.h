/*
 * The steps that the layouts of values are written in. Private to rdb.
 *
 * TEXT reads a STR into a slot, NUMBER, FIXED and ID read into registers, COUNT reads a number of
 * elements, and REPEAT runs the steps up to NEXT that many times. VISIT hands out what was read.
 */
#ifndef RDB_DECODE_STEP_H
#define RDB_DECODE_STEP_H

#include "rdb/decode_core.h"

enum step_op {
    OP_END,
    OP_BEGIN, /* of a table: the count is in register 0. With 1: the count says something else */
    OP_COUNT,
    OP_REPEAT,
    OP_NEXT,
    OP_TABLE, /* whole elements of this shape, as many as there are */
    OP_TEXT,
    OP_NUMBER,
    OP_FIXED, /* 8 bytes, LE   */
    OP_ID,    /* 16 bytes, BE: two registers */
    OP_NODE_KEY,
    OP_SCORE_TEXT,
    OP_SCORE_BINARY,
    OP_EXPIRY_RELATIVE, /* LEN: 0, or 1 more than the distance to register 1 */
    OP_EXPIRY_ABSOLUTE, /* LEN: 0, or the time                               */
    OP_EXPIRY_FIXED,    /* i64 LE: -1, or the time                           */
    OP_CONTAINER,       /* LEN 1 or 2 */
    OP_LIST_NODE,       /* slot 0 is an element, or a listpack, as the container says */
    OP_ZIPLIST,
    OP_LISTPACK,
    OP_INTSET,
    OP_ZIPMAP,
    OP_STREAM_NODE,
    OP_STRING,
    OP_MODULE,
    OP_VISIT,
};

enum visit {
    VISIT_LIST,
    VISIT_SET,
    VISIT_ZSET,
    VISIT_HASH,
    VISIT_META_1, /* without, and with the counters of version 2 */
    VISIT_META_2,
    VISIT_GROUP_1, /* the same */
    VISIT_GROUP_2,
    VISIT_PENDING,
    VISIT_CONSUMER_1, /* without, and with the active time of version 3 */
    VISIT_CONSUMER_3,
    VISIT_CONSUMER_PENDING,
};

struct step {
    uint8_t op;
    uint8_t operand; /* a slot, register, shape or visit */
};

/* Registers whose use does not follow from the order of the fields. */
enum list_container { CONTAINER_PLAIN = 1, CONTAINER_PACKED = 2 };

enum step_register { REG_COUNT = 8, REG_CONTAINER = 9, REG_MIN_EXPIRY = 1 };

/* A field of its own: all but TEXT, and the steps that hold blobs or control (decode_field.c). */
enum take step_field(struct rdb_decoder *decoder, const struct step *step);
/* decode_visit.c */
enum take step_visit(struct rdb_decoder *decoder, enum visit visit);

#endif
