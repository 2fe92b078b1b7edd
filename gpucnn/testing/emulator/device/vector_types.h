// float4 and its like, with CUDA's alignments.
#pragma once

#define EMULATOR_VECTOR_TYPES(scalar, name)                                                                      \
    struct name##1 { scalar x; };                                                                                \
    struct alignas(2 * sizeof(scalar)) name##2 { scalar x, y; };                                                 \
    struct name##3 { scalar x, y, z; };                                                                          \
    struct alignas(sizeof(scalar) < 4 ? 4 * sizeof(scalar) : 16) name##4 { scalar x, y, z, w; };                 \
    inline name##1 make_##name##1(scalar x) { return {x}; }                                                      \
    inline name##2 make_##name##2(scalar x, scalar y) { return {x, y}; }                                         \
    inline name##3 make_##name##3(scalar x, scalar y, scalar z) { return {x, y, z}; }                            \
    inline name##4 make_##name##4(scalar x, scalar y, scalar z, scalar w) { return {x, y, z, w}; }

EMULATOR_VECTOR_TYPES(signed char, char)
EMULATOR_VECTOR_TYPES(unsigned char, uchar)
EMULATOR_VECTOR_TYPES(short, short)
EMULATOR_VECTOR_TYPES(unsigned short, ushort)
EMULATOR_VECTOR_TYPES(int, int)
EMULATOR_VECTOR_TYPES(long long, longlong)
EMULATOR_VECTOR_TYPES(unsigned long long, ulonglong)
EMULATOR_VECTOR_TYPES(float, float)
EMULATOR_VECTOR_TYPES(double, double)

// uint3 comes with threadIdx.
struct uint1 { unsigned x; };
struct alignas(8) uint2 { unsigned x, y; };
struct alignas(16) uint4 { unsigned x, y, z, w; };
inline uint1 make_uint1(unsigned x) { return {x}; }
inline uint2 make_uint2(unsigned x, unsigned y) { return {x, y}; }
inline uint3 make_uint3(unsigned x, unsigned y, unsigned z) { return {x, y, z}; }
inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }
