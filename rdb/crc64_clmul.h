/*
 * The carry-less multiplication forms of CRC64, behind crc64.h only.
 */
#ifndef RDB_CRC64_CLMUL_H
#define RDB_CRC64_CLMUL_H

#include "rdb/crc64.h"

/* The polynomial with its bits reversed: bit 63 is the coefficient of x^0. x^64 is implied. */
#define CRC64_POLY_REFLECTED 0x95ac9329ac4bc9b5u

/* NULL when the CPU has no carry-less multiplication. Computes the folding constants: call it once,
 * before any thread. */
crc64_function *crc64_clmul_setup(void);
/* NULL when the CPU has no such multiplication of 512 bits at a time. After crc64_clmul_setup,
 * which found its own. */
crc64_function *crc64_wide_setup(void);

/* ---- for the wide form ---- */

/* Folding by D = 128 * blocks bits: x^(D+63) mod P and x^(D-1) mod P. */
struct crc64_fold {
    uint64_t lo;
    uint64_t hi;
};
#define CRC64_FOLD_BLOCKS_MAX 16
struct crc64_fold crc64_fold_by(unsigned blocks);
uint64_t crc64_clmul(uint64_t crc, const void *bytes, size_t size);
/* The CRC of a register that everything before p was folded into, and of p. */
uint64_t crc64_clmul_finish(uint64_t lo, uint64_t hi, const uint8_t *p, size_t size);

#endif
