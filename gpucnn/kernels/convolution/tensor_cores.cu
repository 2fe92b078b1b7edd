// Convolution on tensor cores: the products of implicit.cu, in TF32 or, of arrays of bfloat16, in bf16, with sums in float32.
//
//   tensor_forward            output (filters, positions) = weight (filters, channels * taps) @ columns of the images
//   tensor_images_gradient    images' (channels, pixels) = weight^T (channels, filters * taps) @ columns of the gradient
//   tensor_weight_gradient    weight' (filters, channels * taps) = gradient (filters, positions) @ columns^T, by slices
//
// Read implicit.cu first: here numbers meet in another way. A block makes one tile of the product, step by step. What a step
// multiplies is rounded as it comes into shared memory: rows of the left matrix and columns of the right one, both along the
// depth, as ldmatrix takes them. While warps multiply the numbers of one step, those of the next are on their way to registers.
// Every sum has a fixed order.

#include "../warp.cuh"
#include "windows.cuh"

#define BLOCK 256
#define WARPS 8

// Numbers in a word: one TF32, or two bf16.
#define PACK (sizeof(T) == 2 ? 2 : 1)

// Words of a row, or column, in a step.
#define WORDS 16

// Rows and columns of a tile together, at most.
#define MOST_LINES 320

// In the weight's gradient each lane of a warp reads the positions of one word, for so many rows and columns at most.
#define POSITIONS_OF_A_STEP (32 * PACK)
#define APART 36
#define MOST_LONG_LINES 224
#define MOST_ROWS_A_WARP 8
#define MOST_TAPS_A_WARP 32

// What a warp has of a tile, at most: rows in sixteens, columns in eights. And its sums, in each lane 4 of each such part.
#define MOST_ROWS 2
#define MOST_COLUMNS 8
typedef float Sums[MOST_ROWS][MOST_COLUMNS][4];

// A float as tensor cores read a TF32, rounded as by tf32_bits: the bits that are left out here they do not look at.
__device__ __forceinline__ unsigned tf32_word(float value)
{
    return value == value ? __float_as_uint(value) + 0x1000 : __float_as_uint(value);
}

// A word of numbers as `T` has them, and one of floats: one of them, rounded, or two.
__device__ __forceinline__ unsigned word_of(const float* numbers)
{
    if (PACK == 1) return tf32_word(numbers[0]);
    return __float_as_uint(numbers[0]) >> 16 | (__float_as_uint(numbers[PACK - 1]) & 0xffff0000u);
}
__device__ __forceinline__ unsigned rounded_word_of(const float* numbers)
{
    return PACK == 1 ? tf32_word(numbers[0]) : bf16_pair(numbers[0], numbers[PACK - 1]);
}

// How the warps share a tile: rows and columns of each, in sixteens and eights, and how many warps stand side by side.
struct Share {
    int rows, columns, across;
};
__device__ __forceinline__ Share share_of(int rows, int columns)
{
    const int height = rows < 32 || (rows == 32 && columns < 256) ? 1 : 2, across = WARPS * height * 16 / rows;
    return {height, columns / across / 8, across};
}
__device__ __forceinline__ int first_row(Share own) { return threadIdx.x / 32 / own.across * own.rows * 16; }
__device__ __forceinline__ int first_column(Share own) { return threadIdx.x / 32 % own.across * own.columns * 8; }

// The place in the tile of a lane's sum number r in part (i, j): see warp.cuh.
__device__ __forceinline__ int row_of(Share own, int i, int r) { return first_row(own) + i * 16 + r / 2 * 8 + threadIdx.x % 32 / 4; }
__device__ __forceinline__ int column_of(Share own, int j, int r) { return first_column(own) + j * 8 + threadIdx.x % 4 * 2 + r % 2; }

// Where a word of a row, or column, lies in a step: fours of words are turned round from row to row, so that of eight rows the 16
// bytes that ldmatrix takes, and those that eight threads write, lie in different banks. Every eighth row is alike.
__device__ __forceinline__ int place_of(int row, int word) { return row * WORDS + (word / 4 ^ row / 2 % 4) * 4 + word % 4; }

