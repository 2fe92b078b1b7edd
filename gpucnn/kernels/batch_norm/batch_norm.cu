// Batch normalisation of values (batch, channels, positions) with their own statistics, and its gradients; on the way the
// sum with a residual, and ReLU.
//
// Each channel's elements are cut into `parts` stretches of `length`. Both ways take two launches: in the first a block
// adds up one stretch, in a fixed order, whatever else runs; in the second each block puts the parts of its channel
// together, in order, and then goes over its own stretch. Arrays of parts are (channels, parts). A channel of a single part
// takes one launch: the second, which gets null for them, adds up itself.
//
// A `table` (5, channels) has of every channel the mean, the variance, 1 / sqrt(variance + eps), the factor and the shift:
// before residual and ReLU the output is fma(value - mean, factor, shift), which the way back computes again, to the bit.
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

// A thread's way through a channel, BLOCK elements a step: where they lie. Only its beginning takes divisions.
struct Walk {
    long long place, to_next_image;
    int position, positions, rest, step;
};

__device__ Walk walk_from(unsigned element, int channel, int channels, int positions)
{
    const unsigned image = element / positions, whole = BLOCK / (unsigned)positions;
    Walk walk;
    walk.positions = positions;
    walk.position = element - image * positions;
    walk.place = ((long long)image * channels + channel) * positions + walk.position;
    walk.rest = BLOCK - whole * positions;
    walk.step = (BLOCK - walk.rest) * channels + walk.rest;
    walk.to_next_image = (long long)(channels - 1) * positions;
    return walk;
}

__device__ void go_on(Walk& walk)
{
    walk.place += walk.step;
    walk.position += walk.rest;
    if (walk.position >= walk.positions) {
        walk.position -= walk.positions;
        walk.place += walk.to_next_image;
    }
}

// The mean of a stretch, which starts at `element`, and the sum of the squares of what differs from it.
__device__ A add_up_squares(
    const T* values, unsigned element, int count, int channel, int channels, int positions, A* partial, A* mean)
{
    A total = 0, square = 0;
    Walk first = walk_from(element + threadIdx.x, channel, channels, positions), second = first;
    for (int i = threadIdx.x; i < count; i += BLOCK, go_on(first)) total += (A)values[first.place];
    *mean = block_sum(total, partial) / (A)count;
    for (int i = threadIdx.x; i < count; i += BLOCK, go_on(second)) {
        const A difference = (A)values[second.place] - *mean;
        square += difference * difference;
    }
    return block_sum(square, partial);
}

// The mean of every stretch, and the sum of the squares of what differs from it.
extern "C" __global__ void __launch_bounds__(BLOCK) batch_norm_statistics(
    const T* values, A* means, A* squares, int elements, int channels, int positions, int parts, int length)
{
    __shared__ A partial[BLOCK];
    for (int task = blockIdx.x; task < channels * parts; task += gridDim.x) {
        const int channel = task / parts, start = task % parts * length, count = min(length, elements - start);
        A mean;
        const A square = add_up_squares(values, start, count, channel, channels, positions, partial, &mean);
        if (threadIdx.x == 0) {
            means[task] = mean;
            squares[task] = square;
        }
    }
}

// A running statistic, moved towards that of the batch by a share of the way.
__device__ void move(A* running, int channel, A fresh, A kept, A share)
{
    if (running) running[channel] = kept * running[channel] + share * fresh;
}

// The output, the table, and running statistics moved by `momentum`, if it is given, else by `share`, of which 1 - share is
// `kept`; the variance, times `unbiased`, is that of a sample.
extern "C" __global__ void __launch_bounds__(BLOCK) batch_norm(
    const T* values, const A* means, const A* squares, const A* weight, const A* bias, const T* residual, A* running_mean,
    A* running_variance, const A* momentum, T* output, A* table, int elements, int channels, int positions, int parts,
    int length, A eps, A kept, A share, A unbiased, int relu)
{
    __shared__ A partial[BLOCK];
    __shared__ A centre, factor;
    for (int task = blockIdx.x; task < channels * parts; task += gridDim.x) {
        const int channel = task / parts, start = task % parts * length, count = min(length, elements - start);
        A mean = 0, square = 0;
        if (!means) square = add_up_squares(values, start, count, channel, channels, positions, partial, &mean);
        __syncthreads();  // until all have done the task before
        if (threadIdx.x == 0) {
            if (means) {
                const A *own_means = means + channel * parts, *own_squares = squares + channel * parts;
                const A first = own_means[0];  // from which the others differ little, so that no digits get lost
                A shift = 0;
                for (int part = 1; part < parts; ++part)
                    shift += (A)(min(length, elements - part * length)) * (own_means[part] - first);
                mean = first + shift / (A)elements;
                for (int part = 0; part < parts; ++part) {
                    const A difference = own_means[part] - mean;
                    square += own_squares[part] + (A)(min(length, elements - part * length)) * difference * difference;
                }
            }
            const A variance = square / (A)elements, inverse = (A)1 / sqrt(variance + eps);
            centre = mean;
            factor = weight ? inverse * weight[channel] : inverse;
            if (start == 0) {
                table[channel] = mean;
                table[channels + channel] = variance;
                table[2 * channels + channel] = inverse;
                table[3 * channels + channel] = factor;
                table[4 * channels + channel] = bias ? bias[channel] : (A)0;
                const A moved = momentum ? momentum[0] : share, stays = momentum ? (A)1 - moved : kept;
                move(running_mean, channel, mean, stays, moved);
                move(running_variance, channel, variance * unbiased, stays, moved);
            }
        }
        __syncthreads();
        const A shift = bias ? bias[channel] : (A)0;
        Walk at = walk_from(start + threadIdx.x, channel, channels, positions);
        for (int i = threadIdx.x; i < count; i += BLOCK, go_on(at)) {
            A value = fma((A)values[at.place] - centre, factor, shift);
            if (residual) value += (A)residual[at.place];
            output[at.place] = (T)(relu && value < (A)0 ? (A)0 : value);  // a NaN stays one
        }
    }
}

