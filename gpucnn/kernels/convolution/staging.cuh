// Tiles of planes in shared memory, with all that their windows reach, for kernels that read each pixel once.
//
// Who includes this has the constants of the window, and `tf32`.

#include "../operand.cuh"

#define BLOCK 256
// Blocks that a multiprocessor must have registers for: with no word of it the compiler goes for more, and spills a few.
#define RESIDENT (sizeof(A) > 4 ? 1 : 2)
#define TAPS (kernel_height * kernel_width)
#define PIXELS ((I)height * width)
#define POSITIONS ((I)output_height * output_width)
#define PARTS(whole, size) (((whole) + (size) - 1) / (size))

// Elements of shared memory for planes and taps, at most.
#define STAGED 4096

// From the first tap of a window to the last.
#define SPAN_HEIGHT ((kernel_height - 1) * dilation_height)
#define SPAN_WIDTH ((kernel_width - 1) * dilation_width)

// Of the images, what so many rows and columns of the output read.
#define READ_ROWS(rows) (((rows) - 1) * stride_height + SPAN_HEIGHT + 1)
#define READ_COLUMNS(columns) (((columns) - 1) * stride_width + SPAN_WIDTH + 1)

// Some planes in shared memory, rows and columns of each.
struct Region {
    int planes, rows, columns;
};

// Fill a region from (top, left) of planes that are `apart` from one another; `there` of them exist, and what lies outside is 0,
// as is that whose `mask` is 0, where there is one.
__device__ __forceinline__ void stage(
    const T* planes, const T* mask, I apart, int there, int plane_height, int plane_width, int top, int left, Region region, A* place)
{
    const int across = region.columns > 16 ? 32 : 16;  // threads that share a row
    for (int line = threadIdx.x / across; line < region.planes * region.rows; line += BLOCK / across) {
        const int plane = line / region.rows;
        const unsigned y = top + line % region.rows;  // above the plane it is very large
        const bool has_row = plane < there && y < plane_height;
        for (int column = threadIdx.x % across; column < region.columns; column += across) {
            const unsigned x = left + column;
            A value = 0;
            if (has_row && x < plane_width) {
                const I at = plane * apart + y * plane_width + x;
                value = (A)planes[at];
                if (mask && (A)mask[at] == 0) value = 0;
            }
            place[line * region.columns + column] = rounded(value);
        }
    }
}

// The sum over the 32 lanes of a warp, which all of them get.
__device__ __forceinline__ A sum_of_lanes(A value)
{
    for (int distance = 16; distance > 0; distance /= 2) value += __shfl_xor_sync(0xffffffffu, value, distance);
    return value;
}
