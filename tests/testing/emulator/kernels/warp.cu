// A product of tiles on tensor cores.
#include "../../../../gpucnn/kernels/warp.cuh"

extern "C" __global__ void product(const float* a, const float* b, float* d)
{
    const int lane = threadIdx.x % 32;
    unsigned left[4], right[2];
    float sums[4] = {};
    for (int i = 0; i < 4; ++i) left[i] = tf32_bits(a[(lane / 4 + i % 2 * 8) * 8 + lane % 4 + i / 2 * 4]);
    for (int i = 0; i < 2; ++i) right[i] = tf32_bits(b[(lane % 4 + i * 4) * 8 + lane / 4]);
    mma_tf32(sums, left, right);
    for (int i = 0; i < 4; ++i) d[(lane / 4 + i / 2 * 8) * 8 + lane % 4 * 2 + i % 2] = sums[i];
}
