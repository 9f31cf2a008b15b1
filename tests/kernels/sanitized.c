/* Calls a kernel with random shapes, as a compiler's sanitizers watch; tests/kernels/test_kernels_sanitized.py compiles it.
 *
 *   sanitized SEED CASES
 *
 * With -DTRAIN the kernel is train.c, else forward.c; with -DTILES the instructions of AMX are plain C. All memory has
 * exactly the size that a call asks for, so that a sanitizer sees what is read or written beside it, and begins as NaN where a
 * call is to write it. Threads are those of POSIX, in place of a library of OpenMP that no sanitizer looks into.
 *
 * Exit code 3: a number is none. 4: an equal call gave other bits.
 */
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if defined(TILES)
#include <immintrin.h>

/* Eight tiles of 16 rows of 64 bytes for each thread, to be used between the configuration and the release. */
typedef struct { unsigned char row[16][64]; } amx_t;
static _Thread_local amx_t amx[8];
static _Thread_local int amx_is_on;

static amx_t *amx_tile(int tile) {
    if (!amx_is_on) abort();
    return &amx[tile];
}

static void amx_load(int tile, const void *from, int64_t step) {
    for (int r = 0; r < 16; r++) memcpy(amx_tile(tile)->row[r], (const char *)from + r * step, 64);
}

static void amx_store(int tile, void *to, int64_t step) {
    for (int r = 0; r < 16; r++) memcpy((char *)to + r * step, amx_tile(tile)->row[r], 64);
}

