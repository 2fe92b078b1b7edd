// Tensor cores: what sm_80 and later can do and CUDA C has no word for, as functions.
//
// Each is inline PTX on a GPU. On the emulator it is a function of the same name in testing/emulator/device/warp.h.
// All 32 lanes of a warp call a function together, from the same line, as PTX demands.
#pragma once
#ifndef __GPUCNN_EMULATOR__

// A float as TF32, which has 10 bits of mantissa: the nearest, of two the one farther from zero.
__device__ inline unsigned tf32_bits(float value)
{
    unsigned bits;
    asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(bits) : "f"(value));
    return bits;
}

// sums (16, 8) += a (16, 8) @ b (8, 8), TF32 times TF32, added up in float32.
__device__ inline void mma_tf32(float (&sums)[4], const unsigned (&a)[4], const unsigned (&b)[2])
{
    asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                 : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

#endif
