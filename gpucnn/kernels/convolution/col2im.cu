// col2im: the transpose of im2col, as a gather.
//
// columns (channels * kernel_height * kernel_width, batch * output positions) -> images (batch, channels, height, width).
// A thread takes one element of the images and adds up the columns that were read from it, tap by tap: no two threads
// write one element, so there are no atomics, and the order of the sum is always the same.

extern "C" __global__ void col2im(
    const T* columns, T* images, long long size, int batch, int channels,
    int height, int width, int kernel_height, int kernel_width, int stride_height, int stride_width,
    int padding_top, int padding_left, int dilation_height, int dilation_width, int output_height, int output_width)
{
    const long long positions = (long long)batch * output_height * output_width;
    const long long threads = (long long)gridDim.x * blockDim.x;
    for (long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x; i < size; i += threads) {
        const int x = (int)(i % width);
        const int y = (int)(i / width % height);
        const long long plane = i / width / height;
        const int channel = (int)(plane % channels);
        const long long image = plane / channels;
        const T* taps = columns + (long long)channel * kernel_height * kernel_width * positions;
        A total = 0;
        for (int tap_row = 0; tap_row < kernel_height; ++tap_row) {
            const int from_top = y + padding_top - tap_row * dilation_height;
            if (from_top < 0 || from_top % stride_height != 0 || from_top / stride_height >= output_height) continue;
            const long long row = image * output_height + from_top / stride_height;
            for (int tap_column = 0; tap_column < kernel_width; ++tap_column) {
                const int from_left = x + padding_left - tap_column * dilation_width;
                if (from_left < 0 || from_left % stride_width != 0 || from_left / stride_width >= output_width) continue;
                const long long tap = (long long)tap_row * kernel_width + tap_column;
                total += (A)taps[tap * positions + row * output_width + from_left / stride_width];
            }
        }
        images[i] = (T)total;
    }
}
