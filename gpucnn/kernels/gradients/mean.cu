// The mean gradient of several batches: each counts by its images.

extern "C" __global__ void add_batch(T* total, const T* gradient, long long size, T images)
{
    const I threads = gridDim.x * blockDim.x;
    for (I i = blockIdx.x * blockDim.x + threadIdx.x; i < size; i += threads)
        total[i] = (T)((A)total[i] + (A)gradient[i] * (A)images);
}

// `gradient` becomes total / images, and `total` zero, for the next mean.
extern "C" __global__ void take_mean(T* total, T* gradient, const T* images, long long size)
{
    const I threads = gridDim.x * blockDim.x;
    for (I i = blockIdx.x * blockDim.x + threadIdx.x; i < size; i += threads) {
        gradient[i] = (T)((A)total[i] / (A)images[0]);
        total[i] = (T)0;
    }
}
