/*
 * CRC64 by tables, and the choice between the implementations.
 *
 * The tables and the choice are made before main, so that nothing here needs a lock or a check per
 * call.
 */
#include "rdb/crc64.h"

#include <endian.h>
#include <string.h>

#include "rdb/crc64_clmul.h"

/* slice_table[k][b]: the CRC of byte b followed by k zero bytes. */
static uint64_t slice_table[8][256];

static crc64_function *clmul;
static crc64_function *wide;
static crc64_function *fastest;

static uint64_t crc64_bitwise(uint64_t crc, const void *bytes, size_t size)
{
    const uint8_t *p = bytes;
    for (size_t i = 0; i < size; i++) {
        crc ^= p[i];
        for (int bit = 0; bit < 8; bit++) {
            crc = crc >> 1 ^ (CRC64_POLY_REFLECTED & (0 - (crc & 1)));
        }
    }
    return crc;
}

static uint64_t crc64_slice8(uint64_t crc, const void *bytes, size_t size)
{
    const uint8_t *p = bytes;
    for (; size >= 8; size -= 8, p += 8) {
        uint64_t word;
        memcpy(&word, p, 8);
        crc ^= le64toh(word);
        crc = slice_table[7][crc & 0xff] ^ slice_table[6][crc >> 8 & 0xff] ^
              slice_table[5][crc >> 16 & 0xff] ^ slice_table[4][crc >> 24 & 0xff] ^
              slice_table[3][crc >> 32 & 0xff] ^ slice_table[2][crc >> 40 & 0xff] ^
              slice_table[1][crc >> 48 & 0xff] ^ slice_table[0][crc >> 56];
    }
    for (; size > 0; size--, p++) {
        crc = slice_table[0][(crc ^ *p) & 0xff] ^ crc >> 8;
    }
    return crc;
}

__attribute__((constructor)) static void crc64_setup(void)
{
    for (unsigned i = 0; i < 256; i++) {
        uint8_t byte = (uint8_t)i;
        slice_table[0][i] = crc64_bitwise(0, &byte, 1);
    }
    for (unsigned k = 1; k < 8; k++) {
        for (unsigned i = 0; i < 256; i++) {
            uint64_t crc = slice_table[k - 1][i];
            slice_table[k][i] = slice_table[0][crc & 0xff] ^ crc >> 8;
        }
    }
    clmul = crc64_clmul_setup();
    wide = clmul != NULL ? crc64_wide_setup() : NULL;
    fastest = wide != NULL ? wide : clmul != NULL ? clmul : crc64_slice8;
}

uint64_t crc64_update(uint64_t crc, const void *bytes, size_t size)
{
    return fastest(crc, bytes, size);
}

crc64_function *crc64_implementation(const char *name)
{
    if (strcmp(name, "bitwise") == 0) {
        return crc64_bitwise;
    }
    if (strcmp(name, "slice8") == 0) {
        return crc64_slice8;
    }
    return strcmp(name, "clmul") == 0 ? clmul : strcmp(name, "wide") == 0 ? wide : NULL;
}
