// __half through the compiler's _Float16: every operation rounds once. Compiled in where a .cu includes cuda_fp16.h.
#pragma once
#if !defined(__FLT16_MAX__) || (!defined(__x86_64__) && __GNUC__ < 13)
#error "this compiler has no _Float16: kernels with cuda_fp16.h need g++ >= 12 on x86-64, g++ >= 13 elsewhere"
#endif

struct alignas(2) __half {
    _Float16 value;
    // Not `= default`: g++ would have the first thread to come initialise a __shared__ array, through a guard.
    constexpr __half() : value() {}
    __half(float x) : value((_Float16)x) {}
    __half(double x) : value((_Float16)x) {}
    __half(int x) : value((_Float16)(float)x) {}
    operator float() const { return (float)value; }
};
typedef __half half;

inline float __half2float(__half x) { return (float)x.value; }
inline __half __float2half(float x) { return __half(x); }
inline __half __float2half_rn(float x) { return __half(x); }
inline __half __double2half(double x) { return __half(x); }
inline __half __int2half_rn(int x) { return __half((float)x); }

// A sum, product or quotient of two halves is exact enough as a float for its rounding to half to be the right one.
inline __half operator+(__half a, __half b) { return __half((float)a.value + (float)b.value); }
inline __half operator-(__half a, __half b) { return __half((float)a.value - (float)b.value); }
inline __half operator*(__half a, __half b) { return __half((float)a.value * (float)b.value); }
inline __half operator/(__half a, __half b) { return __half((float)a.value / (float)b.value); }
inline __half operator-(__half a) { return __half(-(float)a.value); }
inline __half& operator+=(__half& a, __half b) { return a = a + b; }
inline __half& operator-=(__half& a, __half b) { return a = a - b; }
inline __half& operator*=(__half& a, __half b) { return a = a * b; }
inline __half& operator/=(__half& a, __half b) { return a = a / b; }
inline bool operator<(__half a, __half b) { return (float)a.value < (float)b.value; }
inline bool operator>(__half a, __half b) { return (float)a.value > (float)b.value; }
inline bool operator<=(__half a, __half b) { return (float)a.value <= (float)b.value; }
inline bool operator>=(__half a, __half b) { return (float)a.value >= (float)b.value; }
inline bool operator==(__half a, __half b) { return (float)a.value == (float)b.value; }
inline bool operator!=(__half a, __half b) { return (float)a.value != (float)b.value; }

inline __half __hadd(__half a, __half b) { return a + b; }
inline __half __hsub(__half a, __half b) { return a - b; }
inline __half __hmul(__half a, __half b) { return a * b; }
inline __half __hdiv(__half a, __half b) { return a / b; }
inline __half __hneg(__half a) { return -a; }
inline __half __hfma(__half a, __half b, __half c) {
    return __half((double)(float)a.value * (double)(float)b.value + (double)(float)c.value);
}
inline __half __hmax(__half a, __half b) { return __half(fmaxf((float)a.value, (float)b.value)); }
inline __half __hmin(__half a, __half b) { return __half(fminf((float)a.value, (float)b.value)); }
inline bool __heq(__half a, __half b) { return a == b; }
inline bool __hgt(__half a, __half b) { return a > b; }
inline bool __hge(__half a, __half b) { return a >= b; }
inline bool __hlt(__half a, __half b) { return a < b; }
inline bool __hle(__half a, __half b) { return a <= b; }
inline bool __hisnan(__half a) { return isnan((float)a.value); }

struct alignas(4) __half2 {
    __half x, y;
};
typedef __half2 half2;

inline __half2 __halves2half2(__half a, __half b) { return {a, b}; }
inline __half2 __floats2half2_rn(float a, float b) { return {__half(a), __half(b)}; }
inline __half2 __hadd2(__half2 a, __half2 b) { return {a.x + b.x, a.y + b.y}; }
inline __half2 __hmul2(__half2 a, __half2 b) { return {a.x * b.x, a.y * b.y}; }
inline float __low2float(__half2 a) { return a.x; }
inline float __high2float(__half2 a) { return a.y; }

EMULATOR_ATOMIC(atomicAdd, __half, old + value)
