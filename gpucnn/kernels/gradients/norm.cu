// The norm of gradients in float64, and what scales them so that it is `most` at most.
//
// Sums are made in a fixed order, without atomics: a block adds up the squares of one part, and one block all the parts.
// found (2): the norm, and the factor min(1, most / (norm + smallest)).

#define BLOCK 256

// The sum over a block's threads, in thread 0.
__device__ double block_sum(double value)
{
    __shared__ double partial[BLOCK];
    partial[threadIdx.x] = value;
    __syncthreads();
    for (int half = BLOCK / 2; half > 0; half /= 2) {
        if (threadIdx.x < half) partial[threadIdx.x] += partial[threadIdx.x + half];
        __syncthreads();
    }
    return partial[0];
}

extern "C" __global__ void __launch_bounds__(BLOCK) squares(const T* values, double* sums, long long size, int parts)
{
    const long long length = (size + parts - 1) / parts;
    for (int part = blockIdx.x; part < parts; part += gridDim.x) {
        const long long stop = min((part + 1) * length, size);
        double total = 0;
        for (long long i = part * length + threadIdx.x; i < stop; i += BLOCK) total += (double)values[i] * (double)values[i];
        total = block_sum(total);
        if (threadIdx.x == 0) sums[part] = total;
        __syncthreads();  // before the next part's sums
    }
}

extern "C" __global__ void __launch_bounds__(BLOCK) gradient_norm(
    const double* sums, double* found, int parts, double most, double smallest)
{
    if (blockIdx.x > 0) return;
    double total = 0;
    for (int part = threadIdx.x; part < parts; part += BLOCK) total += sums[part];
    total = sqrt(block_sum(total));
    if (threadIdx.x == 0) {
        const double factor = most / (total + smallest);
        found[0] = total;
        found[1] = factor > 1 ? 1 : factor;  // a NaN stays one
    }
}

extern "C" __global__ void scale_gradients(T* values, const double* found, long long size)
{
    const T factor = (T)found[1];
    const I threads = gridDim.x * blockDim.x;
    for (I i = blockIdx.x * blockDim.x + threadIdx.x; i < size; i += threads)
        values[i] = (T)((A)values[i] * (A)factor);
}
