/*
 * codes_sets.h: what of the codes is written once per instruction set. Private to codes*.c.
 *
 * As the kernel files, codes_avx2.c, codes_avx512.c and codes_neon.c are compiled with flags of
 * their own and include nothing that could leave an inline function for others to call.
 *
 * A block is 64 bytes of code and 128 dimensions: the low nibble of byte i is dimension i, the
 * high one dimension 64 + i, so that one load and one mask give 64 consecutive dimensions.
 */
#ifndef RV_VECTOR_CODES_SETS_H
#define RV_VECTOR_CODES_SETS_H

#include <stddef.h>
#include <stdint.h>

#define CODE_BLOCK_DIMS  128
#define CODE_BLOCK_BYTES 64

struct code_kernels {
	const char *name;
	/*
	 * v = H (v * signs), H being the Hadamard matrix of n rows, not scaled; n is a power of two,
	 * at least 64. Only sums and differences in one order: equal to the bit on every set.
	 */
	void (*mix)(float *v, const float *signs, size_t n);
	/*
	 * v divided by the step that makes its largest component 127, rounded; n is a multiple of
	 * 64. Returns the step, 0: v is zero. *ret_sum: of what was stored.
	 */
	float (*round8)(const float *v, size_t n, int8_t *ret, int32_t *ret_sum);
	/* For each of four codes the sum of q (127 at most) times the nibbles (0 to 15). */
	void (*dot4)(const int8_t *q, const uint8_t *const code[4], size_t n_blocks, int32_t ret[4]);
};

extern const struct code_kernels codes_scalar;
extern const struct code_kernels codes_avx2;   /* needs avx2 */
extern const struct code_kernels codes_avx512; /* needs avx512f, bw, dq, vl and vnni */
extern const struct code_kernels codes_neon;   /* every aarch64 has it */

/* Chosen once, by the processor and RUVECTORFS_ISA, as kernels_get does (kernel.c). */
const struct code_kernels *code_kernels_get(void);
const struct code_kernels *code_kernels_by_name(const char *name); /* NULL: not here */

#endif
