/*
 * Vector sets (the module type "vectorset" that Redis 8 brings along), item by item: what belongs
 * to an element, and what is only of the graph that one server happened to build. Private to rdb.
 *
 *   dim | n | config | flags | [ input dim | matrix ]            flags: 1 matrix, 2 attributes
 *   n times: element | [ attribute ] | vector | k | k numbers    the last is the vector's norm and
 *                                                                range, the others are of the graph
 *
 * Servers write the elements in another order each time they load them.
 */
#ifndef RDB_DIGEST_VECTORS_H
#define RDB_DIGEST_VECTORS_H

#include "rdb/decode.h"

enum vectors_state {
    VECTORS_DIM,
    VECTORS_COUNT,
    VECTORS_CONFIG,
    VECTORS_FLAGS,
    VECTORS_INPUT_DIM,
    VECTORS_MATRIX,
    VECTORS_ELEMENT,
    VECTORS_ATTRIBUTE,
    VECTORS_VECTOR,
    VECTORS_NUMBER_COUNT,
    VECTORS_NUMBER,
    VECTORS_UNKNOWN, /* laid out in another way, or no vector set */
};

struct vectors {
    enum vectors_state state; /* what the next item is */
    uint64_t flags;
    uint64_t elements_left;
    uint64_t numbers_left; /* of the element */
};

/* What an item belongs to. */
enum vectors_role {
    VECTORS_OF_ALL,
    VECTORS_OF_ELEMENT,
    VECTORS_ENDS_ELEMENT, /* and belongs to it            */
    VECTORS_OF_GRAPH,     /* says nothing about the value */
};

void vectors_begin(struct vectors *vectors, const struct rdb_module *module);
enum vectors_role vectors_take(struct vectors *vectors, const struct rdb_module_item *item);
/* After the last item: whether it was all as known. */
bool vectors_end(const struct vectors *vectors);

#endif
