/* Forward and backward passes of one GRU or LSTM layer over a whole window, for training on a CPU.
 *
 * Each thread takes blocks of windows through all hours by itself: no thread waits for another, and what one hour leaves
 * (gates, state) is still in the core's own cache when the next needs it. Products are those of the register tile that
 * forecasts take (panel.h), in fp32 or bf16: weights are packed once for each pass, by all threads together, and in the
 * backward pass every hour's gradients, for the products that give gradients of weights.
 *
 * Row-major throughout. B windows, T hours, F features, H hidden, G gates (GRU 3, LSTM 4). The gates of an hour are (B, 4
 * H): the activations that the backward pass needs.
 */
#include <stdint.h>
#include <string.h>

#include "activations.h"
#include "panel.h"
#include "sizes.h"
#include "team.h"

/* ---------------------------------------------------------------------------------------------------------------- passes */

/* Both passes take one struct: LayerForward and LayerBackward of rnncore/kernels/layers.py, field by field.
 *
 * Weights are torch's. Their gradients are input by gate, (F, G H) and (H, G H): the way round in which an hour's products
 * give them. */
typedef struct {
    int32_t threads;
    int32_t B, T, F, H;         /* each at least 1 */
    int32_t block;              /* windows that go through all hours together */
    int32_t bf16;               /* 1 where factors of products are rounded to bf16, else 0 */
    const float *x;             /* hour t of window b at x[b * x_window + t * x_hour] */
    int64_t x_window, x_hour;
    const float *w_x, *w_h;     /* (G H, F) and (G H, H) */
    const float *bias;          /* (4 H); of a GRU reset, update, new from states, new from inputs */
    float *h;                   /* (T + 1, B, H), h[0] given */
    float *cell;                /* (T + 1, B, H), cell[0] given; null for a GRU */
    float *gates;               /* (T, B, 4 H), for the backward pass */
    float *workspace;           /* as many floats as layer_workspace_floats returns, on a line of 64 bytes */
    float dropped;              /* the probability that an input is dropped */
    uint32_t seed;              /* of what is dropped */
    double *phases;             /* null; or to time the pass (threads, PHASES, 2), as run_threads has it */
} layer_forward_t;

typedef struct {
    int32_t threads;
    int32_t B, T, F, H, block, bf16;
    int32_t first_out;          /* the first hour of grad_out */
    const float *x;             /* this, and all to gates, as in the forward pass */
    int64_t x_window, x_hour;
    const float *w_x, *w_h;
    const float *h, *cell, *gates;
    const float *grad_out;      /* of the states of the last hours: (T - first_out, B, H) */
    float *grad;                /* (B, H), zeros; spent */
    float *grad_cell;           /* (B, H), zeros; spent; null for a GRU */
    float *grad_x;              /* (T, B, F), or null */
    float *grad_w_x, *grad_w_h; /* by thread, zeros: (threads, F, G H) and (threads, H, G H) */
    double *grad_bias;          /* by thread, zeros: (threads, 4 H) */
    float *workspace;
    float dropped;
    uint32_t seed;
    double *phases;             /* these four as in the forward pass */
} layer_backward_t;

int64_t layer_forward_bytes(void) { return sizeof(layer_forward_t); }
int64_t layer_backward_bytes(void) { return sizeof(layer_backward_t); }

/* Some of the gates' sums, which inputs and states give together or one of them alone.
 *
 * The sums of an LSTM are one part. Those of a GRU are in the order reset, update, new from states, new from inputs: a part
 * of the first two, and one each of the others, which share their columns of weights. */
typedef struct {
    int first, columns;          /* of the sums (4 H) */
    int gate;                    /* the first of their rows in torch's weights (G H, ...) */
    int of_states, of_inputs;    /* who gives them */
    int64_t w_h, w_x;            /* where their packed weights are, in the workspace */
    int64_t packed;              /* and in a thread's part of it their gradients in panels */
} part_t;

