// The sum of every channel over images and positions: the gradient of a bias, and the total of a batch's losses.
//
// values (batch, channels, positions) -> sums (channels, parts). Each channel's elements are cut into `parts` stretches; a
// block adds up one stretch, in a fixed order, whatever else runs. A second launch, with positions = parts, adds the parts.

#define BLOCK 256

extern "C" __global__ void __launch_bounds__(BLOCK) channel_sums(
    const T* values, T* sums, int batch, int channels, long long positions, int parts)
{
    __shared__ A partial[BLOCK];
    const long long elements = batch * positions, length = (elements + parts - 1) / parts;
    for (long long task = blockIdx.x; task < (long long)channels * parts; task += gridDim.x) {
        const long long channel = task / parts, start = task % parts * length;
        const long long stop = min(start + length, elements);
        A total = 0;
        for (long long i = start + threadIdx.x; i < stop; i += BLOCK)
            total += (A)values[(i / positions * channels + channel) * positions + i % positions];
        partial[threadIdx.x] = total;
        __syncthreads();
        for (int half = BLOCK / 2; half > 0; half /= 2) {
            if (threadIdx.x < half) partial[threadIdx.x] += partial[threadIdx.x + half];
            __syncthreads();
        }
        // Only thread 0 writes partial[0], so the next task needs no barrier more.
        if (threadIdx.x == 0) sums[task] = (T)partial[0];
    }
}
