// What a kernel multiplies, as the precision has it. Who includes this has the constant `tf32`, see `rounds_to_tf32` in ways.py.

#include "warp.cuh"

// The lower 13 bits are cleared, since what follows is a product in float32, which would read them.
__device__ __forceinline__ A rounded(A value)
{
    if (tf32) return (A)__uint_as_float(tf32_bits((float)value) & 0xffffe000u);
    return value;
}
