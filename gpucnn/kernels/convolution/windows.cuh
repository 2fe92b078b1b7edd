// The windows of a convolution: which of their taps lie inside the image, where, and which were read from a pixel.

#define TAPS (kernel_height * kernel_width)
#define PIXELS ((I)height * width)
#define POSITIONS ((I)output_height * output_width)

// Bit t says whether tap t of the window that starts at (top, start) lies inside the image.
__device__ __forceinline__ unsigned taps_inside(int top, int start)
{
    unsigned in_a_row = 0, inside = 0;
#pragma unroll
    for (int tap = 0; tap < kernel_width; ++tap) {
        const unsigned x = start + tap * dilation_width;  // left of the image it is very large
        in_a_row |= (unsigned)(x < width) << tap;
    }
#pragma unroll
    for (int tap = 0; tap < kernel_height; ++tap) {
        const unsigned y = top + tap * dilation_height;
        if (y < height) inside |= in_a_row << tap * kernel_width;
    }
    return inside;
}

// How far behind the first pixel of a window that of a tap lies.
__device__ __forceinline__ int tap_offset(int tap)
{
    return tap / kernel_width * dilation_height * width + tap % kernel_width * dilation_width;
}

// Bit t says whether tap t of a window read a pixel that lies at (from_top, from_left) with the padding counted in.
__device__ __forceinline__ unsigned taps_that_read(int from_top, int from_left)
{
    unsigned reached = 0;
#pragma unroll
    for (int tap = 0; tap < TAPS; ++tap) {
        const int down = from_top - tap / kernel_width * dilation_height;
        const int along = from_left - tap % kernel_width * dilation_width;
        const bool row = down >= 0 && down % stride_height == 0 && down / stride_height < output_height;
        const bool column = along >= 0 && along % stride_width == 0 && along / stride_width < output_width;
        reached |= (unsigned)(row && column) << tap;
    }
    return reached;
}

// How far before the window that starts at a pixel, or the one that would, that window lies of which a tap read it. What a tap
// has reached is a whole number of strides away, so the remainders of both divisions are equal.
__device__ __forceinline__ int window_offset(int tap)
{
    const int up = tap / kernel_width * dilation_height / stride_height;
    return up * output_width + tap % kernel_width * dilation_width / stride_width;
}
