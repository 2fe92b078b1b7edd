// Batch normalisation of values (batch, channels, positions) with their own statistics, and its gradients.
//
// Each channel's elements are cut into `parts` stretches of `length`. Both ways take two launches: in the first a block
// adds up one stretch, in a fixed order, whatever else runs; in the second each block puts the parts of its channel
// together, in order, and then goes over its own stretch. Arrays of parts are (channels, parts).
//
// A channel has `elements`, an int, in all images: of a long long each index would cost a division in software.

#define BLOCK 256

// The sum of all threads' values, which every thread gets.
__device__ A block_sum(A value, A* partial)
{
    __syncthreads();  // until all have read the sum before
    partial[threadIdx.x] = value;
    __syncthreads();
    for (int half = BLOCK / 2; half > 0; half /= 2) {
        if (threadIdx.x < half) partial[threadIdx.x] += partial[threadIdx.x + half];
        __syncthreads();
    }
    return partial[0];
}

// Where the element `i` of a channel lies.
__device__ long long place_of(int i, int channel, int channels, int positions)
{
    const long long image = i / positions;
    return i + (image * (channels - 1) + channel) * positions;
}

// The mean of every stretch, and the sum of the squares of what differs from it.
extern "C" __global__ void __launch_bounds__(BLOCK) batch_norm_statistics(
    const T* values, T* means, T* squares, int elements, int channels, int positions, int parts, int length)
{
    __shared__ A partial[BLOCK];
    for (int task = blockIdx.x; task < channels * parts; task += gridDim.x) {
        const int channel = task / parts;
        const int start = task % parts * length, count = min(length, elements - start);
        A total = 0;
        for (int i = threadIdx.x; i < count; i += BLOCK)
            total += (A)values[place_of(start + i, channel, channels, positions)];
        const A mean = block_sum(total, partial) / (A)count;
        A square = 0;
        for (int i = threadIdx.x; i < count; i += BLOCK) {
            const A difference = (A)values[place_of(start + i, channel, channels, positions)] - mean;
            square += difference * difference;
        }
        square = block_sum(square, partial);
        if (threadIdx.x == 0) {
            means[task] = (T)mean;
            squares[task] = (T)square;
        }
    }
}

// (values - mean) / sqrt(variance + eps) * weight + bias; and the mean, the variance and 1 / sqrt(variance + eps).
extern "C" __global__ void __launch_bounds__(BLOCK) batch_norm(
    const T* values, const T* means, const T* squares, const T* weight, const T* bias, T* output, T* mean, T* variance,
    T* inverse, int elements, int channels, int positions, int parts, int length, T eps)
{
    __shared__ A centre, factor;
    for (int task = blockIdx.x; task < channels * parts; task += gridDim.x) {
        const int channel = task / parts;
        const int start = task % parts * length, count = min(length, elements - start);
        __syncthreads();  // until all have done the task before
        if (threadIdx.x == 0) {
            const T *own_means = means + channel * parts, *own_squares = squares + channel * parts;
            const A first = (A)own_means[0];  // from which the others differ little, so that no digits get lost
            A shift = 0, square = 0;
            for (int part = 1; part < parts; ++part)
                shift += (A)(min(length, elements - part * length)) * ((A)own_means[part] - first);
            centre = first + shift / (A)elements;
            for (int part = 0; part < parts; ++part) {
                const A difference = (A)own_means[part] - centre;
                square += (A)own_squares[part] + (A)(min(length, elements - part * length)) * difference * difference;
            }
            square /= (A)elements;
            factor = (A)1 / sqrt(square + (A)eps);
            if (start == 0) {
                mean[channel] = (T)centre;
                variance[channel] = (T)square;
                inverse[channel] = (T)factor;
            }
            if (weight) factor *= (A)weight[channel];
        }
        __syncthreads();
        const A shift = bias ? (A)bias[channel] : (A)0;
        for (int i = threadIdx.x; i < count; i += BLOCK) {
            const long long place = place_of(start + i, channel, channels, positions);
            output[place] = (T)(((A)values[place] - centre) * factor + shift);
        }
    }
}

// For every stretch the sum of the output's gradient, and of its products with the normalised values.
extern "C" __global__ void __launch_bounds__(BLOCK) batch_norm_sums(
    const T* gradient, const T* values, const T* mean, const T* inverse, T* sums, T* products, int elements, int channels,
    int positions, int parts, int length)
{
    __shared__ A partial[BLOCK];
    for (int task = blockIdx.x; task < channels * parts; task += gridDim.x) {
        const int channel = task / parts;
        const int start = task % parts * length, count = min(length, elements - start);
        const A centre = (A)mean[channel];
        A sum = 0, product = 0;
        for (int i = threadIdx.x; i < count; i += BLOCK) {
            const long long place = place_of(start + i, channel, channels, positions);
            sum += (A)gradient[place];
            product += (A)gradient[place] * ((A)values[place] - centre);
        }
        sum = block_sum(sum, partial);
        product = block_sum(product, partial);
        if (threadIdx.x == 0) {
            sums[task] = (T)sum;
            products[task] = (T)(product * (A)inverse[channel]);
        }
    }
}

// The gradients of the values, and of weight and bias where they are asked for.
extern "C" __global__ void __launch_bounds__(BLOCK) batch_norm_gradient(
    const T* gradient, const T* values, const T* mean, const T* inverse, const T* weight, const T* sums,
    const T* products, T* values_gradient, T* weight_gradient, T* bias_gradient, int elements, int channels, int positions,
    int parts, int length)
{
    __shared__ A sum, product;
    for (int task = blockIdx.x; task < channels * parts; task += gridDim.x) {
        const int channel = task / parts;
        const int start = task % parts * length, count = min(length, elements - start);
        __syncthreads();  // until all have done the task before
        if (threadIdx.x == 0) {
            sum = product = 0;
            for (int part = channel * parts; part < (channel + 1) * parts; ++part) {
                sum += (A)sums[part];
                product += (A)products[part];
            }
            if (start == 0 && weight_gradient) weight_gradient[channel] = (T)product;
            if (start == 0 && bias_gradient) bias_gradient[channel] = (T)sum;
        }
        __syncthreads();
        const A centre = (A)mean[channel], scale = (A)inverse[channel];
        const A through_mean = sum / (A)elements, through_variance = product / (A)elements * scale;
        const A factor = weight ? (A)weight[channel] * scale : scale;
        for (int i = threadIdx.x; i < count; i += BLOCK) {
            const long long place = place_of(start + i, channel, channels, positions);
            const A through_statistics = through_mean + ((A)values[place] - centre) * through_variance;
            values_gradient[place] = (T)(((A)gradient[place] - through_statistics) * factor);
        }
    }
}
