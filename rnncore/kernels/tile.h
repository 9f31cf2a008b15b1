/* The register tile: products of a few rows with a few vectors of columns, whose sums never leave the registers.
 *
 * The forward kernel takes as columns a group of units with all its gates, training a panel of a matrix (panel.h).
 */
#ifndef TILE_H
#define TILE_H
#include "sizes.h"
#include "vectors.h"

/* The sums of a tile. */
#define MAX_ROWS 9
#define MAX_VECTORS 4
typedef vec sums_t[MAX_ROWS][MAX_VECTORS];

/* Rows of a tile of 3 and of 4 vectors: as many as leave registers for the weights and for the value that is broadcast. Of
 * the 32 of AVX-512 27 = 9 x 3 or 24 = 6 x 4 are sums, of the 16 of other x86 CPUs 12 = 4 x 3 or 3 x 4; the last is for the
 * 32 of aarch64. SPLIT_SUMS: as many sums at most has a tile whose sums are split by k. */
#if defined(__AVX512F__)
#define ROWS_OF_3 9
#define ROWS_OF_4 6
#define SPLIT_SUMS 16
#elif defined(__x86_64__)
#define ROWS_OF_3 4
#define ROWS_OF_4 3
#define SPLIT_SUMS 12
#else
#define ROWS_OF_3 8
#define ROWS_OF_4 6
#define SPLIT_SUMS 16
#endif

/* Weights are prefetched this many rows of w before they are used: they come from the core's second cache, and its own
 * prefetchers stop at the end of a page. */
#define PREFETCH_ROWS 12

/* Add to sums (rows, vectors) the product a w: a (rows, inner) has element (r, k) at r * row_step + k * k_step; w is (inner,
 * vectors, LANES).
 *
 * kind: of the elements of a and w: FLOATS; or PAIRS of bf16 values or QUADS of bytes, the product of two of which is the sum of
 * all products. inner counts elements, and sums of QUADS are whole numbers.
 *
 * rows, vectors and kind are literals of whoever inlines this, so that all loops but that over inner are unrolled, and sums
 * are registers. */
INLINE void tile_product(const int rows, const int vectors, const int kind, sums_t sums, const float *a, int64_t row_step,
                         int64_t k_step, int inner, const float *w) {
    /* An addition takes four cycles, and two can begin in each: where a tile has fewer sums than that, each would wait for
     * its own last addition. They are split by k, and added up at the end. */
    const int parts = int_max(1, int_min(4, SPLIT_SUMS / (rows * vectors)));
    sums_t extra[3];
    #pragma GCC unroll 4
    for (int part = 1; part < parts; part++)
        #pragma GCC unroll 16
        for (int r = 0; r < rows; r++)
            #pragma GCC unroll 4
            for (int v = 0; v < vectors; v++) extra[part - 1][r][v] = (vec){0};
    int k = 0;
    for (; k + parts <= inner; k += parts) {
        #pragma GCC unroll 4
        for (int part = 0; part < parts; part++) {
            const float *row = w + (int64_t)(k + part) * vectors * LANES;
            #pragma GCC unroll 4
            for (int v = 0; v < vectors; v += int_max(1, LINE_FLOATS / LANES))
                __builtin_prefetch(row + (PREFETCH_ROWS * vectors + v) * LANES);
            /* The fewer of both are kept in registers. */
            vec values[MAX_ROWS], weights[MAX_VECTORS];
            if (rows < vectors)
                #pragma GCC unroll 16
                for (int r = 0; r < rows; r++) values[r] = broadcast_value(kind, a + r * row_step + (k + part) * k_step);
            else
                #pragma GCC unroll 4
                for (int v = 0; v < vectors; v++) weights[v] = load(row + v * LANES);
            #pragma GCC unroll 36
            for (int i = 0; i < rows * vectors; i++) {
                const int r = rows < vectors ? i % rows : i / vectors, v = rows < vectors ? i / rows : i % vectors;
                if (rows < vectors && r == 0) {
                    weights[v] = load(row + v * LANES);
                    /* Once, and not by each of the instructions that use it. */
                    if (rows > 1) __asm__("" : ANY_REGISTER(weights[v]));
                }
                if (rows >= vectors && v == 0) values[r] = broadcast_value(kind, a + r * row_step + (k + part) * k_step);
                vec *sum = part == 0 ? &sums[r][v] : &extra[part - 1][r][v];
                *sum = add_product(kind, *sum, values[r], weights[v]);
            }
        }
    }
    for (; k < inner; k++)
        #pragma GCC unroll 4
        for (int v = 0; v < vectors; v++) {
            vec weight = load(w + ((int64_t)k * vectors + v) * LANES);
            #pragma GCC unroll 16
            for (int r = 0; r < rows; r++)
                sums[r][v] = add_product(kind, sums[r][v], broadcast_value(kind, a + r * row_step + k * k_step), weight);
        }
    #pragma GCC unroll 4
    for (int part = 1; part < parts; part++)
        #pragma GCC unroll 16
        for (int r = 0; r < rows; r++)
            #pragma GCC unroll 4
            for (int v = 0; v < vectors; v++) sums[r][v] = add_sums(kind, sums[r][v], extra[part - 1][r][v]);
}

/* Hold the compiler to the order: it may move arithmetic past a reading of the clock, but not past this. */
INLINE void settle(const int rows, const int vectors, sums_t sums) {
    #pragma GCC unroll 16
    for (int r = 0; r < rows; r++)
        #pragma GCC unroll 4
        for (int v = 0; v < vectors; v++) __asm__ volatile("" : ANY_REGISTER(sums[r][v]));
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
