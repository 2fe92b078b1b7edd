// float32 to bfloat16: rounded, and held in float32 as before.

extern "C" __global__ void round_bf16(const float* values, float* found, I size)
{
    const I threads = gridDim.x * blockDim.x;
    for (I i = blockIdx.x * blockDim.x + threadIdx.x; i < size; i += threads) found[i] = (float)BF16(values[i]);
}
