// Convolution of images with a few channels, as first layers have, and the gradient of its weight.
//
//   few_channels_forward            output (batch, filters, positions) from images (batch, channels, pixels)
//   few_channels_weight_gradient    slices (slices, filters, channels * taps + 1): of each slice of tiles the weight's, and the
//                                   bias's, gradient
//
// A window is so small that gathering it for a product of matrices costs more than the product. A block brings a tile of an image
// into shared memory, all channels with what windows reach, and makes all filters' outputs of it: so each pixel is read once, but
// for where tiles meet. The compiler knows all sizes but the batch, and few_channels.py's tiles.

#include "staging.cuh"

#define DEPTH (channels * TAPS)

// Filters and rows whose outputs one thread makes, and sums of a thread in the weight's gradient, at most.
#define OWN_FILTERS 8
#define MOST_STRIP 4
#define MOST_SUMS 64

extern "C" __global__ void __launch_bounds__(BLOCK, RESIDENT) few_channels_forward(
    const T* images, const T* weight, const T* bias, T* output, I batch)
{
    const Region region = {channels, READ_ROWS(tile_rows), READ_COLUMNS(tile_columns)};
    __shared__ A staged[STAGED];
    A* taps = staged + region.planes * region.rows * region.columns;  // (channels * taps, forward_filters)
    const int strips = tile_rows / tile_strip, items = strips * tile_columns;
    const int row_tiles = PARTS(output_height, tile_rows), column_tiles = PARTS(output_width, tile_columns);
    for (I tile = blockIdx.x; tile < batch * (row_tiles * column_tiles); tile += gridDim.x) {
        const int first_column = tile % column_tiles * tile_columns, first_row = tile / column_tiles % row_tiles * tile_rows;
        const I image = tile / (row_tiles * column_tiles);
        const int top = first_row * stride_height - padding_top, left = first_column * stride_width - padding_left;
        stage(images + image * channels * PIXELS, nullptr, PIXELS, channels, height, width, top, left, region, staged);
        for (int first_filter = 0; first_filter < filters; first_filter += forward_filters) {
            for (int i = threadIdx.x; i < forward_filters * DEPTH; i += BLOCK) {
                const int filter = i / DEPTH, k = i % DEPTH;
                const A tap = first_filter + filter < filters ? (A)weight[first_filter * DEPTH + i] : (A)0;
                taps[k * forward_filters + filter] = rounded(tap);
            }
            __syncthreads();
            for (int item = threadIdx.x; item < items * (forward_filters / OWN_FILTERS); item += BLOCK) {
                const int column = item % tile_columns, row = item / tile_columns % strips * tile_strip;
                const int own = item / items * OWN_FILTERS;
                A sums[OWN_FILTERS][MOST_STRIP] = {};
                for (int channel = 0; channel < channels; ++channel) {
                    const A* corner = staged
                        + (channel * region.rows + row * stride_height) * region.columns + column * stride_width;
                    const A* factors = taps + channel * TAPS * forward_filters + own;
#pragma unroll
                    for (int tap = 0; tap < TAPS; ++tap) {
                        const int down = tap / kernel_width * dilation_height, along = tap % kernel_width * dilation_width;
#pragma unroll
                        for (int i = 0; i < tile_strip; ++i) {
                            const A pixel = corner[(i * stride_height + down) * region.columns + along];
#pragma unroll
                            for (int one = 0; one < OWN_FILTERS; ++one)
                                sums[one][i] = fma(factors[tap * forward_filters + one], pixel, sums[one][i]);
                        }
                    }
                }
                const int y = first_row + row, x = first_column + column;
                const I first = (image * filters + first_filter + own) * POSITIONS + y * output_width + x;
                const bool has_column = output_width % tile_columns == 0 || x < output_width;
#pragma unroll
                for (int one = 0; one < OWN_FILTERS; ++one) {
                    if (first_filter + own + one >= filters) continue;
                    const A offset = bias ? (A)bias[first_filter + own + one] : (A)0;
#pragma unroll
                    for (int i = 0; i < tile_strip; ++i) {
                        const A value = sums[one][i] + offset;
                        const bool has_row = output_height % tile_rows == 0 || y + i < output_height;
                        if (has_row && has_column)
                            output[first + (one * POSITIONS + i * output_width)] = (T)(relu && value <= 0 ? (A)0 : value);
                    }
                }
            }
            __syncthreads();  // until all have read what has been brought
        }
    }
}

