// Images of bytes as a model takes them: gathered, over full_scale, at another size, and normalised. Rounded as NumPy does it.
//
// source (count, channels, native, native), of which `order` (images) chooses some, or the first if it is not there ->
// output (images, channels, size, size). With `low` and `shares` (size) pixels are mixed of those at low and low + 1, the
// second with that share; else there is a margin of zeros. Then `means` are taken off, and what is left is over `deviations`.
// The images' labels, if they are there, are gathered, too.

// The image that is number `i` of those chosen: one out of range reads nobody's memory.
__device__ I chosen_image(const long long* order, I i, int count)
{
    if (!order) return i;
    const long long image = order[i];
    return (I)min(max(image < 0 ? image + count : image, 0ll), count - 1ll);
}

__device__ float mixed(float first, float second, float share)
{
    return __fadd_rn(__fmul_rn(first, __fsub_rn(1, share)), __fmul_rn(second, share));
}

extern "C" __global__ void preprocess(
    const unsigned char* source, const long long* labels, const long long* order, const int* low, const float* shares,
    const float* means, const float* deviations, float* output, long long* chosen_labels, I elements, I images,
    Divisor channels, Divisor size, int count, int native, int margin, float full_scale)
{
    const I threads = gridDim.x * blockDim.x;
    for (I i = blockIdx.x * blockDim.x + threadIdx.x; i < elements; i += threads) {
        const int column = i % size, row = i / size % size, channel = i / size / size % channels;
        const I image = chosen_image(order, i / size / size / channels, count);
        const unsigned char* plane = source + (image * channels.value + channel) * native * native;
        float value = 0;
        if (low) {
            const int top = low[row] * native, bottom = min(low[row] + 1, native - 1) * native;
            const int left = low[column], right = min(left + 1, native - 1);
            const float share = shares[row];
            value = mixed(
                mixed(__fdiv_rn(plane[top + left], full_scale), __fdiv_rn(plane[bottom + left], full_scale), share),
                mixed(__fdiv_rn(plane[top + right], full_scale), __fdiv_rn(plane[bottom + right], full_scale), share),
                shares[column]);
        } else if (row >= margin && row < margin + native && column >= margin && column < margin + native) {
            value = __fdiv_rn(plane[(row - margin) * native + column - margin], full_scale);
        }
        if (means) value = __fdiv_rn(__fsub_rn(value, means[channel]), deviations[channel]);
        output[i] = value;
        if (labels && i < images) chosen_labels[i] = labels[chosen_image(order, i, count)];
    }
}
