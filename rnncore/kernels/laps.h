/* The phases of a kernel's call, timed inside it where its caller profiles, and for it alone.
 *
 * Each thread has a stopwatch of its own. A lap ends a phase and begins the next, so that every moment of a thread belongs
 * to one phase. What of the call no lap accounts for is a thread's wait: for its own start, for work that there is none of,
 * and for the others' end.
 *
 * A function that is always inlined and gets a literal null for its laps has no trace of them in the machine's code.
 */
#ifndef LAPS_H
#define LAPS_H
#include <stdint.h>
#include <time.h>

#include "sizes.h"

/* As PHASES of rnncore.kernels.laps has them. */
enum { LAYOUT, INPUT_PRODUCTS, STATE_PRODUCTS, GATES, DROPOUT, HEAD, BARRIERS, ENDS, PHASES };

typedef struct {
    int64_t at, ticks[PHASES], times[PHASES];
} laps_t;

typedef struct {
    int64_t ticks;
    struct timespec time;
} moment_t;

/* Return the clock of the core, once all that was asked for before is done: a product whose sums are still on their way
 * would be counted with what comes next. */
INLINE int64_t ticks_now(void) {
#if defined(__x86_64__)
    uint32_t low, high;
    __asm__ volatile("lfence\n\trdtsc" : "=a"(low), "=d"(high) : : "memory");
    return (int64_t)((uint64_t)high << 32 | low);
#elif defined(__aarch64__)
    int64_t ticks;
    __asm__ volatile("isb\n\tmrs %0, cntvct_el0" : "=r"(ticks) : : "memory");
    return ticks;
#else
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    __asm__ volatile("" : : : "memory");
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
#endif
}

INLINE moment_t moment_now(void) {
    moment_t moment;
    clock_gettime(CLOCK_MONOTONIC, &moment.time);
    moment.ticks = ticks_now();
    return moment;
}

INLINE laps_t *start_laps(laps_t *laps) {
    *laps = (laps_t){.at = ticks_now()};
    return laps;
}

INLINE void lap(laps_t *laps, int phase) {
    if (!laps) return;
    int64_t now = ticks_now();
    laps->ticks[phase] += now - laps->at;
    laps->times[phase]++;
    laps->at = now;
}

/* Add a thread's ticks, and how often each phase ran, to its own row of phases (threads, PHASES, 2). */
static void keep_laps(const laps_t *laps, double *phases, int thread) {
    double *mine = phases + (int64_t)thread * PHASES * 2;
    for (int phase = 0; phase < PHASES; phase++) {
        mine[2 * phase] += laps->ticks[phase];
        mine[2 * phase + 1] += laps->times[phase];
    }
}

/* Once all threads are done: bring ticks into seconds, by how far both clocks went meanwhile, and add what a thread waited.
 * Where cores' clocks differ, a thread that moves may find less than nothing: that counts as nothing. */
static void end_laps(moment_t begun, double *phases, int threads) {
    moment_t ended = moment_now();
    double seconds = ended.time.tv_sec - begun.time.tv_sec + 1e-9 * (ended.time.tv_nsec - begun.time.tv_nsec);
    double elapsed = ended.ticks - begun.ticks;
    for (int thread = 0; thread < threads; thread++) {
        double *mine = phases + (int64_t)thread * PHASES * 2, waited = elapsed;
        for (int phase = 0; phase < ENDS; phase++) waited -= mine[2 * phase];
        mine[2 * ENDS] = waited;
        mine[2 * ENDS + 1] = 1.0;
        for (int phase = 0; phase < PHASES; phase++) {
            double ticks = mine[2 * phase];
            mine[2 * phase] = ticks > 0.0 && elapsed > 0.0 ? ticks * seconds / elapsed : 0.0;
        }
    }
}
#endif
