/* Whole numbers of shapes and shares: what all files here count with. */
#ifndef SIZES_H
#define SIZES_H
#include <stdint.h>

#define INLINE static inline __attribute__((always_inline))

/* Floats of a cache line of 64 bytes. Memory of different threads never shares one. */
#define LINE_FLOATS 16

INLINE int int_min(int a, int b) { return a < b ? a : b; }

INLINE int int_max(int a, int b) { return a > b ? a : b; }

INLINE int64_t div_up(int64_t count, int64_t size) { return (count + size - 1) / size; }

INLINE int64_t round_up(int64_t count, int64_t size) { return div_up(count, size) * size; }

/* Return where the share of part number `part` of `parts` begins, and so where that of the part before it ends. */
INLINE int share_start(int count, int part, int parts) { return (int)((int64_t)count * part / parts); }
#endif
