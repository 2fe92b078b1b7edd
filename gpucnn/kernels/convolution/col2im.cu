// col2im: the transpose of im2col, as a gather.
//
// columns (channels * kernel_height * kernel_width, positions), where positions = batch * output_height * output_width, ->
// images (batch, channels, height, width). A thread takes one element of the images and adds up the columns that were read
// from it, tap by tap: no two threads write one element, so there are no atomics, and the order of the sum is always the
// same. The compiler knows kernel, stride and dilation.

extern "C" __global__ void col2im(
    const T* columns, T* images, I size, I positions, Divisor channels, Divisor height, Divisor width,
    int padding_top, int padding_left, Divisor output_height, Divisor output_width)
{
    const I threads = gridDim.x * blockDim.x;
    for (I i = blockIdx.x * blockDim.x + threadIdx.x; i < size; i += threads) {
        const int x = i % width;
        const int y = i / width % height;
        const I plane = i / width / height;
        const I channel = plane % channels, image = plane / channels;
        const T* taps = columns + channel * (kernel_height * kernel_width) * positions;
        taps += image * output_height.value * output_width.value;
        A total = 0;
        for (int tap_row = 0; tap_row < kernel_height; ++tap_row) {
            // What is above or left of the image is very large, and so is its row or column of the output.
            const unsigned from_top = y + padding_top - tap_row * dilation_height;
            const bool in_rows = from_top % stride_height == 0 && from_top / stride_height < output_height.value;
            const I row = from_top / stride_height * output_width.value;
            for (int tap_column = 0; tap_column < kernel_width; ++tap_column) {
                const unsigned from_left = x + padding_left - tap_column * dilation_width;
                const bool in_columns = from_left % stride_width == 0 && from_left / stride_width < output_width.value;
                if (in_rows && in_columns) total += (A)taps[row + from_left / stride_width];
                taps += positions;
            }
        }
        images[i] = (T)total;
    }
}
