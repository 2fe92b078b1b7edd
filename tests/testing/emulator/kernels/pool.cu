// Pooling of square images.

// The gradient of max pooling: windows overlap, so several may add to one pixel.
extern "C" __global__ void max_pool_scatter(
    const float* __restrict__ gradient, const int* __restrict__ argmax, float* __restrict__ images, int planes, int size,
    int output_size)
{
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= planes * output_size * output_size)
        return;
    const int plane = i / (output_size * output_size);
    atomicAdd(&images[plane * size * size + argmax[i]], gradient[i]);
}

extern "C" __global__ void average_pool(
    const float* __restrict__ images, float* __restrict__ output, int planes, int size, int kernel, int stride,
    int output_size)
{
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= planes * output_size * output_size)
        return;
    const int plane = i / output_size / output_size;
    const int top = i / output_size % output_size * stride;
    const int left = i % output_size * stride;
    float sum = 0.0f;
    for (int y = top; y < top + kernel; ++y)
        for (int x = left; x < left + kernel; ++x)
            sum += images[(plane * size + y) * size + x];
    output[i] = sum / (kernel * kernel);
}
