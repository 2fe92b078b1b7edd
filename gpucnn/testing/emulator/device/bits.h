// Reading values as other types, counting bits, high halves of products, plain memory.
#pragma once

namespace emulator {

template <class To, class From>
To reinterpret_bits(From value) {
    static_assert(sizeof(To) == sizeof(From), "types of one size");
    To result;
    __builtin_memcpy(&result, &value, sizeof result);
    return result;
}

}  // namespace emulator

inline float __int_as_float(int value) { return emulator::reinterpret_bits<float>(value); }
inline float __uint_as_float(unsigned value) { return emulator::reinterpret_bits<float>(value); }
inline double __longlong_as_double(long long value) { return emulator::reinterpret_bits<double>(value); }
inline int __float_as_int(float value) { return emulator::reinterpret_bits<int>(value); }
inline unsigned __float_as_uint(float value) { return emulator::reinterpret_bits<unsigned>(value); }
inline long long __double_as_longlong(double value) { return emulator::reinterpret_bits<long long>(value); }

inline int __popc(unsigned value) { return __builtin_popcount(value); }
inline int __popcll(unsigned long long value) { return __builtin_popcountll(value); }
inline int __clz(int value) { return value ? __builtin_clz(value) : 32; }
inline int __clzll(long long value) { return value ? __builtin_clzll(value) : 64; }
inline int __ffs(int value) { return __builtin_ffs(value); }
inline int __ffsll(long long value) { return __builtin_ffsll(value); }

inline int __mulhi(int a, int b) { return (long long)a * b >> 32; }
inline unsigned __umulhi(unsigned a, unsigned b) { return (unsigned long long)a * b >> 32; }
inline long long __mul64hi(long long a, long long b) { return (__int128)a * b >> 64; }
inline unsigned long long __umul64hi(unsigned long long a, unsigned long long b) {
    return (unsigned __int128)a * b >> 64;
}

// Inlined always: a report names the line of the .cu that it is inlined into.
template <class Value>
__attribute__((always_inline)) inline Value __ldg(const Value* address) {
    return *address;
}

// Byte by byte, so that each access is checked.
__attribute__((always_inline)) inline void* memcpy(void* target, const void* source, size_t bytes) {
    for (size_t i = 0; i < bytes; ++i) ((char*)target)[i] = ((const char*)source)[i];
    return target;
}
__attribute__((always_inline)) inline void* memset(void* target, int value, size_t bytes) {
    for (size_t i = 0; i < bytes; ++i) ((char*)target)[i] = (char)value;
    return target;
}
