// Depthwise convolution, in which each channel has filters of its own, and its gradients. A plane is one channel of one image.
//
//   depthwise_forward           output (batch, channels * multiplier, positions) from images (batch, channels, pixels)
//   depthwise_images_gradient   images' from the gradient of the output
//   depthwise_weight_gradient   slices (slices, filters, taps + 1): of each slice of tiles the weight's, and the bias's, gradient
//
// All three are bound by memory. A block brings a tile of some planes into shared memory, with all that its windows reach, so
// each pixel is read once, but for where tiles meet. A thread makes a strip of neighbours in a column, whose windows overlap:
// what they share it reads from shared memory once. The compiler knows all sizes but the batch, and depthwise.py's tiles.

#include "staging.cuh"

#define FILTERS (channels * multiplier)

// Taps of a filter and sums of a patch, at most.
#define MOST_TAPS 49
#define MOST_SUMS 16

// Of the output, what so many rows and columns of the padded images, whole strides of them, have been read by.
#define READING_ROWS(rows) ((rows) / stride_height + SPAN_HEIGHT / stride_height)
#define READING_COLUMNS(columns) ((columns) / stride_width + SPAN_WIDTH / stride_width)

// Bring the taps of `count` filters, from `first` on; after the last filter comes the first one, of the next image.
__device__ __forceinline__ void stage_taps(const T* weight, I first, int count, A* taps)
{
    for (int i = threadIdx.x; i < count * TAPS; i += BLOCK) taps[i] = rounded((A)weight[(first * TAPS + i) % (FILTERS * TAPS)]);
}

extern "C" __global__ void __launch_bounds__(BLOCK, RESIDENT) depthwise_forward(
    const T* images, const T* weight, const T* bias, T* output, I planes)
{
    const Region region = {forward_planes, READ_ROWS(forward_rows), READ_COLUMNS(forward_columns)};
    __shared__ A staged[STAGED];
    A* taps = staged + region.planes * region.rows * region.columns;
    const int strips = forward_rows / forward_strip, items = strips * forward_columns;
    const int row_tiles = PARTS(output_height, forward_rows), column_tiles = PARTS(output_width, forward_columns);
    const I tiles = PARTS(planes, forward_planes) * (row_tiles * column_tiles);
    for (I tile = blockIdx.x; tile < tiles; tile += gridDim.x) {
        const int first_column = tile % column_tiles * forward_columns;
        const int first_row = tile / column_tiles % row_tiles * forward_rows;
        const I first_plane = tile / (row_tiles * column_tiles) * forward_planes;
        const int there = min(planes - first_plane, (I)forward_planes);
        const int top = first_row * stride_height - padding_top, left = first_column * stride_width - padding_left;
        stage(images + first_plane * PIXELS, nullptr, PIXELS, there, height, width, top, left, region, staged);
        stage_taps(weight, first_plane * multiplier, there * multiplier, taps);
        __syncthreads();
        for (int item = threadIdx.x; item < there * items; item += BLOCK) {
            const int column = item % forward_columns, row = item / forward_columns % strips * forward_strip;
            const int plane = item / items, y = first_row + row, x = first_column + column;
            const bool has_column = output_width % forward_columns == 0 || x < output_width;
            const A* corner = staged + (plane * region.rows + row * stride_height) * region.columns + column * stride_width;
            for (int one = 0; one < multiplier; ++one) {
                const A* own = taps + (plane * multiplier + one) * TAPS;
                A sums[MOST_SUMS] = {};
#pragma unroll
                for (int tap = 0; tap < TAPS; ++tap) {
                    const int down = tap / kernel_width * dilation_height, along = tap % kernel_width * dilation_width;
#pragma unroll
                    for (int i = 0; i < forward_strip; ++i)
                        sums[i] = fma(own[tap], corner[(i * stride_height + down) * region.columns + along], sums[i]);
                }
                const I filter = (first_plane + plane) * multiplier + one, first = filter * POSITIONS + y * output_width + x;
                const A offset = bias ? (A)bias[filter % FILTERS] : (A)0;
#pragma unroll
                for (int i = 0; i < forward_strip; ++i) {
                    const A value = sums[i] + offset;
                    const bool has_row = output_height % forward_rows == 0 || y + i < output_height;
                    if (has_row && has_column) output[first + i * output_width] = (T)(relu && value <= 0 ? (A)0 : value);
                }
            }
        }
        __syncthreads();  // until all have read what this tile has brought
    }
}

