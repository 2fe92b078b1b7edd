// Sums of rows: one block a row, shuffles within each warp, dynamic shared memory between them.
__device__ __forceinline__ float warp_sum(float value)
{
    #pragma unroll
    for (int distance = 16; distance > 0; distance /= 2)
        value += __shfl_down_sync(0xffffffffu, value, distance);
    return value;
}

extern "C" __global__ void row_sum(const float* __restrict__ matrix, float* __restrict__ sums, int columns)
{
    extern __shared__ float warp_sums[];  // one a warp
    const int lane = threadIdx.x % warpSize;
    const int warp = threadIdx.x / warpSize;
    const int warps = (blockDim.x + warpSize - 1) / warpSize;
    float sum = 0.0f;
    for (int i = threadIdx.x; i < columns; i += blockDim.x)
        sum += matrix[blockIdx.x * columns + i];
    sum = warp_sum(sum);
    if (lane == 0)
        warp_sums[warp] = sum;
    __syncthreads();
    if (warp == 0) {
        sum = lane < warps ? warp_sums[lane] : 0.0f;
        sum = warp_sum(sum);
        if (lane == 0)
            sums[blockIdx.x] = sum;
    }
}
