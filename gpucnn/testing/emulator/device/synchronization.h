// Barriers, fences, shuffles and votes.
#pragma once

// The last parameters of each, which default to the line of the .cu that calls it.
#define EMULATOR_CALLER const char* file = __builtin_FILE(), int line = __builtin_LINE()

inline void __syncthreads(EMULATOR_CALLER) { emulator::wait_at_barrier({file, line}); }

// Threads of one block run in turn on one CPU core, which sees its own writes: a fence has nothing to do.
inline void __threadfence() {}
inline void __threadfence_block() {}
inline void __threadfence_system() {}

inline void __syncwarp(unsigned mask = 0xffffffffu, EMULATOR_CALLER) {
    emulator::warp_operation(emulator::WarpOperation::synchronize, mask, nullptr, nullptr, 0, -1, {file, line});
}

namespace emulator {

inline int lane() {
    return (threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z)) % WARP_SIZE;
}

template <class Value>
Value shuffle(unsigned mask, Value value, int source, Place here) {
    static_assert(sizeof(Value) <= MAX_SHUFFLED_BYTES, "a shuffle moves 16 bytes at most");
    Value result;
    warp_operation(WarpOperation::shuffle, mask, &value, &result, sizeof value, source, here);
    return result;
}

}  // namespace emulator

// `width` cuts the warp into parts of their own; a lane whose source lies outside its part gets its own value.
template <class Value>
Value __shfl_sync(unsigned mask, Value value, int source, int width = 32, EMULATOR_CALLER) {
    const int first = emulator::lane() & ~(width - 1);
    return emulator::shuffle(mask, value, first | (source & (width - 1)), {file, line});
}

template <class Value>
Value __shfl_up_sync(unsigned mask, Value value, unsigned delta, int width = 32, EMULATOR_CALLER) {
    const int lane = emulator::lane(), first = lane & ~(width - 1), source = lane - (int)delta;
    return emulator::shuffle(mask, value, source < first ? lane : source, {file, line});
}

template <class Value>
Value __shfl_down_sync(unsigned mask, Value value, unsigned delta, int width = 32,
                       EMULATOR_CALLER) {
    const int lane = emulator::lane(), last = lane | (width - 1), source = lane + (int)delta;
    return emulator::shuffle(mask, value, source > last ? lane : source, {file, line});
}

template <class Value>
Value __shfl_xor_sync(unsigned mask, Value value, int bits, int width = 32, EMULATOR_CALLER) {
    const int lane = emulator::lane(), last = lane | (width - 1), source = lane ^ bits;
    return emulator::shuffle(mask, value, source > last ? lane : source, {file, line});
}

inline unsigned __ballot_sync(unsigned mask, int predicate, EMULATOR_CALLER) {
    const unsigned vote = predicate != 0;
    unsigned result;
    emulator::warp_operation(emulator::WarpOperation::ballot, mask, &vote, &result, sizeof vote, -1, {file, line});
    return result;
}

inline int __any_sync(unsigned mask, int predicate, EMULATOR_CALLER) {
    return __ballot_sync(mask, predicate, file, line) != 0;
}

inline int __all_sync(unsigned mask, int predicate, EMULATOR_CALLER) {
    return __ballot_sync(mask, !predicate, file, line) == 0;
}
