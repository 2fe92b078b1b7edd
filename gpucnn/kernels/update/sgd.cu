// Stochastic gradient descent with momentum over one flat buffer. settings: see SgdSettings in plain.py.

extern "C" __global__ void sgd(
    T* parameters, const T* gradients, T* velocities, const T* settings, long long size, int nesterov)
{
    const A lr = (A)settings[0], momentum = (A)settings[1], weight_decay = (A)settings[2];
    const I threads = gridDim.x * blockDim.x;
    for (I i = blockIdx.x * blockDim.x + threadIdx.x; i < size; i += threads) {
        A step = (A)gradients[i];
        if (weight_decay != 0) step += weight_decay * (A)parameters[i];  // else infinity would become NaN
        if (velocities) {
            const A velocity = momentum * (A)velocities[i] + step;
            velocities[i] = (T)velocity;
            step = nesterov ? step + momentum * velocity : velocity;
        }
        parameters[i] = (T)((A)parameters[i] - lr * step);
    }
}
