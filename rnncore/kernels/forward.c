/* Forecasts of a GRU or LSTM on a CPU: layers and head, from windows to forecasts, in one call; in fp32, where the CPU has
 * AVX512-BF16 in bf16, by AMX where it has that too, and where it multiplies bytes in int8 (int8.h).
 *
 * Weights are packed once: for each group of LANES units, all that its gates need lies in a row, so that one tile of windows
 * and units takes every product of an hour in registers and goes from there straight through the gates to the state. No gate
 * is ever written to memory.
 *
 * Threads form teams. Each team takes its share of the windows through all hours alone. Within a team each thread has its
 * share of the units, whose weights stay in its core's own cache, and a barrier follows every hour. With many windows a team
 * is one thread, and nobody waits.
 *
 * Each layer takes a chunk of hours at a time: first the products of its inputs, which wait for nothing, then hour by hour
 * those of its states.
 *
 * Where a caller wants to know where the time goes, copies of the same functions with laps run (laps.h): one lap for the
 * inputs' products of a chunk, two for each tile of an hour, as its products and its gates share registers. The clock
 * between the two is read when the last sum is there. That takes the tile some hundred cycles longer, which count with the
 * phases: small tiles of small models show it.
 *
 * Row-major throughout. B windows, T hours, F features, H hidden, N layers, L leads of the forecast, G gates (GRU 3, LSTM
 * 4). `units` is H with the padding of the last group: a multiple of LANES. Packed weights of padding are zeros, and so the
 * states of padding stay zeros.
 *
 * A layer's packed weights, one group of LANES units after another:
 *   bias     (4, LANES)                         of a GRU reset, update, new from inputs, new from states
 *   inputs   (F, G, LANES)                      of layers above the first H in place of F
 *   states   (H, G, LANES)
 * and in bf16, where one instruction adds the products of pairs of rows, F / R and H / R rounded up, with zeros for rows that
 * are missing; R is 2, or 32 for AMX:
 *   bias     (4, LANES) in fp32
 *   inputs   (F / R, G, R / 2, LANES, 2)        block of R rows, gate, pair of rows, unit, row of the pair
 *   states   (H / R, G, R / 2, LANES, 2)
 */
#include <stdint.h>
#include <string.h>

#include "activations.h"
#include "amx.h"
#include "sizes.h"
#include "team.h"
#include "tile.h"
#include "vectors.h"

/* -------------------------------------------------------------------------------------------------- a call, and its plan */

/* What the exported functions take: ForwardCall of rnncore/kernels/forward.py, field by field. */
typedef struct {
    int32_t threads, lstm;        /* lstm: 1, or 0 of a GRU */
    int32_t B, T, F, H, N;        /* each at least 1 */
    int32_t relu, L;              /* relu: whether one is before the head */
    const float *x;               /* (B, T, F) */
    const float *const *weights;  /* one packed block per layer */
    const float *head;            /* (L, H) */
    const float *head_bias;       /* (L) */
    /* Null, where all windows begin from zeros and what they end with is not wanted; else (N, 1, B, H) of a GRU, or of an
     * LSTM (N, 2, B, H), states before cells, read at first and written at last. Calls in bf16 do not look at it. */
    float *state;
    float *workspace;             /* as many floats as workspace_floats returns, on a line of 64 bytes */
    float *out;                   /* (B, L) */
    double *phases;               /* null; or to time the call (threads, PHASES, 2), as run_threads has it */
} call_t;

static int gates_of(const call_t *call) { return call->lstm ? 4 : 3; }

int64_t call_bytes(void) { return sizeof(call_t); }

/* Return the columns of a group: how weights are to be packed. */
int lanes(void) { return LANES; }

/* Windows that go together through all hours, and rows whose input products are taken at once: both stay in a core's own
 * cache. */
#define BLOCK_WINDOWS 252
#define CHUNK_ROWS 128
/* Fewer windows than this keep no core busy: a team shares them. */
#define THREAD_WINDOWS 8

/* How the work and the workspace are shared. Sizes and places are in floats.
 *
 * The workspace is a barrier for each thread, then `of_team` for each team, then `of_thread` for each thread.
 *   a thread's   at 0        inputs of a chunk (hours, windows, F)
 *                at sums_at  what they give (groups, hours, windows, G, LANES)
 *   a team's     layer by layer, `of_layer` each:
 *                at states_at  states (hours + 1, windows, units), of which the first are those before the chunk
 *                at cells_at   of an LSTM, cells (windows, units) */
