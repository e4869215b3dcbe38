/*
 * CRC64 by carry-less multiplication of four 128-bit lanes at a time: 256 bytes per round on four
 * registers of 512 bits. The algebra is that of crc64_clmul.c, which also does what is too short or
 * left over. For large inputs only: with it, checking a snapshot costs an eighth of framing it, and
 * with 128 bits at a time nearly a half.
 */
#include "rdb/crc64_clmul.h"

#if defined(__x86_64__)

#include <immintrin.h>

/* Below, making ready and folding the lanes costs more than they save. */
#define WIDE_SIZE_MIN 2048
#define REGISTERS 4
#define REGISTER_BYTES 64
#define ROUND_BYTES (REGISTERS * REGISTER_BYTES)

#define WIDE __attribute__((target("avx512f,vpclmulqdq")))

WIDE static inline __m512i load(const uint8_t *p)
{
    return _mm512_loadu_si512((const void *)p);
}

/* The constants for folding every lane by so many blocks of 128 bits. */
WIDE static inline __m512i fold_constant(unsigned blocks)
{
    struct crc64_fold by = crc64_fold_by(blocks);
    return _mm512_set4_epi64(
        (long long)by.hi, (long long)by.lo, (long long)by.hi, (long long)by.lo);
}

/* Every lane, folded, and added to what stands there. */
WIDE static inline __m512i fold_into(__m512i lanes, __m512i by, __m512i to)
{
    __m512i low = _mm512_clmulepi64_epi128(lanes, by, 0x00);
    __m512i high = _mm512_clmulepi64_epi128(lanes, by, 0x11);
    return _mm512_ternarylogic_epi64(low, high, to, 0x96); /* the sum of the three */
}

/* Four lanes in one: each is folded by the lanes behind it. */
WIDE static inline __m512i lane_constants(void)
{
    struct crc64_fold by[] = {crc64_fold_by(3), crc64_fold_by(2), crc64_fold_by(1)};
    return _mm512_set_epi64(0,
                            0,
                            (long long)by[2].hi,
                            (long long)by[2].lo,
                            (long long)by[1].hi,
                            (long long)by[1].lo,
                            (long long)by[0].hi,
                            (long long)by[0].lo);
}

WIDE static uint64_t crc64_wide(uint64_t crc, const void *bytes, size_t size)
{
    const uint8_t *p = bytes;
    if (size < WIDE_SIZE_MIN) {
        return crc64_clmul(crc, p, size);
    }
    __m512i lanes[REGISTERS];
    for (unsigned i = 0; i < REGISTERS; i++) {
        lanes[i] = load(p + REGISTER_BYTES * i);
    }
    lanes[0] =
        _mm512_xor_si512(lanes[0], _mm512_zextsi128_si512(_mm_cvtsi64_si128((long long)crc)));
    p += ROUND_BYTES;
    size -= ROUND_BYTES;
    const __m512i by = fold_constant(ROUND_BYTES / 16);
    for (; size >= ROUND_BYTES; size -= ROUND_BYTES, p += ROUND_BYTES) {
        for (unsigned i = 0; i < REGISTERS; i++) {
            lanes[i] = fold_into(lanes[i], by, load(p + REGISTER_BYTES * i));
        }
    }
    __m512i sum = lanes[REGISTERS - 1];
    for (unsigned i = 0; i < REGISTERS - 1; i++) {
        sum = fold_into(lanes[i], fold_constant((REGISTERS - 1 - i) * REGISTER_BYTES / 16), sum);
    }
    uint64_t last[8];
    uint64_t folded[8];
    _mm512_storeu_si512(last, sum);
    _mm512_storeu_si512(folded, fold_into(sum, lane_constants(), _mm512_setzero_si512()));
    uint64_t lo = last[6] ^ folded[0] ^ folded[2] ^ folded[4];
    uint64_t hi = last[7] ^ folded[1] ^ folded[3] ^ folded[5];
    return crc64_clmul_finish(lo, hi, p, size);
}

crc64_function *crc64_wide_setup(void)
{
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("vpclmulqdq") ? crc64_wide
                                                                                     : NULL;
}

#else

crc64_function *crc64_wide_setup(void)
{
    return NULL;
}

#endif
