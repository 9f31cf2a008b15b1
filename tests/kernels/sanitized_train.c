/* Passes of the training kernel, forward and back, in every precision, for sanitized.h. */
#include "sanitized.h"

#include "train.c"

static void one_case(void) {
    const int lstm = from_to(0, 1), gates = lstm ? 4 : 3, bf16 = has_pairs() && from_to(0, 1), is_odd = from_to(0, 7) == 0 && !*fault;
    const int is_timed = from_to(0, 1), threads = from_to(1, MOST_THREADS), B = from_to(1, 40), T = from_to(1, 5);
    const int F = from_to(1, 70), H = from_to(1, 70), block = from_to(1, B), first_out = from_to(0, T - 1);
    const int64_t hour = (int64_t)B * H, phases = threads * PHASES * 16;
    const float drops[] = {0.0f, 0.0f, 0.4f, 1.0f}, dropped = drops[from_to(0, 3)];
    printf("%s in %s, threads %d of %u, B %d, T %d, F %d, H %d, block %d, dropped %g, %s, %s\n", lstm ? "LSTM" : "GRU",
           bf16 ? "bf16" : "fp32", threads, given_threads, B, T, F, H, block, dropped, is_timed ? "timed" : "untimed",
           is_odd ? "odd values" : "numbers");
    fflush(stdout);

    float *x = numbers("x", T * (int64_t)B * F), *h = unset("h", (T + 1) * hour);
    float *cell = lstm ? unset("cell", (T + 1) * hour) : 0;
    if (is_odd) put_odd_values(x, T * (int64_t)B * F);
    memset(h, 0, sizeof(float) * hour);
    if (lstm) memset(cell, 0, sizeof(float) * hour);
    const int windows_first = from_to(0, 1);
    layer_forward_t forward = {
        .threads = threads, .B = B, .T = T, .F = F, .H = H, .block = block, .bf16 = bf16, .x = x,
        .x_window = windows_first ? T * F : F, .x_hour = windows_first ? F : B * F,
        .w_x = numbers("w_x", (int64_t)gates * H * F), .w_h = numbers("w_h", (int64_t)gates * H * H),
        .bias = numbers("bias", 4 * H), .h = h, .cell = cell, .gates = unset("gates", T * 4 * hour), .dropped = dropped,
        .seed = random_bits(), .phases = is_timed ? zeros("phases", phases) : 0};
    if (is_planted("huge", "")) forward.H = INT32_MAX;
    forward.workspace = unset("workspace", layer_workspace_floats(&forward));
    layer_forward(&forward);

    /* A process that was forked in between has one thread. */
    const int threads_back = from_to(0, 3) ? threads : 1;
    float *grad_x = from_to(0, 2) ? unset("grad_x", T * (int64_t)B * F) : 0;
    layer_backward_t backward = {
        .threads = threads_back, .B = B, .T = T, .F = F, .H = H, .block = block, .bf16 = bf16, .first_out = first_out, .x = x,
        .x_window = forward.x_window, .x_hour = forward.x_hour, .w_x = forward.w_x, .w_h = forward.w_h, .h = h, .cell = cell,
        .gates = forward.gates, .grad_out = numbers("grad_out", (T - first_out) * hour), .grad = zeros("grad", 4 * hour),
        .grad_cell = lstm ? zeros("grad_cell", 4 * hour) : 0, .grad_x = grad_x,
        .grad_w_x = zeros("grad_w_x", 4 * (int64_t)threads_back * F * gates * H),
        .grad_w_h = zeros("grad_w_h", 4 * (int64_t)threads_back * H * gates * H),
        .grad_bias = zeros("grad_bias", 8 * threads_back * 4 * H), .workspace = forward.workspace, .dropped = dropped,
        .seed = forward.seed, .phases = is_timed ? zeros("phases", phases) : 0};
    layer_backward(&backward);
    if (is_odd) return;
    require_numbers(h, (T + 1) * hour, "states");
    if (grad_x) require_numbers(grad_x, T * (int64_t)B * F, "gradients of inputs");
    require_numbers(backward.grad_w_x, (int64_t)threads_back * F * gates * H, "gradients of the inputs' weights");
    require_numbers(backward.grad_w_h, (int64_t)threads_back * H * gates * H, "gradients of the states' weights");
}