typedef struct {
    int teams, size;            /* size: threads of a team */
    int groups;                 /* of LANES units */
    int windows, hours;         /* of a block of windows; of a chunk of hours */
    int64_t units;              /* with padding */
    int64_t inputs_step, states_step; /* values from one row of the first layer's inputs, or of states, to the next */
    int64_t of_thread, sums_at;
    int64_t of_team, of_layer, states_at, cells_at;
} plan_t;

static plan_t plan_of(const call_t *call, int threads) {
    const int B = call->B;
    plan_t p = {.groups = (int)div_up(call->H, LANES), .teams = int_min(threads, int_max(B / THREAD_WINDOWS, 1))};
    p.size = int_min(threads / p.teams, p.groups);
    int team_windows = (int)div_up(B, p.teams);
    p.windows = (int)div_up(team_windows, div_up(team_windows, BLOCK_WINDOWS));
    p.hours = int_min(call->T, int_max(CHUNK_ROWS / p.windows, 1));
    p.units = p.states_step = (int64_t)p.groups * LANES;
    p.inputs_step = call->F;
    int64_t rows = (int64_t)p.windows * p.hours;
    p.sums_at = round_up(rows * call->F, LINE_FLOATS);
    p.of_thread = p.sums_at + round_up(rows * p.units * gates_of(call), LINE_FLOATS);
    p.cells_at = round_up((p.hours + 1) * p.windows * p.units, LINE_FLOATS);
    p.of_layer = p.cells_at + (call->lstm ? round_up(p.windows * p.units, LINE_FLOATS) : 0);
    p.of_team = call->N * p.of_layer;
    return p;
}

typedef plan_t (*planner_t)(const call_t *call, int threads);

/* Return the largest workspace of up to all threads: a system may give fewer than were asked for. */
static int64_t largest_workspace(const call_t *call, planner_t planner) {
    int64_t largest = 0;
    for (int n = 1; n <= call->threads; n++) {
        plan_t p = planner(call, n);
        int64_t floats = p.teams * (p.of_team + p.size * p.of_thread);
        if (floats > largest) largest = floats;
    }
    return largest + call->threads * (int64_t)(sizeof(barrier_t) / sizeof(float));
}

/* Return how many floats `forward` needs to work in, by the call's threads and sizes; its pointers may still be null. */
int64_t workspace_floats(const call_t *call) { return largest_workspace(call, plan_of); }

/* What one thread has to do, and where. */
typedef struct {
    const call_t *call;
    plan_t plan;
    int rank;                      /* in its team */
    int first_window, last_window; /* its team's; none where threads are left over */
    int first_group, last_group;   /* its own, of every layer */
    float *of_thread, *of_team;    /* the workspace */
    barrier_t *barrier;
} share_t;

static share_t share_of(const call_t *call, planner_t planner) {
    plan_t p = planner(call, omp_get_num_threads());
    int thread = omp_get_thread_num(), team = thread / p.size, rank = thread % p.size;
    share_t s = {.call = call, .plan = p, .rank = rank};
    if (team >= p.teams) return s;
    s.first_window = share_start(call->B, team, p.teams);
    s.last_window = share_start(call->B, team + 1, p.teams);
    s.first_group = share_start(p.groups, rank, p.size);
    s.last_group = share_start(p.groups, rank + 1, p.size);
    s.barrier = (barrier_t *)call->workspace + team;
    float *after_barriers = (float *)((barrier_t *)call->workspace + call->threads);
    s.of_team = after_barriers + team * p.of_team;
    s.of_thread = after_barriers + p.teams * p.of_team + thread * p.of_thread;
    return s;
}

static float *layer_of(const share_t *s, int layer) { return s->of_team + layer * s->plan.of_layer; }

/* The thread's own units, padding included. */
static int first_unit(const share_t *s) { return s->first_group * LANES; }

static int own_units(const share_t *s) { return (s->last_group - s->first_group) * LANES; }

/* ------------------------------------------------------------------------------------------------- gates, for one window */

/* Return the next states of LANES units of a GRU. The reset gate scales what comes from the states to the new gate, bias
 * included. */
INLINE vec gru_state(vec reset_sum, vec update_sum, vec new_from_inputs, vec new_from_states, vec before) {
    vec reset = sigmoid_lanes(reset_sum), update = sigmoid_lanes(update_sum);
    vec new = tanh_lanes(new_from_inputs + reset * new_from_states);
    return new + update * (before - new); /* (1 - update) new + update before, with one product */
}

