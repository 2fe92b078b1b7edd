// Twins of the functions in gpucnn/kernels/warp.cuh, which are inline PTX on a GPU. The layouts are those of the PTX ISA.
#pragma once

inline unsigned tf32_bits(float value) {
    if (isnan(value)) return 0x7fffffffu;
    // Half of the last bit kept is added to the magnitude: a tie goes away from zero. Infinity stays what it is.
    return (__float_as_uint(value) + 0x1000u) & ~0x1fffu;
}

namespace emulator {

// What a lane brings to sums (16, 8) += a (16, DEPTH) @ b (DEPTH, 8).
struct Product {
    float* sums;
    const unsigned *a, *b;
};

// The lane that holds row `row` of `a`, of `sums`, or column `row` of `b`, in its place `place`: four lanes share one.
inline const Product& holder(void* const* lanes, int row, int place) {
    return *(const Product*)lanes[row * 4 + place];
}

// Products are exact in double, and so is nearly all of their sum; it is rounded once. A GPU may round more often.
__attribute__((no_sanitize("thread"), no_sanitize("undefined"))) inline void multiply_tf32(void* const* lanes) {
    const auto value = [](unsigned bits) { return (double)__uint_as_float(bits & ~0x1fffu); };  // the rest is not read
    for (int row = 0; row < 16; ++row)
        for (int column = 0; column < 8; ++column) {
            float& sum = holder(lanes, row % 8, column / 2).sums[row / 8 * 2 + column % 2];
            double total = sum;
            for (int k = 0; k < 8; ++k)
                total += value(holder(lanes, row % 8, k % 4).a[row / 8 + k / 4 * 2]) *
                         value(holder(lanes, column, k % 4).b[k / 4]);
            sum = (float)total;
        }
}

}  // namespace emulator

inline void mma_tf32(float (&sums)[4], const unsigned (&a)[4], const unsigned (&b)[2], EMULATOR_CALLER) {
    emulator::Product own = {sums, a, b};
    emulator::together("mma.sync", emulator::multiply_tf32, &own, {file, line});
}