// Add the products of 16 words of a warp's rows and columns to its sums. They are `apart` words from one another; `turned` says
// whether they lie as place_of has it, or one word after the other.
__device__ __forceinline__ void multiply(
    const unsigned* left, const unsigned* right, int apart, bool turned, Share own, Sums& sums)
{
    const int lane = threadIdx.x % 32, row = lane % 16, word = lane / 16 * 4, column = lane % 8, place = lane / 8 * 4;
    left += first_row(own) * apart + (turned ? place_of(row, word) : row * apart + word);
    right += first_column(own) * apart + (turned ? place_of(column, place) : column * apart + place);
    const int second = !turned || row / 4 % 2 == 0 ? 8 : -8;  // from the first 8 words of a row to the others
    unsigned a[MOST_ROWS][2][4];
#pragma unroll
    for (int i = 0; i < own.rows; ++i)
#pragma unroll
        for (int half = 0; half < 2; ++half) load_matrices(a[i][half], left + i * 16 * apart + half * second);
#pragma unroll
    for (int j = 0; j < own.columns; ++j) {
        unsigned b[4];
        load_matrices(b, right + j * 8 * apart);
#pragma unroll
        for (int half = 0; half < 2; ++half) {
            const unsigned own_half[2] = {b[half * 2], b[half * 2 + 1]};
#pragma unroll
            for (int i = 0; i < own.rows; ++i)
                if (PACK == 1)
                    mma_tf32(sums[i][j], a[i][half], own_half);
                else
                    mma_bf16(sums[i][j], a[i][half], own_half);
        }
    }
}

// sums += left (rows, depth * TAPS) @ right (depth * TAPS, columns), a tile. BLOCK / columns threads share a column, and each
// brings `each` channels of it a round, one tap after the other: which tap, the compiler knows. left_at(row, k, there) and
// right_at(first, channel, tap), of channel number first + channel, read what is multiplied; `right_at` for the thread's column.
template <class Left, class Right>
__device__ __forceinline__ void multiply_tile(
    int rows, int columns, int each, int depth, Left left_at, Right right_at, Share own, Sums& sums)
{
    __shared__ __align__(16) unsigned lines[2][MOST_LINES * WORDS];
    const int parts = BLOCK / columns, words = WORDS / parts, numbers = words * PACK;
    const int steps = (each * TAPS + numbers - 1) / numbers, rounds = (depth + each * parts - 1) / (each * parts);
    const int part = threadIdx.x / columns, column = threadIdx.x % columns;
    const int row = threadIdx.x / WORDS, word = threadIdx.x % WORDS;
    float of_rows[MOST_LINES / (BLOCK / WORDS)][PACK], of_column[WORDS * PACK];

    const auto fetch = [&](int round, int step) {
        const int own_place = word % words * PACK, first = (round * parts + word / words) * (each * TAPS) + own_place;
#pragma unroll
        for (int i = 0; i < rows / 16; ++i)
#pragma unroll
            for (int p = 0; p < PACK; ++p) {
                const bool there = (step + 1) * numbers <= each * TAPS || step * numbers + own_place + p < each * TAPS;
                of_rows[i][p] = left_at(row + i * 16, first + step * numbers + p, there);
            }
#pragma unroll
        for (int i = 0; i < numbers; ++i) {
            const int place = step * numbers + i;
            of_column[i] = place < each * TAPS ? right_at((round * parts + part) * each, place / TAPS, place % TAPS) : 0.0f;
        }
    };
    const auto store = [&](unsigned* left) {
        unsigned* right = left + rows * WORDS;
#pragma unroll
        for (int i = 0; i < rows / 16; ++i) left[place_of(row, word) + i * 16 * WORDS] = rounded_word_of(of_rows[i]);
#pragma unroll
        for (int i = 0; i < words; i += 4)
            *(uint4*)(right + place_of(column, part * words + i)) = make_uint4(
                word_of(of_column + i * PACK), word_of(of_column + (i + 1) * PACK), word_of(of_column + (i + 2) * PACK),
                word_of(of_column + (i + 3) * PACK));
    };

    int round = 0, step = 0, now = 0;
    const auto fetch_next = [&] {
#pragma unroll
        for (int known = 0; known < steps; ++known)
            if (known == step) fetch(round, known);
        step = step + 1 < steps ? step + 1 : 0;
        round += step == 0;
    };
    fetch_next();
    store(lines[now]);
    __syncthreads();
    for (int still = rounds * steps; still > 0; --still) {
        if (still > 1) fetch_next();
        multiply(lines[now], lines[now] + rows * WORDS, WORDS, true, own, sums);
        now ^= 1;
        if (still > 1) store(lines[now]);
        __syncthreads();  // the next step is there, and what was read may be written over
    }
}

