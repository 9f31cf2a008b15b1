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

#if defined(__AVX2__) && !defined(__AVX512F__)
/* Return a mask of the first lanes: all bits of theirs. */
INLINE __m256i first_lanes(int count) {
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(count), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
#endif

/* From and to any address, of which `count` lanes alone: the rest is read as zeros, and not written. */
INLINE vec load_part(const float *x, int count) {
#if defined(__AVX512F__)
    return _mm512_maskz_loadu_ps((__mmask16)((1u << count) - 1), x);
#elif defined(__AVX2__)
    return _mm256_maskload_ps(x, first_lanes(count));
#else
    vec v = {0};
    memcpy(&v, x, sizeof(float) * count);
    return v;
#endif
}

INLINE void store_part(float *x, vec v, int count) {
#if defined(__AVX512F__)
    _mm512_mask_storeu_ps(x, (__mmask16)((1u << count) - 1), v);
#elif defined(__AVX2__)
    _mm256_maskstore_ps(x, first_lanes(count), v);
#else
    memcpy(x, &v, sizeof(float) * count);
#endif
}

/* What the 32 bits of an element of a product are: a float, two bf16 values, or four bytes. */
enum { FLOATS, PAIRS, QUADS };

/* Instructions that add the products of four bytes to each lane of whole numbers. x86 multiplies unsigned bytes by
 * signed ones: a zero of the unsigned factor is written as ZERO_BYTE, and so much of the other factor must be taken off
 * again. NEON has both signed. What adds pairs of products in 16 bits first, as AVX2 does, could overflow there.
 *
 * By asm statements on x86: of intrinsics, whose vectors are of another type, GCC 12 left an array of sums on the stack. */
#if defined(__AVX512VNNI__)
#define HAS_QUADS 1
#define ZERO_BYTE 128
#define DOT_QUADS "vpdpbusd"
#define A_REGISTER "v"
#elif defined(__AVXVNNI__)
#define HAS_QUADS 1
#define ZERO_BYTE 128
#define A_REGISTER "x"
/* Without its prefix it is an instruction of AVX512-VNNI: so tests run it where that is. */
#if !defined(DOT_QUADS)
#define DOT_QUADS "%{vex%} vpdpbusd"
#endif
#elif defined(__ARM_FEATURE_DOTPROD)
#define HAS_QUADS 1
#define ZERO_BYTE 0
#else
#define HAS_QUADS 0
#endif

/* Return the value at an address in all lanes: a float, or the bits of two bf16 values or of four bytes. */
INLINE vec broadcast_value(const int kind, const float *x) {
    int32_t bits;
    memcpy(&bits, x, sizeof bits);
    return kind == FLOATS ? broadcast(*x) : (vec)(bits - (ints){0});
}

/* Return sum + x y; of pairs of bf16 values the sum and both products; of quads, of which those of x are states, the whole
 * numbers' sum and all four products. */
INLINE vec add_product(const int kind, vec sum, vec x, vec y) {
#if defined(__AVX512BF16__)
    if (kind == PAIRS) return _mm512_dpbf16_ps(sum, (__m512bh)x, (__m512bh)y);
#endif
#if defined(DOT_QUADS)
    if (kind == QUADS) {
        __asm__(DOT_QUADS " %2, %1, %0" : ANY_REGISTER(sum) : A_REGISTER(x), A_REGISTER(y));
        return sum;
    }
#elif HAS_QUADS
    if (kind == QUADS) return (vec)vdotq_s32((int32x4_t)sum, (int8x16_t)x, (int8x16_t)y);
#endif
    (void)kind;
    return sum + x * y;
}

/* Return the sum of two sums of products. */
INLINE vec add_sums(const int kind, vec x, vec y) { return kind == QUADS ? (vec)((ints)x + (ints)y) : x + y; }

#if HAS_QUADS
/* Return sums of products of quads, whole numbers, as floats. */
INLINE vec floats_of(vec sums) { return __builtin_convertvector((ints)sums, vec); }

/* Write a vector of values from -1 to 1 as bytes: 127 is 1, to nearest, ties to even, and zero is ZERO_BYTE. What is
 * somewhat larger becomes the largest byte; of NaN and infinity it is some byte. */
INLINE void store_bytes(uint8_t *x, vec v) {
#if defined(__AVX512F__)
    __m128i bytes = _mm_xor_si128(_mm512_cvtsepi32_epi8(_mm512_cvtps_epi32(v * 127.0f)), _mm_set1_epi8(-ZERO_BYTE));
#elif defined(__AVX2__)
    __m256i whole = _mm256_cvtps_epi32(v * 127.0f);
    __m128i words = _mm_packs_epi32(_mm256_castsi256_si128(whole), _mm256_extracti128_si256(whole, 1));
    __m128i bytes = _mm_xor_si128(_mm_packs_epi16(words, words), _mm_set1_epi8(-ZERO_BYTE));
#else
    int16x4_t words = vqmovn_s32(vcvtnq_s32_f32(v * 127.0f));
    int8x8_t bytes = vqmovn_s16(vcombine_s16(words, words));
#endif
    memcpy(x, &bytes, LANES);
}
#endif

#if defined(__AVX512BF16__)
/* Write a vector as bf16 values, rounded to nearest, ties to even. */
INLINE void store_rounded(uint16_t *x, vec v) {
    __m256bh rounded = _mm512_cvtneps_pbh(v);
    memcpy(x, &rounded, sizeof rounded);
}

/* Return pairs of bf16 values, rounded from each lane of both. */
INLINE vec rounded_pairs(vec first, vec second) {
    __m512i low = _mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh(first));
    __m512i high = _mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh(second));
    return (vec)_mm512_or_si512(low, _mm512_slli_epi32(high, 16));
}
#endif

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

/* Return the larger of both, NaN where x is NaN. */
INLINE vec max_with(vec x, float limit) {
#if defined(__AVX512F__)
    return _mm512_max_ps(broadcast(limit), x);
#elif defined(__AVX2__)
    return _mm256_max_ps(broadcast(limit), x);
#else
    return vmaxq_f32(x, broadcast(limit));
#endif
}

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