// `output` is that of the convolution if a ReLU followed: where it is 0, no gradient passes. A thread makes a patch of pixels, a
// strip of rows and a stride of columns, that starts at a whole number of strides in the padded image: so which taps have read
// which of its pixels is known to the compiler.
extern "C" __global__ void __launch_bounds__(BLOCK, RESIDENT) depthwise_images_gradient(
    const T* gradient, const T* output, const T* weight, T* images, I planes)
{
    const Region region = {images_planes * multiplier, READING_ROWS(images_rows), READING_COLUMNS(images_columns)};
    __shared__ A staged[STAGED];
    A* taps = staged + region.planes * region.rows * region.columns;
    const int strips = images_rows / images_strip, patches = images_columns / stride_width, items = strips * patches;
    // Where the first patch starts: rows and columns of padding before it are nobody's.
    const int start_row = padding_top / stride_height * stride_height, start_column = padding_left / stride_width * stride_width;
    const int row_tiles = PARTS(padding_top - start_row + height, images_rows);
    const int column_tiles = PARTS(padding_left - start_column + width, images_columns);
    const I tiles = PARTS(planes, images_planes) * (row_tiles * column_tiles);
    for (I tile = blockIdx.x; tile < tiles; tile += gridDim.x) {
        const int first_column = start_column + tile % column_tiles * images_columns;
        const int first_row = start_row + tile / column_tiles % row_tiles * images_rows;
        const I first_plane = tile / (row_tiles * column_tiles) * images_planes;
        const int there = min(planes - first_plane, (I)images_planes);
        const int top = first_row / stride_height - SPAN_HEIGHT / stride_height;
        const int left = first_column / stride_width - SPAN_WIDTH / stride_width;
        const I first = first_plane * multiplier * POSITIONS;
        stage(gradient + first, relu ? output + first : nullptr, POSITIONS, there * multiplier, output_height, output_width, top, left,
              region, staged);
        stage_taps(weight, first_plane * multiplier, there * multiplier, taps);
        __syncthreads();
        for (int item = threadIdx.x; item < there * items; item += BLOCK) {
            const int patch = item % patches, row = item / patches % strips * images_strip, plane = item / items;
            const int top_pixel = first_row + row - padding_top, left_pixel = first_column + patch * stride_width - padding_left;
            const I first_pixel = (first_plane + plane) * PIXELS + (top_pixel * width + left_pixel);
            A sums[MOST_SUMS] = {};
            for (int one = 0; one < multiplier; ++one) {
                const A* own = taps + (plane * multiplier + one) * TAPS;
                // The output that the patch's first pixel was read for by the last tap, or the one after it.
                const A* corner = staged
                    + ((plane * multiplier + one) * region.rows + row / stride_height) * region.columns + patch;
                const A* latest = corner + SPAN_HEIGHT / stride_height * region.columns + SPAN_WIDTH / stride_width;
#pragma unroll
                for (int tap = 0; tap < TAPS; ++tap) {
#pragma unroll
                    for (int i = 0; i < images_strip; ++i)
#pragma unroll
                        for (int j = 0; j < stride_width; ++j) {
                            const int down = i - tap / kernel_width * dilation_height, along = j - tap % kernel_width * dilation_width;
                            if (down % stride_height == 0 && along % stride_width == 0)
                                sums[i * stride_width + j] = fma(
                                    own[tap], latest[down / stride_height * region.columns + along / stride_width],
                                    sums[i * stride_width + j]);
                        }
                }
            }
#pragma unroll
            for (int i = 0; i < images_strip; ++i)
#pragma unroll
                for (int j = 0; j < stride_width; ++j) {
                    const unsigned y = top_pixel + i, x = left_pixel + j;
                    if (y < height && x < width) images[first_pixel + (i * width + j)] = (T)sums[i * stride_width + j];
                }
        }
        __syncthreads();  // until all have read what this tile has brought
    }
}

