// One small kernel for each thing that the emulator has to know of CUDA.
#include <cuda_fp16.h>

extern "C" __global__ void votes(unsigned* result)
{
    const unsigned all = 0xffffffffu;
    const int lane = threadIdx.x;
    result[lane] = __ballot_sync(all, lane % 3 == 0);
    result[32 + lane] = __any_sync(all, lane == 31) * 2 + __all_sync(all, lane < 31);
}

extern "C" __global__ void shuffles(int* result)
{
    const unsigned all = 0xffffffffu;
    const int lane = threadIdx.x;
    result[lane] = __shfl_sync(all, lane, 5);
    result[32 + lane] = __shfl_up_sync(all, lane, 1, 8);
    result[64 + lane] = __shfl_down_sync(all, lane, 2, 16);
    result[96 + lane] = (int)__shfl_xor_sync(all, (double)lane, 3);
}

extern "C" __global__ void swap_neighbours(const float* x, float* y)
{
    __shared__ float shared[64];
    shared[threadIdx.x] = x[threadIdx.x];
    SYNC;
    y[threadIdx.x] = shared[threadIdx.x ^ 1];
}

extern "C" __global__ void atomics(
    int* ints, unsigned* unsigneds, unsigned long long* longs, float* floats, double* doubles, __half* halves)
{
    atomicAdd(&ints[0], 2);
    atomicSub(&ints[1], 2);
    atomicMin(&ints[2], (int)threadIdx.x);
    atomicMax(&ints[3], (int)threadIdx.x);
    atomicExch(&ints[4], 7);
    atomicCAS(&ints[5], 0, 9);
    atomicAnd(&unsigneds[0], ~(1u << threadIdx.x % 32));
    atomicOr(&unsigneds[1], 1u << threadIdx.x % 32);
    atomicXor(&unsigneds[2], 1u);
    atomicInc(&unsigneds[3], 9u);
    atomicDec(&unsigneds[4], 9u);
    atomicAdd(&longs[0], 1ull << 32);
    atomicAdd(floats, 0.5f);
    atomicAdd(doubles, 1e-9);
    atomicAdd(halves, __half(1.0f));
}

extern "C" __global__ void half_axpy(__half a, const __half* x, __half* y, int count)
{
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < count)
        y[i] = __hadd(__hmul(a, x[i]), y[i]);
}

extern "C" __global__ void reverse_vectors(const float4* x, float4* y)
{
    const float4 v = x[threadIdx.x];
    y[threadIdx.x] = make_float4(v.w, v.z, v.y, v.x);
}

template <typename Element, int FACTOR>
__global__ void __launch_bounds__(64) scale(const Element* x, Element* y)
{
    y[threadIdx.x] = x[threadIdx.x] * (Element)FACTOR;
}

extern "C" __global__ void high_products(
    unsigned long long a, unsigned long long b, unsigned long long* unsigneds, long long* signeds, unsigned* words)
{
    unsigneds[0] = __umul64hi(a, b);
    signeds[0] = __mul64hi((long long)a, (long long)b);
    words[0] = __umulhi((unsigned)a, (unsigned)b);
    words[1] = (unsigned)__mulhi((int)a, (int)b);
}

// The names without f take floats as floats: the float's result, not the double's rounded, and no ambiguity.
extern "C" __global__ void overloads(float x, double y, float* floats, double* doubles, bool* flags, int* sizes)
{
    floats[0] = exp(x); floats[1] = log(x); floats[2] = sqrt(x); floats[3] = fabs(-x); floats[4] = fmax(x, 1.0f);
    doubles[0] = exp(y); doubles[1] = log(y); doubles[2] = sqrt(y); doubles[3] = fabs(-y); doubles[4] = fmax(y, 1.0);
    flags[0] = isnan(x); flags[1] = isnan(y); flags[2] = isinf(x); flags[3] = isinf(y);
    flags[4] = isnan(__int_as_float(0x7fffffff)); flags[5] = isinf(__int_as_float(0x7f800000));
    sizes[0] = sizeof(exp(x)); sizes[1] = sizeof(sqrt(x)); sizes[2] = sizeof(fmax(x, x)); sizes[3] = sizeof(exp(y));
    sizes[4] = sizeof(max(x, x)); sizes[5] = sizeof(pow(x, 2));
}

