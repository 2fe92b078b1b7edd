// c (rows, columns) = a (rows, depth) @ b (depth, columns) on tensor cores. A block of two warps makes a tile of 32 x 16; the
// next tiles of a and b are on their way while it works on the ones that are there.
#include "../../../../gpucnn/kernels/warp.cuh"

#define ROWS 32
#define COLUMNS 16

__device__ void write(float* c, const float (&sums)[2][4], int rows, int columns)
{
    const int lane = threadIdx.x % 32;
    for (int n = 0; n < 2; ++n)
        for (int i = 0; i < 4; ++i) {
            const int row = blockIdx.y * ROWS + threadIdx.x / 32 * 16 + lane / 4 + i / 2 * 8;
            const int column = blockIdx.x * COLUMNS + n * 8 + lane % 4 * 2 + i % 2;
            if (row < rows && column < columns) c[row * columns + column] = sums[n][i];
        }
}

// bf16; depth and columns are multiples of 8, so that 16 bytes are never cut.
extern "C" __global__ void __launch_bounds__(64) matmul_bf16(
    const unsigned short* a, const unsigned short* b, float* c, int rows, int columns, int depth)
{
    __shared__ __align__(16) unsigned short a_tile[2][ROWS][16 + 8];
    __shared__ __align__(16) unsigned short b_tile[2][16][COLUMNS + 8];
    const int thread = threadIdx.x, lane = thread % 32, warp = thread / 32;
    const int steps = (depth + 15) / 16;
    const auto fetch = [&](int step) {
        const int row = blockIdx.y * ROWS + thread / 2, k = step * 16 + thread % 2 * 8;
        const bool a_there = row < rows && k < depth;
        copy_async<16>(&a_tile[step % 2][thread / 2][thread % 2 * 8], a_there ? a + row * depth + k : a, a_there ? 16 : 0);
        const int depth_row = step * 16 + lane / 2, column = blockIdx.x * COLUMNS + lane % 2 * 8;
        const bool b_there = depth_row < depth && column < columns;
        if (warp == 0)
            copy_async<16>(
                &b_tile[step % 2][lane / 2][lane % 2 * 8], b_there ? b + depth_row * columns + column : b, b_there ? 16 : 0);
    };
    float sums[2][4] = {};
    fetch(0);
    commit_copies();  // the first tiles
    for (int step = 0; step < steps; ++step) {
        if (step + 1 < steps) fetch(step + 1);
        commit_copies();  // the next tiles
        wait_for_copies<1>();
        __syncthreads();  // the tiles are there
        unsigned left[4], right[2];
        load_matrices(left, &a_tile[step % 2][warp * 16 + lane % 16][lane / 16 * 8]);
        for (int n = 0; n < 2; ++n) {
            load_matrices_transposed(right, &b_tile[step % 2][lane % 16][n * 8]);
            mma_bf16(sums[n], left, right);
        }
        __syncthreads();  // the tiles have been read
    }
    write(c, sums, rows, columns);
}

// TF32, from floats; any sizes, as 4 bytes are copied at a time.
extern "C" __global__ void __launch_bounds__(64) matmul_tf32(
    const float* a, const float* b, float* c, int rows, int columns, int depth)
{
    __shared__ __align__(16) float a_tile[2][ROWS][8 + 4];
    __shared__ float b_tile[2][8][COLUMNS + 8];
    const int thread = threadIdx.x, lane = thread % 32, warp = thread / 32;
    const int steps = (depth + 7) / 8;
    const auto fetch = [&](int step) {
        for (int i = thread; i < ROWS * 8; i += 64) {
            const int row = blockIdx.y * ROWS + i / 8, k = step * 8 + i % 8;
            const bool there = row < rows && k < depth;
            copy_async<4>(&a_tile[step % 2][i / 8][i % 8], there ? a + row * depth + k : a, there ? 4 : 0);
        }
        for (int i = thread; i < 8 * COLUMNS; i += 64) {
            const int k = step * 8 + i / COLUMNS, column = blockIdx.x * COLUMNS + i % COLUMNS;
            const bool there = k < depth && column < columns;
            copy_async<4>(
                &b_tile[step % 2][i / COLUMNS][i % COLUMNS], there ? b + k * columns + column : b, there ? 4 : 0);
        }
    };
    float sums[2][4] = {};
    fetch(0);
    commit_copies();
    for (int step = 0; step < steps; ++step) {
        if (step + 1 < steps) fetch(step + 1);
        commit_copies();
        wait_for_copies<1>();
        __syncthreads();
        unsigned left[4], right[2];
        load_matrices(left, &a_tile[step % 2][warp * 16 + lane % 16][lane / 16 * 4]);
        for (int i = 0; i < 4; ++i) left[i] = tf32_bits(__uint_as_float(left[i]));
        for (int n = 0; n < 2; ++n) {
            for (int i = 0; i < 2; ++i)
                right[i] = tf32_bits(b_tile[step % 2][lane % 4 + i * 4][n * 8 + lane / 4]);
            mma_tf32(sums[n], left, right);
        }
        __syncthreads();
    }
    write(c, sums, rows, columns);
}
