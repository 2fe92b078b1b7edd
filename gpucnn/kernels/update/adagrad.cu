// Adagrad over one flat buffer. settings: see AdagradSettings in plain.py.

extern "C" __global__ void adagrad(T* parameters, const T* gradients, T* sums, const T* settings, long long size)
{
    const A rate = (A)settings[0], eps = (A)settings[1], weight_decay = (A)settings[2];
    const I threads = gridDim.x * blockDim.x;
    for (I i = blockIdx.x * blockDim.x + threadIdx.x; i < size; i += threads) {
        A gradient = (A)gradients[i];
        if (weight_decay != 0) gradient += weight_decay * (A)parameters[i];  // else infinity would become NaN
        const A sum = (A)sums[i] + gradient * gradient;
        sums[i] = (T)sum;
        parameters[i] = (T)((A)parameters[i] - rate * (gradient / (sqrt(sum) + eps)));
    }
}
