// Average pooling and its gradient. A plane is one (height, width) image of one channel; `size` counts all planes together.
// What counts are the rows from first_row to below end_row, and columns alike: the image, with the padding or without.

// How many taps of a window that starts at `start` lie from `low` to below `high`: at least 1, as a window in the
// padding alone sums to zero.
__device__ int count_taps(int start, int kernel, int dilation, int low, int high)
{
    int count = 0;
    for (int tap = 0; tap < kernel; ++tap) {
        const int position = start + tap * dilation;
        count += position >= low && position < high;
    }
    return max(count, 1);
}

extern "C" __global__ void avg_pool(
    const T* images, T* output, I size, int first_row, int end_row, int first_column, int end_column,
    Divisor height, Divisor width, int kernel_height, int kernel_width, Divisor stride_height, Divisor stride_width,
    int padding_top, int padding_left, int dilation_height, int dilation_width,
    Divisor output_height, Divisor output_width)
{
    const I threads = gridDim.x * blockDim.x;
    for (I i = blockIdx.x * blockDim.x + threadIdx.x; i < size; i += threads) {
        const T* plane = images + i / output_width / output_height * height.value * width.value;
        const int left = i % output_width * stride_width.value - padding_left;
        const int top = i / output_width % output_height * stride_height.value - padding_top;
        A total = 0;
        for (int tap_row = 0; tap_row < kernel_height; ++tap_row) {
            const unsigned y = top + tap_row * dilation_height;
            if (y >= height.value) continue;  // what is above or left of the image is very large
            for (int tap_column = 0; tap_column < kernel_width; ++tap_column) {
                const unsigned x = left + tap_column * dilation_width;
                if (x < width.value) total += (A)plane[y * width.value + x];
            }
        }
        const int rows = count_taps(top, kernel_height, dilation_height, first_row, end_row);
        const int columns = count_taps(left, kernel_width, dilation_width, first_column, end_column);
        output[i] = (T)(total / ((A)rows * (A)columns));
    }
}

// A gather: a thread takes one element of the images and adds up its shares of all windows over it.
extern "C" __global__ void avg_pool_gradient(
    const T* gradient, T* images, I size, int first_row, int end_row, int first_column, int end_column,
    Divisor height, Divisor width, int kernel_height, int kernel_width, Divisor stride_height, Divisor stride_width,
    int padding_top, int padding_left, int dilation_height, int dilation_width,
    Divisor output_height, Divisor output_width)
{
    const I threads = gridDim.x * blockDim.x;
    for (I i = blockIdx.x * blockDim.x + threadIdx.x; i < size; i += threads) {
        const int x = i % width;
        const int y = i / width % height;
        const T* plane = gradient + i / width / height * output_height.value * output_width.value;
        A total = 0;
        for (int tap_row = 0; tap_row < kernel_height; ++tap_row) {
            const int from_top = y + padding_top - tap_row * dilation_height;
            if (from_top < 0) continue;
            const I row = (I)from_top / stride_height;
            if (row * stride_height.value != from_top || row >= output_height.value) continue;
            const int top = from_top - padding_top;
            const int rows = count_taps(top, kernel_height, dilation_height, first_row, end_row);
            for (int tap_column = 0; tap_column < kernel_width; ++tap_column) {
                const int from_left = x + padding_left - tap_column * dilation_width;
                if (from_left < 0) continue;
                const I column = (I)from_left / stride_width;
                if (column * stride_width.value != from_left || column >= output_width.value) continue;
                const int left = from_left - padding_left;
                const int columns = count_taps(left, kernel_width, dilation_width, first_column, end_column);
                total += (A)plane[row * output_width.value + column] / ((A)rows * (A)columns);
            }
        }
        images[i] = (T)total;
    }
}
