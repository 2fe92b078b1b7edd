// Convolution as a matrix product whose right-hand matrix, the columns of im2col, is never stored.
// 64 threads, each with a part of four output channels by four positions. T is the type in memory.
#define CHANNELS 32
#define POSITIONS 32
#define DEPTH 8
#define THREADS 64

extern "C" __global__ void __launch_bounds__(THREADS) conv2d(
    const T* __restrict__ images, const T* __restrict__ weight, T* __restrict__ output, int batch, int channels, int size,
    int output_channels, int kernel, int stride, int padding, int output_size)
{
    __shared__ __align__(16) float weight_tile[DEPTH][CHANNELS];
    __shared__ __align__(16) float image_tile[DEPTH][POSITIONS];
    const int area = output_size * output_size;
    const int taps = channels * kernel * kernel;
    const int first_channel = threadIdx.x / (POSITIONS / 4) * 4;
    const int first_position = threadIdx.x % (POSITIONS / 4) * 4;
    float sums[4][4] = {};
    for (int start = 0; start < taps; start += DEPTH) {
        for (int i = threadIdx.x; i < DEPTH * CHANNELS; i += THREADS) {
            const int tap = start + i % DEPTH;
            const int channel = blockIdx.y * CHANNELS + i / DEPTH;
            const bool inside = channel < output_channels && tap < taps;
            weight_tile[i % DEPTH][i / DEPTH] = inside ? (float)weight[channel * taps + tap] : 0.0f;
        }
        for (int i = threadIdx.x; i < DEPTH * POSITIONS; i += THREADS) {
            const int position = blockIdx.x * POSITIONS + i % POSITIONS;
            const int tap = start + i / POSITIONS;
            const int sample = position / area;
            const int y = position % area / output_size * stride - padding + tap / kernel % kernel;
            const int x = position % output_size * stride - padding + tap % kernel;
            const int plane = sample * channels + tap / (kernel * kernel);
            const bool inside = sample < batch && tap < taps && y >= 0 && y < size && x >= 0 && x < size;
            image_tile[i / POSITIONS][i % POSITIONS] = inside ? (float)images[(plane * size + y) * size + x] : 0.0f;
        }
        __syncthreads();
        #pragma unroll
        for (int k = 0; k < DEPTH; ++k) {
            const float4 w = *reinterpret_cast<const float4*>(&weight_tile[k][first_channel]);
            const float4 x = *reinterpret_cast<const float4*>(&image_tile[k][first_position]);
            const float ws[4] = {w.x, w.y, w.z, w.w};
            const float xs[4] = {x.x, x.y, x.z, x.w};
            for (int i = 0; i < 4; ++i)
                for (int j = 0; j < 4; ++j)
                    sums[i][j] = fmaf(ws[i], xs[j], sums[i][j]);
        }
        __syncthreads();
    }
    for (int i = 0; i < 4; ++i)
        for (int j = 0; j < 4; ++j) {
            const int channel = blockIdx.y * CHANNELS + first_channel + i;
            const int position = blockIdx.x * POSITIONS + first_position + j;
            if (channel < output_channels && position < batch * area)
                output[((position / area) * output_channels + channel) * area + position % area] = (T)sums[i][j];
        }
}
