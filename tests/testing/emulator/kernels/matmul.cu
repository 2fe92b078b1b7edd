// Tiled matrix product: c (rows, columns) = a (rows, inner) times b (inner, columns).
#define TILE 16

extern "C" __global__ void __launch_bounds__(TILE * TILE) matmul(
    const float* __restrict__ a, const float* __restrict__ b, float* __restrict__ c, int rows, int columns, int inner)
{
    __shared__ float a_tile[TILE][TILE];
    __shared__ float b_tile[TILE][TILE];
    const int row = blockIdx.y * TILE + threadIdx.y;
    const int column = blockIdx.x * TILE + threadIdx.x;
    float sum = 0.0f;
    for (int start = 0; start < inner; start += TILE) {
        const int a_column = start + threadIdx.x;
        const int b_row = start + threadIdx.y;
        a_tile[threadIdx.y][threadIdx.x] = row < rows && a_column < inner ? a[row * inner + a_column] : 0.0f;
        b_tile[threadIdx.y][threadIdx.x] = b_row < inner && column < columns ? b[b_row * columns + column] : 0.0f;
        __syncthreads();  // the tiles are complete
        #pragma unroll
        for (int k = 0; k < TILE; ++k)
            sum += a_tile[threadIdx.y][k] * b_tile[k][threadIdx.x];
        __syncthreads();  // the tiles have been read
    }
    if (row < rows && column < columns)
        c[row * columns + column] = sum;
}
