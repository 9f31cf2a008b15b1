/* Answers calls of a kernel's library that is for another kind of CPU; tests/kernels/emulated.py asks.
 *
 *   emulator emulated LIBRARY
 *
 * A request comes by standard input, its answer goes to standard output, numbers of 8 bytes throughout:
 *
 *   request: name (64 bytes), bytes of the struct (-1: is there such a function?), regions, pointers, the struct,
 *            of each region bytes and how far beyond a line of 64 bytes it begins,
 *            of each pointer where it lies (region, or -1 in the struct; offset) and where to (region; offset),
 *            what the regions hold
 *   answer:  what the function returned, what the regions hold now
 */
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void take(void *to, int64_t bytes) {
    if (fread(to, 1, (size_t)bytes, stdin) != (size_t)bytes) exit(2);
}

static void give(const void *from, int64_t bytes) {
    if (fwrite(from, 1, (size_t)bytes, stdout) != (size_t)bytes) exit(2);
}

typedef struct { int64_t bytes, beyond; } region_t;
typedef struct { int64_t in, at, to, offset; } pointer_t;

/* Answer one call: at each pointer's place the address that it has here. */
static void answer(int64_t (*function)(void *), int64_t bytes, int64_t regions, int64_t pointers) {
    char *call = malloc(bytes + 1);
    char **blocks = calloc(regions + 1, sizeof *blocks), **starts = calloc(regions + 1, sizeof *starts);
    region_t *of = calloc(regions + 1, sizeof *of);
    pointer_t *places = calloc(pointers + 1, sizeof *places);
    take(call, bytes);
    take(of, regions * (int64_t)sizeof *of);
    take(places, pointers * (int64_t)sizeof *places);
    for (int64_t i = 0; i < regions; i++) {
        blocks[i] = aligned_alloc(64, (size_t)(of[i].bytes + of[i].beyond + 64) / 64 * 64);
        starts[i] = blocks[i] + of[i].beyond;
        take(starts[i], of[i].bytes);
    }
    for (pointer_t *p = places; p < places + pointers; p++) {
        uint64_t address = (uint64_t)(uintptr_t)(starts[p->to] + p->offset);
        memcpy((p->in < 0 ? call : starts[p->in]) + p->at, &address, sizeof address);
    }
    int64_t returned = function(call);
    give(&returned, sizeof returned);
    for (int64_t i = 0; i < regions; i++) give(starts[i], of[i].bytes);
    for (int64_t i = 0; i < regions; i++) free(blocks[i]);
    free(call), free(blocks), free(starts), free(of), free(places);
}

int main(int count, char **arguments) {
    void *library = count == 2 ? dlopen(arguments[1], RTLD_NOW) : 0;
    if (!library) return fprintf(stderr, "%s\n", count == 2 ? dlerror() : "give a library"), 2;
    struct { char name[64]; int64_t bytes, regions, pointers; } asked;
    while (fread(&asked, 1, sizeof asked, stdin) == sizeof asked) {
        void *function = dlsym(library, asked.name);
        int64_t is_there = function != 0;
        if (asked.bytes < 0) give(&is_there, sizeof is_there);
        else answer((int64_t (*)(void *))function, asked.bytes, asked.regions, asked.pointers);
        fflush(stdout);
    }
    return 0;
}
