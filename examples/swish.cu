// Swish, x * sigmoid(beta * x), and its gradient, element by element.
// P. Ramachandran, B. Zoph, Q. V. Le, "Searching for Activation Functions", 2017.
//
// T is the type of the arrays, A the one to compute in, I the one to count in: the launcher declares them.

// By tanh, which does not overflow, as exp would.
__device__ A sigmoid(A z)
{
    return (A)0.5 * (1 + tanh((A)0.5 * z));
}

extern "C" __global__ void swish(const T* x, T* output, I size, T beta)
{
    const I threads = gridDim.x * blockDim.x;
    for (I i = blockIdx.x * blockDim.x + threadIdx.x; i < size; i += threads) {
        const A value = (A)x[i];
        output[i] = (T)(value * sigmoid((A)beta * value));
    }
}

// d/dx of x * s(beta * x) is s + beta * x * s * (1 - s).
extern "C" __global__ void swish_gradient(
    const T* gradient, const T* x, T* x_gradient, I size, T beta)
{
    const I threads = gridDim.x * blockDim.x;
    for (I i = blockIdx.x * blockDim.x + threadIdx.x; i < size; i += threads) {
        const A z = (A)beta * (A)x[i];
        const A s = sigmoid(z);
        x_gradient[i] = (T)((A)gradient[i] * (s + z * s * (1 - s)));
    }
}