// What the table has of one channel, as far as the way back needs it.
struct Channel {
    A mean, inverse, factor, shift;
};

__device__ Channel channel_of(const A* table, int channel, int channels)
{
    const A* own = table + channel;
    return {own[0], own[2 * channels], own[3 * channels], own[4 * channels]};
}

// The gradient before ReLU. With a residual the `output` tells what ReLU stopped; without one it is computed again, as that
// is faster than to read.
__device__ A passed_at(
    long long place, const T* gradient, const T* output, const Channel& own, A centred, int relu)
{
    const bool stopped = relu && (output ? (A)output[place] == (A)0 : fma(centred, own.factor, own.shift) <= (A)0);
    return stopped ? (A)0 : (A)gradient[place];
}

// Of a stretch, which starts at `element`, the sum of the gradient before ReLU, which is left in `passed` if that is given,
// and of its products with the normalised values.
__device__ A add_up_products(
    const T* gradient, const T* values, const T* output, T* passed, const Channel& own, Walk at, int count, int relu,
    A* partial, A* product)
{
    A sum = 0, products = 0;
    for (int i = threadIdx.x; i < count; i += BLOCK, go_on(at)) {
        const A centred = (A)values[at.place] - own.mean;
        const A slope = passed_at(at.place, gradient, output, own, centred, relu);
        if (passed) passed[at.place] = (T)slope;
        sum += slope;
        products += slope * centred;
    }
    sum = block_sum(sum, partial);
    *product = block_sum(products, partial) * own.inverse;
    return sum;
}

// For every stretch both sums.
extern "C" __global__ void __launch_bounds__(BLOCK) batch_norm_sums(
    const T* gradient, const T* values, const T* output, const A* table, T* passed, A* sums, A* products, int elements,
    int channels, int positions, int parts, int length, int relu)
{
    __shared__ A partial[BLOCK];
    for (int task = blockIdx.x; task < channels * parts; task += gridDim.x) {
        const int channel = task / parts, start = task % parts * length, count = min(length, elements - start);
        const Channel own = channel_of(table, channel, channels);
        const Walk at = walk_from(start + threadIdx.x, channel, channels, positions);
        A product;
        const A sum = add_up_products(gradient, values, output, passed, own, at, count, relu, partial, &product);
        if (threadIdx.x == 0) {
            sums[task] = sum;
            products[task] = product;
        }
    }
}

// The gradients of the values, and of weight and bias where they are asked for.
extern "C" __global__ void __launch_bounds__(BLOCK) batch_norm_gradient(
    const T* gradient, const T* values, const T* output, const A* table, const A* sums, const A* products, T* passed,
    T* values_gradient, A* weight_gradient, A* bias_gradient, int elements, int channels, int positions, int parts,
    int length, int relu)
{
    __shared__ A partial[BLOCK];
    __shared__ A sum, product;
    for (int task = blockIdx.x; task < channels * parts; task += gridDim.x) {
        const int channel = task / parts, start = task % parts * length, count = min(length, elements - start);
        const Channel own = channel_of(table, channel, channels);
        A own_sum = 0, own_product = 0;
        if (!sums) {
            const Walk at = walk_from(start + threadIdx.x, channel, channels, positions);
            own_sum = add_up_products(gradient, values, output, passed, own, at, count, relu, partial, &own_product);
        }
        __syncthreads();  // until all have done the task before
        if (threadIdx.x == 0) {
            for (int part = channel * parts; sums && part < (channel + 1) * parts; ++part) {
                own_sum += sums[part];
                own_product += products[part];
            }
            sum = own_sum;
            product = own_product;
            if (start == 0 && weight_gradient) weight_gradient[channel] = product;
            if (start == 0 && bias_gradient) bias_gradient[channel] = sum;
        }
        __syncthreads();
        const A through_mean = sum / (A)elements, through_variance = product / (A)elements * own.inverse;
        Walk at = walk_from(start + threadIdx.x, channel, channels, positions);
        for (int i = threadIdx.x; i < count; i += BLOCK, go_on(at)) {
            const A centred = (A)values[at.place] - own.mean;
            const A slope = passed_at(at.place, gradient, output, own, centred, relu);
            values_gradient[at.place] = (T)((slope - (through_mean + centred * through_variance)) * own.factor);
        }
    }
}
