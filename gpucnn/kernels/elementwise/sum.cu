// The sum of two arrays, and ReLU.

extern "C" __global__ void add(const T* a, const T* b, T* total, I size, int relu)
{
    const I threads = gridDim.x * blockDim.x;
    for (I i = blockIdx.x * blockDim.x + threadIdx.x; i < size; i += threads) {
        const A value = (A)a[i] + (A)b[i];
        total[i] = (T)(relu && value <= 0 ? (A)0 : value);  // a NaN stays a NaN
    }
}
