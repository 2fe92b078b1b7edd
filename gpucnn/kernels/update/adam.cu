// Adam over one flat buffer. settings: see AdamSettings in plain.py.

extern "C" __global__ void adam(
    T* parameters, const T* gradients, T* means, T* squares, const T* settings, long long size)
{
    const A rate = (A)settings[0], beta1 = (A)settings[1], fresh1 = (A)settings[2], beta2 = (A)settings[3];
    const A fresh2 = (A)settings[4], correction2 = (A)settings[5], eps = (A)settings[6], weight_decay = (A)settings[7];
    const A kept = (A)settings[8];
    const I threads = gridDim.x * blockDim.x;
    for (I i = blockIdx.x * blockDim.x + threadIdx.x; i < size; i += threads) {
        const A parameter = kept * (A)parameters[i];
        A gradient = (A)gradients[i];
        if (weight_decay != 0) gradient += weight_decay * parameter;  // else infinity would become NaN
        const A mean = beta1 * (A)means[i] + fresh1 * gradient;
        const A square = beta2 * (A)squares[i] + fresh2 * (gradient * gradient);
        means[i] = (T)mean;
        squares[i] = (T)square;
        parameters[i] = (T)(parameter - rate * mean / (sqrt(square / correction2) + eps));
    }
}
