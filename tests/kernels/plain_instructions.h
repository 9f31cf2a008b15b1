/* Instructions whose memory no sanitizer sees, and those of AMX, which few CPUs have, in plain C. To be included before what
 * uses them: intrinsics are exchanged by their names.
 */
#ifndef PLAIN_INSTRUCTIONS_H
#define PLAIN_INSTRUCTIONS_H
#if defined(__x86_64__)
#include <immintrin.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* ---------------------------------------------------------------------------------------- moves of some lanes of a vector */

/* Read, or write, those of `lanes` floats whose bit is set, and touch no other. */
static void load_lanes(float *to, const float *from, int lanes, uint32_t bits) {
    for (int i = 0; i < lanes; i++) to[i] = bits >> i & 1 ? from[i] : 0.0f;
}

static void store_lanes(float *to, const float *from, int lanes, uint32_t bits) {
    for (int i = 0; i < lanes; i++)
        if (bits >> i & 1) to[i] = from[i];
}

#if defined(__AVX512F__)
static __m512 plain_maskz_loadu(__mmask16 mask, const float *from) {
    __m512 v;
    load_lanes((float *)&v, from, 16, mask);
    return v;
}

static void plain_mask_storeu(float *to, __mmask16 mask, __m512 v) { store_lanes(to, (const float *)&v, 16, mask); }

#define _mm512_maskz_loadu_ps plain_maskz_loadu
#define _mm512_mask_storeu_ps plain_mask_storeu
#endif

#if defined(__AVX2__)
static __m256 plain_maskload(const float *from, __m256i mask) {
    __m256 v;
    load_lanes((float *)&v, from, 8, (uint32_t)_mm256_movemask_ps((__m256)mask));
    return v;
}

static void plain_maskstore(float *to, __m256i mask, __m256 v) {
    store_lanes(to, (const float *)&v, 8, (uint32_t)_mm256_movemask_ps((__m256)mask));
}

#define _mm256_maskload_ps plain_maskload
#define _mm256_maskstore_ps plain_maskstore
#endif

/* ---------------------------------------------------------------------------------------------------------- tiles of AMX */

#if defined(__AMX_TILE__)
/* Eight tiles of up to 16 rows of 64 bytes for each thread, to be used between the configuration and the release. */
typedef struct { unsigned char row[16][64]; int rows; } amx_t;
static _Thread_local amx_t amx[8];

/* As the instruction takes it. */
typedef struct { uint8_t palette, start_row, unused[14]; uint16_t row_bytes[16]; uint8_t rows[16]; } amx_shape_t;

static void amx_configure(const void *given) {
    amx_shape_t shape;
    memcpy(&shape, given, sizeof shape);
    if (shape.palette != 1) abort();
    memset(amx, 0, sizeof amx);
    for (int tile = 0; tile < 8; tile++) {
        if (shape.row_bytes[tile] != 64 || shape.rows[tile] < 1 || shape.rows[tile] > 16) abort();
        amx[tile].rows = shape.rows[tile];
    }
}

static void amx_release(void) { memset(amx, 0, sizeof amx); }

static amx_t *amx_tile(int tile) {
    if (!amx[tile].rows) abort();
    return &amx[tile];
}

static void amx_load(int tile, const void *from, int64_t step) {
    for (int r = 0; r < amx_tile(tile)->rows; r++) memcpy(amx[tile].row[r], (const char *)from + r * step, 64);
}

static void amx_store(int tile, void *to, int64_t step) {
    for (int r = 0; r < amx_tile(tile)->rows; r++) memcpy((char *)to + r * step, amx[tile].row[r], 64);
}

/* A CPU ends what multiplies tiles that do not fit: 16 rows of b for the 16 elements of a row of a. */
static void amx_require_fit(int sums, int a, int b) {
    if (amx_tile(sums)->rows != amx_tile(a)->rows || amx_tile(b)->rows != 16) abort();
}

/* What touches the tiles alone is as fast as a compiler makes it, and not watched. */
#define OF_TILES __attribute__((optimize("O2"), no_sanitize("address", "undefined", "thread")))

/* Add the products of a, 32 values of bf16 a row, and of b, in whose rows pairs of values follow one another. */
OF_TILES static void amx_multiply_pairs(amx_t *sums, const amx_t *a, const amx_t *b) {
    float of_a[16][32], of_b[32][16];
    for (int r = 0; r < 16; r++)
        for (int i = 0; i < 32; i++) {
            uint32_t bits_a = (uint32_t)(a->row[r][2 * i] | a->row[r][2 * i + 1] << 8) << 16;
            uint32_t bits_b = (uint32_t)(b->row[r][2 * i] | b->row[r][2 * i + 1] << 8) << 16;
            memcpy(&of_a[r][i], &bits_a, sizeof bits_a);
            memcpy(&of_b[2 * r + i % 2][i / 2], &bits_b, sizeof bits_b);
        }
    for (int m = 0; m < sums->rows; m++) {
        float sum[16];
        memcpy(sum, sums->row[m], sizeof sum);
        for (int k = 0; k < 32; k++)
            for (int n = 0; n < 16; n++) sum[n] += of_a[m][k] * of_b[k][n];
        memcpy(sums->row[m], sum, sizeof sum);
    }
}

/* Add the products of a, 64 bytes a row from 0 to 255, and of b, in whose rows four bytes from -128 follow one another. */
OF_TILES static void amx_multiply_bytes(amx_t *sums, const amx_t *a, const amx_t *b) {
    for (int m = 0; m < sums->rows; m++) {
        uint32_t sum[16];
        memcpy(sum, sums->row[m], sizeof sum);
        for (int k = 0; k < 64; k++)
            for (int n = 0; n < 16; n++) sum[n] += (uint32_t)(a->row[m][k] * (signed char)b->row[k / 4][4 * n + k % 4]);
        memcpy(sums->row[m], sum, sizeof sum);
    }
}

#undef _tile_loadd
#undef _tile_stored
#undef _tile_dpbf16ps
#undef _tile_dpbusd
#undef _tile_loadconfig
#undef _tile_release
#define _tile_loadd(tile, from, step) amx_load(tile, from, step)
#define _tile_stored(tile, to, step) amx_store(tile, to, step)
#define _tile_dpbf16ps(sums, a, b) (amx_require_fit(sums, a, b), amx_multiply_pairs(&amx[sums], &amx[a], &amx[b]))
#define _tile_dpbusd(sums, a, b) (amx_require_fit(sums, a, b), amx_multiply_bytes(&amx[sums], &amx[a], &amx[b]))
#define _tile_loadconfig amx_configure
#define _tile_release amx_release
#endif
#endif
#endif
