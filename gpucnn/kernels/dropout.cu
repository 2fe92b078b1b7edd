// Dropout with the very bits that numpy.random.Philox gives on the host: Philox 4x64 in ten rounds.
//
// stream (7): the key (2 words), the counter (4 words) before the first block, and how many 32-bit words of that block are
// passed over. Element i is dropped if the i-th word after these is below the threshold. A block of the stream has eight such words; a thread makes one block. The same call
// on the gradient is the way back: no mask is kept. Without x, the numbers are drawn that elements are multiplied by: 0 or `scale`.
// Source: Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011.

#define WORDS 8

extern "C" __global__ void dropout(
    const T* x, T* output, const unsigned long long* stream, long long size, unsigned long long threshold, T scale)
{
    const I threads = gridDim.x * blockDim.x, skip = stream[6], blocks = (skip + size + WORDS - 1) / WORDS;
    for (I block = blockIdx.x * blockDim.x + threadIdx.x; block < blocks; block += threads) {
        unsigned long long key0 = stream[0], key1 = stream[1];
        // NumPy counts up before it makes a block.
        unsigned long long word0 = stream[2] + block + 1, word1 = stream[3], word2 = stream[4], word3 = stream[5];
        for (int round = 0; round < 10; ++round) {
            const unsigned long long high0 = __umul64hi(0xD2E7470EE14C6C93ull, word0), low0 = 0xD2E7470EE14C6C93ull * word0;
            const unsigned long long high1 = __umul64hi(0xCA5A826395121157ull, word2), low1 = 0xCA5A826395121157ull * word2;
            word0 = high1 ^ word1 ^ key0;
            word1 = low1;
            word2 = high0 ^ word3 ^ key1;
            word3 = low0;
            key0 += 0x9E3779B97F4A7C15ull;
            key1 += 0xBB67AE8584CAA73Bull;
        }
        const unsigned long long words[4] = {word0, word1, word2, word3};
        for (int k = 0; k < WORDS; ++k) {
            const I i = block * WORDS + k - skip;
            const unsigned long long word = k % 2 ? words[k / 2] >> 32 : words[k / 2] & 0xffffffffull;
            if (i >= 0 && i < size) output[i] = word < threshold ? (T)0 : x ? (T)((A)x[i] * (A)scale) : scale;
        }
    }
}
