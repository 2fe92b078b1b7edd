// The gradient past a layer's ReLU, and its sums over images, which are the gradient of the bias, in one pass.
//
// gradient, output, passed (rows, columns); sums (columns). A block takes 32 columns; its 8 warps share out the rows, and
// meet in a fixed order.

#define COLUMNS 32
#define WARPS 8

extern "C" __global__ void __launch_bounds__(COLUMNS * WARPS) relu_sums(
    const T* gradient, const T* output, T* passed, T* sums, I rows, I columns)
{
    __shared__ A partial[WARPS][COLUMNS];
    const int place = threadIdx.x % COLUMNS, warp = threadIdx.x / COLUMNS;
    for (I first = blockIdx.x * COLUMNS; first < columns; first += gridDim.x * COLUMNS) {
        const I column = first + place;
        A total = 0;
        if (column < columns)
            for (I row = warp; row < rows; row += WARPS) {
                const I i = row * columns + column;
                const T value = (A)output[i] != 0 ? gradient[i] : (T)0;
                passed[i] = value;
                total += (A)value;
            }
        partial[warp][place] = total;
        __syncthreads();
        if (warp == 0 && column < columns) {
            for (int other = 1; other < WARPS; ++other) total += partial[other][place];
            sums[column] = (T)total;
        }
        __syncthreads();  // before the next columns' sums
    }
}
