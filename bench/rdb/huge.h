/*
 * Values without end, made as they are read and never held: 100 million elements in each kind of
 * table, a list of as many in nodes, texts of 4 GiB. Through the library's reader at every depth,
 * and rewritten as commands.
 */
#ifndef BENCH_RDB_HUGE_H
#define BENCH_RDB_HUGE_H

#include <stdint.h>

/* `scale` divides the sizes. Prints time and the most memory; 1 if any took more than 64 MiB. */
int run_huge(uint64_t scale);

#endif
