// One small kernel for each function of warp.cuh: registers come from memory and go there as they are.
#include "../../../../gpucnn/kernels/warp.cuh"

extern "C" __global__ void convert(
    const float* x, unsigned* tf32, unsigned short* bf16, unsigned* pairs, int count)
{
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= count) return;
    tf32[i] = tf32_bits(x[i]);
    bf16[i] = bf16_bits(x[i]);
    pairs[i] = bf16_pair(x[i], x[(i + 1) % count]);
}

extern "C" __global__ void multiply_tf32(const unsigned* a, const unsigned* b, float* sums)
{
    const int lane = threadIdx.x;
    unsigned left[4], right[2];
    float own[4];
    for (int i = 0; i < 4; ++i) left[i] = a[lane * 4 + i], own[i] = sums[lane * 4 + i];
    for (int i = 0; i < 2; ++i) right[i] = b[lane * 2 + i];
    mma_tf32(own, left, right);
    for (int i = 0; i < 4; ++i) sums[lane * 4 + i] = own[i];
}

extern "C" __global__ void multiply_bf16(const unsigned* a, const unsigned* b, float* sums)
{
    const int lane = threadIdx.x;
    unsigned left[4], right[2];
    float own[4];
    for (int i = 0; i < 4; ++i) left[i] = a[lane * 4 + i], own[i] = sums[lane * 4 + i];
    for (int i = 0; i < 2; ++i) right[i] = b[lane * 2 + i];
    mma_bf16(own, left, right);
    for (int i = 0; i < 4; ++i) sums[lane * 4 + i] = own[i];
}

// Rows of 8 elements; `order` says which row each lane gives the address of. Each lane keeps 7 registers, and 7 more.
extern "C" __global__ void load(const unsigned short* rows, const int* order, unsigned* registers)
{
    __shared__ __align__(16) unsigned short tile[32][24];
    const int lane = threadIdx.x;
    for (int i = 0; i < 8; ++i) tile[lane][i] = rows[lane * 8 + i];
    __syncwarp();
    const unsigned short* row = tile[order[lane]];
    unsigned one[1], two[2], four[4];
    unsigned* own = registers + lane * 14;
    load_matrices(one, row);
    load_matrices(two, row);
    load_matrices(four, row);
    own[0] = one[0];
    for (int i = 0; i < 2; ++i) own[1 + i] = two[i];
    for (int i = 0; i < 4; ++i) own[3 + i] = four[i];
    load_matrices_transposed(one, row);
    load_matrices_transposed(two, row);
    load_matrices_transposed(four, row);
    own[7] = one[0];
    for (int i = 0; i < 2; ++i) own[8 + i] = two[i];
    for (int i = 0; i < 4; ++i) own[10 + i] = four[i];
}

// Each thread copies 4, 8 and 16 bytes, of which the source gives 0 to all.
extern "C" __global__ void copy(const unsigned char* x, unsigned char* y)
{
    __shared__ __align__(16) unsigned char four[17][4], eight[17][8], sixteen[17][16];
    const int i = threadIdx.x;
    copy_async<4>(four[i], x + i * 16, min(i, 4));
    copy_async<8>(eight[i], x + i * 16, min(i, 8));
    copy_async<16>(sixteen[i], x + i * 16, i);
    wait_for_all_copies();
    for (int k = 0; k < 4; ++k) y[i * 28 + k] = four[i][k];
    for (int k = 0; k < 8; ++k) y[i * 28 + 4 + k] = eight[i][k];
    for (int k = 0; k < 16; ++k) y[i * 28 + 12 + k] = sixteen[i][k];
}

// Four groups, of one copy each but for the empty second one; after each wait the oldest copies are there.
extern "C" __global__ void groups(const float* x, float* y)
{
    __shared__ float kept[32][3];
    float* own = kept[threadIdx.x];
    for (int i = 0; i < 3; ++i) {
        own[i] = -1.0f;
        copy_async<4>(own + i, x + i);
        commit_copies();
        if (i == 0) commit_copies();
    }
    wait_for_copies<2>();
    y[threadIdx.x * 3] = own[0];
    wait_for_copies<1>();
    y[threadIdx.x * 3 + 1] = own[1];
    wait_for_copies<0>();
    y[threadIdx.x * 3 + 2] = own[2];
}

// Wrong: a thread writes what another one's copy reads, before a barrier or after it, but before that has been waited for.
extern "C" __global__ void change_source(float* x, float* y, bool early)
{
    __shared__ float kept[64];
    const int i = threadIdx.x, next = (i + 1) % 64;
    copy_async<4>(kept + i, x + i);
    if (early) x[next] = 0.0f;
    __syncthreads();
    if (!early) x[next] = 0.0f;
    wait_for_all_copies();
    y[i] = kept[i];
}