/* Where a pass works: places and sizes in floats, alike for both passes. First come the packed weights, which all threads
 * read; then `of_thread` for each thread. */
typedef struct {
    int G, parts;
    part_t part[3];
    int64_t threads, of_thread;  /* where the threads' begin */
    int64_t row;                 /* of a thread's (block, 4 H), at 0: sums of an hour, or their gradients */
    int64_t inputs;              /* in a thread's: (block, F), inputs of which some are dropped */
    int64_t biases;              /* gradients of biases (4 H) */
    int64_t rounded;             /* a first factor in bf16: room for (block, 4 H), and as much again for inputs or states */
} places_t;

static places_t places_of(int F, int H, int block, int is_lstm) {
    places_t p = {.G = 3, .parts = 3, .part = {{0, 2 * H, 0, 1, 1, 0, 0, 0}, {2 * H, H, 2 * H, 1, 0, 0, 0, 0},
                                               {3 * H, H, 2 * H, 0, 1, 0, 0, 0}}};
    if (is_lstm) p = (places_t){.G = 4, .parts = 1, .part = {{0, 4 * H, 0, 1, 1, 0, 0, 0}}};
    const int64_t units = round_up(H, LANES), features = round_up(F, LANES), rows = round_up(block, LINE_FLOATS);
    /* A line more than there are sums: rows of a power of two would all lie in the same few places of a cache. */
    p.row = round_up(4 * H, LINE_FLOATS) + LINE_FLOATS;
    p.inputs = rows * p.row;
    p.biases = p.inputs + rows * F;
    p.rounded = p.of_thread = p.biases + round_up(4 * H, LINE_FLOATS);
    p.of_thread += rows * (p.row + units + features);
    for (int i = 0; i < p.parts; i++) {
        part_t *part = &p.part[i];
        const int64_t columns = round_up(part->columns, LANES);
        part->packed = p.of_thread;
        p.of_thread += rows * columns;
        /* Either way round, filled up to whole vectors. */
        part->w_h = p.threads;
        part->w_x = part->w_h + round_up(columns * units, LINE_FLOATS);
        p.threads = part->w_x + round_up(columns * features, LINE_FLOATS);
    }
    return p;
}

/* Return how many floats both passes need to work in, by a pass's threads, sizes and cell. */
int64_t layer_workspace_floats(const layer_forward_t *pass) {
    const places_t p = places_of(pass->F, pass->H, pass->block, pass->cell != 0);
    return p.threads + pass->threads * p.of_thread;
}

/* Return the floats of a vector. */
int lanes(void) { return LANES; }

/* Return whether bf16 can be asked for. */
int has_pairs(void) {
#if defined(__AVX512BF16__)
    return 1;
#else
    return 0;
#endif
}

/* ------------------------------------------------------------------------------------------------------- weights, inputs */

/* A thread's share of so many panels, or blocks of windows: from `first` on, before `last`. */
typedef struct { int first, last; } share_t;

static share_t own_share(int count) {
    const int thread = omp_get_thread_num(), threads = omp_get_num_threads();
    return (share_t){(int)share_start(count, thread, threads), (int)share_start(count, thread + 1, threads)};
}

/* Pack rows of torch's weights (.., inner), each thread its share of the panels. `to_gates`: transposed, for products that
 * give sums of gates; else for those that take their gradients back. */
static void pack_shares(const float *w, int rows, int inner, int to_gates, int bf16, float *packed) {
    const matrix_t m = to_gates ? (matrix_t){w, 1, inner, inner, rows, bf16} : (matrix_t){w, inner, 1, rows, inner, bf16};
    const share_t own = own_share(panel_count(m.columns));
    for (int panel = own.first; panel < own.last; panel++) pack_panel(&m, panel, packed);
}

