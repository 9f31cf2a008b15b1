/* Calls of a kernel with random shapes, as a compiler's sanitizers watch: what those of all kernels share. Each of
 * sanitized_*.c brings one_case(), and is a program; tests/kernels/test_kernels_sanitized.py compiles and runs them.
 *
 *   program SEED CASES [FAULT]
 *
 * makes as many calls, whose seeds follow one another; the seed of a call is printed before it. All memory has exactly the
 * size that a call asks for, so that a sanitizer sees what is read or written beside it, and begins as NaN where a call is to
 * write it. Threads are those of POSIX, in place of a library of OpenMP that no sanitizer looks into.
 *
 * FAULT plants one, which a sanitizer has to find in the kernel: `short:NAME`, memory of that name ends a float too early;
 * `odd:NAME`, it begins one byte too late; `huge`, a size at which whole numbers overflow; `no barrier`, nobody waits;
 * `no order`, threads wait, but what one wrote is not there for the others.
 *
 * Exit code 3: a number is none. 4: an equal call gave other bits. 5: a product is another.
 */
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "plain_instructions.h"

/* ---------------------------------------------------------------------------------------------------------------- faults */

static const char *fault = "";

/* Return whether a fault is planted, of the memory of a name where it is one of memory. */
static int is_planted(const char *kind, const char *name) {
    size_t length = strlen(kind);
    return !strncmp(fault, kind, length) && !strcmp(fault + length, name);
}

static memory_order order_or_none(memory_order order) { return is_planted("no order", "") ? memory_order_relaxed : order; }

/* A name is not exchanged once more in what it is exchanged for. */
#define memory_order_acquire order_or_none(memory_order_acquire)
#define memory_order_release order_or_none(memory_order_release)
#define memory_order_acq_rel order_or_none(memory_order_acq_rel)
#include "team.h"
#define team_barrier(barrier, size, laps) (is_planted("no barrier", "") ? (void)0 : team_barrier(barrier, size, laps))

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

int omp_get_thread_num(void) { return self ? self->number : 0; }
int omp_get_num_threads(void) { return self ? self->count : 1; }
void GOMP_barrier(void) {
    if (self && !is_planted("no barrier", "")) pthread_barrier_wait(&together);
}

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
    self = 0;
    for (unsigned i = 1; i < threads; i++) pthread_join(others[i], 0);
    pthread_barrier_destroy(&together);
}

/* ------------------------------------------------------------------------------------------------------- random numbers */

static uint64_t seed;

/* Vigna's splitmix64: seeds that follow one another give numbers that have nothing to do with one another. */
static uint32_t random_bits(void) {
    uint64_t z = seed += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return (uint32_t)(z >> 32);
}

static int from_to(int low, int high) { return low + (int)(random_bits() % (uint32_t)(high - low + 1)); }

/* From -0.5 to 0.5. */
static float random_value(void) { return (float)random_bits() / 4294967296.0f - 0.5f; }

/* A random value whose bits are two values of bf16 as well; as bytes any, and as a whole number less than half the largest. */
static float random_pair(void) {
    float values[2] = {random_value(), random_value()};
    uint32_t bits[2];
    memcpy(bits, values, sizeof bits);
    bits[0] = (bits[0] & 0xffff0000u) | bits[1] >> 16;
    memcpy(values, bits, sizeof(float));
    return values[0];
}

/* ---------------------------------------------------------------------------------------------------------------- memory */

static void *held[64];
static int held_count;

/* Return memory of exactly so many bytes, whose first lies `beyond` bytes beyond a line of 64. */
static void *room(const char *name, int64_t bytes, int64_t beyond) {
    void *at;
    bytes -= 4 * is_planted("short:", name);
    beyond += is_planted("odd:", name);
    if (held_count == 64 || posix_memalign(&at, 64, (size_t)(bytes + beyond))) abort();
    held[held_count++] = at;
    memset((char *)at + beyond, 0xff, (size_t)bytes); /* NaN, as float and as double */
    return (char *)at + beyond;
}

static void free_all(void) {
    while (held_count) free(held[--held_count]);
}

static float *unset(const char *name, int64_t count) { return room(name, 4 * count, 0); }

static void *zeros(const char *name, int64_t bytes) {
    void *at = room(name, bytes, 0);
    return memset(at, 0, (size_t)bytes - 4 * is_planted("short:", name));
}

static void fill(const char *name, float *x, int64_t count) {
    for (int64_t i = 0; i < count - is_planted("short:", name); i++) {
        float value = random_pair();
        memcpy(x + i, &value, sizeof value);
    }
}

/* Random numbers, at the beginning of a line. */
static float *packed_numbers(const char *name, int64_t count) {
    float *x = unset(name, count);
    fill(name, x, count);
    return x;
}

/* Random numbers, at any address of a float. */
static float *numbers(const char *name, int64_t count) {
    float *x = room(name, 4 * count, 4 * from_to(0, 1));
    fill(name, x, count);
    return x;
}

/* What no arithmetic of floats is right about, in some place. */
static void put_odd_values(float *x, int64_t count) {
    const float odd[] = {NAN, INFINITY, -INFINITY, 3e38f, -3e38f, 1e-40f, -0.0f};
    for (unsigned i = 0; i < sizeof odd / sizeof *odd; i++) x[random_bits() % (uint64_t)count] = odd[i];
}

static void require_numbers(const float *x, int64_t count, const char *what) {
    for (int64_t i = 0; i < count; i++)
        if (x[i] - x[i] != 0.0f) {
            fprintf(stderr, "%s: value %lld of %lld is no number\n", what, (long long)i, (long long)count);
            exit(3);
        }
}

static void require_equal(const void *one, const void *other, int64_t bytes, const char *what) {
    if (memcmp(one, other, (size_t)bytes)) fprintf(stderr, "%s: other bits\n", what), exit(4);
}

/* ----------------------------------------------------------------------------------------------------------------- cases */

static void one_case(void);

int main(int count, char **arguments) {
    if (count != 3 && count != 4) return fprintf(stderr, "give a seed, how many cases, and a fault or none\n"), 2;
    const uint64_t first = strtoull(arguments[1], 0, 10), cases = strtoull(arguments[2], 0, 10);
    if (count == 4) fault = arguments[3];
    for (uint64_t i = 0; i < cases; i++) {
        seed = first + i;
        printf("seed %llu: ", (unsigned long long)seed);
        given_threads = (unsigned)(from_to(0, 3) ? MOST_THREADS : from_to(1, MOST_THREADS));
        one_case();
        free_all();
    }
    printf("%llu cases\n", (unsigned long long)cases);
    return 0;
}
