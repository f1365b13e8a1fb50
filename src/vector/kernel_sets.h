/*
 * kernel_sets.h: the tables that kernel.c chooses from. Private to the kernel files.
 *
 * kernel_avx2.c, kernel_avx512.c and kernel_neon.c are the only files that are compiled with
 * instruction-set flags, and only on machines that have the instructions; so they include
 * nothing that could leave an inline function built with those flags for the rest of the program
 * to call.
 */
#ifndef RV_VECTOR_KERNEL_SETS_H
#define RV_VECTOR_KERNEL_SETS_H

#include "vector/kernel.h"

extern const struct kernels kernels_scalar;
extern const struct kernels kernels_avx2;   /* needs avx2, fma */
extern const struct kernels kernels_avx512; /* needs avx512f, avx512bw, avx512dq, avx512vl */
extern const struct kernels kernels_neon;   /* every aarch64 has it */

#endif
