/*
 * kernel_scalar.c: the kernels in plain C, for any processor and as the reference of the others.
 *
 * Four sums that do not wait for each other; the compiler may not reorder float additions by
 * itself.
 */
#include "vector/kernel_sets.h"

static inline __attribute__((always_inline)) float term(float a, float b, int l2)
{
	float d = a - b;

	return l2 ? d * d : a * b;
}

static inline __attribute__((always_inline)) float sum(const float *a, const float *b, size_t dim,
                                                       int l2)
{
	float s[4] = { 0 };
	size_t i = 0;

	for (; i + 4 <= dim; i += 4) {
		for (size_t j = 0; j < 4; j++)
			s[j] += term(a[i + j], b[i + j], l2);
	}
	for (; i < dim; i++)
		s[0] += term(a[i], b[i], l2);
	return (s[0] + s[1]) + (s[2] + s[3]);
}

static float dot(const float *a, const float *b, size_t dim)
{
	return sum(a, b, dim, 0);
}

static float l2sq(const float *a, const float *b, size_t dim)
{
	return sum(a, b, dim, 1);
}

static void dot4(const float *q, const float *const rows[4], size_t dim, float ret[4])
{
	for (size_t r = 0; r < 4; r++)
		ret[r] = sum(q, rows[r], dim, 0);
}

static void l2sq4(const float *q, const float *const rows[4], size_t dim, float ret[4])
{
	for (size_t r = 0; r < 4; r++)
		ret[r] = sum(q, rows[r], dim, 1);
}

const struct kernels kernels_scalar = {
	.name = "scalar",
	.dot = dot,
	.l2sq = l2sq,
	.dot4 = dot4,
	.l2sq4 = l2sq4,
};