/* Pack all weights; returns when every thread has done its share. */
static void pack_weights(const float *w_x, const float *w_h, int F, int H, const places_t *p, int to_gates, int bf16,
                         float *workspace, laps_t *laps) {
    for (int i = 0; i < p->parts; i++) {
        const part_t *part = &p->part[i];
        const int64_t gate = part->gate;
        if (part->of_states) pack_shares(w_h + gate * H, part->columns, H, to_gates, bf16, workspace + part->w_h);
        if (part->of_inputs) pack_shares(w_x + gate * F, part->columns, F, to_gates, bf16, workspace + part->w_x);
    }
    lap(laps, LAYOUT);
    GOMP_barrier();
    lap(laps, BARRIERS);
}

/* Return an integer hash: every bit of x changes each bit of it about half the time (Wellons' lowbias32). */
static inline uint32_t hash_of(uint32_t x) {
    x ^= x >> 16;
    x *= 0x7feb352du;
    x ^= x >> 15;
    x *= 0x846ca68bu;
    x ^= x >> 16;
    return x;
}

/* out[j] = values[j] * mask of hour t and window b, which depends on them and on the seed alone: the backward pass makes the
 * same one again, whichever thread it runs on. 0x9e3779b9 is odd, so that no two of 2^32 neighbours give the hash the
 * same. */
static void drop(const float *values, float *out, int F, uint32_t seed, int t, int b, float probability) {
    uint32_t key = hash_of(seed ^ hash_of((uint32_t)t * 0x9e3779b9u + hash_of((uint32_t)b)));
    /* Of 1 the limit would be 2^32, and the factor infinite: nothing is kept. */
    uint32_t limit = probability < 1.0f ? (uint32_t)(probability * 4294967296.0) : UINT32_MAX;
    float kept = probability < 1.0f ? 1.0f / (1.0f - probability) : 0.0f;
    #pragma omp simd
    for (int j = 0; j < F; j++) out[j] = hash_of(key + (uint32_t)j * 0x9e3779b9u) < limit ? 0.0f : values[j] * kept;
}

/* Return the inputs of some windows at hour t: where nothing is dropped those of x, else a copy in scratch. */
static const float *inputs_of(const float *x, int64_t x_window, int64_t x_hour, int first, int rows, int t, int F,
                              float probability, uint32_t seed, float *scratch, int64_t *step) {
    const float *x_t = x + first * x_window + t * x_hour;
    *step = probability > 0.0f ? F : x_window;
    if (probability <= 0.0f) return x_t;
    for (int b = 0; b < rows; b++) drop(x_t + b * x_window, scratch + (int64_t)b * F, F, seed, t, first + b, probability);
    return scratch;
}

/* --------------------------------------------------------------------------------------------------- gates, their gradients
 *
 * All of one hour of a block of `rows` windows with H units each.
 *
 * sums (rows, 4 H), with rows `step` apart, are the products of the hour, to which biases are added here. gates (rows, 4 H)
 * are kept for the backward pass. There, grads are the gradients of the sums, and lie as they do; biases (4 H) takes their
 * sums over the windows. */

/* r = sigmoid(sums r), z = sigmoid(sums z), n = tanh(sums n of inputs + r * sums n of states); after = (1 - z) n + z before.
 * Sums are in the order r, z, n of states, n of inputs; gates are r, z, sums n of states, n. */
static void gru_gates(const float *sums, int64_t step, float *gates, const float *bias, const float *before, float *after,
                      int rows, int H) {
    for (int b = 0; b < rows; b++) {
        const float *p = sums + b * step, *h = before + (int64_t)b * H;
        float *s = gates + (int64_t)b * 4 * H, *next = after + (int64_t)b * H;
        #pragma omp simd
        for (int j = 0; j < H; j++) {
            float r = sigmoid_of(p[j] + bias[j]);
            float z = sigmoid_of(p[H + j] + bias[H + j]);
            float from_state = p[2 * H + j] + bias[2 * H + j];
            float n = tanh_of(p[3 * H + j] + bias[3 * H + j] + r * from_state);
            next[j] = n + z * (h[j] - n);
            s[j] = r;
            s[H + j] = z;
            s[2 * H + j] = from_state;
            s[3 * H + j] = n;
        }
    }
}

