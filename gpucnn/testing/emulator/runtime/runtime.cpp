// The half of the emulator that is no kernel's: built once for kernels with checks, once for those without.
//
// Blocks run one after another, the threads of a block in turn, all on the OS thread that calls: an order that is
// chosen and can be repeated. The state is global; Python lets one launch run at a time.
#if defined(__SSE__)
#include <xmmintrin.h>
#endif

#include "scheduler.h"
#ifdef EMULATOR_CHECKS
#include "checks.h"
#endif

namespace emulator {

alignas(128) char gpucnn_emulator_dynamic_shared[MAX_DYNAMIC_SHARED];

#ifndef EMULATOR_CHECKS
void before_atomic(void*, unsigned, void*) {}
void before_matrix_row(const void*) {}

static void check_start(const Copy&) {}
static void check_arrival(const Copy&) {}
static void start_block_checks() {}
#endif

// Takes denormal numbers for zero, as CuPy compiles with -ftz=true; the caller's setting comes back at the end.
class FlushDenormals {
#if defined(__SSE__)
    static constexpr unsigned FLUSH_TO_ZERO = 0x8000, DENORMALS_ARE_ZERO = 0x0040;
    const unsigned before = _mm_getcsr();

public:
    FlushDenormals() { _mm_setcsr(before | FLUSH_TO_ZERO | DENORMALS_ARE_ZERO); }
    ~FlushDenormals() { _mm_setcsr(before); }
#else
public:
    FlushDenormals() {}  // elsewhere denormals stay
#endif
};

}  // namespace emulator

// Runs a kernel. Returns null, or what went wrong: text that stays valid until the next launch.
extern "C" EMULATOR_EXPORT const char* gpucnn_emulator_launch(const emulator::Launch* launch) {
    using namespace emulator;
    emulator::launch = launch;
    gridDim = {launch->grid[0], launch->grid[1], launch->grid[2]};
    blockDim = {launch->block[0], launch->block[1], launch->block[2]};
    thread_count = launch->block[0] * launch->block[1] * launch->block[2];
    failure.clear();
    prepare_turns();
    {
        FlushDenormals flush;
#ifdef EMULATOR_CHECKS
        start_checks();
        run_blocks();
        end_checks();
#else
        run_blocks();
#endif
    }
    if (!failed()) return nullptr;
    abandon_fibers();
    return failure.c_str();
}