// A block adds up one filter's gradient over the `length` tiles of a slice, in which a tile has some images' planes of one channel.
extern "C" __global__ void __launch_bounds__(BLOCK, RESIDENT) depthwise_weight_gradient(
    const T* gradient, const T* output, const T* images, T* slices, I batch, I length)
{
    const Region region = {weight_planes, READ_ROWS(weight_rows), READ_COLUMNS(weight_columns)};
    __shared__ A staged[STAGED], of_warps[BLOCK / 32][MOST_TAPS + 1];
    const int strips = weight_rows / weight_strip, items = strips * weight_columns;
    const int row_tiles = PARTS(output_height, weight_rows), column_tiles = PARTS(output_width, weight_columns);
    const I tiles = PARTS(batch, weight_planes) * (row_tiles * column_tiles);
    for (I task = blockIdx.x; task < PARTS(tiles, length) * FILTERS; task += gridDim.x) {
        const int filter = task % FILTERS, channel = filter / multiplier;
        const I slice = task / FILTERS, stop = min((slice + 1) * length, tiles);
        A sums[MOST_TAPS + 1] = {};
        for (I tile = slice * length; tile < stop; ++tile) {
            const int first_column = tile % column_tiles * weight_columns;
            const int first_row = tile / column_tiles % row_tiles * weight_rows;
            const I first_image = tile / (row_tiles * column_tiles) * weight_planes;
            const int there = min(batch - first_image, (I)weight_planes);
            const int top = first_row * stride_height - padding_top, left = first_column * stride_width - padding_left;
            __syncthreads();  // until all have read what the tile before has brought
            stage(images + (first_image * channels + channel) * PIXELS, nullptr, channels * PIXELS, there, height, width, top, left,
                  region, staged);
            __syncthreads();
            for (int item = threadIdx.x; item < there * items; item += BLOCK) {
                const int column = item % weight_columns, row = item / weight_columns % strips * weight_strip;
                const int plane = item / items, y = first_row + row, x = first_column + column;
                const bool has_column = output_width % weight_columns == 0 || x < output_width;
                const A* corner = staged + (plane * region.rows + row * stride_height) * region.columns + column * stride_width;
                const I first = ((first_image + plane) * FILTERS + filter) * POSITIONS + y * output_width + x;
                A slopes[MOST_SUMS];
#pragma unroll
                for (int i = 0; i < weight_strip; ++i) {
                    const bool has_row = output_height % weight_rows == 0 || y + i < output_height;
                    const I at = first + i * output_width;
                    const bool passes = has_row && has_column && !(relu && (A)output[at] == 0);
                    slopes[i] = passes ? rounded((A)gradient[at]) : (A)0;
                    sums[TAPS] += slopes[i];
                }
#pragma unroll
                for (int tap = 0; tap < TAPS; ++tap) {
                    const int down = tap / kernel_width * dilation_height, along = tap % kernel_width * dilation_width;
#pragma unroll
                    for (int i = 0; i < weight_strip; ++i)
                        sums[tap] = fma(slopes[i], corner[(i * stride_height + down) * region.columns + along], sums[tap]);
                }
            }
        }
#pragma unroll
        for (int tap = 0; tap <= TAPS; ++tap) {
            const A sum = sum_of_lanes(sums[tap]);
            if (threadIdx.x % 32 == 0) of_warps[threadIdx.x / 32][tap] = sum;
        }
        __syncthreads();
        for (int tap = threadIdx.x; tap <= TAPS; tap += BLOCK) {
            A total = 0;
            for (int warp = 0; warp < BLOCK / 32; ++warp) total += of_warps[warp][tap];
            slices[(slice * FILTERS + filter) * (TAPS + 1) + tap] = (T)total;
        }
    }
}
