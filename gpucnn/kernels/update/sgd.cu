// Stochastic gradient descent with momentum over one flat buffer. settings: lr, momentum, weight decay.

extern "C" __global__ void sgd(
    T* parameters, const T* gradients, T* velocities, const T* settings, long long size, int nesterov)
{
    const A lr = (A)settings[0], momentum = (A)settings[1], weight_decay = (A)settings[2];
    const long long threads = (long long)gridDim.x * blockDim.x;
    for (long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x; i < size; i += threads) {
        A slope = (A)gradients[i];
        if (weight_decay != 0) slope += weight_decay * (A)parameters[i];  // else infinity would become NaN
        A step = slope;
        if (velocities) {
            const A velocity = momentum * (A)velocities[i] + slope;
            velocities[i] = (T)velocity;
            step = nesterov ? slope + momentum * velocity : velocity;
        }
        parameters[i] = (T)((A)parameters[i] - lr * step);
    }
}
