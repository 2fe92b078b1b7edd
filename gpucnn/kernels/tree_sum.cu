// The sum of rows in the order of a tree. rows (count, width), of which columns `start` to `stop` -> the first row of them.
//
// merges (count,): how often, once a row has come, the latest sum is added to the one before it. Each thread has one
// column: every row is read once, and the sums that wait for their other half are the thread's own.

#define LEVELS 24  // of a tree of 2^23 leaves: more images than a batch has

extern "C" __global__ void tree_sum(T* rows, const unsigned char* merges, I count, I width, I start, I stop)
{
    const I threads = gridDim.x * blockDim.x;
    for (I i = start + blockIdx.x * blockDim.x + threadIdx.x; i < stop; i += threads) {
        A waiting[LEVELS];
        int top = 0;  // where the next sum goes
        for (I row = 0; row < count; ++row) {
            A sum = (A)rows[row * width + i];
            for (int merge = merges[row]; merge > 0; --merge) sum = waiting[--top] + sum;
            waiting[top++] = sum;
        }
        rows[i] = (T)waiting[0];
    }
}