/* Return the next states of LANES units of an LSTM; writes their cells. */
INLINE vec lstm_state(vec input_sum, vec forget_sum, vec new_sum, vec output_sum, float *cell) {
    vec input = sigmoid_lanes(input_sum), forget = sigmoid_lanes(forget_sum);
    vec kept = forget * load(cell) + input * tanh_lanes(new_sum);
    store(cell, kept);
    return sigmoid_lanes(output_sum) * tanh_lanes(kept);
}

/* ------------------------------------------------------------------------------------------------------------------ fp32 */

/* What a layer's inputs give to a group of units: out (rows, G, LANES) = bias + a w. a (rows, inner) has its rows a_step
 * apart; w follows the bias. */
INLINE void inputs_tile(const int rows, const int gates, const int pairs, const float *a, int64_t a_step, int inner,
                        const float *bias, float *out) {
    sums_t sums;
    #pragma GCC unroll 16
    for (int r = 0; r < rows; r++)
        #pragma GCC unroll 4
        for (int g = 0; g < gates; g++) sums[r][g] = load(bias + g * LANES);
    tile_product(rows, gates, pairs, sums, a, a_step, 1, inner, bias + 4 * LANES);
    #pragma GCC unroll 16
    for (int r = 0; r < rows; r++)
        #pragma GCC unroll 4
        for (int g = 0; g < gates; g++) store(out + (r * gates + g) * LANES, sums[r][g]);
}

/* What is the same for all tiles of a group of units. A tile gets the rest in registers: a struct of its own would cost
 * small models. */
typedef struct {
    int unit;            /* the group's first */
    int inner;           /* rows of the weights of the states: H, or of pairs half of it */
    int64_t w_at;        /* of a group's weights of the states, after its bias */
    int64_t units;       /* from one row of states and cells to the next */
    int64_t of_hour;     /* from states to those of the next hour; 0 where they take their place */
    int64_t a_step;      /* from one row of a to the next */
    int64_t a_of_hour;   /* from a to that of the next hour */
    laps_t *laps;
} step_t;

/* End the lap of the products, if it is timed, once a tile's sums are there: its gates' arithmetic comes after. */
INLINE void end_products(const int is_timed, const int rows, const int gates, sums_t sums, laps_t *laps) {
    if (!is_timed) return;
    settle(rows, gates, sums);
    lap(laps, STATE_PRODUCTS);
    settle(rows, gates, sums);
}

/* An hour of a group of units. from_inputs (rows, G, LANES); a (rows, inner) are all states before, as products take them, in
 * fp32 or, of pairs, in bf16; `before` those of the group in fp32; cell at the group, null of a GRU. */
INLINE void step_tile(const int rows, const int gates, const int pairs, const int is_timed, const step_t *s,
                      const float *bias, const float *from_inputs, float *a, float *before, float *cell) {
    const int64_t step = s->units;
    float *after = before + s->of_hour;
    sums_t sums;
    #pragma GCC unroll 16
    for (int r = 0; r < rows; r++)
        #pragma GCC unroll 4
        for (int g = 0; g < gates; g++)
            /* The new gate of a GRU: what comes from the states has a sum of its own, which reset scales. */
            sums[r][g] = gates == 3 && g == 2 ? load(bias + 3 * LANES) : load(from_inputs + (r * gates + g) * LANES);
    tile_product(rows, gates, pairs, sums, a, s->a_step, 1, s->inner, bias + s->w_at);
    end_products(is_timed, rows, gates, sums, s->laps);
    #pragma GCC unroll 16
    for (int r = 0; r < rows; r++) {
        vec next;
        if (gates == 3) {
            vec new_from_inputs = load(from_inputs + (r * gates + 2) * LANES);
            next = gru_state(sums[r][0], sums[r][1], new_from_inputs, sums[r][2], load(before + r * step));
        } else {
            next = lstm_state(sums[r][0], sums[r][1], sums[r][2], sums[r][3], cell + r * step);
        }
        store(after + r * step, next);
#if defined(__AVX512BF16__)
        if (pairs) store_rounded((uint16_t *)(a + r * s->a_step + s->a_of_hour) + s->unit, next);
#endif
    }
    if (is_timed) lap(s->laps, GATES);
}