extern "C" __global__ void __launch_bounds__(BLOCK, 1) tensor_forward(
    const T* images, const A* weight, const A* bias, T* output, I positions)
{
    const Share own = share_of(forward_rows, forward_columns);
    const int row_tiles = (filters + forward_rows - 1) / forward_rows;
    const I tiles = (positions + forward_columns - 1) / forward_columns * (row_tiles * groups);
    for (I tile = blockIdx.x; tile < tiles; tile += gridDim.x) {
        const int first_filter = tile % row_tiles * forward_rows, group = tile / row_tiles % groups;
        const I first = tile / (row_tiles * groups) * forward_columns;
        const A* rows = weight + ((I)group * filters + first_filter) * (channels * TAPS);
        // The position that this thread gathers for, in every step.
        const I position = first + threadIdx.x % forward_columns;
        const int top = (int)(position / output_width % output_height) * stride_height - padding_top;
        const int start = (int)(position % output_width) * stride_width - padding_left;
        const unsigned inside = position < positions ? taps_inside(top, start) : 0;
        const T* corner = images + (position / POSITIONS * groups + group) * channels * PIXELS + (top * width + start);
        const auto left_at = [&](int row, int k, bool there) {
            const bool inside = (filters % forward_rows == 0 || first_filter + row < filters)
                && (channels % (forward_channels * (BLOCK / forward_columns)) == 0 || k < channels * TAPS);
            return there && inside ? (float)rows[row * (channels * TAPS) + k] : 0.0f;
        };
        const auto right_at = [&](int first, int channel, int tap) {
            const T* plane = corner + first * PIXELS;
            const bool there = channels % (forward_channels * (BLOCK / forward_columns)) == 0 || first + channel < channels;
            return there && inside >> tap & 1 ? (float)plane[channel * (height * width) + tap_offset(tap)] : 0.0f;
        };
        Sums sums = {};
        multiply_tile(forward_rows, forward_columns, forward_channels, channels, left_at, right_at, own, sums);
#pragma unroll
        for (int j = 0; j < own.columns; ++j)
#pragma unroll
            for (int r = 0; r < 4; ++r) {
                const I place = first + column_of(own, j, r);
                if (place >= positions) continue;
                T* target = output + (place / POSITIONS * groups + group) * filters * POSITIONS + place % POSITIONS;
#pragma unroll
                for (int i = 0; i < own.rows; ++i) {
                    const int filter = first_filter + row_of(own, i, r);
                    if (filter >= filters) continue;
                    float value = sums[i][j][r];
                    if (bias) value += (float)bias[group * filters + filter];
                    target[filter * POSITIONS] = (T)(relu && value <= 0 ? 0.0f : value);
                }
            }
    }
}

