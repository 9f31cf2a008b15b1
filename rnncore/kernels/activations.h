/* exp, sigmoid and tanh: for the forward kernel in vectors, for training in scalar code that compilers vectorise.
 *
 * Both split x = n ln 2 + r with n whole and r of at most ln 2 / 2 either way: e^r comes from a polynomial of Cephes
 * (Moshier), and n is put into the exponent, which fills a float's bits from the 23rd on, 127 for 2^0. NaN stays NaN.
 *
 * Both tanh are right relative to the result: states of small weights are small. The errors given below are the largest
 * against double precision over two million arguments of each sign from 1e-6 to 87, at all three widths of vectors.
 */
#ifndef ACTIVATIONS_H
#define ACTIVATIONS_H
#include <math.h>

#include "vectors.h"

#define LOG2_E 1.44269504088896341f

/* ------------------------------------------------------------------------------------------------------------ in vectors */

/* Split x = n + r with n whole and r of at most 1/2 either way: exact, in powers of 2. n is for times_power alone. */
INLINE vec split_whole(vec x, vec *n) {
#if defined(__AVX512F__)
    *n = _mm512_roundscale_ps(x, 0);
    return x - *n;
#else
    /* 1.5 * 2^23: floats are whole numbers there, so that the sum rounds x to the nearest and has n in its last bits. */
    const float to_whole = 12582912.0f;
    *n = x + to_whole;
    return x - (*n - to_whole);
#endif
}

/* Return p 2^n. But with AVX-512, n is from -126 to 127: else it would leave the exponent's bits. */
INLINE vec times_power(vec p, vec n) {
#if defined(__AVX512F__)
    return _mm512_scalef_ps(p, n);
#else
    return p * (vec)(((ints)n << 23) + (127 << 23)); /* the shift leaves n alone of the sum's bits */
#endif
}

/* Return (2^r - 1) / r, of r of at most 1/2 either way. */
INLINE vec exp2_slope(vec r) {
    vec p = r * 1.535336188319500e-4f + 1.339887440266574e-3f;
    p = p * r + 9.618437357674640e-3f;
    p = p * r + 5.550332471162809e-2f;
    p = p * r + 2.402264791363012e-1f;
    return p * r + 6.931472028550421e-1f;
}

/* Return 2^x, of x at most 126: up to there its reciprocal is a normal number. In powers of 2 the split x = n + r is exact,
 * so that only the polynomial's roundings are left: 1.3 ulp, 1.1e-7 of the result. */
INLINE vec exp2_lanes(vec x) {
    x = min_with(x, 126.0f);
#if !defined(__AVX512F__)
    x = max_with(x, -126.0f);
#endif
    vec n, r = split_whole(x, &n);
    return times_power(exp2_slope(r) * r + 1.0f, n);
}

/* Return 1 / (1 + e^-x): right to 1e-7. Of itself it is less so the smaller it is, to 4e-6 at x = -87: x log2 e is rounded
 * before 2 is raised to it. */
INLINE vec sigmoid_lanes(vec x) { return reciprocal(1.0f + exp2_lanes(x * -LOG2_E)); }

/* Return tanh x = e / (e + 2) with e = e^2x - 1: right to 3e-7 of itself, however small it is.
 *
 * 1 is taken off before anything is rounded: 2^(r + n) - 1 = 2^n (2^r - 1) + (2^n - 1), of which the last is exact from
 * n = -24 to 24. Beyond 2^30 and 2^-30 the result is 1 and -1. */
INLINE vec tanh_lanes(vec x) {
    x = max_with(min_with(x * (2.0f * LOG2_E), 30.0f), -30.0f);
    vec n, r = split_whole(x, &n), power = times_power(broadcast(1.0f), n);
    vec e = exp2_slope(r) * r * power + (power - 1.0f);
    return e * reciprocal(e + 2.0f);
}

/* ------------------------------------------------------------------------------------------------- in scalars, for loops */

/* Return e^x, of x from -87 to 88, right to 1.1 ulp: beyond, n would leave the exponent's bits. Without branches, so that
 * loops become vectors.
 *
 * ln 2 is taken off in two parts, 0.693359375 - 2.12194440e-4. The first has nine bits, so that n times it is exact, and
 * what is left of x loses nothing; the second is small enough for its rounding not to count. */
INLINE float exp_of(float x) {
    x = x > 88.0f ? 88.0f : x;
    x = x < -87.0f ? -87.0f : x;
    /* As in exp2_lanes: the whole number is in the last bits of a sum, from where it is taken as it is. To convert a float is
     * undefined where it is NaN. */
    const float to_whole = 12582912.0f;
    float sum = x * LOG2_E + to_whole, n = sum - to_whole;
    float r = x - n * 0.693359375f + n * 2.12194440e-4f;
    float p = 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * r * r + r + 1.0f;
    union { float value; uint32_t bits; } power = {sum};
    power.bits = (power.bits << 23) + (127u << 23);
    return p * power.value;
}

/* Return 1 / (1 + e^-x), right to 2.5 ulp. */
INLINE float sigmoid_of(float x) { return 1.0f / (1.0f + exp_of(-x)); }

/* Return tanh x, right to 1.4 ulp: near zero by a polynomial of Cephes, x + x^3 p(x^2), which loses no digits where
 * 1 - 2 / (1 + e^2x) does. Both are computed everywhere, as lanes of a vector cannot branch. */
INLINE float tanh_of(float x) {
    float size = fabsf(x), square = x * x;
    float far = copysignf(1.0f - 2.0f / (exp_of(2.0f * size) + 1.0f), x);
    float p = -5.70498872745e-3f;
    p = p * square + 2.06390887954e-2f;
    p = p * square - 5.37397155531e-2f;
    p = p * square + 1.33314422036e-1f;
    p = p * square - 3.33332819422e-1f;
    return size < 0.625f ? x + x * square * p : far;
}
#endif