/* grad (rows, H) is the gradient of `after` but for what the hour's own output adds, grad_out, or null. It becomes what
 * reaches `before` by z; what reaches it by the products is the caller's to add. sigmoid' = y (1 - y), tanh' = 1 - y^2. */
static void gru_gates_back(const float *gates, float *grads, int64_t step, const float *before, float *grad,
                           const float *grad_out, float *biases, int rows, int H) {
    for (int b = 0; b < rows; b++) {
        const float *s = gates + (int64_t)b * 4 * H;
        float *d = grads + b * step, *g = grad + (int64_t)b * H;
        const float *h = before + (int64_t)b * H, *out = grad_out ? grad_out + (int64_t)b * H : 0;
        #pragma omp simd
        for (int j = 0; j < H; j++) {
            float r = s[j], z = s[H + j], from_state = s[2 * H + j], n = s[3 * H + j];
            float total = g[j] + (out ? out[j] : 0.0f);
            float dn = total * (1.0f - z) * (1.0f - n * n);
            float dz = total * (h[j] - n) * z * (1.0f - z);
            float dr = dn * from_state * r * (1.0f - r);
            d[j] = dr;
            d[H + j] = dz;
            d[2 * H + j] = dn * r;
            d[3 * H + j] = dn;
            g[j] = total * z;
            biases[j] += dr;
            biases[H + j] += dz;
            biases[2 * H + j] += dn * r;
            biases[3 * H + j] += dn;
        }
    }
}

/* i, f, o = sigmoid(sums), g = tanh(sums g), in the order i, f, g, o; cell = f before + i g; after = o tanh(cell). `before`
 * is the cell before. */
static void lstm_gates(const float *sums, int64_t step, float *gates, const float *bias, const float *before, float *cell,
                       float *after, int rows, int H) {
    for (int b = 0; b < rows; b++) {
        const float *p = sums + b * step;
        float *s = gates + (int64_t)b * 4 * H, *c_next = cell + (int64_t)b * H, *next = after + (int64_t)b * H;
        const float *c = before + (int64_t)b * H;
        #pragma omp simd
        for (int j = 0; j < H; j++) {
            float i = sigmoid_of(p[j] + bias[j]);
            float f = sigmoid_of(p[H + j] + bias[H + j]);
            float g = tanh_of(p[2 * H + j] + bias[2 * H + j]);
            float o = sigmoid_of(p[3 * H + j] + bias[3 * H + j]);
            float kept = f * c[j] + i * g;
            c_next[j] = kept;
            next[j] = o * tanh_of(kept);
            s[j] = i;
            s[H + j] = f;
            s[2 * H + j] = g;
            s[3 * H + j] = o;
        }
    }
}

/* As gru_gates_back, but that `before` and `cell` are cells: grad_cell (rows, H) is the gradient of `cell` but for what
 * comes by `after`, and becomes that of `before`. */
static void lstm_gates_back(const float *gates, float *grads, int64_t step, const float *before, const float *cell,
                            const float *grad, float *grad_cell, const float *grad_out, float *biases, int rows, int H) {
    for (int b = 0; b < rows; b++) {
        const float *s = gates + (int64_t)b * 4 * H;
        float *d = grads + b * step, *gc = grad_cell + (int64_t)b * H;
        const float *c = before + (int64_t)b * H, *c_next = cell + (int64_t)b * H, *g_h = grad + (int64_t)b * H;
        const float *out = grad_out ? grad_out + (int64_t)b * H : 0;
        #pragma omp simd
        for (int j = 0; j < H; j++) {
            float i = s[j], f = s[H + j], g = s[2 * H + j], o = s[3 * H + j];
            float total = g_h[j] + (out ? out[j] : 0.0f);
            float seen = tanh_of(c_next[j]);
            float dc = gc[j] + total * o * (1.0f - seen * seen);
            float di = dc * g * i * (1.0f - i);
            float df = dc * c[j] * f * (1.0f - f);
            float dg = dc * i * (1.0f - g * g);
            float d_o = total * seen * o * (1.0f - o);
            gc[j] = dc * f;
            d[j] = di;
            d[H + j] = df;
            d[2 * H + j] = dg;
            d[3 * H + j] = d_o;
            biases[j] += di;
            biases[H + j] += df;
            biases[2 * H + j] += dg;
            biases[3 * H + j] += d_o;
        }
    }
}

