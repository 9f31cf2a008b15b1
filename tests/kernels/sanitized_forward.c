/* Calls of the forward kernel, in every precision, for sanitized.h. */
#include "sanitized.h"

#include "forward.c"

/* A precision: its functions, and what of packed weights `rows` rows have for each gate and unit, in floats. */
typedef struct {
    const char *name;
    void (*forward)(const call_t *call);
    int64_t (*workspace_floats)(const call_t *call);
    int header, block_rows, block_floats; /* floats before all; rows that go together, and the floats of so many */
    int is_above_alone;                   /* 1 where the first layer's inputs are as in fp32, else 0 */
    int has_state;                        /* 1 where calls carry a state, else 0 */
} kind_t;

static const kind_t KINDS[] = {
    {"fp32", forward, workspace_floats, 0, 1, 1, 0, 1},
#if defined(__AVX512BF16__)
    {"bf16 in pairs", pairs_forward, bf16_workspace_floats, 0, 2, 1, 0, 0},
#endif
#if defined(__AMX_BF16__)
    {"bf16 in tiles", tile_forward, bf16_workspace_floats, 0, 32, 16, 0, 0},
#endif
};

static int64_t floats_of_rows(const kind_t *kind, int rows) {
    return kind->header + div_up(rows, kind->block_rows) * kind->block_floats;
}

static const float *layer_weights(const kind_t *kind, int layer, const call_t *call) {
    const kind_t *of_inputs = layer == 0 && kind->is_above_alone ? &KINDS[0] : kind;
    const int64_t floats = floats_of_rows(of_inputs, layer ? call->H : call->F) + floats_of_rows(kind, call->H);
    return packed_numbers("weights", div_up(call->H, LANES) * (4 + floats * gates_of(call)) * LANES);
}

static void one_case(void) {
    const kind_t *kind = &KINDS[from_to(0, sizeof KINDS / sizeof *KINDS - 1)];
    const int is_odd = from_to(0, 7) == 0 && !*fault, shape = from_to(0, 5);
    call_t call = {.threads = from_to(1, MOST_THREADS), .lstm = from_to(0, 1), .B = from_to(1, 40), .T = from_to(1, 6),
                   .F = from_to(1, 40), .H = from_to(1, 70), .N = from_to(1, 2), .relu = from_to(0, 1), .L = from_to(1, 3)};
    if (shape == 0) call.B = 1, call.T = from_to(100, 140), call.H = from_to(1, 40); /* more hours than a chunk has */
    if (shape == 1) call.B = from_to(250, 600), call.T = 1, call.H = from_to(1, 20); /* more windows than a block has */
    const int64_t inputs = (int64_t)call.B * call.T * call.F, outputs = (int64_t)call.B * call.L;
    const int has_state = kind->has_state && from_to(0, 2) == 0, is_timed = from_to(0, 1);
    printf("%s in %s, threads %d of %u, B %d, T %d, F %d, H %d, N %d, L %d, %s, %s, %s\n", call.lstm ? "LSTM" : "GRU",
           kind->name, call.threads, given_threads, call.B, call.T, call.F, call.H, call.N, call.L,
           has_state ? "with a state" : "from zeros", is_timed ? "timed" : "untimed", is_odd ? "odd values" : "numbers");
    fflush(stdout);
    if (is_planted("huge", "")) call.H = call.N = INT32_MAX, kind->workspace_floats(&call);

    const float *weights[2];
    for (int layer = 0; layer < call.N; layer++) weights[layer] = layer_weights(kind, layer, &call);
    float *x = numbers("x", inputs), *once = unset("out", outputs);
    if (is_odd) put_odd_values(x, inputs);
    call.x = x;
    call.weights = weights;
    call.head = numbers("head", (int64_t)call.L * call.H);
    call.head_bias = numbers("head bias", call.L);
    call.state = has_state ? numbers("state", (int64_t)call.N * (call.lstm ? 2 : 1) * call.B * call.H) : 0;
    call.workspace = unset("workspace", kind->workspace_floats(&call));
    call.phases = is_timed ? zeros("phases", call.threads * PHASES * 16) : 0;
    call.out = once;
    kind->forward(&call);
    if (is_odd) return;
    require_numbers(once, outputs, "forecasts");
    if (call.state) require_numbers(call.state, (int64_t)call.N * (call.lstm ? 2 : 1) * call.B * call.H, "states");
    if (call.state) return;
    /* Once more, over what the first call left behind. */
    call.phases = 0;
    call.out = unset("out", outputs);
    kind->forward(&call);
    require_equal(once, call.out, 4 * outputs, "forecasts");
}
