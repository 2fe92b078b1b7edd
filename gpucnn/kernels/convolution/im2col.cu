// im2col: lay every window of the images out as a column.
//
// images (batch, channels, height, width) -> columns (channels * kernel_height * kernel_width, batch * output positions),
// zeros where a window lies in the padding. A thread takes one channel at one output position and writes all its taps:
// neighbouring threads write neighbouring elements, and the divisions are made once for all taps.

extern "C" __global__ void im2col(
    const T* images, T* columns, long long size, int batch, int channels,
    int height, int width, int kernel_height, int kernel_width, int stride_height, int stride_width,
    int padding_top, int padding_left, int dilation_height, int dilation_width, int output_height, int output_width)
{
    const long long positions = (long long)batch * output_height * output_width;
    const long long threads = (long long)gridDim.x * blockDim.x;
    for (long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x; i < size; i += threads) {
        const int channel = (int)(i / positions);
        const long long position = i % positions;
        const int column = (int)(position % output_width);
        const int row = (int)(position / output_width % output_height);
        const long long image = position / output_width / output_height;
        const T* plane = images + (image * channels + channel) * height * width;
        T* target = columns + (long long)channel * kernel_height * kernel_width * positions + position;
        for (int tap_row = 0; tap_row < kernel_height; ++tap_row) {
            const int y = row * stride_height - padding_top + tap_row * dilation_height;
            for (int tap_column = 0; tap_column < kernel_width; ++tap_column) {
                const int x = column * stride_width - padding_left + tap_column * dilation_width;
                const bool inside = y >= 0 && y < height && x >= 0 && x < width;
                *target = inside ? plane[(long long)y * width + x] : (T)0;
                target += positions;
            }
        }
    }
}
