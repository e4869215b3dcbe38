/*
 * CRC64 by carry-less multiplication: 128 bytes per round on eight independent accumulators, so
 * that the multiplier's latency is hidden; short inputs take only the steps that they need.
 *
 * Everything is "reflected": bit 0 of a word is the coefficient of its highest power. A 128-bit
 * register holds lo * x^64 + hi, because the bytes that come first (lo) have the higher powers.
 *
 * One fact carries the whole file: the product of two reflected 64-bit words, read as a reflected
 * 128-bit register, is their true product times x. Constants are therefore one power short.
 *
 *   Folding by D bits:  (lo * x^64 + hi) * x^D  =  lo * x^(D+64) + hi * x^D   (mod P)
 *   gives 128 bits again, with the constants x^(D+63) mod P and x^(D-1) mod P.
 *
 *   The CRC of M is M * x^64 mod P. The last register is first multiplied by x^64, in the same
 *   way, and then reduced to 64 bits (Barrett):
 *       q = floor(A * floor(x^128 / P) / x^64);  A * x^64 mod P is the low half of q * P.
 */
#include "rdb/crc64_clmul.h"

#include <stdbool.h>
#include <string.h>

#if defined(__x86_64__) || (defined(__aarch64__) && defined(__AARCH64EL__))

/* Constants, made at start-up and only read afterwards. Entry i folds by 128 * i bits. */
static struct crc64_fold fold_by[CRC64_FOLD_BLOCKS_MAX + 1];

static uint64_t times_x64;   /* x^127 mod P: brings lo * x^128 down to 128 bits */
static uint64_t quotient_of; /* the coefficients x^64 … x^1 of floor(x^128 / P) */
static uint64_t poly_high;   /* the coefficients x^64 … x^1 of P; its x^0 is 1 */

/* x^n mod P, reflected. */
static uint64_t power_of_x(unsigned n)
{
    uint64_t word = (uint64_t)1 << 63;
    while (n-- > 0) {
        word = word >> 1 ^ (CRC64_POLY_REFLECTED & (0 - (word & 1)));
    }
    return word;
}

/* Long division of x^128 by P. The quotient's coefficients fall out from the highest on, which is
 * bit 0 of the reflected word. */
static uint64_t divide_x128(void)
{
    uint64_t quotient = 1;
    uint64_t rest = CRC64_POLY_REFLECTED;
    for (unsigned i = 1; i < 64; i++) {
        quotient |= (rest & 1) << i;
        rest = rest >> 1 ^ (CRC64_POLY_REFLECTED & (0 - (rest & 1)));
    }
    return quotient;
}

static void make_constants(void)
{
    for (unsigned i = 1; i <= CRC64_FOLD_BLOCKS_MAX; i++) {
        fold_by[i].lo = power_of_x(128 * i + 63);
        fold_by[i].hi = power_of_x(128 * i - 1);
    }
    times_x64 = power_of_x(127);
    quotient_of = divide_x128();
    poly_high = CRC64_POLY_REFLECTED << 1 | 1;
}

#endif

#if defined(__x86_64__)

#include <immintrin.h>

#define CLMUL __attribute__((target("pclmul,sse4.1")))

typedef __m128i vec128; /* the compiler's type under one name for both CPUs */

static bool cpu_has_clmul(void)
{
    return __builtin_cpu_supports("pclmul") && __builtin_cpu_supports("sse4.1");
}

CLMUL static inline vec128 vec_load(const uint8_t *p)
{
    return _mm_loadu_si128((const __m128i *)(const void *)p);
}

CLMUL static inline vec128 vec_make(uint64_t lo, uint64_t hi)
{
    return _mm_set_epi64x((long long)hi, (long long)lo);
}

CLMUL static inline vec128 vec_xor(vec128 a, vec128 b)
{
    return _mm_xor_si128(a, b);
}

CLMUL static inline uint64_t vec_lo(vec128 a)
{
    return (uint64_t)_mm_cvtsi128_si64(a);
}

CLMUL static inline uint64_t vec_hi(vec128 a)
{
    return (uint64_t)_mm_extract_epi64(a, 1);
}

CLMUL static inline vec128 vec_mul_lo(vec128 a, vec128 b)
{
    return _mm_clmulepi64_si128(a, b, 0x00);
}

CLMUL static inline vec128 vec_mul_hi(vec128 a, vec128 b)
{
    return _mm_clmulepi64_si128(a, b, 0x11);
}

#define HAVE_CLMUL 1

#elif defined(__aarch64__) && defined(__AARCH64EL__)

#include <arm_neon.h>
#include <sys/auxv.h>

/* The compilers spell the feature differently. */
#ifdef __clang__
#define CLMUL __attribute__((target("crypto")))
#else
#define CLMUL __attribute__((target("+crypto")))
#endif
#define HWCAP_PMULL_BIT (1u << 4) /* asm/hwcap.h of Linux, arm64 */

typedef uint64x2_t vec128;

static bool cpu_has_clmul(void)
{
    return (getauxval(AT_HWCAP) & HWCAP_PMULL_BIT) != 0;
}

CLMUL static inline vec128 vec_load(const uint8_t *p)
{
    return vreinterpretq_u64_u8(vld1q_u8(p));
}