/* --------------------------------------------------------------------------------------------- blocks, through all hours */

/* Take a block of windows forward through all hours. */
static void forward_block(const layer_forward_t *pass, const places_t *p, int first, int rows, laps_t *laps) {
    const int B = pass->B, F = pass->F, H = pass->H, bf16 = pass->bf16;
    const float *bias = pass->bias, *packed = pass->workspace, dropped = pass->dropped;
    float *h = pass->h, *cell = pass->cell, *sums = pass->workspace + p->threads + omp_get_thread_num() * p->of_thread;
    for (int t = 0; t < pass->T; t++) {
        const int64_t at = ((int64_t)t * B + first) * H, next = at + (int64_t)B * H;
        float *gates = pass->gates + 4 * at;
        int64_t step;
        const float *x = inputs_of(pass->x, pass->x_window, pass->x_hour, first, rows, t, F, dropped, pass->seed,
                                   sums + p->inputs, &step);
        if (dropped > 0.0f) lap(laps, DROPOUT);
        const factor_t states = rows_of(bf16, h + at, H, rows, H, sums + p->rounded);
        for (const part_t *part = p->part; part < p->part + p->parts; part++)
            if (part->of_states)
                product(rows, states, packed + part->w_h, (result_t){sums + part->first, p->row, part->columns, 0});
        lap(laps, STATE_PRODUCTS);
        const factor_t inputs = rows_of(bf16, x, step, rows, F, sums + p->rounded);
        for (const part_t *part = p->part; part < p->part + p->parts; part++)
            if (part->of_inputs)
                product(rows, inputs, packed + part->w_x,
                        (result_t){sums + part->first, p->row, part->columns, part->of_states});
        lap(laps, INPUT_PRODUCTS);
        if (cell) lstm_gates(sums, p->row, gates, bias, cell + at, cell + next, h + next, rows, H);
        else gru_gates(sums, p->row, gates, bias, h + at, h + next, rows, H);
        lap(laps, GATES);
    }
}

