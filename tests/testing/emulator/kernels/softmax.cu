// Softmax cross-entropy and its gradient: one block a row, reductions in shared memory.
#define THREADS 128

extern "C" __global__ void __launch_bounds__(THREADS) softmax_cross_entropy(
    const float* __restrict__ logits, const int* __restrict__ labels, float* __restrict__ losses,
    float* __restrict__ gradient, int classes, float scale)
{
    __shared__ float partial[THREADS];
    const int thread = threadIdx.x;
    const float* row = logits + (long long)blockIdx.x * classes;

    float largest = -3.402823466e38f;
    for (int i = thread; i < classes; i += THREADS)
        largest = max(largest, row[i]);
    partial[thread] = largest;
    __syncthreads();
    for (int half = THREADS / 2; half > 0; half /= 2) {
        if (thread < half)
            partial[thread] = max(partial[thread], partial[thread + half]);
        __syncthreads();  // of the maximum
    }
    largest = partial[0];
    __syncthreads();  // all have read the maximum

    float sum = 0.0f;
    for (int i = thread; i < classes; i += THREADS)
        sum += exp(row[i] - largest);
    partial[thread] = sum;
    __syncthreads();
    for (int half = THREADS / 2; half > 0; half /= 2) {
        if (thread < half)
            partial[thread] += partial[thread + half];
        __syncthreads();  // of the sum
    }
    sum = partial[0];

    const int label = labels[blockIdx.x];
    for (int i = thread; i < classes; i += THREADS)
        gradient[(long long)blockIdx.x * classes + i] =
            (exp(row[i] - largest) / sum - (i == label ? 1.0f : 0.0f)) * scale;
    if (thread == 0)
        losses[blockIdx.x] = log(sum) + largest - row[label];
}
