/* Forward and backward passes of one GRU or LSTM layer over a whole window, for training on a CPU.
 *
 * Each thread takes blocks of windows through all hours by itself: no thread waits for another, and what one hour leaves
 * (gates, state) is still in the core's own cache when the next needs it. Products go to the BLAS that torch carries, whose
 * sgemm is handed in; inside a parallel region it runs on the calling thread alone.
 *
 * Row-major throughout. B windows, T hours, F features, H hidden, G gates (GRU 3, LSTM 4). The gates of an hour are (B, 4
 * H): the activations that the backward pass needs.
 */
#include <stdint.h>
#include <string.h>

#include "activations.h"
#include "sizes.h"
#include "team.h"

/* ---------------------------------------------------------------------------------------------------------------- passes */

typedef void (*sgemm_t)(const char *, const char *, const int *, const int *, const int *, const float *, const float *,
                        const int *, const float *, const int *, const float *, float *, const int *);

/* Both passes take one struct: LayerForward and LayerBackward of rnncore/kernels/layers.py, field by field.
 *
 * Weights and their gradients are input by gate, (F, G H) and (H, G H): the transpose of torch's, and the way round in which
 * products are fastest. Only the products that give gradients of inputs and states take torch's. */
typedef struct {
    sgemm_t sgemm;
    int32_t threads;
    int32_t B, T, F, H;         /* each at least 1 */
    int32_t block;              /* windows that go through all hours together */
    const float *x;             /* hour t of window b at x[b * x_window + t * x_hour] */
    int64_t x_window, x_hour;
    const float *w_x, *w_h;     /* (F, G H) and (H, G H) */
    const float *bias;          /* (4 H); of a GRU reset, update, new from states, new from inputs */
    float *h;                   /* (T + 1, B, H), h[0] given */
    float *cell;                /* (T + 1, B, H), cell[0] given; null for a GRU */
    float *gates;               /* (T, B, 4 H), for the backward pass */
    float *hour;                /* (threads, block, 4 H): the products of one hour, which stay in a core's own cache */
    float *scratch;             /* (threads, block, F); null where no inputs are dropped */
    float dropped;              /* the probability that an input is dropped */
    uint32_t seed;              /* of what is dropped */
    double *phases;             /* null; or to time the pass (threads, PHASES, 2), as run_threads has it */
} layer_forward_t;

typedef struct {
    sgemm_t sgemm;
    int32_t threads;
    int32_t B, T, F, H, block;
    int32_t first_out;          /* the first hour of grad_out */
    const float *x;             /* this, and all to gates, as in the forward pass */
    int64_t x_window, x_hour;
    const float *h, *cell, *gates;
    const float *w_x, *w_h;     /* (G H, F) and (G H, H), as torch has them */
    const float *grad_out;      /* of the states of the last hours: (T - first_out, B, H) */
    float *grad;                /* (B, H), zeros; spent */
    float *grad_cell;           /* (B, H), zeros; spent; null for a GRU */
    float *grad_x;              /* (T, B, F), or null */
    float *grad_w_x, *grad_w_h; /* by thread, zeros: (threads, F, G H) and (threads, H, G H) */
    double *grad_bias;          /* by thread, zeros: (threads, 4 H) */
    float *sums;                /* (threads, 4 H) */
    float *hour, *scratch;
    float dropped;
    uint32_t seed;
    double *phases;             /* these five as in the forward pass */
} layer_backward_t;

int64_t layer_forward_bytes(void) { return sizeof(layer_forward_t); }
int64_t layer_backward_bytes(void) { return sizeof(layer_backward_t); }

/* ------------------------------------------------------------------------------------------------------ products, inputs */

/* out (rows, columns) = a (rows, inner) b + beta out, with b (inner, columns). */
static void product(sgemm_t sgemm, int rows, int columns, int inner, const float *a, int a_step, const float *b, int b_step,
                    float beta, float *out, int out_step) {
    const float one = 1.0f;
    sgemm("N", "N", &columns, &rows, &inner, &one, b, &b_step, a, &a_step, &beta, out, &out_step);
}

/* out (rows, columns) += a' b, with a (inner, rows) and b (inner, columns). */
static void product_sum(sgemm_t sgemm, int rows, int columns, int inner, const float *a, int a_step, const float *b,
                        int b_step, float *out, int out_step) {
    const float one = 1.0f;
    sgemm("N", "T", &columns, &rows, &inner, &one, b, &b_step, a, &a_step, &one, out, &out_step);
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
                              float probability, uint32_t seed, float *scratch, int *step) {
    const float *x_t = x + first * x_window + t * x_hour;
    *step = probability > 0.0f ? F : (int)x_window;
    if (probability <= 0.0f) return x_t;
    for (int b = 0; b < rows; b++) drop(x_t + b * x_window, scratch + (int64_t)b * F, F, seed, t, first + b, probability);
    return scratch;
}

