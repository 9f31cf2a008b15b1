/* Products of matrices by the register tile (tile.h), in fp32 or of pairs of bf16 values, which are added in fp32.
 *
 * The second factor, (inner, columns), is packed into panels: each is a few vectors of columns wide, as a tile is, and lies
 * row after row. All panels are nearly as wide as one another. Columns that fill up the last vector are zeros.
 *
 * Of pairs, two rows of the second factor and two columns of the first are one, whose elements are pairs of values, as large
 * as a float; where their number is odd, zeros fill up the last.
 */
#ifndef PANEL_H
#define PANEL_H
#include "sizes.h"
#include "tile.h"
#include "vectors.h"

#define PANEL_VECTORS 3

static int panel_count(int columns) { return (int)div_up(div_up(columns, LANES), PANEL_VECTORS); }

/* Return the first column of a panel, and so the end of the one before. */
static int panel_start(int columns, int panel) {
    return LANES * share_start((int)div_up(columns, LANES), panel, panel_count(columns));
}

/* Return how many elements `count` values are. */
static int elements_of(int pairs, int count) { return pairs ? (int)div_up(count, 2) : count; }

#if defined(__AVX512BF16__)
/* Write pairs of rows of a matrix (rows, columns), whole vectors: to (rows / 2, columns). */
static void pair_rows(const float *x, int64_t step, int rows, int columns, float *to, int64_t to_step) {
    for (int r = 0; r < rows; r += 2, x += 2 * step, to += to_step)
        for (int c = 0; c < columns; c += LANES) {
            const int count = int_min(columns - c, LANES);
            vec second = r + 1 < rows ? load_part(x + step + c, count) : (vec){0};
            store(to + c, rounded_pairs(load_part(x + c, count), second));
        }
}

/* Write a matrix (rows, columns) in bf16, whole vectors. */
static void round_rows(const float *x, int64_t step, int rows, int columns, uint16_t *to, int64_t to_step) {
    for (int r = 0; r < rows; r++, x += step, to += to_step)
        for (int c = 0; c < columns; c += LANES) store_rounded(to + c, load_part(x + c, int_min(columns - c, LANES)));
}

/* Write a column as pairs, each `width` elements after the one before. */
static void pair_column(const float *x, int count, float *to, int width) {
    for (int k = 0; k < count; k += LANES) {
        uint16_t rounded[LANES];
        store_rounded(rounded, load_part(x + k, int_min(count - k, LANES)));
        for (int i = 0; i < LANES && k + i < count; i += 2, to += width) memcpy(to, rounded + i, sizeof(float));
    }
}
#endif

/* The second factor: element (k, c) at at[k * k_step + c * c_step], of which one step is 1. */
typedef struct {
    const float *at;
    int64_t k_step, c_step;
    int inner, columns, pairs;
} matrix_t;

/* Write a panel of a matrix to its place in `packed`. */
static void pack_panel(const matrix_t *m, int panel, float *packed) {
    const int first = panel_start(m->columns, panel), width = panel_start(m->columns, panel + 1) - first;
    const int own = int_min(width, m->columns - first), inner = elements_of(m->pairs, m->inner);
    const float *from = m->at + first * m->c_step;
    float *to = packed + (int64_t)inner * first;
    if (m->c_step != 1 && own < width) memset(to, 0, sizeof(float) * inner * width);
#if defined(__AVX512BF16__)
    if (m->pairs) {
        if (m->c_step == 1) pair_rows(from, m->k_step, m->inner, own, to, width);
        else for (int c = 0; c < own; c++) pair_column(from + c * m->c_step, m->inner, to + c, width);
        return;
    }
#endif
    if (m->c_step == 1)
        for (int k = 0; k < inner; k++, from += m->k_step, to += width)
            for (int c = 0; c < own; c += LANES)
                store(to + c, own - c < LANES ? load_part(from + c, own - c) : load(from + c));
    else
        for (int c = 0; c < own; c++)
            for (int k = 0; k < inner; k++) to[(int64_t)k * width + c] = from[c * m->c_step + k];
}

static void pack(const matrix_t *m, float *packed) {
    for (int panel = 0; panel < panel_count(m->columns); panel++) pack_panel(m, panel, packed);
}

/* The first factor: element (r, k) at at[r * row_step + k * k_step]. */
typedef struct {
    const float *at;
    int64_t row_step, k_step;
    int inner, pairs;
} factor_t;

/* Return a matrix (rows, columns), whose rows are `step` apart, as a first factor. Pairs are written to `rounded`, which has
 * a whole number of vectors for each row. */
