/* The forward pass in int8, where the CPU has instructions that add the products of four bytes: a part of forward.c, whose
 * plan, shares and gates it takes.
 *
 * States lie between -1 and 1. They are rounded to bytes, 127 of which are 1, once an hour, for the products of the next
 * hour and for those of the layer above; beside them they stay in fp32, as cells and all sums do. Weights are bytes with a
 * scale for each unit and gate. Sums of products of bytes are whole numbers, and exact: a window has the same bits in
 * whatever tile, block or team. The first layer's inputs, of any size and few, are multiplied in fp32.
 *
 * A layer's packed weights, one group of LANES units after another:
 *   bias     (4, LANES) in fp32
 *   inputs   of the first layer (F, G, LANES) in fp32, above it as those of states
 *   states   scales (G, LANES) in fp32: what a sum is to be multiplied by
 *            first sums (G, LANES) in int32: -ZERO_BYTE times the sum of all weights, for what bytes have added
 *            weights (H / 4, G, LANES, 4) in bytes, H / 4 rounded up, with zeros for rows that are missing
 */
#ifndef INT8_H
#define INT8_H
#include "tile.h"
#include "vectors.h"

/* The byte of a zero among those of states. */
int zero_byte(void) {
#if HAS_QUADS
    return ZERO_BYTE;
#else
    return 0;
#endif
}

int has_quads(void) { return HAS_QUADS; }

#if HAS_QUADS
/* As plan_of. A team has of each layer: at 0 the states (windows, units) in fp32, at cells_at the cells, at states_at the
 * states of a chunk in bytes. */
static plan_t int8_plan_of(const call_t *call, int threads) {
    plan_t p = plan_of(call, threads);
    p.cells_at = round_up(p.windows * p.units, LINE_FLOATS);
    p.states_at = 2 * p.cells_at;
    p.of_layer = p.states_at + round_up((p.hours + 1) * p.windows * p.units / 4, LINE_FLOATS);
    p.of_team = call->N * p.of_layer;
    return p;
}

int64_t int8_workspace_floats(const call_t *call) { return largest_workspace(call, int8_plan_of); }

/* ----------------------------------------------------------------------------------------------------------------- tiles */

/* What inputs in fp32 give to a group of units, as inputs_tile. The sums are not split by k, as those of small tiles are
 * there: they would be others then, in their last bits, than those of larger tiles. */
INLINE void first_inputs_tile(const int rows, const int gates, const float *a, int64_t a_step, int inner, const float *bias,
                              float *out) {
    const float *w = bias + 4 * LANES;
    sums_t sums;
    #pragma GCC unroll 16
    for (int r = 0; r < rows; r++)
        #pragma GCC unroll 4
        for (int g = 0; g < gates; g++) sums[r][g] = load(bias + g * LANES);
    for (int k = 0; k < inner; k++, w += gates * LANES) {
        vec weights[MAX_VECTORS];
        #pragma GCC unroll 4
        for (int g = 0; g < gates; g++) weights[g] = load(w + g * LANES);
        #pragma GCC unroll 16
        for (int r = 0; r < rows; r++)
            #pragma GCC unroll 4
            for (int g = 0; g < gates; g++) sums[r][g] += broadcast(a[r * a_step + k]) * weights[g];
    }
    #pragma GCC unroll 16
    for (int r = 0; r < rows; r++)
        #pragma GCC unroll 4
        for (int g = 0; g < gates; g++) store(out + (r * gates + g) * LANES, sums[r][g]);
}

/* Write to sums (rows, G) the products of a (rows, quads) and the weights at w, after their scales and first sums. */
INLINE void quad_sums(const int rows, const int gates, sums_t sums, const float *a, int64_t a_step, int quads,
                      const float *w) {
    #pragma GCC unroll 16
    for (int r = 0; r < rows; r++)
        #pragma GCC unroll 4
        for (int g = 0; g < gates; g++) sums[r][g] = load(w + (gates + g) * LANES);
    tile_product(rows, gates, QUADS, sums, a, a_step, 1, quads, w + 2 * gates * LANES);
}

/* What inputs in bytes give to a group of units, as inputs_tile. */
INLINE void quad_inputs_tile(const int rows, const int gates, const float *a, int64_t a_step, int quads, const float *bias,
                             float *out) {
    const float *scales = bias + 4 * LANES;
    sums_t sums;
    quad_sums(rows, gates, sums, a, a_step, quads, scales);
    #pragma GCC unroll 16
    for (int r = 0; r < rows; r++)
        #pragma GCC unroll 4
        for (int g = 0; g < gates; g++)
            store(out + (r * gates + g) * LANES,
                  load(bias + g * LANES) + floats_of(sums[r][g]) * load(scales + g * LANES));
}

/* An hour of a group of units, as step_tile: a (rows, quads) are all states before, in bytes; `state` those of the group in
 * fp32, which become the next. */
