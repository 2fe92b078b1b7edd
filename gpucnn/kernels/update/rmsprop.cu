// RMSprop over one flat buffer. settings: see RmspropSettings in plain.py.

extern "C" __global__ void rmsprop(
    T* parameters, const T* gradients, T* squares, T* means, T* velocities, const T* settings, long long size)
{
    const A lr = (A)settings[0], alpha = (A)settings[1], fresh = (A)settings[2], eps = (A)settings[3];
    const A momentum = (A)settings[4], weight_decay = (A)settings[5];
    const I threads = gridDim.x * blockDim.x;
    for (I i = blockIdx.x * blockDim.x + threadIdx.x; i < size; i += threads) {
        A gradient = (A)gradients[i];
        if (weight_decay != 0) gradient += weight_decay * (A)parameters[i];  // else infinity would become NaN
        A square = alpha * (A)squares[i] + fresh * (gradient * gradient);
        squares[i] = (T)square;
        if (means) {
            const A mean = alpha * (A)means[i] + fresh * gradient;
            means[i] = (T)mean;
            square -= mean * mean;
            square = square < 0 ? (A)0 : square;  // where rounding has made the variance negative; a NaN stays one
        }
        A step = gradient / (sqrt(square) + eps);
        if (velocities) {
            step += momentum * (A)velocities[i];
            velocities[i] = (T)step;
        }
        parameters[i] = (T)((A)parameters[i] - lr * step);
    }
}
