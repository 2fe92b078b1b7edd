// Arithmetic. `exp(x)` of a float is the float function, as in CUDA; the names with f take floats only.
//
// The fast intrinsics (__expf, __fdividef, ...) are the exact functions: how far a GPU's results are from them is not
// something that an emulator on a CPU could tell.
#pragma once

#define EMULATOR_FUNCTION_1(name)                                           \
    inline float name##f(float x) { return __builtin_##name##f(x); }        \
    inline float name(float x) { return __builtin_##name##f(x); }           \
    inline double name(double x) { return __builtin_##name(x); }

#define EMULATOR_FUNCTION_2(name)                                                     \
    inline float name##f(float x, float y) { return __builtin_##name##f(x, y); }      \
    inline float name(float x, float y) { return __builtin_##name##f(x, y); }         \
    inline double name(double x, double y) { return __builtin_##name(x, y); }         \
    inline double name(float x, double y) { return __builtin_##name(x, y); }          \
    inline double name(double x, float y) { return __builtin_##name(x, y); }

EMULATOR_FUNCTION_1(exp)
EMULATOR_FUNCTION_1(exp2)
EMULATOR_FUNCTION_1(expm1)
EMULATOR_FUNCTION_1(log)
EMULATOR_FUNCTION_1(log2)
EMULATOR_FUNCTION_1(log10)
EMULATOR_FUNCTION_1(log1p)
EMULATOR_FUNCTION_1(sqrt)
EMULATOR_FUNCTION_1(cbrt)
EMULATOR_FUNCTION_1(fabs)
EMULATOR_FUNCTION_1(floor)
EMULATOR_FUNCTION_1(ceil)
EMULATOR_FUNCTION_1(trunc)
EMULATOR_FUNCTION_1(round)
EMULATOR_FUNCTION_1(rint)
EMULATOR_FUNCTION_1(sin)
EMULATOR_FUNCTION_1(cos)
EMULATOR_FUNCTION_1(tan)
EMULATOR_FUNCTION_1(asin)
EMULATOR_FUNCTION_1(acos)
EMULATOR_FUNCTION_1(atan)
EMULATOR_FUNCTION_1(sinh)
EMULATOR_FUNCTION_1(cosh)
EMULATOR_FUNCTION_1(tanh)
EMULATOR_FUNCTION_1(erf)
EMULATOR_FUNCTION_1(erfc)

EMULATOR_FUNCTION_2(pow)
EMULATOR_FUNCTION_2(fmod)
EMULATOR_FUNCTION_2(fmin)
EMULATOR_FUNCTION_2(fmax)
EMULATOR_FUNCTION_2(fdim)
EMULATOR_FUNCTION_2(hypot)
EMULATOR_FUNCTION_2(atan2)
EMULATOR_FUNCTION_2(copysign)

inline float pow(float x, int n) { return __builtin_powf(x, (float)n); }
inline double pow(double x, int n) { return __builtin_pow(x, n); }

inline float fmaf(float x, float y, float z) { return __builtin_fmaf(x, y, z); }
inline float fma(float x, float y, float z) { return __builtin_fmaf(x, y, z); }
inline double fma(double x, double y, double z) { return __builtin_fma(x, y, z); }

inline float rsqrtf(float x) { return 1.0f / __builtin_sqrtf(x); }
inline float rsqrt(float x) { return 1.0f / __builtin_sqrtf(x); }
inline double rsqrt(double x) { return 1.0 / __builtin_sqrt(x); }

#define EMULATOR_CLASSIFICATION(name, builtin)           \
    inline bool name(float x) { return builtin(x); }     \
    inline bool name(double x) { return builtin(x); }
EMULATOR_CLASSIFICATION(isnan, __builtin_isnan)
EMULATOR_CLASSIFICATION(isinf, __builtin_isinf)
EMULATOR_CLASSIFICATION(isfinite, __builtin_isfinite)
EMULATOR_CLASSIFICATION(signbit, __builtin_signbit)

inline int abs(int x) { return x < 0 ? -x : x; }
inline long abs(long x) { return x < 0 ? -x : x; }
inline long long abs(long long x) { return x < 0 ? -x : x; }
inline float abs(float x) { return __builtin_fabsf(x); }
inline double abs(double x) { return __builtin_fabs(x); }

#define EMULATOR_MIN_MAX(type)                                   \
    inline type min(type a, type b) { return b < a ? b : a; }    \
    inline type max(type a, type b) { return a < b ? b : a; }
EMULATOR_MIN_MAX(int)
EMULATOR_MIN_MAX(unsigned)
EMULATOR_MIN_MAX(long)
EMULATOR_MIN_MAX(unsigned long)
EMULATOR_MIN_MAX(long long)
EMULATOR_MIN_MAX(unsigned long long)

// As CUDA has them: a negative int beside an unsigned is a large number; of a number and NaN, the number.
inline unsigned min(int a, unsigned b) { return min((unsigned)a, b); }
inline unsigned min(unsigned a, int b) { return min(a, (unsigned)b); }
inline unsigned max(int a, unsigned b) { return max((unsigned)a, b); }
inline unsigned max(unsigned a, int b) { return max(a, (unsigned)b); }
inline float min(float a, float b) { return fmin(a, b); }
inline float max(float a, float b) { return fmax(a, b); }
inline double min(double a, double b) { return fmin(a, b); }
inline double max(double a, double b) { return fmax(a, b); }
inline double min(float a, double b) { return fmin(a, b); }
inline double max(float a, double b) { return fmax(a, b); }
inline double min(double a, float b) { return fmin(a, b); }
inline double max(double a, float b) { return fmax(a, b); }

inline float __expf(float x) { return expf(x); }
inline float __exp10f(float x) { return powf(10.0f, x); }
inline float __logf(float x) { return logf(x); }
inline float __log2f(float x) { return log2f(x); }
inline float __log10f(float x) { return log10f(x); }
inline float __sinf(float x) { return sinf(x); }
inline float __cosf(float x) { return cosf(x); }
inline float __powf(float x, float y) { return powf(x, y); }
inline float __fdividef(float x, float y) { return x / y; }
inline float __saturatef(float x) { return fminf(fmaxf(x, 0.0f), 1.0f); }

inline float __fadd_rn(float x, float y) { return x + y; }
inline float __fsub_rn(float x, float y) { return x - y; }
inline float __fmul_rn(float x, float y) { return x * y; }
inline float __fdiv_rn(float x, float y) { return x / y; }
inline float __frcp_rn(float x) { return 1.0f / x; }
inline float __fsqrt_rn(float x) { return sqrtf(x); }
inline float __frsqrt_rn(float x) { return rsqrtf(x); }
inline float __fmaf_rn(float x, float y, float z) { return fmaf(x, y, z); }
inline double __dadd_rn(double x, double y) { return x + y; }
inline double __dmul_rn(double x, double y) { return x * y; }
inline double __fma_rn(double x, double y, double z) { return fma(x, y, z); }

// Out of range, a GPU saturates and takes NaN for 0; a CPU's own conversion does neither.
inline int __float2int_rz(float x) {
    return isnan(x) ? 0 : x >= 2147483648.0f ? 2147483647 : x <= -2147483648.0f ? -2147483647 - 1 : (int)x;
}
inline int __float2int_rn(float x) { return __float2int_rz(rintf(x)); }
inline int __float2int_rd(float x) { return __float2int_rz(floorf(x)); }
inline int __float2int_ru(float x) { return __float2int_rz(ceilf(x)); }
inline float __int2float_rn(int x) { return (float)x; }
inline float __uint2float_rn(unsigned x) { return (float)x; }
