// Softmax and cross-entropy in one pass over the logits, and the gradient in one more.
//
// A warp takes one image: its 32 lanes share out the classes and meet in shuffles, in a fixed order. The target of
// class j is weight[j] * (smoothing / classes + (1 - smoothing) * [j is the label]), over the normalizer: the sum of
// the labels' weights, or the number of images.

#define BLOCK 512
#define EVERY_LANE 0xffffffffu

__device__ A warp_maximum(A value)
{
    for (int distance = 16; distance > 0; distance /= 2) {
        const A other = __shfl_xor_sync(EVERY_LANE, value, distance);
        value = other > value ? other : value;
    }
    return value;
}

__device__ A warp_sum(A value)
{
    for (int distance = 16; distance > 0; distance /= 2) value += __shfl_xor_sync(EVERY_LANE, value, distance);
    return value;
}

__device__ A target_of(int j, int label, const T* class_weights, int classes, A smoothing)
{
    const A share = smoothing / classes + (j == label ? (A)1 - smoothing : (A)0);
    return class_weights ? (A)class_weights[j] * share : share;
}

// The label of an image, from whichever of the arrays is there.
__device__ int label_of(const int* labels, const long long* wide_labels, I image)
{
    if (labels) return labels[image];
    const long long label = wide_labels[image];
    return label >= 0 && label <= 0x7fffffff ? (int)label : -1;
}

// `losses` (images) gets each image's part of the mean. `saved` (2, images) keeps the logarithm of each image's sum of
// exponentials and the sum of its targets. A label that is no class makes its loss a NaN. `total`, if it is there, gets the
// mean: then there is one block.
extern "C" __global__ void __launch_bounds__(BLOCK, 1) cross_entropy(
    const T* logits, const int* labels, const long long* wide_labels, const T* class_weights, const T* normalizer,
    T* losses, T* saved, T* total, I images, int classes, T smoothing)
{
    const int lane = threadIdx.x % 32;
    const I warps = gridDim.x * (blockDim.x / 32);
    for (I image = blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32; image < images; image += warps) {
        const T* row = logits + image * classes;
        const int label = label_of(labels, wide_labels, image);
        A largest = (A)row[0];
        for (int j = lane; j < classes; j += 32) largest = (A)row[j] > largest ? (A)row[j] : largest;
        largest = warp_maximum(largest);
        A exponentials = 0;
        for (int j = lane; j < classes; j += 32) exponentials += exp((A)row[j] - largest);
        const A log_sum = log(warp_sum(exponentials)) + largest;
        A loss = 0, targets = 0;
        for (int j = lane; j < classes; j += 32) {
            const A target = target_of(j, label, class_weights, classes, (A)smoothing);
            // A class without a target does not count, even where its log-probability is minus infinity.
            if (target != 0) loss -= target * ((A)row[j] - log_sum);
            targets += target;
        }
        loss = warp_sum(loss);
        targets = warp_sum(targets);
        if (lane == 0) {
            const A divisor = normalizer ? (A)normalizer[0] : (A)images;
            const bool known = label >= 0 && label < classes;
            losses[image] = (T)(known ? loss / divisor : (A)__int_as_float(0x7fffffff));  // NaN: NVRTC has no NAN
            saved[image] = (T)log_sum;
            saved[images + image] = (T)targets;
        }
    }
    if (!total) return;
    __shared__ A partial[BLOCK];
    __syncthreads();  // until all losses are there
    A sum = 0;
    for (I image = threadIdx.x; image < images; image += BLOCK) sum += (A)losses[image];
    partial[threadIdx.x] = sum;
    __syncthreads();
    for (int half = BLOCK / 2; half > 0; half /= 2) {
        if (threadIdx.x < half) partial[threadIdx.x] += partial[threadIdx.x + half];
        __syncthreads();
    }
    if (threadIdx.x == 0) total[0] = (T)partial[0];
}

// The gradient of the logits, from that of the loss, `upstream` (1).
extern "C" __global__ void cross_entropy_gradient(
    const T* logits, const int* labels, const long long* wide_labels, const T* class_weights, const T* normalizer,
    const T* saved, const T* upstream, T* gradient, I images, Divisor classes, T smoothing)
{
    const I threads = gridDim.x * blockDim.x;
    const int count = classes.value;
    for (I i = blockIdx.x * blockDim.x + threadIdx.x; i < images * classes.value; i += threads) {
        const I image = i / classes;
        const int label = label_of(labels, wide_labels, image);
        const A divisor = normalizer ? (A)normalizer[0] : (A)images;
        const A probability = exp((A)logits[i] - (A)saved[image]);
        const A target = target_of(i % classes, label, class_weights, count, (A)smoothing);
        const A value = (probability * (A)saved[images + image] - target) / divisor * (A)upstream[0];
        gradient[i] = (T)(label >= 0 && label < count ? value : (A)__int_as_float(0x7fffffff));
    }
}
