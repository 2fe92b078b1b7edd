// Twins of the functions in gpucnn/kernels/warp.cuh, which are inline PTX on a GPU; fragments lie as the PTX ISA has them.
#pragma once

#define EMULATOR_UNCHECKED __attribute__((no_sanitize("thread"), no_sanitize("undefined")))

inline unsigned tf32_bits(float value) {
    if (isnan(value)) return 0x7fffffffu;
    // Half of the last bit that stays is added to the magnitude: ties go away from zero.
    return (__float_as_uint(value) + 0x1000u) & ~0x1fffu;
}

inline unsigned short bf16_bits(float value) {
    if (isnan(value)) return 0x7fff;
    const unsigned bits = __float_as_uint(value);
    return (bits + 0x7fffu + (bits >> 16 & 1)) >> 16;  // a tie stays below unless the last bit that stays is odd
}

inline unsigned bf16_pair(float first, float second) { return bf16_bits(first) | (unsigned)bf16_bits(second) << 16; }

namespace emulator {

// What a lane brings to sums (16, 8) += a (16, DEPTH) @ b (DEPTH, 8).
struct Product {
    float* sums;
    const unsigned *a, *b;
};

// The lane that has its share of row `row` of a and of sums, or of column `row` of b: four lanes have one each.
EMULATOR_UNCHECKED inline const Product& share(void* const* lanes, int row, int place) {
    return *(const Product*)lanes[row % 8 * 4 + place];
}

// The element of a register that is number `k` along the depth: a TF32, whose lower bits do not count, or one of two bf16.
template <int DEPTH>
EMULATOR_UNCHECKED float element(unsigned bits, int k) {
    if (DEPTH == 8) return __uint_as_float(bits & ~0x1fffu);
    return __uint_as_float(k % 2 ? bits & 0xffff0000u : bits << 16);
}

// Products are exact in double, and their sum is rounded to float once; a GPU may round more often.
template <int DEPTH>
EMULATOR_UNCHECKED void multiply(void* const* lanes) {
    for (int row = 0; row < 16; ++row)
        for (int column = 0; column < 8; ++column) {
            float& sum = share(lanes, row, column / 2).sums[row / 8 * 2 + column % 2];
            double total = sum;
            for (int k = 0; k < DEPTH; ++k) {
                const int place = k * 8 / DEPTH % 4, half = k * 2 / DEPTH;
                const float a = element<DEPTH>(share(lanes, row, place).a[row / 8 + half * 2], k);
                const float b = element<DEPTH>(share(lanes, column, place).b[half], k);
                total += (double)a * (double)b;
            }
            sum = (float)total;
        }
}

// A lane's own row, and those of all lanes.
struct Rows {
    const char* own;
    const char* all[WARP_SIZE];
};

EMULATOR_UNCHECKED inline void exchange_rows(void* const* lanes) {
    for (int lane = 0; lane < WARP_SIZE; ++lane)
        for (int other = 0; other < WARP_SIZE; ++other) ((Rows*)lanes[lane])->all[other] = ((Rows*)lanes[other])->own;
}

// Inlined always, as all below: reports name the line of the .cu.
template <int COUNT>
__attribute__((always_inline)) inline Rows rows_of_all(const void* row, Place here) {
    static_assert(COUNT == 1 || COUNT == 2 || COUNT == 4, "ldmatrix loads 1, 2 or 4 matrices");
    if (lane() < 8 * COUNT) before_matrix_row(row);
    Rows rows = {(const char*)row, {}};
    together("ldmatrix", exchange_rows, &rows, here);
    return rows;
}

}  // namespace emulator

inline void mma_tf32(float (&sums)[4], const unsigned (&a)[4], const unsigned (&b)[2], EMULATOR_CALLER) {
    emulator::Product own = {sums, a, b};
    emulator::together("mma.sync", emulator::multiply<8>, &own, {file, line});
}

inline void mma_bf16(float (&sums)[4], const unsigned (&a)[4], const unsigned (&b)[2], EMULATOR_CALLER) {
    emulator::Product own = {sums, a, b};
    emulator::together("mma.sync", emulator::multiply<16>, &own, {file, line});
}

// Each lane reads what it gets, so that the checks know who reads.
template <int COUNT>
__attribute__((always_inline)) inline void load_matrices(unsigned (&registers)[COUNT], const void* row, EMULATOR_CALLER) {
    const emulator::Rows rows = emulator::rows_of_all<COUNT>(row, {file, line});
    const int group = emulator::lane() / 4, place = emulator::lane() % 4;
    for (int i = 0; i < COUNT; ++i) registers[i] = ((const unsigned*)rows.all[i * 8 + group])[place];
}

template <int COUNT>
__attribute__((always_inline)) inline void load_matrices_transposed(unsigned (&registers)[COUNT], const void* row,
                                                                    EMULATOR_CALLER) {
    const emulator::Rows rows = emulator::rows_of_all<COUNT>(row, {file, line});
    const int group = emulator::lane() / 4, place = emulator::lane() % 4;
    for (int i = 0; i < COUNT; ++i) {
        const unsigned first = ((const unsigned short*)rows.all[i * 8 + place * 2])[group];
        registers[i] = first | (unsigned)((const unsigned short*)rows.all[i * 8 + place * 2 + 1])[group] << 16;
    }
}

template <int BYTES>
__attribute__((always_inline)) inline void copy_async(void* target, const void* source, int given = BYTES,
                                                      EMULATOR_CALLER) {
    static_assert(BYTES == 4 || BYTES == 8 || BYTES == 16, "cp.async copies 4, 8 or 16 bytes");
    emulator::start_copy(target, source, BYTES, given, {file, line});
}

inline void commit_copies() { emulator::commit_copies(); }

template <int NEWEST>
inline void wait_for_copies() {
    static_assert(NEWEST >= 0, "how many groups may still be under way");
    emulator::wait_for_copies(NEWEST, false);
}

inline void wait_for_all_copies() { emulator::wait_for_copies(0, true); }
