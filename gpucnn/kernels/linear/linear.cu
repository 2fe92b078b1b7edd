// A fully connected layer and its gradients, one launch each, for sizes at which products of cuBLAS leave most of a GPU idle:
//
//   linear_forward      output (batch, outputs) = vectors (batch, inputs) @ weight^T + bias, and ReLU
//   linear_gradients    vectors' (batch, inputs) = passed (batch, outputs) @ weight (outputs, inputs)
//                       weight' (outputs, inputs) = passed^T @ vectors
//                       bias' (outputs) = the sum of passed over the batch
//
// `passed` is the gradient of the output; where a ReLU gave 0, it is 0. A block makes one tile of `side` rows and columns at a
// time, and its number says of which product. Step by step it brings what it multiplies into shared memory; its warps take turns
// with the rows there, so that each has its own sums of the whole tile, and these are added in the order of the warps at the end.

#include "../operand.cuh"

#define BLOCK 256
#define LANES 32
#define WARPS (BLOCK / LANES)
// Blocks that a multiprocessor must have registers for: with no word of it the compiler goes for more, and spills a few.
#define RESIDENT (sizeof(A) > 4 ? 1 : 2)

// Rows and columns of a tile, and how deep a step is; in doubles larger tiles would not fit.
#define SIDE (sizeof(A) > 4 ? 16 : side)
#define STEP (2048 / SIDE)
#define APART (SIDE + 1)  // rows in shared memory, so that neighbours of a column lie in different banks

// A lane's share of a tile: rows that are 4 apart, and columns that are 8 apart.
#define ROWS (SIDE / 4)
#define COLUMNS (SIDE / 8)
#define SHARE (ROWS * COLUMNS)
#define MOST_ROWS 8
#define MOST_COLUMNS 4

// Elements of shared memory: for a step of both matrices, or for the warps' sums after the last one, at most.
#define MEMORY (sizeof(A) > 4 ? 2 * 128 * 17 : WARPS * 32 * 32)

// A factor of a product: `rows` of `depth` numbers. One of the two axes is along memory, and `stride` leads along the other.
struct Matrix {
    const T* values;
    const T* relu_output;  // 0 or the array that says where values count: where it is not 0
    I rows, depth, stride;
};

// Bring a step of some rows of a matrix into shared memory, as (STEP, SIDE). What is beyond its ends is 0.
template <bool ALONG_DEPTH>
__device__ __forceinline__ void bring(Matrix from, I first_row, I first, A* place)
{
#pragma unroll
    for (int i = threadIdx.x; i < STEP * SIDE; i += BLOCK) {
        const int row = ALONG_DEPTH ? i / STEP : i % SIDE, k = ALONG_DEPTH ? i % STEP : i / SIDE;
        A value = 0;
        if (first_row + row < from.rows && first + k < from.depth) {
            const I at = ALONG_DEPTH ? (first_row + row) * from.stride + first + k : (first + k) * from.stride + first_row + row;
            if (!from.relu_output || (A)from.relu_output[at] != 0) value = rounded(from.values[at]);
        }
        place[k * APART + row] = value;
    }
}

// The tile of left (rows, depth) @ right (columns, depth)^T that starts at (first_row, first_column), as all warps' sums.
template <bool LEFT_ALONG_DEPTH, bool RIGHT_ALONG_DEPTH>
__device__ __forceinline__ void multiply(Matrix left, Matrix right, I first_row, I first_column, A* memory)
{
    const int lane = threadIdx.x % LANES, warp = threadIdx.x / LANES;
    A* const columns = memory + STEP * APART;
    A sums[MOST_ROWS * MOST_COLUMNS] = {};
    for (I first = 0; first < left.depth; first += STEP) {
        bring<LEFT_ALONG_DEPTH>(left, first_row, first, memory);
        bring<RIGHT_ALONG_DEPTH>(right, first_column, first, columns);
        __syncthreads();
        const int depth = min((I)STEP, left.depth - first);
#pragma unroll 4
        for (int k = warp; k < depth; k += WARPS) {
            A a[MOST_ROWS], b[MOST_COLUMNS];
#pragma unroll
            for (int i = 0; i < ROWS; ++i) a[i] = memory[k * APART + lane / 8 + 4 * i];
#pragma unroll
            for (int j = 0; j < COLUMNS; ++j) b[j] = columns[k * APART + lane % 8 + 8 * j];
#pragma unroll
            for (int i = 0; i < SHARE; ++i) sums[i] = fma(a[i / COLUMNS], b[i % COLUMNS], sums[i]);
        }
        __syncthreads();  // until all have read what this step has brought
    }
#pragma unroll
    for (int i = 0; i < SHARE; ++i) memory[(warp * SHARE + i) * LANES + lane] = sums[i];
    __syncthreads();
}

