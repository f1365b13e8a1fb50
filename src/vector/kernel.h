/*
 * kernel.h: distance kernels on float32, one table per instruction set, chosen once at start.
 *
 * Rows may have any alignment and dim may be 0. Kernels sum in a different order per
 * instruction set, so results agree to rounding, not to the bit.
 * RUVECTORFS_ISA=scalar|avx2|avx512|neon forces a set; an unknown or missing one falls back to
 * the best there is.
 */
#ifndef RV_VECTOR_KERNEL_H
#define RV_VECTOR_KERNEL_H

#include <stddef.h>

struct kernels {
	const char *name;
	float (*dot)(const float *a, const float *b, size_t dim);
	float (*l2sq)(const float *a, const float *b, size_t dim);
	/* One query against four rows; what traversal uses. */
	void (*dot4)(const float *q, const float *const rows[4], size_t dim, float ret[4]);
	void (*l2sq4)(const float *q, const float *const rows[4], size_t dim, float ret[4]);
};

const struct kernels *kernels_get(void); /* chosen at the first call; any thread */
const struct kernels *
kernels_by_name(const char *name); /* NULL: this processor or build has no such set */

#endif
