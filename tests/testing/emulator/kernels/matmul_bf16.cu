// c (rows, columns) = a (rows, depth) @ b (depth, columns) on tensor cores, in bf16. A block of two warps makes a tile of c of
// 32 x 16. The next tiles of a and b are on their way while it works on those that are there. Depth and columns are multiples
// of 8, so that no 16 bytes are cut.
#include "../../../../gpucnn/kernels/warp.cuh"

#define ROWS 32
#define COLUMNS 16
#define DEPTH 16

extern "C" __global__ void __launch_bounds__(64) matmul_bf16(
    const unsigned short* a, const unsigned short* b, float* c, int rows, int columns, int depth)
{
    __shared__ __align__(16) unsigned short a_tile[2][ROWS][DEPTH + 8];
    __shared__ __align__(16) unsigned short b_tile[2][DEPTH][COLUMNS + 8];
    const int thread = threadIdx.x, lane = thread % 32, warp = thread / 32;
    const int steps = (depth + DEPTH - 1) / DEPTH;
    const auto fetch = [&](int step) {
        const int row = blockIdx.y * ROWS + thread / 2, k = step * DEPTH + thread % 2 * 8;
        const bool a_there = row < rows && k < depth;
        copy_async<16>(&a_tile[step % 2][thread / 2][thread % 2 * 8], a_there ? a + row * depth + k : a, a_there ? 16 : 0);
        const int b_row = step * DEPTH + lane / 2, column = blockIdx.x * COLUMNS + lane % 2 * 8;
        const bool b_there = b_row < depth && column < columns;
        if (warp == 0)
            copy_async<16>(&b_tile[step % 2][lane / 2][lane % 2 * 8], b_there ? b + b_row * columns + column : b, b_there ? 16 : 0);
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
    for (int n = 0; n < 2; ++n)
        for (int i = 0; i < 4; ++i) {
            const int row = blockIdx.y * ROWS + warp * 16 + lane / 4 + i / 2 * 8;
            const int column = blockIdx.x * COLUMNS + n * 8 + lane % 4 * 2 + i % 2;
            if (row < rows && column < columns) c[row * columns + column] = sums[n][i];
        }
}
