/* bf16 values in whole blocks, and the products of AMX's tiles of them.
 */
#ifndef AMX_H
#define AMX_H
#include <stdint.h>

#include "sizes.h"

#if defined(__AVX512BF16__)
/* bf16 values of a row of inputs or states are filled up to whole blocks of 32, and rows to whole tiles of 16: AMX reads
 * both. All vectors of such a CPU have 16 lanes. */
#define TILE 16
#define PAIRED 32

static int64_t blocks_of(int values) { return div_up(values, PAIRED); }
#endif

#if defined(__AMX_BF16__) && defined(__AVX512BF16__)
#include <immintrin.h>
#include <sys/syscall.h>
#include <unistd.h>

/* An AMX tile is a register of 16 rows of 64 bytes. _tile_dpbf16ps(c, a, b) adds to c, 16 x 16 in fp32, the product of a and
 * b: a has 16 rows of 32 bf16 values; b has those 32 as 16 pairs, and of each pair 16 columns of two values, so that value k
 * of column n is b[k / 2][2 n + k % 2]. Windows are the rows of a, and the LANES units of a group the columns of b.
 *
 * Compilers do not know that a tile load reads memory: what was written must be there by then. */
#define WRITTEN __asm__ volatile("" ::: "memory")

/* Return whether this process may use tiles; asks the system for them. */
int has_tiles(void) { return syscall(SYS_arch_prctl, 0x1023 /* ARCH_REQ_XCOMP_PERM */, 18 /* tile data */) == 0; }

/* Shape the tiles of sums and of windows, 0 to 3 and 6, to so many rows, those of weights to all; what they held is gone. */
static __attribute__((noinline)) void shape_tiles(int rows) {
    struct { uint8_t palette, start_row, unused[14]; uint16_t row_bytes[16]; uint8_t rows[16]; } shape = {.palette = 1};
    for (int tile = 0; tile < 8; tile++) {
        shape.row_bytes[tile] = 64;
        shape.rows[tile] = tile == 5 || tile == 7 ? TILE : rows;
    }
    /* GCC believes that of this, too, the first eight bytes alone are read. */
    __asm__ volatile("" : : "r"(&shape) : "memory");
    _tile_loadconfig(&shape);
}

/* Add to tiles 0 and up, one per gate, the product a w: a (TILE, blocks, PAIRED), w (blocks, G, TILE, PAIRED). Weights go to
 * tiles 7 and 5 alternately, so that one loads while the other is used. */
INLINE void tile_products(const int gates, const uint16_t *a, int64_t a_step, int blocks, const uint16_t *w) {
    for (int k = 0; k < blocks; k++, w += gates * TILE * PAIRED) {
        _tile_loadd(6, a + k * PAIRED, a_step * 2);
        _tile_loadd(7, w, 64);
        _tile_dpbf16ps(0, 6, 7);
        _tile_loadd(5, w + TILE * PAIRED, 64);
        _tile_dpbf16ps(1, 6, 5);
        _tile_loadd(7, w + 2 * TILE * PAIRED, 64);
        _tile_dpbf16ps(2, 6, 7);
        if (gates == 4) {
            _tile_loadd(5, w + 3 * TILE * PAIRED, 64);
            _tile_dpbf16ps(3, 6, 5);
        }
    }
}
#else
int has_tiles(void) { return 0; }
#endif
#endif
