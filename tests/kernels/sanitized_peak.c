/* Calls of the kernel of peaks, for sanitized.h. */
#include "sanitized.h"

#include "peak.c"

static void multiply_and_add(int threads) {
    const int way = from_to(0, way_count() - 1);
    const multiply_adds_t call = {.threads = threads, .way = way, .rounds = is_planted("huge", "") ? INT64_MAX : from_to(4, 9)};
    printf("%s, threads %d of %u\n", way_name(way), threads, given_threads);
    fflush(stdout);
    multiply_adds(&call);
}

static void read_again(int threads) {
    read_memory_t call = {.threads = threads, .prefetches = from_to(0, 1), .passes = from_to(1, 3)};
    call.floats = LINE_FLOATS * from_to(1, 60);
    printf("%lld floats, threads %d of %u\n", (long long)call.floats, threads, given_threads);
    fflush(stdout);
    call.memory = packed_numbers("memory", call.floats);
    read_memory(&call);
}

/* Return number `at` of values of bf16. */
static double bf16_at(const void *values, int64_t at) {
    uint16_t half;
    memcpy(&half, (const char *)values + 2 * at, sizeof half);
    const uint32_t bits = (uint32_t)half << 16;
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* Return state k of a row, of bytes in parts of 127. */
static double state_at(int way, const float *row, int k) {
    if (way == CHAIN_FP32) return row[k];
    if (way != CHAIN_INT8) return bf16_at(row, k);
    return (int8_t)(((const uint8_t *)row)[k] - chain_zero_byte());
}

/* Return the weight of state k for the first gate of unit j of a group. */
static double weight_at(const chain_t *call, const float *group, int k, int j) {
    const int64_t lanes = (int64_t)call->G * LANES;
    if (call->way == CHAIN_FP32) return group[k * lanes + j];
    if (call->way == CHAIN_BF16) return bf16_at(group, 2 * (k / 2 * lanes + j) + k % 2);
    if (call->way == CHAIN_AMX) return bf16_at(group, ((int64_t)(k / 32) * call->G * 16 + k % 32 / 2) * 32 + 2 * j + k % 2);
    return ((const int8_t *)(group + 2 * lanes))[4 * (k / 4 * lanes + j) + k % 4];
}

/* Require that the states after the first step are the products, in double, as their way rounds them. */
static void require_products(const chain_t *call, const sizes_t *sizes) {
    const float *after = call->states + call->B * sizes->of_row;
    /* What pads the rows of weights is random here, too. */
    const int rows = sizes->inner * (int[]){[CHAIN_FP32] = 1, [CHAIN_BF16] = 2, [CHAIN_INT8] = 4, [CHAIN_AMX] = 32}[call->way];
    for (int b = 0; b < call->B; b++)
        for (int unit = 0; unit < call->H; unit++) {
            const float *group = call->weights + unit / LANES * sizes->of_group, *row = call->states + b * sizes->of_row;
            double right = 0.0, allowed = 1e-5 * call->H;
            for (int k = 0; k < rows; k++) right += state_at(call->way, row, k) * weight_at(call, group, k, unit % LANES);
            if (call->way == CHAIN_BF16 || call->way == CHAIN_AMX) allowed += fabs(right) / 256;
            if (call->way == CHAIN_INT8) {
                right = fmin(fmax(127.0 * right * group[unit % LANES], -128.0), 127.0);
                allowed = 0.51;
            }
            const double found = state_at(call->way, after + b * sizes->of_row, unit);
            if (!(fabs(found - right) <= allowed)) {
                fprintf(stderr, "window %d, unit %d: %g is not %g\n", b, unit, found, right);
                exit(5);
            }
        }
}

/* Write scales by which sums of bytes become states, and first sums that take off what bytes have added. */
static void scale_bytes(const chain_t *call, float *group) {
    for (int i = 0; i < call->G * LANES; i++) {
        int32_t first_sum = 0;
        for (int k = 0; k < (call->H + 3) / 4 * 4; k++)
            first_sum -= chain_zero_byte() * (int32_t)weight_at(call, group + i / LANES * LANES, k, i % LANES);
        memcpy(group + call->G * LANES + i, &first_sum, sizeof first_sum);
        group[i] = 1e-5f * (random_value() + 1.0f);
    }
}

static void take_steps(int threads) {
    chain_t call = {.threads = threads, .B = from_to(1, 40), .H = from_to(1, 70), .G = from_to(3, 4), .steps = from_to(1, 4)};
    if (from_to(0, 5) == 0) call.B = from_to(250, 600), call.H = from_to(1, 20); /* more windows than a block has */
    /* Tiles of AMX are there in plain C. */
    do call.way = from_to(0, CHAIN_WAYS - 1);
    while (!CHAINS[call.way][0]);
    printf("chain by %d, threads %d of %u, B %d, H %d, G %d, steps %d\n", call.way, threads, given_threads, call.B, call.H,
           call.G, call.steps);
    fflush(stdout);
    const sizes_t sizes = sizes_of(&call);
    const int64_t groups = div_up(call.H, LANES), half = call.B * sizes.of_row;
    float *weights = packed_numbers("weights", groups * sizes.of_group);
    for (int64_t group = 0; call.way == CHAIN_INT8 && group < groups; group++)
        scale_bytes(&call, weights + group * sizes.of_group);
    call.weights = weights;
    call.states = packed_numbers("states", 2 * half);
    call.barriers = zeros("barriers", threads * barrier_bytes());
    chain(&call);
    if (call.way == CHAIN_FP32) require_numbers(call.states + call.steps % 2 * half, half, "states");
    if (call.steps == 1) require_products(&call, &sizes);
}

static void one_case(void) {
    void (*const calls[])(int threads) = {multiply_and_add, read_again, take_steps, take_steps};
    calls[from_to(0, 3)](from_to(1, MOST_THREADS));
}
