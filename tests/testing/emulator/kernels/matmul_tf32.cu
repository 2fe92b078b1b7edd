// c (rows, columns) = a (rows, depth) @ b (depth, columns) on tensor cores, in TF32. A warp makes a tile of c of 16 x 8. The
// next tiles of a and b are on their way while it works on those that are there. Four bytes are copied at a time: any sizes.
#include "../../../../gpucnn/kernels/warp.cuh"

#define ROWS 16
#define COLUMNS 8
#define DEPTH 8

extern "C" __global__ void __launch_bounds__(32) matmul_tf32(
    const float* a, const float* b, float* c, int rows, int columns, int depth)
{
    __shared__ __align__(16) float a_tile[2][ROWS][DEPTH + 4];
    __shared__ float b_tile[2][DEPTH][COLUMNS];
    const int lane = threadIdx.x;
    const int steps = (depth + DEPTH - 1) / DEPTH;
    const auto fetch = [&](int step) {
        for (int i = lane; i < ROWS * DEPTH; i += 32) {
            const int row = blockIdx.y * ROWS + i / DEPTH, k = step * DEPTH + i % DEPTH;
            const bool there = row < rows && k < depth;
            copy_async<4>(&a_tile[step % 2][i / DEPTH][i % DEPTH], there ? a + row * depth + k : a, there ? 4 : 0);
        }
        for (int i = lane; i < DEPTH * COLUMNS; i += 32) {
            const int k = step * DEPTH + i / COLUMNS, column = blockIdx.x * COLUMNS + i % COLUMNS;
            const bool there = k < depth && column < columns;
            copy_async<4>(&b_tile[step % 2][i / COLUMNS][i % COLUMNS], there ? b + k * columns + column : b, there ? 4 : 0);
        }
    };
    float sums[4] = {};
    fetch(0);
    commit_copies();
    for (int step = 0; step < steps; ++step) {
        if (step + 1 < steps) fetch(step + 1);
        commit_copies();
        wait_for_copies<1>();
        __syncwarp();  // the tiles are there
        unsigned left[4], right[2];
        load_matrices(left, &a_tile[step % 2][lane % 16][lane / 16 * 4]);
        for (int i = 0; i < 4; ++i) left[i] = tf32_bits(__uint_as_float(left[i]));
        for (int i = 0; i < 2; ++i) right[i] = tf32_bits(b_tile[step % 2][lane % 4 + i * 4][lane / 4]);
        mma_tf32(sums, left, right);
        __syncwarp();  // the tiles have been read
    }
    for (int i = 0; i < 4; ++i) {
        const int row = blockIdx.y * ROWS + lane / 4 + i / 2 * 8, column = blockIdx.x * COLUMNS + lane % 4 * 2 + i % 2;
        if (row < rows && column < columns) c[row * columns + column] = sums[i];
    }
}