extern "C" __global__ void halve(const float* x, float* y)
{
    y[0] = x[0] * 0.5f;
    y[1] = x[1] + 0.0f;
}

extern "C" __global__ void shared_elements(double* sums)
{
    __shared__ bool flags[32];
    __shared__ __half halves[32];
    __shared__ double doubles[32];
    extern __shared__ __align__(8) unsigned char bytes[];
    const int i = threadIdx.x;
    flags[i] = i % 2;
    halves[i] = __half((float)i);
    doubles[i] = 0.5 * i;
    bytes[i] = (unsigned char)i;
    __syncthreads();
    const int next = (i + 1) % 32;
    sums[i] = flags[next] + (float)halves[next] + doubles[next] + bytes[next];
}

__device__ int launches;
__constant__ int step = 3;

extern "C" __global__ void count_launches(int* result)
{
    launches += step;
    *result = launches;
}

extern "C" __global__ void take_long(long long first, unsigned long long* result, long long stride, bool negative)
{
    const long long index = first + (blockIdx.x * (long long)blockDim.x + threadIdx.x) * stride;
    result[threadIdx.x] = negative ? -index : index;
}

// The blocks write, and the one that finishes last adds up: what orders them is a fence, which no check knows of.
extern "C" __global__ void last_block_sums(float* parts, unsigned* finished, float* sum)
{
    __shared__ bool last;
    if (threadIdx.x == 0) {
        parts[blockIdx.x] = blockIdx.x + 1;
        __threadfence();
        last = atomicAdd(finished, 1u) == gridDim.x - 1;
    }
    __syncthreads();
    if (last && threadIdx.x == 0)
        for (int i = 0; i < gridDim.x; ++i)
            *sum += parts[i];
}

extern "C" __global__ void fail_in_thread_five(int* x)
{
    __shared__ int shared[64];
    shared[threadIdx.x] = 1;
    __syncthreads();
    assert(threadIdx.x != 5);
    x[threadIdx.x] = shared[threadIdx.x ^ 1];
}

extern "C" __global__ void shift(int* result, int distance)
{
    result[0] = 1 << distance;
}

extern "C" __global__ void write_behind(const float* constant, float* x)
{
    const_cast<float*>(constant)[0] = x[0];
}

extern "C" __global__ void two_barriers(int* x)
{
    if (threadIdx.x < 32)
        __syncthreads();
    else
        __syncthreads();
    x[threadIdx.x] = 1;
}

extern "C" __global__ void number_threads(int* numbers)
{
    const int block = blockIdx.x + gridDim.x * (blockIdx.y + gridDim.y * blockIdx.z);
    const int thread = threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z);
    const int i = block * blockDim.x * blockDim.y * blockDim.z + thread;
    numbers[i] = threadIdx.x + 10 * threadIdx.y + 100 * threadIdx.z
        + 1000 * blockIdx.x + 10000 * blockIdx.y + 100000 * blockIdx.z;
    assert(numbers[i] != 111111);
}

// Two lanes of the first warp read, one of the second does: __syncwarp() orders the write after the former alone.
extern "C" __global__ void write_after_another_warp_reads(int* x, int* y)
{
    if (threadIdx.x < 2 || threadIdx.x == 32)
        y[threadIdx.x] = x[0];
    __syncwarp();
    if (threadIdx.x == 0)
        x[0] = 1;
}

extern "C" __global__ void write_whole_read_part(unsigned char* part)
{
    __shared__ int whole[1];
    if (threadIdx.x == 0)
        whole[0] = 1;
    else
        part[0] = reinterpret_cast<const unsigned char*>(whole)[2];
}

extern "C" __global__ void misaligned_atomic(int* x)
{
    atomicAdd(reinterpret_cast<int*>(reinterpret_cast<char*>(x) + 2), 1);
}

extern "C" __global__ void read_across_the_end(const float* x, double* y)
{
    y[0] = reinterpret_cast<const double*>(x)[1];
}
