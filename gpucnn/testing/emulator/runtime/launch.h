// The launch that is under way: what Python hands over, and the threads of the block that runs.
#pragma once
#include <stddef.h>
#include <stdint.h>

#include "report.h"

// The built-in variables that kernels read. Set whenever a thread starts or goes on.
EMULATOR_EXPORT uint3 threadIdx, blockIdx;
EMULATOR_EXPORT dim3 blockDim, gridDim;

namespace emulator {

enum RegionKind { WRITABLE, READ_ONLY, SHARED };

// A range of memory that the kernel may access. module.py has the same fields.
struct Region {
    const char* name;
    char* begin;
    size_t bytes;
    int element_bytes;
    int kind;  // RegionKind
    int alignment;  // that a GPU gives it; 0 where only the address tells
};

enum Order { FORWARD, REVERSE, RANDOM };

// module.py has the same fields.
struct Launch {
    const Kernel* kernel;
    void** arguments;
    const Region* regions;
    int region_count;
    unsigned grid[3];
    unsigned block[3];
    int order;  // Order
    unsigned seed;
    int find_races;
};

struct Fiber;

enum class State { not_started, ready, at_barrier, in_warp_operation, returned };

struct Thread {
    uint3 index;
    int linear;
    State state;
    Fiber* fiber;
    Place place;           // of the barrier or warp operation that it waits at
    unsigned warp_epoch;   // how many __syncwarp it has passed
    WarpOperation operation;
    unsigned mask;
    int source;            // lane that a shuffle reads
    int size;
    unsigned char input[MAX_SHUFFLED_BYTES], output[MAX_SHUFFLED_BYTES];
};

static const Launch* launch;
static Thread threads[MAX_THREADS];
static int thread_count;
static uint64_t block_number;
static unsigned epoch;   // how many barriers the block has passed
static Thread* current;  // the thread that runs

static uint3 block_index(uint64_t number) {
    return {(unsigned)(number % gridDim.x), (unsigned)(number / gridDim.x % gridDim.y),
            (unsigned)(number / gridDim.x / gridDim.y)};
}

static uint3 thread_index(int linear) {
    const unsigned n = linear;
    return {n % blockDim.x, n / blockDim.x % blockDim.y, n / blockDim.x / blockDim.y};
}

static std::string name_of(uint64_t block, int thread) {
    const uint3 b = block_index(block), t = thread_index(thread);
    return text("block (%u,%u,%u) thread (%u,%u,%u)", b.x, b.y, b.z, t.x, t.y, t.z);
}

static std::string name_of(const Thread& thread) { return name_of(block_number, thread.linear); }

}  // namespace emulator
