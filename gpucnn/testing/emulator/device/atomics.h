// Atomics, for the types that CUDA has them for. Each returns the old value.
//
// Threads run in turn, so a plain read and write is atomic. The checks must know it for an atomic one, hence the
// attributes: the compiler leaves these functions uninstrumented, and each calls the check itself, with the address of
// the kernel's code that called it. Integers wrap around, as on a GPU, which is why `undefined` is off.
#pragma once

#ifdef EMULATOR_CHECKS
#define EMULATOR_CHECK_ATOMIC(address) \
    emulator::before_atomic((void*)(address), sizeof *(address), __builtin_return_address(0))
#else
#define EMULATOR_CHECK_ATOMIC(address) ((void)0)
#endif

#define EMULATOR_ATOMIC(function, type, updated)                                            \
    __attribute__((noinline, no_sanitize("thread"), no_sanitize("undefined"))) inline type  \
    function(type* address, type value) {                                                   \
        EMULATOR_CHECK_ATOMIC(address);                                                     \
        const type old = *address;                                                          \
        *address = updated;                                                                 \
        return old;                                                                         \
    }

#define EMULATOR_COMPARE_AND_SWAP(type)                                                     \
    __attribute__((noinline, no_sanitize("thread"), no_sanitize("undefined"))) inline type  \
    atomicCAS(type* address, type compare, type value) {                                    \
        EMULATOR_CHECK_ATOMIC(address);                                                     \
        const type old = *address;                                                          \
        *address = old == compare ? value : old;                                            \
        return old;                                                                         \
    }

EMULATOR_ATOMIC(atomicAdd, int, int(unsigned(old) + unsigned(value)))
EMULATOR_ATOMIC(atomicAdd, unsigned, old + value)
EMULATOR_ATOMIC(atomicAdd, unsigned long long, old + value)
EMULATOR_ATOMIC(atomicAdd, float, old + value)
EMULATOR_ATOMIC(atomicAdd, double, old + value)
EMULATOR_ATOMIC(atomicSub, int, int(unsigned(old) - unsigned(value)))
EMULATOR_ATOMIC(atomicSub, unsigned, old - value)
EMULATOR_ATOMIC(atomicExch, int, value)
EMULATOR_ATOMIC(atomicExch, unsigned, value)
EMULATOR_ATOMIC(atomicExch, unsigned long long, value)
EMULATOR_ATOMIC(atomicExch, float, value)
EMULATOR_ATOMIC(atomicInc, unsigned, old >= value ? 0 : old + 1)
EMULATOR_ATOMIC(atomicDec, unsigned, old == 0 || old > value ? value : old - 1)

#define EMULATOR_ORDER_ATOMICS(type)                            \
    EMULATOR_ATOMIC(atomicMin, type, value < old ? value : old) \
    EMULATOR_ATOMIC(atomicMax, type, old < value ? value : old)
#define EMULATOR_BIT_ATOMICS(type)               \
    EMULATOR_ATOMIC(atomicAnd, type, old& value) \
    EMULATOR_ATOMIC(atomicOr, type, old | value) \
    EMULATOR_ATOMIC(atomicXor, type, old ^ value)

EMULATOR_ORDER_ATOMICS(int)
EMULATOR_ORDER_ATOMICS(unsigned)
EMULATOR_ORDER_ATOMICS(long long)
EMULATOR_ORDER_ATOMICS(unsigned long long)
EMULATOR_BIT_ATOMICS(int)
EMULATOR_BIT_ATOMICS(unsigned)
EMULATOR_BIT_ATOMICS(unsigned long long)
EMULATOR_COMPARE_AND_SWAP(unsigned short)
EMULATOR_COMPARE_AND_SWAP(int)
EMULATOR_COMPARE_AND_SWAP(unsigned)
EMULATOR_COMPARE_AND_SWAP(unsigned long long)
