// Keywords and built-in variables.
#pragma once

#define __global__
#define __device__ static
#define __constant__ static
#define __host__
#define __forceinline__ inline
#define __noinline__ __attribute__((noinline))
#define __launch_bounds__(...)
#define __align__(bytes) __attribute__((aligned(bytes)))
#define __grid_constant__
// One block runs at a time, so a block's memory may be static. The dynamic kind, `extern __shared__`, is rewritten in
// source.py.
#define __shared__ static

typedef decltype(sizeof 0) size_t;
typedef decltype((char*)0 - (char*)0) ptrdiff_t;

// Constant for the thread that reads them: the runtime sets them whenever it goes on with a thread.
extern const uint3 threadIdx, blockIdx;
extern const dim3 blockDim, gridDim;
constexpr int warpSize = emulator::WARP_SIZE;

#define assert(condition) \
    ((condition) ? (void)0 : emulator::fail("assertion failed: " #condition, {__FILE__, __LINE__}))
#define __trap() emulator::fail("__trap()", {__FILE__, __LINE__})

extern "C" int printf(const char* format, ...);
