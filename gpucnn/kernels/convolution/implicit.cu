// Convolution and its gradients as products of matrices whose columns never lie in memory: an implicit GEMM. In a group:
//
//   conv2d_forward            output (filters, positions) = weight (filters, channels * taps) @ columns of the images
//   conv2d_images_gradient    images' (channels, pixels) = weight^T (channels, filters * taps) @ columns of the gradient
//   conv2d_weight_gradient    weight' (filters, channels * taps) = gradient (filters, positions) @ columns^T, by slices
//   conv2d_add_slices         the sum of the slices, in order
//
// A block makes one tile of the product at a time. Step by step it brings what it multiplies into shared memory: some rows
// of the left matrix, and columns that it gathers straight from the images (batch, groups * channels, height, width); what
// lies in the padding is 0. Each thread then adds up its own share of the tile in registers, so every sum has a fixed order.
// The compiler knows all sizes but the batch, and the tiles that launcher.py's neighbour implicit.py has chosen.

#define BLOCK 256
#define TAPS (kernel_height * kernel_width)
#define PIXELS ((I)height * width)
#define POSITIONS ((I)output_height * output_width)

// Elements of shared memory for a step of each matrix; 4 more than a row of the left one needs, so that writes meet fewer banks.
#define LEFT 1280
#define RIGHT 4608
#define APART 4

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
            for (int j = 0; j < own.columns; ++j) sums[i][j] += a[i] * b[j];
    }
}

// Bit t says whether tap t of the window that starts at (top, start) lies inside the image.
__device__ __forceinline__ unsigned taps_inside(int top, int start)
{
    unsigned inside = 0;
#pragma unroll
    for (int tap = 0; tap < TAPS; ++tap) {
        const unsigned y = top + tap / kernel_width * dilation_height;  // above or left of the image it is very large
        const unsigned x = start + tap % kernel_width * dilation_width;
        inside |= (unsigned)(y < height && x < width) << tap;
    }
    return inside;
}

extern "C" __global__ void __launch_bounds__(BLOCK) conv2d_forward(
    const T* images, const T* weight, const T* bias, T* output, I positions, int relu)
{
    __shared__ A left[LEFT], right[RIGHT];
    const int thread_rows = forward_rows < 16 ? 4 : 8, across = BLOCK * thread_rows / forward_rows;
    const Share own = {thread_rows, forward_columns / across, across};
    const int depth = forward_channels * TAPS, left_width = forward_rows + APART;
    const I row_tiles = (filters + forward_rows - 1) / forward_rows;
    const I tiles = (positions + forward_columns - 1) / forward_columns * row_tiles * groups;
    for (I tile = blockIdx.x; tile < tiles; tile += gridDim.x) {
        const int first_filter = tile % row_tiles * forward_rows, group = tile / row_tiles % groups;
        const I first = tile / row_tiles / groups * forward_columns;
        // The position that this thread gathers for, in every step.
        const I position = first + threadIdx.x % forward_columns;
        const int top = (int)(position / output_width % output_height) * stride_height - padding_top;
        const int start = (int)(position % output_width) * stride_width - padding_left;
        const unsigned inside = position < positions ? taps_inside(top, start) : 0;
        const T* planes = images + (position / POSITIONS * groups + group) * channels * PIXELS;
        const T* rows = weight + ((I)group * filters + first_filter) * channels * TAPS;
        A sums[MOST_ROWS][MOST_COLUMNS] = {};
        for (int channel = 0; channel < channels; channel += forward_channels) {
            for (int i = threadIdx.x; i < forward_rows * depth; i += BLOCK) {
                const int row = i / depth, k = channel * TAPS + i % depth;
                const bool there = first_filter + row < filters && k < channels * TAPS;
                left[i % depth * left_width + row] = there ? (A)rows[row * channels * TAPS + k] : (A)0;
            }
            for (int one = threadIdx.x / forward_columns; one < forward_channels; one += BLOCK / forward_columns) {
                const bool there = channel + one < channels;
                const T* plane = planes + (channel + one) * PIXELS;
#pragma unroll
                for (int tap = 0; tap < TAPS; ++tap) {
                    const int y = top + tap / kernel_width * dilation_height, x = start + tap % kernel_width * dilation_width;
                    right[(one * TAPS + tap) * forward_columns + threadIdx.x % forward_columns] =
                        there && (inside >> tap & 1) ? (A)plane[y * width + x] : (A)0;
                }
            }
            __syncthreads();
            multiply(left, left_width, right, forward_columns, depth, own, sums);
            __syncthreads();  // until all have read this step's
        }
#pragma unroll
        for (int j = 0; j < own.columns; ++j) {
            const I place = first + column_of(own, j);
            if (place >= positions) continue;
            T* target = output + (place / POSITIONS * groups + group) * filters * POSITIONS + place % POSITIONS;
#pragma unroll
            for (int i = 0; i < own.rows; ++i) {
                const int filter = first_filter + row_of(own, i);
                if (filter >= filters) continue;
                A value = sums[i][j];
                if (bias) value += (A)bias[group * filters + filter];
                target[filter * POSITIONS] = (T)(relu && value <= 0 ? (A)0 : value);
            }
        }
    }
}
