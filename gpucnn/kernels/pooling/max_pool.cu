// Max pooling and its gradient. A plane is one (height, width) image of one channel; `size` counts all planes together.
//
// Padding never wins, the first maximum wins a tie, and the first NaN wins its window.

extern "C" __global__ void max_pool(
    const T* images, T* output, int* argmax, I size,
    Divisor height, Divisor width, int kernel_height, int kernel_width, Divisor stride_height, Divisor stride_width,
    int padding_top, int padding_left, int dilation_height, int dilation_width,
    Divisor output_height, Divisor output_width)
{
    const I threads = gridDim.x * blockDim.x;
    for (I i = blockIdx.x * blockDim.x + threadIdx.x; i < size; i += threads) {
        const int left = i % output_width * stride_width.value - padding_left;
        const int top = i / output_width % output_height * stride_height.value - padding_top;
        const T* plane = images + i / output_width / output_height * height.value * width.value;
        A best = (A)__int_as_float(0xff800000);  // minus infinity: NVRTC has no INFINITY
        int winner = -1;
        for (int tap_row = 0; tap_row < kernel_height; ++tap_row) {
            const unsigned y = top + tap_row * dilation_height;
            if (y >= height.value) continue;  // what is above or left of the image is very large
            for (int tap_column = 0; tap_column < kernel_width; ++tap_column) {
                const unsigned x = left + tap_column * dilation_width;
                if (x >= width.value) continue;
                const int index = y * width.value + x;
                const A value = (A)plane[index];
                // The first element wins even if it is minus infinity; a NaN wins, and is beaten by nothing.
                if (winner < 0 || value > best || (value != value && best == best)) {
                    best = value;
                    winner = index;
                }
            }
        }
        output[i] = (T)best;
        if (argmax) argmax[i] = winner;
    }
}

// The argmax scatter, for windows that do not overlap. The plane is cut into cells, one a window, that reach from its
// start to that of the next; a thread writes its whole cell: the gradient at the winner, zero elsewhere. So there are
// no atomics, and nothing has to be cleared first. Cells without a window, at the end of the plane, are all zero.
extern "C" __global__ void max_pool_scatter(
    const T* gradient, const int* argmax, T* images, I size, Divisor cell_rows, Divisor cell_columns,
    int height, int width, int stride_height, int stride_width, int padding_top, int padding_left,
    int output_height, int output_width)
{
    const I threads = gridDim.x * blockDim.x;
    for (I i = blockIdx.x * blockDim.x + threadIdx.x; i < size; i += threads) {
        const int column = i % cell_columns;
        const int row = i / cell_columns % cell_rows;
        const I plane = i / cell_columns / cell_rows;
        const bool window = row < output_height && column < output_width;
        const I output = (plane * output_height + row) * output_width + column;
        const int winner = window ? argmax[output] : -1;
        const int top = row * stride_height - padding_top, left = column * stride_width - padding_left;
        for (int y = max(top, 0); y < min(top + stride_height, height); ++y) {
            for (int x = max(left, 0); x < min(left + stride_width, width); ++x) {
                const int index = y * width + x;
                images[plane * height * width + index] = index == winner ? gradient[output] : (T)0;
            }
        }
    }
}

// The same for any windows, as a gather: a thread takes one element of the images and adds up the gradients of the
// windows that it won, in a fixed order.
extern "C" __global__ void max_pool_gather(
    const T* gradient, const int* argmax, T* images, I size,
    Divisor height, Divisor width, int kernel_height, int kernel_width, Divisor stride_height, Divisor stride_width,
    int padding_top, int padding_left, int dilation_height, int dilation_width,
    Divisor output_height, Divisor output_width)
{
    const I threads = gridDim.x * blockDim.x;
    for (I i = blockIdx.x * blockDim.x + threadIdx.x; i < size; i += threads) {
        const int x = i % width;
        const int y = i / width % height;
        const I plane = i / width / height;
        A total = 0;
        for (int tap_row = 0; tap_row < kernel_height; ++tap_row) {
            const int from_top = y + padding_top - tap_row * dilation_height;
            if (from_top < 0) continue;
            const I row = (I)from_top / stride_height;
            if (row * stride_height.value != from_top || row >= output_height.value) continue;
            for (int tap_column = 0; tap_column < kernel_width; ++tap_column) {
                const int from_left = x + padding_left - tap_column * dilation_width;
                if (from_left < 0) continue;
                const I column = (I)from_left / stride_width;
                if (column * stride_width.value != from_left || column >= output_width.value) continue;
                const I output = (plane * output_height.value + row) * output_width.value + column;
                if (argmax[output] == y * (int)width.value + x) total += (A)gradient[output];
            }
        }
        images[i] = (T)total;
    }
}
