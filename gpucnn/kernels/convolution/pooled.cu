// A convolution with bias, ReLU and max pooling after it, in one launch: what is pooled never lies in memory.
//
// images (batch, channels, height, width), weight (filters, channels, kernel_height, kernel_width) -> the maxima of windows that do
// not overlap, output (batch, filters, pooled_height, pooled_width), and beside each its place in the plane (output_height,
// output_width) that was pooled; -1 where ReLU made it 0, as no gradient passes there.
//
// A thread takes one maximum of some filters. Channel by channel it reads the patch of the image that its window sees, a row at
// a time, and adds each pixel to all sums that it belongs to, in registers. The taps of the block's filters lie in shared memory.
// The compiler knows all sizes but the batch, so that no loop over them is left.

#include "../operand.cuh"

#define BLOCK 128
#define TAPS (kernel_height * kernel_width)
#define WINDOW (pool_height * pool_width)
#define POOLED ((I)pooled_height * pooled_width)
#define PIXELS ((I)height * width)

// The patch of an image that a window sees.
#define PATCH_HEIGHT ((pool_height - 1) * stride_height + (kernel_height - 1) * dilation_height + 1)
#define PATCH_WIDTH ((pool_width - 1) * stride_width + (kernel_width - 1) * dilation_width + 1)
#define MOST_ACROSS 16

// Whether no patch reaches beyond its image.
#define IS_INSIDE(padding, from, step, patch, size) ((padding) == 0 && ((from) - 1) * (step) + (patch) <= (size))
#define ROWS_INSIDE IS_INSIDE(padding_top, pooled_height, pool_stride_height * stride_height, PATCH_HEIGHT, height)
#define COLUMNS_INSIDE IS_INSIDE(padding_left, pooled_width, pool_stride_width * stride_width, PATCH_WIDTH, width)

// What a thread adds up, and the taps that shared memory has room for, at most.
#define MOST_SUMS 32
#define MOST_TAPS 4096

// Add what one row of a patch gives to the sums of all filters.
__device__ __forceinline__ void add_row(const A* line, int row, const A* taps, A (&sums)[MOST_SUMS])
{
#pragma unroll
    for (int down = 0; down < pool_height; ++down) {
        const int from_top = row - down * stride_height;
        if (from_top < 0 || from_top % dilation_height != 0 || from_top / dilation_height >= kernel_height) continue;
        const A* const own = taps + from_top / dilation_height * kernel_width * filters_together;
#pragma unroll
        for (int tap = 0; tap < kernel_width; ++tap)
#pragma unroll
            for (int one = 0; one < filters_together; ++one)
#pragma unroll
                for (int along = 0; along < pool_width; ++along) {
                    A& sum = sums[one * WINDOW + down * pool_width + along];
                    sum = fma(line[along * stride_width + tap * dilation_width], own[tap * filters_together + one], sum);
                }
    }
}

extern "C" __global__ void __launch_bounds__(BLOCK, 2) conv2d_max_pool(
    const T* images, const T* weight, const T* bias, T* output, int* argmax, I places)
{
    __shared__ A taps[MOST_TAPS];  // (channels, TAPS, filters_together)
    const int parts = (filters + filters_together - 1) / filters_together;
    const I tiles = (places + BLOCK - 1) / BLOCK * parts;
    for (I tile = blockIdx.x; tile < tiles; tile += gridDim.x) {
        const int first_filter = tile % parts * filters_together;
        for (int i = threadIdx.x; i < channels * TAPS * filters_together; i += BLOCK) {
            const int filter = first_filter + i % filters_together, at = i / filters_together;
            taps[i] = filter < filters ? rounded(weight[filter * (channels * TAPS) + at]) : (A)0;
        }
        __syncthreads();
        const I place = tile / parts * BLOCK + threadIdx.x;
        if (place < places) {
            const int row = place % POOLED / pooled_width, column = place % pooled_width;
            const I image = place / POOLED;
            const int top = row * (pool_stride_height * stride_height) - padding_top;
            const int left = column * (pool_stride_width * stride_width) - padding_left;
            A sums[MOST_SUMS] = {};
#pragma unroll 1
            for (int channel = 0; channel < channels; ++channel) {
                const T* const plane = images + (image * channels + channel) * PIXELS;
#pragma unroll
                for (int y = 0; y < PATCH_HEIGHT; ++y) {
                    A line[MOST_ACROSS];
#pragma unroll
                    for (int x = 0; x < PATCH_WIDTH; ++x) {
                        const bool there = (ROWS_INSIDE || (unsigned)(top + y) < height) && (COLUMNS_INSIDE || (unsigned)(left + x) < width);
                        line[x] = there ? rounded(plane[(top + y) * width + left + x]) : (A)0;
                    }
                    add_row(line, y, taps + channel * TAPS * filters_together, sums);
                }
            }
#pragma unroll
            for (int one = 0; one < filters_together; ++one) {
                const int filter = first_filter + one;
                if (filter >= filters) continue;
                A best = 0;
                int winner = -1;
#pragma unroll
                for (int i = 0; i < WINDOW; ++i) {
                    A value = sums[one * WINDOW + i];
                    if (bias) value += (A)bias[filter];
                    if (relu && value <= 0) value = 0;
                    // The first element wins even if it is minus infinity; a NaN wins, and is beaten by nothing.
                    if (winner < 0 || value > best || (value != value && best == best)) {
                        best = value;
                        winner = (row * pool_stride_height + i / pool_width) * output_width + column * pool_stride_width + i % pool_width;
                    }
                }
                const I at = (image * filters + filter) * POOLED + place % POOLED;
                output[at] = (T)best;
                if (argmax) argmax[at] = relu && best == 0 ? -1 : winner;
            }
        }
        __syncthreads();  // before the next tile's taps
    }
}