INLINE void quad_step_tile(const int rows, const int gates, const int is_timed, const step_t *s, const float *bias,
                           const float *from_inputs, float *a, float *state, float *cell) {
    const int64_t step = s->units;
    const float *scales = bias + s->w_at;
    sums_t sums;
    quad_sums(rows, gates, sums, a, s->a_step, s->inner, scales);
    end_products(is_timed, rows, gates, sums, s->laps);
    #pragma GCC unroll 16
    for (int r = 0; r < rows; r++) {
        const float *inputs = from_inputs + r * gates * LANES;
        vec parts[MAX_VECTORS], next;
        #pragma GCC unroll 4
        for (int g = 0; g < gates; g++)
            /* The new gate of a GRU: what comes from the states is by itself, as reset scales it. */
            parts[g] = load(gates == 3 && g == 2 ? bias + 3 * LANES : inputs + g * LANES) +
                       floats_of(sums[r][g]) * load(scales + g * LANES);
        if (gates == 3) next = gru_state(parts[0], parts[1], load(inputs + 2 * LANES), parts[2], load(state + r * step));
        else next = lstm_state(parts[0], parts[1], parts[2], parts[3], cell + r * step);
        store(state + r * step, next);
        store_bytes((uint8_t *)(a + r * s->a_step + s->a_of_hour) + s->unit, next);
    }
    if (is_timed) lap(s->laps, GATES);
}

/* The tiles of a cell: inputs of the first layer and of those above, an hour, and an hour that is timed. */
typedef struct {
    void (*inputs[2])(int rows, const float *a, int64_t a_step, int inner, const float *bias, float *out);
    void (*step[2])(int rows, const step_t *s, const float *bias, const float *from_inputs, float *a, float *state,
                    float *cell);
} quad_tiles_t;

#define QUAD_INPUTS(name, gates, max_rows, tile) \
    static void name(int rows, const float *a, int64_t a_step, int inner, const float *bias, float *out) { \
        FOR_ROWS(rows, max_rows, tile, gates, a, a_step, inner, bias, out) \
    }

#define QUAD_STEP(name, gates, max_rows, is_timed) \
    static void name(int rows, const step_t *s, const float *bias, const float *from_inputs, float *a, float *state, \
                     float *cell) { \
        FOR_ROWS(rows, max_rows, quad_step_tile, gates, is_timed, s, bias, from_inputs, a, state, cell) \
    }

