// im2col: lay every window of the images out as a column.
//
// images (batch, channels, height, width) -> columns (channels * kernel_height * kernel_width, positions), where
// positions = batch * output_height * output_width, zeros where a window lies in the padding. A thread takes one channel
// at one output position and writes all its taps: neighbouring threads write neighbouring elements, and the divisions are
// made once for all taps. The compiler knows kernel, stride and dilation.

extern "C" __global__ void im2col(
    const T* images, T* columns, I size, Divisor positions, I channels, Divisor height, Divisor width,
    int padding_top, int padding_left, Divisor output_height, Divisor output_width)
{
    const I threads = gridDim.x * blockDim.x;
    for (I i = blockIdx.x * blockDim.x + threadIdx.x; i < size; i += threads) {
        const I channel = i / positions, position = i % positions;
        const int column = position % output_width;
        const int row = position / output_width % output_height;
        const I image = position / output_width / output_height;
        const T* plane = images + (image * channels + channel) * height.value * width.value;
        T* target = columns + channel * (kernel_height * kernel_width) * positions.value + position;
        for (int tap_row = 0; tap_row < kernel_height; ++tap_row) {
            const unsigned y = row * stride_height - padding_top + tap_row * dilation_height;
            for (int tap_column = 0; tap_column < kernel_width; ++tap_column) {
                const unsigned x = column * stride_width - padding_left + tap_column * dilation_width;
                const bool inside = y < height.value && x < width.value;  // what is above or left of the image is very large
                *target = inside ? plane[y * width.value + x] : (T)0;
                target += positions.value;
            }
        }
    }
}
