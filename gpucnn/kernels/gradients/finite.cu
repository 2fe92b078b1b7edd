// Whether all is finite: clears `flag`, which stays as it is otherwise. `loss`, if it is there, is one element more.

extern "C" __global__ void all_finite(const T* values, const T* loss, int* flag, long long size)
{
    const I first = blockIdx.x * blockDim.x + threadIdx.x;
    const I threads = gridDim.x * blockDim.x;
    bool all = true;
    for (I i = first; i < size; i += threads) all = all && isfinite(values[i]);
    if (first == 0 && loss) all = all && isfinite(loss[0]);
    if (!all) atomicExch(flag, 0);  // whoever comes first, the flag is the same
}
