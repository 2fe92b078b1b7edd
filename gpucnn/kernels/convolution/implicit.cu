// Convolution and its gradients as products of matrices whose columns never lie in memory: an implicit GEMM. In a group:
//
//   conv2d_forward            output (filters, positions) = weight (filters, channels * taps) @ columns of the images
//   conv2d_images_gradient    images' (channels, pixels) = weight^T (channels, filters * taps) @ columns of the gradient
//   conv2d_weight_gradient    weight' (filters, channels * taps) = gradient (filters, positions) @ columns^T, by slices, which slices.cu adds
//
// A block makes one tile of the product at a time. Step by step it brings what it multiplies into shared memory: some rows
// of the left matrix, and columns that it gathers straight from the images (batch, groups * channels, height, width); what
// lies in the padding is 0. Each thread then adds up its own share of the tile in registers, so every sum has a fixed order.
// The compiler knows all sizes but the batch, and the tiles that implicit.py has chosen.

#include "windows.cuh"

#define BLOCK 256
#define WEIGHT_BLOCK 128
// Blocks that a multiprocessor must have registers for: with no word of it the compiler goes for more, and spills a few.
#define RESIDENT (sizeof(A) > 4 ? 1 : 2)

// Elements of shared memory for a step of each matrix; 4 more than a row of the left one needs, so that writes meet fewer banks.
#define LEFT 1280
#define RIGHT 4608
#define APART 4

// Positions that a step of the weight's gradient takes.
#define STEP 16

// Products that are added up one after the other in float32, at most.
#define LONGEST_SUM 512
#define SUMS_ARE_CUT (sizeof(A) == 4)

// The rows and columns of a tile whose sums one thread holds, at most.
#define MOST_ROWS 16
#define MOST_COLUMNS 5

// A thread's share of a tile: rows that lie side by side, and columns that are `across` threads apart, so that neighbours in a
// warp read and write neighbouring columns.
struct Share {
    int rows, columns, across;
};
__device__ __forceinline__ int row_of(Share own, int i) { return threadIdx.x / own.across * own.rows + i; }
__device__ __forceinline__ int column_of(Share own, int j) { return threadIdx.x % own.across + j * own.across; }

// Add the products of `depth` rows of left, `left_width` apart, and right to a thread's sums.
__device__ __forceinline__ void multiply(
    const A* left, int left_width, const A* right, int right_width, int depth, Share own, A (&sums)[MOST_ROWS][MOST_COLUMNS])
{
    for (int k = 0; k < depth; ++k) {
        A a[MOST_ROWS], b[MOST_COLUMNS];
#pragma unroll
        for (int i = 0; i < own.rows; ++i) a[i] = left[k * left_width + row_of(own, i)];
#pragma unroll
        for (int j = 0; j < own.columns; ++j) b[j] = right[k * right_width + column_of(own, j)];
#pragma unroll
        for (int i = 0; i < own.rows; ++i)
#pragma unroll
            for (int j = 0; j < own.columns; ++j) sums[i][j] = fma(a[i], b[j], sums[i][j]);
    }
}

// Put a thread's sums into its totals: sums that are not too long keep the digits that float32 has.
__device__ __forceinline__ void settle(Share own, A (&sums)[MOST_ROWS][MOST_COLUMNS], A (&totals)[MOST_ROWS][MOST_COLUMNS])
{
#pragma unroll
    for (int i = 0; i < own.rows; ++i)
#pragma unroll
        for (int j = 0; j < own.columns; ++j) {
            totals[i][j] += sums[i][j];
            sums[i][j] = 0;
        }
}

// Put the taps of a window into the right matrix, from `place` on, `apart` elements from one another. Its first tap is at
// `corner`, and `inside` tells which of them are read.
__device__ __forceinline__ void gather(const T* corner, unsigned inside, A* place, int apart)
{
#pragma unroll
    for (int tap = 0; tap < TAPS; ++tap) {
        place[tap * apart] = inside >> tap & 1 ? (A)corner[tap_offset(tap)] : (A)0;
    }
}

