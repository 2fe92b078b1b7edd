// The sum of slices (count, filters, taps + 1), in a fixed order: of each slice the gradient of the filters, and that of their bias.
// A block has 32 neighbours, and for each of them as many threads as it has warps, which take every so many slices.

#define BLOCK 256
#define WARPS (BLOCK / 32)

extern "C" __global__ void __launch_bounds__(BLOCK) add_slices(
    const T* slices, T* weight_gradient, T* bias_gradient, I size, I count, Divisor columns)
{
    __shared__ A partial[BLOCK];
    const I lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    for (I first = blockIdx.x * 32; first < size; first += gridDim.x * 32) {
        const I i = first + lane;
        A sum = 0;
        for (I slice = warp; slice < count && i < size; slice += WARPS) sum += (A)slices[slice * size + i];
        partial[threadIdx.x] = sum;
        __syncthreads();
        if (warp == 0 && i < size) {
            A total = 0;
            for (int one = 0; one < WARPS; ++one) total += partial[one * 32 + lane];
            const I filter = i / columns, column = i % columns;
            if (column + 1 < columns.value)
                weight_gradient[i - filter] = (T)total;
            else if (bias_gradient)
                bias_gradient[filter] = (T)total;
        }
        __syncthreads();  // until the sums have been read
    }
}
