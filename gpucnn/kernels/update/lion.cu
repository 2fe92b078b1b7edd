// Lion over one flat buffer. settings: see LionSettings in plain.py.

extern "C" __global__ void lion(T* parameters, const T* gradients, T* momenta, const T* settings, long long size)
{
    const A lr = (A)settings[0], beta1 = (A)settings[1], fresh1 = (A)settings[2], beta2 = (A)settings[3];
    const A fresh2 = (A)settings[4], kept = (A)settings[5];
    const I threads = gridDim.x * blockDim.x;
    for (I i = blockIdx.x * blockDim.x + threadIdx.x; i < size; i += threads) {
        const A gradient = (A)gradients[i], momentum = (A)momenta[i];
        const A direction = beta1 * momentum + fresh1 * gradient;
        const A sign = direction > 0 ? (A)1 : direction < 0 ? (A)-1 : direction;  // of 0 itself, of a NaN a NaN
        parameters[i] = (T)((A)parameters[i] * kept - lr * sign);
        momenta[i] = (T)(beta2 * momentum + fresh2 * gradient);
    }
}
