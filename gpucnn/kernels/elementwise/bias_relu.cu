// A bias for every channel, and ReLU, in one pass after a matrix product; and the way back.
//
// A matrix product leaves feature maps as rows, channel by channel: (channels, batch * positions). Layers take and give
// images, image by image: (batch, channels, positions). Both kernels read or write rows through two strides, so the
// change of layout costs no pass of its own; for a fully connected layer the two layouts are one (positions = 1).
//
// Element i of the images is in channel c of image n at position p, and belongs to element n * image_stride +
// c * channel_stride + p of the rows. As i = (n * channels + c) * positions + p, that is i and a step for every plane and
// every image before. Steps may be below 0: unsigned numbers wrap around, and the sum is right.

extern "C" __global__ void bias_relu(
    const T* rows, const A* bias, T* images, I size, Divisor channels, Divisor positions,
    I image_stride, I channel_stride, int relu)
{
    const I threads = gridDim.x * blockDim.x;
    const I plane_step = channel_stride - positions.value, image_step = image_stride - channels.value * channel_stride;
    for (I i = blockIdx.x * blockDim.x + threadIdx.x; i < size; i += threads) {
        const I plane = i / positions, channel = plane % channels, image = plane / channels;
        A value = (A)rows[i + plane * plane_step + image * image_step];
        if (bias) value += bias[channel];
        images[i] = (T)(relu && value <= 0 ? (A)0 : value);  // a NaN stays a NaN
    }
}

// The gradient of the rows from that of the images. With ReLU's `output` it passes where that is not 0.
extern "C" __global__ void bias_relu_gradient(
    const T* gradient, const T* output, T* rows, I size, Divisor channels, Divisor positions,
    I image_stride, I channel_stride)
{
    const I threads = gridDim.x * blockDim.x;
    const I plane_step = channel_stride - positions.value, image_step = image_stride - channels.value * channel_stride;
    for (I i = blockIdx.x * blockDim.x + threadIdx.x; i < size; i += threads) {
        const I plane = i / positions, image = plane / channels;
        const bool passes = !output || (A)output[i] != 0;
        rows[i + plane * plane_step + image * image_step] = passes ? gradient[i] : (T)0;
    }
}
