/* Forecasts of a GRU or LSTM on a CPU: layers and head, from windows to forecasts, in one call; in fp32, and where the CPU has
 * tiles (AMX) in bf16.
 *
 * Weights are packed once: for each group of LANES units, all that its gates need lies in a row, so that one tile of windows
 * and units takes every product of an hour in registers and goes from there straight through the gates to the state. No gate
 * is ever written to memory.
 *
 * Threads form teams. Each team takes its share of the windows through all hours alone. Within a team each thread has its
 * share of the units, whose weights stay in its core's own cache, and a barrier follows every hour. With many windows a
 * team is one thread, and nobody waits.
 *
 * Each layer takes some hours at a time: first the products of its inputs, which wait for nothing, then hour by hour those of
 * its states.
 *
 * Where a caller wants to know where the time goes, copies of the same functions with laps run (laps.h): one lap for the
 * inputs' products of a chunk of hours, two for each tile of an hour, as its products and its gates share registers. The clock
 * between the two is read when the last sum is there. That takes the tile some hundred cycles longer, which count with the
 * phases: small tiles of small models show it.
 *
 * Row-major throughout. B windows, T hours, F features, H hidden, G gates (GRU 3, LSTM 4).
 */
#include <math.h>
#include <omp.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>

#include "laps.h"

#if defined(__AVX512F__)
#include <immintrin.h>
#define LANES 16
#define ANY_REGISTER "+v"
#define GRU_ROWS 9
#define LSTM_ROWS 6
#elif defined(__AVX2__)
#include <immintrin.h>
#define LANES 8
#define ANY_REGISTER "+x"
#define GRU_ROWS 4
#define LSTM_ROWS 2
#else
#define LANES 4
#if defined(__x86_64__)
#define ANY_REGISTER "+x"
#elif defined(__aarch64__)
#define ANY_REGISTER "+w"
#else
#define ANY_REGISTER "+m"
#endif
#define GRU_ROWS 8
#define LSTM_ROWS 6
#endif
#define MAX_ROWS 9
#define MAX_GATES 4

/* Windows that go together, and rows whose input products are taken at once: both stay in a core's own cache. */
#define BLOCK_WINDOWS 252
#define BLOCK_ROWS 128
/* Fewer windows than this keep no core busy: a team shares them. */
#define THREAD_WINDOWS 8
#define SPINS 4000
/* Rows of weights that are prefetched before their turn. */
#define PREFETCH_ROWS 12

typedef float vec __attribute__((vector_size(4 * LANES)));
typedef int32_t ints __attribute__((vector_size(4 * LANES)));

INLINE vec broadcast(float x) { return x - (vec){}; }
INLINE vec load(const float *x) {
    vec v;
    memcpy(&v, x, sizeof v);
    return v;
}
INLINE void store(float *x, vec v) { memcpy(x, &v, sizeof v); }

/* The smaller of both; NaN where x is NaN: the instruction returns its second operand then. */
INLINE vec min_with(vec x, float limit) {
#if defined(__AVX512F__)
    return _mm512_min_ps(broadcast(limit), x);
#elif defined(__AVX2__)
    return _mm256_min_ps(broadcast(limit), x);
#else
    for (int l = 0; l < LANES; l++) x[l] = x[l] > limit ? limit : x[l];
    return x;
#endif
}

#if !defined(__AVX512F__)
INLINE vec max_with(vec x, float limit) {
#if defined(__AVX2__)
    return _mm256_max_ps(broadcast(limit), x);
#else
    for (int l = 0; l < LANES; l++) x[l] = x[l] < limit ? limit : x[l];
    return x;
#endif
}
#endif

INLINE vec reciprocal(vec x) {
#if defined(__AVX512F__)
    vec y = _mm512_rcp14_ps(x);
    return y + y * (1.0f - x * y); /* a step of Newton's: 14 bits become 28 */
#else
    return 1.0f / x;
#endif
}

/* 2 to the x, at most 2^126, by the polynomial of Cephes' exp2f (Moshier).
 *
 * x = n + r with n whole and r from -1/2 to 1/2: the polynomial gives 2^r, and n is added to the exponent, which stands in a
 * float's bits from the 23rd on. */
INLINE vec exp2_of(vec x) {
    x = min_with(x, 126.0f);
#if defined(__AVX512F__)
    vec n = _mm512_roundscale_ps(x, 0);
#else
    const float to_whole = 12582912.0f; /* 1.5 * 2^23: the sum's last bits are the nearest whole number */
    x = max_with(x, -126.0f);
    vec sum = x + to_whole, n = sum - to_whole;
#endif
    vec r = x - n;
    vec p = r * 1.535336188319500e-4f + 1.339887440266574e-3f;
    p = p * r + 9.618437357674640e-3f;
    p = p * r + 5.550332471162809e-2f;
    p = p * r + 2.402264791363012e-1f;
    p = p * r + 6.931472028550421e-1f;
    p = p * r + 1.0f;
#if defined(__AVX512F__)
    return _mm512_scalef_ps(p, n);
#else
    return p * (vec)(((ints)sum << 23) + (127 << 23));
#endif
}