static float amx_value(const amx_t *tile, int row, int column) {
    uint16_t half;
    memcpy(&half, tile->row[row] + 2 * column, sizeof half);
    uint32_t bits = (uint32_t)half << 16;
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* Add the products of a, 32 values a row, and of b, in whose rows pairs of values follow one another. */
static void amx_multiply(int sums, int a, int b) {
    for (int m = 0; m < 16; m++)
        for (int n = 0; n < 16; n++) {
            float sum;
            memcpy(&sum, amx_tile(sums)->row[m] + 4 * n, sizeof sum);
            for (int k = 0; k < 32; k++)
                sum += amx_value(amx_tile(a), m, k) * amx_value(amx_tile(b), k / 2, 2 * n + k % 2);
            memcpy(amx_tile(sums)->row[m] + 4 * n, &sum, sizeof sum);
        }
}

#undef _tile_loadd
#undef _tile_stored
#undef _tile_dpbf16ps
#undef _tile_loadconfig
#undef _tile_release
#define _tile_loadd(tile, from, step) amx_load(tile, from, step)
#define _tile_stored(tile, to, step) amx_store(tile, to, step)
#define _tile_dpbf16ps(sums, a, b) amx_multiply(sums, a, b)
#define _tile_loadconfig(shape) ((void)(shape), (void)(amx_is_on = 1))
#define _tile_release() ((void)(amx_is_on = 0))
#endif

#if defined(TRAIN)
#include "train.c"
#else
#include "forward.c"
#endif

/* --------------------------------------------------------------------------------------------------------------- threads */

#define MOST_THREADS 4

typedef struct {
    void (*region)(void *given);
    void *given;
    int number, count;
} member_t;

static _Thread_local const member_t *self;
static pthread_barrier_t together;
static unsigned given_threads; /* the most that this system gives */

int omp_get_thread_num(void) { return self->number; }
int omp_get_num_threads(void) { return self->count; }
void GOMP_barrier(void) { pthread_barrier_wait(&together); }

static void *take_part(void *given) {
    self = given;
    self->region(self->given);
    return 0;
}

void GOMP_parallel(void (*region)(void *given), void *given, unsigned threads, unsigned flags) {
    (void)flags;
    if (threads > given_threads) threads = given_threads;
    member_t members[MOST_THREADS];
    pthread_t others[MOST_THREADS];
    pthread_barrier_init(&together, 0, threads);
    for (unsigned i = 0; i < threads; i++) members[i] = (member_t){region, given, (int)i, (int)threads};
    for (unsigned i = 1; i < threads; i++)
        if (pthread_create(&others[i], 0, take_part, &members[i])) abort();
    take_part(&members[0]);
    for (unsigned i = 1; i < threads; i++) pthread_join(others[i], 0);
    pthread_barrier_destroy(&together);
}

/* ------------------------------------------------------------------------------------------------------ numbers, memory */

static uint64_t seed;

static uint32_t random_bits(void) {
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(seed >> 33);
}

static int from_to(int low, int high) { return low + (int)(random_bits() % (uint32_t)(high - low + 1)); }

/* From -0.5 to 0.5. */
static float random_value(void) { return (float)random_bits() / 2147483648.0f - 0.5f; }

static void *held[64];
static int held_count;

/* Return memory of exactly so many bytes, whose first lies `beyond` bytes beyond a line of 64. */
static void *room(int64_t bytes, int64_t beyond) {
    void *at;
    if (held_count == 64 || posix_memalign(&at, 64, (size_t)(bytes + beyond))) abort();
    held[held_count++] = at;
    memset((char *)at + beyond, 0xff, (size_t)bytes); /* NaN, as float and as double */
    return (char *)at + beyond;
}

static void free_all(void) {
    while (held_count) free(held[--held_count]);
}

static float *unset(int64_t count) { return room(4 * count, 0); }

static void *zeros(int64_t bytes) { return memset(room(bytes, 0), 0, (size_t)bytes); }

/* Random numbers at any address of a float. */
static float *numbers(int64_t count) {
    float *x = room(4 * count, 4 * from_to(0, 1));
    for (int64_t i = 0; i < count; i++) x[i] = random_value();
    return x;
}

/* What no arithmetic of floats is right about, in some place. */
static void put_odd_values(float *x, int64_t count) {
    const float odd[] = {NAN, INFINITY, -INFINITY, 3e38f, -3e38f, 1e-40f, -0.0f};
    for (unsigned i = 0; i < sizeof odd / sizeof *odd; i++) x[random_bits() % (uint64_t)count] = odd[i];
}

static void require_numbers(const float *x, int64_t count, const char *what) {
    for (int64_t i = 0; i < count; i++)
        if (x[i] - x[i] != 0.0f) fprintf(stderr, "%s: value %lld is none\n", what, (long long)i), exit(3);
}

static void require_equal(const void *one, const void *other, int64_t bytes, const char *what) {
    if (memcmp(one, other, (size_t)bytes)) fprintf(stderr, "%s: other bits\n", what), exit(4);
}

/* ----------------------------------------------------------------------------------------------------------------- cases */

#if defined(TRAIN)
static void one_case(void) {
    const int lstm = from_to(0, 1), gates = lstm ? 4 : 3, is_odd = from_to(0, 7) == 0, T = from_to(1, 5);
    const int64_t B = from_to(1, 40), F = from_to(1, 40), H = from_to(1, 40), threads = from_to(1, MOST_THREADS);
    const float drops[] = {0.0f, 0.0f, 0.4f, 1.0f};
    float *x = numbers(B * T * F), *h = unset((T + 1) * B * H), *cell = lstm ? unset((T + 1) * B * H) : 0;
    if (is_odd) put_odd_values(x, B * T * F);
    memset(h, 0, sizeof(float) * B * H);
    if (lstm) memset(cell, 0, sizeof(float) * B * H);
    layer_forward_t forward = {
        .threads = threads, .B = B, .T = T, .F = F, .H = H, .block = from_to(1, B), .bf16 = has_pairs() && from_to(0, 1),
        .x = x, .w_x = numbers(gates * H * F), .w_h = numbers(gates * H * H), .bias = numbers(4 * H), .h = h, .cell = cell,
        .gates = unset(T * B * 4 * H), .dropped = drops[from_to(0, 3)], .seed = random_bits(),
        .phases = from_to(0, 1) ? zeros(threads * PHASES * 16) : 0};
    forward.x_window = from_to(0, 1) ? T * F : F; /* windows or hours first */
    forward.x_hour = forward.x_window == F ? B * F : F;
    forward.workspace = unset(layer_workspace_floats(&forward));
    layer_forward(&forward);
    const int first_out = from_to(0, T - 1);
    float *grad_x = from_to(0, 2) ? unset(T * B * F) : 0;
    layer_backward_t backward = {
        .threads = threads, .B = B, .T = T, .F = F, .H = H, .block = forward.block, .bf16 = forward.bf16,
        .first_out = first_out, .x = x, .x_window = forward.x_window, .x_hour = forward.x_hour, .w_x = forward.w_x,
        .w_h = forward.w_h, .h = h, .cell = cell, .gates = forward.gates, .grad_out = numbers((T - first_out) * B * H),
        .grad = zeros(4 * B * H), .grad_cell = lstm ? zeros(4 * B * H) : 0, .grad_x = grad_x,
        .grad_w_x = zeros(4 * threads * F * gates * H), .grad_w_h = zeros(4 * threads * H * gates * H),
        .grad_bias = zeros(8 * threads * 4 * H), .workspace = forward.workspace, .dropped = forward.dropped,
        .seed = forward.seed, .phases = forward.phases ? zeros(threads * PHASES * 16) : 0};
    layer_backward(&backward);
    if (is_odd) return;
    require_numbers(h, (T + 1) * B * H, "states");
    if (grad_x) require_numbers(grad_x, T * B * F, "gradients of inputs");
    require_numbers(backward.grad_w_x, threads * F * gates * H, "gradients of the inputs' weights");
    require_numbers(backward.grad_w_h, threads * H * gates * H, "gradients of the states' weights");
}
#else
enum { FP32, IN_PAIRS, IN_TILES };

static int random_precision(void) {
#if defined(TILES)
    return from_to(FP32, IN_TILES);
#else
    return from_to(FP32, has_pairs() ? IN_PAIRS : FP32);
#endif
}

/* Return packed weights of a layer; in bf16 two small numbers to a float. */
static const float *layer_weights(int precision, int64_t below, int64_t H, int gates) {
    const int64_t rows = precision == FP32 ? 1 : precision == IN_PAIRS ? 2 : 32, of_block = gates * LANES * ((rows + 1) / 2);
    const int64_t of_group = 4 * LANES + (div_up(below, rows) + div_up(H, rows)) * of_block;
    const int64_t count = div_up(H, LANES) * of_group;
    float *weights = unset(count);
    for (int64_t i = 0; i < count; i++) {
        float values[2] = {random_value(), random_value()};
        uint32_t bits[2];
        memcpy(bits, values, sizeof bits);
        if (precision != FP32) bits[0] = (bits[0] & 0xffff0000u) | bits[1] >> 16;
        memcpy(weights + i, bits, sizeof(float));
    }
    return weights;
}

static void run(int precision, const call_t *call) {
#if defined(__AVX512BF16__)
    if (precision == IN_PAIRS) { pairs_forward(call); return; }
#endif
#if defined(TILES)
    if (precision == IN_TILES) { tile_forward(call); return; }
#endif
    (void)precision;
    forward(call);
}

static int64_t workspace_of(int precision, const call_t *call) {
#if defined(__AVX512BF16__)
    if (precision != FP32) return bf16_workspace_floats(call);
#endif
    (void)precision;
    return workspace_floats(call);
}

static void one_case(void) {
    const int precision = random_precision(), is_odd = from_to(0, 7) == 0, kind = from_to(0, 5);
    call_t call = {.threads = from_to(1, MOST_THREADS), .lstm = from_to(0, 1), .B = from_to(1, 40), .T = from_to(1, 6),
                   .F = from_to(1, 40), .H = from_to(1, 70), .N = from_to(1, 2), .relu = from_to(0, 1), .L = from_to(1, 3)};
    if (kind == 0) call.B = 1, call.T = from_to(100, 140), call.H = from_to(1, 40); /* more hours than a chunk has */
    if (kind == 1) call.B = from_to(250, 300), call.T = 1, call.H = from_to(1, 20); /* more windows than a block has */
    const int64_t of_layer = (int64_t)(call.lstm ? 2 : 1) * call.B * call.H, outputs = (int64_t)call.B * call.L;
    const float *weights[2];
    for (int layer = 0; layer < call.N; layer++)
        weights[layer] = layer_weights(precision, layer ? call.H : call.F, call.H, call.lstm ? 4 : 3);
    float *x = numbers((int64_t)call.B * call.T * call.F), *once = unset(outputs);
    if (is_odd) put_odd_values(x, (int64_t)call.B * call.T * call.F);
    call.x = x;
    call.weights = weights;
    call.head = numbers((int64_t)call.L * call.H);
    call.head_bias = numbers(call.L);
    call.state = precision == FP32 && from_to(0, 2) == 0 ? numbers(call.N * of_layer) : 0;
    call.workspace = unset(workspace_of(precision, &call));
    call.phases = from_to(0, 1) ? zeros(call.threads * PHASES * 16) : 0;
    call.out = once;
    run(precision, &call);
    if (!is_odd) require_numbers(once, outputs, "forecasts");
    if (call.state || is_odd) return;
    /* Once more, over what the first call left behind. */
    call.phases = 0;
    call.out = unset(outputs);
    run(precision, &call);
    require_equal(once, call.out, 4 * outputs, "forecasts");
}
#endif

int main(int count, char **arguments) {
    if (count != 3) return fprintf(stderr, "give a seed and how many cases\n"), 2;
    seed = strtoull(arguments[1], 0, 10);
    int cases = atoi(arguments[2]);
    for (int i = 0; i < cases; i++) {
        given_threads = (unsigned)from_to(1, MOST_THREADS);
        if (from_to(0, 3)) given_threads = MOST_THREADS;
        one_case();
        free_all();
    }
    printf("%d cases\n", cases);
    return 0;
}
