/*
 * The carry-less multiplication form of CRC64, behind crc64.h only.
 */
#ifndef RDB_CRC64_CLMUL_H
#define RDB_CRC64_CLMUL_H

#include "rdb/crc64.h"

/* The polynomial with its bits reversed: bit 63 is the coefficient of x^0. x^64 is implied. */
#define CRC64_POLY_REFLECTED 0x95ac9329ac4bc9b5u

/* NULL when the CPU has no carry-less multiplication. Computes the folding constants: call it once,
 * before any thread. */
crc64_function *crc64_clmul_setup(void);

#endif