// `output` is that of the convolution if a ReLU followed: where it is 0, no gradient passes.
extern "C" __global__ void __launch_bounds__(BLOCK, 1) tensor_images_gradient(
    const T* gradient, const T* output, const A* weight, T* images, I pixels)
{
    const Share own = share_of(images_rows, images_columns);
    const int row_tiles = (channels + images_rows - 1) / images_rows;
    const I tiles = (pixels + images_columns - 1) / images_columns * (row_tiles * groups);
    for (I tile = blockIdx.x; tile < tiles; tile += gridDim.x) {
        const int first_channel = tile % row_tiles * images_rows, group = tile / row_tiles % groups;
        const I first = tile / (row_tiles * groups) * images_columns;
        const A* rows = weight + ((I)group * filters * channels + first_channel) * TAPS;
        // The pixel that this thread gathers for, and which taps were read from it, by windows that there are.
        const I pixel = first + threadIdx.x % images_columns;
        const int from_top = (int)(pixel / width % height) + padding_top, from_left = (int)(pixel % width) + padding_left;
        const unsigned reached = pixel < pixels ? taps_that_read(from_top, from_left) : 0;
        const I corner = (pixel / PIXELS * groups + group) * filters * POSITIONS
            + (from_top / stride_height * output_width + from_left / stride_width);
        const auto left_at = [&](int row, int k, bool there) {
            const bool inside = (channels % images_rows == 0 || first_channel + row < channels)
                && (filters % (images_filters * (BLOCK / images_columns)) == 0 || k < filters * TAPS);
            return there && inside ? (float)rows[k / TAPS * (channels * TAPS) + k % TAPS + row * TAPS] : 0.0f;
        };
        const auto right_at = [&](int first, int filter, int tap) {
            const bool there = filters % (images_filters * (BLOCK / images_columns)) == 0 || first + filter < filters;
            const bool taken = there && reached >> tap & 1;
            const I plane = corner + first * POSITIONS;
            const int offset = filter * (output_height * output_width) - window_offset(tap);
            const bool passes = !relu || (taken ? (float)(output + plane)[offset] : 0.0f) != 0;
            const float value = taken ? (float)(gradient + plane)[offset] : 0.0f;
            return passes ? value : 0.0f;
        };
        Sums sums = {};
        multiply_tile(images_rows, images_columns, images_filters, filters, left_at, right_at, own, sums);
#pragma unroll
        for (int j = 0; j < own.columns; ++j)
#pragma unroll
            for (int r = 0; r < 4; ++r) {
                const I place = first + column_of(own, j, r);
                if (place >= pixels) continue;
                T* target = images + (place / PIXELS * groups + group) * channels * PIXELS + place % PIXELS;
#pragma unroll
                for (int i = 0; i < own.rows; ++i) {
                    const int channel = first_channel + row_of(own, i, r);
                    if (channel < channels) target[channel * PIXELS] = sums[i][j][r];
                }
            }
    }
}