/* The tiles of a cell in a precision: inputs, an hour, and an hour that is timed. */
typedef struct {
    void (*inputs)(int rows, const float *a, int64_t a_step, int inner, const float *bias, float *out);
    void (*step)(int rows, const step_t *s, const float *bias, const float *from_inputs, float *a, float *before,
                 float *cell);
    void (*timed)(int rows, const step_t *s, const float *bias, const float *from_inputs, float *a, float *before,
                  float *cell);
} tiles_t;

#define TILES(name, gates, max_rows, pairs) \
    static void name##_inputs(int rows, const float *a, int64_t a_step, int inner, const float *bias, float *out) { \
        FOR_ROWS(rows, max_rows, inputs_tile, gates, pairs, a, a_step, inner, bias, out) \
    } \
    static void name##_step(int rows, const step_t *s, const float *bias, const float *from_inputs, float *a, \
                            float *before, float *cell) { \
        FOR_ROWS(rows, max_rows, step_tile, gates, pairs, 0, s, bias, from_inputs, a, before, cell) \
    } \
    static void name##_timed(int rows, const step_t *s, const float *bias, const float *from_inputs, float *a, \
                             float *before, float *cell) { \
        FOR_ROWS(rows, max_rows, step_tile, gates, pairs, 1, s, bias, from_inputs, a, before, cell) \
    } \
    static const tiles_t name = {name##_inputs, name##_step, name##_timed};

TILES(gru_tiles, 3, ROWS_OF_3, 0)
TILES(lstm_tiles, 4, ROWS_OF_4, 0)

/* A layer through a chunk of hours: the thread's own groups of units, for all windows of a block.
 *
 * pairs: 0; or 1 in bf16, where inputs and states of products are in bf16, and states in fp32 are in one place beside them
 * (bf16_plan_of). */
INLINE void layer_hours(const share_t *s, const int pairs, const tiles_t *tiles, int layer, int windows, int hours,
                        laps_t *laps) {
    const plan_t *p = &s->plan;
    const int lstm = s->call->lstm, gates = gates_of(s->call), max_rows = lstm ? ROWS_OF_4 : ROWS_OF_3;
    /* Of pairs, all rows of weights and steps of a count two values as one float. */
    const int each = pairs ? 2 : 1, H = s->call->H, features = layer ? H : s->call->F, rows = windows * hours;
    const int inner = (int)div_up(features, each), inner_of_states = (int)div_up(H, each);
    const int64_t of_group = (4 + (int64_t)(inner + inner_of_states) * gates) * LANES, of_row = gates * LANES;
    const int64_t a_step = p->states_step / each, a_of_hour = windows * a_step;
    const int64_t inputs_step = layer ? a_step : p->inputs_step / each;
    const float *weights = s->call->weights[layer];
    const float *inputs = layer ? layer_of(s, layer - 1) + p->states_at + a_of_hour : s->of_thread;
    float *states = layer_of(s, layer) + p->states_at, *cells = layer_of(s, layer) + p->cells_at;
    float *sums = s->of_thread + p->sums_at;
    for (int group = s->first_group; group < s->last_group; group++) {
        const float *bias = weights + group * of_group;
        float *out = sums + (int64_t)(group - s->first_group) * rows * of_row;
        for (int row = 0, n; row < rows; row += n) {
            n = tile_rows(rows - row, max_rows);
            tiles->inputs(n, inputs + row * inputs_step, inputs_step, inner, bias, out + row * of_row);
        }
    }
    lap(laps, INPUT_PRODUCTS);
    team_barrier(s->barrier, p->size, laps);
    step_t step = {.inner = inner_of_states, .w_at = (4 + (int64_t)inner * gates) * LANES, .units = p->units,
                   .of_hour = pairs ? 0 : a_of_hour, .a_step = a_step, .a_of_hour = a_of_hour, .laps = laps};
    for (int t = 0; t < hours; t++) {
        for (int group = s->first_group; group < s->last_group; group++) {
            const float *bias = weights + group * of_group;
            const float *from_inputs = sums + ((int64_t)(group - s->first_group) * rows + t * windows) * of_row;
            step.unit = group * LANES;
            for (int b = 0, n; b < windows; b += n) {
                n = tile_rows(windows - b, max_rows);
                float *a = states + t * a_of_hour + b * a_step, *cell = lstm ? cells + b * p->units + step.unit : 0;
                float *before = (pairs ? layer_of(s, layer) + b * p->units : a) + step.unit;
                (laps ? tiles->timed : tiles->step)(n, &step, bias, from_inputs + b * of_row, a, before, cell);
            }
        }
        team_barrier(s->barrier, p->size, laps);
    }
}

/* Two copies, of which that of untimed calls has no trace of laps in its tiles. */
static void fp32_layer(const share_t *s, int layer, int windows, int hours, laps_t *laps) {
    const tiles_t *tiles = s->call->lstm ? &lstm_tiles : &gru_tiles;
    if (laps) layer_hours(s, 0, tiles, layer, windows, hours, laps);
    else layer_hours(s, 0, tiles, layer, windows, hours, 0);
}

/* Return where the call has the state of a window, from the thread's first unit on; the cell of an LSTM is B H further. */
static float *given_state(const share_t *s, int layer, int window) {
    const call_t *call = s->call;
    return call->state + ((int64_t)layer * (call->lstm ? 2 : 1) * call->B + window) * call->H + first_unit(s);
}

/* Return the bytes of a thread's units that the call has. */
static size_t given_bytes(const share_t *s) { return sizeof(float) * int_min(own_units(s), s->call->H - first_unit(s)); }

/* Let the thread's units of a window begin from what the call gives, or from zeros: states h and, of an LSTM, cells c. */
static void begin_window(const share_t *s, int layer, int window, float *h, float *c) {
    const call_t *call = s->call;
    memset(h, 0, sizeof(float) * own_units(s));
    if (call->lstm) memset(c, 0, sizeof(float) * own_units(s));
    if (!call->state) return;
    const float *from = given_state(s, layer, window);
    memcpy(h, from, given_bytes(s));
    if (call->lstm) memcpy(c, from + (int64_t)call->B * call->H, given_bytes(s));
}

/* Write what a window ends with to where the call gave what it began with. */
static void end_window(const share_t *s, int layer, int window, const float *h, const float *c) {
    const call_t *call = s->call;
    float *to = given_state(s, layer, window);
    memcpy(to, h, given_bytes(s));
    if (call->lstm) memcpy(to + (int64_t)call->B * call->H, c, given_bytes(s));
}

static void fp32_begin(const share_t *s, int first, int windows) {
    for (int layer = 0; layer < s->call->N; layer++)
        for (int b = 0; b < windows; b++) {
            float *of_layer = layer_of(s, layer) + b * s->plan.units + first_unit(s);
            begin_window(s, layer, first + b, of_layer + s->plan.states_at, of_layer + s->plan.cells_at);
        }
}

/* Copy the inputs of a chunk hour by hour, so that an hour's rows are together as those of states are. */
static void fp32_inputs(const share_t *s, int first, int windows, int t, int hours) {
    const int64_t T = s->call->T, F = s->call->F;
    for (int hour = 0; hour < hours; hour++)
        for (int b = 0; b < windows; b++)
            memcpy(s->of_thread + ((int64_t)hour * windows + b) * F, s->call->x + ((first + b) * T + t + hour) * F,
                   sizeof(float) * F);
}

/* Write the forecasts (L) of the thread's share of a block's windows, by their last states (windows, units) in fp32. */
static void head_of(const share_t *s, const float *states, int first, int windows) {
    const call_t *call = s->call;
    const int last = share_start(windows, s->rank + 1, s->plan.size), H = call->H, relu = call->relu;
    for (int b = share_start(windows, s->rank, s->plan.size); b < last; b++)
        for (int lead = 0; lead < call->L; lead++) {
            const float *h = states + b * s->plan.units, *w = call->head + (int64_t)lead * H;
            float sum = call->head_bias[lead];
            #pragma omp simd reduction(+ : sum)
            for (int j = 0; j < H; j++) sum += (relu && !(h[j] > 0.0f || h[j] != h[j]) ? 0.0f : h[j]) * w[j];
            call->out[(int64_t)(first + b) * call->L + lead] = sum;
        }
}

/* Write what windows end with where the call gave what they began with, and their forecasts.
 *
 * hours: of the last chunk, which may have fewer than the plan: the last states are at that hour. */
static void fp32_end(const share_t *s, int first, int windows, int hours, laps_t *laps) {
    const call_t *call = s->call;
    const int64_t units = s->plan.units, last = (int64_t)hours * windows * units;
    for (int layer = 0; call->state && layer < call->N; layer++)
        for (int b = 0; b < windows; b++) {
            const float *of_layer = layer_of(s, layer) + b * units + first_unit(s);
            end_window(s, layer, first + b, of_layer + s->plan.states_at + last, of_layer + s->plan.cells_at);
        }
    lap(laps, LAYOUT);
    head_of(s, layer_of(s, call->N - 1) + s->plan.states_at + last, first, windows);
    lap(laps, HEAD);
}

/* ----------------------------------------------------------------------------------------- a thread's way through a call */

/* What differs by precision. Each does its thread's share: of the windows from `first` on, `windows` of them, and of the
 * hours from t on, `hours` of them. */
typedef struct {
    size_t state_bytes; /* of a value of the states, as the next hour's products take them */
    void (*begin)(const share_t *s, int first, int windows);
    void (*inputs)(const share_t *s, int first, int windows, int t, int hours);
    void (*layer)(const share_t *s, int layer, int windows, int hours, laps_t *laps);
    void (*end)(const share_t *s, int first, int windows, int hours, laps_t *laps);
} precision_t;

/* Let a chunk of hours begin from the states at the end of the one before. */
static void carry_states(const share_t *s, int layer, int windows, size_t state_bytes) {
    const size_t row = s->plan.states_step * state_bytes, last = row * windows * s->plan.hours;
    char *own = (char *)(layer_of(s, layer) + s->plan.states_at) + first_unit(s) * state_bytes;
    for (int b = 0; b < windows; b++) memcpy(own + b * row, own + last + b * row, own_units(s) * state_bytes);
}

/* Take a thread's windows block by block through all hours, layers and the head. */
static void run_blocks(const precision_t *as, const share_t *s, laps_t *laps) {
    for (int first = s->first_window, windows; first < s->last_window; first += windows) {
        windows = int_min(s->plan.windows, s->last_window - first);
        as->begin(s, first, windows);
        int hours = 0;
        for (int t = 0; t < s->call->T; t += hours) {
            hours = int_min(s->plan.hours, s->call->T - t);
            as->inputs(s, first, windows, t, hours);
            for (int layer = 0; layer < s->call->N; layer++) {
                if (t) carry_states(s, layer, windows, as->state_bytes);
                lap(laps, LAYOUT);
                as->layer(s, layer, windows, hours, laps);
            }
        }
        as->end(s, first, windows, hours, laps);
    }
}

static void run_call(work_t thread, const call_t *call) {
    memset(call->workspace, 0, sizeof(barrier_t) * call->threads);
    run_threads(thread, call, call->threads, call->phases);
}

static void fp32_thread(const void *call, laps_t *laps) {
    const precision_t fp32 = {
        .state_bytes = sizeof(float), .begin = fp32_begin, .inputs = fp32_inputs, .layer = fp32_layer, .end = fp32_end};
    const share_t share = share_of(call, plan_of);
    run_blocks(&fp32, &share, laps);
}

void forward(const call_t *call) { run_call(fp32_thread, call); }

/* ------------------------------------------------------------------------------------------------------------------ bf16 */

#if defined(__AVX512BF16__)
int has_pairs(void) { return 1; }

/* As plan_of. A thread's inputs are in bf16, padded to whole blocks. A team has of each layer: at 0 the states (windows,
 * units) in fp32, at cells_at the cells, and at states_at the states of a chunk in bf16. AMX reads and writes whole tiles,
 * past the last row too: there is a tile of padding after each. */
static plan_t bf16_plan_of(const call_t *call, int threads) {
    plan_t p = plan_of(call, threads);
    int64_t rows = (int64_t)p.windows * p.hours;
    p.inputs_step = blocks_of(call->F) * PAIRED;
    p.states_step = blocks_of(call->H) * PAIRED;
    p.sums_at = round_up((rows + TILE) * p.inputs_step / 2, LINE_FLOATS);
    p.of_thread = p.sums_at + round_up((round_up(rows, TILE) + TILE) * p.units * gates_of(call), LINE_FLOATS);
    p.cells_at = round_up(p.windows * p.units, LINE_FLOATS);
    p.states_at = 2 * p.cells_at;
    p.of_layer = p.states_at + round_up(((p.hours + 1) * p.windows + TILE) * p.states_step / 2, LINE_FLOATS);
    p.of_team = call->N * p.of_layer;
    return p;
}

int64_t bf16_workspace_floats(const call_t *call) { return largest_workspace(call, bf16_plan_of); }

static uint16_t *rounded_states(const share_t *s, int layer) { return (uint16_t *)(layer_of(s, layer) + s->plan.states_at); }

static void bf16_begin(const share_t *s, int first, int windows) {
    (void)first; /* of the call's state, which there is none of */
    const int own = own_units(s);
    for (int layer = 0; layer < s->call->N; layer++)
        for (int b = 0; b < windows; b++) {
            float *h = layer_of(s, layer) + b * s->plan.units + first_unit(s);
            memset(h, 0, sizeof(float) * own);
            memset(h + s->plan.cells_at, 0, sizeof(float) * own);
            memset(rounded_states(s, layer) + b * s->plan.states_step + first_unit(s), 0, sizeof(uint16_t) * own);
        }
}

static void to_bf16(const float *x, uint16_t *out, int count) {
    for (int i = 0; i < count; i++) {
        uint32_t bits;
        memcpy(&bits, x + i, sizeof bits);
        /* To nearest, ties to even; NaN stays NaN, which the sum could make an infinity. */
        out[i] = x[i] != x[i] ? 0x7fc0 : (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
    }
}

static void bf16_inputs(const share_t *s, int first, int windows, int t, int hours) {
    const int64_t T = s->call->T, F = s->call->F, step = s->plan.inputs_step;
    for (int hour = 0; hour < hours; hour++)
        for (int b = 0; b < windows; b++)
            to_bf16(s->call->x + ((first + b) * T + t + hour) * F,
                    (uint16_t *)s->of_thread + ((int64_t)hour * windows + b) * step, F);
}

static void bf16_end(const share_t *s, int first, int windows, int hours, laps_t *laps) {
    (void)hours; /* the states in fp32 are in one place */
    head_of(s, layer_of(s, s->call->N - 1), first, windows);
    lap(laps, HEAD);
    /* The next block begins where other threads still read. */
    team_barrier(s->barrier, s->plan.size, laps);
}

/* Take a share through all hours by a layer's function. */
static void bf16_blocks(const share_t *s, void (*layer)(const share_t *, int, int, int, laps_t *), laps_t *laps) {
    const precision_t bf16 = {
        .state_bytes = sizeof(uint16_t), .begin = bf16_begin, .inputs = bf16_inputs, .layer = layer, .end = bf16_end};
    /* What pads rows to whole blocks stays zeros. */
    memset(s->of_thread, 0, sizeof(float) * s->plan.sums_at);
    if (s->rank == 0) memset(s->of_team, 0, sizeof(float) * s->plan.of_team);
    lap(laps, LAYOUT);
    team_barrier(s->barrier, s->plan.size, laps);
    run_blocks(&bf16, s, laps);
}

/* By the register tile: an instruction adds to each lane the products of a pair of values, twice those of a fused
 * multiply-add. */
TILES(gru_pairs, 3, ROWS_OF_3, 1)
TILES(lstm_pairs, 4, ROWS_OF_4, 1)

static void pairs_layer(const share_t *s, int layer, int windows, int hours, laps_t *laps) {
    const tiles_t *tiles = s->call->lstm ? &lstm_pairs : &gru_pairs;
    if (laps) layer_hours(s, 1, tiles, layer, windows, hours, laps);
    else layer_hours(s, 1, tiles, layer, windows, hours, 0);
}

static void pairs_thread(const void *call, laps_t *laps) {
    const share_t share = share_of(call, bf16_plan_of);
    if (share.first_window < share.last_window) bf16_blocks(&share, pairs_layer, laps);
}

/* As forward, in bf16: weights, inputs and states are rounded for the products, which are added in fp32; states stay in fp32
 * beside it. All windows begin from zeros. */
void pairs_forward(const call_t *call) { run_call(pairs_thread, call); }
#else
int has_pairs(void) { return 0; }
#endif

/* ------------------------------------------------------------------------------------------------------------- bf16, AMX */

#if defined(__AMX_BF16__) && defined(__AVX512BF16__)
/* out (TILE, G, LANES) = bias + a w. */
INLINE void tile_inputs(const int gates, const uint16_t *a, int64_t a_step, int blocks, const uint16_t *w, const float *bias,
                        float *out) {
    WRITTEN;
    /* A step of zero: the same row sixteen times. */
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

/* As step_tile, of up to TILE rows. `before` and `after` are states in bf16, `step` apart; `state` those in fp32, `units`
 * apart, which become the next. */
INLINE void tile_step(const int gates, int rows, const float *from_inputs, const uint16_t *before, int64_t step, int blocks,
                      const uint16_t *w, const float *bias, float *state, float *cell, int64_t units, uint16_t *after,
                      laps_t *laps) {
    float sums[MAX_VECTORS][TILE * TILE] __attribute__((aligned(64)));
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
        vec next, first = load(sums[0] + at), second = load(sums[1] + at), third = load(sums[2] + at);
        if (gates == 3)
            next = gru_state(first, second, load(from_inputs + at * gates + 2 * TILE), third, load(state + r * units));
        else
            next = lstm_state(first, second, third, load(sums[3] + at), cell + r * units);
        store(state + r * units, next);
        __m256bh rounded = _mm512_cvtneps_pbh(next);
        memcpy(after + r * step, &rounded, sizeof rounded);
    }
    lap(laps, GATES);
}

/* As layer_hours.
 *
 * Tiles of an hour have no more rows than there are windows: those behind are the next hour's states, which the other threads
 * of the team write while this one may still read. A team of several threads has fewer windows than a tile has rows
 * (THREAD_WINDOWS), so that a tile that is not full is the only one; that of a single thread may read what is its own. */
INLINE void tile_layer_hours(const share_t *s, int layer, int windows, int hours, laps_t *laps) {
    const plan_t *p = &s->plan;
    const int lstm = s->call->lstm, gates = gates_of(s->call);
    const int64_t rows = (int64_t)windows * hours, whole = round_up(rows, TILE), units = p->units, step = p->states_step;
    const int64_t before_blocks = blocks_of(layer ? s->call->H : s->call->F), state_blocks = blocks_of(s->call->H);
    const int64_t of_block = gates * TILE * PAIRED, of_row = gates * LANES, inputs_step = before_blocks * PAIRED;
    const int64_t of_group = 4 * LANES + (before_blocks + state_blocks) * of_block / 2;
    const float *weights = s->call->weights[layer];
    const uint16_t *inputs = layer ? rounded_states(s, layer - 1) + windows * step : (uint16_t *)s->of_thread;
    float *sums = s->of_thread + p->sums_at, *state = layer_of(s, layer), *cells = state + p->cells_at;
    shape_tiles(TILE);
    for (int group = s->first_group; group < s->last_group; group++) {
        const float *bias = weights + group * of_group;
        const uint16_t *w = (const uint16_t *)(bias + 4 * LANES);
        float *out = sums + (group - s->first_group) * whole * of_row;
        for (int64_t row = 0; row < rows; row += TILE) {
            const uint16_t *a = inputs + row * inputs_step;
            if (lstm) tile_inputs(4, a, inputs_step, before_blocks, w, bias, out + row * of_row);
            else tile_inputs(3, a, inputs_step, before_blocks, w, bias, out + row * of_row);
        }
    }
    lap(laps, INPUT_PRODUCTS);
    team_barrier(s->barrier, p->size, laps);
    if (windows < TILE) shape_tiles(windows);
    for (int t = 0; t < hours; t++) {
        for (int group = s->first_group; group < s->last_group; group++) {
            const float *bias = weights + group * of_group;
            const uint16_t *w = (const uint16_t *)(bias + 4 * LANES) + before_blocks * of_block;
            for (int b = 0; b < windows; b += TILE) {
                const float *from_inputs = sums + ((group - s->first_group) * whole + (int64_t)t * windows + b) * of_row;
                const uint16_t *before = rounded_states(s, layer) + ((int64_t)t * windows + b) * step;
                uint16_t *after = rounded_states(s, layer) + ((int64_t)(t + 1) * windows + b) * step + group * LANES;
                float *h = state + b * units + group * LANES, *c = cells + b * units + group * LANES;
                const int n = int_min(TILE, windows - b);
                if (lstm) tile_step(4, n, from_inputs, before, step, state_blocks, w, bias, h, c, units, after, laps);
                else tile_step(3, n, from_inputs, before, step, state_blocks, w, bias, h, 0, units, after, laps);
            }
        }
        team_barrier(s->barrier, p->size, laps);
    }
}

static void tile_layer(const share_t *s, int layer, int windows, int hours, laps_t *laps) {
    if (laps) tile_layer_hours(s, layer, windows, hours, laps);
    else tile_layer_hours(s, layer, windows, hours, 0);
}

static void tile_thread(const void *call, laps_t *laps) {
    const share_t share = share_of(call, bf16_plan_of);
    if (share.first_window == share.last_window) return;
    bf16_blocks(&share, tile_layer, laps);
    _tile_release();
}

/* As pairs_forward. */
void tile_forward(const call_t *call) { run_call(tile_thread, call); }
#endif

/* ------------------------------------------------------------------------------------------------------------------ int8 */

#include "int8.h"
