/* Vectors of LANES floats, as wide as the CPU that is compiled for has them: 16 with AVX-512, 8 with AVX2, 4 with NEON.
 *
 * GCC's vector types, which Clang has too, bring the arithmetic, contracted to fused multiply-adds. Here is what they have
 * no operator for, by intrinsics.
 */
#ifndef VECTORS_H
#define VECTORS_H
#include <stdint.h>
#include <string.h>

#include "sizes.h"

/* ANY_REGISTER: what an asm statement calls the registers of vectors. */
#if defined(__AVX512F__)
#include <immintrin.h>
#define LANES 16
#define ANY_REGISTER "+v"
#elif defined(__AVX2__) && defined(__FMA__)
#include <immintrin.h>
#define LANES 8
#define ANY_REGISTER "+x"
#elif defined(__ARM_NEON)
#include <arm_neon.h>
#define LANES 4
#define ANY_REGISTER "+w"
#else
#error "there is neither AVX2 with FMA nor NEON to compile for"
#endif

typedef float vec __attribute__((vector_size(4 * LANES)));
typedef int32_t ints __attribute__((vector_size(4 * LANES)));

INLINE vec broadcast(float x) { return x - (vec){0}; }

/* From and to any address: copies of a constant size become one unaligned move. */
INLINE vec load(const float *x) {
    vec v;
    memcpy(&v, x, sizeof v);
    return v;
}

INLINE void store(float *x, vec v) { memcpy(x, &v, sizeof v); }

/* Return the smaller of both, NaN where x is NaN: x86 returns the second operand then, NEON a NaN. */
INLINE vec min_with(vec x, float limit) {
#if defined(__AVX512F__)
    return _mm512_min_ps(broadcast(limit), x);
#elif defined(__AVX2__)
    return _mm256_min_ps(broadcast(limit), x);
#else
    return vminq_f32(x, broadcast(limit));
#endif
}

#if !defined(__AVX512F__)
/* Return the larger of both, NaN where x is NaN. */
INLINE vec max_with(vec x, float limit) {
#if defined(__AVX2__)
    return _mm256_max_ps(broadcast(limit), x);
#else
    return vmaxq_f32(x, broadcast(limit));
#endif
}
#endif

/* Return 1 / x of normal numbers whose reciprocal is one too. The division of AVX-512 takes several times as long as an
 * estimate, right to 2^-14, and one step of Newton's method, which squares that error: 2^-28, less than float's own
 * rounding. NEON's estimate has 8 bits and would need two steps. */
INLINE vec reciprocal(vec x) {
#if defined(__AVX512F__)
    vec y = _mm512_rcp14_ps(x);
    return y + y * (1.0f - x * y);
#else
    return 1.0f / x;
#endif
}
#endif
