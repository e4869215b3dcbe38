#include "rdb/digest_vectors.h"

#include <string.h>

#define FLAG_MATRIX 1u
#define FLAG_ATTRIBUTES 2u

void vectors_begin(struct vectors *vectors, const struct rdb_module *module)
{
    bool is_known = strcmp(module->name, "vectorset") == 0 && module->version == 0;
    *vectors = (struct vectors){.state = is_known ? VECTORS_DIM : VECTORS_UNKNOWN};
}

static enum vectors_role unknown(struct vectors *vectors)
{
    vectors->state = VECTORS_UNKNOWN;
    return VECTORS_OF_ALL;
}

static enum vectors_role take_flags(struct vectors *vectors, uint64_t flags)
{
    if ((flags & ~(uint64_t)(FLAG_MATRIX | FLAG_ATTRIBUTES)) != 0) {
        return unknown(vectors);
    }
    vectors->flags = flags;
    vectors->state = (flags & FLAG_MATRIX) != 0 ? VECTORS_INPUT_DIM : VECTORS_ELEMENT;
    return VECTORS_OF_ALL;
}

static enum vectors_role take_number(struct vectors *vectors, uint64_t number)
{
    switch (vectors->state) {
    case VECTORS_DIM:
        vectors->state = VECTORS_COUNT;
        return VECTORS_OF_ALL;
    case VECTORS_COUNT:
        vectors->elements_left = number;
        vectors->state = VECTORS_CONFIG;
        return VECTORS_OF_ALL;
    case VECTORS_CONFIG:
        vectors->state = VECTORS_FLAGS;
        return VECTORS_OF_ALL;
    case VECTORS_FLAGS:
        return take_flags(vectors, number);
    case VECTORS_INPUT_DIM:
        vectors->state = VECTORS_MATRIX;
        return VECTORS_OF_ALL;
    case VECTORS_NUMBER_COUNT:
        if (number == 0) {
            return unknown(vectors);
        }
        vectors->numbers_left = number;
        vectors->state = VECTORS_NUMBER;
        return VECTORS_OF_GRAPH;
    case VECTORS_NUMBER:
        if (--vectors->numbers_left > 0) {
            return VECTORS_OF_GRAPH;
        }
        vectors->elements_left--;
        vectors->state = VECTORS_ELEMENT;
        return VECTORS_ENDS_ELEMENT;
    default:
        return unknown(vectors);
    }
}

static enum vectors_role take_string(struct vectors *vectors)
{
    switch (vectors->state) {
    case VECTORS_MATRIX:
        vectors->state = VECTORS_ELEMENT;
        return VECTORS_OF_ALL;
    case VECTORS_ELEMENT:
        if (vectors->elements_left == 0) {
            return unknown(vectors);
        }
        vectors->state =
            (vectors->flags & FLAG_ATTRIBUTES) != 0 ? VECTORS_ATTRIBUTE : VECTORS_VECTOR;
        return VECTORS_OF_ELEMENT;
    case VECTORS_ATTRIBUTE:
        vectors->state = VECTORS_VECTOR;
        return VECTORS_OF_ELEMENT;
    case VECTORS_VECTOR:
        vectors->state = VECTORS_NUMBER_COUNT;
        return VECTORS_OF_ELEMENT;
    default:
        return unknown(vectors);
    }
}

enum vectors_role vectors_take(struct vectors *vectors, const struct rdb_module_item *item)
{
    if (vectors->state == VECTORS_UNKNOWN) {
        return VECTORS_OF_ALL;
    }
    if (item->kind == RDB_MODULE_STRING) {
        return take_string(vectors);
    }
    return item->kind == RDB_MODULE_UNSIGNED || item->kind == RDB_MODULE_SIGNED
               ? take_number(vectors, item->number)
               : unknown(vectors);
}

bool vectors_end(const struct vectors *vectors)
{
    return vectors->state == VECTORS_ELEMENT && vectors->elements_left == 0;
}
