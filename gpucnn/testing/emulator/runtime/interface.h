// What kernels (device/) and the runtime (runtime/) agree on.
//
// It includes nothing: a kernel under NVRTC sees no standard library, so it must see none here either.
#pragma once

#define EMULATOR_EXPORT __attribute__((visibility("default")))

struct uint3 {
    unsigned x, y, z;
};

struct dim3 {
    unsigned x, y, z;
    constexpr dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};

namespace emulator {

constexpr int WARP_SIZE = 32;
constexpr int MAX_THREADS = 1024;
constexpr int MAX_DYNAMIC_SHARED = 48 << 10;
constexpr int MAX_SHUFFLED_BYTES = 16;

// A line of the .cu file.
struct Place {
    const char* file;
    int line;
};

enum class WarpOperation { synchronize, shuffle, ballot, together };

// A parameter's type as g++ writes it, and its size.
struct Parameter {
    const char* type;
    int size;
};

// One row of the table that each compiled .cu carries.
struct Kernel {
    const char* name;
    void (*invoke)(void (*function)(), void** arguments);
    void (*function)();
    const Parameter* parameters;
    int parameter_count;
    int launch_bound;  // of __launch_bounds__, 0 without
};

EMULATOR_EXPORT void wait_at_barrier(Place place);

// Exchanges a value of `size` bytes within the lanes of `mask`: for a shuffle, `output` becomes lane `source`'s input.
EMULATOR_EXPORT void warp_operation(WarpOperation operation, unsigned mask, const void* input, void* output, int size,
                                    int source, Place place);

// What all 32 lanes of a warp do in one instruction: each brings something of its `own`, and the last to come has `act`
// work on what all have brought. Fails if a lane is missing.
EMULATOR_EXPORT void together(const char* instruction, void (*act)(void* const* lanes), void* own, Place place);

// cp.async, its groups, and waiting for all of them but the `newest` last ones.
EMULATOR_EXPORT void start_copy(void* target, const void* source, int bytes, int given, Place place);
EMULATOR_EXPORT void commit_copies();
EMULATOR_EXPORT void wait_for_copies(unsigned newest, bool also_without_group);

// Checks the address of a row that ldmatrix is to read.
EMULATOR_EXPORT void before_matrix_row(const void* row);

// Checks an atomic access before it happens; `caller` is the code address that the report will name.
EMULATOR_EXPORT void before_atomic(void* address, unsigned size, void* caller);

[[noreturn]] EMULATOR_EXPORT void fail(const char* what, Place place);

// All `extern __shared__` arrays start here, as on a GPU.
extern "C" EMULATOR_EXPORT char gpucnn_emulator_dynamic_shared[];

}  // namespace emulator