CLMUL static inline vec128 vec_make(uint64_t lo, uint64_t hi)
{
    return vcombine_u64(vcreate_u64(lo), vcreate_u64(hi));
}

CLMUL static inline vec128 vec_xor(vec128 a, vec128 b)
{
    return veorq_u64(a, b);
}

CLMUL static inline uint64_t vec_lo(vec128 a)
{
    return vgetq_lane_u64(a, 0);
}

CLMUL static inline uint64_t vec_hi(vec128 a)
{
    return vgetq_lane_u64(a, 1);
}

CLMUL static inline vec128 vec_mul_lo(vec128 a, vec128 b)
{
    return vreinterpretq_u64_p128(vmull_p64((poly64_t)vec_lo(a), (poly64_t)vec_lo(b)));
}

CLMUL static inline vec128 vec_mul_hi(vec128 a, vec128 b)
{
    return vreinterpretq_u64_p128(
        vmull_high_p64(vreinterpretq_p64_u64(a), vreinterpretq_p64_u64(b)));
}

#define HAVE_CLMUL 1

#endif

#ifdef HAVE_CLMUL

CLMUL static inline vec128 fold(vec128 a, vec128 by)
{
    return vec_xor(vec_mul_lo(a, by), vec_mul_hi(a, by));
}

CLMUL static inline vec128 fold_constant(unsigned blocks)
{
    return vec_make(fold_by[blocks].lo, fold_by[blocks].hi);
}

/* word * x^64 mod P: the CRC of the eight bytes. */
CLMUL static inline uint64_t reduce_word(uint64_t word)
{
    vec128 quotient = vec_mul_lo(vec_make(word, 0), vec_make(quotient_of, 0));
    vec128 product = vec_mul_lo(quotient, vec_make(poly_high, 0));
    return vec_hi(product) ^ vec_lo(quotient);
}

/* The CRC of the sixteen bytes. */
CLMUL static inline uint64_t reduce_register(vec128 a)
{
    vec128 product = vec_mul_lo(a, vec_make(times_x64, 0));
    return reduce_word(vec_lo(product) ^ vec_hi(a)) ^ vec_hi(product);
}

static inline uint64_t load_word(const uint8_t *p)
{
    uint64_t word;
    memcpy(&word, p, 8);
    return word;
}

/* Up to 15 bytes. */
CLMUL static uint64_t crc_tail(uint64_t crc, const uint8_t *p, size_t size)
{
    if (size >= 8) {
        crc = reduce_word(crc ^ load_word(p));
        p += 8;
        size -= 8;
    }
    if (size == 0) {
        return crc;
    }
    uint64_t word = 0;
    for (size_t i = 0; i < size; i++) {
        word |= (uint64_t)p[i] << 8 * i;
    }
    /* Only the low `size` bytes of the state meet the input; the others move down. */
    return crc >> 8 * size ^ reduce_word((crc ^ word) << (64 - 8 * size));
}

/* The 128-byte rounds of a long input: returns the register that the rest folds into. */
CLMUL static vec128 fold_rounds(vec128 first, const uint8_t **at, size_t *size)
{
    const uint8_t *p = *at;
    vec128 acc[8];
    acc[0] = first;
    for (unsigned i = 1; i < 8; i++) {
        acc[i] = vec_load(p + 16 * i);
    }
    const vec128 by = fold_constant(8);
    size_t left = *size - 128;
    for (p += 128; left >= 128; left -= 128, p += 128) {
        for (unsigned i = 0; i < 8; i++) {
            acc[i] = vec_xor(fold(acc[i], by), vec_load(p + 16 * i));
        }
    }
    vec128 sum = acc[7];
    for (unsigned i = 0; i < 7; i++) {
        sum = vec_xor(sum, fold(acc[i], fold_constant(7 - i)));
    }
    *at = p;
    *size = left;
    return sum;
}

/* The rest of the input, folded into the register; then the CRC. */
CLMUL static inline uint64_t finish(vec128 acc, const uint8_t *p, size_t size)
{
    const vec128 by = fold_constant(1);
    for (; size >= 16; size -= 16, p += 16) {
        acc = vec_xor(fold(acc, by), vec_load(p));
    }
    return crc_tail(reduce_register(acc), p, size);
}

CLMUL uint64_t crc64_clmul_finish(uint64_t lo, uint64_t hi, const uint8_t *p, size_t size)
{
    return finish(vec_make(lo, hi), p, size);
}

CLMUL uint64_t crc64_clmul(uint64_t crc, const void *bytes, size_t size)
{
    const uint8_t *p = bytes;
    if (size < 16) {
        return crc_tail(crc, p, size);
    }
    vec128 acc = vec_xor(vec_load(p), vec_make(crc, 0));
    if (size >= 128) {
        acc = fold_rounds(acc, &p, &size);
    } else {
        p += 16;
        size -= 16;
    }
    return finish(acc, p, size);
}

struct crc64_fold crc64_fold_by(unsigned blocks)
{
    return fold_by[blocks];
}

crc64_function *crc64_clmul_setup(void)
{
    if (!cpu_has_clmul()) {
        return NULL;
    }
    make_constants();
    return crc64_clmul;
}

#else

crc64_function *crc64_clmul_setup(void)
{
    return NULL;
}

#endif
