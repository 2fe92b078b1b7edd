// The average of weights follows them: average += share * (weight - average).

extern "C" __global__ void average(T* averages, const T* weights, const T* share, long long size)
{
    const I threads = gridDim.x * blockDim.x;
    for (I i = blockIdx.x * blockDim.x + threadIdx.x; i < size; i += threads)
        averages[i] = (T)((A)averages[i] + ((A)weights[i] - (A)averages[i]) * (A)share[0]);
}
