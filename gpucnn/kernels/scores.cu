// How many images are classified right, and the sum of their losses, added to what was counted before.
//
// An image's class is that of its largest logit, the first of several; a NaN is larger than all numbers. With many classes a
// warp takes an image, and its lanes share out the classes; else a thread does. `labels` or `wide_labels` is there.

#define BLOCK 256
#define EVERY_LANE 0xffffffffu

// Whether the class `other` comes before the class `own`.
__device__ bool is_ahead(A other_logit, int other, A own_logit, int own)
{
    const bool other_nan = other_logit != other_logit, own_nan = own_logit != own_logit;
    if (other_nan != own_nan) return other_nan;
    return other_logit > own_logit || ((other_nan || other_logit == own_logit) && other < own);
}

extern "C" __global__ void __launch_bounds__(BLOCK) scores(
    const T* logits, const int* labels, const long long* wide_labels, const T* loss, T* loss_sum, long long* correct,
    int images, int classes, int lanes)
{
    __shared__ int hits[BLOCK];
    const int lane = threadIdx.x % lanes, images_per_block = BLOCK / lanes;
    int hit = 0;
    // All lanes of a warp go round as often, as they meet in shuffles.
    for (int first = blockIdx.x * images_per_block; first < images; first += gridDim.x * images_per_block) {
        const int image = min(first + (int)threadIdx.x / lanes, images - 1);
        const T* row = logits + (long long)image * classes;
        int best = min(lane, classes - 1);
        A largest = (A)row[best];
        for (int j = lane + lanes; j < classes; j += lanes)
            if (is_ahead((A)row[j], j, largest, best)) {
                best = j;
                largest = (A)row[j];
            }
        for (int distance = lanes / 2; distance > 0; distance /= 2) {
            const A logit = __shfl_xor_sync(EVERY_LANE, largest, distance);
            const int other = __shfl_xor_sync(EVERY_LANE, best, distance);
            if (is_ahead(logit, other, largest, best)) {
                best = other;
                largest = logit;
            }
        }
        const long long label = labels ? (long long)labels[image] : wide_labels[image];
        if (lane == 0 && first + (int)threadIdx.x / lanes < images) hit += best == label;
    }
    hits[threadIdx.x] = hit;
    __syncthreads();
    for (int half = BLOCK / 2; half > 0; half /= 2) {
        if (threadIdx.x < half) hits[threadIdx.x] += hits[threadIdx.x + half];
        __syncthreads();
    }
    if (threadIdx.x > 0) return;
    atomicAdd((unsigned long long*)correct, (unsigned long long)hits[0]);  // integers: the same in every order
    if (blockIdx.x == 0) loss_sum[0] = (T)((A)loss_sum[0] + (A)loss[0] * (A)images);
}