#define QUAD_TILES(name, gates, max_rows) \
    QUAD_INPUTS(name##_first_inputs, gates, max_rows, first_inputs_tile) \
    QUAD_INPUTS(name##_inputs, gates, max_rows, quad_inputs_tile) \
    QUAD_STEP(name##_step, gates, max_rows, 0) \
    QUAD_STEP(name##_timed, gates, max_rows, 1) \
    static const quad_tiles_t name = {{name##_first_inputs, name##_inputs}, {name##_step, name##_timed}};

QUAD_TILES(gru_quads, 3, ROWS_OF_3)
QUAD_TILES(lstm_quads, 4, ROWS_OF_4)

/* --------------------------------------------------------------------------------------------------------------- a layer */

/* A layer through a chunk of hours, as layer_hours.
 *
 * From as many windows as a tile has rows, each tile takes its inputs' products right before its hour: what they give stays
 * in the first cache, and the weights of both fit into it too, as they would not in fp32. Of fewer windows all hours' inputs
 * go before, so that their tiles are full. */
INLINE void quads_layer_hours(const share_t *s, const quad_tiles_t *tiles, int layer, int windows, int hours, laps_t *laps) {
    const plan_t *p = &s->plan;
    const int lstm = s->call->lstm, gates = gates_of(s->call), max_rows = lstm ? ROWS_OF_4 : ROWS_OF_3;
    const int quads = (int)div_up(s->call->H, 4), inner = layer ? quads : s->call->F, rows = windows * hours;
    const int64_t of_row = gates * LANES, of_quads = (2 + quads) * of_row, of_inputs = layer ? of_quads : inner * of_row;
    const int64_t of_group = 4 * LANES + of_inputs + of_quads;
    /* Steps of bytes, four of which are one float. */
    const int64_t a_step = p->states_step / 4, a_of_hour = windows * a_step, inputs_step = layer ? a_step : p->inputs_step;
    const float *weights = s->call->weights[layer];
    const float *inputs = layer ? layer_of(s, layer - 1) + p->states_at + a_of_hour : s->of_thread;
    float *states = layer_of(s, layer), *cells = states + p->cells_at, *bytes = states + p->states_at;
    float *sums = s->of_thread + p->sums_at;
    const int is_by_tile = windows >= max_rows;
    for (int group = s->first_group; !is_by_tile && group < s->last_group; group++)
        for (int row = 0, n; row < rows; row += n) {
            n = tile_rows(rows - row, max_rows);
            tiles->inputs[layer > 0](n, inputs + row * inputs_step, inputs_step, inner, weights + group * of_group,
                                     sums + ((int64_t)(group - s->first_group) * rows + row) * of_row);
        }
    lap(laps, INPUT_PRODUCTS);
    team_barrier(s->barrier, p->size, laps);
    step_t step = {.inner = quads, .w_at = 4 * LANES + of_inputs, .units = p->units, .a_step = a_step,
                   .a_of_hour = a_of_hour, .laps = laps};
    for (int t = 0; t < hours; t++) {
        for (int group = s->first_group; group < s->last_group; group++) {
            const float *bias = weights + group * of_group;
            const float *of_hour = sums + ((int64_t)(group - s->first_group) * rows + t * windows) * of_row;
            step.unit = group * LANES;
            for (int b = 0, n; b < windows; b += n) {
                n = tile_rows(windows - b, max_rows);
                const float *from_inputs = is_by_tile ? sums : of_hour + b * of_row;
                if (is_by_tile) {
                    tiles->inputs[layer > 0](n, inputs + (t * windows + b) * inputs_step, inputs_step, inner, bias, sums);
                    lap(laps, INPUT_PRODUCTS);
                }
                const int64_t at = b * p->units + step.unit;
                tiles->step[laps != 0](n, &step, bias, from_inputs, bytes + t * a_of_hour + b * a_step, states + at,
                                       lstm ? cells + at : 0);
            }
        }
        team_barrier(s->barrier, p->size, laps);
    }
}

static void int8_layer(const share_t *s, int layer, int windows, int hours, laps_t *laps) {
    const quad_tiles_t *tiles = s->call->lstm ? &lstm_quads : &gru_quads;
    if (laps) quads_layer_hours(s, tiles, layer, windows, hours, laps);
    else quads_layer_hours(s, tiles, layer, windows, hours, 0);
}

/* ----------------------------------------------------------------------------------------------------- beginning, end */

static void int8_begin(const share_t *s, int first, int windows) {
    const plan_t *p = &s->plan;
    const int own = own_units(s);
    for (int layer = 0; layer < s->call->N; layer++)
        for (int b = 0; b < windows; b++) {
            float *h = layer_of(s, layer) + b * p->units + first_unit(s), *c = h + p->cells_at;
            uint8_t *bytes = (uint8_t *)(layer_of(s, layer) + p->states_at) + b * p->states_step + first_unit(s);
            begin_window(s, layer, first + b, h, c);
            for (int j = 0; j < own; j += LANES) store_bytes(bytes + j, load(h + j));
            /* An LSTM goes on from cells and bytes: what is no finite state must be kept by the cell. */
            for (int j = 0; s->call->lstm && j < own; j++) c[j] += 0.0f * h[j];
        }
}

static void int8_end(const share_t *s, int first, int windows, int hours, laps_t *laps) {
    const call_t *call = s->call;
    const plan_t *p = &s->plan;
    (void)hours; /* the states in fp32 are in one place */
    for (int layer = 0; call->state && layer < call->N; layer++)
        for (int b = 0; b < windows; b++) {
            const float *h = layer_of(s, layer) + b * p->units + first_unit(s);
            end_window(s, layer, first + b, h, h + p->cells_at);
        }
    lap(laps, LAYOUT);
    head_of(s, layer_of(s, call->N - 1), first, windows);
    /* Bytes have no NaN, so that those of a layer do not reach the next. But its states in fp32 keep them from hour to
     * hour, and a zero times NaN, or infinity, is NaN. */
    const int last = share_start(windows, s->rank + 1, p->size);
    for (int b = share_start(windows, s->rank, p->size); b < last; b++)
        for (int layer = 0; layer < call->N - 1; layer++) {
            const float *h = layer_of(s, layer) + b * p->units;
            float none = 0.0f;
            #pragma omp simd reduction(+ : none)
            for (int j = 0; j < call->H; j++) none += 0.0f * h[j];
            for (int lead = 0; lead < call->L; lead++) call->out[(int64_t)(first + b) * call->L + lead] += none;
        }
    lap(laps, HEAD);
    /* The next block begins where other threads still read. */
    team_barrier(s->barrier, p->size, laps);
}

static void int8_thread(const void *call, laps_t *laps) {
    const precision_t int8 = {
        .state_bytes = 1, .begin = int8_begin, .inputs = fp32_inputs, .layer = int8_layer, .end = int8_end};
    const share_t share = share_of(call, int8_plan_of);
    run_blocks(&int8, &share, laps);
}

/* As forward, in int8: weights and states are rounded for the products, whose sums are exact; states stay in fp32 beside
 * them. */
void int8_forward(const call_t *call) { run_call(int8_thread, call); }
#endif
#endif
