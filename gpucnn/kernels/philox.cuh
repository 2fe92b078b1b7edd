// The random words that numpy.random.Philox makes: Philox 4x64 in ten rounds.
// Source: Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011.

// Make of a counter its block of the stream that belongs to a key. NumPy counts up before it makes a block.
__device__ void philox(unsigned long long key0, unsigned long long key1, unsigned long long (&words)[4])
{
    for (int round = 0; round < 10; ++round) {
        const unsigned long long high0 = __umul64hi(0xD2E7470EE14C6C93ull, words[0]), low0 = 0xD2E7470EE14C6C93ull * words[0];
        const unsigned long long high1 = __umul64hi(0xCA5A826395121157ull, words[2]), low1 = 0xCA5A826395121157ull * words[2];
        words[0] = high1 ^ words[1] ^ key0;
        words[1] = low1;
        words[2] = high0 ^ words[3] ^ key1;
        words[3] = low0;
        key0 += 0x9E3779B97F4A7C15ull;
        key1 += 0xBB67AE8584CAA73Bull;
    }
}
