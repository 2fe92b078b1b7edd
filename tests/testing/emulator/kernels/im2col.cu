// Convolution windows as columns, and back. Square images, kernels, strides and padding.
extern "C" __global__ void im2col(
    const float* __restrict__ images, float* __restrict__ columns, int batch, int channels, int size, int kernel,
    int stride, int padding, int output_size)
{
    const int total = batch * channels * kernel * kernel * output_size * output_size;
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < total; i += gridDim.x * blockDim.x) {
        const int output_x = i % output_size;
        const int output_y = i / output_size % output_size;
        const int tap = i / (output_size * output_size);
        const int kernel_x = tap % kernel;
        const int kernel_y = tap / kernel % kernel;
        const int plane = tap / (kernel * kernel);
        const int y = output_y * stride - padding + kernel_y;
        const int x = output_x * stride - padding + kernel_x;
        const bool inside = y >= 0 && x >= 0 && y < size && x < size;
        columns[i] = inside ? __ldg(&images[(plane * size + y) * size + x]) : 0.0f;
    }
}

// One thread a pixel, which adds up the windows that hold it.
extern "C" __global__ void col2im(
    const float* __restrict__ columns, float* __restrict__ images, int batch, int channels, int size, int kernel,
    int stride, int padding, int output_size)
{
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= batch * channels * size * size)
        return;
    const int x = i % size;
    const int y = i / size % size;
    const int plane = i / (size * size);
    float sum = 0.0f;
    for (int kernel_y = 0; kernel_y < kernel; ++kernel_y)
        for (int kernel_x = 0; kernel_x < kernel; ++kernel_x) {
            const int top = y + padding - kernel_y;
            const int left = x + padding - kernel_x;
            if (top < 0 || left < 0 || top % stride || left % stride)
                continue;
            const int output_y = top / stride;
            const int output_x = left / stride;
            if (output_y < output_size && output_x < output_size) {
                const int tap = (plane * kernel + kernel_y) * kernel + kernel_x;
                sum += columns[(tap * output_size + output_y) * output_size + output_x];
            }
        }
    images[i] = sum;
}
