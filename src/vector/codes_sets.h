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

#include "vector/codes.h"

#define CODE_BLOCK_DIMS  128
#define CODE_BLOCK_BYTES 64

/*
 * A query and what it is compared with. With the norm of a slot, 1 where there is no table of them,
 *     key = (base + square * norm²) + scale * norm * (2 * dot - offset)
 */
struct code_scan {
	const int8_t *q;
	const void *codes;  /* by slot */
	const float *norms; /* by slot, or NULL */
	size_t n_blocks;    /* of CODE_BLOCK_DIMS */
	float base;
	float square;
	float scale;
	int32_t offset;
};

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
	/*
	 * The keys of n slots, dot being the sum of q (127 at most) times the nibbles (0 to 15). Equal to
	 * the bit on every set.
	 */
	void (*keys)(const struct code_scan *s, const uint32_t *slots, size_t n, float *ret);
	/* The same for fine codes, a signed byte a dimension. */
	void (*fine_keys)(const struct code_scan *s, const uint32_t *slots, size_t n, float *ret);
};

/*
 * For sets that have a kernel for four dots, of codes of `bytes` each. Inlined with it, so nothing
 * is left for others.
 */
static inline __attribute__((always_inline)) void
code_keys_by_dot4(const struct code_scan *s, size_t bytes, const uint32_t *slots, size_t n,
                  float *ret, void (*dot4)(const int8_t *q, const void *const code[4],
                                           size_t n_blocks, int32_t ret[4]))
{
	for (size_t i = 0, step; i < n; i += step) {
		const void *code[4];
		int32_t dots[4];

		step = n - i < 4 ? n - i : 4;
		for (size_t j = 0; j < 4; j++)
			code[j] = (const char *)s->codes + slots[i + (j < step ? j : 0)] * bytes;
		dot4(s->q, code, s->n_blocks, dots);
		for (size_t j = 0; j < step; j++) {
			float norm = s->norms ? s->norms[slots[i + j]] : 1;

			ret[i + j] = (s->base + s->square * norm * norm) +
			             s->scale * norm * (float)(2 * dots[j] - s->offset);
		}
	}
}

extern const struct code_kernels codes_scalar;
extern const struct code_kernels codes_avx2;   /* needs avx2 */
extern const struct code_kernels codes_avx512; /* needs avx512f, bw, dq, vl and vnni */
extern const struct code_kernels codes_neon;   /* every aarch64 has it */

/* Chosen once, by the processor and RUVECTORFS_ISA, as kernels_get does (kernel.c). */
const struct code_kernels *code_kernels_get(void);
const struct code_kernels *code_kernels_by_name(const char *name); /* NULL: not here */

#endif