// A block adds up the gradients of some filters over the `length` tiles of a slice. Each warp has some filters, and some channels, of
// its own; its lanes have positions. `output` is that of the convolution if a ReLU followed: where it is 0, no gradient passes.
extern "C" __global__ void __launch_bounds__(BLOCK, RESIDENT) few_channels_weight_gradient(
    const T* gradient, const T* output, const T* images, T* slices, I batch, I length)
{
    const Region region = {channels, READ_ROWS(tile_rows), READ_COLUMNS(tile_columns)};
    __shared__ A staged[STAGED];
    const int strips = tile_rows / tile_strip, items = strips * tile_columns;
    const int row_tiles = PARTS(output_height, tile_rows), column_tiles = PARTS(output_width, tile_columns);
    const int channel_parts = channels / weight_channels, filter_parts = BLOCK / 32 / channel_parts;
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const int first_channel = warp % channel_parts * weight_channels;
    const int together = filter_parts * weight_filters, filter_blocks = PARTS(filters, together);
    const I tiles = batch * (row_tiles * column_tiles);
    for (I task = blockIdx.x; task < PARTS(tiles, length) * filter_blocks; task += gridDim.x) {
        const int first_filter = task % filter_blocks * together + warp / channel_parts * weight_filters;
        const bool works = warp / channel_parts < filter_parts && first_filter < filters;
        const I slice = task / filter_blocks, stop = min((slice + 1) * length, tiles);
        A sums[MOST_SUMS] = {}, bias_sums[OWN_FILTERS] = {};
        for (I tile = slice * length; tile < stop; ++tile) {
            const int first_column = tile % column_tiles * tile_columns;
            const int first_row = tile / column_tiles % row_tiles * tile_rows;
            const I image = tile / (row_tiles * column_tiles);
            const int top = first_row * stride_height - padding_top, left = first_column * stride_width - padding_left;
            __syncthreads();  // until all have read what the tile before has brought
            stage(images + image * channels * PIXELS, nullptr, PIXELS, channels, height, width, top, left, region, staged);
            __syncthreads();
            for (int item = works ? lane : items; item < items; item += 32) {
                const int column = item % tile_columns, row = item / tile_columns * tile_strip;
                A slopes[OWN_FILTERS][MOST_STRIP];
                const int y = first_row + row, x = first_column + column;
                const I first = (image * filters + first_filter) * POSITIONS + y * output_width + x;
                const bool has_column = output_width % tile_columns == 0 || x < output_width;
#pragma unroll
                for (int one = 0; one < weight_filters; ++one)
#pragma unroll
                    for (int i = 0; i < tile_strip; ++i) {
                        const bool has_row = output_height % tile_rows == 0 || y + i < output_height;
                        const I at = first + (one * POSITIONS + i * output_width);
                        const bool passes = first_filter + one < filters && has_row && has_column && !(relu && (A)output[at] == 0);
                        slopes[one][i] = passes ? rounded((A)gradient[at]) : (A)0;
                        bias_sums[one] += slopes[one][i];
                    }
#pragma unroll
                for (int channel = 0; channel < weight_channels; ++channel) {
                    const A* corner = staged
                        + ((first_channel + channel) * region.rows + row * stride_height) * region.columns + column * stride_width;
#pragma unroll
                    for (int tap = 0; tap < TAPS; ++tap) {
                        const int down = tap / kernel_width * dilation_height, along = tap % kernel_width * dilation_width;
#pragma unroll
                        for (int i = 0; i < tile_strip; ++i) {
                            const A pixel = corner[(i * stride_height + down) * region.columns + along];
#pragma unroll
                            for (int one = 0; one < weight_filters; ++one) {
                                A& sum = sums[(one * weight_channels + channel) * TAPS + tap];
                                sum = fma(slopes[one][i], pixel, sum);
                            }
                        }
                    }
                }
            }
        }
        if (!works) continue;
#pragma unroll
        for (int one = 0; one < weight_filters; ++one) {
            T* own = slices + (slice * filters + first_filter + one) * (DEPTH + 1);
            const bool writes = lane == 0 && first_filter + one < filters;
            const A of_bias = sum_of_lanes(bias_sums[one]);
            if (writes && first_channel == 0) own[DEPTH] = (T)of_bias;
#pragma unroll
            for (int k = 0; k < weight_channels * TAPS; ++k) {
                const A sum = sum_of_lanes(sums[one * weight_channels * TAPS + k]);
                if (writes) own[first_channel * TAPS + k] = (T)sum;
            }
        }
    }
}
