// The sum of every channel over images and positions: the gradient of a bias, and the total of a batch's losses.
//
// values (batch, channels, positions) -> sums (channels, parts). Each channel's elements are cut into `parts` stretches of
// `length`; a block adds up one stretch, in a fixed order, whatever else runs. A second launch, with positions = parts,
// adds the parts.

#define BLOCK 256

extern "C" __global__ void __launch_bounds__(BLOCK) channel_sums(
    const T* values, A* sums, I elements, I channels, Divisor positions, Divisor parts, I length)
{
    __shared__ A partial[BLOCK];
    const I skipped = (channels - 1) * positions.value;  // from an image's channel to that of the next image
    for (I task = blockIdx.x; task < channels * parts.value; task += gridDim.x) {
        const I channel = task / parts, start = task % parts * length;
        const I stop = min(start + length, elements);
        const T* first = values + channel * positions.value;
        A total = 0;
        for (I i = start + threadIdx.x; i < stop; i += BLOCK) total += (A)first[i + i / positions * skipped];
        partial[threadIdx.x] = total;
        __syncthreads();
        for (int half = BLOCK / 2; half > 0; half /= 2) {
            if (threadIdx.x < half) partial[threadIdx.x] += partial[threadIdx.x + half];
            __syncthreads();
        }
        // Only thread 0 writes partial[0], so the next task needs no barrier more.
        if (threadIdx.x == 0) sums[task] = partial[0];
    }
}