/* Take a block of windows back through all hours; add its gradients of weights and biases to the thread's. */
static void backward_block(const layer_backward_t *pass, const places_t *p, int first, int rows, laps_t *laps) {
    const int B = pass->B, F = pass->F, H = pass->H, bf16 = pass->bf16, thread = omp_get_thread_num();
    const int64_t of_weights = p->G * H;
    const float *h = pass->h, *cell = pass->cell, *packed = pass->workspace, dropped = pass->dropped;
    float *dw_x = pass->grad_w_x + thread * of_weights * F, *dw_h = pass->grad_w_h + thread * of_weights * H;
    double *db = pass->grad_bias + (int64_t)thread * 4 * H;
    float *grads = pass->workspace + p->threads + thread * p->of_thread, *biases = grads + p->biases;
    float *rounded = grads + p->rounded, *rounded_rows = rounded + rows * p->row, *dh = pass->grad + (int64_t)first * H;
    for (int t = pass->T - 1; t >= 0; t--) {
        const int64_t at = ((int64_t)t * B + first) * H, next = at + (int64_t)B * H;
        int64_t step;
        const float *x = inputs_of(pass->x, pass->x_window, pass->x_hour, first, rows, t, F, dropped, pass->seed,
                                   grads + p->inputs, &step);
        const float *gates = pass->gates + 4 * at;
        const float *out = t >= pass->first_out ? pass->grad_out + at - (int64_t)pass->first_out * B * H : 0;
        float *dx = pass->grad_x ? pass->grad_x + ((int64_t)t * B + first) * F : 0;
        if (dropped > 0.0f) lap(laps, DROPOUT);
        memset(biases, 0, sizeof(float) * 4 * H);
        if (cell)
            lstm_gates_back(gates, grads, p->row, cell + at, cell + next, dh, pass->grad_cell + (int64_t)first * H, out,
                            biases, rows, H);
        else gru_gates_back(gates, grads, p->row, h + at, dh, out, biases, rows, H);
        lap(laps, GATES);

        /* To the states before, and to the weights: gradients as rows, and as the second factor of a product whose rows are
         * units. Of a GRU dh has what reaches the states by the update gate. */
        int adds = !cell;
        const factor_t units = columns_of(bf16, h + at, H, rows, H, rounded_rows);
        for (const part_t *part = p->part; part < p->part + p->parts; part++) {
            const matrix_t of_part = {grads + part->first, p->row, 1, rows, part->columns, bf16};
            pack(&of_part, grads + part->packed);
            if (!part->of_states) continue;
            const factor_t as_rows = rows_of(bf16, of_part.at, p->row, rows, part->columns, rounded);
            product(rows, as_rows, packed + part->w_h, (result_t){dh, H, H, adds});
            product(H, units, grads + part->packed, (result_t){dw_h + part->gate, of_weights, part->columns, 1});
            adds = 1;
        }
        lap(laps, STATE_PRODUCTS);
        adds = 0;
        const factor_t features = columns_of(bf16, x, step, rows, F, rounded_rows);
        for (const part_t *part = p->part; part < p->part + p->parts; part++) {
            if (!part->of_inputs) continue;
            product(F, features, grads + part->packed, (result_t){dw_x + part->gate, of_weights, part->columns, 1});
            if (!dx) continue;
            const factor_t as_rows = rows_of(bf16, grads + part->first, p->row, rows, part->columns, rounded);
            product(rows, as_rows, packed + part->w_x, (result_t){dx, F, F, adds});
            adds = 1;
        }
        lap(laps, INPUT_PRODUCTS);
        if (dx && dropped > 0.0f) {
            for (int b = 0; b < rows; b++) {
                float *dx_b = dx + (int64_t)b * F;
                drop(dx_b, dx_b, F, pass->seed, t, first + b, dropped);
            }
            lap(laps, DROPOUT);
        }
        /* An hour in float, as vectors add it up; hours, of which there may be many, in double. */
        for (int j = 0; j < 4 * H; j++) db[j] += biases[j];
    }
}

static void forward_thread(const void *given, laps_t *laps) {
    const layer_forward_t *pass = given;
    const places_t p = places_of(pass->F, pass->H, pass->block, pass->cell != 0);
    pack_weights(pass->w_x, pass->w_h, pass->F, pass->H, &p, 1, pass->bf16, pass->workspace, laps);
    const share_t own = own_share((int)div_up(pass->B, pass->block));
    for (int i = own.first; i < own.last; i++)
        forward_block(pass, &p, i * pass->block, int_min(pass->block, pass->B - i * pass->block), laps);
}

static void backward_thread(const void *given, laps_t *laps) {
    const layer_backward_t *pass = given;
    const places_t p = places_of(pass->F, pass->H, pass->block, pass->cell != 0);
    pack_weights(pass->w_x, pass->w_h, pass->F, pass->H, &p, 0, pass->bf16, pass->workspace, laps);
    const share_t own = own_share((int)div_up(pass->B, pass->block));
    for (int i = own.first; i < own.last; i++)
        backward_block(pass, &p, i * pass->block, int_min(pass->block, pass->B - i * pass->block), laps);
}

void layer_forward(const layer_forward_t *pass) { run_threads(forward_thread, pass, pass->threads, pass->phases); }

void layer_backward(const layer_backward_t *pass) { run_threads(backward_thread, pass, pass->threads, pass->phases); }
