// The average of weights follows them: average += share * (weight - average).

extern "C" __global__ void average(T* averages, const T* weights, const T* share, long long size)
{
    const long long threads = (long long)gridDim.x * blockDim.x;
    for (long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x; i < size; i += threads)
        averages[i] = (T)((A)averages[i] + ((A)weights[i] - (A)averages[i]) * (A)share[0]);
}
