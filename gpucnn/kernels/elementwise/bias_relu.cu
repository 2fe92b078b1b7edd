// A bias for every channel, and ReLU, in one pass after a matrix product; and the way back.
//
// A matrix product leaves feature maps as rows, channel by channel: (channels, batch * positions). Layers take and give
// images, image by image: (batch, channels, positions). Both kernels read or write rows through two strides, so the
// change of layout costs no pass of its own; for a fully connected layer the two layouts are one (positions = 1).

extern "C" __global__ void bias_relu(
    const T* rows, const T* bias, T* images, long long size, int channels, long long positions,
    long long image_stride, long long channel_stride, int relu)
{
    const long long threads = (long long)gridDim.x * blockDim.x;
    for (long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x; i < size; i += threads) {
        const int channel = (int)(i / positions % channels);
        const long long image = i / positions / channels;
        A value = (A)rows[image * image_stride + channel * channel_stride + i % positions];
        if (bias) value += (A)bias[channel];
        images[i] = (T)(relu && value <= 0 ? (A)0 : value);  // a NaN stays a NaN
    }
}

// The gradient of the rows from that of the images. With ReLU's `output` it passes where that is not 0.
extern "C" __global__ void bias_relu_gradient(
    const T* gradient, const T* output, T* rows, long long size, int channels, long long positions,
    long long image_stride, long long channel_stride)
{
    const long long threads = (long long)gridDim.x * blockDim.x;
    for (long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x; i < size; i += threads) {
        const int channel = (int)(i / positions % channels);
        const long long image = i / positions / channels;
        const bool passes = !output || (A)output[i] != 0;
        rows[image * image_stride + channel * channel_stride + i % positions] = passes ? gradient[i] : (T)0;
    }
}
