// float32 and bfloat16: rounded and held in float32 as before, or in two bytes, as kernels pass it on; and back.

extern "C" __global__ void round_bf16(const float* values, float* found, I size)
{
    const I threads = gridDim.x * blockDim.x;
    for (I i = blockIdx.x * blockDim.x + threadIdx.x; i < size; i += threads) found[i] = (float)BF16(values[i]);
}

extern "C" __global__ void narrow(const A* values, T* found, I size)
{
    const I threads = gridDim.x * blockDim.x;
    for (I i = blockIdx.x * blockDim.x + threadIdx.x; i < size; i += threads) found[i] = (T)values[i];
}

extern "C" __global__ void widen(const T* values, A* found, I size)
{
    const I threads = gridDim.x * blockDim.x;
    for (I i = blockIdx.x * blockDim.x + threadIdx.x; i < size; i += threads) found[i] = (A)values[i];
}
