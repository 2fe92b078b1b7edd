// A step of SGD with momentum and weight decay.
extern "C" __global__ void sgd(
    float* __restrict__ weights, const float* __restrict__ gradient, float* __restrict__ velocity, float rate,
    float momentum, float decay, long long count)
{
    const long long i = blockIdx.x * (long long)blockDim.x + threadIdx.x;
    if (i >= count)
        return;
    velocity[i] = momentum * velocity[i] + gradient[i] + decay * weights[i];
    weights[i] -= rate * velocity[i];
}