extern "C" __global__ void __launch_bounds__(BLOCK, RESIDENT) conv2d_forward(
    const T* images, const T* weight, const T* bias, T* output, I positions)
{
    __shared__ A left[LEFT], right[RIGHT];
    const int thread_rows = forward_rows < 16 ? 4 : 8, across = BLOCK * thread_rows / forward_rows;
    const Share own = {thread_rows, forward_columns / across, across};
    const int depth = forward_channels * TAPS, left_width = forward_rows + APART;
    const int together = LONGEST_SUM / depth * forward_channels;  // channels of one sum
    const int row_tiles = (filters + forward_rows - 1) / forward_rows;
    const I tiles = (positions + forward_columns - 1) / forward_columns * (row_tiles * groups);
    for (I tile = blockIdx.x; tile < tiles; tile += gridDim.x) {
        const int first_filter = tile % row_tiles * forward_rows, group = tile / row_tiles % groups;
        const I first = tile / (row_tiles * groups) * forward_columns;
        const T* rows = weight + ((I)group * filters + first_filter) * (channels * TAPS);
        // The position that this thread gathers for, in every step.
        const int lane = threadIdx.x % forward_columns;
        const I position = first + lane;
        const int top = (int)(position / output_width % output_height) * stride_height - padding_top;
        const int start = (int)(position % output_width) * stride_width - padding_left;
        const unsigned inside = position < positions ? taps_inside(top, start) : 0;
        const T* corner = images + (position / POSITIONS * groups + group) * channels * PIXELS + (top * width + start);
        A sums[MOST_ROWS][MOST_COLUMNS] = {}, totals[MOST_ROWS][MOST_COLUMNS] = {};
        for (int channel = 0; channel < channels; channel += forward_channels) {
            for (int i = threadIdx.x; i < forward_rows * depth; i += BLOCK) {
                const int row = i / depth, k = i % depth;
                const bool there = first_filter + row < filters && channel * TAPS + k < channels * TAPS;
                left[k * left_width + row] = there ? (A)rows[row * (channels * TAPS) + channel * TAPS + k] : (A)0;
            }
            for (int one = threadIdx.x / forward_columns; one < forward_channels; one += BLOCK / forward_columns)
                gather(corner + (channel + one) * PIXELS, channel + one < channels ? inside : 0,
                       right + one * TAPS * forward_columns + lane, forward_columns);
            __syncthreads();
            multiply(left, left_width, right, forward_columns, depth, own, sums);
            __syncthreads();  // until all have read what this step has brought
            if (SUMS_ARE_CUT && channels > together && channel % together == together - forward_channels) settle(own, sums, totals);
        }
        settle(own, sums, totals);
#pragma unroll
        for (int j = 0; j < own.columns; ++j) {
            const I place = first + column_of(own, j);
            if (place >= positions) continue;
            T* target = output + (place / POSITIONS * groups + group) * filters * POSITIONS + place % POSITIONS;
#pragma unroll
            for (int i = 0; i < own.rows; ++i) {
                const int filter = first_filter + row_of(own, i);
                if (filter >= filters) continue;
                A value = totals[i][j];
                if (bias) value += (A)bias[group * filters + filter];
                target[filter * POSITIONS] = (T)(relu && value <= 0 ? (A)0 : value);
            }
        }
    }
}

// `output` is that of the convolution if a ReLU followed: where it is 0, no gradient passes.
extern "C" __global__ void __launch_bounds__(BLOCK, RESIDENT) conv2d_images_gradient(
    const T* gradient, const T* output, const T* weight, T* images, I pixels)
{
    __shared__ A left[LEFT], right[RIGHT];
    const int thread_rows = images_rows < 16 ? 4 : 8, across = BLOCK * thread_rows / images_rows;
    const Share own = {thread_rows, images_columns / across, across};
    const int depth = images_filters * TAPS, left_width = images_rows + APART;
    const int together = LONGEST_SUM / depth * images_filters;  // filters of one sum
    const int row_tiles = (channels + images_rows - 1) / images_rows;
    const I tiles = (pixels + images_columns - 1) / images_columns * (row_tiles * groups);
    for (I tile = blockIdx.x; tile < tiles; tile += gridDim.x) {
        const int first_channel = tile % row_tiles * images_rows, group = tile / row_tiles % groups;
        const I first = tile / (row_tiles * groups) * images_columns;
        // The pixel that this thread gathers for, and which taps were read from it, by windows that there are.
        const int lane = threadIdx.x % images_columns;
        const I pixel = first + lane;
        const int from_top = (int)(pixel / width % height) + padding_top, from_left = (int)(pixel % width) + padding_left;
        const unsigned reached = pixel < pixels ? taps_that_read(from_top, from_left) : 0;
        const I corner = (pixel / PIXELS * groups + group) * filters * POSITIONS
            + (from_top / stride_height * output_width + from_left / stride_width);
        A sums[MOST_ROWS][MOST_COLUMNS] = {}, totals[MOST_ROWS][MOST_COLUMNS] = {};
        for (int filter = 0; filter < filters; filter += images_filters) {
            for (int i = threadIdx.x; i < images_rows * depth; i += BLOCK) {
                const int one = i / (images_rows * TAPS), row = i / TAPS % images_rows, tap = i % TAPS;
                const I at = ((I)group * filters + filter + one) * channels + first_channel + row;
                const bool there = filter + one < filters && first_channel + row < channels;
                left[(one * TAPS + tap) * left_width + row] = there ? (A)weight[at * TAPS + tap] : (A)0;
            }
            for (int one = threadIdx.x / images_columns; one < images_filters; one += BLOCK / images_columns) {
                const unsigned taken = filter + one < filters ? reached : 0;
                const I plane = corner + (filter + one) * POSITIONS;
#pragma unroll
                for (int tap = 0; tap < TAPS; ++tap) {
                    const I at = plane - window_offset(tap);
                    A value = 0;
                    if (taken >> tap & 1) {
                        value = (A)gradient[at];
                        if (relu && (A)output[at] == 0) value = 0;
                    }
                    right[(one * TAPS + tap) * images_columns + lane] = value;
                }
            }
            __syncthreads();
            multiply(left, left_width, right, images_columns, depth, own, sums);
            __syncthreads();  // until all have read what this step has brought
            if (SUMS_ARE_CUT && filters > together && filter % together == together - images_filters) settle(own, sums, totals);
        }
        settle(own, sums, totals);
#pragma unroll
        for (int j = 0; j < own.columns; ++j) {
            const I place = first + column_of(own, j);
            if (place >= pixels) continue;
            T* target = images + (place / PIXELS * groups + group) * channels * PIXELS + place % PIXELS;
#pragma unroll
            for (int i = 0; i < own.rows; ++i) {
                const int channel = first_channel + row_of(own, i);
                if (channel < channels) target[channel * PIXELS] = (T)totals[i][j];
            }
        }
    }
}

