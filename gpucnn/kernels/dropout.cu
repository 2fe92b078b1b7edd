// Dropout with the very bits that numpy.random.Philox gives on the host.
//
// stream (7): the key (2 words), the counter (4 words) before the first block, and how many 32-bit words of that block are
// passed over. Element i is dropped if the i-th word after these is below the threshold. A block of the stream has eight such
// words; a thread makes one block. The same call on the gradient is the way back: no mask is kept. Without x, the numbers are
// drawn that elements are multiplied by: 0 or `scale`.

#include "philox.cuh"

#define WORDS 8

extern "C" __global__ void dropout(
    const T* x, T* output, const unsigned long long* stream, long long size, unsigned long long threshold, T scale)
{
    const I threads = gridDim.x * blockDim.x, skip = stream[6], blocks = (skip + size + WORDS - 1) / WORDS;
    for (I block = blockIdx.x * blockDim.x + threadIdx.x; block < blocks; block += threads) {
        unsigned long long words[4] = {stream[2] + block + 1, stream[3], stream[4], stream[5]};
        philox(stream[0], stream[1], words);
        for (int k = 0; k < WORDS; ++k) {
            const I i = block * WORDS + k - skip;
            const unsigned long long word = k % 2 ? words[k / 2] >> 32 : words[k / 2] & 0xffffffffull;
            if (i >= 0 && i < size) output[i] = word < threshold ? (T)0 : x ? (T)((A)x[i] * (A)scale) : scale;
        }
    }
}