// Element i of a tile: where it is there, and the total of all warps' sums.
__device__ __forceinline__ int row_of(int i) { return i % LANES / 8 + i / LANES / COLUMNS * 4; }
__device__ __forceinline__ int column_of(int i) { return i % 8 + i / LANES % COLUMNS * 8; }
__device__ __forceinline__ A total_of(const A* memory, int i)
{
    A total = memory[i];
#pragma unroll
    for (int warp = 1; warp < WARPS; ++warp) total += memory[warp * SHARE * LANES + i];
    return total;
}

extern "C" __global__ void __launch_bounds__(BLOCK, RESIDENT) linear_forward(
    const T* vectors, const T* weight, const T* bias, T* output, I batch, I inputs, I outputs, int relu)
{
    __shared__ A memory[MEMORY];
    const Matrix left = {vectors, 0, batch, inputs, inputs}, right = {weight, 0, outputs, inputs, inputs};
    const I across = (outputs + SIDE - 1) / SIDE, tiles = (batch + SIDE - 1) / SIDE * across;
    for (I tile = blockIdx.x; tile < tiles; tile += gridDim.x) {
        const I first_row = tile / across * SIDE, first_column = tile % across * SIDE;
        multiply<true, true>(left, right, first_row, first_column, memory);
        for (int i = threadIdx.x; i < SIDE * SIDE; i += BLOCK) {
            const I row = first_row + row_of(i), column = first_column + column_of(i);
            if (row >= batch || column >= outputs) continue;
            A value = total_of(memory, i);
            if (bias) value += (A)bias[column];
            output[row * outputs + column] = (T)(relu && value <= 0 ? (A)0 : value);  // a NaN stays a NaN
        }
        __syncthreads();  // before the next tile
    }
}

// `relu_output` is that of the layer if a ReLU followed. Of gradients that nobody needs there are no tiles; those of the bias, of
// 32 outputs, come last.
extern "C" __global__ void __launch_bounds__(BLOCK, RESIDENT) linear_gradients(
    const T* gradient, const T* relu_output, const T* vectors, const T* weight,
    T* vectors_gradient, T* weight_gradient, T* bias_gradient,
    I batch, I inputs, I outputs, I vectors_tiles, I weight_tiles, I bias_tiles)
{
    __shared__ A memory[MEMORY];
    const I across = (inputs + SIDE - 1) / SIDE, products = vectors_tiles + weight_tiles;
    for (I tile = blockIdx.x; tile < products + bias_tiles; tile += gridDim.x) {
        if (tile < products) {
            const bool of_vectors = tile < vectors_tiles;
            const I own = of_vectors ? tile : tile - vectors_tiles;
            const I first_row = own / across * SIDE, first_column = own % across * SIDE;
            if (of_vectors)
                multiply<true, false>({gradient, relu_output, batch, outputs, outputs}, {weight, 0, inputs, outputs, inputs},
                                      first_row, first_column, memory);
            else
                multiply<false, false>({gradient, relu_output, outputs, batch, outputs}, {vectors, 0, inputs, batch, inputs},
                                       first_row, first_column, memory);
            T* const found = of_vectors ? vectors_gradient : weight_gradient;
            for (int i = threadIdx.x; i < SIDE * SIDE; i += BLOCK) {
                const I row = first_row + row_of(i), column = first_column + column_of(i);
                if (row < (of_vectors ? batch : outputs) && column < inputs)
                    found[row * inputs + column] = (T)total_of(memory, i);
            }
        } else {
            const int lane = threadIdx.x % LANES, warp = threadIdx.x / LANES;
            const I output = (tile - products) * LANES + lane;
            A total = 0;
            if (output < outputs)
                for (I row = warp; row < batch; row += WARPS) {
                    const I at = row * outputs + output;
                    if (!relu_output || (A)relu_output[at] != 0) total += (A)gradient[at];  // a sum, which nothing rounds
                }
            memory[warp * LANES + lane] = total;
            __syncthreads();
            if (warp == 0 && output < outputs) {
                for (int other = 1; other < WARPS; ++other) total += memory[other * LANES + lane];
                bias_gradient[output] = (T)total;
            }
        }
        __syncthreads();  // before the next tile
    }
}
