// Images of bytes as a model takes them: gathered, over full_scale, at another size, normalised, and moved at random. Rounded as
// NumPy does it.
//
// source (count, channels, native, native), of which `order` (images) chooses some, or the first if it is not there ->
// output (images, channels, size, size). With `low` and `shares` (size) pixels are mixed of those at low and low + 1, the
// second with that share; else there is a margin of zeros. Then `means` are taken off, and what is left is over `deviations`.
// The images' labels, if they are there, are gathered, too.
//
// Then come `steps` of `moves`, one after the other: a row of each says what it is, the seed, purpose and epoch that it is drawn
// by, and its numbers. What is drawn for an image is a function of these and of its number in `keys` (images): the very draws of
// numpy.random.Philox on the host. An output pixel is followed back through all moves to the one pixel that it shows, or is 0.
//
// With `first`, one number, order and keys are those of a whole epoch, of which the images begin there: a step that is recorded
// reads anew in each replay where its batch is.
//
// A block takes one part of an image: every `parts`-th stretch of as many pixels as it has threads.

#include "philox.cuh"

#define MOST_MOVES 8
#define WORDS 6

enum { FLIP, SHIFT, REFLECT, BLANK };
enum { KIND, SEED, PURPOSE, EPOCH, FIRST, SECOND };

// The image that is number `i` of those chosen: one out of range reads nobody's memory.
__device__ I chosen_image(const long long* order, I i, int count)
{
    if (!order) return i;
    const long long image = order[i];
    return (I)min(max(image < 0 ? image + count : image, 0ll), count - 1ll);
}

__device__ float mixed(float first, float second, float share)
{
    return __fadd_rn(__fmul_rn(first, __fsub_rn(1, share)), __fmul_rn(second, share));
}

// A draw in [0, 1), of a word as NumPy makes it, as a whole number below `limit`.
__device__ int whole(unsigned long long word, double limit)
{
    return (int)floor((word >> 11) * 0x1p-53 * limit);
}

// What a move does to the image of this key: whether it flips (where SECOND is 1, the others), by how much it shifts, or where
// what it blanks begins.
__device__ void draw(const unsigned long long* move, unsigned long long key, int size, int* drawn)
{
    unsigned long long words[4] = {1, move[EPOCH], key, 0};
    philox(move[SEED], move[PURPOSE], words);
    const int first = (int)move[FIRST], second = (int)move[SECOND];
    if (move[KIND] == FLIP) {
        drawn[0] = ((words[0] >> 11) * 0x1p-53 < __longlong_as_double(move[FIRST])) != (second == 1);
        drawn[1] = 0;
    } else if (move[KIND] == BLANK) {
        drawn[0] = whole(words[0], size) - first / 2;
        drawn[1] = whole(words[1], size) - first / 2;
    } else {
        drawn[0] = whole(words[0], 2 * first + 1) - first;
        drawn[1] = whole(words[1], 2 * second + 1) - second;
    }
}

// A place on a line that goes back and forth between 0 and size - 1, the ends not repeated.
__device__ int mirrored(int place, int size)
{
    const int period = max(2 * (size - 1), 1), there = (place % period + period) % period;
    return min(there, period - there);
}

// Goes back from a pixel to the one that the moves have brought there; false if it is blank.
__device__ bool is_moved(const unsigned long long* moves, int steps, const int* drawn, int size, int& row, int& column)
{
    for (int step = steps - 1; step >= 0; --step) {
        const unsigned long long* move = moves + step * WORDS;
        const int first = drawn[2 * step], second = drawn[2 * step + 1];
        if (move[KIND] == FLIP) {
            if (first) column = size - 1 - column;
        } else if (move[KIND] == BLANK) {
            if (row >= first && row - first < (int)move[FIRST] && column >= second && column - second < (int)move[FIRST]) return false;
        } else {
            row += first;
            column += second;
            if (move[KIND] == REFLECT) {
                row = mirrored(row, size);
                column = mirrored(column, size);
            } else if (row < 0 || row >= size || column < 0 || column >= size) {
                return false;
            }
        }
    }
    return true;
}

extern "C" __global__ void preprocess(
    const unsigned char* source, const long long* labels, const long long* order, const long long* keys,
    const long long* first, const unsigned long long* moves, const int* low, const float* shares, const float* means, const float* deviations,
    float* output, long long* chosen_labels, I images, I channels, Divisor parts, Divisor size, int count, int native,
    int margin, int steps, float full_scale)
{
    __shared__ int drawn[2 * MOST_MOVES];
    const I pixels = channels * size.value * size.value;
    if (first) {
        order += first[0];
        keys += first[0];
    }
    for (I item = blockIdx.x; item < images * parts.value; item += gridDim.x) {
        const I i = item / parts, part = item % parts, image = chosen_image(order, i, count);
        if (moves) {
            __syncthreads();  // until nobody needs what was drawn before
            if (threadIdx.x < steps) draw(moves + threadIdx.x * WORDS, keys[i], size.value, drawn + 2 * threadIdx.x);
            __syncthreads();
        }
        for (I pixel = part * blockDim.x + threadIdx.x; pixel < pixels; pixel += parts.value * blockDim.x) {
            int column = pixel % size, row = pixel / size % size;
            const I channel = pixel / size / size;
            float value = 0;
            if (!moves || is_moved(moves, steps, drawn, size.value, row, column)) {
                const unsigned char* plane = source + (image * channels + channel) * native * native;
                if (low) {
                    const int top = low[row] * native, bottom = min(low[row] + 1, native - 1) * native;
                    const int left = low[column], right = min(left + 1, native - 1);
                    const float share = shares[row];
                    value = mixed(
                        mixed(__fdiv_rn(plane[top + left], full_scale), __fdiv_rn(plane[bottom + left], full_scale), share),
                        mixed(__fdiv_rn(plane[top + right], full_scale), __fdiv_rn(plane[bottom + right], full_scale), share),
                        shares[column]);
                } else if (row >= margin && row < margin + native && column >= margin && column < margin + native) {
                    value = __fdiv_rn(plane[(row - margin) * native + column - margin], full_scale);
                }
                if (means) value = __fdiv_rn(__fsub_rn(value, means[channel]), deviations[channel]);
            }
            output[i * pixels + pixel] = value;
        }
        if (labels && part == 0 && threadIdx.x == 0) chosen_labels[i] = labels[image];
    }
}
