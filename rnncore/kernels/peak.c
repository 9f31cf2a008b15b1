/* What this CPU can do at best, for the ceilings that rows are held against: instructions of products that never leave the
 * registers, the same memory read again and again from the cache that holds it, and chains of the register tile's products.
 *
 * Nobody wants the results. The compiler is kept from leaving the work out by asm statements without instructions, which
 * take and return a register: it cannot know what is in it afterwards.
 */
#include <stdint.h>
#include <string.h>

#include "amx.h"
#include "sizes.h"
#include "team.h"
#include "tile.h"
#include "vectors.h"

#define OPAQUE(v) __asm__ volatile("" : ANY_REGISTER(v))

/* ------------------------------------------------------------------------------------------ products in registers alone */

/* Sums that go on at once. An instruction takes four or five cycles, and two begin in each, four on some ARM CPUs: with this
 * many none waits for the one before it. With two factors they fit into the registers. EACH_SUM(do, next): do(i, next) for
 * each of them: variables of their own, as of an array GCC 12 left those of bytes on the stack, at half the rate. */
#define TWELVE(do, next, from)                                                                            \
    do(from##0, next) do(from##1, next) do(from##2, next) do(from##3, next) do(from##4, next) do(from##5, next) \
    do(from##6, next) do(from##7, next) do(from##8, next) do(from##9, next) do(from##a, next) do(from##b, next)
#if defined(__AVX512F__) || defined(__aarch64__)
#define SUMS 24
#define EACH_SUM(do, next) TWELVE(do, next, s) TWELVE(do, next, t)
#else
#define SUMS 12
#define EACH_SUM(do, next) TWELVE(do, next, s)
#endif

/* What every 32 bits of the factors hold: as a float 0.502, as two bf16 values 0.5 each, and four bytes of which two are not
 * zero. No sum becomes infinite or subnormal by it. */
#define FACTOR 0x3f003f00

/* Define name(rounds): in each round every one of the sums s becomes NEXT(s, x, y), one instruction or a few. What s is must
 * go into each of them: the compiler would take anything else out of the loop. */
#define BEGIN(s, next)        \
    __typeof__(x) s = y;      \
    OPAQUE(s);
#define GO_ON(s, next)        \
    s = next(s, x, y);        \
    OPAQUE(s);
#define DEFINE_ROUNDS(name, type, NEXT)                                   \
    static void name(int64_t rounds) {                                    \
        int32_t bits[sizeof(type) / 4];                                   \
        for (unsigned i = 0; i < sizeof(type) / 4; i++) bits[i] = FACTOR; \
        type x, y;                                                        \
        memcpy(&x, bits, sizeof x);                                       \
        memcpy(&y, bits, sizeof y);                                       \
        OPAQUE(x);                                                        \
        OPAQUE(y);                                                        \
        EACH_SUM(BEGIN, 0)                                                \
        for (; rounds > 0; rounds--) {                                    \
            EACH_SUM(GO_ON, NEXT)                                         \
        }                                                                 \
    }

/* Where a CPU has both widths the narrower may be the faster one: some lower their clock for the wider. */
#define MULTIPLY_ADD(s, x, y) ((s) * (x) + (y))
DEFINE_ROUNDS(multiply_add, vec, MULTIPLY_ADD)
#if defined(__AVX512F__)
typedef float half_vec __attribute__((vector_size(32)));
DEFINE_ROUNDS(multiply_add_half, half_vec, MULTIPLY_ADD)
#endif

#if defined(__AVX512BF16__)
#define DOT_BF16(s, x, y) ((vec)_mm512_dpbf16_ps((s), (__m512bh)(x), (__m512bh)(y)))
DEFINE_ROUNDS(dot_bf16, vec, DOT_BF16)
#endif

#if defined(__AVX512VNNI__)
DEFINE_ROUNDS(dot_int8, __m512i, _mm512_dpbusd_epi32)
#elif defined(__AVX512BW__)
/* Products of bytes, added in pairs to 16 bits, and those to 32. */
#define DOT_INT8(s, x, y) _mm512_add_epi32(_mm512_madd_epi16(_mm512_maddubs_epi16((s), (x)), (x)), (y))
DEFINE_ROUNDS(dot_int8, __m512i, DOT_INT8)
#elif defined(__AVXVNNI__)
DEFINE_ROUNDS(dot_int8, __m256i, _mm256_dpbusd_avx_epi32)
#elif defined(__AVX2__)
#define DOT_INT8(s, x, y) _mm256_add_epi32(_mm256_madd_epi16(_mm256_maddubs_epi16((s), (x)), (x)), (y))
DEFINE_ROUNDS(dot_int8, __m256i, DOT_INT8)
#endif

#if defined(__aarch64__)
#include <arm_neon.h>
#if defined(__ARM_FEATURE_BF16_VECTOR_ARITHMETIC)
#define PRODUCT_BF16(s, x, y) vbfmmlaq_f32((s), (bfloat16x8_t)(x), (bfloat16x8_t)(y))
DEFINE_ROUNDS(product_bf16, float32x4_t, PRODUCT_BF16)
#endif
#if defined(__ARM_FEATURE_MATMUL_INT8)
#define PRODUCT_INT8(s, x, y) vmmlaq_s32((s), (int8x16_t)(x), (int8x16_t)(y))
DEFINE_ROUNDS(product_int8, int32x4_t, PRODUCT_INT8)
#elif defined(__ARM_FEATURE_DOTPROD)
#define DOT_INT8(s, x, y) vdotq_s32((s), (int8x16_t)(x), (int8x16_t)(y))
DEFINE_ROUNDS(dot_int8, int32x4_t, DOT_INT8)
#endif
#endif

#if defined(__AMX_BF16__) && defined(__AMX_INT8__)
/* Shape the eight tiles as 16 rows of 64 bytes, all full of factors. */
static void fill_tiles(void) {
    struct { uint8_t palette, start_row, unused[14]; uint16_t row_bytes[16]; uint8_t rows[16]; } shape = {.palette = 1};
    for (int tile = 0; tile < 8; tile++) {
        shape.row_bytes[tile] = 64;
        shape.rows[tile] = 16;
    }
    /* Compilers do not know that these instructions read memory. */
    __asm__ volatile("" : : "r"(&shape) : "memory");
    _tile_loadconfig(&shape);
    int32_t row[16];
    for (int i = 0; i < 16; i++) row[i] = FACTOR;
    /* A step of zero: the same row sixteen times. */
    __asm__ volatile("" : : "r"(row) : "memory");
    _tile_loadd(0, row, 0);
    _tile_loadd(1, row, 0);
    _tile_loadd(2, row, 0);
    _tile_loadd(3, row, 0);
    _tile_loadd(4, row, 0);
    _tile_loadd(5, row, 0);
    _tile_loadd(6, row, 0);
    _tile_loadd(7, row, 0);
}

/* Four sums, as each takes four times as long as it holds up the next. */
#define TILE_SUMS 4

static void tiles_bf16(int64_t rounds) {
    fill_tiles();
    for (; rounds > 0; rounds--) {
        _tile_dpbf16ps(0, 4, 6);
        _tile_dpbf16ps(1, 4, 7);
        _tile_dpbf16ps(2, 5, 6);
        _tile_dpbf16ps(3, 5, 7);
    }
    _tile_release();
}

static void tiles_int8(int64_t rounds) {
    fill_tiles();
    for (; rounds > 0; rounds--) {
        _tile_dpbusd(0, 4, 6);
        _tile_dpbusd(1, 4, 7);
        _tile_dpbusd(2, 5, 6);
        _tile_dpbusd(3, 5, 7);
    }
    _tile_release();
}
#endif

static int always(void) { return 1; }

/* A way to multiply and add. operations: of a round on one thread, two for each product that is added. */
typedef struct {
    const char *precision, *name;
    int64_t operations;
    void (*rounds)(int64_t rounds);
    int (*may_be_used)(void);
} way_t;

/* By 32 bits of a vector: one product of floats, two of bf16 values, four of bytes. */
static const way_t WAYS[] = {
#if defined(__AVX512F__)
    {"fp32", "AVX-512 multiply-adds", SUMS * 16 * 2, multiply_add, always},
    {"fp32", "AVX2 multiply-adds", SUMS * 8 * 2, multiply_add_half, always},
#elif defined(__AVX2__)
    {"fp32", "AVX2 multiply-adds", SUMS * 8 * 2, multiply_add, always},
#elif defined(__aarch64__)
    {"fp32", "NEON multiply-adds", SUMS * 4 * 2, multiply_add, always},
#else
    {"fp32", "multiply-adds", SUMS * LANES * 2, multiply_add, always},
#endif
#if defined(__AVX512BF16__)
    {"bf16", "AVX512-BF16 dot products", SUMS * 16 * 4, dot_bf16, always},
#endif
#if defined(__AVX512VNNI__)
    {"int8", "AVX512-VNNI dot products", SUMS * 16 * 8, dot_int8, always},
#elif defined(__AVX512BW__)
    {"int8", "AVX-512 multiply-adds of bytes", SUMS * 16 * 8, dot_int8, always},
#elif defined(__AVXVNNI__)
    {"int8", "AVX-VNNI dot products", SUMS * 8 * 8, dot_int8, always},
#elif defined(__AVX2__)
    {"int8", "AVX2 multiply-adds of bytes", SUMS * 8 * 8, dot_int8, always},
#endif
#if defined(__ARM_FEATURE_BF16_VECTOR_ARITHMETIC)
    /* 2 x 4 times 4 x 2. */
    {"bf16", "NEON products of bf16", SUMS * 16 * 2, product_bf16, always},
#endif
#if defined(__ARM_FEATURE_MATMUL_INT8)
    /* 2 x 8 times 8 x 2. */
    {"int8", "NEON products of bytes", SUMS * 32 * 2, product_int8, always},
#elif defined(__ARM_FEATURE_DOTPROD)
    {"int8", "NEON dot products", SUMS * 4 * 8, dot_int8, always},
#endif
#if defined(__AMX_BF16__) && defined(__AMX_INT8__)
    {"bf16", "AMX tiles", TILE_SUMS * 16 * 16 * 32 * 2, tiles_bf16, has_tiles},
    {"int8", "AMX tiles", TILE_SUMS * 16 * 16 * 64 * 2, tiles_int8, has_tiles},
#endif
};

int32_t way_count(void) { return sizeof WAYS / sizeof *WAYS; }

const char *way_precision(int32_t way) { return WAYS[way].precision; }

const char *way_name(int32_t way) { return WAYS[way].name; }

int64_t way_operations(int32_t way) { return WAYS[way].operations; }

int32_t way_may_be_used(int32_t way) { return WAYS[way].may_be_used(); }

/* What multiply_adds takes: MultiplyAdds of rnncore/kernels/peak.py. */
typedef struct {
    int32_t threads, way; /* way: below way_count */
    int64_t rounds;       /* of all threads together */
} multiply_adds_t;

int64_t multiply_adds_bytes(void) { return sizeof(multiply_adds_t); }

static void multiply_adds_thread(const void *given, laps_t *laps) {
    const multiply_adds_t *call = given;
    (void)laps;
    /* Of as many threads as there are, which may be fewer than were asked for. */
    WAYS[call->way].rounds(div_up(call->rounds, omp_get_num_threads()));
}

void multiply_adds(const multiply_adds_t *call) { run_threads(multiply_adds_thread, call, call->threads, 0); }

/* ---------------------------------------------------------------------------------- memory, read again and again */

/* What read_memory takes: ReadMemory of rnncore/kernels/peak.py. */
typedef struct {
    int32_t threads, prefetches; /* prefetches: 1 to ask for lines before they are read, or 0 */
    int64_t passes, floats;      /* floats: a multiple of LINE_FLOATS */
    const float *memory;         /* (floats), on a line of 64 bytes: each thread reads its share in every pass */
} read_memory_t;

int64_t read_memory_bytes(void) { return sizeof(read_memory_t); }

/* Loads that go on at once, and how far ahead lines are asked for. */
#define LOADS 8
#define PREFETCH_FLOATS (32 * LINE_FLOATS)

INLINE void read_share(const int prefetches, const float *first, const float *last, int64_t passes) {
    for (; passes > 0; passes--) {
        const float *at = first;
        for (; at + LOADS * LANES <= last; at += LOADS * LANES) {
            #pragma GCC unroll 8
            for (int i = 0; i < LOADS; i++) {
                if (prefetches && i * LANES % LINE_FLOATS == 0) __builtin_prefetch(at + PREFETCH_FLOATS + i * LANES);
                vec value = load(at + i * LANES);
                OPAQUE(value);
            }
        }
        for (; at < last; at += LANES) {
            vec value = load(at);
            OPAQUE(value);
        }
    }
}

static void read_thread(const void *given, laps_t *laps) {
    const read_memory_t *call = given;
    const int64_t lines = call->floats / LINE_FLOATS, threads = omp_get_num_threads(), thread = omp_get_thread_num();
    const float *first = call->memory + lines * thread / threads * LINE_FLOATS;
    const float *last = call->memory + lines * (thread + 1) / threads * LINE_FLOATS;
    (void)laps;
    if (call->prefetches) read_share(1, first, last, call->passes);
    else read_share(0, first, last, call->passes);
}

void read_memory(const read_memory_t *call) { run_threads(read_thread, call, call->threads, 0); }

/* -------------------------------------------------------------------- recurrent products alone, one after another */

/* As precisions are named in rnncore/kernels/peak.py: those of FLOATS, PAIRS and QUADS, and pairs by AMX. */
enum { CHAIN_FP32, CHAIN_BF16, CHAIN_INT8, CHAIN_AMX, CHAIN_WAYS };

/* What chain takes: Chain of rnncore/kernels/peak.py. A step has the products of the states that a layer of forward.c has in
 * an hour, by the same tiles, and makes of those of the first gate the states of the next, as its products take them; those of
 * the other gates go nowhere. There are no gates, and nothing comes from inputs.
 *
 * Shapes and packed weights are as in forward.c; `units` is H with the padding of its groups of LANES units, in bf16 of whole
 * blocks of 32 values. */
typedef struct {
    int32_t threads, B, H, G, steps; /* B and H of at most 2^28 */
    int32_t way;                     /* one that chain_may_be_used */
    const float *weights;            /* a layer's packed weights of the states: by groups, zeros for padding */
    /* (2, B, units): the first are what the chain begins with, those of padding what is zero. The last are in the first half
     * where the steps are even. */
    float *states;
    barrier_t *barriers;             /* (threads), zeros, on lines of 64 bytes */
} chain_t;

int64_t chain_bytes(void) { return sizeof(chain_t); }

int64_t barrier_bytes(void) { return sizeof(barrier_t); }

int32_t peak_lanes(void) { return LANES; }

/* Return what is added to the bytes of states. */
int32_t chain_zero_byte(void) {
#if HAS_QUADS
    return ZERO_BYTE;
#else
    return 0;
#endif
}

/* Return whether a way is there, and this process may use it. */
int32_t chain_may_be_used(int32_t way) {
#if defined(__AVX512BF16__)
    if (way == CHAIN_BF16) return 1;
#endif
    return way == CHAIN_FP32 || (way == CHAIN_INT8 && HAS_QUADS) || (way == CHAIN_AMX && has_tiles());
}

/* What is the same for all tiles of a step, in floats: two values of bf16 are one, or four bytes. */
typedef struct {
    int64_t of_row;   /* from one row of states to the next */
    int64_t of_group; /* from the weights of a group of units to those of the next */
    int inner;        /* rows of the weights; of AMX blocks of them */
    int of_lanes;     /* the states of a group in a row */
} sizes_t;

static sizes_t sizes_of(const chain_t *call) {
    const int64_t units = round_up(call->H, LANES), of_row_of_weights = (int64_t)call->G * LANES;
    sizes_t s = {.of_row = units, .inner = call->H, .of_lanes = LANES};
#if defined(__AVX512BF16__)
    if (call->way == CHAIN_BF16 || call->way == CHAIN_AMX) {
        s = (sizes_t){.of_row = blocks_of(call->H) * PAIRED / 2, .inner = (int)div_up(call->H, 2), .of_lanes = LANES / 2};
        if (call->way == CHAIN_AMX) {
            s.inner = (int)blocks_of(call->H);
            s.of_group = s.inner * of_row_of_weights * TILE;
            return s;
        }
    }
#endif
    if (call->way == CHAIN_INT8)
        s = (sizes_t){.of_row = units / 4, .inner = (int)div_up(call->H, 4), .of_lanes = LANES / 4};
    /* Before bytes are their scales and first sums. */
    s.of_group = (s.inner + (call->way == CHAIN_INT8 ? 2 : 0)) * of_row_of_weights;
    return s;
}

/* Write to `after` what the products of a (rows, inner) and the weights w give to the first gate of a group. */
INLINE void chain_tile(const int rows, const int gates, const int kind, const float *a, int64_t of_row, int inner,
                       const float *w, float *after) {
    sums_t sums;
    #pragma GCC unroll 16
    for (int r = 0; r < rows; r++)
        #pragma GCC unroll 4
        for (int g = 0; g < gates; g++) sums[r][g] = kind == QUADS ? load(w + (gates + g) * LANES) : (vec){0};
    tile_product(rows, gates, kind, sums, a, of_row, 1, inner, kind == QUADS ? w + 2 * gates * LANES : w);
    settle(rows, gates, sums);
    #pragma GCC unroll 16
    for (int r = 0; r < rows; r++) {
        float *to = after + r * of_row;
        if (kind == FLOATS) store(to, sums[r][0]);
#if defined(__AVX512BF16__)
        if (kind == PAIRS) store_rounded((uint16_t *)to, sums[r][0]);
#endif
#if HAS_QUADS
        if (kind == QUADS) store_bytes((uint8_t *)to, floats_of(sums[r][0]) * load(w));
#endif
    }
}

typedef void (*chain_rows_t)(int rows, const float *a, int64_t of_row, int inner, const float *w, float *after);

#define CHAIN_ROWS(name, gates, max_rows, kind)                                                                      \
    static void name(int rows, const float *a, int64_t of_row, int inner, const float *w, float *after) {            \
        FOR_ROWS(rows, max_rows, chain_tile, gates, kind, a, of_row, inner, w, after)                                \
    }

CHAIN_ROWS(floats_of_3, 3, ROWS_OF_3, FLOATS)
CHAIN_ROWS(floats_of_4, 4, ROWS_OF_4, FLOATS)
#if defined(__AVX512BF16__)
CHAIN_ROWS(pairs_of_3, 3, ROWS_OF_3, PAIRS)
CHAIN_ROWS(pairs_of_4, 4, ROWS_OF_4, PAIRS)
#endif
#if HAS_QUADS
CHAIN_ROWS(quads_of_3, 3, ROWS_OF_3, QUADS)
CHAIN_ROWS(quads_of_4, 4, ROWS_OF_4, QUADS)
#endif

#if defined(__AMX_BF16__) && defined(__AVX512BF16__)
INLINE void chain_amx_tile(const int rows, const int gates, const float *a, int64_t of_row, int blocks, const float *w,
                           float *after) {
    static const float zeros[TILE];
    float sums[TILE * TILE] __attribute__((aligned(64)));
    WRITTEN;
    _tile_loadd(0, zeros, 0);
    _tile_loadd(1, zeros, 0);
    _tile_loadd(2, zeros, 0);
    if (gates == 4) _tile_loadd(3, zeros, 0);
    tile_products(gates, (const uint16_t *)a, 2 * of_row, blocks, (const uint16_t *)w);
    _tile_stored(0, sums, 64);
    WRITTEN;
    for (int r = 0; r < rows; r++) store_rounded((uint16_t *)(after + r * of_row), load(sums + r * TILE));
}

static void amx_of_3(int rows, const float *a, int64_t of_row, int inner, const float *w, float *after) {
    chain_amx_tile(rows, 3, a, of_row, inner, w, after);
}

static void amx_of_4(int rows, const float *a, int64_t of_row, int inner, const float *w, float *after) {
    chain_amx_tile(rows, 4, a, of_row, inner, w, after);
}
#endif

/* By way, and gates less three. */
static const chain_rows_t CHAINS[CHAIN_WAYS][2] = {
    [CHAIN_FP32] = {floats_of_3, floats_of_4},
#if defined(__AVX512BF16__)
    [CHAIN_BF16] = {pairs_of_3, pairs_of_4},
#endif
#if HAS_QUADS
    [CHAIN_INT8] = {quads_of_3, quads_of_4},
#endif
#if defined(__AMX_BF16__) && defined(__AVX512BF16__)
    [CHAIN_AMX] = {amx_of_3, amx_of_4},
#endif
};

/* The most rows of a tile. */
static int chain_rows(const chain_t *call) {
#if defined(__AMX_BF16__) && defined(__AVX512BF16__)
    if (call->way == CHAIN_AMX) return TILE;
#endif
    return call->G == 3 ? ROWS_OF_3 : ROWS_OF_4;
}

/* As forward.c shares work: windows among teams, a block of them at a time; units among the threads of a team. */
#define TEAM_WINDOWS 8
#define BLOCK_WINDOWS 252

static void chain_thread(const void *given, laps_t *laps) {
    const chain_t *call = given;
    const sizes_t sizes = sizes_of(call);
    const chain_rows_t of_rows = CHAINS[call->way][call->G - 3];
    const int threads = omp_get_num_threads(), thread = omp_get_thread_num();
    const int groups = (int)div_up(call->H, LANES), max_rows = chain_rows(call);
    const int teams = int_min(threads, int_max(call->B / TEAM_WINDOWS, 1)), size = int_min(threads / teams, groups);
    const int team = thread / size, rank = thread % size;
    const int64_t half = call->B * sizes.of_row;
    if (team >= teams) return;
    const int last_window = share_start(call->B, team + 1, teams);
    const int first_group = share_start(groups, rank, size), last_group = share_start(groups, rank + 1, size);
    for (int first = share_start(call->B, team, teams), windows; first < last_window; first += windows) {
        windows = tile_rows(last_window - first, BLOCK_WINDOWS);
#if defined(__AMX_BF16__) && defined(__AVX512BF16__)
        if (call->way == CHAIN_AMX) shape_tiles(int_min(windows, TILE));
#endif
        for (int step = 0; step < call->steps; step++) {
            const float *before = call->states + (step % 2) * half + first * sizes.of_row;
            float *after = call->states + ((step + 1) % 2) * half + first * sizes.of_row;
            for (int group = first_group; group < last_group; group++)
                for (int b = 0, n; b < windows; b += n) {
                    n = tile_rows(windows - b, max_rows);
                    int64_t row = b;
#if defined(__AMX_BF16__) && defined(__AVX512BF16__)
                    /* Tiles keep their shape: the last one takes rows of that before once more. */
                    if (call->way == CHAIN_AMX) n = int_min(windows, TILE), row = int_min(b, windows - n);
#endif
                    of_rows(n, before + row * sizes.of_row, sizes.of_row, sizes.inner,
                            call->weights + group * sizes.of_group,
                            after + row * sizes.of_row + (int64_t)group * sizes.of_lanes);
                }
            team_barrier(call->barriers + team, size, laps);
        }
    }
#if defined(__AMX_BF16__) && defined(__AVX512BF16__)
    if (call->way == CHAIN_AMX) _tile_release();
#endif
}

void chain(const chain_t *call) { run_threads(chain_thread, call, call->threads, 0); }
