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
    const T* images, T* output, long long size, int first_row, int end_row, int first_column, int end_column,
    int height, int width, int kernel_height, int kernel_width, int stride_height, int stride_width,
    int padding_top, int padding_left, int dilation_height, int dilation_width, int output_height, int output_width)
{
    const long long threads = (long long)gridDim.x * blockDim.x;
    for (long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x; i < size; i += threads) {
        const int column = (int)(i % output_width);
        const int row = (int)(i / output_width % output_height);
        const T* plane = images + i / output_width / output_height * height * width;
        const int top = row * stride_height - padding_top, left = column * stride_width - padding_left;
        A total = 0;
        for (int tap_row = 0; tap_row < kernel_height; ++tap_row) {
            const int y = top + tap_row * dilation_height;
            if (y < 0 || y >= height) continue;
            for (int tap_column = 0; tap_column < kernel_width; ++tap_column) {
                const int x = left + tap_column * dilation_width;
                if (x >= 0 && x < width) total += (A)plane[(long long)y * width + x];
            }
        }
        const int rows = count_taps(top, kernel_height, dilation_height, first_row, end_row);
        const int columns = count_taps(left, kernel_width, dilation_width, first_column, end_column);
        output[i] = (T)(total / ((A)rows * (A)columns));
    }
}

// A gather: a thread takes one element of the images and adds up its shares of all windows over it.
extern "C" __global__ void avg_pool_gradient(
    const T* gradient, T* images, long long size, int first_row, int end_row, int first_column, int end_column,
    int height, int width, int kernel_height, int kernel_width, int stride_height, int stride_width,
    int padding_top, int padding_left, int dilation_height, int dilation_width, int output_height, int output_width)
{
    const long long threads = (long long)gridDim.x * blockDim.x;
    for (long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x; i < size; i += threads) {
        const int x = (int)(i % width);
        const int y = (int)(i / width % height);
        const T* plane = gradient + i / width / height * output_height * output_width;
        A total = 0;
        for (int tap_row = 0; tap_row < kernel_height; ++tap_row) {
            const int from_top = y + padding_top - tap_row * dilation_height;
            if (from_top < 0 || from_top % stride_height != 0 || from_top / stride_height >= output_height) continue;
            const int row = from_top / stride_height, top = from_top - padding_top;
            const int rows = count_taps(top, kernel_height, dilation_height, first_row, end_row);
            for (int tap_column = 0; tap_column < kernel_width; ++tap_column) {
                const int from_left = x + padding_left - tap_column * dilation_width;
                if (from_left < 0 || from_left % stride_width != 0 || from_left / stride_width >= output_width) continue;
                const int column = from_left / stride_width, left = from_left - padding_left;
                const int columns = count_taps(left, kernel_width, dilation_width, first_column, end_column);
                total += (A)plane[(long long)row * output_width + column] / ((A)rows * (A)columns);
            }
        }
        images[i] = (T)total;
    }
}
