/* The register tile: products of a few rows with a group of units, whose sums never leave the registers. */
#ifndef TILE_H
#define TILE_H
#include "sizes.h"
#include "vectors.h"

/* The sums of a tile: a row is a window at an hour; a vector of each gate has LANES units. */
#define MAX_ROWS 9
#define MAX_GATES 4
typedef vec sums_t[MAX_ROWS][MAX_GATES];

/* Rows of a tile: as many as leave registers for the weights of the gates and for the value that is broadcast. Of the 32 of
 * AVX-512 27 = 9 x 3 or 24 = 6 x 4 are sums, of the 16 of AVX2 12 = 4 x 3 or 8 = 2 x 4; the last is for the 32 of
 * aarch64. */
#if defined(__AVX512F__)
#define GRU_ROWS 9
#define LSTM_ROWS 6
#elif defined(__AVX2__)
#define GRU_ROWS 4
#define LSTM_ROWS 2
#else
#define GRU_ROWS 8
#define LSTM_ROWS 6
#endif

/* Weights are prefetched this many rows of w before they are used: they come from the core's second cache, and its own
 * prefetchers stop at the end of a page. */
#define PREFETCH_ROWS 12

/* Add to sums (rows, gates) the product a w. `a` is (rows, inner), row r at a + r * a_step; w is (inner, gates, LANES).
 *
 * rows and gates are literals of whoever inlines this, so that all loops but that over inner are unrolled, and sums are
 * registers. */
INLINE void tile_product(const int rows, const int gates, sums_t sums, const float *a, int64_t a_step, int inner,
                         const float *w) {
    /* An addition takes four cycles, and two can begin in each: where a tile has fewer sums than that, each would wait for
     * its own last addition. They are split by k, and added up at the end. */
    const int parts = rows * gates <= 4 ? 4 : rows * gates <= 8 ? 2 : 1;
    sums_t extra[3];
    #pragma GCC unroll 4
    for (int part = 1; part < parts; part++)
        #pragma GCC unroll 16
        for (int r = 0; r < rows; r++)
            #pragma GCC unroll 4
            for (int g = 0; g < gates; g++) extra[part - 1][r][g] = (vec){0};
    int k = 0;
    for (; k + parts <= inner; k += parts) {
        #pragma GCC unroll 4
        for (int part = 0; part < parts; part++) {
            const float *row = w + (int64_t)(k + part) * gates * LANES;
            vec weights[MAX_GATES];
            #pragma GCC unroll 4
            for (int g = 0; g < gates; g++) __builtin_prefetch(row + (PREFETCH_ROWS * gates + g) * LANES);
            #pragma GCC unroll 4
            for (int g = 0; g < gates; g++) weights[g] = load(row + g * LANES);
            #pragma GCC unroll 16
            for (int r = 0; r < rows; r++) {
                vec value = broadcast(a[r * a_step + k + part]);
                #pragma GCC unroll 4
                for (int g = 0; g < gates; g++) {
                    if (part == 0) sums[r][g] += value * weights[g];
                    else extra[part - 1][r][g] += value * weights[g];
                }
            }
        }
    }
    for (; k < inner; k++)
        #pragma GCC unroll 4
        for (int g = 0; g < gates; g++) {
            vec weight = load(w + ((int64_t)k * gates + g) * LANES);
            #pragma GCC unroll 16
            for (int r = 0; r < rows; r++) sums[r][g] += a[r * a_step + k] * weight;
        }
    #pragma GCC unroll 4
    for (int part = 1; part < parts; part++)
        #pragma GCC unroll 16
        for (int r = 0; r < rows; r++)
            #pragma GCC unroll 4
            for (int g = 0; g < gates; g++) sums[r][g] += extra[part - 1][r][g];
}

/* Hold the compiler to the order: it may move arithmetic past a reading of the clock, but not past this. */
INLINE void settle(const int rows, const int gates, sums_t sums) {
    #pragma GCC unroll 16
    for (int r = 0; r < rows; r++)
        #pragma GCC unroll 4
        for (int g = 0; g < gates; g++) __asm__ volatile("" : ANY_REGISTER(sums[r][g]));
}

/* Return the rows of the next tile of those that are left, so that all tiles have nearly as many. */
static int tile_rows(int left, int max_rows) {
    int tiles = (int)div_up(left, max_rows);
    return (int)div_up(left, tiles);
}

/* Call an inlined function of a tile with a literal number of rows: FOR_ROWS(rows, max_rows, f, ...) is f(rows, ...). */
#define FOR_ROWS(rows, max_rows, tile, ...) \
    switch (rows) { \
        case 1: tile(1, __VA_ARGS__); break; \
        case 2: tile(2, __VA_ARGS__); break; \
        case 3: if (max_rows >= 3) tile(3, __VA_ARGS__); break; \
        case 4: if (max_rows >= 4) tile(4, __VA_ARGS__); break; \
        case 5: if (max_rows >= 5) tile(5, __VA_ARGS__); break; \
        case 6: if (max_rows >= 6) tile(6, __VA_ARGS__); break; \
        case 7: if (max_rows >= 7) tile(7, __VA_ARGS__); break; \
        case 8: if (max_rows >= 8) tile(8, __VA_ARGS__); break; \
        case 9: if (max_rows >= 9) tile(9, __VA_ARGS__); break; \
    }
#endif
