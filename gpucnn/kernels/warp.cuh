// Tensor cores, and copies that go on in the background: what GPUs from sm_80 on can do and CUDA C has no words for.
//
// Each function is one instruction, inline PTX on a GPU; the emulator has a twin of each in testing/emulator/device/warp.h.
// All 32 lanes of a warp must call mma_* and load_matrices* together. Of a matrix in registers each lane holds a fragment,
// see "Matrix fragments for mma" and "ldmatrix" in the PTX ISA; here group is lane / 4 and place is lane % 4:
//
//   sums (16, 8)        [0] row group, column 2 * place   [1] the column after it      [2], [3] the same 8 rows below
//   TF32: a (16, 8)     [0] row group, column place       [1] 8 rows below             [2], [3] the same 4 columns on
//         b (8, 8)      [0] row place, column group       [1] 4 rows below
//   bf16: a (16, 16)    as for TF32, but pairs: columns 2 * place and the one after it, and 8 columns on
//         b (16, 8)     as for TF32, but pairs: rows 2 * place and the one below it, and 8 rows below
#ifndef __GPUCNN_EMULATOR__

// A float as TF32, which has 10 bits of mantissa, in the place of a float: the nearest, of two the one farther from zero.
__device__ inline unsigned tf32_bits(float value)
{
    unsigned bits;
    asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(bits) : "f"(value));
    return bits;
}

// A float as bf16, which is the upper half of a float: the nearest, of two the even one.
__device__ inline unsigned short bf16_bits(float value)
{
    unsigned short bits;
    asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(bits) : "f"(value));
    return bits;
}

// Two floats as bf16 in one register, as fragments have them: `first` in the lower half.
__device__ inline unsigned bf16_pair(float first, float second)
{
    unsigned bits;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(bits) : "f"(second), "f"(first));
    return bits;
}

// sums (16, 8) += a (16, 8) @ b (8, 8), TF32 times TF32, added up in float32. The lower 13 bits of a and b are not read.
__device__ inline void mma_tf32(float (&sums)[4], const unsigned (&a)[4], const unsigned (&b)[2])
{
    asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                 : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

// sums (16, 8) += a (16, 16) @ b (16, 8), bf16 times bf16, added up in float32.
__device__ inline void mma_bf16(float (&sums)[4], const unsigned (&a)[4], const unsigned (&b)[2])
{
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                 : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

// One, two or four matrices from shared memory, of 8 rows of 16 bytes each: 8 bf16, or 4 TF32. Lane 8 * i + r gives the
// address of row r of matrix i, a multiple of 16. Of matrix i each lane gets the 4 bytes of row group at 4 * place.
template <int COUNT>
__device__ inline void load_matrices(unsigned (&registers)[COUNT], const void* row)
{
    static_assert(COUNT == 1 || COUNT == 2 || COUNT == 4, "ldmatrix loads 1, 2 or 4 matrices");
    const unsigned address = (unsigned)__cvta_generic_to_shared(row);
    if constexpr (COUNT == 1)
        asm volatile("ldmatrix.sync.aligned.m8n8.x1.shared.b16 {%0}, [%1];"
                     : "=r"(registers[0]) : "r"(address) : "memory");
    else if constexpr (COUNT == 2)
        asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0,%1}, [%2];"
                     : "=r"(registers[0]), "=r"(registers[1]) : "r"(address) : "memory");
    else
        asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                     : "=r"(registers[0]), "=r"(registers[1]), "=r"(registers[2]), "=r"(registers[3])
                     : "r"(address) : "memory");
}

// The same of matrices of bf16, each transposed: a lane gets column group of rows 2 * place and the one below it.
template <int COUNT>
__device__ inline void load_matrices_transposed(unsigned (&registers)[COUNT], const void* row)
{
    static_assert(COUNT == 1 || COUNT == 2 || COUNT == 4, "ldmatrix loads 1, 2 or 4 matrices");
    const unsigned address = (unsigned)__cvta_generic_to_shared(row);
    if constexpr (COUNT == 1)
        asm volatile("ldmatrix.sync.aligned.m8n8.x1.trans.shared.b16 {%0}, [%1];"
                     : "=r"(registers[0]) : "r"(address) : "memory");
    else if constexpr (COUNT == 2)
        asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0,%1}, [%2];"
                     : "=r"(registers[0]), "=r"(registers[1]) : "r"(address) : "memory");
    else
        asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                     : "=r"(registers[0]), "=r"(registers[1]), "=r"(registers[2]), "=r"(registers[3])
                     : "r"(address) : "memory");
}

// Starts a copy of 4, 8 or 16 bytes to shared memory, both addresses multiples of that. The first `given` come from
// `source`, the others are zero. They are there for this thread once it has waited, for others after a barrier then.
template <int BYTES>
__device__ inline void copy_async(void* target, const void* source, int given = BYTES)
{
    static_assert(BYTES == 4 || BYTES == 8 || BYTES == 16, "cp.async copies 4, 8 or 16 bytes");
    const unsigned shared = (unsigned)__cvta_generic_to_shared(target);
    const size_t global = __cvta_generic_to_global(source);
    if constexpr (BYTES == 16)  // past the L1 cache, as these bytes are read once
        asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;"
                     :: "r"(shared), "l"(global), "r"(given) : "memory");
    else
        asm volatile("cp.async.ca.shared.global [%0], [%1], %2, %3;"
                     :: "r"(shared), "l"(global), "n"(BYTES), "r"(given) : "memory");
}

// Makes a group of the copies that this thread has started since the last one; it may be empty.
__device__ inline void commit_copies() { asm volatile("cp.async.commit_group;" ::: "memory"); }

// Waits until all groups of this thread are there but the NEWEST last ones. Copies that are in no group are not waited for.
template <int NEWEST>
__device__ inline void wait_for_copies()
{
    asm volatile("cp.async.wait_group %0;" :: "n"(NEWEST) : "memory");
}

// Waits until all copies of this thread are there, in a group or not.
__device__ inline void wait_for_all_copies() { asm volatile("cp.async.wait_all;" ::: "memory"); }

#endif
