/*
 * Micro benchmarks in C, hosted by Google Benchmark (host.cc).
 *
 * A case prepares its data once; `run` then does one round over it, of many operations, so that the
 * host's own cost per round does not show. One thread; a case may start threads inside a round.
 */
#ifndef BENCH_MICRO_H
#define BENCH_MICRO_H

#include <stdint.h>

struct micro_load {
    void *state;
    uint64_t bytes; /* per round; 0: no byte rate    */
    uint64_t items; /* per round: what per_item divides by */
};

struct micro_case {
    const char *name;                              /* NULL ends a table                       */
    int (*setup)(struct micro_load *, uint64_t n); /* 0: this machine cannot run it          */
    uint64_t n;                                    /* setup's parameter                       */
    uint64_t (*run)(struct micro_load *);          /* a number that depends on all its work   */
    void (*teardown)(struct micro_load *);
};

extern const struct micro_case micro_base[];
extern const struct micro_case micro_crc64[];
extern const struct micro_case micro_decode[];
extern const struct micro_case micro_rdb[];
extern const struct micro_case micro_resp[];
extern const struct micro_case micro_select[];

#endif