// slices (slices, groups * filters, channels * taps + 1): of each slice of `length` positions the gradient of the weight, and
// beside it that of the bias, as if of one tap more that always reads 1.
extern "C" __global__ void __launch_bounds__(WEIGHT_BLOCK) conv2d_weight_gradient(
    const T* gradient, const T* output, const T* images, T* slices, I positions, I length)
{
    __shared__ A left[STEP * (4 * MOST_ROWS + APART)], right[STEP * (32 * MOST_COLUMNS + 1)];
    const int taps = weight_channels * TAPS;
    const Share own = {weight_rows / 4, (taps + 32) / 32, 32};
    const int left_width = weight_rows + APART, right_width = own.columns * 32 + 1;  // odd: neighbours in other banks
    const int row_tiles = (filters + weight_rows - 1) / weight_rows;
    const int column_tiles = (channels + weight_channels - 1) / weight_channels;
    const I tiles = (positions + length - 1) / length * (row_tiles * column_tiles * groups);
    for (I tile = blockIdx.x; tile < tiles; tile += gridDim.x) {
        const int first_filter = tile % row_tiles * weight_rows;
        const int first_channel = tile / row_tiles % column_tiles * weight_channels;
        const int group = tile / (row_tiles * column_tiles) % groups;
        const I slice = tile / (row_tiles * column_tiles * groups), stop = min((slice + 1) * length, positions);
        const int lane = threadIdx.x % STEP;
        for (int column = taps + threadIdx.x / STEP; column < right_width; column += WEIGHT_BLOCK / STEP)
            right[lane * right_width + column] = column == taps ? (A)1 : (A)0;
        A sums[MOST_ROWS][MOST_COLUMNS] = {}, totals[MOST_ROWS][MOST_COLUMNS] = {};
        for (I first = slice * length; first < stop; first += STEP) {
            const I position = first + lane;
            const I image = position / POSITIONS * groups + group, place = position % POSITIONS;
            const int top = (int)(place / output_width) * stride_height - padding_top;
            const int start = (int)(place % output_width) * stride_width - padding_left;
            for (int row = threadIdx.x / STEP; row < weight_rows; row += WEIGHT_BLOCK / STEP) {
                const I at = (image * filters + first_filter + row) * POSITIONS + place;
                A value = 0;
                if (position < stop && first_filter + row < filters) {
                    value = (A)gradient[at];
                    if (relu && (A)output[at] == 0) value = 0;
                }
                left[lane * left_width + row] = value;
            }
            const unsigned inside = position < stop ? taps_inside(top, start) : 0;
            const T* corner = images + (image * channels + first_channel) * PIXELS + (top * width + start);
            for (int one = threadIdx.x / STEP; one < weight_channels; one += WEIGHT_BLOCK / STEP)
                gather(corner + one * PIXELS, first_channel + one < channels ? inside : 0,
                       right + lane * right_width + one * TAPS, 1);
            __syncthreads();
            multiply(left, left_width, right, right_width, STEP, own, sums);
            __syncthreads();  // until all have read what this step has brought
            if (SUMS_ARE_CUT && weight_is_long && (first - slice * length + STEP) % LONGEST_SUM == 0) settle(own, sums, totals);
        }
        settle(own, sums, totals);
#pragma unroll
        for (int j = 0; j < own.columns; ++j) {
            const int column = column_of(own, j), k = column == taps ? channels * TAPS : first_channel * TAPS + column;
            if (column == taps ? first_channel > 0 : column > taps || k >= channels * TAPS) continue;
#pragma unroll
            for (int i = 0; i < own.rows; ++i) {
                const int filter = first_filter + row_of(own, i);
                const I row = (slice * groups + group) * filters + filter;
                if (filter < filters) slices[row * (channels * TAPS + 1) + k] = (T)totals[i][j];
            }
        }
    }
}