static factor_t rows_of(int pairs, const float *x, int64_t step, int rows, int columns, float *rounded) {
#if defined(__AVX512BF16__)
    if (pairs) {
        const int64_t width = round_up(columns, LANES);
        round_rows(x, step, rows, columns, (uint16_t *)rounded, width);
        return (factor_t){rounded, width / 2, 1, elements_of(1, columns), 1};
    }
#endif
    (void)pairs, (void)rows, (void)rounded;
    return (factor_t){x, step, 1, columns, 0};
}

/* As rows_of, transposed. */
static factor_t columns_of(int pairs, const float *x, int64_t step, int rows, int columns, float *rounded) {
#if defined(__AVX512BF16__)
    if (pairs) {
        const int64_t width = round_up(columns, LANES);
        pair_rows(x, step, rows, columns, rounded, width);
        return (factor_t){rounded, 1, width, elements_of(1, rows), 1};
    }
#endif
    (void)pairs, (void)columns, (void)rounded;
    return (factor_t){x, 1, step, rows, 0};
}

/* What becomes of a product (rows, columns): at = a b, or with `adds` at + a b, and then what was there is added last: sums
 * of many hours would swallow single products. */
typedef struct {
    float *at;
    int64_t step;            /* from one row to the next */
    int columns, adds;
} result_t;

/* The tile of a panel. `at` is its first row and column, of which there are `columns`. */
INLINE void panel_tile(const int rows, const int vectors, const int pairs, const factor_t *a, const float *first_row,
                       const float *panel, const result_t *out, float *at, int columns) {
    const int left = columns - (vectors - 1) * LANES; /* of the last vector */
    sums_t sums;
    #pragma GCC unroll 16
    for (int r = 0; r < rows; r++)
        #pragma GCC unroll 4
        for (int v = 0; v < vectors; v++) {
            sums[r][v] = (vec){0};
            if (out->adds) __builtin_prefetch(at + r * out->step + v * LANES, 1);
        }
    tile_product(rows, vectors, pairs, sums, first_row, a->row_step, a->k_step, a->inner, panel);
    #pragma GCC unroll 16
    for (int r = 0; r < rows; r++)
        #pragma GCC unroll 4
        for (int v = 0; v < vectors; v++) {
            float *to = at + r * out->step + v * LANES;
            if (v < vectors - 1 || left == LANES) store(to, out->adds ? load(to) + sums[r][v] : sums[r][v]);
            else store_part(to, out->adds ? load_part(to, left) + sums[r][v] : sums[r][v], left);
        }
}

typedef void (*panel_rows_t)(int rows, const factor_t *a, const float *first_row, const float *panel, const result_t *out,
                             float *at, int columns);

#define PANEL_ROWS(name, vectors, pairs) \
    static void name(int rows, const factor_t *a, const float *first_row, const float *panel, const result_t *out, \
                     float *at, int columns) { \
        FOR_ROWS(rows, ROWS_OF_3, panel_tile, vectors, pairs, a, first_row, panel, out, at, columns) \
    }

PANEL_ROWS(rows_of_1_vector, 1, 0)
PANEL_ROWS(rows_of_2_vectors, 2, 0)
PANEL_ROWS(rows_of_3_vectors, 3, 0)
#if defined(__AVX512BF16__)
PANEL_ROWS(pairs_of_1_vector, 1, 1)
PANEL_ROWS(pairs_of_2_vectors, 2, 1)
PANEL_ROWS(pairs_of_3_vectors, 3, 1)
#endif

/* By pairs and vectors less one. */
static const panel_rows_t PANELS[2][PANEL_VECTORS] = {
    {rows_of_1_vector, rows_of_2_vectors, rows_of_3_vectors},
#if defined(__AVX512BF16__)
    {pairs_of_1_vector, pairs_of_2_vectors, pairs_of_3_vectors},
#endif
};

/* Multiply the first rows of a by a packed matrix. */
static void product(int rows, factor_t a, const float *packed, result_t out) {
    for (int panel = 0; panel < panel_count(out.columns); panel++) {
        const int first = panel_start(out.columns, panel), width = panel_start(out.columns, panel + 1) - first;
        const panel_rows_t of_rows = PANELS[a.pairs][width / LANES - 1];
        for (int row = 0, n; row < rows; row += n) {
            n = tile_rows(rows - row, ROWS_OF_3);
            of_rows(n, &a, a.at + row * a.row_step, packed + (int64_t)a.inner * first, &out,
                    out.at + row * out.step + first, int_min(width, out.columns - first));
        }
    }
}
#endif