/* --------------------------------------------------------------------------------------------------- gates, their gradients
 *
 * All of one hour of a block of `rows` windows with H units each.
 *
 * sums (rows, 4 H) are the products of the hour, to which biases are added here. gates (rows, 4 H) are kept for the backward
 * pass. There, grads (rows, 4 H) are the gradients of the sums, and biases (4 H) takes their sums over the windows. */

/* r = sigmoid(sums r), z = sigmoid(sums z), n = tanh(sums n of inputs + r * sums n of states); after = (1 - z) n + z before.
 * Sums are in the order r, z, n of states, n of inputs; gates are r, z, sums n of states, n. */
static void gru_gates(const float *sums, float *gates, const float *bias, const float *before, float *after, int rows,
                      int H) {
    for (int b = 0; b < rows; b++) {
        const float *p = sums + (int64_t)b * 4 * H, *h = before + (int64_t)b * H;
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
static void gru_gates_back(const float *gates, float *grads, const float *before, float *grad, const float *grad_out,
                           float *biases, int rows, int H) {
    for (int b = 0; b < rows; b++) {
        const float *s = gates + (int64_t)b * 4 * H;
        float *d = grads + (int64_t)b * 4 * H, *g = grad + (int64_t)b * H;
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
static void lstm_gates(const float *sums, float *gates, const float *bias, const float *before, float *cell, float *after,
                       int rows, int H) {
    for (int b = 0; b < rows; b++) {
        const float *p = sums + (int64_t)b * 4 * H;
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
static void lstm_gates_back(const float *gates, float *grads, const float *before, const float *cell, const float *grad,
                            float *grad_cell, const float *grad_out, float *biases, int rows, int H) {
    for (int b = 0; b < rows; b++) {
        const float *s = gates + (int64_t)b * 4 * H;
        float *d = grads + (int64_t)b * 4 * H, *gc = grad_cell + (int64_t)b * H;
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
static void forward_block(const layer_forward_t *pass, int first, int rows, laps_t *laps) {
    const sgemm_t sgemm = pass->sgemm;
    const float *w_x = pass->w_x, *w_h = pass->w_h, *bias = pass->bias, dropped = pass->dropped;
    float *h = pass->h, *cell = pass->cell, *gates = pass->gates;
    const int B = pass->B, F = pass->F, H = pass->H, block = pass->block, thread = omp_get_thread_num();
    float *sums = pass->hour + (int64_t)thread * block * 4 * H;
    float *copies = pass->scratch ? pass->scratch + (int64_t)thread * block * F : 0;
    for (int t = 0; t < pass->T; t++) {
        const int64_t at = ((int64_t)t * B + first) * H, next = at + (int64_t)B * H;
        int step;
        const float *x = inputs_of(pass->x, pass->x_window, pass->x_hour, first, rows, t, F, dropped, pass->seed, copies,
                                   &step);
        if (dropped > 0.0f) lap(laps, DROPOUT);
        if (cell) {
            product(sgemm, rows, 4 * H, H, h + at, H, w_h, 4 * H, 0.0f, sums, 4 * H);
            lap(laps, STATE_PRODUCTS);
            product(sgemm, rows, 4 * H, F, x, step, w_x, 4 * H, 1.0f, sums, 4 * H);
            lap(laps, INPUT_PRODUCTS);
            lstm_gates(sums, gates + 4 * at, bias, cell + at, cell + next, h + next, rows, H);
        } else {
            /* The new gate has two sums, third and fourth: reset scales the one that comes from the states. */
            product(sgemm, rows, 3 * H, H, h + at, H, w_h, 3 * H, 0.0f, sums, 4 * H);
            lap(laps, STATE_PRODUCTS);
            product(sgemm, rows, 2 * H, F, x, step, w_x, 3 * H, 1.0f, sums, 4 * H);
            product(sgemm, rows, H, F, x, step, w_x + 2 * H, 3 * H, 0.0f, sums + 3 * H, 4 * H);
            lap(laps, INPUT_PRODUCTS);
            gru_gates(sums, gates + 4 * at, bias, h + at, h + next, rows, H);
        }
        lap(laps, GATES);
    }
}

/* Take a block of windows back through all hours; add its gradients of weights and biases to the thread's. */
static void backward_block(const layer_backward_t *pass, int first, int rows, laps_t *laps) {
    const sgemm_t sgemm = pass->sgemm;
    const float *w_x = pass->w_x, *w_h = pass->w_h, *h = pass->h, *cell = pass->cell, dropped = pass->dropped;
    const int B = pass->B, F = pass->F, H = pass->H, block = pass->block, first_out = pass->first_out;
    const int G = cell ? 4 : 3, thread = omp_get_thread_num();
    float *dw_x = pass->grad_w_x + (int64_t)thread * G * H * F, *dw_h = pass->grad_w_h + (int64_t)thread * G * H * H;
    double *db = pass->grad_bias + (int64_t)thread * 4 * H;
    float *grads = pass->hour + (int64_t)thread * block * 4 * H, *sums = pass->sums + (int64_t)thread * 4 * H;
    float *copies = pass->scratch ? pass->scratch + (int64_t)thread * block * F : 0, *dh = pass->grad + (int64_t)first * H;
    for (int t = pass->T - 1; t >= 0; t--) {
        const int64_t at = ((int64_t)t * B + first) * H, next = at + (int64_t)B * H;
        int step;
        const float *x = inputs_of(pass->x, pass->x_window, pass->x_hour, first, rows, t, F, dropped, pass->seed, copies,
                                   &step);
        const float *gates = pass->gates + 4 * at;
        const float *out = t >= first_out ? pass->grad_out + at - (int64_t)first_out * B * H : 0;
        float *dx = pass->grad_x ? pass->grad_x + ((int64_t)t * B + first) * F : 0;
        if (dropped > 0.0f) lap(laps, DROPOUT);
        memset(sums, 0, sizeof(float) * 4 * H);
        if (cell) {
            float *dc = pass->grad_cell + (int64_t)first * H;
            lstm_gates_back(gates, grads, cell + at, cell + next, dh, dc, out, sums, rows, H);
            lap(laps, GATES);
            product(sgemm, rows, H, 4 * H, grads, 4 * H, w_h, H, 0.0f, dh, H);
            product_sum(sgemm, H, 4 * H, rows, h + at, H, grads, 4 * H, dw_h, 4 * H);
            lap(laps, STATE_PRODUCTS);
            product_sum(sgemm, F, 4 * H, rows, x, step, grads, 4 * H, dw_x, 4 * H);
            if (dx) product(sgemm, rows, F, 4 * H, grads, 4 * H, w_x, F, 0.0f, dx, F);
        } else {
            gru_gates_back(gates, grads, h + at, dh, out, sums, rows, H);
            lap(laps, GATES);
            product(sgemm, rows, H, 3 * H, grads, 4 * H, w_h, H, 1.0f, dh, H);
            product_sum(sgemm, H, 3 * H, rows, h + at, H, grads, 4 * H, dw_h, 3 * H);
            lap(laps, STATE_PRODUCTS);
            product_sum(sgemm, F, 2 * H, rows, x, step, grads, 4 * H, dw_x, 3 * H);
            product_sum(sgemm, F, H, rows, x, step, grads + 3 * H, 4 * H, dw_x + 2 * H, 3 * H);
            if (dx) {
                product(sgemm, rows, F, 2 * H, grads, 4 * H, w_x, F, 0.0f, dx, F);
                product(sgemm, rows, F, H, grads + 3 * H, 4 * H, w_x + (int64_t)2 * H * F, F, 1.0f, dx, F);
            }
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
        for (int j = 0; j < 4 * H; j++) db[j] += sums[j];
    }
}

static void forward_thread(const void *given, laps_t *laps) {
    const layer_forward_t *pass = given;
    #pragma omp for schedule(static) nowait
    for (int first = 0; first < pass->B; first += pass->block)
        forward_block(pass, first, int_min(pass->block, pass->B - first), laps);
}

static void backward_thread(const void *given, laps_t *laps) {
    const layer_backward_t *pass = given;
    #pragma omp for schedule(static) nowait
    for (int first = 0; first < pass->B; first += pass->block)
        backward_block(pass, first, int_min(pass->block, pass->B - first), laps);
}

void layer_forward(const layer_forward_t *pass) { run_threads(forward_thread, pass, pass->threads, pass->phases); }

void layer_backward(const layer_backward_t *pass) { run_threads(backward_thread, pass, pass->threads, pass->phases); }
