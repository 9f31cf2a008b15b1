/* Threads: a region of them that is timed where its caller profiles, and the barrier of those that work on the same windows.
 *
 * They are OpenMP's, from the pool that torch's own kernels use: a second one would spin beside it.
 */
#ifndef TEAM_H
#define TEAM_H
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>

#include "laps.h"
#include "sizes.h"

/* All that is used of OpenMP, declared here and called by name. GNU's library, LLVM's and Intel's give it out: any compiler
 * makes code for the one that torch carries, and needs neither a header of OpenMP nor a library. GOMP_parallel runs `region`
 * on `threads` threads of the pool, or as many as the system gives; of flags there are none. At GOMP_barrier all of them wait. */
int omp_get_thread_num(void);
int omp_get_num_threads(void);
void GOMP_parallel(void (*region)(void *given), void *given, unsigned threads, unsigned flags);
void GOMP_barrier(void);

/* What a thread does of a call; its laps are null where nothing is timed. */
typedef void (*work_t)(const void *call, laps_t *laps);

typedef struct {
    work_t work;
    const void *call;
    double *phases;
    int given; /* threads that the system gave */
} region_t;

static void run_region(void *given) {
    region_t *region = given;
    laps_t watch, *laps = region->phases ? start_laps(&watch) : 0;
    region->work(region->call, laps);
    if (laps) keep_laps(laps, region->phases, omp_get_thread_num());
    if (omp_get_thread_num() == 0) region->given = omp_get_num_threads();
}

/* Run `work` on `threads` threads, or on as many as the system gives.
 *
 * phases: null; or (threads, PHASES, 2), zeros, which take the seconds of each thread in each phase, and how often it ran.
 * Rows of threads that the system does not give stay zeros. */
static void run_threads(work_t work, const void *call, int threads, double *phases) {
    region_t region = {.work = work, .call = call, .phases = phases};
    moment_t begun = phases ? moment_now() : (moment_t){0};
    /* One thread is a team already, where its caller is in none: to form another takes a part of a microsecond. */
    if (threads == 1 && omp_get_num_threads() == 1) run_region(&region);
    else GOMP_parallel(run_region, &region, threads, 0);
    if (phases) end_laps(begun, phases, region.given);
}

/* Where the threads of a team wait for one another; on a cache line of its own, as the waiting read it all the time. */
typedef struct {
    atomic_int arrived, round;
    atomic_int crowded; /* 1 once somebody has waited in vain: there are more threads than cores */
    char padding[4 * LINE_FLOATS - 3 * sizeof(atomic_int)];
} barrier_t;

/* How often a thread looks before it offers its core to others: 0.1 to 0.3 ms, by how long the CPU's pause is. The shares of
 * an hour differ by microseconds, so whoever is waited for that long is not running: there are more threads than cores, and
 * it may need this one's. To yield earlier would cost a system call at every barrier, one or two microseconds, as long as
 * an hour of a small network takes. Once one has waited that long, all threads of the team yield at once for the rest of the
 * call: eight threads on one core would else spend this time at every barrier. */
#define SPINS 4000

/* Wait until all threads of a team have arrived. What they wrote before is then there for all to read: each releases it by
 * its arrival, the last acquires it with the count and releases it once more by the round, which the others acquire.
 *
 * The last to arrive sets the count back before it raises the round: a thread that sees the new round may arrive at once at
 * the next barrier. */
static void wait_at_barrier(barrier_t *barrier, int size) {
    int round = atomic_load_explicit(&barrier->round, memory_order_relaxed);
    if (atomic_fetch_add_explicit(&barrier->arrived, 1, memory_order_acq_rel) == size - 1) {
        atomic_store_explicit(&barrier->arrived, 0, memory_order_relaxed);
        atomic_store_explicit(&barrier->round, round + 1, memory_order_release);
        return;
    }
    int spins = atomic_load_explicit(&barrier->crowded, memory_order_relaxed) ? SPINS : 0;
    for (; atomic_load_explicit(&barrier->round, memory_order_acquire) == round; spins += spins < SPINS) {
#if defined(__x86_64__)
        __builtin_ia32_pause();
#endif
        if (spins < SPINS) continue;
        atomic_store_explicit(&barrier->crowded, 1, memory_order_relaxed);
        sched_yield();
    }
}

INLINE void team_barrier(barrier_t *barrier, int size, laps_t *laps) {
    if (size == 1) return;
    wait_at_barrier(barrier, size);
    lap(laps, BARRIERS);
}
#endif
