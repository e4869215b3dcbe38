/*
 * A visitor of decoded values for benchmarks: adds up a little of every element, so that no
 * compiler leaves out the decoding, and nothing more, so that the decoding is what is measured. Its
 * argument is a uint64_t.
 *
 * Threads:   any; the sum is the caller's.
 * Ownership: constant.
 */
#ifndef BENCH_SUM_VISITOR_H
#define BENCH_SUM_VISITOR_H

#include "rdb/decode.h"

static inline enum rdb_flow
sum_string(void *arg, struct slice piece, uint64_t offset, uint64_t total)
{
    uint64_t *sum = arg;
    (void)offset;
    *sum += total + (piece.size > 0 ? piece.bytes[0] : 0u);
    return RDB_GO;
}

static inline enum rdb_flow sum_element(void *arg, const struct rdb_element *element)
{
    uint64_t *sum = arg;
    *sum += element->size + element->bytes[0];
    return RDB_GO;
}

static inline enum rdb_flow sum_hash(void *arg,
                                     const struct rdb_element *field,
                                     const struct rdb_element *value,
                                     int64_t expire_ms)
{
    uint64_t *sum = arg;
    *sum += field->bytes[0] + value->bytes[0] + value->size + (uint64_t)expire_ms;
    return RDB_GO;
}

static inline enum rdb_flow sum_zset(void *arg, const struct rdb_element *member, double score)
{
    uint64_t *sum = arg;
    *sum += member->bytes[0] + (score > 1);
    return RDB_GO;
}

static const struct rdb_visitor sum_visitor = {
    .string = sum_string,
    .list = sum_element,
    .set = sum_element,
    .hash = sum_hash,
    .zset = sum_zset,
};

#endif
