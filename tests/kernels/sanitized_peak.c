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

static void take_steps(int threads) {
    chain_t call = {.threads = threads, .B = from_to(1, 40), .H = from_to(1, 70), .G = from_to(3, 4), .steps = from_to(1, 4)};
    if (from_to(0, 5) == 0) call.B = from_to(250, 600), call.H = from_to(1, 20); /* more windows than a block has */
    printf("chain, threads %d of %u, B %d, H %d, G %d, steps %d\n", threads, given_threads, call.B, call.H, call.G, call.steps);
    fflush(stdout);
    const int64_t groups = div_up(call.H, LANES), half = call.B * groups * LANES;
    call.weights = packed_numbers("weights", groups * call.H * call.G * LANES);
    call.states = unset("states", 2 * half);
    for (int64_t i = 0; i < half; i++) {
        float value = random_value();
        memcpy(call.states + i, &value, sizeof value);
    }
    call.barriers = zeros("barriers", threads * barrier_bytes());
    chain(&call);
    require_numbers(call.states + call.steps % 2 * half, half, "states");
}

static void one_case(void) {
    void (*const calls[])(int threads) = {multiply_and_add, read_again, take_steps, take_steps};
    calls[from_to(0, 3)](from_to(1, MOST_THREADS));
}