#define LOG2_E 1.44269504088896341f

INLINE vec sigmoid_of(vec x) { return reciprocal(1.0f + exp2_of(x * -LOG2_E)); }

/* 1 - 2 / (1 + e^2x). Near zero two numbers of about 1 cancel: it is right to 1e-7 of 1, not of itself, which is enough, as
 * states are sums of such. */
INLINE vec tanh_of(vec x) { return 1.0f - 2.0f * reciprocal(1.0f + exp2_of(x * (2.0f * LOG2_E))); }

/* sums (rows, gates) += a (rows, inner) w, with w (inner, gates), in units of LANES columns. */
INLINE void product(const int rows, const int gates, vec sums[MAX_ROWS][MAX_GATES], const float *a, int64_t a_step, int inner,
                    const float *w) {
    /* Few rows have few sums, each of which would wait for its own last addition: they are split. */
    const int parts = rows * gates <= 4 ? 4 : rows * gates <= 8 ? 2 : 1;
    vec extra[3][MAX_ROWS][MAX_GATES];
    #pragma GCC unroll 4
    for (int part = 1; part < parts; part++)
        #pragma GCC unroll 16
        for (int r = 0; r < rows; r++)
            #pragma GCC unroll 4
            for (int g = 0; g < gates; g++) extra[part - 1][r][g] = (vec){};
    int k = 0;
    for (; k + parts <= inner; k += parts) {
        #pragma GCC unroll 4
        for (int part = 0; part < parts; part++) {
            vec weights[MAX_GATES];
            #pragma GCC unroll 4
            for (int g = 0; g < gates; g++) __builtin_prefetch(w + ((int64_t)(k + part + PREFETCH_ROWS) * gates + g) * LANES);
            #pragma GCC unroll 4
            for (int g = 0; g < gates; g++) weights[g] = load(w + ((int64_t)(k + part) * gates + g) * LANES);
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

/* What a layer's inputs give to a group of units: out (rows, gates) = bias + a w. */
INLINE void inputs_tile(const int rows, const int gates, const float *a, int64_t a_step, int inner, const float *w,
                        const float *bias, float *out) {
    vec sums[MAX_ROWS][MAX_GATES];
    #pragma GCC unroll 16
    for (int r = 0; r < rows; r++)
        #pragma GCC unroll 4
        for (int g = 0; g < gates; g++) sums[r][g] = load(bias + g * LANES);
    product(rows, gates, sums, a, a_step, inner, w);
    #pragma GCC unroll 16
    for (int r = 0; r < rows; r++)
        #pragma GCC unroll 4
        for (int g = 0; g < gates; g++) store(out + (r * gates + g) * LANES, sums[r][g]);
}

/* Hold the compiler to the order: it may move arithmetic past a reading of the clock, but not past this. */
INLINE void settle(const int rows, const int gates, vec sums[MAX_ROWS][MAX_GATES]) {
    #pragma GCC unroll 16
    for (int r = 0; r < rows; r++)
        #pragma GCC unroll 4
        for (int g = 0; g < gates; g++) __asm__ volatile("" : ANY_REGISTER(sums[r][g]));
}

/* An hour of a group of units. from_inputs (rows, gates); h_before (rows, inner); before, cell and after at the group. */
INLINE void hour_tile(const int rows, const int gates, const float *from_inputs, const float *h_before, int64_t step, int inner,
                      const float *w, const float *bias, const float *before, float *cell, float *after, laps_t *laps) {
    vec sums[MAX_ROWS][MAX_GATES];
    #pragma GCC unroll 16
    for (int r = 0; r < rows; r++)
        #pragma GCC unroll 4
        for (int g = 0; g < gates; g++)
            /* The new gate of a GRU: reset scales what comes from the states, bias included, so it has a sum of its own. */
            sums[r][g] = gates == 3 && g == 2 ? load(bias + 3 * LANES) : load(from_inputs + (r * gates + g) * LANES);
    product(rows, gates, sums, h_before, step, inner, w);
    if (laps) {
        settle(rows, gates, sums);
        lap(laps, STATE_PRODUCTS);
        settle(rows, gates, sums);
    }
    #pragma GCC unroll 16
    for (int r = 0; r < rows; r++) {
        if (gates == 3) {
            vec reset = sigmoid_of(sums[r][0]), update = sigmoid_of(sums[r][1]);
            vec new = tanh_of(load(from_inputs + (r * gates + 2) * LANES) + reset * sums[r][2]);
            /* (1 - update) new + update before, with one product. */
            store(after + r * step, new + update * (load(before + r * step) - new));
        } else {
            vec input = sigmoid_of(sums[r][0]), forget = sigmoid_of(sums[r][1]);
            vec kept = forget * load(cell + r * step) + input * tanh_of(sums[r][2]);
            store(cell + r * step, kept);
            store(after + r * step, sigmoid_of(sums[r][3]) * tanh_of(kept));
        }
    }
    lap(laps, GATES);
}

/* The same for any number of rows up to the cell's limit; the compiler makes a function of each. */
#define FOR_ROWS(rows, max_rows, call) \
    switch (rows) { \
        case 1: call(1); break; \
        case 2: call(2); break; \
        case 3: if (max_rows >= 3) call(3); break; \
        case 4: if (max_rows >= 4) call(4); break; \
        case 5: if (max_rows >= 5) call(5); break; \
        case 6: if (max_rows >= 6) call(6); break; \
        case 7: if (max_rows >= 7) call(7); break; \
        case 8: if (max_rows >= 8) call(8); break; \
        case 9: if (max_rows >= 9) call(9); break; \
    }

static void gru_inputs(int rows, const float *a, int64_t a_step, int inner, const float *w, const float *bias, float *out) {
    #define CALL(n) inputs_tile(n, 3, a, a_step, inner, w, bias, out)
    FOR_ROWS(rows, GRU_ROWS, CALL)
    #undef CALL
}

static void lstm_inputs(int rows, const float *a, int64_t a_step, int inner, const float *w, const float *bias, float *out) {
    #define CALL(n) inputs_tile(n, 4, a, a_step, inner, w, bias, out)
    FOR_ROWS(rows, LSTM_ROWS, CALL)
    #undef CALL
}

static void gru_hour(int rows, const float *from_inputs, const float *h_before, int64_t step, int inner, const float *w,
                     const float *bias, const float *before, float *cell, float *after) {
    #define CALL(n) hour_tile(n, 3, from_inputs, h_before, step, inner, w, bias, before, cell, after, 0)
    FOR_ROWS(rows, GRU_ROWS, CALL)
    #undef CALL
}

static void lstm_hour(int rows, const float *from_inputs, const float *h_before, int64_t step, int inner, const float *w,
                      const float *bias, const float *before, float *cell, float *after) {
    #define CALL(n) hour_tile(n, 4, from_inputs, h_before, step, inner, w, bias, before, cell, after, 0)
    FOR_ROWS(rows, LSTM_ROWS, CALL)
    #undef CALL
}

static void gru_hour_timed(int rows, const float *from_inputs, const float *h_before, int64_t step, int inner, const float *w,
                           const float *bias, const float *before, float *cell, float *after, laps_t *laps) {
    #define CALL(n) hour_tile(n, 3, from_inputs, h_before, step, inner, w, bias, before, cell, after, laps)
    FOR_ROWS(rows, GRU_ROWS, CALL)
    #undef CALL
}

static void lstm_hour_timed(int rows, const float *from_inputs, const float *h_before, int64_t step, int inner, const float *w,
                            const float *bias, const float *before, float *cell, float *after, laps_t *laps) {
    #define CALL(n) hour_tile(n, 4, from_inputs, h_before, step, inner, w, bias, before, cell, after, laps)
    FOR_ROWS(rows, LSTM_ROWS, CALL)
    #undef CALL
}

/* Where the threads of a team wait for one another; a cache line of its own. */
typedef struct {
    atomic_int arrived, round;
    char rest[56];
} barrier_t;

/* What the exported functions take: ForwardCall of rnncore/kernels/forward.py, field by field. */
typedef struct {
    int32_t threads, lstm;        /* lstm: 1, or 0 of a GRU */
    int32_t B, T, F, H, L;        /* L layers; B and T at least 1 */
    int32_t relu, horizon;        /* relu: whether one stands before the head */
    const float *x;               /* (B, T, F) */
    const float *const *weights;  /* one packed block per layer */
    const float *head;            /* (horizon, H) */
    const float *head_bias;       /* (horizon) */
    /* Null, where all windows begin from zeros and what they end with is not wanted; else (L, 1, B, H) of a GRU or (L, 2, B, H)
     * of an LSTM, states before cells, read at first and written at last. tile_forward does not look at it. */
    float *state;
    float *workspace;             /* as many floats as workspace_floats says, on a line of 64 bytes */
    float *out;                   /* (B, horizon) */
    /* Null; or to time the call, zeros (threads, PHASES, 2), that take the seconds of each thread in each phase, and how often
     * it ran. Rows of threads that the system does not give stay zeros. */
    double *phases;
} call_t;

int64_t call_bytes(void) { return sizeof(call_t); }

/* How the work is shared. */
typedef struct {
    int teams, size, groups, windows, hours; /* windows: of a block; hours: taken at a time */
    int64_t of_thread, of_team;              /* floats */
} plan_t;

static int64_t lines(int64_t floats) { return (floats + 15) / 16 * 16; }

static int int_min(int a, int b) { return a < b ? a : b; }

static plan_t plan_of(const call_t *call, int threads) {
    const int lstm = call->lstm, B = call->B, T = call->T, F = call->F, H = call->H, L = call->L;
    plan_t p;
    p.groups = (H + LANES - 1) / LANES;
    p.teams = int_min(threads, B / THREAD_WINDOWS > 1 ? B / THREAD_WINDOWS : 1);
    p.size = int_min(threads / p.teams, p.groups);
    int of_team = (B + p.teams - 1) / p.teams;
    int blocks = (of_team + BLOCK_WINDOWS - 1) / BLOCK_WINDOWS;
    p.windows = (of_team + blocks - 1) / blocks;
    p.hours = int_min(T, BLOCK_ROWS / p.windows > 1 ? BLOCK_ROWS / p.windows : 1);
    int64_t rows = (int64_t)p.windows * p.hours, units = (int64_t)p.groups * LANES;
    p.of_thread = lines(rows * F) + lines(rows * units * (lstm ? 4 : 3));
    p.of_team = L * (lines((p.hours + 1) * p.windows * units) + (lstm ? lines(p.windows * units) : 0));
    return p;
}

typedef plan_t (*planner_t)(const call_t *call, int threads);

/* Return the largest workspace of up to so many threads: a system may give fewer than were asked for. */
static int64_t largest_workspace(const call_t *call, planner_t plan) {
    int64_t largest = 0;
    for (int n = 1; n <= call->threads; n++) {
        plan_t p = plan(call, n);
        int64_t floats = p.teams * (p.of_team + p.size * p.of_thread);
        if (floats > largest) largest = floats;
    }
    return largest + call->threads * (int64_t)(sizeof(barrier_t) / sizeof(float));
}

/* Return how many floats `forward` needs to work in, by the call's threads and sizes; its pointers may still be null. */
int64_t workspace_floats(const call_t *call) { return largest_workspace(call, plan_of); }

/* Return the columns of a group: how weights are to be packed. */
int lanes(void) { return LANES; }

/* The last to arrive sets the count back before it raises the round: a thread that sees the new round may arrive at once at the
 * next barrier. */
static void wait_at_barrier(barrier_t *barrier, int size) {
    int round = atomic_load_explicit(&barrier->round, memory_order_relaxed);
    if (atomic_fetch_add_explicit(&barrier->arrived, 1, memory_order_acq_rel) == size - 1) {
        atomic_store_explicit(&barrier->arrived, 0, memory_order_relaxed);
        atomic_store_explicit(&barrier->round, round + 1, memory_order_release);
        return;
    }
    for (int spins = 0; atomic_load_explicit(&barrier->round, memory_order_acquire) == round; spins++) {
#if defined(__x86_64__)
        __builtin_ia32_pause();
#endif
        if (spins > SPINS) sched_yield();
    }
}

INLINE void team_barrier(barrier_t *barrier, int size, laps_t *laps) {
    if (size == 1) return;
    wait_at_barrier(barrier, size);
    lap(laps, BARRIERS);
}

/* Rows of the next tile, so that all of a block have nearly as many. */
static int tile_rows(int left, int max_rows) {
    int tiles = (left + max_rows - 1) / max_rows;
    return (left + tiles - 1) / tiles;
}

/* A layer's packed weights, group by group: bias (4, LANES), of a GRU reset, update, new from inputs, new from states; then
 * those of its inputs (F, G, LANES) and of its states (H, G, LANES). */
INLINE void layer_hours(int lstm, const float *weights, const float *inputs, int64_t inputs_step, int F, int H, int windows,
                        int hours, int first_group, int last_group, float *sums, float *states, float *cell, int64_t units,
                        barrier_t *barrier, int size, laps_t *laps) {
    int gates = lstm ? 4 : 3, max_rows = lstm ? LSTM_ROWS : GRU_ROWS, rows = windows * hours;
    int64_t of_group = (4 + (int64_t)(F + H) * gates) * LANES, of_row = gates * LANES, of_hour = windows * units;
    for (int group = first_group; group < last_group; group++) {
        const float *bias = weights + group * of_group, *w = bias + 4 * LANES;
        float *out = sums + (int64_t)(group - first_group) * rows * of_row;
        for (int row = 0, n; row < rows; row += n) {
            n = tile_rows(rows - row, max_rows);
            (lstm ? lstm_inputs : gru_inputs)(n, inputs + row * inputs_step, inputs_step, F, w, bias, out + row * of_row);
        }
    }
    lap(laps, INPUT_PRODUCTS);
    team_barrier(barrier, size, laps);
    for (int t = 0; t < hours; t++) {
        const float *before = states + t * of_hour;
        float *after = states + (t + 1) * of_hour;
        for (int group = first_group; group < last_group; group++) {
            const float *bias = weights + group * of_group, *w = bias + (4 + (int64_t)F * gates) * LANES;
            const float *from_inputs = sums + ((int64_t)(group - first_group) * rows + t * windows) * of_row;
            int64_t unit = group * LANES;
            for (int b = 0, n; b < windows; b += n) {
                n = tile_rows(windows - b, max_rows);
                const float *sums_at = from_inputs + b * of_row, *h_before = before + b * units;
                float *cell_at = cell ? cell + b * units + unit : 0, *after_at = after + b * units + unit;
                if (laps)
                    (lstm ? lstm_hour_timed : gru_hour_timed)(n, sums_at, h_before, units, H, w, bias, h_before + unit,
                                                              cell_at, after_at, laps);
                else
                    (lstm ? lstm_hour : gru_hour)(n, sums_at, h_before, units, H, w, bias, h_before + unit, cell_at,
                                                  after_at);
            }
        }
        team_barrier(barrier, size, laps);
    }
}

/* out (windows, horizon) = head of the states of some windows. */
static void head_of(const float *states, int64_t units, int H, const float *head, const float *bias, int horizon, int relu,
                    int first, int last, float *out) {
    for (int b = first; b < last; b++)
        for (int lead = 0; lead < horizon; lead++) {
            float sum = bias[lead];
            #pragma omp simd reduction(+ : sum)
            for (int j = 0; j < H; j++) {
                float state = states[b * units + j];
                sum += (relu && !(state > 0.0f || state != state) ? 0.0f : state) * head[(int64_t)lead * H + j];
            }
            out[(int64_t)b * horizon + lead] = sum;
        }
}

typedef void (*thread_t)(const call_t *call, barrier_t *barriers);
typedef void (*timed_thread_t)(const call_t *call, barrier_t *barriers, laps_t *laps);

/* Put the barriers at the beginning of the workspace, and let it begin after them. */
static barrier_t *barriers_of(call_t *call) {
    barrier_t *barriers = (barrier_t *)call->workspace;
    memset(barriers, 0, sizeof(barrier_t) * call->threads);
    call->workspace += call->threads * (sizeof(barrier_t) / sizeof(float));
    return barriers;
}

static void run_threads(thread_t run, call_t call) {
    barrier_t *barriers = barriers_of(&call);
    #pragma omp parallel num_threads(call.threads)
    run(&call, barriers);
}

/* The same by threads with laps. */
static void run_timed_threads(timed_thread_t run, call_t call) {
    moment_t begun = moment_now();
    barrier_t *barriers = barriers_of(&call);
    int given = 0;
    #pragma omp parallel num_threads(call.threads)
    {
        laps_t watch, *laps = start_laps(&watch);
        run(&call, barriers, laps);
        keep_laps(laps, call.phases, omp_get_thread_num());
        if (omp_get_thread_num() == 0) given = omp_get_num_threads();
    }
    end_laps(begun, call.phases, given);
}

/* What one thread does of forward. */
INLINE void thread_of_forward(const call_t *call, barrier_t *barriers, laps_t *laps) {
    const float *x = call->x, *const *weights = call->weights, *head = call->head, *head_bias = call->head_bias;
    float *state = call->state, *workspace = call->workspace, *out = call->out;
    int lstm = call->lstm, relu = call->relu, horizon = call->horizon;
    int B = call->B, T = call->T, F = call->F, H = call->H, L = call->L;
    plan_t p = plan_of(call, omp_get_num_threads());
    int me = omp_get_thread_num(), team = me / p.size, rank = me % p.size;
    int64_t units = (int64_t)p.groups * LANES, of_state = (lstm ? 2 : 1) * (int64_t)B * H;
    int first_group = p.groups * rank / p.size, last_group = p.groups * (rank + 1) / p.size;
    int from = (int)((int64_t)B * team / p.teams), to = (int)((int64_t)B * (team + 1) / p.teams);
    int first_unit = first_group * LANES, own = (last_group - first_group) * LANES;
    int own_real = int_min(H - first_unit, own);
    float *mine = workspace + p.teams * p.of_team + me * p.of_thread, *sums = mine + lines((int64_t)p.windows * p.hours * F);
    float *ours = workspace + team * p.of_team;
    int64_t of_layer = p.of_team / L, of_states = lines((p.hours + 1) * p.windows * units);
    barrier_t *barrier = &barriers[team < p.teams ? team : 0];
    for (int first = from, windows; team < p.teams && first < to; first += windows) {
        windows = int_min(p.windows, to - first);
        for (int layer = 0; layer < L; layer++)
            for (int b = 0; b < windows; b++) {
                float *h = ours + layer * of_layer + b * units + first_unit;
                float *c = ours + layer * of_layer + of_states + b * units + first_unit;
                memset(h, 0, sizeof(float) * own);
                if (lstm) memset(c, 0, sizeof(float) * own);
                if (!state) continue;
                const float *given = state + layer * of_state + (int64_t)(first + b) * H + first_unit;
                memcpy(h, given, sizeof(float) * own_real);
                if (lstm) memcpy(c, given + (int64_t)B * H, sizeof(float) * own_real);
            }
        for (int t = 0, hours; t < T; t += hours) {
            hours = int_min(p.hours, T - t);
            for (int hour = 0; hour < hours; hour++)
                for (int b = 0; b < windows; b++)
                    memcpy(mine + ((int64_t)hour * windows + b) * F, x + ((int64_t)(first + b) * T + t + hour) * F,
                           sizeof(float) * F);
            const float *inputs = mine;
            for (int layer = 0; layer < L; layer++) {
                float *states = ours + layer * of_layer, *cell = lstm ? states + of_states : 0;
                if (t)
                    for (int b = 0; b < windows; b++)
                        memcpy(states + b * units + first_unit,
                               states + ((int64_t)p.hours * windows + b) * units + first_unit, sizeof(float) * own);
                lap(laps, LAYOUT);
                layer_hours(lstm, weights[layer], inputs, layer ? units : F, layer ? H : F, H, windows, hours, first_group,
                            last_group, sums, states, cell, units, barrier, p.size, laps);
                inputs = states + windows * units;
            }
            /* The last hours may be fewer; what they leave lies where their number says. */
            if (t + hours < T) continue;
            for (int layer = 0; state && layer < L; layer++)
                for (int b = 0; b < windows; b++) {
                    float *given = state + layer * of_state + (int64_t)(first + b) * H + first_unit;
                    const float *h = ours + layer * of_layer + ((int64_t)hours * windows + b) * units + first_unit;
                    const float *c = ours + layer * of_layer + of_states + b * units + first_unit;
                    memcpy(given, h, sizeof(float) * own_real);
                    if (lstm) memcpy(given + (int64_t)B * H, c, sizeof(float) * own_real);
                }
            lap(laps, LAYOUT);
            const float *last = ours + (L - 1) * of_layer + (int64_t)hours * windows * units;
            head_of(last, units, H, head, head_bias, horizon, relu, windows * rank / p.size,
                    windows * (rank + 1) / p.size, out + (int64_t)first * horizon);
            lap(laps, HEAD);
        }
    }
}

static void thread_forward(const call_t *call, barrier_t *barriers) { thread_of_forward(call, barriers, 0); }

static void timed_thread_forward(const call_t *call, barrier_t *barriers, laps_t *laps) {
    thread_of_forward(call, barriers, laps);
}

void forward(const call_t *call) {
    if (call->phases) run_timed_threads(timed_thread_forward, *call);
    else run_threads(thread_forward, *call);
}

/* ------------------------------------------------------------------------------------------------------------- bf16, AMX */

#if defined(__AMX_BF16__) && defined(__AVX512BF16__)
#include <sys/syscall.h>
#include <unistd.h>

/* Compilers do not know that a tile load reads memory: what was written must be there by then. */
#define WRITTEN __asm__ volatile("" ::: "memory")

/* Of a tile: rows, and the bf16 values of one of its rows. */
#define TILE 16
#define PAIRED 32

/* Return whether this process may use tiles; asks the system for them. */
int has_tiles(void) { return syscall(SYS_arch_prctl, 0x1023 /* ARCH_REQ_XCOMP_PERM */, 18 /* tile data */) == 0; }

static void shape_tiles(void) {
    struct { uint8_t palette, start_row, unused[14]; uint16_t row_bytes[16]; uint8_t rows[16]; } shape = {.palette = 1};
    for (int tile = 0; tile < 8; tile++) {
        shape.row_bytes[tile] = 64;
        shape.rows[tile] = TILE;
    }
    _tile_loadconfig(&shape);
}

/* Tiles 0 and up, one per gate, += a (TILE, inner) w; w by pairs of rows, as the instruction takes them. */
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

INLINE void tile_inputs(const int gates, const uint16_t *a, int64_t a_step, int blocks, const uint16_t *w, const float *bias,
                        float *out) {
    WRITTEN;
    /* A step of nothing: the same row sixteen times. */
    _tile_loadd(0, bias, 0);
    _tile_loadd(1, bias + TILE, 0);
    _tile_loadd(2, bias + 2 * TILE, 0);
    if (gates == 4) _tile_loadd(3, bias + 3 * TILE, 0);
    tile_products(gates, a, a_step, blocks, w);
    _tile_stored(0, out, gates * 64);
    _tile_stored(1, out + TILE, gates * 64);
    _tile_stored(2, out + 2 * TILE, gates * 64);
    if (gates == 4) _tile_stored(3, out + 3 * TILE, gates * 64);
}

INLINE void tile_hour(const int gates, int rows, const float *from_inputs, const uint16_t *before, int64_t step, int blocks,
                      const uint16_t *w, const float *bias, float *state, float *cell, int64_t units, uint16_t *after,
                      laps_t *laps) {
    float sums[MAX_GATES][TILE * TILE] __attribute__((aligned(64)));
    WRITTEN;
    _tile_loadd(0, from_inputs, gates * 64);
    _tile_loadd(1, from_inputs + TILE, gates * 64);
    if (gates == 4) {
        _tile_loadd(2, from_inputs + 2 * TILE, gates * 64);
        _tile_loadd(3, from_inputs + 3 * TILE, gates * 64);
    } else {
        _tile_loadd(2, bias + 3 * TILE, 0);
    }
    tile_products(gates, before, step, blocks, w);
    _tile_stored(0, sums[0], 64);
    _tile_stored(1, sums[1], 64);
    _tile_stored(2, sums[2], 64);
    if (gates == 4) _tile_stored(3, sums[3], 64);
    lap(laps, STATE_PRODUCTS);
    for (int r = 0; r < rows; r++) {
        const int at = r * TILE;
        vec next;
        if (gates == 3) {
            vec reset = sigmoid_of(load(sums[0] + at)), update = sigmoid_of(load(sums[1] + at));
            vec new = tanh_of(load(from_inputs + at * gates + 2 * TILE) + reset * load(sums[2] + at));
            next = new + update * (load(state + r * units) - new);
        } else {
            vec input = sigmoid_of(load(sums[0] + at)), forget = sigmoid_of(load(sums[1] + at));
            vec kept = forget * load(cell + r * units) + input * tanh_of(load(sums[2] + at));
            store(cell + r * units, kept);
            next = sigmoid_of(load(sums[3] + at)) * tanh_of(kept);
        }
        store(state + r * units, next);
        __m256bh rounded = _mm512_cvtneps_pbh(next);
        memcpy(after + r * step, &rounded, sizeof rounded);
    }
    lap(laps, GATES);
}

static int64_t pairs_of(int values) { return (values + PAIRED - 1) / PAIRED; }

/* As plan_of, in bf16: of a team fp32 states and cells (windows, units), and bf16 states of all hours of a chunk. */
static plan_t tile_plan_of(const call_t *call, int threads) {
    const int lstm = call->lstm, F = call->F, H = call->H, L = call->L;
    plan_t p = plan_of(call, threads);
    int64_t rows = (int64_t)p.windows * p.hours, units = (int64_t)p.groups * LANES;
    int64_t whole = (rows + TILE - 1) / TILE * TILE;
    p.of_thread = lines((rows + TILE) * pairs_of(F) * PAIRED / 2) + lines((whole + TILE) * units * (lstm ? 4 : 3));
    p.of_team = L * (lines(((p.hours + 1) * p.windows + TILE) * pairs_of(H) * PAIRED / 2) + lines(p.windows * units) * 2);
    return p;
}

int64_t tile_workspace_floats(const call_t *call) { return largest_workspace(call, tile_plan_of); }

/* As layer_hours. A group's packed weights: bias in fp32 (4, LANES), then tiles of those of its inputs and of its states:
 * (pairs of 32 rows, G, 16, LANES, 2) in bf16. */
INLINE void tile_layer_hours(int lstm, const float *weights, const uint16_t *inputs, int F, int H, int windows, int hours,
                             int first_group, int last_group, float *sums, uint16_t *states, float *state, float *cell,
                             int64_t units, barrier_t *barrier, int size, laps_t *laps) {
    int64_t gates = lstm ? 4 : 3, rows = (int64_t)windows * hours, whole = (rows + TILE - 1) / TILE * TILE;
    int64_t f = pairs_of(F), h = pairs_of(H), of_tile = TILE * PAIRED, of_row = gates * LANES, step = h * PAIRED;
    int64_t of_group = 4 * LANES + (f + h) * gates * of_tile / 2;
    for (int group = first_group; group < last_group; group++) {
        const float *bias = weights + group * of_group;
        const uint16_t *w = (const uint16_t *)(bias + 4 * LANES);
        float *out = sums + (group - first_group) * whole * of_row;
        for (int64_t row = 0; row < rows; row += TILE) {
            const uint16_t *a = inputs + row * f * PAIRED;
            if (lstm) tile_inputs(4, a, f * PAIRED, f, w, bias, out + row * of_row);
            else tile_inputs(3, a, f * PAIRED, f, w, bias, out + row * of_row);
        }
    }
    lap(laps, INPUT_PRODUCTS);
    team_barrier(barrier, size, laps);
    for (int t = 0; t < hours; t++) {
        for (int group = first_group; group < last_group; group++) {
            const float *bias = weights + group * of_group;
            const uint16_t *w = (const uint16_t *)(bias + 4 * LANES) + f * gates * of_tile;
            for (int b = 0; b < windows; b += TILE) {
                const float *from_inputs = sums + ((group - first_group) * whole + (int64_t)t * windows + b) * of_row;
                const uint16_t *before = states + ((int64_t)t * windows + b) * step;
                uint16_t *after = states + ((int64_t)(t + 1) * windows + b) * step + group * LANES;
                int64_t at = b * units + group * LANES;
                int n = int_min(TILE, windows - b);
                if (lstm) tile_hour(4, n, from_inputs, before, step, h, w, bias, state + at, cell + at, units, after, laps);
                else tile_hour(3, n, from_inputs, before, step, h, w, bias, state + at, 0, units, after, laps);
            }
        }
        team_barrier(barrier, size, laps);
    }
}

static void to_bf16(const float *x, uint16_t *out, int count) {
    for (int i = 0; i < count; i++) {
        uint32_t bits;
        memcpy(&bits, x + i, sizeof bits);
        /* To nearest, ties to even; what is no number stays none. */
        out[i] = x[i] != x[i] ? 0x7fc0 : (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
    }
}

/* What one thread does of tile_forward. */
INLINE void thread_of_tile_forward(const call_t *call, barrier_t *barriers, laps_t *laps) {
    const float *x = call->x, *const *weights = call->weights, *head = call->head, *head_bias = call->head_bias;
    float *workspace = call->workspace, *out = call->out;
    int lstm = call->lstm, relu = call->relu, horizon = call->horizon;
    int B = call->B, T = call->T, F = call->F, H = call->H, L = call->L;
    plan_t p = tile_plan_of(call, omp_get_num_threads());
    int me = omp_get_thread_num(), team = me / p.size, rank = me % p.size;
    int64_t units = (int64_t)p.groups * LANES, f = pairs_of(F) * PAIRED, step = pairs_of(H) * PAIRED;
    int first_group = p.groups * rank / p.size, last_group = p.groups * (rank + 1) / p.size;
    int from = (int)((int64_t)B * team / p.teams), to = (int)((int64_t)B * (team + 1) / p.teams);
    float *mine = workspace + p.teams * p.of_team + me * p.of_thread;
    uint16_t *rounded = (uint16_t *)mine;
    float *sums = mine + lines(((int64_t)p.windows * p.hours + TILE) * f / 2), *ours = workspace + team * p.of_team;
    int64_t of_layer = p.of_team / L, of_cells = lines(p.windows * units);
    barrier_t *barrier = &barriers[team < p.teams ? team : 0];
    if (team < p.teams) {
        shape_tiles();
        /* Columns that fill up tiles stay zeros. */
        memset(rounded, 0, sizeof(uint16_t) * ((size_t)p.windows * p.hours + TILE) * f);
        if (rank == 0) memset(ours, 0, sizeof(float) * p.of_team);
        lap(laps, LAYOUT);
        team_barrier(barrier, p.size, laps);
    }
    for (int first = from, windows; team < p.teams && first < to; first += windows) {
        windows = int_min(p.windows, to - first);
        int first_unit = first_group * LANES, own = (last_group - first_group) * LANES;
        for (int layer = 0; layer < L; layer++)
            for (int b = 0; b < windows; b++) {
                float *h = ours + layer * of_layer + b * units + first_unit;
                memset(h, 0, sizeof(float) * own);
                memset(h + of_cells, 0, sizeof(float) * own);
                memset((uint16_t *)(ours + layer * of_layer + 2 * of_cells) + b * step + first_unit, 0, sizeof(uint16_t) * own);
            }
        for (int t = 0, hours; t < T; t += hours) {
            hours = int_min(p.hours, T - t);
            for (int hour = 0; hour < hours; hour++)
                for (int b = 0; b < windows; b++)
                    to_bf16(x + ((int64_t)(first + b) * T + t + hour) * F, rounded + ((int64_t)hour * windows + b) * f, F);
            const uint16_t *inputs = rounded;
            for (int layer = 0; layer < L; layer++) {
                float *h = ours + layer * of_layer;
                uint16_t *states = (uint16_t *)(h + 2 * of_cells);
                if (t)
                    for (int b = 0; b < windows; b++)
                        memcpy(states + b * step + first_unit,
                               states + ((int64_t)p.hours * windows + b) * step + first_unit, sizeof(uint16_t) * own);
                lap(laps, LAYOUT);
                tile_layer_hours(lstm, weights[layer], inputs, layer ? H : F, H, windows, hours, first_group, last_group,
                                 sums, states, h, h + of_cells, units, barrier, p.size, laps);
                inputs = states + windows * step;
            }
            if (t + hours < T) continue;
            head_of(ours + (L - 1) * of_layer, units, H, head, head_bias, horizon, relu, windows * rank / p.size,
                    windows * (rank + 1) / p.size, out + (int64_t)first * horizon);
            lap(laps, HEAD);
            team_barrier(barrier, p.size, laps);
        }
    }
    if (team < p.teams) _tile_release();
}

static void thread_tile_forward(const call_t *call, barrier_t *barriers) { thread_of_tile_forward(call, barriers, 0); }

static void timed_thread_tile_forward(const call_t *call, barrier_t *barriers, laps_t *laps) {
    thread_of_tile_forward(call, barriers, laps);
}

/* As forward, in bf16: weights, inputs and states are rounded for the products, which are added in fp32; states stay in fp32
 * beside it. All windows begin from zeros. */
void tile_forward(const call_t *call) {
    if (call->phases) run_timed_threads(timed_thread_tile_forward, *call);
    else run_threads(thread_tile_forward, *call);
}
#else
int has_tiles(void) { return 0; }
#endif