// slices (slices, groups * filters, channels * taps + 1): of each slice of `length` positions the gradient of the weight, and
// beside it that of the bias, which is a sum and no product: the threads add up what they read, before it is rounded.
extern "C" __global__ void __launch_bounds__(BLOCK, 1) tensor_weight_gradient(
    const T* gradient, const T* output, const T* images, A* slices, I positions, I length)
{
    __shared__ __align__(16) unsigned left[MOST_LONG_LINES * APART];
    const int taps = weight_channels * TAPS;
    const int across = share_of(weight_rows, 0).across;
    const int columns = (taps + across * 8 - 1) / (across * 8) * (across * 8);
    const Share own = share_of(weight_rows, columns);
    unsigned* right = left + weight_rows * APART;
    const int row_tiles = (filters + weight_rows - 1) / weight_rows;
    const int column_tiles = (channels + weight_channels - 1) / weight_channels;
    const I tiles = (positions + length - 1) / length * (row_tiles * column_tiles * groups);
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    for (I tile = blockIdx.x; tile < tiles; tile += gridDim.x) {
        const int first_filter = tile % row_tiles * weight_rows;
        const int first_channel = tile / row_tiles % column_tiles * weight_channels;
        const int group = tile / (row_tiles * column_tiles) % groups;
        const I slice = tile / (row_tiles * column_tiles * groups), stop = min((slice + 1) * length, positions);
        for (int column = taps + warp; column < columns; column += WARPS) right[column * APART + lane] = 0;
        float of_rows[MOST_ROWS_A_WARP][PACK], of_columns[MOST_TAPS_A_WARP][PACK], row_sums[MOST_ROWS_A_WARP] = {};

        // A warp reads every eighth row and channel, each lane at positions of its own.
        const auto fetch = [&](I first) {
#pragma unroll
            for (int p = 0; p < PACK; ++p) {
                const I position = first + lane * PACK + p;
                const I image = position / POSITIONS * groups + group, place = position % POSITIONS;
                const int top = (int)(place / output_width) * stride_height - padding_top;
                const int start = (int)(place % output_width) * stride_width - padding_left;
                const unsigned inside = position < stop ? taps_inside(top, start) : 0;
                const I at = (image * filters + first_filter + warp) * POSITIONS + place;
#pragma unroll
                for (int i = 0; i < weight_rows / WARPS; ++i) {
                    const bool there = filters % weight_rows == 0 || first_filter + warp + i * WARPS < filters;
                    const int offset = i * WARPS * (output_height * output_width);
                    const bool taken = position < stop && there;
                    const bool passes = !relu || (taken ? (float)(output + at)[offset] : 0.0f) != 0;
                    const float value = taken ? (float)(gradient + at)[offset] : 0.0f;
                    of_rows[i][p] = passes ? value : 0.0f;
                }
                const T* corner = images + (image * channels + first_channel + warp) * PIXELS + (top * width + start);
#pragma unroll
                for (int i = 0; i < weight_channels; i += WARPS) {
                    const unsigned taken = warp + i < weight_channels && first_channel + warp + i < channels ? inside : 0;
#pragma unroll
                    for (int tap = 0; tap < TAPS; ++tap)
                        of_columns[i / WARPS * TAPS + tap][p] =
                            taken >> tap & 1 ? (float)corner[i * (height * width) + tap_offset(tap)] : 0.0f;
                }
            }
        };
        const auto store = [&] {
#pragma unroll
            for (int i = 0; i < weight_rows / WARPS; ++i) {
                left[(warp + i * WARPS) * APART + lane] = word_of(of_rows[i]);
                for (int p = 0; p < PACK; ++p) row_sums[i] += of_rows[i][p];
            }
#pragma unroll
            for (int i = 0; i < weight_channels; i += WARPS) {
                if (warp + i >= weight_channels) continue;
#pragma unroll
                for (int tap = 0; tap < TAPS; ++tap)
                    right[((warp + i) * TAPS + tap) * APART + lane] =
                        word_of(of_columns[i / WARPS * TAPS + tap]);
            }
        };

        Sums sums = {};
        fetch(slice * length);
        for (I first = slice * length; first < stop; first += POSITIONS_OF_A_STEP) {
            store();
            __syncthreads();
            if (first + POSITIONS_OF_A_STEP < stop) fetch(first + POSITIONS_OF_A_STEP);
#pragma unroll
            for (int word = 0; word < 2 * WORDS; word += WORDS) multiply(left + word, right + word, APART, false, own, sums);
            __syncthreads();  // until all have read what this step has brought
        }
#pragma unroll
        for (int j = 0; j < own.columns; ++j)
#pragma unroll
            for (int r = 0; r < 4; ++r) {
                const int column = column_of(own, j, r), k = first_channel * TAPS + column;
                if (column >= taps || k >= channels * TAPS) continue;
#pragma unroll
                for (int i = 0; i < own.rows; ++i) {
                    const int filter = first_filter + row_of(own, i, r);
                    const I row = (slice * groups + group) * filters + filter;
                    if (filter < filters) slices[row * (channels * TAPS + 1) + k] = sums[i][j][r];
                }
            }
#pragma unroll
        for (int i = 0; i < weight_rows / WARPS; ++i) {
            for (int bits = 16; bits > 0; bits /= 2) row_sums[i] += __shfl_xor_sync(0xffffffff, row_sums[i], bits);
            const int filter = first_filter + warp + i * WARPS;
            const I row = (slice * groups + group) * filters + filter;
            if (lane == 0 && first_channel == 0 && filter < filters)
                slices[row * (channels * TAPS + 1) + channels * TAPS] = row_sums[i];
        }
    }
}
